"""The kinds that a Value is of for a while: when a function is run at another point, or traced.

`tinygrad_vi.compiler.trace` sets the class of a Value to one of these, and back to Value when it is done.  The Value
stays the same object; what changes is what code outside of the engine may ask it.

    Guarded    a leaf, such as a parameter, that has another number in this thread or task
    Traced     an input or a node: it does not give its number
    Condition  a comparison of traced Values: no bool, but a node for `where`
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from tinygrad_vi import ops, value
from tinygrad_vi.conditions import EQUAL
from tinygrad_vi.rows import Operation
from tinygrad_vi.tracing import (
    numbers_here,
    of_the_engine,
    refuse_a_traced_condition,
    refuse_in_a_trace,
    tracer_here,
)
from tinygrad_vi.truth import Truth
from tinygrad_vi.value import VALUES, Value, own_number, set_own_number


class Guarded(Value):
    """A leaf while a function is run at another point, or traced.

    This thread or task sees the number of that point; the others see the leaf's own.  When a traced function asks for
    the number, a parameter refuses, and any other leaf is watched from then on.
    """

    __slots__ = ()
    _is_guarded = True

    @property
    def data(self) -> float:
        """The number."""
        tracer = tracer_here.get()
        if tracer is not None and not of_the_engine(sys._getframe(1)):
            tracer.read(self)
        number = numbers_here.get().get(self)
        return own_number(self) if number is None else number

    @data.setter
    def data(self, x: float) -> None:
        if tracer_here.get() is not None:
            refuse_in_a_trace("keeps its number while it is traced: no other can be assigned")
        set_own_number(self, x)


class Traced(Value):
    """An input or a node while a function is traced: only the engine may ask for its number and its hash."""

    __slots__ = ()

    @property
    def data(self) -> float:
        """The number."""
        frame = sys._getframe(1)
        if frame.f_globals is not _GLOBALS_OF_VALUE and not of_the_engine(frame) and tracer_here.get() is not None:
            refuse_in_a_trace("does not give its number, v.data or float(v)")
        return own_number(self)

    @data.setter
    def data(self, x: float) -> None:  # noqa: ARG002
        refuse_in_a_trace("keeps its number: no other can be assigned")

    def __hash__(self) -> int:
        if not of_the_engine(sys._getframe(1)) and tracer_here.get() is not None:
            refuse_in_a_trace("is not looked up in a set or a dictionary, nor counted")
        return object.__hash__(self)

    __eq__ = Value.__eq__


_GLOBALS_OF_VALUE = vars(value)  # the first to be compared with: the operators ask most often


def condition(op: Operation, *operands: Any) -> Condition:
    """A comparison by its row, while a function is traced."""
    found: Any = Value.record(op, *operands)
    found.__class__ = Condition  # from Traced
    return found  # type: ignore[no-any-return]


def _truth_of(other: Any) -> Any:
    """What stands for true or false, as it is: a Condition, a Truth, a bool (also of NumPy).  None for a number."""
    if isinstance(other, (Condition, Truth, bool)):
        return other
    is_numpys = getattr(getattr(other, "dtype", None), "kind", "") == "b" and other.shape == ()
    return bool(other) if is_numpys else None


def _combined(combine: Callable[[Any, Any], Any]) -> Callable[[Condition, Any], Any]:
    def method(self: Condition, other: Any) -> Any:
        truth = _truth_of(other)
        if truth is None:
            if isinstance(other, Value):
                self._no_condition()
            return NotImplemented
        found = combine(self, truth)
        found.__class__ = Condition
        return found

    return method


class Condition(Traced):
    """A comparison while a function is traced: 1 where it holds, else 0; for `where`, ``&``, ``|`` and ``~``."""

    __slots__ = ()
    __hash__ = Traced.__hash__

    __and__ = __rand__ = _combined(lambda x, y: x * y)  # type: ignore[assignment]
    __or__ = __ror__ = _combined(lambda x, y: ops.maximum(x, y))  # type: ignore[assignment]
    __xor__ = __rxor__ = _combined(lambda x, y: Value.record(EQUAL, Value.record(EQUAL, x, y), 0.0))  # type: ignore[assignment]

    def __invert__(self) -> Condition:  # type: ignore[override]
        return condition(EQUAL, self, 0.0)

    def __index__(self) -> int:  # (a, b)[x > 0]
        refuse_a_traced_condition()
        return int(self.data)

    __int__ = __index__  # type: ignore[assignment]


VALUES.update({Guarded, Traced, Condition})
