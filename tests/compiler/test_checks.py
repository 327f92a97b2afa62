"""Where scalar code raises, a compiled function raises the same; the judge is the eager engine, example by example."""

import math
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec

import mpmath
import numpy as np
import pytest

from tinygrad_vi import (
    DomainError,
    TrainingError,
    Value,
    atan,
    conditions,
    dot,
    exp,
    fit,
    functions,
    hessian,
    hvp,
    jacobian,
    jvp,
    log,
    losses,
    maximum,
    minimum,
    nn,
    no_grad,
    ops,
    optim,
    relu,
    sigmoid,
    sin,
    softplus,
    sqrt,
    step,
    take,
    tanh,
    total,
    value_and_grad,
    where,
)
from tinygrad_vi.compiler import compile, known
from tinygrad_vi.rows import FAMILIES, OPERATIONS, row

BACKENDS = [
    "numpy",
    pytest.param(
        "native", marks=pytest.mark.skipif(find_spec("numba") is None, reason="the native back end needs Numba")
    ),
]
THETA = [0.5, -0.25]
V = [1.0, -0.5]
PLAIN = [1.0, 1.5, 0.75]
INDEX = [0.0, 1.0, 1.0]

#: a program of two parameters and one number, the numbers it can be called with, and one that is in question
PROGRAMS = {
    # look-ups
    "take, sigmoid": (lambda w, x: sigmoid(take(w, x)), INDEX, 2.0),
    "take, softplus": (lambda w, x: softplus(-take(w, x)), INDEX, 2.5),
    "take, a hinge": (lambda w, x: relu(1.0 - take(w, x)), INDEX, -1.0),
    "take, exp": (lambda w, x: exp(-take(w, x)), INDEX, 1e300),
    "take, minimum": (lambda w, x: minimum(take(w, x), 3.0), INDEX, math.nan),
    "take, infinity": (lambda w, x: tanh(take(w, x)), INDEX, math.inf),
    "take, -0.0": (lambda w, x: tanh(take(w, x)), INDEX, -0.0),
    "take, a table of one": (lambda w, x: tanh(take([w[0] * w[1]], x)), [0.0], 1.0),
    "take, rows": (lambda w, x: tanh(dot(take([[w[0], 1.0], [w[1], w[0]]], x), w)), INDEX, 2.0),
    "take, rows of rows": (lambda w, x: tanh(take([[[w[0]], [w[1]]], [[w[1]], [1.0]]], x)[1][0] * w[0]), INDEX, 5.0),
    "take twice": (lambda w, x: tanh(take(w, x) * take([1.0, 2.0, w[0], w[1]], x + 2.0)), INDEX, -1.0),
    "take, computed from parameters": (lambda w, x: tanh(take(w, (w[0] + w[1]) * x - 1.0)), [4.0, 8.0], 12.0),
    "take, computed": (lambda w, x: atan(take(w, x - 1.0)), [1.0, 2.0], 0.0),
    "take, not chosen": (lambda w, x: where(w[0], w[1], take(w, x)), INDEX, 2.0),
    "take, times 0": (lambda w, x: 0.0 * take(w, x) + w[0], INDEX, 2.0),
    # a value that is missing
    "tanh of log 0": (lambda w, x: tanh(log(w[0] * x)), PLAIN, 0.0),
    "tanh of log -1": (lambda w, x: tanh(log(w[0] * x)), PLAIN, -2.0),
    "log": (lambda w, x: log(w[0] * x) + w[1], PLAIN, -2.0),
    "minimum of log": (lambda w, x: minimum(log(w[0] * x), 3.0 * w[1]), PLAIN, 0.0),
    "maximum of log": (lambda w, x: maximum(w[1], log(w[0] * x)), PLAIN, -1.0),
    "relu of log": (lambda w, x: relu(log(w[0] * x) + 9.0), PLAIN, 0.0),
    "elu of log": (lambda w, x: functions.elu(log(w[0] * x)), PLAIN, 0.0),
    "step of log": (lambda w, x: step(log(w[0] * x)) + w[0], PLAIN, 0.0),
    "gelu of log": (lambda w, x: ops.gelu(log(w[0] * x)), PLAIN, -3.0),
    "sigmoid of log1p": (lambda w, x: sigmoid(ops.log1p(w[1] * x)), PLAIN, 4.0),
    "logsumexp of log": (lambda w, x: functions.logsumexp([w[1], log(w[0] * x)]), PLAIN, 0.0),
    "log, not chosen": (lambda w, x: where(w[0], w[0] * x, log(w[0] * x)), PLAIN, -1.0),
    "log, times 0": (lambda w, x: 0.0 * log(w[0] * x) + w[1] * x, PLAIN, 0.0),
    "log to the power 0": (lambda w, x: log(w[0] * x) ** 0 * w[1], PLAIN, -1.0),
    "log of data alone": (lambda w, x: tanh(w[0] * log(x)), PLAIN, -1.0),
    "tanh of sqrt -1": (lambda w, x: tanh(sqrt(w[0] * x)), PLAIN, -1.0),
    "asin out": (lambda w, x: where(w[1], ops.asin(w[0] * x), w[1]), PLAIN, 3.0),
    "acos out": (lambda w, x: minimum(w[1], ops.acos(w[0] * x)), PLAIN, -3.0),
    "semicircle out": (lambda w, x: step(ops.semicircle(w[0] * x)) * w[0], PLAIN, 3.0),
    # a division by 0
    "atan of 1/0": (lambda w, x: atan(w[0] / x), PLAIN, 0.0),
    "exp of -1/0": (lambda w, x: exp(-1.0 / (w[0] * x)), PLAIN, 0.0),
    "erf of 1/0": (lambda w, x: ops.erf(1.0 / (w[0] * x)), PLAIN, 0.0),
    "sigmoid of 0 ** -1": (lambda w, x: sigmoid((w[0] * x) ** -1), PLAIN, 0.0),
    "tanh of 0 ** -2": (lambda w, x: tanh((w[0] * x) ** -2), PLAIN, 0.0),
    "0/0, not chosen": (lambda w, x: where(w[1], x / (w[0] * x), w[0]), PLAIN, 0.0),
    "1/(1/0)": (lambda w, x: 1.0 / (w[0] / x), PLAIN, 0.0),
    # overflow
    "tanh of exp": (lambda w, x: tanh(exp(w[0] * x)), PLAIN, 2000.0),
    "1/(1 + exp)": (lambda w, x: 1.0 / (1.0 + exp(w[0] * x)), PLAIN, 2000.0),
    "atan of expm1": (lambda w, x: atan(ops.expm1(w[0] * x)), PLAIN, 2000.0),
    "tanh of sinh": (lambda w, x: tanh(ops.sinh(w[0] * x)), PLAIN, -2000.0),
    "1/cosh": (lambda w, x: 1.0 / ops.cosh(w[0] * x), PLAIN, 2000.0),
    "tanh of 2**x": (lambda w, x: tanh(2.0 ** (w[0] * x)), PLAIN, 4000.0),
    "tanh of a square": (lambda w, x: tanh((w[0] * x) ** 2), PLAIN, 1e200),
    "tanh of a small square": (lambda w, x: tanh(1e-3 * (w[0] * x) ** 2), PLAIN, 3e154),
    "tanh of a cube": (lambda w, x: tanh((w[0] * x) ** 3), PLAIN, -1e105),
    "tanh of a tiny ** -2": (lambda w, x: tanh((w[0] * x) ** -2), PLAIN, 1e-200),
    "tanh of total": (lambda w, x: tanh(total([w[0] * x, w[0] * x, w[0] * x])), PLAIN, 1.7e308),
    "sin of an infinity, not chosen": (lambda w, x: where(w[1], sin(x * 1e300 * w[0]), w[0]), PLAIN, 1e200),
    # powers
    "x ** 0.5 at -1": (lambda w, x: tanh((w[0] * x) ** 0.5), PLAIN, -1.0),
    "x ** y at 0": (lambda w, x: tanh((w[0] * x) ** w[1]), PLAIN, 0.0),
    "x ** y at -1": (lambda w, x: minimum((w[0] * x) ** w[1], 0.5), PLAIN, -1.0),
    # a value without a derivative
    "sqrt at 0": (lambda w, x: sqrt(w[0] * x), PLAIN, 0.0),
    "step of sqrt at 0": (lambda w, x: step(sqrt(w[0] * x)) + w[0], PLAIN, 0.0),
    "sqrt at 0, not chosen": (lambda w, x: where(w[0], w[1] * x, sqrt(w[0] * x)), PLAIN, 0.0),
    "x ** 0.5 at 0": (lambda w, x: 0.0 * (w[0] * x) ** 0.5 + w[1], PLAIN, 0.0),
    "x ** y at 0, y = 1/2": (lambda w, x: maximum((w[1] * x) ** w[0], 1.0), [-1.0, -2.0], 0.0),
    "asin at 1": (lambda w, x: step(ops.asin(w[0] * x)) * w[1], PLAIN, 2.0),
    "acos at -1": (lambda w, x: minimum(ops.acos(w[0] * x), 3.0), PLAIN, -2.0),
    "semicircle at 1": (lambda w, x: ops.semicircle(w[0] * x), PLAIN, 2.0),
    "log of sqrt at 0": (lambda w, x: tanh(log(1.0 + sqrt(w[0] * x))), PLAIN, 0.0),
    # a derivative without a derivative
    "x ** 1.5 at 0": (lambda w, x: (w[0] * x) ** 1.5 + w[1] ** 2, PLAIN, 0.0),
    "tanh of x ** 1.5 at 0": (lambda w, x: tanh((w[0] * x) ** 1.5), PLAIN, 0.0),
    # what passes
    "data without a derivative": (lambda w, x: w[0] * sqrt(x) + w[1] ** 2, PLAIN, 0.0),
    "a small total": (lambda w, x: tanh(1e-3 * total([w[0] * x, w[1] * x])), PLAIN, 1e300),
    "a guarded log": (lambda w, x: where(x, log(where(x, w[0] * x, 1.0)), w[1]), PLAIN, 0.0),
    "a guarded quotient": (lambda w, x: where(x, w[1] / where(x, w[0] * x, 1.0), w[1] * x), PLAIN, 0.0),
    "0 ** 3": (lambda w, x: tanh((w[0] * x) ** 3), PLAIN, 0.0),
    "softplus far out": (lambda w, x: softplus(-w[0] * x) + tanh(w[1] * x), PLAIN, 1e300),
}


def outcome(f):
    """What it gives, or the text of what it raises."""
    try:
        return np.asarray(f(), dtype=float)
    except DomainError as error:
        return str(error)


def eager(f, what, x):
    """What the eager engine has to say for one example; data are numbers, by which nothing is differentiated."""
    point = lambda w: f(w, x)  # noqa: E731
    if what in ("value", "each"):
        with no_grad():
            return point([Value(p) for p in THETA]).data
    if what == "grad":
        return value_and_grad(point)(THETA)[1]
    if what == "value_and_grad":
        value, gradient = value_and_grad(point)(THETA)
        return [value, *gradient]
    if what == "jacobian":
        return jacobian(point)(THETA)
    if what == "jvp":
        return jvp(point, (THETA,), (V,))
    return hvp(point)(THETA, V) if what == "hvp" else hessian(point)(THETA)


def compiled(step, what, X):
    if what == "value":
        return step(THETA, X)
    if what in ("jvp", "hvp"):
        return getattr(step, what)(THETA, V, X)
    if what == "value_and_grad":
        value, gradient = step.value_and_grad(THETA, X)
        return [value, *gradient]
    return getattr(step, what)(THETA, X)


QUESTIONS = ("value", "each", "grad", "value_and_grad", "jacobian", "jvp", "hvp", "hessian")


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_compiled_function_raises_what_the_scalar_code_raises(backend, name):
    f, good, questionable = PROGRAMS[name]
    w = [Value(p) for p in THETA]
    known = {what: {x: outcome(lambda: eager(f, what, x)) for x in [*good, questionable]} for what in QUESTIONS}  # noqa: B023
    step = compile(lambda x: f(w, x), w, backend=backend)
    for N, place in ((6, 3), (6, 5), (1, 0), (300, 170), (6, 0)):
        X = [good[i % len(good)] for i in range(N)]
        X[place] = questionable
        fresh = compile(lambda x: f(w, x), w, backend=backend) if place == 0 else step  # traced with that example
        for what in QUESTIONS:
            expected, found = known[what][questionable], outcome(lambda: compiled(fresh, what, X))  # noqa: B023
            if isinstance(expected, str):
                assert isinstance(found, str), f"{what} gives {found}, where eager code raises {expected}"
                assert found == f"example {place}: {expected}"
                continue
            rows = np.array([known[what][x] for x in X])
            expected = rows if what in ("each", "jacobian") else rows.mean(axis=0)
            assert not isinstance(found, str), f"{what} raises {found}, where eager code gives {expected}"
            assert found == pytest.approx(expected, rel=1e-11, abs=1e-13)


# --- The judges' own: which operations can fail ---------------------------------------------------------------------

HOSTILE = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    5e-324,
    -5e-324,
    1e-300,
    37.5,
    -37.5,
    710.0,
    -746.0,
    1e6,
    1e154,
    -1e200,
    1.7e308,
    -1.7e308,
]
UNBOUNDED = [*HOSTILE, math.inf, -math.inf, math.nan]


def rows(names):
    families = [FAMILIES["leaky_relu"](0.2), FAMILIES["elu"](0.7), ops.exponential(2.0), ops.exponential(0.5)]
    return [op for op in (*OPERATIONS.values(), *families) if op.key in names]


def operands_of(op, numbers):
    draw = np.random.default_rng(0)
    if op.arity == 1:
        return [(x,) for x in numbers]
    return [tuple(draw.choice(numbers, op.arity or 3).tolist()) for _ in range(400)]


@pytest.mark.parametrize("op", rows(known.DEFINED), ids=str)
def test_what_is_called_defined_has_a_value_for_every_float(op):
    for xs in operands_of(op, UNBOUNDED):
        op.value(*xs)


@pytest.mark.parametrize("op", rows(known.DIFFERENTIABLE), ids=str)
def test_what_is_called_smooth_has_derivatives_wherever_it_has_a_value(op):
    for xs in operands_of(op, HOSTILE):
        try:
            out = op.value(*xs)
        except (ArithmeticError, ValueError):
            continue
        assert all(isinstance(slope, float) for slope in op.partials(out, *xs))


# --- Numbers where nothing is wrong ---------------------------------------------------------------------------------


def right(f, *xs):
    """By mpmath, with 60 digits."""
    with mpmath.workdps(60):
        return float(f(*map(mpmath.mpf, xs)))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("f", "by_mpmath", "at"), [
    (lambda x: sqrt(x), mpmath.sqrt, 0.0),
    (lambda x: ops.asin(x), mpmath.asin, 1.0),
    (lambda x: ops.acos(x), mpmath.acos, -1.0),
    (lambda x: x**0.5, mpmath.sqrt, 0.0),
    (lambda x: tanh(ops.semicircle(x)), lambda x: mpmath.tanh(mpmath.sqrt(1 - x * x)), 1.0),
    (lambda x: exp(sqrt(x)), lambda x: mpmath.exp(mpmath.sqrt(x)), 0.0),
])  # fmt: skip
def test_a_value_needs_no_derivative(backend, f, by_mpmath, at):
    w = [Value(1.0)]
    for X in ([at], [at, 0.25], [0.25, 0.5, at, 0.75]):
        step = compile(lambda x: f(w[0] * x), w, backend=backend)
        expected = [right(by_mpmath, x) for x in X]
        assert step.each([1.0], X) == pytest.approx(expected, rel=1e-15, abs=1e-300)
        assert step([1.0], X) == pytest.approx(np.mean(expected), rel=1e-15, abs=1e-300)
        for ask in (step.value_and_grad, step.grad, step.jacobian, step.hessian):
            with pytest.raises(DomainError, match=f"example {X.index(at)}: .* has no finite derivative at x = {at}"):
                ask([1.0], X)


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_infinity_that_scalar_code_lets_pass(backend):
    """exp(-inf) is 0, a sum that overflows is infinite, and tanh of that is 1."""
    w = [Value(0.5), Value(-1.0)]
    f = lambda x: exp(w[1] * x) + tanh(w[0] * x + w[0] * x + w[0] * x)  # noqa: E731
    X = [1.0, math.inf, 2.0, 1.7e308]
    step = compile(f, w, backend=backend)
    expected = [right(lambda x: mpmath.exp(-x) + mpmath.tanh(1.5 * x), x) for x in X]
    assert step.each(step.theta, X) == pytest.approx(expected, rel=1e-15)
    assert step(step.theta, X) == pytest.approx(np.mean(expected), rel=1e-15)
    swallowed = compile(
        lambda x: 1.0 / exp(exp(-w[1] * x)), w, backend=backend
    )  # exp(inf) is no error, exp(1e4) is one
    assert swallowed.each(swallowed.theta, [1.0, math.inf])[1] == 0.0
    with pytest.raises(DomainError, match=r"example 2: e \*\* x overflows|example 2: exp\(x\) overflows"):
        swallowed.each(swallowed.theta, [1.0, math.inf, 1e4, math.inf])


@pytest.mark.parametrize("backend", BACKENDS)
def test_nan_is_a_number_like_others_until_it_is_a_result(backend):
    w = [Value(0.5)]
    step = compile(lambda x: where(w[0], w[0], log(x) * w[0]), w, backend=backend)
    assert step.each([0.5], [1.0, math.nan]).tolist() == [0.5, 0.5]
    with pytest.raises(DomainError, match="example 1: log"):
        step.each([0.5], [1.0, 0.0, math.nan])
    with pytest.raises(DomainError, match=r"the leaf .*is nan"):
        step.value_and_grad([math.nan], [1.0, 2.0])


# --- Which example, and which operation -----------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_first_example_is_named_and_the_node(backend):
    w = [Value(0.5, "slope")]

    def f(x):
        z = w[0] * x
        z.label = "z"
        return tanh(log(z))

    step = compile(f, w, backend=backend)
    X = np.ones(1000)
    X[[700, 730, 999]] = -4.0, 0.0, -1.0
    with pytest.raises(DomainError) as caught:
        step.value_and_grad([0.5], X)
    assert str(caught.value) == "example 700: log(x) needs x > 0, got x = -2.0 (node 'z')"
    assert caught.value.example == 700
    assert w[0].data == 0.5


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_search_for_the_example_runs_the_scalar_code_a_few_times(backend):
    w = [Value(0.5)]
    runs = []

    def f(x):
        runs.append(x)
        return tanh(log(w[0] * x)) + 1.0 / (1.0 + exp(x * w[0]))

    step = compile(f, w, backend=backend)
    X = np.linspace(1.0, 2.0, 20_000)
    step.value_and_grad([0.5], X)
    X[[15_000, 19_999]] = 0.0
    before = len(runs)
    for ask in (step, step.value_and_grad, step.each, step.jacobian):
        with pytest.raises(DomainError, match="example 15000: log"):
            ask([0.5], X)
    assert len(runs) - before <= 4 * 2
    before = len(runs)
    with pytest.raises(DomainError, match="example 0: the result is nan because the leaf is nan"):  # all are NaN
        step([math.nan], np.linspace(1.0, 2.0, 20_000))
    assert len(runs) - before <= 2


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_check_that_holds_runs_no_scalar_code(backend):
    w = [Value(0.5), Value(0.25)]
    runs = []

    def f(x, t):
        runs.append(x)
        chosen = take([w[1], w[0]], (w[0] + w[0]) * t)
        return losses.bce(sigmoid(w[0] * x), t) + losses.hinge(w[1] * x, 2.0 * t - 1.0) + chosen

    step = compile(f, w, backend=backend, verify=False)
    X, T = [0.5, 1.0, -2.0], [0.0, 1.0, 0.0]
    step([0.5, 0.25], X, T)
    before = len(runs)  # the two traces
    for ask in (step, step.each, step.value_and_grad, step.jacobian, step.hessian):
        ask([0.5, 0.25], X, T)
    assert len(runs) == before


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_check_is_not_taken_for_an_operation_of_the_same_numbers(backend):
    w = [Value(0.5)]
    f = lambda x: losses.bce(w[0] * x, 1.0) + step(sqrt((w[0] * x) * (1.0 - w[0] * x)))  # noqa: E731
    compiled_f = compile(f, w, backend=backend)
    compiled_f.value_and_grad([0.5], [1.0, 0.5])
    assert compiled_f.each([0.5], [1.0, 2.0])[1] == 0.0
    with pytest.raises(DomainError, match=r"example 1: sqrt.* has no finite derivative"):
        compiled_f.value_and_grad([0.5], [1.0, 2.0])


@pytest.mark.parametrize("backend", BACKENDS)
def test_two_operations_that_fail_in_one_example(backend):
    """The one that scalar code meets first is named: sqrt lacks its derivative, log its value."""
    w = [Value(1.0)]
    f = lambda x: tanh(sqrt(w[0] * x)) + tanh(log(w[0] * x))  # noqa: E731
    step = compile(f, w, backend=backend)
    with pytest.raises(DomainError, match=r"example 1: log\(x\) needs x > 0"):
        step([1.0], [1.0, 0.0])
    with pytest.raises(DomainError, match=r"example 1: sqrt\(x\) has no finite derivative"):
        step.grad([1.0], [1.0, 0.0])


# --- Programs of other kinds ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_function_of_its_first_argument_with_several_results(backend):
    step = compile(lambda p, x: [tanh(log(p[0] * x)), p[1] * x], backend=backend)
    X = [1.0, 2.0, 0.0]
    for ask in (step, step.each, step.jacobian):
        with pytest.raises(DomainError, match="example 2: log"):
            ask([1.0, 1.0], X)
    with pytest.raises(DomainError, match="example 2: log"):
        step.jvp([1.0, 1.0], [1.0, 0.0], X)
    alone = compile(lambda p: tanh(log(p[0])) + p[1] ** 1.5, backend=backend)
    alone([1.0, 1.0])
    for ask in (alone, alone.grad, alone.value_and_grad, alone.hessian):
        with pytest.raises(DomainError, match=r"^log\(x\) needs x > 0, got x = -1.0"):
            ask([-1.0, 1.0])
    assert alone.grad([1.0, 0.0])[1] == 0.0
    with pytest.raises(DomainError, match="has no finite derivative"):
        alone.hessian([1.0, 0.0])


@pytest.mark.parametrize("backend", ["numpy", "auto"])
def test_a_row_of_the_users_own(backend, monkeypatch):
    monkeypatch.setattr("tinygrad_vi.rows.OWN", {})

    def value(x):
        if x > 3.0:
            raise ValueError("too large")
        return x

    strict = row("strict", value, lambda out, x: (1.0 / (x - 2.0),), "x up to 3.", domain="x <= 3")
    w = [Value(1.0)]
    step = compile(lambda x: tanh(strict(w[0] * x)) * 0.0 + w[0], w, backend=backend)
    assert step.each([1.0], [1.0, 2.0]).tolist() == [1.0, 1.0]
    for ask in (step, step.each, step.grad, step.jacobian):
        with pytest.raises(DomainError, match=r"example 1: strict\(x\) needs x <= 3, got x = 4.0"):
            ask([1.0], [1.0, 4.0, 5.0])
    with pytest.raises(DomainError, match=r"example 1: strict\(x\) has no finite derivative at x = 2.0"):
        step.grad([1.0], [1.0, 2.0])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("f", "theta", "message"), [
    (lambda w, x, t: tanh(log(w[0] * x)) * t, [-1.0, 1.0], r"^log\(x\) needs x > 0"),
    (lambda w, x, t: log(w[0] * x) ** 0 * w[1] * t, [-1.0, 1.0], r"^log\(x\) needs x > 0"),
    (lambda w, x, t: tanh((w[0] * x) ** 2) * t, [1e200, 1.0], r"^x \*\* 2 overflows"),
    (lambda w, x, t: tanh(total([w[0] * x, w[0], w[0]])) * t, [1e308, 1.0], "overflows"),
    (lambda w, x, t: step(sqrt(w[0] * x)) * w[1] * t, [0.0, 1.0], "no finite derivative"),
    (lambda w, x, t: exp(-1.0 / (w[0] * x)) * t, [0.0, 1.0], "y != 0"),
    (lambda w, x, t: (w[1] - sigmoid(take(w, x + x))) * t, None, "take needs a whole number"),
])  # fmt: skip
def test_a_batch_that_was_found_in_a_loop_keeps_its_checks(backend, f, theta, message):
    w = [Value(1.0), Value(0.5)]
    data = [(1.0 + 0.25 * i, 1.0 + i) for i in range(6)] if theta else [(0.0, 1.0), (0.5, 2.0), (0.0, 3.0)]
    wrapped = [Value(x) for x, _ in data]
    step = compile(lambda: sum(f(w, x, t) for x, (_, t) in zip(wrapped, data)) / len(data), w, backend=backend)  # noqa: B905
    step.value_and_grad(step.theta)
    if theta is not None:
        assert step.explain().examples == len(data)
    else:  # data that stand in the function are constants until they change
        wrapped[2].data = 4.0
        wrapped[2].label = "index"
        return
    for ask in (step.value_and_grad, step.grad, step.hessian, step.jacobian):
        with pytest.raises(DomainError, match=message):
            ask(theta)
    if "derivative" not in message:
        with pytest.raises(DomainError, match=message):
            step(theta)
    assert [p.data for p in w] == [1.0, 0.5]


@pytest.mark.parametrize("backend", BACKENDS)
def test_examples_that_use_a_sum_over_the_batch(backend):
    w = [Value(0.5)]
    X = [0.1 * i + 0.5 for i in range(50)]

    def loss():
        h = [w[0] * x for x in X]
        mean = sum(h) / len(h)
        return sum(tanh(log(v)) * mean + tanh(log(mean)) for v in h) / len(h)

    step = compile(loss, w, backend=backend)
    step.value_and_grad([0.5])
    assert step.explain().examples == 50
    with pytest.raises(DomainError, match=r"^log\(x\) needs x > 0"):
        step.value_and_grad([0.0])


# --- Losses ---------------------------------------------------------------------------------------------------------

LOSSES = {
    "hinge": (lambda y, t: losses.hinge(y[0], t), 1.0, [0.0, 2.0, 0.5, math.nan]),
    "hinge of lists": (lambda y, t: losses.hinge(y, [t, 1.0]), -1.0, [0.0]),
    "bce_with_logits": (lambda y, t: losses.bce_with_logits(y[0], t), 1.0, [-1.0, 2.0, 1.0000000001, math.nan]),
    "multilabel_bce": (lambda y, t: losses.multilabel_bce(y, [t, 1.0]), 0.0, [-1.0, 2.0]),
    "bce": (lambda y, t: losses.bce(sigmoid(y[0]), t), 0.5, [-1.0, 2.0]),
    "bce, a prediction": (lambda y, t: losses.bce(t + 1e-3 * y[0], 1.0), 0.5, [2.0, -0.5]),
    "bce, a prediction for 0": (lambda y, t: losses.bce(t + 1e-3 * y[0], 0.0), 0.5, [2.0, -0.5]),
    "a class": (lambda y, t: losses.cross_entropy(y, t), 1.0, [2.0, -1.0, 0.5, math.nan, 1e300]),
    "probabilities": (lambda y, t: losses.cross_entropy(y, [t, 1.0 - t]), 0.25, [-1.0, 1.5]),
    "probabilities that do not add up": (lambda y, t: losses.cross_entropy(y, [t, 0.5]), 0.5, [0.25, 0.50001]),
}


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("swallowed", [False, True])
def test_targets_are_checked_for_every_example(backend, name, swallowed):
    f, good, wrong = LOSSES[name]
    model = nn.MLP(2, [3, 2], activation="tanh", output_activation="identity", seed=4)
    loss = (lambda x, t: tanh(f(model(x), t))) if swallowed else (lambda x, t: f(model(x), t))
    step = compile(loss, model.parameters(), backend=backend)
    X = np.random.default_rng(0).normal(size=(9, 2))
    Y = np.full(9, good)
    mean = np.mean([loss([*map(Value, x)], good).data for x in X.tolist()])
    assert step(step.theta, X, Y) == pytest.approx(mean, rel=1e-12)
    for target in wrong:
        for place in (7, 0):
            with pytest.raises(DomainError) as eager_error:
                loss([*map(Value, X[place].tolist())], target)
            fresh = compile(loss, model.parameters(), backend=backend) if place == 0 else step
            T = Y.copy()
            T[place] = target
            for ask in (fresh, fresh.value_and_grad, fresh.each, fresh.jacobian):
                with pytest.raises(DomainError) as error:
                    ask(fresh.theta, X, T)
                assert str(error.value) == f"example {place}: {eager_error.value}"


def test_scalar_code_records_no_checks():
    y = losses.hinge(Value(0.5), Value(1.0)) + take([Value(1.0), Value(2.0)], Value(1.0))
    from tinygrad_vi.graph import topological_order

    assert conditions.CHECKED not in {node.op for node in topological_order([y])}


# --- fit, threads, parts --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("batch_size", [None, 2])
def test_fit_raises_for_the_example_and_changes_nothing(backend, batch_size):
    X, Y = [[0.5, 1.0], [1.0, -1.0], [0.25, 0.5], [2.0, 1.0]], [1.0, -1.0, 1.0, 0.0]
    causes = []
    for compiled_loss in (False, True):
        model = nn.MLP(2, [3, 1], activation="tanh", seed=1)
        before = [p.data for p in model.parameters()]
        loss = lambda x, t: losses.hinge(model(x), t)  # noqa: E731, B023
        given = compile(loss, model.parameters(), backend=backend) if compiled_loss else loss
        with pytest.raises(TrainingError) as error:
            fit(given, X, Y, params=model, optimizer=optim.SGD(model.parameters(), 0.1), epochs=2,
                batch_size=batch_size, seed=None, progress=False)  # fmt: skip
        causes.append(str(error.value))
        if batch_size is None:
            assert [p.data for p in model.parameters()] == before
    assert causes[0] == causes[1]
    assert "example 3: hinge takes targets of -1 and 1" in causes[1]


@pytest.mark.skipif(find_spec("numba") is None, reason="threads are the native back end's")
def test_threads_lose_no_flag(monkeypatch):
    from tinygrad_vi.compiler import native

    monkeypatch.setattr(native, "WORTH_A_THREAD", 1e-12)
    w = [Value(0.5)]
    step = compile(lambda x: tanh(log(w[0] * x)), w, backend="native", threads=2)
    X = np.ones(5000)
    for _ in range(native.KNOWN + 2):
        step.value_and_grad([0.5], X)
        step.each([0.5], X)
    for place in range(0, 5000, 311):  # in the blocks of both threads
        bad = X.copy()
        bad[place] = -1.0
        for ask in (step.value_and_grad, step.each):
            with pytest.raises(DomainError, match=f"example {place}: log"):
                ask([0.5], bad)
        step.value_and_grad([0.5], X)  # and the flag is down again


@pytest.mark.parametrize("backend", BACKENDS)
def test_several_callers_hear_of_their_own_examples(backend):
    w = [Value(0.5)]
    step = compile(lambda x: tanh(log(w[0] * x)), w, backend=backend)
    X = np.ones(200)
    expected = step([0.5], X)

    def ask(place):
        bad = X.copy()
        bad[place] = -1.0
        for _ in range(10):
            assert step([0.5], X) == expected
            with pytest.raises(DomainError, match=f"example {place}: log"):
                step.each([0.5], bad)
        return True

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(ask, range(0, 200, 13)))


def test_numpy_in_parts_loses_no_flag(monkeypatch):
    from tinygrad_vi.compiler import numpy_runner

    monkeypatch.setattr(numpy_runner, "AT_ONCE", 1)
    w = [Value(0.5), Value(2.0)]
    step = compile(lambda x: tanh(log(w[0] * x)) + step_of(w, x), w, backend="numpy")
    X = np.ones(1000)
    alone = [tanh(log(0.5)) + 2.0]
    assert step([0.5, 2.0], X) == pytest.approx(alone[0], rel=1e-12)
    for place in (0, 500, 999):
        bad = X.copy()
        bad[place] = 0.0
        for ask in (step, step.value_and_grad, step.each, step.jacobian):
            with pytest.raises(DomainError, match=f"example {place}: log"):
                ask([0.5, 2.0], bad)


def step_of(w, x):
    return step(w[0] * x) * w[1]


def test_the_text_that_is_read_has_no_checks_in_it():
    w = [Value(0.5, "w")]
    f = compile(lambda x: tanh(log(w[0] * x)), w, backend="numpy")
    f(f.theta, [1.0])
    f.each(f.theta, [1.0])
    f.value_and_grad(f.theta, [1.0])
    assert "gradient = np.zeros(1)" in f.source
    assert f.source.count("np.log") == 1
