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
Values.  The derivatives of f with respect to what it merely closes over are not taken.  A result of f that is a
plain number counts as a constant where it is one; else TypeError says that its derivative would be lost: see
`differentiated`.  Numerical derivatives, and the check against them, are in `numerical`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tinygrad_vi.calls import Argnums, Call, F, Selected, check_asked, places_of, selected, with_signature_of
from tinygrad_vi.checks import ShapeError
from tinygrad_vi.differentiated import differentiating
from tinygrad_vi.graph import check_unchanged
from tinygrad_vi.trees import flatten
from tinygrad_vi.value import Value

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

    check_asked(f, argnums, "grad")

    def gradient(*arguments: Any, **named: Any) -> Any:
        call = Call(selected(f, argnums, arguments, named), has_aux)
        found = call.gradient(call.only_output())
        return (found, call.aux) if has_aux else found

    return with_signature_of(gradient, f)


def value_and_grad(f: F, argnums: Argnums = None, *, has_aux: bool = False) -> F:
    """The value and the gradient of a function with one result, for the price of one reverse sweep.

    With has_aux: ((value, aux), gradient).

    >>> value_and_grad(lambda w: w[0] * w[1])([3.0, 2.0])
    (6.0, [2.0, 3.0])
    >>> value_and_grad(lambda x: (x * x, "seen"), has_aux=True)(3.0)
    ((9.0, 'seen'), 6.0)
    """

    check_asked(f, argnums, "value_and_grad")

    def both(*arguments: Any, **named: Any) -> tuple[Any, Any]:
        call = Call(selected(f, argnums, arguments, named), has_aux)
        y = call.only_output()
        value = call.result(y)
        return (value, call.aux) if has_aux else value, call.gradient(y)

    return with_signature_of(both, f)


def jvp(f: F, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
    """Value of f at ``primals`` and its derivative along ``tangents``, by one forward sweep: (f(x), J v).

    Both are sequences with one entry for each argument of f, nested like it.  Raises ShapeError when they differ,
    TypeError for a bare number.

    >>> jvp(lambda x, y: x * y, (3.0, 2.0), (1.0, 0.0))
    (6.0, 2.0)
    """
    if not isinstance(primals, (list, tuple)) or not isinstance(tangents, (list, tuple)):
        raise TypeError("jvp takes the arguments and their tangents as sequences: jvp(f, (x,), (v,))")
    return _jvp(selected(f, None, primals, {}), tangents)


def _jvp(at: Selected, tangents: Sequence[Any]) -> tuple[Any, Any]:
    call = Call(at)
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
    call = Call(selected(f, None, primals, {}))

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

    check_asked(f, argnums, "jacobian")

    def matrix(*arguments: Any, **named: Any) -> Any:
        call = Call(selected(f, argnums, arguments, named), has_aux)
        found = call.sparse_matrix() if sparse else call.nest_outputs.outer(call.like_arguments, call.rows())
        return (found, call.aux) if has_aux else found

    return with_signature_of(matrix, f)


# --- Second derivatives -----------------------------------------------------------------------------------------------


def hessian(f: F, argnums: Argnums = None, *, has_aux: bool = False, sparse: bool = False) -> F:
    """All second derivatives of a function with one result: the Jacobian of its gradient.  With has_aux: (H, aux).

    sparse: as of `jacobian`, both triangles.

    >>> hessian(lambda x, y: x * x * y)(3.0, 2.0)
    ((4.0, 6.0), (6.0, 0.0))
    """
    check_asked(f, argnums, "hessian")
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

    check_asked(f, argnums, "hvp")

    def product(*arguments: Any, **named: Any) -> Any:
        if len(arguments) < 2:
            raise TypeError(f"hvp(f) takes the arguments of f and then a vector, got {len(arguments)} in all")
        behind = 1 + max(places_of(argnums, len(arguments) - 1))
        vector = arguments[behind]
        primals = (*arguments[:behind], *arguments[behind + 1 :])
        at = selected(grad(f, argnums), argnums, primals, named)
        if not at.single and not isinstance(vector, (list, tuple)):
            raise TypeError(f"the vector has an entry for each argument, as the gradient has, got {vector!r:.60}")
        return _jvp(at, [vector] if at.single else vector)[1]

    return product
