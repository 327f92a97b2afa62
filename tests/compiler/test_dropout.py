"""Dropout in compiled functions: the mask is an input of the program, drawn anew for each call and example.

The judges are the eager engine at the same seed, which draws as it goes, and PyTorch, given the mask.
"""

import random
from importlib.util import find_spec

import numpy as np
import pytest

from tinygrad_vi import (
    Value,
    compile,
    fit,
    hessian,
    log,
    losses,
    maximum,
    minimum,
    nn,
    optim,
    softmax,
    sqrt,
    vmap,
    where,
)
from tinygrad_vi.checks import DomainError
from tinygrad_vi.compiler.trace import NotFaithful
from tinygrad_vi.nn.module import prediction

BACKENDS = ["numpy", *["native"] * (find_spec("numba") is not None)]

rng = np.random.default_rng(0)
X, Y = rng.normal(size=(17, 2)), rng.normal(size=17).tolist()


def network(dropout=0.4):
    return nn.MLP(2, [5, 4, 1], activation="tanh", dropout=dropout, seed=1)


def trained(backend, optimizer=optim.Adam, make=network, loss=None, **options):
    """All that training leaves behind, the next random number included."""
    model = make()
    p = model.parameters()
    f = loss(model) if loss else lambda x, t: (model(x) - t) ** 2
    if "penalty" in options:
        options["penalty"] = options["penalty"](model)
    step = compile(f, p, backend=backend) if backend else f
    random.seed(11)
    options = {"optimizer": optimizer(p, 0.05), "epochs": 4, "progress": False, **options}
    history = fit(step, X, Y, params=p, **options)
    return history.loss, history.gradient_norm, history.validation_loss, [v.data for v in p], [random.random()]


def agree(found, expected):
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-13)
    assert found[-1] == expected[-1]  # as many numbers were drawn


OPTIONS = {
    "one batch": {},
    "single examples": {"batch_size": 1, "epochs": 2},
    "mini-batches": {"batch_size": 5, "validation": (X[:6], Y[:6])},
    "clipped": {"batch_size": 5, "clip_norm": 0.1, "seed": None},
    "patience": {"validation": (X[:6], Y[:6]), "patience": 2, "epochs": 30},
    "a callback that draws": {"batch_size": 5, "callbacks": lambda history: random.random() < 0.0},
    "a penalty": {"batch_size": 5, "penalty": lambda model: lambda: losses.l2(model.parameters(), 0.01)},
    "a penalty that drops": {"batch_size": 5, "penalty": lambda model: lambda: model([1.0, 2.0]) ** 2},
    "an optimiser of the user's": {"optimizer": type("Own", (optim.SGD,), {})},
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", OPTIONS)
def test_a_compiled_fit_takes_the_steps_of_the_eager_one(name, backend):
    agree(trained(backend, **OPTIONS[name]), trained(None, **OPTIONS[name]))


def test_chances_that_differ_and_layers_that_are_used_twice():
    class Net(nn.Module):
        def __init__(self):
            self.first, self.second = nn.Dropout(0.2), nn.Dropout(0.7)
            self.a, self.b = nn.Layer(2, 4, "relu", seed=0), nn.Layer(4, 4, "tanh", seed=1)
            self.c = nn.Layer(4, 1, "identity", seed=2)

        def forward(self, x):
            h = self.second(self.a(self.first(x)))
            return self.c(self.first(self.second(self.b(h))))

    agree(trained("numpy", make=Net, batch_size=4), trained(None, make=Net, batch_size=4))


def test_a_resumed_compiled_run_gives_the_numbers_of_an_uninterrupted_one(tmp_path):
    def run(epochs, **options):
        return trained("numpy", epochs=epochs, batch_size=5, **options)

    whole = run(6)
    run(2, checkpoint=tmp_path / "run.json")
    resumed = run(6, checkpoint=tmp_path / "run.json", resume=True)  # which seeds anew: the checkpoint knows better
    assert resumed == whole


def mask(count, entries, p, seed):
    """Drawn as `Dropout` says: example by example, entry by entry, kept below 1 - p."""
    random.seed(seed)
    return np.array([[random.random() < 1.0 - p for _ in range(entries)] for _ in range(count)])


@pytest.mark.parametrize("backend", BACKENDS)
def test_values_gradients_and_hessians_are_those_of_pytorch_under_the_same_mask(backend):
    torch = pytest.importorskip("torch")
    drop = nn.Dropout(0.3)
    step = compile(lambda w, x, t: (sum(drop([(w[0] * x[0]).tanh(), (w[1] * x[1]).sin()])) - t) ** 2, backend=backend)
    w, v = np.array([0.7, -1.3]), np.array([0.5, 2.0])

    def mean(theta, each=False):
        kept = torch.tensor(mask(17, 2, 0.3, seed=5))
        scale = torch.nn.Dropout(0.3)(torch.ones(100, dtype=torch.float64)).max()  # PyTorch's own 1 / (1 - p)
        xs = torch.tensor(X)
        h = torch.stack([torch.tanh(theta[0] * xs[:, 0]), torch.sin(theta[1] * xs[:, 1])], 1)
        losses = ((h * kept * scale).sum(1) - torch.tensor(np.array(Y))) ** 2
        return losses if each else losses.mean()

    theta = torch.tensor(w, requires_grad=True)
    gradient = torch.autograd.functional.jacobian(mean, theta).numpy()
    matrix = torch.autograd.functional.hessian(mean, theta).numpy()
    rows = torch.autograd.functional.jacobian(lambda theta: mean(theta, each=True), theta).numpy()

    def asked(method, *data):
        random.seed(5)
        return method(w, *data)

    value, slope = asked(step.value_and_grad, X, Y)
    np.testing.assert_allclose(value, mean(theta).item(), rtol=1e-12)
    np.testing.assert_allclose(slope, gradient, rtol=1e-12)
    np.testing.assert_allclose(asked(step, X, Y), value, rtol=1e-12)
    np.testing.assert_allclose(asked(step.each, X, Y), mean(theta, each=True).detach().numpy(), rtol=1e-12)
    np.testing.assert_allclose(asked(step.jacobian, X, Y), rows, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(asked(step.hvp, v, X, Y), matrix @ v, rtol=1e-12)
    np.testing.assert_allclose(asked(step.jvp, v, X, Y), (value, gradient @ v), rtol=1e-12)
    np.testing.assert_allclose(asked(step.hessian, X, Y), matrix, rtol=1e-12)


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_is_kept_is_divided_by_its_chance_and_each_call_and_example_draws_anew(backend):
    drop = nn.Dropout(0.25)
    step = compile(lambda w, x: drop([w * x, 2.0 * w * x]), backend=backend)
    random.seed(0)
    first, second = [step.each(1.0, np.ones(4000)) for _ in range(2)]
    assert set(first[:, 0]) == {0.0, 1.0 / 0.75}
    assert set(first[:, 1]) == {0.0, 2.0 / 0.75}
    assert first.mean(axis=0) == pytest.approx([1.0, 2.0], abs=0.06)
    kept = np.stack([*first.T, *second.T]) > 0.0
    assert np.corrcoef(kept) == pytest.approx(np.eye(4), abs=0.06)  # by chance 0.016


def test_nothing_is_dropped_in_eval_mode_and_in_prediction():
    model = network()
    step = compile(lambda x: model(x), model.parameters(), backend="numpy")
    answers = model.predict(X)
    state = random.getstate()
    with prediction():
        np.testing.assert_allclose(step.each(step.theta, X), answers, rtol=1e-12)
    model.eval()
    np.testing.assert_allclose(step.each(step.theta, X), answers, rtol=1e-12)
    assert random.getstate() == state
    model.train()
    assert np.abs(step.each(step.theta, X) - answers).max() > 0.01


def test_another_chance_is_a_new_trace():
    drop = nn.Dropout(0.5)
    step = compile(lambda w, x: drop([w * x])[0], backend="numpy")
    assert set(step.each(1.0, np.ones(50))) == {0.0, 2.0}
    drop.p = 0.75
    assert set(step.each(1.0, np.ones(80))) == {0.0, 4.0}


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_loss_without_arguments_drops_in_each_of_its_examples(backend):
    drop, w = nn.Dropout(0.5), Value(0.8)

    def loss():
        return sum((sum(drop([w * x, w])) - t) ** 2 for x, t in zip(X[:, 0].tolist(), Y, strict=True)) / len(Y)

    step = compile(loss, [w], backend=backend)
    for seed in range(3):
        random.seed(seed)
        value, gradient = step.value_and_grad(step.theta)
        random.seed(seed)
        w.grad = 0.0
        y = loss()
        y.backward()
        assert (value, gradient[0]) == (pytest.approx(y.data, rel=1e-12), pytest.approx(w.grad, rel=1e-12))


def test_several_arguments_vmap_and_own_names():
    drop = nn.Dropout(0.5)
    step = compile(lambda a, mask, x: drop([a * x])[0] + mask["b"], argnums=(0, 1), backend="numpy")
    random.seed(2)
    slopes = step.jacobian(1.0, {"b": 0.0}, [1.0, 2.0, 3.0, 4.0])
    assert slopes[0].tolist() == (2.0 * mask(4, 1, 0.5, 2)[:, 0] * [1.0, 2.0, 3.0, 4.0]).tolist()
    assert "mask" in step.source
    random.seed(2)
    assert vmap(lambda x: drop([x])[0])(np.ones(4)).tolist() == (2.0 * mask(4, 1, 0.5, 2)[:, 0]).tolist()
    w = Value(1.0)
    named = compile(lambda mask: drop([w * mask])[0], [w], backend="numpy")
    random.seed(2)
    assert named.each([1.0], np.ones(4)).tolist() == (2.0 * mask(4, 1, 0.5, 2)[:, 0]).tolist()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("f", [log, sqrt], ids=["log", "the slope of sqrt"])
def test_what_a_mask_makes_fail_is_refused_as_the_function_itself_does(f, backend):
    drop, w = nn.Dropout(0.1), Value(1.0)
    drops = {seed: (~mask(9, 1, 0.1, seed)[:, 0]).tolist() for seed in range(99)}
    seed = next(seed for seed, examples in drops.items() if any(examples[4:]) and not any(examples[:4]))
    dropped = drops[seed].index(True)
    step = compile(lambda x: f(drop([w * x])[0]), [w], backend=backend)
    random.seed(seed)
    with pytest.raises(DomainError, match=f"example {dropped}: "):
        step.value_and_grad(step.theta, np.ones(9))
    eager = [w]
    random.seed(seed)
    with pytest.raises(DomainError, match=f"example {dropped}: "):
        fit(lambda x: f(drop([w * x])[0]), np.ones(9), params=eager, epochs=1, progress=False)
    kept = next(s for s in range(99) if mask(3, 1, 0.1, s).all())
    random.seed(kept)
    assert step([1.0], np.ones(3)) == pytest.approx(f(1.0 / 0.9))


def test_tracing_and_verifying_draw_nothing():
    model = network()
    step = compile(lambda x, t: (model(x) - t) ** 2, model.parameters(), backend="numpy")
    state = random.getstate()
    assert step.verify(step.theta, X, Y, rows=10) < 1e-12
    assert random.getstate() == state


def test_how_much_is_drawn_must_be_the_same_for_all_examples():
    drop, w = nn.Dropout(0.5), Value(1.0)
    calls = iter(range(1000))
    step = compile(lambda x: sum(drop([w * x] * (1 + next(calls)))), [w], backend="numpy")
    with pytest.raises(NotFaithful):
        step(step.theta, [1.0, 2.0])

    def by_type(x):
        return sum(drop([w * x] * (3 if isinstance(x, int) else 2)))

    def by_chance(x):
        return nn.Dropout(0.5 if isinstance(x, int) else 0.2)([w * x])[0]

    for f in (by_type, by_chance):
        with pytest.raises(NotFaithful, match="asks Dropout for other entries"):
            compile(f, [w], backend="numpy").value_and_grad([1.0], [1, 2, 3])


def test_random_numbers_of_the_users_own_are_still_refused():
    drop, w = nn.Dropout(0.5), Value(1.0)
    step = compile(lambda x: drop([w * x])[0] * random.random(), [w], backend="numpy")
    with pytest.raises(NotFaithful):
        step(step.theta, [1.0, 2.0])


def test_a_compiled_function_with_dropout_inside_another():
    drop, w = nn.Dropout(0.5), Value(1.0)
    inner = compile(lambda w, x: drop([w * x])[0], backend="numpy")
    inner(1.0, [1.0])
    around = compile(lambda x: w * x * inner(1.0, [1.0]), [w], backend="numpy")  # runs the function itself
    random.seed(4)
    assert around.each([1.0], np.ones(6)).tolist() == (2.0 * mask(6, 1, 0.5, 4)[:, 0]).tolist()
    inner = compile(lambda x: drop([w * x])[0], [w], backend="numpy")
    inner([1.0], [1.0])
    with pytest.raises(TypeError, match="would draw once for all: call the function itself"):
        compile(lambda x: w * x * inner([1.0], [1.0]), [w], backend="numpy")([1.0], [1.0, 2.0])
    outer = compile(lambda x: inner.fn(x) * 3.0, [w], backend="numpy")  # the advice
    random.seed(4)
    assert outer.each([1.0], np.ones(6)).tolist() == (6.0 * mask(6, 1, 0.5, 4)[:, 0]).tolist()


def test_the_hessian_of_scalar_code_at_the_same_seed():
    drop = nn.Dropout(0.5)
    random.seed(8)
    expected = hessian(lambda w: sum(drop([w[0] ** 3, w[1] ** 2 * w[0]])))([1.5, 2.0])
    random.seed(8)
    found = compile(lambda w: sum(drop([w[0] ** 3, w[1] ** 2 * w[0]])), backend="numpy").hessian([1.5, 2.0])
    np.testing.assert_allclose(found, expected, rtol=1e-12)


HALF, THIRD = nn.Dropout(0.5), nn.Dropout(0.3)
CORNERS = {
    "ties of dropped entries": lambda w, x: (
        maximum(*HALF([w[0] * x[0], w[1] * x[1]])) + minimum(*HALF([w[2] * x[0], w[1]]))
    ),
    "abs and where at 0": lambda w, x: (
        sum(map(abs, HALF([w[0] * x[0], w[1]]))) + where(HALF([w[2]])[0] > 0, w[0], w[2])
    ),
    "relu at 0": lambda w, x: sum(v.relu() for v in HALF([w[0] * x[0], w[1] * x[1], w[2]])),
    "cross entropy": lambda w, x: losses.cross_entropy(HALF([w[0] * x[0], w[1] * x[1], w[2]]), 1),
    "dropped twice": lambda w, x: softmax(THIRD(HALF([w[0] * x[0], w[1] * x[1], w[2]])))[0].log(),
    "dropped inputs": lambda w, x: sum(a * b for a, b in zip(HALF(x), w, strict=False)).tanh(),
    "used thrice": lambda w, x: (lambda h: h[0] * h[1] + h[0] * w[2] + h[1] ** 3)(HALF([w[0] * x[0], w[1] * x[1]])),
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", CORNERS)
def test_at_the_corners_that_a_mask_leads_to(name, backend):
    f, w = CORNERS[name], [Value(0.7), Value(-1.2), Value(0.4)]
    step = compile(lambda x: f(w, x), w, backend=backend)
    for seed in range(3):
        random.seed(seed)
        value, gradient = step.value_and_grad(step.theta, X)
        random.seed(seed)
        ys = [f(w, [Value(v) for v in x]) for x in X.tolist()]
        for p in w:
            p.grad = 0.0
        for y in ys:
            y.backward()
        expected = [sum(y.data for y in ys), *[p.grad for p in w]]
        np.testing.assert_allclose([value, *gradient], np.divide(expected, len(X)), rtol=1e-11, atol=1e-14)


def test_the_trace_drops_what_the_call_will_drop():
    """An entry that is kept with a chance of 1 in 1000: the logarithm of another is an error."""
    w, dropout = Value(2.0), nn.Dropout(0.999)
    seed = next(seed for seed in range(100_000) if random.Random(seed).random() < 0.001)
    step = compile(lambda x: w * log(dropout([x])[0]), [w], backend="numpy")
    random.seed(seed)
    assert step.value_and_grad([2.0], [3.0])[0] == pytest.approx(2.0 * np.log(3000.0), rel=1e-12)
