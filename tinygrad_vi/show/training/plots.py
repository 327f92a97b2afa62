"""Plots of training: the loss curve, the decision boundary, predictions against targets."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from tinygrad_vi.checks import DomainError, ShapeError, counted, whole_number
from tinygrad_vi.examples import check_examples, to_lists
from tinygrad_vi.predict import answers
from tinygrad_vi.value import Value

if TYPE_CHECKING:
    from tinygrad_vi.training.history import History
from tinygrad_vi.show.palette import CLASSES, GRADIENT, INK, LINE, PAPER, SIDES, THIRD, VALUE
from tinygrad_vi.show.plot import MARKERS, Plot, new_axes, padded

# --- The loss curve ---------------------------------------------------------------------------------------------------


def loss_curve(history: History) -> Plot:
    """Plot by epoch: the loss, the validation loss, the length of the gradient, and the learning rate if it changed.

    The loss is on a logarithmic scale when it falls by more than a factor of ten.

    Raises ValueError for a history without an epoch.
    """
    if not history.epochs:
        raise ValueError("there is nothing to plot: the history has no epoch")
    changed = len(set(history.learning_rate)) > 1
    epochs = range(1, history.epochs + 1)
    marker = "o" if history.epochs == 1 else ""
    figure, axes = new_axes(6.4, 4.4 + 1.3 * changed, rows=2 + changed)
    axes[0].plot(epochs, history.loss, color=VALUE, marker=marker, label="loss")
    if history.validation_loss:
        axes[0].plot(
            epochs, history.validation_loss, color=THIRD, linestyle="-.", marker=marker, label="validation loss"
        )
        best = history.validation_loss.index(min(history.validation_loss))
        axes[0].plot(best + 1, history.validation_loss[best], "o", color=THIRD, label=f"best: epoch {best + 1}")
        axes[0].legend(frameon=False)
    label_numbers(axes[0], "loss", [*history.loss, *history.validation_loss])
    axes[1].plot(epochs, history.gradient_norm, color=GRADIENT, linestyle="--", marker=marker)
    label_numbers(axes[1], "gradient norm", history.gradient_norm)
    if changed:
        axes[2].plot(epochs, history.learning_rate, color=LINE, marker=marker)
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
    figure, (axis,) = new_axes(5.6, 4.6)
    grid = plane(X, steps)
    see: Any = transform or (lambda point: point)
    points = [see([a, b]) for b in grid[1] for a in grid[0]] + [see(row) for row in X]
    found = [numbers_of(answer) for answer in answers(model, points)]
    for answer in found:
        if not all(map(math.isfinite, answer)):
            raise DomainError(f"the model answers {answer} somewhere on the plane: there is no boundary to draw")
    shade, wrong = draw_boundary(axis, X, y, grid, found[: -len(X)], found[-len(X) :], threshold)
    if shade is not None:
        figure.colorbar(shade, ax=axis, label=f"output - {threshold:g}" if threshold else "output")
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
        shade = _shade_output(axis, grid, [[answer[0] - threshold for answer in row] for row in rows], shades)
    else:
        y = classes = [t.index(max(t)) if isinstance(t, (list, tuple)) else int(t) for t in y]
        found = [answer.index(max(answer)) for answer in at_examples]
        for k in range(len(at_examples[0])):
            _shade_class(axis, grid, rows, k)
    for k in sorted(set(classes)):
        members = [row for row, c in zip(X, classes, strict=True) if c == k]
        style = {"color": CLASSES[k % len(CLASSES)], "marker": MARKERS[k % len(MARKERS)], "s": size}
        name = sorted({t for t, c in zip(y, classes, strict=True) if c == k})[0]
        axis.scatter(*zip(*members, strict=True), edgecolors=PAPER, linewidths=0.8, label=f"class {name}", **style)
    wrong = [row for row, c, f in zip(X, classes, found, strict=True) if c != f]
    if wrong:
        axis.scatter(*zip(*wrong, strict=True), s=90 * size / 34, marker="x", color=INK, label=f"wrong: {len(wrong)}")
    return shade, len(wrong)


def _shade_output(axis: Any, grid: Any, field: list[list[float]], shades: int) -> Any:
    """Shade the plane by an output, with a line where it is 0; the shading."""
    largest = max((abs(v) for row in field for v in row if math.isfinite(v)), default=0.0) or 1.0
    levels = [largest * (k / (shades / 2) - 1) for k in range(shades + 1)]
    shade = axis.contourf(*grid, field, levels=levels, cmap=SIDES, alpha=0.6)
    if any(v < 0 for row in field for v in row) and any(v > 0 for row in field for v in row):
        axis.contour(*grid, field, levels=[0.0], colors=INK, linewidths=1.8)
    return shade


def _shade_class(axis: Any, grid: Any, rows: list[Sequence[Sequence[float]]], k: int) -> None:
    """Shade where output k is the largest: where it is above the best of the others."""
    lead = [[answer[k] - max(v for j, v in enumerate(answer) if j != k) for answer in row] for row in rows]
    leads = [v for row in lead for v in row if math.isfinite(v)]
    if max(leads) > 0.0:
        color = CLASSES[k % len(CLASSES)]
        axis.contourf(*grid, lead, levels=[0.0, max(leads)], colors=[color], alpha=0.25)
        if min(leads) < 0.0:
            axis.contour(*grid, lead, levels=[0.0], colors=INK, linewidths=1.2)


def numbers_of(output: Any) -> list[float]:
    """What a model gave, as a list of plain numbers."""
    outputs = output if isinstance(output, (list, tuple)) else [output]
    return [v.data if isinstance(v, Value) else v for v in outputs]


def predictions(
    targets: Sequence[float], outputs: Sequence[float], *, labels: tuple[str, str] = ("target", "output")
) -> Plot:
    """Plot a model's answers, one number each, against the targets: a perfect model puts all points on the diagonal.

    Raises ShapeError for lists of different lengths.
    """
    targets, outputs = to_lists(targets), numbers_of(to_lists(outputs))
    check_examples(targets, outputs)
    error = math.fsum((y - t) ** 2 for y, t in zip(outputs, targets, strict=True)) / len(targets)
    figure, (axis,) = new_axes(4.8, 4.6)
    ends = padded([*targets, *outputs])
    axis.plot(ends, ends, color=LINE, linewidth=1.2)
    axis.scatter(targets, outputs, s=26, color=VALUE, alpha=0.7, edgecolors=PAPER, linewidths=0.6)
    axis.set_aspect("equal")
    axis.set_xlabel(labels[0], parse_math=False)
    axis.set_ylabel(labels[1], parse_math=False)
    axis.set_title(f"{counted(len(targets), 'example')}, mean squared error {error:.2g}")
    return Plot(figure, f"{counted(len(targets), 'prediction')} with the mean squared error {error:.2g}")
