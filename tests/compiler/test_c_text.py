"""The text in C: compiled by the machine's compiler it gives the numbers of the engine."""

import ctypes
import math
import shutil
import subprocess

import numpy as np
import pytest

from tinygrad_vi import (
    Value,
    compile,
    dot,
    exp,
    log,
    losses,
    nn,
    operation,
    ops,
    rows,
    sqrt,
    take,
    tanh,
    total,
)  # fmt: skip
from tinygrad_vi.compiler.exports.c_names import C_DEFINED_HERE, C_WRITTEN
from tinygrad_vi.compiler.terms import ONE
from tinygrad_vi.conditions import COMPARISONS

CC = next(filter(None, map(shutil.which, ("gcc", "clang", "cc"))), None)
needs_a_compiler = pytest.mark.skipif(CC is None, reason="there is no C compiler on PATH")
FLAGS = ["-std=c99", "-O1", "-Wall", "-Wextra", "-Werror", "-pedantic", "-ffp-contract=off", "-shared", "-fPIC"]


def built(path):
    """The function of a file."""
    library = path.with_suffix(".so")
    subprocess.run([CC, *FLAGS, "-o", library, path, "-lm"], check=True, timeout=120)
    return getattr(ctypes.CDLL(str(library)), path.stem)


def call(function, theta, data, *sizes):
    """What the function writes, arrays of these sizes."""
    pointer = ctypes.POINTER(ctypes.c_double)
    arrays = [np.ascontiguousarray(x, dtype=float) for x in (theta, *data)]
    found = [np.full(size, 7.0) for size in sizes]
    given = [x.ctypes.data_as(pointer) for x in (*arrays, *found)]
    count = [ctypes.c_size_t(len(arrays[1]))] if data else []
    function(given[0], *count, *given[1:])
    return found


@needs_a_compiler
@pytest.mark.parametrize("op", [*rows.OPERATIONS.values(), ops.power(3.0), ops.power(-1.0), ops.power(-0.5),
                                ops.exponential(2.0)], ids=repr)  # fmt: skip
def test_every_operation(op, tmp_path):
    """At the points of its row, and at NaN."""
    points = [at for at in op.points if len(at) == len(op.points[0])]
    count = len(points[0])
    zero = Value(0.0)
    step = compile(lambda x: rows.apply(op, *x) + zero, params=[zero], backend="numpy", verify=False)
    X = np.array(points)
    step([0.0], X[:1])
    function = built(step.export(tmp_path / "row.c", asked="each"))
    [found] = call(function, [0.0], [X], len(X))
    wanted = [op.value(*at) for at in points]
    assert found.tolist() == pytest.approx(wanted, rel=1e-12, abs=1e-300)
    if op.arity == count and op.name not in ("pow", "where", "hypot"):
        [found] = call(function, [0.0], [np.full((1, count), math.nan)], 1)
        assert math.isnan(found[0])


def test_every_row_has_its_name():
    keys = {*rows.table_keys().values()}
    lines = {*map(rows.key_of, ("add", "sub", "mul", "neg", "dot"))}
    assert keys - C_WRITTEN.keys() - C_DEFINED_HERE.keys() == lines
    assert {*COMPARISONS} <= C_WRITTEN.keys()


def classifier():
    model = nn.MLP(2, [4, 3], activation="tanh", seed=1)
    rng = np.random.default_rng(0)
    loss = lambda x, y: losses.cross_entropy(model(x), y) + losses.l2(model, 0.01)  # noqa: E731
    return compile(loss, params=model), rng.normal(size=(9, 2)), np.array([0.0, 2, 1, 1, 0, 2, 1, 0, 0])


def look_up():
    W = [[Value(0.1 * i - 0.3 * j) for j in range(3)] for i in range(5)]
    loss = lambda i, k: losses.cross_entropy([tanh(v) for v in take(W, i)], k)  # noqa: E731
    return compile(loss, params=W), np.array([0.0, 3, 4, 4]), np.array([1.0, 0, 2, 2])


def recurrent():
    model = nn.RNN(nn.LSTMCell(2, 3, seed=1), nn.Layer(3, 1, "identity", seed=2), last=True)
    rng = np.random.default_rng(2)
    return compile(lambda x, y: losses.mse(model(x), y), params=model), rng.normal(size=(3, 4, 2)), rng.normal(size=3)


def no_data():
    w = [Value(0.5), Value(-1.0)]
    return (compile(lambda: exp(w[0]) * tanh(w[1]) + total([w[0], 1e16, -1e16, w[1]]), params=w),)


def found_batch():
    w = [Value(0.5), Value(-1.0)]
    rng = np.random.default_rng(0)
    xs, ys = rng.normal(size=(40, 2)).tolist(), rng.normal(size=40).tolist()
    return (compile(lambda: sum((dot(w, x) - y) ** 2 for x, y in zip(xs, ys, strict=True)) / 40.0, params=w),)


def root_of_a_mean():
    """A sum over the examples goes into what differs from example to example: a second loop."""
    w = [Value(0.5), Value(-1.0)]
    rng = np.random.default_rng(0)
    xs = rng.normal(size=(40, 2)).tolist()

    def loss():
        mean = sum(dot(w, x) for x in xs) / 40.0
        return sqrt(sum((dot(w, x) - mean) ** 2 for x in xs) / 40.0)

    return (compile(loss, params=w),)


@needs_a_compiler
@pytest.mark.parametrize("make", [classifier, look_up, recurrent, no_data, found_batch, root_of_a_mean])
def test_value_and_gradient(make, tmp_path):
    step, *data = make()
    value, gradient = step.value_and_grad(step.theta, *data)
    found, slopes = call(built(step.export(tmp_path / "model.c")), step.theta, data, 1, len(gradient))
    assert found[0] == pytest.approx(value, rel=1e-12)
    assert slopes == pytest.approx(gradient, rel=1e-11, abs=1e-14)
    [mean] = call(built(step.export(tmp_path / "mean.c", asked="value")), step.theta, data, 1)
    assert mean[0] == pytest.approx(value, rel=1e-12)


@needs_a_compiler
def test_each_and_what_cannot_be_raised(tmp_path):
    step = compile(lambda w, x, c: [tanh(log(w[0] * x)), w[1] * c])
    theta, X, C = [1.5, 2.0], np.array([1.0, 2.0, 0.5]), np.array([1.0, -1.0, 3.0])
    wanted = step.each(theta, X, C)
    function = built(step.export(tmp_path / "several.c", asked="each"))
    assert call(function, theta, [X, C], 6)[0] == pytest.approx(wanted.ravel(), rel=1e-13)
    X[1] = 0.0
    [found] = call(function, theta, [X, C], 6)
    assert np.isnan(found).tolist() == [False, False, True, True, False, False]
    one = compile(lambda w, x: take([w[0], 2.0], x))
    one.value_and_grad([1.0], [0.0, 1.0])
    value, gradient = call(built(one.export(tmp_path / "one.c")), [1.0], [np.array([0.0, 2.0])], 1, 1)
    assert np.isnan([*value, *gradient]).all()


def test_what_is_refused_and_the_text(tmp_path, monkeypatch):
    step, X, y = classifier()
    step.value_and_grad(step.theta, X, y)
    text = step.source_for("c")
    assert "void compiled(const double *restrict theta, size_t n, const double *restrict x_" in text
    assert text.count("#include") == 2
    with pytest.raises(ValueError, match=r"the name of the file ends with \.c, \.onnx or \.stablehlo, got 'model\.h'"):
        step.export(tmp_path / "model.h")
    with pytest.raises(ValueError, match=r"the file has the name of the function in C, and 'my-model' is none"):
        step.export(tmp_path / "my-model.c")
    for name in ("int", "exp", "sech", "NAN"):  # sech is in the derivative of tanh, which the text defines
        with pytest.raises(ValueError, match=f"the name of the function in C, where '{name}' is taken: write model.c"):
            step.export(tmp_path / f"{name}.c")
    step.export(tmp_path / "step.c").unlink()  # a row that this program has not
    monkeypatch.setattr(rows, "OWN", {})

    @operation(partials=lambda out, x: -2.0 * x * out)
    def bump(x):
        return math.exp(-x * x)

    own = compile(lambda w, x: bump(w[0] * x))
    own([1.0], [0.5])
    with pytest.raises(ValueError, match="C has no text for the operation 'bump': write the function with operations"):
        own.export(tmp_path / "own.c")
    assert list(tmp_path.iterdir()) == []
    assert ONE == 0
