"""Each row of the table, compiled, at its points: of one number and over a batch, which the kernel computes apart.

The judge of the values is the row's definition in SymPy, evaluated by mpmath (see `judges`); that of the slopes is the
row's own rule, which `test_ops` judges at these points.
"""

import math
from importlib.util import find_spec

import pytest

from tinygrad_vi import compile, ops, rows

pytest.importorskip("sympy", reason="the judge's definitions are SymPy's")
from judges import measured, swing, truth

ROWS = [
    *rows.OPERATIONS.values(), *[ops.power(n) for n in (0.5, -0.5, -1.0, -2.0, 3.0, 2.5)], ops.exponential(0.3),
    rows.FAMILIES["leaky_relu"](0.2), rows.FAMILIES["elu"](0.7),
]  # fmt: skip
BACKENDS = ["numpy", *["native"] * (find_spec("numba") is not None)]

every_row = pytest.mark.parametrize("op", ROWS, ids=repr)
on_each_backend = pytest.mark.parametrize("backend", BACKENDS)


def close(got, true, swing=0.0):
    """swing: how much it changes with its operands; next to where it is 0 their last digits are all that is known."""
    return abs(got - true) <= 1e-13 * abs(true) + 1e-15 * swing + 1e-318


@on_each_backend
@every_row
def test_of_one_number(op, backend):
    for at in op.points:
        step = compile(lambda p: rows.apply(op, *p), backend=backend)
        assert close(step(at), truth(op, at)[()]), at


@on_each_backend
@every_row
def test_over_a_batch(op, backend):
    for size in {len(at) for at in op.points}:
        points = [at for at in op.points if len(at) == size and all(map(math.isfinite, measured(op, at).values()))]
        step = compile(lambda w, x: rows.apply(op, *[u + v for u, v in zip(w, x, strict=True)]), backend=backend)
        values, slopes = (ask([0.0] * size, points) for ask in (step.each, step.jacobian))
        for at, y, row in zip(points, values.tolist(), slopes.tolist(), strict=True):
            assert close(y, truth(op, at)[()]), at
            rule, swings = measured(op, at), swing(op, at)
            assert all(close(g, rule[i,], swings[i,]) for i, g in enumerate(row)), (at, row)
