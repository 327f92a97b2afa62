"""What is differentiated by, here and now; and what would lose a derivative, which is refused.

A result of f that is a plain number, ``math.exp(x.data)``, has no record.  If it is a constant, its derivative is 0; if
it came of the arguments, the derivative is lost.  So f is run again where it has given one, at arguments moved a little
(twice, or four times in doubt; generators of random numbers of the modules ``random`` and ``numpy.random`` stand where
they stood), and TypeError is raised where the number moves along.  ``Value(y)`` says that y is meant as a constant.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from tinygrad_vi import modes, tracing
from tinygrad_vi.graph import below
from tinygrad_vi.tracing import being_differentiated, differentiated_by
from tinygrad_vi.trees import flatten, place
from tinygrad_vi.value import Value

# --- What is differentiated by ----------------------------------------------------------------------------------------


def differentiating() -> bool:
    """Whether the code that asks runs inside a derivative, so that its results should be Values."""
    return modes.differentiable.get()


def differentiable() -> AbstractContextManager[None]:
    """A context manager: derivatives by plain numbers are Values, to be differentiated, as inside a derivative."""
    return modes.differentiable.set(True)


@contextmanager
def variables(inputs: Iterable[Value]) -> Iterator[None]:
    """A context manager: these new Values are differentiated by."""
    tracing.variables.update(inputs)
    try:
        yield
    finally:
        tracing.variables.difference_update(inputs)


def training(parameters: Iterable[Value]) -> AbstractContextManager[None]:
    """A context manager for the run of a loss: these leaves are differentiated by."""
    return modes.trained.set(modes.trained.get().union(parameters))


def check_alone(what: str, outputs: Sequence[Value], parameters: Iterable[Value]) -> None:
    """Raise TypeError if what is minimised depends on a Value, not a parameter, by which a derivative is being taken.

    The parameters are moved as numbers, so the derivative of the solution by that Value would be lost.
    """
    if not being_differentiated():
        return
    others = [v for v in differentiated_by(below(outputs)) if v not in {*parameters}]
    if others:
        v = others[0]
        named = repr(v.label) if v.label else f"the Value {v.data!r}"
        raise TypeError(
            f"{what} depends on {named}, by which a derivative is being taken around it: parameters are moved as "
            "numbers, so the derivative of what they come to would be lost. Give the solution one of its own, that of "
            f"the implicit function, with @custom_derivative; or let {what} know the plain number, w.data, if a "
            "constant is meant"
        )


# --- Plain numbers that are no constants ------------------------------------------------------------------------------

#: by how much arguments are moved, relative to max(1, |x|)
MOVED = 2.0**-13


def moved(numbers: Sequence[float], size: float) -> list[float]:
    """The numbers, each moved by an amount of its own: ``size`` to 2 * size, relative to max(1, |x|)."""
    return [x + size * (1.0 + i % 7 / 7.0) * max(1.0, abs(x)) for i, x in enumerate(numbers)]


def check_constants(name: str, result: Any, again: Callable[[float], Any]) -> None:
    """Raise TypeError for a plain number in the result of a function that changes with what it is differentiated by.

    again: takes a size and gives the result at arguments moved by it.  One side is enough, since the function may have
    no value on the other.  A number that jumps once is no sign of a lost derivative: it must change from here to
    half-way and again to the whole size.  Random numbers are the same in all further runs.
    """
    runs = _Runs(again)
    found = _plain(result)
    if not found:  # all are Values, some of a class of the user's
        return
    failed: list[Exception] = []
    for size in (MOVED, -MOVED):
        try:
            half = _plain(runs(size / 2.0))
            suspects = [i for i in found if i in half and not _same(found[i], half[i])]
            if suspects:
                here, whole = _plain(runs(0.0)), _plain(runs(size))
        except Exception as error:  # the user's function may raise anything outside of its domain
            failed.append(error)
            continue
        for i in suspects:
            if i in here and i in whole and not _same(here[i], half[i]) and not _same(half[i], whole[i]):
                raise TypeError(
                    f"{place(result, i, f'the result of {name}')} is the plain number {float(found[i])!r}, and it "
                    f"changes with what is differentiated by, to {float(half[i])!r} a little further on: it was "
                    "computed from numbers taken out of Values, and its derivative would be lost. Compute it from "
                    "Values by operations: tinygrad_vi.exp(x) and not math.exp(x.data), x and not x.data. Value(y) or "
                    "stop_gradient(x) says that a number is meant as a constant"
                )
    if len(failed) == 2:
        i, y = next(iter(found.items()))
        raise TypeError(
            f"{place(result, i, f'the result of {name}')} is the plain number {y!r}, which has no record, and whether "
            "it is a constant cannot be seen: run again a little further on, the function raised "
            f"{type(failed[0]).__name__}: {failed[0]}. Compute it from Values by operations, or write Value(y) for a "
            "constant"
        ) from failed[0]


class _Runs:
    """Further runs of a function: all draw the same random numbers, and the generators are left as they were."""

    def __init__(self, again: Callable[[float], Any]) -> None:
        self.again = again

    def __call__(self, size: float) -> Any:
        drawn = random.getstate()
        numpy_random = sys.modules.get("numpy.random")
        of_numpy = None if numpy_random is None else numpy_random.get_state()
        try:
            return self.again(size)
        finally:
            random.setstate(drawn)
            if numpy_random is not None:
                numpy_random.set_state(of_numpy)


def _plain(result: Any) -> dict[int, Any]:
    """The plain numbers of a result, by their places."""
    return {i: y for i, y in enumerate(flatten(result, "the result of f")[0]) if not isinstance(y, Value)}


def _same(x: Any, y: Any) -> bool:
    return bool(x == y or (x != x and y != y))
