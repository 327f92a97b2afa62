"""Automatic differentiation: what a gradient costs, beside differences, as the inputs become many."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from time import process_time
from timeit import timeit
from typing import Any

from tinygrad_vi.checks import counted, whole_number
from tinygrad_vi.derivatives import grad
from tinygrad_vi.graph import topological_order
from tinygrad_vi.numerical import CENTRAL_STEP, FORWARD_STEP, numerical_gradient
from tinygrad_vi.show.palette import GRADIENT, INK, LINE, PAPER, RIGHT, THIRD, VALUE
from tinygrad_vi.show.tapes.table import Table
from tinygrad_vi.show.ways.at_a_point import F, FunctionAtPoint, count_operations, lecture_function
from tinygrad_vi.show.ways.report import Panel, count_cell, legend, log_axis, text_cell, write_times
from tinygrad_vi.show.writing.numerals import write_number
from tinygrad_vi.sweep import tangents
from tinygrad_vi.tape import Tape
from tinygrad_vi.value import Value, recording

COPIES = (1, 2, 4, 8, 16, 32)
COMPILED = "compiled reverse mode"


@dataclass(frozen=True)
class Cost:
    """What the gradient by n inputs costs, by method, in evaluations of the function.

    operations: of one evaluation; a sum of k terms counts as k - 1.  counted: evaluations and sweeps, where an
    operation of an evaluation costs as much as a multiplication of a sweep.  measured: in time; the compiled gradient
    against the compiled function.
    """

    n: int
    operations: int
    counted: Mapping[str, float]
    measured: Mapping[str, float]


def derivative_cost(f: F = lecture_function, *point: Any, copies: Sequence[int] = COPIES) -> DerivativeCost:
    """What a whole gradient costs by each way, as a multiple of one evaluation of the function.

    For a function of many inputs f is copied: f(x1, x2) + f(x3, x4) + ..., at the same point.  For n inputs forward
    differences take n + 1 evaluations, central ones 2n, forward mode n sweeps, and reverse mode one sweep, whatever n.
    Counted are operations, and of a sweep its multiplications (`Trace.multiplications`).  Measured is the least time of
    several, in units of one evaluation on plain floats, which records nothing; the compiled gradient in units of one
    compiled evaluation.  (Griewank and Walther, *Evaluating Derivatives*, 2nd ed., §4.6, bound it by 4 evaluations.)

    Raises DomainError where f has no value or derivative, ValueError for a number of copies below 1.

    >>> [cost] = derivative_cost(lecture_function, 2.0, 5.0, copies=[1]).rows
    >>> cost.operations, cost.counted["forward mode"] == (5 + 2 * 8) / 5, cost.counted["reverse mode"] == (5 + 8) / 5
    (5, True, True)
    """
    question = FunctionAtPoint(f, point)
    numbers = sorted({whole_number(k, "a number of copies") for k in copies})
    if not numbers:
        raise ValueError("there is nothing to measure: copies is empty")
    return DerivativeCost(question, numbers)


class DerivativeCost(Panel):
    """What `derivative_cost` counted and measured.  rows: a `Cost` for each number of inputs."""

    STYLES = {  # noqa: RUF012
        "forward differences": (VALUE, "o"),
        "central differences": (RIGHT, "s"),
        "forward mode": (THIRD, "^"),
        "reverse mode": (GRADIENT, "D"),
        COMPILED: (INK, "P"),
    }

    def __init__(self, question: FunctionAtPoint, copies: Sequence[int]) -> None:
        self.rows = _measure_costs(question, copies)
        last = self.rows[-1]
        by_count, by_clock = write_times(last.counted["reverse mode"]), write_times(last.measured["reverse mode"])
        self.remarks = [
            f"{counted(last.n, 'input')}: evaluation and reverse sweep cost {by_count} times the evaluation by count, "
            f"{by_clock} times by the clock, where they also record"
            + f"; compiled {write_times(last.measured.get(COMPILED, 0.0))} times"
            * (COMPILED in last.measured)
        ]
        if len(self.rows) < len(copies):
            self.remarks.append(f"stopped after {counted(last.n, 'input')}: more would take too long")

    @property
    def table(self) -> Table:
        """A row for each number of inputs."""
        methods = list(self.rows[0].measured)
        rows = [
            [count_cell(row.n), count_cell(row.operations), *[text_cell(_cost(row, m)) for m in methods]]
            for row in self.rows
        ]
        title = "The gradient in evaluations of f: counted / by the clock"
        return Table(title, list(map(text_cell, ("inputs", "operations of f", *methods))), rows)

    def draw_on(self, axis: Any) -> None:
        """The costs over the number of inputs, on logarithmic scales: filled marks are counted, open ones measured."""
        from matplotlib.ticker import NullLocator

        ns = [row.n for row in self.rows]
        for method in self.rows[0].measured:
            color, marker = self.STYLES[method]
            style = {"color": color, "marker": marker, "label": method}
            if method in self.rows[0].counted:
                axis.plot(ns, [row.counted[method] for row in self.rows], markersize=4.5, **style)
                style["label"] = ""
            times = [row.measured.get(method, math.nan) for row in self.rows]
            axis.plot(ns, times, ":", markersize=6, markerfacecolor=PAPER, **style)
        axis.plot([], [], ":", color=LINE, marker="o", markerfacecolor=PAPER, label="open marks: by the clock")
        log_axis(axis, "y")
        log_axis(axis, "x")
        axis.set_xticks(ns, [str(n) for n in ns])
        axis.xaxis.set_minor_locator(NullLocator())
        axis.set_xlabel("inputs n")
        axis.set_ylabel("evaluations of f")
        axis.set_title("automatic: the cost of the gradient")
        legend(axis)


def _cost(row: Cost, method: str) -> str:
    by_count = f"{write_number(row.counted[method], 3)} / " if method in row.counted else ""
    return by_count + write_times(row.measured.get(method, math.nan))


#: seconds of the processor, so that other programs do not count, after which no larger number of inputs is tried
CLOCK_PATIENCE = 1.2


def _measure_costs(question: FunctionAtPoint, copies: Sequence[int]) -> list[Cost]:
    start = process_time()
    rows = []
    for k in copies:
        rows.append(_measure_cost(question, k))
        if process_time() - start > CLOCK_PATIENCE:
            break
    return rows


def _measure_cost(question: FunctionAtPoint, copies: int) -> Cost:
    xs, on_numbers = question.point * copies, question.on_numbers

    def swept_forward() -> list[Any]:
        inputs = list(map(Value, xs))
        with recording(True):
            y = question(inputs)
        order = topological_order([y])
        return [tangents(order, {x: 1.0}).get(y, 0.0) for x in inputs]

    seconds = race(
        {
            "": lambda: on_numbers(xs),
            "forward differences": lambda: numerical_gradient(on_numbers, method="forward", step=FORWARD_STEP)(xs),
            "central differences": lambda: numerical_gradient(on_numbers, method="central", step=CENTRAL_STEP)(xs),
            "forward mode": swept_forward,
            "reverse mode": lambda: grad(question)(xs),
        }
    )
    unit = seconds.pop("")
    measured = {method: time / unit for method, time in seconds.items()}
    return Cost(len(xs), *_count(question, xs), measured | _measure_compiled(question, xs))


def _count(question: FunctionAtPoint, xs: Sequence[float]) -> tuple[int, dict[str, float]]:
    """The operations of one evaluation, and what each method takes in that unit."""
    inputs = list(map(Value, xs))
    with recording(True):
        tape = Tape(question(inputs), inputs=inputs)
    operations = count_operations(tape.operations)
    unit = max(1, operations)  # a function without operations costs one evaluation too
    forward = sum(tape.tangent({x: 1.0}).multiplications for x in inputs)
    return operations, {
        "forward differences": _evaluations(xs, "forward"),
        "central differences": _evaluations(xs, "central"),
        "forward mode": (unit + forward) / unit,
        "reverse mode": (unit + tape.adjoint().multiplications) / unit,
    }


def _evaluations(xs: Sequence[float], method: str) -> int:
    """How often differences call the function."""
    calls = 0

    def f(_: Any) -> float:
        nonlocal calls
        calls += 1
        return 0.0

    numerical_gradient(f, method=method, step=1.0)(xs)
    return calls


def race(work: Mapping[str, Callable[[], Any]]) -> dict[str, float]:
    """The seconds of a call of each: the least of several turns, since other programs make some turns longer.

    They take turns, so that a machine that is slow for a while is slow for all of them.  The time of what fails is NaN.
    """
    calls, least = {}, dict.fromkeys(work, math.nan)
    for name, run in work.items():
        with suppress(ArithmeticError, ValueError, TypeError):  # differences may need f where f has no value
            run()  # a first call may prepare the next ones
            least[name] = _timed(run, 1)
            calls[name] = max(1, int(1e-3 / least[name]))
    for _ in range(7):
        for name, run in work.items():
            if least[name] < 0.1:
                least[name] = min(least[name], _timed(run, calls[name]))
    return least


def _timed(run: Callable[[], Any], calls: int) -> float:
    return max(timeit(run, number=calls) / calls, 1e-9)


def _measure_compiled(question: FunctionAtPoint, xs: Sequence[float]) -> dict[str, float]:
    """The compiled gradient in evaluations of the compiled function; nothing where it cannot be."""
    if not find_spec("numpy"):
        return {}
    from tinygrad_vi.compiler import compile

    step = compile(question, backend="numpy")
    try:
        step.value_and_grad(xs)
    except (ArithmeticError, ValueError, TypeError, NameError, LookupError):  # such as an `if` on a Value
        return {}
    seconds = race({"gradient": lambda: step.grad(xs), "value": lambda: step(xs)})
    return {COMPILED: seconds["gradient"] / seconds["value"]}
