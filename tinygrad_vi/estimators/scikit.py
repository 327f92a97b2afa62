# mypy: disable-error-code="misc,untyped-decorator"
"""The estimators: scikit-learn's methods over models, compiled losses and their training."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from numbers import Real
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.utils import check_array, check_random_state
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from tinygrad_vi import losses
from tinygrad_vi.compiler.compiled import Compiled
from tinygrad_vi.estimators.models import made, outputs
from tinygrad_vi.estimators.training import (
    Course,
    Data,
    check_settings,
    compiled_loss,
    one_thread,
    optimizer_of,
    trained,
)
from tinygrad_vi.nn.module import Module
from tinygrad_vi.optim.rules import Optimizer

#: what random seeds are drawn from
SEEDS = 2**31 - 1


class Kept:
    """What `partial_fit` goes on with: the optimiser, and compiled losses with and without weights.

    A pickle leaves the compiled losses out: the next call makes them anew.
    """

    def __init__(self, made_with: tuple[Any, ...], optimizer: Optimizer | None) -> None:
        self.made_with, self.optimizer = made_with, optimizer
        self.steps: dict[bool, Compiled] = {}

    def __reduce__(self) -> Any:
        return Kept, (self.made_with, self.optimizer)


class Scalar(BaseEstimator):
    """What both estimators share.  A subclass says how targets become numbers."""

    hidden: Any
    activation: Any
    model: Any
    start: Any
    loss: Any
    alpha: Any
    optimizer: Any
    learning_rate: Any
    epochs: Any
    batch_size: Any
    tolerance: Any
    patience: Any
    validation_fraction: Any
    warm_start: Any
    random_state: Any
    backend: Any
    model_: Module

    # --- What a subclass says

    def _known_targets(self, y: Any) -> dict[str, Any]:
        """The attributes that a fit learns from the targets, ``n_outputs_`` among them."""
        raise NotImplementedError

    def _numbers(self, y: Any) -> Any:
        """The targets as numbers, (N,) or (N, m)."""
        raise NotImplementedError

    def _default_loss(self) -> Callable[[Any, Any], Any]:
        raise NotImplementedError

    def _loss_of_no_model(self, data: Data) -> float:
        """What the default loss is where every example gets the same, best answer."""
        raise NotImplementedError

    # --- Training

    def _fit(self, X: Any, y: Any, sample_weight: Any) -> Any:
        """Train a new model, or with ``warm_start`` the one there is."""
        with self._whole(), one_thread():
            again = bool(self.warm_start) and hasattr(self, "model_")
            X, y, weights = self._examples(X, y, sample_weight, reset=not again)
            self._learn_of(self._known_targets(y), again)
            seeds = check_random_state(self.random_state).randint(SEEDS, size=3).tolist()
            model = self.model_ if again else self._made(X, seeds[0])
            optimizer = optimizer_of(self.optimizer, model, self.learning_rate)
            data, held_out = self._divided(Data(X, self._numbers(y), weights), seeds[2])
            step = self._step_of(model, weights)
            course = self._train(step, model, data, held_out, optimizer, epochs=self.epochs, seed=seeds[1])
            self.model_, self._kept = model, Kept(self._made_with(), optimizer)
            self.loss_curve_, self.validation_loss_curve_ = course.losses, course.validation_losses or None
            self.n_iter_, self.loss_ = len(course.losses), course.loss
        self._warn(course, data)
        return self

    def _continue(self, X: Any, y: Any, known: Callable[[Any], dict[str, Any]], sample_weight: Any) -> Any:
        """One epoch over these examples; the model and the optimiser's state are kept from call to call."""
        if self.patience is not None or self.validation_fraction is not None:
            raise ValueError("partial_fit is one epoch: patience and validation_fraction are for fit")
        with self._whole(), one_thread():
            again = hasattr(self, "model_")
            X, y, weights = self._examples(X, y, sample_weight, reset=not again)
            self._learn_of(known(y), again)
            seeds = check_random_state(self.random_state).randint(SEEDS, size=2).tolist()
            model = self.model_ if again else self._made(X, seeds[0])
            kept = self._kept if again else None
            if kept is None or kept.optimizer is None or kept.made_with != self._made_with():
                kept = Kept(self._made_with(), optimizer_of(self.optimizer, model, self.learning_rate))
            plain = weights is None
            step = kept.steps[plain] = kept.steps.get(plain) or self._step_of(model, weights)
            before = list(self.loss_curve_) if again else []
            data = Data(X, self._numbers(y), weights)
            course = self._train(step, model, data, None, kept.optimizer, epochs=1, seed=seeds[1] + len(before))
            self.model_, self._kept = model, kept
            self.loss_curve_, self.validation_loss_curve_ = before + course.losses, None
            self.n_iter_, self.loss_ = len(self.loss_curve_), course.loss
        return self

    def _warn(self, course: Course, data: Data) -> None:
        """Warn of a training that has not converged, and of a network that is worse than none."""
        if course.warning:
            warnings.warn(
                f"{course.warning}. More epochs (now {self.epochs}), a larger tolerance or scaled columns may help; a "
                "loss with corners is for optimizer='adam'",
                ConvergenceWarning,
                stacklevel=3,
            )
        elif self.loss is None and self.model is None and course.loss > 1.1 * (least := self._loss_of_no_model(data)):
            warnings.warn(
                f"the loss is {course.loss:.3g}, above that of one answer for all examples, {least:.3g}: scale the "
                "columns and the targets (StandardScaler, TransformedTargetRegressor), or give more epochs (now "
                f"{self.epochs}) or another learning_rate",
                ConvergenceWarning,
                stacklevel=3,
            )

    def _made_with(self) -> tuple[Any, ...]:
        return self.loss, self.backend, self.optimizer, self.learning_rate

    @contextmanager
    def _whole(self) -> Iterator[None]:
        """Leave the estimator as it was where something is raised."""
        before = dict(self.__dict__)
        try:
            yield
        except BaseException:
            self.__dict__.clear()
            self.__dict__.update(before)
            raise

    def _step_of(self, model: Module, weights: Any) -> Compiled:
        loss = self._default_loss() if self.loss is None else self.loss
        return compiled_loss(loss, model, self.n_outputs_, weighted=weights is not None, backend=self.backend)

    def _train(
        self,
        step: Compiled,
        model: Module,
        data: Data,
        held_out: Data | None,
        optimizer: Any,
        *,
        epochs: int,
        seed: int,
    ) -> Course:
        return trained(
            step,
            model,
            data,
            held_out,
            optimizer=optimizer,
            epochs=epochs,
            batch_size=self.batch_size,
            alpha=self.alpha,
            tolerance=self.tolerance,
            patience=self.patience,
            seed=seed,
        )

    def _made(self, X: Any, seed: int) -> Module:
        model = made(
            self.model,
            self.start,
            self.hidden,
            self.activation,
            n_inputs=X.shape[1],
            n_outputs=self.n_outputs_,
            seed=seed,
        )
        outputs(model.predict(X[:1].tolist())[0], self.n_outputs_)
        return model

    def _divided(self, data: Data, seed: int) -> tuple[Data, Data | None]:
        """The examples to learn from and those that are held out."""
        if self.validation_fraction is None:
            return data, None
        stratify = data.targets if isinstance(self, ClassifierMixin) else None
        ours, theirs = train_test_split(
            np.arange(len(data)), test_size=self.validation_fraction, random_state=seed, stratify=stratify
        )
        return data.rows(ours), data.rows(theirs)

    # --- Checks

    def _examples(self, X: Any, y: Any, sample_weight: Any, *, reset: bool) -> tuple[Any, Any, Any]:
        """X, y and the weights, checked, without the examples of weight 0."""
        check_settings(self.loss, self.optimizer, self.batch_size, self.patience, self.validation_fraction)
        X, y = self._validated(X, y, reset=reset)
        weights, rows = self._weights(sample_weight, len(X))
        return X[rows], y[rows], weights

    def _validated(self, X: Any, y: Any, *, reset: bool) -> tuple[Any, Any]:
        raise NotImplementedError

    def _weights(self, sample_weight: Any, n: int) -> tuple[Any, Any]:
        """The weights above 0, None where there are none, and which examples they belong to."""
        if sample_weight is None:
            return None, slice(None)
        if isinstance(sample_weight, Real):
            sample_weight = np.full(n, sample_weight)
        weights = check_array(sample_weight, ensure_2d=False, dtype=np.float64, input_name="sample_weight")
        if weights.shape != (n,):
            raise ValueError(f"sample_weight has a number for each of the {n} examples, got the shape {weights.shape}")
        if (weights < 0.0).any():
            raise ValueError(f"sample_weight holds numbers of at least 0, got {weights.min()}")
        if not weights.any():
            raise ValueError("sample_weight is zero for every example: nothing is left to learn from")
        rows = weights > 0.0
        return weights[rows], rows

    def _learn_of(self, known: dict[str, Any], again: bool) -> None:
        """Keep what is known of the targets; ValueError where a model that goes on has learned of others."""
        for name, now in known.items():
            if again and not np.array_equal(now, before := getattr(self, name)):
                raise ValueError(
                    f"this goes on with the model there is, whose {name.strip('_')} was {before!r:.60}, and now it is "
                    f"{now!r:.60}: fit a clone(estimator)"
                )
        for name, now in known.items():
            setattr(self, name, now)

    # --- Answers

    def _answers(self, X: Any) -> Any:
        """The outputs of the model, (N, n_outputs_)."""
        check_is_fitted(self, "model_")
        X = validate_data(self, X, dtype=np.float64, reset=False)
        with one_thread():
            found = self.model_.predict(X)
        return np.asarray(found, dtype=float).reshape(len(X), self.n_outputs_)


def _takes_steps(estimator: Any) -> bool:
    if estimator.optimizer == "lbfgs":
        raise AttributeError("lbfgs takes all examples at once: partial_fit is for the other optimisers, 'adam'")
    return True


class ScalarRegressor(RegressorMixin, Scalar):
    """A regressor of scikit-learn over a model and a loss in scalar code.

    It makes the mean of ``loss(output, target)`` over the examples, weighted by sample_weight, plus ``alpha / 2`` times
    the sum of the squared weights small.

    hidden, activation: the network where there is no model: `nn.MLP` with these hidden layers, ``()`` for a linear one.
    model: a function (n_inputs, n_outputs, seed) that makes a new Module for each fit; or, beside start, a function
    (params, x) in scalar code, of the parameters and one row of X.
    start: the numbers that ``params`` begin with, in a list, a dictionary or any tree.
    loss: a function (output, target) of one example in scalar code, `losses.mse` by default; of several targets both
    are lists.  It is compiled, so it says ``where(x > 0, a, b)`` for an if.
    alpha: the strength of the penalty, which leaves biases of neurons alone.
    optimizer: "adam", "adamw", "sgd", "rmsprop"; "lbfgs", SciPy's, for smooth losses of some thousand examples; or a
    function of the parameters, ``lambda params: optim.SGD(params, 0.1, momentum=0.9)``.
    learning_rate: of the optimisers by name but lbfgs.
    epochs: how often all examples are taken; the iterations of lbfgs at most, and it warns where they do not suffice.
    batch_size: examples for a step: "auto" for 200 or all there are, a number, None for all.
    patience, tolerance: as in `tinygrad_vi.fit`, stop when the loss has not become lower by more than the tolerance for
    so many epochs; without a patience all epochs are taken.  For lbfgs the tolerance is the largest entry of the
    gradient at which it stops, 1e-6 by default.
    validation_fraction: this share of the examples is held out, patience looks at their loss, and the best parameters
    are kept.
    warm_start: fit goes on with the model of the last fit.
    random_state: of the first weights, the order of examples, what `Dropout` drops and what is held out.
    backend: as in `compile`.  BLAS computes in one thread meanwhile, so that the numbers do not depend on how many the
    machine has (unless several Python threads fit at once).

    After fit: model_ (the Module), n_features_in_, feature_names_in_ (of a data frame), n_outputs_, n_iter_,
    loss_curve_ (a loss for each epoch or iteration, penalty included), validation_loss_curve_ (or None), loss_ (the
    last one).

    What goes to other processes or into a file is pickled: for ``n_jobs`` functions may be lambdas, which joblib sends
    by value; for `pickle.dump` write loss, model and optimizer as ``def`` at the top of a module that can be imported.

    Raises, when it is fitted, ValueError for NaN, for settings that do not go together and data that do not fit;
    ShapeError for a model with another number of outputs; TypeError for sparse data and for what makes no model;
    `TrainingError` where the loss becomes infinite.

    >>> from tinygrad_vi import exp, losses
    >>> X = [[0.0], [1.0], [2.0], [3.0], [4.0]]
    >>> decay = ScalarRegressor(model=lambda p, x: p["height"] * exp(-p["rate"] * x[0]),
    ...                         start={"height": 1.0, "rate": 1.0}, optimizer="lbfgs",
    ...                         loss=lambda y, t: losses.huber(y, t, delta=0.1))
    >>> decay.fit(X, [4.0, 2.0, 1.0, 0.5, 9.0]).predict([[0.0]]).round(1).tolist()
    [4.0]
    """

    def __init__(
        self,
        *,
        hidden: int | Sequence[int] = (16, 16),
        activation: Any = "tanh",
        model: Callable[..., Any] | None = None,
        start: Any = None,
        loss: Callable[[Any, Any], Any] | None = None,
        alpha: float = 0.0,
        optimizer: Any = "adam",
        learning_rate: float = 0.01,
        epochs: int = 200,
        batch_size: Any = "auto",
        tolerance: float | None = None,
        patience: int | None = None,
        validation_fraction: float | None = None,
        warm_start: bool = False,
        random_state: Any = None,
        backend: str = "auto",
    ) -> None:
        self.hidden = hidden
        self.activation = activation
        self.model = model
        self.start = start
        self.loss = loss
        self.alpha = alpha
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.epochs = epochs
        self.batch_size = batch_size
        self.tolerance = tolerance
        self.patience = patience
        self.validation_fraction = validation_fraction
        self.warm_start = warm_start
        self.random_state = random_state
        self.backend = backend

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> ScalarRegressor:
        """Train a new model, or with warm_start the one there is; returns the estimator.

        X: (N, n_features).  y: (N,), or (N, m) for several targets.
        sample_weight: how much each example counts; one of 0 is left out.  The loss that is made small is the weighted
        mean: a whole weight is the same as so many copies of the example, where all examples are taken at once; in
        mini-batches it is so on average.

        What it raises stands at the class; the estimator is then as it was before.
        """
        return self._fit(X, y, sample_weight)  # type: ignore[no-any-return]

    def _validated(self, X: Any, y: Any, *, reset: bool) -> tuple[Any, Any]:
        return validate_data(  # type: ignore[no-any-return]
            self, X, y, dtype=np.float64, y_numeric=True, multi_output=True, reset=reset
        )

    def _known_targets(self, y: Any) -> dict[str, Any]:
        return {"n_outputs_": 1 if y.ndim == 1 else y.shape[1], "_column": y.ndim == 2}

    def _numbers(self, y: Any) -> Any:
        y = y.astype(float)
        return y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y

    def _default_loss(self) -> Callable[[Any, Any], Any]:
        return losses.mse

    def _loss_of_no_model(self, data: Data) -> float:
        mean = np.average(data.targets, axis=0, weights=data.weights)
        return float(np.average((data.targets - mean) ** 2, axis=0, weights=data.weights).mean())

    @available_if(_takes_steps)
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> ScalarRegressor:
        """One epoch over these examples, by the optimiser as the last call has left it; returns the estimator."""
        return self._continue(X, y, self._known_targets, sample_weight)  # type: ignore[no-any-return]

    def predict(self, X: Any) -> Any:
        """The outputs of the model: (N,), or (N, m) where it was fitted with such targets."""
        found = self._answers(X)
        return found if self._column else found[:, 0]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


def _has_probabilities(estimator: Any) -> bool:
    if estimator.loss not in (None, losses.bce_with_logits, losses.cross_entropy) and not estimator.logits:
        raise AttributeError(
            "the outputs that an own loss is trained with are scores: logits=True says that their sigmoid or softmax "
            "are probabilities; decision_function gives the scores, CalibratedClassifierCV makes probabilities of them"
        )
    return True


class ScalarClassifier(ClassifierMixin, Scalar):
    """A classifier of scikit-learn over a model and a loss in scalar code.

    The settings are those of `ScalarRegressor`, but for:

    loss: a function (output, target) of one example in scalar code.  For two classes the output is one number, above 0
    for the second class, and the target 0 or 1: `losses.bce_with_logits` by default.  For more the output is a list
    with a number for each class, the target the place of the class in ``classes_``, and `losses.cross_entropy` the
    default; ``take(output, target)`` is the output of the right class.
    logits: whether sigmoid or softmax of the outputs are probabilities where the loss is your own.  Without it there is
    no predict_proba then: a hinge loss, say, gives scores.

    After fit: classes_, and what `ScalarRegressor` has.  Labels may be numbers or texts.

    Raises ValueError for a single class too.

    >>> from tinygrad_vi.data import moons
    >>> X, y = moons(60)
    >>> classifier = ScalarClassifier(random_state=0).fit(X, y)
    >>> classifier.score(X, y) > 0.9, classifier.predict_proba(X[:1]).shape
    (True, (1, 2))
    """

    def __init__(
        self,
        *,
        hidden: int | Sequence[int] = (16, 16),
        activation: Any = "tanh",
        model: Callable[..., Any] | None = None,
        start: Any = None,
        loss: Callable[[Any, Any], Any] | None = None,
        logits: bool = False,
        alpha: float = 0.0,
        optimizer: Any = "adam",
        learning_rate: float = 0.01,
        epochs: int = 200,
        batch_size: Any = "auto",
        tolerance: float | None = None,
        patience: int | None = None,
        validation_fraction: float | None = None,
        warm_start: bool = False,
        random_state: Any = None,
        backend: str = "auto",
    ) -> None:
        self.hidden = hidden
        self.activation = activation
        self.model = model
        self.start = start
        self.loss = loss
        self.logits = logits
        self.alpha = alpha
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.epochs = epochs
        self.batch_size = batch_size
        self.tolerance = tolerance
        self.patience = patience
        self.validation_fraction = validation_fraction
        self.warm_start = warm_start
        self.random_state = random_state
        self.backend = backend

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> ScalarClassifier:
        """Train a new model, or with warm_start the one there is; returns the estimator.

        y: a label for each example.  sample_weight: as in `ScalarRegressor.fit`.
        """
        return self._fit(X, y, sample_weight)  # type: ignore[no-any-return]

    def _validated(self, X: Any, y: Any, *, reset: bool) -> tuple[Any, Any]:
        X, y = validate_data(self, X, y, dtype=np.float64, reset=reset)
        check_classification_targets(y)
        return X, y

    def _known_targets(self, y: Any) -> dict[str, Any]:
        classes = np.unique(y)
        if len(classes) < 2:
            raise ValueError(
                f"a classifier needs two classes at least, of examples with weights above 0; got 1 class, {classes[0]}"
            )
        return {"classes_": classes, "n_outputs_": 1 if len(classes) == 2 else len(classes)}

    @available_if(_takes_steps)
    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> ScalarClassifier:
        """One epoch over these examples, by the optimiser as the last call has left it; returns the estimator.

        classes: all classes that there will be, which the first call needs.
        """

        def known(y: Any) -> dict[str, Any]:
            if classes is None and not hasattr(self, "model_"):
                raise ValueError("the first partial_fit needs all classes that there will be: classes=np.unique(y_all)")
            given = self._known_targets(self.classes_ if classes is None else np.asarray(classes))
            unknown = np.setdiff1d(y, given["classes_"]).tolist()
            if unknown:
                raise ValueError(f"y holds {unknown[0]!r}, which is not among the classes {given['classes_'].tolist()}")
            return given

        return self._continue(X, y, known, sample_weight)  # type: ignore[no-any-return]

    def _numbers(self, y: Any) -> Any:
        return np.searchsorted(self.classes_, y).astype(float)

    def _default_loss(self) -> Callable[[Any, Any], Any]:
        return losses.bce_with_logits if self.n_outputs_ == 1 else losses.cross_entropy

    def _loss_of_no_model(self, data: Data) -> float:
        shares = np.bincount(data.targets.astype(int), data.weights)
        shares = shares[shares > 0.0] / shares.sum()
        return -float(shares @ np.log(shares))

    def decision_function(self, X: Any) -> Any:
        """The outputs of the model: (N,) of two classes, above 0 for the second; (N, classes) of more."""
        found = self._answers(X)
        return found[:, 0] if self.n_outputs_ == 1 else found

    def predict(self, X: Any) -> Any:
        """The class of each example: the one with the largest output, the first of several that are equal."""
        found = self._answers(X)
        return self.classes_[(found[:, 0] > 0.0).astype(int) if self.n_outputs_ == 1 else found.argmax(axis=1)]

    @available_if(_has_probabilities)
    def predict_proba(self, X: Any) -> Any:
        """The probability of each class, (N, classes): the sigmoid or the softmax of the outputs."""
        found = self._answers(X)
        if self.n_outputs_ == 1:
            found = np.column_stack([-found, found])
            return np.exp(-np.logaddexp(0.0, -found))
        return np.exp(found - np.logaddexp.reduce(found, axis=1, keepdims=True))

    @available_if(_has_probabilities)
    def predict_log_proba(self, X: Any) -> Any:
        """The logarithms of `predict_proba`, exact where a probability rounds to 0 or 1."""
        found = self._answers(X)
        if self.n_outputs_ == 1:
            return -np.logaddexp(0.0, np.column_stack([found, -found]))
        return found - np.logaddexp.reduce(found, axis=1, keepdims=True)
