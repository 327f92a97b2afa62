"""compile(): the compiled function against the eager engine, on both back ends."""

import builtins
import copy
import math
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from programs import SAME_EVERY_TIME, STEPS, Program, programs

from tinygrad_vi import (
    DomainError,
    ShapeError,
    TrainingError,
    Value,
    dot,
    exp,
    fit,
    functions,
    hessian,
    log,
    losses,
    nn,
    ops,
    optim,
    tanh,
    total,
    value_and_grad,
)
from tinygrad_vi.compiler import compile
from tinygrad_vi.graph import topological_order
from tinygrad_vi.rows import apply, row

compile_text = builtins.compile
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
    "multilabel_bce": lambda y, t: losses.multilabel_bce(y, [t, 1.0]),
    "cross_entropy of a class": lambda y, t: losses.cross_entropy(y, t),
    "cross_entropy of probabilities": lambda y, t: losses.cross_entropy(y, [0.3, 0.7]),
    "huber": lambda y, t: losses.huber(y, [t, 1.0], delta=0.1),
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
    f = lambda *xs: Value(0.0) + program.run(xs, apply)  # noqa: E731
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
    return any(p in {*xs[:n]} for node in topological_order([f(*xs)]) for p in node.parents)


MANY = settings(SAME_EVERY_TIME, max_examples=250)


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("copies", [1, 3], ids=["without structure", "with structure"])
def test_random_programs(backend, copies):
    """Half of the numbers are parameters, half are data; with structure, several copies share the parameters."""

    @MANY
    @given(programs(60), st.sampled_from(SIZES))
    def same(drawn, N):
        program, at, _ = drawn
        f = lambda *xs: Value(0.0) + program.run(xs, apply)  # noqa: E731
        n = max(1, len(at) // 2)
        rows = [[(1.0 - 0.1 * k) * x for x in at[n:]] for k in range(min(N, 5))]
        fn = lambda p, x: total([f(*p, *[v * (1.0 - 0.05 * c) for v in x]) for c in range(copies)]) / copies  # noqa: E731
        try:
            found = [value_and_grad(lambda *p, x=x: fn(p, [Value(v) for v in x]))(*at[:n]) for x in rows]
        except DomainError:
            return
        if not depends(f, at, n):
            return
        weights = np.bincount(np.arange(N) % len(rows), minlength=len(rows)) / N
        data = (np.array([rows[i % len(rows)] for i in range(N)]),) if at[n:] else ()
        step = compile(fn if data else lambda p: fn(p, []), backend=backend)
        value, gradient = step.value_and_grad(at[:n], *data)
        assert value == pytest.approx(weights @ [y for y, _ in found], rel=1e-10, abs=1e-11)
        want = weights @ [np.atleast_1d(g) for _, g in found]
        assert gradient == pytest.approx(want, rel=1e-10, abs=1e-10 * (1.0 + np.abs(want).max()))

    same()


# --- What it is written as --------------------------------------------------------------------------------------------


def executed(text):
    namespace = {}
    exec(compile_text(text, "<source>", "exec"), namespace)
    return namespace


def test_the_source_of_a_network_reads_like_a_textbook():
    model = nn.MLP(3, [4, 2], activation="tanh", output_activation="identity", seed=1)
    step = compile(lambda x, y: losses.sse(model(x), y), model.parameters(), backend="numpy")
    draw = np.random.default_rng(0)
    X, Y = draw.normal(size=(5, 3)), draw.normal(size=(5, 2))
    value, gradient = step.value_and_grad(step.theta, X, Y)
    text = step.source
    assert (
        text.split("def value_and_gradient")[1].splitlines()
        == """(theta, x, y):
    N = len(x)
    x = np.reshape(x, (N, -1)).T
    y = np.reshape(y, (N, -1)).T
    share = np.full((1, N), 1 / N)
    W1 = theta[0:16].reshape(4, 4)[:, 0:3]
    b1 = theta[0:16].reshape(4, 4)[:, 3:4]
    W2 = theta[16:26].reshape(2, 5)[:, 0:4]
    b2 = theta[16:26].reshape(2, 5)[:, 4:5]
    a1 = W1 @ x + b1
    h1 = np.tanh(a1)
    a2 = W2 @ h1 + b2 - y
    delta2 = share * a2
    delta1 = W2.T @ delta2 * sech(a1) ** 2
    value = 0.5 * ((a2 ** 2).sum(axis=0, keepdims=True) * share).sum(axis=1, keepdims=True)
    gradient = np.zeros(26)
    gradient[0:16].reshape(4, 4)[:, 0:3] = delta1 @ x.T
    gradient[0:16].reshape(4, 4)[:, 3:4] = delta1.sum(axis=1, keepdims=True)
    gradient[16:26].reshape(2, 5)[:, 0:4] = delta2 @ h1.T
    gradient[16:26].reshape(2, 5)[:, 4:5] = delta2.sum(axis=1, keepdims=True)
    return value.item(), gradient""".splitlines()
    )
    alone = executed(text)["value_and_gradient"](step.theta, X, Y)
    assert alone[0] == value
    assert (alone[1] == gradient).all()


def test_the_four_equations_of_backpropagation_are_four_matrix_lines():  # exercise B39
    model = nn.MLP(2, [3, 2], activation="sigmoid", output_activation="sigmoid", seed=1)
    step = compile(lambda x, y: losses.sse(model(x), y), model.parameters())
    step(step.theta, [[0.5, -1.0]], [[1.0, 0.0]])
    lines = [line.strip() for line in step.source.splitlines()]
    bp1 = "delta2 = 0.25 * (share * t1 * sech(0.5 * a2) ** 2)"  # sigma'(z) = sech(z/2)**2 / 4
    bp2 = "delta1 = 0.25 * (W2.T @ delta2 * sech(0.5 * a1) ** 2)"
    bp3 = "gradient[9:17].reshape(2, 4)[:, 3:4] = delta2.sum(axis=1, keepdims=True)"
    bp4 = "gradient[0:9].reshape(3, 3)[:, 0:2] = delta1 @ x.T"
    assert {bp1, bp2, bp3, bp4} <= set(lines)


HOSTILE = [
    '"""; raise SystemExit',
    "W1[0,0]\nimport os",
    "__import__('os')",
    "np",
    "lambda",
    "W[0",
    "θ",
    "x",
    "theta",
    "",
]


@pytest.mark.parametrize("backend", BACKENDS)
def test_labels_never_reach_the_text_unchecked(backend):
    parameters = [Value(0.1 * i, label) for i, label in enumerate(HOSTILE)]
    step = compile(lambda np, N: dot(parameters, [np] * len(parameters), N) ** 2, parameters, backend=backend)
    value, gradient = step.value_and_grad(step.theta, [0.5, 1.0], [2.0, 3.0])
    alone = executed(step.source)["value_and_gradient"](step.theta, [0.5, 1.0], [2.0, 3.0])
    assert value == pytest.approx(alone[0])
    assert gradient == pytest.approx(alone[1])
    assert "SystemExit" not in step.source
    assert "import os" not in step.source


def test_explain_says_what_became_of_the_scalar_code():
    model = nn.MLP(2, [16, 16, 1], activation="relu", seed=1)
    step = compile(lambda x, y: losses.hinge(model(x), y), model.parameters())
    step(step.theta, [[0.5, -1.0]], [1.0])
    told = step.explain()
    assert len(told.instructions) <= 24
    assert "16 x 1 parameter + 16 @1*parameter for each example" in repr(told)
    assert "vector instructions" in repr(told)


# --- What cannot be compiled ------------------------------------------------------------------------------------------

w = [Value(0.5, "w"), Value(-0.25, "v")]


@pytest.mark.parametrize("broken", [
    lambda x: w[0] if x > 0 else -w[0],
    lambda x: w[0] * bool(x * w[1]),
    lambda x: w[0] * max(x, w[1]),
    lambda x: w[0] * float(x),
    lambda x: w[0] * int(x),
    lambda x: w[0] * [1.0, 2.0][x],
    lambda x: w[0] * math.exp(x),
])  # fmt: skip
def test_conditions_and_conversions_are_refused(broken):
    step = compile(broken, w)
    with pytest.raises(TypeError):
        step(step.theta, [0.0, 1.0])


def test_an_index_is_told_of_take():
    step = compile(lambda x: w[0] * [1.0, 2.0][x], w)
    with pytest.raises(TypeError, match=r"take\(table, index\)"):
        step(step.theta, [0.0])
    with pytest.raises(TypeError, match=r"take\(table, index\)"):
        compile(lambda x: sum(w[0] for _ in range(x)), w)(step.theta, [2.0])
    with pytest.raises(TypeError, match="returned None"):
        compile(lambda x: None, w)(step.theta, [2.0])


def test_a_result_that_does_not_depend_on_the_parameters_is_an_error():
    step = compile(lambda x: x * 2.0, w)
    with pytest.raises(ValueError, match="does not depend on the parameters"):
        step.grad(step.theta, [1.0])


def test_shapes_are_checked():
    step = compile(lambda x, y: dot(w, x) * y, w)
    with pytest.raises(ShapeError, match="y has 3 examples, x has 2"):
        step(step.theta, [[1.0, 2.0]] * 2, [1.0] * 3)
    with pytest.raises(ShapeError, match="theta needs 2 numbers"):
        step([1.0], [[1.0, 2.0]], [1.0])
    with pytest.raises(ShapeError, match=r"takes 2 arguments \(x, y\), got 1: step.value_and_grad\(theta, x, y\)"):
        step(step.theta, [[1.0, 2.0]])
    with pytest.raises(ShapeError, match="no examples"):
        step(step.theta, np.zeros((0, 2)), [])
    with pytest.raises(ShapeError, match="all of one shape"):
        step(step.theta, [[1.0, 2.0], [1.0]], [1.0, 2.0])
    with pytest.raises(TypeError, match="examples come as a list or an array"):
        step(step.theta, [[1.0, 2.0]], "a")
    assert step(step.theta, [[1.0, 2.0]], [1.0]) == 0.0


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("N", [1, 5, 300])
def test_a_domain_error_names_the_operation_and_the_example(backend, N):
    step = compile(lambda x: log(x * w[0]), w, backend=backend)
    X = np.ones(N)
    X[-1] = -2.0
    with pytest.raises(DomainError, match=rf"example {N - 1}: log\(x\) needs x > 0, got x = -1.0") as caught:
        step.value_and_grad(step.theta, X)
    assert caught.value.example == N - 1
    assert step.theta.tolist() == [0.5, -0.25]


def test_without_parameters_the_first_argument_takes_their_place():
    rosenbrock = compile(lambda x: (1.0 - x[0]) ** 2 + 100.0 * (x[1] - x[0] ** 2) ** 2)
    value, gradient = rosenbrock.value_and_grad([-1.2, 1.0])
    assert value == pytest.approx(24.2)
    assert gradient == pytest.approx([-215.6, -88.0])
    assert rosenbrock.hessian([1.0, 1.0]) == pytest.approx(np.array([[802.0, -400.0], [-400.0, 200.0]]))
    with pytest.raises(TypeError, match="needs parameters"):
        _ = rosenbrock.theta
    matrix = compile(lambda a: sum(v * v for row in a for v in row) * a[0][1])
    assert matrix.grad([[1.0, 2.0], [3.0, 4.0]]).shape == (2, 2)


def test_scipy_takes_it_as_it_is():
    optimize = pytest.importorskip("scipy.optimize")
    draw = np.random.default_rng(0)
    X = draw.normal(size=(40, 2))
    Y = np.tanh(X @ [1.5, -0.5])
    parameters = [Value(0.1), Value(0.1)]
    step = compile(lambda x, y: (tanh(dot(parameters, x)) - y) ** 2, parameters)
    found = optimize.minimize(step.value_and_grad, step.theta, args=(X, Y), jac=True, method="L-BFGS-B")
    assert found.x == pytest.approx([1.5, -0.5], abs=1e-4)
    found = optimize.minimize(step, step.theta, args=(X, Y), jac=step.grad, hessp=step.hvp, method="Newton-CG")
    assert found.x == pytest.approx([1.5, -0.5], abs=1e-4)
    residuals = compile(lambda x, y: tanh(dot(parameters, x)) - y, parameters)
    found = optimize.least_squares(residuals.each, residuals.theta, residuals.jacobian, args=(X, Y))
    assert found.x == pytest.approx([1.5, -0.5], abs=1e-8)
    step.assign(found.x)
    assert parameters[0].data == found.x[0]


@pytest.mark.parametrize("backend", BACKENDS)
def test_results_of_any_shape(backend):
    f = lambda p, x: [[p[0] * x, exp(p[1])], [p[0] * p[1], x * x]]  # noqa: E731
    step = compile(f, backend=backend)
    theta, X = [0.5, -0.25], np.array([1.0, 2.0, 4.0])
    each = np.array([[[0.5 * x, math.exp(-0.25)], [-0.125, x * x]] for x in X])
    assert step.each(theta, X) == pytest.approx(each)
    assert step(theta, X) == pytest.approx(each.mean(axis=0))
    J = step.jacobian(theta, X)
    assert J.shape == (3, 2, 2, 2)
    assert J[2] == pytest.approx(np.array([[[4.0, 0.0], [0.0, math.exp(-0.25)]], [[-0.25, 0.5], [0.0, 0.0]]]))
    value, along = step.jvp(theta, [1.0, 2.0], X)
    assert value == pytest.approx(each.mean(axis=0))
    assert along == pytest.approx(J.mean(axis=0) @ [1.0, 2.0])
    with pytest.raises(TypeError, match="jacobian or jvp"):
        step.grad(theta, X)


# --- Running ----------------------------------------------------------------------------------------------------------


def batch_normalised(parameters):
    """Examples that are compared with the mean of all: the sum over the batch is used by each of them."""
    draw = np.random.default_rng(3)
    X = draw.normal(size=400).tolist()

    def loss():
        h = [tanh(parameters[0] * Value(x) + parameters[1]) for x in X]
        mean = sum(h) / len(h)
        return sum((v - mean) ** 2 for v in h) / len(h)

    return loss


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_sum_over_the_batch_that_examples_use(backend):
    parameters = [Value(0.5), Value(0.25)]
    step = compile(batch_normalised(parameters), parameters, backend=backend)
    value, gradient = step.value_and_grad(step.theta)
    y = batch_normalised(parameters)()
    y.backward()
    assert step.explain().examples == 400
    assert value == pytest.approx(y.data, rel=1e-12)
    assert gradient == pytest.approx([p.grad for p in parameters], rel=1e-11)


@pytest.mark.skipif(find_spec("numba") is None, reason="threads are the native back end's")
@pytest.mark.parametrize("N", [2, 9, 63, 64, 65, 128, 129, 513, 4097])
def test_results_do_not_depend_on_the_number_of_threads(N, monkeypatch):
    from tinygrad_vi.compiler import native

    monkeypatch.setattr(native, "WORTH_A_THREAD", 1e-12)
    model = nn.MLP(3, [5, 2], activation="tanh", seed=1)
    draw = np.random.default_rng(N)
    X, Y = draw.normal(size=(N, 3)), draw.integers(0, 2, size=N)
    found, used, run = [], set(), native.Native._on_threads
    monkeypatch.setattr(native.Native, "_on_threads", lambda self, n, *rest: (used.add(n), run(self, n, *rest)))
    for threads in (1, 2, 3, 40):
        step = compile(
            lambda x, y: losses.cross_entropy(model(x), y), model.parameters(), backend="native", threads=threads
        )
        for _ in range(native.KNOWN + 2):
            value, gradient = step.value_and_grad(step.theta, X, Y)
        found.append((value, gradient.tobytes(), step.each(step.theta, X, Y).tobytes()))
    assert found == [found[0]] * 4
    chunks = {2: 1, 9: 1, 63: 1, 64: 1, 65: 1, 128: 2, 129: 2, 513: 5, 4097: 12}[N]  # at most so many threads
    assert used == {n for n in (min(chunks, 2), min(chunks, 3), min(chunks, 40)) if n > 1}


@pytest.mark.slow
@pytest.mark.skipif(find_spec("numba") is None, reason="it is the native back end's text")
def test_the_kernel_runs_as_plain_python_too():
    program = """
import numpy as np
from tinygrad_vi import nn, losses, compile
from tinygrad_vi import functions
model = nn.RNN(nn.LSTMCell(2, 3, seed=1), nn.Layer(3, 9, "identity", seed=1), last=True)
step = compile(lambda x, y: losses.cross_entropy(model(x), y), model.parameters(), backend="native")
X, Y = np.random.default_rng(0).normal(size=(37, 3, 2)), np.arange(37) % 9  # a tile of 32, and five
value, gradient = step.value_and_grad(step.theta, X, Y)
print(value.hex(), *[g.hex() for g in gradient.tolist()])
"""
    outputs = []
    for off in ("1", "0"):
        environment = {**os.environ, "NUMBA_DISABLE_JIT": off}
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", program], env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        outputs.append([float.fromhex(x) for x in done.stdout.split()])
    assert outputs[0] == pytest.approx(outputs[1], rel=1e-12, abs=1e-15)


@pytest.mark.parametrize("optimizer", ["SGD", "RMSprop", "Adam", "AdamW"])
@pytest.mark.parametrize("batch_size", [None, 8])
def test_fit_takes_the_same_steps(optimizer, batch_size):
    X = np.random.default_rng(0).normal(size=(20, 2)).tolist()
    Y = [math.tanh(a - b) for a, b in X]
    histories, ends = [], []
    for compiled in (False, True):
        model = nn.MLP(2, [3, 1], activation="tanh", seed=1)
        parameters = model.parameters()
        make = getattr(optim, optimizer)(parameters, learning_rate=0.05)
        loss = lambda x, t: losses.mse(model(x), t)  # noqa: E731, B023
        settings = {
            "optimizer": make, "epochs": 4, "batch_size": batch_size, "progress": False,
            "penalty": lambda: losses.l2(parameters, 1e-3),  # noqa: B023
            "validation": (X[:5], Y[:5]), "schedule": optim.exponential_decay(0.05, 0.9),
        }  # fmt: skip
        if compiled:
            histories.append(fit(compile(loss, parameters), X, Y, **settings))
        else:
            histories.append(fit(loss, X, Y, params=parameters, **settings))
        ends.append([p.data for p in parameters])
    for name in ("loss", "gradient_norm", "validation_loss", "learning_rate"):
        assert getattr(histories[1], name) == pytest.approx(getattr(histories[0], name), rel=1e-10)
    assert ends[1] == pytest.approx(ends[0], rel=1e-9)


def test_fit_of_a_compiled_loss_keeps_the_last_good_step():
    p = [Value(1.0, "p")]
    step = compile(lambda x: log(p[0] * x) ** 2 + p[0], p)
    with pytest.raises(TrainingError, match=r"example 3: log\(x\) needs x > 0"):
        fit(step, [1.0, 1.0, 1.0, -1.0], optimizer=optim.SGD(p, 0.1), epochs=3, batch_size=1, seed=None, progress=False)
    assert p[0].data < 1.0  # three good steps
    assert math.isfinite(p[0].data)


def test_fit_of_a_loss_that_loops_over_its_examples():
    p = [Value(0.0, "p")]
    data = [(1.0, 3.0), (2.0, 6.0)]
    step = compile(lambda: sum((p[0] * x - t) ** 2 for x, t in data) / len(data), p)
    fit(step, optimizer=optim.SGD(p, 0.1), epochs=100, progress=False)
    assert p[0].data == pytest.approx(3.0)


# --- What attacks found -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
def test_one_compiled_function_serves_several_threads(backend):
    model = nn.MLP(3, [5, 1], activation="tanh", seed=1)
    step = compile(lambda x, y: losses.mse(model(x), y), model.parameters(), backend=backend)
    draw = np.random.default_rng(0)
    batches = [(draw.normal(size=(N, 3)), draw.normal(size=N)) for N in (5, 64, 300, 64)]
    expected = [step.value_and_grad(step.theta, *batch)[0] for batch in batches]

    def ask(i):
        return [step.value_and_grad(step.theta, *batches[i])[0] for _ in range(100)]

    with ThreadPoolExecutor(4) as pool:
        for value, found in zip(expected, pool.map(ask, range(4)), strict=True):
            assert found == [value] * 100


@pytest.mark.parametrize("threads", [0, -1, "2", 1.5])
def test_the_number_of_threads_is_checked(threads):
    with pytest.raises(ValueError, match="threads"):
        compile(lambda x: w[0] * x, w, threads=threads)


@pytest.mark.parametrize("backend", BACKENDS)
def test_names_of_every_language_and_kind(backend):
    b = [Value(0.5, "trọng_số"), Value(0.25, "w"), Value(0.125, "w")]
    for fn in (
        lambda đầu, ra: dot(b, [*đầu, ra]),
        lambda len, np: dot(b, [*len, np]),
        lambda N, N_: dot(b, [*N, N_]),
        lambda *xs: dot(b, [*xs[0], xs[1]]),
        lambda theta, *rest: dot(b, [*theta, *rest]),
    ):
        step = compile(fn, b, backend=backend)
        value, gradient = step.value_and_grad(step.theta, [[1.0, 2.0], [3.0, 4.0]], [1.0, -1.0])
        assert value == pytest.approx(1.0 + 0.75)
        assert gradient == pytest.approx([2.0, 3.0, 0.0])
        assert (
            executed(step.source)["value_and_gradient"](step.theta, [[1.0, 2.0], [3.0, 4.0]], [1.0, -1.0])[0] == value
        )
        assert "trọng_số = theta" in step.source
        assert "    w =" not in step.source  # two parameters have that label


@pytest.mark.parametrize("backend", BACKENDS)
def test_infinite_constants(backend):
    masked = compile(
        lambda x: functions.logsumexp([w[0] * x, -math.inf]) + ops.minimum(w[1] * x, math.inf), w, backend=backend
    )
    assert masked(masked.theta, [2.0]) == pytest.approx(0.5)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("infinity", [math.inf, -math.inf])
def test_both_infinities_are_written_as_they_are(backend, infinity):
    """tanh of a choice between an infinity and a number."""
    one, X = Value(1.0), [-2.0, 3.0, -0.5]
    chosen = compile(lambda x: tanh(ops.where(x, infinity, one * x)), [one], backend=backend)
    by_hand = [math.tanh(-2.0), math.copysign(1.0, infinity), math.tanh(-0.5)]
    assert chosen.each([1.0], X).tolist() == pytest.approx(by_hand, rel=1e-15)
    bounded = compile(lambda x: tanh(ops.maximum(ops.minimum(one * x, infinity), -1.0)), [one], backend=backend)
    by_hand = [math.tanh(max(x, -1.0) if infinity > 0.0 else -1.0) for x in X]
    assert bounded.each([1.0], X).tolist() == pytest.approx(by_hand, rel=1e-15)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_constant_that_is_no_number_is_written_as_it_is(backend):
    one = Value(1.0)
    chosen = compile(lambda x: ops.where(x, math.nan, one * x), [one], backend=backend)
    assert chosen.each([1.0], [-2.0, -3.0]).tolist() == [-2.0, -3.0]
    with pytest.raises(ArithmeticError, match="example 1"):
        chosen.each([1.0], [-2.0, 3.0])


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_straight_line_has_no_curvature(backend):
    a, b = Value(2.0), Value(-1.0)
    step = compile(lambda x, t: a * x + b - t, [a, b], backend=backend)
    theta, X, T = [2.0, -1.0], [1.0, 3.0, 5.0], [0.0, 1.0, 2.0]
    assert step.hvp(theta, [0.7, -0.2], X, T).tolist() == [0.0, 0.0]
    assert step.hessian(theta, X, T).tolist() == [[0.0, 0.0], [0.0, 0.0]]
    alone = compile(lambda p: 3.0 * p[0] - p[1], backend=backend)
    assert alone.hessian([1.0, 2.0]).tolist() == [[0.0, 0.0], [0.0, 0.0]]
    assert alone.hvp([1.0, 2.0], [1.0, 1.0]).tolist() == [0.0, 0.0]
    half = compile(lambda p: p[0] * p[0] + 5.0 * p[1], backend=backend)  # straight along one axis
    assert half.hessian([1.0, 2.0]).tolist() == [[2.0, 0.0], [0.0, 0.0]]
    assert half.hvp([1.0, 2.0], [3.0, 4.0]).tolist() == [6.0, 0.0]


def test_an_error_leaves_the_gradients_alone():
    p = [Value(1.0)]
    p[0].grad = 7.0
    step = compile(lambda x: (p[0] * x) ** 1.5, p)
    with pytest.raises(DomainError, match=r"example 0: x \*\* 0.5 has no finite derivative at x = 0.0"):
        step.hvp([0.0], [1.0], [1.0, 1.0])
    with pytest.raises(DomainError, match="example 1"):
        step.grad([1.0], [1.0, -1.0])
    assert p[0].grad == 7.0


def test_what_is_asked_first_does_not_matter():
    loss = lambda x: (w[0] * x) ** 2 + 0.1 * w[1] * w[1]  # noqa: E731
    first, second = compile(loss, w, backend="numpy"), compile(loss, w, backend="numpy")
    first.grad(first.theta, [1.0, 2.0])
    second.each(second.theta, [1.0, 2.0])
    second.jacobian(second.theta, [1.0, 2.0])
    second.grad(second.theta, [1.0, 2.0])
    assert first.source == second.source


def test_the_representation_tells_its_state():
    step = compile(lambda x: w[0] * x, w, backend="numpy")
    assert repr(step) == "<compiled <lambda>(x): 2 parameters, numpy, not traced yet>"
    step(step.theta, [1.0])
    assert repr(step) == "<compiled <lambda>(x): 2 parameters, numpy, traced for 1 shape>"
    with pytest.raises(ValueError, match="nothing has been traced yet"):
        _ = compile(lambda x: w[0] * x, w).source


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ([], "got none"),
        (w[0], r"write \[w\]"),
        ([[3.0]], "holds Values"),
        ([w[0] * 2], "leaves"),
        (3.0, "list of Values"),
    ],
)
def test_parameters_are_checked(params, message):
    with pytest.raises((TypeError, ValueError), match=message):
        compile(lambda x: x, params)


def test_the_back_end_is_checked():
    with pytest.raises(ValueError, match="auto, native, numpy"):
        compile(lambda x: x, w, backend="cuda")
    with pytest.raises(TypeError, match="takes a function"):
        compile(3.0)


@pytest.mark.parametrize("condition", [lambda t: t == 1.0, lambda t: t != 0.0, lambda t: t in (1.0, 2.0)])
def test_equality_is_a_condition(condition):
    step = compile(lambda x, t: w[0] * x if condition(t) else w[1] * x, w)
    with pytest.raises(TypeError, match="cannot be a condition"):
        step(step.theta, [0.5], [1.0])
    assert w[0] == w[0].data
    assert w[0] != w[1]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("wrong", [3.0, -1.0, 0.5])
def test_a_wrong_class_in_a_later_example_is_an_error(backend, wrong):
    v = [Value(0.5, "a"), Value(0.25, "b")]
    step = compile(lambda x, y: losses.cross_entropy([a * x for a in v], y), v, backend=backend)
    with pytest.raises((DomainError, ValueError), match="there is no class"):
        step.value_and_grad(step.theta, [1.0, 2.0, 3.0], [0.0, 1.0, wrong])
    rows = compile(lambda i: sum(functions.take([[v[0], v[1]], [v[1], v[0] * 2.0]], i)), v, backend=backend)
    with pytest.raises((DomainError, ValueError), match="take needs a whole number"):
        rows(rows.theta, [0.0, 1.0, wrong])


def test_a_labelled_value_that_is_no_parameter_is_a_constant_until_it_changes():
    fixed, p = Value(2.0, "fixed"), [Value(3.0, "p")]
    step = compile(lambda x: fixed * p[0] * x, p)
    assert step(step.theta, [1.0]) == 6.0
    fixed.data = 100.0
    assert step(step.theta, [1.0]) == 300.0
    assert step.grad(step.theta, [1.0]).tolist() == [100.0]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("fn", [
    lambda x, y: ops.sin(w[0] * x + w[1] * y + w[0] * w[1]),
    lambda x, y: ops.sin(w[0] * x + w[0] * w[0]) + ops.sin(w[1] * w[1] + w[1] * y),
])  # fmt: skip
def test_sums_whose_terms_are_of_several_kinds(backend, fn):
    draw = np.random.default_rng(0)
    agrees(fn, w, draw.normal(size=9), draw.normal(size=9), backend=backend)


@pytest.mark.parametrize(
    "labels", [("w[0]", "b", "w[1]"), ("w[0]", "a", "b", "w[1]"), ("w[1]", "b", "w[0]"), ("w[0,1]", "w[0,0]", "b")]
)
def test_labels_in_any_order(labels):
    parameters = [Value(0.1 * (i + 1), label) for i, label in enumerate(labels)]
    step = agrees(lambda x: tanh(dot(parameters, [x] * len(parameters))), parameters, [0.5, 1.0], backend="numpy")
    _, gradient = executed(step.source)["value_and_gradient"](step.theta, [0.5, 1.0])
    assert gradient == pytest.approx(step.grad(step.theta, [0.5, 1.0]))


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_deep_program(backend):
    def chain(x):
        for _ in range(3000):
            x = (x * w[0] + 0.001).sin()
        return x

    agrees(chain, w, [0.5, 1.0], backend=backend, rel=1e-9)


def test_copies_share_the_parameters():
    step = compile(lambda x: w[0] * x, w)
    step(step.theta, [1.0])
    twin = copy.deepcopy(step)
    assert twin.parameters is step.parameters
    assert twin(twin.theta, [2.0]) == 1.0


@pytest.mark.parametrize("backend", BACKENDS)
def test_errors_show_the_numbers_of_the_call(backend):
    p = [Value(0.5, "p")]
    step = compile(lambda x: p[0] / x, p, backend=backend)
    step([1.0], [1.0])
    with pytest.raises(DomainError, match=r"the leaf \(node 'p'\) is nan"):
        step.value_and_grad([math.nan], [1.0])
    with pytest.raises(ValueError, match="finite numbers"):
        step.assign([math.nan])
    found = step.each([1.0], [1.0, 2.0])
    found[0] = 5.0  # the array is the caller's


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.skipif(find_spec("numba") is None, reason="threads are the native back end's")
def test_a_forked_process_has_threads_of_its_own():
    program = """
import os, sys
import numpy as np
from tinygrad_vi import Value, compile, tanh
from tinygrad_vi.compiler import native
native.WORTH_A_THREAD = 1e-12
w = [Value(0.5), Value(0.25)]
step = compile(lambda x: tanh(w[0] * x + w[1]), w, backend="native")
X = np.linspace(-1.0, 1.0, 1000)
for _ in range(10):
    value = step(step.theta, X)
child = os.fork()
if child == 0:
    os._exit(step(step.theta, X) != value)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    assert subprocess.run([sys.executable, "-W", "ignore", "-c", program], timeout=600).returncode == 0


@pytest.mark.parametrize("backend", ["numpy", "auto"])
def test_an_operation_that_a_user_added_is_compiled_as_well(backend, monkeypatch):
    monkeypatch.setattr("tinygrad_vi.rows.OWN", {})
    softsign = row(
        "squash", lambda x: x / (1.0 + abs(x)), lambda out, x: (1.0 / (1.0 + ops.abs_(x)) ** 2,), "x / (1 + |x|)."
    )
    w = Value(2.0, "softsign")  # whatever she calls her parameters
    step = compile(lambda x: softsign(w * x) ** 2, params=[w], backend=backend)
    xs = [-1.5, 0.25, 3.0]
    value, gradient = step.value_and_grad(step.theta, xs)
    assert value == pytest.approx(np.mean([(2 * x / (1 + abs(2 * x))) ** 2 for x in xs]), rel=1e-14)
    h = 1e-6  # central differences of the closed form
    f = lambda w: np.mean([(w * x / (1 + abs(w * x))) ** 2 for x in xs])  # noqa: E731
    assert gradient[0] == pytest.approx((f(2 + h) - f(2 - h)) / (2 * h), rel=1e-8)
