"""The words of the canonical form: terms, the kinds of sums, and the factors that round nothing."""

from __future__ import annotations

from tinygrad_vi.rows import Operation

#: (coefficient, u, v) with u >= v
Term = tuple[float, int, int]
Kind = str | Operation

#: the node of the constant 1
ONE = 0

#: the kinds of sums
DOT, ORDERED, TOTAL = SUM_KINDS = ("dot", "ordered", "total")
LIGHT = frozenset([sign * 2.0**k for k in range(-4, 5) for sign in (1.0, -1.0)])
