"""What one frame of a film shows."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tinygrad_vi.checks import counted
from tinygrad_vi.show.palette import RIGHT, THIRD, VALUE, WRONG
from tinygrad_vi.show.plot import Plot, new_figure, styled
from tinygrad_vi.show.training.gradients import LayerGradients, draw_sizes
from tinygrad_vi.show.training.plots import label_numbers

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from tinygrad_vi.show.training.film import Film
    from tinygrad_vi.training.history import History

DOTS_PER_INCH = 100  # of the GIF
SMALL = 9  # the size of letters

BADGE = 34  # letters in a line


@dataclass(frozen=True)
class Scene:
    """What is drawn of a moment: the answers at the points of the view, the gradient by layer."""

    epoch: int
    answers: list[list[float]]
    gradients: LayerGradients | None


# --- Drawing ----------------------------------------------------------------------------------------------------------


class Screen:
    """A figure with a panel for each thing to see.  Scales are those of the whole film, so that nothing jumps."""

    def __init__(self, film: Film, history: History, scenes: Sequence[Scene]) -> None:
        self.view, self.history, self.limits = film.view, history, _limits(scenes)
        self.panels = [self._loss, self._gradient]
        if film.view is not None:
            self.panels.insert(0, self._answers)
        self.figure = new_figure(3.0 * len(self.panels), 3.4)
        self.figure.set_dpi(DOTS_PER_INCH)
        self.figure.set_layout_engine("constrained", w_pad=0.12)
        self.axes = self.figure.subplots(1, len(self.panels))
        self.show(
            max(scenes, key=lambda scene: len(_badge(scene.gradients, BADGE)))
        )  # the last scene needs the most room
        self.figure.draw_without_rendering()
        self.figure.set_layout_engine("none")

    def show(self, scene: Scene) -> Figure:
        """Draw a frame."""
        for axis, draw in zip(self.axes, self.panels, strict=True):
            axis.clear()
            draw(styled(axis), scene)
            axis.tick_params(labelsize=SMALL)
            axis.minorticks_off()
        self.figure.suptitle(f"epoch {scene.epoch} of {self.history.epochs}", fontweight="bold")
        return self.figure

    def _answers(self, axis: Any, scene: Scene) -> None:
        axis.set_title(draw_answers(axis, self.view, scene, size=24), fontsize=SMALL + 1, y=1.0)
        named = _named(axis)
        axis.legend(*zip(*named, strict=True), **BELOW, ncols=min(len(named), 4))

    def _loss(self, axis: Any, scene: Scene) -> None:
        _draw_course(axis, "loss", self.history.loss, [scene.epoch], self.history.validation_loss)
        if self.history.validation_loss:
            axis.legend(**BELOW, ncols=2)
        loss = f"loss {self.history.loss[scene.epoch - 1]:.3g}" if scene.epoch else "before the first step"
        axis.set_title(loss, fontsize=SMALL + 1, y=1.0)

    def _gradient(self, axis: Any, scene: Scene) -> None:
        if scene.gradients is None:
            _draw_course(axis, "gradient norm", self.history.gradient_norm, [scene.epoch])
            return
        _draw_layers(axis, scene.gradients, self.limits, BADGE)
        axis.legend(**BELOW, ncols=2)


BELOW: dict[str, Any] = {
    "loc": "upper center",
    "bbox_to_anchor": (0.5, -0.17),
    "frameon": False,
    "fontsize": SMALL,
    "columnspacing": 1.2,
    "handletextpad": 0.4,
}


def strip_of(film: Film, history: History, scenes: Sequence[Scene]) -> Plot:
    """Moments side by side, over the loss."""
    rows = [1.7]
    if scenes[0].gradients is not None:
        rows.insert(0, 1.9)
    if film.view is not None:
        rows.insert(0, 2.3)
    count = len(scenes)
    width = max(2.4 * count, 4.8)
    figure = new_figure(width, sum(rows) + 0.4)
    grid = figure.add_gridspec(len(rows), count, height_ratios=rows)
    limits = _limits(scenes)
    for k, scene in enumerate(scenes):
        if film.view is not None:
            axis = styled(figure.add_subplot(grid[0, k]))
            words = draw_answers(axis, film.view, scene, size=14)
            axis.set_title(f"epoch {scene.epoch}\n{words}", fontsize=SMALL)
            _only_first(axis, k)
        if scene.gradients is not None:
            axis = styled(figure.add_subplot(grid[-2, k]))
            _draw_layers(axis, scene.gradients, limits, BADGE - 8)
            if film.view is None:
                axis.set_xlabel(f"epoch {scene.epoch}")
            _only_first(axis, k)
    named = [item for axis in figure.axes[: len(rows) - 1] for item in _named(axis)]
    axis = styled(figure.add_subplot(grid[-1, :]))
    _draw_course(axis, "loss", history.loss, [scene.epoch for scene in scenes], history.validation_loss, full=True)
    axis.tick_params(labelsize=SMALL)
    if history.validation_loss:
        named += _named(axis)
    if named:
        figure.legend(
            *zip(*named, strict=True), loc="outside lower center", ncols=int(width / 1.5), frameon=False, fontsize=SMALL
        )
    epochs = ", ".join(f"{scene.epoch}" for scene in scenes)
    return Plot(figure, f"a training at the epochs {epochs}")


def _named(axis: Any) -> list[tuple[Any, str]]:
    """The items of a legend; without the crosses, which not every frame has."""
    return [item for item in zip(*axis.get_legend_handles_labels(), strict=True) if not item[1].startswith("wrong")]


def _only_first(axis: Any, column: int) -> None:
    """Name the vertical axis of the first column only."""
    axis.tick_params(labelsize=SMALL - 1, labelleft=column == 0)
    axis.xaxis.label.set_size(SMALL)
    axis.yaxis.label.set_size(SMALL)
    if column:
        axis.set_ylabel("")


def draw_answers(axis: Any, view: Any, scene: Scene, size: float) -> str:
    """What the model answers, with the names of the axes; returns the title."""
    words: str = view.draw(axis, scene.answers, size)
    axis.set_xlabel(view.labels[0], parse_math=False)
    axis.set_ylabel(view.labels[1], parse_math=False)
    return words


def _draw_course(
    axis: Any,
    name: str,
    numbers: Sequence[float],
    epochs: Sequence[int],
    validation: Sequence[float] = (),
    full: bool = False,
) -> None:
    """Draw numbers by epoch, with marks at some epochs; what comes after the last mark is pale unless ``full``."""
    steps = range(1, len(numbers) + 1)
    until = len(numbers) if full else epochs[-1]
    marked = [epoch for epoch in epochs if epoch]  # before the first step there is no loss
    for column, color, style, label in ((numbers, VALUE, "-", name), (validation, THIRD, "-.", f"validation {name}")):
        if len(column):
            axis.plot(steps, column, color=color, linestyle=style, alpha=0.25)
            axis.plot(steps[:until], column[:until], color=color, linestyle=style, label=label)
            if marked:
                axis.plot(marked, [column[epoch - 1] for epoch in marked], "o", color=color, clip_on=False)
    axis.set_xlim(0, len(numbers))
    label_numbers(axis, name, [*numbers, *validation])
    axis.set_xlabel("epoch")
    axis.xaxis.get_major_locator().set_params(integer=True)


def _limits(scenes: Sequence[Scene]) -> tuple[float, float]:
    """From the smallest to the largest gradient of all scenes; from 0 where they lie near each other."""
    found = [scene.gradients for scene in scenes if scene.gradients is not None]
    positive = [s for gradients in found for s in (*gradients.sizes, *gradients.signals) if s > 0.0] or [1.0]
    low, high = min(positive), max(positive)
    return (max(low, 1e-12 * high) / 2, 2 * high) if high > 10 * low else (0.0, 1.1 * high)


def _draw_layers(axis: Any, gradients: LayerGradients, limits: tuple[float, float], letters: int) -> None:
    """The gradient by layer under a word on its health."""
    draw_sizes(axis, gradients)
    axis.set_yscale("log" if limits[0] else "linear")
    axis.set_ylim(limits)
    axis.set_ylabel("gradient (RMS)")
    healthy = gradients.remarks[0][0] == "healthy"
    text = "\n".join(_badge(gradients, letters))
    axis.set_title(text, fontsize=SMALL, color=RIGHT if healthy else WRONG, fontweight="bold", y=1.0)


def _badge(gradients: LayerGradients | None, letters: int) -> list[str]:
    """A word on the health of the layers, in lines."""
    if gradients is None:
        return []
    first, *others = [word for word, _ in gradients.remarks]
    more = f" (and {counted(len(others), 'more remark')})" if others else ""
    return textwrap.wrap(f"{'✓' if first == 'healthy' else '✗'} {first}{more}", letters)
