"""A compiled function with its data gives what it gives without: number for number, whatever changes around it."""

import gc
import weakref
from importlib.util import find_spec

import numpy as np
import pytest

from tinygrad_vi import DomainError, Value, compile, log, nn, no_grad, sin

BACKENDS = ["numpy"] + ["native"] * (find_spec("numba") is not None)


@pytest.fixture(params=BACKENDS)
def backend(request):
    return request.param


def regression(backend, N=100, **options):
    model = nn.MLP(2, [5, 1], activation="tanh", seed=0)
    draw = np.random.default_rng(N)
    X, Y = draw.normal(size=(N, 2)), draw.normal(size=N)
    return compile(lambda x, t: (model(x) - t) ** 2, params=model.parameters(), backend=backend, **options), X, Y


@pytest.mark.parametrize("N", [1, 2, 7, 8, 9, 63, 64, 65, 100, 1000])
def test_it_gives_the_same_numbers_to_the_last_bit(backend, N):
    step, X, Y = regression(backend, N)
    bound = step.bind(X, Y)
    draw = np.random.default_rng(0)
    for _ in range(4):  # the first call is another path than the next ones
        theta, v = draw.normal(size=(2, len(step.theta)))
        value, gradient = bound.value_and_grad(theta)
        expected = step.value_and_grad(theta, X, Y)
        assert value == expected[0]
        assert bound(theta) == step(theta, X, Y)
        assert gradient.tobytes() == expected[1].tobytes() == bound.grad(theta).tobytes()
        assert bound.hvp(theta, v).tobytes() == step.hvp(theta, v, X, Y).tobytes()
        assert bound.each(theta).tobytes() == step.each(theta, X, Y).tobytes()
        assert bound.jacobian(theta).tobytes() == step.jacobian(theta, X, Y).tobytes()
        assert bound.jvp(theta, v) == step.jvp(theta, v, X, Y)
    assert bound.hessian(theta).tobytes() == step.hessian(theta, X, Y).tobytes()


def test_its_data_are_its_own(backend):
    step, X, Y = regression(backend)
    bound, theta = step.bind(X, Y), step.theta
    before = bound(theta)
    X[:] = 7.0
    assert [bound(theta) for _ in range(3)] == [before] * 3
    rows = [[1.0, 2.0], [3.0, 4.0]]
    bound = step.bind(rows, [0.0, 1.0])
    before = bound(theta)
    rows[0][0] = 9.0
    assert bound(theta) == before != step(theta, rows, [0.0, 1.0])


def test_several_bound_functions_and_calls_with_other_data_do_not_meet(backend):
    step, X, Y = regression(backend)
    theta = step.theta
    one, two = step.bind(X, Y), step.bind(X[::-1] * 2.0, Y)  # of one size
    expected = step(theta, X, Y), step(theta, X[::-1] * 2.0, Y)
    for _ in range(4):
        assert (one(theta), two(theta)) == expected
        assert step(theta, X * 3.0, Y) not in expected


def test_what_the_function_reads_elsewhere_is_watched(backend):
    w, scale = Value(0.5), Value(2.0)
    step = compile(lambda x: scale * w * x, params=[w], backend=backend)
    bound = step.bind(np.array([1.0, 3.0]))
    assert [bound(np.array([0.5])) for _ in range(3)] == [2.0] * 3
    scale.data = 3.0
    assert [bound(np.array([0.5])) for _ in range(3)] == [3.0] * 3
    step.clear()
    assert [bound(np.array([0.5])) for _ in range(3)] == [3.0] * 3


def test_errors_are_those_of_the_function(backend):
    w = Value(0.5)
    step = compile(lambda x: log(w * x), params=[w], backend=backend)
    bound = step.bind(np.array([1.0, 2.0]))
    for _ in range(3):
        assert bound.value_and_grad(np.array([1.0]))[0] == pytest.approx(np.log(2.0) / 2, rel=1e-15)
        with pytest.raises(DomainError, match="example 0"):
            bound.value_and_grad(np.array([-1.0]))
    with no_grad():
        assert bound(np.array([1.0])) == pytest.approx(np.log(2.0) / 2, rel=1e-15)


def test_theta_may_come_as_anything_that_the_function_takes(backend):
    bound = compile(lambda v, x: sum(u * u for u in v) * x, backend=backend).bind(np.array([1.0, 2.0]))
    for theta in (np.array([1.0, 2.0]), [1.0, 2.0], np.array([1, 2]), np.array([1.0, 9.0, 2.0, 9.0])[::2]) * 2:
        assert bound(theta) == 7.5
        assert np.array_equal(bound.grad(theta), [3.0, 6.0])
    assert bound(np.array([2.0])) == 6.0


def test_data_by_name_and_what_is_refused(backend):
    f = compile(lambda a, x, y: a * x - y, backend=backend)
    assert f.bind(np.ones(3), y=np.zeros(3))(2.0) == 2.0
    with pytest.raises(TypeError, match="Values among the data"):
        f.bind([Value(1.0)], [0.0])
    with pytest.raises(TypeError, match="argnums"):
        compile(lambda a, x: a * x, argnums=1, backend=backend).bind([1.0])
    with pytest.raises((TypeError, ValueError)):
        f.bind(np.ones(3))(2.0)


def test_a_derivative_around_it_is_taken_or_refused(backend):
    from tinygrad_vi import grad

    f = compile(lambda a, x: a * a * x, backend=backend)
    bound = f.bind(np.array([1.0, 3.0]))
    bound(2.0)
    assert grad(lambda a: bound(a) * a)(3.0) == pytest.approx(54.0)  # of 2 a^3


def test_it_serves_optimisers(backend):
    scipy_optimize = pytest.importorskip("scipy.optimize")
    draw = np.random.default_rng(0)
    X = draw.normal(size=(50, 3))
    y = X @ [1.0, -2.0, 0.5] + 0.1 * draw.normal(size=50)
    step = compile(lambda w, x, t: (w @ x - t) ** 2, backend=backend).bind(X, y)
    found = scipy_optimize.minimize(step.value_and_grad, np.zeros(3), jac=True, hessp=step.hvp, method="trust-ncg")
    assert found.x == pytest.approx(np.linalg.lstsq(X, y, rcond=None)[0], abs=1e-4)


def test_a_cleared_function_starts_anew(backend):
    f = compile(lambda v: v @ v, backend=backend)
    assert f(np.array([1.0, 2.0])) == 5.0
    traces = [weakref.ref(traced) for traced in f._traces.by_key.values()]
    f.clear()
    gc.collect()
    assert [trace() for trace in traces] == [None], "the memory is free"
    assert "not traced yet" in repr(f)
    assert f(np.array([1.0, 2.0])) == 5.0


@pytest.mark.parametrize("args", [(2.0,), (2.0, 5.0), (2.0, 5.0, -1.0)])
def test_floats_are_answered_by_their_quick_paths_as_before(backend, args):
    f = compile(lambda *x: sin(x[0]) * x[0] + sum(u * u for u in x[1:]), backend=backend)
    for a in (args, tuple(x + 1.0 for x in args), args):
        gradient = (np.cos(a[0]) * a[0] + np.sin(a[0]), *[2.0 * u for u in a[1:]])
        for _ in range(3):
            assert f(*a) == pytest.approx(np.sin(a[0]) * a[0] + sum(u * u for u in a[1:]), rel=1e-14)
            assert f.grad(*a) == pytest.approx(gradient if len(a) > 1 else gradient[0], rel=1e-14)
