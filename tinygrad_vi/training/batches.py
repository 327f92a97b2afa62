"""Where the batches of an epoch come from: rows of arrays and lists, or batches that the user makes."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from tinygrad_vi.checks import ShapeError
from tinygrad_vi.examples import ArrayRows, order_of_rows
from tinygrad_vi.training.objective import Examples

#: some examples, and the places of those that are meant
Batch = tuple[Examples, Sequence[int]]

ANEW = "a function that makes the batches (X, y) of an epoch anew, or what iterates anew, such as a DataLoader"


class FromArrays:
    """The mini-batches of X and y.  count: how many there are in an epoch."""

    def __init__(
        self, examples: Examples, batch_size: int | None, seed: Any, classes: Sequence[Any] | None = None
    ) -> None:
        if examples.on_disk and batch_size is None:
            raise ValueError(
                "X or y is memory-mapped, and without batch_size= all of it is one batch: write batch_size=1024, say; "
                "batch_size=len(X) reads it all at once"
            )
        self.examples, self.seed, self.classes = examples, seed, classes
        self.size = len(examples) if batch_size is None else batch_size
        self.count: int | None = math.ceil(len(examples) / self.size)
        self.facts: dict[str, Any] = {"examples": len(examples), "batch_size": batch_size, "seed": seed}

    def of_epoch(self, epoch: int) -> Iterator[Batch]:
        """Shuffled anew for each epoch, unless there is no seed or only one batch."""
        seed = None if self.seed is None or self.count == 1 else f"{self.seed}, epoch {epoch}"
        order = order_of_rows(len(self.examples), seed, self.classes)
        for start in range(0, len(order), self.size):
            rows = order[start : start + self.size]
            yield self.examples, rows if isinstance(rows, range) else list(rows)


class FromBatches:
    """Batches (X, y) of the user's own: a function of the epoch or of nothing, or an object that iterates anew.

    One batch is in memory at a time.  count: how many there were in the last epoch, or are said to be in each.
    """

    def __init__(self, batches: Any, name: str = "batches") -> None:
        if hasattr(batches, "__next__"):
            raise TypeError(
                f"{name}= is an iterator, {batches!r:.60}, which is empty after one epoch: give the function that "
                f"makes it, {name}=make, or {name}=lambda: make(...)"
            )
        self.batches, self.name = batches, name
        self.makes = callable(batches) and (isinstance(batches, type) or not hasattr(batches, "__iter__"))
        self.takes_epoch = self.makes and _takes_epoch(batches, name)
        if not self.makes and (not hasattr(batches, "__iter__") or isinstance(batches, (str, bytes, dict))):
            raise TypeError(f"{name}= takes {ANEW}; got {batches!r:.60}")
        self.count: int | None = _length(batches)
        self.facts: dict[str, Any] = {"examples": "in batches", "batch_size": None, "seed": None}
        self.kind = ""

    def of_epoch(self, epoch: int) -> Iterator[Batch]:
        """The batches of an epoch, each checked when its turn comes; ShapeError where there are none."""
        number = 0
        for number, batch in enumerate(self._made(epoch), start=1):
            examples = self._examples(batch, f"{self.name}, epoch {epoch + 1}, batch {number}")
            yield examples, range(len(examples))
        if not number:
            again = f", and an earlier one had some: give {ANEW}" if self.kind else ""
            raise ShapeError(f"{self.name}: there is no batch in epoch {epoch + 1}{again}")
        self.count = number

    def _made(self, epoch: int) -> Iterable[Any]:
        if not self.makes:
            return self.batches  # type: ignore[no-any-return]
        made: Any = self.batches(epoch) if self.takes_epoch else self.batches()
        if not hasattr(made, "__iter__"):
            raise TypeError(f"{self.name}= should give batches (X, y), one after the other, got {made!r:.60}")
        return made  # type: ignore[no-any-return]

    def _examples(self, batch: Any, place: str) -> Examples:
        tables = batch if isinstance(batch, (tuple, list)) else (batch,)
        if not 1 <= len(tables) <= 2:
            raise ShapeError(f"{place}: a batch is a pair (X, y), or (X,) for a loss of x alone, got {len(tables)}")
        try:
            examples = Examples(*map(_array, tables), numbers=True)
        except (ShapeError, TypeError, ValueError) as error:
            raise type(error)(f"{place}: {error}") from error
        kind = " and ".join(map(_kind, examples.given))
        self.kind = self.kind or kind
        if kind != self.kind:
            raise ShapeError(f"{place} holds {kind}, the first one held {self.kind}: a loss needs batches of one kind")
        return examples


def _takes_epoch(batches: Callable[..., Any], name: str) -> bool:
    """Whether a function asks for one argument: what has a default keeps it."""
    try:
        signature = inspect.signature(batches)
    except ValueError:  # one written in C says nothing
        return False
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    needed = [p for p in signature.parameters.values() if p.default is p.empty]
    asked = [p for p in needed if p.kind in positional]
    if len(asked) > 1 or any(p.kind is p.KEYWORD_ONLY for p in needed):
        raise TypeError(f"{name}= takes a function of the epoch, or of nothing, got {batches!r:.60}{signature}")
    return bool(asked)


def _length(batches: Any) -> int | None:
    try:
        return len(batches)
    except (TypeError, NotImplementedError):  # a loader of a stream does not know
        return None


def _array(x: Any) -> Any:
    """A copy of an array, for whoever makes the batches may do so in one buffer; a tensor as an array of NumPy."""
    if hasattr(x, "to_numpy") or not hasattr(x, "__array__") or not getattr(x, "shape", ()):
        return x
    import numpy as np

    return x.copy() if isinstance(x, np.ndarray) else np.asarray(x).copy()


def _kind(given: Any) -> str:
    """What a loss can tell of the examples of any batch."""
    if not isinstance(given, ArrayRows):
        return "a list"
    of = "floats" if given.rows.dtype.kind == "f" else "whole numbers"
    return f"an array of shape ({', '.join('N' + 'abcdefgh'[: len(given.rows.shape) - 1])}) of {of}"
