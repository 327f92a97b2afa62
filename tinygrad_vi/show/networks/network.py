"""Network diagrams: circles for units, a line for every weight, as the lecture notes draw them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tinygrad_vi.checks import ShapeError, counted, whole_number
from tinygrad_vi.nn.feedforward import MLP, Layer, Neuron
from tinygrad_vi.show.networks.notation import NOTATIONS, layer_formulas, unit_name, weight_name, write_vector
from tinygrad_vi.show.networks.one_example import (
    Loss,
    Pass,
    has_own_forward,
    layers_of,
    run,
    skips_to,
    used_elsewhere,
)
from tinygrad_vi.show.palette import (
    CONSTANT,
    GRADIENT,
    INK,
    INPUT,
    NEGATIVE,
    OPERATION,
    OUTPUT,
    PAPER,
    PARAMETER,
    POSITIVE,
    VALUE,
)
from tinygrad_vi.show.paper import (
    FONT_SIZE,
    Drawing,
    colored_label,
    colored_width,
    draw_text,
    inches,
    new_digraph,
    plain_label,
    shorten,
)
from tinygrad_vi.show.writing.numerals import write_number
from tinygrad_vi.value import Value

if TYPE_CHECKING:
    from graphviz import Digraph


Point = tuple[float, float]
Note = list[tuple[str, str]]  # lines of text, each with its colour

MOST_NUMBERS = 20
COLUMN, ROW = 2.4, 0.9  # inches between columns and between rows
SMALL = 9.0  # the size of the numbers on lines
LINE = 0.19  # inches from line to line of text
RING = 4 / 72  # inches between the two borders of a circle
ARROWHEAD = 0.11  # inches below a circle for the heads of arrows, before its numbers begin

#: what the options may be
CHOICES = {
    "weights": (None, False, True, "names", "both"),
    "flow": (None, "forward", "backward", "both"),
    "notation": NOTATIONS,
}


def draw_network(
    model: MLP | Layer | Neuron,
    *,
    weights: bool | str | None = None,
    bias: bool = True,
    max_units: int = 10,
    inputs: Sequence[str] = (),
    outputs: Sequence[str] = (),
    digits: int = 2,
    flow: str | None = None,
    x: Any = None,
    target: Any = None,
    loss: Loss | None = None,
    notation: str = "units",
) -> Drawing:
    """Draw the units of a network in columns and its weights as lines between them.

    A line is the thicker the larger the weight; positive weights are blue and solid, negative ones vermillion and
    dotted.  The
    biases are the weights of two more nodes that are always 1: x0 before the first layer, z0 before the others (with
    several hidden layers z0 carries its layer's number).
    weights: write the numbers on the lines; by default where there are at most 20.  "names" writes the names of the
    weights, "both" names and numbers.  bias: draw the bias nodes (nothing flows back to them).  max_units: of larger
    layers the middle is left out; the title of the column says how many there are.  inputs, outputs: names instead of
    x1, x2, ... and y1, y2, ...  digits: significant digits of the numbers.

    flow: the lines are arrows, "forward" blue and solid, "backward" vermillion, dashed and from the outputs back, or
    "both".
    x: one example; what the units make of it stands below them.  Without a flow it is then "forward".
    target: of the example; what flows back stands there too: below the units the error signal delta, which is the
    derivative of the loss by what goes into the activation, on the lines the gradient of the weight.  Without a flow it
    is then "both".  For these numbers the model is called once; ``grad`` stays as it is.  Where it answers something
    else than its last layer, because its own ``forward`` goes on, the answer stands above the outputs.
    loss: of (output, target), such as `losses.bce`; 1/2 sum (y - t)**2 when left out.

        delta_k = dL/da_k,    delta_j = h'(a_j) sum_k w_kj delta_k    (Bishop, equation 5.56)

    notation: "units" calls the units x, z, y as Bishop does; "columns" and "rows" call them a with the number of their
    layer.  With a flow these write the layers' formulas below, for one example as a column, z = W a + b, or for n
    examples as rows, Z = A W + b, with all shapes.

    Raises TypeError for anything that is no MLP, Layer or Neuron, ShapeError for a wrong number of names or inputs,
    ValueError for options that are unknown or do not go together, and for a model whose own ``forward`` does not call
    each layer once with the outputs of the layer before it.

    >>> net = MLP.from_weights([[[0.15, 0.2], [0.25, 0.3]], [[0.4, 0.45]]], activation="sigmoid")
    >>> draw_network(net, x=[0.05, 0.1], target=0.01)
    <Drawing of a 2-2-1 network with 6 parameters; .save("graph.svg") writes it>
    """
    whole_number(max_units, "max_units", least=2)
    layers = layers_of(model, "draw_network")
    for name, given in (("weights", weights), ("flow", flow), ("notation", notation)):
        if given not in CHOICES[name]:
            raise ValueError(f"{name} must be one of {', '.join(map(repr, CHOICES[name]))}, got {given!r}")
    flow = flow or (None if x is None else "forward" if target is None and loss is None else "both")
    done = _run(model, layers, flow, x, target, loss)
    formulas = _formulas(model, layers, notation, flow, done)
    columns = _columns(layers, bias and flow != "backward", max_units, notation, inputs, outputs)
    lines = [
        line for k in range(len(layers)) for line in _lines(layers, columns, k, skips_to(model, layers, k), notation)
    ]
    weights = len(lines) <= MOST_NUMBERS if weights is None else weights
    on_lines = [_line_note(line, weights, done, flow, digits) for line in lines] if weights else []
    below_units = _unit_notes(columns, done, flow, digits) if done else {}
    if done and done.answer:
        columns[-1].title += f"\nanswer {write_vector(done.answer, digits)}"
    if done and done.loss is not None:
        columns[-1].title += f"\nloss {write_number(done.loss.data, digits)}"
    plan = _Plan(columns, lines, on_lines, below_units, formulas, flow)
    parameters = len(model.parameters())
    widths = "-".join(str(n) for n in (layers[0].n_inputs, *(layer.n_outputs for layer in layers)))
    return Drawing(plan.digraph(), f"a {widths} network with {counted(parameters, 'parameter')}")


@dataclass(frozen=True)
class _Plan:
    """All that is to be drawn, and how far apart."""

    columns: list[_Column]
    lines: list[Line]
    on_lines: list[Note]
    below_units: dict[str, Note]
    formulas: list[tuple[Note, Note]]
    flow: str | None

    def digraph(self) -> Digraph:
        tall = max(map(len, self.on_lines), default=1) - 1  # two arrows bend around a note of two lines
        room = {"nodesep": "0.6"} if tall else {}
        graph = new_digraph(layout="neato", splines="line", outputorder="edgesfirst", **room)
        largest = max((abs(line.weight) for line in self.lines), default=0.0) or 1.0
        for line in self.lines:
            _draw_line(graph, line, largest, self.flow)
        across = COLUMN * self._spread()
        down = ROW + 0.8 * LINE * max(map(len, self.below_units.values()), default=0) + 0.4 * tall
        # lines that skip the hidden layers pass below their units
        lift = [0.0] * len(self.columns)
        if any(line.skips for line in self.lines):
            lift[1:-1] = [0.35 * down] * (len(self.columns) - 2)
        places: dict[str, Point] = {}
        for column, up in zip(self.columns, lift, strict=True):
            places |= column.draw(graph, across, down, up, self.below_units)
        _draw_line_notes(graph, self.lines, self.on_lines, places)
        _draw_formulas(graph, self.formulas, across, min(y for _, y in places.values()) - 0.5)
        return graph

    def _spread(self) -> float:
        """How many times as far apart as usual the columns are, with room for the notes."""
        widest = max((inches(text, SMALL) for note in self.on_lines for text, _ in note), default=0.0)
        return max(1.3 if self.on_lines else 1.0, 0.8 + 0.85 * widest, 1.55 if self.formulas else 0.0)


def _formulas(
    model: Any, layers: list[Layer], notation: str, flow: str | None, done: Pass | None
) -> list[tuple[Note, Note]]:
    """The formulas below each column, and those between it and the column before."""
    if notation == "units" or flow is None:
        return []
    if isinstance(model, MLP) and model.skip:
        raise ValueError(f"a network with skip=True has no formulas in the notation {notation!r}: leave it out")
    if done is None and has_own_forward(model):
        raise ValueError(
            f"{type(model).__name__} has a forward pass of its own, for which the formulas of its layers may be wrong: "
            "leave out the notation, or give an example, draw_network(model, x=...), on which they are checked"
        )
    if done and done.loss is not None and any(used_elsewhere(done, layers, k) for k in range(len(layers))):
        raise ValueError(
            "weights or units have a gradient that does not come through the layers alone, as with a penalty in the "
            f"loss, and the formulas in the notation {notation!r} would be wrong: leave the notation out"
        )
    answers = done is None or not done.answer
    found: list[tuple[Note, Note]] = [([], []) for _ in range(len(layers) + 1)]
    for backward, color in ((False, INK), (True, GRADIENT)):
        if flow in ("both", "backward" if backward else "forward"):
            for (units, between), (u, b) in zip(
                found, layer_formulas(layers, notation, backward, answers), strict=True
            ):
                known = [text for text, _ in units]  # a shape stands there once
                units += [(text, color if "d" in u[0] else INK) for text in u if text not in known]
                between += [(text, color) for text in b]
    return found


def _run(model: Any, layers: list[Layer], flow: str | None, x: Any, target: Any, loss: Loss | None) -> Pass | None:
    if x is None:
        if target is not None or loss is not None:
            raise ValueError("a target and a loss belong to an example: draw_network(model, x=..., target=...)")
        return None
    if flow in ("backward", "both") and target is None and loss is None:
        raise ValueError(
            "the backward flow is the gradient of a loss: give a target, draw_network(model, x=..., target=...)"
        )
    return run(model, layers, x, target, loss)


@dataclass(frozen=True)
class Line:
    """A weight: from the node, to the node, the parameter, its name; whether it skips the hidden layers."""

    tail: str
    head: str
    parameter: Value
    name: str
    skips: bool = False

    @property
    def weight(self) -> float:
        """How large it is."""
        return self.parameter.data

    @property
    def of_bias(self) -> bool:
        """Whether it comes from a node that is always 1."""
        return self.tail.startswith("b")


class _Column:
    """The units of one layer from the top down, with the node for the next layer's biases below them."""

    def __init__(
        self, place: int, names: Sequence[str], title: str, most: int, bias_name: str, kind: tuple[str, str]
    ) -> None:
        self.place, self.title, self.bias_name, self.kind = place, title, bias_name, kind
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

    def draw(
        self, graph: Digraph, across: float, down: float, lift: float, notes: Mapping[str, Note]
    ) -> dict[str, Point]:
        """Put the column on the picture; returns where each node is."""
        self.x, self.y, self.places = self.place * across, (self.height - 1) / 2 * down + lift, {}
        title = self.y + max(0.855, 0.46 + 0.5 * LINE * len(self.title.split("\n")))
        for count, (unit, name) in enumerate(self.units.items()):
            if count == self.gap:
                self._put(graph, f"gap{self.place}", self.y, label="⋮", shape="plaintext")
                self.y -= down
            self._circle(graph, self.node(unit), name, self.kind, "filled", notes.get(self.node(unit), []))
            self.y -= down
        if self.bias_name:
            self._circle(graph, self.bias_node, f"{self.bias_name}\n= 1", CONSTANT, "filled,dashed", [])
        self._put(graph, f"title{self.place}", title, label=self.title, shape="plaintext")
        return self.places

    def _circle(self, graph: Digraph, node: str, name: str, colors: tuple[str, str], style: str, note: Note) -> None:
        lines = name.split("\n")
        size = max(0.5, max(map(inches, lines)) + 0.16)
        shape = {"shape": "circle", "style": style, "fixedsize": "true", "width": f"{size:.2f}"}
        shape |= {"peripheries": "2"} if colors is OUTPUT else {}
        self._put(graph, node, self.y, label=plain_label(lines), fillcolor=colors[0], color=colors[1], **shape)
        if note:
            height = LINE * len(note)
            y = self.y - size / 2 - RING * (colors is OUTPUT) - ARROWHEAD - height / 2
            self.places[f"{node}v"] = self.x, y
            box = {"style": "filled", "fillcolor": PAPER, "fixedsize": "true", "height": f"{height:.2f}"}
            draw_text(graph, f"{node}v", note, 10.0, pos=_at(self.x, y), **box)

    def _put(self, graph: Digraph, node: str, y: float, **attributes: str) -> None:
        self.places[node] = (self.x, y)
        graph.node(node, pos=_at(self.x, y), **attributes)


def _at(x: float, y: float) -> str:
    return f"{x:.2f},{y:.2f}!"


def _columns(
    layers: list[Layer], bias: bool, most: int, notation: str, inputs: Sequence[str], outputs: Sequence[str]
) -> list[_Column]:
    widths = [layers[0].n_inputs, *(layer.n_outputs for layer in layers)]
    last = len(layers)
    columns = []
    for k, n in enumerate(widths):
        given = {0: inputs, last: outputs}.get(k, ())
        if given and len(given) != n:
            raise ShapeError(f"there are {n} units to name, got {len(given)} names: {', '.join(map(str, given))}")
        names = [shorten(str(name)) or " " for name in given]
        names = names or [unit_name(notation, i + 1, k, widths) for i in range(n)]
        title = counted(n, "input" if k == 0 else "output" if k == last else "hidden unit")
        title += f"\n{layers[k - 1].activation}" if k else ""
        biased = bias and k < last and any(isinstance(neuron.b, Value) for neuron in layers[k].neurons)
        kind = INPUT if k == 0 else OUTPUT if k == last else OPERATION
        columns.append(_Column(k, names, title, most, unit_name(notation, 0, k, widths) if biased else "", kind))
    return columns


def _lines(layers: list[Layer], columns: list[_Column], k: int, skip: bool, notation: str) -> Iterator[Line]:
    """The weights from column k to column k + 1, and with ``skip`` those from the inputs."""
    left, right = columns[k], columns[k + 1]
    width = layers[k - 1].n_outputs if k else layers[0].n_inputs
    for j in right.units:
        neuron = layers[k].neurons[j]
        for i, w in zip(neuron.connected, neuron.w, strict=True):
            name = weight_name(notation, j + 1, i + 1, k + 1)
            if i < width:
                if i in left.units:
                    yield Line(left.node(i), right.node(j), w, name)
            elif skip and i - width in columns[0].units:
                yield Line(columns[0].node(i - width), right.node(j), w, name, skips=True)
        if left.bias_name and isinstance(neuron.b, Value):
            yield Line(left.bias_node, right.node(j), neuron.b, weight_name(notation, j + 1, 0, k + 1))


def _draw_line(graph: Digraph, line: Line, largest: float, flow: str | None) -> None:
    if flow is None:
        style = {
            "color": POSITIVE if line.weight >= 0.0 else NEGATIVE,
            "style": "solid" if line.weight >= 0.0 else "dotted",
            "penwidth": f"{0.5 + 2.5 * abs(line.weight) / largest:.2f}",
            "arrowhead": "none",
        }
        graph.edge(line.tail, line.head, **style)
    if flow in ("forward", "both"):
        graph.edge(line.tail, line.head, color=VALUE, arrowsize="0.7")
    if flow in ("backward", "both") and not line.of_bias:  # that node is always 1: it has no gradient
        graph.edge(line.head, line.tail, color=GRADIENT, style="dashed", arrowsize="0.7")


def _line_note(line: Line, weights: bool | str, done: Pass | None, flow: str | None, digits: int) -> Note:
    """What to write on a line: name, number, gradient."""
    number = write_number(line.weight, digits)
    note = [({"names": line.name, "both": f"{line.name} = {number}"}.get(str(weights), number), INK)]
    if done and flow in ("backward", "both"):
        note.append((f"grad {write_number(done.gradient(line.parameter), digits)}", GRADIENT))
    return note


def _unit_notes(columns: Sequence[_Column], done: Pass, flow: str | None, digits: int) -> dict[str, Note]:
    """What to write below each unit: its output, its delta."""
    notes: dict[str, Note] = {}
    for column in columns:
        for i in column.units:
            note = notes[column.node(i)] = []
            if flow in ("forward", "both"):
                note.append((write_number(done.outputs[column.place][i].data, digits), VALUE))
            if flow in ("backward", "both"):
                name, v = ("δ", done.sums[column.place - 1][i]) if column.place else ("grad", done.outputs[0][i])
                note.append((f"{name} {write_number(done.gradient(v), digits)}", GRADIENT))
    return notes


def _draw_line_notes(graph: Digraph, lines: Sequence[Line], notes: Sequence[Note], places: Mapping[str, Point]) -> None:
    """Each note on its line, as far from units and other notes as the line allows."""
    spots: dict[int, Point] = {}
    widths = [colored_width(note, SMALL) if len(note) > 1 else inches(note[0][0], SMALL) for note in notes]
    for _ in range(
        max(map(len, notes), default=0) ** 2
    ):  # each note moves away from the others, again and again until all have settled
        for k, note in enumerate(notes):
            taken = [*places.values(), *(spot for i, spot in spots.items() if i != k)]
            (x1, y1), (x2, y2) = places[lines[k].tail], places[lines[k].head]
            line = [(x1 + t / 40 * (x2 - x1), y1 + t / 40 * (y2 - y1)) for t in range(11, 30)]
            # a number is about three times as wide as it is high
            flat = 3.0 if len(note) == 1 else widths[k] / 0.3
            spots[k] = max(line, key=lambda p: min(math.hypot((p[0] - x) / flat, p[1] - y) for x, y in taken))
    for k, (note, width) in enumerate(zip(notes, widths, strict=True)):
        size = {"width": f"{width:.2f}", "height": f"{0.14 * len(note):.2f}", "fixedsize": "true"}
        style = {"shape": "box", "style": "filled", "color": PAPER, "fontsize": f"{SMALL:g}", "margin": "0"}
        label = colored_label(note) if len(note) > 1 else plain_label(text for text, _ in note)
        graph.node(f"w{k}", label, pos=_at(*spots[k]), **size, **style)


def _draw_formulas(graph: Digraph, formulas: Sequence[tuple[Note, Note]], across: float, top: float) -> None:
    for k, (of_units, between) in enumerate(formulas):
        y = top - LINE / 2 * len(of_units)
        draw_text(graph, f"formula{k}", of_units, FONT_SIZE, pos=_at(k * across, y))
        if between:
            width = colored_width(between) + 0.2
            box = {"shape": "box", "style": "filled", "fillcolor": PARAMETER[0], "color": PARAMETER[1]}
            y = top - LINE * max(len(note) for note, _ in formulas) - LINE / 2 * len(between) - 0.25
            size = {"width": f"{width:.2f}", "height": f"{LINE * len(between) + 0.12:.2f}"}
            graph.node(f"parameters{k}", colored_label(between), pos=_at((k - 0.5) * across, y), **box, **size)
