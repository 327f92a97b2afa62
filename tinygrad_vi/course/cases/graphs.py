"""Scalar graphs and the two modes: what the notes S0, S1 and S3 print."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from tinygrad_vi.course.cases.case import case
from tinygrad_vi.course.duels import AUTOMATIC, NUMERICAL, Duel
from tinygrad_vi.functions import total
from tinygrad_vi.graph import topological_order
from tinygrad_vi.ops import cos, exp, log, sin
from tinygrad_vi.tape import Tape
from tinygrad_vi.value import Value


def book(x1: Any, x2: Any) -> Any:
    """The function of Tables 3.1 and 3.2."""
    return log(x1) + x1 * x2 - sin(x2)


BOOK_AT = (2.0, 5.0)


def book_tape() -> Tape:
    """Its record at the point of the tables."""
    x1, x2 = (Value(x, f"x{i}") for i, x in enumerate(BOOK_AT, start=1))
    return Tape(book(x1, x2), inputs=[x1, x2])


@case
def e09(duel: Callable[..., Duel]) -> list[Duel]:
    tape = book_tape()
    bar = {tape.name(node): tape.adjoint()[node] for node in tape}
    x1, x2 = BOOK_AT
    return [
        duel("v̄₀ = ∂y/∂x₂", bar["v₀"] + bar["v₂"] * x1, bar["v₃"] * cos(x2) + bar["v₂"] * x1,
             truth=lambda x2: book(x1, x2), at=(x2,), part="B07.v0"),
        duel("v̄₋₁ = ∂y/∂x₁", bar["v₋₁"] + bar["v₁"] / x1, bar["v₂"] * x2 + bar["v₁"] / x1,
             truth=lambda x1: book(x1, x2), at=(x1,), part="B07.vm1"),
    ]  # fmt: skip


@case
def e10(duel: Callable[..., Duel]) -> list[Duel]:
    tape = book_tape()
    bar = {tape.name(node): tape.adjoint()[node] for node in tape}
    downwards = ["v₅", "v₄", "v₃", "v₁", "v₂", "v₀", "v₋₁"]  # the right column as printed
    beside = [tape.name(node) for node in tape]
    return [
        duel("số đứng ngang với v₋₁, v₀, …, v₅", [bar[name] for name in downwards], [bar[name] for name in beside],
             judges={AUTOMATIC: [tape.adjoint()[node] for node in tape], NUMERICAL: _nudged(tape)}, part="B07.vbar"),
    ]  # fmt: skip


def _nudged(tape: Tape) -> list[float]:
    """The derivative of the output by every row: the row moves a little, and what follows it is computed again."""

    def output(moved: Value, by: float) -> float:
        data = {node: node.data for node in tape}
        data[moved] += by
        rest = iter(tape)
        while next(rest) is not moved:  # and not ==, which goes by the number
            pass
        for node in rest:
            if node.op is not None:
                data[node] = node.op.value(*[data.get(parent, parent.data) for parent in node.parents])
        return data[tape.output]

    h = 2.0**-17
    return [(output(node, h) - output(node, -h)) / (2 * h) for node in tape]


def _chain(x: Any) -> Any:
    return exp(sin(x**2))


@case
def e11(duel: Callable[..., Duel]) -> list[Duel]:
    return [
        duel("y = g₃(g₂(g₁(x))) tại x = 1,3", lambda x: exp(sin(x)), lambda x: exp(sin(x**2)), truth=_chain, at=(1.3,),
             of="value", part="B04.y"),
    ]  # fmt: skip


@case
def e12(duel: Callable[..., Duel]) -> list[Duel]:
    def factors(x: float) -> tuple[float, float, float]:
        v1 = x * x
        return exp(sin(v1)), cos(v1), 2.0 * x  # dy/dv2, dv2/dv1, dv1/dx

    return [
        duel("dy/dx tại x = 1,3", lambda x: factors(x)[0] * 1.0 * factors(x)[2], lambda x: math.prod(factors(x)),
             truth=_chain, at=(1.3,), part="B04.dydx"),
    ]  # fmt: skip


@case
def e31(duel: Callable[..., Duel]) -> list[Duel]:
    x1, x2 = BOOK_AT
    h = 2.0**-24
    return [
        duel("∂y/∂x₁", (book(x1 + h, x2 + h) - book(x1, x2)) / h, (book(x1 + h, x2) - book(x1, x2)) / h,
             truth=lambda x1: book(x1, x2), at=(x1,), part="B10.dx1", tolerance=1e-6),
    ]  # fmt: skip


@case
def e32(duel: Callable[..., Duel]) -> list[Duel]:
    upstream, branches = 2.0, 2
    return [
        duel("gradient của hai nhánh", [upstream / branches] * branches, [upstream] * branches,
             truth=lambda x, y: upstream * (x + y), at=(3.0, 4.0), part="B11.cong"),
    ]  # fmt: skip


@case
def e43(duel: Callable[..., Duel]) -> list[Duel]:
    n = 100
    inputs = [Value(1.0, f"x{i}") for i in range(n)]
    tape = Tape(total(inputs), inputs=inputs)
    forward = sum(tape.tangent({v: 1.0}).multiplications for v in inputs)
    return [
        duel(f"công của chế độ ngược so với chế độ tiến, {n} đầu vào", 1 / 2, 1 / n,
             judges={"Đếm phép nhân": tape.adjoint().multiplications / forward}, part="B08.ti_le"),
    ]  # fmt: skip


@case
def e44(duel: Callable[..., Duel]) -> list[Duel]:
    tape = book_tape()
    sweeps = [tape.tangent({v: 1.0}) for v in tape.inputs]
    graphs = len({id(sweep.tape) for sweep in sweeps})
    return [
        duel("số đồ thị cho hai lượt tiến", len(sweeps), graphs, judges={"Đếm đồ thị": graphs}, part="B08.so_do_thi"),
        duel("gradient từ hai lượt trên một đồ thị", "cần đồ thị khác", [sweep[tape.output] for sweep in sweeps],
             judges={AUTOMATIC: [tape.adjoint()[v] for v in tape.inputs]}),
    ]  # fmt: skip


@case
def e46(duel: Callable[..., Duel]) -> list[Duel]:
    w, learning_rate = Value(1.0), 0.1
    (w * w).backward()
    return [
        duel("w ngay sau backward()", w.data - learning_rate * w.grad, 1.0, judges={"w.data": w.data},
             part="B55.sau_backward"),
    ]  # fmt: skip


@case
def e48(duel: Callable[..., Duel]) -> list[Duel]:
    x = y = Value(1.0)
    for _step in range(30):
        y = y + y
    written_out = {x: 1}
    for node in topological_order([y]):
        written_out[node] = 1 + sum(written_out[parent] for parent in node.parents)
    return [
        duel("số nút phải nhớ để lấy đạo hàm (30 lần x ← x + x)", written_out[y], 1 + len(topological_order([y])),
             judges={"Băng ghi": len(Tape(y))}, part="B13.so_nut"),
    ]  # fmt: skip
