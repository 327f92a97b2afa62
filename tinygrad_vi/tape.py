"""Tape: the Wengert list of a Value, and the two ways to sweep it.

The record behind a Value, written as a list: first the inputs v[1-n], ..., v[0], then one row v[1], v[2], ... for each
operation, every row after its operands (numbered as in Griewank and Walther, *Evaluating Derivatives*, 2nd ed., §2.2).

Forward mode carries a tangent from the inputs down the list, reverse mode an adjoint from the output back up:

    tangent of v[i]  =  sum over its operands v[j]        of  tangent of v[j] * dv[i]/dv[j]
    adjoint of v[j]  =  sum over the rows v[i] that use it of  adjoint of v[i] * dv[i]/dv[j]

One forward sweep gives the derivatives of every row by one input; one reverse sweep gives those of one output by every
row.  For n inputs and one output that is n sweeps against one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tinygrad_vi.graph import check_recorded, check_unchanged, topological_order
from tinygrad_vi.sweep import adjoints, tangents
from tinygrad_vi.value import Value

if TYPE_CHECKING:
    from tinygrad_vi.show.tapes.table import Table


class Tape:
    """The Wengert list of ``output``: its inputs, then one row for each operation.

    inputs: the Values to differentiate by, in the order of their numbers; all labelled leaves when left out, or all
    leaves when none has a label.  Other leaves are constants and get no row.  An input may be the result of an
    operation: the tape begins there.  Rows are ordered by their distance from the inputs.

    Raises TypeError for an output or input that is no Value; ValueError for an input given twice, an output computed
    inside `no_grad`, and, as its sweeps and its table do, when a ``data`` was changed after recording.

    >>> x = Value(3.0, label="x")
    >>> tape = Tape(x * x + 1.0)
    >>> tape
    <Tape: 1 input, 2 operations, y = 10.0>
    >>> [tape.name(node) for node in tape]
    ['v₀', 'v₁', 'v₂']
    >>> tape.adjoint()[x]
    6.0
    """

    def __init__(self, output: Value, *, inputs: Iterable[Value] | None = None) -> None:
        self.output = _value(output, "the output")
        chosen = [_value(v, f"inputs[{i}]") for i, v in enumerate(() if inputs is None else inputs)]
        if len(set(chosen)) < len(chosen):
            raise ValueError("an input of a tape was given twice")
        if output not in set(chosen):
            check_recorded(output)
        self.operations = by_level(topological_order([output], chosen))
        check_unchanged(self.operations)
        if inputs is None:
            leaves = [v for node in self.operations for v in node.parents if not v.parents] or [output]
            chosen = [v for v in dict.fromkeys(leaves) if v.label] or list(dict.fromkeys(leaves))
        self.inputs = chosen
        self._number = {node: i for i, node in enumerate(self, start=1 - len(chosen))}

    def __iter__(self) -> Iterator[Value]:
        yield from self.inputs
        yield from self.operations

    def __len__(self) -> int:
        return len(self.inputs) + len(self.operations)

    def number(self, node: Value) -> int | None:
        """The number of the node's row: 1-n to 0 for inputs, 1, 2, ... for operations; None for a constant."""
        return self._number.get(node)

    def is_input(self, node: Value | None) -> bool:
        """Whether it is one of the inputs, and not merely a Value of the same number."""
        return any(node is x for x in self.inputs)

    def name(self, node: Value) -> str:
        """The name of the node's row, ``v₁``; for a constant its number."""
        number = self.number(node)
        return f"{node.data:g}" if number is None else "v" + str(number).translate(SUBSCRIPTS)

    @property
    def output_name(self) -> str:
        """The output's label, or the first of y, f, z, w, L that no input has."""
        taken = {v.label for v in self.inputs}
        return self.output.label or next((name for name in "yfzwL" if name not in taken), "output")

    def tangent(self, seeds: Mapping[Value | str, float] | None = None) -> Trace:
        """Forward mode: the tangent of every row, when the inputs move along ``seeds`` (input or label -> speed).

        Without seeds the first input moves with speed 1, so tangents are derivatives by it.
        Raises ValueError for a seed of something that is not an input, a label that several inputs have, or two seeds
        of one input.

        >>> a, b = Value(2.0, label="a"), Value(5.0, label="b")
        >>> tape = Tape(a * b)
        >>> tape.tangent({"b": 1.0})[tape.output]
        2.0
        """
        check_unchanged(self.operations)
        speeds = dict.fromkeys(self.inputs, 0.0)
        moved: set[Value] = set()
        for key, speed in (dict.fromkeys(self.inputs[:1], 1.0) if seeds is None else seeds).items():
            v = self.input(key)
            if v in moved:
                raise ValueError(
                    f"the input {v.label or self.name(v)} was given two seeds: by its label and as a Value"
                )
            moved.add(v)
            speeds[v] = float(speed)
        tangent = {self.output: 0.0} | tangents(self.operations, speeds)  # the output may be a constant
        terms = {
            node: [
                Term(node, i, float(tangent[parent]), partial)
                for i, (parent, partial) in enumerate(zip(node.parents, node.local_grads, strict=True))
                if parent in self._number
            ]
            for node in self.operations
        }
        return Trace(self, "tangent", tangent, terms)

    def adjoint(self, *, seed: float = 1.0) -> Trace:
        """Reverse mode: the adjoint of every row, d(output)/d(row) times ``seed``, all in one sweep."""
        check_unchanged(self.operations)
        adjoint = dict.fromkeys(self.inputs, 0.0) | adjoints(self.operations, {self.output: float(seed)})
        terms: dict[Value, list[Term]] = {}
        for node in reversed(self.operations):
            for i, (parent, partial) in enumerate(zip(node.parents, node.local_grads, strict=True)):
                if parent in self._number:
                    terms.setdefault(parent, []).append(Term(node, i, adjoint[node], partial))
        return Trace(self, "adjoint", adjoint, terms)

    def input(self, key: Value | str) -> Value:
        """The input with this label, or this very input.

        Raises ValueError when there is none, or several inputs have the label.
        """
        found = [v for v in self.inputs if v is key or (isinstance(key, str) and v.label == key)]
        if len(found) > 1:
            rows = ", ".join(map(self.name, found))
            raise ValueError(
                f"{len(found)} inputs of this tape have the label {key!r} ({rows}): give the Value itself, or label "
                "them apart before the tape is made"
            )
        if not found:
            known = ", ".join(v.label or self.name(v) for v in self.inputs)
            raise ValueError(f"{key!r} is not an input of this tape; its inputs are {known}")
        return found[0]

    def __repr__(self) -> str:
        n, m = len(self.inputs), len(self.operations)
        inputs, operations = "input" if n == 1 else "inputs", "operation" if m == 1 else "operations"
        return f"<Tape: {n} {inputs}, {m} {operations}, {self.output_name} = {self.output.data}>"

    def table(self, *, digits: int = 4) -> Table:
        """The rows with their formulas and values, as a table."""
        from tinygrad_vi.show.tapes.traces import tape_table

        check_unchanged(self.operations)
        return tape_table(self, digits)

    def __str__(self) -> str:
        return str(self.table())

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()


@dataclass(frozen=True)
class Term:
    """One product of the chain rule, for the edge between an operation and one of its operands.

    flow is the derivative at the edge's other node: the operand's tangent, or the operation's adjoint.
    """

    operation: Value
    operand: int
    flow: float
    partial: float

    @property
    def product(self) -> float:
        """What it contributes to the derivative of its row."""
        return self.flow * self.partial


@dataclass(frozen=True, repr=False)
class Trace:
    """The outcome of a sweep: a derivative for every row of the tape, and the terms it is the sum of.

    ``trace[v]`` is the derivative of a Value or an input's label; printing shows the textbook's table.
    """

    tape: Tape
    mode: str  # "tangent" or "adjoint"
    derivatives: Mapping[Value, float]
    terms: Mapping[Value, Sequence[Term]]

    def __getitem__(self, node: Value | str) -> float:
        return self.derivatives[self.tape.input(node) if isinstance(node, str) else node]

    @property
    def multiplications(self) -> int:
        """How many products of a derivative and a partial the sweep took: its cost, one for each edge between rows."""
        return sum(len(terms) for terms in self.terms.values())

    def table(self, *, digits: int = 4) -> Table:
        """The sweep as a table, which prints, and has ``to_markdown()``, ``to_latex()`` and ``to_html()``."""
        from tinygrad_vi.show.tapes.traces import trace_table

        return trace_table(self, digits)

    def __repr__(self) -> str:
        return str(self.table())

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()


SUBSCRIPTS = str.maketrans("-0123456789", "₋₀₁₂₃₄₅₆₇₈₉")


def _value(x: Any, role: str) -> Value:
    if not isinstance(x, Value):
        one = ": take one of them, such as outputs[0]" if isinstance(x, (list, tuple)) and role == "the output" else ""
        raise TypeError(f"a tape needs Values, got {x!r:.60} of type {type(x).__name__} for {role}{one}")
    return x


def by_level(order: list[Value]) -> list[Value]:
    """Nodes by their longest distance from the inputs, and from left to right within a level, as textbooks number."""
    level: dict[Value, int] = {}
    for node in order:
        level[node] = 1 + max(level.get(parent, 0) for parent in node.parents)
    left_to_right = order[::-1]  # the search had gone from right to left
    return sorted(left_to_right, key=level.__getitem__)
