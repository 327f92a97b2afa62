"""Each row of the table against its definition in SymPy, evaluated by mpmath: see `judges`."""

import copy
import pickle
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from judges import DEFINITIONS, measured, random_points, swing, truth
from mpmath import log, mpf

from tinygrad_vi import DomainError, ShapeError, Value, functions, hessian, logsumexp, no_grad, ops, rows, softmax
from tinygrad_vi.graph import NOT_COMPUTED, topological_order
from tinygrad_vi.rows import new_row
from tinygrad_vi.sweep import adjoints

POWERS = [ops.power(float(n)) for n in (0, 1, 2, 3, -1, -2, 0.5, -0.5, 1.5, 2.5)]
EXPONENTIALS = [ops.exponential(base) for base in (2.0, 0.3, 1.0, 1e-5, 1.0 + 2.0**-40)]
ROWS = [*rows.OPERATIONS.values(), *POWERS, *EXPONENTIALS, rows.FAMILIES["leaky_relu"](0.2), rows.FAMILIES["elu"](0.7)]

every_row = pytest.mark.parametrize("op", ROWS, ids=repr)

# --- values, first and second derivatives -----------------------------------------------------------------------------

RELATIVE = 1e-13
LARGEST, SMALLEST = 1.797e308, 2.3e-308  # floats with all their digits
LAST_DIGIT = 3e-318  # of a subnormal factor, 5e-324, times two logarithms of up to 745

#: (row, order) where the function passes through 0 elsewhere than at 0: no formula keeps more there than what a change
#: of the operands in their last digits leaves, so what 4 ulp of every operand make is allowed on top.
CONDITIONED = {
    ("silu", 1), ("silu", 2),  # zeros at -1.28 and +-2.4
    ("gelu", 1), ("gelu", 2),  # zeros at -0.75 and +-1.41
    ("sech", 2),  # zeros at +-0.88
    ("atan2", 2),  # zeros where |x| = |y|
    ("dot", 0), ("logsumexp", 0),  # terms of both signs
}  # fmt: skip


def exceptions(op, at, where, true):
    """The absolute error allowed on top where a row is known to give less than RELATIVE.

    d2/dx2 and d2/dxdy of x**y: each term has a power of x whose exponent, y - 1 or y - 2, was rounded; times log(x),
        of up to 709, that makes up to 1e-13 more.
    d/dx of d/dy of x**y = x**(y - 1) * (y*log(x) + 1): the 1 comes from x**y / x, where x**y may have been 0.
    """
    if op.name == "pow" and len(where) == 2 and 0 in where:
        x, y = map(mpf, at)
        terms = abs(true[where]) if where == (0, 0) else x ** (y - 1) * (1 + abs(y * log(x)))
        return 1e-13 * terms + (x ** (y - 1) if where == (1, 0) and true[()] < SMALLEST else 0)
    return 0.0


def overflows(op, at, true):
    """Whether some of the numbers do; of x**y also x**(y - 2) before its factor y*(y - 1) makes it smaller."""
    on_the_way = [mpf(at[0]) ** (at[1] - 2)] if op.name == "pow" else []
    return any(abs(t) > LARGEST for t in [*true.values(), *on_the_way])


def disagreements(op, points):
    """All that the engine has wrong at these points, as (point, which derivative, got, true)."""
    for at in points:
        true = truth(op, at)
        try:
            got = measured(op, at)
        except DomainError as error:
            if not overflows(op, at, true):
                yield at, str(error), None, None
            continue
        for where, t in true.items():
            if abs(t) > LARGEST:
                continue
            allowed = RELATIVE * abs(t) + LAST_DIGIT + exceptions(op, at, where, true)
            if (op.name, len(where)) in CONDITIONED:
                allowed += 4 * 2**-52 * swing(op, at)[where]
            if not abs(mpf(got[where]) - t) <= allowed:  # "not" because NaN compares False
                yield at, where, got[where], float(t)


@every_row
def test_value_and_derivatives_are_right_to_13_digits_at_the_points_of_the_row(op):
    assert len(op.points) >= 2
    assert list(disagreements(op, op.points)) == []


@every_row
def test_value_and_derivatives_are_right_to_13_digits_at_random_ordinary_and_extreme_points(op):
    assert list(disagreements(op, random_points(op, count=100, seed=1))) == []


TAMPERED = {
    "a derivative wrong by 0.1 %": lambda partial: partial * 1.001 or 0.001,
    "a derivative wrong in its 12th digit": lambda partial: partial * (1 + 1e-12) or 1e-12,
    "a rule that cuts the graph": lambda partial: float(getattr(partial, "data", partial)),
}


@pytest.mark.parametrize("change", TAMPERED.values(), ids=TAMPERED)
@every_row
def test_the_checker_notices(op, change):
    n = len(op.points[0])
    for spoiled in range(n):
        if change(2.0) == 2.0 and all(truth(op, at)[spoiled, j] == 0 for at in op.points for j in range(len(at))):
            continue  # a constant partial has nothing to cut

        def partials(out, *xs, spoiled=spoiled):
            return [change(p) if i == spoiled else p for i, p in enumerate(op.partials(out, *xs))]

        assert list(disagreements(op.changed(partials=partials, constant_partials=None), op.points)) != []


def test_the_checker_notices_a_value_wrong_in_its_12th_digit():
    for op in ROWS:
        spoiled = op.changed(value=lambda *xs, op=op: op.value(*xs) * (1 + 1e-12))
        assert op.name == "step" or list(disagreements(spoiled, op.points)) != []


# --- the facts of a row -----------------------------------------------------------------------------------------------


def test_every_row_has_a_definition_to_be_judged_by():
    assert set(DEFINITIONS) == {op.name for op in ROWS} == {*rows.OPERATIONS, *rows.FAMILIES}


@every_row
def test_one_rule_gives_the_same_on_floats_and_on_values(op):
    for at in [*op.points, *op.corners]:
        xs = [Value(x) for x in at]
        y = Value.record(op, *xs)
        assert [getattr(p, "data", p) for p in op.partials(y, *xs)] == list(op.partials(y.data, *at))
        assert list(y.local_grads) == list(op.partials(y.data, *at))


@every_row
def test_numbers_of_every_kind_give_a_float_and_values_the_same_float(op):
    for at in op.points:
        expected = op.value(*at)
        for kind in (float, np.float64, Fraction, Value):
            result = rows.apply(op, *map(kind, at))
            assert result.__class__ is (Value if kind is Value else float)
            assert getattr(result, "data", result) == expected


@every_row
def test_every_row_says_how_it_is_written_and_where_it_is_defined(op):
    names = [f"operand{i}" for i in range(len(op.points[0]))]
    text, latex = op.text(names), op.latex(names)
    assert all(name in text and name in latex for name in names)
    assert latex.count("{") == latex.count("}")
    assert latex.count(r"\left") == latex.count(r"\right")
    assert op.doc.endswith(".")
    assert op.domain
    assert op.symbol
    assert 1 <= op.binds <= rows.ATOM


@pytest.mark.parametrize("op", [op for op in ROWS if op.arity], ids=repr)
def test_a_wrong_number_of_operands_is_refused(op):
    with pytest.raises(TypeError, match=rf"{op.name} takes {op.arity} operands?, got {op.arity + 1}"):
        rows.apply(op, *[1.0] * (op.arity + 1))


@every_row
def test_copies_and_pickles_find_the_row_itself(op):
    in_table = op in rows.OPERATIONS.values()
    assert in_table or op is rows.FAMILIES[op.name](*op.constants)
    assert pickle.loads(pickle.dumps(op)) is op
    assert copy.deepcopy(op) is op
    assert copy.copy(op) is op


# --- corners ----------------------------------------------------------------------------------------------------------

CONVENTIONS = [  # row, operands, value, partials
    (rows.OPERATIONS["relu"], (0.0,), 0.0, (0.0,)),
    (rows.OPERATIONS["step"], (0.0,), 0.0, (0.0,)),
    (rows.OPERATIONS["abs"], (0.0,), 0.0, (0.0,)),
    (rows.OPERATIONS["leaky_relu"], (0.0,), 0.0, (0.01,)),
    (rows.OPERATIONS["elu"], (0.0,), 0.0, (1.0,)),
    (rows.FAMILIES["leaky_relu"](0.2), (0.0,), 0.0, (0.2,)),
    (rows.FAMILIES["elu"](0.7), (0.0,), 0.0, (0.7,)),
    (rows.OPERATIONS["maximum"], (3.0, 3.0), 3.0, (0.5, 0.5)),
    (rows.OPERATIONS["minimum"], (3.0, 3.0), 3.0, (0.5, 0.5)),
    (rows.OPERATIONS["where"], (0.0, 2.0, 3.0), 3.0, (0.0, 0.0, 1.0)),
    (rows.OPERATIONS["sign"], (0.0,), 0.0, (0.0,)),
    (rows.OPERATIONS["floor"], (2.0,), 2.0, (0.0,)),
    (rows.OPERATIONS["ceil"], (2.0,), 2.0, (0.0,)),
    (rows.OPERATIONS["round"], (2.5,), 2.0, (0.0,)),
    (ops.power(0.0), (0.0,), 1.0, (0.0,)),
    (rows.OPERATIONS["pow"], (0.0, 2.0), 0.0, (0.0, 0.0)),
]


@pytest.mark.parametrize(("op", "at", "value", "partials"), CONVENTIONS, ids=lambda x: repr(x))
def test_the_conventions_at_corners(op, at, value, partials):
    got = measured(op, at)
    assert got[()] == value
    assert tuple(got[i,] for i in range(len(at))) == partials == op.corners[at]
    assert all(np.isfinite(list(got.values())))  # second derivatives too


def test_every_corner_of_the_table_is_among_the_conventions():
    assert {(op, at) for op in ROWS for at in op.corners} == {(op, at) for op, at, *_ in CONVENTIONS}


def test_a_negative_zero_is_a_corner_too():
    for name, slope in (("relu", 0.0), ("abs", 0.0), ("step", 0.0), ("elu", 1.0), ("leaky_relu", 0.01)):
        assert measured(rows.OPERATIONS[name], (-0.0,))[0,] == slope
    assert measured(rows.OPERATIONS["maximum"], (0.0, -0.0))[0,] == 0.5


@pytest.mark.parametrize("number", [float, Value], ids=["constant", "Value"])
@pytest.mark.parametrize(
    ("base", "exponent", "value", "slope", "curvature"),
    [
        (0.0, 0.0, 1.0, 0.0, 0.0),
        (0.0, 1.0, 0.0, 1.0, 0.0),
        (0.0, 2.0, 0.0, 0.0, 2.0),
        (0.0, 3.0, 0.0, 0.0, 0.0),
        (5.0, 0.0, 1.0, 0.0, 0.0),
        (5.0, 1.0, 5.0, 1.0, 0.0),
        (5.0, 3.0, 125.0, 75.0, 30.0),
        (0.25, -0.5, 2.0, -4.0, 24.0),
    ],
)
def test_integer_powers_by_a_constant_and_by_a_value(number, base, exponent, value, slope, curvature):
    if number is Value and base == 0.0 and exponent < 2.0:  # there the derivative by the exponent is infinite
        with pytest.raises(DomainError, match="an exponent that is a constant can be written as a plain number"):
            hessian(lambda x: x ** number(exponent))(base)
        return
    x = Value(base)
    y = x ** number(exponent)
    first = adjoints(topological_order([y]), {y: 1.0}, create_graph=True).get(x, 0.0)
    second = 0.0
    if isinstance(first, Value):
        second = adjoints(topological_order([first]), {first: 1.0}).get(x, 0.0)
        first = first.data
    assert (y.data, y.local_grads[0], first, second) == (value, slope, slope, curvature)


@pytest.mark.parametrize("zero", [0, 0.0, -0.0])
@pytest.mark.parametrize(("exponent", "value"), [(0.5, 0.0), (1.0, 0.0), (1e-9, 0.0), (3.0, 0.0)])
def test_a_constant_base_0_has_derivative_0(zero, exponent, value):
    y = zero ** Value(exponent)
    assert (y.data, *y.local_grads) == (value, 0.0)
    assert hessian(lambda x: zero**x)(exponent) == 0.0


@pytest.mark.parametrize(("n", "value", "slope"), [(3, -8.0, 12.0), (2, 4.0, -4.0), (-1, -0.5, -0.25), (0, 1.0, 0.0)])
def test_a_negative_base_takes_any_constant_integer_exponent(n, value, slope):
    y = Value(-2.0) ** n
    assert (y.data, *y.local_grads) == (value, slope)


# --- errors -----------------------------------------------------------------------------------------------------------

NO_SLOPE = "; inside no_grad() it still has its value"
PLAIN_EXPONENT = "; for a base below 0 write the exponent as a plain number, x ** 3"
CONSTANT_EXPONENT = "; an exponent that is a constant can be written as a plain number, x ** 3"
POW_DOMAIN = "x > 0, or x = 0 and y >= 0, or x < 0 and an integer y"


@pytest.mark.parametrize(
    ("compute", "text"),
    [
        (lambda V: 1.0 / V(0.0, "x"), "a1 / a2 needs a2 != 0, got a1 = 1.0, a2 = 0.0 (node 'x')"),
        (lambda V: V(1.0, "x") / V(0.0, "y"), "x / y needs y != 0, got x = 1.0 (node 'x'), y = 0.0 (node 'y')"),
        (lambda V: V(1.0, "y") / V(0.0, "x"), "a1 / a2 needs a2 != 0, got a1 = 1.0 (node 'y'), a2 = 0.0 (node 'x')"),
        (
            lambda V: V(1.0, "a2") / V(0.0, "x"),
            "aa1 / aa2 needs aa2 != 0, got aa1 = 1.0 (node 'a2'), aa2 = 0.0 (node 'x')",
        ),
        (
            lambda V: V(-2.0, "y") ** V(0.5, "w"),
            "a1 ** a2 needs a1 > 0, or a1 = 0 and a2 >= 0, or a1 < 0 and an integer a2, got a1 = -2.0 (node 'y'), "
            "a2 = 0.5 (node 'w')",
        ),
        (
            lambda V: V(-2.0, "y") ** V(3.0, "x"),
            "a1 ** a2 has no finite derivative at a1 = -2.0 (node 'y'), a2 = 3.0 (node 'x'); for a base below 0 write "
            "the exponent as a plain number, a1 ** 3; inside no_grad() it still has its value",
        ),
        (
            lambda V: functions.total([V(1e308, "x2"), V(1e308, "x1"), 1.0, 1.0, 1.0]),
            "a1 + a2 + ... + a5 overflows a float, got a1 = 1e+308 (node 'x2'), a2 = 1e+308 (node 'x1'), a3 = 1.0, "
            "... (5 operands)",
        ),
    ],
)
def test_the_label_of_one_operand_is_never_the_name_of_another(compute, text):
    with pytest.raises(DomainError) as error:
        compute(Value)
    assert str(error.value) == text


@pytest.mark.parametrize(
    ("compute", "text"),
    [
        (lambda z: ops.log(z(-1.0)), "log(x) needs x > 0, got x = -1.0 (node 'z')"),
        (lambda z: ops.log(z(0.0)), "log(x) needs x > 0, got x = 0.0 (node 'z')"),
        (lambda z: ops.log1p(z(-1.0)), "log1p(x) needs x > -1, got x = -1.0 (node 'z')"),
        (lambda z: ops.sqrt(z(-4.0)), "sqrt(x) needs x >= 0, got x = -4.0 (node 'z')"),
        (lambda z: ops.asin(z(2.0)), "asin(x) needs -1 <= x <= 1, got x = 2.0 (node 'z')"),
        (lambda z: ops.acos(z(-2.0)), "acos(x) needs -1 <= x <= 1, got x = -2.0 (node 'z')"),
        (lambda z: ops.semicircle(z(1.5)), "semicircle(x) needs -1 <= x <= 1, got x = 1.5 (node 'z')"),
        (lambda z: ops.sin(z(np.inf)), "sin(x) needs a finite x, got x = inf (node 'z')"),
        (lambda z: ops.div(1.0, z(0.0)), "x / y needs y != 0, got x = 1.0, y = 0.0 (node 'z')"),
        (lambda z: rows.apply(ops.power(-1.0), z(0.0)), "x ** -1 needs x != 0, got x = 0.0 (node 'z')"),
        (lambda z: rows.apply(ops.power(0.5), z(-2.0)), "x ** 0.5 needs x >= 0, got x = -2.0 (node 'z')"),
        (lambda z: rows.apply(ops.power(-0.5), z(0.0)), "x ** -0.5 needs x > 0, got x = 0.0 (node 'z')"),
        (lambda z: rows.apply(ops.exponential(0.0), z(-1.0)), "0 ** x needs x >= 0, got x = -1.0 (node 'z')"),
        (lambda z: rows.apply(ops.exponential(10.0), z(400.0)), "10 ** x overflows a float, got x = 400.0 (node 'z')"),
        (lambda z: ops.pow_(z(0.0), -1.0), f"x ** y needs {POW_DOMAIN}, got x = 0.0 (node 'z'), y = -1.0"),
        (lambda z: ops.pow_(z(-2.0), 0.5), f"x ** y needs {POW_DOMAIN}, got x = -2.0 (node 'z'), y = 0.5"),
        (lambda z: ops.pow_(z(1e200), 2.0), "x ** y overflows a float, got x = 1e+200 (node 'z'), y = 2.0"),
        (lambda z: ops.exp(z(1000.0)), "exp(x) overflows a float, got x = 1000.0 (node 'z')"),
        (lambda z: ops.expm1(z(710.0)), "expm1(x) overflows a float, got x = 710.0 (node 'z')"),
        (lambda z: ops.sinh(z(-711.0)), "sinh(x) overflows a float, got x = -711.0 (node 'z')"),
        (lambda z: ops.cosh(z(711.0)), "cosh(x) overflows a float, got x = 711.0 (node 'z')"),
        (
            lambda z: functions.total([z(1e308), 1e308, 1e308, 0.0, 0.0]),
            "x1 + x2 + ... + x5 overflows a float, got x1 = 1e+308 (node 'z'), x2 = 1e+308, x3 = 1e+308, "
            "... (5 operands)",
        ),
    ],
)
def test_leaving_the_domain_says_what_was_wanted_and_what_came(compute, text):
    z = Value(0.0, label="z")

    def labelled(x):
        z.data = x
        return z

    for operand, message in ((labelled, text), (float, text.replace(" (node 'z')", ""))):
        with pytest.raises(DomainError) as error:
            compute(operand)
        assert str(error.value) == message
        assert isinstance(error.value, ArithmeticError)
        assert isinstance(error.value, ValueError)
    assert (z.grad, z.parents, z.op) == (0.0, (), None)
    assert z.grad is NOT_COMPUTED


@pytest.mark.parametrize(
    ("op", "at", "value", "text"),
    [
        (rows.OPERATIONS["sqrt"], (0.0,), 0.0, f"sqrt(x) has no finite derivative at x = 0.0{NO_SLOPE}"),
        (rows.OPERATIONS["asin"], (1.0,), np.pi / 2, f"asin(x) has no finite derivative at x = 1.0{NO_SLOPE}"),
        (rows.OPERATIONS["acos"], (-1.0,), np.pi, f"acos(x) has no finite derivative at x = -1.0{NO_SLOPE}"),
        (rows.OPERATIONS["semicircle"], (1.0,), 0.0, f"semicircle(x) has no finite derivative at x = 1.0{NO_SLOPE}"),
        (ops.power(0.5), (0.0,), 0.0, f"x ** 0.5 has no finite derivative at x = 0.0{NO_SLOPE}"),
        (
            rows.OPERATIONS["pow"],
            (-2.0, 3.0),
            -8.0,
            f"x ** y has no finite derivative at x = -2.0, y = 3.0{PLAIN_EXPONENT}{NO_SLOPE}",
        ),
        (
            rows.OPERATIONS["pow"],
            (0.0, 0.0),
            1.0,
            f"x ** y has no finite derivative at x = 0.0, y = 0.0{CONSTANT_EXPONENT}{NO_SLOPE}",
        ),
        (ops.exponential(0.0), (0.0,), 1.0, f"0 ** x has no finite derivative at x = 0.0{NO_SLOPE}"),
    ],
)
def test_a_missing_derivative_is_an_error_but_the_value_stays_within_reach(op, at, value, text):
    with pytest.raises(DomainError) as error:
        Value.record(op, *at)
    assert str(error.value) == text
    assert rows.apply(op, *at) == value
    with no_grad():
        assert Value.record(op, *at).data == value


def test_a_negative_constant_base_has_a_value_but_no_derivative():
    with pytest.raises(DomainError, match=r"x \*\* y has no finite derivative at x = -2.0, y = 3.0"):
        (-2.0) ** Value(3.0)
    with no_grad():
        assert ((-2.0) ** Value(3.0)).data == -8.0
    for base in (-2.0, np.inf, np.nan):
        with pytest.raises(DomainError, match="needs a finite base of at least 0, got base = "):
            ops.exponential(base)


def test_a_power_needs_a_finite_exponent():
    with pytest.raises(DomainError, match="needs a finite exponent, got n = inf"):
        Value(2.0) ** float("inf")


@pytest.mark.parametrize("bad", ["2", None, 1j, [1.0], np.array([1.0, 2.0])])
def test_what_is_not_a_number_is_a_type_error(bad):
    with pytest.raises(TypeError, match="exp takes numbers or Values, got"):
        ops.exp(bad)


# --- lists ------------------------------------------------------------------------------------------------------------


def test_softmax_adds_up_to_one_and_does_not_overflow():
    for logits in ([1e5, 1e5 - 0.5, -1e5], [0.3], [-745.0, 0.0, 700.0]):
        assert sum(softmax(logits)) == pytest.approx(1.0, rel=1e-15)
        assert softmax([x + 1024.0 for x in logits]) == pytest.approx(softmax(logits), rel=1e-12)
        assert [v.data for v in softmax(map(Value, logits))] == softmax(logits)


def test_logsumexp_with_the_largest_logit_0_is_softplus():
    assert logsumexp([0.0, -40.0]) == pytest.approx(ops.softplus(-40.0), rel=1e-15)


@pytest.mark.parametrize("xs", list(product([np.inf, -np.inf, np.nan, 1.0], repeat=2)))
def test_logsumexp_of_infinities_and_nans_is_numpys(xs):
    with np.errstate(invalid="ignore"):
        expected = np.logaddexp(*xs)
    np.testing.assert_equal(logsumexp(xs), expected)
    np.testing.assert_equal(logsumexp(map(Value, xs)).data, expected)


def test_lists_that_make_no_sense_are_shape_errors():
    for function in (logsumexp, softmax):
        with pytest.raises(ShapeError, match="logsumexp needs at least one operand, got an empty list"):
            function([])
    with pytest.raises(ShapeError, match="dot needs as many weights as inputs, got 1 weights and 2 inputs"):
        functions.dot([1.0], [1.0, 2.0])


def test_take_with_an_index_that_is_a_value():
    table = [[Value(10.0 * i + j) for j in range(2)] for i in range(4)]
    index = Value(2.0)
    row = functions.take(table, index)
    assert [v.data for v in row] == [20.0, 21.0]
    (row[0] * 3.0 + row[1]).backward()
    assert [[v.grad for v in entries] for entries in table] == [[0.0, 0.0], [0.0, 0.0], [3.0, 1.0], [0.0, 0.0]]
    assert index.grad == 0.0
    assert functions.take(table, 3) is table[3]
    for wrong in (-1, 4, 1.5, Value(4.0), Value(0.5)):
        with pytest.raises(ValueError, match=r"take needs a whole number from 0 to 3, got"):
            functions.take(table, wrong)


def test_a_row_of_ones_own_stays_itself():
    scaled = new_row("softplus of 3 x", lambda x: 3.0 * x, lambda out, x: (3.0,), "3 x")
    x = Value(2.0)
    y = Value.record(scaled, x)
    assert y.data == 6.0
    assert not scaled.in_table
    assert copy.deepcopy(y).op is copy.copy(y).op is copy.deepcopy(scaled) is copy.copy(scaled) is scaled
    for held in (scaled, y, [y], y * x):
        with pytest.raises(
            TypeError, match="the operation 'softplus of 3 x' cannot be pickled, since its name does not lead"
        ):
            pickle.dumps(held)
    with pytest.raises(ValueError, match="'power' is a built-in operation: give the new row another name"):
        rows.row("power", lambda x: 0.5, lambda out, x: (0.5,), "1/2", constants=(3.0,))
    for op in (
        ops.softplus.operation,
        ops.power(3.0),
        ops.exponential(2.0),
        (leaky := functions.leaky_relu(x, 0.3)).op,
    ):
        assert op.in_table
        assert pickle.loads(pickle.dumps(op)) is op
    assert leaky.op is ops._leaky_relu(0.3)


@pytest.mark.parametrize("name", ["tanh", "add", "total", "power", "exponential", "leaky_relu", "elu", "dot"])
def test_a_built_in_row_is_not_replaced(name):
    before = dict(rows.OPERATIONS)
    with pytest.raises(ValueError, match=f"'{name}' is a built-in operation: give the new row another name"):
        rows.row(name, lambda x: x, (1.0,), "x")
    assert before == rows.OPERATIONS


def test_a_row_of_ones_own_may_be_made_again_as_a_notebook_does():
    try:
        old = rows.row("doubled", lambda x: 2.0 * x, (2.0,), "2 x")
        y = old(Value(1.0))
        assert pickle.loads(pickle.dumps(y)).op is y.op
        new = rows.row("doubled", lambda x: 2.5 * x, (2.5,), "2.5 x")
        assert new(Value(1.0)).op is pickle.loads(pickle.dumps(new.operation))
        with pytest.raises(TypeError, match="'doubled' cannot be pickled"):  # it would come back as another operation
            pickle.dumps(y)
        text = pickle.dumps(new.operation)
    finally:
        rows.OWN.pop("doubled", None)
    with pytest.raises(ValueError, match=r"there is no row 'doubled' here: import the module that makes it"):
        pickle.loads(text)


def test_more_constants_than_are_remembered_are_rows_all_the_same():
    first = ops.power(1.2345)
    for i in range(4200):
        ops.power(2.0 + i / 7.0)
    assert first.in_table
    assert pickle.loads(pickle.dumps(first)).constants == (1.2345,)
