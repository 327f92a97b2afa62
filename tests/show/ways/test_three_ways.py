"""The three ways to a derivative: errors against mpmath, sizes against SymPy, costs against counts made by hand."""

import importlib.util
import math
import struct
import sys
import warnings
from itertools import pairwise

import mpmath
import numpy as np
import pytest
import sympy
from judges import ordinary_points

from tinygrad_vi import (
    DomainError,
    Value,
    exp,
    gelu,
    log,
    logsumexp,
    losses,
    nn,
    relu,
    rows,
    sigmoid,
    sin,
    sqrt,
    step,
    tanh,
    total,
    where,
)
from tinygrad_vi.ops import exponential, power
from tinygrad_vi.rows import OPERATIONS, apply
from tinygrad_vi.show.ways import (
    automatic,
    derivative_cost,
    expression_growth,
    lecture_function,
    numerical_error,
    symbolic,
    three_ways,
)
from tinygrad_vi.show.ways.automatic import COMPILED
from tinygrad_vi.show.ways.numerical import Difference


def cells(table):
    return [[cell.text for cell in cells] for cells in table.rows]


def texts(plot):
    from matplotlib.text import Text

    return " ".join(t.get_text() for t in plot.figure.findobj(Text))


# --- numerical --------------------------------------------------------------------------------------------------------


def exact_lecture_function(x1, x2=5):
    return mpmath.log(x1) + x1 * x2 - mpmath.sin(x2)


def true_error(f, derivative, x, h, method):
    """The error of a difference in exact arithmetic: what is left of it when nothing is rounded."""
    with mpmath.workdps(60):
        x, h = mpmath.mpf(x), mpmath.mpf(h)
        if method == "forward":
            return float(abs((f(x + h) - f(x)) / h - derivative(x)))
        return float(abs((f(x + h) - f(x - h)) / (2 * h) - derivative(x)))


@pytest.mark.parametrize("method", ["forward", "central"])
def test_the_errors_are_those_of_exact_arithmetic_and_of_rounding(method):
    found = numerical_error(lecture_function, 2.0, 5.0)
    assert [d.h for d in found.differences[method]] == [10.0**-k for k in range(1, 16)]
    smooth = 0
    for d in found.differences[method]:
        exact = true_error(exact_lecture_function, lambda x: 1 / x + 5, 2.0, d.h, method)
        rounding = 4 * 2.0**-52 * 11.652 / d.h  # of x + h, of the two values, of their difference
        assert abs(d.error - exact) < rounding
        smooth += rounding < 0.01 * exact
    assert smooth >= 3  # where the comparison says something about the formula


def test_seed_B10():
    found = numerical_error(lecture_function, 2.0, 5.0)
    assert found.derivative == 5.5
    errors = {method: {d.h: d.error for d in row} for method, row in found.differences.items()}
    for h, error in {1e-1: 1.21e-2, 1e-2: 1.25e-3, 1e-4: 1.25e-5, 1e-6: 1.2e-7}.items():
        assert errors["forward"][h] == pytest.approx(error, rel=0.04)
    for h, error in {1e-8: 1e-7, 1e-10: 8e-6, 1e-12: 4e-4, 1e-14: 0.18}.items():
        assert error / 5 < errors["forward"][h] < 5 * error
    for h, error in {1e-1: 4.2e-4, 1e-2: 4.2e-6, 1e-4: 4e-10}.items():
        assert errors["central"][h] == pytest.approx(error, rel=0.1)
    assert 1e-9 < found.best["forward"].h < 1e-6
    assert 1e-6 < found.best["central"].h < 1e-3
    assert found.best["forward"].error == min(errors["forward"].values())


def test_the_theory_is_that_of_mpmaths_higher_derivatives():
    found = numerical_error(lambda x: exp(sin(x)) * x, 1.3)

    def f(x):
        return mpmath.exp(mpmath.sin(x)) * x

    with mpmath.workdps(30):
        second, third = float(mpmath.diff(f, 1.3, 2)), float(mpmath.diff(f, 1.3, 3))
        value = float(f(mpmath.mpf(1.3)))
    assert found.truncation == {
        "forward": (pytest.approx(abs(second) / 2, rel=1e-10), 1),
        "central": (pytest.approx(abs(third) / 6, rel=1e-10), 2),
    }
    # of f, and of x times the slope, since x + h is rounded
    assert found.rounding == pytest.approx(2.0**-52 * max(value, 1.3 * found.derivative), rel=1e-12)
    for method, (c, p) in found.truncation.items():
        h, least = found.theory[method]
        around = [found.rounding / (h * t) + c * (h * t) ** p for t in (0.9, 0.999, 1.0, 1.001, 1.1)]
        assert least == pytest.approx(min(around), rel=1e-12)
        assert around[2] == min(around)
        assert 0.03 < found.best[method].h / h < 30
    assert "by theory h = " in repr(found)


def test_another_input_is_chosen_by_name_or_place():
    by_name = numerical_error(lecture_function, 2.0, 5.0, by="x2")
    assert by_name.derivative == pytest.approx(2 - math.cos(5), rel=1e-15)
    assert by_name.differences == numerical_error(lecture_function, 2, 5, by=1).differences
    assert "Derivative by x2 at x1 = 2, x2 = 5" in repr(by_name)
    of_list = numerical_error(lambda v: v[0] * v[1], [3.0, 2.0], by="x2", steps=[0.5])
    assert (of_list.derivative, of_list.best["central"].error) == (3.0, 0.0)


def test_the_steps_may_be_given_in_any_order():
    found = numerical_error(lambda x: x * x, 1.0, steps=[1e-3, 0.25])
    assert found.differences["forward"][0] == Difference(0.25, 2.25, 0.25)
    assert cells(found.table)[0] == ["0.25", "2.25", "0.25", "2", "0 ← best"]


def test_where_the_function_has_no_value_there_is_no_difference():
    found = numerical_error(log, 1e-3)
    missing = [d.h for d in found.differences["central"] if math.isnan(d.error)]
    assert missing == [0.1, 0.01, 0.001]
    assert not any(math.isnan(d.error) for d in found.differences["forward"])
    assert "no central difference for h = 0.001 to 0.1" in repr(found)
    assert cells(found.table)[0][3:] == ["—", "—"]
    assert found.plot.save  # drawn, without a warning
    with pytest.raises(DomainError, match=r"log\(x\) needs x > 0, got x = 0.0"):
        numerical_error(log, 0.0)
    with pytest.raises(DomainError, match=r"has no finite derivative at x = 0\.0"):
        numerical_error(sqrt, 0.0)


def test_a_python_condition_and_methods_of_values_are_fine():
    assert numerical_error(lambda x: x.relu() if x > 0 else x, 2.0).derivative == 1.0


@pytest.mark.parametrize(
    ("f", "x", "left", "right"),
    [
        (relu, 0.0, 0.0, 1.0),
        (lambda x: abs(x - 2.0) + 7.0, 2.0, -1.0, 1.0),
        (lambda x: relu(x) + 100 * x * x + 3, 0.0, 0.0, 1.0),
        (lambda x: where(x, 3 * x, sin(x)), 0.0, 1.0, 3.0),
    ],
)
def test_a_kink_is_told_from_a_curve(f, x, left, right):
    found = numerical_error(f, x)
    assert found.kink == (pytest.approx(left, abs=1e-2), pytest.approx(right, abs=1e-2))
    assert "a kink: differences tend to" in repr(found)
    assert found.theory == {}


def test_a_jump_is_no_smooth_place_either():
    found = numerical_error(step, 0.0)
    assert found.kink == (0.0, math.inf)
    assert "a jump on the right: differences grow without end as h shrinks; automatic" in repr(found)


@pytest.mark.parametrize(
    ("f", "x"),
    [
        (lecture_function, (2.0, 5.0)),
        (lambda x: x * x, (0.0,)),
        (lambda x: x**4, (0.0,)),
        (lambda x: 1e6 * x**3, (1.0,)),
        (lambda x: sin(1000 * x), (0.3,)),
        (log, (1e-6,)),
        (sin, (1e8,)),
        (lambda x: abs(x) ** 1.5, (1e-3,)),
        (lambda x: 3.0, (1.0,)),
        (exp, (-700.0,)),
    ],
)
def test_smooth_functions_have_no_kink(f, x):
    assert numerical_error(f, *x).kink is None


def test_seed_B37k_a_gradient_check_at_a_kink_lies():
    W, b = [[[1, -1], [0.5, 2], [-1, 1]], [[1, -0.5, 2]]], [[0, -1, 0.5], [0.25]]

    def J(b13):
        model = nn.MLP.from_weights(W, [[0, -1, b13], b[1]], activation="relu", output_activation="sigmoid")
        return losses.bce([model([1.0, 0.5]), model([0.0, 2.0])], [1, 0])

    found = numerical_error(J, 0.5)
    left, right = found.kink
    assert right - left == pytest.approx(-2 * 0.188770334, rel=1e-3)
    assert found.differences["central"][5].error == pytest.approx(0.188770334, rel=1e-3)
    assert numerical_error(J, 0.25).kink is None


@pytest.mark.parametrize("f", [lambda x: 3.0, lambda x: 0.0 * x, lambda x: x * x])
def test_an_error_of_exactly_0_is_drawn_at_the_bottom(f):
    found = numerical_error(f, 0.0)
    assert found.best["central"].error == 0.0
    assert "central: best h = 0.1, exact" in repr(found)
    axis = found.plot.figure.axes[0]
    bottom = [line for line in axis.lines if line.get_label() == "central: error 0"]
    assert len(bottom[0].get_xdata()) == 15
    low, high = axis.get_ylim()
    assert low < bottom[0].get_ydata()[0] < high


def test_the_figure_shows_the_measured_numbers_and_the_theory():
    found = numerical_error(lecture_function, 2.0, 5.0)
    axis = found.plot.figure.axes[0]
    lines = {line.get_label(): line for line in axis.lines}
    assert list(lines["forward difference"].get_ydata()) == [d.error for d in found.differences["forward"]]
    ends = [1e-15, 0.1]
    assert list(lines["truncation: h|f ″| / 2"].get_ydata()) == pytest.approx([h * 0.25 / 2 for h in ends])
    assert list(lines["truncation: h²|f ‴| / 6"].get_ydata()) == pytest.approx([h * h * 0.25 / 6 for h in ends])
    value = math.log(2) + 10 - math.sin(5)
    assert list(lines["rounding: ε|f| / h"].get_ydata()) == pytest.approx([2.0**-52 * value / h for h in ends])
    assert (axis.get_xscale(), axis.get_yscale()) == ("log", "log")
    assert "best h = 1e-7" in texts(found.plot)


# --- symbolic ---------------------------------------------------------------------------------------------------------


def nested(f, depth):
    x = sympy.Symbol("x", real=True)
    y = x
    for _ in range(depth):
        y = f(y)
    return y, sympy.diff(y, x)


@pytest.mark.parametrize(
    ("ours", "sympys"),
    [
        (lambda x: 4 * x * (1 - x), lambda x: 4 * x * (1 - x)),
        (sigmoid, lambda x: 1 / (1 + sympy.exp(-x))),
        (lambda x: sin(x * x), lambda x: sympy.sin(x * x)),
        (lambda x: tanh(x) * exp(-x), lambda x: sympy.tanh(x) * sympy.exp(-x)),
    ],
)
def test_the_sizes_are_sympys(ours, sympys):
    found = expression_growth(ours, 0.3, depth=4)
    assert [row.depth for row in found.rows] == [1, 2, 3, 4]
    for row in found.rows:
        f, derivative = nested(sympys, row.depth)
        assert row.function == sympy.count_ops(f)
        assert row.derivative == sympy.count_ops(derivative)
        parts, rest = sympy.cse([f, derivative])
        assert row.shared == sum(sympy.count_ops(e) for e in [*(part for _, part in parts), *rest])
        assert row.difference < 1e-12


def test_the_record_grows_by_a_constant_where_the_formula_doubles():
    found = expression_growth(lambda x: 4 * x * (1 - x), 0.3, depth=8)
    records = [row.record for row in found.rows]
    # a level computes 4*x, 1 - x and their product, and back 2 products for it, 1 for 4*x, 1 for 1 - x, and their sum;
    # at the top the two products with the seed 1 are spared
    assert records == [6 + 8 * k for k in range(8)]
    written = [row.derivative for row in found.rows]
    assert all(later > 2 * sooner for sooner, later in pairwise(written))
    assert found.rows[-1].shared < found.rows[-1].derivative / 50
    assert "8 nested calls, operations: 13,824 of f′ written out, 158 of f and f′ with parts shared, 62" in repr(found)


def test_seed_B13_paths_are_not_walked_one_by_one():
    doubled = expression_growth(lambda x: x + x, 1.0, depth=30)
    assert [row.record for row in doubled.rows] == list(range(1, 31))  # on 2**30 paths
    assert doubled.rows[-1].difference == 0.0


@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_every_operation_has_a_formula_with_the_same_derivative(name):
    op = OPERATIONS[name]
    points = ordinary_points(op)[:4]
    assert points
    for point in points:
        for i in range(len(point)):
            found = expression_growth(lambda *xs: apply(op, *xs), *point, by=i, depth=1)
            assert found.rows[0].difference < 1e-9


@pytest.mark.parametrize("op", [power(3.0), power(-1.0), power(0.3), power(0.0), exponential(2.0), exponential(0.7)])
def test_families_bring_their_constants(op):
    for x in (0.4, 1.7):
        assert expression_growth(lambda x: apply(op, x), x, depth=1).rows[0].difference < 1e-12


def test_an_operation_without_a_formula_says_so(monkeypatch):
    monkeypatch.setattr("tinygrad_vi.rows.OWN", {})  # the row must not be seen by other tests
    softsign = rows.row(
        "squash", lambda x: x / (1 + math.fabs(x)), lambda out, x: (1 / (1 + abs(x)) ** 2,), "x / (1 + |x|)"
    )
    message = (
        r"the symbolic way knows no formula for the operation 'squash': give it one, sympy=lambda x: \.\.\. on form"
    )
    for way in (expression_growth, three_ways):
        with pytest.raises(ValueError, match=message):
            way(softsign, 0.5)
    assert numerical_error(softsign, 1.0).derivative == 0.25
    assert derivative_cost(softsign, 1.0, copies=[1]).rows[0].operations == 1


def test_it_stops_before_formulas_grow_too_large_and_says_so():
    found = expression_growth(lambda x: x * x * exp(x) + x / (1 + x * x), 0.1, max_operations=500)
    assert 0 < len(found.rows) < 10
    assert f"stopped before depth {len(found.rows) + 1} of 10: it would have about" in repr(found)
    with pytest.raises(ValueError, match="it would have about 36 operations, more than 35"):
        expression_growth(lambda x: total([x**k for k in range(2, 7)]), 0.5, max_operations=35)


def test_it_stops_where_the_function_ends_or_sympy_takes_long(monkeypatch):
    found = expression_growth(log, 2.0)
    assert len(found.rows) == 2
    assert "stopped before depth 3 of 10: log(x) needs x > 0, got x = -0.36" in repr(found)
    assert "f is inf" in repr(expression_growth(lambda x: x * x, 1e100))
    monkeypatch.setattr(symbolic, "SYMPY_PATIENCE", 0.0)
    slow = expression_growth(sin, 2.0)
    assert len(slow.rows) == 1
    assert "stopped before depth 2 of 10: SymPy would take too long" in repr(slow)
    assert "stopped" not in repr(expression_growth(sin, 2.0, depth=1))


def test_the_other_inputs_keep_their_numbers():
    found = expression_growth(lambda a, b: a * b + sin(b), 2.0, 3.0, depth=3)
    x = sympy.Symbol("x")
    y = x
    for row_ in found.rows:
        y = y * 3 + sympy.Float(math.sin(3))
        assert row_.function == sympy.count_ops(y)
    assert [row_.record for row_ in found.rows] == [
        2,
        4,
        6,
    ]  # the slope 27 is a constant, and nothing is recorded for it


@pytest.mark.parametrize("f", [lambda x: 3.0, lambda x: x, lambda x: 3 * x, step])
def test_derivatives_without_an_operation_are_drawn_at_0(f):
    found = expression_growth(f, 0.0, depth=3)
    assert found.rows[-1].derivative == 0
    axis = found.plot.figure.axes[0]
    assert axis.get_yscale() == "symlog"
    assert axis.get_ylim()[0] < 0


def test_a_formula_that_loses_digits_says_so():
    found = expression_growth(gelu, -10.0, depth=1)
    assert found.rows[0].difference == pytest.approx(1.0)
    assert "the formula loses digits: its value is off by a relative 1" in repr(found)
    overflowing = expression_growth(lambda x: logsumexp([x, 1000.0]), 1000.0, depth=1)
    assert math.isnan(overflowing.rows[0].difference)
    assert "same value" not in repr(overflowing)


def test_the_size_figure_shows_the_rows():
    found = expression_growth(depth=5)
    axis = found.plot.figure.axes[0]
    lines = {line.get_label(): list(line.get_ydata()) for line in axis.lines}
    assert lines["f′ written out"] == [2, 10, 33, 93, 241]
    assert lines["f and f′, our record"] == [6, 14, 22, 30, 38]
    assert "241" in texts(found.plot).split()
    assert cells(found.table)[1] == ["2", "11", "10", "16", "14"]


# --- automatic --------------------------------------------------------------------------------------------------------


def test_the_counts_of_the_lecture_function_by_hand():
    """ln, *, sin, + and - are 5 operations with 8 operands: a sweep takes 8 products (B08: 2 sweeps against 1)."""
    one, two = derivative_cost(lecture_function, 2.0, 5.0, copies=[1, 2]).rows
    assert (one.n, one.operations) == (2, 5)
    assert one.counted == {
        "forward differences": 3,
        "central differences": 4,
        "forward mode": (5 + 2 * 8) / 5,
        "reverse mode": (5 + 8) / 5,
    }
    assert (two.n, two.operations) == (4, 11)  # two copies and a sum
    assert two.counted["forward mode"] == (11 + 4 * 18) / 11
    assert two.counted["reverse mode"] == (11 + 18) / 11
    assert (two.counted["forward differences"], two.counted["central differences"]) == (5, 8)


@pytest.mark.parametrize("n", [2, 3, 10])
def test_the_counts_of_a_product_by_hand(n):
    """n - 1 products have 2 (n - 1) operands."""

    def product(xs):
        y = xs[0]
        for x in xs[1:]:
            y = y * x
        return y

    [found] = derivative_cost(product, [1.5] * n, copies=[1]).rows
    assert found.operations == n - 1
    assert found.counted["forward mode"] == 1 + 2 * n
    assert found.counted["reverse mode"] == 3.0
    assert found.counted["forward differences"] == n + 1
    assert found.counted["central differences"] == 2 * n


def test_a_sum_of_many_terms_counts_as_that_many_sums():
    [found] = derivative_cost(lambda xs: total(xs), [1.0] * 9, copies=[1]).rows
    assert found.operations == 8
    assert found.counted["reverse mode"] == (8 + 9) / 8


def test_reverse_mode_does_not_depend_on_the_number_of_inputs():
    rows = derivative_cost(lambda a, b: tanh(a * b) + exp(a), 0.5, -1.0, copies=[1, 4, 16]).rows
    assert [r.n for r in rows] == [2, 8, 32]
    reverse, forward = ([r.counted[m] for r in rows] for m in ("reverse mode", "forward mode"))
    assert max(reverse) < 4
    assert forward[2] > 10 * forward[0]


def test_times_are_ratios_and_nothing_more_is_said_of_them():
    for found in derivative_cost(copies=[1, 3]).rows:
        assert set(found.measured) == {*found.counted, COMPILED}
        assert all(0.0 < time < math.inf for time in found.measured.values())


def test_what_cannot_be_compiled_or_has_no_numpy_is_measured_without(monkeypatch):
    assert COMPILED not in derivative_cost(lambda x: x if x > 0 else -x, 1.0, copies=[1]).rows[0].measured
    find = importlib.util.find_spec
    monkeypatch.setattr(automatic, "find_spec", lambda name: None if name == "numpy" else find(name))
    found = derivative_cost(copies=[1])
    assert COMPILED not in found.rows[0].measured
    assert "compiled" not in repr(found) + texts(found.plot)


def test_it_stops_when_a_number_of_inputs_took_long(monkeypatch):
    monkeypatch.setattr(automatic, "CLOCK_PATIENCE", 0.0)
    found = derivative_cost(copies=[2, 1])
    assert [r.n for r in found.rows] == [2]
    assert "stopped after 2 inputs: more would take too long" in repr(found)


def test_where_differences_cannot_be_taken_there_is_no_time():
    [found] = derivative_cost(log, 1e-6, copies=[1]).rows  # x - h is below 0
    assert math.isnan(found.measured["central differences"])
    assert found.counted["central differences"] == 2
    assert derivative_cost(log, 1e-6, copies=[1]).plot.figure
    assert "2 / —" in repr(three_ways(log, 1e-6))


@pytest.mark.parametrize("f", [lambda x: 3.0, lambda x: x, lambda x: 3])
def test_functions_that_compute_nothing_have_a_cost_too(f):
    found = derivative_cost(f, 2.0, copies=[1, 2])
    assert found.rows[0].operations == 0
    assert found.rows[0].counted["reverse mode"] == 1.0
    assert found.plot.figure.axes[0].get_yscale() == "log"


def test_the_cost_figure_shows_the_rows():
    found = derivative_cost(copies=[1, 2])
    lines = [list(line.get_ydata()) for line in found.plot.figure.axes[0].lines]
    for method in found.rows[0].counted:
        assert [r.counted[method] for r in found.rows] in lines
        assert [r.measured[method] for r in found.rows] in lines
    assert [cell.split(" / ")[0] for cell in cells(found.table)[0][:6]] == ["2", "5", "3", "4", "4.2", "2.6"]


# --- all three --------------------------------------------------------------------------------------------------------


def test_all_three_ways_with_their_errors_by_mpmath():
    found = three_ways(lambda x, y: exp(sin(x)) / y + x**3, 1.3, 0.7, by="x")
    with mpmath.workdps(50):
        x, y = mpmath.mpf(1.3), mpmath.mpf(0.7)
        truth = mpmath.exp(mpmath.sin(x)) * mpmath.cos(x) / y + 3 * x**2
        for way in found.rows:
            assert way.error == pytest.approx(float(abs(mpmath.mpf(way.estimate) - truth)), rel=1e-9, abs=1e-30)
    errors = {way.name: way.error for way in found.rows}
    assert list(errors) == [
        "forward differences",
        "central differences",
        "formulas, written out",
        "formulas, parts shared",
        "forward mode",
        "reverse mode",
    ]
    assert max(errors["reverse mode"], errors["forward mode"], errors["formulas, written out"]) < 4e-15
    assert 1e-12 < errors["central differences"] < errors["forward differences"] < 1e-6


@pytest.mark.slow
def test_the_rows_of_the_lecture_function():
    found = three_ways()
    assert repr(found.rows) == repr(found.rows)
    ways = {way.name: way for way in found.rows}
    assert (
        ways["reverse mode"].estimate == ways["forward mode"].estimate == ways["formulas, written out"].estimate == 5.5
    )
    assert ways["formulas, written out"].size == 4  # x2 + 1/x1 and x1 - cos(x2)
    assert ways["reverse mode"].size == 5
    assert (ways["forward differences"].counted, ways["central differences"].counted) == (3, 4)
    assert (ways["forward mode"].counted, ways["reverse mode"].counted) == (21 / 5, 13 / 5)
    assert all(way.measured > 0.0 for way in found.rows)
    assert [row_[0] for row_ in cells(found.table)] == list(ways)
    assert len(found.plot.figure.axes) == 3


def test_where_the_formula_has_no_value_there_is_no_error_to_tell():
    ways = {way.name: way for way in three_ways(lambda x, y: x**y, 0.0, 2.0, by="y").rows}
    assert ways["reverse mode"].estimate == 0.0
    assert math.isnan(ways["reverse mode"].error)


def test_parameters_may_have_the_names_of_functions():
    assert three_ways(lambda exp, step: sin(exp) * relu(step), 0.5, 2.0, by="exp").rows[2].error < 1e-15


def test_where_a_formula_overflows_automatic_differentiation_does_not():
    found = {way.name: way for way in three_ways(lambda a, b: logsumexp([a, b]), 1000.0, 999.0).rows}
    assert math.isnan(found["formulas, written out"].estimate)
    assert found["reverse mode"].estimate == pytest.approx(1 / (1 + math.exp(-1)), rel=1e-15)
    assert found["reverse mode"].error < 1e-15


def test_formulas_of_a_large_function_are_not_made():
    model = nn.MLP(8, [8, 8, 1], activation="tanh", seed=0)
    with pytest.raises(
        ValueError, match=r"the formulas of all derivatives would have about .* numerical_error and deri"
    ):
        three_ways(lambda *xs: model(list(xs)), *[0.1] * 8)
    deep = nn.MLP(8, [8, 8, 8, 1], activation="tanh", seed=0)
    with pytest.raises(ValueError, match=r"it would have about .* operations, more than 20,000"):
        expression_growth(lambda *xs: deep(list(xs)), *[0.1] * 8)


@pytest.mark.slow
def test_arguments_may_be_lists_and_arrays():
    found = three_ways(lambda v, b: (v * v).sum() * b, np.array([1.0, 2.0]), 3.0)
    assert found.rows[-1].estimate == 6.0
    assert "x1 = 1, x2 = 2, x3 = 3" in repr(found)


# --- reports ----------------------------------------------------------------------------------------------------------

REPORTS = {
    "numerical_error": numerical_error,
    "expression_growth": lambda: expression_growth(depth=3),
    "derivative_cost": lambda: derivative_cost(copies=[1]),
    "three_ways": three_ways,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", REPORTS)
def test_a_report_prints_shows_and_saves_itself(name, tmp_path):
    report = REPORTS[name]()
    assert repr(report).startswith(report.table.title)
    assert all(remark in repr(report) for remark in report.remarks)
    bundle, sizes = report._repr_mimebundle_()
    width, height = struct.unpack(">II", bundle["image/png"][16:24])
    assert width / height == pytest.approx(sizes["image/png"]["width"] / sizes["image/png"]["height"], rel=0.02)
    assert bundle["text/html"].count("<img") == 1
    assert bundle["text/html"].count("<tr>") == len(report.table.rows) + 1
    assert bundle["text/plain"] == repr(report)
    assert report.save(tmp_path / "hình.svg").read_text().startswith("<?xml")
    assert report.plot is report.plot
    assert r"\begin{tabular}" in report.table.to_latex()
    assert report.table.to_markdown().count("\n|") == len(report.table.rows) + 2


@pytest.mark.slow
def test_figures_are_deterministic():
    assert numerical_error().plot._render("png") == numerical_error().plot._render("png")
    assert expression_growth(depth=3).plot._render("png") == expression_growth(depth=3).plot._render("png")


def test_what_a_user_wrote_is_escaped():
    def f(x):
        z = x - 0.5
        z.label = "<b>$\\frac{$ & x_1"
        return log(z)

    found = expression_growth(f, 1.0)
    assert "got x = -1.1931471805599454 (node '<b>$\\\\frac{$ & x_1')" in repr(found)
    bundle, _ = found._repr_mimebundle_()  # matplotlib would not take that for a formula
    assert "<b>" not in bundle["text/html"]
    assert "&lt;b&gt;" in bundle["text/html"]


@pytest.mark.slow
def test_values_that_the_function_closes_over_are_left_alone():
    w = Value(3.0, "w")
    w.grad = 7.0
    x = Value(2.0, "x")
    for way in (numerical_error, expression_growth, derivative_cost, three_ways):
        way(lambda x: w * x + sin(x), x)
    assert (w.grad, w.data, x.grad) == (7.0, 3.0, 0.0)


@pytest.mark.slow
def test_inside_no_grad_it_measures_the_same():
    from tinygrad_vi import no_grad

    with no_grad():
        found = three_ways(lecture_function, 2.0, 5.0)
    assert found.rows[-1].estimate == 5.5
    assert found.symbolic.rows[2].record == 22


WRONG = {
    "no point": (lambda way: way(sin), TypeError, "the point is missing: write its numbers after the function"),
    "no function": (lambda way: way(3.0, 2.0), TypeError, "the first argument is a function, got 3.0"),
    "nan": (lambda way: way(sin, math.nan), ValueError, "the point must be finite, got nan"),
    "text": (lambda way: way(sin, "2"), TypeError, "numbers or Values, got '2'"),
    "a list": (lambda way: way(lambda x: [x], 2.0), TypeError, "the function must have one number as its result, got"),
    "nothing": (lambda way: way(lambda x: None, 2.0), TypeError, "the function returned None.* is a `return` missing"),
    "math": (lambda way: way(math.sin, 2.0), TypeError, r"write exp\(v\) of tinygrad_vi"),
    "overflow": (lambda way: way(lambda x: x * 1e308 * 1e308, 2.0), ArithmeticError, "inf"),
}


@pytest.mark.parametrize("way", [numerical_error, three_ways])
@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_says_what_was_wrong(way, case):
    call, error, message = WRONG[case]
    with pytest.raises(error, match=message):
        call(way)


@pytest.mark.parametrize("way", [expression_growth, derivative_cost])
@pytest.mark.parametrize("case", [case for case in WRONG if case != "overflow"])
def test_wrong_input_of_the_others(way, case):
    call, error, message = WRONG[case]
    with pytest.raises(error, match=message):
        call(way)


def test_wrong_options():
    with pytest.raises(ValueError, match="by is an input, one of x1, x2 or 0 to 1, got 'x3'"):
        numerical_error(lecture_function, 2.0, 5.0, by="x3")
    for by in (2, -1, 0.5, None):
        with pytest.raises(ValueError, match="by is an input"):
            three_ways(lecture_function, 2.0, 5.0, by=by)
    for steps in ([0.1, 0.0], [-1.0], [math.inf], [math.nan]):
        with pytest.raises(ValueError, match="a step must be positive and finite, got"):
            numerical_error(sin, 1.0, steps=steps)
    with pytest.raises(ValueError, match="there is no step to try: steps is empty"):
        numerical_error(sin, 1.0, steps=[])
    with pytest.raises(ValueError, match="depth must be a whole number of at least 1, got 0"):
        expression_growth(sin, 1.0, depth=0)
    with pytest.raises(ValueError, match=r"a number of copies must be a whole number of at least 1, got 1\.5"):
        derivative_cost(sin, 1.0, copies=[1.5])
    with pytest.raises(ValueError, match="there is nothing to measure: copies is empty"):
        derivative_cost(sin, 1.0, copies=[])
    with pytest.raises(TypeError, match=r"takes 1 positional argument but 2 were given|takes 1 operand"):
        numerical_error(lambda x: x, 1.0, 2.0)


def test_missing_packages_say_what_to_install(monkeypatch):
    found = numerical_error()
    monkeypatch.setitem(sys.modules, "sympy", None)
    with pytest.raises(ImportError, match="sympy: pip install sympy"):
        expression_growth(sin, 1.0)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert "best h" in repr(found)  # the table needs no figure
    with pytest.raises(ImportError, match="matplotlib: pip install matplotlib"):
        found.save("never.png")


@pytest.mark.slow
def test_nothing_warns():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for f, point in ((log, (1e-3,)), (relu, (0.0,)), (exp, (700.0,)), (lambda v: (v * v).sum(), (np.ones(2),))):
            three_ways(f, *point)._repr_mimebundle_()
