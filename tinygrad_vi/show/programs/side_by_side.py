"""One network twice in one picture: the scalars of one example, and the arrays that they became for all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tinygrad_vi.checks import counted
from tinygrad_vi.compiler.algebra import Expression
from tinygrad_vi.compiler.compiled import Compiled
from tinygrad_vi.compiler.from_record import from_record
from tinygrad_vi.compiler.numpy_source import Written
from tinygrad_vi.compiler.terms import ONE
from tinygrad_vi.compiler.trace import trace
from tinygrad_vi.graph import topological_order
from tinygrad_vi.show.palette import CONSTANT, FAINT, INPUT, LAYERS, OUTPUT, RESULT
from tinygrad_vi.show.paper import FONT, Drawing, box_width, new_digraph, plain_label, shorten
from tinygrad_vi.show.programs.matrices import Line, Picture, only_compiled, read
from tinygrad_vi.show.writing.numerals import write_number
from tinygrad_vi.tape import by_level
from tinygrad_vi.value import Value

if TYPE_CHECKING:
    from graphviz import Digraph


Place = tuple[str, int]
SMALL = 9.0


def draw_both(step: Compiled, *example: Any, max_nodes: int = 150, digits: int = 3) -> Drawing:
    """Draw a compiled function twice: the scalars of one example above, the arrays that they became below.

    A scalar has the colour of its array and says which entry of it is: ``a1[2]``, or ``in value`` for what is but a
    part of that line of `step.source`.  So one sees that three neurons have become one ``W1 @ x + b1``.
    example: the arguments of the function for one example, as numbers or nested lists.

    Raises ValueError for a graph of more than ``max_nodes`` values, and for a function with several results or one that
    holds its data itself; TypeError for what is not compiled; ShapeError for another number of arguments; ImportError
    when the package graphviz is missing.

    >>> from tinygrad_vi import compile, losses, nn
    >>> net = nn.MLP(2, [3, 1], activation="tanh", seed=0)
    >>> step = compile(lambda x, t: losses.mse(net(x), t), params=net.parameters())
    >>> draw_both(step, [0.5, -1.0], 1.0)
    <Drawing of 25 scalars and 11 arrays; .save("graph.svg") writes it>
    """
    place = places(only_compiled(step, "draw_both"), example)
    if len(place) > max_nodes:
        raise ValueError(
            f"the graph of one example has {len(place)} values, more than max_nodes = {max_nodes}: take a smaller "
            f"network, or call draw_both(..., max_nodes={len(place)})"
        )
    written = step.written
    lines = [line for line in read(written) if not line.backward]
    colors = _colors(lines, set(written.sizes) | {"share"})
    last = next(reversed(place))
    graph = new_digraph(rankdir="LR", nodesep="0.15", ranksep="0.3", newrank="true")
    picture = Picture(lines, colors)
    parameters = {item.text for item in picture.items if item.kind == "parameter"}
    picture.write_below(graph)
    frame = {"color": FAINT, "style": "rounded", "fontsize": "13", "fontname": FONT, "labeljust": "l"}
    with graph.subgraph(name="cluster_arrays") as below:
        below.attr(label="N examples, in arrays" if len(written.sizes) > 1 else "in arrays", **frame)
        picture.draw(below)
    with graph.subgraph(name="cluster_scalars") as above:
        above.attr(label="one example, in scalars" if len(written.sizes) > 1 else "in scalars", **frame)
        keys = _draw_scalars(above, place, colors, parameters, digits)
    for line in lines:  # an array stands below its entries
        with graph.subgraph() as same:
            same.attr(rank="same")
            same.node(picture.key[line.items[-1]])
            for v, (name, row) in place.items():
                if name == line.name and (row >= 0 or (v is last and name == "value")):
                    same.node(keys[v])
    return Drawing(graph, f"{counted(len(place), 'scalar')} and {counted(picture.arrays, 'array')}")


# --- Which scalar became what -----------------------------------------------------------------------------------------


def places(step: Compiled, example: Sequence[Any]) -> dict[Value, Place]:
    """The nodes of one example, and where each of them is now: on the line of which array, and which entry of it.

    The entry is -1 for a scalar that is no entry of the array, but a step on the way to one.
    """
    import numpy as np

    theta = example[:1] if step.parameters is None else [step.theta]
    step(*theta, *[[x] for x in example[step.parameters is None :]])  # traces it for data of this shape
    numbers = [np.asarray(x, dtype=float).tolist() for x in example]
    found = trace(step.fn, numbers)
    if len(found.outputs) > 1:
        raise ValueError(f"draw_both takes a function with one result, this one has {len(found.outputs)}")
    cut = np.size(numbers[0]) if step.parameters is None else 0
    parameters, inputs = step.parameters or found.inputs[:cut], found.inputs[cut:]
    order = by_level(topological_order(found.outputs))
    nodes = _nodes(step.written, found.outputs, parameters, inputs)
    leaves = [v for node in order for v in node.parents if not v.parents]
    users: dict[Value, Value] = {}
    for node in order:
        for operand in node.parents:
            users.setdefault(operand, node)
    place = {v: nodes[v] for v in nodes if v in users or v is found.outputs[0]}
    for v in [*reversed(order), *leaves]:  # the other nodes are steps on the way to these
        if v not in place:
            place[v] = (place[users[v]][0], -1) if v in users else ("value", -1)
    return {v: place[v] for v in dict.fromkeys([*leaves, *order])}


def _nodes(
    written: Written, outputs: Sequence[Value], params: Sequence[Value], inputs: Sequence[Value]
) -> dict[Value, Place]:
    """The Values that are nodes of the compiled program, and where these stand in its text."""
    order = topological_order(outputs)
    parameter, column = {p: i for i, p in enumerate(params)}, {x: j for j, x in enumerate(inputs)}
    form, made = from_record(order, parameter, column, order)
    n = len(form)
    if (form.kinds, form.arguments) != (written.form.kinds[:n], written.form.arguments[:n]):
        raise ValueError(
            "the function does other operations for this example than the compiled ones: it holds its data itself, "
            "or what it does depends on the data"
        )
    leaves = {(kind, form.arguments[node]): node for node, kind in enumerate(form.kinds) if isinstance(kind, str)}
    found = {v: (1.0, leaves.get(("parameter", i), ONE)) for v, i in parameter.items()}
    found |= {v: (1.0, leaves.get(("input", j), ONE)) for v, j in column.items()}
    found |= {v: made_of.terms[0][:2] for v, made_of in zip(order, made, strict=True) if _is_node(made_of)}
    place: dict[Value, Place] = {}
    taken = {ONE}
    for v, (c, node) in found.items():
        if node in written.place and node not in taken:
            taken.add(node)
            name, row = written.place[node]
            place[v] = name, row if c == 1.0 else -1
    return place


def _is_node(made_of: Expression) -> bool:
    return len(made_of.terms) == 1 and made_of.terms[0][2] == ONE


# --- The picture ------------------------------------------------------------------------------------------------------


def _colors(lines: Sequence[Line], common: set[str]) -> dict[str, tuple[str, str]]:
    """A colour for each line, and for the parameters in it; a line with parameters of its own begins a new one."""
    colors: dict[str, tuple[str, str]] = {}
    layers = 0
    for line in lines:
        given = [
            flow.item.text for item in line.items for flow in item.operands if flow.item.kind in ("given", "parameter")
        ]
        own = [name for name in given if name not in common]
        layers += bool(own)
        color = LAYERS[(layers - 1) % len(LAYERS)] if layers else RESULT
        colors[line.name] = OUTPUT if line.name == "value" else color
        if line.name != "value":
            colors.update({name: color for name in own if name not in colors})
    return colors


def _draw_scalars(
    graph: Digraph,
    place: Mapping[Value, Place],
    colors: Mapping[str, tuple[str, str]],
    parameters: set[str],
    digits: int,
) -> dict[Value, str]:
    key = {v: f"v{i}" for i, v in enumerate(place)}
    for v, (name, row) in place.items():
        constant = not v.parents and row < 0
        fill, border = CONSTANT if constant else colors.get(name, INPUT)
        where = f"{name}[{row}]" if row >= 0 else f"in {name}"
        lines = [] if constant else [(shorten(v.label) if not v.parents else "") or where]
        lines.append(write_number(v.data, digits))
        last = v.op is not None and key[v] == f"v{len(key) - 1}"
        style = {
            "shape": "box",
            "style": "filled,dashed" if constant else "filled" if name in parameters else "filled,rounded",
        }
        _put(graph, key[v], lines, fillcolor=fill, color=border, peripheries="2" if last else "1", **style)
        if v.op is not None:
            shape = "circle" if len(v.op.symbol) <= 2 else "ellipse"
            _put(graph, f"o{key[v]}", [v.op.symbol], shape=shape, style="filled", fillcolor=fill, color=border)
            for operand in v.parents:
                graph.edge(key[operand], f"o{key[v]}")
            graph.edge(f"o{key[v]}", key[v])
    return key


def _put(graph: Digraph, name: str, lines: Sequence[str], **style: str) -> None:
    width = box_width(lines, SMALL, round_=style["shape"] == "ellipse")
    graph.node(name, plain_label(lines), fontsize=f"{SMALL:g}", width=f"{width:.2f}", margin="0.08,0.03", **style)
