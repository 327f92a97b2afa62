import re

import pytest

from tinygrad_vi import Tape, Value, dot, exp, gelu, log, maximum, relu, sigmoid, sin, softplus, tanh, total, where
from tinygrad_vi.expression import evaluate
from tinygrad_vi.show.writing.names import label_symbol


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
    table = getattr(tape, mode)().table(digits=digits)
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


def test_a_formula_shows_the_program_as_it_was_written():
    def formulas(y):
        return [row[1:3] for row in cells(Tape(y).table()) if row[2]]

    x, y, b = Value(1.0, "x"), Value(5.0, "y"), Value(0.0, "b")
    assert formulas(x * y) == [["v₋₁ * v₀", "1 * 5"]]
    assert formulas(x * 1.0) == [["v₀ * 1", "1 * 1"]]
    assert formulas(dot([x], [y], b)) == [["v₋₂ * v₋₁ + v₀", "1 * 5 + 0"]]
    assert formulas(dot([x], [y])) == [["v₋₁ * v₀", "1 * 5"]]


def test_where_the_textbooks_formula_is_not_the_convention_the_number_stands():
    a, b, c = Value(3.0, "a"), Value(3.0, "b"), Value(0.0, "c")
    rules = {row[1]: row[4] for row in cells(Tape(maximum(a, b) + abs(c) + relu(c)).adjoint().table())}
    assert (rules["a"], rules["b"]) == ("v̄₁·0.5", "v̄₁·0.5")
    assert rules["c"] == "v̄₃·step(v₀) + v̄₂·0"
    rules = {row[1]: row[4] for row in cells(Tape(maximum(a, c) + abs(a) + tanh(20 * b)).adjoint().table())}
    assert rules["a"] == "v̄₂·(v₋₂ / v₂) + v̄₁·step(v₋₂ - v₋₁)"
    assert rules["20 * v₀"] == "v̄₅·(1 - v₅ ** 2)"  # a cancelled sum of floats is no corner


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
    assert r"\text{a\textbar{}b\_\textless{}i\textgreater{}\$\%\&\textbackslash{}\{\}}" in table.to_latex()


@pytest.mark.parametrize(
    ("label", "latex"),
    [
        ("x1", "x_{1}"),
        ("x_1", "x_{1}"),
        ("x₁₂", "x_{12}"),
        ("W1[0,12]", "W_{1}[0,12]"),
        ("θ", r"\theta"),
        ("λ2", r"\lambda_{2}"),
        ("Σ", r"\Sigma"),
        ("học", r"\text{học}"),
        ("ho\u0323c", r"\text{học}"),  # composed: LaTeX cannot put the dot where it belongs
        ("x\x00\n 1", r"\text{x 1}"),
    ],
)
def test_a_label_in_latex(label, latex):
    assert label_symbol(label).latex == latex


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
