"""Running the NumPy text."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from tinygrad_vi.compiler.known import DEFINED
from tinygrad_vi.compiler.numpy_layout import Names
from tinygrad_vi.compiler.numpy_source import numpy_source
from tinygrad_vi.compiler.program import Question
from tinygrad_vi.compiler.tables import stages_of
from tinygrad_vi.rows import Operation

#: numbers in the arrays of one call, about: larger batches are run in parts
AT_ONCE = 4_000_000
NEVER_RAISING = {op.value for op in DEFINED if isinstance(op, Operation)}


class NumpyRunner:
    """A question, ready to be asked: ``runner(theta, arrays)``."""

    def __init__(self, question: Question, names: Names, what: str) -> None:
        import numpy as np

        self.np, self.question, self.flagged, self.checks = np, question, question.flagged, question.checks
        with_gradient = what == "value_and_gradient"
        name = what if with_gradient else "results"
        namespace: dict[str, Any] = {}
        exec(compile(numpy_source(question, names, name), "<the NumPy text of a compiled function>", "exec"), namespace)
        for name, function in namespace.items():
            if isinstance(function, np.vectorize) and function.pyfunc not in NEVER_RAISING:  # a row of the user's own
                namespace[name] = np.vectorize(nan_where_it_raises(function.pyfunc), otypes=[float])
        self.function: Callable[..., Any] = namespace[name]
        self.with_gradient = with_gradient
        nodes = question.form.live([node for _, node in question.outputs])
        mapped = sum(question.form.mapped[node] for node in nodes)
        self.part = max(128, AT_ONCE // (mapped + 1)) if _additive(question, nodes) else None

    def __call__(self, theta: Any, arrays: Sequence[Any]) -> Any:
        """The outputs, (outputs,), or (outputs, N) when they are mapped; and their sum, which is finite if they are."""
        with self.np.errstate(all="ignore"):
            found = self._in_parts(theta, arrays, len(arrays[0]) if arrays else 1)
            return found, float(self.np.add.reduce(found, axis=None))

    def bind(self, arrays: Sequence[Any]) -> Callable[[Any], Any]:
        """The same for these data: a function of theta."""
        return lambda theta: self(theta, arrays)

    def _in_parts(self, theta: Any, arrays: Sequence[Any], N: int) -> Any:
        if self.part is None or self.part >= N:
            return self._call(theta, arrays, N)
        starts = range(0, N, self.part)
        parts = [[array[start : start + self.part] for array in arrays] for start in starts]
        found = [self._call(theta, part, len(part[0])) for part in parts]
        if self.question.mapped:
            return self.np.concatenate(found, axis=1)
        return sum(len(part[0]) / N * outputs for part, outputs in zip(parts, found, strict=True))

    def _call(self, theta: Any, arrays: Sequence[Any], N: int) -> Any:
        found = self.function(theta, *arrays)
        if self.with_gradient:
            value, gradient = found
            outputs = self.np.empty(1 + len(gradient))  # concatenate takes three times as long
            outputs[0], outputs[1:] = value, gradient
            return outputs
        return self.np.broadcast_to(found, (len(found), N)).copy() if self.question.mapped else found[:, 0]


def nan_where_it_raises(value: Callable[..., float]) -> Callable[..., float]:
    """NaN where it raises, as NumPy's own functions do; the flag of the checks tells of it."""

    def quiet(*operands: float) -> float:
        try:
            return value(*operands)
        except (ArithmeticError, ValueError):
            return math.nan

    return quiet


def _additive(question: Question, nodes: Sequence[int]) -> bool:
    """Whether the outputs for a batch are the means of those for its parts: nothing is computed from a sum over it."""
    stage = stages_of(question.form, nodes)
    return all(stage[operand] == 0 for node in nodes for operand in question.form.operands(node))
