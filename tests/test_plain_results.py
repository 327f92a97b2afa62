"""A function whose result is a plain number: a constant, or a derivative that was lost."""

import itertools
import math
import random

import numpy as np
import pytest

from tinygrad_vi import (
    Value,
    compile,
    fit,
    grad,
    gradcheck,
    hessian,
    hvp,
    jacobian,
    jvp,
    nn,
    numerical_gradient,
    stop_gradient,
    value_and_grad,
    vjp,
)
from tinygrad_vi.show import three_ways

LOST = "is the plain number .* and it changes with what is differentiated by"

DERIVATIVES = [
    lambda f: grad(f)(1.0),
    lambda f: value_and_grad(f)(1.0),
    lambda f: grad(lambda x: (f(x), "aux"), has_aux=True)(1.0),
    lambda f: jacobian(f)(1.0),
    lambda f: jacobian(lambda x: {"a": x * x, "b": [f(x), 1.0]})(1.0),
    lambda f: hessian(f)(1.0),
    lambda f: hvp(f)(1.0, 1.0),
    lambda f: jvp(f, (1.0,), (1.0,)),
    lambda f: vjp(f, 1.0),
    lambda f: gradcheck(f)(1.0),
    lambda f: grad(lambda w: grad(f)(w) + w)(1.0),
    lambda f: grad(numerical_gradient(lambda x: f(x) ** 2))(1.0),
    lambda f: three_ways(f, 1.0),
]


@pytest.mark.parametrize("derivative", DERIVATIVES)
def test_a_lost_derivative_is_refused(derivative):
    with pytest.raises(TypeError, match=LOST):
        derivative(lambda x: math.exp(x.data if isinstance(x, Value) else x))


@pytest.mark.parametrize(("f", "x"), [
    (lambda x: x.data * 2.0, 3.0),
    (lambda x: (x.data - 1.0) ** 2, 1.0),  # at its minimum
    (lambda x: math.sin(x.data), math.pi / 2.0),
    (lambda x: math.sqrt(x.data), 0.0),  # at the ends of a domain
    (lambda x: math.asin(x.data), 1.0),
    (lambda x: math.log(x.data), 1e-300),
    (lambda x: x.data, 1e300),
    (lambda x: np.float64(x.data) ** 2, 2.0),
    (lambda x: min(x.data, 3.0), 3.0),
    (lambda x: nn.MLP(1, [2, 1], seed=0).predict([x.data]), 3.0),
    (lambda v: float(sum(e.data**2 for e in v)), [1.0, 0.0]),
    (lambda p: p["a"].data - p["b"].data, {"a": 2.0, "b": 2.0}),
    (lambda x: x.data + random.random(), 3.0),
])  # fmt: skip
def test_of_all_kinds(f, x):
    with pytest.raises(TypeError, match=LOST):
        grad(f)(x)


@pytest.mark.parametrize(("f", "x"), [
    (lambda x: 5.0, 3.0),
    (lambda x: True, 3.0),
    (lambda x: x if x > 0 else 0.0, 0.0),  # of the corner
    (lambda x: 1.0 if x > 0 else 0.0, 0.0),
    (lambda x: 1.0 if x == 0 else 0.0, 0.0),
    (lambda x: math.floor(x.data), 3.0),
    (lambda x: math.ceil(x.data), 3.0),
    (lambda x: round(x.data, 2), 3.0),
    (lambda x: max(x.data, 5.0), 3.0),
    (lambda x: {3: 7.0}[int(x.data)], 3.0),
    (lambda x: random.random(), 3.0),
    (lambda x: np.random.rand(), 3.0),
    (lambda x: Value(x.data), 3.0),
    (lambda x: stop_gradient(x * x), 3.0),
])  # fmt: skip
def test_a_constant_has_the_derivative_0(f, x):
    assert grad(f)(x) == 0.0
    assert jacobian(lambda x: [x * x, f(x)])(x) == [2.0 * x, 0.0]


def test_what_cannot_be_told_is_refused_and_value_says_that_it_is_a_constant():
    count = itertools.count()
    with pytest.raises(TypeError, match=LOST):
        grad(lambda x: float(next(count)))(3.0)
    assert grad(lambda x: Value(next(count)))(3.0) == 0.0
    with pytest.raises(TypeError, match=r"7.0, which has no record.* raised KeyError.*or write Value\(y\)") as caught:
        grad(lambda x: {3.0: 7.0}[x.data])(3.0)
    assert isinstance(caught.value.__cause__, KeyError)
    assert grad(lambda x: Value({3.0: 7.0}[x.data]))(3.0) == 0.0
    with pytest.raises(TypeError, match=r"the result of f\['b'\]\[0\] is the plain number 3.0"):
        jacobian(lambda x: {"a": x, "b": [x.data]})(3.0)


def test_an_ordinary_function_is_run_once_and_a_constant_three_times_without_drawing():
    calls = []
    assert grad(lambda x: calls.append(x.data) or x * x)(3.0) == 6.0
    assert calls == [3.0]
    random.seed(1)
    np.random.seed(1)
    states = random.getstate(), np.random.get_state()[1].tolist()
    assert grad(lambda x: calls.append(x.data) or 5.0)(3.0) == 0.0
    assert len(calls) == 4
    assert (random.getstate(), np.random.get_state()[1].tolist()) == states
    assert grad(lambda x: random.random())(3.0) == 0.0
    random.setstate(states[0])
    expected = [random.random() for _ in range(2)][1]
    random.setstate(states[0])
    grad(lambda x: random.random())(3.0)
    assert random.random() == expected  # it drew once


def test_while_a_function_is_traced_its_inner_variables_keep_their_numbers_too():
    for inner in (lambda x: x.data * 2.0, lambda x: x.data * 2.0 + x, lambda x: math.exp(x.data)):
        step = compile(lambda w, inner=inner: w * grad(inner)(3.0), backend="numpy", verify=False)
        with pytest.raises(TypeError, match="a traced Value does not give its number"):
            step(2.0)
    assert compile(lambda w: w * grad(lambda x: x * x)(3.0), backend="numpy")(2.0) == 12.0


def test_a_penalty_that_is_a_plain_number_and_changes_with_the_parameters():
    w = Value(1.0)
    loss = lambda x, y: (w * x - y) ** 2  # noqa: E731
    options = {"epochs": 1, "progress": False}
    for given in (loss, compile(loss, [w], backend="numpy")):
        with pytest.raises(TypeError, match=f"the result of the penalty {LOST}"):
            fit(given, [1.0, 2.0], [1.0, 2.0], params=[w], penalty=lambda: 0.1 * w.data**2, **options)
        assert fit(given, [1.0, 2.0], [1.0, 2.0], params=[w], penalty=lambda: 0.5, **options).epochs == 1
