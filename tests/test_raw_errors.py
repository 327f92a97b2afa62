"""Where NumPy, SciPy, PyTorch or Python would say something raw, the error says what to write; and that works."""

import math

import numpy as np
import pytest

import tinygrad_vi
from tinygrad_vi import DomainError, Value, arrays, compile, grad, log, operation, sqrt, total, where
from tinygrad_vi.elsewhere import NAMES

V = [2.0, -1.0, 0.5, 4.0]


def values():
    leaves = [Value(x) for x in V]
    return leaves, arrays.array(leaves)


# --- Methods and arguments --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("x", [-3.0, -0.5, 0.25, 0.5, 2.0])
def test_abs_and_clip_are_those_of_pytorch(x):
    torch = pytest.importorskip("torch")
    for f in (
        lambda v: v.abs(),
        lambda v: v.clip(-1.0, 1.0),
        lambda v: v.clip(min=0.0),
        lambda v: v.clamp(max=1.0),
        lambda v: v.clamp(-1.0, 1.0),
    ):
        t, v = torch.tensor(x, dtype=torch.float64, requires_grad=True), Value(x)
        for y in (f(t), f(v)):
            y.backward()
        assert (f(Value(x)).data, v.grad) == (f(t).item(), t.grad.item())
    assert compile(lambda v: v.clip(-1.0, 1.0) + v.abs()).value_and_grad(0.25)[0] == 0.5


def test_clip_without_a_bound_is_refused():
    with pytest.raises(TypeError, match=r"clip needs a bound: v.clip\(0.0, 1.0\)"):
        Value(1.0).clip()


@pytest.mark.parametrize(
    ("argument", "advice"),
    [
        ({"requires_grad": True}, "got requires_grad=: every Value can be differentiated by, so leave it out"),
        ({"dtype": float}, "got dtype=: it is a float always"),
        ({"name": "x"}, "got name=: its name is label="),
        ({"_op": "+"}, r"got _op=: How a Value was made is recorded"),
        ({"size": 3}, 'got size=: write Value\\(3.0, label="x"\\)'),
    ],
)
def test_arguments_of_other_packages(argument, advice):
    with pytest.raises(TypeError, match=advice):
        Value(3.0, **argument)


def test_operation_without_its_derivative():
    for make in (operation, lambda f: operation()(f)):
        with pytest.raises(TypeError, match=r"write @operation\(partials=lambda out, x: ...\) above the function"):
            make(lambda x: x)


def test_a_tensor_beside_a_value():
    torch = pytest.importorskip("torch")
    v, pair, one = Value(2.0), torch.tensor([1.0, 2.0]), torch.tensor(3.0)
    for f in (lambda a, b: a * b, lambda a, b: a + b, lambda a, b: a / b, lambda a, b: a**b, lambda a, b: a % b):
        for a, b in ((v, pair), (pair, v)):
            with pytest.raises(TypeError, match=r"of a Value and a Tensor of torch: .* Write np.asarray\(t\)"):
                f(a, b)
        for a, b in ((v, one), (one, v)):
            with pytest.raises(TypeError, match=r"Write t.item\(\) for a tensor t that is a constant"):
                f(a, b)
    assert [y.data for y in v * np.asarray(pair)] == [2.0, 4.0]
    assert (v * one.item()).data == 6.0


def test_names_that_the_package_has_not():
    for name in ("array", "tensor", "clip", "clamp", "Tensor", "backward", "mean"):
        with pytest.raises(AttributeError, match=f"module 'tinygrad_vi' has no attribute '{name}': write "):
            getattr(tinygrad_vi, name)
    with pytest.raises(AttributeError, match=r"^module 'tinygrad_vi' has no attribute 'zzz'$"):
        tinygrad_vi.zzz  # noqa: B018
    assert not {*NAMES} & {*dir(tinygrad_vi)}


# --- A Value set as a number ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "f", [lambda p: p * p, lambda p: p.relu() + 1.0, lambda p: 3.0 - p, lambda p: p.clip(0.0, 9.0)]
)
def test_a_value_set_as_data_is_refused_before_a_gradient_is_made_of_it(f):
    p = Value(1.5, "p")
    p.data = p - 0.1
    with pytest.raises(
        TypeError, match=r"that of the Value 'p' was set to a Value: .* write p.data -= 0.1, or p.data = \(p - 0.1\)"
    ):
        f(p).backward()
    assert p.grad == 0.0
    p.data = (Value(1.5) - 0.1).data
    (p * p).backward()
    assert p.grad == pytest.approx(2.8)


# --- A choice whose other branch fails --------------------------------------------------------------------------------


def test_a_domain_error_inside_where_says_to_guard_the_inside():
    x = Value(-1.0, "x")
    with pytest.raises(DomainError, match=r"where\(c, x, y\) computes both x and y, so guard .*where\(x > 0, x, 1.0\)"):
        where(x > 0, log(x), 0.0)
    with pytest.raises(DomainError) as elsewhere:
        sqrt(x)
    assert "guard" not in str(elsewhere.value)
    y = where(x > 0, log(where(x > 0, x, 1.0)), 0.0)
    y.backward()
    assert (y.data, x.grad) == (0.0, 0.0)


# --- NumPy and SciPy --------------------------------------------------------------------------------------------------

RAW = {
    "sparse": (
        lambda w: (__import__("scipy.sparse").sparse.eye(4, format="csr") @ w).sum(),
        r"write S.toarray\(\) @ v",
    ),
    "logaddexp": (lambda w: np.logaddexp(np.array([w[0], w[1]]), 0.0)[0], r"write tinygrad_vi.arrays.array\(xs\)"),
    "quantile": (lambda w: np.quantile(np.array([w[0], w[1]]), 0.5), r"write tinygrad_vi.arrays.array\(xs\)"),
    "where=": (lambda w: np.sum(np.array([w[0], w[1]]), where=[True, False]), r"write tinygrad_vi.arrays.array\(xs\)"),
    "entry": (lambda w: w[0][1], "a Value is one number and has no entries"),
}


@pytest.mark.parametrize("name", RAW)
@pytest.mark.parametrize("transform", [grad, lambda f: lambda x: compile(f).value_and_grad(x)])
def test_what_numpy_and_scipy_say_gets_advice_where_we_call_the_function(name, transform):
    if name == "sparse":
        pytest.importorskip("scipy")
    if name == "quantile" and transform is not grad:
        return  # NumPy compares them: the error says what to write for that
    f, advice = RAW[name]
    with pytest.raises((TypeError, ValueError, AttributeError), match=advice):
        transform(f)(np.array(V))


def test_the_advice_works():
    assert grad(lambda w: (np.eye(4) @ w).sum())(np.array(V)).tolist() == [1.0] * 4
    slopes = grad(lambda w: np.logaddexp(arrays.array([w[0], w[1]]), 0.0).sum())(np.array(V))
    assert slopes == pytest.approx([1.0 / (1.0 + math.exp(-2.0)), 1.0 / (1.0 + math.e), 0.0, 0.0])


MASK = np.array([True, False, True, True])


@pytest.mark.parametrize(
    "f",
    [
        lambda v: np.sum(v, where=MASK),
        lambda v: v.sum(where=MASK),
        lambda v: np.mean(v, where=MASK),
        lambda v: np.prod(v, where=MASK),
        lambda v: np.max(v, where=MASK, initial=-9.0),
        lambda v: np.sum(v, where=v > 0),
        lambda v: v[v > 0].sum(),
        lambda v: np.sort(v)[1],
        lambda v: np.median(v),
        lambda v: np.percentile(v, 30),
        lambda v: np.quantile(v, [0.1, 0.9])[1],
        lambda v: np.quantile(v, 1.0),
        lambda v: np.quantile(v.reshape(2, 2), 0.3, axis=1)[1],
        lambda v: np.quantile(v.reshape(2, 2), 0.3, axis=0, keepdims=True)[0, 1],
    ],
)
def test_masks_and_orders_go_by_the_numbers_as_numpys_do(f):
    leaves, v = values()
    y = f(v)
    assert y.data == pytest.approx(f(np.array(V)), rel=1e-15)
    y.backward()
    for i, leaf in enumerate(leaves):  # the order of the numbers holds around the point
        moved = [np.array(V), np.array(V)]
        moved[0][i] += 1e-6
        moved[1][i] -= 1e-6
        assert leaf.grad == pytest.approx((f(moved[0]) - f(moved[1])) / 2e-6, abs=1e-8)


def test_a_maximum_of_what_a_mask_leaves_needs_a_number_for_nothing():
    with pytest.raises(TypeError, match="with where= needs initial="):
        np.max(values()[1], where=MASK)
    with pytest.raises(TypeError, match=r"write np.sum\(x, where=mask\) \+ initial"):
        np.sum(values()[1], where=MASK, initial=1.0)
    with pytest.raises(ValueError, match="quantiles are from 0 to 1"):
        np.percentile(values()[1], 130)


@pytest.mark.parametrize("f", [np.sort, np.median, np.argsort, np.unique, lambda v: np.percentile(v, 30.0)])
def test_a_traced_function_has_no_order(f):
    with pytest.raises(TypeError, match="a traced Value has no place in an order, which np"):
        compile(lambda w: total([f(arrays.array(w)).ravel()[0]])).value_and_grad(V)


def test_a_mask_in_a_compiled_function():
    with pytest.raises(
        IndexError, match=r"which entries a mask takes depends on the numbers.*np.where\(mask, v, 0.0\)"
    ):
        compile(lambda w: arrays.array(w)[arrays.array(w) > 0].sum()).value_and_grad(V)
    for f in (
        lambda w: np.where(arrays.array(w) > 0, arrays.array(w), 0.0).sum(),
        lambda w: np.sum(arrays.array(w), where=arrays.array(w) > 0),
    ):
        value, slopes = compile(f).value_and_grad(V)
        assert (value, slopes.tolist()) == (6.5, [1.0, 0.0, 1.0, 1.0])
