"""What happens once: tracing and compiling, by the operation recorded; a loop written by hand; the first call of all.

CPU seconds, of the process with all its threads.  *Set-up* is from the function to the first value and gradient, where
the kernel has been read already; the collector is on, as people have it.  *Loop* is a logistic regression whose loss
goes through all its examples in Python, in a process of its own, whose largest memory is what the system says.
*First call* is a process of its own that imports, compiles and calls a small function: with the kernel in the cache,
and on a machine that has never seen this package.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any

import numpy as np

from benchmarks.measure import Spread, Table, against, progress, three_digits
from benchmarks.peers import casadi_step, compiled_step, jax_step
from benchmarks.practice import garch, rk4
from benchmarks.programs import PROGRAMS, Program, graph, wide
from tinygrad_vi import Value, compile
from tinygrad_vi.graph import topological_order

ROOT = Path(__file__).resolve().parent.parent


# --- By the operation -------------------------------------------------------------------------------------------------

#: a function of no arguments that sets up and calls once
Work = Callable[[], Any]


def recorded(loss: Any) -> int:
    """How many operations the eager engine records."""
    return sum(bool(node.parents) for node in topological_order([loss]))


def of_program(make: Callable[[], Program]) -> tuple[int, Work, Work | None]:
    """The operations of one example, our set-up, and CasADi's."""
    program = make()
    loss = program.loss([Value(x) for x in program.X[0].tolist()], float(program.Y[0]))
    theirs = None if find_spec("casadi") is None or len(program.parameters) > 20_000 else lambda: casadi_step(program)()
    return recorded(loss), lambda: compiled_step(program)(), theirs


def of_case(make: Callable[[], Any]) -> tuple[int, Work, Work | None]:
    from benchmarks import cases

    case = make()
    loss = case.scalar([Value(x) for x in case.x.tolist()], cases.tinygrad_vi)
    theirs = None if find_spec("casadi") is None else lambda: cases.casadi(case)()
    return recorded(loss), lambda: cases.ours(case)(), theirs


#: microseconds an operation at most, but for the last: seconds in all
DENSE, CHAIN, IRREGULAR, WIDE = "dense, 64-64-64-10 of + and *", "chain, RK4", "irregular, D", "wide, 64-256-256-10"
TARGETS = {DENSE: 5.0, CHAIN: 8.0, "chain, GARCH": 8.0, IRREGULAR: 10.0}
WIDE_SECONDS = 0.4


def sizes(quick: bool) -> dict[str, Callable[[], tuple[int, Work, Work | None]]]:
    return {
        DENSE: partial(of_program, partial(wide, 1, 8 if quick else 64, expand=True)),
        CHAIN: partial(of_case, partial(rk4, 2 if quick else 400)),
        "chain, GARCH": partial(of_case, partial(garch, 5 if quick else 4000)),
        IRREGULAR: partial(of_program, partial(graph, 30 if quick else 20_000)),
        WIDE: partial(of_program, partial(wide, 4, 16) if quick else PROGRAMS["wide"]),
    }


def cpu(work: Work) -> float:
    start = process_time()
    work()
    return process_time() - start


def by_operation(repeats: int, quick: bool) -> Table:
    rows, figures = [], {}
    compiled_step(graph(10))()  # reads the kernel
    for name, make in sizes(quick).items():
        count, ours, theirs = make()
        seconds: dict[str, list[float]] = {"ours": [], "theirs": []}
        with progress(name, repeats) as bar:
            for _ in range(repeats):
                seconds["ours"].append(cpu(ours))
                if theirs is not None:
                    seconds["theirs"].append(cpu(theirs))
                bar.update()
        spread = Spread.of(seconds["ours"])
        each = 1e6 * spread.middle / count
        beside = 1e6 * median(seconds["theirs"]) / count if theirs is not None else None
        figures[name] = {"operations": count, "seconds": spread.middle, "us": each, "CasADi us": beside}
        row = [name, f"{count:,}", three_digits(spread.middle)]
        row += [f"{three_digits(spread.low)} to {three_digits(spread.high)}", three_digits(each)]
        row.append("" if beside is None else three_digits(beside))
        if not quick and name in TARGETS:
            row += [f"{TARGETS[name]:g} us", against(TARGETS[name], each, at_most=True)]
        elif not quick and name == WIDE:
            row += [f"{WIDE_SECONDS:g} s", against(WIDE_SECONDS, spread.middle, at_most=True)]
        rows.append(row)
    headers = ["", "operations", "CPU s", "quartiles", "us an operation", "CasADi SX, us", "target", ""]
    return Table("Set-up with the first call", headers, rows, as_written=True, figures=figures)


# --- In a process of its own ------------------------------------------------------------------------------------------

FEATURES = 20
LOOP = {"seconds": 1.5, "gigabytes": 0.3}
FIRST = {"cold": 5.0, "warm": 0.35}

CALL = """
from tinygrad_vi import compile, log, sin
compile(lambda x: log(x[0]) + x[0] * x[1] - sin(x[1])).value_and_grad([2.0, 5.0])
"""
#: what each process does, one more than the one before
STAGES = {
    "Python": "",
    "NumPy": "import numpy",
    "tinygrad_vi and NumPy": "import numpy, tinygrad_vi",
    "first call": CALL,
}


def process(code: str, root: Path, **environment: str) -> dict[str, Any]:
    """What a new process prints as JSON, with its CPU seconds from its start to its end."""
    report = "import json, time; print(json.dumps({**globals().get('found', {}), 'cpu': time.process_time()}))"
    code = f"{code}\n{report}"
    path = os.pathsep.join([str(root), *filter(None, [os.environ.get("PYTHONPATH")])])
    env = {**os.environ, "PYTHONPATH": path, **environment}
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=env, cwd=root)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def by_hand(examples: int) -> dict[str, Any]:
    """CPU seconds, and the gigabytes by which the largest memory of the process grew; in a process of its own."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(examples, FEATURES))
    y = (X @ rng.normal(size=FEATURES) > 0.0).astype(float)
    w = [Value(0.0) for _ in range(FEATURES + 1)]

    def loss() -> Any:
        mean: Any = 0.0
        for row, target in zip(X.tolist(), y.tolist(), strict=True):
            score = w[-1]
            for a, b in zip(w, row, strict=False):
                score = score + a * b
            mean = mean + (score.softplus() - target * score)
        return mean / examples

    compiled_step(graph(10))()
    before, start = _largest_memory(), process_time()
    step = compile(loss, params=w)
    value, gradient = step.value_and_grad(step.theta)
    seconds = process_time() - start
    scores = X @ np.zeros(FEATURES)
    exact = X.T @ (1.0 / (1.0 + np.exp(-scores)) - y) / examples
    if not np.abs(gradient[:-1] - exact).max() <= 1e-10 or abs(value - np.log(2.0)) > 1e-10:
        raise SystemExit("the loop written by hand has a gradient that is wrong")
    start = perf_counter()
    for _ in range(20):
        step.value_and_grad(step.theta)
    call = (perf_counter() - start) / 20
    return {"seconds": seconds, "gigabytes": (_largest_memory() - before) / 1e9, "call": call}


def _largest_memory() -> float:
    """The bytes of the largest memory of this process so far; not a number on a system that does not say.

    Linux: not what `resource` says, which starts with the memory of the process that started this one.
    """
    status = Path("/proc/self/status")
    if not status.exists():
        return float("nan")
    return 1024.0 * int(re.search(r"VmHWM:\s+(\d+) kB", status.read_text())[1])  # type: ignore[index]


def loop(quick: bool) -> Table:
    examples = 100 if quick else 10_000
    found = process(f"from benchmarks import set_up; found = set_up.by_hand({examples})", ROOT)
    rows = [
        ["CPU s to the first value and gradient", found["seconds"], LOOP["seconds"],
         against(LOOP["seconds"], found["seconds"], at_most=True)],
        ["GB of memory for it", found["gigabytes"], LOOP["gigabytes"],
         against(LOOP["gigabytes"], found["gigabytes"], at_most=True)],
        ["us a call after it", 1e6 * found["call"], "", ""],
    ]  # fmt: skip
    title = f"Logistic regression as a loop over {examples:,} examples of {FEATURES} features, written by hand"
    return Table(title, ["", "", "target", ""], rows, figures={"loop": {"examples": examples, **found}})


def first_call(repeats: int, quick: bool) -> Table:
    rows, figures = [], {}
    process(CALL, ROOT)  # whatever is to be kept is kept now
    for name, code in STAGES.items():
        spread = Spread.of([process(code, ROOT)["cpu"] for _ in range(repeats)])
        figures[name] = spread.middle
        rows.append([name, spread.middle, f"{spread.low:.3g} to {spread.high:.3g}"])
    warm = figures["first call"] - figures["NumPy"]
    rows[-1] += [f"{FIRST['warm']:g} above NumPy", against(FIRST["warm"], warm, at_most=True)]
    if not quick:
        with tempfile.TemporaryDirectory() as folder:
            without = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / "tinygrad_vi", Path(folder, "tinygrad_vi"), ignore=without)
            empty = {"NUMBA_CACHE_DIR": f"{folder}/cache", "XDG_CACHE_HOME": f"{folder}/home"}
            figures["cold"] = process(CALL, Path(folder), **empty)["cpu"]
        verdict = against(FIRST["cold"], figures["cold"], at_most=True)
        rows.append(["first call, nothing in the cache", figures["cold"], "once", f"{FIRST['cold']:g}", verdict])
    return Table("CPU s of a new process", ["", "CPU s", "quartiles", "target", ""], rows, figures={"first": figures})


# --- Growing programs -------------------------------------------------------------------------------------------------


def growing(title: str, programs: list[Program]) -> Table:
    """CPU seconds of set-up, ours, CasADi's and JAX's, and microseconds an operation."""
    makers = {"ours": compiled_step}
    if find_spec("casadi") is not None:
        makers["CasADi SX"] = casadi_step
    if find_spec("jax") is not None:
        makers["jax.jit"] = jax_step
    rows = []
    for program in programs:
        loss = program.loss([Value(x) for x in program.X[0].tolist()], float(program.Y[0]))
        count = recorded(loss)
        seconds = {}
        for name, make in makers.items():
            # compiling a graph of scalars takes JAX 9 s for 1,000 operations; CasADi's of a wide network takes 12 s
            if name == "jax.jit" and program.kind == "graph" and program.sizes[0] > 1000:
                continue
            if name == "CasADi SX" and len(program.parameters) > 20_000:
                continue
            seconds[name] = cpu(lambda make=make, program=program: make(program)())
        cells = [three_digits(seconds[name]) if name in seconds else "" for name in makers]
        each = [three_digits(1e6 * seconds[name] / count) if name in seconds else "" for name in makers]
        rows.append([f"{count:,}", *cells, *each])
    headers = ["operations", *makers, *(f"{name}, us an operation" for name in makers)]
    return Table(f"{title}: CPU s of set-up with the first call", headers, rows, as_written=True)


def run(repeats: int, quick: bool) -> Iterator[Table]:
    """Set-up by the operation, the loop, the first call, and how set-up grows."""
    yield by_operation(1 if quick else repeats, quick)
    yield loop(quick)
    yield first_call(1 if quick else repeats, quick)
    many = [30, 100] if quick else [1000, 3000, 10_000, 30_000, 100_000]
    widths = [8, 16] if quick else [16, 32, 64, 128, 256]
    yield growing("Set-up, D", [graph(n) for n in many])
    yield growing("Set-up, 64-w-w-10 of + and *", [wide(1, w, expand=True) for w in widths])
