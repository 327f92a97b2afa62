"""Differences: the slope of a function from its values alone, and how far it can be trusted.

The quotient (f(x + h) - f(x - h)) / (2h) is off by about h**2 |f'''| / 6, since f bends, and by about eps |f| / h,
since its values are rounded.  No single step suits every function: 4 is too long for sin at 1e6, 1e-5 leaves the domain
of log at 1e-6.  So the step goes down by factors of eight, and an estimate counts where

- three neighbouring steps agree, as they do once h is small beside the scale on which f bends, and
- no shorter step contradicts it by more than rounding can, as it would where f has a finer structure.

(L. F. Richardson, 1911; C. J. F. Ridders, 1982; Press et al., *Numerical Recipes*, 3rd ed., section 5.7.)
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

EPSILON = 2.0**-52
SMALLEST = 5e-324  # numbers near 0 are rounded to multiples of it
RATIO = 8.0  # of neighbouring steps
#: much shorter steps near 0, for functions that change within them: sqrt(x*x + 1e-300)
WITNESSES = [2.0**-100, 2.0**-250, 2.0**-500, 2.0**-1000]
LONGEST, SHORTEST = -3, -51  # the steps as powers of two, in units of max(1, |x|) or of |x|

#: from x to the value of f there and the size of what was rounded on the way to it; an ArithmeticError or a ValueError
#: says that f has no value there
Measured = Callable[[float], tuple[float, float]]


@dataclass(frozen=True)
class Slope:
    """A derivative by differences: the estimate, a bound for its error, and the step behind it."""

    estimate: float
    error: float
    h: float

    @property
    def told(self) -> bool:
        """Whether the error is at most a thousandth of the estimate, or at most 1e-6."""
        return self.error <= max(1e-3 * abs(self.estimate), 1e-6)

    def excludes(self, derivative: float, tolerance: float = 1e-6) -> bool:
        """Whether a derivative is certainly wrong, by more than a relative tolerance."""
        away = abs(derivative - self.estimate)
        return not away <= tolerance * max(abs(derivative), abs(self.estimate)) + 4.0 * self.error  # NaN is excluded


@dataclass(frozen=True)
class _Quotient:
    """One difference quotient, and how far rounding may have moved it."""

    value: float
    rounding: float
    h: float


def slope(f: Measured, x: float, side: int = 0, cancels: bool = False) -> Slope | None:
    """The derivative of f at x from both sides, or from the right (side 1) or the left (-1); None if no steps agree.

    cancels: whether the rounding error may be larger than f says; the noise at the shortest steps then tells how large.

    >>> found = slope(plain(math.sin), 1e6)
    >>> abs(found.estimate - math.cos(1e6)) < found.error < 1e-6
    True
    >>> slope(plain(math.sin), 1e18, cancels=True) is None  # a whole wave lies between two floats
    True
    """
    best: Slope | None = None
    for scale in (max(1.0, abs(x)), abs(x)):
        if scale == 0.0 or (best is not None and best.told):
            break
        quotients = _quotients(f, x, side, scale)
        found = _settled(_noisier(quotients) if cancels else quotients, 1 if side else 2)
        if found is not None and (best is None or found.error < best.error):
            best = found
    return best


def plain(f: Callable[[float], float]) -> Measured:
    """A function of floats: of its rounding error only the size of its values is known."""

    def measured(x: float) -> tuple[float, float]:
        y = f(x)
        return y, abs(y)

    return measured


def trusted_step(f: Measured, x: float, side: int, usual: float, other: float) -> float | None:
    """The usual step, if the quotient of the other one confirms it; else that of `slope`, or None if no steps agree.

    side: as for `slope`.  Where it is 0 the error of the formula is h**2, else h.
    """
    first, second = _quotient(f, x, side, usual), _quotient(f, x, side, other)
    if first is not None and second is not None:
        rounding = 4.0 * (first.rounding + second.rounding)
        close = abs(first.value - second.value) <= (1e-5 if side else 1e-6) * abs(first.value) + rounding
        if close and rounding <= max(1e-3 * abs(first.value), 1e-6):
            return usual
    found = slope(f, x, side, cancels=True)
    return found.h if found is not None and found.told else None


def corner(f: Measured, x: float) -> tuple[float, float] | None:
    """The slopes from the left and from the right at a kink, infinite on the side of a jump.

    None where f is smooth, and where differences cannot tell.

    >>> corner(plain(abs), 0.0), corner(plain(math.floor), 3.0), corner(plain(math.sin), math.pi)
    ((-1.0, 1.0), (inf, 0.0), None)
    """
    left, right = slope(f, x, side=-1), slope(f, x, side=1)
    rises = [_jump(f, x, side) for side in (-1, 1)]
    if any(rises):
        known = [0.0 if s is None or not s.told else s.estimate for s in (left, right)]
        sides = [math.copysign(math.inf, rise) if rise else k for rise, k in zip(rises, known, strict=True)]
        return sides[0], sides[1]
    if left is None or right is None:
        return None
    gap = abs(left.estimate - right.estimate)
    largest = max(abs(left.estimate), abs(right.estimate))
    clear = left.error + right.error <= 1e-3 * gap
    return (left.estimate, right.estimate) if clear and gap > 1e-6 * largest else None


def _quotients(f: Measured, x: float, side: int, scale: float) -> list[_Quotient]:
    """The difference quotients, if f has values there: the longest step first, a few much shorter ones at the end."""
    regular = _steps(scale)
    steps = regular + [h for h in WITNESSES if h < regular[-1]]
    return [q for h in steps if (q := _quotient(f, x, side, h)) is not None]


def _quotient(f: Measured, x: float, side: int, h: float) -> _Quotient | None:
    low, high = (x if side > 0 else x - h), (x if side < 0 else x + h)  # rounded, but their distance is exact
    if not high - low >= h / 2.0:
        return None
    first, second = _at(f, low), _at(f, high)
    if first is None or second is None:
        return None
    value = (second[0] - first[0]) / (high - low)
    rounding = 2.0 * (EPSILON * max(first[1], second[1]) + SMALLEST) / (high - low) + EPSILON * abs(value)
    return _Quotient(value, rounding, h) if math.isfinite(value) and math.isfinite(rounding) else None


def _steps(scale: float) -> list[float]:
    unit = 2.0 ** (math.frexp(scale)[1] - 1)
    return [unit * 2.0**k for k in range(LONGEST, SHORTEST - 1, -3)]


def _at(f: Measured, x: float) -> tuple[float, float] | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # NumPy's, where f has no value
        try:
            y, size = f(x)
        except (ArithmeticError, ValueError):
            return None
    return (y, size) if math.isfinite(y) else None


def _noisier(quotients: Sequence[_Quotient]) -> list[_Quotient]:
    """The quotients with a larger rounding error, if those of the shortest steps differ by more than theirs.

    No quotients for a function whose values are all noise, such as sin at 1e17.
    """
    shortest = quotients[-5:]
    noise = 4.0 * max([abs(q.value - p.value) * q.h for p, q in pairwise(shortest)], default=0.0)
    expected = max([q.rounding * q.h for q in shortest], default=0.0)
    if noise > 1e3 * expected and noise > 1e-3 * max(abs(q.value) * q.h for q in quotients):
        return []
    return [_Quotient(q.value, max(q.rounding, noise / q.h), q.h) for q in quotients]


def _settled(quotients: Sequence[_Quotient], order: int) -> Slope | None:
    """The most accurate estimate from three neighbouring steps which no shorter step contradicts."""
    shrinks = RATIO**order  # by this factor the error of the formula shrinks from one step to the next
    best: Slope | None = None
    for k in range(len(quotients) - 2):
        far, middle, near = quotients[k : k + 3]
        if not far.h == RATIO * middle.h == RATIO**2 * near.h:
            continue
        change = near.value - middle.value
        estimate = near.value + change / (shrinks - 1.0)
        error = max(abs(change), abs(middle.value - far.value) / shrinks) + near.rounding
        contradicted = any(abs(q.value - estimate) > error + 4.0 * q.rounding for q in quotients[k + 3 :])
        if not contradicted and (best is None or error < best.error):
            best = Slope(estimate, error, near.h)
    return best


def _jump(f: Measured, x: float, side: int) -> float:
    """How much f rises over the shortest steps to one side, if the rise is the same for all of them; else 0."""
    here = _at(f, x)
    if here is None:
        return 0.0
    rises = []
    for h in _steps(max(1.0, abs(x)))[-8:]:
        there = _at(f, x + side * h)
        if there is None or x + side * h == x:
            return 0.0
        rise = side * (there[0] - here[0])
        if not abs(rise) > 1e3 * EPSILON * max(here[1], there[1]):
            return 0.0
        rises.append(rise)
    return rises[-1] if max(rises) - min(rises) <= 1e-3 * abs(rises[-1]) else 0.0
