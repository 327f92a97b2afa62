"""The chain rule on a graph: the nodes and the paths between x and y, and the numbers along them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tinygrad_vi.sweep import adjoints
from tinygrad_vi.tape import Tape
from tinygrad_vi.value import Value


@dataclass(frozen=True)
class Factor:
    """The number ∂of/∂by.

    operand: the place of ``by`` among the operands of ``of``, when it is the derivative by this operand alone; None
    when it is all of ∂of/∂by, which another step or a stop gives.
    """

    of: Value
    by: Value
    number: float
    operand: int | None = None


@dataclass(frozen=True)
class Step:
    """∂y/∂node as a sum of products, and the number that the reverse sweep finds for it."""

    node: Value
    products: Sequence[Sequence[Factor]]
    derivative: float

    @property
    def contributions(self) -> list[float]:
        """The products: what each of them adds to the derivative."""
        return [multiplied(product) for product in self.products]


def check_value(v: Any, role: str) -> None:
    """Raises TypeError unless v is a Value; role: what it was given for."""
    if not isinstance(v, Value):
        raise TypeError(f"derive takes Values, got {v!r:.60} of type {type(v).__name__} for {role}")


def multiplied(product: Sequence[Factor]) -> float:
    """The factors multiplied from y down; as in the sweep, what is 0 stays 0, even before an infinite factor."""
    flow = 1.0
    for factor in product:
        if flow == 0.0:
            break
        flow *= factor.number
    return flow


# --- The graph between x and y ----------------------------------------------------------------------------------------


class Search:
    """Finds the nodes and the paths between x and y, and the numbers along them."""

    def __init__(self, y: Value, x: Value, stops: Sequence[Value]) -> None:
        self.y, self.x = y, x
        self.tape = Tape(y)
        self.check_stops(stops)
        self.stops = {*stops}
        self.adjoint = {x: 0.0} | adjoints(self.tape.operations, {y: 1.0})
        #: how many paths lead from x to each node, and the uses of each node on them
        self.count: dict[Value, int] = {x: 1}
        self.uses: dict[Value, list[Factor]] = {}
        for node in self.tape.operations:
            edges = [
                Factor(node, parent, partial, i)
                for i, (parent, partial) in enumerate(zip(node.parents, node.local_grads, strict=True))
                if parent in self.count and parent not in self.stops
            ]
            if edges and node is not x:
                self.count[node] = sum(self.count[edge.by] for edge in edges)
                for edge in edges:
                    self.uses.setdefault(edge.by, []).append(edge)
        self.ends = [v for v in self.count if v is y or v in self.stops]

    def check_stops(self, stops: Sequence[Value]) -> None:
        """Raises ValueError for a stop that is x or not in the graph of y."""
        known = {self.y, *self.tape.operations, *(v for node in self.tape.operations for v in node.parents)}
        for v in stops:
            if v is self.x:
                raise ValueError(f"x is itself a stop, so nothing would be left to derive: {v!r}")
            if v not in known:
                raise ValueError(f"cannot stop at {v!r}: it is not in the graph of y")

    def longest(self) -> int:
        """How many edges the longest path has."""
        length = dict.fromkeys(self.count, 0)
        for node in self.count:
            for edge in self.uses.get(node, ()):
                length[edge.of] = max(length[edge.of], length[node] + 1)
        return max(length.values())

    def known(self, node: Value) -> list[Factor]:
        """∂y/∂node as a factor, which for y is none."""
        return [] if node is self.y else [Factor(self.y, node, self.adjoint[node])]

    def sum_over_paths(self) -> Step:
        """All paths, from left to right; the search keeps its own stack, so they may be long."""
        below: dict[Value, list[Factor]] = {}
        for edge in (edge for node in self.count for edge in self.uses.get(node, ())):
            below.setdefault(edge.of, []).append(edge)
        products: list[list[Factor]] = []
        for end in reversed(self.ends):
            product = self.known(end)
            # edges still to follow, each with the number of factors before it
            stack = [(edge, len(product)) for edge in _right_to_left(below[end])]
            while stack:
                edge, depth = stack.pop()
                product[depth:] = [edge]
                if edge.by is self.x:
                    products.append([*product])
                else:
                    stack += [(lower, depth + 1) for lower in _right_to_left(below[edge.by])]
        return Step(self.x, products, self.adjoint[self.x])

    def node_by_node(self) -> Iterator[Step]:
        """The derivative by each node between y and x, from those by the nodes that use it."""
        ends = {*self.ends}
        for node in reversed(self.count):
            if node not in ends:
                products = [[*self.known(edge.of), edge] for edge in self.uses[node]]
                yield Step(node, products, self.adjoint[node])


def _right_to_left(edges: Iterable[Factor]) -> list[Factor]:
    return sorted(edges, key=lambda edge: -(edge.operand or 0))


def made_of(x: Value, tape: Tape) -> dict[Value, None]:
    """x and every node that depends on it, in the order of the tape."""
    found = {x: None}
    for node in tape.operations:
        if not found.keys().isdisjoint(node.parents):
            found[node] = None
    return found
