"""Numerical differentiation: how its error depends on the step."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tinygrad_vi.checks import number
from tinygrad_vi.derivatives import grad
from tinygrad_vi.differences import corner
from tinygrad_vi.graph import topological_order
from tinygrad_vi.numerical import rounded_size
from tinygrad_vi.show.palette import GRADIENT, LINE, PAPER, RIGHT, VALUE
from tinygrad_vi.show.tapes.table import Table
from tinygrad_vi.show.ways.at_a_point import F, FunctionAtPoint, lecture_function
from tinygrad_vi.show.ways.report import Panel, legend, log_axis, number_cell, text_cell
from tinygrad_vi.show.writing.formula import Symbol
from tinygrad_vi.show.writing.numerals import write_number
from tinygrad_vi.sweep import adjoints
from tinygrad_vi.value import Value, no_grad, recording

EPSILON = 2.0**-52
STEPS = tuple(float(f"1e-{k}") for k in range(1, 16))


@dataclass(frozen=True)
class Difference:
    """A derivative by differences with the step h, and its error; both NaN where the function has no value."""

    h: float
    estimate: float
    error: float


def numerical_error(
    f: F = lecture_function, *point: Any, by: int | str = 0, steps: Sequence[float] = STEPS
) -> NumericalError:
    """The error of forward and central differences by one input over the step h, against the automatic derivative.

    It has the shape of a U.  A large h pays for how f bends, with h |f''| / 2 or h**2 |f'''| / 6; a small one for the
    rounding of f, with about eps |f| / h, or more where f is a small sum of large terms or x is large.  The best lie
    between, near the square and the cube root of eps = 2**-52.
    by: an input, by its name or its place.  (Press et al., *Numerical Recipes*, 3rd ed., §5.7.)

    Raises DomainError where the function has no derivative, ValueError for an unknown input or a step that is not
    positive, TypeError without a point.

    >>> found = numerical_error(lecture_function, 2.0, 5.0)
    >>> found.derivative, found.best["forward"].h, found.best["central"].h
    (5.5, 1e-07, 1e-05)
    """
    question = FunctionAtPoint(f, point)
    for h in steps:
        if not 0.0 < number(h, "a step") < math.inf:
            raise ValueError(f"a step must be positive and finite, got {h}")
    if not len(steps):
        raise ValueError("there is no step to try: steps is empty")
    return NumericalError(question, question.index(by), sorted(map(float, steps), reverse=True))


class NumericalError(Panel):
    """What `numerical_error` measured.

    derivative: by automatic differentiation.  differences: a list of `Difference` for "forward" and for "central".
    best: the most accurate of each.  truncation: its law c * h**p, as (c, p).  rounding: that of f, times 1/h its law.
    theory: the best step and its error by both laws, where there are any.  kink: the slopes from the left and from the
    right, where they are not the same; infinite on the side of a jump.
    """

    #: color, marker and line
    STYLES = {"forward": (VALUE, "o", "-"), "central": (RIGHT, "s", "--")}  # noqa: RUF012
    LAWS = {"forward": "h|f ″| / 2", "central": "h²|f ‴| / 6"}  # noqa: RUF012

    def __init__(self, question: FunctionAtPoint, i: int, steps: Sequence[float]) -> None:
        def along(x: Any) -> Value:
            return question.along(i, x)

        def value(x: float) -> float:
            with no_grad():
                return along(x).data

        x = question.point[i]
        self.name, self.at = question.names[i], str(question)
        self.derivative: float = grad(along)(x)
        self.value = value(x)
        self.differences = {
            method: [_difference(value, x, h, method, self.derivative) for h in steps] for method in self.STYLES
        }
        known = {method: [d for d in row if not math.isnan(d.error)] for method, row in self.differences.items()}
        self.best = {method: min(row, key=lambda d: d.error) for method, row in known.items() if row}
        self.kink = corner(lambda x: _measured(along, x), x)
        self.largest_term = max(abs(self.value), *_terms(along, x))
        self.rounding = EPSILON * self.largest_term
        self.truncation = {
            "forward": (abs(_derivative(along, x, order=2)) / 2.0, 1),
            "central": (abs(_derivative(along, x, order=3)) / 6.0, 2),
        }
        optima = {method: _optimum(self.rounding, *law) for method, law in self.truncation.items() if not self.kink}
        self.theory = {method: found for method, found in optima.items() if found}
        self.remarks = [*self._remarks_on_the_best(), *self._remarks_on_trouble()]

    def _remarks_on_the_best(self) -> list[str]:
        remarks = []
        for method, found in ({} if self.kink else self.best).items():
            error = f"error {write_number(found.error, 2)}" if found.error else "exact"
            remarks.append(f"{method}: best h = {write_number(found.h, 2)}, {error}")
            if method in self.theory:
                h, least = (write_number(x, 2) for x in self.theory[method])
                remarks[-1] += f" (by theory h = {h}, error {least})"
        return remarks

    def _remarks_on_trouble(self) -> list[str]:
        remarks = []
        for method, row in self.differences.items():
            missing = [k for k, d in enumerate(row) if math.isnan(d.error)]
            if missing:
                remarks.append(
                    f"no {method} difference for h = {_runs(row, missing)}: f has no value where it would need one, or "
                    "the quotient overflows"
                )
        if self.kink:
            left, right = map(write_number, self.kink)
            answer = f"automatic differentiation answers {write_number(self.derivative)}, by convention"
            jumps = [side for side, slope in zip(("left", "right"), self.kink, strict=True) if math.isinf(slope)]
            if jumps:
                where = f"on the {' and on the '.join(jumps)}"
                remarks.append(f"a jump {where}: differences grow without end as h shrinks; {answer}")
            else:
                remarks.append(
                    f"a kink: differences tend to {left} from the left and to {right} from the right; {answer}"
                )
        return remarks

    @property
    def table(self) -> Table:
        """A row for each step."""
        rows = []
        for pair in zip(*self.differences.values(), strict=True):
            row = [Symbol.of(pair[0].h)]
            for method, d in zip(self.differences, pair, strict=True):
                error = number_cell(d.error)
                if d is self.best.get(method):
                    error = Symbol(f"{error.text} ← best", rf"\mathbf{{{error.latex}}}")
                row += [number_cell(d.estimate, 11), error]
            rows.append(row)
        headers = ("h", "forward difference", "error", "central difference", "error")
        title = f"Derivative by {self.name} at {self.at}: {self.derivative!r} by automatic differentiation"
        return Table(title, list(map(text_cell, headers)), rows)

    def draw_on(self, axis: Any) -> None:
        """The errors over h, both on logarithmic scales, with the lines of the theory."""
        precision = EPSILON * abs(self.derivative)  # the error of rounding the derivative itself
        errors = [d.error for row in self.differences.values() for d in row if d.error > 0.0]
        shown = [*errors, precision] if precision > 0.0 else errors
        shown = shown or [1e-16]
        low, high = 10.0 ** math.floor(math.log10(min(shown)) - 0.2), 10.0 ** math.ceil(math.log10(max(shown)) + 0.2)
        for method, row in self.differences.items():
            self._draw_differences(axis, method, row, bottom=low * (high / low) ** 0.03)
        steps = [d.h for d in self.differences["forward"]]
        ends = min(steps), max(steps)
        if errors and 0.0 < self.rounding < math.inf:
            size = "ε|f|" if self.largest_term == abs(self.value) else "ε · largest term"
            axis.plot(ends, [self.rounding / h for h in ends], ":", color=LINE, label=f"rounding: {size} / h")
        for method, (c, p) in self.truncation.items():
            if 0.0 < c < math.inf:
                line = {"color": self.STYLES[method][0], "linewidth": 1, "linestyle": "-." if p == 1 else ":"}
                axis.plot(ends, [c * h**p for h in ends], label=f"truncation: {self.LAWS[method]}", **line)
        if precision:
            axis.axhline(precision, color=GRADIENT, linewidth=1, linestyle=(0, (8, 4)), label="automatic: about ε|f ′|")
        log_axis(axis, "x")
        log_axis(axis, "y")
        axis.set_ylim(low, high)
        axis.set_xlabel("step h")
        axis.set_ylabel("error")
        axis.set_title("numerical: the error by the step")
        legend(axis)

    def _draw_differences(self, axis: Any, method: str, row: Sequence[Difference], bottom: float) -> None:
        from matplotlib.patheffects import withStroke

        color, marker, line = self.STYLES[method]
        open_face, size = (
            ("none", 7.0) if method == "central" else (color, 4.5)
        )  # where the lines coincide both can be seen
        points = [(d.h, d.error if d.error > 0.0 else math.nan) for d in row]
        if not all(math.isnan(error) for _, error in points):
            style = {"color": color, "marker": marker, "linestyle": line, "markersize": size}
            style["markerfacecolor"] = open_face
            axis.plot(*zip(*points, strict=True), label=f"{method} difference", **style)
        exact = [d.h for d in row if d.error == 0.0]
        if exact:  # a logarithmic scale has no 0
            axis.plot(exact, [bottom] * len(exact), "v", color=color, markersize=size + 1.5, markerfacecolor=open_face,
                      label=f"{method}: error 0")  # fmt: skip
        best = self.best.get(method)
        if best and best.error > 0.0 and not self.kink:
            axis.plot(best.h, best.error, "*", color=color, markersize=15, markeredgecolor=PAPER)
            words = f"best h = {write_number(best.h)}"
            offset = 24 if method == "forward" else -16  # inside one U, below the other
            axis.annotate(words, (best.h, best.error), (0, offset), textcoords="offset points", color=color, fontsize=9,
                          ha="center", path_effects=[withStroke(linewidth=3, foreground=PAPER)])  # fmt: skip


def _runs(row: Sequence[Difference], places: Sequence[int]) -> str:
    """The steps at these places: neighbours as a range, from the smallest on."""
    runs: list[list[int]] = []
    for k in reversed(places):
        if runs and runs[-1][-1] == k + 1:
            runs[-1].append(k)
        else:
            runs.append([k])
    ends = [[write_number(row[k].h) for k in dict.fromkeys((run[0], run[-1]))] for run in runs]
    return ", ".join(map(" to ".join, ends))


def _difference(f: Callable[[float], float], x: float, h: float, method: str, derivative: float) -> Difference:
    try:
        estimate = (f(x + h) - f(x)) / h if method == "forward" else (f(x + h) - f(x - h)) / (2.0 * h)
    except (ArithmeticError, ValueError):  # one of the points lies outside of the domain
        estimate = math.nan
    estimate = estimate if math.isfinite(estimate) else math.nan
    return Difference(h, estimate, abs(estimate - derivative))


def _measured(along: Callable[[Any], Value], x: float) -> tuple[float, float]:
    """The value of f, and how much was rounded on the way to it."""
    with recording(True):
        y = along(Value(x))
    return y.data, rounded_size(y)


def _terms(along: Callable[[Any], Value], x: float) -> list[float]:
    """What x and every recorded number contribute to f: the number times the derivative of f by it."""
    variable = Value(x)
    with recording(True):
        y = along(variable)
    order = topological_order([y])
    adjoint = adjoints(order, {y: 1.0})
    terms = [abs(node.data * adjoint.get(node, 0.0)) for node in (variable, *order)]
    return [term for term in terms if math.isfinite(term)] or [0.0]


def _derivative(f: F, x: float, order: int) -> float:
    """A higher derivative; NaN where there is none."""
    for _ in range(order):
        f = grad(f)
    try:
        return float(f(x))
    except (ArithmeticError, ValueError):
        return math.nan


def _optimum(rounding: float, c: float, p: int) -> tuple[float, float] | None:
    """The step h at which rounding / h + c * h**p is smallest, and that error."""
    if not (0.0 < rounding < math.inf and 0.0 < c < math.inf):
        return None
    h = (rounding / (p * c)) ** (1.0 / (p + 1))
    return h, rounding / h + c * h**p
