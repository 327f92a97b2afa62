"""The function that was given to `compile`, run by itself: traced, on Values, on one example at a time."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from threading import RLock
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_vi import modes
from tinygrad_vi.checks import ShapeError, counted
from tinygrad_vi.collector import collector_paused
from tinygrad_vi.compiler.examples import FactorsToCome, example, factors, like, vector
from tinygrad_vi.compiler.forks import give_lock
from tinygrad_vi.compiler.trace import Run, guarded, trace
from tinygrad_vi.differentiated import differentiable, training, variables
from tinygrad_vi.examples import Table
from tinygrad_vi.graph import topological_order
from tinygrad_vi.modes import dropping
from tinygrad_vi.sweep import adjoints
from tinygrad_vi.trees import flatten
from tinygrad_vi.value import Value, recording

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


class UserFunction:
    """A function, and the Values that it is differentiated by.

    parameters: of `compile`; None where these are the numbers of its first argument, theta.  arguments: the names of
    its positional arguments without a default; "*" stands for any number of them.  lock: held by whoever traces the
    function or runs a program that was made of it.
    """

    def __init__(self, fn: Callable[..., Any], params: list[Value] | None) -> None:
        self.fn, self.parameters = fn, params
        self.arguments = _positional_names(fn)
        self.lock: RLock
        give_lock(self)

    @property
    def name(self) -> str:
        """What errors call it."""
        return getattr(self.fn, "__name__", type(self.fn).__name__)

    def needs_parameters(self, what: str) -> list[Value]:
        """The parameters; TypeError where `compile` was called without."""
        if self.parameters is None:
            raise TypeError(f"{what} needs parameters: compile(fn, params=...) was called without")
        return self.parameters

    def names_for(self, data: Sequence[Any]) -> list[str]:
        """The names of the arguments behind theta for as many columns; ShapeError for another count."""
        names = self.arguments if self.parameters is not None else self.arguments[1:]
        if len(names) == len(data) and "*" not in self.arguments:
            return names
        if "*" in self.arguments and len(data) >= len(names) - ("*" in names):
            return [f"x{i + 1}" for i in range(len(data))]
        if len(names) != len(data):
            takes = f"{counted(len(names), 'argument')} ({', '.join(names)})" if names else "no arguments"
            call = f": step.value_and_grad({', '.join(['theta', *names])})"
            raise ShapeError(f"after theta the function takes {takes}, got {len(data)}{call}")
        return names

    @contextmanager
    def at(self, theta: ArrayLike) -> Iterator[None]:
        """The parameters at theta, for a while, in this thread."""
        parameters = self.needs_parameters("theta")
        numbers = vector(theta, len(parameters)).tolist()
        with guarded(parameters, dict(zip(parameters, numbers, strict=True))):
            yield

    def traced(self, theta: Any, rows: Sequence[Any], *, lines: bool = False) -> tuple[Run, list[Value], list[Value]]:
        """Trace the function at theta on one example: the trace, its parameters, its inputs."""
        factor = FactorsToCome()
        if self.parameters is None:
            found = trace(self.fn, [like(theta), *rows], lines=lines, factor=factor)
            P = int(np.size(theta))
            return found, found.inputs[:P], found.inputs[P:]
        with self.at(theta):  # as this call has them: domain errors must be its own
            found = trace(self.fn, rows, self.parameters, lines=lines, factor=factor)
        return found, self.parameters, found.inputs

    def eager(
        self, theta: Any, rows: list[Any], factor: Callable[[float], float] | None, record: bool = True
    ) -> tuple[Any, list[Value]]:
        """Its result on one example, computed eagerly, and the parameters.  factor: gives what Dropout draws."""
        with collector_paused(), recording(record), differentiable(), dropping.set(factor):
            if self.parameters is None:
                numbers, nest = flatten(like(theta))
                parameters = [Value(x) for x in numbers]
                with variables(parameters):
                    return self.fn(nest(parameters), *rows), parameters
            with self.at(theta), training(self.parameters):
                return self.fn(*rows), self.parameters

    @contextmanager
    def differentiated(self, order: int, theta: ArrayLike, tables: list[Table], i: int) -> Iterator[list[Value]]:
        """The results for one example, while the parameters are at theta; derivatives up to the order must exist."""
        if self.parameters is None:
            found, nest = flatten(like(theta))
            leaves = [Value(x) for x in found]
            fn: Callable[..., Any] = partial(self.fn, nest(leaves))
            at: AbstractContextManager[None] = nullcontext()
        else:
            leaves, fn, at = self.parameters, self.fn, self.at(theta)
        with self.lock, at, recording(True), modes.wanted.set(leaves if order > 0 else ()):
            outputs = trace(fn, example(tables, i), factor=factors(tables, i)).outputs
            if order > 1:
                recorded = topological_order(outputs)
                for y in outputs:
                    adjoints(recorded, {y: 1.0}, create_graph=True)
            yield outputs


def _positional_names(fn: Callable[..., Any]) -> list[str]:
    """The names of the positional arguments that have no default; "*" stands for any number of them."""
    try:
        signature = inspect.signature(fn)
    except (TypeError, ValueError):
        return ["*"]
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    names = [p.name for p in signature.parameters.values() if p.kind in positional and p.default is p.empty]
    return names + ["*"] * any(p.kind == p.VAR_POSITIONAL for p in signature.parameters.values())
