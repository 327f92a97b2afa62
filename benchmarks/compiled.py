"""Compiled scalar code beside array programs: value and gradient, averaged over a batch, in double precision.

The programs are those of benchmarks/programs.py, the contestants those of benchmarks/peers.py, the rules those of
benchmarks/match.py.  PyTorch and NumPy have one thread but where it says otherwise; JAX takes as many as it wants, and
where threads matter stands once more in a process that has one core.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from benchmarks.match import BURST, TURNS, Call, check, made_ready, match, summary
from benchmarks.measure import Race, Table, plot, race, three_digits
from benchmarks.peers import BOUND, EAGER, OURS, PEERS, Peer
from benchmarks.programs import PROGRAMS, Program, demo, demo_in_a_loop, digits, graph, long_memory, recurrent, wide
from tinygrad_vi import compile

#: microseconds of ours at most, and how many times longer the others take at least
TARGETS = {
    "A": {OURS: 12.0, BOUND: 8.0, "jax.jit": 5.0, "PyTorch eager": 20.0, "CasADi SX": 50.0, "micrograd": 20_000.0},
    "B": {OURS: 25.0, "jax.jit": 2.0, "PyTorch eager": 8.0},
    "C": {"jax.jit": 2.0, "PyTorch eager": 10.0},
    "wide": {"jax.jit": 1.0, "NumPy by hand": 1.0, "NumPy, all threads": 1.0},
    "large batch": {"jax.jit": 1.0, "NumPy by hand": 1.0},
}

QUICK: dict[str, Callable[[], Program]] = {
    "A": lambda: demo(10),
    "B": lambda: digits(4),
    "C": lambda: recurrent(2, steps=3),
    "LSTM": lambda: long_memory(2, steps=3),
    "D": lambda: graph(100),
    "wide": lambda: wide(4, width=16),
    "large batch": lambda: digits(20),
}


def named(*names: str) -> list[Peer]:
    by_name = {peer.name: peer for peer in PEERS}
    return [by_name[name] for name in names]


def contestants(program: Program, peers: Sequence[Peer]) -> tuple[dict[str, Callable[[], Call]], dict[str, str]]:
    """What makes the steps of those who take part, and why the others do not."""
    makers, absent = {}, {}
    for peer in peers:
        if reason := peer.missing() or ("" if peer.can_run(program) else "not for this one"):
            absent[peer.name] = reason
        else:
            makers[peer.name] = partial(peer.step, program)
    return makers, absent


def one(name: str, program: Program, quick: bool) -> Table:
    """The table of one program."""
    makers, absent = contestants(program, PEERS)
    return match(
        name,
        f"{program}, {len(program.parameters):,} parameters",
        makers,
        quick,
        absent={peer: reason for peer, reason in absent.items() if reason != "not for this one"},
        flops=program.flops(),
        targets=TARGETS.get(name),
        cold=True,
    )


def inside(quick: bool) -> Table:
    """What the gradient costs beside the value, and a batch that is found beside one that is declared."""
    calls: dict[str, Call] = {}
    beside: dict[str, tuple[str, float]] = {}
    for make in (demo, digits, recurrent):
        program = make()
        step = compile(program.loss, program.parameters)
        arguments = step.theta, program.X, program.Y
        alone, both = f"{program}: value", f"{program}: value and gradient"
        calls[alone] = partial(step, *arguments)
        calls[both] = partial(step.value_and_grad, *arguments)
        beside[both] = alone, 4.0
    loop, parameters = demo_in_a_loop()
    found = compile(loop, parameters)
    calls["A, its batch found in a loop"] = partial(found.value_and_grad, found.theta)
    beside["A, its batch found in a loop"] = f"{demo()}: value and gradient", 1.2
    for call in calls.values():
        call()
    times = race(calls, TURNS[quick], "ours", BURST)
    return Table(
        "Ours beside ours",
        ["", "us", "times", "those of", "at most"],
        [
            [
                name,
                three_digits(1e6 * times.seconds[name].middle),
                *([f"{times.times(name, of[0]).middle:.2f}", *map(str, of)] if (of := beside.get(name)) else []),
            ]
            for name in calls
        ],
        as_written=True,
    )


# --- Growing programs -------------------------------------------------------------------------------------------------


def growing(
    title: str,
    quantity: str,
    programs: Sequence[tuple[int, Program]],
    peers: Sequence[Peer],
    quick: bool,
    out: Path | None,
) -> Table:
    """The time of a call of each contestant while one quantity grows; drawn where there is a folder for it."""
    present = [peer.name for peer in peers if not peer.missing()]
    lines: dict[str, list[tuple[float, float]]] = {}
    rows = []
    for size, program in programs:
        calls, _ = made_ready(contestants(program, peers)[0])
        check(f"{title}, {size}", calls)
        found: Race = race(calls, TURNS[quick], f"{title}, {size}", 2 if quick else BURST)
        for name in calls:
            lines.setdefault(name, []).append((size, 1e6 * found.seconds[name].middle))
        took = [three_digits(1e6 * found.seconds[name].middle) if name in calls else "" for name in present]
        times = [three_digits(found.times(name, present[0]).middle) if name in calls else "" for name in present[1:]]
        rows.append([f"{size:,}", *took, *times])
    if out is not None:
        plot(out / f"{'_'.join(title.lower().replace(',', '').split())}.png", title, quantity, "us a call", lines)
    return Table(
        f"{title}: us a call in bursts of {BURST}, and times those of the first",
        [quantity, *present, *(f"{name}, times" for name in present[1:])],
        rows,
        as_written=True,
    )


# --- All --------------------------------------------------------------------------------------------------------------


def run(repeats: int, quick: bool, out: Path | None = None) -> Iterator[Table]:  # noqa: ARG001
    """A table for each program, all in one, and how times grow."""
    tables = []
    for name, make in (QUICK if quick else PROGRAMS).items():
        tables.append(one(name, make(), quick))
        yield tables[-1]
    yield summary("All programs: the time of ours, and how many times longer the others take", tables)
    yield inside(quick)

    arrays = named(OURS, "jax.jit", "NumPy by hand", "PyTorch eager")
    scalars = named(OURS, "CasADi SX", EAGER, "jax.jit", "PyTorch eager")
    examples = [1, 10] if quick else [1, 10, 100, 1000, 10_000, 100_000]
    widths = [8, 16] if quick else [16, 32, 64, 128, 256, 512]
    operations = [30, 100] if quick else [100, 300, 1000, 3000, 10_000]
    growth: list[tuple[str, str, Callable[[int], Program], list[int], list[Peer]]] = [
        ("Batch size, A", "examples", demo, examples, arrays),
        ("Batch size, B", "examples", digits, examples, arrays),
        ("Width, 64-w-w-10, batch 512", "w", lambda w: wide(4 if quick else 512, w), widths, arrays),
        ("Operations, D", "operations", graph, operations, scalars),
    ]
    for title, quantity, make_size, sizes, peers in growth:
        yield growing(title, quantity, [(size, make_size(size)) for size in sizes], peers, quick, out)
