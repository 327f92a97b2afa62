"""Networks against arithmetic done by hand and NumPy's matrix products; PyTorch judges in tests/peers."""

import copy
import json
import math
import pickle
import random
from dataclasses import dataclass, field

import numpy as np
import pytest

from tinygrad_vi import (
    Compiled,
    DomainError,
    ShapeError,
    Value,
    compile,
    dot,
    fit,
    grad,
    gradcheck,
    hessian,
    losses,
    nn,
    no_grad,
    optim,
    tanh,
    total,
)
from tinygrad_vi.graph import NOT_COMPUTED, topological_order
from tinygrad_vi.nn.module import numbers_in


def values(xs):
    return [Value(x) for x in xs]


def numbers(module):
    return [p.data for p in module.parameters()]


# --- modules ----------------------------------------------------------------------------------------------------------


def test_parameters_come_neuron_by_neuron_weights_then_bias():
    names = [name for name, _ in nn.MLP(2, [2, 1], seed=0).named_parameters()]
    assert names == [
        *("layers.0.neurons.0.w.0", "layers.0.neurons.0.w.1", "layers.0.neurons.0.b"),
        *("layers.0.neurons.1.w.0", "layers.0.neurons.1.w.1", "layers.0.neurons.1.b"),
        *("layers.1.neurons.0.w.0", "layers.1.neurons.0.w.1", "layers.1.neurons.0.b"),
    ]


def test_labels_are_the_entries_of_matrices():
    labels = [p.label for p in nn.MLP(2, [2, 1], seed=0).parameters()]
    assert labels == ["W1[0,0]", "W1[0,1]", "b1[0]", "W1[1,0]", "W1[1,1]", "b1[1]", "W2[0,0]", "W2[0,1]", "b2[0]"]


class Shared(nn.Module):
    """Everything that a user may hang on a module."""

    def __init__(self):
        self.tied = Value(2.0)
        self.again = self.tied
        self.table = {"a": [Value(1.0), Value(3.0)], "deep": ({"b": Value(5.0)},)}
        self.inner = nn.Neuron(1, "identity", seed=0)
        self.inner_again = self.inner
        self.myself = self
        self.a_result = self.tied * 3.0
        self._hidden = Value(7.0)
        self.name = "no number"

    def forward(self, x):
        return self.inner(x) + self.tied


def test_parameters_are_leaves_found_once_and_not_behind_an_underscore():
    module = Shared()
    assert [name for name, _ in module.named_parameters()] == [
        "tied",
        "table.a.0",
        "table.a.1",
        "table.deep.0.b",
        "inner.w.0",
        "inner.b",
    ]
    assert len(module.parameters()) == 6
    assert module.modules() == [module, module.inner]


def test_zero_grad_train_and_eval_reach_every_part():
    model = nn.MLP(2, [3, 1], dropout=0.5, seed=0)
    model(values([1.0, 2.0])).backward()
    model.zero_grad()
    assert {p.grad for p in model.parameters()} == {0.0}
    assert model.eval() is model
    assert not any(module.training for module in model.modules())
    assert all(module.training for module in model.train().modules())


def test_a_model_records_whatever_it_is_called_with():
    model = nn.MLP(3, [4, 2], activation="tanh", seed=1)
    x = [0.3, -1.0, 2.0]
    expected = [v.data for v in model(values(x))]
    for given in (x, tuple(x), np.array(x), [np.float64(v) for v in x], np.array(values(x)), [0.3, Value(-1.0), 2]):
        outputs = model(given)
        assert [v.data for v in outputs] == expected
        model.zero_grad()
        outputs[1].backward()
        assert model.layers[1].neurons[1].b.grad == 1.0
    with no_grad():
        assert [(v.parents, v.data) for v in model(x)] == [((), number) for number in expected]
    assert model(x)[0].parents


def test_the_best_known_program_runs_as_it_is_typed():
    random.seed(1337)
    n = nn.MLP(3, [4, 4, 1], activation="tanh", output_activation="tanh")
    xs, ys = [[2.0, 3.0, -1.0], [3.0, -1.0, 0.5], [0.5, 1.0, 1.0], [1.0, 1.0, -1.0]], [1.0, -1.0, -1.0, 1.0]
    for _ in range(60):
        pred = [n(x) for x in xs]
        loss = sum((p - t) ** 2 for p, t in zip(pred, ys, strict=True))
        for p in n.parameters():
            p.grad = 0.0
        loss.backward()
        for p in n.parameters():
            p.data += -0.1 * p.grad
    assert loss.data < 0.1
    assert [p > 0 for p in n.predict(xs)] == [t > 0 for t in ys]


# --- predict ----------------------------------------------------------------------------------------------------------


def test_predict_gives_numbers_for_lists_and_arrays_for_arrays():
    one, two = nn.MLP(3, [4, 1], activation="tanh", seed=1), nn.MLP(3, [4, 2], activation="tanh", seed=1)
    X = [[0.3, -1.0, 2.0], [1.0, 0.5, -0.25]]
    for model, shape in ((one, ()), (two, (2,))):
        expected = [np.vectorize(lambda v: v.data, otypes=[float])(model(x)).tolist() for x in X]
        assert model.predict(X) == model.predict(tuple(map(tuple, X))) == expected
        assert model.predict(iter(X)) == model.predict(map(np.array, X)) == expected
        found = model.predict(np.array(X))
        assert (found.shape, found.dtype, found.tolist()) == ((2, *shape), float, expected)
        assert model.predict(X[0]) == model.predict(X[:1])[0] == expected[0]
        assert np.shape(model.predict(np.array(X[0]))) == shape
    assert isinstance(one.predict(X[0]), float)
    assert [type(v) for v in two.predict(X[0])] == [float, float]
    assert one.layers[0].neurons[0].predict(X) == [one.layers[0].neurons[0](x).data for x in X]


def test_predict_of_a_model_with_one_input_takes_a_flat_list_for_a_batch():
    model = nn.MLP.from_weights([[[2.0]]], [[1.0]])
    assert model.predict(3.0) == 7.0
    assert model.predict([3.0]) == [7.0]
    assert model.predict([3, 4.0]) == model.predict([[3], [4.0]]) == [7.0, 9.0]
    assert model.predict(np.array([3.0, 4.0])).tolist() == [7.0, 9.0]
    assert model.predict(np.float64(3.0)) == model.predict(np.array(3.0)) == 7.0


def test_predict_of_modules_of_the_users_own():
    class Line(nn.Module):
        def __init__(self):
            self.slope = Value(2.0)

        def forward(self, x):
            return {"y": self.slope * x, "pair": (x.exp(), 1.0)}

    assert Line().predict([0.0, 1.0])[1] == {"y": 2.0, "pair": (math.e, 1.0)}
    h, c = nn.LSTMCell(2, 3, seed=0).predict([1.0, 0.0])
    assert [len(h), len(c), type(h[0])] == [3, 3, float]
    rnn = nn.RNN(nn.GRUCell(1, 2, seed=0), nn.Layer(2, 1, "identity", seed=1), last=True)
    assert rnn.predict([[0.1, 0.2], [0.3]]) == [rnn([0.1, 0.2]).data, rnn([0.3]).data]


class Net(nn.Module):
    """A model of a user's, with an exponential, a look-up and dropout."""

    def __init__(self):
        self.net = nn.MLP(2, [6, 2], activation="tanh", dropout=0.5, seed=0)

    def forward(self, x):
        u, v = self.net(x)
        return [u.exp(), u * v, v + x[0]]


def test_many_examples_are_compiled_and_agree_with_one_by_one(monkeypatch):
    compiled = []
    own = Compiled.each
    monkeypatch.setattr(Compiled, "each", lambda step, *data: compiled.append(1) or own(step, *data))
    rng = random.Random(0)
    X = [[rng.uniform(-2, 2), rng.uniform(-2, 2)] for _ in range(150)]
    model = Net()
    one_by_one = [model.predict([x])[0] for x in X]
    assert not compiled
    assert np.array(model.predict(X)) == pytest.approx(np.array(one_by_one), rel=1e-14, abs=1e-15)
    assert model.predict(np.array(X)) == pytest.approx(np.array(one_by_one), rel=1e-14, abs=1e-15)
    assert compiled == [1, 1]
    lstm = nn.RNN(nn.LSTMCell(1, 2, seed=0))
    found = lstm.cell.predict([[x[0]] for x in X])
    assert len(compiled) == 3
    assert [type(state) for state in found] == [tuple] * 150
    assert found[7][1] == pytest.approx(lstm.cell.predict([[X[7][0]]])[0][1], rel=1e-14)


def test_predict_follows_a_model_that_does_not_compile_or_keeps_a_state():
    class Kept(nn.Module):
        def __init__(self):
            self.w, self._h = Value(0.5), 0.0

        def forward(self, x):
            self._h = self.w * self._h + x
            return self._h

    class Branch(nn.Module):
        def __init__(self):
            self.w = Value(2.0)

        def forward(self, x):
            return self.w * x if x.data > 0.5 else -x

    X = [0.01 * k for k in range(150)]
    h, expected = 0.0, []
    for x in X:
        h = 0.5 * h + x
        expected.append(h)
    assert Kept().predict(X) == expected
    assert Branch().predict(X) == [2.0 * x if x > 0.5 else -x for x in X]


def test_predict_says_what_is_wrong():
    model = nn.MLP(3, [2, 1], seed=0)
    for given, error, text in [
        ([1.0, 2.0], ShapeError, "MLP expects 3 inputs, got 2"),
        ([[1.0, 2.0]], ShapeError, "MLP expects 3 inputs, got 2"),
        (np.zeros((4, 2)), ShapeError, "MLP expects 3 inputs, got 2"),
        (1.0, ShapeError, "MLP expects 3 inputs, got 1 number"),
        ([], ShapeError, "there are no examples"),
        ([[1.0, math.nan, 2.0]], ValueError, r"X\[0\]\[1\] is nan"),
        ([["a", 1.0, 2.0]], TypeError, r"X\[0\]\[0\] is text"),
        ([Value(1.0, "x"), 2.0, 3.0], TypeError, r"predict takes numbers, got Value\(data=1.0.*model\(x\), or give"),
        (np.array([[Value(1.0), 2.0, 3.0]]), TypeError, "predict takes numbers, got Value"),
    ]:
        with pytest.raises(error, match=text):
            model.predict(given)
    with pytest.raises(ShapeError, match=r"MLP expects 2 inputs, got 1 number: .*is written \[x\]$"):
        Net().predict([1.0, 2.0])
    with pytest.raises(ShapeError, match=r"have different lengths, so no array holds them: give lists, X.tolist\(\)"):
        type("Ragged", (nn.Module,), {"forward": lambda self, x: [1.0] * int(x.data)})().predict(np.array([1.0, 2.0]))


def test_predict_records_nothing_and_leaves_no_trace():
    model = nn.MLP(2, [3, 1], dropout=0.5, seed=0)
    before = dict(vars(model))
    X = [[0.1, 0.2], [0.3, 0.4]] * 60
    assert len(set(model.predict(X))) == 2
    assert vars(model) == before
    assert model.training
    assert all(p.grad == 0.0 and p.grad is NOT_COMPUTED for p in model.parameters())


# --- dataclasses ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"frozen": True}, {"slots": True}, {"eq": False}, {"kw_only": True}])
def test_a_dataclass_may_be_a_module(options, tmp_path):
    @dataclass(**options)
    class Line(nn.Module):
        slope: Value = field(default_factory=lambda: Value(2.0, "slope"))
        rest: list = field(default_factory=lambda: [Value(1.0, "offset"), nn.Layer(1, 1, "identity", seed=0)])

        def forward(self, x):
            return self.slope * x + self.rest[0] + self.rest[1](x)

    @dataclass(**options)
    class Two(nn.Module):
        first: Line
        second: Line

    line = Line()
    assert [name for name, _ in line.named_parameters()][:2] == ["slope", "rest.0"]
    assert [p.label for p in line.parameters()] == ["slope", "offset", "W[0,0]", "b[0]"]
    line(3.0).backward()
    assert line.slope.grad == 3.0
    two = Two(first=line, second=Line())
    assert len(two.parameters()) == 8
    assert [type(m).__name__ for m in two.modules()] == ["Two", *["Line", "Layer", "Neuron"] * 2]
    assert not any(module.training for module in two.eval().modules())
    two.save(tmp_path / "two.json")
    line.slope.data = 5.0
    assert Two(first=Line(), second=Line()).load(tmp_path / "two.json").first.slope.data == 2.0
    X = [0.1 * k for k in range(12)]
    fit(lambda x, t: losses.mse(line(x), t), X, [3 * x for x in X], params=line, epochs=3, progress=False)
    step = compile(lambda x: line(x), line.parameters(), backend="numpy")
    assert step.each(step.theta, X) == pytest.approx(line.predict(X), rel=1e-14)


def test_a_module_called_with_constants_inside_another_records():
    class Embedding(nn.Module):
        def __init__(self):
            self.place = nn.Layer(2, 2, "identity", seed=0)
            self.read = nn.Neuron(2, "identity", seed=1)

        def forward(self, x):
            return self.read([u + v for u, v in zip(x, self.place([1.0, 0.0]), strict=True)])

    model = Embedding()
    model(values([0.5, 0.5])).backward()
    assert [n.w[0].grad for n in model.place.neurons] == [w.data for w in model.read.w]


def test_a_module_without_forward_says_so():
    with pytest.raises(NotImplementedError, match=r"Module has no forward\(\): write what it computes there"):
        nn.Module()(1.0)


def test_the_repr_shows_structure_and_number_of_parameters():
    assert repr(nn.MLP(64, [32, 10], "tanh", output_activation="softmax", dropout=0.2, seed=0)).splitlines() == [
        "MLP: 2,410 parameters",
        "  layers.0: Layer(64 -> 32, tanh): 2,080 parameters",
        "  layers.1: Layer(32 -> 10, softmax): 330 parameters",
        "  dropout: Dropout(0.2): 0 parameters",
    ]
    assert repr(nn.Neuron(1, tanh, seed=0)) == "Neuron(1 input, tanh): 2 parameters"
    assert repr(nn.RNN(nn.GRUCell(2, 3, seed=0), nn.Layer(3, 1, seed=0), last=True)).splitlines() == [
        "RNN(last): 61 parameters",
        "  cell: GRUCell(2 -> 3): 57 parameters",
        "  output: Layer(3 -> 1, relu): 4 parameters",
    ]


def test_copies_and_pickles_are_models_of_their_own():
    model = nn.MLP(2, [3, 1], activation=["silu"], dropout=0.1, seed=0).eval()
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert twin.predict([1.0, 2.0]) == model.predict([1.0, 2.0])
        twin.parameters()[0].data = 9.0
        assert model.parameters()[0].data != 9.0


# --- neurons, layers, networks ----------------------------------------------------------------------------------------


def test_micrograds_numbers_after_random_seed():
    random.seed(1337)
    model = nn.MLP(2, [16, 16, 1])
    random.seed(1337)
    expected = []
    for n_inputs, n_outputs in [(2, 16), (16, 16), (16, 1)]:
        for _ in range(n_outputs):
            expected += [*(random.uniform(-1, 1) for _ in range(n_inputs)), 0]
    assert numbers(model) == expected


def test_a_seed_is_reproducible_and_leaves_the_module_random_alone():
    random.seed(5)
    a = nn.MLP(3, [4, 1], seed=7)
    assert numbers(a) == numbers(nn.MLP(3, [4, 1], seed=7)) == numbers(nn.MLP(3, [4, 1], seed=random.Random(7)))
    assert numbers(a) != numbers(nn.MLP(3, [4, 1], seed=8))
    first = random.random()
    random.seed(5)
    assert first == random.random()


@pytest.mark.parametrize(
    ("init", "deviation"), [("uniform", 3**-0.5), ("xavier", (2 / 90) ** 0.5), ("he", (2 / 50) ** 0.5)]
)
def test_initial_weights_have_the_size_their_source_asks_for(init, deviation):
    weights = [w.data for n in nn.Layer(50, 40, init=init, seed=0).neurons for w in n.w]
    assert np.std(weights) == pytest.approx(deviation, rel=0.05)
    assert abs(np.mean(weights)) < deviation / 10
    assert {n.b.data for n in nn.Layer(5, 4, init=init, seed=0).neurons} == {0.0}


def test_an_initialisation_of_ones_own():
    assert [w.data for w in nn.Neuron(3, init=lambda rng, fan_in, fan_out: fan_in / 10).w] == [0.3] * 3


W1, B1 = [[1.0, -2.0], [0.5, 3.0], [-1.0, 0.25]], [0.1, -0.2, 0.3]
W2, B2 = [[2.0, -1.0, 0.5]], [0.7]


def by_numpy(x, activate):
    return (np.array(W2) @ activate(np.array(W1) @ x + B1) + B2)[0]


@pytest.mark.parametrize(
    ("name", "judge"), [("tanh", np.tanh), ("relu", lambda z: np.maximum(z, 0)), ("identity", lambda z: z)]
)
@pytest.mark.parametrize("expand", [False, True])
def test_given_weights_compute_matrix_products(name, judge, expand):
    model = nn.MLP.from_weights([W1, W2], [B1, B2], activation=name, expand=expand)
    for x in ([0.3, -0.7], [2.0, 1.0]):
        assert model.predict(x) == pytest.approx(by_numpy(x, judge), rel=1e-14)
        assert model(values(x)).data == pytest.approx(by_numpy(x, judge), rel=1e-14)


def test_expand_builds_the_same_sum_from_little_nodes():
    weights = {"W": [[0.5, -1.5, 2.0]], "b": [0.25], "activation": "tanh"}
    whole, little = nn.Layer.from_weights(**weights), nn.Layer.from_weights(**weights, expand=True)
    y, z = whole(values([1.0, 2.0, 3.0])), little(values([1.0, 2.0, 3.0]))
    y.backward()
    z.backward()
    assert [p.grad for p in whole.parameters()] == pytest.approx([p.grad for p in little.parameters()], rel=1e-15)
    names = [[node.op.name for node in topological_order([output])] for output in (y, z)]
    assert names[0] == ["dot", "tanh"]
    assert sorted(names[1]) == ["add"] * 3 + ["mul"] * 3 + ["tanh"]


def test_activations_by_name_callable_and_layer():
    x = values([0.4, -0.3])
    for given in ("tanh", tanh, lambda v: v.tanh()):
        model = nn.MLP(2, [2, 1], activation=given, output_activation=given, seed=3)
        assert model(x).op.name == "tanh"
    assert nn.MLP(2, [2, 1], activation=["tanh", "relu"], seed=3)(x).op.name == "relu"
    assert nn.MLP(2, [2, 1], activation=["tanh"], output_activation="sigmoid", seed=3)(x).op.name == "sigmoid"
    assert sum(nn.MLP(2, [3, 3], output_activation="softmax", seed=3).predict([0.4, -0.3])) == pytest.approx(
        1.0, rel=1e-15
    )
    assert nn.MLP(2, [1], seed=3)(x).op.name == "dot"


def test_skip_feeds_the_inputs_to_the_output_too():
    model = nn.MLP.from_weights([W1, [[2.0, -1.0, 0.5, 10.0, 100.0]]], [B1, B2], activation="tanh", skip=True)
    x = [0.3, -0.7]
    assert model.predict(x) == pytest.approx(by_numpy(x, np.tanh) + 10 * 0.3 - 100 * 0.7, rel=1e-14)
    assert len(nn.MLP(2, [4, 1], skip=True).parameters()) == 17 + 2
    assert [p.label for p in model.layers[1].parameters()][-3:] == ["W2[0,3]", "W2[0,4]", "b2[0]"]


def test_masks_leave_weights_out():
    model = nn.MLP(3, [2, 1], masks=[[[1, 0, 1], [0, 1, 0]], None], seed=0)
    assert [p.label for p in model.layers[0].parameters()] == ["W1[0,0]", "W1[0,2]", "b1[0]", "W1[1,1]", "b1[1]"]
    assert repr(model.layers[0]) == "Layer(3 -> 2, 3 not connected, relu): 5 parameters"
    sparse = nn.Layer.from_weights([[1.0, None, 2.0], [None, None, None]], [0.5, 0.25])
    assert sparse.predict([3.0, 100.0, 4.0]) == [11.5, 0.25]
    assert nn.Layer(2, 1, "identity", mask=np.array([[0, 1]]), seed=0).neurons[0].connected == [1]


def test_given_values_are_shared():
    w = Value(2.0, "w")
    layer = nn.Layer.from_weights([[w, 1.0], [w, 3.0]])
    total(layer(values([5.0, 1.0]))).backward()
    assert w.grad == 10.0
    assert len(layer.parameters()) == 3
    assert w.label == "w"


def test_without_bias():
    assert len(nn.MLP(2, [3, 1], bias=False).parameters()) == 9
    assert nn.MLP.from_weights([[[2.0]]]).predict(3.0) == 6.0


def test_layer_outputs_are_lists():
    model = nn.MLP.from_weights([[[1.0], [2.0]], [[1.0, 1.0]]], activation="identity")
    assert [[v.data for v in row] for row in model.layer_outputs(values([3.0]))] == [[3.0], [3.0, 6.0], [9.0]]


def test_a_hidden_layer_of_one_unit_works():
    assert nn.MLP.from_weights([[[2.0]], [[3.0]]], activation="relu")([1.0]).data == 6.0


def test_dropout_drops_in_training_only_and_keeps_the_mean():
    random.seed(0)
    drop = nn.Dropout(0.25)
    outputs = [drop([1.0])[0] for _ in range(4000)]
    assert set(outputs) == {0.0, 1.0 / 0.75}
    assert np.mean(outputs) == pytest.approx(1.0, abs=0.03)
    assert drop.eval()([1.0, 2.0]) == [1.0, 2.0]
    model = nn.MLP(2, [8, 1], activation="tanh", dropout=0.5, seed=0)
    assert len({model([1.0, 1.0]).data for _ in range(10)}) > 1
    assert len({model.predict([1.0, 1.0]) for _ in range(10)}) == 1
    model.eval()
    assert len({model([1.0, 1.0]).data for _ in range(10)}) == 1
    assert nn.Dropout(0.0)([3.0]) == [3.0]


# --- recurrent --------------------------------------------------------------------------------------------------------


def test_a_linear_cell_sums_up():
    cell = nn.RNNCell.from_weights([[1.0, 2.0]], [[0.5]], [0.25], activation="identity")
    assert cell.predict([1.0, 1.0]) == [3.25]
    assert [h.data for h in cell([1.0, 1.0], [4.0])] == [5.25]


@pytest.mark.parametrize("kind", [nn.RNNCell, nn.GRUCell, nn.LSTMCell])
def test_cells_unroll_over_sequences_of_any_length(kind):
    model = nn.RNN(kind(2, 3, seed=0), nn.Layer(3, 1, "identity", seed=1))
    for length in (1, 2, 7):
        sequence = [[0.1 * k, -0.2] for k in range(length)]
        outputs = model([values(step) for step in sequence])
        assert (
            [y.data for y in outputs] == model.predict([sequence])[0] == model.predict(np.array([sequence]))[0].tolist()
        )
        total(outputs).backward()
        assert all(p.grad != 0.0 for p in model.output.parameters())
    assert nn.RNN(model.cell, model.output, last=True)(sequence).data == model(sequence)[-1].data
    assert len(model.states(sequence)) == 7


@pytest.mark.parametrize("kind", [nn.RNNCell, nn.GRUCell, nn.LSTMCell])
def test_a_sequence_can_be_cut_and_continued(kind):
    cell = kind(1, 2, seed=0)
    sequence = [[0.5], [-1.0], [2.0], [0.25]]
    whole, first = nn.RNN(cell), nn.RNN(cell).states(sequence[:2])
    second = whole.states(sequence[2:], first[-1])
    assert [[v.data for v in cell.hidden(s)] for s in second] == whole.predict([sequence])[0][2:]


def test_steps_of_one_input_may_be_bare_numbers():
    cell = nn.RNNCell.from_weights([[1.0]], [[1.0]], activation="identity")
    assert nn.RNN(cell, nn.Layer.from_weights([[1.0]])).predict([[2.0, -0.5, 1.0]]) == [[2.0, 1.5, 2.5]]


def test_cells_have_the_parameters_of_their_formulas():
    counts = [len(kind(2, 3, seed=0).parameters()) for kind in (nn.RNNCell, nn.GRUCell, nn.LSTMCell)]
    assert counts == [3 * 6, 3 * 18 + 3, 4 * 18]
    assert len(nn.GRUCell(2, 3, bias=False).parameters()) == 3 * 15


# --- saving -----------------------------------------------------------------------------------------------------------


def test_a_model_saved_and_loaded_is_the_same_to_the_last_bit(tmp_path):
    model = nn.MLP(3, [4, 2], activation="tanh", seed=0)
    path = model.save(tmp_path / "mô hình.json")
    twin = nn.MLP(3, [4, 2], activation="tanh", seed=1)
    assert twin.load(path) is twin
    assert numbers(twin) == numbers(model)
    assert list(tmp_path.iterdir()) == [path]
    assert json.loads(path.read_text(encoding="utf-8"))["parameters"]["layers.0.neurons.0.b"] == 0.0


def test_the_optimizer_is_saved_with_the_model(tmp_path):
    def steps(model, optimizer, n):
        for _ in range(n):
            model.zero_grad()
            (model(values([1.0, 2.0])) ** 2).backward()
            optimizer.step()

    straight = nn.MLP(2, [2, 1], activation="tanh", seed=0)
    steps(straight, optim.Adam(straight.parameters(), 0.1), 6)
    first = nn.MLP(2, [2, 1], activation="tanh", seed=0)
    adam = optim.Adam(first.parameters(), 0.1)
    steps(first, adam, 3)
    first.save(tmp_path / "m.json", optimizer=adam)
    second = nn.MLP(2, [2, 1], activation="tanh", seed=9)
    resumed = optim.Adam(second.parameters(), 0.5)
    second.load(tmp_path / "m.json", optimizer=resumed)
    assert resumed.learning_rate == 0.1
    steps(second, resumed, 3)
    assert numbers(second) == numbers(straight)


def damaged(path, old, new):
    """Edited by hand as the message says: of version 1, without the line of the checksum."""
    text = path.read_text()
    assert old in text
    lines = text.replace(old, new, 1).replace('"version": 2', '"version": 1').splitlines()
    path.write_text("\n".join(line for line in lines if not line.startswith('"checksum"')))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda p: p.write_text(p.read_text()[:-40]), "it is not complete JSON .* take another copy, or save again"),
        (lambda p: p.write_bytes(b"\xff\xfe\x00"), "it is not complete JSON"),
        (lambda p: p.write_text("[]"), "it is no tinygrad_vi model but 'list'"),
        (lambda p: p.write_text('{"format": "other"}'), "it is no tinygrad_vi model but 'other'"),
        (
            lambda p: p.write_text(p.read_text().replace("2", "3", 1)),
            "its version is 3, this tinygrad_vi reads the versions 1 and 2",
        ),
        (lambda p: damaged(p, '"parameters"', '"parametres"'), "'parameters' should be a dict, got None"),
        (
            lambda p: damaged(p, "neurons.1.b", "neurons.5.b"),
            "no 'layers.0.neurons.1.b' and an unknown 'layers.0.neurons.5.b'",
        ),
        (lambda p: damaged(p, '0.b": 0.0', '0.b": "0.0"'), "layers.0.neurons.0.b should be a finite number, got '0.0'"),
        (lambda p: damaged(p, '0.b": 0.0', '0.b": NaN'), "layers.0.neurons.0.b should be finite, got nan"),
        (lambda p: damaged(p, '0.w": [', '0.w": [1.5, '), "layers.0.neurons.0.w should be a list of 2, got 3"),
        (
            lambda p: damaged(p, '0.b": 0.0', '0.b": [0.0]'),
            r"layers.0.neurons.0.b should be a finite number, got \[0.0\]",
        ),
        (lambda p: damaged(p, "tanh", "relu"), "was saved by another architecture"),
    ],
)
@pytest.mark.filterwarnings("ignore:.* has no checksum")
def test_damaged_files_are_refused_and_change_nothing(tmp_path, damage, message):
    model = nn.MLP(2, [2, 1], activation="tanh", seed=0)
    path = model.save(tmp_path / "model.json")
    damage(path)
    twin = nn.MLP(2, [2, 1], activation="tanh", seed=1)
    before = numbers(twin)
    with pytest.raises(ValueError, match=message):
        twin.load(path)
    assert numbers(twin) == before


def test_another_architecture_is_named():
    message = (
        r"these parameters belong to another architecture: there is no 'layers.1.neurons.1.w' and an unknown "
        r"'layers.2.neurons.0.w' \(2 missing, 2 unknown\)"
    )
    model = nn.MLP(2, [2, 2], seed=0)
    with pytest.raises(ValueError, match=message):
        model.load_state_dict(nn.MLP(2, [2, 1, 1], seed=0).state_dict())
    with pytest.raises(ShapeError, match=r"layers.0.neurons.0.w should be a list of 2, got 3"):
        model.load_state_dict(nn.MLP(3, [2, 2], seed=0).state_dict())


def test_what_cannot_be_saved_leaves_the_old_file(tmp_path):
    model = nn.MLP(2, [1], seed=0)
    path = model.save(tmp_path / "model.json")
    content = path.read_bytes()
    model.parameters()[1].data = float("nan")
    with pytest.raises(DomainError, match=r"not saved: the parameter layers.0.neurons.0.w.1 is nan"):
        model.save(path)
    assert path.read_bytes() == content
    with pytest.raises(ValueError, match="holds no optimiser"):
        nn.MLP(2, [1]).load(path, optimizer=optim.SGD(model.parameters()))
    with pytest.raises(FileNotFoundError):
        nn.MLP(2, [1]).load(tmp_path / "nowhere.json")


def test_arrays_are_taken_by_load_state_dict():
    model = nn.MLP(2, [1], seed=0)
    model.load_state_dict({"layers.0.neurons.0.w": np.array([1.0, 2.0]), "layers.0.neurons.0.b": np.float64(3.0)})
    assert model.predict([1.0, 1.0]) == 6.0


# --- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: nn.MLP(2, [4, 1])([1.0, 2.0, 3.0]), ShapeError, "MLP expects 2 inputs, got 3"),
        (lambda: nn.MLP(2, [4, 1])(1.0), ShapeError, "MLP expects 2 inputs, got 1"),
        (lambda: nn.MLP(3, [4, 1])([[1.0, 2.0, 3.0]] * 2), ShapeError, "MLP takes one example of 3 inputs, got a list of lists: for a batch write [model(x) for x in X]"),
        (lambda: nn.MLP(2, [1])(["a", "b"]), TypeError, "Value takes real numbers, got 'a' of type str"),
        (lambda: nn.MLP(2, [1])([[1.0], [2.0]]), ShapeError, "MLP takes one example of 2 inputs, got a list of lists"),
        (lambda: nn.MLP(2, [1])(None), TypeError, "MLP takes a list of 2 numbers, got None"),
        (lambda: nn.Neuron(2)([1.0]), ShapeError, "Neuron expects 2 inputs, got 1"),
        (lambda: nn.MLP(2, []), ShapeError, "an MLP needs at least one layer: MLP(2, [4, 1])"),
        (lambda: nn.MLP(2, [3, 0]), ValueError, "the number of neurons must be a whole number of at least 1, got 0"),
        (lambda: nn.MLP(2.0, [3]), ValueError, "the number of inputs must be a whole number of at least 1, got 2.0"),
        (lambda: nn.MLP(2, [3, 1], activation="rleu"), ValueError, "unknown activation 'rleu': did you mean 'relu'"),
        (lambda: nn.MLP(2, [3, 1], output_activation="xyz"), ValueError, "unknown activation 'xyz': known are abs, acos,"),
        (lambda: nn.MLP(2, [3, 1], init="xaver"), ValueError, "unknown initialisation 'xaver': did you mean 'xavier'"),
        (lambda: nn.MLP(2, [3, 1], activation=["tanh"] * 3), ShapeError, "there are 2 layers, and activations for 3"),
        (lambda: nn.MLP(2, [3, 1], masks=[None]), ShapeError, "masks has one entry for each of the 2 layers, got 1"),
        (lambda: nn.Layer(2, 2, mask=[[1, 0]]), ShapeError, "a mask has one row for each of the 2 neurons, got 1"),
        (lambda: nn.Neuron(2, mask=[1]), ShapeError, "a mask has one entry for each of the 2 inputs, got 1"),
        (lambda: nn.MLP(2, [1], skip=True), ShapeError, "skip=True needs a hidden layer to skip"),
        (lambda: nn.MLP.from_weights([[[1, 2]], [[1, 2]]]), ShapeError, "W[1] needs 1 column, one for each output of the layer before, got 2"),
        (lambda: nn.MLP.from_weights([W1, [[1], [2], [3]]]), ShapeError, "got 1; its transpose would fit"),
        (lambda: nn.MLP.from_weights([W1], [B1, B2]), ShapeError, "there are biases for 2 layers and weights for 1"),
        (lambda: nn.Layer.from_weights(W1, [1.0]), ShapeError, "b has 1 numbers for 3 neurons"),
        (lambda: nn.Layer.from_weights([[1.0], [1.0, 2.0]]), ShapeError, "W needs rows of one length, got rows of [1, 2]"),
        (lambda: nn.MLP(2, 4), TypeError, "the sizes of the layers are a list: MLP(2, [4])"),
        (lambda: nn.MLP(2, [4, 1], 1), TypeError, "an activation is a name or a function, got 1"),
        (lambda: nn.Layer(2, 2, ["tanh", "relu"]), TypeError, "an activation is a name or a function, got ['tanh', 'relu']"),
        (lambda: nn.MLP.from_weights([[[None, None], [1, 1]]]), ShapeError, "a neuron needs a connection or a bias"),
        (lambda: nn.LSTMCell(1, 2)([1.0], ([0.0, 0.0], [0.0])), ShapeError, "the state of an LSTMCell is the pair (h, c)"),
        (lambda: nn.MLP(2, [3, 1], activation="ReLU"), ValueError, "unknown activation 'ReLU': did you mean 'relu'"),
        (lambda: nn.MLP.from_weights([W1, [0.5, 0.6, 0.7]]), ShapeError, "W[1] is a list of rows, one for each neuron, such as [[0.5, 0.6]]"),
        (lambda: nn.MLP.from_weights([W1, W2], [B1, 0.3]), ShapeError, "the biases of a layer are a list, one for each neuron, such as [0.3]; got 0.3"),
        (lambda: nn.RNN(nn.RNNCell(1, 2))(1.0), TypeError, "an RNN takes a sequence, a list of steps, got 1.0"),
        (lambda: nn.Dropout(1.0), ValueError, "the chance to be dropped must be at least 0 and below 1, got 1.0"),
        (lambda: nn.RNN(nn.RNNCell(1, 2))([]), ShapeError, "an RNN needs a sequence of at least one step, got an empty one"),
        (lambda: nn.RNN(nn.Layer(1, 2)), TypeError, "RNN takes a cell, such as RNNCell(2, 8), got Layer"),
        (lambda: nn.RNN(nn.RNNCell(1, 2), nn.Layer(3, 1)), ShapeError, "the cell shows 2 numbers, but the output layer takes 3"),
        (lambda: nn.LSTMCell(1, 2)([1.0], [0.0, 0.0, 0.0]), ShapeError, "the state of an LSTMCell is the pair (h, c)"),
        (lambda: nn.RNNCell(1, 2)([1.0], [0.0]), ShapeError, "RNNCell has a state of 2, got 1"),
        (lambda: nn.LSTMCell.from_weights([[1.0]], [[1.0]]), ShapeError, "LSTMCell with 1 unit needs 4 rows in W_x, W_h and every bias, got [1, 1]"),
    ],
)  # fmt: skip
def test_errors_say_what_was_wrong(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert message in str(caught.value)


def test_dot_is_what_neurons_are_made_of():
    neuron = nn.Neuron(2, "identity", seed=0)
    x = values([1.0, 2.0])
    assert neuron(x).data == dot(neuron.w, x, neuron.b).data
    assert neuron(x).op.name == "dot"


def test_modules_that_hold_themselves_can_be_shown_saved_and_loaded(tmp_path):
    module = Shared()
    assert "myself: ...: see above" in repr(module)
    assert list(module.state_dict()) == ["tied", "again", "table.a", "table.deep.0.b", "inner.w", "inner.b"]
    module.save(tmp_path / "m.json")
    module.tied.data = 9.0
    module.load(tmp_path / "m.json")
    assert module.tied.data == 2.0


def test_inside_a_derivative_networks_of_plain_numbers_record():
    def loss(w):
        return nn.Layer.from_weights([[w, 2.0]])([3.0, 1.0]) ** 2

    assert grad(loss)(0.5) == 2 * 3.5 * 3.0
    assert hessian(loss)(0.5) == 18.0
    model = nn.MLP.from_weights([[[1.0, 2.0]], [[3.0]]], activation="tanh")
    assert gradcheck(model, order=2)([0.2, -0.4]) < 1e-6


def test_outputs_keep_their_kind():
    class Several(nn.Module):
        def forward(self, x, *, scale=1.0):
            return {"list": [x * scale], "pair": (x, [x + 1.0])}

    assert Several()(2.0, scale=3.0) == {"list": [6.0], "pair": (2.0, [3.0])}
    recorded = Several()(2.0, scale=Value(3.0))
    assert recorded["list"][0].data == 6.0


def test_a_neuron_that_is_replaced_counts_as_it_is():
    layer = nn.Layer(2, 2, "relu", seed=0)
    layer.neurons[1] = nn.Neuron(2, "tanh", seed=3)
    assert layer.predict([1.0, 1.0])[1] == layer.neurons[1].predict([1.0, 1.0])


def test_another_pattern_of_connections_is_another_architecture(tmp_path):
    path = nn.Layer(2, 1, "identity", mask=[[1, 0]], seed=0).save(tmp_path / "a.json")
    with pytest.raises(ValueError, match="was saved by another architecture"):
        nn.Layer(2, 1, "identity", mask=[[0, 1]], seed=0).load(path)


def test_inputs_may_be_dictionaries_iterators_and_parameters_object_arrays():
    class Scaled(nn.Module):
        def __init__(self):
            self.w = np.array([Value(0.5), Value(2.0)])

        def forward(self, x):
            return {"y": self.w * np.array([x["a"], x["b"]])}

    model, a = Scaled(), Value(2.0)
    model({"a": a, "b": 1.0})["y"][0].backward()
    assert (a.grad, model.w[0].grad) == (0.5, 2.0)
    assert [y.data for y in model({"a": 2.0, "b": 1.0})["y"]] == [1.0, 2.0]
    assert model.state_dict() == {"w.0": 0.5, "w.1": 2.0}
    layer = nn.Layer.from_weights([[1.0, 2.0]])
    assert layer(map(float, [1, 2])).data == 5.0


def test_paths_that_collide_are_refused():
    class Colliding(nn.Module):
        def __init__(self):
            self.d = {1: Value(1.0), "1": Value(2.0)}

    with pytest.raises(ValueError, match=r"two parameters have the path 'd\.1': give their keys other names"):
        Colliding().state_dict()


def test_biases_of_cells_may_be_shared_values():
    b = Value(0.5, "shared")
    cell = nn.RNNCell.from_weights([[1.0]], [[1.0]], [b], activation="identity")
    assert cell.b == [b]
    assert cell.predict([[1.0]]) == [[1.5]]


@pytest.mark.slow
def test_modules_may_be_nested_as_deep_as_they_like():
    class Wrap(nn.Module):
        def __init__(self, inner):
            self.inner = inner

    model = nn.Neuron(2, "tanh", seed=1)
    path = ""
    for _ in range(1000):
        model, path = Wrap(model), f"inner.{path}"
    assert [p.label for p in model.parameters()] == ["w0", "w1", "b"]
    assert list(model.state_dict()) == [f"{path}w", f"{path}b"]
    model.load_state_dict({f"{path}w": [1.0, 2.0], f"{path}b": 3.0})
    assert [p.data for p in model.eval().parameters()] == [1.0, 2.0, 3.0]
    lines = repr(model).splitlines()
    assert len(lines) == len(model.modules()) == 1001
    assert lines[0] == "Wrap: 3 parameters"
    assert lines[2] == "    inner: Wrap: 3 parameters"
    assert lines[-1].strip().startswith("inner: Neuron")


def test_a_list_that_contains_itself_is_refused():
    class Looped(nn.Module):
        def __init__(self):
            self.parts = [Value(1.0)]
            self.parts.append(self.parts)

    for ask in (Looped().parameters, Looped().state_dict, Looped().modules):
        with pytest.raises(ShapeError, match=r"lists are nested more than 100 deep: does one contain itself\?"):
            ask()


# --- Given Values are parameters --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [nn.RNNCell, nn.LSTMCell, nn.GRUCell])
@pytest.mark.parametrize("second", ["none", "zeros", "whole zeros", "numbers", "values", "the only one"])
def test_biases_given_as_values_are_parameters_of_a_cell_and_computed_with(kind, second):
    rows = len(kind.gates) * 2
    numbers = [[0.1 * (j - k) + 0.3 for j in range(rows)] for k in (0, 1)]
    first = [Value(x) for x in numbers[0]]
    other = [Value(x) for x in numbers[1]]
    b_x, b_h = {
        "none": (first, None),
        "zeros": (first, [0.0] * rows),
        "whole zeros": (first, [0] * rows),
        "numbers": (first, numbers[1]),
        "values": (first, other),
        "the only one": (None, other),
    }[second]
    W_x, W_h = [[0.2 * j - 0.3] for j in range(rows)], [[0.1 * j, 0.2 - 0.1 * j] for j in range(rows)]
    cell = kind.from_weights(W_x, W_h, b_x, b_h)
    given = [v for b in (b_x, b_h) if b for v in b if isinstance(v, Value)]
    assert set(given) <= set(cell.parameters())
    for v in given:  # after a change as well
        v.data += 0.25
    moved = [[getattr(v, "data", v) for v in b] if b else None for b in (b_x, b_h)]
    expected = kind.from_weights(W_x, W_h, *moved)
    state = ([0.3, -0.2], [0.1, 0.4]) if kind is nn.LSTMCell else [0.3, -0.2]
    for ours, theirs in zip(numbers_in(cell([0.7], state)), numbers_in(expected([0.7], state)), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-14)
    clone = kind.from_weights(W_x, W_h, b_x, b_h)
    clone.load_state_dict(cell.state_dict())


def test_fit_trains_a_cells_given_biases():
    b = [Value(0.0)]
    cell = nn.RNNCell.from_weights([[0.0]], [[0.0]], b, [0.0], activation="identity")
    history = fit(lambda x: (cell([x])[0] - 1.0) ** 2, [1.0], params=cell, optimizer=optim.SGD(cell, 0.25), epochs=30,
                  progress=False)  # fmt: skip
    assert history.loss[0] == 1.0
    assert history.loss[-1] < 1e-6
    assert b[0].data == pytest.approx(0.5, abs=1e-3)  # W_x takes the other half


@pytest.mark.parametrize("make", [
    lambda w, b: nn.Layer.from_weights([[w, 1.0]], [b]),
    lambda w, b: nn.MLP.from_weights([[[w, 1.0]], [[2.0]]], [[b], [0.5]]),
    lambda w, b: nn.Layer.from_weights(np.array([[w, 1.0]], dtype=object), np.array([b], dtype=object)),
])  # fmt: skip
def test_values_given_to_layers_are_parameters(make):
    w, b = Value(0.5), Value(0.25)
    assert {w, b} <= set(make(w, b).parameters())


@pytest.mark.parametrize("seed", [np.int64(3), np.uint8(3), np.array(3)])
def test_a_seed_may_be_numpys(seed):
    assert nn.MLP(2, [3], seed=seed).state_dict() == nn.MLP(2, [3], seed=3).state_dict()
    assert nn.LSTMCell(2, 3, seed=seed).state_dict() == nn.LSTMCell(2, 3, seed=3).state_dict()


def test_what_is_no_seed_is_refused():
    with pytest.raises(TypeError, match=r"a seed is a whole number, a text or None, got \[1\] of type list"):
        nn.Neuron(2, seed=[1])
