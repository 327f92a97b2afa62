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
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from unicodedata import normalize

from tinygrad_vi import ops
from tinygrad_vi.graph import topological_order
from tinygrad_vi.ops import split
from tinygrad_vi.rows import key_of
from tinygrad_vi.show.paper import shorten
from tinygrad_vi.value import Value

#: what may follow the last layer and still belong to it; softplus would be a logistic loss
ACTIVATIONS = {
    *map(key_of, ("tanh", "relu", "sigmoid", "gelu", "silu", "elu", "leaky_relu", "sin", "cos", "step", "erf"))
}
MUL, DOT, SUB = ops.mul.operation, ops.dot_row.operation, ops.sub.operation
SUMS = {ops.add.operation, SUB, ops.total_row.operation}

#: names of parameters: W1[0,2], w_3, weight, b1[0], bias; of a recurrent cell: W_x[0,0], Whh
PARAMETER = re.compile(r"(?i:weights?|bias(?:es)?|[wb][a-z]{0,2})(?:[\d_\[].*)?")


# --- The record, and the names in it ----------------------------------------------------------------------------------


class Record:
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
        """The places of what was computed: operands stand before."""
        return range(self.leaves, len(self.nodes))

    def kind(self, i: int) -> Any:
        """The key of the node's operation; None for a leaf."""
        op = self.nodes[i].op
        return op.key if op else None


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


def named_parameters(record: Record, model: Any) -> tuple[dict[int, Name], set[int]]:
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


class Sum:
    """The parameters of a sum; for each word in their names, the numbers of one of them and the number that varies."""

    __slots__ = ("biases", "parameters", "rows")

    def __init__(self) -> None:
        self.parameters: set[int] = set()
        self.rows: dict[str, tuple[tuple[int, ...], int | None]] = {}
        self.biases: set[str] = set()

    def __len__(self) -> int:
        return len(self.parameters)

    def accepts(self, other: Sum) -> bool:
        """Whether the two are parts of one neuron: of one row of each matrix, with one bias of a name."""
        small, large = sorted((self, other), key=len)
        return (
            small.parameters.isdisjoint(large.parameters)
            and small.biases.isdisjoint(large.biases)
            and all(_meet(row, large.rows[base]) is not None for base, row in small.rows.items() if base in large.rows)
        )

    def pour(self, other: Sum) -> None:
        """Merge another sum into this one."""
        self.parameters |= other.parameters
        self.biases |= other.biases
        for base, (indices, runs) in other.rows.items():
            if base in self.rows:
                runs = _meet(self.rows[base], (indices, runs))
            self.rows[base] = indices, runs


def _meet(one: tuple[tuple[int, ...], int | None], other: tuple[tuple[int, ...], int | None]) -> int | None:
    """The place of the only number in which two names differ; None when they differ in more: they are of two rows."""
    (u, k), (v, m) = one, other
    differing = [i for i, (a, b) in enumerate(zip(u, v, strict=True)) if a != b] if len(u) == len(v) else []
    if len(differing) != 1 or any(runs not in (None, differing[0]) for runs in (k, m)):
        return None
    return differing[0]


class Neurons:
    """The neurons of a record.

    of: the neuron of each parameter.  part_of: the neuron of each node that multiplies or adds up for it.  ends: the
    nodes where a sum is complete.  products: (node, weight, what it multiplies); multiply: the weights in them.  runs:
    of the numbers in the names of a word the place of the one that tells the weights of one neuron apart.
    """

    def __init__(self, record: Record, names: dict[int, Name], weights: set[int]) -> None:
        self.record, self.names, self.weights = record, names, weights
        self.called = Counter(names.values())
        self.products: list[tuple[int, int, int]] = []
        self.sums: dict[int, Sum] = {}
        self.gathered_by: dict[int, int] = {}
        self.refused: list[Sequence[Sum]] = []
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
        if kind is MUL:
            self._product(i, *operands)
        elif kind is DOT:
            self._dot(i, operands)
        elif kind in SUMS and any(p in self.sums for p in operands):
            self._gather(i, operands, [self._part(p, zero=kind is not SUB) for p in operands])

    def _product(self, i: int, a: int, b: int) -> None:
        weight, x = (a, b) if a in self.weights else (b, a)
        if weight not in self.weights or x in self.names:
            return
        if self.record.kind(x) is MUL and weight in self.record.operands[x]:
            return  # a square, as in 0.1*w*w
        self.products.append((i, weight, x))
        self.sums[i] = self._single(weight)

    def _dot(self, i: int, operands: Sequence[int]) -> None:
        u, v, b = split(operands)
        pairs = [(p, q) if p in self.weights else (q, p) for p, q in zip(u, v, strict=True)]
        pairs = [(w, x) for w, x in pairs if w in self.weights and x not in self.names]
        parts = [self._single(w) for w, _ in pairs]
        if pairs and self._gather(i, (b,), [*parts, self._part(b, zero=False) or Sum()]):
            self.products += [(i, w, x) for w, x in pairs]

    def _single(self, parameter: int, bias: bool = False) -> Sum:
        found, name = Sum(), self.names[parameter]
        found.parameters.add(parameter)
        if self.called[name] == 1:  # a name that several parameters have tells nothing
            found.rows[name.base] = name.indices, None
        if bias:
            found.biases.add(name.base)
        return found

    def _part(self, p: int, zero: bool) -> Sum | None:
        """The part of a sum that an operand is; None when it is none."""
        if p in self.names:
            return self._single(p, bias=True)
        if p in self.sums and self.record.uses[p] == 1:
            return self.sums[p]
        return Sum() if zero and p < self.record.leaves and self.record.nodes[p].data == 0.0 else None

    def _gather(self, i: int, operands: Sequence[int], parts: Sequence[Sum | None]) -> bool:
        """Take a node for a sum of these parts, unless one is None or they are of different neurons."""
        known = [part for part in parts if part is not None]
        if len(known) < len(parts):
            return False
        # merge the smaller into the larger: a long chain then takes linear time
        whole, *rest = sorted(known, key=len, reverse=True) if len(known) == 2 else [Sum(), *known]
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
        join = Union()
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


class Union:
    """Sets that grow together (union-find)."""

    def __init__(self) -> None:
        self.parent: dict[Any, Any] = {}

    def find(self, x: Any) -> Any:
        """The representative of the set of x."""
        parent = self.parent
        parent.setdefault(x, x)
        while parent[x] != x:
            parent[x] = x = parent[parent[x]]
        return x

    def unite(self, x: Any, y: Any) -> None:
        """Merge the sets of x and y; the smaller representative stays."""
        a, b = sorted((self.find(x), self.find(y)))
        self.parent[b] = a
