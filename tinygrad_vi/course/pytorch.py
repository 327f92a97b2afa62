"""PyTorch as a referee: it repeats the recorded operations on tensors and differentiates them by its own rules."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from tinygrad_vi.conditions import EQUAL, LESS, LESS_EQUAL
from tinygrad_vi.graph import topological_order
from tinygrad_vi.own import written_out
from tinygrad_vi.rows import Operation, key_of
from tinygrad_vi.trees import flatten
from tinygrad_vi.value import Value


def derivatives(f: Callable[..., Any], at: tuple[Any, ...]) -> Any:
    """All derivatives of f at a point, a list for each result (of one result alone).

    Raises ImportError without PyTorch, ValueError for an operation that PyTorch does not have.
    """
    try:
        torch: Any = import_module("torch")
    except ImportError:
        raise ImportError("trọng tài PyTorch cần gói torch: pip install torch") from None
    numbers, nest = flatten(tuple(at))
    inputs = [Value(x) for x in numbers]
    outputs, _ = flatten(f(*nest(inputs)))
    tensor = {x: torch.tensor(x.data, dtype=torch.float64, requires_grad=True) for x in inputs}
    names = _Names(torch)
    for node in topological_order(outputs):
        operands = [tensor.get(p, torch.tensor(p.data, dtype=torch.float64)) for p in node.parents]
        assert node.op is not None
        tensor[node] = names(node.op)(*operands)
        found = tensor[node].item()
        if node.op.key not in names.table and not abs(found - node.data) <= 1e-8 * max(1.0, abs(node.data)):
            raise ValueError(f"phép toán {node.op.name} của bạn cho {node.data!r}, còn trong PyTorch là {found!r}")
    leaves = [tensor[x] for x in inputs]
    rows = []
    for y in outputs:
        gradient = torch.autograd.grad(tensor[y], leaves, retain_graph=True, allow_unused=True)
        rows.append([0.0 if g is None else g.item() for g in gradient])
    return rows[0] if len(rows) == 1 else rows


class _Names:
    """What PyTorch calls the operations, on tensors."""

    def __init__(self, torch: Any) -> None:
        self.torch, self.table = torch, functions(torch)

    def __call__(self, op: Operation) -> Callable[..., Any]:
        """The function of an operation; of a row of the user's own what it brings, or its formula."""

        def function(*operands: Any) -> Any:
            xs = [self.torch.tensor(float(x), dtype=self.torch.float64) if isinstance(x, (float, int)) else x
                  for x in operands]  # fmt: skip
            if op.key in self.table:
                return self.table[op.key](*xs, *op.constants)
            if op.pytorch is not None:
                return op.pytorch(*xs)
            try:
                return written_out(op, self, *xs)
            except TypeError:
                raise ValueError(
                    f"PyTorch không có phép toán {op.name}: hãy thêm pytorch=lambda x: ... hoặc formula=... vào phép "
                    "toán của bạn, hoặc gọi referee không có pytorch=True"
                ) from None

        return function


def functions(torch: Any) -> Mapping[Any, Callable[..., Any]]:
    """For each row of the table, under its key, a function of tensors and the constants of the row."""
    same = ["exp", "expm1", "log", "log1p", "sqrt", "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh"]
    same += ["asinh", "acosh", "atanh", "atan2", "hypot", "log2", "log10", "sign", "floor", "ceil", "round"]
    same += ["abs", "maximum", "minimum", "erf", "erfc", "erfinv", "sigmoid"]
    neural = ["softplus", "silu", "gelu", "relu", "leaky_relu", "elu", "softsign"]
    named: dict[str, Callable[..., Any]] = {
        **{name: getattr(torch, name) for name in same},
        **{name: getattr(torch.nn.functional, name) for name in neural},
        **{name: getattr(operator, name) for name in ["add", "sub", "mul", "neg", "pow"]},
        "div": operator.truediv,
        "mod": torch.remainder,
        "floordiv": torch.floor_divide,
        "cbrt": lambda x: torch.sign(x) * torch.abs(x) ** (1.0 / 3.0),
        "semicircle": lambda x: torch.sqrt((1.0 - x) * (1.0 + x)),
        "step": lambda x: torch.heaviside(x.detach(), torch.zeros_like(x)) + 0.0 * x,
        "ndtri": torch.special.ndtri,
        "stop_gradient": torch.detach,
        "power": operator.pow,
        "exponential": lambda x, base: base**x,
        "total": lambda *xs: sum(xs),
        "dot": lambda *o: sum((w * x for w, x in zip(o[: len(o) // 2], o[len(o) // 2 : -1], strict=True)), o[-1]),
        "sech": lambda x: 1.0 / torch.cosh(x),
        "bell": lambda x: torch.exp(-x * x / 2.0),
        "logsumexp": lambda *xs: torch.logsumexp(torch.stack(xs), 0),
        "where": lambda c, x, y: torch.where(c > 0, x, y),
    }
    return {
        **{key_of(name): function for name, function in named.items()},
        LESS: lambda x, y: (x < y).to(torch.float64),
        LESS_EQUAL: lambda x, y: (x <= y).to(torch.float64),
        EQUAL: lambda x, y: (x == y).to(torch.float64),
    }
