"""The exercises of the lecture notes that the engine alone answers; their numbers stand in the course's data file."""

import math

import pytest
from course.agreement import agrees

from tinygrad_vi import (
    Tape,
    Value,
    dot,
    elu,
    exp,
    gelu,
    grad,
    hessian,
    jacobian,
    leaky_relu,
    log,
    maximum,
    numerical_gradient,
    relu,
    sigmoid,
    silu,
    sin,
    softmax,
    tanh,
    total,
)
from tinygrad_vi.course.texts import find
from tinygrad_vi.derivatives import jvp
from tinygrad_vi.graph import topological_order


def close(value, abs=1e-9):
    return pytest.approx(value, rel=0, abs=abs)


def book(x1, x2):
    """The function of Tables 3.1 and 3.2."""
    return log(x1) + x1 * x2 - sin(x2)


def book_tape():
    x1, x2 = Value(2.0, "x1"), Value(5.0, "x2")
    return Tape(book(x1, x2), inputs=[x1, x2])


def column(trace):
    return [trace[node] for node in trace.tape]


def test_seed_B01():
    x, y, z = Value(-2.0), Value(5.0), Value(-4.0)
    q = x + y
    f = q * z
    f.backward()
    for name, value in (("B01.q", q.data), ("B01.f", f.data), ("B01.dfdq", q.grad), ("B01.dfdz", z.grad)):
        agrees(name, value)
    for name, value in (("B01.dfdx", x.grad), ("B01.dfdy", y.grad)):
        agrees(name, value)
    for name, value in zip(("B01.dqdx", "B01.dqdy"), q.local_grads, strict=True):
        agrees(name, value)


CIRCUIT = ("B02.w0", "B02.w1", "B02.w2", "B02.x0", "B02.x1")


def circuit(squash):
    leaves = {"w0": Value(2.0), "w1": Value(-3.0), "w2": Value(-3.0), "x0": Value(-1.0), "x1": Value(-2.0)}
    z = leaves["w0"] * leaves["x0"] + leaves["w1"] * leaves["x1"] + leaves["w2"]
    s = squash(z)
    s.backward()
    return leaves, z, s


def test_seed_B02():
    leaves, z, s = circuit(sigmoid)
    agrees("B02.z", z.data)
    agrees("B02.s", s.data)
    agrees("B02.dsdz", z.grad)
    for name in CIRCUIT:
        agrees(name, leaves[name.removeprefix("B02.")].grad)


def test_seed_B02b():
    stages = []

    def squash(z):
        stages.append(z)
        for stage in (lambda v: v * -1, exp, lambda v: v + 1, lambda v: 1 / v):
            stages.append(stage(stages[-1]))
        return stages[-1]

    leaves, _, _ = circuit(squash)
    agrees("B02b.gia_tri", [v.data for v in stages[1:]])
    agrees("B02b.gradient", [v.grad for v in reversed(stages)])
    for name in CIRCUIT:
        agrees(name, leaves[name.removeprefix("B02.")].grad)


@pytest.mark.parametrize(
    ("x", "value", "derivative"),
    [(0.0, "B03.f0", "B03.df0"), (-1.0, "B03.fm1", "B03.dfm1"), (0.5, "B03.f05", "B03.df05")],
)
def test_seed_B03(x, value, derivative):
    x = Value(x)
    a = exp(x)
    b = a**2
    c = a + b
    d, e = exp(c), sin(c)
    f = d + e
    f.backward()
    agrees(value, f.data)
    agrees(derivative, x.grad)
    assert x.grad == close((d.data + math.cos(c.data)) * (a.data + 2 * b.data))  # the notes' own formula


def test_seed_B04():
    def chain(x):
        return exp(sin(x**2))

    y, inner_to_outer = jvp(chain, (1.3,), (1.0,))
    agrees("B04.y", y)
    agrees("B04.dydx", inner_to_outer)
    agrees("B04.dydx", grad(chain)(1.3))
    x = 1.3
    v1, v2 = x * x, math.sin(x * x)
    agrees("B04.v1", v1)
    agrees("B04.v2", v2)
    agrees("B04.dydx", math.exp(v2) * math.cos(v1) * 2 * x)


def test_seed_B05():
    tape = book_tape()
    assert [tape.name(node) for node in tape] == ["v₋₁", "v₀", "v₁", "v₂", "v₃", "v₄", "v₅"]
    agrees("B05.v", [node.data for node in tape])
    agrees("B05.vdot", column(tape.tangent({"x1": 1.0})))


def test_seed_B06():
    agrees("B06.vdot", column(book_tape().tangent({"x2": 1.0})))


def test_seed_B07():
    tape = book_tape()
    adjoint = tape.adjoint()
    agrees("B07.vbar", column(adjoint))
    for name, x in zip(("B07.vm1", "B07.v0"), tape.inputs, strict=True):
        agrees(name, adjoint[x])
        [terms] = find(name)[1].terms
        assert [term.product for term in adjoint.terms[x]] == [close(term) for term in terms]


def test_seed_B08():
    tape = book_tape()
    forward = [tape.tangent({x: 1.0}) for x in ("x1", "x2")]
    reverse = tape.adjoint()
    edges = sum(len(node.parents) for node in tape.operations)
    assert [trace.multiplications for trace in forward] == [edges, edges]
    assert reverse.multiplications == edges
    assert [trace[tape.output] for trace in forward] == [close(reverse["x1"]), close(reverse["x2"])]
    agrees("B08.so_luot", [len(forward), 1])
    agrees("B08.so_do_thi", len({id(trace.tape) for trace in forward}))
    for n, name in ((1000, "B08.so_luot_1000"), (100, "B08.ti_le")):
        inputs = [Value(1.0) for _ in range(n)]
        tape = Tape(total(inputs), inputs=inputs)
        sweeps = [tape.tangent({x: 1.0}) for x in inputs[:3]]
        assert {trace.multiplications for trace in sweeps} == {tape.adjoint().multiplications}  # a sweep costs a sweep
        agrees(name, [n, 1] if n == 1000 else 1 / n)


def test_seed_B09():
    H = hessian(book)(2.0, 5.0)
    agrees("B09.H", H)
    g = grad(book)(2.0, 5.0)
    s = (0.1, -0.1)
    first = book(2.0, 5.0) + sum(gi * si for gi, si in zip(g, s, strict=True))
    second = first + 0.5 * sum(s[i] * H[i][j] * s[j] for i in range(2) for j in range(2))
    agrees("B09.dung", book(2.1, 4.9))
    agrees("B09.bac1", first)
    agrees("B09.bac2", second)


def difference_error(method, step):
    return abs(numerical_gradient(book, method=method, step=step)(2.0, 5.0)[0] - 5.5)


def test_seed_B10():
    for name, method, steps in (
        ("B10.sai_so_tien", "forward", (1e-1, 1e-2, 1e-4)),
        ("B10.sai_so_trung_tam", "central", (1e-1, 1e-2)),
    ):
        agrees(name, [difference_error(method, step) for step in steps], rel=1e-4)
    agrees("B10.dx1", numerical_gradient(book)(2.0, 5.0)[0], abs=1e-6)


@pytest.mark.parametrize(("step", "noise"), [(1e-8, 1e-7), (1e-10, 8e-6), (1e-12, 4e-4), (1e-14, 0.18)])
def test_seed_B10_for_small_steps_rounding_takes_over(step, noise):
    assert noise / 5 < difference_error("forward", step) < noise * 5  # noise: only its size means something


def test_seed_B10_the_default_steps_are_at_the_bottom_of_the_u():
    for method in ("forward", "central"):
        default = abs(numerical_gradient(book, method=method)(2.0, 5.0)[0] - 5.5)
        assert default < 1e-2 * min(difference_error(method, 1e-2), difference_error(method, 1e-12))


@pytest.mark.parametrize(("name", "method"), [("B10.h_tien", "forward"), ("B10.h_trung_tam", "central")])
def test_seed_B10_the_steps_that_count_as_good_are_those_at_the_bottom_of_the_u(name, method):
    low, high = find(name)[1].between
    steps = [10.0**-k for k in range(1, 15)]
    best = min(steps, key=lambda step: difference_error(method, step))
    agrees(name, best)
    worst = max(difference_error(method, step) for step in (low, high))
    assert worst < min(difference_error(method, step) for step in (low / 1e3, high * 1e3))


def test_seed_B11():
    def gate(function, operands, upstream):
        values = [Value(v) for v in operands]
        out = function(*values)
        (out * upstream).backward()
        return tuple(v.grad for v in values)

    agrees("B11.cong", gate(lambda x, y: x + y, (3, 4), 2))
    agrees("B11.nhan", gate(lambda x, y: x * y, (2, 3), 5))
    agrees("B11.max", gate(maximum, (4, 5), 9))
    x = Value(7)
    (x * 4 + x * 2).backward()  # a copy gate adds what comes back
    agrees("B11.sao_chep", x.grad)


def test_seed_B12():
    a, b = Value(2.0), Value(1.0)
    e = (a + b) * (b + 1)
    e.backward()
    for name, value in (("B12.e", e.data), ("B12.dea", a.grad), ("B12.deb", b.grad)):
        agrees(name, value)


def test_seed_B13():
    x = y = Value(1.0)
    for _ in range(30):
        y = y + y
    y.backward()
    agrees("B13.gradient", x.grad)
    agrees("B13.so_duong", x.grad)  # every local derivative is 1, so the gradient counts the paths
    agrees("B13.so_nut", len(topological_order([y])) + 1)
    agrees("B13.so_nut", len(Tape(y)))


def test_seed_B14():
    a, b, c = Value(3.0), Value(3.0), Value(0.0)
    maximum(a, b).backward()
    relu(c).backward()
    agrees("B14.max", [a.grad, b.grad])
    agrees("B14.relu", c.grad)


ACTIVATIONS = {
    sigmoid: ("B15.sigmoid", "B15.dsigmoid"),
    tanh: ("B15.tanh", "B15.dtanh"),
    relu: ("B15.relu", "B15.drelu"),
    leaky_relu: ("B15.leaky", "B15.dleaky"),
    elu: ("B15.elu", "B15.delu"),
    silu: ("B15.silu", "B15.dsilu"),
    gelu: ("B15.gelu", "B15.dgelu"),
}


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=lambda f: f.__name__)
def test_seed_B15(activation):
    values, derivatives = ACTIVATIONS[activation]
    points = (-2.0, -1.0, 0.0, 1.0, 2.0)
    agrees(values, [activation(x) for x in points])
    agrees(derivatives, [grad(activation)(x) for x in points])


def test_seed_B15_the_sigmoid_never_reaches_1_on_paper():
    agrees("B15.cham_1", not all(sigmoid(-x) > 0.0 for x in (1.0, 40.0, 700.0)))  # 1 - sigmoid(x) = sigmoid(-x)
    assert sigmoid(40.0) == 1.0  # though its float does


def test_seed_B16():
    sympy = pytest.importorskip("sympy", reason="the identity is proved by SymPy: pip install sympy")
    z = sympy.symbols("z", real=True)
    first, second = 1 / (1 + sympy.exp(-z)), sympy.exp(z) / (1 + sympy.exp(z))  # the notes' two routes
    for s in (first, second):
        assert sympy.simplify(sympy.diff(s, z) - s * (1 - s)) == 0
    points = (-3.0, 0.0, 0.7, 5.0)
    agrees("B16.dsigma", [grad(sigmoid)(x) for x in points])
    agrees("B16.dsigma", [float(sympy.diff(second, z).subs(z, x)) for x in points])


def test_seed_B32():
    z = [2.0, 1.0, -1.0]
    assert sum(softmax(z)) == close(1.0)
    assert softmax(z) == [close(q) for q in softmax([v + 100.0 for v in z])]
    agrees("B32.tong", sum(softmax([0.3, -1.2, 2.0])))
    agrees("B32.q", softmax([1.0, 1.1]))
    agrees("B32.lon", softmax([1000.0, 1001.0]))
    top = softmax(z)
    expected = [[top[i] * ((i == j) - top[j]) for j in range(3)] for i in range(3)]  # diag(q) - q q^T
    assert jacobian(softmax)(z) == [[close(v) for v in row] for row in expected]
    q0, q1 = softmax([Value(1000.0), Value(1001.0)])
    assert q0.data + q1.data == close(1.0)


def test_a_neuron_as_one_dot_gives_the_gradients_of_the_sigmoid_circuit():
    w, x, b = [Value(2.0), Value(-3.0)], [Value(-1.0), Value(-2.0)], Value(-3.0)
    sigmoid(dot(w, x, b)).backward()
    for name, v in zip(CIRCUIT, (*w, b, *x), strict=True):
        agrees(name, v.grad)
