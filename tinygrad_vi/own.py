"""Operations of one's own: a function of numbers, and its derivative beside it.

`operation` makes a row of the table out of a function of numbers with one result: it is then used, differentiated,
compiled, drawn and printed like any other.  `custom_derivative` is for a whole function, a solver or a search, whose
arguments and results may be nested: its derivative is given, what it does inside is not recorded.

The derivative is written once, with arithmetic and functions of the package.  It is called with numbers, which gives
first derivatives, and for higher ones with Values.  One that only numbers can be put into (it calls `math`, NumPy or
SciPy, or has an ``if``) gives first derivatives alone: for higher ones an error says so.
"""

from __future__ import annotations

import inspect
import keyword
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import Any, NoReturn

from tinygrad_vi import modes, ops, rows
from tinygrad_vi.checks import DomainError, ShapeError, counted, number
from tinygrad_vi.conditions import EQUAL, LESS, LESS_EQUAL
from tinygrad_vi.rows import Function, Operation, new_row, operand_names
from tinygrad_vi.tape import SUBSCRIPTS
from tinygrad_vi.tracing import being_traced, tracer_here
from tinygrad_vi.trees import LEAF, Tree, flatten
from tinygrad_vi.value import Value, recording

Rule = Callable[..., Any]

# --- One operation ----------------------------------------------------------------------------------------------------


def operation(
    function: Any = None,
    /,
    *,
    partials: Any = None,
    name: str = "",
    symbol: str = "",
    latex: str = "",
    domain: str = "",
    formula: Callable[..., Any] | None = None,
    sympy: Callable[..., Any] | None = None,
    pytorch: Callable[..., Any] | None = None,
    numpy: str = "",
    javascript: str = "",
) -> Callable[[Callable[..., float]], Function]:
    """Make an operation out of a function of numbers: ``@operation(partials=...)`` above it.

    The function takes one number for each operand, or any number of them (``*xs``), and gives a number; what it does
    inside is free.  Where it raises ValueError or ArithmeticError it is outside of its domain: a DomainError says so.

    partials: ``(out, *operands)``, the result first, to the partial derivative by each operand: a tuple, or one number
    for one operand.  Derivatives that are the same everywhere may be given as numbers: ``partials=(1.0, -1.0)``.  For
    second derivatives, and in a compiled function, the rule runs on other things than numbers: write it with arithmetic
    and functions of tinygrad_vi (``cos(x)``, not ``math.cos(x)``; ``where`` for ``if``).  A derivative that cannot be
    so written can be an operation of its own.
    name: how it is called in errors, formulas and compiled programs; that of the function when left out.  symbol: what
    a drawing shows.  latex: how it is written, ``{0}`` and ``{1}`` standing for the operands, other braces doubled.
    domain: where it is defined, as an error says it: ``"x > 0"``.

    What other systems call it, each only where that system is to have it.  formula: the function in arithmetic and
    functions of tinygrad_vi, from which `show.three_ways` has its formula, the step-through page its recomputation and
    PyTorch its tensor; the function itself serves where it is so written (``abs(x)`` and not ``math.fabs(x)``, no
    ``if``).  Each of them may have its own instead: sympy: on SymPy's formulas, ``lambda x: sympy.LambertW(x)``;
    pytorch: on tensors; javascript: a text with ``{0}``, ``"Math.atan({0})"``.  numpy: a text for compiled functions,
    ``"np.arctan({0})"``, NaN outside of the domain, which runs on whole arrays; the function itself runs on one number
    after the other.  The text of NumPy is compared with the function in the first answers, the others at the point
    shown.

    It works in `Value.backward`, forward mode and derivatives of any order, in pictures and tables, and in compiled
    functions, there by NumPy, one number after the other: the native kernel has the built-in operations alone.
    A new operation replaces an older one of the same name, which is what a notebook cell does that is run again.

    Raises TypeError for a function whose number of operands cannot be told, or a rule that takes other arguments than
    ``out`` and the operands; ValueError for a name that is built-in or not a name.  Where it is used: TypeError for a
    result or partials that are not numbers, or not as many as operands; DomainError for one that is not finite.
    Whether the partials are right is for `gradcheck` to say: a wrong one may be meant (a straight-through estimator).

    >>> from tinygrad_vi import grad
    >>> @operation(partials=lambda out, x: 1.0 / (1.0 + abs(x)) ** 2)
    ... def softsign_of(x):
    ...     return x / (1.0 + abs(x))
    >>> softsign_of(1.0), grad(softsign_of)(3.0), grad(grad(softsign_of))(3.0)
    (0.5, 0.0625, -0.03125)
    """
    if partials is None or function is not None:
        raise TypeError(
            "an operation needs its derivative beside it: write @operation(partials=lambda out, x: ...) above the "
            "function, one partial derivative for each operand"
        )

    def decorate(function: Callable[..., float]) -> Function:
        called = name or getattr(function, "__name__", "")
        if not isinstance(called, str) or not called.isidentifier() or keyword.iskeyword(called):
            raise ValueError(f"an operation needs a name, got {called!r}: @operation(name=..., partials=...)")
        arity = _arity(function, called)
        rule = _Rule(called, partials, arity)

        def value(*xs: float) -> float:
            y = _on_numbers(function, *xs)
            return y if y.__class__ is float else _result(y, called)

        made = rows.row(
            called, value, rule.by_kind, inspect.getdoc(function) or f"{called}, an operation of the user's own.",
            symbol=symbol, latex=latex, arity=arity, domain=domain, taught=rule.taught,
            formula=formula or function, sympy=sympy, pytorch=pytorch, numpy=numpy, javascript=javascript,
        )  # fmt: skip
        made.__wrapped__ = function  # type: ignore[attr-defined]
        made.__module__ = getattr(function, "__module__", None) or __name__
        return made

    return decorate


class _Rule:
    """The rule for the partials of an operation, asked for numbers, Values or formulas."""

    def __init__(self, name: str, partials: Any, arity: int | None) -> None:
        if not callable(partials):
            constant = partials if isinstance(partials, tuple) else (partials,)
            numbers = tuple([_result(p, name, "a partial of") for p in constant])
            if len(numbers) != arity:
                raise TypeError(f"{name} has {_operands(arity)}, got {len(numbers)} partials, {partials!r}")
            partials = lambda out, *xs: numbers  # noqa: E731
        _check_arguments(partials, name, arity)
        self.name, self.partials = name, partials

    def by_kind(self, out: Any, *operands: Any) -> tuple[Any, ...]:
        """The partials as `ops` wants them."""
        kinds = {*map(_kind, (out, *operands))}
        if kinds == {float}:
            found = _on_numbers(self.partials, out, *operands)
            found = [self._number(p) for p in self._listed(found, len(operands))]
            if not all(map(math.isfinite, found)) and all(map(math.isfinite, operands)):
                raise ValueError("a partial is not finite")
            return tuple(found)
        if Value in kinds:
            with _on_values(self.name, "partials", (out, *operands)):
                found = self.partials(out, *operands)
            return tuple([p if isinstance(p, Value) else self._number(p) for p in self._listed(found, len(operands))])
        with _refusing(self.name, "partials"):
            found = self.partials(*[Formula(x) if hasattr(x, "record") else x for x in (out, *operands)])
        partials = self._listed(found, len(operands))
        return tuple([p.inner if isinstance(p, Formula) else self._number(p) for p in partials])

    def taught(self, out: Any, *operands: Any) -> tuple[Any, ...]:
        """The partials for people: where the rule cannot be written out, f′(x), or ∂₂f(x, y)."""
        try:
            return self.by_kind(out, *operands)
        except TypeError:
            if _kind(out) is not object:
                raise
        return unwritten(self.name, out, operands)

    def _number(self, p: Any) -> float:
        return _result(p, self.name, "a partial of")

    def _listed(self, found: Any, count: int) -> list[Any]:
        several = list(found) if isinstance(found, (tuple, list)) else [found]
        if len(several) != count:  # a TypeError, since a ValueError would say that a number is outside of the domain
            raise TypeError(
                f"the partials of {self.name} are {count}, one for each operand, got {len(several)}: {found!r:.60}"
            )
        return several


def _on_numbers(f: Callable[..., Any], *numbers: Any) -> Any:
    """Call a function of numbers, outside of any derivative around it: a solver in it may take gradients of its own."""
    if not modes.differentiable.get():
        return f(*numbers)
    with modes.differentiable.set(False):
        return f(*numbers)


def _kind(x: Any) -> type:
    """Value; object for a part of a formula; else float."""
    if isinstance(x, Value):
        return Value
    return object if hasattr(x, "record") else float


def unwritten(name: str, out: Any, operands: Sequence[Any]) -> tuple[Any, ...]:
    """The partials of an operation as formulas that only name them: f′(x), or ∂₂f(x, y)."""

    def named(i: int) -> Operation:
        sign, prime = ("", "′") if len(operands) == 1 else ("∂" + str(i + 1).translate(SUBSCRIPTS), "")
        tex = rf"\operatorname{{{name}}}".replace("_", r"\_")
        tex = rf"\partial_{{{i + 1}}} {tex}" if sign else f"{tex}'"
        return new_row(
            f"{sign}{name}{prime}", _no_number, _no_number, f"A derivative of {name}.", arity=len(operands),
            latex=lambda xs: rf"{tex}\left({', '.join(xs)}\right)",
        )  # fmt: skip

    return tuple([out.record(named(i), *operands) for i in range(len(operands))])


def _no_number(*operands: Any) -> NoReturn:  # noqa: ARG001
    raise AssertionError("it stands in formulas, for people")


def _arity(function: Any, name: str) -> int | None:
    """How many operands a function of numbers has; None for any number."""
    if hasattr(function, "nin"):  # a ufunc of NumPy or SciPy
        return int(function.nin)
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        raise TypeError(
            f"the operands of {name} cannot be told from it: write a function, def {name}(x): ..."
        ) from None
    operands = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    several = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    clear = all(p.default is p.empty for p in operands) and several != bool(operands)
    if not clear or any(p.kind is p.KEYWORD_ONLY and p.default is p.empty for p in parameters):
        raise TypeError(
            f"{name} takes its operands one by one, def {name}(x, y): ..., or any number, def {name}(*xs): ...; "
            f"got {name}{inspect.signature(function)}. A constant belongs into a closure, not among the operands"
        )
    return None if several else len(operands)


def _check_arguments(partials: Rule, name: str, arity: int | None) -> None:
    """The rule takes ``(out, *operands)``: TypeError where its signature says otherwise."""
    try:
        signature = inspect.signature(partials)
    except (TypeError, ValueError):
        return
    try:
        signature.bind(*range(1 + (3 if arity is None else arity)))
        fits = "out" not in list(signature.parameters)[1:]
    except TypeError:
        fits = False
    if not fits:
        operands = "*xs" if arity is None else ", ".join(operand_names(arity))
        raise TypeError(
            f"the partials of {name} are a function of the result and the operands, lambda out, {operands}: ..., "
            f"got one of {signature}"
        )


def _operands(arity: int | None) -> str:
    return "any number of operands" if arity is None else counted(arity, "operand")


def _result(y: Any, name: str, what: str = "") -> float:
    """A number that the user's function gave, as a float."""
    try:
        return number(y, name)
    except TypeError:
        hint = (
            ": it depends on a Value that is no operand; give it as one"
            if isinstance(y, Value)
            else ": is a `return` missing?"
            if y is None
            else ""
        )
        gives = f"{what} {name}" if what else name
        raise TypeError(f"{gives} must be a number, got {y!r:.60} of type {type(y).__name__}{hint}") from None


# --- A whole function -------------------------------------------------------------------------------------------------


def custom_derivative(derivative: Rule) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a whole function a derivative of your own: ``@custom_derivative(derivative)`` above it.

    The function is called with numbers, nested as its arguments are (lists, tuples, arrays), and gives a number or
    nested numbers; what it does inside (a solver, a search, SciPy) is not recorded.  Called with a Value anywhere in
    its arguments it gives Values; with numbers alone it just runs.

    derivative: ``(out, *arguments)``, the result first, to the derivatives, nested as `jacobian` nests them:

        one result, one argument       like the argument: [df/dx1, df/dx2]
        one result, several            a tuple, one entry for each
        several results                like the result, each entry of it nested as above

    Arguments that are plain numbers have entries too, which are not used.  The sweep multiplies the derivatives by what
    flows in, as for every operation; a rule that is not linear in the flow, such as clipping it, belongs to the
    optimiser.

    *Higher derivatives*: the derivative is called once more, with Values, ``out`` among them.  Written with arithmetic
    and functions of tinygrad_vi it has all orders (that of an implicit function, say, in terms of the solution); one
    that needs numbers (NumPy, SciPy, ``v.data``) gives first derivatives, and asked for more it raises TypeError.
    *Compiled functions* refuse it: there every operation has to be known.  Make it an `operation`, if its arguments are
    a few numbers.  Graphs with it can be copied, not pickled.

    Raises TypeError for an argument or result that is not made of numbers; ShapeError for a derivative that is not
    nested as it should be; DomainError for a result or a derivative that is infinite or NaN.

    >>> from tinygrad_vi import grad
    >>> @custom_derivative(lambda root, c: [-1.0 / (c[1] + 2.0 * root), -root / (c[1] + 2.0 * root)])
    ... def positive_root(c):                  # of c[0] + c[1]*x + x*x, by bisection
    ...     low, high = 0.0, 100.0
    ...     for _ in range(80):
    ...         x = (low + high) / 2.0
    ...         low, high = (x, high) if c[0] + c[1] * x + x * x < 0.0 else (low, x)
    ...     return x
    >>> positive_root([-6.0, 1.0]), grad(positive_root)([-6.0, 1.0])
    (2.0, [-0.2, -0.4])
    """
    if not callable(derivative):
        raise TypeError(
            "custom_derivative takes the derivative, a function of the result and the arguments: "
            f"@custom_derivative(lambda out, x: ...), got {derivative!r:.60}"
        )

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        if not callable(function):
            raise TypeError(f"custom_derivative stands above a function, got {function!r:.60}")
        name = getattr(function, "__name__", type(function).__name__)

        @wraps(function)
        def called(*arguments: Any) -> Any:
            entries, _ = flatten(tuple(arguments))
            if not any(isinstance(x, Value) for x in entries):
                return function(*arguments)
            if being_traced():
                raise TypeError(
                    f"{name} has a derivative of its own and runs on numbers, so it cannot be compiled: make it an "
                    "@operation, if its arguments are a few numbers, or leave compile out (grad and fit take the "
                    "function as it is)"
                )
            return _Call(name, function, derivative).record(arguments)

        return called

    return decorate


class _Call:
    """One call of a function with a derivative of its own: a row for each of its results.

    The rows refer to it, so it holds no Value and no row: graphs have no cycles.
    """

    def __init__(self, name: str, function: Callable[..., Any], derivative: Rule) -> None:
        self.name, self.function, self.derivative = name, function, derivative
        self.xs: tuple[float, ...] | None = None
        self.found: list[float] = []
        self.slopes: list[list[float]] | None = None

    def record(self, arguments: Sequence[Any]) -> Any:
        """Run the function, and record its results."""
        entries, nest = flatten(tuple(arguments))
        operands = [x for x in entries if isinstance(x, Value)]
        self.constants = [None if isinstance(x, Value) else x for x in entries]
        numbers_alone = nest([0.0 if constant is None else constant for constant in self.constants])
        _, self.nest = flatten(numbers_alone)
        _, nest_one_or_all = flatten(numbers_alone[0] if len(numbers_alone) == 1 else numbers_alone)
        xs = tuple([v.data for v in operands])
        result, self.nest_results = self._run(xs)
        zeros = [0.0] * len(entries)
        _, self.nest_slopes = flatten(self.nest_results([nest_one_or_all(zeros) for _ in result]))
        if modes.recording.get():
            self._slopes(xs)  # errors in the derivative are raised here: in `record` they would count as a DomainError
        return self.nest_results([Value.record(self._row(k), *operands) for k in range(len(result))])

    def _arguments(self, xs: Sequence[Any]) -> Any:
        rest: Iterator[Any] = iter(xs)
        return self.nest([next(rest) if constant is None else constant for constant in self.constants])

    def _run(self, xs: tuple[float, ...]) -> tuple[list[float], Tree]:
        result = _on_numbers(self.function, *self._arguments(xs))
        if result is None:
            raise TypeError(f"{self.name} returned None, where numbers are wanted: is a `return` missing?")
        numbers, nest = flatten(result)
        numbers = [_result(y, self.name, "the result of") for y in numbers]
        for y in numbers:
            if not math.isfinite(y):
                raise DomainError(f"the result of {self.name} is {y}, got {self._shown(xs)}")
        self.xs, self.found, self.slopes = xs, numbers, None
        return numbers, nest

    def _results(self, xs: tuple[float, ...]) -> list[float]:
        return self.found if xs == self.xs else self._run(xs)[0]

    def _slopes(self, xs: tuple[float, ...]) -> list[list[Any]]:
        results = self._results(xs)
        if self.slopes is None:
            found = _on_numbers(self.derivative, self.nest_results(results), *self._arguments(xs))
            rows = self._rows(found)
            self.slopes = [[_result(p, self.name, "a derivative of") for p in row] for row in rows]
            for p in [p for row in self.slopes for p in row]:
                if not math.isfinite(p):
                    raise DomainError(f"a derivative of {self.name} is {p}, got {self._shown(xs)}")
        return self.slopes

    def _rows(self, found: Any) -> list[list[Any]]:
        """For each result the derivatives by the operands."""
        try:
            numbers, tree = flatten(found)
        except TypeError as error:
            raise TypeError(
                f"the derivative of {self.name} is made of numbers nested like {self.nest_slopes!s:.60}: {error}"
            ) from None
        if not tree.fits(self.nest_slopes):
            raise ShapeError(f"the derivative of {self.name} is nested like {self.nest_slopes!s:.60}, got {tree!s:.60}")
        n = len(self.constants)
        rows = [numbers[start : start + n] for start in range(0, len(numbers), n)]
        return [[p for p, constant in zip(row, self.constants, strict=True) if constant is None] for row in rows]

    def _shown(self, xs: Sequence[float]) -> str:
        return repr(self._arguments(xs))[1:-1].rstrip(",")[:60]

    def _row(self, k: int) -> Operation:
        def on_numbers(*operands: Any) -> NoReturn:  # noqa: ARG001
            raise TypeError(f"{self.name} has a derivative of its own and runs on numbers")

        def partials(out: Any, *operands: Any) -> tuple[Any, ...]:
            if _kind(out) is object:
                on_numbers()
            if Value not in map(_kind, (out, *operands)):
                return tuple(self._slopes(tuple(operands))[k])
            outs = [out if j == k else Value.record(self._row(j), *operands) for j in range(len(self.found))]
            with _on_values(self.name, "derivative", (*outs, *operands)):
                found = self.derivative(self.nest_results(outs), *self._arguments(operands))
            slopes = self._rows(found)[k]
            return tuple([p if isinstance(p, Value) else _result(p, self.name, "a derivative of") for p in slopes])

        def taught(out: Any, *operands: Any) -> tuple[Any, ...]:
            return unwritten(name, out, operands) if _kind(out) is object else partials(out, *operands)

        name = self.name if self.nest_results == LEAF else f"{self.name}[{k}]"
        return new_row(
            name, lambda *xs: self._results(xs)[k], partials, f"{name}, with a derivative of the user's own.",
            arity=self.constants.count(None), taught=taught, domain="", formula=on_numbers,
        )  # fmt: skip


# --- Rules on other things than numbers -------------------------------------------------------------------------------


@contextmanager
def _refusing(name: str, what: str) -> Iterator[None]:
    """Say what is wrong with a rule that only numbers can be put into."""
    try:
        yield
    except (TypeError, AttributeError) as error:
        said = str(error).partition(":")[0]  # what is said of traced functions is of no use here
        raise TypeError(
            f"the {what} of {name} can be computed on numbers alone ({said}). Second derivatives and compiled "
            "functions need it written with arithmetic and functions of tinygrad_vi, cos(x) and not math.cos(x), "
            "where(...) for `if`; a derivative that cannot be so written can be an @operation of its own"
        ) from error


@contextmanager
def _on_values(name: str, what: str, operands: Sequence[Value]) -> Iterator[None]:
    """Run a rule on Values that do not give their numbers away: a second derivative would miss what they depend on."""
    if tracer_here.get() is not None:  # they are traced already
        with _refusing(name, what):
            yield
        return
    from tinygrad_vi.compiler.trace import Tracer, guarded

    tracer = Tracer(operands, lines=False)
    try:
        with _refusing(name, what), recording(True), guarded(operands, {}):
            token = tracer_here.set(tracer)
            try:
                yield
            finally:
                tracer_here.reset(token)
    finally:
        for node in tracer.nodes:
            node.__class__ = Value


LONGEST_FORMULA = 1000


def written_out(op: Operation, names: Callable[[Operation], Callable[..., Any]], *operands: Any) -> Any:
    """An operation on things of another system that has no name for it: its formula, on what the system's names give.

    names: from an operation of the formula to the system's function.  Raises TypeError where the formula asks for
    numbers, as ``math.exp(x)`` does, or decides by them.
    """
    try:
        found = op.formula(*[Formula(_Thing(x, names)) for x in operands])
        return found.inner.thing if isinstance(found, Formula) else number(found, op.name)
    except Exception as error:  # the user's function may raise anything
        raise TypeError(f"the formula of {op.name} asks for numbers: {error}") from error


class _Thing:
    """Something of another system that takes part in operations, and of how many it is made, written out."""

    def __init__(self, thing: Any, names: Callable[[Operation], Callable[..., Any]], size: int = 0) -> None:
        self.thing, self.names, self.size = thing, names, size

    def record(self, op: Operation, *operands: Any) -> _Thing:
        """What the other system's function gives."""
        size = 1 + sum(x.size for x in operands if isinstance(x, _Thing))
        if size > LONGEST_FORMULA:  # a loop, such as Newton's method
            raise TypeError(f"it has more than {LONGEST_FORMULA:,} operations, written out")
        things = [x.thing if isinstance(x, _Thing) else x for x in operands]
        return _Thing(self.names(op)(*things), self.names, size)


class Formula:
    """What stands for an operand while a rule becomes a formula or part of a program: it has no number.

    It answers to operators, functions and methods as a Value does, whatever it stands for answers to.
    """

    __slots__ = ("inner",)

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    @staticmethod
    def record(op: Operation, *operands: Any) -> Formula:
        """Apply an operation to what the formulas stand for."""
        inner = [x.inner if isinstance(x, Formula) else x for x in operands]
        first = next(x for x in inner if hasattr(x, "record"))
        return Formula(first.record(op, *inner))

    def __getattr__(self, name: str) -> Any:
        op = rows.OPERATIONS.get(name) or rows.OWN.get(name)
        if op is None or op.arity != 1 or not hasattr(Value, name):
            raise AttributeError(f"{name!r} is not known here")
        return lambda: self.record(op, self)

    def __add__(self, other: Any) -> Formula:
        return self.record(ops.add.operation, self, other)

    def __radd__(self, other: Any) -> Formula:
        return self.record(ops.add.operation, other, self)

    def __sub__(self, other: Any) -> Formula:
        return self.record(ops.sub.operation, self, other)

    def __rsub__(self, other: Any) -> Formula:
        return self.record(ops.sub.operation, other, self)

    def __mul__(self, other: Any) -> Formula:
        return self.record(ops.mul.operation, self, other)

    def __rmul__(self, other: Any) -> Formula:
        return self.record(ops.mul.operation, other, self)

    def __truediv__(self, other: Any) -> Formula:
        return self.record(ops.div.operation, self, other)

    def __rtruediv__(self, other: Any) -> Formula:
        return self.record(ops.div.operation, other, self)

    def __neg__(self) -> Formula:
        return self.record(ops.neg.operation, self)

    def __pos__(self) -> Formula:
        return self

    def __abs__(self) -> Formula:
        return self.record(ops.abs_.operation, self)

    def __pow__(self, exponent: Any) -> Formula:
        if isinstance(exponent, Formula):
            return self.record(ops.pow_.operation, self, exponent)
        return self.record(ops.power(number(exponent, "an exponent")), self)

    def __rpow__(self, base: Any) -> Formula:
        return self.record(ops.exponential(number(base, "a base")), self)

    def __bool__(self) -> bool:
        raise TypeError("it has no number here that could be a condition")

    def __lt__(self, other: Any) -> Comparison:
        return Comparison.ask(LESS, self, other)

    def __le__(self, other: Any) -> Comparison:
        return Comparison.ask(LESS_EQUAL, self, other)

    def __gt__(self, other: Any) -> Comparison:
        return Comparison.ask(LESS, other, self)

    def __ge__(self, other: Any) -> Comparison:
        return Comparison.ask(LESS_EQUAL, other, self)

    def __eq__(self, other: object) -> Comparison:  # type: ignore[override]
        return Comparison.ask(EQUAL, self, other)

    def __ne__(self, other: object) -> Comparison:  # type: ignore[override]
        return ~(self == other)

    __hash__ = object.__hash__


class Comparison(Formula):
    """A comparison of formulas, 1 where it holds, else 0: for `where`, ``&``, ``|`` and ``~``, as that of Values is."""

    __slots__ = ()

    @classmethod
    def ask(cls, op: Operation, *operands: Any) -> Comparison:
        """Compare, or combine what was compared."""
        known = [x if isinstance(x, Formula) else number(x, "a comparison") for x in operands]
        return cls(cls.record(op, *known).inner)

    def __and__(self, other: Comparison) -> Comparison:
        return self.ask(ops.mul.operation, self, other)

    def __or__(self, other: Comparison) -> Comparison:
        return self.ask(ops.maximum.operation, self, other)

    def __xor__(self, other: Comparison) -> Comparison:
        return self.ask(EQUAL, self.ask(EQUAL, self, other), 0.0)

    def __invert__(self) -> Comparison:
        return self.ask(EQUAL, self, 0.0)
