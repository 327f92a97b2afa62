"""Losses against mpmath in the tails and against their definitions; PyTorch judges in tests/peers."""

import math

import mpmath
import numpy as np
import pytest

from tinygrad_vi import DomainError, ShapeError, Value, gradcheck, jacobian, losses, softmax

Y, T = [0.8, 0.3, 0.4], [1.0, 0.0, 1.0]
A = [0.3, -1.2, 2.0]
ELEMENTWISE = {
    losses.mse: (Y, T),
    losses.huber: ([0.5, 3.0, -2.0], [0.0, 0.0, 1.0]),
    losses.tukey_biweight: ([0.5, 30.0, -2.0], [0.0, 0.0, 1.0]),
    losses.bce: (Y, T),
    losses.bce_with_logits: (A, T),
    losses.hinge: (A, [1.0, -1.0, -1.0]),
}
SUMMED = {
    losses.sse: (Y, T),
    losses.gaussian_nll: (Y, T),
    losses.multilabel_bce: (A, T),
    losses.cross_entropy: (A, [0.0, 1.0, 0.0]),
}


@pytest.mark.parametrize("loss", [*ELEMENTWISE, *SUMMED], ids=lambda f: f.__name__)
def test_derivatives_agree_with_differences(loss):
    y, t = (ELEMENTWISE | SUMMED)[loss]
    assert gradcheck(lambda y: loss(y, t), order=2)(y) < 1e-6
    soft = [0.25, 0.5, 0.25] if loss is not losses.hinge else t
    assert gradcheck(lambda y: loss(y, soft))(y) < 1e-6


@pytest.mark.parametrize("loss", ELEMENTWISE, ids=lambda f: f.__name__)
def test_elementwise_losses_average_over_lists_of_any_nesting(loss):
    y, t = ELEMENTWISE[loss]
    mean = math.fsum(loss(a, b) for a, b in zip(y, t, strict=True)) / 3
    assert loss(y, t) == pytest.approx(mean, rel=1e-15)
    assert loss([y, y], [t, t]) == pytest.approx(mean, rel=1e-15)
    assert loss(np.array([y]), np.array([t])) == pytest.approx(mean, rel=1e-15)
    assert loss(tuple(y), t) == loss(y, t)


@pytest.mark.parametrize("loss", [*ELEMENTWISE, *SUMMED], ids=lambda f: f.__name__)
def test_plain_numbers_give_a_float_and_values_a_value(loss):
    y, t = (ELEMENTWISE | SUMMED)[loss]
    assert type(loss(y, t)) is float
    recorded = loss([Value(v) for v in y], t)
    assert recorded.data == loss(y, t)
    assert type(losses.mse(1, 3)) is float


def gradient(loss, a, t):
    leaves = [Value(v) for v in a]
    loss(leaves, t).backward()
    return [v.grad for v in leaves]


@pytest.mark.parametrize("t", [[1.0, 0.0, 0.0], [0.2, 0.5, 0.3]])
def test_canonical_links_give_y_minus_t(t):
    sigmoid = [1 / (1 + math.exp(-a)) for a in A]
    weights = [math.exp(a) / sum(map(math.exp, A)) for a in A]
    difference = lambda y: pytest.approx([u - v for u, v in zip(y, t, strict=True)], rel=1e-14)  # noqa: E731
    assert gradient(losses.sse, A, t) == difference(A)
    assert gradient(losses.multilabel_bce, A, t) == difference(sigmoid)
    assert gradient(losses.cross_entropy, A, t) == difference(weights)


@pytest.mark.parametrize("a", [-745.0, -40.0, -1e-9, 0.0, 0.5, 40.0, 700.0, 1e300])
@pytest.mark.parametrize("t", [0.0, 1.0, 0.3])
def test_bce_with_logits_is_exact_for_any_logit(a, t):
    with mpmath.workdps(400):
        x = mpmath.mpf(a)
        value = mpmath.log1p(mpmath.exp(-abs(x))) + max(x, 0) - mpmath.mpf(t) * x
        slope = 1 / (1 + mpmath.exp(-x)) - mpmath.mpf(t)
    leaf = Value(a)
    loss = losses.bce_with_logits(leaf, t)
    loss.backward()
    assert loss.data == pytest.approx(float(value), rel=1e-15)
    assert leaf.grad == pytest.approx(float(slope), rel=1e-15)


@pytest.mark.parametrize("gap", [0.5, 40.0, 700.0, 1e5])
def test_cross_entropy_keeps_its_digits_when_the_answer_is_sure(gap):
    with mpmath.workdps(50):
        value = mpmath.log1p(2 * mpmath.exp(-mpmath.mpf(gap)))
    leaves = [Value(1000.0 + gap), Value(1000.0), Value(1000.0)]
    loss = losses.cross_entropy(leaves, 0)
    loss.backward()
    assert loss.data == pytest.approx(float(value), rel=1e-14)
    assert leaves[0].grad == pytest.approx(-2 * leaves[1].grad, rel=1e-14)


def test_cross_entropy_of_a_class_is_that_of_its_distribution():
    assert losses.cross_entropy(A, 2) == pytest.approx(losses.cross_entropy(A, [0, 0, 1]), rel=1e-15)
    assert losses.cross_entropy(A, np.int64(2)) == losses.cross_entropy(A, 2.0) == losses.cross_entropy(A, 2)
    assert losses.cross_entropy([1.0, -math.inf], [1, 0]) == 0.0
    assert losses.cross_entropy([5.0], 0) == 0.0


def test_softmax_and_its_logarithm():
    assert losses.softmax is softmax
    assert np.exp(losses.log_softmax(A)) == pytest.approx(softmax(A), rel=1e-15)
    assert losses.log_softmax([1000.0, 0.0]) == [0.0, -1000.0]
    assert np.array(jacobian(losses.log_softmax)(A)) == pytest.approx(np.eye(3) - np.array([softmax(A)] * 3), abs=1e-15)


def test_huber_and_tukey_at_their_corners():
    assert [losses.huber(r, 0.0, delta=2.0) for r in (2.0, -2.0, 3.0)] == [2.0, 2.0, 4.0]
    assert [losses.tukey_biweight(r, 0.0, c=3.0) for r in (3.0, -4.0, 1e200)] == [1.5, 1.5, 1.5]
    far = Value(1e200)
    losses.tukey_biweight(far, 0.0).backward()
    assert far.grad == 0.0
    with mpmath.workdps(60):
        small = mpmath.mpf(3) ** 2 / 6 * (1 - (1 - (mpmath.mpf(1e-9) / 3) ** 2) ** 3)
    assert losses.tukey_biweight(1e-9, 0.0, c=3.0) == pytest.approx(float(small), rel=1e-15)


def test_gaussian_nll_and_the_precision_that_makes_it_smallest():
    y, t = [1.5, 2.0, 3.0], [1.0, 2.0, 4.0]
    beta = Value(losses.beta_ml(y, t))
    losses.gaussian_nll(y, t, beta).backward()
    assert beta.grad == pytest.approx(0.0, abs=1e-15)
    with pytest.raises(DomainError, match="needs a prediction that differs from its target"):
        losses.beta_ml([1.0], [1.0])


def test_penalties():
    p = [Value(1.0), Value(-2.0), Value(0.0)]
    (losses.l1(p, 0.5) + losses.l2(p, 0.25)).backward()
    assert [v.grad for v in p] == [1.0, -1.5, 0.0]
    assert losses.l1([1.0, -2.0], 0.5) == 1.5
    assert losses.l2([]) == losses.l1([]) == 0.0


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: losses.mse([1.0], [1.0, 2.0]), ShapeError, "mse takes a prediction and a target of one shape, got 1 and 2"),
        (lambda: losses.mse(1.0, [1.0, 2.0]), ShapeError, "got a number and 2"),
        (lambda: losses.mse([], []), ShapeError, "mse needs at least one prediction, got an empty list"),
        (lambda: losses.mse("1", 1.0), TypeError, "mse takes numbers or Values, got '1' of type str"),
        (lambda: losses.mse(None, 1.0), TypeError, "mse takes numbers or Values, got None"),
        (lambda: losses.bce(1.5, 1.0), DomainError, "bce takes predictions between 0 and 1, got 1.5: for logits use bce_with_logits"),
        (lambda: losses.bce(0.0, 1.0), DomainError, "log(x) needs x > 0, got x = 0.0"),
        (lambda: losses.bce(0.5, 2), ValueError, "bce takes targets between 0 and 1, got 2"),
        (lambda: losses.bce_with_logits(0.5, -1), ValueError, "bce_with_logits takes targets between 0 and 1, got -1.0: write (t + 1) / 2"),
        (lambda: losses.multilabel_bce([0.5], [3]), ValueError, "multilabel_bce takes targets between 0 and 1, got 3"),
        (lambda: losses.hinge(0.5, 0), ValueError, "hinge takes targets of -1 and 1, got 0.0: write 2 * t - 1"),
        (lambda: losses.cross_entropy(A, 3), ValueError, "there is no class 3 among 3 logits; classes are whole numbers from 0 to 2"),
        (lambda: losses.cross_entropy(A, -1), ValueError, "there is no class -1 among 3 logits"),
        (lambda: losses.cross_entropy(A, 0.5), ValueError, "there is no class 0.5 among 3 logits"),
        (lambda: losses.cross_entropy(A, [1.0]), ShapeError, "cross_entropy takes a prediction and a target of one shape, got 3 and 1"),
        (lambda: losses.cross_entropy(A, [2, 0, 1]), ValueError, "cross_entropy takes targets between 0 and 1, got 2"),
        (lambda: losses.cross_entropy(A, [1, 1, 0]), ValueError, "probabilities that add up to 1, got [1, 1, 0]"),
        (lambda: losses.bce_with_logits(Value(1.0), Value(5.0)), ValueError, "takes targets between 0 and 1"),
        (lambda: losses.cross_entropy([A], 0), ShapeError, "takes the logits of one example: average it over the examples"),
        (lambda: losses.cross_entropy(0.5, 0), ShapeError, "cross_entropy takes the logits of one example as a list, got 0.5"),
        (lambda: losses.huber(0.5, 0, delta=0.0), ValueError, "huber needs delta > 0, got 0.0"),
        (lambda: losses.tukey_biweight(0.5, 0, c=-1), ValueError, "tukey_biweight needs c > 0, got -1"),
        (lambda: losses.gaussian_nll(0.5, 0, beta=0.0), ValueError, "gaussian_nll needs beta > 0, got 0.0"),
    ],
)  # fmt: skip
def test_errors_say_what_was_wrong(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert message in str(caught.value)


def test_huber_bends_as_a_square_where_the_error_is_0():
    from tinygrad_vi import hessian

    assert hessian(lambda y: losses.huber(y, 0.0))(0.0) == 1.0
    assert losses.huber(1e200, 0.0) == 1e200 - 0.5


def test_a_column_of_targets_is_taken_and_floats_may_overflow():
    assert losses.mse(Value(3.0), [1.0]).data == 4.0
    assert losses.mse(1e200, 0.0) == math.inf


def test_the_class_may_be_a_value():
    for c in range(3):
        plain, by_value = ([Value(a) for a in A] for _ in range(2))
        losses.cross_entropy(plain, c).backward()
        loss = losses.cross_entropy(by_value, Value(float(c)))
        loss.backward()
        assert loss.data == pytest.approx(losses.cross_entropy(A, c), rel=1e-14)
        assert [a.grad for a in by_value] == pytest.approx([a.grad for a in plain], rel=1e-14)
    with pytest.raises(ValueError, match="there is no class"):
        losses.cross_entropy([Value(a) for a in A], Value(3.0))


def test_a_certain_distribution_keeps_its_digits_as_its_class_does():
    assert losses.cross_entropy([40.0, 0.0], [1, 0]) == losses.cross_entropy([40.0, 0.0], 0) == 4.248354255291589e-18
    assert gradient(losses.cross_entropy, [40.0, 0.0], [1, 0])[0] == pytest.approx(-4.248354255291589e-18)


@pytest.mark.parametrize("number", [float, Value])
def test_the_precision_of_the_normal_likelihood_is_one_over_the_mean_square(number):
    for y, t, beta in (([2.0], [1.0], 1.0), ([1.5, 0.0], [1.0, 0.0], 8.0), ([0.0, 4.0], [0.0, 0.0], 0.125)):
        found = losses.beta_ml([number(v) for v in y], t)
        assert type(found) is number
        assert getattr(found, "data", found) == beta
    with pytest.raises(DomainError, match="the mean squared error is 0"):
        losses.beta_ml([number(2.0), number(-1.0)], [2.0, -1.0])
