"""Gradient clipping, by norm and by value."""

from __future__ import annotations

import math
from typing import Any

from tinygrad_vi.checks import DomainError, at_least
from tinygrad_vi.optim.rules import _float, _name_in, parameters_of, reached


def clip_grad_norm(params: Any, max_norm: float) -> float:
    """Shorten the gradient to the length max_norm if it is longer: g <- g * max_norm / |g|.  Returns the old length.

    |g| is the length of all gradients together.  Call it between ``backward`` and ``step``; `fit` does with
    ``clip_norm=``.  (Pascanu, Mikolov and Bengio, 2013; PyTorch's ``clip_grad_norm_``.)

    Raises DomainError, and changes nothing, when a gradient is infinite or NaN.

    >>> from tinygrad_vi import Value
    >>> u, v = Value(0.0), Value(0.0)
    >>> (3 * u + 4 * v).backward()
    >>> clip_grad_norm([u, v], 1.0), round(u.grad, 12), round(v.grad, 12)
    (5.0, 0.6, 0.8)
    """
    return _clipped(params, Clipping(norm=max_norm))


def clip_grad_value(params: Any, max_value: float) -> float:
    """Bring each gradient between -max_value and max_value.  Returns the old length of the whole gradient.

    PyTorch's ``clip_grad_value_``; in `fit` it is ``clip_value=``.  Raises as `clip_grad_norm` does.

    >>> from tinygrad_vi import Value
    >>> w = Value(0.0)
    >>> (-3 * w).backward()
    >>> clip_grad_value([w], 0.5), w.grad
    (3.0, -0.5)
    """
    return _clipped(params, Clipping(value=max_value))


def _clipped(params: Any, clipping: Clipping) -> float:
    leaves = [p for p in parameters_of(params, "clipping") if reached(p)]
    gradient = [_float(p.grad) for p in leaves]
    for i, g in enumerate(gradient):
        if not math.isfinite(g):
            raise DomainError(f"nothing was clipped: the gradient of {_name_in(leaves, i)} is {g}")
    for p, g in zip(leaves, clipping(gradient), strict=True):
        p.grad = g
    return math.hypot(*gradient)


class Clipping:
    """What is done to a gradient, a list of floats or an array, before a step: see `clip_grad_norm`.

    norm: the greatest length.  value: the greatest size of an entry.  Without either the gradient stays as it is.
    """

    def __init__(self, norm: float | None = None, value: float | None = None) -> None:
        if norm is not None and value is not None:
            raise ValueError("give clip_norm or clip_value, and not both")
        self.norm = None if norm is None else at_least(norm, 0.0, "the greatest length of a gradient")
        self.value = None if value is None else at_least(value, 0.0, "the greatest size of a gradient")

    def __call__(self, gradient: Any) -> Any:
        """The clipped gradient; the given one itself if nothing is to be clipped."""
        if isinstance(gradient, list):
            return self._numbers(gradient, max(map(abs, gradient), default=0.0))
        if self.value is not None:
            return gradient.clip(-self.value, self.value)
        largest = float(abs(gradient).max())
        if self.norm is None or not largest:
            return gradient
        unit = gradient / largest  # without overflow, for gradients of any size
        length = math.sqrt(float(unit @ unit))
        return unit * (self.norm / length) if largest * length > self.norm else gradient

    def _numbers(self, gradient: list[float], largest: float) -> list[float]:
        if self.value is not None:
            return [min(max(g, -self.value), self.value) for g in gradient]
        if self.norm is None or not largest:
            return gradient
        unit = [g / largest for g in gradient]
        length = math.hypot(*unit)
        return [g * (self.norm / length) for g in unit] if largest * length > self.norm else gradient
