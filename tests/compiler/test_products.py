"""Products of matrices in the kernel: every size of tile and of batch, beside NumPy's own products.

Layers of all sizes leave rests of each kind: dots that fill no tile, examples that fill no register, sums over steps.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tinygrad_vi import Value, compile, losses, nn, tanh, total

pytest.importorskip("numba", reason="the kernel needs Numba")

from tinygrad_vi.compiler import codes, native
from tinygrad_vi.compiler.machine_code import digest

BATCHES = [1, 2, 7, 8, 9, 23, 24, 25, 63, 64, 65, 100, 1000]
SIZES = [(1, 1), (1, 3), (2, 2), (3, 1), (4, 5), (5, 9), (8, 3), (9, 16), (10, 11), (17, 10), (23, 25)]


def layers(inputs, outputs):
    """y = W2 tanh(W1 x + b) in scalar code, and the same in NumPy with its gradient."""
    rng = np.random.default_rng(inputs * 100 + outputs)
    hidden = outputs + inputs
    first, bias, second = rng.normal(size=(hidden, inputs)), rng.normal(size=hidden), rng.normal(size=(outputs, hidden))
    theta = np.concatenate([first.ravel(), bias, second.ravel()])
    parameters = [Value(p) for p in theta]
    W1 = [parameters[i * inputs : (i + 1) * inputs] for i in range(hidden)]
    b = parameters[hidden * inputs : hidden * (inputs + 1)]
    rest = parameters[hidden * (inputs + 1) :]
    W2 = [rest[i * hidden : (i + 1) * hidden] for i in range(outputs)]

    def loss(x, t):
        h = [tanh(sum((w * v for w, v in zip(row, x, strict=True)), c)) for row, c in zip(W1, b, strict=True)]
        y = [sum(w * v for w, v in zip(row, h, strict=True)) for row in W2]
        return total([(u - v) ** 2 for u, v in zip(y, t, strict=True)])

    def by_numpy(X, T):
        h = np.tanh(X @ first.T + bias)
        error = h @ second.T - T
        delta = 2.0 * error / len(X)
        back = (delta @ second) / np.cosh(X @ first.T + bias) ** 2
        return (error**2).sum() / len(X), np.concatenate(
            [(back.T @ X).ravel(), back.sum(axis=0), (delta.T @ h).ravel()]
        )

    return loss, parameters, theta, by_numpy


@pytest.mark.parametrize(("inputs", "outputs"), SIZES)
def test_two_layers_of_each_size_over_batches_of_each_size(inputs, outputs):
    loss, parameters, theta, by_numpy = layers(inputs, outputs)
    step = compile(loss, parameters, backend="native")
    rng = np.random.default_rng(1)
    for N in BATCHES:
        X, T = rng.normal(size=(N, inputs)), rng.normal(size=(N, outputs))
        value, gradient = step.value_and_grad(theta, X, T)
        true_value, true_gradient = by_numpy(X, T)
        assert value == pytest.approx(true_value, rel=1e-13)
        assert np.abs(gradient - true_gradient).max() <= 1e-13 * np.abs(true_gradient).max(), N


@pytest.mark.parametrize("N", [3, 65, 1000])
def test_sums_over_steps_and_examples(N):
    """A recurrent network: each weight gradient is a sum over steps of products, whose factors differ."""
    model = nn.RNN(nn.RNNCell(3, 9, seed=1), nn.Layer(9, 2, "identity", seed=2), last=True)
    rng = np.random.default_rng(0)
    X, T = rng.normal(size=(N, 5, 3)), rng.normal(size=(N, 2))

    def loss(x, t):
        return losses.mse(model(x), t)

    fast, slow = [compile(loss, model.parameters(), backend=backend) for backend in ("native", "numpy")]
    (value, gradient), (true_value, true_gradient) = [step.value_and_grad(step.theta, X, T) for step in (fast, slow)]
    assert value == pytest.approx(true_value, rel=1e-14)
    assert np.abs(gradient - true_gradient).max() <= 1e-14 * max(1.0, np.abs(true_gradient).max())


@pytest.mark.parametrize("N", [*BATCHES, 5000])
def test_any_number_of_threads_gives_the_same_bits(N, monkeypatch):
    monkeypatch.setattr(native, "WORTH_A_THREAD", 1e-12)
    loss, parameters, theta, _ = layers(10, 11)
    rng = np.random.default_rng(2)
    X, T = rng.normal(size=(N, 10)), rng.normal(size=(N, 11))
    answers = []
    for threads in (1, 2):
        step = compile(loss, parameters, backend="native", threads=threads)
        for _ in range(native.KNOWN + 2):
            value, gradient = step.value_and_grad(theta, X, T)
        answers.append((value.hex(), gradient.tobytes()))
    assert answers[0] == answers[1]


@pytest.mark.parametrize("N", [1, 7, 100])
@pytest.mark.parametrize("strange", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("where", ["input", "weight"])
def test_infinities_and_nans_reach_what_they_touch_and_nothing_else(N, strange, where):
    """0 * inf is NaN in a product of matrices as it is in scalar code; the other examples stay as they are."""
    weights = np.random.default_rng(3).normal(size=(9, 6))
    weights[2, 4] = 0.0
    parameters = [Value(w) for w in weights.ravel()]
    rows = [parameters[i * 6 : i * 6 + 6] for i in range(9)]
    X = np.random.default_rng(4).normal(size=(N, 6))
    X[0, 1] = 0.0
    theta = weights.ravel().copy()
    if where == "input":
        X[N // 2, 4] = strange
    else:
        theta[3 * 6 + 1] = strange

    def products(x):
        return [sum(w * v for w, v in zip(row, x, strict=True)) for row in rows]

    with np.errstate(invalid="ignore"):
        expected = np.array([sum(w * v for w, v in zip(row, X.T, strict=True)) for row in theta.reshape(9, 6)])
    for backend in ("native", "numpy"):
        step = compile(products, parameters, backend=backend)
        step.each(weights.ravel(), np.ones((N, 6)))
        found, _ = step._traces.known().runner("each")(theta, [X])  # `each` itself would refuse the strange numbers
        assert np.allclose(found[:9], expected, rtol=1e-13, atol=1e-14, equal_nan=True)


def test_flags_fire_from_the_rows_of_one_joined_instruction():
    """exp of rows that follow each other is one instruction; the example and the row that overflow are named."""
    w = [Value(1.0) for _ in range(10)]
    step = compile(lambda x: total([tanh((p * v).exp()) for p, v in zip(w, x, strict=True)]), w, backend="native")
    X = np.ones((100, 10))
    step.value_and_grad(step.theta, X)
    X[77, 6] = 800.0
    with pytest.raises(ArithmeticError, match="800"):
        step.value_and_grad(step.theta, X)


def test_a_layer_is_one_product_of_matrices_and_one_instruction_for_its_maps():
    model = nn.MLP(6, [17, 10], activation="tanh", seed=1)
    step = compile(lambda x, t: losses.cross_entropy(model(x), t), model.parameters(), backend="native")
    step.value_and_grad(step.theta, np.ones((2, 6)), np.ones(2))
    code = step._traces.known().runners["value_and_gradient"].tables.code
    found = [(int(op), int(count)) for op, count in zip(code[:, codes.OP], code[:, codes.COUNT], strict=True)]
    assert (codes.TANH_AND_SECH, 17) in found
    products = [int(line[codes.C]) for line in code if line[codes.OP] == codes.GEMM]
    assert [n for n in products if n in (10, 17)] == [17, 10, 17]  # both layers, and back through the second
    sums = [(int(line[codes.A]), int(line[codes.B])) for line in code if line[codes.OP] == codes.OUTER]
    assert {lefts * rights for lefts, rights in sums} >= {17 * (6 + 1), 10 * (17 + 1)}  # weights and biases


@pytest.mark.parametrize(("inputs", "more"), [(4, 0), (5, 1), (9, 2), (16, 3)])
def test_what_is_added_to_a_layer_does_not_keep_it_from_being_a_product(inputs, more):
    """x + W h, with numbers, other rows and products beside it: one product of matrices, and the rest behind it."""
    rng = np.random.default_rng(inputs)
    W, c = rng.normal(size=(inputs, inputs)), rng.normal(size=inputs)
    theta = np.concatenate([W.ravel(), c])
    parameters = [Value(p) for p in theta]
    rows, shift = [parameters[i * inputs : (i + 1) * inputs] for i in range(inputs)], parameters[inputs * inputs :]

    def loss(x):
        h = [tanh(v) for v in x]
        y = [sum((w * v for w, v in zip(row, h, strict=True)), x[i]) for i, row in enumerate(rows)]
        y = [v + (shift[i] if more > 0 else 0.0) for i, v in enumerate(y)]
        y = [v + (x[i] * h[i - 1] if more > 1 else 0.0) for i, v in enumerate(y)]
        y = [v - (0.5 * x[i - 1] if more > 2 else 0.0) for i, v in enumerate(y)]
        return total([v * v for v in y])

    def by_numpy(theta, X):
        W, c = theta[: inputs * inputs].reshape(inputs, inputs), theta[inputs * inputs :]
        H, back = np.tanh(X), np.roll(np.arange(inputs), 1)
        Y = X + H @ W.T
        Y = Y + c * (more > 0) + X * H[:, back] * (more > 1) - 0.5 * X[:, back] * (more > 2)
        gradient = [(2.0 * Y.T @ H / len(X)).ravel(), 2.0 * Y.mean(axis=0) * (more > 0)]
        return (Y * Y).sum() / len(X), np.concatenate(gradient)

    step = compile(loss, parameters, backend="native")
    for N in BATCHES:
        X = rng.normal(size=(N, inputs))
        value, gradient = step.value_and_grad(theta, X)
        expected, slopes = by_numpy(theta, X)
        assert value == pytest.approx(expected, rel=1e-13)
        assert gradient == pytest.approx(slopes, rel=1e-12, abs=1e-13)
    code = step._traces.known().runners["value_and_gradient"].tables.code
    assert inputs in [int(line[codes.C]) for line in code if line[codes.OP] == codes.GEMM]


def test_a_chain_of_maps_is_not_joined():
    """relu(relu(x)) would read what the instruction itself has yet to write."""
    w = Value(1.0)

    def loss(x):
        y = w * x
        for _ in range(6):
            y = (y.tanh() + y).tanh()
        return y

    fast, slow = [compile(loss, [w], backend=backend) for backend in ("native", "numpy")]
    X = np.linspace(-2.0, 2.0, 50)
    (v, g), (v1, g1) = [step.value_and_grad([0.7], X) for step in (fast, slow)]
    assert v == pytest.approx(v1, rel=1e-14)
    assert g == pytest.approx(g1, rel=1e-13)


ELSEWHERE = """
import sys
sys.path.insert(0, {tests!r})
from tinygrad_vi.compiler import kernel, lanes
from tinygrad_vi.compiler.machine_code import digest
assert (lanes.REGISTER, lanes.TALL) == {registers}, (lanes.REGISTER, lanes.TALL)
assert digest(kernel.__name__) == {digest!r}  # a program that is saved here runs there
from compiler import test_products as t
for size in [(4, 5), (10, 11), (23, 25)]:
    t.test_two_layers_of_each_size_over_batches_of_each_size(*size)
t.test_sums_over_steps_and_examples(65)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("environment", "registers"),
    [({"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx,+avx2,+fma"}, (4, 4)),
     ({"NUMBA_CPU_NAME": "x86-64", "NUMBA_CPU_FEATURES": "+sse2"}, (2, 4)),
     ({"NUMBA_DISABLE_JIT": "1"}, (8, 8))],
)  # fmt: skip
def test_other_registers_and_the_text_as_python(tmp_path, environment, registers):
    if "NUMBA_CPU_NAME" in environment:
        from llvmlite import binding

        if not (binding.get_process_triple().startswith("x86_64") and binding.get_host_cpu_features().get("avx2")):
            pytest.skip("this processor cannot run the code")
    tests = Path(__file__).parents[1]
    script = ELSEWHERE.format(tests=str(tests), registers=registers, digest=digest("tinygrad_vi.compiler.kernel"))
    path = os.pathsep.join([str(tests.parent), os.environ.get("PYTHONPATH", "")])
    everything = {**os.environ, "PYTHONPATH": path, "NUMBA_CACHE_DIR": str(tmp_path), **environment}
    run = subprocess.run([sys.executable, "-c", script], env=everything, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
