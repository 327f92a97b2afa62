"""Partials that leave the range of floats, where their product with what flows in does not.

The partial of x / y by y at y = 1e200 is -x/y**2, which is 0 as a float.  Times a flow of 1e300 it would be of ordinary
size.  So the partials of quotients and of negative powers remember their operands there, and multiply by the rule
``flows`` of their row.
"""

from __future__ import annotations

import math
from typing import Any

from tinygrad_vi.floats import SMALLEST_NORMAL
from tinygrad_vi.rows import Rule, find


class FarPartial(float):
    """A partial derivative that has left the range of floats: it multiplies a flow by its row's rule ``flows``.

    >>> from tinygrad_vi.ops import div
    >>> by_x, by_y = div.operation.partials(1e-150, 1e20, 1e170)
    >>> by_y * 1e100
    -1e-220
    """

    row: tuple[Any, ...]
    place: int
    operands: tuple[float, ...]

    def __new__(cls, partial: float, row: tuple[Any, ...], place: int, operands: tuple[float, ...]) -> FarPartial:
        """row: its name and constants.  place: the operand it is the partial by.  operands: of the rule, after flow."""
        far = super().__new__(cls, partial)
        far.row, far.place, far.operands = row, place, operands
        return far

    def __mul__(self, flow: Any) -> Any:
        if not isinstance(flow, (float, int)):
            return NotImplemented
        rule = find(*self.row).flows
        assert rule is not None
        return rule(float(flow), *self.operands)[self.place]

    __rmul__ = __mul__

    def __reduce__(self) -> tuple[Any, ...]:
        return FarPartial, (float(self), self.row, self.place, self.operands)


def far_partials(partials: tuple[float, ...], row: tuple[Any, ...], *point: float) -> tuple[float, ...]:
    """The partials, able to multiply a flow where one of them has left the range of floats; point: out, operands."""
    if all(SMALLEST_NORMAL <= abs(partial) < math.inf for partial in partials):
        return partials
    return tuple([FarPartial(partial, row, i, point) for i, partial in enumerate(partials)])


def quotient_partials(out: Any, x: Any, y: Any) -> tuple[Any, Any]:
    """The partials of x / y: 1/y and -x/y**2."""
    by_x, by_y = 1.0 / y, -out / y
    # if the product of the squares is finite and not 0, both partials are in range: one comparison, on the hot path
    if out.__class__ is not float or 0.0 < by_x * by_x * (by_y * by_y) < math.inf:
        return by_x, by_y
    return far_partials((by_x, by_y), ("div",), out, x, y)  # type: ignore[return-value]


def negative_power_partials(n: float) -> Rule:
    """The rule of x**n for n < 0: n * x**(n - 1)."""

    def partials(out: Any, x: Any) -> tuple[Any]:
        by_x = n * x ** (n - 1.0)
        if out.__class__ is not float:
            return (by_x,)
        return far_partials((by_x,), ("power", n), out, x)  # type: ignore[return-value]

    return partials
