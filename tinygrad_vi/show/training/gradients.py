"""The size of the gradient in each layer, and what is wrong with it."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass
from typing import Any

from tinygrad_vi.checks import counted
from tinygrad_vi.differentiated import differentiable
from tinygrad_vi.examples import check_examples, to_lists
from tinygrad_vi.graph import not_finite, topological_order
from tinygrad_vi.nn.feedforward import MLP, Layer
from tinygrad_vi.nn.module import prediction
from tinygrad_vi.show.networks.notes import NeuronNote, Notes, noted
from tinygrad_vi.show.palette import GRADIENT, INK
from tinygrad_vi.show.plot import Plot, new_axes
from tinygrad_vi.show.writing.numerals import write_number
from tinygrad_vi.sweep import adjoints
from tinygrad_vi.value import Value, recording

#: gradients of one layer so many times smaller or larger than those of another vanish or explode
FAR_APART = 1e3


class NotCalledError(ValueError):
    """The weights of a unit are used without the unit, so that nobody knows its sum."""


# --- The size of the gradient by layer --------------------------------------------------------------------------------


def gradient_sizes(model: MLP, loss: Callable[[Any, Any], Value], X: Sequence[Any], y: Sequence[Any]) -> Plot:
    """How large the gradient is in each layer, for the mean loss over the examples, and what is wrong with it.

    Bars: the root mean square of the gradient over the weights of a layer, what an optimiser gets.  Dots: that of the
    error signal delta, the derivative by a unit's sum of weights times inputs, over units and examples: what flows from
    layer to layer.  The sums are those of the model's own forward pass.  In words, in ``summary`` and under the bars:
    vanishing or exploding when delta differs by more than a factor of 1000 between the first and the last layer, dead
    units when an activation lets nothing through for any example, saturated ones when its slope is below 0.001 for all
    of them, and a layer that takes no part in the loss.

    loss: ``loss(x, t)`` of one example, as for `fit`; it calls the model.  Gradients are left as they were, and no
    unit is dropped.

    Raises TypeError for a model without layers, NotCalledError (a ValueError) for one that uses the weights of a layer
    and does not call it, DomainError for a loss that is infinite or NaN.
    """
    if not isinstance(model, MLP):
        raise TypeError(
            f"gradient_sizes looks at the layers of an MLP, got a {type(model).__name__}; of any other model draw the "
            'graph, loss.draw(level="layer"): it shows the gradient of each layer'
        )
    found = measure_gradients(model, loss, X, y)
    sentences = [sentence for _, sentence in found.remarks]
    lines = [line for sentence in sentences for line in textwrap.wrap(sentence, 86)]
    figure, (axis,) = new_axes(6.4, 3.2 + 0.18 * len(lines))
    bars = draw_sizes(axis, found)
    axis.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2)
    if len(found.sizes) <= 12:
        axis.bar_label(bars, [write_number(s, 2) for s in found.sizes], padding=2, fontsize=8)
    numbered = " (1 is next to the inputs)" if len(found.names) > 8 else ""
    axis.set_title(f"size of the gradient by layer{numbered}")
    figure.supxlabel("\n".join(lines), fontsize=9, x=0.02, ha="left")
    return Plot(figure, f"the gradient by layer; {'; '.join(sentences)}")


@dataclass(frozen=True)
class LayerGradients:
    """What there is to see of the gradient in each layer: see `gradient_sizes`.

    names: of the layers.  sizes: root mean squares over the weights.  signals: over the deltas.  remarks: what is
    wrong, a word or two and a sentence for each.
    """

    names: list[str]
    sizes: list[float]
    signals: list[float]
    remarks: list[tuple[str, str]]


def measure_gradients(
    model: MLP, loss: Callable[[Any, Any], Value], X: Sequence[Any], y: Sequence[Any]
) -> LayerGradients:
    """The gradient of the mean loss in each layer; gradients are left as they were."""
    X, y = to_lists(X), to_lists(y)
    check_examples(X, y)
    gradient: dict[Value, float] = {}
    slopes: list[dict[int, float]] = [{} for _ in model.layers]  # of each unit that is computed, the largest slope
    signals: list[list[float]] = [[] for _ in model.layers]
    for row, t in zip(X, y, strict=True):
        with recording(True), differentiable(), prediction():  # a diagnosis that is the same each time: no dropout
            error, notes = noted(loss, [Value(v) for v in (row if isinstance(row, (list, tuple)) else [row])], t)
        if not isinstance(error, Value):
            raise TypeError(f"loss(x, t) must be one Value made of the model's output, got {error!r:.60}")
        if not math.isfinite(error.data):
            raise not_finite(error)
        order = topological_order([error])
        adjoint = adjoints(order, {error: 1.0})
        for p in model.parameters():
            gradient[p] = gradient.get(p, 0.0) + adjoint.get(p, 0.0)
        on_record = {v for node in order for v in (node, *node.parents)}
        for k, calls in enumerate(calls_by_layer(model.layers, notes, on_record)):
            for j, call in calls:
                signals[k].append(float(adjoint.get(call.total, 0.0)))
                slopes[k][j] = max(slopes[k].get(j, 0.0), slope_of(call))
    sizes = [root_mean_square([gradient[v] / len(X) for v in layer.parameters()]) for layer in model.layers]
    names = [f"layer {k}\n{layer.activation}" for k, layer in enumerate(model.layers, start=1)]
    remarks = _remarks(model, signals, slopes, len(X))
    return LayerGradients(names, sizes, list(map(root_mean_square, signals)), remarks)


def calls_by_layer(
    layers: Sequence[Layer], notes: Notes, on_record: Set[Value]
) -> Iterator[list[tuple[int, NeuronNote]]]:
    """For each layer the calls of its units that the loss depends on, each with the number of the unit.

    A layer that stands in the model several times has its calls in turn.

    Raises NotCalledError where the weights of a unit are used that is not called.
    """
    for k, layer in enumerate(layers):
        places = [i for i, other in enumerate(layers) if other is layer]
        found = []
        for j, neuron in enumerate(layer.neurons):
            calls = notes.neurons[id(neuron)]
            if not calls and not on_record.isdisjoint(neuron.parameters()):
                raise NotCalledError(
                    f"the loss uses the weights of a unit of layer {k + 1} without calling it, so it has no error "
                    "signal to show: let the forward pass call the layer, self.layers[k].outputs(x)"
                )
            mine = calls[places.index(k) :: len(places)]
            found += [(j, call) for call in mine if call.total in on_record]
        yield found


def slope_of(call: NeuronNote) -> float:
    """|dh/da| of the activation in one call of a unit."""
    a, h = call.total, call.output
    if not isinstance(h, Value):
        return 0.0
    return abs(float(adjoints(topological_order([h], [a]), {h: 1.0}).get(a, 0.0)))


def root_mean_square(xs: Sequence[float]) -> float:
    """sqrt(sum of x**2 / count), 0 for an empty list; no square overflows."""
    return math.hypot(*xs) / math.sqrt(len(xs)) if xs else 0.0


def _remarks(model: MLP, deltas: list[list[float]], slopes: list[dict[int, float]], n: int) -> list[tuple[str, str]]:
    """The remarks, each as a word or two and as a sentence."""
    remarks = []
    signals = list(map(root_mean_square, deltas))
    first, last = signals[0], signals[-1]
    unused = [k for k, found in enumerate(deltas, start=1) if not found]
    for k in unused:
        remarks.append((f"layer {k} takes no part", f"layer {k} takes no part in the loss"))
    for word, far in (("vanishing", first * FAR_APART < last), ("exploding", last * FAR_APART < first)):
        if far and not unused:
            times = f"{word}: the delta of layer 1 is {write_ratio(first, last)} times that of layer {len(signals)}"
            remarks.append((word, times))
    for k, (layer, row) in enumerate(zip(model.layers, slopes, strict=True), start=1):
        if k in unused:
            continue
        dead, flat = sum(s == 0.0 for s in row.values()), sum(0.0 < s < 1e-3 for s in row.values())
        if dead:
            kind = "ReLU" if layer.activation == "relu" else layer.activation
            units = f"dead: {dead} of {len(row)} {kind} units of layer {k}"
            word = f"dead units in layer {k}: {dead} of {len(row)}"
            remarks.append((word, f"{units} let nothing through for any of the {counted(n, 'example')}"))
        if flat:
            units = f"saturated: {flat} of {len(row)} {layer.activation} units of layer {k}"
            word = f"saturated units in layer {k}: {flat} of {len(row)}"
            remarks.append((word, f"{units} have a slope below 0.001 for all {counted(n, 'example')}"))
    if not any(signals):
        remarks.insert(0, ("no gradient at all", "no gradient at all: the loss is flat at every example"))
    return remarks or [("healthy", "healthy: no layer's gradient vanishes or explodes, no unit is dead")]


def write_ratio(x: float, y: float) -> str:
    """x / y in words."""
    return write_number(x / y, 2) if y else "infinitely many"


def draw_sizes(axis: Any, found: LayerGradients) -> Any:
    """Draw the size of the gradient by layer; the bars."""
    sizes, signals = found.sizes, found.signals
    shown = found.names if len(sizes) <= 8 else [f"{k}" for k in range(1, len(sizes) + 1)]
    positive = [s for s in (*sizes, *signals) if s > 0.0]
    bars = axis.bar(range(len(sizes)), sizes, color=GRADIENT, label="weights")
    axis.plot(range(len(sizes)), signals, "o:", color=INK, label="error signal δ")
    if positive and max(positive) > 10.0 * min(positive):
        axis.set_yscale("log")
    axis.set_xticks(range(len(sizes)), shown)
    axis.set_ylabel("gradient (root mean square)")
    return bars
