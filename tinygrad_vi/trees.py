"""Trees: numbers nested in lists, tuples, dictionaries, named tuples, dataclasses and NumPy arrays.

Derivatives, compiled functions, models and optimisers take numbers in any nesting: all of them use this module.
`flatten` takes a tree apart into its numbers and its structure, a `Tree`, which puts as many others in their places:

    {"mu": 0.0, "scale": [1.0, 2.0]}   ->   [0.0, 1.0, 2.0]   and   {"mu": x, "scale": [x, x]}

A structure is a list of steps in postfix order, so that nothing recurses.  A step that is a whole number n puts the
next n numbers on a stack; a container takes its entries from the top of it.  NumPy is not imported for it.
"""

from __future__ import annotations

import inspect
import math
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields
from functools import lru_cache
from itertools import islice
from numbers import Real
from typing import Any

from tinygrad_vi.checks import ShapeError, number
from tinygrad_vi.value import VALUES, Value

#: how many entries, what puts them together, and what that must know
Container = tuple[int, Callable[[list[Any], Any, bool], Any], Any]

QUICK = {float, *VALUES}
NUMBERS = {int, *QUICK}
NUMERIC = {int, float}
#: gives the name of an argument, or those of several, whose tuple the tree is; asked only when there is an error
Names = Callable[[], "str | list[str]"]


class Tree:
    """How numbers are nested: ``tree(numbers)`` nests as many others, or whatever is given for them, the same way.

    Two are equal that have the same containers with the same keys.

    >>> numbers, tree = flatten({"mu": 0.0, "scale": [1.0, 2.0]})
    >>> numbers, tree([3.0, 4.0, 5.0]), str(tree)
    ([0.0, 1.0, 2.0], {'mu': 3.0, 'scale': [4.0, 5.0]}, "{'mu': x, 'scale': [x, x]}")
    """

    __slots__ = ("steps",)

    def __init__(self, steps: Iterable[int | Container]) -> None:
        self.steps = tuple(steps)

    def __call__(self, numbers: Iterable[Any]) -> Any:
        """The numbers in their places.  No ``__post_init__`` of a dataclass runs: a derivative need not be legal."""
        return self._built(numbers, False)

    def arguments(self, numbers: Iterable[Any]) -> Any:
        """The same for a function to compute with: a ``__post_init__`` runs, on these numbers."""
        return self._built(numbers, True)

    def _built(self, numbers: Iterable[Any], initialised: bool) -> Any:
        rest = iter(numbers)
        done: list[Any] = []
        for step in self.steps:
            if step.__class__ is int:
                done.extend(islice(rest, step))
            else:
                n, make, detail = step  # type: ignore[misc]
                start = len(done) - n
                done[start:] = (make(done[start:], detail, initialised),)
        return done[0]

    def outer(self, inner: Tree, rows: Sequence[Sequence[Any]]) -> Any:
        """A matrix, with a row for each number of this tree, nested like it, and each row like another tree.

        An array of shape s here and one of shape t there make one of shape (*s, *t), as in JAX: of an array the result
        is nested like the other tree.

        >>> flatten([0.0, 0.0])[1].outer(flatten({"a": 0.0})[1], [[1.0], [2.0]])
        [{'a': 1.0}, {'a': 2.0}]
        """
        done: list[Any] = []
        at = 0

        def nested(x: Any) -> Any:
            return inner(rows[x]) if x.__class__ is int else x

        for step in self.steps:
            if step.__class__ is int:
                done.extend(range(at, at + step))  # the places of rows
                at += step
            else:
                n, make, detail = step  # type: ignore[misc]
                start = len(done) - n
                inside = done[start:]
                if make is _array and {*map(type, inside)} <= {int}:
                    done[start:] = (inner._over([rows[i] for i in inside], detail),)
                else:
                    done[start:] = (make([*map(nested, inside)], detail, False),)
        return nested(done[0])

    def _over(self, rows: Sequence[Sequence[Any]], shape: tuple[int, ...]) -> Any:
        """This tree with an array of the shape for each of its numbers: a row holds the entries at one place."""
        size = sum(step for step in self.steps if isinstance(step, int))
        matrix = _array([x for row in rows for x in row], (*shape, size), False)
        done: list[Any] = []
        at = last = 0
        for step in self.steps:
            if isinstance(step, int):
                done.extend(matrix[..., i] for i in range(at, at + step))
                at += step
                last = step
            else:
                n, make, detail = step
                start = len(done) - n
                if make is _array and n <= last:  # it holds numbers only
                    done[start:] = (matrix[..., at - n : at].reshape(shape + detail),)
                else:
                    done[start:] = (make(done[start:], detail, False),)
                last = 0
        return done[0]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tree) and self.steps == other.steps

    def __hash__(self) -> int:
        return hash(self.steps)

    def __str__(self) -> str:
        """As Python writes it; tuples and arrays as lists."""
        done: list[str] = []
        for step in self.steps:
            if isinstance(step, int):
                done += ["x"] * step
            else:
                n, make, detail = step
                start = len(done) - n
                done[start:] = [_text(done[start:], make, detail)]
        return done[0]

    def fits(self, other: Tree) -> bool:
        """Whether numbers have the same places: a list, a tuple and an array may stand for each other."""
        return self == other or str(self) == str(other)


LEAF = Tree([1])


def flatten(x: Any, of: Names | str = "", *, numbers_only: bool = True) -> tuple[list[Any], Tree]:
    """The numbers and Values of a tree, in order, and its structure.

    of: how errors call the tree, or a function that gives this name.
    numbers_only: False if anything that is no container may be a leaf.

    Raises TypeError for what is no number, with its place, and ShapeError for a container that contains itself.

    >>> flatten([1.0, (2, [3.0])])[0]
    [1.0, 2, 3.0]
    >>> flatten({"scale": [1.0, "2"]}, "params")
    Traceback (most recent call last):
    TypeError: a derivative takes numbers or Values, got '2' of type str for params['scale'][1]
    """
    kind = x.__class__
    if kind in QUICK:
        return [x], LEAF
    if (kind is tuple or kind is list) and x and QUICK.issuperset(map(type, x)):  # flat lists, the usual case
        return list(x), _flat(_list if kind is list else _tuple, len(x))
    if kind.__name__ == "ndarray" and numbers_only and is_array(x) and x.dtype.char == "d":
        return x.ravel().tolist(), _flat(_array, x.size, x.shape)
    leaves: list[Any] = []
    steps: list[Any] = []
    around: set[int] = set()  # containers that are open
    stack: list[Any] = [x]
    while stack:
        entry = stack.pop()
        kind = entry.__class__
        if kind is _End:
            around.discard(entry.id)
            steps.append(entry.container)
            continue
        found = None if kind in NUMBERS else _opened(entry, numbers_only)
        if found is None:
            leaves.append(entry)
            if steps and steps[-1].__class__ is int:
                steps[-1] += 1
            else:
                steps.append(1)
            continue
        entries, make, detail = found
        container = len(entries), make, detail
        if entries and NUMBERS.issuperset(map(type, entries)):  # it holds numbers only, the usual case
            leaves += entries
            steps += (len(entries), container)
            continue
        if id(entry) in around:
            raise ShapeError(f"a {kind.__name__} contains itself{_for(of)}, so its numbers have no end: give a copy")
        around.add(id(entry))
        stack.append(_End(id(entry), container))
        stack += reversed(entries)
    if numbers_only and not NUMBERS.issuperset(map(type, leaves)):
        _check(x, leaves, of)
    return leaves, Tree(steps) if steps != [1] else LEAF


@lru_cache(1000)
def _flat(make: Any, n: int, detail: Any = None) -> Tree:
    return Tree([n, (n, make, detail)])


def _check(x: Any, leaves: list[Any], of: Names | str) -> None:
    """Raise the TypeError for the first leaf that is no number."""
    for i, leaf in enumerate(leaves):
        if isinstance(leaf, Value):
            continue
        try:
            if is_array(leaf):
                raise TypeError(f"a derivative takes numbers or Values, got an array of {leaf.dtype}")
            number(leaf, "a derivative")
        except TypeError as error:
            where = place(x, i, of)
            advice = ""
            if callable(of) and where.isidentifier():
                advice = ". Name those to differentiate by, argnums=0 or argnums=(0, 1), or give it as a keyword"
            elif callable(of):
                advice = (
                    ". Give it as an argument of its own, which argnums leaves out; in a dataclass a field that is no "
                    'number is declared field(metadata={"static": True})'
                )
            raise TypeError(f"{error}{_for(where)}{advice}") from None


class _End:
    """A mark on the stack of `flatten`: here a container ends."""

    __slots__ = ("container", "id")

    def __init__(self, id: int, container: Container) -> None:
        self.id, self.container = id, container


def leaves_of(x: Iterable[Any]) -> list[Any]:
    """The leaves of a tree, or the entries of any other iterable.

    >>> leaves_of({"w": [1.0, 2.0], "b": 3.0}), leaves_of(iter("ab"))
    ([1.0, 2.0, 3.0], ['a', 'b'])
    """
    return flatten(x if _opened(x) is not None else list(x), numbers_only=False)[0]


def distinct_leaves(values: Iterable[Any], whose: str) -> list[Value]:
    """Values that can be moved, each once: none is the result of an operation.

    whose: how errors begin: "an optimiser moves".  Raises TypeError for what is no Value, ValueError for a result.
    """
    values = list(values)
    for p in values:
        if not isinstance(p, Value):
            raise TypeError(f"{whose} Values, got {p!r:.60} of type {type(p).__name__}")
        if p.parents:
            raise ValueError(f"{whose} leaves, got the result of an operation: {p!r}")
    return list(dict.fromkeys(values))


def values_in(x: Any) -> list[Value]:
    """The Values of a tree that may hold anything else as well.

    >>> values_in({"w": [Value(1.0), "text"], "f": print})
    [Value(data=1.0, grad=0.0)]
    """
    if isinstance(x, Value):
        return [x]
    return [leaf for leaf in flatten(x, numbers_only=False)[0] if isinstance(leaf, Value)]


def with_numbers(x: Any, numbers: Callable[[Value], Any]) -> Any:
    """The tree with ``numbers(v)`` in the place of each Value v; its other leaves stay."""
    leaves, tree = flatten(x, numbers_only=False)
    if not any(isinstance(leaf, Value) for leaf in leaves):
        return x
    return tree.arguments([numbers(leaf) if isinstance(leaf, Value) else leaf for leaf in leaves])


def place(x: Any, i: int, of: Names | str = "") -> str:
    """How one writes leaf i of a tree: ``params['scale'][1]``."""
    root = of() if callable(of) else of
    stack = [*zip(root, x, strict=True)][::-1] if isinstance(root, list) else [(root, x)]
    while stack:
        path, entry = stack.pop()
        found = None if entry.__class__ in NUMBERS else _opened(entry)
        if found is None:
            if i == 0:
                return path
            i -= 1
        else:
            stack += reversed([(path + key, v) for key, v in _keyed(*found)])
    raise IndexError(i)


def entries(x: Any) -> list[tuple[str, Any]]:
    """What a container holds, by key, place or name of the field; nothing for a leaf.

    >>> entries({"a": 1.0, 3: "text"})
    [('a', 1.0), ('3', 'text')]
    """
    found = None if is_array(x) else _opened(x)
    if found is None:
        rows = x.tolist() if is_array(x) and x.dtype == object else []  # by rows, as one writes W[0][1]
        return [(str(k), row) for k, row in enumerate(rows)]
    inside, make, detail = found
    if make is _dictionary or make is _record:
        return [(str(key), v) for key, v in zip(detail[1], inside, strict=True)]
    return [(str(k), v) for k, v in enumerate(inside)]


def one_level(x: Any) -> tuple[list[Any], Tree]:
    """The entries of a container, whatever they are, and the structure that puts as many others in their places.

    >>> inside, tree = one_level({"a": [1.0, 2.0], "b": "text"})
    >>> inside, tree([3.0, 4.0])
    ([[1.0, 2.0], 'text'], {'a': 3.0, 'b': 4.0})
    """
    found = _opened(x)
    if found is None:
        raise TypeError(f"a container is wanted, got {x!r:.60}")
    inside, make, detail = found
    return list(inside), Tree([len(inside), (len(inside), make, detail)])


def check_flat(tree: Tree, of: str) -> None:
    """Raise TypeError unless the numbers have one order: a number alone, or a list, a tuple or an array of one axis.

    >>> check_flat(flatten([1.0, 2.0])[1], "x")
    """
    *inner, last = tree.steps
    if isinstance(last, int) or (not [step for step in inner if not isinstance(step, int)] and _is_flat(last)):
        return
    raise TypeError(
        f"a sparse matrix has a row for each result and a column for each argument, in their order, but {of} nested "
        f"like {tree!s:.60}: return one flat list, y.ravel() of an array; take one flat vector and arrange it inside "
        "of the function, lambda v: f({'a': v[0], 'b': v[1:]}), lambda v: f(v.reshape(2, 3)); argnums=0 leaves other "
        "arguments out. Or leave out sparse=True, and the derivatives are nested likewise"
    )


def _is_flat(container: Container) -> bool:
    _, make, detail = container
    return make is _list or make is _tuple or (make is _array and len(detail) == 1)


def argument_names(f: Any, count: int) -> list[str]:
    """The names of the first positional arguments of a function: by its signature, else ``argument 0``."""
    try:
        parameters = list(inspect.signature(f).parameters.values())
    except (TypeError, ValueError):
        parameters = []
    named = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)][:count]
    rest = next((p.name for p in parameters if p.kind is p.VAR_POSITIONAL), None)
    beyond = range(len(named), count)
    return named + [f"{rest}[{k - len(named)}]" if rest else f"argument {k}" for k in beyond]


def _for(place: Any) -> str:
    return f" for {place}" if isinstance(place, str) and place else ""


# --- Containers: what each holds, and how it is put together again ----------------------------------------------------


def is_array(x: Any) -> bool:
    """Whether it is a NumPy array with at least one axis."""
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(x, numpy.ndarray) and x.ndim > 0


def _opened(
    x: Any, plain_arrays: bool = True
) -> tuple[Sequence[Any], Callable[[list[Any], Any, bool], Any], Any] | None:
    """The entries of a container, what puts as many others together, and what that must know; None for a leaf.

    plain_arrays: whether an array of plain numbers is a container, too.
    """
    if isinstance(x, list):
        return x, _list, None
    if isinstance(x, tuple):
        return x, _tuple, getattr(type(x), "_make", None)
    if isinstance(x, dict):
        return list(x.values()), _dictionary, (type(x), tuple(x))
    if is_array(x):
        kind = x.dtype.kind
        if not (kind == "O" or (plain_arrays and kind in "fiub")):
            return None
        flat = x.ravel()
        if flat.ndim > 1:
            raise TypeError("a np.matrix multiplies in a way of its own: give np.asarray(x), and @ for products")
        return flat.tolist(), _array, x.shape
    if isinstance(x, (Real, str, type)):
        return None
    if plain_arrays and hasattr(x, "__array__") and hasattr(x, "ravel") and getattr(x, "shape", ()) != ():
        return _opened(x.__array__())  # of another library
    if hasattr(type(x), "__dataclass_fields__") and not hasattr(x, "parameters"):
        own = [field for field in fields(x) if field.init]
        names = tuple(field.name for field in own if not field.metadata.get("static"))
        static = tuple((field.name, getattr(x, field.name)) for field in own if field.metadata.get("static"))
        return [getattr(x, name) for name in names], _record, (type(x), names, static)
    return None


def _keyed(inside: Sequence[Any], make: Any, detail: Any) -> Iterable[tuple[str, Any]]:
    """The entries of a container, and how one writes each behind the container's name."""
    if make is _dictionary:
        return [(f"[{key!r}]", v) for key, v in zip(detail[1], inside, strict=True)]
    if make is _record:
        return [(f".{name}", v) for name, v in zip(detail[1], inside, strict=True)]
    if make is _array and len(detail) > 1:
        places = sys.modules["numpy"].ndindex(*detail)
        return [(f"[{', '.join(map(str, at))}]", v) for at, v in zip(places, inside, strict=True)]
    if make is _tuple and detail is not None:
        return [(f".{name}", v) for name, v in zip(detail.__self__._fields, inside, strict=True)]
    return [(f"[{k}]", v) for k, v in enumerate(inside)]


def _list(inside: list[Any], detail: Any, initialised: bool) -> Any:  # noqa: ARG001
    return inside


def _tuple(inside: list[Any], make: Any, initialised: bool) -> Any:  # noqa: ARG001
    return tuple(inside) if make is None else make(inside)


def _dictionary(inside: list[Any], detail: Any, initialised: bool) -> Any:  # noqa: ARG001
    kind, keys = detail
    made = kind.__new__(kind)  # an OrderedDict, a defaultdict
    for key, v in zip(keys, inside, strict=True):
        made[key] = v
    return made


def _record(inside: list[Any], detail: Any, initialised: bool) -> Any:
    kind, names, static = detail
    made = object.__new__(kind)
    for name, v in (*zip(names, inside, strict=True), *static):
        object.__setattr__(made, name, v)  # frozen or not
    if initialised and hasattr(made, "__post_init__"):
        made.__post_init__()
    return made


def _array(inside: list[Any], shape: tuple[int, ...], initialised: bool) -> Any:  # noqa: ARG001
    import numpy as np  # the user's tree held an array, so NumPy is there

    kinds = {*map(type, inside)}
    if kinds <= NUMERIC:
        found = np.array(inside, dtype=float)
        return found if len(shape) == 1 else found.reshape(shape)
    if kinds.isdisjoint(VALUES):
        if all(isinstance(v, Real) for v in inside):
            return np.array(inside, dtype=float).reshape(shape)
        if all(isinstance(v, np.ndarray) and v.shape == inside[0].shape for v in inside):
            return np.stack(inside).reshape(*shape, *inside[0].shape)  # rows of a Jacobian
    from tinygrad_vi.arrays import array_of  # which imports NumPy

    return array_of(inside, shape)


def _text(inside: list[str], make: Any, detail: Any) -> str:
    if make is _array:
        for axis in range(len(detail) - 1, 0, -1):
            n = detail[axis]
            rows = math.prod(detail[:axis])
            inside = [f"[{', '.join(inside[i * n : (i + 1) * n])}]" for i in range(rows)]
    if make is _dictionary:
        return f"{{{', '.join(f'{key!r}: {v}' for key, v in zip(detail[1], inside, strict=True))}}}"
    if make is _record:
        return f"{detail[0].__name__}({', '.join(f'{k}={v}' for k, v in zip(detail[1], inside, strict=True))})"
    return f"[{', '.join(inside)}]"
