"""Network diagrams: every unit, every weight, the bias nodes, nothing on top of anything else."""

import math
import re
from itertools import combinations
from xml.etree import ElementTree

import numpy as np
import pytest
from svg import clipped_labels, labels

from tinygrad_vi import DomainError, ShapeError, Value, dot, grad, log, losses, nn, no_grad, show
from tinygrad_vi.graph import NOT_COMPUTED
from tinygrad_vi.nn.module import prediction
from tinygrad_vi.show.palette import GRADIENT, NEGATIVE, POSITIVE, VALUE


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


def test_a_line_is_as_thick_as_its_weight_is_large_and_dotted_when_negative():
    found = {(a, b): attributes for a, b, attributes in edges(show.draw_network(BOOK))}
    width = {key: float(re.search(r"penwidth=([\d.]+)", value)[1]) for key, value in found.items()}
    assert width[("b1", "n2_0")] == max(width.values()) == 3.0  # 0.60
    assert width[("n0_0", "n1_0")] == min(width.values())  # 0.15
    assert [key for key, value in found.items() if "style=dotted" in value] == [("n0_1", "n1_1")]
    assert [key for key, value in found.items() if NEGATIVE in value] == [("n0_1", "n1_1")]
    assert sum(POSITIVE in value and "style=solid" in value for value in found.values()) == 8


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


# --- What flows through -----------------------------------------------------------------------------------------------

EXAMPLE_3_1 = nn.MLP.from_weights(
    [[[0.15, 0.20], [0.25, 0.30]], [[0.40, 0.45]]], [[0.35, 0.35], [0.60]], activation="sigmoid"
)


def notes(drawing):
    """The texts below the units and on the lines, by the names of their nodes."""
    return {name: lines for name, lines in labels(drawing.svg).items() if re.fullmatch(r"n\d_\dv|w\d+", name)}


def test_seed_B38_all_nine_derivatives_stand_on_the_lines_of_example_3_1():
    options = {"notation": "columns", "weights": "both", "digits": 9}
    drawing = show.draw_network(EXAMPLE_3_1, flow="both", x=[0.05, 0.10], target=0.01, **options)
    printed = {
        "w₁₁⁽¹⁾ = 0.15": 0.00528885772760,
        "w₁₂⁽¹⁾ = 0.2": 0.01057771545521,
        "w₁₀⁽¹⁾ = 0.35": 0.10577715455206,
        "w₂₁⁽¹⁾ = 0.25": 0.00593301779366,
        "w₂₂⁽¹⁾ = 0.3": 0.01186603558731,
        "w₂₀⁽¹⁾ = 0.35": 0.11866035587313,
        "w₁₁⁽²⁾ = 0.4": 0.65016812442777,
        "w₁₂⁽²⁾ = 0.45": 0.65412915177964,
        "w₁₀⁽²⁾ = 0.6": 1.09590596705977,
    }
    found = notes(drawing)
    on_lines = {lines[0]: float(lines[1].removeprefix("grad ")) for name, lines in found.items() if name[0] == "w"}
    assert on_lines == pytest.approx(printed, rel=1e-8)
    assert found["n1_0v"] == ["0.593269992", "δ 0.105777155"]  # delta is the derivative by w_10
    assert found["n1_1v"] == ["0.596884378", "δ 0.118660356"]
    assert found["n2_0v"] == ["1.10590597", "δ 1.09590597"]
    assert "loss 0.600504944" in svg_texts(drawing)


def test_deltas_are_those_of_the_textbooks_formula():
    rng = np.random.default_rng(1)
    W1, W2, b1, b2 = rng.normal(size=(3, 2)), rng.normal(size=(2, 3)), rng.normal(size=3), rng.normal(size=2)
    x, t = np.array([0.5, -1.0]), np.array([1.0, 0.0])
    z = np.tanh(W1 @ x + b1)
    delta_k = W2 @ z + b2 - t
    delta_j = (1 - z**2) * (W2.T @ delta_k)
    net = nn.MLP.from_weights([W1, W2], [b1, b2], activation="tanh")
    found = notes(show.draw_network(net, x=x, target=t, digits=12))
    for k, (values, deltas) in enumerate(((z, delta_j), (W2 @ z + b2, delta_k)), start=1):
        for i in range(len(values)):
            value, delta = found[f"n{k}_{i}v"]
            assert float(value) == pytest.approx(values[i], rel=1e-10)
            assert float(delta.removeprefix("δ ")) == pytest.approx(deltas[i], rel=1e-10)
    for i, gradient in enumerate(W1.T @ delta_j):
        assert float(found[f"n0_{i}v"][1].removeprefix("grad ")) == pytest.approx(gradient, rel=1e-10)


@pytest.mark.parametrize("output", ["sigmoid", "softmax"])
def test_the_delta_of_a_canonical_output_is_y_minus_t(output):
    net = nn.MLP(2, [3, 3], activation="tanh", output_activation=output, seed=3)
    loss = losses.bce if output == "sigmoid" else lambda q, p: -dot(p, [log(v) for v in q])
    target = [0.0, 1.0, 0.0]
    found = notes(show.draw_network(net, x=[1.0, -1.0], target=target, loss=loss, digits=12))
    for i, t in enumerate(target):
        y, delta = (float(text.removeprefix("δ ")) for text in found[f"n2_{i}v"])
        share = 3 if output == "sigmoid" else 1  # bce is a mean
        assert delta * share == pytest.approx(y - t, abs=1e-10)


def test_arrows_show_the_way_of_each_flow():
    def arrows(flow):
        found = edges(show.draw_network(EXAMPLE_3_1, flow=flow))
        dashed = {(a, b) for a, b, style in found if "style=dashed" in style}
        assert all(GRADIENT in style for _, _, style in found if "style=dashed" in style)
        return {(a, b) for a, b, _ in found} - dashed, dashed

    forward, none = arrows("forward")
    assert len(forward) == 9
    assert not none
    none, backward = arrows("backward")
    assert not none
    assert backward == {(b, a) for a, b in forward if a[0] == "n"}  # nothing flows back to the bias nodes
    assert arrows("both") == (forward, backward)


@pytest.mark.parametrize("target", [None, [0.0, 1.0]])
def test_numbers_below_units_hide_neither_circles_nor_arrowheads(target):
    """Graphviz draws the head of an arrow 10 points long, times its arrowsize."""
    drawing = show.draw_network(nn.MLP(3, [4, 2], activation="tanh", seed=0), x=[1, 2, 3], target=target)
    found = places(drawing)
    sizes = dict(re.findall(r'^\t(n\d_\d) \[.*width="?([\d.]+)', drawing.source, flags=re.MULTILINE))
    heights = dict(re.findall(r'^\t(n\d_\dv) \[.*height="?([\d.]+)', drawing.source, flags=re.MULTILINE))
    [head] = {
        float(size) * 10.0 / 72.0
        for size in re.findall(rf"arrowsize=([\d.]+)\b(?=.*color=\"{VALUE}\")", drawing.source)
    }
    assert len(heights) == len(sizes) == 9
    for unit, size in sizes.items():
        ring = 4.0 / 72.0 if unit.startswith("n2") else 0.0  # the second border of an output
        bottom = found[unit][1] - float(size) / 2.0 - ring
        top = found[f"{unit}v"][1] + float(heights[f"{unit}v"]) / 2.0
        assert bottom - top > head


def test_an_example_alone_means_forward_and_one_with_a_target_both():
    assert notes(show.draw_network(EXAMPLE_3_1, x=[0.05, 0.1]))["n1_0v"] == ["0.59"]
    assert notes(show.draw_network(EXAMPLE_3_1, x=[0.05, 0.1], target=0.01))["n1_0v"] == ["0.59", "δ 0.11"]
    backward = show.draw_network(EXAMPLE_3_1, x=[0.05, 0.1], target=0.01, flow="backward")
    assert notes(backward)["n1_0v"] == ["δ 0.11"]
    forward = show.draw_network(EXAMPLE_3_1, x=[0.05, 0.1], target=0.01, flow="forward")
    assert notes(forward)["n1_0v"] == ["0.59"]
    only_loss = show.draw_network(EXAMPLE_3_1, x=[0.05, 0.1], loss=lambda y, _: y * 3.0)
    assert notes(only_loss)["n2_0v"] == ["1.1", "δ 3"]


def test_numbers_come_from_a_run_of_the_pictures_own():
    net = nn.MLP(2, [3, 1], activation="relu", dropout=0.9, seed=0)
    for p in net.parameters():
        p.grad = 7.0
    x = [Value(1.0), Value(2.0)]
    with no_grad():
        found = notes(show.draw_network(net, x=x, target=0.0, digits=12))
    with prediction():
        assert float(found["n2_0v"][0]) == pytest.approx(net([1.0, 2.0]).data, rel=1e-10)
    assert {p.grad for p in net.parameters()} == {7.0}
    assert all(v.grad is NOT_COMPUTED for v in x)


def test_skips_and_missing_connections_take_part_in_the_flow():
    skip = nn.MLP(2, [2, 1], masks=[[[1, 0], [0, 1]], None], skip=True, bias=False, activation="tanh", seed=0)
    found = notes(show.draw_network(skip, x=[0.5, -1.5], target=1.0, digits=12))
    slopes = grad(lambda x: losses.sse(skip(x), 1.0))([0.5, -1.5])
    shown = [float(found[f"n0_{i}v"][1].removeprefix("grad ")) for i in (0, 1)]
    assert shown == pytest.approx(slopes, rel=1e-10)
    for part in (nn.Neuron(2, "tanh", seed=0), nn.Layer(2, 2, "softmax", seed=0)):
        outputs = np.ravel(part.predict([1.0, 2.0]))
        found = notes(show.draw_network(part, x=[1.0, 2.0], digits=12))
        assert [float(found[f"n1_{i}v"][0]) for i in range(len(outputs))] == pytest.approx(outputs, rel=1e-10)


SHAPES = {
    "rows": {"W⁽¹⁾": (2, 4), "b⁽¹⁾": (1, 4), "W⁽²⁾": (4, 5), "b⁽²⁾": (1, 5), "W⁽³⁾": (5, 1), "b⁽³⁾": (1, 1)},
    "columns": {"W⁽¹⁾": (4, 2), "b⁽¹⁾": (4, 1), "W⁽²⁾": (5, 4), "b⁽²⁾": (5, 1), "W⁽³⁾": (1, 5), "b⁽³⁾": (1, 1)},
}


def calculated(line, known):
    """Do in NumPy what a formula of the picture says, and remember the result; whether it has the shape it says."""
    formula, _, shape = line.partition(":")
    name, *_, code = re.sub(r" = [Ŷŷ]$", "", formula).split(" = ")
    code = re.sub(r"Σ rows of (\S+)", r"total(\1)", code).replace("⊙", "*").replace("∂J/∂", "up_")
    code = re.sub(r"(?<=[\w⁾ᵀ]) (?=[dWaAz])", " @ ", code)
    names = {token: f"v{i}" for i, token in enumerate(sorted(known, key=len, reverse=True))}
    for token, plain in names.items():
        code = code.replace(token, plain)
    code = code.replace("ᵀ", ".T").replace("σ′", "slope").replace("σ", "sigmoid")
    functions = {
        "sigmoid": lambda a: 1 / (1 + np.exp(-a)),
        "slope": lambda a: np.exp(-a) / (1 + np.exp(-a)) ** 2,
        "total": lambda a: a.sum(axis=0, keepdims=True),
    }
    known[name] = eval(code, functions, {plain: known[token] for token, plain in names.items()})
    if shape:
        assert known[name].shape == tuple(map(int, shape.split("×")))


@pytest.mark.slow
@pytest.mark.parametrize("notation", ["rows", "columns"])
def test_seed_B41_the_formulas_below_are_backpropagation(notation):
    """Figures 6.3 and 6.4: what they say is done in NumPy, with differences of the loss as the judge."""
    net = nn.MLP(2, [4, 5, 1], activation="sigmoid", output_activation="sigmoid", seed=0)
    rng = np.random.default_rng(0)
    n = 7 if notation == "rows" else 1
    parameters = {name: rng.normal(size=shape) for name, shape in SHAPES[notation].items()}
    inputs = rng.normal(size=(n, 2) if notation == "rows" else (2, 1))
    targets = rng.random(size=(n, 1))

    def texts_of(flow):
        found = labels(show.draw_network(net, flow=flow, notation=notation).svg)
        return [found[f"formula{k}"] for k in range(4)], [found[f"parameters{k}"] for k in (1, 2, 3)]

    def forward(known):
        known["X" if notation == "rows" else "x"] = inputs
        of_units, of_parameters = texts_of("forward")
        for name, line in zip(SHAPES[notation], [line for lines in of_parameters for line in lines], strict=True):
            assert line == f"{name}: {' × '.join(map(str, SHAPES[notation][name]))}"
        for lines in of_units:
            for line in lines[:-1]:
                calculated(line, known)
            shape = [str(length) for length in known[lines[-2].split(" = ")[0]].shape]
            assert lines[-1] == " × ".join(["n", shape[1]] if notation == "rows" else shape)
        return known

    def loss(changed):
        output = forward(dict(changed))["A⁽³⁾" if notation == "rows" else "a⁽³⁾"]
        return ((output - targets) ** 2).sum()

    known = forward(dict(parameters))
    last = "A⁽³⁾" if notation == "rows" else "a⁽³⁾"
    known[f"up_{last}"] = 2 * (known[last] - targets)
    of_units, of_parameters = texts_of("backward")
    for lines, after in zip(reversed(of_units[1:]), reversed(of_parameters), strict=True):
        for line in (*lines[:-1], *after):
            calculated(line, known)
    for name in parameters:
        place = tuple(rng.integers(length) for length in parameters[name].shape)
        ends = []
        for step in (1e-5, -1e-5):
            changed = {key: value.copy() for key, value in parameters.items()}
            changed[name][place] += step
            ends.append(loss(changed))
        assert known[f"d{name}"][place] == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-5, abs=1e-8)


def test_other_activations_have_formulas_too():
    net = nn.MLP(2, [3, 2], activation="tanh", output_activation="softmax", bias=False, seed=0)
    shown = svg_texts(show.draw_network(net, flow="both", notation="rows"))
    assert {"Z⁽¹⁾ = A⁽⁰⁾ W⁽¹⁾", "A⁽¹⁾ = tanh(Z⁽¹⁾)", "A⁽²⁾ = softmax(Z⁽²⁾) = Ŷ"} <= set(shown)
    assert "dZ⁽²⁾ = A⁽²⁾ ⊙ (dA⁽²⁾ - sum(dA⁽²⁾ ⊙ A⁽²⁾))" in shown
    assert not any("b⁽" in text for text in shown)
    linear = svg_texts(show.draw_network(nn.Layer(2, 2, "identity", seed=0), flow="both", notation="columns"))
    assert {"a⁽¹⁾ = z⁽¹⁾ = ŷ", "dz⁽¹⁾ = da⁽¹⁾"} <= set(linear)


def test_units_and_weights_have_the_names_of_their_notation():
    assert {"x0", "z0", "w₂₀⁽¹⁾", "w₁₂⁽²⁾"} <= set(svg_texts(show.draw_network(BOOK, weights="names")))
    columns = svg_texts(show.draw_network(BOOK, weights="names", notation="columns"))
    assert {"a₁⁽⁰⁾", "a₀⁽¹⁾", "a₁⁽²⁾", "w₂₁⁽¹⁾", "w₂₀⁽¹⁾"} <= set(columns)
    found = {name: lines[0] for name, lines in notes(show.draw_network(BOOK, weights="names", notation="rows")).items()}
    assert {"w₁₂⁽¹⁾", "b₂⁽¹⁾", "w₂₁⁽²⁾", "b₁⁽²⁾"} <= set(found.values())
    wide = svg_texts(show.draw_network(nn.MLP(12, [1], seed=0), max_units=12, weights="names"))
    assert {"w₁₁⁽¹⁾", "w₁,₁₂⁽¹⁾"} <= set(wide)


def test_a_picture_of_flows_can_be_read():
    drawings = [
        show.draw_network(EXAMPLE_3_1, x=[0.05, 0.1], target=0.01, weights="both", notation="columns", digits=6),
        show.draw_network(nn.MLP(3, [4, 2], activation="tanh", seed=0), x=[1, 2, 3], target=[0, 1]),
        show.draw_network(nn.MLP(64, [32, 10], seed=0), x=[0.5] * 64, target=[0.0] * 10, notation="rows"),
        show.draw_network(nn.MLP(2, [3, 1], skip=True, seed=0), x=[1, 2], target=1.0),
    ]
    for drawing in drawings:
        assert clipped_labels(drawing.svg) == []


def test_options_that_do_not_go_together_are_refused():
    for options, words in (
        ({"flow": "up"}, "flow must be one of None, 'forward', 'backward', 'both', got 'up'"),
        ({"weights": "all"}, "weights must be one of"),
        ({"notation": "matrix"}, "notation must be one of 'units', 'columns', 'rows', got 'matrix'"),
        ({"target": 1.0}, "a target and a loss belong to an example"),
        ({"x": [1.0, 2.0], "flow": "backward"}, "the backward flow is the gradient of a loss: give a target"),
        ({"x": [1.0]}, "the network has 2 inputs, x has 1"),
    ):
        with pytest.raises(ValueError, match=words):
            show.draw_network(BOOK, **options)
    with pytest.raises(ValueError, match="a network with skip=True has no formulas in the notation 'rows'"):
        show.draw_network(nn.MLP(2, [2, 1], skip=True, seed=0), flow="forward", notation="rows")
    with pytest.raises(TypeError, match=r"loss\(output, target\) must be one Value made of the output, got 3\.0"):
        show.draw_network(BOOK, x=[1.0, 2.0], target=0.0, loss=lambda y, t: 3.0)
    with pytest.raises(DomainError, match="leaf \\(node 'W1\\[0,0\\]'\\) is nan"):
        show.draw_network(nn.MLP.from_weights([[[math.nan]]]), x=[1.0], target=0.0)


def test_a_loss_that_calls_the_network_again_is_refused_and_not_drawn_wrong():
    net = nn.MLP(2, [2, 2], seed=0)
    with pytest.raises(ValueError, match=r"the loss called the network again: here it takes \(output, target\)"):
        show.draw_network(net, x=[1.0, 2.0], target=[0.0, 1.0], flow="both", loss=lambda x, t: losses.mse(net(x), t))
    show.draw_network(net, x=[1.0, 2.0], target=[0.0, 1.0], flow="both", loss=losses.mse)
