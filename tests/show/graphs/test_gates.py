"""Circuits: the numbers of the exercises stand on their wires, branches add up, nothing of the user's is changed."""

import math
import re

import pytest
from svg import clipped_labels, labels

from tinygrad_vi import DomainError, ShapeError, Value, dot, exp, log, maximum, no_grad, sin
from tinygrad_vi.show.graphs.gates import draw_circuit, draw_gates
from tinygrad_vi.show.palette import LINE


def wires(drawing):
    """What stands above and below each wire, and the texts of the gates."""
    found = {name: lines for name, lines in labels(drawing.svg).items() if "->" not in name}
    return [tuple(lines) for lines in found.values() if len(lines) == 2 and re.search(r"\d$", lines[0])]


def gates(drawing):
    found = labels(drawing.svg)
    return [lines for name, lines in found.items() if name.endswith(("g", "copy")) and "->" not in name]


def sigmoid_circuit():
    w0, x0, w1, x1 = Value(2.0, "w0"), Value(-1.0, "x0"), Value(-3.0, "w1"), Value(-2.0, "x1")
    return 1 / (1 + exp(-(w0 * x0 + w1 * x1 + Value(-3.0, "w2"))))


def test_seed_B01_on_its_wires():
    q = Value(-2.0, "x") + Value(5.0, "y")
    q.label = "q"
    assert sorted(wires(draw_circuit(q * Value(-4.0, "z")))) == sorted(
        [("x = -2", "-4"), ("y = 5", "-4"), ("q = 3", "-4"), ("z = -4", "3"), ("-12", "1")]
    )


def test_seed_B02_gate_by_gate():
    drawing = draw_circuit(sigmoid_circuit(), digits=9)
    printed = {
        "w0 = 2": -0.196611933,
        "w1 = -3": -0.393223866,
        "w2 = -3": 0.196611933,
        "x0 = -1": 0.393223866,
        "x1 = -2": -0.589835800,
        "-1": -0.196611933,
        "0.367879441": -0.534446645,
        "1.36787944": -0.534446645,
        "0.731058579": 1.0,
    }
    found = {above: float(below) for above, below in wires(drawing)}
    assert {above: found[above] for above in printed} == pytest.approx(printed, rel=0, abs=1e-9)
    assert found["1"] == pytest.approx(0.196611933, abs=1e-9)
    assert gates(drawing) == [["×"], ["×"], ["+"], ["+"], ["-x"], ["exp"], ["1 + x"], ["1 / x"]]


def test_seed_B03_values_used_twice_pass_a_copy_gate_where_their_parts_add_up():
    x = Value(0.0, "x")
    a = exp(x)
    c = a + a**2
    drawing = draw_circuit(exp(c) + sin(c), local=True, digits=6)
    assert gates(drawing).count(["copy"]) == 2
    assert ("x = 0", "1 × 20.9187 = 20.9187") in wires(drawing)  # f'(0) of the exercise
    sums = [below.split(" = ") for _, below in wires(drawing) if " + " in below or " - " in below]
    assert len(sums) == 2
    for terms, result in sums:
        assert eval(terms) == pytest.approx(float(result), abs=1e-4)


def test_each_wire_shows_local_times_upstream():
    x1, x2 = Value(2.0, "x1"), Value(5.0, "x2")
    drawing = draw_circuit(log(x1) + x1 * x2 - sin(x2), local=True)
    found = wires(drawing)
    for _, below in found:
        if "×" in below:
            product = below.replace("×", "*").split(" = ")
            assert eval(product[0]) == pytest.approx(float(product[1]), abs=1e-3)
    assert ("x1 = 2", "0.5 + 5 = 5.5") in found
    assert ("x2 = 5", "2 - 0.2837 = 1.716") in found  # the two steps of the reverse trace


def test_seed_B11_the_four_gates():
    drawing = draw_gates()
    found = labels(drawing.svg)
    for k, gate in enumerate(("add gate: gradient distributor", "mul gate: swap multiplier")):
        assert found[f"title{k}"] == [gate]
    assert found["title2"] == ["copy gate: gradient adder"]
    assert found["title3"] == ["max gate: gradient router"]
    assert [found[f"g0w{i}"] for i in range(3)] == [["x = 3", "1 × 2 = 2"], ["y = 4", "1 × 2 = 2"], ["7", "2"]]
    assert [found[f"g1w{i}"] for i in range(3)] == [["x = 2", "3 × 5 = 15"], ["y = 3", "2 × 5 = 10"], ["6", "5"]]
    assert [found[f"g2w0{i}"] for i in ("", "_0", "_1")] == [["x = 7", "4 + 2 = 6"], ["7", "4"], ["7", "2"]]
    assert [found[f"g3w{i}"] for i in range(3)] == [["x = 4", "0 × 9 = 0"], ["y = 5", "1 × 9 = 9"], ["5", "9"]]
    assert clipped_labels(drawing.svg) == []


def test_forward_arrows_are_solid_and_gradients_go_back_dashed():
    source = draw_circuit(Value(2.0, "x") * Value(3.0, "y")).source
    assert len(re.findall(rf"\tw\d:m:e -> .*\[color=\"{LINE}\"\]", source)) == 3
    assert len(re.findall(r"->.*dir=back style=dashed", source)) == len(re.findall("->", source)) / 2


def test_gradients_of_the_values_stay_as_they_are():
    x, y = Value(2.0, "x"), Value(3.0, "y")
    z = x * y
    x.grad, z.grad = 7.0, -1.0
    draw_circuit(z, upstream=10.0)
    assert (x.grad, y.grad, z.grad) == (7.0, 0.0, -1.0)


def test_several_outputs_and_their_upstream_gradients():
    x, y = Value(2.0, "x"), Value(3.0, "y")
    found = dict(wires(draw_circuit([x * y, x + y], upstream=[10.0, 100.0])))
    assert found["x = 2"] == "130"
    assert found["y = 3"] == "120"
    assert (found["6"], found["5"]) == ("10", "100")


def test_without_labels_all_leaves_are_inputs_and_with_them_others_are_constants():
    assert ("2", "3") in wires(draw_circuit(Value(2.0) * Value(3.0)))
    drawing = draw_circuit(maximum(Value(2.0, "x"), 3.0) * 4.0 / Value(8.0, "u"))
    assert sorted(gates(drawing)) == [["/"], ["max"], ["s × 4"]]
    assert ["3"] in labels(drawing.svg).values()  # max keeps its constant as a wire, which has no gradient
    assert gates(draw_circuit(Value(3.0, "x") ** 2 * 2.0)) == [["u ** 2"], ["u × 2"]]
    assert gates(draw_circuit(1.0 - 2.0 / -Value(8.0, "x"))) == [["-u"], ["2 / u"], ["1 - u"]]


def test_networks_sums_and_roles():
    neuron = dot([Value(1.0, "w1"), Value(2.0, "w2")], [Value(3.0, "x1"), Value(4.0, "x2")], Value(0.5, "b"))
    drawing = draw_circuit(neuron.tanh(), roles=True)
    assert ["·", "multiply: swap"] in gates(drawing)
    assert {above for above, _ in wires(drawing)} >= {"w1 = 1", "w2 = 2", "x1 = 3", "x2 = 4", "b = 0.5"}


def test_equal_circuits_give_equal_sources():
    assert draw_circuit(sigmoid_circuit()).source == draw_circuit(sigmoid_circuit()).source
    assert repr(draw_circuit(sigmoid_circuit())) == '<Drawing of a circuit of 8 gates; .save("graph.svg") writes it>'
    with no_grad():
        assert wires(draw_circuit(Value(2.0) * 3.0)) == [("6", "1")]


def test_labels_are_text():
    for label in ('<b>&amp; "x" | {y}</b>', r"back\slash \N \n \\G \l", "σ′(z)·∂L/∂w ₁ → ⁽²⁾"):
        drawing = draw_circuit(Value(1.0, label) * Value(2.0, "y"))
        assert labels(drawing.svg)["w0"] == [f"{label} = 1", "2"]


def test_errors_say_what_was_wrong():
    x = Value(1.0, "x")
    with pytest.raises(TypeError, match=r"draw_circuit takes a Value or a list of Values, got 3\.0 of type float"):
        draw_circuit(3.0)
    with pytest.raises(ShapeError, match="at least one output"):
        draw_circuit([])
    with pytest.raises(ShapeError, match="there are 2 outputs and 1 upstream gradient"):
        draw_circuit([x, x], upstream=[1.0])
    with pytest.raises(DomainError, match="leaf \\(node 'z'\\) is nan"):
        draw_circuit(Value(math.nan, "z") * 2.0)
    y = x
    for _ in range(101):
        y = y.tanh()
    with pytest.raises(ValueError, match=r"101 gates, more than max_gates = 100: .*max_gates=101"):
        draw_circuit(y)
    assert draw_circuit(y, max_gates=101).source.startswith("digraph")
