"""The two sweeps over a record: reverse mode and forward mode.

Each recorded node knows its operands (``parents``) and its partial derivative by each of them.  The chain rule needs
no more:

    adjoint of v  =  sum over the nodes w that use v  of  adjoint of w * dw/dv      reverse: from the result back
    tangent of w  =  sum over the operands v of w     of  tangent of v * dw/dv      forward: from the leaves on

Both walk the nodes in an order in which operands come first, which `graph.topological_order` finds; reverse mode starts
at its end.  When a node's turn comes, all that its derivative is the sum of has been added.

A derivative that is carried along is a float, or a Value if it is to be differentiated again.  `Value.backward` is the
reverse sweep once more, for floats alone, with ``grad`` as the place of the adjoint.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tinygrad_vi.value import Value


def adjoints(order: Sequence[Value], seeds: dict[Value, Any], create_graph: bool = False) -> dict[Value, Any]:
    """Reverse mode: the adjoint of each node that a seeded one depends on.

    order: the recorded nodes, operands first.  seeds: the adjoints to start with, 1.0 for the result itself.

    With ``create_graph`` the rules for the partials are applied to the Values themselves, where else the stored numbers
    are taken.  So the adjoints are Values and can be differentiated; those that are the same everywhere, such as
    d(x + y)/dx = 1, stay floats.
    """
    adjoint = dict(seeds)
    for node in reversed(order):
        if node not in adjoint:
            continue
        flow = adjoint[node]
        if flow.__class__ is float and flow == 0.0:  # nothing flows, not even to an infinite partial
            for parent in node.parents:
                adjoint.setdefault(parent, 0.0)
            continue
        found = products(node, [flow] * len(node.parents), create_graph)
        for parent, part in zip(node.parents, found, strict=True):
            adjoint[parent] = plus(adjoint.get(parent, 0.0), part)
    return adjoint


def tangents(order: Sequence[Value], seeds: Mapping[Value, Any], create_graph: bool = False) -> dict[Value, Any]:
    """Forward mode: the derivative of each node of ``order`` when the leaves move along ``seeds``.

    A leaf without a seed has the tangent 0.  With ``create_graph`` the tangents are Values, to be differentiated again.
    """
    tangent = dict(seeds)
    for node in order:
        flow: Any = 0.0
        for part in products(node, [tangent.get(parent, 0.0) for parent in node.parents], create_graph):
            flow = plus(flow, part)
        tangent[node] = flow
    return tangent


def products(node: Value, flows: Sequence[Any], as_values: bool) -> list[Any]:
    """The node's partial by each operand times a flow: one term of a chain rule for each operand."""
    rule = node.op.flows if as_values and node.op is not None else None
    found = []
    for i, (partial, flow) in enumerate(zip(partials_of(node, as_values), flows, strict=True)):
        if rule is None or isinstance(flow, float):
            found.append(times(partial, flow))
        else:  # of x / y, whose partials may leave the range of floats where this product does not
            found.append(rule(flow, node, *node.parents)[i])
    return found


def partials_of(node: Value, as_values: bool) -> Sequence[Any]:
    """The node's partial derivatives: the stored numbers, or the rule applied to Values."""
    if not as_values:
        return node.local_grads
    assert node.op is not None  # it stands in a topological order, so it was recorded
    return node.op.partials(node, *node.parents)  # type: ignore[no-any-return]


def times(x: Any, y: Any) -> Any:
    """x * y without recording a product by a constant 1 or 0.

    A partial that is 0 everywhere says that nothing depends on the operand: nothing flows, not even from an infinity.
    """
    for u, v in ((x, y), (y, x)):
        if isinstance(u, float) and not isinstance(v, float) and u in (0.0, 1.0):
            return v if u else u
    return x * y


def plus(x: Any, y: Any) -> Any:
    """x + y without recording a sum with a constant 0."""
    for u, v in ((x, y), (y, x)):
        if isinstance(u, float) and not isinstance(v, float) and u == 0.0:
            return v
    return x + y
