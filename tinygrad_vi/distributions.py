"""Log-densities of the common distributions, for maximum likelihood: made of rows of the table.

Each takes one number x and the parameters, floats or Values, and gives log p(x).  The names and parameters are those of
`torch.distributions`.  Outside of the support the density is 0 and has no logarithm: that raises DomainError.
"""

from __future__ import annotations

from collections.abc import Callable

from tinygrad_vi.checks import DomainError, Number, number
from tinygrad_vi.floats import LOG_TWO_PI
from tinygrad_vi.functions import checked, lgamma, log_sigmoid
from tinygrad_vi.ops import abs_, log, log1p, minimum, round_, softplus

__all__ = [
    "bernoulli",
    "beta",
    "exponential",
    "gamma",
    "laplace",
    "logistic",
    "normal",
    "poisson",
    "student_t",
]


def __dir__() -> list[str]:
    return [*__all__]


def normal(x: Number, loc: Number = 0.0, scale: Number = 1.0) -> Number:
    """-((x - loc)/scale)**2 / 2 - log(scale) - log(2*pi)/2.  Raises DomainError unless scale > 0.

    >>> round(normal(1.0, 1.0, 2.0), 9)
    -1.612085714
    """
    _above_0("normal", scale=scale)
    z = (x - loc) / scale
    return -0.5 * (z * z) - log(scale) - 0.5 * LOG_TWO_PI


def laplace(x: Number, loc: Number = 0.0, scale: Number = 1.0) -> Number:
    """-|x - loc|/scale - log(2*scale).  Raises DomainError unless scale > 0.

    >>> round(laplace(1.0), 9)
    -1.693147181
    """
    _above_0("laplace", scale=scale)
    return -abs_(x - loc) / scale - log(2.0 * scale)


def logistic(x: Number, loc: Number = 0.0, scale: Number = 1.0) -> Number:
    """log(sigmoid(z)) + log(sigmoid(-z)) - log(scale), z = (x - loc)/scale.  Raises DomainError unless scale > 0.

    >>> round(logistic(0.0), 9)
    -1.386294361
    """
    _above_0("logistic", scale=scale)
    z = (x - loc) / scale
    return log_sigmoid(z) + log_sigmoid(-z) - log(scale)


def student_t(x: Number, df: Number, loc: Number = 0.0, scale: Number = 1.0) -> Number:
    """lgamma((df + 1)/2) - lgamma(df/2) - log(df*pi*scale**2)/2 - (df + 1)/2 * log(1 + z*z/df), z = (x - loc)/scale.

    Raises DomainError unless df > 0 and scale > 0.

    >>> round(student_t(0.0, 1.0), 9)
    -1.144729886
    """
    _above_0("student_t", df=df, scale=scale)
    z = (x - loc) / scale
    spread = 0.5 * (log(df) + (LOG_TWO_PI - log(2.0))) + log(scale)
    half = 0.5 * (df + 1.0)
    return lgamma(half) - lgamma(0.5 * df) - spread - half * log1p(z * z / df)


def exponential(x: Number, rate: Number = 1.0) -> Number:
    """log(rate) - rate*x, for x >= 0.  Raises DomainError unless rate > 0 and x >= 0.

    >>> round(exponential(3.0, 2.0), 9)
    -5.306852819
    """
    _above_0("exponential", rate=rate)
    return log(rate) - rate * _in_support(x, lambda x: x >= 0.0, lambda: x, "exponential takes x >= 0")


def gamma(x: Number, concentration: Number, rate: Number = 1.0) -> Number:
    """a*log(b) + (a - 1)*log(x) - b*x - lgamma(a), a the concentration and b the rate.

    Raises DomainError unless x > 0, a > 0 and b > 0.

    >>> round(gamma(1.0, 2.0, 3.0), 9)
    -0.802775423
    """
    _above_0("gamma", x=x, concentration=concentration, rate=rate)
    a, b = concentration, rate
    return a * log(b) + (a - 1.0) * log(x) - b * x - lgamma(a)


def beta(x: Number, a: Number, b: Number) -> Number:
    """(a - 1)*log(x) + (b - 1)*log(1 - x) + lgamma(a + b) - lgamma(a) - lgamma(b).

    Raises DomainError unless 0 < x < 1, a > 0 and b > 0.

    >>> round(beta(0.5, 2.0, 2.0), 9)
    0.405465108
    """
    _above_0("beta", x=x, a=a, b=b)
    return (a - 1.0) * log(x) + (b - 1.0) * log1p(-x) + lgamma(a + b) - lgamma(a) - lgamma(b)


def bernoulli(x: Number, logits: Number) -> Number:
    """x*log(p) + (1 - x)*log(1 - p) with p = sigmoid(logits), of any size, for x = 0 or 1: x*logits - softplus(logits).

    Raises DomainError unless x is 0 or 1.

    >>> round(bernoulli(1.0, 0.0), 9), bernoulli(0.0, -40.0)
    (-0.693147181, -4.248354255291589e-18)
    """
    x = _in_support(x, lambda x: x in (0.0, 1.0), lambda: -abs_(x * (1.0 - x)), "bernoulli takes 0 or 1")
    return -(x * softplus(-logits) + (1.0 - x) * softplus(logits))


def poisson(x: Number, rate: Number) -> Number:
    """x*log(rate) - rate - log(x!), for x = 0, 1, 2, ...  Raises DomainError unless rate > 0 and x is such a number.

    >>> round(poisson(2.0, 3.0), 9)
    -1.495922603
    """
    _above_0("poisson", rate=rate)
    x = _in_support(
        x,
        lambda x: x >= 0.0 and x.is_integer(),
        lambda: minimum(x, -abs_(x - round_(x))),
        "poisson takes a whole number of at least 0",
    )
    return x * log(rate) - rate - lgamma(x + 1.0)


def _above_0(density: str, **named: Number) -> None:
    """Raise DomainError for a parameter not above 0.  A compiled function fails in a logarithm, and then runs this."""
    for name, x in named.items():
        found = number(getattr(x, "data", x), "a density")
        if found <= 0.0:
            raise DomainError(f"{density} needs {name} > 0, got {name} = {found!r}{_node(x)}")


def _node(x: Number) -> str:
    return f" (node {x.label!r})" if getattr(x, "label", "") else ""


def _in_support(x: Number, holds: Callable[[float], bool], margin: Callable[[], Number], wanted: str) -> Number:
    """x, checked.  margin: at least 0 exactly where ``holds`` is true, for the check of a compiled function."""
    found = number(getattr(x, "data", x), "a density")
    if not holds(found):
        raise DomainError(f"{wanted}, got {found!r}{_node(x)}")
    return checked(x, margin)
