"""The loop of a training: `fit`."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import Any, TypeVar

from tinygrad_vi import modes
from tinygrad_vi.checks import DomainError, ShapeError, at_least, counted, whole_number
from tinygrad_vi.compiler.compiled import Compiled
from tinygrad_vi.examples import batches_of_rows, classes_of, plain_seed
from tinygrad_vi.files import whole
from tinygrad_vi.nn.module import Module, architecture, parameters_in, prediction
from tinygrad_vi.optim.clipping import Clipping
from tinygrad_vi.optim.rules import Adam, Optimizer
from tinygrad_vi.optim.schedules import Schedule
from tinygrad_vi.training.checkpoint import Run
from tinygrad_vi.training.history import History, TrainingError
from tinygrad_vi.training.objective import CompiledObjective, Examples, Loss, Objective

Callback = Callable[["History"], Any]
F = TypeVar("F", bound=Callable[..., Any])


def _loss_first(fit: F) -> F:
    """Say what to write where a model stands in the place of the loss, or PyTorch's name for a setting is used."""

    @wraps(fit)
    def advised(*arguments: Any, **named: Any) -> Any:
        model_first = bool(arguments) and isinstance(arguments[0], Module)
        if model_first and ("loss" in named or not parameters_in(arguments[1:2])):
            raise TypeError(
                "fit takes first the loss of one example, a function, then the model: "
                "fit(lambda x, t: losses.mse(model(x), t), model, X, y)"
            )
        if name := next((name for name in ("lr", "learning_rate") if name in named), None):
            raise TypeError(f"fit has no setting {name!r}: write optimizer=optim.Adam(model, learning_rate=...)")
        return fit(*arguments, **named)

    return advised  # type: ignore[return-value]


@_loss_first
def fit(
    loss: Loss | Compiled,
    parameters: Any = None,
    X: Any = None,
    y: Any = None,
    *,
    optimizer: Optimizer | None = None,
    epochs: int = 100,
    batch_size: int | None = None,
    seed: int | None = 0,
    schedule: Schedule | None = None,
    penalty: Callable[[], Any] | None = None,
    validation: tuple[Sequence[Any], Sequence[Any]] | None = None,
    patience: int | None = None,
    tolerance: float | None = None,
    clip_norm: float | None = None,
    clip_value: float | None = None,
    stratify: Sequence[Any] | None = None,
    callbacks: Callback | Sequence[Callback] = (),
    progress: bool = True,
    checkpoint: str | Path | None = None,
    checkpoint_every: int = 1,
    resume: bool = False,
) -> History:
    """Train: make the mean of ``loss(x, t)`` over the examples small by moving the parameters.

    loss: takes one row of X and its target and returns one Value (``loss(x)`` when there is no y).  The floats of x
    arrive as Values, whole numbers as they are, so that they can be indices.
    parameters: Values, or a Module, which is then put in training mode for the while (`Dropout` drops).
    X, y: one entry for each example; lists or arrays, of numbers only.  The loss meets rows of an array as arrays.
    A compiled loss knows its parameters: ``fit(step, X, y)``, or ``fit(step)`` when its data stand in it.  It takes the
    steps that the loss itself takes, whatever the options are; `Dropout` drops the same entries.
    optimizer: Adam with the learning rate 0.01 by default.
    batch_size: None for all examples in one step (batch descent), 1 for single examples, m for mini-batches.
    seed: shuffles the examples anew in each epoch; None keeps their order.
    schedule: epoch (from 0) -> learning rate.
    penalty: called once for each batch, without arguments, and added to its mean loss: ``lambda: losses.l2(p, 1e-4)``.
    validation: a pair (X, y); its mean loss is measured after each epoch, with nothing dropped.
    patience: stop when the validation loss (the loss, without validation) has not improved for so many epochs; with
    validation the best parameters are put back.
    tolerance: only a loss that is lower than the best by more than this counts as improved; 0 by default.  Without
    patience the training stops in the first epoch whose loss has not.
    clip_norm, clip_value: before each step the gradient of the batch is shortened to this length, or each of its
    entries brought between -clip_value and clip_value: `optim.clip_grad_norm`, `optim.clip_grad_value`.
    stratify: a class for each example, such as y; mini-batches then hold each class in its share of the examples.
    callbacks: called with the history after each epoch; one that returns True ends the training.
    progress: a bar, where the package tqdm is installed.
    checkpoint: a file to keep the state in, written every ``checkpoint_every`` epochs and at the end.  With ``resume``
    training goes on from there, where the file exists, and arrives at the very numbers of an uninterrupted run.  A
    checkpoint that cannot be written (a full disk) is said in a warning and costs nothing: the training goes on, the
    old file stays, and the next one is tried.

    Ctrl-C ends the training and returns the history so far; parameters and optimiser are those of the last whole step.
    The garbage collector rests while batches are computed:
    graphs of Values have no cycles.

    Raises ShapeError for no examples or X and y of different lengths; TypeError for text, dates, complex numbers, a
    mask, anything but numbers in them; NotFaithful for a compiled loss that is not the loss; ValueError for an infinity
    or NaN in them, a loss that does not depend on the parameters, a checkpoint that does not fit; FileExistsError for a
    checkpoint that would be overwritten by a new run; TrainingError, a DomainError, when the loss or a gradient is
    infinite or NaN: it names the first node that was, and leaves the parameters as they were after the last good step.

    >>> from tinygrad_vi import Value, optim
    >>> w = Value(0.0, "w")
    >>> sgd = optim.SGD([w], learning_rate=0.1)
    >>> history = fit(lambda x, t: (w * x - t) ** 2, [w], [1.0, 2.0], [3.0, 6.0], optimizer=sgd, progress=False)
    >>> round(w.data, 6), history.epochs
    (3.0, 100)
    """
    whole_number(epochs, "epochs", least=0)
    whole_number(checkpoint_every, "checkpoint_every")
    if tolerance is not None:
        tolerance = at_least(tolerance, 0.0, "tolerance")
        patience = 1 if patience is None else patience
    if patience is not None:
        whole_number(patience, "patience")
    clipping = Clipping(clip_norm, clip_value)
    batch_size = None if batch_size is None else whole_number(batch_size, "batch_size (None for all examples)")
    seed = plain_seed(seed)
    if optimizer is not None and not isinstance(optimizer, Optimizer):
        raise TypeError(
            f"give an optimiser of the parameters, such as optim.Adam(model.parameters()), got {optimizer!r:.60}"
        )
    if schedule is not None and not callable(schedule):
        raise TypeError(
            f"a schedule is a function of the epoch, such as optim.step_decay(0.1, 30), got {schedule!r:.60}"
        )
    if validation is not None and len(validation) != 2:
        raise ShapeError(f"validation is a pair (X, y), got {len(validation)} entries")
    objective: Objective
    if isinstance(loss, Compiled):
        if parameters is None:  # X and y came by name
            parameters = loss.parameters
        elif y is None:
            parameters, X, y = loss.parameters, parameters, X
        else:
            raise TypeError("a compiled loss knows its parameters: fit(step, X, y)")
        objective = CompiledObjective(loss, parameters, penalty, clipping)
        X = [0.0] if X is None else X  # its data stand in it
    else:
        objective = Objective(loss, parameters, penalty, clipping)
    examples = Examples(X, y, numbers=True)
    if stratify is not None:
        stratify = classes_of(stratify, len(examples))
        if seed is None:
            raise ValueError("stratify shuffles the examples: give a seed")
    held_out = None if validation is None else Examples(*validation, numbers=True)
    optimizer = Adam(objective.parameters, learning_rate=0.01) if optimizer is None else optimizer
    if not set(optimizer.parameters) <= set(objective.parameters):
        raise ValueError("the optimiser moves Values that are not among the parameters given to fit")
    settings = {
        "model": architecture(parameters) if isinstance(parameters, Module) else None,
        "examples": len(examples),
        "batch_size": batch_size,
        "seed": seed,
        "validation": held_out is not None,
        "clip_norm": clip_norm,
        "clip_value": clip_value,
        "stratify": None if stratify is None else True,
    }
    run = Run(objective.parameters, optimizer, settings)
    if checkpoint is not None:
        run.begin(Path(checkpoint), resume)
    elif resume:
        raise ValueError('resume=True needs the file to resume from: checkpoint="run.json"')
    history = run.history
    history.stopped = _stalled(history, patience, tolerance or 0.0)  # a resumed run may have been at its end
    callbacks = [callbacks] if callable(callbacks) else list(callbacks)
    per_epoch = len(batches_of_rows(len(examples), batch_size))
    in_training = (
        [(module, module.training) for module in parameters.modules()] if isinstance(parameters, Module) else []
    )
    opened = modes.opened()
    start = perf_counter() - (history.time[-1] if history.time else 0.0)
    try:
        with progress_bar(progress, epochs * per_epoch, history.epochs * per_epoch) as bar, _training(in_training):
            while history.epochs < epochs and not history.stopped:
                epoch = history.epochs
                bar.set_description(f"epoch {epoch + 1}/{epochs}", refresh=False)
                if schedule is not None:
                    optimizer.learning_rate = at_least(schedule(epoch), 0.0, "the learning rate")
                order = None if seed is None or per_epoch == 1 else f"{seed}, epoch {epoch}"
                batches = batches_of_rows(len(examples), batch_size, order, stratify)
                mean, norm = _epoch(objective, optimizer, examples, batches, bar, history)
                row = {"loss": mean, "gradient_norm": norm, "learning_rate": optimizer.learning_rate}
                if held_out is not None:
                    row["validation_loss"] = _validate(objective, held_out, history)
                run.end_epoch({**row, "time": perf_counter() - start})
                bar.set_postfix_str(f"loss {mean:.4g}", refresh=False)
                wishes = [callback(history) for callback in callbacks]
                if any(wish is True for wish in wishes):  # and not any result, such as the path of a file it wrote
                    history.stopped = "a callback ended it"
                else:
                    history.stopped = _stalled(history, patience, tolerance or 0.0)
                ended = history.stopped or history.epochs == epochs
                if checkpoint is not None and (ended or history.epochs % checkpoint_every == 0):
                    run.save(Path(checkpoint))
    except KeyboardInterrupt:
        objective.settle()  # once more, if this very call was interrupted; the next line as well
        _set_modes(in_training)
        modes.end_all_but(opened)
        history.stopped = f"interrupted in epoch {history.epochs + 1}"
    if patience is not None and held_out is not None:
        whole(run.restore_best)
    return history


def _epoch(
    objective: Objective,
    optimizer: Optimizer,
    examples: Examples,
    batches: Sequence[Sequence[int]],
    bar: Any,
    history: History,
) -> tuple[float, float]:
    """Take a step for each batch; the mean loss over the examples and the mean length of the gradient."""
    losses, norms = [], []
    try:
        for number, rows in enumerate(batches, start=1):
            try:
                mean, norm = objective.descend(examples, rows, optimizer)
            except (DomainError, OverflowError) as error:
                raise TrainingError(f"batch {number} of {len(batches)}: {error}", number, history) from error
            losses.append(mean * len(rows))
            norms.append(norm)
            bar.update()
    finally:
        objective.settle()
    return math.fsum(losses) / len(examples), math.fsum(norms) / len(norms)


def _validate(objective: Objective, held_out: Examples, history: History) -> float:
    try:
        with prediction():
            return objective.mean_loss(held_out)
    except DomainError as error:
        raise TrainingError(f"validation: {error}", 0, history) from error


def _stalled(history: History, patience: int | None, tolerance: float) -> str:
    """Why to stop, when the last loss that was better by more than the tolerance lies ``patience`` epochs back."""
    best, improved = math.inf, 0
    losses = history.validation_loss or history.loss
    for epoch, loss in enumerate(losses):
        if loss < best - tolerance:
            best, improved = loss, epoch
    if patience is None or len(losses) - 1 - improved < patience:
        return ""
    by = f" of more than {tolerance:g}" if tolerance else ""
    return f"no improvement{by} in {counted(patience, 'epoch')}"


@contextmanager
def _training(before: Sequence[tuple[Module, bool]]) -> Iterator[None]:
    """Modules, given with their modes, in training mode for a while."""
    try:
        _set_modes([(module, True) for module, _ in before])
        yield
    finally:
        _set_modes(before)


def _set_modes(before: Iterable[tuple[Module, bool]]) -> None:
    for module, mode in before:
        Module.__setattr__(module, "training", mode)  # a frozen dataclass too


class _NoBar:
    """Stands in for a progress bar."""

    def __enter__(self) -> _NoBar:
        return self

    def __exit__(self, *_: Any) -> None:
        pass

    def __getattr__(self, _: str) -> Callable[..., None]:
        return lambda *arguments, **options: None


def progress_bar(wanted: bool, total: int, done: int = 0, unit: str = "batch") -> Any:
    """A progress bar, where it is wanted and the package tqdm is installed."""
    if wanted and find_spec("tqdm"):
        from tqdm import tqdm

        return tqdm(total=total, initial=done, unit=unit, mininterval=0.1 if sys.stderr.isatty() else 1.0)
    return _NoBar()
