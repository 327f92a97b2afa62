"""Operations of one's own: on every path of the library, judged by mpmath and by the same function out of the table."""

import copy
import gc
import math
import pickle
import sys
import threading
import weakref

import mpmath
import numpy as np
import pytest

from tinygrad_vi import (
    DomainError,
    ShapeError,
    Tape,
    Value,
    compile,
    custom_derivative,
    exp,
    grad,
    gradcheck,
    hessian,
    hvp,
    jacobian,
    jvp,
    no_grad,
    operation,
    rows,
    sqrt,
    total,
    value_and_grad,
    where,
)


@pytest.fixture(autouse=True)
def table_of_its_own(monkeypatch):
    """Rows that are made here are seen by nobody else."""
    monkeypatch.setattr(rows, "OWN", {})


def make_lambert(**named):
    @operation(partials=lambda out, x: exp(-out) / (1.0 + out), **named)
    def lambert_w(x):
        """The w with w * e**w = x, by Newton's method."""
        w = math.log1p(x)
        for _ in range(60):
            w -= (w - x * math.exp(-w)) / (1.0 + w)
        return w

    return lambert_w


def make_hypotenuse():
    @operation(partials=lambda out, x, y: (x / out, y / out), latex=r"\left|{0}, {1}\right|", symbol="hyp")
    def hypotenuse(x, y):
        return math.hypot(x, y)

    return hypotenuse


# --- operation: every path --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("x", [-0.3, 1e-9, 0.7, 5.0, 1e6])
def test_derivatives_of_every_order_are_mpmaths(x):
    w = make_lambert()
    with mpmath.workdps(50):
        expected = [mpmath.diff(lambda t: mpmath.lambertw(t).real, x, n) for n in range(4)]
    assert w(x) == w(Value(x)).data == pytest.approx(float(expected[0]), rel=1e-14)
    f = w
    for n in range(1, 4):
        f = grad(f)
        assert f(x) == pytest.approx(float(expected[n]), rel=1e-11)
    assert jvp(w, (x,), (2.0,))[1] == pytest.approx(2.0 * float(expected[1]), rel=1e-13)
    assert gradcheck(w, order=2)(5.0) < 1e-6
    v = Value(x)
    w(v).backward(create_graph=True)
    slope, v.grad = v.grad, 0.0
    slope.backward()
    assert v.grad == pytest.approx(float(expected[2]), rel=1e-11)


def test_several_operands_and_the_same_one_twice():
    h = make_hypotenuse()
    assert grad(h)(3.0, 4.0) == (0.6, 0.8)
    assert np.allclose(hessian(h)(3.0, 4.0), hessian(lambda x, y: sqrt(x * x + y * y))(3.0, 4.0), rtol=1e-14)
    assert grad(lambda x: h(x, 2.0) + h(x, x))(1.5) == pytest.approx(0.6 + math.sqrt(2.0), rel=1e-15)
    assert h(np.float64(3.0), 4) == 5.0


def test_any_number_of_operands():
    @operation(partials=lambda out, *xs: tuple([out / x for x in xs]))
    def product_of(*xs):
        return math.prod(xs)

    assert grad(lambda v: product_of(*v))([2.0, 3.0, 5.0]) == [15.0, 10.0, 6.0]
    expected = [[0.0, 5.0, 3.0], [5.0, 0.0, 2.0], [3.0, 2.0, 0.0]]
    assert np.allclose(hessian(lambda v: product_of(*v))([2.0, 3.0, 5.0]), expected, rtol=1e-14, atol=1e-14)
    f = compile(lambda v: product_of(*v), backend="numpy")
    assert f.grad([2.0, 3.0, 5.0]).tolist() == [15.0, 10.0, 6.0]


def test_partials_that_are_the_same_everywhere_are_numbers():
    difference = operation(partials=(1.0, -1), name="difference")(lambda x, y: x - y)
    reverse = operation(partials=-1.0, name="reverse_gradient")(lambda x: x)
    assert grad(difference)(5.0, 3.0) == (1.0, -1.0)
    assert grad(lambda x: reverse(x) * x)(3.0) == 0.0
    assert hessian(difference)(5.0, 3.0) == ((0.0, 0.0), (0.0, 0.0))


@pytest.mark.parametrize("backend", ["numpy", "auto", "native"])
def test_it_is_compiled_with_its_derivatives(backend):
    w = make_lambert()
    f = lambda p: total([w(p[0] * x) ** 2 * p[1] for x in (0.5, 1.5)])  # noqa: E731
    step = compile(f, backend=backend)
    p = [0.7, 2.0]
    value, slopes = value_and_grad(f)(p)
    assert step(p) == pytest.approx(value, rel=1e-14)
    assert step.grad(p).tolist() == pytest.approx(slopes, rel=1e-13)
    assert np.allclose(step.hessian(p), hessian(f)(p), rtol=1e-12)
    assert step.hvp(p, [1.0, -1.0]).tolist() == pytest.approx(hvp(f)(p, [1.0, -1.0]), rel=1e-12)
    batch = compile(lambda x, t: (w(p0 * x) - t) ** 2, params=[p0 := Value(0.7)], backend=backend)
    X, T = np.linspace(-0.2, 3.0, 50), np.linspace(0.0, 1.0, 50)
    each = batch.each([0.7], X, T)
    assert each.tolist() == pytest.approx([(w(0.7 * x) - t) ** 2 for x, t in zip(X, T, strict=True)], rel=1e-13)
    with pytest.raises(DomainError, match=r"example 1: lambert_w\(x\) failed, got x = -2\.09+6: math domain error"):
        batch.each([0.7], [1.0, -3.0], [0.0, 0.0])


@pytest.mark.parametrize("name", ["np", "theta", "x", "value", "len", "N"])
def test_whatever_it_is_called_the_compiled_text_calls_it_so_that_nothing_clashes(name):
    double = operation(partials=2.0, name=name)(lambda u: 2.0 * u)
    step = compile(lambda x: double(w * x) * w, params=[w := Value(3.0, "w")], backend="numpy")
    assert step.value_and_grad([3.0], [1.0, 2.0])[0] == 27.0
    assert step.grad([3.0], [1.0, 2.0]).tolist() == [18.0]


def test_pictures_and_tables_show_its_formula():
    x = Value(0.7, "x")
    y = make_lambert()(x) * x
    assert "exp(-v₁) / (1 + v₁)" in str(Tape(y).adjoint())
    assert r"\operatorname{lambert\_w}" in Tape(y).adjoint().table().to_latex()
    assert "∂v₁/∂x = exp(-v₁) / (1 + v₁)" in str(y.derive(x))
    assert "lambert_w" in y.draw().source
    assert "lambert_w" in y.step_through().html
    z = make_hypotenuse()(Value(3.0, "a"), Value(4.0, "b"))
    assert (z._op, r"\left|v_{-1}, v_{0}\right|" in Tape(z).table().to_latex()) == ("hyp", True)
    assert "hyp" in z.draw().source


def test_what_cannot_be_written_out_is_named_in_pictures_and_refused_elsewhere():
    @operation(partials=lambda out, x, y: (math.cos(x), y if y > 0.0 else 0.0))
    def mixed(x, y):
        return math.sin(x) + 0.5 * max(y, 0.0) ** 2

    assert grad(mixed)(1.0, 2.0) == (math.cos(1.0), 2.0)
    y = mixed(a := Value(1.0, "a"), Value(2.0, "b"))
    table = str(Tape(y).adjoint())
    assert "∂₁mixed(v₋₁, v₀)" in table
    assert "∂₂mixed(v₋₁, v₀)" in table
    assert r"\partial_{2} \operatorname{mixed}" in Tape(y).adjoint().table().to_latex()
    assert "∂₁mixed(a, b) = ∂₁mixed(1, 2) = 0.5403" in str(y.derive(a))
    assert "∂₁mixed" in y.step_through().html
    advice = r"partials of mixed can be computed on numbers alone \(.*\)\. .* cos\(x\) and not math\.cos\(x\), where"
    for ask in (
        lambda: hessian(mixed)(1.0, 2.0),
        lambda: y.backward(create_graph=True),
        lambda: compile(lambda p: mixed(p[0], p[1]), backend="numpy").grad([1.0, 2.0]),
    ):
        with pytest.raises(TypeError, match=advice):
            ask()
    assert a.grad == 0.0


def test_the_advice_works_when_it_is_followed():
    sine = operation(partials=lambda out, x: cosine(x), name="sine")(math.sin)
    cosine = operation(partials=lambda out, x: -sine(x), name="cosine")(math.cos)
    assert hessian(sine)(0.5) == -math.sin(0.5)
    assert compile(lambda p: sine(p[0]), backend="numpy").hessian([0.5]).tolist() == [[-math.sin(0.5)]]
    ramp = operation(partials=lambda out, x: where(x, 2.0 * x, 0.0), name="ramp")(lambda x: max(x, 0.0) ** 2)
    assert (hessian(ramp)(3.0), hessian(ramp)(-3.0)) == (2.0, 0.0)
    f = compile(lambda p: ramp(p[0]) + ramp(p[1]), backend="numpy")
    assert (f.grad([3.0, -3.0]).tolist(), f.hessian([3.0, -3.0]).tolist()) == ([6.0, 0.0], [[2.0, 0.0], [0.0, 0.0]])


@pytest.mark.parametrize("cut", [
    lambda out, x: 2.0 * getattr(x, "data", x),
    lambda out, x: 2.0 * (getattr(x, "data", x)) + 0.0 * x,
    lambda out, x: 2.0 * getattr(x * 1.0, "data", x),
    lambda out, x: 2.0 * float(x),
    lambda out, x: 2.0 * math.sqrt(getattr(out, "data", out)),
])  # fmt: skip
def test_a_rule_that_takes_the_numbers_out_of_values_gives_no_second_derivative(cut):
    square = operation(partials=cut, name="square_of")(lambda x: x * x)
    assert grad(square)(3.0) == 6.0
    with pytest.raises(TypeError, match="the partials of square_of can be computed on numbers alone"):
        grad(grad(square))(3.0)
    x = Value(3.0)
    y = square(x)
    with pytest.raises(TypeError, match="the partials of square_of can be computed on numbers alone"):
        y.backward(create_graph=True)
    assert (type(x), type(y), x.data, y.data) == (Value, Value, 3.0, 9.0)  # nothing stays sealed


def test_an_if_on_numbers_keeps_its_branch_in_eager_second_derivatives():
    ramp = operation(partials=lambda out, x: 3.0 * x * x if x > 0.0 else 0.0, name="ramp_of")(
        lambda x: max(x, 0.0) ** 3
    )
    assert (grad(grad(ramp))(2.0), grad(grad(ramp))(-2.0)) == (12.0, 0.0)
    with pytest.raises(TypeError, match=r"no number here that could be a condition\)"):
        compile(lambda p: ramp(p[0]), backend="numpy").grad([2.0])


@pytest.mark.parametrize(("rule", "value", "slope", "second"), [
    (lambda out, x: where(x > 0.0, 3.0 * x * x, 0.0), lambda x: max(x, 0.0) ** 3,
     lambda x: 3.0 * max(x, 0.0) ** 2, lambda x: 6.0 * max(x, 0.0)),
    (lambda out, x: where((x >= -1.0) & (x < 1.0), 2.0 * x, 0.0), lambda x: x * x if -1.0 <= x < 1.0 else 1.0,
     lambda x: 2.0 * x if -1.0 <= x < 1.0 else 0.0, lambda x: 2.0 if -1.0 <= x < 1.0 else 0.0),
    (lambda out, x: where((x > 1.0) | (out == 0.0), 1.0, x), lambda x: x if x > 1.0 else 0.0 if x <= 0.0 else x * x / 2,
     lambda x: 1.0 if x > 1.0 or x <= 0.0 else x, lambda x: 1.0 if 0.0 < x <= 1.0 else 0.0),
    (lambda out, x: (x > 0.0) * 2.0 * x, lambda x: max(x, 0.0) ** 2,
     lambda x: 2.0 * max(x, 0.0), lambda x: 2.0 if x > 0.0 else 0.0),
])  # fmt: skip
def test_a_rule_may_choose_by_a_comparison_on_every_path(rule, value, slope, second):
    bent = operation(partials=rule, name="bent_of")(value)
    compiled = compile(lambda x: bent(x) * 1.0)
    for x in (-2.0, -0.5, 0.5, 2.0):
        assert (grad(bent)(x), grad(grad(bent))(x)) == (slope(x), second(x))
        assert (compiled(x), compiled.grad(x), compiled.hessian(x)) == (value(x), slope(x), second(x))


def test_threads_may_take_second_derivatives_at_once():
    w, found = make_lambert(), []
    x = Value(0.7)
    y = w(x) * x

    def work():
        for _ in range(20):
            found.append((hessian(w)(0.7), hessian(lambda u: w(u) * x)(0.7)))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(found) == 80
    assert len(set(found)) == 1
    assert type(x) is type(y) is Value


# --- operation: modes, copies, names ----------------------------------------------------------------------------------


def test_without_recording_no_partial_is_asked_for():
    asked = []
    f = operation(partials=lambda out, x: asked.append(x) or 1.0, name="asking")(lambda x: x + 1.0)
    with no_grad():
        assert f(Value(2.0)).data == 3.0
    assert f(2.0) == 3.0
    assert asked == []
    assert grad(f)(2.0) == 1.0


def test_docstring_and_the_function_beneath():
    w = make_lambert(domain="x > -1/e")
    assert w.__doc__.startswith("The w with w * e**w = x, by Newton's method.")
    assert "Raises DomainError unless x > -1/e." in w.__doc__
    assert w.__wrapped__(0.0) == 0.0
    assert (w.__name__, w.__module__) == ("lambert_w", __name__)
    with pytest.raises(DomainError, match=r"^lambert_w\(x\) needs x > -1/e, got x = -2.0 \(node 'z'\)$"):
        w(Value(-2.0, "z"))


def test_copies_and_pickles():
    w = make_lambert()
    y = w(Value(0.7, "x"))
    assert copy.deepcopy(y).op is y.op
    assert pickle.loads(pickle.dumps(y)).op is y.op
    make_lambert()
    with pytest.raises(TypeError, match=r"'lambert_w' cannot be pickled, .* make it with @operation, under a name"):
        pickle.dumps(y)
    text = pickle.dumps(make_lambert().operation)
    del rows.OWN["lambert_w"]
    with pytest.raises(ValueError, match="no row 'lambert_w' here: import the module that makes it with @operation"):
        pickle.loads(text)


def test_of_two_with_one_name_the_newer_is_meant_and_the_older_is_not_compiled():
    def times(k):
        return operation(partials=float(k), name="times")(lambda x: k * x)

    first, second = times(2), times(3)
    assert (grad(first)(1.0), grad(second)(1.0)) == (2.0, 3.0)
    assert compile(lambda p: second(p[0]), backend="numpy").grad([1.0]).tolist() == [3.0]
    with pytest.raises(TypeError, match=r"'times' does not lead to this one: .* Give each a name of its own"):
        compile(lambda p: first(p[0]) + second(p[0]), backend="numpy").grad([1.0])


def test_a_cell_that_is_run_again_replaces_it_in_compiled_functions_too():
    space = {"operation": operation}
    cell = "soft = operation(partials={0}, name='soft')(lambda x: {0} * x)\ndef f(p): return soft(p[0])"
    exec(cell.format("2.0"), space)
    step = compile(lambda p: space["f"](p), backend="numpy")
    assert step.grad([1.0]).tolist() == [2.0]
    exec(cell.format("5.0"), space)
    assert compile(lambda p: space["f"](p), backend="numpy").grad([1.0]).tolist() == [5.0]


# --- operation: refusals ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("function", "named", "error", "text"), [
    (lambda x: x, {"partials": 1.0}, ValueError, "an operation needs a name, got '<lambda>'"),
    (lambda x: x, {"partials": 1.0, "name": "a b"}, ValueError, "an operation needs a name, got 'a b'"),
    (lambda x: x, {"partials": 1.0, "name": "lambda"}, ValueError, "an operation needs a name, got 'lambda'"),
    (lambda x: x, {"partials": 1.0, "name": "tanh"}, ValueError, "'tanh' is a built-in operation: give the new row"),
    (lambda x, n=2: x, {"partials": 1.0, "name": "f"}, TypeError, r"def f\(x, y\): .* A constant belongs into a closure"),
    (lambda x, *xs: x, {"partials": 1.0, "name": "f"}, TypeError, r"f takes its operands one by one"),
    (lambda x, *, n: x, {"partials": 1.0, "name": "f"}, TypeError, r"f takes its operands one by one"),
    (lambda: 1.0, {"partials": 1.0, "name": "f"}, TypeError, r"f takes its operands one by one"),
    (lambda x: x, {"partials": lambda x: 1.0, "name": "f"}, TypeError, r"lambda out, x: \.\.\., got one of \(x\)"),
    (lambda x, y: x, {"partials": lambda x, y: (1.0, 1.0), "name": "f"}, TypeError, r"lambda out, x, y: \.\.\., got one"),
    (lambda x, y: x, {"partials": lambda x, y, out: (1.0, 1.0), "name": "f"}, TypeError, r"got one of \(x, y, out\)"),
    (lambda x, y: x, {"partials": 1.0, "name": "f"}, TypeError, r"f has 2 operands, got 1 partials, 1.0"),
    (lambda x: x, {"partials": "x", "name": "f"}, TypeError, r"a partial of f must be a number, got 'x' of type str"),
])  # fmt: skip
def test_what_is_wrong_when_it_is_made_is_said_then(function, named, error, text):
    with pytest.raises(error, match=text):
        operation(**named)(function)
    assert rows.OWN == {}


@pytest.mark.parametrize(("function", "partials", "error", "text"), [
    (lambda x: None, lambda out, x: 1.0, TypeError, r"f must be a number, got None of type NoneType: is a `return` missing\?"),
    (lambda x: "1", lambda out, x: 1.0, TypeError, r"f must be a number, got '1' of type str"),
    (lambda x: Value(x) * 2.0, lambda out, x: 1.0, TypeError, r"depends on a Value that is no operand; give it as one"),
    (lambda x: x, lambda out, x: (1.0, 2.0), TypeError, r"partials of f are 1, one for each operand, got 2: \(1.0, 2.0\)"),
    (lambda x: x, lambda out, x: None, TypeError, r"a partial of f must be a number, got None .* is a `return` missing"),
    (lambda x: x, lambda out, x: 1j, TypeError, r"a partial of f must be a number, got 1j"),
    (lambda x: x, lambda out, x: math.nan, DomainError, r"f\(x\) has no finite derivative at x = 2.0 \(node 'z'\)"),
    (lambda x: x, lambda out, x: math.inf, DomainError, r"f\(x\) has no finite derivative at x = 2.0 \(node 'z'\)"),
    (lambda x: x, lambda out, x: 1.0 / (x - x), DomainError, r"f\(x\) has no finite derivative at x = 2.0 \(node 'z'\)"),
    (lambda x: math.exp(1000.0 * x), lambda out, x: 1.0, DomainError, r"f\(x\) overflows a float, got x = 2.0 \(node 'z'\)"),
    (lambda x: [][int(x)], lambda out, x: 1.0, IndexError, "list index out of range"),
])  # fmt: skip
def test_what_is_wrong_when_it_is_used_is_said_then(function, partials, error, text):
    f = operation(partials=partials, name="f")(function)
    z = Value(2.0, "z")
    with pytest.raises(error, match=text):
        f(z)
    assert (z.grad, z.parents) == (0.0, ())


def test_the_users_own_words_are_kept_where_it_fails():
    def f(x):  # noqa: ARG001
        raise ValueError("no root between 0 and 1")

    f = operation(partials=1.0, name="f")(f)
    for x, node in ((2.0, ""), (Value(2.0, "z"), r" \(node 'z'\)")):
        with pytest.raises(DomainError, match=rf"^f\(x\) failed, got x = 2.0{node}: no root between 0 and 1$"):
            f(x)


# --- custom_derivative ------------------------------------------------------------------------------------------------


@custom_derivative(lambda root, c: [-(root**k) / (c[1] + 2.0 * c[2] * root) for k in range(3)])
def largest_root(c):
    """Of c[0] + c[1]*x + c[2]*x**2, by NumPy."""
    return max(np.roots(c[::-1]).real)


def solution(x, A, _):
    """dx[k]/dA[i][j] = -inverse[k][i] * x[j], dx/db = inverse."""
    inverse = np.linalg.inv(A)
    return [(-np.outer(row, x), row) for row in inverse]


solve = custom_derivative(solution)(lambda A, b: np.linalg.solve(A, b))


def by_formula(c):
    return (-c[1] + sqrt(c[1] ** 2 - 4.0 * c[2] * c[0])) / (2.0 * c[2])


def test_an_implicit_function_has_derivatives_of_every_order():
    c = [-6.0, 1.0, 1.0]
    assert largest_root(c) == pytest.approx(2.0, rel=1e-15)
    assert grad(largest_root)(c) == pytest.approx([-0.2, -0.4, -0.8], rel=1e-14)
    assert np.allclose(hessian(largest_root)(c), hessian(by_formula)(c), rtol=1e-13)
    third, expected = [grad(lambda c, f=f: grad(grad_1(f))(c)[0])(c) for f in (largest_root, by_formula)]
    assert third == pytest.approx(expected, rel=1e-12)
    assert jvp(largest_root, (c,), ([1.0, 0.0, -1.0],))[1] == pytest.approx(0.6, rel=1e-14)
    x = [Value(n) for n in c]
    (largest_root(x) * 3.0).backward()
    assert [v.grad for v in x] == pytest.approx([-0.6, -1.2, -2.4], rel=1e-14)


def grad_1(f):
    return lambda c: grad(f)(c)[1]


def test_several_results_and_arrays():
    A, b = np.array([[2.0, 1.0, 0.0], [0.5, 3.0, -1.0], [0.0, 0.25, 1.5]]), np.array([1.0, 2.0, -1.0])
    x = solve(A, b)
    assert isinstance(x, np.ndarray)
    assert x.dtype == float
    values = solve(A, np.array([Value(t) for t in b]))
    assert [v.data for v in values] == x.tolist()
    assert np.allclose(jacobian(lambda b: solve(A, b))(b), np.linalg.inv(A), rtol=1e-14)
    f = lambda A, b: total([(k + 1.0) * v * v for k, v in enumerate(solve(A, b))])  # noqa: E731
    by_A, by_b = grad(f)(A, b)
    flow = np.linalg.solve(A.T, 2.0 * np.arange(1.0, 4.0) * x)  # the adjoint equation
    assert np.allclose(by_b, flow, rtol=1e-13)
    assert np.allclose(by_A, -np.outer(flow, x), rtol=1e-13)
    assert by_A.shape == (3, 3)
    assert np.allclose(jacobian(lambda b: solve(A, b)[:2])(b), np.linalg.inv(A)[:2], rtol=1e-14)


def test_second_derivatives_of_a_rule_for_numbers_are_refused():
    A, b = np.array([[2.0, 1.0], [0.5, 3.0]]), np.array([1.0, 2.0])
    with pytest.raises(TypeError, match="the derivative of <lambda> can be computed on numbers alone"):
        hessian(lambda A: solve(A, b)[0])(A)
    square = custom_derivative(lambda out, x: 2.0 * getattr(x, "data", x))(lambda x: x * x)
    assert grad(square)(3.0) == 6.0
    with pytest.raises(TypeError, match="can be computed on numbers alone"):
        grad(grad(square))(3.0)


def test_several_results_have_second_derivatives_in_terms_of_each_other():
    polar = custom_derivative(  # r and angle; the rule knows both results
        lambda out, x, y: [(x / out[0], y / out[0]), (-y / (out[0] * out[0]), x / (out[0] * out[0]))]
    )(lambda x, y: [math.hypot(x, y), math.atan2(y, x)])
    found = jacobian(jacobian(polar))(3.0, 4.0)
    with mpmath.workdps(30):
        angle = lambda x, y: mpmath.atan2(y, x)  # noqa: E731
        expected = [
            [[float(mpmath.diff(f, (3, 4), tuple(map(sum, zip(i, j, strict=True))))) for j in E] for i in E]
            for E in [((1, 0), (0, 1))]
            for f in (mpmath.hypot, angle)
        ]
    assert np.allclose(found, expected, rtol=1e-12)


def test_arguments_that_are_numbers_stay_what_they_are():
    seen = []

    def iterate(x, n):
        seen.append(n)
        for _ in range(n):
            x = x * x
        return x

    def slope(out, x, n):
        return 2.0**n * out / x, 0.0

    f = custom_derivative(slope)(iterate)
    x = Value(1.5)
    y = f(x, 3)
    y.backward()
    assert (y.data, x.grad, len(y.parents)) == (1.5**8, 8.0 * 1.5**7, 1)
    assert (f(1.5, 3), seen) == (1.5**8, [3, 3])
    assert grad(grad(lambda x: f(x, 3)))(1.5) == pytest.approx(56.0 * 1.5**6, rel=1e-14)


def test_it_runs_once_where_nothing_is_recorded_and_once_where_it_is():
    calls, slopes = [], []
    f = custom_derivative(lambda out, x: slopes.append(x) or 2.0 * x)(lambda x: calls.append(x) or x * x)
    with no_grad():
        assert f(Value(3.0)).data == 9.0
    assert (calls, slopes) == ([3.0], [])
    assert f(3.0) == 9.0
    y = f(Value(3.0))
    y.backward()
    assert (calls, slopes) == ([3.0] * 3, [3.0])


def test_pictures_and_tables_name_its_derivatives():
    r = largest_root([Value(-6.0, "c"), Value(1.0, "b"), 1.0])
    table = str(Tape(r).adjoint())
    assert "largest_root(v₋₁, v₀)" in table
    assert "∂₂largest_root(v₋₁, v₀)" in table
    assert "largest_root" in r.draw().source
    assert "largest_root" in r.step_through().html
    assert "∂₁largest_root(c, b)" in str(r.derive(r.parents[0]))
    assert copy.deepcopy(r).op is r.op
    with pytest.raises(TypeError, match="'largest_root' cannot be pickled"):
        pickle.dumps(r)


class Witness:
    """A Value has no weak references, but what hangs on it has."""


def hang_on(v):
    v.witness = Witness()
    return v.witness


def test_its_graphs_are_freed_at_once():
    gc.collect()
    gc.disable()
    try:
        for f in (largest_root, lambda x: solve(np.array([x[:2], [1.0, x[2]]], dtype=object), [1.0, 2.0])[1]):
            x = [Value(-6.0), Value(1.0), Value(1.0)]
            y = f(x) * make_lambert()(x[1])
            y.backward()
            alive = [weakref.ref(hang_on(v)) for v in (y, *y.parents, *x)]
            del x, y
            assert [ref() for ref in alive] == [None] * len(alive)
    finally:
        gc.enable()


def test_data_that_were_changed_are_seen():
    x = Value(3.0, "x")
    f = custom_derivative(lambda out, x: 2.0 * x)(lambda x: x * x)
    y = f(x)
    x.data = 4.0
    with pytest.raises(ValueError, match="the numbers were changed after the graph was recorded"):
        Tape(y)


@pytest.mark.parametrize(("function", "derivative", "error", "text"), [
    (lambda v: v[0], lambda out, v: 1.0, ShapeError, r"the derivative of <lambda> is nested like \[x, x\], got x"),
    (lambda v: v[0], lambda out, v: [1.0, 2.0, 3.0], ShapeError, r"is nested like \[x, x\], got \[x, x, x\]"),
    (lambda v: v, lambda out, v: [1.0, 2.0], ShapeError, r"is nested like \[\[x, x\], \[x, x\]\], got \[x, x\]"),
    (lambda v: v[0], lambda out, v: None, TypeError, r"made of numbers nested like \[x, x\]: .* got None"),
    (lambda v: v[0], lambda out, v: [1.0, None], TypeError, r"made of numbers nested like \[x, x\]"),
    (lambda v: v[0], lambda out, v: [1.0, math.nan], DomainError, r"a derivative of <lambda> is nan, got \[2.0, 3.0\]"),
    (lambda v: math.inf, lambda out, v: [1.0, 1.0], DomainError, r"the result of <lambda> is inf, got \[2.0, 3.0\]"),
    (lambda v: None, lambda out, v: [1.0, 1.0], TypeError, r"<lambda> returned None, .* is a `return` missing\?"),
    (lambda v: "a", lambda out, v: [1.0, 1.0], TypeError, r"got 'a' of type str"),
    (lambda v: Value(v[0]), lambda out, v: [1.0, 1.0], TypeError, r"depends on a Value that is no operand"),
])  # fmt: skip
def test_what_does_not_fit_is_refused(function, derivative, error, text):
    z = [Value(2.0), Value(3.0)]
    with pytest.raises(error, match=text):
        custom_derivative(derivative)(function)(z)
    assert [v.grad for v in z] == [0.0, 0.0]


def test_the_users_own_errors_come_through():
    def fails(x):  # noqa: ARG001
        raise ValueError("the solver did not converge")

    with pytest.raises(ValueError, match=r"^the solver did not converge$"):
        grad(custom_derivative(lambda out, x: 1.0)(fails))(2.0)
    with pytest.raises(TypeError, match=r"custom_derivative takes the derivative, .* got 3"):
        custom_derivative(3)


def test_compiled_it_is_refused_with_what_to_do_instead():
    for backend in ("numpy", "auto"):
        with pytest.raises(TypeError, match=r"largest_root has a derivative of its own .* make it an @operation"):
            compile(lambda c: largest_root(c), backend=backend).grad([-6.0, 1.0, 1.0])
    root = operation(name="root", partials=lambda out, c, b: (-1.0 / (b + 2.0 * out), -out / (b + 2.0 * out)))(
        lambda c, b: largest_root([c, b, 1.0])
    )
    step = compile(lambda c: root(c[0], c[1]), backend="numpy")
    assert step.grad([-6.0, 1.0]).tolist() == pytest.approx([-0.2, -0.4], rel=1e-14)


def test_the_package_needs_nothing_for_it():
    assert {"operation", "custom_derivative"} <= set(dir(sys.modules["tinygrad_vi"]))


def test_a_solver_inside_may_take_gradients_of_its_own():
    """The root of x**3 + x = a by Newton's method with `grad` and compiled derivatives; da/dx = 3*x**2 + 1."""
    compiled = compile(lambda x, a: x**3 + x - a, argnums=0)

    def newton(a, slope):
        x = 1.0
        for _ in range(50):
            x -= (x**3 + x - a) / slope(x, a)
        assert type(x) is float
        return x

    for slope in (grad(lambda x, a: x**3 + x - a, argnums=0), compiled.grad):
        rule = lambda x, a: 1.0 / (3.0 * x * x + 1.0)  # noqa: E731
        whole = custom_derivative(rule)(lambda a: newton(a, slope))  # noqa: B023
        one = operation(partials=rule, name="root_of")(lambda a: newton(a, slope))  # noqa: B023
        for root in (whole, one):
            assert grad(lambda a: a * root(a))(10.0) == pytest.approx(2.0 + 10.0 / 13.0, rel=1e-14)  # noqa: B023


def test_a_rule_may_take_gradients_of_its_own_inside_a_derivative():
    """x**3, whose derivatives are 3 x**2 and 6 x."""
    slope = grad(lambda y: y**3)
    compiled = compile(lambda y: y**3, backend="numpy").grad
    for rule in (slope, compiled):
        whole = custom_derivative(lambda out, x, rule=rule: rule(x))(lambda x: x**3)
        op = operation(partials=lambda out, x, rule=rule: rule(x), name="cubed")(lambda x: x**3)
        for f in (whole, op):
            assert (grad(f)(2.0), hessian(f)(2.0)) == (12.0, 12.0)
            assert grad(lambda w, f=f: grad(f)(w * w))(2.0) == 6.0 * 4.0 * 4.0
