"""Labels of every kind in every picture, page and export: what is written is a valid file, and can be read."""

import io
import re
import warnings
import xml.etree.ElementTree as ET

import pytest
from svg import labels, texts

from tinygrad_vi import Tape, Value, dot, fit, nn, show
from tinygrad_vi.show.paper import plain_label
from tinygrad_vi.show.writing.names import label_symbol

HOSTILE = {
    "blank": " ", "a line": "\n", "null": "a\x00b", "control": "\x01\x1b[31m", "delete": "\x7f", "surrogate": "\ud800",
    "no character": "\ufffe\uffff", "line separator": "\u2028", "dollars": "$x$", "broken LaTeX": "$\\frac{",
    "backslash": "a\\", "name of a node": "\\N", "two lines": "a\nb", "quotes": "\"'", "tag": "<b>&lt;</b>",
    "brace": "{|}%", "end of CDATA": "]]>-->", "end of a script": "</script><!--", "emoji": "🎉", "long": "W" * 5000,
    "right to left": "\u202eabc", "composed": "e\u0301",
}  # fmt: skip


def graph(label):
    w, x = Value(0.5, "w"), Value(2.0, label)
    y = (w * x + Value(0.1, "b")).tanh()
    y.label = label
    return x, y


def graph_of_all():
    """Every label at once: one picture of each kind is enough."""
    x = [Value(2.0, label) for label in HOSTILE.values()]
    y = dot([Value(0.1, f"w{i}") for i in range(len(x))], x, Value(0.1, "b")).tanh()
    y.label = HOSTILE["surrogate"]
    return x, y


PICTURES = {
    "draw": lambda x, y: y.draw(local=True),
    "neurons": lambda x, y: y.draw(level="neuron", max_units=50),
    "layers": lambda x, y: y.draw(level="layer"),
    "circuit": lambda x, y: show.draw_circuit(y, local=True),
    "modes": lambda x, y: show.draw_modes(Tape(y, inputs=x)),
    "strip": lambda x, y: y.step_through(inputs=x).strip,
    "network": lambda x, y: show.draw_network(
        nn.MLP(len(x), [1], seed=0), max_units=50, inputs=[v.label for v in x], outputs=[y.label]
    ),
}


def assert_readable(drawing):
    found = texts(drawing.svg)  # the parser of XML is the judge
    assert found
    assert all(len(text) < 160 for text in found)
    assert not any(re.search(r"[\x00-\x1f\x7f\ud800-\udfff\ufffe\uffff]", text) for text in found)


@pytest.mark.parametrize("kind", PICTURES)
def test_no_label_breaks_a_picture_of_a_graph(kind):
    assert_readable(PICTURES[kind](*graph_of_all()))


@pytest.mark.parametrize("label", [" ", "\x00", "\ud800", "\\", "\n"])
def test_no_label_alone_breaks_a_picture_of_a_graph(label):
    x, y = graph(label)
    assert_readable(y.draw(level="neuron"))
    assert_readable(PICTURES["network"]([x], y))


@pytest.mark.parametrize("name", ["null", "control", "surrogate", "no character", "broken LaTeX", "emoji", "long"])
def test_no_label_breaks_a_plot_or_a_film(name, tmp_path):
    label = HOSTILE[name]
    w = Value(0.0, "w")
    film = show.Film(lambda x: w * x, lambda x, t: (w * x - t) ** 2, [1.0, 2.0], [3.0, 6.0], params=[w],
                     labels=(label, label), frames=2)  # fmt: skip
    fit(lambda x, t: (w * x - t) ** 2, [1.0, 2.0], [3.0, 6.0], params=[w], epochs=1, callbacks=film, progress=False)
    layer = nn.Layer.from_weights([[0.0, 1.0, 1.0, 0.0]])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # no glyph, no room
        plots = [
            show.predictions([0.0, 1.0], [0.5, 1.0], labels=(label, label)),
            show.templates(layer, titles=[label], names=[label]),
            film,
        ]
        for k, plot in enumerate(plots):
            ET.parse(io.BytesIO(plot.save(tmp_path / f"{k}.svg").read_bytes()))


@pytest.mark.parametrize("name", HOSTILE)
def test_no_label_breaks_a_table_a_derivation_or_a_page(name):
    x, y = graph(HOSTILE[name])
    table = Tape(y).adjoint().table()
    for latex in (table.to_latex(), show.derive(y, x).to_latex()):
        bare = re.sub(r"\\[\\{}$&#%_]", "", latex)
        assert bare.count("{") == bare.count("}")
        assert bare.count("$") % 2 == 0
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", latex)
    ET.fromstring(re.sub("&(?!(amp|lt|gt|quot|#x27);)", "!", table.to_html()))
    page = y.step_through()._write("")
    assert page.count("</script>") == 3
    page.encode()


def test_a_blank_label_is_no_label():
    for blank in (" ", "\n", "\x00", "\u2028\t"):
        _, y = graph(blank)
        shown = [lines for lines in labels(y.draw().svg).values() if lines and "data" in " ".join(lines)]
        assert all(lines[0] for lines in shown)
        assert ["data 2", "grad —"] in shown
        assert any(text == "2" for text in texts(show.draw_circuit(y).svg))
    assert plain_label(["", "a", " "]) == "\u00a0\\na\\n\u00a0"


@pytest.mark.parametrize(
    ("labels_", "symbols"),
    [
        (["v1", "b"], [r"\text{v1}", "b"]),
        (["v_1", "b"], [r"\text{v\_1}", "b"]),
        (["v₁", "b"], [r"\text{“v₁”}", "b"]),
        (["v0", "v-1"], [r"\text{v0}", r"\text{v-1}"]),
        (["v9", "b"], ["v_{9}", "b"]),  # there is no such row
        (["x1", "x_1"], [r"\text{x1}", r"\text{x\_1}"]),
        (["x₁", "x1"], [r"\text{x₁}", r"\text{x1}"]),
        (["u", "V1"], ["u", "V_{1}"]),
    ],
)
def test_no_two_symbols_of_a_table_are_one(labels_, symbols):
    a, b = (Value(x, label) for x, label in zip((2.0, 3.0), labels_, strict=True))
    y = a * b + a
    for table in (
        Tape(y, inputs=[a, b]).table(),
        Tape(y, inputs=[a, b]).tangent().table(),
        Tape(y, inputs=[a, b]).adjoint().table(),
    ):
        assert [row[1].latex for row in table.rows[:2]] == symbols
        names = [row[0].latex for row in table.rows[:4]]
        assert not {*names} & {row[1].latex for row in table.rows[:2]}
    rows = [Tape(y, inputs=[a, b]).tangent().table().rows[k][5].latex for k in (0, 1)]
    assert len({*rows}) == 2
    assert (rows[0] == r"\dot{v}_{-1}") == symbols[0].startswith(r"\text")


def test_an_output_that_is_called_like_a_row_or_an_input_is_not_taken_for_it():
    x = Value(2.0, "x")
    for label in ("v1", "v₁", "x"):
        y = x * x + x
        y.label = label
        last = Tape(y, inputs=[x]).adjoint().table().rows[-1]
        first = Tape(y, inputs=[x]).adjoint().table().rows[0]
        assert last[0].latex != r"v_{1}"
        assert last[3].latex != first[3].latex.split(" = ")[0]


def test_a_label_is_the_same_symbol_everywhere():
    x = Value(2.0, "v1")
    y = x * x
    assert label_symbol("v1").latex == "v_{1}"
    assert "v_{1}^" not in show.derive(y, x).to_latex()
    assert "v1 · v₀" in texts(y.step_through().strip.svg)
    assert any("= v1" in text for text in texts(show.draw_modes(y).svg))
