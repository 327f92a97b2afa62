"""Network diagrams: every unit, every weight, the bias nodes, nothing on top of anything else."""

import re
from itertools import combinations
from xml.etree import ElementTree

import pytest

from tinygrad_vi import ShapeError, nn, show


def places(drawing):
    """Where each node stands, from the DOT source."""
    found = re.findall(r'^\t(\w+) \[.*pos="([-\d.]+),([-\d.]+)!"', drawing.source, flags=re.MULTILINE)
    return {name: (float(x), float(y)) for name, x, y in found}


def edges(drawing):
    return re.findall(r"^\t(\w+) -> (\w+) \[(.*)\]$", drawing.source, flags=re.MULTILINE)


def svg_texts(drawing):
    return [t.text for t in ElementTree.fromstring(drawing.svg).iter("{http://www.w3.org/2000/svg}text")]


BOOK = nn.MLP.from_weights(
    [[[0.15, 0.20], [0.25, -0.30]], [[0.40, 0.45]]], [[0.35, 0.35], [0.60]], activation="sigmoid"
)


def test_the_lecture_notes_network_has_its_units_biases_and_weights():
    drawing = show.draw_network(BOOK)
    shown = svg_texts(drawing)
    assert {"x1", "x2", "x0", "z1", "z2", "z0", "y", "= 1"} <= set(shown)
    assert {"0.15", "0.2", "0.25", "-0.3", "0.4", "0.45", "0.35", "0.6"} <= set(shown)
    assert {"2 inputs", "2 hidden units", "sigmoid", "1 output", "identity"} <= set(shown)
    assert len(edges(drawing)) == 9
    assert repr(drawing) == '<Drawing of a 2-2-1 network with 9 parameters; .save("graph.svg") writes it>'


def test_a_line_is_as_thick_as_its_weight_is_large_and_dashed_when_negative():
    found = {(a, b): attributes for a, b, attributes in edges(show.draw_network(BOOK))}
    width = {key: float(re.search(r"penwidth=([\d.]+)", value)[1]) for key, value in found.items()}
    assert width[("b1", "n2_0")] == max(width.values()) == 3.0  # 0.60
    assert width[("n0_0", "n1_0")] == min(width.values())  # 0.15
    assert [key for key, value in found.items() if "style=dashed" in value] == [("n0_1", "n1_1")]


def test_nothing_lies_on_top_of_anything_else():
    for model in (BOOK, nn.MLP(2, [4, 1], seed=0), nn.MLP(2, [3, 1], skip=True, seed=0)):
        found = places(show.draw_network(model))
        assert len(found) > 10
        for (a, (x1, y1)), (b, (x2, y2)) in combinations(found.items(), 2):
            wide = 0.3 if a.startswith("w") and b.startswith("w") else 0.4
            assert abs(x1 - x2) > wide or abs(y1 - y2) > 0.12, (a, b)


def test_large_layers_are_shortened_and_say_how_large_they_are():
    drawing = show.draw_network(nn.MLP(64, [32, 10], activation="tanh", seed=0))
    shown = svg_texts(drawing)
    assert {"64 inputs", "32 hidden units", "10 outputs", "⋮", "x1", "x64", "z32", "y10"} <= set(shown)
    assert "x30" not in shown
    assert len(edges(drawing)) == 11 * 10 + 11 * 10
    assert not re.search(r"^\tw\d", drawing.source, flags=re.MULTILINE)


def test_names_options_and_parts():
    drawing = show.draw_network(BOOK, inputs=["Learn & <b>", "Ngủ"], outputs=["Đậu"], bias=False, weights=False)
    shown = svg_texts(drawing)
    assert {"Learn & <b>", "Ngủ", "Đậu"} <= set(shown)
    assert "x0" not in shown
    assert "0.15" not in shown
    assert len(edges(drawing)) == 6
    assert {"x1", "x2", "x3", "x0", "y"} <= set(svg_texts(show.draw_network(nn.Neuron(3, seed=0))))
    assert {"y1", "y2"} <= set(svg_texts(show.draw_network(nn.Layer(3, 2, seed=0))))
    assert {"z1⁽¹⁾", "z0⁽²⁾"} <= set(svg_texts(show.draw_network(nn.MLP(1, [1, 1, 1], seed=0))))


def test_skips_and_missing_connections_are_drawn_as_they_are():
    model = nn.MLP(2, [2, 1], masks=[[[1, 0], [0, 1]], None], skip=True, bias=False, seed=0)
    lines = {(a, b) for a, b, _ in edges(show.draw_network(model))}
    assert lines == {
        ("n0_0", "n1_0"),
        ("n0_1", "n1_1"),
        ("n1_0", "n2_0"),
        ("n1_1", "n2_0"),
        ("n0_0", "n2_0"),
        ("n0_1", "n2_0"),
    }


def test_equal_networks_give_equal_files(tmp_path):
    first, second = (show.draw_network(nn.MLP(2, [3, 1], seed=4)) for _ in range(2))
    assert first.source == second.source
    assert first.save(tmp_path / "net.png").read_bytes().startswith(b"\x89PNG")


def test_errors_say_what_was_wrong():
    with pytest.raises(TypeError, match="draw_network draws an MLP, a Layer or a Neuron, got GRUCell"):
        show.draw_network(nn.GRUCell(1, 2, seed=0))
    with pytest.raises(ShapeError, match="there are 2 units to name, got 1 names: Learn"):
        show.draw_network(BOOK, inputs=["Learn"])
