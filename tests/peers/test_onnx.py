"""Programs in ONNX: read back by onnxruntime they give the numbers of the engine, in both precisions."""

import math

import numpy as np
import pytest
from hypothesis import given
from programs import SAME_EVERY_TIME, programs

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
from tinygrad_vi.compiler.exports.onnx_functions import ONNX_DEFINITIONS, ONNX_WRITTEN
from tinygrad_vi.conditions import COMPARISONS

onnx = pytest.importorskip("onnx", reason="ONNX is not installed: pip install onnx")
runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: pip install onnxruntime")

ROWS = [*rows.OPERATIONS.values(), *map(ops.power, (2.0, 3.0, -1.0, -2.0, 0.5, -0.5, 1.5)),
        *map(ops.exponential, (2.0, 0.5))]  # fmt: skip


def session(path, optimised=True):
    """A file as onnxruntime runs it."""
    options = runtime.SessionOptions()
    options.log_severity_level = 4
    level = runtime.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_ALL if optimised else level.ORT_DISABLE_ALL
    return runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def asked_of(run, theta, *data):
    """What a program answers, by name."""
    given = run.get_inputs()
    dtype = {"tensor(double)": np.float64, "tensor(float)": np.float32}[given[0].type]
    columns = [np.reshape(x, (len(x), math.prod(x.shape[1:]))) for x in data]
    fed = {x.name: np.asarray(array, dtype) for x, array in zip(given, [theta, *columns], strict=True)}
    return dict(zip([x.name for x in run.get_outputs()], run.run(None, fed), strict=True))


# --- Every row of the table -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("op", ROWS, ids=repr)
def test_every_operation(op, tmp_path):
    """At the points of its row, and at NaN."""
    points = [at for at in op.points if len(at) == len(op.points[0])]
    count = len(points[0])
    zero = Value(0.0)
    step = compile(lambda x: rows.apply(op, *x) + zero, params=[zero], backend="numpy", verify=False)
    X = np.array(points)
    step([0.0], X[:1])
    run = session(step.export(tmp_path / "row.onnx", asked="each"))
    found = asked_of(run, [0.0], X)["results"]
    wanted = [op.value(*at) for at in points]
    assert found.tolist() == pytest.approx(wanted, rel=1e-12, abs=1e-300)
    if op.arity == count and op.name not in ("pow", "where", "hypot"):
        [found] = asked_of(run, [0.0], np.full((1, count), math.nan))["results"]
        assert math.isnan(found)


@pytest.mark.parametrize("op", ROWS, ids=repr)
def test_every_operation_in_single_precision(op, tmp_path):
    """Where neither the operands nor the result are beyond it, and not so that a rounded operand says something else."""
    zero = Value(0.0)
    step = compile(lambda x: rows.apply(op, *x) + zero, params=[zero], backend="numpy", verify=False)
    points = [at for at in op.points if len(at) == len(op.points[0]) and max(map(abs, at)) < 80.0]
    X = np.array([at for at in points if all(float(np.float32(x)) == x for x in at) or op.name != "mod"])
    step([0.0], X[:1])
    run = session(step.export(tmp_path / "row.onnx", asked="each", dtype="float32"))
    at = X.astype(np.float32)
    found = asked_of(run, [0.0], at)["results"]
    for x, y in zip(at.astype(float).tolist(), found.tolist(), strict=True):
        try:
            wanted = op.value(*x)
        except (ValueError, OverflowError, ZeroDivisionError):
            continue  # the rounded operand is outside of the domain
        if 1e-30 < abs(wanted) < 1e30:
            assert y == pytest.approx(wanted, rel=1e-5)


def test_every_row_has_its_name():
    keys = {*rows.table_keys().values()}
    lines = {*map(rows.key_of, ("add", "sub", "mul", "neg", "dot"))}
    assert keys - ONNX_WRITTEN.keys() - {*map(rows.key_of, ONNX_DEFINITIONS)} == lines
    assert {*COMPARISONS} <= ONNX_WRITTEN.keys()


FAR = {
    "expm1": (lambda mp, x: mp.expm1(x), lambda t: 700.0 * t**5),
    "log1p": (lambda mp, x: mp.log1p(x), lambda t: (10.0 ** (12.0 * t)) if t > 0 else -(10.0 ** (16.0 * t - 0.001))),
    "erf": (lambda mp, x: mp.erf(x), lambda t: 7.0 * t**3),
    "erfc": (lambda mp, x: mp.erfc(x), lambda t: 26.0 * t),
    "sinh": (lambda mp, x: mp.sinh(x), lambda t: 709.0 * t**5),
    "cosh": (lambda mp, x: mp.cosh(x), lambda t: 709.0 * t**5),
    "tanh": (lambda mp, x: mp.tanh(x), lambda t: 20.0 * t**5),
    "sigmoid": (lambda mp, x: 1 / (1 + mp.exp(-x)), lambda t: 700.0 * t),
    "softplus": (lambda mp, x: mp.log1p(mp.exp(x)), lambda t: 700.0 * t),
    "asin": (lambda mp, x: mp.asin(x), lambda t: t),
    "acos": (lambda mp, x: mp.acos(x), lambda t: math.copysign(1.0 - (1.0 - abs(t)) ** 6, t)),
    "atan": (lambda mp, x: mp.atan(x), lambda t: math.sinh(40.0 * t)),
    "asinh": (lambda mp, x: mp.asinh(x), lambda t: math.sinh(40.0 * t)),
    "acosh": (lambda mp, x: mp.acosh(x), lambda t: 1.0 + 10.0 ** (30.0 * t - 5.0)),
    "atanh": (lambda mp, x: mp.atanh(x), lambda t: math.copysign(1.0 - (1.0 - abs(t)) ** 6, t)),
    "cbrt": (lambda mp, x: mp.sign(x) * mp.cbrt(abs(x)), lambda t: math.sinh(600.0 * t)),
    "tan": (lambda mp, x: mp.tan(x), lambda t: 100.0 * t),
    "gelu": (lambda mp, x: x * mp.erfc(-x / mp.sqrt(2)) / 2, lambda t: 37.0 * t),
    "bell": (lambda mp, x: mp.exp(-x * x / 2), lambda t: 37.0 * t),
}
#: onnxruntime's sine loses digits near multiples of pi
NEAR = {"tan": 1e-13}


@pytest.mark.parametrize("name", FAR)
def test_the_tails(name, tmp_path):
    """200 numbers over the whole range, beside mpmath with fifty digits."""
    mp = pytest.importorskip("mpmath", reason="mpmath is not installed: pip install mpmath")
    truth, of = FAR[name]
    zero = Value(0.0)
    op = rows.OPERATIONS[name]
    step = compile(lambda x: rows.apply(op, x) + zero, params=[zero], backend="numpy", verify=False)
    X = np.array([of(t) for t in np.linspace(-0.99, 0.99, 200).tolist()])
    step([0.0], X[100:101])
    found = asked_of(session(step.export(tmp_path / "row.onnx", asked="each")), [0.0], X)["results"]
    with mp.workdps(50):
        for x, y in zip(X.tolist(), found.tolist(), strict=True):
            wanted = truth(mp, mp.mpf(x))
            assert abs(y - wanted) <= NEAR.get(name, 4e-15) * abs(wanted), x


# --- Programs ---------------------------------------------------------------------------------------------------------


def regression():
    model = nn.MLP(3, [5, 4, 1], activation="gelu", seed=3)
    rng = np.random.default_rng(1)
    return compile(lambda x, y: losses.mse(model(x), y), params=model), rng.normal(size=(6, 3)), rng.normal(size=6)


def classifier():
    model = nn.MLP(2, [4, 3], activation="tanh", seed=1)
    rng = np.random.default_rng(0)
    loss = lambda x, y: losses.cross_entropy(model(x), y) + losses.l2(model, 0.01)  # noqa: E731
    return compile(loss, params=model), rng.normal(size=(9, 2)), np.array([0.0, 2, 1, 1, 0, 2, 1, 0, 0])


def look_up():
    W = [[Value(0.1 * i - 0.3 * j, f"W[{i},{j}]") for j in range(3)] for i in range(5)]
    loss = lambda i, k: losses.cross_entropy([tanh(v) for v in take(W, i)], k)  # noqa: E731
    return compile(loss, params=W), np.array([0.0, 3, 4, 4]), np.array([1.0, 0, 2, 2])


def recurrent():
    model = nn.RNN(nn.LSTMCell(2, 3, seed=1), nn.Layer(3, 1, "identity", seed=2), last=True)
    rng = np.random.default_rng(2)
    return compile(lambda x, y: losses.mse(model(x), y), params=model), rng.normal(size=(3, 4, 2)), rng.normal(size=3)


def kalman():
    """The likelihood of a local level: a scalar program, step after step."""
    ys = np.random.default_rng(4).normal(size=12).cumsum().tolist()

    def loss(theta):
        q, r = exp(theta[0]), exp(theta[1])
        m, P, loss = theta[2], Value(1.0), 0.0
        for y in ys:
            P = P + q
            S = P + r
            e = y - m
            loss = loss + 0.5 * (log(S) + e * e / S)
            m, P = m + P / S * e, P * (1.0 - P / S)
        return loss

    return compile(loss), np.array([-0.3, 0.2, 0.1])


def no_data():
    w = [Value(0.5), Value(-1.0)]
    return (compile(lambda: exp(w[0]) * tanh(w[1]) + total([w[0], 1e16, -1e16, w[1]]), params=w),)


def found_batch():
    w = [Value(0.5), Value(-1.0)]
    rng = np.random.default_rng(0)
    xs, ys = rng.normal(size=(40, 2)).tolist(), rng.normal(size=40).tolist()
    return (compile(lambda: sum((dot(w, x) - y) ** 2 for x, y in zip(xs, ys, strict=True)) / 40.0, params=w),)


def root_of_a_mean():
    """A sum over the examples goes into what differs from example to example."""
    w = [Value(0.5), Value(-1.0)]
    xs = np.random.default_rng(0).normal(size=(40, 2)).tolist()

    def loss():
        mean = sum(dot(w, x) for x in xs) / 40.0
        return sqrt(sum((dot(w, x) - mean) ** 2 for x in xs) / 40.0)

    return (compile(loss, params=w),)


PROGRAMS = [regression, classifier, look_up, recurrent, kalman, no_data, found_batch, root_of_a_mean]


@pytest.mark.parametrize("make", PROGRAMS, ids=lambda make: make.__name__)
def test_value_and_gradient(make, tmp_path):
    step, *data = make()
    theta, data = (data[0], []) if make is kalman else (step.theta, data)
    value, gradient = step.value_and_grad(theta, *data)
    for optimised in True, False:
        found = asked_of(session(step.export(tmp_path / "model.onnx"), optimised), theta, *data)
        assert found["value"] == pytest.approx(value, rel=1e-12)
        assert found["gradient"] == pytest.approx(gradient, rel=1e-12, abs=1e-14)
    run = session(step.export(tmp_path / "mean.onnx", asked="value"))
    assert asked_of(run, theta, *data)["results"] == pytest.approx(value, rel=1e-12)
    run = session(step.export(tmp_path / "each.onnx", asked="each"))
    assert asked_of(run, theta, *data)["results"] == pytest.approx(step.each(theta, *data), rel=1e-12)
    if make is no_data:  # where single precision has 1e16 and no -1.0 beside it until the end
        return
    found = asked_of(session(step.export(tmp_path / "single.onnx", dtype="float32")), theta, *data)
    assert found["value"].dtype == found["gradient"].dtype == np.float32
    assert found["value"] == pytest.approx(value, rel=1e-5)
    assert found["gradient"] == pytest.approx(gradient, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("make", [regression, classifier, root_of_a_mean], ids=lambda make: make.__name__)
def test_another_reader(make, tmp_path):
    """The evaluator that comes with ONNX follows its specification, in NumPy."""
    from onnx.reference import ReferenceEvaluator

    step, *data = make()
    value, gradient = step.value_and_grad(step.theta, *data)
    run = ReferenceEvaluator(onnx.load(step.export(tmp_path / "model.onnx")))
    columns = dict(zip(run.input_names[1:], [np.reshape(x, (len(x), -1)) for x in data], strict=True))
    found, slopes = run.run(["value", "gradient"], {"theta": step.theta, **columns})
    assert found == pytest.approx(value, rel=1e-12)
    assert slopes == pytest.approx(gradient, rel=1e-12, abs=1e-14)


def test_any_number_of_examples_that_is_the_same_in_all_arguments(tmp_path):
    step, X, y = classifier()
    step(step.theta, X, y)
    run = session(step.export(tmp_path / "model.onnx"))
    assert [(x.name, x.shape) for x in run.get_inputs()] == [("theta", [27]), ("x", ["N", 2]), ("y", ["N", 1])]
    assert [(x.name, x.shape) for x in run.get_outputs()] == [("value", []), ("gradient", [27])]
    for n in (1, 2, 9):
        value, gradient = step.value_and_grad(step.theta, X[:n], y[:n])
        found = asked_of(run, step.theta, X[:n], y[:n])
        assert found["value"] == pytest.approx(value, rel=1e-12)
        assert found["gradient"] == pytest.approx(gradient, rel=1e-12, abs=1e-14)
    none = asked_of(run, step.theta, np.zeros((0, 2)), np.zeros((0, 1)))
    assert np.isnan([none["value"], *none["gradient"]]).all()
    product = compile(lambda w, x, y: (w[0] * x - y) ** 2)  # which broadcasting would answer
    product.value_and_grad([1.0], X[:, 0], y)
    run = session(product.export(tmp_path / "product.onnx"))
    for few, many in ((1, 9), (9, 1)):
        with pytest.raises(Exception, match="dimensions must match"):
            asked_of(run, [1.0], X[:few, 0], y[:many])
    with pytest.raises(Exception, match="Got: 3 Expected: 2"):
        asked_of(session(step.export(tmp_path / "model.onnx")), step.theta, np.zeros((9, 3)), y)


def test_several_results_and_what_cannot_be_raised(tmp_path):
    step = compile(lambda w, x, c: [[tanh(log(w[0] * x)), w[1] * c], [w[0], 1.0]])
    theta, X, C = [1.5, 2.0], np.array([1.0, 2.0, 0.5]), np.array([1.0, -1.0, 3.0])
    wanted = step.each(theta, X, C)
    run = session(step.export(tmp_path / "several.onnx", asked="each"))
    assert run.get_outputs()[0].shape == ["N", 2, 2]
    assert asked_of(run, theta, X, C)["results"] == pytest.approx(wanted, rel=1e-13)
    mean = session(step.export(tmp_path / "mean.onnx", asked="value"))
    assert asked_of(mean, theta, X, C)["results"] == pytest.approx(wanted.mean(axis=0), rel=1e-13)
    X[1] = 0.0
    found = asked_of(run, theta, X, C)["results"]
    assert np.isnan(found).all(axis=(1, 2)).tolist() == [False, True, False]
    assert np.isfinite(found[::2]).all()
    one = compile(lambda w, x: take([w[0], 2.0], x))
    one.value_and_grad([1.0], [0.0, 1.0])
    found = asked_of(session(one.export(tmp_path / "one.onnx")), [1.0], np.array([0.0, 2.0]))
    assert np.isnan([found["value"], *found["gradient"]]).all()
    with pytest.raises(TypeError, match="only a function with one result has a gradient"):
        step.export(tmp_path / "no.onnx")


def test_names_of_arguments_are_theirs_whatever_they_are(tmp_path):
    step = compile(lambda w, value, gradient, np, jnp, điểm: w[0] * value + gradient * np - jnp * điểm)
    data = [np.array([1.0, 2.0]) + k for k in range(5)]
    value, gradient = step.value_and_grad([0.5], *data)
    run = session(step.export(tmp_path / "names.onnx"))
    assert [x.name for x in run.get_inputs()] == ["theta", "value_", "gradient_", "np_", "jnp_", "điểm"]
    found = asked_of(run, [0.5], *data)
    assert [found["value"], *found["gradient"]] == pytest.approx([value, *gradient], rel=1e-14)


@pytest.mark.slow
def test_random_programs(tmp_path):
    @SAME_EVERY_TIME
    @given(programs(40))
    def agrees(drawn):
        program, at, _ = drawn
        step = compile(lambda theta: 0.0 * theta[0] + program.run(theta, rows.apply), backend="numpy", verify=False)
        value, gradient = step.value_and_grad(np.array(at))
        found = asked_of(session(step.export(tmp_path / "model.onnx")), at)
        assert found["value"] == pytest.approx(value, rel=1e-10, abs=1e-12)
        assert found["gradient"] == pytest.approx(gradient, rel=1e-10, abs=1e-11)

    agrees()


# --- What is refused --------------------------------------------------------------------------------------------------


def test_a_row_of_ones_own(monkeypatch, tmp_path):
    monkeypatch.setattr(rows, "OWN", {})

    @operation(partials=lambda out, x: -2.0 * x * out)
    def bump(x):
        return math.exp(-x * x)

    step = compile(lambda w, x: bump(w[0] * x))
    step([1.0], [0.5])
    with pytest.raises(ValueError, match=r"ONNX has no text for the operation 'bump': give it one that runs on arrays"):
        step.export(tmp_path / "model.onnx")

    @operation(partials=lambda out, x: -2.0 * x * out, numpy="np.exp(-{0} * {0})")
    def bell_of(x):
        return math.exp(-x * x)

    step = compile(lambda w, x: bell_of(w[0] * x))
    value, gradient = step.value_and_grad([1.0], [0.5, 0.7])
    found = asked_of(session(step.export(tmp_path / "model.onnx")), [1.0], np.array([0.5, 0.7]))
    assert [found["value"], *found["gradient"]] == pytest.approx([value, *gradient], rel=1e-14)

    @operation(partials=lambda out, x: out * 0.0, numpy="np.sinc({0})")
    def cardinal(x):
        return math.sin(math.pi * x) / (math.pi * x)

    step = compile(lambda w, x: cardinal(w[0] * x))
    step([1.0], [0.5])
    with pytest.raises(ValueError, match=r"ONNX has no text for the operation 'cardinal': its numpy= calls np\.sinc"):
        step.export(tmp_path / "model.onnx", asked="value")
    assert not (tmp_path / "cardinal.onnx").exists()


def test_what_cannot_be_exported(tmp_path):
    step = compile(lambda w, x: w[0] * x * 1e300)
    with pytest.raises(ValueError, match="nothing has been traced yet"):
        step.export(tmp_path / "model.onnx")
    step([1.0], [1e-300])
    with pytest.raises(ValueError, match=r"the program has the number 1e\+300, which single precision lacks"):
        step.export(tmp_path / "model.onnx", dtype="float32")
    with pytest.raises(ValueError, match=r'dtype is "float64" or "float32", got \'float16\''):
        step.export(tmp_path / "model.onnx", dtype="float16")
    with pytest.raises(ValueError, match=r'a program in C has double precision: leave dtype="float32" out'):
        step.export(tmp_path / "model.c", dtype="float32")
    with pytest.raises(ValueError, match=r"ends with \.c, \.onnx or \.stablehlo, got 'model\.pt'"):
        step.export(tmp_path / "model.pt")
    layer, drop = nn.Layer(2, 3, "tanh", seed=1), nn.Dropout(0.5)
    step = compile(lambda x, y: losses.mse(dot(drop(layer(x)), [1.0, 2.0, 3.0]), y), params=layer)
    X, y = np.random.default_rng(0).normal(size=(4, 2)), np.arange(4.0)
    step(step.theta, X, y)
    with pytest.raises(ValueError, match=r"put the model in eval\(\) mode, call the compiled function once more"):
        step.export(tmp_path / "model.onnx")
    assert not [*tmp_path.iterdir()]
    drop.eval()
    value = step(step.theta, X, y)
    run = session(step.export(tmp_path / "model.onnx", asked="value"))
    assert asked_of(run, step.theta, X, y)["results"] == pytest.approx(value, rel=1e-14)


def test_a_file_that_is_none_is_refused_by_its_reader(tmp_path):
    step, X, y = classifier()
    step(step.theta, X, y)
    path = step.export(tmp_path / "model.onnx")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(Exception, match=r"(?i)protobuf|parse"):
        session(path)
    assert step.export(path).read_bytes() == content  # which is the same every time
    described = onnx.load(path)
    assert described.producer_name == "tinygrad_vi"
    assert [(x.domain, x.version) for x in described.opset_import] == [("", 17)]
    assert "x: 2 for each of N examples" in described.doc_string
