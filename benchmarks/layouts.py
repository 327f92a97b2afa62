"""One batch on several threads, devices and processes: what it takes, beside a model on paper.

A network 64-256-256-10 with P = 85,002 parameters; loss and gradient of a batch of 512 examples, the sum over all
processes included.  On paper a batch of N examples on n devices takes

    t(n) = t0 + 6 P N / (n r) + [n > 1] (2 ceil(log2 n) a + 2 (n - 1)/n 8 P / b)

with t0 what each call costs, r the operations a second of one device (2 P for the way forward, 4 P for the way back),
and the sum of P doubles by halving and doubling (Thakur, Rabenseifner and Gropp, 2005): a the latency of a message, b
the bytes a second of a link.  t0 and r are measured on one thread, with batches of 64 and of 512; a and b with two
processes, by the sums of 1 and of P numbers.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from benchmarks.measure import Table
from tinygrad_vi import compile, losses, nn

SHAPE, BATCH, SMALL = (64, [256, 256, 10]), 512, 64
PARAMETERS = 64 * 256 + 256 + 256 * 256 + 256 + 256 * 10 + 10
ROOT = Path(__file__).parent.parent

# --- The model on paper -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Machine:
    """What the model knows of it.  call: seconds of a call.  rate: operations a second.  latency, bytes: of a link."""

    call: float
    rate: float
    latency: float
    bytes: float

    def seconds(self, devices: int, batch: int, parameters: int = PARAMETERS) -> float:
        """Of a batch on so many devices.

        >>> one = Machine(call=1e-3, rate=1e10, latency=1e-5, bytes=1e9)
        >>> one.seconds(1, 1000, 10**6), round(one.seconds(8, 1000, 10**6), 6)
        (0.601, 0.09006)
        """
        work = self.call + 6 * parameters * math.ceil(batch / devices) / self.rate
        return work + (self.sum(devices, 8 * parameters) if devices > 1 else 0.0)

    def sum(self, devices: int, size: int) -> float:
        """Of a sum of so many bytes over all devices."""
        return 2 * math.ceil(math.log2(devices)) * self.latency + 2 * (devices - 1) / devices * size / self.bytes


def fitted(small: float, large: float, one_number: float, all_numbers: float) -> Machine:
    """The machine on which batches of two sizes, and sums over two processes of two sizes, take these seconds."""
    rate = 6 * PARAMETERS * (BATCH - SMALL) / (large - small)
    latency = one_number / 2
    link = 8 * PARAMETERS / max(all_numbers - one_number, 1e-9)
    return Machine(max(0.0, small - 6 * PARAMETERS * SMALL / rate), rate, latency, link)


# --- What is measured, each in processes of its own -------------------------------------------------------------------


def problem(batch: int) -> tuple[Any, Any, Any, Any]:
    rng = np.random.default_rng(0)
    model = nn.MLP(*SHAPE, activation="tanh", seed=0)
    X, y = rng.normal(size=(batch, 64)), rng.integers(0, 10, batch).astype(float)
    return model, lambda x, t: losses.cross_entropy(model(x), t), X, y


def least(call: Callable[[], Any], repeats: int) -> float:
    """The least seconds of a call: what the machine can do when nobody else asks it."""
    for _ in range(6):  # the kernel learns in five calls what its threads are worth
        call()
    seconds = []
    for _ in range(20 * repeats):
        start = perf_counter()
        call()
        seconds.append(perf_counter() - start)
    return min(seconds)


def on_one_process(batch: int, repeats: int, **layout: Any) -> dict[str, float]:
    model, loss, X, y = problem(batch)
    step = compile(loss, params=model, verify=False, **layout)
    theta = step.theta
    return {"step": least(lambda: step.value_and_grad(theta, X, y), repeats)}


def on_processes_of_jax(batch: int, repeats: int, rank: int, at: str) -> dict[str, float]:
    import jax

    jax.distributed.initialize(at, 2, rank)
    return on_one_process(batch, repeats, backend="jax", devices=jax.device_count())


def on_processes_of_torch(batch: int, repeats: int, rank: int, at: str) -> dict[str, float]:
    import torch
    from torch import distributed

    distributed.init_process_group("gloo", init_method=f"tcp://{at}", rank=rank, world_size=2)
    model, loss, X, y = problem(batch)
    step = compile(loss, params=model, verify=False, backend="native", threads=1)
    theta, X, y = step.theta, X[rank::2].copy(), y[rank::2].copy()

    def summed(numbers: Any) -> None:
        distributed.all_reduce(torch.from_numpy(numbers))

    def call() -> None:
        value, gradient = step.value_and_grad(theta, X, y)
        summed(np.append(gradient, value) / 2)

    one, many = np.zeros(1), np.zeros(PARAMETERS)
    found = {"step": least(call, repeats)}
    found |= {"one": least(lambda: summed(one), repeats), "all": least(lambda: summed(many), repeats)}
    distributed.destroy_process_group()
    return found


LAYOUTS: dict[str, Callable[..., dict[str, float]]] = {
    "one": on_one_process,
    "jax processes": on_processes_of_jax,
    "torch processes": on_processes_of_torch,
}


def measured(kind: str, batch: int, repeats: int, processes: int = 1, **layout: Any) -> dict[str, float]:
    """What a layout takes; of several processes the slowest."""
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "OMP_NUM_THREADS": "1"}
    if layout.get("devices", 1) > 1:
        environment["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={layout['devices']}"
    with socket.socket() as free:
        free.bind(("localhost", 0))
        at = f"localhost:{free.getsockname()[1]}"
    asked = [
        {"kind": kind, "batch": batch, "repeats": repeats, **layout, **({"rank": i, "at": at} if processes > 1 else {})}
        for i in range(processes)
    ]
    command = [sys.executable, "-m", "benchmarks.layouts"]
    started = [
        subprocess.Popen([*command, json.dumps(ask)], env=environment, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        for ask in asked
    ]
    said = [process.communicate(timeout=600)[0] for process in started]
    if any(process.returncode for process in started):
        raise SystemExit(f"{kind} {layout}: a process ended with an error")
    found = [json.loads(lines.splitlines()[-1]) for lines in said]
    return {name: max(one[name] for one in found) for name in found[0]}


# --- The tables -------------------------------------------------------------------------------------------------------


def run(repeats: int, quick: bool) -> Iterator[Table]:
    """What this machine takes beside the model, and what the model says of more devices."""
    batch = SMALL if quick else BATCH
    native = {t: measured("one", batch, repeats, backend="native", threads=t)["step"] for t in (1, 2)}
    rows = [[f"native, {t} thread{'s' * (t > 1)}", t, native[t], None] for t in native]
    if quick:
        yield table(batch, rows)
        return
    small = measured("one", SMALL, repeats, backend="native", threads=1)["step"]
    summing = {"one": math.nan, "all": math.nan}
    if find_spec("torch") is not None:
        summing = measured("torch processes", batch, repeats, processes=2)
        rows.append(["PyTorch, 2 processes of 1 thread", 2, summing["step"], None])
    machine = fitted(small, native[1], summing["one"], summing["all"])
    if find_spec("jax") is not None:
        for devices in (1, 2, 8):
            found = measured("one", batch, repeats, backend="jax", devices=devices)["step"]
            rows.append([f"JAX, {devices} device{'s' * (devices > 1)} of one process", devices, found, None])
        rows.append(["JAX, 2 processes", 2, measured("jax processes", batch, repeats, processes=2)["step"], None])
    ours = Machine(machine.call, machine.rate, 0.0, math.inf)  # threads add up in memory
    for row in [row for row in rows if not row[0].startswith("JAX")]:  # XLA has a rate of its own
        row[3] = (machine if "processes" in row[0] else ours).seconds(row[1], batch)
    yield table(batch, rows)
    yield on_paper(machine)


def table(batch: int, rows: list[list[Any]]) -> Table:
    return Table(
        f"Loss and gradient, {batch:,} examples, {PARAMETERS:,} parameters, {os.cpu_count()} cores: least of turns",
        ["", "ms", "times faster than 1 thread", "on paper, ms"],
        [
            [name, f"{1e3 * seconds:.1f}", f"{rows[0][2] / seconds:.2f}", "" if paper is None else f"{1e3 * paper:.1f}"]
            for name, _, seconds, paper in rows
        ],
        as_written=True,
    )


#: the links between machines that the model is asked about: latency in seconds, bytes a second
LINKS = {
    "this machine's processes": None,
    "Ethernet, 10 Gbit/s": (50e-6, 1.25e9),
    "InfiniBand, 200 Gbit/s": (2e-6, 25e9),
}
DEVICES = (1, 8, 64, 1000)


def on_paper(machine: Machine) -> Table:
    """Times faster than one device, by the model: one batch cut into parts, and a batch for each device."""
    rows = []
    for name, link in LINKS.items():
        there = machine if link is None else Machine(machine.call, machine.rate, *link)
        for title, batch in ((f"{BATCH:,} in all", lambda _: BATCH), (f"{BATCH:,} each", lambda n: n * BATCH)):
            times = [there.seconds(1, batch(n)) / there.seconds(n, batch(n)) for n in DEVICES]
            rows.append([name, title, *[f"{x:.1f}" for x in times]])
    return Table(
        f"On paper: times faster than one device; a call {1e6 * machine.call:.0f} us, {machine.rate / 1e9:.1f} billion "
        f"operations a second, a message {1e6 * machine.latency:.0f} us, {machine.bytes / 1e9:.2f} GB/s",
        ["link", "examples", *[f"{n:,} devices" for n in DEVICES]],
        rows,
        as_written=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="One layout in a process of its own; prints JSON.")
    parser.add_argument("asked", type=json.loads)
    asked = parser.parse_args().asked
    print("\n" + json.dumps(LAYOUTS[asked.pop("kind")](**asked)), flush=True)


if __name__ == "__main__":
    main()
