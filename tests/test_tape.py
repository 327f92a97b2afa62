import re

import pytest

from tinygrad_vi import Tape, Value, dot, exp, gelu, log, maximum, relu, sigmoid, sin, softplus, tanh, total, where
from tinygrad_vi.expression import evaluate
from tinygrad_vi.ops import OPERATIONS, power
from tinygrad_vi.show.formula import Symbol


@pytest.fixture
def tape():
    x1, x2 = Value(2.0, "x1"), Value(5.0, "x2")
    return Tape(log(x1) + x1 * x2 - sin(x2), inputs=[x1, x2])


def cells(table, text="text"):
    return [[getattr(cell, text) for cell in row] for row in table.rows]


def test_the_forward_table_is_the_textbooks_row_for_row(tape):
    assert cells(tape.tangent({"x1": 1.0}).table()) == [
        ["v₋₁", "x1", "", "2", "v̇₋₁", "ẋ1", "", "1"],
        ["v₀", "x2", "", "5", "v̇₀", "ẋ2", "", "0"],
        ["v₁", "log(v₋₁)", "log(2)", "0.6931", "v̇₁", "v̇₋₁·(1 / v₋₁)", "1·0.5", "0.5"],
        ["v₂", "v₋₁ * v₀", "2 * 5", "10", "v̇₂", "v̇₋₁·v₀ + v̇₀·v₋₁", "1·5 + 0·2", "5"],
        ["v₃", "sin(v₀)", "sin(5)", "-0.9589", "v̇₃", "v̇₀·cos(v₀)", "0·0.2837", "0"],
        ["v₄", "v₁ + v₂", "0.6931 + 10", "10.69", "v̇₄", "v̇₁ + v̇₂", "0.5·1 + 5·1", "5.5"],
        ["v₅", "v₄ - v₃", "10.69 - (-0.9589)", "11.65", "v̇₅", "v̇₄ - v̇₃", "5.5·1 + 0·(-1)", "5.5"],
        ["y", "v₅", "", "11.65", "ẏ", "v̇₅", "", "5.5"],
    ]


def test_the_reverse_table_is_the_textbooks_aligned_with_its_rows(tape):
    assert cells(tape.adjoint().table()) == [
        ["v₋₁", "x1", "2", "x̄1 = v̄₋₁", "v̄₂·v₀ + v̄₁·(1 / v₋₁)", "1·5 + 1·0.5", "5 + 0.5 = 5.5"],
        ["v₀", "x2", "5", "x̄2 = v̄₀", "v̄₃·cos(v₀) + v̄₂·v₋₁", "(-1)·0.2837 + 1·2", "-0.2837 + 2 = 1.716"],
        ["v₁", "log(v₋₁)", "0.6931", "v̄₁", "v̄₄", "1·1", "1"],
        ["v₂", "v₋₁ * v₀", "10", "v̄₂", "v̄₄", "1·1", "1"],
        ["v₃", "sin(v₀)", "-0.9589", "v̄₃", "-v̄₅", "1·(-1)", "-1"],
        ["v₄", "v₁ + v₂", "10.69", "v̄₄", "v̄₅", "1·1", "1"],
        ["v₅", "v₄ - v₃", "11.65", "v̄₅", "ȳ", "", "1"],
        ["y", "v₅", "11.65", "ȳ", "", "", "1"],
    ]


def big_tape():
    a, b, c = Value(0.7, "a"), Value(-1.3, "b"), Value(2.0, "c")
    h = [tanh(dot([a, b], [c, 0.5], -0.25)), sigmoid(a * b), maximum(a, b), gelu(b), relu(b), softplus(c / a)]
    return Tape(total([where(h[2], h[0], h[1]), exp(-h[3]), *h[4:], a**-1.5, c ** Value(1.5, "n"), log(c) * h[0]]))


@pytest.mark.parametrize("mode", ["tangent", "adjoint"])
@pytest.mark.parametrize("digits", [4, 16])
def test_the_printed_factors_multiply_and_add_up_to_the_printed_result(mode, digits):
    tape = big_tape()
    table = getattr(tape, mode)().table(digits)
    checked = 0
    for row in cells(table):
        factors, printed = row[-2], row[-1]
        if not factors:
            continue
        products = [
            float(x.strip("()")) * float(y.strip("()"))
            for x, y in re.findall(r"(\([^)]*\)|[-\d.e]+)·(\([^)]*\)|[-\d.e]+)", factors)
        ]
        assert len(products) == factors.count("·")
        result = float(printed.split("=")[-1])
        scale = sum(map(abs, products))
        assert sum(products) == pytest.approx(result, abs=scale * 10.0 ** (2 - digits) + 1e-15)
        if "=" in printed:
            assert evaluate(printed.split("=")[0], {}) == pytest.approx(
                result, abs=scale * 10.0 ** (2 - digits) + 1e-15
            )
        checked += 1
    assert checked >= len(tape.operations) - 1


@pytest.mark.parametrize("op", [*OPERATIONS.values(), *map(power, (0.0, 1.0, 2.0, -1.0, 0.5))], ids=lambda op: str(op))
def test_the_textbook_form_of_a_derivative_is_the_derivative(op):
    for point in op.points:
        if max(map(abs, point)) > 30 or min(map(abs, point)) < 1e-8:  # the textbook form may cancel in the tails
            continue
        out = op.value(*point)
        partials, taught = op.partials(out, *point), op.taught(out, *point)
        assert list(taught) == pytest.approx(list(partials), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("op", OPERATIONS.values(), ids=lambda op: op.name)
def test_the_text_of_an_operation_evaluates_to_its_value(op):
    for point in op.points:
        names = [f"x{i}" for i in range(len(point))]
        symbol = Symbol.record(op, *map(Symbol, names))
        assert evaluate(symbol.text, dict(zip(names, point, strict=True))) == pytest.approx(op.value(*point), rel=1e-12)


def test_symbols_get_the_parentheses_they_need():
    a, b, c = Symbol("a"), Symbol("b"), Symbol("c")
    assert ((a + b) * c).text == "(a + b) * c"
    assert (a - (b - c)).text == "a - (b - c)"
    assert (a - b - c).text == "a - b - c"
    assert ((a / b) / c).text == "a / b / c"
    assert ((-a) ** 2).text == "(-a) ** 2"
    assert (a**b**c).text == "a ** (b ** c)"
    assert ((a + b) / c).latex == r"\frac{a + b}{c}"
    assert (2.0 * (a + 1.0)).latex == r"2 \cdot \left(a + 1\right)"
    assert Symbol.record(OPERATIONS["exp"], a + b).latex == "e^{a + b}"
    assert (Symbol.of(-3.0) * a).text == "(-3) * a"
    assert (1.0 * a).text == "a"


def test_inputs_default_to_labelled_leaves_and_constants_get_no_row():
    x = Value(3.0, "x")
    tape = Tape(x * 2.5 + 1)
    assert tape.inputs == [x]
    assert cells(tape.table())[1][:3] == ["v₁", "v₀ * 2.5", "3 * 2.5"]
    a, b = Value(1.0), Value(2.0)
    assert Tape(a * b).inputs == [a, b]


def test_an_input_may_be_the_result_of_an_operation():
    x = Value(3.0, "x")
    q = x * x
    tape = Tape(q * 2 + q, inputs=[q])
    assert len(tape) == 3
    assert tape.adjoint()[q] == 3.0


def test_an_input_without_influence_has_the_derivative_zero():
    x, z = Value(3.0, "x"), Value(4.0, "z")
    tape = Tape(x * x, inputs=[x, z])
    assert tape.adjoint()["z"] == 0.0
    assert tape.tangent({z: 1.0})[tape.output] == 0.0
    assert tape.tangent()[tape.output] == 6.0


def test_tapes_of_a_leaf_and_of_a_constant():
    x = Value(3.0, "x")
    assert len(Tape(x)) == 1
    assert Tape(x).adjoint(2.0)[x] == 2.0
    constant = Value(3.0)
    trace = Tape(constant, inputs=[]).tangent()
    assert trace[constant] == 0.0
    assert "3" in str(trace)


def test_bad_arguments_say_what_was_wrong(tape):
    x = tape.inputs[0]
    with pytest.raises(TypeError, match=r"a tape needs Values, got 3\.0 of type float for the output"):
        Tape(3.0)
    with pytest.raises(TypeError, match=r"got 'x' of type str for inputs\[1\]"):
        Tape(tape.output, inputs=[x, "x"])
    with pytest.raises(ValueError, match="given twice"):
        Tape(tape.output, inputs=[x, x])
    with pytest.raises(ValueError, match="'x3' is not an input of this tape; its inputs are x1, x2"):
        tape.tangent({"x3": 1.0})


def test_exports_to_markdown_latex_and_html(tape):
    table = tape.adjoint().table()
    assert r"\bar{v}_{3} \cdot \cos\left(v_{0}\right) + \bar{v}_{2} \cdot v_{-1}" in table.to_latex()
    assert "-0.2837 + 2 = 1.716" in table.to_markdown()
    assert table.to_markdown().count("\n|") == 10
    assert table._repr_html_().count("<tr>") == 9
    assert "v̄₃·cos(v₀)" in tape.adjoint()._repr_html_()
    assert str(tape.adjoint()) == repr(tape.adjoint()) == str(table)
    assert repr(tape) == "<Tape: 2 inputs, 5 operations, y = 11.652071455223084>"
    assert "v₄ - v₃" in str(tape)


def test_columns_line_up_although_accents_have_no_width(tape):
    wcwidth = pytest.importorskip("wcwidth", reason="tabulate[widechars] brings it")
    for table in (tape.tangent().table(), tape.adjoint().table()):
        assert len({wcwidth.wcswidth(line) for line in table.to_text().splitlines()[1:]}) == 1


def test_labels_are_escaped_everywhere():
    nasty = Value(1.0, "a|b_<i>$%&\\{}")
    table = Tape(nasty * 2, inputs=[nasty]).adjoint().table()
    assert r"a\|b\_\<i>" in table.to_markdown()
    assert "&lt;i&gt;" in table.to_html()
    assert r"\text{a|b\_<i>\$\%\&\textbackslash{}\{\}}" in table.to_latex()


def test_a_long_tape_shows_its_ends_on_a_screen_and_all_rows_in_a_file():
    y = Value(1.0, "x")
    for _ in range(200):
        y = y + 1.0
    table = Tape(y).adjoint().table()
    assert "142 more rows" in str(table)
    assert str(table).count("\n") < 70
    assert table.to_markdown().count("\n") > 200


def test_a_sum_of_many_terms_is_shortened_in_its_cell():
    x = Value(1.0, "x")
    y = total([x * float(i) for i in range(50)])
    row = cells(Tape(y).adjoint().table())[0]
    assert len(row[4]) < 100
    assert "..." in row[4]
    assert row[-1].endswith("= 1225")
