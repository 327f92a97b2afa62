"""The NumPy text: executed by itself it gives the numbers of the form, and for a network it reads like a textbook."""

import numpy as np
import pytest
from hypothesis import given
from node_by_node import evaluate
from programs import SAME_EVERY_TIME, STEPS, Program, programs

import tinygrad_vi
from tinygrad_vi import Value, rows, where
from tinygrad_vi.compiler.form import from_record
from tinygrad_vi.compiler.numpy_source import Names, numpy_source
from tinygrad_vi.compiler.program import Program as Compiled


def compiled(program, n, mapped):
    """A random program of n numbers, of which the last ``mapped`` are inputs."""
    xs = [Value(0.5) for _ in range(n)]
    y = Value(0.0) + program.run(xs, rows.apply)
    parameters, inputs = xs[: n - mapped], xs[n - mapped :]
    form, results = from_record([y], {x: i for i, x in enumerate(parameters)}, {x: j for j, x in enumerate(inputs)})
    return Compiled(form, results, n - mapped, mapped)


def run(source, name, *arguments):
    namespace = {}
    exec(compile(source, "<source>", "exec"), namespace)
    with np.errstate(all="ignore"):
        return namespace[name](*arguments)


def expected(question, theta, X):
    found = evaluate(question.form, question.outputs, theta, X.T if X.size else np.zeros((0, len(X))))
    return (
        np.array([np.broadcast_to(y, len(X)) for y in found])
        if question.mapped
        else np.array([float(np.squeeze(y)) for y in found])
    )


@pytest.mark.parametrize("mapped", [0, 1, 2])
@pytest.mark.parametrize("name", STEPS)
def test_every_operation(name, mapped):
    program = Program(3)
    STEPS[name](program, 0, 1, 2)
    at, N = np.array([0.3, -0.7, 0.9]), 4
    asked = compiled(program, 3, mapped)
    theta = at[: 3 - mapped]
    X = at[3 - mapped :] * np.linspace(1.0, 1.1, N)[:, None]
    names = Names((), [("x", mapped)] if mapped else [])
    arguments = (theta, X) if mapped else (theta,)
    if not mapped:
        X = np.zeros((1, 0))
    if asked.parameters:
        question = asked.value_and_gradient()
        value, gradient = run(numpy_source(question, names), "value_and_gradient", *arguments)
        assert np.array([value, *gradient]) == pytest.approx(expected(question, theta, X), rel=1e-12, abs=1e-14)
    for question in (asked.value(), asked.each(), asked.jacobian()):
        if question.outputs:
            found = run(numpy_source(question, names, "results"), "results", *arguments)
            want = expected(question, theta, X)
            assert found.reshape(want.shape) == pytest.approx(want, rel=1e-12, abs=1e-14)


@pytest.mark.slow
def test_random_programs():
    @SAME_EVERY_TIME
    @given(programs(60))
    def agrees(drawn):
        program, at, _ = drawn
        for mapped in (0, len(at) // 2):
            asked = compiled(program, len(at), mapped)
            if not asked.parameters:
                continue
            theta = np.array(at[: len(at) - mapped])
            X = np.array([at[len(at) - mapped :]] * 2) if mapped else np.zeros((1, 0))
            question = asked.value_and_gradient()
            names = Names((), [("x", mapped)] if mapped else [])
            found = run(numpy_source(question, names), "value_and_gradient", theta, *([X] if mapped else []))
            assert np.array([found[0], *found[1]]) == pytest.approx(expected(question, theta, X), rel=1e-10, abs=1e-11)

    agrees()


def test_an_operation_on_constants_alone_has_the_shape_of_its_rows():
    """The partial of where by its second operand, where the condition is a number."""
    step = tinygrad_vi.compile(lambda w: where(2.0, 1.0, w[0] + w[0]), backend="numpy")
    assert step.jacobian([1.0]).tolist() == [0.0]
    value, gradient = step.value_and_grad([1.0])
    assert (value, gradient.tolist()) == (1.0, [0.0])
    two = tinygrad_vi.compile(lambda w: [where(2.0, 1.0, w[0]), w[0]], backend="numpy")
    assert two.jacobian([3.0]).tolist() == [[0.0], [1.0]]
