"""Graphs of vectors: shapes, numbers and gradients of the 4-2-3 exercise, and formulas that say how they come about."""

import re

import numpy as np
import pytest
from svg import clipped_labels, labels

from tinygrad_vi import ShapeError, dot, log, losses, nn
from tinygrad_vi.show.networks.vectors import draw_vectors
from tinygrad_vi.show.palette import VALUE

NET = nn.MLP.from_weights(
    [[[1, 0, -1, 0.5], [0.5, -0.5, 1, 0]], [[1, 2], [0, -1], [0.5, 0.5]]], [[0, 0.1], [0, 0.1, -0.1]], activation="tanh"
)
X, TARGET = [0.5, -1.0, 0.25, 1.0], [1.0, 0.0, -1.0]


def numbers(line):
    return [float(n) for n in re.findall(r"-?[\d.]+(?:e-?\d+)?", line)]


def test_seed_B35_numbers_and_gradients_stand_in_the_boxes():
    found = labels(draw_vectors(NET, X, target=TARGET, loss=losses.mse, digits=9).svg)
    printed = {
        "a": ("a = W₁ x + b₁ (2 × 1)", [0.75, 1.1], "g(a) = g(z) ⊙ tanh′(a)", [0.81336878, 0.953489119]),
        "z": ("z = tanh(a) (2 × 1)", [0.635148952, 0.800499022], "g(z) = W₂ᵀ g(y)", [1.36337266, 2.654470005]),
        "y": (
            "y = W₂ z + b₂ (3 × 1)",
            [2.236146996, -0.700499022, 0.617823987],
            "g(y) = ∂L/∂y",
            [0.824097997, -0.466999348, 1.078549325],
        ),
        "x": ("x (4 × 1)", X, "g(x) = W₁ᵀ g(a)", [1.29011334, -0.47674456, 0.140120339, 0.40668439]),
    }
    for name, (formula, values, back, gradients) in printed.items():
        assert [found[name][0], found[name][2]] == [formula, back]
        assert numbers(found[name][1]) == pytest.approx(values, abs=1e-8)
        assert numbers(found[name][3]) == pytest.approx(gradients, abs=1e-8)
    assert numbers(found["L"][1]) == pytest.approx([1.5453709093777344], abs=1e-8)


def test_seed_B35_the_gradients_of_the_matrices_are_outer_products():
    found = labels(draw_vectors(NET, X, target=TARGET, loss=losses.mse, digits=12).svg)
    assert found["W₁"][:4] == ["W₁ (2 × 4)", "[1, 0, -1, 0.5]", "[0.5, -0.5, 1, 0]", "g(W₁) = g(a) xᵀ"]
    g_a, g_y, z = (numbers(found[name][row]) for name, row in (("a", 3), ("y", 3), ("z", 1)))
    assert [numbers(line) for line in found["W₁"][4:]] == pytest.approx(np.outer(g_a, X), rel=1e-9)
    assert [numbers(line) for line in found["W₂"][5:]] == pytest.approx(np.outer(g_y, z), rel=1e-9)
    assert numbers(found["b₁"][3]) == g_a
    assert numbers(found["b₂"][3]) == g_y


def test_arrows_lead_from_x_to_the_loss_and_back():
    source = draw_vectors(NET, X, target=TARGET).source
    forward = re.findall(rf"\t(\S+) -> (\S+) \[color=\"{VALUE}\"", source)
    back = re.findall(r"\t(\S+) -> (\S+) \[.*dir=back style=dashed", source)
    way = [("x", "a"), ("W₁", "a"), ("b₁", "a"), ("a", "z"), ("z", "y"), ("W₂", "y"), ("b₂", "y"), ("y", "L")]
    assert sorted((a.strip('"'), b.strip('"')) for a, b in forward) == sorted(way)
    assert sorted(forward) == sorted(back)


def test_without_a_target_nothing_flows_back():
    drawing = draw_vectors(NET, X)
    assert "dashed" not in drawing.source
    assert labels(drawing.svg)["z"] == ["z = tanh(a) (2 × 1)", "(0.6351, 0.8005)"]
    assert "L" not in labels(drawing.svg)


def test_deeper_networks_number_their_vectors_and_large_matrices_show_their_shape():
    net = nn.MLP(8, [7, 2, 1], activation="tanh", output_activation="sigmoid", bias=False, seed=0)
    found = labels(draw_vectors(net, [0.5] * 8, target=1.0, loss=losses.bce).svg)
    assert found["W₁"] == ["W₁ (7 × 8)", "g(W₁) = g(a₁) xᵀ"]
    assert found["a₃"][0] == "a₃ = W₃ z₂"
    assert found["y"][0] == "y = σ(a₃)"
    assert found["z₁"][2] == "g(z₁) = W₂ᵀ g(a₂)"
    assert found["a₃"][2] == "g(a₃) = g(y) ⊙ σ′(a₃)"
    assert "b₁" not in found
    linear = labels(draw_vectors(nn.MLP(2, [2, 1], activation="identity", seed=0), [1.0, 2.0], target=0.0).svg)
    assert linear["z"][:1] + linear["z"][2:3] == ["z = W₁ x + b₁ (2 × 1)", "g(z) = W₂ᵀ g(y)"]


def test_the_softmax_formula_gives_the_gradient_beside_it():
    net = nn.MLP.from_weights([[[0.2, -0.5], [1.0, 0.3], [-0.4, 0.9]]], output_activation="softmax")
    loss = lambda q, p: -dot(p, [log(v) for v in q])  # noqa: E731
    found = labels(draw_vectors(net, [1.0, -2.0], target=[0.0, 0.25, 0.75], loss=loss, digits=12).svg)
    assert found["a"][2] == "g(a) = y ⊙ (g(y) - sum(g(y) ⊙ y))"
    y, g_y, g_a = (np.array(numbers(found[name][row])) for name, row in (("y", 1), ("y", 3), ("a", 3)))
    assert g_a == pytest.approx(y * (g_y - (g_y * y).sum()), abs=1e-10)
    assert g_a == pytest.approx(y - [0.0, 0.25, 0.75], abs=1e-10)


def test_masked_weights_are_zeros_and_values_stay_as_they_are():
    net = nn.MLP(2, [2, 1], masks=[[[1, 0], [0, 1]], None], seed=0)
    for p in net.parameters():
        p.grad = 3.0
    found = labels(draw_vectors(net, [1.0, 2.0], target=1.0).svg)
    assert [numbers(line)[1 - i] for i, line in enumerate(found["W₁"][1:3])] == [0.0, 0.0]
    assert {p.grad for p in net.parameters()} == {3.0}


def test_every_box_can_be_read():
    softmax = nn.MLP(4, [6, 3], output_activation="softmax", seed=0)
    for net, target in ((NET, TARGET), (softmax, TARGET), (nn.Neuron(4, seed=0), 1.0)):
        drawing = draw_vectors(net, X, target=target, digits=9)
        assert clipped_labels(drawing.svg) == []


def test_errors_say_what_was_wrong():
    with pytest.raises(TypeError, match="draw_vectors draws an MLP, a Layer or a Neuron, got 3"):
        draw_vectors(3, [1.0])
    with pytest.raises(ShapeError, match="the network has 4 inputs, x has 1"):
        draw_vectors(NET, [1.0])
    with pytest.raises(ShapeError, match="this network has skip connections"):
        draw_vectors(nn.MLP(2, [2, 1], skip=True, seed=0), [1.0, 2.0])
