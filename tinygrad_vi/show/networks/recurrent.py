"""Recurrent networks unrolled in time: the same weights at every step, and what flows back through the steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tinygrad_vi.checks import counted, plain, whole_number
from tinygrad_vi.graph import not_finite, topological_order
from tinygrad_vi.nn.feedforward import Layer
from tinygrad_vi.nn.module import prediction
from tinygrad_vi.nn.recurrent import RNN, RNNCell
from tinygrad_vi.show.networks.notation import lowered, write_vector
from tinygrad_vi.show.networks.notes import Notes, noted
from tinygrad_vi.show.networks.one_example import as_value, own_answer, refuse, same
from tinygrad_vi.show.palette import CONSTANT, GRADIENT, INK, INPUT, OUTPUT, PAPER, PARAMETER, RESULT, VALUE
from tinygrad_vi.show.paper import (
    FONT_SIZE,
    Drawing,
    colored_label,
    colored_width,
    draw_text,
    inches,
    new_digraph,
    plain_label,
)
from tinygrad_vi.show.writing.numerals import sum_digits, write_number
from tinygrad_vi.sweep import adjoints
from tinygrad_vi.trees import values_in
from tinygrad_vi.value import Value, recording

if TYPE_CHECKING:
    from graphviz import Digraph


ROW, LINE = 1.5, 0.19  # inches from inputs to states to outputs, and from line to line of text
SMALL = 9.5  # the size of texts on arrows
MOST_ENTRIES = 4  # of a parameter whose numbers are written
MOST_NUMBERS = 3  # of a vector
DIRECTLY = "the loss itself"


def draw_unrolled(
    rnn: RNN,
    xs: Sequence[Any],
    *,
    loss: Callable[[Any], Any] | None = None,
    max_steps: int = 12,
    digits: int = 4,
) -> Drawing:
    """Draw a recurrent network unrolled over a sequence: inputs below, states in a row, outputs on top.

        h_t = activation(W_x x_t + W_h h_(t-1) + b),    y_t = W_y h_t + b_y

    The network is called once with the sequence, and the numbers are what its parts computed.  Where it answers
    something else than its outputs, because its own ``forward`` goes on, the answer stands with the formulas.
    The names on the arrows are the same at every step because the weights are: each is one Value behind a copy gate.
    loss: of the output that ``rnn(xs)`` has, such as ``lambda y: y[-1]``.  Then backpropagation through time is drawn
    too: dashed vermillion arrows with what they carry, the gradient in every box, and at the bottom what each step
    contributes to the gradient of each weight, and the loss itself where it has a penalty, with the sum.
    The Values' own gradients stay as they are.
    max_steps: longer sequences are refused.  digits: significant digits of the numbers.

    Raises TypeError for anything that is no RNN or a loss that is no Value, ShapeError for a step of a wrong length,
    ValueError for too many steps or an RNN whose own ``forward`` does not go through the sequence step by step,
    DomainError when the loss is infinite or NaN.

    >>> cell = RNNCell.from_weights([[1.0]], [[1.0]], activation="identity")
    >>> draw_unrolled(RNN(cell, Layer.from_weights([[1.0]])), [2.0, -0.5, 1.0], loss=lambda y: y[-1])
    <Drawing of an RNN unrolled over 3 steps; .save("graph.svg") writes it>
    """
    if not isinstance(rnn, RNN):
        raise TypeError(f"draw_unrolled draws an RNN, got {rnn!r:.60}")
    xs = xs.tolist() if hasattr(xs, "tolist") else list(xs)
    whole_number(max_steps, "max_steps")
    if len(xs) > max_steps:
        raise ValueError(
            f"the sequence has {len(xs)} steps, more than max_steps = {max_steps}: draw a shorter part of it, or call "
            f"draw_unrolled(..., max_steps={len(xs)})"
        )
    run = _Run(rnn, [_step(x) for x in xs], loss)
    graph = new_digraph(layout="neato", splines="line", outputorder="edgesfirst", nodesep="0.55")
    _Picture(graph, rnn, run, digits).draw()
    return Drawing(graph, f"an RNN unrolled over {counted(len(xs), 'step')}")


def _step(x: Any) -> list[Value]:
    x = plain(x)
    return [Value(v.data if isinstance(v, Value) else v) for v in (x if isinstance(x, (list, tuple)) else [x])]


def _flat(x: Any) -> list[Any]:
    return [v for part in x for v in _flat(part)] if isinstance(x, (list, tuple)) else [x]


# --- The run ----------------------------------------------------------------------------------------------------------

Place = tuple[str, int]  # a part, "h" for the cell, "y" for the output, "L" for the loss, and a step


class _Run:
    """One run of the network and, with a loss, the gradients and where each part of them came from."""

    def __init__(self, rnn: RNN, xs: list[list[Value]], loss: Callable[[Any], Any] | None) -> None:
        with recording(True), prediction():
            answer, notes = noted(rnn, xs)
            check_steps(rnn, xs, notes)
            error = loss(answer) if loss else None
        self.states = [step.state for step in notes.steps]
        self.h = [[*map(as_value, rnn.cell.hidden(state))] for state in self.states]
        before = notes.steps[0].before
        self.start = _flat(rnn.cell.initial_state() if before is None else before)
        self.xs, self.loss = xs, error
        self.first = len(xs) - len(notes.readings)  # the step of the first output
        self.y: list[list[Value]] = [[] for _ in range(self.first)] + [
            [*map(as_value, _flat(reading.y))] for reading in notes.readings
        ]
        self.answer = own_answer(rnn, answer, [v for y in self.y for v in y])
        if error is not None:
            self._go_back(error)

    def _go_back(self, error: Any) -> None:
        """Find the gradients, and for each part of them the step and the part of the network that it comes from."""
        if not isinstance(error, Value):
            raise TypeError(f"the loss must be one Value made of the outputs, got {error!r:.60}")
        if not math.isfinite(error.data):
            raise not_finite(error)
        places: dict[Value, Place] = {}
        for t, state in enumerate(self.states):
            for part, made in (("h", _flat(state)), ("y", self.y[t])):
                for node in topological_order(values_in(made), places):
                    places.setdefault(node, (part, t))
        order = topological_order([error])
        self.gradient = adjoints(order, {error: 1.0})
        self.parts: dict[tuple[Value, Place], float] = {}
        for node in order:
            place = places.get(node, ("L", 0))
            for parent, partial in zip(node.parents, node.local_grads, strict=True):
                if self.gradient[node]:
                    key = parent, place
                    self.parts[key] = self.parts.get(key, 0.0) + self.gradient[node] * partial
        if any(error is v for y in self.y for v in y):  # the loss is an output itself
            self.parts[error, ("L", 0)] = 1.0

    def gradients(self, values: Sequence[Value]) -> list[float]:
        """The derivatives of the loss."""
        return [self.gradient.get(v, 0.0) for v in values]

    def flows(self, values: Sequence[Value], part: str, t: int = 0) -> list[float]:
        """What a part of the network, at one step, sends back to some values."""
        return [self.parts.get((v, (part, t)), 0.0) for v in values]

    def at_step(self, values: Sequence[Value], t: int) -> list[float]:
        """What a step contributes to the gradient of some weights: its cell and its output."""
        return list(map(sum, zip(self.flows(values, "h", t), self.flows(values, "y", t), strict=True)))


def check_steps(rnn: RNN, xs: list[list[Value]], notes: Notes) -> None:
    """Raise ValueError unless the network went through the sequence once, as the arrows of a picture say."""
    states = [step.state for step in notes.steps]
    if len(states) != len(xs):
        refuse(rnn, f"it makes {counted(len(states), 'step')} for the {len(xs)} of the sequence")
    for t, step in enumerate(notes.steps):
        if not same(step.x, xs[t]):
            refuse(rnn, f"step {t + 1} gets something else than x{lowered(t + 1)}")
        if t and step.before is not states[t - 1]:
            refuse(rnn, f"step {t + 1} does not go on from the state after step {t}")
    read = states[-1:] if rnn.last else states
    if len(notes.readings) != len(read):
        refuse(rnn, f"it reads {counted(len(notes.readings), 'output')}, not {len(read)}, from its hidden states")
    for reading, state in zip(notes.readings, read, strict=True):
        if not same(reading.h, rnn.cell.hidden(state)):
            refuse(rnn, "it reads its outputs from something else than its hidden states")


def _parameters(rnn: RNN) -> dict[str, Any]:
    """The weights by name, as nested lists."""
    found = dict(rnn.cell._arrays())
    if isinstance(rnn.output, Layer):
        found["W_y"] = [neuron.w for neuron in rnn.output.neurons]
        biases = [neuron.b for neuron in rnn.output.neurons if isinstance(neuron.b, Value)]
        return found | ({"b_y": biases} if biases else {})
    return found | ({} if rnn.output is None else {type(rnn.output).__name__: rnn.output.parameters()})


# --- The picture ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Arrow:
    """An arrow between two boxes, its name, and the gradient that flows back along it, if any."""

    tail: str
    head: str
    name: str
    flow: str


class _Picture:
    """Puts the boxes of a run into a grid: a column for each step."""

    def __init__(self, graph: Digraph, rnn: RNN, run: _Run, digits: int) -> None:
        self.graph, self.rnn, self.run, self.digits = graph, rnn, run, digits
        self.parameters = _parameters(rnn)
        self.boxes: dict[str, tuple[float, float, list[tuple[str, str]], dict[str, str]]] = {}
        self.arrows: list[_Arrow] = []

    def draw(self) -> None:
        """Collect boxes and arrows, then measure the widest, then draw them."""
        self._collect_steps()
        terms: dict[str, list[str]] = {}
        if self.run.loss is not None:
            self._collect_loss(self.run.loss)
            terms = self._terms()
        self.across = self._distance(terms)
        for arrow in self.arrows:
            self._draw_arrow(arrow)
        for name, (column, row, lines, style) in self.boxes.items():
            size = {"width": f"{self._width(lines):.2f}", "height": f"{LINE * len(lines) + 0.2:.2f}"}
            self.graph.node(name, colored_label(lines), pos=self._at(column, row * ROW), **size, **style)
        self._draw_legend()
        self._draw_terms(terms)

    def _collect_steps(self) -> None:
        run = self.run
        self._box("h0", 0, 0, f"h{lowered(0)}", [*map(as_value, run.start[: len(run.h[0])])], CONSTANT)
        for t in range(len(run.xs)):
            before = _flat(run.states[t - 1]) if t else run.start  # with the c of an LSTM
            self._box(f"x{t + 1}", t + 1, -1, f"x{lowered(t + 1)}", run.xs[t], INPUT)
            self._box(f"h{t + 1}", t + 1, 0, f"h{lowered(t + 1)}", run.h[t], RESULT, cell=self._cell_state(t))
            self._arrow(f"x{t + 1}", f"h{t + 1}", "W_x", run.xs[t], "h", t)
            self._arrow(f"h{t}", f"h{t + 1}", "W_h", before, "h", t)
            if self.rnn.output is not None and run.y[t]:
                self._box(f"y{t + 1}", t + 1, 1, f"y{lowered(t + 1)}", run.y[t], OUTPUT)
                self._arrow(f"h{t + 1}", f"y{t + 1}", self._output_name(), run.h[t], "y", t)

    def _collect_loss(self, loss: Value) -> None:
        """The loss stands above the middle of the outputs that it is made of."""
        run, steps = self.run, len(self.run.xs)
        used = [t for t in range(run.first, steps) if any(run.flows(run.y[t], "L"))]
        column = sum(t + 1 for t in used) / len(used) if used else steps
        part, top = ("h", 1) if self.rnn.output is None else ("y", 2)
        self._box("L", column, top, "L", [loss], OUTPUT)
        for t in used:
            self._arrow(f"{part}{t + 1}", "L", "", run.y[t], "L", 0)

    def _distance(self, terms: dict[str, list[str]]) -> float:
        """How far apart the columns are: the widest box, arrow or term needs its room."""
        box = max(self._width(lines) for _, _, lines, _ in self.boxes.values())
        between = max(
            inches(text, SMALL) for arrow in self.arrows if arrow.name == "W_h" for text in (arrow.name, arrow.flow)
        )
        texts = [text for row in terms.values() for text in row]
        if terms and self.has_direct_part:
            texts.append(DIRECTLY)
        term = max(map(inches, texts), default=0.0)
        return max(2.0, box + between + 0.5, term + 0.4)

    def _box(
        self,
        name: str,
        column: float,
        row: float,
        title: str,
        values: Sequence[Value],
        kind: tuple[str, str],
        cell: Sequence[Value] = (),
    ) -> None:
        lines = [(f"{title} = {self._vector([v.data for v in values])}", INK)]
        if cell:
            lines.append((f"c{title[1:]} = {self._vector([v.data for v in cell])}", INK))
        if self.run.loss is not None and kind is not CONSTANT:
            lines.append((f"grad {self._vector(self.run.gradients(values))}", GRADIENT))
        style = {"shape": "box", "style": "filled,rounded", "fillcolor": kind[0], "color": kind[1]}
        if kind is CONSTANT:
            style["style"] = "filled,dashed"
        self.boxes[name] = column, row, lines, style | {"peripheries": "2" if kind is OUTPUT else "1"}

    def _arrow(self, tail: str, head: str, name: str, values: Sequence[Value], part: str, t: int) -> None:
        flows = self.run.flows(values, part, t) if self.run.loss is not None else []
        flow = self._vector(flows) if len(flows) < 3 else f"length {self._length(flows)}"
        self.arrows.append(_Arrow(tail, head, name, flow if any(flows) else ""))

    def _draw_arrow(self, arrow: _Arrow) -> None:
        (x1, y1, *_), (x2, y2, *_) = self.boxes[arrow.tail], self.boxes[arrow.head]
        x, y = (x1 + x2) / 2 * self.across, (y1 + y2) / 2 * ROW
        self.graph.edge(arrow.tail, arrow.head, color=VALUE, arrowsize="0.7")
        name = f"{arrow.tail}{arrow.head}"
        if arrow.name:
            self._note(name, x, y + 0.09 * (y1 == y2 and bool(arrow.flow)), arrow.name, INK)
        if arrow.flow:
            self.graph.edge(arrow.head, arrow.tail, color=GRADIENT, style="dashed", arrowsize="0.7")
            aside = 0.28 + inches(arrow.flow, SMALL) / 2  # beside the dashed arrow
            self._note(f"{name}flow", x + aside * (x1 == x2), y - 0.09 * (y1 == y2), arrow.flow, GRADIENT)

    def _note(self, name: str, x: float, y: float, text: str, color: str) -> None:
        size = {"width": f"{inches(text, SMALL):.2f}", "height": "0.16", "fixedsize": "true", "fontsize": f"{SMALL:g}"}
        style = {"shape": "box", "style": "filled", "color": PAPER, "margin": "0", "fontcolor": color}
        self.graph.node(name, plain_label([text]), pos=f"{x:.2f},{y:.2f}!", **size, **style)

    def _draw_legend(self) -> None:
        """What a step computes, and the weights that all steps share."""
        texts = [*self._formulas(), " ", "at every step the same"]
        texts += [f"{name} {self._shape_or_numbers(values)}" for name, values in self.parameters.items()]
        lines = [(text, INK) for text in texts]
        width = self._width(lines)
        x, y = 0.5 * self.across - width / 2, LINE / 2 * len(lines) + 0.75
        style = {"shape": "box", "style": "filled", "fillcolor": PARAMETER[0], "color": PARAMETER[1]}
        size = {"width": f"{width:.2f}", "height": f"{LINE * len(lines) + 0.15:.2f}"}
        self.graph.node("legend", colored_label(lines), pos=f"{x:.2f},{y:.2f}!", **size, **style)

    def _formulas(self) -> list[str]:
        names = self.parameters
        cell = self.rnn.cell
        total = "W_x x_t + W_h h_(t-1) + b" if "b" in names else "W_x x_t + W_h h_(t-1)"
        if not isinstance(cell, RNNCell) or type(cell).forward is not RNNCell.forward:
            formulas = [f"h_t = {type(cell).__name__}(x_t, h_(t-1))"]
        else:
            formulas = [f"h_t = {_applied(cell.activation, total)}"]
        if isinstance(self.rnn.output, Layer) and type(self.rnn.output).forward is Layer.forward:
            total = "W_y h_t + b_y" if "b_y" in names else "W_y h_t"
            formulas.append(f"y_t = {_applied(self.rnn.output.activation, total)}")
        elif self.rnn.output is not None:
            formulas.append(f"y_t = {type(self.rnn.output).__name__}(h_t)")
        if self.run.answer:
            formulas.append(f"answer {self._vector(self.run.answer)}")
        return formulas

    def _shape_or_numbers(self, values: Any) -> str:
        flat = _flat(values)
        if len(flat) <= MOST_ENTRIES:
            return f"= {self._vector([v.data for v in flat], MOST_ENTRIES)}"
        return f"of {len(values)} × {len(values[0])}" if isinstance(values[0], list) else f"of {len(values)}"

    def _terms(self) -> dict[str, list[str]]:
        """What each step contributes to the gradient of each weight, and the sum; for large weights the lengths.

        A penalty uses the weights without any step: its part stands in a column of its own.
        """
        self.has_direct_part = any(any(self.run.flows(_flat(values), "L")) for values in self.parameters.values())
        rows = {}
        for name, values in self.parameters.items():
            flat = _flat(values)
            parts = [self.run.at_step(flat, t) for t in range(len(self.run.xs))]
            if self.has_direct_part:
                parts.append(self.run.flows(flat, "L"))
            parts.append(self.run.gradients(flat))
            small = len(flat) <= MOST_ENTRIES
            title = f"∂L/∂{name}" if small else f"length of ∂L/∂{name}"
            rows[title] = self._adding_up(parts) if small else list(map(self._length, parts))
        return rows

    def _adding_up(self, parts: Sequence[Sequence[float]]) -> list[str]:
        """The terms and their sum, with enough digits for the written terms to add up to the written sum."""
        *terms, total = parts
        needed = [sum_digits(column, t, self.digits) or self.digits for *column, t in zip(*terms, total, strict=True)]
        return [*[write_vector(term, max(needed), MOST_ENTRIES) for term in terms], self._vector(total, MOST_ENTRIES)]

    def _draw_terms(self, rows: dict[str, list[str]]) -> None:
        y = -ROW - 0.75
        if rows:
            title = "what each step contributes to the gradient of the shared weights (copy gate: adder)"
            self._text("terms", (len(self.run.xs) + 1) / 2, y, title, INK)
            if self.has_direct_part:
                y -= 0.3
                self._text("directly", len(self.run.xs) + 1, y, DIRECTLY, INK)
        for r, (title, terms) in enumerate(rows.items()):
            y -= 0.3
            self._text(f"terms{r}", 0, y, title, GRADIENT)
            for t, term in enumerate(terms):
                self._text(f"term{r}_{t}", t + 1, y, term, GRADIENT)
                exact, last = title.startswith("∂"), t == len(terms) - 1  # lengths do not add up
                if t and (exact or last):
                    self._text(f"sign{r}_{t}", t + 0.5, y, ("=" if exact else "sum") if last else "+", INK)

    def _text(self, name: str, column: float, y: float, text: str, color: str) -> None:
        draw_text(self.graph, name, [(text, color)], FONT_SIZE, pos=self._at(column, y))

    def _output_name(self) -> str:
        return "W_y" if isinstance(self.rnn.output, Layer) else type(self.rnn.output).__name__

    def _cell_state(self, t: int) -> list[Value]:
        """The c of an LSTM's pair (h, c)."""
        return [*map(as_value, _flat(self.run.states[t])[len(self.run.h[t]) :])]

    def _vector(self, xs: Sequence[float], most: int = MOST_NUMBERS) -> str:
        return write_vector(xs, self.digits, most)

    def _length(self, xs: Sequence[float]) -> str:
        return write_number(math.hypot(*xs), self.digits)

    def _width(self, lines: Sequence[tuple[str, str]]) -> float:
        return colored_width(lines) + 0.2

    def _at(self, column: float, y: float) -> str:
        return f"{column * self.across:.2f},{y:.2f}!"


def _applied(activation: str, total: str) -> str:
    return total if activation in ("identity", "linear") else f"{activation}({total})"
