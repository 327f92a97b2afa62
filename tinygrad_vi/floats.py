"""Functions of floats that `math` lacks, or has only in newer Pythons, or without the conventions of the table.

Each uses plain arithmetic and `math` only and calls no other, so that a compiler can take the same text.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

INF, NAN = math.inf, math.nan

SQRT_HALF = math.sqrt(0.5)
SQRT_HALF_REST = -4.833646656726457e-17  # sqrt(1/2) - SQRT_HALF
TWO_OVER_SQRT_PI = 2.0 / math.sqrt(math.pi)
LOG_TWO_PI = math.log(2.0 * math.pi)
ONE_OVER_SQRT_TWO_PI = 1.0 / math.sqrt(2.0 * math.pi)

#: from here on every float is a whole number
WHOLE = 2.0**52
#: smaller floats have fewer digits
SMALLEST_NORMAL = 2.0**-1022


def sign(x: float) -> float:
    """-1, 0 or 1; NaN of NaN."""
    return 1.0 if x > 0.0 else -1.0 if x < 0.0 else 0.0 if x == 0.0 else x


def floor(x: float) -> float:
    """The largest whole number not above x; an infinity and NaN as they are."""
    return math.copysign(float(math.floor(x)), x) if abs(x) < WHOLE else x


def ceil(x: float) -> float:
    """The smallest whole number not below x."""
    return math.copysign(float(math.ceil(x)), x) if abs(x) < WHOLE else x


def rint(x: float) -> float:
    """The nearest whole number; of two the even one.  Adding 2**52 rounds, since floats of that size are whole."""
    return math.copysign((abs(x) + WHOLE) - WHOLE, x) if abs(x) < WHOLE else x


def hypot(x: float, y: float) -> float:
    """sqrt(x*x + y*y).  OverflowError where that is no float."""
    found = math.hypot(x, y)
    if math.isinf(found) and not (math.isinf(x) or math.isinf(y)):
        raise OverflowError
    return found


def cbrt(x: float) -> float:
    """The cube root: a power, and one step of Newton's method that takes its rounding away."""
    if x == 0.0 or not abs(x) < INF:
        return x
    mantissa, exponent = math.frexp(abs(x))
    shift = exponent % 3
    a = math.ldexp(mantissa, shift)  # 0.5 to 4
    y = a ** (1.0 / 3.0)
    y -= (y * y * y - a) / (3.0 * y * y)
    return math.copysign(math.ldexp(y, (exponent - shift) // 3), x)


def normal_quantile(middle: float, tail: float) -> float:
    """The x with P(N <= x) = 1/2 + middle for a standard normal N; tail: 1/2 - |middle|, with all its digits.

    Quotients of polynomials (M. J. Wichura, Algorithm AS 241, 1988), right to about 1e-16 of the quantile.
    """
    if abs(middle) <= 0.425:
        r = 0.180625 - middle * middle
        a = 45921.95393154987 + r * (67265.7709270087 + r * (33430.57558358813 + r * 2509.0809287301227))
        a = 3.3871328727963665 + r * (133.14166789178438 + r * (1971.5909503065513 + r * (13731.69376550946 + r * a)))
        b = 21213.794301586597 + r * (39307.89580009271 + r * (28729.085735721943 + r * 5226.495278852854))
        b = 1.0 + r * (42.31333070160091 + r * (687.1870074920579 + r * (5394.196021424751 + r * b)))
        return middle * a / b
    r = math.sqrt(-math.log(tail))
    if r <= 5.0:
        r -= 1.6
        a = 1.2704582524523684 + r * (0.2417807251774506 + r * (0.022723844989269184 + r * 0.0007745450142783414))
        a = 1.4234371107496835 + r * (4.630337846156546 + r * (5.769497221460691 + r * (3.6478483247632045 + r * a)))
        b = 0.14810397642748008 + r * (0.015198666563616457 + r * (0.0005475938084995345 + r * 1.0507500716444169e-09))
        b = 1.0 + r * (2.053191626637759 + r * (1.6763848301838038 + r * (0.6897673349851 + r * b)))
    else:
        r -= 5.0
        a = 0.026532189526576124 + r * (
            0.0012426609473880784 + r * (2.7115555687434876e-05 + r * 2.0103343992922881e-07)
        )
        a = 6.657904643501103 + r * (5.463784911164114 + r * (1.7848265399172913 + r * (0.29656057182850487 + r * a)))
        b = 0.0007868691311456133 + r * (
            1.8463183175100548e-05 + r * (1.421511758316446e-07 + r * 2.0442631033899397e-15)
        )
        b = 1.0 + r * (0.599832206555888 + r * (0.1369298809227358 + r * (0.014875361290850615 + r * b)))
    return math.copysign(a / b, middle)


def sigmoid(x: float) -> float:
    """1 / (1 + e**-x); each branch can underflow to 0, neither can overflow."""
    if x >= 0:
        return 1.0 / (1.0 + math.exp(-x))
    e = math.exp(x)
    return e / (1.0 + e)


def sech(x: float) -> float:
    """1 / cosh(x)."""
    e = math.exp(-abs(x))
    return 2.0 * e / (1.0 + e * e)


def softplus(x: float) -> float:
    """log(1 + e**x)."""
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


def bell(x: float) -> float:
    """exp(-x*x/2), with what x*x rounds off brought back to first order: exp would magnify it x*x times."""
    e = math.exp(-0.5 * (x * x))
    return e if e == 0.0 else e - 0.5 * rounding_of_product(x, x) * e


def gelu(x: float) -> float:
    """x * erfc(z) / 2 with z = -x / sqrt(2).

    Far left erfc magnifies the rounding of z by 2*z*z (1400 times at x = -37), so what was rounded off is brought
    back to first order: erfc(z + d) = erfc(z) - d * 2/sqrt(pi) * exp(-z*z).
    """
    z = -x * SQRT_HALF
    if x <= -40.0:
        return -0.0
    if not x < -1.0:
        return 0.5 * x * math.erfc(z)
    d = -x * SQRT_HALF_REST - rounding_of_product(x, SQRT_HALF)
    return 0.5 * x * (math.erfc(z) - d * TWO_OVER_SQRT_PI * math.exp(-z * z))


def rounding_of_product(x: float, y: float) -> float:
    """x*y - fl(x*y), exactly (T. J. Dekker, 1971: split each factor into halves of 26 bits)."""
    product = x * y
    c = 134217729.0 * x
    x_high = c - (c - x)
    c = 134217729.0 * y
    y_high = c - (c - y)
    x_low, y_low = x - x_high, y - y_high
    return ((x_high * y_high - product) + x_high * y_low + x_low * y_high) + x_low * y_low


def logsumexp(*xs: float) -> float:
    """log(e**x1 + e**x2 + ...)."""
    shift = max(xs)
    if not math.isfinite(shift):  # all -inf, some +inf or a NaN, which `max` may have passed over
        return math.nan if any(map(math.isnan, xs)) else shift
    terms = [math.exp(x - shift) for x in xs]
    terms.remove(1.0)  # the largest: log1p keeps what log(1 + the others) would round off
    return shift + math.log1p(math.fsum(terms))


def total(*xs: float) -> float:
    """The sum, rounded once."""
    try:
        return math.fsum(xs)  # rounded once: the order of the terms does not matter, every Python gives the same bits
    except OverflowError:  # of a partial sum; all of it may still be a float
        return math.ldexp(math.fsum([math.ldexp(x, -64) for x in xs]), 64)


def weighted_sum(w: Iterable[float], x: Iterable[float], b: float) -> float:
    """b + w[0]*x[0] + w[1]*x[1] + ..., from left to right in every Python (since 3.12 `sum` rounds differently)."""
    for u, v in zip(w, x, strict=True):
        b += u * v
    return b
