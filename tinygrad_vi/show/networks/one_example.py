"""One example's way through the layers of a network and back: the numbers that pictures of networks write down."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tinygrad_vi import losses
from tinygrad_vi.checks import ShapeError, counted
from tinygrad_vi.graph import not_finite, topological_order
from tinygrad_vi.nn.feedforward import MLP, Layer, Neuron
from tinygrad_vi.nn.module import prediction
from tinygrad_vi.ops import dot_row
from tinygrad_vi.value import Value, adjoints, recording

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
    the network itself and for a model whose own ``forward`` gives something else than its layers one after the other,
    DomainError for a loss that is not finite.
    """
    rows = [*x] if isinstance(x, (list, tuple)) or hasattr(x, "tolist") else [x]
    if len(rows) != layers[0].n_inputs:
        raise ShapeError(f"the network has {counted(layers[0].n_inputs, 'input')}, x has {len(rows)}")
    h = [Value(v.data if isinstance(v, Value) else v) for v in rows]
    outputs, sums = [h], []
    with recording(True), prediction():
        for k, layer in enumerate(layers):
            given = [*h, *outputs[0]] if skips_to(model, layers, k) else h
            sums.append([n._sum(n.w, [given[i] for i in n.connected], n.b) for n in layer.neurons])
            h = [n._activate(a) for n, a in zip(layer.neurons, sums[-1], strict=True)]
            h = layer._activate(h) if layer._activate else h
            outputs.append(h)
        last = h[0] if len(h) == 1 else h
        if target is None and loss is None:
            check_own_forward(model, outputs[0], last)
            return Pass(outputs, sums, None, {})
        error = (loss or losses.sse)(last, target)
        if isinstance(error, Value):
            check_own_forward(model, outputs[0], last, error, lambda y: (loss or losses.sse)(y, target))
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


def check_own_forward(
    model: Any, x: Any, shown: Any, error: Any = None, loss: Callable[[Any], Any] | None = None
) -> None:
    """Raise ValueError when a model computes something else than what a picture of its layers shows.

    Its own forward pass is asked, for the outputs, and with a loss for all gradients too: a subclass may do what it
    likes in between.
    """
    own = model(x)
    found, expected = _flat(shown), _flat(own)
    _check_equal(model, "its layers one after the other give", _numbers(found), "gives", _numbers(expected))
    if loss is None or not isinstance(error, Value) or not math.isfinite(error.data):
        return
    second = loss(own)
    if not isinstance(second, Value):
        return
    of = [*model.parameters(), *_flat(x)]
    gradients = []
    for y in (error, second):
        adjoint = adjoints(topological_order([y]), {y: 1.0})
        gradients.append([float(adjoint.get(v, 0.0)) for v in of])
    _check_equal(model, "of its layers one after the other the gradient is", gradients[0], "has", gradients[1])


def _flat(x: Any) -> list[Any]:
    return [v for part in x for v in _flat(part)] if isinstance(x, (list, tuple)) else [x]


def _numbers(values: Sequence[Any]) -> list[float]:
    return [float(getattr(v, "data", v)) for v in values]


def _check_equal(model: Any, layers: str, shown: Sequence[float], verb: str, own: Sequence[float]) -> None:
    scale = max([abs(v) for v in (*shown, *own) if math.isfinite(v)], default=0.0)
    if len(shown) != len(own) or not all(
        u == v or (u != u and v != v) or math.isclose(u, v, rel_tol=1e-9, abs_tol=1e-12 * scale)
        for u, v in zip(shown, own, strict=True)
    ):
        differing = [(u, v) for u, v in zip(shown, own, strict=False) if u != v][:3]
        u, v = zip(*differing, strict=True) if differing else (shown[:3], own[:3])
        raise ValueError(
            f"a picture of the layers would not be one of this {type(model).__name__}: {layers} "
            f"{', '.join(map(repr, u))}, but its own forward pass {verb} {', '.join(map(repr, v))}. Draw its graph "
            'instead: y = model(x), show.draw(y, level="neuron", model=model)'
        )


def has_own_forward(model: Any) -> bool:
    """Whether a subclass says itself what it computes."""
    base = next(cls for cls in (MLP, Layer, Neuron) if isinstance(model, cls))
    names = ("__call__", "forward", "layer_outputs", "outputs", "_output")
    return any(getattr(type(model), name, None) is not getattr(base, name, None) for name in names)
