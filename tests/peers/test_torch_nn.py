"""Losses, networks, cells, optimisers and schedules against PyTorch: values, gradients, steps, to 1e-12."""

import json
import math
import random
from itertools import product

import pytest
from mpmath import mp, mpf

from tinygrad_vi import Value, losses, nn, optim, softmax, total

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")
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


def constant(x):
    return torch.tensor(x, dtype=torch.float64)


def leaves(x):
    """Nested lists of numbers as Values."""
    return [leaves(v) for v in x] if isinstance(x, list) else Value(x)


def flat(x):
    return [v for row in x for v in flat(row)] if isinstance(x, list) else [x]


def slopes(x):
    return [v.grad for v in flat(x)]


def numbers(x):
    return flat(x.tolist())


def nested(x):
    """Six numbers as one list, as lists of several shapes, and the first of them alone."""
    return [x, [x[:3], x[3:]], [[[v] for v in x[:2]], [[v] for v in x[2:4]]], x[:1], x[0]]


# --- losses -----------------------------------------------------------------------------------------------------------

LOGITS, REAL, PROBABLE = uniform(6), uniform(6, seed=1), uniform(6, seed=2, low=0.05, high=0.95)
LABELS, SIGNS = [1.0, 0.0, 0.0, 1.0, 1.0, 0.0], [1.0, -1.0, -1.0, 1.0, 1.0, -1.0]
FAR = [1000.0, 40.0, -40.0, -1000.0, 999.0, 0.0]
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
    (losses.bce_with_logits, F.binary_cross_entropy_with_logits, FAR, LABELS),
    *((losses.multilabel_bce, lambda a, t: F.binary_cross_entropy_with_logits(a, t, reduction="sum"), a, t)
      for a in (LOGITS, FAR) for t in (LABELS, SOFT)),
    (losses.cross_entropy, F.cross_entropy, LOGITS, WEIGHTS),
    (losses.cross_entropy, F.cross_entropy, FAR, WEIGHTS),
    (losses.cross_entropy, F.cross_entropy, [1000.0, 999.0, -1000.0, 0.0, 998.5, 990.0], WEIGHTS),
    (losses.hinge, lambda y, t: F.relu(1 - t * y).mean(), LOGITS, SIGNS),
    *((lambda y, t, d=d: losses.huber(y, t, delta=d), lambda y, t, d=d: F.huber_loss(y, t, delta=d), LOGITS, REAL)
      for d in (0.5, 1.0, 2.0)),
    *((lambda y, t, c=c: losses.tukey_biweight(y, t, c=c), lambda y, t, c=c: tukey(y, t, c), LOGITS, REAL)
      for c in (0.7, 4.685)),
]  # fmt: skip


@pytest.mark.parametrize(("ours", "theirs", "y", "t"), LOSSES)
def test_losses(ours, theirs, y, t):
    shapes = [(y, t)] if ours is losses.cross_entropy else zip(nested(y), nested(t), strict=True)
    for predictions, targets in shapes:
        u, v = leaves(predictions), tensor(predictions)
        mine, judge = ours(u, targets), theirs(v, constant(targets))
        mine.backward()
        judge.backward()
        assert mine.data == close(judge.item())
        assert slopes(u) == close(numbers(v.grad))


@pytest.mark.parametrize(("ours", "theirs", "y", "t"), LOSSES)
def test_losses_are_differentiated_by_the_targets_too(ours, theirs, y, t):
    u, v, s, r = leaves(y), tensor(y), leaves(t), tensor(t)
    ours(u, s).backward()
    theirs(v, r).backward()
    assert slopes(u) == close(numbers(v.grad))
    assert slopes(s) == close(numbers(r.grad))


CORNERS = [
    (losses.huber, F.huber_loss, [1.0, -1.0, 0.0, 3.0], [0.0, 0.0, 0.0, 2.0]),
    (losses.hinge, lambda y, t: F.relu(1 - t * y).mean(), [1.0, -1.0, 0.0, 1e9], [1.0, -1.0, 1.0, 1.0]),
    (lambda y, t: losses.tukey_biweight(y, t, c=2.0), lambda y, t: tukey(y, t, 2.0), [2.0, -2.0, 0.0, 1e60], [0.0] * 4),
    (lambda y, t: losses.l1(y, 0.5), lambda y, t: 0.5 * y.abs().sum(), [0.0, -0.0, 1.0, -1e300], [0.0] * 4),
]


@pytest.mark.parametrize(("ours", "theirs", "y", "t"), CORNERS)
def test_losses_where_two_formulas_meet_and_far_out(ours, theirs, y, t):
    u, v = leaves(y), tensor(y)
    mine, judge = ours(u, t), theirs(v, constant(t))
    mine.backward()
    judge.backward()
    assert mine.data == close(judge.item())
    assert slopes(u) == close(numbers(v.grad))


@pytest.mark.parametrize("t", [0.0, 1.0])
def test_a_certain_and_right_probability_has_the_slope_of_the_logarithm_where_pytorch_says_0(t):
    u, v = Value(t), tensor(t)
    mine, judge = losses.bce(u, t), F.binary_cross_entropy(v, constant(t))
    mine.backward()
    judge.backward()
    assert mine.data == judge.item() == v.grad.item() == 0.0
    assert u.grad == (-1.0 if t else 1.0)  # -1/y and 1/(1 - y); PyTorch computes (y - t) / max(y (1 - y), 1e-12)


@pytest.mark.parametrize("c", range(6))
def test_cross_entropy_of_a_class(c):
    for logits in (LOGITS, FAR):
        u, v = leaves(logits), tensor(logits)
        mine, judge = losses.cross_entropy(u, c), F.cross_entropy(v[None], torch.tensor([c]))
        mine.backward()
        judge.backward()
        assert mine.data == close(judge.item())
        assert slopes(u) == close(numbers(v.grad))


@pytest.mark.parametrize("precision", [1e-6, 0.3, 1.7, 1e6])
def test_the_precision_of_the_normal_likelihood_is_differentiated_too(precision):
    for y, t in zip(nested(LOGITS), nested(REAL), strict=True):
        beta, theirs, u, v = Value(precision), tensor(precision), leaves(y), tensor(y)
        mine, judge = losses.gaussian_nll(u, t, beta), normal(theirs)(v, constant(t))
        mine.backward()
        judge.backward()
        assert mine.data == close(judge.item())
        assert beta.grad == close(theirs.grad.item())
        assert slopes(u) == close(numbers(v.grad))


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (lambda p: losses.l1(p), lambda q: q.abs().sum()),
        (lambda p: losses.l1(p, 0.3), lambda q: 0.3 * q.abs().sum()),
        (lambda p: losses.l2(p), lambda q: (q**2).sum()),
        (lambda p: losses.l2(p, 0.7), lambda q: 0.7 * (q**2).sum()),
    ],
)
def test_penalties(ours, theirs):
    u, v = leaves(LOGITS), tensor(LOGITS)
    mine, judge = ours(u), theirs(v)
    mine.backward()
    judge.backward()
    assert mine.data == close(judge.item())
    assert slopes(u) == close(numbers(v.grad))


@pytest.mark.parametrize(("ours", "theirs"), [(softmax, F.softmax), (losses.log_softmax, F.log_softmax)])
@pytest.mark.parametrize("logits", [LOGITS, FAR, LOGITS[:2], [40.0], [3.0, 3.0, 3.0]], ids=str)
def test_softmax_and_its_logarithm(ours, theirs, logits):
    u, v = leaves(logits), tensor(logits)
    y, judge = ours(u), theirs(v, dim=0)
    assert [x.data for x in y] == close(judge.tolist())
    total(w * x for w, x in zip(REAL, y, strict=False)).backward()
    (constant(REAL[: len(logits)]) * judge).sum().backward()
    assert slopes(u) == close(numbers(v.grad))


# PyTorch loses the tails: the loss of a = -40, t = 0 is 0 instead of 4.2e-18, and so is the slope of a = 40, t = 1


def exact(x):
    return pytest.approx(x, rel=1e-12, abs=0.0)


@pytest.mark.parametrize("t", [0.0, 1.0, 0.3, 1.0 - 1e-9])
@pytest.mark.parametrize("a", [1000.0, 700.0, 40.0, 0.0, -40.0, -700.0, -1000.0])
@pytest.mark.parametrize("loss", [losses.bce_with_logits, losses.multilabel_bce])
def test_binary_cross_entropy_keeps_the_digits_of_its_tails(loss, a, t):
    with mp.workdps(1000):
        y = 1 / (1 + mp.exp(-mpf(a)))
        value, slope = float(-(mpf(t) * mp.log(y) + (1 - mpf(t)) * mp.log(1 - y))), float(y - mpf(t))
    u = Value(a)
    mine = loss([u], [t])
    mine.backward()
    assert (mine.data, u.grad) == (exact(value), exact(slope))


@pytest.mark.parametrize("target", [0, 1, 2, 3, [0.1, 0.2, 0.3, 0.4], [1.0, 0.0, 0.0, 0.0]], ids=str)
@pytest.mark.parametrize("logits", [[40.0, 0.0, -40.0, 3.0], [1000.0, -1000.0, 999.0, 0.0], [-1000.0] * 4], ids=str)
def test_cross_entropy_keeps_the_digits_of_its_tails(logits, target):
    t = target if isinstance(target, list) else [float(c == target) for c in range(4)]
    with mp.workdps(1000):
        powers = [mp.exp(mpf(a)) for a in logits]
        y = [p / sum(powers) for p in powers]
        value = float(-sum(mpf(tk) * mp.log(yk) for tk, yk in zip(t, y, strict=True)))
        slope = [float(yk - mpf(tk)) for tk, yk in zip(t, y, strict=True)]
    u = leaves(logits)
    mine = losses.cross_entropy(u, target)
    mine.backward()
    if isinstance(target, list):  # a difference of logits: to the digits that they have
        assert mine.data == pytest.approx(value, rel=1e-12, abs=1e-15 * max(map(abs, logits)))
        assert slopes(u) == close(slope)
    else:
        assert mine.data == exact(value)
        assert slopes(u) == exact(slope)


# --- feed-forward networks --------------------------------------------------------------------------------------------

ACTIVATIONS = {
    "relu": torch.relu, "tanh": torch.tanh, "sigmoid": torch.sigmoid, "softplus": F.softplus, "silu": F.silu,
    "gelu": F.gelu, "elu": F.elu, "leaky_relu": F.leaky_relu, "identity": lambda z: z,
}  # fmt: skip


OUTPUTS = {"tanh": torch.tanh, "softmax": lambda z: F.softmax(z, dim=-1)}


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("output", [None, *OUTPUTS])
@pytest.mark.parametrize("bias", [True, False])
def test_networks(name, output, bias):
    sizes = [(4, 3), (5, 4), (2, 5)]
    W, b = [uniform(*size, seed=7) for size in sizes], [uniform(n, seed=8) for n, _ in sizes]
    X, T = uniform(5, 3, seed=9), uniform(5, 2, seed=9)
    model = nn.MLP.from_weights(W, b if bias else None, activation=name, output_activation=output)
    linear = [torch.nn.Linear(n, m, bias=bias, dtype=torch.float64) for m, n in sizes]
    with torch.no_grad():
        for layer, weights, biases in zip(linear, W, b, strict=True):
            layer.weight.copy_(constant(weights))
            if bias:
                layer.bias.copy_(constant(biases))

    u, v = leaves(X), tensor(X)
    outputs, h = [model(x) for x in u], v
    losses.mse(outputs, T).backward()
    for layer, activate in zip(linear, [ACTIVATIONS[name]] * 2 + [OUTPUTS.get(output, lambda z: z)], strict=True):
        h = activate(layer(h))
    F.mse_loss(h, constant(T)).backward()
    assert [y.data for y in flat(outputs)] == close(numbers(h))
    assert flat(model.predict(X)) == close(numbers(h))
    assert slopes(u) == close(numbers(v.grad))
    for layer, judge in zip(model.layers, linear, strict=True):
        assert slopes([neuron.w for neuron in layer.neurons]) == close(numbers(judge.weight.grad))
        if bias:
            assert slopes([neuron.b for neuron in layer.neurons]) == close(numbers(judge.bias.grad))


# --- recurrent networks -----------------------------------------------------------------------------------------------


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
@pytest.mark.parametrize("begun", [False, True])
def test_cells_with_pytorchs_weights(kind, peer, options, bias, begun):
    torch.manual_seed(3)
    n, hidden, steps = 3, 4, 6
    named = {"nonlinearity": options["activation"]} if options else {}
    judge = peer(n, hidden, bias=bias, dtype=torch.float64, **named)
    read = torch.nn.Linear(hidden, 2, dtype=torch.float64)
    weights = [judge.weight_ih_l0, judge.weight_hh_l0, *([judge.bias_ih_l0, judge.bias_hh_l0] if bias else [])]
    cell = kind.from_weights(*weights, **options)
    model = nn.RNN(cell, nn.Layer.from_weights(read.weight, read.bias))
    sequence, mix = uniform(steps, n, seed=4), uniform(steps, 2, seed=5)
    pair = kind is nn.LSTMCell
    first = uniform(2 if pair else 1, hidden, seed=6)  # h, or h and c

    x, start = leaves(sequence), leaves(first)
    z, begin = tensor(sequence), [tensor([row]) for row in first]
    outputs = model(x, (tuple(start) if pair else start[0]) if begun else None)
    total(m * y for m, y in zip(flat(mix), flat(outputs), strict=True)).backward()
    states, _ = judge(z, (tuple(begin) if pair else begin[0]) if begun else None)
    theirs = read(states)
    (constant(mix) * theirs).sum().backward()

    assert [y.data for y in flat(outputs)] == close(numbers(theirs))
    assert slopes(x) == close(numbers(z.grad))
    if begun:
        assert slopes(start) == close([g for row in begin for g in numbers(row.grad)])
    assert slopes(cell.W_x) == close(numbers(judge.weight_ih_l0.grad))
    assert slopes(cell.W_h) == close(numbers(judge.weight_hh_l0.grad))
    if bias:  # one where PyTorch has two, whose gradients are equal; but for the candidate of a GRU
        assert slopes(cell.b) == close(numbers(judge.bias_ih_l0.grad))
        both = cell.b[: 2 * hidden] + cell.b_hn if kind is nn.GRUCell else cell.b
        assert slopes(both) == close(numbers(judge.bias_hh_l0.grad))
    assert slopes([neuron.w for neuron in model.output.neurons]) == close(numbers(read.weight.grad))
    assert slopes([neuron.b for neuron in model.output.neurons]) == close(numbers(read.bias.grad))


# --- optimisers -------------------------------------------------------------------------------------------------------

DECAY = ({}, {"weight_decay": 0.1})
MOMENTUM = ({}, {"momentum": 0.9})
NESTEROV = {"momentum": 0.5, "nesterov": True}
OPTIMIZERS = [
    *((optim.SGD, torch.optim.SGD, m | d) for m, d in product((*MOMENTUM, NESTEROV), DECAY)),
    *((optim.RMSprop, torch.optim.RMSprop, m | d) for m, d in product(MOMENTUM, DECAY)),
    (optim.RMSprop, torch.optim.RMSprop, {"momentum": 0.5, "alpha": 0.9, "eps": 1e-3}),
    *((kind, peer, b | d) for kind, peer in ((optim.Adam, torch.optim.Adam), (optim.AdamW, torch.optim.AdamW))
      for b, d in product(({}, {"beta1": 0.8, "beta2": 0.99, "eps": 1e-3}), (*DECAY, {"weight_decay": 0.0}))),
]  # fmt: skip


def hills(x):
    """Curved enough to keep every optimiser busy; the same text for both."""
    return (x[0] * x[1]).sin() + (x[0] - x[2]) ** 2 * 0.5 + (x[1] * x[1] + x[2]).tanh() * x[3] + x[3] ** 4


@pytest.mark.parametrize(("ours", "theirs", "settings"), OPTIMIZERS)
@pytest.mark.parametrize("resumed", [False, True])
def test_every_step_is_pytorchs(ours, theirs, settings, resumed):
    start = uniform(4, seed=6, low=-1.0, high=1.0)
    p, q = leaves(start), tensor(start)
    renamed = {k: v for k, v in settings.items() if not k.startswith("beta")}
    if "beta1" in settings:
        renamed["betas"] = (settings["beta1"], settings["beta2"])
    mine, judge = ours(p, 0.05, **settings), theirs([q], lr=0.05, **renamed)
    for step in range(25):
        if resumed and step == 12:  # another optimiser of other settings, from a file; PyTorch's goes on
            saved = json.loads(json.dumps([[v.data for v in p], mine.state_dict()]))
            p = leaves(saved[0])
            mine = ours(p, 123.0)
            mine.load_state_dict(saved[1])
        mine.zero_grad()
        judge.zero_grad()
        hills(p).backward()
        hills(q).backward()
        mine.step()
        judge.step()
        assert [v.data for v in p] == close(q.tolist())


LR = torch.optim.lr_scheduler
SCHEDULES = [
    *((optim.step_decay(0.1, n, factor=f), lambda o, n=n, f=f: LR.StepLR(o, n, f)) for n, f in ((3, 0.5), (1, 0.9), (5, 0.1))),
    *((optim.exponential_decay(0.1, f), lambda o, f=f: LR.ExponentialLR(o, f)) for f in (0.9, 0.5, 1.0)),
    *((optim.cosine_decay(0.1, 12, end=e), lambda o, e=e: LR.CosineAnnealingLR(o, 12, e)) for e in (0.0, 0.02)),
    *((optim.inverse_time_decay(0.1, rate=r), lambda o, r=r: LR.LambdaLR(o, lambda epoch: 1 / (1 + r * epoch)))
      for r in (0.25, 1.0)),
]  # fmt: skip


@pytest.mark.parametrize(("ours", "theirs"), SCHEDULES)
def test_schedules(ours, theirs):
    start = uniform(4, seed=6, low=-1.0, high=1.0)
    p, q = leaves(start), tensor(start)
    mine, judge = optim.SGD(p, 0.1, momentum=0.9), torch.optim.SGD([q], lr=0.1, momentum=0.9)
    scheduler = theirs(judge)
    for epoch in range(13):
        mine.learning_rate = ours(epoch)
        assert mine.learning_rate == close(judge.param_groups[0]["lr"])
        for optimizer, x in ((mine, p), (judge, q)):
            optimizer.zero_grad()
            hills(x).backward()
            optimizer.step()
        assert [v.data for v in p] == close(q.tolist())
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


def test_settings_that_are_not_given_are_pytorchs():
    w, parameter = Value(1.0), [torch.zeros(1, requires_grad=True)]
    for name in ("Adam", "AdamW", "RMSprop", "SGD"):
        theirs = getattr(torch.optim, name)(parameter, **({"lr": 0.01} if name == "SGD" else {})).defaults
        ours = getattr(optim, name)([w]).settings
        beta1, beta2 = theirs.get("betas", (None, None))
        wanted = {**theirs, "learning_rate": theirs["lr"], "beta1": beta1, "beta2": beta2}
        assert ours == {setting: wanted[setting] for setting in ours}
    sgd = torch.optim.SGD(parameter, lr=1.0)
    steps = torch.optim.lr_scheduler.StepLR(sgd, step_size=2)
    assert [optim.step_decay(1.0, 2)(epoch) for epoch in (1, 2, 4)] == pytest.approx([1.0, steps.gamma, steps.gamma**2])
