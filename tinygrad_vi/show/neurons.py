"""Neurons and layers in a graph of scalars, found from the graph itself.

A weight multiplies something, a sum gathers such products, a bias joins the sum: the parameters of one sum are one
neuron,

    a = w[0]*x[0] + w[1]*x[1] + ... + b,        h = activation(a)

whether it was recorded as one `dot` or as many little nodes.  The same parameters in another sum are the same neuron
met again, for another example or at another time step.  The record says what cannot be one layer: a neuron that feeds
another is never beside it, unless that one feeds it too, at a later time step.  Among the others names say which are a
layer.  Every pass goes once over the record, operands first or operands last.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any
from unicodedata import normalize

from tinygrad_vi.ops import split
from tinygrad_vi.show.graph import shorten
from tinygrad_vi.value import Value, collector_paused, topological_order

#: what may follow the last layer and still belong to it; softplus would be a logistic loss
ACTIVATIONS = ("tanh", "relu", "sigmoid", "gelu", "silu", "elu", "leaky_relu", "sin", "cos", "step", "erf")

#: names of parameters: W1[0,2], w_3, weight, b1[0], bias; of a recurrent cell: W_x[0,0], Whh
PARAMETER = re.compile(r"(?i:weights?|bias(?:es)?|[wb][a-z]{0,2})(?:[\d_\[].*)?")


def collapse(outputs: Sequence[Value], model: Any = None) -> Collapsed:
    """The graph of the outputs, gathered into neurons and layers.

    model: a Module, or its parameters as a list; without it they are known by their labels, as in W1[0,2] and b1[0].

    Raises ValueError where no neurons can be found, or where parameters share a name that should tell them apart;
    TypeError for a model without parameters.
    """
    with collector_paused():
        return Collapsed(_Record(outputs), model)


# --- The record, and the names in it ----------------------------------------------------------------------------------


class _Record:
    """The nodes that outputs depend on, as numbers: leaves first, then operations, operands before what uses them."""

    def __init__(self, outputs: Sequence[Value]) -> None:
        order = topological_order(outputs)
        operands = [v for node in order for v in node.parents]
        leaves = [v for v in dict.fromkeys([*operands, *outputs]) if not v.parents]
        self.nodes = [*leaves, *order]
        self.outputs = outputs
        place = self.place = {node: i for i, node in enumerate(self.nodes)}
        self.leaves = len(leaves)
        nothing: list[tuple[int, ...]] = [()] * len(leaves)
        self.operands = nothing + [tuple([place[p] for p in node.parents]) for node in order]
        self.uses = [0] * len(self.nodes)
        for i in (*(i for operands in self.operands for i in operands), *(place[v] for v in outputs)):
            self.uses[i] += 1

    def __len__(self) -> int:
        return len(self.nodes)

    def operations(self) -> range:
        return range(self.leaves, len(self.nodes))

    def kind(self, i: int) -> str:
        """The name of the node's operation; nothing for a leaf."""
        op = self.nodes[i].op
        return op.name if op else ""


@dataclass(frozen=True)
class Name:
    """What a parameter is called: a word, and numbers that tell it from others of that word.

    column: whether the last number counts the entries of a row.
    """

    base: str
    indices: tuple[int, ...] = ()
    column: bool = False
    path: str = ""


def label_name(label: str) -> Name:
    """The name in a label.

    >>> label_name("W1[0,2]"), label_name("w_3").indices
    (Name(base='W1', indices=(0, 2), column=True, path=''), (3,))
    """
    text = normalize("NFKC", label).strip()
    numbers = [int(n) for n in re.findall(r"[0-9]{1,9}", text)]
    if found := re.fullmatch(r"(\w+?)(?:\[\s*[0-9]{1,9}(?:\s*,\s*[0-9]{1,9})*\s*\])+", text):
        indices = tuple(numbers[len(re.findall(r"[0-9]{1,9}", found[1])) :])
        return Name(found[1], indices, len(indices) > 1)
    if found := re.fullmatch(r"([^\W\d]+?)_?[0-9]{1,9}(?:[_,.][0-9]{1,9})*", text):
        return Name(found[1], tuple(numbers))
    return Name(text)


def path_name(path: str) -> Name:
    """The name in a path.

    >>> path_name("layers.0.neurons.2.w.1")
    Name(base='layers.neurons.w', indices=(0, 2, 1), column=True, path='layers.0.neurons.2.w.1')
    """
    words = path.split(".")
    indices = tuple([int(word) for word in words if word.isdecimal()])
    return Name(".".join([w for w in words if not w.isdecimal()]), indices, words[-1].isdecimal(), path)


def _parameters(record: _Record, model: Any) -> tuple[dict[int, Name], set[int]]:
    """The parameters in the graph with their names, and those of them that may be weights."""
    if model is None:
        labelled = [(i, normalize("NFKC", str(record.nodes[i].label))) for i in range(record.leaves)]
        names = {i: label_name(label) for i, label in labelled if PARAMETER.fullmatch(label)}
        return names, {i for i, name in names.items() if name.base[:1] in "wW"}
    if hasattr(model, "named_parameters"):
        named = [(v, path_name(path)) for path, v in model.named_parameters()]
    else:
        values = model.parameters() if hasattr(model, "parameters") else model
        if not isinstance(values, Iterable):
            raise TypeError(f"model is a Module or a list of parameters, got {model!r:.60}")
        named = [(v, label_name(v.label)) for v in values if isinstance(v, Value)]
    if not named:
        raise TypeError(f"model is a Module or a list of parameters, got {model!r:.60}")
    names = {record.place[v]: name for v, name in named if v in record.place}
    return names, {i for i in names if i < record.leaves}


# --- Neurons ----------------------------------------------------------------------------------------------------------


class _Sum:
    """The parameters of a sum, and of each word among their names the numbers of one, and which of them runs."""

    __slots__ = ("biases", "parameters", "rows")

    def __init__(self) -> None:
        self.parameters: set[int] = set()
        self.rows: dict[str, tuple[tuple[int, ...], int | None]] = {}
        self.biases: set[str] = set()

    def __len__(self) -> int:
        return len(self.parameters)

    def accepts(self, other: _Sum) -> bool:
        """Whether the two are parts of one neuron: of one row of each matrix, with one bias of a name."""
        small, large = sorted((self, other), key=len)
        return (
            small.parameters.isdisjoint(large.parameters)
            and small.biases.isdisjoint(large.biases)
            and all(_meet(row, large.rows[base]) is not None for base, row in small.rows.items() if base in large.rows)
        )

    def pour(self, other: _Sum) -> None:
        """Take in another sum."""
        self.parameters |= other.parameters
        self.biases |= other.biases
        for base, (indices, runs) in other.rows.items():
            if base in self.rows:
                runs = _meet(self.rows[base], (indices, runs))
            self.rows[base] = indices, runs


def _meet(one: tuple[tuple[int, ...], int | None], other: tuple[tuple[int, ...], int | None]) -> int | None:
    """The place of the one number that differs between two names of a row; None when they are of different rows."""
    (u, k), (v, m) = one, other
    differing = [i for i, (a, b) in enumerate(zip(u, v, strict=True)) if a != b] if len(u) == len(v) else []
    if len(differing) != 1 or any(runs not in (None, differing[0]) for runs in (k, m)):
        return None
    return differing[0]


class _Neurons:
    """The neurons of a record.

    of: the neuron of each parameter.  part_of: the neuron of each node that multiplies or adds up for it.  ends: the
    nodes where a sum is complete.  products: (node, weight, what it multiplies); multiply: the weights in them.  runs:
    of the numbers in the names of a word the place of the one that tells the weights of one neuron apart.
    """

    def __init__(self, record: _Record, names: dict[int, Name], weights: set[int]) -> None:
        self.record, self.names, self.weights = record, names, weights
        self.called = Counter(names.values())
        self.products: list[tuple[int, int, int]] = []
        self.sums: dict[int, _Sum] = {}
        self.gathered_by: dict[int, int] = {}
        self.refused: list[Sequence[_Sum]] = []
        for i in record.operations():
            self._visit(i)
        self.multiply = {w for _, w, _ in self.products}
        self.ends = dict.fromkeys(i for i in self.sums if i not in self.gathered_by)
        self.of = self._join()
        self._check()
        self.part_of: dict[int, int] = {}
        for i in reversed(self.sums):
            by = self.gathered_by.get(i)
            self.part_of[i] = self.of[next(iter(self.sums[i].parameters))] if by is None else self.part_of[by]

    def _visit(self, i: int) -> None:
        kind, operands = self.record.kind(i), self.record.operands[i]
        if kind == "mul":
            self._product(i, *operands)
        elif kind == "dot":
            self._dot(i, operands)
        elif kind in ("add", "sub", "total") and any(p in self.sums for p in operands):
            self._gather(i, operands, [self._part(p, zero=kind != "sub") for p in operands])

    def _product(self, i: int, a: int, b: int) -> None:
        weight, x = (a, b) if a in self.weights else (b, a)
        if weight not in self.weights or x in self.names:
            return
        if self.record.kind(x) == "mul" and weight in self.record.operands[x]:
            return  # a square, as in 0.1*w*w
        self.products.append((i, weight, x))
        self.sums[i] = self._single(weight)

    def _dot(self, i: int, operands: Sequence[int]) -> None:
        u, v, b = split(operands)
        pairs = [(p, q) if p in self.weights else (q, p) for p, q in zip(u, v, strict=True)]
        pairs = [(w, x) for w, x in pairs if w in self.weights and x not in self.names]
        parts = [self._single(w) for w, _ in pairs]
        if pairs and self._gather(i, (b,), [*parts, self._part(b, zero=False) or _Sum()]):
            self.products += [(i, w, x) for w, x in pairs]

    def _single(self, parameter: int, bias: bool = False) -> _Sum:
        found, name = _Sum(), self.names[parameter]
        found.parameters.add(parameter)
        if self.called[name] == 1:  # a name that several have says nothing
            found.rows[name.base] = name.indices, None
        if bias:
            found.biases.add(name.base)
        return found

    def _part(self, p: int, zero: bool) -> _Sum | None:
        """What an operand brings to a sum; None when it does not belong into one."""
        if p in self.names:
            return self._single(p, bias=True)
        if p in self.sums and self.record.uses[p] == 1:
            return self.sums[p]
        return _Sum() if zero and p < self.record.leaves and self.record.nodes[p].data == 0.0 else None

    def _gather(self, i: int, operands: Sequence[int], parts: Sequence[_Sum | None]) -> bool:
        """Make a node a sum of parts, unless one of them is none, or they are of different neurons."""
        known = [part for part in parts if part is not None]
        if len(known) < len(parts):
            return False
        # of two the smaller is poured into the larger, so that a long chain takes linear time
        whole, *rest = sorted(known, key=len, reverse=True) if len(known) == 2 else [_Sum(), *known]
        for part in rest:
            if not whole.accepts(part):
                self.refused.append(known)
                return False
            whole.pour(part)
        self.sums[i] = whole
        self.gathered_by.update({p: i for p in operands if p in self.sums})
        return True

    def _join(self) -> dict[int, int]:
        """Parameters that meet in a sum are of one neuron."""
        join = _Union()
        for end in self.ends:
            first, *others = sorted(self.sums[end].parameters)
            for other in (first, *others):
                join.unite(first, other)
        return {p: join.find(p) for p in join.parent}

    def _check(self) -> None:
        """Raise ValueError where a sum holds parts of several neurons, which no picture of neurons could show."""
        size = Counter(self.of.values())
        for parts in self.refused:
            for part in parts:
                p = next(iter(part.parameters), -1)
                if len(part) < size[self.of.get(p, -1)]:
                    others = [q for other in parts if other is not part for q in other.parameters]
                    raise self._entangled(p, *others[:1])
        self.runs: dict[str, int] = {}
        for end in self.ends:
            for base, (_, k) in self.sums[end].rows.items():
                if k is not None and self.runs.setdefault(base, k) != k:
                    raise self._entangled(*[p for p in sorted(self.sums[end].parameters) if self.names[p].base == base])

    def _entangled(self, *parameters: int) -> ValueError:
        u, v = (self.label(p) for p in parameters[:2])
        return ValueError(
            f"the parameters {u} and {v} stand in one sum, and others of their rows in different ones: neurons that "
            'share weights in this way cannot be told apart. Draw the graph at level="scalar"'
        )

    def label(self, p: int) -> str:
        """How an error speaks of a parameter."""
        return shorten(self.record.nodes[p].label) or self.names[p].path or "without a label"


class _Union:
    """Sets that grow together (union-find)."""

    def __init__(self) -> None:
        self.parent: dict[Any, Any] = {}

    def find(self, x: Any) -> Any:
        """The one that stands for the set of x."""
        parent = self.parent
        parent.setdefault(x, x)
        while parent[x] != x:
            parent[x] = x = parent[parent[x]]
        return x

    def unite(self, x: Any, y: Any) -> None:
        """Make the sets of x and y one, which the smaller of the two stands for."""
        a, b = sorted((self.find(x), self.find(y)))
        self.parent[b] = a


# --- Layers -----------------------------------------------------------------------------------------------------------


@dataclass(eq=False)
class Layer:
    """Units side by side, each of them a neuron, or in a cell with gates several.

    copies: how often a unit was computed.  steps: the longest way through the copies of one unit, 1 unless the layer
    feeds itself.
    """

    units: list[list[int]]
    parameters: list[int]
    depth: int
    title: str = ""
    gates: int = 1
    copies: int = 1
    steps: int = 1


@dataclass(frozen=True)
class _Place:
    """Where names put a neuron: the words in them, the numbers of its layer, and its own number."""

    words: frozenset[str]
    group: tuple[int, ...]
    row: int | None


class _Grouping:
    """Neurons by layer: of those whose parameters are called alike, the ones that do not feed each other."""

    def __init__(self, neurons: _Neurons, module: Any) -> None:
        self.neurons, self.record, self.names, self.module = neurons, neurons.record, neurons.names, module
        self.members: dict[int, list[int]] = defaultdict(list)
        for p in sorted(neurons.of, key=lambda p: (self.names[p].base, self.names[p].indices, p)):
            self.members[neurons.of[p]].append(p)
        self.place = {neuron: self._place(members) for neuron, members in self.members.items()}
        self.depth = self._depths()
        self.feeding = self._feeding()
        groups = [
            group for alike in self._alike() for together in self._in_turn(alike) for group in self._split(together)
        ]
        self.layers = sorted(map(self._layer, groups), key=lambda layer: (layer.depth, layer.parameters[0]))
        for number, layer in enumerate(self.layers, start=1):
            layer.title = self._title(layer, number)
        several = Counter(layer.title for layer in self.layers)
        for layer in self.layers:
            if several[layer.title] > 1:
                layer.title += f": {self.names[layer.parameters[0]].base}"

    def _place(self, members: Sequence[int]) -> _Place:
        named = [self.names[p] for p in members]
        first = next(self.names[p] for p in members if p in self.neurons.multiply)
        indices = first.indices
        runs = self.neurons.runs.get(first.base)
        if runs is None:
            alike = {name.indices for name in named if name.base == first.base}
            fewest = min(len(name.indices) for name in named)
            if indices and (first.column or len(alike) > 1 or len(indices) > fewest):
                runs = len(indices) - 1
        rest = indices if runs is None else indices[:runs] + indices[runs + 1 :]
        return _Place(frozenset(name.base for name in named), rest[:-1], rest[-1] if rest else None)

    def _depths(self) -> dict[int, int]:
        """For each neuron how many neurons come one after the other up to it, the first time that it is met."""
        level = [0] * len(self.record)
        depth: dict[int, int] = {}
        for i in self.record.operations():
            level[i] = max([level[p] for p in self.record.operands[i]]) + (i in self.neurons.ends)
            if i in self.neurons.ends:
                neuron = self.neurons.part_of[i]
                depth[neuron] = min(level[i], depth.get(neuron, level[i]))
        return depth

    def _feeding(self) -> dict[int, tuple[int, int]]:
        """For each neuron those that it is computed from, ever and the first time, as bits of their places."""
        bit = {neuron: 1 << k for k, neuron in enumerate(self.place)}
        behind = [0] * len(self.record)
        level = [0] * len(self.record)
        ever, first = dict.fromkeys(self.place, 0), dict.fromkeys(self.place, 0)
        one: dict[int, int] = {}  # equal sets are kept once
        for i in self.record.operations():
            found = 0
            for p in self.record.operands[i]:
                found |= behind[p]
                level[i] = max(level[i], level[p])
            if i in self.neurons.ends:
                neuron = self.neurons.part_of[i]
                level[i] += 1
                ever[neuron] |= found
                first[neuron] |= found * (level[i] == self.depth[neuron])
                found |= bit[neuron]
            behind[i] = one.setdefault(found, found)
        return {neuron: (ever[neuron], first[neuron] & ~bit[neuron]) for neuron in self.place}

    def _in_turn(self, neurons: list[int]) -> list[list[int]]:
        """Neurons that are called alike, those first that none of the others feeds, then those that these feed, ...

        One feeds another when it does so before that one is computed for the first time, or when it does so at all,
        is not fed back, and that one does not feed itself, as units of a recurrent layer do at the next step.
        """
        bit = {neuron: 1 << k for k, neuron in enumerate(self.place)}
        everybody = sum(bit[neuron] for neuron in neurons)
        fed_by: dict[int, list[int]] = {}
        for v in neurons:
            ever, first = self.feeding[v]
            perhaps = first | (0 if ever & bit[v] else ever)
            fed_by[v] = [
                u
                for u in (neurons if perhaps & everybody & ~bit[v] else ())
                if u != v and bit[u] & perhaps and (bit[u] & first or not self.feeding[u][0] & bit[v])
            ]
        turn: dict[int, int] = {}
        while len(turn) < len(neurons):  # it has no cycles: a way back is never one of the first time
            now = [v for v in neurons if v not in turn and all(u in turn for u in fed_by[v])]
            assert now, "neurons feed each other in a circle"
            turn |= {v: 1 + max((turn[u] for u in fed_by[v]), default=-1) for v in now}
        by_turn: dict[int, list[int]] = defaultdict(list)
        for v in neurons:
            by_turn[turn[v]].append(v)
        return [by_turn[k] for k in sorted(by_turn)]

    def _alike(self) -> list[list[int]]:
        """Neurons whose weights have a word and the numbers of a layer in common."""
        join = _Union()
        for neuron, place in self.place.items():
            for p in self.members[neuron]:
                if p in self.neurons.multiply:
                    join.unite((0, "", (neuron,)), (1, self.names[p].base, place.group))
        found: dict[Any, list[int]] = defaultdict(list)
        for neuron in self.place:
            found[join.find((0, "", (neuron,)))].append(neuron)
        return list(found.values())

    def _split(self, neurons: list[int]) -> list[list[int]]:
        """Apart by depth, where several neurons have one name."""
        if len(self._distinct(neurons)) == len(neurons):
            return [neurons]
        by_depth: dict[int, list[int]] = defaultdict(list)
        for neuron in neurons:
            by_depth[self.depth[neuron]].append(neuron)
        for group in by_depth.values():
            called = Counter(
                frozenset(self.names[p] for p in self.members[neuron])
                for neuron in group
                if self.place[neuron].row is not None
            )
            if any(n > 1 for n in called.values()):
                rows = [neuron for neuron in group if self.place[neuron].row is not None]
                name = self.neurons.label(self.members[rows[0]][0])
                raise ValueError(
                    f"several parameters are called {name}, in layers that their names do not tell apart: give the "
                    "module, draw(..., model=net), whose paths do"
                )
        return list(by_depth.values())

    def _distinct(self, neurons: Iterable[int]) -> set[Any]:
        return {(self.place[neuron].words, self.place[neuron].row) for neuron in neurons}

    def _layer(self, neurons: list[int]) -> Layer:
        size = self._hidden_size(neurons)
        units: dict[Any, list[int]] = defaultdict(list)
        for neuron in sorted(neurons, key=lambda neuron: (self.place[neuron].row or 0, neuron)):
            row = self.place[neuron].row
            units[-1 - row % size if size and row is not None else neuron].append(neuron)
        rows = {self.place[neuron].row for neuron in neurons}
        return Layer(
            units=list(units.values()),
            parameters=[p for neuron in neurons for p in self.members[neuron]],
            depth=max(self.depth[neuron] for neuron in neurons),
            gates=len(rows) // size if size else 1,
        )

    def _hidden_size(self, neurons: Iterable[int]) -> int:
        """The number of units of a recurrent cell, whose gates lie one below the other in W_h; 0 for another layer."""
        named = [self.names[p] for neuron in neurons for p in self.members[neuron]]
        matrix = [name.indices for name in named if name.base.split(".")[-1] == "W_h" and len(name.indices) > 1]
        columns = 1 + max((indices[-1] for indices in matrix), default=-1)
        return columns if len(matrix) > columns * columns else 0

    def _title(self, layer: Layer, number: int) -> str:
        """The path of the module, or what the labels say: ``layer 2`` for W2[0,0]."""
        neuron, p = layer.units[0][0], layer.parameters[0]
        name, group = self.names[p], self.place[neuron].group
        if name.path:
            return module_path(name.path, len(group)) or type(self.module).__name__
        if group:
            return f"layer {group[-1]}"
        digits = re.fullmatch(r"[wW](\d+)", name.base)
        if digits:
            return f"layer {digits[1]}"
        if name.base.split(".")[-1] in ("W_x", "W_h"):
            return "recurrent layer"
        return f"layer {number}" if len(self.layers) > 1 or len(layer.units) > 1 else "neuron"


def module_path(path: str, groups: int) -> str:
    """The path of the layer that a parameter is in, when so many numbers of the path count layers.

    >>> module_path("layers.0.neurons.2.w.1", 1), module_path("cell.W_x.3.1", 0)
    ('layers.0', 'cell')
    """
    words = path.split(".")
    numbers = [k for k, word in enumerate(words) if word.isdecimal()]
    cut = numbers[groups] if len(numbers) > groups else len(words)
    return ".".join(words[: cut - 1])


# --- The collapsed graph ----------------------------------------------------------------------------------------------

INPUTS, UNIT, TOGETHER, PENALTY, LOSS = range(5)
SHARED = -1  # the part of the inputs that goes into several of them


@dataclass(eq=False)
class Box:
    """What is drawn as one thing, and what it hides.

    layer: the place of its layer.  part: of an input which one, of a unit which of its layer.  values, operations: of
    the scalar graph, in nodes; values are leaves and results, operations what made the results.
    """

    kind: int
    layer: int = -1
    part: int = 0
    nodes: list[int] = field(default_factory=list)
    parameters: list[int] = field(default_factory=list)
    operations: int = 0

    @property
    def values(self) -> int:
        """The number of nodes."""
        return len(self.nodes)


class Collapsed:
    """A graph in boxes.

    boxes: each node of the graph is in one of them.  edges: from box to box, how many scalar edges; of_parameters: how
    many of these begin at a parameter.  recurrent: how many lead from the units of a layer to its units one step later.

    >>> from tinygrad_vi import nn
    >>> net = nn.MLP(2, [3, 1], seed=0)
    >>> found = collapse([net([Value(1.0), Value(2.0)])])
    >>> [layer.title for layer in found.layers], len(found.boxes), sum(box.values for box in found.boxes)
    (['layer 1', 'layer 2'], 6, 22)
    """

    def __init__(self, record: _Record, model: Any) -> None:
        self.record = record
        names, weights = _parameters(record, model)
        self.neurons = _Neurons(record, names, weights)
        if not self.neurons.ends:
            raise ValueError(_nothing_found(model, names))
        self.layers = _Grouping(self.neurons, model).layers
        self._index: dict[tuple[int, int, int], int] = {}
        self.boxes: list[Box] = []
        self._unit = {
            neuron: self._box(UNIT, k, j)
            for k, layer in enumerate(self.layers)
            for j, unit in enumerate(layer.units)
            for neuron in unit
        }
        self._leads_on, self._behind = self._reach()
        self.owner = [-1] * len(record)
        self._own_parameters_and_inputs()
        self._own_operations()
        self._own_leaves()
        for i, box in enumerate(self.owner):
            self.boxes[box].nodes.append(i)
            self.boxes[box].operations += i >= record.leaves
        self._count_edges()
        self._count_copies()

    def _box(self, kind: int, layer: int = -1, part: int = 0) -> int:
        key = kind, layer, part
        if key not in self._index:
            self._index[key] = len(self.boxes)
            self.boxes.append(Box(kind, layer, part))
        return self._index[key]

    def _reach(self) -> tuple[bytearray, bytearray]:
        """For each node whether a neuron comes later, and what it is computed from: 2 a neuron, 1 a parameter, 0."""
        record, part_of = self.record, self.neurons.part_of
        leads_on, behind = bytearray(len(record)), bytearray(len(record))
        for i in reversed(record.operations()):
            if leads_on[i] or i in part_of:
                for p in record.operands[i]:
                    leads_on[p] = 1
        for p in self.neurons.names:
            behind[p] = 1
        for i in record.operations():
            behind[i] = 2 if i in part_of else max([behind[p] for p in record.operands[i]])
        return leads_on, behind

    # --- Who owns a node

    def _own_parameters_and_inputs(self) -> None:
        record, owner = self.record, self.owner
        order: dict[int, int] = {}
        for p, neuron in self.neurons.of.items():
            owner[p] = self._unit[neuron]
            self.boxes[owner[p]].parameters.append(p)
        for layer in self.layers:
            order.update({p: len(order) + i for i, p in enumerate(layer.parameters)})
        carries = {w for _, w, x in self.neurons.products if self._behind[x] == 2}
        first: dict[int, int] = {}
        for i, w, x in self.neurons.products:
            if self._behind[x] == 2 or x in self.neurons.names:
                continue
            if x < record.leaves and w in carries:  # a state before the first step
                owner[x] = self._unit[self.neurons.part_of[i]]
            else:
                first[x] = min(order[w], first.get(x, order[w]))
        part = {column: k for k, column in enumerate(sorted(set(first.values())))}
        self.n_inputs, self.multiplied = len(part), first.keys()
        for x, column in first.items():
            owner[x] = self._box(INPUTS, part=part[column])
        for i in reversed(record.operations()):  # what inputs are made of
            if owner[i] >= 0:
                for p in record.operands[i]:
                    if owner[p] < 0:
                        owner[p] = owner[i]
                    elif owner[p] != owner[i] and p not in first and p not in self.neurons.of:
                        owner[p] = self._box(INPUTS, part=SHARED)

    def _own_operations(self) -> None:
        owner, part_of, behind = self.owner, self.neurons.part_of, self._behind
        known: set[Hashable] = set()
        rest = []
        for i in self.record.operations():
            if i in part_of:
                owner[i] = self._unit[part_of[i]]
            elif owner[i] >= 0:
                continue
            elif behind[i] < 2 and self._leads_on[i]:
                owner[i] = self._box(INPUTS, part=SHARED)
            elif behind[i] < 2:
                owner[i] = self._box(PENALTY if behind[i] else LOSS)
            elif self._leads_on[i]:
                between = self._between(i)
                owner[i] = self._box(*between)
                known.add((between, self._signature(i)))
            else:
                rest.append(i)
        activated = self._activated()
        for i in rest:
            if i in activated:
                owner[i] = self._unit[part_of[activated[i]]]
                continue
            between = self._between(i)  # the last step of a cell is made like the steps before it
            owner[i] = self._box(*between) if (between, self._signature(i)) in known else self._box(LOSS)

    def _between(self, i: int) -> tuple[int, int, int]:
        """The unit that alone makes a node after its sum; of several, what their layer does together."""
        owners = {self.owner[p] for p in self.record.operands[i] if self._behind[p] == 2}
        boxes = [self.boxes[owner] for owner in owners]
        if len(boxes) == 1:
            return boxes[0].kind, boxes[0].layer, boxes[0].part
        return TOGETHER, max(box.layer for box in boxes), 0

    def _signature(self, i: int) -> Hashable:
        owners, kind = self.owner, self.record.kind
        made_of = [(owners[p], kind(p)) if self._behind[p] == 2 else None for p in self.record.operands[i]]
        return kind(i), tuple(made_of)

    def _activated(self) -> dict[int, int]:
        """Activation -> sum, where every copy of a neuron has the same one and nothing else is made of its sum."""
        found: dict[tuple[int, str], dict[int, int]] = defaultdict(dict)
        for i in self.record.operations():
            operands = self.record.operands[i]
            if len(operands) == 1 and operands[0] in self.neurons.ends and self.record.kind(i) in ACTIVATIONS:
                found[self.neurons.part_of[operands[0]], self.record.kind(i)][i] = operands[0]
        copies = Counter(self.neurons.part_of[end] for end in self.neurons.ends)
        uses = self.record.uses
        return {
            i: end
            for (neuron, _), pairs in found.items()
            if len(pairs) == copies[neuron] and all(uses[end] == 1 for end in pairs.values())
            for i, end in pairs.items()
        }

    def _own_leaves(self) -> None:
        """A leaf that is no parameter and no input, such as a target, goes with the first that uses it."""
        owner = self.owner
        for i in self.record.operations():
            for p in self.record.operands[i]:
                if owner[p] < 0:
                    owner[p] = owner[i]
        for p in range(self.record.leaves):
            if owner[p] < 0:
                owner[p] = self._box(LOSS)

    # --- Counting

    def _count_edges(self) -> None:
        self.edges: Counter[tuple[int, int]] = Counter()
        self.of_parameters: Counter[tuple[int, int]] = Counter()
        for i in self.record.operations():
            for p in self.record.operands[i]:
                edge = self.owner[p], self.owner[i]
                if edge[0] != edge[1]:
                    self.edges[edge] += 1
                    self.of_parameters[edge] += p in self.neurons.of
        self.recurrent: Counter[int] = Counter()
        for i, _, x in self.neurons.products:
            tail, head = self.boxes[self.owner[x]], self.boxes[self.owner[i]]
            if self._behind[x] == 2 and tail.layer == head.layer:
                self.recurrent[head.layer] += 1

    def _count_copies(self) -> None:
        uses = Counter(w for _, w, _ in self.neurons.products)
        for k, layer in enumerate(self.layers):
            layer.copies = max(uses[p] for p in layer.parameters)
            layer.steps = self._steps(layer.units[0][0]) if self.recurrent[k] else 1

    def _steps(self, neuron: int) -> int:
        """The longest way through copies of one neuron."""
        passed = [0] * len(self.record)
        for i in self.record.operations():
            here = i in self.neurons.ends and self.neurons.part_of[i] == neuron
            passed[i] = max([passed[p] for p in self.record.operands[i]]) + here
        return max(passed)

    @property
    def examples(self) -> int:
        """How often the layer was computed that was so least often, for each of its steps."""
        return min(layer.copies // layer.steps for layer in self.layers)


def _nothing_found(model: Any, names: dict[int, Name]) -> str:
    """Why there are no neurons, and what to do."""
    if model is not None:
        return "no neurons found: " + (
            "nothing in the graph is multiplied by a parameter of the model"
            if names
            else "the graph was not computed from the parameters of this model"
        )
    return (
        "no neurons found: a neuron is a sum of weights times something, and which leaves are weights is told by their "
        "labels, such as W1[0,2], w0 and b1[0], b. Label the parameters, or give the module or a list of its "
        "parameters: draw(..., model=net)"
    )
