"""The estimators: scikit-learn's own checks, and its linear models and networks as judges."""

import copy
import os
import pickle
import random
import subprocess
import sys
import types
import warnings

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="the estimators are scikit-learn's: pip install scikit-learn")

from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_diabetes, load_iris, make_moons
from sklearn.ensemble import VotingClassifier
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.inspection import permutation_importance
from sklearn.linear_model import HuberRegressor, LinearRegression, LogisticRegression, QuantileRegressor, Ridge
from sklearn.model_selection import GridSearchCV, cross_val_score, cross_validate, learning_curve
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import tinygrad_vi
from tinygrad_vi import exp, losses, nn, optim, relu, sigmoid, take
from tinygrad_vi.checks import ShapeError
from tinygrad_vi.estimators import ScalarClassifier, ScalarRegressor
from tinygrad_vi.training import TrainingError

IRIS = load_iris(return_X_y=True)
MOONS = make_moons(120, noise=0.2, random_state=0)
LBFGS = {"hidden": (), "optimizer": "lbfgs", "tolerance": 1e-9, "epochs": 5000, "random_state": 0}


def scaled_diabetes():
    X, y = load_diabetes(return_X_y=True)
    return StandardScaler().fit_transform(X), (y - y.mean()) / y.std()


DIABETES = scaled_diabetes()


def linear(estimator):
    """Coefficients and intercepts of a network without hidden layers."""
    neurons = estimator.model_.layers[0].neurons
    return np.array([[w.data for w in n.w] for n in neurons]), np.array([n.b.data for n in neurons])


# What can be pickled stands at the top of a module.


def hinge(output, target):
    return losses.hinge(output, 2 * target - 1)


def half_squares(output, target):
    return 0.5 * losses.mse(output, target)


class SmallNetwork(nn.MLP):
    def __init__(self, n_inputs, n_outputs, seed):
        super().__init__(n_inputs, [5, n_outputs], "tanh", seed=seed)


def dropping_network(n_inputs, n_outputs, seed):
    return nn.MLP(n_inputs, [6, n_outputs], "tanh", dropout=0.3, seed=seed)


# --- scikit-learn's own checks ----------------------------------------------------------------------------------------


@parametrize_with_checks(
    [
        ScalarClassifier(),
        ScalarRegressor(),
        ScalarClassifier(optimizer="lbfgs"),
        ScalarRegressor(optimizer="lbfgs"),
        ScalarClassifier(model=SmallNetwork, optimizer="sgd"),
    ]
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_the_checks_of_scikit_learn(estimator, check):
    check(estimator)


# --- Judges -----------------------------------------------------------------------------------------------------------


def test_a_linear_network_is_logistic_regression():
    X, y = StandardScaler().fit_transform(MOONS[0]), MOONS[1]
    theirs = LogisticRegression(C=0.7, tol=1e-10, max_iter=10000).fit(X, y)
    ours = ScalarClassifier(**LBFGS, alpha=1 / (0.7 * len(y))).fit(X, y)
    W, b = linear(ours)
    np.testing.assert_allclose(W, theirs.coef_, rtol=1e-6)
    np.testing.assert_allclose(b, theirs.intercept_, rtol=1e-6)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), rtol=1e-6)
    np.testing.assert_allclose(ours.predict_log_proba(X), theirs.predict_log_proba(X), rtol=1e-6)
    np.testing.assert_allclose(ours.decision_function(X), theirs.decision_function(X), rtol=1e-5)


def test_of_several_classes_too():
    X, y = StandardScaler().fit_transform(IRIS[0]), IRIS[1]
    theirs = LogisticRegression(C=2.0, tol=1e-10, max_iter=10000).fit(X, y)
    ours = ScalarClassifier(**LBFGS, alpha=1 / (2.0 * len(y))).fit(X, y)
    np.testing.assert_allclose(linear(ours)[0], theirs.coef_, atol=1e-6)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-6)
    np.testing.assert_allclose(ours.predict_log_proba(X), theirs.predict_log_proba(X), atol=1e-5)


def test_probabilities_keep_their_logarithm_where_they_round_to_0():
    X = [[-1.0], [1.0]] * 5
    ours = ScalarClassifier(**LBFGS, alpha=1e-3).fit(X, [0, 1] * 5)
    [[low, high]] = ours.predict_log_proba([[1e3]])
    a = ours.decision_function([[1e3]])[0]
    assert a > 1000.0
    assert (low, high) == (-a, 0.0)
    assert ours.predict_proba([[1e3]]).tolist() == [[0.0, 1.0]]


@pytest.mark.parametrize("weighted", [False, True])
def test_a_linear_network_is_ridge_regression(weighted):
    X, y = DIABETES
    w = np.random.default_rng(0).uniform(0.1, 3.0, len(y)) if weighted else np.ones(len(y))
    theirs = Ridge(alpha=30.0).fit(X, y, sample_weight=w)
    ours = ScalarRegressor(**LBFGS, alpha=2 * 30.0 / w.sum()).fit(X, y, sample_weight=w if weighted else None)
    W, b = linear(ours)
    np.testing.assert_allclose(W[0], theirs.coef_, atol=1e-7)
    np.testing.assert_allclose(b[0], theirs.intercept_, atol=1e-7)


def test_several_targets_are_as_many_regressions():
    X, y = DIABETES
    Y = np.column_stack([y, y**2, np.sin(y)])
    ours = ScalarRegressor(**LBFGS).fit(X, Y)
    assert ours.n_outputs_ == 3
    np.testing.assert_allclose(ours.predict(X), LinearRegression().fit(X, Y).predict(X), atol=1e-5)
    one = ScalarRegressor(**LBFGS).fit(X, Y[:, :1])
    assert one.predict(X).shape == (len(X), 1)
    np.testing.assert_allclose(one.predict(X)[:, 0], ours.predict(X)[:, 0], atol=1e-5)


def test_an_own_huber_loss_is_huber_regression():
    """Theirs makes sum(s + H((y - Xw) / s) s) + alpha w**2 small, by the scale s too; H is two Huber losses."""
    X, y = DIABETES
    y = y + 20.0 * (np.arange(len(y)) % 17 == 0)
    theirs = HuberRegressor(epsilon=1.35, alpha=5.0, tol=1e-9, max_iter=10000).fit(X, y)
    scale = theirs.scale_
    ours = ScalarRegressor(
        **LBFGS,
        loss=lambda output, target: losses.huber(output, target, delta=1.35 * scale),
        alpha=scale * 5.0 / len(y),
    ).fit(X, y)

    def objective(estimator, w):
        r = np.abs(y - estimator.predict(X)) / scale
        return scale * np.where(r < 1.35, r**2, 2 * 1.35 * r - 1.35**2).sum() + 5.0 * w @ w

    W = linear(ours)[0][0]
    np.testing.assert_allclose(W, theirs.coef_, atol=1e-4)
    assert objective(theirs, theirs.coef_) - 1e-6 < objective(ours, W) < objective(theirs, theirs.coef_)
    assert np.abs(ours.predict(X) - Ridge(alpha=5.0).fit(X, y).predict(X)).max() > 0.5


def test_an_own_pinball_loss_is_quantile_regression():
    X, y = DIABETES[0][:, :3], DIABETES[1]

    def pinball(output, target):
        return 0.9 * relu(target - output) + 0.1 * relu(output - target)

    def loss_of(estimator):
        r = y - estimator.predict(X)
        return np.mean(np.maximum(0.9 * r, -0.1 * r))

    theirs = QuantileRegressor(quantile=0.9, alpha=0.0).fit(X, y)
    ours = ScalarRegressor(hidden=(), loss=pinball, learning_rate=0.003, epochs=1500, batch_size=None, random_state=0)
    ours.fit(X, y)
    assert loss_of(theirs) <= loss_of(ours) < loss_of(theirs) * 1.002
    assert loss_of(LinearRegression().fit(X, y)) > loss_of(theirs) * 1.5
    assert np.mean(y <= ours.predict(X)) == pytest.approx(0.9, abs=0.02)


def with_our_weights(theirs, model, X, y):
    """A network of scikit-learn that begins with the weights of ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        theirs.set_params(max_iter=1, warm_start=True).fit(X, y)
    for k, layer in enumerate(model.layers):
        theirs.coefs_[k] = np.array([[w.data for w in neuron.w] for neuron in layer.neurons]).T.copy()
        theirs.intercepts_[k] = np.array([neuron.b.data for neuron in layer.neurons])
    return theirs


def test_lbfgs_takes_the_steps_of_their_network():
    X, y = DIABETES
    ours = ScalarRegressor(hidden=(5,), loss=half_squares, optimizer="lbfgs", alpha=0.3 / len(y), epochs=15)
    start = clone(ours).set_params(random_state=0, optimizer="sgd", learning_rate=0.0, epochs=1).fit(X, y)
    theirs = MLPRegressor(hidden_layer_sizes=(5,), activation="tanh", solver="lbfgs", alpha=0.3, tol=1e-9)
    with pytest.warns(ConvergenceWarning):
        with_our_weights(theirs, start.model_, X, y).set_params(max_iter=15).fit(X, y)
    with pytest.warns(ConvergenceWarning, match="lbfgs has not converged.*More epochs"):
        ours.set_params(random_state=0).fit(X, y)
    assert ours.n_iter_ == len(ours.loss_curve_) == 15
    assert ours.loss_ == pytest.approx(theirs.loss_, rel=1e-9)
    np.testing.assert_allclose(ours.predict(X), theirs.predict(X), atol=1e-6)


def test_adam_takes_the_steps_of_their_network():
    X, y = StandardScaler().fit_transform(IRIS[0]), IRIS[1]
    ours = ScalarClassifier(hidden=(6, 4), alpha=0.5 / len(y), random_state=0)
    start = clone(ours).set_params(optimizer="sgd", learning_rate=0.0, epochs=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        start.fit(X, y)
        theirs = MLPClassifier(
            hidden_layer_sizes=(6, 4), activation="tanh", alpha=0.5, learning_rate_init=0.01, shuffle=False
        )
        with_our_weights(theirs, start.model_, X, y)
        theirs._optimizer = None
        del theirs._optimizer
        theirs.set_params(max_iter=60, n_iter_no_change=1000).fit(X, y)
    ours.set_params(epochs=60).fit(X, y)
    np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_[-60:], rtol=1e-5)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-5)


def test_a_function_of_parameters_is_fitted():
    x = np.linspace(0.0, 4.0, 60)
    decay = ScalarRegressor(
        model=lambda p, x: p["height"] * exp(-p["rate"] * x[0]) + p["rest"],
        start={"height": 1.0, "rate": 1.0, "rest": 0},
        optimizer="lbfgs",
        tolerance=1e-12,
    ).fit(x[:, None], 3.0 * np.exp(-0.7 * x) + 0.5)
    found = {name: value.data for name, value in decay.model_.params.items()}
    assert found == pytest.approx({"height": 3.0, "rate": 0.7, "rest": 0.5}, rel=1e-5)
    assert decay.start == {"height": 1.0, "rate": 1.0, "rest": 0}
    again = clone(decay).fit(x[:, None], 3.0 * np.exp(-0.7 * x) + 0.5)
    assert np.array_equal(again.predict(x[:, None]), decay.predict(x[:, None]))


def test_an_own_loss_of_several_classes_looks_its_class_up():
    def focal(output, target):
        log_p = take(losses.log_softmax(output), target)
        return -((1 - exp(log_p)) ** 2) * log_p

    X, y = IRIS
    names = np.array(["setosa", "versicolor", "virginica"])
    ours = ScalarClassifier(loss=focal, logits=True, random_state=0).fit(X, names[y])
    assert ours.classes_.tolist() == names.tolist()
    assert ours.score(X, names[y]) > 0.95
    assert ours.predict_proba(X).sum(axis=1) == pytest.approx(np.ones(len(y)))
    a = ours.decision_function(X)
    log_p = (a - np.log(np.exp(a).sum(axis=1, keepdims=True)))[np.arange(len(y)), y]
    assert np.mean(-((1 - np.exp(log_p)) ** 2) * log_p) == pytest.approx(ours.loss_, rel=0.05)


# --- Weights ----------------------------------------------------------------------------------------------------------


def test_a_whole_weight_is_so_many_copies_and_0_leaves_an_example_out():
    X, y = MOONS
    weights = np.arange(len(y)) % 3
    ours = ScalarClassifier(random_state=0, alpha=1e-3, epochs=50, batch_size=None).fit(X, y, sample_weight=weights)
    copies = clone(ours).fit(np.repeat(X, weights, axis=0), np.repeat(y, weights))
    without = clone(ours).fit(X[weights > 0], y[weights > 0], sample_weight=5.0 * weights[weights > 0])
    np.testing.assert_allclose(ours.decision_function(X), copies.decision_function(X), rtol=1e-7)
    np.testing.assert_allclose(ours.decision_function(X), without.decision_function(X), rtol=1e-7)
    np.testing.assert_allclose(ours.loss_curve_, copies.loss_curve_, rtol=1e-9)
    assert np.abs(ours.decision_function(X) - clone(ours).fit(X, y).decision_function(X)).max() > 0.1


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        (-1.0, "numbers of at least 0, got -1.0"),
        ([1.0, 2.0], "a number for each of the 120 examples"),
        (np.ones((120, 1)), "got the shape"),
        (np.zeros(120), "zero for every example"),
        (np.full(120, np.nan), "sample_weight contains NaN"),
        (MOONS[1], "weights above 0; got 1 class, 1"),
    ],
)
def test_weights_that_are_none_are_refused(weights, said):
    with pytest.raises(ValueError, match=said):
        ScalarClassifier().fit(*MOONS, sample_weight=weights)


# --- Partial fits, warm starts, stopping ------------------------------------------------------------------------------


def test_epochs_one_by_one_are_a_fit():
    X, y = IRIS
    whole = ScalarClassifier(random_state=0, epochs=8, alpha=0.01).fit(X, y)
    parts = ScalarClassifier(random_state=0, alpha=0.01)
    for _ in range(4):
        parts.partial_fit(X, y, classes=[0, 1, 2])
    parts = pickle.loads(pickle.dumps(parts))  # with the state of Adam
    parts = copy.deepcopy(parts)
    for _ in range(4):
        parts.partial_fit(X, y)
    assert parts.n_iter_ == 8
    assert parts.loss_curve_ == whole.loss_curve_
    assert np.array_equal(parts.predict_proba(X), whole.predict_proba(X))


def test_a_partial_fit_sees_that_its_loss_was_changed():
    X, y = MOONS
    ours = ScalarRegressor(random_state=0, optimizer="sgd").partial_fit(X, y)
    other = copy.deepcopy(ours).set_params(loss=half_squares, learning_rate=0.02)
    np.testing.assert_allclose(ours.partial_fit(X, y).predict(X), other.partial_fit(X, y).predict(X), rtol=1e-12)


def test_a_partial_fit_knows_its_classes_from_the_first_call():
    X, y = IRIS
    with pytest.raises(ValueError, match="the first partial_fit needs all classes"):
        ScalarClassifier().partial_fit(X, y)
    ours = ScalarClassifier().partial_fit(X[:60], y[:60], classes=[0, 1, 2])
    assert ours.predict_proba(X).shape == (150, 3)
    with pytest.raises(ValueError, match="y holds 7, which is not among the classes"):
        ours.partial_fit(X, y + 5 * (y == 2))
    with pytest.raises(ValueError, match=r"classes was array.*clone"):
        ours.partial_fit(X, y, classes=[0, 1, 2, 3])
    assert ours.classes_.tolist() == [0, 1, 2]
    assert not hasattr(ScalarClassifier(optimizer="lbfgs"), "partial_fit")
    with pytest.raises(ValueError, match="patience and validation_fraction are for fit"):
        ScalarRegressor(patience=3).partial_fit(X, y)


def test_a_warm_start_goes_on():
    X, y = IRIS
    ours = ScalarClassifier(random_state=0, optimizer="sgd", learning_rate=0.05, epochs=10, warm_start=True)
    first = ours.fit(X, y).loss_
    model = ours.model_
    assert ours.fit(X, y).model_ is model
    assert ours.loss_ < first
    twenty = clone(ours).set_params(epochs=20).fit(X, y)
    assert ours.loss_curve_ == twenty.loss_curve_[10:]
    with pytest.raises(ValueError, match="goes on with the model there is, whose classes was"):
        ours.fit(X[:100], y[:100])
    assert ours.classes_.tolist() == [0, 1, 2]


def test_patience_looks_at_what_is_held_out():
    X, y = DIABETES
    ours = ScalarRegressor(
        random_state=0, learning_rate=0.03, validation_fraction=0.25, patience=8, epochs=1000, hidden=(30,)
    ).fit(X, y)
    assert ours.n_iter_ == len(ours.loss_curve_) == len(ours.validation_loss_curve_) < 1000
    assert min(ours.validation_loss_curve_) == ours.validation_loss_curve_[-9]
    assert ours.score(X, y) > 0.5
    assert ScalarRegressor(epochs=60, random_state=0).fit(X, y).validation_loss_curve_ is None


def test_a_training_that_has_not_come_to_its_end_says_so():
    X, y = IRIS
    with pytest.warns(ConvergenceWarning, match="patience has not stopped the training.*More epochs"):
        ScalarClassifier(random_state=0, epochs=30, patience=5).fit(X, y)
    with pytest.warns(ConvergenceWarning, match=r"above that of one answer for all examples, 5\.93e\+03: scale"):
        ScalarRegressor(random_state=0).fit(*load_diabetes(return_X_y=True))


# --- In scikit-learn's tools ------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_search_over_layers_and_own_losses_in_two_processes():
    search = GridSearchCV(
        make_pipeline(StandardScaler(), ScalarClassifier(epochs=60, random_state=0)),
        {
            "scalarclassifier__hidden": [(4,), (8, 8)],
            "scalarclassifier__loss": [None, lambda output, target: losses.hinge(output, 2 * target - 1)],
        },
        cv=3,
        n_jobs=2,
    ).fit(*MOONS)
    alone = clone(search).set_params(n_jobs=None).fit(*MOONS)
    assert np.array_equal(search.cv_results_["mean_test_score"], alone.cv_results_["mean_test_score"])
    assert search.best_score_ > 0.85


@pytest.mark.slow
def test_the_usual_tools_take_it():
    X, y = IRIS
    fast = ScalarClassifier(epochs=30, random_state=0)
    assert cross_val_score(make_pipeline(StandardScaler(), fast), X, y).mean() > 0.85
    assert VotingClassifier([("a", fast), ("b", clone(fast))], voting="soft").fit(X, y).score(X, y) > 0.9
    assert learning_curve(fast, X, y, cv=3, shuffle=True, random_state=0)[2].shape == (5, 3)
    importances = permutation_importance(fast.fit(X, y), X, y, n_repeats=2, random_state=0).importances_mean
    assert importances[2:].min() > importances[:2].max()
    calibrated = CalibratedClassifierCV(ScalarClassifier(loss=hinge, random_state=0)).fit(*MOONS)
    assert calibrated.predict_proba(MOONS[0]).shape == (120, 2)
    scaled = TransformedTargetRegressor(ScalarRegressor(random_state=0, epochs=60), transformer=StandardScaler())
    assert make_pipeline(StandardScaler(), scaled).fit(*load_diabetes(return_X_y=True))[-1].regressor_.n_iter_ == 60


def test_data_frames_keep_their_names():
    pd = pytest.importorskip("pandas", reason="data frames are those of pandas: pip install pandas")
    frame = load_iris(as_frame=True)
    labels = pd.Series(frame.target_names[frame.target], dtype="string")
    pipeline = make_pipeline(StandardScaler(), ScalarClassifier(epochs=60, random_state=0)).set_output(
        transform="pandas"
    )
    ours = pipeline.fit(frame.data, labels)[-1]
    assert ours.feature_names_in_.tolist() == frame.feature_names
    assert ours.classes_.tolist() == ["setosa", "versicolor", "virginica"]
    with pytest.raises(ValueError, match="feature names"):
        ours.predict(frame.data[frame.data.columns[::-1]])


def test_weights_are_routed():
    from sklearn import config_context

    X, y = IRIS
    with config_context(enable_metadata_routing=True):
        ours = ScalarClassifier(epochs=60, random_state=0).set_fit_request(sample_weight=True)
        ours.set_score_request(sample_weight=False)
        found = cross_validate(ours, X, y, params={"sample_weight": np.arange(150) % 2}, error_score="raise")
    assert len(found["test_score"]) == 5


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"batch_size": 7, "epochs": 3},
        {"validation_fraction": 0.2, "patience": 200},
        {"model": dropping_network, "batch_size": 32, "epochs": 5},
    ],
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_the_random_state_decides_all_that_is_random(settings):
    X, y = IRIS
    ours = ScalarClassifier(random_state=3, **settings).fit(X, y)
    before = random.getstate()
    again = clone(ours).fit(X, y)
    assert random.getstate() == before
    assert np.array_equal(ours.decision_function(X), again.decision_function(X))
    other = clone(ours).set_params(random_state=4).fit(X, y)
    assert not np.array_equal(ours.decision_function(X), other.decision_function(X))


def test_it_is_pickled_with_functions_of_a_module():
    X, y = MOONS
    ours = ScalarClassifier(loss=hinge, model=SmallNetwork, optimizer=optim.SGD, random_state=0, epochs=5).fit(X, y)
    again = pickle.loads(pickle.dumps(ours))
    assert np.array_equal(again.decision_function(X), ours.decision_function(X))
    assert np.array_equal(again.partial_fit(X, y).decision_function(X), ours.partial_fit(X, y).decision_function(X))


def test_threads_disturb_nobody():
    from concurrent.futures import ThreadPoolExecutor

    def answers(seed):
        return ScalarClassifier(random_state=seed, epochs=20).fit(*IRIS).decision_function(IRIS[0])

    with ThreadPoolExecutor(3) as threads:
        together = list(threads.map(answers, range(4)))
    for seed, found in enumerate(together):
        assert np.array_equal(found, answers(seed))


@pytest.mark.slow
def test_the_numbers_do_not_depend_on_the_threads_of_the_machine():
    code = (
        "import hashlib, warnings, numpy as np; from tinygrad_vi.estimators import ScalarRegressor;"
        "warnings.simplefilter('ignore'); X = np.random.default_rng(0).normal(size=(400, 60)); y = np.sin(X).sum(axis=1);"
        "ours = ScalarRegressor(hidden=(64,), optimizer='lbfgs', epochs=10, random_state=0, backend='numpy').fit(X, y);"
        "print(ours.loss_.hex(), hashlib.md5(ours.predict(X).tobytes()).hexdigest())"
    )
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            check=True,
            capture_output=True,
            text=True,
            env={**os.environ, **dict.fromkeys(names, n)},
        ).stdout
        for n in ("1", "2", "4")
    }
    assert len(found) == 1


# --- What is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "kind", "said"),
    [
        ({"hidden": (0,)}, ValueError, "the number of neurons must be a whole number"),
        ({"hidden": "16"}, ValueError, r"hidden has the size of each hidden layer, hidden=\(16, 16\)"),
        ({"hidden": [4.5]}, ValueError, "hidden has the size of each hidden layer"),
        ({"activation": "rellu"}, ValueError, "did you mean 'relu'"),
        ({"optimizer": "lbgfs"}, ValueError, "one of 'adam', 'adamw', 'sgd', 'rmsprop', 'lbfgs', or a function"),
        ({"optimizer": optim.Adam(nn.MLP(1, [1]))}, TypeError, "give a function that makes it"),
        ({"optimizer": lambda params: len(params)}, TypeError, "optimizer makes an optimiser of the parameters"),
        ({"optimizer": "lbfgs", "batch_size": 3}, ValueError, "lbfgs takes all examples at once"),
        ({"optimizer": "lbfgs", "patience": 3}, ValueError, "lbfgs stops by tolerance"),
        ({"optimizer": "lbfgs", "model": dropping_network}, ValueError, "Dropout draws it anew: take 'adam'"),
        ({"optimizer": "lbfgs", "tolerance": -1.0}, ValueError, "tolerance must be"),
        ({"learning_rate": -1.0}, ValueError, "the learning rate must be"),
        ({"learning_rate": 1e300, "optimizer": "sgd"}, TrainingError, "a smaller learning rate may help"),
        ({"epochs": 0}, ValueError, "epochs must be a whole number of at least 1"),
        ({"batch_size": "all"}, ValueError, "batch_size .* must be a whole number"),
        ({"alpha": -1.0}, ValueError, "alpha must be"),
        ({"validation_fraction": 2}, ValueError, "a number between 0 and 1, or None, got 2"),
        ({"loss": "mse"}, TypeError, "loss is a function of the output and the target"),
        ({"loss": lambda output: output}, TypeError, "loss is a function of the output and the target"),
        ({"loss": lambda output, target: 3.0}, ValueError, "does not depend on the parameters"),
        ({"loss": lambda output, target: output if output > target else target}, TypeError, r"Write where\(c, x, y\)"),
        (
            {"model": nn.MLP(10, [1])},
            TypeError,
            "give a function that makes it, model=lambda n_inputs, n_outputs, seed",
        ),
        ({"model": lambda: nn.MLP(10, [1])}, TypeError, "the number of inputs, the number of outputs and a seed"),
        ({"model": lambda p, x: p[0] * x[0]}, TypeError, r"a function f\(params, x\) in scalar code, beside start="),
        ({"model": lambda i, o, s: nn.MLP(i, [3])}, ShapeError, "gives 3 outputs for an example, and 1 are wanted"),
        ({"model": lambda i, o, s: nn.MLP(3, [o])}, ShapeError, "MLP expects 3 inputs, got 10"),
        ({"model": lambda i, o, s: print}, TypeError, "model makes a Module"),
        ({"start": [1.0]}, TypeError, r"start= belongs to model=f, a function f\(params, x\)"),
        ({"start": [], "model": lambda p, x: x[0]}, ValueError, "start holds no numbers"),
        ({"backend": "x"}, ValueError, "backend is one of"),
    ],
)
def test_settings_that_cannot_be_say_what_to_write(settings, kind, said):
    ours = ScalarRegressor(**{"epochs": 3, "random_state": 0, **settings})
    with pytest.raises(kind, match=said):
        ours.fit(*DIABETES)
    assert not hasattr(ours, "model_")
    assert not hasattr(ours, "n_features_in_")


def test_data_that_cannot_be_are_refused():
    sparse = pytest.importorskip("scipy.sparse", reason="sparse matrices are SciPy's: pip install scipy")
    X, y = MOONS
    with pytest.raises(TypeError, match="dense data is required"):
        ScalarClassifier().fit(sparse.csr_array(X), y)
    with pytest.raises(ValueError, match="X contains NaN"):
        ScalarClassifier().fit(np.where(X > 1.0, np.nan, X), y)
    with pytest.raises(ValueError, match=r"two classes at least.*got 1 class, 0"):
        ScalarClassifier().fit(X, 0 * y)
    with pytest.raises(ValueError, match="1d array"):
        ScalarClassifier().fit(X, np.column_stack([y, y]))
    with pytest.raises(ValueError, match="continuous"):
        ScalarClassifier().fit(X, y + 0.5 * X[:, 0])
    with pytest.raises(ValueError, match="could not convert string to float"):
        ScalarRegressor().fit(X, y.astype(str) + "a")
    with pytest.raises(NotFittedError):
        ScalarRegressor().predict(X)
    with pytest.raises(ValueError, match="X has 3 features, but ScalarClassifier is expecting 2"):
        ScalarClassifier(epochs=20, random_state=0).fit(X, y).predict(np.ones((1, 3)))


def test_a_fit_that_fails_leaves_the_last_one_whole():
    ours = ScalarClassifier(epochs=5, random_state=0).fit(*MOONS)
    before = ours.predict_proba(MOONS[0])
    with pytest.raises(ShapeError):
        ours.set_params(loss=losses.hinge).fit(*IRIS)
    assert ours.n_features_in_ == 2
    assert np.array_equal(ours.set_params(loss=None).predict_proba(MOONS[0]), before)


def test_scores_of_an_own_loss_are_no_probabilities_unless_one_says_so():
    ours = ScalarClassifier(loss=hinge, epochs=5).fit(*MOONS)
    with pytest.raises(AttributeError) as raised:
        ours.predict_proba(MOONS[0])
    assert "logits=True says" in str(raised.value.__cause__)
    assert not hasattr(ours, "predict_log_proba")
    assert hasattr(ScalarClassifier(loss=losses.cross_entropy), "predict_proba")
    assert hasattr(ours.set_params(logits=True), "predict_proba")


def test_an_interrupted_search_is_interrupted():
    def interrupted(output, target):  # noqa: ARG001
        raise KeyboardInterrupt

    ours = ScalarRegressor(loss=interrupted)
    with pytest.raises(KeyboardInterrupt):
        ours.fit(*DIABETES)
    assert not hasattr(ours, "model_")


# --- The package without scikit-learn ---------------------------------------------------------------------------------


def test_scikit_learn_is_imported_when_an_estimator_is_asked_for():
    code = (
        "import sys, tinygrad_vi.estimators as e; assert e.__all__; assert 'sklearn' not in sys.modules;"
        "e.ScalarRegressor; assert 'sklearn' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_it_or_with_an_old_one_one_is_told_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.utils.validation", None)
    with pytest.raises(ImportError, match="ScalarRegressor needs the package scikit-learn: pip install scikit-learn"):
        tinygrad_vi.estimators.ScalarRegressor  # noqa: B018
    monkeypatch.setitem(sys.modules, "sklearn.utils.validation", types.ModuleType("sklearn.utils.validation"))
    with pytest.raises(ImportError, match=r"needs scikit-learn 1\.6 or later"):
        tinygrad_vi.estimators.ScalarRegressor  # noqa: B018
    with pytest.raises(AttributeError, match="ScalarRegresor"):
        tinygrad_vi.estimators.ScalarRegresor  # noqa: B018


def test_sigmoid_outputs_are_told_to_the_user():
    with pytest.warns(UserWarning, match="applies the sigmoid itself"):
        ScalarClassifier(model=lambda p, x: sigmoid(p[0] * x[0] + p[1]), start=[0.1, 0.1], epochs=2).fit(*MOONS)
