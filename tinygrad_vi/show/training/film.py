"""The film of a training: what the model answers, its loss, and its gradient in each layer, epoch after epoch."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinygrad_vi.checks import DomainError, counted, whole_number
from tinygrad_vi.compiler.compiled import Compiled, compile
from tinygrad_vi.examples import check_examples, to_lists
from tinygrad_vi.files import write_atomically
from tinygrad_vi.nn.feedforward import MLP
from tinygrad_vi.nn.module import prediction
from tinygrad_vi.once import once
from tinygrad_vi.optim.rules import Optimizer
from tinygrad_vi.show.paper import shorten
from tinygrad_vi.show.plot import (
    Plot,
    fewer_colors,
)
from tinygrad_vi.show.saving import form_of
from tinygrad_vi.show.training.gradients import LayerGradients, NotCalledError, measure_gradients
from tinygrad_vi.show.training.plots import numbers_of
from tinygrad_vi.training.loop import progress_bar
from tinygrad_vi.value import no_grad

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from tinygrad_vi.training.history import History
from tinygrad_vi.show.training.animation import animated, drawing_of, durations_of, gif_of, pixels_of
from tinygrad_vi.show.training.screens import Scene, Screen, strip_of
from tinygrad_vi.show.training.views import view_of

FORMATS = ("gif", "svg", "png", "pdf")
SECONDS = 8.0

#: the gradient by layer is measured on so many of the examples at most: it is recorded anew for each frame
MEASURED = 100


class Film:
    """Films a training: a callback of `fit` that can be shown and saved when the training is over.

        film = Film(model, loss, X, y)
        fit(loss, X, y, params=model, epochs=200, callbacks=film)
        film.save("moons.gif")

    A frame shows what the model answers (the decision boundary for two inputs and classes, the curve for one input;
    nothing for more), the loss so far, and the gradient in each layer with a word on its health, as `gradient_sizes`
    has it; for a model that is no MLP the length of the gradient instead.  In a notebook the film shows itself.

    model, loss, X, y: as for `fit`; the loss may be compiled.  frames: how many there are at most, at even distances;
    the first is the model as it is when the film is made.  params: the Values that are trained, where the model has
    no method ``parameters``.  threshold: where a single output says yes, 0 for logits and 0.5 for probabilities.
    steps: grid points along each side of the plane.  labels: of the two inputs, or of the input and the output.

    Recording notes the numbers of the parameters and nothing else, so it changes no training and takes no time; what is
    drawn is computed afterwards.  In another training the film begins anew.

    Raises TypeError for a model without parameters, ShapeError for no examples or X and y of different lengths.

    >>> from tinygrad_vi import Value, fit
    >>> w = Value(0.0, "w")
    >>> X, y = [1.0, 2.0], [3.0, 6.0]
    >>> loss = lambda x, t: (w * x - t) ** 2
    >>> film = Film(lambda x: w * x, loss, X, y, params=[w])
    >>> history = fit(loss, X, y, params=[w], epochs=30, callbacks=film, progress=False)
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
        params: Any = None,
        threshold: float = 0.0,
        steps: int = 50,
        labels: tuple[str, str] | None = None,
    ) -> None:
        if not callable(model):
            raise TypeError(f"Film takes a model that can be called with an example, got {model!r:.60}")
        if params is None and not hasattr(model, "parameters"):
            raise TypeError(f"{model!r:.60} has no parameters(): give its Values, Film(..., params=[w, b])")
        self.model, self.loss = model, loss
        self.parameters = Optimizer(model if params is None else params, 1.0).parameters  # it checks them
        self.X, self.y = to_lists(X), to_lists(y)
        check_examples(self.X, self.y)
        self.frames = whole_number(frames, "frames", least=2)
        whole_number(steps, "steps", least=2)
        shown = None if labels is None else (shorten(labels[0]), shorten(labels[1]))
        self.view = view_of(self.X, self.y, steps, shown, threshold)
        self._start = self._now(0)
        self.history: History | None = None
        self._moments, self._every = [self._start], 1
        self._scenes: dict[int, Scene] = {}
        self._shown: dict[str, Any] = {}  # in notebooks

    # --- Recording

    def __call__(self, history: History) -> None:
        """Note the parameters after an epoch."""
        if history is not self.history:
            saw_the_start = self.history is None and history.epochs == 1
            self._begin(history, [self._start] if saw_the_start else [])
        self._last = self._now(history.epochs)
        self._shown.clear()
        if history.epochs % self._every == 0:
            self._moments.append(self._last)
        if (
            len(self._moments) > 2 * self.frames
        ):  # the number of epochs is not known in advance: keep every second moment
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
        return strip_of(self, self._recorded(), [self._scene(moment) for moment in moments])

    def save(self, path: str | Path, *, seconds: float = SECONDS, progress: bool | None = None) -> Path:
        """Write the film as .gif or animated .svg, or five moments of it as .png or .pdf; returns the path.

        seconds: how long the film runs before it begins again.  progress: a bar, as in `fit`.

        Raises ValueError for another ending, no time or a film without a frame, OSError when the file cannot be
        written.
        """
        form = form_of(path, "a film", FORMATS)
        if not 0.0 < seconds < math.inf:
            raise ValueError(f"seconds must be positive and finite, got {seconds!r}")
        if form in ("png", "pdf"):
            return self.strip().save(path)
        picture = self._gif(seconds, progress) if form == "gif" else self._svg(seconds, progress)
        return write_atomically(path, picture)

    def _gif(self, seconds: float, progress: bool | None) -> bytes:
        pictures = [pixels_of(figure) for figure in self._figures(progress)]
        return gif_of(pictures, durations_of(len(pictures), seconds))

    def _svg(self, seconds: float, progress: bool | None) -> bytes:
        pictures = [drawing_of(figure) for figure in self._figures(progress)]
        return animated(pictures, durations_of(len(pictures), seconds))

    def _figures(self, progress: bool | None) -> Iterator[Figure]:
        """One figure, drawn anew for each frame."""
        moments = self._chosen(self.frames)
        with progress_bar(progress, 2 * len(moments), unit="picture") as counter:
            scenes = []
            for moment in moments:
                scenes.append(self._scene(moment))
                counter.update()
            screen = Screen(self, self._recorded(), scenes)
            for scene in scenes:
                yield screen.show(scene)
                counter.update()

    def __len__(self) -> int:
        return 0 if self.history is None else len(self._chosen(self.frames))

    def __bool__(self) -> bool:
        return True  # len() is 0 before the first frame

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

    def _scene(self, moment: _Moment) -> Scene:
        if moment.epoch not in self._scenes:
            with self._at(moment), prediction():
                answers = [] if self.view is None else self._answers(self.view.points)
                self._scenes[moment.epoch] = Scene(moment.epoch, answers, self._gradients())
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
            with suppress(DomainError):  # at some point: asking one by one finds which
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
        except Exception:  # not every model compiles
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
        except NotCalledError:  # the model uses its weights in a way of its own: show the length of the gradient
            return None


@dataclass(frozen=True)
class _Moment:
    """The numbers of the parameters after an epoch."""

    epoch: int
    theta: list[float]
