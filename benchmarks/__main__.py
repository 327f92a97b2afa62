"""``python -m benchmarks``: measure, print tables, compare with the targets."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

from benchmarks import (
    compiled,
    eager,
    gpt,
    gradbench,
    importing,
    learning,
    memory,
    practice,
    results,
    scaling,
    set_up,
    sparse,
)
from benchmarks.measure import machine

BENCHMARKS = {
    "eager": eager,
    "compiled": compiled,
    "practice": practice,
    "gradbench": gradbench,
    "gpt": gpt,
    "set-up": set_up,
    "sparse": sparse,
    "learning": learning,
    "import": importing,
    "memory": memory,
    "scaling": scaling,
}


def main(arguments: list[str] | None = None) -> None:
    """Run the benchmarks that the command line names, or all of them."""
    arguments = sys.argv[1:] if arguments is None else arguments
    listing = "\n".join(f"  {name:9} {(module.__doc__ or '').splitlines()[0]}" for name, module in BENCHMARKS.items())
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure tinygrad_vi beside its peers, in one run on one machine.",
        epilog=f"benchmarks:\n{listing}\n\nRead ratios: seconds depend on the machine and on what else it does.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "names", nargs="*", metavar="benchmark", help=f"{', '.join(BENCHMARKS)}; all when none is named"
    )
    parser.add_argument("--quick", action="store_true", help="small sizes and few repeats: does it run?")
    parser.add_argument("--repeats", type=int, metavar="N", help="turns for each contestant (7; 2 with --quick)")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="where `compiled` writes pictures; needs matplotlib")
    parser.add_argument(
        "--write", action="store_true", help="keep what was found in benchmarks/results.json and RESULTS.md, and put "
        "its summary in the READMEs; parts that were not run stay as they were"
    )  # fmt: skip
    options = parser.parse_args(arguments)
    unknown = [name for name in options.names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"no benchmark {', '.join(map(repr, unknown))}; there are {', '.join(BENCHMARKS)}")
    if options.write and options.quick:
        parser.error("--quick asks whether it runs; its figures are no evidence, and --write does not take them")
    repeats = options.repeats if options.repeats is not None else 2 if options.quick else 7
    if repeats < 1:
        parser.error(f"--repeats needs at least 1, got {repeats}")

    print(machine())
    command = shlex.join(["python", "-m", "benchmarks", *arguments])
    for name in options.names or BENCHMARKS:
        module = BENCHMARKS[name]
        title = f"--- {name} "
        print(f"\n{title:-<120}\n{module.__doc__}".rstrip(), flush=True)
        drawing = {"out": options.out} if name == "compiled" else {}
        tables = []
        for table in module.run(repeats, options.quick, **drawing):
            print(f"\n{table}", flush=True)
            tables.append(table)
        if options.write:
            results.keep(name, (module.__doc__ or "").strip(), tables, command)
    if options.write:
        results.write()


if __name__ == "__main__":
    main()
