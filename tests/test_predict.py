"""A model that was compiled for `predict` answers as the model does, whatever has been done to it since."""

import gc
import math
import random
import weakref
from dataclasses import dataclass

import numpy as np
import pytest

from tinygrad_vi import Value, fit, losses, nn, optim, predict, tanh
from tinygrad_vi.predict import KEPT, MANY

X = np.random.default_rng(0).normal(size=(MANY + 7, 2))
SCALE = [1.0]


def network(seed=0):
    return nn.MLP(2, [3, 1], activation="tanh", seed=seed)


def one_by_one(model):
    """The judge: each example alone, which is never compiled."""
    return [model.predict([x])[0] for x in X.tolist()]


def assert_right(model):
    expected = np.array(one_by_one(model))
    for _ in range(2):
        assert model.predict(X) == pytest.approx(expected, rel=1e-12, abs=1e-14)


class Scaled(nn.Module):
    def __init__(self):
        self.net, self.factor, self.shift = network(), 2.0, Value(0.5)

    def forward(self, x):
        return self.factor * SCALE[0] * self.net(x) + self.shift


def test_it_is_compiled_once(monkeypatch):
    made = []
    compiled = predict.compile
    monkeypatch.setattr(predict, "compile", lambda *args, **options: made.append(args) or compiled(*args, **options))
    model = network()
    for _ in range(5):
        assert_right(model)
        for p in model.parameters():
            p.data += 0.125
    assert len(made) == 1


def new_weight(model):
    model.net.layers[0].neurons[1].w[0] = Value(-3.0, "new")


def new_layer(model):
    model.net.layers.insert(1, nn.Layer(3, 3, "relu", seed=5))


def other_activation(model):
    model.net.layers[0] = nn.Layer.from_weights(
        [[w.data for w in n.w] for n in model.net.layers[0].neurons], [0.1] * 3, "sigmoid"
    )


CHANGES = {
    "numbers": lambda model: [setattr(p, "data", 2.0 * p.data) for p in model.parameters()],
    "a number that is no parameter": lambda model: setattr(model, "factor", -1.0),
    "a parameter": lambda model: setattr(model, "shift", Value(7.0)),
    "a parameter that becomes a number": lambda model: setattr(model, "shift", 7.0),
    "a weight in a list": new_weight,
    "a layer more": new_layer,
    "another layer": other_activation,
    "two neurons that change places": lambda model: model.net.layers[0].neurons.reverse(),
    "a module": lambda model: setattr(model, "net", network(3)),
    "a global": lambda model: SCALE.__setitem__(0, SCALE[0] + 1.0),
    "its forward": lambda model: setattr(model, "forward", lambda x: model.net(x) ** 2),
    "its class": lambda model: setattr(model, "__class__", type("Doubled", (Scaled,), {"forward": doubled})),
    "training": lambda model: fit(
        lambda x: losses.mse(model(x), 1.0), X[:20].tolist(), params=model, epochs=3, progress=False
    ),
}


def doubled(self, x):
    return 2.0 * Scaled.forward(self, x)


@pytest.mark.parametrize("name", CHANGES)
def test_no_answer_is_that_of_an_older_model(name):
    model = Scaled()
    assert_right(model)
    before = model.predict(X)
    CHANGES[name](model)
    assert_right(model)
    assert np.abs(model.predict(X) - before).max() > 1e-6


def test_a_change_of_the_class_is_seen(monkeypatch):
    model = Scaled()
    assert_right(model)
    before = model.predict(X)
    monkeypatch.setattr(Scaled, "forward", lambda self, x: tanh(self.net(x)))
    assert_right(model)
    assert np.abs(model.predict(X) - before).max() > 1e-6


def test_what_cannot_be_watched_is_asked_for(tmp_path):
    """A compiled function does not look into files; the first example of each call is asked from the model itself."""
    file = tmp_path / "factor"

    class Reads(Scaled):
        def forward(self, x):
            return float(file.read_text()) * self.net(x)

    model = Reads()
    for factor in ("1.0", "2.0", "-3.5"):
        file.write_text(factor)
        assert_right(model)


def test_a_model_that_begins_to_count_is_asked_for_each_example():
    model = Scaled()
    assert_right(model)
    calls = []
    model.forward = lambda x: calls.append(0) or model.net(x)
    model.predict(X)
    assert len(calls) == len(X)


def test_a_model_that_begins_to_draw_draws_for_each_example():
    model = Scaled()
    assert_right(model)
    model.forward = lambda x: model.net(x) + random.random()
    random.seed(4)
    found = model.predict(X)
    random.seed(4)
    drawn = [random.random() for _ in X]
    assert found == pytest.approx([model.net.predict(x.tolist()) + r for x, r in zip(X, drawn, strict=True)], rel=1e-12)


def test_dropout_drops_nothing_before_and_after_training():
    model = nn.MLP(2, [8, 1], activation="tanh", dropout=0.5, seed=0)
    assert_right(model)
    adam = optim.Adam(model, 0.05)
    fit(lambda x: losses.mse(model(x), 1.0), X[:20].tolist(), params=model, optimizer=adam, epochs=2, progress=False)
    assert_right(model)
    assert_right(model.eval())


def test_models_that_are_equal_are_not_taken_for_each_other():
    @dataclass
    class Line(nn.Module):
        slope: Value

        def forward(self, x):
            return self.slope * x

    one, other = Line(Value(1.0)), Line(Value(1.0))
    assert one == other
    xs = [0.1 * i for i in range(MANY)]
    assert one.predict(xs) == other.predict(xs) == xs
    other.slope.data = 2.0
    assert (one.predict(xs)[3], other.predict(xs)[3]) == (xs[3], 2.0 * xs[3])


def test_of_few_models_a_program_is_kept():
    first = network()
    first.predict(X)
    seen = weakref.ref(first)
    del first
    for seed in range(KEPT):
        assert_right(network(seed))
    gc.collect()
    assert seen() is None


def test_an_error_of_one_example_is_its_own_again_and_again():
    class Log(nn.Module):
        def __init__(self):
            self.a = Value(1.0)

        def forward(self, x):
            return (self.a * x).log()

    model = Log()
    good = [1.0 + i for i in range(MANY)]
    for _ in range(2):
        assert model.predict(good) == pytest.approx([math.log(x) for x in good])
        with pytest.raises(ArithmeticError, match=r"needs x > 0, got x = -1\.0"):
            model.predict([*good, -1.0])
