"""Derivatives of functions: what `Value.backward` does for one graph, done for a function and left nowhere behind.

Every function here takes a function ``f`` written in scalar code.  Its arguments are numbers, or lists, tuples,
dictionaries, named tuples, dataclasses and NumPy arrays of numbers, nested as one likes: see `tinygrad_vi.trees`.  f
meets the same nesting filled with Values, and results keep it:

    grad(f)([x1, x2])      ->  [df/dx1, df/dx2]              one argument: nested like the argument
    grad(f)(x1, x2)        ->  (df/dx1, df/dx2)              several: a tuple, one entry for each
    grad(f)({"a": x1})     ->  {"a": df/dx1}
    jacobian(f)([x1, x2])  ->  [[df1/dx1, df1/dx2], ...]     nested like the result of f, then like the arguments

By default every positional argument is differentiated by.  ``argnums``, as in JAX, says by which: ``argnums=0`` by the
first, with a result like it; ``argnums=(0, 2)`` by two, with a tuple of two.  The other arguments, and all keywords,
reach f as they are, whatever they are.  ``has_aux=True`` is for an f that returns a pair: what is to be differentiated,
and something else, which is handed on: ``grad(f, has_aux=True)(x)`` is (gradient, aux).

They compose: ``grad(grad(f))`` is the second derivative.  Inside another derivative, or given Values, they return
Values.  The derivatives of f with respect to what it merely closes over are not taken.

A result of f that is a plain number, ``math.exp(x.data)``, has no record.  If it is a constant, its derivative is 0; if
it came of the arguments, the derivative is lost.  So f is run again where it has given one, at arguments moved a little
(twice, or four times in doubt; generators of random numbers of the modules ``random`` and ``numpy.random`` stand where
they stood), and TypeError is raised where the number moves along.  ``Value(y)`` says that y is meant as a constant.
"""

from __future__ import annotations

import math
import random
import sys
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from itertools import accumulate
from operator import index
from typing import Any

from tinygrad_vi import modes
from tinygrad_vi.checks import DomainError, ShapeError, counted, number, package, whole_number
from tinygrad_vi.differences import corner, plain, slope, trusted_step
from tinygrad_vi.elsewhere import explained
from tinygrad_vi.graph import (
    below,
    check_recorded,
    check_unchanged,
    first_not_finite,
    not_finite,
    topological_order,
)
from tinygrad_vi.ops import stop_gradient
from tinygrad_vi.sparsity import Pattern, pattern, reached, transposed, users
from tinygrad_vi.tape import tangents
from tinygrad_vi.tracing import being_differentiated, differentiated_by, tracer_here
from tinygrad_vi.tracing import variables as _variables
from tinygrad_vi.trees import LEAF, argument_names, check_flat, flatten, place, values_in, with_numbers
from tinygrad_vi.value import VALUES, Value, adjoints, recording

F = Callable[..., Any]
#: sweeps that need not be told apart: a Jacobian of so many rows or columns takes them over the whole record
FEW_SWEEPS = 4
Argnums = int | Sequence[int] | None

# --- First derivatives ------------------------------------------------------------------------------------------------


def grad(f: F, argnums: Argnums = None, *, has_aux: bool = False) -> F:
    """The gradient of a function with one result, by one reverse sweep: x -> (df/dx1, ..., df/dxn).

    argnums, has_aux: see the module.  Raises TypeError when f returns something other than one number (use `jacobian`)
    and for an argument that holds something else than numbers; DomainError when the result or a derivative is infinite
    or NaN; ValueError for an argnums that is no argument.

    >>> grad(lambda x, y: x * x * y)(3.0, 2.0)
    (12.0, 9.0)
    >>> grad(grad(lambda x: x**3))(2.0)
    12.0
    >>> loss = lambda p, x, power=1: (p["slope"] * x + p["offset"]) ** power
    >>> grad(loss, argnums=0)({"slope": 2.0, "offset": 1.0}, 3.0, power=2)
    {'slope': 42.0, 'offset': 14.0}
    """

    _check_asked(f, argnums, "grad")

    def gradient(*arguments: Any, **named: Any) -> Any:
        call = _Call(_selected(f, argnums, arguments, named), has_aux)
        found = call.gradient(call.only_output())
        return (found, call.aux) if has_aux else found

    return _like(gradient, f)


def value_and_grad(f: F, argnums: Argnums = None, *, has_aux: bool = False) -> F:
    """The value and the gradient of a function with one result, for the price of one reverse sweep.

    With has_aux: ((value, aux), gradient).

    >>> value_and_grad(lambda w: w[0] * w[1])([3.0, 2.0])
    (6.0, [2.0, 3.0])
    >>> value_and_grad(lambda x: (x * x, "seen"), has_aux=True)(3.0)
    ((9.0, 'seen'), 6.0)
    """

    _check_asked(f, argnums, "value_and_grad")

    def both(*arguments: Any, **named: Any) -> tuple[Any, Any]:
        call = _Call(_selected(f, argnums, arguments, named), has_aux)
        y = call.only_output()
        value = call.result(y)
        return (value, call.aux) if has_aux else value, call.gradient(y)

    return _like(both, f)


def jvp(f: F, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
    """Value of f at ``primals`` and its derivative along ``tangents``, by one forward sweep: (f(x), J v).

    Both are sequences with one entry for each argument of f, nested like it.  Raises ShapeError when they differ,
    TypeError for a bare number.

    >>> jvp(lambda x, y: x * y, (3.0, 2.0), (1.0, 0.0))
    (6.0, 2.0)
    """
    if not isinstance(primals, (list, tuple)) or not isinstance(tangents, (list, tuple)):
        raise TypeError("jvp takes the arguments and their tangents as sequences: jvp(f, (x,), (v,))")
    return _jvp(_selected(f, None, primals, {}), tangents)


def _jvp(at: _Selected, tangents: Sequence[Any]) -> tuple[Any, Any]:
    call = _Call(at)
    numbers, tree = flatten(tuple(tangents), "tangents")
    if len(numbers) != len(call.inputs):
        raise ShapeError(f"f has {len(call.inputs)} inputs, but there are {len(numbers)} tangents for them")
    if not tree.fits(wanted := flatten(at.chosen)[1]):
        raise ShapeError(f"the arguments are nested like {wanted!s:.60}, their tangents like {tree!s:.60}")
    tangent = call.push_forward(dict(zip(call.inputs, numbers, strict=True)))
    return call.like_outputs(call.outputs), call.like_outputs(tangent)


def vjp(f: F, *primals: Any) -> tuple[Any, F]:
    """Value of f and a function that takes a weight for each result of f and returns v J, by one reverse sweep.

    The weights are nested like the result.  Raises ShapeError when they are not.

    >>> value, pull_back = vjp(lambda x, y: [x * y, x + y], 3.0, 2.0)
    >>> value, pull_back([1.0, 0.0])
    ([6.0, 5.0], (2.0, 3.0))
    """
    call = _Call(_selected(f, None, primals, {}))

    def pull_back(weights: Any) -> Any:
        numbers, tree = flatten(weights, "weights")
        if len(numbers) != len(call.outputs):
            raise ShapeError(f"f has {len(call.outputs)} results, but there are {len(numbers)} weights for them")
        if not tree.fits(call.nest_outputs):
            raise ShapeError(f"the result is nested like {call.nest_outputs!s:.60}, its weights like {tree!s:.60}")
        if call.create_graph or differentiating() or any(isinstance(weight, Value) for weight in numbers):
            check_unchanged(call.order)  # rules would be applied to Values that may have changed since the call
        seeds: dict[Value, Any] = {}
        for y, weight in zip(call.outputs, numbers, strict=True):
            seeds[y] = seeds[y] + weight if y in seeds else weight
        return call.like_arguments(call.pull_back(seeds))

    return call.like_outputs(call.outputs), pull_back


def jacobian(f: F, argnums: Argnums = None, *, has_aux: bool = False, sparse: bool = False) -> F:
    """All first derivatives of a function with any number of results.

    Takes one reverse sweep for each result, over what it was computed from, or one forward sweep for each input, over
    what was computed from it, whichever is less work.  Nested like the result, then like the arguments; where the
    result is an array of shape s, like the arguments, of which a number becomes an array of shape s and an array of
    shape t one of (*s, *t), as in JAX.  With has_aux: (jacobian, aux).

    sparse: a `scipy.sparse.csr_array` with a row for each result and a column for each input.  It has an entry, be it
    0, where this call computed the result from the input; where f decides by an ``if``, another call may have others.
    A compiled function knows its pattern beforehand: `Compiled.jacobian_structure`.  Results, and arguments, are then
    a number or a flat list, tuple or array, or several numbers: else TypeError.  Raises TypeError inside another
    derivative, and ImportError without SciPy.

    >>> jacobian(lambda x, y: [x * y, x + y, y])(3.0, 2.0)
    [(2.0, 3.0), (1.0, 1.0), (0.0, 1.0)]
    >>> jacobian(lambda p: {"area": p["a"] * p["b"]})({"a": 3.0, "b": 2.0})
    {'area': {'a': 2.0, 'b': 3.0}}
    >>> found = jacobian(lambda x: [x[0] * x[1], x[2] ** 2], sparse=True)([3.0, 2.0, 0.0])
    >>> found.indices.tolist(), found.data.tolist()
    ([0, 1, 2], [2.0, 3.0, 0.0])
    """

    _check_asked(f, argnums, "jacobian")

    def matrix(*arguments: Any, **named: Any) -> Any:
        call = _Call(_selected(f, argnums, arguments, named), has_aux)
        found = call.sparse_matrix() if sparse else call.nest_outputs.outer(call.like_arguments, call.rows())
        return (found, call.aux) if has_aux else found

    return _like(matrix, f)


# --- Second derivatives -----------------------------------------------------------------------------------------------


def hessian(f: F, argnums: Argnums = None, *, has_aux: bool = False, sparse: bool = False) -> F:
    """All second derivatives of a function with one result: the Jacobian of its gradient.  With has_aux: (H, aux).

    sparse: as of `jacobian`, both triangles.

    >>> hessian(lambda x, y: x * x * y)(3.0, 2.0)
    ((4.0, 6.0), (6.0, 0.0))
    """
    _check_asked(f, argnums, "hessian")
    return jacobian(grad(f, argnums, has_aux=has_aux), argnums, has_aux=has_aux, sparse=sparse)


def hvp(f: F, argnums: Argnums = None) -> F:
    """The Hessian times a vector without the Hessian, by a forward sweep over the reverse sweep.

    The vector, nested like the gradient, stands behind the last argument that is differentiated by: so it is the last
    of all, and ``hvp(f, argnums=0)(x, v, *data)`` fits SciPy's ``hessp`` with ``args``, as ``hvp(f)`` does without.
    (B. Pearlmutter, *Fast exact multiplication by the Hessian*, 1994.)

    >>> hvp(lambda w: w[0] * w[0] * w[1])([3.0, 2.0], [1.0, 0.0])
    [4.0, 6.0]
    >>> hvp(lambda w, power: w**power, argnums=0)(3.0, 1.0, 2)
    2.0
    """

    _check_asked(f, argnums, "hvp")

    def product(*arguments: Any, **named: Any) -> Any:
        if len(arguments) < 2:
            raise TypeError(f"hvp(f) takes the arguments of f and then a vector, got {len(arguments)} in all")
        behind = 1 + max(places_of(argnums, len(arguments) - 1))
        vector = arguments[behind]
        primals = (*arguments[:behind], *arguments[behind + 1 :])
        at = _selected(grad(f, argnums), argnums, primals, named)
        if not at.single and not isinstance(vector, (list, tuple)):
            raise TypeError(f"the vector has an entry for each argument, as the gradient has, got {vector!r:.60}")
        return _jvp(at, [vector] if at.single else vector)[1]

    return product


# --- Numerical derivatives and the check ------------------------------------------------------------------------------

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
        point = _selected(f, argnums, arguments, named)
        xs, nest = flatten(point.given, point.called)
        keep_values = differentiating() or any(isinstance(x, Value) for x in xs)  # to be differentiated again
        numbers = [_number(x) for x in xs]
        if not keep_values and being_differentiated():  # in a thread, or a function of numbers, inside a derivative
            y = point.of(nest.arguments(numbers))
            keep_values = isinstance(y, Value) and bool(differentiated_by(below([y])))
        xs = xs if keep_values else numbers

        values: dict[tuple[int, float] | None, float] = {}  # None: at the point itself

        def moved(i: int, x: Any) -> Any:
            return point.of(nest.arguments([*xs[:i], x, *xs[i + 1 :]]))

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
                    f"the derivative by {point.place(i)} at {point} cannot be told from differences: "
                    "the steps do not agree. Give a step of your own, numerical_gradient(f, step=h), or take grad(f)"
                )
            return h

        steps = [trusted(i, x) for i, x in enumerate(numbers)]
        start = at(0, 0.0) if method == "forward" and xs else None
        return nest([_difference(at, i, start, h) for i, h in enumerate(steps)])

    return _like(gradient, f)


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
        return _check(_selected(f, argnums, arguments, named), name, order, tolerance)

    return check


def _check(at: _Selected, name: str, order: int, tolerance: float) -> float:
    automatic, _ = flatten(grad(at)(*at.chosen))
    worst = 0.0
    for i, a in enumerate(map(_data, automatic)):
        worst = max(worst, _compare(a, _along(at, i), at, name, i, tolerance))
    if order > 1:
        for i in range(len(automatic)):
            component = _Selected(_component(grad(at), i), at.chosen, at.names, at.single)
            worst = max(worst, _check(component, f"d{name}/d({at.place(i)})", order - 1, tolerance))
    return worst


def _compare(a: float, along: Callable[[float], Value], at: _Selected, name: str, i: int, tolerance: float) -> float:
    """How far an automatic derivative is from the numerical one; GradientError when the differences exclude it."""
    x = _data(flatten(at.chosen)[0][i])
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


def _along(at: _Selected, i: int) -> Callable[[float], Value]:
    """f of entry i alone, as a Value with its record: f may use methods of Values, such as x.relu()."""
    xs, nest = flatten(at.given)
    numbers = [_data(x) for x in xs]

    def along(x: float) -> Value:
        entries = nest.arguments([*numbers[:i], x, *numbers[i + 1 :]])
        return _Call(_Selected(at, (entries,) if at.single else entries, at.names, at.single)).only_output()

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


def _suspect(at: _Selected, measured: Callable[[float], Any], x: float, a: float) -> str:
    """What is wrong: an operation whose stored partial the differences exclude, a kink, or nothing on record."""
    kinks = []
    for node in topological_order(_Call(at).outputs):
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


# --- A call of f on Values --------------------------------------------------------------------------------------------


def differentiating() -> bool:
    """Whether the code that asks runs inside a derivative, so that its results should be Values."""
    return modes.differentiable.get()


def differentiable() -> AbstractContextManager[None]:
    """A context manager: derivatives by plain numbers are Values, to be differentiated, as inside a derivative."""
    return modes.differentiable.set(True)


class _Selected:
    """A function of the arguments that are differentiated by; the other arguments are fixed.

    chosen: these arguments.  single: whether there is one, and results are nested like it and not in a tuple.  given:
    this one, or all of them.  names: gives their names.  others: the fixed arguments.
    """

    __slots__ = ("chosen", "f", "given", "names", "others", "single")

    def __init__(
        self,
        f: F,
        chosen: tuple[Any, ...],
        names: Callable[[], list[str]],
        single: bool | None = None,
        others: Any = (),
    ) -> None:
        self.f = f
        self.chosen = chosen
        self.names = names
        self.others = others
        self.single = len(chosen) == 1 if single is None else single
        self.given = chosen[0] if self.single else chosen

    def __call__(self, *chosen: Any) -> Any:
        return self.f(*chosen)

    def of(self, given: Any) -> Any:
        """The function at arguments nested like `given`."""
        return self.f(given) if self.single else self.f(*given)

    def called(self) -> str | list[str]:
        """The names of the arguments."""
        return self.names()[0] if self.single else self.names()

    def place(self, i: int) -> str:
        """How one writes leaf i of the arguments."""
        return place(self.given, i, self.called)

    def __str__(self) -> str:
        return ", ".join(map(repr, self.chosen))


def _selected(f: F, argnums: Argnums, arguments: Sequence[Any], named: dict[str, Any]) -> _Selected:
    if argnums is None and not named:
        return _Selected(f, tuple(arguments), lambda: argument_names(f, len(arguments)))
    if not arguments:
        got = f"{', '.join(named)} by name" if named else "none"
        raise TypeError(f"a derivative is by positional arguments, got {got}: write grad(f)(x)")
    places = places_of(argnums, len(arguments))

    def of_the_chosen(*chosen: Any) -> Any:
        every = list(arguments)
        for i, x in zip(places, chosen, strict=True):
            every[i] = x
        return f(*every, **named)

    def names() -> list[str]:
        every = argument_names(f, len(arguments))
        return [every[i] for i in places]

    chosen = tuple([arguments[i] for i in places])
    others = [x for i, x in enumerate(arguments) if i not in places], named
    single = len(chosen) == 1 if argnums is None else not isinstance(argnums, (tuple, list))
    return _Selected(of_the_chosen, chosen, names, single, others)


def _check_asked(f: Any, argnums: Any, name: str) -> None:
    """Raises TypeError for what is no function, or no places of arguments, before anything is called."""
    if not callable(f):
        raise TypeError(
            f"{name} takes a function and gives one, {name}(lambda x: x * x)(3.0), got {f!r:.60} of type "
            f"{type(f).__name__}: of a result that is recorded take y.backward() and then x.grad"
        )
    for given in () if argnums is None else argnums if isinstance(argnums, (tuple, list)) else (argnums,):
        _check_place(given, argnums)


def _check_place(given: Any, argnums: Any) -> None:
    if isinstance(given, bool) or not hasattr(given, "__index__"):
        raise TypeError(
            f"argnums is the place of an argument, 0 for the first, or a tuple of places, got {argnums!r:.60}; the "
            "point is given to the derivative, grad(f)(x)"
        )


def places_of(argnums: Argnums, count: int) -> list[int]:
    """The places, from 0 to count - 1, of the arguments that are differentiated by."""
    if argnums is None:
        return list(range(count))
    places = []
    for given in argnums if isinstance(argnums, (tuple, list)) else (argnums,):
        _check_place(given, argnums)
        i = index(given)
        if not -count <= i < count:
            got = counted(count, "positional argument")
            raise ValueError(f"argnums={argnums!r} names no argument: f was called with {got}")
        places.append(i % count)
    if len({*places}) < len(places) or not places:
        raise ValueError(f"argnums={argnums!r} should name each argument once, and at least one")
    return places


def _like(derivative: F, f: F) -> F:
    """The derivative, with the signature of its function, whose arguments it takes."""
    derivative.__wrapped__ = f  # type: ignore[attr-defined]
    return derivative


class _Call:
    """f called once on fresh Values, and the sweeps over what it recorded."""

    def __init__(self, at: _Selected, has_aux: bool = False) -> None:
        xs, self.like_arguments = flatten(at.given, at.called)
        tracer = tracer_here.get()
        self.inputs = [_variable(x, tracer) for x in xs]
        # inside another derivative the results must be Values, to be differentiated again
        self.create_graph = differentiating() or any(isinstance(x, Value) for x in xs)
        if at.others and not self.create_graph:
            self.create_graph = bool(values_in(at.others))
        result, aux = self._run(at, self.inputs, has_aux)
        ys, self.nest_outputs = flatten(result, "the result of f")
        if tracer is None and xs and not VALUES.issuperset(map(type, ys)):
            self._check_constants(at, result, has_aux)
        self.outputs = [y if isinstance(y, Value) else Value(y) for y in ys]
        self.single = self.nest_outputs is LEAF
        self.order = topological_order(self.outputs, self.inputs)
        if not self.create_graph:  # another derivative may be around it that modes do not show: in another thread
            self.create_graph = bool(being_differentiated() and differentiated_by(below(self.outputs)))
        self.aux = with_numbers(aux, self.result) if has_aux else None

    def _run(self, at: _Selected, inputs: list[Value], has_aux: bool) -> tuple[Any, Any]:
        """The result of f, and with ``has_aux`` its second part."""
        values = self.like_arguments.arguments(inputs)
        _variables.update(inputs)
        try:
            with differentiable(), recording(True):  # a derivative inside no_grad() is still a derivative
                result = at.of(values)
        except (TypeError, ValueError, AttributeError) as error:
            better = explained(error)
            if better is error:
                raise
            raise better from error
        finally:
            _variables.difference_update(inputs)
        if not has_aux:
            return result, None
        if not isinstance(result, (tuple, list)) or len(result) != 2:
            raise TypeError(f"with has_aux=True f returns a pair (result, anything else), got {result!r:.60}")
        return result[0], result[1]

    def _check_constants(self, at: _Selected, result: Any, has_aux: bool) -> None:
        """Raise TypeError for a plain number in the result that changes with the arguments."""
        numbers = [x.data for x in self.inputs]

        def again(size: float) -> Any:
            return self._run(at, [Value(x) for x in moved(numbers, size)], has_aux)[0]

        check_constants("f", result, again)

    def gradient(self, y: Value) -> Any:
        """The derivatives of one output, nested like the arguments."""
        return self.like_arguments(self.pull_back({y: 1.0}))

    def only_output(self) -> Value:
        if not self.single:
            raise TypeError(
                f"f must return one number, got {len(self.outputs)} in a sequence: use jacobian, or has_aux=True for a "
                "pair (number, anything else)"
            )
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

    def rows(self) -> list[list[Any]]:
        """The derivatives of each output by all inputs."""
        m, n = len(self.outputs), len(self.inputs)
        if min(m, n) > FEW_SWEEPS:
            found = []
            for columns, numbers in zip(*self.entries(), strict=True):
                row = [self.result(0.0) for _ in self.inputs] if self.create_graph else [0.0] * n
                for j, derivative in zip(columns, numbers, strict=True):
                    row[j] = derivative
                found.append(row)
            return found
        if n < m:
            along = [self.push_forward({x: 1.0}) for x in self.inputs]
            return [list(row) for row in zip(*along, strict=True)] if along else [[] for _ in self.outputs]
        return [self.pull_back({y: 1.0}) for y in self.outputs]

    def entries(self) -> tuple[Pattern, list[list[Any]]]:
        """The inputs that each output depends on, and its derivatives by these."""
        self._follow({})
        number = {x: j for j, x in enumerate(self.inputs)}
        ancestors, left = [], FEW_SWEEPS * len(self.order)
        for y in self.outputs:
            ancestors.append(reached(y, lambda node: () if node in number else _through(node)))
            left -= len(ancestors[-1])
            if left < 0:
                return self._entries_of_large_results(number)
        place = {node: i for i, node in enumerate(self.order)}
        columns = [sorted([number[x] for x in number.keys() & some]) for some in ancestors]
        return columns, self._by_outputs(
            columns, [sorted(place.keys() & some, key=place.__getitem__) for some in ancestors]
        )

    def _by_outputs(self, columns: Pattern, orders: Iterable[list[Value]]) -> list[list[Any]]:
        """By a reverse sweep for each output, over the nodes that it is made of."""
        sweep = adjoints if self.create_graph else _adjoints
        rows = []
        for y, row, order in zip(self.outputs, columns, orders, strict=True):
            adjoint = sweep(order, {y: 1.0}, self.create_graph)
            found = [self.result(adjoint.get(self.inputs[j], 0.0)) for j in row]
            rows.append(self._finite(found, {}, "weight"))
        return rows

    def _entries_of_large_results(self, inputs: Container[Value]) -> tuple[Pattern, list[list[Any]]]:
        """Of outputs that share most of what they are made of: whichever sweeps are less work."""
        columns, by_inputs = pattern(self.order, _through, self.inputs, self.outputs)
        used_by = users(self.order, _through)

        def after(node: Value) -> Sequence[Value]:
            return used_by.get(node, ())

        def before(node: Value) -> Sequence[Value]:
            return () if node in inputs else _through(node)

        _, by_outputs = pattern([*reversed(self.order), *self.inputs], after, self.outputs, ())
        place = {node: i for i, node in enumerate(self.order)}

        def order(start: Value, following: Callable[[Value], Sequence[Value]]) -> list[Value]:
            return sorted(place.keys() & reached(start, following), key=place.__getitem__)

        if by_outputs <= by_inputs:
            return columns, self._by_outputs(columns, (order(y, before) for y in self.outputs))
        rows: list[list[Any]] = [[] for _ in self.outputs]
        for x, column in zip(self.inputs, transposed(columns, len(self.inputs)), strict=True):
            tangent = tangents(order(x, after), {x: 1.0}, self.create_graph)
            found = [self.result(tangent.get(self.outputs[i], 0.0)) for i in column]
            for i, derivative in zip(column, self._finite(found, {}, "tangent"), strict=True):
                rows[i].append(derivative)
        return columns, rows

    def sparse_matrix(self) -> Any:
        """The derivatives of each output by each input as a matrix of SciPy."""
        self._follow({})
        if self.create_graph:
            raise TypeError(
                "a sparse matrix holds numbers: inside another derivative, in a function that is compiled, or given "
                "Values, leave out sparse=True"
            )
        check_flat(self.like_arguments, "the arguments are")
        check_flat(self.nest_outputs, "the result is")
        csr_array = package("scipy.sparse", "a sparse derivative").csr_array
        columns, rows = self.entries()
        ends = [0, *accumulate(map(len, columns))]
        shape = len(self.outputs), len(self.inputs)
        numbers = [float(x) for row in rows for x in row]
        return csr_array((numbers, [j for row in columns for j in row], ends), shape=shape, dtype=float)

    def _follow(self, seeds: dict[Value, Any]) -> None:
        """Make the results Values if a seed is one, or if the sweep runs inside another derivative."""
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
        if not self.create_graph:
            return float(_data(x))
        if not isinstance(x, Value):
            return Value(x)
        return x if modes.recording.get() else stop_gradient(x)  # inside no_grad() f alone is recorded

    def like_outputs(self, numbers: Sequence[Any]) -> Any:
        return self.nest_outputs([self.result(x) for x in numbers])


def _adjoints(order: Sequence[Value], seeds: dict[Value, float], _: bool) -> dict[Value, float]:
    """`adjoints` of plain numbers: many short sweeps, in a third of the time."""
    adjoint = dict(seeds)
    for node in reversed(order):
        flow = adjoint.get(node, 0.0)
        if flow != 0.0:
            for parent, partial in zip(node.parents, node.local_grads, strict=True):
                adjoint[parent] = adjoint.get(parent, 0.0) + partial * flow
    return adjoint


def _through(node: Value) -> Sequence[Value]:
    """The operands by which the derivative of a node is not 0 everywhere."""
    constant = node.op.constant_partials if node.op is not None else None
    if constant and 0.0 in constant:
        return [parent for parent, partial in zip(node.parents, constant, strict=True) if partial != 0.0]
    return node.parents


def _data(x: Any) -> Any:
    return x.data if isinstance(x, Value) else x


def _variable(x: Any, tracer: Any) -> Value:
    """A new Value to differentiate by.  For a Value a copy, so that its uses elsewhere do not count."""
    if isinstance(x, Value):
        return x * 1.0
    variable = Value(x)
    if tracer is not None:  # it becomes a Traced one, which does not give its number
        tracer.recorded(variable)
    return variable


# --- What is differentiated by ----------------------------------------------------------------------------------------


@contextmanager
def variables(inputs: Iterable[Value]) -> Iterator[None]:
    """A context manager: these new Values are differentiated by."""
    _variables.update(inputs)
    try:
        yield
    finally:
        _variables.difference_update(inputs)


def training(parameters: Iterable[Value]) -> AbstractContextManager[None]:
    """A context manager for the run of a loss: these leaves are differentiated by."""
    return modes.trained.set(modes.trained.get().union(parameters))


def check_alone(what: str, outputs: Sequence[Value], parameters: Iterable[Value]) -> None:
    """Raise TypeError if what is minimised depends on a Value, not a parameter, by which a derivative is being taken.

    The parameters are moved as numbers, so the derivative of the solution by that Value would be lost.
    """
    if not being_differentiated():
        return
    others = [v for v in differentiated_by(below(outputs)) if v not in {*parameters}]
    if others:
        v = others[0]
        named = repr(v.label) if v.label else f"the Value {v.data!r}"
        raise TypeError(
            f"{what} depends on {named}, by which a derivative is being taken around it: parameters are moved as "
            "numbers, so the derivative of what they come to would be lost. Give the solution one of its own, that of "
            f"the implicit function, with @custom_derivative; or let {what} know the plain number, w.data, if a "
            "constant is meant"
        )


# --- Plain numbers that are no constants ------------------------------------------------------------------------------

#: by how much arguments are moved, relative to max(1, |x|)
MOVED = 2.0**-13


def moved(numbers: Sequence[float], size: float) -> list[float]:
    """The numbers, each moved by an amount of its own: ``size`` to 2 * size, relative to max(1, |x|)."""
    return [x + size * (1.0 + i % 7 / 7.0) * max(1.0, abs(x)) for i, x in enumerate(numbers)]


def check_constants(name: str, result: Any, again: Callable[[float], Any]) -> None:
    """Raise TypeError for a plain number in the result of a function that changes with what it is differentiated by.

    again: takes a size and gives the result at arguments moved by it.  One side is enough, since the function may have
    no value on the other.  A number that jumps once is no sign of a lost derivative: it must change from here to
    half-way and again to the whole size.  Random numbers are the same in all further runs.
    """
    runs = _Runs(again)
    found = _plain(result)
    if not found:  # all are Values, some of a class of the user's
        return
    failed: list[Exception] = []
    for size in (MOVED, -MOVED):
        try:
            half = _plain(runs(size / 2.0))
            suspects = [i for i in found if i in half and not _same(found[i], half[i])]
            if suspects:
                here, whole = _plain(runs(0.0)), _plain(runs(size))
        except Exception as error:  # the user's function may raise anything outside of its domain
            failed.append(error)
            continue
        for i in suspects:
            if i in here and i in whole and not _same(here[i], half[i]) and not _same(half[i], whole[i]):
                raise TypeError(
                    f"{place(result, i, f'the result of {name}')} is the plain number {float(found[i])!r}, and it "
                    f"changes with what is differentiated by, to {float(half[i])!r} a little further on: it was "
                    "computed from numbers taken out of Values, and its derivative would be lost. Compute it from "
                    "Values by operations: tinygrad_vi.exp(x) and not math.exp(x.data), x and not x.data. Value(y) or "
                    "stop_gradient(x) says that a number is meant as a constant"
                )
    if len(failed) == 2:
        i, y = next(iter(found.items()))
        raise TypeError(
            f"{place(result, i, f'the result of {name}')} is the plain number {y!r}, which has no record, and whether "
            "it is a constant cannot be seen: run again a little further on, the function raised "
            f"{type(failed[0]).__name__}: {failed[0]}. Compute it from Values by operations, or write Value(y) for a "
            "constant"
        ) from failed[0]


class _Runs:
    """Further runs of a function: all draw the same random numbers, and the generators are left as they were."""

    def __init__(self, again: Callable[[float], Any]) -> None:
        self.again = again

    def __call__(self, size: float) -> Any:
        drawn = random.getstate()
        numpy_random = sys.modules.get("numpy.random")
        of_numpy = None if numpy_random is None else numpy_random.get_state()
        try:
            return self.again(size)
        finally:
            random.setstate(drawn)
            if numpy_random is not None:
                numpy_random.set_state(of_numpy)


def _plain(result: Any) -> dict[int, Any]:
    """The plain numbers of a result, by their places."""
    return {i: y for i, y in enumerate(flatten(result, "the result of f")[0]) if not isinstance(y, Value)}


def _same(x: Any, y: Any) -> bool:
    return bool(x == y or (x != x and y != y))
