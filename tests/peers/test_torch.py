import pytest
from judges import measured, ordinary_points, truth

from peers.functions import torch_functions
from tinygrad_vi import ops, rows

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")

FUNCTIONS = torch_functions()
ROWS = [*rows.OPERATIONS.values(), *map(ops.power, (0.0, 1.0, 2.0, 3.0, -1.0, -2.0, 0.5, -0.5, 1.5, 2.5))]


def by_torch(op, at):
    xs = [torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in at]
    y = FUNCTIONS[op.name](*xs, *op.constants)
    slopes = torch.autograd.grad(y, xs, allow_unused=True)
    return [y.item(), *(0.0 if slope is None else slope.item() for slope in slopes)]


@pytest.mark.parametrize("op", ROWS, ids=repr)
def test_values_and_gradients_agree_with_pytorch(op):
    for at in ordinary_points(op):
        ours = list(measured(op, at).values())[: 1 + len(at)]
        assert ours == pytest.approx(by_torch(op, at), rel=1e-12, abs=1e-15)


@pytest.mark.parametrize("op", [op for op in ROWS if op.corners], ids=repr)
def test_the_conventions_at_corners_are_those_of_pytorch(op):
    for at, partials in op.corners.items():
        assert by_torch(op, at)[1:] == list(partials)


@pytest.mark.parametrize(
    ("name", "x"),
    [
        ("sigmoid", 40.0),  # PyTorch 2.13: 0 instead of 4.2e-18
        ("tanh", 20.0),  # 0 instead of 1.7e-17
        ("gelu", -10.0),  # -7.69e-22 instead of -7.62e-22
    ],
)
def test_tails_keep_their_13_digits_where_pytorch_loses_them(name, x):
    op = rows.OPERATIONS[name]
    true = float(truth(op, (x,))[0,])
    assert measured(op, (x,))[0,] == pytest.approx(true, rel=1e-13, abs=0.0)
