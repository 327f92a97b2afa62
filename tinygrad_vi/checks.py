"""Checks of arguments: what is no number, no whole number, no list is refused, and the error says what to write."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Mapping, Set
from numbers import Real
from typing import Any, TypeAlias


class DomainError(ArithmeticError, ValueError):
    """An operation left its domain, overflowed, or has no finite derivative where it was applied."""


class ShapeError(ValueError):
    """Lists whose lengths should agree do not."""


#: A float, a Value, or a formula that stands for one while a function is compiled.  To a type checker it is Any: Values
#: give Values, and a union would ask everybody who writes ``loss.backward()`` whether the loss is a float.
Number: TypeAlias = Any
#: a Number, or a list or an array of them, nested as it may be
Numbers: TypeAlias = Any

#: advice: a list of numbers is read as several examples of one number each
ONE_EXAMPLE = "data hold an entry for each example, so one example alone is written [x]"
NO_VECTOR = f"@ takes vectors and matrices, got a number: for numbers write *; {ONE_EXAMPLE}"


#: whole numbers up to it are floats
MOST_WHOLE = 2**53


def number(x: Any, wanted_by: str) -> float:
    """The float of a real number (int, float, Fraction, NumPy scalar, 0-d array); TypeError for anything else."""
    if x.__class__ is int and -MOST_WHOLE < x < MOST_WHOLE:  # most numbers need no further check
        return float(x)
    masquerade = _is_no_number(x)
    if getattr(x, "shape", None) == () and hasattr(x, "item") and not masquerade:
        x = x.item()
    if masquerade or not isinstance(x, Real):
        several = isinstance(x, (list, tuple)) or hasattr(x, "shape")
        hint = ": apply it to each entry, [f(v) for v in xs] or np.vectorize(f)(xs)" if several else ""
        takes = "real numbers" if wanted_by == "Value" else "numbers or Values"
        hint = (
            ": it is one already; stop_gradient(v) is its number, taken for a constant"
            if hasattr(x, "record")
            else hint
        )
        raise TypeError(f"{wanted_by} takes {takes}, got {_brief(x)} of type {type(x).__name__}{hint}")
    try:
        found = float(x)
    except OverflowError:
        raise DomainError(f"{wanted_by} takes numbers that fit a float, got one of about 1e{_digits(x)}") from None
    if math.isinf(found) and x != found:  # NumPy's longdouble
        raise DomainError(f"{wanted_by} takes numbers that fit a float, got {x}")
    return found


def _is_no_number(x: Any) -> bool:
    """Whether x is not a number although its ``item()`` is one: a date, a span of time, a masked entry of NumPy."""
    return getattr(getattr(x, "dtype", None), "kind", "") in ("M", "m") or getattr(x, "mask", False) is not False


def entries(xs: Iterable[Any], wanted_by: str) -> list[Any]:
    """The entries of a list; TypeError for what has no order or holds keys: a set, a dictionary, a text."""
    if isinstance(xs, (Set, Mapping, str, bytes)):
        raise TypeError(
            f"{wanted_by} takes lists, where every number has its place, got {_brief(xs)} of type {type(xs).__name__}"
        )
    return list(xs)


def whole_number(n: Any, what: str, least: int = 1) -> int:
    """An int that is not below ``least``; ValueError for anything else."""
    if isinstance(n, bool) or not hasattr(n, "__index__") or operator.index(n) < least:
        raise ValueError(f"{what} must be a whole number of at least {least}, got {n!r}")
    return operator.index(n)


def _brief(x: Any) -> str:
    text = repr(x)
    return text if len(text) <= 60 else text[:57] + "..."


def _digits(x: Any) -> int:
    return int(math.log10(2) * abs(int(x)).bit_length())


def package(module: str, wanted_by: str) -> Any:
    """A module of another package; ImportError that says what to install."""
    from importlib import import_module

    try:
        return import_module(module)
    except ImportError:
        name = module.partition(".")[0]
        name = {"sklearn": "scikit-learn"}.get(name, name)
        raise ImportError(f"{wanted_by} needs the package {name}: pip install {name}") from None


def plain(x: Any) -> Any:
    """Lists for an array; anything else as it is."""
    return x.tolist() if hasattr(x, "tolist") else x


def counted(n: int, noun: str) -> str:
    """``1 parameter``, ``2 parameters``."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def at_least(x: Any, least: float, what: str) -> float:
    """A finite number that is not below ``least``; ValueError for anything else."""
    if isinstance(x, bool) or not isinstance(x, Real) or not least <= float(x) < math.inf:
        hint = ": a schedule is given to fit(schedule=...)" if callable(x) else ""
        raise ValueError(f"{what} must be a number of at least {least:g}, got {x!r:.60}{hint}")
    return float(x)


def fraction(x: Any, what: str) -> float:
    """A number of at least 0 and below 1; ValueError for anything else."""
    if isinstance(x, bool) or not isinstance(x, Real) or not 0.0 <= float(x) < 1.0:
        raise ValueError(f"{what} must be at least 0 and below 1, got {x!r:.60}")
    return float(x)


def text(x: Any, wanted: str, advice: str) -> str:
    """x, which is a text; else a TypeError that says what was wanted and what to do."""
    if not isinstance(x, str):
        raise TypeError(f"{wanted}, got {x!r:.60} of type {type(x).__name__}. {advice}")
    return str(x)
