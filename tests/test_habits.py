"""Habits from PyTorch, micrograd, NumPy and JAX: each works, or the error says what is written here."""

import numpy as np
import pytest

from tinygrad_vi import ShapeError, Value, accuracy, compile, fit, grad, losses, nn, optim, show, vmap

X, Y = [[1.0, 2.0], [0.5, -1.0]], [1.0, -1.0]


def model():
    return nn.MLP(2, [3, 1], activation="tanh", seed=0)


def test_item_is_the_number_and_no_way_out_of_a_traced_function():
    assert (Value(3.0) ** 2).item() == 9.0
    with pytest.raises(TypeError, match=r"does not give its number, v.item\(\)"):
        compile(lambda x: x * (2.0 if x.item() > 0.0 else 3.0)).grad(1.0)


def test_the_record_is_kept_whether_it_is_asked_for_or_not():
    torch = pytest.importorskip("torch")
    ours, theirs = Value(3.0), torch.tensor(3.0, requires_grad=True)
    for x in (ours, theirs):
        y = x * x
        y.backward(retain_graph=True)
        y.backward(retain_graph=True)
    assert ours.grad == theirs.grad.item() == 12.0


def test_a_seed_is_not_taken_for_a_switch():  # PyTorch's y.backward(3.0) gives three times the gradient
    x = Value(3.0)
    with pytest.raises(TypeError, match=r"got 3.0: for c times that write \(c \* y\).backward\(\)"):
        (x * x).backward(3.0)
    assert x.grad == 0.0
    (3.0 * (x * x)).backward()
    assert x.grad == 18.0


@pytest.mark.parametrize(
    ("name", "advice"),
    [("numpy", "v.data"), ("requires_grad", "stop_gradient"), ("grad_fn", "v.op"), ("zero_grad", "v.grad = 0.0")],
)
def test_what_values_lack_has_another_name_and_ones_own_attributes_may_have_it(name, advice):
    v = Value(2.0)
    assert not hasattr(v, name)
    assert not hasattr(Value, name)
    with pytest.raises(AttributeError, match=f"'Value' object has no attribute '{name}': .*{advice}"):
        getattr(v, name)
    setattr(v, name, "mine")
    assert getattr(v, name) == "mine"


def test_a_label_stays_a_text():
    v = Value(2.0, "v")
    with pytest.raises(TypeError, match=r"a label is a text, got 5 of type int. Write v.label = str\(...\)"):
        v.label = 5
    assert v.label == "v"
    v.label = "w"
    assert repr(v) == "Value(data=2.0, grad=0.0, label='w')"


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("Linear", r'Layer\(n_inputs, n_outputs, "identity"\)'),
        ("Sequential", r"MLP\(n_inputs, \[16, 1\]\)"),
        ("ReLU", 'activation="relu" in a Layer'),
        ("Tanh", 'activation="tanh"'),
        ("LeakyReLU", 'activation="leaky_relu"'),
        ("Softmax", 'activation="softmax"'),
        ("MSELoss", r"losses.mse\(prediction, target\)"),
        ("Parameter", r"Value\(0.0\)"),
    ],
)
def test_classes_of_pytorch_have_other_names(name, advice):
    assert hasattr(pytest.importorskip("torch").nn, name)
    assert not hasattr(nn, name)
    with pytest.raises(AttributeError, match=f"has no attribute '{name}': write {advice}"):
        getattr(nn, name)


def test_what_neither_has_is_simply_absent():
    with pytest.raises(AttributeError, match=r"has no attribute 'Foo'$"):
        nn.Foo  # noqa: B018


def test_settings_of_optimisers_are_told_by_their_names_here():
    p = [Value(1.0)]
    with pytest.raises(TypeError, match=r"SGD has no setting 'lr': write learning_rate=0.1"):
        optim.SGD(p, lr=0.1)
    with pytest.raises(TypeError, match=r"Adam has no setting 'betas': write beta1=0.8, beta2=0.9"):
        optim.Adam(p, betas=(0.8, 0.9))
    with pytest.raises(AttributeError, match=r"write optimizer.learning_rate = 0.01"):
        optim.SGD(p).param_groups  # noqa: B018


def test_zero_grad_train_and_eval_are_as_in_pytorch():
    m = model()
    losses.mse(m(X[0]), 1.0).backward()
    assert any(p.grad for p in m.parameters())
    optim.SGD(m.parameters(), learning_rate=0.1).zero_grad()
    assert not any(p.grad for p in m.parameters())
    losses.mse(m(X[0]), 1.0).backward()
    m.zero_grad()
    assert not any(p.grad for p in m.parameters())
    assert m.eval() is m.train() is m


@pytest.mark.parametrize(
    "call",
    [
        lambda: fit(model(), X, Y, loss=losses.mse),
        lambda: fit(model(), X, Y),
        lambda: fit(model(), X, Y, epochs=3),
    ],
)
def test_fit_with_the_model_first_is_told_the_order(call):
    with pytest.raises(TypeError, match=r"fit\(lambda x, t: losses.mse\(model\(x\), t\), X, y, params=model\)"):
        call()


W = Value(1.0, "w")


def square(x, t=0.0):
    return (W * x - t) ** 2


@pytest.mark.parametrize(
    "call",
    [
        lambda: fit(square, [W], [1.0], [2.0]),
        lambda: fit(square, [W], [1.0]),
        lambda: fit(square, [W]),
        lambda: fit(square, model(), [1.0], [2.0]),
        lambda: fit(square, model(), [1.0]),
        lambda: fit(square, [W], [1.0], params=[W]),
        lambda: fit(square, [[0.5, W]], params=[W]),
        lambda: fit(square, np.array([W], dtype=object), params=[W]),
        lambda: fit(square, {"w": W}.values(), params=[W]),
        lambda: fit(square, {W}, params=[W]),
        lambda: fit(square, model(), params=[W]),
        lambda: fit(square, [1.0], parameters=[W]),
        lambda: fit(square, [1.0], [2.0]),
        lambda: fit(compile(square, [W]), [W], [1.0], [2.0]),
        lambda: fit(compile(square, [W]), [W], [1.0]),
        lambda: show.loss_landscape(square, [W], [1.0], [2.0]),
        lambda: show.descents(square, [W], [1.0]),
        lambda: show.batch_columns(square, [W], params=[W]),
    ],
)
def test_parameters_are_never_taken_for_data(call):
    """A list of them in the place of X is as long as a list of examples: it would train on its own numbers."""
    with pytest.raises(TypeError, match=r"the parameters by name: (\w+)\(loss, X, y, params=model\)"):
        call()
    assert W.data == 1.0


def test_a_compiled_loss_has_its_own_parameters():
    p, q = Value(0.0), Value(0.0)
    step = compile(lambda x: (p * x - 1.0) ** 2 + 0.0 * q, [p], backend="numpy")
    sgd = optim.SGD([p], 0.1)
    for options in ({}, {"params": [p]}):
        p.data = 0.0
        assert fit(step, [1.0], optimizer=sgd, epochs=1, progress=False, **options).loss == [1.0]
    with pytest.raises(ValueError, match=r"has 1 parameter of its own, and params= gives others: .* fit\(step, X, y\)"):
        fit(step, [1.0], params=[p, q], progress=False)
    with pytest.raises(TypeError, match=r"fit needs a loss with parameters: compile\(loss, params=model\)"):
        fit(compile(lambda x: x), [1.0], progress=False)


def test_a_learning_rate_given_to_fit_belongs_to_its_optimiser():
    m = model()
    with pytest.raises(TypeError, match=r"write optimizer=optim.Adam\(model, learning_rate=...\)"):
        fit(lambda x, t: losses.mse(m(x), t), X, Y, params=m, lr=0.1)


def test_a_module_may_be_the_loss():
    class Squares(nn.Module):
        def __init__(self):
            self.w = Value(0.0)

        def forward(self, x, t):
            return (self.w * x - t) ** 2

    loss = Squares()
    fit(loss, [1.0, 2.0], [3.0, 6.0], params=loss, optimizer=optim.SGD(loss, 0.1), progress=False)
    assert loss.w.data == pytest.approx(3.0)


@pytest.mark.parametrize("sizes", [[1], [2, 1]])
def test_an_unknown_activation_is_refused_also_where_no_layer_would_have_it(sizes):
    with pytest.raises(ValueError, match="unknown activation 'foo'"):
        nn.MLP(2, sizes, activation="foo")


# --- One example where rows of data are expected ----------------------------------------------------------------------

ONE, ROW = np.array([1.0, 2.0]), [1.0, 2.0]


def line(w, x, t):
    return (x @ w - t) ** 2


m, w = model(), Value(0.5)
SINGLE = {
    "compile": lambda x, t: compile(line)(np.zeros(2), x, t),
    "compiled gradient": lambda x, t: compile(line).grad(np.zeros(2), x, t),
    "vmap": lambda x, t: vmap(grad(line, argnums=0), in_axes=(None, 0, 0))(np.zeros(2), x, t),
    "a compiled model": lambda x, t: compile(lambda x, t: losses.mse(m(x), t), params=m.parameters())(
        np.zeros(13), x, t
    ),
    "fit": lambda x, t: fit(lambda x, t: losses.mse(m(x), t), x, t, params=model(), epochs=1, progress=False),
    "fit, with @": lambda x, t: fit(
        lambda x, t: (x @ np.array([w, w]) - t) ** 2, x, t, params=[w], epochs=1, progress=False
    ),
    "accuracy": lambda x, t: accuracy(m, x, t),
}


@pytest.mark.parametrize("target", [1.0, [1.0], [1.0, -1.0]], ids=["a number", "one target", "two targets"])
@pytest.mark.parametrize("way", SINGLE)
def test_one_example_without_brackets_is_told_of_them(way, target):
    if way == "accuracy" or way.startswith("fit"):
        target = [1.0] if target == 1.0 else target
    with pytest.raises(ShapeError, match=r"one example alone is written \[x\]"):
        SINGLE[way](ONE, target)


@pytest.mark.parametrize("f", [lambda w, x: w[0] * x[0], lambda w, x: sum(w[0] * v for v in x)])
def test_so_is_one_that_a_function_takes_apart(f):
    with pytest.raises(TypeError, match=r"an example is a number here; .*one example alone is written \[x\]"):
        compile(f).grad(np.ones(1), [1.0, 2.0])
    assert compile(f).grad(np.ones(1), [[1.0]]).tolist() == [1.0]


def test_the_advice_followed_is_right():
    assert compile(line)(np.zeros(2), ONE[None], [3.0]) == 9.0
    assert compile(line).grad(np.zeros(2), [ROW], [3.0]).tolist() == [-6.0, -12.0]
    assert vmap(grad(line, argnums=0), in_axes=(None, 0, 0))(np.zeros(2), ONE[None], [3.0]).tolist() == [[-6.0, -12.0]]
    assert accuracy(m, [ROW], [m.predict(ROW)]) == 1.0
