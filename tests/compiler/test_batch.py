"""Batches found in loops: folded and unfolded programs give the same numbers, and no program is folded by mistake."""

import math
import random
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from node_by_node import evaluate
from programs import SAME_EVERY_TIME, programs

from tinygrad_vi import Value, exp, functions, log, losses, maximum, nn, rows, sqrt, tanh, total
from tinygrad_vi.compiler import batch as batch_module
from tinygrad_vi.compiler.algebra import Expression
from tinygrad_vi.compiler.batch import data_leaves, find_batch
from tinygrad_vi.compiler.form import Form
from tinygrad_vi.compiler.from_record import from_record
from tinygrad_vi.compiler.lift import lift
from tinygrad_vi.compiler.reverse import gradient
from tinygrad_vi.compiler.terms import ONE
from tinygrad_vi.graph import topological_order


def traced(loss, parameters):
    """The form of a loss with its data as leaves, the loss, and the data."""
    leaves = data_leaves(topological_order([loss]), parameters)
    form, (y,) = from_record([loss], {v: i for i, v in enumerate([*parameters, *leaves])}, {})
    return form, y.node(), {len(parameters) + j: v.data for j, v in enumerate(leaves)}


def value_and_gradient(form, output, parameters, trained, inputs):
    c, root = output
    slopes = gradient(form, root, [form.parameter(i).node() for i in range(trained)])
    form.check()
    value, *found = evaluate(form, [(1.0, root), *slopes], parameters, inputs)
    return [c * float(value), *(c * float(slope) for slope in found)]


def batch_of(loss, parameters):
    """The batch in a loss, after it has been compared with the loss written out and with the eager engine."""
    form, y, data = traced(loss, parameters)
    batch = find_batch(form, y, data)
    if batch is None:
        return None
    numbers = [p.data for p in parameters]
    found = value_and_gradient(batch.form, batch.output, numbers, len(numbers), batch.inputs)
    unfolded = value_and_gradient(form, (1.0, y), [*numbers, *data.values()], len(numbers), ())
    assert found == pytest.approx(unfolded, rel=1e-12, abs=1e-12)
    for p in parameters:
        p.grad = 0.0
    loss.backward()
    assert found == pytest.approx([loss.data, *(p.grad for p in parameters)], rel=1e-11, abs=1e-12)
    assert not batch.form.mapped[batch.output[1]]
    return batch


def instructions(form, root, parameters):
    slopes = gradient(form, root, [form.parameter(i).node() for i in range(len(parameters))])
    return lift(form, [root, *(node for _, node in slopes)])


# --- micrograd's demo -------------------------------------------------------------------------------------------------


def demo(model, X, y):
    """Its loss as its notebook writes it."""
    inputs = [list(map(Value, row)) for row in X]
    scores = list(map(model, inputs))
    hinges = [(1 + -yi * s).relu() for yi, s in zip(y, scores, strict=True)]
    data_loss = sum(hinges) * (1.0 / len(hinges))
    reg_loss = 1e-4 * sum(p * p for p in model.parameters())
    assert [(yi > 0) == (s.data > 0) for yi, s in zip(y, scores, strict=True)]  # the accuracy
    return data_loss + reg_loss


def moons(n):
    rng = np.random.default_rng(0)
    return rng.normal(size=(n, 2)), rng.choice([-1, 1], size=n)


def test_micrograds_demo_becomes_the_program_of_the_declared_batch():
    model = nn.MLP(2, [16, 16, 1], seed=1)
    parameters = model.parameters()
    batch = batch_of(demo(model, *moons(100)), parameters)
    assert np.shape(batch.inputs) == (3, 100)
    assert batch.output[0] == 1.0

    x, t = [Value(0.5), Value(-0.25)], Value(1.0)
    example, regulariser = (1 + -t * model(x)).relu(), 1e-4 * sum(p * p for p in parameters)
    declared, (one, rest) = from_record(
        [example, regulariser], {p: i for i, p in enumerate(parameters)}, {v: j for j, v in enumerate([*x, t])}
    )
    c, node = one.reference()
    _, root = declared.contract([(c, node, declared.share().node()), *rest.terms], mapped=False)
    expected = instructions(declared, root, parameters)
    found = instructions(batch.form, batch.output[1], parameters)
    assert len(found) == len(expected) < 30
    assert sorted([len(i.nodes) for i in found]) == sorted([len(i.nodes) for i in expected])
    assert (
        sorted(map(len, (batch.form.live([batch.output[1]]), declared.live([root]))))
        == [len(declared.live([root]))] * 2
    )


def lines_run(function, *arguments):
    """What a function gives, and how many lines of Python it ran: a measure of work that no load can change."""
    count = 0

    def look(_frame, event, _argument):
        nonlocal count
        count += event == "line"
        return look

    before = sys.gettrace()
    sys.settrace(look)
    try:
        found = function(*arguments)
    finally:
        sys.settrace(before)
    return found, count


def test_more_examples_take_time_in_proportion():
    work = []
    for n in (20, 200):
        model = nn.MLP(2, [8, 8, 1], seed=1)
        form, y, data = traced(demo(model, *moons(n)), model.parameters())
        batch, lines = lines_run(find_batch, form, y, data)
        work.append(lines)
        assert np.shape(batch.inputs) == (3, n)
        assert len(batch.form) < 900
    assert work[1] < 12.0 * work[0]


def test_the_measure_of_work_tells_the_square_from_the_proportion():
    def proportional(n):
        return sum(1 for _ in range(n))

    def squared(n):
        return sum(1 for _ in range(n) for _ in range(n))

    for function, at_least, below in ((proportional, 5.0, 12.0), (squared, 50.0, math.inf)):
        (few, small), (many, large) = (lines_run(function, n) for n in (20, 200))
        assert few < many
        assert at_least < large / small < below


def test_the_found_program_is_printed_as_stable_text():
    w, b = Value(0.5), Value(0.25)
    loss = sum((w * Value(x) + b - t) ** 2 for x, t in [(1.0, 3.0), (2.0, 4.0)]) / 2 + 0.1 * w**2
    batch = batch_of(loss, [w, b])
    assert str(batch.form).splitlines()[: batch.output[1]] == [
        "%1 = p0",
        "%2 = x0 for each example",
        "%3 = p1",
        "%4 = x1 for each example",
        "%5 = %2*%1 + %3 + -1*%4 for each example",
        "%6 = %5*%5 for each example",
        "%7 = share for each example",
        "%8 = sum of %7*%6",
        "%9 = %1*%1",
        "%10 = sum of %7*%6 + 0.1*%9",
    ]
    assert batch.output == (1.0, 10)


# --- what is found ----------------------------------------------------------------------------------------------------

POINTS = [(0.3, -0.7, 0.2), (0.9, 0.1, -0.4), (-0.5, 0.8, 0.6), (0.3, -0.7, 0.2), (-0.25, 0.75, 1.0)]


def errors(w, points=POINTS):
    return [tanh(w[0] * x + w[1] * z + w[2]) - t for x, z, t in points]


def mean(xs):
    return sum(xs) / len(xs)


def standardised(w):
    """Each example meets the mean and the variance of all: sums over the examples below others."""
    hidden = [tanh(w[0] * x + w[1] * z) for x, z, _ in POINTS]
    centre = mean(hidden)
    variance = mean([(h - centre) ** 2 for h in hidden])
    return mean(
        [((h - centre) / sqrt(variance + 1e-5) * w[2] - t) ** 2 for h, (_, _, t) in zip(hidden, POINTS, strict=True)]
    )


def used_in_another_order(w):
    """The last example is met by way of the mean of all, with another part of it first than in the others."""
    xs = [[Value(v) for v in row] for row in POINTS]
    gs = [exp(w[0] * x) for x, _, _ in xs]
    centre = mean(gs)
    return total([(g - centre) * tanh(w[1] * z) * t for g, (_, z, t) in zip(gs, xs, strict=True)])


def statements_in_another_order(w):
    """Two like statements, of which one meets a number that is used again: every other example has them the other way."""

    def example(n, a, b, c):
        left, right, above, below = map(Value, (a, b, c, 0.5))
        first, second = ((left, above), (right, below))[:: 1 - n % 2 * 2]
        return exp(w[0] * (first[0] + first[1])) * exp(w[0] * (second[0] + second[1])) + tanh(w[1] * left)

    return total([example(n, *row) for n, row in enumerate(POINTS)])


def with_common_data(w):
    temperature, half = Value(2.0), Value(0.5)
    return mean([e * e / temperature + exp(half * temperature) * w[0] for e in errors(w)])


def softmax_of_targets(w):
    """Classes as one-hot rows of Values."""
    rows = [[Value(float(k == n % 3)) for k in range(3)] for n in range(5)]
    return total(
        [
            losses.cross_entropy([w[k] * x + z for k in range(3)], row)
            for row, (x, z, _) in zip(rows, POINTS, strict=True)
        ]
    )


FOUND = {
    "mean squared error": lambda w: mean([e * e for e in errors(w)]),
    "a sum": lambda w: total([e**2 for e in errors(w)]),
    "a sum times 1/N, and a penalty": lambda w: (
        sum(e * e for e in errors(w)) * (1.0 / 5) + 0.01 * sum(p * p for p in w)
    ),
    "the losses module": lambda w: total([losses.huber(e, 0.0) for e in errors(w)]) / 5 + losses.l2(w, 0.1),
    "a function above the sum": lambda w: sqrt(mean([e * e for e in errors(w)]) + 0.1) * 3.0,
    "a parameter times 0": lambda w: mean([e * e for e in errors(w)]) + 0.0 * w[0],
    "squares and sizes": lambda w: (lambda es: mean([e * e for e in es]) + mean([abs(e) for e in es]))(errors(w)),
    "a ratio of sums": lambda w: (lambda es: total([e * e for e in es]) / total([exp(e) for e in es]))(errors(w)),
    "a product of sums": lambda w: (lambda es: mean([e * e for e in es]) * mean([exp(e) for e in es]))(errors(w)),
    "sums in functions": lambda w: (lambda es: log(mean([exp(e) for e in es])) - 0.5 * mean(es))(errors(w)),
    "batch normalisation": standardised,
    "statements in another order": statements_in_another_order,
    "a sum times a parameter": lambda w: (total([e * e for e in errors(w)]) + w[1] * w[1]) * w[0],
    "a product of two sums": lambda w: (lambda es: (total(es) + w[1]) * (total([exp(e) for e in es]) + w[2]))(
        errors(w)
    ),
    "another order": used_in_another_order,
    "data common to all": with_common_data,
    "one-hot classes": softmax_of_targets,
    "weights that are data": lambda w: total(
        [k * e * e for k, e in zip((1.0, 0.5, 2.0, 1.0, 3.0), errors(w), strict=True)]
    ),
    "two inputs that play the same part": lambda w: total(
        [exp(w[0] * tanh(x) * tanh(z)) for x, z, _ in map(wrapped, POINTS)]
    ),
    "data without parameters": lambda w: total(
        [e * e + x.exp() for e, (x, _, _) in zip(errors(w), map(wrapped, POINTS), strict=True)]
    ),
    "a linear term": lambda w: total([e * e + w[1] * x - t for e, (x, _, t) in zip(errors(w), POINTS, strict=True)]),
    "penalties in each example": lambda w: mean([e * e + 0.01 * (w[0] * w[0] + w[1] ** 4) for e in errors(w)]),
    "several penalties": lambda w: mean([e * e for e in errors(w)]) + sum(0.1 * p * p for p in w) + 0.2 * abs(w[0]) * 3,
    "a penalty that is no power": lambda w: mean([e * exp(e) for e in errors(w)]) + sqrt(sum(p * p for p in w) + 1e-8),
    "a product in the sum": lambda w: total(
        [e * exp(w[0] * x) for e, (x, _, _) in zip(errors(w), POINTS, strict=True)]
    ),
    "two examples": lambda w: mean([e * e for e in errors(w, POINTS[:2])]),
    "a norm": lambda w: total([exp(-(x * x + z * z)) * w[0] * t for x, z, t in map(wrapped, POINTS)]),
    "a mean times each example": lambda w: (lambda es: mean([e * exp(w[0] * es[-1]) for e in es[:-1]]))(
        [*(es := errors(w)), mean(es)]
    ),
    "a mean times the sum": lambda w: (lambda es: total([e * es[-1] for e in es[:-1]]))([*(es := errors(w)), mean(es)]),
    "an example without data": lambda w: mean([e * e * w[0] + w[1] * w[2] for e in errors(w)]),
}


def wrapped(row):
    return [Value(v) for v in row]


@pytest.mark.parametrize("name", FOUND)
def test_found(name):
    w = [Value(0.3), Value(-0.2), Value(0.7)]
    batch = batch_of(FOUND[name](w), w)
    assert batch is not None
    assert {len(row) for row in batch.inputs} == {2 if name == "two examples" else 5}


@pytest.mark.parametrize(
    "loss", [losses.mse, losses.hinge, losses.huber, losses.tukey_biweight, losses.bce_with_logits]
)
def test_the_losses_of_networks_are_found_one_by_one_and_in_lists(loss):
    model = nn.MLP(2, [4, 1], activation="tanh", seed=0)
    X, y = moons(6)
    t = [Value(0.5 * (1 + yi)) if loss is losses.bce_with_logits else float(yi) for yi in y]
    scores = [model(wrapped(row)) for row in X]
    one_by_one = total([loss(s, ti) for s, ti in zip(scores, t, strict=True)]) / 6 + losses.l2(model, 0.01)
    assert np.shape(batch_of(one_by_one, model.parameters()).inputs) == (3, 6)
    if loss is not losses.bce_with_logits:
        assert np.shape(batch_of(loss(scores, t), model.parameters()).inputs) == (3, 6)


def test_sequences_are_examples_but_their_steps_are_not():
    model = nn.RNN(nn.RNNCell(1, 4, seed=0), nn.Layer(4, 1, seed=0), last=True)
    sequences = np.random.default_rng(0).normal(size=(5, 7, 1))
    loss = total([losses.mse(model([wrapped(x) for x in xs]), 0.5) for xs in sequences])
    assert np.shape(batch_of(loss, model.parameters()).inputs) == (7, 5)
    assert batch_of(losses.mse(model([wrapped(x) for x in sequences[0]]), 0.5), model.parameters()) is None


@pytest.mark.slow
def test_depth_is_no_limit():
    w = Value(0.5)

    def deep(x):
        for _ in range(5000):
            x = tanh(x + w)
        return x

    assert batch_of(deep(Value(0.25)) + deep(Value(0.5)), [w]) is not None


def test_numbers_equal_in_all_examples_are_constants_and_equal_columns_are_one():
    w = [Value(0.5)]
    xs = [1.0, 2.0, 3.0]
    batch = batch_of(mean([(1 - tanh(w[0] * x * 2) + Value(x) * 3) ** 2 for x in xs]), w)
    assert sorted(map(sorted, batch.inputs)) == [xs]
    zeros = batch_of(total([exp(w[0] * x) * (tanh(w[0]) + z) for x, z in zip(xs, (0.0, -0.0, 0.0), strict=True)]), w)
    assert len(zeros.inputs) == 2  # -0.0 is another number than 0.0


def test_examples_that_are_all_the_same_leave_no_input():
    w = [Value(0.5)]
    batch = batch_of(mean([exp(w[0] * Value(2.0)) for _ in range(3)]), w)
    assert batch.inputs == []
    assert not any(batch.form.mapped)


def test_a_step_of_training_keeps_the_program():
    model = nn.MLP(2, [3, 1], activation="tanh", seed=0)
    parameters = model.parameters()
    X, y = moons(7)
    batch = batch_of(demo(model, X, y), parameters)
    for p in parameters:
        p.data, p.grad = 0.5 * p.data + 0.1, 0.0
    after = demo(model, X, y)
    after.backward()
    found = value_and_gradient(batch.form, batch.output, [p.data for p in parameters], len(parameters), batch.inputs)
    assert found == pytest.approx([after.data, *(p.grad for p in parameters)], rel=1e-12, abs=1e-14)


# --- what is not ------------------------------------------------------------------------------------------------------


def neighbours(w):
    hs = [tanh(w[0] * x + w[1] * z) for x, z, _ in POINTS]
    return total([h * hs[i - 1] for i, h in enumerate(hs)])


def one_weighs_more(w):
    squares = [e * e for e in errors(w)]
    return total([2.0 * squares[0], *squares[1:]])


def one_weighs_more_by_itself(w):
    squares = [e * e for e in errors(w)]
    return total([squares[0], *squares])


def recurrent(w):
    h = Value(0.0)
    found = []
    for x, _, t in POINTS:
        h = tanh(w[0] * h + w[1] * x)
        found.append((h * w[2] - t) ** 2)
    return mean(found)


def two_loops(w):
    return mean([e * e for e in errors(w)]) + mean([abs(e) for e in errors(w)])


def some_share_a_leaf(w):
    x, other = Value(0.3), Value(0.4)
    return mean([exp(w[0] * v) * (w[1] - t) for v, t in ((x, 1.0), (x, 2.0), (other, 3.0))])


NOT_FOUND = {
    "neighbours in a ring": neighbours,
    "one example weighs more": one_weighs_more,
    "one example is there twice": one_weighs_more_by_itself,
    "one has another activation": lambda w: total([exp(e) if i == 2 else tanh(e) for i, e in enumerate(errors(w))]),
    "one has another input weight": lambda w: total([exp(w[i == 2] * x) for i, (x, _, _) in enumerate(POINTS)]),
    "one has a power more": lambda w: total([exp(w[0] * x) ** (3 + (i == 2)) for i, (x, _, _) in enumerate(POINTS)]),
    "data sets of different size": lambda w: (
        mean([e * e for e in errors(w)]) + mean([abs(e) for e in errors(w, POINTS[:3])])
    ),
    "data that is wrapped again for a second loop": two_loops,
    "steps in time": recurrent,
    "one example": lambda w: mean([e * e for e in errors(w, POINTS[:1])]),
    "no data": lambda w: w[0] * w[1] + exp(w[2]),
    "nothing to train": lambda w: total([exp(Value(x)) for x, _, _ in POINTS]),
    "some examples share a leaf": some_share_a_leaf,
    "the greatest loss": lambda w: maximum(*errors(w, POINTS[:2])),
    "logsumexp over examples": lambda w: functions.logsumexp([e * e for e in errors(w)]),
    "a product over examples": lambda w: math.prod(errors(w)),
}


@pytest.mark.parametrize("name", NOT_FOUND)
def test_not_found(name):
    w = [Value(0.3), Value(-0.2), Value(0.7)]
    assert batch_of(NOT_FOUND[name](w), w) is None


PRISM = [(0, 1), (1, 2), (2, 0), (3, 4), (4, 5), (5, 3), (0, 3), (1, 4), (2, 5)]
BIPARTITE = [(i, j) for i in range(3) for j in range(3, 6)]


def on_graphs(w, graphs):
    """A term for each edge, on leaves that are the corners: what colours cannot tell apart, though it differs."""
    found = []
    for edges in graphs:
        xs = [Value(0.1 * i + 0.05 * len(found)) for i in range(6)]
        found += [exp(w[0] * xs[i] * xs[j]) for i, j in edges]
    return total(found)


def test_graphs_of_one_colouring_are_not_taken_for_each_other():
    w = [Value(0.3)]
    assert batch_of(on_graphs(w, [PRISM, BIPARTITE]), w) is None
    assert batch_of(on_graphs(w, [PRISM, PRISM, PRISM]), w) is not None


def test_products_of_two_examples_are_refused_however_the_examples_were_divided():
    form = Form()
    w = form.parameter(0)
    hs = [(w * form.parameter(1 + n)).tanh() for n in range(3)]
    ring = sum([hs[n] * hs[n - 1] for n in range(3)], form.constant(0.0)).node()
    divided = [[form.parameter(1 + n).node(), (w * form.parameter(1 + n)).node(), h.node()] for n, h in enumerate(hs)]
    varying = [node for example in divided for node in example]
    assert batch_module._copies(form, varying, divided)
    assert not batch_module._copies(form, [*varying, ring], divided)
    mixed = (hs[0] * hs[1] * w).node()
    assert not batch_module._copies(form, [*varying, mixed], [[*divided[0], mixed], divided[1]])


def test_random_graphs_are_folded_right_or_not_at_all():
    found = 0
    draw = random.Random(0)
    for _ in range(300):
        w = [Value(0.3), Value(-0.4)]
        corners = [Value(draw.uniform(-1.0, 1.0)) for _ in range(draw.randint(2, 8))]
        hidden = [tanh(w[0] * x) for x in corners]
        edges = [(draw.choice(hidden), draw.choice(hidden)) for _ in range(draw.randint(1, 8))]
        found += (
            batch_of(total([u * v if draw.random() < 0.8 else exp(u * w[1] * v) for u, v in edges]) * 0.1, w)
            is not None
        )
    assert found > 5


@pytest.mark.slow
def test_random_programs_are_folded_right_or_not_at_all():
    outcomes = []

    @SAME_EVERY_TIME
    @given(programs(25), st.integers(1, 4), st.integers(2, 4), st.randoms(use_true_random=False))
    def agrees(drawn, n_data, n_examples, draw):
        program, at, _ = drawn
        parameters = [Value(0.4), *map(Value, at[n_data:])]

        def example():
            data = [Value(draw.uniform(-1.0, 1.0)) for _ in at[:n_data]]
            y = program.run([*data, *parameters[1:]], rows.apply)
            return tanh(y * parameters[0]) + (y - data[0]) ** 2

        loss = sum(example() for _ in range(n_examples)) / n_examples + 0.1 * sum(p * p for p in parameters)
        outcomes.append(batch_of(loss, parameters) is not None)

    agrees()
    assert sum(outcomes) > 0.8 * len(outcomes)


def test_wrong_colours_never_make_a_wrong_batch(monkeypatch):
    """The examples are compared, whatever they were guessed from."""
    true_colours, draw = batch_module._colours, random.Random(0)

    def wrong_colours(form, varying):
        colours = true_colours(form, varying)
        for node in draw.choices([*varying], k=draw.randint(0, 3)) if varying else []:
            colours[node] = draw.choice([*colours.values(), -1 - node])
        return colours

    monkeypatch.setattr(batch_module, "_colours", wrong_colours)
    monkeypatch.setattr(batch_module, "_rest_is_small", lambda *_: True)
    found = 0
    for name in [*FOUND, *NOT_FOUND] * 10:
        w = [Value(0.3), Value(-0.2), Value(0.7)]
        loss = (FOUND.get(name) or NOT_FOUND[name])(w)
        found += batch_of(loss, w) is not None
    assert 50 < found < 10 * len(FOUND)


def test_a_sum_does_not_copy_its_terms_for_each_one_that_is_added(monkeypatch):
    lists, make = {}, Expression.__init__

    def noted(self, *given):
        make(self, *given)
        lists[id(self.terms)] = self.terms

    monkeypatch.setattr(Expression, "__init__", noted)
    w, n = Value(0.5), 2_000
    loss = 0.0
    for k in range(n):
        loss = loss + (w * float(k)).tanh() - w
    form, (y,) = from_record([loss], {w: 0}, {})
    assert sum(len(terms) for terms in lists.values()) < 20 * n
    assert len(form.arguments[y.node()]) == 2 * n


@pytest.mark.parametrize("shared", ["as an output", "twice", "by a map"])
def test_a_sum_that_is_asked_for_again_keeps_its_own_terms(shared):
    a, b, c = Value(2.0), Value(3.0), Value(5.0)
    s = a + b
    longer = s + c
    results = {"as an output": [longer, s], "twice": [longer * 2.0 + s], "by a map": [longer, s.tanh()]}[shared]
    form, found = from_record(results, {a: 0, b: 1, c: 2}, {})
    numbers = evaluate(form, [x.reference() for x in found], [2.0, 3.0, 5.0], ())
    assert [float(x) for x in numbers] == pytest.approx({
        "as an output": [10.0, 5.0], "twice": [25.0], "by a map": [10.0, math.tanh(5.0)]
    }[shared], rel=1e-15)  # fmt: skip


def test_a_sum_may_start_with_zero_and_be_written_in_one_line():
    def loss(w):
        total = 0.0
        for x, _, t in POINTS:
            z = w[0] * x + w[1]
            total = total + functions.softplus(z) - t * z
        return total / len(POINTS)

    w = [Value(0.3), Value(-0.2)]
    assert batch_of(loss(w), w) is not None


def test_data_leaves_are_all_leaves_but_the_parameters():
    w, x = Value(2.0), Value(3.0)
    loss = 1 + (w * x - 4.0) ** 2 / x
    assert sorted(leaf.data for leaf in data_leaves(topological_order([loss]), [w])) == [1.0, 3.0, 4.0]
    assert data_leaves([], [w]) == []
    form, y, data = traced(loss, [w])
    assert find_batch(form, y, data) is None
    assert find_batch(form, ONE, data) is None
