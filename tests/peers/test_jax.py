import numpy as np
import pytest
from judges import measured, ordinary_points

from peers.functions import jax_functions
from tinygrad_vi import ops, rows

jax = pytest.importorskip("jax", reason="JAX is not installed: pip install jax")

ROWS = [*rows.OPERATIONS.values(), *map(ops.power, (0.0, 1.0, 2.0, 3.0, -1.0, -2.0, 0.5, -0.5, 1.5, 2.5))]


@pytest.fixture(autouse=True)
def _double_precision():
    with jax.enable_x64(True):
        yield


def by_jax(op, points):
    """Rows of (value, *partials), one for each point."""
    count = len(points[0])
    function = jax_functions()[op.name]
    both = jax.value_and_grad(lambda *xs: function(*xs, *op.constants), argnums=tuple(range(count)))
    values, slopes = jax.vmap(both)(*np.array(points, dtype=float).T)
    return np.stack([values, *slopes], axis=1)


@pytest.mark.parametrize("op", ROWS, ids=repr)
def test_values_and_gradients_agree_with_jax(op):
    points = [at for at in ordinary_points(op) if len(at) == len(op.points[0])]
    ours = [list(measured(op, at).values())[: 1 + len(at)] for at in points]
    np.testing.assert_allclose(ours, by_jax(op, points), rtol=1e-12, atol=1e-15)


AGREED = ("relu", "step", "elu", "maximum", "minimum", "where")  # JAX: abs'(0) = leaky_relu'(0) = 1; 0**0.0 gives nan


@pytest.mark.parametrize("name", AGREED)
def test_the_conventions_at_corners_are_those_of_jax_where_it_has_the_same(name):
    op = rows.OPERATIONS[name]
    for at, partials in op.corners.items():
        assert by_jax(op, [at])[0, 1:].tolist() == list(partials)
