"""Computation graphs from further away: neurons or whole layers as boxes, which say what they hide.

Colours are those of the scalar graph: blue for what goes in, yellow for what computes, white with a double border for
what comes out.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tinygrad_vi.checks import counted, whole_number
from tinygrad_vi.graph import NOT_COMPUTED, check_unchanged, topological_order
from tinygrad_vi.ops import neg, power
from tinygrad_vi.rows import key_of
from tinygrad_vi.show.graphs.boxes import INPUTS, LOSS, PENALTY, SHARED, TOGETHER, UNIT, Box, Collapsed, collapse
from tinygrad_vi.show.palette import INPUT, LINE, OPERATION, OUTPUT, PAPER, RESULT
from tinygrad_vi.show.paper import Drawing, box_width, new_digraph, plain_label, shorten
from tinygrad_vi.show.writing.numerals import write_number
from tinygrad_vi.value import Value

if TYPE_CHECKING:
    from graphviz import Digraph


SMALL = 10.0  # points: boxes hold more lines than those of the scalar graph


def draw_level(
    outputs: Sequence[Value], level: str, model: Any, *, direction: str, max_units: int, digits: int
) -> Drawing:
    """The picture of `collapse`; see `tinygrad_vi.show.draw`."""
    whole_number(max_units, "max_units", least=2)
    check_unchanged(topological_order(outputs))
    found = collapse(outputs, model)
    words = _Words(found, digits)
    graph = (
        _draw_layers(found, words, direction)
        if level == "layer"
        else _Columns(found, words, max_units).digraph(direction)
    )
    sizes = words.hidden(found.boxes)
    return Drawing(graph, f"{counted(len(found.layers), 'layer')}, gathered from {sizes}")


# --- Words ------------------------------------------------------------------------------------------------------------


class _Words:
    """The texts of the boxes."""

    def __init__(self, found: Collapsed, digits: int) -> None:
        self.found, self.record, self.digits = found, found.record, digits
        # a sweep does not touch leaves that it does not reach: their gradient is then 0
        self.swept = all(output.grad is not NOT_COMPUTED for output in self.record.outputs)
        self.outputs = {self.record.place[v] for v in self.record.outputs}

    def times(self, copies: int, steps: int = 1) -> str:
        """``×3 steps × 100 examples``."""
        examples, longest = self.found.examples, max(layer.steps for layer in self.found.layers)
        if steps == 1 and longest > 1 and copies == examples * longest:
            steps = longest
        if copies not in (examples, examples * steps):
            return f"×{copies:,} uses"
        times = ((steps, "steps"), (examples, "examples"))
        return " ".join(f"×{count:,} {name}" for count, name in times if count > 1)

    def activation(self, boxes: Iterable[Box]) -> str:
        """The functions after the sums, by name: ``tanh``."""
        nodes = [self.record.nodes[i].op for box in boxes for i in box.nodes if i not in self.found.neurons.part_of]
        ops = list(dict.fromkeys(op for op in nodes if op is not None))
        functions = [op.name for op in ops if op.arity == 1 and op is not neg.operation and op.key is not power]
        functions = ["softmax"] if {*ops} >= {key_of("logsumexp"), key_of("exp")} else functions
        words = list(dict.fromkeys(functions or [op.symbol for op in ops]))
        return ", ".join(words[:3]) + (" …" if len(words) > 3 else "")

    def parameters(self, params: Sequence[int]) -> str:
        """``48 parameters W1, b1``."""
        weights_first = sorted(params, key=lambda p: p not in self.found.neurons.multiply)
        names = [self.found.neurons.names[p].base.split(".")[-1] for p in weights_first]
        words = list(dict.fromkeys(name for name in names if name))
        called = f" {shorten(', '.join(words))}" if 0 < len(words) < 6 else ""
        return counted(len(params), "parameter") + called

    def gradient(self, params: Iterable[int]) -> str:
        """The root mean square of the parameters' gradient."""
        grads = [self.record.nodes[p].grad for p in params]
        if not self.swept and any(grad is NOT_COMPUTED for grad in grads):
            return "grad —"
        numbers = [float(getattr(grad, "data", grad)) for grad in grads]
        return f"grad rms {write_number(math.hypot(*numbers) / math.sqrt(len(numbers)), self.digits)}"

    def data(self, boxes: Iterable[Box]) -> list[str]:
        """The value of the only output among the nodes."""
        found = [i for box in boxes for i in box.nodes if i in self.outputs]
        return [f"data {write_number(self.record.nodes[found[0]].data, self.digits)}"] if len(found) == 1 else []

    def hidden(self, boxes: Iterable[Box]) -> str:
        """``6,448 values, 3,200 operations``."""
        boxes = list(boxes)
        operations = sum(box.operations for box in boxes)
        values = counted(sum(box.values for box in boxes), "value")
        return f"{values}, {counted(operations, 'operation')}" if operations else values

    def group(self, boxes: Sequence[Box]) -> list[str]:
        """The text of all boxes of a layer, or of another kind, as one."""
        kind, k = boxes[0].kind, boxes[0].layer
        gradient = [self.gradient(self.found.layers[k].parameters)] if k >= 0 else []
        lines = self.rest(boxes) if kind in (PENALTY, LOSS) else [*self.head(boxes), *gradient, *self.data(boxes)]
        return [*lines, self.hidden(boxes)]

    def head(self, boxes: Sequence[Box]) -> list[str]:
        """What stands above the column of a layer or of the inputs."""
        kind, k = boxes[0].kind, boxes[0].layer
        if kind == INPUTS:
            copies = {sum(i in self.found.multiplied for i in box.nodes) for box in boxes if box.part != SHARED}
            times = self.times(copies.pop()) if len(copies) == 1 else ""
            return [counted(self.found.n_inputs, "input"), *filter(None, [times])]
        if k < 0:
            return ["after the last layer"]
        if kind == TOGETHER:
            return ["of the whole layer"]
        layer = self.found.layers[k]
        what = counted(len(layer.units), "neuron" if layer.gates == 1 else "unit")
        gates = f"{layer.gates} gates each" if layer.gates > 1 else ""
        functions = self.activation(box for box in self.found.boxes if box.layer == k)
        about = ", ".join(filter(None, [what, gates, functions]))
        times = self.times(layer.copies, layer.steps)
        return [layer.title, " · ".join(filter(None, [about, times])), self.parameters(layer.parameters)]

    def part(self, boxes: Sequence[Box]) -> list[str]:
        """The text of a box of a column, or of several as one."""
        box = boxes[0]
        if box.kind in (PENALTY, LOSS):
            lines = self.rest(boxes)
        elif box.kind == TOGETHER:
            lines = ["all together", self.activation(boxes)]
        elif len(boxes) > 1:
            lines = [f"⋮ {len(boxes)} more"]
        elif box.kind == INPUTS:
            lines = [self.input(box), *self.number(box)]
        else:
            lines = [f"{'neuron' if self.found.layers[box.layer].gates == 1 else 'unit'} {box.part}", *self.number(box)]
        gradient = [self.gradient([p for box in boxes for p in box.parameters])] if box.kind == UNIT else []
        return [*lines, *gradient, self.hidden(boxes)]

    def rest(self, boxes: Sequence[Box]) -> list[str]:
        """The text of a penalty or of what comes after the last layer."""
        labels = [shorten(output.label) for output in self.record.outputs]
        title = labels[0] if len(labels) == 1 and labels[0] else "loss" if len(labels) == 1 else "outputs"
        if boxes[0].kind == LOSS:
            return [title, *self.data(boxes)]
        names = self.found.neurons.names
        of = {p for box in boxes for i in box.nodes for p in self.record.operands[i] if p in names}
        return ["penalty", f"of {counted(len(of), 'parameter')}", *self.number(boxes[0])]

    def input(self, box: Box) -> str:
        """The label that all examples of an input have, or x1, x2, ..."""
        if box.part == SHARED:
            return "for several inputs"
        labels = {self.record.nodes[i].label for i in box.nodes if i in self.found.multiplied}
        label = shorten(labels.pop()) if len(labels) == 1 else ""
        return label or f"x{box.part + 1}"

    def number(self, box: Box) -> list[str]:
        """The last value of a box that was computed for one example only."""
        if max(layer.copies for layer in self.found.layers) > 1 and box.kind != PENALTY:
            return []
        return [f"data {write_number(self.record.nodes[box.nodes[-1]].data, self.digits)}"]

    def look(self, boxes: Sequence[Box]) -> dict[str, str]:
        """The colours of a box; where outputs are, a double border."""
        fill, border = {INPUTS: INPUT, PENALTY: RESULT, LOSS: OUTPUT}.get(boxes[0].kind, OPERATION)
        ends = any(not self.outputs.isdisjoint(box.nodes) for box in boxes)
        return {"fillcolor": fill, "color": border, "peripheries": "2" if ends else "1"}


def _put(graph: Digraph, node: str, lines: Sequence[str], **style: str) -> None:
    """A box wide enough for any font."""
    style = {"shape": "box", "style": "filled,rounded", "width": f"{_width(lines):.2f}", **style}
    graph.node(node, plain_label(lines), fontsize=f"{SMALL:g}", **style)


def _width(lines: Sequence[str]) -> float:
    """Of a box, in inches."""
    return box_width(lines, SMALL)


def _height(lines: Sequence[str]) -> float:
    """Of a box, in inches."""
    return 1.25 * SMALL * len(lines) / 72 + 0.14


# --- Pictures ---------------------------------------------------------------------------------------------------------


class _Edges:
    """How many scalar edges lead from one drawn thing to another, and how many of them begin at a parameter."""

    def __init__(self, found: Collapsed, name: Sequence[str]) -> None:
        self.count: Counter[tuple[str, str]] = Counter()
        self.of_parameters: Counter[tuple[str, str]] = Counter()
        for (tail, head), n in found.edges.items():
            if name[tail] != name[head]:
                self.count[name[tail], name[head]] += n
                self.of_parameters[name[tail], name[head]] += found.of_parameters[tail, head]

    def __iter__(self) -> Iterator[tuple[str, str, int, bool]]:
        """Tail, head, count, and whether all of these edges begin at parameters, as those into a penalty do."""
        for (tail, head), n in sorted(self.count.items()):
            yield tail, head, n, self.of_parameters[tail, head] == n


def _written(n: int) -> str:
    return f"{n:,} edge{'s' * (n != 1)}"


def _draw_layers(found: Collapsed, words: _Words, direction: str) -> Digraph:
    """A box for each layer."""
    graph = new_digraph(rankdir=direction, nodesep="0.3", ranksep="0.5")
    name = [f"layer{box.layer}" if box.layer >= 0 else f"box{box.kind}" for box in found.boxes]
    groups: dict[str, list[Box]] = defaultdict(list)
    for key, box in zip(name, found.boxes, strict=True):
        groups[key].append(box)
    for key, boxes in sorted(groups.items()):
        place = {} if boxes[0].kind == PENALTY else {"group": "network"}  # one straight line
        _put(graph, key, words.group(boxes), **words.look(boxes), **place)
    small = {"fontsize": f"{SMALL:g}"}
    for tail, head, n, of_parameters in _Edges(found, name):
        style = {"style": "dashed"} if of_parameters else {"weight": "20"}
        graph.edge(tail, head, label=f" {_written(n)} ", **small, **style)
    for k, n in sorted(found.recurrent.items()):
        graph.edge(f"layer{k}", f"layer{k}", label=f" next step: {_written(n)} ", **small, style="dashed")
    return graph


@dataclass
class _Column:
    """Boxes one below the other, with a text above them.

    slots: what stands in each place, several boxes where the middle of a layer is left out.
    """

    head: list[str]
    slots: list[list[Box]]


class _Columns:
    """A box for each neuron, in columns by layer."""

    def __init__(self, found: Collapsed, words: _Words, max_units: int) -> None:
        self.found, self.words = found, words
        by_kind: dict[tuple[int, int], list[Box]] = defaultdict(list)
        for box in found.boxes:
            by_kind[box.kind, box.layer].append(box)
        self.columns: list[_Column] = []
        for kind, k in sorted(by_kind, key=self._order):
            slots = _shortened(sorted(by_kind[kind, k], key=lambda box: (box.part == SHARED, box.part)), max_units)
            if kind == PENALTY and len(self.columns) > len(found.layers) + 1:
                self.columns[-1].slots += slots  # below the loss
            else:
                self.columns.append(_Column(self._head(slots), slots))
        slots = [slot for column in self.columns for slot in column.slots]
        self.name = {id(box): f"n{i}" for i, slot in enumerate(slots) for box in slot}
        self.text = {f"n{i}": words.part(slot) for i, slot in enumerate(slots)}
        self.column = {self.name[id(slot[0])]: k for k, column in enumerate(self.columns) for slot in column.slots}

    def _order(self, at: tuple[int, int]) -> tuple[int, int]:
        kind, k = at
        last = len(self.found.layers)
        return {INPUTS: (-1, 0), LOSS: (last, 0), PENALTY: (last, 1)}.get(kind, (k, kind))

    def _head(self, slots: list[list[Box]]) -> list[str]:
        """The text above a column, with the number of edges that its lines stand for."""
        boxes = {id(box) for slot in slots for box in slot}
        of = self.found.boxes
        counts = [n for (a, b), n in self.found.edges.items()
                  if id(of[b]) in boxes and id(of[a]) not in boxes and of[a].kind != PENALTY
                  and n > self.found.of_parameters[a, b]]  # fmt: skip
        lines = self.words.head(slots[0])
        if counts:
            low, high = min(counts), max(counts)
            lines.append(f"each pair: {_written(high) if low == high else f'{low:,} to {_written(high)}'}")
        k = slots[0][0].layer
        if slots[0][0].kind == UNIT and self.found.recurrent[k]:
            lines.append(f"↻ next step: {_written(self.found.recurrent[k])}")
        return lines

    def digraph(self, direction: str) -> Digraph:
        """The picture: everything has its place, so that lines are straight and columns are columns."""
        graph = new_digraph(layout="neato", splines="line", outputorder="edgesfirst")
        down = direction == "TB"
        heads = [column.head for column in self.columns]
        step = max(map(_width, self.text.values())) + 0.15 if down else max(map(_height, self.text.values())) + 0.13
        longest = max(len(column.slots) for column in self.columns)
        top = (longest - 1) / 2 * step
        above = top + step / 2 + (max(map(_width, heads)) if down else max(map(_height, heads))) / 2
        at = 0.0
        sides: list[tuple[float, float]] = []
        for k, column in enumerate(self.columns):
            names = [self.name[id(slot[0])] for slot in column.slots]
            texts = [column.head, *[self.text[name] for name in names]]
            half = max(map(_height if down else _width, texts)) / 2
            at += half
            _put(graph, f"head{k}", column.head, pos=_point(at, above, down), style="solid", color=PAPER)
            first = (len(names) - 1) / 2 * step
            for row, (name, slot) in enumerate(zip(names, column.slots, strict=True)):
                place = _point(at, first - row * step, down)
                _put(graph, name, self.text[name], pos=place, **self.words.look(slot))
            sides.append((at - half - 0.2, at + half + 0.2))
            at += half + max(0.9, 0.12 * longest)
        self._draw_lines(graph, down)
        for k, (before, after) in enumerate(sides):
            for what, below in (("pass", top + 0.9 * step), ("again", top + 0.7 * step)):
                for side, x in (("before", before), ("after", after)):
                    if f"{what}_{side}{k}" in self.corners:
                        place = _point(x, -below, down)
                        graph.node(f"{what}_{side}{k}", "", shape="point", width="0.01", color=LINE, pos=place)
        return graph

    def _draw_lines(self, graph: Digraph, down: bool) -> None:
        tail_side, head_side = ("s", "n") if down else ("e", "w")
        lines: dict[tuple[str, str], dict[str, str]] = {}
        for tail, head, n, of_parameters in _Edges(self.found, [self.name[id(box)] for box in self.found.boxes]):
            a, b = self.column[tail], self.column[head]
            if of_parameters or (a == b and not self._is_last(a)):  # a penalty names the parameters that it is made of
                continue
            # lines that pass a layer run together below it
            stops = [f"pass_{side}{k}" for k in range(a + 1, b) for side in ("before", "after")]
            for u, v in zip([tail, *stops], [*stops, head], strict=True):
                lines[u, v] = {"tooltip": _written(n)} if u == tail else {}
        for k, column in enumerate(self.columns):
            if column.slots[0][0].kind == UNIT and self.found.recurrent[column.slots[0][0].layer]:
                style = {"style": "dashed"}
                for unit in (self.name[id(slot[0])] for slot in column.slots):
                    lines[unit, f"again_after{k}"] = lines[f"again_before{k}", unit] = style
                lines[f"again_after{k}", f"again_before{k}"] = style
        self.corners = {name for line in lines for name in line} - self.column.keys()
        for (u, v), style in lines.items():
            across = self.column.get(u, -1) != self.column.get(v, -2)
            ends = (_port(u, tail_side), _port(v, head_side)) if across else (u, v)
            graph.edge(*ends, penwidth="0.7", arrowhead="normal" if v in self.column else "none", **style)

    def _is_last(self, column: int) -> bool:
        return self.columns[column].slots[0][0].kind == LOSS


def _port(name: str, side: str) -> str:
    return name if "_" in name else f"{name}:{side}"


def _shortened(boxes: list[Box], most: int) -> list[list[Box]]:
    """One list for each box; of too many boxes the middle ones share a list."""
    n = len(boxes)
    if n <= most:
        return [[box] for box in boxes]
    first, last = (most + 1) // 2, n - most // 2
    return [*([box] for box in boxes[:first]), boxes[first:last], *([box] for box in boxes[last:])]


def _point(along: float, across: float, down: bool) -> str:
    """A fixed place: Graphviz does not move it."""
    return f"{-across:.2f},{-along:.2f}!" if down else f"{along:.2f},{across:.2f}!"
