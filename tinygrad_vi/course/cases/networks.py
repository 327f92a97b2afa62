"""Networks: shapes, forward and backward passes by hand."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from tinygrad_vi import losses, nn
from tinygrad_vi.course.cases.case import Matrix, case
from tinygrad_vi.course.cases.matrices import product, size, times, transposed
from tinygrad_vi.course.duels import AUTOMATIC, Duel
from tinygrad_vi.data import standardize, study_hours
from tinygrad_vi.derivatives import grad, jacobian
from tinygrad_vi.functions import total
from tinygrad_vi.ops import log, sigmoid, tanh

#: a row of weights for each unit; the biases are a list of their own
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
