"""The exercises of the lecture notes that need networks, losses, optimisers; their numbers stand in the course's data."""

import math
import random

import numpy as np
import pytest
from course.agreement import agrees

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
    total,
)
from tinygrad_vi.course.texts import golden
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
    agrees("B17.max_ds", max(grad(sigmoid)(x / 100) for x in range(-500, 501)))
    agrees("B17.chan_10", grad(sigmoid)(0.0) ** 10, abs=1e-20)
    agrees("B17.ds10", grad(sigmoid)(10.0), rel=1e-12, abs=0)

    def gradient(layers):
        a = start = Value(0.5)
        for _ in range(layers):
            a = sigmoid(a)
        a.backward()
        return start.grad

    for layers in (1, 3, 5, 10, 20):
        agrees(f"B17.n{layers}", gradient(layers), rel=1e-10, abs=0)
        assert gradient(layers) <= 0.25**layers
    agrees("B17.do_sau", next(n for n in range(1, 30) if gradient(n) < 1e-6))


def test_seed_B17_a_softmax_behind_the_chain_does_not_help():
    def loss(start):
        for _ in range(10):
            start = sigmoid(start)
        return losses.cross_entropy([start, 0.0], 1)

    agrees("B17.tieu_bien", abs(grad(loss)(0.5)) < 1e-6)


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
            if not recovers:
                agrees("B18.gradient", grads(dead.parameters()))
            optim.SGD(model.parameters(), 0.1).step()
        assert (data(dead.parameters()) != before) is recovers
        if activation == "leaky_relu":
            agrees("B18.hoi_phuc", data(dead.parameters()) != before)


COLLAPSE_W = [
    [[0, 0], [2, 3], [-3, -2], [2, 3]],
    [[-2, -1, 3, -1], [-2, 2, -2, -1], [1, 0, -3, -3]],
    [[3, 2, 2], [0, 2, -1]],
]
COLLAPSE_B = [[0, 2, -3, -1], [-3, 0, 3], [-3, -1]]


def test_seed_B19():
    deep = nn.MLP.from_weights(COLLAPSE_W, COLLAPSE_B, activation="identity")
    agrees("B19.ra", deep.predict([2.0, -1.0]))
    agrees("B19.W", jacobian(deep)([2.0, -1.0]))
    agrees("B19.b", deep.predict([0.0, 0.0]))
    flat = nn.Layer.from_weights(golden("B19.W"), golden("B19.b"))
    points = [[x, y] for x in (-2.0, 0.0, 3.0) for y in (-1.0, 5.0)]
    assert flat.predict(points) == deep.predict(points)
    with pytest.raises(ValueError, match="matmul"):  # the printed ascending product does not even conform
        np.array(COLLAPSE_W[0]) @ np.array(COLLAPSE_W[1]) @ np.array(COLLAPSE_W[2])


def test_seed_B20():
    model = nn.MLP.from_weights([[[1, 1], [1, 1]], [[1, -2]]], [[0, -1], [0]], activation="relu")
    X, y = xor()
    agrees("B20.y", model.predict(X))
    agrees("B20.y", y)
    sizes = {3: "D", 5: "H", 2: "C"}
    layers = nn.MLP(3, [5, 2], seed=0).layers
    for name, layer in zip(("B20.W1", "B20.W2"), layers, strict=True):
        agrees(name, [sizes[layer.n_outputs], sizes[layer.n_inputs]])


@pytest.mark.slow
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
    agrees("B21.giam", errors[0] > 5 * errors[1] > 25 * errors[2])
    assert errors[2] < 0.01
    best = max(abs(slope * x - math.sin(x)) for slope in [np.dot(xs, np.sin(xs)) / np.dot(xs, xs)] for x in xs)
    agrees("B21.tuyen_tinh", best < 0.9 * errors[0])  # the best straight line, to which a linear network comes down


def test_seed_B22():
    W, b = [[[0.2, -0.4], [0.7, 0.1]], [[0.5, -0.3]]], [[0.1, -0.2], [0.05]]
    x = [0.6, -1.1]
    with_bias = nn.MLP.from_weights(W, b, activation="tanh").predict(x)
    first, second = ([[b, *row] for b, row in zip(bs, rows, strict=True)] for rows, bs in zip(W, b, strict=True))
    hidden = nn.Layer.from_weights(first, activation="tanh")
    output = nn.Layer.from_weights(second)
    agrees("B22.y", with_bias)
    absorbed = output.predict([golden("B22.z0"), *hidden.predict([1.0, *x])])  # x0 = 1 and z0 = 1
    assert absorbed == close(with_bias)
    agrees("B22.doi", abs(absorbed - with_bias) > 1e-12)
    twice = nn.MLP.from_weights(W, [[2 * v for v in row] for row in b], activation="tanh")  # equation (4) as printed
    assert abs(twice(x) - with_bias) > 0.05
    z0 = math.tanh(0.3)  # equation (5) as printed: z0 = h(a0) and not 1
    assert output([z0, *hidden([1.0, *x])]) != close(with_bias, 1e-3)


# --- losses -----------------------------------------------------------------------------------------------------------


def test_seed_B23():
    y, t = [1.5, 2.0, 3.0], [1.0, 2.0, 4.0]
    agrees("B23.SS", 2 * losses.sse(y, t))
    agrees("B23.nll", losses.gaussian_nll(y, t, beta=1.0))


def test_seed_B24():
    y, t = [1.5, 2.0, 3.0], [1.0, 2.0, 4.0]
    agrees("B24.beta", losses.beta_ml(y, t))
    agrees("B24.phuong_sai", 1 / losses.beta_ml(y, t))
    agrees("B24.nll", losses.gaussian_nll(y, t, losses.beta_ml(y, t)))
    agrees("B24.dnll", grad(lambda beta: losses.gaussian_nll(y, t, beta))(losses.beta_ml(y, t)))


def test_seed_B25():
    T, Y = [[1, 0], [2, 1], [4, -1]], [[1.5, 0.5], [2, 1], [3, 0]]
    agrees("B25.phuong_sai", 1 / losses.beta_ml(Y, T))


CANONICAL = {
    losses.sse: "B26.dong_nhat",
    losses.multilabel_bce: "B26.sigmoid",
    losses.cross_entropy: "B26.softmax",
}


@pytest.mark.parametrize("loss", CANONICAL, ids=lambda f: f.__name__)
def test_seed_B26(loss):
    agrees(CANONICAL[loss], grad(lambda a: loss(a, [1, 0, 0]))([0.3, -1.2, 2.0]))


def test_seed_B27():
    agrees("B27.gradient", grad(lambda y: 2 * losses.sse(y, [0, 2, 5]))([1.0, 2.0, 3.0]))


def test_seed_B28():
    y, p = [2.0, 1.0, -1.0], [1.0, 0.0, 0.0]
    agrees("B28.q", losses.softmax(y))
    agrees("B28.logsumexp", losses.logsumexp(y))
    agrees("B28.l", losses.cross_entropy(y, p))
    agrees("B28.l", losses.cross_entropy(y, 0))
    agrees("B28.grad", grad(lambda y: losses.cross_entropy(y, p))(y))
    agrees("B28.J1", jacobian(losses.softmax)(y)[0])
    signs = {"+": losses.logsumexp(y) - y[0], "-": -losses.logsumexp(y) - y[0]}
    [sign] = [sign for sign, value in signs.items() if value == close(losses.cross_entropy(y, p))]
    agrees("B28.dau", sign)
    as_printed = lambda y: -y[0] - losses.logsumexp(y)  # noqa: E731
    assert as_printed(y) == printed(-4.349012217)
    assert grad(as_printed)(y) == [printed(g, 3) for g in (-1.705, -0.259, -0.035)]


def test_seed_B29():
    a, y = [0.8, 0.3, 0.4], [1, 0, 1]
    agrees("B29.mse", losses.mse(a, y))
    agrees("B29.grad_nua", grad(lambda a: losses.sse(a, y))(a))
    agrees("B29.grad_tb", grad(lambda a: losses.mse(a, y))(a))


def test_seed_B30():
    a, y = [0.8, 0.3, 0.4], [1, 0, 1]
    agrees("B30.bce", losses.bce(a, y))
    gradient = grad(lambda a: losses.bce(a, y))(a)
    agrees("B30.grad", gradient)
    assert gradient == [close((ai - yi) / (3 * ai * (1 - ai))) for ai, yi in zip(a, y, strict=True)]


def test_seed_B31():
    bce = grad(lambda z: losses.bce(sigmoid(z), 1.0))(-6.0)
    mse = grad(lambda z: losses.sse(sigmoid(z), 1.0))(-6.0)
    agrees("B31.bce", bce)
    agrees("B31.mse", mse)
    agrees("B31.ti_so", bce / mse, rel=1e-9)
    assert grad(lambda z: losses.bce_with_logits(z, 1.0))(-6.0) == close(bce)


# --- networks by hand -------------------------------------------------------------------------------------------------


def test_seed_B33():
    layer = nn.Layer.from_weights([[1.0, 2.0], [0.0, -1.0]])
    y = layer(values([3.0, -1.0]))
    losses.sse(y, [0.0, 2.0]).backward()
    agrees("B33.y", data(y))
    agrees("B33.dW", weight_grads(layer))


def test_seed_B34():
    layer = nn.Layer.from_weights([[1, -1, 0.5], [0, 2, -1]], [0.1, -0.2], "sigmoid")
    x = values([1.0, 0.5, -1.0])
    y = layer(x)
    losses.sse(y, [1.0, 0.0]).backward()
    v = [unit.parents[0] for unit in y]
    agrees("B34.v", data(v))
    agrees("B34.y", data(y))
    agrees("B34.s", [unit.local_grads[0] for unit in y])
    agrees("B34.gv", grads(v))
    agrees("B34.gv", bias_grads(layer))
    agrees("B34.gW", weight_grads(layer))
    agrees("B34.gx", grads(x))
    by_w1 = jacobian(lambda w: [dot(w, data(x)), dot([0.0, 2.0, -1.0], data(x))])([1.0, -1.0, 0.5])
    agrees("B34.Jw1", np.transpose(by_w1))  # the notes' layout: a row for each variable


W1, B1 = [[1, 0, -1, 0.5], [0.5, -0.5, 1, 0]], [0, 0.1]
W2, B2 = [[1, 2], [0, -1], [0.5, 0.5]], [0, 0.1, -0.1]
X_423 = [0.5, -1.0, 0.25, 1.0]


def test_seed_B35():
    hidden, output = nn.Layer.from_weights(W1, B1, "tanh"), nn.Layer.from_weights(W2, B2)
    z = hidden.predict(X_423)
    assert jacobian(output)(z) == W2  # a)
    agrees("B35.Jzy", list(np.transpose(jacobian(output)(z)).shape))  # the notes' layout: a row for each variable
    agrees("B35.Jxz", list(np.transpose(jacobian(hidden)(X_423)).shape))
    slopes = 1 - np.array(z) ** 2
    assert np.array(jacobian(hidden)(X_423)) == close(np.diag(slopes) @ W1)  # b)
    network = nn.MLP.from_weights([W1, W2], [B1, B2], activation="tanh")
    x = values(X_423)
    _, z, y = network.layer_outputs(x)
    losses.mse(y, [1, 0, -1]).backward()
    assert np.array(grads(x)) == close(np.array(W1).T @ (slopes * grads(z)))  # c)
    g = 2 / 3 * (np.array(data(y)) - [1, 0, -1])
    assert np.array(grads(x)) == close(np.array(W1).T @ (slopes * (np.array(W2).T @ g)))  # d)
    agrees("B35.gx", grads(x))


def test_seed_B35n():
    network = nn.MLP.from_weights([W1, W2], [B1, B2], activation="tanh")
    x = values(X_423)
    _, z, y = network.layer_outputs(x)
    loss = losses.mse(y, [1, 0, -1])
    loss.backward()
    a = [unit.parents[0] for unit in z]
    agrees("B35n.a", data(a))
    agrees("B35n.z", data(z))
    agrees("B35n.y", data(y))
    agrees("B35n.L", loss.data)
    agrees("B35n.gy", grads(y))
    agrees("B35n.gz", grads(z))
    agrees("B35n.ga", grads(a))
    agrees("B35n.gx", grads(x))


TWO_LAYER = [[[1, -1], [0.5, 2], [-1, 1]], [[1, -0.5, 2]]], [[0, -1, 0.25], [0.25]]


def test_seed_B36():
    inputs, units = 5, 7
    model = nn.MLP(inputs, [units, 1], output_activation="sigmoid", seed=0)
    letters = {inputs: "Dx", units: "Da", 1: 1}
    for layer, W, b in zip(model.layers, ("B36.W1", "B36.W2"), ("B36.b1", "B36.b2"), strict=True):
        agrees(W, [letters[len(layer.neurons)], letters[len(layer.neurons[0].w)]])
        agrees(b, [letters[len(bias_grads(layer))], 1])


def test_seed_B37():
    model = nn.MLP.from_weights(*TWO_LAYER, activation="relu", output_activation="sigmoid")
    outputs = [model.layer_outputs(values(x)) for x in ([1.0, 0.5], [0.0, 2.0])]
    y = [row[-1][0] for row in outputs]
    J = losses.bce(y, [1, 0])
    J.backward()
    Z1 = [[unit.parents[0].data for unit in row[1]] for row in outputs]
    agrees("B37.Z1", np.transpose(Z1))
    Z2 = [v.parents[0] for v in y]
    agrees("B37.Z2", data(Z2))
    agrees("B37.yhat", data(y))
    agrees("B37.J", J.data)
    agrees("B37.dyhat", grads(y))
    agrees("B37.dZ2", grads(Z2))
    first, second = model.layers
    agrees("B37.dW2", weight_grads(second)[0])
    agrees("B37.db2", bias_grads(second)[0])
    agrees("B37.dW1", weight_grads(first))
    agrees("B37.db1", bias_grads(first))


def test_seed_B37k():
    W, b = TWO_LAYER

    def J(b13):
        model = nn.MLP.from_weights(W, [[0, -1, b13], b[1]], activation="relu", output_activation="sigmoid")
        return losses.bce([model([1.0, 0.5]), model([0.0, 2.0])], [1, 0])

    at_kink = grad(J)(0.5)  # the pre-activation of unit 3 on the first example is exactly 0
    central = numerical_gradient(J)(0.5)
    assert abs(at_kink - central) == pytest.approx(0.188770334, rel=1e-4)  # half of 2 * 0.18877 goes missing
    assert gradcheck(J)(0.25) < 1e-6

    def by_weight(w):  # the only weight of unit 3 that the first example alone uses
        rows = [*W[0][:2], [w, 1]]
        model = nn.MLP.from_weights([rows, W[1]], [[0, -1, 0.5], b[1]], activation="relu", output_activation="sigmoid")
        return losses.bce([model([1.0, 0.5]), model([0.0, 2.0])], [1, 0])

    agrees("B37k.backprop", grad(by_weight)(-1.0))
    agrees("B37k.sai_phan", numerical_gradient(by_weight)(-1.0), rel=1e-4)
    left, right = (numerical_gradient(by_weight, method="forward", step=1e-7)(-1.0 - back) for back in (1e-7, 0.0))
    assert abs(left - right) > 0.3  # two slopes: there is no derivative, and neither side is wrong
    agrees("B37k.ben_sai", "không bên nào")


def test_seed_B38():
    W, b = [[[0.15, 0.20], [0.25, 0.30]], [[0.40, 0.45]]], [[0.35, 0.35], [0.60]]
    model = nn.MLP.from_weights(W, b, activation="sigmoid")
    x, (y,) = values([0.05, 0.10]), [0.01]
    _, h, (a,) = model.layer_outputs(x)
    L = losses.sse(a, y)
    L.backward()
    agrees("B38.z", [unit.parents[0].data for unit in h])
    agrees("B38.h", data(h))
    agrees("B38.a", a.data)
    agrees("B38.L", L.data)
    found = grads(model.parameters())
    for name, place in (("B38.g1", 0), ("B38.g2", 3), ("B38.gv", 6)):
        agrees(name, found[place : place + 3])
    for j, neuron in enumerate(model.layers[0].neurons):  # the nine formulas of Example 3.1
        delta = (a.data - y) * W[1][0][j] * h[j].data * (1 - h[j].data)
        assert grads(neuron.parameters()) == [close(delta * 0.05), close(delta * 0.10), close(delta)]
    optim.SGD(model.parameters(), 0.5).step()
    agrees("B38.a_moi", model.predict([0.05, 0.10]))
    agrees("B38.L_moi", losses.sse(model.predict([0.05, 0.10]), y))


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
    worst = max(abs(g - n) for g, n in zip(backprop, numerical, strict=True))
    assert worst < 1e-10
    agrees("B39.sai_khac", worst)
    agrees(
        "B39.l_dau", next(number for number, values in enumerate(model.layer_outputs(values(x))) if values[0].parents)
    )
    agrees("B39.phep", {True: "⊙", False: "·"}[delta1.shape == h.shape])  # a dot product would be one number


def test_seed_B40():
    model = nn.MLP(2, [3, 4, 1], seed=0)
    outputs = model.layer_outputs([0.1, 0.2])
    for number, layer in enumerate(model.layers, start=1):
        agrees(f"B40.W{number}", [layer.n_inputs, layer.n_outputs])  # the notes' convention of row vectors
        agrees(f"B40.b{number}", [1, len(bias_grads(layer))])
        agrees(f"B40.Z{number}", ["n", len(outputs[number])])
    agrees("B40.db2", [1, len(bias_grads(model.layers[1]))])
    agrees("B40.so_tham_so", len(model.parameters()))


def test_seed_B41():
    sizes = ([4, 5, 1], [2, 1], [4, 1])
    agrees("B41.so_tham_so", [len(nn.MLP(2, layers, seed=0).parameters()) for layers in sizes])


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
    J = losses.bce_with_logits([model(values(x)) for x in X], passed)
    J.backward()
    agrees("B42.J", J.data)
    for number, layer in enumerate(model.layers, start=1):
        agrees(f"B42.dW{number}", np.transpose(weight_grads(layer)))
        agrees(f"B42.db{number}", bias_grads(layer))
    A, Y, n = [np.array(X)], np.array(passed)[:, None], len(X)
    for w in weights:
        A.append(1 / (1 + np.exp(-A[-1] @ w)))
    delta = (A[3] - Y) / n  # the mean: without / n these are the printed sums, N = 20 times as large
    for k in (2, 1, 0):
        assert np.array(weight_grads(model.layers[k])) == close(delta.T @ A[k])
        assert bias_grads(model.layers[k]) == [close(g) for g in delta.sum(axis=0)]
        delta = (delta @ weights[k].T) * A[k] * (1 - A[k])
    agrees("B42.dA2", list(((A[3] - Y) @ weights[2].T).shape))
    with_mse = (A[3] - Y) * A[3] * (1 - A[3])
    assert np.abs(with_mse - (A[3] - Y)).max() > 0.1  # A - Y needs the cross-entropy


def learned(shapes, rate):
    """The losses, the share of right answers, of the notes' network on standardized hours."""
    hours, passed = study_hours()
    X, *_ = standardize(hours)
    model = in_rows(rows(*shapes))
    history = fit(lambda x, t: losses.bce_with_logits(model(x), t), X, passed, params=model, epochs=500, progress=False,
                  optimizer=optim.SGD(model.parameters(), rate))  # fmt: skip
    return history.loss, accuracy(model, X, passed)


def test_seed_B43():
    _, mean, deviation = standardize(study_hours()[0])
    agrees("B43.trung_binh", mean)
    agrees("B43.do_lech", deviation)
    loss, right = learned([(2, 4), (4, 1)], 1.0)
    agrees("B43.mat_mat_dau", loss[0])
    agrees("B43.mat_mat_cuoi", loss[-1], rel=1e-9)  # measured before the last step
    agrees("B43.do_chinh_xac", right)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shapes", "rate", "first", "last", "right"),
    [
        ([(2, 3), (3, 4), (4, 1)], 1.0, 0.85991, 0.00551, 1.0),
        ([(2, 3), (3, 4), (4, 1)], 0.1, 0.85991, 0.67793, 0.8),
    ],
)
def test_seed_B43_with_two_hidden_layers(shapes, rate, first, last, right):
    loss, share = learned(shapes, rate)
    assert (loss[0], loss[-1], share) == (printed(first, 5), printed(last, 5), right)


def test_seed_B43_the_squared_error_learns_slowly():
    hours, passed = study_hours()
    X, *_ = standardize(hours)
    losses_after = {}
    for name, loss in (("mse", lambda a, t: losses.mse(sigmoid(a), t)), ("bce", losses.bce_with_logits)):
        model = in_rows(rows((2, 4), (4, 1)))
        fit(lambda x, t, m=model, f=loss: f(m(x), t), X, passed, params=model, epochs=100, progress=False,
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
    agrees("B44.h", model.predict([[2.0, -0.5, 1.0]])[0])
    sequence = values([2.0, -0.5, 1.0])
    agrees("B44.bptt_y3", recurrent_gradients(model, model(sequence)[-1]))
    agrees("B44.bptt_tong", recurrent_gradients(model, total(model(sequence))))


def test_seed_B45():
    model = linear_rnn([1.0, -1.0], "sigmoid")
    sequence = [[2.0, -2.0], [0.0, 3.5], [1.0, 2.2]]
    agrees("B45.h", [state[0] for state in nn.RNN(model.cell).predict([sequence])[0]])
    agrees("B45.y", model.predict([sequence])[0])
    running = np.cumsum(np.array(sequence), axis=0)
    assert [y > 0.5 for y in model.predict([sequence])[0]] == [bool(first > second) for first, second in running]
    last = model([values(x) for x in sequence])[-1]
    agrees("B45.bptt", recurrent_gradients(model, last))
    linear = linear_rnn([1.0, -1.0]).predict([sequence])[0]  # erratum: the notes call this output layer linear
    agrees("B45.h", linear)


# --- optimisation and second order ------------------------------------------------------------------------------------


def quadratic(w):
    """1/2 w^T H w with H = [[2, 1], [1, 4]]."""
    return w[0] * w[0] + w[0] * w[1] + 2 * w[1] * w[1]


def test_seed_B46():
    H = hessian(quadratic)([0.7, -0.2])
    agrees("B46.H", H)
    eigenvalues, directions = np.linalg.eigh(H)
    agrees("B46.tri_rieng", eigenvalues)
    assert eigenvalues.tolist() == [close(3 - math.sqrt(2)), close(3 + math.sqrt(2))]
    alpha = directions.T @ [0.3, -0.2]
    agrees("B46.alpha2", alpha**2)
    agrees("B46.bac2", quadratic([0.3, -0.2]))
    agrees("B46.bac2", 0.5 * (eigenvalues * alpha**2).sum())


@pytest.mark.parametrize(
    ("rate", "name"), [(0.1, "B47.kc_01"), (0.4, "B47.kc_04"), (0.453082, None), (0.46, "B47.kc_046")]
)
def test_seed_B47(rate, name):
    w = values([1.0, 1.0])
    descent = optim.SGD(w, rate)
    for _ in range(100):
        descent.zero_grad()
        quadratic(w).backward()
        descent.step()
    if name:
        agrees(name, math.hypot(*data(w)), rel=1e-3, abs=0)
    else:
        assert math.hypot(*data(w)) == pytest.approx(1.307, rel=0.03)
    limit = 2 / (3 + math.sqrt(2))
    agrees("B47.eta_max", limit)
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
    halves = [gradient(*batch) for batch in minibatches(X, y, batch_size=6, seed=3)]
    assert np.mean(halves, axis=0) == close(full)
    shuffled = gradient(*minibatches(X, y, seed=5)[0])
    assert shuffled == close(full)
    assert (np.std(singles, axis=0) > np.std(halves, axis=0)).all()


def test_seed_B48_on_three_examples():
    points = [(1.0, 2.0), (2.0, 1.0), (3.0, 5.0)]
    w = Value(1.0)

    def gradient(chunk):
        w.grad = 0.0
        for x, t in chunk:
            losses.sse(w * x, t).backward()
        return w.grad

    each = [gradient([point]) for point in points]
    agrees("B48.tung_mau", each)
    agrees("B48.trung_binh", np.mean(each))
    agrees("B48.trung_binh", grad(lambda w: losses.mse([w * x for x, _ in points], [t for _, t in points]) / 2)(1.0))
    in_chunks = (gradient(points[:2]) + gradient(points[2:])) / len(points)
    agrees("B48.chia_khuc", in_chunks)
    agrees("B48.can_ca_tap", abs(in_chunks - np.mean(each)) > 1e-12)


@pytest.mark.parametrize(
    ("m", "size", "count", "last"),
    [(1280, 128, "B49.so_batch", 128), (1000, 128, "B49.so_batch_1000", "B49.batch_cuoi")],
)
def test_seed_B49(m, size, count, last):
    count, last = (golden(x) if isinstance(x, str) else x for x in (count, last))
    batches = minibatches(range(m), batch_size=size, seed=1)
    assert len(batches) == count == math.ceil(m / size)
    assert [len(rows) for rows, _ in batches] == [size] * (count - 1) + [last]
    together = [i for rows, _ in batches for i in rows]
    assert together != list(range(m))
    assert sorted(together) == list(range(m))


def test_seed_B50():
    spread, m, draws = 4.63, 1280, 1500
    rng = np.random.default_rng(5)
    each = rng.standard_normal(m)
    each = (each - each.mean()) / each.std(ddof=1) * spread  # the gradients of single examples: mean 0, deviation S
    sizes = (1, 8, 32, 128, 512, 1280)
    measured = [
        math.sqrt(np.mean([rng.choice(each, n, replace=False).mean() ** 2 for _ in range(draws)])) for n in sizes
    ]
    agrees("B50.rmse", measured, rel=0.08)
    nearest = min((8, 128), key=dict(zip(sizes, measured, strict=True)).__getitem__)
    agrees("B50.gan_hon", nearest)


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
    agrees("B51.dung", [w1, w2], abs=1e-5)
    assert w2 == 0.0  # on the ridge for ever: a saddle, eigenvalues 2 and -2
    assert abs(descend(noise=0.01)[1]) > 1.0
    eigenvalues = np.linalg.eigvalsh(hessian(lambda w: w[0] ** 2 - w[1] ** 2)([0.0, 0.0]))
    agrees("B51.tri_rieng", eigenvalues[::-1])
    agrees("B51.loai", "điểm yên ngựa" if eigenvalues[0] < 0 < eigenvalues[1] else "khác")
    agrees("B51.loi", bool(eigenvalues[0] >= 0))
    agrees("B51.toan_cuc", descend(noise=0.0)[1] != 0.0)  # it stopped where another step sideways goes on down


CURVE = [(0.0, 1.0), (1.0, 2.0), (2.0, 4.2)]


def curve_residuals(w):
    return lambda: [y - exp(w * x) for x, y in CURVE]


def half_sse(w):
    return losses.sse([exp(w * x) for x, _ in CURVE], [y for _, y in CURVE])


def test_seed_B52():
    w = Value(0.5)
    r = [v.data for v in curve_residuals(w)()]
    J = jacobian(lambda w: [exp(w * x) for x, _ in CURVE])(0.5)
    agrees("B52.r", r)
    agrees("B52.J", J)
    agrees("B52.JTJ", dot(J, J))
    agrees("B52.JTr", dot(J, r))
    assert half_sse(0.5) == printed(1.159443, 6)
    agrees("B52.hessian", hessian(half_sse)(0.5))  # J^T J is only part of it
    result = optim.levenberg_marquardt(curve_residuals(w), [w], damping=0.1)
    agrees("B52.w", w.data)
    agrees("B52.buoc", w.data - 0.5)
    agrees("B52.sse", result.cost)
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

    agrees("B53.gauss_newton", step(0.0))
    agrees("B53.lm1", step(1.0))
    far = 1e9
    agrees("B53.gd", [far * v for v in step(far)], abs=1e-6)  # J^T r: a step of gradient descent


def test_seed_B54():
    row = np.zeros(4096, np.float32)
    agrees("B54.mot_mau_MiB", 4096 * row.nbytes / 2**20)
    agrees("B54.batch_GiB", 64 * 4096 * 64 * row.nbytes / 2**30)
    inputs = values([1.0, 2.0, 3.0])
    loss = total([v * v for v in inputs])
    loss.backward()  # what a node keeps is one number for each operand: no matrix is built
    agrees("B54.can_dung", any(len(v.local_grads) != len(v.parents) for v in (loss, *loss.parents)))
    assert grads(inputs) == [2.0, 4.0, 6.0]


def test_seed_B55():
    w = Value(1.0)
    w.grad = 2.0
    optim.SGD([w], learning_rate=0.1).step()
    agrees("B55.w", w.data)
    w = Value(1.0)
    (w * w).backward()
    assert w.grad == 2.0
    agrees("B55.sau_backward", w.data)  # backward computes, only the optimiser moves
