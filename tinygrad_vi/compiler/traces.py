"""The traces of a compiled function: which data need one, when one no longer holds, what a second one must repeat."""

from __future__ import annotations

from collections.abc import Sequence, Set
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_vi import ops
from tinygrad_vi.checks import ONE_EXAMPLE, DomainError
from tinygrad_vi.collector import collector_paused
from tinygrad_vi.compiler.errors import NotFinite
from tinygrad_vi.compiler.examples import another, example, nested, vector
from tinygrad_vi.compiler.from_record import from_record
from tinygrad_vi.compiler.loops import fold_loop
from tinygrad_vi.compiler.numpy_layout import Names
from tinygrad_vi.compiler.numpy_text import RESERVED
from tinygrad_vi.compiler.program import Program
from tinygrad_vi.compiler.trace import OUT_OF_ITS_DOMAIN, NotFaithful, Run, difference, guarded, nearby, record_of
from tinygrad_vi.compiler.traced import Traced
from tinygrad_vi.compiler.user_function import UserFunction
from tinygrad_vi.compiler.watched import Captured, Leaves
from tinygrad_vi.examples import Table
from tinygrad_vi.graph import topological_order
from tinygrad_vi.modes import predicting
from tinygrad_vi.value import Value

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


#: shapes of data whose programs are kept: beyond that the one that was made first is made again when it is asked for
MOST_TRACES = 64


class Traces:
    """The traces of one function, each for data of one shape.

    last: the trace that was used last, or the traces of the function that answered for other arguments.
    """

    def __init__(self, function: UserFunction, backend: str, threads: int | None, devices: int | None) -> None:
        self.function, self.backend, self.threads, self.devices = function, backend, threads, devices
        self.by_key: dict[Any, Traced] = {}
        self.last: Traced | Traces | None = None

    def known(self) -> Traced:
        """The trace that was used last; of a function without arguments one is made.  ValueError where none is."""
        if isinstance(self.last, Traces):
            return self.last.known()
        if self.last is not None:
            return self.last
        if self.function.parameters is not None and not self.function.arguments:
            return self.prepare(np.array([p.data for p in self.function.parameters]), [])
        raise ValueError("nothing has been traced yet: call it once with data, step.value_and_grad(step.theta, X, Y)")

    @property
    def arranged(self) -> bool:
        """Whether another function answered last, of arguments that are arranged as a vector."""
        return isinstance(self.last, Traces)

    def forget(self, traced: Traced) -> None:
        """Drop a trace that knows what is differentiated by, which is another Value at the next call around it."""
        traced.dropped = True
        with self.function.lock:
            for key in [key for key, known in self.by_key.items() if known is traced]:
                del self.by_key[key]
            self.last = None if self.last is traced else self.last

    def clear(self) -> None:
        """Drop all traces."""
        for traced in self.by_key.values():
            traced.dropped = True
        self.by_key.clear()
        self.last = None

    def _key(self, theta: Any, tables: Sequence[Table]) -> Any:
        """What a trace is made for: the shape of the data, arrays or lists, and whether dropout is off."""
        shapes = [(table.arrays, table.numbers.shape[1:]) for table in tables]
        if self.function.parameters is None:
            shapes.append((hasattr(theta, "dtype"), np.shape(theta)))
        return (*shapes, predicting.get()) if predicting.open else tuple(shapes)

    def prepare(self, theta: ArrayLike, tables: list[Table]) -> Traced:
        """Trace the function for data of this shape, if that has not been done, or if something has changed since."""
        key = self._key(theta, tables)
        known = self.by_key.get(key)
        if known is None or known.first is not None or not known.holds():
            with self.function.lock:
                known = self.by_key.get(key)
                stale = known if known is not None and not known.holds() else None
                known = None if stale is not None else known
                try:
                    with collector_paused():
                        if known is None:
                            known = self.by_key[key] = self._trace(theta, tables)
                            while len(self.by_key) > MOST_TRACES:
                                self.by_key.pop(next(iter(self.by_key))).dropped = True
                            if stale is not None:
                                stale.dropped = True
                        elif known.first is not None:  # until another example is seen
                            self._trace_again(known, theta, tables)
                except DomainError as error:
                    raise NotFinite(str(error), 0 if tables else None) from error
                except TypeError as error:
                    if "'Traced' object is not" in str(error) and any(table.numbers.ndim == 1 for table in tables):
                        raise TypeError(f"{error}: an example is a number here; {ONE_EXAMPLE}") from error
                    raise
        self.last = known
        return known

    # --- The first trace

    def _trace(self, theta: ArrayLike, tables: list[Table]) -> Traced:
        start = perf_counter()
        captured = Captured(self.function.fn, self.function.parameters or ())
        with guarded(captured.values, {}):
            found, parameters, inputs = self.function.traced(theta, example(tables, 0))
        captured.renew()  # a table in which it keeps results has been filled by now
        recorded = topological_order(found.outputs)
        if parameters and not self._depends(recorded, found.outputs, parameters):
            on = "its first argument" if self.function.parameters is None else "the parameters"
            raise ValueError(
                f"the result does not depend on {on}: is it computed from these very Values, and outside of no_grad()?"
            )
        self._all_recorded_inside(recorded, found, parameters)
        traced_at = perf_counter()
        shape = self._shape_of(found, parameters)
        foldable = not tables and shape == () and not found.keeps
        numbers = vector(theta, len(parameters)).tolist()
        folded = fold_loop(found.outputs[0], recorded, parameters, numbers) if foldable else None
        if folded is None:
            of_parameter, of_input = ({v: i for i, v in enumerate(leaves)} for leaves in (parameters, inputs))
            form, results = from_record(found.outputs, of_parameter, of_input, recorded)
            program, data = Program(form, results, len(parameters), len(inputs)), None
            arguments = self._arguments(tables, found)
        else:
            program, data = folded
            arguments = [("x", program.inputs)]
        seconds = {"trace": traced_at - start, "form": perf_counter() - traced_at}
        own = [] if self.function.parameters is None else parameters
        traced = Traced(
            program, Names([p.label for p in own], arguments), shape, len(recorded), data,
            seconds, self.backend, self.threads, self.devices, found.nest, record_of(found, parameters, recorded),
            Leaves(_constants(found, recorded, {*parameters, *inputs})), captured, example(tables, 0, copy=True),
            found.keeps, _around(found, recorded, own),
        )  # fmt: skip
        if tables and len(tables[0].numbers) == 1:
            traced.alone = [table.numbers.tobytes() for table in tables]
        start = perf_counter()
        self._trace_again(traced, theta, tables)
        seconds["second trace"] = perf_counter() - start
        return traced

    @staticmethod
    def _shape_of(found: Run, params: Sequence[Value]) -> tuple[int, ...]:
        """The shape of the result; TypeError for a nest that has none, where it is differentiated."""
        if not params:
            return (len(found.outputs),)
        shape: tuple[int, ...] = np.shape(found.nest([0.0] * len(found.outputs)))
        if np.prod(shape, dtype=int) != len(found.outputs) or str(found.nest)[0] not in "x[":
            raise TypeError(
                f"a compiled function returns a number, or a list or an array of numbers; this result is nested like "
                f"{found.nest!s:.60}: return a list, or take vmap(f) for the examples alone"
            )
        return shape

    def _arguments(self, tables: list[Table], found: Run) -> list[tuple[str, int]]:
        """The name of each argument in the program's text, and how many numbers it has."""
        sizes = [int(np.prod(table.numbers.shape[1:], dtype=int)) for table in tables]
        names = self.function.names_for(tables)
        if found.keeps:
            names, sizes = [*names, "mask"], [*sizes, len(found.keeps)]
        return list(zip(_safe(names), sizes, strict=True))

    def _all_recorded_inside(self, recorded: Sequence[Value], found: Run, params: Sequence[Value]) -> None:
        """Refuse what was computed from the parameters before this run: its number is that of another point."""
        inside, at_the_point = set(found.nodes), {*params, *found.inputs}
        for node in recorded:
            if node not in inside and not at_the_point.isdisjoint(node.parents):
                name = self.function.name
                raise NotFaithful(
                    f"{name} cannot be compiled: it uses {node!r}, which was computed from the parameters outside of "
                    "it, before it was called or in another thread. Compute it inside"
                )

    @staticmethod
    def _depends(recorded: Sequence[Value], outputs: Sequence[Value], params: Sequence[Value]) -> bool:
        wanted = set(params)
        return any(p in wanted for node in recorded for p in node.parents) or any(y in wanted for y in outputs)

    # --- The second trace

    def _trace_again(self, traced: Traced, theta: ArrayLike, tables: list[Table]) -> None:
        """Trace once more, on another example and with the parameters moved; NotFaithful for another record."""
        assert traced.first is not None
        other = another(traced.first, tables)
        if tables and other is None and traced.moved:  # still the example of the first trace
            return
        rows = traced.first if other is None else example(tables, other)
        shape = np.shape(theta)
        start = vector(theta, traced.program.parameters).tolist()
        for moved in nearby(start):
            point = np.reshape(moved, shape) if hasattr(theta, "dtype") else nested(moved, shape)
            try:
                with guarded(traced.captured.values, {}):
                    found, parameters, _ = self.function.traced(point, rows)
            except OUT_OF_ITS_DOMAIN:
                continue
            order = topological_order(found.outputs)
            self._all_recorded_inside(order, found, parameters)
            if record_of(found, parameters, order) != traced.record:
                raise self._unfaithful(traced, theta, point, rows)
            if not traced.moved and traced.captured.changed_by_the_function():
                name = self.function.name
                raise NotFaithful(
                    f"{name} cannot be compiled: it changes numbers that it reads, or draws random ones, and would do "
                    "so only when it is traced. Keep counts and logs outside of it, in the loop or in a callback; draw "
                    "random numbers beforehand, and give it what it needs as an argument, a column of the data"
                )
            if not traced.moved:  # a leaf that the function makes anew in each run is a constant
                seen = {v for node in order for v in node.parents}
                traced.leaves = traced.leaves.among(seen.union(found.outputs, found.read))
            break
        traced.moved = True
        if other is not None or not tables:
            traced.first = None

    def _unfaithful(self, traced: Traced, theta: Any, point: Any, rows: Sequence[Any]) -> NotFaithful:
        """The error for two records that differ: both are made once more, with the lines of the user's code."""
        assert traced.first is not None
        try:
            first, parameters, _ = self.function.traced(theta, traced.first, lines=True)
            second, _, _ = self.function.traced(point, rows, lines=True)
            where = difference(first, second, parameters if self.function.parameters is not None else [])
        except Exception as error:  # it is no function: now it fails
            where = f"At another time it raised {type(error).__name__}: {error}"
        name = self.function.name
        return NotFaithful(
            f"{name} cannot be compiled: run on two examples, or at two points, it is not the same function. "
            f"{where or 'Run once more, it did not show where'}. What is decided by other means than operations on "
            "Values (random numbers, isinstance, len of a set, a count, numbers that it changes) is decided once for "
            "all examples: give what differs as an argument, a column of the data; write where(c, x, y) for a choice, "
            "take(table, i) for a look-up; draw random numbers beforehand"
        )


def _constants(found: Run, recorded: Sequence[Value], known: Set[Value]) -> dict[Value, float]:
    """The leaves whose numbers became constants of the program, and those that the function read."""
    leaves = {v: v.data for node in recorded for v in node.parents if not v.parents and v not in known}
    leaves |= {v: v.data for v in found.outputs if not v.parents and v not in known}
    return {**leaves, **found.read}


def _around(found: Run, recorded: Sequence[Value], params: Sequence[Value]) -> list[Value]:
    """The Values that a result depends on and that are not of the trace; no derivative flows through stop_gradient."""
    stops = [node for node in recorded if node.op is ops.stop_gradient.operation]
    leaves: dict[Value, None] = {}
    order = topological_order(found.outputs, stops, leaves=leaves) if stops else recorded
    known = {*found.nodes, *found.inputs, *stops}
    around = {v for node in order for v in (node, *node.parents)}.union(found.outputs, params)
    return [v for v in around if v not in known]


def _safe(names: Sequence[str]) -> list[str]:
    """Names that do not clash with those of the text."""
    safe: list[str] = []
    for name in names:
        while name in RESERVED or name in safe:
            name += "_"
        safe.append(name)
    return safe
