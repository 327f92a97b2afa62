"""Functions made of rows: each is a formula of operations of the table, or an n-ary row for lists."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence, Set

from tinygrad_vi import floats, modes
from tinygrad_vi.checks import DomainError, Number, Numbers, ShapeError, entries, number
from tinygrad_vi.conditions import CHECKED
from tinygrad_vi.ops import (
    _elu,
    _leaky_relu,
    _logsumexp_row,
    _softmax,
    abs_,
    dot_row,
    erfc,
    expm1,
    gelu,
    log,
    log1p,
    maximum,
    minimum,
    softplus,
    sqrt,
    stop_gradient,
    tanh,
    total_row,
    where,
)
from tinygrad_vi.rows import apply

__all__ = [
    "digamma",
    "dot",
    "elu",
    "exprel",
    "hard_tanh",
    "leaky_relu",
    "lgamma",
    "log_ndtr",
    "log_sigmoid",
    "log_softmax",
    "logaddexp",
    "logsumexp",
    "mish",
    "ndtr",
    "norm",
    "prod",
    "selu",
    "softmax",
    "take",
    "total",
    "xlogy",
]


def __dir__() -> list[str]:
    return [*__all__]


def leaky_relu(x: Number, slope: float = 0.01) -> Number:
    """x for x > 0, slope*x elsewhere (derivative 1 or slope; slope at 0).

    >>> leaky_relu(-3.0), leaky_relu(-3.0, slope=0.5), leaky_relu(2.0)
    (-0.03, -1.5, 2.0)
    """
    return apply(_leaky_relu(number(slope, "leaky_relu")), x)


def elu(x: Number, alpha: float = 1.0) -> Number:
    """x for x > 0, alpha*(e**x - 1) elsewhere (derivative 1 or alpha*e**x; alpha at 0).

    >>> round(elu(-1.0), 6), elu(2.0)
    (-0.632121, 2.0)
    """
    return apply(_elu(number(alpha, "elu")), x)


# --- Made of rows -----------------------------------------------------------------------------------------------------


def log_sigmoid(x: Number) -> Number:
    """log(sigmoid(x)) = -softplus(-x), exact in both tails.  Derivative sigmoid(-x).

    >>> log_sigmoid(40.0), log_sigmoid(-1000.0)
    (-4.248354255291589e-18, -1000.0)
    """
    return -softplus(-x)


def xlogy(x: Number, y: Number) -> Number:
    """x * log(y), and 0 where both are 0.  Partials log(y), x/y; both 0 where x and y are 0.

    Raises DomainError unless y > 0, or x = y = 0.

    >>> xlogy(2.0, 1.0), xlogy(0.0, 0.0)
    (0.0, 0.0)
    """
    return x * log(where(abs_(x) + abs_(y), y, 1.0))


def exprel(x: Number) -> Number:
    """(e**x - 1) / x, and 1 at x = 0: what is left of e**x - 1 when x is small.  Derivative (e**x - exprel(x)) / x.

    Between -1 and 1 the power series x**k / (k + 1)!, so that no derivative cancels.

    >>> exprel(0.0), round(exprel(1.0), 12), exprel(-math.inf)
    (1.0, 1.718281828459, 0.0)
    """
    outside = abs_(x) - 1.0
    small, large = where(outside, 0.0, x), where(outside, x, 1.0)
    series = 1.0
    for k in range(EXPREL_TERMS, 1, -1):  # 1 + x/2 * (1 + x/3 * (1 + ...))
        series = 1.0 + small / float(k) * series
    return where(outside, expm1(large) / large, series)


def selu(x: Number) -> Number:
    """s * elu(x, a) with s = 1.0507..., a = 1.6733...: layers keep mean 0 and variance 1 (Klambauer et al., 2017).

    >>> round(selu(1.0), 6), round(selu(-1.0), 6)
    (1.050701, -1.111331)
    """
    return 1.0507009873554804934193349852946 * elu(x, 1.6732632423543772848170429916717)


def mish(x: Number) -> Number:
    """x * tanh(softplus(x)) (Misra, 2019).

    >>> round(mish(1.0), 6), mish(-math.inf)
    (0.865098, -0.0)
    """
    return maximum(x, -1000.0) * tanh(softplus(x))  # where the second factor is 0, the first need not be infinite


def hard_tanh(x: Number, low: float = -1.0, high: float = 1.0) -> Number:
    """x between low and high, low below and high above.  Derivative 1 or 0; 1/2 at low and high, as of `maximum`.

    >>> hard_tanh(-3.0), hard_tanh(0.5), hard_tanh(3.0)
    (-1.0, 0.5, 1.0)
    """
    return minimum(maximum(x, low), high)


def ndtr(x: Number) -> Number:
    """P(N <= x) for a standard normal N, with all digits in the left tail.  Derivative exp(-x*x/2)/sqrt(2*pi).

    >>> ndtr(0.0), ndtr(-37.0)
    (0.5, 5.725571222524577e-300)
    """
    right = x + 1.0
    near, far = where(right, x, 0.0), where(right, -1.0, x)
    # gelu(x) is x * ndtr(x), and brings back what rounding x * sqrt(1/2) takes from erfc
    return where(right, 0.5 * erfc(-near * floats.SQRT_HALF), gelu(far) / far)


def log_ndtr(x: Number) -> Number:
    """log(P(N <= x)) for a standard normal N, where the probability itself is 0 or 1 in floats, too.

    Below -10 by the asymptotic series (Abramowitz and Stegun 26.2.12).  Derivative the inverse Mills ratio.

    >>> round(log_ndtr(-100.0), 9), log_ndtr(9.0)
    (-5005.524208694, -1.1285884059538405e-19)
    """
    middle = x + 10.0
    far = where(middle, -10.0, x)
    u, series = 1.0 / far / far, 1.0
    for k in range(39, 0, -2):  # 1 - u + 3*u**2 - 15*u**3 + ...
        series = 1.0 - k * (u * series)
    tail = log(series) - log(-far) - 0.5 * floats.LOG_TWO_PI - 0.5 * (far * far)
    below = where(x, 0.0, where(middle, x, 0.0))
    body = where(x, log1p(-ndtr(-where(x, x, 0.0))), log(ndtr(below)))
    return where(middle, body, tail)


#: B(2k) / (2k*(2k - 1)), the coefficients of Stirling's series
STIRLING = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360, 1 / 156, -3617 / 122400, 43867 / 244188)
SHIFT = 10
#: of `exprel`: what is left out is below 1e-26, and of the fourth derivative below 1e-20
EXPREL_TERMS = 25


def lgamma(x: Number) -> Number:
    """log(gamma(x)) for x > 0, to about 1e-14 of the larger of 1 and itself.  Derivative digamma(x).

    Stirling's series from 10 on (DLMF 5.11.1); below, gamma(x) = gamma(x + 10) / (x*(x + 1)*...*(x + 9)).

    Raises DomainError unless x > 0.

    >>> round(lgamma(0.5), 12), round(lgamma(5.0), 12)
    (0.572364942925, 3.178053830348)
    """
    _above_0(x, "lgamma", "log(pi / abs(sin(pi*x))) - lgamma(1 - x)")
    y, small = _shifted(x)
    r = 1.0 / y
    series = STIRLING[-1]
    for c in STIRLING[-2::-1]:
        series = c + series * (r * r)
    first, factors = log(small), small + 1.0
    for k in range(2, SHIFT):
        factors = factors * (small + float(k))
    below = where(float(SHIFT) - x, log(factors) + first, 0.0)
    return (y - 0.5) * log(y) - y + (0.5 * floats.LOG_TWO_PI + series * r) - below


def digamma(x: Number) -> Number:
    """The derivative of `lgamma`, for x > 0, to about 1e-15 of the larger of 1 and itself.

    The series of DLMF 5.11.2 from 10 on; below, digamma(x) = digamma(x + 10) - 1/x - 1/(x + 1) - ... - 1/(x + 9).  Its
    own derivatives, trigamma and so on, follow from the table.

    Raises DomainError unless x > 0.

    >>> round(digamma(1.0), 12)
    -0.577215664902
    """
    _above_0(x, "digamma", "digamma(1 - x) - pi/tan(pi*x)")
    y, small = _shifted(x)
    r = 1.0 / y
    series = STIRLING[-1] * (2 * len(STIRLING) - 1)
    for k in range(len(STIRLING) - 1, 0, -1):
        series = STIRLING[k - 1] * (2 * k - 1) + series * (r * r)
    nothing = 0.0 * log(small)  # in compiled functions the logarithm refuses what is not above 0
    below = where(float(SHIFT) - x, total([1.0 / (small + float(k)) for k in range(SHIFT)]), nothing)
    return log(y) - 0.5 * r - series * (r * r) - below


def _above_0(x: Number, name: str, reflected: str) -> None:
    """Raise DomainError for a number not above 0.  A compiled function fails in a logarithm, and then runs this."""
    if hasattr(x, "record") and not hasattr(x, "data"):  # a formula has no number
        return
    found = number(getattr(x, "data", x), name)
    if found <= 0.0:
        advice = "" if found.is_integer() else f"; where x < 0 is no whole number it is {reflected}"
        label = f" (node {x.label!r})" if getattr(x, "label", "") else ""
        raise DomainError(f"{name}(x) needs x > 0, got x = {found!r}{label}{advice}")


def _shifted(x: Number) -> tuple[Number, Number]:
    """The point at which the series is summed, x or x + 10; and x in the second case, 1 in the first."""
    below = float(SHIFT) - x
    return where(below, x + float(SHIFT), x), where(below, x, 1.0)


# --- Functions of lists -----------------------------------------------------------------------------------------------


def total(xs: Iterable[Number]) -> Number:
    """The sum of a list as one node; the sum of no terms is 0.

    >>> total([1.0, 2.0, 4.0])
    7.0
    """
    return total_row(*(xs if isinstance(xs, Set) else entries(xs, "total")))


def dot(w: Iterable[Number], x: Iterable[Number], b: Number = 0.0) -> Number:
    """w[0]*x[0] + w[1]*x[1] + ... + b as one node: a neuron before its activation.

    Raises ShapeError when w and x differ in length.

    >>> dot([2.0, 3.0], [5.0, 7.0], 1.0)
    32.0
    """
    w, x = entries(w, "dot"), entries(x, "dot")
    if len(w) != len(x):
        raise ShapeError(f"dot needs as many weights as inputs, got {len(w)} weights and {len(x)} inputs")
    return apply(dot_row.operation, *w, *x, b)


def logsumexp(xs: Iterable[Number]) -> Number:
    """log(e**x[0] + e**x[1] + ...) without overflow.  Its gradient is softmax(xs).

    Raises ShapeError for an empty list.

    >>> logsumexp([1000.0, 1000.0])
    1000.6931471805599
    """
    xs = entries(xs, "logsumexp")
    if not xs:
        raise ShapeError("logsumexp needs at least one operand, got an empty list")
    return _logsumexp_row(*xs)


def softmax(xs: Iterable[Number]) -> list[Number]:
    """e**x[i] / (e**x[0] + e**x[1] + ...) for each i: positive, with the sum 1, unchanged when all x move together.

    Raises ShapeError for an empty list.

    >>> softmax([1000.0, 1000.0])
    [0.5, 0.5]
    """
    xs = entries(xs, "softmax")
    return list(_softmax(logsumexp(xs), xs))


def log_softmax(xs: Iterable[Number]) -> list[Number]:
    """log(softmax(xs)): entry i is -logsumexp of all differences x[j] - x[i].

    Exact where softmax rounds to 0 or 1, its derivatives too, by x[j] ``[i = j] - softmax(xs)[j]``; that takes a number
    of operations that grows like the square of the length.  Raises ShapeError for an empty list.

    >>> log_softmax([37.4, 0.0])
    [-5.719872877313073e-17, -37.4]
    """
    xs = entries(xs, "log_softmax")
    if not xs:
        raise ShapeError("log_softmax needs at least one operand, got an empty list")
    if len(xs) == 1:
        return [0.0 * xs[0]]
    return [-logsumexp([other - x if j != i else 0.0 for j, other in enumerate(xs)]) for i, x in enumerate(xs)]


def logaddexp(x: Number, y: Number) -> Number:
    """log(e**x + e**y), of any size: `logsumexp` of two.  Partials e**x / (e**x + e**y) and e**y / (e**x + e**y).

    >>> logaddexp(1000.0, 1000.0)
    1000.6931471805599
    """
    return _logsumexp_row(x, y)


def norm(xs: Iterable[Number]) -> Number:
    """The Euclidean length sqrt(x[0]**2 + x[1]**2 + ...), of any size.  Partials x[i] / norm(xs).

    Raises ShapeError for an empty list, and DomainError where all x are Values of 0: there it has no derivative.

    >>> norm([3.0, 4.0]), norm([1e200, 1e200])
    (5.0, 1.414213562373095e+200)
    """
    xs = entries(xs, "norm")
    if not xs:
        raise ShapeError("norm needs at least one operand, got an empty list")
    largest = abs_(xs[0])
    for x in xs[1:]:
        largest = maximum(largest, abs_(x))
    scale = stop_gradient(where(largest, largest, 1.0))  # so that no square leaves the range
    return scale * sqrt(total([(x / scale) ** 2.0 for x in xs]))


def prod(xs: Iterable[Number]) -> Number:
    """x[0] * x[1] * ...; the product of no factors is 1.  The partial by each is the product of the others.

    >>> prod([2.0, 3.0, 4.0])
    24.0
    """
    result: Number = 1.0
    for i, x in enumerate(entries(xs, "prod")):
        result = result * x if i else x
    return result


def take(table: Sequence[Numbers], index: Number) -> Numbers:
    """table[index], where the index may be a Value: the sum of table[k] * [index = k], with [index = k] 1 or 0.

    Rows are taken entry by entry.  The derivative by the entry taken is 1, by the others and by the index 0.

    Raises DomainError for an index that is no whole number from 0 to len(table) - 1.

    >>> take([10.0, 20.0, 30.0], 1), take([[1.0, 2.0], [3.0, 4.0]], 0)
    (20.0, [1.0, 2.0])
    """
    found = number(getattr(index, "data", index), "take")
    if not (found.is_integer() and 0 <= found < len(table)):
        raise DomainError(f"take needs a whole number from 0 to {len(table) - 1}, got {found:g}")
    if not hasattr(index, "record"):
        return table[int(found)]
    chosen = [where(abs_(index - float(k)), 0.0, 1.0) for k in range(len(table))]
    return _chosen(table, chosen)


def _chosen(table: Sequence[Numbers], chosen: Sequence[Number]) -> Numbers:
    if isinstance(table[0], (list, tuple)):
        return [_chosen(column, chosen) for column in zip(*table, strict=True)]
    ones = [1.0] * len(chosen)
    if all(_is_leaf(entry) for entry in table):
        found = dot(table, chosen)
    else:  # what is computed may be infinite where it is not chosen, and 0 * infinity is no number
        found = dot([where(c, entry, 0.0) for c, entry in zip(chosen, table, strict=True)], ones)
    return checked(found, lambda: dot(chosen, ones, -1.0))


def _is_leaf(x: Number) -> bool:
    """Whether x is a finite number that no operation gave."""
    return getattr(x, "op", None) is None and math.isfinite(x.data if hasattr(x, "data") else x)


# --- Checks of numbers that come later --------------------------------------------------------------------------------


def checked(x: Number, ok: Callable[[], Number]) -> Number:
    """x as it is.  A compiled function raises an error for every example for which ``ok()`` is below 0 or NaN.

    Scalar code has checked its number already.  A compiled function gets other numbers: so ``ok()`` becomes an output
    of the program, and when that fails the scalar code is run for this example, to raise its own error.
    """
    if modes.tracing.get() is None or not hasattr(x, "record"):
        return x
    return apply(CHECKED, x, ok())
