"""Descents with batches of several sizes, side by side."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from tinygrad_vi.checks import ShapeError, counted, whole_number
from tinygrad_vi.ops import sin
from tinygrad_vi.optim.rules import SGD
from tinygrad_vi.show.palette import GRADIENT, INK, LINE, PAPER, VALUE
from tinygrad_vi.show.plot import Plot, new_figure, padded, styled
from tinygrad_vi.show.writing.numerals import write_number
from tinygrad_vi.training.loop import fit
from tinygrad_vi.training.objective import loss_then_data
from tinygrad_vi.value import Value

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
from tinygrad_vi.show.training.contours import SMALL, draw_contours, draw_path, is_logarithmic
from tinygrad_vi.show.training.mean_loss import MeanLoss, placed

WOBBLES = 6  # so many mini-batches are shown


# --- Batch, mini-batch and single examples ----------------------------------------------------------------------------


class Runs(Plot):
    """What `descents` and `batch_columns` draw, and its numbers.

    paths: for each run, by name, the points it went through, (steps + 1, P).  losses: for each run the mean loss over
    all examples at these points, (steps + 1).
    """

    paths: dict[str, Array]
    losses: dict[str, Array]


class _Walker(SGD):
    """Gradient descent that notes its points and the examples of each step."""

    def __init__(self, mean_loss: MeanLoss, learning_rate: float) -> None:
        super().__init__(mean_loss.parameters, learning_rate)
        self._mean_loss = mean_loss
        self._points = [[p.data for p in self.parameters]]
        self._batches: list[list[int]] = []
        self._seen: list[int] = []

    def loss(self, number: Any) -> Any:
        """The loss of an example by its number."""
        self._seen.append(number)
        return self._mean_loss.of_example(number)

    def step(self) -> None:
        """Take a step, and note it."""
        super().step()
        self._points.append([p.data for p in self.parameters])
        self._batches.append(self._seen)
        self._seen = []


def _walk(
    mean_loss: MeanLoss, learning_rate: float, batch_size: int | None, epochs: int, seed: int
) -> tuple[Array, list[list[int]]]:
    """The points of a `fit` with batches of a size, and the examples of each step; the parameters are put back."""
    import numpy as np

    walker = _Walker(mean_loss, learning_rate)
    with placed(mean_loss.parameters, mean_loss.theta.tolist()):
        fit(walker.loss, range(len(mean_loss.data[0])), params=mean_loss.parameters, optimizer=walker, epochs=epochs,
            batch_size=batch_size, seed=seed, progress=False)  # fmt: skip
    return np.array(walker._points), walker._batches


def _waves() -> tuple[Any, list[Value], list[float], list[float]]:
    """Noisy values of sin(2 x), and a model sin(w x): its loss has a hollow near w = 3.7."""
    rng = random.Random(1)
    w = Value(4.3, "w")
    X = [rng.uniform(0.0, 4.0) for _ in range(40)]
    return lambda x, t: (sin(w * x) - t) ** 2, [w], X, [math.sin(2.0 * x) + rng.gauss(0.0, 0.1) for x in X]


@loss_then_data()
def descents(
    loss: Callable[..., Any] | None = None,
    X: Any = None,
    y: Any = None,
    *,
    params: Any = None,
    learning_rate: float = 0.1,
    batch_size: int = 2,
    epochs: int = 15,
    seed: int = 0,
    steps: int = 200,
) -> Runs:
    """Why single examples help: full-batch descent on one curve, stochastic descent on one that wobbles.

    Left: all examples make the loss curve, always the same, and descent stops in the first hollow, or where it is flat.
    Right: each step goes down the curve of a few examples only (pale, with some of the steps as arrows), which may have
    no hollow there: the steps are noisy, and may lead out.  Both runs are real: `fit` with the same learning rate and
    number of epochs.

    loss, X, y, params: as for `fit`, with one parameter, which is left where it is.  Without them the frequency w
    of noisy values of sin(2 x) is learned from w = 4.3.  batch_size, seed: of the right one.  steps: points of a curve.

    Raises ShapeError unless there is one parameter.

    >>> [round(float(path[-1, 0]), 1) for path in descents().paths.values()]
    [3.7, 2.0]
    """
    import numpy as np

    mean_loss = MeanLoss("descents", *(_waves() if loss is None else (loss, params, X, y)))
    mean_loss.needs_examples()
    if len(mean_loss.parameters) != 1:
        raise ShapeError(f"a loss curve has one parameter, got {len(mean_loss.parameters)}: see loss_landscape")
    whole_number(batch_size, "batch_size")
    whole_number(epochs, "epochs")
    whole_number(steps, "steps", least=10)
    full, _ = _walk(mean_loss, learning_rate, None, epochs, seed)
    noisy, batches = _walk(mean_loss, learning_rate, batch_size, epochs, seed)
    paths = {"full batch": full, f"mini-batches of {batch_size}": noisy}
    losses = {name: mean_loss.along(path[:, 0]) for name, path in paths.items()}
    ws = np.linspace(*padded([*full[:, 0], *noisy[:, 0]]), steps)
    curve = mean_loss.along(ws)
    figure = new_figure(10.4, 4.6)
    for axis, (name, path) in zip(figure.subplots(1, 2, sharey=True), paths.items(), strict=True):
        axis.plot(ws, curve, color=VALUE, linewidth=2.2, label="loss of all examples")
        draw_path(styled(axis), path, losses[name], line=path is full)
        axis.set_xlabel(mean_loss.parameters[0].label or "w", parse_math=False)
        place = f"w = {write_number(float(path[-1, 0]), 3)}, loss {write_number(float(losses[name][-1]), 3)}"
        axis.set_title(f"{name}: {counted(len(path) - 1, 'step')}, ends at {place}", fontsize=SMALL + 1)
        axis.tick_params(labelleft=True)
        axis.set_ylabel("loss")
    axis.set_ylim(axis.get_ylim())  # the curves of a few examples go higher
    _draw_wobbling(axis, mean_loss, ws, noisy[:, 0], batches, _escape(losses.values()))
    handles, names = axis.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=len(names), frameon=False, fontsize=SMALL)
    plot = Runs(figure, "full-batch and stochastic descent on a loss curve")
    plot.paths, plot.losses = paths, losses
    return plot


def _escape(losses: Any) -> int:
    """The first step at which run 2 is below all of run 1; the last step, if there is none."""
    full, noisy = losses
    lower = [k for k, height in enumerate(noisy) if height < min(full) - 0.05 * (max(full) - min(full))]
    return lower[0] if lower else len(noisy) - 1


def _draw_wobbling(axis: Any, mean_loss: MeanLoss, ws: Array, path: Array, batches: Any, until: int) -> None:
    """Draw some of the steps, each on the curve of its own examples."""
    import numpy as np

    label: str | None = "loss of one mini-batch"
    for k in np.unique(np.linspace(0, until - 1, WOBBLES).astype(int)):
        axis.plot(ws, mean_loss.along(ws, batches[k]), color=LINE, linewidth=0.9, alpha=0.7, label=label, zorder=1)
        before, after = (float(x) for x in path[k : k + 2])
        tail, head = ((w, float(mean_loss.along([w], batches[k])[0])) for w in (before, after))
        arrow = {"arrowstyle": "-|>", "color": INK, "linewidth": 1.3, "shrinkA": 0, "shrinkB": 0}
        axis.annotate("", head, tail, arrowprops=arrow, annotation_clip=True)
        axis.annotate(
            f"{k + 1}", tail, (0, 6), textcoords="offset points", fontsize=SMALL, ha="center", annotation_clip=True,
            bbox={"facecolor": PAPER, "edgecolor": "none", "alpha": 0.8, "pad": 0.6},
        )  # fmt: skip
        label = None


def _line() -> tuple[Any, list[Value], list[float], list[float]]:
    """Noisy values of 1.5 x - 0.5, and a model w x + b."""
    rng = random.Random(0)
    w, b = Value(-0.5, "w"), Value(1.5, "b")
    X = [rng.gauss(0.5, 1.0) for _ in range(64)]
    return lambda x, t: (w * x + b - t) ** 2, [w, b], X, [1.5 * x - 0.5 + rng.gauss(0.0, 0.8) for x in X]


@loss_then_data()
def batch_columns(
    loss: Callable[..., Any] | None = None,
    X: Any = None,
    y: Any = None,
    *,
    params: Any = None,
    batch_sizes: Sequence[int | None] = (1, 16, None),
    learning_rate: float = 0.1,
    epochs: int = 8,
    seed: int = 0,
    steps: int = 40,
) -> Runs:
    """Stochastic, mini-batch and full-batch descent side by side: the way they take, and the loss by step.

    Each column is a run of `fit` from the same start, with the same learning rate and number of epochs, and another
    batch size (None: all examples).  Above: its steps on the contours of the mean loss of all examples; below: that
    loss after each step.

    loss, X, y, params: as for `fit`, with two parameters, which are left where they are.  Without them a line
    w x + b through 64 noisy points.  seed: shuffles.  steps: grid points along each side.

    Raises ShapeError unless there are two parameters.

    >>> runs = batch_columns(epochs=2)
    >>> [len(path) - 1 for path in runs.paths.values()]
    [128, 8, 2]
    """
    import numpy as np

    mean_loss = MeanLoss("batch_columns", *(_line() if loss is None else (loss, params, X, y)))
    mean_loss.needs_examples()
    if len(mean_loss.parameters) != 2:
        raise ShapeError(f"contours need two parameters, got {len(mean_loss.parameters)}: see loss_landscape")
    whole_number(epochs, "epochs")
    whole_number(steps, "steps", least=2)
    if not batch_sizes:
        raise ValueError("there are no batch sizes to compare")
    n = len(mean_loss.data[0])
    walks = {_size_name(size, n): _walk(mean_loss, learning_rate, size, epochs, seed)[0] for size in batch_sizes}
    heights = {name: np.array([mean_loss.or_nan(point) for point in path]) for name, path in walks.items()}
    sides = [np.linspace(*padded([x for path in walks.values() for x in path[:, k]]), steps) for k in (0, 1)]
    plot = Runs(_draw_columns(mean_loss, walks, heights, sides, epochs), f"descents with batches of {', '.join(walks)}")
    plot.paths, plot.losses = walks, heights
    return plot


def _draw_columns(
    mean_loss: MeanLoss, walks: dict[str, Array], heights: dict[str, Array], sides: Sequence[Array], epochs: int
) -> Figure:
    """A column for each run: its path on the contours of the mean loss, and below it the loss by step."""
    import numpy as np

    losses = np.array([[mean_loss.or_nan(np.array([a, b])) for a in sides[0]] for b in sides[1]])
    figure = new_figure(3.7 * len(walks), 6.2)
    axes = figure.subplots(2, len(walks), squeeze=False, sharey="row", height_ratios=(3, 2))
    for (name, path), above, below in zip(walks.items(), *axes, strict=True):
        shade = draw_contours(styled(above), sides, losses)
        draw_path(above, path)
        above.set_xlabel(mean_loss.parameters[0].label or "parameter 1", parse_math=False)
        per_epoch = (len(path) - 1) // epochs
        above.set_title(f"{name}\n{counted(per_epoch, 'step')} an epoch", fontsize=SMALL + 1)
        marker = "o" if len(path) < 60 else ""
        styled(below).plot(range(len(path)), heights[name], color=GRADIENT, linewidth=1.2, marker=marker, markersize=3)
        below.set_xlabel(f"step, in {counted(epochs, 'epoch')}")
        below.set_title(f"loss {write_number(float(heights[name][-1]), 3)} at the end", fontsize=SMALL)
        below.xaxis.get_major_locator().set_params(integer=True)
    axes[0, 0].set_ylabel(mean_loss.parameters[1].label or "parameter 2", parse_math=False)
    axes[1, 0].set_ylabel("mean loss")
    if is_logarithmic(np.concatenate(list(heights.values()))):
        axes[1, 0].set_yscale("log")
    figure.colorbar(shade, ax=list(axes[0]), pad=0.02, label="mean loss", format=lambda x, _: write_number(x, 2))
    handles, names = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=3, frameon=False, fontsize=SMALL)
    return figure


def _size_name(size: int | None, n: int) -> str:
    """What descent with batches of a size is called."""
    if size is None or size >= n:
        return f"full batch: {counted(n, 'example')}"
    return "SGD: 1 example" if size == 1 else f"mini-batch: {size} examples"
