"""vmap: a function of one example, for all of them at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tinygrad_vi.checks import ShapeError
from tinygrad_vi.compiler.arguments import (
    Arrangement,
    Column,
    bound,
    by_example,
    column_of,
    is_number,
    of_columns,
    standing_for,
)
from tinygrad_vi.compiler.compiled import Compiled
from tinygrad_vi.differentiated import differentiable, differentiating
from tinygrad_vi.trees import argument_names, flatten, is_array, values_in

Axes = int | None | Sequence[int | None]


def vmap(
    f: Callable[..., Any],
    in_axes: Axes = 0,
    *,
    backend: str = "auto",
    threads: int | None = None,
    verify: bool = True,
) -> Callable[..., Any]:
    """A function of one example as a function of N examples at once, as in JAX: compiled, no loop.

    Its arguments have one entry more in front, one for each example: N numbers for a number, (N, d) for a list or an
    array of d.  A dictionary, a named tuple or a dataclass holds such columns.  A number alone is the same for all
    examples.  The result is nested like that of f, with arrays of N in the place of numbers; of an array of shape s it
    has the shape (N, *s).

    ``vmap(grad(f, argnums=0))(a, b)`` is the derivative of each example by its own variable.  in_axes: None for an
    argument that is the same for all examples, whatever its shape; a tuple has an entry for each argument.  backend,
    threads, verify: see `compile`, which says what f may do.  Given Values, or inside another derivative, it runs f for
    each example, which records; else Values that f knows from elsewhere count as numbers.

    Raises ShapeError when the numbers of examples differ, DomainError where f does, and names the example.

    >>> from tinygrad_vi import grad, sin
    >>> slope = vmap(grad(lambda x, a: sin(a * x), argnums=0), backend="numpy")
    >>> slope([0.0, 1.0], [2.0, 0.0]).tolist(), slope([0.0, 0.0, 0.0], 3.0).tolist()
    ([2.0, 0.0], [3.0, 3.0, 3.0])
    """
    if not callable(f):
        raise TypeError(f"vmap takes a function, got {f!r:.60}")
    known: dict[tuple[Column, ...], Compiled] = {}

    def mapped(*arguments: Any, **named: Any) -> Any:
        import numpy as np

        arguments = bound(f, arguments, named) if named else arguments
        axes = _axes(in_axes, len(arguments))
        names = argument_names(f, len(arguments))
        if values_in(arguments) or differentiating():  # there f may know Values from elsewhere: lambda x: w * x
            return _recorded(f, arguments, axes, names)
        columns, data = [], []
        for x, axis, name in zip(arguments, axes, names, strict=True):
            column, given = _column(x, axis, name)
            columns.append(column)
            data += given
        key = tuple(columns)
        core = known.get(key)
        if core is None:
            core = known[key] = Compiled(_arranged(f, key), None, backend, threads, verify, None, None)
        N = next((len(x) for x, of_all in data if not of_all), None)
        if N is None:
            raise ShapeError("vmap maps over examples, and no argument has an entry for each: call the function itself")
        tables = [np.broadcast_to(x, (N, *np.shape(x))) if of_all else x for x, of_all in data]
        found, nest = core.examples(tables)
        return _nested(nest, found)

    mapped.__wrapped__ = f  # type: ignore[attr-defined]
    return mapped


def _axes(in_axes: Axes, count: int) -> Sequence[int | None]:
    axes: Sequence[Any] = in_axes if isinstance(in_axes, (tuple, list)) else (in_axes,) * count
    if len(axes) != count:
        raise ValueError(f"in_axes={in_axes!r} has an entry for each argument, and there are {count} arguments")
    for axis in axes:
        if axis is not None and (isinstance(axis, bool) or axis != 0):
            raise ValueError(f"in_axes is 0, or None for what is the same for all, got {axis!r}: move it, np.moveaxis")
    return axes


def _column(x: Any, axis: int | None, name: str) -> tuple[Column, list[tuple[Any, bool]]]:
    """How an argument is made of columns; and these, with whether each is the same for all examples."""
    if axis is None:
        numbers, tree = flatten(x, name)
        return Column(tree, tuple([f"{name}_{k}" for k in range(len(numbers))])), [(float(v), True) for v in numbers]
    column, inside = column_of(x, name)
    return column, [(entry, is_number(entry)) for entry in inside]


def _arranged(f: Callable[..., Any], columns: Sequence[Column]) -> Callable[..., Any]:
    """f as a function of no parameters and of the columns."""
    of_each = of_columns(f, columns)
    names = [name for column in columns for name in column.names]
    return standing_for(f, lambda _theta, *row: of_each(*row), ["theta_", *names])


def _nested(nest: Any, found: Any) -> Any:
    """Results of all examples, of shape (N, results), nested like those of one."""
    leaves, tree = flatten(nest([0.0] * found.shape[1]), numbers_only=False)
    shapes = tuple([x.shape if is_array(x) else None for x in leaves])
    return Arrangement((0,), 1, True, tree, shapes).like(found)


def _recorded(f: Callable[..., Any], arguments: Sequence[Any], axes: Sequence[int | None], names: Sequence[str]) -> Any:
    """The function run for each example."""
    import numpy as np

    places = [i for i, axis in enumerate(axes) if axis == 0]
    results = []
    with differentiable():
        for row in by_example([arguments[i] for i in places], [names[i] for i in places]):
            example = dict(zip(places, row, strict=True))
            results.append(flatten(f(*[example.get(i, x) for i, x in enumerate(arguments)]), "the result"))
    matrix = np.empty((len(results), len(results[0][0])), dtype=object)
    for i, (numbers, _) in enumerate(results):
        matrix[i] = numbers
    return _nested(results[0][1], matrix if values_in(matrix) else matrix.astype(float))
