"""Circuits in the style of the CS231n notes: gates on wires, values above the wires and gradients below them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from tinygrad_vi import checks, ops
from tinygrad_vi.checks import ShapeError, counted, whole_number
from tinygrad_vi.graph import check_unchanged, not_finite, topological_order
from tinygrad_vi.rows import ATOM
from tinygrad_vi.show.graphs.scalars import COPY_ROLE
from tinygrad_vi.show.palette import FAINT, GRADIENT, LINE, OPERATION, SOFT, VALUE
from tinygrad_vi.show.paper import (
    FONT,
    FONT_SIZE,
    Drawing,
    bracketed,
    colored,
    new_digraph,
    plain_label,
    shorten,
    text_width,
)
from tinygrad_vi.show.writing.formula import Symbol
from tinygrad_vi.show.writing.numerals import true_product, true_sum, write_number
from tinygrad_vi.sweep import adjoints
from tinygrad_vi.tape import by_level
from tinygrad_vi.value import Value

if TYPE_CHECKING:
    from graphviz import Digraph


SMALL = 9.0  # the size of the legend
BACK = {"color": GRADIENT, "style": "dashed", "dir": "back", "weight": "0"}
LEGEND = (("above a wire: its value", VALUE), ("below it, along the dashed arrows: its gradient", GRADIENT))


def draw_circuit(
    output: Value | Sequence[Value],
    *,
    upstream: float | Sequence[float] = 1.0,
    local: bool = False,
    roles: bool = False,
    max_gates: int = 100,
    digits: int = 4,
) -> Drawing:
    """Draw a computation as a circuit: values blue above the wires, gradients vermillion below, with dashed arrows.

        downstream gradient = local gradient * upstream gradient

    A value used several times passes a copy gate, and each branch shows what it sends back.  Constants that nobody
    labelled are written into their gate, ``1 / x``.  The gradients are those of a sweep of the drawing's own, and the
    ``grad`` of the Values stays as it is.

    output: one or several; the same Value given twice is a wire for each.  upstream: the gradient that comes in at the
    output, or one for each of several.  local: write that product below each wire, or the sum where branches meet.
    roles: write what each gate does to the gradient.  digits: significant digits of the numbers.

    Raises TypeError for an output that is no Value, ShapeError for a wrong number of upstream gradients, ValueError for
    more than ``max_gates`` gates, DomainError when the output is infinite or NaN.  (Stanford CS231n, lecture 4.)

    >>> x, y, z = Value(-2.0, "x"), Value(5.0, "y"), Value(-4.0, "z")
    >>> draw_circuit((x + y) * z)
    <Drawing of a circuit of 2 gates; .save("graph.svg") writes it>
    """
    outputs: list[Any] = list(output) if isinstance(output, (list, tuple)) else [output]
    given = [upstream] * len(outputs) if isinstance(upstream, (int, float)) else list(upstream)
    circuit = _Circuit(outputs, given, local, roles, digits)
    whole_number(max_gates, "max_gates")
    if len(circuit.gates) > max_gates:
        raise ValueError(
            f"the circuit has {len(circuit.gates)} gates, more than max_gates = {max_gates}: draw a smaller part, such "
            f"as one neuron, or call draw_circuit(..., max_gates={len(circuit.gates)})"
        )
    graph = _new_graph()
    circuit.draw(graph, "")
    return Drawing(graph, f"a circuit of {counted(len(circuit.gates), 'gate')}")


#: where the wires and the gate of two operands are, in inches; and those of a copy gate
MEETING = {"w0": (-1.3, 0.4), "w1": (-1.3, -0.4), "w2g": (0, 0), "w2": (0.9, 0), "end0": (1.7, 0)}
BRANCHING = {
    "w0": (-1.3, 0),
    "w0copy": (-0.2, 0),
    "w0_0": (0.9, 0.4),
    "end0": (1.7, 0.4),
    "w0_1": (0.9, -0.4),
    "end1": (1.7, -0.4),
}


def draw_gates(*, digits: int = 4) -> Drawing:
    """Draw what the add, multiply, copy and max gates do to a gradient that comes back to them.

    >>> draw_gates()
    <Drawing of the add, multiply, copy and max gates; .save("graph.svg") writes it>
    """
    gates: list[tuple[str, list[Value], list[float]]] = [
        ("add gate: gradient distributor", [Value(3.0, "x") + Value(4.0, "y")], [2.0]),
        ("mul gate: swap multiplier", [Value(2.0, "x") * Value(3.0, "y")], [5.0]),
        ("copy gate: gradient adder", [Value(7.0, "x")] * 2, [4.0, 2.0]),
        ("max gate: gradient router", [ops.maximum(Value(4.0, "x"), Value(5.0, "y"))], [9.0]),
    ]
    graph = _new_graph(layout="neato", splines="line")
    for k, (title, outputs, upstream) in enumerate(gates):
        x0, y0 = 4.5 * (k % 2), -2.2 * (k // 2)
        frame = {"shape": "box", "style": "rounded", "color": FAINT, "width": "4.2", "height": "1.95"}
        graph.node(f"frame{k}", "", pos=f"{x0},{y0}!", **frame)
        graph.node(f"title{k}", title, shape="plain", pos=f"{x0},{y0 + 0.78}!")
        _Circuit(outputs, upstream, True, False, digits).draw(graph, f"g{k}")
        for node, (x1, y1) in (BRANCHING if len(outputs) > 1 else MEETING).items():
            graph.node(f"g{k}{node}", pos=f"{x0 + x1},{y0 + y1 - 0.15}!")
    return Drawing(graph, "the add, multiply, copy and max gates")


def _new_graph(**layout: str) -> Digraph:
    # by default from left to right, with the branches of a copy gate in the order of the sum before it
    layout = layout or {"rankdir": "LR", "nodesep": "0.3", "ranksep": "0.3", "ordering": "out"}
    # cells as wide as the texts are in any font
    cells = (f'<TD WIDTH="{text_width(text) * SMALL:.0f}">{colored(text, color)}</TD>' for text, color in LEGEND)
    label = f'<<TABLE BORDER="0" CELLBORDER="0"><TR>{"".join(cells)}</TR></TABLE>>'
    text = {"fontname": FONT, "fontsize": f"{SMALL:g}", "label": label, "labelloc": "b"}
    return new_digraph(**layout, **text)


class _Use(NamedTuple):
    """One use of a value: the gate it goes to, the gradient that comes back, and the product that this is."""

    end: str
    flow: float
    product: str = ""


class _Circuit:
    """Values as wires, operations as gates; which wires lead where, and the gradient on each."""

    def __init__(self, outputs: list[Value], upstream: list[float], local: bool, roles: bool, digits: int) -> None:
        if not outputs:
            raise ShapeError("a circuit needs at least one output, got an empty list")
        for v in outputs:
            if not isinstance(v, Value):
                raise TypeError(
                    f"draw_circuit takes a Value or a list of Values, got {v!r:.60} of type {type(v).__name__}"
                )
            if not math.isfinite(v.data):
                raise not_finite(v)
        if len(upstream) != len(outputs):
            raise ShapeError(
                f"give one upstream gradient for each output: there are {counted(len(outputs), 'output')} and "
                f"{counted(len(upstream), 'upstream gradient')}"
            )
        self.outputs, self.local, self.roles, self.digits = outputs, local, roles, digits
        self.upstream = [checks.number(u, "an upstream gradient") for u in upstream]
        self.gates = by_level(topological_order(outputs))
        check_unchanged(self.gates)
        seeds: dict[Value, Any] = {}
        for v, flow in zip(outputs, self.upstream, strict=True):
            seeds[v] = seeds.get(v, 0.0) + flow
        self.gradient = adjoints(self.gates, seeds)
        operands = dict.fromkeys([*(v for gate in self.gates for v in gate.parents), *outputs])
        leaves = [v for v in operands if not v.parents]
        labelled = any(v.label for v in leaves)
        self.constants = {v for v in leaves if labelled and not v.label}.difference(outputs)
        self.values = [*leaves, *self.gates]
        taken = {v.label for v in leaves}
        self.placeholder = next((c for c in ("x", "u", "s", "t") if c not in taken), "·")

    def draw(self, graph: Digraph, prefix: str) -> None:
        """Put the circuit into a graph; the names of its nodes begin with the prefix."""
        self.graph = graph
        self.names = {v: f"{prefix}{'wc'[v in self.constants]}{i}" for i, v in enumerate(self.values)}
        written = {v: self._formula(v) for v in self.gates}
        uses: dict[Value, list[_Use]] = {v: [] for v in self.values}
        for v in self.gates:
            for parent, partial in zip(v.parents, v.local_grads, strict=True):
                if not (written[v] and parent in self.constants):
                    flow = self.gradient[v] * partial if self.gradient[v] else 0.0
                    factors = true_product((partial, self.gradient[v]), flow, self.digits)
                    product = " × ".join(map(bracketed, factors)) + " = "
                    uses[parent].append(_Use(f"{self.names[v]}g", flow, product))
        for k, (v, flow) in enumerate(zip(self.outputs, self.upstream, strict=True)):
            uses[v].append(_Use(f"{prefix}end{k}", flow))
        for v in self.values:
            if uses[v]:
                self._draw_value(v, uses[v])
        for v in self.gates:
            self._draw_gate(f"{self.names[v]}g", written[v] or v.op.symbol, v.op.role)  # type: ignore[union-attr]
            self._connect(f"{self.names[v]}g", self.names[v], "w")
        for k in range(len(self.outputs)):
            graph.node(f"{prefix}end{k}", "", shape="point", style="invis", width="0.02")

    def _draw_value(self, v: Value, uses: Sequence[_Use]) -> None:
        """The wire of a value, and the branches behind its copy gate when it is used more than once."""
        name = self.names[v]
        if v in self.constants:
            for k, use in enumerate(uses):
                self._draw_wire(f"{name}_{k}", self._number(v.data), "", SOFT)
                self.graph.edge(f"{name}_{k}:m:e", use.end, color=LINE)
            return
        flows = [use.product * self.local + self._number(use.flow) for use in uses]
        if len(uses) == 1:
            self._draw_wire(name, self._number(v.data), flows[0], label=v.label)
            self._connect(name, uses[0].end, "e")
            return
        total = self._number(self.gradient[v])
        if self.local:
            terms = true_sum([use.flow for use in uses], self.gradient[v], self.digits)
            total = f"{' + '.join(terms).replace('+ -', '- ')} = {total}" if terms else total
        self._draw_wire(name, self._number(v.data), total, label=v.label)
        self._draw_gate(f"{name}copy", COPY_ROLE if self.roles else "copy", "")
        self._connect(name, f"{name}copy", "e")
        for k, (use, flow) in enumerate(zip(uses, flows, strict=True)):
            self._draw_wire(f"{name}_{k}", self._number(v.data), flow)
            self._connect(f"{name}copy", f"{name}_{k}", "w")
            self._connect(f"{name}_{k}", use.end, "e")

    def _formula(self, v: Value) -> str:
        """The gate's operation with its constants written in, or nothing where these need wires of their own."""
        assert v.op is not None
        variables = [p for p in v.parents if p not in self.constants]
        if len(variables) != 1 or v.op.binds == ATOM or len(v.parents) > 2:
            return ""
        operands = [Symbol(self.placeholder) if p is variables[0] else self._constant(p.data) for p in v.parents]
        return Symbol.record(v.op, *operands).text

    def _draw_wire(self, name: str, value: str, gradient: str, color: str = VALUE, label: str = "") -> None:
        """A line with a number above it and one below, as a table of three rows."""
        label = shorten(label)
        top = f"{label} = {value}" if label else value
        width = max(40.0, max(text_width(top), text_width(gradient)) * FONT_SIZE + 8)
        cell = f'<TD WIDTH="{width:.0f}" HEIGHT="15" FIXEDSIZE="TRUE"'
        rows = (
            f"{cell}>{colored(top, color)}</TD>",
            f'<TD PORT="m" HEIGHT="1" BGCOLOR="{LINE}"></TD>',
            f'{cell} PORT="b">{colored(gradient, GRADIENT)}</TD>',
        )
        table = "".join(f"<TR>{row}</TR>" for row in rows)
        form = 'BORDER="0" CELLBORDER="0" CELLSPACING="0" CELLPADDING="0"'
        self.graph.node(name, f"<<TABLE {form}>{table}</TABLE>>", shape="plain")

    def _connect(self, tail: str, head: str, side: str) -> None:
        """The arrows between a gate and the side of a wire: forward a solid line, back a dashed one."""
        if side == "e":
            self.graph.edge(f"{tail}:m:e", head, color=LINE)
            self.graph.edge(f"{tail}:b:e", head, **BACK)
        else:
            self.graph.edge(tail, f"{head}:m:w", color=LINE, arrowhead="none")
            self.graph.edge(tail, f"{head}:b:w", **BACK)

    def _draw_gate(self, name: str, text: str, role: str) -> None:
        lines = [text if "**" in text else text.replace("*", "×")]
        if self.roles and role:
            lines.append(role)
        width = max(map(text_width, lines)) * FONT_SIZE / 72 + 0.16
        shape = "box" if len(lines) > 1 else "circle" if width < 0.5 else "ellipse"
        size = {"fixedsize": "true", "width": "0.42"} if shape == "circle" else {"width": f"{1.12 * width:.2f}"}
        style = "filled,rounded" if shape == "box" else "filled"
        self.graph.node(
            name, plain_label(lines), shape=shape, style=style, fillcolor=OPERATION[0], color=OPERATION[1], **size
        )

    def _number(self, x: float) -> str:
        return write_number(x, self.digits)

    def _constant(self, x: float) -> Symbol:
        return Symbol.part(x, self.digits)
