"""What every benchmark needs: a fair clock, a collector that can be paused, tables."""

from __future__ import annotations

import gc
import os
import platform
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

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


def race(contestants: dict[str, Callable[[], Any]], turns: int, title: str, calls: int = 1) -> dict[str, float]:
    """The median time of a call of each contestant, in seconds.

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
    return {name: median(times) for name, times in seconds.items()}


def _second_call(work: Callable[[], Any]) -> float:
    work()
    return _per_call(work, 1)


def _per_call(work: Callable[[], Any], calls: int) -> float:
    start = perf_counter()
    for _ in range(calls):
        work()
    return (perf_counter() - start) / calls


def progress(title: str, total: int) -> Any:
    """A bar that leaves nothing behind, and says nothing where nobody watches."""
    return tqdm(total=total, desc=title, leave=False, disable=None)


def show(title: str, headers: Sequence[str], rows: Iterable[Sequence[Any]], as_written: bool = False) -> None:
    """Print a table; ``as_written`` leaves the cells alone, which otherwise get three digits where they are numbers."""
    options: dict[str, Any] = {"floatfmt": ".3g"}
    if as_written:
        options = {"disable_numparse": True, "colalign": ["left", *["right"] * (len(headers) - 1)]}
    print(f"\n{title}\n\n{tabulate(list(rows), headers, tablefmt='github', **options)}", flush=True)


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
