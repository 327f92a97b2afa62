"""Unrolled recurrent networks: the exercises' states and outputs, and each step's part of every gradient."""

import math
import re

import numpy as np
import pytest
from svg import clipped_labels, labels, texts

from tinygrad_vi import DomainError, ShapeError, Value, losses, nn, no_grad, total
from tinygrad_vi.nn.module import parameters_in
from tinygrad_vi.show.networks.recurrent import draw_unrolled
from tinygrad_vi.show.writing.numerals import write_number


def running_sum(cls=nn.RNN, cell=nn.RNNCell):
    return cls(cell.from_weights([[1.0]], [[1.0]], activation="identity"), nn.Layer.from_weights([[1.0]]))


def which_is_ahead():
    cell = nn.RNNCell.from_weights([[1.0, -1.0]], [[1.0]], activation="identity")
    return nn.RNN(cell, nn.Layer.from_weights([[1.0]], activation="sigmoid"))


B44, B45 = [2.0, -0.5, 1.0], [[2.0, -2.0], [0.0, 3.5], [1.0, 2.2]]


def numbers(text):
    return [float(n) for n in re.findall(r"-?\d[\d.]*(?:e-?\d+)?", text)]


def terms(drawing, row):
    """A line at the bottom: the name of the gradient, its parts, and their sum."""
    found = labels(drawing.svg)
    parts = [found[f"term{row}_{t}"][0] for t in range(sum(name.startswith(f"term{row}_") for name in found))]
    *parts, sum_ = [numbers(part) for part in parts]
    return found[f"terms{row}"][0], parts, sum_


def test_seed_B44_states_outputs_and_the_gradient_of_the_last_output():
    found = labels(draw_unrolled(running_sum(), B44).svg)
    assert [found[f"h{t}"] for t in range(4)] == [["h₀ = 0"], ["h₁ = 2"], ["h₂ = 1.5"], ["h₃ = 2.5"]]
    assert [found[f"y{t}"] for t in (1, 2, 3)] == [["y₁ = 2"], ["y₂ = 1.5"], ["y₃ = 2.5"]]
    assert [found[f"x{t}"] for t in (1, 2, 3)] == [["x₁ = 2"], ["x₂ = -0.5"], ["x₃ = 1"]]
    last = draw_unrolled(running_sum(), B44, loss=lambda y: y[-1])
    assert terms(last, 0) == ("∂L/∂W_x", [[2.0], [-0.5], [1.0]], [2.5])
    assert terms(last, 1) == ("∂L/∂W_h", [[0.0], [2.0], [1.5]], [3.5])
    assert terms(last, 2) == ("∂L/∂W_y", [[0.0], [0.0], [2.5]], [2.5])


def test_seed_B44_the_gradient_of_the_sum_of_all_outputs():
    drawing = draw_unrolled(running_sum(), B44, loss=total)
    assert [terms(drawing, row)[2] for row in range(3)] == [[6.0], [5.5], [6.0]]
    found = labels(drawing.svg)
    assert [found[f"h{t}"][1] for t in (1, 2, 3)] == ["grad 3", "grad 2", "grad 1"]
    assert [found[f"h{t}h{t + 1}flow"] for t in (1, 2)] == [["2"], ["1"]]  # the rest comes from the step's own output


def test_seed_B45_two_inputs_and_a_sigmoid():
    drawing = draw_unrolled(which_is_ahead(), B45, loss=lambda y: y[-1], digits=9)
    found = labels(drawing.svg)
    h = [numbers(found[f"h{t}"][0].split("=")[1])[0] for t in (1, 2, 3)]
    y = [numbers(found[f"y{t}"][0].split("=")[1])[0] for t in (1, 2, 3)]
    assert h == pytest.approx([4.0, 0.5, -0.7], abs=1e-9)
    assert y == pytest.approx([0.98201379, 0.62245933, 0.33181223], abs=1e-8)
    assert terms(drawing, 0)[2] == pytest.approx([0.66513862, 0.820337631], abs=1e-8)
    assert terms(drawing, 1)[2] == pytest.approx([0.99770793], abs=1e-8)
    assert terms(drawing, 2)[2] == pytest.approx([-0.155199011], abs=1e-8)
    assert "y_t = sigmoid(W_y h_t)" in texts(drawing.svg)


def test_the_parts_of_the_steps_are_those_of_the_textbooks_bptt():
    rng = np.random.default_rng(2)
    W_x, W_h, W_y = rng.normal(size=(2, 1)), rng.normal(size=(2, 2)), rng.normal(size=(1, 2))
    b, xs, T = rng.normal(size=2), rng.normal(size=4), 4
    h = [np.zeros(2)]
    for x in xs:
        h.append(np.tanh(W_x[:, 0] * x + W_h @ h[-1] + b))
    delta, flow = [None] * T, W_y[0]  # of the last output
    for t in reversed(range(T)):
        delta[t] = (1 - h[t + 1] ** 2) * flow
        flow = W_h.T @ delta[t]
    rnn = nn.RNN(nn.RNNCell.from_weights(W_x, W_h, b), nn.Layer.from_weights(W_y))
    drawing = draw_unrolled(rnn, list(xs), loss=lambda y: y[-1], digits=9)
    for row, (name, expected) in enumerate(
        (
            ("∂L/∂W_x", [delta[t] * xs[t] for t in range(T)]),
            ("∂L/∂W_h", [np.outer(delta[t], h[t]).ravel() for t in range(T)]),
            ("∂L/∂b", delta),
        )
    ):
        title, parts, sum_ = terms(drawing, row)
        assert title == name
        assert parts == pytest.approx(np.array(expected), rel=1e-7, abs=1e-12)
        assert sum_ == pytest.approx(sum(expected), rel=1e-7)
    found = labels(drawing.svg)
    for t in range(1, T):
        assert numbers(found[f"h{t}h{t + 1}flow"][0]) == pytest.approx(W_h.T @ delta[t], rel=1e-7)


def test_the_same_names_stand_at_every_step():
    found = labels(draw_unrolled(running_sum(), B44).svg)
    assert {found[f"x{t}h{t}"][0] for t in (1, 2, 3)} == {"W_x"}
    assert {found[f"h{t}h{t + 1}"][0] for t in (0, 1, 2)} == {"W_h"}
    assert {found[f"h{t}y{t}"][0] for t in (1, 2, 3)} == {"W_y"}
    assert {"at every step the same", "W_x = 1", "W_h = 1", "W_y = 1"} <= set(found["legend"])


def test_what_carries_no_gradient_has_no_dashed_arrow():
    source = draw_unrolled(running_sum(), B44, loss=lambda y: y[-1]).source
    back = set(re.findall(r"\t(\w+) -> (\w+) \[.*style=dashed", source))
    assert {("L", "y3"), ("y3", "h3"), ("h3", "h2"), ("h2", "h1"), ("h3", "x3"), ("h1", "x1")} <= back
    assert not {("y1", "h1"), ("y2", "h2"), ("L", "y1"), ("h1", "h0")} & back
    assert "dashed color" not in draw_unrolled(running_sum(), B44).source


def test_other_cells_and_outputs_are_boxes_with_shortened_states():
    lstm = nn.RNN(nn.LSTMCell(2, 8, seed=1), nn.MLP(8, [4, 2], seed=0), last=True)
    drawing = draw_unrolled(lstm, B45, loss=lambda y: losses.cross_entropy(y, 1), digits=3)
    found = labels(drawing.svg)
    assert found["legend"][:2] == ["h_t = LSTMCell(x_t, h_(t-1))", "y_t = MLP(h_t)"]
    assert {"W_x of 32 × 2", "W_h of 32 × 8", "b of 32", "MLP of 46"} <= set(found["legend"])
    assert re.fullmatch(r"h₂ = \(\S+, \S+, …, \S+\)", found["h2"][0])
    assert re.fullmatch(r"c₂ = \(\S+, \S+, …, \S+\)", found["h2"][1])
    assert "y2" not in found
    assert "y3" in found
    assert found["terms3"] == ["length of ∂L/∂MLP"]
    assert [found[f"term3_{t}"] for t in (0, 1)] == [["0"], ["0"]]
    output = lstm.predict([B45])[0]
    assert numbers(found["y3"][0].split("=")[1]) == pytest.approx(output, rel=5e-3)
    gru = labels(draw_unrolled(nn.RNN(nn.GRUCell(1, 2, seed=0)), [1.0, 2.0]).svg)
    assert gru["legend"][0] == "h_t = GRUCell(x_t, h_(t-1))"
    assert not any(name.startswith("y") for name in gru)


def test_lengths_are_those_of_the_whole_gradient():
    rnn = nn.RNN(nn.GRUCell(1, 3, seed=5), nn.Layer(3, 1, "identity", seed=5))
    found = labels(draw_unrolled(rnn, [0.5, -1.0, 2.0], loss=lambda y: y[-1] * y[0], digits=10).svg)
    outputs = rnn([[Value(x)] for x in (0.5, -1.0, 2.0)])
    (outputs[-1] * outputs[0]).backward()
    for row, name in enumerate(("W_x", "W_h", "b")):
        assert found[f"terms{row}"] == [f"length of ∂L/∂{name}"]
        slopes = [v.grad for v in parameters_in(getattr(rnn.cell, name))]
        assert float(found[f"term{row}_3"][0]) == pytest.approx(np.linalg.norm(slopes), rel=1e-8)
        assert found[f"sign{row}_3"] == ["sum"]


def test_gradients_of_the_values_stay_as_they_are():
    rnn = running_sum()
    for p in rnn.parameters():
        p.grad = 5.0
    with no_grad():
        drawing = draw_unrolled(rnn, [Value(2.0), Value(1.0)], loss=total)
    assert {p.grad for p in rnn.parameters()} == {5.0}
    assert terms(drawing, 0)[2] == [5.0]


def test_every_unrolled_network_can_be_read():
    tanh = nn.RNN(nn.RNNCell(2, 3, seed=0), nn.Layer(3, 2, "softmax", seed=0))
    for drawing in (
        draw_unrolled(running_sum(), [1.5] * 12, loss=total),
        draw_unrolled(which_is_ahead(), B45, loss=total, digits=9),
        draw_unrolled(tanh, np.ones((3, 2)), loss=lambda y: y[-1][0] + y[0][1]),
        draw_unrolled(nn.RNN(nn.LSTMCell(1, 16, seed=0)), [1.0, -1.0], loss=lambda y: total(y[-1])),
    ):
        assert clipped_labels(drawing.svg) == []
    first, second = (draw_unrolled(running_sum(), B44, loss=total) for _ in range(2))
    assert first.source == second.source
    assert repr(first) == '<Drawing of an RNN unrolled over 3 steps; .save("graph.svg") writes it>'


def test_errors_say_what_was_wrong():
    with pytest.raises(TypeError, match=r"draw_unrolled draws an RNN, got RNNCell\(1 -> 2, tanh\)"):
        draw_unrolled(nn.RNNCell(1, 2, seed=0), [1.0])
    with pytest.raises(ValueError, match=r"13 steps, more than max_steps = 12: .*max_steps=13"):
        draw_unrolled(running_sum(), [1.0] * 13)
    with pytest.raises(ShapeError, match="at least one step"):
        draw_unrolled(running_sum(), [])
    with pytest.raises(ShapeError, match="RNNCell expects 2 inputs, got 1"):
        draw_unrolled(which_is_ahead(), [1.0])
    with pytest.raises(TypeError, match=r"the loss must be one Value made of the outputs, got 1\.0"):
        draw_unrolled(running_sum(), [1.0], loss=lambda y: 1.0)
    with pytest.raises(DomainError, match="inf"):
        draw_unrolled(running_sum(), [1e308, 1e308], loss=total)


# --- What the steps contribute ------------------------------------------------------------------------------------------


def columns_of_terms(drawing):
    found = labels(drawing.svg)
    for row in range(99):
        if f"terms{row}" not in found:
            return
        terms = [found[f"term{row}_{t}"][0] for t in range(99) if f"term{row}_{t}" in found]
        yield found[f"terms{row}"][0], [[float(x) for x in re.findall(r"-?[\d.]+(?:e-?\d+)?", text)] for text in terms]


@pytest.mark.parametrize("digits", [2, 4, 8])
@pytest.mark.parametrize("penalty", [
    lambda ps: 0.0, lambda ps: 0.1 * sum(p * p for p in ps), lambda ps: sum(abs(p) for p in ps), lambda ps: ps[0] * 0.9,
], ids=["none", "squares", "magnitudes", "one weight"])  # fmt: skip
def test_the_terms_of_an_unrolled_network_add_up(penalty, digits):
    cell = nn.RNNCell.from_weights([[0.7]], [[-0.45]], [0.3])
    rnn = nn.RNN(cell, nn.Layer.from_weights([[1.3]], [0.123]))
    ps = rnn.parameters()
    drawing = draw_unrolled(rnn, [2.0, -0.5, 1.0], loss=lambda y: (y[-1] - 0.3) ** 2 + penalty(ps), digits=digits)
    (rnn([Value(2.0), Value(-0.5), Value(1.0)])[-1] - 0.3) ** 2
    loss = (rnn([Value(2.0), Value(-0.5), Value(1.0)])[-1] - 0.3) ** 2 + penalty(ps)
    rnn.zero_grad()
    loss.backward()
    rows = dict(columns_of_terms(drawing))
    assert len(rows) == 5
    gradients = {"∂L/∂W_x": cell.W_x[0][0], "∂L/∂W_h": cell.W_h[0][0], "∂L/∂b": cell.b[0]}
    for title, (*parts, whole) in rows.items():
        for k, total_ in enumerate(whole):
            added = math.fsum(part[k] for part in parts)
            assert write_number(added, digits) == write_number(total_, digits), title
        if title in gradients:
            assert whole[0] == pytest.approx(gradients[title].grad, rel=10.0 ** (1 - digits))
    assert ("the loss itself" in texts(drawing.svg)) == (penalty(ps) != 0.0)


# --- A recurrent network's own forward pass ---------------------------------------------------------------------------


def test_a_recurrent_network_with_a_forward_pass_of_its_own_is_drawn_with_its_answer():
    class Doubled(nn.RNN):
        def forward(self, sequence, state=None):
            return [2.0 * y for y in super().forward(sequence, state)]

    drawing = draw_unrolled(running_sum(Doubled), [2.0, -0.5, 1.0], loss=lambda y: y[-1])
    found = labels(drawing.svg)
    assert "answer (4, 3, 5)" in found["legend"]
    assert [found[f"y{t}"][0] for t in (1, 2, 3)] == ["y₁ = 2", "y₂ = 1.5", "y₃ = 2.5"]
    assert found["L"] == ["L = 5", "grad 1"]
    assert found["y3"][1] == "grad 2"
    rows = dict(columns_of_terms(drawing))
    assert rows["∂L/∂W_x"] == [[4.0], [-1.0], [2.0], [5.0]]  # twice what exercise B44 has
    assert rows["∂L/∂W_h"] == [[0.0], [4.0], [3.0], [7.0]]
    plain = labels(draw_unrolled(running_sum(), [2.0, -0.5, 1.0], loss=lambda y: y[-1]).svg)
    assert not any(line.startswith("answer") for line in plain["legend"])


def test_a_cell_of_ones_own_is_drawn_as_what_it_is():
    class Leaky(nn.RNNCell):
        def forward(self, x, state=None):
            return [0.5 * h for h in super().forward(x, state)]

    drawing = draw_unrolled(running_sum(cell=Leaky), [2.0, -0.5], loss=lambda y: y[-1])
    found = labels(drawing.svg)
    assert found["legend"][0] == "h_t = Leaky(x_t, h_(t-1))"
    assert [found[f"h{t}"] for t in (1, 2)] == [["h₁ = 1", "grad 0.5"], ["h₂ = 0.25", "grad 1"]]


def test_a_first_state_of_ones_own_is_drawn():
    class FromOne(nn.RNN):
        def forward(self, sequence):
            return super().forward(sequence, [Value(1.0)])

    class Cell(nn.RNNCell):
        def initial_state(self):
            return [3.0]

    assert labels(draw_unrolled(running_sum(FromOne), [2.0]).svg)["h0"] == ["h₀ = 1"]
    assert labels(draw_unrolled(running_sum(cell=Cell), [2.0]).svg)["h0"] == ["h₀ = 3"]


def test_states_that_a_step_function_makes_are_plain_numbers():
    cell = nn.RNNCell.from_weights([[1.0]], [[1.0]], activation=lambda a: 1.0 if a > 0.0 else 0.0)
    found = labels(draw_unrolled(nn.RNN(cell, nn.Layer.from_weights([[3.0]])), [2.0, -2.0], loss=total).svg)
    assert [found[f"h{t}"][0] for t in (1, 2)] == ["h₁ = 1", "h₂ = 0"]
    assert [found[f"y{t}"] for t in (1, 2)] == [["y₁ = 3", "grad 1"], ["y₂ = 0", "grad 1"]]
    alone = labels(draw_unrolled(nn.RNN(cell), [2.0, -2.0]).svg)
    assert [alone[f"h{t}"] for t in (1, 2)] == [["h₁ = 1"], ["h₂ = 0"]]


def networks_of_ones_own():
    class Backwards(nn.RNN):
        def states(self, sequence, state=None):
            return super().states(sequence[::-1], state)

    class Restarted(nn.RNN):
        def states(self, sequence, _):
            return [super(Restarted, self).states([x])[0] for x in sequence]

    class Doubling(nn.RNN):
        def states(self, sequence, state=None):
            return [[2.0 * h for h in state] for state in super().states(sequence, state)]

    class Averaging(nn.RNN):
        def forward(self, sequence, state=None):
            return total([h for [h] in self.states(sequence, state)]) / len(sequence)

    class Both(nn.RNN):
        def states(self, sequence, state=None):
            return super().states([*sequence, *sequence], state)

    yield Backwards, "step 1 gets something else than x₁"
    yield Restarted, "step 2 does not go on from the state after step 1"
    yield Doubling, "it reads its outputs from something else than its hidden states"
    yield Averaging, "it reads 0 outputs, not 2, from its hidden states"
    yield Both, "it makes 4 steps for the 2 of the sequence"


@pytest.mark.parametrize(("cls", "reason"), [*networks_of_ones_own()], ids=lambda x: getattr(x, "__name__", ""))
def test_a_recurrent_network_that_goes_another_way_is_refused(cls, reason):
    with pytest.raises(ValueError, match=f"this {cls.__name__} cannot be drawn part by part, .*: {reason}"):
        draw_unrolled(running_sum(cls), [2.0, -0.5])
