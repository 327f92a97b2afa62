"""A function and its point, as every way to its derivative sees it."""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any

from tinygrad_vi.checks import number
from tinygrad_vi.differentiated import check_constants, differentiable, moved
from tinygrad_vi.functions import total
from tinygrad_vi.once import once
from tinygrad_vi.ops import log, sin
from tinygrad_vi.show.writing.numerals import write_number
from tinygrad_vi.trees import flatten
from tinygrad_vi.value import Value, no_grad, recording

F = Callable[..., Any]


def lecture_function(x1: Any, x2: Any) -> Any:
    """ln x1 + x1 x2 - sin x2, which the lecture notes differentiate at (2, 5).

    >>> from tinygrad_vi import grad
    >>> grad(lecture_function)(2.0, 5.0)
    (5.5, 1.7163378145367738)
    """
    return log(x1) + x1 * x2 - sin(x2)


class FunctionAtPoint:
    """A function and the point at which its derivatives are wanted, with its inputs as one flat list.

    Given k times as many inputs it is the sum of k copies of the function: f(x1, x2) + f(x3, x4) + ...
    """

    def __init__(self, f: F, point: Sequence[Any]) -> None:
        if not callable(f):
            raise TypeError(f"the first argument is a function, got {f!r:.60}")
        if not point and f is lecture_function:
            point = (2.0, 5.0)
        entries, nest = flatten(tuple(point))
        self.point = [number(getattr(x, "data", x), "a point") for x in entries]
        if not self.point:
            raise TypeError("the point is missing: write its numbers after the function, as in three_ways(f, 2.0, 5.0)")
        for x in self.point:
            if not math.isfinite(x):
                raise ValueError(f"the point must be finite, got {x}")
        self.names = _names(f, point, len(self.point))
        nested = any(isinstance(x, (list, tuple)) or getattr(x, "shape", ()) for x in point)
        self._apply: Callable[[Sequence[Any]], Any] = (lambda xs: f(*nest(xs))) if nested else (lambda xs: f(*xs))

    def index(self, by: int | str) -> int:
        """The place of an input that is given by its place or its name."""
        if isinstance(by, str) and by in self.names:
            return self.names.index(by)
        if isinstance(by, int) and 0 <= by < len(self.names):
            return by
        raise ValueError(f"by is an input, one of {', '.join(self.names)} or 0 to {len(self.names) - 1}, got {by!r}")

    def __call__(self, xs: Sequence[Any]) -> Value:
        """The result for numbers or Values, recorded where recording is on."""
        y = self._given(xs)
        return y if isinstance(y, Value) else Value(y)

    def _given(self, xs: Sequence[Any]) -> Any:
        values = [x if isinstance(x, Value) else Value(x) for x in xs]
        with differentiable():
            results = [self._apply(part) for part in self._parts(values)]
        for y in results:
            if y is None:
                raise TypeError("the function returned None, where a number is wanted: is a `return` missing?")
            if isinstance(y, (list, tuple)) or getattr(y, "shape", ()) != ():
                raise TypeError(f"the function must have one number as its result, got {y!r:.60}")
        return results[0] if len(results) == 1 else total(results)

    def _parts(self, xs: Sequence[Any]) -> list[Sequence[Any]]:
        n = len(self.point)
        return [xs[i : i + n] for i in range(0, len(xs), n)]

    def record(self) -> tuple[list[Value], Value]:
        """Values for the inputs, and the result with its record; TypeError where a plain number has lost it."""
        inputs = list(map(Value, self.point))
        with recording(True):
            y = self._given(inputs)
            if not isinstance(y, Value):
                check_constants("the function", y, lambda size: self._given(moved(self.point, size)))
        return inputs, y if isinstance(y, Value) else Value(y)

    def along(self, i: int, x: Any) -> Value:
        """The function of input i alone."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # NumPy's of an overflow, which the result shows
            return self([*self.point[:i], x, *self.point[i + 1 :]])

    @once
    def on_numbers(self) -> Callable[[Sequence[float]], float]:
        """The result for a list of floats without a record, and without Values where f does without them."""
        with suppress(AttributeError, TypeError):  # f may call methods of Values: x.relu()
            if isinstance(self._apply(self.point), float):
                return lambda xs: total([self._apply(part) for part in self._parts(xs)])

        def unrecorded(xs: Sequence[float]) -> float:
            with no_grad():
                return self(xs).data

        return unrecorded

    def __str__(self) -> str:
        shown = [f"{n} = {write_number(x)}" for n, x in zip(self.names, self.point, strict=True)]
        return ", ".join(shown if len(shown) <= 4 else [*shown[:3], "..."])


def _names(f: F, point: Sequence[Any], n: int) -> list[str]:
    """The names of the parameters where each stands for one number, else x1, ..., xn."""
    try:
        names = list(inspect.signature(f).bind(*point).arguments)
    except (TypeError, ValueError):  # too many or too few, as the call will say; or a function written in C
        names = []
    return names if len(names) == n == len(point) else [f"x{i}" for i in range(1, n + 1)]


def count_operations(nodes: Iterable[Value]) -> int:
    """How many operations nodes stand for: one of k operands for k - 1 of two, as in a sum of k terms."""
    return sum(max(1, len(node.parents) - 1) for node in nodes)
