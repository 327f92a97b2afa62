"""Notes of what the parts of a network compute while the network is called: its pictures are drawn from them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tinygrad_vi import modes
from tinygrad_vi.nn.feedforward import Layer, Neuron


@dataclass(frozen=True)
class NeuronNote:
    """One call of a neuron: its inputs, their weighted sum with the bias, and what the activation made of it."""

    inputs: list[Any]
    total: Any
    output: Any


@dataclass(frozen=True)
class LayerNote:
    """One call of a layer: what its neurons gave, and its outputs."""

    units: list[Any]
    outputs: list[Any]


@dataclass(frozen=True)
class StepNote:
    """One step of a recurrent network: the input, the state before (None at first) and the state after it."""

    x: Any
    before: Any
    state: Any


@dataclass(frozen=True)
class ReadingNote:
    """What a recurrent network read from a hidden state: its output at that step."""

    h: list[Any]
    y: Any


@dataclass(frozen=True)
class Notes:
    """All calls in their order.  Those of neurons and layers are found by the `id` of the neuron or the layer."""

    neurons: dict[int, list[NeuronNote]] = field(default_factory=lambda: defaultdict(list))
    layers: dict[int, list[LayerNote]] = field(default_factory=lambda: defaultdict(list))
    steps: list[StepNote] = field(default_factory=list)
    readings: list[ReadingNote] = field(default_factory=list)

    def neuron(self, neuron: Neuron, inputs: list[Any], total: Any, output: Any) -> None:
        """A neuron was called."""
        self.neurons[id(neuron)].append(NeuronNote(inputs, total, output))

    def layer(self, layer: Layer, units: list[Any], outputs: list[Any]) -> None:
        """A layer was called."""
        self.layers[id(layer)].append(LayerNote(units, outputs))

    def step(self, x: Any, before: Any, state: Any) -> None:
        """A recurrent network made a step."""
        self.steps.append(StepNote(x, before, state))

    def reading(self, h: list[Any], y: Any) -> None:
        """A recurrent network read an output from a hidden state."""
        self.readings.append(ReadingNote(h, y))

    def are_empty(self) -> bool:
        """Whether nothing was called."""
        return not (self.neurons or self.layers or self.steps or self.readings)


def noted(f: Callable[..., Any], *args: Any) -> tuple[Any, Notes]:
    """What f gives, and what the parts of the networks that it calls computed."""
    notes = Notes()
    with modes.noting.set(notes):
        return f(*args), notes
