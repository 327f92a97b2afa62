"""Whether a record still is what was computed: everything that shows its numbers asks first."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from tinygrad_vi.show.numerals import write_number
from tinygrad_vi.value import Value, topological_order


def check_unchanged(nodes: Iterable[Value]) -> None:
    """Raise ValueError when a node's number no longer follows from those of its operands.

    That is so when somebody set ``data`` after the graph was recorded, as an optimiser does: arithmetic that is shown
    with such numbers would be wrong.  The error names the first operation that is.
    """
    for node in nodes:
        if node.op is None:
            continue
        operands = [v.data for v in node.parents]
        try:
            now: Any = node.op.value(*operands)
        except (ArithmeticError, ValueError, TypeError):
            now = None  # there it could not have been computed
        if now is None or not _same(now, node.data):
            found = "nothing" if now is None else write_number(now, None)
            shown = ", ".join([repr(x) for x in operands[:4]] + ["..."] * (len(operands) > 4))
            label = f" (node {node.label!r})" if node.label else ""
            raise ValueError(
                f"the numbers were changed after the graph was recorded: {node.op.name}({shown}) is {found}, "
                f"which is not the recorded {node.data!r}{label}; run the computation again"
            )


def check_graph(*outputs: Value) -> None:
    """The same for all that the outputs depend on."""
    check_unchanged(topological_order(outputs))


def _same(now: float, recorded: float) -> bool:
    """Equal but for the last bits, which another machine may round differently."""
    return now == recorded or (now != now and recorded != recorded) or math.isclose(now, recorded, rel_tol=1e-9)
