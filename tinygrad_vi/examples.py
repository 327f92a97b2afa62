"""Examples: what `fit`, `predict` and compiled functions accept as data, and the two forms that they make of it.

Users bring lists, tuples, NumPy arrays and data frames.  Scalar code reads an example as lists (`to_lists`,
`as_values`); compiled code reads all examples as one array (`Table`, `as_table`).  What holds no numbers is refused
here, before anything is computed.
"""

from __future__ import annotations

import math
import operator
import random
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any

from tinygrad_vi.checks import ONE_EXAMPLE, ShapeError, plain, whole_number
from tinygrad_vi.on_disk import OnDisk, mapping_of, parts
from tinygrad_vi.value import Value

#: refused as examples: a dictionary would give its keys, a set has no order, a text or bytes are one thing
NO_LISTS = (str, bytes, bytearray, Mapping, Set)
#: kinds of NumPy arrays that hold no numbers
NO_NUMBERS = {"c": "complex numbers", "U": "text", "S": "text", "M": "dates", "m": "times", "V": "records"}


# --- Order: batches, classes, seeds -----------------------------------------------------------------------------------


def batches_of_rows(
    n: int, batch_size: int | None = None, seed: Any = None, classes: Sequence[Any] | None = None
) -> list[list[int]]:
    """The numbers 0 to n - 1 in mini-batches, shuffled by the seed.

    classes: the class of each example; every mini-batch then holds each class in its share.

    >>> batches_of_rows(5, batch_size=2)
    [[0, 1], [2, 3], [4]]
    """
    size = n if batch_size is None else whole_number(batch_size, "batch_size (None for all examples)")
    order = list(range(n))
    if seed is not None:
        random_numbers(seed).shuffle(order)
    if classes is not None:
        order = _spread(order, classes)
    return [order[i : i + size] for i in range(0, n, size)]


def order_of_rows(n: int, seed: Any = None, classes: Sequence[Any] | None = None) -> Sequence[int]:
    """The order in which `batches_of_rows` takes the numbers, in eight bytes for each; a range where it is theirs.

    >>> order_of_rows(5), list(order_of_rows(5, seed=0))
    (range(0, 5), [2, 1, 0, 4, 3])
    """
    if seed is None and classes is None:
        return range(n)
    order: Any = array("q", range(n))
    if seed is not None:
        random_numbers(seed).shuffle(order)
    return order if classes is None else _spread(order, classes)


def _spread(order: Sequence[int], classes: Sequence[Any]) -> list[int]:
    """The order, changed so that the examples of each class lie at equal distances and keep their own order."""
    members: dict[Any, list[int]] = {}
    for i in order:
        members.setdefault(classes[i], []).append(i)
    places = [((k + 0.5) / len(rows), rows[k]) for rows in members.values() for k in range(len(rows))]
    return [i for _, i in sorted(places, key=lambda place: place[0])]


def classes_of(stratify: Any, n: int) -> list[Any]:
    """The class of each example as a list.

    Raises ShapeError when there are not n of them, TypeError for an entry that is no class.
    """
    classes = to_lists(stratify)
    if len(classes) != n:
        raise ShapeError(f"stratify gives a class for each of the {n} examples, got {len(classes)}")
    classes = [tuple(c) if isinstance(c, list) else c for c in classes]  # one-hot rows
    for i, c in enumerate(classes):
        if not isinstance(c, (str, Real, tuple)) or c != c:
            raise TypeError(f"stratify[{i}] is {c!r:.60}, which is no class: give numbers or names, such as y")
    return classes


def plain_seed(seed: Any) -> Any:
    """The seed as Python's `random` accepts it: a whole number of NumPy becomes an int.

    Raises TypeError for what is no seed.

    >>> plain_seed(7), plain_seed("7, epoch 1"), plain_seed(None)
    (7, '7, epoch 1', None)
    """
    if hasattr(seed, "__index__"):
        return operator.index(seed)
    if seed is None or isinstance(seed, (float, str, bytes, bytearray)):
        return seed
    raise TypeError(f"a seed is a whole number, a text or None, got {seed!r:.60} of type {type(seed).__name__}")


def random_numbers(seed: Any) -> random.Random:
    """The random numbers of a seed."""
    return random.Random(plain_seed(seed))


# --- Checks -----------------------------------------------------------------------------------------------------------


def check_examples(X: Sequence[Any], y: Sequence[Any] | None) -> None:
    """Raise ShapeError when X is empty or X and y differ in length, ValueError for an infinity or NaN in them."""
    if not len(X):
        raise ShapeError("there are no examples: X is empty")
    if y is not None and len(X) != len(y):
        hint = f": {ONE_EXAMPLE}" if len(y) == 1 or isinstance(X[0], Real) else ""
        raise ShapeError(f"X and y must have one entry for each example, got {len(X)} and {len(y)}{hint}")
    for name, table in (("X", X), ("y", [] if y is None else y)):
        if is_array(table):
            _check_finite_array(table, name)
            continue
        for i, entry in enumerate(table):
            _check_finite(entry, f"{name}[{i}]")


def _check_finite_array(X: Any, name: str) -> None:
    """The same for an array, some megabytes at a time."""
    import numpy as np

    if X.dtype.kind != "f":
        return
    rows = OnDisk(X) if mapping_of(X) is not None else X
    for part in parts(X):
        numbers = rows[part.start : part.stop]
        if not np.isfinite(numbers).all():
            i, *inside = np.argwhere(~np.isfinite(numbers))[0].tolist()
            place = "".join([f"[{k}]" for k in (part.start + i, *inside)])
            _check_finite(numbers[(i, *inside)].item(), f"{name}{place}")
    if isinstance(rows, OnDisk):
        rows.let_go()


def _check_finite(x: Any, place: str) -> None:
    if isinstance(x, (list, tuple)):
        for i, entry in enumerate(x):
            if entry.__class__ is not float or not math.isfinite(entry):  # most entries need no call
                _check_finite(entry, f"{place}[{i}]")
    elif isinstance(x, Real) and not math.isfinite(x):
        raise ValueError(f"{place} is {x}: leave the example out or fill the gap before training")


# --- As lists, for scalar code ----------------------------------------------------------------------------------------


def to_lists(X: Any) -> Any:
    """The examples as a list of lists, from a list, NumPy array, tuple, range or data frame.

    Raises TypeError for what is no list of examples, such as a dictionary.
    """
    X = plain(X.to_numpy() if hasattr(X, "to_numpy") else X)
    if not isinstance(X, Iterable) or isinstance(X, NO_LISTS):
        raise TypeError(f"examples come as a list or an array, one entry for each, got {X!r:.60}")
    return list(map(plain, X))


def is_array(X: Any) -> bool:
    """Whether it is an array of NumPy, in memory or in a file, that holds numbers and has a row for each example."""
    if not hasattr(X, "dtype"):
        return False
    import numpy as np

    return X.__class__ in (np.ndarray, np.memmap) and X.ndim > 0 and X.dtype.kind in "fiub"


class ArrayRows(Sequence[Any]):
    """The examples of an array as a loss gets them, one at a time: rows are arrays, and numbers are Python's."""

    def __init__(self, X: Any) -> None:
        self.rows = OnDisk(X) if mapping_of(X) is not None else X

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: Any) -> Any:
        row = self.rows[i]
        return row if row.shape else row.item()

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))

    @property
    def numbers(self) -> Any:
        """The array, as numbers in double precision where it is in memory."""
        import numpy as np

        return self.rows if isinstance(self.rows, OnDisk) else np.asarray(self.rows, dtype=float)


def rows_of(X: Any, lists: list[Any]) -> list[Any]:
    """The examples as the user gave them: an example that was an array stays one.  lists: what `to_lists` made of X."""
    X = X.to_numpy() if hasattr(X, "to_numpy") else X
    if getattr(X, "ndim", 1) > 1:
        return list(X)
    if isinstance(X, (list, tuple)):
        return [row if getattr(row, "shape", ()) != () else plain for row, plain in zip(X, lists, strict=True)]
    return lists


def numbers_only(X: Any, name: str) -> Any:
    """X itself; an array if it is a data frame, a list if it is another iterable.

    Raises TypeError when it holds anything but numbers.  NumPy would drop a mask or an imaginary part, and read text as
    numbers, without a word.

    >>> numbers_only([[1, 2.0]], "X")
    [[1, 2.0]]
    >>> numbers_only(["1.5"], "X")
    Traceback (most recent call last):
    TypeError: X[0] is text, '1.5': data are numbers, so give each thing a number
    """
    X = X.to_numpy() if hasattr(X, "to_numpy") else X
    if hasattr(X, "toarray"):
        raise TypeError(f"{name} is a sparse matrix: give {name}.toarray()")
    if isinstance(X, NO_LISTS) or not (isinstance(X, Iterable) or hasattr(X, "dtype")):
        raise TypeError(f"examples come as a list or an array, one entry for each, got {X!r:.60}")
    if not hasattr(X, "dtype"):
        X = X if isinstance(X, (list, tuple)) else list(X)
    check_numbers(X, name)
    return X


def check_numbers(x: Any, place: str) -> None:
    """Raise TypeError unless x is a number, or a list or an array of numbers.  place: how the error names x."""
    if x.__class__ is float or x.__class__ is int:
        return
    if isinstance(x, (list, tuple)):
        for i, entry in enumerate(x):
            if entry.__class__ is not float:  # most entries need no call
                check_numbers(entry, f"{place}[{i}]")
        return
    if hasattr(x, "dtype"):
        if hasattr(x, "mask"):
            raise TypeError(
                f"{place} is a masked array, whose mask would be lost: leave these examples out or fill them"
            )
        kind = getattr(x.dtype, "kind", "f")
        if kind in NO_NUMBERS:
            raise TypeError(f"{place} holds {NO_NUMBERS[kind]}, and data are numbers")
        if kind == "O":
            check_numbers(x.tolist(), place)
        return
    if not isinstance(x, (Real, Value)):
        text = isinstance(x, (str, bytes))
        what = "text" if text else f"a {type(x).__name__}"
        hint = ", so give each thing a number" if text else ""
        raise TypeError(f"{place} is {what}, {x!r:.60}: data are numbers{hint}")


def as_values(x: Any) -> Any:
    """An example as a loss gets it: floats become Values; whole numbers, lists and arrays keep their kind.

    >>> as_values([1.5, 2])
    [Value(data=1.5, grad=0.0), 2]
    """
    if isinstance(x, (list, tuple)):
        return [as_values(v) for v in x]
    if getattr(x, "shape", ()) != () and x.dtype.kind == "f":
        return _object_array(x)
    return Value(x) if isinstance(x, float) else x


def _object_array(x: Any) -> Any:
    values = x.astype(object)
    flat = values.reshape(-1)
    flat[:] = [Value(v) for v in flat]
    return flat.reshape(x.shape)


# --- As one array, for compiled code ----------------------------------------------------------------------------------


@dataclass(slots=True)
class Table:
    """The numbers of one argument for all examples.

    numbers: an array, or `OnDisk`, of which `rows` are taken.
    arrays: whether a loss gets an example as an array, or as lists.  given: the examples as the user gave them, which
    `fit` keeps; example i of this table is then ``given[order[i]]``.  target: whether they are targets, which the loss
    gets as plain numbers.
    """

    numbers: Any
    arrays: bool
    given: Any = None
    order: Sequence[int] | None = None
    target: bool = False

    def rows(self, rows: Sequence[int]) -> Table:
        """The table of some of the examples, in memory."""
        import numpy as np

        some = self.numbers[slice(rows.start, rows.stop) if isinstance(rows, range) else list(rows)]
        return replace(self, numbers=np.asarray(some, dtype=float), order=rows)

    def as_given(self, i: int) -> Any:
        """Example i as the function itself gets it."""
        if self.given is None:
            return as_values(self.numbers[i] if self.arrays else self.numbers[i].tolist())
        entry = self.given[i if self.order is None else self.order[i]]
        return entry if self.target else as_values(entry)


def as_table(X: Any, name: str) -> Table:
    """The numbers of all examples as one array; ShapeError where the examples have different shapes."""
    import numpy as np

    X = numbers_only(X, name) if X.__class__ is not np.ndarray or X.dtype.kind not in "fiub" else X
    arrays = hasattr(X, "dtype") or (len(X) > 0 and hasattr(X[0], "dtype"))
    try:
        numbers = np.asarray(X, dtype=float)
    except (TypeError, ValueError, OverflowError):
        raise ShapeError(
            f"{name} should be numbers with an entry for each example, all of one shape, got {X!r:.60}"
        ) from None
    return Table(numbers, arrays and numbers.ndim > 1)
