"""Lifting: nodes of one shape become one vector instruction.

The shape of a node is what it does to which shapes: its kind, and how many of its operands are of which shape, with
all parameters alike and all inputs alike.  The sixteen units of a layer have one shape, so they are one instruction; so
have their deltas, and the entries of a weight's gradient.  Coefficients do not count: they are data, as parameters are.

Shapes are numbered in the order in which they are first met, operands before what uses them.  A node cannot have the
shape of one of its own operands, so instructions in the order of their shapes are a program.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from tinygrad_vi.compiler.form import Form
from tinygrad_vi.compiler.terms import DOT, ONE, ORDERED, SUM_KINDS, Kind
from tinygrad_vi.rows import Operation

#: the shapes of leaves
CONSTANT, SHARE, PARAMETER, INPUT = -4, -3, -2, -1
LEAVES = {"one": CONSTANT, "share": SHARE, "parameter": PARAMETER, "input": INPUT}
NAMES = {CONSTANT: "1", SHARE: "share", PARAMETER: "parameter", INPUT: "input"}


@dataclass(frozen=True)
class Instruction:
    """One vector instruction: nodes of one shape, which can be computed at once.

    kind: one of SUM_KINDS or the row of a map.  operands: of a map the shape of each operand; of a sum, for each pair
    of shapes that is multiplied, how often (of an ordered sum one pair after the other).  mapped: whether the nodes
    have a value for each example.
    """

    kind: Kind
    operands: tuple[Any, ...]
    mapped: bool
    nodes: tuple[int, ...]

    def __str__(self) -> str:
        if isinstance(self.kind, Operation):
            text = f"{self.kind.name}({', '.join(map(_name, self.operands))})"
        else:
            text = " + ".join(f"{n} {_name(u)}*{_name(v)}".replace("*1", "") for (u, v), n in self.operands)
            text = text if self.kind == DOT else f"{self.kind}({text})"
        return f"{len(self.nodes)} x {text}{' for each example' if self.mapped else ''}"


def _name(shape: int) -> str:
    return NAMES.get(shape) or f"@{shape}"


def lift(form: Form, outputs: Iterable[int]) -> list[Instruction]:
    """The instructions that compute the outputs, in order.

    >>> form = Form()
    >>> w = [[form.parameter(3 * i + j) for j in (0, 1)] for i in range(5)]
    >>> b = [form.parameter(3 * i + 2) for i in range(5)]
    >>> x = [form.input(j) for j in (0, 1)]
    >>> units = [(w[i][0] * x[0] + w[i][1] * x[1] + b[i]).tanh() for i in range(5)]
    >>> for i, instruction in enumerate(lift(form, [unit.node() for unit in units])):
    ...     print(f"@{i}: {instruction}")
    @0: 5 x 1 parameter + 2 input*parameter for each example
    @1: 5 x tanh(@0) for each example
    """
    shape_of: dict[int, int] = {ONE: CONSTANT}
    shapes: dict[tuple[Any, ...], int] = {}
    members: list[list[int]] = []
    for node in form.live(outputs):
        kind, argument = form.kinds[node], form.arguments[node]
        if isinstance(kind, str) and kind in LEAVES:
            shape_of[node] = LEAVES[kind]
            continue
        if kind in SUM_KINDS:
            pairs = [tuple(sorted((shape_of[u], shape_of[v]), reverse=True)) for _, u, v in argument]
            operands: tuple[Any, ...] = (
                tuple([(pair, 1) for pair in pairs]) if kind == ORDERED else tuple(sorted(Counter(pairs).items()))
            )
        else:
            operands = tuple([shape_of[u] for u in argument])
        shape = shapes.setdefault((kind, operands, form.mapped[node]), len(members))
        if shape == len(members):
            members.append([])
        members[shape].append(node)
        shape_of[node] = shape
    return [
        Instruction(kind, operands, mapped, tuple(nodes))
        for (kind, operands, mapped), nodes in zip(shapes, members, strict=True)
    ]


def check(form: Form, outputs: Iterable[int], program: list[Instruction]) -> None:
    """Raise AssertionError when a program breaks its rules: for tests, after the pass."""
    computed = {ONE} | {node for node in range(len(form)) if str(form.kinds[node]) in LEAVES}
    for instruction in program:
        for node in instruction.nodes:
            assert node not in computed, f"%{node} is computed twice"
            assert computed.issuperset(form.operands(node)), f"%{node} is computed before its operands"
            assert form.kinds[node] == instruction.kind, f"%{node} is of another kind than its instruction"
            assert form.mapped[node] == instruction.mapped, f"%{node} is mapped otherwise than its instruction"
        computed.update(instruction.nodes)
    assert computed.issuperset(outputs), "an output is not computed"
