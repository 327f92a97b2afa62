"""Losses: one number that says how wrong a prediction is.

A loss takes ``(prediction, target)``: numbers or Values, or lists of them of one shape.  Elementwise losses average
over a list; those that are likelihoods or sums of squares by their definition add up, and say so.  `tinygrad_vi.fit`
averages over the examples of a batch.

In the formulas y is a prediction, t its target, a a logit: the output of a network before sigmoid or softmax.  With the
activation that belongs to it (the canonical link) each of three losses has the gradient y - t by a:

    sse of y = a,    bce of y = sigmoid(a),    cross_entropy of y = softmax(a)

and the last two are computed from a directly, so that they stay exact where y rounds to 0 or 1.

References: C. M. Bishop, *Pattern Recognition and Machine Learning* (2006), sections 4.3 and 5.2.
"""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Callable, Iterable, Sequence
from numbers import Real
from typing import Protocol, runtime_checkable

from tinygrad_vi import functions
from tinygrad_vi.checks import DomainError, Number, Numbers, ShapeError, number, plain
from tinygrad_vi.functions import checked, logsumexp, take, total
from tinygrad_vi.functions import softmax as softmax
from tinygrad_vi.ops import log, log1p, relu, softplus, where
from tinygrad_vi.rows import OPERATIONS
from tinygrad_vi.value import Value, dot

__all__ = [
    "bce",
    "bce_with_logits",
    "beta_ml",
    "cross_entropy",
    "gaussian_nll",
    "hinge",
    "huber",
    "l1",
    "l2",
    "log_softmax",
    "mse",
    "multilabel_bce",
    "softmax",
    "sse",
    "tukey_biweight",
]


def __dir__() -> list[str]:
    return [*__all__]


LOG_TWO_PI = math.log(2.0 * math.pi)

# --- Regression -------------------------------------------------------------------------------------------------------


def mse(prediction: Numbers, target: Numbers) -> Number:
    """The mean squared error, (1/n) sum (y - t)**2.  Gradient (2/n) (y - t).

    >>> mse([0.8, 0.3, 0.4], [1.0, 0.0, 1.0])
    0.16333333333333333
    """
    return _mean(lambda y, t: _square(y - t), prediction, target, "mse")


def sse(prediction: Numbers, target: Numbers) -> Number:
    """The sum-of-squares error, 1/2 sum (y - t)**2, with the 1/2 of Bishop's equation 5.11.  Gradient y - t.

    >>> sse([1.5, 2.0, 3.0], [1.0, 2.0, 4.0])
    0.625
    """
    return 0.5 * total([_square(y - t) for y, t in _pairs(prediction, target, "sse")])


def gaussian_nll(prediction: Numbers, target: Numbers, beta: Number = 1.0) -> Number:
    """The negative log-likelihood of targets with normal noise of precision beta = 1/variance, summed.

    beta/2 sum (y - t)**2 - n/2 log beta + n/2 log 2 pi (Bishop 5.13).  Gradient beta (y - t); by beta
    1/2 sum (y - t)**2 - n/(2 beta), which is 0 at `beta_ml`.  beta may be a Value, to be learned.

    Raises ValueError unless beta > 0.

    >>> gaussian_nll([1.5, 2.0, 3.0], [1.0, 2.0, 4.0])
    3.381815599614018
    """
    _positive(beta.data if isinstance(beta, Value) else beta, "gaussian_nll", "beta")
    errors = [_square(y - t) for y, t in _pairs(prediction, target, "gaussian_nll")]
    n = float(len(errors))
    return 0.5 * beta * total(errors) - 0.5 * n * log(beta) + 0.5 * n * LOG_TWO_PI


def beta_ml(prediction: Numbers, target: Numbers) -> Number:
    """The precision that makes the targets likeliest: 1 / beta = (1/n) sum (y - t)**2 (Bishop 5.15, 5.17).

    Raises DomainError when every prediction is exact.

    >>> round(beta_ml([1.5, 2.0, 3.0], [1.0, 2.0, 4.0]), 12)
    2.4
    """
    error = mse(prediction, target)
    if error.data == 0.0 if isinstance(error, Value) else error == 0.0:
        raise DomainError("beta_ml needs a prediction that differs from its target: the mean squared error is 0")
    return 1.0 / error


def huber(prediction: Numbers, target: Numbers, *, delta: float = 1.0) -> Number:
    """Squares for small errors, straight lines for large ones, averaged (P. J. Huber, 1964).

    With r = y - t: r**2 / 2 for ``|r| <= delta``, else delta (``|r|`` - delta / 2).  Gradient r/n, or delta sign(r)/n.

    Raises ValueError unless delta is positive and finite.

    >>> huber([0.5, 3.0], [0.0, 0.0])
    1.3125
    """
    _positive(delta, "huber", "delta")

    def loss(y: Number, t: Number) -> Number:
        r = y - t
        size = abs(r)
        return where(size - delta, delta * (size - 0.5 * delta), 0.5 * r * r)

    return _mean(loss, prediction, target, "huber")


def tukey_biweight(prediction: Numbers, target: Numbers, *, c: float = 4.685) -> Number:
    """A loss that gives up on outliers, averaged: from ``|r|`` = c on it is flat (A. E. Beaton, J. W. Tukey, 1974).

    With r = y - t: c**2/6 (1 - (1 - (r/c)**2)**3) for ``|r| <= c``, else c**2/6.  Gradient
    r (1 - (r/c)**2)**2 / n, or 0.
    4.685 gives 95 % of the efficiency of least squares on normal errors of variance 1.

    Raises ValueError unless c is positive and c**2 a finite number above 0.

    >>> tukey_biweight([1.0, 100.0], [0.0, 0.0], c=2.0)
    0.5260416666666666
    """
    _positive(c, "tukey_biweight", "c")
    top = c * c / 6.0
    if not 0.0 < top < math.inf:
        raise ValueError(f"tukey_biweight needs a c whose square is a number above 0, got c = {c!r}")

    def loss(y: Number, t: Number) -> Number:
        r = (y - t) / c
        u = r * r
        inside = where(1.0 - u, u, 1.0)  # far outside u**3 would overflow
        return top * inside * (3.0 - 3.0 * inside + inside**2)  # 1 - (1 - u)**3, which would cancel for small u

    return _mean(loss, prediction, target, "tukey_biweight")


# --- Classification ---------------------------------------------------------------------------------------------------


def bce(prediction: Numbers, target: Numbers) -> Number:
    """The binary cross-entropy of probabilities, -(1/n) sum (t log y + (1 - t) log(1 - y)).

    Gradient (1/n) (y - t) / (y (1 - y)).  For the output of a network take `bce_with_logits`, which is exact where a
    sigmoid rounds to 0 or 1.

    Raises DomainError for a target or a prediction outside 0..1, and for a certain prediction (0 or 1) that is wrong.

    >>> bce([0.8, 0.3, 0.4], [1.0, 0.0, 1.0])
    0.49870307570903233
    """

    def loss(y: Number, t: Number) -> Number:
        p = _number(y)
        if isinstance(p, float) and not 0.0 <= p <= 1.0:
            raise DomainError(f"bce takes predictions between 0 and 1, got {p}: for logits use bce_with_logits")
        # a certain target needs one logarithm only, and no 0 * log(0)
        if _is_number(t) and t in (0.0, 1.0):
            y = checked(y, lambda: _inside(y))
            return -log(y) if t else -log1p(-y)
        return -(t * log(y) + (1.0 - t) * log1p(-y))

    return _mean(loss, prediction, target, "bce", _probability)


def bce_with_logits(prediction: Numbers, target: Numbers) -> Number:
    """The binary cross-entropy of y = sigmoid(a), averaged: log(1 + e**a) - t a (Bishop 4.90).

    Gradient (1/n) (sigmoid(a) - t).

    Computed as (1 - t) softplus(a) + t softplus(-a), the same without cancellation: exact for logits of any size.

    Raises DomainError for a target outside 0..1.

    >>> bce_with_logits(0.0, 1.0), bce_with_logits(1000.0, 0.0), bce_with_logits(40.0, 1.0)
    (0.6931471805599453, 1000.0, 4.248354255291589e-18)
    """
    return _mean(_binary, prediction, target, "bce_with_logits", _probability)


def multilabel_bce(prediction: Numbers, target: Numbers) -> Number:
    """The negative log-likelihood of independent labels, several of which may be 1 (Bishop 5.22): a sum.

    Takes the logits of one example and a 0 or 1 for each label.  Gradient sigmoid(a) - t.

    Raises DomainError for a target outside 0..1.

    >>> round(multilabel_bce([0.3, -1.2, 2.0], [1, 0, 0]), 9)
    2.944565723
    """
    return total(
        [_binary(a, _probability(t, "multilabel_bce")) for a, t in _pairs(prediction, target, "multilabel_bce")]
    )


def _binary(a: Number, t: Number) -> Number:
    if is_sigmoid(a):
        _warn_twice("a binary cross-entropy of logits", "sigmoid")
    if _is_number(t) and t in (0.0, 1.0):
        return softplus(-a if t else a)
    return (1.0 - t) * softplus(a) + t * softplus(-a)


def cross_entropy(logits: Sequence[Number], target: Number | Sequence[Number]) -> Number:
    """The cross-entropy of y = softmax(a) for one example (Bishop 4.108).

    -sum t log y = (sum t) logsumexp(a) - sum t a.

    logits: the list a, one for each class.  target: the number of the right class, counted from 0, or a list t of
    probabilities, one for each class.  Gradient softmax(a) - t (for probabilities that add up to 1).

    Raises DomainError for a class that does not exist and for numbers that are no probabilities, ShapeError when logits
    and probabilities differ in length.

    >>> cross_entropy([2.0, 1.0, -1.0], 0)
    0.3490122167681864
    >>> round(cross_entropy([2.0, 1.0, -1.0], [0.5, 0.5, 0.0]), 9)
    0.849012217
    """
    logits, target = plain(logits), plain(target)
    if not isinstance(logits, (list, tuple)) or not logits:
        raise ShapeError(f"cross_entropy takes the logits of one example as a list, got {logits!r:.60}")
    if any(isinstance(a, (list, tuple)) for a in logits):
        raise ShapeError("cross_entropy takes the logits of one example: average it over the examples of a batch")
    if isinstance(target, (list, tuple)):
        pairs = _pairs(logits, target, "cross_entropy")
        weights = [_probability(t, "cross_entropy") for _, t in pairs]
        known = [_number(t) for t in weights]
        if all(map(_is_number, known)) and abs(math.fsum(known) - 1.0) > 1e-6:
            raise DomainError(
                f"cross_entropy takes the number of a class or probabilities that add up to 1, got "
                f"{[_number(t) for t in target]}"
            )
        if all(map(_is_number, weights)) and [t for t in weights if t != 0.0] == [1.0]:  # one class for certain
            return cross_entropy(logits, weights.index(1.0))
        if is_softmax(logits):
            _warn_twice("cross_entropy", "softmax")
        norm = total(weights)
        norm = checked(norm, lambda: 1e-6 - abs(norm - 1.0))
        return norm * logsumexp(logits) - total([t * a for a, t in pairs if not (_is_number(t) and t == 0)])
    if is_softmax(logits):
        _warn_twice("cross_entropy", "softmax")
    c = number(_number(target), "cross_entropy")
    if not (c.is_integer() and 0 <= c < len(logits)):
        raise DomainError(
            f"cross_entropy: there is no class {_number(target)!r} among {len(logits)} logits; classes are whole "
            f"numbers from 0 to {len(logits) - 1}"
        )
    if isinstance(target, Value):
        return logsumexp(logits) - take(logits, target)
    # logsumexp of differences: the loss of a sure and right prediction keeps its digits
    right = logits[int(c)]
    return logsumexp([a - right if i != c else 0.0 for i, a in enumerate(logits)]) if len(logits) > 1 else right * 0.0


def log_softmax(logits: Sequence[Number]) -> list[Number]:
    """`functions.log_softmax` of the logits of one example, which may be an array.

    >>> [round(x, 6) for x in log_softmax([2.0, 1.0, -1.0])]
    [-0.349012, -1.349012, -3.349012]
    """
    return functions.log_softmax(plain(logits))


def hinge(prediction: Numbers, target: Numbers) -> Number:
    """The hinge loss, averaged: max(0, 1 - t y) for scores y and targets t of -1 and 1 (Cortes and Vapnik, 1995).

    Gradient -t/n where t y < 1, else 0.

    Raises DomainError for another target.

    >>> hinge([0.3, 2.0], [1, 1])
    0.35
    """
    return _mean(lambda y, t: relu(1.0 - t * y), prediction, target, "hinge", _sign)


# --- Penalties --------------------------------------------------------------------------------------------------------


@runtime_checkable
class _HasParameters(Protocol):
    """A Module, which this room does not know."""

    def parameters(self) -> list[Value]: ...


Penalized = Iterable[Number] | _HasParameters


def l1(params: Penalized, strength: float = 1.0) -> Number:
    """strength * sum ``|p|`` over numbers, Values or the parameters of a Module.  Gradient strength * sign(p), 0 at 0.

    >>> l1([1.0, -2.0], 0.5)
    1.5
    """
    return strength * total([abs(p) for p in _values(params)])


def l2(params: Penalized, strength: float = 1.0) -> Number:
    """strength * sum p**2 over numbers, Values or the parameters of a Module.  Gradient 2 strength p.

    >>> l2([1.0, -2.0], 0.5)
    2.5
    """
    values = _values(params)
    return strength * dot(values, values)


def _values(params: Penalized) -> list[Number]:
    return list(params.parameters() if isinstance(params, _HasParameters) else params)


# --- Pairs of prediction and target -----------------------------------------------------------------------------------

Check = Callable[[Number, str], Number]


def _mean(
    loss: Callable[[Number, Number], Number],
    prediction: Numbers,
    target: Numbers,
    name: str,
    check: Check | None = None,
) -> Number:
    pairs = _pairs(prediction, target, name)
    losses = [loss(y, check(t, name) if check else t) for y, t in pairs]
    return losses[0] if len(losses) == 1 else total(losses) / len(losses)


def _pairs(prediction: Numbers, target: Numbers, name: str) -> list[tuple[Number, Number]]:
    """The numbers of two equally nested lists, side by side."""
    y, t = plain(prediction), plain(target)
    nested = isinstance(y, (list, tuple)), isinstance(t, (list, tuple))
    if not any(nested):
        return [(_operand(y, name), _operand(t, name))]
    if nested == (False, True) and len(t) == 1:  # a column of targets, as scikit-learn has them
        return _pairs(y, t[0], name)
    if not all(nested) or len(y) != len(t):
        sizes = " and ".join(f"{len(x)}" if isinstance(x, (list, tuple)) else "a number" for x in (y, t))
        raise ShapeError(f"{name} takes a prediction and a target of one shape, got {sizes}")
    if not y:
        raise ShapeError(f"{name} needs at least one prediction, got an empty list")
    return [pair for u, v in zip(y, t, strict=True) for pair in _pairs(u, v, name)]


def _operand(x: object, name: str) -> Number:
    return x if x.__class__ is float or hasattr(x, "record") else number(x, name)


def _square(r: Number) -> Number:
    return r * r if r.__class__ is float else r**2  # a float's ** would raise where * is infinite


def _is_number(x: object) -> bool:
    return isinstance(x, Real)


def _probability(t: Number, name: str) -> Number:
    number = _number(t)
    if _is_number(number) and not 0.0 <= number <= 1.0:
        hint = ": write (t + 1) / 2" if number == -1 else ""
        raise DomainError(f"{name} takes targets between 0 and 1, got {number!r}{hint}")
    return checked(t, lambda: _inside(t))


def _sign(t: Number, name: str) -> Number:
    number = _number(t)
    if _is_number(number) and number not in (-1.0, 1.0):
        hint = ": write 2 * t - 1" if number == 0 else ""
        raise DomainError(f"{name} takes targets of -1 and 1, got {number!r}{hint}")
    return checked(t, lambda: -_square(t * t - 1.0))


def _number(x: Number) -> Number:
    return x.data if isinstance(x, Value) else x


def _inside(t: Number) -> Number:
    """Below 0 unless 0 <= t <= 1."""
    return t * (1.0 - t)


def _positive(x: float, name: str, what: str) -> None:
    if not x > 0.0:
        raise ValueError(f"{name} needs {what} > 0, got {x!r}")
    if x == math.inf:
        limit = ": with no bound it is half the squared error, 0.5 * mse(...)" if what in ("delta", "c") else ""
        raise ValueError(f"{name} needs a finite {what}, got {x!r}{limit}")


# --- Outputs of an activation that a loss applies itself --------------------------------------------------------------

EXP, SIGMOID, DIV = (OPERATIONS[name] for name in ("exp", "sigmoid", "div"))


def is_sigmoid(y: Number) -> bool:
    """Whether the record says that a Value is a sigmoid: by the operation, or written out as 1 / (1 + exp(-a)).

    The number says nothing: a logit may lie between 0 and 1 as well.
    """
    op = getattr(y, "op", None)
    if op is not DIV:
        return op is SIGMOID
    one, sum_of_two = y.parents
    ops_below = [p.op for p in sum_of_two.parents]
    ones = [p for p in (one, *sum_of_two.parents) if p.op is None and p.data == 1.0]
    return len(ops_below) == 2 and EXP in ops_below and len(ones) == 2 and one.op is None


def is_softmax(ys: Sequence[Number]) -> bool:
    """Whether the record says that Values are a softmax: exponentials over one and the same sum."""
    if len(ys) < 2 or any(getattr(y, "op", None) is not DIV for y in ys):
        return False
    norm = ys[0].parents[1]
    return norm.op is not None and all(y.parents[1] is norm and y.parents[0].op is EXP for y in ys)


def _warn_twice(name: str, activation: str) -> None:
    frame, level = sys._getframe(1), 2  # the warning is to name the first line outside of this module
    while frame.f_back is not None and frame.f_globals.get("__name__") == __name__:
        frame, level = frame.f_back, level + 1
    warnings.warn(
        f"{name} got the output of a {activation}: it takes logits and applies the {activation} itself, so it would be "
        f"applied twice. Leave the {activation} out of the model while it is trained",
        stacklevel=level,
    )
