"""A row of the user's own works wherever a built-in one does, and neither is ever taken for the other.

The row is that of CONTRIBUTING.md; the judge is the textbook: x/(1+|x|), 1/(1+|x|)**2, -2 sign(x)/(1+|x|)**3.
"""

import copy
import math
import pickle
from importlib.util import find_spec

import pytest

from tinygrad_vi import Tape, Value, compile, grad, nn, operation, ops, rows, show
from tinygrad_vi.compiler.codes import CODES
from tinygrad_vi.compiler.numpy_text import DEFINITIONS, WRITTEN
from tinygrad_vi.compiler.program import DEFINED, DIFFERENTIABLE, TELLING
from tinygrad_vi.expression import ExpressionError, evaluate

BACKENDS = ["numpy", *["native"] * (find_spec("numba") is not None)]
POINTS = [-3.0, -0.4, 0.3, 2.0]


@pytest.fixture(autouse=True)
def table_of_its_own(monkeypatch):
    """Rows that are made here are seen by nobody else."""
    monkeypatch.setattr(rows, "OWN", {})


def make(name="squash"):
    return rows.row(
        name,
        lambda x: x / (1.0 + abs(x)),
        lambda out, x: (1.0 / ((1.0 + ops.abs_(x)) * (1.0 + ops.abs_(x))),),
        "x / (1 + |x|).  Derivative 1/(1 + |x|)**2.",
        latex=r"\frac{{{0}}}{{1 + \left|{0}\right|}}",
        symbol="sq",
    )


def true(x):
    a = 1.0 + abs(x)
    return x / a, a**-2, -2.0 * math.copysign(1.0, x) * a**-3


@pytest.mark.parametrize("x", POINTS)
def test_numbers_values_and_derivatives(x):
    squash = make()
    value, slope, second = true(x)
    assert squash(x) == pytest.approx(value, rel=1e-15)
    v = Value(x)
    y = squash(v)
    y.backward()
    assert (y.data, v.grad) == pytest.approx((value, slope), rel=1e-15)
    assert (grad(squash)(x), grad(grad(squash))(x)) == pytest.approx((slope, second), rel=1e-14)


@pytest.mark.parametrize("x", POINTS)
def test_in_the_text_of_an_expression(x):
    with pytest.raises(ExpressionError, match="unknown function 'squash'"):
        evaluate("squash(x)", {"x": x})
    make()  # the name is looked up when the text is read
    assert evaluate("2*squash(x)", {"x": x}) == pytest.approx(2.0 * true(x)[0], rel=1e-15)
    assert grad(lambda v: evaluate("squash(x)", {"x": v}))(x) == pytest.approx(true(x)[1], rel=1e-15)


def test_as_an_activation_by_name():
    with pytest.raises(ValueError, match="unknown activation 'squash'"):
        nn.MLP(1, [1, 1], activation="squash")
    make()
    model = nn.MLP(1, [1, 1], activation="squash", seed=1)
    w, b = (p.data for p in model.layers[0].parameters())
    u, c = (p.data for p in model.layers[1].parameters())
    for known in (model, copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert known([0.7]).data == pytest.approx(u * true(w * 0.7 + b)[0] + c, rel=1e-14)
    assert "squash" in repr(model)
    cell = nn.RNNCell(1, 1, activation="squash", seed=1)
    *_, bias = weights = [p.data for p in cell.parameters()]
    assert cell([0.5])[0].data == pytest.approx(true(weights[0] * 0.5 + bias)[0], rel=1e-14)


def test_an_operation_of_two_operands_is_no_activation():
    rows.row("blend", lambda x, y: x + y, (1.0, 1.0), "x + y.", arity=2)
    with pytest.raises(ValueError, match="unknown activation 'blend'"):
        nn.MLP(1, [1], activation="blend")


def test_in_tables_formulas_and_pages():
    squash = make()
    x = Value(0.3, "x")
    y = squash(x)
    table = Tape(y).adjoint().table()
    assert "squash" in str(table)
    assert r"\frac{v_{0}}{1 + \left|v_{0}\right|}" in table.to_latex()
    assert "squash" in y.step_through().html
    assert f"{true(0.3)[1]:.6f}" in str(show.numerical_error(squash, 0.3))
    assert "reverse mode" in str(show.derivative_cost(squash, 0.3))
    with pytest.raises(ValueError, match="no formula for the operation 'squash': write it with other operations"):
        show.three_ways(squash, 0.3)  # it has a rule, and SymPy wants a formula


@pytest.mark.parametrize("backend", BACKENDS)
def test_compiled(backend):
    squash = make()
    step = compile(lambda w, x: squash(w[0] * x), backend=backend)
    values, slopes, seconds = zip(*map(true, POINTS), strict=True)
    assert step.each([1.0], POINTS).tolist() == pytest.approx(values, rel=1e-14)
    mean, [slope] = step.value_and_grad([1.0], POINTS)
    assert mean == pytest.approx(math.fsum(values) / 4, rel=1e-14)
    assert slope == pytest.approx(math.fsum(x * s for x, s in zip(POINTS, slopes, strict=True)) / 4, rel=1e-14)
    [[second]] = step.hessian([1.0], POINTS)
    assert second == pytest.approx(math.fsum(x * x * s for x, s in zip(POINTS, seconds, strict=True)) / 4, rel=1e-13)
    assert 'OWN["squash"]' in step.source


# --- Never taken for a built-in one -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["tanh", "power", "leaky_relu", "less", "less_equal", "equal"])
def test_the_names_by_which_programs_go_are_taken(name):
    with pytest.raises(ValueError, match=f"'{name}' is a built-in operation"):
        operation(partials=lambda out, x, y: (1.0, 2.0), name=name)(lambda x, y: x + 2.0 * y)


def test_no_list_of_the_compiler_has_a_name_that_is_free():
    assert {*CODES, *WRITTEN, *DEFINITIONS, *DEFINED, *DIFFERENTIABLE, *TELLING} <= rows.BUILT_IN


@pytest.mark.parametrize("name", ["swish", "mish", "max", "norm"])
def test_a_name_of_two_meanings_has_none_in_a_text(name):
    make(name)
    with pytest.raises(ValueError, match=f"'{name}' is a function of tinygrad_vi and an operation of your own"):
        evaluate(f"{name}(x)", {"x": 1.0})
    assert evaluate("tanh(x)", {"x": 0.0}) == 0.0


@pytest.mark.parametrize("name", ["identity", "linear", "softmax"])
def test_a_name_of_two_meanings_is_no_activation(name):
    make(name)
    with pytest.raises(ValueError, match=f"'{name}' is a function of tinygrad_vi and an operation of your own"):
        nn.Layer(1, 2, name)
    assert nn.Layer(1, 2, "tanh")([0.5])
