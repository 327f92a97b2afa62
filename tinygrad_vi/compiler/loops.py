"""A loss that loops over its examples, in a function without arguments: the program for one of them, and their data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_vi.compiler.algebra import Expression
from tinygrad_vi.compiler.batch import data_leaves, find_batch
from tinygrad_vi.compiler.from_record import from_record
from tinygrad_vi.compiler.numpy_layout import Names
from tinygrad_vi.compiler.numpy_runner import NumpyRunner
from tinygrad_vi.compiler.program import Program
from tinygrad_vi.compiler.terms import ONE
from tinygrad_vi.sweep import adjoints
from tinygrad_vi.value import Value

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]


def fold_loop(
    output: Value, recorded: Sequence[Value], params: Sequence[Value], numbers: Sequence[float]
) -> tuple[Program, Array] | None:
    """The program for one example of a loss that loops over its examples, and their data; None if it does not.

    It is found by its structure, node for node; its value and gradient are compared with the recorded ones once more.
    """
    P = len(params)
    leaves = data_leaves(recorded, params)
    if not _repeats_itself(recorded, params, leaves):
        return None
    places = {leaf: i for i, leaf in enumerate([*params, *leaves])}
    form, [result] = from_record([output], places, {}, recorded)
    scale, node = result.reference()
    batch = find_batch(form, node, {P + j: leaf.data for j, leaf in enumerate(leaves)})
    if batch is None or not batch.inputs:
        return None
    c, mean = batch.output
    program = Program(batch.form, [Expression(batch.form, [(scale * c, mean, ONE)])], P, len(batch.inputs))
    data = np.array(batch.inputs).T
    names = Names((), [("x", program.inputs)])
    theta = np.array(numbers)
    found, _ = NumpyRunner(program.value_and_gradient(), names, "results")(theta, [data])
    slopes = adjoints(recorded, {output: 1.0})
    expected = np.array([output.data, *[slopes.get(p, 0.0) for p in params]])
    size = np.abs(expected).max()
    agrees = np.isfinite(expected).all() and np.abs(found - expected).max() <= 1e-9 * size
    return (program, data) if agrees else None


def _repeats_itself(recorded: Sequence[Value], params: Sequence[Value], leaves: Sequence[Value]) -> bool:
    """Whether half of what depends on parameters is there twice, but for data: else there is no need to look closer.

    Each operation gets a number for what it is computed from, all data looking alike: equal for counterparts.
    """
    numbers: dict[Any, int] = {}
    alike: dict[Value, int] = dict.fromkeys(leaves, -1) | {p: -2 - i for i, p in enumerate(params)}
    times: list[int] = []
    trained = {*params}
    for node in recorded:
        key = node.op, *[alike.get(parent, -1) for parent in node.parents]
        alike[node] = number = numbers.setdefault(key, len(numbers))
        if number == len(times):
            times.append(0)
        if not trained.isdisjoint(node.parents):
            trained.add(node)
            times[number] += 1
    return 2 * sum(n for n in times if n > 1) >= sum(times)
