"""What is printed is true: formulas read back, arithmetic computed again from the printed numbers, nothing changed."""

import copy
import math
import pickle
import random
import re

import pytest
import sympy
from svg import texts

from tinygrad_vi import (
    Tape,
    Value,
    dot,
    elu,
    exp,
    leaky_relu,
    log,
    losses,
    nn,
    no_grad,
    optim,
    show,
    tanh,
    total,
)
from tinygrad_vi.expression import evaluate
from tinygrad_vi.graph import check_unchanged, topological_order
from tinygrad_vi.ops import power
from tinygrad_vi.rows import FAMILIES, OPERATIONS, Operation, latex_number, new_row
from tinygrad_vi.show.writing.formula import Symbol
from tinygrad_vi.show.writing.numerals import true_product, true_sum, write_factor, write_number

# --- Formulas read back -----------------------------------------------------------------------------------------------

NAMES = {"a": 1.7, "b": -0.6, "c": 2.3}
BINARY = [OPERATIONS[name] for name in ("add", "sub", "mul", "div")]


def random_formula(rng, depth):
    """A formula as a Symbol, and what it is worth by plain Python."""
    if depth == 0 or rng.random() < 0.15:
        if rng.random() < 0.3:
            x = rng.choice([-3.0, 2.0, 0.5, -0.25, 1e-5, 2e-7])
            return Symbol.part(x), x
        name = rng.choice("abc")
        return Symbol(name), NAMES[name]
    kind = rng.choice(["binary"] * 4 + ["neg", "power", "total", "dot", "exponential", "pow"])
    parts = [random_formula(rng, depth - 1) for _ in range({"binary": 2, "total": 3, "dot": 5, "pow": 2}.get(kind, 1))]
    symbols, (x, *more) = [s for s, _ in parts], [v for _, v in parts]
    if kind == "binary":
        op = rng.choice(BINARY)
        return Symbol.record(op, *symbols), op.value(x, *more)
    if kind == "neg":
        return -symbols[0], -x
    if kind == "power":
        n = rng.choice([2.0, 3.0, -1.0])
        return symbols[0] ** n, x**n
    if kind == "exponential":
        return Symbol.record(FAMILIES["exponential"](2.0), symbols[0]), 2.0**x
    if kind == "pow":
        return Symbol.record(OPERATIONS["pow"], *symbols), math.pow(x, *more)
    op = OPERATIONS[kind]
    return Symbol.record(op, *symbols), op.value(x, *more)


def random_formulas(seed, count=400):
    rng = random.Random(seed)
    while count:
        try:
            symbol, value = random_formula(rng, 4)
            if not (1e-12 < abs(value) < 1e12):
                continue
        except (ArithmeticError, ValueError):
            continue
        yield symbol, value
        count -= 1


def test_python_reads_formulas_as_they_were_meant():
    for symbol, value in random_formulas(0):
        assert eval(symbol.text, {}, dict(NAMES)) == pytest.approx(value, rel=1e-6), symbol.text


def test_sympy_reads_formulas_as_they_were_meant():
    for symbol, value in random_formulas(1, 150):
        found = sympy.sympify(symbol.text, rational=False).subs({k: sympy.Float(v, 30) for k, v in NAMES.items()})
        assert complex(found) == pytest.approx(value, rel=1e-6), symbol.text


def from_latex(text):
    """The LaTeX of sums, products, fractions, powers and parentheses, as Python: read by its own small grammar."""
    pieces = re.findall(r"\\frac|\\cdot|\\left\(|\\right\)|[{}^+-]|[a-z]|\d+(?:\.\d+)?", text)
    at = 0

    def peek():
        return pieces[at] if at < len(pieces) else ""

    def take(expected=None):
        nonlocal at
        at += 1
        assert expected in (None, pieces[at - 1]), (expected, pieces[at - 1 :], text)
        return pieces[at - 1]

    def group():
        take("{")
        found = summed()
        take("}")
        return found

    def atom():
        if peek() == r"\left(":
            take()
            found = summed()
            take(r"\right)")
            return found, True
        if peek() == r"\frac":
            take()
            above = group()
            return f"({above})/({group()})", False
        return take(), True

    def raised():
        found, base = atom()
        if peek() == "^":
            assert base, f"a power of a fraction without parentheses: {text}"
            take()
            return f"(({found})**({group()}))"
        return f"({found})"

    def signed():
        if peek() == "-":
            take()
            return f"(-{signed()})"
        return raised()

    def product():
        found = signed()
        while peek() == r"\cdot":
            take()
            assert peek() != "-", f"a sign after a dot: {text}"
            found += f"*{raised()}"
        return found

    def summed():
        found = product()
        while peek() in ("+", "-"):
            sign = take()
            assert peek() not in ("+", "-"), f"two signs: {text}"
            found += sign + product()
        return f"({found})"

    found = summed()
    assert at == len(pieces), text
    return found


def test_latex_reads_as_it_was_meant():
    for symbol, value in random_formulas(2):
        assert eval(from_latex(symbol.latex), {}, dict(NAMES)) == pytest.approx(value, rel=1e-6), symbol.latex


a, b, c = (Symbol(name) for name in "abc")


@pytest.mark.parametrize(
    ("symbol", "text"),
    [
        ((a - b) * c, "(a - b) * c"),
        (a - (b - c), "a - (b - c)"),
        (a - (b + c), "a - (b + c)"),
        (a / (b * c), "a / (b * c)"),
        (a / (b / c), "a / (b / c)"),
        (-(a + b), "-(a + b)"),
        (-(a - b), "-(a - b)"),
        ((-a) ** 2, "(-a) ** 2"),
        (-(a**2), "-a ** 2"),
        (a * -b, "a * (-b)"),
        (a - -b, "a - (-b)"),
        (a.__neg__().__neg__(), "-(-a)"),
        (Symbol.record(FAMILIES["exponential"](2.0), -a), "2 ** (-a)"),
        (Symbol.record(OPERATIONS["pow"], a**2, b), "(a ** 2) ** b"),
        (Symbol.record(OPERATIONS["dot"], a + b, b - c, -a, c, a - b), "(a + b) * (-a) + (b - c) * c + (a - b)"),
        (Symbol.record(OPERATIONS["total"], a, -b, b - c), "a + (-b) + (b - c)"),
    ],
)
def test_parentheses(symbol, text):
    assert symbol.text == text


# --- Constants --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("digits", [1, 2, 4, 8, 17])
def test_a_large_exponent_is_whole_in_every_text(digits):
    u = Value(1.0001, "u")
    for text in (str(show.derive(u**12345, u, digits=digits)), Tape(u**12345).adjoint().table(digits=digits).to_text(),
                 show.draw_modes(u**12345, digits=digits).source, u.__pow__(12345).step_through(digits=digits).html):  # fmt: skip
        assert "12345" in text
        assert "1.234e4" not in text.replace("1.2345e4", "")
    assert "12345 * u ** 12344" in str(show.derive(u**12345, u, digits=digits))


@pytest.mark.parametrize(
    ("make", "text", "latex"),
    [
        (lambda x: leaky_relu(x, 0.3), "leaky_relu(v₀, 0.3)", r"\operatorname{leaky\_relu}\left(v_{0}, 0.3\right)"),
        (lambda x: leaky_relu(x), "leaky_relu(v₀)", r"\operatorname{leaky\_relu}\left(v_{0}\right)"),
        (
            lambda x: leaky_relu(x, 1e-5),
            "leaky_relu(v₀, 1e-5)",
            r"\operatorname{leaky\_relu}\left(v_{0}, 10^{-5}\right)",
        ),
        (lambda x: elu(x, 3), "elu(v₀, 3)", r"\operatorname{elu}\left(v_{0}, 3\right)"),
        (lambda x: elu(x), "elu(v₀)", r"\operatorname{elu}\left(v_{0}\right)"),
        (lambda x: x**1e-5, "v₀ ** 1e-5", "v_{0}^{10^{-5}}"),
        (lambda x: x**-2.5e-7, "v₀ ** -2.5e-7", r"v_{0}^{-2.5 \cdot 10^{-7}}"),
        (lambda x: 1e-5**x, "1e-5 ** v₀", r"\left(10^{-5}\right)^{v_{0}}"),
        (lambda x: 2.5**x, "2.5 ** v₀", "2.5^{v_{0}}"),
        (lambda x: x * 1e-5, "v₀ * 1e-5", r"v_{0} \cdot 10^{-5}"),
        (lambda x: x * 123456.0, "v₀ * 123456", r"v_{0} \cdot 123456"),
        (lambda x: x * 1e9, "v₀ * 1e9", r"v_{0} \cdot 10^{9}"),
        (lambda x: x - 1e-5, "v₀ - 1e-5", r"v_{0} - 10^{-5}"),
    ],
)
def test_a_formula_has_its_constants(make, text, latex):
    row = Tape(make(Value(2.0, "x"))).table().rows[1]
    assert (row[1].text, row[1].latex) == (text, latex)
    x = 2.0
    assert evaluate(text.replace("v₀", "x"), {"x": x}) == pytest.approx(make(x), rel=1e-12)


def test_a_users_row_with_a_constant_is_written_with_it():
    mine = new_row("soft", lambda x: math.log1p(math.exp(3 * x)) / 3, lambda out, x: (1.0,), "", constants=(3.0,))
    assert isinstance(mine, Operation)
    assert Symbol.record(mine, a).text == "soft(a, 3)"
    assert Symbol.record(OPERATIONS["softplus"], a).text == "softplus(a)"


@pytest.mark.parametrize(("written", "latex"), [
    ("1e-5", "10^{-5}"), ("-1e-5", "-10^{-5}"), ("2e-7", r"2 \cdot 10^{-7}"), ("1.5e20", r"1.5 \cdot 10^{20}"),
    ("11e3", r"11 \cdot 10^{3}"), ("inf", r"\infty"), ("3.5", "3.5"),
])  # fmt: skip
def test_numbers_in_latex(written, latex):
    assert latex_number(written) == latex


def test_factors_are_whole_or_rounded():
    assert [write_factor(x, 2) for x in (12345.0, 1e9, 0.333333, -7.0, 1e300, math.inf)] == [
        "12345", "1e9", "0.3333", "-7", "1e300", "inf",
    ]  # fmt: skip
    assert "e-05" not in "".join(row.text(["x"]) for row in map(power, (1e-5, 2.5e-7)))


# --- Arithmetic -------------------------------------------------------------------------------------------------------


def equations(text):
    """What each side of an equation is worth, as far as it can be computed, over as many lines as it takes."""
    sides: list[float] = []
    for line in [*text.splitlines(), "end"]:
        if not line.strip().startswith("="):
            yield sides
            sides = []
        for side in line.split("= ")[1:]:
            try:
                sides.append(evaluate(side.strip().replace("·", "*"), {}))
            except (ValueError, ArithmeticError):
                continue


def random_graph(rng):
    values = [
        Value(rng.choice([rng.uniform(-2, 2), rng.uniform(0.9999, 1.0001), 1000.0 * rng.random()]), n) for n in "xyz"
    ]
    for _ in range(6):
        u, v = rng.choice(values), rng.choice(values)
        values.append(
            rng.choice([u + v, u - v, u * v, tanh(u), u / 3.7, u**2, total([u, v, u]), dot([u, v], [v, u], 0.3)])
        )
    return values[-1] * values[-2], values[0]


@pytest.mark.parametrize("digits", [1, 2, 3, 4, 7])
def test_every_line_of_a_derivation_is_true_to_its_digits(digits):
    rng, checked = random.Random(digits), 0
    for _ in range(25):
        y, x = random_graph(rng)
        for paths in (True, False):
            for sides in equations(show.derive(y, x, paths=paths, digits=digits).to_text()):
                assert len({write_number(side, digits) for side in sides}) <= 1, sides
                checked += len(sides) > 1
    assert checked > 150


@pytest.mark.parametrize("digits", [1, 2, 4])
def test_every_row_of_a_table_is_true_to_its_digits(digits):
    rng, checked = random.Random(digits), 0
    for _ in range(25):
        y, _ = random_graph(rng)
        for row in Tape(y).table(digits=digits).rows:
            if row[2].text:
                assert write_number(evaluate(row[2].text, {}), digits) == row[3].text, row[2].text
                checked += 1
        for row in Tape(y).adjoint().table(digits=digits).rows:
            left, equals, right = row[5].text.partition(" = ") if "=" in row[5].text else ("", "", "")
            if equals:
                assert write_number(evaluate(left, {}), digits) == right
                checked += 1
    assert checked > 100


@pytest.mark.parametrize("digits", [1, 2, 4])
def test_every_product_on_a_circuit_and_a_sweep_is_true_to_its_digits(digits):
    rng, checked = random.Random(digits), 0
    for _ in range(6):
        y, _ = random_graph(rng)
        shown = [
            *texts(show.draw_circuit(y, local=True, digits=digits).svg),
            *texts(show.draw_modes(y, digits=digits).svg),
        ]
        for text in shown:
            *_, left, right = ["", *text.replace("×", "*").replace("·", "*").split(" = ")]
            try:
                found = evaluate(left.removeprefix("= "), {})
            except (ValueError, ArithmeticError):
                continue
            assert write_number(found, digits) == right, text
            checked += 1
    assert checked > 50


def test_terms_that_need_more_digits_get_them():
    assert true_sum([1.2345671, -1.2345659], 1.2e-6, 2) == ["1.2345671", "-1.2345659"]
    assert true_sum([0.1, 0.2, -0.3], 0.1 + 0.2 - 0.3, 4) is None  # the floats' own rounding: no decimals give it
    assert true_product([1.00001, 1.00001], 1.00001**2, 6) == ["1.00001", "1.00001"]
    assert true_sum([math.inf, 1.0], math.inf, 3) == ["inf", "1"]


# --- Numbers that were changed ----------------------------------------------------------------------------------------


def everything_shown(y, x):
    tape = Tape(y)
    sweep, derived = tape.adjoint(), show.derive(y, x)
    return {
        "draw": lambda: y.draw(),
        "draw neurons": lambda: y.draw(level="neuron"),
        "draw layers": lambda: y.draw(level="layer"),
        "circuit": lambda: show.draw_circuit(y),
        "modes": lambda: show.draw_modes(tape, "forward"),
        "page": lambda: y.step_through(),
        "tape": lambda: str(tape),
        "tape in LaTeX": lambda: tape.table().to_latex(),
        "sweep": lambda: str(sweep),
        "sweep in a notebook": lambda: sweep._repr_html_(),
        "derive": lambda: show.derive(y, x),
        "a derivation that is printed later": derived.to_latex,
    }


def unit():
    w, x, b = Value(3.0, "w"), Value(5.0, "x"), Value(0.5, "b")
    return tanh(w * x + b), w


@pytest.mark.parametrize("change", ["zero", "step", "inner", "nan", "infinite", "text"])
@pytest.mark.parametrize("what", everything_shown(*unit()))
def test_numbers_that_were_changed_are_not_shown(what, change):
    y, w = unit()
    shows = everything_shown(y, w)[what]
    shows()
    y.backward()
    if change == "step":
        w.grad = 1.0
        optim.SGD([w], 0.1).step()
    elif change == "inner":
        y.parents[0].data = 10.0
    else:
        w.data = {"zero": 0.0, "nan": math.nan, "infinite": math.inf, "text": "3"}[change]
    with pytest.raises(
        ValueError, match=r"the numbers were changed after the graph was recorded: .*run the computation"
    ):
        shows()


def test_the_first_operation_that_is_wrong_is_named():
    y, w = unit()
    w.data = 2.0
    with pytest.raises(ValueError, match=r"mul\(2\.0 \(node 'w'\), 5\.0 \(node 'x'\)\) is 10\.0, but 15"):
        check_unchanged(topological_order([y]))


def innocent():
    x = Value(2.0, "x")
    yield "NaN", Value(math.nan, "n") * x + 1.0
    yield "infinite", Value(math.inf, "i") * x - 1.0
    yield "overflow", Value(1e300, "h") * Value(1e300, "k")
    with no_grad():
        yield "no_grad", log(x) * 3.0
    for name, copied in (("pickle", lambda y: pickle.loads(pickle.dumps(y))), ("copy", copy.deepcopy)):
        yield name, copied(exp(x) * x.tanh() + dot([x, x], [x, 0.1], 0.3))
    net = nn.MLP(2, [3, 1], activation=lambda z: z * z.sigmoid(), seed=0)
    yield "net", losses.mse(net([Value(0.3), Value(-0.7)]), 1.0)
    yield "every operation", total(list(some_of_each(x)))
    twice = new_row("twice", lambda u: 2.0 * u, (2.0,), "2u")
    yield "a row of one's own", Value.record(twice, x) + 1.0
    y = x * 3.0
    x2 = Value(3, "whole")
    x2.data = 3
    yield "a whole number", x2 * 2.0 + y
    x3 = Value(1.0, "same")
    z = x3 * 2.0
    x3.data = 1.0
    yield "set to the same", z


def some_of_each(x):
    for op in OPERATIONS.values():
        if op.arity == 1:
            try:
                yield Value.record(op, x * 0.25)
            except (ArithmeticError, ValueError):
                continue


@pytest.mark.parametrize("name", [name for name, _ in innocent()])
def test_innocent_graphs_are_shown(name):
    y = dict(innocent())[name]
    check_unchanged(topological_order([y]))
    y.draw()
    if name != "no_grad":  # which a tape refuses: there is nothing to list
        str(Tape(y).table())
