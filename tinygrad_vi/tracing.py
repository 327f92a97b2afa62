"""What is known while a function is traced or differentiated, and what is refused then.

To compile a function, `tinygrad_vi.compiler` *traces* it: runs it once, on Values, while a tracer takes note of each
operation.  The record is then used for all examples, so nothing may be decided by the numbers of the one example: what
would take such a number out of the record is refused here.

All of this holds for one thread or asyncio task, except `variables`.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextvars import ContextVar
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

from tinygrad_vi import modes

if TYPE_CHECKING:
    from tinygrad_vi.value import Value

# --- While a function is traced ---------------------------------------------------------------------------------------

#: what takes note of the function that this thread or task traces: a `tinygrad_vi.compiler.trace.Tracer`
tracer_here: ContextVar[Any] = ContextVar("tinygrad_vi_tracer", default=None)
#: numbers that leaves have in this thread or task alone, while a function is run at another point
numbers_here: ContextVar[dict[Value, float]] = ContextVar("tinygrad_vi_numbers", default={})  # noqa: B039  # never changed

#: the settings of `modes.tracing` that are open, in any thread: while it is empty nobody needs to ask `being_traced`
traced_somewhere = modes.tracing.open


def being_traced() -> bool:
    """Whether this thread or task is tracing a function, to compile it."""
    return modes.tracing.get() is not None


def number_here(x: Value) -> float:
    """The number that a Value has in this thread or task."""
    return numbers_here.get().get(x, x.data)


#: rooms of the package that read the numbers of Values for other ends than to compute with them
_OUTSIDE = ("training", "optim", "show", "course", "demo", "__main__")
_engine: dict[str, bool] = {}


def of_the_engine(frame: FrameType) -> bool:
    """Whether the frame runs code of this package (but for `_OUTSIDE`), and not of the user or another library."""
    name = frame.f_globals.get("__name__") or ""
    known = _engine.get(name)
    if known is None:
        package, _, room = name.partition(".")
        known = _engine[name] = package == "tinygrad_vi" and not room.startswith(_OUTSIDE)
    return known


def refuse_in_a_trace(what: str, noted: bool = True) -> NoReturn:
    """Raise the error for a traced Value whose number would leave the record.

    noted: the tracer raises the error again if the function catches it.  False where eager code raises there too, and
    so may catch it.
    """
    text = (
        f"a traced Value {what}: the function is run once, and what it decides by one example's number would hold for "
        "all. Write exp(v) of tinygrad_vi for math.exp(v), where(c, x, y) for a choice, maximum and minimum for a "
        "bound, take(table, i) for a look-up, and stop_gradient(v) for a number to compute with but not to "
        "differentiate"
    )
    raise _noted(text) if noted else TypeError(text)


def refuse_a_traced_condition() -> None:
    """Raise the error for a Value as a condition, if a function is being traced."""
    if traced_somewhere and being_traced():
        raise _noted(
            "a traced Value cannot be a condition: only the branch taken in this one run would be compiled. Write "
            "where(c, x, y) for `x if c else y`, c being a comparison such as a > 0 or a != 0; (a > 0) & (b > 0), |, ~ "
            "for and, or, not and for a < b < c; maximum, minimum for max, min; tinygrad_vi.arrays.array(xs) for "
            "np.array(xs) where NumPy compares entries"
        )


def _noted(text: str) -> TypeError:
    """The error of a refusal, left with the tracer, which raises it again if the function catches it."""
    error, tracer = TypeError(text), tracer_here.get()
    if tracer is not None and tracer.refusal is None:
        tracer.refusal = error
    return error


# --- What is differentiated by ----------------------------------------------------------------------------------------

#: the Values that functions are being differentiated by at the moment, in all threads: code that holds one of them is
#: called by such a function, even in a thread of its own with modes of its own
variables: set[Value] = set()


def being_differentiated() -> bool:
    """Whether anything is differentiated by, in whatever thread."""
    return bool(variables or modes.trained.get())


def differentiated_by(nodes: Iterable[Value]) -> list[Value]:
    """Those of some nodes that are differentiated by around the code that asks."""
    trained = modes.trained.get()
    return [v for v in nodes if v in variables or v in trained]
