"""Slopes from differences, judged by mpmath: right within the error they state, or not given at all."""

import math

import mpmath
import numpy as np
import pytest

from tinygrad_vi import (
    DomainError,
    GradientError,
    Value,
    exp,
    gelu,
    gradcheck,
    leaky_relu,
    log,
    maximum,
    numerical_gradient,
    relu,
    sigmoid,
    sin,
    sqrt,
    step,
    tan,
    tanh,
)
from tinygrad_vi.differences import corner, plain, slope
from tinygrad_vi.rows import new_row

FUNCTIONS = {  # ours on floats, mpmath's
    "sin": (math.sin, mpmath.sin),
    "log": (math.log, mpmath.log),
    "exp": (math.exp, mpmath.exp),
    "tanh": (math.tanh, mpmath.tanh),
    "cube": (lambda x: x**3, lambda x: x**3),
    "1/x": (lambda x: 1 / x, lambda x: 1 / x),
    "sqrt": (math.sqrt, mpmath.sqrt),
    "fast sine": (lambda x: math.sin(1e6 * x), lambda x: mpmath.sin(10**6 * x)),
    "polynomial": (lambda x: ((x - 3) * x + 2) * x - 7, lambda x: ((x - 3) * x + 2) * x - 7),
    "erf": (math.erf, mpmath.erf),
    "narrow bell": (lambda x: math.exp(-x * x * 1e4), lambda x: mpmath.exp(-x * x * 10**4)),
    "offset": (lambda x: 1e9 + x, lambda x: 10**9 + x),
}
POINTS = [1e-12, 1e-6, 1e-3, 0.5, 1.0, math.pi, 7.3, 100.0, 1e4, 1e6, 1e9, 1e12, 1e17]


def exact(f, x):
    with mpmath.workdps(60):
        return float(mpmath.diff(f, mpmath.mpf(x), h=mpmath.mpf(10) ** -25 * min(x, 1.0)))


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("method", ["central", "forward"])
def test_a_numerical_gradient_is_right_or_says_that_it_cannot_be_told(name, method):
    f, judge = FUNCTIONS[name]
    told = 0
    for x in POINTS:
        try:
            found = numerical_gradient(f, method=method)(x)
        except (DomainError, OverflowError):
            continue
        told += 1
        assert found == pytest.approx(exact(judge, x), rel=1e-3, abs=2e-6), x
    assert told >= {"fast sine": 6, "exp": 8}.get(name, 10)


def test_the_examples_where_one_step_for_all_was_wrong():
    assert numerical_gradient(math.sin)(1e6) == pytest.approx(math.cos(1e6), rel=1e-9)  # it had the wrong sign
    assert numerical_gradient(math.log)(1e-6) == pytest.approx(1e6, rel=1e-7)
    assert numerical_gradient(math.log)(1e-300) == pytest.approx(1e300, rel=1e-4)
    assert numerical_gradient(math.sqrt)(1e-4) == pytest.approx(50.0, rel=1e-9)
    assert numerical_gradient(lambda x: 1e9 + x)(1.0) == pytest.approx(1.0, rel=1e-3)
    assert numerical_gradient(lambda x: max(x, 0.0))(1e-9) == 1.0
    assert numerical_gradient(lambda x: x + 1e-9 * math.sin(1e9 * x))(1.0) == pytest.approx(1 + math.cos(1e9), rel=1e-3)
    both = numerical_gradient(lambda v: math.sin(v[0]) + math.log(v[1]))([1e6, 1e-6])
    assert both == pytest.approx([math.cos(1e6), 1e6], rel=1e-6)
    assert numerical_gradient(lambda v: v[0] * 2.0)(np.array([1e6])).tolist() == [2.0]


@pytest.mark.parametrize("f", [math.floor, lambda x: float(x > 2.0), lambda x: math.sin(1e20 * x)])
def test_a_jump_and_noise_have_no_numerical_gradient(f):
    with pytest.raises(DomainError, match=r"by x at 2\.0 cannot be told from differences: the steps do not agree"):
        numerical_gradient(f)(2.0)


def test_where_f_has_no_value_its_own_error_is_raised():
    with pytest.raises(DomainError, match=r"log\(x\) needs x > 0, got x = -1\.0"):
        numerical_gradient(log)(-1.0)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_slope_is_known_as_well_as_it_says(name):
    f, judge = FUNCTIONS[name]
    for x in POINTS:
        try:
            found = slope(plain(f), x, cancels=True)
        except OverflowError:
            continue
        if found is not None and found.told:
            assert abs(found.estimate - exact(judge, x)) <= 4.0 * found.error + 1e-300, x


KINKS = [
    (abs, 0.0, -1.0, 1.0),
    (lambda x: abs(x - 1e12), 1e12, -1.0, 1.0),
    (lambda x: abs(x - 1e-300), 1e-300, -1.0, 1.0),
    (lambda x: 1e-9 * abs(x), 0.0, -1e-9, 1e-9),
    (lambda x: x * x + 1e-6 * abs(x), 0.0, -1e-6, 1e-6),
    (lambda x: max(x, 1.0), 1.0, 0.0, 1.0),
    (math.floor, 3.0, math.inf, 0.0),
    (lambda x: float(x > 0.0), 0.0, 0.0, math.inf),
    (lambda x: float(x == 2.0), 2.0, math.inf, -math.inf),
    (lambda x: 3.0 + (1e-6 if x > 1e6 else 0.0), 1e6, 0.0, math.inf),
]


@pytest.mark.parametrize(("f", "x", "left", "right"), KINKS)
def test_corners(f, x, left, right):
    assert corner(plain(f), x) == (pytest.approx(left, rel=1e-3), pytest.approx(right, rel=1e-3))


SMOOTH = [
    (math.sin, math.pi),
    (math.log, 1.0),
    (lambda x: abs(x) ** 1.1, 0.0),  # bends for ever, but has the slope 0
    (lambda x: x * abs(x), 0.0),
    (lambda x: math.tanh(1e8 * (x - 1.0) - 0.5), 1.0),
    (lambda x: math.sqrt(x * x + 1e-300), 0.0),
    (math.sqrt, 0.0),  # to the left there is nothing
    (lambda x: math.copysign(abs(x) ** (1 / 3), x), 0.0),  # an upright tangent is no corner
]


@pytest.mark.parametrize(("f", "x"), SMOOTH)
def test_no_corners(f, x):
    assert corner(plain(f), x) is None


# --- gradcheck --------------------------------------------------------------------------------------------------------


RIGHT = [
    (sin, 1e6),
    (log, 1e-5),
    (sqrt, 1e-4),
    (lambda x: sin(1e6 * x), 1.0),
    (log, 1e-300),
    (exp, 700.0),
    (tan, 1.57),
    (relu, 1e-9),
    (relu, -1e-9),
    (lambda x: 1 / x, 1e-8),
    (lambda x: x**0.5, 1e-12),
    (lambda x: 1e9 + x, 1.0),
    (tanh, 20.0),
    (sigmoid, 40.0),
    (gelu, -10.0),
    (lambda x: x * 1e-300, 3.0),
    (lambda x: x * 1e300, 3.0),
    (lambda x: sin(x) ** 2 + sin(x + math.pi / 2) ** 2, 0.7),
    (lambda x: (x - 2) ** 4, 2.0),
    (lambda x: x + 1e-9 * sin(1e9 * x), 1.0),
]


@pytest.mark.parametrize(("f", "x"), RIGHT)
def test_right_derivatives_are_not_accused(f, x):
    assert gradcheck(f)(x) < 1e-5


@pytest.mark.parametrize(("f", "x"), [(sin, 1e17), (lambda x: (1e15 + x) - 1e15, 1.0), (step, 1e-13), (step, 0.0)])
def test_where_differences_cannot_tell_the_check_says_so_and_accuses_nobody(f, x):
    with pytest.raises(DomainError, match="was not checked, since it cannot be told from differences"):
        gradcheck(f)(x)


def off_by(function, factor):
    """The same operation with a rule for its derivative that is wrong by a factor."""
    right = function.operation
    row = new_row("bad", right.value, lambda out, x: (right.partials(out, x)[0] * factor,), "wrong")
    return lambda x: Value.record(row, x)


@pytest.mark.parametrize(
    ("f", "x"),
    [(sin, 1.0), (log, 2.0), (exp, 3.0), (sqrt, 2.0), (tanh, 0.5), (gelu, 0.3), (sin, 1e6), (log, 1e-5), (sqrt, 1e-4),
     (sigmoid, -12.0), (exp, -12.0)],
)  # fmt: skip
@pytest.mark.parametrize("factor", [1.001, 0.999, 1.00001])
def test_a_rule_that_is_slightly_wrong_is_caught_and_named(f, x, factor):
    with pytest.raises(GradientError, match="the operation bad at"):
        gradcheck(off_by(f, factor))(x)


def third_wrong(factor):
    """x**4 whose third derivative alone is wrong by a factor."""
    second = new_row("second", lambda x: 12.0 * x * x, lambda out, x: (24.0 * factor * x,), "12 x**2")
    first = new_row("first", lambda x: 4.0 * x**3, lambda out, x: (record(second, x),), "4 x**3")
    return new_row("fourth", lambda x: x**4, lambda out, x: (record(first, x),), "x**4")


def record(row, x):
    return Value.record(row, x) if isinstance(x, Value) else row.value(x)


def test_the_third_order_is_checked():
    f = lambda x: Value.record(third_wrong(1.001), x)  # noqa: E731
    assert gradcheck(f, order=2)(1.5) < 1e-8
    with pytest.raises(GradientError, match=r"is 36\.03.* by automatic and 3[56].* by numerical differentiation"):
        gradcheck(f, order=3)(1.5)
    assert gradcheck(lambda x: Value.record(third_wrong(1.0), x), order=3)(1.5) < 1e-8


def test_at_a_kink_nobody_is_accused_though_the_check_fails():
    text = (
        "the operation relu at 0.0 has a kink there, with the slopes 0.0 and 1.0, so neither is wrong: check at another"
    )
    with pytest.raises(GradientError, match=text):
        gradcheck(relu)(0.0)
    with pytest.raises(GradientError, match=r"the operation leaky_relu at 0\.0 has a kink there"):
        gradcheck(leaky_relu)(0.0)
    assert gradcheck(maximum)(3.0, 3.0) < 1e-9  # what a tie shares is the mean of both slopes
    with pytest.raises(GradientError, match=r"f has a kink there, with the slopes 2\.0 and 1\.0"):
        gradcheck(lambda x: x if x.data > 1.0 else 2.0 * x - 1.0)(1.0)


def test_a_wrong_rule_is_named_though_a_kink_stands_before_it():
    with pytest.raises(GradientError, match=r"the operation bad at 2\.0 has the partial"):
        gradcheck(lambda x: abs(x - 2.0) * 0.0 + off_by(exp, 1.01)(x))(2.0)


@pytest.mark.parametrize("x", [0.0, 1.0, 1e12, -1e200])
def test_the_slope_of_a_constant_excludes_all_but_0(x):
    found = slope(plain(lambda _: 0.0), x)
    assert (found.estimate, found.excludes(0.0), found.excludes(-0.0)) == (0.0, False, False)
    assert found.excludes(1e-3)
    assert found.excludes(math.nan)


@pytest.mark.parametrize("offset", [1e10, 1e11, 1e12])
def test_a_check_by_few_digits_is_no_check(offset):
    """Of sin(50 x) the offset leaves so few digits that the differences tell a tenth of the slope, or less."""
    with pytest.raises(DomainError, match="was not checked"):
        gradcheck(lambda x: (offset + sin(50 * x)) - offset)(0.3)
