"""Locks and forks: a forked process has only the thread that forked, so a lock that another one holds stays shut in it.

Each object with a lock says so here, and gets a new one in every forked process.  What must not be copied half-done, a
compilation, keeps the fork waiting instead.
"""

from __future__ import annotations

import concurrent.futures.thread  # noqa: F401
import logging  # noqa: F401
import os
from threading import RLock
from typing import Any
from weakref import WeakSet

_owners: WeakSet[Any] = WeakSet()
#: held while the kernel is compiled: Numba and LLVM have locks and tables of their own
compiling = RLock()


def give_lock(owner: Any) -> None:
    """Give an object a lock, ``owner.lock``, and a new one in every forked process."""
    owner.lock = RLock()
    _owners.add(owner)


def _renew() -> None:
    compiling.release()
    for owner in list(_owners):
        owner.lock = RLock()


# A fork takes the locks that were registered last first.  `compiling` must be taken before those that a compilation
# takes, of the modules imported above for this reason: two locks in two orders are a deadlock.
if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(before=compiling.acquire, after_in_parent=compiling.release, after_in_child=_renew)
