"""Values that a compiled function knows from elsewhere, and by which a derivative is taken around it; JAX is the judge."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import pytest

from tinygrad_vi import (
    Value,
    compile,
    custom_derivative,
    fit,
    grad,
    hessian,
    hvp,
    jacobian,
    jvp,
    nn,
    no_grad,
    numerical_gradient,
    operation,
    optim,
    sin,
    stop_gradient,
    total,
    value_and_grad,
    vjp,
    vmap,
)
from tinygrad_vi.trees import flatten

quick: Any = partial(compile, backend="numpy")
mapped: Any = partial(vmap, backend="numpy")
X = [0.5, 1.5, -0.7]
TAKEN_AROUND = "by which a derivative is being taken around this call"


def weighted(x: Any) -> Any:
    """All numbers of an answer, each with a weight of its own, as one."""
    return sum((i + 1.0) * v for i, v in enumerate(flatten(x)[0]))


# --- every answer, inside every derivative ----------------------------------------------------------------------------


def formula(w, p, x):
    return (p[0] * x * w + p[1] * p[0] * w * w) ** 2 * w


#: each answer of the compiled function of theta = (0.3, 0.8) and of X, along v = (1, 2)
ASKED = {
    "value": lambda step, p, v: step(p, X),
    "grad": lambda step, p, v: step.grad(p, X),
    "each": lambda step, p, v: step.each(p, X),
    "jacobian": lambda step, p, v: step.jacobian(p, X),
    "jvp": lambda step, p, v: step.jvp(p, v, X)[1],
    "hvp": lambda step, p, v: step.hvp(p, v, X),
    "hessian": lambda step, p, v: step.hessian(p, X),
}
AROUND = {
    "grad": lambda f: grad(f)(2.0),
    "jvp": lambda f: jvp(f, (2.0,), (1.0,))[1],
    "hessian": lambda f: hessian(f)(2.0),
    "compiled": lambda f: quick(f).grad(2.0),
    "compiled twice": lambda f: quick(f).hvp(2.0, 1.0),
    "mapped": lambda f: mapped(grad(f))([2.0])[0],
    "product": lambda f: hvp(f)(2.0, 1.0),
}


def of_jax(asked: str) -> Any:
    import jax
    import jax.numpy as jnp

    def answer(w):
        each = lambda p: jax.vmap(lambda x: formula(w, p, x))(jnp.array(X))  # noqa: E731
        mean = lambda p: jnp.mean(each(p))  # noqa: E731
        p, v = jnp.array([0.3, 0.8]), jnp.array([1.0, 2.0])
        answers = {
            "value": lambda: mean(p),
            "grad": lambda: jax.grad(mean)(p),
            "each": lambda: each(p),
            "jacobian": lambda: jax.jacobian(each)(p),
            "jvp": lambda: jax.grad(mean)(p) @ v,
            "hvp": lambda: jax.hessian(mean)(p) @ v,
            "hessian": lambda: jax.hessian(mean)(p),
        }
        found = jnp.ravel(answers[asked]())
        return jnp.sum(found * jnp.arange(1.0, len(found) + 1.0))

    return answer


@pytest.mark.parametrize("asked", ASKED)
def test_every_answer_is_differentiated_through_inside_every_derivative(asked):
    jax = pytest.importorskip("jax", reason="JAX is the judge")
    with jax.enable_x64(True):
        first = float(jax.grad(of_jax(asked))(2.0))
        second = float(jax.hessian(of_jax(asked))(2.0))

    def answer(w):
        step = quick(lambda p, x: formula(w, p, x))
        return weighted(ASKED[asked](step, np.array([0.3, 0.8]), [1.0, 2.0]))

    for name, around in AROUND.items():
        expected = second if name in ("hessian", "compiled twice", "product") else first
        assert around(answer) == pytest.approx(expected, rel=1e-9), name


@pytest.mark.parametrize(("found", "expected"), [  # by hand
    (lambda: grad(lambda w: quick(lambda x: w * x * x).hvp(3.0, 1.0))(2.0), 2.0),
    (lambda: grad(lambda w: quick(lambda x: w * x * x).hessian(3.0))(2.0), 2.0),
    (lambda: grad(lambda w: quick(lambda p: w * p["a"] ** 2 * p["b"][0]).hessian({"a": 2.0, "b": [5.0]})["a"]["a"])(3.0),
     10.0),
    (lambda: grad(lambda w: quick(lambda x, u: (w * u * x) ** 2, argnums=1).hvp(X, 2.0, 1.0))(3.0),
     12.0 * np.mean(np.square(X))),
    (lambda: grad(lambda w: quick(lambda u: sum([(w * u * x) ** 2 for x in X * 5])).hvp(2.0, 1.0))(3.0),
     60.0 * np.sum(np.square(X))),
    (lambda: grad(lambda w: quick(lambda x: [w * x[0], x[1] * w * w]).each(np.array([1.0, 2.0])).sum())(3.0), 13.0),
    (lambda: grad(lambda w: quick(lambda x: [w * x[0], x[1]]).each(np.array([1.0, 2.0])).sum())(3.0), 1.0),
    (lambda: hessian(lambda w: (lambda u: quick(lambda x: u * x * x).hvp(3.0, 1.0))(w * w * w))(2.0), 24.0),
    (lambda: grad(lambda a: quick(lambda b: mapped(lambda c: grad(lambda d: a * a * b * b * d * d)(c))(X).sum())
                  .hvp(2.0, 1.0))(3.0), 24.0 * np.sum(X)),
    (lambda: quick(lambda w: grad(lambda x: quick(lambda z: w * z * z * x * x).hvp(1.0, 1.0))(3.0)).grad(2.0), 12.0),
])  # fmt: skip
def test_arrangements_of_all_kinds(found, expected):
    assert found() == pytest.approx(expected, rel=1e-12)


@operation(partials=lambda out, x: 3.0 * x**2)
def cube(x):
    """x**3."""
    return x**3


@custom_derivative(lambda out, x: [2.0 * x[0] * x[1], x[0] ** 2])
def square_times(x):
    return float(x[0] ** 2 * x[1])


def test_operations_of_the_users_own_in_between():
    a = np.array(X)
    slope = grad(lambda w: quick(lambda u, x: cube(w * u * x)).each(2.0, X).sum())(3.0)
    assert slope == pytest.approx(3.0 * 9.0 * np.sum((2.0 * a) ** 3))
    assert quick(lambda w: quick(lambda u: cube(w * u)).hvp(2.0, 1.0)).hvp(3.0, 1.0) == pytest.approx(216.0)
    assert hessian(lambda w: mapped(lambda x: square_times([w * x, x]))(X).sum())(3.0) == pytest.approx(
        2.0 * np.sum(a**3)
    )
    with pytest.raises(TypeError, match="has a derivative of its own and runs on numbers, so it cannot be compiled"):
        grad(lambda w: quick(lambda x: square_times([w * x, x])).hvp(2.0, 1.0))(3.0)


held: dict[str, Any] = {}


def test_a_trace_that_knows_what_is_differentiated_by_is_not_kept():
    """Not even where the function hides what it reads."""
    step = quick(lambda x: globals()["held"]["w"] * x * x)

    def f(w):
        held["w"] = w
        return step.hvp(3.0, 1.0)

    assert [grad(f)(2.0), grad(f)(5.0), hessian(lambda w: f(w**3))(2.0)] == pytest.approx([2.0, 2.0, 24.0])
    held["w"] = 7.0
    assert step.hvp(3.0, 1.0) == 14.0
    assert repr(step).endswith("traced for 1 shape>")


# --- with params it is refused, unless nobody differentiates by it ----------------------------------------------------


def test_with_params_it_is_refused_and_the_advice_is_right():
    p = Value(1.5, "p")
    loss = lambda w: lambda x: (w * x * p) ** 2  # noqa: E731
    asks = [
        lambda step: step(step.theta, X),
        lambda step: step.value_and_grad(step.theta, X)[0],
        lambda step: step.grad(step.theta, X)[0],
        lambda step: step.each(step.theta, X).sum(),
        lambda step: step.jacobian(step.theta, X).sum(),
        lambda step: step.jvp(step.theta, [1.0], X)[1],
        lambda step: step.hvp(step.theta, [1.0], X)[0],
        lambda step: step.hessian(step.theta, X)[0, 0],
    ]
    for ask in asks:
        for around in (lambda f: grad(f)(2.0), lambda f: quick(f).grad(2.0)):
            with pytest.raises(TypeError, match=TAKEN_AROUND):
                around(lambda w, ask=ask: ask(quick(loss(w), [p])))
    with pytest.raises(TypeError, match=TAKEN_AROUND):  # computed from what is differentiated by
        grad(lambda w: (lambda u: quick(lambda x: u * p * x, [p])([1.5], [3.0]))(w * w))(2.0)
    slope = 2.0 * 2.0 * 1.5**2 * np.mean(np.square(X))
    mean = lambda values: total(values) / len(X)  # noqa: E731
    assert grad(lambda w: mean([quick(loss(w), [p]).fn(x) for x in X]))(2.0) == pytest.approx(slope)
    assert grad(lambda w: quick(lambda q, x: (w * x * q) ** 2)(1.5, X))(2.0) == pytest.approx(slope)
    assert grad(lambda w: w * quick(loss(w.data), [p])([1.5], X))(2.0) == pytest.approx(
        slope
    )  # w * w**2 c, 2 c w = slope
    stopped = lambda w: quick(loss(stop_gradient(w)), [p])([1.5], X)  # noqa: E731
    assert grad(lambda w: w * stopped(w))(2.0) == pytest.approx(slope)


def test_a_value_that_nobody_differentiates_by_is_a_constant():
    k, p = Value(4.0), Value(1.0)
    net = nn.MLP(1, [2, 1], seed=0)
    seen = []

    def f(w):
        seen.append(quick(lambda x: k * p * x, [p]).value_and_grad([2.0], [3.0]))
        seen.append(quick(lambda x: k * x * x).hessian(3.0))
        seen.append(quick(lambda a, x: a * net([x])).each(2.0, [1.0, 2.0]))
        return w * seen[0][0]

    assert grad(f)(2.0) == 24.0
    assert seen[0][1].tolist() == [12.0]
    assert (type(seen[1]), seen[1]) == (float, 8.0)
    assert seen[2] == pytest.approx(2.0 * np.array([net([1.0]).data, net([2.0]).data]))
    assert quick(lambda x: k * p * x, [p]).grad([2.0], [3.0]).tolist() == [12.0]


def test_parameters_in_training_count_as_differentiated_by():
    pytest.importorskip("scipy", reason="levenberg_marquardt solves with it")
    p = Value(1.5)
    step, ridge = quick(lambda x: p * x, [p]), quick(lambda: p * p, [p])
    options = {"epochs": 1, "progress": False}
    with pytest.raises(TypeError, match=TAKEN_AROUND):
        fit(lambda x, y: (step(step.theta, [x.data]) - y) ** 2 + p, [1.0, 2.0], [1.0, 2.0], params=[p], **options)
    for loss in (lambda x, y: (p * x - y) ** 2, quick(lambda x, y: (p * x - y) ** 2, [p])):
        with pytest.raises(TypeError, match=TAKEN_AROUND):
            fit(loss, [1.0, 2.0], [1.0, 2.0], params=[p], penalty=lambda: ridge(ridge.theta), **options)
    optim.levenberg_marquardt(lambda: [quick(lambda a: p * a - 3.0).each(2.0)], [p])
    assert p.data == pytest.approx(1.5)


# --- where the modes of a derivative do not reach ---------------------------------------------------------------------


def in_a_thread(f, *arguments):
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(f, *arguments).result()


THREADED = [  # by hand, at w = 2
    (lambda w: in_a_thread(quick(lambda x: w * x), 3.0), 3.0),
    (lambda w: in_a_thread(quick(lambda x: w * w * x * x).hvp, 3.0, 1.0), 8.0),
    (lambda w: in_a_thread(mapped(lambda x: w * x * x), [1.0, 2.0]).sum(), 5.0),
    (lambda w: in_a_thread(grad(lambda x: w * x * x), 3.0), 6.0),
    (lambda w: in_a_thread(jacobian(lambda x: [w * x * x, w * w * x]), 3.0)[1], 4.0),
    (lambda w: in_a_thread(vjp, lambda x: w * x * x, 3.0)[1](1.0), 6.0),
    (lambda w: in_a_thread(numerical_gradient(lambda x: w * x * x), 3.0), 6.0),
]


@pytest.mark.parametrize("case", range(len(THREADED)))
def test_in_a_thread_that_a_derivative_starts(case):
    f, slope = THREADED[case]
    assert grad(f)(2.0) == pytest.approx(slope, rel=1e-6)
    assert grad(lambda w: w + f(w))(2.0) == pytest.approx(1.0 + slope, rel=1e-6)


def test_in_a_thread_with_params_it_is_refused():
    p = Value(1.0)
    with pytest.raises(TypeError, match=TAKEN_AROUND):
        grad(lambda w: in_a_thread(quick(lambda x: w * p * x, [p]), [2.0], [3.0]))(2.0)


def test_a_function_of_numbers_that_knows_such_a_value_is_refused():
    def root(w, inside):
        @custom_derivative(lambda out, a: 1.0)
        def found(a):
            return a + inside(w)

        return found(w)

    for inside in (lambda w: grad(lambda x: w * x * x)(3.0), lambda w: quick(lambda x: w * x * x)(3.0)):
        with pytest.raises(TypeError, match="it depends on a Value that is no operand; give it as one"):
            grad(lambda w, inside=inside: root(w, inside))(2.0)


# --- no_grad ----------------------------------------------------------------------------------------------------------

UNRECORDED = [  # of w * c, where c was computed inside no_grad, at w = 2: c, as in torch.func
    (lambda w: grad(lambda x: w * x * x)(3.0), 12.0),
    (lambda w: value_and_grad(lambda x: w * w * x * x)(3.0)[0], 36.0),
    (lambda w: jvp(lambda x: w * w * x * x, (3.0,), (1.0,))[0], 36.0),
    (lambda w: vjp(lambda x: w * w * x * x, 3.0)[0], 36.0),
    (lambda w: hessian(lambda x: w * w * x * x)(3.0), 8.0),
    (lambda w: quick(lambda x: w * w * x * x)(3.0), 36.0),
    (lambda w: quick(lambda x: w * w * x * x).value_and_grad(3.0)[0], 36.0),
    (lambda w: quick(lambda x: w * w * x * x).hvp(3.0, 1.0), 8.0),
    (lambda w: mapped(lambda x: w * w * x * x)([3.0])[0], 36.0),
]


@pytest.mark.parametrize("case", range(len(UNRECORDED)))
def test_what_is_computed_inside_no_grad_is_a_constant_for_the_derivative_around(case):
    inside, constant = UNRECORDED[case]

    def f(w):
        with no_grad():
            c = inside(w)
        return w * c

    assert grad(f)(2.0) == pytest.approx(constant)
    assert quick(f).grad(2.0) == pytest.approx(constant)
    with no_grad():
        assert grad(lambda w: sin(w) * 0.0 + inside(w))(2.0) == pytest.approx(grad(inside)(2.0))


@pytest.mark.parametrize("with_params", [True, False])
def test_what_answered_before_is_asked_again_when_its_values_are_differentiated_by(with_params):
    pytest.importorskip("scipy", reason="levenberg_marquardt solves with it")
    """A Value that became a variable, as parameters in training do, after the same arrays were answered for."""
    w, p = Value(2.0), Value(1.0)
    step = quick(lambda x: w * p * x, [p]) if with_params else quick(lambda q, x: w * q[0] * x)
    theta, data = np.array([1.0]), np.array([1.0, 3.0])
    for _ in range(3):
        assert (step(theta, data), step.grad(theta, data).tolist()) == (4.0, [4.0])
    loss = lambda: [step(theta, data) - 6.0 + 0.0 * w]  # noqa: E731
    if with_params:
        with pytest.raises(TypeError, match=TAKEN_AROUND):
            optim.levenberg_marquardt(loss, [w])
    else:
        optim.levenberg_marquardt(loss, [w])
        assert w.data == pytest.approx(3.0)
