"""The answers of a compiled function, compared with what the function itself gives."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from tinygrad_vi.checks import DomainError
from tinygrad_vi.compiler.examples import entry, factors, floats, vector
from tinygrad_vi.compiler.known import EXACT
from tinygrad_vi.compiler.trace import NotFaithful
from tinygrad_vi.compiler.traced import Traced
from tinygrad_vi.compiler.user_function import UserFunction
from tinygrad_vi.examples import Table, as_values
from tinygrad_vi.floats import SMALLEST_NORMAL
from tinygrad_vi.graph import topological_order
from tinygrad_vi.trees import flatten
from tinygrad_vi.value import Value

#: operands of recorded operations from which on a function is compared with itself by one value alone
LONG = 6000


@dataclass(frozen=True)
class Verification:
    """A compiled function beside the function itself, for some parameters and data.

    tables: the inputs of its program, made of ``data``, which the function itself meets as they were given.
    """

    function: UserFunction
    traced: Traced
    theta: Any
    tables: list[Table]
    data: Sequence[Any]

    def first_answer(self, what: str) -> None:
        """Compare a first answer with the function's own on three rows; of a long function the value alone, on one."""
        if what not in ("value", "value_and_gradient", "each"):
            return
        count, long = len(self.tables[0].numbers) if self.tables else 1, len(self.traced.record.operands) > LONG
        rows = random.Random(count).sample(range(count), min(count, 1 if long else 3))
        start = perf_counter()
        self.worst(what, rows, values_alone=long)
        self.traced.seconds[f"{what}: verified"] = perf_counter() - start

    def worst(self, what: str, rows: Sequence[int], values_alone: bool = False) -> float:
        """The largest difference between the compiled function and itself on some rows; NotFaithful for a large one."""
        worst = 0.0
        for i in rows:
            if values_alone and self._has_the_value(what, i):
                continue
            try:
                asked = "value" if values_alone else what
                expected, scales, again = self._itself(asked, i)
            except (DomainError, OverflowError):  # the compiled function says so in its own way
                continue
            found = self._compiled(what, i)
            found = found[: len(expected)] if values_alone else found
            if len(found) != len(expected):
                raise self._other(i if self.data else None, f"{len(found)} numbers", f"{len(expected)}")
            for k, (got, wanted, scale) in enumerate(zip(found.tolist(), expected, scales, strict=True)):
                if not math.isfinite(wanted):
                    continue
                error = abs(got - wanted) / scale if scale else abs(got - wanted)
                if not error <= 1e-6:
                    spread = max([abs(other[k] - wanted) for other in again()], default=0.0)
                    if not abs(got - wanted) <= 64.0 * spread:  # rounding does not explain it
                        raise self._other(i if self.data else None, repr(got), repr(wanted))
                worst = max(worst, error)
        return worst

    def _compiled(self, what: str, i: int) -> Any:
        """What the compiled function gives for one example, or for the batch found inside."""
        arrays = [table.numbers[i : i + 1] for table in self.tables] if self.traced.data is None else [self.traced.data]
        with self.function.lock:
            runner = self.traced.runner(what)
            found = runner(vector(self.theta, self.traced.program.parameters), arrays)[0]
        found = found[:-1] if runner.flagged else found
        return found[:, 0] if found.ndim > 1 else found  # one example, or a batch found inside: all columns alike

    def _has_the_value(self, what: str, i: int) -> bool:
        """Whether the function's own value, computed without a record, is the compiled one to nine digits.

        Where it is not, the sizes of the numbers on the way have to tell whether rounding explains it.
        """
        try:
            y, _ = self.function.eager(
                self.theta, [entry(x, i) for x in self.data], factors(self.tables, i), record=False
            )
            wanted = [v.data if isinstance(v, Value) else float(v) for v in flatten(y)[0]]
        except (TypeError, AttributeError, ArithmeticError, ValueError):  # it is run again, with a record
            return False
        found = self._compiled(what, i).tolist()[: len(wanted)]
        return len(found) == len(wanted) and all(
            math.isclose(x, y, rel_tol=1e-9) for x, y in zip(found, wanted, strict=True)
        )

    def _itself(self, what: str, i: int) -> tuple[list[float], list[float], Callable[[], list[list[float]]]]:
        """The function's own results on one example, and its gradient; for each the largest number on the way.

        And what gives some more of them, as they would be had each operation been rounded otherwise.
        """
        try:
            y, parameters = self.function.eager(self.theta, [entry(x, i) for x in self.data], factors(self.tables, i))
        except NotFaithful:
            raise
        except (TypeError, AttributeError):  # whole numbers and plain targets have no methods
            rows = [as_values(floats(entry(x, i))) for x in self.data]
            y, parameters = self.function.eager(self.theta, rows, factors(self.tables, i))
        outputs = [v if isinstance(v, Value) else Value(v) for v in flatten(y)[0]]
        leaves: dict[Value, None] = {}
        order = topological_order(outputs, leaves=leaves)
        at = {v: v.data for v in leaves} | {v: v.data for v in outputs}
        at.update(zip(parameters, vector(self.theta, len(parameters)).tolist(), strict=True))
        sizes = map(abs, [*[at[v] for v in leaves], *[node.data for node in order]])
        size = max([x for x in sizes if x < math.inf], default=0.0)
        by = parameters if what == "value_and_gradient" else []

        def again() -> list[list[float]]:
            return rounded_otherwise(order, outputs, at, by)

        results = [at[v] for v in outputs]
        if not by:
            return results, [size] * len(results), again
        flows, largest = {outputs[0]: 1.0}, 0.0
        for node in reversed(order):
            flow = flows.get(node, 0.0)
            if flow != 0.0:
                for parent, partial in zip(node.parents, node.local_grads, strict=True):
                    part = partial * flow
                    flows[parent] = flows.get(parent, 0.0) + part
                    largest = max(largest, abs(part) if abs(part) < math.inf else 0.0)
        gradient = [flows.get(p, 0.0) for p in parameters]
        return [*results, *gradient], [size, *[largest] * len(parameters)], again

    def _other(self, row: int | None, got: str, wanted: str) -> NotFaithful:
        where = "" if row is None else f" on row {row} of the data"
        name = self.function.name
        return NotFaithful(
            f"{name} cannot be compiled: compiled it gives {got}{where}, run by itself {wanted}. It decides by "
            "something else than operations on Values, such as the type of a number (whole numbers reach the function "
            "itself as they are, and the compiled one as Values) or a number that changes from run to run: give what "
            "differs as an argument, a column of the data, and write where(c, x, y) for a choice; verify=False "
            "does not compare"
        )


def rounded_otherwise(
    order: Sequence[Value], outputs: Sequence[Value], at: Mapping[Value, float], params: Sequence[Value]
) -> list[list[float]]:
    """Results and gradient of a record, some times, operations a unit in the last place up or down by chance.

    Monte Carlo arithmetic (D. S. Parker, 1997): what their spread is, rounding alone may make of the result.
    """
    chance = random.Random(0)

    def nudged(x: float) -> float:
        if abs(x) < SMALLEST_NORMAL:  # whose unit in the last place is no smaller than this
            return x + chance.choice((0.0, 0.0, 5e-324, -5e-324)) if x else x
        return x * chance.choice((1.0, 1.0, 1.0 - 2.0**-52, 1.0 + 2.0**-52))

    found = []
    for _ in range(16):
        numbers, partials = dict(at), {}
        try:
            for node in order:
                xs = [numbers[v] for v in node.parents]
                assert node.op is not None
                out = node.op.value(*xs)
                numbers[node] = out = out if node.op.key in EXACT else nudged(out)
                partials[node] = [nudged(p) for p in node.op.constant_partials or node.op.partials(out, *xs)]
        except (ArithmeticError, ValueError):  # over the edge of a domain
            continue
        flows = {outputs[0]: 1.0}
        for node in reversed(order) if params else ():
            if flow := flows.get(node, 0.0):
                for parent, partial in zip(node.parents, partials[node], strict=True):
                    flows[parent] = flows.get(parent, 0.0) + partial * flow
        found.append([*[numbers[v] for v in outputs], *[flows.get(p, 0.0) for p in params]])
    return found
