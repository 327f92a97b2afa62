"""The step of micrograd's demo: value and gradient of an MLP 2-16-16-1 on 100 points of two moons.

Three contestants compute the same numbers (checked before anything is timed):

- micrograd, as its users run it;
- *scalar code*: micrograd's own ``nn`` module, its text unchanged, running on our Value;
- *nn and losses*: our own modules, which make one node of each neuron's sum.
"""

from __future__ import annotations

import importlib.util
import math
import random
from collections.abc import Callable, Iterator, Sequence
from time import perf_counter
from types import ModuleType
from typing import Any

from benchmarks.measure import Stages, Table, against, collector, interleaved
from tinygrad_vi import Value, losses, nn

REGULARISATION = 1e-4
SIZES = [16, 16, 1]
PEER = "micrograd"
SCALAR = "tinygrad_vi, scalar code"
NN = "tinygrad_vi, nn and losses"
#: DESIGN: how many times faster than micrograd with the collector on, and off on both sides
TARGETS = {True: 25.0, False: 5.0}

Points = Sequence[Sequence[float]]


def two_moons(count: int = 100, noise: float = 0.1, seed: int = 1) -> tuple[list[list[float]], list[float]]:
    """Two half circles, each reaching into the other, with Gaussian noise; classes 1 and -1."""
    random_ = random.Random(seed)
    points, classes = [], []
    for i in range(count):
        angle = math.pi * (i // 2) / (count // 2 - 1)
        x, y = (math.cos(angle), math.sin(angle)) if i % 2 else (1.0 - math.cos(angle), 0.5 - math.sin(angle))
        points.append([x + random_.gauss(0.0, noise), y + random_.gauss(0.0, noise)])
        classes.append(1.0 if i % 2 else -1.0)
    return points, classes


# --- micrograd's text, on micrograd's Value and on ours ---------------------------------------------------------------


def micrograd_nn(value_class: type | None = None) -> ModuleType:
    """A copy of ``micrograd.nn`` whose Value is the given class (micrograd's own by default)."""
    found = importlib.util.find_spec("micrograd")
    if found is None:
        raise SystemExit('the eager benchmark needs micrograd: pip install -e ".[bench]"')
    spec = importlib.util.find_spec("micrograd.nn")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if value_class is not None:
        module.Value = value_class  # type: ignore[attr-defined]
    return module


def demo_loss(model: Any, value_class: Any, points: Points, classes: Sequence[float]) -> Any:
    """The loss as micrograd's demo notebook writes it."""
    inputs = [list(map(value_class, point)) for point in points]
    scores = list(map(model, inputs))
    losses = [(1 + -yi * score).relu() for yi, score in zip(classes, scores, strict=True)]
    data_loss = sum(losses) * (1.0 / len(losses))
    return data_loss + REGULARISATION * sum(p * p for p in model.parameters())


# --- the same in our words --------------------------------------------------------------------------------------------


def nn_loss(model: nn.MLP, points: Points, classes: Sequence[float]) -> Value:
    scores = [model([Value(x) for x in point]) for point in points]
    loss: Value = losses.hinge(scores, classes) + losses.l2(model.parameters(), REGULARISATION)
    return loss


# --- the match --------------------------------------------------------------------------------------------------------


def contestants(points: Points, classes: Sequence[float], seed: int = 1337) -> dict[str, tuple[Any, Callable[[], Any]]]:
    """Models with the same weights, each with the function that computes its loss."""
    micrograd = micrograd_nn()
    random.seed(seed)
    peer = micrograd.MLP(2, SIZES)
    random.seed(seed)
    ours = nn.MLP(2, SIZES)  # the same weights
    scalar = micrograd_nn(Value).MLP(2, SIZES)
    for copy, original in zip(scalar.parameters(), peer.parameters(), strict=True):
        copy.data = float(original.data)
    return {
        PEER: (peer, lambda: demo_loss(peer, micrograd.Value, points, classes)),
        SCALAR: (scalar, lambda: demo_loss(scalar, Value, points, classes)),
        NN: (ours, lambda: nn_loss(ours, points, classes)),
    }


def check(models: dict[str, tuple[Any, Callable[[], Any]]], tolerance: float = 1e-10) -> float:
    """The largest difference in loss or gradient from micrograd; an error when it is more than the tolerance."""
    numbers = {}
    for name, (model, loss_of) in models.items():
        loss = loss_of()
        model.zero_grad()
        loss.backward()
        numbers[name] = [loss.data, *(p.grad for p in model.parameters())]
    worst = max(abs(a - b) for other in numbers.values() for a, b in zip(numbers[PEER], other, strict=True))
    if not worst <= tolerance:
        raise SystemExit(f"the contestants disagree: a loss or gradient differs by {worst}, more than {tolerance}")
    return worst


def timed_step(model: Any, loss_of: Callable[[], Any]) -> Callable[[], Stages]:
    def step() -> Stages:
        start = perf_counter()
        loss = loss_of()
        built = perf_counter()
        model.zero_grad()
        loss.backward()
        swept = perf_counter()
        del loss
        return {"forward": built - start, "backward": swept - built, "free": perf_counter() - swept}

    return step


def run(repeats: int, quick: bool) -> Iterator[Table]:
    """Medians and ratios, with the collector on and off."""
    points, classes = two_moons()
    models = contestants(points, classes)
    worst = check(models)
    agree = f"Losses and the {len(models[PEER][0].parameters())} gradients of all contestants agree to {worst:.1e}."
    steps = {name: timed_step(*model) for name, model in models.items()}
    medians = {}
    for on in (True, False):
        with collector(on):
            # With the collector on a step also walks what the steps before left behind, so the first steps after a
            # clean heap are not what people wait for.  With it off micrograd's garbage is collected between turns,
            # outside of the clock, which favours micrograd.
            title = f"eager, collector {'on' if on else 'off'}"
            medians[on] = interleaved(steps, repeats, title, steps=1 if quick else 3, warm_up=2 * on)
    for on, result in medians.items():
        peer = result[PEER]
        yield Table(
            f"Demo step, collector {'on (as people run it)' if on else 'off on both sides'}: "
            f"medians in ms, and how many times faster than {PEER}",
            ["", "forward", "backward", "free", "total", "forward x", "backward x", "total x", "target x", ""],
            [
                [
                    name,
                    *(f"{1e3 * times[stage]:.1f}" for stage in ("forward", "backward", "free", "total")),
                    *(f"{peer[stage] / times[stage]:.1f}" for stage in ("forward", "backward", "total")),
                    *([f"{TARGETS[on]:g}", against(TARGETS[on], peer["total"] / times["total"])] if name == NN else []),
                ]
                for name, times in result.items()
            ],
            note=agree,
            figures={f"on {on}".lower(): {name: peer["total"] / times["total"] for name, times in result.items()}},
        )
    paused = medians[True][PEER]["total"] / medians[False][NN]["total"]
    yield Table(
        "The best that each can do",
        ["", "times faster"],
        [[f"{NN}, collector paused, against {PEER} as its users run it", f"{paused:.1f}"]],
        as_written=True,
    )
