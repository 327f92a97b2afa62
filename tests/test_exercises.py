"""The exercises of the lecture notes that the engine alone answers, to 1e-9; tests carry the exercises' numbers."""

import math

import pytest

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
)
from tinygrad_vi.derivatives import jvp
from tinygrad_vi.value import topological_order


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
    assert (q.data, f.data) == (3.0, -12.0)
    assert (q.grad, z.grad, x.grad, y.grad) == (-4.0, 3.0, -4.0, -4.0)
    assert q.local_grads == (1.0, 1.0)


CIRCUIT = {
    "w0": -0.19661193324148185,
    "w1": -0.3932238664829637,
    "w2": 0.19661193324148185,
    "x0": 0.3932238664829637,
    "x1": -0.5898357997244456,
}


def circuit(squash):
    leaves = {"w0": Value(2.0), "w1": Value(-3.0), "w2": Value(-3.0), "x0": Value(-1.0), "x1": Value(-2.0)}
    z = leaves["w0"] * leaves["x0"] + leaves["w1"] * leaves["x1"] + leaves["w2"]
    s = squash(z)
    s.backward()
    return leaves, z, s


def test_seed_B02():
    leaves, z, s = circuit(sigmoid)
    assert z.data == 1.0
    assert s.data == close(0.7310585786300049)
    assert z.grad == close(0.19661193324148185)
    assert {name: v.grad for name, v in leaves.items()} == {name: close(g) for name, g in CIRCUIT.items()}


def test_seed_B02b():
    stages = []

    def squash(z):
        stages.append(z)
        for stage in (lambda v: v * -1, exp, lambda v: v + 1, lambda v: 1 / v):
            stages.append(stage(stages[-1]))
        return stages[-1]

    leaves, _, _ = circuit(squash)
    assert [v.data for v in stages[1:]] == [
        close(v) for v in (-1, 0.36787944117144233, 1.3678794411714423, 0.7310585786300049)
    ]
    assert [v.grad for v in reversed(stages)] == [
        close(g) for g in (1, -0.5344466449, -0.5344466449, -0.1966119332, 0.1966119332)
    ]
    assert {name: v.grad for name, v in leaves.items()} == {name: close(g) for name, g in CIRCUIT.items()}


@pytest.mark.parametrize(
    ("x", "value", "derivative"),
    [
        (0.0, 8.298353525756331, 20.918727787150523),
        (-1.0, 2.136274226192354, 1.6155741697332788),
        (0.5, 77.86615550195194, 555.9719679015084),
    ],
)
def test_seed_B03(x, value, derivative):
    x = Value(x)
    a = exp(x)
    b = a**2
    c = a + b
    d, e = exp(c), sin(c)
    f = d + e
    f.backward()
    assert f.data == close(value)
    assert x.grad == close(derivative)
    assert x.grad == close((d.data + math.cos(c.data)) * (a.data + 2 * b.data))  # the notes' own formula


def test_seed_B04():
    def chain(x):
        return exp(sin(x**2))

    inner_to_outer = jvp(chain, (1.3,), (1.0,))[1]
    assert inner_to_outer == close(grad(chain)(1.3))
    x = 1.3
    assert inner_to_outer == close(math.exp(math.sin(x * x)) * math.cos(x * x) * 2 * x)


def test_seed_B05():
    tape = book_tape()
    assert [tape.name(node) for node in tape] == ["v₋₁", "v₀", "v₁", "v₂", "v₃", "v₄", "v₅"]
    values = [2, 5, 0.6931471805599453, 10, -0.9589242746631385, 10.693147180559945, 11.652071455223084]
    assert [node.data for node in tape] == [close(v) for v in values]
    assert column(tape.tangent({"x1": 1.0})) == [close(v) for v in (1, 0, 0.5, 5, 0, 5.5, 5.5)]


def test_seed_B06():
    tangents = (0, 1, 0, 2, 0.28366218546322625, 2, 1.7163378145367738)
    assert column(book_tape().tangent({"x2": 1.0})) == [close(v) for v in tangents]


def test_seed_B07():
    tape = book_tape()
    adjoint = tape.adjoint()
    assert column(adjoint) == [close(v) for v in (5.5, 1.7163378145367738, 1, 1, -1, 1, 1)]
    x1, x2 = tape.inputs
    assert [term.product for term in adjoint.terms[x2]] == [close(-0.28366218546322625), close(2.0)]
    assert [term.product for term in adjoint.terms[x1]] == [close(5.0), close(0.5)]


def test_seed_B08():
    tape = book_tape()
    forward = [tape.tangent({x: 1.0}) for x in ("x1", "x2")]
    reverse = tape.adjoint()
    edges = sum(len(node.parents) for node in tape.operations)
    assert [trace.multiplications for trace in forward] == [edges, edges]
    assert reverse.multiplications == edges
    assert [trace[tape.output] for trace in forward] == [close(reverse["x1"]), close(reverse["x2"])]


def test_seed_B09():
    H = hessian(book)(2.0, 5.0)
    assert [list(row) for row in H] == [[close(-0.25), close(1.0)], [close(1.0), close(-0.9589242746631385)]]
    g = grad(book)(2.0, 5.0)
    s = (0.1, -0.1)
    first = book(2.0, 5.0) + sum(gi * si for gi, si in zip(g, s, strict=True))
    second = first + 0.5 * sum(s[i] * H[i][j] * s[j] for i in range(2) for j in range(2))
    assert book(2.1, 4.9) == close(12.01438995735371)
    assert first == close(12.030437673769406)
    assert second == close(12.01439305239609)


def difference_error(method, step):
    return abs(numerical_gradient(book, method=method, step=step)(2.0, 5.0)[0] - 5.5)


@pytest.mark.parametrize(
    ("step", "forward", "central"),
    [(1e-1, 1.21e-2, 4.2e-4), (1e-2, 1.25e-3, 4.2e-6), (1e-4, 1.25e-5, 4e-10), (1e-6, 1.2e-7, None)],
)
def test_seed_B10(step, forward, central):
    assert difference_error("forward", step) == pytest.approx(forward, rel=0.1)
    if central:  # below this step the error is rounding noise
        assert difference_error("central", step) == pytest.approx(central, rel=0.2)


@pytest.mark.parametrize(("step", "noise"), [(1e-8, 1e-7), (1e-10, 8e-6), (1e-12, 4e-4), (1e-14, 0.18)])
def test_seed_B10_for_small_steps_rounding_takes_over(step, noise):
    assert noise / 5 < difference_error("forward", step) < noise * 5  # noise: only its size means something


def test_seed_B10_the_default_steps_are_at_the_bottom_of_the_u():
    for method in ("forward", "central"):
        default = abs(numerical_gradient(book, method=method)(2.0, 5.0)[0] - 5.5)
        assert default < 1e-2 * min(difference_error(method, 1e-2), difference_error(method, 1e-12))


def test_seed_B11():
    def gate(function, operands, upstream):
        values = [Value(v) for v in operands]
        out = function(*values)
        (out * upstream).backward()
        return tuple(v.grad for v in values)

    assert gate(lambda x, y: x + y, (3, 4), 2) == (2, 2)
    assert gate(lambda x, y: x * y, (2, 3), 5) == (15, 10)
    assert gate(maximum, (4, 5), 9) == (0, 9)
    x = Value(7)
    (x * 4 + x * 2).backward()  # a copy gate adds what comes back
    assert x.grad == 6


def test_seed_B12():
    a, b = Value(2.0), Value(1.0)
    e = (a + b) * (b + 1)
    e.backward()
    assert (e.data, a.grad, b.grad) == (6, 2, 5)


def test_seed_B13():
    x = y = Value(1.0)
    for _ in range(30):
        y = y + y
    y.backward()
    assert x.grad == 1_073_741_824 == 2**30
    assert len(topological_order([y])) + 1 == len(Tape(y)) == 31


def test_seed_B14():
    a, b, c = Value(3.0), Value(3.0), Value(0.0)
    maximum(a, b).backward()
    relu(c).backward()
    assert (a.grad, b.grad) == (0.5, 0.5)
    assert c.grad == 0.0


ACTIVATIONS = {
    sigmoid: [
        (0.119203, 0.268941, 0.5, 0.731059, 0.880797),
        (0.104994, 0.196612, 0.25, 0.196612, 0.104994),
    ],
    tanh: [(-0.964028, -0.761594, 0, 0.761594, 0.964028), (0.070651, 0.419974, 1, 0.419974, 0.070651)],
    relu: [(0, 0, 0, 1, 2), (0, 0, 0, 1, 1)],
    leaky_relu: [(-0.02, -0.01, 0, 1, 2), (0.01, 0.01, 0.01, 1, 1)],
    elu: [(-0.864665, -0.632121, 0, 1, 2), (0.135335, 0.367879, 1, 1, 1)],
    silu: [(-0.238406, -0.268941, 0, 0.731059, 1.761594), (-0.090784, 0.072329, 0.5, 0.927671, 1.090784)],
    gelu: [(-0.0455, -0.158655, 0, 0.841345, 1.9545), (-0.085232, -0.083315, 0.5, 1.083315, 1.085232)],
}


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=lambda f: f.__name__)
def test_seed_B15(activation):
    values, derivatives = ACTIVATIONS[activation]
    points = (-2.0, -1.0, 0.0, 1.0, 2.0)
    assert [activation(x) for x in points] == [close(v, 6e-7) for v in values]  # the table is rounded to 6 decimals
    assert [grad(activation)(x) for x in points] == [close(v, 6e-7) for v in derivatives]


def test_seed_B16():
    sympy = pytest.importorskip("sympy", reason="the identity is proved by SymPy: pip install sympy")
    z = sympy.symbols("z", real=True)
    first, second = 1 / (1 + sympy.exp(-z)), sympy.exp(z) / (1 + sympy.exp(z))  # the notes' two routes
    for s in (first, second):
        assert sympy.simplify(sympy.diff(s, z) - s * (1 - s)) == 0
    for x in (-3.0, 0.0, 0.7, 5.0):
        assert grad(sigmoid)(x) == close(sigmoid(x) * (1 - sigmoid(x)))
        assert grad(sigmoid)(x) == close(float(sympy.diff(second, z).subs(z, x)))


def test_seed_B32():
    z = [2.0, 1.0, -1.0]
    assert sum(softmax(z)) == close(1.0)
    assert softmax(z) == [close(q) for q in softmax([v + 100.0 for v in z])]
    assert softmax([1000.0, 1001.0]) == [close(0.2689414213699951), close(0.7310585786300049)]
    top = softmax(z)
    expected = [[top[i] * ((i == j) - top[j]) for j in range(3)] for i in range(3)]  # diag(q) - q q^T
    assert jacobian(softmax)(z) == [[close(v) for v in row] for row in expected]
    q0, q1 = softmax([Value(1000.0), Value(1001.0)])
    assert q0.data + q1.data == close(1.0)


def test_a_neuron_as_one_dot_gives_the_gradients_of_the_sigmoid_circuit():
    w, x, b = [Value(2.0), Value(-3.0)], [Value(-1.0), Value(-2.0)], Value(-3.0)
    sigmoid(dot(w, x, b)).backward()
    assert [v.grad for v in (*w, b, *x)] == [close(g) for g in CIRCUIT.values()]
