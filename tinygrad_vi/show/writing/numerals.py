"""Writing numbers: all tables, derivations, pictures, pages and LaTeX use these functions.

A result is rounded to so many significant digits.  A constant that stands in a formula, such as an exponent, is part of
it and is written as it is where that takes few letters.  A line of arithmetic shows as many digits as it takes for the
line to be true: what is computed from the numbers as they are printed is what is printed as the result.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from tinygrad_vi.checks import whole_number
from tinygrad_vi.rows import write_constant

MOST_DIGITS = 17  # tell any two floats apart


def write_number(x: float, digits: int | None = 4) -> str:
    """A number with so many significant digits, or as many as tell it from any other; -0.0 as 0.

    >>> write_number(-0.95892427), write_number(-0.0), write_number(1e-12)
    ('-0.9589', '0', '1e-12')
    """
    exact = digits is None
    written = repr(float(x)).removesuffix(".0") if exact else f"{x:.{whole_number(digits, 'digits')}g}"
    mantissa, e, exponent = written.partition("e")
    return f"{mantissa}e{int(exponent)}" if e else "0" if written == "-0" else written


def write_factor(x: float, digits: int | None = None) -> str:
    """A number in a formula: whole numbers and short ones as they are, others with so many digits, 4 at the least.

    >>> write_factor(12345.0, 4), write_factor(1e-5, 4), write_factor(1.1283791670955126, 4)
    ('12345', '1e-5', '1.128')
    """
    exact = write_constant(x)
    if digits is None:
        return exact
    short, rounded = write_number(x, 4), write_number(x, max(digits, 4))
    if float(short) == x:  # 1e9, whatever the digits
        return min(exact, short, key=len)
    return exact if "e" not in exact and math.isfinite(x) and float(x).is_integer() else rounded


def shown(x: float, digits: int) -> float:
    """The number that is written."""
    return float(write_number(x, digits))


def enough_digits(digits: int, holds: Callable[[int], bool]) -> int | None:
    """The fewest digits, at least so many, with which a condition holds; None when it does not hold with any."""
    return next((d for d in range(digits, MOST_DIGITS + 1) if holds(d)), None)


def agree(found: float, result: float, digits: int) -> bool:
    """Whether what is computed from printed numbers is the result that is printed."""
    return found == result or write_number(found, digits) == write_number(result, digits)


def sum_digits(terms: Sequence[float], result: float, digits: int) -> int | None:
    """How many digits the terms need to add up to the result as it is written; None where none are enough."""
    if not all(map(math.isfinite, [*terms, result])):
        return digits
    return enough_digits(digits, lambda d: agree(math.fsum(shown(t, d) for t in terms), result, digits))


def true_sum(terms: Sequence[float], result: float, digits: int) -> list[str] | None:
    """The terms, written with digits enough to add up to the result as it is written; None where none are enough.

    >>> true_sum([1.2344, 1.2344], 2.4688, 4), true_sum([1.0, 0.5], 1.5, 4)
    (['1.2344', '1.2344'], ['1', '0.5'])
    """
    found = sum_digits(terms, result, digits)
    return None if found is None else [write_number(t, found) for t in terms]


def true_product(factors: Sequence[float], result: float, digits: int) -> list[str]:
    """The factors, written with digits enough to give the result as it is written.

    >>> true_product([1.2345, 1.2345], 1.2345**2, 4)
    ['1.2345', '1.2345']
    """
    if all(map(math.isfinite, [*factors, result])):
        found = enough_digits(digits, lambda d: agree(math.prod(shown(f, d) for f in factors), result, digits))
        return [write_number(f, found or digits) for f in factors]
    return [write_number(f, digits) for f in factors]


def product_digits(
    products: Sequence[Sequence[float]], terms: Sequence[float], result: float, of_terms: int, digits: int
) -> int:
    """How many digits the factors need for each written product to be right and for the products to add up right."""
    if not all(map(math.isfinite, [*terms, result, *(factor for product in products for factor in product)])):
        return digits

    def hold(d: int) -> bool:
        found = [math.prod(shown(factor, d) for factor in product) for product in products]
        each = all(agree(x, term, of_terms) for x, term in zip(found, terms, strict=True))
        return each and agree(math.fsum(found), result, digits)

    return enough_digits(digits, hold) or digits
