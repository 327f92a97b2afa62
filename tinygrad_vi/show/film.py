"""The film of a training: what the model answers, its loss, and its gradient in each layer, epoch after epoch."""

from __future__ import annotations

import base64
import math
import re
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BytesIO
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from tinygrad_vi.compiler.compiled import Compiled, compile
from tinygrad_vi.data import check_examples, to_lists
from tinygrad_vi.files import write_atomically
from tinygrad_vi.nn import MLP, counted, prediction
from tinygrad_vi.once import once
from tinygrad_vi.ops import DomainError, whole_number
from tinygrad_vi.optim import Optimizer
from tinygrad_vi.show.deltas import NoSumError
from tinygrad_vi.show.graph import shorten
from tinygrad_vi.show.plots import (
    BLUE,
    CLASS_COLORS,
    GREEN,
    MARKERS,
    RED,
    LayerGradients,
    Plot,
    clean_texts,
    draw_boundary,
    draw_sizes,
    fewer_colors,
    label_numbers,
    measure_gradients,
    new_figure,
    numbers_of,
    padded,
    plane,
    styled,
)
from tinygrad_vi.training import progress_bar
from tinygrad_vi.value import no_grad

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from tinygrad_vi.training import History

FORMATS = ("gif", "svg", "png", "pdf")
SECONDS = 8.0
LAST = 6  # the last frame stays so many times longer than the others
DOTS_PER_INCH = 100  # of the GIF
COLORS = 32  # of the GIF
SMALL = 9  # the size of letters

#: the gradient by layer is measured on so many of the examples at most: it is recorded anew for each frame
MEASURED = 100

BADGE = 34  # letters in a line


class Film:
    """Films a training: a callback of `fit` that can be shown and saved when the training is over.

        film = Film(model, loss, X, y)
        fit(loss, model.parameters(), X, y, epochs=200, callbacks=film)
        film.save("moons.gif")

    A frame shows what the model answers (the decision boundary for two inputs and classes, the curve for one input;
    nothing for more), the loss so far, and the gradient in each layer with a word on its health, as `gradient_sizes`
    has it; for a model that is no MLP the length of the gradient instead.  In a notebook the film shows itself.

    model, loss, X, y: as for `fit`; the loss may be compiled.  frames: how many there are at most, at even distances;
    the first is the model as it is when the film is made.  parameters: the Values that are trained, where the model has
    no method ``parameters``.  threshold: where a single output says yes, 0 for logits and 0.5 for probabilities.
    steps: grid points along each side of the plane.  labels: of the two inputs, or of the input and the output.

    Recording notes the numbers of the parameters and nothing else, so it changes no training and takes no time; what is
    drawn is computed afterwards.  In another training the film begins anew.

    Raises TypeError for a model without parameters, ShapeError for no examples or X and y of different lengths.

    >>> from tinygrad_vi import Value, fit
    >>> w = Value(0.0, "w")
    >>> X, y = [1.0, 2.0], [3.0, 6.0]
    >>> loss = lambda x, t: (w * x - t) ** 2
    >>> film = Film(lambda x: w * x, loss, X, y, parameters=[w])
    >>> history = fit(loss, [w], X, y, epochs=30, callbacks=film, progress=False)
    >>> film
    <Film of 30 epochs in 31 frames; .save("film.gif") writes it>
    """

    def __init__(
        self,
        model: Callable[[Any], Any],
        loss: Callable[..., Any],
        X: Sequence[Any],
        y: Sequence[Any],
        *,
        frames: int = 40,
        parameters: Any = None,
        threshold: float = 0.0,
        steps: int = 50,
        labels: tuple[str, str] | None = None,
    ) -> None:
        if not callable(model):
            raise TypeError(f"a film is made of a model, something to call with an example, got {model!r:.60}")
        if parameters is None and not hasattr(model, "parameters"):
            raise TypeError(f"{model!r:.60} has no parameters(): give its Values, Film(..., parameters=[w, b])")
        self.model, self.loss = model, loss
        self.parameters = Optimizer(model if parameters is None else parameters, 1.0).parameters  # it checks them
        self.X, self.y = to_lists(X), to_lists(y)
        check_examples(self.X, self.y)
        self.frames = whole_number(frames, "frames", least=2)
        whole_number(steps, "steps", least=2)
        shown = None if labels is None else (shorten(labels[0]), shorten(labels[1]))
        self.view = _view_of(self.X, self.y, steps, shown, threshold)
        self._start = self._now(0)
        self.history: History | None = None
        self._moments, self._every = [self._start], 1
        self._scenes: dict[int, _Scene] = {}
        self._shown: dict[str, Any] = {}  # in notebooks

    # --- Recording

    def __call__(self, history: History) -> None:
        """Note the parameters after an epoch."""
        if history is not self.history:
            seen = self.history is None and history.epochs == 1  # how it began
            self._begin(history, [self._start] * seen)
        self._last = self._now(history.epochs)
        self._shown.clear()
        if history.epochs % self._every == 0:
            self._moments.append(self._last)
        if len(self._moments) > 2 * self.frames:  # nobody knows how many epochs there will be: keep every second
            self._every *= 2
            self._moments = [moment for moment in self._moments if moment.epoch % self._every == 0]

    def _begin(self, history: History, moments: list[_Moment]) -> None:
        self.history, self._moments, self._every = history, moments, 1
        self._scenes.clear()

    def _now(self, epoch: int) -> _Moment:
        return _Moment(epoch, [p.data for p in self.parameters])

    def _chosen(self, count: int) -> list[_Moment]:
        """So many moments at even distances, the first and the last among them; fewer when there are no more."""
        self._recorded()
        moments = [*(moment for moment in self._moments if moment.epoch < self._last.epoch), self._last]
        last = len(moments) - 1
        if count == 1 or last < count:
            return moments[-count:]
        return [moments[round(i * last / (count - 1))] for i in range(count)]

    def _recorded(self) -> History:
        if self.history is None:
            raise ValueError("the film has no frame yet: give it to the training first, fit(..., callbacks=film)")
        return self.history

    # --- Showing

    def strip(self, count: int = 5) -> Plot:
        """So many moments side by side, over the loss with a mark for each: for paper, and for pages that stand still.

        Raises ValueError for a film without a frame.
        """
        moments = self._chosen(whole_number(count, "the number of moments"))
        return _strip(self, self._recorded(), [self._scene(moment) for moment in moments])

    def save(self, path: str | Path, *, seconds: float = SECONDS, progress: bool = True) -> Path:
        """Write the film as .gif or animated .svg, or five moments of it as .png or .pdf; returns the path.

        seconds: how long the film runs before it begins again.  progress: a bar, where the package tqdm is installed.

        Raises ValueError for another ending, no time or a film without a frame, OSError when the file cannot be
        written.
        """
        path = Path(path)
        form = path.suffix.lower().lstrip(".")
        if form not in FORMATS:
            endings = ", ".join(f".{ending}" for ending in FORMATS)
            raise ValueError(f"cannot save a film as {path.name!r}: the name must end in {endings}")
        if not 0.0 < seconds < math.inf:
            raise ValueError(f"a film runs for some seconds, got {seconds!r}")
        if form in ("png", "pdf"):
            return self.strip().save(path)
        picture = self._gif(seconds, progress) if form == "gif" else self._svg(seconds, progress)
        return write_atomically(path, picture)

    def _gif(self, seconds: float, progress: bool) -> bytes:
        pictures = [_pixels(figure) for figure in self._figures(progress)]
        return _gif_of(pictures, _durations(len(pictures), seconds))

    def _svg(self, seconds: float, progress: bool) -> bytes:
        pictures = [_drawing(figure) for figure in self._figures(progress)]
        return _animated(pictures, _durations(len(pictures), seconds))

    def _figures(self, progress: bool) -> Iterator[Figure]:
        """One figure, drawn anew for each frame."""
        moments = self._chosen(self.frames)
        with progress_bar(progress, 2 * len(moments), unit="picture") as counter:
            scenes = []
            for moment in moments:
                scenes.append(self._scene(moment))
                counter.update()
            screen = _Screen(self, self._recorded(), scenes)
            for scene in scenes:
                yield screen.show(scene)
                counter.update()

    def __len__(self) -> int:
        return 0 if self.history is None else len(self._chosen(self.frames))

    def __bool__(self) -> bool:
        return True  # a film without a frame is a film

    def __repr__(self) -> str:
        if self.history is None:
            return "<Film without a frame: fit(..., callbacks=film) records it>"
        epochs, frames = counted(self.history.epochs, "epoch"), counted(len(self), "frame")
        return f'<Film of {epochs} in {frames}; .save("film.gif") writes it>'

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        """The GIF, and the strip for viewers that show no HTML."""
        if self.history is None:
            return {"text/plain": repr(self)}
        if not self._shown:
            gif = base64.b64encode(self._gif(SECONDS, progress=False)).decode()
            html = f'<img src="data:image/gif;base64,{gif}" alt="{counted(len(self), "frame")} of a training">'
            self._shown = {
                "text/html": html,
                "image/png": fewer_colors(self.strip()._render("png")),
                "text/plain": repr(self),
            }
        return self._shown

    # --- What a frame shows

    def _scene(self, moment: _Moment) -> _Scene:
        if moment.epoch not in self._scenes:
            with self._at(moment), prediction():
                answers = [] if self.view is None else self._answers(self.view.points)
                self._scenes[moment.epoch] = _Scene(moment.epoch, answers, self._gradients())
        return self._scenes[moment.epoch]

    @contextmanager
    def _at(self, moment: _Moment) -> Iterator[None]:
        """The parameters as they were, for a while."""
        before = [p.data for p in self.parameters]
        try:
            for p, x in zip(self.parameters, moment.theta, strict=True):
                p.data = x
            yield
        except DomainError as error:
            raise DomainError(f"the frame of epoch {moment.epoch} cannot be drawn: {error}") from error
        finally:
            for p, x in zip(self.parameters, before, strict=True):
                p.data = x

    def _answers(self, points: Sequence[Any]) -> list[list[float]]:
        if self._compiled is not None:
            with suppress(DomainError):  # somewhere: one by one it will be seen where
                found: list[list[float]] = (
                    self._compiled.each(self._compiled.theta, points).reshape(len(points), -1).tolist()
                )
                return found
        return self._one_by_one(points)

    def _one_by_one(self, points: Sequence[Any]) -> list[list[float]]:
        """The answers at the points, NaN where there is none; DomainError when there is none at all."""
        answers: list[list[float]] = []
        missing: list[tuple[int, DomainError]] = []
        with no_grad():
            for i, point in enumerate(points):
                try:
                    answers.append(numbers_of(self.model(point)))
                except DomainError as error:
                    missing.append((i, error))
                    answers.append([])
        if len(missing) == len(points):
            raise missing[0][1]
        width = max(map(len, answers))
        for i, _ in missing:
            answers[i] = [math.nan] * width
        return [[v if math.isfinite(v) else math.nan for v in answer] for answer in answers]

    @once
    def _compiled(self) -> Compiled | None:
        """The model, if it compiles: a frame is made of thousands of answers."""
        step = compile(lambda x: self.model(x), self.parameters, backend="numpy")
        try:
            expected = self._one_by_one(self.X)
            found = step.each(step.theta, self.X).reshape(len(self.X), -1)
        except Exception:  # nobody promised that it compiles
            return None
        agree = found.shape[1] == len(expected[0]) and abs(found - expected).max() <= 1e-9 * (1.0 + abs(found).max())
        return step if agree else None

    def _gradients(self) -> LayerGradients | None:
        """The gradient by layer, where the model has layers and the loss is that of one example."""
        if not isinstance(self.model, MLP) or (isinstance(self.loss, Compiled) and not self.loss.takes_data):
            return None
        loss = self.loss.fn if isinstance(self.loss, Compiled) else self.loss
        every = math.ceil(len(self.X) / MEASURED)
        try:
            return measure_gradients(self.model, loss, self.X[::every], self.y[::every])
        except NoSumError:  # its layers are used in some way of its own: the length of the gradient will do
            return None


@dataclass(frozen=True)
class _Moment:
    """The numbers of the parameters after an epoch."""

    epoch: int
    theta: list[float]


@dataclass(frozen=True)
class _Scene:
    """What is drawn of a moment: the answers at the points of the view, the gradient by layer."""

    epoch: int
    answers: list[list[float]]
    gradients: LayerGradients | None


# --- What the model answers -------------------------------------------------------------------------------------------


class _Plane:
    """Two inputs and classes: the decision boundary.  points: where to ask the model, the examples last."""

    def __init__(
        self, X: list[list[float]], y: list[Any], steps: int, labels: tuple[str, str], threshold: float
    ) -> None:
        self.X, self.y, self.labels, self.threshold = X, y, labels, threshold
        self.grid = plane(X, steps)
        self.points = [[a, b] for b in self.grid[1] for a in self.grid[0]] + X

    def draw(self, axis: Any, answers: list[list[float]], size: float) -> str:
        """Draw the answers at the points, with marks of some size; how good they are, in words."""
        n = len(self.points) - len(self.X)
        at_examples = answers[n:]
        _, wrong = draw_boundary(
            axis, self.X, self.y, self.grid, answers[:n], at_examples, self.threshold, shades=10, size=size
        )
        return f"{len(self.X) - wrong} of {len(self.X)} right" + " (× is wrong)" * (wrong > 0)


class _Curve:
    """One input: the curve through the data.  points: where to ask the model, the examples last."""

    def __init__(self, X: list[Any], y: list[Any], steps: int, labels: tuple[str, str]) -> None:
        self.labels = labels
        self.xs, self.targets = [numbers_of(x)[0] for x in X], [numbers_of(t) for t in y]
        low, high = padded(self.xs)
        self.line = [low + (high - low) * i / (4 * steps) for i in range(4 * steps + 1)]
        self.points = [[x] if isinstance(X[0], (list, tuple)) else x for x in self.line] + X

    def draw(self, axis: Any, answers: list[list[float]], size: float) -> str:
        """Draw the answers at the points, with marks of some size; how good they are, in words."""
        n = len(self.line)
        data, curves = list(zip(*self.targets, strict=True)), list(zip(*answers[:n], strict=True))
        for k, column in enumerate(data):
            marks = {"s": size, "marker": MARKERS[k % len(MARKERS)], "color": _color(k), "linewidths": 0}
            axis.scatter(self.xs, column, alpha=0.5, label=_numbered("data", k, data), **marks)
        for k, curve in enumerate(curves):
            color = RED if len(curves) == 1 else _color(k)
            axis.plot(self.line, curve, color=color, linewidth=2, label=_numbered("model", k, curves))
        axis.set_xlim(self.line[0], self.line[-1])
        if len(curves) != len(data):  # scores of classes, perhaps
            return f"{len(curves)} outputs"
        axis.set_ylim(padded([t for column in data for t in column]))
        pairs = zip(answers[n:], self.targets, strict=True)
        errors = [(a - t) ** 2 for answer, target in pairs for a, t in zip(answer, target, strict=True)]
        return f"mean squared error {math.fsum(errors) / len(errors):.2g}"


def _color(k: int) -> str:
    return CLASS_COLORS[k % len(CLASS_COLORS)]


def _numbered(name: str, k: int, columns: Sequence[Any]) -> str:
    return name if len(columns) == 1 else f"{name} {k + 1}"


def _view_of(
    X: list[Any], y: list[Any], steps: int, labels: tuple[str, str] | None, threshold: float
) -> _Plane | _Curve | None:
    """How to look at the answers of a model; None where there is no way."""
    rows = [list(x) if isinstance(x, (list, tuple)) else [x] for x in X]
    if any(len(row) != len(rows[0]) or not all(isinstance(x, Real) for x in row) for row in rows):
        return None
    targets = [numbers_of(t) for t in y]
    if len(rows[0]) == 1:
        return _Curve(X, y, steps, labels or ("x", "y"))
    classes = all(float(t).is_integer() for target in targets for t in target)
    if len(rows[0]) == 2 and classes and len({tuple(target) for target in targets}) <= len(CLASS_COLORS):
        single = all(len(target) == 1 for target in targets)
        return _Plane(rows, [t for [t] in targets] if single else y, steps, labels or ("x1", "x2"), threshold)
    return None


# --- Drawing ----------------------------------------------------------------------------------------------------------


class _Screen:
    """A figure with a panel for each thing to see.  Scales are those of the whole film, so that nothing jumps."""

    def __init__(self, film: Film, history: History, scenes: Sequence[_Scene]) -> None:
        self.view, self.history, self.limits = film.view, history, _limits(scenes)
        self.panels = [self._answers] * (film.view is not None) + [self._loss, self._gradient]
        self.figure = new_figure(3.0 * len(self.panels), 3.4)
        self.figure.set_dpi(DOTS_PER_INCH)
        self.figure.set_layout_engine("constrained", w_pad=0.12)
        self.axes = self.figure.subplots(1, len(self.panels))
        self.show(max(scenes, key=lambda scene: len(_badge(scene.gradients, BADGE))))  # the one that needs most room
        self.figure.draw_without_rendering()
        self.figure.set_layout_engine("none")

    def show(self, scene: _Scene) -> Figure:
        """Draw a frame."""
        for axis, draw in zip(self.axes, self.panels, strict=True):
            axis.clear()
            draw(styled(axis), scene)
            axis.tick_params(labelsize=SMALL)
            axis.minorticks_off()
        self.figure.suptitle(f"epoch {scene.epoch} of {self.history.epochs}", fontweight="bold")
        return self.figure

    def _answers(self, axis: Any, scene: _Scene) -> None:
        axis.set_title(_draw_answers(axis, self.view, scene, size=24), fontsize=SMALL + 1, y=1.0)
        named = _named(axis)
        axis.legend(*zip(*named, strict=True), **BELOW, ncols=min(len(named), 4))

    def _loss(self, axis: Any, scene: _Scene) -> None:
        _draw_course(axis, "loss", self.history.loss, [scene.epoch], self.history.validation_loss)
        if self.history.validation_loss:
            axis.legend(**BELOW, ncols=2)
        loss = f"loss {self.history.loss[scene.epoch - 1]:.3g}" if scene.epoch else "before the first step"
        axis.set_title(loss, fontsize=SMALL + 1, y=1.0)

    def _gradient(self, axis: Any, scene: _Scene) -> None:
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


def _strip(film: Film, history: History, scenes: Sequence[_Scene]) -> Plot:
    """Moments side by side, over the loss."""
    rows = [2.3] * (film.view is not None) + [1.9] * (scenes[0].gradients is not None) + [1.7]
    count = len(scenes)
    width = max(2.4 * count, 4.8)
    figure = new_figure(width, sum(rows) + 0.4)
    grid = figure.add_gridspec(len(rows), count, height_ratios=rows)
    limits = _limits(scenes)
    for k, scene in enumerate(scenes):
        if film.view is not None:
            axis = styled(figure.add_subplot(grid[0, k]))
            words = _draw_answers(axis, film.view, scene, size=14)
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
    named += _named(axis) * bool(history.validation_loss)
    if named:
        figure.legend(
            *zip(*named, strict=True), loc="outside lower center", ncols=int(width / 1.5), frameon=False, fontsize=SMALL
        )
    epochs = ", ".join(f"{scene.epoch}" for scene in scenes)
    return Plot(figure, f"a training at the epochs {epochs}")


def _named(axis: Any) -> list[tuple[Any, str]]:
    """What has a name in a legend, but for the crosses, which come and go."""
    return [item for item in zip(*axis.get_legend_handles_labels(), strict=True) if not item[1].startswith("wrong")]


def _only_first(axis: Any, column: int) -> None:
    """Name the vertical axis of the first column only."""
    axis.tick_params(labelsize=SMALL - 1, labelleft=column == 0)
    axis.xaxis.label.set_size(SMALL)
    axis.yaxis.label.set_size(SMALL)
    if column:
        axis.set_ylabel("")


def _draw_answers(axis: Any, view: Any, scene: _Scene, size: float) -> str:
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
    """Numbers by epoch with marks at some epochs; pale after the last of these, if not in full."""
    steps = range(1, len(numbers) + 1)
    until = len(numbers) if full else epochs[-1]
    marked = [epoch for epoch in epochs if epoch]  # before the first step there is no loss
    for column, color, style, label in ((numbers, BLUE, "-", name), (validation, RED, "--", f"validation {name}")):
        if len(column):
            axis.plot(steps, column, color=color, linestyle=style, alpha=0.25)
            axis.plot(steps[:until], column[:until], color=color, linestyle=style, label=label)
            if marked:
                axis.plot(marked, [column[epoch - 1] for epoch in marked], "o", color=color, clip_on=False)
    axis.set_xlim(0, len(numbers))
    label_numbers(axis, name, [*numbers, *validation])
    axis.set_xlabel("epoch")
    axis.xaxis.get_major_locator().set_params(integer=True)


def _limits(scenes: Sequence[_Scene]) -> tuple[float, float]:
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
    axis.set_title(text, fontsize=SMALL, color=GREEN if healthy else RED, fontweight="bold", y=1.0)


def _badge(gradients: LayerGradients | None, letters: int) -> list[str]:
    """A word on the health of the layers, in lines."""
    if gradients is None:
        return []
    first, *others = [word for word, _ in gradients.remarks]
    more = f" (and {counted(len(others), 'more remark')})" * (len(others) > 0)
    return textwrap.wrap(f"{'✓' if first == 'healthy' else '✗'} {first}{more}", letters)


# --- Files ------------------------------------------------------------------------------------------------------------


def _durations(count: int, seconds: float) -> list[float]:
    """How long each frame stays; the last one longer."""
    shares = [1] * (count - 1) + [LAST]
    return [seconds * share / sum(shares) for share in shares]


def _pixels(figure: Figure) -> Any:
    """The figure as a picture of Pillow."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    clean_texts(figure)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]  # savefig would lay everything out once more
    pixels = bytes(canvas.buffer_rgba())  # type: ignore[no-untyped-call]
    return Image.frombytes("RGBA", canvas.get_width_height(), pixels).convert("RGB")


def _drawing(figure: Figure) -> bytes:
    """The figure as SVG."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    clean_texts(figure)
    buffer = BytesIO()
    with rc_context({"svg.hashsalt": "tinygrad_vi"}):  # the same shapes have the same names in all frames
        FigureCanvasSVG(figure).print_svg(buffer)  # type: ignore[no-untyped-call]
    return buffer.getvalue()


def _gif_of(pictures: Sequence[Any], durations: Sequence[float]) -> bytes:
    """Pictures as an animated GIF, with colours chosen for the first, the middle and the last of them."""
    from PIL import Image

    width, height = pictures[0].size
    sample = Image.new("RGB", (width, 3 * height))
    for k, picture in enumerate((pictures[0], pictures[len(pictures) // 2], pictures[-1])):
        sample.paste(picture, (0, k * height))
    palette = sample.quantize(COLORS, method=Image.Quantize.MAXCOVERAGE, kmeans=2)
    first, *others = [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures]
    buffer = BytesIO()
    milliseconds = [max(20, round(1000 * duration)) for duration in durations]
    first.save(buffer, "GIF", save_all=True, append_images=others, duration=milliseconds, loop=0, optimize=True)
    return buffer.getvalue()


SVG, XLINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}"


def _animated(pictures: Sequence[bytes], durations: Sequence[float]) -> bytes:
    """Pictures as one animated SVG, in which what they have in common is kept once.

    Each part of a picture (a curve, an axis) goes into the definitions when it is first seen; a frame is a list of
    references to parts, shown in its time.  Where nothing moves, the last frame is seen.
    """
    for prefix, name in (("", SVG), ("xlink", XLINK)):
        ElementTree.register_namespace(prefix, name[1:-1])
    definitions: dict[str, Any] = {}
    frames = []
    for picture in pictures:
        root = ElementTree.fromstring(picture)
        for parent in list(root.iter()):
            for defs in parent.findall(f"{SVG}defs"):
                definitions.update({child.get("id") or child.tag: child for child in defs})
                parent.remove(defs)
        [content] = root.findall(f"{SVG}g")
        frames.append([_reference(part, definitions) for axes in content for part in _parts(axes)])
    film = ElementTree.Element(f"{SVG}svg", {name: root.get(name, "") for name in ("width", "height", "viewBox")})
    film.set("version", "1.1")
    ElementTree.SubElement(film, f"{SVG}defs").extend(definitions.values())
    total, start = sum(durations), 0.0
    for k, (frame, duration) in enumerate(zip(frames, durations, strict=True)):
        last = k == len(frames) - 1
        group = ElementTree.SubElement(film, f"{SVG}g", {"display": "inline" if last else "none"})
        times = [0.0] * (k > 0) + [start] + [start + duration] * (not last)
        values = ["none"] * (k > 0) + ["inline"] + ["none"] * (not last)
        timing = {"dur": f"{total:g}s", "repeatCount": "indefinite", "calcMode": "discrete"}
        timing |= {"values": ";".join(values), "keyTimes": ";".join(f"{time / total:.5g}" for time in times)}
        if len(frames) > 1:
            ElementTree.SubElement(group, f"{SVG}animate", {"attributeName": "display", **timing})
        group.extend(frame)
        start += duration
    text: bytes = ElementTree.tostring(film, encoding="utf-8", xml_declaration=True)
    return text


def _parts(element: Any) -> list[Any]:
    """The axes come apart, all else stays together."""
    return list(element) if (element.get("id") or "").startswith("axes") else [element]


def _reference(part: Any, definitions: dict[str, Any]) -> Any:
    for element in part.iter():
        if element.tag == f"{SVG}g":
            element.attrib.pop("id", None)  # counted anew in each picture, and used nowhere
        for name in ("d", "x", "y"):
            if name in element.attrib:
                element.set(name, re.sub(r"(\.\d)\d+", r"\1", element.get(name)))
    text = ElementTree.tostring(part, encoding="unicode")
    if text not in definitions:
        part.set("id", f"part{len(definitions)}")
        definitions[text] = part
    return ElementTree.Element(f"{SVG}use", {f"{XLINK}href": f"#{definitions[text].get('id')}"})
