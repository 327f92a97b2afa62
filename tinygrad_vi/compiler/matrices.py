"""The entries of Jacobians and Hessians as NumPy's arrays and SciPy's matrices, and the runs that give them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_vi.checks import package
from tinygrad_vi.compiler.entries import Entries, Sweeps

#: examples times directions that are run at once, about
AT_ONCE = 4096


class Matrix:
    """Where the entries that a question gives stand.

    shape: of the matrix.  count: how many numbers the question gives.  rows, columns: of each entry, in rising order.
    places: which of the numbers each of them is, where the question gives one triangle of a symmetric matrix, whose
    rows and columns are those of ``triangle``.
    """

    def __init__(self, entries: Entries) -> None:
        lengths = [len(row) for row in entries.rows]
        rows = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)
        columns = np.array([j for row in entries.rows for j in row], dtype=np.int32)
        self.shape = len(lengths), entries.width
        self.triangle, self.count = (rows, columns), len(rows)
        self.places: Any = None
        if entries.symmetric:
            above = rows != columns
            places = np.concatenate([np.arange(len(rows)), np.flatnonzero(above)])
            rows, columns = np.concatenate([rows, columns[above]]), np.concatenate([columns, rows[above]])
            order = np.lexsort((columns, rows))
            rows, columns, self.places = rows[order], columns[order], places[order]
        self.rows, self.columns = rows, columns
        self.ends = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=len(lengths)))]).astype(np.int32)
        self.full = len(rows) == len(lengths) * entries.width

    def dense(self, found: Any) -> Any:
        """Numbers of shape (entries, ...) as matrices of shape (..., rows, columns)."""
        numbers = found if self.places is None else found[self.places]
        if not self.full:
            whole = np.zeros((self.shape[0] * self.shape[1], *found.shape[1:]))
            whole[self.rows.astype(np.int64) * self.shape[1] + self.columns] = numbers
            numbers = whole
        return numbers.T.reshape(*found.shape[1:], *self.shape)

    def sparse(self, found: Any) -> Any:
        """Numbers of shape (entries,) or (entries, N) as one matrix; the rows of N examples below each other."""
        csr_array = package("scipy.sparse", "a sparse derivative").csr_array
        numbers = found if self.places is None else found[self.places]
        count = 1 if numbers.ndim == 1 else numbers.shape[1]
        columns, ends = self.columns.copy(), self.ends.copy()  # which a method of the matrix may change
        if count > 1:
            columns, starts = np.tile(columns, count), len(columns) * np.arange(count)
            ends = np.concatenate([[0], (starts[:, None] + ends[1:]).ravel()])
        return csr_array((numbers.T.reshape(-1), columns, ends), shape=(count * self.shape[0], self.shape[1]))


class InSweeps:
    """What runs a question in several directions and reads the entries: ``run(theta, arrays)``, as the others do."""

    def __init__(self, runner: Any, sweeps: Sweeps, mapped: bool) -> None:
        self.runner, self.flagged, self.checks = runner, runner.flagged, runner.checks
        self.behind, self.mapped = sweeps.behind, mapped
        self.directions = np.zeros((len(sweeps.directions), sweeps.seeds))
        for direction, ones in zip(self.directions, sweeps.directions, strict=True):
            direction[ones] = 1.0
        outputs, at = zip(*sweeps.readings, strict=True) if sweeps.readings else ((), ())
        self.outputs, self.at = np.array(outputs, dtype=int), np.array(at, dtype=int)

    def __call__(self, theta: Any, arrays: Sequence[Any]) -> tuple[Any, float]:
        """The entries, (entries,), or (entries, N) where they are mapped; and their sum, which is finite if they are.

        Where there is a flag it stands behind the entries.
        """
        with np.errstate(all="ignore"):
            found = self._each_call(theta, arrays) if self.behind else self._at_once(theta, arrays)
            return found if self.mapped else found[:, 0], float(found.sum())

    def _each_call(self, theta: Any, arrays: Sequence[Any]) -> Any:
        each = [self.runner(np.concatenate([theta, v]), arrays)[0] for v in self.directions]
        return self._read(np.stack(each, axis=1)[:, None])

    def _at_once(self, theta: Any, arrays: Sequence[Any]) -> Any:
        step = max(1, AT_ONCE // len(self.directions))
        starts = range(0, len(arrays[0]) if arrays else 1, step)
        some = [[array[start : start + step] for array in arrays] for start in starts]
        return np.concatenate([self._batch(theta, part) for part in some], axis=1)

    def _batch(self, theta: Any, arrays: Sequence[Any]) -> Any:
        """The examples, each with all directions."""
        n, count = len(arrays[0]) if arrays else 1, len(self.directions)
        repeated = [np.repeat(array, count, axis=0) for array in arrays]
        found, _ = self.runner(theta, [*repeated, np.tile(self.directions, (n, 1))])
        return self._read(found.reshape(-1, n, count))

    def _read(self, found: Any) -> Any:
        """Of outputs, for each example and direction, the entries for each example."""
        entries = found[self.outputs, :, self.at]
        return np.concatenate([entries, found[-1:].sum(axis=2)]) if self.flagged else entries
