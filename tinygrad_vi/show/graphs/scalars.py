"""Computation graphs as pictures, as micrograd draws them: boxes are values, circles are operations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from tinygrad_vi.checks import ShapeError
from tinygrad_vi.graph import NOT_COMPUTED, check_unchanged, topological_order
from tinygrad_vi.show.writing.numerals import write_number
from tinygrad_vi.tape import by_level
from tinygrad_vi.value import Value

if TYPE_CHECKING:
    from graphviz import Digraph
from tinygrad_vi.show.palette import CONSTANT, INPUT, OPERATION, OUTPUT, PATH, PATH_WIDTH, RESULT
from tinygrad_vi.show.paper import Drawing, bracketed, draw_box, new_digraph, shorten

DIRECTIONS = ("LR", "TB")
LEVELS = ("scalar", "neuron", "layer")

#: the role of a value that is used more than once; the roles of operations stand in their rows
COPY_ROLE = "copy: adder"


def draw(
    output: Value | Sequence[Value],
    *,
    local: bool = False,
    direction: str = "LR",
    highlight: Value | None = None,
    roles: bool = False,
    max_nodes: int = 400,
    digits: int = 4,
    level: str = "scalar",
    model: Any = None,
    max_units: int = 10,
) -> Drawing:
    """Draw the graph of one or several outputs.

    local: write the local derivative on each edge, with its ``×``: what the gradient is multiplied by on the way back.
    direction: "LR" or "TB", from left to right or from the top down.  highlight: mark all paths from this Value.
    roles: write what each gate does in the backward pass.  digits: significant digits of the numbers.  A gradient that
    no backward pass has computed yet shows as ``grad —``.

    level: "scalar" draws every value.  "neuron" and "layer" gather the graph of a network: the sums of weights times
    inputs, with the activations after them, are its neurons, and what was computed for many examples or time steps is
    one box with ``×100 examples``.  Each box says how many values and operations it hides, and the root mean square of
    its parameters' gradient; edges say for how many scalar edges they stand.  Parameters are known by their labels, as
    in W1[0,2], w0 and b1[0].  model: a Module, or a list of parameters, where labels do not say it.  max_units: of
    larger layers the middle neurons are one box.

    Raises ValueError for a graph of more than ``max_nodes`` values at the scalar level, an unknown direction or level,
    a highlighted Value that is not in the graph, and for a graph in which no neurons can be found; TypeError for an
    output that is no Value, ShapeError for none; ImportError when the package graphviz is missing.

    >>> x = Value(3.0, "x")
    >>> draw(x * x)
    <Drawing of 2 values and 1 operation; .save("graph.svg") writes it>
    """
    if direction not in DIRECTIONS:
        raise ValueError(f'direction must be "LR" or "TB", got {direction!r}')
    if level not in LEVELS:
        raise ValueError(f'level must be "scalar", "neuron" or "layer", got {level!r}')
    outputs = list(output) if isinstance(output, Iterable) else [output]
    if not outputs:
        raise ShapeError("there is nothing to draw: the list of outputs is empty")
    for v in outputs:
        if not isinstance(v, Value):
            raise TypeError(f"draw takes a Value or a list of Values, got {v!r} of type {type(v).__name__}")
    if level != "scalar":
        if local or roles or highlight is not None:
            raise ValueError(f'local, roles and highlight are for level="scalar", got level={level!r}')
        from tinygrad_vi.show.graphs.levels import draw_level

        return draw_level(outputs, level, model, direction=direction, max_units=max_units, digits=digits)
    if model is not None:
        raise ValueError('model names the parameters for level="neuron" and level="layer"; level is "scalar"')
    sketch = _Sketch(outputs, max_nodes, local, highlight, roles, digits)
    operations = sum(node.op is not None for node in sketch.nodes)
    counts = [f"{n} {noun}{'s' * (n != 1)}" for n, noun in ((len(sketch.nodes), "value"), (operations, "operation"))]
    return Drawing(sketch.digraph(direction), " and ".join(counts))


class _Sketch:
    """Turns a graph into a Digraph.  A node's id is its position, so equal graphs give equal pictures."""

    def __init__(
        self, outputs: list[Value], max_nodes: int, local: bool, highlight: Value | None, roles: bool, digits: int
    ) -> None:
        results = by_level(topological_order(outputs))
        check_unchanged(results)
        operands = dict.fromkeys([*(v for node in results for v in node.parents), *outputs])
        self.nodes = [*(v for v in operands if not v.parents), *results]
        if len(self.nodes) > max_nodes:
            raise ValueError(
                f"the graph has {len(self.nodes)} values, more than max_nodes = {max_nodes}: draw {_from_afar(outputs)}"
                f"a smaller part, such as one neuron or one example, or call draw(..., max_nodes={len(self.nodes)})"
            )
        self.outputs = set(outputs)
        # a sweep does not touch leaves that it does not reach: their gradient is then 0
        self.swept = all(output.grad is not NOT_COMPUTED for output in outputs)
        self.uses = Counter(parent for node in self.nodes for parent in node.parents)
        self.on_path: set[Value] = set() if highlight is None else self._reached_from(highlight)
        self.local, self.roles, self.digits = local, roles, digits

    def _reached_from(self, start: Value) -> set[Value]:
        if start not in {*self.nodes}:
            raise ValueError(f"cannot highlight {start!r}: it is not in the graph")
        reached = {start}
        for node in self.nodes:
            if not reached.isdisjoint(node.parents):
                reached.add(node)
        return reached

    def digraph(self, direction: str) -> Digraph:
        graph = new_digraph(rankdir=direction, nodesep="0.25", ranksep="0.35")
        for i, node in enumerate(self.nodes):
            self._draw_value(graph, f"v{i}", node)
        position = {node: i for i, node in enumerate(self.nodes)}
        for i, node in enumerate(self.nodes):
            if node.op is not None:
                self._draw_operation(graph, f"o{i}", f"v{i}", node, [f"v{position[p]}" for p in node.parents])
        return graph

    def _draw_value(self, graph: Digraph, name: str, node: Value) -> None:
        constant = not node.parents and not node.label and node not in self.outputs
        label = shorten(str(node.label))
        lines = [label] if label else []
        lines += (
            [write_number(node.data, self.digits)] if constant else [f"data {write_number(node.data, self.digits)}"]
        )
        if not constant:
            lines.append(f"grad {self._grad(node)}")
        if self.roles and self.uses[node] > 1:
            lines.append(COPY_ROLE)
        kind = OUTPUT if node in self.outputs else RESULT if node.parents else CONSTANT if constant else INPUT
        style = {"shape": "box", "peripheries": "2" if kind is OUTPUT else "1"}
        style["style"] = "filled,dashed" if constant else "filled,rounded"
        self._draw_box(graph, name, lines, kind, style, node in self.on_path)

    def _draw_operation(self, graph: Digraph, name: str, result: str, node: Value, operands: list[str]) -> None:
        assert node.op is not None
        lines = [node.op.symbol]
        if self.roles and node.op.role:
            lines.append(node.op.role)
        shape = "box" if len(lines) > 1 else "circle" if len(node.op.symbol) <= 2 else "ellipse"
        marked = node in self.on_path and not self.on_path.isdisjoint(node.parents)
        self._draw_box(
            graph,
            name,
            lines,
            OPERATION,
            {"shape": shape, "style": "filled,rounded" if shape == "box" else "filled"},
            marked,
        )
        for parent, operand, partial in zip(node.parents, operands, node.local_grads, strict=True):
            caption = {"label": f" ×{bracketed(write_number(partial, self.digits))} "} if self.local else {}
            graph.edge(operand, name, **caption, **self._edge_style(marked and parent in self.on_path))
        graph.edge(name, result, **self._edge_style(marked))

    def _draw_box(
        self, graph: Digraph, name: str, lines: list[str], colors: tuple[str, str], style: dict[str, str], marked: bool
    ) -> None:
        if marked:
            style |= {"penwidth": PATH_WIDTH}
            colors = colors[0], PATH
        draw_box(graph, name, lines, colors, **style)

    def _edge_style(self, marked: bool) -> dict[str, str]:
        return {"color": PATH, "penwidth": PATH_WIDTH} if marked else {}

    def _grad(self, node: Value) -> str:
        if node.grad is NOT_COMPUTED and not self.swept:
            return "—"
        return write_number(getattr(node.grad, "data", node.grad), self.digits)


def _from_afar(outputs: list[Value]) -> str:
    """The advice to draw neurons or layers, where the graph has any."""
    from tinygrad_vi.show.graphs.boxes import collapse

    try:
        collapse(outputs)
    except ValueError:
        return ""
    return 'its layers or neurons with draw(..., level="layer") or level="neuron", '
