"""compile(): the compiled function against the eager engine, on both back ends."""

from importlib.util import find_spec

import numpy as np
import pytest
from hypothesis import given
from programs import SAME_EVERY_TIME, STEPS, Program, programs

from tinygrad_vi import (
    DomainError,
    Value,
    hessian,
    losses,
    nn,
    ops,
    value_and_grad,
)
from tinygrad_vi.compiler import compile
from tinygrad_vi.value import topological_order

BACKENDS = [
    "numpy",
    pytest.param(
        "native", marks=pytest.mark.skipif(find_spec("numba") is None, reason="the native back end needs Numba")
    ),
]
SIZES = [1, 2, 7, 8, 9, 100, 1000]


def eager(fn, parameters, *data):
    """Mean and gradient over the examples, one after the other."""
    count = len(data[0])
    value, gradient = 0.0, np.zeros(len(parameters))
    for example in zip(*[np.asarray(x, dtype=float).tolist() for x in data], strict=True):
        for p in parameters:
            p.grad = 0.0
        y = fn(*[values(x) for x in example])
        y.backward()
        value += y.data / count
        gradient += np.array([p.grad for p in parameters]) / count
    return value, gradient


def values(x):
    return [values(v) for v in x] if isinstance(x, list) else Value(x)


def agrees(fn, parameters, *data, backend, rel=1e-12):
    step = compile(fn, params=parameters, backend=backend)
    value, gradient = step.value_and_grad(step.theta, *data)
    expected_value, expected = eager(fn, parameters, *data)
    assert value == pytest.approx(expected_value, rel=rel, abs=1e-300)
    assert gradient == pytest.approx(expected, rel=rel, abs=rel * np.abs(expected).max() + 1e-300)
    return step


@pytest.mark.parametrize("N", SIZES)
@pytest.mark.parametrize("backend", BACKENDS)
def test_networks_of_every_batch_size(backend, N):
    draw = np.random.default_rng(N)
    model = nn.MLP(3, [5, 4, 2], activation=["tanh", "sigmoid", "identity"], seed=1)
    X, Y = draw.normal(size=(N, 3)), draw.integers(0, 2, size=N)
    agrees(lambda x, y: losses.cross_entropy(model(x), y), model.parameters(), X, Y, backend=backend)


LOSSES = {
    "mse": lambda y, t: losses.mse(y, [t, 1.0]),
    "sse": lambda y, t: losses.sse(y, [t, 1.0]),
    "gaussian_nll": lambda y, t: losses.gaussian_nll(y, [t, 1.0], 2.0),
    "bce": lambda y, t: losses.bce(y[0].sigmoid(), t),
    "bce_with_logits": lambda y, t: losses.bce_with_logits(y[0], t),
    "multilabel_bce": lambda y, t: losses.multilabel_bce([v.sigmoid() for v in y], [t, 1.0]),
    "cross_entropy of a class": lambda y, t: losses.cross_entropy(y, t),
    "cross_entropy of probabilities": lambda y, t: losses.cross_entropy(y, [0.3, 0.7]),
    "huber": lambda y, t: losses.huber(y, [t, 1.0], 0.1),
    "tukey_biweight": lambda y, t: losses.tukey_biweight(y[0], t),
    "hinge": lambda y, t: losses.hinge(y[0], 2.0 * t - 1.0),
    "l1": lambda y, t: losses.mse(y, [t, 1.0]) + losses.l1([y[0], y[1]], 0.1),
}


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("backend", BACKENDS)
def test_every_loss(backend, name):
    model = nn.MLP(2, [3, 2], activation="tanh", output_activation="identity", seed=4)
    draw = np.random.default_rng(1)
    X, Y = draw.normal(size=(6, 2)), draw.integers(0, 2, size=6)
    agrees(
        lambda x, t: LOSSES[name](model(x), t) + losses.l2(model.parameters(), 1e-3),
        model.parameters(),
        X,
        Y,
        backend=backend,
    )


@pytest.mark.parametrize("cell", ["RNNCell", "GRUCell", "LSTMCell"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_recurrent_networks(backend, cell):
    model = nn.RNN(getattr(nn, cell)(2, 3, seed=1))
    parameters = model.parameters()

    def loss(xs, t):
        outputs = model(xs)
        return losses.sse(outputs[-1], [t, 0.5, -0.5])

    draw = np.random.default_rng(1)
    agrees(loss, parameters, draw.normal(size=(5, 4, 2)), draw.normal(size=5), backend=backend)


@pytest.mark.parametrize("mapped", [0, 1, 2])
@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_every_operation_with_second_derivatives(backend, name, mapped):
    program = Program(3)
    STEPS[name](program, 0, 1, 2)
    f = lambda *xs: Value(0.0) + program.run(xs, ops.apply)  # noqa: E731
    at = [0.3, -0.7, 0.9]
    if mapped:
        fn = lambda p, x: f(*p, *x)  # noqa: E731
        theta, X = at[: 3 - mapped], np.outer(np.linspace(1.0, 1.1, 9), at[3 - mapped :])
        data = (X,)
    else:
        fn, theta, data, X = lambda p: f(*p), at, (), np.zeros((1, 0))
    step = compile(fn, backend=backend)
    expected = [value_and_grad(lambda *p, x=x: f(*p, *x))(*theta) for x in X.tolist()]
    value, gradient = step.value_and_grad(theta, *data)
    assert value == pytest.approx(np.mean([y for y, _ in expected]), rel=1e-12, abs=1e-13)
    assert gradient == pytest.approx(np.mean([np.atleast_1d(g) for _, g in expected], axis=0), rel=1e-12, abs=1e-13)
    curvature = [np.reshape(hessian(lambda *p, x=x: f(*p, *x))(*theta), (len(theta), -1)) for x in X.tolist()]
    assert step.hessian(theta, *data) == pytest.approx(np.mean(curvature, axis=0), rel=1e-10, abs=1e-12)
    each = step.each(theta, *data)
    assert np.ravel(each) == pytest.approx([y for y, _ in expected], rel=1e-12, abs=1e-13)
    rows = step.jacobian(theta, *data).reshape(len(X), -1)
    assert rows == pytest.approx(np.array([np.atleast_1d(g) for _, g in expected]), rel=1e-12, abs=1e-13)
    v = [0.2, -1.3, 0.7][: len(theta)]
    assert step.jvp(theta, v, *data) == pytest.approx((value, float(gradient @ v)), rel=1e-11, abs=1e-13)


def depends(f, at, n):
    """Whether the first n numbers are used at all."""
    xs = [Value(x) for x in at]
    return any(p in xs[:n] for node in topological_order([f(*xs)]) for p in node.parents)


@pytest.mark.parametrize("backend", BACKENDS)
def test_random_programs(backend):
    @SAME_EVERY_TIME
    @given(programs(60))
    def same(drawn):
        program, at, _ = drawn
        f = lambda *xs: Value(0.0) + program.run(xs, ops.apply)  # noqa: E731
        for mapped in (0, len(at) // 2):
            n = len(at) - mapped
            if mapped and n:
                X = np.array([at[n:], [0.5 * x for x in at[n:]], at[n:]])
                step = compile(lambda p, x: f(*p, *x), backend=backend)
                data = (X,)
            else:
                n, X, data, step = len(at), np.zeros((1, 0)), (), compile(lambda p: f(*p), backend=backend)
            try:
                expected = [value_and_grad(lambda *p, x=x: f(*p, *x))(*at[:n]) for x in X.tolist()]
            except DomainError:
                continue
            if not depends(f, at, n):
                continue
            value, gradient = step.value_and_grad(at[:n], *data)
            assert value == pytest.approx(np.mean([y for y, _ in expected]), rel=1e-10, abs=1e-11)
            want = np.mean([np.atleast_1d(g) for _, g in expected], axis=0)
            assert gradient == pytest.approx(want, rel=1e-10, abs=1e-10 * (1.0 + np.abs(want).max()))

    same()
