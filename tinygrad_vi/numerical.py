"""Numerical derivatives: the gradient by finite differences, and the check of automatic derivatives against it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from tinygrad_vi.calls import Argnums, Call, F, Selected, data_of, selected, with_signature_of
from tinygrad_vi.checks import DomainError, number, whole_number
from tinygrad_vi.derivatives import grad
from tinygrad_vi.differences import corner, plain, slope, trusted_step
from tinygrad_vi.differentiated import differentiating
from tinygrad_vi.graph import below, topological_order
from tinygrad_vi.sweep import adjoints
from tinygrad_vi.tracing import being_differentiated, differentiated_by
from tinygrad_vi.trees import flatten
from tinygrad_vi.value import Value

#: For x around 1: it balances the error of the formula, h or h*h, against the rounding error, 1/h.
FORWARD_STEP = 2.0**-26
CENTRAL_STEP = 2.0**-17
CONFIRMING = {FORWARD_STEP: 2.0**6, CENTRAL_STEP: 2.0**-6}  # how many times as long the second step is


def numerical_gradient(f: F, *, method: str = "central", step: float | None = None, argnums: Argnums = None) -> F:
    """The gradient by finite differences: evaluations on floats, about half or two thirds of the digits.

    method "forward": (f(x + h) - f(x)) / h, error O(h).  "central": (f(x + h) - f(x - h)) / (2h), error O(h*h).
    One entry of the arguments moves at a time: n + 1 or 2n evaluations with a ``step`` of your own.  Else h is 2**-26
    (forward) or 2**-17 (central), near the square and the cube root of the machine epsilon, times max(1, |x|) rounded
    down to a power of two, so that x + h is exact; a second step has to confirm it, which doubles the evaluations.
    Where it does not, as for sin at 1e6 or log at 1e-6, a step is looked for that others confirm.  At a kink the
    forward difference is the slope on the right, the central one the mean of both slopes.

    Raises DomainError where no step can be trusted (f jumps, or its values are rounded too much), and for a step of
    your own that x + h rounds off.

    >>> round(numerical_gradient(lambda x: x**3)(2.0), 6)
    12.0
    """
    if method not in ("forward", "central"):
        raise ValueError(f'method is "forward" or "central", got {method!r}')
    if step is not None and not 0.0 < step < math.inf:
        raise ValueError(f"step must be positive and finite, got {step}")

    def gradient(*arguments: Any, **named: Any) -> Any:
        around = _Around(selected(f, argnums, arguments, named))
        steps = [around.trusted_step(i, method) if step is None else around.own_step(i, step) for i in around.entries]
        start = around.at(0, 0.0) if method == "forward" and steps else None
        return around.nest([_difference(around.at, i, start, h) for i, h in zip(around.entries, steps, strict=True)])

    return with_signature_of(gradient, f)


class _Around:
    """A function around a point: one entry of its arguments moves at a time.

    keep_values: whether results are Values, since the differences are to be differentiated.  values: those already
    computed, by entry and number; None stands for the point itself.
    """

    def __init__(self, point: Selected) -> None:
        self.point = point
        xs, self.nest = flatten(point.given, point.called)
        self.numbers = [_number(x) for x in xs]
        self.entries = range(len(xs))
        self.keep_values = differentiating() or any(isinstance(x, Value) for x in xs)
        if not self.keep_values and being_differentiated():  # in a thread, or a function of numbers, in a derivative
            y = point.of(self.nest.arguments(self.numbers))
            self.keep_values = isinstance(y, Value) and bool(differentiated_by(below([y])))
        self.xs = xs if self.keep_values else self.numbers
        self.values: dict[tuple[int, float] | None, float] = {}

    def moved(self, i: int, x: Any) -> Any:
        """The result with x as entry i."""
        return self.point.of(self.nest.arguments([*self.xs[:i], x, *self.xs[i + 1 :]]))

    def value(self, i: int, x: float) -> float:
        """The same as a number, computed once."""
        key = None if x == self.numbers[i] else (i, x)
        if key not in self.values:
            self.values[key] = _number(self.moved(i, Value(x) if isinstance(self.xs[i], Value) else x))
        return self.values[key]

    def at(self, i: int, h: float) -> Any:
        """The result with entry i moved by h: a Value where it is to be differentiated."""
        if not self.keep_values:
            return self.value(i, self.xs[i] + h)
        y = self.moved(i, self.xs[i] + h)
        return y if isinstance(y, Value) else _number(y)

    def own_step(self, i: int, step: float) -> float:
        """The user's step; DomainError where it is rounded off."""
        x = self.numbers[i]
        if x + step == x or x - step == x:
            raise DomainError(f"a step of {step} is lost beside {x}: neighbouring floats are further apart")
        return step

    def trusted_step(self, i: int, method: str) -> float:
        """A step that another one confirms; DomainError where there is none."""
        h = _trusted_step(lambda other: self.value(i, other), self.numbers[i], method)
        if h is None:
            self.at(i, 0.0)  # f may have no value here, and then says why
            raise DomainError(
                f"the derivative by {self.point.place(i)} at {self.point} cannot be told from differences: "
                "the steps do not agree. Give a step of your own, numerical_gradient(f, step=h), or take grad(f)"
            )
        return h


def _number(x: Any) -> float:
    return x.data if isinstance(x, Value) else number(x, "numerical_gradient")


def _difference(f: Callable[[int, float], Any], i: int, start: Any, h: float) -> Any:
    """The forward difference from ``start``, the value of f at the point; the central one where that is None."""
    return (f(i, h) - f(i, -h)) / (2.0 * h) if start is None else (f(i, h) - start) / h


def _trusted_step(f: Callable[[float], float], x: float, method: str) -> float | None:
    step, side = (CENTRAL_STEP, 0) if method == "central" else (FORWARD_STEP, 1)
    usual = step * 2.0 ** (math.frexp(max(1.0, abs(x)))[1] - 1)
    return trusted_step(plain(f), x, side, usual, usual * CONFIRMING[step])


class GradientError(AssertionError):
    """Automatic and numerical derivatives disagree."""


def gradcheck(f: F, *, order: int = 1, tolerance: float = 1e-6, argnums: Argnums = None) -> F:
    """Compare the derivatives of f, up to ``order``, with central differences; return the largest difference.

    The difference is relative to max(1, |derivative|).  A derivative that is not that of the usual step is compared
    with what many steps agree on, within their error: it passes up to ``tolerance`` of its own size and that error.
    Choose points away from kinks: there the check fails though neither side is wrong, and says so.

    Raises GradientError when the differences exclude the derivative.  It names f, the argument, the point and both
    numbers, and the recorded operation whose own partial derivative is wrong, when there is one.  Raises DomainError
    when the differences cannot tell: f jumps, or rounding leaves nothing of its slope.

    >>> gradcheck(lambda x, y: x * y, order=2)(3.0, 2.0) < 1e-9
    True
    """
    whole_number(order, "order")
    if not tolerance > 0.0:
        raise ValueError(f"tolerance must be positive, got {tolerance}")
    name = getattr(f, "__name__", repr(f))

    def check(*arguments: Any, **named: Any) -> float:
        return _check(selected(f, argnums, arguments, named), name, order, tolerance)

    return check


def _check(at: Selected, name: str, order: int, tolerance: float) -> float:
    automatic, _ = flatten(grad(at)(*at.chosen))
    worst = 0.0
    for i, a in enumerate(map(data_of, automatic)):
        worst = max(worst, _compare(a, _along(at, i), at, name, i, tolerance))
    if order > 1:
        for i in range(len(automatic)):
            component = Selected(_component(grad(at), i), at.chosen, at.names, at.single)
            worst = max(worst, _check(component, f"d{name}/d({at.place(i)})", order - 1, tolerance))
    return worst


def _compare(a: float, along: Callable[[float], Value], at: Selected, name: str, i: int, tolerance: float) -> float:
    """How far an automatic derivative is from the numerical one; GradientError when the differences exclude it."""
    x = data_of(flatten(at.chosen)[0][i])
    unit = 2.0 ** (math.frexp(max(1.0, abs(x)))[1] - 1)
    try:
        n = _difference(lambda _, h: along(x + h).data, i, None, CENTRAL_STEP * unit)
    except (ArithmeticError, ValueError):  # the step leaves the domain
        n = math.nan
    if not abs(a - n) <= tolerance * max(abs(a), abs(n)):  # NaN too: look closer
        found = slope(_measured(along), x)
        if found is not None and found.told and found.excludes(a, tolerance):
            difference = abs(a - found.estimate) / max(1.0, abs(found.estimate))
            raise GradientError(
                f"{name}: the derivative by {at.place(i)} at {at} is {a!r} by automatic and "
                f"{found.estimate!r} by numerical differentiation (relative difference {difference:.2g}); "
                f"{_suspect(at, _measured(along), x, a)}"
            )
        if found is None or not 4.0 * found.error <= max(1e-3 * abs(a), 1e-3 * abs(found.estimate), tolerance):
            raise DomainError(
                f"{name}: the derivative by {at.place(i)} at {at} was not checked, since it "
                "cannot be told from differences: no steps agree. Is there a jump or a kink near by, or is too much "
                "rounded? Check at another point"
            )
        n = found.estimate
    return float(abs(a - n) / max(1.0, abs(n)))


def _along(at: Selected, i: int) -> Callable[[float], Value]:
    """f of entry i alone, as a Value with its record: f may use methods of Values, such as x.relu()."""
    xs, nest = flatten(at.given)
    numbers = [data_of(x) for x in xs]

    def along(x: float) -> Value:
        entries = nest.arguments([*numbers[:i], x, *numbers[i + 1 :]])
        return Call(Selected(at, (entries,) if at.single else entries, at.names, at.single)).only_output()

    return along


def _measured(along: Callable[[float], Value]) -> Callable[[float], tuple[float, float]]:
    def measured(x: float) -> tuple[float, float]:
        y = along(x)
        return y.data, rounded_size(y)

    return measured


def rounded_size(y: Value) -> float:
    """How much was rounded on the way to a Value, as a number whose multiple by eps bounds its error to first order.

    The sum of |value * adjoint| over the record: an operation rounds its value, and the adjoint says how much of that
    arrives.
    """
    order = topological_order([y])
    adjoint = adjoints(order, {y: 1.0})
    return math.fsum([abs(node.data * adjoint[node]) for node in order] or [abs(y.data)])


def _moved(f: F, xs: Sequence[float], i: int, x: float) -> float:
    """f of the operands with another number in place i."""
    return float(f(*xs[:i], x, *xs[i + 1 :]))


def _component(gradient: F, i: int) -> F:
    return lambda *arguments: flatten(gradient(*arguments))[0][i]


def _suspect(at: Selected, measured: Callable[[float], Any], x: float, a: float) -> str:
    """What is wrong: an operation whose stored partial the differences exclude, a kink, or nothing on record."""
    kinks = []
    for node in topological_order(Call(at).outputs):
        assert node.op is not None
        xs = [parent.data for parent in node.parents]
        for i, (stored, operand) in enumerate(zip(node.local_grads, xs, strict=True)):
            alone = plain(partial(_moved, node.op.value, xs, i))
            found = slope(alone, operand)
            if found is None or not found.told or not found.excludes(stored):
                continue  # right, or so near the edge of its domain that no step is possible
            sides = corner(alone, operand)
            if sides is not None and min(sides) <= stored <= max(sides):
                kinks.append(f"the operation {node.op.name} at {', '.join(map(repr, xs))}")
                continue
            return (
                f"the operation {node.op.name} at {', '.join(map(repr, xs))} has the partial {stored!r} "
                f"by operand {i}, differences give {found.estimate!r}"
            )
    sides = corner(measured, x)
    if sides is not None and min(sides) <= a <= max(sides):
        where = kinks[0] if kinks else "f"
        return (
            f"{where} has a kink there, with the slopes {sides[0]!r} and {sides[1]!r}, so neither is wrong: check at "
            "another point"
        )
    return "every recorded operation is right by itself: is there a kink, or does f use .data?"
