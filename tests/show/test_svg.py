"""The judge of pictures is judged: what is clipped it finds, what can be read it passes."""

import unicodedata

import pytest
from svg import clipped_labels, labels, overlapping_texts, text_box

from tinygrad_vi import Value, maximum, nn, sigmoid
from tinygrad_vi.show import draw, draw_network
from tinygrad_vi.show.graphs.gates import draw_circuit
from tinygrad_vi.show.render import render


def picture(body):
    return render(f'digraph {{ node [fontname="Helvetica,Arial,DejaVu Sans"]; {body} }}', "svg").decode()


LONG = "WWWWWWWWWWWW"


@pytest.mark.parametrize("shape", ["box", "ellipse", 'box, style="rounded"', "box, peripheries=2"])
def test_a_text_too_long_for_its_box_is_found(shape):
    body = f'a [shape={shape}, fixedsize=true, width=1, height=0.4, label="{{}}"]; b [width=4]; a -> b'
    assert clipped_labels(picture(body.format(LONG))) == [f"'{LONG}' leaves its box"]
    assert clipped_labels(picture(body.format("WW"))) == []


def in_a_circle(text, y):
    """A circle of radius 40 around (50, 50) with a text in its middle whose baseline is at y, as Graphviz writes it.

    Written by hand: where Graphviz puts the lines of a label depends on the fonts of the machine.
    """
    return f"""<svg viewBox="0 0 100 100" xmlns="http://www.w3.org/2000/svg">
<g class="graph" transform="scale(1 1) rotate(0) translate(0 0)"><g class="node"><title>a</title>
<ellipse fill="none" cx="50" cy="50" rx="40" ry="40"/>
<text text-anchor="middle" x="50" y="{y}" font-size="12.00">{text}</text></g></g></svg>"""


@pytest.mark.parametrize(
    ("text", "y", "fits"),
    [
        ("middle line", 54.0, True),  # 68 points wide
        ("middle line", 34.0, True),  # the chord is still 71
        ("middle line", 30.0, False),  # 66
        ("middle line", 74.0, True),
        ("middle line", 78.0, False),
        ("iii", 16.0, True),
        ("mmm", 16.0, False),
        ("WWWWWWW", 54.0, False),
    ],
)
def test_a_text_in_a_circle_must_fit_where_it_stands(text, y, fits):
    assert clipped_labels(in_a_circle(text, y)) == ([] if fits else [f"{text!r} leaves its box"])


def test_a_text_that_leaves_the_picture_is_found():
    svg = picture('a [shape=plain, label="here"]').replace('x="', 'x="9')
    assert "'here' leaves the picture" in clipped_labels(svg)


def test_texts_that_lie_on_each_other_are_found():
    body = 'layout=neato; node [shape=plaintext]; a [label="alpha", pos="0,0!"]; b [label="beta", pos="{},0!"]'
    assert clipped_labels(picture(body.format(0.2))) == ["'alpha' lies on 'beta'"]
    assert clipped_labels(picture(body.format(1.5))) == []


def test_a_text_is_as_wide_as_in_dejavu_sans():
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextPath

    for text in ("grad 0.005289", "trọng số", "w₁₂⁽¹⁾ = 0.2", "A⁽¹⁾ᵀ dZ⁽²⁾ ⊙ σ′"):
        ink = TextPath((0, 0), text, size=11, prop=FontProperties(family="DejaVu Sans")).get_extents()
        box = text_box(text, 0.0, 0.0, 11.0)
        assert (box.left, box.right) == pytest.approx((ink.x0, ink.x1), abs=1.5)
        assert (-box.bottom, -box.top) == pytest.approx((ink.y0, ink.y1), abs=0.3)
    middle, end = (text_box("abc", 50.0, 0.0, 11.0, anchor) for anchor in ("middle", "end"))
    assert middle.left + middle.right == pytest.approx(100.0, abs=1.0)
    assert end.right == pytest.approx(50.0, abs=1.0)
    composed, decomposed = (text_box(unicodedata.normalize(form, "Ngủ ễ"), 0, 0, 11.0) for form in ("NFC", "NFD"))
    assert composed == decomposed


def test_plots_are_judged_too():
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2, 2))
    figure.text(0.5, 0.5, "one")
    figure.text(0.52, 0.5, "two")
    figure.text(0.9, 0.1, "outside")
    assert overlapping_texts(figure) == ["'outside' leaves the figure", "'one' lies on 'two'"]


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize("label", ["trọng số của nơ-ron thứ nhất, tầng ẩn", "ĐẠI LƯỢNG LIÊN HỢP", "Ngủ", "mmmmmmmmmm"])
def test_vietnamese_labels_can_be_read_in_every_picture_of_a_graph(form, label):
    label = unicodedata.normalize(form, label)
    x = Value(-1.23456789e-15, label)
    y = maximum(x, x.tanh()) * sigmoid(x)
    y.label = label
    y.backward()
    for drawing in (draw(y, local=True, roles=True), draw_circuit(y, local=True, roles=True)):
        assert clipped_labels(drawing.svg) == []
        shown = [text for lines in labels(drawing.svg).values() for text in lines]
        assert sum(unicodedata.normalize("NFC", label) in text for text in shown) == 2


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_vietnamese_names_of_units_can_be_read(form):
    names = [unicodedata.normalize(form, name) for name in ("Số giờ học", "Số giờ ngủ")]
    drawing = draw_network(nn.MLP(2, [3, 1], seed=0), inputs=names, outputs=["Đậu"], x=[7.0, 6.0], target=1.0)
    assert clipped_labels(drawing.svg) == []
    assert labels(drawing.svg)["n0_1"] == ["Số giờ ngủ"]
