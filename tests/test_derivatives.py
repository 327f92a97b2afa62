import math
import re
from typing import Any, NamedTuple

import numpy as np
import pytest

from tinygrad_vi import (
    DomainError,
    GradientError,
    ShapeError,
    Value,
    cos,
    dot,
    exp,
    grad,
    gradcheck,
    hessian,
    hvp,
    jacobian,
    jvp,
    log,
    no_grad,
    numerical_gradient,
    relu,
    sin,
    sqrt,
    tanh,
    total,
    value_and_grad,
    vjp,
)
from tinygrad_vi.graph import NOT_COMPUTED
from tinygrad_vi.rows import new_row


def rosenbrock(x):
    return total(100 * (x[i + 1] - x[i] ** 2) ** 2 + (1 - x[i]) ** 2 for i in range(len(x) - 1))


def polar(r, angle):
    return [r * cos(angle), r * sin(angle)]


def test_results_keep_the_nesting_of_the_arguments():
    assert grad(lambda x: x * x)(3) == 6.0
    assert grad(lambda x, y: x * y)(3, 2.0) == (2.0, 3.0)
    assert grad(lambda w: w[0] * w[1][0] + w[1][1])([2.0, (3.0, 4.0)]) == [3.0, (2.0, 1.0)]
    assert grad(lambda w, b: dot(w, [1.0, 2.0], b))([2.0, 3.0], 4.0) == ([1.0, 2.0], 1.0)
    assert grad(lambda x: 5.0)(3.0) == 0.0
    assert grad(lambda w: w[0])([2.0, []]) == [1.0, []]
    assert value_and_grad(lambda x: x * x)(3.0) == (9.0, 6.0)


class Layer(NamedTuple):
    w: Any
    b: Any


def test_namedtuples_keep_their_class():
    def loss(layer):
        return layer.w[0] * layer.w[1] + layer.b**2

    slope = grad(loss)(Layer([2.0, 3.0], 5.0))
    assert slope == Layer([3.0, 2.0], 10.0)
    assert slope.__class__ is Layer
    assert hessian(loss)(Layer([2.0, 3.0], 5.0)).b.b == 2.0
    assert numerical_gradient(loss)(Layer([2.0, 3.0], 5.0)).b == pytest.approx(10.0)
    assert jacobian(lambda x: Layer(x, x * x))(3.0) == Layer(1.0, 6.0)


def test_numpy_arrays_come_back_as_arrays():
    x = np.array([1.3, 0.7, 0.8])
    optimize = pytest.importorskip("scipy.optimize", reason="SciPy's own Rosenbrock function is the judge")
    np.testing.assert_allclose(grad(rosenbrock)(x), optimize.rosen_der(x), rtol=1e-13)
    np.testing.assert_allclose(hessian(rosenbrock)(x), optimize.rosen_hess(x), rtol=1e-13)
    p = np.array([0.3, -1.0, 2.0])
    np.testing.assert_allclose(hvp(rosenbrock)(x, p), optimize.rosen_hess_prod(x, p), rtol=1e-13)
    assert grad(lambda x: x * x)(np.array(3.0)) == 6.0
    matrix = np.array([[1.0, 2.0], [3.0, 4.0]])
    assert grad(lambda W: (W @ np.array([1.0, 10.0])).sum())(matrix).tolist() == [[1.0, 10.0], [1.0, 10.0]]
    assert jacobian(lambda v: np.exp(v))(np.array([0.0, 1.0])).tolist() == [[1.0, 0.0], [0.0, math.e]]


def test_derivatives_of_arrays_of_derivatives_are_arrays_too():
    x = np.array([2.0, 3.0])
    second = jacobian(jacobian(lambda v: np.array([v[0] ** 2 * v[1], v[1] ** 3 * v[0]])))(x)
    assert second.dtype == float
    assert second.tolist() == [[[6.0, 4.0], [4.0, 0.0]], [[0.0, 27.0], [27.0, 36.0]]]
    third = jacobian(hessian(lambda v: v[0] ** 2 * v[1]))(x)
    assert third.tolist() == [[[0.0, 2.0], [2.0, 0.0]], [[2.0, 0.0], [0.0, 0.0]]]
    trace = grad(lambda v: np.trace(hessian(lambda u: u[0] ** 3 * u[1])(v)))  # of 6*x*y
    assert trace(x).tolist() == [18.0, 12.0]
    pair = jacobian(jacobian(lambda u, v: np.array([u[0] * v[0], u[0] ** 2])))(np.array([2.0]), np.array([3.0]))
    # nested by the arguments, arrays inside (as JAX does): d2 of result i by a and b
    by = [[[pair[a][b][i, 0, 0] for b in range(2)] for a in range(2)] for i in range(2)]
    assert by == [[[0.0, 1.0], [1.0, 0.0]], [[2.0, 0.0], [0.0, 0.0]]]


def test_gradient_and_hessian_product_plug_into_scipy():
    optimize = pytest.importorskip("scipy.optimize", reason="SciPy is the user here")
    start = np.array([-1.2, 1.0])
    found = optimize.minimize(rosenbrock, start, jac=grad(rosenbrock), hessp=hvp(rosenbrock), method="Newton-CG")
    np.testing.assert_allclose(found.x, [1.0, 1.0], atol=1e-4)


def test_jacobian_in_both_modes_is_the_textbooks():
    r, a = 2.0, 0.7
    expected = [(math.cos(a), -r * math.sin(a)), (math.sin(a), r * math.cos(a))]
    assert jacobian(polar)(r, a) == [pytest.approx(row) for row in expected]
    wide = jacobian(lambda x: [total(x)])([1.0, 2.0, 3.0])  # fewer results than inputs: reverse mode
    tall = jacobian(lambda x: [x, x * x, x**3])(2.0)  # fewer inputs than results: forward mode
    assert wide == [[1.0, 1.0, 1.0]]
    assert tall == [1.0, 4.0, 12.0]
    assert jacobian(lambda x, y: (x, [y, x * y]))(2.0, 3.0) == ((1.0, 0.0), [(0.0, 1.0), (3.0, 2.0)])
    assert jacobian(lambda x: [x, 7.0])(2.0) == [1.0, 0.0]


def test_jvp_and_vjp_are_the_two_sides_of_the_jacobian():
    value, tangent = jvp(polar, (2.0, 0.7), (0.5, -1.0))
    J = jacobian(polar)(2.0, 0.7)
    assert value == [pytest.approx(2 * math.cos(0.7)), pytest.approx(2 * math.sin(0.7))]
    assert tangent == [pytest.approx(0.5 * row[0] - row[1]) for row in J]
    assert jvp(lambda v: v[0] * v[1], (np.array([3.0, 2.0]),), [(1.0, 10.0)])[1] == 32.0  # an array and its tangent
    value, pull_back = vjp(polar, 2.0, 0.7)
    assert pull_back([3.0, 4.0]) == tuple(pytest.approx(3 * J[0][i] + 4 * J[1][i]) for i in range(2))
    _, same_twice = vjp(lambda x: [x, x], 1.0)
    assert same_twice([2.0, 3.0]) == 5.0


def test_derivatives_of_derivatives():
    third = grad(grad(grad(tanh)))
    s = 1 / math.cosh(0.3) ** 2
    assert third(0.3) == pytest.approx(s * (4 - 6 * s), rel=1e-13)
    assert grad(lambda x: grad(lambda y: x * x * y)(x))(3.0) == 6.0
    assert jvp(grad(lambda x: x**4), (2.0,), (1.0,))[1] == 48.0
    assert grad(lambda x: jvp(lambda y: y**3, (x,), (x,))[1])(2.0) == 36.0  # d/dx of 3 x**3
    assert grad(lambda x: vjp(lambda y: y**3, x)[1](x))(2.0) == 36.0
    assert hessian(lambda x, y: jacobian(lambda u: [u * y, u * u])(x)[1] * y)(3.0, 2.0) == ((0.0, 2.0), (2.0, 0.0))


def test_an_inner_derivative_does_not_confuse_its_variable_with_an_outer_one():
    assert grad(lambda x: x * grad(lambda y: x + y)(1.0))(1.0) == 1.0
    assert grad(lambda x: x * grad(lambda y: x * y)(2.0))(3.0) == 6.0
    assert grad(lambda x: x * grad(lambda y: x * y)(x))(3.0) == 6.0


def test_given_values_the_results_are_values_that_can_be_differentiated():
    x = Value(2.0)
    slope = grad(lambda t: t**3)(x)
    assert isinstance(slope, Value)
    slope.backward()
    assert x.grad == 12.0


def test_inside_no_grad_a_derivative_is_still_a_derivative():
    with no_grad():
        assert grad(lambda x: x * x)(3.0) == 6.0
        assert hessian(lambda x: x**3)(2.0) == 12.0
        assert jvp(lambda x: x * x, (3.0,), (1.0,)) == (9.0, 6.0)
        assert (Value(1.0) + 1).parents == ()


def test_a_derivative_that_is_not_finite_is_an_error_that_names_its_cause():
    with pytest.raises(
        DomainError, match=r"a derivative is -inf; it was first lost in div\(1\.0, 1e-170\) = 1e\+170 with"
    ):
        grad(lambda x: 1 / x)(1e-170)
    with pytest.raises(DomainError, match="a derivative is inf: it overflowed on the way back"):
        grad(lambda x: x * 1e-200 * 1e200 * 1e200 * 1e-200 * 1e200)(1.0)
    with pytest.raises(DomainError, match="a derivative is -inf"):
        jacobian(lambda x: [1 / x, x])(1e-170)


@pytest.mark.parametrize("number", [float, Value])
def test_a_weight_or_tangent_that_is_not_finite_is_named_as_the_cause(number):
    with pytest.raises(DomainError, match="a derivative is nan because a tangent is nan"):
        jvp(polar, (1.0, 2.0), (1.0, number(math.nan)))
    with pytest.raises(DomainError, match="a derivative is inf because a weight is inf"):
        vjp(lambda x: [x, x * x], 1.0)[1]([1.0, number(math.inf)])
    with pytest.raises(DomainError, match="a derivative is nan because a tangent is nan"):
        hvp(lambda x: x**3)(1.0, number(math.nan))


def test_weights_and_tangents_that_are_values_are_differentiated_too():
    pull_back = vjp(lambda y: y**3, 2.0)[1]
    assert pull_back(1.0) == 12.0
    assert grad(pull_back)(3.0) == 12.0
    assert grad(lambda t: jvp(lambda y: y**3, (2.0,), (t,))[1])(1.0) == 12.0


def test_functions_leave_nothing_behind():
    w = Value(3.0)
    assert grad(lambda x: w * x)(2.0) == 3.0
    assert w.grad is NOT_COMPUTED


@pytest.mark.parametrize("method", ["forward", "central"])
def test_numerical_gradients_work_on_plain_float_functions(method):
    tolerance = 1e-6 if method == "forward" else 1e-9
    assert numerical_gradient(math.sin, method=method)(1.0) == pytest.approx(math.cos(1.0), rel=tolerance)
    x = [1.3, 0.7, 0.8]
    assert numerical_gradient(rosenbrock, method=method)(x) == pytest.approx(grad(rosenbrock)(x), rel=100 * tolerance)
    assert numerical_gradient(lambda v: v @ v, method=method)(np.array([1.0, 2.0])) == pytest.approx(
        [2.0, 4.0], rel=1e-6
    )
    assert numerical_gradient(exp, method=method)(-700.0) == pytest.approx(0.0, abs=1e-290)


@pytest.mark.parametrize(
    ("method", "step", "evaluations"),
    [("forward", 1e-7, 6), ("central", 1e-5, 10), ("forward", None, 11), ("central", None, 20)],
)
def test_differences_of_n_inputs_take_n_and_one_or_2n_evaluations_and_twice_that_to_trust_the_step(
    method, step, evaluations
):
    calls = []
    f = lambda x: calls.append(x) or math.fsum(x)  # noqa: E731
    numerical_gradient(f, method=method, step=step)([1.0, 2.0, 3.0, 4.0, 5.0])
    assert len(calls) == evaluations
    assert numerical_gradient(lambda x: 1.0, method=method)([]) == []


def test_a_numerical_gradient_inside_a_derivative_is_differentiated_too():
    inner = grad(lambda x: numerical_gradient(lambda y: x * x * y)(1.0))
    assert inner(3.0) == pytest.approx(6.0, rel=1e-9)
    assert grad(lambda x: numerical_gradient(lambda y: y**3)(x))(2.0) == pytest.approx(12.0, rel=1e-9)
    assert grad(lambda v: numerical_gradient(lambda u: u[0] ** 2 * u[1])(v)[0])([3.0, 2.0]) == pytest.approx([4.0, 6.0])
    w = Value(3.0)  # outside one, the result is a number even if f uses Values
    assert numerical_gradient(lambda y: w * y)(1.0).__class__ is float


def test_the_check_accepts_right_derivatives_to_the_order_asked():
    assert gradcheck(lambda a, b: log(a) + a * b - sin(b), order=3)(2.0, 5.0) < 1e-8
    assert gradcheck(rosenbrock, order=2)([1.3, 0.7, 0.8]) < 1e-6


def test_the_check_accepts_functions_that_use_methods_of_values():
    assert gradcheck(lambda x: x.tanh() * x.relu(), order=2)(1.0) < 1e-8


def wrong(factor, second=1.0):
    """x*x with a first derivative wrong by one factor, or a second derivative wrong by another."""
    slope = new_row("slope", lambda x: 2.0 * x, lambda out, x: (2.0 * second,), "2 x")
    rule = lambda out, x: (Value.record(slope, x) if isinstance(x, Value) else 2.0 * x * factor,)  # noqa: E731
    return new_row("square", lambda x: x * x, rule, "x * x")


def test_the_check_catches_a_rule_wrong_by_a_thousandth_and_names_it():
    square = wrong(1.001)

    def area(side, height):
        return Value.record(square, side) * height

    with pytest.raises(GradientError) as error:
        gradcheck(area)(3.0, 2.0)
    text = str(error.value)
    assert text.startswith("area: the derivative by side at 3.0, 2.0 is 12.01")
    assert "by automatic and 12.0" in text or "by automatic and 11.99" in text
    assert "the operation square at 3.0 has the partial 6.00" in text


def test_the_check_of_order_two_catches_a_wrong_second_derivative():
    square = wrong(1.0, second=1.001)

    def area(side):
        return Value.record(square, side)

    assert gradcheck(area)(3.0) < 1e-9
    with pytest.raises(GradientError, match=r"darea/d\(side\): the derivative by side at 3.0 is 2.002"):
        gradcheck(area, order=2)(3.0)


def test_the_check_of_order_three_catches_a_wrong_third_derivative():
    bend = new_row("bend", lambda x: 6.0 * x, lambda out, x: (6.0 * 1.001,), "6 x")
    rule = lambda out, x: (Value.record(slope, x) if isinstance(x, Value) else 3.0 * x * x,)  # noqa: E731
    slope = new_row(
        "slope",
        lambda x: 3.0 * x * x,
        lambda out, x: (Value.record(bend, x) if isinstance(x, Value) else 6.0 * x,),
        "3 x*x",
    )
    cube = new_row("cube", lambda x: x**3, rule, "x**3")

    def volume(side):
        return Value.record(cube, side)

    assert gradcheck(volume, order=2)(2.0) < 1e-9
    with pytest.raises(GradientError, match=r"ddvolume/d\(side\)/d\(side\): .* is 6.00[56]"):
        gradcheck(volume, order=3)(2.0)


def test_the_check_at_a_kink_says_that_no_operation_is_wrong():
    with pytest.raises(GradientError, match=r"is there a kink, or does f use \.data\?"):
        gradcheck(lambda x: x.data * x)(3.0)
    with pytest.raises(GradientError, match=r"the derivative by x\[1\] at"):
        gradcheck(lambda x: relu(x[1]) + x[0])([1.0, 0.0])


def test_bad_input_says_what_was_wrong():
    with pytest.raises(TypeError, match="f must return one number, got 2 in a sequence: use jacobian"):
        grad(polar)(1.0, 2.0)
    with pytest.raises(TypeError, match="a derivative takes numbers or Values, got 'x' of type str"):
        grad(lambda x: x)("x")
    with pytest.raises(TypeError, match="a derivative takes numbers or Values, got None of type NoneType"):
        grad(lambda x: None)(1.0)
    with pytest.raises(ShapeError, match="f has 2 inputs, but there are 1 tangents for them"):
        jvp(polar, (1.0, 2.0), (1.0,))
    with pytest.raises(ShapeError, match=r"nested like \[\[x, x\], x\], their tangents like \[x, \[x, x\]\]"):
        jvp(lambda v, y: v[0] + y, ([1.0, 2.0], 3.0), (1.0, [0.0, 0.0]))
    with pytest.raises(ShapeError, match=r"nested like \[\[\[x, x\]\]\], their tangents like \[\[\[x\], \[x\]\]\]"):
        jvp(lambda W: W[0][0], (np.ones((1, 2)),), (np.ones((2, 1)),))
    with pytest.raises(TypeError, match=r"as sequences: jvp\(f, \(x,\), \(v,\)\)"):
        jvp(sin, 1.0, 1.0)
    with pytest.raises(ShapeError, match="f has 2 results, but there are 1 weights for them"):
        vjp(polar, 1.0, 2.0)[1]([1.0])
    for f, weights, wanted, got in (
        (lambda x: [x, [x, x]], [[1.0, 2.0], 3.0], "[x, [x, x]]", "[[x, x], x]"),
        (lambda x: [x, x], [[1.0], [2.0]], "[x, x]", "[[x], [x]]"),
        (lambda x: [[x], [x]], np.array([1.0, 2.0]), "[[x], [x]]", "[x, x]"),
        (lambda x: x, [1.0], "x", "[x]"),
        (lambda x: [x], 1.0, "[x]", "x"),
    ):
        with pytest.raises(ShapeError, match=re.escape(f"the result is nested like {wanted}, its weights like {got}")):
            vjp(f, 2.0)[1](weights)
    assert vjp(lambda v: np.array([v[0], v[1]]), np.ones(2))[1]([1.0, 2.0]).tolist() == [1.0, 2.0]
    for text in (np.array(["1", "2"]), ["1", "2"]):
        with pytest.raises(TypeError, match=r"takes numbers or Values"):
            vjp(lambda v: [v[0], v[1]], [1.0, 2.0])[1](text)
    assert vjp(lambda x: (x, x), 2.0)[1](np.array([1.0, 2.0])) == 3.0
    with pytest.raises(ValueError, match='method is "forward" or "central", got \'middle\''):
        numerical_gradient(sin, method="middle")
    for step in (0, -1e-5, math.nan, math.inf):
        with pytest.raises(ValueError, match=f"step must be positive and finite, got {step}"):
            numerical_gradient(sin, step=step)
    with pytest.raises(DomainError, match=r"a step of 1e-05 is lost beside 1e\+16"):
        numerical_gradient(sin, step=1e-5)(1e16)
    for order in (0, -1, 1.5):
        with pytest.raises(ValueError, match=f"order must be a whole number of at least 1, got {order}"):
            gradcheck(sin, order=order)
    for tolerance in (0.0, -1.0, math.nan):
        with pytest.raises(ValueError, match=f"tolerance must be positive, got {tolerance}"):
            gradcheck(sin, tolerance=tolerance)
    for too_few in ((), (1.0,)):
        with pytest.raises(TypeError, match=rf"takes the arguments of f and then a vector, got {len(too_few)} in all"):
            hvp(sin)(*too_few)
    with pytest.raises(DomainError, match="it was first lost in mul"):
        grad(lambda x: x * 1e308 * 10)(1.0)
    with pytest.raises(DomainError, match="no finite derivative"):
        grad(sqrt)(0.0)


def test_lists_are_nested_as_deep_as_one_likes_but_not_in_themselves():
    def first(v):
        while isinstance(v, list):
            v = v[0]
        return v * v

    def nested(depth):
        x = 3.0
        for _ in range(depth):
            x = [x]
        return x

    looped = []
    looped.append(looped)
    entered = {}
    entered["again"] = [entered]
    for derivative in (grad, hessian, jacobian, numerical_gradient, lambda f: lambda at: jvp(f, (at,), (at,))):
        for x, kind in ((looped, "list"), (entered, "dict")):
            with pytest.raises(ShapeError, match=f"a {kind} contains itself, so its numbers have no end"):
                derivative(first)(x)
    for depth in (101, 5000):
        assert first(grad(first)(nested(depth))) == 36.0
        assert jvp(first, (nested(depth),), (nested(depth),)) == (9.0, 18.0)
        assert first(numerical_gradient(first)(nested(depth))) == pytest.approx(36.0)


def test_a_pull_back_does_not_mix_recorded_numbers_with_changed_ones():
    w = Value(2.0, "w")
    _, pull_back = vjp(lambda x: w * x * x, 3.0)
    assert grad(lambda t: grad(lambda x: w * x * x)(t))(3.0) == 4.0
    w.data = 5.0
    assert pull_back(1.0) == 12.0  # at the recorded point
    for ask in (lambda: pull_back(Value(1.0)), lambda: grad(pull_back)(1.0)):
        with pytest.raises(ValueError, match="the numbers were changed after the graph was recorded: mul"):
            ask()


@pytest.mark.parametrize("ask", [grad, value_and_grad, jacobian, hessian, hvp])
def test_what_is_no_function_and_no_place_is_refused_at_once(ask):
    x = Value(3.0)
    for recorded in (x * x, 2.0, [x]):
        with pytest.raises(TypeError, match=rf"{ask.__name__} takes a function and gives one.*y.backward\(\)"):
            ask(recorded)
    for point in (2.0, x, [1.5], True):
        with pytest.raises(
            TypeError, match=r"argnums is the place of an argument.*the point is given to the derivative"
        ):
            ask(lambda x: x * x, point)
