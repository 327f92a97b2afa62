"""The mistakes of the lecture notes that a number decides: each a case, computed with the engine.

A case takes the function `duel` and returns duels: the printed version, the corrected one, and judges.  No number in a
case is a result; each is given in the notes or chosen for the exercise whose name the duel carries.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from tinygrad_vi import losses, nn
from tinygrad_vi.course.rulings import AUTOMATIC, DIRECT, NUMERICAL, Duel
from tinygrad_vi.data import batches_of_rows, standardize, study_hours
from tinygrad_vi.derivatives import grad, hessian, jacobian, numerical_gradient
from tinygrad_vi.ops import ShapeError, cos, exp, log, log1p, logsumexp, sigmoid, sin, softmax, softplus, tanh, total
from tinygrad_vi.optim import SGD
from tinygrad_vi.tape import Tape
from tinygrad_vi.value import Value, topological_order

Case = Callable[[Callable[..., Duel]], list[Duel]]
Matrix = Sequence[Sequence[Any]]

CASES: dict[str, Case] = {}


def case(function: Case) -> Case:
    """Enter a case: its function bears the name of its erratum, e09."""
    CASES[function.__name__.upper()] = function
    return function



def product(A: Matrix, B: Matrix) -> list[list[Any]]:
    """A B.  Raises ShapeError, saying both shapes, when they do not fit."""
    if len(A[0]) != len(B):
        raise ShapeError(f"({len(A)}×{len(A[0])})·({len(B)}×{len(B[0])}) không khớp")
    return [[total([x * y for x, y in zip(row, column, strict=True)]) for column in zip(*B, strict=True)] for row in A]


def transposed(A: Matrix) -> list[list[Any]]:
    """The rows of A as columns."""
    return [list(column) for column in zip(*A, strict=True)]


def times(A: Matrix, x: Sequence[Any]) -> list[Any]:
    """A x for a vector x."""
    return [row[0] for row in product(A, [[entry] for entry in x])]


def size(A: Matrix) -> list[int]:
    """[rows, columns]."""
    return [len(A), len(A[0])]



def book(x1: Any, x2: Any) -> Any:
    """The function of Tables 3.1 and 3.2."""
    return log(x1) + x1 * x2 - sin(x2)


BOOK_AT = (2.0, 5.0)


def book_tape() -> Tape:
    """Its record at the point of the tables."""
    x1, x2 = (Value(x, f"x{i}") for i, x in enumerate(BOOK_AT, start=1))
    return Tape(book(x1, x2), [x1, x2])


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
    tape = Tape(total(inputs), inputs)
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


#: one row of weights of a unit after the other; the bias stands apart
SMALL_W, SMALL_B, SMALL_X = [[[0.2, -0.4], [0.7, 0.1]], [[0.5, -0.3]]], [[0.1, -0.2], [0.05]], [0.6, -1.1]


@case
def e21(duel: Callable[..., Duel]) -> list[Duel]:
    network = nn.MLP.from_weights(SMALL_W, SMALL_B, activation="tanh")
    first, second = SMALL_W
    (b1, b2), x = SMALL_B, [1.0, *SMALL_X]

    def output(again: float) -> Any:
        """The sums from i = 0 with x0 = z0 = 1, and ``again`` times the bias."""
        z = [tanh(total([b * x[0], *(w * v for w, v in zip(row, x[1:], strict=True)), again * b]))
             for row, b in zip(first, b1, strict=True)]  # fmt: skip
        return total([b2[0], *(w * v for w, v in zip(second[0], z, strict=True)), again * b2[0]])

    return [duel("y", output(1.0), output(0.0), judges={"Mạng": network(SMALL_X)}, part="B22.y")]


@case
def e22(duel: Callable[..., Duel]) -> list[Duel]:
    network = nn.MLP.from_weights(SMALL_W, SMALL_B, activation="tanh")
    hidden = network.layer_outputs(SMALL_X)[1]

    def output(z0: float) -> Any:
        return total([SMALL_B[1][0] * z0, *(w * z for w, z in zip(SMALL_W[1][0], hidden, strict=True))])

    return [duel("y", output(tanh(1.0)), output(1.0), judges={"Mạng": network(SMALL_X)}, part="B22.y")]


W1, B1 = [[1.0, 0.0, -1.0, 0.5], [0.5, -0.5, 1.0, 0.0]], [0.0, 0.1]
W2, B2 = [[1.0, 2.0], [0.0, -1.0], [0.5, 0.5]], [0.0, 0.1, -0.1]
X, T = [0.5, -1.0, 0.25, 1.0], [1.0, 0.0, -1.0]


def _forward() -> tuple[list[float], list[float], list[float]]:
    """a, z and the gradient by z of the network 4-2-3."""
    a = [s + b for s, b in zip(times(W1, X), B1, strict=True)]
    z = [tanh(v) for v in a]
    y = [s + b for s, b in zip(times(W2, z), B2, strict=True)]
    return a, z, times(transposed(W2), [2 / 3 * (v - t) for v, t in zip(y, T, strict=True)])


def _loss_423(x: Any) -> Any:
    return losses.mse(nn.MLP.from_weights([W1, W2], [B1, B2], activation="tanh")(x), T)


@case
def e25(duel: Callable[..., Duel]) -> list[Duel]:
    hidden, output = nn.Layer.from_weights(W1, B1, "tanh"), nn.Layer.from_weights(W2, B2)
    # the deck's layout: a row for each variable
    by_z, by_x = size(transposed(jacobian(output)(hidden(X)))), size(transposed(jacobian(hidden)(X)))
    n_x, n_z, n_y = len(X), len(W1), len(W2)
    return [
        duel("kích thước của câu a)", [n_y, n_z], [n_z, n_y], judges={AUTOMATIC: by_z}, part="B35.Jzy"),
        duel("kích thước của câu b)", [n_z, n_x], [n_x, n_z], judges={AUTOMATIC: by_x}, part="B35.Jxz"),
    ]  # fmt: skip


@case
def e26(duel: Callable[..., Duel]) -> list[Duel]:
    _a, z, g = _forward()

    def gradient(inner: Callable[[float], float]) -> list[Any]:
        return times(transposed(W1), [(1 - inner(v) ** 2) * u for v, u in zip(z, g, strict=True)])

    return [duel("g(x)", gradient(tanh), gradient(lambda v: v), truth=_loss_423, at=(X,), part="B35n.gx")]


@case
def e47(duel: Callable[..., Duel]) -> list[Duel]:
    a, z, g = _forward()

    def loss(a: Any) -> Any:
        y = [s + b for s, b in zip(times(W2, [tanh(v) for v in a]), B2, strict=True)]
        return losses.mse(y, T)

    entries = [(1 - v * v) * u for v, u in zip(z, g, strict=True)]
    return [duel("δ = ∂L/∂a (hai nút ẩn)", total(entries), entries, truth=loss, at=(a,), part="B35n.ga")]


@case
def e27(duel: Callable[..., Duel]) -> list[Duel]:
    W, x = [[1.0, -1.0, 0.5], [0.0, 2.0, -1.0]], [1.0, 0.5, -1.0]
    column = [[v, 0.0] for v in x]
    by_w1 = jacobian(lambda w: times([w, W[1]], x))(W[0])
    return [
        duel("J_{w₁}(u), cách xếp của S0", transposed(column), column, judges={AUTOMATIC: transposed(by_w1)},
             part="B34.Jw1"),
        duel("kích thước", size(transposed(column)), size(column), judges={AUTOMATIC: size(transposed(by_w1))}),
    ]  # fmt: skip


@case
def e18(duel: Callable[..., Duel]) -> list[Duel]:
    W, b, x, y = [[[0.15, 0.20], [0.25, 0.30]], [[0.40, 0.45]]], [[0.35, 0.35], [0.60]], [0.05, 0.10], 0.01
    _inputs, h, [a] = nn.MLP.from_weights(W, b, activation="sigmoid").layer_outputs(x)
    v = W[1][0][0]

    def formula(error: float) -> list[float]:
        delta = error * v * h[0] * (1 - h[0])
        return [delta * x[0], delta * x[1], delta]

    def loss(w: Any) -> Any:
        h1 = sigmoid(w[0] * x[0] + w[1] * x[1] + w[2])
        return losses.sse(v * h1 + W[1][0][1] * h[1] + b[1][0], y)

    return [
        duel("∂L/∂(w₁₁; w₁₂; w₁₀) của Ví dụ 3.1", formula(h[0] - y), formula(a - y), truth=loss,
             at=([*W[0][0], b[0][0]],), part="B38.g1"),
    ]  # fmt: skip


@cache
def _study() -> tuple[list[Matrix], list[list[float]], list[int]]:
    """The weights of exercise B42, layer by layer in the notes' convention of rows, and the standardized data."""
    try:
        import numpy as np
    except ImportError:
        raise ImportError("các trọng số của B42 lấy từ NumPy: pip install numpy") from None
    rng = np.random.default_rng(0)
    weights = [rng.standard_normal(shape).tolist() for shape in ((2, 3), (3, 4), (4, 1))]
    hours, passed = study_hours()
    return weights, standardize(hours)[0], passed


def _outputs(weights: Sequence[Matrix], rows: Matrix) -> list[Matrix]:
    """A0 = X, A1, A2, A3 of the network 2-3-4-1 with biases 0."""
    found = [rows]
    for W in weights:
        found.append([[sigmoid(z) for z in row] for row in product(found[-1], W)])
    return found


def _study_loss(weights: Sequence[Matrix]) -> Any:
    _weights, rows, passed = _study()
    return losses.bce([row[0] for row in _outputs(weights, rows)[-1]], passed)


@case
def e13(duel: Callable[..., Duel]) -> list[Duel]:
    weights, rows, passed = _study()
    predictions = [row[0] for row in _outputs(weights, rows)[-1]]

    def printed() -> Any:
        terms = zip(rows, predictions, passed, strict=True)
        return -total([x[0] * (t * log(y) + (1 - t) * log(1 - y)) for x, y, t in terms]) / len(rows)

    likelihoods = [y if t else 1 - y for y, t in zip(predictions, passed, strict=True)]
    return [
        duel("J của mạng 2-3-4-1 (B42), m = 1", printed, losses.bce(predictions, passed),
             judges={"−(1/N) log hợp lý": -math.log(math.prod(likelihoods)) / len(rows)}, part="B42.J"),
    ]  # fmt: skip


@case
def e15(duel: Callable[..., Duel]) -> list[Duel]:
    weights, rows, passed = _study()
    _x, _a1, a2, a3 = _outputs(weights, rows)
    errors = [[y[0] - t] for y, t in zip(a3, passed, strict=True)]
    sums = product(transposed(a2), errors)
    return [
        duel("∂J/∂W⁽³⁾ (N = 20)", sums, [[g / len(rows) for g in row] for row in sums],
             truth=lambda W3: _study_loss([*weights[:2], W3]), at=(weights[2],), part="B42.dW3"),
    ]  # fmt: skip


@case
def e16(duel: Callable[..., Duel]) -> list[Duel]:
    weights, rows, passed = _study()
    _x, a1, a2, a3 = _outputs(weights, rows)
    errors = [[y[0] - t] for y, t in zip(a3, passed, strict=True)]
    back = product(errors, transposed(weights[2]))

    def mean(slope: Callable[[float], float]) -> list[float]:
        delta = [[d * slope(a) for d, a in zip(ds, As, strict=True)] for ds, As in zip(back, a2, strict=True)]
        return [total(column) / len(rows) for column in zip(*delta, strict=True)]

    def loss(b2: Any) -> Any:
        second = [[sigmoid(z + b) for z, b in zip(row, b2, strict=True)] for row in product(a1, weights[1])]
        return losses.bce([sigmoid(row[0]) for row in product(second, weights[2])], passed)

    return [
        duel("∂J/∂b⁽²⁾ (đã chia N)", mean(lambda a: a), mean(lambda a: a * (1 - a)), truth=loss, at=([0.0] * 4,),
             part="B42.db2"),
    ]  # fmt: skip


@case
def e17(duel: Callable[..., Duel]) -> list[Duel]:
    weights, rows, passed = _study()
    _x, _a1, a2, a3 = _outputs(weights, rows)
    errors = [[(y[0] - t) / len(rows)] for y, t in zip(a3, passed, strict=True)]

    def loss(A2: Any) -> Any:
        return losses.bce([sigmoid(row[0]) for row in product(A2, weights[2])], passed)

    return [
        duel("∂J/∂A⁽²⁾", lambda A2: product(transposed(weights[2]), errors),
             lambda A2: product(errors, transposed(weights[2])), truth=loss, at=(a2,)),
        duel("kích thước", lambda: size(product(transposed(weights[2]), errors)),
             size(product(errors, transposed(weights[2]))), judges={AUTOMATIC: size(grad(loss)(a2))}, part="B42.dA2"),
    ]  # fmt: skip


@case
def e50(duel: Callable[..., Duel]) -> list[Duel]:
    network = nn.MLP(2, [3, 4, 1], seed=0)
    output = network.layers[-1]
    right = len(network.parameters())
    return [
        duel("kích thước của b⁽³⁾", [1, output.n_inputs], [1, output.n_outputs],
             judges={"Số b của tầng ra": [1, len([unit.b for unit in output.neurons])]}, part="B40.b3"),
        duel("số tham số", right + output.n_inputs - output.n_outputs, 2 * 3 + 3 + 3 * 4 + 4 + 4 * 1 + 1,
             judges={"Đếm tham số": right}, part="B40.so_tham_so"),
    ]  # fmt: skip


@case
def e52(duel: Callable[..., Duel]) -> list[Duel]:
    layer = nn.MLP(2, [3, 4, 1], seed=0).layers[1]
    row = [[unit.b.data for unit in layer.neurons]]
    return [
        duel("kích thước của ∂J/∂b⁽²⁾", size(transposed(row)), size(row),
             judges={"Kích thước của b⁽²⁾": [1, layer.n_outputs]}, part="B40.db2"),
    ]  # fmt: skip


@case
def e29(duel: Callable[..., Duel]) -> list[Duel]:
    sequence = [[2.0, -2.0], [0.0, 3.5], [1.0, 2.2]]
    cell = nn.RNNCell.from_weights([[1.0, -1.0]], [[1.0]], activation="identity")
    h = [state[0] for state in nn.RNN(cell)(sequence)]
    network = nn.RNN(cell, nn.Layer.from_weights([[1.0]], activation="sigmoid"))
    return [
        duel("y₁; y₂; y₃", h, [sigmoid(v) for v in h], judges={"y_t = σ(W_y h_t)": network(sequence)}, part="B45.y"),
    ]  # fmt: skip



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
