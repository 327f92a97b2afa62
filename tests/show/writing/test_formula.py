import pytest

from tinygrad_vi.expression import evaluate
from tinygrad_vi.ops import power
from tinygrad_vi.rows import OPERATIONS
from tinygrad_vi.show.writing.formula import Symbol


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
    assert (Symbol.of(2e-7) ** 2).latex == r"\left(2 \cdot 10^{-7}\right)^{2}"
    assert (Symbol.of(2e-7) * a).latex == r"2 \cdot 10^{-7} \cdot a"
    assert power(0.7).taught(a, b)[0].text == "0.7 * b ** -0.3"
    assert (1.0 * a).text == "1 * a"  # a table shows the program as it is
