"""backend="jax": the numbers, checks and errors of the other back ends; several devices with one sum over all of them."""

import copy
import math
import os
import pickle
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from tinygrad_vi import DomainError, Value, compile, exp, fit, log, losses, nn, operation, relu, rows, take, tanh, total
from tinygrad_vi.compiler import jax_runner

jax = pytest.importorskip("jax", reason="JAX is not installed: pip install jax")

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(50, 2)), RNG.integers(0, 3, 50).astype(float)


def loss_of(model):
    return lambda x, y: losses.cross_entropy(model(x), y) + losses.l2(model, 0.01)


def model():
    return nn.MLP(2, [4, 3], activation="tanh", seed=1)


@pytest.fixture(scope="module")
def both():
    m = model()
    return compile(loss_of(m), params=m, backend="jax"), compile(loss_of(m), params=m, backend="numpy")


def numbers(found):
    return np.concatenate([np.ravel(x) for x in (found if isinstance(found, tuple) else (found,))])


@pytest.mark.parametrize("asked", ["__call__", "value_and_grad", "each", "jacobian", "hessian"])
def test_every_answer(both, asked):
    ours, other = (numbers(getattr(step, asked)(step.theta, X, Y)) for step in both)
    assert ours == pytest.approx(other, rel=1e-12, abs=1e-14)


@pytest.mark.parametrize("asked", ["hvp", "jvp"])
def test_every_product(both, asked):
    v = np.random.default_rng(1).normal(size=len(both[0].theta))
    ours, other = (numbers(getattr(step, asked)(step.theta, v, X, Y)) for step in both)
    assert ours == pytest.approx(other, rel=1e-12, abs=1e-14)


def test_it_is_double_precision_whatever_jax_is_set_to(both):
    assert not jax.config.jax_enable_x64
    value, gradient = both[0].value_and_grad(both[0].theta, X, Y)
    assert isinstance(value, float)
    assert gradient.dtype == float
    gradient += 1.0  # it is the caller's own
    assert "jax" in repr(both[0])


def test_bound_data(both):
    ours, other = (step.bind(X, Y) for step in both)
    theta = both[0].theta
    assert ours(theta) == pytest.approx(other(theta), rel=1e-12)
    assert ours.grad(theta) == pytest.approx(other.grad(theta), rel=1e-12, abs=1e-14)


def test_batches_of_other_sizes_are_filled_up_and_those_that_come_often_compiled():
    m = model()
    step, other = (compile(loss_of(m), params=m, backend=backend) for backend in ("jax", "numpy"))
    for n in (20, 7, 1, 7, 7, 7, 7, 7, 30):
        assert step(step.theta, X[:n], Y[:n]) == pytest.approx(other(step.theta, X[:n], Y[:n]), rel=1e-12)
        assert step.each(step.theta, X[:n], Y[:n]) == pytest.approx(other.each(step.theta, X[:n], Y[:n]), rel=1e-12)
    runner = step._traces.known().runner("value")
    assert runner.compiled == {7, 20, 30}
    assert jax_runner.OFTEN == 5


def test_errors_are_those_of_the_function(both):
    bad = Y.copy()
    bad[31] = 7.0
    messages = []
    for step in both:
        with pytest.raises(DomainError) as caught:
            step.value_and_grad(step.theta, X, bad)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]
    assert messages[0].startswith("example 31: ")
    swallowed = compile(lambda w, x: tanh(log(w[0] * x)), backend="jax")
    with pytest.raises(DomainError, match=r"example 1: log\(x\) needs x > 0, got x = 0.0"):
        swallowed([1.0], [1.0, 0.0, 2.0])
    beyond = compile(lambda w, i: take([w[0], 2.0], i), backend="jax")
    assert beyond.each([1.0], [0.0, 1.0]).tolist() == [1.0, 2.0]
    with pytest.raises(DomainError, match="example 1: take needs a whole number from 0 to 1, got 2"):
        beyond.each([1.0], [0.0, 2.0])


def test_training_takes_the_same_steps():
    runs = []
    for backend in ("jax", "numpy"):
        m = model()
        step = compile(loss_of(m), params=m, backend=backend)
        history = fit(step, X, Y, epochs=3, batch_size=16, progress=False)
        runs.append([*history.loss, *[p.data for p in m.parameters()]])
    assert runs[0] == pytest.approx(runs[1], rel=1e-9, abs=1e-11)


def test_dropout_draws_as_with_the_others():
    import random

    found = []
    for backend in ("jax", "numpy"):
        layer, drop = nn.Layer(2, 4, "tanh", seed=1), nn.Dropout(0.5)
        step = compile(lambda x, y, f=layer, d=drop: losses.mse(total(d(f(x))), y), params=layer, backend=backend)
        random.seed(3)
        found.append([step(step.theta, X, Y) for _ in range(3)])
    assert found[0] == pytest.approx(found[1], rel=1e-12)


def test_a_row_of_ones_own(monkeypatch):
    monkeypatch.setattr(rows, "OWN", {})

    @operation(partials=lambda out, x: -2.0 * x * out)
    def bump(x):
        return math.exp(-x * x)

    with pytest.raises(ValueError, match="JAX has no text for the operation 'bump'"):
        compile(lambda w, x: bump(w[0] * x), backend="jax")([1.0], [0.5, 0.7])

    @operation(partials=lambda out, x: -2.0 * x * out, numpy="np.exp({0} * {0})")  # another function
    def wrong(x):
        return math.exp(-x * x)

    with pytest.raises(TypeError, match="compiled it gives"):
        compile(lambda w, x: wrong(w[0] * x), backend="jax")([1.0], [0.5, 0.7])


def test_a_quotient_keeps_its_range_and_a_tie_stays_one():
    """XLA alone makes a / (b * b) of (a / b) / b, and rounds x * y - z once."""
    softmax = compile(lambda x: exp(x[0]) / (exp(x[0]) + exp(x[1])), backend="jax")
    _, gradient = softmax.value_and_grad([400.0, 399.0])
    s = 1.0 / (1.0 + math.exp(-1.0))
    assert gradient == pytest.approx([s * (1.0 - s), -s * (1.0 - s)], rel=1e-12)
    at = RNG.normal(size=(200, 2))
    tie = compile(lambda w, x: relu(w[0] * x[0] * x[1] - x[2]), backend="jax")
    assert tie.value_and_grad([1.0], np.column_stack([at, at[:, 0] * at[:, 1]])) == (0.0, [0.0])


def test_copies_pickles_and_what_is_refused():
    m = model()
    step = compile(loss_of(m), params=m, backend="jax", devices=1)
    assert copy.copy(step).devices == 1
    named = compile(losses.mse, backend="jax", devices=2)
    assert pickle.loads(pickle.dumps(named)).devices == 2
    with pytest.raises(ValueError, match=r'devices=2 is for backend="jax", got backend=\'numpy\''):
        compile(losses.mse, backend="numpy", devices=2)
    with pytest.raises(ValueError, match="devices"):
        compile(losses.mse, backend="jax", devices=0)
    w = Value(1.0)
    many = compile(lambda x: w * x, params=[w], backend="jax", devices=999)
    with pytest.raises(ValueError, match=r"devices=999, but JAX sees \d+; on a CPU it sees more when XLA_FLAGS="):
        many([1.0], [1.0, 2.0])


DEVICES = """
    import re

    import jax
    import numpy as np
    from jax.sharding import NamedSharding, PartitionSpec

    from tinygrad_vi import compile, fit, losses, nn

    assert len(jax.devices()) == 8
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(50, 2)), rng.integers(0, 3, 50).astype(float)  # 50 is no multiple of 8
    model = nn.MLP(2, [4, 3], activation="tanh", seed=1)
    loss = lambda x, y: losses.cross_entropy(model(x), y) + losses.l2(model, 0.01)
    step, other = compile(loss, params=model, backend="jax", devices=8), compile(loss, params=model, backend="numpy")
    for asked in ("value_and_grad", "each", "hessian"):
        ours, wanted = (getattr(f, asked)(f.theta, X, y) for f in (step, other))
        for a, b in zip(ours, wanted, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(step.bind(X, y)(step.theta), other(step.theta, X, y), rtol=1e-12)

    def sums(jitted, *arguments):
        text = jitted.lower(*arguments).compile().as_text()
        return len(re.findall(r" all-reduce(?:-start)?\\(", text)), "all-gather" in text

    with jax.enable_x64(True):
        runner = step._traces.known().runners["value_and_gradient"]
        assert sums(runner.run, step.theta, np.ones(56), np.zeros((56, 2)), np.zeros(56)) == (1, False)

        # the same by hand, as the guide says it
        mesh = jax.make_mesh((8,), ("examples",))
        everywhere, spread = NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec("examples"))
        f = jax.jit(step.to_jax(), in_shardings=(everywhere, spread, spread), out_shardings=everywhere)
        assert sums(f, step.theta, X[:48], y[:48]) == (1, False)
        value, gradient = f(step.theta, X[:48], y[:48])
        wanted = other.value_and_grad(step.theta, X[:48], y[:48])
        np.testing.assert_allclose(value, wanted[0], rtol=1e-12)
        np.testing.assert_allclose(gradient, wanted[1], rtol=1e-11, atol=1e-14)

    before = step(step.theta, X, y)
    fit(step, X, y, epochs=3, batch_size=20, progress=False)
    assert step(step.theta, X, y) < before
    print("8 devices")
"""


def test_eight_devices_and_one_sum_over_all_of_them():
    environment = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=8", "JAX_PLATFORMS": "cpu"}
    found = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(DEVICES)], env=environment, capture_output=True, text=True, timeout=300
    )
    assert found.returncode == 0, found.stderr
    assert found.stdout == "8 devices\n"
