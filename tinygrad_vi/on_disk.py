"""Arrays in files (`numpy.memmap`, ``np.load(..., mmap_mode="r")``): read a few rows at a time, and let go of them.

What a process has read of a memory-mapped file counts as its own memory until the system takes it: a training that
reads all of a file seems to hold all of it.  `OnDisk` gives the pages back every few megabytes, so that the resident
size of the process is what it works on.  The system may keep the file in its cache all the same: that memory is free.
"""

from __future__ import annotations

import mmap
from typing import Any

#: bytes that may be read before their pages are given back
AT_MOST = 1 << 25
#: bytes that the system may map around one that is read: Linux 64 KB, and more where its cache has larger pieces
AROUND = 1 << 19
#: rows from all over a file that are read before that is counted
AT_ONCE = 64
#: bytes of rows that are looked at together
PART = 1 << 23


def mapping_of(array: Any) -> Any:
    """The `numpy.memmap` or `mmap.mmap` that an array is a view of; None for one in memory."""
    while array is not None and not isinstance(array, mmap.mmap):
        if getattr(array, "_mmap", None) is not None:
            return array
        array = array.obj if isinstance(array, memoryview) else getattr(array, "base", None)
    return array


class OnDisk:
    """An array in a file: whatever is taken of it is a copy in memory."""

    def __init__(self, array: Any) -> None:
        self.array = array
        mapping = mapping_of(array)
        # of mode "c" (copy on write) the pages may be all there is of what was written to them
        self.mapping = mapping._mmap if getattr(mapping, "mode", None) in ("r", "r+", "w+") else None
        self.shape, self.dtype, self.read = array.shape, array.dtype, 0

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, rows: Any) -> Any:
        """Some rows, by a slice or a list of their places, or one: an ordinary array."""
        import numpy as np

        if not isinstance(rows, list):
            found = np.array(self.array[rows])
            self._count(found, 1)
            return found
        found = np.empty((len(rows), *self.shape[1:]), self.dtype)
        for start in range(0, len(rows), AT_ONCE):
            some = rows[start : start + AT_ONCE]
            found[start : start + AT_ONCE] = self.array[some]
            self._count(found[start : start + AT_ONCE], len(some))
        return found

    def _count(self, found: Any, pieces: int) -> None:
        """Count what was read, in so many pieces of the file; of an array by columns each number is one."""
        pieces = pieces if self.array.flags.c_contiguous else found.size
        self.read += found.nbytes + pieces * AROUND
        if self.read > AT_MOST:
            self.let_go()

    def let_go(self) -> None:
        """Give the pages back to the system; reading them again maps them again."""
        self.read = 0
        if self.mapping is not None and hasattr(self.mapping, "madvise"):  # not on Windows
            self.mapping.madvise(mmap.MADV_DONTNEED)


def parts(array: Any) -> list[range]:
    """The places of the rows of an array, in ranges of some megabytes."""
    size = max(1, PART // max(1, array.nbytes // max(1, len(array))))
    return [range(i, min(i + size, len(array))) for i in range(0, len(array), size)]
