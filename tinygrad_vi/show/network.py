"""Network diagrams: circles for units, a line for every weight, as the lecture notes draw them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tinygrad_vi.nn import MLP, Layer, Neuron, counted
from tinygrad_vi.ops import ShapeError, whole_number
from tinygrad_vi.show.formula import write_number
from tinygrad_vi.show.graph import FONT_SIZE, Drawing, new_digraph, text_width
from tinygrad_vi.value import Value

if TYPE_CHECKING:
    from graphviz import Digraph

Point = tuple[float, float]

POSITIVE, NEGATIVE = "#1d4ed8", "#be123c"  # negative weights are dashed too
MOST_NUMBERS = 20
COLUMN, ROW = 2.4, 0.9  # inches between columns and between rows
SUPERSCRIPTS = str.maketrans("()0123456789", "⁽⁾⁰¹²³⁴⁵⁶⁷⁸⁹")
UNIT, BIAS = ("#dbeafe", "#1d4ed8"), ("#f1f5f9", "#64748b")


def draw_network(
    model: MLP | Layer | Neuron,
    *,
    weights: bool | None = None,
    bias: bool = True,
    max_units: int = 10,
    inputs: Sequence[str] = (),
    outputs: Sequence[str] = (),
    digits: int = 2,
) -> Drawing:
    """Draw the units of a network in columns and its weights as lines between them.

    A line is the thicker the larger the weight; positive weights are blue and solid, negative ones red and dashed.  The
    biases are the weights of two more nodes that are always 1: x0 before the first layer, z0 before the others (with
    several hidden layers z0 carries its layer's number).
    weights: write the numbers on the lines; by default where there are at most 20.  bias: draw the bias nodes.
    max_units: of larger layers the middle is left out; the title of the column says how many there are.  inputs,
    outputs: names instead of x1, x2, ... and y1, y2, ...  digits: significant digits of the numbers.

    Raises TypeError for anything that is no MLP, Layer or Neuron, ShapeError for a wrong number of names.
    """
    whole_number(max_units, "max_units", least=2)
    layers = _layers(model)
    columns = _columns(layers, bias, max_units, inputs, outputs)
    lines = [line for k in range(len(layers)) for line in _lines(layers, columns, k, skip=_skips(model, k))]
    weights = len(lines) <= MOST_NUMBERS if weights is None else weights
    graph = new_digraph(layout="neato", splines="line", outputorder="edgesfirst")
    spread = 1.3 if weights else 1.0  # room for the numbers
    raised = 0.35 if any(line.skips for line in lines) else 0.0  # hidden units out of the way of lines that pass them
    largest = max((abs(line.weight) for line in lines), default=0.0) or 1.0
    for line in lines:
        _draw_line(graph, line, largest)
    places: dict[str, Point] = {}
    for column in columns:
        places |= column.draw(graph, spread, raised if 0 < column.place < len(layers) else 0.0)
    if weights:
        _draw_numbers(graph, lines, places, digits)
    parameters = len(model.parameters())
    widths = "-".join(str(n) for n in (layers[0].n_inputs, *(layer.n_outputs for layer in layers)))
    return Drawing(graph, f"a {widths} network with {counted(parameters, 'parameter')}")


@dataclass(frozen=True)
class Line:
    """A weight: from the node, to the node, how large; whether it skips the hidden layers."""

    tail: str
    head: str
    weight: float
    skips: bool = False


class _Column:
    """The units of one layer from the top down, with the node for the next layer's biases below them."""

    def __init__(self, place: int, names: Sequence[str], title: str, most: int, bias_name: str) -> None:
        self.place, self.title, self.bias_name = place, title, bias_name
        n = len(names)
        kept = range(n) if n <= most else [*range((most + 1) // 2), *range(n - most // 2, n)]
        self.units = {i: names[i] for i in kept}
        self.gap = (most + 1) // 2 if n > most else None
        self.places: dict[str, Point] = {}
        self.height = len(self.units) + (self.gap is not None) + bool(bias_name)

    def node(self, unit: int) -> str:
        return f"n{self.place}_{unit}"

    @property
    def bias_node(self) -> str:
        return f"b{self.place}"

    def draw(self, graph: Digraph, spread: float, raised: float) -> dict[str, Point]:
        """Put the column on the picture; where each node is."""
        self.x, self.top, self.places = self.place * COLUMN * spread, (self.height - 1) / 2 + raised, {}
        row = 0
        for count, (unit, name) in enumerate(self.units.items()):
            if count == self.gap:
                self._put(graph, f"gap{self.place}", row, label="⋮", shape="plaintext")
                row += 1
            self._circle(graph, self.node(unit), row, name, UNIT, "filled")
            row += 1
        if self.bias_name:
            self._circle(graph, self.bias_node, row, f"{self.bias_name}\n= 1", BIAS, "filled,dashed")
        self._put(graph, f"title{self.place}", -0.95, label=self.title, shape="plaintext")
        return self.places

    def _circle(self, graph: Digraph, node: str, row: float, name: str, colors: tuple[str, str], style: str) -> None:
        from graphviz import escape, nohtml

        lines = name.split("\n")
        size = max(0.5, max(map(text_width, lines)) * FONT_SIZE / 72 + 0.16)
        label = nohtml("\\n".join(escape(line.replace("&", "&amp;")) for line in lines))
        style_ = {"shape": "circle", "style": style, "fixedsize": "true", "width": f"{size:.2f}"}
        self._put(graph, node, row, label=label, fillcolor=colors[0], color=colors[1], **style_)

    def _put(self, graph: Digraph, node: str, row: float, **attributes: str) -> None:
        self.places[node] = (self.x, (self.top - row) * ROW)
        graph.node(node, pos=f"{self.x:.2f},{(self.top - row) * ROW:.2f}!", **attributes)


def _layers(model: Any) -> list[Layer]:
    if isinstance(model, MLP):
        return model.layers
    if isinstance(model, Layer):
        return [model]
    if isinstance(model, Neuron):
        layer = object.__new__(Layer)  # a layer of this very neuron
        layer.n_inputs, layer.n_outputs, layer.activation = model.n_inputs, 1, model.activation
        layer.neurons = [model]
        return [layer]
    raise TypeError(f"draw_network draws an MLP, a Layer or a Neuron, got {model!r:.60}")


def _skips(model: Any, k: int) -> bool:
    return isinstance(model, MLP) and model.skip and k == len(model.layers) - 1


def _columns(
    layers: list[Layer], bias: bool, most: int, inputs: Sequence[str], outputs: Sequence[str]
) -> list[_Column]:
    widths = [layers[0].n_inputs, *(layer.n_outputs for layer in layers)]
    last = len(layers)
    columns = []
    for k, n in enumerate(widths):
        layer_number = f"({k})".translate(SUPERSCRIPTS) if last > 2 else ""
        if k == 0:
            names, given, title = [f"x{i + 1}" for i in range(n)], inputs, counted(n, "input")
        elif k == last:
            names, given, title = [f"y{i + 1}" if n > 1 else "y" for i in range(n)], outputs, counted(n, "output")
        else:
            names, given = [f"z{i + 1}{layer_number}" for i in range(n)], ()
            title = f"{counted(n, 'hidden unit')}"
        if given and len(given) != n:
            raise ShapeError(f"there are {n} units to name, got {len(given)} names: {', '.join(map(str, given))}")
        title += f"\n{layers[k - 1].activation}" if k else ""
        biased = bias and k < last and any(isinstance(neuron.b, Value) for neuron in layers[k].neurons)
        bias_name = ("x0" if k == 0 else f"z0{layer_number}") if biased else ""
        columns.append(_Column(k, list(map(str, given)) or names, title, most, bias_name))
    return columns


def _lines(layers: list[Layer], columns: list[_Column], k: int, skip: bool) -> Iterator[Line]:
    """The weights from column k to column k + 1, and with ``skip`` those from the inputs."""
    left, right = columns[k], columns[k + 1]
    width = layers[k - 1].n_outputs if k else layers[0].n_inputs
    for j in right.units:
        neuron = layers[k].neurons[j]
        for i, w in zip(neuron.connected, neuron.w, strict=True):
            if i < width:
                if i in left.units:
                    yield Line(left.node(i), right.node(j), w.data)
            elif skip and i - width in columns[0].units:
                yield Line(columns[0].node(i - width), right.node(j), w.data, skips=True)
        if left.bias_name and isinstance(neuron.b, Value):
            yield Line(left.bias_node, right.node(j), neuron.b.data)


def _draw_line(graph: Digraph, line: Line, largest: float) -> None:
    style = {
        "color": POSITIVE if line.weight >= 0.0 else NEGATIVE,
        "style": "solid" if line.weight >= 0.0 else "dashed",
        "penwidth": f"{0.5 + 2.5 * abs(line.weight) / largest:.2f}",
        "arrowhead": "none",
    }
    graph.edge(line.tail, line.head, **style)


def _draw_numbers(graph: Digraph, lines: Sequence[Line], places: Mapping[str, Point], digits: int) -> None:
    """Each weight on its line, as far from units and other numbers as the line allows."""
    taken = list(places.values())
    for k, line in enumerate(lines):
        (x1, y1), (x2, y2) = places[line.tail], places[line.head]
        spots = [(x1 + t / 40 * (x2 - x1), y1 + t / 40 * (y2 - y1)) for t in range(11, 30)]
        # a number is about three times as wide as it is high
        spot = max(spots, key=lambda p: min((math.hypot((p[0] - x) / 3, p[1] - y) for x, y in taken)))
        taken.append(spot)
        number = write_number(line.weight, digits)
        size = {"width": f"{text_width(number) * 9 / 72:.2f}", "height": "0.14", "fixedsize": "true"}
        style = {"shape": "box", "style": "filled", "color": "white", "fontsize": "9", "margin": "0"}
        graph.node(f"w{k}", number, pos=f"{spot[0]:.2f},{spot[1]:.2f}!", **size, **style)
