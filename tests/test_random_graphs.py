"""Random expressions of up to 200 steps with shared nodes and repeated operands, against PyTorch, JAX and forward mode."""

import math

import pytest
from hypothesis import assume, given, settings
from peers.functions import jax_functions, torch_functions
from programs import SAME_EVERY_TIME, STEPS, Program, programs

from tinygrad_vi import Value, grad, rows
from tinygrad_vi.graph import topological_order
from tinygrad_vi.sweep import adjoints, tangents

REASON = "{0} is not installed: pip install {1}"


def test_the_steps_use_every_operation_of_the_table():
    used = set()
    for step in STEPS.values():
        program = Program(3)
        step(program, 0, 1, 2)
        used |= {op.name for op, _ in program.instructions}
    assert used == {*rows.OPERATIONS, *rows.FAMILIES}


# --- the engines: each gives the value, the gradient, and the Hessian times the direction ----------------------------


def product(us, vs):
    return sum((u * v for u, v in zip(us, vs, strict=True)), 0.0)


def by_us(program, at, direction):
    xs = [Value(x) for x in at]
    y = program.run(xs, rows.apply)
    slopes = adjoints(topological_order([y]), {y: 1.0}, create_graph=True)
    along = product([slopes.get(x, 0.0) for x in xs], direction) + Value(0.0)
    gradient, gradient_scale = swept(y, xs)
    curvature, curvature_scale = swept(along, xs)
    return (y.data, gradient, curvature), (1.0, gradient_scale, curvature_scale)


def swept(y, xs):
    """The gradient by the reverse sweep, and what it would be if contributions had one sign and did not cancel."""
    order = topological_order([y])
    gradient = adjoints(order, {y: 1.0})
    scale = {y: 1.0}
    for node in reversed(order):
        for parent, slope in zip(node.parents, node.local_grads, strict=True):
            scale[parent] = scale.get(parent, 0.0) + abs(slope) * scale[node]
    return [gradient.get(x, 0.0) for x in xs], [scale.get(x, 0.0) for x in xs]


def by_torch(program, at, direction):
    import torch

    functions = torch_functions()
    xs = [torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in at]
    y = program.run(xs, lambda op, *operands: functions[op.name](*operands, *op.constants))
    gradient = torch.autograd.grad(y, xs, create_graph=True, materialize_grads=True)
    along = product(gradient, direction)
    curvature = (
        torch.autograd.grad(along, xs, materialize_grads=True) if along.requires_grad else [torch.zeros(())] * len(xs)
    )
    return y.item(), [g.item() for g in gradient], [c.item() for c in curvature]


def by_jax(program, at, direction):
    import jax

    functions = jax_functions()

    def f(xs):
        return program.run(xs, lambda op, *operands: functions[op.name](*operands, *op.constants))

    with jax.enable_x64(True):
        (y, gradient), (_, curvature) = jax.jvp(jax.value_and_grad(f), ([*at],), ([*direction],))
    return float(y), [float(g) for g in gradient], [float(c) for c in curvature]


def assert_close(got, expected, scale):
    """To a relative 1e-12 of the scale: what cancels leaves the rounding of what was cancelled."""
    for g, e, s in zip(got, expected, scale, strict=True):
        assert abs(g - e) <= 1e-12 * max(s, abs(e))


# --- the tests --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@settings(SAME_EVERY_TIME, max_examples=200)
@given(programs(200))
def test_forward_and_reverse_mode_agree(drawn):
    program, at, direction = drawn
    xs = [Value(x) for x in at]
    y = program.run(xs, rows.apply)
    gradient, scale = swept(y, xs)
    tangent = tangents(topological_order([y]), dict(zip(xs, direction, strict=True)))[y]
    assert_close([tangent], [product(gradient, direction)], [product(scale, map(abs, direction))])


@pytest.mark.slow
@settings(SAME_EVERY_TIME, max_examples=200)
@given(programs(200))
def test_gradients_and_second_derivatives_agree_with_pytorch(drawn):
    pytest.importorskip("torch", reason=REASON.format("PyTorch", "torch"))
    assume(not has_an_exponent_0(*drawn[:2]))
    assert_engines_agree(by_torch, *drawn)


@pytest.mark.slow
@settings(SAME_EVERY_TIME, max_examples=15)
@given(programs(20))
def test_gradients_and_second_derivatives_agree_with_jax(drawn):
    pytest.importorskip("jax", reason=REASON.format("JAX", "jax"))
    assert_engines_agree(by_jax, *drawn)


def has_an_exponent_0(program, at):
    """Whether some x**y is at y = 0, where PyTorch takes y * x**(y - 1) for a constant 0 and loses its derivative 1/x."""
    found = []

    def apply_and_look(op, *xs):
        found.append(op.name == "pow" and xs[1] == 0.0)
        return rows.apply(op, *xs)

    program.run(list(at), apply_and_look)
    return any(found)


def test_an_exponent_that_passes_through_0_keeps_its_mixed_derivative():
    """f = (1.5 + x/2)**x at 0: f'' = f' ** 2 + 2 * (1/2) / 1.5, by hand; PyTorch says f' ** 2 + (1/2) / 1.5."""
    slope = math.log(1.5)
    assert grad(grad(lambda x: (1.5 + 0.5 * x) ** x))(0.0) == pytest.approx(slope**2 + 1.0 / 1.5, rel=1e-14)


def assert_engines_agree(engine, program, at, direction):
    (value, gradient, curvature), (size, gradient_scale, curvature_scale) = by_us(program, at, direction)
    their_value, their_gradient, their_curvature = engine(program, at, direction)
    assert_close([value], [their_value], [size])
    assert_close(gradient, their_gradient, gradient_scale)
    assert_close(curvature, their_curvature, curvature_scale)


@pytest.mark.parametrize("name", STEPS)
def test_the_comparison_notices_a_rule_wrong_in_its_7th_digit(name):
    program = Program(3)
    STEPS[name](program, 0, 1, 2)
    at, direction = (0.3, -0.7, 0.9), (1.0, 0.5, -0.25)
    ours = by_us(program, at, direction)[0]
    assert_engines_agree(lambda *_: ours, program, at, direction)
    for i, (op, operands) in enumerate(program.instructions):
        if op.name == "sub" and name in ("step", "where", "sign", "floor", "ceil", "round", "floordiv"):
            continue  # it only shifts a condition, by which the derivative is 0

        def partials(out, *xs, op=op):
            return [p * (1 + 1e-6) or 1e-6 for p in op.partials(out, *xs)]

        wrong = op.changed(partials=partials, constant_partials=None)
        program.instructions[i] = wrong, operands
        with pytest.raises(AssertionError):
            assert_engines_agree(lambda *_: ours, program, at, direction)
        program.instructions[i] = op, operands
