"""Training: steps, batches, schedules."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from typing import Any

from tinygrad_vi import losses
from tinygrad_vi.course.cases.case import case
from tinygrad_vi.course.duels import Duel
from tinygrad_vi.derivatives import grad
from tinygrad_vi.examples import batches_of_rows
from tinygrad_vi.functions import total
from tinygrad_vi.optim.rules import SGD
from tinygrad_vi.value import Value


@case
def e08(duel: Callable[..., Duel]) -> list[Duel]:
    rng = random.Random(0)
    points = [(rng.gauss(0.0, 1.0), rng.gauss(0.0, 4.0)) for _i in range(1280)]
    each = [grad(lambda w, x=x, t=t: losses.sse(w * x, t))(0.5) for x, t in points]
    full = math.fsum(each) / len(each)

    def rms(batch_size: int) -> float:
        """Over the mini-batches of twenty epochs."""
        squares = [
            (math.fsum(each[i] for i in batch) / len(batch) - full) ** 2
            for seed in range(20)
            for batch in batches_of_rows(len(each), batch_size, seed)
        ]
        return math.sqrt(math.fsum(squares) / len(squares))

    measured = {batch_size: rms(batch_size) for batch_size in (8, 128)}
    shown = ", ".join(f"{k}: {v:.3f}" for k, v in measured.items())
    nearest = min(measured, key=measured.__getitem__)
    return [
        duel(f"kích thước batch cho gradient gần hơn (sai khác RMS {shown})", min(measured), max(measured),
             judges={"Đo trên 1280 mẫu": nearest}, part="B50.gan_hon"),
    ]  # fmt: skip


LINE = [(1.0, 2.0), (2.0, 1.0), (3.0, 5.0)]


def _line_loss(w: Any, points: Sequence[tuple[float, float]] = LINE) -> Any:
    return total([losses.sse(w * x, t) for x, t in points]) / len(points)


@case
def e37(duel: Callable[..., Duel]) -> list[Duel]:
    landscape = [-2.0, -1.0, 0.0, 1.0, 2.0]

    def over_examples(w: float) -> float:
        return math.fsum((w * x - t) * x for x, t in LINE) / len(LINE)

    return [
        duel("gradient toàn bộ dữ liệu tại w = 1", math.fsum(map(over_examples, landscape)) / len(landscape),
             over_examples, truth=_line_loss, at=(1.0,), part="B48.trung_binh"),
    ]  # fmt: skip


@case
def e38(duel: Callable[..., Duel]) -> list[Duel]:
    def valleys(w: Any) -> Any:
        return w**4 / 4 - w**2 / 2 + w / 10

    def descend(start: float) -> float:
        w = Value(start)
        descent = SGD([w], 0.1)
        for _step in range(300):
            descent.zero_grad()
            valleys(w).backward()
            descent.step()
        return w.data

    left, right = descend(-1.5), descend(1.5)
    question = f"luôn tới cực tiểu toàn cục? (từ −1,5: E = {valleys(left):.3f}; từ 1,5: E = {valleys(right):.3f})"
    return [
        duel(question, True, False, judges={"Hai lần hạ gradient": abs(valleys(left) - valleys(right)) < 1e-9},
             part="B51.toan_cuc"),
    ]  # fmt: skip


@case
def e39(duel: Callable[..., Duel]) -> list[Duel]:
    chunks = [LINE[:2], LINE[2:]]
    w = Value(1.0)
    for chunk in chunks:
        (_line_loss(w, chunk) * len(chunk)).backward()  # grads add up
    gradient = w.grad / len(LINE)
    full = grad(_line_loss)(1.0)
    return [
        duel("bắt buộc nạp cả tập cùng lúc?", True, False,
             judges={"Từng khúc khác toàn bộ?": not abs(gradient - full) < 1e-12}, part="B48.can_ca_tap"),
        duel("gradient cộng dồn từng khúc", "không làm được", gradient, truth=_line_loss, at=(1.0,)),
    ]  # fmt: skip
