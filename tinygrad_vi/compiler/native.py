# mypy: disable-error-code="no-untyped-call"
"""Running tables with the kernel: the stores, the blocks of the batch, the threads."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cache, partial
from threading import RLock
from time import perf_counter
from typing import Any

import numpy as np

from tinygrad_vi.compiler import addresses, kernel
from tinygrad_vi.compiler.codes import END, MAPPED, PARAMETERS, UNIT
from tinygrad_vi.compiler.forks import compiling, give_lock
from tinygrad_vi.compiler.program import Check
from tinygrad_vi.compiler.tables import Tables

#: examples in a block: enough to make loops long, and as few as keep about so many numbers of a block in the cache
WIDTH, NARROWEST = 120, 32
BLOCK = 1 << 18
#: chunks of blocks: about so many, and more where they are long.  Each adds its sums up apart, so that it does not
#: matter which thread computes it
CHUNKS, LONG_CHUNK, MOST_CHUNKS = 16, 8, 64
#: batches of so many sizes keep their arrays, and of fewer where these hold so many numbers
MOST_STORES, MOST_NUMBERS = 9, 1 << 24
#: calls from which the time of one is known
KNOWN = 5
#: seconds of work that are worth the hand-over to a thread
WORTH_A_THREAD = 0.5e-3


@dataclass
class _Store:
    """The arrays for a batch of one size: inputs, values, sums.

    table: see `kernel.step`.  step: one call on one thread.  columns: the part of X for each array of data.  alone: the
    shortest call of one thread, in seconds; short: whether it is known, and too short for more threads.
    """

    X: Any
    M: Any
    T: Any
    table: Any
    no_rows: Any
    step: Any
    columns: list[Any] = field(default_factory=list)
    calls: int = 0
    short: bool = False
    alone: float = float("inf")


class Native:
    """The tables of a question, ready to be asked: ``native(theta, arrays)``."""

    def __init__(self, t: Tables, flagged: bool, checks: Sequence[Check] = (), threads: int | None = None) -> None:
        self.lock: RLock  # the stores are this object's
        give_lock(self)
        self.tables, self.flagged, self.checks = t, flagged, checks
        self.threads, self.outputs = threads, len(t.output_row)
        self.stores: dict[int, _Store] = {}
        self.S = np.zeros(t.numbers)
        self.S[UNIT] = 1.0
        # a later stage reads the rows that the first has computed, of all blocks
        self.keep = bool((t.stages[1:, END] > t.stages[1:, MAPPED]).any())
        self.head = (t.stages, t.code, t.constants, t.linear_row, t.linear_number, t.product_a, t.product_b,
                     t.product_c, t.sum_destination, t.output_row, t.output_c)  # fmt: skip

    def __call__(self, theta: Any, arrays: Sequence[Any]) -> tuple[Any, float]:
        """The outputs, an array (outputs,), or (outputs, N) when they are mapped; and a number, finite if they are."""
        N = len(arrays[0]) if arrays else 1
        with self.lock:
            store = self.stores.get(N)
            if store is not None:
                return self._run(theta, arrays, store)
            self._make_room()
            store = self.stores[N] = self._new_store(arrays, N)
            with _alone(kernel.step):
                return self._run(theta, arrays, store)

    def bind(self, arrays: Sequence[Any]) -> Callable[[Any], tuple[Any, float]]:
        """The same for these data, which are laid out once: a function of theta."""
        store = self._new_store(arrays, len(arrays[0]) if arrays else 1)
        for column, array in zip(store.columns, arrays, strict=True):
            column[...] = array
        store.columns = []

        with self.lock, _alone(kernel.step):
            self._run(np.zeros(0), (), store)  # the first call, which may compile

        def bound(theta: Any) -> tuple[Any, float]:
            with self.lock:
                return self._run(theta, (), store)

        return bound

    def _make_room(self) -> None:
        """Let the stores go that were made first, when there are many or they are large."""
        while self.stores and (len(self.stores) >= MOST_STORES or sum(map(_size, self.stores.values())) > MOST_NUMBERS):
            del self.stores[next(iter(self.stores))]

    def _run(self, theta: Any, arrays: Sequence[Any], store: _Store) -> tuple[Any, float]:
        for column, array in zip(store.columns, arrays, strict=True):
            column[...] = array
        if self.tables.mapped:
            out, mapped_out = store.no_rows[:, 0], np.empty((self.outputs, len(store.X)))
        else:
            out, mapped_out = np.empty(self.outputs), store.no_rows
        ask = store.step if store.short else partial(self._ask, store)
        checksum = ask(theta, mapped_out, out)
        return (mapped_out, float(np.vdot(mapped_out, mapped_out))) if self.tables.mapped else (out, checksum)

    def _ask(self, store: _Store, theta: Any, mapped_out: Any, out: Any) -> float:
        """One call, on as many threads as are worth it once the time of a call is known."""
        threads = self._threads_for(store) if store.calls == KNOWN else 1
        if threads > 1:
            self._on_threads(threads, theta, store, mapped_out, out)
            return float(out.sum())
        start = perf_counter()
        checksum: float = store.step(theta, mapped_out, out)
        if store.calls < KNOWN:
            store.calls += 1
            store.alone = min(store.alone, perf_counter() - start)
            store.short = store.calls == KNOWN and self._threads_for(store) == 1
        return checksum

    def _threads_for(self, store: _Store) -> int:
        """As many as are allowed, are there and are worth it."""
        if store.alone < 2 * WORTH_A_THREAD:
            return 1
        return min(self.threads or _cores(), len(store.T), int(store.alone / WORTH_A_THREAD))

    def _new_store(self, arrays: Sequence[Any], N: int) -> _Store:
        t = self.tables
        blocks = math.ceil(N / max(NARROWEST, min(WIDTH, BLOCK // t.rows)))
        width = 8 * math.ceil(N / blocks / 8) if N > 1 else 1
        blocks = math.ceil(N / width)
        per_chunk = max(math.ceil(blocks / MOST_CHUNKS), min(math.ceil(blocks / CHUNKS), LONG_CHUNK))
        chunks = math.ceil(blocks / per_chunk)
        X, T = np.zeros((N, t.inputs)), np.zeros((chunks, max(1, len(t.sum_destination))))
        # for each block, or for each thread
        M = _aligned((blocks if self.keep else min(chunks, self.threads or _cores()), t.rows * width))
        table = addresses.table([*self.head, X, self.S, M, T], [width, per_chunk, self.keep, kernel.WHOLE, 0, 0, 1])
        return _Store(X, M, T, table, np.empty((0, N)), partial(kernel.step, table), _columns(X, arrays))

    def _on_threads(self, threads: int, theta: Any, store: _Store, mapped_out: Any, out: Any) -> None:
        """What `step` does, each chunk of blocks by the thread whose turn it is."""
        t, S = self.tables, self.S

        def part(what: int, stage: int, thread: int = 0) -> None:
            table = store.table.copy()
            table[-4:] = [what, stage, thread, threads]
            kernel.step(table, theta, mapped_out, out)

        S[PARAMETERS : PARAMETERS + len(theta)] = theta
        for stage in range(len(t.stages)):
            part(kernel.BEFORE, stage)
            others = [_pool().submit(part, kernel.BLOCKS, stage, thread) for thread in range(1, threads)]
            part(kernel.BLOCKS, stage)
            for other in others:
                other.result()
            part(kernel.AFTER, stage)
        if len(out):
            out[:] = t.output_c * S[t.output_row]


def _size(store: _Store) -> int:
    return int(store.X.size + store.M.size)


def _columns(X: Any, arrays: Sequence[Any]) -> list[Any]:
    """The part of X for each array of data, in the shape of the array."""
    views, start = [], 0
    for array in arrays:
        size = math.prod(array.shape[1:])
        views.append(X[:, start : start + size].reshape(array.shape))  # a view: the last axis alone is cut
        start += size
    return views


def _aligned(shape: tuple[int, int]) -> Any:
    """Zeros that begin at a multiple of 64 bytes, as vector instructions like it."""
    n = shape[0] * shape[1]
    numbers = np.zeros(n + 8)
    start = (-numbers.ctypes.data // 8) % 8
    return numbers[start : start + n].reshape(shape)


@cache  # a forked process has the pool but not its threads: it makes its own
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(MOST_CHUNKS, "tinygrad_vi")


@cache
def _cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(after_in_child=_pool.cache_clear)


def _alone(function: Any) -> AbstractContextManager[Any]:
    """No process is forked while the first call compiles the function, or reads its machine code."""
    return nullcontext() if getattr(function, "signatures", True) else compiling
