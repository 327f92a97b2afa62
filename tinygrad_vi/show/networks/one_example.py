"""One example's way through the layers of a network and back: the numbers that pictures of networks write down."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, NoReturn

from tinygrad_vi import losses
from tinygrad_vi.checks import ShapeError, counted
from tinygrad_vi.graph import not_finite, topological_order
from tinygrad_vi.nn.feedforward import MLP, Layer, Neuron
from tinygrad_vi.nn.module import prediction
from tinygrad_vi.show.networks.notes import LayerNote, Notes, noted
from tinygrad_vi.sweep import adjoints
from tinygrad_vi.trees import leaves_of
from tinygrad_vi.value import Value, recording

Loss = Callable[[Any, Any], Any]


@dataclass(frozen=True)
class Pass:
    """What a model computed when it was called and, when there was a target, the gradient of the loss by all of it.

    outputs: for the inputs and for each layer, its units after the activation.  sums: for each layer, its units before
    the activation.  answer: the numbers that the model gave, where these are not the outputs of its last layer, else
    empty.  loss: of the example, or None.  The gradients of the Values themselves are left alone.
    """

    outputs: list[list[Value]]
    sums: list[list[Value]]
    answer: list[float]
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
        return [layer_of(model)]
    found = repr(model).partition("\n")[0]
    raise TypeError(
        f"{asker} draws an MLP, a Layer or a Neuron, got {found:.60}; of any other model the graph can be drawn, "
        'show.draw(model(x), level="neuron", model=model)'
    )


def layer_of(neuron: Neuron) -> Layer:
    """A layer that consists of this very neuron."""
    layer = Layer(neuron.n_inputs, 1, seed=0)
    layer.activation, layer.neurons = neuron.activation, [neuron]
    return layer


def skips_to(model: Any, layers: Sequence[Layer], k: int) -> bool:
    """Whether the inputs feed layer k beside the layer before it."""
    return isinstance(model, MLP) and model.skip and k == len(layers) - 1


def run(model: Any, layers: Sequence[Layer], x: Any, target: Any = None, loss: Loss | None = None) -> Pass:
    """Call the model with one example, note what its layers compute and, given a target or a loss, go back.

    loss: of (output, target), 1/2 sum (y - t)**2 when left out; the output is what the model gives.

    Raises ShapeError for a wrong number of inputs, TypeError for an answer or a loss that is no number, ValueError for
    a loss that calls the network itself and for a model that does not use each layer once, one after the other,
    DomainError for a loss that is not finite.
    """
    rows = [*x] if isinstance(x, (list, tuple)) or hasattr(x, "tolist") else [x]
    if len(rows) != layers[0].n_inputs:
        raise ShapeError(f"the network has {counted(layers[0].n_inputs, 'input')}, x has {len(rows)}")
    inputs = [Value(v.data if isinstance(v, Value) else v) for v in rows]
    with recording(True), prediction():
        y, notes = noted(model, inputs)
        outputs, sums = calls_of(model, layers, inputs, notes)
        answer = own_answer(model, y, outputs[-1])
        if target is None and loss is None:
            return Pass(outputs, sums, answer, None, {})
        error, notes_of_loss = noted(loss or losses.sse, y, target)
    if not isinstance(error, Value):
        raise TypeError(f"loss(output, target) must be one Value made of the output, got {error!r:.60}")
    if not math.isfinite(error.data):
        raise not_finite(error)
    if not notes_of_loss.are_empty():
        raise ValueError(
            "the loss called the network again: here it takes (output, target), such as losses.mse, and not (x, target)"
        )
    return Pass(outputs, sums, answer, error, adjoints(topological_order([error]), {error: 1.0}))


# --- Whether the lines of a picture are true --------------------------------------------------------------------------


def calls_of(
    model: Any, layers: Sequence[Layer], inputs: list[Value], notes: Notes
) -> tuple[list[list[Value]], list[list[Value]]]:
    """The inputs and the outputs of each layer, and the sums of each, as they were noted.

    Raises ValueError unless each layer was called once, with the outputs of the layer before it: the lines of a picture
    would be untrue.
    """
    outputs, sums = [inputs], []
    for k, layer in enumerate(layers):
        name = f"layer {k + 1}"
        skipped = skips_to(model, layers, k)
        given = [*outputs[-1], *inputs] if skipped else outputs[-1]
        calls = [next_call(notes.neurons[id(neuron)]) for neuron in layer.neurons]
        if not all(calls):
            refuse(model, f"it does not call {name}")
        for neuron, call in zip(layer.neurons, calls, strict=True):
            if not same(call.inputs, [given[i] for i in neuron.connected]):
                before = f"layer {k}" if k else "the inputs"
                refuse(model, f"{name} gets something else than {before}{' and the inputs' if skipped else ''}")
        sums.append([call.total for call in calls])
        outputs.append(outputs_of(model, layer, name, [call.output for call in calls], notes))
    if any(notes.neurons.values()):
        refuse(model, "it calls a layer more than once")
    return [[*map(as_value, row)] for row in outputs], sums


def next_call(calls: list[Any]) -> Any:
    """Take the first of the calls that are left; None where there is none."""
    return calls.pop(0) if calls else None


def outputs_of(model: Any, layer: Layer, name: str, units: list[Any], notes: Notes) -> list[Any]:
    """The outputs of a layer whose neurons gave these."""
    call: LayerNote | None = next_call(notes.layers[id(layer)])
    if call is None and layer._activate is None:  # the model called the neurons one by one
        return units
    if call is None:
        refuse(model, f"it leaves out the {layer.activation} of {name}")
    if not same(call.units, units) or (layer._activate is None and not same(call.outputs, units)):
        refuse(model, f"{name} gives something else than its neurons")
    return call.outputs


def same(some: Sequence[Any], others: Sequence[Any]) -> bool:
    """Whether these are the very same objects."""
    return len(some) == len(others) and all(u is v for u, v in zip(some, others, strict=True))


def refuse(model: Any, reason: str) -> NoReturn:
    """Raise ValueError: the lines of a picture would be untrue."""
    raise ValueError(
        f"this {type(model).__name__} cannot be drawn part by part, because of its own forward pass: {reason}. "
        'Draw its graph instead: y = model(x), show.draw(y, level="neuron", model=model)'
    )


def used_elsewhere(done: Pass, layers: Sequence[Layer], k: int) -> set[str]:
    """Which of the "weights", "biases" and "inputs" of layer k have a gradient that does not come from its sums alone.

    A penalty has its share in the gradients of the weights, a forward pass that adds x to y in those of the inputs:
    then the formulas of backpropagation do not give all of the gradient.
    """
    layer, inputs = layers[k], done.outputs[k]
    deltas = [done.gradient(total) for total in done.sums[k]]
    back = [0.0] * layer.n_inputs
    found: dict[str, list[tuple[float, float]]] = {"weights": [], "biases": [], "inputs": []}
    for neuron, delta in zip(layer.neurons, deltas, strict=True):
        for i, w in zip(neuron.connected, neuron.w, strict=True):
            back[i] += w.data * delta
            found["weights"].append((done.gradient(w), delta * inputs[i].data))
        if isinstance(neuron.b, Value):
            found["biases"].append((done.gradient(neuron.b), delta))
    found["inputs"] = [(done.gradient(v), total) for v, total in zip(inputs, back, strict=True)]
    return {name for name, pairs in found.items() if not all_close(pairs)}


def all_close(pairs: Sequence[tuple[float, float]]) -> bool:
    """Whether the numbers of each pair are the same but for rounding."""
    pairs = [(u, v) for u, v in pairs if not (math.isnan(u) and math.isnan(v))]
    scale = max([abs(u) for pair in pairs for u in pair], default=0.0)
    return all(math.isclose(u, v, rel_tol=1e-9, abs_tol=1e-9 * scale) for u, v in pairs)


# --- The model's own answer -------------------------------------------------------------------------------------------


def own_answer(model: Any, y: Any, shown: Sequence[Any]) -> list[float]:
    """The numbers that a model gave, where these are not the ones that a picture shows; else none."""
    found = leaves_of([y])
    if same(found, shown):
        return []
    wrong = next((v for v in found if not isinstance(v, (Value, Real))), None)
    if wrong is not None or not found:
        raise TypeError(f"a picture shows the numbers that a model gives, but {type(model).__name__} gives {y!r:.60}")
    answer = numbers_of(found)
    return [] if answer == numbers_of(shown) else answer


def numbers_of(values: Iterable[Any]) -> list[float]:
    """Values and numbers as numbers."""
    return [float(getattr(v, "data", v)) for v in values]


def as_value(v: Any) -> Value:
    """A number that no operation made, such as a step function's, as a Value that depends on nothing."""
    return v if isinstance(v, Value) else Value(v)


def has_own_forward(model: Any) -> bool:
    """Whether a subclass says itself what it computes."""
    base = next(cls for cls in (MLP, Layer, Neuron) if isinstance(model, cls))
    names = ("__call__", "forward", "layer_outputs", "outputs", "_output")
    return any(getattr(type(model), name, None) is not getattr(base, name, None) for name in names)
