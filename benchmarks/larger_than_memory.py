"""``python -m benchmarks.larger_than_memory``: a training on 4 GB in files, and the memory that it takes.

It writes the data into a temporary folder, trains a network 256-8-1 on them in a process of its own, shuffled, for one
epoch, and prints the peak of its resident size: with the pages of the files that it has mapped, as `top` shows it.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import numpy as np

from tinygrad_vi import compile, fit, losses, nn, optim

WIDTH, BATCH = 256, 4096
PART = 1 << 14  # rows that are made at a time


def write(folder: Path, rows: int) -> None:
    """X.npy (rows, 256) in single precision and y.npy, whose targets a network can learn."""
    rng = np.random.default_rng(0)
    X = np.lib.format.open_memmap(folder / "X.npy", mode="w+", dtype=np.float32, shape=(rows, WIDTH))
    y = np.lib.format.open_memmap(folder / "y.npy", mode="w+", dtype=np.int8, shape=(rows,))
    for start in range(0, rows, PART):
        part = rng.standard_normal(X[start : start + PART].shape, dtype=np.float32)
        X[start : start + PART], y[start : start + PART] = part, part[:, 0] + part[:, 1] > 0.0


def from_files(folder: Path) -> dict[str, Any]:
    """Memory-mapped arrays, shuffled."""
    X, y = (np.load(folder / name, mmap_mode="r") for name in ("X.npy", "y.npy"))
    return {"X": X, "y": y, "batch_size": BATCH, "seed": 0}


def from_batches(folder: Path) -> dict[str, Any]:
    """The same files, read by a generator, as Parquet or a data base would be."""

    def batches() -> Any:
        with open(folder / "X.npy", "rb") as X, open(folder / "y.npy", "rb") as y:
            for file in (X, y):
                np.lib.format.read_magic(file)
                np.lib.format.read_array_header_1_0(file)
            while len(targets := np.fromfile(y, np.int8, BATCH)):
                yield np.fromfile(X, np.float32, len(targets) * WIDTH).reshape(-1, WIDTH), targets

    return {"batches": batches}


WAYS = {"memory-mapped": from_files, "batches": from_batches}


def train(folder: Path, way: str) -> None:
    """Train for an epoch and print what it took; in a process of its own."""
    model = nn.MLP(WIDTH, [8, 1], activation="tanh", seed=0)
    step = compile(lambda x, t: losses.bce_with_logits(model(x), t), params=model)
    step.value_and_grad(step.theta, np.zeros((2, WIDTH)), np.zeros(2))  # the kernel is compiled
    before = resident()
    start = perf_counter()
    options = WAYS[way](folder)
    history = fit(step, **options, optimizer=optim.Adam(model, 0.01), epochs=1, progress=False)
    seconds, after = perf_counter() - start, resident()
    print(
        f"{way:13} loss {history.loss[-1]:.4f} in {seconds:.0f} s; resident before {before['VmRSS']:.0f} MB, "
        f"at the peak {after['VmHWM']:.0f} MB; at the end {after['RssAnon']:.0f} MB of its own and "
        f"{after['RssFile']:.0f} MB of files"
    )


def resident() -> dict[str, float]:
    """The resident size of this process in megabytes, its peak and its parts, as Linux counts them."""
    lines = Path("/proc/self/status").read_text().splitlines()
    sizes = [line.split() for line in lines if line.startswith(("VmHWM", "VmRSS", "RssAnon", "RssFile"))]
    return {name.rstrip(":"): int(kilobytes) / 1024 for name, kilobytes, _ in sizes}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.larger_than_memory", description=__doc__)
    parser.add_argument("--gigabytes", type=float, default=4.0, help="of data (4)")
    parser.add_argument("--train", nargs=2, metavar=("FOLDER", "WAY"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.train:
        train(Path(options.train[0]), options.train[1])
        return
    with TemporaryDirectory() as folder:
        rows = max(BATCH, int(options.gigabytes * 1e9) // (4 * WIDTH + 1))
        write(Path(folder), rows)
        print(f"{rows:,} rows of {WIDTH} numbers, {sum(p.stat().st_size for p in Path(folder).iterdir()) / 1e9:.1f} GB")
        for way in WAYS:
            command = [sys.executable, "-m", "benchmarks.larger_than_memory", "--train", folder, way]
            subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
