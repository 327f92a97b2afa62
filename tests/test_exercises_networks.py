"""The exercises of the lecture notes that need networks, losses and optimisers; tests carry the exercises' numbers."""

import math
import random

import numpy as np
import pytest

from tinygrad_vi import (
    Value,
    accuracy,
    dot,
    exp,
    fit,
    grad,
    gradcheck,
    hessian,
    jacobian,
    losses,
    nn,
    numerical_gradient,
    optim,
    sigmoid,
    tanh,
    total,
)
from tinygrad_vi.data import minibatches, standardize, study_hours, xor


def close(value, abs=1e-9):
    return pytest.approx(value, rel=0, abs=abs)


def printed(value, digits=9):
    """Equal to so many decimals as the exercise prints."""
    return pytest.approx(value, rel=0, abs=0.6 * 10**-digits)


def values(xs):
    return [Value(x) for x in xs]


def data(xs):
    return [v.data for v in xs]


def grads(xs):
    return [v.grad for v in xs]


def weight_grads(layer):
    return [grads(neuron.w) for neuron in layer.neurons]


def bias_grads(layer):
    return [neuron.b.grad for neuron in layer.neurons]


# --- activations, collapse --------------------------------------------------------------------------------------------


def test_seed_B17():
    assert max(grad(sigmoid)(x / 100) for x in range(-500, 501)) == grad(sigmoid)(0.0) == 0.25
    assert 0.25**10 == 9.5367431640625e-07
    assert grad(sigmoid)(10.0) == pytest.approx(4.5395807735907655e-05, rel=1e-12)
    expected = {1: 0.2350037122, 3: 0.0120325149, 5: 6.07986e-4, 10: 3.48312e-7, 20: 1.1431e-13}
    for layers, gradient in expected.items():
        a = start = Value(0.5)
        for _ in range(layers):
            a = sigmoid(a)
        a.backward()
        assert start.grad == pytest.approx(gradient, rel=5e-5)
        assert start.grad <= 0.25**layers


def test_seed_B18():
    X, y = xor()
    for activation, recovers in (("relu", False), ("leaky_relu", True)):
        model = nn.MLP.from_weights([[[-1.0, -1.0]], [[1.0]]], [[-0.5], [0.0]], activation=activation)
        dead = model.layers[0].neurons[0]
        before = data(dead.parameters())
        for _ in range(100):
            model.zero_grad()
            losses.mse([model(values(x)) for x in X], y).backward()
            assert any(grads(dead.parameters())) is recovers
            optim.SGD(model.parameters(), 0.1).step()
        assert (data(dead.parameters()) != before) is recovers


COLLAPSE_W = [
    [[0, 0], [2, 3], [-3, -2], [2, 3]],
    [[-2, -1, 3, -1], [-2, 2, -2, -1], [1, 0, -3, -3]],
    [[3, 2, 2], [0, 2, -1]],
]
COLLAPSE_B = [[0, 2, -3, -1], [-3, 0, 3], [-3, -1]]


def test_seed_B19():
    deep = nn.MLP.from_weights(COLLAPSE_W, COLLAPSE_B, activation="identity")
    assert deep([2.0, -1.0]) == [4.0, 15.0]
    assert jacobian(deep)([2.0, -1.0]) == [[-17.0, -28.0], [13.0, 17.0]]
    assert deep([0.0, 0.0]) == [10.0, 6.0]
    flat = nn.Layer.from_weights([[-17.0, -28.0], [13.0, 17.0]], [10.0, 6.0])
    assert all(flat([x, y]) == deep([x, y]) for x in (-2.0, 0.0, 3.0) for y in (-1.0, 5.0))
    with pytest.raises(ValueError, match="matmul"):  # the printed ascending product does not even conform
        np.array(COLLAPSE_W[0]) @ np.array(COLLAPSE_W[1]) @ np.array(COLLAPSE_W[2])


def test_seed_B20():
    model = nn.MLP.from_weights([[[1, 1], [1, 1]], [[1, -2]]], [[0, -1], [0]], activation="relu")
    X, y = xor()
    assert [model(x) for x in X] == y == [0, 1, 1, 0]


def test_seed_B21():
    xs = [math.pi * (k / 20 - 1) for k in range(41)]
    errors = []
    for hidden in (2, 8, 32):
        model = nn.MLP(1, [hidden, 1], activation="tanh", seed=1)
        inputs = [[Value(x)] for x in xs]

        def residuals(model=model, inputs=inputs):
            return [model(x) - math.sin(x[0].data) for x in inputs]

        optim.levenberg_marquardt(residuals, model.parameters(), method="trf", max_nfev=120)
        errors.append(max(abs(model(x) - math.sin(x)) for x in xs))
    assert errors[0] > 5 * errors[1] > 25 * errors[2]
    assert errors[2] < 0.01


def test_seed_B22():
    W, b = [[[0.2, -0.4], [0.7, 0.1]], [[0.5, -0.3]]], [[0.1, -0.2], [0.05]]
    x = [0.6, -1.1]
    with_bias = nn.MLP.from_weights(W, b, activation="tanh")(x)
    first, second = ([[b, *row] for b, row in zip(bs, rows, strict=True)] for rows, bs in zip(W, b, strict=True))
    hidden = nn.Layer.from_weights(first, activation="tanh")
    output = nn.Layer.from_weights(second)
    assert output([1.0, *hidden([1.0, *x])]) == close(with_bias)  # x0 = 1 and z0 = 1
    twice = nn.MLP.from_weights(W, [[2 * v for v in row] for row in b], activation="tanh")  # equation (4) as printed
    assert abs(twice(x) - with_bias) > 0.05
    z0 = math.tanh(0.3)  # equation (5) as printed: z0 = h(a0) and not 1
    assert output([z0, *hidden([1.0, *x])]) != close(with_bias, 1e-3)


# --- losses -----------------------------------------------------------------------------------------------------------


def test_seed_B23():
    y, t = [1.5, 2.0, 3.0], [1.0, 2.0, 4.0]
    assert 2 * losses.sse(y, t) == 1.25
    assert losses.gaussian_nll(y, t, beta=1.0) == close(3.381815599614018)


def test_seed_B24():
    y, t = [1.5, 2.0, 3.0], [1.0, 2.0, 4.0]
    assert losses.beta_ml(y, t) == close(2.4)
    assert 1 / losses.beta_ml(y, t) == printed(0.4166666667, 10)
    assert losses.gaussian_nll(y, t, 2.4) == close(2.943612493583168)
    assert grad(lambda beta: losses.gaussian_nll(y, t, beta))(2.4) == close(0.0)


def test_seed_B25():
    T, Y = [[1, 0], [2, 1], [4, -1]], [[1.5, 0.5], [2, 1], [3, 0]]
    assert 1 / losses.beta_ml(Y, T) == printed(0.4166666667, 10)


CANONICAL = {
    losses.sse: (-0.7, -1.2, 2.0),
    losses.multilabel_bce: (-0.425557483, 0.231475217, 0.880797078),
    losses.cross_entropy: (-0.850681138, 0.033317542, 0.817363596),
}


@pytest.mark.parametrize("loss", CANONICAL, ids=lambda f: f.__name__)
def test_seed_B26(loss):
    assert grad(lambda a: loss(a, [1, 0, 0]))([0.3, -1.2, 2.0]) == [printed(g) for g in CANONICAL[loss]]


def test_seed_B27():
    assert grad(lambda y: 2 * losses.sse(y, [0, 2, 5]))([1.0, 2.0, 3.0]) == [2.0, 0.0, -4.0]


def test_seed_B28():
    y, p = [2.0, 1.0, -1.0], [1.0, 0.0, 0.0]
    q = losses.softmax(y)
    assert q == [printed(v) for v in (0.705384513, 0.259496460, 0.035119027)]
    assert losses.cross_entropy(y, p) == close(0.3490122167681866)
    assert losses.cross_entropy(y, 0) == close(0.3490122167681866)
    assert grad(lambda y: losses.cross_entropy(y, p))(y) == [
        printed(g) for g in (-0.294615487, 0.259496460, 0.035119027)
    ]
    assert jacobian(losses.softmax)(y)[0] == [printed(v, 6) for v in (0.207817, -0.183045, -0.024772)]
    as_printed = lambda y: -y[0] - losses.logsumexp(y)  # noqa: E731
    assert as_printed(y) == printed(-4.349012217)
    assert grad(as_printed)(y) == [printed(g, 3) for g in (-1.705, -0.259, -0.035)]


def test_seed_B29():
    a, y = [0.8, 0.3, 0.4], [1, 0, 1]
    assert losses.mse(a, y) == printed(0.16333333, 8)
    assert grad(lambda a: losses.sse(a, y))(a) == [close(g) for g in (-0.2, 0.3, -0.6)]
    assert grad(lambda a: losses.mse(a, y))(a) == [close(g) for g in (-0.4 / 3, 0.2, -0.4)]


def test_seed_B30():
    a, y = [0.8, 0.3, 0.4], [1, 0, 1]
    assert losses.bce(a, y) == close(0.49870307570903244)
    gradient = grad(lambda a: losses.bce(a, y))(a)
    assert gradient == [printed(g) for g in (-0.416666667, 0.476190476, -0.833333333)]
    assert gradient == [close((ai - yi) / (3 * ai * (1 - ai))) for ai, yi in zip(a, y, strict=True)]


def test_seed_B31():
    bce = grad(lambda z: losses.bce(sigmoid(z), 1.0))(-6.0)
    mse = grad(lambda z: losses.sse(sigmoid(z), 1.0))(-6.0)
    assert (bce, mse) == (printed(-0.9975273768, 10), printed(-0.0024604105, 10))
    assert round(bce / mse) == 405
    assert grad(lambda z: losses.bce_with_logits(z, 1.0))(-6.0) == close(bce)


# --- networks by hand -------------------------------------------------------------------------------------------------


def test_seed_B33():
    layer = nn.Layer.from_weights([[1.0, 2.0], [0.0, -1.0]])
    y = layer(values([3.0, -1.0]))
    losses.sse(y, [0.0, 2.0]).backward()
    assert data(y) == [1.0, 1.0]
    assert weight_grads(layer) == [[3.0, -1.0], [-3.0, 1.0]]


def test_seed_B34():
    layer = nn.Layer.from_weights([[1, -1, 0.5], [0, 2, -1]], [0.1, -0.2], "sigmoid")
    x = values([1.0, 0.5, -1.0])
    y = layer(x)
    losses.sse(y, [1.0, 0.0]).backward()
    v = [unit.parents[0] for unit in y]
    assert data(v) == [close(0.1), close(1.8)]
    assert data(y) == [printed(0.524979187), printed(0.858148935)]
    assert [unit.local_grads[0] for unit in y] == [printed(0.249376040), printed(0.121729340)]
    assert grads(v) == bias_grads(layer) == [printed(-0.118458809), printed(0.104461904)]
    assert weight_grads(layer) == [
        [printed(g) for g in (-0.118458809, -0.059229405, 0.118458809)],
        [printed(g) for g in (0.104461904, 0.052230952, -0.104461904)],
    ]
    assert grads(x) == [printed(g) for g in (-0.118458809, 0.327382617, -0.163691308)]


W1, B1 = [[1, 0, -1, 0.5], [0.5, -0.5, 1, 0]], [0, 0.1]
W2, B2 = [[1, 2], [0, -1], [0.5, 0.5]], [0, 0.1, -0.1]
X_423 = [0.5, -1.0, 0.25, 1.0]


def test_seed_B35():
    hidden, output = nn.Layer.from_weights(W1, B1, "tanh"), nn.Layer.from_weights(W2, B2)
    z = hidden(X_423)
    assert jacobian(output)(z) == W2  # a)
    slopes = 1 - np.array(z) ** 2
    assert np.array(jacobian(hidden)(X_423)) == close(np.diag(slopes) @ W1)  # b)
    network = nn.MLP.from_weights([W1, W2], [B1, B2], activation="tanh")
    x = values(X_423)
    _, z, y = network.layer_outputs(x)
    losses.mse(y, [1, 0, -1]).backward()
    assert np.array(grads(x)) == close(np.array(W1).T @ (slopes * grads(z)))  # c)
    g = 2 / 3 * (np.array(data(y)) - [1, 0, -1])
    assert np.array(grads(x)) == close(np.array(W1).T @ (slopes * (np.array(W2).T @ g)))  # d)


def test_seed_B35n():
    network = nn.MLP.from_weights([W1, W2], [B1, B2], activation="tanh")
    x = values(X_423)
    _, z, y = network.layer_outputs(x)
    loss = losses.mse(y, [1, 0, -1])
    loss.backward()
    a = [unit.parents[0] for unit in z]
    assert data(a) == [close(0.75), close(1.1)]
    assert data(z) == [printed(0.635148952), printed(0.800499022)]
    assert data(y) == [printed(v) for v in (2.236146996, -0.700499022, 0.617823987)]
    assert loss.data == close(1.5453709093777344)
    assert grads(y) == [printed(v) for v in (0.824097997, -0.466999348, 1.078549325)]
    assert grads(z) == [printed(1.36337266, 8), printed(2.654470005)]
    assert grads(a) == [printed(0.81336878, 8), printed(0.953489119)]
    assert grads(x) == [printed(v, 8) for v in (1.29011334, -0.47674456, 0.140120339, 0.40668439)]


TWO_LAYER = [[[1, -1], [0.5, 2], [-1, 1]], [[1, -0.5, 2]]], [[0, -1, 0.25], [0.25]]


def test_seed_B36():
    for inputs, units in ((2, 3), (5, 7)):
        model = nn.MLP(inputs, [units, 1], output_activation="sigmoid", seed=0)
        first, second = model.layers
        assert [len(neuron.w) for neuron in first.neurons] == [inputs] * units  # W1 is D_a x D_x
        assert [len(neuron.w) for neuron in second.neurons] == [units]  # W2 is 1 x D_a
        assert [len(bias_grads(layer)) for layer in model.layers] == [units, 1]


def test_seed_B37():
    model = nn.MLP.from_weights(*TWO_LAYER, activation="relu", output_activation="sigmoid")
    outputs = [model.layer_outputs(values(x)) for x in ([1.0, 0.5], [0.0, 2.0])]
    y = [row[-1][0] for row in outputs]
    J = losses.bce(y, [1, 0])
    J.backward()
    Z1 = [[unit.parents[0].data for unit in row[1]] for row in outputs]
    assert list(map(list, zip(*Z1, strict=True))) == [[0.5, -2.0], [0.5, 3.0], [-0.25, 2.25]]
    Z2 = [v.parents[0] for v in y]
    assert data(Z2) == [0.5, 3.25]
    assert data(y) == [printed(0.622459331), printed(0.962673113)]
    assert J.data == close(1.881059177933946)
    assert grads(y) == [printed(-0.80326533, 8), printed(13.395169959)]
    assert grads(Z2) == [printed(-0.188770334), printed(0.481336556)]
    first, second = model.layers
    assert weight_grads(second) == [[printed(v) for v in (-0.094385167, 1.349624502, 1.083007252)]]
    assert bias_grads(second) == [printed(0.292566222)]
    assert weight_grads(first) == [
        [printed(-0.188770334), printed(-0.094385167)],
        [printed(0.094385167), printed(-0.434143973)],
        [0.0, printed(1.925346225)],
    ]
    assert bias_grads(first) == [printed(v) for v in (-0.188770334, -0.146283111, 0.962673113)]


def test_seed_B37k():
    W, b = TWO_LAYER

    def J(b13):
        model = nn.MLP.from_weights(W, [[0, -1, b13], b[1]], activation="relu", output_activation="sigmoid")
        return losses.bce([model([1.0, 0.5]), model([0.0, 2.0])], [1, 0])

    at_kink = grad(J)(0.5)  # the pre-activation of unit 3 on the first example is exactly 0
    central = numerical_gradient(J)(0.5)
    assert abs(at_kink - central) == pytest.approx(0.188770334, rel=1e-4)  # half of 2 * 0.18877 goes missing
    assert gradcheck(J)(0.25) < 1e-6


def test_seed_B38():
    W, b = [[[0.15, 0.20], [0.25, 0.30]], [[0.40, 0.45]]], [[0.35, 0.35], [0.60]]
    model = nn.MLP.from_weights(W, b, activation="sigmoid")
    x, (y,) = values([0.05, 0.10]), [0.01]
    _, h, (a,) = model.layer_outputs(x)
    L = losses.sse(a, y)
    L.backward()
    assert [unit.parents[0].data for unit in h] == [close(0.3775), close(0.3925)]
    assert data(h) == [printed(0.5932699921, 10), printed(0.5968843783, 10)]
    assert (a.data, L.data) == (close(1.10590596705977), close(0.6005049443186048))
    expected = [
        *(0.00528885772760, 0.01057771545521, 0.10577715455206),
        *(0.00593301779366, 0.01186603558731, 0.11866035587313),
        *(0.65016812442777, 0.65412915177964, 1.09590596705977),
    ]
    assert grads(model.parameters()) == [printed(g, 14) for g in expected]
    for j, neuron in enumerate(model.layers[0].neurons):  # the nine formulas of Example 3.1
        delta = (a.data - y) * W[1][0][j] * h[j].data * (1 - h[j].data)
        assert grads(neuron.parameters()) == [close(delta * 0.05), close(delta * 0.10), close(delta)]
    optim.SGD(model.parameters(), 0.5).step()
    assert model([0.05, 0.10]) == close(0.1671111902826256)
    assert losses.sse(model([0.05, 0.10]), y) == close(0.012341963056011694)


def test_seed_B39():
    model = nn.MLP(2, [3, 2], activation="tanh", output_activation="sigmoid", seed=4)
    x, t = [0.4, -0.9], [1.0, 0.0]
    _, a1, a2 = model.layer_outputs(values(x))
    losses.sse(a2, t).backward()
    W = [np.array([data(neuron.w) for neuron in layer.neurons]) for layer in model.layers]
    h, y = np.array(data(a1)), np.array(data(a2))
    delta2 = (y - t) * y * (1 - y)  # BP1
    delta1 = (W[1].T @ delta2) * (1 - h**2)  # BP2
    for layer, delta, before in ((model.layers[0], delta1, x), (model.layers[1], delta2, h)):
        assert bias_grads(layer) == [close(d) for d in delta]  # BP3
        assert np.array(weight_grads(layer)) == close(np.outer(delta, before))  # BP4
    parameters = model.parameters()

    def loss(*theta):
        for p, v in zip(parameters, theta, strict=True):
            p.data = v
        return losses.sse(model(x), t)

    backprop = grads(parameters)
    numerical = numerical_gradient(loss, step=1e-5)(*data(parameters))
    assert max(abs(g - n) for g, n in zip(backprop, numerical, strict=True)) < 1e-10


@pytest.mark.parametrize(
    ("inputs", "sizes", "count"), [(2, [3, 4, 1], 30), (2, [4, 5, 1], 43), (2, [2, 1], 9), (2, [4, 1], 17)]
)
def test_seed_B40_and_B41(inputs, sizes, count):
    model = nn.MLP(inputs, sizes, seed=0)
    assert len(model.parameters()) == count
    shapes = [(layer.n_inputs, layer.n_outputs) for layer in model.layers]
    assert shapes == list(zip([inputs, *sizes[:-1]], sizes, strict=True))
    assert all(len(outputs) == n for outputs, n in zip(model.layer_outputs([0.1, 0.2])[1:], sizes, strict=True))


def rows(*shapes, seed=0):
    """Weights N(0, 1) in the notes' convention of row vectors, layer by layer, from NumPy's generator."""
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape) for shape in shapes]


def in_rows(weights, **options):
    """The network of these matrices, with biases 0."""
    biases = [[0.0] * w.shape[1] for w in weights]
    return nn.MLP.from_weights([w.T for w in weights], biases, activation="sigmoid", **options)


def test_seed_B42():
    hours, passed = study_hours()
    X, *_ = standardize(hours)
    weights = rows((2, 3), (3, 4), (4, 1))
    model = in_rows(weights)
    losses.bce_with_logits([model(values(x)) for x in X], passed).backward()
    A, Y, n = [np.array(X)], np.array(passed)[:, None], len(X)
    for w in weights:
        A.append(1 / (1 + np.exp(-A[-1] @ w)))
    delta = (A[3] - Y) / n  # the mean: without / n these are the printed sums, N = 20 times as large
    for k in (2, 1, 0):
        assert np.array(weight_grads(model.layers[k])) == close(delta.T @ A[k])
        assert bias_grads(model.layers[k]) == [close(g) for g in delta.sum(axis=0)]
        delta = (delta @ weights[k].T) * A[k] * (1 - A[k])
    with_mse = (A[3] - Y) * A[3] * (1 - A[3])
    assert np.abs(with_mse - (A[3] - Y)).max() > 0.1  # A - Y needs the cross-entropy


@pytest.mark.parametrize(
    ("shapes", "rate", "first", "last", "right"),
    [
        ([(2, 4), (4, 1)], 1.0, 0.90054, 0.00723, 1.0),
        ([(2, 3), (3, 4), (4, 1)], 1.0, 0.85991, 0.00551, 1.0),
        ([(2, 3), (3, 4), (4, 1)], 0.1, 0.85991, 0.67793, 0.8),
    ],
)
def test_seed_B43(shapes, rate, first, last, right):
    hours, passed = study_hours()
    X, mean, deviation = standardize(hours)
    assert mean == [close(5.2), close(5.6)]
    assert deviation == [close(2.2934689, 1e-7), close(2.0832667, 1e-7)]  # the exercise cuts the digits off
    model = in_rows(rows(*shapes))
    history = fit(lambda x, t: losses.bce_with_logits(model(x), t), model, X, passed, epochs=500, progress=False,
                  optimizer=optim.SGD(model.parameters(), rate))  # fmt: skip
    assert history.loss[0] == printed(first, 5)
    assert history.loss[-1] == printed(last, 5)  # measured before the last step
    assert accuracy(model, X, passed) == right


def test_seed_B43_the_squared_error_learns_slowly():
    hours, passed = study_hours()
    X, *_ = standardize(hours)
    losses_after = {}
    for name, loss in (("mse", lambda a, t: losses.mse(sigmoid(a), t)), ("bce", losses.bce_with_logits)):
        model = in_rows(rows((2, 4), (4, 1)))
        fit(lambda x, t, m=model, f=loss: f(m(x), t), model, X, passed, epochs=100, progress=False,
            optimizer=optim.SGD(model.parameters(), 0.1))  # fmt: skip
        losses_after[name] = losses.bce_with_logits([model(x) for x in X], passed)
    assert losses_after["mse"] > losses_after["bce"]


def linear_rnn(W_x, activation="identity"):
    return nn.RNN(
        nn.RNNCell.from_weights([W_x], [[1.0]], activation="identity"),
        nn.Layer.from_weights([[1.0]], activation=activation),
    )


def recurrent_gradients(model, y):
    y.backward()
    g = [*grads(model.cell.W_x[0]), *grads(model.cell.W_h[0]), *weight_grads(model.output)[0]]
    model.zero_grad()
    return g


def test_seed_B44():
    model = linear_rnn([1.0])
    assert model([2.0, -0.5, 1.0]) == [2.0, 1.5, 2.5]
    sequence = values([2.0, -0.5, 1.0])
    assert recurrent_gradients(model, model(sequence)[-1]) == [2.5, 3.5, 2.5]
    assert recurrent_gradients(model, total(model(sequence))) == [6.0, 5.5, 6.0]


def test_seed_B45():
    model = linear_rnn([1.0, -1.0], "sigmoid")
    sequence = [[2.0, -2.0], [0.0, 3.5], [1.0, 2.2]]
    assert [state[0] for state in nn.RNN(model.cell)(sequence)] == [close(h) for h in (4.0, 0.5, -0.7)]
    assert model(sequence) == [printed(y, 8) for y in (0.98201379, 0.62245933, 0.33181223)]
    running = np.cumsum(np.array(sequence), axis=0)
    assert [y > 0.5 for y in model(sequence)] == [bool(first > second) for first, second in running]
    last = model([values(x) for x in sequence])[-1]
    expected = (0.66513862, 0.820337631, 0.99770793, -0.155199011)
    assert recurrent_gradients(model, last) == [printed(g, 8) for g in expected]
    linear = linear_rnn([1.0, -1.0])(sequence)  # erratum: the notes call this output layer linear
    assert linear == [close(h) for h in (4.0, 0.5, -0.7)]


# --- optimisation and second order ------------------------------------------------------------------------------------


def quadratic(w):
    """1/2 w^T H w with H = [[2, 1], [1, 4]]."""
    return w[0] * w[0] + w[0] * w[1] + 2 * w[1] * w[1]


def test_seed_B46():
    H = hessian(quadratic)([0.7, -0.2])
    assert H == [[2.0, 1.0], [1.0, 4.0]]
    eigenvalues, directions = np.linalg.eigh(H)
    assert eigenvalues.tolist() == [printed(1.585786438), printed(4.414213562)]
    assert eigenvalues.tolist() == [close(3 - math.sqrt(2)), close(3 + math.sqrt(2))]
    alpha = directions.T @ [0.3, -0.2]
    assert (alpha**2).tolist() == [printed(0.353700546**2, 8), printed(0.069970877**2, 8)]
    assert quadratic([0.3, -0.2]) == close(0.11)
    assert 0.5 * (eigenvalues * alpha**2).sum() == close(0.11)


@pytest.mark.parametrize(("rate", "distance"), [(0.1, 1.7e-8), (0.4, 3.3e-12), (0.453082, 1.307), (0.46, 26.46)])
def test_seed_B47(rate, distance):
    w = values([1.0, 1.0])
    descent = optim.SGD(w, rate)
    for _ in range(100):
        descent.zero_grad()
        quadratic(w).backward()
        descent.step()
    assert math.hypot(*data(w)) == pytest.approx(distance, rel=0.03)
    limit = 2 / (3 + math.sqrt(2))
    assert limit == printed(0.4530818393, 10)
    assert (math.hypot(*data(w)) > math.hypot(1, 1)) == (rate > limit + 1e-6)


def sample(n, seed=0):
    rng = random.Random(seed)
    X = [[rng.gauss(0, 1), rng.gauss(0, 1)] for _ in range(n)]
    return X, [a - 2 * b + rng.gauss(0, 0.1) for a, b in X]


def test_seed_B48():
    X, y = sample(12)
    model = nn.MLP.from_weights([[[0.3, 0.4]]], [[0.1]])

    def gradient(rows, targets):
        model.zero_grad()
        losses.mse([model(values(x)) for x in rows], targets).backward()
        return np.array(grads(model.parameters()))

    full = gradient(X, y)
    singles = [gradient([x], [t]) for x, t in zip(X, y, strict=True)]
    assert np.mean(singles, axis=0) == close(full)
    halves = [gradient(*batch) for batch in minibatches(X, y, 6, seed=3)]
    assert np.mean(halves, axis=0) == close(full)
    shuffled = gradient(*minibatches(X, y, seed=5)[0])
    assert shuffled == close(full)
    assert (np.std(singles, axis=0) > np.std(halves, axis=0)).all()


@pytest.mark.parametrize(("m", "size", "count", "last"), [(1280, 128, 10, 128), (1000, 128, 8, 104)])
def test_seed_B49(m, size, count, last):
    batches = minibatches(range(m), batch_size=size, seed=1)
    assert len(batches) == count == math.ceil(m / size)
    assert [len(rows) for rows, _ in batches] == [size] * (count - 1) + [last]
    together = [i for rows, _ in batches for i in rows]
    assert together != list(range(m))
    assert sorted(together) == list(range(m))


def test_seed_B51():
    def descend(noise, steps=60):
        w, rng = values([1.0, 0.0]), random.Random(2)
        descent = optim.SGD(w, 0.1)
        for _ in range(steps):
            descent.zero_grad()
            (w[0] ** 2 - w[1] ** 2).backward()
            for p in w:
                p.grad += noise * rng.gauss(0, 1)
            descent.step()
        return data(w)

    w1, w2 = descend(noise=0.0)
    assert w1 == pytest.approx(0.8**60)
    assert w2 == 0.0  # on the ridge for ever: a saddle, eigenvalues 2 and -2
    assert abs(descend(noise=0.01)[1]) > 1.0
    assert np.linalg.eigvalsh(hessian(lambda w: w[0] ** 2 - w[1] ** 2)([0.0, 0.0])).tolist() == [-2.0, 2.0]


CURVE = [(0.0, 1.0), (1.0, 2.0), (2.0, 4.2)]


def curve_residuals(w):
    return lambda: [y - exp(w * x) for x, y in CURVE]


def half_sse(w):
    return losses.sse([exp(w * x) for x, _ in CURVE], [y for _, y in CURVE])


def test_seed_B52():
    assert jacobian(lambda w: [exp(w * x) for x, _ in CURVE])(0.5) == [
        printed(v) for v in (0, 1.648721271, 5.436563657)
    ]
    w = Value(0.5)
    r = [v.data for v in curve_residuals(w)()]
    J = jacobian(lambda w: [exp(w * x) for x, _ in CURVE])(0.5)
    assert r == [printed(v) for v in (0, 0.351278729, 1.481718172)]
    assert (dot(J, J), dot(J, r)) == (printed(32.27450622, 8), printed(8.634615874))
    assert half_sse(0.5) == printed(1.159443, 6)
    assert hessian(half_sse)(0.5) == printed(15.5844, 4)  # J^T J is only part of it
    result = optim.levenberg_marquardt(curve_residuals(w), [w], damping=0.1)
    assert w.data == printed(0.7667103496, 10)
    assert w.data - 0.5 == printed(0.2667103496, 10)
    assert result.cost == printed(0.105833, 6)
    wrong = 0.5 - dot(J, r) / (dot(J, J) + 0.1)  # the minus that the notes print
    assert (wrong, half_sse(wrong)) == (printed(0.2332896504, 10), printed(3.666007, 6))
    w.data = 0.5
    optim.levenberg_marquardt(curve_residuals(w), [w], damping=0.1, steps=6)
    assert w.data == printed(0.7161848092, 10)


def test_seed_B53():
    points = [(0.0, 1.0), (1.0, 3.0), (2.0, 5.0)]

    def step(damping):
        w = values([0.0, 0.0])
        optim.levenberg_marquardt(lambda: [y - (w[0] + w[1] * x) for x, y in points], w, damping=damping)
        return data(w)

    assert step(0.0) == [close(1.0), close(2.0)]  # Gauss-Newton
    assert step(1.0) == [close(1.0), printed(1.666667, 6)]
    far = 1e9
    assert [far * v for v in step(far)] == [close(9.0, 1e-6), close(13.0, 1e-6)]  # J^T r: a step of gradient descent


def test_seed_B55():
    w = Value(1.0)
    w.grad = 2.0
    optim.SGD([w], learning_rate=0.1).step()
    assert w.data == 0.8
    (w * tanh(w)).backward()
    assert w.data == 0.8  # backward computes, only the optimiser moves
