"""Programs of single numbers in the kernel: each form of a short dot, and instructions that stand for several.

The judge computes with fractions, exactly, or with Python's floats; both know nothing of the engine.
"""

import math
import random
from fractions import Fraction

import numpy as np
import pytest

from tinygrad_vi import Value, compile, logsumexp, total

pytest.importorskip("numba", reason="the kernel needs Numba")

from tinygrad_vi.compiler import codes


class Exact:
    """A polynomial's value and its derivatives by the parameters, as fractions."""

    def __init__(self, value, slopes):
        self.value, self.slopes = value, slopes

    def __add__(self, other):
        other = other if isinstance(other, Exact) else Exact(Fraction(other), [Fraction(0)] * len(self.slopes))
        return Exact(self.value + other.value, [a + b for a, b in zip(self.slopes, other.slopes, strict=True)])

    def __mul__(self, other):
        if not isinstance(other, Exact):
            return Exact(self.value * Fraction(other), [a * Fraction(other) for a in self.slopes])
        slopes = [a * other.value + b * self.value for a, b in zip(self.slopes, other.slopes, strict=True)]
        return Exact(self.value * other.value, slopes)

    __rmul__ = __mul__


def exactly(theta):
    return [Exact(Fraction(x), [Fraction(int(i == j)) for j in range(len(theta))]) for i, x in enumerate(theta)]


#: plain terms and products of a sum
FORMS = [(2, 0), (1, 1), (0, 2), (3, 0), (2, 1), (1, 2), (0, 3)]


def sums(form, coefficients):
    """Values that are sums of this form of values before, one on the other."""
    plain, products = form

    def function(x):
        values = list(x)
        for step in range(12):
            pick = iter(random.Random(f"{form} {step}").sample(range(len(values)), plain + 2 * products))
            terms = [values[next(pick)] for _ in range(plain)]
            terms += [values[next(pick)] * values[next(pick)] for _ in range(products)]
            made = terms[0] * coefficients[0] if coefficients[0] != 1.0 else terms[0]
            for term, c in zip(terms[1:], coefficients[1:], strict=False):
                made = made + (term * c if c != 1.0 else term)
            values.append(made * made * 0.25)  # a square, so that the sum stays a node
        return values[-1] + values[-2]

    return function


@pytest.mark.parametrize("coefficients", [(1.0, 1.0, 1.0), (1.0, -1.0, 1.0), (0.3, -0.7, 1.1)], ids=str)
@pytest.mark.parametrize("form", FORMS, ids=str)
def test_each_form_of_a_short_sum_beside_fractions(form, coefficients):
    theta = [0.31, -0.77, 1.13, 0.58, -0.42, 0.9, 1.7]
    function = sums(form, coefficients)
    step = compile(function, backend="native")
    value, gradient = step.value_and_grad(theta)
    expected = function(exactly(theta))
    assert value == pytest.approx(float(expected.value), rel=1e-12)
    assert gradient.tolist() == pytest.approx([float(x) for x in expected.slopes], rel=1e-11, abs=1e-13)


def test_all_short_forms_are_used():
    """The programs above, and their gradients, hold every form that the kernel has."""
    seen = set()
    for form in FORMS:
        for coefficients in ((1.0, 1.0, 1.0), (0.3, -0.7, 1.1)):
            step = compile(sums(form, coefficients), backend="native")
            step.value_and_grad([0.5 + 0.1 * i for i in range(7)])
            seen |= set(step._traces.known().runners["value_and_gradient"].tables.code[:, codes.OP].tolist())
    assert seen >= {codes.TIMES, codes.SCALED, codes.PLUS, codes.DOT_20, codes.DOT_11, codes.DOT_02}


SIZES = [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 33]


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize(
    ("function", "by_numpy"),
    [
        (lambda x, s: [v / s for v in x], lambda x, s: x / s),
        (lambda x, s: [s / v for v in x], lambda x, s: s / x),
        (lambda x, s: [v / (v * v + 1.0) for v in x], lambda x, s: x / (x * x + 1.0)),
        (lambda x, s: [v * s for v in x], lambda x, s: x * s),
        (lambda x, s: [v - s for v in x], lambda x, s: x - s),
        (lambda x, s: [v * s - s for v in x], lambda x, s: x * s - s),
        (lambda x, s: [2.0 * v + 3.0 * s for v in x], lambda x, s: 2.0 * x + 3.0 * s),
        (lambda x, s: [v * v - s * s for v in x], lambda x, s: x * x - s * s),
        (lambda x, s: [(v - s).exp() for v in x], lambda x, s: np.exp(x - s)),
        (lambda x, s: [(v * s).tanh() for v in x], lambda x, s: np.tanh(x * s)),
        (lambda x, s: [(v * v + s * s) ** 0.5 for v in x], lambda x, s: np.sqrt(x * x + s * s)),
    ],
)
def test_an_operand_that_all_share(n, function, by_numpy):
    theta = np.random.default_rng(n).uniform(0.5, 2.0, n + 1)
    step = compile(lambda p: function(p[:-1], p[-1]), backend="native")
    expected = by_numpy(theta[:-1], theta[-1])
    assert step(theta) == pytest.approx(expected, rel=3e-16 * 8, abs=1e-15)
    jacobian = step.jacobian(theta)
    for j in range(n + 1):  # by the complex step, which rounds no difference
        moved = theta.astype(complex)
        moved[j] += 1e-30j
        assert jacobian[:, j] == pytest.approx(by_numpy(moved[:-1], moved[-1]).imag / 1e-30, rel=1e-13, abs=1e-15)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 7, 8, 9, 16, 33, 1000])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 50.0, 800.0])
def test_logsumexp_of_numbers(n, scale):
    x = np.random.default_rng(n).normal(size=n) * scale
    step = compile(logsumexp, backend="native")
    value, gradient = step.value_and_grad(x)
    top = max(x)
    assert value == pytest.approx(top + math.log(math.fsum(math.exp(v - top) for v in x)), rel=1e-15, abs=1e-15)
    weights = [math.exp(v - top) for v in x]
    assert gradient.tolist() == pytest.approx([w / math.fsum(weights) for w in weights], rel=1e-13, abs=1e-300)


def test_logsumexp_of_equal_numbers():
    for n in (2, 3, 8, 9):
        step = compile(logsumexp, backend="native")
        value, gradient = step.value_and_grad([0.7] * n)
        assert value == pytest.approx(0.7 + math.log(n), rel=1e-15)
        assert gradient.tolist() == pytest.approx([1.0 / n] * n, rel=1e-15)


@pytest.mark.parametrize("N", [1, 2, 7, 8, 9, 31, 33, 100])
@pytest.mark.parametrize("terms", [(1e308, 1e308, -1e308), (1e16, 1.0, -1e16), (0.1, 0.2, 0.3, -0.6)], ids=str)
def test_a_sum_that_is_rounded_once_over_a_batch(N, terms):
    """Also where it overflows on the way, in one example of the batch alone."""
    w = Value(1.0)
    step = compile(lambda x: w * total(list(x)), [w], backend="native")
    X = np.random.default_rng(N).normal(size=(N, len(terms)))
    X[N // 2] = terms
    expected = [rounded_once(row) for row in X.tolist()]
    assert step.each([1.0], X).tolist() == expected


def rounded_once(row):
    """The sum, rounded once, of numbers whose sums on the way may overflow."""
    return float(sum(map(Fraction, row)))


def test_zeros_keep_their_signs_in_short_sums():
    """As the scalar code has them: -0.0 + -0.0 is -0.0, and 0.0 + -0.0 is 0.0."""
    step = compile(lambda p: [p[0] + p[1], p[0] * p[1], 3.0 * p[0]], backend="native")
    for a in (0.0, -0.0):
        for b in (0.0, -0.0):
            found = step([a, b])
            for x, y in zip(found.tolist(), [a + b, a * b, 3.0 * a], strict=True):
                assert math.copysign(1.0, x) == math.copysign(1.0, y)


@pytest.mark.parametrize(
    "function",
    [
        lambda a, b, c: 0.1 * (a + b) - 0.7 * c,
        lambda a, b, c: a + 0.1 * b - 0.3 * c,
        lambda a, b, c: a * b - 0.1 * c,
        lambda a, b, c: 0.1 * (3.0 * a) + b * c,
    ],
)
def test_what_a_corner_hangs_on_is_rounded_as_in_the_scalar_code(function):
    """Each product and each sum rounded, none of them fused: abs(f - what Python finds for f) is 0, and so its slope."""
    rng = np.random.default_rng(0)
    for at in rng.uniform(-2.0, 2.0, (50, 3)).tolist():
        corner = function(*at)
        step = compile(lambda p, corner=corner: abs(function(*p) - corner), backend="native")
        value, gradient = step.value_and_grad(at)
        assert value == 0.0
        assert gradient.tolist() == [0.0] * 3
