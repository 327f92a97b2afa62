"""Which scalar operation, on which example, made a result infinite or NaN, or would have raised by itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_vi.compiler.errors import NotFinite
from tinygrad_vi.compiler.examples import examples
from tinygrad_vi.compiler.program import ORDER, Check
from tinygrad_vi.compiler.traced import Traced
from tinygrad_vi.compiler.user_function import UserFunction
from tinygrad_vi.examples import Table
from tinygrad_vi.graph import first_not_finite, not_finite
from tinygrad_vi.rows import Operation
from tinygrad_vi.value import Value

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Array = NDArray[np.float64]

#: examples that are searched at once for the one that failed
AT_ONCE = 4096


@dataclass(frozen=True)
class Blame:
    """The search for what went wrong in one answer.  numbers: theta as a vector.  tables: the inputs of the program."""

    function: UserFunction
    traced: Traced
    theta: ArrayLike
    numbers: Array
    tables: list[Table]

    def judge(self, what: str) -> None:
        """Raise what the function itself raises, for the first example for which it does.

        The checks of the program accuse and the function judges: exp(inf) is no error, and it raises the flag.
        """
        order = ORDER[what]
        arrays = [table.numbers for table in self.tables]
        if not self.tables:
            self._try(order, 0)
            return
        for start in range(0, len(arrays[0]), AT_ONCE):
            some = [array[start : start + AT_ONCE] for array in arrays]
            with self.function.lock:
                runner = self.traced.runner(f"suspicions {order}")
                found, _ = runner(self.numbers, some)
            for i in sorted(_suspects(runner.checks, found)):
                self._try(order, start + i)

    def _try(self, order: int, i: int) -> None:
        """Run the scalar code on one example, with as many derivatives, to hear what it raises."""
        try:
            with self.function.differentiated(order, self.theta, self.tables, i):
                pass
        except (ArithmeticError, ValueError) as error:
            raise NotFinite(str(error), i if examples(self.tables) else None) from error

    def not_finite(self, what: str) -> NotFinite:
        """The error for a result that is infinite or NaN: it names the scalar operation and the example."""
        arrays = [table.numbers for table in self.tables]
        asked = what if what in ("value_and_gradient", "jacobian") else "each"

        def bad(some: list[Any]) -> Any:
            """Of which examples, or whether of any of these."""
            runner = self.traced.runner(asked)
            found = runner(self.numbers[: self.traced.program.parameters], some)[0]
            return ~np.isfinite(found[:-1] if runner.flagged else found).all(axis=0)

        if not arrays:
            return self._explained(0)
        if asked != "value_and_gradient" and bad(arrays).any():
            low = int(bad(arrays).argmax())
            return self._explained(low)
        asked = "value_and_gradient" if self.traced.shape == () else "jacobian"
        low, high = 0, len(arrays[0])
        while high - low > 1:  # halve the batch until one example is left
            middle = (low + high) // 2
            if bad([array[low:middle] for array in arrays]).any():
                high = middle
            elif bad([array[middle:high] for array in arrays]).any():
                low = middle
            else:
                named = {
                    "hessian": "the Hessian",
                    "curvature": "the product with the Hessian",
                    "directional": "the derivative along v",
                }
                return NotFinite(
                    f"{named.get(what, 'the result')} is infinite or NaN, though the value and the gradient of each "
                    "example are finite"
                )
        return self._explained(low)

    def _explained(self, i: int) -> NotFinite:
        """The error for one example of which the function itself says nothing: it names what was lost first."""
        example = i if examples(self.tables) else None
        try:
            with self.function.differentiated(0, self.theta, self.tables, i) as outputs:
                _check(outputs)
        except (ArithmeticError, ValueError) as error:
            return NotFinite(str(error), example)
        return NotFinite("a derivative is infinite or NaN", example)


def _check(outputs: Sequence[Value]) -> None:
    for y in outputs:
        if first_not_finite(y) is not None:
            raise not_finite(y)


def _suspects(checks: Sequence[Check], found: Any) -> set[int]:
    """The examples for which an operation may have raised, by the numbers of `Program.suspicions`."""
    suspects: set[int] = set()
    row = 0
    for check in checks:
        out, operands = found[row], found[row + 1 : row + 1 + len(check.operands)]
        row += 1 + len(check.operands)
        for i in np.flatnonzero(~np.isfinite(out)).tolist():
            xs = operands[:, i].tolist()
            if all(map(math.isfinite, xs)) or _raises(check.op, xs):
                suspects.add(i)
    return suspects


def _raises(op: Operation | None, xs: Sequence[float]) -> bool:
    """Whether an operation raises for operands that are not all finite."""
    if op is None:
        return not any(map(math.isnan, xs))
    try:
        op.value(*xs)
    except (ArithmeticError, ValueError):
        return True
    return False
