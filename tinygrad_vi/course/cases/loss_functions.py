"""Losses and their derivatives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tinygrad_vi import losses
from tinygrad_vi.course.cases.case import case
from tinygrad_vi.course.duels import Duel
from tinygrad_vi.derivatives import grad
from tinygrad_vi.functions import logsumexp, softmax, total
from tinygrad_vi.ops import log, sigmoid

LOGITS, LABEL = [2.0, 1.0, -1.0], [1.0, 0.0, 0.0]
A, Y = [0.8, 0.3, 0.4], [1.0, 0.0, 1.0]


@case
def e01(duel: Callable[..., Duel]) -> list[Duel]:
    def version(sign: float) -> Callable[..., Any]:
        return lambda y: sign * logsumexp(y) - total([p * v for p, v in zip(LABEL, y, strict=True)])

    def cross_entropy(y: Any) -> Any:
        return -total([p * log(q) for p, q in zip(LABEL, softmax(y), strict=True)])

    q_minus_p = [q - p for q, p in zip(softmax(LOGITS), LABEL, strict=True)]
    return [
        duel("l = −Σ p log softmax(y)", version(-1.0), version(1.0), truth=cross_entropy, at=(LOGITS,), of="value",
             part="B28.l"),
        duel("∇l", grad(version(-1.0))(LOGITS), q_minus_p, truth=cross_entropy, at=(LOGITS,), part="B28.grad"),
        duel("dấu trước log Σeʸ", "−", "+", judges={"l ≥ 0": "+" if version(1.0)(LOGITS) >= 0.0 else "−"},
             part="B28.dau"),
    ]  # fmt: skip


@case
def e02(duel: Callable[..., Duel]) -> list[Duel]:
    def mean_square(a: Any) -> Any:
        return total([(y - v) ** 2 for v, y in zip(a, Y, strict=True)]) / len(Y)

    return [
        duel("(3.52.1) tại a = (0,8; 0,3; 0,4)", lambda a: -mean_square(a), lambda a: losses.mse(a, Y),
             truth=mean_square, at=(A,), of="value", part="B29.mse"),
    ]  # fmt: skip


@case
def e03(duel: Callable[..., Duel]) -> list[Duel]:
    def entry(a: float, y: float) -> float:
        return -(y / a - (1 - y) * (-1) / (1 - a)) / len(Y)

    def first_line(a: Any) -> Any:
        return -total([y * log(v) - (1 - y) * log(1 - v) for v, y in zip(a, Y, strict=True)]) / len(Y)

    def right(a: Any) -> list[Any]:
        return [(v - y) / (v * (1 - v)) / len(Y) for v, y in zip(a, Y, strict=True)]

    def loss(a: Any) -> Any:
        return losses.bce(a, Y)

    return [
        duel("dòng 3 và dòng 5: ∂L/∂a", lambda a: [entry(v, y) for v, y in zip(a, Y, strict=True)], right, truth=loss,
             at=(A,), part="B30.grad"),
        duel("dòng 1: L", first_line, loss, truth=lambda a: losses.bce(a, Y), at=(A,), of="value", part="B30.bce"),
    ]  # fmt: skip


@case
def e04(duel: Callable[..., Duel]) -> list[Duel]:
    y = 1.0

    def delta(z: Any) -> Any:
        a = sigmoid(z)
        return (a - y) * a * (1 - a)

    return [
        duel("∂L/∂a tại a = 0,8, y = 1", lambda a: a - y, lambda a: (a - y) / (a * (1 - a)),
             truth=lambda a: losses.bce(a, y), at=(0.8,)),
        duel("δ = ∂L/∂z tại z = −6, y = 1", delta, lambda z: sigmoid(z) - y, truth=lambda z: losses.bce(sigmoid(z), y),
             at=(-6.0,), part="B31.bce"),
        duel("∂L/∂a của BCE trung bình", lambda a: [(v - t) / len(Y) for v, t in zip(a, Y, strict=True)],
             lambda a: [(v - t) / (v * (1 - v)) / len(Y) for v, t in zip(a, Y, strict=True)],
             truth=lambda a: losses.bce(a, Y), at=(A,), part="B30.grad"),
    ]  # fmt: skip


@case
def e05(duel: Callable[..., Duel]) -> list[Duel]:
    q = softmax(LOGITS)
    return [
        duel("hàng thứ nhất của ∂q/∂y", [q[0] * (1 - q[0]), 0.0, 0.0], [q[0] * (1 - q[0]), -q[0] * q[1], -q[0] * q[2]],
             truth=lambda y: softmax(y)[0], at=(LOGITS,), part="B28.J1"),
    ]  # fmt: skip


@case
def e14(duel: Callable[..., Duel]) -> list[Duel]:
    def half_square(z: Any) -> Any:
        return losses.sse(sigmoid(z), 1.0)

    return [
        duel("δ của ½(y − a)² tại z = −6, y = 1", lambda z: sigmoid(z) - 1.0,
             lambda z: (sigmoid(z) - 1.0) * sigmoid(z) * sigmoid(-z), truth=half_square, at=(-6.0,), part="B31.mse"),
    ]  # fmt: skip


@case
def e34(duel: Callable[..., Duel]) -> list[Duel]:
    z = [1.0, 1.1]
    return [
        duel("softmax(1; 1,1)", [float(v == max(z)) for v in z], [sigmoid(z[0] - z[1]), sigmoid(z[1] - z[0])],
             truth=softmax, at=(z,), of="value", part="B32.q"),
    ]  # fmt: skip


@case
def e35(duel: Callable[..., Duel]) -> list[Duel]:
    a = [0.3, -1.2, 2.0]
    return [
        duel("tổng xác suất của ba lớp loại trừ nhau", total([sigmoid(v) for v in a]), total(softmax(a)),
             judges={"Tiên đề xác suất": 1.0}, part="B32.tong"),
    ]  # fmt: skip
