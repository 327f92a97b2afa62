"""A form of the compiler, run one node at a time on NumPy arrays: the judge of every faster way of running it."""

import math
from functools import cache

import numpy as np

from tinygrad_vi import rows
from tinygrad_vi.compiler.terms import ONE, SUM_KINDS, TOTAL
from tinygrad_vi.rows import Operation


def evaluate(form, outputs, parameters, inputs):
    """The outputs, each coefficient * node: a number, or an array with one entry for each example.

    parameters: shape (P,).  inputs: shape (number of inputs, number of examples).  The operations are the table's own,
    entry by entry, so that a form computes what the eager engine computes.
    """
    parameters, inputs = np.asarray(parameters, dtype=float), np.asarray(inputs, dtype=float)
    examples = inputs.shape[1:]
    share = np.full(examples, 1.0 / math.prod(examples))
    values = {ONE: np.float64(1.0)}
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
def _entrywise(op, operands):
    return np.frompyfunc(op.value, operands, 1)
