"""From the record of Values to the canonical form."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

from tinygrad_vi import ops
from tinygrad_vi.compiler.algebra import SUMS, Expression, algebra_of
from tinygrad_vi.compiler.form import Form
from tinygrad_vi.compiler.known import DECIDING, SMOOTH
from tinygrad_vi.compiler.terms import LIGHT, ONE
from tinygrad_vi.conditions import NAMELESS
from tinygrad_vi.graph import topological_order
from tinygrad_vi.rows import Operation
from tinygrad_vi.value import Value


def from_record(
    outputs: Sequence[Value],
    params: Mapping[Value, int],
    inputs: Mapping[Value, int],
    order: Sequence[Value] | None = None,
) -> tuple[Form, list[Expression]]:
    """The canonical form of what Values recorded: the outputs as functions of parameters and inputs.

    Every other leaf is a constant.  A sum or product that is used once dissolves into what uses it; one that is used
    more often becomes a node, so that nothing is computed twice.  order: the recorded nodes, operands first, where they
    are known already.
    """
    form = Form()
    order = topological_order(outputs) if order is None else order
    uses = Counter(map(id, chain.from_iterable([node.parents for node in order])))  # a traced Value is not hashed there
    near, results = _near_corners(order), set(map(id, outputs))
    known: dict[Value, Expression] = {}
    for node in order:
        assert node.op is not None  # it stands in a topological order, so it was recorded
        if not (node.op.in_table or node.op in NAMELESS):
            raise TypeError(
                f"a compiled function finds an operation by its name, and {node.op.name!r} does not lead to this one: "
                "another one was made since. Give each a name of its own: @operation(name=..., partials=...)"
            )
        operands: list[Any] = [known.get(parent) for parent in node.parents]
        if None in operands:  # leaves that are met for the first time
            for leaf in node.parents:
                if leaf not in known:
                    known[leaf] = _leaf(form, leaf, params, inputs)
            operands = [known[parent] for parent in node.parents]
        if node in near:
            _keep_apart(node.op, operands)
        found = known[node] = operands[0].record(node.op, *operands)
        found.ordered = found.ordered or node in near
        if uses[id(node)] > 1 and found.reference()[0] not in LIGHT and found.number() is None:
            found.terms = [(1.0, found.node(), ONE)]  # the product, which all its users take
        found.used_up = node.op in SUMS and uses[id(node)] == 1 and id(node) not in results
    return form, [known.get(y) or _leaf(form, y, params, inputs) for y in outputs]


def _near_corners(order: Sequence[Value]) -> set[Value]:
    """The sums and products from which nothing but sums and products lead to a corner, or to the edge of a domain.

    An exact tie decides there: abs(x*y - z), maximum(a + b, c), 1/(a*b - c).  They are computed as they are written.
    """
    near: set[Value] = set()
    for node in reversed(order):
        op, deciding = node.op, list(node.parents)
        assert op is not None
        if node not in near:
            if op.key in SMOOTH or (algebra_of(op) is not None and op not in DECIDING):
                continue
            deciding = DECIDING.get(op, list)(deciding)
        near.update([parent for parent in deciding if parent.op is not None])
    return near


def _keep_apart(op: Operation, operands: Sequence[Expression]) -> None:
    """Near a corner a chain of sums is gathered from the left; a sum on the right of + or - is a node.

    Where both sides are sums, both are nodes: two equal sums are then computed by one rule, and their difference is 0.
    """
    if op is ops.total_row.operation:
        return
    first, *others = operands
    if op in (ops.add.operation, ops.sub.operation) and others[0].is_sum():
        first.close()
    for x in others:
        if len(x.terms) > 1:
            x.close()


def _leaf(form: Form, leaf: Value, params: Mapping[Value, int], inputs: Mapping[Value, int]) -> Expression:
    if leaf in params:
        return form.parameter(params[leaf])
    return form.input(inputs[leaf]) if leaf in inputs else form.constant(leaf.data)
