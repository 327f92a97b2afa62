"""The judge for programs, on a few hundred of them; and the judge itself, which must find rules that are wrong."""

from random import Random

import pytest
from mpmath import mp, mpf

from tinygrad_vi import DomainError, Value, ops, rows

from . import command, generate, habits, judge, paths, programs, truth
from .programs import Node, Program
from .shrink import shrink

pytestmark = pytest.mark.filterwarnings("ignore")  # hostile numbers overflow on purpose


# --- The library, judged ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", range(0, 320, 40))
def test_no_program_gets_a_wrong_number_on_any_path(first):
    results = command.run(40, first, shrinks=2)
    assert not results.kinds, "\n" + results.shown() + "\n\n" + results.summary()


def W(i):
    return ("w", i)


def V(i):
    return ("v", i)


def C(c):
    return ("c", c)


def X(i):
    return ("x", i)


ALONE = ((),)
#: programs that floats make hard, each small: kept because random ones find them rarely
HARD = {
    "a softmax by hand": Program(
        (400.0, 399.0), ALONE, (),
        (Node("exp", (W(0),)), Node("exp", (W(1),)), Node("add", (V(0), V(1))), Node("div", (V(0), V(2)))),
    ),
    "a quotient of large numbers": Program((1e300, -1e200), ALONE, (), (Node("div", (W(0), W(1))),)),
    "a quotient of tiny numbers": Program((1e-200, 1e-200), ALONE, (), (Node("div", (W(0), W(1))),)),
    "a long product with a constant": Program(
        (1.9, 1.0), ALONE, (),
        (Node("loop", (W(1),), (), (Node("mul", (C(0.5), W(0))), Node("mul", (("b", 0), ("s", 0)))), 1080),),
    ),
    "the square of a tiny constant times a large number": Program(
        (1e120,), ALONE, (), (Node("mul", (C(1e-170), W(0))), Node("power", (V(0),), (2,)))
    ),
    "a factor times a difference": Program(
        (1.0000000001e8, 1e8), ALONE, (), (Node("sub", (W(0), W(1))), Node("mul", (C(1e8), V(0))))
    ),
    "a difference times a factor": Program(
        (1e8 + 1.0,), ALONE, (), (Node("sub", (W(0), C(1e8))), Node("mul", (V(0), C(0.1))))
    ),
    "a corner behind a quotient": Program(
        (49.0,), ALONE, (), (Node("div", (W(0), C(49))), Node("sub", (V(0), C(1))), Node("abs", (V(1),)))
    ),
    "a tie behind a quotient": Program((49.0,), ALONE, (), (Node("div", (W(0), C(49))), Node("maximum", (V(0), C(1))))),
    "a total that cancels": Program((1e16, 1.0, -1e16), ALONE, (), (Node("total", (W(0), W(1), W(2))),)),
    "a coefficient 0.0": Program(
        (1.5, 2.0), ((1.0,), (2.0,)), (),
        (Node("power", (W(0),), (2,)), Node("power", (W(1),), (2,)), Node("total", (V(0), V(1))), Node("mul", (C(0.0), V(2))),
         Node("add", (X(0), V(3)))),
    ),
    "a look-up that is swallowed": Program(
        (1.0, 2.0), ((0.0,), (2.0,)), (), (Node("take", (W(0), W(1), X(0))), Node("neg", (V(0),)), Node("sigmoid", (V(1),)))
    ),
    "a logarithm asked for elsewhere": Program((-2.0,), ALONE, (), (Node("log", (W(0),)),)),
    "an overflow that is swallowed": Program(
        (1.0,), ((1.0,), (1000.0,)), (), (Node("mul", (X(0), W(0))), Node("exp", (V(0),)), Node("tanh", (V(1),)))
    ),
    "a pole that is swallowed": Program(
        (1.0,), ((1.0,), (0.0,)), (), (Node("div", (W(0), X(0))), Node("atan", (V(0),)))
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HARD)
def test_hard_programs_are_right_on_every_path(name):
    report = judge.examine(HARD[name], judge.plan(HARD[name], 0, thorough=True))
    assert not report.findings, "\n".join([programs.runnable(HARD[name]), *map(str, report.findings)])


@pytest.mark.parametrize("make", dict.fromkeys(habits.TRACED), ids=lambda make: make.__name__)
def test_a_function_with_habits_gives_its_own_number_or_is_refused(make):
    found = habits.Found()
    for i in range(12):
        found.try_(make(Random(f"{make.__name__} {i}")))
    assert not found.kinds, "\n" + found.shown()


def test_modes_belong_to_the_thread_or_task_that_set_them():
    found = habits.Found()
    for i in range(80):
        found.try_schedule(habits.schedule(Random(f"schedule {i}")))
    assert not found.kinds, "\n" + found.shown()


def test_threads_that_predict_leave_the_others_alone():
    found = habits.Found()
    for i in range(6):
        found.try_(habits.predicting(Random(f"predicting {i}")))
    assert not found.kinds, "\n" + found.shown()


# --- The judge, judged ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*truth.TABLE, "power", "exponential"])
def test_the_functions_of_the_judge_have_the_derivatives_that_differences_give(name):
    constants = {"power": [(3,), (-2,), (0.5,), (0,), (1,)], "exponential": [(2,), (0.5,)]}.get(name, [()])
    makers = {"power": truth._power, "exponential": truth._exponential}
    with mp.workdps(80):
        for c in constants:
            f = makers[name](*map(mpf, c)) if c else truth.TABLE[name]
            for x in map(mpf, (0.3, 0.75, -0.4, 0.9, 2.5, -3.1)):
                try:
                    found = f(x)
                except truth.Undefined:
                    continue
                for order in (1, 2, 3):
                    expected = mp.diff(lambda z, f=f: f(z)[0], x, order, h=mpf(10) ** -18)
                    assert abs(found[order] - expected) < mpf(10) ** -12 * (1 + abs(expected))


def test_the_text_of_a_program_is_what_is_judged():
    used = set()
    for seed in range(1500):
        program = generate.program(seed)
        used |= set(programs.operations(program))
        if seed >= 400:  # some operations are rare
            continue
        c = paths.case(program)
        for row in program.examples:
            verdict = truth.judge(program, row)
            if verdict.unclear or verdict.error or verdict.notes:
                continue
            at = paths.Case(program, c.f, row)
            y = c.f(*at.leaves())
            right, bound = verdict.value
            assert abs(mpf(y.data) - right) <= bound
    assert used >= {*rows.OPERATIONS, *rows.FAMILIES, "take", "loop", "neuron", "sum", "softmax"}


def test_every_seed_gives_the_same_program_again():
    assert [generate.program(seed) for seed in range(50)] == [generate.program(seed) for seed in range(50)]


def _relative(p):
    return p * (1.0 + 1e-6)


#: row -> how its partials are made wrong
WRONG = {
    "tanh": lambda right: lambda out, *xs: tuple(_relative(p) for p in right(out, *xs)),
    "cos": lambda right: lambda out, *xs: tuple(-p for p in right(out, *xs)),
    "div": lambda right: lambda out, *xs: tuple(reversed(right(out, *xs))),
    "pow": lambda right: lambda out, *xs: tuple(reversed(right(out, *xs))),
    "silu": lambda right: lambda out, x: (ops.sigmoid(x),),
    "gelu": lambda right: lambda out, x: (0.5 * ops.erfc(-x * ops.SQRT_HALF),),
    "softplus": lambda right: lambda out, x: (ops.sigmoid(x) + 1e-6,),
    "atan": lambda right: lambda out, x: (1.0 / (1.0 + x),),
    "maximum": lambda right: lambda out, x, y: (ops.step(x - y), ops.step(y - x)),
    "erf": lambda right: lambda out, x: (ops.exp(-x * x),),
    "sech": lambda right: lambda out, x: (out * ops.tanh(x),),
    "where": lambda right: lambda out, c, x, y: (0.0, 1.0, ops.where(c, 0.0, 1.0)),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_rule_is_found_within_some_hundred_programs(name):
    row = rows.OPERATIONS[name]
    right = row.partials
    chosen = ["create_graph", "tape", ("numpy", "closure", "gradient")]
    for seed in range(600):
        program = generate.program(seed)
        if name not in programs.operations(program) or judge.examine(program, chosen).findings:
            continue
        try:
            object.__setattr__(row, "partials", WRONG[name](right))
            found = judge.examine(program, chosen).findings
        finally:
            object.__setattr__(row, "partials", right)
        if found:
            return
    pytest.fail("no program found it")


def test_a_wrong_value_is_found():
    row = rows.OPERATIONS["sin"]
    right = row.value
    try:
        object.__setattr__(row, "value", lambda x: right(x) * (1.0 + 1e-9))
        report = judge.examine(Program((0.5,), ALONE, (), (Node("sin", (W(0),)),)), ["grad", "tape"])
    finally:
        object.__setattr__(row, "value", right)
    assert {finding.symptom for finding in report.findings} == {"wrong"}


@pytest.mark.parametrize(
    ("got", "symptom"),
    [
        ({"value": [6.0], "gradient": [3.0]}, None),
        ({"value": [6.0], "gradient": [3.0 + 1e-12]}, "wrong"),
        ({"value": [6.0], "gradient": [0.0]}, "0 instead"),
        ({"value": [6.0], "gradient": [float("nan")]}, "not finite"),
        (DomainError("no"), "false error"),
        (KeyError("no"), "crash"),
    ],
)
def test_what_the_judge_says(got, symptom, monkeypatch):
    def path(_):
        if isinstance(got, Exception):
            raise got
        return got

    monkeypatch.setitem(paths.EAGER, "backward", path)
    report = judge.examine(Program((2.0,), ALONE, (), (Node("mul", (W(0), C(3.0))),)), ["backward"])
    assert [finding.symptom for finding in report.findings] == ([symptom] if symptom else [])


def test_what_must_be_refused_and_is_not(monkeypatch):
    monkeypatch.setitem(paths.EAGER, "backward", lambda _: {"value": [1.0], "gradient": [0.0]})
    for nodes in ((Node("log", (W(0),)),), (Node("add", (W(0), C(1))), Node("sqrt", (V(0),)))):
        report = judge.examine(Program((-1.0,), ALONE, (), nodes), ["backward"])
        assert [finding.symptom for finding in report.findings] == ["missing error"]


def test_a_failing_program_is_shrunk():
    program = Program(
        (0.7, -1.3), ((0.5, 2.0), (1.5, -1.0)), (),
        (Node("mul", (W(0), X(0))), Node("sin", (V(0),)), Node("exp", (V(1),)), Node("add", (V(2), W(1))), Node("tanh", (V(3),))),
    )  # fmt: skip
    small = shrink(program, lambda candidate: "exp" in programs.operations(candidate))
    assert programs.runnable(small) == "w = [Value(1.0)]\nf = lambda: exp(w[0])"
    assert Value(1.0).exp().data == programs.function(small, paths.NAMESPACE)([Value(1.0)], [], []).data
