"""Plots of training: the loss curve, the decision boundary, the size of the gradient in each layer.

Figures are made without pyplot, so they need no display and leave no state behind.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinygrad_vi.data import check_examples, to_lists
from tinygrad_vi.derivatives import differentiable
from tinygrad_vi.files import write_atomically
from tinygrad_vi.nn import MLP, counted, prediction
from tinygrad_vi.ops import DomainError, ShapeError, whole_number
from tinygrad_vi.predict import answers
from tinygrad_vi.show.deltas import Sums, deltas
from tinygrad_vi.show.numerals import write_number
from tinygrad_vi.value import Value, adjoints, not_finite, recording

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from tinygrad_vi.training import History

DOTS_PER_INCH = 144
LONGEST_LINE = 120  # of a text on a plot, in letters
FORMATS = ("png", "svg", "pdf")

BLUE, RED, GREEN, GREY = "#1d4ed8", "#be123c", "#15803d", "#64748b"
ORANGE, PURPLE = "#d97706", "#7c3aed"
CLASS_COLORS = (BLUE, ORANGE, GREEN, PURPLE, RED, "#0891b2", "#4d7c0f", "#c026d3", "#78350f", "#0f172a")
MARKERS = "os^DvP*X<>"  # classes differ by shape too

#: gradients of one layer so many times smaller or larger than those of another vanish or explode
FAR_APART = 1e3


class Plot:
    """A matplotlib figure that a notebook shows as it is, and `save` keeps.

    figure: the figure, to go on with.  summary: what it shows, in words.
    """

    def __init__(self, figure: Figure, summary: str) -> None:
        self.figure = figure
        self.summary = summary

    def save(self, path: str | Path) -> Path:
        """Write the plot as .png, .svg or .pdf; returns the path.

        Raises ValueError for another ending, OSError when the file cannot be written.
        """
        path = Path(path)
        form = path.suffix.lower().lstrip(".")
        if form not in FORMATS:
            endings = ", ".join(f".{ending}" for ending in FORMATS)
            raise ValueError(f"cannot save a plot as {path.name!r}: the name must end in {endings}")
        return write_atomically(path, self._render(form))

    def _render(self, form: str) -> bytes:
        """The picture in one of the `FORMATS`."""
        from matplotlib import rc_context

        clean_texts(self.figure)
        buffer = BytesIO()
        undated = {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}[form]
        with rc_context({"svg.hashsalt": "tinygrad_vi"}):  # equal plots give equal files
            self.figure.savefig(buffer, format=form, dpi=DOTS_PER_INCH, metadata=undated)
        return buffer.getvalue()

    def __repr__(self) -> str:
        return f'<Plot of {self.summary}; .save("plot.png") writes it>'

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        width, height = (int(inches * 72) for inches in self.figure.get_size_inches())
        bundle = {"image/png": fewer_colors(self._render("png")), "text/plain": repr(self)}
        return bundle, {"image/png": {"width": width, "height": height}}


def clean_texts(figure: Any) -> None:
    """Texts without the signs that no file may hold, such as control characters, and with an end."""
    from matplotlib.text import Text

    for artist in figure.findobj(Text):
        text = artist.get_text()
        lines = ["".join(c if c.isprintable() else " " for c in line) for line in text.split("\n")]
        lines = [line if len(line) <= LONGEST_LINE else line[: LONGEST_LINE - 1] + "…" for line in lines]
        if "\n".join(lines) != text:
            artist.set_text("\n".join(lines))


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, in inches; ImportError when the package matplotlib is missing."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError("plots need the package matplotlib: pip install matplotlib") from None
    return Figure(figsize=(width, height), layout="constrained")


def styled(axis: Any) -> Any:
    """Axes in the style of all plots."""
    axis.grid(visible=True, color="#e2e8f0", linewidth=0.8)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
    return axis


def fewer_colors(png: bytes, colors: int = 256) -> bytes:
    """The same picture in so many colours: a third of the size or less, so that notebooks stay small."""
    from PIL import Image  # matplotlib brings it along

    small = BytesIO()
    Image.open(BytesIO(png)).convert("RGB").quantize(colors, dither=Image.Dither.NONE).save(small, "PNG", optimize=True)
    return small.getvalue()


def _figure(width: float, height: float, rows: int = 1, columns: int = 1) -> tuple[Figure, list[Any]]:
    figure = new_figure(width, height)
    axes = figure.subplots(rows, columns, sharex="col", squeeze=False).flat
    return figure, [styled(axis) for axis in axes]


# --- The loss curve ---------------------------------------------------------------------------------------------------


def loss_curve(history: History) -> Plot:
    """Loss (and validation loss), length of the gradient, learning rate if it changed, by epoch.

    The loss is on a logarithmic scale when it falls by more than a factor of ten.

    Raises ValueError for a history without an epoch.
    """
    if not history.epochs:
        raise ValueError("there is nothing to plot: the history has no epoch")
    changed = len(set(history.learning_rate)) > 1
    epochs = range(1, history.epochs + 1)
    marker = "o" if history.epochs == 1 else ""
    figure, axes = _figure(6.4, 4.4 + 1.3 * changed, rows=2 + changed)
    axes[0].plot(epochs, history.loss, color=BLUE, marker=marker, label="loss")
    if history.validation_loss:
        axes[0].plot(epochs, history.validation_loss, color=RED, linestyle="--", marker=marker, label="validation loss")
        best = history.validation_loss.index(min(history.validation_loss))
        axes[0].plot(best + 1, history.validation_loss[best], "o", color=RED, label=f"best: epoch {best + 1}")
        axes[0].legend(frameon=False)
    label_numbers(axes[0], "loss", [*history.loss, *history.validation_loss])
    axes[1].plot(epochs, history.gradient_norm, color=GREEN, marker=marker)
    label_numbers(axes[1], "gradient norm", history.gradient_norm)
    if changed:
        axes[2].plot(epochs, history.learning_rate, color=GREY, marker=marker)
        axes[2].set_ylabel("learning rate")
    axes[-1].set_xlabel("epoch")
    axes[-1].xaxis.get_major_locator().set_params(integer=True)
    why = f" ({history.stopped})" if history.stopped else ""
    axes[0].set_title(f"loss {history.loss[0]:.4g} → {history.loss[-1]:.4g} in {counted(history.epochs, 'epoch')}{why}")
    return Plot(figure, f"the loss in {counted(history.epochs, 'epoch')}")


def label_numbers(axis: Any, name: str, numbers: Sequence[float]) -> None:
    """Name the numbers of an axis; on a logarithmic scale when they differ by more than a factor of ten."""
    axis.set_ylabel(name)
    if min(numbers) > 0.0 and max(numbers) > 10.0 * min(numbers):
        axis.set_yscale("log")


# --- The decision boundary --------------------------------------------------------------------------------------------


def decision_boundary(
    model: Callable[[Any], Any],
    X: Sequence[Sequence[float]],
    y: Sequence[Any],
    *,
    threshold: float = 0.0,
    steps: int = 80,
    labels: tuple[str, str] = ("x1", "x2"),
    transform: Callable[[list[float]], Any] | None = None,
) -> Plot:
    """What the model answers all over the plane, with the examples on top; the ones it gets wrong are crossed out.

    model: called with two numbers.  With one output its answer is shaded, and the boundary is where it equals the
    threshold (0 for logits and scores, 0.5 for probabilities); with several the largest wins.  steps: grid points along
    each side.  transform: applied to a point before the model sees it, such as the scaling the examples went through.

    Raises ShapeError unless every example has two numbers.
    """
    X, y = to_lists(X), to_lists(y)
    check_examples(X, y)
    whole_number(steps, "steps", least=2)
    if any(not isinstance(row, (list, tuple)) or len(row) != 2 for row in X):
        raise ShapeError("decision_boundary draws a plane: every example needs two numbers")
    figure, (axis,) = _figure(5.6, 4.6)
    grid = plane(X, steps)
    see: Any = transform or (lambda point: point)
    points = [see([a, b]) for b in grid[1] for a in grid[0]] + [see(row) for row in X]
    found = [numbers_of(answer) for answer in answers(model, points)]
    for answer in found:
        if not all(map(math.isfinite, answer)):
            raise DomainError(f"the model answers {answer} somewhere on the plane: there is no boundary to draw")
    shade, wrong = draw_boundary(axis, X, y, grid, found[: -len(X)], found[-len(X) :], threshold)
    if shade is not None:
        figure.colorbar(shade, ax=axis, label="output" + f" - {threshold:g}" * bool(threshold))
    axis.set_xlabel(labels[0], parse_math=False)
    axis.set_ylabel(labels[1], parse_math=False)
    right = len(X) - wrong
    axis.set_title(f"decision boundary: {right} of {len(X)} right ({right / len(X):.0%})")
    axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=4, frameon=False)
    return Plot(figure, f"a decision boundary with {counted(len(X), 'example')}, {wrong} of them wrong")


def plane(X: Sequence[Sequence[float]], steps: int) -> list[list[float]]:
    """The numbers along each side of a grid around the examples."""
    ends = [padded([row[k] for row in X]) for k in (0, 1)]
    return [[low + (high - low) * i / (steps - 1) for i in range(steps)] for low, high in ends]


def draw_boundary(
    axis: Any,
    X: Sequence[Sequence[float]],
    y: Sequence[Any],
    grid: list[list[float]],
    answers: Sequence[Sequence[float]],
    at_examples: Sequence[Sequence[float]],
    threshold: float = 0.0,
    shades: int = 20,
    size: float = 34,
) -> tuple[Any, int]:
    """Draw what a model answers on a grid, row by row, with the examples; the shading, if any, and how many are wrong.

    shades: how many there are.  size: the area of the mark of an example.
    """
    rows = [answers[i : i + len(grid[0])] for i in range(0, len(answers), len(grid[0]))]
    shade = None
    if len(at_examples[0]) == 1:
        classes = [int(t > 0) for t in y]
        found = [int(answer[0] > threshold) for answer in at_examples]
        field = [[answer[0] - threshold for answer in row] for row in rows]
        largest = max((abs(v) for row in field for v in row if math.isfinite(v)), default=0.0) or 1.0
        levels = [largest * (k / (shades / 2) - 1) for k in range(shades + 1)]
        shade = axis.contourf(*grid, field, levels=levels, cmap="PuOr_r", alpha=0.6)
        if any(v < 0 for row in field for v in row) and any(v > 0 for row in field for v in row):
            axis.contour(*grid, field, levels=[0.0], colors="#0f172a", linewidths=1.8)
    else:
        y = classes = [t.index(max(t)) if isinstance(t, (list, tuple)) else int(t) for t in y]
        found = [answer.index(max(answer)) for answer in at_examples]
        for k in range(len(at_examples[0])):  # where its answer is the largest; the others' best is what it must beat
            lead = [[answer[k] - max(v for j, v in enumerate(answer) if j != k) for answer in row] for row in rows]
            leads = [v for row in lead for v in row if math.isfinite(v)]
            if max(leads) > 0.0:
                color = CLASS_COLORS[k % len(CLASS_COLORS)]
                axis.contourf(*grid, lead, levels=[0.0, max(leads)], colors=[color], alpha=0.25)
                if min(leads) < 0.0:
                    axis.contour(*grid, lead, levels=[0.0], colors="#0f172a", linewidths=1.2)
    for k in sorted(set(classes)):
        members = [row for row, c in zip(X, classes, strict=True) if c == k]
        style = {"color": CLASS_COLORS[k % len(CLASS_COLORS)], "marker": MARKERS[k % len(MARKERS)], "s": size}
        name = sorted({t for t, c in zip(y, classes, strict=True) if c == k})[0]
        axis.scatter(*zip(*members, strict=True), edgecolors="white", linewidths=0.8, label=f"class {name}", **style)
    wrong = [row for row, c, f in zip(X, classes, found, strict=True) if c != f]
    if wrong:
        axis.scatter(
            *zip(*wrong, strict=True), s=90 * size / 34, marker="x", color="black", label=f"wrong: {len(wrong)}"
        )
    return shade, len(wrong)


def padded(xs: Sequence[float]) -> tuple[float, float]:
    """From the smallest to the largest number, and a margin."""
    margin = 0.12 * (max(xs) - min(xs)) or 1.0
    return min(xs) - margin, max(xs) + margin


def numbers_of(output: Any) -> list[float]:
    """What a model gave, as a list of plain numbers."""
    outputs = output if isinstance(output, (list, tuple)) else [output]
    return [v.data if isinstance(v, Value) else v for v in outputs]


def predictions(
    targets: Sequence[float], outputs: Sequence[float], *, labels: tuple[str, str] = ("target", "output")
) -> Plot:
    """What a model of one number answers, against what it should: a perfect one puts every point on the diagonal.

    Raises ShapeError for lists of different lengths.
    """
    targets, outputs = to_lists(targets), numbers_of(to_lists(outputs))
    check_examples(targets, outputs)
    error = math.fsum((y - t) ** 2 for y, t in zip(outputs, targets, strict=True)) / len(targets)
    figure, (axis,) = _figure(4.8, 4.6)
    ends = padded([*targets, *outputs])
    axis.plot(ends, ends, color=GREY, linewidth=1.2)
    axis.scatter(targets, outputs, s=26, color=BLUE, alpha=0.7, edgecolors="white", linewidths=0.6)
    axis.set_aspect("equal")
    axis.set_xlabel(labels[0], parse_math=False)
    axis.set_ylabel(labels[1], parse_math=False)
    axis.set_title(f"{counted(len(targets), 'example')}, mean squared error {error:.2g}")
    return Plot(figure, f"{counted(len(targets), 'prediction')} with the mean squared error {error:.2g}")


# --- The size of the gradient by layer --------------------------------------------------------------------------------


def gradient_sizes(model: MLP, loss: Callable[[Any, Any], Value], X: Sequence[Any], y: Sequence[Any]) -> Plot:
    """How large the gradient is in each layer, for the mean loss over the examples, and what is wrong with it.

    Bars: the root mean square of the gradient over the weights of a layer, what an optimiser gets.  Dots: that of the
    error signal delta, the derivative by a unit's sum of weights times inputs, over units and examples: what flows from
    layer to layer.  The sum is found in the record of the loss, whatever its activation is made of.  In words, in
    ``summary`` and under the bars: vanishing or exploding when delta differs by more than a factor of 1000 between the
    first and the last layer, dead units when an activation lets nothing through for any example, saturated ones when
    its slope is below 0.001 for all of them, and a layer that takes no part in the loss.

    loss: ``loss(x, t)`` of one example, as for `fit`; it calls the model.  Gradients are left as they were, and no
    unit is dropped.

    Raises TypeError for a model without layers, NoSumError (a ValueError) for one whose weights meet in no sum,
    DomainError for a loss that is infinite or NaN.
    """
    if not isinstance(model, MLP):
        raise TypeError(
            f"gradient_sizes looks at the layers of an MLP, got a {type(model).__name__}; of any other model draw the "
            'graph, loss.draw(level="layer"): it shows the gradient of each layer'
        )
    found = measure_gradients(model, loss, X, y)
    sentences = [sentence for _, sentence in found.remarks]
    lines = [line for sentence in sentences for line in textwrap.wrap(sentence, 86)]
    figure, (axis,) = _figure(6.4, 3.2 + 0.18 * len(lines))
    bars = draw_sizes(axis, found)
    axis.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2)
    if len(found.sizes) <= 12:
        axis.bar_label(bars, [write_number(s, 2) for s in found.sizes], padding=2, fontsize=8)
    axis.set_title("size of the gradient by layer" + " (1 is next to the inputs)" * (len(found.names) > 8))
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
            error = loss([Value(v) for v in (row if isinstance(row, (list, tuple)) else [row])], t)
        if not isinstance(error, Value):
            raise TypeError(f"loss(x, t) must be one Value made of the model's output, got {error!r:.60}")
        if not math.isfinite(error.data):
            raise not_finite(error)
        sums = Sums(model.layers, error)
        adjoint = adjoints(sums.order, {error: 1.0})
        for p in model.parameters():
            gradient[p] = gradient.get(p, 0.0) + adjoint.get(p, 0.0)
        for k, found in enumerate(deltas(sums, adjoint)):
            signals[k] += found
            for j, ends in sums.ends[k].items():
                found_slopes = [sums.slope(model.layers[k].neurons[j], end) for end in ends]
                slopes[k][j] = max(slopes[k].get(j, 0.0), *found_slopes)
    sizes = [_root_mean_square([gradient[v] / len(X) for v in layer.parameters()]) for layer in model.layers]
    names = [f"layer {k}\n{layer.activation}" for k, layer in enumerate(model.layers, start=1)]
    remarks = _remarks(model, signals, slopes, len(X))
    return LayerGradients(names, sizes, list(map(_root_mean_square, signals)), remarks)


def _root_mean_square(xs: Sequence[float]) -> float:
    return math.hypot(*xs) / math.sqrt(len(xs)) if xs else 0.0


def _remarks(model: MLP, deltas: list[list[float]], slopes: list[dict[int, float]], n: int) -> list[tuple[str, str]]:
    """What there is to say: in a word or two, and in a sentence."""
    remarks = []
    signals = list(map(_root_mean_square, deltas))
    first, last = signals[0], signals[-1]
    unused = [k for k, found in enumerate(deltas, start=1) if not found]
    for k in unused:
        remarks.append((f"layer {k} takes no part", f"layer {k} takes no part in the loss"))
    for word, far in (("vanishing", first * FAR_APART < last), ("exploding", last * FAR_APART < first)):
        if far and not unused:
            times = f"{word}: the delta of layer 1 is {_ratio(first, last)} times that of layer {len(signals)}"
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


def _ratio(x: float, y: float) -> str:
    return write_number(x / y, 2) if y else "infinitely many"


def draw_sizes(axis: Any, found: LayerGradients) -> Any:
    """Draw the size of the gradient by layer; the bars."""
    sizes, signals = found.sizes, found.signals
    shown = found.names if len(sizes) <= 8 else [f"{k}" for k in range(1, len(sizes) + 1)]
    positive = [s for s in (*sizes, *signals) if s > 0.0]
    bars = axis.bar(range(len(sizes)), sizes, color=BLUE, label="weights")
    axis.plot(range(len(sizes)), signals, "o:", color=RED, label="error signal δ")
    if positive and max(positive) > 10.0 * min(positive):
        axis.set_yscale("log")
    axis.set_xticks(range(len(sizes)), shown)
    axis.set_ylabel("gradient (root mean square)")
    return bars
