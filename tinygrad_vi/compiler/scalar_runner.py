"""Running a program of single numbers as plain Python: where there are no arrays, NumPy's lines are its slowest part.

An equation of motion, step after step, becomes thousands of lines of one number each.  A line of NumPy takes a
microsecond to begin, one of Python floats a twentieth of that.  The operations are the engine's own, on floats.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from tinygrad_vi import ops
from tinygrad_vi.compiler.lift import lift
from tinygrad_vi.compiler.numpy_runner import nan_where_it_raises
from tinygrad_vi.compiler.program import Question
from tinygrad_vi.compiler.terms import ONE, SUM_KINDS, TOTAL, Term
from tinygrad_vi.rows import Operation

#: nodes of an instruction, on the average, from which on NumPy's lines are worth it
ARRAYS = 3


def of_numbers(question: Question) -> bool:
    """Whether nothing in a program is computed for each example, and little in arrays."""
    form = question.form
    if question.inputs or question.mapped:
        return False
    nodes = form.live([node for _, node in question.outputs])
    if any(form.mapped[node] for node in nodes):
        return False
    return len(nodes) < ARRAYS * len(lift(form, [node for _, node in question.outputs]))


class ScalarRunner:
    """A question, ready to be asked: ``runner(theta, arrays)``."""

    def __init__(self, question: Question) -> None:
        self.flagged, self.checks = question.flagged, question.checks
        text, called = _text(question)
        namespace: dict[str, Any] = {name: nan_where_it_raises(op.value) for op, name in called.items()}
        namespace.update(inf=math.inf, nan=math.nan)
        exec(compile(text, "<the text of a compiled function>", "exec"), namespace)
        self.function: Callable[[list[float]], list[float]] = namespace["results"]

    def __call__(self, theta: Any, _: Sequence[Any]) -> tuple[Any, float]:
        """The outputs, an array (outputs,), and their sum, which is finite if they are."""
        found = self.function(theta.tolist())
        return np.array(found, dtype=float), sum(found)

    def bind(self, arrays: Sequence[Any]) -> Callable[[Any], Any]:
        """The same for these data: a function of theta."""
        return lambda theta: self(theta, arrays)


def _text(question: Question) -> tuple[str, dict[Operation, str]]:
    """A function of the list of parameters, and the names of the operations that it calls."""
    form, lines = question.form, ["def results(theta):"]
    called: dict[Operation, str] = {}

    def call(op: Operation, operands: Iterable[str]) -> str:
        return f"{called.setdefault(op, f'f{len(called)}')}({', '.join(operands)})"

    for node in form.live([node for _, node in question.outputs]):
        kind, argument = form.kinds[node], form.arguments[node]
        if kind == "parameter":
            text = f"theta[{argument}]"
        elif isinstance(kind, Operation):
            text = call(kind, map(_name, argument))
        elif kind == TOTAL:
            text = call(ops.total_row.operation, map(_term, argument))
        else:
            assert kind in SUM_KINDS, "a function without data has no inputs and no share"
            text = " + ".join(map(_term, argument))
        lines.append(f"    v{node} = {text}")
    outputs = [_term((c, node, ONE)) for c, node in question.outputs]
    return "\n".join([*lines, f"    return [{', '.join(outputs)}]", ""]), called


def _name(node: int) -> str:
    return "1.0" if node == ONE else f"v{node}"


def _term(term: Term) -> str:
    """The product of the nodes, and then the coefficient: it would take a single one of them out of the range."""
    c, u, v = term
    factors = [_name(node) for node in (u, v) if node != ONE]
    return " * ".join(factors + ([f"({c!r})"] if c != 1.0 or not factors else []))
