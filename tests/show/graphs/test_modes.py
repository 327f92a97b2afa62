"""The two modes on the graph: every number drawn is that of the sweep, and of the textbook's tables."""

import re
import xml.etree.ElementTree as ET

import pytest

from tinygrad_vi import Tape, Value, dot, exp, gelu, log, maximum, sin, tanh, total
from tinygrad_vi.show.graphs.sweeps import draw_modes
from tinygrad_vi.show.palette import GRADIENT, VALUE

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def tape():
    x1, x2 = Value(2.0, "x1"), Value(5.0, "x2")
    return Tape(log(x1) + x1 * x2 - sin(x2), inputs=[x1, x2])


def groups(drawing):
    """What Graphviz drew: (title, texts, the group) of every node and edge."""
    for group in ET.fromstring(drawing.svg).iter(f"{SVG}g"):
        if group.get("class") in ("node", "edge"):
            yield (
                group.findtext(f"{SVG}title"),
                ["".join(t.itertext()).strip() for t in group.iter(f"{SVG}text")],
                group,
            )


def boxes(drawing):
    return {title: texts for title, texts, _ in groups(drawing) if "->" not in title}


def arrows(drawing):
    return sorted((title, *texts) for title, texts, _ in groups(drawing) if "->" in title)


@pytest.mark.usefixtures("renderer")
def test_the_forward_mode_is_the_textbooks_table_3_1(tape):
    """Seed B05."""
    drawing = draw_modes(tape, "forward")
    assert boxes(drawing) == {
        "v0": ["v₋₁ = x1", "= 2", "v̇₋₁ = 1"],
        "v1": ["v₀ = x2", "= 5", "v̇₀ = 0"],
        "v2": ["v₁ = log(v₋₁)", "= 0.6931", "v̇₁ = 0.5"],
        "v3": ["v₂ = v₋₁ * v₀", "= 10", "v̇₂ = 5 + 0 = 5"],
        "v4": ["v₃ = sin(v₀)", "= -0.9589", "v̇₃ = 0"],
        "v5": ["v₄ = v₁ + v₂", "= 10.69", "v̇₄ = 0.5 + 5 = 5.5"],
        "v6": ["v₅ = v₄ - v₃", "= 11.65", "v̇₅ = 5.5 + 0 = 5.5"],
        "sv0": ["ẋ1 = 1"],
        "sv1": ["ẋ2 = 0"],
        "y": ["y = 11.65", "ẏ = 5.5"],
    }
    assert arrows(drawing) == [
        ("sv0->v0",),
        ("sv1->v1",),
        ("v0->v2", "v̇₋₁·(1 / v₋₁)", "= 1·0.5 = 0.5"),
        ("v0->v3", "v̇₋₁·v₀", "= 1·5 = 5"),
        ("v1->v3", "v̇₀·v₋₁", "= 0·2 = 0"),
        ("v1->v4", "v̇₀·cos(v₀)", "= 0·0.2837 = 0"),
        ("v2->v5", "v̇₁", "= 0.5·1 = 0.5"),
        ("v3->v5", "v̇₂", "= 5·1 = 5"),
        ("v4->v6", "-v̇₃", "= 0·(-1) = 0"),
        ("v5->v6", "v̇₄", "= 5.5·1 = 5.5"),
        ("v6->y",),
    ]


def test_the_other_seed_gives_the_other_column(tape):
    """Seed B06."""
    found = boxes(draw_modes(tape, "forward", seeds={"x2": 1.0}))
    tangents = [found[f"v{i}"][2].split(" = ")[-1] for i in range(7)]
    assert tangents == ["0", "1", "0", "2", "0.2837", "2", "1.716"]
    assert (found["sv0"], found["sv1"], found["y"][1]) == (["ẋ1 = 0"], ["ẋ2 = 1"], "ẏ = 1.716")


@pytest.mark.usefixtures("renderer")
def test_the_reverse_mode_is_the_textbooks_table_3_2(tape):
    """Seed B07."""
    drawing = draw_modes(tape, "reverse")
    assert boxes(drawing) == {
        "v0": ["v₋₁ = x1", "= 2", "v̄₋₁ = 5 + 0.5 = 5.5"],
        "v1": ["v₀ = x2", "= 5", "v̄₀ = -0.2837 + 2 = 1.716"],
        "v2": ["v₁ = log(v₋₁)", "= 0.6931", "v̄₁ = 1"],
        "v3": ["v₂ = v₋₁ * v₀", "= 10", "v̄₂ = 1"],
        "v4": ["v₃ = sin(v₀)", "= -0.9589", "v̄₃ = -1"],
        "v5": ["v₄ = v₁ + v₂", "= 10.69", "v̄₄ = 1"],
        "v6": ["v₅ = v₄ - v₃", "= 11.65", "v̄₅ = 1"],
        "sv0": ["x̄1 = 5.5"],
        "sv1": ["x̄2 = 1.716"],
        "y": ["y = 11.65", "ȳ = 1"],
    }
    assert arrows(drawing) == [
        ("sv0->v0",),
        ("sv1->v1",),
        ("v0->v2", "v̄₁·(1 / v₋₁)", "= 1·0.5 = 0.5"),
        ("v0->v3", "v̄₂·v₀", "= 1·5 = 5"),
        ("v1->v3", "v̄₂·v₋₁", "= 1·2 = 2"),
        ("v1->v4", "v̄₃·cos(v₀)", "= (-1)·0.2837 = -0.2837"),
        ("v2->v5", "v̄₄", "= 1·1 = 1"),
        ("v3->v5", "v̄₄", "= 1·1 = 1"),
        ("v4->v6", "-v̄₅", "= 1·(-1) = -1"),
        ("v5->v6", "v̄₅", "= 1·1 = 1"),
        ("v6->y",),
    ]


@pytest.mark.parametrize("mode", ["forward", "reverse"])
def test_every_number_is_that_of_the_sweep_to_all_digits(mode):
    a, b, c = Value(0.7, "a"), Value(-1.3, "b"), Value(2.0, "c")
    y = tanh(dot([a, b], [c, 0.5], -0.25)) * maximum(a * a, b) + gelu(b) / exp(c) + total([a, b, c])
    tape = Tape(y)
    trace = tape.tangent({"b": 1.0}) if mode == "forward" else tape.adjoint()
    drawing = draw_modes(tape, mode, seeds={"b": 1.0} if mode == "forward" else None, digits=17)
    found = boxes(drawing)
    for i, row in enumerate(tape):
        *_, value, derivative = found[f"v{i}"]
        assert float(value.split("= ")[-1]) == row.data
        assert float(derivative.split(" = ")[-1]) == trace[row]
    products = sorted(float(texts[-1].split(" = ")[-1]) for title, *texts in arrows(drawing) if texts)
    assert products == sorted(term.product for terms in trace.terms.values() for term in terms)
    assert len(products) == trace.multiplications


def test_a_reverse_sweep_may_start_from_another_seed(tape):
    found = boxes(draw_modes(tape, "reverse", seeds=2.0))
    assert found["y"] == ["y = 11.65", "ȳ = 2"]
    assert found["sv0"] == ["x̄1 = 11"]


@pytest.mark.parametrize(("mode", "color", "dashed"), [("forward", VALUE, False), ("reverse", GRADIENT, True)])
def test_arrows_of_the_two_modes_differ_in_colour_dash_and_direction(tape, mode, color, dashed):
    drawing = draw_modes(tape, mode)
    edges = re.findall(r"^\t\w+ -> \w+ \[.*\]$", drawing.source, flags=re.MULTILINE)
    assert len(edges) == 8 + 2 + 1
    for edge in edges:
        assert f'color="{color}"' in edge
        assert ("style=dashed" in edge) == ("dir=back" in edge) == dashed
    drawn = [
        group for title, _, group in groups(drawing) if "->" in title and "stroke" in (group.find(f"{SVG}path").attrib)
    ]
    visible = [g.find(f"{SVG}path").attrib for g in drawn if g.find(f"{SVG}path").get("stroke") == color]
    assert len(visible) == 11
    assert all(("stroke-dasharray" in path) == dashed for path in visible)


def test_arrows_that_carry_nothing_are_thin(tape):
    edges = dict(
        re.findall(r"^\t(\w+ -> \w+) \[.*penwidth=([\d.]+)", draw_modes(tape, "forward").source, flags=re.MULTILINE)
    )
    assert {edge for edge, width in edges.items() if float(width) < 1} == {"v1 -> v3", "v1 -> v4", "v4 -> v6"}


def test_a_value_is_drawn_with_all_its_inputs_and_twice_used_operands_have_two_arrows():
    x = Value(3.0, "x")
    drawing = draw_modes(x * x)
    assert repr(drawing) == '<Drawing of a reverse sweep over 1 input and 1 operation; .save("graph.svg") writes it>'
    assert [arrow[0] for arrow in arrows(drawing)] == ["sv0->v0", "v0->v1", "v0->v1", "v1->y"]
    assert boxes(drawing)["v0"][-1] == "v̄₀ = 3 + 3 = 6"


def test_constants_are_numbers_and_unnamed_inputs_have_no_second_name():
    drawing = draw_modes(2.0 * Value(3.0) + 1.0, "forward")
    assert boxes(drawing)["v0"] == ["v₋₂ = 2", "v̇₋₂ = 1"]  # without a label every leaf is an input
    named = draw_modes(2.0 * Value(3.0, "x") + 1.0, "forward")
    assert boxes(named)["v1"] == ["v₁ = 2 * v₀", "= 6", "v̇₁ = 2"]
    assert len(boxes(named)) == 3 + 2


def test_ends_where_nothing_happens():
    x = Value(2.0, "x")
    assert boxes(draw_modes(x))["y"] == ["x = 2", "x̄ = 1"]
    constant = draw_modes(Tape(Value(3.0), inputs=[x]), "forward")
    assert boxes(constant)["y"] == ["y = 3", "ẏ = 0"]
    assert [arrow[0] for arrow in arrows(constant)] == ["sv0->v0"]


def test_long_rules_name_the_derivative_and_long_sums_are_cut():
    x = Value(0.5, "x")
    assert ("v0->v1", "v̄₁·∂v₁/∂v₀", "= 1·0.8675 = 0.8675") in arrows(draw_modes(gelu(x)))
    many = [Value(float(i), f"x{i}") for i in range(30)]
    found = boxes(draw_modes(total(many)))
    assert found["v30"][0].endswith("…")
    assert len(found["v30"][0]) == len("v₁ = ") + 60


@pytest.mark.usefixtures("renderer")
def test_labels_are_text_whatever_they_hold():
    label = 'a\\N\\G <b>&amp; "x"</b> $y$ đạo hàm\x00\n{|}'
    drawing = draw_modes(Value(2.0, label) * 3.0)
    assert boxes(drawing)["v0"][0] == 'v₀ = a\\N\\G <b>&amp; "x"</b> $y$ đạo hàm {|}'
    assert drawing.png.startswith(b"\x89PNG")


def test_equal_tapes_give_equal_pictures(tape):
    again = Tape(log(Value(2.0, "x1")) + 0.0)
    assert draw_modes(tape).source == draw_modes(tape).source
    assert draw_modes(again).source != draw_modes(tape).source


def test_gradients_are_left_alone(tape):
    tape.inputs[0].grad = 7.0
    draw_modes(tape)
    draw_modes(tape, "forward")
    assert [x.grad for x in tape.inputs] == [7.0, 0.0]


def test_wrong_input_says_what_was_wrong(tape):
    with pytest.raises(ValueError, match='mode must be "forward" or "reverse", got \'both\''):
        draw_modes(tape, "both")
    with pytest.raises(ValueError, match="'x3' is not an input of this tape; its inputs are x1, x2"):
        draw_modes(tape, "forward", seeds={"x3": 1.0})
    with pytest.raises(TypeError, match=r'seeds of a forward sweep are input -> speed, such as \{"x1": 1.0\}, got 1.0'):
        draw_modes(tape, "forward", seeds=1.0)
    with pytest.raises(TypeError, match="the seed of a reverse sweep is one number, the adjoint of the output, got"):
        draw_modes(tape, "reverse", seeds={"x1": 1.0})
    with pytest.raises(TypeError, match="a seed takes numbers or Values, got 'x1'"):
        draw_modes(tape, "reverse", seeds="x1")
    with pytest.raises(TypeError, match=r"a tape needs Values, got 3\.0"):
        draw_modes(3.0)
    with pytest.raises(
        ValueError, match=r"the tape has 7 rows, more than max_rows = 6: .* draw_modes\(\.\.\., max_rows=7\)"
    ):
        draw_modes(tape, max_rows=6)
