"""A compiled program as a picture: boxes are arrays with their shapes, circles are what is done to whole arrays.

The picture is read off the very text that runs, `Compiled.source`.  It is run line by line, part by part, on a batch
whose size is a number that no other length is a multiple of: where that number turns up in a shape it is N, the number
of examples.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import TYPE_CHECKING, Any

from tinygrad_vi.checks import counted
from tinygrad_vi.compiler.compiled import Compiled
from tinygrad_vi.compiler.numpy_source import Written
from tinygrad_vi.show.palette import BACKWARD, CONSTANT, INPUT, OPERATION, OUTPUT, PARAMETER, RESULT
from tinygrad_vi.show.paper import Drawing, box_width, new_digraph, plain_label

if TYPE_CHECKING:
    from graphviz import Digraph


SMALL = 9.0
GIVEN = ("given", "parameter", "constant")
MOST_LINES = 16  # of the text below the picture

SIGNS = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.Pow: "**", ast.MatMult: "@"}


def draw_matrices(step: Compiled, *, backward: bool = False, max_nodes: int = 400) -> Drawing:
    """Draw what a compiled function has become: W1 (3×2) @ x (2×N) + b1 (3×1) is a1 (3×N), and so on.

    Boxes are the arrays of `step.source` under the names that they have there, circles the operations on them, and
    every edge says the shape of what flows.  N is the number of examples, which are the columns.
    backward: draw the way back as well, dashed and vermillion: the deltas, and the gradient of each parameter.
    With a = W @ h + b it is made of (M. A. Nielsen, *Neural Networks and Deep Learning*, 2015, chapter 2)

        delta = W_next.T @ delta_next * slope,    gradient of W = delta @ h.T,    gradient of b = delta.sum(axis=1)

    Raises ValueError when nothing has been traced yet, for a picture of more than ``max_nodes`` boxes and circles, and
    for the backward pass of a function with several results; TypeError for what is not compiled; ImportError
    when the package graphviz is missing.

    >>> from tinygrad_vi import Value, compile
    >>> w = Value(0.5, "w")
    >>> step = compile(lambda x, t: (w * x - t) ** 2, params=[w])
    >>> _ = step.value_and_grad(step.theta, [1.0, 2.0], [2.0, 4.0])
    >>> draw_matrices(step)
    <Drawing of 6 arrays and 5 operations; .save("graph.svg") writes it>
    """
    lines = read(only_compiled(step, "draw_matrices").written)
    if backward and any(line.name.startswith("results[") for line in lines):
        raise ValueError("only a function with one result has a backward pass: this one has several")
    shown = Picture([line for line in lines if backward or not line.backward])
    if len(shown.items) > max_nodes:
        raise ValueError(
            f"the picture has {len(shown.items)} boxes and circles, more than max_nodes = {max_nodes}: compile a "
            f"smaller network or a shorter sequence, or call draw_matrices(..., max_nodes={len(shown.items)})"
        )
    return Drawing(shown.digraph(), shown.summary)


def only_compiled(step: Any, asker: str) -> Compiled:
    """The compiled function; TypeError for anything else."""
    if not isinstance(step, Compiled):
        found = f"{step!r:.60} of type {type(step).__name__}"
        raise TypeError(f"{asker} draws a compiled function, step = compile(loss, params=...), got {found}")
    return step


# --- Reading the text -------------------------------------------------------------------------------------------------


@dataclass(eq=False)
class Item:
    """A box or a circle of the picture.

    kind: "given" for an argument, "parameter", "constant", "result" for the array of a line, "operation".  line: the
    array on whose line it stands.
    """

    text: str
    kind: str
    shape: str
    line: str
    operands: list[Flow] = field(default_factory=list)


@dataclass(frozen=True)
class Flow:
    """What an operation takes: an item, seen in a way such as ``.T`` or ``[0:2]``, in which it has this shape.

    sign: "-" for what is subtracted, "/" for what is divided by.
    """

    item: Item
    view: str
    shape: str
    sign: str = ""


@dataclass
class Line:
    """A line of the text.

    name: of the array that it assigns to.  uses: the names in its expression.  items: its circles, and last its box.
    backward: whether nothing but the gradient needs it.
    """

    name: str
    text: str
    uses: set[str]
    items: list[Item]
    backward: bool = False


def read(written: Written) -> list[Line]:
    """The lines of a program, with the shapes of all that is in them."""
    return _Reader(written).lines


class _Reader:
    """Runs a text part by part."""

    def __init__(self, written: Written) -> None:
        import numpy as np

        self.np = np
        *above, function = ast.parse(written.text).body
        assert isinstance(function, ast.FunctionDef)
        self.text = written.text.splitlines()
        self.N = _unlike(function, written.sizes.values())
        self.names: dict[str, Any] = {}
        self._run(*above)
        self.known = {name: Item(name, "constant", "", "") for name, x in self.names.items() if hasattr(x, "shape")}
        for name, size in written.sizes.items():
            self.names[name] = np.full(size if name == "theta" else (self.N, size), 0.5)
        self.views: dict[str, str] = {}  # of the gradient -> the parameters that they are of
        self.lines: list[Line] = []
        with np.errstate(all="ignore"):
            for statement in function.body:
                if isinstance(statement, ast.Assign):
                    self._assign(statement, {*written.sizes, "N", "p", "share"})
        self._tell_passes_apart()

    def _assign(self, statement: ast.Assign, given: set[str]) -> None:
        name, value = ast.unparse(statement.targets[0]), statement.value
        uses = {node.id for node in ast.walk(value) if isinstance(node, ast.Name)}
        if name in given or "theta" in uses:
            self._run(statement)
            kind = "parameter" if "theta" in uses else "given"
            self.known[name] = Item(name, kind, self._shape(self.names[name]), name)
            self.views[ast.unparse(value).replace("theta", "gradient")] = name
        elif name in ("gradient", "results"):
            self._run(statement)
        else:
            operations: list[Item] = []
            self.line = name
            flow = self._read(value, operations)
            self._run(statement)
            target = statement.targets[0]
            shape = self._shape(self._value(ast.parse(name, mode="eval").body))
            box = Item(self._title(name), "result", shape, name, [flow] if isinstance(flow, Flow) else [])
            if isinstance(target, ast.Name):
                self.known[name] = box
            text = self.text[statement.lineno - 1].strip().replace(name, box.text, 1)
            self.lines.append(Line(name, text, uses, [*operations, box]))

    def _title(self, name: str) -> str:
        """The name of a box: a part of the gradient is called by what it is the gradient of."""
        of = self.views.get(name.removesuffix("[:]"))
        return f"gradient of {of}" if of else name.replace(", None]", "]")

    def _tell_passes_apart(self) -> None:
        needed = {"value"}
        for line in reversed(self.lines):
            line.backward = not (line.name in needed or line.name.startswith("results["))
            if not line.backward:
                needed |= line.uses

    # --- Running

    def _run(self, *statements: ast.stmt) -> None:
        exec(compile(ast.Module(list(statements), []), "<a compiled function>", "exec"), self.names)

    def _value(self, expression: ast.expr) -> Any:
        return eval(compile(ast.Expression(expression), "<a compiled function>", "eval"), self.names)

    def _shape(self, array: Any) -> str:
        """``3×2``, with N for the number of examples."""
        return "×".join(self._length(n) for n in self.np.shape(array)) or "1"

    def _length(self, n: int) -> str:
        times, rest = divmod(n, self.N)
        return str(n) if rest or not n else "N" if times == 1 else f"{times}N"

    # --- Reading an expression: each part is a number, as text, or something that flows

    def _read(self, part: ast.expr, found: list[Item]) -> Flow | str:
        if isinstance(part, ast.Name) and part.id in self.known:
            item = self.known[part.id]
            item.shape = item.shape or self._shape(self.names[part.id])
            return Flow(item, "", item.shape)
        if isinstance(part, ast.Attribute) and part.attr == "T":
            return self._view(part, part.value, ".T", found)
        if isinstance(part, ast.Subscript):
            places = part.slice.elts if isinstance(part.slice, ast.Tuple) else [part.slice]
            return self._view(part, part.value, f"[{_joined(places)}]", found)
        if isinstance(part, ast.Call) and isinstance(part.func, ast.Attribute):
            if part.func.attr == "reshape":
                return self._view(part, part.func.value, f".reshape({_joined(part.args)})", found)
            if part.func.attr == "sum":
                return self._sum(part, part.func.value, found)
        if isinstance(part, ast.BinOp):
            return self._operation(part, [part.left, part.right], SIGNS[type(part.op)], found)
        if isinstance(part, ast.Compare):
            return self._operation(part, [part.left, *part.comparators], ">", found)
        if isinstance(part, ast.UnaryOp):
            return self._operation(part, [part.operand], "-", found)
        if isinstance(part, ast.Call):
            name = ast.unparse(part.func).removeprefix("np.")
            lists = [x.elts if isinstance(x, ast.List) else [x] for x in part.args]
            return self._operation(part, [x for xs in lists for x in xs], name, found, call=True)
        return ast.unparse(part)

    def _view(self, part: ast.expr, whole: ast.expr, view: str, found: list[Item]) -> Flow | str:
        flow = self._read(whole, found)
        if isinstance(flow, str):
            return ast.unparse(part)
        return Flow(flow.item, flow.view + view, self._shape(self._value(part)))

    def _sum(self, part: ast.expr, whole: ast.expr, found: list[Item]) -> Flow | str:
        flow = self._read(whole, found)
        if isinstance(flow, str):
            return ast.unparse(part)
        shape = self._shape(self._value(part))
        over = " over N" if "N" in flow.shape and "N" not in shape else ""
        return self._item(f"sum{over}", shape, [flow], found)

    def _operation(
        self, part: ast.expr, operands: Sequence[ast.expr], name: str, found: list[Item], call: bool = False
    ) -> Flow | str:
        flows = [self._read(operand, found) for operand in operands]
        arrays = [flow for flow in flows if isinstance(flow, Flow)]
        if not arrays:
            return ast.unparse(part)
        if len(arrays) == 2 and name in ("-", "/"):
            arrays[1] = replace(arrays[1], sign=name)
        places = [flow if isinstance(flow, str) else "·" for flow in flows]
        if call:
            text = name if len(arrays) == len(flows) else f"{name}({', '.join(places)})"
        elif len(flows) == 1:
            text = name
        else:
            text = f" {name} ".join(places).strip("· ")
        return self._item(text, self._shape(self._value(part)), arrays, found)

    def _item(self, text: str, shape: str, operands: list[Flow], found: list[Item]) -> Flow:
        item = Item(text, "operation", shape, self.line, operands)
        found.append(item)
        return Flow(item, "", shape)


def _joined(parts: Iterable[ast.expr]) -> str:
    return ", ".join(map(ast.unparse, parts))


def _unlike(function: ast.FunctionDef, sizes: Iterable[int]) -> int:
    """A prime that divides no length in the text: where it turns up in a shape, it is the number of examples."""
    numbers = [node.value for node in ast.walk(function) if isinstance(node, ast.Constant)]
    slices = [node for node in ast.walk(function) if isinstance(node, ast.Slice) and node.lower and node.upper]
    lengths = {*sizes, *(n for n in numbers if isinstance(n, int))}
    lengths |= {int(ast.unparse(cut.upper or cut)) - int(ast.unparse(cut.lower or cut)) for cut in slices}
    primes = (n for n in count(11) if all(n % k for k in range(2, n)))
    return next(n for n in primes if all(length % n or not length for length in lengths))


# --- The picture ------------------------------------------------------------------------------------------------------


class Picture:
    """Boxes and circles of the lines that are shown."""

    def __init__(self, lines: Sequence[Line], colors: Mapping[str, tuple[str, str]] | None = None) -> None:
        self.lines = lines
        self.colors = colors or {}
        self.backward = {line.name for line in lines if line.backward}
        own = [item for line in lines for item in line.items]
        taken = dict.fromkeys(flow.item for item in own for flow in item.operands)
        self.items = [*(item for item in taken if item not in own), *own]
        self.key = {item: f"m{i}" for i, item in enumerate(self.items)}
        self.drawn_for: dict[Item, str] = {}

    @property
    def arrays(self) -> int:
        """How many boxes there are, those that are shown again counted once."""
        return sum(item.kind != "operation" for item in self.items)

    @property
    def summary(self) -> str:
        """What it shows, in words."""
        return f"{counted(self.arrays, 'array')} and {counted(len(self.items) - self.arrays, 'operation')}"

    def digraph(self) -> Digraph:
        """The whole picture."""
        graph = new_digraph(rankdir="LR", nodesep="0.25", ranksep="0.35")
        self.write_below(graph)
        self.draw(graph)
        return graph

    def write_below(self, graph: Digraph) -> None:
        """Write the program's text below the picture."""
        shown = [line.text for line in sorted(self.lines, key=lambda line: line.backward)]
        shown = [*shown[:MOST_LINES], f"... and {len(shown) - MOST_LINES} more"] if len(shown) > MOST_LINES else shown
        label = plain_label(shown).replace("\\n", "\\l") + "\\l"
        graph.attr(label=label, labeljust="l", fontname="Courier,monospace", fontsize="10")

    def draw(self, graph: Digraph) -> None:
        """Add the picture to a graph that may hold another one."""
        for item in self.items:
            if item.kind not in GIVEN:
                self._draw_item(graph, item)
        for item in self.items:
            for flow in item.operands:
                self._draw_flow(graph, flow, item)
        for line in self.lines:
            partner = self._partner(line)
            if partner:
                with graph.subgraph() as same:
                    same.attr(rank="same")
                    same.node(partner)
                    same.node(self.key[line.items[-1]])

    def _partner(self, line: Line) -> str | None:
        """The box of the forward pass that a box of the backward pass stands below."""
        title = line.items[-1].text
        if not line.backward:
            return None
        of = (
            title.removeprefix("gradient of ") if title.startswith("gradient of") else "a" + title.removeprefix("delta")
        )
        return next((key for item, key in self.key.items() if item.text == of and item.kind != "operation"), None)

    def _draw_item(self, graph: Digraph, item: Item, again: bool = False) -> None:
        fill, border = self._colors(item)
        lines, shape, look = [item.text, item.shape], "box", "solid" if item.kind == "parameter" else "rounded"
        if item.kind == "operation":
            lines, shape, look = [item.text], "circle" if len(item.text) <= 2 else "ellipse", "solid"
        elif item.text == "share":
            lines[0] = "share = 1/N"
        look += ",dotted" if again else ",dashed" if item.line in self.backward or self._is_constant(item) else ""
        outputs = {"peripheries": "2"} if self._is_output(item) else {}
        width = box_width(lines, round_=shape != "box")
        style = {"shape": shape, "style": f"filled,{look}", "fillcolor": fill, "color": border, **outputs}
        graph.node(self.key[item], plain_label(lines), width=f"{width:.2f}", **style)

    def _is_constant(self, item: Item) -> bool:
        return item.kind == "constant" or item.text == "share"

    def _is_output(self, item: Item) -> bool:
        return item.kind == "result" and item.line.startswith(("value", "results[", "gradient["))

    def _colors(self, item: Item) -> tuple[str, str]:
        if item.line in self.colors:
            return self.colors[item.line]
        if item.line in self.backward:
            return BACKWARD
        if item.kind == "operation":
            return OPERATION
        if item.kind == "result":
            return OUTPUT if self._is_output(item) else RESULT
        if item.kind == "parameter":
            return PARAMETER
        return CONSTANT if self._is_constant(item) else INPUT

    def _draw_flow(self, graph: Digraph, flow: Flow, into: Item) -> None:
        item, view, on_the_way_back = flow.item, flow.view, into.line in self.backward
        if on_the_way_back > (item.line in self.backward):
            again = True  # arrays of the forward pass that the backward pass uses are shown again
        elif item.kind in GIVEN:
            again = self.drawn_for.setdefault(item, into.line) != into.line  # and so are inputs of several lines
            if not again:
                self._draw_item(graph, item)
        else:
            again = False
        if again:
            item, view = Item(item.text + view, item.kind, flow.shape, item.line), ""
            self.key[item] = f"again{len(self.key)}"
            self._draw_item(graph, item, again=True)
        tail, head = self.key[item], self.key[into]
        label = " ".join(filter(None, [flow.sign, view, flow.shape]))
        style = {"label": f" {label} ", "fontsize": f"{SMALL:g}"}
        if on_the_way_back:  # from the last layer to the first
            graph.edge(head, tail, dir="back", style="dashed", color=BACKWARD[1], **style)
        else:
            graph.edge(tail, head, weight="1" if item.kind in GIVEN else "8", **style)
