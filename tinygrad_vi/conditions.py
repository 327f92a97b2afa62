"""Rows that stand in the records of functions that are being compiled, and nowhere else: comparisons and checks.

They are no rows of the table, since nobody calls them: ``x < y`` of numbers is a bool, and only of a traced Value a
node.
"""

from __future__ import annotations

import operator
from collections.abc import Callable

from tinygrad_vi.rows import Operation, new_row


def _checked(x: float, ok: float) -> float:
    if not ok >= 0.0:
        raise ValueError
    return x


CHECKED = new_row("<checked>", _checked, (1.0, 0.0), "x where y >= 0, else an error.", symbol="✓", arity=2,
                  domain="y >= 0")  # fmt: skip


def _compared(name: str, sign: str, latex: str, compare: Callable[[float, float], bool]) -> Operation:
    return new_row(name, lambda x, y: 1.0 if compare(x, y) else 0.0, (0.0, 0.0),
                   f"1 where x {sign} y, else 0; 0 where one of them is NaN.  Derivative 0, at the jump too.",
                   symbol=sign, text=f"({{0}} {sign} {{1}})", latex=rf"\left[{{0}} {latex} {{1}}\right]",
                   arity=2)  # fmt: skip


LESS = _compared("less", "<", "<", operator.lt)
LESS_EQUAL = _compared("less_equal", "<=", r"\le", operator.le)
EQUAL = _compared("equal", "==", "=", operator.eq)
COMPARISONS = (LESS, LESS_EQUAL, EQUAL)
#: what may stand in a record without being found by its name
NAMELESS = frozenset({CHECKED, *COMPARISONS})
