"""How derivatives are nested: like JAX's, of numbers, lists, arrays and dictionaries, compiled ones too.

One difference is by design: to a compiled function a list of numbers is a vector, so that its results are arrays.
"""

import numpy as np
import pytest

from tinygrad_vi import compile, grad, hessian, hvp, jacobian, jvp, vjp

jax = pytest.importorskip("jax", reason="JAX is the judge")


@pytest.fixture(autouse=True)
def double_precision():
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", False)


A = np.array
ARGUMENTS = {
    "number": (2.0,),
    "array of no axes": (A(2.0),),
    "list": ([2.0, 3.0],),
    "list of one": ([2.0],),
    "nested list": ([[2.0, 3.0], [0.5, 1.5]],),
    "array": (A([2.0, 3.0]),),
    "array of one": (A([2.0]),),
    "matrix": (A([[2.0, 3.0, 1.0], [0.5, 1.5, 2.5]]),),
    "dictionary": ({"a": 2.0, "b": 3.0},),
    "dictionary of arrays": ({"a": A([2.0, 3.0]), "b": 1.5, "c": A([[0.5], [2.5]])},),
    "dictionary of lists": ({"a": [2.0, A([3.0, 1.0])], "b": (0.5,)},),
    "two numbers": (2.0, 3.0),
    "two arrays": (A([2.0, 3.0]), A([[1.5]])),
    "a number and a dictionary": (2.0, {"a": A([3.0, 1.0]), "b": 0.5}),
}
RESULTS = {
    "number": lambda u, v, np: u * v,
    "list": lambda u, v, np: [u * v, u, v],
    "array": lambda u, v, np: np.array([u * v, u, v]),
    "array of one": lambda u, v, np: np.array([u * v]),
    "matrix": lambda u, v, np: np.array([[u * v, u], [v, u * u], [v * v, u]]),
    "dictionary": lambda u, v, np: {"p": u * v, "q": np.array([u, v * v])},
    "list of arrays": lambda u, v, np: [np.array([u * v]), (v, np.array([[u, u * v]]))],
}


#: of all kinds; the others give numbers alone
ENOUGH = ("number", "list", "matrix", "dictionary", "dictionary of arrays", "two arrays")


def cases(results):
    return [(given, result) for result in results for given in (ARGUMENTS if result == "number" else ENOUGH)]


def function(result, with_numpy):
    """A function of any arguments, by way of two numbers that depend on all of theirs."""

    def f(*arguments):
        numbers = [x for leaf in jax.tree.leaves(arguments) for x in with_numpy.ravel(leaf)]
        u = sum((k + 1.0) * x**2 for k, x in enumerate(numbers))
        v = sum(x**3 / (k + 2.0) for k, x in enumerate(numbers))
        return RESULTS[result](u, v, with_numpy)

    return f


def as_jax(x):
    return jax.tree.map(lambda leaf: jax.numpy.asarray(leaf, dtype=float), x)


def vectors(x):
    """A list of numbers as an array, which it is to a compiled function."""
    if isinstance(x, list):
        try:
            return A(x, dtype=float)
        except (TypeError, ValueError):
            return x
    return x


def ones(arguments):
    return jax.tree.map(lambda leaf: np.ones_like(leaf) if isinstance(leaf, np.ndarray) else 1.0, arguments)


def check(ours, theirs):
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    for x, wanted in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        assert np.shape(x) == np.shape(wanted)
        assert np.asarray(x).dtype == float
        np.testing.assert_allclose(np.asarray(x), wanted, rtol=1e-12)


def answers(f, arguments, argnums):
    """JAX's derivatives of first and second order, by name."""
    v = as_jax(ones(arguments))
    primals = as_jax(arguments)
    value, along = jax.jvp(f, primals, v)
    found = {"jacobian": jax.jacobian(f, argnums)(*primals), "jvp": (value, along)}
    if getattr(value, "shape", None) == ():
        found["grad"] = jax.grad(f, argnums)(*primals)
        found["hessian"] = jax.hessian(f, argnums)(*primals)
        gradient = jax.grad(f, tuple(range(len(primals))))
        product = jax.jvp(gradient, primals, v)[1]
        found["hvp"] = product if isinstance(argnums, tuple) else product[0]
    return found


@pytest.mark.parametrize(("given", "result"), cases(RESULTS))
def test_eager_derivatives_are_nested_as_in_jax(given, result):
    arguments = ARGUMENTS[given]
    argnums = 0 if len(arguments) == 1 else tuple(range(len(arguments)))
    f, v = function(result, np), ones(arguments)
    wanted = answers(function(result, jax.numpy), arguments, argnums)
    check(jacobian(f)(*arguments), wanted["jacobian"])
    check(jacobian(f, argnums)(*arguments), wanted["jacobian"])
    check(jvp(f, arguments, v), wanted["jvp"])
    if "grad" in wanted:
        check(grad(f)(*arguments), wanted["grad"])
        check(hessian(f)(*arguments), wanted["hessian"])
        check(hvp(f, argnums)(*arguments, v if len(v) > 1 else v[0]), wanted["hvp"])
    weights = jax.tree.map(lambda x: 2.0 * x, jvp(f, arguments, v)[0])
    back = vjp(f, *arguments)[1](weights)
    theirs = jax.vjp(function(result, jax.numpy), *as_jax(arguments))[1](as_jax(weights))
    check(back, theirs if len(arguments) > 1 else theirs[0])


@pytest.mark.parametrize("result", ["array", "dictionary"])
@pytest.mark.parametrize("given", ["matrix", "dictionary of arrays", "two arrays"])
def test_second_derivatives_of_arrays_are_nested_as_in_jax(given, result):
    arguments = ARGUMENTS[given]
    argnums = 0 if len(arguments) == 1 else tuple(range(len(arguments)))
    ours = jacobian(jacobian(function(result, np)))(*arguments)
    check(ours, jax.jacobian(jax.jacobian(function(result, jax.numpy), argnums), argnums)(*as_jax(arguments)))


@pytest.mark.parametrize(("given", "result"), cases(["number", "list", "array", "array of one", "matrix"]))
def test_compiled_derivatives_are_nested_as_in_jax(given, result):
    arguments = ARGUMENTS[given]
    single = len(arguments) == 1
    argnums = 0 if single else tuple(range(len(arguments)))
    f, v = function(result, np), ones(arguments)
    theirs = function(result, jax.numpy)
    vector = single and not isinstance(arguments[0], dict)
    wanted = answers(
        lambda *x: jax.numpy.asarray(theirs(*x)), tuple(map(vectors, arguments)) if vector else arguments, argnums
    )
    step = compile(f, argnums=None if single else argnums, backend="numpy")
    v = v[0] if single else v
    check(step.jacobian(*arguments), wanted["jacobian"])
    check(step.jvp(*arguments, v), wanted["jvp"])
    if "grad" in wanted:
        check(step.grad(*arguments), wanted["grad"])
        check(step.hessian(*arguments), wanted["hessian"])
        check(step.hvp(*arguments, v), wanted["hvp"])
