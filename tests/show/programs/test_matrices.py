"""Compiled programs as pictures: every shape is that of the array in the text that runs, every scalar is in its place."""

import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from node_by_node import evaluate
from svg import labels

from tinygrad_vi import ShapeError, Value, compile, erf, gelu, losses, nn, sin, take
from tinygrad_vi.show.palette import GRADIENT
from tinygrad_vi.show.programs.matrices import draw_matrices, read
from tinygrad_vi.show.programs.side_by_side import draw_both, places

SVG = "{http://www.w3.org/2000/svg}"
N = 7  # examples


def boxes(drawing):
    """The lines of text of each box and circle, by its name."""
    return {name: lines for name, lines in labels(drawing.svg).items() if "->" not in name}


def traced(fn, model, *data):
    step = compile(fn, params=model.parameters() if hasattr(model, "parameters") else model, backend="numpy")
    step(step.theta, *data)
    return step


def mlp(**options):
    net = nn.MLP(2, [3, 1], activation="tanh", seed=0, **options)
    return traced(lambda x, t: losses.mse(net(x), t), net, np.ones((N, 2)), np.ones(N))


def deep():
    net = nn.MLP(2, [4, 3, 2], activation="relu", seed=0)
    return traced(lambda x, t: losses.cross_entropy(net(x), t) + losses.l2(net, 1e-3), net, np.ones((N, 2)), np.ones(N))


def skip():
    net = nn.MLP(2, [3, 1], activation="sigmoid", skip=True, seed=0)
    return traced(lambda x, t: losses.bce_with_logits(net(x), t), net, np.ones((N, 2)), np.ones(N))


def recurrent(cell):
    rnn = nn.RNN(cell(2, 3, seed=0), nn.Layer(3, 1, "identity", seed=1), last=True)
    return traced(lambda x, t: losses.mse(rnn(x), t), rnn, np.ones((N, 3, 2)), np.ones(N))


def table():
    E = [[Value(0.1 * i + j, f"E[{i},{j}]") for j in range(2)] for i in range(4)]
    return traced(
        lambda k, t: sum((a - t) ** 2 for a in take(E, k)), [v for row in E for v in row], np.ones(N), np.ones(N)
    )


def special():
    w = Value(0.3, "w")
    return traced(lambda x: erf(w * x) + gelu(x / w), [w], np.ones(N))


PROGRAMS = {
    "a network": (mlp, ([0.5, -1.0], 1.0)),
    "three layers and a penalty": (deep, ([0.5, -1.0], 1.0)),
    "a skip": (skip, ([0.5, -1.0], 1.0)),
    "a recurrent network": (lambda: recurrent(nn.RNNCell), (np.ones((3, 2)).tolist(), 1.0)),
    "an LSTM": (lambda: recurrent(nn.LSTMCell), (np.ones((3, 2)).tolist(), 1.0)),
    "a table": (table, (2.0, 1.0)),
    "functions of single numbers": (special, (0.7,)),
}


def run(step, *data):
    """The arrays of the text, by name, when it is run on these data."""
    text = step.source[: step.source.rindex("\n    return ")] + "\n    return dict(locals())"
    namespace = {}
    exec(text, namespace)
    with np.errstate(all="ignore"):
        return namespace["value_and_gradient"](step.theta, *data)


def shape(text):
    """(3, 7) for 3×N."""
    return tuple(int(n.removesuffix("N") or 1) * N if "N" in n else int(n) for n in text.split("×"))


# --- Shapes -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", PROGRAMS)
def test_every_box_has_the_shape_of_its_array_in_the_text_that_runs(name):
    make, example = PROGRAMS[name]
    step = make()
    arrays = run(step, *[np.repeat([x], N, axis=0) for x in example])
    parameter_of = {}
    for block in re.finditer(r"^    (\w+) = (theta\[.*)$", step.source, flags=re.MULTILINE):
        parameter_of[block[1]] = np.shape(eval(block[2], {"np": np, "theta": step.theta}))
    checked = 0
    for box in boxes(draw_matrices(step, backward=True)).values():
        if len(box) != 2:
            continue
        title, shown = box
        title = title.removesuffix(" = 1/N")
        if title.startswith("gradient of "):
            expected = parameter_of[title.removeprefix("gradient of ")]
        elif title.startswith("gradient["):
            expected = (len(np.arange(len(step.theta))[eval(f"np.s_[{title[9:-1]}]")]), 1)
        else:
            expected = np.shape(eval(title, {"np": np}, arrays | module(step)))
        assert shape(shown) == expected, title
        checked += 1
    assert checked >= 5


def module(step):
    namespace = {}
    exec(step.source, namespace)
    return {name: x for name, x in namespace.items() if isinstance(x, np.ndarray)}


@pytest.mark.parametrize("name", PROGRAMS)
def test_shapes_on_the_edges_fit_each_other(name):
    checked = 0
    for line in read(PROGRAMS[name][0]().written):
        for item in line.items:
            taken = [shape(flow.shape) for flow in item.operands]
            if item.text == "@":
                (a, b), (c, d) = taken
                assert b == c
                assert shape(item.shape) == (a, d)
            elif (
                item.kind == "operation"
                and "sum" not in item.text
                and item.text not in ("vstack", "logsumexp", "total")
            ):
                assert shape(item.shape)[-2:] == np.broadcast_shapes(*taken)[-2:] or "broadcast_to" in item.text
            checked += len(taken)
    assert checked >= 8


def test_the_picture_of_a_network_reads_like_a_textbook():
    drawing = draw_matrices(mlp())
    assert repr(drawing) == '<Drawing of 11 arrays and 9 operations; .save("graph.svg") writes it>'
    found = boxes(drawing)
    given = [
        ["x", "2×N"],
        ["W1", "3×2"],
        ["b1", "3×1"],
        ["W2", "1×3"],
        ["b2", "1×1"],
        ["t", "1×N"],
        ["share = 1/N", "1×N"],
    ]
    made = [["a1", "3×N"], ["h1", "3×N"], ["a2", "1×N"], ["value", "1×1"]]
    assert sorted(lines for lines in found.values() if len(lines) == 2) == sorted([*given, *made])
    assert sorted(lines[0] for lines in found.values() if len(lines) == 1) == sorted(
        ["@", "+", "tanh", "@", "+", "-", "** 2", "*", "sum over N"]
    )
    name = {lines[0]: key for key, lines in found.items()}
    edges = labels(drawing.svg)
    product = next(edge.split("->")[1] for edge in edges if edge.startswith(f"{name['W1']}->"))
    assert edges[f"{name['W1']}->{product}"] == ["3×2"]
    assert edges[f"{name['x']}->{product}"] == ["2×N"]
    assert found[product] == ["@"]
    subtraction = next(key for key, lines in found.items() if lines == ["-"])
    assert edges[f"{name['t']}->{subtraction}"] == ["- 1×N"]
    assert "a1 = W1 @ x + b1" in ET.fromstring(drawing.svg).find(f".//{SVG}text").text


def test_the_way_back_is_another_colour_and_dashed_and_ends_at_the_gradients():
    step = mlp()
    forward, both = draw_matrices(step), draw_matrices(step, backward=True)
    shown = {lines[0] for lines in boxes(both).values()} - {lines[0] for lines in boxes(forward).values()}
    gradients = {f"gradient of {name}" for name in ("W1", "b1", "W2", "b2")}
    assert shown >= {"delta1", "delta2", "sech", "2 *", "W2.T", "h1.T", "x.T", *gradients}
    assert GRADIENT not in forward.source
    back = [line for line in both.source.splitlines() if "->" in line and "dir=back" in line]
    assert all("dashed" in line and GRADIENT in line for line in back)
    found = boxes(both)
    [delta1] = [key for key, lines in found.items() if lines[0] == "delta1"]
    row = next(line for line in both.source.splitlines() if line.strip().startswith(f"{delta1} ["))
    assert "dashed" in row
    assert GRADIENT in row
    # dL/dW1 = delta1 @ x.T: its operands are the one and the other
    lines = {line.items[-1].text: line for line in read(step.written)}
    product = next(item for item in lines["gradient of W1"].items if item.text == "@")
    assert [(flow.item.text + flow.view) for flow in product.operands][1] == "x.T"
    assert "gradient of W1 = 2 * delta1 @ x.T" in both.source
    assert [line.name for line in read(step.written) if not line.backward] == ["a1", "h1", "a2", "value"]


def test_any_program_has_a_picture():
    rosenbrock = compile(lambda x: 100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2)
    rosenbrock.grad([-1.2, 1.0])
    shown = {lines[0] for lines in boxes(draw_matrices(rosenbrock, backward=True)).values()}
    assert {"p", "s1", "s2", "value", "gradient[0:1]", "gradient[1:2]", "100 *"} <= shown
    net = nn.MLP(2, [3, 1], activation="tanh", seed=0)
    several = compile(lambda x: [net(x), sin(x[0])], params=net.parameters())
    several.each(several.theta, np.ones((N, 2)))
    assert {"results[0:1]", "results[1:2]"} <= {lines[0] for lines in boxes(draw_matrices(several)).values()}
    with pytest.raises(ValueError, match="only a function with one result has a backward pass"):
        draw_matrices(several, backward=True)
    X, y = [[0.1 * i, i * i] for i in range(N)], [1.0 / (i + 1) for i in range(N)]
    loop = compile(lambda: losses.mse([net([Value(a) for a in x]) for x in X], y), params=net.parameters())
    assert ["a1", "3×N"] in boxes(draw_matrices(loop)).values()


def test_what_cannot_be_drawn():
    net = nn.MLP(2, [3, 1], seed=0)
    step = compile(lambda x, t: losses.mse(net(x), t), params=net.parameters())
    for draw in (draw_matrices, draw_both):
        with pytest.raises(TypeError, match=rf"{draw.__name__} draws a compiled function, .*, got 3\.0 of type float"):
            draw(3.0)
    with pytest.raises(ValueError, match="nothing has been traced yet"):
        draw_matrices(step)
    with pytest.raises(ValueError, match=r"has 20 boxes and circles, more than max_nodes = 10: .*max_nodes=20"):
        draw_matrices(mlp(), max_nodes=10)
    with pytest.raises(ValueError, match=r"the graph of one example has 25 values, more than max_nodes = 5"):
        draw_both(mlp(), [0.5, -1.0], 1.0, max_nodes=5)
    with pytest.raises(ShapeError, match=r"the function takes 2 arguments \(x, t\), got 1"):
        draw_both(mlp(), [0.5, -1.0])
    several = compile(lambda x: [net(x), sin(x[0])], params=net.parameters())
    with pytest.raises(ValueError, match="draw_both takes a function with one result, this one has 2"):
        draw_both(several, [0.5, -1.0])
    X, y = np.ones((N, 2)).tolist(), [0.1 * i for i in range(N)]
    loop = compile(lambda: losses.mse([net([Value(a) for a in x]) for x in X], y), params=net.parameters())
    with pytest.raises(ValueError, match="it holds its data itself"):
        draw_both(loop)


# --- Scalars and arrays -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_scalar_is_the_entry_of_the_array_that_it_names(name):
    make, example = PROGRAMS[name]
    step = make()
    found = places(step, example)
    arrays = run(step, *[[x] for x in example])
    lines = {line.name for line in read(step.written)}
    entries = 0
    for v, (array, row) in found.items():
        if row >= 0:
            assert v.data == pytest.approx(np.ravel(arrays[array])[row], rel=1e-12, abs=1e-300), (array, row)
            entries += 1
        else:
            assert array in lines
    assert entries >= 2
    assert list(found)[-1].data == pytest.approx(arrays["value"].item(), rel=1e-12)


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_text_says_where_each_node_of_the_program_stands(name):
    make, example = PROGRAMS[name]
    step = make()
    written = step.written
    arrays = run(step, *[[x] for x in example])
    inputs = np.concatenate([np.ravel(x) for x in example])[:, None]
    known = {node: at for node, at in written.place.items() if at[1] >= 0 and at[0] not in ("1", "share")}
    for node, (array, row) in known.items():
        [expected] = evaluate(written.form, [(1.0, node)], step.theta, inputs)
        assert np.ravel(arrays[array])[row] == pytest.approx(float(np.squeeze(expected)), rel=1e-9, abs=1e-12)
    assert len(known) >= 4
    assert written.text == step.source


def test_one_picture_shows_three_neurons_become_one_array():
    step = mlp()
    drawing = draw_both(step, [0.5, -1.0], 1.0)
    assert repr(drawing) == '<Drawing of 25 scalars and 11 arrays; .save("graph.svg") writes it>'
    found = boxes(drawing)
    color = {
        key: re.search(rf"^\s*{key} \[.*fillcolor=\"(#\w+)\"", drawing.source, flags=re.MULTILINE)[1] for key in found
    }
    by_text = {lines[0]: key for key, lines in found.items() if lines}
    first, second, end = (color[by_text[name]] for name in ("a1", "a2", "value"))
    assert len({first, second, end}) == 3
    for name in ("a1[0]", "a1[2]", "h1[1]", "W1[0,1]", "b1[2]", "W1", "h1"):
        assert color[by_text[name]] == first
    for name in ("a2[0]", "in a2", "W2[0,2]", "W2"):
        assert color[by_text[name]] == second
    assert color[by_text["in value"]] == end
    assert {"x[0]", "x[1]", "t[0]"} <= by_text.keys()
    assert {"one example, in scalars", "N examples, in arrays"} <= {
        text.text.strip() for text in ET.fromstring(drawing.svg).iter(f"{SVG}text")
    }


def test_drawing_leaves_parameters_and_gradients_alone():
    net = nn.MLP(2, [3, 1], seed=0)
    step = traced(lambda x, t: losses.mse(net(x), t), net, np.ones((N, 2)), np.ones(N))
    before = [(p.data, p.grad, p.label) for p in net.parameters()]
    assert draw_both(step, [0.5, -1.0], 1.0).source == draw_both(step, [0.5, -1.0], 1.0).source
    assert draw_matrices(step, backward=True).source == draw_matrices(step, backward=True).source
    assert [(p.data, p.grad, p.label) for p in net.parameters()] == before


@pytest.mark.parametrize(
    "draw",
    [draw_matrices, lambda step: draw_matrices(step, backward=True), lambda step: draw_both(step, [0.5, -1.0], 1.0)],
)
def test_no_text_leaves_its_box_even_in_a_wide_font(draw):
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextPath

    font = FontProperties(family="DejaVu Sans")
    checked = 0
    for group in ET.fromstring(draw(skip()).svg).iter(f"{SVG}g"):
        if group.get("class") != "node":
            continue
        shapes = [*group.iter(f"{SVG}polygon"), *group.iter(f"{SVG}path"), *group.iter(f"{SVG}ellipse")]
        if shapes[0].tag == f"{SVG}ellipse":
            center, radius = float(shapes[0].get("cx")), float(shapes[0].get("rx"))
            left, right = center - radius, center + radius
        else:
            xs = [float(x) for x in re.findall(r"(-?[\d.]+),-?[\d.]+", shapes[0].get("points") or shapes[0].get("d"))]
            left, right = min(xs), max(xs)
        for text in group.iter(f"{SVG}text"):
            half = TextPath((0, 0), text.text, size=float(text.get("font-size")), prop=font).get_extents().width / 2
            assert left <= float(text.get("x")) - half, text.text
            assert float(text.get("x")) + half <= right, text.text
            checked += 1
    assert checked >= 20
