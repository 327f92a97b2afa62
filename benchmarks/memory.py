"""Bytes held by one eager node after ``backward``: counted object by object, and as the allocator saw them."""

from __future__ import annotations

import gc
import importlib.util
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

from benchmarks.measure import Table, against, collector, progress
from tinygrad_vi import Value

LIMIT = 272  # bytes for a product, on Python 3.11
CHAIN = 200  # operations in a row: micrograd's backward is recursive and ends near 1,000

Step = Callable[[Any, Any], Any]

OPERATIONS: dict[str, Step] = {
    "x * c": lambda x, c: x * c,
    "x + c": lambda x, c: x + c,
    "x - c": lambda x, c: x - c,
    "x / c": lambda x, c: x / c,
    "relu(x)": lambda x, c: x.relu(),
}


def chain(value_class: Any, step: Step, length: int) -> Any:
    """The end of ``x = step(x, c)`` after a backward pass."""
    c, x = value_class(1.0000001), value_class(1.5)
    for _ in range(length):
        x = step(x, c)
    x.backward()
    return x


def counted(step: Step) -> int:
    """sys.getsizeof of a node of ours, and of the tuples and numbers that it shares with no other node."""
    node = chain(Value, step, 3).parents[0]
    assert node.op is not None
    # a product's partials are its operands' numbers, a sum's are the row's, relu's are constants of the program
    others = [*(p.data for p in node.parents), node.op.constant_partials, *(node.op.constant_partials or ())]
    if node.op.name == "relu":
        others += node.local_grads
    shared = {id(x) for x in others}
    parts = {id(x): x for x in (node.parents, node.local_grads, node.data, node.grad, *node.local_grads)}
    return sys.getsizeof(node) + VALUES_OF_DICT + sum(sys.getsizeof(x) for i, x in parts.items() if i not in shared)


#: In Python 3.11 and 3.12 an object with a ``__dict__`` has, from birth, an array for the values of its attributes,
#: which sys.getsizeof does not see; before it has a pointer to a dict, after it an array that is made when needed.
VALUES_OF_DICT = 16 if sys.version_info[:2] in {(3, 11), (3, 12)} else 0


def allocated(value_class: Any, step: Step, count: int) -> tuple[float, float]:
    """Bytes a node holds after backward, and how much of the nodes is still alive once the graphs are dropped."""
    chains: list[Any] = [None] * (count // CHAIN)
    chain(value_class, step, CHAIN)  # what is allocated once (caches, shared keys) is not a node's
    gc.collect()
    leaves = 2 * len(chains) * _leaf_bytes(value_class)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for i in range(len(chains)):
            chains[i] = chain(value_class, step, CHAIN)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    made = _alive(value_class)
    chains.clear()
    return (after - before - leaves) / count, _alive(value_class) / made


def _alive(value_class: type) -> int:
    return sum(type(x) is value_class for x in gc.get_objects())


def _leaf_bytes(value_class: Any) -> float:
    """Bytes of a leaf with a number and a gradient of its own."""
    leaves: list[Any] = [None] * 1000
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for i in range(len(leaves)):
            leaves[i] = value_class(i + 0.5)
            leaves[i].grad = i + 0.25
        return (tracemalloc.get_traced_memory()[0] - before) / len(leaves)
    finally:
        tracemalloc.stop()


def run(repeats: int, quick: bool) -> Iterator[Table]:  # noqa: ARG001
    """Bytes an operation, ours and micrograd's."""
    count = 10_000 if quick else 100_000
    classes: dict[str, Any] = {"tinygrad_vi": Value}
    if importlib.util.find_spec("micrograd"):
        from micrograd.engine import Value as MicrogradValue

        classes["micrograd"] = MicrogradValue
    rows, figures = [], {}
    with progress("memory", len(classes) * len(OPERATIONS)) as bar:
        for name, value_class in classes.items():
            for operation, step in OPERATIONS.items():
                with collector(on=False):
                    held, alive = allocated(value_class, step, count)
                figures[f"{name}: {operation}"] = held
                ours, targeted = value_class is Value, operation in ("x * c", "x + c")
                rows.append(
                    [
                        name,
                        operation,
                        counted(step) if ours else "",
                        round(held),
                        f"{alive:.0%}",
                        *([LIMIT, against(LIMIT + 0.5, held, at_most=True)] if ours and targeted else []),
                    ]
                )
                bar.update()
    yield Table(
        f"Bytes an operation after backward ({count:,} operations, collector paused)",
        ["", "operation", "counted", "allocated", "alive when dropped", "target", ""],
        rows,
        note="micrograd makes three nodes and a leaf of x - c, two nodes of x / c; all are counted, as are the list "
        "and the set of its sort, which a reference cycle keeps alive.",
        figures={"bytes": figures},
    )
