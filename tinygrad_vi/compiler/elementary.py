"""Elementary functions of one float64, written so that a compiler can run four or eight at a time.

A loop around ``math.exp`` calls the C library once for each number.  The functions of the first three sections are
plain arithmetic instead: no branch, no table, no call, and every choice picks one of two numbers that are both already
computed.  LLVM turns a loop around such a function into vector instructions, two to ten times as fast.

All follow one recipe.  Reduce: write x as a multiple of ln 2 (or pi/2) and a small rest r.  Approximate: a polynomial
in r.  Rebuild: the multiple goes into the exponent bits (or chooses the quarter of the wave).  Three habits keep every
digit:

- *Adding 1.5 * 2**52 rounds.*  Floats of that size are whole numbers, so the sum is the nearest one, and the lowest
  bits of the sum are those of the integer.  AVX2 has no instruction that converts between int64 and float64; this
  needs none.  (1.5 and not 1: a negative number may be added without leaving the range where floats are 1 apart.)
- *Constants in parts.*  The first part has so few bits that its product with the multiple is exact: what the rounding
  of ln 2 or pi/2 has lost arrives with the later parts.
- *No cancellation.*  Near 0 the series starts with r itself, and 1 is only added where it is not taken away again.

The decorator lets a*b + c be rounded once (fused) and nothing else: re-ordering would cancel the additions that round.
Division by zero is not an error (``error_model``), since the test for it would be a branch.  With NUMBA_DISABLE_JIT=1
the same text runs as Python on np.float64, where it may differ by the one rounding.

Each function follows its row in `tinygrad_vi.ops` to a few units in the last place, tails included.  Outside the domain
or beyond the largest float the answer is NaN or an infinity, never an exception; NaN gives NaN.  Conditions are written
so that it does.
"""

# mypy: disable-error-code="misc"

from __future__ import annotations

import math

import numpy as np

from tinygrad_vi import floats
from tinygrad_vi.compiler.machine_code import part
from tinygrad_vi.floats import SQRT_HALF, SQRT_HALF_REST, TWO_OVER_SQRT_PI

# Force-inlined: LLVM leaves a function as long as softplus a call, and a loop with a call in it stays scalar.
exact = part(fastmath={"contract"}, nogil=True, forceinline=True)
#: without fusing: for what computes the rounding of a product and needs the product rounded.  Said, since Numba lets a
#: function inherit what it does not say from whoever calls it first
unfused = part(fastmath=False, nogil=True, forceinline=True)

ROUND = 1.5 * 2.0**52
INF, NAN = math.inf, math.nan

#: Below this size x - x*x/2 is x in floats: there expm1, log1p, sinh, tanh and sin answer x.  That keeps the sign of
#: -0.0, all digits of subnormal numbers and NaN, of which `abs(x) > TINY` is false.
TINY = 1e-17

# --- The exponential and its family -----------------------------------------------------------------------------------

LOG2_E = 1.0 / math.log(2.0)
LN2_HIGH, LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10  # the first has 33 bits, k has 11
# 1/n!: beyond n = 13 the Taylor series is below the last digit, (ln(2)/2)**14 / 14! = 4e-18
E2, E3, E4, E5, E6, E7, E8, E9, E10, E11, E12, E13 = [1.0 / math.factorial(n) for n in range(2, 14)]


@exact
def _power_of_two(k: float) -> float:
    """2**k for a whole k from -1022 to 1023: k + 1023, shifted up to where a float keeps its exponent."""
    return np.int64((np.float64(k + ROUND).view(np.int64) + 1023) << 52).view(np.float64)


@exact
def _exp_parts(x: float) -> tuple[float, float]:
    """A whole k and a p = e**r - 1 with e**x = 2**k * (1 + p) and |r| <= ln(2)/2."""
    x = -746.0 if x < -746.0 else x  # where e**x is 0
    x = 710.6 if x > 710.6 else x  # where e**x / 2 is infinite
    k = (x * LOG2_E + ROUND) - ROUND
    r = (x - k * LN2_HIGH) - k * LN2_LOW
    # the tail in pairs (G. Estrin, 1960): one after the other, each term would wait for the one before
    r2 = r * r
    r4 = r2 * r2
    p = (E3 + r * E4) + r2 * (E5 + r * E6) + r4 * ((E7 + r * E8) + r2 * (E9 + r * E10))
    p = p + r4 * r4 * ((E11 + r * E12) + r2 * E13)
    return k, r + r2 * (E2 + r * p)


@exact
def _quarter_expm1(x: float) -> float:
    """(e**x - 1) / 4 for x >= -40.  The quarter leaves room for e**x / 2 where e**x overflows."""
    k, p = _exp_parts(x)
    scale = _power_of_two(k - 2.0)
    return scale * p + (scale - 0.25)


@exact
def exp(x: float) -> float:
    """e**x."""
    k, p = _exp_parts(x)
    half = (0.5 * k + ROUND) - ROUND  # 2**k may be subnormal or infinite, the powers of the two halves of k are not
    return (1.0 + p) * _power_of_two(half) * _power_of_two(k - half)


@exact
def expm1(x: float) -> float:
    """e**x - 1, exact near 0."""
    y = 4.0 * _quarter_expm1(-40.0 if x < -40.0 else x)
    return y if abs(x) > TINY else x


@exact
def sinh(x: float) -> float:
    """(e**x - e**-x) / 2 = (E + E/(E + 1)) / 2 with E = expm1(|x|), and the sign of x."""
    q = _quarter_expm1(abs(x))
    y = 2.0 * (q + q / (4.0 * q + 1.0))
    y = y if x > 0.0 else -y
    return y if abs(x) > TINY else x


@exact
def cosh(x: float) -> float:
    """(e**x + e**-x) / 2."""
    k, p = _exp_parts(abs(x))
    q = _power_of_two(k - 2.0) * (1.0 + p)  # a quarter of e**|x|, as in sinh
    return 2.0 * (q + 0.0625 / q)


@exact
def tanh(x: float) -> float:
    """sinh(x) / cosh(x) = E / (E + 2) with E = expm1(2|x|), and the sign of x."""
    a = 2.0 * abs(x)
    h = 2.0 * _quarter_expm1(40.0 if a > 40.0 else a)  # tanh(20) is 1 in floats
    y = h / (h + 1.0)
    y = y if x > 0.0 else -y
    return y if abs(x) > TINY else x


@exact
def sech(x: float) -> float:
    """1 / cosh(x)."""
    e = exp(-abs(x))
    return 2.0 * e / (1.0 + e * e)


@exact
def tanh_and_sech(x: float) -> tuple[float, float]:
    """tanh(x) and sech(x), which its derivative asks for, out of one exponential.

    With e = e**-|x| and t = e - 1: tanh(|x|) = (1 - e*e)/(1 + e*e) = -t*(2 + t)/(1 + e*e), sech(x) = 2*e/(1 + e*e).
    """
    k, p = _exp_parts(-abs(x))
    half = (0.5 * k + ROUND) - ROUND
    scale = _power_of_two(half) * _power_of_two(k - half)
    e, t = (1.0 + p) * scale, scale * p + (scale - 1.0)
    over = 1.0 / (1.0 + e * e)
    y = -t * (2.0 + t) * over
    y = y if x > 0.0 else -y
    return (y if abs(x) > TINY else x), 2.0 * e * over


@exact
def sigmoid(x: float) -> float:
    """1 / (1 + e**-x)."""
    e = exp(-abs(x))  # can underflow to 0, cannot overflow
    return (1.0 if x >= 0.0 else e) / (1.0 + e)


@exact
def silu(x: float) -> float:
    """x * sigmoid(x), of which the second factor is 0 below -1000."""
    return (-1000.0 if x < -1000.0 else x) * sigmoid(x)


@unfused
def bell(x: float) -> float:
    """exp(-x*x/2), the rounding of x*x brought back to first order, as in `ops`."""
    a = abs(x)
    a = a if a < 40.0 else 40.0 if a == a else a  # where exp is 0
    square = a * a
    c = 134217729.0 * a
    high = c - (c - a)
    low = a - high
    rounding = ((high * high - square) + 2.0 * (high * low)) + low * low
    e = exp(-0.5 * square)
    return e - 0.5 * rounding * e


# --- The logarithm ----------------------------------------------------------------------------------------------------

SMALLEST_NORMAL = 2.0**-1022
SQRT_2 = math.sqrt(2.0)
FRACTION_BITS, ONE_BITS, SQRT_HALF_BITS = 0x000FFFFFFFFFFFFF, 0x3FF0000000000000, 0x3FE6A09E00000000
TWO_52_BITS = 0x4330000000000000
# log((1 + s)/(1 - s)) = 2s + s*R(s*s) for |s| < 0.1716, R of degree 7 with error below 2**-58 (fdlibm, Sun 1993)
L1, L2, L3, L4 = 6.666666666666735130e-01, 3.999999999940941908e-01, 2.857142874366239149e-01, 2.222219843214978396e-01
L5, L6, L7 = 1.818357216161805012e-01, 1.531383769920937332e-01, 1.479819860511658591e-01


@exact
def _log_series(k: float, f: float, rest: float) -> float:
    """k*log(2) + log(1 + f) + rest, for 1 + f from sqrt(1/2) to sqrt(2) and a rest in the last digits."""
    s = f / (2.0 + f)
    z = s * s
    w = z * z
    series = z * (L1 + w * (L3 + w * (L5 + w * L7))) + w * (L2 + w * (L4 + w * L6))
    half_square = 0.5 * f * f  # log(1 + f) = f - f*f/2 + s*(f*f/2 + series): f, the largest, is added last
    return k * LN2_HIGH - ((half_square - (s * (half_square + series) + (k * LN2_LOW + rest))) - f)


@exact
def _log_plus(x: float, rest: float) -> float:
    """log(x) + rest, where rest comes from a rounding of x."""
    subnormal = x < SMALLEST_NORMAL
    bits = np.float64(x * 2.0**54 if subnormal else x).view(np.int64)
    # x = 2**k * (1 + f).  The number added moves the place where the exponent steps from 1 to sqrt(1/2).  An integer
    # below 2**52, written into the fraction of 2**52, makes a float that is larger than 2**52 by the integer.
    bits += ONE_BITS - SQRT_HALF_BITS
    k = np.int64(((bits >> 52) & 0xFFF) | TWO_52_BITS).view(np.float64) - (2.0**52 + 1023.0)
    f = np.int64((bits & FRACTION_BITS) + SQRT_HALF_BITS).view(np.float64) - 1.0
    y = _log_series(k - 54.0 if subnormal else k, f, rest)
    y = y if x < INF else x
    y = y if x != 0.0 else -INF
    return y if x >= 0.0 else NAN


@exact
def log(x: float) -> float:
    """The natural logarithm of x."""
    return _log_plus(x, 0.0)


@exact
def log1p(x: float) -> float:
    """log(1 + x), exact near 0."""
    u = 1.0 + x
    x_part = u - 1.0
    lost = (1.0 - (u - x_part)) + (x - x_part)  # 1 + x = u + lost, exactly (D. E. Knuth's TwoSum)
    y = _log_plus(u, lost / u)  # log(u + lost) = log(u) + lost/u to first order
    return y if abs(x) > TINY else x


@exact
def softplus(x: float) -> float:
    """log(1 + e**x) = max(x, 0) + log(1 + e**-|x|)."""
    e = exp(-abs(x))
    large = e > SQRT_2 - 1.0  # then 1 + e = 2 * (1 + (e - 1)/2)
    y = _log_series(1.0 if large else 0.0, 0.5 * (e - 1.0) if large else e, 0.0)
    return (x if x > 0.0 else 0.0) + y


# --- The circle -------------------------------------------------------------------------------------------------------

#: `sin` and `cos` are for |x| up to here; beyond, the caller asks the C library.  The multiple must not have more than
#: 20 bits, or its products with the parts of pi/2 are no longer exact.
TRIG_LIMIT = 1.0e6
TWO_OVER_PI = 2.0 / math.pi
# pi/2 in three parts, the first two of 33 bits
QUARTER_1, QUARTER_2, QUARTER_3 = 1.57079632673412561417e00, 6.07710050630396597660e-11, 2.02226624879595063154e-21
# sin(r) = r + r*z*S(z) and cos(r) = 1 - z/2 + z*z*C(z) with z = r*r and |r| <= pi/4 (fdlibm, Sun 1993)
S1, S2, S3 = -1.66666666666666324348e-01, 8.33333333332248946124e-03, -1.98412698298579493134e-04
S4, S5, S6 = 2.75573137070700676789e-06, -2.50507602534068634195e-08, 1.58969099521155010221e-10
C1, C2, C3 = 4.16666666666666019037e-02, -1.38888888888741095749e-03, 2.48015872894767294178e-05
C4, C5, C6 = -2.75573143513906633035e-07, 2.08757232129817482790e-09, -1.13596475577881948265e-11


@exact
def _sin_of_quarters(x: float, quarters: int) -> float:
    """sin(x + quarters * pi/2)."""
    rounded = x * TWO_OVER_PI + ROUND
    k = rounded - ROUND
    quarter = np.float64(rounded).view(np.int64) + quarters  # its last two bits tell the quarters of the circle
    high = (x - k * QUARTER_1) - k * QUARTER_2
    r = high - k * QUARTER_3
    low = (high - r) - k * QUARTER_3  # what the subtraction rounded off: near a multiple of pi/2, r is small
    z = r * r
    sine = r + (r * z * (S1 + z * (S2 + z * (S3 + z * (S4 + z * (S5 + z * S6))))) + low)
    series = z * z * (C1 + z * (C2 + z * (C3 + z * (C4 + z * (C5 + z * C6)))))
    w = 1.0 - 0.5 * z
    cosine = w + (((1.0 - w) - 0.5 * z) + (series - r * low))  # (1 - w) - z/2 is the rounding of w
    y = sine if (quarter & 1) == 0 else cosine
    return y if (quarter & 2) == 0 else -y


@exact
def sin(x: float) -> float:
    """The sine of x radians, |x| <= TRIG_LIMIT."""
    y = _sin_of_quarters(x, 0)
    return y if abs(x) > TINY else x


@exact
def cos(x: float) -> float:
    """The cosine of x radians, |x| <= TRIG_LIMIT."""
    return _sin_of_quarters(x, 1)


@exact
def semicircle(x: float) -> float:
    """sqrt(1 - x*x), exact near |x| = 1."""
    square = (1.0 - x) * (1.0 + x)
    return math.sqrt(square if square >= 0.0 else NAN)


# --- The text of `floats`, as it is ----------------------------------------------------------------------------------

cbrt = exact(floats.cbrt)
normal_quantile = unfused(floats.normal_quantile)


# --- From the C library, one at a time --------------------------------------------------------------------------------
# Python's `math` raises outside a domain, compiled `math` gives NaN: the conditions make them agree.


@exact
def tan(x: float) -> float:
    """The tangent of x radians."""
    return math.tan(x) if abs(x) < INF else NAN


@exact
def asin(x: float) -> float:
    """The angle whose sine is x."""
    return math.asin(x) if abs(x) <= 1.0 else NAN


@exact
def acos(x: float) -> float:
    """The angle whose cosine is x."""
    return math.acos(x) if abs(x) <= 1.0 else NAN


@exact
def atan(x: float) -> float:
    """The angle whose tangent is x."""
    return math.atan(x)


@exact
def asinh(x: float) -> float:
    """The number whose sinh is x."""
    return math.asinh(x) if abs(x) > TINY else x


@exact
def acosh(x: float) -> float:
    """The number of at least 0 whose cosh is x."""
    return math.acosh(x) if x >= 1.0 else NAN


@exact
def atanh(x: float) -> float:
    """The number whose tanh is x."""
    return math.atanh(x) if abs(x) < 1.0 else NAN


@exact
def log2(x: float) -> float:
    """The logarithm to base 2."""
    return np.log2(x) if x >= 0.0 else NAN


@exact
def log10(x: float) -> float:
    """The logarithm to base 10."""
    return math.log10(x) if x >= 0.0 else NAN


@exact
def softsign(x: float) -> float:
    """x / (1 + |x|)."""
    return x / (1.0 + abs(x))


@exact
def erf(x: float) -> float:
    """2/sqrt(pi) * integral of exp(-t*t) over 0..x."""
    return math.erf(x)


@exact
def erfc(x: float) -> float:
    """1 - erf(x), exact for large x."""
    return math.erfc(x)


@unfused
def gelu(x: float) -> float:
    """x * erfc(z)/2 with z = -x/sqrt(2), its rounding brought back to first order, as in `ops`."""
    z = -x * SQRT_HALF
    if x <= -40.0:
        return -0.0
    if not x < -1.0:
        return 0.5 * x * math.erfc(z)
    # z - (-x * SQRT_HALF), exactly (T. J. Dekker, 1971): each factor is split into halves of 26 bits
    c = 134217729.0 * x
    x_high = c - (c - x)
    x_low = x - x_high
    c = 134217729.0 * SQRT_HALF
    s_high = c - (c - SQRT_HALF)
    s_low = SQRT_HALF - s_high
    rounding = ((x_high * s_high + z) + x_high * s_low + x_low * s_high) + x_low * s_low
    d = -x * SQRT_HALF_REST - rounding
    return 0.5 * x * (math.erfc(z) - d * TWO_OVER_SQRT_PI * exp(-z * z))


@exact
def erfinv(x: float) -> float:
    """The number whose erf is x."""
    return normal_quantile(0.5 * x, 0.5 * (1.0 - abs(x))) * SQRT_HALF if abs(x) < 1.0 else NAN


@exact
def ndtri(x: float) -> float:
    """The z with P(N <= z) = x."""
    return normal_quantile(x - 0.5, min(x, 1.0 - x)) if 0.0 < x < 1.0 else NAN
