"""What a row of the table is: an operation with all that is known of it, and how a row is made, written and applied."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache, partial, wraps
from itertools import chain, count
from typing import Any, Protocol
from weakref import WeakSet

from tinygrad_vi.checks import DomainError, counted, number
from tinygrad_vi.tracing import of_the_engine

Rule = Callable[..., Any]
Writer = Callable[[Sequence[str]], str]

EVERYWHERE = "finite operands"

ATOM = 5  # binds like a name or a call: never needs parentheses


class Operation:
    """A row of the table.  It does not change.

    It is no dataclass, since these load `inspect`, which takes longer to load than this package.
    """

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
    #: conventions where the derivative does not exist: operands -> the partials agreed upon
    corners: Mapping[tuple[float, ...], tuple[float, ...]]
    #: operands to test it at, ordinary and extreme ones
    points: Sequence[tuple[float, ...]]
    #: by what it differs from other rows of its family: (n,) for ``x**n``; () for a row that stands alone
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
    #: its family, the function that makes a row for each constant: `ops.power` of ``x**n``; None for a row that stands
    #: alone
    kin: Any = None
    #: the operation written with arithmetic and other operations, for systems that have no name for it; by default
    #: `value`
    formula: Callable[..., Any]
    #: for operations of the user's own: the text in NumPy and in JavaScript, made of the texts of the operands, and the
    #: function on SymPy's formulas and on PyTorch's tensors.  Built-in rows have none: what these systems call them
    #: stands in the files that speak to the systems
    numpy: Writer | None = None
    javascript: Writer | None = None
    sympy: Callable[..., Any] | None = None
    pytorch: Callable[..., Any] | None = None

    def __init__(self, **facts: Any) -> None:
        vars(self).update(facts)

    def __setattr__(self, name: str, fact: Any) -> None:
        raise AttributeError(f"a row of the table does not change: {name} of {self!r} cannot be set")

    def changed(self, **facts: Any) -> Operation:
        """A copy with some other facts, which is in no table and no family."""
        return Operation(**{**vars(self), "kin": None, **facts})

    @property
    def key(self) -> Any:
        """Its key in tables about operations: its family, or the row itself where it stands alone."""
        return self if self.kin is None else self.kin

    def __repr__(self) -> str:
        return f"<operation {self.name}{list(self.constants) or ''}>"

    @property
    def in_table(self) -> bool:
        """Whether its name and constants lead to this very row: not of `new_row`, nor where another row replaced it."""
        return self in _TABLE and (self.kin is None or FAMILIES.get(self.name) is self.kin)

    @property
    def is_built_in(self) -> bool:
        """Whether it is a row of `ops`, and not one that is only called like it."""
        return self.name in BUILT_IN and self.in_table

    def __reduce__(self) -> tuple[Any, ...]:  # rows are unique: pickles find the row again
        if not self.in_table:
            raise TypeError(
                f"the operation {self.name!r} cannot be pickled, since its name does not lead to it: make it with "
                "@operation, under a name that no other one has, in a module that is imported before unpickling"
            )
        return find, (self.name, *self.constants)

    def __copy__(self) -> Operation:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Operation:
        return self


class Function(Protocol):
    """What `row` returns: called with floats it gives a float, with a Value among the operands a Value."""

    operation: Operation

    def __call__(self, *operands: Any) -> Any:
        """Apply the operation."""


# --- The tables -------------------------------------------------------------------------------------------------------

#: Every row by name.  Of the families, `leaky_relu` and `elu` appear with their usual constant, `power` does not.
OPERATIONS: dict[str, Operation] = {}
#: Rows that depend on a constant, such as ``x**n`` for one n: each is made when it is first asked for.
FAMILIES: dict[str, Callable[..., Operation]] = {}
#: The names of the rows of `ops`, set once that table is complete: no row of the user's may have one.
BUILT_IN: set[str] = set()
#: Rows of the user's own by name, see `tinygrad_vi.operation`.
OWN: dict[str, Operation] = {}


#: every row that is found by its name and constants
_TABLE: WeakSet[Operation] = WeakSet()


def find(name: str, *constants: float) -> Operation:
    """The row with this name and these constants, be it built-in or of the user's own; ValueError if there is none."""
    if constants and name in FAMILIES:
        return FAMILIES[name](*constants)
    for table in (OPERATIONS, OWN):
        if name in table and not constants:
            return table[name]
    raise ValueError(f"there is no row {name!r} here: import the module that makes it with @operation first")


def table_keys() -> dict[str, Any]:
    """The built-in rows and families by name, as `Operation.key` gives them."""
    return {name: FAMILIES.get(name) or OPERATIONS[name] for name in (*OPERATIONS, *FAMILIES) if name in BUILT_IN}


def key_of(name: str) -> Any:
    """The key of a built-in row, for tables that are written by name and read by row."""
    return table_keys()[name]


# --- How a row is made, and applied -----------------------------------------------------------------------------------


def new_row(
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
    formula: Callable[..., Any] | None = None,
    numpy: str | Writer = "",
    javascript: str | Writer = "",
    sympy: Callable[..., Any] | None = None,
    pytorch: Callable[..., Any] | None = None,
) -> Operation:
    """Make a row outside of the table, with a call such as ``tanh(x)`` as the default way to write it.

    It works, records and is drawn like any other.  `row` puts one into the table, where pickles and compiled programs
    look for it.  With the domain "" the error message repeats what ``value`` raised.

    Raises TypeError for a fact that is of another kind than `Operation` says.
    """
    for fact, given in {"formula": formula, "sympy": sympy, "pytorch": pytorch}.items():
        if given is not None and not callable(given):
            raise TypeError(f"{fact}= of {name} is a function of the operands, lambda x: ..., got {given!r:.60}")
    for fact, text_of in {"numpy": numpy, "javascript": javascript}.items():
        if text_of and arity is None:
            raise TypeError(f"{fact}= is for a fixed number of operands, and {name} takes any number of them")
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
        corners={as_tuple(at): as_tuple(agreed) for at, agreed in (corners or {}).items()},
        points=[as_tuple(point) for point in points],
        constants=constants,
        role=role,
        constant_partials=constant,
        flows=flows,
        formula=formula or value,
        numpy=_writer(numpy) if numpy else None,
        javascript=_writer(javascript) if javascript else None,
        sympy=sympy,
        pytorch=pytorch,
    )


def row(name: str, value: Callable[..., float], partials: Rule | tuple[float, ...], doc: str, **facts: Any) -> Function:
    """Add a row to the table and return the function that people call.

    On floats the function gives the row's value.  Any other operand is asked to ``record`` the operation, so this
    module need not know Value, nor any other kind of number that records.

    Raises ValueError for the name of a built-in row, for which pictures, formulas and compiled programs would take it.
    A row of the user's own (see `tinygrad_vi.operation`) may be made again: the new one replaces it.
    """
    _check_free(name)
    op, table = new_row(name, value, partials, doc, **facts), OWN if BUILT_IN else OPERATIONS
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


def _check_free(name: str) -> None:
    if name in BUILT_IN:
        raise ValueError(f"{name!r} is a built-in operation: give the new row another name")


def apply(op: Operation, *operands: Any) -> Any:
    """Apply an operation to operands of any kind: the first that can `record` does so, else all are numbers."""
    if op.arity is not None and len(operands) != op.arity:
        raise TypeError(f"{op.name} takes {counted(op.arity, 'operand')}, got {len(operands)}")
    for operand in operands:
        if hasattr(operand, "record"):
            return operand.record(op, *operands)
    numbers = [number(operand, op.name) for operand in operands]
    try:
        return op.value(*numbers)
    except (ArithmeticError, ValueError):
        raise domain_error(op, numbers) from None


def as_tuple(x: Any) -> tuple[float, ...]:
    """x, or x alone in a tuple."""
    return x if isinstance(x, tuple) else (x,)


def family(make: Callable[[float], Operation]) -> Callable[[float], Operation]:
    """Rows for each constant, made when they are first asked for, and kept.

    Raises ValueError for the name of a built-in row.
    """
    name = make.__name__.lstrip("_")
    _check_free(name)

    @lru_cache(maxsize=4096)
    @wraps(make)
    def cached(constant: float) -> Operation:
        op = make(constant).changed(kin=cached)
        if op.name != name:
            raise ValueError(f"a row of the family {name!r} has its name, got {op.name!r}")
        _TABLE.add(op)
        return op

    FAMILIES[name] = cached
    return cached


class ByName(Mapping[str, Any]):
    """Functions by name, and the operations of the user's own, which are looked up each time.

    fits: whether an operation of the user's own belongs here.  A name that leads to a function and to such an operation
    raises ValueError: neither is taken for the other.
    """

    def __init__(self, functions: Mapping[str, Any], fits: Callable[[Operation], bool]) -> None:
        self.functions, self.fits = functions, fits

    def __getitem__(self, name: str) -> Any:
        own = OWN.get(name)
        if own is None or not (self.fits(own) or name in self.functions):
            return self.functions[name]
        if name in self.functions:
            raise ValueError(
                f"{name!r} is a function of tinygrad_vi and an operation of your own: give your operation another name"
            )
        return partial(apply, own)

    def __iter__(self) -> Iterator[str]:
        return iter({**self.functions, **{name: op for name, op in OWN.items() if self.fits(op)}})

    def __len__(self) -> int:
        return sum(1 for _ in self)


# --- The error where an operation is not defined ----------------------------------------------------------------------


def domain_error(op: Operation, operands: Sequence[Any]) -> DomainError:
    """The error of an operation: outside of its domain, overflowed, or without a finite derivative at the operands.

    >>> from tinygrad_vi import log
    >>> log(-1.0)
    Traceback (most recent call last):
    tinygrad_vi.checks.DomainError: log(x) needs x > 0, got x = -1.0
    """
    xs = [getattr(operand, "data", operand) for operand in operands]
    labels = [getattr(operand, "label", "") for operand in operands]
    usual = operand_names(len(operands))
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
        guard = inside_where() if len(names) <= 2 else ""
        return DomainError(
            f"{call} needs {domain}, got {got}{guard}" if domain else f"{call} failed, got {got}: {error}"
        )
    advice = ""
    if op is OPERATIONS.get("pow") and xs[0] < 0.0:
        advice = f"; for a base below 0 write the exponent as a plain number, {names[0]} ** 3"
    elif op is OPERATIONS.get("pow") and xs[0] == 0.0 and float(xs[1]).is_integer():
        advice = f"; an exponent that is a constant can be written as a plain number, {names[0]} ** 3"
    return DomainError(f"{call} has no finite derivative at {got}{advice}; inside no_grad() it still has its value")


def inside_where() -> str:
    """Advice for a call that stands in a ``where(...)`` of the user's line: both choices are computed, always."""
    frame: Any = sys._getframe(1)
    while frame is not None and of_the_engine(frame):
        frame = frame.f_back
    if frame is None:
        return ""
    from linecache import getline  # slow to load

    line = getline(frame.f_code.co_filename, frame.f_lineno, frame.f_globals)
    if "where(" not in line:
        return ""
    return (
        "; where(c, x, y) computes both x and y, so guard what stands inside, as in "
        "where(x > 0, log(where(x > 0, x, 1.0)), 0.0)"
    )


def _names_unlike(labels: Sequence[str], names: list[str]) -> list[str]:
    """The names of operands; other ones, a1 / a2, if the label of one operand is the name of another."""
    others = ([f"{'a' * k}{i}" for i in range(1, len(names) + 1)] for k in count(1))
    for tried in chain([names], others):
        places = {name: i for i, name in enumerate(tried)}
        if all(places.get(label, i) == i for i, label in enumerate(labels)):
            return tried
    raise AssertionError("there are more names than labels")


# --- How rows are written ---------------------------------------------------------------------------------------------


def _writer(form: str | Writer) -> Writer:
    return (lambda operands: form.format(*operands)) if isinstance(form, str) else form


def _latex_call(name: str, constants: Sequence[str] = ()) -> Writer:
    escaped = name.replace("_", r"\_")
    return lambda operands: rf"\operatorname{{{escaped}}}\left({', '.join([*operands, *constants])}\right)"


def write_constant(x: float) -> str:
    """A constant as it stands in a formula: 12345, 0.3, 1e-5.

    Whole numbers have all their digits, others twelve, so that 0.7 - 1 is -0.3 and not -0.30000000000000004.
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


def operand_names(count: int) -> list[str]:
    """The names of ``count`` operands in formulas and messages."""
    return {1: ["x"], 2: ["x", "y"], 3: ["c", "x", "y"]}.get(count) or [f"x{i}" for i in range(1, count + 1)]


def _docstring(op: Operation) -> str:
    names = operand_names(op.arity) if op.arity else ["*operands"]
    corners = [
        f"{op.name}({', '.join(map(repr, at))}) has the partials {', '.join(map(repr, agreed))}"
        for at, agreed in op.corners.items()
    ]
    return (
        f"{op.doc}\n\nFloats give a float; a Value among the operands ({', '.join(names)}) gives a recorded Value.\n"
        + (f"By convention {'; '.join(corners)}.\n" if corners else "")
        + (f"Raises DomainError unless {op.domain}.\n" if op.domain not in (EVERYWHERE, "") else "")
    )
