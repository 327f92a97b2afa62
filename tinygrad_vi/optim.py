"""Optimisers: what to do with a gradient.

An optimiser holds the parameters and, for each of them, a few numbers of its own (a momentum, a running mean).  `step`
reads the gradients that `Value.backward` has left and moves all parameters, or none: it raises DomainError, and changes
nothing, when a gradient or a new parameter is infinite or NaN.

    optimizer.zero_grad();  loss.backward();  optimizer.step()

A parameter that no sweep has reached yet stays where it is, as in PyTorch: weight decay and momentum leave it alone.

Each rule is written for one parameter: x is its value, g its gradient, the rest its state.  One step of each agrees
with PyTorch's optimiser of the same name.  A schedule is a function from the epoch to the learning rate.

`minimize` and `levenberg_marquardt` are for full-batch problems, over SciPy and NumPy.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import is_dataclass
from numbers import Real
from typing import TYPE_CHECKING, Any

from tinygrad_vi.derivatives import check_alone, differentiable, training
from tinygrad_vi.files import finite, shown, whole
from tinygrad_vi.nn import Module, parameters_in
from tinygrad_vi.ops import DomainError, ShapeError, whole_number
from tinygrad_vi.trees import leaves_of
from tinygrad_vi.value import NOT_COMPUTED, Elsewhere, Value, adjoints, dot, not_finite, recording, topological_order

if TYPE_CHECKING:
    from scipy.optimize import OptimizeResult

State = tuple[float, ...]

# --- Optimisers -------------------------------------------------------------------------------------------------------


class Optimizer:
    """What all optimisers share.  A new one defines `state_names` and `update`.

    parameters: the Values to move: a Module, or a list, dictionary, tuple or dataclass of Values, nested as it may be.
    learning_rate: a number of at least 0; it may be set between steps.
    """

    #: the numbers kept for each parameter; they begin at 0
    state_names: tuple[str, ...] = ()
    param_groups = Elsewhere("write optimizer.learning_rate = 0.01, and an optimiser for each group")

    def __new__(cls, *_: Any, **settings: Any) -> Optimizer:
        """The same for every rule; names that PyTorch has for a setting are told from those here."""
        for theirs, ours in (("lr", "learning_rate={lr}"), ("betas", "beta1={betas[0]}, beta2={betas[1]}")):
            if theirs in settings:
                raise TypeError(f"{cls.__name__} has no setting {theirs!r}: write {ours.format(**settings)}")
        return object.__new__(cls)

    def __init__(self, parameters: Any, learning_rate: float) -> None:
        self.parameters: list[Value] = parameters_of(parameters, "an optimiser")
        self.learning_rate = at_least(learning_rate, 0.0, "the learning rate")
        self.steps = 0
        self.state: list[State] = [(0.0,) * len(self.state_names) for _ in self.parameters]

    def update(self, x: Any, g: Any, *state: Any) -> tuple[Any, ...]:
        """The new value of one parameter, and its new state.  `steps` counts this step already.

        Written with arithmetic only, so that it moves an array of parameters as well: see `OnArrays`.
        """
        raise NotImplementedError

    def zero_grad(self) -> None:
        """Set the grad of every parameter to 0, unless no sweep has reached it."""
        for p in self.parameters:
            if reached(p):
                p.grad = 0.0

    def step(self) -> None:
        """Move all parameters by one step; DomainError, and nothing moved, when one would not stay finite.

        Parameters that no sweep has reached yet keep their value and their state.
        """
        gradients = [_float(p.grad) for p in self.parameters]
        for p, g in zip(self.parameters, gradients, strict=True):
            if not math.isfinite(g):
                raise DomainError(f"no step was taken: the gradient of {_name(self, p)} is {g}")
        before, moved = self.steps, None  # type: int, list[tuple[float, ...]] | None
        try:
            self.steps = before + 1  # `update` counts this step already
            moved = self._moved(gradients)
            self._commit(moved)
        except BaseException:
            if moved is None:
                self.steps = before
            else:  # interrupted half-way (Ctrl-C): once more, so that all parameters are of one step
                self._commit(moved)
            raise

    def _moved(self, gradients: Sequence[float]) -> list[tuple[float, ...]]:
        """What `update` gives for each parameter; DomainError when something would not stay finite."""
        moved = [
            self.update(p.data, g, *state) if reached(p) or any(state) else (p.data, *state)
            for p, g, state in zip(self.parameters, gradients, self.state, strict=True)
        ]
        for p, (x, *state) in zip(self.parameters, moved, strict=True):
            if not math.isfinite(x):
                raise DomainError(
                    f"no step was taken: {_name(self, p)} would become {x}; try a learning rate below "
                    f"{self.learning_rate}"
                )
            if not all(map(math.isfinite, state)):  # it would never be finite again
                raise DomainError(f"no step was taken: the gradient of {_name(self, p)}, {p.grad}, is too large")
        return moved

    def _commit(self, moved: Sequence[tuple[float, ...]]) -> None:
        for p, (x, *_) in zip(self.parameters, moved, strict=True):
            p.data = x
        self.state = [tuple(state) for _, *state in moved]

    @property
    def settings(self) -> dict[str, Any]:
        """The numbers and switches it was made with, the learning rate as it is now."""
        return {
            name: value
            for name, value in vars(self).items()
            if name not in ("parameters", "steps", "state") and not name.startswith("_")
        }

    def state_dict(self) -> dict[str, Any]:
        """All that is needed to go on as if nothing had happened, for JSON."""
        columns = zip(*self.state, strict=True)
        return {
            "name": type(self).__name__,
            "settings": self.settings,
            "steps": self.steps,
            "state": dict(zip(self.state_names, map(list, columns), strict=True)),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` gave, settings included.

        Raises ValueError, and changes nothing, when it comes from another kind of optimiser or for another number of
        parameters, or is damaged.
        """
        self.take_state(self.checked_state(state))

    def checked_state(self, state: Any) -> dict[str, Any]:
        """What `state_dict` gave as the attributes that it stands for; ValueError where it does not fit."""
        kind, n = type(self).__name__, len(self.parameters)
        if not isinstance(state, Mapping) or {"name", "settings", "steps", "state"} - set(state):
            raise ValueError("the state of an optimiser needs the entries name, settings, steps and state")
        if state["name"] != kind:
            raise ValueError(f"the state is that of {shown(state['name'])[1:-1]}, this is {kind}")
        settings, columns, steps = state["settings"], state["state"], state["steps"]
        if not isinstance(settings, Mapping) or set(settings) != set(self.settings):
            raise ValueError(f"the settings of {kind} are {', '.join(self.settings)}, got {shown(settings)}")
        if not isinstance(columns, Mapping) or set(columns) != set(self.state_names):
            raise ValueError(f"the state of {kind} is {', '.join(self.state_names)}, got {shown(columns)}")
        for name, value in settings.items():
            ours = getattr(self, name)
            if isinstance(ours, bool) != isinstance(value, bool):
                raise ValueError(f"{name} of {kind} is {ours!r} here, got {shown(value)}: that is of another type")
            if isinstance(ours, float):
                finite(value, f"{name} of {kind}")
        for name, numbers in columns.items():
            if not isinstance(numbers, (list, tuple)) or len(numbers) != n:
                raise ShapeError(f"{name} of {kind} needs {n} numbers, one for each parameter")
        numbers = {name: [finite(x, f"{name}[{i}] of {kind}") for i, x in enumerate(columns[name])]
                   for name in self.state_names}  # fmt: skip
        if any(x < 0.0 for x in numbers.get("square", ())):
            raise ValueError(f"square of {kind} holds a negative number")
        settings = type(self)(self.parameters, **settings).settings  # does it accept them?
        if isinstance(steps, bool) or not isinstance(steps, int) or steps < 0:
            raise ValueError(f"steps is a count, got {shown(steps)}")
        rows = list(zip(*numbers.values(), strict=True)) or [()] * n
        return {**settings, "steps": steps, "state": rows}

    def take_state(self, attributes: Mapping[str, Any]) -> None:
        """Set attributes in one go: whoever interrupts finds all of them or none."""
        vars(self).update(attributes)

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={value}" for name, value in self.settings.items())
        return f"{type(self).__name__}({len(self.parameters)} parameters, {settings}; {self.steps} steps taken)"


class SGD(Optimizer):
    """Gradient descent: x <- x - learning_rate * v, where v = momentum * v + g (at first v = g).

    nesterov: the step is along g + momentum * v.  weight_decay: weight_decay * x is added to g.

    >>> w = Value(1.0)
    >>> w.grad = 2.0
    >>> SGD([w], learning_rate=0.1).step()
    >>> w.data
    0.8
    """

    state_names = ("momentum",)

    def __init__(
        self,
        parameters: Iterable[Value],
        learning_rate: float = 0.01,
        *,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(parameters, learning_rate)
        self.momentum = at_least(momentum, 0.0, "momentum")
        self.nesterov = nesterov
        self.weight_decay = at_least(weight_decay, 0.0, "weight_decay")
        if nesterov and not momentum:
            raise ValueError("nesterov=True needs a momentum, such as momentum=0.9")

    def update(self, x: Any, g: Any, *state: Any) -> tuple[Any, ...]:
        """One step of one parameter."""
        g += self.weight_decay * x
        v = self.momentum * state[0] + g
        return x - self.learning_rate * (g + self.momentum * v if self.nesterov else v), v


class RMSprop(Optimizer):
    """The gradient over its recent size (G. Hinton, 2012).

        s = alpha s + (1 - alpha) g**2;    x <- x - lr * g / (sqrt(s) + eps)

    momentum: v = momentum * v + g / (sqrt(s) + eps) takes the place of the quotient.  weight_decay: as for `SGD`.
    """

    state_names = ("square", "momentum")

    def __init__(
        self,
        parameters: Iterable[Value],
        learning_rate: float = 0.01,
        *,
        alpha: float = 0.99,
        eps: float = 1e-8,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(parameters, learning_rate)
        self.alpha = _fraction(alpha, "alpha")
        self.eps = at_least(eps, 0.0, "eps")
        self.momentum = at_least(momentum, 0.0, "momentum")
        self.weight_decay = at_least(weight_decay, 0.0, "weight_decay")

    def update(self, x: Any, g: Any, *state: Any) -> tuple[Any, ...]:
        """One step of one parameter."""
        g += self.weight_decay * x
        s = self.alpha * state[0] + (1.0 - self.alpha) * g * g
        v = self.momentum * state[1] + _quotient(g, _sqrt(s) + self.eps)
        return x - self.learning_rate * v, s, v


class Adam(Optimizer):
    """Momentum over the recent size, both corrected for their start at 0 (Kingma and Ba, 2015).

        m = beta1 m + (1 - beta1) g;    s = beta2 s + (1 - beta2) g**2
        x <- x - lr * m / (1 - beta1**t) / (sqrt(s / (1 - beta2**t)) + eps)      at step t = 1, 2, ...

    weight_decay: weight_decay * x is added to g; `AdamW` does it better.
    """

    state_names = ("mean", "square")

    def __init__(
        self,
        parameters: Iterable[Value],
        learning_rate: float = 0.001,
        *,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(parameters, learning_rate)
        self.beta1 = _fraction(beta1, "beta1")
        self.beta2 = _fraction(beta2, "beta2")
        self.eps = at_least(eps, 0.0, "eps")
        self.weight_decay = at_least(weight_decay, 0.0, "weight_decay")

    def update(self, x: Any, g: Any, *state: Any) -> tuple[Any, ...]:
        """One step of one parameter."""
        return self._adam(x, g + self.weight_decay * x, *state)

    def _adam(self, x: Any, g: Any, *state: Any) -> tuple[Any, ...]:
        m = self.beta1 * state[0] + (1.0 - self.beta1) * g
        s = self.beta2 * state[1] + (1.0 - self.beta2) * g * g
        size = _sqrt(s / (1.0 - self.beta2**self.steps)) + self.eps
        return x - self.learning_rate * _quotient(m / (1.0 - self.beta1**self.steps), size), m, s


class AdamW(Adam):
    """`Adam` with decoupled weight decay: x first shrinks by lr * weight_decay * x (Loshchilov and Hutter, 2019)."""

    def __init__(self, parameters: Iterable[Value], learning_rate: float = 0.001, **settings: Any) -> None:
        super().__init__(parameters, learning_rate, **{"weight_decay": 0.01, **settings})

    def update(self, x: Any, g: Any, *state: Any) -> tuple[Any, ...]:
        """One step of one parameter."""
        return self._adam(x * (1.0 - self.learning_rate * self.weight_decay), g, *state)


class OnArrays:
    """An optimiser at work on arrays: all parameters move in a few array operations, by the very rule of `update`.

    theta: the numbers of its parameters.  resting: the places of those that no sweep reaches, which stay where they
    are.  Call `write_back` when done: until then the Values and the optimiser are as they were.
    """

    def __init__(self, optimizer: Optimizer, resting: Sequence[int] = ()) -> None:
        import numpy as np

        self.np, self.optimizer, self.resting = np, optimizer, list(resting)
        theta = np.array([p.data for p in optimizer.parameters])
        state = list(np.array(optimizer.state, dtype=float).reshape(len(theta), -1).T.copy())
        # steps taken, parameters, state: one object, so that one assignment is a step and an interruption splits none
        self.now: tuple[int, Any, list[Any]] = (optimizer.steps, theta, state)

    @property
    def theta(self) -> Any:
        """The numbers of the parameters."""
        return self.now[1]

    def step(self, gradient: Any) -> None:
        """Move theta against the gradient; DomainError, and nothing moved, when it would not stay finite."""
        optimizer, before = self.optimizer, self.optimizer.steps
        steps, theta, state = self.now
        try:
            optimizer.steps = steps + 1  # `update` counts this step already
            with self.np.errstate(all="ignore"):
                moved, *kept = optimizer.update(theta, gradient, *state)
                if self.resting:
                    for new, old in zip((moved, *kept), (theta, *state), strict=True):
                        new[self.resting] = old[self.resting]
                finite = all(math.isfinite(x.sum()) or self.np.isfinite(x).all() for x in (moved, *kept))
            if not finite:
                worst = int(self.np.argmin(self.np.isfinite(sum([moved, *kept]))))
                raise DomainError(
                    f"no step was taken: {_name(optimizer, optimizer.parameters[worst])} or what is kept of its "
                    f"gradient would become infinite; try a learning rate below {optimizer.learning_rate}"
                )
            self.now = steps + 1, moved, kept
        finally:
            optimizer.steps = before

    def write_back(self) -> None:
        """Give theta to the parameters, the state and the count of steps to the optimiser."""
        whole(self._write_back)

    def _write_back(self) -> None:
        steps, theta, state = self.now
        rows = list(zip(*[column.tolist() for column in state], strict=True)) or [()] * len(theta)
        for p, x in zip(self.optimizer.parameters, theta.tolist(), strict=True):
            p.data = x
        self.optimizer.take_state({"steps": steps, "state": rows})


def _quotient(x: Any, y: Any) -> Any:
    """x / y, where 0/0 (no gradient so far, and eps = 0) is no movement."""
    if isinstance(x, float):
        return x / y if y else 0.0
    return x / (y + (y == 0.0))  # of arrays: where y is 0, so is x


def _sqrt(x: Any) -> Any:
    return math.sqrt(x) if isinstance(x, float) else x**0.5


def reached(p: Value) -> bool:
    """Whether a sweep has reached it, so that it has a gradient, if only 0."""
    return p.grad is not NOT_COMPUTED


def _float(grad: Any) -> float:
    return grad.data if isinstance(grad, Value) else float(grad)


def _name(optimizer: Optimizer, p: Value) -> str:
    return _name_in(optimizer.parameters, next(i for i, q in enumerate(optimizer.parameters) if q is p))


def _name_in(parameters: Sequence[Value], i: int) -> str:
    return f"parameter {parameters[i].label!r}" if parameters[i].label else f"parameter {i}"


def at_least(x: Any, least: float, what: str) -> float:
    """A finite number of at least so much; ValueError for anything else."""
    if isinstance(x, bool) or not isinstance(x, Real) or not least <= float(x) < math.inf:
        hint = ": a schedule is given to fit(schedule=...)" if callable(x) else ""
        raise ValueError(f"{what} must be a number of at least {least:g}, got {x!r:.60}{hint}")
    return float(x)


def _fraction(x: Any, what: str) -> float:
    if isinstance(x, bool) or not isinstance(x, Real) or not 0.0 <= float(x) < 1.0:
        raise ValueError(f"{what} must be at least 0 and below 1, got {x!r:.60}")
    return float(x)


# --- Which parameters, and how large a gradient -----------------------------------------------------------------------


def parameters_of(x: Any, who: str) -> list[Value]:
    """The Values of a Module or of a tree, each once; TypeError for anything else in these, ValueError for none."""
    if isinstance(x, (str, bytes, Value)) or not (isinstance(x, (Module, Iterable)) or is_dataclass(x)):
        hint = ": call it, model.parameters()" if callable(x) else ""
        raise TypeError(f"{who} takes a list of Values or a Module, got {x!r:.60}{hint}")
    leaves = [x] if isinstance(x, Module) else leaves_of(x)  # type: ignore[arg-type]
    found = [v for leaf in leaves for v in (parameters_in(leaf) if isinstance(leaf, Module) else [leaf])]
    if any(isinstance(p, Value) for p in found):
        found = [p for p in found if not isinstance(p, str)]  # the name of a part, in a dataclass
    for p in found:
        if not isinstance(p, Value):
            raise TypeError(f"{who} moves Values, got {p!r:.60} of type {type(p).__name__}")
        if p.parents:
            raise ValueError(f"{who} moves leaves, got the result of an operation: {p!r}")
    if not found:
        raise ValueError(f"{who} needs parameters to move, got none")
    return list(dict.fromkeys(found))


def clip_grad_norm(parameters: Any, max_norm: float) -> float:
    """Shorten the gradient to the length max_norm where it is longer: g <- g * max_norm / |g|.  The length it had.

    |g| is the length of all gradients together.  Call it between ``backward`` and ``step``; `fit` does with
    ``clip_norm=``.  (Pascanu, Mikolov and Bengio, 2013; PyTorch's ``clip_grad_norm_``.)

    Raises DomainError, and changes nothing, when a gradient is infinite or NaN.

    >>> u, v = Value(0.0), Value(0.0)
    >>> (3 * u + 4 * v).backward()
    >>> clip_grad_norm([u, v], 1.0), round(u.grad, 12), round(v.grad, 12)
    (5.0, 0.6, 0.8)
    """
    return _clipped(parameters, Clipping(norm=max_norm))


def clip_grad_value(parameters: Any, max_value: float) -> float:
    """Bring each gradient between -max_value and max_value.  The length the whole gradient had.

    PyTorch's ``clip_grad_value_``; in `fit` it is ``clip_value=``.  Raises as `clip_grad_norm` does.

    >>> w = Value(0.0)
    >>> (-3 * w).backward()
    >>> clip_grad_value([w], 0.5), w.grad
    (3.0, -0.5)
    """
    return _clipped(parameters, Clipping(value=max_value))


def _clipped(parameters: Any, clipping: Clipping) -> float:
    leaves = [p for p in parameters_of(parameters, "clipping") if reached(p)]
    gradient = [_float(p.grad) for p in leaves]
    for i, g in enumerate(gradient):
        if not math.isfinite(g):
            raise DomainError(f"nothing was clipped: the gradient of {_name_in(leaves, i)} is {g}")
    for p, g in zip(leaves, clipping(gradient), strict=True):
        p.grad = g
    return math.hypot(*gradient)


class Clipping:
    """What is done to a gradient, a list of floats or an array, before a step: see `clip_grad_norm`.

    norm: the greatest length.  value: the greatest size of an entry.  Without either the gradient stays as it is.
    """

    def __init__(self, norm: float | None = None, value: float | None = None) -> None:
        if norm is not None and value is not None:
            raise ValueError("give clip_norm or clip_value, and not both")
        self.norm = None if norm is None else at_least(norm, 0.0, "the greatest length of a gradient")
        self.value = None if value is None else at_least(value, 0.0, "the greatest size of a gradient")

    def __call__(self, gradient: Any) -> Any:
        """The clipped gradient, a new one where it is clipped."""
        if isinstance(gradient, list):
            return self._numbers(gradient, max(map(abs, gradient), default=0.0))
        if self.value is not None:
            return gradient.clip(-self.value, self.value)
        largest = float(abs(gradient).max())
        if self.norm is None or not largest:
            return gradient
        unit = gradient / largest  # gradients near the end of the floats have a length all the same
        length = math.sqrt(float(unit @ unit))
        return unit * (self.norm / length) if largest * length > self.norm else gradient

    def _numbers(self, gradient: list[float], largest: float) -> list[float]:
        if self.value is not None:
            return [min(max(g, -self.value), self.value) for g in gradient]
        if self.norm is None or not largest:
            return gradient
        unit = [g / largest for g in gradient]
        length = math.hypot(*unit)
        return [g * (self.norm / length) for g in unit] if largest * length > self.norm else gradient


# --- Schedules: epoch -> learning rate --------------------------------------------------------------------------------

Schedule = Callable[[int], float]


def step_decay(learning_rate: float, every: int, factor: float = 0.1) -> Schedule:
    """learning_rate * factor**(epoch // every): times ``factor`` after each ``every`` epochs.

    Raises ValueError, as all schedules do, for a rate or factor that is negative or not finite.

    >>> [step_decay(1.0, every=2, factor=0.5)(epoch) for epoch in range(5)]
    [1.0, 1.0, 0.5, 0.5, 0.25]
    """
    whole_number(every, "every")
    decayed = exponential_decay(learning_rate, factor)
    return lambda epoch: decayed(epoch // every)


def exponential_decay(learning_rate: float, factor: float) -> Schedule:
    """learning_rate * factor**epoch.

    >>> [exponential_decay(1.0, factor=0.5)(epoch) for epoch in range(4)]
    [1.0, 0.5, 0.25, 0.125]
    """
    rate, factor = at_least(learning_rate, 0.0, "the learning rate"), at_least(factor, 0.0, "the factor")

    def decayed(epoch: int) -> float:
        try:
            return float(rate * factor**epoch)
        except OverflowError:
            raise DomainError(f"the learning rate {rate} * {factor}**{epoch} is too large for a float") from None

    return decayed


def cosine_decay(learning_rate: float, epochs: int, end: float = 0.0) -> Schedule:
    """Half a cosine from learning_rate down to ``end`` in ``epochs`` epochs, and there it stays.

    >>> [round(cosine_decay(1.0, epochs=4)(epoch), 3) for epoch in range(6)]
    [1.0, 0.854, 0.5, 0.146, 0.0, 0.0]
    """
    whole_number(epochs, "epochs")
    rate, end = at_least(learning_rate, 0.0, "the learning rate"), at_least(end, 0.0, "the end")
    return lambda epoch: end + (rate - end) * 0.5 * (1.0 + math.cos(math.pi * min(epoch / epochs, 1.0)))


def inverse_time_decay(learning_rate: float, rate: float = 1.0) -> Schedule:
    """learning_rate / (1 + rate * epoch), which sums to infinity though its squares do not (Robbins and Monro, 1951).

    >>> [inverse_time_decay(1.0)(epoch) for epoch in range(4)]
    [1.0, 0.5, 0.3333333333333333, 0.25]
    """
    first, rate = at_least(learning_rate, 0.0, "the learning rate"), at_least(rate, 0.0, "the rate of decay")
    return lambda epoch: first / (1.0 + rate * epoch)


# --- Full-batch methods -----------------------------------------------------------------------------------------------


def minimize(
    loss: Callable[[], Value], parameters: Iterable[Value], method: str = "BFGS", **options: Any
) -> OptimizeResult:
    """Move the parameters to a minimum of ``loss()`` by a method of `scipy.optimize.minimize`.

    SciPy is given our gradient and, for methods that use them, our Hessian-vector product ("Newton-CG", "trust-krylov")
    or our Hessian ("trust-exact").  options: whatever SciPy's function takes (``tol``, ``bounds``, ``callback``,
    ``options={"maxiter": 50}``).  Returns SciPy's result; the parameters have the values ``result.x``.  A point that
    the line search tries and where the loss cannot be computed counts as infinitely bad.  Warns of parameters that the
    loss does not depend on: they stay where they are.

    Raises DomainError when the loss cannot be computed at the start, and whatever else goes wrong; the parameters are
    then as before.

    >>> w = Value(3.0)
    >>> result = minimize(lambda: (w - 2.0) ** 2, [w])
    >>> round(w.data, 6), result.success
    (2.0, True)
    """
    np, scipy_optimize = _import("numpy", "minimize"), _import("scipy.optimize", "minimize")
    parameters = _leaves(parameters)
    start = [p.data for p in parameters]
    y, gradient = _evaluate(loss, parameters)  # at the start, errors are the caller's to see
    _warn_of_others(loss, parameters)
    good = {"at": np.array(start), "value": y, "slope": 1.0 + np.linalg.norm(gradient)}

    def value_and_gradient(theta: Any) -> tuple[float, Any]:
        _assign(parameters, theta)
        try:
            y, gradient = _evaluate(loss, parameters)
        except DomainError:  # a steep slope back to the last good point: line searches cannot use an infinity
            away = theta - good["at"]
            distance = np.linalg.norm(away)
            slope = 1e3 * (good["slope"] + abs(good["value"]))
            return good["value"] + slope * (1.0 + distance), slope * away / (distance or 1.0)
        good.update(at=np.array(theta), value=y, slope=1.0 + np.linalg.norm(gradient))
        return y, np.array(gradient)

    def hessian_product(theta: Any, direction: Any) -> Any:
        _assign(parameters, theta)
        return np.array(_hessian_product(_called(loss, parameters), parameters, direction.tolist()))

    def hessian(theta: Any) -> Any:
        return np.array([hessian_product(theta, row) for row in np.eye(len(parameters))])

    known = method.lower() if isinstance(method, str) else ""
    if known in ("dogleg", "trust-exact"):
        options.setdefault("hess", hessian)
    elif known in ("newton-cg", "trust-ncg", "trust-krylov", "trust-constr"):
        options.setdefault("hessp", hessian_product)
    if known in ("nelder-mead", "powell", "cobyla", "cobyqa"):  # they use no gradient
        options |= {"fun": lambda theta: value_and_gradient(theta)[0]}
    else:
        options |= {"fun": value_and_gradient, "jac": True}
    try:
        result = scipy_optimize.minimize(x0=start, method=method, **options)
        _assign(parameters, result.x)
        _evaluate(loss, parameters)
    except BaseException:
        _assign(parameters, start)
        raise
    return result


def levenberg_marquardt(
    residuals: Callable[[], Sequence[Value]],
    parameters: Iterable[Value],
    damping: float | None = None,
    *,
    steps: int = 1,
    **options: Any,
) -> OptimizeResult:
    """Least squares: move the parameters to make 1/2 sum r**2 small, r being the list ``residuals()``.

    With a ``damping``, so many ``steps`` of the rule

        w <- w - (J^T J + damping I)^-1 J^T r,    J = dr/dw

    The sign does not depend on whether r is prediction minus target or the other way round, as long as J is the
    Jacobian of that r.  Damping 0 is the Gauss-Newton method, a large one gradient descent with the rate 1/damping.
    (K. Levenberg, 1944; D. Marquardt, 1963.)

    Without a damping `scipy.optimize.least_squares` chooses it and goes on until it has converged; it is given our
    Jacobian, and ``options`` (``method="lm"`` by default where there are enough residuals; ``loss``, ``bounds``, ...).
    A step to a point where the residuals cannot be computed, as they overflow or leave a domain, is a bad step: SciPy
    takes it back and tries a shorter one.

    Returns SciPy's result or one like it: ``x``, ``cost`` (1/2 sum r**2), ``fun`` (r), ``jac`` (J), ``nfev``.

    Raises ValueError when J^T J + damping I is singular or the residuals do not depend on one of the parameters,
    DomainError when something is infinite or NaN; the parameters are then as before.

    >>> w = Value(0.5)
    >>> r = lambda: [y - (w * x).exp() for x, y in ((0.0, 1.0), (1.0, 2.0), (2.0, 4.2))]
    >>> result = levenberg_marquardt(r, [w], damping=0.1)
    >>> round(w.data, 9), round(result.cost, 6)
    (0.76671035, 0.105833)
    """
    np = _import("numpy", "levenberg_marquardt")
    scipy_optimize = _import("scipy.optimize", "levenberg_marquardt")
    parameters = _leaves(parameters)
    start = [p.data for p in parameters]

    def at(theta: Any) -> tuple[Any, Any]:
        _assign(parameters, theta)
        return tuple(map(np.array, _residuals_and_jacobian(residuals, parameters)))

    try:
        if damping is not None:
            damping = at_least(damping, 0.0, "damping")
            if options:
                raise TypeError(f"with a damping there are no other options, got {', '.join(options)}")
            theta = np.array(start)
            for _ in range(whole_number(steps, "steps")):
                r, J = at(theta)
                theta = theta - _damped_step(r, J, damping)
            r, J = at(theta)
            result = scipy_optimize.OptimizeResult(
                x=theta, cost=0.5 * float(r @ r), fun=r, jac=J, nfev=steps + 1, success=True
            )
        else:
            known: dict[bytes, tuple[Any, Any]] = {}  # SciPy asks for r and for J one after the other

            def once(theta: Any) -> tuple[Any, Any]:
                key = theta.tobytes()
                if key not in known:
                    known.clear()
                    known[key] = at(theta)
                return known[key]

            r, _ = once(np.array(start))
            worst = math.hypot(*r.tolist())  # of the residuals at points that could be computed

            def tried(theta: Any) -> Any:
                """The residuals; at a point without, or whose squares overflow, so large ones that SciPy takes the step
                back."""
                nonlocal worst
                with suppress(DomainError, OverflowError):
                    found = once(theta)[0]
                    size = math.hypot(*found.tolist())
                    if math.isfinite(size * size):
                        worst = max(worst, size)
                        return found
                # MINPACK cannot compute with infinities
                return np.full(len(r), 1e3 * (1.0 + worst) if options["method"] == "lm" else math.inf)

            bounded = "bounds" in options or options.get("loss", "linear") != "linear"
            options.setdefault("method", "lm" if len(r) >= len(start) and not bounded else "trf")
            result = scipy_optimize.least_squares(tried, start, jac=lambda theta: once(theta)[1], **options)
    except BaseException:
        _assign(parameters, start)
        raise
    _assign(parameters, result.x)
    return result


def _damped_step(r: Any, J: Any, damping: float) -> Any:
    """(J^T J + damping I)^-1 J^T r, as the least squares of J stacked on sqrt(damping) I, which squares no condition.

    Columns are brought to length 1 first: parameters of different size are no less determined for that.
    """
    import numpy as np

    stacked = np.vstack([J, math.sqrt(damping) * np.eye(J.shape[1])])
    size = np.linalg.norm(stacked, axis=0)
    scaled = stacked / np.where(size, size, 1.0)
    if np.linalg.matrix_rank(scaled) < J.shape[1]:
        raise ValueError(
            f"J^T J + damping I is singular with damping = {damping}: the residuals do not determine all parameters; "
            "give a damping above 0"
        )
    return np.linalg.lstsq(scaled, np.concatenate([r, np.zeros(J.shape[1])]), rcond=None)[0] / size


def _import(module: str, wanted_by: str) -> Any:
    from importlib import import_module

    try:
        return import_module(module)
    except ImportError:
        package = module.partition(".")[0]
        raise ImportError(f"{wanted_by} needs the package {package}: pip install {package}") from None


def _leaves(parameters: Iterable[Value]) -> list[Value]:
    return Optimizer(parameters, 1.0).parameters  # it checks them


def _assign(parameters: Sequence[Value], theta: Iterable[float]) -> None:
    for p, x in zip(parameters, theta, strict=True):
        p.data = float(x)


def _called(f: Callable[[], Any], parameters: Iterable[Value]) -> Any:
    with differentiable(), training(parameters), recording(True):
        return f()


def _evaluate(loss: Callable[[], Value], parameters: Sequence[Value]) -> tuple[float, list[float]]:
    """The loss and its gradient; grads are left as they were."""
    y = recorded_output(_called(loss, parameters))
    check_alone("the loss", [y], parameters)
    if not math.isfinite(y.data):
        raise not_finite(y, f"the loss is {y.data}")
    adjoint = adjoints(topological_order([y]), {y: 1.0})
    if adjoint.keys().isdisjoint(parameters):
        raise ValueError("the loss depends on none of the parameters: is it computed from these very Values?")
    gradient = [adjoint.get(p, 0.0) for p in parameters]
    if not all(map(math.isfinite, gradient)):
        raise not_finite(y, "the gradient of the loss is not finite")
    return y.data, gradient


def _warn_of_others(loss: Callable[[], Value], parameters: Sequence[Value]) -> None:
    y = _called(loss, parameters)
    on_record = {v for node in topological_order([y]) for v in node.parents} | {y}
    absent = [i for i, p in enumerate(parameters) if p not in on_record]
    if absent:
        names = ", ".join(_name_in(parameters, i) for i in absent[:3]) + ", ..." * (len(absent) > 3)
        warnings.warn(f"the loss does not depend on {names}, which stays where it is", stacklevel=3)


def _hessian_product(y: Value, parameters: Sequence[Value], direction: Sequence[float]) -> list[float]:
    """H v, as the gradient of gradient . v (B. Pearlmutter, 1994)."""
    adjoint = adjoints(topological_order([y]), {y: 1.0}, create_graph=True)
    slope = dot([adjoint.get(p, 0.0) for p in parameters], direction)
    if not isinstance(slope, Value):  # the gradient is constant
        return [0.0] * len(parameters)
    second = adjoints(topological_order([slope]), {slope: 1.0})
    return [second.get(p, 0.0) for p in parameters]


def _residuals_and_jacobian(
    residuals: Callable[[], Sequence[Value]], parameters: Sequence[Value]
) -> tuple[list[float], list[list[float]]]:
    outputs = [recorded_output(r) for r in _called(residuals, parameters)]
    if not outputs:
        raise ShapeError("there are no residuals")
    check_alone("the function of the residuals", outputs, parameters)
    rows, on_record = [], set[Value]()
    for r in outputs:
        if not math.isfinite(r.data):
            raise not_finite(r, f"a residual is {r.data}")
        adjoint = adjoints(topological_order([r]), {r: 1.0})
        rows.append([adjoint.get(p, 0.0) for p in parameters])
        on_record |= adjoint.keys()
    absent = [i for i, p in enumerate(parameters) if p not in on_record]
    if len(absent) == len(parameters):
        raise ValueError("the residuals depend on none of the parameters: are they computed from these very Values?")
    if absent:
        raise ValueError(
            f"the residuals do not depend on {_name_in(parameters, absent[0])}, so nothing tells what it should be: "
            "leave it out, or compute the residuals from this very Value"
        )
    return [r.data for r in outputs], rows


def recorded_output(y: Any) -> Value:
    """What a user's function gave, if it is a Value; TypeError, saying what to do, if not."""
    if isinstance(y, Value):
        return y
    raise TypeError(
        f"there is no graph to differentiate: got {y!r:.60} of type {type(y).__name__} and no Value. Compute it from "
        "Values by operations: model(x) and not model.predict(x), tinygrad_vi.exp and not math.exp, w and not w.data"
    )
