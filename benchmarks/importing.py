"""What ``import tinygrad_vi`` adds to a bare interpreter: time, and modules."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter

from benchmarks.measure import Stages, Table, against, interleaved

ROOT = Path(__file__).resolve().parent.parent
LIMIT = 50.0  # ms
IMPORT = f"import sys; sys.path.insert(0, {str(ROOT)!r}); import tinygrad_vi"
MODULES = "; print(*sys.modules)"


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    """A fresh interpreter with no site-packages: nothing can be loaded that is not ours or Python's."""
    command = [sys.executable, "-I", "-S", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True)


def timed(code: str) -> Callable[[], Stages]:
    def work() -> Stages:
        start = perf_counter()
        python("-c", code)
        return {"start": perf_counter() - start}

    return work


def loaded() -> list[str]:
    """The modules of ``import tinygrad_vi`` that a bare interpreter does not have."""
    before = python("-c", "import sys" + MODULES).stdout.split()
    after = python("-c", IMPORT + MODULES).stdout.split()
    return [module for module in after if module not in before]


def costs() -> list[tuple[float, float, str]]:
    """For each module: its own milliseconds, those with what it imports, its name; dearest first."""
    rows = []
    for line in python("-X", "importtime", "-c", IMPORT).stderr.splitlines():
        own, cumulative, name = line.removeprefix("import time:").split("|")
        if own.strip().isdigit():
            rows.append((int(own) / 1e3, int(cumulative) / 1e3, name.strip()))
    return sorted(rows, reverse=True)


def run(repeats: int, quick: bool) -> Iterator[Table]:
    """The medians of fresh processes, the modules loaded, and the dearest ones."""
    contestants = {"bare interpreter": timed("pass"), "import tinygrad_vi": timed(IMPORT)}
    contestants["import tinygrad_vi"]()  # writes the bytecode
    medians = interleaved(contestants, 5 if quick else max(20, repeats), "import")
    bare, ours = (1e3 * times["total"] for times in medians.values())
    modules = loaded()
    foreign = {m.partition(".")[0] for m in modules} - set(sys.stdlib_module_names) - {"tinygrad_vi"}
    yield Table(
        "Fresh processes (-I -S), medians in ms",
        ["bare interpreter", "import tinygrad_vi", "difference", "target", ""],
        [[f"{bare:.1f}", f"{ours:.1f}", f"{ours - bare:.1f}", f"{LIMIT:g}", against(LIMIT, ours - bare, at_most=True)]],
        note=f"{len(modules)} modules; outside of the standard library: {', '.join(sorted(foreign)) or 'none'}",
        figures={"import": {"ms": ours - bare}},
    )
    after_start = [(own, all_, name) for own, all_, name in costs() if name in modules]
    headers = ["own", "with its imports", "module"]
    yield Table("The dearest of them, ms (under -X importtime)", headers, after_start[:10])
