"""Pausing Python's cyclic garbage collector while many nodes are made."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager


class _Pauses:
    """The pauses of the collector that are open, in all threads.  resume: whether it ran before the first of them."""

    def __init__(self) -> None:
        self.open: set[object] = set()
        self.resume = False

    def end_all(self) -> None:
        """In a forked child, which has none of the threads that would end them."""
        self.open.clear()
        if self.resume:
            self.resume = False
            gc.enable()


_pauses = _Pauses()
if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(after_in_child=_pauses.end_all)


@contextmanager
def collector_paused() -> Iterator[None]:
    """Pause the cyclic collector while many nodes are made: they form no cycles, and it would walk them all.

    Pauses of several threads may overlap: the last one to end starts it again.  There is no lock, which a fork could
    find held; whatever two threads do between two lines of this, the collector is on when no pause is left.
    """
    pause = object()
    try:
        _pauses.open.add(pause)
        if gc.isenabled():  # asked after this pause is known to be open
            _pauses.resume = True
            gc.disable()
        yield
    finally:
        _pauses.open.discard(pause)
        if not _pauses.open and _pauses.resume:
            _pauses.resume = False
            gc.enable()
