"""The log-densities against PyTorch and mpmath, and what they refuse."""

import inspect

import numpy as np
import pytest
from mpmath import mp, mpf

from tinygrad_vi import DomainError, Value, compile, distributions, grad

CASES = {  # name -> points: x, then the parameters
    "normal": [(1.3, 0.2, 0.7), (-40.0, 1.0, 2.0)],
    "laplace": [(1.3, 0.2, 0.7), (-40.0, 1.0, 2.0)],
    "logistic": [(1.3, 0.2, 0.7), (-90.0, 1.0, 2.0)],
    "student_t": [(1.3, 3.0, 0.2, 0.7), (-40.0, 0.5, 1.0, 2.0), (0.3, 100.0, 0.0, 1.0)],
    "exponential": [(1.3, 0.7), (0.0, 2.0)],
    "gamma": [(1.3, 0.7, 2.0), (0.01, 30.0, 0.1)],
    "beta": [(0.3, 2.0, 5.0), (1e-9, 0.5, 0.5)],
    "bernoulli": [(1.0, 0.7), (0.0, -40.0)],
    "poisson": [(3.0, 0.7), (0.0, 2.0), (150.0, 120.0)],
}


def _logistic(x, m, s):
    z = (x - m) / s
    return -z - 2 * mp.log1p(mp.exp(-z)) - mp.log(s)


def _student_t(x, n, m, s):
    z = (x - m) / s
    return mp.log(mp.gamma((n + 1) / 2) / mp.gamma(n / 2) / mp.sqrt(n * mp.pi) / s * (1 + z * z / n) ** (-(n + 1) / 2))


TRUTH = {
    "normal": lambda x, m, s: mp.log(mp.npdf(x, m, s)),
    "laplace": lambda x, m, s: mp.log(mp.exp(-abs(x - m) / s) / (2 * s)),
    "logistic": _logistic,
    "student_t": _student_t,
    "exponential": lambda x, r: mp.log(r * mp.exp(-r * x)),
    "gamma": lambda x, a, b: mp.log(b**a * x ** (a - 1) * mp.exp(-b * x) / mp.gamma(a)),
    "beta": lambda x, a, b: mp.log(x ** (a - 1) * (1 - x) ** (b - 1) / mp.beta(a, b)),
    "bernoulli": lambda x, a: mp.log(1 / (1 + mp.exp(-a if x else a))),
    "poisson": lambda x, r: mp.log(r**x * mp.exp(-r) / mp.factorial(x)),
}
EACH = [(name, at) for name, points in CASES.items() for at in points]


def right(name, at):
    """The value and the derivatives by the parameters."""
    with mp.workdps(60):
        x, *rest = map(mpf, at)
        g = lambda *p: TRUTH[name](x, *p)  # noqa: E731
        slopes = [mp.diff(g, tuple(rest), tuple(int(i == k) for k in range(len(rest)))) for i in range(len(rest))]
        return float(g(*rest)), [float(s) for s in slopes]


@pytest.mark.parametrize(("name", "at"), EACH, ids=str)
def test_values_and_slopes_are_right(name, at):
    f = getattr(distributions, name)
    value, slopes = right(name, at)
    assert f(*at) == pytest.approx(value, rel=1e-13, abs=0.0)
    found = np.ravel(grad(lambda *p: f(at[0], *p))(*at[1:]))
    assert found == pytest.approx(slopes, rel=1e-12, abs=1e-13)


@pytest.mark.parametrize("name", CASES)
def test_compiled_for_a_batch_they_give_the_same(name):
    f, n = getattr(distributions, name), len(CASES[name][0]) - 1
    for at in CASES[name]:
        p = [Value(x) for x in at[1:]]
        value, slopes = right(name, at)
        step = compile(lambda x, p=p: f(x, *p), p, backend="numpy")
        found, gradient = step.value_and_grad(step.theta, [at[0], at[0]])
        assert found == pytest.approx(value, rel=1e-13)
        assert gradient == pytest.approx(slopes, rel=1e-12, abs=1e-13)
        assert len(gradient) == n


@pytest.mark.parametrize(
    ("name", "at", "text"),
    [
        ("exponential", (-1.0, 1.0), r"exponential takes x >= 0, got -1.0"),
        ("bernoulli", (0.5, 1.0), r"bernoulli takes 0 or 1, got 0.5"),
        ("poisson", (1.5, 1.0), r"poisson takes a whole number of at least 0, got 1.5"),
        ("poisson", (-1.0, 1.0), r"poisson takes a whole number of at least 0, got -1.0"),
        ("gamma", (-1.0, 2.0, 1.0), r"gamma needs x > 0, got x = -1.0"),
        ("beta", (2.0, 2.0, 1.0), r"needs x > -1, got x = -2.0"),
    ],
)
def test_outside_of_the_support_is_an_error_also_for_a_compiled_function(name, at, text):
    f = getattr(distributions, name)
    with pytest.raises(DomainError, match=text):
        f(*at)
    p = [Value(x) for x in CASES[name][0][1:]]
    step = compile(lambda x: f(x, *p), p, backend="numpy")
    with pytest.raises(DomainError, match=text):
        step.value_and_grad(step.theta, [CASES[name][0][0], at[0]])


@pytest.mark.parametrize("given", [0.0, -2.0])
@pytest.mark.parametrize(
    ("name", "parameter"),
    [
        ("normal", "scale"), ("laplace", "scale"), ("logistic", "scale"), ("student_t", "df"), ("student_t", "scale"),
        ("exponential", "rate"), ("gamma", "concentration"), ("gamma", "rate"), ("beta", "a"), ("beta", "b"),
        ("poisson", "rate"),
    ],
)  # fmt: skip
def test_a_parameter_that_is_not_above_0_is_named_also_by_a_compiled_function(name, parameter, given):
    f = getattr(distributions, name)
    names = list(inspect.signature(f).parameters)
    at = dict(zip(names, CASES[name][0], strict=False))
    text = rf"{name} needs {parameter} > 0, got {parameter} = {given}"
    with pytest.raises(DomainError, match=text):
        f(**{**at, parameter: given})
    with pytest.raises(DomainError, match=text + r" \(node 'p'\)"):
        f(**{**at, parameter: Value(given, "p")})
    step = compile(lambda p: f(**{**at, parameter: p}), backend="numpy")
    step.grad(at[parameter])
    with pytest.raises(DomainError, match=text):
        step.grad(given)
