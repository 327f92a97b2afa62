"""The judge: a program's value, gradient and curvature by mpmath at 60 digits, and how far floats may be from them.

Nothing here knows the library's rules.  Every operation is a linear combination, a product, or a function of one
number (`TABLE`: value and three derivatives as textbooks have them, tested against mpmath's numerical derivatives).
Tangents and second tangents go forward through these.  Beside each number goes a bound for its error in floats: each
operation may be wrong by some units in the last place of its result, errors are magnified by the derivatives, and
what cancels leaves the rounding of what was cancelled (the sum of the magnitudes, not the magnitude of the sum).

A choice (relu, maximum, where, ...) goes as floats decide it.  At an exact tie the agreed corner holds.  Where only
rounding decides, programs that round in another order may take the other branch: such points judge eager paths only.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field

from mpmath import mp, mpf

from . import programs

DIGITS = 60
#: enough for the sum of any two floats
MANY_DIGITS = 700
ZERO = mpf(0)
UNIT = mpf(2) ** -53
#: how many units in the last place an operation may be wrong by
ULPS = 24
TINY = mpf(2) ** -1074
#: from here on an intermediate result may overflow on one path and not on another
LARGE = mpf(10) ** 305
HUGE = mpf(2) ** 1024
#: stands for an infinite partial: where it reaches the result there is no derivative
ENDLESS = mpf(10) ** 100_000


class Undefined(Exception):
    """The program has no value, or no derivative, here."""


class Lost(Exception):
    """Rounding has left no digit that could be judged."""


# --- Functions of one number: value and three derivatives -------------------------------------------------------------


def _exp(x):
    return mpf(0) if x < -(10**7) else mp.exp(min(x, mpf(10) ** 7))


def _sigmoid(x):
    return 1 / (1 + _exp(-x)) if x > 0 else _exp(x) / (1 + _exp(x))


def _powers(x):
    e = _exp(x)
    return e, e, e, e


def _expm1(x):
    e = _exp(x)
    return mp.expm1(x) if x > -1000 else e - 1, e, e, e


def _log(x):
    if x <= 0:
        raise Undefined("log")
    return mp.log(x), 1 / x, -1 / x**2, 2 / x**3


def _log1p(x):
    if x <= -1:
        raise Undefined("log1p")
    r = 1 / (1 + x)
    return mp.log1p(x), r, -(r**2), 2 * r**3


def _reciprocal(x):
    if x == 0:
        raise Undefined("div")
    r = 1 / x
    return r, -(r**2), 2 * r**3, -6 * r**4


def _sqrt(x):
    if x < 0:
        raise Undefined("sqrt")
    if x == 0:
        return mpf(0), mp.inf, mp.inf, mp.inf
    s = mp.sqrt(x)
    return s, 1 / (2 * s), -1 / (4 * s * x), 3 / (8 * s * x * x)


def _sin(x):
    s, c = mp.sin(x), mp.cos(x)
    return s, c, -s, -c


def _cos(x):
    s, c = mp.sin(x), mp.cos(x)
    return c, -s, -c, s


def _tan(x):
    t = mp.tan(x)
    d = 1 + t * t
    return t, d, 2 * t * d, d * (2 + 6 * t * t)


def _within_one(name, x):
    q = (1 - x) * (1 + x)
    if q < 0:
        raise Undefined(name)
    return q


def _asin(x):
    q = _within_one("asin", x)
    if q == 0:
        return mp.asin(x), mp.inf, mp.inf, mp.inf
    r = 1 / mp.sqrt(q)
    return mp.asin(x), r, x * r**3, r**3 + 3 * x * x * r**5


def _acos(x):
    return (mp.acos(x), *[-d for d in _asin(x)[1:]])


def _semicircle(x):
    q = _within_one("semicircle", x)
    if q == 0:
        return mpf(0), mp.inf, mp.inf, mp.inf
    r = 1 / mp.sqrt(q)
    return mp.sqrt(q), -x * r, -(r**3), -3 * x * r**5


def _atan(x):
    q = 1 / (1 + x * x)
    return mp.atan(x), q, -2 * x * q * q, (6 * x * x - 2) * q**3


def _sinh(x):
    s, c = mp.sinh(x), mp.cosh(x)
    return s, c, s, c


def _cosh(x):
    s, c = mp.sinh(x), mp.cosh(x)
    return c, s, c, s


def _sech_of(x):
    return 2 * _exp(-abs(x)) / (1 + _exp(-2 * abs(x)))


def _tanh_of(x):
    return mp.tanh(x) if abs(x) < 1000 else mp.sign(x)


def _tanh(x):
    t, q = _tanh_of(x), _sech_of(x) ** 2
    return t, q, -2 * t * q, q * (4 * t * t - 2 * q)


def _sech(x):
    t, s = _tanh_of(x), _sech_of(x)
    return s, -s * t, s * (1 - 2 * s * s), s * t * (5 * s * s - t * t)


def _bell(x):
    return 2 / mp.sqrt(mp.pi) * _exp(-x * x)


def _normal_bell(x):
    g = _exp(-x * x / 2)
    return g, -x * g, (x * x - 1) * g, x * (3 - x * x) * g


def _erfc_of(x):
    return mp.erfc(x) if abs(x) < 1000 else mpf(1) - mp.sign(x)


def _erf(x):
    g = _bell(x)
    return mp.erf(x) if abs(x) < 1000 else mp.sign(x), g, -2 * x * g, (4 * x * x - 2) * g


def _erfc(x):
    return (_erfc_of(x), *[-d for d in _erf(x)[1:]])


def _logistic(x):
    s, m = _sigmoid(x), _sigmoid(-x)
    return s, s * m, -s * m * _tanh_of(x / 2), s * m * (1 - 6 * s * m)  # m - s would cancel


def _softplus(x):
    return (x + mp.log1p(_exp(-x)) if x > 0 else mp.log1p(_exp(x)), *_logistic(x)[:3])


def _silu(x):
    s, m = _sigmoid(x), _sigmoid(-x)
    return x * s, s * (1 + x * m), s * m * (2 + x * (m - s)), s * m * (3 * (m - s) + x * (1 - 6 * s * m))


def _gelu(x):
    density = _exp(-x * x / 2) / mp.sqrt(2 * mp.pi)
    below = _erfc_of(-x / mp.sqrt(2)) / 2
    return x * below, below + x * density, (2 - x * x) * density, (x**3 - 4 * x) * density


def _power(n):
    whole = n == int(n)

    def function(x):
        if x < 0 and not whole:
            raise Undefined("power")
        found, factor = [], mpf(1)
        for k in range(4):
            e = n - k
            if factor == 0:
                found.append(mpf(0))
            elif x == 0 and e < 0:
                if k == 0:
                    raise Undefined("power")
                found.append(mp.inf)
            elif x == 0:
                found.append(factor if e == 0 else mpf(0))
            else:
                found.append(factor * mp.power(x, int(e) if whole else e))
            factor *= e
        return found

    return function


def _exponential(base):
    def function(x):
        if base == 0:
            if x < 0:
                raise Undefined("exponential")
            return (mpf(1), mp.ninf, mp.inf, mp.ninf) if x == 0 else (mpf(0), mpf(0), mpf(0), mpf(0))
        log = mp.log(base)
        y = _exp(x * log)
        return y, y * log, y * log**2, y * log**3

    return function


def _log_to(base):
    def function(x):
        scale = mp.log(base)
        return [d / scale for d in _log(x)]

    return function


def _cbrt(x):
    if x == 0:
        return mpf(0), mp.inf, mp.inf, mp.inf
    y = mp.sign(x) * mp.cbrt(abs(x))
    return y, y / (3 * x), -2 * y / (9 * x**2), 10 * y / (27 * x**3)


def _asinh(x):
    r = 1 / mp.sqrt(1 + x * x)
    return mp.asinh(x), r, -x * r**3, (2 * x * x - 1) * r**5


def _acosh(x):
    if x < 1:
        raise Undefined("acosh")
    if x == 1:
        return mpf(0), mp.inf, mp.inf, mp.inf
    r = 1 / mp.sqrt((x - 1) * (x + 1))
    return mp.acosh(x), r, -x * r**3, (2 * x * x + 1) * r**5


def _atanh(x):
    q = _within_one("atanh", x)
    if q == 0:
        raise Undefined("atanh")
    return mp.atanh(x), 1 / q, 2 * x / q**2, (2 + 6 * x * x) / q**3


def _softsign(x):
    a, s = 1 + abs(x), mp.sign(x)
    return x / a, 1 / a**2, -2 * s / a**3, 6 / a**4


def _erfinv(x):
    _within_one("erfinv", x)
    if abs(x) == 1:
        raise Undefined("erfinv")
    y = mp.erfinv(x)
    d = mp.sqrt(mp.pi) / 2 * mp.exp(y * y)
    return y, d, 2 * y * d**2, (2 + 8 * y * y) * d**3


def _ndtri(x):
    if not 0 < x < 1:
        raise Undefined("ndtri")
    y = mp.sqrt(2) * mp.erfinv(2 * x - 1)
    d = mp.sqrt(2 * mp.pi) * mp.exp(y * y / 2)
    return y, d, y * d**2, (1 + 2 * y * y) * d**3


TABLE = {
    "erfinv": _erfinv,
    "ndtri": _ndtri,
    "log2": _log_to(2),
    "log10": _log_to(10),
    "cbrt": _cbrt,
    "asinh": _asinh,
    "acosh": _acosh,
    "atanh": _atanh,
    "softsign": _softsign,
    "exp": _powers,
    "expm1": _expm1,
    "log": _log,
    "log1p": _log1p,
    "reciprocal": _reciprocal,
    "sqrt": _sqrt,
    "sin": _sin,
    "cos": _cos,
    "tan": _tan,
    "asin": _asin,
    "acos": _acos,
    "semicircle": _semicircle,
    "atan": _atan,
    "sinh": _sinh,
    "cosh": _cosh,
    "tanh": _tanh,
    "sech": _sech,
    "erf": _erf,
    "erfc": _erfc,
    "bell": _normal_bell,
    "sigmoid": _logistic,
    "softplus": _softplus,
    "silu": _silu,
    "gelu": _gelu,
}
#: their partials are made of several roundings of x itself: they may be those of a neighbour of x
NEIGHBOURS = {
    "bell", "erf", "erfc", "sigmoid", "softplus", "silu", "gelu", "tanh", "sech", "power", "exponential", "sinh", "cosh", "tan",
    "exp", "expm1", "sin", "cos", "log", "reciprocal",
}  # fmt: skip


# --- Numbers with derivatives and with bounds for their errors --------------------------------------------------------


@dataclass
class Number:
    """v: the value.  t[j]: its derivative by parameter j, t[-1] along the direction.  h[j]: of t[j] along it.

    ev, et, eh: bounds for the errors in floats.  st, sh: t and h if all contributions had one sign.
    edges: (number of an operand, magnitude of the partial, magnitude of the partial's change along the direction).
    """

    v: mpf
    ev: mpf = ZERO
    t: dict = field(default_factory=dict)
    st: dict = field(default_factory=dict)
    et: dict = field(default_factory=dict)
    h: dict = field(default_factory=dict)
    sh: dict = field(default_factory=dict)
    eh: dict = field(default_factory=dict)
    edges: list = field(default_factory=list)
    #: of a sum: it may be added up in another order, together with the sums it is a term of
    chained: bool = False
    #: whether floats give v itself, however it is computed: then a tie is a tie
    exact: bool = False
    #: of a sum: the magnitudes of all its terms
    spread: mpf = ZERO


def _at(table, key):
    return table.get(key, ZERO)


class Sheet:
    """A calculation: all numbers in order, and what was noticed on the way."""

    def __init__(self, ulps=ULPS):
        self.numbers = []
        self.u = ulps * UNIT
        self.notes = set()
        self.quickest = ZERO  # the largest second derivative of an operation

    def leaf(self, v, parameter=None, along=ZERO):
        n = Number(mpf(v), exact=True)
        if parameter is not None:
            n.t = {parameter: mpf(1), -1: mpf(along)}
            n.st = {parameter: mpf(1), -1: abs(mpf(along))}
        return self._add(n)

    def _add(self, n):
        self.numbers.append(n)
        return len(self.numbers) - 1

    def linear(self, terms, chained=False):
        """sum of c * number over the terms (c, number).

        chained: a sum that may be added up in another order; it rounds like the largest of its terms.
        """
        found = [(mpf(c), self.numbers[i], i) for c, i in terms]
        with mp.workdps(MANY_DIGITS if len(found) > 2 else mp.dps):  # `total` is rounded once: nothing may vanish
            v = mp.fsum([c * a.v for c, a, _ in found])
        spread = mp.fsum([abs(c) * (a.spread if a.chained else abs(a.v)) for c, a, _ in found])
        reordered = chained and (len(found) > 2 or any(a.chained for _, a, _ in found))
        size = spread if reordered else abs(v)
        n = Number(v, mp.fsum([abs(c) * a.ev for c, a, _ in found]) + self.u * size + TINY)
        n.exact = all(a.exact for _, a, _ in found) and not reordered and mpf(float(v)) == v
        for c, a, i in found:
            for j, t in a.t.items():
                n.t[j] = _at(n.t, j) + c * t
                n.st[j] = _at(n.st, j) + abs(c) * a.st[j]
                n.et[j] = _at(n.et, j) + abs(c) * (_at(a.et, j) + self.u * a.st[j]) + TINY
            for j, h in a.h.items():
                n.h[j] = _at(n.h, j) + c * h
                n.sh[j] = _at(n.sh, j) + abs(c) * a.sh[j]
                n.eh[j] = _at(n.eh, j) + abs(c) * (_at(a.eh, j) + self.u * a.sh[j]) + TINY
            n.edges.append((i, abs(c), ZERO))
        n.chained, n.spread = chained, spread
        return self._add(n)

    def product(self, i, k):
        a, b = self.numbers[i], self.numbers[k]
        A, B = abs(a.v) + a.ev, abs(b.v) + b.ev
        v = a.v * b.v
        n = Number(v, A * b.ev + B * a.ev + self.u * abs(v) + TINY * (v != 0))
        n.exact = a.exact and b.exact and mpf(float(v)) == v
        for j in {**a.t, **b.t}:
            n.t[j] = a.v * _at(b.t, j) + b.v * _at(a.t, j)
            n.st[j] = abs(a.v) * _at(b.st, j) + abs(b.v) * _at(a.st, j)
            n.et[j] = (
                A * _at(b.et, j) + B * _at(a.et, j) + a.ev * _at(b.st, j) + b.ev * _at(a.st, j)
                + self.u * n.st[j] + TINY
            )  # fmt: skip
            if j >= 0:
                sa, sb = (_at(a.st, j), _at(a.st, -1)), (_at(b.st, j), _at(b.st, -1))
                n.h[j] = a.v * _at(b.h, j) + b.v * _at(a.h, j) + _at(a.t, j) * _at(b.t, -1) + _at(a.t, -1) * _at(b.t, j)
                n.sh[j] = abs(a.v) * _at(b.sh, j) + abs(b.v) * _at(a.sh, j) + sa[0] * sb[1] + sa[1] * sb[0]
                n.eh[j] = (
                    A * _at(b.eh, j) + B * _at(a.eh, j) + a.ev * _at(b.sh, j) + b.ev * _at(a.sh, j)
                    + _at(a.et, j) * sb[1] + _at(b.et, -1) * sa[0] + _at(a.et, -1) * sb[0] + _at(b.et, j) * sa[1]
                    + self.u * n.sh[j] + TINY
                )  # fmt: skip
        n.edges = [(i, abs(b.v), _at(b.st, -1)), (k, abs(a.v), _at(a.st, -1))]
        return self._add(n)

    def quotient(self, i, k):
        """x / y with partials of its own, 1/y and -x/y**2: neither of them needs 1/y**2, which may be no float."""
        a, b = self.numbers[i], self.numbers[k]
        if b.v == 0:
            raise Undefined("div")
        r = 1 / b.v
        v = a.v / b.v
        R = abs(r)
        n = Number(v, exact=a.exact and b.exact and mpf(float(v)) == v)
        n.ev = R * a.ev + abs(v) * R * b.ev + self.u * abs(v) + TINY * (v != 0)
        fa, fb, fab, fbb = r, -v * r, -r * r, 2 * v * r * r
        ea = R * R * b.ev + self.u * R + TINY
        eb = R * R * a.ev + 2 * abs(v) * R * R * b.ev + self.u * abs(fb) + TINY
        eab = 2 * R**3 * b.ev + self.u * R * R
        ebb = 2 * R**3 * a.ev + 6 * abs(v) * R**3 * b.ev + self.u * abs(fbb)
        FA, FB = abs(fa) + ea, abs(fb) + eb
        for j in {**a.t, **b.t}:
            n.t[j] = fa * _at(a.t, j) + fb * _at(b.t, j)
            n.st[j] = R * _at(a.st, j) + abs(fb) * _at(b.st, j)
            n.et[j] = (
                FA * _at(a.et, j) + FB * _at(b.et, j) + ea * _at(a.st, j) + eb * _at(b.st, j) + self.u * n.st[j] + TINY
            )
            if j >= 0:
                (ta, sa, xa), (tb, sb, xb) = [
                    [(_at(part, j), _at(part, -1)) for part in (m.t, m.st, m.et)] for m in (a, b)
                ]
                n.h[j] = (
                    fa * _at(a.h, j) + fb * _at(b.h, j) + fbb * tb[0] * tb[1] + fab * (ta[0] * tb[1] + ta[1] * tb[0])
                )
                mixed, square = sa[0] * sb[1] + sa[1] * sb[0], sb[0] * sb[1]
                n.sh[j] = R * _at(a.sh, j) + abs(fb) * _at(b.sh, j) + abs(fbb) * square + abs(fab) * mixed
                n.eh[j] = (
                    FA * _at(a.eh, j) + FB * _at(b.eh, j) + ea * _at(a.sh, j) + eb * _at(b.sh, j)
                    + ebb * square + eab * mixed
                    + (abs(fbb) + ebb) * (xb[0] * sb[1] + sb[0] * xb[1])
                    + (abs(fab) + eab) * (xa[0] * sb[1] + sa[0] * xb[1] + xa[1] * sb[0] + sa[1] * xb[0])
                    + self.u * n.sh[j] + TINY
                )  # fmt: skip
        self._bends(max(abs(fab), abs(fbb)), b)
        swing = abs(fbb) * _at(b.st, -1) + abs(fab) * _at(a.st, -1)
        n.edges = [(i, R, abs(fab) * _at(b.st, -1)), (k, abs(fb), swing)]
        return self._add(n)

    def _bends(self, second, operand):
        """Take note of a second derivative.  One by a constant is not asked for; a sweep that records meets it anyway."""
        if operand.t:
            self.quickest = max(self.quickest, second)
        elif second > LARGE:
            self.notes.add("second may be refused")

    def function(self, name, i, extra=ZERO, constants=()):
        """A function of one number.  extra: more relative units of error in its partials (x**n at a rounded n)."""
        a = self.numbers[i]
        f = {"power": _power, "exponential": _exponential}[name](*constants) if constants else TABLE[name]
        if name == "exponential" and constants[0] == 0 and 0 < abs(a.v) <= a.ev:
            raise Undefined("exponential")  # 0**x jumps at 0, where floats may stand
        f0, f1, f2, f3 = f(a.v)
        if not mp.isfinite(f1):
            moves = any(a.t.values())
            self.notes.add("singular" if moves else "may be refused")
            f1, f2, f3 = ENDLESS if moves else ZERO, ZERO, ZERO
        if not mp.isfinite(f2):
            self.notes.add("kink")
            f2 = f3 = ZERO
        if not mp.isfinite(f3):
            f3 = ZERO
        if abs(f2) * a.ev > abs(f1) / 10:  # floats may stand on the edge of the domain, or beyond
            self.notes.add("may be refused")
        near = self.u * abs(a.v) * (name in NEIGHBOURS)
        F1 = abs(f1) + abs(f2) * a.ev
        F2 = abs(f2) + abs(f3) * a.ev
        e1 = abs(f2) * (a.ev + near) + self.u * (1 + extra) * abs(f1) + TINY
        e2 = abs(f3) * (a.ev + near) + self.u * (1 + extra) * (abs(f2) + abs(f1) * _curve(name, a.v))
        e2 += TINY * (1 + 4 * abs(a.v) * (name in NEIGHBOURS))  # a bell that underflows is multiplied by x
        n = Number(f0, F1 * a.ev + self.u * (1 + extra) * abs(f0) + TINY * (f0 != 0))
        if name == "gelu":
            n.ev += self.u * abs(a.v * f1)
        for j, t in a.t.items():
            n.t[j] = f1 * t
            n.st[j] = abs(f1) * a.st[j]
            n.et[j] = F1 * _at(a.et, j) + e1 * a.st[j] + self.u * n.st[j] + TINY
            if j >= 0:
                n.h[j] = f1 * _at(a.h, j) + f2 * t * _at(a.t, -1)
                n.sh[j] = abs(f1) * _at(a.sh, j) + abs(f2) * a.st[j] * _at(a.st, -1)
                n.eh[j] = (
                    F1 * _at(a.eh, j) + e1 * _at(a.sh, j) + e2 * a.st[j] * _at(a.st, -1)
                    + F2 * (_at(a.et, j) * _at(a.st, -1) + a.st[j] * _at(a.et, -1))
                    + self.u * n.sh[j] + TINY
                )  # fmt: skip
        self._bends(abs(f2), a)
        n.edges = [(i, abs(f1), abs(f2) * _at(a.st, -1))]
        return self._add(n)

    # -- choices

    def sign(self, terms, as_float):
        """The sign of a linear combination, as floats have it; notes where rounding decides."""
        found = [(c, self.numbers[i]) for c, i in terms]
        d = mp.fsum([c * a.v for c, a in found])
        error = mp.fsum([abs(c) * a.ev for c, a in found])
        truth = (d > 0) - (d < 0)
        if abs(d) > 2 * error:
            return truth
        if all(a.exact for _, a in found):
            self.notes |= {"near tie"} if d else set()
            return truth
        decided = (as_float > 0) - (as_float < 0)
        self.notes.add("tie" if d == 0 and decided == 0 else "near tie")
        return decided


def _curve(name, x):
    """How fast the partial of a bell changes, relative to itself: its rule rounds x*x."""
    return abs(x) if name in ("erf", "erfc", "gelu") else ZERO


# --- A program on the sheet -------------------------------------------------------------------------------------------


@dataclass
class Verdict:
    """What is right for one example.

    error: why the program must be refused, or "" (with a value: its derivatives must be).  unclear: why nothing can be said of it, or "".
    notes: "tie", "near tie" (only eager paths are judged), "kink" (the second derivative is not judged), "may be refused" (a
    partial by which nothing is asked is infinite, or floats may have left the domain), "second may be refused"
    (numbers on the way to the second derivative overflow).
    Every quantity is a pair (right, bound): value, gradient and curvature per parameter, slope along the direction.
    """

    error: str = ""
    unclear: str = ""
    notes: frozenset = frozenset()
    value: tuple = ()
    gradient: tuple = ()
    slope: tuple = ()
    curvature: tuple = ()


def judge(program, row):
    """What is right for a program at one example."""
    with mp.workdps(DIGITS):
        verdict = _judge(program, row)
    if "tie" in verdict.notes:  # is it one, or did small numbers vanish beside large ones here too?
        with mp.workdps(MANY_DIGITS):
            verdict = _judge(program, row)
    return verdict


def _judge(program, row):
    leaves, steps, last = programs.flatten(program)
    sheet = Sheet()
    floats = [programs.leaf_value(program, leaf, row) for leaf in leaves]
    slots = [
        sheet.leaf(x, leaf[1], program.direction[leaf[1]]) if leaf[0] == "w" else sheet.leaf(x)
        for x, leaf in zip(floats, leaves, strict=True)
    ]
    if not all(map(math.isfinite, floats)):
        return Verdict(unclear="infinite leaf")
    for step in steps:
        xs = [floats[i] for i in step.arguments]
        failed = False
        try:
            floats.append(programs.on_floats(step, xs))
        except (ArithmeticError, ValueError, TypeError):
            failed = True
            floats.append(math.nan)
        before = len(sheet.numbers)
        try:
            slots.append(_place(sheet, step, [slots[i] for i in step.arguments], xs))
        except Undefined as reason:
            return Verdict(error=str(reason)) if failed else Verdict(unclear="edge of a domain")
        except Lost:
            return Verdict(unclear="ill-conditioned")
        n = sheet.numbers[slots[-1]]
        if failed:
            over = abs(n.v) > HUGE or any(abs(m.v) > HUGE for m in sheet.numbers[before:])
            return Verdict(error=f"{step.op} overflows") if over else Verdict(unclear="edge of a domain")
        if abs(n.v) > LARGE or not math.isfinite(floats[-1]):
            return Verdict(unclear="overflow")
    return _read(sheet, slots[last], len(program.parameters))


def _read(sheet, last, P):
    y = sheet.numbers[last]
    if "singular" in sheet.notes:  # a partial that moves is infinite: refused, if it matters
        matters = any(s > mp.sqrt(ENDLESS) for s in y.st.values())
        value = {"value": (y.v, y.ev + TINY)}
        return Verdict(error="no finite derivative", **value) if matters else Verdict(unclear="no finite derivative")
    weight, swing = [ZERO] * len(sheet.numbers), [ZERO] * len(sheet.numbers)
    weight[last] = mpf(1)
    largest, quickest = ZERO, sheet.quickest
    for i in range(last, -1, -1):
        n = sheet.numbers[i]
        for parent, partial, change in n.edges:
            weight[parent] += weight[i] * partial
            swing[parent] += swing[i] * partial + weight[i] * change
            largest, quickest = max(largest, partial), max(quickest, change)
        largest = max([largest, abs(n.v), weight[i], *n.st.values()])
    if largest > LARGE:
        return Verdict(unclear="overflow")
    beyond = max([quickest, *swing, *[s for n in sheet.numbers for s in n.sh.values()]]) > LARGE
    # what underflows on the way back: of every product a part of the smallest float
    parents = [sheet.numbers[i] for n in sheet.numbers for i, *_ in n.edges]
    lost1 = {j: 8 * TINY * mp.fsum([_at(n.st, j) for n in parents]) for j in [*range(P), -1]}
    lost2 = {j: 8 * TINY * mp.fsum([_at(n.sh, j) + _at(n.st, j) + _at(n.st, -1) for n in parents]) for j in range(P)}
    # and what rounding does to an adjoint that is summed up from many parts, one after the other
    parts = Counter(i for n in sheet.numbers for i, *_ in n.edges)
    summed = [(2 * UNIT * (m - 1), sheet.numbers[i], weight[i], swing[i]) for i, m in parts.items() if m > 1]
    for j in lost1:
        lost1[j] += mp.fsum([u * a * _at(n.st, j) for u, n, a, _ in summed])
    for j in lost2:
        lost2[j] += mp.fsum([u * (a * _at(n.sh, j) + s * _at(n.st, j)) for u, n, a, s in summed])
    notes = set(sheet.notes) | ({"kink"} if beyond else set())
    if max(weight) * max([_at(n.st, -1) for n in sheet.numbers]) > LARGE:  # a second sweep may multiply them
        notes.add("second may be refused")
    return Verdict(
        notes=frozenset(notes),
        value=(y.v, y.ev + TINY),
        gradient=tuple((_at(y.t, j), _at(y.et, j) + lost1[j]) for j in range(P)),
        slope=(_at(y.t, -1), _at(y.et, -1) + lost1[-1]),
        curvature=tuple((_at(y.h, j), _at(y.eh, j) + lost2[j]) for j in range(P)),
    )


def _place(sheet, step, a, xs):
    """Put a step on the sheet; the number of its result there.  xs: the operands as floats have them."""
    op = step.op
    if op in ("add", "sub"):
        return sheet.linear([(1, a[0]), (1 if op == "add" else -1, a[1])], chained=True)
    if op == "neg":
        return sheet.linear([(-1, a[0])], chained=sheet.numbers[a[0]].chained)
    if op == "total":
        return _rounded_once(sheet, a)
    if op == "mul":
        return sheet.product(*a)
    if op == "div":
        return sheet.quotient(*a)
    if op == "dot":
        n = len(a) // 2
        products = [sheet.product(u, v) for u, v in zip(a[:n], a[n:-1], strict=True)]
        return sheet.linear([(1, p) for p in (*products, a[-1])], chained=True)
    if op in ("power", "exponential"):
        (c,) = map(mpf, step.constants)
        x = sheet.numbers[a[0]].v
        extra = abs(c * mp.log(abs(x))) if op == "power" and x and c != int(c) else ZERO
        return sheet.function(op, a[0], extra, (c,))
    if op == "pow":
        return _general_power(sheet, *a)
    if op in TABLE:
        return sheet.function(op, a[0])
    if op == "stop_gradient":
        x = sheet.numbers[a[0]]
        return sheet._add(Number(x.v, x.ev, exact=x.exact))
    if op == "sign":
        way = sheet.sign([(1, a[0])], xs[0])
        return sheet.linear([(0, a[0]), (1, sheet.leaf(way))])
    if op in ("floor", "ceil", "round"):
        return _whole(sheet, a, {"floor": mp.floor, "ceil": mp.ceil, "round": mp.nint}[op], xs)
    if op == "floordiv":
        return _whole(sheet, a, mp.floor, xs)
    if op == "mod":
        x, y = (sheet.numbers[i] for i in a)
        if 4 * x.ev > abs(y.v):  # what is left of x is less than what it was rounded by
            raise Lost
        whole = _whole(sheet, a, mp.floor, xs)
        with mp.workdps(MANY_DIGITS):  # the product cancels all but the last digits of x
            return sheet.linear([(1, a[0]), (-1, sheet.product(whole, a[1]))])
    if op == "hypot":
        return _root_of_squares(sheet, *a)
    if op == "atan2":
        return _angle(sheet, *a, xs[0])
    if op in ("step", "relu", "leaky_relu", "elu", "abs"):
        return _bent(sheet, op, a[0], xs[0], *(step.constants or ((0.01,) if op == "leaky_relu" else (1.0,))))
    if op in ("maximum", "minimum"):
        way = sheet.sign([(1, a[0]), (-1, a[1])], xs[0] - xs[1]) * (1 if op == "maximum" else -1)
        x, y = (1 + way) / mpf(2), (1 - way) / mpf(2)
        return sheet.linear([(x, a[0]), (y, a[1])]) if way == 0 else sheet.linear([(1, a[way < 0])])
    if op == "where":
        return sheet.linear([(1, a[1] if sheet.sign([(1, a[0])], xs[0]) > 0 else a[2])])
    if op == "take":
        index = sheet.numbers[a[-1]]
        if not index.exact and abs(index.v - mp.nint(index.v)) <= index.ev:
            sheet.notes.add("near tie")
        if not (xs[-1].is_integer() and 0 <= xs[-1] < len(a) - 1):
            raise Undefined("take")
        return sheet.linear([(1, a[int(xs[-1])])])
    if op in ("logsumexp", "softmax"):
        return _exponentials(sheet, op, a, step.constants)
    raise NotImplementedError(op)


def _whole(sheet, a, rounding, xs):
    """A whole number near an operand, or a quotient of two: flat, but for jumps."""
    x = sheet.numbers[a[0]]
    v, error, exact = x.v, x.ev, x.exact
    if len(a) == 2:
        y = sheet.numbers[a[1]]
        if y.v == 0:
            raise Undefined("floordiv")
        with mp.workdps(MANY_DIGITS):
            v = x.v / y.v
        error = (x.ev + abs(v) * y.ev) / abs(y.v)
        exact = exact and y.exact
    with mp.workdps(MANY_DIGITS):
        found = rounding(v)
        if not exact and not (rounding(v - 2 * error) == found == rounding(v + 2 * error)):
            sheet.notes.add("near tie")
            found = rounding(mpf(xs[0]) / (mpf(xs[1]) if len(a) == 2 else 1))  # of the floats that stand there
    n = Number(found, sheet.u * abs(found), exact=exact and mpf(float(found)) == found)
    for i in a:
        n.edges.append((i, ZERO, ZERO))
    return sheet._add(n)


def _root_of_squares(sheet, i, k):
    """hypot: larger * sqrt(1 + (smaller/larger)**2), of which no part leaves the range."""
    x, y = sheet.numbers[i], sheet.numbers[k]
    if x.v == 0 and y.v == 0:
        sheet.notes.add("singular" if any(x.t.values()) or any(y.t.values()) else "may be refused")
        return sheet.leaf(0)
    if abs(x.v) < abs(y.v):
        (i, x), (k, y) = (k, y), (i, x)
    ratio = sheet.quotient(k, i)
    root = sheet.function("sqrt", sheet.linear([(1, sheet.leaf(1)), (1, sheet.product(ratio, ratio))]))
    return sheet.product(sheet.linear([(mp.sign(x.v), i)]), root)


def _angle(sheet, i, k, height):
    """atan2 of height i and width k: the arc tangent of the smaller over the larger, and a multiple of pi/2."""
    x, y = sheet.numbers[i], sheet.numbers[k]
    if x.v == 0 and y.v == 0:
        sheet.notes.add("singular" if any(x.t.values()) or any(y.t.values()) else "may be refused")
        return sheet.leaf(0)
    flat = abs(x.v) <= abs(y.v)
    turned = sheet.function("atan", sheet.quotient(i, k) if flat else sheet.quotient(k, i))
    if y.v < 0 and abs(x.v) <= 2 * x.ev and not x.exact:
        sheet.notes.add("near tie")
    base = mp.atan2(x.v, y.v) - (1 if flat else -1) * sheet.numbers[turned].v
    if flat and y.v < 0 and abs(x.v) <= 2 * x.ev:  # half a turn, to the side of the float that stands there
        base = mp.pi if height >= 0.0 else -mp.pi
    return sheet.linear([(1 if flat else -1, turned), (1, sheet.leaf(base))])


def _rounded_once(sheet, a):
    """`total`: its value is rounded once, whatever the order."""
    return sheet.linear([(1, i) for i in a])


def _general_power(sheet, i, k):
    """x ** y with both moving."""
    x, y = sheet.numbers[i], sheet.numbers[k]
    if x.v > 0:
        return sheet.function("exp", sheet.product(k, sheet.function("log", i)))
    if not y.exact or (x.v < 0 and y.v != int(y.v)) or (x.v == 0 and y.v < 0):
        raise Undefined("pow")
    if y.t and any(y.t.values()):
        sheet.notes.add("kink")
        if x.v < 0:
            raise Undefined("pow")
    elif x.v < 0:  # the library asks for the derivative by the exponent too, and refuses
        raise Undefined("pow")
    if x.v == 0 and y.v == 0:  # log(0) by the exponent
        sheet.notes.add("singular" if any(y.t.values()) else "may be refused")
    return sheet.function("power", i, constants=(y.v,))


def _bent(sheet, op, i, x, constant):
    """A function with a corner at 0."""
    way = sheet.sign([(1, i)], x)
    c = mpf(constant)
    if op == "step":
        return sheet.linear([(0, i), (1, sheet.leaf(1 if way > 0 else 0))])
    if op == "abs":
        return sheet.linear([(way, i)])
    if way > 0:
        return sheet.linear([(1, i)])
    if op == "relu":
        return sheet.linear([(0, i)])
    if op == "leaky_relu":
        return sheet.product(sheet.leaf(c), i)
    if way == 0:
        sheet.notes.add("kink")
    return sheet.product(sheet.leaf(c), sheet.function("expm1", i))


def _exponentials(sheet, op, a, constants):
    """logsumexp and softmax, shifted by the largest operand."""
    shift = max(sheet.numbers[i].v for i in a)
    m = sheet.leaf(shift)
    weights = [sheet.function("exp", sheet.linear([(1, i), (-1, m)])) for i in a]
    whole = sheet.linear([(1, w) for w in weights])  # they are positive: no order cancels
    if op == "softmax":
        place = sheet.quotient(weights[constants[0]], whole)
    else:
        place = sheet.linear([(1, sheet.function("log", whole)), (1, m)])
    n = sheet.numbers[place]
    largest = max(abs(sheet.numbers[i].v) for i in a)
    rounding = sheet.u * largest * (1 if op == "logsumexp" else abs(n.v))
    n.ev += rounding  # and its partials exp(x - out) are those of a neighbour
    for j in n.st:
        n.et[j] += sheet.u * (1 + largest) * n.st[j]
    for j in n.sh:
        n.eh[j] += sheet.u * (1 + largest) * n.sh[j]
    return place
