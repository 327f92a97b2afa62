"""Optimisers: SGD with momentum, RMSprop, Adam, AdamW."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import is_dataclass
from typing import Any

from tinygrad_vi.checks import DomainError, ShapeError, at_least, fraction
from tinygrad_vi.elsewhere import Elsewhere
from tinygrad_vi.files import finite, shown, whole
from tinygrad_vi.graph import NOT_COMPUTED
from tinygrad_vi.nn.module import Module, parameters_in
from tinygrad_vi.trees import distinct_leaves, leaves_of
from tinygrad_vi.value import Value

State = tuple[float, ...]

# --- Optimisers -------------------------------------------------------------------------------------------------------


class Optimizer:
    """What all optimisers share.  A new one defines `state_names` and `update`.

    params: the Values to move: a Module, or a list, dictionary, tuple or dataclass of Values, nested as it may be.
    learning_rate: a number of at least 0; it may be set between steps.
    """

    #: the numbers kept for each parameter; they begin at 0
    state_names: tuple[str, ...] = ()
    param_groups = Elsewhere("write optimizer.learning_rate = 0.01, and an optimiser for each group")

    def __new__(cls, *_: Any, **settings: Any) -> Optimizer:
        """A new optimiser; TypeError for a setting under the name that PyTorch has for it."""
        for theirs, ours in (("lr", "learning_rate={lr}"), ("betas", "beta1={betas[0]}, beta2={betas[1]}")):
            if theirs in settings:
                raise TypeError(f"{cls.__name__} has no setting {theirs!r}: write {ours.format(**settings)}")
        return object.__new__(cls)

    def __init__(self, params: Any, learning_rate: float) -> None:
        self.parameters: list[Value] = parameters_of(params, "an optimiser")
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
            else:  # Ctrl-C in `_commit`: commit again, so that all parameters have taken the step
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
            if not all(map(math.isfinite, state)):  # an infinite state never becomes finite again
                raise DomainError(f"no step was taken: the gradient of {_name(self, p)}, {p.grad}, is too large")
        return moved

    def _commit(self, moved: Sequence[tuple[float, ...]]) -> None:
        for p, (x, *_) in zip(self.parameters, moved, strict=True):
            p.data = x
        self.state = [tuple(state) for _, *state in moved]

    @property
    def settings(self) -> dict[str, Any]:
        """The numbers and switches it was made with, and the learning rate of now."""
        return {
            name: value
            for name, value in vars(self).items()
            if name not in ("parameters", "steps", "state") and not name.startswith("_")
        }

    def state_dict(self) -> dict[str, Any]:
        """All that is needed to continue later with the same numbers, for JSON."""
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
        """The attributes that a state sets, by name; ValueError if it does not fit this optimiser."""
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
        settings = type(self)(self.parameters, **settings).settings  # which checks them
        if isinstance(steps, bool) or not isinstance(steps, int) or steps < 0:
            raise ValueError(f"steps is a count, got {shown(steps)}")
        rows = list(zip(*numbers.values(), strict=True)) or [()] * n
        return {**settings, "steps": steps, "state": rows}

    def take_state(self, attributes: Mapping[str, Any]) -> None:
        """Set all attributes by one call into C: Ctrl-C finds all of them changed, or none."""
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
        params: Iterable[Value],
        learning_rate: float = 0.01,
        *,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, learning_rate)
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
        params: Iterable[Value],
        learning_rate: float = 0.01,
        *,
        alpha: float = 0.99,
        eps: float = 1e-8,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, learning_rate)
        self.alpha = fraction(alpha, "alpha")
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
        params: Iterable[Value],
        learning_rate: float = 0.001,
        *,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, learning_rate)
        self.beta1 = fraction(beta1, "beta1")
        self.beta2 = fraction(beta2, "beta2")
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

    def __init__(self, params: Iterable[Value], learning_rate: float = 0.001, **settings: Any) -> None:
        super().__init__(params, learning_rate, **{"weight_decay": 0.01, **settings})

    def update(self, x: Any, g: Any, *state: Any) -> tuple[Any, ...]:
        """One step of one parameter."""
        return self._adam(x * (1.0 - self.learning_rate * self.weight_decay), g, *state)


class OnArrays:
    """An optimiser that works on arrays: all parameters move in a few array operations, by the same `update`.

    theta: the numbers of its parameters.  resting: the places of those that no sweep reaches: they do not move.  Call
    `write_back` when done: until then the Values and the optimiser are as they were.
    """

    def __init__(self, optimizer: Optimizer, *, resting: Sequence[int] = ()) -> None:
        import numpy as np

        self.np, self.optimizer, self.resting = np, optimizer, list(resting)
        theta = np.array([p.data for p in optimizer.parameters])
        state = list(np.array(optimizer.state, dtype=float).reshape(len(theta), -1).T.copy())
        # steps taken, parameters, state in one tuple: a step is one assignment, which Ctrl-C cannot split
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
        """Write theta into the parameters, and the state and the number of steps into the optimiser."""
        whole(self._write_back)

    def _write_back(self) -> None:
        steps, theta, state = self.now
        rows = list(zip(*[column.tolist() for column in state], strict=True)) or [()] * len(theta)
        for p, x in zip(self.optimizer.parameters, theta.tolist(), strict=True):
            p.data = x
        self.optimizer.take_state({"steps": steps, "state": rows})


def _quotient(x: Any, y: Any) -> Any:
    """x / y, where 0/0 (no gradient so far, and eps = 0) counts as a step of 0."""
    if isinstance(x, float):
        return x / y if y else 0.0
    return x / (y + (y == 0.0))  # of arrays: where y is 0, so is x


def _sqrt(x: Any) -> Any:
    return math.sqrt(x) if isinstance(x, float) else x**0.5


def reached(p: Value) -> bool:
    """Whether a sweep has reached it: then it has a gradient, which may be 0."""
    return p.grad is not NOT_COMPUTED


def _float(grad: Any) -> float:
    return grad.data if isinstance(grad, Value) else float(grad)


def _name(optimizer: Optimizer, p: Value) -> str:
    return _name_in(optimizer.parameters, next(i for i, q in enumerate(optimizer.parameters) if q is p))


def _name_in(params: Sequence[Value], i: int) -> str:
    return f"parameter {params[i].label!r}" if params[i].label else f"parameter {i}"


# --- Which parameters, and how large a gradient -----------------------------------------------------------------------


def parameters_of(x: Any, who: str) -> list[Value]:
    """The Values of a Module or of a tree, each once; TypeError for anything else in them, ValueError for none."""
    if isinstance(x, (str, bytes, Value)) or not (isinstance(x, (Module, Iterable)) or is_dataclass(x)):
        hint = ": call it, model.parameters()" if callable(x) else ""
        raise TypeError(f"{who} takes a list of Values or a Module, got {x!r:.60}{hint}")
    leaves = [x] if isinstance(x, Module) else leaves_of(x)  # type: ignore[arg-type]
    found = [v for leaf in leaves for v in (parameters_in(leaf) if isinstance(leaf, Module) else [leaf])]
    if any(isinstance(p, Value) for p in found):
        found = [p for p in found if not isinstance(p, str)]  # the name of a part, in a dataclass
    if not found:
        raise ValueError(f"{who} needs parameters to move, got none")
    return distinct_leaves(found, f"{who} moves")
