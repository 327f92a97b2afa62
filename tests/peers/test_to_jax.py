"""A compiled function as a function of JAX: its numbers are those of the engine, its derivatives those of the table."""

import inspect
import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from judges import measured, ordinary_points
from programs import SAME_EVERY_TIME, programs

from tinygrad_vi import (
    DomainError,
    ShapeError,
    Value,
    compile,
    dot,
    grad,
    log,
    losses,
    maximum,
    nn,
    operation,
    ops,
    relu,
    rows,
    sqrt,
    take,
    tanh,
    where,
)  # fmt: skip
from tinygrad_vi.compiler import jax_function

jax = pytest.importorskip("jax", reason="JAX is not installed: pip install jax")
jnp = jax.numpy

ROWS = [*rows.OPERATIONS.values(), *map(ops.power, (2.0, 3.0, -1.0, -2.0, 0.5, -0.5, 1.5)),
        *map(ops.exponential, (2.0, 0.5))]  # fmt: skip


@pytest.fixture(autouse=True)
def _double_precision():
    with jax.enable_x64(True):
        yield


# --- Every row of the table -------------------------------------------------------------------------------------------


def by_jax(op):
    """(value, partials, second partials) of the row's text, as JAX differentiates it."""
    step = compile(lambda theta: rows.apply(op, *theta), backend="numpy", verify=False)
    step(np.array(op.points[0]))
    value = step.to_jax(asked="value")
    return lambda at: (value(at), jax.grad(value)(at), jax.hessian(value)(at))


@pytest.mark.parametrize("op", ROWS, ids=repr)
def test_a_row_has_its_value_and_its_derivatives(op):
    """At ordinary points.  The judge is the rule of the table, which the tests of `ops` judge by mpmath."""
    count = len(op.points[0])
    points = [at for at in ordinary_points(op) if len(at) == count][:40]
    values, slopes, curvatures = jax.jit(jax.vmap(by_jax(op)))(np.array(points, dtype=float))
    for at, value, slope, curvature in zip(points, values, slopes, curvatures, strict=True):
        wanted = measured(op, at)
        scale = 1.0 + max(map(abs, wanted.values()))
        assert value == pytest.approx(wanted[()], rel=1e-12, abs=1e-15)
        assert slope.tolist() == pytest.approx([wanted[i,] for i in range(count)], rel=1e-12, abs=1e-14 * scale)
        second = [wanted[i, j] for i in range(count) for j in range(count)]
        assert curvature.ravel().tolist() == pytest.approx(second, rel=1e-11, abs=1e-13 * scale)


@pytest.mark.parametrize("op", [op for op in rows.OPERATIONS.values() if op.corners], ids=repr)
def test_a_row_has_its_conventions_at_corners(op):
    for at, partials in op.corners.items():
        value, slope, _ = by_jax(op)(jnp.array(at))
        assert value == op.value(*at)
        assert slope.tolist() == list(partials)


@pytest.mark.parametrize("name", ["sigmoid", "softplus", "silu", "gelu", "sech", "tanh", "bell", "softsign"])
@pytest.mark.parametrize("x", [0.0, -0.0])
def test_a_smooth_row_has_its_second_derivative_at_zero(name, x):
    """Where texts with |x| or max(x, 0) have another one."""
    op = rows.OPERATIONS[name]
    wanted = measured(op, (x,))
    value, [slope], [[curvature]] = by_jax(op)(jnp.array([x]))
    assert [value, slope, curvature] == pytest.approx([wanted[()], wanted[0,], wanted[0, 0]], rel=1e-14, abs=1e-16)


@pytest.mark.parametrize("op", [op for op in rows.OPERATIONS.values() if op.arity], ids=repr)
def test_not_a_number_stays_one(op):
    if op.constant_partials == (0.0, 0.0) or op.name in ("where", "pow", "hypot"):  # some operands do not count
        return
    value = by_jax(op)(jnp.full(op.arity, jnp.nan))[0]
    assert math.isnan(value)


def test_sums_are_rounded_once():
    step = compile(lambda w, x: losses.l2(w) * 0.0 + sum_of(w, x), backend="numpy", verify=False)
    X = np.array([[1e16, 1.0, -1e16, 1.0, 0.5]])
    theta = np.ones(5)
    assert step(theta, X) == jax.jit(step.to_jax(asked="value"))(theta, X) == 2.5


def sum_of(w, x):
    from tinygrad_vi import total

    return total([a * b for a, b in zip(w, x, strict=True)])


# --- Programs ---------------------------------------------------------------------------------------------------------


def classifier():
    model = nn.MLP(2, [4, 3], activation="tanh", seed=1)
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(7, 2)), np.array([0.0, 2, 1, 1, 0, 2, 1])
    return compile(lambda x, y: losses.cross_entropy(model(x), y) + losses.l2(model, 0.01), params=model), X, y


def table():
    W = [[Value(0.1 * i - 0.3 * j, f"W[{i},{j}]") for j in range(3)] for i in range(5)]
    i, k = np.array([0.0, 3, 4, 4]), np.array([1.0, 0, 2, 2])
    loss = lambda i, k: losses.cross_entropy([tanh(v) for v in take(W, i)], k)  # noqa: E731
    return compile(loss, params=W), i, k


def margins():
    model = nn.MLP(2, [5, 5, 1], activation="relu", seed=3)
    rng = np.random.default_rng(1)
    return compile(lambda x, y: losses.hinge(model(x), y), params=model), rng.normal(size=(6, 2)), np.sign(
        rng.normal(size=6)
    )  # fmt: skip


def recurrent():
    model = nn.RNN(nn.LSTMCell(2, 3, seed=1), nn.Layer(3, 1, "identity", seed=2), last=True)
    rng = np.random.default_rng(2)
    return compile(lambda x, y: losses.mse(model(x), y), params=model), rng.normal(size=(3, 4, 2)), rng.normal(size=3)


PROGRAMS = {"a classifier": classifier, "a table": table, "margins": margins, "a recurrent network": recurrent}


@pytest.mark.parametrize("program", PROGRAMS)
def test_value_and_gradient(program):
    step, *data = PROGRAMS[program]()
    theta = step.theta
    value, gradient = step.value_and_grad(theta, *data)
    found, slopes = jax.jit(step.to_jax())(theta, *data)
    assert found == pytest.approx(value, rel=1e-12)
    assert np.asarray(slopes) == pytest.approx(gradient, rel=1e-12, abs=1e-14)
    assert jax.jit(step.to_jax(asked="value"))(theta, *data) == pytest.approx(value, rel=1e-12)
    each = jax.jit(step.to_jax(asked="each"))(theta, *data)
    assert np.asarray(each) == pytest.approx(step.each(theta, *data), rel=1e-12)
    with jax.enable_x64(False):
        found, slopes = jax.jit(step.to_jax())(theta, *data)
        assert (found.dtype, slopes.dtype) == (np.float32, np.float32)
        assert found == pytest.approx(value, rel=1e-5)
        assert np.asarray(slopes) == pytest.approx(gradient, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_derivatives_that_jax_takes(program):
    """Of the mean the gradient; of the gradient the product with the Hessian; by the data, what the engine says."""
    step, *data = PROGRAMS[program]()
    theta = jnp.array(step.theta)
    _, gradient = step.value_and_grad(step.theta, *data)
    mean, both = step.to_jax(asked="value"), step.to_jax()
    assert np.asarray(jax.grad(mean)(theta, *data)) == pytest.approx(gradient, rel=1e-11, abs=1e-13)
    v = np.random.default_rng(5).normal(size=len(theta))
    _, along = jax.jvp(lambda theta: both(theta, *data)[1], (theta,), (v,))
    assert np.asarray(along) == pytest.approx(step.hvp(step.theta, v, *data), rel=1e-10, abs=1e-12)
    by_X = np.asarray(jax.grad(mean, argnums=1)(theta, *map(jnp.asarray, data)))
    moved = lambda h: [data[0] + h, *data[1:]]  # noqa: E731
    if program not in ("a table",):  # whose data are whole numbers
        h = 1e-6
        slope = (step(step.theta, *moved(h)) - step(step.theta, *moved(-h))) / (2 * h)
        assert by_X.sum() == pytest.approx(slope, rel=1e-6, abs=1e-9)


def test_any_number_of_examples_and_many_parameter_vectors():
    step, X, y = classifier()
    step(step.theta, X, y)
    f = jax.jit(step.to_jax())
    for n in (1, 2, 7):
        value, gradient = step.value_and_grad(step.theta, X[:n], y[:n])
        found, slopes = f(step.theta, X[:n], y[:n])
        assert found == pytest.approx(value, rel=1e-12)
        assert np.asarray(slopes) == pytest.approx(gradient, rel=1e-12, abs=1e-14)
    thetas = np.stack([step.theta, 2.0 * step.theta])
    values, _ = jax.vmap(step.to_jax(), (0, None, None))(thetas, X, y)
    assert values.tolist() == pytest.approx([step(theta, X, y) for theta in thetas], rel=1e-12)


def test_the_number_of_examples_may_be_a_symbol():
    from jax import export

    step, X, y = classifier()
    value = step(step.theta, X, y)
    (N,) = export.symbolic_shape("N")
    shapes = [jax.ShapeDtypeStruct(shape, jnp.float64) for shape in (step.theta.shape, (N, 2), (N,))]
    exported = export.export(jax.jit(step.to_jax()))(*shapes)
    assert exported.call(step.theta, X, y)[0] == pytest.approx(value, rel=1e-12)
    assert exported.call(step.theta, X[:3], y[:3])[0] == pytest.approx(step(step.theta, X[:3], y[:3]), rel=1e-12)


def test_a_function_of_one_argument():
    step = compile(lambda x: (x[0] * x[1] - x[2]) ** 2 + x[3] ** 4)
    at = np.array([1.0, 2.0, 3.0, 0.5])
    value, gradient = step.value_and_grad(at)
    found, slopes = step.to_jax()(at)
    assert [float(found), *slopes.tolist()] == pytest.approx([value, *gradient], rel=1e-14)
    alone = compile(lambda x: tanh(x) ** 2)
    alone.value_and_grad(0.5)
    found, slope = alone.to_jax()(0.5)
    assert slope.shape == ()
    assert float(slope) == pytest.approx(alone.grad(0.5), rel=1e-14)
    several = compile(lambda x: [[x[0], x[1] ** 2], [x[0] * x[1], 1.0]])
    several.each([2.0, 3.0])
    assert several.to_jax(asked="each")([2.0, 3.0]).tolist() == [[2.0, 9.0], [6.0, 1.0]]
    assert several.to_jax(asked="value")([2.0, 3.0]).tolist() == [[2.0, 9.0], [6.0, 1.0]]
    assert jax.jacobian(several.to_jax(asked="value"))(jnp.array([2.0, 3.0]))[1, 0].tolist() == [3.0, 2.0]
    with pytest.raises(TypeError, match=r"only a function with one result has a gradient.*asked=\"value\""):
        several.to_jax()


def test_a_batch_that_was_found_in_the_function_is_in_it():
    w = [Value(0.5, "w[0]"), Value(-1.0, "w[1]")]
    rng = np.random.default_rng(0)
    xs, ys = rng.normal(size=(40, 2)).tolist(), rng.normal(size=40).tolist()
    step = compile(lambda: sum((dot(w, x) - y) ** 2 for x, y in zip(xs, ys, strict=True)) / 40.0, params=w)
    value, gradient = step.value_and_grad(step.theta)
    assert step.explain().examples == 40
    found, slopes = jax.jit(step.to_jax())(step.theta)
    assert found == pytest.approx(value, rel=1e-12)
    assert slopes.tolist() == pytest.approx(gradient.tolist(), rel=1e-12)
    with jax.enable_x64(False):
        assert jax.jit(step.to_jax())(step.theta)[0].dtype == np.float32


def test_a_number_is_the_same_for_all_examples():
    step = compile(lambda w, x, c: tanh(w[0] * x) * c)
    data = np.array([0.5, 1.0, -2.0]), 3.0
    value, gradient = step.value_and_grad([0.7], *data)
    found, slopes = jax.jit(step.to_jax())(jnp.array([0.7]), *data)
    assert [float(found), *slopes.tolist()] == pytest.approx([value, *gradient], rel=1e-14)


def test_whole_numbers_and_other_precisions_become_that_of_theta():
    step, i, k = table()
    step(step.theta, i, k)
    f = step.to_jax()
    value, gradient = f(jnp.array(step.theta, jnp.float32), i.astype(int), k)
    assert (value.dtype, gradient.dtype) == (jnp.float32, jnp.float32)
    square = compile(lambda x: x[0] ** 2)
    square([3.0])
    assert square.to_jax()(jnp.array([3]))[1].tolist() == [6.0]


@pytest.mark.slow
def test_random_programs():
    @SAME_EVERY_TIME
    @given(programs(40))
    def agrees(drawn):
        program, at, _ = drawn
        step = compile(lambda theta: Value(0.0) + program.run(theta, rows.apply), backend="numpy", verify=False)
        if not depends(program):
            return
        value, gradient = step.value_and_grad(np.array(at))
        found, slopes = step.to_jax()(np.array(at))
        assert found == pytest.approx(value, rel=1e-10, abs=1e-12)
        assert np.asarray(slopes) == pytest.approx(gradient, rel=1e-10, abs=1e-11)

    agrees()


def depends(program):
    """Whether the last node is made of an input."""
    reached = set(range(program.n_inputs))
    for i, (_, operands) in enumerate(program.instructions):
        if any(isinstance(x, int) and x in reached for x in operands):
            reached.add(program.n_inputs + i)
    return program.n_inputs + len(program.instructions) - 1 in reached


# --- What cannot be raised --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fn", "good", "bad"),
    [
        (lambda w, x: tanh(log(w[0] * x)), 2.0, 0.0),
        (lambda w, x: w[0] / (1.0 + ops.exp(x)), 2.0, 1000.0),  # exp overflows, 1/infinity is 0
        (lambda w, x: take([w[0], 2.0, 3.0], x), 1.0, 3.0),
        (lambda w, x: losses.cross_entropy([w[0], 0.0], x), 1.0, 0.5),
        (lambda w, x: sqrt(w[0] * x), 2.0, -1.0),
    ],
)
def test_what_the_function_would_raise_for_is_not_a_number(fn, good, bad):
    step = compile(fn)
    theta, X = np.array([1.5]), np.array([good, bad, good])
    step.value_and_grad(theta, X[::2])
    each = jax.jit(step.to_jax(asked="each"))(theta, X)
    assert np.isfinite(each).tolist() == [True, False, True]
    assert each[0] == pytest.approx(step.each(theta, X[:1])[0], rel=1e-14)
    assert math.isnan(jax.jit(step.to_jax(asked="value"))(theta, X))
    value, gradient = jax.jit(step.to_jax())(theta, X)
    assert math.isnan(value)
    assert np.isnan(gradient).all()
    with pytest.raises((DomainError, ValueError)):
        step.value_and_grad(theta, X)


def test_infinite_numbers_that_are_no_error_stay():
    step = compile(lambda w, x: where(x, w[0] * x, -1.0) + maximum(x, -math.inf))
    X = np.array([1.0, -2.0])
    assert step(np.array([2.0]), X) == 0.0
    assert jax.jit(step.to_jax(asked="each"))(np.array([2.0]), X).tolist() == [3.0, -3.0]


# --- What is refused --------------------------------------------------------------------------------------------------


def test_before_the_first_call_and_after_a_change():
    w, scale = Value(0.5), [2.0]
    step = compile(lambda x: scale[0] * w * x, params=[w])
    with pytest.raises(ValueError, match="nothing has been traced yet"):
        step.to_jax()
    step(step.theta, [1.0, 2.0])
    f = step.to_jax(asked="value")
    scale[0] = 3.0
    with pytest.raises(ValueError, match="has changed since it was traced: call the compiled function once more"):
        step.to_jax()
    step(step.theta, [1.0, 2.0])
    assert (f(step.theta, np.ones(2)), step.to_jax(asked="value")(step.theta, np.ones(2))) == (1.0, 1.5)
    with pytest.raises(ValueError, match="asked is one of value_and_grad, value, each, got 'hessian'"):
        step.to_jax(asked="hessian")
    with pytest.raises(ValueError, match="system is numpy, jax or c, got 'sympy'"):
        step.source_for("sympy")


def test_dropout():
    layer, drop = nn.Layer(2, 3, "tanh", seed=1), nn.Dropout(0.5)
    step = compile(lambda x, y: losses.mse(dot(drop(layer(x)), [1.0, 2.0, 3.0]), y), params=layer)
    X, y = np.random.default_rng(0).normal(size=(4, 2)), np.arange(4.0)
    step(step.theta, X, y)
    with pytest.raises(ValueError, match=r"put the model in eval\(\) mode, call the compiled function once more"):
        step.to_jax()
    drop.eval()
    value = step(step.theta, X, y)  # the advice is right
    assert step.to_jax(asked="value")(step.theta, X, y) == pytest.approx(value, rel=1e-14)


def test_arguments_that_are_no_vector():
    step = compile(lambda a, b: log(a) + a * b)
    step.grad(2.0, 5.0)
    with pytest.raises(TypeError, match="to_jax gives a function of one vector theta"):
        step.to_jax()


def test_shapes():
    step, X, y = classifier()
    step(step.theta, X, y)
    f = step.to_jax()
    with pytest.raises(ShapeError, match="theta needs 27 numbers, one for each parameter, got 26"):
        f(step.theta[1:], X, y)
    with pytest.raises(ShapeError, match="the numbers of examples differ: x has 7, y has 6"):
        f(step.theta, X, y[1:])
    with pytest.raises(ShapeError, match=r"x has 3 numbers for each example, and the function was traced for 2"):
        f(step.theta, np.zeros((7, 3)), y)
    with pytest.raises(ShapeError, match="the function takes theta, x, y, got 1 argument behind theta"):
        f(step.theta, X)
    assert list(inspect.signature(f).parameters) == ["theta", "x", "y"]


def test_a_row_of_ones_own(monkeypatch):
    monkeypatch.setattr(rows, "OWN", {})

    @operation(partials=lambda out, x: -2.0 * x * out)
    def bump(x):
        return math.exp(-x * x)

    step = compile(lambda w, x: bump(w[0] * x))
    step([1.0], [0.5])
    with pytest.raises(ValueError, match=r"JAX has no text for the operation 'bump': give it one that runs on arrays"):
        step.to_jax()

    @operation(partials=lambda out, x: -2.0 * x * out, numpy="np.exp(-{0} * {0})")
    def bell_of(x):
        return math.exp(-x * x)

    step = compile(lambda w, x: bell_of(w[0] * x))
    value, gradient = step.value_and_grad([1.0], [0.5, 0.7])
    found, slopes = jax.jit(step.to_jax())(np.array([1.0]), np.array([0.5, 0.7]))
    assert [float(found), *slopes.tolist()] == pytest.approx([value, *gradient], rel=1e-14)


def test_a_long_program_is_announced(monkeypatch):
    step, X, y = classifier()
    step(step.theta, X, y)
    monkeypatch.setattr(jax_function, "LONG", 10)
    with pytest.warns(UserWarning, match=r"lines for JAX: XLA may take about \d+ s to compile it") as caught:
        step.to_jax()
    assert caught[0].filename == __file__


# --- The text ---------------------------------------------------------------------------------------------------------


def test_the_text_runs_by_itself():
    step, X, y = classifier()
    value, gradient = step.value_and_grad(step.theta, X, y)
    text = step.source_for("jax")
    assert "W1 @ x + b1" in text
    assert "@ h1.T" in text
    assert step.source_for("numpy") == step.source
    namespace = {}
    exec(text, namespace)
    found, slopes = jax.jit(namespace["value_and_gradient"])(jnp.array(step.theta), X, y)
    assert found == pytest.approx(value, rel=1e-12)
    assert np.asarray(slopes) == pytest.approx(gradient, rel=1e-12, abs=1e-14)


def test_jax_is_imported_when_it_is_asked_for_and_named_when_it_is_missing():
    code = """
import sys
import numpy as np
from tinygrad_vi import compile
step = compile(lambda w, x: (w[0] * x) ** 2, backend="numpy")
step([1.0], [2.0, 3.0])
step.source_for("jax")
assert "jax" not in sys.modules
sys.modules["jax"] = None
try:
    step.to_jax()
except ImportError as error:
    assert str(error) == "a program on JAX needs the package jax: pip install jax", error
else:
    raise AssertionError
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_it_trains_by_plain_descent():
    """As an optimiser of JAX would use it."""
    step, X, y = margins()
    step(step.theta, X, y)
    f = jax.jit(step.to_jax())
    theta = jnp.array(step.theta)
    first = f(theta, X, y)[0]
    for _ in range(50):
        theta = theta - 0.1 * f(theta, X, y)[1]
    assert f(theta, X, y)[0] < 0.3 * first
    assert float(grad(lambda x: relu(x[0]))([1.0])[0]) == 1.0


# --- Loops ------------------------------------------------------------------------------------------------------------


def test_steps_that_repeat_are_compiled_once_and_can_be_differentiated_exported_and_mapped():
    from jax import export

    model = nn.RNN(nn.RNNCell(2, 3, seed=1), nn.Layer(3, 1, "identity", seed=2), last=True)
    rng = np.random.default_rng(2)
    X, y = rng.normal(size=(4, 60, 2)), rng.normal(size=4)
    step = compile(lambda x, y: losses.mse(model(x), y), params=model)
    value, gradient = step.value_and_grad(step.theta, X, y)
    assert step.source_for("jax").count("jax.lax.scan(") >= 3
    f, mean = step.to_jax(), step.to_jax("value")
    found, slopes = jax.jit(f)(step.theta, X, y)
    assert found == pytest.approx(value, rel=1e-12)
    assert np.asarray(slopes) == pytest.approx(gradient, rel=1e-11, abs=1e-13)
    assert np.asarray(jax.grad(mean)(step.theta, X, y)) == pytest.approx(gradient, rel=1e-11, abs=1e-13)
    v = rng.normal(size=len(step.theta))
    _, along = jax.jvp(lambda theta: f(theta, X, y)[1], (jnp.array(step.theta),), (v,))
    assert np.asarray(along) == pytest.approx(step.hvp(step.theta, v, X, y), rel=1e-10, abs=1e-12)
    few = jax.jit(f)(step.theta, X[:1], y[:1])
    assert few[0] == pytest.approx(step(step.theta, X[:1], y[:1]), rel=1e-12)
    thetas = np.stack([step.theta, 0.5 * step.theta])
    values, _ = jax.vmap(f, (0, None, None))(thetas, X, y)
    assert values.tolist() == pytest.approx([step(theta, X, y) for theta in thetas], rel=1e-12)
    (N,) = export.symbolic_shape("N")
    shapes = [jax.ShapeDtypeStruct(shape, jnp.float64) for shape in (step.theta.shape, (N, 60, 2), (N,))]
    exported = export.export(jax.jit(f))(*shapes)
    assert exported.call(step.theta, X, y)[0] == pytest.approx(value, rel=1e-12)
    with jax.enable_x64(False):
        found, slopes = jax.jit(f)(step.theta, X, y)
        assert (found.dtype, slopes.dtype) == (np.float32, np.float32)
        assert found == pytest.approx(value, rel=1e-5)
    runner = compile(lambda x, y: losses.mse(model(x), y), params=model, backend="jax")
    assert runner.value_and_grad(runner.theta, X, y)[1] == pytest.approx(gradient, rel=1e-11, abs=1e-13)


def test_a_loop_that_jax_would_refuse_is_written_out(monkeypatch):
    def steps(theta):
        h, loss = theta[0], 0.0
        for k in range(60):
            h = tanh(theta[1] * h + math.cos(k))
            loss = loss + (h - math.sin(k)) ** 2
        return loss

    step = compile(steps)
    value, gradient = step.value_and_grad([0.3, 0.2])
    assert "jax.lax.scan(" in step.source_for("jax")
    for fits in (True, False):
        monkeypatch.setattr(jax_function, "_fits", lambda *_, fits=fits: fits)
        found, slopes = step.to_jax()([0.3, 0.2])
        assert [found, *slopes.tolist()] == pytest.approx([value, *gradient], rel=1e-11)
