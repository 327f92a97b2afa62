"""Data: the small sets of the lessons, and how to take them in pieces.

Every set is a pair ``X, y`` of lists: a row of numbers for each example, and its target.
"""

from __future__ import annotations

import math
import operator
import random
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any, TypeVar

from tinygrad_vi.checks import ONE_EXAMPLE, ShapeError, whole_number
from tinygrad_vi.value import Value

Row = list[float]
T = TypeVar("T")

# --- In pieces --------------------------------------------------------------------------------------------------------


def minibatches(
    X: Sequence[Any], y: Sequence[Any] | None = None, batch_size: int | None = None, seed: Any = None
) -> list[tuple[list[Any], list[Any] | None]]:
    """The mini-batches of one epoch: ceil(n / batch_size) pairs (rows of X, their targets).

    Each example is in one of them, once; the last is shorter when batch_size does not divide n.  batch_size: None for
    one batch of all examples, 1 for single examples.  seed: shuffles; None keeps the order.

    Raises ShapeError for no examples or as many rows as there are no targets, ValueError for a batch size below 1.

    >>> minibatches([10, 20, 30], [1, 2, 3], batch_size=2)
    [([10, 20], [1, 2]), ([30], [3])]
    >>> [len(rows) for rows, _ in minibatches(range(1000), batch_size=128)]
    [128, 128, 128, 128, 128, 128, 128, 104]
    """
    X = to_lists(X)
    y = None if y is None else to_lists(y)
    check_examples(X, y)
    pieces = batches_of_rows(len(X), batch_size, seed)
    return [([X[i] for i in piece], None if y is None else [y[i] for i in piece]) for piece in pieces]


def batches_of_rows(
    n: int, batch_size: int | None = None, seed: Any = None, classes: Sequence[Any] | None = None
) -> list[list[int]]:
    """The numbers 0 to n - 1 in mini-batches, shuffled by the seed; with classes each class in its share of every one.

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


def _spread(order: Sequence[int], classes: Sequence[Any]) -> list[int]:
    """Another order, in which the examples of each class keep theirs and lie at equal distances."""
    members: dict[Any, list[int]] = {}
    for i in order:
        members.setdefault(classes[i], []).append(i)
    places = [((k + 0.5) / len(rows), rows[k]) for rows in members.values() for k in range(len(rows))]
    return [i for _, i in sorted(places, key=lambda place: place[0])]


def classes_of(stratify: Any, n: int) -> list[Any]:
    """The class of each example; ShapeError for another number of them, TypeError for what is no class."""
    classes = to_lists(stratify)
    if len(classes) != n:
        raise ShapeError(f"stratify gives a class for each of the {n} examples, got {len(classes)}")
    classes = [tuple(c) if isinstance(c, list) else c for c in classes]  # one-hot rows
    for i, c in enumerate(classes):
        if not isinstance(c, (str, Real, tuple)) or c != c:
            raise TypeError(f"stratify[{i}] is {c!r:.60}, which is no class: give numbers or names, such as y")
    return classes


def plain_seed(seed: Any) -> Any:
    """A seed that `random` takes: NumPy's whole numbers, which it does not, become an int.

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


def check_examples(X: Sequence[Any], y: Sequence[Any] | None) -> None:
    """Raise ShapeError for no examples or as many rows as there are no targets, ValueError for an infinity or NaN."""
    if not len(X):
        raise ShapeError("there are no examples: X is empty")
    if y is not None and len(X) != len(y):
        hint = f": {ONE_EXAMPLE}" * (len(y) == 1 or isinstance(X[0], Real))
        raise ShapeError(f"X and y must have one entry for each example, got {len(X)} and {len(y)}{hint}")
    for name, table in (("X", X), ("y", y or [])):
        for i, entry in enumerate(table):
            _check_finite(entry, f"{name}[{i}]")


def _check_finite(x: Any, place: str) -> None:
    if isinstance(x, (list, tuple)):
        for i, entry in enumerate(x):
            if entry.__class__ is not float or not math.isfinite(entry):  # the quick question first
                _check_finite(entry, f"{place}[{i}]")
    elif isinstance(x, Real) and not math.isfinite(x):
        raise ValueError(f"{place} is {x}: leave the example out or fill the gap before training")


def split(
    X: Sequence[Any], y: Sequence[Any], test: float = 0.2, seed: int = 0, stratify: Sequence[Any] | None = None
) -> tuple[list[Any], list[Any], list[Any], list[Any]]:
    """X_train, y_train, X_test, y_test: shuffled by the seed, a fraction ``test`` of the examples set aside.

    stratify: a class for each example, such as y: both parts then hold each class in its share, up to rounding.

    Raises ValueError unless both parts have an example, ShapeError for another number of classes.

    >>> X_train, y_train, X_test, y_test = split(range(10), range(10), test=0.3)
    >>> len(X_train), sorted(X_train + X_test) == list(range(10))
    (7, True)
    """
    X, y = to_lists(X), to_lists(y)
    check_examples(X, y)
    n = round(test * len(X))
    if not 0 < n < len(X):
        raise ValueError(f"test = {test!r} of {len(X)} examples leaves {n} to test and {len(X) - n} to train")
    classes = None if stratify is None else classes_of(stratify, len(X))
    [order] = batches_of_rows(len(X), None, seed, classes)
    X, y = [X[i] for i in order], [y[i] for i in order]
    return X[n:], y[n:], X[:n], y[:n]


def standardize(X: Sequence[Sequence[float]]) -> tuple[list[Row], Row, Row]:
    """Every column shifted and scaled to mean 0 and standard deviation 1; also the means and standard deviations.

    A column that is the same everywhere, or differs by no more than the rounding of its numbers, is only shifted: its
    deviation counts as 0.  Raises TypeError for what holds anything but numbers.

    >>> standardize([[1.0, 7.0], [3.0, 7.0]])
    ([[-1.0, 0.0], [1.0, 0.0]], [2.0, 7.0], [1.0, 0.0])
    """
    rows = to_lists(numbers_only(X, "X"))
    check_examples(rows, None)
    columns = list(zip(*rows, strict=True))
    # of a column that is the same everywhere rounding would leave a deviation
    means = [c[0] if min(c) == max(c) else math.fsum(c) / len(c) for c in columns]
    deviations = [_deviation(column, mean) for column, mean in zip(columns, means, strict=True)]
    scaled = [[(x - m) / (s or 1.0) for x, m, s in zip(row, means, deviations, strict=True)] for row in rows]
    return scaled, means, deviations


ROUNDING = 4.0 * 2.0**-52  # of numbers that went through a few operations, such as 0.1 + 0.2 for 0.3


def _deviation(column: Sequence[float], mean: float) -> float:
    """The standard deviation; 0 where the numbers differ by rounding alone."""
    if max(column) - min(column) <= ROUNDING * max(map(abs, column)):
        return 0.0
    return math.hypot(*[x - mean for x in column]) / math.sqrt(len(column))  # whatever their size


#: they can be iterated over, but a dictionary gives its keys, a set no order, and a text or bytes are one thing
NO_LISTS = (str, bytes, bytearray, Mapping, Set)


def to_lists(X: Any) -> Any:
    """A list of lists, whatever came: NumPy array, tuple, range, data frame.

    Raises TypeError for what is no list of examples, such as a dictionary.
    """
    X = X.to_numpy() if hasattr(X, "to_numpy") else X
    X = X.tolist() if hasattr(X, "tolist") else X
    if not isinstance(X, Iterable) or isinstance(X, NO_LISTS):
        raise TypeError(f"examples come as a list or an array, one entry for each, got {X!r:.60}")
    return [row.tolist() if hasattr(row, "tolist") else row for row in X]


def rows_of(X: Any, lists: list[Any]) -> list[Any]:
    """The entries of X as they were given: arrays where they were arrays.  lists: the same as `to_lists` gives them."""
    X = X.to_numpy() if hasattr(X, "to_numpy") else X
    if getattr(X, "ndim", 1) > 1:
        return list(X)
    if isinstance(X, (list, tuple)):
        return [row if getattr(row, "shape", ()) != () else plain for row, plain in zip(X, lists, strict=True)]
    return lists


# --- The front door of fit and compile: what data are, and how a loss meets them --------------------------------------

#: kinds of NumPy arrays that are no numbers
NO_NUMBERS = {"c": "complex numbers", "U": "text", "S": "text", "M": "dates", "m": "times", "V": "records"}


def numbers_only(X: Any, name: str) -> Any:
    """X itself, an array for a data frame, a list for another iterable; TypeError for what holds anything but numbers.

    A mask would be lost, text read as numbers, an imaginary part dropped: NumPy does so without a word.

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
    """TypeError for what is no number, nor a list or an array of numbers."""
    if x.__class__ is float or x.__class__ is int:
        return
    if isinstance(x, (list, tuple)):
        for i, entry in enumerate(x):
            if entry.__class__ is not float:  # the quick question first
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
    """An example as a loss meets it: floats as Values, whole numbers as they are, lists as lists, arrays as arrays.

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


@dataclass(slots=True)
class Table:
    """The numbers of one argument for all examples.

    arrays: whether a loss meets an entry as an array, or as lists.  given: the entries as the user gave them, for
    `fit`, where ``order`` picks some.  target: whether they are targets, which the loss itself meets as plain numbers.
    """

    numbers: Any
    arrays: bool
    given: Any = None
    order: Sequence[int] | None = None
    target: bool = False

    def rows(self, rows: Sequence[int]) -> Table:
        """The same of some examples."""
        return replace(self, numbers=self.numbers[list(rows)], order=rows)

    def as_given(self, i: int) -> Any:
        """Example i as the function itself meets it."""
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


# --- The sets ---------------------------------------------------------------------------------------------------------

FAILED = [(1, 8), (2, 7), (3, 6), (4, 4), (4, 6), (5, 3), (5, 5), (2, 9), (3, 8), (6, 2)]
PASSED = [(5, 7), (6, 5), (6, 6), (7, 4), (7, 7), (8, 3), (8, 6), (9, 5), (4, 9), (9, 2)]


def study_hours() -> tuple[list[Row], list[int]]:
    """Twenty students: hours of learning and of sleep; passed (1) or failed (0).

    The columns Learn, Sleep and Is_Pass of the lecture notes, which give no rows; these follow the rule
    Learn + Sleep / 2 >= 8.

    >>> X, y = study_hours()
    >>> X[0], y[0], len(X)
    ([1.0, 8.0], 0, 20)
    """
    return [[float(a), float(b)] for a, b in FAILED + PASSED], [0] * len(FAILED) + [1] * len(PASSED)


def xor() -> tuple[list[Row], list[int]]:
    """Exclusive or: the four examples that no linear unit can separate.

    >>> xor()
    ([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], [0, 1, 1, 0])
    """
    return [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], [0, 1, 1, 0]


def moons(n: int = 100, noise: float = 0.1, seed: int | None = 0) -> tuple[list[Row], list[int]]:
    """Two interleaving half circles, classes 0 and 1: the very points of scikit-learn's ``make_moons``.

    noise: the standard deviation of what is added to each coordinate.  Needs NumPy, whose random numbers they are.

    >>> X, y = moons(50)
    >>> len(X), len(X[0]), sorted(set(y))
    (50, 2, [0, 1])
    """
    try:
        import numpy as np
    except ImportError:
        raise ImportError("this data set needs the package numpy: pip install numpy") from None
    whole_number(n, "the number of points")
    random_state = np.random.RandomState(plain_seed(seed))  # its numbers stay the same in all versions of NumPy
    outer, inner = np.linspace(0, np.pi, n // 2), np.linspace(0, np.pi, n - n // 2)
    X = np.vstack([
        np.column_stack([np.cos(outer), np.sin(outer)]),
        np.column_stack([1 - np.cos(inner), 1 - np.sin(inner) - 0.5]),
    ])  # fmt: skip
    order = np.arange(n)
    random_state.shuffle(order)
    X = X[order] + random_state.normal(scale=noise, size=X.shape)
    return X.tolist(), (order >= n // 2).astype(int).tolist()


def digits() -> tuple[list[Row], list[int]]:
    """1797 handwritten digits of 8 x 8 pixels: 64 numbers from 0 to 1 each, classes 0 to 9 (scikit-learn's set).

    >>> X, y = digits()
    >>> len(X), len(X[0]), max(X[0]), y[:3]
    (1797, 64, 0.9375, [0, 1, 2])
    """
    found = _sklearn().load_digits()
    return (found.data / 16.0).tolist(), found.target.tolist()


def parity(n: int = 100, length: int = 8, seed: int = 0) -> tuple[list[list[Row]], list[list[int]]]:
    """Sequences of random bits; the target at each step is the parity of the bits so far.

    >>> X, y = parity(1, length=4)
    >>> X[0], y[0]
    ([[1.0], [1.0], [0.0], [1.0]], [1, 0, 0, 1])
    """
    rng = random_numbers(seed)
    bits = [[rng.randrange(2) for _ in range(length)] for _ in range(n)]
    sums = [[sum(row[: k + 1]) % 2 for k in range(length)] for row in bits]
    return [[[float(bit)] for bit in row] for row in bits], sums


def adding(n: int = 100, length: int = 8, seed: int = 0) -> tuple[list[list[Row]], list[float]]:
    """The adding problem: pairs (number from 0 to 1, mark), two of them marked; the target is the sum of these two.

    (Hochreiter and Schmidhuber, 1997.)  Always answering 1 has the mean squared error 1/6.

    >>> X, y = adding(1, length=3)
    >>> sum(x * mark for x, mark in X[0]) == y[0]
    True
    """
    whole_number(length, "the length of the adding problem", least=2)
    rng = random_numbers(seed)
    X, y = [], []
    for _ in range(n):
        marked = rng.sample(range(length), 2)
        row = [[rng.random(), float(k in marked)] for k in range(length)]
        X.append(row)
        y.append(sum(x * mark for x, mark in row))
    return X, y


def _sklearn() -> Any:
    try:
        import sklearn.datasets
    except ImportError:
        raise ImportError("this data set needs the package scikit-learn: pip install scikit-learn") from None
    return sklearn.datasets
