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
from typing import Any

from tinygrad_vi import modes
from tinygrad_vi.ops import DomainError, ShapeError, number
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

    >>> value, pull_back = vjp(lambda x, y: [x * y, x + y], 3.0, 2.0)
    >>> value, pull_back([1.0, 0.0])
    ([6.0, 5.0], (2.0, 3.0))
    """
    call = _Call(f, primals)

    def pull_back(weights: Any) -> Any:
        numbers, _ = flatten(weights)
        if len(numbers) != len(call.outputs):
            raise ShapeError(f"f has {len(call.outputs)} results, but there are {len(numbers)} weights for them")
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


def numerical_gradient(f: F, method: str = "central", step: float | None = None) -> F:
    """The gradient by finite differences: n + 1 or 2n evaluations on floats, about half or two thirds of the digits.

    method "forward": (f(x + h) - f(x)) / h, error O(h).  "central": (f(x + h) - f(x - h)) / (2h), error O(h*h).
    One entry of the arguments moves at a time.  Unless ``step`` is given, h is 2**-26 (forward) or 2**-17 (central),
    near the square and the cube root of the machine epsilon, times max(1, |x|) rounded down to a power of two, so that
    x + h is exact.

    >>> round(numerical_gradient(lambda x: x**3)(2.0), 6)
    12.0
    """
    if method not in ("forward", "central"):
        raise ValueError(f'method is "forward" or "central", got {method!r}')
    if step is not None and not step > 0.0:
        raise ValueError(f"step must be positive, got {step}")

    def gradient(*arguments: Any) -> Any:
        xs, nest = flatten(_one_or_all(arguments))
        keep_values = differentiating() or any(isinstance(x, Value) for x in xs)  # to be differentiated again
        numbers = [_number(x) for x in xs]
        xs = xs if keep_values else numbers

        def at(i: int, h: float) -> Any:
            moved = nest([*xs[:i], xs[i] + h, *xs[i + 1 :]])
            y = f(moved) if len(arguments) == 1 else f(*moved)
            return y if keep_values and isinstance(y, Value) else _number(y)

        start = at(0, 0.0) if method == "forward" and xs else None
        return nest([_difference(at, i, x, start, step) for i, x in enumerate(numbers)])

    return gradient


def _number(x: Any) -> float:
    return x.data if isinstance(x, Value) else number(x, "numerical_gradient")


def _difference(f: Callable[[int, float], Any], i: int, x: float, start: Any, step: float | None) -> Any:
    """The forward difference from ``start``, the value of f at the point; the central one where that is None."""
    central = start is None
    h = step or (CENTRAL_STEP if central else FORWARD_STEP) * 2.0 ** (math.frexp(max(1.0, abs(x)))[1] - 1)
    return (f(i, h) - f(i, -h)) / (2.0 * h) if central else (f(i, h) - start) / h


class GradientError(AssertionError):
    """Automatic and numerical derivatives disagree."""


def gradcheck(f: F, order: int = 1, tolerance: float = 1e-6) -> F:
    """Compare the derivatives of f, up to ``order``, with central differences; return the largest difference.

    The difference is relative to max(1, |derivative|).  Choose points away from kinks: there the check may fail though
    neither side is wrong.

    Raises GradientError when a difference exceeds ``tolerance``.  It names f, the argument, the point and both numbers,
    and the recorded operation whose own partial derivative is wrong, when there is one.

    >>> gradcheck(lambda x, y: x * y, order=2)(3.0, 2.0) < 1e-9
    True
    """
    if order < 1:
        raise ValueError(f"order must be at least 1, got {order}")
    name = getattr(f, "__name__", repr(f))

    def check(*arguments: Any) -> float:
        return _check(f, name, arguments, order, tolerance)

    return check


def _check(f: F, name: str, arguments: tuple[Any, ...], order: int, tolerance: float) -> float:
    automatic, _ = flatten(grad(f)(*arguments))
    # through Values, since f may use their methods: x.relu()
    numerical, _ = flatten(numerical_gradient(lambda *xs: _Call(f, xs).only_output().data)(*arguments))
    worst = 0.0
    for i, (a, n) in enumerate(zip(automatic, numerical, strict=True)):
        difference = abs(a - n) / max(1.0, abs(n))
        worst = max(worst, difference)
        if not difference <= tolerance:  # NaN fails too
            raise GradientError(
                f"{name}: the derivative by {_place(arguments, i)} at {_at(arguments)} is {a!r} by automatic and {n!r} "
                f"by numerical differentiation (relative difference {difference:.2g}); {_suspect(f, arguments)}"
            )
    if order > 1:
        for i in range(len(automatic)):
            component = _component(grad(f), i)
            worst = max(worst, _check(component, f"d{name}/d({_place(arguments, i)})", arguments, order - 1, tolerance))
    return worst


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


def _suspect(f: F, arguments: tuple[Any, ...]) -> str:
    """The first recorded operation whose stored partials disagree with differences of its own value."""
    call = _Call(f, arguments)
    for node in topological_order(call.outputs):
        assert node.op is not None
        xs = [parent.data for parent in node.parents]
        try:
            numerical = numerical_gradient(node.op.value)(*xs)
        except DomainError:  # too near the edge of its domain to move
            continue
        differences = numerical if isinstance(numerical, tuple) else (numerical,)
        for i, (stored, n) in enumerate(zip(node.local_grads, differences, strict=True)):
            if not abs(stored - n) <= 1e-6 * max(1.0, abs(n)):
                return (
                    f"the operation {node.op.name} at {', '.join(map(repr, xs))} has the partial {stored!r} "
                    f"by operand {i}, differences give {n!r}"
                )
    return "every recorded operation is right by itself: is there a kink, or does f use .data?"


# --- A call of f on Values --------------------------------------------------------------------------------------------


def differentiating() -> bool:
    """Whether the code that asks runs inside a derivative, so that its results should be Values."""
    return modes.differentiable.get()


def differentiable() -> AbstractContextManager[None]:
    """Inside, as inside a derivative, derivatives and networks of plain numbers are Values, to be differentiated."""
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

    if not any(hasattr(entry, "__len__") or isinstance(entry, (Value, tuple)) for entry in entries):
        return np.array(entries, dtype=float).reshape(shape)
    if all(isinstance(entry, np.ndarray) and entry.shape == entries[0].shape for entry in entries):
        return np.stack(entries).reshape(*shape, *entries[0].shape)  # rows of a Jacobian
    array = np.empty(len(entries), dtype=object)
    array[:] = entries
    return array.reshape(shape)
