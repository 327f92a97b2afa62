"""x**y at x = 0: its derivatives of every order, on every path, are right or refused.

The judge is mpmath: the derivative just right of 0, twice, tells whether it tends to a number or grows without bound.
"""

from contextlib import suppress
from importlib.util import find_spec
from itertools import product

import numpy as np
import pytest
from mpmath import diff, ff, mp, mpf

from tinygrad_vi import DomainError, Value, grad, hessian, hvp, jvp, no_grad
from tinygrad_vi.compiler import compile

BACKENDS = ["numpy", *(["native"] if find_spec("numba") else [])]
EXPONENTS = [0.0, 0.3, 0.5, 1.0, 1.0 + 2.0**-52, 1.5, 2.0, 2.0 - 2.0**-52, 2.5, 3.0, 3.7, 4.0, 20.0]
ORDERS = [order for n in (1, 2, 3) for order in product((0, 1), repeat=n)]


def power(x, y):
    return x**y


def limit(order, y):
    """The derivative by x (0) and y (1) for x -> 0 from the right; None where it tends to no number, or there is none.

    Below y = 0 the power itself is infinite, so at y = 0 there is no derivative by y.
    """
    by_x, by_y = order.count(0), order.count(1)
    if by_y and y == 0.0:
        return None
    with mp.workdps(80):  # so near that x**(2**-52) is nearly 0
        near, nearer = [
            diff(lambda e, x=x: ff(e, by_x) * x ** (e - by_x), mpf(y), by_y)
            for x in (mpf(10) ** -(10**19), mpf(10) ** -(2 * 10**19))
        ]
        if abs(nearer) > 1.2 * abs(near) + mpf("1e-20"):
            return None
        return float(nearer) if abs(nearer) > 1e-20 else 0.0


def along(order):
    """The derivative by these operands, the first one first, by reverse mode over reverse mode."""
    function = power
    for k in order:
        function = grad(function, argnums=k)
    return function


@pytest.mark.parametrize("y", EXPONENTS)
def test_derivatives_of_every_order_are_right_or_refused(y):
    for order in ORDERS:
        found = "refused"
        with suppress(DomainError):
            found = along(order)(0.0, y)
        assert found == limit(order, y) or (found == "refused" and y <= len(order)), (order, y)


@pytest.mark.parametrize("y", EXPONENTS)
def test_every_path_agrees_with_the_limit(y):
    wanted = [limit((k,), y) for k in (0, 1)]
    second = [[limit((i, k), y) for k in (0, 1)] for i in (0, 1)]
    forward = [lambda v=v: jvp(power, [0.0, y], v)[1] for v in ([1.0, 0.0], [0.0, 1.0])]
    steps = [compile(power, backend=backend) for backend in BACKENDS]
    first = [
        lambda: grad(power, argnums=(0, 1))(0.0, y),
        lambda: [slope() for slope in forward],
        *[lambda step=step: step.grad(0.0, y) for step in steps],
    ]
    whole = [
        lambda: hessian(lambda v: v[0] ** v[1])([0.0, y]),
        lambda: [hvp(lambda v: v[0] ** v[1])([0.0, y], v) for v in ([1.0, 0.0], [0.0, 1.0])],
        *[lambda step=step: step.hessian(0.0, y) for step in steps],
    ]
    for true, paths in ((wanted, first), (second, whole)):
        for path in paths:
            if None in np.ravel(true):
                with pytest.raises(ArithmeticError, match=r"no finite derivative at x = 0\.0"):
                    path()
            else:
                assert np.array(path()).tolist() == true


def test_a_power_to_itself_is_refused_at_0():  # its slope there is log(0) + 1
    for derivative in (grad, lambda f: grad(grad(f)), *[lambda f, b=b: compile(f, backend=b).grad for b in BACKENDS]):
        with pytest.raises(ArithmeticError, match="an exponent that is a constant can be written as a plain number"):
            derivative(lambda x: x**x)(0.0)
    with no_grad():
        assert (Value(0.0) ** Value(0.0)).data == 1.0


@pytest.mark.parametrize("n", [0, 1, 2, 3])
def test_what_the_refusal_says_to_write_is_right(n):
    true = [[1, 0, 0, 0, 0], [0, 1, 0, 0, 0], [0, 0, 2, 0, 0], [0, 0, 0, 6, 0]][n]
    for order in range(1, 5):
        derivative = lambda x: x**n  # noqa: E731
        for _ in range(order):
            derivative = grad(derivative)
        assert derivative(0.0) == true[order]
    for step in [compile(lambda x, c: c * x**n, backend=backend) for backend in BACKENDS]:
        assert step.grad(0.0, 1.0) == (true[1], true[0])
        assert step.hessian(0.0, 1.0)[0][0] == true[2]


def test_0_to_a_power_has_no_slope_where_it_jumps():
    jump = lambda x: 0.0**x  # noqa: E731
    for derivative in (grad(jump), grad(grad(jump)), *[compile(jump, backend=b).grad for b in BACKENDS]):
        assert derivative(0.5) == 0.0
        with pytest.raises(ArithmeticError, match=r"0 \*\* x has no finite derivative at x = 0\.0"):
            derivative(0.0)
