import math
import random
import re

import numpy as np
import pytest
import sympy
from judges import DEFINITIONS

from tinygrad_vi import (
    DomainError,
    Tape,
    Value,
    dot,
    exp,
    gelu,
    log,
    logsumexp,
    maximum,
    nn,
    relu,
    sigmoid,
    sin,
    sqrt,
    tanh,
    total,
    where,
)
from tinygrad_vi.expression import evaluate
from tinygrad_vi.ops import power
from tinygrad_vi.rows import OPERATIONS
from tinygrad_vi.show.tapes import equations as layout
from tinygrad_vi.show.tapes.derivation import MOST_PATHS, derive
from tinygrad_vi.show.tapes.table import MAX_ROWS

close = pytest.approx


def book():
    x1, x2 = Value(2.0, "x1"), Value(5.0, "x2")
    return log(x1) + x1 * x2 - sin(x2), x1, x2


def doubled(times):
    x = y = Value(1.0, "x")
    for _ in range(times):
        y = y + y
    return y, x


def network():
    """The 2-2-1 net of exercise B38: sigmoid hidden units, L = (t - a)**2 / 2."""
    weights = {
        "w10": 0.35,
        "w11": 0.15,
        "w12": 0.2,
        "w20": 0.35,
        "w21": 0.25,
        "w22": 0.3,
        "v10": 0.6,
        "v11": 0.4,
        "v12": 0.45,
    }
    w = {name: Value(number, name) for name, number in weights.items()}
    x1, x2 = Value(0.05, "x1"), Value(0.1, "x2")
    h1 = sigmoid(dot([w["w11"], w["w12"]], [x1, x2], w["w10"]))
    h2 = sigmoid(dot([w["w21"], w["w22"]], [x1, x2], w["w20"]))
    a = dot([w["v11"], w["v12"]], [h1, h2], w["v10"])
    loss = 0.5 * (a - 0.01) ** 2
    h1.label, h2.label, a.label, loss.label = "h1", "h2", "a", "L"
    return loss, {**w, "x1": x1, "x2": x2, "h1": h1, "h2": h2, "a": a}


def page(derivation):
    """The printed equations by the beginning of the sentence above: {"The nodes": [(left, [stage, ...]), ...], ...}."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "WIDTH", 10**9)
        lines = derivation.to_text().splitlines()
    found = {}
    for line in lines:
        left, *stages = [piece.strip() for piece in line.split(" = ")]
        if not line.startswith("  "):
            equations = found.setdefault(re.match(r"\w+( \w+)?", line)[0], [])
        elif left:
            equations.append((left, stages))
        else:  # the next stage of the same equation
            equations[-1][1].extend(stages)
    return found


def chain(derivation):
    """The stages of ∂y/∂x."""
    return page(derivation)["Chain rule"][-1]


def beside(derivation):
    """The numbers that the page gives for operands on no path."""
    [line] = [line for line in str(derivation).splitlines() if line.startswith("Not depending")] or [": ."]
    return dict(pair.split(" = ") for pair in line.rstrip(".").split(": ")[1].split(", ") if pair)


def ascii_names(text):
    return text.translate(str.maketrans("₀₁₂₃₄₅₆₇₈₉₋", "0123456789_")).replace("·", "*")


def parsed(text, definitions):
    """A printed formula as SymPy reads it, with the operations as the judges define them."""
    names = re.findall(r"[A-Za-z]\w*", ascii_names(text))
    known = {name: definitions.get(name, sympy.Symbol(name, real=True)) for name in names}
    return sympy.sympify(ascii_names(text), locals={**known, **DEFINITIONS})


def check_numbers(derivation):
    """The data: factors multiply to contributions, these add up to the derivative."""
    for step in derivation.steps:
        products = [math.prod(factor.number for factor in product) for product in step.products]
        assert products == close(step.contributions, rel=1e-12)
        scale = math.fsum(map(abs, products))
        assert math.fsum(products) == close(step.derivative, rel=1e-12, abs=1e-12 * scale)
        for product in step.products:
            assert product[0].of is derivation.y
            assert product[-1].by is step.node
            assert [upper.by for upper in product[:-1]] == [lower.of for lower in product[1:]]
    if derivation.steps:
        assert derivation.steps[-1].node is derivation.x
        assert derivation.steps[-1].derivative == derivation.total
    assert derivation.factors == [[f.number for f in p] for s in derivation.steps[-1:] for p in s.products]
    assert derivation.contributions == [p for s in derivation.steps[-1:] for p in s.contributions]


# --- The textbook's page ----------------------------------------------------------------------------------------------


def test_seed_B05_by_x1_is_the_textbooks_page():
    y, x1, _ = book()
    assert str(derive(y, x1)) == (
        "The nodes from x1 to y:\n"
        "  x1 = 2\n"
        "  v₁ = log(x1) = log(2) = 0.6931\n"
        "  v₂ = x1 * x2 = 2 * 5 = 10\n"
        "  v₄ = v₁ + v₂ = 0.6931 + 10 = 10.69\n"
        "  y  = v₄ - v₃ = 10.69 - (-0.9589) = 11.65\n"
        "Not depending on x1: x2 = 5, v₃ = -0.9589.\n"
        "Local derivatives:\n"
        "  ∂v₁/∂x1 = 1 / x1 = 1 / 2 = 0.5\n"
        "Chain rule, the sum over the 2 paths from y down to x1:\n"
        "  ∂y/∂x1 = ∂y/∂v₄·∂v₄/∂v₁·∂v₁/∂x1 + ∂y/∂v₄·∂v₄/∂v₂·∂v₂/∂x1\n"
        "         = 1·1·(1 / x1) + 1·1·x2\n"
        "         = 1·1·0.5 + 1·1·5\n"
        "         = 0.5 + 5\n"
        "         = 5.5"
    )


def test_seed_B05_in_latex():
    y, x1, _ = book()
    assert derive(y, x1).to_latex().split("\n")[-10:] == [
        r"Chain rule, the sum over the $2$ paths from $y$ down to $x_{1}$:",
        r"\[",
        r"\begin{aligned}",
        r"\frac{\partial y}{\partial x_{1}} &= \frac{\partial y}{\partial v_{4}} \cdot \frac{\partial v_{4}}{\partial v_{1}}"
        r" \cdot \frac{\partial v_{1}}{\partial x_{1}} + \frac{\partial y}{\partial v_{4}} \cdot"
        r" \frac{\partial v_{4}}{\partial v_{2}} \cdot \frac{\partial v_{2}}{\partial x_{1}} \\",
        r"&= 1 \cdot 1 \cdot \frac{1}{x_{1}} + 1 \cdot 1 \cdot x_{2} \\",
        r"&= 1 \cdot 1 \cdot 0.5 + 1 \cdot 1 \cdot 5 \\",
        r"&= 0.5 + 5 \\",
        r"&= 5.5",
        r"\end{aligned}",
        r"\]",
    ]


def test_seed_B05_by_x2_and_its_data():
    y, _, x2 = book()
    derivation = derive(y, x2)
    v4, v3 = y.parents
    assert derivation.paths == [[y, v4, v4.parents[1], x2], [y, v3, x2]]
    assert derivation.factors == [[1, 1, 2], [-1, close(math.cos(5))]]
    assert derivation.contributions == [2, close(-0.28366218546322625)]
    assert (derivation.total, derivation.n_paths) == (close(1.7163378145367738), 2)
    assert chain(derivation)[1][-2:] == ["2 - 0.2837", "1.716"]


def test_the_factored_form_goes_node_by_node_from_the_output_down():
    y, x1, _ = book()
    derivation = derive(y, x1, paths=False)
    assert page(derivation)["Chain rule"] == [
        ("∂y/∂v₄", ["1"]),
        ("∂y/∂v₂", ["∂y/∂v₄·∂v₄/∂v₂", "1·1", "1"]),
        ("∂y/∂v₁", ["∂y/∂v₄·∂v₄/∂v₁", "1·1", "1"]),
        (
            "∂y/∂x1",
            ["∂y/∂v₁·∂v₁/∂x1 + ∂y/∂v₂·∂v₂/∂x1", "∂y/∂v₁·(1 / x1) + ∂y/∂v₂·x2", "1·0.5 + 1·5", "0.5 + 5", "5.5"],
        ),
    ]
    assert (derivation.total, derivation.paths) == (5.5, [])
    check_numbers(derivation)


# --- The exercises ----------------------------------------------------------------------------------------------------


def test_seed_B01():
    x, y, z = Value(-2.0, "x"), Value(5.0, "y"), Value(-4.0, "z")
    q = x + y
    f = q * z
    q.label, f.label = "q", "f"
    assert [derive(f, v).total for v in (x, y, z, q)] == [-4, -4, 3, -4]
    assert chain(derive(f, x)) == ("∂f/∂x", ["∂f/∂q·∂q/∂x", "z·1", "(-4)·1", "-4"])
    assert page(derive(f, z))["The derivative"] == [("∂f/∂z", ["q", "3"])]


def test_seed_B02():
    w, x = [Value(v, f"w{i}") for i, v in enumerate((2.0, -3.0, -3.0))], [Value(-1.0, "x0"), Value(-2.0, "x1")]
    z = w[0] * x[0] + w[1] * x[1] + w[2]
    s = sigmoid(z)
    z.label, s.label = "z", "s"
    gradient = (-0.196611933, -0.393223866, 0.196611933, 0.393223866, -0.5898358)
    assert [derive(s, v).total for v in (*w, *x)] == close(gradient, abs=1e-9)
    assert page(derive(s, w[0]))["Local derivatives"] == [("∂s/∂z", ["s * (1 - s)", "0.7311 * (1 - 0.7311)", "0.1966"])]
    assert chain(derive(s, w[0]))[1][1] == "(s * (1 - s))·1·1·x0"


def test_seed_B04():
    x = Value(1.3, "x")
    derivation = derive(exp(sin(x**2)), x)
    assert chain(derivation)[1][:2] == ["∂y/∂v₂·∂v₂/∂v₁·∂v₁/∂x", "y·cos(v₁)·(2 * x)"]
    t = sympy.Symbol("x")
    assert derivation.total == close(float(sympy.exp(sympy.sin(t**2)).diff(t).subs(t, 1.3)), rel=1e-12)


def test_seed_B12():
    a, b = Value(2.0, "a"), Value(1.0, "b")
    e = (a + b) * (b + 1)
    e.label = "e"
    assert chain(derive(e, b)) == ("∂e/∂b", ["∂e/∂v₁·∂v₁/∂b + ∂e/∂v₂·∂v₂/∂b", "v₂·1 + v₁·1", "2·1 + 3·1", "2 + 3", "5"])
    assert (derive(e, a).total, derive(e, b).total) == (2, 5)


def test_seed_B13_has_more_paths_than_are_written():
    y, x = doubled(30)
    derivation = derive(y, x)
    assert (derivation.n_paths, derivation.total) == (2**30, 2**30)
    assert "(1073741824 paths)" in str(derivation)
    assert [step.derivative for step in derivation.steps] == [2.0**k for k in range(1, 31)]
    assert page(derivation)["Chain rule"][1] == (
        "∂y/∂v₂₈",
        ["∂y/∂v₂₉·∂v₂₉/∂v₂₈|₁ + ∂y/∂v₂₉·∂v₂₉/∂v₂₈|₂", "2·1 + 2·1", "2 + 2", "4"],
    )
    check_numbers(derivation)
    with pytest.raises(ValueError, match="1073741824 paths from x to y are more than the 200"):
        derive(y, x, paths=True)


def test_both_forms_end_at_the_same_number():
    y, x = doubled(7)
    summed, factored = derive(y, x, paths=True), derive(y, x, paths=False)
    assert summed.total == factored.total == 128
    assert len(summed.paths) == summed.n_paths == factored.n_paths == 128
    assert (len(summed.steps), len(factored.steps)) == (1, 7)
    check_numbers(summed)


def test_seed_B38():
    loss, v = network()
    expected = {
        "w11": 0.00528885772760, "w12": 0.01057771545521, "w10": 0.10577715455206,
        "w21": 0.00593301779366, "w22": 0.01186603558731, "w20": 0.11866035587313,
        "v11": 0.65016812442777, "v12": 0.65412915177964, "v10": 1.09590596705977,
    }  # fmt: skip
    assert {name: derive(loss, v[name]).total for name in expected} == {
        k: close(g, rel=1e-9) for k, g in expected.items()
    }
    derivation = derive(loss, v["w11"])
    assert chain(derivation) == (
        "∂L/∂w11",
        [
            "∂L/∂v₇·∂v₇/∂v₆·∂v₆/∂a·∂a/∂h1·∂h1/∂v₁·∂v₁/∂w11",
            "0.5·(2 * v₆)·1·v11·(h1 * (1 - h1))·x1",
            "0.5·2.192·1·0.4·0.2413·0.05",
            "0.005289",
        ],
    )
    check_numbers(derivation)
    assert derive(loss, v["x1"]).n_paths == 2


# --- Judges -----------------------------------------------------------------------------------------------------------


def graphs():
    x, w, c = Value(0.7, "x"), Value(1.9, "w"), Value(2.5, "c")
    yield x * x, x
    yield x * x * x - x / w, x
    yield x / w + w / x, w
    yield x**w, x
    yield x**w, w
    yield (x + w) ** -1.5 * 2**x, x
    yield exp(sin(x) * w) / (1 + exp(-x)), x
    yield tanh(w * x + c) * sigmoid(x * c), x
    yield log(sqrt(x * w) + c), w
    yield where(x, x * w, w) + maximum(x, w) * abs(x) - relu(x - 2), x
    yield gelu(x * w), x
    yield dot([x, w, c], [w, x, 3.0], x), x
    yield total([x, w, x * c, 4.0]), x
    yield logsumexp([x, w, x * w]), x
    h = tanh(x)
    yield h * w + h * x + h, x
    yield h * w + h * x, h
    yield book()[:2]
    loss, v = network()
    for name in ("w11", "v12", "x2", "h2"):
        yield loss, v[name]


@pytest.mark.parametrize(("y", "x"), list(graphs()))
def test_the_printed_derivative_is_sympys_derivative_of_the_printed_definitions(y, x):
    derivation = derive(y, x, paths=True, digits=12)
    (name, (*_, value)), *rows = [(ascii_names(left), stages) for left, stages in page(derivation)["The nodes"]]
    definitions = {}
    for left, (formula, *_) in rows:
        definitions[left] = parsed(formula, definitions)
    expected = definitions[rows[-1][0]].diff(sympy.Symbol(name, real=True))
    [(_, stages)] = page(derivation).get("Chain rule") or page(derivation)["The derivative"]
    printed = parsed(next(stage for stage in stages if "∂" not in stage), definitions)

    numbers = {name: value} | {ascii_names(v): number for v, number in beside(derivation).items()}
    here = {sympy.Symbol(v, real=True): sympy.Rational(number) for v, number in numbers.items()}
    assert derivation.total == close(float(expected.subs(here).evalf(30)), rel=1e-9)
    for nudge in (sympy.Rational(0), sympy.Rational(1, 7), sympy.Rational(1, 3)):  # equal as functions
        there = {symbol: number + nudge for symbol, number in here.items()}
        assert float(printed.subs(there).evalf(30)) == close(float(expected.subs(there).evalf(30)), rel=1e-3)
    check_numbers(derivation)
    check_numbers(derive(y, x, paths=False))


STEPS = (
    lambda a, b, c: a * b,
    lambda a, b, c: a - b * 0.5,
    lambda a, b, c: dot([a, b], [c, a], b),
    lambda a, b, c: sin(a + c),
    lambda a, b, c: total([a, a, c]),
)


def random_graph(rng):
    nodes = [Value(rng.uniform(0.5, 1.5), f"x{i}") for i in range(3)]
    for _ in range(12):
        step = rng.choice(STEPS)
        nodes.append(step(*rng.choices(nodes[-6:], k=3)))
    return total(nodes), nodes


@pytest.mark.parametrize("seed", range(12))
def test_linear_algebra_counts_the_paths_and_sums_their_products(seed):
    """With A[v, u] the edges from u to v, (I - A)**-1 sums over all paths; with W the local derivatives, likewise."""
    rng = random.Random(seed)
    y, nodes = random_graph(rng)
    everything = list(dict.fromkeys(v for node in Tape(y).operations for v in (*node.parents, node)))
    place = {node: i for i, node in enumerate(everything)}
    edges, local = np.zeros((2, len(place), len(place)))
    for node in everything:
        for parent, partial in zip(node.parents, node.local_grads, strict=True):
            edges[place[node], place[parent]] += 1
            local[place[node], place[parent]] += partial
    count, derivative = (np.linalg.inv(np.eye(len(place)) - matrix) for matrix in (edges, local))
    for x in nodes[:6]:
        derivation = derive(y, x, paths=False)
        assert derivation.n_paths == round(count[place[y], place[x]])
        assert derivation.total == close(derivative[place[y], place[x]], rel=1e-9)
        check_numbers(derivation)
        if derivation.n_paths <= MOST_PATHS:
            summed = derive(y, x, paths=True)
            assert len(summed.paths) == len(
                {tuple((f.of, f.operand) for f in p) for s in summed.steps for p in s.products}
            )
            assert len(summed.paths) == derivation.n_paths
            check_numbers(summed)
        stop = rng.sample(nodes[6:], 2)
        stopped = derive(y, x, stop=stop, paths=False)
        assert stopped.total == derivation.total
        assert stopped.stops == {h: close(derivative[place[y], place[h]], rel=1e-9) for h in stopped.stops}
        check_numbers(stopped)


@pytest.mark.parametrize("op", [*OPERATIONS.values(), *map(power, (0.5, -1.0, 3.0))], ids=str)
def test_every_printed_local_derivative_evaluates_to_the_number_recorded(op):
    checked = 0
    for point in (*op.points, *op.corners):
        if max(map(abs, point)) > 30 or 0.0 < min(map(abs, point)) < 1e-8:  # in the tails the page's digits cancel
            continue
        operands = [Value(x, f"a{i}") for i, x in enumerate(point)]
        y = Value.record(op, *operands)
        y.label = "y"
        names = {v.label: v.data for v in (y, *operands)}
        for i, x in enumerate(operands[:6]):
            [(left, stages)] = page(derive(y, x))["The derivative"]
            assert left == f"∂y/∂a{i}"
            for stage in stages:
                value = evaluate(stage.replace(" (by convention)", ""), names)
                assert value == close(y.local_grads[i], rel=0.06, abs=1e-3 if stage == stages[0] else 1e-9)
            assert evaluate(stages[-1].replace(" (by convention)", ""), {}) == close(y.local_grads[i], rel=1e-3)
            checked += 1
    assert checked


# --- Small cases ------------------------------------------------------------------------------------------------------


def test_where_there_is_nothing_to_derive_the_reason_is_said():
    y, x1, _ = book()
    a, b = Value(1.0, "a"), Value(2.0, "b")
    assert str(derive(y, a)) == "∂y/∂a = 0, because y does not depend on a."
    assert str(derive(a, a)) == "∂a/∂a = 1, because both are the same node."
    assert str(derive(y, y)) == "∂y/∂y = 1, because both are the same node."
    assert str(derive(a, b)) == "∂a/∂b = 0, because a is a leaf: it was made of no other node."
    assert str(derive(x1, y)) == "∂x1/∂x = 0, because x1 is a leaf: it was made of no other node."
    assert derive(y, a).to_latex() == r"$\frac{\partial y}{\partial a} = 0$, because $y$ does not depend on $a$." + "\n"
    for derivation, total_, n_paths in ((derive(y, a), 0.0, 0), (derive(a, a), 1.0, 1)):
        assert (derivation.total, derivation.n_paths) == (total_, n_paths)
        assert derivation.paths == derivation.contributions == derivation.factors == derivation.steps == []


def test_a_constant_without_a_label_gets_a_name():
    x = Value(3.0, "x")
    constant = Value(2.0)
    derivation = derive(x * constant, constant)
    assert page(derivation)["The derivative"] == [("∂y/∂u", ["x", "3"])]
    assert "u stands for a constant that has no label." in str(derivation)
    assert page(derive(Value(3.0) * constant, constant))["The derivative"] == [("∂y/∂v₀", ["v₋₁", "3"])]


def test_a_derivative_by_a_node_in_between():
    y, _, x2 = book()
    product = y.parents[0].parents[1]
    assert chain(derive(y, product)) == ("∂y/∂v₂", ["∂y/∂v₄·∂v₄/∂v₂", "1·1", "1"])
    product.label = "area"
    assert chain(derive(y, product))[0] == "∂y/∂area"
    assert chain(derive(y, x2))[1][0].startswith("∂y/∂v₄·∂v₄/∂area·∂area/∂x2")


def test_a_repeated_operand_is_two_paths_told_apart_by_marks():
    x = Value(3.0, "x")
    derivation = derive(x * x, x)
    assert chain(derivation) == ("∂y/∂x", ["∂y/∂x|₁ + ∂y/∂x|₂", "x + x", "3 + 3", "6"])
    assert (derivation.n_paths, derivation.contributions) == (2, [3, 3])
    assert "The mark |ₖ: by operand k alone, the others held fixed." in str(derivation)
    assert r"\left.\frac{\partial y}{\partial x}\right|_{2}" in derivation.to_latex()


def test_an_edge_gets_a_mark_exactly_when_it_is_not_the_only_way():
    x = Value(3.0, "x")
    h = x * 2.0
    h.label = "h"
    assert chain(derive(h * x, x))[1][0] == "∂y/∂h·∂h/∂x + ∂y/∂x|₂"
    assert chain(derive(h + h, x))[1][0] == "∂y/∂h|₁·∂h/∂x + ∂y/∂h|₂·∂h/∂x"
    assert "|" not in str(derive(h * Value(3.0, "w"), x))


def test_corners_show_the_number_agreed_upon():
    x, w = Value(3.0, "x"), Value(3.0, "w")
    assert page(derive(maximum(x, w), x))["The derivative"] == [("∂y/∂x", ["0.5 (by convention)"])]
    derivation = derive(maximum(x, w) * 2.0, x)
    assert page(derivation)["Local derivatives"] == [("∂v₁/∂x", ["0.5 (by convention)"])]
    assert chain(derivation)[1] == ["∂y/∂v₁·∂v₁/∂x", "2·0.5", "1"]
    zero = Value(0.0, "z")
    assert page(derive(abs(zero), zero))["The derivative"][0][1] == ["0 (by convention)"]
    assert page(derive(relu(zero), zero))["The derivative"][0][1] == ["step(z)", "step(0)", "0"]


def test_a_formula_that_cancels_is_no_convention():
    x = Value(1e13, "x")
    [(_, stages)] = page(derive(logsumexp([x, 1e13 - 1.0]), x))["The derivative"]
    assert stages == ["0.7311"]  # 1 / (1 + 1/e), where exp(x - y) with y rounded is far off


def test_what_is_0_stays_0_before_an_infinite_factor():
    x, w = Value(1e-300, "x"), Value(0.0, "w")
    y = (1e-100 / x) * w
    y.backward()
    derivation = derive(y, x)
    assert derivation.factors == [[0.0, -math.inf]]
    assert derivation.contributions == [0.0] == [derivation.total] == [x.grad]


def test_numbers_that_would_not_fit_are_not_put_into_a_formula():
    x, b = Value(20.0, "x"), Value(1e9 + 1.0, "b")
    assert page(derive(tanh(x), x))["The derivative"] == [("∂y/∂x", ["1 - y ** 2", "1.699e-17"])]  # not 1 - 1 ** 2
    y = b - 1e9
    assert page(derive(y, b))["The nodes"][-1] == ("y", ["b - 1e9", "1000000001 - 1e9", "1"])


# --- Stops ------------------------------------------------------------------------------------------------------------


def test_at_a_stop_the_derivative_stays_a_symbol_with_its_number():
    loss, v = network()
    derivation = derive(loss, v["w11"], stop=v["h1"])
    assert chain(derivation) == (
        "∂L/∂w11",
        ["∂L/∂h1·∂h1/∂v₁·∂v₁/∂w11", "∂L/∂h1·(h1 * (1 - h1))·x1", "0.4384·0.2413·0.05", "0.005289"],
    )
    loss.backward()
    assert derivation.stops == {v["h1"]: v["h1"].grad}
    assert str(derivation).endswith("Not expanded: ∂L/∂h1 = 0.4384 (4 operations).")
    assert [node.label for node in derivation.nodes] == ["w11", "", "h1"]
    assert derivation.paths == [[loss, v["h1"], v["h1"].parents[0], v["w11"]]]
    assert derivation.total == v["w11"].grad


def test_several_stops_and_a_path_beside_them():
    x, w = Value(2.0, "x"), Value(3.0, "w")
    z = x * w
    h, g = tanh(z * 0.1), z**2
    y = h * g + x * sin(h)
    z.label, h.label, g.label = "z", "h", "g"
    derivation = derive(y, x, stop=[h, g])
    assert chain(derivation)[1][0] == "∂y/∂v₇·∂v₇/∂x|₁ + ∂y/∂h·∂h/∂v₃·∂v₃/∂z·∂z/∂x + ∂y/∂g·∂g/∂z·∂z/∂x"
    assert "Depending on x through a stop: v₆ = 0.5116, v₅ = 19.33." in str(derivation)
    assert derivation.total == derive(y, x).total
    check_numbers(derivation)
    assert set(derive(y, x, stop=[z, h]).stops) == {z}  # every path from x meets z first
    assert str(derive(y, x, stop=[y, w])) == str(derive(y, x))


# --- Long derivations -------------------------------------------------------------------------------------------------


def test_a_long_sum_keeps_the_terms_that_matter_and_its_numbers_stay_right():
    w, x = [Value(0.1 * i, f"w{i}") for i in range(16)], [Value(1.0 + i, f"x{i}") for i in range(16)]
    y = dot(w, x, Value(0.5, "b"))
    derivation = derive(y, w[9])
    [_, (_, stages)] = page(derivation)["The nodes"]
    assert stages[0] == "w0 * x0 + w1 * x1 + w2 * x2 + w3 * x3 + ... + w9 * x9 + ... + b"
    assert stages[-1] == f"{y.data:.4g}"
    assert r"w_{9} \cdot x_{9} + \dots + b" in derivation.to_latex()
    assert page(derivation)["The derivative"] == [("∂y/∂w9", ["x9", "10"])]


def test_a_node_used_a_hundred_times_is_one_shortened_sum():
    x = Value(3.0, "x")
    derivation = derive(total([x * float(i) for i in range(100)]), x)
    left, stages = chain(derivation)
    assert left == "∂y/∂x"
    assert stages[-1] == "4950" == f"{derivation.total:.4g}"
    assert stages[-2] == "0 + 1 + 2 + 3 + 4 + ... + 99"
    assert derivation.contributions == [float(i) for i in range(100)]
    definition = page(derivation)["The nodes"][-1]
    assert definition[1][0] == "v₁ + v₂ + v₃ + v₄ + v₅ + ... + v₁₀₀"
    many = logsumexp([x, *map(float, range(9))])
    assert page(derive(many, x))["The nodes"][-1][1][0] == "logsumexp(x, 0, 1, 2, 3, ..., 8)"


def test_long_lines_are_broken_between_products_and_factors():
    x = Value(0.5, "x")
    y = x
    for _ in range(12):
        y = sin(y)
    text = derive(y * x, x, paths=True).to_text()
    assert max(map(len, text.splitlines())) < 100
    lines = text.splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("  ∂y/∂x"))
    assert lines[first + 1].strip().startswith("·∂v")
    assert lines[first + 2].strip() == "+ ∂y/∂x|₂"
    whole = "".join(line.strip() for line in lines[first : first + 3])
    assert whole.count("∂") == 2 * 14 + 2


@pytest.mark.slow
def test_a_long_chain_is_factored_and_a_screen_shows_its_ends():
    x = y = Value(0.5, "x")
    for _ in range(5000):
        y = sin(y)
    derivation = derive(y, x)
    assert (derivation.factored, len(derivation.steps)) == (True, 5000)
    assert str(derivation).count("\n") < 3 * MAX_ROWS + 10
    assert "⋮" in str(derivation)
    assert "4941 more" in str(derivation)
    assert derivation.to_text().count("\n") > 10_000
    assert len(derive(y, x, paths=True).paths[0]) == 5001


def test_astronomic_numbers_of_paths_are_counted_exactly_and_written_roughly():
    y, x = doubled(1000)
    derivation = derive(y, x)
    assert derivation.n_paths == 2**1000
    assert "(about 10^301 paths)" in str(derivation)
    assert r"$\text{about } 10^{301}$" in derivation.to_markdown()
    for _ in range(30):
        y = y * 0.5
    assert derive(y, x).total == 2.0**970


# --- Names and exports ------------------------------------------------------------------------------------------------

HOSTILE = [
    "50%_a",
    "$x$",
    r"a\b",
    "học sinh",
    "a{b",
    "}",
    "x^2~&#",
    "<b>|`*",
    "\\",
    "$$",
    "a\nb\x00",
    "x" * 300,
    "🎲d6",
    "θ1",
]


def check_latex(latex):
    """Braces, \\left and \\right, environments and dollars come in pairs, and no sign is left bare."""
    for display in re.split(r"\\\[|\\\]|\n?\$\$\n?", latex):
        bare = re.sub(r"\\\\|\\[{}$&#%_]", " ", display)
        depth = 0
        for c in bare:
            depth += (c == "{") - (c == "}")
            assert depth >= 0
        assert depth == 0
        assert bare.count("$") % 2 == 0
        assert "%" not in bare
        assert "#" not in bare
        assert bare.count(r"\left") == bare.count(r"\right")
        stack = []
        for which, name in re.findall(r"\\(begin|end)\{(\w+)\}", bare):
            assert which == "begin" or stack.pop() == name
            stack += [name] * (which == "begin")
        assert not stack
        assert "_" not in re.sub(r"_\{", "", bare)
        assert "^" not in re.sub(r"\^\{", "", bare)
        assert all(ord(c) >= 32 or c == "\n" for c in bare)
        if "&" in bare:
            assert r"\begin{aligned}" in bare


@pytest.mark.parametrize("label", HOSTILE)
@pytest.mark.parametrize("paths", [True, False])
def test_hostile_labels_give_valid_latex_and_markdown(label, paths):
    x, other = Value(0.7, label), Value(1.9, label[::-1] + "'")
    h = tanh(x * other)
    y = h**2 / x + exp(h)
    h.label, y.label = "h " + label, label + "2"
    for v in (x, other, h):
        derivation = derive(y, v, paths=paths)
        check_latex(derivation.to_latex())
        check_latex(derivation.to_markdown())
        assert derivation._repr_latex_() == derivation.to_latex()
        assert derivation._repr_markdown_() == derivation.to_markdown()
        assert "\x00" not in str(derivation)


@pytest.mark.parametrize(("y", "x"), list(graphs()))
@pytest.mark.parametrize("paths", [True, False])
def test_every_formula_is_valid_latex(y, x, paths):
    check_latex(derive(y, x, paths=paths).to_latex())


def test_a_label_that_is_no_name_of_its_own_is_replaced_by_the_rows_name():
    def names(*labels):
        values = [Value(float(i + 2), label) for i, label in enumerate(labels)]
        derivation = derive(values[0] * values[1], values[0])
        return page(derivation)["The nodes"][0], page(derivation)["The derivative"][0][1][0]

    assert names("a", "b") == (("a", ["2"]), "b")
    assert names("w", "w") == (("v₋₁", ["w", "2"]), "v₀")  # two of one name
    assert names("x1", "x_1") == (("v₋₁", ["x1", "2"]), "v₀")  # alike in LaTeX
    assert names("7", "1e5") == (("v₋₁", ["2"]), "v₀")  # 7 = 2 would not help
    assert names("x" * 50 + " y", "b") == (("v₋₁", ["x" * 39 + "…", "2"]), "b")
    assert names("learning rate", "b") == (("(learning rate)", ["2"]), "b")
    assert names("W1[0,1]", "b") == (("W1[0,1]", ["2"]), "b")


def test_a_label_like_a_rows_name_gives_way_to_the_row():
    a, b = Value(2.0, "v1"), Value(3.0, "b")
    derivation = derive((a + b) * b, a)
    assert chain(derivation)[0] == "∂y/∂v₋₁"
    assert page(derivation)["The nodes"][:2] == [("v₋₁", ["v1", "2"]), ("v₁", ["v₋₁ + b", "2 + 3", "5"])]
    x = Value(2.0, "x")
    v1 = log(x)
    v1.label = "v1"
    y = v1 * x
    y.label = "v2"
    assert chain(derive(y, x))[1][0] == "∂v2/∂v1·∂v1/∂x + ∂v2/∂x|₂"  # every row by its label: no harm


def test_the_output_takes_a_letter_that_is_free():
    y, f = Value(2.0, "y"), Value(3.0, "f")
    inner = y * f
    inner.label = "z"
    assert chain(derive(inner + y * 2.0, y))[0] == "∂w/∂y"


def test_parameters_of_a_network_keep_their_labels():
    model = nn.MLP(2, [2, 1], activation="tanh", output_activation="identity", seed=0)
    y = model([Value(1.0, "x0"), Value(2.0, "x1")])
    parameter = model.parameters()[0]
    derivation = derive(y, parameter)
    y.backward()
    assert derivation.total == parameter.grad
    assert chain(derivation)[0] == f"∂y/∂{parameter.label}"
    assert "W_{1}[0,0]" in derivation.to_latex()


def test_digits_are_those_asked_for():
    y, _, x2 = book()
    assert chain(derive(y, x2, digits=12))[1][-1] == "1.71633781454"
    assert chain(derive(y, x2, digits=2))[1][-1] == "1.7"
    assert derive(y, x2, digits=2).total == derive(y, x2, digits=12).total


def test_markdown_has_its_displays_between_blank_lines():
    y, x1, _ = book()
    markdown = derive(y, x1).to_markdown()
    assert markdown.count("\n\n$$\n\\begin{aligned}\n") == markdown.count("\n\\end{aligned}\n$$\n") == 3
    assert "Not depending on $x_{1}$: $x_{2} = 5$, $v_{3} = -0.9589$." in markdown


# --- Errors -----------------------------------------------------------------------------------------------------------


def test_no_gradient_is_read_or_changed():
    y, x1, x2 = book()
    y.backward()
    before = [(v.data, v.grad) for v in (*Tape(y), y)]
    x1.grad = math.nan
    derivation = derive(y, x1)
    assert derivation.total == 5.5
    assert "nan" not in str(derivation)
    x1.grad = before[0][1]
    assert [(v.data, v.grad) for v in (*Tape(y), y)] == before
    assert x2.grad == close(1.7163378145367738)


def test_what_is_no_value_is_refused():
    y, x1, _ = book()
    with pytest.raises(TypeError, match=r"derive takes Values, got 3.0 of type float for y"):
        derive(3.0, x1)
    with pytest.raises(TypeError, match=r"derive takes Values, got 'x1' of type str for x"):
        derive(y, "x1")
    with pytest.raises(TypeError, match=r"got \[Value.* of type list for x"):
        derive(y, [x1])
    with pytest.raises(TypeError, match=r"got 'h' of type str for stop"):
        derive(y, x1, stop="h")
    with pytest.raises(TypeError, match=r"got 1.5 of type float for stop"):
        derive(y, x1, stop=1.5)


def test_a_stop_that_is_not_in_the_graph_is_refused():
    y, x1, _ = book()
    with pytest.raises(
        ValueError, match=r"cannot stop at Value\(data=1.0, .*label='stranger'\): it is not in the graph of y"
    ):
        derive(y, x1, stop=Value(1.0, "stranger"))
    with pytest.raises(ValueError, match="x is itself a stop"):
        derive(y, x1, stop=[x1])


def test_other_bad_input_is_refused():
    y, x1, _ = book()
    for digits in (0, -1, 2.5, True):
        with pytest.raises(ValueError, match="digits must be a whole number of at least 1"):
            derive(y, x1, digits=digits)
    with pytest.raises(ValueError, match="paths must be True, False or None, got 'all'"):
        derive(y, x1, paths="all")
    with pytest.raises(DomainError, match="the result is inf"):
        derive(x1 * 1e308 * 1e308, x1)


def test_numbers_changed_after_the_record_are_refused():
    y, x1, x2 = book()
    x1.data = 3.0
    with pytest.raises(ValueError, match=r"after the graph was recorded: log\(3\.0 \(node 'x1'\)\) is 1\.098612"):
        derive(y, x1)
    x2.data = -1.0
    x1.data = 2.0
    with pytest.raises(ValueError, match="run the computation again"):
        derive(y, x1)


def test_displays_fit_a_page():
    x = Value(0.5, "x")
    y = total([sin(x * float(i)) for i in range(20)])
    displays = re.findall(r"\\begin{aligned}\n(.*?)\n\\end{aligned}", derive(y, x, paths=True).to_latex(), re.DOTALL)
    assert len(displays) > 4
    assert max(display.count("\n") + 1 for display in displays) == layout.LINES_OF_A_DISPLAY


def test_equal_signs_line_up_under_letters_with_accents_and_wide_letters():
    for label, columns in (("x\u0304", 1), ("愛", 2)):
        x = Value(2.0, label)
        y = exp(x)
        y.label = "long"
        lines = derive(y, x).to_text().splitlines()[1:3]
        assert lines[0] == f"  {label}" + " " * (4 - columns) + " = 2"
        assert lines[1].startswith("  long = exp(")
