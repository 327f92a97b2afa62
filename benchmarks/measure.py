"""What every benchmark needs: a fair clock, a collector that can be paused, tables."""

from __future__ import annotations

import gc
import math
import os
import platform
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter
from typing import Any

import numpy as np
import threadpoolctl
from tabulate import tabulate
from tqdm import tqdm

#: the times in seconds of the stages of one piece of work: {"forward": 0.01, "backward": 0.02}
Stages = dict[str, float]


def machine() -> str:
    """The interpreter and the processor."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        models = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line]
        cpu = models[0] if models else cpu
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return f"{python}, {platform.system()} {platform.machine()}, {os.cpu_count()} x {cpu}"


@contextmanager
def collector(on: bool) -> Iterator[None]:
    """Run with the garbage collector on or off, starting and ending with a clean heap."""
    was_on = gc.isenabled()
    gc.collect()
    if on:
        gc.enable()
    else:
        gc.disable()
    try:
        yield
    finally:
        gc.collect()
        if was_on:
            gc.enable()
        else:
            gc.disable()


def interleaved(
    contestants: dict[str, Callable[[], Stages]], repeats: int, title: str, steps: int = 1, warm_up: int = 0
) -> dict[str, Stages]:
    """The median time of each stage of each contestant.

    They take turns, so a machine that slows down slows all of them.  A turn is ``warm_up`` steps that are not counted
    and ``steps`` that are; the heap is cleaned between turns, outside of the clock, so that nobody collects the garbage
    of the one before.
    """
    times: dict[str, list[Stages]] = {name: [] for name in contestants}
    with progress(title, repeats * len(contestants)) as bar:
        for _ in range(repeats):
            for name, work in contestants.items():
                gc.collect()
                for _ in range(warm_up):
                    work()
                times[name] += [work() for _ in range(steps)]
                bar.update()
    gc.collect()
    return {name: _medians(rows) for name, rows in times.items()}


def _medians(rows: list[Stages]) -> Stages:
    stages = {stage: median(row[stage] for row in rows) for stage in rows[0]}
    return stages | {"total": median(sum(row.values()) for row in rows)}


#: seconds of a call from which on a contestant makes one call a turn, and takes part in a few turns only
SLOW = 0.02
FEW_TURNS = 3


@dataclass(frozen=True)
class Spread:
    """Some numbers of one kind: their median and their quartiles."""

    middle: float
    low: float
    high: float

    @staticmethod
    def of(numbers: Sequence[float]) -> Spread:
        low, middle, high = quantiles(numbers, n=4, method="inclusive") if len(numbers) > 1 else 3 * [numbers[0]]
        return Spread(middle, low, high)


class Race:
    """The seconds of a call of each contestant, turn by turn."""

    def __init__(self, seconds: dict[str, list[float]]) -> None:
        self.seconds = {name: Spread.of(turns) for name, turns in seconds.items()}
        self._turns = seconds

    def times(self, name: str, other: str) -> Spread:
        """How many times longer one takes than another, in the turns that both took: what slows both cancels out."""
        pairs = zip(self._turns[name], self._turns[other], strict=False)  # the slow stop earlier
        return Spread.of([a / b for a, b in pairs])


def race(contestants: dict[str, Callable[[], Any]], turns: int, title: str, calls: int = 1) -> Race:
    """Time them side by side.

    They take turns, and a turn is a burst of so many calls: with one call each finds the caches full of what the others
    left there, with twenty it finds its own.  What was made before the race is no burden to the collector.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    slow = {name: _second_call(work) > SLOW for name, work in contestants.items()}
    gc.collect()
    gc.freeze()
    with progress(title, turns) as bar:
        for turn in range(turns):
            for name, work in contestants.items():
                if turn < FEW_TURNS or not slow[name]:
                    seconds[name].append(_per_call(work, 1 if slow[name] else calls))
            bar.update()
    gc.unfreeze()
    return Race(seconds)


def _second_call(work: Callable[[], Any]) -> float:
    work()
    return _per_call(work, 1)


def _per_call(work: Callable[[], Any], calls: int) -> float:
    if isinstance(work, OnOneCore):
        return work.burst(calls)
    start = perf_counter()
    for _ in range(calls):
        work()
    return (perf_counter() - start) / calls


class OnOneCore:
    """A contestant in a process of its own that has one core, for a library that takes no number of threads.

    make: what makes it there; it must pickle.  Only systems that give a process its cores can do this.
    """

    possible = hasattr(os, "sched_setaffinity")

    def __init__(self, make: Callable[[], Callable[[], Any]]) -> None:
        context = get_context("spawn")
        self._pipe, there = context.Pipe()
        self._process = context.Process(target=_serve, args=(there, make), daemon=True)
        self._process.start()
        there.close()

    def __call__(self) -> Any:
        self._pipe.send(0)
        return self._pipe.recv()

    def burst(self, calls: int) -> float:
        """The seconds of a call, by the clock of that process."""
        self._pipe.send(calls)
        return float(self._pipe.recv())

    def end(self) -> None:
        """Let the process go."""
        self._pipe.close()
        self._process.join()


def _serve(pipe: Any, make: Callable[[], Callable[[], Any]]) -> None:
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    work = make()
    while True:
        try:
            calls = pipe.recv()
        except EOFError:
            return
        pipe.send(_per_call(work, calls) if calls else as_numbers(work()))


def as_numbers(answer: Any) -> Any:
    """Whatever a contestant returned, a number or some arrays of any library, as one NumPy vector."""
    for dense in ("toarray", "full"):  # SciPy's and CasADi's matrices
        if hasattr(answer, dense):
            answer = getattr(answer, dense)()
    if isinstance(answer, tuple):
        return np.hstack([as_numbers(part) for part in answer])
    return np.asarray(answer, dtype=float).ravel()


#: a matrix of so many rows: large enough for the best that BLAS can do, and small enough to be asked in each turn
DGEMM = 384


def dgemm() -> Callable[[], Any]:
    """A product of two square matrices on one thread: what the core can do at most, in the same run."""
    A = np.random.default_rng(0).normal(size=(DGEMM, DGEMM))
    B = A.T.copy()
    threads = threadpoolctl.ThreadpoolController()

    def work() -> Any:
        with threads.limit(limits=1, user_api="blas"):
            return A @ B

    return work


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def progress(title: str, total: int) -> Any:
    """A bar that leaves nothing behind, and says nothing where nobody watches."""
    return tqdm(total=total, desc=title, leave=False, disable=None)


@dataclass(frozen=True)
class Table:
    """What a part has found: a table to read, and figures by name for whoever sums up.

    as_written leaves the cells alone, which otherwise get three digits where they are numbers.
    """

    title: str
    headers: Sequence[str]
    rows: Sequence[Sequence[Any]]
    as_written: bool = False
    note: str = ""
    figures: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        options: dict[str, Any] = {"floatfmt": ".3g"}
        if self.as_written:
            options = {"disable_numparse": True, "colalign": ["left", *["right"] * (len(self.headers) - 1)]}
        rows = [[*row, *[""] * (len(self.headers) - len(row))] for row in self.rows]
        text = f"{self.title}\n\n{tabulate(rows, self.headers, tablefmt='github', **options)}"
        return f"{text}\n\n{self.note}" if self.note else text


def three_digits(x: float) -> str:
    """``0.0123``, ``1.23``, ``123``, ``12,345``: at least three digits, never an exponent."""
    return f"{x:,.{max(0, 2 - math.floor(math.log10(x)))}f}" if x > 0.0 else "0"


def duration(seconds: float) -> str:
    """With its unit: ``8.21 µs``, ``0.412 ms``, ``1.05 s``."""
    for unit, name in ((1e-6, "µs"), (1e-3, "ms")):
        if seconds < 100 * unit:
            return f"{three_digits(seconds / unit)} {name}"
    return f"{three_digits(seconds)} s"


def plot(path: Path, title: str, x_name: str, y_name: str, lines: dict[str, list[tuple[float, float]]]) -> None:
    """Write lines of points (x, y) as a picture with logarithmic axes."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullFormatter

    figure = Figure(figsize=(7.0, 4.5), layout="constrained")
    axes = figure.add_subplot()
    for name, points in lines.items():
        axes.loglog(*zip(*points, strict=True), marker="o", label=name)
    axes.set(title=title, xlabel=x_name, ylabel=y_name)
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(alpha=0.3)
    axes.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    print(f"\n{path}")


def against(target: float, measured: float, at_most: bool = False) -> str:
    """How a figure stands to its target: ``25x: met`` (or ``missed``)."""
    met = measured <= target if at_most else measured >= target
    return "met" if met else "missed"
