"""Loops in the text for JAX: the numbers of the engine, run here with NumPy and a loop of Python in the place of JAX."""

import types

import numpy as np
import pytest

from tinygrad_vi import Value, compile, cos, dot, exp, log, losses, maximum, nn, sigmoid, sin, tanh
from tinygrad_vi.compiler.jax_function import question_for
from tinygrad_vi.compiler.jax_loops import _chains, _signed, rolled
from tinygrad_vi.compiler.jax_source import jax_source


def scan(step, carried, given, length):
    """`jax.lax.scan`, which also wants what is carried to keep its shape."""
    left = []
    for k in range(length):
        shapes = [x.shape for x in carried]
        carried, out = step(carried, tuple([x[k] for x in given]))
        assert [x.shape for x in carried] == shapes
        left.append(out)
    return carried, tuple([np.stack(column) for column in zip(*left, strict=True)])


def sigmoid_of(x):
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1, e) / (1 + e)


JAX = types.SimpleNamespace(
    lax=types.SimpleNamespace(scan=scan),
    nn=types.SimpleNamespace(sigmoid=sigmoid_of, relu=lambda x: np.maximum(x, 0)),
    numpy=np,
)


def run(text, theta, *data):
    """What the function of a text gives."""
    _, text = text.split("import numpy as np\n")
    namespace = {"np": np, "jnp": np, "jax": JAX}
    exec(text, namespace)
    return namespace["value_and_gradient"](np.array(theta, dtype=float), *data)


def both(step, theta, *data):
    """The text in loops, after its numbers were compared; and the text without."""
    value, gradient = step.value_and_grad(theta, *data)
    traced = step._traces.known()
    question = question_for(traced, "value_and_grad")
    texts = [jax_source(question, traced.names, "value_and_gradient", loops=loops) for loops in (True, False)]
    if traced.data is not None:
        data = [traced.data]
    if abs(gradient).max() > 1e4:  # steps that magnify the last digit
        return texts
    for text in texts:
        found, slopes = run(text, theta, *data)
        assert found == pytest.approx(value, rel=1e-11)
        scale = max(1.0, abs(gradient).max())
        assert slopes[: len(gradient)] == pytest.approx(gradient, rel=1e-10, abs=1e-12 * scale)
    return texts


def series(n):
    return np.random.default_rng(4).normal(size=n).tolist()


def kalman(theta):
    q, r = exp(theta[0]), exp(theta[1])
    m, P, loss = theta[2], Value(1.0), 0.0
    for y in series(60):
        P = P + q
        S = P + r
        e = y - m
        loss = loss + 0.5 * (log(S) + e * e / S)
        m, P = m + P / S * e, P * (1.0 - P / S)
    return loss


def garch(theta):
    s, loss = Value(1.0), 0.0
    for x in series(60):
        loss = loss + 0.5 * (log(s) + x * x / s)
        s = exp(theta[0]) + sigmoid(theta[1]) * (x * x) + sigmoid(theta[2]) * s
    return loss


def two_steps_back(theta):
    y, errors, loss = series(90), [0.0, 0.0], 0.0
    for k in range(2, 90):
        e = y[k] - theta[0] * y[k - 1] - theta[1] * y[k - 2] - theta[2] * errors[-1] - 0.5 * errors[-2]
        errors.append(e)
        loss = loss + e * e
    return loss / 90.0


def pendulum(theta):
    x, v, h = theta[0], theta[1], 0.05

    def slope(x, v):
        return v, -theta[2] * sin(x) - 0.1 * v

    for _ in range(20):
        a, b = slope(x, v)
        c, d = slope(x + h / 2 * a, v + h / 2 * b)
        x, v = x + h * (a + c) / 2, v + h * (b + d) / 2
    return x * x + v


def now_and_then(theta):
    """Steps of two kinds, and another weight at every fifth."""
    m, loss = theta[0], 0.0
    for k, x in enumerate(series(90)):
        m = tanh(theta[1] * m + x) if k % 17 else tanh(theta[2] * m - x)
        loss = loss + (m - x) ** 2 * (2.0 if k % 5 == 0 else 1.0)
    return loss


@pytest.mark.parametrize("f", [kalman, garch, two_steps_back, pendulum, now_and_then], ids=lambda f: f.__name__)
def test_programs_of_single_numbers(f):
    ours, plain = both(compile(f), [0.3, 0.2, -0.1])
    assert "jax.lax.scan(" in ours
    assert "jax.lax.scan(" not in plain
    assert ours.count("\n") < 0.5 * plain.count("\n")


@pytest.mark.parametrize("cell", [nn.RNNCell, nn.LSTMCell, nn.GRUCell])
def test_recurrent_networks(cell):
    model = nn.RNN(cell(2, 3, seed=1), nn.Layer(3, 1, "identity", seed=2), last=True)
    rng = np.random.default_rng(2)
    step = compile(lambda x, y: losses.mse(model(x), y), params=model)
    steps = 60 if cell is nn.RNNCell else 24
    ours, plain = both(step, step.theta, rng.normal(size=(3, steps, 2)), rng.normal(size=3))
    assert ours.count("jax.lax.scan(") >= 3
    assert ours.count("\n") < 0.6 * plain.count("\n")


def test_short_programs_stay_as_they_are():
    step = compile(lambda theta: sum([tanh(theta[k] * theta[k + 1]) for k in range(9)]))
    ours, plain = both(step, np.linspace(0.1, 1.0, 10))
    assert ours == plain


def test_the_number_of_lines_is_what_a_step_needs_whatever_the_number_of_steps():
    model = nn.RNN(nn.RNNCell(2, 3, seed=1), nn.Layer(3, 1, "identity", seed=2), last=True)
    rng = np.random.default_rng(2)
    lines = []
    for steps in (60, 90):
        step = compile(lambda x, y: losses.mse(model(x), y), params=model)
        ours, _ = both(step, step.theta, rng.normal(size=(3, steps, 2)), rng.normal(size=3))
        lines.append(ours.count("\n"))
    assert lines[0] == lines[1]


def test_layers_that_have_weights_of_their_own():
    """Their weights, rows of the vector of parameters, are what each step is given."""
    W = [[[Value(np.cos(i + 2.0 * j + 3.0 * d)) for j in range(3)] for i in range(3)] for d in range(40)]

    def loss(x, y):
        h = list(x)
        for w in W:
            h = [tanh(dot(row, h) + 0.01) for row in w]
        return (h[0] - y) ** 2

    rng = np.random.default_rng(2)
    step = compile(loss, params=[w for layer in W for row in layer for w in row])
    ours, _ = both(step, step.theta, rng.normal(size=(4, 3)), rng.normal(size=4))
    assert ours.count("= jnp.tanh(") < 40


OPERATIONS = [
    lambda a, b: tanh(a + b), lambda a, b: sin(a * b), lambda a, b: a / (2.0 + b * b), lambda a, b: cos(a - b) + b,
    lambda a, b: 0.5 * a - 0.25 * b, lambda a, b: maximum(a, b) * 0.5, lambda a, b: sigmoid(a) * b - 1.0,
]  # fmt: skip


def random_steps(seed):
    """Steps of random operations on states, parameters, data, what was two steps ago; some steps differ."""
    rng = np.random.default_rng(seed)
    states, n = int(rng.integers(1, 4)), int(rng.integers(30, 70))
    data = rng.normal(size=n).tolist()

    def drawn():
        size = int(rng.integers(1, 5))
        return [(int(rng.integers(len(OPERATIONS))), rng.integers(0, 100, 2).tolist()) for _ in range(size)]

    usual, other = drawn(), drawn()
    odd = {int(k) for k in rng.integers(0, n, int(rng.integers(0, 4)))}

    def f(theta):
        history = [list(theta[:states])] * 2
        loss = theta[0] * theta[3]
        for k in range(n):
            known = [*history[-1], *history[-2], theta[3], data[k], data[k - 1], float(k)]
            for op, (i, j) in other if k in odd else usual:
                known.append(tanh(OPERATIONS[op](known[-1 - i % len(known)], known[-1 - j % len(known)]) * theta[2]))
            history.append(known[-states:])
            loss = loss + (known[-1] - data[k]) ** 2
        return loss

    return f


@pytest.mark.parametrize("seed", range(12))
def test_random_steps(seed):
    both(compile(random_steps(seed), verify=False), [0.3, -0.2, 0.7, 0.4])


@pytest.mark.slow
def test_many_random_steps():
    found = [both(compile(random_steps(seed), verify=False), [0.3, -0.2, 0.7, 0.4]) for seed in range(12, 90)]
    assert sum("jax.lax.scan(" in ours for ours, _ in found) > 25


# --- Lines ------------------------------------------------------------------------------------------------------------


def counted():
    numbers = iter(range(1000))
    return lambda wish: f"{wish}_{next(numbers)}"


def test_signs_stand_beside_their_numbers():
    assert _signed("a - 2 * b - c + 3") == "a + (-2) * b - c + 3"
    assert _signed("-0.5 * a - (-3 * b)") == "(-0.5) * a - ((-3) * b)"
    assert _signed("a - 2 ** b - x2 - b[3:4] - 1e-05") == "a - 2 ** b - x2 - b[3:4] + (-1e-05)"


def test_a_long_sum_is_a_chain():
    assert _chains("y", "a + b", counted()) == [("y", "a + b")]
    terms = " + ".join(f"t{k}" for k in range(8))
    lines = _chains("y", f"0.5 * ({terms} - c)", counted())
    assert lines[0] == ("sum_0", "t0")
    assert lines[1] == ("sum_1", "sum_0 + t1")
    assert lines[-2] == ("sum_8", "sum_7 - c")
    assert lines[-1] == ("y", "0.5 * (sum_8)")


def alike(n, line):
    return [("y0", "p[0:1]"), *[(f"y{k + 1}", line(k)) for k in range(n)]]


@pytest.mark.parametrize(
    "line",
    [
        lambda k: f"y{k} ** {k + 2}",  # exponents
        lambda k: f"jnp.full(({k + 1}, 1), 0.5) * y{k}",  # shapes
        lambda k: f"y{k}[i{k}]",  # lists of places
        lambda k: f"f{k}(y{k})",  # functions
        lambda k: f"y{k} + y{k // 2}",  # another step each time
        lambda k: f"y{k} * x[{2 * k}:{2 * k + 1 + k}]",  # rows of other sizes
    ],
)
def test_what_is_no_loop(line):
    found = rolled(alike(40, line), {}, counted())
    assert found is None


def test_what_is_one():
    found = rolled(alike(40, lambda k: f"y{k} * x[{2 * k}:{2 * k + 2}] + {k}.5"), {}, counted())
    assert found is not None
    assert len(found) < 8
    assert "x[0:80].reshape(40, 2, -1)" in "\n".join(found)
