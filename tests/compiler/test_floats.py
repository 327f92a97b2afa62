"""The canonical form rewrites floats: compiled programs at the ends of the range, at exact ties, where digits cancel.

Every program is judged twice: by mpmath at 1,200 bits, as the mathematics it is, and by the eager engine, as the text it
is.  The bound is a few units in the last place of the largest intermediate that the text has, carried to the result.
"""

import math

import mpmath
import numpy as np
import pytest
from mpmath import mp, mpf

from tinygrad_vi import (
    Value,
    atan,
    atan2,
    bell,
    compile,
    dot,
    erf,
    erfc,
    exp,
    gelu,
    grad,
    hessian,
    jvp,
    leaky_relu,
    log,
    losses,
    maximum,
    minimum,
    no_grad,
    relu,
    sech,
    silu,
    softmax,
    softplus,
    sqrt,
    step,
    take,
    total,
    where,
)
from tinygrad_vi.graph import topological_order

BITS = 1200


@pytest.fixture(params=["numpy", "native"])
def backend(request):
    if request.param == "native":
        pytest.importorskip("numba")
    return request.param


def eager(f, at):
    """Value and gradient as the engine computes them, one operation after the other."""
    xs = [Value(float(x)) for x in at]
    y = f(*xs)
    y.backward()
    return y.data, [x.grad for x in xs]


def every_value(f, at, backend):
    """The value on every path: called, by gradient, for each example of a batch, along a direction."""
    numbers, batch = list(map(float, at)), np.tile(np.array(at, dtype=float), (5, 1))
    found = compile(lambda x: f(*x), backend=backend)
    zero = Value(0.0)
    mapped = compile(lambda x: f(*x) + 0.0 * zero, params=[zero], backend=backend)
    yield "value", found(numbers)
    yield "value and gradient", found.value_and_grad(numbers)[0]
    yield "each", found.each(numbers)
    yield "jvp", found.jvp(numbers, [1.0] * len(numbers))[0]
    for value in mapped.each([0.0], batch):
        yield "each of a batch", value


def every_gradient(f, at, backend):
    """The gradient on every path: of the mean, of a batch of one and of five, by columns of J v, by rows of J."""
    numbers = list(map(float, at))
    found = compile(lambda x: f(*x), backend=backend)
    yield "gradient", found.grad(numbers).tolist()
    yield "jacobian", found.jacobian(numbers).tolist()
    yield "jvp", [float(found.jvp(numbers, unit)[1]) for unit in np.eye(len(numbers))]
    parameters = [Value(x) for x in numbers]
    step_ = compile(lambda x: f(*parameters) + 0.0 * x, params=parameters, backend=backend)
    yield "gradient of a batch", step_.grad(numbers, [0.0] * 5).tolist()
    for row in step_.jacobian(numbers, [0.0] * 5):
        yield "jacobian of a batch", row.tolist()


def close(found, right, tolerance):
    """Within the tolerance, relative to what is right; an exact 0 only for 0."""
    if right == 0:
        return found == 0.0
    return abs(mpf(found) - mpf(right)) <= tolerance * abs(mpf(right)) + mpf(5e-324)


# --- Over all magnitudes ----------------------------------------------------------------------------------------------


def chain(a):
    v = 1.0 * a
    for _ in range(1080):
        v = 0.5 * a * v
    return v


def tenth_chain(x):
    for _ in range(40):
        x = 1e-10 * x * 1e10
    return x


def quotient(a, b):
    return exp(a) / (exp(a) + exp(b))


def by_hand(a, b):
    return exp(a) * (1 / (exp(a) + exp(b)))


#: program, point.  They have no cancellation: all paths give the digits of mpmath
PROGRAMS = {
    "a softmax quotient far out": (quotient, (400.0, 399.0)),
    "a softmax quotient far out on the other side": (quotient, (-350.0, -351.0)),
    "a softmax by a reciprocal": (by_hand, (400.0, 399.0)),
    "a softmax by a power": (lambda a, b: exp(a) * (exp(a) + exp(b)) ** -1, (400.0, 399.0)),
    "an inverse square far out": (lambda a, b: exp(2 * a) * (exp(a) + exp(b)) ** -2, (300.0, 299.0)),
    "an inverse root far out": (lambda a, b: exp(a) * (exp(2 * a) + exp(2 * b)) ** -0.5, (300.0, 299.0)),
    "a quotient of large numbers": (lambda x, y: x / y, (1e300, -1e200)),
    "a quotient of small numbers": (lambda x, y: x / y, (1e-200, 1e-150)),
    "a quotient of tiny numbers": (lambda x, y: x / y, (3e-160, 1e-160)),
    "a quotient of subnormal numbers": (lambda x, y: 1e-10 * (x / y), (3e-315, 1.5e-305)),
    "a quotient of quotients": (lambda x, y: (x / y) / (y / x), (1e-120, 1e-130)),
    "a quotient, cubed": (lambda x, y: (x / y) ** 3, (1e100, -1.0)),
    "a constant over a number": (lambda x: 1e-300 / x, (1e-250,)),
    "a number over a constant": (lambda x: x / 3e-300, (1e-200,)),
    "a halved chain of 1,080 steps": (chain, (1.9,)),
    "constants that come and go": (tenth_chain, (1e300,)),
    "a square of a scaled number": (lambda x: (1e-170 * x) ** 2, (1e120,)),
    "a product of scaled numbers": (lambda x, y: (1e-200 * x) * (1e-200 * y), (1e150, 1e180)),
    "a product, scaled": (lambda x, y: 1e250 * (x * y), (1e-100, 1e-150)),
    "a scaled factor": (lambda x, y: (1e250 * x) * y, (1e-300, 1e-150)),
    "scaled twice": (lambda x: 1e150 * (1e150 * x), (1e-300,)),
    "scaled down twice": (lambda x: 1e-200 * (1e-200 * x), (1e300,)),
    "halves of subnormal numbers": (lambda x, y: 0.5 * (x * y), (5e-324, 1e300)),
    "a half of a subnormal parameter times data": (lambda x, y: 0.25 * (x * y) + 0.0 * y, (5e-324, 1e300)),
    "a cube": (lambda x: x**3, (2e102,)),
    "an inverse square": (lambda x: x**-2, (1e-100,)),
    "an inverse square of a large number": (lambda x: x**-2, (1e160,)),
    "a power of -1.5": (lambda x: x**-1.5, (1e200,)),
    "a power of -2.5": (lambda x: x**-2.5, (1e-80,)),
    "a root of a small number": (lambda x: sqrt(1e-200 * x), (1e-100,)),
    "a logarithm of a large sum": (lambda a, b: log(exp(a) + exp(b)), (700.0, 699.0)),
    "a chain rule through large numbers": (lambda x: log(1e200 * (x * 1e100)), (1e-3,)),
    "a negative factor": (lambda x, y: -(-1e200 * x) * (-y), (1e-250, 1e40)),
    "a total of large numbers": (lambda x, y, z: total([x, y, z]), (1e307, 1e306, 1e305)),
    "a factor of a total": (lambda x, y, z: 1e-300 * total([x, y, z]), (1e300, 1e299, 1e298)),
    "a factor of a dot": (lambda x, y: 1e-170 * dot([x, y], [x, y]), (1e150, 1e140)),
    "a factor of 0": (lambda x, y: x + 0.0 * y, (2.0, 1e300)),
}


class Exact:
    """A number of mpmath that answers to the operations of the table."""

    def __init__(self, x):
        self.x = x if isinstance(x, mpf) else mpf(getattr(x, "x", x))

    def record(self, op, *operands):
        xs = [operand.x if isinstance(operand, Exact) else mpf(operand) for operand in operands]
        if op.name == "total":
            return Exact(mpmath.fsum(xs))
        if op.name == "dot":
            n = len(xs) // 2
            return Exact(mpmath.fdot(xs[:n], xs[n:-1]) + xs[-1])
        return Exact(getattr(mpmath, op.name)(*xs))

    def __add__(self, other):
        return Exact(self.x + Exact(other).x)

    def __mul__(self, other):
        return Exact(self.x * Exact(other).x)

    def __sub__(self, other):
        return Exact(self.x - Exact(other).x)

    def __rsub__(self, other):
        return Exact(Exact(other).x - self.x)

    def __truediv__(self, other):
        return Exact(self.x / Exact(other).x)

    def __rtruediv__(self, other):
        return Exact(Exact(other).x / self.x)

    def __pow__(self, n):
        return Exact(self.x**n)

    def __neg__(self):
        return Exact(-self.x)

    __radd__, __rmul__ = __add__, __mul__


def truth(f, at):
    """The value and the gradient, by mpmath: differences of a relative step of 2**-300, at 1,200 bits."""
    with mp.workprec(BITS):
        xs = [mpf(x) for x in at]

        def g(i, h):
            moved = [x + h if j == i else x for j, x in enumerate(xs)]
            return f(*map(Exact, moved)).x

        slopes = []
        for i, x in enumerate(xs):
            h = (abs(x) or 1) * mpf(2) ** -300
            slopes.append((g(i, h) - g(i, -h)) / (2 * h))
        return f(*map(Exact, xs)).x, slopes


def second(f, at):
    """The Hessian, by mpmath."""
    with mp.workprec(BITS):
        xs = [mpf(x) for x in at]
        steps = [(abs(x) or 1) * mpf(2) ** -200 for x in xs]

        def g(*moves):
            return f(*[Exact(x + m) for x, m in zip(xs, moves, strict=True)]).x

        def unit(i, sign):
            return [sign * h if j == i else mpf(0) for j, h in enumerate(steps)]

        def entry(i, j):
            total_ = mpf(0)
            for a in (1, -1):
                for b in (1, -1):
                    total_ += a * b * g(*[u + v for u, v in zip(unit(i, a), unit(j, b), strict=True)])
            return total_ / (4 * steps[i] * steps[j])

        return [[entry(i, j) for j in range(len(xs))] for i in range(len(xs))]


@pytest.mark.parametrize("name", PROGRAMS)
def test_values_keep_their_range_and_their_digits(name, backend):
    f, at = PROGRAMS[name]
    right = truth(f, at)[0]
    tolerance = 1e-12 if "chain" in name else 1e-13
    for path, found in every_value(f, at, backend):
        assert close(found, right, tolerance), (path, found, right)
    assert close(eager(f, at)[0], right, tolerance)


@pytest.mark.parametrize("name", PROGRAMS)
def test_gradients_keep_their_range_and_their_digits(name, backend):
    f, at = PROGRAMS[name]
    right = truth(f, at)[1]
    assert all(abs(slope) < 1e308 for slope in right)
    for path, found in every_gradient(f, at, backend):
        for got, slope in zip(found, right, strict=True):
            assert close(got, slope, 1e-11), (path, found, right)


@pytest.mark.parametrize("name", PROGRAMS)
def test_eager_gradients_keep_their_range_too(name):
    f, at = PROGRAMS[name]
    right = truth(f, at)[1]
    for path, found in (
        ("backward", eager(f, at)[1]),
        ("grad", np.ravel(grad(f)(*map(float, at))).tolist()),
        ("jvp", [jvp(f, tuple(map(float, at)), tuple(unit))[1] for unit in np.eye(len(at)).tolist()]),
    ):
        for got, slope in zip(found, right, strict=True):
            assert close(got, slope, 1e-11), (path, found, right)


CURVED = [
    "a softmax quotient far out", "a softmax quotient far out on the other side", "a softmax by a reciprocal",
    "a softmax by a power", "an inverse square far out", "an inverse root far out", "a quotient, cubed",
    "a logarithm of a large sum", "a chain rule through large numbers", "a factor of a dot",
]  # fmt: skip


@pytest.mark.parametrize("name", CURVED)
def test_second_derivatives_keep_their_range(name, backend):
    f, at = PROGRAMS[name]
    right = second(f, at)
    numbers = list(map(float, at))
    found = compile(lambda x: f(*x), backend=backend)
    parameters = [Value(x) for x in numbers]
    batched = compile(lambda x: f(*parameters) + 0.0 * x, params=parameters, backend=backend)
    by_hand = np.reshape(hessian(f)(*numbers), (len(at), len(at)))
    size = max(abs(entry) for row in right for entry in row)
    for path, matrix in (
        ("hessian", found.hessian(numbers)),
        ("hvp", np.stack([found.hvp(numbers, unit) for unit in np.eye(len(at))], axis=1)),
        ("hessian of a batch", batched.hessian(numbers, [0.0] * 5)),
        ("eager", by_hand),
    ):
        for row, true_row in zip(matrix, right, strict=True):
            for got, entry in zip(row, true_row, strict=True):
                assert abs(mpf(float(got)) - entry) <= 1e-10 * size, (path, matrix, right)


# --- Digits -----------------------------------------------------------------------------------------------------------

#: program, point, right value: a factor that is distributed over a sum, or constants that are merged, lose it
DIGITS = {
    "a large factor of a difference": (lambda a, b: 1e8 * (a - b), (1.0000000001e8, 1e8)),
    "a small factor of a difference": (lambda x: (x - 1e8) * 0.1, (1e8 + 1,)),
    "a factor of a difference, subtracted": (lambda a, b: 1.0 - 0.3 * (a - b), (1e10 + 1, 1e10)),
    "a quotient of a difference": (lambda a, b: (a - b) / 3.0, (1e10 + 1, 1e10)),
    "a factor of a sum of products": (lambda a, b: 1e6 * (a * a - b * b), (1e7, 1e7 - 1)),
    "a total that cancels": (lambda a, b, c: total([a, b, c]), (1e16, 1.0, -1e16)),
    "a total of products that cancels": (lambda a, b, c: total([a * a, b * c, -a * a, 1.5 * c]), (1e8, 0.5, 0.25)),
    "a total that overflows on the way": (lambda a, b, c: total([a, b, c]), (1.7e308, 1.7e308, -1.7e308)),
    "a total of many": (lambda *xs: total(xs), (1e17, *[1.0] * 12, -1e17)),
    "a third of a third": (lambda x: (x / 3.0) / 3.0, (0.7,)),
    "a mean of a hundred and a bit": (lambda *xs: total(xs) / 7.0, (1e15, 0.3, -1e15, 0.3, 0.3, 0.3, 0.3)),
    "a difference in a square": (lambda a, b: (0.7 * (a - b)) ** 2, (1e9 + 1, 1e9)),
    "a difference in a function": (lambda a, b: exp(0.7 * (a - b)), (1e9 + 1, 1e9)),
}


@pytest.mark.parametrize("name", DIGITS)
def test_no_digits_are_lost(name, backend):
    f, at = DIGITS[name]
    value, slopes = truth(f, at)
    if name == "a total of products that cancels":  # each product is rounded
        value = mpf(eager(f, at)[0])
    for path, found in [*every_value(f, at, backend), ("eager", eager(f, at)[0])]:
        assert close(found, value, 1e-14), (path, found, value)
    for path, found in every_gradient(f, at, backend):
        assert all(close(got, slope, 1e-13) for got, slope in zip(found, slopes, strict=True)), (path, found, slopes)


# --- Sums inside sums, look-ups, shares -------------------------------------------------------------------------------

HUGE = 1.0000000000009094e16
#: program, point, value and slopes by exact arithmetic: each step is exact, or has one rounding of its own
APART = {
    "a difference over 1, less 1": (lambda w: ((w - 1e16) / 1.0) - 1.0, (1e16,), -1.0, (1.0,)),
    "a doubled difference, less a bit": (lambda w: ((w - 1e8) * 2.0) - 0.1, (1e8,), -0.1, (2.0,)),
    "half of nothing, and a half": (lambda w: ((w - w) * 0.5) + 0.5, (HUGE,), 0.5, (0.0,)),
    "one and a difference": (lambda w: 1.0 + (w - 1e16), (1e16,), 1.0, (1.0,)),
    "a number and a difference": (lambda w, v: v + (w - 1e16), (1e16, 1.0), 1.0, (1.0, 1.0)),
    "a number less a difference": (lambda w, v: v - (w - 1e16), (1e16, 1.0), 1.0, (-1.0, 1.0)),
    "two differences": (lambda w, v: (w - 1e16) + (v - 1e12), (1e16, 1e12 + 0.5), 0.5, (1.0, 1.0)),
    "a difference and a product": (lambda w, u, v: (w - 1e16) + u * v, (1e16, 0.5, 0.25), 0.125, (1.0, 0.25, 0.5)),
    "a product and a difference": (lambda w, u, v: u * v + (w - 1e16), (1e16, 0.5, 0.25), 0.125, (1.0, 0.25, 0.5)),
    "a quarter of a difference, and a product": (
        lambda w, u, v: 0.25 * (w - 1e16) - u * v, (1e16, 0.5, 0.25), -0.125, (0.25, -0.25, -0.5)),
    "a small entry": (lambda w: take([1e-08, w, 1.0, w], 0.0 * w), (0.7,), 1e-08, (0.0,)),
    "a tiny entry": (lambda w: take([w, 1.0], 0.0 * w), (6e-290,), 6e-290, (1.0,)),
    "a tiny entry, squared": (lambda w: take([w, 1.0], 0.0 * w) * w, (3e-150,), 9e-300, (6e-150,)),
    "an entry in a sum": (lambda w, v: take([w, v], 0.0 * v) - 1e16 + 0.5, (1e16, 1.0), 0.5, (1.0, 0.0)),
    "a tie beside a tiny product": (
        lambda w, v: minimum(v, w) + v * w, (1.0, 3e-274), 6e-274, (3e-274, 2.0)),
    "the larger of two, and a tiny product": (
        lambda w, v: maximum(v, w) + v * w, (3e-274, 1.0), 1.0, (1.0, 1.0)),
}  # fmt: skip


@pytest.mark.parametrize("name", APART)
def test_what_is_computed_first_stays_apart(name, backend):
    f, at, value, slopes = APART[name]
    for path, found in [*every_value(f, at, backend), ("eager", eager(f, at)[0])]:
        assert close(found, mpf(value), 1e-15), (path, found)
    for path, found in [*every_gradient(f, at, backend), ("eager", eager(f, at)[1])]:
        assert found == pytest.approx(slopes, rel=1e-14, abs=0.0), path


def test_an_infinite_entry_is_not_taken(backend):
    f = lambda w: take([1e200 * w * 1e200, w], 1.0 + 0.0 * w)  # noqa: E731
    found = compile(lambda x: f(*x), backend=backend)
    assert eager(f, [0.5]) == (0.5, [1.0])
    assert found([0.5]) == 0.5
    assert found.grad([0.5]).tolist() == [1.0]


#: functions whose slope has a factor x, where it is 0: x times x times ... overflows
FAR_OUT = {
    "gelu": (gelu, (-4e189, 4e189)), "silu": (silu, (-4e189, 4e189)), "erf": (erf, (4e189,)), "erfc": (erfc, (1e200,)),
    "bell": (bell, (-4e189,)), "softplus": (softplus, (4e189,)), "sech": (sech, (4e189,)),
}  # fmt: skip


@pytest.mark.parametrize("name", FAR_OUT)
def test_second_derivatives_far_out_are_0(name, backend):
    function, factors = FAR_OUT[name]
    for factor in factors:
        assert hessian(lambda x: function(factor * x[0]))([1.0]) == [[0.0]]  # noqa: B023
        assert compile(lambda x: function(factor * x[0]), backend=backend).hessian([1.0]).tolist() == [[0.0]]  # noqa: B023


@pytest.mark.parametrize("x", [0.0, 1e-300, -0.3, 0.999999, 1.0, -1.000001, 3.0, -1e30, 7e82, 1e150, -1e160])
def test_atan_has_its_slopes_at_every_magnitude(x, backend):
    u = mpf(x)
    slope, bend = 1 / (1 + u * u), -2 * u / (1 + u * u) ** 2
    found = compile(lambda x: atan(x[0]), backend=backend)
    w = Value(x)
    atan(w).backward()
    for got in (w.grad, found.grad([x])[0]):
        assert close(got, slope, 1e-15), got
    for got in (hessian(lambda x: atan(x[0]))([x])[0][0], found.hessian([x])[0, 0]):
        assert abs(mpf(float(got)) - bend) <= 1e-15 * abs(bend) + mpf(1e-322), got


def test_constants_of_the_text_are_floats():
    """Integers have no negative powers, and overflow."""
    assert compile(lambda w: w[0] / 3, backend="numpy").hessian([1.0]).tolist() == [[0.0]]
    X, w = [1.0, 1.0, 2.0], Value(2.0)
    loss = lambda: sum([w * x for x in X]) / 3  # noqa: E731
    assert compile(loss, params=[w], backend="numpy").hvp([2.0], [1.0]).tolist() == [0.0]


# --- Ties -------------------------------------------------------------------------------------------------------------

PRODUCT = 0.1 * 3.0  # 0.30000000000000004
FIVE = [0.1, 0.7, -0.3, 0.9, 1.3]
AT_FIVE = [3.0, 0.1, 0.7, -0.2, 0.6]


def in_order(terms):
    s = terms[0]
    for term in terms[1:]:
        s = s + term
    return s


def neuron(w, x, b):
    return in_order([b, *[u * v for u, v in zip(w, x, strict=True)]])


#: program and point, at which eager arithmetic comes to an exact tie
TIES = {
    "abs of a quotient less 1": (lambda x: abs(x / 49 - 1), (49.0,)),
    "maximum of a quotient": (lambda x: maximum(x / 49, 1), (49.0,)),
    "minimum of a quotient": (lambda x: minimum(x / 49, 1), (49.0,)),
    "a quotient by 3 and one by a Value": (lambda x, y: abs(x / 3 - x / y), (0.7, 3.0)),
    "relu of a product and a number": (lambda x, w, b: relu(w * x + b), (3.0, 0.1, -PRODUCT)),
    "relu of a product less data": (lambda x, w, b: relu(b - w * x), (3.0, 0.1, PRODUCT)),
    "relu of a dot": (lambda x, w, b: relu(dot([w], [x], b)), (3.0, 0.1, -PRODUCT)),
    "abs of two products": (lambda a, b, c, d: abs(a * b - c * d), (0.1, 3.0, 3.0, 0.1)),
    "a product less itself": (lambda a, b: abs(a * b - b * a), (0.1, 0.7)),
    "maximum of two products": (lambda a, b, c: maximum(a * b, c), (0.1, 3.0, PRODUCT)),
    "where": (lambda a, b, c: where(a * b - c, a, b), (0.1, 3.0, PRODUCT)),
    "step": (lambda a, b, c: step(a * b - c) * a, (0.1, 3.0, PRODUCT)),
    "leaky relu": (lambda a, b, c: leaky_relu(a * b - c, 0.25), (0.1, 3.0, PRODUCT)),
    "a scaled sum": (lambda a, b: abs(0.1 * (a + b) - 0.3), (1.0, 2.0)),
    "a constant times a constant": (lambda x: abs(0.1 * (3.0 * x) - PRODUCT), (1.0,)),
    "a number, a scaled number and a constant": (lambda a, b: abs(a + 0.1 * b - (0.07 + 0.1 * 3.0)), (0.07, 3.0)),
    "constants that cancel": (lambda x: abs(10.0 * (0.1 * x) - x), (3.0,)),
    "a sum from the left": (lambda a, b, c, d: abs(a + b + c - d), (0.1, 0.2, 0.3, 0.1 + 0.2 + 0.3)),
    "a sum from the right": (lambda a, b, c, d: abs(a + (b + c) - d), (0.1, 0.2, 0.3, 0.1 + (0.2 + 0.3))),
    "a small sum among large ones": (lambda a, b: maximum(a + 1e16 - 1e16, b), (1.0, 0.0)),
    "huber at its corner": (lambda a, b, y: losses.huber(a * b, y, delta=0.5), (0.1, 3.0, PRODUCT - 0.5)),
    "hinge at its corner": (lambda a, b: losses.hinge(a * b, 1.0), (0.1, 10.0)),
    "a line through its own predictions": (
        lambda *w: abs(neuron(w[:5], AT_FIVE, w[5]) - neuron(FIVE, AT_FIVE, 0.25)), (*FIVE, 0.25)),
    "a dot through its own predictions": (
        lambda *w: abs(dot(w[:5], AT_FIVE, w[5]) - dot(FIVE, AT_FIVE, 0.25)), (*FIVE, 0.25)),
    "twins": (
        lambda a, b: abs((0.3 * a.tanh() + 0.7) - (0.3 * b.tanh() + 0.7)), (0.4, 0.4)),
    "a root of a difference of squares": (lambda x, y: sqrt(x * x - y * y + 0.25), (0.1, 0.1)),
    "a quotient by a difference": (lambda x, y, z: 1.0 / (x * y - z + 1e-3), (0.1, 3.0, PRODUCT)),
}  # fmt: skip


@pytest.mark.parametrize("name", TIES)
def test_a_tie_stays_a_tie(name, backend):
    """The agreed partials at a corner are those of no neighbour, so a last bit would show as another number."""
    f, at = TIES[name]
    value, slopes = eager(f, at)
    for path, found in every_value(f, at, backend):
        assert close(found, value, 1e-15), (path, found, value)
    for path, found in every_gradient(f, at, backend):
        assert found == pytest.approx(slopes, rel=1e-14, abs=0.0), path


@pytest.mark.parametrize("name", TIES)
def test_a_tie_stays_a_tie_in_a_batch_of_data(name, backend):
    """The numbers are inputs, one row for each example; the last parameter is the only one."""
    f, at = TIES[name]
    last = Value(float(at[-1]))
    compiled = compile(lambda x: f(*x, last), params=[last], backend=backend)
    value, slopes = eager(f, at)
    batch = np.tile(np.array(at[:-1], dtype=float), (37, 1))
    if len(at) == 1:
        compiled = compile(lambda x: f(last) + 0.0 * x, params=[last], backend=backend)
        batch = np.zeros(37)
    found, gradient = compiled.value_and_grad([at[-1]], batch)
    assert found == pytest.approx(value, rel=1e-14, abs=0.0)
    assert gradient[0] == pytest.approx(slopes[-1], rel=1e-14, abs=0.0)
    assert compiled.each([at[-1]], batch).tolist() == pytest.approx([value] * 37, rel=1e-15, abs=0.0)


def test_a_sum_that_is_0_leaves_the_domain_as_in_eager_code(backend):
    f = lambda x: 1.0 / (x[0] * x[1] - x[2])  # noqa: E731
    found = compile(f, backend=backend)
    found([0.1, 3.0, 0.3])
    with pytest.raises(ArithmeticError):
        found([0.1, 3.0, PRODUCT])


# --- Signs of 0, infinities, NaN --------------------------------------------------------------------------------------


def test_a_coefficient_of_0_is_0(backend):
    from tinygrad_vi import nn

    model, alpha = nn.MLP(3, [4, 1], seed=1), 0.0
    extra = nn.MLP(3, [4, 1], activation="identity", output_activation="identity", seed=2)
    parameters = [*model.parameters(), *extra.parameters()]

    def loss(x, t):
        return (model(x) + alpha * extra(x) - t) ** 2

    step_ = compile(loss, parameters, backend=backend)
    X, t = np.random.default_rng(0).normal(size=(6, 3)), np.ones(6)
    value, gradient = step_.value_and_grad(step_.theta, X, t)
    for p in parameters:
        p.grad = 0.0
    mean = total([loss(list(map(Value, x)), 1.0) for x in X.tolist()]) / 6.0
    mean.backward()
    assert value == pytest.approx(mean.data, rel=1e-14)
    assert gradient.tolist() == pytest.approx([p.grad for p in parameters], rel=1e-12, abs=0.0)


def test_matrices_with_a_coefficient_of_0_and_with_a_grid(backend):
    w = [[Value(1.0 + i + 2 * j, f"w[{i},{j}]") for j in range(2)] for i in range(3)]
    parameters = [v for row in w for v in row]

    def loss(x):
        rows = [dot(row, x) for row in w]
        return total([0.0 * r + 1.0 for r in rows]) + 0.0 * rows[0] * rows[1]

    step_ = compile(loss, parameters, backend=backend)
    value, gradient = step_.value_and_grad(step_.theta, [[0.5, 2.0], [1.0, -1.0]])
    assert value == 3.0
    assert not gradient.any()


@pytest.mark.parametrize("constant", [math.inf, -math.inf, math.nan, -0.0, 0.0, 1e300, True])
def test_constants_of_every_kind_are_written_as_they_are(constant, backend):
    found = compile(lambda x: where(x[0], x[1], constant) + minimum(x[0], math.inf) + maximum(x[1], -math.inf),
                    backend=backend)  # fmt: skip
    assert found.each([2.0, 3.0]).tolist() == 8.0
    with np.errstate(all="ignore"):
        chosen = compile(lambda x: relu(where(x[0], x[1], constant)) * x[1], backend=backend)
    if math.isfinite(constant):
        assert chosen([-1.0, 2.0]) == max(constant, 0.0) * 2.0


def test_two_zeros_are_two_constants():
    from tinygrad_vi.compiler.form import Form

    form = Form()
    x = form.parameter(0)
    nodes = {form.whole(c, x.node()) for c in (0.0, -0.0)}
    assert len(nodes) == 2
    assert len({form.node("dot", ((c, 0, 0),), False) for c in (0.0, -0.0, 1.0)}) == 3


@pytest.mark.parametrize("n", [-2.5, -2.0, -1.5, -1.0, -0.5, 0.5, 1.5, 2.0, 3.0, 7.0])
def test_powers_over_a_batch(n, backend):
    rng = np.random.default_rng(3)
    X = 10.0 ** (300.0 / (abs(n) + 1.0) * rng.uniform(-1.0, 1.0, size=200))  # value and slope are floats
    one = Value(1.0)
    found = compile(lambda x: one * x**n, params=[one], backend=backend).each([1.0], X)
    with mp.workprec(200):
        for x, y in zip(X.tolist(), found.tolist(), strict=True):
            assert close(y, mpf(x) ** mpf(n), 1e-15), (x, y)


@pytest.mark.parametrize("n", [-2.5, -2.0, -1.5, -1.0, -0.5, 0.5, 1.5, 2.0, 3.0, 7.0])
def test_powers_of_one_number(n, backend):
    power, one = compile(lambda p: p**n, backend=backend), Value(1.0)
    of_an_example = compile(lambda x: one * x**n, params=[one], backend=backend)
    with mp.workprec(200):
        for x in (1e-30, 0.3, 7.0, 1e30):
            for y in (power(x), *of_an_example.each([1.0], [x])):
                assert close(float(y), mpf(x) ** mpf(n), 1e-15), (x, y)


def test_nan_goes_through_choices_as_in_eager_code(backend):
    one = Value(1.0)
    X = np.array([[math.inf, 1.0], [1.0, 2.0]])
    programs = [
        lambda x: maximum(x[0] - x[0], x[1]), lambda x: maximum(x[1], x[0] - x[0]), lambda x: minimum(x[0] - x[0], x[1]),
        lambda x: minimum(x[1], x[0] - x[0]), lambda x: relu(x[0] - x[0]), lambda x: leaky_relu(x[0] - x[0]),
        lambda x: where(x[1], x[0] - x[0], x[1]), lambda x: step(x[0] - x[0]),
    ]  # fmt: skip
    for program in programs:
        with pytest.raises(ArithmeticError):
            compile(lambda x, p=program: one * p(x), params=[one], backend=backend).each([1.0], X[::-1])


def test_the_mean_of_a_softmax_written_by_hand(backend):
    logits = [400.0, 399.0, 390.0]
    f = lambda x: softmax(x)[0] * 1.0  # noqa: E731
    by_hand = lambda x: exp(x[0]) / total([exp(v) for v in x])  # noqa: E731
    right = truth(lambda a, b, c: exp(a) / (exp(a) + exp(b) + exp(c)), logits)
    for g in (f, by_hand):
        value, gradient = compile(g, backend=backend).value_and_grad(logits)
        assert close(value, right[0], 1e-12)
        assert all(close(got, slope, 1e-11) for got, slope in zip(gradient.tolist(), right[1], strict=True))


def test_gelu_far_left_keeps_its_correction_in_a_batch(backend):
    one, X = Value(1.0), np.linspace(-37.0, -1.1, 333)
    found = compile(lambda x: one * x.gelu(), params=[one], backend=backend).each([1.0], X)
    with mp.workprec(300):
        for x, y in zip(X.tolist(), found.tolist(), strict=True):
            assert close(y, mpf(x) * mpmath.erfc(-mpf(x) / mpmath.sqrt(2)) / 2, 8 * 2.0**-52), x


def test_a_partial_out_of_range_survives_copies():
    import copy
    import pickle

    a, b = Value(400.0, "a"), Value(399.0, "b")
    y = by_hand(a, b)
    for copied in (copy.deepcopy(y), pickle.loads(pickle.dumps(y))):
        copied.backward()
        slopes = {v.label: v.grad for node in topological_order([copied]) for v in node.parents if v.label}
        assert slopes["a"] == pytest.approx(0.19661193324148185, rel=1e-13)


def test_a_loop_that_became_a_batch_has_one_result(backend):
    """`each` and `jacobian` are compared with the function itself when they first answer."""
    found = compile(lambda x: total([(k * x[0]).tanh() for k in (1.0, 2.0, 3.0)]) / 3.0, backend=backend)
    right = [mpmath.tanh(k * 0.5) for k in (1, 2, 3)]
    assert close(float(found.each([0.5])), mpmath.fsum(right) / 3, 1e-14)
    slope = mpmath.fsum([k * (1 - t * t) for k, t in zip((1, 2, 3), right, strict=True)]) / 3
    assert close(float(found.jacobian([0.5])[0]), slope, 1e-14)


def test_no_sign_of_a_zero_decides_the_angle(backend):
    w = Value(1.0)
    step = compile(lambda x, m: atan2((w * x) * m, -1.0), [w], backend=backend, verify=False)
    assert [step([1.0], [x], [0.0]) for x in (-1.0, 1.0)] == [math.pi, math.pi]
    assert atan2(-0.0, -1.0) == atan2(Value(-0.0), -1.0).data == math.pi
    flat = compile(lambda x: atan2(x, -0.0), backend=backend, verify=False)
    with no_grad():
        assert flat(0.0) == atan2(Value(0.0), -0.0).data == atan2(0.0, -0.0) == 0.0
