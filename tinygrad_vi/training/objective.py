"""What a training minimises: the mean loss over examples, by the loss itself or a compiled one."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence, Set, ValuesView
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import wraps
from typing import Any, TypeVar

from tinygrad_vi.checks import DomainError, counted, plain
from tinygrad_vi.collector import collector_paused
from tinygrad_vi.compiler.compiled import Compiled, compile
from tinygrad_vi.compiler.errors import NotFinite
from tinygrad_vi.compiler.trace import guarded, trace
from tinygrad_vi.compiler.watched import Captured
from tinygrad_vi.differentiated import check_alone, check_constants, differentiable, moved, training
from tinygrad_vi.examples import (
    ArrayRows,
    Table,
    as_table,
    as_values,
    check_examples,
    is_array,
    numbers_only,
    rows_of,
    to_lists,
)
from tinygrad_vi.graph import not_finite, topological_order
from tinygrad_vi.nn.module import Module
from tinygrad_vi.on_disk import OnDisk, parts
from tinygrad_vi.once import once
from tinygrad_vi.optim.clipping import Clipping, clip_grad_norm, clip_grad_value
from tinygrad_vi.optim.rules import OnArrays, Optimizer, parameters_of, reached
from tinygrad_vi.optim.solvers import recorded_output
from tinygrad_vi.sweep import adjoints
from tinygrad_vi.value import Value, no_grad

Loss = Callable[..., Any]
F = TypeVar("F", bound=Callable[..., Any])


# --- How a training is called: the loss, the data, the parameters by name ---------------------------------------------


def loss_then_data(**instead: str) -> Callable[[F], F]:
    """Let a function of ``(loss, X, y, *, params)`` say what to write when it is called otherwise.

    Nothing is guessed: a model in the place of the loss and parameters in the place of the data are refused.
    instead: other libraries' names of settings, each with what to write.
    """

    def decorate(f: F) -> F:
        name = f.__name__

        @wraps(f)
        def advised(*arguments: Any, **named: Any) -> Any:
            if arguments and isinstance(arguments[0], Module) and named.get("params") is None:
                raise TypeError(
                    f"{name} takes first the loss of one example, a function, and the model by name: "
                    f"{name}(lambda x, t: losses.mse(model(x), t), X, y, params=model)"
                )
            if len(arguments) > 3 or "parameters" in named:
                raise TypeError(_by_name(name))
            if unknown := next((word for word in named if word in instead), None):
                raise TypeError(f"{name} has no setting {unknown!r}: {instead[unknown]}")
            return f(*arguments, **named)

        return advised  # type: ignore[return-value]

    return decorate


def _by_name(caller: str) -> str:
    return f"{caller} takes the loss, the examples, and the parameters by name: {caller}(loss, X, y, params=model)"


def trained_by(caller: str, loss: Loss | Compiled, params: Any, X: Any) -> list[Value]:
    """The parameters that a loss is trained by: those given, or a compiled loss's own.

    Raises TypeError where there are none and where they are among the data X, ValueError where those given are not
    those of the compiled loss.
    """
    if params is None and not isinstance(loss, Compiled):
        raise TypeError(_by_name(caller))
    own = [] if params is None else parameters_of(params, caller)
    if isinstance(loss, Compiled):
        if loss.parameters is None:
            raise TypeError(f"{caller} needs a loss with parameters: compile(loss, params=model)")
        if own and set(own) != set(loss.parameters):
            raise ValueError(
                f"the compiled loss has {counted(len(loss.parameters), 'parameter')} of its own, and params= gives "
                f"others: leave it out, {caller}(step, X, y), or compile the loss with them"
            )
        own = loss.parameters
    if _holds_any(X, frozenset(own)):
        raise TypeError(_by_name(caller))
    return own


def _holds_any(x: Any, values: frozenset[Value]) -> bool:
    """Whether data, or what stands in their place, hold one of these Values."""
    if isinstance(x, Module):
        return True
    if getattr(getattr(x, "dtype", None), "kind", "") == "O":
        x = x.tolist()
    if isinstance(x, (list, tuple, Set, ValuesView)):
        return any(_holds_any(entry, values) for entry in x if entry.__class__ is not float)
    return isinstance(x, Value) and x in values


# --- The mean loss of examples ----------------------------------------------------------------------------------------


class Examples:
    """X and y, checked.  numbers: they hold numbers and nothing else, as `compile` takes them.

    Arrays stay as they are, lists are made of all else.  on_disk: whether one of them is an array in a file, of which
    only some rows may be in memory at a time.
    """

    def __init__(self, X: Any, y: Any = None, *, numbers: bool = False) -> None:
        if numbers:
            X, y = numbers_only(X, "X"), None if y is None else numbers_only(y, "y")
        pairs = [_read(table) for table in ((X,) if y is None else (X, y))]
        check_examples(pairs[0][0], None if y is None else pairs[1][0])
        #: the examples as a loss gets them: rows of an array are arrays
        self.given: list[Any] = [given for _, given in pairs]
        self.on_disk = any(map(_in_a_file, self.given))

    @once
    def y(self) -> list[Any] | None:
        """The targets as lists and numbers; None where there are none."""
        return [plain(t) for t in self.given[1]] if len(self.given) > 1 else None

    @once
    def tables(self) -> list[Table]:
        """X, and y if there is one, for a compiled loss."""
        return [
            Table(given.numbers, len(given.rows.shape) > 1, given, target=i > 0)
            if isinstance(given, ArrayRows)
            else replace(as_table(given, "y" if i else "X"), given=given, target=i > 0)
            for i, given in enumerate(self.given)
        ]

    def parts(self) -> list[range]:
        """The places of all examples: in one range, or in several where they are in a file."""
        arrays = [given.rows.array for given in self.given if _in_a_file(given)]
        return parts(max(arrays, key=lambda array: array.nbytes)) if arrays else [range(len(self))]

    def __len__(self) -> int:
        return len(self.given[0])


def _in_a_file(given: Any) -> bool:
    return isinstance(given, ArrayRows) and isinstance(given.rows, OnDisk)


def _read(X: Any) -> tuple[Any, Any]:
    """X for the checks, an array or lists; and the examples as a loss gets them."""
    X = X.to_numpy() if hasattr(X, "to_numpy") else X
    if is_array(X):
        return X, ArrayRows(X)
    lists = to_lists(X)
    return lists, rows_of(X, lists)


class Objective:
    """The mean loss of examples, as a function of the parameters."""

    def __init__(self, loss: Loss, params: list[Value], penalty: Callable[[], Any] | None, clipping: Clipping) -> None:
        self.parameters = params
        self.loss = loss
        self.penalty = penalty
        self.clipping = clipping
        self.connected = False
        self.constant_penalty = False

    def gradient(self, examples: Examples, rows: Sequence[int]) -> float:
        """Leave the gradient of the mean loss of these rows in the parameters; the mean loss."""
        for p in self.parameters:
            if reached(p):
                p.grad = 0.0
        losses = []
        for i in rows:
            with named_example(i):
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
        """The penalty at the parameters; TypeError for a plain number that changes with them."""
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

    def _connected_anywhere(self, examples: Examples) -> bool:
        """Whether the loss of any example depends on a parameter: the first ones may be masked."""
        for i in range(len(examples)):
            if self.connected:
                break
            with named_example(i):
                self.of_example(examples, i)
        return self.connected

    def descend(self, examples: Examples, rows: Sequence[int], optimizer: Optimizer) -> tuple[float, float]:
        """Take a step along the gradient of these rows; their mean loss and the length of the gradient."""
        with collector_paused():
            mean = self.gradient(examples, rows)
            norm = self.clip()
            optimizer.step()
        return mean, math.hypot(*[p.grad for p in self.parameters]) if norm is None else norm

    def clip(self) -> float | None:
        """Clip the gradients of the parameters, if that was asked for: their old length, else None."""
        if self.clipping.norm is not None:
            return clip_grad_norm(self.parameters, self.clipping.norm)
        return None if self.clipping.value is None else clip_grad_value(self.parameters, self.clipping.value)

    def settle(self) -> None:
        """Write into the Values what is kept elsewhere during an epoch: nothing, here."""

    def mean_loss(self, examples: Examples) -> float:
        """The mean loss of all examples; nothing is recorded."""
        losses = []
        for i in range(len(examples)):
            with named_example(i), no_grad():
                losses.append(self.of_example(examples, i).data)
                if not math.isfinite(losses[-1]):
                    raise DomainError(f"the loss is {losses[-1]}")
        return math.fsum(losses) / len(losses)

    def of_example(self, examples: Examples, i: int) -> Value:
        """The loss of one example."""
        with differentiable(), training(self.parameters):
            x, *target = [table[i] for table in examples.given]
            loss = recorded_output(self.loss(as_values(x), *target))
        if not self.connected:  # until one loss depends on a parameter: else training would do nothing, without a word
            check_alone("the loss", [loss], self.parameters)
            leaves = {v for node in topological_order([loss]) for v in node.parents} | {loss}
            self.connected = not leaves.isdisjoint(self.parameters)
        return loss


class CompiledObjective(Objective):
    """The mean loss by a compiled loss: during an epoch parameters, gradient and the optimiser's state are arrays.

    An optimiser of the user's own may do anything in its step or rule: it gets its Values and their gradients.
    """

    def __init__(
        self, step: Compiled, params: list[Value], penalty: Callable[[], Any] | None, clipping: Clipping
    ) -> None:
        super().__init__(step, params, penalty, clipping)
        self.step = step
        self.penalty_step: Compiled | None = None
        self.penalty_seen = False
        self.arrays: OnArrays | None = None
        self.on_record: set[Value] | None = None
        self.in_penalty: set[Value] = set()
        self.position = {p: i for i, p in enumerate(self.parameters)}
        self.gradient_now: Any = None

    def descend(self, examples: Examples, rows: Sequence[int], optimizer: Optimizer) -> tuple[float, float]:
        """Take a step along the gradient of these rows; their mean loss and the length of the gradient."""
        on_arrays = by_rule(optimizer)
        if self.arrays is None or not on_arrays or self.arrays.optimizer is not optimizer:
            self.settle()
            self.theta = self.step.theta
        batch = self._tables_of(examples)
        if examples.on_disk or len(rows) < len(examples) or list(rows) != list(range(len(rows))):
            batch = [table.rows(rows) for table in batch]
        with _named_as(rows):
            mean, gradient = self.step.value_and_grad(self.theta, *batch)
        if self.penalty is not None:
            extra, slope = self._penalty_at(self.theta)
            mean, gradient = mean + extra, gradient + slope
        norm = math.sqrt(float(gradient @ gradient))
        norm = norm if math.isfinite(norm) else math.hypot(*gradient.tolist())
        gradient = self.gradient_now = self.clipping(gradient)
        self._see_what_is_reached(examples)
        if on_arrays and self.arrays is None:
            self.arrays = OnArrays(optimizer, resting=self._resting(optimizer))
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

    def mean_loss(self, examples: Examples) -> float:
        """The mean loss of all examples; where they are in a file, of some megabytes at a time."""
        if not examples.on_disk:
            return float(self.step(self.step.theta, *self._tables_of(examples)))
        sums = []
        for rows in examples.parts():
            with _named_as(rows):
                mean = self.step(self.step.theta, *[table.rows(rows) for table in self._tables_of(examples)])
            sums.append(float(mean) * len(rows))
        return math.fsum(sums) / len(examples)

    def _write_gradient(self) -> None:
        if self.gradient_now is not None:
            for p, g in zip(self.parameters, self.gradient_now.tolist(), strict=True):
                if reached(p) or p in self.in_penalty or p in (self.on_record or ()):
                    p.grad = g

    def _penalty_at(self, theta: Any) -> tuple[float, Any]:
        """The penalty and its gradient.

        The first time the function itself is called.  Later it is compiled, if all that it reads can be watched and it
        has changed nothing; a penalty that counts, draws or takes from an iterator is called for each batch.
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
            with suppress(TypeError, ValueError):  # it cannot be compiled: the function is called each time
                step.value_and_grad(theta)
                self.penalty_step = step
        return value, gradient

    def _see_what_is_reached(self, examples: Examples) -> None:
        if self.on_record is None:
            first = [(table.arrays, table.rows([0]).numbers[0]) for table in self._tables_of(examples)]
            rows = [numbers if arrays else numbers.tolist() for arrays, numbers in first]
            outputs = trace(self.step.fn, rows, factor=lambda keep: 1.0 / keep).outputs
            self.on_record = {v for node in topological_order(outputs) for v in node.parents} | set(outputs)

    def _resting(self, optimizer: Optimizer) -> list[int]:
        """The places of the parameters that no sweep reaches, which `Optimizer.step` would not move."""
        seen = self.in_penalty.union(self.on_record or ())
        pairs = enumerate(zip(optimizer.parameters, optimizer.state, strict=True))
        return [i for i, (p, state) in pairs if p not in seen and not reached(p) and not any(state)]

    def _tables_of(self, examples: Examples) -> list[Any]:
        return examples.tables if self.step.takes_data else []


def by_rule(optimizer: Optimizer) -> bool:
    """Whether the optimiser is one of the package's own, unchanged: its rule moves an array of parameters as well."""
    own = {"step", "update", "zero_grad", "_commit"}.intersection(vars(optimizer))
    return type(optimizer).__module__ == Optimizer.__module__ and not own


@contextmanager
def _named_as(rows: Sequence[int]) -> Iterator[None]:
    """Name an example of a batch by its place among all."""
    try:
        yield
    except NotFinite as error:
        raise NotFinite(error.text, None if error.example is None else rows[error.example]) from error


@contextmanager
def named_example(i: int) -> Iterator[None]:
    """Say in an error at which example it happened."""
    try:
        yield
    except DomainError as error:
        raise DomainError(f"example {i}: {error}") from error
