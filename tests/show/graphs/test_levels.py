"""Graphs gathered into neurons and layers: nothing is lost, everything is where a reader of the code expects it."""

import math
import random
import re
import xml.etree.ElementTree as ET
from itertools import combinations, pairwise

import numpy as np
import pytest
from svg import labels

from tinygrad_vi import Value, dot, losses, nn, show, sin, take, tanh, total
from tinygrad_vi.data import moons
from tinygrad_vi.show.graphs.boxes import collapse

SVG = "{http://www.w3.org/2000/svg}"


def boxes(drawing):
    """The lines of text of each box, by its name in the picture."""
    return {name: lines for name, lines in labels(drawing.svg).items() if "->" not in name and lines}


def titles(drawing):
    return [lines[0] for lines in boxes(drawing).values()]


def edges(drawing):
    """The text of each edge, by the titles of its ends."""
    title = {name: lines[0] for name, lines in boxes(drawing).items()}
    found = {}
    for name, lines in labels(drawing.svg).items():
        if "->" in name and lines:
            tail, head = name.split("->")
            found[title[tail], title[head]] = lines[0]
    return found


def hidden(drawing):
    """How many values and operations the boxes say that they hide, all together."""
    lines = [line for box in boxes(drawing).values() for line in box]
    counts = [re.findall(rf"([\d,]+) {noun}s?\b", " ".join(lines)) for noun in ("value", "operation")]
    return [sum(int(n.replace(",", "")) for n in found) for found in counts]


def scalar(*outputs):
    """The same of the scalar graph, counted as micrograd's `trace` does."""
    seen, stack = set(), list(outputs)
    while stack:
        v = stack.pop()
        if v not in seen:
            seen.add(v)
            stack += v._prev
    return [len(seen), sum(bool(v._op) for v in seen)]


def values(x):
    return [Value(a) for a in x]


class ByHand:
    """micrograd's MLP as its users write it: every product and every sum is a node."""

    def __init__(self, sizes, seed=0, label="W{k}[{j},{i}]", bias="b{k}[{j}]"):
        rng = random.Random(seed)
        self.layers = [
            [
                (
                    [Value(rng.uniform(-1, 1), label.format(k=k, j=j, i=i)) for i in range(n)],
                    Value(0.0, bias.format(k=k, j=j)),
                )
                for j in range(m)
            ]
            for k, (n, m) in enumerate(pairwise(sizes), start=1)
        ]

    def __call__(self, x):
        for layer in self.layers:
            sums = [sum((wi * xi for wi, xi in zip(w, x, strict=True)), b) for w, b in layer]
            x = sums if layer is self.layers[-1] else [a.relu() for a in sums]
        return x[0] if len(x) == 1 else x

    def parameters(self):
        return [p for layer in self.layers for w, b in layer for p in (*w, b)]


def micrograd_loss(n=100):
    """The loss of micrograd's demo: a 2-16-16-1 network on two moons."""
    X, y = moons(n)
    net = ByHand([2, 16, 16, 1])
    scores = [net(values(x)) for x in X]
    data = sum((1 + -(2 * t - 1) * s).relu() for t, s in zip(y, scores, strict=True)) * (1.0 / n)
    return data + 1e-4 * sum(p * p for p in net.parameters())


def our_loss(n=100):
    X, y = moons(n)
    net = nn.MLP(2, [16, 16, 1], seed=0)
    return losses.hinge([net(values(x)) for x in X], [2 * t - 1 for t in y]) + losses.l2(net, 1e-4)


# --- The network of micrograd's demo ----------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("loss", [micrograd_loss, our_loss])
def test_a_hundred_examples_of_a_network_are_five_boxes_and_their_scalar_edges_are_counted(loss):
    drawing = loss().draw(level="layer")
    found = {lines[0]: lines[1:] for lines in boxes(drawing).values()}
    assert set(found) == {"2 inputs", "layer 1", "layer 2", "layer 3", "penalty", "loss"}
    assert found["2 inputs"] == ["×100 examples", "200 values"]
    assert found["layer 1"][:3] == ["16 neurons, relu · ×100 examples", "48 parameters W1, b1", "grad —"]
    assert found["layer 2"][:2] == ["16 neurons, relu · ×100 examples", "272 parameters W2, b2"]
    assert found["layer 3"][:2] == ["1 neuron · ×100 examples", "17 parameters W3, b3"]
    assert found["penalty"][0] == "of 337 parameters"
    assert edges(drawing) == {
        ("2 inputs", "layer 1"): "3,200 edges",  # 2 * 16 * 100
        ("layer 1", "layer 2"): "25,600 edges",
        ("layer 2", "layer 3"): "1,600 edges",
        ("layer 3", "loss"): "100 edges",
        ("layer 1", "penalty"): "96 edges",  # p * p
        ("layer 2", "penalty"): "544 edges",
        ("layer 3", "penalty"): "34 edges",
        ("penalty", "loss"): "1 edge",
    }
    dashed = re.findall(r"^\t(\w+) -> (\w+) .*style=dashed", drawing.source, flags=re.MULTILINE)
    assert {head for _, head in dashed} == {"box3"}
    assert len(dashed) == 3


@pytest.mark.parametrize("loss", [micrograd_loss, our_loss])
@pytest.mark.parametrize("level", ["neuron", "layer"])
def test_every_value_and_operation_is_in_one_box(loss, level):
    y = loss(20)
    assert hidden(y.draw(level=level)) == scalar(y)


def test_neurons_stand_in_columns_and_of_many_the_middle_is_one_box():
    y = our_loss(3)
    drawing = y.draw(level="neuron", max_units=6)
    shown = titles(drawing)
    assert shown.count("⋮ 10 more") == 2
    assert {"neuron 0", "neuron 2", "neuron 13", "neuron 15", "x1", "x2", "loss", "penalty"} <= set(shown)
    assert "neuron 3" not in shown
    place = {
        name: (float(x), float(y), float(width))
        for name, x, y, width in re.findall(
            r'^\t(n\d+) \[label=.* pos="([-\d.]+),([-\d.]+)!".*width=([\d.]+)\]$', drawing.source, flags=re.MULTILINE
        )
    }
    assert len(place) == 2 + 7 + 7 + 1 + 2
    assert sorted(
        n for n in (sum(x == c for x, _, _ in place.values()) for c in {x for x, _, _ in place.values()})
    ) == [1, 2, 2, 7, 7]
    for (x1, y1, w1), (x2, y2, w2) in combinations(place.values(), 2):
        assert abs(x1 - x2) > (w1 + w2) / 2 or abs(y1 - y2) > 0.5
    lines = [
        tuple(name.replace(":e", "").replace(":w", "").split("->")) for name in labels(drawing.svg) if "->" in name
    ]
    assert len(lines) == 2 * 7 + 7 * 7 + 7 * 1 + 1 + 1
    assert hidden(drawing) == scalar(y)
    assert hidden(y.draw(level="neuron", max_units=16)) == scalar(y)


def test_both_ways_to_write_a_neuron_give_the_same_picture_but_for_what_is_hidden():
    def without_counts(drawing):
        return re.sub(r"[\d,]+ (value|operation)s?", "", re.sub(r"width=[\d.]+|data [-\d.e]+", "", drawing.source))

    for level in ("neuron", "layer"):
        a, b = (without_counts(loss(5).draw(level=level)) for loss in (micrograd_loss, our_loss))
        assert re.sub(r'pos="[^"]*"', "", a) == re.sub(r'pos="[^"]*"', "", b)


# --- Numbers ----------------------------------------------------------------------------------------------------------


def test_one_example_shows_the_values_of_its_neurons():
    net = nn.MLP(2, [3, 1], activation="tanh", seed=1)
    x = [Value(0.5, "hours"), Value(-1.5, "sleep")]
    drawing = losses.mse(net(x), 1.0).draw(level="neuron")
    found = list(boxes(drawing).values())
    W1, W2 = ([[w.data for w in neuron.w] for neuron in layer.neurons] for layer in net.layers)  # biases begin at 0
    h = np.tanh(W1 @ np.array([0.5, -1.5]))
    expected = [*h, *(W2 @ h)]
    shown = [float(lines[1].removeprefix("data ")) for lines in found if lines[0].startswith("neuron")]
    assert shown == pytest.approx(expected, rel=1e-3)
    assert [lines[:2] for lines in found if lines[0] in ("hours", "sleep")] == [
        ["hours", "data 0.5"],
        ["sleep", "data -1.5"],
    ]
    assert [lines[1] for lines in found if lines[0] == "loss"] == [f"data {(expected[-1] - 1.0) ** 2:.4g}"]


def test_gradients_are_root_mean_squares_once_they_are_computed():
    X = np.array([[0.5, -1.0], [1.0, 0.3], [-0.7, 0.2]])
    net = nn.MLP(2, [3, 1], activation="tanh", seed=0)
    loss = losses.mse([net(values(x)) for x in X.tolist()], [1.0, -1.0, 0.0])
    before = loss.draw(level="layer")
    assert [lines for lines in boxes(before).values() if "grad —" not in lines and lines[0].startswith("layer")] == []
    loss.backward()

    def value(theta):
        W1, b1, W2, b2 = theta[:6].reshape(3, 2), theta[6:9], theta[9:12], theta[12]
        return np.mean((W2 @ np.tanh(W1 @ X.T + b1[:, None]) + b2 - [1.0, -1.0, 0.0]) ** 2)

    (l1, l2), h = net.layers, 1e-6
    theta = np.array([w.data for n in l1.neurons for w in n.w] + [n.b.data for n in l1.neurons]
                     + [w.data for w in l2.neurons[0].w] + [l2.neurons[0].b.data])  # fmt: skip
    slope = np.array([(value(theta + h * e) - value(theta - h * e)) / (2 * h) for e in np.eye(13)])
    found = {lines[0]: lines for lines in boxes(loss.draw(level="layer")).values()}
    for title, part in (("layer 1", slope[:9]), ("layer 2", slope[9:])):
        [shown] = [line for line in found[title] if line.startswith("grad rms ")]
        assert float(shown.removeprefix("grad rms ")) == pytest.approx(np.sqrt(np.mean(part**2)), rel=2e-3)
    neurons = [lines for lines in boxes(loss.draw(level="neuron")).values() if lines[0] == "neuron 1"]
    assert float(neurons[0][1].removeprefix("grad rms ")) == pytest.approx(
        np.sqrt(np.mean(slope[[2, 3, 7]] ** 2)), rel=2e-3
    )


def test_drawing_changes_nothing():
    net = nn.MLP(2, [3, 1], seed=0)
    y = losses.mse(net(values([1.0, 2.0])), 0.5)
    y.backward()
    before = [(p.data, p.grad, p.label) for p in net.parameters()]
    pictures = [y.draw(level=level, model=net).source for level in ("neuron", "layer") for _ in range(2)]
    assert pictures[0] == pictures[1]
    assert pictures[2] == pictures[3]
    assert [(p.data, p.grad, p.label) for p in net.parameters()] == before


# --- Recurrent networks -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("expand", [False, True])
@pytest.mark.parametrize(("cell", "gates"), [(nn.RNNCell, 1), (nn.GRUCell, 3), (nn.LSTMCell, 4)])
def test_time_steps_of_a_cell_are_one_box_with_a_loop(cell, gates, expand):
    T, N, d, H = 5, 4, 2, 3
    rnn = nn.RNN(cell(d, H, seed=0, expand=expand), nn.Layer(H, 1, "identity", seed=1, expand=expand), last=True)
    rng = random.Random(0)
    y = losses.mse([rnn([values([rng.random(), 1.0]) for _ in range(T)]) for _ in range(N)], [1.0] * N)
    for model, titles_ in ((None, ("recurrent layer", "layer 2")), (rnn, ("cell", "output"))):
        drawing = y.draw(level="layer", model=model)
        found = {lines[0]: lines[1:] for lines in boxes(drawing).values()}
        cell_box, reader = (found[title] for title in titles_)
        units = "3 neurons, tanh" if gates == 1 else f"3 units, {gates} gates each, "
        assert cell_box[0].startswith(units)
        assert cell_box[0].endswith(" · ×5 steps ×4 examples")
        assert cell_box[1].startswith(f"{len(rnn.cell.parameters())} parameters W_h, W_x, b")
        assert reader[0] == "1 neuron · ×4 examples"
        between = edges(drawing)
        assert between["2 inputs", titles_[0]] == f"{d * H * gates * T * N} edges"
        assert between[titles_[0], titles_[0]] == f"next step: {H * H * gates * (T - 1) * N} edges"
        assert between[titles_[0], titles_[1]] == f"{H * N} edges"
        assert hidden(drawing) == scalar(y)
        neurons = y.draw(level="neuron", model=model)
        assert hidden(neurons) == scalar(y)
        assert sum(lines[0] in ("neuron 2", "unit 2") for lines in boxes(neurons).values()) == 1
        assert f"↻ next step: {H * H * gates * (T - 1) * N} edges" in neurons.svg


@pytest.mark.parametrize("cell", [nn.RNNCell, nn.GRUCell, nn.LSTMCell])
def test_the_last_step_of_a_cell_belongs_to_it_though_no_neuron_comes_after(cell):
    rnn = nn.RNN(cell(1, 2, seed=0))
    h = rnn([values([x]) for x in (0.1, 0.2, 0.3)])[-1]
    shown = boxes(show.draw(h, level="layer"))
    assert sorted(lines[0] for lines in shown.values()) == ["1 input", "recurrent layer"]


def test_a_recurrence_written_by_hand_is_found_by_its_labels():
    w_x, w_h, b, h = Value(0.5, "w_x"), Value(0.7, "w_h"), Value(0.1, "b"), Value(0.0)
    for x in values([1.0, 2.0, 3.0, 4.0]):
        h = tanh(w_x * x + w_h * h + b)
    drawing = ((h - 1.0) ** 2).draw(level="layer")
    assert ["neuron", "1 neuron, tanh · ×4 steps"] in [lines[:2] for lines in boxes(drawing).values()]
    assert edges(drawing)["neuron", "neuron"] == "next step: 3 edges"


# --- Which scalars belong where ---------------------------------------------------------------------------------------


def layers(y, model=None):
    """Title and first line of every layer."""
    found = [lines for lines in boxes(show.draw(y, level="layer", model=model)).values() if "input" not in lines[0]]
    return {lines[0]: lines[1] for lines in found if "neuron" in lines[1]}


def test_activations_of_any_form_belong_to_their_neurons():
    def by_hand(z):
        e = (2.0 * z).exp()
        return (e - 1.0) / (e + 1.0)

    net = nn.MLP(2, [3, 1], activation=by_hand, seed=0)
    y = losses.mse(net(values([0.5, -1.0])), 1.0)
    assert layers(y) == {"layer 1": "3 neurons, exp", "layer 2": "1 neuron"}
    assert edges(y.draw(level="layer"))["layer 1", "layer 2"] == "3 edges"
    soft = nn.MLP(2, [3, 2], activation=["softmax", "sigmoid"], seed=0)
    assert layers(soft(values([0.5, -1.0]))) == {"layer 1": "3 neurons, softmax", "layer 2": "2 neurons, sigmoid"}
    assert "all together" in titles(show.draw(soft(values([0.5, -1.0])), level="neuron"))


def test_what_comes_after_the_last_layer_is_the_loss():
    net = nn.MLP(2, [2, 1], activation="tanh", seed=0)
    logits = [net(values([0.5, t])) for t in (0.0, 1.0)]
    assert layers(losses.bce_with_logits(logits, [0, 0]))["layer 2"] == "1 neuron · ×2 examples"  # and no softplus
    named = losses.mse(net(values([0.5, -1.0])), 1.0)
    named.label = "sai số <b>"
    assert "sai số <b>" in titles(named.draw(level="layer"))
    assert sorted(layers(net(values([0.5, -1.0])))) == ["layer 1", "layer 2"]
    assert "loss" not in titles(net(values([0.5, -1.0])).draw(level="layer"))


def test_inputs_that_skip_a_layer_and_residual_sums():
    net = nn.MLP(2, [3, 2, 1], activation="tanh", skip=True, seed=0)
    y = losses.mse([net(values([0.1 * k, 1.0])) for k in range(4)], [0.0] * 4)
    assert edges(y.draw(level="layer"))["2 inputs", "layer 3"] == "8 edges"
    assert hidden(y.draw(level="neuron")) == scalar(y)

    class Residual(nn.Module):
        def __init__(self):
            self.first, self.last = nn.Layer(2, 2, "tanh", seed=0), nn.Layer(2, 1, "identity", seed=1)

        def forward(self, x):
            return self.last([u + v for u, v in zip(x, self.first(x), strict=True)])

    model = Residual()
    drawing = model(values([1.0, 2.0])).draw(level="layer", model=model)
    assert edges(drawing) == {("2 inputs", "first"): "6 edges", ("first", "last"): "2 edges"}


def test_parameters_are_known_by_labels_by_paths_or_from_a_list():
    plain = {"layer 1": "3 neurons, relu · ×2 examples", "layer 2": "1 neuron · ×2 examples"}
    for label, bias in (
        ("W{k}[{j},{i}]", "b{k}[{j}]"),
        ("w{i}", "b"),
        ("w", "b"),
        ("w{k}_{j}_{i}", "b{k}_{j}"),
        ("", ""),
    ):
        net = ByHand([2, 3, 1], label=label, bias=bias)
        y = losses.mse([net(values(x)) for x in ([0.5, 1.0], [0.1, 0.2])], [0.0, 1.0])
        if label:
            assert layers(y) == plain, label
        assert layers(y, net) == plain, label
        assert layers(y, net.parameters()) == plain, label
    net = nn.MLP(2, [3, 1], seed=0)
    assert list(layers(net(values([1.0, 2.0])), net)) == ["layers.0", "layers.1"]
    line = losses.mse([Value(1.0, "w0") + w1 * x for w1 in [Value(2.0, "w1")] for x in values([1.0, 2.0])], [1.0, 2.0])
    assert list(layers(line)) == ["neuron"]


def test_any_module_will_do():
    class Wave(nn.Module):
        def __init__(self):
            self.height, self.rate = Value(1.0), Value(1.5)

        def forward(self, x):
            return self.height * sin(self.rate * x)

    class Words(nn.Module):
        def __init__(self):
            self.E = [[Value(0.1 * i + j) for j in range(2)] for i in range(4)]
            self.out = nn.Layer(2, 3, "identity", seed=0)

        def forward(self, word):
            return self.out(take(self.E, word))

    wave, words = Wave(), Words()
    assert layers([wave(Value(0.1)), wave(Value(0.2))], wave) == {
        "Wave: rate": "1 neuron, sin · ×2 examples",
        "Wave: height": "1 neuron · ×2 examples",
    }
    y = total([losses.cross_entropy(words(Value(float(k))), 1) for k in (0, 1, 3)])
    assert layers(y, words) == {"Words": "2 neurons · ×3 examples", "out": "3 neurons · ×3 examples"}
    assert hidden(y.draw(level="layer", model=words)) == scalar(y)


def test_dropout_belongs_to_the_layer_it_drops_from():
    net = nn.MLP(2, [4, 1], dropout=0.5, seed=0)
    random.seed(0)
    y = losses.mse([net(values([1.0, 2.0])) for _ in range(5)], [0.0] * 5)
    assert layers(y) == {"layer 1": "4 neurons, relu · ×5 examples", "layer 2": "1 neuron · ×5 examples"}
    assert edges(y.draw(level="layer"))["layer 1", "layer 2"] == "20 edges"


# --- What cannot be drawn ---------------------------------------------------------------------------------------------


def test_a_graph_without_neurons_says_what_is_needed():
    a, b = Value(2.0, "a"), Value(-3.0, "b")
    y = (a * b + a).tanh()
    for level in ("neuron", "layer"):
        with pytest.raises(
            ValueError, match=r"no neurons found: .* labels, such as W1\[0,2\], w0 and b1\[0\], b\. .*model=net"
        ):
            y.draw(level=level)
    with pytest.raises(ValueError, match="the graph was not computed from the parameters of this model"):
        y.draw(level="layer", model=nn.MLP(2, [1], seed=0))
    with pytest.raises(ValueError, match="nothing in the graph is multiplied by a parameter of the model"):
        (a + b).draw(level="layer", model=[a, b])
    with pytest.raises(TypeError, match="model is a Module or a list of parameters, got 3"):
        y.draw(level="layer", model=3)


def test_weights_shared_between_rows_are_refused():
    W = [[Value(0.3 * i - 0.2 * j, f"W[{i},{j}]") for j in range(3)] for i in range(2)]
    x = values([0.1, 0.2, 0.3])
    h = [dot(row, x).tanh() for row in W]
    decoded = [dot([W[j][i] for j in range(2)], h) for i in range(3)]
    with pytest.raises(ValueError, match=r"the parameters W\[\d,\d\] and W\[\d,\d\] stand in one sum"):
        losses.mse(decoded, x).draw(level="layer")


def test_two_networks_with_the_same_labels_need_their_module():
    class Pair(nn.Module):
        def __init__(self):
            self.a, self.b = nn.MLP(2, [3, 1], seed=0), nn.MLP(2, [3, 1], seed=1)

        def forward(self, x):
            return self.a(x) * self.b(x)

    pair = Pair()
    y = pair(values([0.5, 1.0]))
    with pytest.raises(ValueError, match=r"several parameters are called W1\[0,0\], .*model=net"):
        y.draw(level="layer")
    assert sorted(layers(y, pair)) == ["a.layers.0", "a.layers.1", "b.layers.0", "b.layers.1"]


def test_options_that_do_not_go_together():
    net = nn.MLP(1, [1], seed=0)
    y = net(values([1.0]))
    with pytest.raises(ValueError, match='level must be "scalar", "neuron" or "layer", got \'layers\''):
        y.draw(level="layers")
    with pytest.raises(ValueError, match="local, roles and highlight are for level=\"scalar\", got level='layer'"):
        y.draw(level="layer", local=True)
    with pytest.raises(ValueError, match='model names the parameters for level="neuron" and level="layer"'):
        y.draw(model=net)
    with pytest.raises(ValueError, match="max_units must be a whole number of at least 2, got 1"):
        y.draw(level="neuron", max_units=1)
    assert y.draw(level="scalar").source == y.draw().source


def test_a_large_graph_of_a_network_is_advised_to_be_drawn_from_afar():
    with pytest.raises(
        ValueError, match=r'draw its layers or neurons with draw\(\.\.\., level="layer"\) or level="neuron"'
    ):
        our_loss(50).draw()


# --- For the eye ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("direction", ["LR", "TB"])
@pytest.mark.parametrize("level", ["neuron", "layer"])
def test_no_text_leaves_its_box_even_in_a_wide_font(level, direction):
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextPath

    def width(text):
        font = FontProperties(family="DejaVu Sans", weight=text.get("font-weight") or "normal")
        return TextPath((0, 0), text.text, size=float(text.get("font-size")), prop=font).get_extents().width

    net = nn.MLP(2, [12, 1], activation="tanh", seed=0)
    x = [Value(-1.23456789e-15, "MMMMMMMM"), Value(1.0, "trọng số <b> & co")]
    y = losses.mse([net(x), net(x)], [1.0, 2.0])
    y.label = "ĐẠI LƯỢNG LIÊN HỢP WWWW"
    y.backward()
    checked = 0
    for group in ET.fromstring(y.draw(level=level, direction=direction).svg).iter(f"{SVG}g"):
        shapes = [*group.iter(f"{SVG}polygon"), *group.iter(f"{SVG}path")] if group.get("class") == "node" else []
        for text in group.iter(f"{SVG}text") if shapes else ():
            xs = [float(x) for x in re.findall(r"(-?[\d.]+),-?[\d.]+", shapes[0].get("points") or shapes[0].get("d"))]
            assert min(xs) <= float(text.get("x")) - width(text) / 2
            assert float(text.get("x")) + width(text) / 2 <= max(xs)
            checked += 1
    assert checked >= 12


def test_numbers_that_are_no_numbers_are_shown():
    net = nn.Neuron(1, "tanh", seed=0)
    y = net([Value(math.nan)])
    assert ["x1", "data nan", "1 value"] in boxes(y.draw(level="neuron")).values()


# --- The record says what is a layer ------------------------------------------------------------------------------------


def collapsed(*outputs, model=None):
    """For each layer its title, its units, its time steps, and how many edges lead to its next step."""
    found = collapse(list(outputs), model)
    return [(layer.title, len(layer.units), layer.steps, found.recurrent[k]) for k, layer in enumerate(found.layers)]


def in_series(*names):
    h = Value(0.5, "x")
    for name in names:
        h = tanh(Value(0.7, name) * h + Value(0.1, "b" + name[1:]))
    return h


@pytest.mark.parametrize(
    "names",
    [
        ("w1", "w2"), ("W1", "W2"), ("w11", "w21"), ("w1", "w2", "w3"), ("w_1", "w_2"), ("w", "w"), ("wa", "wb"),
        ("w₁", "w₂"), ("w[0]", "w[1]"), ("w0", "w10", "w100"), ("W[0,0]", "W[1,1]"), ("weight1", "weight2"),
    ],
)  # fmt: skip
def test_neurons_in_series_are_layers_whatever_they_are_called(names):
    found = collapsed(in_series(*names))
    assert [units for _, units, _, _ in found] == [1] * len(names)
    assert [(steps, again) for _, _, steps, again in found] == [(1, 0)] * len(names)
    assert "next step" not in show.draw(in_series(*names), level="layer").svg


@pytest.mark.parametrize(
    ("hidden_name", "output_name"),
    [
        ("w1_{j}{i}", "w2_{j}{i}"), ("w1{j}{i}", "w2{j}{i}"), ("w1_{j}_{i}", "w2_{j}_{i}"), ("w{i}", "w{i}"),
        ("w_{j}{i}_1", "w_{j}{i}_2"), ("w1_{i}{j}", "w2_{i}{j}"), ("w_h{j}{i}", "w_o{i}"), ("W1[{j},{i}]", "W2[{i}]"),
        ("W1[{j}][{i}]", "W2[{j}][{i}]"),
    ],
)  # fmt: skip
def test_units_side_by_side_are_a_layer_whatever_they_are_called(hidden_name, output_name):
    x = [Value(0.5, "x0"), Value(-1.0, "x1")]
    h = [
        tanh(sum(Value(0.3, hidden_name.format(j=j, i=i)) * v for i, v in enumerate(x)) + Value(0.1, f"b1_{j}"))
        for j in range(3)
    ]
    y = sum(Value(0.4, output_name.format(j=0, i=i)) * v for i, v in enumerate(h)) + Value(0.1, "b2_0")
    assert [(units, steps, again) for _, units, steps, again in collapsed(y)] == [(3, 1, 0), (1, 1, 0)]
    assert "3 neurons, tanh" in show.draw(y, level="layer").svg
    assert sum(lines[0].startswith("neuron ") for lines in boxes(show.draw(y, level="neuron")).values()) == 4


def test_neurons_in_parallel_that_feed_a_third_are_two_layers():
    x = Value(0.5, "x")
    u, v = (tanh(Value(0.3, f"w{k}") * x + Value(0.1, f"b{k}")) for k in (1, 2))
    y = tanh(Value(0.3, "w3") * u + Value(0.7, "w4") * v + Value(0.1, "b3"))
    assert [units for _, units, _, _ in collapsed(y)] == [2, 1]


def test_an_output_that_is_fed_back_stands_behind_the_unit_that_it_feeds():
    w1, b1, w2, b2 = Value(0.5, "w1"), Value(0.1, "b1"), Value(0.7, "w2"), Value(0.2, "b2")
    y = Value(1.0, "x")
    for _ in range(3):
        y = tanh(w2 * tanh(w1 * y + b1) + b2)
    assert [units for _, units, _, _ in collapsed(y)] == [1, 1]


def test_a_unit_that_is_used_on_inputs_and_on_another_unit_is_not_beside_it():
    w1, b1, w2, b2 = Value(0.5, "w1"), Value(0.1, "b1"), Value(0.7, "w2"), Value(0.2, "b2")
    p, q = Value(0.5, "p"), Value(-0.5, "q")
    y = tanh(w2 * p + b2) * tanh(w2 * tanh(w1 * q + b1) + b2)
    assert [units for _, units, _, _ in collapsed(y)] == [1, 1]


def test_stacked_cells_whose_labels_are_alike_are_told_apart():
    cells = [nn.RNNCell(2, 2, seed=k) for k in (0, 1)]
    h = [[0.0, 0.0], [0.0, 0.0]]
    for x in ([0.1, 0.2], [0.3, -0.4], [0.5, 0.6]):
        h[0] = cells[0](values(x), h[0])
        h[1] = cells[1](h[0], h[1])
    assert [(units, steps) for _, units, steps, _ in collapsed(*h[1])] == [(2, 3), (2, 3)]


@pytest.mark.parametrize("cell", [nn.RNNCell, nn.GRUCell, nn.LSTMCell])
def test_the_units_of_a_cell_stay_side_by_side_though_each_feeds_all_of_them(cell):
    rnn = nn.RNN(cell(2, 3, seed=0), nn.Layer(3, 2, seed=1))
    y = losses.mse(rnn([values([0.1, 0.2])] * 3)[-1], [0.0, 1.0])
    for model in (None, rnn):
        assert [(units, steps) for _, units, steps, _ in collapsed(y, model=model)] == [(3, 3), (2, 1)]


def test_a_masked_unit_stays_in_its_layer():
    net = nn.MLP(2, [3, 2], masks=[[[1, 0], [0, 1], [1, 1]], [[1, 0, 0], [0, 1, 1]]], activation="tanh", seed=0)
    assert [units for _, units, _, _ in collapsed(*net(values([0.5, 1.0])))] == [3, 2]
