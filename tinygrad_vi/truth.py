"""Truth: the result of a comparison of Values in eager code, a bool whose ``~`` is ``not``, as in NumPy and PyTorch.

Python's own bool is an int: ``~True`` is -2, which `where` would take for a condition that does not hold, without a
word.  Else it does what a bool does: it is tested, counted, multiplied with, and equal to True or False.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from numbers import Real
from typing import Any


def _counted(operation: Callable[[Any, Any], Any]) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The arithmetic of 1 and 0, and its reflection."""
    return lambda self, other: operation(int(self), other), lambda self, other: operation(other, int(self))


def _combined(operation: Callable[[bool, bool], bool]) -> Callable[..., Any]:
    def method(self: Truth, other: Any) -> Any:
        boolean = isinstance(other, (bool, Truth)) or getattr(getattr(other, "dtype", None), "kind", "") == "b"
        return truth(operation(bool(self), bool(other))) if boolean else NotImplemented

    return method


class Truth:
    """True or False; ``&``, ``|``, ``^`` and ``~`` are and, or, either, not.

    >>> yes, no = truth(2.0 > 1.0), truth(2.0 > 3.0)
    >>> ~yes, yes & no, yes | no, yes == True, 3.0 * yes
    (False, False, True, True, 3.0)
    """

    __slots__ = ("_holds",)

    def __init__(self, holds: bool) -> None:
        self._holds = holds

    def __bool__(self) -> bool:
        return self._holds

    def __int__(self) -> int:
        return int(self._holds)

    __index__ = __int__

    def __float__(self) -> float:
        return float(self._holds)

    def __invert__(self) -> Truth:
        return FALSE if self._holds else TRUE

    __and__ = __rand__ = _combined(operator.and_)
    __or__ = __ror__ = _combined(operator.or_)
    __xor__ = __rxor__ = _combined(operator.xor)

    __add__, __radd__ = _counted(operator.add)
    __sub__, __rsub__ = _counted(operator.sub)
    __mul__, __rmul__ = _counted(operator.mul)
    __truediv__, __rtruediv__ = _counted(operator.truediv)
    __pow__, __rpow__ = _counted(operator.pow)
    __lt__, __le__ = _counted(operator.lt)[0], _counted(operator.le)[0]
    __gt__, __ge__ = _counted(operator.gt)[0], _counted(operator.ge)[0]

    def __neg__(self) -> int:
        return -int(self._holds)

    def __abs__(self) -> int:
        return int(self._holds)

    def __eq__(self, other: object) -> Any:
        return self._holds == (other._holds if isinstance(other, Truth) else other)

    def __hash__(self) -> int:
        return hash(self._holds)

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        import numpy as np

        return np.array(self._holds, dtype=dtype)

    def __repr__(self) -> str:
        return repr(self._holds)

    def __reduce__(self) -> str:
        return "TRUE" if self._holds else "FALSE"


Real.register(Truth)  # it computes as 1 or 0, as a bool does

TRUE, FALSE = Truth(True), Truth(False)


def truth(holds: bool) -> Truth:
    """The Truth of a bool."""
    return TRUE if holds else FALSE
