"""The error signal delta of a unit: the derivative of the loss by the unit's sum, read off the record of the loss.

    a = w[0]*x[0] + w[1]*x[1] + ... + b,        h = activation(a),        delta = dL/da

The sum is the node of the record where all weights of a neuron, each multiplied by something, and its bias have come
together.  It is found whether it was added up by one `dot` or by + and *, whatever the activation is made of, and also
in a forward pass that a user wrote by hand and that calls no neuron.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tinygrad_vi import ops
from tinygrad_vi.checks import counted
from tinygrad_vi.graph import topological_order
from tinygrad_vi.nn.activations import identity
from tinygrad_vi.nn.feedforward import Layer, Neuron
from tinygrad_vi.ops import split
from tinygrad_vi.value import Value, adjoints, recording

MUL, DIV, NEG, DOT = (f.operation for f in (ops.mul, ops.div, ops.neg, ops.dot_row))
SUMS = {ops.add.operation, ops.sub.operation, ops.total_row.operation}


class NoSumError(ValueError):
    """The weights of a neuron are used, but never come together in one sum."""


class Sums:
    """Where the neurons of some layers have their sums in the record of an output.

    ends: for each layer (its place, the neuron's place in it) -> the sums of that neuron, one for each time that it was
    computed.  A layer that is there twice, or shares its Values with another, is met in the order of the computation.

    Raises NoSumError when a neuron's weights meet in no sum.
    """

    def __init__(self, layers: Sequence[Layer], output: Value) -> None:
        self.order = topological_order([output])
        places: dict[Any, list[tuple[int, int]]] = defaultdict(list)
        for k, layer in enumerate(layers):
            for j, neuron in enumerate(layer.neurons):
                places[_parameters(neuron)].append((k, j))
        self.ends: list[dict[int, list[Value]]] = [{} for _ in layers]
        self._users: dict[Value, list[Value]] | None = None
        found = _Gathering(self.order, places)
        for key, at in places.items():
            which = list(dict.fromkeys(k for k, _ in at))
            ends = found.ends(key, f"layer {which[0] + 1}")
            turns = self._turns(ends) if len(which) > 1 else dict.fromkeys(ends, 0)
            for end in ends:
                k = which[turns[end] % len(which)]
                self.ends[k].setdefault(next(j for layer, j in at if layer == k), []).append(end)

    def _turns(self, ends: Iterable[Value]) -> dict[Value, int]:
        """How many of the sums come before each of them."""
        before: dict[Value, int] = dict.fromkeys(ends, 0)
        passed: dict[Value, int] = {}
        for node in self.order:
            passed[node] = max((passed.get(parent, 0) for parent in node.parents), default=0)
            if node in before:
                before[node] = passed[node]
                passed[node] += 1
        return before

    def slope(self, neuron: Neuron, end: Value) -> float:
        """|dh/da| of the neuron's activation at one of its sums; 1 where the record holds no such activation."""
        if neuron._activate is identity:
            return 1.0
        a = Value(end.data)
        with recording(True):
            h = neuron._activate(a)
        if not isinstance(h, Value) or not self._is_made_of(end, h.data):
            return 1.0
        return abs(float(adjoints(topological_order([h], [a]), {h: 1.0}).get(a, 0.0)))

    def _is_made_of(self, end: Value, data: float) -> bool:
        """Whether a node of this value is computed from the sum and constants alone."""
        if self._users is None:
            self._users = defaultdict(list)
            for node in self.order:
                for parent in node.parents:
                    self._users[parent].append(node)
        reached, stack = {end}, [end]
        while stack:
            node = stack.pop()
            if node is not end and (node.data == data or (node.data != node.data and data != data)):
                return True
            for user in self._users.get(node, ()):
                if user not in reached and all(p in reached or not p.parents for p in user.parents):
                    reached.add(user)
                    stack.append(user)
        return False


def _parameters(neuron: Neuron) -> tuple[Any, ...]:
    """The weights of a neuron, and its bias or None: they identify its sum."""
    return tuple(neuron.w), neuron.b if isinstance(neuron.b, Value) else None


class _Gathering:
    """What has come together at each node: for each neuron the places of the weights that are in it, and the bias."""

    def __init__(self, order: Sequence[Value], neurons: Iterable[Any]) -> None:
        self.order = order
        self.of_weight: dict[Value, list[Any]] = defaultdict(list)
        self.of_bias: dict[Value, list[Any]] = defaultdict(list)
        for key in neurons:
            weights, bias = key
            for w in dict.fromkeys(weights):
                self.of_weight[w].append(key)
            if bias is not None:
                self.of_bias[bias].append(key)
        #: node -> neuron -> the parameters gathered in it
        self.gathered: dict[Value, dict[Any, frozenset[Value]]] = {}
        self._complete: dict[Any, list[Value]] = defaultdict(list)
        self._partial: dict[Any, list[Value]] = defaultdict(list)
        for node in order:
            self._visit(node)

    def _visit(self, node: Value) -> None:
        assert node.op is not None
        op, found = node.op, dict[Any, frozenset[Value]]()
        if op is MUL:
            found = self._products(*node.parents) or self._scaled(node.parents)
        elif op in (DIV, NEG):
            found = self._scaled(node.parents)
        elif op is DOT:
            found = self._dot(node.parents)
        elif op in SUMS:
            found = self._sum(node.parents)
        if found:
            self.gathered[node] = found
        for key, parameters in found.items():
            before = [self.gathered.get(parent, {}).get(key, frozenset()) for parent in node.parents]
            if _complete(key, parameters):
                self._complete[key].append(node)
            elif parameters not in before or op in SUMS or op is DOT:  # a scaled sum is the same sum
                self._partial[key].append(node)

    def _products(self, a: Value, b: Value) -> dict[Any, frozenset[Value]]:
        found: dict[Any, frozenset[Value]] = {}
        for w, x in ((a, b), (b, a)):
            if x not in self.of_weight and x not in self.of_bias and not self._squared(w, x):
                found |= {key: frozenset({w}) for key in self.of_weight.get(w, ())}
        return found

    @staticmethod
    def _squared(w: Value, x: Value) -> bool:
        """Whether x is made of w, as in a penalty 0.1*w*w."""
        return x.op is MUL and any(p is w for p in x.parents)

    def _scaled(self, operands: Sequence[Value]) -> dict[Any, frozenset[Value]]:
        """A part of a sum times or over a constant, until the sum is complete."""
        first, *others = operands
        if any(v.parents or v in self.of_weight or v in self.of_bias for v in others):
            return {}
        parts = self.gathered.get(first, {})
        return {key: parameters for key, parameters in parts.items() if not _complete(key, parameters)}

    def _dot(self, operands: Sequence[Value]) -> dict[Any, frozenset[Value]]:
        w, x, b = split(operands)
        products = [self._products(u, v) for u, v in zip(w, x, strict=True)]
        keys = set(products[0] if products else self.of_bias.get(b, ()))
        for product in products[1:]:
            keys &= product.keys()
        found = {key: frozenset[Value]().union(*[product[key] for product in products]) for key in keys}
        for key in keys:
            if b is key[1]:
                found[key] |= {b}
            elif b in self.gathered and key in self.gathered[b]:
                found[key] |= self.gathered[b][key]
            # anything else that joins the sum takes no part in it and changes no delta
        return found

    def _sum(self, operands: Sequence[Value]) -> dict[Any, frozenset[Value]]:
        found: dict[Any, frozenset[Value]] = {}
        for key in dict.fromkeys(key for v in operands for key in self.gathered.get(v, ())):
            parts = [self._part(v, key) for v in operands]
            known = [part for part in parts if part is not None]
            if len(known) == len(parts) and not any(_complete(key, part) for part in known):
                found[key] = frozenset[Value]().union(*known)
        return found

    def _part(self, v: Value, key: Any) -> frozenset[Value] | None:
        """The parameters that an operand adds to the sum of this neuron; None when it does not belong to that sum."""
        if v is key[1]:
            return frozenset({v})
        if not v.parents and v.data == 0.0 and v not in self.of_weight and v not in self.of_bias:
            return frozenset()
        return self.gathered.get(v, {}).get(key)

    def ends(self, key: Any, where: str) -> list[Value]:
        """The nodes where the sum of a neuron is complete, in the order of the computation.

        If the bias is never added: the nodes with all of its weights.  If the neuron is not used: none.
        """
        if self._complete[key]:
            return self._complete[key]
        weights, bias = key
        if not weights:  # no input is connected: the bias is the sum
            return [bias] * any(p is bias for node in self.order for p in node.parents)
        without = [node for node in self._partial[key] if self.gathered[node][key] - {bias} == {*weights}]
        if not without and self._partial[key]:
            raise NoSumError(
                f"a neuron of {where} has {counted(len(weights), 'weight')} that are used but never come together in "
                "one sum, so it has no error signal to show; of such a model draw the graph, loss.draw(level='scalar')"
            )
        inner = {parent for node in without for parent in node.parents}
        return [node for node in without if node not in inner]


def _complete(key: Any, params: Iterable[Value]) -> bool:
    weights, bias = key
    return {*weights, *([] if bias is None else [bias])} == {*params}


def deltas(sums: Sums, adjoint: Mapping[Value, float]) -> list[list[float]]:
    """The error signals of each layer: the adjoints of its sums."""
    return [[float(adjoint.get(end, 0.0)) for ends in layer.values() for end in ends] for layer in sums.ends]
