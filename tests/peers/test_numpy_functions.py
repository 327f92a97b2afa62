"""Every elementwise function of NumPy on Values: what JAX gives, derivatives too, or an error; never a number alone."""

import numpy as np
import pytest

from tinygrad_vi import Value, arrays, compile, grad

jax = pytest.importorskip("jax", reason="JAX is the judge")

FUNCTIONS = sorted(
    {getattr(np, name).__name__ for name in dir(np) if isinstance(getattr(np, name), np.ufunc)} & {*dir(jax.numpy)}
)
WAYS = {
    "a Value": lambda x: x,
    "an array of ours": lambda x: arrays.array([x])[:],
    "an array of NumPy's": lambda x: np.array([x], dtype=object),
}
XS = (-1.7, -0.4, 0.3, 0.6, 1.7)
YS = (0.7, -2.3)
#: what NumPy's own loops over objects cannot do with Values: its error says so, and no code of ours is asked
REFUSED_BY_NUMPY = {
    "copysign", "divmod", "float_power", "heaviside", "isfinite", "isinf", "isnan", "logaddexp", "logaddexp2", "modf",
}  # fmt: skip
#: not differentiable, and no meaning for Values that are no conditions: refused in all ways
REFUSED = {
    "bitwise_and", "bitwise_count", "bitwise_or", "bitwise_xor", "gcd", "invert", "lcm", "ldexp", "left_shift",
    "nextafter", "right_shift", "frexp", "signbit", "spacing", "matmul", "copysign", "vecdot", "matvec", "vecmat",
}  # fmt: skip


def first(x):
    """The number, or one of a pair, that stands in what was given back."""
    x = x[0] if isinstance(x, tuple) else x
    return x.item() if isinstance(x, np.ndarray) else x


def judged(name, xs):
    """JAX's value and derivatives; None outside of the domain."""
    f = getattr(jax.numpy, name)

    def of(*xs):
        y = f(*xs)
        return (y[0] if isinstance(y, (tuple, list)) else y).astype(float)

    with jax.enable_x64(True):
        value, slopes = jax.value_and_grad(of, tuple(range(len(xs))))(*map(float, xs))
        found = [float(value), *map(float, slopes)]
    return found if np.isfinite(found).all() else None


def points(name):
    f = getattr(np, name)
    return [(x,) for x in XS] if f.nin == 1 else [(x, y) for x in XS for y in YS]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", sorted({*FUNCTIONS} - REFUSED))
def test_value_and_derivatives_are_those_of_jax(name, way):
    if name.startswith("logical_") and way == "an array of NumPy's":
        pytest.skip("there they are Python's `and` and `or`, which give one of the operands")
    f, of = getattr(np, name), WAYS[way]
    refused = name in REFUSED_BY_NUMPY and way == "an array of NumPy's"
    for at in points(name):
        wanted = judged(name, at)
        if refused:
            with pytest.raises(TypeError, match=f"ufunc '{name}' not supported"):
                f(*map(of, map(Value, at)))
        if wanted is None or refused:
            continue
        assert float(np.asarray(first(f(*at)))) == pytest.approx(wanted[0])

        def ours(*xs):
            y = first(f(*map(of, xs)))
            return y * 1.0 if isinstance(y, Value) else float(y)

        y = ours(*map(Value, at))
        number = y.data if isinstance(y, Value) else y
        assert number == pytest.approx(wanted[0], rel=1e-13)
        if isinstance(y, Value):
            slopes = grad(ours)(*at)
            assert np.ravel(slopes).tolist() == pytest.approx(wanted[1:], rel=1e-12, abs=1e-15)
        else:  # a number alone only where there is nothing to differentiate
            assert wanted[1:] == [0.0] * len(at)


@pytest.mark.parametrize("name", sorted({*FUNCTIONS} - REFUSED))
def test_compiled_they_are_the_same(name):
    f = getattr(np, name)
    choosing = name in arrays.ASKING

    def of_one(*xs):
        y = f(*xs)
        y = y[0] if isinstance(y, tuple) else y
        return np.sum(np.where(y, 1.0, 0.0) if choosing else y) + 0.0 * np.sum(xs[0])

    for at in points(name):
        wanted = judged(name, at)
        if wanted is None:
            continue
        step = compile(of_one, argnums=tuple(range(len(at))), backend="numpy")
        value, slopes = step.value_and_grad(*[np.array([x]) for x in at])
        assert value == pytest.approx(wanted[0], rel=1e-13)
        assert np.ravel(slopes).tolist() == pytest.approx(wanted[1:], rel=1e-12, abs=1e-15)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", sorted({*FUNCTIONS} & REFUSED))
def test_the_others_are_refused(name, way):
    f, of = getattr(np, name), WAYS[way]
    if name == "vecdot" and way == "an array of NumPy's":
        assert f(of(Value(2.0)), of(Value(3.0))).data == 6.0
        return
    if name == "matmul" and way != "a Value":
        assert f(of(Value(2.0)), of(Value(3.0))).data == 6.0
        return
    with pytest.raises((TypeError, ValueError)):
        f(*[of(Value(x)) for x in (0.3, 0.6)[: f.nin]])
