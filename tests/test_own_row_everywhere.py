"""A row of the user's own works wherever a built-in one does, and neither is ever taken for the other.

The row is that of CONTRIBUTING.md; the judge is the textbook: x/(1+|x|), 1/(1+|x|)**2, -2 sign(x)/(1+|x|)**3.
"""

import copy
import math
import pickle
import re
from importlib.util import find_spec
from pathlib import Path

import pytest

from tinygrad_vi import Tape, Value, compile, custom_derivative, exp, grad, nn, operation, ops, rows, show
from tinygrad_vi.compiler import known
from tinygrad_vi.compiler.jax_text import JAX
from tinygrad_vi.compiler.numpy_text import NUMPY
from tinygrad_vi.conditions import COMPARISONS, NAMELESS
from tinygrad_vi.course.pytorch import derivatives, functions
from tinygrad_vi.expression import ExpressionError, evaluate
from tinygrad_vi.show.page import stepper
from tinygrad_vi.show.ways import sympy_formulas

BACKENDS = ["numpy", *["native"] * (find_spec("numba") is not None)]
POINTS = [-3.0, -0.4, 0.3, 2.0]


@pytest.fixture(autouse=True)
def table_of_its_own(monkeypatch):
    """Rows that are made here are seen by nobody else."""
    monkeypatch.setattr(rows, "OWN", {})


def make(name="squash", **facts):
    return rows.row(
        name,
        lambda x: x / (1.0 + abs(x)),
        lambda out, x: (1.0 / ((1.0 + ops.abs_(x)) * (1.0 + ops.abs_(x))),),
        "x / (1 + |x|).  Derivative 1/(1 + |x|)**2.",
        latex=r"\frac{{{0}}}{{1 + \left|{0}\right|}}",
        symbol="sq",
        **facts,
    )


def by_operation(name="squash", **facts):
    """The same row, made as users make theirs."""

    @operation(partials=lambda out, x: 1.0 / (1.0 + abs(x)) ** 2, name=name, **facts)
    def made(x):
        return x / (1.0 + abs(x))

    return made


def page_of(y):
    return stepper._Program(Tape(y), 4, 200)


def compute(program, name, *xs):
    """What the page computes: its tree, walked by the engine's own rows."""

    def run(tree):
        if not isinstance(tree, dict):
            return tree
        if "x" in tree:
            return xs[tree["x"]]
        if tree["op"] in program.own:
            return compute(program, tree["op"], *map(run, tree["args"]))
        key = rows.table_keys().get(tree["op"]) or next(op for op in COMPARISONS if op.name == tree["op"])
        op = key if isinstance(key, rows.Operation) else key(*tree["constants"])
        return op.value(*map(run, tree["args"]))

    return run(program.own[name]["tree"])


def true(x):
    a = 1.0 + abs(x)
    return x / a, a**-2, -2.0 * math.copysign(1.0, x) * a**-3


@pytest.mark.parametrize("x", POINTS)
def test_numbers_values_and_derivatives(x):
    squash = make()
    value, slope, second = true(x)
    assert squash(x) == pytest.approx(value, rel=1e-15)
    v = Value(x)
    y = squash(v)
    y.backward()
    assert (y.data, v.grad) == pytest.approx((value, slope), rel=1e-15)
    assert (grad(squash)(x), grad(grad(squash))(x)) == pytest.approx((slope, second), rel=1e-14)


@pytest.mark.parametrize("x", POINTS)
def test_in_the_text_of_an_expression(x):
    with pytest.raises(ExpressionError, match="unknown function 'squash'"):
        evaluate("squash(x)", {"x": x})
    make()  # the name is looked up when the text is read
    assert evaluate("2*squash(x)", {"x": x}) == pytest.approx(2.0 * true(x)[0], rel=1e-15)
    assert grad(lambda v: evaluate("squash(x)", {"x": v}))(x) == pytest.approx(true(x)[1], rel=1e-15)


def test_as_an_activation_by_name():
    with pytest.raises(ValueError, match="unknown activation 'squash'"):
        nn.MLP(1, [1, 1], activation="squash")
    make()
    model = nn.MLP(1, [1, 1], activation="squash", seed=1)
    w, b = (p.data for p in model.layers[0].parameters())
    u, c = (p.data for p in model.layers[1].parameters())
    for copied in (model, copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert copied([0.7]).data == pytest.approx(u * true(w * 0.7 + b)[0] + c, rel=1e-14)
    assert "squash" in repr(model)
    cell = nn.RNNCell(1, 1, activation="squash", seed=1)
    *_, bias = weights = [p.data for p in cell.parameters()]
    assert cell([0.5])[0].data == pytest.approx(true(weights[0] * 0.5 + bias)[0], rel=1e-14)


def test_an_operation_of_two_operands_is_no_activation():
    rows.row("blend", lambda x, y: x + y, (1.0, 1.0), "x + y.", arity=2)
    with pytest.raises(ValueError, match="unknown activation 'blend'"):
        nn.MLP(1, [1], activation="blend")


def test_in_tables_formulas_and_pages():
    squash = make()
    x = Value(0.3, "x")
    y = squash(x)
    table = Tape(y).adjoint().table()
    assert "squash" in str(table)
    assert r"\frac{v_{0}}{1 + \left|v_{0}\right|}" in table.to_latex()
    assert "squash" in y.step_through().html
    assert f"{true(0.3)[1]:.6f}" in str(show.numerical_error(squash, 0.3))
    assert "reverse mode" in str(show.derivative_cost(squash, 0.3))


@pytest.mark.parametrize("row", [make, by_operation])
@pytest.mark.parametrize("x", POINTS)
def test_as_a_method_by_one_line(row, x, monkeypatch):
    monkeypatch.setattr(Value, "squash", row(), raising=False)
    v = Value(x)
    y = v.squash() + v.squash()
    y.backward()
    assert (y.data, v.grad) == pytest.approx((2.0 * true(x)[0], 2.0 * true(x)[1]), rel=1e-15)
    step = compile(lambda w, x: (w[0] * x).squash())
    assert step.value_and_grad([1.0], [x])[1] == pytest.approx([x * true(x)[1]], rel=1e-14)


@pytest.mark.parametrize("row", [make, by_operation])
@pytest.mark.parametrize("x", POINTS)
def test_in_the_symbolic_way(row, x):
    """SymPy differentiates the formula, which is read off the value: the judge of the rule."""
    nested = show.expression_growth(row(), x, depth=2)
    assert max(size.difference for size in nested.rows) < 1e-13


def test_in_three_ways():
    squash, x = make(), 0.3
    ways = {way.name: way.estimate for way in show.three_ways(squash, x).rows}
    assert len(ways) == 6
    for estimate in ways.values():
        assert estimate == pytest.approx(true(x)[1], rel=1e-6)
    assert ways["formulas, written out"] == pytest.approx(true(x)[1], rel=1e-14)


def test_a_wrong_rule_is_seen_by_the_symbolic_way():
    @operation(partials=lambda out, x: 1.01 / (1.0 + abs(x)) ** 2)
    def almost(x):
        return x / (1.0 + abs(x))

    assert show.expression_growth(almost, 0.3, depth=1).rows[0].difference == pytest.approx(0.01 / 1.01, rel=1e-6)


@pytest.mark.parametrize("row", [make, by_operation])
@pytest.mark.parametrize("x", POINTS)
def test_on_the_page_and_in_pytorch(row, x):
    squash = row()
    program = page_of(squash(Value(x, "x")) * 2.0)
    [(name, found)] = program.own.items()
    assert name == "squash, 0"
    assert found["at"] == [[x], true(x)[0]]
    for moved in POINTS:
        assert compute(program, name, moved) == pytest.approx(true(moved)[0], rel=1e-15)
    if find_spec("torch"):
        assert derivatives(squash, (x,)) == pytest.approx([true(x)[1]], rel=1e-14)


# --- What it brings for other systems ---------------------------------------------------------------------------------


def bump(name="bump", **facts):
    """exp(-x*x) by `math`, which no other system can read."""

    @operation(partials=lambda out, x: -2.0 * x * out, name=name, **facts)
    def made(x):
        return math.exp(-x * x)

    return made


def test_a_row_that_runs_on_numbers_says_what_to_give():
    f = bump()
    for way in (show.three_ways, show.expression_growth):
        with pytest.raises(
            ValueError, match=r"no formula for the operation 'bump': give it one, sympy=lambda x: \.\.\."
        ):
            way(f, 0.5)
    assert page_of(f(Value(0.5, "x"))).own["bump, 0"].keys() == {"at"}  # the page says that it does not know it
    if find_spec("torch"):
        with pytest.raises(ValueError, match=r"hãy thêm pytorch=lambda x: \.\.\. hoặc formula="):
            derivatives(f, (0.5,))
    assert compile(lambda w: f(w[0])).value_and_grad([0.5])[0] == pytest.approx(math.exp(-0.25), rel=1e-15)


def test_a_formula_serves_all_of_them():
    f = bump(formula=lambda x: exp(-x * x))
    slope = -math.exp(-0.25)
    assert show.expression_growth(f, 0.5, depth=1).rows[0].difference < 1e-14
    program = page_of(f(Value(0.5, "x")))
    assert compute(program, "bump, 0", 0.7) == pytest.approx(math.exp(-0.49), rel=1e-15)
    if find_spec("torch"):
        assert derivatives(f, (0.5,)) == pytest.approx([slope], rel=1e-14)


def test_a_name_of_its_own_for_each():
    sympy = pytest.importorskip("sympy")
    f = bump(
        sympy=lambda x: sympy.exp(-(x**2)),
        numpy="np.exp(-{0} * {0})",
        javascript="Math.exp(-{0} * {0})",
        pytorch=lambda x: (-x * x).exp(),
    )
    slope = -math.exp(-0.25)
    assert show.expression_growth(f, 0.5, depth=1).rows[0].difference < 1e-14
    assert page_of(f(Value(0.5, "x"))).own["bump, 0"]["text"] == "Math.exp(-(x0) * (x0))"
    if find_spec("torch"):
        assert derivatives(f, (0.5,)) == pytest.approx([slope], rel=1e-14)
    step = compile(lambda w, x: f(w[0] * x), backend="numpy")
    mean, [by_w] = step.value_and_grad([1.0], POINTS)
    assert mean == pytest.approx(math.fsum(math.exp(-x * x) for x in POINTS) / 4, rel=1e-14)
    assert by_w == pytest.approx(math.fsum(-2.0 * x * x * math.exp(-x * x) for x in POINTS) / 4, rel=1e-14)
    assert "def bump(x):\n    return np.exp(-x * x)" in step.source
    assert "OWN" not in step.source


def test_names_of_other_functions_are_found_out():
    sympy = pytest.importorskip("sympy")
    wrong = bump(
        sympy=lambda x: sympy.exp(x), numpy="np.exp({0})", javascript="Math.exp({0})", pytorch=lambda x: x.exp()
    )
    with pytest.raises(
        ValueError, match=r"formula of the operation 'bump' for SymPy is another function: at 0\.5 it is"
    ):
        show.expression_growth(wrong, 0.5, depth=1)
    with pytest.raises(TypeError, match="compiled it gives"):
        compile(lambda w, x: wrong(w[0] * x), backend="numpy").value_and_grad([1.0], [0.5, 0.7])
    if find_spec("torch"):
        with pytest.raises(ValueError, match="còn trong PyTorch là"):
            derivatives(wrong, (0.5,))


def test_a_loop_is_no_formula():
    @operation(partials=lambda out, x: 0.5 / out)
    def root(x):
        w = x
        for _ in range(60):
            w = 0.5 * (w + x / w)
        return w

    with pytest.raises(ValueError, match="no formula for the operation 'root'"):
        show.three_ways(root, 2.0)


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"sympy": "exp"}, "sympy= of bump is a function of the operands"),
        ({"formula": 3.0}, "formula= of bump is a function of the operands"),
    ],
)
def test_facts_of_another_kind_are_refused(facts, message):
    with pytest.raises(TypeError, match=message):
        bump(**facts)


def test_a_text_is_for_a_fixed_number_of_operands():
    with pytest.raises(TypeError, match="numpy= is for a fixed number of operands, and add_up takes any number"):
        operation(partials=lambda out, *xs: (1.0,) * len(xs), name="add_up", numpy="{0}")(lambda *xs: sum(xs))


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_family_of_ones_own(backend, monkeypatch):
    monkeypatch.setattr(rows, "FAMILIES", dict(rows.FAMILIES))

    @rows.family
    def bent(slope):
        return rows.new_row(
            "bent", lambda x: math.sinh(slope * x), lambda out, x: (slope * ops.cosh(slope * x),), "sinh(slope * x).",
            constants=(slope,),
        )  # fmt: skip

    step = compile(lambda w, x: rows.apply(bent(0.5), w[0] * x) + rows.apply(bent(2.0), x), backend=backend)
    assert step.each([1.0], POINTS).tolist() == pytest.approx(
        [math.sinh(0.5 * x) + math.sinh(2.0 * x) for x in POINTS], rel=1e-14
    )


def test_a_family_has_no_built_in_name_and_its_rows_have_the_familys():
    def power(n):
        return n

    with pytest.raises(ValueError, match="'power' is a built-in operation"):
        rows.family(power)


@pytest.mark.parametrize("backend", BACKENDS)
def test_compiled(backend):
    squash = make()
    step = compile(lambda w, x: squash(w[0] * x), backend=backend)
    values, slopes, seconds = zip(*map(true, POINTS), strict=True)
    assert step.each([1.0], POINTS).tolist() == pytest.approx(values, rel=1e-14)
    mean, [slope] = step.value_and_grad([1.0], POINTS)
    assert mean == pytest.approx(math.fsum(values) / 4, rel=1e-14)
    assert slope == pytest.approx(math.fsum(x * s for x, s in zip(POINTS, slopes, strict=True)) / 4, rel=1e-14)
    [[second]] = step.hessian([1.0], POINTS)
    assert second == pytest.approx(math.fsum(x * x * s for x, s in zip(POINTS, seconds, strict=True)) / 4, rel=1e-13)
    assert 'OWN["squash"]' in step.source


# --- Never taken for a built-in one -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["tanh", "power", "leaky_relu", "exp", "softplus"])
def test_a_name_that_leads_to_a_built_in_row_is_taken(name):
    for make_row in (make, by_operation):
        with pytest.raises(ValueError, match=f"'{name}' is a built-in operation"):
            make_row(name)


CALLED_LIKE_ONE = ["softplus", "exp", "less", "neg", "power", "relu", "where", "total", "dot"]


def other(name, x):
    """A function with a derivative of its own that is called like a built-in one: 3x + 1."""

    def f(x):
        return 3.0 * x + 1.0

    f.__name__ = name
    return custom_derivative(lambda out, x: 3.0)(f)(x)


def unlisted(name):
    """A row outside of the table that is called like a built-in one: 3x + 1."""
    return rows.new_row(name, lambda x: 3.0 * x + 1.0, (3.0,), "3x + 1.")


@pytest.mark.parametrize("name", CALLED_LIKE_ONE)
@pytest.mark.parametrize("kind", ["custom_derivative", "new_row", "changed"])
def test_an_own_row_that_is_called_like_a_built_in_one_is_not_taken_for_it(name, kind):
    changed = ops.softplus.operation.changed(
        name=name,
        value=lambda x: 3.0 * x + 1.0, partials=lambda out, x: (3.0,), formula=lambda x: 3.0 * x + 1.0,
        constant_partials=None, flows=None, arity=1, taught=lambda out, x: (3.0,),
    )  # fmt: skip

    def f(x):
        if kind == "custom_derivative":
            return other(name, x)
        return rows.apply(unlisted(name) if kind == "new_row" else changed, x)

    x = Value(0.25, "x")
    y = f(x)
    y.backward()
    assert (y.data, x.grad) == (1.75, 3.0)
    assert grad(f)(0.25) == 3.0
    # compiled: refused, or right
    with pytest.raises(TypeError, match=r"cannot be compiled|does not lead to this one"):
        compile(lambda w: f(w[0])).value_and_grad([0.25])
    # SymPy and PyTorch: by its formula, or refused
    if kind == "custom_derivative":
        with pytest.raises(ValueError, match="no formula for the operation"):
            show.expression_growth(f, 0.25, depth=1)
        if find_spec("torch"):
            with pytest.raises(ValueError, match="PyTorch không có phép toán"):
                derivatives(f, (0.25,))
    else:
        assert show.expression_growth(f, 0.25, depth=1).rows[0].difference == 0.0
        if find_spec("torch"):
            assert derivatives(f, (0.25,)) == [3.0]
    # the page
    program = page_of(f(Value(0.25, "x")))
    computes = program.facts[-1]["computes"]
    own = program.own[computes]
    assert computes not in rows.table_keys()
    assert "tree" not in own or compute(program, computes, 2.0) == 7.0
    # tables and drawings
    assert "1.75" in str(Tape(f(Value(0.25, "x"))).adjoint().table())
    assert "1.75" in f(Value(0.25, "x")).draw().source


def test_an_own_row_called_like_a_comparison_compiles_as_itself():
    make("less")
    step = compile(lambda w, x: evaluate("less(x)", {"x": w[0] * x}) + (x < 0.5) * w[0])
    assert step.each([1.0], POINTS).tolist() == pytest.approx([true(x)[0] + (x < 0.5) for x in POINTS], rel=1e-14)


# --- Every built-in row is known everywhere ---------------------------------------------------------------------------

KEYS = {*rows.table_keys().values()}
#: sums and products, which are dots in the compiler
SUMS_AND_PRODUCTS = {*map(rows.key_of, ("add", "sub", "mul", "neg", "dot", "total"))}
#: computed by the row's own value, one number after the other, since NumPy lacks them
ONE_BY_ONE = {*map(rows.key_of, ("erf", "erfc", "erfinv", "gelu", "ndtri"))}


def test_every_row_has_its_name_in_every_other_system():
    assert KEYS - known.CODES.keys() == SUMS_AND_PRODUCTS
    lines = SUMS_AND_PRODUCTS - {rows.key_of("total")}
    assert KEYS - NUMPY.written.keys() - NUMPY.defined_here.keys() == lines | ONE_BY_ONE
    assert KEYS - JAX.written.keys() - JAX.defined_here.keys() == lines
    assert {*COMPARISONS} <= NUMPY.written.keys() & JAX.written.keys()
    assert known.DEFINED | known.DIFFERENTIABLE | known.EXACT | known.SMOOTH | known.TELLING <= KEYS | NAMELESS
    script = stepper._resource("stepper.js")
    values = script[script.index("const VALUE = {") : script.index("function run(")]
    for name in [*rows.table_keys(), *[op.name for op in COMPARISONS]]:
        assert f"{name}: (" in values, name


def test_every_row_has_its_formula_in_sympy():
    sympy = pytest.importorskip("sympy")
    assert sympy_formulas.formulas(sympy, float).keys() == KEYS


def test_every_row_has_its_function_in_pytorch():
    torch = pytest.importorskip("torch")
    assert functions(torch).keys() == KEYS | {*COMPARISONS}
    for op in rows.OPERATIONS.values():
        point = [x for x in op.points if len(x) == (op.arity or len(x)) and max(map(abs, x)) < 5.0][-1]
        xs = [torch.tensor(x, dtype=torch.float64) for x in point]
        found = functions(torch)[op.key](*xs, *op.constants).item()
        assert found == pytest.approx(op.value(*point), rel=1e-12, abs=1e-15), op


def test_an_operation_is_told_by_its_row_and_never_by_its_name():
    """In the text of the package: no name of a row is compared with a text."""
    package = Path(rows.__file__).parent
    for path in package.rglob("*.py"):
        found = re.findall(r"(?:op|kind)\.name (?:==|!=|in|not in) [\"(\[{].*", path.read_text(encoding="utf-8"))
        assert found == [], path


@pytest.mark.parametrize("name", ["swish", "mish", "max", "norm"])
def test_a_name_of_two_meanings_has_none_in_a_text(name):
    make(name)
    with pytest.raises(ValueError, match=f"'{name}' is a function of tinygrad_vi and an operation of your own"):
        evaluate(f"{name}(x)", {"x": 1.0})
    assert evaluate("tanh(x)", {"x": 0.0}) == 0.0


@pytest.mark.parametrize("name", ["identity", "linear", "softmax"])
def test_a_name_of_two_meanings_is_no_activation(name):
    make(name)
    with pytest.raises(ValueError, match=f"'{name}' is a function of tinygrad_vi and an operation of your own"):
        nn.Layer(1, 2, name)
    assert nn.Layer(1, 2, "tanh")([0.5])
