"""What SymPy calls the operations: a formula for each row of the table, under its key.

A row of the user's own brings its formula itself, see `rows.Operation.sympy`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tinygrad_vi.ops import split
from tinygrad_vi.rows import key_of

F = Callable[..., Any]

#: operations whose derivative is 0, each a function of SymPy that stays as it is; not `Piecewise`, which would try for
#: seconds to prove which piece holds where
FLAT = ("step", "stop_gradient", "sign", "floor", "ceil", "round", "floordiv")
#: operations that SymPy knows under the same name
NAMED = ("exp", "log", "sqrt", "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh", "sech", "erf",
         "erfc", "erfinv", "asinh", "acosh", "atanh", "atan2")  # fmt: skip


def formulas(sympy: Any, exact: Callable[[float], Any]) -> dict[Any, F]:
    """A function of SymPy's formulas and the row's constants for each row.  exact: a float as a number of SymPy."""
    exp, log, sqrt = sympy.exp, sympy.log, sympy.sqrt
    flat = {name: type(name, (sympy.Function,), {"fdiff": lambda self, argindex=1: sympy.Integer(0)}) for name in FLAT}
    step = flat["step"]

    def sigmoid(x: Any) -> Any:
        return 1 / (1 + exp(-x))

    def relu(x: Any) -> Any:
        return x * step(x)

    def where(c: Any, x: Any, y: Any) -> Any:
        return x * step(c) + y * (1 - step(c))

    def dot(*operands: Any) -> Any:
        w, x, b = split(operands)
        return sum((u * v for u, v in zip(w, x, strict=True)), b)

    named = {name: getattr(sympy, name) for name in NAMED} | {
        "add": lambda x, y: x + y,
        "sub": lambda x, y: x - y,
        "mul": lambda x, y: x * y,
        "div": lambda x, y: x / y,
        "neg": lambda x: -x,
        "pow": lambda x, y: x**y,
        "power": lambda x, n: x ** exact(n),
        "exponential": lambda x, base: exact(base) ** x,
        "expm1": lambda x: exp(x) - 1,
        "log1p": lambda x: log(1 + x),
        "bell": lambda x: exp(-(x**2) / 2),
        "semicircle": lambda x: sqrt(1 - x**2),
        "sigmoid": sigmoid,
        "softplus": lambda x: log(1 + exp(x)),
        "silu": lambda x: x * sigmoid(x),
        "gelu": lambda x: x * sympy.erfc(-x / sqrt(2)) / 2,
        **flat,
        "relu": relu,
        "mod": lambda x, y: x - y * flat["floordiv"](x, y),
        "log2": lambda x: log(x) / log(2),
        "log10": lambda x: log(x) / log(10),
        "ndtri": lambda x: sqrt(2) * sympy.erfinv(2 * x - 1),
        "cbrt": lambda x: flat["sign"](x) * (relu(x) + relu(-x)) ** exact(1.0 / 3.0),
        "hypot": lambda x, y: sqrt(x**2 + y**2),
        "softsign": lambda x: x / (1 + relu(x) + relu(-x)),
        "leaky_relu": lambda x, slope: relu(x) - exact(slope) * relu(-x),
        "elu": lambda x, alpha: relu(x) + exact(alpha) * (exp(-relu(-x)) - 1),
        "abs": lambda x: relu(x) + relu(-x),
        "maximum": lambda x, y: where(x - y, x, y),
        "minimum": lambda x, y: where(y - x, x, y),
        "where": where,
        "total": lambda *xs: sum(xs),
        "dot": dot,
        "logsumexp": lambda *xs: log(sum(map(exp, xs))),
    }
    return {key_of(name): formula for name, formula in named.items()}
