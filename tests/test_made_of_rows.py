"""Functions that are made of rows of the table, against mpmath: values, first and second derivatives, on every path."""

import math
import re
from functools import cache
from importlib.util import find_spec

import numpy as np
import pytest
from mpmath import mp, mpf

import tinygrad_vi
from tinygrad_vi import (
    DomainError,
    ShapeError,
    Value,
    compile,
    digamma,
    exprel,
    grad,
    hard_tanh,
    hessian,
    lgamma,
    log,
    log_ndtr,
    log_sigmoid,
    log_softmax,
    logaddexp,
    mish,
    ndtr,
    norm,
    prod,
    selu,
    softmax,
    xlogy,
)

TAIL = (-700.0, -40.0, -3.0, -0.4, 0.3, 2.5, 38.0)
SCALE, ALPHA = mpf("1.0507009873554804934193349852946"), mpf("1.6732632423543772848170429916717")
#: name -> (ours, mpmath's, points)
FUNCTIONS = {
    "log_sigmoid": (log_sigmoid, lambda x: -mp.log1p(mp.exp(-x)), [(x,) for x in TAIL]),
    "selu": (selu, lambda x: SCALE * (x if x > 0 else ALPHA * mp.expm1(x)), [(x,) for x in TAIL]),
    "mish": (mish, lambda x: x * mp.tanh(mp.log1p(mp.exp(x))), [(x,) for x in TAIL]),
    "hard_tanh": (hard_tanh, lambda x: max(min(x, mpf(1)), mpf(-1)), [(-3.0,), (0.3,), (2.0,)]),
    "exprel": (
        exprel,
        lambda x: mp.expm1(x) / x if x else mpf(1),
        [(x,) for x in (0.0, 1e-300, -1e-9, 0.4, -0.9, 1.0, -1.0, 1.0000001, -1.0000001, 30.0, -30.0, 700.0, -700.0)],
    ),
    "logaddexp": (logaddexp, lambda x, y: mp.log(mp.exp(x) + mp.exp(y)), [(1.0, 2.0), (38.0, 0.0), (-500.0, -499.0)]),
    "xlogy": (xlogy, lambda x, y: x * mp.log(y), [(2.0, 3.0), (-1.5, 1e-9), (1e100, 0.5)]),
    "log(x, base)": (log, lambda x, b: mp.log(x) / mp.log(b), [(3.0, 2.5), (1e-9, 7.0)]),
    "log of base 2": (lambda x: log(x, 2), lambda x: mp.log(x) / mp.log(2), [(3.0,), (1e-9,)]),
    "ndtr": (ndtr, mp.ncdf, [(x,) for x in (-37.0, -10.0, -1.0, -0.999, -0.4, 0.3, 2.5, 8.0)]),
    "log_ndtr": (
        log_ndtr,
        lambda x: mp.log(mp.erfc(-x / mp.sqrt(2)) / 2),
        [(x,) for x in (-1000.0, -100.0, -10.5, -10.0, -9.9, -3.0, -0.4, 0.3, 2.5, 12.0)],
    ),
    "lgamma": (lgamma, mp.loggamma, [(x,) for x in (1e-3, 0.3, 1.4616, 3.7, 9.9, 10.0, 10.1, 171.0, 1e10)]),
    "digamma": (digamma, mp.digamma, [(x,) for x in (1e-3, 0.3, 1.3, 3.7, 9.9, 10.0, 10.1, 171.0, 1e10)]),
    "norm": (lambda *v: norm(v), lambda *v: mp.sqrt(sum(x * x for x in v)), [(3.0, -4.0, 1.0), (2e150, -1e150, 3e150)]),
    "prod": (lambda *v: prod(v), lambda *v: mp.fprod(v), [(2.0, -3.0, 4.0), (0.0, 3.0, 5.0)]),
    "log_softmax[0]": (
        lambda *v: log_softmax(v)[0],
        lambda *v: -mp.log1p(sum(mp.exp(x - v[0]) for x in v[1:])),
        [(37.4, 0.0), (0.0, 37.4), (1.0, 2.0, 3.0)],
    ),
}
CASES = [(name, at) for name, (_, _, points) in FUNCTIONS.items() for at in points]


@cache
def right(g, at):
    """Value, gradient and Hessian by mpmath's differences at 700 digits, where no step is too small.

    200 do for the gamma function, for which mpmath would need minutes.
    """
    digits, step = (200, 70) if g in (mp.loggamma, mp.digamma) else (700, 300)
    with mp.workdps(digits):
        n, at = len(at), [mpf(x) for x in at]

        def slope(*orders):
            return mp.diff(g, tuple(at) if n > 1 else at[0], orders if n > 1 else orders[0], h=mpf(10) ** -step)

        unit = [[int(i == k) for k in range(n)] for i in range(n)]
        first = [float(slope(*unit[i])) for i in range(n)]
        second = [
            [float(slope(*[a + b for a, b in zip(unit[i], unit[j], strict=True)])) for j in range(n)] for i in range(n)
        ]
        return float(g(*at)), first, second


@pytest.mark.parametrize(("name", "at"), CASES, ids=str)
def test_values_and_derivatives_are_right_to_their_last_digits(name, at):
    f, g, _ = FUNCTIONS[name]
    value, first, second = right(g, at)
    of_gamma = name in ("lgamma", "digamma")
    assert f(*at) == pytest.approx(value, rel=3e-15, abs=1e-14 if of_gamma else 0.0)
    assert f(*map(Value, at)).data == f(*at)
    found = grad(f)(*at)
    assert np.ravel(found) == pytest.approx(first, rel=1e-14, abs=1e-14 if of_gamma else 0.0)
    found = np.array(hessian(f)(*at), float).reshape(len(at), len(at))
    near = 1e-15 * max(abs(x) for row in second for x in row) if name in ("norm", "log_softmax[0]") else 0.0
    assert found == pytest.approx(np.array(second), rel=1e-12 if name == "log_ndtr" else 2e-13, abs=near)


@pytest.mark.parametrize("backend", ["numpy", *(["native"] if find_spec("numba") else [])])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_compiled_they_give_the_same(name, backend):
    f, g, points = FUNCTIONS[name]
    for n in {len(at) for at in points}:
        some = [at for at in points if len(at) == n]
        shifts = [Value(0.0) for _ in range(n)]

        def shifted(*xs, shifts=shifts):
            return f(*[x + s for x, s in zip(xs, shifts, strict=True)])

        step = compile(shifted, shifts, backend=backend)
        columns = [np.array(column) for column in zip(*some, strict=True)]
        truths = [right(g, at) for at in some]
        assert step.each(step.theta, *columns) == pytest.approx([value for value, _, _ in truths], rel=1e-14, abs=1e-14)
        slopes = [first for _, first, _ in truths]
        assert step.jacobian(step.theta, *columns) == pytest.approx(
            np.array(slopes), rel=1e-13, abs=1e-14 * (name == "lgamma")
        )


def test_what_floats_cannot_tell_apart_from_softmax_log_softmax_can():
    assert softmax([37.4, 0.0])[0] == 1.0
    assert log_softmax([37.4, 0.0])[0] == pytest.approx(float(-mp.log1p(mp.exp(mpf(-37.4)))), rel=1e-15, abs=0.0)
    assert log_softmax([5.0]) == [0.0]
    with pytest.raises(ShapeError, match="log_softmax needs at least one operand"):
        log_softmax([])


@pytest.mark.parametrize("order", [3, 4, 5])
def test_no_derivative_of_exprel_cancels(order):
    """The one of order n at x is the integral of t**n * e**(t*x) over 0..1; near 0 that is 1/(n + 1) + x/(n + 2)."""
    derivative = exprel
    for _ in range(order):
        derivative = grad(derivative)
    for x in (0.0, 1e-12, -1e-5, 0.9, -1.0, -2.5, 3.0):
        true = mp.quad(lambda t, x=x: t**order * mp.exp(t * x), [0, 1])
        assert derivative(x) == pytest.approx(float(true), rel=1e-12)
    assert exprel(-math.inf) == 0.0


def test_far_out_the_normal_distribution_function_has_its_limits():
    assert [ndtr(x) for x in (-math.inf, -1e300, 1e300, math.inf)] == [0.0, 0.0, 1.0, 1.0]
    assert [log_ndtr(x) for x in (-math.inf, 1e300, math.inf)] == [-math.inf, 0.0, 0.0]
    assert grad(log_ndtr)(-1e8) == pytest.approx(1e8, rel=1e-15)
    assert grad(grad(log_ndtr))(-1e8) == pytest.approx(-1.0, rel=1e-15)


@pytest.mark.parametrize("x", [0.0, -0.5, -3.0])
def test_the_gamma_function_is_for_positive_numbers(x):
    for f in (lgamma, digamma):
        with pytest.raises(DomainError, match=rf"{f.__name__}\(x\) needs x > 0, got x = {x} \(node 'a'\)"):
            f(Value(x, "a"))
        step = compile(lambda x: f(x), backend="numpy")  # noqa: B023
        step.grad(1.5)
        for refused in (f, step, step.grad):
            with pytest.raises(DomainError, match=rf"{f.__name__}\(x\) needs x > 0, got x = {x}"):
                refused(x)


def test_the_advice_for_the_gamma_function_of_negative_numbers_is_right():
    advised = {lgamma: "log(pi / abs(sin(pi*x))) - lgamma(1 - x)", digamma: "digamma(1 - x) - pi/tan(pi*x)"}
    names = {name: getattr(tinygrad_vi, name) for name in ("log", "sin", "tan", "lgamma", "digamma")} | {"pi": math.pi}
    for f, text in advised.items():
        with pytest.raises(DomainError, match=re.escape(text)):
            f(-0.5)
        of = eval(f"lambda x: {text}", names)
        for x in (-0.5, -2.3, -7.9):
            true = mp.digamma(x) if f is digamma else mp.log(abs(mp.gamma(x)))
            slope = mp.polygamma(1, x) if f is digamma else mp.digamma(x)
            assert of(x) == pytest.approx(float(true), rel=1e-13)
            assert grad(of)(x) == pytest.approx(float(slope), rel=1e-12)


def test_corners_and_errors():
    assert xlogy(0.0, 0.0) == 0.0
    assert grad(xlogy)(0.0, 0.0) == (0.0, 0.0)
    assert grad(xlogy)(0.0, 2.0) == (math.log(2.0), 0.0)
    assert [grad(hard_tanh)(x) for x in (-1.0, 0.0, 1.0, 2.0)] == [0.5, 1.0, 0.5, 0.0]
    assert mish(-math.inf) == 0.0
    assert [log(8, 2), log(1000, 10), log(Value(8.0), 2).data] == [3.0, 3.0, 3.0]
    with pytest.raises(DomainError, match=r"log\(x, base\) needs a base > 0 other than 1, got base = 1"):
        log(3.0, 1)
    assert norm([0.0, 0.0]) == 0.0
    assert grad(norm)([0.0, 0.0, -2.0]) == [0.0, 0.0, -1.0]
    with pytest.raises(DomainError, match=r"has no finite derivative at x = 0\.0"):
        norm([Value(0.0), Value(0.0)])
    assert prod([]) == 1.0


def test_python_s_own_functions_take_values():
    x = Value(2.5)
    found = [round(x), math.floor(x), math.ceil(x), x % 2, 7 // x, *divmod(x, 2), 7 % x]
    assert [v.data for v in found] == [2.0, 2.0, 3.0, 0.5, 2.0, 1.0, 0.5, 2.0]
    y = x % 2 + 7 % x
    y.backward()
    assert x.grad == 1.0 - 2.0
    with pytest.raises(TypeError, match=r"to compute with them round\(v \* 100\) / 100"):
        round(x, 2)
    with pytest.raises(DomainError, match=r"x % y needs y != 0, got x = 2.5, y = 0.0"):
        x % 0
    with pytest.raises(DomainError, match=r"x // y needs y != 0"):
        x // 0.0


@pytest.mark.parametrize("y", [3.0, -3.0, 0.1, 1e300])
@pytest.mark.parametrize("x", [7.0, -7.0, 0.0, -1e-300, 1e16])
def test_mod_and_floordiv_are_numpy_s(x, y):
    assert ((Value(x) % y).data, (Value(x) // y).data) == (np.mod(x, y), np.floor_divide(x, y))


def test_rounding_is_numpy_s():
    for x in (0.5, 1.5, 2.5, -0.5, -1.5, 0.49999999999999994, 4503599627370497.5, 1e300, math.inf, -math.inf, -0.0):
        v = Value(x)
        assert repr([v.floor().data, v.ceil().data, v.round().data]) == repr(
            [float(f(x)) for f in (np.floor, np.ceil, np.rint)]
        )
        assert v.sign().data == np.sign(x)
    assert math.isnan(Value(math.nan).floor().data)
