"""How the arguments of a compiled function are arranged: which are differentiated by, which are data.

The passes of the compiler know functions of a vector theta and of rows of data.  What the user's function takes instead
(several numbers, a dictionary, a dataclass, `argnums`) is arranged around that, and results are nested like it.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tinygrad_vi.checks import ONE_EXAMPLE, ShapeError
from tinygrad_vi.examples import Table
from tinygrad_vi.trees import LEAF, Tree, argument_names, check_flat, entries, flatten, is_array, one_level
from tinygrad_vi.value import Value


def is_number(x: Any) -> bool:
    """Whether it is one number: as data it is the same for every example."""
    return isinstance(x, (int, float)) or getattr(x, "shape", None) == ()


class AsTheyAre:
    """The arrangement of arguments that are theta and data already."""

    def vector(self, v: Any) -> Any:
        """The same."""
        return v

    like = twice = flat = vector


@dataclass(frozen=True)
class Arrangement:
    """Which arguments are differentiated by, and how their numbers stand in theta.

    places: of these arguments, among ``count``.  single: whether results are like the only one, and no tuple.  tree:
    their structure, in which an array is a leaf.  shapes: of each leaf; None for a number.
    """

    places: tuple[int, ...]
    count: int
    single: bool
    tree: Tree
    shapes: tuple[tuple[int, ...] | None, ...]

    def function(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        """The function as one of theta and the other arguments."""

        def arranged(theta: Any, *rows: Any) -> Any:
            rest, chosen = iter(rows), dict(zip(self.places, self._chosen(theta), strict=True))
            return fn(*[chosen[i] if i in chosen else next(rest) for i in range(self.count)])

        names = argument_names(fn, self.count)
        return standing_for(fn, arranged, ["theta", *[name for i, name in enumerate(names) if i not in self.places]])

    def _chosen(self, theta: Any) -> Any:
        chosen = self.tree.arguments(self._leaves(theta))
        return (chosen,) if self.single else chosen

    def _leaves(self, numbers: Any) -> list[Any]:
        """The last axis of an array cut into the leaves."""
        leaves, start = [], 0
        for shape in self.shapes:
            if shape is None:
                leaves.append(numbers[..., start] if numbers.ndim > 1 else numbers[start])
                start += 1
            else:
                size = math.prod(shape)
                leaves.append(numbers[..., start : start + size].reshape(numbers.shape[:-1] + shape))
                start += size
        return leaves

    def vector(self, v: Any) -> list[Any]:
        """The numbers of a vector that is nested like the arguments, or flat."""
        numbers, tree = flatten(v, "v")
        wanted = flatten(self.tree([0.0 if s is None else _zeros(s) for s in self.shapes]))[1]
        if not tree.fits(wanted):
            raise ShapeError(f"the arguments are nested like {wanted!s:.60}, v like {tree!s:.60}")
        return numbers

    def flat(self, theta: Any) -> Any:
        """The same numbers, if there is but one order for them; else TypeError."""
        check_flat(flatten(self.tree([0.0 if s is None else _zeros(s) for s in self.shapes]))[1], "the arguments are")
        return theta

    def like(self, numbers: Any) -> Any:
        """Derivatives, whose last axis goes over theta, nested like the arguments: numbers as floats."""
        leaves = self._leaves(numbers)
        return self.tree([x if is_array(x) or isinstance(x, Value) else float(x) for x in leaves])

    def twice(self, matrix: Any) -> Any:
        """A Hessian, nested like the arguments, and each entry like them again."""
        columns = self._leaves(matrix.T)  # the rows of the matrix stand last
        return self.tree([self.like(column) if column.ndim == 1 else self._rows(column) for column in columns])

    def _rows(self, column: Any) -> Any:
        """Of an array leaf: the axis of theta, which stands first, goes last."""
        import numpy as np

        return self.like(np.moveaxis(column, 0, -1))


def _zeros(shape: tuple[int, ...]) -> Any:
    import numpy as np

    return np.zeros(shape)


def standing_for(fn: Callable[..., Any], arranged: Callable[..., Any], names: Sequence[str]) -> Callable[..., Any]:
    """The function of other arguments that stands for fn: it bears its name, and its arguments have these names."""
    of = [name if name.isidentifier() and name not in names[:i] else f"x{i}" for i, name in enumerate(names)]
    kind = inspect.Parameter.POSITIONAL_ONLY
    arranged.__signature__ = inspect.Signature([inspect.Parameter(n, kind) for n in of])  # type: ignore[attr-defined]
    arranged.__wrapped__ = fn  # type: ignore[attr-defined]
    arranged.__name__ = getattr(fn, "__name__", type(fn).__name__)
    return arranged


def arrange(
    fn: Callable[..., Any], arguments: Sequence[Any], places: Sequence[int], single: bool
) -> tuple[Arrangement, Any, list[Any]]:
    """The arrangement for what was given, with theta and the data.  TypeError for what is no number, with its place."""
    import numpy as np

    def called() -> str | list[str]:
        names = argument_names(fn, len(arguments))
        chosen = [names[i] for i in places]
        return chosen[0] if single else chosen

    chosen = tuple([arguments[i] for i in places])
    given = chosen[0] if single else chosen
    numbers, _ = flatten(given, called)
    leaves, tree = flatten(given, numbers_only=False)
    try:
        hash(tree)
    except TypeError as error:
        raise TypeError(f"a static field of a dataclass that is compiled is compared by its hash: {error}") from None
    shapes = tuple([x.shape if is_array(x) else None for x in leaves])
    data = [x for i, x in enumerate(arguments) if i not in places]
    return Arrangement(tuple(places), len(arguments), single, tree, shapes), np.array(numbers, dtype=float), data


def bound(fn: Callable[..., Any], arguments: Sequence[Any], named: dict[str, Any]) -> tuple[Any, ...]:
    """Arguments of which some were given by name, in the order of the function.  TypeError, as the function raises."""
    found = inspect.signature(fn).bind(*arguments, **named)
    if found.kwargs:
        name = next(iter(found.kwargs))
        raise TypeError(
            f"a compiled function has no argument by the name {name!r} that could be data: write it as an ordinary "
            f"argument of the function, or bind it, compile(functools.partial(f, {name}=...))"
        )
    return found.args


def mapped(data: Sequence[Any]) -> bool:
    """Whether any argument has an entry for each example."""
    return not all(map(is_number, data))


# --- Columns by name --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Column:
    """How one argument is made of the columns of data: a tree of those with these names, or one column alone."""

    tree: Tree
    names: tuple[str, ...]


def is_record(x: Any) -> bool:
    """Whether it holds columns by name."""
    if isinstance(x, (Table, float, int)):
        return False
    return isinstance(x, dict) or hasattr(x, "_fields") or hasattr(type(x), "__dataclass_fields__")


def column_of(x: Any, name: str) -> tuple[Column, list[Any]]:
    """How an argument is made of columns; and these."""
    if not is_record(x):
        return Column(LEAF, (name,)), [x]
    inside, tree = one_level(x)
    for key, entry in entries(x):
        if is_record(entry):
            kind = type(entry).__name__
            raise TypeError(f"{name} holds columns by name, and {key} is a {kind} of its own: give a flat one")
    return Column(tree, tuple([f"{name}_{key}" for key, _ in entries(x)])), inside


def of_columns(fn: Callable[..., Any], columns: Sequence[Column]) -> Callable[..., Any]:
    """The function of as many arguments as there are columns in all."""

    def arranged(*row: Any) -> Any:
        rest = iter(row)
        return fn(*[column.tree.arguments([next(rest) for _ in column.names]) for column in columns])

    return standing_for(fn, arranged, [name for column in columns for name in column.names])


def by_example(data: Sequence[Any], names: Sequence[str]) -> list[list[Any]]:
    """The rows of data that may hold Values; numbers are the same in all."""
    found = [column_of(x, name) for x, name in zip(data, names, strict=True)]
    each = [(name, x) for column, inside in found for name, x in zip(column.names, inside, strict=True)]
    sizes = {name: len(x) for name, x in each if hasattr(x, "__len__")}
    if len({*sizes.values()}) > 1:
        hint = f": {ONE_EXAMPLE}" if 1 in sizes.values() else ""
        raise ShapeError(f"the numbers of examples differ: {', '.join(f'{n} has {k}' for n, k in sizes.items())}{hint}")
    count = next(iter(sizes.values()), 1)
    if not count:
        raise ShapeError(f"there are no examples: {next(iter(sizes))} is empty")
    return [
        [column.tree.arguments([x[i] if hasattr(x, "__len__") else x for x in inside]) for column, inside in found]
        for i in range(count)
    ]
