"""Data: the small data sets of the lessons; splitting them, scaling them, and mini-batches.

Every set is a pair ``X, y`` of lists: a row of numbers for each example, and its target.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from tinygrad_vi.checks import package, whole_number
from tinygrad_vi.examples import (
    batches_of_rows,
    check_examples,
    classes_of,
    numbers_only,
    plain_seed,
    random_numbers,
    to_lists,
)

Row = list[float]

__all__ = ["adding", "digits", "minibatches", "moons", "parity", "split", "standardize", "study_hours", "xor"]


def __dir__() -> list[str]:
    return [*__all__]


# --- Mini-batches, splitting, scaling ---------------------------------------------------------------------------------


def minibatches(
    X: Sequence[Any], y: Sequence[Any] | None = None, *, batch_size: int | None = None, seed: Any = None
) -> list[tuple[list[Any], list[Any] | None]]:
    """The mini-batches of one epoch: ceil(n / batch_size) pairs (rows of X, their targets).

    Each example is in one of them, once; the last is shorter when batch_size does not divide n.  batch_size: None for
    one batch of all examples, 1 for single examples.  seed: shuffles; None keeps the order.

    Raises ShapeError when X is empty or X and y differ in length, ValueError for a batch size below 1.

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


def split(
    X: Sequence[Any], y: Sequence[Any], *, test: float = 0.2, seed: int = 0, stratify: Sequence[Any] | None = None
) -> tuple[list[Any], list[Any], list[Any], list[Any]]:
    """X_train, y_train, X_test, y_test: shuffled by the seed, a fraction ``test`` of the examples set aside.

    stratify: a class for each example, such as y: both parts then hold each class in its share, up to rounding.

    Raises ValueError unless both parts have an example, ShapeError when stratify has not one class for each example.

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
    deviation counts as 0.  Raises TypeError when X holds anything but numbers.

    >>> standardize([[1.0, 7.0], [3.0, 7.0]])
    ([[-1.0, 0.0], [1.0, 0.0]], [2.0, 7.0], [1.0, 0.0])
    """
    rows = to_lists(numbers_only(X, "X"))
    check_examples(rows, None)
    columns = list(zip(*rows, strict=True))
    # for equal numbers sum / n may differ from them by rounding, which would count as a deviation
    means = [c[0] if min(c) == max(c) else math.fsum(c) / len(c) for c in columns]
    deviations = [_deviation(column, mean) for column, mean in zip(columns, means, strict=True)]
    scaled = [
        [(x - m) / (s if s > 0.0 else 1.0) for x, m, s in zip(row, means, deviations, strict=True)] for row in rows
    ]
    return scaled, means, deviations


#: the relative error of numbers that went through a few operations, such as 0.1 + 0.2 for 0.3
ROUNDING = 4.0 * 2.0**-52


def _deviation(column: Sequence[float], mean: float) -> float:
    """The standard deviation; 0 where the numbers differ by rounding alone."""
    if max(column) - min(column) <= ROUNDING * max(map(abs, column)):
        return 0.0
    return math.hypot(*[x - mean for x in column]) / math.sqrt(len(column))  # hypot does not overflow


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


def moons(n: int = 100, *, noise: float = 0.1, seed: int | None = 0) -> tuple[list[Row], list[int]]:
    """Two interleaving half circles, classes 0 and 1: the very points of scikit-learn's ``make_moons``.

    noise: the standard deviation of what is added to each coordinate.  Needs NumPy, which draws the random numbers.

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
    found = package("sklearn.datasets", "this data set").load_digits()
    return (found.data / 16.0).tolist(), found.target.tolist()


def parity(n: int = 100, *, length: int = 8, seed: int = 0) -> tuple[list[list[Row]], list[list[int]]]:
    """Sequences of random bits; the target at each step is the parity of the bits so far.

    >>> X, y = parity(1, length=4)
    >>> X[0], y[0]
    ([[1.0], [1.0], [0.0], [1.0]], [1, 0, 0, 1])
    """
    rng = random_numbers(seed)
    bits = [[rng.randrange(2) for _ in range(length)] for _ in range(n)]
    sums = [[sum(row[: k + 1]) % 2 for k in range(length)] for row in bits]
    return [[[float(bit)] for bit in row] for row in bits], sums


def adding(n: int = 100, *, length: int = 8, seed: int = 0) -> tuple[list[list[Row]], list[float]]:
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
