"""The error signals of innocent networks, judged by PyTorch: the gradients that it retains at the sums of the units."""

import math

import pytest

from tinygrad_vi import Value, losses, nn, ops, show
from tinygrad_vi.show.training.gradients import NotCalledError, measure_gradients

torch = pytest.importorskip("torch", reason="PyTorch is the judge of deltas: pip install torch")

X = [[0.7, -0.4], [1.5, 0.3], [-0.8, 2.0]]
T = [0, 1, 1]


def tensors(model):
    """The numbers of each layer in PyTorch: W of shape (n_outputs, n_inputs), 0 where nothing is connected, and b."""
    found = []
    for layer in model.layers:
        rows = [[0.0] * layer.n_inputs for _ in layer.neurons]
        for row, neuron in zip(rows, layer.neurons, strict=True):
            for i, w in zip(neuron.connected, neuron.w, strict=True):
                row[i] = w.data
        b = [getattr(neuron.b, "data", neuron.b) for neuron in layer.neurons]
        found.append((torch.tensor(rows, dtype=torch.float64), torch.tensor(b, dtype=torch.float64)))
    return found


def judged(model, forward, loss):
    """The root mean square of the deltas of each layer.

    forward: of (x, linear), where linear(k, h) gives the sums of layer k and keeps their gradients.
    """
    weights = tensors(model)
    kept = [[] for _ in model.layers]
    for x, t in zip(X, T, strict=True):

        def linear(k, h):
            W, b = weights[k]
            a = (W @ h + b).requires_grad_()
            a.retain_grad()
            kept[k].append(a)
            return a

        loss(forward(torch.tensor(x, dtype=torch.float64), linear), t).backward()
    grads = [torch.cat([a.grad for a in layer]) for layer in kept]
    return [float((g * g).mean().sqrt()) for g in grads]


def chain(*activations):
    """The forward pass of layers one after the other."""

    def forward(x, linear):
        for k, activation in enumerate(activations):
            x = activation(linear(k, x))
        return x

    return forward


class Residual(nn.MLP):
    def forward(self, x):
        h = self.layers[0].outputs(x)
        h = [u + v for u, v in zip(h, self.layers[1].outputs(h), strict=True)]
        return self.layers[2].outputs(h)


class Shared(nn.MLP):
    """The middle layer is used three times."""

    def forward(self, x):
        h = self.layers[0].outputs(x)
        for _ in range(3):
            h = self.layers[1].outputs(h)
        return self.layers[2].outputs(h)


class Gated(nn.MLP):
    """A unit times its own sum: the sum is used twice."""

    def forward(self, x):
        x = [a * a.sigmoid() for a in self.layers[0].outputs(x)]
        return self.layers[1].outputs(x)


tanh, sigmoid, relu, softmax = torch.tanh, torch.sigmoid, torch.relu, lambda z: torch.softmax(z, 0)


def linear(z):
    return z


def residual(x, sums):
    h = torch.tanh(sums(0, x))
    return sums(2, h + torch.tanh(sums(1, h)))


def shared(x, sums):
    h = torch.tanh(sums(0, x))
    for _ in range(3):
        h = torch.tanh(sums(1, h))
    return sums(2, h)


def cross_entropy(y, t):
    return torch.nn.functional.cross_entropy(y[None], torch.tensor([t]))


NETWORKS = {
    "an activation of several nodes": (
        lambda: nn.MLP(2, [3, 2], activation=lambda z: (2.0 * z).tanh(), seed=1),
        chain(lambda z: tanh(2.0 * z), linear),
    ),
    "an activation that uses its sum twice": (
        lambda: nn.MLP(2, [3, 2], activation=lambda z: z * z.sigmoid(), seed=1),
        chain(lambda z: z * sigmoid(z), linear),
    ),
    "swish of the table": (lambda: nn.MLP(2, [3, 2], activation="silu", seed=1), chain(torch.nn.SiLU(), linear)),
    "maximum with a constant": (
        lambda: nn.MLP(2, [4, 2], activation=lambda z: ops.maximum(0.1 * z, z), seed=3),
        chain(torch.nn.LeakyReLU(0.1), linear),
    ),
    "1 - z": (lambda: nn.MLP(2, [3, 2], activation=lambda z: 1.0 - z, seed=1), chain(lambda z: 1 - z, linear)),
    "residual": (lambda: Residual(2, [3, 3, 2], activation="tanh", seed=2), residual),
    "a layer used three times": (lambda: Shared(2, [3, 3, 2], activation="tanh", seed=2), shared),
    "expanded": (lambda: nn.MLP(2, [3, 3, 2], "tanh", expand=True, seed=4), chain(tanh, tanh, linear)),
    "without biases": (lambda: nn.MLP(2, [3, 2], activation="tanh", bias=False, seed=5), chain(tanh, linear)),
    "gated": (lambda: Gated(2, [3, 2], activation="identity", seed=6), chain(lambda z: z * sigmoid(z), linear)),
    "with skip connections": (
        lambda: nn.MLP(2, [3, 2], activation="tanh", skip=True, seed=7),
        lambda x, sums: sums(1, torch.cat([tanh(sums(0, x)), x])),
    ),
    "masked": (
        lambda: nn.MLP(2, [3, 2], "tanh", masks=[[[1, 0], [0, 0], [1, 1]], [[1, 1, 0], [0, 1, 1]]], seed=8),
        chain(tanh, linear),
    ),
    "ReLU": (lambda: nn.MLP(2, [5, 4, 2], seed=9), chain(relu, relu, linear)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_deltas_are_those_of_pytorch(name):
    make, forward = NETWORKS[name]
    model = make()
    found = measure_gradients(model, lambda x, t: losses.cross_entropy(model(x), t), X, T)
    assert found.signals == pytest.approx(judged(model, forward, cross_entropy), rel=1e-10)


def test_a_softmax_and_a_log_have_the_deltas_of_a_cross_entropy():
    W, b = [[[1.0, -2.0], [0.5, 0.25]], [[1.5, -1.0], [-2.0, 1.0], [0.5, 2.0]]], [[0.1, -0.2], [0.0, 0.3, -0.1]]
    soft = nn.MLP.from_weights(W, b, activation="tanh", output_activation="softmax")
    plain = nn.MLP.from_weights(W, b, activation="tanh")
    one = measure_gradients(soft, lambda x, t: -ops.log(soft(x)[t]), X, T)
    other = measure_gradients(plain, lambda x, t: losses.cross_entropy(plain(x), t), X, T)
    assert one.signals == pytest.approx(other.signals, rel=1e-12)
    assert one.signals == pytest.approx(judged(plain, chain(tanh, linear), cross_entropy), rel=1e-12)
    assert (
        one.remarks
        == other.remarks
        == [("healthy", "healthy: no layer's gradient vanishes or explodes, no unit is dead")]
    )


def test_a_confident_softmax_is_healthy_when_it_is_wrong():
    """The delta of a wrong answer is of order one however small its probability is."""
    net = nn.MLP.from_weights([[[1.0, 0.0]], [[30.0], [-30.0]]], activation="identity", output_activation="softmax")
    found = measure_gradients(net, lambda x, t: -ops.log(net(x)[t]), [[0.7, 0.0]], [1])
    assert found.signals == pytest.approx([60.0, 1.0], rel=1e-6)
    assert found.remarks[0][0] == "healthy"


def test_two_layers_of_the_same_values_are_told_apart_by_their_turn():
    rows = [[Value(0.5), Value(-1.0)], [Value(0.25), Value(2.0)]]
    net = nn.MLP.from_weights([rows, rows], [[0.1, 0.2], [0.3, -0.4]], activation="tanh")
    for first, second in zip(net.layers[0].neurons, net.layers[1].neurons, strict=True):
        second.b = first.b
    found = measure_gradients(net, lambda x, t: losses.cross_entropy(net(x), t), X, T)
    assert found.signals == pytest.approx(judged(net, chain(tanh, linear), cross_entropy), rel=1e-10)
    assert found.signals[0] != pytest.approx(found.signals[1], rel=0.01)


@pytest.mark.parametrize("penalty", [
    lambda net: 0.1 * sum(p * p for p in net.parameters()),
    lambda net: sum(0.1 * p * p for p in net.parameters()),
    lambda net: 0.1 * sum(p**2 for p in net.parameters()),
    lambda net: 0.1 * sum(abs(p) for p in net.parameters()),
    lambda net: sum(0.01 * p for p in net.parameters()),
], ids=["w*w", "0.1*w*w", "w**2", "abs(w)", "0.01*w"])  # fmt: skip
def test_a_penalty_is_no_part_of_a_delta(penalty):
    net = nn.MLP(2, [3, 2], activation="tanh", seed=1)
    found = measure_gradients(net, lambda x, t: losses.cross_entropy(net(x), t) + penalty(net), X, T)
    assert found.signals == pytest.approx(judged(net, chain(tanh, linear), cross_entropy), rel=1e-10)


def test_a_layer_that_stands_in_the_model_twice_has_its_calls_in_turn():
    net = nn.MLP(2, [2, 2, 2], activation=["tanh", "tanh", "identity"], seed=3)
    net.layers[1] = net.layers[0]
    found = measure_gradients(net, lambda x, t: losses.cross_entropy(net(x), t), X, T)
    assert found.signals == pytest.approx(judged(net, chain(tanh, tanh, linear), cross_entropy), rel=1e-10)


def test_a_model_that_is_called_twice_has_the_deltas_of_both_calls():
    """A difference of two answers: the output's deltas are +s and -s, and their root mean square |s|."""
    net = nn.MLP(2, [3, 1], activation="tanh", seed=1)
    other = [Value(-1.0), Value(0.25)]
    found = measure_gradients(net, lambda x, t: (net(x) - net(other)) ** 2, [[0.5, 1.0]], [0])
    s = 2.0 * (net([0.5, 1.0]).data - net(other).data)
    assert found.signals[1] == pytest.approx(abs(s), rel=1e-12)
    W = [w.data for w in net.layers[1].neurons[0].w]
    hidden = [[n(x).data for n in net.layers[0].neurons] for x in ([0.5, 1.0], other)]
    by_hand = [s * w * (1.0 - h * h) for row in hidden for w, h in zip(W, row, strict=True)]
    assert found.signals[0] == pytest.approx(math.hypot(*by_hand) / math.sqrt(6), rel=1e-12)


def test_a_call_that_the_loss_does_not_use_does_not_count():
    net = nn.MLP(2, [3, 1], activation="tanh", seed=1)

    def loss(x, t):
        net([Value(9.0), Value(9.0)])
        return losses.mse(net(x), t)

    found, right = (measure_gradients(net, f, X, T) for f in (loss, lambda x, t: losses.mse(net(x), t)))
    assert found == right


def test_measuring_changes_no_gradient():
    net = nn.MLP(2, [3, 2], seed=1)
    for p in net.parameters():
        p.grad = 7.0
    measure_gradients(net, lambda x, t: losses.cross_entropy(net(x), t), X, T)
    assert {p.grad for p in net.parameters()} == {7.0}


# --- What is said in words --------------------------------------------------------------------------------------------


def words(model, loss=None):
    found = loss or (lambda x, t: losses.cross_entropy(model(x), t))
    return [word for word, _ in measure_gradients(model, found, X, T).remarks]


def test_innocent_networks_are_healthy():
    for make, _ in NETWORKS.values():
        model = make()
        said = words(model)
        assert not any("vanishing" in word or "exploding" in word or "no gradient" in word for word in said)
        if "relu" not in [layer.activation for layer in model.layers]:
            assert said == ["healthy"]


def test_dead_and_saturated_units_of_a_lambda_are_found():
    def doubled(z):
        return (2.0 * z).relu()

    dead = nn.MLP.from_weights(
        [[[1.0, 0.0], [0.0, 1.0]], [[1.0, 1.0], [-1.0, 2.0]]], [[-99.0, 9.0], [0.0] * 2], doubled
    )
    assert words(dead) == ["dead units in layer 1: 1 of 2"]
    flat = nn.MLP.from_weights(
        [[[1.0, 0.0], [0.0, 1.0]], [[1.0, 1.0], [-1.0, 2.0]]], [[50.0, 0.0], [0.0] * 2], lambda z: (2.0 * z).tanh()
    )
    assert words(flat) == ["saturated units in layer 1: 1 of 2"]


def test_an_output_close_to_its_target_is_not_saturated():
    net = nn.MLP.from_weights([[[1.0, 0.0]]], activation="identity")
    found = measure_gradients(net, lambda x, t: (net(x) - t) ** 2, [[1.00001, 5.0]], [1.0])
    assert [word for word, _ in found.remarks] == ["healthy"]


def test_a_layer_that_the_loss_does_not_use_is_said_to_take_no_part():
    class First(nn.MLP):
        def forward(self, x):
            return self.layers[0].outputs(x)

    net = First(2, [2, 2], activation="tanh", seed=0)
    assert words(net) == ["layer 2 takes no part"]


class ByHand(nn.MLP):
    def forward(self, x):
        for layer in self.layers:
            x = [sum((w * v for w, v in zip(n.w, x, strict=True)), n.b) for n in layer.neurons]
        return x


def test_weights_that_are_used_without_their_units_are_refused():
    net = ByHand(2, [3, 2], seed=0)
    with pytest.raises(NotCalledError, match=r"a unit of layer 1 without calling it, .* self.layers\[k\].outputs\(x\)"):
        show.gradient_sizes(net, lambda x, t: losses.mse(net(x), [t, t]), X, T)
