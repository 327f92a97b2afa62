"""Tracing: one run on a real example, in which a Value refuses to decide anything."""

import math

import numpy as np
import pytest

from tinygrad_vi import Value, compile, grad, log, losses, maximum, nn, no_grad, where
from tinygrad_vi.compiler.trace import trace


def test_arguments_are_numbers_lists_and_arrays_of_any_rank():
    seen = []

    def f(x, table, t):
        seen.append((x, table, t))
        return [x[0] + table[1][0], {"t": t}["t"]]

    found = trace(f, ([1.0, 2], np.arange(4.0).reshape(2, 2), 5.0))
    x, table, t = seen[0]
    assert [v.data for v in found.inputs] == [1.0, 2.0, 0.0, 1.0, 2.0, 3.0, 5.0]
    assert found.inputs == [*x, *table.ravel().tolist(), t]
    assert [y.data for y in found.outputs] == [3.0, 5.0]
    assert found.nest([10.0, 20.0]) == [10.0, 20.0]


def test_networks_and_losses_can_be_traced():
    model = nn.MLP(2, [3, 1], activation="tanh", dropout=0.0, seed=0)
    for loss, t in ((losses.bce_with_logits, 1.0), (losses.mse, 0.3), (losses.huber, 0.3), (losses.hinge, 1.0)):
        found = trace(lambda x, t, loss=loss: loss(model(x), t), ([0.5, -1.0], t))
        assert found.outputs[0].data == pytest.approx(loss(model([0.5, -1.0]), t).data, rel=1e-15)
    rnn = nn.RNN(nn.LSTMCell(1, 2, seed=0), nn.Layer(2, 1, seed=0), last=True)
    assert trace(rnn, ([[1.0], [2.0]],)).outputs[0].data == rnn([[1.0], [2.0]]).data


@pytest.mark.parametrize(
    "f",
    [
        lambda x: x if x > 0 else -x,
        lambda x: x * 2.0 if x else x,
        lambda x: max(x, 0.0),
        lambda x: min(0.0, x),
        lambda x: sorted([x, x * 2.0])[0],
        lambda x: x and x * 2.0,
        lambda x: next(v for v in [x] if v >= 1.0),
        lambda x: [x, -x][x <= 0],
    ],
)
def test_a_traced_value_refuses_to_be_a_condition(f):
    with pytest.raises(TypeError, match=r"a traced Value cannot be a condition: .* Write where\(c, x, y\) for"):
        trace(f, (2.0,))
    assert f(Value(2.0)) is not None  # and only while tracing
    assert Value(2.0) > 1.0


@pytest.mark.parametrize("f", [float, int, math.exp, lambda x: [1, 2, 3][x], range])
def test_a_traced_value_is_no_python_number(f):
    with pytest.raises(TypeError):
        trace(f, (2.0,))


def test_what_decides_by_operations_is_fine():
    found = trace(lambda x: where(x, log(maximum(x, 1.0)), -x), (3.0,))
    assert found.outputs[0].data == math.log(3.0)


def test_a_constant_result_is_a_leaf():
    assert trace(lambda x: 7.0, (1.0,)).outputs[0].data == 7.0
    with pytest.raises(TypeError, match="a derivative takes numbers or Values, got 'a'"):
        trace(lambda x: "a", (1.0,))


def test_a_derivative_inside_a_traced_function_stops_where_recording_is_off():
    """d(stop(v*v) * v)/dv = v*v, at a number of its own and at the input."""

    def stopped(v):
        with no_grad():
            square = v * v
        return square * v

    w = Value(1.0)
    at_a_number = compile(lambda x: w * x + grad(stopped)(3.0), [w], backend="numpy")
    assert at_a_number.each([1.0], [2.0, 5.0]).tolist() == [11.0, 14.0]
    at_the_input = compile(lambda x: w * x + grad(stopped)(x), [w], backend="numpy")
    assert at_the_input.each([1.0], [2.0, 5.0]).tolist() == [6.0, 30.0]


def test_a_type_error_of_the_functions_own_is_told_as_it_is():
    with pytest.raises(TypeError) as told:
        compile(lambda w, x: w * len(x), backend="numpy").each(1.0, [2.0])
    assert "take(" not in str(told.value)
    with pytest.raises(TypeError, match=r"take\(table, index\)"):
        compile(lambda w, x: w * [1.0, 2.0][x], backend="numpy").each(1.0, [1.0])
