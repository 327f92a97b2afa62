"""A judge of the table of operations that shares no code with it.

Each operation is defined once more, as a formula in SymPy; SymPy differentiates it and mpmath evaluates it at 450
digits: enough that no formula cancels, however naive (1 - tanh(350)**2 is 1e-303, and is computed from 450 digits).
"""

import math
import random
from functools import cache, reduce
from itertools import product

import sympy
from mpmath import mp, mpf
from sympy import Piecewise, Rational, erf, erfc, exp, log, sqrt

from tinygrad_vi import Value
from tinygrad_vi.graph import topological_order
from tinygrad_vi.sweep import adjoints

DIGITS = 450


def sigmoid(x):
    return 1 / (1 + exp(-x))


def _dot(*operands):
    n = len(operands) // 2
    return sum((w * x for w, x in zip(operands[:n], operands[n:-1], strict=True)), operands[-1])


class Constant(sympy.Function):
    """x, of which SymPy is told that the derivative is 0."""

    def fdiff(self, argindex=1):  # noqa: ARG002
        return sympy.Integer(0)


class Floor(sympy.Function):
    """The largest whole number not above x, of which SymPy is told that the derivative is 0."""

    def fdiff(self, argindex=1):  # noqa: ARG002
        return sympy.Integer(0)


class Rounded(Floor):
    """The whole number nearest to x, the even one of two."""


def _sign(x):
    return Piecewise((1, x > 0), (-1, x < 0), (0, True))


#: name -> the operation as a formula of its operands, then of its row's constants
DEFINITIONS = {
    "add": lambda x, y: x + y,
    "sub": lambda x, y: x - y,
    "mul": lambda x, y: x * y,
    "div": lambda x, y: x / y,
    "neg": lambda x: -x,
    "pow": lambda x, y: x**y,
    "power": lambda x, n: x**n,
    "exponential": lambda x, base: base**x,
    "exp": exp,
    "expm1": lambda x: exp(x) - 1,
    "log": log,
    "log1p": lambda x: log(1 + x),
    "sqrt": sqrt,
    "sin": sympy.sin,
    "cos": sympy.cos,
    "tan": sympy.tan,
    "asin": sympy.asin,
    "acos": sympy.acos,
    "semicircle": lambda x: sqrt(1 - x**2),
    "atan": sympy.atan,
    "sinh": sympy.sinh,
    "cosh": sympy.cosh,
    "tanh": lambda x: (exp(x) - exp(-x)) / (exp(x) + exp(-x)),
    "sech": lambda x: 2 / (exp(x) + exp(-x)),
    "bell": lambda x: exp(-(x**2) / 2),
    "erf": erf,
    "erfc": erfc,
    "erfinv": sympy.erfinv,
    "ndtri": lambda x: sqrt(2) * sympy.erfinv(2 * x - 1),
    "sigmoid": sigmoid,
    "softplus": lambda x: log(1 + exp(x)),
    "silu": lambda x: x * sigmoid(x),
    "gelu": lambda x: x * erfc(-x / sqrt(2)) / 2,
    "step": lambda x: Piecewise((1, x > 0), (0, True)),
    "relu": lambda x: Piecewise((x, x > 0), (0, True)),
    "leaky_relu": lambda x, slope: Piecewise((x, x > 0), (slope * x, True)),
    "elu": lambda x, alpha: Piecewise((x, x > 0), (alpha * (exp(x) - 1), True)),
    "abs": lambda x: Piecewise((x, x > 0), (-x, True)),
    "stop_gradient": Constant,
    "mod": lambda x, y: x - y * Floor(x / y),
    "floordiv": lambda x, y: Floor(x / y),
    "log2": lambda x: log(x) / log(2),
    "log10": lambda x: log(x) / log(10),
    "cbrt": lambda x: Piecewise((x ** Rational(1, 3), x > 0), (-((-x) ** Rational(1, 3)), True)),
    "hypot": lambda x, y: sqrt(x**2 + y**2),
    "atan2": lambda x, y: sympy.atan2(x, y),
    "asinh": sympy.asinh,
    "acosh": sympy.acosh,
    "atanh": sympy.atanh,
    "softsign": lambda x: Piecewise((x / (1 + x), x > 0), (x / (1 - x), True)),
    "sign": _sign,
    "floor": Floor,
    "ceil": lambda x: -Floor(-x),
    "round": Rounded,
    "maximum": lambda x, y: Piecewise((x, x > y), (y, True)),
    "minimum": lambda x, y: Piecewise((x, x < y), (y, True)),
    "where": lambda c, x, y: Piecewise((x, c > 0), (y, True)),
    "total": lambda *xs: sum(xs),
    "dot": _dot,
    "logsumexp": lambda *xs: log(sum(map(exp, xs))),
}


def _erfc(x):
    return mp.erfc(x) if abs(x) < 1e6 else mpf(1 - mp.sign(x))  # mpmath's own overflows far out


@cache
def _evaluator(name, constants, count):
    """mpmath's function for (partials, conditions) of all orders: see `truth` and `condition`."""
    xs = sympy.symbols(f"x:{count}", real=True)
    f = DEFINITIONS[name](*xs, *map(Rational, constants))
    partials = {indices: reduce(sympy.diff, [xs[i] for i in indices], f) for indices in _indices(count)}
    swings = {indices: sum(abs(x * sympy.diff(g, x)) for x in xs) for indices, g in partials.items()}
    modules = [{"erfc": _erfc, "Constant": lambda x: x, "Floor": mp.floor, "Rounded": mp.nint}, "mpmath"]
    return tuple(sympy.lambdify(xs, list(table.values()), modules, cse=True) for table in (partials, swings))


def _indices(count):
    """() for the value, (i,) for the first partials, (i, j) for the second, both (i, j) and (j, i)."""
    return [where for order in range(3) for where in product(range(count), repeat=order)]


def truth(op, point):
    """The true value () and partials (i,), (i, j) of a row at a point, to 450 digits."""
    with mp.workdps(DIGITS):
        values = _evaluator(op.name, op.constants, len(point))[0](*map(mpf, point))
    return dict(zip(_indices(len(point)), values, strict=True))


def swing(op, point):
    """How much each of them changes when the operands change by a relative 1: its conditioning."""
    with mp.workdps(DIGITS):
        values = _evaluator(op.name, op.constants, len(point))[1](*map(mpf, point))
    return dict(zip(_indices(len(point)), values, strict=True))


def measured(op, point):
    """The same from the engine: the row's value, its rule on floats, its rule on Values differentiated once more."""
    xs = [Value(x) for x in point]
    y = Value.record(op, *xs)
    found = {(): y.data} | {(i,): partial for i, partial in enumerate(y.local_grads)}
    slopes = adjoints(topological_order([y]), {y: 1.0}, create_graph=True)
    for i, x in enumerate(xs):
        slope = slopes.get(x, 0.0)
        curvatures = adjoints(topological_order([slope]), {slope: 1.0}) if isinstance(slope, Value) else {}
        found |= {(i, j): curvatures.get(z, 0.0) for j, z in enumerate(xs)}
    return found


# --- Where to look ----------------------------------------------------------------------------------------------------


def _real(r):
    """Ordinary numbers, tails as far as exp reaches, and all magnitudes a float has."""
    sign = r.choice((-1, 1))
    return r.choice(
        (
            lambda: r.uniform(-5, 5),
            lambda: r.uniform(-50, 50),
            lambda: r.uniform(-745, 745),
            lambda: sign * 10 ** r.uniform(-307, 0),
            lambda: sign * 10 ** r.uniform(0, 308),
        )
    )()


def _positive(r):
    return abs(_real(r))


def _within_one(r):
    """Between -1 and 1, often very near them."""
    x = _real(r)
    return x if abs(x) < 1 else math.copysign(1 - max(1 / abs(x), 2**-53), x)


def _probability(r):
    """Between 0 and 1, often very near them."""
    x = _within_one(r)
    return x if x > 0 else 1 + x if x < -0.5 else -x


def _above_minus_one(r):
    x = _real(r)
    return x if x > -1 else -1 + max(1 / abs(x), 2**-53)


DOMAINS = {
    "log": _positive,
    "log2": _positive,
    "log10": _positive,
    "acosh": lambda r: 1 + max(_positive(r), 2**-52),
    "atanh": _within_one,
    "sqrt": _positive,
    "log1p": _above_minus_one,
    "asin": _within_one,
    "acos": _within_one,
    "semicircle": _within_one,
    "erfinv": _within_one,
    "ndtri": _probability,
}


def random_points(op, count, seed):
    """Points of the row's domain; of `pow` and `power` such that the result is a float."""
    r = random.Random(f"{op}{seed}")
    for _ in range(count):
        if op.name == "pow":
            base = _positive(r)
            yield base, r.choice((r.uniform(-3, 3), r.uniform(-700, 700) / abs(math.log(base))))
        elif op.name in ("mod", "floordiv"):  # the quotient is to be a float, and known to all its digits
            y = _real(r)
            yield y * (r.uniform(-50, 50) if abs(y) < 1e306 else r.uniform(-1, 1)), y
        elif op.name == "atan2":  # the square of the distance, by which its slopes are divided, is to be a float
            yield tuple([math.copysign(min(max(abs(x), 1e-100), 1e100), x) for x in (_real(r), _real(r))])
        elif op.name == "hypot":  # and here the square of the ratio, which is in its second derivatives
            x = _real(r)
            yield x, min(abs(x) * 10 ** r.uniform(-75, 75), 1e308) * r.choice((-1, 1))
        else:
            root = op.name == "power" and not op.constants[0].is_integer()
            draw = DOMAINS.get(op.name, _positive if root else _real)
            yield tuple(draw(r) for _ in range(3 if op.arity is None else op.arity))


def ordinary_points(op):
    """Points where every engine keeps its accuracy: of magnitude 0.01 to 5, and not near the ends of a domain."""
    limit = 0.9 if DOMAINS.get(op.name) in (_within_one, _probability) else 5
    points = [*op.points, *random_points(op, 200, seed="ordinary")]
    least = 1.01 if op.name == "acosh" else 0.01
    return [at for at in points if all(least < abs(x) < limit for x in at)]
