"""The step-through page: one HTML file that walks a graph forward and backward, with nothing else to load.

Python records, lays out and writes one JSON program; the page (stepper.js) replays it.  There is no second table of
derivatives: the rules of the operation table are run on trees, and the page evaluates the trees.
"""

from __future__ import annotations

import base64
import html
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from tinygrad_vi.checks import whole_number
from tinygrad_vi.conditions import COMPARISONS
from tinygrad_vi.files import write_atomically
from tinygrad_vi.graph import check_unchanged
from tinygrad_vi.once import once
from tinygrad_vi.ops import dot_row
from tinygrad_vi.own import unwritten, written_out
from tinygrad_vi.rows import Operation
from tinygrad_vi.show.palette import CONSTANT, FAINT, GRADIENT, INPUT, OUTPUT, RESULT
from tinygrad_vi.show.paper import FONT, FONT_SIZE, Drawing, bracketed, draw_box, new_digraph, shorten, text_width
from tinygrad_vi.show.render import render
from tinygrad_vi.show.saving import form_of
from tinygrad_vi.show.writing.formula import Arithmetic, Symbol
from tinygrad_vi.show.writing.names import Names
from tinygrad_vi.show.writing.numerals import write_factor, write_number
from tinygrad_vi.tape import Tape, Term
from tinygrad_vi.value import Value
from tinygrad_vi.words import spoken, words_of

NODE_HEIGHT = 50.0  # points: three lines
LONGEST_FORMULA = 26
COLORS = {"input": INPUT, "constant": CONSTANT, "operation": RESULT}
UNKNOWN = "?"  # a value before the walk reaches it
NOT_YET = "—"  # a gradient before the backward pass
MOST_NODES = 12  # of a larger graph only two moments are shown
MOST_BYTES = 160_000  # of the still frames in a notebook


def step_through(
    output: Value,
    *,
    inputs: Iterable[Value] | None = None,
    digits: int = 4,
    language: str | None = None,
    max_nodes: int = 200,
) -> Page:
    """Make the page that walks through the graph of a Value, forward node by node and then backward.

    The page shows the graph, the active node with its local derivatives, ``upstream × local = downstream`` in numbers,
    each accumulation as old → new, the growing trace table, all paths from an input with their products; sliders move
    the inputs and everything is computed again in the page.  It is one file, works offline and by keyboard alone.

    inputs: as for `Tape`: by default all labelled leaves.  digits: significant digits of the numbers.  language: "vi"
    or "en", to begin with, by default the one that is set; the page can switch.  Gradients of the Values are neither
    needed nor changed.

    Raises TypeError for an output that is no Value; ValueError for a graph of more than ``max_nodes`` values, an
    unknown language, or digits outside 1..17.

    >>> x = Value(3.0, "x")
    >>> step_through(x * x + 1.0, digits=3)
    <Page of 4 values in 6 steps; .save("page.html") writes it>
    """
    language = spoken(language)
    if whole_number(digits, "digits") > 17:
        raise ValueError(f"a float has at most 17 significant digits to show, got digits={digits}")
    return Page(_Program(Tape(output, inputs=inputs), digits, max_nodes), language)


class Page:
    """A page for the browser, shown inside a notebook as it is, and kept by `save`.

    strip: the same in a few still frames, a Drawing, for viewers that allow no scripts.
    """

    def __init__(self, program: _Program, language: str) -> None:
        self.language = language
        self._program = program
        self._content = program.content(language)  # a copy: the graph may change later

    @once
    def strip(self) -> Drawing:
        """Still frames of the walk, from the first values to the last gradient."""
        return self._program.strip(words_of("page")[self.language])

    @once
    def html(self) -> str:
        """The whole page, with the still frames for browsers whose scripts are off."""
        try:
            still = base64.b64encode(self.strip.svg.encode()).decode()
        except ImportError:  # without Graphviz there are no still frames, but the page works
            return self._write("")
        alt = html.escape(words_of("page")[self.language]["strip"])
        return self._write(f'<noscript><img src="data:image/svg+xml;base64,{still}" alt="{alt}"></noscript>')

    def _write(self, fallback: str) -> str:
        content = json.dumps(self._content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        parts = {
            "language": self.language,
            "title": html.escape(self._program.title),
            "style": _resource("stepper.css"),
            "fallback": fallback,
            "program": _harmless(content),
            "words": _harmless(json.dumps(words_of("page"), ensure_ascii=False, separators=(",", ":"))),
            "own": "\n".join(_own_script(name, own) for name, own in self._content["own"].items() if "text" in own),
            "script": _resource("stepper.js"),
        }
        page = _resource("stepper.html")
        for name in (
            "style",
            "script",
            "language",
            "fallback",
            "words",
            "title",
            "own",
            "program",
        ):  # last: texts of the user must not be searched for placeholders
            page = page.replace(f"<!--{name}-->", parts[name], 1)
        return page

    def save(self, path: str | Path) -> Path:
        """Write the page as .html; returns the path.

        Raises ValueError for another ending, OSError when the file cannot be written.
        """
        form_of(path, "a page", ("html", "htm"))
        return write_atomically(path, self.html)

    def __repr__(self) -> str:
        nodes, steps = len(self._content["nodes"]), self._program.steps
        return f'<Page of {nodes} {"value" if nodes == 1 else "values"} in {steps} steps; .save("page.html") writes it>'

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        """The page in a frame, and under a fold the still frames, which the page closes when it runs."""
        source = self._write("").replace("&", "&amp;").replace("'", "&#39;")
        words = words_of("page")[self.language]
        name = html.escape(words["name"])
        frame = f'<iframe srcdoc=\'{source}\' title="{name}" width="100%" height="640" frameborder="0"></iframe>'
        try:
            png = next(png for png in map(self._strip_png, (72, 48, 36)) if len(png) < MOST_BYTES)
        except (ImportError, StopIteration):  # no Graphviz at all, or too much to look at in a still picture
            return {"text/html": frame, "text/plain": repr(self)}
        still = base64.b64encode(png).decode()
        alt = html.escape(words["strip"])
        image = f'<img src="data:image/png;base64,{still}" alt="{alt}" style="max-width:100%">'
        fold = f"<details open><summary>{alt}</summary>{image}</details>"
        return {"text/html": frame + fold, "text/plain": repr(self)}

    def _strip_png(self, dots_per_inch: int) -> bytes:
        return render(self.strip.source, "png", dots_per_inch)


def _resource(name: str) -> str:
    return files("tinygrad_vi.show.page").joinpath(name).read_text(encoding="utf-8")


def _own_script(name: str, own: Mapping[str, Any]) -> str:
    """The JavaScript of a row of the user's own, in an element of its own: an error in it stops nothing else.

    The page allows no text to be run that is not written in it, as ``eval`` would.
    """
    text = own["text"].replace("</", "< /").replace("<!", "< !")  # neither the end of an element nor a comment
    key = _harmless(json.dumps(name))
    return f"<script>(window.own ??= {{}})[{key}] = ({', '.join(own['operands'])}) => ({text});</script>"


def _harmless(text: str) -> str:
    """JSON in which no text can close the script element around it."""
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


# --- The program ------------------------------------------------------------------------------------------------------


class _Program:
    """What the page replays: nodes in order, the rules of their derivatives, and where everything stands."""

    def __init__(self, tape: Tape, digits: int, max_nodes: int) -> None:
        check_unchanged(tape.operations)
        self.tape, self.names = tape, Names(tape)
        self.terms = tape.adjoint().terms  # a copy: the numbers may change later
        self.digits = digits
        operands = dict.fromkeys(v for node in tape.operations for v in node.parents)
        constants = [v for v in operands if tape.number(v) is None]
        self.nodes = [*tape.inputs, *constants, *tape.operations]
        if len(self.nodes) > max_nodes:
            raise ValueError(
                f"the graph has {len(self.nodes)} values, too many to step through (max_nodes = {max_nodes}): take a "
                "smaller part, such as one neuron or one example, or begin later with inputs=[...]"
            )
        self.index = {node: i for i, node in enumerate(self.nodes)}
        self.known: dict[Operation, str] = {}
        self.own: dict[str, dict[str, Any]] = {}
        self.facts = [self._facts(node) for node in self.nodes]
        self.output_name = shorten(self.names.output.text)
        self.title = f"{self.output_name} = {write_number(tape.output.data, digits)}"

    @property
    def steps(self) -> int:
        """Of the walk: the inputs, each operation forward, the seed, each operation backward."""
        return 2 * len(self.tape.operations) + 2

    def _facts(self, node: Value) -> dict[str, Any]:
        label = self.names.label(node)
        shown_label = shorten(label.text if label else str(node.label))
        facts = {"name": self.tape.name(node), "label": shown_label, "data": _json_number(node.data)}
        if self.tape.number(node) is None:
            return facts | {"kind": "constant", "name": write_factor(node.data, self.digits)}
        if self.index[node] < len(self.tape.inputs):
            return facts | {"kind": "input"}
        assert node.op is not None
        operands = [Symbol(_slot(i), digits=self.digits) for i in range(len(node.parents))]
        out = Symbol(_slot("o"), digits=self.digits)
        shown = list(operands)
        if node.op is dot_row.operation and self.tape.number(node.parents[-1]) is None and node.parents[-1].data == 0.0:
            shown[-1] = Symbol("")  # a neuron without a bias
        taught = [Symbol.part(partial, self.digits).text for partial in node.op.taught(out, *operands)]
        trees = [_Tree(i) for i in range(len(node.parents))]
        try:
            rules = node.op.partials(_Tree("o"), *trees)
        except TypeError:  # a rule of the user's own for numbers alone, as is `unwritten`, which the page does not know
            rules = unwritten(node.op.name, _Tree("o"), trees)
        return facts | {
            "kind": "operation",
            "op": node.op.name,
            "computes": self._known(node.op, node),
            "constants": list(node.op.constants),
            "domain": node.op.domain,
            "parents": [self.index[parent] for parent in node.parents],
            "local": [_json_number(partial) for partial in node.local_grads],
            "formula": Symbol.record(node.op, *shown).text,
            "taught": taught,
            "taughtRules": [self._tree(rule) for rule in node.op.taught(_Tree("o"), *trees)],
            "rules": [self._tree(rule) for rule in rules],
        }

    def _tree(self, rule: Any) -> Any:
        """A rule for JSON, with its operations as the page knows them."""

        def written(tree: Any) -> Any:
            if not isinstance(tree, dict) or "op" not in tree:
                return tree
            return tree | {"op": self._known(tree["op"]), "args": [*map(written, tree["args"])]}

        return written(_Tree.of(rule).tree)

    def _known(self, op: Operation, node: Value | None = None) -> str:
        """What the page knows an operation by: its name, if it is built-in.

        Of a row of the user's own its JavaScript, or its formula, goes into `own`, with the number that it gave, which
        the page compares; where it has neither the page says that it does not know the operation.
        """
        if op.is_built_in or op in COMPARISONS:
            return op.name
        if op not in self.known:
            self.known[op] = f"{op.name}, {len(self.known)}"
            self.own[self.known[op]] = self._own(op)
        name = self.known[op]
        if node is not None:
            operands = [_json_number(parent.data) for parent in node.parents]
            self.own[name].setdefault("at", [operands, _json_number(node.data)])
        return name

    def _own(self, op: Operation) -> dict[str, Any]:
        names = [f"x{i}" for i in range(op.arity or 0)]
        if op.javascript is not None:
            return {"text": op.javascript([f"({name})" for name in names]), "operands": names}
        if op.arity is None:
            return {}
        try:
            return {"tree": self._tree(written_out(op, _by_tree, *map(_Tree, range(op.arity))))}
        except TypeError:  # it asks for numbers
            return {}

    def caption(self, i: int) -> str:
        """The first line in a node's box: its label, its row, its formula when that is short."""
        facts = self.facts[i]
        name = " · ".join(part for part in (facts["label"], facts["name"]) if part)
        if facts["kind"] != "operation":
            return name
        formula = _filled(facts["formula"], [self.facts[parent]["name"] for parent in facts["parents"]])
        return f"{name} = {formula if len(formula) <= LONGEST_FORMULA else facts['op'] + '(…)'}"

    def content(self, language: str) -> dict[str, Any]:
        """All of it, ready for JSON."""
        captions = [self.caption(i) for i in range(len(self.nodes))]
        number = text_width("grad -1." + "0" * (self.digits - 1) + "e-05")
        longest = [max(text_width(caption), number) for caption in captions]
        widths = [size * FONT_SIZE + 16.0 for size in longest]
        place = _layout(widths, self.edges(), [facts["kind"] for facts in self.facts], self.digits)
        nodes = [
            facts | {"caption": caption, "box": box}
            for facts, caption, box in zip(self.facts, captions, place["boxes"], strict=True)
        ]
        return {
            "language": language,
            "digits": self.digits,
            "nodes": nodes,
            "own": self.own,
            "edges": place["edges"],
            "size": place["size"],
            "output": self.index[self.tape.output],
            "outputName": self.output_name,
        }

    def edges(self) -> list[tuple[int, int, int]]:
        """(operand, operation, which operand) for each use of a value."""
        return [
            (self.index[parent], self.index[node], k)
            for node in self.tape.operations
            for k, parent in enumerate(node.parents)
        ]

    # -- the still frames ----------------------------------------------------------------------------------------------

    def strip(self, words: Mapping[str, str]) -> Drawing:
        """A few moments of the walk, one below the other."""
        m = len(self.tape.operations)
        moments = sorted({m // 2, m, m + 1 + m // 2, 2 * m + 1}) if m else [0, 1]
        if len(self.nodes) > MOST_NODES:
            moments = [m, 2 * m + 1]
        graph = new_digraph(rankdir="LR", nodesep="0.2", ranksep="0.35", newrank="true")
        for moment in reversed(moments):  # Graphviz stacks from the bottom up
            half = words["forwardTitle"] if moment <= m else words["backwardTitle"]
            with graph.subgraph(name=f"cluster{moment}") as frame:
                frame.attr(label=f"{half}: {moment} / {2 * m + 1}", labeljust="l", color=FAINT, fontname=FONT)
                self._draw_frame(frame, moment, self.terms)
        return Drawing(graph, f"{len(moments)} moments of a walk through {len(self.nodes)} values")

    def _draw_frame(self, graph: Any, moment: int, terms: Mapping[Value, Sequence[Term]]) -> None:
        operations = self.tape.operations
        m = len(operations)
        known = set(self.nodes) - set(operations[moment:])
        swept = set(operations[2 * m + 1 - moment :]) if moment > m else set()
        active = operations[moment - 1 if moment <= m else 2 * m + 1 - moment] if 0 != moment != m + 1 else None
        gradients = dict.fromkeys(self.nodes, 0.0) | {self.tape.output: 1.0} if moment > m else {}
        for node, sums in terms.items() if swept else ():
            gradients[node] += sum(term.product for term in sums if term.operation in swept)
        for i, node in enumerate(self.nodes):
            kind, y = self.facts[i]["kind"], node is self.tape.output
            lines = [self.caption(i)]
            if kind != "constant":
                data = write_number(float(self.facts[i]["data"]), self.digits) if node in known else UNKNOWN
                grad = write_number(gradients[node], self.digits) if gradients else NOT_YET
                lines += [f"data {data}", f"grad {grad}"]
            style = {"style": "filled,dashed" if kind == "constant" or node not in known else "filled,rounded"}
            style |= {"peripheries": "2" if y else "1", "penwidth": "3" if node is active else "1.2"}
            colors = OUTPUT if kind == "operation" and y else COLORS[kind]
            draw_box(graph, f"f{moment}v{i}", lines, colors, shape="box", **style)
        for tail, head, k in self.edges():
            node = self.nodes[head]
            local = write_number(node.local_grads[k], self.digits)
            style = {"label": f" ×{bracketed(local)} "} if node in known else {}
            if node in swept and self.facts[tail]["kind"] != "constant":
                style |= {"color": GRADIENT, "style": "dashed", "dir": "back"}
            graph.edge(f"f{moment}v{tail}", f"f{moment}v{head}", **style)


def _json_number(x: float) -> float | str:
    return x if math.isfinite(x) else "nan" if x != x else "inf" if x > 0 else "-inf"


def _slot(operand: int | str) -> str:
    """Where the page puts the name or the number of an operand (or of the output) into a formula."""
    return f"⟦{operand}⟧"


def _filled(formula: str, names: Sequence[str]) -> str:
    """A formula with its slots filled; a negative number gets parentheses where it has none."""

    def fill(slot: re.Match[str]) -> str:
        name = names[int(slot[1])]
        before, after = formula[slot.start() - 1 : slot.start()], formula[slot.end() : slot.end() + 1]
        enclosed = not before or (before in "(" and after in "),")
        return f"({name})" if name.startswith("-") and not enclosed else name

    return re.sub("⟦(\\d+)⟧", fill, formula)


class _Tree(Arithmetic):
    """A rule of the table as a tree: a number, "o" for the output, {"x": i}, {"op", "args", "constants"}."""

    def __init__(self, leaf: int | str | float | dict[str, Any]) -> None:
        self.tree: Any = {"x": leaf} if isinstance(leaf, int) else leaf

    @staticmethod
    def of(x: Any) -> _Tree:
        return x if isinstance(x, _Tree) else _Tree(float(x))

    @staticmethod
    def record(op: Operation, *operands: Any) -> _Tree:
        found: dict[str, Any] = {"op": op, "args": [_Tree.of(x).tree for x in operands]}
        return _Tree(found | ({"constants": list(op.constants)} if op.constants else {}))


def _by_tree(op: Operation) -> Callable[..., _Tree]:
    return lambda *operands: _Tree.record(op, *operands)


# --- Where everything stands ------------------------------------------------------------------------------------------


def _layout(widths: Sequence[float], edges: Sequence[tuple[int, int, int]], kinds: Sequence[str], digits: int) -> Any:
    """Boxes [x, y, width, height] around their centres and paths of the edges, in points, y downward."""
    heights = [NODE_HEIGHT if kind != "constant" else 24.0 for kind in kinds]
    try:
        graph = _placed_by_graphviz(widths, heights, edges, digits)
    except ImportError:  # no Graphviz at all, as inside a browser
        return _placed_in_columns(widths, heights, edges)
    _, _, width, height = map(float, graph["bb"].split(","))
    boxes: list[Any] = [None] * len(widths)
    for thing in graph["objects"]:
        i = int(thing["name"])
        x, y = map(float, thing["pos"].split(","))
        boxes[i] = [round(x, 1), round(height - y, 1), round(widths[i], 1), heights[i]]
    lines: list[Any] = [None] * len(edges)
    for thing in graph.get("edges", ()):
        i = int(thing["id"])
        tail, head, k = edges[i]
        x, y = map(float, thing["lp"].split(","))
        label = [round(x, 1), round(height - y, 1)]
        lines[i] = {"from": tail, "to": head, "operand": k, "path": _path(thing["pos"], height), "label": label}
    return {"boxes": boxes, "edges": lines, "size": [round(width, 1), round(height, 1)]}


def _placed_by_graphviz(
    widths: Sequence[float], heights: Sequence[float], edges: Sequence[tuple[int, int, int]], digits: int
) -> Any:
    graph = new_digraph(rankdir="LR", nodesep="0.3", ranksep="0.3")
    for i, (width, height) in enumerate(zip(widths, heights, strict=True)):
        size = {"width": f"{width / 72:.3f}", "height": f"{height / 72:.3f}", "fixedsize": "true"}
        graph.node(str(i), "", shape="box", **size)
    for i, (tail, head, _) in enumerate(edges):
        graph.edge(str(tail), str(head), id=str(i), label="×-" + "0" * (digits + 1))  # room for the number
    return json.loads(render(graph.source, "json0"))


def _path(spline: str, height: float) -> str:
    """Graphviz's spline, ``e,x,y x0,y0 x1,y1 ...``, as the path of an SVG: to where the arrow's tip is."""
    points = spline.split()
    tip = next((p[2:] for p in points if p.startswith("e,")), None)
    pairs = [_flipped(p, height) for p in points if not p.startswith(("e,", "s,"))]
    return f"M{pairs[0]}C{' '.join(pairs[1:])}" + (f"L{_flipped(tip, height)}" if tip else "")


def _flipped(point: str, height: float) -> str:
    x, y = map(float, point.split(","))
    return f"{x:.1f},{height - y:.1f}"


def _placed_in_columns(widths: Sequence[float], heights: Sequence[float], edges: Sequence[tuple[int, int, int]]) -> Any:
    """A plain layout: each node one column to the right of its last operand."""
    level = [0] * len(widths)
    for tail, head, _ in sorted(edges, key=lambda edge: edge[1]):  # operands come before operations
        level[head] = max(level[head], level[tail] + 1)
    boxes: list[Any] = [None] * len(widths)
    left, tallest = 10.0, 0.0
    for column in range(max(level, default=0) + 1):
        members = [i for i, found in enumerate(level) if found == column]
        width = max(widths[i] for i in members)
        for row, i in enumerate(members):
            boxes[i] = [left + width / 2, 40.0 + 80.0 * row, widths[i], heights[i]]
        left += width + 90.0
        tallest = max(tallest, 80.0 * len(members))
    lines = []
    for tail, head, k in edges:
        x0, y0 = boxes[tail][0] + widths[tail] / 2, boxes[tail][1]
        x1, y1 = boxes[head][0] - widths[head] / 2, boxes[head][1] + 6.0 * k
        path = f"M{x0:.1f},{y0:.1f}C{x0 + 40:.1f},{y0:.1f} {x1 - 40:.1f},{y1:.1f} {x1:.1f},{y1:.1f}"
        spot = [round((x0 + x1) / 2, 1), round((y0 + y1) / 2, 1)]
        lines.append({"from": tail, "to": head, "operand": k, "path": path, "label": spot})
    return {"boxes": boxes, "edges": lines, "size": [left - 80.0, tallest + 10.0]}
