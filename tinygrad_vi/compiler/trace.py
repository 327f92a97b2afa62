"""The first pass: run the user's function once, on Values, and keep what they recorded.

There is no placeholder to write functions for: the function meets the numbers of a real example, wrapped as Values, and
whatever runs eagerly can be traced.  But the record is taken for the function, at all points and for all examples, so
nothing may be decided by this example's numbers.  Three things see to it.

A traced Value keeps its number to itself: as a condition, a float, an index, a key it refuses (`kinds.Traced`), and
under ``no_grad`` it records a `stop_gradient`.

The function is run again on another example, with the parameters moved.  The two records must be the same, operation
for operation and bit for bit: `difference` finds the first that is not.  That shows what no Value sees: random numbers,
``isinstance``, a counter, a number that the function changes.

What the function reads elsewhere is a constant of the record, and watched: see `watched`.

What `Dropout` draws is an input of the program: each factor that it multiplies with, in the order in which it asks.
"""

from __future__ import annotations

import os
import sys
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import chain
from threading import Lock
from typing import Any

from tinygrad_vi.checks import DomainError
from tinygrad_vi.differentiated import differentiable, training, variables
from tinygrad_vi.elsewhere import explained
from tinygrad_vi.graph import topological_order
from tinygrad_vi.kinds import Guarded, Traced
from tinygrad_vi.modes import dropping, tracing
from tinygrad_vi.tracing import numbers_here, of_the_engine, refuse_in_a_trace, tracer_here
from tinygrad_vi.trees import Tree, flatten
from tinygrad_vi.value import Value, recording


class NotFaithful(TypeError):
    """The record of one run is not the function: compiled, it would give other numbers than the function itself."""


class Tracer:
    """Watches one run of a function.

    nodes: all that it records, in order.  lines: where in the user's code, if asked for.  read: the captured Values
    whose numbers it read, with the numbers.  refusal: the error of the first question that was refused.  factors: what
    `Dropout` asked for, each made by ``factor`` of the chance to keep an entry; keeps: these chances.
    """

    def __init__(self, params: Iterable[Value], lines: bool, factor: Callable[[float], float] | None = None) -> None:
        self.parameters = frozenset(params)
        self.factor = factor
        self.factors: list[Value] = []
        self.keeps: list[float] = []
        self.nodes: list[Value] = []
        self.lines: list[str] | None = [] if lines else None
        self.read_numbers: dict[Value, float] = {}
        self.refusal: TypeError | None = None

    def recorded(self, node: Value) -> None:
        """Take note of a node."""
        node.__class__ = Traced
        self.nodes.append(node)
        if self.lines is not None:
            self.lines.append(_users_line())

    def dropping(self, keep: float) -> Value:
        """The factor of an entry of `Dropout`: an input."""
        if self.factor is None:
            raise TypeError(
                "Dropout draws anew at each call, so one run is not the function: put the model in eval() mode"
            )
        factor = Value(self.factor(keep))
        factor.__class__ = Traced
        self.factors.append(factor)
        self.keeps.append(keep)
        return factor

    def read(self, leaf: Value) -> None:
        """The user's code asks a leaf for its number: a parameter refuses, any other is watched."""
        if leaf in self.parameters:
            refuse_in_a_trace("does not give its number, v.data or float(v), nor does a parameter")
        self.read_numbers.setdefault(leaf, _own_number(leaf))


_own_number = Value.__dict__["data"].__get__


def _users_line() -> str:
    frame = sys._getframe(2)
    while frame.f_back is not None and (of_the_engine(frame) or "numpy" in frame.f_globals.get("__name__", "")):
        frame = frame.f_back
    return f"{os.path.basename(frame.f_code.co_filename)}:{frame.f_lineno}"


@dataclass(frozen=True)
class Run:
    """One run of a function: what went in, and what came out.

    inputs: the Values its arguments were made of, in order, and behind them the factors of `Dropout`.  outputs: the
    Values of its result; ``nest`` arranges as many numbers like the result.  nodes, lines, read, keeps: what the
    `Tracer` saw.
    """

    inputs: list[Value]
    outputs: list[Value]
    nest: Tree
    nodes: list[Value] = field(default_factory=list)
    lines: list[str] | None = None
    read: Mapping[Value, float] = field(default_factory=dict)
    keeps: list[float] = field(default_factory=list)


def trace(
    f: Callable[..., Any],
    example: Sequence[Any],
    params: Iterable[Value] = (),
    *,
    lines: bool = False,
    factor: Callable[[float], float] | None = None,
) -> Run:
    """Run f on one example: its arguments are numbers, or nested lists or arrays of them.

    params: leaves that f may compute with, but whose numbers it may not ask for.  lines: keep the line of the
    user's code for each node.  factor: gives the factors of `Dropout`; without it Dropout is refused.

    Raises TypeError when f uses a Value as a condition, a float, a key or an index, or when it returns something else
    than numbers.

    >>> found = trace(lambda x, t: (x[0] * x[1] - t) ** 2, ([2.0, 3.0], 1.0))
    >>> len(found.inputs), found.outputs[0].data
    (3, 25.0)
    """
    numbers, nest_arguments = flatten(tuple(example))
    inputs = [Value(x) for x in numbers]
    tracer = Tracer(params, lines, factor)
    for x in inputs:
        x.__class__ = Traced
    try:
        with ExitStack() as stack:
            modes = (
                recording(True), differentiable(), tracing.set(f), dropping.set(tracer.dropping), _here(tracer),
                variables(inputs), training(tracer.parameters),
            )  # fmt: skip
            for context in modes:
                stack.enter_context(context)
            try:
                result = f(*nest_arguments(inputs))
            except (TypeError, ValueError, IndexError, AttributeError) as error:
                better = explained(error)
                if better is error:
                    raise
                raise better from error
            if tracer.refusal is not None:  # caught, by `except` or `suppress`
                raise tracer.refusal
            if result is None:
                raise TypeError(
                    "the function returned None, where numbers or Values are wanted: is a `return` missing?"
                )
            results, nest = flatten(result)
            outputs = [y if isinstance(y, Value) else Value(y) for y in results]
    finally:
        for node in (*inputs, *tracer.factors, *tracer.nodes):  # from now on they are Values like any other
            node.__class__ = Value
    inputs += tracer.factors
    return Run(inputs, outputs, nest, tracer.nodes, tracer.lines, tracer.read_numbers, tracer.keeps)


@contextmanager
def _here(tracer: Tracer) -> Iterator[None]:
    token = tracer_here.set(tracer)
    try:
        yield
    finally:
        tracer_here.reset(token)


# --- Leaves at another point ------------------------------------------------------------------------------------------

_guards: Counter[Value] = Counter()
_lock = Lock()


@contextmanager
def guarded(leaves: Sequence[Value], numbers: Mapping[Value, float]) -> Iterator[None]:
    """Leaves that have other numbers for a while, in this thread or task alone: nobody else sees a parameter move."""
    own_classes = {v: v.__class__ for v in leaves if v.__class__ not in (Value, Guarded)}
    mine = [v for v in leaves if v not in own_classes] if own_classes else leaves
    before = [(v, v.data) for v in own_classes if v in numbers]  # a subclass of the user's: it cannot be guarded
    with _lock:
        _guards.update(mine)
        for v in mine:
            v.__class__ = Guarded
    token = numbers_here.set({**numbers_here.get(), **numbers})
    try:
        for v, _ in before:
            v.data = numbers[v]
        yield
    finally:
        for v, x in before:
            v.data = x
        numbers_here.reset(token)
        with _lock:
            for v in mine:
                if _guards[v] > 1:
                    _guards[v] -= 1
                else:
                    del _guards[v]
                    v.__class__ = Value


def _new_lock() -> None:
    global _lock
    _lock = Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_new_lock)


# --- Two records ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Record:
    """What a trace recorded, to be compared: see `record_of`."""

    operations: list[Any]
    arities: list[int]
    operands: list[int]
    constants: bytes
    keeps: list[float]


def record_of(found: Run, params: Sequence[Value], order: Sequence[Value] | None = None) -> Record:
    """The operations in their order, the place of each operand and then of each output, the bits of the constants."""
    order = topological_order(found.outputs) if order is None else order
    place = {v: i for i, v in enumerate([*params, *found.inputs, *order])}
    parents = [node.parents for node in order]
    operands = [*chain.from_iterable(parents), *found.outputs]
    places = [place.get(v, -1) for v in operands]
    constants = array("d", [v.data for v, i in zip(operands, places, strict=True) if i < 0])
    return Record([node.op for node in order], [*map(len, parents)], places, constants.tobytes(), found.keeps)


def difference(first: Run, second: Run, params: Sequence[Value]) -> str:
    """The first operation in which two records differ, in words; "" where they do not, as far as one can see."""
    (operations, results), (others, other_results) = [_written(found, params) for found in (first, second)]
    for (a, line), (b, other) in zip(operations, others, strict=False):
        if a != b:
            where = f"At {other}" if line == other else f"At {line} and at {other}"
            return f"{where} it is {a} for the one and {b} for the other"
    if len(operations) != len(others):
        longer = operations if len(operations) > len(others) else others
        line = longer[min(len(operations), len(others))][1]
        return f"It takes {len(operations)} operations for the one and {len(others)} for the other, the next at {line}"
    if first.keeps != second.keeps:
        return f"Dropout draws {len(first.keeps)} times for the one and {len(second.keeps)} times for the other"
    different = [(a, b) for a, b in zip(results, other_results, strict=False) if a != b]
    return f"It returns {different[0][0]} for the one and {different[0][1]} for the other" if different else ""


def _written(found: Run, params: Sequence[Value]) -> tuple[list[tuple[str, str]], list[str]]:
    """Each operation that the result depends on, as text, with its line; and the results."""
    live = set(topological_order(found.outputs))
    names = {p: p.label or f"p[{i}]" for i, p in enumerate(params)}
    names |= {x: f"x[{j}]" for j, x in enumerate(found.inputs)}
    texts = []
    for node, line in zip(found.nodes, found.lines or [], strict=True):
        if node in live:
            shown = [names.get(v, repr(v.data)) for v in node.parents[:6]] + ["..."] * (len(node.parents) > 6)
            assert node.op is not None
            texts.append((f"{node.op.name}({', '.join(shown)})", line))
            names[node] = f"#{len(texts)}"
    return texts, [names.get(y, repr(y.data)) for y in found.outputs]


def nearby(theta: Sequence[float]) -> Iterator[list[float]]:
    """Points to trace at a second time: theta moved, and less so where that leaves the domain of the function."""
    for size in (0.1, 1e-3, 0.0):
        yield [x * (1.0 + size * (0.5 + i % 7 / 7.0)) + size * 0.01 * (1 + i % 5) for i, x in enumerate(theta)]


OUT_OF_ITS_DOMAIN = (DomainError, ValueError, ArithmeticError)
