"""Every judgement that the package puts into words, on innocent and on guilty inputs.

One row each: the sentence, what must not provoke it, what must.  Right values come from textbooks, mpmath, PyTorch and
SciPy in the tests of each part; here it is the words that are judged.

Judgements that pictures of networks make have their own tables: vanishing, exploding, dead and healthy gradients in
tests/show/training/test_plots.py and tests/show/training/test_film.py, which neurons are one layer in tests/show/graphs/test_levels.py and
tests/show/networks/test_network.py, "by convention" in derivations in tests/show/tapes/test_derivation.py.
"""

import math
import warnings

import numpy as np
import pytest

from tinygrad_vi import (
    DomainError,
    GradientError,
    Tape,
    Value,
    accuracy,
    compile,
    data,
    elu,
    erf,
    exp,
    fit,
    gelu,
    gradcheck,
    leaky_relu,
    log,
    losses,
    maximum,
    minimum,
    nn,
    numerical_gradient,
    optim,
    relu,
    sigmoid,
    silu,
    sin,
    softmax,
    softplus,
    sqrt,
    step,
    tan,
    tanh,
    where,
)
from tinygrad_vi.rows import new_row
from tinygrad_vi.show import error_surface, loss_landscape, quadratic
from tinygrad_vi.show.training.quadratic import _behaviour, _nature
from tinygrad_vi.show.ways import expression_growth, numerical_error


def said(report):
    return "\n".join(report.remarks)


# --- "a kink: differences tend to ... by convention", "a jump ..." ----------------------------------------------------

SMOOTH_WHERE_F_IS_0 = {
    "log at 1": (log, 1.0),
    "2x - 2 at 1": (lambda x: 2 * x - 2, 1.0),
    "sin at pi": (sin, math.pi),
    "sin at 1e6 pi": (sin, 1e6 * math.pi),
    "tan at pi": (tan, math.pi),
    "sine at pi/2": (lambda x: sin(x) - 1.0, math.pi / 2),
    "x - 1e10": (lambda x: x - 1e10, 1e10),
    "x - 1e-300": (lambda x: x - 1e-300, 1e-300),
    "(x - 1)**3": (lambda x: (x - 1) ** 3, 1.0),
    "exp - 1": (lambda x: exp(x) - 1, 0.0),
    "x*x - 4": (lambda x: x * x - 4, 2.0),
    "a cubic": (lambda x: (x - 1) * (x - 2) * (x - 3), 2.0),
    "a difference of logarithms": (lambda x: log(x) - log(2.0), 2.0),
    "x log x": (lambda x: x * log(x), 1.0),
    "1e6 (x - 1)": (lambda x: 1e6 * (x - 1), 1.0),
    "a damped wave": (lambda x: sin(x) * exp(-x), 2 * math.pi),
    "a quotient": (lambda x: (x * x - 1) / (x + 1), 1.0),
    "1/x - 1": (lambda x: 1 / x - 1, 1.0),
    "erf": (erf, 0.0),
    "elu": (elu, 0.0),
    "gelu": (gelu, 0.0),
    "silu": (silu, 0.0),
    "softplus": (lambda x: softplus(x) - math.log(2), 0.0),
    "tanh": (tanh, 0.0),
    "x**2 - 1e-300": (lambda x: x**2 - 1e-300, 1e-150),
}
SMOOTH_THOUGH_SHARP = {
    "a fast sine": (lambda x: sin(1e6 * x), 0.0),
    "a steep tanh": (lambda x: tanh(1e8 * (x - 1) - 0.5), 1.0),
    "a steeper tanh": (lambda x: tanh(1e12 * (x - 1) - 0.5), 1.0),
    "|x|**1.5": (lambda x: abs(x) ** 1.5, 0.0),
    "x|x|": (lambda x: x * abs(x), 0.0),
    "relu squared": (lambda x: relu(x) ** 2, 0.0),
    "a rounded corner": (lambda x: sqrt(x * x + 1e-300), 0.0),
    "the joint of huber": (lambda x: losses.huber(x, 0.0), 1.0),
    "the joint of tukey": (lambda x: losses.tukey_biweight(x, 0.0), 4.685),
    "sqrt at 1e-4": (sqrt, 1e-4),
}


@pytest.mark.parametrize("name", SMOOTH_WHERE_F_IS_0 | SMOOTH_THOUGH_SHARP)
def test_a_smooth_function_has_no_kink(name):
    f, x = (SMOOTH_WHERE_F_IS_0 | SMOOTH_THOUGH_SHARP)[name]
    report = numerical_error(f, x)
    assert report.kink is None
    assert "kink" not in said(report)
    assert "jump" not in said(report)
    assert "convention" not in said(report)


KINKS = {
    "abs": (abs, 0.0, -1.0, 1.0),
    "relu": (relu, 0.0, 0.0, 1.0),
    "leaky_relu": (leaky_relu, 0.0, 0.01, 1.0),
    "elu(3)": (lambda x: elu(x, 3.0), 0.0, 3.0, 1.0),
    "maximum": (lambda x: maximum(x, 1.0), 1.0, 0.0, 1.0),
    "minimum": (lambda x: minimum(x * x, x), 1.0, 2.0, 1.0),
    "hinge": (lambda x: losses.hinge(x, 1.0), 1.0, -1.0, 0.0),
    "l1": (lambda x: losses.l1([x], 2.0), 0.0, -2.0, 2.0),
    "at 1e12": (lambda x: abs(x - 1e12), 1e12, -1.0, 1.0),
    "at 1e-10": (lambda x: abs(x - 1e-10), 1e-10, -1.0, 1.0),
    "at 1e-300": (lambda x: abs(x - 1e-300), 1e-300, -1.0, 1.0),
    "on a high floor": (lambda x: 1e6 + abs(x - 3), 3.0, -1.0, 1.0),
    "a tiny one": (lambda x: 1e-9 * abs(x), 0.0, -1e-9, 1e-9),
    "a tiny one in a bowl": (lambda x: x * x + 1e-6 * abs(x), 0.0, -1e-6, 1e-6),
    "exp |x|": (lambda x: exp(abs(x)), 0.0, -1.0, 1.0),
    "a branch on .data": (lambda x: x if x.data > 0 else 2 * x, 0.0, 2.0, 1.0),
}


@pytest.mark.parametrize("name", KINKS)
def test_a_kink_is_told(name):
    f, x, left, right = KINKS[name]
    report = numerical_error(f, x)
    assert report.kink == (pytest.approx(left, rel=1e-3), pytest.approx(right, rel=1e-3))
    assert "a kink: differences tend to" in said(report)
    assert "by convention" in said(report)
    assert "by theory" not in said(report)


JUMPS = {
    "step": (step, 0.0, "right"),
    "where": (lambda x: where(x - 1, 3.0, 1.0), 1.0, "right"),
    "floor": (lambda x: Value(float(math.floor(x.data))), 3.0, "left"),
    "a low one": (lambda x: 5 + step(x - 2) * 1e-6, 2.0, "right"),
    "at 1e6": (lambda x: step(x - 1e6), 1e6, "right"),
}


@pytest.mark.parametrize("name", JUMPS)
def test_a_jump_is_told(name):
    f, x, side = JUMPS[name]
    assert f"a jump on the {side}: differences grow without end as h shrinks" in said(numerical_error(f, x))


@pytest.mark.parametrize("x", [1e-3, 0.5, 1.0, 1.0001, 30.0])
def test_the_theory_of_the_best_step_is_within_a_factor_of_what_is_measured(x):
    report = numerical_error(log, x)  # by eps |f| alone it would be 0 at 1, and far too small near by
    h, _ = report.theory["central"]
    assert 0.02 < report.best["central"].h / h < 50.0


def test_missing_differences_are_named_step_by_step():
    holes = numerical_error(lambda x: sqrt(sin(40 * x)), 0.5, steps=[0.2, 0.1, 0.05, 0.01, 0.001])
    missing = [d.h for d in holes.differences["forward"] if math.isnan(d.error)]
    assert missing == [0.1, 0.05]  # sin(40 x) is negative there, and positive again at 0.7
    assert "no forward difference for h = 0.05 to 0.1: f has no value where it would need one" in said(holes)
    parted = numerical_error(lambda x: sqrt(sin(40 * x)), 0.5, steps=[0.25, 0.2, 0.1, 0.01])
    assert "no forward difference for h = 0.1, 0.25: f has no value" in said(parted)
    assert "the quotient overflows" in said(numerical_error(lambda x: step(x - 1) * 1e300, 1.0))


# --- "the derivative ... by automatic and ... by numerical differentiation" (gradcheck) -------------------------------


def off(function, factor):
    right = function.operation
    row = new_row("bad", right.value, lambda out, x: (right.partials(out, x)[0] * factor,), "wrong")
    return lambda x: Value.record(row, x)


@pytest.mark.parametrize(
    ("f", "x"), [(sin, 1e6), (log, 1e-5), (sqrt, 1e-4), (sin, math.pi), (relu, 1e-9), (exp, 700.0)]
)
def test_gradcheck_on_the_innocent_and_on_the_guilty(f, x):
    assert gradcheck(f)(x) < 1e-5
    with pytest.raises(GradientError, match="the operation bad at"):
        gradcheck(off(f, 1.001))(x)


def test_gradcheck_and_numerical_gradient_say_when_they_cannot_tell():
    for ask in (gradcheck, numerical_gradient):
        with pytest.raises(DomainError, match=r"cannot be told from differences|cannot\s+be told from differences"):
            ask(sin)(1e17)
    assert numerical_gradient(sin)(1e6) == pytest.approx(math.cos(1e6), rel=1e-6)


# --- "oscillates for ever", "converges ...", "diverges ...", "runs away", "does not move" -----------------------------

BEHAVIOURS = [  # eigenvalues, share of the largest learning rate 2 / λ_max, what is said
    ([1.0, 4.0], 1.0, "oscillates for ever"),
    ([2.0, 2.0], 1.0, "oscillates for ever"),
    ([0.1, 0.3], 1.0, "oscillates for ever"),
    ([1.0, 4.0], 0.9996, "converges slowly in a zigzag, ×0.999 a step"),
    ([1.0, 4.0], 1.0004, "diverges slowly, ×1.001 a step"),
    ([1.0, 4.0], 1.0 - 1e-9, "oscillates and shrinks, ×0.999999998 a step"),
    ([1.0, 4.0], 1.0 + 1e-9, "oscillates and grows, ×1.000000002 a step"),
    ([1.0, 4.0], 0.9, "converges in a zigzag, ×0.8 a step"),
    ([1.0, 4.0], 1.5, "diverges, ×2 a step"),
    ([1.0, 4.0], 0.1, "converges slowly, ×0.95 a step"),
    ([3.0, 4.0], 0.5, "converges, ×0.25 a step"),
    ([1.0, 4.0], 0.0, "does not move"),
    ([1.0, 4.0], 1e-20, "hardly moves"),
    ([-1.0, 4.0], 0.5, "runs away, ×1.25 a step"),
    ([0.0, 4.0], 1.0, "oscillates for ever"),
]


@pytest.mark.parametrize(("eigenvalues", "share", "words"), BEHAVIOURS)
def test_what_descent_on_a_quadratic_does(eigenvalues, share, words):
    rate = share * 2.0 / max(eigenvalues)
    assert _behaviour(np.array(eigenvalues), rate) == words
    w = np.ones(2)  # and it does so
    for _ in range(1000):
        w = w * (1.0 - rate * np.array(eigenvalues))
    size = float(abs(w).max())
    if "for ever" in words or "not move" in words or "hardly" in words:
        assert size == pytest.approx(1.0, rel=1e-9)
    elif any(word in words for word in ("converges", "shrinks")):
        assert size < 1.0
    else:
        assert size > 1.0


def test_a_descent_is_judged_by_where_it_starts():
    plot = quadratic([[1.0, 0.0], [0.0, 4.0]], start=(1.0, 0.0), learning_rates=[0.6], steps=3)
    title = plot.figure.axes[0].get_title()
    assert "converges, ×0.4 a step" in title  # along the other eigenvector it would diverge, but it never goes there
    still = quadratic([[1.0, 0.0], [0.0, 4.0]], start=(0.0, 0.0), learning_rates=[0.6], steps=3)
    assert "does not move" in still.figure.axes[0].get_title()


@pytest.mark.parametrize(
    ("eigenvalues", "words"),
    [
        ([1.0, 4.0], "a minimum: descent converges below η_max = 2 / λ_max = 0.5"),
        ([0.0, 4.0], "a valley with a flat floor (λ₁ = 0): descent converges below η_max"),
        ([-1.0, 4.0], "a saddle (λ₁ = -1 < 0): no learning rate is stable"),
        ([-2.0, -1.0], "a maximum (λ₁ = -2 < 0): no learning rate is stable"),
    ],
)
def test_what_kind_of_point_a_quadratic_has(eigenvalues, words):
    assert _nature(np.array(eigenvalues)).startswith(words)


def test_a_shallow_bowl_is_no_valley_and_a_singular_one_is():
    assert "a minimum:" in quadratic([[1.0, 0.0], [0.0, 1e-13]], steps=1).summary
    assert "a valley with a flat floor" in quadratic([[0.1, 0.2], [0.2, 0.4]], steps=1).summary


# --- "an error surface with ... minima" -------------------------------------------------------------------------------

SURFACES = {
    "a**4 + b**4": (lambda a, b: a**4 + b**4, "a minimum", [(0, 0)]),
    "a**6 + b**6": (lambda a, b: a**6 + b**6, "a minimum", [(0, 0)]),
    "a valley": (lambda a, b: (a - b) ** 2, "a flat floor", None),
    "a ring": (lambda a, b: (a * a + b * b - 1) ** 2, "a flat floor", None),
    "a saddle": (lambda a, b: a * a - b * b, "no minimum found", []),
    "a monkey saddle": (lambda a, b: a**3 - 3 * a * b * b, "no minimum found", []),
    "two wells": (lambda a, b: (a * a - 1) ** 2 + b * b, "2 minima", [(-1, 0), (1, 0)]),
    "a kink": (lambda a, b: abs(a) + abs(b), "a minimum", [(0, 0)]),
    "sixteen": (lambda a, b: (5 * a).cos() + (5 * b).cos(), "6 minima or more", None),
    "a tiny bowl": (lambda a, b: 1e-9 * (a * a + b * b), "a minimum", [(0, 0)]),
}


@pytest.mark.parametrize("name", SURFACES)
def test_how_many_minima_a_surface_has(name):
    f, words, places = SURFACES[name]
    plot = error_surface(f, point=(0.3, 0.3), steps=30 if name == "sixteen" else 16)
    assert plot.summary == f"an error surface with {words}"
    if places is not None:
        assert sorted(plot.minima) == [pytest.approx(place, abs=5e-3) for place in sorted(places)]


# --- "it would be applied twice" --------------------------------------------------------------------------------------


def softmax_by_hand(logits):
    powers = [exp(a) for a in logits]
    norm = sum(powers)
    return [p / norm for p in powers]


TWICE = {
    "softmax": lambda a: losses.cross_entropy(softmax(a), 1),
    "softmax by hand": lambda a: losses.cross_entropy(softmax_by_hand(a), 1),
    "softmax, one-hot": lambda a: losses.cross_entropy(softmax(a), [0.0, 1.0, 0.0]),
    "softmax, soft targets": lambda a: losses.cross_entropy(softmax(a), [0.2, 0.5, 0.3]),
    "sigmoid": lambda a: losses.bce_with_logits(sigmoid(a[0]), 1.0),
    "sigmoid by hand": lambda a: losses.bce_with_logits(1 / (1 + exp(-a[0])), 1.0),
    "sigmoid by hand, other order": lambda a: losses.bce_with_logits(1 / (exp(-a[0]) + 1), 0.5),
    "sigmoids of a list": lambda a: losses.bce_with_logits([sigmoid(x) for x in a], [1.0, 0.0, 1.0]),
    "sigmoids of labels": lambda a: losses.multilabel_bce([sigmoid(x) for x in a], [1, 0, 1]),
}
ONCE = {
    "logits": lambda a: losses.cross_entropy(a, 1),
    "logits between 0 and 1": lambda a: losses.cross_entropy([0.2 * x * x for x in a], 1),
    "log_softmax, which changes nothing": lambda a: losses.cross_entropy(losses.log_softmax(a), 1),
    "scaled logits": lambda a: losses.cross_entropy([x / 2.0 for x in a], 1),
    "logits over one temperature": lambda a: losses.cross_entropy([x / (a[0] * a[0] + 1.0) for x in a], 1),
    "a logit between 0 and 1": lambda a: losses.bce_with_logits(0.25 * a[0], 1.0),
    "the right loss for probabilities": lambda a: losses.bce(sigmoid(a[0]), 1.0),
    "a softmax with its own loss": lambda a: -log(softmax(a)[1]),
    "a rational logit": lambda a: losses.bce_with_logits(1 / (1 + a[0] * a[0]), 1.0),
    "tanh scores": lambda a: losses.bce_with_logits(tanh(a[0]), 1.0),
}


def logits():
    return [Value(0.5), Value(-1.0), Value(2.0)]


@pytest.mark.parametrize("name", TWICE)
def test_an_activation_that_a_loss_applies_itself_is_told(name):
    with pytest.warns(UserWarning, match="applied twice. Leave the (softmax|sigmoid) out of the model") as caught:
        TWICE[name](logits())
    assert {warning.filename for warning in caught} == {__file__}  # at the place


@pytest.mark.parametrize("name", ONCE)
def test_logits_are_not_accused_whatever_their_numbers(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ONCE[name](logits())


@pytest.mark.parametrize("compiled", [False, True])
def test_it_is_told_once_in_training_eager_and_compiled(compiled):
    model = nn.MLP(2, [3, 3], activation="tanh", output_activation="softmax", seed=0)

    def loss(x, t):
        return losses.cross_entropy(model(x), t)

    X, y = [[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], [0, 1, 2]
    given = compile(loss, model.parameters(), backend="numpy") if compiled else loss
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        fit(given, X, y, params=model, epochs=3, progress=False)
    told = [warning for warning in caught if "applied twice" in str(warning.message)]
    assert len(told) == 1
    assert told[0].filename == __file__


# --- "for probabilities give threshold=0.5" (accuracy) ----------------------------------------------------------------


def test_probabilities_under_the_threshold_0_are_told_by_the_record():
    model = nn.MLP.from_weights([[[1.0]]], [[0.0]], output_activation="sigmoid")
    with pytest.warns(UserWarning, match="the outputs are those of a sigmoid: for probabilities give threshold=0"):
        accuracy(model, [[0.3], [0.7]], [0, 1])
    with pytest.warns(UserWarning, match="all outputs lie between 0 and 1"):  # plain numbers have no record
        accuracy(lambda x: x, [0.3, 0.7], [0, 1])
    innocent = nn.MLP.from_weights([[[1.0]]], [[0.0]])
    assert accuracy(innocent, [[0.3], [0.7]], [1, 1]) == 1.0
    assert accuracy(model, [[-0.3], [0.7]], [0, 1], threshold=0.5) == 1.0


@pytest.mark.parametrize("outputs", [[math.nan, 1.0, -1.0, 1.0], [1.0, 2.0, 3.0, math.nan]])
def test_an_output_that_is_nan_is_no_answer(outputs):
    with pytest.raises(DomainError, match=r"the output of the model for example \d is nan, which is no answer"):
        accuracy(lambda x: outputs[int(x)], [0.0, 1.0, 2.0, 3.0], [0, 1, 0, 1])
    with pytest.raises(DomainError, match="is nan"):
        accuracy(lambda x: [0.0, outputs[int(x)]], [0.0, 1.0, 2.0, 3.0], [0, 1, 0, 1])


def test_accuracy_at_its_edges():
    assert accuracy(lambda x: [1.0, 1.0, 0.0], [0.0, 0.0], [0, 1]) == 0.5  # the first of equal outputs, as argmax
    assert accuracy(lambda x: x, [[-1.0], [2.0]], [[0], [1]]) == 1.0  # a column of targets
    assert accuracy(lambda x: np.array([0.0, x]), [1.0, -1.0], np.array([[1], [0]])) == 1.0
    with pytest.raises(ValueError, match=r"there is no class 0\.5 among 2 outputs"):
        accuracy(lambda x: [0.0, x], [1.0], [0.5])
    with pytest.raises(ValueError, match=r"the model gave no output for example 0"):
        accuracy(lambda x: [], [1.0], [0])
    with pytest.raises(ValueError, match="there are no examples"):
        accuracy(lambda x: x, [], [])
    with pytest.raises(ValueError, match="accuracy needs a target for each example"):
        accuracy(lambda x: x, [1.0], None)
    with pytest.raises(ValueError, match="the threshold is nan"):
        accuracy(lambda x: x, [1.0], [1], threshold=math.nan)


# --- "success", "no improvement in ...", "the loss depends on none of the parameters" ---------------------------------


def test_success_is_not_said_of_other_values():
    w, other = Value(1.0, "w"), Value(3.0)
    with pytest.raises(ValueError, match="the residuals depend on none of the parameters"):
        optim.levenberg_marquardt(lambda: [other - 1.0], [w])
    with pytest.raises(ValueError, match="the loss depends on none of the parameters"):
        optim.minimize(lambda: other * other, [w])
    with pytest.raises(ValueError, match="the loss depends on none of the parameters"):
        fit(lambda x: other * x, [1.0], params=[w], progress=False)
    with pytest.raises(ValueError, match="the result does not depend on the parameters"):
        fit(compile(lambda x: other * x, [w], backend="numpy"), [1.0], progress=False)
    assert optim.levenberg_marquardt(lambda: [w - 2.0, w * w - 4.0], [w]).success
    assert w.data == pytest.approx(2.0)


def test_a_masked_first_batch_does_not_make_the_loss_independent():
    w = Value(1.0, "w")
    loss = lambda x: (w - x) ** 2 if x > 0.0 else Value(0.0)  # noqa: E731
    adamw = optim.AdamW([w], 0.1)
    fit(loss, [-1.0, -1.0, 3.0], params=[w], optimizer=adamw, batch_size=1, seed=None, epochs=50, progress=False)
    assert w.data > 2.0
    with pytest.raises(ValueError, match="the loss depends on none of the parameters"):
        fit(loss, [-1.0, -2.0], params=[w], batch_size=1, progress=False)


def test_parameters_of_different_size_are_no_less_determined():
    a, b = Value(0.0), Value(0.0)
    optim.levenberg_marquardt(lambda: [a - 1.0, 1e-9 * b - 2.0, a + 1e-9 * b - 3.0], [a, b], damping=0.0)
    assert (a.data, b.data) == (pytest.approx(1.0), pytest.approx(2e9))
    with pytest.raises(ValueError, match="is singular with damping = 0"):
        optim.levenberg_marquardt(lambda: [a + b, 2 * a + 2 * b], [a, b], damping=0.0)
    with pytest.raises(ValueError, match="is singular"):
        optim.levenberg_marquardt(lambda: [a - 1.0, (b - b - 5.0).relu()], [a, b], damping=0.0)


def test_no_improvement_is_said_where_there_is_none():
    w = Value(4.0)
    falling = fit(lambda x: (w - x) ** 2, [0.0], params=[w], optimizer=optim.SGD([w], 0.1), epochs=30, patience=2,
                  progress=False)  # fmt: skip
    assert (falling.stopped, falling.epochs) == ("", 30)
    still = fit(lambda x: (w - x) ** 2, [0.0], params=[w], optimizer=optim.SGD([w], 0.0), epochs=30, patience=2,
                progress=False)  # fmt: skip
    assert (still.stopped, still.epochs) == ("no improvement in 2 epochs", 3)


# --- "both derivatives have the same value", "the formula loses digits" (expression_growth) ---------------------------


def test_a_formula_is_said_to_lose_digits_where_40_digits_say_so():
    assert "both derivatives have the same value" in said(expression_growth(lambda x: 4 * x * (1 - x), 0.3, depth=4))
    loses = expression_growth(tanh, 15.0, depth=1)  # 1 - tanh(15)**2 cancels, sech(15)**2 does not
    assert "the formula loses digits: its value is off by a relative" in said(loses)
    assert loses.rows[0].automatic_error < 1e-14
    steep = expression_growth(lambda x: sin(1e9 * x * x), 1.1, depth=2)  # neither knows sin of a rounded 1e18
    assert "loses digits" not in said(steep)
    assert "rounding shows in both" in said(steep)


# --- Small ones at edges ----------------------------------------------------------------------------------------------


def test_where_of_nan_is_nan_as_every_operation_of_the_table():
    assert math.isnan(where(math.nan, 1.0, 2.0))
    assert math.isnan(where(Value(math.nan), 1.0, 2.0).data)
    assert [where(c, 1.0, 2.0) for c in (1e-300, 0.0, -0.0, -1.0, math.inf, -math.inf)] == [
        1.0,
        2.0,
        2.0,
        2.0,
        1.0,
        2.0,
    ]
    with pytest.raises(DomainError, match="nan"):
        where(Value(math.nan, "c"), Value(1.0), Value(2.0)).backward()
    assert math.isnan(losses.tukey_biweight(math.nan, 0.0))  # it was c**2/6, as for an outlier


@pytest.mark.parametrize(("loss", "bound"), [(losses.huber, "delta"), (losses.tukey_biweight, "c")])
def test_a_bound_of_infinity_is_half_the_squared_error_and_said_to_be(loss, bound):
    with pytest.raises(ValueError, match=r"with no bound it is half the squared error, 0\.5 \* mse\(\.\.\.\)"):
        loss([1.0, 3.0], [0.0, 0.0], **{bound: math.inf})
    assert loss([1.0, 3.0], [0.0, 0.0], **{bound: 1e6}) == pytest.approx(
        0.5 * losses.mse([1.0, 3.0], [0.0, 0.0]), rel=1e-9
    )
    for bad in (0.0, -1.0, math.nan, -math.inf):
        with pytest.raises(ValueError, match="> 0"):
            loss(1.0, 0.0, **{bound: bad})
    with pytest.raises(ValueError, match="a c whose square is a number above 0"):
        losses.tukey_biweight(1.0, 0.0, c=1e200)
    with pytest.raises(ValueError, match="needs a finite beta"):
        losses.gaussian_nll(1.0, 0.0, math.inf)


@pytest.mark.parametrize(
    "column", [[0.1 + 0.2, 0.3, 0.3], [sum([0.1] * 10), 1.0, 1.0], [1e9, 1e9, 1e9], [-0.7, -0.7000000000000001, -0.7]]
)
def test_a_column_of_rounding_noise_is_constant(column):
    scaled, _, [deviation] = data.standardize([[x] for x in column])
    assert deviation == 0.0
    assert max(abs(x) for [x] in scaled) <= 1e-15 * max(map(abs, column))


@pytest.mark.parametrize("column", [[1.0, 1.0 + 1e-12, 1.0], [1e-300, 2e-300, 3e-300], [1e9, 1e9 + 1.0, 1e9]])
def test_a_column_that_varies_a_little_is_not(column):
    scaled, _, [deviation] = data.standardize([[x] for x in column])
    assert deviation > 0.0
    assert np.std([x for [x] in scaled]) == pytest.approx(1.0, rel=1e-3)


@pytest.mark.parametrize("seed", [np.int64(0), np.uint8(0), np.array(0)])
def test_a_seed_of_numpy_is_the_int(seed):
    X, y = data.study_hours()
    assert data.minibatches(X, y, batch_size=3, seed=seed) == data.minibatches(X, y, batch_size=3, seed=0)
    assert data.split(X, y, seed=seed) == data.split(X, y, seed=0)
    assert data.parity(3, seed=seed) == data.parity(3, seed=0)
    assert data.adding(3, seed=seed) == data.adding(3, seed=0)
    assert data.moons(20, seed=seed) == data.moons(20, seed=0)
    ends = []
    for s in (seed, 0):
        w = Value(0.0)
        fit(lambda x, w=w: (w - x) ** 2, [1.0, 2.0, 3.0], params=[w], batch_size=1, epochs=1, seed=s, progress=False)
        ends.append(w.data)
    assert ends[0] == ends[1]
    p = [Value(1.0, f"w{i}") for i in range(3)]
    planes = [
        loss_landscape(lambda x: sum((v - x) ** 2 for v in p), [0.0], params=p, steps=2, seed=s).directions.tolist()
        for s in (seed, 0)
    ]
    assert planes[0] == planes[1]


@pytest.mark.parametrize(("rows", "shown"), [(1, (1, 0)), (2, (1, 1)), (3, (2, 1)), (6, (3, 3))])
def test_a_shortened_table_says_how_many_rows_are_missing(rows, shown):
    x = Value(0.5, "x")
    y = x
    for _ in range(7):
        y = y.sin()
    table = Tape(y).table()
    lines = table.to_text(max_rows=rows).splitlines()[4:-1]
    gap = next(i for i, line in enumerate(lines) if "more row" in line)
    assert (gap, len(lines) - gap - 1) == shown
    assert f"{len(table.rows) - sum(shown)} more rows" in lines[gap]


def test_a_table_of_no_rows_is_refused():
    with pytest.raises(ValueError, match="max_rows must be a whole number of at least 1, got 0"):
        Tape(Value(1.0) + 1.0).table().to_text(max_rows=0)


BAD = [-1.0, math.nan, math.inf, True, "0.1", None]


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize(
    "make",
    [
        *[lambda x, rule=rule: rule([Value(1.0)], x) for rule in (optim.SGD, optim.RMSprop, optim.Adam, optim.AdamW)],
        lambda x: optim.SGD([Value(1.0)], momentum=x),
        *[
            lambda x, rule=rule: rule([Value(1.0)], weight_decay=x)
            for rule in (optim.SGD, optim.RMSprop, optim.Adam, optim.AdamW)
        ],
        lambda x: optim.RMSprop([Value(1.0)], alpha=x),
        lambda x: optim.RMSprop([Value(1.0)], eps=x),
        lambda x: optim.RMSprop([Value(1.0)], momentum=x),
        lambda x: optim.Adam([Value(1.0)], beta1=x),
        lambda x: optim.Adam([Value(1.0)], beta2=x),
        lambda x: optim.AdamW([Value(1.0)], eps=x),
        lambda x: optim.step_decay(x, 3),
        lambda x: optim.step_decay(0.1, 3, factor=x),
        lambda x: optim.exponential_decay(x, 0.5),
        lambda x: optim.exponential_decay(0.1, x),
        lambda x: optim.cosine_decay(x, 3),
        lambda x: optim.cosine_decay(0.1, 3, end=x),
        lambda x: optim.inverse_time_decay(x),
        lambda x: optim.inverse_time_decay(0.1, rate=x),
    ],
)
def test_settings_that_are_negative_infinite_or_no_numbers_are_refused(make, bad):
    with pytest.raises(ValueError, match="must be"):
        make(bad)


def test_settings_of_0_are_what_they_say():
    for rule in (optim.SGD, optim.RMSprop, optim.Adam, optim.AdamW):
        w = Value(2.0)
        w.grad = 3.0
        rule([w], 0.0).step()
        assert w.data == 2.0
    assert optim.step_decay(0.0, 1)(5) == optim.exponential_decay(1.0, 0.0)(3) == 0.0
    with pytest.raises(DomainError, match="is too large for a float"):
        optim.exponential_decay(1.0, 2.0)(5000)


def test_the_numpy_text_gives_nan_where_the_condition_is_nan():
    f = compile(lambda x: where(exp(x) ** 2 - exp(x) ** 3, 1.0, 2.0) + x, backend="numpy")
    assert float(f(-3.0)) == -2.0
    assert float(f(3.0)) == 5.0
    with pytest.raises(DomainError):
        f(400.0)  # infinity - infinity; it was 402, as if the condition had been negative
