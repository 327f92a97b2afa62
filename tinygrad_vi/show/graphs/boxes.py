"""The graph of a network gathered into boxes: every value in one of them, every edge counted."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tinygrad_vi.collector import collector_paused
from tinygrad_vi.show.graphs.layers import Grouping
from tinygrad_vi.show.graphs.neurons import ACTIVATIONS, Name, Neurons, Record, named_parameters
from tinygrad_vi.value import Value


def collapse(outputs: Sequence[Value], model: Any = None) -> Collapsed:
    """The graph of the outputs, gathered into neurons and layers.

    model: a Module, or its parameters as a list; without it they are known by their labels, as in W1[0,2] and b1[0].

    Raises ValueError where no neurons can be found, or where parameters share a name that should tell them apart;
    TypeError for a model without parameters.
    """
    with collector_paused():
        return Collapsed(Record(outputs), model)


# --- The collapsed graph ----------------------------------------------------------------------------------------------

INPUTS, UNIT, TOGETHER, PENALTY, LOSS = range(5)
SHARED = -1  # for inputs that go into several layers


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

    def __init__(self, record: Record, model: Any) -> None:
        self.record = record
        names, weights = named_parameters(record, model)
        self.neurons = Neurons(record, names, weights)
        if not self.neurons.ends:
            raise ValueError(_nothing_found(model, names))
        self.layers = Grouping(self.neurons, model).layers
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
        """For each node whether a neuron uses it, and what it is made of: a neuron (2), a parameter (1) or none (0)."""
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
        """The box of a node after the sums: that of the only unit it is made of, or of what a layer does together."""
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
        """Activation -> sum, for neurons whose sums go into the same activation in every copy and nowhere else."""
        found: dict[tuple[int, Any], dict[int, int]] = defaultdict(dict)
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
        """A leaf that is no parameter and no input, such as a target, goes into the box that uses it first."""
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
        """How many examples there are: the smallest number of copies of a layer, over its number of steps."""
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
