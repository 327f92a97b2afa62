"""A network's pictures show what its own forward pass computed, or refuse: the numbers are those of a sum by hand."""

import math

import pytest
from svg import labels, texts

from tinygrad_vi import ShapeError, Value, losses, modes, nn, show, tanh, total


class TenTimes(nn.MLP):
    def forward(self, x):
        return 10.0 * super().forward(x)


class Hooked(nn.MLP):
    def __call__(self, *inputs):
        return super().__call__(*inputs) + 1.0


class Stopped(nn.MLP):
    """The answer is the output of the layers, the gradient is twice theirs."""

    def forward(self, x):
        y = super().forward(x)
        return 2.0 * y - Value(y.data)


class LayerByLayer(nn.MLP):
    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return x


class NeuronByNeuron(nn.MLP):
    """As in micrograd."""

    def forward(self, x):
        for layer in self.layers:
            x = [neuron(x) for neuron in layer.neurons]
        return x[0]


def built(cls):
    return cls.from_weights([[[0.5, -0.4], [1.0, 0.3]], [[0.8, -0.6]]], [[0.1, 0.2], [0.3]], activation="tanh")


#: of the network above, by hand: x = (1, 0.5) gives the sums (0.4, 1.35)
H = [math.tanh(0.4), math.tanh(1.35)]
Y = 0.8 * H[0] - 0.6 * H[1] + 0.3

#: each class, what it answers for the output Y, and its slope there
ANSWERS = [
    (nn.MLP, Y, 1.0), (LayerByLayer, Y, 1.0), (NeuronByNeuron, Y, 1.0),
    (TenTimes, 10.0 * Y, 10.0), (Hooked, Y + 1.0, 1.0), (Stopped, Y, 2.0),
]  # fmt: skip


@pytest.mark.parametrize(("cls", "answer", "slope"), ANSWERS)
def test_a_network_with_a_forward_pass_of_its_own_is_drawn_with_its_true_numbers(cls, answer, slope):
    drawing = show.draw_network(built(cls), x=[1.0, 0.5], target=1.0, digits=12)
    found = labels(drawing.svg)
    loss, delta = 0.5 * (answer - 1.0) ** 2, (answer - 1.0) * slope
    deltas = [0.8 * delta * (1.0 - H[0] ** 2), -0.6 * delta * (1.0 - H[1] ** 2)]

    def note(name):
        return [float(line.split()[-1]) for line in found[name]]

    assert note("n2_0v") == pytest.approx([Y, delta], rel=1e-10)
    assert note("n1_0v") == pytest.approx([H[0], deltas[0]], rel=1e-10)
    assert note("n1_1v") == pytest.approx([H[1], deltas[1]], rel=1e-10)
    by_hand = [*(w for d in deltas for w in (d * 1.0, d * 0.5, d)), delta * H[0], delta * H[1], delta]
    assert [note(f"w{k}")[1] for k in range(9)] == pytest.approx(by_hand, rel=1e-10)
    title = dict(line.rsplit(" ", 1) for line in found["title2"] if line.startswith(("answer", "loss")))
    assert float(title["loss"]) == pytest.approx(loss, rel=1e-10)
    if answer == Y:
        assert "answer" not in title
    else:
        assert float(title["answer"]) == pytest.approx(answer, rel=1e-10)


@pytest.mark.parametrize(("cls", "answer", "slope"), ANSWERS)
def test_its_vectors_have_their_true_numbers_too(cls, answer, slope):
    found = labels(show.draw_vectors(built(cls), [1.0, 0.5], target=1.0, digits=12).svg)
    assert float(found["L"][1]) == pytest.approx(0.5 * (answer - 1.0) ** 2, rel=1e-10)
    y = {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in found["y"] if "=" not in line}
    assert found["y"][0] == "y = W₂ z + b₂"
    assert found["y"][-2] == "g(y) = ∂L/∂y"
    assert float(found["y"][-1]) == pytest.approx((answer - 1.0) * slope, rel=1e-10)
    assert y.get("answer", Y) == pytest.approx(answer, rel=1e-10)
    assert ("answer" in y) == (answer != Y)


def test_an_output_of_three_and_a_half_answers_thirty_five():
    net = TenTimes.from_weights([[[1.0, 1.0]]], [[0.5]])
    drawing = show.draw_network(net, x=[1.0, 2.0], target=31.0, notation="columns")
    found = labels(drawing.svg)
    assert found["n1_0v"] == ["3.5", "δ 40"]  # 10 (35 - 31)
    assert found["title1"][-2:] == ["answer 35", "loss 8"]
    assert "a⁽¹⁾ = z⁽¹⁾" in texts(drawing.svg)  # and not = ŷ
    assert "answer 35" in texts(show.draw_network(net, x=[1.0, 2.0]).svg)
    assert "answer 35" in labels(show.draw_vectors(net, [1.0, 2.0]).svg)["y"]
    with pytest.raises(ValueError, match="TenTimes has a forward pass of its own"):
        show.draw_network(net, flow="forward", notation="rows")


class Scaled(nn.MLP):
    def layer_outputs(self, x):
        return super().layer_outputs([0.5 * v for v in x])


class Twice(nn.MLP):
    def forward(self, x):
        super().forward(x)
        return super().forward(x)


class FirstAlone(nn.MLP):
    def forward(self, x):
        return total(self.layers[0](x))


class ByHand(nn.MLP):
    """Nobody sees its sums: it calls no neuron."""

    def forward(self, x):
        for layer in self.layers:
            x = [tanh(sum((w * v for w, v in zip(n.w, x, strict=True)), n.b)) for n in layer.neurons]
        return x[0]


class Between(nn.MLP):
    def forward(self, x):
        return self.layers[1]([2.0 * h for h in self.layers[0](x)])


class Loud(nn.Neuron):
    def _output(self, x):
        return 2.0 * super()._output(x)


def with_a_loud_neuron():
    net = built(nn.MLP)
    loud, neuron = Loud(2, "tanh", seed=0), net.layers[0].neurons[1]
    loud.w, loud.b = neuron.w, neuron.b
    net.layers[0].neurons[1] = loud
    return net


@pytest.mark.parametrize(("make", "name", "reason"), [
    (lambda: built(Scaled), "Scaled", "layer 1 gets something else than the inputs"),
    (lambda: built(Twice), "Twice", "it calls a layer more than once"),
    (lambda: built(FirstAlone), "FirstAlone", "it does not call layer 2"),
    (lambda: built(ByHand), "ByHand", "it does not call layer 1"),
    (lambda: built(Between), "Between", "layer 2 gets something else than layer 1"),
    (with_a_loud_neuron, "MLP", "layer 1 gives something else than its neurons"),
], ids=["scaled", "twice", "first alone", "by hand", "between", "loud neuron"])  # fmt: skip
@pytest.mark.parametrize("draw", [
    lambda net: show.draw_network(net, x=[1.0, 0.5]), lambda net: show.draw_vectors(net, [1.0, 0.5], target=1.0),
], ids=["draw_network", "draw_vectors"])  # fmt: skip
def test_a_model_whose_lines_would_be_untrue_is_refused(draw, make, name, reason):
    net = make()
    with pytest.raises(ValueError, match=f"this {name} cannot be drawn part by part, .*: {reason}. Draw its graph"):
        draw(net)
    advised = show.draw(net([Value(1.0), Value(0.5)]), level="neuron", model=net)
    assert advised.svg


def test_a_softmax_that_is_left_out_is_refused():
    class Logits(nn.MLP):
        def forward(self, x):
            return [neuron(x) for neuron in self.layers[0].neurons]

    net = Logits(2, [3], output_activation="softmax", seed=0)
    with pytest.raises(ValueError, match="it leaves out the softmax of layer 1"):
        show.draw_network(net, x=[1.0, 0.5])


def test_what_is_no_number_is_no_answer():
    class Words(nn.MLP):
        def forward(self, x):
            return {"y": super().forward(x), "name": "score"}

    with pytest.raises(TypeError, match="shows the numbers that a model gives, but Words gives"):
        show.draw_network(built(Words), x=[1.0, 0.5])


def test_a_layer_that_the_network_has_twice_is_drawn_twice():
    net = nn.MLP.from_weights([[[0.5]], [[2.0]]], [[1.0], [0.0]], activation="identity")
    net.layers[1] = net.layers[0]
    found = labels(show.draw_network(net, x=[4.0], target=1.0, digits=6).svg)
    assert [found[name] for name in ("n1_0v", "n2_0v")] == [["3", "δ 0.75"], ["2.5", "δ 1.5"]]


def test_a_step_function_lets_nothing_through():
    net = nn.MLP.from_weights([[[1.0]], [[2.0]]], activation=lambda a: 1.0 if a > 0.0 else 0.0)
    found = labels(show.draw_network(net, x=[4.0], target=1.0).svg)
    assert [found[name] for name in ("n1_0v", "n2_0v")] == [["1", "δ 0"], ["2", "δ 1"]]


class AndTheInput(nn.MLP):
    def forward(self, x):
        return super().forward(x) + x[0]


def test_the_formula_of_a_gradient_that_has_other_ways_too_says_so():
    net = AndTheInput.from_weights([[[2.0]]], [[1.0]])  # L = 1/2 (2 x + 1 + x)**2
    found = labels(show.draw_vectors(net, [1.0], target=0.0).svg)
    assert found["x"] == ["x", "1", "g(x) = Wᵀ g(y) + other ways", "12"]
    assert found["W"][-2:] == ["g(W) = g(y) xᵀ", "[4]"]
    plain = nn.MLP.from_weights([[[2.0]]], [[1.0]])
    penalised = show.draw_vectors(
        plain, [1.0], target=0.0, loss=lambda y, t: losses.sse(y, t) + plain.layers[0].neurons[0].w[0]
    )
    assert labels(penalised.svg)["W"][-2:] == ["g(W) = g(y) xᵀ + other ways", "[4]"]
    assert labels(penalised.svg)["b"][-2:] == ["g(b) = g(y)", "3"]
    with pytest.raises(ValueError, match="the formulas in the notation 'rows' would be wrong: leave the notation out"):
        show.draw_network(net, x=[1.0], target=0.0, notation="rows")
    assert labels(show.draw_network(net, x=[1.0], target=0.0).svg)["n0_0v"] == ["1", "grad 12"]


def test_networks_with_dropout_and_softmax_are_drawn():
    net = nn.MLP(2, [3, 2], output_activation="softmax", dropout=0.5, seed=0)
    found = labels(show.draw_network(net, x=[1.0, 0.5], target=[0, 1], digits=12).svg)
    assert [float(found[f"n2_{i}v"][0]) for i in (0, 1)] == pytest.approx(net.predict([1.0, 0.5]), rel=1e-10)


def test_after_a_picture_nobody_notes():
    net = built(nn.MLP)
    show.draw_network(net, x=[1.0, 0.5])
    with pytest.raises(ShapeError):
        show.draw_network(net, x=[1.0])
    with pytest.raises(ZeroDivisionError):
        show.draw_network(net, x=[1.0, 0.5], loss=lambda y, t: 1 / 0)
    assert modes.noting.get() is None
    assert not modes.noting.open
