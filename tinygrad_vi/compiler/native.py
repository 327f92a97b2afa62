"""Running tables with the kernel: the stores, the blocks of the batch, the threads."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from threading import Timer
from time import perf_counter
from typing import Any

import numpy as np

from tinygrad_vi.compiler.program import Question
from tinygrad_vi.compiler.tables import END, MAPPED, Tables, tables

#: examples in a block: enough to make loops long, and few enough that the rows of a block stay in the cache
WIDTH = 128
#: blocks that add their sums up together; it must not depend on the number of threads
PER_CHUNK = 4
#: seconds of work from which a second thread is worth the hand-over
WORTH_A_THREAD = 1e-3


class Native:
    """A question, ready to be asked: ``native(theta, arrays)``."""

    def __init__(self, question: Question, threads: int | None = None) -> None:
        self.kernel = load_kernel()
        self.tables = tables(question)
        self.threads = threads
        self.seconds = 0.0  # of the last call
        t = self.tables
        self.store: dict[int, tuple[Any, ...]] = {}
        self.S = np.zeros(t.numbers)
        self.S[0] = 1.0
        self.weight = np.zeros(len(t.linear_row))
        self.keep = bool((t.stages[1:, END] > t.stages[1:, MAPPED]).any())
        self.head = (t.stages, t.code, t.constants, t.linear_row, t.linear_source, t.linear_c, t.product_a, t.product_b,
                     t.product_c, t.sum_destination, t.output_row, t.output_c)  # fmt: skip

    def __call__(self, theta: Any, arrays: Sequence[Any]) -> Any:
        """The outputs: an array (outputs,), or (outputs, N) when they are mapped."""
        N = len(arrays[0]) if arrays else 1
        if N not in self.store:
            self._make_store(N)
            with _announced():
                return self._run(theta, arrays, N)
        return self._run(theta, arrays, N)

    def _run(self, theta: Any, arrays: Sequence[Any], N: int) -> Any:
        X, M, T, width = self.store[N]
        row = 0
        for array in arrays:  # a row for each input
            rows = array.reshape(N, -1).T
            X[row : row + len(rows)] = rows
            row += len(rows)
        mapped = self.tables.mapped
        n = len(self.tables.output_row)
        out, mapped_out = np.empty(0 if mapped else n), np.empty((n if mapped else 0, N))
        threads = self._threads(T)
        start = perf_counter()
        if threads == 1:
            self.kernel.step(
                *self.head, theta, X, self.S, self.weight, M, T, width, PER_CHUNK, self.keep, mapped_out, out
            )
        else:
            self._on_threads(threads, theta, X, M, T, width, mapped_out, out)
        self.seconds = perf_counter() - start
        return mapped_out if mapped else out

    def _threads(self, T: Any) -> int:
        if self.threads is not None:
            return min(self.threads, len(T))
        return min(2, len(T)) if self.seconds > WORTH_A_THREAD else 1

    def _make_store(self, N: int) -> None:
        if len(self.store) > 8:  # batches of ever new sizes
            self.store.clear()
        blocks = max(1, -(-N // WIDTH))
        width = -(-(-(-N // blocks)) // 8) * 8
        blocks = max(1, -(-N // width))
        chunks = -(-blocks // PER_CHUNK)
        stores = blocks if self.keep else max(self.threads or 2, 1)
        self.store[N] = (
            np.zeros((self.tables.inputs, N)),
            _aligned((stores, self.tables.rows * width)),
            np.zeros((chunks, max(1, len(self.tables.sum_destination)))),
            width,
        )

    def _on_threads(
        self, threads: int, theta: Any, X: Any, M: Any, T: Any, width: int, mapped_out: Any, out: Any
    ) -> None:
        kernel, t, S = self.kernel, self.tables, self.S
        S[1 : 1 + len(theta)] = theta
        for stage in range(len(t.stages)):
            kernel.before(stage, t.stages, t.code, t.constants, t.linear_row, t.linear_source, t.linear_c, self.weight,
                          t.product_a, t.product_b, t.product_c, S, T[0])  # fmt: skip
            work = [
                _pool().submit(
                    kernel.blocks, stage, i, threads, t.stages, t.code, t.constants, t.linear_row, self.weight, t.product_a,
                    t.product_b, t.product_c, X, M, T, width, PER_CHUNK, self.keep, mapped_out, t.output_row, t.output_c)
                for i in range(threads)
            ]  # fmt: skip
            for part in work:
                part.result()
            kernel.after(stage, t.stages, t.sum_destination, T, S)
        out[:] = t.output_c * S[t.output_row] if len(out) else out


def _aligned(shape: tuple[int, int]) -> Any:
    """Zeros that begin at a multiple of 64 bytes, as vector instructions like it."""
    n = shape[0] * shape[1]
    numbers = np.zeros(n + 8)
    start = (-numbers.ctypes.data // 8) % 8
    return numbers[start : start + n].reshape(shape)


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(8, "tinygrad_vi")


@cache
def load_kernel() -> Any:
    """The kernel's module.  Its functions are compiled when they are first called on a machine, and kept on disk."""
    from tinygrad_vi.compiler import kernel

    return kernel


@contextmanager
def _announced() -> Iterator[None]:
    """Say that the kernel is being compiled, when a call takes so long that it must be."""
    text = "tinygrad_vi: compiling the kernel, which happens once on a machine and takes some seconds ..."
    timer = Timer(1.5, lambda: print(text, file=sys.stderr, flush=True))
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
