"""Lifting: how few instructions a scalar program becomes, and that they are the same program."""

import random

import pytest
from hypothesis import given
from programs import SAME_EVERY_TIME, programs

from tinygrad_vi import Value, losses, nn, rows
from tinygrad_vi.compiler.from_record import from_record
from tinygrad_vi.compiler.lift import check, lift
from tinygrad_vi.compiler.reverse import gradient
from tinygrad_vi.compiler.terms import ONE


def compiled(loss, parameters, inputs):
    """Mean loss and gradient as a program."""
    form, (y,) = from_record([loss], {p: i for i, p in enumerate(parameters)}, {x: j for j, x in enumerate(inputs)})
    root = form.node("dot", ((0.01, y.node(), ONE),), mapped=False)
    outputs = [
        root,
        *(node for _, node in gradient(form, root, [form.parameter(i).node() for i in range(len(parameters))])),
    ]
    program = lift(form, outputs)
    check(form, outputs, program)
    return form, program


def test_micrograds_demo_becomes_a_handful_of_vector_instructions():
    model = nn.MLP(2, [16, 16, 1], seed=1)
    x, t = [Value(0.5), Value(-0.25)], Value(1.0)
    form, program = compiled(losses.hinge(model(x), t), model.parameters(), [*x, t])
    assert sum(len(instruction.nodes) for instruction in program) > 400
    assert len(program) < 30
    texts = [str(instruction) for instruction in program]
    assert texts[:4] == [
        "16 x ordered(1 parameter + 1 input*parameter + 1 input*parameter) for each example",
        "16 x relu(@0) for each example",
        "16 x 1 parameter + 16 @1*parameter for each example",
        "16 x relu(@2) for each example",
    ]
    sizes = [len(instruction.nodes) for instruction in program]
    assert 256 in sizes  # the gradient of the second layer's weights, at once
    assert len(form) < 1200


def test_a_recurrent_network_needs_instructions_by_step_and_not_by_unit():
    counts = []
    for hidden in (3, 12):
        rnn = nn.RNN(nn.RNNCell(2, hidden, seed=0), nn.Layer(hidden, 1, "identity", seed=1), last=True)
        sequence = [[Value(0.1 * k), Value(0.3)] for k in range(5)]
        y = losses.mse(rnn(sequence), 1.0)
        _, program = compiled(y, rnn.parameters(), [v for step in sequence for v in step])
        counts.append(len(program))
    assert counts[0] == counts[1] < 60


def test_the_order_of_units_makes_no_difference():
    def program(order):
        rng = random.Random(0)
        rows = [[rng.uniform(-1, 1) for _ in range(3)] for _ in range(6)]
        x = [Value(v) for v in (0.1, 0.2, 0.3)]
        layer = nn.Layer.from_weights([rows[i] for i in order], activation="tanh")
        y = losses.sse(layer(x), [0.0] * 6)
        return [str(i) for i in compiled(y, layer.parameters(), x)[1]]

    assert program(range(6)) == program([3, 1, 5, 0, 2, 4])


@pytest.mark.slow
def test_random_programs_stay_themselves():
    @SAME_EVERY_TIME
    @given(programs(80))
    def holds(drawn):
        program, at, _ = drawn
        xs = [Value(x) for x in at]
        compiled(Value(0.0) + program.run(xs, rows.apply), xs, [])

    holds()


def test_the_checker_notices_a_program_out_of_order():
    model = nn.MLP(2, [2, 1], seed=1)
    x = [Value(0.5), Value(-0.25)]
    form, program = compiled(losses.mse(model(x), 1.0), model.parameters(), x)
    with pytest.raises(AssertionError, match="is computed before its operands"):
        check(form, [], program[::-1])
    with pytest.raises(AssertionError, match="is computed twice"):
        check(form, [], [program[0], program[0]])
    with pytest.raises(AssertionError, match="an output is not computed"):
        check(form, [program[-1].nodes[0]], program[:1])
