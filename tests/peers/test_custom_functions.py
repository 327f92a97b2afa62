"""Functions with a derivative of one's own, beside torch.autograd.Function and jax.custom_vjp / custom_jvp."""

import math

import numpy as np
import pytest

from tinygrad_vi import cos, custom_derivative, exp, grad, hessian, operation, rows, sin, total, where

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'tinygrad_vi[peers]'")
jax = pytest.importorskip("jax", reason="JAX is not installed: pip install 'tinygrad_vi[peers]'")


@pytest.fixture(autouse=True)
def _rows_and_precision_of_its_own(monkeypatch):
    monkeypatch.setattr(rows, "OWN", {})
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", False)


def test_a_straight_through_estimator_is_pytorchs():
    class Round(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):  # noqa: ARG004  # PyTorch's signature
            return torch.round(x)

        @staticmethod
        def backward(ctx, g):  # noqa: ARG004
            return g

    rounded = operation(partials=1.0, name="rounded")(lambda x: float(round(x)))
    points = [-1.7, -0.2, 0.4, 2.6]
    w = torch.tensor(1.3, dtype=torch.float64, requires_grad=True)
    sum((Round.apply(w * x) - x) ** 2 for x in points).backward()
    assert grad(lambda w: total([(rounded(w * x) - x) ** 2 for x in points]))(1.3) == pytest.approx(
        w.grad.item(), rel=1e-14
    )


def test_the_polynomial_of_pytorchs_tutorial_has_its_derivatives():
    """P3(x) = (5x**3 - 3x)/2 with the derivative 1.5 * (5x**2 - 1), as its tutorial on custom Functions has it."""

    class Legendre(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return 0.5 * (5 * x**3 - 3 * x)

        @staticmethod
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            return g * 1.5 * (5 * x**2 - 1)

    legendre = operation(partials=lambda out, x: 1.5 * (5 * x**2 - 1), name="legendre")(
        lambda x: 0.5 * (5 * x**3 - 3 * x)
    )
    f = lambda c, d, x: (legendre(c + d * x) - sin(x)) ** 2  # noqa: E731
    for x in (-2.0, 0.3, 1.5):
        c, d = (torch.tensor(n, dtype=torch.float64, requires_grad=True) for n in (0.2, 0.3))
        y = (Legendre.apply(c + d * x) - math.sin(x)) ** 2
        first = torch.autograd.grad(y, (c, d), create_graph=True)
        second = [[s.item() for s in torch.autograd.grad(g, (c, d), retain_graph=True)] for g in first]
        assert grad(lambda c, d, x=x: f(c, d, x))(0.2, 0.3) == pytest.approx([g.item() for g in first], rel=1e-13)
        assert np.allclose(hessian(lambda c, d, x=x: f(c, d, x))(0.2, 0.3), second, rtol=1e-12)


def test_the_stable_log_of_jaxs_documentation():
    """log(1 + e**x) with the derivative 1 - 1/(1 + e**x), which stays right where e**x overflows."""

    @jax.custom_jvp
    def log1pexp(x):
        return jax.numpy.log(1.0 + jax.numpy.exp(x))

    log1pexp.defjvps(lambda t, out, x: (1.0 - 1.0 / (1.0 + jax.numpy.exp(x))) * t)
    ours = operation(partials=lambda out, x: 1.0 - 1.0 / (1.0 + exp(x)), name="log1pexp")(
        lambda x: math.log(1.0 + math.exp(x))
    )
    for x in (-3.0, 0.5, 30.0):
        assert ours(x) == pytest.approx(float(log1pexp(x)), rel=1e-14)
        assert grad(ours)(x) == pytest.approx(float(jax.grad(log1pexp)(x)), rel=1e-14)
        assert grad(grad(ours))(x) == pytest.approx(float(jax.grad(jax.grad(log1pexp))(x)), rel=1e-12)


def test_the_fixed_point_of_jaxs_documentation():
    """Newton's square root as a fixed point, differentiated by the implicit function theorem; to the second order."""

    def fixed_point(f, a, x):
        for _ in range(60):
            x = f(a, x)
        return x

    @jax.custom_vjp
    def root(a):
        return fixed_point(lambda a, x: 0.5 * (x + a / x), a, a)

    def backward(x, g):
        return (g / (2.0 * x),)

    root.defvjp(lambda a: (root(a),) * 2, backward)
    ours = custom_derivative(lambda x, a: 1.0 / (2.0 * x))(lambda a: fixed_point(lambda a, x: 0.5 * (x + a / x), a, a))
    f = lambda a: sin(ours(a)) * a  # noqa: E731
    g = lambda a: jax.numpy.sin(root(a)) * a  # noqa: E731
    for a in (0.5, 2.0, 7.0):
        assert grad(f)(a) == pytest.approx(float(jax.grad(g)(a)), rel=1e-14)
        assert grad(grad(f))(a) == pytest.approx(float(jax.grad(jax.grad(g))(a)), rel=1e-13)


def test_a_linear_solver_has_the_gradient_of_pytorchs():
    rng = np.random.default_rng(0)
    A, b, c = rng.normal(size=(4, 4)) + 4.0 * np.eye(4), rng.normal(size=4), rng.normal(size=4)

    def derivative(x, A, _):
        return [(-np.outer(row, x), row) for row in np.linalg.inv(A)]

    solve = custom_derivative(derivative)(np.linalg.solve)
    found = grad(lambda A, b: total([u * cos(v) for u, v in zip(c, solve(A, b), strict=True)]))(A, b)
    tA, tb = (torch.tensor(n, requires_grad=True) for n in (A, b))
    (torch.tensor(c) * torch.cos(torch.linalg.solve(tA, tb))).sum().backward()
    for ours, theirs in zip(found, (tA, tb), strict=True):
        np.testing.assert_allclose(ours, theirs.grad.numpy(), rtol=1e-12, atol=1e-14)


def test_a_gradient_that_is_clipped_where_it_is_made_is_jaxs():
    """x**3 whose own slope is cut to [-1, 1]."""

    @jax.custom_jvp
    def cube(x):
        return x**3

    cube.defjvps(lambda t, out, x: jax.numpy.clip(3.0 * x**2, -1.0, 1.0) * t)
    gentle = operation(partials=lambda out, x: where(1.0 - 3.0 * x**2, 3.0 * x**2, 1.0), name="gentle")(lambda x: x**3)
    for x in (-2.0, -0.3, 0.1, 0.5, 3.0):
        assert grad(lambda x: gentle(x) * x)(x) == pytest.approx(float(jax.grad(lambda x: cube(x) * x)(x)), rel=1e-14)
        assert grad(grad(gentle))(x) == pytest.approx(float(jax.grad(jax.grad(cube))(x)), rel=1e-14)
