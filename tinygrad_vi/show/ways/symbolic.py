"""Symbolic differentiation: how large the formula of a derivative becomes, by SymPy."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from time import process_time
from typing import Any

from tinygrad_vi import rows
from tinygrad_vi.checks import counted, whole_number
from tinygrad_vi.graph import topological_order
from tinygrad_vi.own import written_out as written_with_others
from tinygrad_vi.rows import Operation
from tinygrad_vi.show.palette import GRADIENT, LINE, RIGHT, VALUE
from tinygrad_vi.show.tapes.table import Table
from tinygrad_vi.show.ways.at_a_point import F, FunctionAtPoint, count_operations, lecture_function
from tinygrad_vi.show.ways.report import Panel, count_cell, legend, log_axis, text_cell, write_times
from tinygrad_vi.show.ways.sympy_formulas import FLAT, formulas
from tinygrad_vi.show.writing.formula import Symbol
from tinygrad_vi.show.writing.numerals import write_number
from tinygrad_vi.sweep import adjoints
from tinygrad_vi.value import Value, recording

DEPTH = 10
MAX_OPERATIONS = 20_000  # of a formula
SWELL = 4  # a derivative, written out, has about so many times the operations of its function
DIGITS = 40  # of what is computed exactly

# --- How it grows with depth ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Size:
    """How many operations f nested ``depth`` times takes, and its derivative.

    function, derivative: the two formulas, written out.  shared: both, when each repeated part is computed once.
    record: both, as automatic differentiation records them; a sum of k terms counts as k - 1.  difference: the relative
    one between the values of the formula's derivative and of the automatic one; NaN where the formula has none.
    automatic_error: that of the automatic one against the formula computed with 40 digits, where the two differ.
    """

    depth: int
    function: int
    derivative: int
    shared: int
    record: int
    difference: float
    automatic_error: float = math.nan


def expression_growth(
    f: F = lecture_function, *point: Any, by: int | str = 0, depth: int = DEPTH, max_operations: int = MAX_OPERATIONS
) -> ExpressionGrowth:
    """The size of the derivative of f(f(...f(x))), by SymPy and by our record, for one to ``depth`` nested calls.

    A formula writes a part again wherever it is used, and the chain rule uses every part: it swells.  When each part is
    computed once (common subexpression elimination) the same derivative stays small, and that is what automatic
    differentiation computes.  by: the input that is nested; the others keep their numbers.  A formula that would have
    more than ``max_operations`` is not made, and the report says so.  (Baydin et al., *Automatic differentiation in
    machine learning: a survey*, 2018, table 1.)

    Raises DomainError where f has no value, ValueError for an operation that has no formula or a first formula that is
    too large, ImportError without SymPy.

    >>> logistic_map = expression_growth(lambda x: 4 * x * (1 - x), 0.3, depth=4)
    >>> [row.derivative for row in logistic_map.rows], [row.record for row in logistic_map.rows]
    ([2, 21, 82, 264], [6, 14, 22, 30])
    """
    question = FunctionAtPoint(f, point)
    whole_number(depth, "depth")
    whole_number(max_operations, "max_operations")
    return ExpressionGrowth(question, question.index(by), depth, max_operations)


class ExpressionGrowth(Panel):
    """What `expression_growth` measured.  rows: a `Size` for each depth.  stopped: why it ended early, or nothing."""

    #: label, color, marker and line
    LINES = {  # noqa: RUF012
        "derivative": ("f′ written out", GRADIENT, "o", "-"),
        "function": ("f written out", LINE, "^", "--"),
        "shared": ("f and f′, parts shared", VALUE, "s", "-."),
        "record": ("f and f′, our record", RIGHT, "D", "-"),
    }

    def __init__(self, question: FunctionAtPoint, i: int, depth: int, max_operations: int) -> None:
        self.name, self.at = question.names[i], str(question)
        self.rows, self.stopped = _grow(question, i, depth, max_operations)
        self.remarks = []
        last = self.rows[-1]
        self.remarks.append(
            f"{counted(last.depth, 'nested call')}, operations: {last.derivative:,} of f′ written out, "
            f"{last.shared:,} of f and f′ with parts shared, {last.record:,} in our record"
        )
        if len(self.rows) > 1 and self.rows[-2].derivative:
            before = self.rows[-2]
            self.remarks.append(
                f"the last call multiplied f′ written out by {write_times(last.derivative / before.derivative)}, "
                f"and added {counted(last.record - before.record, 'operation')} to our record"
            )
        known = [row for row in self.rows if not math.isnan(row.difference)]
        if known:
            self.remarks.append(_verdict(max(known, key=lambda row: row.difference)))
        if self.stopped:
            self.remarks.append(f"stopped before depth {len(self.rows) + 1} of {depth}: {self.stopped}")

    @property
    def table(self) -> Table:
        """A row for each depth."""
        rows = [list(map(count_cell, (r.depth, r.function, r.derivative, r.shared, r.record))) for r in self.rows]
        headers = [
            text_cell("depth"),
            Symbol("f, written out", r"f\text{, written out}"),
            Symbol("f′, written out", r"f'\text{, written out}"),
            Symbol("f and f′, parts shared", r"f\text{ and }f'\text{, parts shared}"),
            Symbol("f and f′, our record", r"f\text{ and }f'\text{, our record}"),
        ]
        return Table(f"Operations of f nested in {self.name}, by SymPy and by our record", headers, rows)

    def draw_on(self, axis: Any) -> None:
        """The sizes over the depth, on a logarithmic scale."""
        depths = [row.depth for row in self.rows]
        sizes = {what: [getattr(row, what) for row in self.rows] for what in self.LINES}
        for what, (label, color, marker, line) in self.LINES.items():
            axis.plot(depths, sizes[what], color=color, marker=marker, linestyle=line, markersize=4.5, label=label)
        if min(map(min, sizes.values())) > 0:
            log_axis(axis, "y")
        else:  # a derivative of no operation, such as that of 3x
            axis.set_yscale("symlog", linthresh=1.0)
            axis.set_ylim(bottom=-0.1)
        self._write_last_sizes(axis, {what: row[-1] for what, row in sizes.items()})
        axis.set_xlim(0.7, depths[-1] + 0.3 + 0.14 * len(depths))
        axis.set_xticks(depths if len(depths) <= 12 else depths[:: len(depths) // 8])
        axis.set_xlabel("nested calls of f")
        axis.set_ylabel("operations")
        axis.set_title("symbolic: the size by the depth")
        legend(axis)

    def _write_last_sizes(self, axis: Any, last: Mapping[str, int]) -> None:
        """The numbers at the ends of the lines, moved apart where they would overlap."""
        x, height = self.rows[-1].depth, 250.0  # of the axis in points, about
        lowest = -math.inf
        for what, size in sorted(last.items(), key=lambda pair: pair[1]):
            at = height * axis.transAxes.inverted().transform(axis.transData.transform((x, size)))[1]
            lowest = max(at, lowest + 11.0)
            axis.annotate(f"{size:,}", (x, size), (7, lowest - at), textcoords="offset points", va="center",
                          color=self.LINES[what][1], fontsize=9)  # fmt: skip


def _verdict(worst: Size) -> str:
    """Whether the two values agree, and if not, which of them is wrong, as far as it is known."""
    by = f"a relative {write_number(worst.difference, 1)}"
    if worst.difference < AGREEMENT:
        return f"both derivatives have the same value, to {by}"
    if worst.automatic_error < 0.1 * worst.difference:
        return f"the formula loses digits: its value is off by {by}"
    return f"the values of the two derivatives differ by {by}: f is so steep that rounding shows in both"


#: relative difference of two values that are called the same
AGREEMENT = 1e-8

#: seconds of the processor, so that other programs do not count, after which no greater depth is tried
SYMPY_PATIENCE = 5.0


def _grow(question: FunctionAtPoint, i: int, depth: int, max_operations: int) -> tuple[list[Size], str]:
    """The sizes, and why there are no more of them."""
    algebra, rows = Algebra(), list[Size]()
    [symbol] = algebra.symbols(1)
    x = y = Value(question.point[i])
    written, start = 0, process_time()
    for level in range(1, depth + 1):
        try:
            with recording(True):
                y = question.along(i, y)
            before, written = written, written_out([y], [x])
            # the derivative swells at least as fast as the function does; SymPy may have made both smaller
            largest = max(rows[-1].function, rows[-1].derivative) if rows else 0
            expected = largest * written // max(1, before) if rows else SWELL * written
            if expected > max_operations:
                raise ValueError(f"it would have about {expected:,} operations, more than {max_operations:,}")
            rows.append(_measure_size(algebra, level, x, y, symbol))
        except (ArithmeticError, ValueError) as error:
            if not rows:
                raise
            return rows, str(error)
        if process_time() - start > SYMPY_PATIENCE and level < depth:
            return rows, "SymPy would take too long"
    return rows, ""


def _measure_size(algebra: Algebra, depth: int, x: Value, y: Value, symbol: Any) -> Size:
    if not math.isfinite(y.data):
        raise ValueError(f"f is {y.data}")
    with recording(True):
        slope = adjoints(topological_order([y], [x]), {y: 1.0}, create_graph=True).get(x, 0.0)
    function = algebra.formula(y, {x: symbol})
    derivative = algebra.sympy.diff(function, symbol)
    automatic, difference, error = float(getattr(slope, "data", slope)), math.nan, math.nan
    with suppress(ArithmeticError, ValueError, TypeError):  # it may overflow, or leave the real numbers
        [found] = algebra.program([symbol], [derivative])(x.data)
        difference = abs(found - automatic) / abs(automatic) if found != automatic else 0.0
        if difference >= AGREEMENT:
            error = algebra.relative_error(automatic, symbol, derivative, x.data)
    return Size(
        depth,
        algebra.size(function),
        algebra.size(derivative),
        algebra.shared_size(function, derivative),
        count_operations(depending([v for v in (y, slope) if isinstance(v, Value)], [x])),
        difference,
        error,
    )


def depending(outputs: Sequence[Value], inputs: Sequence[Value]) -> list[Value]:
    """The recorded operations between inputs and outputs, each after its operands."""
    live = set(inputs)
    found = []
    for node in topological_order(outputs, inputs):
        if not live.isdisjoint(node.parents):
            live.add(node)
            found.append(node)
    return found


def written_out(outputs: Sequence[Value], inputs: Sequence[Value]) -> int:
    """How many operations the formulas of the outputs have when no part is shared."""
    size: dict[Value, int] = {}
    for node in depending(outputs, inputs):
        size[node] = count_operations([node]) + sum(size.get(parent, 0) for parent in node.parents)
    return sum(size.get(y, 0) for y in outputs)


# --- Records as formulas ----------------------------------------------------------------------------------------------


class Algebra:
    """SymPy, and recorded Values as its formulas."""

    def __init__(self) -> None:
        try:
            self.sympy: Any = import_module("sympy")
        except ImportError:
            raise ImportError("symbolic differentiation needs the package sympy: pip install sympy") from None
        self.formulas = formulas(self.sympy, self.number)

    def number(self, x: float) -> Any:
        """Exactly this float."""
        return self.sympy.Integer(int(x)) if x.is_integer() else self.sympy.Float(x, DIGITS)

    def symbols(self, count: int) -> list[Any]:
        """Real variables; not with the user's names, which could be those of functions."""
        return [self.sympy.Symbol(f"v{k}", real=True) for k in range(count)]

    def formula(self, output: Value, symbols: Mapping[Value, Any]) -> Any:
        """The formula of a recorded Value in the symbols that stand for some Values; the others are numbers."""
        known = dict(symbols)
        for node in depending([output], list(symbols)):
            assert node.op is not None
            operands = [known[p] if p in known else self.number(p.data) for p in node.parents]
            known[node] = self._named(node.op)(*operands)
            if node.op.key not in self.formulas:
                self._check_value(node)
        return known[output] if output in known else self.number(output.data)

    def _named(self, op: Operation) -> F:
        """What SymPy calls an operation: a function of its formulas, and of numbers."""

        def rule(*operands: Any) -> Any:
            xs = [self.number(float(x)) if isinstance(x, (float, int)) else x for x in operands]
            if op.key in self.formulas:
                return self.formulas[op.key](*xs, *op.constants)
            if op.sympy is not None:
                return self.sympy.sympify(op.sympy(*xs))
            try:
                return self.sympy.sympify(written_with_others(op, self._named, *xs))
            except TypeError as error:
                raise ValueError(
                    f"the symbolic way knows no formula for the operation {op.name!r}: give it one, sympy=lambda x: "
                    "... on formulas of SymPy, or formula=lambda x: ... with arithmetic and functions of tinygrad_vi"
                ) from error

        return rule

    def _check_value(self, node: Value) -> None:
        """Compare the formula that a row of the user's own gave with its number here."""
        assert node.op is not None
        xs = [p.data for p in node.parents]
        symbols = self.symbols(len(xs))
        try:
            [found] = self.program(symbols, [self._named(node.op)(*symbols)])(*xs)
        except (ArithmeticError, ValueError, TypeError):  # it has no value at the very point
            return
        if not abs(found - node.data) <= AGREEMENT * max(1.0, abs(node.data)):
            raise ValueError(
                f"the formula of the operation {node.op.name!r} for SymPy is another function: at "
                f"{', '.join(map(repr, xs))} it is {found!r}, the operation {node.data!r}"
            )

    def _by_sympy(self, name: str) -> Callable[..., float]:
        """A function that `math` does not have."""
        return lambda *xs: float(self.sympy.N(getattr(self.sympy, name)(*xs)))

    def size(self, *formulas: Any) -> int:
        """How many operations they have, written out."""
        return sum(int(self.sympy.count_ops(formula)) for formula in formulas)

    def shared_size(self, *formulas: Any) -> int:
        """The same when each part that is repeated is computed once (common subexpression elimination)."""
        parts, rest = self.sympy.cse(formulas)
        return self.size(*[part for _, part in parts], *rest)

    def relative_error(self, found: float, symbol: Any, formula: Any, x: float) -> float:
        """How far a number is from a formula at x, computed with many digits."""
        mpmath = import_module("mpmath")  # SymPy needs it too
        with mpmath.workdps(DIGITS):
            [exact] = self.program([symbol], [formula], "mpmath")(mpmath.mpf(x))
            return float(abs((mpmath.mpf(found) - exact) / exact))

    def program(self, symbols: Sequence[Any], formulas: Sequence[Any], modules: str = "math", cse: bool = True) -> F:
        """A function of numbers that gives a list, one number for each formula."""
        names = [*FLAT, "erfinv"] if modules == "math" else FLAT
        ours = {name: rows.OPERATIONS[name].value for name in names}
        used = {type(part).__name__ for formula in formulas for part in formula.atoms(self.sympy.Function)}
        lacking = [name for name in used - ours.keys() if modules == "math" and not hasattr(math, name.lower())]
        ours |= {name: self._by_sympy(name) for name in lacking if hasattr(self.sympy, name)}
        found: F = self.sympy.lambdify(list(symbols), list(formulas), [ours, modules], cse=cse)
        return found
