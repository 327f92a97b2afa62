"""Losses, networks, cells, optimisers and schedules against PyTorch: values, gradients, steps, to 1e-12."""

import math
import random

import pytest

from tinygrad_vi import Value, losses, nn, optim, softmax, total

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'tinygrad_vi[peers]'")
F = torch.nn.functional


def close(x):
    return pytest.approx(x, rel=1e-12, abs=1e-13)


def uniform(*shape, seed=0, low=-2.0, high=2.0):
    """Nested lists of random numbers."""
    rng = random.Random(f"{shape} {seed}")

    def fill(sizes):
        return [fill(sizes[1:]) for _ in range(sizes[0])] if sizes else rng.uniform(low, high)

    return fill(shape)


def tensor(x):
    return torch.tensor(x, dtype=torch.float64, requires_grad=True)


def leaves(xs):
    return [Value(x) for x in xs]


# --- losses -----------------------------------------------------------------------------------------------------------

LOGITS, REAL, PROBABLE = uniform(6), uniform(6, seed=1), uniform(6, seed=2, low=0.05, high=0.95)
LABELS, SIGNS = [1.0, 0.0, 0.0, 1.0, 1.0, 0.0], [1.0, -1.0, -1.0, 1.0, 1.0, -1.0]
SOFT, WEIGHTS = [0.9, 0.2, 0.5, 0.0, 1.0, 0.3], [0.1, 0.2, 0.05, 0.25, 0.3, 0.1]


def tukey(y, t, c):
    u = ((y - t) / c) ** 2
    return (c * c / 6 * torch.where(u < 1, 1 - (1 - u) ** 3, torch.ones_like(u))).mean()


def normal(beta):
    return lambda y, t: -torch.distributions.Normal(y, beta**-0.5).log_prob(t).sum()


LOSSES = [
    (losses.mse, F.mse_loss, LOGITS, REAL),
    (losses.sse, lambda y, t: 0.5 * F.mse_loss(y, t, reduction="sum"), LOGITS, REAL),
    (losses.gaussian_nll, normal(1.0), LOGITS, REAL),
    (lambda y, t: losses.gaussian_nll(y, t, 2.5), normal(2.5), LOGITS, REAL),
    (losses.bce, F.binary_cross_entropy, PROBABLE, LABELS),
    (losses.bce, F.binary_cross_entropy, PROBABLE, SOFT),
    (losses.bce_with_logits, F.binary_cross_entropy_with_logits, LOGITS, LABELS),
    (losses.bce_with_logits, F.binary_cross_entropy_with_logits, LOGITS, SOFT),
    (losses.bce_with_logits, F.binary_cross_entropy_with_logits, [30.0, -30.0, 800.0, -800.0, 3.0, 0.0], SOFT),
    (losses.multilabel_bce, lambda a, t: F.binary_cross_entropy_with_logits(a, t, reduction="sum"), LOGITS, LABELS),
    (losses.cross_entropy, F.cross_entropy, LOGITS, WEIGHTS),
    (losses.cross_entropy, F.cross_entropy, [1000.0, 999.0, -1000.0, 0.0, 998.5, 990.0], WEIGHTS),
    (losses.hinge, lambda y, t: F.relu(1 - t * y).mean(), LOGITS, SIGNS),
    *((lambda y, t, d=d: losses.huber(y, t, d), lambda y, t, d=d: F.huber_loss(y, t, delta=d), LOGITS, REAL)
      for d in (0.5, 1.0, 2.0)),
    *((lambda y, t, c=c: losses.tukey_biweight(y, t, c), lambda y, t, c=c: tukey(y, t, c), LOGITS, REAL)
      for c in (0.7, 4.685)),
]  # fmt: skip


@pytest.mark.parametrize(("ours", "theirs", "y", "t"), LOSSES)
def test_losses(ours, theirs, y, t):
    u, v = leaves(y), tensor(y)
    mine, judge = ours(u, t), theirs(v, torch.tensor(t, dtype=torch.float64))
    mine.backward()
    judge.backward()
    assert mine.data == close(judge.item())
    assert [x.grad for x in u] == close(v.grad.tolist())


@pytest.mark.parametrize("c", range(6))
def test_cross_entropy_of_a_class(c):
    u, v = leaves(LOGITS), tensor(LOGITS)
    mine, judge = losses.cross_entropy(u, c), F.cross_entropy(v[None], torch.tensor([c]))
    mine.backward()
    judge.backward()
    assert mine.data == close(judge.item())
    assert [x.grad for x in u] == close(v.grad.tolist())


def test_the_precision_of_the_normal_likelihood_is_differentiated_too():
    beta, theirs = Value(1.7), tensor(1.7)
    losses.gaussian_nll(LOGITS, REAL, beta).backward()
    normal(theirs)(torch.tensor(LOGITS, dtype=torch.float64), torch.tensor(REAL, dtype=torch.float64)).backward()
    assert beta.grad == close(theirs.grad.item())


def test_penalties_and_softmax():
    u, v = leaves(LOGITS), tensor(LOGITS)
    (losses.l1(u, 0.3) + losses.l2(u, 0.7)).backward()
    (0.3 * v.abs().sum() + 0.7 * (v**2).sum()).backward()
    assert [x.grad for x in u] == close(v.grad.tolist())
    for ours, theirs in ((softmax, F.softmax), (losses.log_softmax, F.log_softmax)):
        u, v = leaves(LOGITS), tensor(LOGITS)
        y, judge = ours(u), theirs(v, dim=0)
        assert [x.data for x in y] == close(judge.tolist())
        total(w * x for w, x in zip(REAL, y, strict=True)).backward()
        (torch.tensor(REAL, dtype=torch.float64) * judge).sum().backward()
        assert [x.grad for x in u] == close(v.grad.tolist())


# --- feed-forward networks --------------------------------------------------------------------------------------------

ACTIVATIONS = {
    "relu": torch.relu, "tanh": torch.tanh, "sigmoid": torch.sigmoid, "softplus": F.softplus, "silu": F.silu,
    "gelu": F.gelu, "elu": F.elu, "leaky_relu": F.leaky_relu, "identity": lambda z: z,
}  # fmt: skip


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_networks(name):
    sizes = [(4, 3), (5, 4), (2, 5)]
    W = [uniform(*size, seed=7) for size in sizes]
    b = [uniform(n, seed=8) for n, _ in sizes]
    x, t = uniform(3, seed=9), uniform(2, seed=9)
    model = nn.MLP.from_weights(W, b, activation=name)
    u, v = leaves(x), tensor(x)
    losses.mse(model(u), t).backward()
    A, c = list(map(tensor, W)), list(map(tensor, b))
    h = v
    for k in range(3):
        h = A[k] @ h + c[k]
        h = ACTIVATIONS[name](h) if k < 2 else h
    F.mse_loss(h, torch.tensor(t, dtype=torch.float64)).backward()
    assert [p.data for p in model(u)] == close(h.tolist())
    assert [p.grad for p in u] == close(v.grad.tolist())
    for layer, weights, biases in zip(model.layers, A, c, strict=True):
        assert [[w.grad for w in neuron.w] for neuron in layer.neurons] == [close(row) for row in weights.grad.tolist()]
        assert [neuron.b.grad for neuron in layer.neurons] == close(biases.grad.tolist())


# --- recurrent networks -----------------------------------------------------------------------------------------------


def grads(rows):
    return [[v.grad for v in row] for row in rows]


@pytest.mark.parametrize(
    ("kind", "peer", "options"),
    [
        (nn.RNNCell, torch.nn.RNN, {"activation": "tanh"}),
        (nn.RNNCell, torch.nn.RNN, {"activation": "relu"}),
        (nn.GRUCell, torch.nn.GRU, {}),
        (nn.LSTMCell, torch.nn.LSTM, {}),
    ],
)
@pytest.mark.parametrize("bias", [True, False])
def test_cells_with_pytorchs_weights(kind, peer, options, bias):
    torch.manual_seed(3)
    n, hidden, steps = 3, 4, 6
    named = {"nonlinearity": options["activation"]} if options else {}
    judge = peer(n, hidden, bias=bias, dtype=torch.float64, **named)
    read = torch.nn.Linear(hidden, 2, dtype=torch.float64)
    weights = [judge.weight_ih_l0, judge.weight_hh_l0, *([judge.bias_ih_l0, judge.bias_hh_l0] if bias else [])]
    cell = kind.from_weights(*weights, **options)
    model = nn.RNN(cell, nn.Layer.from_weights(read.weight, read.bias))
    sequence, mix = uniform(steps, n, seed=4), uniform(steps, 2, seed=5)

    x = [leaves(step) for step in sequence]
    outputs = model(x)
    total(m * y for row, step in zip(mix, outputs, strict=True) for m, y in zip(row, step, strict=True)).backward()
    z = tensor(sequence)
    states, _ = judge(z)
    theirs = read(states)
    (torch.tensor(mix, dtype=torch.float64) * theirs).sum().backward()

    assert [[y.data for y in step] for step in outputs] == [close(row) for row in theirs.tolist()]
    assert grads(x) == [close(row) for row in z.grad.tolist()]
    assert grads(cell.W_x) == [close(row) for row in judge.weight_ih_l0.grad.tolist()]
    assert grads(cell.W_h) == [close(row) for row in judge.weight_hh_l0.grad.tolist()]
    if bias:
        assert [b.grad for b in cell.b] == close(judge.bias_ih_l0.grad.tolist())
        inner = [b.grad for b in cell.b_hn] if kind is nn.GRUCell else []
        assert inner == close(judge.bias_hh_l0.grad.tolist()[2 * hidden :] if inner else [])
    assert [[w.grad for w in neuron.w] for neuron in model.output.neurons] == [
        close(r) for r in read.weight.grad.tolist()
    ]


# --- optimisers -------------------------------------------------------------------------------------------------------

OPTIMIZERS = [
    (optim.SGD, torch.optim.SGD, {}),
    (optim.SGD, torch.optim.SGD, {"momentum": 0.9}),
    (optim.SGD, torch.optim.SGD, {"momentum": 0.9, "nesterov": True}),
    (optim.SGD, torch.optim.SGD, {"weight_decay": 0.1}),
    (optim.SGD, torch.optim.SGD, {"momentum": 0.5, "nesterov": True, "weight_decay": 0.1}),
    (optim.RMSprop, torch.optim.RMSprop, {}),
    (optim.RMSprop, torch.optim.RMSprop, {"momentum": 0.9, "alpha": 0.9}),
    (optim.RMSprop, torch.optim.RMSprop, {"weight_decay": 0.1, "eps": 1e-3}),
    (optim.Adam, torch.optim.Adam, {}),
    (optim.Adam, torch.optim.Adam, {"weight_decay": 0.1, "eps": 1e-3}),
    (optim.Adam, torch.optim.Adam, {"beta1": 0.8, "beta2": 0.99}),
    (optim.AdamW, torch.optim.AdamW, {}),
    (optim.AdamW, torch.optim.AdamW, {"weight_decay": 0.3}),
]


def hills(x):
    """Curved enough to keep every optimiser busy; the same text for both."""
    return (x[0] * x[1]).sin() + (x[0] - x[2]) ** 2 * 0.5 + (x[1] * x[1] + x[2]).tanh() * x[3] + x[3] ** 4


@pytest.mark.parametrize(("ours", "theirs", "settings"), OPTIMIZERS)
def test_every_step_is_pytorchs(ours, theirs, settings):
    start = uniform(4, seed=6, low=-1.0, high=1.0)
    p, q = leaves(start), tensor(start)
    renamed = {k: v for k, v in settings.items() if not k.startswith("beta")}
    if "beta1" in settings:
        renamed["betas"] = (settings["beta1"], settings["beta2"])
    mine, judge = ours(p, 0.05, **settings), theirs([q], lr=0.05, **renamed)
    for _ in range(25):
        mine.zero_grad()
        judge.zero_grad()
        hills(p).backward()
        hills(q).backward()
        mine.step()
        judge.step()
        assert [v.data for v in p] == close(q.tolist())


LAMBDA = torch.optim.lr_scheduler
SCHEDULES = [
    (optim.step_decay(0.4, every=3, factor=0.5), lambda o: LAMBDA.StepLR(o, 3, 0.5)),
    (optim.exponential_decay(0.4, 0.9), lambda o: LAMBDA.ExponentialLR(o, 0.9)),
    (optim.cosine_decay(0.4, epochs=12, end=0.1), lambda o: LAMBDA.CosineAnnealingLR(o, 12, 0.1)),
    (optim.inverse_time_decay(0.4, 0.25), lambda o: LAMBDA.LambdaLR(o, lambda epoch: 1 / (1 + 0.25 * epoch))),
]


@pytest.mark.parametrize(("ours", "theirs"), SCHEDULES)
def test_schedules(ours, theirs):
    optimizer = torch.optim.SGD([tensor(1.0)], lr=0.4)
    scheduler = theirs(optimizer)
    for epoch in range(12):
        assert ours(epoch) == close(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()


@pytest.mark.parametrize(
    ("init", "peer"), [("xavier", torch.nn.init.xavier_uniform_), ("he", torch.nn.init.kaiming_normal_)]
)
def test_initial_weights_are_spread_like_pytorchs(init, peer):
    torch.manual_seed(0)
    judge = peer(torch.empty(60, 80, dtype=torch.float64))
    weights = [w.data for neuron in nn.Layer(80, 60, init=init, seed=0).neurons for w in neuron.w]
    spread = math.sqrt(sum(w * w for w in weights) / len(weights))
    assert spread == pytest.approx(judge.std().item(), rel=0.03)
    assert max(map(abs, weights)) == pytest.approx(judge.abs().max().item(), rel=0.2)
