"""The NumPy text: executed by itself it gives the numbers of the form, and for a network it reads like a textbook."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from node_by_node import evaluate
from programs import SAME_EVERY_TIME, STEPS, Program, programs

import tinygrad_vi
from tinygrad_vi import Value, rows, where
from tinygrad_vi.compiler.entries import jacobian
from tinygrad_vi.compiler.form import Form
from tinygrad_vi.compiler.from_record import from_record
from tinygrad_vi.compiler.numpy_layout import Names
from tinygrad_vi.compiler.numpy_source import numpy_source
from tinygrad_vi.compiler.program import Program as Compiled
from tinygrad_vi.compiler.program import Question
from tinygrad_vi.compiler.terms import ONE


def compiled(program, n, mapped):
    """A random program of n numbers, of which the last ``mapped`` are inputs."""
    xs = [Value(0.5) for _ in range(n)]
    y = Value(0.0) + program.run(xs, rows.apply)
    parameters, inputs = xs[: n - mapped], xs[n - mapped :]
    form, results = from_record([y], {x: i for i, x in enumerate(parameters)}, {x: j for j, x in enumerate(inputs)})
    return Compiled(form, results, n - mapped, mapped)


def run(source, name, *arguments):
    namespace = {}
    exec(compile(source, "<source>", "exec"), namespace)
    with np.errstate(all="ignore"):
        return namespace[name](*arguments)


def expected(question, theta, X):
    found = evaluate(question.form, question.outputs, theta, X.T if X.size else np.zeros((0, len(X))))
    return (
        np.array([np.broadcast_to(y, len(X)) for y in found])
        if question.mapped
        else np.array([float(np.squeeze(y)) for y in found])
    )


@pytest.mark.parametrize("mapped", [0, 1, 2])
@pytest.mark.parametrize("name", STEPS)
def test_every_operation(name, mapped):
    program = Program(3)
    STEPS[name](program, 0, 1, 2)
    at, N = np.array([0.3, -0.7, 0.9]), 4
    asked = compiled(program, 3, mapped)
    theta = at[: 3 - mapped]
    X = at[3 - mapped :] * np.linspace(1.0, 1.1, N)[:, None]
    names = Names((), [("x", mapped)] if mapped else [])
    arguments = (theta, X) if mapped else (theta,)
    if not mapped:
        X = np.zeros((1, 0))
    if asked.parameters:
        question = asked.value_and_gradient()
        value, gradient = run(numpy_source(question, names), "value_and_gradient", *arguments)
        assert np.array([value, *gradient]) == pytest.approx(expected(question, theta, X), rel=1e-12, abs=1e-14)
    for question in (asked.value(), asked.each(), jacobian(asked)):
        if question.outputs:
            found = run(numpy_source(question, names, "results"), "results", *arguments)
            want = expected(question, theta, X)
            assert found.reshape(want.shape) == pytest.approx(want, rel=1e-12, abs=1e-14)


@pytest.mark.slow
def test_random_programs():
    @SAME_EVERY_TIME
    @given(programs(60))
    def agrees(drawn):
        program, at, _ = drawn
        for mapped in (0, len(at) // 2):
            asked = compiled(program, len(at), mapped)
            if not asked.parameters:
                continue
            theta = np.array(at[: len(at) - mapped])
            X = np.array([at[len(at) - mapped :]] * 2) if mapped else np.zeros((1, 0))
            question = asked.value_and_gradient()
            names = Names((), [("x", mapped)] if mapped else [])
            found = run(numpy_source(question, names), "value_and_gradient", theta, *([X] if mapped else []))
            assert np.array([found[0], *found[1]]) == pytest.approx(expected(question, theta, X), rel=1e-10, abs=1e-11)

    agrees()


def test_an_operation_on_constants_alone_has_the_shape_of_its_rows():
    """The partial of where by its second operand, where the condition is a number."""
    step = tinygrad_vi.compile(lambda w: where(2.0, 1.0, w[0] + w[0]), backend="numpy")
    assert step.jacobian([1.0]).tolist() == [0.0]
    value, gradient = step.value_and_grad([1.0])
    assert (value, gradient.tolist()) == (1.0, [0.0])
    two = tinygrad_vi.compile(lambda w: [where(2.0, 1.0, w[0]), w[0]], backend="numpy")
    assert two.jacobian([3.0]).tolist() == [[0.0], [1.0]]


# --- Each way in which a sum is read ----------------------------------------------------------------------------------

LABELS = [f"W[{i},{j}]" for i in range(3) for j in range(2)] + [f"b[{i}]" for i in range(3)]
INF, NAN = float("inf"), float("nan")


def sums(shape, c):
    """The terms of each node of a sum of that shape, with the coefficients that c gives; which examples it is for.

    Three rows x, three rows y, two rows h of the data; a matrix W of 3 rows and 2 columns, a vector b.
    """
    form = Form()
    W = [[form.parameter(2 * i + j).node() for j in range(2)] for i in range(3)]
    b = [form.parameter(6 + i).node() for i in range(3)]
    x, y, h = ([form.input(start + i).node() for i in range(count)] for start, count in ((0, 3), (3, 3), (6, 2)))
    rows, columns = range(3), range(2)
    terms = {
        "a matrix": lambda: [[(c(), W[i][j], h[j]) for j in columns] for i in rows],
        "a matrix and a vector": lambda: [[(c(), W[i][j], h[j]) for j in columns] + [(c(), b[i], ONE)] for i in rows],
        "a transposed matrix": lambda: [[(c(), W[i][j], x[i]) for i in rows] for j in columns],
        "rows of a matrix": lambda: [[(c(), W[i][j], h[j]) for j in columns] for i in (1, 2)],
        "rows in another order": lambda: [[(c(), W[i][1 - j], h[j]) for j in columns] for i in (2, 0)],
        "products of rows": lambda: [[(c(), x[i], y[i])] for i in rows],
        "squares": lambda: [[(c(), x[i], x[i])] for i in rows],
        "a row times numbers": lambda: [[(c(), b[i], x[0])] for i in rows],
        "rows and numbers": lambda: [[(c(), b[i], x[i]), (c(), ONE, ONE)] for i in rows],
        "one sum of products": lambda: [[(c(), x[i], y[i]) for i in rows]],
        "one sum with numbers": lambda: [[(c(), b[i], x[i]) for i in rows]],
        "sums of rows": lambda: [[(c(), x[i], ONE), (c(), y[i], ONE)] for i in rows],
        "sums of other lengths": lambda: [[(c(), x[k], y[k]) for k in range(i + 1)] for i in rows],
        "numbers and rows in one place": lambda: [[(c(), u, ONE)] for u in (x[0], x[1], x[2])] + [[(c(), b[0], ONE)]],
        "constants": lambda: [[(c(), ONE, ONE)]],
    }[shape]()  # fmt: skip
    return form, terms


def summed(shape, c):
    """The same of sums over the examples, which are numbers."""
    form = Form()
    b = [form.parameter(6 + i).node() for i in range(3)]
    x, y, h = ([form.input(start + i).node() for i in range(count)] for start, count in ((0, 3), (3, 3), (6, 2)))
    rows, columns = range(3), range(2)
    terms = {
        "an outer product": lambda: [[(c(), x[i], h[j])] for i in rows for j in columns],
        "two outer products": lambda: [[(c(), x[i], h[j]), (c(), y[i], h[1 - j])] for i in rows for j in columns],
        "an outer product and numbers": lambda: [
            [(c(), x[i], h[j]), (c(), b[i], ONE)] for i in rows for j in columns
        ],
        "sums of rows": lambda: [[(c(), x[i], ONE)] for i in rows],
        "sums of products": lambda: [[(c(), x[i], y[i])] for i in rows],
        "sums times numbers": lambda: [[(c(), b[i], x[i])] for i in rows],
        "one sum": lambda: [[(c(), x[i], y[i]) for i in rows]],
        "several sums each": lambda: [[(c(), x[i], y[k]) for k in rows] for i in columns],
        "products of numbers": lambda: [[(c(), b[i], b[i]) for i in rows]],
        "constants": lambda: [[(c(), ONE, ONE)]],
    }[shape]()  # fmt: skip
    return form, terms


OF_EACH = ["a matrix", "a matrix and a vector", "a transposed matrix", "rows of a matrix", "rows in another order",
           "products of rows", "squares", "a row times numbers", "rows and numbers", "one sum of products",
           "one sum with numbers", "sums of rows", "sums of other lengths", "numbers and rows in one place",
           "constants"]  # fmt: skip
OF_ALL = ["an outer product", "two outer products", "an outer product and numbers", "sums of rows", "sums of products",
          "sums times numbers", "one sum", "several sums each", "products of numbers", "constants"]  # fmt: skip
COEFFICIENTS = [(1.0,), (-1.0,), (2.5,), (0.0,), (-0.0,), (NAN,), (INF,), (-INF,), (1.0, -1.0), (0.0, -0.0), (-0.0, 2.0, 0.0),
                (1.0, NAN), (3.0, INF, -1.0), (0.0, 1.0), (0.25, -3.0, 1e-300)]  # fmt: skip


CASES = [(sums, shape, True, "dot", c) for shape in OF_EACH for c in COEFFICIENTS]
CASES += [(summed, shape, False, "dot", c) for shape in OF_ALL for c in COEFFICIENTS]
ALIKE = [shape for shape in OF_EACH if shape not in ("sums of other lengths", "constants")]
CASES += [(sums, shape, True, "ordered", c) for shape in ALIKE for c in COEFFICIENTS]
CASES += [
    (sums, shape, True, "total", c) for shape in ALIKE for c in COEFFICIENTS if not {INF, -INF} & {*c}
]  # it raises


@pytest.mark.parametrize(
    ("make", "shape", "mapped", "kind", "coefficients"),
    CASES,
    ids=[f"{case[3]}: {case[1]}, {case[4]}" for case in CASES],
)
def test_a_sum_is_what_its_terms_are(make, shape, mapped, kind, coefficients):
    """Whatever a sum is read as.  The judge multiplies and adds term by term."""
    given = itertools.cycle(coefficients)
    form, terms = make(shape, lambda: next(given))
    outputs = [(1.0, form.node(kind, tuple(each), mapped)) for each in terms]
    question = Question(form, outputs, len(LABELS), 8, mapped)
    rng = np.random.default_rng(3)
    theta, X = rng.normal(size=len(LABELS)), rng.normal(size=(5, 8))
    with np.errstate(all="ignore"):
        want = expected(question, theta, X)
    for labels in (LABELS, ()):
        found = run(numpy_source(question, Names(labels, [("x", 8)]), "results"), "results", theta, X)
        found = np.broadcast_to(found, (len(want), 5)) if mapped else found[:, 0]
        finite = np.isfinite(want)
        assert (np.isfinite(found) == finite).all()
        assert found[finite] == pytest.approx(want[finite], rel=1e-12, abs=1e-14)


@pytest.mark.parametrize("coefficients", [(0.0,), (-0.0,), (0.0, -0.0), (-0.0, 0.0)], ids=str)
def test_a_product_with_a_zero_has_its_sign(coefficients):
    given = itertools.cycle(coefficients)
    form, terms = sums("products of rows", lambda: next(given))
    outputs = [(1.0, form.node("dot", tuple(each), True)) for each in terms]
    X = np.random.default_rng(3).normal(size=(5, 8))
    source = numpy_source(Question(form, outputs, len(LABELS), 8, True), Names((), [("x", 8)]), "results")
    found = run(source, "results", np.zeros(len(LABELS)), X)
    want = np.resize(coefficients, 3)[:, None] * (X.T[:3] * X.T[3:6])
    assert (np.signbit(found) == np.signbit(want)).all()
