"""Programs of single numbers run as plain Python: the same numbers as NumPy's text gives, and the same errors."""

import math

import numpy as np
import pytest
from hypothesis import given
from programs import SAME_EVERY_TIME, programs

from tinygrad_vi import DomainError, compile, exp, log, maximum, operation, rows, sin, sqrt, total, value_and_grad
from tinygrad_vi.compiler.numpy_runner import NumpyRunner
from tinygrad_vi.compiler.scalar_runner import ScalarRunner


def runner(f, theta):
    step = compile(f, backend="numpy")
    step.value_and_grad(np.array(theta))
    return step, step._traces.known().runners["value_and_gradient"]


def pendulum(p):
    x, v, h = p[0], p[1], 0.05
    for _ in range(60):
        a = -sin(x) - 0.1 * v
        x, v = x + h * v, v + h * a
    return x * x + v * v


def test_a_chain_of_numbers_is_run_without_arrays_and_a_layer_with_them():
    step, run = runner(pendulum, [1.0, 0.0])
    assert isinstance(run, ScalarRunner)
    found = step.value_and_grad(np.array([1.0, 0.5]))
    value, gradient = value_and_grad(pendulum)([1.0, 0.5])
    assert found[0] == pytest.approx(value, rel=1e-13)
    assert found[1] == pytest.approx(gradient, rel=1e-12)
    assert "np.sin" in step.source, "what is shown is NumPy's text"
    layer = lambda p: sum(sin(sum(p[3 * i + j] * p[24 + j] for j in range(3))) for i in range(8))  # noqa: E731
    assert isinstance(runner(layer, np.linspace(0.0, 1.0, 27))[1], NumpyRunner)


PROGRAMS = {
    "a total": lambda p: total([1e16 * p[0], p[1], -1e16 * p[0]]),
    "an infinite constant": lambda p: maximum(p[0] * p[1], -math.inf),
    "negative factors": lambda p: -3.0 * p[0] * p[1] - 0.3 * p[1] + -0.0,
    "powers": lambda p: p[0] ** 3.5 + p[1] ** -2 + 2.0 ** p[0],
    "a quotient": lambda p: exp(p[0] / p[1]) / (1.0 + p[0] ** 2),
    "a constant": lambda p: 0.0 * p[0] + 7.0,
    "one of the parameters": lambda p: p[1],
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_value_and_gradient_are_the_engines(name):
    f = PROGRAMS[name]
    found = compile(f, backend="numpy").value_and_grad(np.array([0.7, 1.3]))
    value, gradient = value_and_grad(f)([0.7, 1.3])
    assert found[0] == pytest.approx(value, rel=1e-14)
    assert found[1] == pytest.approx(gradient, rel=1e-14)


@pytest.mark.parametrize(("c", "p", "expected"), [
    (16.0, [1e-308, 1.5e308, 1.0, 1.0], 25.0), (16.0, [1.5e308, 1e-308, 1.0, 1.0], 25.0),
    (0.5, [1e300, 5e-324, 1e-30, 1e-30], 2.470328229206233e-24), (0.5, [5e-324, 1e300, 1e-30, 1e-30], 2.470328229206233e-24),
])  # fmt: skip
def test_a_coefficient_meets_the_product_and_not_one_of_its_factors(c, p, expected):
    step = compile(lambda p: c * (p[0] * p[1]) + p[2] * p[3], backend="numpy")
    assert step(np.array(p)) == pytest.approx(expected, rel=1e-15)
    found, _ = ScalarRunner(step._traces.known().question("value"))(np.array(p), ())
    assert found[0] == pytest.approx(expected, rel=1e-15)


def test_errors_name_the_operation():
    step = compile(lambda p: log(p[0]) * sqrt(p[1]) + 1.0 / p[0], backend="numpy")
    assert step(np.array([1.0, 4.0])) == 1.0
    for point, said in (([-1.0, 4.0], "log"), ([1.0, -4.0], "sqrt"), ([0.0, 1.0], "log")):
        with pytest.raises(DomainError, match=said):
            step(np.array(point))
    with pytest.raises(DomainError):
        compile(lambda p: exp(p[0]), backend="numpy")(np.array([1000.0]))
    assert step(np.array([1.0, 4.0])) == 1.0


def test_an_operation_of_the_users_own_runs_too(monkeypatch):
    monkeypatch.setattr("tinygrad_vi.rows.OWN", {})

    @operation(partials=lambda out, x: (3.0 * x * x,))
    def cubed(x):
        return x**3

    f = compile(lambda p: cubed(p[0]) * p[1], backend="numpy")
    value, gradient = f.value_and_grad(np.array([2.0, 5.0]))
    assert (value, gradient.tolist()) == (40.0, [60.0, 8.0])


def test_it_gives_what_the_engine_gives_on_programs_made_by_chance():
    ran = []

    @SAME_EVERY_TIME
    @given(programs(60))
    def holds(drawn):
        program, at, _ = drawn
        f = lambda p: program.run(list(p), rows.apply) + 0.0 * p[0]  # noqa: E731
        value, gradient = value_and_grad(f)(list(at))
        step = compile(f, backend="numpy")
        found = step.value_and_grad(np.array(at))
        ran.append(isinstance(step._traces.known().runners["value_and_gradient"], ScalarRunner))
        assert found[0] == pytest.approx(value, rel=1e-12, abs=1e-12)
        assert found[1] == pytest.approx(gradient, rel=1e-10, abs=1e-10)

    holds()
    assert sum(ran) > 20
