"""What a compiled function takes: several numbers, trees, argnums, numbers beside data, Values; and vmap."""

import copy
import math
import pickle
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np
import pytest

from tinygrad_vi import (
    DomainError,
    ShapeError,
    Value,
    compile,
    erfc,
    exp,
    grad,
    hessian,
    hvp,
    jacobian,
    jvp,
    log,
    sin,
    sqrt,
    total,
    vmap,
)
from tinygrad_vi.trees import flatten

BACKENDS = ["numpy", *(["native"] if find_spec("numba") else [])]


class Line(NamedTuple):
    slope: Any
    offset: Any


@dataclass(frozen=True)
class Curve:
    a: Any
    rest: Any
    power: int = field(default=2, metadata={"static": True})


def readme(a, b):
    return log(a) + a * b - sin(b)


@pytest.mark.parametrize("backend", BACKENDS)
def test_several_numbers_are_all_differentiated_by_as_in_grad(backend):
    step = compile(readme, backend=backend)
    a, b = 2.0, 5.0
    assert step.grad(a, b) == pytest.approx((1.0 / a + b, a - math.cos(b)), rel=1e-15)
    assert step(a, b) == pytest.approx(math.log(a) + a * b - math.sin(b), rel=1e-15)
    assert step.grad(a, b=b) == step.grad(a, b)
    assert repr(step) == f"<compiled readme(a, b): derivatives by its first argument, {backend}, traced for 1 shape>"
    assert step.hessian(a, b) == ((pytest.approx(-0.25), 1.0), (1.0, pytest.approx(math.sin(b))))
    assert step.jacobian(a, b) == pytest.approx((1.0 / a + b, a - math.cos(b)))
    assert step.hvp(a, b, (1.0, 2.0)) == pytest.approx(hvp(readme)(a, b, (1.0, 2.0)))
    assert step.jvp(a, b, (1.0, 2.0)) == pytest.approx(jvp(readme, (a, b), (1.0, 2.0)))
    assert step.each(a, b) == pytest.approx(step(a, b))
    assert step.verify(a, b) < 1e-15
    assert all(type(x) is float for x in step.grad(a, b))
    assert type(compile(lambda x: x * x, backend=backend).grad(3.0)) is float


ARGUMENTS = [
    ({"mu": 0.5, "scale": [1.0, 2.0]}, lambda p: p["mu"] ** 2 * p["scale"][0] + exp(p["scale"][1] * p["mu"])),
    (Line([1.0, 2.0], 3.0), lambda p: p.slope[0] * p.slope[1] ** 2 * sin(p.offset)),
    (Curve(1.5, {"b": np.array([[1.0, 2.0]])}), lambda c: (c.rest["b"] @ c.rest["b"].T)[0, 0] ** c.power * c.a),
    ([[1.0, 2.0], 3.0], lambda x: x[0][0] * x[0][1] * x[1]),
    ({"W": np.array([[1.0, 2.0], [3.0, 4.0]]), "b": 2.0}, lambda p: (p["W"] @ p["W"]).sum() * p["b"]),
]


@pytest.mark.parametrize(("point", "f"), ARGUMENTS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_tree_comes_back_as_grad_gives_it(backend, point, f):
    step = compile(f, backend=backend)
    pairs = [
        (step.grad(point), grad(f)(point)),
        (step.hvp(point, point), hvp(f)(point, point)),
        (step.jacobian(point), grad(f)(point)),
        (step.jvp(point, point), jvp(f, (point,), (point,))),
        (step(point), f(point)),
    ]
    for found, expected in pairs:
        (numbers, tree), (wanted, same) = flatten(found), flatten(expected)
        assert tree == same
        np.testing.assert_allclose(numbers, wanted, rtol=1e-12)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_hessian_of_a_tree_is_that_of_jax(backend):
    jax = pytest.importorskip("jax", reason="JAX is the judge")
    point = {"W": np.array([[1.0, 2.0], [3.0, 4.0]]), "b": 2.0, "c": [0.5]}
    f = lambda p: ((p["W"] @ p["W"]) * p["W"]).sum() * p["b"] ** 2 * p["c"][0]  # noqa: E731
    with jax.enable_x64(True):
        expected = jax.hessian(f)(jax.tree_util.tree_map(jax.numpy.asarray, point))
    found = compile(f, backend=backend).hessian(point)
    assert jax.tree_util.tree_structure(found) == jax.tree_util.tree_structure(expected)
    for a, b in zip(*map(jax.tree_util.tree_leaves, (found, expected)), strict=True):
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=1e-12)


@pytest.mark.parametrize("backend", BACKENDS)
def test_numbers_beside_data_are_the_same_for_every_example(backend):
    f = lambda p, x, rate: (p["w"] * x - 1.0) ** 2 + rate * p["w"] ** 2  # noqa: E731
    step, xs = compile(f, backend=backend), [1.0, 2.0, 3.0]
    assert step.grad({"w": 2.0}, xs, 0.1)["w"] == pytest.approx(np.mean([2 * (2 * x - 1) * x + 0.4 for x in xs]))
    assert step.jacobian({"w": 2.0}, xs, 0.1)["w"] == pytest.approx([2 * (2 * x - 1) * x + 0.4 for x in xs])
    assert step.each({"w": 2.0}, xs, rate=np.float64(0.1)) == pytest.approx([(2 * x - 1) ** 2 + 0.4 for x in xs])
    assert step({"w": 2.0}, 3.0, 0.1) == pytest.approx(25.4)
    assert step.each({"w": 2.0}, 3.0, 0.1).shape == ()
    w = [Value(2.0)]
    by_values = compile(lambda x, rate: rate * w[0] * x, w, backend=backend)
    assert by_values.grad(by_values.theta, xs, 0.5).tolist() == [1.0]
    assert by_values.grad(by_values.theta, rate=0.5, x=xs).tolist() == [1.0]


@pytest.mark.parametrize("backend", BACKENDS)
def test_argnums_says_by_which(backend):
    x, y = np.array([1.0, 2.0, 3.0]), np.array([0.5, 0.25, 2.0])
    f = lambda x, w, y, b: (w[0] * x + w[1] * b - y) ** 2  # noqa: E731
    w = np.array([0.5, 2.0])
    residual = w[0] * x + w[1] * 3.0 - y
    by_w = [np.mean(2 * residual * x), np.mean(2 * residual * 3.0)]
    step = compile(f, argnums=1, backend=backend)
    assert step.grad(x, w, y, 3.0) == pytest.approx(np.array(by_w))
    both = compile(f, argnums=(3, 1), backend=backend).grad(x, w.tolist(), y, 3.0)
    assert both == (pytest.approx(np.mean(2 * residual * w[1])), pytest.approx(by_w))
    assert step.hvp(x, w, [1.0, 0.0], y, 3.0) == pytest.approx([np.mean(2 * x * x), np.mean(6 * x)])
    assert step.hessian(x, w, y, 3.0).shape == (2, 2)
    optimize = pytest.importorskip("scipy.optimize", reason="SciPy is the user here")
    first = compile(lambda w, x, y: (w[0] * x + w[1] - y) ** 2, argnums=0, backend=backend)
    found = optimize.minimize(first, [0.0, 0.0], args=(x, y), jac=first.grad, hessp=first.hvp, method="Newton-CG")
    np.testing.assert_allclose(found.x, np.polyfit(x, y, 1), rtol=1e-8)
    with pytest.raises(ValueError, match="params and argnums both say"):
        compile(f, [Value(1.0)], argnums=0)
    with pytest.raises(ValueError, match="argnums=4 names no argument"):
        compile(f, argnums=4, backend=backend)(x, w, y, 3.0)


def test_what_an_arranged_function_reads_is_watched_and_its_errors_name_what_is_wrong():
    rate = {"r": 1.0}
    step = compile(lambda p: p["a"] * rate["r"], backend="numpy")
    derivative = compile(grad(lambda x: x * x * rate["r"]), backend="numpy")
    assert (step({"a": 2.0}), derivative(2.0)) == (2.0, 4.0)
    rate["r"] = 5.0
    assert (step({"a": 2.0}), derivative(2.0)) == (10.0, 20.0)
    static = compile(lambda c: c.a**c.power, backend="numpy")
    assert [static(Curve(3.0, 0.0, power)) for power in (2, 3)] == [9.0, 27.0]
    with pytest.raises(TypeError, match=r"got 'x' of type str for p\['a'\]"):
        step({"a": "x"})
    with pytest.raises(TypeError, match="returns a number, or a list or an array of numbers"):
        compile(lambda x: {"a": x}, backend="numpy")(2.0)
    with pytest.raises(TypeError, match="a static field of a dataclass that is compiled is compared by its hash"):
        static(Curve(3.0, 0.0, [2]))
    assert compile(readme, backend="numpy").grad(np.array(2.0), 5.0) == pytest.approx(grad(readme)(2.0, 5.0))
    with pytest.raises(ShapeError, match=r"the arguments are nested like \{'a': x\}, v like"):
        step.hvp({"a": 2.0}, [1.0])
    with pytest.raises(TypeError, match=r"bind it, compile\(functools.partial\(f, power=...\)\)"):
        compile(lambda x, *, power=2: x**power, backend="numpy")(2.0, power=3)
    with pytest.raises(TypeError, match="missing a required argument: 'b'"):
        compile(lambda a, b, c: a * b * c, backend="numpy")(2.0, c=2.0)
    with pytest.raises(DomainError, match=r"log\(x\) needs x > 0, got x = -1.0"):
        compile(readme, backend="numpy").grad(-1.0, 2.0)


def test_values_go_through_a_compiled_function_or_are_refused():
    product = compile(lambda a: a[0] ** 2 * a[1], backend="numpy")
    assert grad(product)([3.0, 2.0]) == [12.0, 9.0]
    assert hessian(product)([3.0, 2.0]) == [[4.0, 6.0], [6.0, 0.0]]
    assert grad(compile(readme, backend="numpy"))(2.0, 5.0) == grad(readme)(2.0, 5.0)
    x = [Value(3.0), Value(2.0)]
    product(x).backward()
    assert [v.grad for v in x] == [12.0, 9.0]
    line = compile(lambda w, x: w * x * x, backend="numpy")
    assert grad(line, argnums=0)(3.0, [1.0, 2.0]) == 2.5
    assert grad(line)(3.0, [1.0, 2.0]) == (2.5, [3.0, 6.0])
    assert grad(compile(lambda x, w: w * x * x, argnums=1, backend="numpy"), argnums=1)([1.0, 2.0], 3.0) == 2.5
    for inner in (product, lambda a: product.grad(a)[0] * a[0] / 2.0):
        outer = compile(lambda a, inner=inner: 2.0 * inner(a), backend="numpy")
        assert outer.grad([3.0, 2.0]).tolist() == [24.0, 18.0]
    c = Value(2.0)
    slope = compile(lambda p, x: p["w"] ** 2 * x, backend="numpy").grad({"w": 3.0}, c)["w"]
    slope.backward()
    assert (slope.data, c.grad) == (12.0, 6.0)
    w = [Value(2.0)]
    by_params = compile(lambda x: w[0] * x, w, backend="numpy")
    for call in (
        lambda: by_params([Value(1.0)], [1.0]),
        lambda: by_params(by_params.theta, [Value(1.0)]),
        lambda: product.hessian(x),
        lambda: product.each(x),
    ):
        with pytest.raises(
            TypeError, match=r"holds Values, and this answer .* is not differentiated through\. Use the"
        ):
            call()
    for hidden in (lambda a: by_params(by_params.theta, [3.0]) * w[0], lambda a: by_params(by_params.theta, [a])):
        with pytest.raises(TypeError):
            compile(hidden, w, backend="numpy")([2.0], [1.0, 2.0])


def at_the_top(a):
    return a * a


def test_a_compiled_function_is_pickled_with_its_name_or_says_why_not():
    again = pickle.loads(pickle.dumps(compile(at_the_top, argnums=(0,), backend="numpy")))
    assert again.grad(3.0) == (6.0,)
    for unnamed in (lambda a: a, scoped()):
        step = compile(unnamed, backend="numpy")
        with pytest.raises(pickle.PicklingError, match="write the function with def at the top of a module"):
            pickle.dumps(step)
        assert copy.copy(step)(3.0) == 3.0


def scoped():
    def inner(a):
        return a

    return inner


# --- vmap -------------------------------------------------------------------------------------------------------------


def black_scholes(S, K, T, r, sigma):
    above = (log(S / K) + (r + sigma**2 / 2.0) * T) / (sigma * sqrt(T))
    normal = lambda x: 0.5 * erfc(-x / math.sqrt(2.0))  # noqa: E731
    return S * normal(above) - K * exp(-r * T) * normal(above - sigma * sqrt(T))


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_vega_of_a_thousand_options_in_one_call(backend):
    draw = np.random.default_rng(0)
    S, K, T, sigma = (draw.uniform(low, high, 1000) for low, high in ((80, 120), (80, 120), (0.1, 2.0), (0.1, 0.5)))
    vega = vmap(grad(black_scholes, argnums=4), backend=backend)(S, K, T, 0.02, sigma)
    above = (np.log(S / K) + (0.02 + sigma**2 / 2) * T) / (sigma * np.sqrt(T))  # the textbook's S phi(d1) sqrt(T)
    np.testing.assert_allclose(vega, S * np.exp(-(above**2) / 2) / math.sqrt(2 * math.pi) * np.sqrt(T), rtol=1e-11)
    delta, again = vmap(grad(black_scholes, argnums=(0, 4)), backend=backend)(S, K, T, 0.02, sigma=sigma)
    np.testing.assert_allclose(again, vega, rtol=1e-12)
    assert ((delta > 0.0) & (delta < 1.0)).all()


MAPPED = [
    (lambda x: x @ x * 2, (np.arange(6.0).reshape(3, 2),), 0),
    (lambda x, A: A @ x, (np.arange(6.0).reshape(3, 2), np.array([[1.0, 2.0], [3.0, 4.0]])), (0, None)),
    (lambda x: {"a": x * 2, "b": (x, 1.0)}, (np.array([1.0, 2.0]),), 0),
    (lambda p: p["a"] * p["b"], ({"a": np.array([1.0, 2.0]), "b": np.array([3.0, 4.0])},), 0),
    (lambda p, x: p.slope * x + p.offset[0], (Line(2.0, [1.0]), np.array([1.0, 2.0])), (None, 0)),
    (lambda x, a: x * a, (np.array([1.0, 2.0]), 3.0), (0, None)),
    (lambda x: x[:, 0] * x[1, 1], (np.arange(8.0).reshape(2, 2, 2),), 0),
]


@pytest.mark.parametrize("case", range(len(MAPPED)))
def test_vmap_is_that_of_jax(case):
    jax = pytest.importorskip("jax", reason="JAX is the judge")
    f, arguments, axes = MAPPED[case]
    with jax.enable_x64(True):
        given = jax.tree_util.tree_map(jax.numpy.asarray, arguments)
        expected = jax.vmap(f, in_axes=axes)(*given)
    found = vmap(f, in_axes=axes, backend="numpy")(*arguments)
    assert jax.tree_util.tree_structure(found) == jax.tree_util.tree_structure(expected)
    for a, b in zip(*map(jax.tree_util.tree_leaves, (found, expected)), strict=True):
        np.testing.assert_allclose(a, np.asarray(b), rtol=1e-12)


def test_vmap_composes():
    quick = {"backend": "numpy"}
    assert vmap(hessian(lambda x: x[0] ** 2 * x[1]), **quick)(np.ones((3, 2))).shape == (3, 2, 2)
    assert vmap(vmap(lambda x: x * x, **quick), **quick)([[1.0, 2.0], [3.0, 4.0]]).tolist() == [[1.0, 4.0], [9.0, 16.0]]
    assert grad(lambda w: total(vmap(lambda x, w: x * x * w, **quick)([1.0, 2.0], w)))(3.0) == 5.0
    rows = vmap(jacobian(lambda x: np.array([x[0] * x[1], x[0]])), **quick)(np.array([[1.0, 2.0], [3.0, 4.0]]))
    assert rows.tolist() == [[[2.0, 1.0], [1.0, 0.0]], [[4.0, 3.0], [1.0, 0.0]]]
    slope = vmap(grad(lambda p: p["a"] * p["b"]), **quick)({"a": [1.0, 2.0], "b": 3.0})
    assert {k: v.tolist() for k, v in slope.items()} == {"a": [3.0, 3.0], "b": [1.0, 2.0]}
    curves = vmap(lambda c: c.a**c.power, **quick)(Curve([1.0, 2.0], 0.0, 3))
    assert curves.tolist() == [1.0, 8.0]
    assert vmap(lambda x: 1.0, **quick)([1.0, 2.0]).tolist() == [1.0, 1.0]


def test_vmap_says_what_is_wrong():
    quick = {"backend": "numpy"}
    with pytest.raises(ShapeError, match="no argument has an entry for each: call the function itself"):
        vmap(lambda x: x)(3.0)
    with pytest.raises(ShapeError, match="y has 1 examples, x has 2"):
        vmap(lambda x, y: x * y, **quick)([1.0, 2.0], [1.0])
    with pytest.raises(DomainError, match=r"example 1: log\(x\) needs x > 0, got x = -2.0"):
        vmap(lambda x: log(x), **quick)([1.0, -2.0])
    with pytest.raises(ValueError, match=r"in_axes is 0, or None .* np\.moveaxis"):
        vmap(lambda x: x, in_axes=1)([1.0])
    with pytest.raises(ValueError, match="has an entry for each argument, and there are 1 arguments"):
        vmap(lambda x: x, in_axes=(0, None))([1.0])
    with pytest.raises(TypeError, match="p holds columns by name, and q is a dict of its own"):
        vmap(lambda p: p, **quick)({"q": {"a": [1.0]}})
    with pytest.raises(TypeError, match="vmap takes a function"):
        vmap(3.0)


# --- Values that a function knows from elsewhere ----------------------------------------------------------------------


@pytest.mark.parametrize(("inner", "outer", "slope"), [
    (lambda w: compile(lambda x: w * x)(3.0), lambda w, y: y, 3.0),
    (lambda w: compile(lambda x: w * x)(3.0), lambda w, y: w * y, 12.0),
    (lambda w: compile(lambda x: w * w * x * x).grad(3.0), lambda w, y: y, 24.0),
    (lambda w: compile(lambda x: w * w * x * x).value_and_grad(3.0)[1], lambda w, y: w * y, 72.0),
    (lambda w: vmap(lambda x: w * x)(np.array([1.0, 2.0])).sum(), lambda w, y: w * y, 12.0),
    (lambda w: vmap(grad(lambda x: w * x * x))(np.array([1.0, 2.0])).sum(), lambda w, y: y, 6.0),
    (lambda w: vmap(lambda x, a: w * x + a)([1.0, 2.0], 5.0)[1], lambda w, y: y * y, 36.0),
    (lambda w: vmap(lambda p: w * p["x"] * p["a"])({"x": [1.0, 2.0], "a": 5.0}).sum(), lambda w, y: y, 15.0),
])  # fmt: skip
def test_inside_a_derivative_a_value_of_the_surroundings_is_differentiated_by(inner, outer, slope):
    """Derivatives by hand, at w = 2."""
    f = lambda w: outer(w, inner(w))  # noqa: E731
    assert grad(f)(2.0) == pytest.approx(slope, rel=1e-12)
    assert jvp(f, (2.0,), (1.0,))[1] == pytest.approx(slope, rel=1e-12)


def test_inside_a_derivative_what_is_constant_stays_an_array_of_floats():
    seen = []
    grad(lambda w: w * (seen.append(vmap(lambda x: x * x)([1.0, 2.0])) or 1.0))(2.0)
    assert (seen[0].dtype, seen[0].tolist()) == (float, [1.0, 4.0])


@dataclass
class WithSum:
    a: Any
    b: Any
    s: Any = field(init=False)

    def __post_init__(self):
        self.s = self.a + self.b


def test_what_a_dataclass_derives_is_derived_for_each_example_inside_a_derivative_too():
    columns = WithSum(np.array([1.0, 2.0]), np.array([3.0, 4.0]))
    assert vmap(lambda p: p.s * p.a, backend="numpy")(columns).tolist() == [4.0, 12.0]
    assert grad(lambda w: vmap(lambda p: w * p.s * p.a)(columns).sum())(2.0) == 16.0


def test_columns_of_different_lengths_are_refused_inside_a_derivative_too():
    step = compile(lambda w, x, y: w * x * y, backend="numpy")
    for f in (
        lambda w: total(vmap(lambda x, y: x * y)([w, w], [1.0, 2.0, 3.0])),
        lambda w: step(w, [1.0, 2.0], [1.0, 2.0, 3.0]),
    ):
        with pytest.raises(ShapeError, match="the numbers of examples differ: x has 2, y has 3"):
            grad(f)(2.0)


def test_any_name_may_stand_before_a_column():
    step = compile(lambda theta, w: theta * w, argnums=1)
    assert step.value_and_grad([1.0, 2.0], 3.0) == (4.5, 1.5)
    assert vmap(lambda theta, x: theta * x)([1.0, 2.0], [3.0, 4.0]).tolist() == [3.0, 8.0]
    assert vmap(lambda *xs: xs[0] * xs[1])([1.0, 2.0], [3.0, 4.0]).tolist() == [3.0, 8.0]


# --- Columns of data by name ------------------------------------------------------------------------------------------


class Columns(NamedTuple):
    x: Any
    t: Any


def of_a_line(w, data):
    return (w[0] * data["x"][0] + w[1] * data["x"][1] - data["t"]) ** 2


TABLE = {"x": np.array([[1.0, 2.0], [0.5, -1.0], [2.0, 0.3]]), "t": np.array([1.0, -1.0, 0.5])}
W = np.array([0.3, -0.7])


def by_hand(w):
    """The mean of the squared errors, its gradient and its Hessian, by matrices."""
    X, t = TABLE["x"], TABLE["t"]
    r = X @ w - t
    return r @ r / 3, 2 * X.T @ r / 3, 2 * X.T @ X / 3, r * r, 2 * X * r[:, None]


@pytest.mark.parametrize("backend", BACKENDS)
def test_data_may_be_columns_by_name(backend):
    step = compile(of_a_line, backend=backend)
    mean, slope, bend, each, slopes = by_hand(W)
    near = {"rtol": 1e-13, "atol": 1e-15}
    np.testing.assert_allclose(step(W, TABLE), mean, **near)
    np.testing.assert_allclose(step.value_and_grad(W, TABLE)[0], mean, **near)
    np.testing.assert_allclose(step.grad(W, data=TABLE), slope, **near)
    np.testing.assert_allclose(step.grad([0.3, -0.7], {"x": TABLE["x"].tolist(), "t": TABLE["t"].tolist()}), slope)
    np.testing.assert_allclose(step.hessian(W, TABLE), bend, **near)
    np.testing.assert_allclose(step.hvp(W, [1.0, 2.0], TABLE), bend @ [1.0, 2.0], **near)
    np.testing.assert_allclose(step.jvp(W, [1.0, 2.0], TABLE), (mean, slope @ [1.0, 2.0]), **near)
    np.testing.assert_allclose(step.each(W, TABLE), each, **near)
    np.testing.assert_allclose(step.jacobian(W, TABLE), slopes, **near)
    assert step.verify(W, TABLE) < 1e-14
    assert "data_x" in step.source
    assert "data_t" in step.source


def test_so_it_is_for_parameters_for_trees_and_beside_other_arguments():
    mean, slope, *_ = by_hand(W)
    parameters = [Value(x) for x in W]
    step = compile(lambda data: of_a_line(parameters, data), parameters, backend="numpy")
    assert step(step.theta, TABLE) == pytest.approx(mean)
    assert step.grad(step.theta, TABLE) == pytest.approx(slope)
    tree = compile(lambda p, data: of_a_line(p["w"], data) * p["one"], backend="numpy")
    found = tree.grad({"w": W, "one": 1.0}, TABLE)
    assert found["w"] == pytest.approx(slope)
    assert found["one"] == pytest.approx(mean)
    last = compile(lambda data, k, w: k * of_a_line(w, data), argnums=2, backend="numpy")
    assert last.grad(TABLE, 2.0, W) == pytest.approx(2.0 * slope)
    pair = compile(lambda data, v, w: of_a_line([v, w], data), argnums=(1, 2), backend="numpy")
    assert pair.grad(TABLE, *W) == pytest.approx(tuple(slope))
    named = compile(lambda w, data: of_a_line(w, {"x": data.x, "t": data.t}), backend="numpy")
    assert named.grad(W, Columns(TABLE["x"], TABLE["t"])) == pytest.approx(slope)
    number = compile(lambda w, d: (w * d["x"] - d["t"]) ** 2, backend="numpy")
    assert number.grad(2.0, {"x": 3.0, "t": 1.0}) == 30.0
    assert type(number.grad(2.0, {"x": 3.0, "t": 1.0})) is float
    assert number.grad(2.0, {"x": [3.0, 1.0], "t": 1.0}) == 16.0


def test_inside_a_derivative_columns_by_name_are_recorded():
    _, slope, *_ = by_hand(W)
    step = compile(of_a_line, backend="numpy")
    assert grad(lambda w: step(w, TABLE))(W) == pytest.approx(slope)
    assert grad(lambda t: step(W, {**TABLE, "t": t}))(TABLE["t"]) == pytest.approx(
        [-2.0 * r / 3.0 for r in TABLE["x"] @ W - TABLE["t"]]
    )


def test_what_is_wrong_with_columns_by_name_is_said():
    step = compile(of_a_line, backend="numpy")
    with pytest.raises(ShapeError, match="data_t has 2 examples, data_x has 3"):
        step.grad(W, {"x": TABLE["x"], "t": [1.0, 2.0]})
    with pytest.raises(TypeError, match="data holds columns by name, and x is a dict of its own: give a flat one"):
        step.grad(W, {"x": {"deep": TABLE["x"]}, "t": TABLE["t"]})
    with pytest.raises(KeyError, match="t"):
        step.grad(W, {"x": TABLE["x"]})


def test_the_source_is_that_of_the_arguments_last_seen():
    step = compile(lambda w, x: (w[0] * x) ** 2, backend="numpy")
    step.grad({0: 1.5}, [1.0, 2.0])
    step.grad(np.array([1.5]), [1.0])
    assert step._traces.known() is step._traces.last
