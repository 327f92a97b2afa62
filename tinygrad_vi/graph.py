"""The record as a graph: its nodes in order, and what can be wrong with their numbers.

Results refer to their operands (``parents``), and never back.  So a graph is walked from its results to its leaves.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from tinygrad_vi.checks import DomainError

if TYPE_CHECKING:
    from tinygrad_vi.value import Value

#: The grad of a node that no backward pass has reached.  It is this one object, `grad is NOT_COMPUTED`, and equal to a
#: computed 0.0: drawings and optimisers tell the two apart.
NOT_COMPUTED = float("0.0")


class _Unrecorded(tuple[float, ...]):
    """No partial derivatives, because nothing was recorded: equal to the () of a leaf, but another object."""

    __slots__ = ()

    def __reduce__(self) -> str:
        return "UNRECORDED"


#: The local_grads of a result computed inside `no_grad`: `local_grads is UNRECORDED`.
UNRECORDED = _Unrecorded()


# --- Order ------------------------------------------------------------------------------------------------------------


def topological_order(
    outputs: Iterable[Value],
    inputs: Iterable[Value] = (),
    *,
    leaves: dict[Value, None] | None = None,
    before: dict[Value, Any] | None = None,
    entered: set[Value] | None = None,
) -> list[Value]:
    """Every recorded node that the outputs depend on, each after its parents; leaves are not among them.

    inputs: the search stops there, as at leaves.  leaves: a dictionary whose keys become the leaves, in the order in
    which they are found.  before: prepares the leaves for a sweep instead: their grad becomes a computed 0.0, but one
    that is not 0 stays, and is put in this dictionary.  entered: nodes where the search stops; those that it walks
    through are added.

    A depth-first search with a stack of its own, so that memory alone limits the depth.  Each node is entered once.
    When it is, the stack gets the node, None and the parents, in this order: once the parents are done, None comes to
    the top and says that the node below it is next in the order.
    """
    order: list[Value] = []
    entered = set() if entered is None else entered
    entered.update(inputs)
    stack: list[Any] = list(outputs)
    while stack:
        node = stack.pop()
        if node is None:
            order.append(stack.pop())
        elif node.parents:
            if node not in entered:
                entered.add(node)
                stack.append(node)
                stack.append(None)
                stack.extend(node.parents)
        elif before is not None:
            g = node.grad
            if g.__class__ is float and not g:
                node.grad = 0.0  # no longer NOT_COMPUTED
            else:
                before[node] = g
        elif leaves is not None:
            leaves[node] = None
    return order


def leaves_of(output: Value) -> dict[Value, None]:
    """The leaves that a result is made of, as keys."""
    leaves: dict[Value, None] = {}
    topological_order([output], leaves=leaves)
    return leaves


def below(outputs: Sequence[Value]) -> list[Value]:
    """All nodes that results are made of, and the results: first the leaves, then each node after its parents."""
    leaves: dict[Value, None] = {}
    order = topological_order(outputs, leaves=leaves)
    return [*leaves, *order]


# --- What can be wrong ------------------------------------------------------------------------------------------------


def check_recorded(output: Value) -> None:
    """Raise ValueError for a result that was computed inside `no_grad`: its derivatives are unknown, and not 0."""
    if output.local_grads is UNRECORDED:
        raise ValueError(
            f"{named(output)} was computed inside no_grad(): nothing was recorded, so it has no derivatives. Compute "
            "it outside of no_grad(); if it is a variable of its own, make it one: Value(v.data)"
        )


def check_unchanged(nodes: Iterable[Value]) -> None:
    """Raise ValueError when an operation no longer follows from its operands: a ``data`` was changed after recording.

    Rules applied to the Values again, and pictures that write the arithmetic out, would mix old numbers with new ones.
    ``nodes`` are recorded nodes in the order of computation; the error names the first that is wrong, with its numbers.
    """
    for node in nodes:
        op = node.op
        assert op is not None  # it was recorded
        xs = [v.data for v in node.parents]
        try:
            now = op.value(*xs)
            partials = op.constant_partials or op.partials(now, *xs)
        except (ArithmeticError, ValueError, TypeError):  # data may be anything now
            now, partials = math.nan, node.local_grads
        if not same(now, node.data):
            what, now, then = "", now, node.data
        elif different := [pair for pair in zip(partials, node.local_grads, strict=True) if not same(*pair)]:
            what, (now, then) = "a partial derivative of ", different[0]
        else:
            continue
        raise ValueError(
            f"the numbers were changed after the graph was recorded: {what}{op.name}({_operands(node)}) is {now!r}, "
            f"but {then!r} was recorded{' for ' + named(node) if node.label else ''}; run the computation again"
        )


def same(x: float, y: float) -> bool:
    """Whether two floats are the same, up to the last bits: the graph may come from a machine that rounds otherwise.

    0.0 and -0.0 are not the same.  NaN and NaN are.
    """
    if x == y:
        return x != 0.0 or math.copysign(1.0, x) == math.copysign(1.0, y)
    return math.isclose(x, y, rel_tol=1e-14) or (x != x and y != y)


def first_not_finite(output: Value) -> Value | None:
    """The first node, in the order of computation, whose value or partial derivatives are infinite or NaN."""
    for node in topological_order([output]) or [output]:
        for v in (*node.parents, node):
            if not math.isfinite(v.data) or not all(map(math.isfinite, v.local_grads)):
                return v
    return None


def not_finite(output: Value, found: str = "") -> DomainError:
    """The error for a result or a gradient that is infinite or NaN; it names the first node that was so.

    found: what was found, as a clause; by default that the result is infinite or NaN.
    """
    found = found or f"the result is {output.data}"
    culprit = first_not_finite(output)
    if culprit is None:
        return DomainError(
            f"{found}: it overflowed on the way back, though every value and partial derivative is finite"
        )
    label = f" (node {culprit.label!r})" if culprit.label else ""
    if culprit.op is None:
        return DomainError(f"{found} because the leaf{label} is {culprit.data}")
    partials = " with a partial derivative that is not finite" if math.isfinite(culprit.data) else ""
    return DomainError(
        f"{found}; it was first lost in {culprit.op.name}({_operands(culprit)}) = {culprit.data}{label}{partials}"
    )


def _operands(node: Value) -> str:
    shown = [f"{p.data!r}" + (f" (node {p.label!r})" if p.label else "") for p in node.parents[:4]]
    return ", ".join([*shown, "..."] if len(node.parents) > 4 else shown)


def named(node: Value) -> str:
    """How an error calls a Value: by its label, or else by its number."""
    return f"the Value {node.label!r}" if node.label else f"this Value ({node.data!r})"
