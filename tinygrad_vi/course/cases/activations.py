"""Activations, and linear layers that collapse into one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tinygrad_vi import losses, nn
from tinygrad_vi.course.cases.case import case
from tinygrad_vi.course.cases.matrices import product, transposed
from tinygrad_vi.course.duels import AUTOMATIC, DIRECT, NUMERICAL, Duel
from tinygrad_vi.derivatives import grad, jacobian
from tinygrad_vi.numerical import numerical_gradient
from tinygrad_vi.ops import exp, log, log1p, sigmoid, softplus

COLLAPSE = [
    [[0.0, 0.0], [2.0, 3.0], [-3.0, -2.0], [2.0, 3.0]],
    [[-2.0, -1.0, 3.0, -1.0], [-2.0, 2.0, -2.0, -1.0], [1.0, 0.0, -3.0, -3.0]],
    [[3.0, 2.0, 2.0], [0.0, 2.0, -1.0]],
]


@case
def e19(duel: Callable[..., Duel]) -> list[Duel]:
    W1, W2, W3 = COLLAPSE
    network = nn.MLP.from_weights(COLLAPSE, [[0.0] * len(W) for W in COLLAPSE], activation="identity")
    turned = [transposed(W) for W in COLLAPSE]
    descending = product(W3, product(W2, W1))
    judges = {AUTOMATIC: jacobian(network)([2.0, -1.0]), DIRECT: transposed([network([1.0, 0.0]), network([0.0, 1.0])])}
    return [
        duel("W̄, nhân theo thứ tự", lambda: product(W1, product(W2, W3)), descending, judges=judges),
        duel("W̄, ép cho khớp bằng chuyển vị", product(turned[0], product(turned[1], turned[2])), descending,
             judges=judges, part="B19.W"),
    ]  # fmt: skip


@case
def e33(duel: Callable[..., Duel]) -> list[Duel]:
    rest = sigmoid(-40.0)  # 1 - sigmoid(40), without cancellation
    return [
        duel("σ(40) có bằng đúng 1 không?", sigmoid(40.0) == 1.0, False, judges={"1 − σ(40) = σ(−40)": rest == 0.0},
             part="B15.cham_1"),
        duel("log(1 − σ(40))", lambda: log(1.0 - sigmoid(40.0)), -softplus(40.0),
             judges={DIRECT: -40.0 - log1p(exp(-40.0))}),
    ]  # fmt: skip


@case
def e49(duel: Callable[..., Duel]) -> list[Duel]:
    def loss(start: Any, layers: int) -> Any:
        a = start
        for _layer in range(layers):
            a = sigmoid(a)
        return losses.cross_entropy([a, 0.0], 1)

    logit, below = (grad(lambda a, n=n: loss(a, n))(0.5) for n in (0, 10))
    numerical = numerical_gradient(lambda a: loss(a, 10))(0.5)
    question = f"gradient tiêu biến? (theo logit {logit:.2f}, theo a₀ dưới 10 tầng σ {below:.1e})"
    return [
        duel(question, False, True, judges={AUTOMATIC: abs(below) < 1e-6, NUMERICAL: abs(numerical) < 1e-6},
             part="B17.tieu_bien"),
    ]  # fmt: skip
