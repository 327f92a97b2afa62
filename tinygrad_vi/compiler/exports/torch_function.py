"""A compiled function as a function of PyTorch: see `Compiled.to_torch`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tinygrad_vi.checks import package

if TYPE_CHECKING:
    from tinygrad_vi.compiler.compiled import Compiled


def to_torch(step: Compiled) -> Callable[..., Any]:
    """The mean of a compiled function as a function of tensors, as `Compiled.to_torch` says."""
    torch: Any = package("torch", "to_torch")

    class Slope(torch.autograd.Function):  # type: ignore[misc]
        """The gradient times a flow; it depends on theta too, and says so when somebody differentiates it once more."""

        @staticmethod
        def forward(_: Any, __: Any, flow: Any, gradient: Any) -> Any:
            """The product."""
            return flow * gradient

        @staticmethod
        def backward(_: Any, __: Any) -> Any:
            """Refused: as a constant it would be a wrong derivative without a word."""
            raise RuntimeError(
                "a compiled function has first derivatives in PyTorch, no second: step.hvp and step.hessian have them, "
                "and so has step.to_jax()"
            )

    class Mean(torch.autograd.Function):  # type: ignore[misc]
        """The mean, which keeps its gradient for the way back."""

        @staticmethod
        def forward(ctx: Any, theta: Any, *data: Any) -> Any:
            """The mean of the examples."""
            ctx.save_for_backward(theta)
            if theta.requires_grad:
                value, gradient = step.value_and_grad(_numbers(theta), *map(_numbers, data))
                ctx.gradient = torch.as_tensor(gradient, dtype=theta.dtype, device=theta.device).reshape(theta.shape)
            else:
                value = step(_numbers(theta), *map(_numbers, data))
            return torch.as_tensor(value, dtype=theta.dtype, device=theta.device)

        @staticmethod
        def backward(ctx: Any, flow: Any) -> Any:
            """The gradient times what flows in; none by the data."""
            (theta,) = ctx.saved_tensors
            return Slope.apply(theta, flow, ctx.gradient), *[None] * (len(ctx.needs_input_grad) - 1)

    def mean(theta: Any, *data: Any) -> Any:
        if not isinstance(theta, torch.Tensor):
            raise TypeError(f"theta is a tensor, as torch.tensor(step.theta, requires_grad=True), got {theta!r:.60}")
        if any(getattr(x, "requires_grad", False) for x in data):
            raise TypeError(
                "the compiled function has derivatives by theta alone, and the data require grad: give x.detach()"
            )
        return Mean.apply(theta, *data)

    return mean


def _numbers(x: Any) -> Any:
    """A tensor as an array of floats; anything else as it is."""
    return x.detach().cpu().double().numpy() if hasattr(x, "detach") else x
