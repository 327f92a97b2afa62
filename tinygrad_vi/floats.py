"""Functions of floats that `math` lacks, or has only in newer Pythons, or without the conventions of the table.

Each is plain arithmetic and `math`, complete in itself, so that a compiler can take the same text.
"""

from __future__ import annotations

import math

INF, NAN = math.inf, math.nan

#: from here on every float is a whole number
WHOLE = 2.0**52


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
