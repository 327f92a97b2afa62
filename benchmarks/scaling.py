"""Long chains and long sums, and one batch on several threads, devices and processes.

The time for each node should not depend on how many there are; `benchmarks.layouts` has the model of the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from time import perf_counter

from benchmarks import layouts
from benchmarks.measure import Stages, Table, collector, interleaved
from tinygrad_vi import Value, total
from tinygrad_vi.graph import topological_order


def products(count: int) -> Value:
    c = Value(1.0 + 1e-9)
    y = Value(1.5)
    for _ in range(count):
        y = y * c
    return y


def sums(count: int) -> Value:
    x = y = Value(1.5)
    for _ in range(count):
        y = y + x
    return y


def one_total(count: int) -> Value:
    return total([Value(0.5) for _ in range(count)])


SHAPES: dict[str, Callable[[int], Value]] = {
    "chain of *": products,
    "chain of +": sums,
    "one total (per term)": one_total,
}


def timed(build: Callable[[int], Value], count: int) -> Callable[[], Stages]:
    def work() -> Stages:
        start = perf_counter()
        y = build(count)
        built = perf_counter()
        y.backward()
        swept = perf_counter()
        del y
        return {"build": built - start, "backward": swept - built, "free": perf_counter() - swept}

    return work


def run(repeats: int, quick: bool) -> Iterator[Table]:
    """Nanoseconds a node for growing graphs, what shared operands cost, and a batch on several devices."""
    counts = [10**3, 10**4, 10**5] if quick else [10**4, 10**5, 10**6]
    work = {(shape, count): timed(build, count) for shape, build in SHAPES.items() for count in counts}
    medians = {}
    for on in (True, False):
        with collector(on):
            named = {f"{shape} {count}": step for (shape, count), step in work.items()}
            medians[on] = interleaved(named, min(repeats, 3), f"scaling, collector {'on' if on else 'off'}")
    for on, result in medians.items():
        yield Table(
            f"Nanoseconds a node, collector {'on' if on else 'off'}",
            ["", "nodes", "build", "backward", "free", "total", "total, against the smallest"],
            [
                [
                    shape,
                    f"{count:,}",
                    *(f"{1e9 * times[stage] / count:.0f}" for stage in ("build", "backward", "free", "total")),
                    f"{times['total'] / count / (result[f'{shape} {counts[0]}']['total'] / counts[0]):.2f}",
                ]
                for shape, count in work
                for times in (result[f"{shape} {count}"],)
            ],
        )
    x = leaf = Value(1.0)
    for _ in range(60):
        x = x + x
    x.backward()
    visits = len(topological_order([x]))
    yield Table(
        "x = x + x, sixty times: 2**60 paths",
        ["nodes visited", "d/dx - 2**60"],
        [[visits, leaf.grad - 2.0**60]],
    )
    yield from layouts.run(repeats, quick)
