"""One example's way through the layers of a network and back: the numbers that pictures of networks write down."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tinygrad_vi import losses
from tinygrad_vi.derivatives import differentiable
from tinygrad_vi.nn import MLP, Layer, Neuron, counted, prediction
from tinygrad_vi.ops import ShapeError, dot_row
from tinygrad_vi.value import Value, adjoints, not_finite, recording, topological_order

Loss = Callable[[Any, Any], Any]


@dataclass(frozen=True)
class Pass:
    """What a forward pass computed and, when there was a target, the gradient of the loss by all of it.

    outputs: for the inputs and for each layer, its units after the activation.  sums: for each layer, its units before
    the activation.  loss: of the example, or None.  The gradients of the Values themselves are left alone.
    """

    outputs: list[list[Value]]
    sums: list[list[Value]]
    loss: Value | None
    gradients: Mapping[Value, float]

    def gradient(self, v: Any) -> float:
        """The derivative of the loss by a Value; for one of `sums` the error signal delta."""
        return self.gradients.get(v, 0.0)


def layers_of(model: Any, asker: str) -> list[Layer]:
    """The layers of an MLP, or the only one of a Layer or a Neuron; TypeError for anything else."""
    if isinstance(model, MLP):
        return model.layers
    if isinstance(model, Layer):
        return [model]
    if isinstance(model, Neuron):
        layer = object.__new__(Layer)  # a layer of this very neuron
        layer.n_inputs, layer.n_outputs, layer.activation = model.n_inputs, 1, model.activation
        layer.neurons, layer._activate = [model], None
        return [layer]
    found = repr(model).partition("\n")[0]
    raise TypeError(
        f"{asker} draws an MLP, a Layer or a Neuron, got {found:.60}; of any other model the graph can be drawn, "
        'show.draw(model(x), level="neuron", model=model)'
    )


def skips_to(model: Any, layers: Sequence[Layer], k: int) -> bool:
    """Whether the inputs feed layer k beside the layer before it."""
    return isinstance(model, MLP) and model.skip and k == len(layers) - 1


def run(model: Any, layers: Sequence[Layer], x: Any, target: Any = None, loss: Loss | None = None) -> Pass:
    """One example forward and, given a target or a loss, back.

    loss: of (output, target), 1/2 sum (y - t)**2 when left out; the output of a single unit is a number.

    Raises ShapeError for a wrong number of inputs, TypeError for a loss that is no Value, ValueError for one that calls
    the network itself, DomainError for one that is not finite.
    """
    rows = [*x] if isinstance(x, (list, tuple)) or hasattr(x, "tolist") else [x]
    if len(rows) != layers[0].n_inputs:
        raise ShapeError(f"the network has {counted(layers[0].n_inputs, 'input')}, x has {len(rows)}")
    h = [Value(v.data if isinstance(v, Value) else v) for v in rows]
    outputs, sums = [h], []
    with recording(True), differentiable(), prediction():
        for k, layer in enumerate(layers):
            given = [*h, *outputs[0]] if skips_to(model, layers, k) else h
            sums.append([n._sum(n.w, [given[i] for i in n.connected], n.b) for n in layer.neurons])
            h = [n._activate(a) for n, a in zip(layer.neurons, sums[-1], strict=True)]
            h = layer._activate(h) if layer._activate else h
            outputs.append(h)
        if target is None and loss is None:
            return Pass(outputs, sums, None, {})
        error = (loss or losses.sse)(h[0] if len(h) == 1 else h, target)
    if not isinstance(error, Value):
        raise TypeError(f"loss(output, target) must be one Value made of the output, got {error!r:.60}")
    if not math.isfinite(error.data):
        raise not_finite(error)
    weights = {w for layer in layers for neuron in layer.neurons for w in neuron.w if isinstance(w, Value)}
    after = topological_order([error], h)
    if any(node.op is dot_row.operation and not weights.isdisjoint(node.parents) for node in after):
        raise ValueError(
            "the loss called the network again: here it takes (output, target), such as losses.mse, and not (x, target)"
        )
    return Pass(outputs, sums, error, adjoints(topological_order([error]), {error: 1.0}))
