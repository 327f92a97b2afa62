"""vmap: a function of one example, for all of them at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tinygrad_vi.compiler.arguments import Arrangement, bound, by_example, is_number, standing_for
from tinygrad_vi.compiler.compiled import Compiled
from tinygrad_vi.derivatives import differentiable, differentiating
from tinygrad_vi.ops import ShapeError
from tinygrad_vi.trees import LEAF, argument_names, entries, flatten, is_array, one_level, values_in

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
    known: dict[tuple[_Column, ...], Compiled] = {}

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
            core = known[key] = Compiled(_arranged(f, key), None, backend, threads, verify)
        N = next((len(x) for x, of_all in data if not of_all), None)
        if N is None:
            raise ShapeError("vmap maps over examples, and no argument has an entry for each: call the function itself")
        tables = [np.broadcast_to(x, (N, *np.shape(x))) if of_all else x for x, of_all in data]
        found, nest = core.examples(tables)
        return _nested(nest, found)

    mapped.__wrapped__ = f  # type: ignore[attr-defined]
    return mapped


@dataclass(frozen=True)
class _Column:
    """How one argument is made of the columns of data: a tree of so many, or one column alone."""

    tree: Any
    count: int


def _axes(in_axes: Axes, count: int) -> Sequence[int | None]:
    axes: Sequence[Any] = in_axes if isinstance(in_axes, (tuple, list)) else (in_axes,) * count
    if len(axes) != count:
        raise ValueError(f"in_axes={in_axes!r} has an entry for each argument, and there are {count} arguments")
    for axis in axes:
        if axis is not None and (isinstance(axis, bool) or axis != 0):
            raise ValueError(f"in_axes is 0, or None for what is the same for all, got {axis!r}: move it, np.moveaxis")
    return axes


def _is_record(x: Any) -> bool:
    """Whether it holds columns by name."""
    return isinstance(x, dict) or hasattr(x, "_fields") or hasattr(type(x), "__dataclass_fields__")


def _column(x: Any, axis: int | None, name: str) -> tuple[_Column, list[tuple[Any, bool]]]:
    """How an argument is made of columns; and these, with whether each is the same for all examples."""
    if axis is None:
        numbers, tree = flatten(x, name)
        return _Column(tree, len(numbers)), [(float(v), True) for v in numbers]
    if not _is_record(x):
        return _Column(LEAF, 1), [(x, is_number(x))]
    columns, tree = one_level(x)
    for key, inside in entries(x):
        if _is_record(inside):
            kind = type(inside).__name__
            raise TypeError(f"{name} holds columns by name, and {key} is a {kind} of its own: give a flat one")
    return _Column(tree, len(columns)), [(column, is_number(column)) for column in columns]


def _arranged(f: Callable[..., Any], columns: Sequence[_Column]) -> Callable[..., Any]:
    """f as a function of no parameters and of the columns."""

    def arranged(_theta: Any, *row: Any) -> Any:
        rest = iter(row)
        return f(*[column.tree.arguments([next(rest) for _ in range(column.count)]) for column in columns])

    named = zip(argument_names(f, len(columns)), columns, strict=True)
    names = [f"{name}_{k}" if column.count > 1 else name for name, column in named for k in range(column.count)]
    return standing_for(f, arranged, names, "theta_")


def _nested(nest: Any, found: Any) -> Any:
    """Results of all examples, of shape (N, results), nested like those of one."""
    leaves, tree = flatten(nest([0.0] * found.shape[1]), numbers_only=False)
    shapes = tuple([x.shape if is_array(x) else None for x in leaves])
    return Arrangement((0,), 1, True, tree, shapes).like(found)


def _recorded(f: Callable[..., Any], arguments: Sequence[Any], axes: Sequence[int | None], names: Sequence[str]) -> Any:
    """The function run for each example."""
    import numpy as np

    places = [i for i, axis in enumerate(axes) if axis == 0]
    parts = {i: one_level(arguments[i]) if _is_record(arguments[i]) else ([arguments[i]], LEAF) for i in places}
    results = []
    with differentiable():
        for row in by_example(
            [x for i in places for x in parts[i][0]], [names[i] for i in places for _ in parts[i][0]]
        ):
            rest = iter(row)
            example = {i: tree.arguments([next(rest) for _ in inside]) for i, (inside, tree) in parts.items()}
            results.append(flatten(f(*[example.get(i, x) for i, x in enumerate(arguments)]), "the result"))
    matrix = np.empty((len(results), len(results[0][0])), dtype=object)
    for i, (numbers, _) in enumerate(results):
        matrix[i] = numbers
    return _nested(results[0][1], matrix if values_in(matrix) else matrix.astype(float))
