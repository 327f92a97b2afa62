"""What the compiler knows of the rows of the table besides what stands in them, under the key of each row.

A row that is not listed, such as one of the user's own, counts as one with corners, edges and a domain, which is safe
and slower, and is computed by NumPy, one number after the other.  So a new row works before it is listed here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tinygrad_vi import ops
from tinygrad_vi.compiler import codes
from tinygrad_vi.conditions import CHECKED, COMPARISONS, EQUAL, LESS, LESS_EQUAL
from tinygrad_vi.rows import key_of, table_keys

#: operations that have a value for every float, be it infinite
DEFINED = frozenset({
    *map(key_of, (
        "neg", "add", "sub", "mul", "dot", "atan", "tanh", "sech", "erf", "erfc", "sigmoid", "softplus", "silu", "gelu",
        "step", "relu", "abs", "leaky_relu", "elu", "maximum", "minimum", "where", "logsumexp",
        "asinh", "atan2", "cbrt", "sign", "floor", "ceil", "round",
    )),
    *COMPARISONS,
})  # fmt: skip
#: operations that have derivatives wherever they have a value
DIFFERENTIABLE = DEFINED - {*map(key_of, ("atan2", "cbrt"))} | {
    *map(key_of, ("log2", "log10", "div", "exp", "exponential", "log", "log1p", "sin", "cos", "tan", "total"))
}
#: operations whose result is infinite or NaN wherever their operand is, as sums and products are; `power` where n > 0
TELLING = frozenset(map(key_of, ("sqrt", "log", "sin", "cos", "abs")))
#: operations that round nothing
EXACT = frozenset({
    *map(key_of, (
        "neg", "abs", "maximum", "minimum", "where", "relu", "step", "stop_gradient", "sign", "floor", "ceil", "round",
    )),
    *COMPARISONS,
})  # fmt: skip
#: maps without corners and without edges of their domain: a last bit of their operand is a last bit of their result
SMOOTH = frozenset(map(key_of, (
    "exp", "expm1", "sin", "cos", "tan", "atan", "sinh", "cosh", "tanh", "sech", "bell", "erf", "erfc", "sigmoid",
    "softplus", "silu", "gelu", "logsumexp", "exponential",
    "asinh", "softsign",
)))  # fmt: skip
#: for maps that only some operands can bring to a corner or an edge: these operands
DECIDING: dict[Any, Callable[[list[Any]], list[Any]]] = {
    ops.div.operation: lambda xs: xs[1:],
    ops.where.operation: lambda xs: xs[:1],
    CHECKED: lambda xs: xs[1:],
}

#: the kernel's instruction for a row, which has the row's name; sums and products are dots there
CODES: dict[Any, int] = {
    key: getattr(codes, name.upper())
    for name, key in {**table_keys(), "less": LESS, "less_equal": LESS_EQUAL, "equal": EQUAL}.items()
    if getattr(codes, name.upper(), 0) > codes.OUTER
}
