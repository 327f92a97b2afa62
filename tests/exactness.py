"""How many units in the last place each operation is off: measured, and written as a table.

    python tests/exactness.py                 the table, from 2,000 points for each operation (some twenty minutes)
    python tests/exactness.py --write         the same, put into PROMISES.md

For every row of the table of operations: its value, its first and its second partial derivatives, by the eager engine,
by the NumPy text of a compiled function and by the native kernel, for a batch of examples.  The judge is mpmath at 450
digits on formulas of its own (`judges`).

The error of a number is counted in units in the last place of the true number.  Near a place where a function passes
through 0 (other than at 0) no formula keeps relative accuracy; there the unit is that of what one unit in the last
place of the operands makes, where that is larger.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from judges import measured, random_points, swing, truth
from mpmath import mpf

from tinygrad_vi import DomainError, Value, compile, grad, ops, rows
from tinygrad_vi.rows import Operation

ROWS = [
    *rows.OPERATIONS.values(),
    *[ops.power(n) for n in (2.0, 3.0, -1.0, -2.0, 0.5, -0.5, 2.5)],
    *[ops.exponential(base) for base in (2.0, 0.3)],
]
LARGEST, SMALLEST = sys.float_info.max, sys.float_info.min
ORDERS = ("value", "first", "second")
BACKENDS = ("numpy", "native")
#: rows that pass through 0 where their operands do not
CROSSES_ZERO = {
    "silu",
    "gelu",
    "sech",
    "bell",
    "dot",
    "logsumexp",
    "total",
    "add",
    "sub",
    "log",
    "sin",
    "cos",
    "tan",
    "pow",
    "hypot",
    "atan2",
}

Truth = dict[tuple[int, ...], mpf]
Worst = dict[tuple[str, str], float]


def points(op: Operation, count: int, seed: int = 0) -> list[tuple[tuple[float, ...], Truth]]:
    """Points of the operation's domain where its value and derivatives are floats with all their digits, and truths."""
    found: list[tuple[tuple[float, ...], Truth]] = []
    for at in random_points(op, 40 * count, f"exactness {seed}"):
        if op.name == "hypot" and 0.0 in at:  # its second derivative is 0, which mpmath finds as 1/|x| - 1/|x|
            continue
        true = truth(op, at)
        if all(t == 0 or SMALLEST < abs(t) < LARGEST for t in true.values()):
            found.append((at, true))
        if len(found) == count:
            break
    return found


def units(op: Operation, at: Sequence[float], which: tuple[int, ...], got: float, true: Truth) -> float:
    """How far off, in units in the last place."""
    t = true[which]
    size = abs(t)
    if op.name in CROSSES_ZERO:
        size = max(size, swing(op, at)[which])
    if not math.isfinite(got):
        return math.inf
    return float(abs(mpf(got) - t) / math.ulp(min(float(size), LARGEST)))


def of_the_engine(op: Operation, chosen: Sequence[tuple[tuple[float, ...], Truth]]) -> Iterator[tuple[int, dict]]:
    """The numbers of the eager engine at each point."""
    for i, (at, _) in enumerate(chosen):
        try:
            yield i, measured(op, at)
        except DomainError:  # a factor on the way overflows: no number is given, so none is wrong
            continue


def of_the_compiler(
    op: Operation, chosen: Sequence[tuple[tuple[float, ...], Truth]], backend: str
) -> Iterator[tuple[int, dict]]:
    """The numbers of a compiled function: the batch of points for the value, the Jacobian and that of the gradient."""
    n = len(chosen[0][0])
    data = [np.array(column) for column in zip(*[at for at, _ in chosen], strict=True)]
    shifts = [Value(0.0) for _ in range(n)]

    def f(*xs: Value) -> Value:
        return Value.record(op, *xs)

    def shifted(*xs: Value) -> Value:
        return f(*[x + p for x, p in zip(xs, shifts, strict=True)])

    def slopes(*xs: Value) -> list[Value]:
        found = grad(f)(*[x + p for x, p in zip(xs, shifts, strict=True)])
        return [*found] if n > 1 else [found]

    value = compile(shifted, shifts, backend=backend)
    theta = value.theta
    values, first = value.each(theta, *data), value.jacobian(theta, *data)
    try:
        second = compile(slopes, shifts, backend=backend).jacobian(theta, *data)
    except DomainError:  # a factor on the way overflows at some points, which give no number: the others alone
        second = _where_there_are_some(compile(slopes, shifts, backend=backend), theta, data)
    except ValueError:  # of a linear operation: the gradient does not depend on the operands
        second = [np.zeros((n, n))] * len(chosen)
    for k in range(len(chosen)):
        found = {(): values[k]}
        found |= {(i,): first[k, i] for i in range(n)}
        if second[k] is not None:
            found |= {(i, j): second[k][i, j] for i in range(n) for j in range(n)}
        yield k, found


def _where_there_are_some(step: Any, theta: Any, data: Sequence[Any]) -> list[Any]:
    """The Jacobians example by example; None where it is refused."""
    found: list[Any] = [None] * len(data[0])
    for k in range(len(found)):
        with contextlib.suppress(DomainError):
            found[k] = step.jacobian(theta, *[column[k : k + 1] for column in data])[0]
    return found


def worst(op: Operation, count: int, seed: int = 0) -> Worst:
    """The largest error of each order by each engine."""
    chosen = points(op, count, seed)
    engines = {"eager": of_the_engine(op, chosen)}
    engines |= {backend: of_the_compiler(op, chosen, backend) for backend in BACKENDS}
    found: Worst = {}
    for name, numbers in engines.items():
        for i, got in numbers:
            at, true = chosen[i]
            for which in true:
                if which not in got:  # refused
                    continue
                key = name, ORDERS[len(which)]
                found[key] = max(found.get(key, 0.0), units(op, at, which, float(got[which]), true))
    return found


def label(op: Operation) -> str:
    """``power[-0.5]``."""
    return op.name + "".join(f"[{c:g}]" for c in op.constants)


def table(rows: Sequence[Operation], count: int) -> str:
    """A Markdown table of the worst errors."""
    columns = [(engine, order) for engine in ("eager", *BACKENDS) for order in ORDERS]
    lines = [
        "| operation | " + " | ".join(f"{engine} {order}" for engine, order in columns) + " |",
        "|---" * (1 + len(columns)) + "|",
    ]
    for op in rows:
        found = worst(op, count)
        cells = [f"{found[key]:.1f}" if key in found else "" for key in columns]
        lines.append(f"| {label(op)} | {' | '.join(cells)} |")
        print(lines[-1], flush=True)
    return "\n".join(lines)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", help="operations; all when none is named")
    parser.add_argument("--points", type=int, default=2000)
    parser.add_argument("--write", action="store_true", help="put the table into PROMISES.md")
    options = parser.parse_args()
    warnings.simplefilter("ignore", RuntimeWarning)
    rows = [op for op in ROWS if not options.names or op.name in options.names]
    text = table(rows, options.points)
    if options.write:
        page = Path(__file__).parents[1] / "PROMISES.md"
        before, start, rest = page.read_text(encoding="utf-8").partition("<!-- exactness -->\n")
        _, end, after = rest.partition("<!-- end of exactness -->")
        page.write_text(before + start + text + "\n" + end + after, encoding="utf-8")


if __name__ == "__main__":
    main()
