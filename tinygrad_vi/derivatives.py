"""Derivatives of functions: what `Value.backward` does for one graph, done for a function and left nowhere behind.

Every function here takes a function ``f`` written in scalar code.  Its arguments are numbers, nested lists or tuples of
numbers, or NumPy arrays; f gets the same nesting filled with Values, and results keep it:

    grad(f)([x1, x2])      ->  [df/dx1, df/dx2]              one argument: nested like the argument
    grad(f)(x1, x2)        ->  (df/dx1, df/dx2)              several: a tuple, one entry for each
    jacobian(f)([x1, x2])  ->  [[df1/dx1, df1/dx2], ...]     nested like the result of f, then like the arguments

They compose: ``grad(grad(f))`` is the second derivative.  Inside another derivative, or given Values, they return
Values.  The derivatives of f with respect to what it merely closes over are not taken.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

from tinygrad_vi import modes
from tinygrad_vi.differences import corner, plain, slope, trusted_step
from tinygrad_vi.ops import DomainError, ShapeError, number, whole_number
from tinygrad_vi.tape import tangents
from tinygrad_vi.value import (
    Value,
    adjoints,
    check_recorded,
    check_unchanged,
    first_not_finite,
    not_finite,
    recording,
    topological_order,
)

F = Callable[..., Any]

# --- First derivatives ------------------------------------------------------------------------------------------------


def grad(f: F) -> F:
    """The gradient of a function with one result, by one reverse sweep: x -> (df/dx1, ..., df/dxn).

    Raises TypeError when f returns something other than one number (use `jacobian`), DomainError when the result or a
    derivative is infinite or NaN.

    >>> grad(lambda x, y: x * x * y)(3.0, 2.0)
    (12.0, 9.0)
    >>> grad(grad(lambda x: x**3))(2.0)
    12.0
    """
    return lambda *arguments: value_and_grad(f)(*arguments)[1]


def value_and_grad(f: F) -> F:
    """The value and the gradient of a function with one result, for the price of one reverse sweep.

    >>> value_and_grad(lambda w: w[0] * w[1])([3.0, 2.0])
    (6.0, [2.0, 3.0])
    """

    def both(*arguments: Any) -> tuple[Any, Any]:
        call = _Call(f, arguments)
        y = call.only_output()
        return call.result(y), call.like_arguments(call.pull_back({y: 1.0}))

    return both


def jvp(f: F, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
    """Value of f at ``primals`` and its derivative along ``tangents``, by one forward sweep: (f(x), J v).

    Both are sequences with one entry for each argument of f, nested like it.  Raises ShapeError when they differ,
    TypeError for a bare number.

    >>> jvp(lambda x, y: x * y, (3.0, 2.0), (1.0, 0.0))
    (6.0, 2.0)
    """
    if not isinstance(primals, (list, tuple)) or not isinstance(tangents, (list, tuple)):
        raise TypeError("jvp takes the arguments and their tangents as sequences: jvp(f, (x,), (v,))")
    call = _Call(f, primals)
    numbers, _ = flatten(tangents)
    if len(numbers) != len(call.inputs):
        raise ShapeError(f"f has {len(call.inputs)} inputs, but there are {len(numbers)} tangents for them")
    wanted, got = _nesting(primals), _nesting(tangents)
    if wanted != got:
        raise ShapeError(f"the arguments are nested like {wanted:.60}, their tangents like {got:.60}")
    tangent = call.push_forward(dict(zip(call.inputs, numbers, strict=True)))
    return call.like_outputs(call.outputs), call.like_outputs(tangent)


def vjp(f: F, *primals: Any) -> tuple[Any, F]:
    """Value of f and a function that takes a weight for each result of f and returns v J, by one reverse sweep.

    The weights are nested like the result.  Raises ShapeError when they are not.

    >>> value, pull_back = vjp(lambda x, y: [x * y, x + y], 3.0, 2.0)
    >>> value, pull_back([1.0, 0.0])
    ([6.0, 5.0], (2.0, 3.0))
    """
    call = _Call(f, primals)

    def pull_back(weights: Any) -> Any:
        numbers, _ = flatten(weights)
        if len(numbers) != len(call.outputs):
            raise ShapeError(f"f has {len(call.outputs)} results, but there are {len(numbers)} weights for them")
        wanted, got = _nesting(call.outputs_nesting([0.0] * len(numbers))), _nesting(weights)
        if wanted != got:
            raise ShapeError(f"the result is nested like {wanted:.60}, its weights like {got:.60}")
        numbers = [weight if isinstance(weight, Value) else number(weight, "a weight") for weight in numbers]
        if call.create_graph or differentiating() or any(isinstance(weight, Value) for weight in numbers):
            check_unchanged(call.order)  # rules would be applied to Values that may have changed since the call
        seeds: dict[Value, Any] = {}
        for y, weight in zip(call.outputs, numbers, strict=True):
            seeds[y] = seeds[y] + weight if y in seeds else weight
        return call.like_arguments(call.pull_back(seeds))

    return call.like_outputs(call.outputs), pull_back


def jacobian(f: F) -> F:
    """All first derivatives of a function with any number of results.

    Takes one reverse sweep for each result, or one forward sweep for each input where these are fewer.

    >>> jacobian(lambda x, y: [x * y, x + y, y])(3.0, 2.0)
    [(2.0, 3.0), (1.0, 1.0), (0.0, 1.0)]
    """

    def matrix(*arguments: Any) -> Any:
        call = _Call(f, arguments)
        if len(call.inputs) < len(call.outputs):
            columns = [call.push_forward({x: 1.0}) for x in call.inputs]
            rows = [list(row) for row in zip(*columns, strict=True)] if columns else [[] for _ in call.outputs]
        else:
            rows = [call.pull_back({y: 1.0}) for y in call.outputs]
        return call.outputs_nesting([call.like_arguments(row) for row in rows])

    return matrix


# --- Second derivatives -----------------------------------------------------------------------------------------------


def hessian(f: F) -> F:
    """All second derivatives of a function with one result: the Jacobian of its gradient.

    >>> hessian(lambda x, y: x * x * y)(3.0, 2.0)
    ((4.0, 6.0), (6.0, 0.0))
    """
    return jacobian(grad(f))


def hvp(f: F) -> F:
    """The Hessian times a vector without the Hessian, by a forward sweep over the reverse sweep.

    The last argument is the vector, nested like the gradient.  ``hvp(f)`` fits SciPy's ``hessp``.
    (B. Pearlmutter, *Fast exact multiplication by the Hessian*, 1994.)

    >>> hvp(lambda w: w[0] * w[0] * w[1])([3.0, 2.0], [1.0, 0.0])
    [4.0, 6.0]
    """

    def product(*arguments: Any) -> Any:
        if len(arguments) < 2:
            raise TypeError(f"hvp(f) takes the arguments of f and then a vector, got {len(arguments)} in all")
        *primals, vector = arguments
        return jvp(grad(f), primals, [vector] if len(primals) == 1 else vector)[1]

    return product


# --- Numerical derivatives and the check ------------------------------------------------------------------------------

#: For x around 1: it balances the error of the formula, h or h*h, against the rounding error, 1/h.
FORWARD_STEP = 2.0**-26
CENTRAL_STEP = 2.0**-17
CONFIRMING = {FORWARD_STEP: 2.0**6, CENTRAL_STEP: 2.0**-6}  # how many times as long the second step is


def numerical_gradient(f: F, method: str = "central", step: float | None = None) -> F:
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

    def gradient(*arguments: Any) -> Any:
        xs, nest = flatten(_one_or_all(arguments))
        keep_values = differentiating() or any(isinstance(x, Value) for x in xs)  # to be differentiated again
        numbers = [_number(x) for x in xs]
        xs = xs if keep_values else numbers

        values: dict[tuple[int, float] | None, float] = {}  # None: at the point itself

        def moved(i: int, x: Any) -> Any:
            entries = nest([*xs[:i], x, *xs[i + 1 :]])
            return f(entries) if len(arguments) == 1 else f(*entries)

        def value(i: int, x: float) -> float:
            key = None if x == numbers[i] else (i, x)
            if key not in values:
                values[key] = _number(moved(i, Value(x) if isinstance(xs[i], Value) else x))
            return values[key]

        def at(i: int, h: float) -> Any:
            if not keep_values:
                return value(i, xs[i] + h)
            y = moved(i, xs[i] + h)
            return y if isinstance(y, Value) else _number(y)

        def trusted(i: int, x: float) -> float:
            if step is not None:
                if x + step == x or x - step == x:
                    raise DomainError(f"a step of {step} is lost beside {x}: neighbouring floats are further apart")
                return step
            h = _trusted_step(lambda other: value(i, other), x, method)
            if h is None:
                at(i, 0.0)  # f may have no value here, and then says why
                raise DomainError(
                    f"the derivative by {_place(arguments, i)} at {_at(arguments)} cannot be told from differences: "
                    "the steps do not agree. Give a step of your own, numerical_gradient(f, step=h), or take grad(f)"
                )
            return h

        steps = [trusted(i, x) for i, x in enumerate(numbers)]
        start = at(0, 0.0) if method == "forward" and xs else None
        return nest([_difference(at, i, start, h) for i, h in enumerate(steps)])

    return gradient


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


def gradcheck(f: F, order: int = 1, tolerance: float = 1e-6) -> F:
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

    def check(*arguments: Any) -> float:
        return _check(f, name, arguments, order, tolerance)

    return check


def _check(f: F, name: str, arguments: tuple[Any, ...], order: int, tolerance: float) -> float:
    automatic, _ = flatten(grad(f)(*arguments))
    worst = 0.0
    for i, a in enumerate(map(_data, automatic)):
        worst = max(worst, _compare(a, _along(f, arguments, i), f, name, arguments, i, tolerance))
    if order > 1:
        for i in range(len(automatic)):
            component = _component(grad(f), i)
            worst = max(worst, _check(component, f"d{name}/d({_place(arguments, i)})", arguments, order - 1, tolerance))
    return worst


def _compare(
    a: float, along: Callable[[float], Value], f: F, name: str, arguments: tuple[Any, ...], i: int, tolerance: float
) -> float:
    """The difference between an automatic derivative and the differences; an error where they exclude it."""
    x = _data(flatten(_one_or_all(arguments))[0][i])
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
                f"{name}: the derivative by {_place(arguments, i)} at {_at(arguments)} is {a!r} by automatic and "
                f"{found.estimate!r} by numerical differentiation (relative difference {difference:.2g}); "
                f"{_suspect(f, arguments, _measured(along), x, a)}"
            )
        if found is None or not 4.0 * found.error <= max(1e-3 * abs(a), 1e-3 * abs(found.estimate), tolerance):
            raise DomainError(
                f"{name}: the derivative by {_place(arguments, i)} at {_at(arguments)} was not checked, since it "
                "cannot be told from differences: no steps agree. Is there a jump or a kink near by, or is too much "
                "rounded? Check at another point"
            )
        n = found.estimate
    return float(abs(a - n) / max(1.0, abs(n)))


def _along(f: F, arguments: tuple[Any, ...], i: int) -> Callable[[float], Value]:
    """f of entry i alone, as a Value with its record: f may use methods of Values, such as x.relu()."""
    xs, nest = flatten(_one_or_all(arguments))
    numbers = [_data(x) for x in xs]

    def along(x: float) -> Value:
        entries = nest([*numbers[:i], x, *numbers[i + 1 :]])
        return _Call(f, (entries,) if len(arguments) == 1 else entries).only_output()

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


def _place(arguments: tuple[Any, ...], i: int) -> str:
    """Which argument entry i of the flattened arguments belongs to."""
    for k, argument in enumerate(arguments):
        size = len(flatten(argument)[0])
        if i < size:
            return f"argument {k}" + (f", entry {i}" if size > 1 else "")
        i -= size
    raise IndexError(i)


def _at(arguments: tuple[Any, ...]) -> str:
    return ", ".join(repr(argument) for argument in arguments)


def _suspect(f: F, arguments: tuple[Any, ...], measured: Callable[[float], Any], x: float, a: float) -> str:
    """Who is to blame: an operation whose stored partials differences exclude, a kink, or nothing that is recorded."""
    kinks = []
    for node in topological_order(_Call(f, arguments).outputs):
        assert node.op is not None
        xs = [parent.data for parent in node.parents]
        for i, (stored, at) in enumerate(zip(node.local_grads, xs, strict=True)):
            alone = plain(partial(_moved, node.op.value, xs, i))
            found = slope(alone, at)
            if found is None or not found.told or not found.excludes(stored):
                continue  # right, or too near the edge of its domain to move
            sides = corner(alone, at)
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


# --- A call of f on Values --------------------------------------------------------------------------------------------


def differentiating() -> bool:
    """Whether the code that asks runs inside a derivative, so that its results should be Values."""
    return modes.differentiable.get()


def differentiable() -> AbstractContextManager[None]:
    """Inside, as inside a derivative, derivatives by plain numbers are Values, to be differentiated."""
    return modes.differentiable.set(True)


class _Call:
    """f called once on fresh Values, and the sweeps over what it recorded."""

    def __init__(self, f: F, arguments: Sequence[Any]) -> None:
        xs, nest = flatten(_one_or_all(arguments))
        self.inputs = [_variable(x) for x in xs]
        self.nest_arguments = nest
        # inside another derivative, results must themselves be differentiable
        self.create_graph = differentiating() or any(isinstance(x, Value) for x in xs)
        values = nest(self.inputs)
        with differentiable(), recording(True):  # a derivative inside no_grad() is still a derivative
            result = f(values) if len(arguments) == 1 else f(*values)
        ys, self.outputs_nesting = flatten(result)
        self.outputs = [y if isinstance(y, Value) else Value(y) for y in ys]
        self.single = len(ys) == 1 and ys[0] is result
        self.order = topological_order(self.outputs, self.inputs)

    def only_output(self) -> Value:
        if not self.single:
            raise TypeError(f"f must return one number, got {len(self.outputs)} in a sequence: use jacobian")
        y = self.outputs[0]
        check_recorded(y)
        if not math.isfinite(y.data):
            raise not_finite(y)
        return y

    def pull_back(self, seeds: dict[Value, Any]) -> list[Any]:
        self._follow(seeds)
        adjoint = adjoints(self.order, seeds, self.create_graph)
        return self._finite([self.result(adjoint.get(x, 0.0)) for x in self.inputs], seeds, "weight")

    def push_forward(self, seeds: dict[Value, Any]) -> list[Any]:
        self._follow(seeds)
        tangent = tangents(self.order, seeds, self.create_graph)
        return self._finite([self.result(tangent.get(y, 0.0)) for y in self.outputs], seeds, "tangent")

    def _follow(self, seeds: dict[Value, Any]) -> None:
        """Seeds that are Values, or a sweep inside another derivative, ask for results to differentiate again."""
        self.create_graph |= differentiating() or any(isinstance(seed, Value) for seed in seeds.values())

    def _finite(self, derivatives: list[Any], seeds: dict[Value, Any], kind: str) -> list[Any]:
        for d in derivatives:
            number = _data(d)
            if not math.isfinite(number):
                for seed in map(_data, seeds.values()):
                    if not math.isfinite(seed):
                        raise DomainError(f"a derivative is {number} because a {kind} is {seed}")
                culprits = [y for y in self.outputs if first_not_finite(y) is not None] or self.outputs
                raise not_finite(culprits[0], f"a derivative is {number}")
        return derivatives

    def result(self, x: Any) -> Any:
        """A Value where the result may be differentiated again, else a float."""
        if self.create_graph:
            return x if isinstance(x, Value) else Value(x)
        return float(_data(x))

    def like_arguments(self, numbers: Sequence[Any]) -> Any:
        return self.nest_arguments(numbers)

    def like_outputs(self, numbers: Sequence[Any]) -> Any:
        return self.outputs_nesting([self.result(x) for x in numbers])


def _data(x: Any) -> Any:
    return x.data if isinstance(x, Value) else x


def _variable(x: Any) -> Value:
    """A fresh Value to differentiate by; of a Value a copy, so that other uses of it do not count."""
    return x * 1.0 if isinstance(x, Value) else Value(x)


def _one_or_all(arguments: Sequence[Any]) -> Any:
    return arguments[0] if len(arguments) == 1 else tuple(arguments)


#: lists in lists in lists: nobody nests numbers deeper, but a list may contain itself
MAX_DEPTH = 100


def flatten(x: Any, depth: int = 0) -> tuple[list[Any], Callable[[Sequence[Any]], Any]]:
    """The numbers of a nested structure, and the function that nests as many others the same way.

    Raises TypeError for what is no number, ShapeError for lists nested more than MAX_DEPTH deep.
    """
    if depth > MAX_DEPTH:
        raise ShapeError(f"lists are nested more than {MAX_DEPTH} deep: does one contain itself? Give a flat list")
    if isinstance(x, (list, tuple)):
        parts = [flatten(entry, depth + 1) for entry in x]
        sizes = [len(numbers) for numbers, _ in parts]

        def nest(numbers: Sequence[Any]) -> Any:
            rest = iter(numbers)
            entries = [inner([next(rest) for _ in range(n)]) for (_, inner), n in zip(parts, sizes, strict=True)]
            return entries if isinstance(x, list) else getattr(x, "_make", tuple)(entries)  # or a namedtuple

        return [entry for numbers, _ in parts for entry in numbers], nest
    if hasattr(x, "ravel") and getattr(x, "shape", ()) != ():
        if x.dtype != object:
            return list(x.ravel().tolist()), lambda numbers: _array(numbers, x.shape)
        entries, nest_entries = flatten(list(x.ravel()), depth + 1)  # which may be nested themselves
        return entries, lambda numbers: _array(nest_entries(numbers), x.shape)
    if not isinstance(x, Value):
        number(x, "a derivative")  # raises the TypeError
    return [x], lambda numbers: numbers[0]


def _nesting(x: Any) -> str:
    """How numbers are nested, as "[x, [x, x]]"; tuples and arrays count as lists."""
    x = x.tolist() if hasattr(x, "tolist") else x
    return f"[{', '.join(map(_nesting, x))}]" if isinstance(x, (list, tuple)) else "x"


def _array(entries: Sequence[Any], shape: tuple[int, ...]) -> Any:
    import numpy as np  # the caller's argument was an array, so NumPy is there

    from tinygrad_vi.arrays import array_of

    if not any(hasattr(entry, "__len__") or isinstance(entry, (Value, tuple)) for entry in entries):
        return np.array(entries, dtype=float).reshape(shape)
    if all(isinstance(entry, np.ndarray) and entry.shape == entries[0].shape for entry in entries):
        return np.stack(entries).reshape(*shape, *entries[0].shape)  # rows of a Jacobian
    return array_of(entries, shape)
