"""The canonical form and its reverse mode, against the eager engine, which other engines judge elsewhere."""

import math

import numpy as np
import pytest
from hypothesis import given
from node_by_node import evaluate
from programs import SAME_EVERY_TIME, STEPS, Program, programs

from tinygrad_vi import Value, grad, hessian, losses, nn, rows, total
from tinygrad_vi.compiler.form import Form
from tinygrad_vi.compiler.from_record import from_record
from tinygrad_vi.compiler.reverse import gradient
from tinygrad_vi.compiler.terms import ONE


def numbers(form, outputs, parameters=(), inputs=()):
    return [float(np.ravel(y)[0]) for y in evaluate(form, outputs, parameters, inputs)]


def eager(program):
    return lambda *xs: program.run(xs, rows.apply)


def lowered(program, n):
    """The program as a form of n parameters, with its gradient."""
    xs = [Value(0.5) for _ in range(n)]
    form, (y,) = from_record([Value(0.0) + program.run(xs, rows.apply)], {x: i for i, x in enumerate(xs)}, {})
    return form, y.node(), [form.parameter(i).node() for i in range(n)]


def as_tuple(x):
    return list(x) if isinstance(x, tuple) else [x]


@pytest.mark.slow
def test_random_programs_have_their_values_and_gradients():
    @SAME_EVERY_TIME
    @given(programs(60))
    def agrees(drawn):
        program, at, _ = drawn
        form, y, leaves = lowered(program, len(at))
        found = numbers(form, [(1.0, y), *gradient(form, y, leaves)], at)
        form.check()
        f = eager(program)
        expected = [
            float(getattr(f(*map(Value, at)), "data", 0.0)),
            *as_tuple(grad(lambda *xs: Value(0.0) + f(*xs))(*at)),
        ]
        assert found == pytest.approx(expected, rel=1e-11, abs=1e-12)

    agrees()


@pytest.mark.parametrize("name", STEPS)
def test_every_operation_has_its_first_and_second_derivatives(name):
    program = Program(3)
    STEPS[name](program, 0, 1, 2)
    at = [0.3, -0.7, 0.9]
    form, y, leaves = lowered(program, 3)
    first = gradient(form, y, leaves)
    f = lambda *xs: Value(0.0) + eager(program)(*xs)  # noqa: E731
    assert numbers(form, first, at) == pytest.approx(as_tuple(grad(f)(*at)), rel=1e-12, abs=1e-13)
    for row, (c, node) in zip(hessian(f)(*at), first, strict=True):
        second = gradient(form, node, leaves)
        assert [c * d for d in numbers(form, second, at)] == pytest.approx(list(row), rel=1e-11, abs=1e-12)
    form.check()


def test_the_program_is_printed_as_stable_text():
    model = nn.MLP.from_weights([[[1.0, 2.0]], [[3.0]]], [[0.5], [0.25]], activation="tanh")
    x = [Value(1.0), Value(-1.0)]
    y = losses.mse(model(x), 2.0)
    parameters = {p: i for i, p in enumerate(model.parameters())}
    form, (out,) = from_record([y], parameters, {v: j for j, v in enumerate(x)})
    out.node()
    assert str(form).splitlines() == [
        "%1 = p0",
        "%2 = p1",
        "%3 = x0 for each example",
        "%4 = x1 for each example",
        "%5 = p2",
        "%6 = %3*%1 + %4*%2 + %5 for each example",
        "%7 = tanh(%6) for each example",
        "%8 = p3",
        "%9 = p4",
        "%10 = -2 + %8*%7 + %9 for each example",
        "%11 = %10*%10 for each example",
    ]
    form.check()


def test_a_batch_of_a_network_gives_the_gradients_of_the_eager_sum():
    model = nn.MLP(3, [4, 2], activation="tanh", seed=0)
    rng = np.random.default_rng(0)
    X = rng.normal(size=(7, 3))
    parameters = model.parameters()
    x = [Value(v) for v in X[0]]
    example = losses.cross_entropy(model(x), [0.25, 0.75]) + losses.l2(parameters, 0.01)
    form, (loss,) = from_record([example], {p: i for i, p in enumerate(parameters)}, {v: j for j, v in enumerate(x)})
    root = form.node("dot", ((1.0 / 7, loss.node(), ONE),), mapped=False)
    outputs = [(1.0, root), *gradient(form, root, [form.parameter(i).node() for i in range(len(parameters))])]
    found = evaluate(form, outputs, [p.data for p in parameters], X.T)
    form.check()
    model.zero_grad()
    eager_loss = total(losses.cross_entropy(model([Value(v) for v in row]), [0.25, 0.75]) for row in X) / 7
    (eager_loss + losses.l2(parameters, 0.01)).backward()
    assert float(found[0]) == pytest.approx(eager_loss.data + losses.l2([p.data for p in parameters], 0.01), rel=1e-13)
    assert [float(g) for g in found[1:]] == pytest.approx([p.grad for p in parameters], rel=1e-12)


def test_a_sum_over_the_examples_counts_what_is_common_once():
    form = Form()
    p, x = form.parameter(0), form.input(0)
    y = form.contract([(1.0, (x * p).node(), ONE), (3.0, p.node(), ONE)], mapped=False)
    found = evaluate(form, [y, *gradient(form, y[1], [p.node()])], [2.0], [[1.0, 10.0, 100.0]])
    assert [float(v) for v in found] == [2 * 111 + 6.0, 111 + 3.0]


def test_equal_nodes_are_one_and_constants_fold():
    form = Form()
    x, p = form.input(0), form.parameter(0)
    assert (x * p).node() == (p * x).node()
    assert ((x + p).tanh()).node() == ((p + x).tanh()).node()
    assert (form.constant(2.0) * 3.0 + 1.0).number() == 7.0
    assert form.constant(0.5).exp().number() == math.exp(0.5)
    assert (2.0 * (x * p) / 4.0).reference() == (0.5, (x * p).node())
    size = len(form)
    (x * p).reference()
    (p * x).reference()
    assert len(form) == size
    with pytest.raises(AttributeError, match="an expression has no attribute 'length'"):
        x.length()


def test_the_checker_notices_broken_rules():
    for damage, message in [
        (lambda f: f.arguments.__setitem__(3, ((1.0, 9, 0),)), "%3 comes before its operands"),
        (lambda f: f.arguments.__setitem__(3, ((1.0, 1, 2),)), "%3 has a term that is not canonical"),
        (lambda f: f.arguments.__setitem__(3, ((1.0, 2, 1), (1.0, 1, 0))), "%3 has terms out of order"),
        (lambda f: f.mapped.__setitem__(4, False), "%4 is mapped like no operand"),
        (lambda f: f.kinds.__setitem__(1, "ghost"), "%1 is of an unknown kind 'ghost'"),
    ]:
        form = Form()
        (form.parameter(0) * form.input(0)).tanh()
        form.check()
        damage(form)
        with pytest.raises(AssertionError, match=message):
            form.check()
