"""Run a form one node at a time, on NumPy arrays: what every faster way of running it is compared with."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Any

from tinygrad_vi import rows
from tinygrad_vi.compiler.form import ONE, SUM_KINDS, TOTAL, Form
from tinygrad_vi.rows import Operation


def evaluate(form: Form, outputs: Sequence[tuple[float, int]], parameters: Any, inputs: Any) -> list[Any]:
    """The outputs, each coefficient * node: a number, or an array with one entry for each example.

    parameters: shape (P,).  inputs: shape (number of inputs, number of examples).  The operations are the table's own,
    entry by entry, so that a form computes what the eager engine computes.
    """
    import numpy as np

    parameters, inputs = np.asarray(parameters, dtype=float), np.asarray(inputs, dtype=float)
    examples = inputs.shape[1:]
    share = np.full(examples, 1.0 / math.prod(examples))
    values: dict[int, Any] = {ONE: np.float64(1.0)}
    for node in form.live([node for _, node in outputs]):
        kind, argument = form.kinds[node], form.arguments[node]
        if isinstance(kind, Operation):
            values[node] = np.asarray(_entrywise(kind, len(argument))(*[values[u] for u in argument]), dtype=float)
        elif kind in SUM_KINDS:
            terms = [c * (values[u] * values[v]) for c, u, v in argument]
            if not form.mapped[node]:
                terms = [np.sum(term) for term in terms]
            added = _entrywise(rows.OPERATIONS["total"], len(terms))(*terms) if kind == TOTAL else sum(terms)
            values[node] = np.broadcast_to(np.asarray(added, dtype=float), examples if form.mapped[node] else ())
        elif kind == "share":
            values[node] = share
        else:
            values[node] = parameters[argument] if kind == "parameter" else inputs[argument]
    return [c * values[node] for c, node in outputs]


@cache
def _entrywise(op: Operation, operands: int) -> Any:
    import numpy as np

    return np.frompyfunc(op.value, operands, 1)
