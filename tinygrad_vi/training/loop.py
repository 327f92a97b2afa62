"""The loop of a training: `fit`."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import Any

from tinygrad_vi import modes
from tinygrad_vi.checks import DomainError, ShapeError, at_least, counted, whole_number
from tinygrad_vi.compiler.compiled import Compiled, compile
from tinygrad_vi.examples import classes_of, plain_seed
from tinygrad_vi.files import whole
from tinygrad_vi.nn.module import Module, architecture, prediction
from tinygrad_vi.optim.clipping import Clipping
from tinygrad_vi.optim.rules import Adam, Optimizer
from tinygrad_vi.optim.schedules import Schedule
from tinygrad_vi.terminal import is_terminal, is_watched
from tinygrad_vi.training.batches import FromArrays, FromBatches
from tinygrad_vi.training.checkpoint import Run
from tinygrad_vi.training.history import History, TrainingError
from tinygrad_vi.training.objective import CompiledObjective, Examples, Loss, Objective, loss_then_data, trained_by

Callback = Callable[["History"], Any]


@loss_then_data(
    lr="write optimizer=optim.Adam(model, learning_rate=...)",
    learning_rate="write optimizer=optim.Adam(model, learning_rate=...)",
)
def fit(
    loss: Loss | Compiled,
    X: Any = None,
    y: Any = None,
    *,
    params: Any = None,
    optimizer: Optimizer | None = None,
    batches: Any = None,
    epochs: int = 100,
    batch_size: int | None = None,
    seed: int | None = 0,
    schedule: Schedule | None = None,
    penalty: Callable[[], Any] | None = None,
    validation: Any = None,
    patience: int | None = None,
    tolerance: float | None = None,
    clip_norm: float | None = None,
    clip_value: float | None = None,
    stratify: Sequence[Any] | None = None,
    callbacks: Callback | Sequence[Callback] = (),
    progress: bool | None = None,
    checkpoint: str | Path | None = None,
    checkpoint_every: int = 1,
    resume: bool = False,
    backend: str | None = None,
    threads: int | None = None,
    devices: int | None = None,
) -> History:
    """Train: make the mean of ``loss(x, t)`` over the examples small by moving the parameters.

    loss: takes one row of X and its target and returns one Value (``loss(x)`` when there is no y).  The floats of x
    arrive as Values, whole numbers as they are, so that they can be indices.
    X, y: one entry for each example; lists or arrays, of numbers only.  The loss gets rows of an array as arrays.  Of
    an array in a file (`numpy.memmap`) only the rows of a batch are in memory at a time.
    batches: instead of X and y, for data that come from elsewhere: a function that makes the batches (X, y) of an
    epoch, one after the other, called with the number of the epoch (from 0) if it takes an argument; or an object that
    iterates anew, such as PyTorch's DataLoader.  They are taken in the order in which they come; (X,) for a loss
    without y.  A run that is resumed goes on with the batches of the next epoch.
    params: the Values to move, or a Module, which is in training mode until the end (`Dropout` drops).  A compiled loss
    knows its own: ``fit(step, X, y)``, or ``fit(step)`` when its data stand in it.  The training then takes the same
    steps as with the loss itself; `Dropout` drops the same entries.
    optimizer: Adam with the learning rate 0.01 by default.
    batch_size: None for all examples in one step (batch descent), 1 for single examples, m for mini-batches.
    seed: shuffles the examples anew in each epoch; None keeps their order.
    schedule: epoch (from 0) -> learning rate.
    penalty: called once for each batch, without arguments, and added to its mean loss: ``lambda: losses.l2(p, 1e-4)``.
    validation: a pair (X, y), or batches as above; their mean loss is measured after each epoch, with nothing dropped.
    patience: stop when the validation loss (the loss, without validation) has not improved for this many epochs; with
    validation the best parameters are put back.
    tolerance: only a loss that is lower than the best by more than this counts as improved; 0 by default.  A tolerance
    without patience means patience=1: the training stops after the first epoch whose loss has not improved.
    clip_norm, clip_value: before each step the gradient of the batch is shortened to this length, or each of its
    entries brought between -clip_value and clip_value: `optim.clip_grad_norm`, `optim.clip_grad_value`.
    stratify: a class for each example, such as y; mini-batches then hold each class in its share of the examples.
    callbacks: called with the history after each epoch; one that returns True ends the training.
    progress: a bar on the standard error, where the package tqdm is installed: by default at a terminal and in a
    notebook, not in a file; True for one in a file too, False for none.
    checkpoint: a file to keep the state in, written every ``checkpoint_every`` epochs and at the end.  With ``resume``
    training goes on from there, if the file exists, and ends with exactly the numbers of an uninterrupted run.  When a
    checkpoint cannot be written (a full disk), a warning says so, the old file stays and the training goes on; the next
    checkpoint is tried again.
    backend, threads, devices: where the loss is computed, as `compile` takes them; the same training on one thread or
    all, on one of JAX's devices or eight.  The loss is compiled for them, anew where it was compiled for others.

    Ctrl-C ends the training and returns the history so far; parameters and optimiser are those of the last whole step.
    The cyclic garbage collector is paused while a batch is computed: graphs of Values have no cycles.

    Raises ShapeError when X is empty or X and y differ in length, for an epoch without batches and for batches of
    different kinds; TypeError when they hold anything but numbers (text,
    dates, complex numbers, a mask), or when the parameters stand where the data belong; NotFaithful when the compiled
    loss is not the loss itself; ValueError for an infinity or NaN in X and y, a loss that does not depend on the
    parameters, a checkpoint that does not fit; FileExistsError for a checkpoint that would be overwritten by a new run;
    TrainingError, a DomainError, when the loss or a gradient is infinite or NaN: it names the first node that was so,
    and leaves the parameters as they were after the last good step.

    >>> from tinygrad_vi import Value, optim
    >>> w = Value(0.0, "w")
    >>> sgd = optim.SGD([w], learning_rate=0.1)
    >>> history = fit(lambda x, t: (w * x - t) ** 2, [1.0, 2.0], [3.0, 6.0], params=[w], optimizer=sgd, progress=False)
    >>> round(w.data, 6), history.epochs
    (3.0, 100)
    """
    whole_number(epochs, "epochs", least=0)
    whole_number(checkpoint_every, "checkpoint_every")
    stopping = _Stopping(patience, tolerance)
    clipping = Clipping(clip_norm, clip_value)
    batch_size = None if batch_size is None else whole_number(batch_size, "batch_size (None for all examples)")
    seed = plain_seed(seed)
    _check_kinds(optimizer, schedule, validation)
    moved = trained_by("fit", loss, params, X)
    loss = _compiled_for(backend, threads, devices, loss, moved)
    objective = (
        CompiledObjective(loss, moved, penalty, clipping)
        if isinstance(loss, Compiled)
        else Objective(loss, moved, penalty, clipping)
    )
    if X is None and batches is None and isinstance(loss, Compiled):
        X = [0.0]  # one example, which the loss does not look at: its data stand in it
    source: FromArrays | FromBatches
    if batches is None:
        _check_no_batches(X, y)
        examples = Examples(X, y, numbers=True)
        classes = None if stratify is None else _classes(stratify, len(examples), seed)
        source = FromArrays(examples, batch_size, seed, classes)
    else:
        _check_batches_alone(X, y, batch_size, stratify, seed)
        source = FromBatches(batches)
    held_out = _held_out(validation)
    optimizer = Adam(objective.parameters, learning_rate=0.01) if optimizer is None else optimizer
    if not set(optimizer.parameters) <= set(objective.parameters):
        raise ValueError("the optimiser moves Values that are not among the parameters given to fit")
    model = params if isinstance(params, Module) else None
    settings = {
        "model": None if model is None else architecture(model),
        **source.facts,
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
    history.stopped = stopping.why(history)  # a resumed run may have been at its end
    epoch = _Epoch(objective, optimizer, source, held_out, history)
    after = _AfterEpoch(run, stopping, epochs, callbacks, checkpoint, checkpoint_every)
    modules = [] if model is None else [(module, module.training) for module in model.modules()]
    opened = modes.opened()
    known = source.count  # None for a stream: the bar shows how many there were
    total, done = (None, 0) if known is None else (epochs * known, history.epochs * known)
    try:
        with progress_bar(progress, total, done) as bar, _training(modules):
            while history.epochs < epochs and not history.stopped:
                bar.set_description(f"epoch {history.epochs + 1}/{epochs}", refresh=False)
                if schedule is not None:
                    optimizer.learning_rate = at_least(schedule(history.epochs), 0.0, "the learning rate")
                row = epoch.run(bar)
                bar.set_postfix_str(f"loss {row['loss']:.4g}", refresh=False)
                after(row)
    except KeyboardInterrupt:
        # all three were done on the way here, unless a second Ctrl-C interrupted them: done twice they change nothing
        objective.settle()
        _set_modes(modules)
        modes.end_all_but(opened)
        history.stopped = f"interrupted in epoch {history.epochs + 1}"
    if stopping.patience is not None and held_out is not None:
        whole(run.restore_best)
    return history


# --- What fit is given ------------------------------------------------------------------------------------------------


def _check_kinds(optimizer: Any, schedule: Any, validation: Any) -> None:
    """Raise TypeError or ShapeError for settings of another kind than `fit` takes."""
    if optimizer is not None and not isinstance(optimizer, Optimizer):
        raise TypeError(
            f"give an optimiser of the parameters, such as optim.Adam(model.parameters()), got {optimizer!r:.60}"
        )
    if schedule is not None and not callable(schedule):
        raise TypeError(
            f"a schedule is a function of the epoch, such as optim.step_decay(0.1, 30), got {schedule!r:.60}"
        )
    if isinstance(validation, (tuple, list)) and len(validation) != 2:
        raise ShapeError(f"validation is a pair (X, y), got {len(validation)} entries")


def _compiled_for(backend: str | None, threads: int | None, devices: int | None, loss: Any, params: Any) -> Any:
    """The loss, compiled for a back end where one is asked for."""
    if backend is None and threads is None and devices is None:
        return loss
    if not isinstance(loss, Compiled):
        return compile(loss, params, backend=backend or "auto", threads=threads, devices=devices)
    return compile(
        loss.fn,
        params,
        backend=loss.backend if backend is None else backend,
        threads=loss.threads if threads is None else threads,
        devices=loss.devices if devices is None and backend in (None, "jax") else devices,
        verify=loss._verifies,
    )


def _check_no_batches(X: Any, y: Any) -> None:
    """Raise TypeError for what makes batches in the place of the examples."""
    if y is None and (callable(X) or hasattr(X, "dataset")):
        raise TypeError(f"X holds the examples, got {X!r:.60}: what makes batches is given by name, batches=...")


def _check_batches_alone(X: Any, y: Any, batch_size: Any, stratify: Any, seed: Any) -> None:
    """Raise TypeError or ValueError for settings that have no meaning for batches of the user's own."""
    if X is not None or y is not None:
        raise TypeError("the examples are X and y, or come in batches=: give one of them")
    if batch_size is not None or stratify is not None or seed not in (0, None):
        raise ValueError(
            "batches= come as they are made: choose their size, order and shares where they are made, and leave out "
            "batch_size, seed and stratify"
        )


def _held_out(validation: Any) -> FromArrays | FromBatches | None:
    """What a training is validated on: a pair of arrays, or batches."""
    if validation is None:
        return None
    if not isinstance(validation, (tuple, list)):
        return FromBatches(validation, "validation")
    examples = Examples(*validation, numbers=True)
    return FromArrays(examples, len(examples), None)


def _classes(stratify: Sequence[Any], n: int, seed: Any) -> list[Any]:
    classes = classes_of(stratify, n)
    if seed is None:
        raise ValueError("stratify shuffles the examples: give a seed")
    return classes


class _Stopping:
    """When to stop: patience and tolerance, checked."""

    def __init__(self, patience: int | None, tolerance: float | None) -> None:
        self.tolerance = 0.0
        if tolerance is not None:
            self.tolerance = at_least(tolerance, 0.0, "tolerance")
            patience = 1 if patience is None else patience
        self.patience = None if patience is None else whole_number(patience, "patience")

    def why(self, history: History) -> str:
        """Why to stop now; "" to go on.

        The last loss that was better than the best by more than the tolerance lies ``patience`` epochs back.
        """
        best, improved = math.inf, 0
        losses = history.validation_loss or history.loss
        for epoch, loss in enumerate(losses):
            if loss < best - self.tolerance:
                best, improved = loss, epoch
        if self.patience is None or len(losses) - 1 - improved < self.patience:
            return ""
        by = f" of more than {self.tolerance:g}" if self.tolerance else ""
        return f"no improvement{by} in {counted(self.patience, 'epoch')}"


# --- One epoch --------------------------------------------------------------------------------------------------------


@dataclass
class _Epoch:
    """What an epoch works on; `run` computes the next one."""

    objective: Objective
    optimizer: Optimizer
    batches: FromArrays | FromBatches
    held_out: FromArrays | FromBatches | None
    history: History

    def run(self, bar: Any) -> dict[str, float]:
        """Take a step for each batch, then validate; the numbers for the history."""
        losses, norms, count = [], [], 0
        try:
            for number, (examples, rows) in enumerate(self.batches.of_epoch(self.history.epochs), start=1):
                try:
                    mean, norm = self.objective.descend(examples, rows, self.optimizer)
                except (DomainError, OverflowError) as error:
                    of = "" if self.batches.count is None else f" of {self.batches.count}"
                    raise TrainingError(f"batch {number}{of}: {error}", number, self.history) from error
                losses.append(mean * len(rows))
                norms.append(norm)
                count += len(rows)
                bar.update()
        finally:
            self.objective.settle()
        row = {
            "loss": math.fsum(losses) / count,
            "gradient_norm": math.fsum(norms) / len(norms),
            "learning_rate": self.optimizer.learning_rate,
        }
        return row if self.held_out is None else {**row, "validation_loss": self._validation_loss(self.held_out)}

    def _validation_loss(self, held_out: FromArrays | FromBatches) -> float:
        means, counts = [], []
        try:
            with prediction():
                for examples, rows in held_out.of_epoch(0):
                    means.append(self.objective.mean_loss(examples))
                    counts.append(len(rows))
        except DomainError as error:
            raise TrainingError(f"validation: {error}", 0, self.history) from error
        if len(means) == 1:
            return means[0]
        return math.fsum([mean * n for mean, n in zip(means, counts, strict=True)]) / sum(counts)


class _AfterEpoch:
    """What follows an epoch: its line in the history, the callbacks, whether to stop, the checkpoint."""

    def __init__(
        self,
        run: Run,
        stopping: _Stopping,
        epochs: int,
        callbacks: Callback | Sequence[Callback],
        checkpoint: str | Path | None,
        checkpoint_every: int,
    ) -> None:
        self.run, self.stopping, self.epochs = run, stopping, epochs
        self.callbacks = [callbacks] if callable(callbacks) else list(callbacks)
        self.file = None if checkpoint is None else Path(checkpoint)
        self.every = checkpoint_every
        self.start = perf_counter() - (run.history.time[-1] if run.history.time else 0.0)

    def __call__(self, row: Mapping[str, float]) -> None:
        history = self.run.history
        self.run.end_epoch({**row, "time": perf_counter() - self.start})
        answers = [callback(history) for callback in self.callbacks]  # each is called, whatever the others say
        if any(answer is True for answer in answers):  # another result says nothing: the path of a file, say
            history.stopped = "a callback ended it"
        else:
            history.stopped = self.stopping.why(history)
        ended = history.stopped or history.epochs == self.epochs
        if self.file is not None and (ended or history.epochs % self.every == 0):
            self.run.save(self.file)


# --- Modes of modules, and the bar ------------------------------------------------------------------------------------


@contextmanager
def _training(before: Sequence[tuple[Module, bool]]) -> Iterator[None]:
    """Put modules in training mode, and at the end back in the modes that they are given with."""
    try:
        _set_modes([(module, True) for module, _ in before])
        yield
    finally:
        _set_modes(before)


def _set_modes(before: Iterable[tuple[Module, bool]]) -> None:
    for module, mode in before:
        Module.__setattr__(module, "training", mode)  # a frozen dataclass too


class _NoBar:
    """A progress bar that shows nothing."""

    def __enter__(self) -> _NoBar:
        return self

    def __exit__(self, *_: Any) -> None:
        pass

    def __getattr__(self, _: str) -> Callable[..., None]:
        return lambda *arguments, **options: None


def progress_bar(wanted: bool | None, total: int | None, done: int = 0, unit: str = "batch") -> Any:
    """A progress bar, if it is wanted and the package tqdm is installed; else one that shows nothing.

    wanted: None for a bar where somebody sees it, as tqdm's ``disable=None``, and in a notebook.
    total: None where nobody knows; the bar then counts.
    """
    if (is_watched() if wanted is None else wanted) and find_spec("tqdm"):
        from tqdm import tqdm

        return tqdm(total=total, initial=done, unit=unit, mininterval=0.1 if is_terminal(sys.stderr) else 1.0)
    return _NoBar()
