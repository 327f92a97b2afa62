"""The training of an estimator: `fit` with one of the package's optimisers, or SciPy's L-BFGS, of a compiled loss."""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from numbers import Real
from typing import Any

from tinygrad_vi.checks import at_least, package, whole_number
from tinygrad_vi.compiler.compiled import Compiled, compile
from tinygrad_vi.estimators.models import outputs, weights_in
from tinygrad_vi.losses import l2
from tinygrad_vi.nn.feedforward import Dropout
from tinygrad_vi.nn.module import Module
from tinygrad_vi.optim.rules import SGD, Adam, AdamW, Optimizer, RMSprop
from tinygrad_vi.optim.solvers import steep_where_undefined
from tinygrad_vi.training.loop import fit

OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {"adam": Adam, "adamw": AdamW, "sgd": SGD, "rmsprop": RMSprop}
#: the largest entry of the gradient at which L-BFGS stops, where no tolerance is given
GRADIENT = 1e-6


@dataclass
class Course:
    """The course of a training: the mean loss after or during each epoch, and why it ended."""

    losses: list[float]
    validation_losses: list[float]
    loss: float
    warning: str = ""


@dataclass
class Data:
    """Examples, (N, d), with numbers as targets, (N,) or (N, m); their weights, (N,), or None where all count 1."""

    X: Any
    targets: Any
    weights: Any = None

    def __len__(self) -> int:
        return len(self.X)

    def rows(self, places: Any) -> Data:
        """Some of the examples."""
        return Data(self.X[places], self.targets[places], None if self.weights is None else self.weights[places])

    @property
    def y(self) -> Any:
        """What the loss gets as a target: with weights one more column, scaled so that their mean is 1."""
        if self.weights is None:
            return self.targets
        np = package("numpy", "weights")
        return np.column_stack([self.targets, self.weights / self.weights.mean()])


def compiled_loss(loss: Callable[[Any, Any], Any], model: Module, n: int, *, weighted: bool, backend: str) -> Compiled:
    """``loss(model(x), t)`` of one example of n outputs, times its weight where there are weights."""

    def plainly(x: Any, t: Any) -> Any:
        return loss(outputs(model(x), n), t)

    def weightily(x: Any, t: Any) -> Any:
        *targets, weight = t
        return weight * loss(outputs(model(x), n), targets[0] if len(targets) == 1 else targets)

    return compile(weightily if weighted else plainly, params=model.parameters(), backend=backend)


def check_settings(loss: Any, optimizer: Any, batch_size: Any, patience: Any, validation_fraction: Any) -> None:
    """Raise TypeError for what is no loss or optimiser, ValueError for settings that do not go together."""
    if loss is not None and not (callable(loss) and _takes_two(loss)):
        raise TypeError(
            "loss is a function of the output and the target of one example in scalar code, "
            f"loss=lambda output, target: losses.huber(output, target), got {loss!r:.60}"
        )
    known = ", ".join(map(repr, [*OPTIMIZERS, "lbfgs"]))
    if isinstance(optimizer, Optimizer):
        raise TypeError(
            "each fit begins with a new optimiser: give a function that makes it, "
            "optimizer=lambda params: optim.SGD(params, 0.1, momentum=0.9)"
        )
    if not callable(optimizer) and optimizer not in (*OPTIMIZERS, "lbfgs"):
        raise ValueError(f"optimizer is one of {known}, or a function of the parameters, got {optimizer!r:.60}")
    if optimizer == "lbfgs" and batch_size not in ("auto", None):
        raise ValueError(f"lbfgs takes all examples at once: leave batch_size={batch_size!r} out, or take 'adam'")
    if optimizer == "lbfgs" and (patience, validation_fraction) != (None, None):
        raise ValueError("lbfgs stops by tolerance: patience and validation_fraction are for the other optimisers")
    if validation_fraction is not None and not (
        isinstance(validation_fraction, Real) and 0.0 < float(validation_fraction) < 1.0
    ):
        raise ValueError(f"validation_fraction is a number between 0 and 1, or None, got {validation_fraction!r}")
    if not (batch_size is None or batch_size == "auto"):
        whole_number(batch_size, "batch_size ('auto' for 200 at most, None for all examples)")


def _takes_two(loss: Callable[..., Any]) -> bool:
    try:
        inspect.signature(loss).bind(0.0, 0.0)
    except TypeError:
        return False
    except ValueError:  # a function of C, which has no signature
        pass
    return True


def optimizer_of(optimizer: Any, model: Module, learning_rate: float) -> Optimizer | None:
    """A new optimiser, by its name or made by a function of the parameters; None for L-BFGS."""
    if not callable(optimizer):
        return None if optimizer == "lbfgs" else OPTIMIZERS[optimizer](model.parameters(), learning_rate=learning_rate)
    found = optimizer(model.parameters())
    if not isinstance(found, Optimizer):
        raise TypeError(
            "optimizer makes an optimiser of the parameters, optimizer=lambda params: optim.SGD(params, 0.1), "
            f"got {found!r:.60}"
        )
    return found


def trained(
    step: Compiled,
    model: Module,
    data: Data,
    held_out: Data | None,
    *,
    optimizer: Optimizer | None,
    epochs: int,
    batch_size: Any,
    alpha: float,
    tolerance: float | None,
    patience: int | None,
    seed: int,
) -> Course:
    """Make the mean loss and alpha / 2 times the sum of the squared weights small."""
    alpha, epochs = at_least(alpha, 0.0, "alpha"), whole_number(epochs, "epochs")
    penalized = weights_in(model)
    if optimizer is None:
        if _drops(model):
            raise ValueError("lbfgs asks for the same loss again and again, and Dropout draws it anew: take 'adam'")
        return _by_lbfgs(step, data, penalized, epochs=epochs, alpha=alpha, tolerance=tolerance)
    with _drawing(model, seed):
        history = fit(
            step,
            data.X,
            data.y,
            params=model,
            optimizer=optimizer,
            epochs=epochs,
            batch_size=min(200, len(data)) if batch_size == "auto" else batch_size,
            seed=seed,
            penalty=(lambda: l2(penalized, 0.5 * alpha)) if alpha and penalized else None,
            validation=None if held_out is None else (held_out.X, held_out.y),
            patience=patience,
            tolerance=tolerance,
            progress=False,
        )
    if history.stopped.startswith("interrupted"):
        raise KeyboardInterrupt  # a search would go on with its next fit
    unstopped = patience is not None and not history.stopped
    warning = "patience has not stopped the training, which may not have converged" if unstopped else ""
    return Course(history.loss, history.validation_loss, history.loss[-1], warning)


def _by_lbfgs(
    step: Compiled, data: Data, penalized: Any, *, epochs: int, alpha: float, tolerance: float | None
) -> Course:
    """SciPy's L-BFGS-B; nothing is moved where the loss cannot be computed at the start."""
    np, scipy_optimize = package("numpy", "lbfgs"), package("scipy.optimize", "lbfgs")
    gradient_tolerance = GRADIENT if tolerance is None else at_least(tolerance, 0.0, "tolerance")
    places = {p: i for i, p in enumerate(step.parameters or ())}
    mask = np.zeros(len(places))
    for p in penalized:
        mask[places[p]] = alpha
    bound = step.bind(data.X, data.y)

    def evaluated(theta: Any) -> tuple[float, Any]:
        value, gradient = bound.value_and_grad(theta)
        return value + 0.5 * float(mask @ theta**2), gradient + mask * theta

    losses: list[float] = []
    result = scipy_optimize.minimize(
        steep_where_undefined(evaluated),
        step.theta,
        jac=True,
        method="L-BFGS-B",
        callback=lambda intermediate_result: losses.append(float(intermediate_result.fun)),
        options={"maxiter": epochs, "maxfun": 20 * epochs, "gtol": gradient_tolerance, "ftol": 0.0},
    )
    value, _ = evaluated(result.x)
    step.assign(result.x)
    return Course(losses, [], value, "" if result.success else f"lbfgs has not converged: {result.message}")


def one_thread() -> AbstractContextManager[Any]:
    """BLAS computes in one thread inside: the last bits of its sums depend on how many share them."""
    return _libraries().limit(limits=1, user_api="blas")  # type: ignore[no-any-return]


@lru_cache(1)
def _libraries() -> Any:
    """What threadpoolctl, which scikit-learn brings, has found: looking takes milliseconds."""
    return package("threadpoolctl", "an estimator").ThreadpoolController()


def _drops(model: Module) -> bool:
    return any(isinstance(module, Dropout) for module in model.modules())


@contextmanager
def _drawing(model: Module, seed: int) -> Iterator[None]:
    """What `Dropout` draws from the module `random` follows from the seed; its state is put back."""
    if not _drops(model):
        yield
        return
    state = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(state)
