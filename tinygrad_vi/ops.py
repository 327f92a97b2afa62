"""The table of elementary operations.

One row holds all that is known of an operation: its value on floats, its partial derivatives, how people write it,
where it is defined, what is agreed at its corners.  Everything else (eager gradients, forward mode, higher
derivatives, trace tables, LaTeX, drawings, tests) is read off the table, so a new operation is one new row.

A rule for partials is called as ``partials(out, *operands)`` and returns one derivative for each operand.  It uses
only arithmetic and functions of this table, so one rule serves three readers: given floats it returns numbers, given
Values it returns new Values (second derivatives), given symbols it returns formulas.

Rules are chosen not to cancel.  ``tanh'(20)`` is ``sech(20)**2 = 1.7e-17`` and not ``1 - tanh(20)**2``, which is 0;
that is why the table has the rows ``sech``, ``semicircle`` and ``bell``, which only other rows need.

Functions raise DomainError outside their domain and where they overflow.  Plain arithmetic (+ - * / and `dot`)
overflows to infinity as floats do; `Value.backward` then names the node where that happened.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from functools import lru_cache, wraps
from itertools import chain, count
from numbers import Real
from typing import Any, Protocol
from weakref import WeakSet

from tinygrad_vi import floats, modes

Rule = Callable[..., Any]
Writer = Callable[[Sequence[str]], str]

EVERYWHERE = "finite operands"

SMALLEST_NORMAL = 2.0**-1022

ATOM = 5  # binds like a name or a call: never needs parentheses


class DomainError(ArithmeticError, ValueError):
    """An operation left its domain, overflowed, or has no finite derivative where it was applied."""


class ShapeError(ValueError):
    """Lists whose lengths should agree do not."""


#: advice: where rows of data are expected, a list of numbers is read as so many examples
ONE_EXAMPLE = "data hold an entry for each example, so one example alone is written [x]"
NO_VECTOR = f"@ takes vectors and matrices, got a number: for numbers write *; {ONE_EXAMPLE}"


class Operation:
    """A row of the table.  It does not change; no dataclass, which would load `inspect`, larger than this package."""

    name: str
    #: the operation on floats
    value: Callable[..., float]
    #: ``partials(out, *operands)``: one derivative for each operand
    partials: Rule
    #: how the operation is named on a drawing: "+", "tanh", "**2"
    symbol: str
    #: from the texts of the operands to the text of the result: "x * y", r"x \cdot y"
    text: Writer
    latex: Writer
    #: how tightly the text binds: 1 for + and -, 2 for * and /, 3 for a sign, 4 for **, 5 for a call
    binds: int
    #: how many operands; None when any number will do
    arity: int | None
    #: formula and derivative, in words
    doc: str
    #: where it is defined, as an error message says it
    domain: str
    #: conventions: operands -> the partials agreed upon there, where the derivative does not exist
    corners: Mapping[tuple[float, ...], tuple[float, ...]]
    #: operands at which it is worth testing, ordinary and extreme ones
    points: Sequence[tuple[float, ...]]
    #: what tells this row from others of its family: (n,) for ``x**n``
    constants: tuple[float, ...]
    #: what it does to the gradient on the way back, in the words of the CS231n notes; empty when it has no name
    role: str
    #: the partials as textbooks write them, where the rule is written differently to keep its accuracy
    taught: Rule
    #: the partials themselves when they are the same everywhere (``+``, ``-``), else None
    constant_partials: tuple[float, ...] | None = None
    #: ``flows(flow, out, *operands)``: each partial times a flow, for rows whose partials may leave the range of floats
    #: where such a product does not: -x/y**2 is 0 at y = 1e200
    flows: Rule | None = None

    def __init__(self, **facts: Any) -> None:
        vars(self).update(facts)

    def __setattr__(self, name: str, fact: Any) -> None:
        raise AttributeError(f"a row of the table does not change: {name} of {self!r} cannot be set")

    def changed(self, **facts: Any) -> Operation:
        """Another row with some other facts, outside of the table."""
        return Operation(**{**vars(self), **facts})

    def __repr__(self) -> str:
        return f"<operation {self.name}{list(self.constants) or ''}>"

    @property
    def in_table(self) -> bool:
        """Whether its name (with its constants) leads to it: not to one that another row has replaced since."""
        return self in _TABLE

    def __reduce__(self) -> tuple[Any, ...]:  # rows are unique: pickles find the row again
        if not self.in_table:
            raise TypeError(
                f"the operation {self.name!r} cannot be pickled, since its name does not lead to it: make it with "
                "@operation, under a name that no other one has, in a module that is imported before unpickling"
            )
        return _find, (self.name, *self.constants)

    def __copy__(self) -> Operation:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Operation:
        return self


class Function(Protocol):
    """What `row` returns: called with floats it gives a float, with a Value among the operands a Value."""

    operation: Operation

    def __call__(self, *operands: Any) -> Any:
        """Apply the operation."""


#: Every row by name.  Of the families, `leaky_relu` and `elu` appear with their usual constant, `power` does not.
OPERATIONS: dict[str, Operation] = {}
#: Rows that depend on a constant, such as ``x**n`` for one n: each is made when it is first asked for.
FAMILIES: dict[str, Callable[..., Operation]] = {}
#: The names that are taken, once this module is complete.
BUILT_IN: set[str] = set()
#: Rows of the user's own by name, see `tinygrad_vi.operation`.
OWN: dict[str, Operation] = {}


#: every row that is found by its name and constants
_TABLE: WeakSet[Operation] = WeakSet()


def _find(name: str, *constants: float) -> Operation:
    if constants and name in FAMILIES:
        return FAMILIES[name](*constants)
    for table in (OPERATIONS, OWN):
        if name in table and not constants:
            return table[name]
    raise ValueError(f"there is no row {name!r} here: import the module that makes it with @operation first")


def _operation(
    name: str,
    value: Callable[..., float],
    partials: Rule | tuple[float, ...],
    doc: str,
    *,
    symbol: str = "",
    text: str | Writer = "",
    latex: str | Writer = "",
    binds: int = ATOM,
    arity: int | None = 1,
    domain: str = EVERYWHERE,
    corners: Mapping[Any, Any] | None = None,
    points: Sequence[Any] = (),
    constants: tuple[float, ...] = (),
    taught: Rule | None = None,
    role: str = "",
    flows: Rule | None = None,
) -> Operation:
    """Make a row outside of the table, with a call such as ``tanh(x)`` as the default way to write it.

    It works, records and is drawn like any other.  `row` puts one into the table, where pickles and compiled programs
    look for it.  A row with the domain "" says why it failed in the words of the error that its value raised.
    """
    constant = partials if isinstance(partials, tuple) else None
    written = [write_constant(c) for c in constants]
    rule = partials if callable(partials) else lambda out, *operands: constant
    return Operation(
        name=name,
        value=value,
        partials=rule,
        taught=taught or rule,
        symbol=symbol or name,
        text=_writer(text) if text else lambda operands: f"{name}({', '.join([*operands, *written])})",
        latex=_writer(latex) if latex else _latex_call(name, [latex_number(c) for c in written]),
        binds=binds,
        arity=arity,
        doc=doc,
        domain=domain,
        corners={_tuple(at): _tuple(agreed) for at, agreed in (corners or {}).items()},
        points=[_tuple(point) for point in points],
        constants=constants,
        role=role,
        constant_partials=constant,
        flows=flows,
    )


class FarPartial(float):
    """A partial derivative that has left the range of floats: it multiplies a flow by its row's rule ``flows``.

    >>> by_x, by_y = div.operation.partials(1e-150, 1e20, 1e170)
    >>> by_y * 1e100
    -1e-220
    """

    row: tuple[Any, ...]
    place: int
    operands: tuple[float, ...]

    def __new__(cls, partial: float, row: tuple[Any, ...], place: int, operands: tuple[float, ...]) -> FarPartial:
        """row: its name and constants.  place: the operand it is the partial by.  operands: of the rule, after flow."""
        far = super().__new__(cls, partial)
        far.row, far.place, far.operands = row, place, operands
        return far

    def __mul__(self, flow: Any) -> Any:
        if not isinstance(flow, (float, int)):
            return NotImplemented
        rule = _find(*self.row).flows
        assert rule is not None
        return rule(float(flow), *self.operands)[self.place]

    __rmul__ = __mul__

    def __reduce__(self) -> tuple[Any, ...]:
        return FarPartial, (float(self), self.row, self.place, self.operands)


def _far_partials(partials: tuple[float, ...], row: tuple[Any, ...], *point: float) -> tuple[float, ...]:
    """The partials, able to multiply a flow where one of them has left the range of floats; point: out, operands."""
    if all(SMALLEST_NORMAL <= abs(partial) < math.inf for partial in partials):
        return partials
    return tuple([FarPartial(partial, row, i, point) for i, partial in enumerate(partials)])


def _quotient_partials(out: Any, x: Any, y: Any) -> tuple[Any, Any]:
    by_x, by_y = 1.0 / y, -out / y
    # a finite product of squares, and not 0: neither is far.  One comparison, since divisions are made by the million
    if out.__class__ is not float or 0.0 < by_x * by_x * (by_y * by_y) < math.inf:
        return by_x, by_y
    return _far_partials((by_x, by_y), ("div",), out, x, y)  # type: ignore[return-value]


def _negative_power(n: float) -> Rule:
    def partials(out: Any, x: Any) -> tuple[Any]:
        by_x = n * x ** (n - 1.0)
        if out.__class__ is not float:
            return (by_x,)
        return _far_partials((by_x,), ("power", n), out, x)  # type: ignore[return-value]

    return partials


def row(name: str, value: Callable[..., float], partials: Rule | tuple[float, ...], doc: str, **facts: Any) -> Function:
    """Add a row to the table and return the function that people call.

    On floats the function is the row's value.  An operand of another kind is asked to ``record`` the operation, so
    this module needs to know neither Value nor any other kind of number that will ever be traced.

    Raises ValueError for the name of a built-in row, for which pictures, formulas and compiled programs would take it.
    A row of the user's own (see `tinygrad_vi.operation`) may be made again: the new one replaces it.
    """
    if name in BUILT_IN:
        raise ValueError(f"{name!r} is a built-in operation: give the new row another name")
    op, table = _operation(name, value, partials, doc, **facts), OWN if BUILT_IN else OPERATIONS
    if name in table:
        _TABLE.discard(table[name])
    table[name] = op
    _TABLE.add(op)

    def unary(x: Any) -> Any:
        if x.__class__ is float:
            try:
                return value(x)
            except (ArithmeticError, ValueError):
                raise domain_error(op, (x,)) from None
        record = getattr(x, "record", None)
        return record(op, x) if record else apply(op, x)

    def any_arity(*operands: Any) -> Any:
        return apply(op, *operands)

    function: Any = unary if op.arity == 1 else any_arity
    function.__name__ = function.__qualname__ = name
    function.__doc__ = _docstring(op)
    function.operation = op
    return function  # type: ignore[no-any-return]


def apply(op: Operation, *operands: Any) -> Any:
    """Apply an operation to operands of any kind: the first that can `record` does so, else all are numbers."""
    if op.arity is not None and len(operands) != op.arity:
        raise TypeError(f"{op.name} takes {op.arity} operand{'s' * (op.arity > 1)}, got {len(operands)}")
    for operand in operands:
        if hasattr(operand, "record"):
            return operand.record(op, *operands)
    numbers = [number(operand, op.name) for operand in operands]
    try:
        return op.value(*numbers)
    except (ArithmeticError, ValueError):
        raise domain_error(op, numbers) from None


#: whole numbers up to it are floats
MOST_WHOLE = 2**53


def number(x: Any, wanted_by: str) -> float:
    """The float of a real number (int, float, Fraction, NumPy scalar, 0-d array); TypeError for anything else."""
    if x.__class__ is int and -MOST_WHOLE < x < MOST_WHOLE:  # the usual one, at once
        return float(x)
    masquerade = _is_no_number(x)
    if getattr(x, "shape", None) == () and hasattr(x, "item") and not masquerade:
        x = x.item()
    if masquerade or not isinstance(x, Real):
        several = isinstance(x, (list, tuple)) or hasattr(x, "shape")
        hint = ": apply it to each entry, or use the NumPy function on an object array" if several else ""
        takes = "real numbers" if wanted_by == "Value" else "numbers or Values"
        hint = (
            ": it is one already; stop_gradient(v) is its number, taken for a constant"
            if hasattr(x, "record")
            else hint
        )
        raise TypeError(f"{wanted_by} takes {takes}, got {_brief(x)} of type {type(x).__name__}{hint}")
    try:
        found = float(x)
    except OverflowError:
        raise DomainError(f"{wanted_by} takes numbers that fit a float, got one of about 1e{_digits(x)}") from None
    if math.isinf(found) and x != found:  # NumPy's longdouble
        raise DomainError(f"{wanted_by} takes numbers that fit a float, got {x}")
    return found


def _is_no_number(x: Any) -> bool:
    """Whether ``item()`` would make a number of what is none: a date, a span of time, a masked entry of NumPy."""
    return getattr(getattr(x, "dtype", None), "kind", "") in ("M", "m") or getattr(x, "mask", False) is not False


def entries(xs: Iterable[Any], wanted_by: str) -> list[Any]:
    """The entries of a list; TypeError for what has no order or holds keys: a set, a dictionary, a text."""
    if isinstance(xs, (Set, Mapping, str, bytes)):
        raise TypeError(
            f"{wanted_by} takes lists, where every number has its place, got {_brief(xs)} of type {type(xs).__name__}"
        )
    return list(xs)


def whole_number(n: Any, what: str, least: int = 1) -> int:
    """An int of at least so much; ValueError for anything else."""
    if isinstance(n, bool) or not hasattr(n, "__index__") or operator.index(n) < least:
        raise ValueError(f"{what} must be a whole number of at least {least}, got {n!r}")
    return operator.index(n)


def domain_error(op: Operation, operands: Sequence[Any]) -> DomainError:
    """Say which operation failed, at which operands, and in which of the three ways.

    >>> log(-1.0)
    Traceback (most recent call last):
    tinygrad_vi.ops.DomainError: log(x) needs x > 0, got x = -1.0
    """
    xs = [getattr(operand, "data", operand) for operand in operands]
    labels = [getattr(operand, "label", "") for operand in operands]
    usual = _operand_names(len(operands))
    names = _names_unlike(labels, usual)
    renamed = dict(zip(usual, names, strict=True))
    domain = re.sub(r"\b[a-z]\b", lambda name: renamed.get(name[0], name[0]), op.domain)
    shown = [
        f"{name} = {x!r}" + (f" (node {label!r})" if label else "")
        for name, x, label in zip(names, xs, labels, strict=True)
    ]
    got = ", ".join(shown if len(shown) <= 4 else [*shown[:3], f"... ({len(shown)} operands)"])
    call = op.text(names if len(names) <= 4 else [*names[:2], "...", names[-1]])
    try:
        op.value(*xs)
    except OverflowError:
        return DomainError(f"{call} overflows a float, got {got}")
    except (ArithmeticError, ValueError) as error:
        return DomainError(f"{call} needs {domain}, got {got}" if domain else f"{call} failed, got {got}: {error}")
    return DomainError(
        f"{call} has no finite derivative at {got}"
        + f"; for a base below 0 write the exponent as a plain number, {names[0]} ** 3"
        * (op.name == "pow" and xs[0] < 0.0)
        + f"; an exponent that is a constant can be written as a plain number, {names[0]} ** 3"
        * (op.name == "pow" and xs[0] == 0.0 and float(xs[1]).is_integer())
        + "; inside no_grad() it still has its value"
    )


# --- How rows are written ---------------------------------------------------------------------------------------------


def _writer(form: str | Writer) -> Writer:
    return (lambda operands: form.format(*operands)) if isinstance(form, str) else form


def _latex_call(name: str, constants: Sequence[str] = ()) -> Writer:
    escaped = name.replace("_", r"\_")
    return lambda operands: rf"\operatorname{{{escaped}}}\left({', '.join([*operands, *constants])}\right)"


def write_constant(x: float) -> str:
    """A constant as it stands in a formula: 12345, 0.3, 1e-5.

    Of others than whole numbers twelve digits, so that 0.7 - 1 is -0.3 and not -0.30000000000000004.
    """
    if math.isfinite(x) and float(x).is_integer() and abs(x) < 1e15:
        return str(int(x))
    mantissa, e, exponent = f"{x:.12g}".partition("e")
    return f"{mantissa}e{int(exponent)}" if e else mantissa


def latex_number(written: str) -> str:
    """A written number for LaTeX: 2e-7 is 2 times a power of ten, 1e-5 a power of ten."""
    mantissa, e, exponent = written.partition("e")
    if written.lstrip("-") in ("inf", "nan"):
        return written.replace("inf", r"\infty").replace("nan", r"\mathrm{NaN}")
    times = mantissa.removesuffix("1") if mantissa in ("1", "-1") else rf"{mantissa} \cdot "
    return rf"{times}10^{{{exponent}}}" if e else written


def _docstring(op: Operation) -> str:
    names = _operand_names(op.arity) if op.arity else ["*operands"]
    corners = [
        f"{op.name}({', '.join(map(repr, at))}) has the partials {', '.join(map(repr, agreed))}"
        for at, agreed in op.corners.items()
    ]
    return (
        f"{op.doc}\n\nFloats give a float; a Value among the operands ({', '.join(names)}) gives a recorded Value.\n"
        + (f"By convention {'; '.join(corners)}.\n" if corners else "")
        + (f"Raises DomainError unless {op.domain}.\n" if op.domain not in (EVERYWHERE, "") else "")
    )


def _operand_names(count: int) -> list[str]:
    return {1: ["x"], 2: ["x", "y"], 3: ["c", "x", "y"]}.get(count) or [f"x{i}" for i in range(1, count + 1)]


def _names_unlike(labels: Sequence[str], names: list[str]) -> list[str]:
    """The names of operands, or others where the label of one operand is the name of another: a1 / a2."""
    others = ([f"{'a' * k}{i}" for i in range(1, len(names) + 1)] for k in count(1))
    for tried in chain([names], others):
        places = {name: i for i, name in enumerate(tried)}
        if all(places.get(label, i) == i for i, label in enumerate(labels)):
            return tried
    raise AssertionError("there are more names than labels")


def _tuple(x: Any) -> tuple[float, ...]:
    return x if isinstance(x, tuple) else (x,)


def _brief(x: Any) -> str:
    text = repr(x)
    return text if len(text) <= 60 else text[:57] + "..."


def _digits(x: Any) -> int:
    return int(math.log10(2) * abs(int(x)).bit_length())


# --- Values that `math` lacks -----------------------------------------------------------------------------------------


def _sigmoid(x: float) -> float:
    if x >= 0:
        return 1.0 / (1.0 + math.exp(-x))
    e = math.exp(x)  # each branch can underflow to 0, neither can overflow
    return e / (1.0 + e)


def _sech(x: float) -> float:
    e = math.exp(-abs(x))
    return 2.0 * e / (1.0 + e * e)


def _softplus(x: float) -> float:
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


def _bell(x: float) -> float:
    """exp(-x*x/2), with what x*x rounds off brought back to first order: exp would magnify it x*x times."""
    e = math.exp(-0.5 * (x * x))
    return e if e == 0.0 else e - 0.5 * _rounding_of_product(x, x) * e


def _gelu(x: float) -> float:
    """x * erfc(z) / 2 with z = -x / sqrt(2).

    Far left erfc magnifies the rounding of z by 2*z*z (1400 times at x = -37), so what was rounded off is brought
    back to first order: erfc(z + d) = erfc(z) - d * 2/sqrt(pi) * exp(-z*z).
    """
    z = -x * SQRT_HALF
    if x <= -40.0:
        return -0.0
    if not x < -1.0:
        return 0.5 * x * math.erfc(z)
    d = -x * SQRT_HALF_REST - _rounding_of_product(x, SQRT_HALF)
    return 0.5 * x * (math.erfc(z) - d * TWO_OVER_SQRT_PI * math.exp(-z * z))


def _rounding_of_product(x: float, y: float) -> float:
    """x*y - fl(x*y), exactly (T. J. Dekker, 1971: split each factor into halves of 26 bits)."""
    product = x * y
    c = 134217729.0 * x
    x_high = c - (c - x)
    c = 134217729.0 * y
    y_high = c - (c - y)
    x_low, y_low = x - x_high, y - y_high
    return ((x_high * y_high - product) + x_high * y_low + x_low * y_high) + x_low * y_low


def _logsumexp(*xs: float) -> float:
    shift = max(xs)
    if not math.isfinite(shift):  # all -inf, some +inf or a NaN, which `max` may have passed over
        return math.nan if any(map(math.isnan, xs)) else shift
    terms = [math.exp(x - shift) for x in xs]
    terms.remove(1.0)  # the largest: log1p keeps what log(1 + the others) would round off
    return shift + math.log1p(math.fsum(terms))


def _total(*xs: float) -> float:
    try:
        return math.fsum(xs)  # rounded once: the order of the terms does not matter, every Python gives the same bits
    except OverflowError:  # of a partial sum; all of it may still be a float
        return math.ldexp(math.fsum([math.ldexp(x, -64) for x in xs]), 64)


def weighted_sum(w: Iterable[float], x: Iterable[float], b: float) -> float:
    """b + w[0]*x[0] + w[1]*x[1] + ..., from left to right in every Python (since 3.12 `sum` rounds differently)."""
    for u, v in zip(w, x, strict=True):
        b += u * v
    return b


def split(operands: Sequence[Any]) -> tuple[Any, Any, Any]:
    """The operands of a `dot`, (*w, *x, b) as a node keeps them, as w, x and b."""
    n = len(operands) // 2
    return operands[:n], operands[n:-1], operands[-1]


LOG2_E, LOG10_E = math.log2(math.e), math.log10(math.e)
SQRT_HALF = math.sqrt(0.5)
SQRT_HALF_REST = -4.833646656726457e-17  # sqrt(1/2) - SQRT_HALF
TWO_OVER_SQRT_PI = 2.0 / math.sqrt(math.pi)
HALF_SQRT_PI, SQRT_TWO_PI = 0.5 * math.sqrt(math.pi), math.sqrt(2.0 * math.pi)
LOG_TWO_PI = math.log(2.0 * math.pi)
ONE_OVER_SQRT_TWO_PI = 1.0 / math.sqrt(2.0 * math.pi)

# --- The table --------------------------------------------------------------------------------------------------------
# Sample points: ordinary ones, both tails, tiny numbers, both sides of each corner.

# A NaN among the operands gives NaN: conditions are written so that it takes neither branch for 0.

TINY = (1e-300, -1e-300, 1e-9, -1e-9)
PLAIN = (-3.2, -1.5, -0.4, 0.3, 0.75, 2.0, 4.6)
ANYWHERE = (*TINY, *PLAIN, 0.0)

# rows that rules refer to before their turn comes
pow_: Function
ceil: Function
stop_gradient: Function
abs_: Function
where: Any
log: Any
bell: Function
cos: Function
semicircle: Function
cosh: Function
sech: Function
sign: Function
hypot: Function
floordiv: Function

# arithmetic
add = row("add", operator.add, (1.0, 1.0), "x + y.  Partials 1, 1.",
          symbol="+", text="{0} + {1}", latex="{0} + {1}", binds=1, arity=2,
          role="add: distributor",
          points=[(2.0, 3.0), (-1e308, 5e307), (1e-300, 2e-300)])  # fmt: skip
sub = row("sub", operator.sub, (1.0, -1.0), "x - y.  Partials 1, -1.",
          symbol="-", text="{0} - {1}", latex="{0} - {1}", binds=1, arity=2,
          role="subtract: distributor, second negated",
          points=[(2.0, 3.5), (-1e308, -5e307), (1e-300, 3e-300)])  # fmt: skip
mul = row("mul", operator.mul, lambda out, x, y: (y, x), "x * y.  Partials y, x.",
          symbol="*", text="{0} * {1}", latex=r"{0} \cdot {1}", binds=2, arity=2,
          role="multiply: swap",
          points=[(2.0, 3.0), (-1e200, 1e100), (1e-200, -1e-100), (0.0, 4.0)])  # fmt: skip
div = row("div", operator.truediv, _quotient_partials, "x / y.  Partials 1/y, -x/y**2.",
          flows=lambda flow, out, x, y: (flow / y, -(flow * out) / y),
          symbol="/", text="{0} / {1}", latex=r"\frac{{{0}}}{{{1}}}", binds=2, arity=2, domain="y != 0",
          points=[(2.0, 3.0), (-1e150, 1e-100), (1e-150, 1e60), (0.0, -4.0), (1e150, -1e100)])  # fmt: skip
neg = row("neg", operator.neg, (-1.0,), "-x.  Derivative -1.",
          symbol="-", text="-{0}", latex="-{0}", binds=3, points=[2.0, -1e300])  # fmt: skip
pow_ = row(  # the bent exponent only matters at 0**0: there it keeps 0*infinity away
    "pow", math.pow,
    lambda out, x, y: (y * pow_(x, where(abs_(x) + abs_(y), y - 1.0, 0.0)), _power_times_log(out, x, y)),
    "x ** y.  Partials y * x**(y - 1) and x**y * log(x); the second is 0 at x = 0 < y.",
    symbol="**", text="{0} ** {1}", latex="{0}^{{{1}}}", binds=4, arity=2,
    domain="x > 0, or x = 0 and y >= 0, or x < 0 and an integer y",
    corners={(0.0, 2.0): (0.0, 0.0)},
    taught=lambda out, x, y: (y * x ** (y - 1.0), out * log(x)),
    points=[(2.0, 3.0), (0.3, -1.7), (1e-100, 2.5), (1e100, -2.5), (7.0, 0.0), (1.0, 3.0), (5.0, 1.0)],
)  # fmt: skip

mod = row("mod", operator.mod, lambda out, x, y: (1.0, -floordiv(x, y)),
          "x % y: what is left of x, with the sign of y.  Partials 1, -floor(x/y), at the jumps too.",
          symbol="%", text="{0} % {1}", latex=r"{0} \bmod {1}", binds=2, arity=2, domain="y != 0",
          points=[(7.5, 2.0), (-7.5, 2.0), (7.5, -2.0), (1e-300, 3e-301), (-3.0, 1e10)])  # fmt: skip
floordiv = row("floordiv", operator.floordiv, (0.0, 0.0),
               "x // y, the largest whole number not above x/y.  Partials 0, at the jumps too.",
               symbol="//", text="{0} // {1}", latex=r"\left\lfloor\frac{{{0}}}{{{1}}}\right\rfloor", binds=2,
               arity=2, domain="y != 0", points=[(7.5, 2.0), (-7.5, 2.0), (7.5, -2.0), (1e-300, 3e-301)])  # fmt: skip

# exponentials and logarithms
exp = row("exp", math.exp, lambda out, x: (out,), "e ** x.  Derivative e ** x.",
          latex="e^{{{0}}}", points=[*ANYWHERE, -700.0, 700.0])  # fmt: skip
expm1 = row("expm1", math.expm1, lambda out, x: (exp(x),), "e**x - 1, exact near 0.  Derivative e ** x.",
            points=[*ANYWHERE, -700.0, 700.0])  # fmt: skip
_log_row = row("log", math.log, lambda out, x: (1.0 / x,), "The natural logarithm of x.  Derivative 1/x.",
               latex=r"\ln\left({0}\right)", domain="x > 0", points=[1e-150, 1e-9, 0.3, 1.5, 7.0, 1e150])  # fmt: skip
log1p = row("log1p", math.log1p, lambda out, x: (1.0 / (1.0 + x),), "log(1 + x), exact near 0.  Derivative 1/(1 + x).",
            latex=r"\ln\left(1 + {0}\right)", domain="x > -1",
            points=[*TINY, -0.999, -0.4, 0.3, 7.0, 1e150])  # fmt: skip
log2 = row("log2", math.log2, lambda out, x: (LOG2_E / x,),
           "The logarithm of x to base 2, exact for powers of 2.  Derivative 1/(x*log(2)).",
           taught=lambda out, x: (1.0 / (x * math.log(2.0)),),
           latex=r"\log_2\left({0}\right)", domain="x > 0", points=[1e-150, 1e-9, 0.3, 1.5, 8.0, 1e150])  # fmt: skip
log10 = row("log10", math.log10, lambda out, x: (LOG10_E / x,),
            "The logarithm of x to base 10, exact for powers of 10.  Derivative 1/(x*log(10)).",
            taught=lambda out, x: (1.0 / (x * math.log(10.0)),),
            latex=r"\log_{{10}}\left({0}\right)", domain="x > 0",
            points=[1e-150, 1e-9, 0.3, 1.5, 1000.0, 1e150])  # fmt: skip
sqrt = row("sqrt", math.sqrt, lambda out, x: (0.5 / out,), "The square root of x.  Derivative 1/(2*sqrt(x)).",
           latex=r"\sqrt{{{0}}}", domain="x >= 0", points=[1e-150, 1e-9, 0.3, 2.0, 7.0, 1e150])  # fmt: skip

cbrt = row("cbrt", floats.cbrt, lambda out, x: (1.0 / (3.0 * (out * out)),),
           "The real cube root of x.  Derivative 1/(3*cbrt(x)**2).",
           taught=lambda out, x: (1.0 / (3.0 * out**2),),
           latex=r"\sqrt[3]{{{0}}}", points=[-1e150, -7.0, -1e-9, 1e-150, 0.3, 2.0, 8.0, 1e300])  # fmt: skip
hypot = row("hypot", floats.hypot, lambda out, x, y: (_slope_of_hypot(out, x, y), _slope_of_hypot(out, y, x)),
            "sqrt(x*x + y*y), the distance from the origin, of any size.  Partials x/hypot(x, y), y/hypot(x, y).",
            taught=lambda out, x, y: (x / out, y / out),
            latex=r"\sqrt{{\left({0}\right)^2 + \left({1}\right)^2}}", arity=2,
            points=[(3.0, 4.0), (-0.4, 0.3), (1e-200, 3e-200), (-1e200, 1e100), (2.0, 0.0), (0.0, -2.0),
                    (1e8, 1.0)])  # fmt: skip


def _log(x: Any, base: Any = None) -> Any:
    """The natural logarithm of x, or that to a base, log(x) / log(base).  Derivative 1/x, or 1/(x*log(base)).

    Floats give a float; a Value among the operands gives a recorded Value.

    Raises DomainError unless x > 0, base > 0 and base != 1.

    >>> log(1.0), log(8.0, 2), log(1000.0, 10)
    (0.0, 3.0, 3.0)
    """
    if base is None:
        return _log_row(x)
    if getattr(base, "data", base) == 1.0:
        raise DomainError(f"log(x, base) needs a base > 0 other than 1, got base = {base!r}")
    if not hasattr(base, "record") and base in (2.0, 10.0):
        return log2(x) if base == 2.0 else log10(x)
    return _log_row(x) / _log_row(base)


log = _log  # it does more than its row, and stands for it
log.operation, log.__name__, log.__qualname__ = _log_row.operation, "log", "log"


# circular and hyperbolic functions
sin = row("sin", math.sin, lambda out, x: (cos(x),), "The sine of x radians.  Derivative cos(x).",
          latex=r"\sin\left({0}\right)", domain="a finite x", points=[*ANYWHERE, 1e6])  # fmt: skip
cos = row("cos", math.cos, lambda out, x: (-sin(x),), "The cosine of x radians.  Derivative -sin(x).",
          latex=r"\cos\left({0}\right)", domain="a finite x", points=[*ANYWHERE, 1e6])  # fmt: skip
tan = row("tan", math.tan, lambda out, x: (1.0 + out * out,), "The tangent of x radians.  Derivative 1 + tan(x)**2.",
          latex=r"\tan\left({0}\right)", domain="a finite x",
          taught=lambda out, x: (1.0 + out**2,),
          points=[*ANYWHERE, 1e6])  # fmt: skip
asin = row("asin", math.asin, lambda out, x: (1.0 / semicircle(x),),
           "The angle whose sine is x.  Derivative 1/sqrt(1 - x*x).",
           latex=r"\arcsin\left({0}\right)", domain="-1 <= x <= 1",
           taught=lambda out, x: (1.0 / sqrt(1.0 - x**2),),
           points=[*TINY, -0.999999, -0.4, 0.3, 0.75, 1.0 - 1e-15])  # fmt: skip
acos = row("acos", math.acos, lambda out, x: (-1.0 / semicircle(x),),
           "The angle whose cosine is x.  Derivative -1/sqrt(1 - x*x).",
           latex=r"\arccos\left({0}\right)", domain="-1 <= x <= 1",
           taught=lambda out, x: (-1.0 / sqrt(1.0 - x**2),),
           points=[*TINY, -0.999999, -0.4, 0.3, 0.75, 1.0 - 1e-15])  # fmt: skip
semicircle = row("semicircle", lambda x: math.sqrt((1.0 - x) * (1.0 + x)), lambda out, x: (-x / out,),
                 "sqrt(1 - x*x), the upper half of the unit circle, exact near x = 1.  Derivative -x/semicircle(x).",
                 latex=r"\sqrt{{1 - \left({0}\right)^2}}", domain="-1 <= x <= 1",
                 points=[*TINY, -0.999999, -0.4, 0.3, 0.75, 1.0 - 1e-15])  # fmt: skip
atan = row("atan", math.atan, lambda out, x: (_slope_of_atan(x),),
           "The angle whose tangent is x.  Derivative 1/(1 + x*x).",
           latex=r"\arctan\left({0}\right)",
           taught=lambda out, x: (1.0 / (1.0 + x**2),),
           points=[*ANYWHERE, -1e50, 1e50, -7e82, 1e160])  # fmt: skip
atan2 = row("atan2", lambda x, y: math.atan2(x + 0.0, y + 0.0), lambda out, x, y: _slopes_of_atan2(x, y),
            "The angle of the point whose height is x and whose width is y; -0.0 is 0.0 for both.  Partials "
            "y/(x*x + y*y), -x/(x*x + y*y).",
            taught=lambda out, x, y: (y / (x**2 + y**2), -x / (x**2 + y**2)),
            latex=r"\operatorname{{atan2}}\left({0}, {1}\right)", arity=2,
            points=[(3.0, 4.0), (0.3, -0.4), (-3.0, -2.0), (1e-200, 3e-200), (-1e150, 1e100), (0.0, 2.0),
                    (-2.0, 0.0)])  # fmt: skip
sinh = row("sinh", math.sinh, lambda out, x: (cosh(x),), "(e**x - e**-x) / 2.  Derivative cosh(x).",
           latex=r"\sinh\left({0}\right)", points=[*ANYWHERE, -700.0, 700.0])  # fmt: skip
cosh = row("cosh", math.cosh, lambda out, x: (sinh(x),), "(e**x + e**-x) / 2.  Derivative sinh(x).",
           latex=r"\cosh\left({0}\right)", points=[*ANYWHERE, -700.0, 700.0])  # fmt: skip
tanh = row("tanh", math.tanh, lambda out, x: (sech(x) * sech(x),), "sinh(x) / cosh(x).  Derivative sech(x)**2.",
           latex=r"\tanh\left({0}\right)",
           taught=lambda out, x: (1.0 - out**2,),
           points=[*ANYWHERE, -300.0, -20.0, 20.0, 300.0])  # fmt: skip
sech = row("sech", _sech, lambda out, x: (-out * tanh(x),), "1 / cosh(x).  Derivative -sech(x) * tanh(x).",
           points=[*ANYWHERE, -700.0, -20.0, 20.0, 700.0])  # fmt: skip

asinh = row("asinh", math.asinh, lambda out, x: (1.0 / hypot(1.0, x),),
            "The number whose sinh is x.  Derivative 1/sqrt(1 + x*x).",
            taught=lambda out, x: (1.0 / sqrt(1.0 + x**2),),
            latex=r"\operatorname{{arsinh}}\left({0}\right)", points=[*ANYWHERE, -1e150, 1e200])  # fmt: skip
acosh = row("acosh", math.acosh, lambda out, x: (1.0 / (sqrt(x - 1.0) * sqrt(x + 1.0)),),
            "The number of at least 0 whose cosh is x.  Derivative 1/sqrt(x*x - 1).",
            taught=lambda out, x: (1.0 / sqrt(x**2 - 1.0),), domain="x >= 1",
            latex=r"\operatorname{{arcosh}}\left({0}\right)", points=[1.0 + 1e-9, 1.5, 2.0, 4.6, 1e150])  # fmt: skip
atanh = row("atanh", math.atanh, lambda out, x: (1.0 / (semicircle(x) * semicircle(x)),),
            "The number whose tanh is x.  Derivative 1/(1 - x*x).",
            taught=lambda out, x: (1.0 / (1.0 - x**2),), domain="-1 < x < 1",
            latex=r"\operatorname{{artanh}}\left({0}\right)",
            points=[*TINY, -0.999999, -0.4, 0.3, 0.75, 1.0 - 1e-15])  # fmt: skip

# the normal distribution's family
bell = row("bell", _bell, lambda out, x: (-_within(x, 40.0) * out,),
           "exp(-x*x/2), the bell curve, exact in its tails.  Derivative -x * bell(x).",
           taught=lambda out, x: (-x * out,),
           latex=r"e^{{-\left({0}\right)^2 / 2}}", points=[*ANYWHERE, -37.0, -10.0, 10.0, 37.0])  # fmt: skip
erf = row("erf", math.erf, lambda out, x: (TWO_OVER_SQRT_PI * bell(x) * bell(x),),
          "The error function, 2/sqrt(pi) * integral of exp(-t*t) over 0..x.  Derivative 2/sqrt(pi) * exp(-x*x).",
          taught=lambda out, x: (TWO_OVER_SQRT_PI * exp(-(x**2)),),
          points=[*ANYWHERE, -26.0, 26.0])  # fmt: skip
erfc = row("erfc", math.erfc, lambda out, x: (-TWO_OVER_SQRT_PI * bell(x) * bell(x),),
           "1 - erf(x), exact for large x.  Derivative -2/sqrt(pi) * exp(-x*x).",
           taught=lambda out, x: (-TWO_OVER_SQRT_PI * exp(-(x**2)),),
           points=[*ANYWHERE, -26.0, 26.0])  # fmt: skip
erfinv = row("erfinv", lambda x: floats.normal_quantile(0.5 * x, 0.5 * (1.0 - abs(x))) * SQRT_HALF,
             lambda out, x: (HALF_SQRT_PI / (bell(out) * bell(out)) * _as_of_erfc(out, x),),
             "The number whose erf is x.  Derivative sqrt(pi)/2 * exp(erfinv(x)**2).", domain="-1 < x < 1",
             taught=lambda out, x: (HALF_SQRT_PI * exp(out**2),),
             latex=r"\operatorname{{erf}}^{{-1}}\left({0}\right)",
             points=[*TINY, -0.999999, -0.4, 0.3, 0.75, 0.9, 1.0 - 1e-15])  # fmt: skip
ndtri = row("ndtri", lambda x: floats.normal_quantile(x - 0.5, min(x, 1.0 - x)),
            lambda out, x: (SQRT_TWO_PI / bell(out) * _as_of_ndtr(out, x),),
            "The quantile of the standard normal distribution, the z with P(N <= z) = x.  Derivative "
            "sqrt(2*pi) * exp(z*z/2).", domain="0 < x < 1",
            taught=lambda out, x: (SQRT_TWO_PI * exp(0.5 * out**2),),
            latex=r"\Phi^{{-1}}\left({0}\right)",
            points=[1e-300, 1e-12, 1e-4, 0.05, 0.3, 0.75, 0.95, 1.0 - 1e-9])  # fmt: skip

# activations
sigmoid = row("sigmoid", _sigmoid, lambda out, x: (0.25 * sech(0.5 * x) * sech(0.5 * x),),
              "1 / (1 + e**-x).  Derivative sigmoid(x) * (1 - sigmoid(x)) = sech(x/2)**2 / 4.",
              symbol="σ", latex=r"\sigma\left({0}\right)",
              taught=lambda out, x: (out * (1.0 - out),),
              points=[*ANYWHERE, -700.0, -40.0, 40.0, 700.0])  # fmt: skip
softplus = row("softplus", _softplus, lambda out, x: (sigmoid(x),), "log(1 + e**x).  Derivative sigmoid(x).",
               points=[*ANYWHERE, -700.0, -40.0, 40.0, 1e300])  # fmt: skip
silu = row("silu", lambda x: max(x, -1000.0) * _sigmoid(x) if x == x else x,
           lambda out, x: (sigmoid(x) * (1.0 + _within(x, 800.0) * sigmoid(-x)),),
           "x * sigmoid(x), also called swish.  Derivative sigmoid(x) * (1 + x * sigmoid(-x)).",
           taught=lambda out, x: (sigmoid(x) * (1.0 + x * sigmoid(-x)),),
           symbol="SiLU", points=[*ANYWHERE, -700.0, -40.0, 40.0, 1e300])  # fmt: skip
gelu = row("gelu", _gelu,
           lambda out, x: (0.5 * erfc(-x * SQRT_HALF) + ONE_OVER_SQRT_TWO_PI * _within(x, 40.0) * bell(x),),
           "x * P(N <= x) for a standard normal N.  Derivative P(N <= x) + x * density(x).",
           taught=lambda out, x: (0.5 * erfc(-x * SQRT_HALF) + ONE_OVER_SQRT_TWO_PI * x * exp(-0.5 * x * x),),
           symbol="GELU", points=[*ANYWHERE, -37.0, -10.0, -0.7518, 10.0, 1e150])  # fmt: skip
step = row("step", lambda x: (0.0 if x <= 0.0 else 1.0) if x == x else x, (0.0,),
           "1 for x > 0, else 0.  Derivative 0, at the jump too.",
           corners={0.0: 0.0}, points=[*PLAIN, *TINY])  # fmt: skip
relu = row("relu", lambda x: 0.0 if x <= 0.0 else x, lambda out, x: (step(x),), "max(x, 0).  Derivative step(x).",
           symbol="ReLU", role="max: router", corners={0.0: 0.0}, points=[*PLAIN, *TINY, 1e300])  # fmt: skip
abs_ = row("abs", abs, lambda out, x: (step(x) - step(-x),), "The magnitude of x.  Derivative the sign of x.",
           symbol="|·|", latex=r"\left|{0}\right|", corners={0.0: 0.0},
           taught=lambda out, x: (x / out,), points=[*PLAIN, *TINY, -1e300])  # fmt: skip

softsign = row("softsign", lambda x: x / (1.0 + abs(x)), lambda out, x: (_square(1.0 / (1.0 + abs_(x))),),
               "x / (1 + |x|).  Derivative 1/(1 + |x|)**2.",
               latex=r"\frac{{{0}}}{{1 + \left|{0}\right|}}", domain="a finite x",
               taught=lambda out, x: (1.0 / (1.0 + abs_(x)) ** 2,),
               points=[*TINY, *PLAIN, -1e100, 1e100])  # fmt: skip
sign = row("sign", floats.sign, (0.0,), "-1, 0 or 1, as x is below, at or above 0.  Derivative 0, at the jump too.",
           latex=r"\operatorname{{sgn}}\left({0}\right)", corners={0.0: 0.0},
           points=[*PLAIN, *TINY, -1e300])  # fmt: skip
floor = row("floor", floats.floor, (0.0,), "The largest whole number not above x.  Derivative 0, at the jumps too.",
            latex=r"\left\lfloor {0} \right\rfloor", corners={2.0: 0.0}, points=[*PLAIN, *TINY, 1e300])  # fmt: skip
ceil = row("ceil", floats.ceil, (0.0,), "The smallest whole number not below x.  Derivative 0, at the jumps too.",
           latex=r"\left\lceil {0} \right\rceil", corners={2.0: 0.0}, points=[*PLAIN, *TINY, 1e300])  # fmt: skip
round_ = row("round", floats.rint, (0.0,),
             "The whole number nearest to x, the even one of two.  Derivative 0, at the jumps too.",
             corners={2.5: 0.0}, points=[*PLAIN, *TINY, 1e300])  # fmt: skip

stop_gradient = row("stop_gradient", lambda x: x, (0.0,), "x, taken for a constant.  Derivative 0.",
                    symbol="stop", points=[*PLAIN, *TINY, 1e300])  # fmt: skip

# choices
maximum = row("maximum", lambda x, y: x if x >= y or x != x else y, lambda out, x, y: (_share(x - y), _share(y - x)),
              "The larger of x and y, which gets the gradient.",
              symbol="max", latex=r"\max\left({0}, {1}\right)", arity=2,
              role="max: router", corners={(3.0, 3.0): (0.5, 0.5)},
              taught=lambda out, x, y: (step(x - y), step(y - x)),
              points=[(2.0, 3.0), (3.0, 2.0), (-1e300, 1e-300)])  # fmt: skip
minimum = row("minimum", lambda x, y: x if x <= y or x != x else y, lambda out, x, y: (_share(y - x), _share(x - y)),
              "The smaller of x and y, which gets the gradient.",
              symbol="min", latex=r"\min\left({0}, {1}\right)", arity=2,
              role="min: router", corners={(3.0, 3.0): (0.5, 0.5)},
              taught=lambda out, x, y: (step(y - x), step(x - y)),
              points=[(2.0, 3.0), (3.0, 2.0), (-1e300, 1e-300)])  # fmt: skip
_where_row = row("where", lambda c, x, y: (x if c > 0.0 else y) if c == c else c,
                 lambda out, c, x, y: (0.0, where(c, 1.0, 0.0), where(c, 0.0, 1.0)),
                 "x where c > 0 and y elsewhere; NaN where c is.  The gradient flows to the chosen one, c gets 0.",
                 latex=r"\begin{{cases}}{1} & {0} > 0\\{2} & \text{{else}}\end{{cases}}", arity=3,
                 corners={(0.0, 2.0, 3.0): (0.0, 0.0, 1.0)},
                 points=[(1.0, 2.0, 3.0), (-1.0, 2.0, 3.0), (1e-300, 2.0, 3.0)])  # fmt: skip


@wraps(_where_row)
def _choose(*operands: Any) -> Any:
    if operands and operands[0].__class__ is int and operands[0] in (-1, -2):
        raise TypeError(
            f"where({operands[0]}, x, y): Python's ~ makes -1 of False and -2 of True, neither of which is above 0: "
            "for where(~c, x, y) write where(c, y, x), which numbers and Values understand, and c > 0 for a number c"
        )
    return apply(_where_row.operation, *operands)


where = _choose

# any number of operands in one node
_total_row = row("total", _total, lambda out, *xs: (1.0,) * len(xs),
                 "The sum of all operands, rounded once.  Partials 1.",
                 symbol="Σ", text=" + ".join, latex=" + ".join, binds=1, arity=None, role="add: distributor",
                 domain="operands whose sum is a number",
                 points=[(1.0, 2.0, 4.0), (1e300, -1e300, 1e-9), (0.1,) * 10])  # fmt: skip
dot_row = row("dot", lambda *operands: weighted_sum(*split(operands)),
               lambda out, *operands: dot_partials(*split(operands)),
               "w[0]*x[0] + ... + w[n-1]*x[n-1] + b with operands (*w, *x, b).  Partials x, w and 1.",
               symbol="·", role="multiply: swap", text=lambda operands: _write_dot(" * ", operands),
               latex=lambda operands: _write_dot(r" \cdot ", operands), binds=1, arity=None,
               points=[(2.0, 3.0, 1.0), (0.5, -1.5, 2.0, 4.0, 0.25)])  # fmt: skip
_logsumexp_row = row("logsumexp", _logsumexp, lambda out, *xs: _softmax(out, xs),
                     "log(e**x1 + ... + e**xn).  Partials softmax(x).",
                     symbol="LSE", arity=None, domain="at least one operand",
                     latex=lambda operands: r"\ln\left(" + " + ".join(f"e^{{{x}}}" for x in operands) + r"\right)",
                     taught=lambda out, *xs: tuple([exp(x - out) for x in xs]),
                     points=[(0.5, -1.5, 2.0), (1000.0, 999.0), (-1e5, -1e5 + 0.5), (3.0,)])  # fmt: skip


def _power_times_log(out: Any, x: Any, y: Any) -> Any:
    """x**y * log(x); at x = 0 the next lower power with a half, x**0.5 for x**1 * log(x), refused for y = 0.

    At x = 0 the derivatives of the one are 0 or infinite where those of the other are, of every order: of order m by x
    and any order by y, 0 for y > m, else infinite.
    """
    if out.__class__ is float and x != 0.0:
        return out * log(x)
    away = abs_(x)
    half = stop_gradient(ceil(y) - 0.5 - y)
    return where(away, out * log(where(away, x, 1.0)), pow_(where(away, 1.0, x), y + half))


def _slope_of_atan(x: Any) -> Any:
    """1/(1 + x*x), far out as (1/x) / (1/x + x): there the square would overflow, and that of the sum even sooner."""
    far = abs_(x) - 1.0
    near_x, far_x = where(far, 0.0, x), where(far, x, 1.0)
    return where(far, (1.0 / far_x) / (1.0 / far_x + far_x), 1.0 / (1.0 + near_x * near_x))


def _slope_of_hypot(out: Any, x: Any, y: Any) -> Any:
    """x/out; where x is the larger one as sign(x) * sqrt(1 - (y/out)**2), whose own derivative does not cancel."""
    larger = abs_(x) - abs_(y)
    return where(larger, sign(x) * semicircle(where(larger, y, 0.0) / out), x / out)


def _slopes_of_atan2(x: Any, y: Any) -> tuple[Any, Any]:
    """y/(x*x + y*y) and -x/(x*x + y*y), without the squares, which may be no floats."""
    out = hypot(x, y)
    return (y / out) / out, -(x / out) / out


def _as_of_erfc(out: Any, x: Any) -> Any:
    """erfc(out) / (1 - x), which is 1 but for the rounding of out = erfinv(x), which exp(out*out) magnifies far out."""
    far = abs_(x) - 0.5
    return where(far, erfc(where(far, abs_(out), 1.0)) / where(far, 1.0 - abs_(x), 1.0), 1.0)


def _as_of_ndtr(out: Any, x: Any) -> Any:
    """P(N <= out) / x, which is 1 but for the rounding of out = ndtri(x); of the nearer tail."""
    far = abs_(x - 0.5) - 0.25
    left = where(far, -abs_(out), -1.0)
    return where(far, gelu(left) / left / where(far, minimum(x, 1.0 - x), 1.0), 1.0)


def _square(x: Any) -> Any:
    return x * x


def _within(x: Any, limit: float) -> Any:
    """x, and 0 where the factor next to it is 0: x times some flow may be infinite, and 0 * infinity is NaN."""
    return where(abs_(x) - limit, 0.0, x)


def _share(difference: Any) -> Any:
    """1 for the winner, 0 for the loser, 1/2 for each in a tie.  No sum, which could take up other terms and round."""
    return where(abs_(difference), step(difference), 0.5)


def dot_partials(w: Sequence[Any], x: Sequence[Any], b: Any) -> tuple[Any, ...]:  # noqa: ARG001
    """The partials of b + w[0]*x[0] + ... by w, by x and by b."""
    return *x, *w, 1.0


def _write_dot(times: str, operands: Sequence[str]) -> str:
    w, x, b = split(operands)
    terms = [f"{u}{times}{v}" for u, v in zip(w, x, strict=True)]
    return " + ".join([*terms, b] if b else terms)


def _softmax(out: Any, xs: Sequence[Any]) -> tuple[Any, ...]:
    """exp(x - out) for each x.  They sum to 1 but for the rounding of out, which the division takes away."""
    weights = [exp(x - out) for x in xs]
    norm = total(weights)
    return tuple([weight / norm for weight in weights])


# --- Families: one row for each constant ------------------------------------------------------------------------------


def _family(make: Callable[[float], Operation]) -> Callable[[float], Operation]:
    @lru_cache(maxsize=4096)
    @wraps(make)
    def cached(constant: float) -> Operation:
        op = make(constant)
        _TABLE.add(op)
        return op

    FAMILIES[make.__name__.lstrip("_")] = cached
    return cached


@_family
def power(n: float) -> Operation:
    """The row of ``x**n`` for a constant n.  Its derivative is n * x**(n - 1), and 0 everywhere for n = 0."""
    if not math.isfinite(n):
        raise DomainError(f"x ** n needs a finite exponent, got n = {n}")
    exponent = write_constant(n)
    rule: Rule | tuple[float, ...] = lambda out, x: (n * x ** (n - 1.0),)  # noqa: E731
    if n in (0.0, 1.0):
        rule = (n,)
    elif n == 2.0:
        rule = lambda out, x: (2.0 * x,)  # noqa: E731
    elif n < 0.0:
        rule = _negative_power(n)
    flows = (lambda flow, out, x: (n * (flow * out / x),)) if n < 0.0 else None  # as for a quotient
    return _operation(
        "power", lambda x: math.pow(x, n), rule, f"x ** {exponent}.",
        symbol=f"**{exponent}", text=f"{{0}} ** {exponent}", binds=4,
        latex=lambda x: f"{x[0]}^{{{latex_number(exponent)}}}", constants=(n,),
        domain=("x != 0" if n < 0 else "a finite x") if n.is_integer() else ("x > 0" if n < 0 else "x >= 0"),
        corners={0.0: 0.0} if n == 0.0 else None, flows=flows,
        points=[0.3, 2.0, 1e30, 1e-30] + [-1.5, -7.0] * n.is_integer(),
    )  # fmt: skip


@_family
def exponential(base: float) -> Operation:
    """The row of ``base**x`` for a constant base, 0 or more.  Its derivative is base**x * log(base).

    That of 0**x is 0 for x > 0; at x = 0, where 0**x falls from 1 to 0, there is none.  `pow` asks for the derivative
    by the base too, which at 0**0.5 is infinite.
    """
    if not 0.0 <= base < math.inf:
        raise DomainError(f"base ** x needs a finite base of at least 0, got base = {base}")
    base += 0.0  # -0.0 is 0.0
    shown, latex = write_constant(base), latex_number(write_constant(base))
    bracketed = rf"\left({latex}\right)" if "^" in latex else latex
    facts: dict[str, Any] = {"domain": "x >= 0", "points": [0.3, 2.0, 30.0]}
    rule: Rule | tuple[float, ...] = lambda out, x: (-out / x,)  # noqa: E731  # 0, and infinite at x = 0
    if base > 0.0:
        slope = math.log(base)
        rule = lambda out, x: (out * slope,)  # noqa: E731
        facts = {"domain": "a finite x", "points": [-30.0, -1.5, 0.0, 0.3, 2.0, 30.0]}
        # a symbol writes log(2) where log(2.0) would be a number
        facts["taught"] = lambda out, x: (out * getattr(out, "record", apply)(log.operation, base),)
    return _operation(
        "exponential", lambda x: math.pow(base, x), rule, f"{shown} ** x.",
        symbol=f"{shown}**", text=f"{shown} ** {{0}}", latex=lambda x: rf"{bracketed}^{{{x[0]}}}", binds=4,
        constants=(base,),
        **facts,
    )  # fmt: skip


@_family
def _leaky_relu(slope: float) -> Operation:
    shown = write_constant(slope)
    usual: dict[str, Any] = {"text": "leaky_relu({0})", "latex": _latex_call("leaky_relu")} if slope == 0.01 else {}
    return _operation(
        "leaky_relu", lambda x: slope * x if x <= 0.0 else x, lambda out, x: (where(x, 1.0, slope),),
        f"x for x > 0, else {shown}*x.  Derivative 1 or {shown}.",
        symbol="LeakyReLU", constants=(slope,), corners={0.0: slope}, points=[*PLAIN, *TINY, -1e300], **usual,
    )  # fmt: skip


@_family
def _elu(alpha: float) -> Operation:
    shown = write_constant(alpha)
    usual: dict[str, Any] = {"text": "elu({0})", "latex": _latex_call("elu")} if alpha == 1.0 else {}
    return _operation(
        "elu", lambda x: alpha * math.expm1(x) if x <= 0.0 else x,
        lambda out, x: (where(x, 1.0, alpha * exp(-relu(-x))),),
        f"x for x > 0, else {shown}*(e**x - 1).  Derivative 1 or {shown}*e**x.",
        symbol="ELU", constants=(alpha,), corners={0.0: alpha}, taught=lambda out, x: (where(x, 1.0, out + alpha),),
        points=[*PLAIN, *TINY, -700.0, 1e300], **usual,
    )  # fmt: skip


OPERATIONS["leaky_relu"] = _leaky_relu(0.01)
OPERATIONS["elu"] = _elu(1.0)
BUILT_IN.update(OPERATIONS, FAMILIES)


def leaky_relu(x: Any, slope: float = 0.01) -> Any:
    """x for x > 0, slope*x elsewhere (derivative 1 or slope; slope at 0).

    >>> leaky_relu(-3.0), leaky_relu(-3.0, slope=0.5), leaky_relu(2.0)
    (-0.03, -1.5, 2.0)
    """
    return apply(_leaky_relu(number(slope, "leaky_relu")), x)


def elu(x: Any, alpha: float = 1.0) -> Any:
    """x for x > 0, alpha*(e**x - 1) elsewhere (derivative 1 or alpha*e**x; alpha at 0).

    >>> round(elu(-1.0), 6), elu(2.0)
    (-0.632121, 2.0)
    """
    return apply(_elu(number(alpha, "elu")), x)


# --- Made of rows -----------------------------------------------------------------------------------------------------


def log_sigmoid(x: Any) -> Any:
    """log(sigmoid(x)) = -softplus(-x), exact in both tails.  Derivative sigmoid(-x).

    >>> log_sigmoid(40.0), log_sigmoid(-1000.0)
    (-4.248354255291589e-18, -1000.0)
    """
    return -softplus(-x)


def xlogy(x: Any, y: Any) -> Any:
    """x * log(y), and 0 where both are 0.  Partials log(y), x/y; both 0 where x and y are 0.

    Raises DomainError unless y > 0, or x = y = 0.

    >>> xlogy(2.0, 1.0), xlogy(0.0, 0.0)
    (0.0, 0.0)
    """
    return x * log(where(abs_(x) + abs_(y), y, 1.0))


def exprel(x: Any) -> Any:
    """(e**x - 1) / x, and 1 at x = 0: what is left of e**x - 1 when x is small.  Derivative (e**x - exprel(x)) / x.

    Between -1 and 1 the power series x**k / (k + 1)!, so that no derivative cancels.

    >>> exprel(0.0), round(exprel(1.0), 12), exprel(-math.inf)
    (1.0, 1.718281828459, 0.0)
    """
    outside = abs_(x) - 1.0
    small, large = where(outside, 0.0, x), where(outside, x, 1.0)
    series = 1.0
    for k in range(EXPREL_TERMS, 1, -1):  # 1 + x/2 * (1 + x/3 * (1 + ...))
        series = 1.0 + small / float(k) * series
    return where(outside, expm1(large) / large, series)


def selu(x: Any) -> Any:
    """s * elu(x, a) with s = 1.0507..., a = 1.6733...: layers keep mean 0 and variance 1 (Klambauer et al., 2017).

    >>> round(selu(1.0), 6), round(selu(-1.0), 6)
    (1.050701, -1.111331)
    """
    return 1.0507009873554804934193349852946 * elu(x, 1.6732632423543772848170429916717)


def mish(x: Any) -> Any:
    """x * tanh(softplus(x)) (Misra, 2019).

    >>> round(mish(1.0), 6), mish(-math.inf)
    (0.865098, -0.0)
    """
    return maximum(x, -1000.0) * tanh(softplus(x))  # where the second factor is 0, the first need not be infinite


def hard_tanh(x: Any, low: float = -1.0, high: float = 1.0) -> Any:
    """x between low and high, low below and high above.  Derivative 1 or 0; 1/2 at low and high, as of `maximum`.

    >>> hard_tanh(-3.0), hard_tanh(0.5), hard_tanh(3.0)
    (-1.0, 0.5, 1.0)
    """
    return minimum(maximum(x, low), high)


def ndtr(x: Any) -> Any:
    """P(N <= x) for a standard normal N, with all digits in the left tail.  Derivative exp(-x*x/2)/sqrt(2*pi).

    >>> ndtr(0.0), ndtr(-37.0)
    (0.5, 5.725571222524577e-300)
    """
    right = x + 1.0
    near, far = where(right, x, 0.0), where(right, -1.0, x)
    # gelu(x) is x * ndtr(x), and brings back what rounding x * sqrt(1/2) takes from erfc
    return where(right, 0.5 * erfc(-near * SQRT_HALF), gelu(far) / far)


def log_ndtr(x: Any) -> Any:
    """log(P(N <= x)) for a standard normal N, where the probability itself is 0 or 1 in floats, too.

    Below -10 by the asymptotic series (Abramowitz and Stegun 26.2.12).  Derivative the inverse Mills ratio.

    >>> round(log_ndtr(-100.0), 9), log_ndtr(9.0)
    (-5005.524208694, -1.1285884059538405e-19)
    """
    middle = x + 10.0
    far = where(middle, -10.0, x)
    u, series = 1.0 / far / far, 1.0
    for k in range(39, 0, -2):  # 1 - u + 3*u**2 - 15*u**3 + ...
        series = 1.0 - k * (u * series)
    tail = log(series) - log(-far) - 0.5 * LOG_TWO_PI - 0.5 * (far * far)
    below = where(x, 0.0, where(middle, x, 0.0))
    body = where(x, log1p(-ndtr(-where(x, x, 0.0))), log(ndtr(below)))
    return where(middle, body, tail)


#: B(2k) / (2k*(2k - 1)), the coefficients of Stirling's series
STIRLING = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360, 1 / 156, -3617 / 122400, 43867 / 244188)
SHIFT = 10
#: of `exprel`: what is left out is below 1e-26, and of the fourth derivative below 1e-20
EXPREL_TERMS = 25


def lgamma(x: Any) -> Any:
    """log(gamma(x)) for x > 0, to about 1e-14 of the larger of 1 and itself.  Derivative digamma(x).

    Stirling's series from 10 on (DLMF 5.11.1); below, gamma(x) = gamma(x + 10) / (x*(x + 1)*...*(x + 9)).

    Raises DomainError unless x > 0.

    >>> round(lgamma(0.5), 12), round(lgamma(5.0), 12)
    (0.572364942925, 3.178053830348)
    """
    _above_0(x, "lgamma", "log(pi / abs(sin(pi*x))) - lgamma(1 - x)")
    y, small = _shifted(x)
    r = 1.0 / y
    series = STIRLING[-1]
    for c in STIRLING[-2::-1]:
        series = c + series * (r * r)
    first, factors = log(small), small + 1.0
    for k in range(2, SHIFT):
        factors = factors * (small + float(k))
    below = where(float(SHIFT) - x, log(factors) + first, 0.0)
    return (y - 0.5) * log(y) - y + (0.5 * LOG_TWO_PI + series * r) - below


def digamma(x: Any) -> Any:
    """The derivative of `lgamma`, for x > 0, to about 1e-15 of the larger of 1 and itself.

    The series of DLMF 5.11.2 from 10 on; below, digamma(x) = digamma(x + 10) - 1/x - 1/(x + 1) - ... - 1/(x + 9).  Its
    own derivatives, trigamma and so on, follow from the table.

    Raises DomainError unless x > 0.

    >>> round(digamma(1.0), 12)
    -0.577215664902
    """
    _above_0(x, "digamma", "digamma(1 - x) - pi/tan(pi*x)")
    y, small = _shifted(x)
    r = 1.0 / y
    series = STIRLING[-1] * (2 * len(STIRLING) - 1)
    for k in range(len(STIRLING) - 1, 0, -1):
        series = STIRLING[k - 1] * (2 * k - 1) + series * (r * r)
    nothing = 0.0 * log(small)  # which refuses what is not above 0
    below = where(float(SHIFT) - x, total([1.0 / (small + float(k)) for k in range(SHIFT)]), nothing)
    return log(y) - 0.5 * r - series * (r * r) - below


def _above_0(x: Any, name: str, reflected: str) -> None:
    """Say what is wrong with a number; a compiled function meets it in a logarithm, and then runs this."""
    if hasattr(x, "record") and not hasattr(x, "data"):  # a formula has no number
        return
    found = number(getattr(x, "data", x), name)
    if found <= 0.0:
        advice = "" if found.is_integer() else f"; where x < 0 is no whole number it is {reflected}"
        label = f" (node {x.label!r})" if getattr(x, "label", "") else ""
        raise DomainError(f"{name}(x) needs x > 0, got x = {found!r}{label}{advice}")


def _shifted(x: Any) -> tuple[Any, Any]:
    """Where the series is summed up; and x where that is moved by 10, elsewhere 1."""
    below = float(SHIFT) - x
    return where(below, x + float(SHIFT), x), where(below, x, 1.0)


# --- Functions of lists -----------------------------------------------------------------------------------------------


def total(xs: Iterable[Any]) -> Any:
    """The sum of a list as one node; the sum of no terms is 0.

    >>> total([1.0, 2.0, 4.0])
    7.0
    """
    return _total_row(*(xs if isinstance(xs, Set) else entries(xs, "total")))


def dot(w: Iterable[Any], x: Iterable[Any], b: Any = 0.0) -> Any:
    """w[0]*x[0] + w[1]*x[1] + ... + b as one node: a neuron before its activation.

    Raises ShapeError when w and x differ in length.

    >>> dot([2.0, 3.0], [5.0, 7.0], 1.0)
    32.0
    """
    w, x = entries(w, "dot"), entries(x, "dot")
    if len(w) != len(x):
        raise ShapeError(f"dot needs as many weights as inputs, got {len(w)} weights and {len(x)} inputs")
    return apply(dot_row.operation, *w, *x, b)


def logsumexp(xs: Iterable[Any]) -> Any:
    """log(e**x[0] + e**x[1] + ...) without overflow.  Its gradient is softmax(xs).

    Raises ShapeError for an empty list.

    >>> logsumexp([1000.0, 1000.0])
    1000.6931471805599
    """
    xs = entries(xs, "logsumexp")
    if not xs:
        raise ShapeError("logsumexp needs at least one operand, got an empty list")
    return _logsumexp_row(*xs)


def softmax(xs: Iterable[Any]) -> list[Any]:
    """e**x[i] / (e**x[0] + e**x[1] + ...) for each i: positive, with the sum 1, unchanged when all x move together.

    Raises ShapeError for an empty list.

    >>> softmax([1000.0, 1000.0])
    [0.5, 0.5]
    """
    xs = entries(xs, "softmax")
    return list(_softmax(logsumexp(xs), xs))


def log_softmax(xs: Iterable[Any]) -> list[Any]:
    """log(softmax(xs)): entry i is -logsumexp of all differences x[j] - x[i].

    Exact where softmax rounds to 0 or 1, its derivatives too, by x[j] ``[i = j] - softmax(xs)[j]``; that takes a number
    of operations that grows like the square of the length.  Raises ShapeError for an empty list.

    >>> log_softmax([37.4, 0.0])
    [-5.719872877313073e-17, -37.4]
    """
    xs = entries(xs, "log_softmax")
    if not xs:
        raise ShapeError("log_softmax needs at least one operand, got an empty list")
    if len(xs) == 1:
        return [0.0 * xs[0]]
    return [-logsumexp([other - x if j != i else 0.0 for j, other in enumerate(xs)]) for i, x in enumerate(xs)]


def logaddexp(x: Any, y: Any) -> Any:
    """log(e**x + e**y), of any size: `logsumexp` of two.  Partials e**x / (e**x + e**y) and e**y / (e**x + e**y).

    >>> logaddexp(1000.0, 1000.0)
    1000.6931471805599
    """
    return _logsumexp_row(x, y)


def norm(xs: Iterable[Any]) -> Any:
    """The Euclidean length sqrt(x[0]**2 + x[1]**2 + ...), of any size.  Partials x[i] / norm(xs).

    Raises ShapeError for an empty list, and DomainError where all x are Values of 0: there it has no derivative.

    >>> norm([3.0, 4.0]), norm([1e200, 1e200])
    (5.0, 1.414213562373095e+200)
    """
    xs = entries(xs, "norm")
    if not xs:
        raise ShapeError("norm needs at least one operand, got an empty list")
    largest = abs_(xs[0])
    for x in xs[1:]:
        largest = maximum(largest, abs_(x))
    scale = stop_gradient(where(largest, largest, 1.0))  # so that no square leaves the range
    return scale * sqrt(total([(x / scale) ** 2.0 for x in xs]))


def prod(xs: Iterable[Any]) -> Any:
    """x[0] * x[1] * ...; the product of no factors is 1.  The partial by each is the product of the others.

    >>> prod([2.0, 3.0, 4.0])
    24.0
    """
    result: Any = 1.0
    for i, x in enumerate(entries(xs, "prod")):
        result = result * x if i else x
    return result


def take(table: Sequence[Any], index: Any) -> Any:
    """table[index], where the index may be a Value: the sum of table[k] * [index = k], with [index = k] 1 or 0.

    Rows are taken entry by entry.  The derivative by the entry taken is 1, by the others and by the index 0.

    Raises DomainError for an index that is no whole number from 0 to len(table) - 1.

    >>> take([10.0, 20.0, 30.0], 1), take([[1.0, 2.0], [3.0, 4.0]], 0)
    (20.0, [1.0, 2.0])
    """
    found = number(getattr(index, "data", index), "take")
    if not (found.is_integer() and 0 <= found < len(table)):
        raise DomainError(f"take needs a whole number from 0 to {len(table) - 1}, got {found:g}")
    if not hasattr(index, "record"):
        return table[int(found)]
    chosen = [where(abs_(index - float(k)), 0.0, 1.0) for k in range(len(table))]
    return _chosen(table, chosen)


def _chosen(table: Sequence[Any], chosen: Sequence[Any]) -> Any:
    if isinstance(table[0], (list, tuple)):
        return [_chosen(column, chosen) for column in zip(*table, strict=True)]
    ones = [1.0] * len(chosen)
    if all(_is_leaf(entry) for entry in table):
        found = dot(table, chosen)
    else:  # what is computed may be infinite where it is not chosen, and 0 * infinity is no number
        found = dot([where(c, entry, 0.0) for c, entry in zip(chosen, table, strict=True)], ones)
    return checked(found, lambda: dot(chosen, ones, -1.0))


def _is_leaf(x: Any) -> bool:
    """Whether x is a finite number that no operation gave."""
    return getattr(x, "op", None) is None and math.isfinite(getattr(x, "data", x))


# --- Checks of numbers that come later --------------------------------------------------------------------------------


def checked(x: Any, ok: Callable[[], Any]) -> Any:
    """x as it is; a function that is compiled raises an error for every example for which ``ok()`` is below 0 or NaN.

    Scalar code checks the number it meets, and says what is wrong with it.  A compiled function meets many more: there
    the check is an output of the program, and where it fails the scalar code is run to say what it says.
    """
    if modes.tracing.get() is None or not hasattr(x, "record"):
        return x
    return apply(CHECKED, x, ok())


def _checked(x: float, ok: float) -> float:
    if not ok >= 0.0:
        raise ValueError
    return x


#: no rows of the table: they stand in the records of functions that are being compiled, and nowhere else
CHECKED = _operation("<checked>", _checked, (1.0, 0.0), "x where y >= 0, else an error.", symbol="✓", arity=2,
                    domain="y >= 0")  # fmt: skip


def _compared(name: str, sign: str, latex: str, compare: Callable[[float, float], bool]) -> Operation:
    return _operation(name, lambda x, y: 1.0 if compare(x, y) else 0.0, (0.0, 0.0),
                      f"1 where x {sign} y, else 0; 0 where one of them is NaN.  Derivative 0, at the jump too.",
                      symbol=sign, text=f"({{0}} {sign} {{1}})", latex=rf"\left[{{0}} {latex} {{1}}\right]",
                      arity=2)  # fmt: skip


LESS = _compared("less", "<", "<", operator.lt)
LESS_EQUAL = _compared("less_equal", "<=", r"\le", operator.le)
EQUAL = _compared("equal", "==", "=", operator.eq)
#: what may stand in a record without being found by its name
NAMELESS = frozenset({CHECKED, LESS, LESS_EQUAL, EQUAL})
