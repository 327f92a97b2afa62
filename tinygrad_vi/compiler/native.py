# mypy: disable-error-code="no-untyped-call"
"""Running tables with the kernel: the stores, the blocks of the batch, the threads."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache, partial
from threading import RLock
from time import perf_counter
from typing import Any

import numpy as np

from tinygrad_vi.compiler import kernel
from tinygrad_vi.compiler.codes import END, MAPPED, PARAMETERS, UNIT
from tinygrad_vi.compiler.forks import compiling, give_lock
from tinygrad_vi.compiler.program import Question
from tinygrad_vi.compiler.tables import tables

#: examples in a block: enough to make loops long, and as few as keep about so many numbers of a block in the cache
WIDTH, NARROWEST = 128, 32
BLOCK = 1 << 18
#: chunks of blocks, at most.  Each adds its sums up apart, so that it does not matter which thread computes it
CHUNKS = 16
#: calls from which the time of one is known
KNOWN = 5
#: seconds of work from which a second thread is worth the hand-over
WORTH_A_THREAD = 1e-3


@dataclass
class _Store:
    """The arrays for a batch of one size: inputs, values, sums.  alone: the shortest call of one thread, in seconds."""

    X: Any
    M: Any
    T: Any
    width: int
    per_chunk: int
    no_rows: Any
    calls: int = 0
    alone: float = float("inf")


class Native:
    """A question, ready to be asked: ``native(theta, arrays)``."""

    def __init__(self, question: Question, threads: int | None = None) -> None:
        self.lock: RLock  # the stores are this object's
        give_lock(self)
        self.tables, self.flagged, self.checks = tables(question), question.flagged, question.checks
        self.threads = threads
        t = self.tables
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
            if N in self.stores:
                return self._run(theta, arrays, N)
            if len(self.stores) > 8:  # so many batch sizes keep their arrays
                self.stores.clear()
            self.stores[N] = self._new_store(N)
            with _alone(kernel.step):
                return self._run(theta, arrays, N)

    def _run(self, theta: Any, arrays: Sequence[Any], N: int) -> tuple[Any, float]:
        store, t = self.stores[N], self.tables
        column = 0
        for array in arrays:
            if array.ndim == 1:
                store.X[:, column] = array
                column += 1
                continue
            columns = array if array.ndim == 2 else array.reshape(N, -1)
            store.X[:, column : column + columns.shape[1]] = columns
            column += columns.shape[1]
        n = len(t.output_row)
        out, mapped_out = (store.no_rows[:, 0], np.empty((n, N))) if t.mapped else (np.empty(n), store.no_rows)
        worth_it = store.calls == KNOWN and store.alone > WORTH_A_THREAD  # until it is known, one thread
        threads = self._threads_for(store) if worth_it else 1
        if threads == 1:
            start = perf_counter() if store.calls < KNOWN else 0.0
            checksum = kernel.step(
                *self.head, theta, store.X, self.S, store.M, store.T, store.width, store.per_chunk, self.keep,
                mapped_out, out)  # fmt: skip
            if store.calls < KNOWN:
                store.calls += 1
                store.alone = min(store.alone, perf_counter() - start)
        else:
            with _alone(kernel.after):  # the last of the three that it calls
                self._on_threads(threads, theta, store, mapped_out, out)
            checksum = float(out.sum())
        return (mapped_out, float(np.vdot(mapped_out, mapped_out))) if t.mapped else (out, checksum)

    def _threads_for(self, store: _Store) -> int:
        return min(2, len(store.T), self.threads or 2)

    def _new_store(self, N: int) -> _Store:
        t = self.tables
        blocks = math.ceil(N / max(NARROWEST, min(WIDTH, BLOCK // t.rows)))
        width = 8 * math.ceil(N / blocks / 8) if N > 1 else 1
        blocks = math.ceil(N / width)
        per_chunk = math.ceil(blocks / CHUNKS)
        chunks = math.ceil(blocks / per_chunk)
        return _Store(
            X=np.zeros((N, t.inputs)),
            M=_aligned((blocks if self.keep else 2, t.rows * width)),  # for each block, or for each thread
            T=np.zeros((chunks, max(1, len(t.sum_destination)))),
            width=width,
            per_chunk=per_chunk,
            no_rows=np.empty((0, N)),
        )

    def _on_threads(self, threads: int, theta: Any, store: _Store, mapped_out: Any, out: Any) -> None:
        """What `step` does, each chunk of blocks by the thread whose turn it is."""
        t, S, T = self.tables, self.S, store.T
        code = t.stages, t.code, t.constants, t.linear_row, t.linear_number, t.product_a, t.product_b, t.product_c
        rest = store.X, S, store.M, T, store.width, store.per_chunk, self.keep, mapped_out, t.output_row, t.output_c
        S[PARAMETERS : PARAMETERS + len(theta)] = theta
        for stage in range(len(t.stages)):
            kernel.before(stage, *code, S, T[0])
            others = [
                _pool().submit(partial(kernel.blocks, stage, i, threads, *code, *rest)) for i in range(1, threads)
            ]
            kernel.blocks(stage, 0, threads, *code, *rest)
            for other in others:
                other.result()
            kernel.after(stage, t.stages, t.sum_destination, T, S)
        if len(out):
            out[:] = t.output_c * S[t.output_row]


def _aligned(shape: tuple[int, int]) -> Any:
    """Zeros that begin at a multiple of 64 bytes, as vector instructions like it."""
    n = shape[0] * shape[1]
    numbers = np.zeros(n + 8)
    start = (-numbers.ctypes.data // 8) % 8
    return numbers[start : start + n].reshape(shape)


@cache  # a forked process has the pool but not its threads: it makes its own
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, "tinygrad_vi")


if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(after_in_child=_pool.cache_clear)


def _alone(function: Any) -> AbstractContextManager[Any]:
    """No process is forked while the first call compiles the function, or reads its machine code."""
    return nullcontext() if getattr(function, "signatures", True) else compiling
