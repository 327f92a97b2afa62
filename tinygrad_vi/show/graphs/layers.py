"""Which neurons stand side by side as a layer, and in which order the layers come."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tinygrad_vi.show.graphs.neurons import Neurons, Union

# --- Layers -----------------------------------------------------------------------------------------------------------


@dataclass(eq=False)
class FoundLayer:
    """Units side by side.  A unit is one neuron, in a cell with gates one neuron for each gate.

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


class Grouping:
    """Neurons by layer: their parameters have the same kind of name, and they do not feed each other."""

    def __init__(self, neurons: Neurons, module: Any) -> None:
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
        """For each neuron the length of the longest chain of neurons up to its first copy."""
        level = [0] * len(self.record)
        depth: dict[int, int] = {}
        for i in self.record.operations():
            level[i] = max([level[p] for p in self.record.operands[i]]) + (i in self.neurons.ends)
            if i in self.neurons.ends:
                neuron = self.neurons.part_of[i]
                depth[neuron] = min(level[i], depth.get(neuron, level[i]))
        return depth

    def _feeding(self) -> dict[int, tuple[int, int]]:
        """For each neuron the neurons that any copy, and the first copy, is computed from, as bits of their places."""
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
        """Groups of neurons with one kind of name: first those that no other feeds, then those that these feed, ...

        Units of a recurrent layer feed each other at the next step, and stay together all the same.  So a neuron
        counts as feeding another only if it feeds the first copy of it; or if it feeds any copy, the other does not
        feed it back, and the other does not feed itself.
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
        while len(turn) < len(neurons):  # no cycles: first copies never feed each other both ways
            now = [v for v in neurons if v not in turn and all(u in turn for u in fed_by[v])]
            assert now, "neurons feed each other in a circle"
            turn |= {v: 1 + max((turn[u] for u in fed_by[v]), default=-1) for v in now}
        by_turn: dict[int, list[int]] = defaultdict(list)
        for v in neurons:
            by_turn[turn[v]].append(v)
        return [by_turn[k] for k in sorted(by_turn)]

    def _alike(self) -> list[list[int]]:
        """Neurons whose weights have a word and the numbers of a layer in common."""
        join = Union()
        for neuron, place in self.place.items():
            for p in self.members[neuron]:
                if p in self.neurons.multiply:
                    join.unite((0, "", (neuron,)), (1, self.names[p].base, place.group))
        found: dict[Any, list[int]] = defaultdict(list)
        for neuron in self.place:
            found[join.find((0, "", (neuron,)))].append(neuron)
        return list(found.values())

    def _split(self, neurons: list[int]) -> list[list[int]]:
        """Split neurons with the same name by depth."""
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

    def _layer(self, neurons: list[int]) -> FoundLayer:
        size = self._hidden_size(neurons)
        units: dict[Any, list[int]] = defaultdict(list)
        for neuron in sorted(neurons, key=lambda neuron: (self.place[neuron].row or 0, neuron)):
            row = self.place[neuron].row
            units[-1 - row % size if size and row is not None else neuron].append(neuron)
        rows = {self.place[neuron].row for neuron in neurons}
        return FoundLayer(
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

    def _title(self, layer: FoundLayer, number: int) -> str:
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
