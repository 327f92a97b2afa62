"""What was given as theta and as data, in arrays of numbers; and single examples of it, as the function meets them."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_vi.checks import ONE_EXAMPLE, ShapeError, number
from tinygrad_vi.compiler.arguments import is_number
from tinygrad_vi.compiler.errors import GivenValues
from tinygrad_vi.compiler.trace import NotFaithful
from tinygrad_vi.examples import Table, as_table, as_values, check_numbers
from tinygrad_vi.nn.feedforward import drawn_factor
from tinygrad_vi.tracing import being_traced
from tinygrad_vi.trees import values_in
from tinygrad_vi.value import Value

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Array = NDArray[np.float64]

# --- theta ------------------------------------------------------------------------------------------------------------


def only_numbers(theta: Any, name: str = "theta") -> None:
    """Refuse what NumPy would read as numbers, such as text and dates, and a mask, which would be lost."""
    if theta.__class__ is not np.ndarray or theta.dtype.kind not in "fiub":
        check_numbers(theta, name)


def vector(theta: ArrayLike, P: int, name: str = "theta") -> Array:
    """P numbers, whatever their arrangement; ShapeError for another count."""
    only_numbers(theta, name)
    numbers = np.ascontiguousarray(theta, dtype=float).reshape(-1)
    if len(numbers) != P:
        count = f"{P} number{'s' * (P > 1)}"
        raise ShapeError(f"{name} needs {count}, one for each parameter, got {len(numbers)}")
    return numbers


def like(theta: Any) -> Any:
    """theta as the function meets it: an array as an array, a list as a list."""
    return np.asarray(theta, dtype=float) if hasattr(theta, "dtype") else np.asarray(theta, dtype=float).tolist()


def nested(numbers: Sequence[float], shape: tuple[int, ...]) -> Any:
    """Numbers as lists in lists, of that shape."""
    return np.reshape(numbers, shape).tolist()


# --- The data ---------------------------------------------------------------------------------------------------------


def tables_of(data: Sequence[Any], names: Sequence[str]) -> list[Table]:
    """The data, an argument each; ShapeError where the numbers of examples differ."""
    ndarray = np.ndarray
    tables: list[Table] = []
    same: list[int] = []  # the places of numbers, which are the same for all examples
    count, first = 0, ""
    for x, name in zip(data, names, strict=True):
        if x.__class__ is ndarray and x.dtype.char == "d" and x.ndim:  # the usual case, at once
            table = Table(x, x.ndim > 1)
        elif is_number(x):
            same.append(len(tables))
            tables.append(Table(np.array([number(x, name)]), arrays=False))
            continue
        else:
            table = table_of(x, name)
        if len(table.numbers) != count or not count:
            if len(table.numbers) == 0:
                raise ShapeError(f"there are no examples: {name} is empty")
            if count:
                hint = f": {ONE_EXAMPLE}" if 1 in (len(table.numbers), count) else ""
                raise ShapeError(f"{name} has {len(table.numbers)} examples, {first} has {count}{hint}")
            count, first = len(table.numbers), name
        tables.append(table)
    if same:
        for i in same:
            tables[i].numbers = np.repeat(tables[i].numbers, count or 1)
    return tables


def table_of(x: Any, name: str) -> Table:
    """One argument for all examples; GivenValues where it holds Values."""
    if isinstance(x, Table):
        return x
    try:
        return as_table(x, name)
    except (TypeError, ShapeError):
        if values_in(x):
            raise GivenValues(name) from None
        raise


def example(tables: Sequence[Table], i: int, copy: bool = False) -> list[Any]:
    """One example: arrays as arrays, lists as lists."""
    rows = [table.numbers[i] if table.arrays else table.numbers[i].tolist() for table in examples(tables)]
    return [row.copy() if hasattr(row, "copy") else row for row in rows] if copy else rows


def another(first: Sequence[Any], tables: Sequence[Table]) -> int | None:
    """An example that differs from a given one in every number, if there is one, or in as many as possible."""
    if not tables:
        return None
    count = len(tables[0].numbers)
    different = np.zeros(count)
    for table, entry in zip(tables, first, strict=True):
        different += (table.numbers != entry).reshape(count, -1).mean(axis=1)
    best = int(different.argmax())
    return best if different[best] > 0.0 else None


def entry(x: Any, i: int) -> Any:
    """One entry of what was given as data, as the function itself meets it: whole numbers as they are."""
    if isinstance(x, Table):
        return x.as_given(i)
    if is_number(x):
        return as_values(x)
    x = x.to_numpy() if hasattr(x, "to_numpy") else x
    entry = x[i]
    return as_values(entry.item() if getattr(entry, "shape", None) == () else entry)


def floats(x: Any) -> Any:
    """Whole numbers as floats, in lists and arrays, too; Values stay."""
    if isinstance(x, (list, tuple)):
        return [floats(v) for v in x]
    if isinstance(x, Value) or getattr(getattr(x, "dtype", None), "kind", "") == "O":
        return x
    return x.astype(float) if getattr(x, "shape", ()) != () else float(x)


# --- What Dropout draws -----------------------------------------------------------------------------------------------


class Mask(Table):
    """What `Dropout` multiplies with: a row of factors for each example.  given: their chances to be kept."""

    __slots__ = ()


def masked(keeps: Sequence[float], tables: list[Table], rng: Any) -> list[Table]:
    """The tables, and one of the factors of `Dropout`, if there is any: drawn example by example, in its order."""
    if not keeps:
        return tables
    if being_traced():
        raise TypeError(
            "a compiled function with Dropout, called with numbers while another function is being traced, would "
            "draw once for all: call the function itself that was compiled, or put its model in eval() mode"
        )
    chances = np.array(keeps)
    shape = (len(tables[0].numbers) if tables else 1), len(chances)
    draw = rng.random
    drawn = np.array([draw() for _ in range(shape[0] * shape[1])]).reshape(shape)
    return [*tables, Mask(np.where(drawn < chances, 1.0 / chances, 0.0), arrays=True, given=keeps)]


def examples(tables: Sequence[Table]) -> list[Table]:
    """The tables of the user's own data."""
    return [table for table in tables if not isinstance(table, Mask)]


def factors(tables: Sequence[Table], i: int) -> Callable[[float], float] | None:
    """What gives `Dropout` the factors of example i, one after the other; None where nothing was to be dropped."""
    if not tables or not isinstance(tables[-1], Mask):
        return None
    factors = zip(tables[-1].given, tables[-1].numbers[i].tolist(), strict=True)

    def factor(keep: float) -> float:
        traced, x = next(factors, (None, 0.0))
        if traced != keep:
            raise NotFaithful(
                "the function cannot be compiled: run by itself it asks Dropout for other entries than when it was "
                "traced. How many may be dropped, and with which chance, must be the same for all examples"
            )
        return float(x)

    return factor


class FactorsToCome:
    """The factors that `Dropout` will draw next by chance: from a copy of the state, which itself stays."""

    def __init__(self) -> None:
        self.rng: random.Random | None = None

    def __call__(self, keep: float) -> float:
        """The next factor of an entry that is kept with this chance."""
        if self.rng is None:
            self.rng = random.Random()
            self.rng.setstate(random.getstate())
        return drawn_factor(keep, self.rng)
