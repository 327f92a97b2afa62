"""What people type first: NumPy and Python code as it is written everywhere, against JAX running the same text.

Each line of the tables is one variation.  ``grad`` and ``compile``, on both back ends, must give what `jax.grad` gives,
or refuse with a text that says what to write; and what it says to write must be right.
"""

import math
import operator
import sys
from importlib.util import find_spec

import numpy as np
import pytest
from mpmath import mp, mpf

import tinygrad_vi
from tinygrad_vi import DomainError, Value, grad, hessian, losses, no_grad, value_and_grad
from tinygrad_vi.arrays import ValueArray, array
from tinygrad_vi.compiler import compile

jax = pytest.importorskip("jax", reason="JAX is not installed: pip install 'tinygrad_vi[peers]'")

BACKENDS = ["numpy", *(["native"] if find_spec("numba") else [])]
A = [[2.0, -1.0, 0.5], [0.25, 1.5, -0.75], [1.0, 0.5, 3.0]]
W = [0.7, -1.2, 0.4]


@pytest.fixture(autouse=True)
def _double_precision():
    with jax.enable_x64(True):
        yield


def written(text, np_, lib, name="x"):
    """The function of this text, with this NumPy and this library of functions."""
    functions = {f: getattr(lib, f) for f in ("where", "maximum", "minimum", "exp", "log", "sin")}
    return eval(f"lambda {name}: {text}", {"np": np_, "A": np_.array(A), "w": np_.array(W), "math": math, **functions})


def ours(text, name="x"):
    return written(text, np, tinygrad_vi, name)


def by_jax(text, at, name="x"):
    function = written(text, jax.numpy, jax.numpy, name)
    return [np.asarray(y, dtype=float) for y in jax.value_and_grad(function)(jax.numpy.asarray(at, dtype=float))]


def same(found, wanted):
    for ours_, theirs in zip(found, wanted, strict=True):
        np.testing.assert_allclose(np.asarray(ours_, dtype=float), theirs, rtol=1e-10, atol=1e-13)


# --- Of one number ----------------------------------------------------------------------------------------------------

SCALAR = [
    "np.exp(2 * x)",
    "np.tanh(x) * np.sin(x) + np.cos(x) * np.tan(x)",
    "np.log(x * x + 1) + np.log1p(x * x) + np.expm1(x)",
    "np.sqrt(x**2 + 1)",
    "np.sinh(x) - np.cosh(x)",
    "np.arcsin(x / 10) + np.arccos(x / 10) + np.arctan(x)",
    "np.abs(x - 0.1) + np.fabs(x + 0.1) + np.absolute(2 * x + 0.1) + abs(x - 0.2)",
    "np.square(x) + np.reciprocal(x + 0.1)",
    "np.power(x, 3) + np.power(2.0, x)",
    "2**x + np.exp2(x) + 2.0 ** (x * x)",
    "np.float64(2) * x + x * np.float32(3) - np.int64(1) / (x + 0.1)",
    "np.add(x, 1) * np.subtract(2, x) + np.multiply(x, x) + np.negative(x) + np.positive(x)",
    "np.divide(x, 3) + np.true_divide(x, 2)",
    "np.deg2rad(x) * np.degrees(x) + np.radians(x)",
    "np.sum(np.array([1.0, 2.0]) * x)",
    "np.array([1.0, 2.0]) @ (x * np.array([3.0, 4.0]))",
    "np.stack([x, x**2]).sum()",
    "np.linalg.norm(np.stack([x, 2 * x + 1]))",
    "np.concatenate([np.atleast_1d(x), np.atleast_1d(x**2)]).mean()",
    "np.mean(x) + np.sum(x) + np.prod(x)",
    "sum([x, x**2, 1])",
    "where(x > 0, x * x, 0.01 * x)",
    "np.where(x > 0, x * x, 0.01 * x)",
    "np.where(x >= 1, x**3, -x)",
    "np.where(1 >= x, x**3, -x)",
    "np.where(x <= 1, x**3, -x)",
    "np.where(x < 1, x**3, -x)",
    "np.where(x == 1, 5 * x, x**2)",
    "np.where(x != 1, 5 * x, x**2)",
    "where(~(x > 0), x, x**2)",
    "where((x > -1) & (x < 1), x**2, 2 * x)",
    "where((x < 0) | (x >= 1), x**2, 2 * x)",
    "where((x > 0) ^ (x > 1), x**2, 3 * x)",
    "where(~((x > 0) & ~(x > 1)), x**2, 3 * x)",
    "np.where(np.logical_and(x > 0, x < 2), x**2, x)",
    "np.where(np.logical_or(x < 0, x > 1), x**2, x)",
    "np.where(np.logical_not(x > 0), x, x**2)",
    "np.where(x, x**2, 7 * x)",
    "np.where(np.isnan(x), 0.0, x)",
    "np.where(np.isfinite(x) & ~np.isinf(x), x * 2, 0.0)",
    "np.where(np.greater(x, 1) | np.less_equal(x, 0), x**2, 3 * x)",
    "where(x > 0, log(where(x > 0, x, 1.0)), 0.0)",
    "(x > 0) * x**2 + (x <= 0) * x",
    "np.heaviside(x, 0.5) * x",
    "np.maximum(x, 0) + np.minimum(x, 1)",
    "np.maximum(x, x**2) + np.minimum(2 * x, x)",
    "(np.rint(1.3 * x) + np.trunc(1.3 * x)) * x",
    "np.clip(x, -1, 1) * 3",
    "np.clip(x, None, 1) * x",
    "np.select([x > 1, x > 0], [x**2, 3 * x], -x)",
    "np.sign(x + 0.1) * x",
    "np.arctan2(x, 2.0) + np.arctan2(2.0, x + 0.1) + np.hypot(x, 3.0)",
    "np.log10(x * x + 1) + np.log2(x * x + 1)",
    "np.logaddexp(x, 2 * x) + np.logaddexp(0.0, x)",
    "(np.floor(x + 0.1) + np.ceil(x + 0.1)) * x",
    "(np.rint(x + 0.1) + np.trunc(x + 0.1) + np.round(x - 0.1)) * x",
    "np.arcsinh(x) + np.arccosh(x + 3) + np.arctanh(x / 3)",
    "np.cbrt(x + 0.1)",
    "np.mod(x + 0.1, 0.75) * x + np.mod(7.0, x + 0.13) + np.remainder(x + 0.1, -2.0) * x",
    "(x + 0.1) % 0.75 * x + 7.0 % (x + 0.13) + (x + 0.1) // 0.75 * x + 7.0 // (x + 0.13) * x",
    "np.floor_divide(x + 0.1, 0.75) * x + np.floor_divide(7.0, x + 0.1) * x",
]
#: ordinary ones, and 0 and 1, where conditions are ties
POINTS = [-1.5, 0.0, 0.4, 1.0, 2.5]

#: what Python decides by the number: eager code does, compiled code cannot
BY_IF = "a traced Value cannot be a condition"
DECIDING = {
    "x**2 if x > 0 else -x": BY_IF,
    "10 * x if x == 2.5 else x": BY_IF,
    "10 * x if x != 2.5 else x": BY_IF,
    "x * 2 if x in (1.0, 2.5) else x": BY_IF,
    "x**2 if 0 < x < 1 else x": BY_IF,
    "x if not x > 0 else 2 * x": BY_IF,
    "x**2 if x > 0 and x < 2 else x": BY_IF,
    "max(x, 0.5) * x": BY_IF,
    "min(x, 2 * x + 5)": BY_IF,
    "max([x, x**2 - 1, 0.3 * x]) + abs(x - 0.1)": BY_IF,
    "sorted([x, x**2 - 5])[0]": BY_IF,
    "[x, x**2][x > 1]": BY_IF,
    "[2 * x, x**2][int(x > 1)]": "a traced Value cannot be",
    "np.max(np.array([x, x**2 - 3]))": BY_IF,
    "np.sort(np.stack([x, x**2 - 3]))[0]": "a traced Value has no place in an order, which np.sort asks for",
}


@pytest.mark.parametrize("text", SCALAR)
def test_of_one_number(text):
    f = ours(text)
    compiled = [compile(f, backend=backend) for backend in BACKENDS]
    for x in POINTS:
        wanted = by_jax(text, x)
        same(value_and_grad(f)(x), wanted)
        for step in compiled:
            same(step.value_and_grad(x), wanted)


@pytest.mark.parametrize("text", DECIDING)
def test_what_python_decides_is_decided_by_number_in_eager_code_and_refused_when_compiled(text):
    f = ours(text)
    for x in POINTS:
        if "np." not in text and not text.startswith("["):
            same(value_and_grad(f)(x), by_jax(text, x))
        else:  # JAX has no such entries
            eager = value_and_grad(f)(x)
            assert eager[0] == f(x)
    with pytest.raises(TypeError, match=DECIDING[text]):
        compile(f).grad(1.5)


# --- Of an array ------------------------------------------------------------------------------------------------------

ARRAYS = [
    "np.sum(np.exp(2 * v)) + v @ v",
    "(2 * v).sum() + (v**2).mean() + (-v).sum() + (2.0**v).sum()",
    "np.mean(v) ** 2 + np.average(v) + np.average(v, weights=np.abs(w))",
    "np.var(v) + np.std(v) + np.var(v, ddof=1)",
    "v.std() + v.var() + v.mean() + v.prod() + v.sum() + v.cumsum()[-1]",
    "np.prod(v) + np.cumprod(v).sum()",
    "(np.cumsum(v) * w).sum()",
    "np.dot(v, w) + v.dot(v) + np.inner(v, w) + np.vdot(v, w)",
    "np.outer(v, w).sum() + np.trace(np.outer(v, v)) + np.triu(np.outer(v, v)).sum()",
    "(A @ v).sum() + v @ A @ v + np.matmul(A, v) @ w + np.dot(A, v) @ v",
    "np.linalg.norm(v) + np.linalg.norm(v, 1) + np.linalg.norm(v - w)",
    "np.linalg.norm(A * v) + np.linalg.norm(A * v, axis=1) @ w",
    "np.max(v) + v.max() - v.min() + np.amin(v) + np.ptp(v)",
    "np.max(A * v, axis=0) @ w + np.min(A * v, axis=1, keepdims=True).sum()",
    "np.sum(A * v - np.maximum.reduce(A * v, axis=1, keepdims=True), axis=0) @ w",
    "np.abs(v).sum() + abs(v) @ w + (abs(v) ** 1.5).sum()",
    "np.maximum(v, 0).sum() + np.maximum(v, w).sum()",
    "np.minimum(v, v[::-1]).sum() + np.maximum(v, v).sum()",
    "np.where(v > 0, v**2, 3 * v).sum()",
    "np.where(v > v.mean(), v, 0.0).sum()",
    "np.sum(np.where((v > 0) & (v < 0.4), v, v**2))",
    "np.sum(np.where(~(v > 0) | (v == 0.5), v, v**2))",
    "np.where(np.any(v > 0.4), v.sum(), 0.0) + np.where(np.all(v > 0.4), v.sum(), v @ v)",
    "((v > 0) * v).sum() + (v > 0).sum() * v[0] + np.count_nonzero(v > 0) * v[1]",
    "np.select([v > 0.4, v > 0], [v**2, 3 * v], -v).sum()",
    "np.clip(v, -0.1, 0.4).sum() + v.clip(-0.1, 0.4) @ w",
    "v[0] * v[1:].sum() + v[::-1] @ w + v[-1]",
    "v.T @ v + v.reshape(3, 1).sum() + v.flatten() @ w + v.ravel()[0] + v.copy() @ w",
    "np.diff(v) @ np.diff(v) + np.roll(v, 1) @ v + np.flip(v) @ w",
    "np.sum(v[None, :] * v[:, None]) + np.squeeze(v[None]) @ w",
    "np.einsum('i,i->', v, w) + np.einsum('i,j->', v, w) + np.tensordot(v, w, 1)",
    "np.concatenate([v, w]).sum() + np.append(v, w) @ np.append(v, w)",
    "np.stack([v, v]).sum(axis=0) @ w + np.mean(np.stack([v, w]), axis=0) @ w",
    "np.kron(v, w).sum() + np.cross(v, w).sum() + np.convolve(v, w).sum()",
    "np.exp(v - v.max()).sum() + np.log(np.sum(np.exp(v)))",
    "np.exp(v) / np.sum(np.exp(v)) @ w",
    "np.tanh(A @ v).sum() + np.sum((A @ v - w) ** 2) + np.sum(A * v, axis=1) @ w",
    "np.sqrt(np.mean(v**2)) + np.square(v).sum()",
    "np.exp(-0.5 * (v - w) @ (v - w))",
    "np.polyval(np.array([1.0, 2.0, 3.0]), v).sum() + np.trapezoid(v)",
    "np.vectorize(lambda a: a * a + 1)(v) @ w + v.astype(float) @ w",
    "np.rint(3 * v) @ v + np.trunc(7 * v) @ v",
    "np.ones(3) @ v + (np.zeros_like(v) + v).sum() + np.ones_like(v) @ v",
    "np.tile(v, 2).sum() + np.repeat(v, 2).sum() + np.array_split(v, 3)[1].sum() + np.atleast_2d(v).sum()",
    "sum(v) + sum(x * x for x in v) + len(v) * v[0] + v.shape[0] * v.sum() + v.size * v[1]",
    "(v / w).sum() + (w / v).sum() + (1 - v).sum() + (v - 1) @ w",
    "np.isclose(v, w).sum() * v[0] + (v != w).sum() * v[1]",
    "np.sum(v, keepdims=True)[0] + np.sum(v, axis=0) + np.sum(v, axis=(0,))",
    "np.asarray(v) @ w + np.array(v).sum() + np.asarray(v).mean() * np.exp(np.array(v)).sum()",
    "np.logaddexp(v, w).sum() + np.arctan2(v, w).sum() + np.logaddexp(w, v) @ w + np.arctan2(w, v) @ w",
    "np.sign(v) @ v + np.cbrt(v) @ w + np.hypot(v, w).sum() + np.hypot(1.0, v) @ w",
    "np.log10(v * v).sum() + np.log2(v * v) @ w",
    "np.floor(3 * v) @ v + np.ceil(3 * v) @ v + np.rint(3.1 * v) @ v + np.trunc(3 * v) @ v",
    "np.arcsinh(v) @ w + np.arccosh(v + 2) @ w + np.arctanh(v) @ w",
    "np.mod(v, 0.3) @ v + v % w @ v + w % v @ v",
    "np.floor_divide(v, 0.3) @ v + v // w @ v + w // v @ v",
]  # fmt: skip
AT = np.array([0.3, -0.2, 0.5])


@pytest.mark.parametrize("text", ARRAYS)
def test_of_an_array(text):
    wanted = by_jax(text, AT, "v")
    found = value_and_grad(ours(text, "v"))(AT)
    assert isinstance(found[1], np.ndarray)
    same(found, wanted)
    for backend in BACKENDS:
        same(compile(ours(text, "v"), backend=backend).value_and_grad(AT), wanted)


#: on an array that the user makes: NumPy's own loop asks each entry for a method
BY_METHODS = [
    *[
        f"np.{name}(made([x, 2 * x + 0.1])).sum() * x"
        for name in ("log10", "log2", "cbrt", "floor", "ceil", "rint", "trunc", "arcsinh", "arctanh", "exp2", "fabs")
    ],
    "np.arccosh(made([x + 1, 2 * x + 1])) @ made([x, x])",
    "np.arctan2(made([x, 2 * x]), 0.3).sum() + np.hypot(made([x, 2 * x]), made([2 * x, x])).sum()",
    "(np.mod(made([x, 2 * x]), 0.3) * x).sum() + (np.mod(np.array([1.0, 2.0]), made([x, 2 * x])) * x).sum()",
    "(np.floor_divide(made([x, 2 * x]), 0.3) * x).sum() + (np.array([1.0, 2.0]) // made([x, 2 * x]) * x).sum()",
]


def made_by(np_):
    return np_.stack if np_ is jax.numpy else lambda entries: np_.array(entries, dtype=object)


@pytest.mark.parametrize("text", BY_METHODS)
def test_on_an_array_that_the_user_makes(text):
    f = eval(f"lambda x: {text}", {"np": np, "made": made_by(np)})
    judge = eval(f"lambda x: {text}", {"np": jax.numpy, "made": made_by(jax.numpy)})
    wanted = [np.asarray(y, dtype=float) for y in jax.value_and_grad(judge)(0.37)]
    same(value_and_grad(f)(0.37), wanted)
    for backend in BACKENDS:
        same(compile(f, backend=backend).value_and_grad(0.37), wanted)


def test_the_sign_of_entries_that_the_user_put_into_an_array():
    """NumPy's own loop compares them: numbers come out, which is right for a derivative that is 0."""

    def f(x):
        return (np.sign(np.array([x, -x * x], dtype=object)) * np.array([x * x, x], dtype=object)).sum()

    assert value_and_grad(f)(0.5) == (0.25 - 0.5, 1.0 - 1.0)
    with pytest.raises(TypeError, match=BY_IF):
        compile(f).grad(0.5)


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_is_left_of_a_quotient_is_that_of_python(backend):
    """7 // 0.1 is 69, since 0.1 is a little more than a tenth; the rounded quotient is 70."""
    numbers = [
        0.0,
        -0.0,
        1.0,
        -1.0,
        7.0,
        -7.0,
        0.1,
        -0.1,
        0.3,
        -1.4,
        2.5,
        1e300,
        -1e300,
        1e-300,
        *np.arange(-3, 3, 0.1),
    ]
    pairs = [(x, y) for x in numbers for y in numbers if abs(x) * 1e-300 < abs(y)]
    x, y = np.array(pairs).T.copy()
    for name, operation in (("//", operator.floordiv), ("%", operator.mod)):
        step = compile(lambda p, x, y, of=operation: p * of(x, y), backend=backend)
        turned = compile(lambda p, x, y, of=operation: p * np.arctan2(of(x, y), -1.0), backend=backend)
        by_python = np.array([operation(float(u), float(v)) for u, v in pairs])
        np.testing.assert_array_equal(step.each(1.0, x, y), by_python, err_msg=name)
        np.testing.assert_allclose(turned.each(1.0, x, y), np.arctan2(by_python + 0.0, -1.0), rtol=1e-15, err_msg=name)


def test_second_derivatives_of_numpy_code():
    text = "np.sum(np.where(v > 0, v**3, np.exp(v))) + np.maximum(v, w) @ np.tanh(v) + np.linalg.norm(v)"
    wanted = jax.hessian(written(text, jax.numpy, jax.numpy, "v"))(jax.numpy.asarray(AT))
    np.testing.assert_allclose(tinygrad_vi.hessian(ours(text, "v"))(AT), wanted, rtol=1e-10, atol=1e-12)
    for backend in BACKENDS:
        step = compile(ours(text, "v"), backend=backend)
        np.testing.assert_allclose(step.hessian(AT), wanted, rtol=1e-10, atol=1e-12)


def test_a_condition_on_the_data_is_asked_for_each_example():
    p = [Value(0.5), Value(-2.0)]
    X = np.array([-1.0, -0.0, 0.0, 0.25, 1.0, 1.0, 3.0])
    judge = np.where((X > 0) & ~(X == 1), 0.5 * X, -2.0 * X * X)
    for backend in BACKENDS:
        step = compile(lambda x: np.where((x > 0) & (x != 1), p[0] * x, p[1] * x * x), p, backend=backend)
        np.testing.assert_array_equal(step.each(step.theta, X), judge)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("sign", ["<", "<=", ">", ">=", "==", "!="])
def test_comparisons_of_zeros_ties_infinities_and_nan(backend, sign):
    """Against Python's floats.  NaN comes from the data: inf - inf."""
    numbers = [-math.inf, -1.0, -5e-324, -0.0, 0.0, 5e-324, 1.0, 1.0 + 2**-52, math.inf]
    pairs = np.array([(x, y) for x in numbers for y in numbers])
    a, b = pairs.T
    f = eval(f"lambda p, x, y: p * np.where(x {sign} y, 1.0, 0.0)", {"np": np})
    compare = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}.get(sign)
    compare = compare or (operator.eq if sign == "==" else operator.ne)
    step = compile(f, backend=backend)
    finite = np.isfinite(a) & np.isfinite(b)
    found = np.array([step(1.0, [x], [y]) for x, y in zip(a[finite], b[finite], strict=True)])
    np.testing.assert_array_equal(found, compare(a[finite], b[finite]))
    eager = [bool(compare(Value(x), Value(y))) for x, y in [*zip(a, b, strict=True), (math.nan, 1.0), (1.0, math.nan)]]
    assert eager == [compare(x, y) for x, y in [*zip(a, b, strict=True), (math.nan, 1.0), (1.0, math.nan)]]
    lost = eval(f"lambda p, x: p * np.where(x * 1e300 * 1e300 - x * 1e300 * 1e300 {sign} x, 1.0, 2.0)", {"np": np})
    nan_holds = compare(math.nan, 1.0)
    assert compile(lost, backend=backend)(1.0, [1e10]) == (1.0 if nan_holds else 2.0)


@pytest.mark.parametrize("question", [np.isfinite, np.isinf, np.isnan])
def test_infinities_and_nan_are_told_from_numbers(question):
    x = np.array([math.inf, -math.inf, math.nan, 0.0, -1.0, sys.float_info.max])
    with np.errstate(invalid="ignore"):  # NumPy warns of a NaN that is compared
        found = question(array([Value(entry) for entry in x.tolist()]))
    np.testing.assert_array_equal(found, question(x))


def test_the_branch_that_is_not_taken_leaks_no_nan():
    f = ours("np.where(x > 0, np.sqrt(np.maximum(x, 0.0) + 0.0), x)")
    with no_grad():
        assert f(Value(-1.0)).data == -1.0
    g = ours("np.where(x > 0, x * 1e200 * 1e200, 3 * x)")  # infinite where it is not taken
    for function in (g, *[compile(g, backend=backend) for backend in BACKENDS]):
        got = grad(function)(-1e200) if function is g else function.grad(-1e200)
        assert got == 3.0


def test_ties_share_the_gradient_on_arrays_too():
    for text in (
        "np.maximum(v, v[::-1])[0]",
        "np.minimum(v, 1.0)[0]",
        "np.max(v)",
        "v.max()",
        "np.clip(v, 1.0, 2.0)[0]",
    ):
        wanted = by_jax(text, [1.0, 1.0], "v")
        same(value_and_grad(ours(text, "v"))(np.array([1.0, 1.0])), wanted)
        for backend in BACKENDS:
            same(compile(ours(text, "v"), backend=backend).value_and_grad(np.array([1.0, 1.0])), wanted)


# --- What is refused, and what it says to write -----------------------------------------------------------------------

REFUSED = {
    "math.exp(x)": r"write exp\(v\) of tinygrad_vi for math\.exp\(v\)",
    "float(x) * x": "stop_gradient\\(v\\) to compute with the number alone",
    "np.zeros(2).__setitem__(0, x)": r"np\.zeros\(n, dtype=object\)",
    "np.array([x, 1.0], dtype=float).sum()": r"np\.zeros\(n, dtype=object\)",
    "operator.iadd(np.zeros(2), x).sum()": r"an array of float64 cannot hold Values.* dtype=object",
    "x + [1, 2]": r"a Value \+ a list has no meaning: write \[v \+ x for x in xs\].* v \+ np\.array\(xs\)",
    "[1, 2] * x": r"a Value \* a list has no meaning",
    "(1, 2) - x": r"a Value - a tuple has no meaning",
    "x ** [1, 2]": r"a Value \*\* a list has no meaning",
    "x & 1": r"combine conditions, and .* is a number",
    "x > 0 & x": r"write \(x > 0\) & \(y > 0\) and not x > 0 & y > 0",
    "~x": "for a number that is not 0 write x != 0",
    "Value(x)": r"it is one already; stop_gradient\(v\) is its number",
    "np.linalg.det(np.outer(A[0], A[1]) * x)": "does not take Values",
    "np.linalg.det(np.outer(A[0], A[1]) * x) ": r"^np\.linalg\.det does",
    "np.nextafter(x, 1.0)": r"np\.nextafter has no counterpart among the operations of tinygrad_vi.* write it with .*@operation",
    "np.linalg.norm(x * A[0], 3)": r"np\.linalg\.norm does not take Values: .*write it with",
    "np.cov(x * A)": r"np\.cov does not take Values: .*write it with",
    "np.copyto(x * A[0], 0.0, where=np.array([x, x]))": r"np\.copyto does not take Values: ",
    "where(~(2.0 > 3.0), x, -x)": r"where\(-1, x, y\): .* write where\(c, y, x\)",
    "where(~(2.0 > 1.0), 1.0, 2.0)": r"where\(-2, x, y\): .* write where\(c, y, x\)",
    "np.maximum(np.array([x, 'a'], dtype=object), x)": "takes real numbers, got 'a'",
    "np.copysign(x, x)": r"np\.copysign has no counterpart among the operations of tinygrad_vi",
    "x % [2]": "unsupported operand|has no meaning",
}  # fmt: skip


@pytest.mark.parametrize("text", REFUSED)
def test_dead_ends_say_what_to_write(text):
    names = {"np": np, "A": np.array(A), "math": math, "operator": operator, "Value": Value, "where": tinygrad_vi.where}
    f = eval(f"lambda x: {text}", names)
    with pytest.raises(TypeError, match=REFUSED[text]):
        f(Value(2.0))


#: what is written, and what the refusal of it says to write instead
ADVICE = [
    ("x**2 if x > 0 else -x", "where(x > 0, x**2, -x)"),
    ("x**2 if x else -x", "where(x != 0, x**2, -x)"),
    ("x**2 if 0 < x < 1 else x", "where((0 < x) & (x < 1), x**2, x)"),
    ("x**2 if x < 0 or x > 1 else x", "where((x < 0) | (x > 1), x**2, x)"),
    ("x if not x > 0 else 2 * x", "where(~(x > 0), x, 2 * x)"),
    ("10 * x if x == 2.5 else x", "where(x == 2.5, 10 * x, x)"),
    ("max(x, 0.5) * x", "maximum(x, 0.5) * x"),
    ("min(x, 2 * x + 5)", "minimum(x, 2 * x + 5)"),
]


@pytest.mark.parametrize(("refused", "advised"), ADVICE)
def test_the_advice_of_a_refused_condition_is_right_when_it_is_followed(refused, advised):
    with pytest.raises(TypeError, match=BY_IF):
        compile(ours(refused)).grad(1.5)
    for backend in BACKENDS:
        step = compile(ours(advised), backend=backend)
        for x in POINTS:
            same(step.value_and_grad(x), value_and_grad(ours(refused))(x))
            same(step.value_and_grad(x), by_jax(refused, x))


def test_the_advice_for_arrays_that_numpy_compares_is_right():
    def refused(x):
        return np.max(np.array([x, x**2, 0.5 * x]))

    with pytest.raises(TypeError, match=r"tinygrad_vi\.arrays\.array\(xs\) for np\.array\(xs\)"):
        compile(refused).grad(1.5)
    for backend in BACKENDS:
        step = compile(lambda x: np.max(array([x, x**2, 0.5 * x])), backend=backend)
        for x in POINTS:
            if x not in (0.0, 1.0):
                same(step.value_and_grad(x), value_and_grad(refused)(x))


def test_the_advice_for_floats_and_arrays_is_right():
    def filled(x):
        a = np.zeros(3, dtype=object)
        a[0], a[1] = x, x * x
        return np.sum(a) + 1.0 * tinygrad_vi.exp(x)

    wanted = 1.0 + 2 * 0.7 + math.exp(0.7)
    assert grad(filled)(0.7) == pytest.approx(wanted, rel=1e-15)
    assert compile(filled).grad(0.7) == pytest.approx(wanted, rel=1e-15)

    def stopped(x):  # for float(x) * x
        return tinygrad_vi.stop_gradient(x) * x

    assert grad(stopped)(0.7) == 0.7
    assert compile(stopped).grad(0.7) == 0.7
    assert (
        [v.data for v in [Value(2.0) + x for x in [1, 2]]]
        == [v.data for v in Value(2.0) + np.array([1, 2])]
        == [3.0, 4.0]
    )


# --- The answers themselves -------------------------------------------------------------------------------------------


def test_an_answer_is_a_bool_for_all_that_is_done_with_one():
    yes, no = Value(2.0) > 1.0, Value(2.0) == 1
    assert (repr(yes), f"{no}", bool(yes), int(yes), float(no)) == ("True", "False", True, 1, 0.0)
    assert ["no", "yes"][yes] == {True: "yes", False: "no"}[yes] == "yes"
    assert (~yes, yes & no, yes | no, yes ^ no, ~(yes & True), np.True_ & yes) == (
        False,
        False,
        True,
        True,
        False,
        True,
    )
    assert sum(v > 1 for v in [Value(1.0), Value(2.0), Value(3.0)]) == 2
    assert np.array([yes, no]).dtype == bool
    assert np.mean([yes, no]) == 0.5
    assert np.array([10, 20])[np.array([yes, yes])].tolist() == [10, 20]
    assert (3.0 * yes, yes + yes, 1 - no, yes / 2, -yes, abs(yes), 2**yes, yes > no) == (3.0, 2, 1, 0.5, -1, 1, 2, True)
    assert (Value(3.0) * yes).data == 3.0


def test_equal_values_are_told_apart_as_keys_and_found_by_number_in_lists():
    a, b = Value(1.0), Value(1.0)
    assert {a: "a", b: "b"}[a] == "a"
    assert {a: "a"}.get(b) is None
    assert [a].index(b) == 0
    assert grad(lambda x: x * 10 if x == 2 else x)(2.0) == 10.0


def test_a_captured_value_that_another_of_the_same_number_replaces_is_noticed():
    p, held = Value(2.0), [[Value(2.0)]]
    step = compile(lambda x: p * x * held[0][0], [p])
    assert step.grad(step.theta, [1.0]) == [2.0]
    held[0] = [p]
    assert step.grad(step.theta, [1.0]) == [4.0]
    held[0] = [Value(2.0)]
    assert step.grad(step.theta, [1.0]) == [2.0]


def test_pictures_and_tables_tell_equal_numbers_apart():
    def texts(number):
        x = Value(number, "x")
        y = x * 1.0 + 0.0 * x  # all of the number of x
        tape = tinygrad_vi.Tape(y, inputs=[x])
        shown = [str(tape.table()), str(tape.adjoint()), str(tape.tangent({x: 1.0})), x.label]
        return "\n".join(shown).replace(f"{number:g}", "#").replace(f"{number:.4f}", "#")

    assert texts(7.0) == texts(8.0)
    assert "v₀" in texts(7.0)
    target = Value(1.0)  # as a loss of the number of its target is not the target
    assert losses.cross_entropy([Value(0.0), Value(0.0)], [target, Value(0.0)]).parents != ()
    loss = losses.cross_entropy([Value(3.0), Value(1.0)], [target, Value(0.0)])
    loss.backward()
    assert target.grad == pytest.approx(math.log1p(math.exp(-2.0)), rel=1e-14)  # as PyTorch's, 0.1269


def test_arrays_of_values_stay_arrays_of_values():
    v = array([Value(1.0), Value(-2.0)])
    for found in (v * 2, 2 - v, np.exp(v), v[:1], np.where(v > 0, v, 0.0), v[None] @ np.ones((2, 1)), np.stack([v, v])):
        assert isinstance(found, ValueArray)
    assert (v > 0).dtype == bool
    assert np.allclose(Value(2.0), 2.0)
    assert np.isclose(v, [1.0, -2.1]).tolist() == [True, False]
    assert np.array_equal(v, v.copy())
    assert isinstance(v.sum(), Value)
    total = v.sum()
    total.backward()
    assert [x.grad for x in v] == [1.0, 1.0]
    with pytest.raises(ValueError, match=r"zero-size array|no numbers"):
        np.max(v[:0])
    assert np.sum(v[:0]) == 0.0
    with pytest.raises(DomainError, match=r"log\(x\) needs x > 0"):
        np.log(v)


@pytest.mark.parametrize("x", [0.0, 1e-5, 0.0099, 0.0101, 0.5, -2.3])
def test_sinc_has_the_derivatives_of_sinc_at_0_too(x):
    with mp.workdps(60):
        right = [float(mp.diff(lambda u: mp.sincpi(u), mpf(x), n)) for n in range(3)]
    at = np.array([x])
    for f in (lambda v: np.sinc(v).sum(), lambda v: np.sinc(v[0])):
        assert [f(at), grad(f)(at)[0], hessian(f)(at)[0, 0]] == pytest.approx(right, rel=1e-12, abs=1e-15)
        assert compile(f, backend="numpy").hessian(at)[0, 0] == pytest.approx(right[2], rel=1e-12, abs=1e-15)


def test_a_sum_of_an_array_is_one_node_that_is_rounded_once():
    """np.sum says where=True of itself."""
    numbers = [1e16, 1.0, -1e16]
    v = array([Value(x) for x in numbers])
    for found in (np.sum(v), v.sum(), np.add.reduce(v)):
        assert found.op.name == "total"
        assert found.data == math.fsum(numbers) == 1.0
