import base64
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET

import pytest
from svg import labels

from tinygrad_vi import ShapeError, Value, dot, exp, log, maximum, relu, sigmoid, sin, tanh, total
from tinygrad_vi.show import draw, render
from tinygrad_vi.show import paper as graph
from tinygrad_vi.show.palette import PATH, PATH_WIDTH
from tinygrad_vi.show.paper import LONGEST_LABEL

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def y():
    x1, x2 = Value(2.0, label="x1"), Value(5.0, label="x2")
    y = log(x1) + x1 * x2 - sin(x2)
    y.label = "y"
    return y


def leaf(y, label):
    from tinygrad_vi import Tape

    return Tape(y).input(label)


@pytest.mark.usefixtures("renderer")
def test_values_and_gradients_are_on_the_nodes(y):
    y.backward()
    found = labels(y.draw().svg)
    assert found["v0"] == ["x1", "data 2", "grad 5.5"]
    assert found["v1"] == ["x2", "data 5", "grad 1.716"]
    assert found["v6"] == ["y", "data 11.65", "grad 1"]
    assert [found[f"o{i}"] for i in range(2, 7)] == [["log"], ["*"], ["sin"], ["+"], ["-"]]
    assert sum("->" in name for name in found) == 8 + 5


def test_before_backward_a_gradient_is_not_computed_rather_than_zero(y):
    assert labels(y.draw().svg)["v0"] == ["x1", "data 2", "grad —"]
    z = Value(3.0, "z")
    out = relu(-z)
    out.backward()
    assert labels(out.draw().svg)["v0"] == ["z", "data 3", "grad 0"]


def test_after_create_graph_the_gradients_numbers_are_shown():
    x = Value(3.0, "x")
    y = x * x
    y.backward(create_graph=True)
    assert labels(y.draw().svg)["v0"] == ["x", "data 3", "grad 6"]


def test_local_derivatives_are_on_the_edges(y):
    found = labels(y.draw(local=True).svg)
    assert found["v0->o2"] == ["×0.5"]
    assert found["v0->o3"] == ["×5"]
    assert found["v1->o4"] == ["×0.2837"]
    assert found["v4->o6"] == ["×(-1)"]
    assert found["o6->v6"] == []


def test_a_repeated_operand_has_an_edge_for_each_use():
    x = Value(3.0, "x")
    assert (x * x).draw(local=True).source.count("v0 -> o1") == 2


def test_directions(y):
    def size(direction):
        root = ET.fromstring(y.draw(direction=direction).svg)
        return [float(root.get(side).removesuffix("pt")) for side in ("width", "height")]

    (wide, low), (narrow, tall) = size("LR"), size("TB")
    assert wide > low
    assert tall > narrow
    with pytest.raises(ValueError, match='direction must be "LR" or "TB", got \'up\''):
        y.draw(direction="up")


def test_all_paths_from_an_input_stand_out_in_colour_and_width(y):
    source = y.draw(highlight=leaf(y, "x2")).source
    marked = {
        line.split(" [")[0].strip()
        for line in source.splitlines()
        if re.search(f'color="{PATH}".*penwidth={PATH_WIDTH}\\b', line)
    }
    on_path = {
        "v1",
        "v1 -> o3",
        "o3",
        "o3 -> v3",
        "v3",
        "v3 -> o5",
        "o5",
        "o5 -> v5",
        "v5",
        "v5 -> o6",
        "o6",
        "o6 -> v6",
    }
    assert marked == on_path | {"v6", "v1 -> o4", "o4", "o4 -> v4", "v4", "v4 -> o6"}
    with pytest.raises(ValueError, match=r"cannot highlight Value\(data=1\.0, grad=0\.0\): it is not in the graph"):
        y.draw(highlight=Value(1.0))


def test_roles_of_the_gates():
    a, b = Value(2.0, "a"), Value(3.0, "b")
    found = labels(draw(maximum(a, b) * a + total([a, dot([a], [b])]), roles=True).svg)
    roles = {text for lines in found.values() for text in lines if ":" in text}
    assert roles == {"add: distributor", "multiply: swap", "max: router", "copy: adder"}
    assert ["-", "subtract: distributor, second negated"] in labels(draw(a - b, roles=True).svg).values()
    assert found["v0"][-1] == found["v1"][-1] == "copy: adder"


def test_constants_show_just_their_number():
    assert labels((Value(1.0, "x") * 2.5).draw().svg)["v1"] == ["2.5"]


def test_several_outputs_and_a_single_leaf():
    x = Value(1.0, "x")
    assert repr(draw([x + 1.0, x * 2.0])) == '<Drawing of 5 values and 2 operations; .save("graph.svg") writes it>'
    assert labels(draw(x).svg) == {"v0": ["x", "data 1", "grad —"]}
    with pytest.raises(TypeError, match=r"draw takes a Value or a list of Values, got 3\.0 of type float"):
        draw([3.0])
    with pytest.raises(TypeError, match=r"draw takes a Value or a list of Values, got 3\.0 of type float"):
        draw(3.0)
    with pytest.raises(ShapeError, match="the list of outputs is empty"):
        draw([])
    for digits in (0, 2.5, "4"):
        with pytest.raises(ValueError, match=f"digits must be a whole number of at least 1, got {digits!r}"):
            draw(x, digits=digits)


def test_a_graph_too_large_says_how_large_and_what_to_do():
    y = Value(1.0, "x")
    for _ in range(100_000):
        y = y * 1.01
    with pytest.raises(
        ValueError, match=r"the graph has 200001 values, more than max_nodes = 400: draw a smaller part"
    ):
        y.draw()


@pytest.mark.usefixtures("renderer")
def test_equal_graphs_give_equal_sources_and_pictures():
    def picture():
        a, b = Value(2.0, "a"), Value(3.0, "b")
        y = sigmoid(a * b + exp(-a)) / b
        y.backward()
        return y.draw(local=True, roles=True)

    assert picture().source == picture().source
    assert picture().svg == picture().svg


NASTY = [
    'a|b<c>{d}"e"',
    r"back\slash \N \n \l",
    "<b>bold</b> & co &amp;",
    "tab\tnew\nline\x07",
    "đạo hàm cục bộ",
    "Ẩ ễ Ợ ỹ",
    "x₁ → σ′(z)·∂L/∂w",
    "",
]


@pytest.mark.parametrize("label", NASTY)
@pytest.mark.usefixtures("renderer")
def test_labels_appear_as_they_were_typed(label):
    found = labels(draw(tanh(Value(1.0, label)), local=True).svg)["v0"]
    plain = " ".join(label.replace("\x07", " ").split())
    assert found == ([plain] if plain else []) + (["data 1", "grad —"] if plain else ["1"])


def test_decomposed_vietnamese_is_composed_and_long_labels_are_shortened():
    assert labels(draw(Value(1.0, "a\u0323\u0302")).svg)["v0"][0] == "ậ"
    shown = labels(draw(Value(1.0, "tầng " * 30)).svg)["v0"][0]
    assert len(shown) == LONGEST_LABEL
    assert shown.endswith("…")


@pytest.mark.parametrize(
    "label", ["trọng số của nơ-ron thứ nhất, tầng ẩn", "WWWWWWWWMMMMMMMM", "mmmmmmmmmmmmmmm", "ĐẠI LƯỢNG LIÊN HỢP", "i"]
)
@pytest.mark.usefixtures("renderer")
def test_no_text_leaves_its_node_even_in_a_wide_font(label):
    fonts = pytest.importorskip("matplotlib.textpath", reason="matplotlib measures the text: pip install matplotlib")
    from matplotlib.font_manager import FontProperties

    def width(text, size):
        return fonts.TextPath((0, 0), text, size=size, prop=FontProperties(family="DejaVu Sans")).get_extents().width

    x = Value(-1.23456789e-15, label)
    y = maximum(x, tanh(x)) * sigmoid(x)
    y.label = label
    y.backward()
    checked = 0
    for group in ET.fromstring(draw(y, roles=True).svg).iter(f"{SVG}g"):
        if group.get("class") != "node":
            continue
        shape = next(iter([*group.iter(f"{SVG}polygon"), *group.iter(f"{SVG}path"), *group.iter(f"{SVG}ellipse")]))
        if shape.tag == f"{SVG}ellipse":
            center, radius = float(shape.get("cx")), float(shape.get("rx"))
            left, right = center - radius, center + radius
        else:
            xs = [
                float(point.split(",")[0])
                for point in re.findall(r"-?[\d.]+,-?[\d.]+", shape.get("points") or shape.get("d"))
            ]
            left, right = min(xs), max(xs)
        for text in group.iter(f"{SVG}text"):
            middle, half = float(text.get("x")), width(text.text, float(text.get("font-size"))) / 2
            assert left <= middle - half
            assert middle + half <= right
            checked += 1
    assert checked >= 12


@pytest.mark.parametrize(
    ("suffix", "start"), [("svg", b"<?xml"), ("png", b"\x89PNG"), ("pdf", b"%PDF"), ("gv", b"digraph")]
)
@pytest.mark.usefixtures("renderer")
def test_files_are_what_their_names_say(suffix, start, y, tmp_path):
    path = y.draw().save(tmp_path / f"hình.{suffix}")
    assert path.read_bytes().startswith(start)
    assert path.stat().st_size > 500


def test_a_failed_picture_leaves_no_file(y, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"cannot save a drawing as 'graph\.bmp': the name must end in \.svg, \.png"):
        y.draw().save(tmp_path / "graph.bmp")
    monkeypatch.setattr(
        render, "_renderer", lambda form, dots: [sys.executable, "-c", "import sys; sys.exit('no ink')"]
    )
    with pytest.raises(RuntimeError, match="Graphviz could not draw the graph as svg: no ink"):
        y.draw().save(tmp_path / "graph.svg")
    assert list(tmp_path.iterdir()) == []


def test_a_notebook_gets_svg_and_png(y):
    data, metadata = y.draw()._repr_mimebundle_(include=None, exclude=None)
    assert ET.fromstring(data["image/svg+xml"]).tag == f"{SVG}svg"
    assert base64.b64decode(data["image/png"]).startswith(b"\x89PNG")
    width = float(ET.fromstring(data["image/svg+xml"]).get("width").removesuffix("pt"))
    assert metadata["image/png"]["width"] == pytest.approx(width, rel=0.05)


def test_a_large_picture_reaches_a_notebook_small_and_as_wide_as_ever(y, monkeypatch):
    def pixels(png):
        return int.from_bytes(png[16:20], "big")

    widths = []
    for largest in (10**9, 100):  # bytes: how many a picture has depends on the fonts
        monkeypatch.setattr(graph, "LARGEST_PNG", largest)
        drawing = draw(y)
        data, metadata = drawing._repr_mimebundle_()
        shown = base64.b64decode(data["image/png"])
        assert (shown == drawing.png) == (largest > 100)
        widths.append((pixels(shown), metadata["image/png"]["width"]))
    (whole, width), (small, same) = widths
    assert width == same
    assert whole == pytest.approx(2 * width, rel=0.05)
    assert small == pytest.approx(width, rel=0.05)


def test_drawing_is_silent_and_needs_no_dot_on_the_path(tmp_path):
    program = "from tinygrad_vi import Value; (Value(1.0, 'đạo hàm') * 2).draw().save('graph.png')"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=tmp_path,
        env={**os.environ, "PATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (tmp_path / "graph.png").exists()


def test_what_is_missing_is_named_with_its_remedy(y, monkeypatch):
    monkeypatch.setattr(render.shutil, "which", lambda name: None)
    monkeypatch.setattr(render, "find_spec", lambda name: None)
    with pytest.raises(
        ImportError, match="drawing needs Graphviz, which a package brings along: pip install pygraphviz"
    ):
        y.draw().svg  # noqa: B018
    assert y.draw().source.startswith("digraph")
    monkeypatch.setitem(sys.modules, "graphviz", None)
    with pytest.raises(ImportError, match="drawing needs the package graphviz: pip install graphviz pygraphviz"):
        y.draw()


def test_the_lecture_notes_own_drawing_function_works():
    from graphviz import Digraph

    def trace(root):
        nodes, edges = set(), set()

        def build(v):
            if v not in nodes:
                nodes.add(v)
                for child in v._prev:
                    edges.add((child, v))
                    build(child)

        build(root)
        return nodes, edges

    x = Value(1.0)
    y = (x * 2 + 1).relu()
    y.backward()
    graph = Digraph(format="svg", graph_attr={"rankdir": "LR"})
    nodes, edges = trace(y)
    for n in nodes:
        graph.node(name=str(id(n)), label=f"{{ data {n.data:.4f} | grad {n.grad:.4f} }}", shape="record")
        if n._op:
            graph.node(name=str(id(n)) + n._op, label=n._op)
            graph.edge(str(id(n)) + n._op, str(id(n)))
    for n1, n2 in edges:
        graph.edge(str(id(n1)), str(id(n2)) + n2._op)
    assert "data 3.0000 | grad 1.0000" in graph.source
    assert graph.source.count("->") == 8
