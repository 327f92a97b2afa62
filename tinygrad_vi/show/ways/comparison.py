"""All three ways for one function."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any

from tinygrad_vi.once import once
from tinygrad_vi.show.plot import Plot, new_axes
from tinygrad_vi.show.tapes.table import Table
from tinygrad_vi.show.ways.at_a_point import F, FunctionAtPoint, count_operations, lecture_function
from tinygrad_vi.show.ways.automatic import COPIES, DerivativeCost, race
from tinygrad_vi.show.ways.numerical import STEPS, NumericalError
from tinygrad_vi.show.ways.report import Report, count_cell, number_cell, text_cell, write_times
from tinygrad_vi.show.ways.symbolic import DEPTH, DIGITS, MAX_OPERATIONS, SWELL, Algebra, ExpressionGrowth, written_out
from tinygrad_vi.show.writing.numerals import write_number
from tinygrad_vi.tape import Tape


@dataclass(frozen=True)
class Way:
    """One way to the derivatives of one function.

    estimate, error: the derivative by one input, and how far it is from the true one.  counted, measured: the cost of
    all derivatives in evaluations of the function (for formulas: of its formula), by count and by the clock.
    size: operations of the formulas, or of the program that is swept.  needs: what the way asks for.  A number that
    there is not is NaN.
    """

    name: str
    estimate: float
    error: float
    counted: float
    measured: float
    size: float
    needs: str


def three_ways(f: F = lecture_function, *point: Any, by: int | str = 0) -> ThreeWays:
    """Numerical, symbolic and automatic differentiation of one function: accuracy, cost, size, and what each needs.

    The panels are those of `numerical_error`, `expression_growth` and `derivative_cost`.  The true derivative is the
    symbolic one, evaluated to 40 digits.  by: the input whose derivative is compared; costs are those of all of them.

    Raises DomainError where f has no value or derivative, ValueError for an operation that has no formula or a formula
    that is too large, TypeError without a point, ImportError without SymPy.

    >>> found = three_ways(lecture_function, 2.0, 5.0)
    >>> found.rows[-1].name, found.rows[-1].estimate, found.rows[-1].error
    ('reverse mode', 5.5, 0.0)
    """
    question = FunctionAtPoint(f, point)
    return ThreeWays(question, question.index(by))


class ThreeWays(Report):
    """What `three_ways` found.  rows: a `Way` each.  numerical, symbolic, automatic: the measurements behind them."""

    def __init__(self, question: FunctionAtPoint, i: int) -> None:
        self.name, self.at = question.names[i], str(question)
        self.numerical = NumericalError(question, i, STEPS)
        formulas = _Formulas(question, i)
        self.symbolic = ExpressionGrowth(question, i, DEPTH, MAX_OPERATIONS)
        self.automatic = DerivativeCost(question, COPIES)
        cost = self.automatic.rows[0]

        def way(name: str, estimate: float, size: float, needs: str) -> Way:
            return Way(name, estimate, formulas.error(estimate), cost.counted[name], cost.measured[name], size, needs)

        inputs, y = question.record()
        tape = Tape(y, inputs=inputs)
        size = count_operations(tape.operations)
        by_tangent, by_adjoint = tape.tangent({inputs[i]: 1.0})[y], tape.adjoint()[inputs[i]]
        self.rows = [
            *[
                way(f"{method} differences", best.estimate, math.nan, f"values of f, a good h: {write_number(best.h)}")
                for method, best in self.numerical.best.items()
            ],
            *formulas.ways(),
            way("forward mode", by_tangent, size, "f as a program; one sweep for each input"),
            way("reverse mode", by_adjoint, size, "f as a program, its record; one sweep"),
        ]
        self.remarks = [
            f"symbolic: {self.symbolic.remarks[0]}",
            f"automatic: {self.automatic.remarks[0]}",
            "error: against the symbolic derivative to 40 digits",
            "cost: of all derivatives, in evaluations of f, counted / by the clock",
            "operations: of the formulas of all derivatives, or of the program that is swept",
        ]

    @property
    def table(self) -> Table:
        """A row for each way."""
        rows = []
        for w in self.rows:
            numbers = [number_cell(w.estimate, 17), number_cell(w.error)]
            cost = f"{write_number(w.counted, 3)} / {write_times(w.measured)}"
            rows.append([text_cell(w.name), *numbers, text_cell(cost), count_cell(w.size), text_cell(w.needs)])
        headers = ("way", f"derivative by {self.name}", "error", "cost", "operations", "needs")
        return Table(f"Three ways to the derivatives of f at {self.at}", list(map(text_cell, headers)), rows)

    @once
    def plot(self) -> Plot:
        """The three panels side by side."""
        figure, axes = new_axes(13.8, 5.0, columns=3)
        for report, axis in zip((self.numerical, self.symbolic, self.automatic), axes, strict=True):
            report.draw_on(axis)
        return Plot(figure, f"three ways to the derivatives of a function at {self.at}")


class _Formulas:
    """The derivatives of a function by SymPy: what their formulas give and cost, and the true one by input i."""

    def __init__(self, question: FunctionAtPoint, i: int) -> None:
        self.algebra, self.question, self.i = Algebra(), question, i
        inputs, y = question.record()
        expected = SWELL * len(inputs) * written_out([y], inputs)
        if expected > MAX_OPERATIONS:
            raise ValueError(
                f"the formulas of all derivatives would have about {expected:,} operations, too many for the symbolic "
                "way; numerical_error and derivative_cost do without it"
            )
        self.symbols = self.algebra.symbols(len(inputs))
        self.function = self.algebra.formula(y, dict(zip(inputs, self.symbols, strict=True)))
        self.gradient = [self.algebra.sympy.diff(self.function, symbol) for symbol in self.symbols]
        self._mpmath = import_module("mpmath")  # SymPy needs it too
        self.truth: Any = math.nan
        # the formula may have no value at the very point, such as x**y * log(x) at 0, or a complex one
        with self._mpmath.workdps(DIGITS), suppress(ArithmeticError, ValueError, TypeError):
            exact = self.algebra.program(self.symbols, [self.gradient[i]], "mpmath")
            self.truth = self._mpmath.mpf(exact(*map(self._mpmath.mpf, question.point))[0])

    def error(self, estimate: float) -> float:
        """How far a number is from the true derivative."""
        with self._mpmath.workdps(DIGITS):
            return float(abs(self._mpmath.mpf(estimate) - self.truth))

    def ways(self) -> list[Way]:
        """The formulas written out, and with the parts shared that are repeated."""
        sizes = {
            "formulas, written out": self.algebra.size(*self.gradient),
            "formulas, parts shared": self.algebra.shared_size(*self.gradient),
        }
        point, one = self.question.point, max(1, self.algebra.size(self.function))
        found = []
        function = self.algebra.program(self.symbols, [self.function])
        for name, size in sizes.items():
            program = self.algebra.program(self.symbols, self.gradient, cse="shared" in name)
            work = {"f": partial(function, *point), "gradient": partial(program, *point)}
            seconds, estimate = race(work), math.nan
            with suppress(ArithmeticError, ValueError, TypeError):  # a formula may overflow where f does not
                estimate = float(program(*point)[self.i])
            times = seconds["gradient"] / seconds["f"]
            found.append(Way(name, estimate, self.error(estimate), size / one, times, size, "f as a formula"))
        return found
