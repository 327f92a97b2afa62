import pytest

from tinygrad_vi import DomainError, Value
from tinygrad_vi.expression import FUNCTIONS, ExpressionError, evaluate


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1 + 2*3 - 4/2**2", 6.0),
        ("-2**2", -4.0),
        ("2**-1", 0.5),
        ("(-2)**3", -8.0),
        ("+x*e**0 + 0*pi", 3.0),
        ("ln(e)", 1.0),
        ("max(x, 7) - min(x, 7)", 4.0),
        ("total(x, 2, 1) + sum([x, 1])", 10.0),
        ("dot([1, 2], [x, 4], 5)", 16.0),
        ("where(x - 1, 10, 20)", 10.0),
        ("leaky_relu(-x, 0.5)", -1.5),
        ("abs(-x) + pow(2, x)", 11.0),
        (" x ", 3.0),
        ("pow(-x, 2)", 9.0),
        ("0 ** (x/6) + pow(0, x)", 0.0),
        ("+".join(["x"] * 2000), 6000.0),
        ("total(" + ",".join(["x"] * 9000) + ")", 27000.0),
    ],
)
def test_expressions_mean_what_python_means_by_them(text, value):
    assert evaluate(text, {"x": 3.0}) == pytest.approx(value)
    with_values = evaluate(text, {"x": Value(3.0)})
    assert getattr(with_values, "data", with_values) == pytest.approx(value)


def test_every_operation_can_be_called_by_name():
    assert all(callable(function) for function in FUNCTIONS.values())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("__import__('os')", "unknown function '__import__'"),
        ("x.data", "not allowed in an expression: x.data"),
        ("where(x > 1, x, -x)", "x > 1; a choice is written where(a - b, x, y), which is x where a > b"),
        ("x.__class__.__mro__", "not allowed in an expression: x.__class__.__mro__"),
        ("tanh.__globals__", "not allowed in an expression: tanh.__globals__"),
        ("foo(x)", "unknown function 'foo'"),
        ("sinn(x)", "unknown function 'sinn'; did you mean 'sin'?"),
        ("y", "'y' has no value: add y=... after the expression"),
        ("sin", "'sin' is a function: write sin(...)"),
        ("(lambda: x)()", "not allowed in an expression: (lambda"),
        ("[a for a in x]", "not allowed in an expression: [a for a in x]"),
        ("x if x else 2", "not allowed in an expression: x if x else 2"),
        ("x == 1", "not allowed in an expression: x == 1"),
        ("-[x]", "a list may only stand inside"),
        ("[x]*2", "a list may only stand inside"),
        ("x^2", "not allowed in an expression: x ^ 2; a power is written x ** 2"),
        ("2x", "write products as 2*x and calls as sin(x)"),
        ("sin x", "write products as 2*x and calls as sin(x)"),
        ("3,5", "a decimal is written with a point: 3.5"),
        ("'text'", "not allowed in an expression: 'text'"),
        ("True", "not allowed in an expression: True"),
        ("2j", "not allowed in an expression: 2j"),
        ("tanh(x=1)", "not allowed in an expression: tanh(x=1)"),
        ("tanh(*[x])", "not allowed in an expression: *[x]"),
        ("f'{x}'", "not allowed in an expression: f'{x}'"),
        ("(y := 2)", "not allowed in an expression: (y := 2)"),
        ("where(x, 1)", "where takes 3 operands, got 2"),
        ("[x, x]", "an expression is one number, got a list of 2"),
        ("1e999", "a number in the expression is too large for a float"),
        ("9" * 5000, "cannot read the expression: a number has too many digits"),
        ("", "the expression is empty"),
        ("x +", "cannot read the expression"),
        ("x; x", "cannot read the expression"),
        ("x\0", "cannot read the expression"),
        ("(" * 9000 + "x" + ")" * 9000, "too many nested parentheses"),
        ("(" * 10_000 + "x" + ")" * 10_000, "20001 characters; 20000 is the limit"),
        ("-" * 15_000 + "x", "nested too deeply"),
        ("x**" * 6000 + "x", "nested too deeply"),
        ("sin(" * 3000 + "x" + ")" * 3000, "nest"),
        ("+".join(["x"] * 9999), "a sum of thousands of terms is written total(a, b, ...)"),
        ("+".join(["x"] * 9000) + "+y.z", "a sum of thousands of terms is written total(a, b, ...)"),
    ],
)
def test_everything_else_is_refused_in_one_line(text, message):
    with pytest.raises(ExpressionError) as error:
        evaluate(text, {"x": 3.0})
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_tower_of_powers_overflows_instead_of_running_forever():
    with pytest.raises(DomainError, match="overflows a float"):
        evaluate("9**9**9**9", {})
