"""Compiled scalar code beside array programs: value and gradient, averaged over a batch, in double precision.

The programs are those of benchmarks/programs.py, the contestants those of benchmarks/peers.py; before anything is timed
their numbers are compared.  *Cold* is one call each in turn, *warm* a burst of 20 calls as in a training loop; *set-up*
is what happens once (tracing, compiling, converting data) with the first call.  PyTorch and NumPy have one thread but
where it says otherwise; JAX takes as many as it wants.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from time import perf_counter

import numpy as np
import threadpoolctl

from benchmarks.measure import against, plot, race, show
from benchmarks.peers import EAGER, OURS, PEERS, Peer, Step, numbers
from benchmarks.programs import PROGRAMS, Program, demo, demo_in_a_loop, digits, graph, long_memory, recurrent, wide
from tinygrad_vi import Value
from tinygrad_vi.graph import topological_order

BURST = 20
TURNS = {False: 15, True: 2}  # of a quick run or not
TOLERANCE = 1e-10

#: DESIGN: how many times slower than ours
TARGETS = {
    "A": {"jax.jit": 5.0, "PyTorch eager": 20.0, "CasADi SX": 50.0, "micrograd": 20_000.0},
    "B": {"jax.jit": 2.0, "PyTorch eager": 8.0},
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


# --- One program ------------------------------------------------------------------------------------------------------


def prepare(program: Program, peers: Sequence[Peer]) -> tuple[dict[str, Step], dict[str, float], dict[str, str]]:
    """The steps of those who take part, the seconds of their set-up, and why the others do not."""
    steps, seconds, absent = {}, {}, {}
    for peer in peers:
        reason = peer.missing() or ("" if peer.can_run(program) else "not for this one")
        if reason:
            absent[peer.name] = reason
            continue
        start = perf_counter()
        steps[peer.name] = peer.step(program)
        steps[peer.name]()
        seconds[peer.name] = perf_counter() - start
    return steps, seconds, absent


def check(program: Program, steps: dict[str, Step]) -> float:
    """The largest relative difference in value or gradient; an error when it is more than the tolerance."""
    first, *others = [np.hstack(numbers(step())) for step in steps.values()]
    scale = np.abs(first).max()
    worst = max([float(np.abs(other - first).max() / scale) for other in others], default=0.0)
    if not worst <= TOLERANCE:
        raise SystemExit(f"{program}: the contestants disagree by {worst}, more than {TOLERANCE}")
    return worst


def match(program: Program, targets: dict[str, float], quick: bool) -> None:
    """Print the table of one program."""
    steps, seconds, absent = prepare(program, PEERS)
    worst = check(program, steps)
    cold = race(steps, TURNS[quick], f"{program}, cold")
    warm = race(steps, TURNS[quick], f"{program}, warm", BURST)
    rates = work_rates(program, warm, quick)
    base = next(iter(steps))  # ours, when it is there
    rows = []
    for name in steps:
        slower = cold[name] / cold[base], warm[name] / warm[base]
        target = targets.get(name) if base == OURS else None
        verdict = [] if target is None else [f"{target:,g}", *(against(target, x) for x in slower)]
        figures = (1e6 * cold[name], 1e6 * warm[name], *slower)
        rows.append([name, f"{seconds[name]:.2f}", *map(three_digits, figures), *rates[name], *(verdict or [""] * 3)])
    rows += [[name, reason] for name, reason in absent.items()]
    rate_names = ["GFLOP/s", "% of dgemm"] if program.flops() else []
    show(
        f"{program}, {len(program.parameters):,} parameters; all agree to {worst:.0e}; "
        f"times are of {base}, the last three columns on the target for these",
        ["", "set-up s", "cold us", "warm us", "cold, times", "warm, times", *rate_names, "target", "cold", "warm"],
        rows,
        as_written=True,
    )


def work_rates(program: Program, seconds: dict[str, float], quick: bool) -> dict[str, list[str]]:
    """For each contestant GFLOP/s of the products of matrices, and beside a product of large ones on one thread.

    That product is NumPy's; another one may be faster than it.
    """
    if not program.flops():
        return {name: [] for name in seconds}
    n = 64 if quick else 512
    a, b, out = np.random.default_rng(0).random((3, n, n))
    with threadpoolctl.threadpool_limits(1):
        [best] = race({"dgemm": partial(np.dot, a, b, out=out)}, TURNS[quick], "dgemm", BURST).values()
    peak = 2 * n**3 / best
    rates = {name: program.flops() / time for name, time in seconds.items()}
    return {name: [f"{rate / 1e9:.1f}", f"{100 * rate / peak:.0f}"] for name, rate in rates.items()}


def inside(quick: bool) -> None:
    """Print what the gradient costs beside the value, and a batch that is found beside one that is declared."""
    from tinygrad_vi import compile

    steps: dict[str, Callable[[], object]] = {}
    for make in (demo, digits, recurrent):
        program = make()
        step = compile(program.loss, program.parameters)
        arguments = step.theta, program.X, program.Y
        steps[f"{program}: value"] = partial(step, *arguments)
        steps[f"{program}: value and gradient"] = partial(step.value_and_grad, *arguments)
    loop, parameters = demo_in_a_loop()
    found = compile(loop, parameters)
    steps["A, its batch found in a loop"] = partial(found.value_and_grad, found.theta)
    for step in steps.values():
        step()
    times = race(steps, TURNS[quick], "ours", BURST)
    names = list(steps)
    ratios = [1.0, times[names[1]] / times[names[0]], 1.0, times[names[3]] / times[names[2]], 1.0,
              times[names[5]] / times[names[4]], times[names[6]] / times[names[1]]]  # fmt: skip
    beside = ["", "the value", "", "the value", "", "the value", "the declared batch"]
    targets = ["", "4", "", "4", "", "4", "1.2"]
    show(
        "Ours beside ours, warm",
        ["", "us", "times", "those of", "at most"],
        [
            [name, three_digits(1e6 * times[name]), f"{ratio:.2f}", of, target]
            for name, ratio, of, target in zip(names, ratios, beside, targets, strict=True)
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
) -> None:
    """Print, and draw, the time of a call of each contestant while one quantity grows."""
    lines: dict[str, list[tuple[float, float]]] = {}
    rows = []
    for size, program in programs:
        steps, _, _ = prepare(program, peers)
        check(program, steps)
        times = race(steps, TURNS[quick], f"{title}, {size}", BURST)
        base = next(iter(steps))
        ratios = {name: seconds / times[base] for name, seconds in times.items()}
        rows.append([f"{size:,}", *_columns(peers, times, 1e6), *_columns(peers, ratios, 1.0)[1:]])
        for name, seconds in times.items():
            lines.setdefault(name, []).append((size, 1e6 * seconds))
    names = [peer.name for peer in peers if not peer.missing()]
    show(
        f"{title}: us a call in bursts of {BURST}, and times those of the first",
        [quantity, *names, *(f"{name}, times" for name in names[1:])],
        rows,
        as_written=True,
    )
    if out is not None:
        plot(_file(out, title), title, quantity, "us a call", lines)


def set_up(title: str, programs: Sequence[Program], peers: Sequence[Peer], out: Path | None) -> None:
    """Print, and draw, how long the first call takes, with all that comes before it, while programs grow."""
    lines: dict[str, list[tuple[float, float]]] = {}
    rows = []
    for program in programs:
        nodes = scalar_nodes(program)
        _, seconds, _ = prepare(program, peers)
        rows.append([f"{nodes:,}", *_columns(peers, seconds, 1.0), *_columns(peers, seconds, 1e6 / nodes)])
        for name, time in seconds.items():
            lines.setdefault(name, []).append((nodes, time))
    names = [peer.name for peer in peers if not peer.missing()]
    show(
        f"{title}: seconds of set-up with the first call, and us a node",
        ["nodes", *names, *(f"{name}, us a node" for name in names)],
        rows,
        as_written=True,
    )
    if out is not None:
        plot(_file(out, title), title, "scalar nodes", "seconds", lines)


def scalar_nodes(program: Program) -> int:
    """How many operations the eager engine records for one example."""
    loss = program.loss([Value(x) for x in program.X[0].tolist()], float(program.Y[0]))
    return len(topological_order([loss]))


def _columns(peers: Sequence[Peer], times: dict[str, float], unit: float) -> list[str]:
    present = [peer.name for peer in peers if not peer.missing()]
    return [three_digits(unit * times[name]) if name in times else "" for name in present]


def three_digits(x: float) -> str:
    """``0.0123``, ``1.23``, ``123``, ``12,345``: at least three digits, never an exponent."""
    return f"{x:,.{max(0, 2 - math.floor(math.log10(x)))}f}" if x > 0.0 else "0"


def _file(folder: Path, title: str) -> Path:
    return folder / f"{'_'.join(title.lower().replace(',', '').split())}.png"


# --- All --------------------------------------------------------------------------------------------------------------


def run(repeats: int, quick: bool, out: Path | None = None) -> None:  # noqa: ARG001
    """Print a table for each program, and how times grow; draw the latter when there is a folder for it."""
    for name, make in (QUICK if quick else PROGRAMS).items():
        match(make(), {} if quick else TARGETS.get(name, {}), quick)

    inside(quick)
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
        growing(title, quantity, [(size, make_size(size)) for size in sizes], peers, quick, out)

    compilers = named(OURS, "CasADi SX", "jax.jit")
    if not all(peer.missing() for peer in compilers):
        many = [30, 100] if quick else [1000, 3000, 10_000, 30_000, 100_000, 300_000]
        set_up("Set-up, D", [graph(n) for n in many], compilers, out)
        set_up("Set-up, 64-w-w-10 of + and *", [wide(1, w, expand=True) for w in widths], compilers, out)
    if any(peer.name == OURS and peer.missing() for peer in PEERS):
        print("\ncompile: not available")
