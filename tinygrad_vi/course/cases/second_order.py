"""Second order: Hessians, Newton's method, Levenberg and Marquardt."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from tinygrad_vi import losses
from tinygrad_vi.course.cases.case import Matrix, case
from tinygrad_vi.course.duels import AUTOMATIC, NUMERICAL, Duel
from tinygrad_vi.derivatives import grad, hessian, jacobian
from tinygrad_vi.numerical import numerical_gradient
from tinygrad_vi.ops import exp, tanh


def _eigenvalues(H: Matrix) -> tuple[float, float]:
    """Of a symmetric 2 x 2 matrix, the smaller one first."""
    (a, b), (_b, d) = H
    middle, radius = (a + d) / 2, math.hypot((a - d) / 2, b)
    return middle - radius, middle + radius


def _numerical_hessian(f: Callable[..., Any], at: Sequence[float]) -> list[list[float]]:
    """Differences of the gradient, entry by entry."""
    rows = [numerical_gradient(lambda w, i=i: grad(f)(w)[i])(list(at)) for i in range(len(at))]
    return [list(row) for row in rows]


CURVE = [(0.0, 1.0), (1.0, 2.0), (2.0, 4.2)]
CURVE_AT, DAMPING = 0.5, 0.1


def _half_sse(w: Any) -> Any:
    return losses.sse([exp(w * x) for x, _y in CURVE], [y for _x, y in CURVE])


@case
def e06(duel: Callable[..., Duel]) -> list[Duel]:
    w = CURVE_AT
    J = [x * exp(w * x) for x, _y in CURVE]
    r = [y - exp(w * x) for x, y in CURVE]
    curvature = math.fsum(j * j for j in J) + DAMPING
    step = math.fsum(j * e for j, e in zip(J, r, strict=True)) / curvature
    slopes = {AUTOMATIC: grad(_half_sse)(w), NUMERICAL: numerical_gradient(_half_sse)(w)}
    downhill = {name: w - slope / curvature for name, slope in slopes.items()}
    return [
        duel("w sau một bước", w - step, w + step, judges=downhill, part="B52.w"),
        duel(f"½Σr² sau bước (trước bước: {_half_sse(w):.4f})", _half_sse(w - step), _half_sse(w + step),
             judges={name: _half_sse(v) for name, v in downhill.items()}, part="B52.sse"),
    ]  # fmt: skip


@case
def e07(duel: Callable[..., Duel]) -> list[Duel]:
    w = CURVE_AT
    gauss_newton = math.fsum((x * exp(w * x)) ** 2 for x, _y in CURVE)
    dropped = math.fsum((y - exp(w * x)) * x * x * exp(w * x) for x, y in CURVE)
    return [
        duel("d²(½Σr²)/dw²", gauss_newton, gauss_newton - dropped,
             judges={AUTOMATIC: hessian(_half_sse)(w), NUMERICAL: numerical_gradient(grad(_half_sse))(w)},
             part="B52.hessian"),
    ]  # fmt: skip


def _quadratic(w: Any) -> Any:
    return w[0] ** 2 + w[0] * w[1] + 2 * w[1] ** 2


@case
def e23(duel: Callable[..., Duel]) -> list[Duel]:
    at = [0.3, -0.2]
    g = grad(_quadratic)(at)
    twice = jacobian(lambda w: [2 * w[0] + w[1], w[0] + 4 * w[1]])(at)  # the gradient by hand, differentiated
    return [
        duel("H của w₁² + w₁w₂ + 2w₂² tại (0,3; −0,2)", [[u * v for v in g] for u in g], twice,
             judges={AUTOMATIC: hessian(_quadratic)(at), NUMERICAL: _numerical_hessian(_quadratic, at)}, part="B46.H"),
    ]  # fmt: skip


@case
def e24(duel: Callable[..., Duel]) -> list[Duel]:
    def network(w: Any) -> Any:
        return losses.sse(w[1] * tanh(w[0]), 1.0)

    def convex(f: Callable[..., Any], at: list[float]) -> dict[str, bool]:
        by_name = {AUTOMATIC: hessian(f)(at), NUMERICAL: _numerical_hessian(f, at)}
        return {f"Trị riêng ≥ 0? ({name})": _eigenvalues(H)[0] >= 0.0 for name, H in by_name.items()}

    return [
        duel("mất mát của mạng v·tanh(w) có lồi không?", True, False, judges=convex(network, [0.1, 0.1])),
        duel("w₁² − w₂² có lồi không?", True, False, judges=convex(lambda w: w[0] ** 2 - w[1] ** 2, [0.0, 0.0]),
             part="B51.loi"),
    ]  # fmt: skip


@case
def e40(duel: Callable[..., Duel]) -> list[Duel]:
    def kind(f: Callable[..., Any]) -> str:
        low, high = _eigenvalues(hessian(f)([0.0, 0.0]))
        if max(abs(low), abs(high)) < 1e-6:
            return "vùng phẳng"
        return "điểm yên ngựa" if low < 0.0 < high else "khác"

    return [
        duel("điểm dừng của w₁² − w₂²", "vùng phẳng", "điểm yên ngựa",
             judges={"Dấu trị riêng": kind(lambda w: w[0] ** 2 - w[1] ** 2)}, part="B51.loai"),
        duel("điểm dừng của w₁⁴ + w₂⁴", "điểm yên ngựa", "vùng phẳng",
             judges={"Dấu trị riêng": kind(lambda w: w[0] ** 4 + w[1] ** 4)}),
    ]  # fmt: skip


@case
def e30(duel: Callable[..., Duel]) -> list[Duel]:
    n, batch, float32, mebibyte = 4096, 64, 4, 2**20
    row = n * float32
    return [
        duel("ma trận Jacobian của một mẫu (MiB)", (batch * n) ** 2 * float32 / mebibyte, n**2 * float32 / mebibyte,
             judges={"Đếm từng hàng": math.fsum([row] * n) / mebibyte}, part="B54.mot_mau_MiB"),
    ]  # fmt: skip
