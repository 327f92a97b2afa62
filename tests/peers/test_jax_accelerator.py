"""The same programs on an accelerator, where JAX sees one: double precision beside the native numbers, and single."""

import numpy as np
import pytest

from tinygrad_vi import compile, fit, losses, nn

jax = pytest.importorskip("jax", reason="JAX is not installed: pip install jax")
pytestmark = pytest.mark.skipif(jax.default_backend() == "cpu", reason="JAX sees no accelerator on this machine")

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(1000, 8)), RNG.integers(0, 3, 1000).astype(float)


def steps(**where):
    model = nn.MLP(8, [32, 3], activation="tanh", seed=1)
    return compile(lambda x, y: losses.cross_entropy(model(x), y), params=model, **where), model


@pytest.mark.parametrize("count", [1, 7, 1000])
def test_value_and_gradient_in_double_precision(count):
    (there, _), (here, _) = steps(backend="jax"), steps(backend="numpy")
    (value, gradient), (expected, slopes) = [s.value_and_grad(s.theta, X[:count], Y[:count]) for s in (there, here)]
    assert value == pytest.approx(expected, rel=1e-12)
    assert gradient == pytest.approx(slopes, rel=1e-10, abs=1e-13)


def test_to_jax_in_single_precision():
    step, _ = steps(backend="numpy")
    expected, slopes = step.value_and_grad(step.theta, X, Y)
    with jax.default_matmul_precision("highest"):  # an accelerator may round the factors of a product of matrices
        value, gradient = jax.jit(step.to_jax())(*[np.asarray(a, np.float32) for a in (step.theta, X, Y)])
    assert float(value) == pytest.approx(expected, rel=1e-5)
    assert np.asarray(gradient) == pytest.approx(slopes, rel=1e-3, abs=1e-5)


def test_a_training_takes_the_same_steps():
    found = []
    for backend in ("jax", "numpy"):
        step, model = steps(backend=backend)
        found.append(fit(step, X, Y, params=model, epochs=5, batch_size=100, progress=False).loss)
    assert found[0] == pytest.approx(found[1], rel=1e-10)
