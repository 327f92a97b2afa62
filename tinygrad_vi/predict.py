"""The answers of a model in plain numbers: nothing is recorded or dropped; for many examples the model is compiled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.util import find_spec
from numbers import Real
from typing import Any

from tinygrad_vi.checks import ONE_EXAMPLE, ShapeError
from tinygrad_vi.compiler.compiled import Compiled, compile
from tinygrad_vi.compiler.watched import Captured
from tinygrad_vi.examples import as_values, check_examples, numbers_only, rows_of, to_lists
from tinygrad_vi.nn.module import Module, numbers_in, prediction
from tinygrad_vi.once import once
from tinygrad_vi.trees import flatten
from tinygrad_vi.value import no_grad

#: from this number of examples on a model is compiled: measured, it pays from 20 to 100, for small and large networks
MANY = 100

#: of so many models, those that were asked last, the programs are kept, and with them the models
KEPT = 4
_kept: tuple[Program, ...] = ()


def predict(model: Module, X: Any) -> Any:
    """The work of `Module.predict`."""
    X = X.to_numpy() if hasattr(X, "to_numpy") else X
    _no_values(X)
    one = model.is_one_example(X)
    given = numbers_only([X] if one else X, "X")
    examples = rows_of(given, to_lists(given))
    check_examples(examples, None)
    try:
        found: Any = answers(model, examples)
    except (TypeError, ShapeError) as error:
        if one or not isinstance(examples[0], Real) or ONE_EXAMPLE in str(error):
            raise
        advice = "predict takes a list of examples: for one example x write model.predict([x])"
        raise type(error)(f"{error}. {advice}") from error
    found = found[0] if one else found
    if not hasattr(X, "dtype") or isinstance(found, float):
        return found
    import numpy as np  # an array was given, so NumPy is there

    try:
        return np.array(found, dtype=float)
    except (TypeError, ValueError):
        raise ShapeError(
            "the answers of the model have different lengths, so no array holds them: give lists, X.tolist()"
        ) from None


def answers(model: Callable[[Any], Any], examples: Sequence[Any]) -> list[Any]:
    """The answer to each example: numbers, nested as the model nests them.

    A Module gets examples as in `fit`, with floats as Values; any other function gets them as they are.  From `MANY`
    examples on a Module is compiled, if it can be and keeps no state from call to call.
    """
    with prediction(), no_grad():
        if not isinstance(model, Module):
            return [numbers_in(model(x)) for x in examples]
        if len(examples) < MANY or find_spec("numpy") is None:
            return [numbers_in(model(as_values(x))) for x in examples]
        program = program_of(model)
        first = numbers_in(model(as_values(examples[0])))
        if program.captured.complete and program.captured.look_again():  # the call has counted, drawn and kept nothing
            with suppress(Exception):  # it need not compile: then the loop below answers, and raises its errors
                found = program.step.each(program.step.theta, examples).reshape(len(examples), -1).tolist()
                numbers, nest = flatten(first)
                if _close(found[0], numbers):  # else it reads what nobody can watch, a file, and that has changed
                    return [nest(row) for row in found]
                forget(model)
        return [first] + [numbers_in(model(as_values(x))) for x in examples[1:]]


class Program:
    """A model that is compiled, and what it reads besides its inputs: where that has changed, it is compiled anew."""

    def __init__(self, model: Module) -> None:
        self.model = model
        self.captured = Captured(model, model.parameters())

    @once
    def step(self) -> Compiled:
        """The compiled model."""
        model = self.model
        return compile(lambda x: model(x), model.parameters(), backend="numpy")

    def holds(self) -> bool:
        """Whether the model has the very parameters that it had, and reads what it read."""
        now = self.model.parameters()
        return self.captured.parameters == frozenset(now) and self.captured.same()


def program_of(model: Module) -> Program:
    """The program that is kept of a model as it is, or a new one."""
    global _kept
    known = next((program for program in _kept if program.model is model), None)
    if known is None or not known.holds():
        known = Program(model)
    forget(model)
    _kept = (known, *_kept[: KEPT - 1])
    return known


def forget(model: Module) -> None:
    """Keep no program of a model."""
    global _kept  # it is assigned at once: other threads see the old tuple or the new one
    _kept = tuple(program for program in _kept if program.model is not model)


def _close(some: Sequence[float], others: Sequence[float]) -> bool:
    """Whether two answers are the same but for rounding."""
    bound = 1e-9 * max(map(abs, others), default=0.0)
    return len(some) == len(others) and all(abs(x - y) <= bound for x, y in zip(some, others, strict=True))


def _no_values(x: Any) -> None:
    if isinstance(x, (list, tuple)):
        for entry in x:
            if entry.__class__ is not float:  # most entries need no call
                _no_values(entry)
    elif getattr(getattr(x, "dtype", None), "kind", "") == "O":
        _no_values(x.tolist())
    elif hasattr(x, "record"):
        raise TypeError(
            f"predict takes numbers, got {x!r:.60}: nothing is recorded in it. Call the model itself to differentiate "
            "its answer, model(x), or give the number, v.data"
        )
