"""Trees of numbers, and the signatures of derivatives: JAX is the judge of what results look like."""

import math
from collections import OrderedDict, defaultdict
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pytest

from tinygrad_vi import (
    ShapeError,
    Value,
    compile,
    exp,
    grad,
    gradcheck,
    hessian,
    hvp,
    jacobian,
    jvp,
    log,
    nn,
    numerical_gradient,
    optim,
    sin,
    total,
    value_and_grad,
    vjp,
)
from tinygrad_vi.trees import flatten, values_in, with_numbers


class Line(NamedTuple):
    slope: Any
    offset: Any


@dataclass(frozen=True, slots=True)
class Normal:
    mu: Any
    scale: Any
    name: str = field(default="normal", metadata={"static": True})


TREES = {
    "dict": {"mu": 0.5, "scale": [1.0, 2.0]},
    "nested": [{"a": (1.0, [2.0, {"b": np.array([[1.5, 2.5]])}])}, 3.0],
    "named tuple": Line([1.0, 2.0], {"b": 0.5}),
    "tuple": (1.0, (2.0, 3.0)),
    "arrays": {"W": np.array([[1.0, 2.0], [3.0, 4.0]]), "b": np.array([0.5])},
}


@pytest.mark.parametrize("name", TREES)
def test_the_gradient_of_a_tree_is_that_of_jax(name):
    jax = pytest.importorskip("jax", reason="JAX is the judge")
    tree = TREES[name]

    def f(x, sine, exponential):
        leaves = [
            v for leaf in jax.tree_util.tree_leaves(x) for v in (leaf.ravel() if hasattr(leaf, "ravel") else [leaf])
        ]
        y = 1.0
        for i, v in enumerate(leaves):
            y = y * (sine(v) + 2.0) + exponential(0.1 * i * v)
        return y

    with jax.enable_x64(True):
        expected = jax.grad(lambda x: f(x, jax.numpy.sin, jax.numpy.exp))(
            jax.tree_util.tree_map(lambda x: jax.numpy.asarray(x, dtype=float), tree)
        )
    found = grad(lambda x: f(x, sin, exp))(tree)
    assert jax.tree_util.tree_structure(found) == jax.tree_util.tree_structure(tree)
    for a, b, given in zip(*map(jax.tree_util.tree_leaves, (found, expected, tree)), strict=True):
        assert type(a) is type(given)
        np.testing.assert_allclose(a, np.asarray(b), rtol=1e-12)


def test_dictionaries_and_dataclasses_keep_their_class_and_order():
    for kind in (OrderedDict, lambda pairs: defaultdict(list, pairs), dict):
        point = kind([("b", 2.0), ("a", 3.0)])
        slope = grad(lambda p: p["a"] ** 2 * p["b"])(point)
        assert type(slope) is type(point)
        assert list(slope.items()) == [("b", 9.0), ("a", 12.0)]
    slope = grad(lambda p: p.mu * p.scale[1])(Normal(3.0, [1.0, 2.0], "mine"))
    assert slope == Normal(2.0, [0.0, 3.0], "mine")
    assert hessian(lambda p: p.mu * p.scale[1])(Normal(3.0, [1.0, 2.0])).mu.scale == [0.0, 1.0]


@dataclass
class Circle:
    radius: Any
    area: Any = field(init=False)

    def __post_init__(self):
        if self.radius < 0.0:
            raise ValueError("a radius is not negative")
        self.area = math.pi * self.radius**2


def test_what_a_dataclass_derives_is_derived_again_and_a_derivative_need_not_be_legal():
    slope = grad(lambda c: -c.area)(Circle(2.0))
    assert slope.radius == pytest.approx(-4.0 * math.pi, rel=1e-15)
    assert not hasattr(slope, "area")
    with pytest.raises(ValueError, match="a radius is not negative"):
        grad(lambda c: Circle(-c.radius).area)(Circle(2.0))


def test_jvp_and_vjp_and_numerical_gradients_take_trees():
    point, along = {"a": 2.0, "b": [3.0]}, {"a": 1.0, "b": [10.0]}
    f = lambda p: {"sum": p["a"] + p["b"][0], "product": [p["a"] * p["b"][0]]}  # noqa: E731
    assert jvp(f, (point,), (along,)) == ({"sum": 5.0, "product": [6.0]}, {"sum": 11.0, "product": [23.0]})
    value, pull_back = vjp(f, point)
    assert value == {"sum": 5.0, "product": [6.0]}
    assert pull_back({"sum": 1.0, "product": [2.0]}) == {"a": 7.0, "b": [5.0]}
    assert jacobian(f)(point) == {"sum": {"a": 1.0, "b": [1.0]}, "product": [{"a": 3.0, "b": [2.0]}]}
    found = numerical_gradient(lambda p: p["a"] ** 2 * p["b"][0])(point)
    assert found == {"a": pytest.approx(12.0), "b": [pytest.approx(4.0)]}
    with pytest.raises(
        ShapeError, match=r"nested like \[\{'a': x, 'b': \[x\]\}\], their tangents like \[\{'b': \[x\], "
    ):
        jvp(f, (point,), ({"b": [10.0], "a": 1.0},))
    with pytest.raises(
        ShapeError, match=r"result is nested like \{'sum': x, 'product': \[x\]\}, its weights like \[x, x\]"
    ):
        pull_back([1.0, 2.0])


# --- Signatures -------------------------------------------------------------------------------------------------------


def loss(params, X, y=None, *, power=2):
    return total([(params["w"] * x + params["b"] - t) ** power for x, t in zip(X, y, strict=True)])


POINT, X, LABELS = {"w": 2.0, "b": 0.5}, [1.0, 2.0, 3.0], [1.0, 0.0, 2.0]
BY_W = sum(2.0 * (2.0 * x + 0.5 - t) * x for x, t in zip(X, LABELS, strict=True))
BY_B = sum(2.0 * (2.0 * x + 0.5 - t) for x, t in zip(X, LABELS, strict=True))


def test_argnums_says_by_which_arguments_as_in_jax():
    assert grad(loss, argnums=0)(POINT, X, y=LABELS) == {"w": BY_W, "b": BY_B}
    assert grad(loss, argnums=0)(POINT, np.array(X), np.array(LABELS), power=2) == {"w": BY_W, "b": BY_B}
    f = lambda a, b, c: a * a * b * c  # noqa: E731
    assert grad(f, argnums=1)(3.0, 2.0, 5.0) == 45.0
    assert grad(f, argnums=-1)(3.0, 2.0, 5.0) == 18.0
    assert grad(f, argnums=(2, 0))(3.0, 2.0, 5.0) == (18.0, 60.0)
    assert grad(f, argnums=[0])(3.0, 2.0, 5.0) == (60.0,)
    assert grad(f, argnums=np.int64(0))(3.0, 2.0, 5.0) == 60.0
    assert value_and_grad(f, argnums=1)(3.0, 2.0, 5.0) == (90.0, 45.0)
    assert jacobian(lambda a, b: [a * b, a], argnums=0)(3.0, 2.0) == [2.0, 1.0]
    assert hessian(f, argnums=(0, 1))(3.0, 2.0, 5.0) == ((20.0, 30.0), (30.0, 0.0))
    assert numerical_gradient(f, argnums=1)(3.0, 2.0, 5.0) == pytest.approx(45.0)
    assert gradcheck(loss, order=2, argnums=0)(POINT, X, y=LABELS) < 1e-6


def test_the_vector_of_hvp_stands_behind_what_is_differentiated_by():
    f = lambda x, n: x[0] ** n * x[1]  # noqa: E731
    assert hvp(f, argnums=0)([3.0, 2.0], [1.0, 0.0], 2) == [4.0, 6.0]
    assert hvp(lambda a, b: a * a * b)(3.0, 2.0, (1.0, 0.0)) == (4.0, 6.0)
    assert hvp(lambda a, b, c: a * a * b * c, argnums=(0, 1))(3.0, 2.0, (1.0, 0.0), 5.0) == (20.0, 30.0)
    assert hvp(lambda n, x: x**n, argnums=1)(3, 2.0, 1.0) == 12.0
    with pytest.raises(TypeError, match="the vector has an entry for each argument"):
        hvp(lambda a, b: a * a * b)(3.0, 2.0, 1.0)


def test_has_aux_hands_something_on():
    f = lambda x: (x * x, {"seen": x + 1.0, "text": "as it is", "list": [1]})  # noqa: E731
    aux = {"seen": 4.0, "text": "as it is", "list": [1]}
    assert grad(f, has_aux=True)(3.0) == (6.0, aux)
    assert value_and_grad(f, has_aux=True)(3.0) == ((9.0, aux), 6.0)
    assert jacobian(f, has_aux=True)(3.0) == (6.0, aux)
    assert hessian(f, has_aux=True)(3.0) == (2.0, aux)
    assert grad(lambda x: grad(f, has_aux=True)(x)[1]["seen"] * x)(3.0) == 7.0  # a Value inside another derivative
    for wrong in (lambda x: x, lambda x: (x, x, x)):
        with pytest.raises(TypeError, match=r"with has_aux=True f returns a pair \(result, anything else\), got"):
            grad(wrong, has_aux=True)(3.0)
    with pytest.raises(TypeError, match="or has_aux=True for a pair"):
        grad(lambda x: (x, x))(3.0)


def test_scipy_minimises_with_other_arguments():
    optimize = pytest.importorskip("scipy.optimize", reason="SciPy is the user here")

    def squares(w, X, y):
        return ((X @ w - y) ** 2).sum()

    draw = np.random.default_rng(0)
    A = draw.normal(size=(20, 2))
    y = A @ [1.5, -0.5]
    slope, curve = grad(squares, argnums=0), hvp(squares, argnums=0)
    found = optimize.minimize(squares, np.zeros(2), args=(A, y), jac=slope, hessp=curve, method="Newton-CG")
    np.testing.assert_allclose(found.x, np.linalg.lstsq(A, y, rcond=None)[0], rtol=1e-9)


def test_other_arguments_that_are_values_are_differentiated_through():
    w = Value(3.0)
    slope = grad(lambda x, a: a * x**2, argnums=0)(2.0, w)
    slope.backward()
    assert w.grad == 4.0
    keyword = grad(lambda x, a: a * x**2, argnums=0)(2.0, a=w)
    assert isinstance(keyword, Value)
    assert grad(lambda a: grad(lambda x, a: a * x**2, argnums=0)(2.0, a=a))(3.0) == 4.0


def test_refusals_name_the_argument_and_say_what_to_write():
    f = lambda params, kind="l2": 1.0  # noqa: E731
    for call, text in (
        (lambda: grad(f)(1.0, "l1"), r"got 'l1' of type str for kind\. Name those to differentiate by, argnums=0"),
        (
            lambda: grad(f)({"scale": [1.0, None]}),
            r"NoneType for params\['scale'\]\[1\]\. Give it as an argument of its own",
        ),
        (lambda: grad(f)(Line(1.0, "b")), r"of type str for params\.offset"),
        (
            lambda: grad(f)({"n": Normal("b", 1.0)}),
            r"of type str for params\['n'\]\.mu.*field\(metadata=\{\"static\": True\}\)",
        ),
        (lambda: grad(f)(np.array([1j])), r"got an array of complex128 for params"),
        (lambda: grad(f)(np.array(["a"])), r"got an array of <U1 for params"),
        (lambda: grad(f)(np.array([[1.0, "a"]], dtype=object)), r"'a' of type str for params\[0, 1\]"),
        (lambda: grad(f)(np.ma.array([1.0, 2.0], mask=[False, True])), r"for params\[1\]"),
        (lambda: grad(f)({1.0, 2.0}), "of type set for params"),
        (lambda: grad(lambda *rest: 1.0)(1.0, "a"), r"of type str for rest\[1\]"),
        (lambda: grad(f)(nn.Neuron(2)), "for params"),
        (lambda: grad(lambda x: {"a": None})(1.0), r"of type NoneType for the result of f\['a'\]"),
        (lambda: grad(f)(np.ones((1, 1)).view(np.matrix)), r"give np\.asarray\(x\)"),
    ):
        with pytest.raises(TypeError, match=text):
            call()
    with pytest.raises(TypeError, match=r"by positional arguments, got params by name: write grad\(f\)\(x\)"):
        grad(f)(params=1.0)
    with pytest.raises(TypeError, match="by positional arguments, got none"):
        grad(f, argnums=0)()
    for argnums, kind, text in (
        (2, ValueError, r"argnums=2 names no argument: f was called with 2 positional arguments"),
        (-3, ValueError, "names no argument"),
        ((0, 0), ValueError, "name each argument once"),
        ((), ValueError, "at least one"),
        ("params", TypeError, "argnums is the place of an argument"),
        (0.0, TypeError, "argnums is the place of an argument"),
        (True, TypeError, "argnums is the place of an argument"),
    ):
        with pytest.raises(kind, match=text):
            grad(f, argnums=argnums)(1.0, "l1")


# --- The module itself ------------------------------------------------------------------------------------------------


def test_a_tree_comes_apart_and_together():
    for tree in (1.0, [], {}, (), [[], ()], {"a": {}}, np.zeros((2, 0)), np.zeros((0, 3))):
        numbers, structure = flatten(tree)
        again = structure(numbers)
        assert str(again) == str(tree)
        assert getattr(again, "shape", 0) == getattr(tree, "shape", 0)
        assert flatten(again)[1] == structure
    assert str(flatten(np.zeros((2, 1, 2)))[1]) == "[[[x, x]], [[x, x]]]"
    assert str(flatten(np.zeros((2, 0)))[1]) == "[[], []]"
    assert flatten([1.0, 2.0])[1] != flatten((1.0, 2.0))[1]
    assert flatten([1.0, 2.0])[1].fits(flatten(np.ones(2))[1])
    assert hash(flatten({"a": Normal(1.0, [2.0])})[1]) == hash(flatten({"a": Normal(3.0, [4.0])})[1])


def test_a_million_numbers_and_a_deep_tree_take_no_recursion():
    deep = 1.0
    for i in range(100_000):
        deep = {"next": deep} if i % 2 else [deep]
    numbers, structure = flatten(deep)
    assert numbers == [1.0]
    assert flatten(structure([2.0]))[1] == structure
    assert len(flatten([[0.0] * 1000] * 1000)[0]) == 1_000_000


def test_values_among_anything():
    v, w = Value(1.0), Value(2.0)
    held = {"a": [v, "text", None, np.array([w], dtype=object)], "f": print, "X": np.ones(3)}
    assert [id(x) for x in values_in(held)] == [id(v), id(w)]
    plain = with_numbers(held, lambda x: x.data)
    assert plain["a"][:3] == [1.0, "text", None]
    assert plain["X"] is held["X"]
    same = {"a": 1}
    assert with_numbers(same, lambda x: x.data) is same


def test_the_readmes_function():
    f = lambda a, b: log(a) + a * b - sin(b)  # noqa: E731
    assert grad(f)(2.0, 5.0) == (5.5, 2.0 - math.cos(5.0))


def test_parameters_come_in_trees_of_any_kind():
    w, b, c = Value(1.0), Value(2.0), Value(3.0)
    held = {"w": [w, (b,)], "more": Line(c, w)}
    assert [id(p) for p in optim.SGD(held, 0.1).parameters] == [id(w), id(b), id(c)]
    assert compile(lambda x: w * x, held, backend="numpy").theta.tolist() == [1.0, 2.0, 3.0]
    assert optim.SGD(iter([w, b]), 0.1).parameters == [w, b]

    class Model(nn.Module):
        def __init__(self):
            self.normal = Normal(w, [b])
            self.line = Line(c, None)

    assert Model().state_dict() == {"normal.mu": 1.0, "normal.scale": [2.0], "line.0": 3.0}
