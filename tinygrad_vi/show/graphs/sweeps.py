"""The two modes on the computation graph: tangents that travel with the arrows, adjoints that travel against them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from tinygrad_vi.checks import counted, number
from tinygrad_vi.graph import check_unchanged
from tinygrad_vi.show.palette import GRADIENT, INK, INPUT, OUTPUT, RESULT, VALUE
from tinygrad_vi.show.paper import FONT, FONT_SIZE, Drawing, box_width, colored_label, new_digraph, shorten
from tinygrad_vi.show.tapes.traces import TraceWriter
from tinygrad_vi.show.writing.console import BAR, DOT
from tinygrad_vi.show.writing.formula import Symbol
from tinygrad_vi.tape import Tape, Term, Trace
from tinygrad_vi.value import Value

if TYPE_CHECKING:
    from graphviz import Digraph


MODES = ("forward", "reverse")
LONGEST_RULE = 24  # characters of a product on an arrow
LONGEST_TEXT = 60  # of a label or a formula


def draw_modes(
    tape: Tape | Value,
    mode: str = "reverse",
    *,
    seeds: Mapping[Value | str, float] | float | None = None,
    digits: int = 4,
    max_rows: int = 40,
) -> Drawing:
    """Draw a sweep on the computation graph of a tape, as in the figures of the lecture notes.

    mode "forward": each node has its value v and its tangent; solid blue arrows carry, from the inputs on, the tangent
    of an operand times the local derivative that is written on them.  "reverse": each node has its adjoint; dashed
    vermillion arrows carry back the products that are written on them.  Either way a node adds up what arrives:

        tangent of v[i]  =  sum of  tangent of v[j] * dv[i]/dv[j]
        adjoint of v[j]  =  sum of  adjoint of v[i] * dv[i]/dv[j]

    seeds: forward, as for `Tape.tangent`, by default 1 for the first input; reverse, a number, the adjoint of the
    output, by default 1.  Operands that are constants are numbers in the formulas and have no node.
    (Baydin et al., *Automatic differentiation in machine learning: a survey*, 2018, figure 4.)

    Raises ValueError for an unknown mode, a seed of something that is not an input, or a tape of more than ``max_rows``
    rows; TypeError for seeds of the wrong kind; ImportError when the package graphviz is missing.

    >>> x = Value(3.0, "x")
    >>> draw_modes(x * x, "forward")
    <Drawing of a forward sweep over 1 input and 1 operation; .save("graph.svg") writes it>
    """
    if mode not in MODES:
        raise ValueError(f'mode must be "forward" or "reverse", got {mode!r}')
    tape = tape if isinstance(tape, Tape) else Tape(tape)
    if len(tape) > max_rows:
        raise ValueError(
            f"the tape has {len(tape)} rows, more than max_rows = {max_rows}: draw a smaller part, "
            f"or call draw_modes(..., max_rows={len(tape)})"
        )
    check_unchanged(tape.operations)
    trace = _tangent(tape, seeds) if mode == "forward" else _adjoint(tape, seeds)
    sizes = f"{counted(len(tape.inputs), 'input')} and {counted(len(tape.operations), 'operation')}"
    return Drawing(_Sketch(trace, digits).digraph(), f"a {mode} sweep over {sizes}")


def _tangent(tape: Tape, seeds: Mapping[Value | str, float] | float | None) -> Trace:
    if seeds is not None and not isinstance(seeds, Mapping):
        raise TypeError(f'seeds of a forward sweep are input -> speed, such as {{"x1": 1.0}}, got {seeds!r:.60}')
    return tape.tangent(seeds)


def _adjoint(tape: Tape, seed: Mapping[Value | str, float] | float | None) -> Trace:
    if isinstance(seed, Mapping):
        raise TypeError(f"the seed of a reverse sweep is one number, the adjoint of the output, got {seed!r:.60}")
    return tape.adjoint() if seed is None else tape.adjoint(seed=number(seed, "a seed"))


class _Sketch:
    """What both modes share: a box for each row, an arrow for each product, the seeds and the results at the ends."""

    def __init__(self, trace: Trace, digits: int) -> None:
        self.tape, self.trace, self.write = trace.tape, trace, TraceWriter(trace.tape, digits)
        self.ids = {row: f"v{i}" for i, row in enumerate(trace.tape)}
        self.forward = trace.mode == "tangent"
        self.accent = DOT if self.forward else BAR
        self.derivative = self.write.tangent if self.forward else self.write.adjoint
        self.color = VALUE if self.forward else GRADIENT  # forward arrows are solid too, reverse ones dashed
        self.arrow = {"color": self.color, "fontcolor": self.color, "fontsize": "10"}
        self.arrow |= {} if self.forward else {"dir": "back", "style": "dashed"}

    def digraph(self) -> Digraph:
        caption = colored_label([(line, INK) for line in (" ", *self._caption())])
        font = {"fontname": FONT, "fontsize": f"{FONT_SIZE:g}"}
        graph = new_digraph(rankdir="LR", nodesep="0.25", ranksep="0.3", label=caption, **font)
        with graph.subgraph(graph_attr={"rank": "same"}) as inputs:
            for row in self.tape.inputs:
                self._draw_row(inputs, row)
            for above, below in pairwise(self.tape.inputs):
                inputs.edge(self.ids[above], self.ids[below], style="invis")
        for row in self.tape.operations:
            self._draw_row(graph, row)
        for terms in self.trace.terms.values():
            for term in terms:
                self._draw_product(graph, term)
        self._draw_ends(graph)
        return graph

    def _caption(self) -> tuple[str, str]:
        if self.forward:
            inputs = [v for v in self.tape.inputs if len(self.tape.inputs) <= 3 or self.trace[v] != 0.0]
            seeds = [self._seed(v) for v in inputs]
            if len(inputs) < len(self.tape.inputs):
                seeds.append("the others 0")
        else:
            seeds = [self._output_seed()]
        mode, way = ("forward", "on") if self.forward else ("reverse", "back")
        rule = f"an arrow carries {way} the product written on it, a box adds up what arrives"
        return f"{mode} mode with the seed {', '.join(seeds) or 'none'}", rule

    def _seed(self, row: Value) -> str:
        return f"{self.write.seed(self.accent, row).text} = {self.write.number(self.trace[row]).text}"

    def _output_seed(self) -> str:
        number = self.write.number(self.trace[self.tape.output]).text
        return f"{self.write.output_seed(self.accent).text} = {number}"

    def _draw_row(self, graph: Digraph, row: Value) -> None:
        name, formula, _ = self.write.computation(row)
        value = self.write.number(row.data).text
        unnamed = self.tape.is_input(row) and not row.label
        written = shorten(formula.text, LONGEST_TEXT)
        lines = [f"{name.text} = {value}"] if unnamed else [f"{name.text} = {written}", f"= {value}"]
        terms = self.trace.terms.get(row, ())
        found = f"{self.derivative(row).text} = {self.write.contributions(terms, self.trace[row]).text}"
        last = row is self.tape.output
        colors = OUTPUT if last else INPUT if self.tape.is_input(row) else RESULT
        style = {"shape": "box", "style": "filled,rounded", "fillcolor": colors[0], "color": colors[1]}
        _draw(graph, self.ids[row], [*[(line, INK) for line in lines], (found, self.color)], **style,
              peripheries="2" if last else "1")  # fmt: skip

    def _draw_product(self, graph: Digraph, term: Term) -> None:
        operand = term.operation.parents[term.operand]
        flow = self.derivative(operand if self.forward else term.operation)
        rule = self.write.rule([(flow, self.write.partial(term))])
        assert rule is not None
        if len(rule.text) > LONGEST_RULE:
            by = f"∂{self.write.name(term.operation).text}/∂{self.write.name(operand).text}"
            rule = Symbol(f"{flow.text}·{by}")
        numbers = f"= {self.write.factors([term]).text} = {self.write.number(term.product).text}"
        ends = self.ids[operand], self.ids[term.operation]
        width = "1.8" if term.product else "0.8"  # nothing flows
        label = colored_label([(text, self.color) for text in (rule.text, numbers)])
        graph.edge(*ends, label=label, penwidth=width, **self.arrow)

    def _draw_ends(self, graph: Digraph) -> None:
        """Draw the seeds and the results beside the inputs and the output."""
        for row in self.tape.inputs:
            end = f"s{self.ids[row]}"
            _draw(graph, end, [(self._seed(row), self.color)], shape="plaintext")
            graph.edge(end, self.ids[row], penwidth="1.8", **self.arrow)
        output = self.tape.output
        value = f"{shorten(self.write.output.text, LONGEST_TEXT)} = {self.write.number(output.data).text}"
        _draw(graph, "y", [(value, INK), (self._output_seed(), self.color)], shape="plaintext")
        if output in self.ids:
            graph.edge(self.ids[output], "y", penwidth="1.8", **self.arrow)


def _draw(graph: Digraph, name: str, lines: Sequence[tuple[str, str]], **style: str) -> None:
    width = box_width(text for text, _ in lines)
    graph.node(name, colored_label(lines), width=f"{width:.2f}", **style)
