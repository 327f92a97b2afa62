"""One match: contestants are made ready, their answers compared, their calls timed in turn; a table comes of it.

*Set-up* is what happens once (tracing, compiling, converting data), with the first call.  *Cold* is one call each in
turn, otherwise a turn is a burst of 20 calls, as in a training loop.  Times are medians with their quartiles; how many
times longer others take is the median over the turns, in which all stand side by side.  Where the work is known, the
speed in GFLOP/s stands beside that of a product of matrices on one core, measured in the same turns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from time import perf_counter
from typing import Any

import numpy as np

from benchmarks.measure import (
    DGEMM,
    OnOneCore,
    Spread,
    Table,
    against,
    as_numbers,
    dgemm,
    duration,
    race,
    three_digits,
)

Call = Callable[[], Any]
Makers = Mapping[str, Callable[[], Call]]

BURST = 20
TURNS = {False: 15, True: 2}  # of a quick run or not
TOLERANCE = 1e-10

PEAK = "dgemm"


def made_ready(makers: Makers) -> tuple[dict[str, Call], dict[str, float]]:
    """The calls, and the seconds until the first of each was answered."""
    calls, seconds = {}, {}
    for name, make in makers.items():
        start = perf_counter()
        calls[name] = make()
        calls[name]()
        seconds[name] = perf_counter() - start
    return calls, seconds


def check(title: str, calls: Mapping[str, Call]) -> float:
    """The largest difference from the first answer, relative to its largest number; an error beyond the tolerance."""
    answers = {name: as_numbers(call()) for name, call in calls.items()}
    first = next(iter(answers.values()))
    scale = float(np.abs(first).max()) or 1.0
    worst = 0.0
    for name, answer in answers.items():
        difference = float(np.abs(answer - first).max()) / scale
        if not difference <= TOLERANCE:
            raise SystemExit(f"{title}: {name} is off by {difference}, more than {TOLERANCE}")
        worst = max(worst, difference)
    return worst


def match(
    name: str,
    title: str,
    makers: Makers,
    quick: bool,
    *,
    absent: Mapping[str, str] | None = None,
    flops: float = 0.0,
    targets: Mapping[str, float] | None = None,
    cold: bool = False,
) -> Table:
    """The table of one program.

    makers: what makes each contestant's call; times are told as those of the first.  absent: who does not take part,
    and why.  flops: the additions and multiplications of a call, where it is known.  targets: for the first, how many
    microseconds it may take; for others, how many times longer than the first they should take.
    """
    calls, ready = made_ready(makers)
    worst = check(title, calls)
    turns = TURNS[quick]
    first = next(iter(calls))
    found_cold = race(calls, turns, f"{title}, cold") if cold else None
    found = race({**calls, PEAK: dgemm()} if flops else calls, turns, title, 2 if quick else BURST)
    for call in calls.values():
        if isinstance(call, OnOneCore):
            call.end()

    peak = 2 * DGEMM**3 / found.seconds[PEAK].middle if flops else 0.0
    targets = {} if targets is None or quick else targets
    headers = ["", "set-up s", *["cold us"] * cold, "us", "quartiles", "times", "quartiles"]
    headers += ["GFLOP/s", "of peak"] * bool(flops) + ["target", ""] * bool(targets)
    rows: list[list[str]] = []
    times, share = {}, {}
    for contestant in calls:
        seconds, ratio = found.seconds[contestant], found.times(contestant, first)
        row = [contestant, f"{ready[contestant]:.2f}"]
        if found_cold is not None:
            row.append(three_digits(1e6 * found_cold.seconds[contestant].middle))
        row += [*_cells(seconds, 1e6), *_cells(ratio, 1.0)]
        times[contestant] = ratio
        if flops:
            share[contestant] = flops / seconds.middle / peak
            row += [three_digits(1e-9 * flops / seconds.middle), f"{share[contestant]:.0%}"]
        if target := targets.get(contestant):
            is_ours = contestant == first or contestant.startswith("tinygrad_vi")
            measured = 1e6 * seconds.middle if is_ours else ratio.middle
            row += [f"{target:,g}{' us' if is_ours else 'x'}", against(target, measured, at_most=is_ours)]
        rows.append(row)
    rows += [[contestant, reason] for contestant, reason in (absent or {}).items()]
    notes = [f"All agree to {worst:.0e}; times are those of {first}."]
    if flops:
        beside = f"dgemm of {DGEMM} rows on one core, in the same turns: {1e-9 * peak:.1f} GFLOP/s"
        notes.append(f"{flops:.3g} FLOP a call; {beside}; of peak: of this one core, also for those with more threads.")
    figures = {
        "seconds": {contestant: _plain(found.seconds[contestant]) for contestant in calls},
        "times": {contestant: _plain(spread) for contestant, spread in times.items()},
        "share": share,
        "set-up": ready,
    }
    return Table(title, headers, rows, as_written=True, note=" ".join(notes), figures={name: figures})


def summary(title: str, tables: Iterable[Table]) -> Table:
    """The matches of a part in one table: a program a line, and how many times longer the others take."""
    found = {name: figures for table in tables for name, figures in table.figures.items()}
    contestants = list(dict.fromkeys(contestant for figures in found.values() for contestant in figures["seconds"]))
    rows = []
    for name, figures in found.items():
        first, *_ = figures["seconds"].values()
        others = [figures["times"].get(contestant) for contestant in contestants[1:]]
        rows.append([name, duration(first[0]), *("" if x is None else three_digits(x[0]) for x in others)])
    return Table(title, ["", *contestants], rows, as_written=True)


def _cells(spread: Spread, unit: float) -> list[str]:
    low, high = (three_digits(unit * x) for x in (spread.low, spread.high))
    return [three_digits(unit * spread.middle), f"{low} to {high}"]


def _plain(spread: Spread) -> list[float]:
    return [spread.middle, spread.low, spread.high]
