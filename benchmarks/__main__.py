"""``python -m benchmarks``: measure, print tables, compare with the targets."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks import compiled, eager, gpt, importing, learning, memory, scaling, sparse
from benchmarks.measure import machine

BENCHMARKS = {
    "eager": eager,
    "compiled": compiled,
    "gpt": gpt,
    "learning": learning,
    "import": importing,
    "memory": memory,
    "scaling": scaling,
    "sparse": sparse,
}


def main(arguments: list[str] | None = None) -> None:
    """Run the benchmarks that the command line names, or all of them."""
    listing = "\n".join(f"  {name:8} {(module.__doc__ or '').splitlines()[0]}" for name, module in BENCHMARKS.items())
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
    options = parser.parse_args(arguments)
    unknown = [name for name in options.names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"no benchmark {', '.join(map(repr, unknown))}; there are {', '.join(BENCHMARKS)}")
    repeats = options.repeats if options.repeats is not None else 2 if options.quick else 7
    if repeats < 1:
        parser.error(f"--repeats needs at least 1, got {repeats}")

    print(machine())
    for name in options.names or BENCHMARKS:
        title = f"--- {name} "
        print(f"\n{title:-<120}\n{BENCHMARKS[name].__doc__}".rstrip(), flush=True)
        drawing = {"out": options.out} if name == "compiled" else {}
        BENCHMARKS[name].run(repeats, options.quick, **drawing)


if __name__ == "__main__":
    main()
