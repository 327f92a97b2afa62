"""Training: the loop around loss, gradient and optimiser.

`fit` asks for the loss of ONE example, written in scalar code.  It goes through the examples in batches, averages the
gradients of a batch and lets the optimiser take a step: with all examples in a batch this is (full-)batch gradient
descent, with one stochastic gradient descent, and mini-batch descent in between.
"""

from __future__ import annotations

import math
import os
import random
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from functools import wraps
from importlib.util import find_spec
from numbers import Real
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeVar

from tinygrad_vi import modes
from tinygrad_vi.compiler.compiled import Compiled, NotFinite, compile
from tinygrad_vi.compiler.trace import guarded, trace
from tinygrad_vi.compiler.watched import Captured
from tinygrad_vi.data import (
    Table,
    as_table,
    as_values,
    batches_of_rows,
    check_examples,
    classes_of,
    numbers_only,
    plain_seed,
    rows_of,
    to_lists,
)
from tinygrad_vi.derivatives import check_alone, check_constants, differentiable, moved, training
from tinygrad_vi.files import finite, json_text, read_json, shown, whole, write_atomically
from tinygrad_vi.losses import is_sigmoid
from tinygrad_vi.nn import Module, architecture, counted, parameters_in, prediction
from tinygrad_vi.once import once
from tinygrad_vi.ops import DomainError, ShapeError, number, whole_number
from tinygrad_vi.optim import (
    Adam,
    Clipping,
    OnArrays,
    Optimizer,
    Schedule,
    at_least,
    clip_grad_norm,
    clip_grad_value,
    parameters_of,
    reached,
    recorded_output,
)
from tinygrad_vi.predict import answers
from tinygrad_vi.value import (
    Value,
    adjoints,
    collector_paused,
    no_grad,
    not_finite,
    recording,
    topological_order,
)

if TYPE_CHECKING:
    from tinygrad_vi.show.plot import Plot

CHECKPOINT_FORMAT = "tinygrad_vi checkpoint"

Loss = Callable[..., Any]
Callback = Callable[["History"], Any]
F = TypeVar("F", bound=Callable[..., Any])


@dataclass(repr=False)
class History:
    """What happened, one entry for each epoch.

    loss: the mean over the examples, each measured before the step its batch led to; penalty included.  gradient_norm:
    the length of the gradient before clipping, the mean over the batches.  learning_rate.  time: seconds from the start
    to the end of the epoch.  validation_loss: after the epoch, where there is validation data.  stopped: why training
    ended.
    """

    loss: list[float] = field(default_factory=list)
    gradient_norm: list[float] = field(default_factory=list)
    learning_rate: list[float] = field(default_factory=list)
    time: list[float] = field(default_factory=list)
    validation_loss: list[float] = field(default_factory=list)
    stopped: str = ""

    def _add(self, row: Mapping[str, float]) -> None:
        """Append to the columns.  ``any`` runs through in C (append gives None), so Ctrl-C never finds half a row."""
        columns = [getattr(self, name) for name in row]
        any(map(list.append, columns, row.values()))

    @property
    def epochs(self) -> int:
        """How many epochs there were."""
        return len(self.loss)

    def plot(self) -> Plot:
        """Loss, gradient norm and learning rate by epoch, as a picture: ``history.plot().save("loss.png")``."""
        from tinygrad_vi.show.training.plots import loss_curve

        return loss_curve(self)

    def __repr__(self) -> str:
        if not self.loss:
            return f"<History of no epoch{'; ' * bool(self.stopped)}{self.stopped}>"
        validation = f", validation loss {self.validation_loss[-1]:.4g}" if self.validation_loss else ""
        why = f"; {self.stopped}" if self.stopped else ""
        return (
            f"<History of {counted(self.epochs, 'epoch')} in {self.time[-1]:.1f} s: "
            f"loss {self.loss[0]:.4g} -> {self.loss[-1]:.4g}{validation}{why}>"
        )


class TrainingError(DomainError):
    """The loss or a gradient became infinite or NaN; the parameters are those of the last good step.

    epoch, batch: where, counted from 1 (batch 0: in validation).  history: of the epochs before.
    """

    def __init__(self, where: str, batch: int, history: History) -> None:
        self.epoch, self.batch, self.history = history.epochs + 1, batch, history
        super().__init__(
            f"training stopped in epoch {self.epoch}, {where}. The parameters are as they were after the last good "
            "step; a smaller learning rate may help"
        )


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

    >>> from tinygrad_vi import optim
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
    objective: _Objective
    if isinstance(loss, Compiled):
        if parameters is None:  # X and y came by name
            parameters = loss.parameters
        elif y is None:
            parameters, X, y = loss.parameters, parameters, X
        else:
            raise TypeError("a compiled loss knows its parameters: fit(step, X, y)")
        objective = _CompiledObjective(loss, parameters, penalty, clipping)
        X = [0.0] if X is None else X  # its data stand in it
    else:
        objective = _Objective(loss, parameters, penalty, clipping)
    examples = _Examples(X, y, numbers=True)
    if stratify is not None:
        stratify = classes_of(stratify, len(examples))
        if seed is None:
            raise ValueError("stratify shuffles the examples: give a seed")
    held_out = None if validation is None else _Examples(*validation, numbers=True)
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
    run = _Run(objective.parameters, optimizer, settings)
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


def accuracy(model: Callable[[Any], Any], X: Sequence[Any], y: Sequence[Any], threshold: float = 0.0) -> float:
    """The fraction of examples whose class the model gets right.

    A model with several outputs answers with the number of the largest, the first of several that are equal.  One with
    a single output says yes above the threshold (0 for logits and scores, 0.5 for probabilities), and the right answer
    is yes for a target above 0.  A Module is put in prediction mode for the while.

    Raises DomainError for an output that is NaN, ValueError for a target that is no class; warns where the record of
    the outputs says, or plain numbers suggest, that they are probabilities and the threshold is 0.

    >>> accuracy(lambda x: x - 0.5, [0.2, 0.9, 0.7], [0, 1, 0])
    0.6666666666666666
    """
    examples = _Examples(X, y)
    if examples.y is None:
        raise ShapeError("accuracy needs a target for each example")
    threshold = number(threshold, "a threshold")
    if math.isnan(threshold):
        raise ValueError("the threshold is nan")
    found = [_outputs(answer) for answer in answers(model, examples.given[0])]
    for i, answer in enumerate(found):
        if not answer:
            raise ShapeError(f"the model gave no output for example {i}")
        if any(map(math.isnan, answer)):
            raise DomainError(f"the output of the model for example {i} is nan, which is no answer")
    if threshold == 0.0 and all(len(answer) == 1 for answer in found):
        warn_of_probabilities(found, _on_record(model, examples.X[0]))
    right = [is_right(answer, t, threshold) for answer, t in zip(found, examples.y, strict=True)]
    return sum(right) / len(right)


def _outputs(output: Any) -> list[float]:
    output = output.tolist() if hasattr(output, "tolist") else output
    outputs = output if isinstance(output, (list, tuple)) else [output]
    return [number(v, "accuracy") for v in outputs]


def _on_record(model: Callable[[Any], Any], x: Any) -> Value | None:
    """The only output for an example with its record, if the model records one."""
    with prediction(), recording(True):
        output = model(x)
    [output] = output if isinstance(output, (list, tuple)) else [output]
    return output if isinstance(output, Value) and output.op is not None else None


def is_right(answer: Sequence[float], target: Any, threshold: float) -> bool:
    """Whether the outputs of a model name the class of the target."""
    if isinstance(target, (list, tuple)) and len(target) == 1:
        target = target[0]
    elif isinstance(target, (list, tuple)):
        if len(target) != len(answer) or abs(sum(target) - 1.0) > 1e-6:
            raise ValueError(f"accuracy compares one class for each example, got the target {target!r:.60}")
        target = target.index(max(target))
    if not isinstance(target, Real):
        raise ValueError(f"the target of an example is a number, got {target!r:.60}: number the classes")
    if len(answer) == 1:
        return (answer[0] > threshold) == (float(target) > 0.0)
    if not (0 <= float(target) < len(answer) and float(target).is_integer()):
        raise ValueError(f"there is no class {target!r} among {len(answer)} outputs")
    return answer.index(max(answer)) == target


def warn_of_probabilities(answers: Sequence[Sequence[float]], recorded: Value | None = None) -> None:
    """Warn of single outputs that are probabilities: against the threshold 0 they would all say yes.

    recorded: one of them with its record, which says whether it comes from a sigmoid; without it the numbers have to.
    """
    if recorded is not None:
        if is_sigmoid(recorded):
            warnings.warn("the outputs are those of a sigmoid: for probabilities give threshold=0.5", stacklevel=3)
    elif all(len(answer) == 1 and 0.0 < answer[0] < 1.0 for answer in answers) and len(answers) > 1:
        warnings.warn("all outputs lie between 0 and 1: for probabilities give threshold=0.5", stacklevel=3)


# --- One epoch --------------------------------------------------------------------------------------------------------


class _Examples:
    """X and y as lists, checked.  numbers: they hold numbers and nothing else, as `compile` takes them."""

    def __init__(self, X: Any, y: Any = None, *, numbers: bool = False) -> None:
        if numbers:
            X, y = numbers_only(X, "X"), None if y is None else numbers_only(y, "y")
        self.X, self.y = to_lists(X), None if y is None else to_lists(y)
        check_examples(self.X, self.y)
        #: what a loss meets: rows of an array are arrays
        self.given = [rows_of(X, self.X)] + ([] if self.y is None else [rows_of(y, self.y)])

    @once
    def tables(self) -> list[Table]:
        """X, and y if there is one, for a compiled loss."""
        names = zip(self.given, ("X", "y"), strict=False)
        tables = [as_table(table, name) for table, name in names]
        return [
            Table(table.numbers, table.arrays, given, target=i > 0)
            for i, (table, given) in enumerate(zip(tables, self.given, strict=True))
        ]

    def __len__(self) -> int:
        return len(self.X)


class _Objective:
    """The mean loss of examples, as a function of the parameters."""

    def __init__(self, loss: Loss, parameters: Any, penalty: Callable[[], Any] | None, clipping: Clipping) -> None:
        self.parameters = parameters_of(parameters, "an optimiser")
        self.loss = loss
        self.penalty = penalty
        self.clipping = clipping
        self.connected = False
        self.constant_penalty = False

    def gradient(self, examples: _Examples, rows: Sequence[int]) -> float:
        """Leave the gradient of the mean loss of these rows in the parameters; the mean loss."""
        for p in self.parameters:
            if reached(p):
                p.grad = 0.0
        losses = []
        for i in rows:
            with _named_example(i):
                loss = self.of_example(examples, i)
                loss.backward()
            losses.append(loss.data)
        if not self._connected_anywhere(examples):
            raise ValueError(
                "the loss depends on none of the parameters: is it computed from these very Values, and outside of "
                "no_grad()?"
            )
        for p in self.parameters:
            if reached(p):
                p.grad /= len(rows)
        mean = math.fsum(losses) / len(losses)
        if self.penalty is not None:
            extra = self._penalty_here()
            if isinstance(extra, Value):
                extra.backward()
            mean += extra.data if isinstance(extra, Value) else extra
        return mean

    def _penalty_here(self) -> Any:
        """What the penalty gives; TypeError for a plain number that changes with the parameters."""
        penalty = self.penalty
        assert penalty is not None
        with differentiable(), training(self.parameters):
            extra = penalty()
            if not isinstance(extra, Value) and not self.constant_penalty:
                numbers = [p.data for p in self.parameters]

                def again(size: float) -> Any:
                    with guarded(self.parameters, dict(zip(self.parameters, moved(numbers, size), strict=True))):
                        return penalty()

                check_constants("the penalty", extra, again)
                self.constant_penalty = True
        return extra

    def _connected_anywhere(self, examples: _Examples) -> bool:
        """Whether the loss of any example depends on a parameter; those of the first batch may be masked."""
        for i in range(len(examples)):
            if self.connected:
                break
            with _named_example(i):
                self.of_example(examples, i)
        return self.connected

    def descend(self, examples: _Examples, rows: Sequence[int], optimizer: Optimizer) -> tuple[float, float]:
        """Take a step along the gradient of these rows; their mean loss and the length of the gradient."""
        with collector_paused():
            mean = self.gradient(examples, rows)
            norm = self.clip()
            optimizer.step()
        return mean, math.hypot(*[p.grad for p in self.parameters]) if norm is None else norm

    def clip(self) -> float | None:
        """Clip the gradients of the parameters, where that is wished; the length that they had."""
        if self.clipping.norm is not None:
            return clip_grad_norm(self.parameters, self.clipping.norm)
        return None if self.clipping.value is None else clip_grad_value(self.parameters, self.clipping.value)

    def settle(self) -> None:
        """Bring the Values up to date, at the end of an epoch or of the training."""

    def mean_loss(self, examples: _Examples) -> float:
        """The mean loss of all examples; nothing is recorded."""
        losses = []
        for i in range(len(examples)):
            with _named_example(i), no_grad():
                losses.append(self.of_example(examples, i).data)
                if not math.isfinite(losses[-1]):
                    raise DomainError(f"the loss is {losses[-1]}")
        return math.fsum(losses) / len(losses)

    def of_example(self, examples: _Examples, i: int) -> Value:
        """The loss of one example."""
        with differentiable(), training(self.parameters):
            x, *target = [table[i] for table in examples.given]
            loss = recorded_output(self.loss(as_values(x), *target))
        if not self.connected:  # asked until it is: the loss of other Values would train nothing and say nothing
            check_alone("the loss", [loss], self.parameters)
            leaves = {v for node in topological_order([loss]) for v in node.parents} | {loss}
            self.connected = not leaves.isdisjoint(self.parameters)
        return loss


class _CompiledObjective(_Objective):
    """The same of a compiled loss: parameters, gradient and optimiser are arrays while an epoch lasts.

    An optimiser of the user's own, whose step or rule may do anything, is given its Values and their gradients.
    """

    def __init__(self, step: Compiled, parameters: Any, penalty: Callable[[], Any] | None, clipping: Clipping) -> None:
        if parameters is None:
            raise TypeError("fit needs the parameters to train: compile(loss, params=model.parameters())")
        super().__init__(step, parameters, penalty, clipping)
        self.step = step
        self.penalty_step: Compiled | None = None
        self.penalty_seen = False
        self.arrays: OnArrays | None = None
        self.on_record: set[Value] | None = None
        self.in_penalty: set[Value] = set()
        self.position = {p: i for i, p in enumerate(self.parameters)}
        self.gradient_now: Any = None

    def descend(self, examples: _Examples, rows: Sequence[int], optimizer: Optimizer) -> tuple[float, float]:
        """Take a step along the gradient of these rows; their mean loss and the length of the gradient."""
        on_arrays = _by_rule(optimizer)
        if self.arrays is None or not on_arrays or self.arrays.optimizer is not optimizer:
            self.settle()
            self.theta = self.step.theta
        batch = self._tables_of(examples)
        if len(rows) < len(examples) or list(rows) != list(range(len(rows))):
            batch = [table.rows(rows) for table in batch]
        try:
            mean, gradient = self.step.value_and_grad(self.theta, *batch)
        except NotFinite as error:
            raise NotFinite(error.text, None if error.example is None else rows[error.example]) from error
        if self.penalty is not None:
            extra, slope = self._penalty_at(self.theta)
            mean, gradient = mean + extra, gradient + slope
        norm = math.sqrt(float(gradient @ gradient))
        norm = norm if math.isfinite(norm) else math.hypot(*gradient.tolist())
        gradient = self.gradient_now = self.clipping(gradient)
        self._see_what_is_reached(examples)
        if on_arrays and self.arrays is None:
            self.arrays = OnArrays(optimizer, self._resting(optimizer))
            self.moved = [self.position[p] for p in optimizer.parameters]
        if self.arrays is not None:
            self.arrays.step(gradient[self.moved])
            self.theta[self.moved] = self.arrays.theta
        else:
            self._write_gradient()
            optimizer.step()
            if self.clipping.norm is None and self.clipping.value is None:
                norm = math.hypot(*[p.grad for p in self.parameters])  # as the step has left them
        return mean, norm

    def settle(self) -> None:
        """Bring the Values up to date, at the end of an epoch or of the training."""
        if self.arrays is not None:
            self.arrays.write_back()
            self.arrays = None
            self._write_gradient()

    def mean_loss(self, examples: _Examples) -> float:
        """The mean loss of all examples."""
        return float(self.step(self.step.theta, *self._tables_of(examples)))

    def _write_gradient(self) -> None:
        if self.gradient_now is not None:
            for p, g in zip(self.parameters, self.gradient_now.tolist(), strict=True):
                if reached(p) or p in self.in_penalty or p in (self.on_record or ()):
                    p.grad = g

    def _penalty_at(self, theta: Any) -> tuple[float, Any]:
        """The penalty and its gradient.

        The first call is the function's own.  It is compiled for the others where all that it reads can be watched, and
        it has changed nothing: a penalty that counts, draws or takes from an iterator is called for each batch.
        """
        assert self.penalty is not None
        if self.penalty_step is not None:
            return self.penalty_step.value_and_grad(theta)
        captured = None if self.penalty_seen else Captured(self.penalty, self.parameters)
        self.penalty_seen = True
        numbers = dict(zip(self.parameters, theta.tolist(), strict=True))
        with guarded(self.parameters, numbers), collector_paused():
            extra = self._penalty_here()
            flows = {}
            if isinstance(extra, Value):
                if not math.isfinite(extra.data):
                    raise not_finite(extra)
                flows = adjoints(topological_order([extra]), {extra: 1.0})
        self.in_penalty |= flows.keys()
        gradient = theta * 0.0
        for p, i in self.position.items():
            gradient[i] = flows.get(p, 0.0)
        value = extra.data if isinstance(extra, Value) else extra
        if captured is not None and captured.look_again() and captured.complete and len(flows) > 1:
            step = compile(self.penalty, self.parameters, backend=self.step.backend)
            with suppress(TypeError, ValueError):  # it cannot be compiled, and goes on as it is
                step.value_and_grad(theta)
                self.penalty_step = step
        return value, gradient

    def _see_what_is_reached(self, examples: _Examples) -> None:
        if self.on_record is None:
            rows = [t.numbers[0] if t.arrays else t.numbers[0].tolist() for t in self._tables_of(examples)]
            outputs = trace(self.step.fn, rows, factor=lambda keep: 1.0 / keep).outputs
            self.on_record = {v for node in topological_order(outputs) for v in node.parents} | set(outputs)

    def _resting(self, optimizer: Optimizer) -> list[int]:
        """The places of the parameters that no sweep reaches, as `Optimizer.step` has them."""
        seen = self.in_penalty.union(self.on_record or ())
        pairs = enumerate(zip(optimizer.parameters, optimizer.state, strict=True))
        return [i for i, (p, state) in pairs if p not in seen and not reached(p) and not any(state)]

    def _tables_of(self, examples: _Examples) -> list[Any]:
        return examples.tables if self.step.takes_data else []


def _by_rule(optimizer: Optimizer) -> bool:
    """Whether a step is the rule of one of the package's own optimisers, which moves an array of parameters as well."""
    own = {"step", "update", "zero_grad", "_commit"}.intersection(vars(optimizer))
    return type(optimizer).__module__ == Optimizer.__module__ and not own


@contextmanager
def _named_example(i: int) -> Iterator[None]:
    """Say in an error at which example it happened."""
    try:
        yield
    except DomainError as error:
        raise DomainError(f"example {i}: {error}") from error


def _epoch(
    objective: _Objective,
    optimizer: Optimizer,
    examples: _Examples,
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


def _validate(objective: _Objective, held_out: _Examples, history: History) -> float:
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


# --- Checkpoints ------------------------------------------------------------------------------------------------------


class _Run:
    """What a checkpoint holds: parameters, the best ones so far, the optimiser, the history, the random numbers.

    settings: what must be the same for a resumed run to take the same steps.
    """

    def __init__(self, parameters: list[Value], optimizer: Optimizer, settings: dict[str, Any]) -> None:
        self.parameters, self.optimizer, self.settings = parameters, optimizer, settings
        self.history = History()
        self.bests: list[tuple[int, list[float]]] = []  # the last two, each with its epoch

    @property
    def best(self) -> list[float]:
        """The parameters after the epoch with the lowest validation loss; none before the first has ended."""
        return next((numbers for epoch, numbers in reversed(self.bests) if epoch <= self.history.epochs), [])

    def end_epoch(self, row: Mapping[str, float]) -> None:
        """Enter an epoch into the history, and keep the parameters when its validation loss is the lowest so far.

        They are kept first, under the number of the epoch: they count from the moment that it stands in the history.
        """
        if "validation_loss" in row and row["validation_loss"] < min(self.history.validation_loss, default=math.inf):
            self.bests = [*self.bests[-1:], (self.history.epochs + 1, [p.data for p in self.parameters])]
        self.history._add(row)

    def restore_best(self) -> None:
        """Put the best parameters back."""
        for p, x in zip(self.parameters, self.best, strict=False):  # there are none before the first epoch has ended
            p.data = x

    def text(self) -> str:
        """The checkpoint."""
        content = {
            "settings": self.settings,
            "names": [p.label for p in self.parameters],
            "parameters": [p.data for p in self.parameters],
            "best": self.best,
            "optimizer": self.optimizer.state_dict(),
            "history": asdict(self.history),
            "random": random.getstate(),
        }
        return json_text(CHECKPOINT_FORMAT, content)

    def save(self, path: Path) -> None:
        """Write the checkpoint, or leave the old one as it is and say so: the training must not be lost with it."""
        try:
            write_atomically(path, self.text())
        except (OSError, ValueError, TypeError) as error:
            older = "the one of an earlier epoch stays" if path.exists() else "there is none"
            warnings.warn(
                f"the checkpoint of epoch {self.history.epochs} could not be written: {error}. The training goes on "
                f"without it ({older}); its parameters and history are in memory",
                RuntimeWarning,
                stacklevel=3,
            )

    def begin(self, path: Path, resume: bool) -> None:
        """Go on from the checkpoint, if there is one; nothing is changed when it does not fit.

        What would make the first checkpoint fail is an error now, and not when an epoch has been computed.
        """
        if not path.parent.is_dir():
            raise FileNotFoundError(f"there is no folder {path.parent} to keep {path.name} in")
        if not os.access(path if path.exists() else path.parent, os.W_OK):
            raise PermissionError(f"the checkpoint {path} cannot be written: its mode or that of its folder forbids it")
        try:
            self.text()
        except (ValueError, TypeError) as error:
            raise type(error)(f"no checkpoint can be made of this training: {error}") from None
        if not path.exists():
            return
        if not resume:
            raise FileExistsError(
                f"{path} is the checkpoint of an earlier run: resume=True goes on from there; to start anew, delete it "
                "or choose another name"
            )
        parts = {"settings": dict, "names": list, "parameters": list, "best": list, "optimizer": dict, "history": dict}
        content = read_json(path, CHECKPOINT_FORMAT, {**parts, "random": list})
        try:
            change = self._checked(content)
        except (ValueError, TypeError, ArithmeticError, AttributeError) as error:
            raise ValueError(f"cannot resume from {path}: {error}") from None
        whole(self._restore, *change)

    def _checked(self, content: dict[str, Any]) -> tuple[Any, ...]:
        """What a checkpoint changes, every number of it looked at: see `_restore`."""
        for name, ours in self.settings.items():
            theirs = content["settings"].get(name)
            if theirs != ours:
                raise ValueError(f"it was made with {name} = {theirs!r}, now it is {ours!r}")
        names = [p.label for p in self.parameters]
        if content["names"] != names:
            n, m = len(content["names"]), len(names)
            different = [f"{a!r} instead of {b!r}" for a, b in zip(content["names"], names, strict=False) if a != b]
            what = f"it has {counted(n, 'parameter')}, now there are {m}" if n != m else f"it has {different[0]}"
            raise ValueError(f"it belongs to another architecture: {what}")
        numbers = {name: _numbers(content[name], name) for name in ("parameters", "best")}
        for name, column in numbers.items():
            if len(column) not in (len(names), 0 if name == "best" else len(names)):
                raise ValueError(f"{name} should have {len(names)} numbers, got {len(column)}")
        stopped = content["history"].get("stopped")
        if not isinstance(stopped, str):
            raise ValueError(f"stopped in its history should be a text, got {shown(stopped)}")
        columns = {name: _numbers(x, name) for name, x in content["history"].items() if name != "stopped"}
        history = History(**columns, stopped=stopped)
        for name, column in columns.items():
            if len(column) not in (history.epochs, 0 if name == "validation_loss" else history.epochs):
                raise ValueError(f"{name} in its history should have {history.epochs} numbers")
        version, internal, gauss = content["random"]
        random_state = version, tuple(internal), None if gauss is None else finite(gauss, "the random state")
        random.Random().setstate(random_state)  # does it fit?
        # the learning rate is the checkpoint's: a schedule may have moved it
        given = {**self.optimizer.settings, "learning_rate": None}
        kept = {**content["optimizer"].get("settings", {}), "learning_rate": None}
        if content["optimizer"].get("name") == type(self.optimizer).__name__ and given != kept:
            raise ValueError(f"its optimiser has the settings {kept}, the given one {given}")
        state = self.optimizer.checked_state(content["optimizer"])
        bests = [(history.epochs, numbers["best"])] if numbers["best"] else []
        return numbers["parameters"], state, random_state, history, bests

    def _restore(self, numbers: Any, state: Any, random_state: Any, history: History, bests: Any) -> None:
        for p, x in zip(self.parameters, numbers, strict=True):
            p.data = x
        self.optimizer.take_state(state)
        random.setstate(random_state)
        self.history, self.bests = history, bests


def _numbers(numbers: Any, name: str) -> list[float]:
    if not isinstance(numbers, list):
        raise ValueError(f"{name} should be a list of numbers, got {shown(numbers)}")
    return [finite(x, f"{name}[{i}]") for i, x in enumerate(numbers)]
