"""compile(): a scalar function in, a compiled function out."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from threading import RLock
from time import perf_counter
from typing import TYPE_CHECKING, Any

from tinygrad_vi import modes
from tinygrad_vi.compiler.batch import data_leaves, find_batch
from tinygrad_vi.compiler.forks import give_lock
from tinygrad_vi.compiler.form import ONE, SUM_KINDS, Expression, from_record
from tinygrad_vi.compiler.lift import lift
from tinygrad_vi.compiler.numpy_runner import NumpyRunner
from tinygrad_vi.compiler.numpy_source import RESERVED, Names, Written, written
from tinygrad_vi.compiler.program import ORDER, Check, Program, Question
from tinygrad_vi.compiler.tables import in_the_kernel
from tinygrad_vi.compiler.trace import trace
from tinygrad_vi.derivatives import flatten
from tinygrad_vi.nn import counted
from tinygrad_vi.ops import DomainError, Operation, ShapeError, whole_number
from tinygrad_vi.value import (
    Value,
    adjoints,
    collector_paused,
    first_not_finite,
    not_finite,
    recording,
    topological_order,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    from tinygrad_vi.show.graph import Drawing

    Array = NDArray[np.float64]

BACKENDS = ("auto", "native", "numpy")

#: examples that are searched at once for the one that failed
AT_ONCE = 4096


def compile(
    fn: Callable[..., Any],
    params: Iterable[Value] | None = None,
    *,
    backend: str = "auto",
    threads: int | None = None,
) -> Compiled:
    """Compile a function written in scalar code.

    fn: written for ONE example, in ordinary code on Values: ``lambda x, y: losses.hinge(model(x), y)``.  Calls map it
    over a batch and average it.  It is traced when it is first called with data of a new shape, on Values that hold a
    real example; whatever it does besides operations on Values (loops, indexing, other functions, checks of the data)
    happens then, once.  So the first example must be one that it can be called with, and numbers it reads elsewhere are
    constants of the program; when a labelled Value among them changes, it is traced again.
    A function without arguments, whose data stand in it, is a loss of all its examples: where it loops over them in
    scalar code, the batch is found.
    params: the Values to differentiate by, a list or what ``model.parameters()`` gives.  Without them the first
    argument of fn takes their place: ``compile(rosenbrock).grad(x)``.
    backend: "native" runs one kernel of Numba loops, "numpy" the readable text in `source`, which needs only NumPy;
    "auto" takes the native one where Numba is installed.
    threads: 1 keeps the native kernel on one thread; by default a second one joins where it pays.  Results do not
    depend on it, to the last bit.

    A compiled function may be called from several threads; tracing switches the recording of the whole process, so let
    one thread trace it.  Raises TypeError for a parameter that is not a Value, ValueError for an unknown backend, a
    number of threads below 1, or no parameters.

    >>> w = Value(0.5, "w")
    >>> step = compile(lambda x, t: (w * x - t) ** 2, params=[w], backend="numpy")
    >>> value, gradient = step.value_and_grad(step.theta, [1.0, 2.0, 3.0], [2.0, 4.0, 6.0])
    >>> value, gradient.tolist()
    (10.5, [-14.0])
    """
    if backend not in BACKENDS:
        raise ValueError(f"backend is one of {', '.join(BACKENDS)}, got {backend!r}")
    if not callable(fn):
        raise TypeError(f"compile takes a function, got {fn!r:.60}")
    threads = None if threads is None else whole_number(threads, "threads")
    parameters = None if params is None else _checked(params)
    return Compiled(fn, parameters, backend, threads)


def _checked(params: Any) -> list[Value]:
    values = params.parameters() if hasattr(params, "parameters") else params
    if not isinstance(values, Iterable):
        hint = (
            ": call it, model.parameters()" if callable(values) else ": write [w]" if isinstance(values, Value) else ""
        )
        raise TypeError(f"params is a list of Values, got {type(values).__name__}{hint}")
    values = list(values)
    for p in values:
        if not isinstance(p, Value):
            raise TypeError(f"params holds Values, got {p!r:.60} of type {type(p).__name__}")
        if p.parents:
            raise ValueError(f"params holds leaves, got the result of an operation: {p!r}")
    parameters = list(dict.fromkeys(values))
    if not parameters:
        raise ValueError("compile needs parameters to differentiate by, got none; without params= it differentiates by "
                         "the first argument")  # fmt: skip
    return parameters


@dataclass
class _Traced:
    """A function for data of one shape: its program, what the user calls things, how its results are nested.

    shape: of the results.  data: the data of a found batch, inputs by examples.  constants: labelled Values that are
    neither parameters nor inputs, with their numbers.  seconds: of each pass.
    """

    program: Program
    names: Names
    shape: tuple[int, ...]
    recorded: int
    data: Any
    constants: list[tuple[Value, float]]
    seconds: dict[str, float]

    @property
    def main(self) -> str:
        """The question that shows the program: the gradient, where there is one."""
        return "value_and_gradient" if self.shape == () else "each"

    def ask(self, what: str) -> Question:
        """A question, which is a method of `Program`, by its name."""
        question: Question = getattr(self.program, what)()
        return question


class NotFinite(DomainError):
    """A result is infinite or NaN.  example: of which example of the batch, counted from 0; None where of all."""

    def __init__(self, text: str, example: int | None = None) -> None:
        self.text, self.example = text, example
        super().__init__(text if example is None else f"example {example}: {text}")


class Compiled:
    """A compiled function; `compile` makes it.

    theta is the vector of the parameters, of shape (P,), and may be given as any list or array of P numbers.  Every
    argument of the function takes data with one entry for each of N examples: shape (N,) for a number, (N, d) for a
    list, (N, a, b) for a list of lists.

        step.value_and_grad(theta, X, Y)     the mean over the examples and its gradient: float, (P,)
        step(theta, X, Y)                    the mean alone
        step.each(theta, X, Y)               the result of each example: (N,), or (N, m) for a function with m results
        step.grad, step.jvp, step.hvp, step.hessian       further derivatives of the mean; hvp(theta, v, X, Y)
        step.jacobian(theta, X, Y)           the gradient of each example: (N, P), or (N, m, P)

    All raise ShapeError for data that do not fit each other, and DomainError where a result is infinite or NaN, or
    where the function itself raises: the first such example is named, with what the function says.  A value needs no
    derivatives, so where sqrt meets 0 ``step`` and ``each`` give what the function gives under `no_grad`.
    """

    def __init__(
        self, fn: Callable[..., Any], parameters: list[Value] | None, backend: str, threads: int | None
    ) -> None:
        try:
            import numpy
        except ImportError:
            raise ImportError("compile needs NumPy: pip install numpy") from None
        self._np = numpy
        self.fn, self.parameters, self.backend, self.threads = fn, parameters, backend, threads
        self._arguments = _argument_names(fn)
        self._traced: dict[Any, _Traced] = {}
        self._runners: dict[Any, Callable[[Any, list[Any]], Any]] = {}
        self._last: Any = None
        self._lock: RLock
        give_lock(self)

    # --- Parameters

    @property
    def theta(self) -> Array:
        """The numbers of the parameters as they are now: a new array of shape (P,)."""
        return self._np.array([p.data for p in self._needs_parameters("theta")])

    def assign(self, theta: ArrayLike) -> None:
        """Write numbers back into the parameters."""
        parameters = self._needs_parameters("assign")
        numbers = self._vector(theta, len(parameters))
        if not self._np.isfinite(numbers).all():
            raise ValueError("assign takes finite numbers; nothing was changed")
        for p, x in zip(parameters, numbers.tolist(), strict=True):
            p.data = x

    def _needs_parameters(self, what: str) -> list[Value]:
        if self.parameters is None:
            raise TypeError(f"{what} needs parameters: compile(fn, params=...) was called without")
        return self.parameters

    # --- Values and derivatives

    def __call__(self, theta: ArrayLike, *data: ArrayLike) -> Any:
        """The mean over the examples: a float, or an array for a function with several results."""
        found, _, traced = self._ask("value", theta, data)
        return float(found[0]) if traced.shape == () else found.reshape(traced.shape)

    def value_and_grad(self, theta: ArrayLike, *data: ArrayLike) -> tuple[float, Array]:
        """The mean over the examples and its gradient, in the shape of theta."""
        found, shape, _ = self._ask("value_and_gradient", theta, data)
        return float(found[0]), found[1:].reshape(shape)

    def grad(self, theta: ArrayLike, *data: ArrayLike) -> Array:
        """The gradient of the mean."""
        return self.value_and_grad(theta, *data)[1]

    def each(self, theta: ArrayLike, *data: ArrayLike) -> Array:
        """The results of each example, of shape (N, *shape of the result); without data of one: (*shape)."""
        found, _, traced = self._ask("each", theta, data)
        results: Array = found.T.reshape(-1, *traced.shape)
        return results if data else results[0]

    def jacobian(self, theta: ArrayLike, *data: ArrayLike) -> Array:
        """The derivatives of each result by the parameters, for each example: (N, *shape of the result, P).

        Without data there is no axis for the examples.  Take residuals to `scipy.optimize.least_squares` with it.
        """
        found, shape, traced = self._ask("jacobian", theta, data)
        rows: Array = found.T.reshape(-1, *traced.shape, *shape)
        return rows if data else rows[0]

    def jvp(self, theta: ArrayLike, v: ArrayLike, *data: ArrayLike) -> tuple[Any, Any]:
        """The mean and its derivative along v: J v, in the shape of the result."""
        found, _, traced = self._ask("directional", theta, data, v)
        value, along = found.reshape(2, *traced.shape)
        return (float(value), float(along)) if traced.shape == () else (value, along)

    def hvp(self, theta: ArrayLike, v: ArrayLike, *data: ArrayLike) -> Array:
        """The product of the Hessian of the mean with v, as `scipy.optimize.minimize` takes it for ``hessp``."""
        found, shape, _ = self._ask("curvature", theta, data, v)
        product: Array = found.reshape(shape)
        return product

    def hessian(self, theta: ArrayLike, *data: ArrayLike) -> Array:
        """The Hessian of the mean, of shape (P, P): P products with unit vectors."""
        np = self._np
        P = np.asarray(theta, dtype=float).size
        columns = [self._ask("curvature", theta, data, unit)[0] for unit in np.eye(P)]
        matrix: Array = np.stack(columns, axis=1)
        return matrix

    # --- What it became

    @property
    def source(self) -> str:
        """The readable NumPy text of `value_and_grad` for the data last seen (of `each`, for several results)."""
        return self.written.text

    @property
    def written(self) -> Written:
        """The same text, with where in it each node of the program stands."""
        traced = self._known()
        return written(traced.ask(traced.main), traced.names, "results" if traced.main == "each" else traced.main)

    def draw(self, *example: Any, **options: Any) -> Drawing:
        """The arrays and operations it became, as boxes; with one example, beside the scalars they were made of.

        See `tinygrad_vi.show.draw_matrices` and `draw_both`.
        """
        from tinygrad_vi.show import draw_both, draw_matrices

        return draw_both(self, *example, **options) if example else draw_matrices(self, **options)

    def explain(self) -> Explanation:
        """What became of the scalar code: nodes, instructions, work, back end, and the time of each pass."""
        traced = self._known()
        question = traced.ask(traced.main)
        instructions = lift(question.form, [node for _, node in question.outputs])
        nodes = question.form.live([node for _, node in question.outputs])
        terms = sum(len(question.form.arguments[node]) for node in nodes if question.form.kinds[node] in SUM_KINDS)
        maps = sum(len(i.nodes) for i in instructions if i.kind not in SUM_KINDS)
        return Explanation(
            recorded=traced.recorded,
            nodes=len(nodes),
            instructions=tuple(map(str, instructions)),
            multiply_adds=terms,
            functions=maps,
            backend=self._backend,
            examples=None if traced.data is None else len(traced.data),
            seconds=dict(traced.seconds),
        )

    @property
    def takes_data(self) -> bool:
        """Whether the function has arguments besides the parameters."""
        return len(self._arguments) > (self.parameters is None)

    def __repr__(self) -> str:
        name = getattr(self.fn, "__name__", type(self.fn).__name__)
        by = (
            "derivatives by its first argument"
            if self.parameters is None
            else counted(len(self.parameters), "parameter")
        )
        traced = f"traced for {counted(len(self._traced), 'shape')}" if self._traced else "not traced yet"
        return f"<compiled {name}({', '.join(self._arguments)}): {by}, {self._backend}, {traced}>"

    def _known(self) -> _Traced:
        if self._last is None and self.parameters is not None and not self._arguments:
            self._prepare(self.theta, [])
        if self._last is None:
            raise ValueError(
                "nothing has been traced yet: call it once with data, step.value_and_grad(step.theta, X, Y)"
            )
        return self._traced[self._last]

    # --- Asking

    def _ask(
        self, what: str, theta: ArrayLike, data: Sequence[ArrayLike], v: ArrayLike | None = None
    ) -> tuple[Any, tuple[int, ...], _Traced]:
        np = self._np
        names = self._arguments_for(data)
        arrays = [self._array(x, name) for x, name in zip(data, names, strict=True)]
        for array, name in zip(arrays, names, strict=True):
            if len(array) == 0:
                raise ShapeError(f"there are no examples: {name} is empty")
            if len(array) != len(arrays[0]):
                raise ShapeError(f"{name} has {len(array)} examples, {names[0]} has {len(arrays[0])}")
        key = self._prepare(theta, arrays)
        traced = self._traced[key]
        P = traced.program.parameters
        numbers = self._vector(theta, P)
        shape = (P,) if self.parameters is not None else np.shape(theta)
        if v is not None:
            seeds = np.zeros(len(traced.program.results) if what == "directional" else 0)
            numbers = np.concatenate([numbers, self._vector(v, P, "v"), seeds])
        if what in ("value_and_gradient", "curvature") and traced.shape != ():
            raise TypeError(
                f"only a function with one result has a gradient; this one has the shape {traced.shape}: take jacobian "
                "or jvp"
            )
        if traced.data is not None:  # a batch was found in the function
            arrays = [traced.data]
            if what == "jacobian":  # of the only result: the examples found are no axis of the user's
                found, shape, traced = self._ask("value_and_gradient", theta, data)
                return found[1:, None], shape, traced
        with self._lock:
            runner = self._runner(key, what)
            found, checksum = runner(numbers, arrays)
        results = found[:-1] if runner.flagged else found
        if not math.isfinite(checksum) and not np.isfinite(found).all():
            self._judge(what, key, theta, numbers[:P], arrays if data else [])
            if not np.isfinite(results).all():
                raise self._not_finite(what, key, theta, numbers, arrays if data else [])
        return results, shape, traced

    def _vector(self, theta: ArrayLike, P: int, name: str = "theta") -> Array:
        numbers = self._np.ascontiguousarray(theta, dtype=float).reshape(-1)
        if len(numbers) != P:
            count = f"{P} number{'s' * (P > 1)}"
            raise ShapeError(f"{name} needs {count}, one for each parameter, got {len(numbers)}")
        return numbers

    def _array(self, x: ArrayLike, name: str) -> Any:
        try:
            array = self._np.asarray(x, dtype=float)
        except (TypeError, ValueError):
            raise ShapeError(
                f"{name} should be numbers with an entry for each example, all of one shape, got {x!r:.60}"
            ) from None
        if array.ndim == 0:
            raise ShapeError(
                f"{name} should have an entry for each example, got the number {x!r}: give [{x!r}] for one example"
            )
        return array

    def _arguments_for(self, data: Sequence[Any]) -> list[str]:
        names = self._arguments if self.parameters is not None else self._arguments[1:]
        if "*" in self._arguments and len(data) >= len(names) - ("*" in names):
            return [f"x{i + 1}" for i in range(len(data))]
        if len(names) != len(data):
            takes = f"{len(names) or 'no'} argument{'s' * (len(names) != 1)}" + f" ({', '.join(names)})" * bool(names)
            call = f": step.value_and_grad({', '.join(['theta', *names])})"
            raise ShapeError(f"after theta the function takes {takes}, got {len(data)}{call}")
        return names

    def _prepare(self, theta: ArrayLike, arrays: list[Any]) -> Any:
        """Trace the function for data of this shape, if that has not been done; the key of its program."""
        np = self._np
        key: Any = tuple([array.shape[1:] for array in arrays])
        if self.parameters is None:
            key = np.shape(theta), *key
        known = self._traced.get(key)
        if known is not None and any(leaf.data != x for leaf, x in known.constants):
            self._traced.pop(key)
            self._runners = {asked: runner for asked, runner in self._runners.items() if asked[0] != key}
        if key not in self._traced:
            try:
                with self._lock, collector_paused():
                    self._traced[key] = self._trace(theta, arrays)
            except DomainError as error:
                raise NotFinite(str(error), 0 if arrays else None) from error
        self._last = key
        return key

    def _trace(self, theta: ArrayLike, arrays: list[Any]) -> _Traced:
        np = self._np
        start = perf_counter()
        example = [array[0].tolist() for array in arrays]
        if self.parameters is None:
            example.insert(0, np.asarray(theta, dtype=float).tolist())
            found = trace(self.fn, example)
            P = np.size(theta)
            parameters, inputs = found.inputs[:P], found.inputs[P:]
        else:
            with self._at(theta):  # as this call has them: domain errors must be its own
                found = trace(self.fn, example)
            parameters, inputs = self.parameters, found.inputs
        recorded = topological_order(found.outputs)
        if not self._depends(recorded, found.outputs, parameters):
            on = "its first argument" if self.parameters is None else "the parameters"
            raise ValueError(
                f"the result does not depend on {on}: is it computed from these very Values, and outside of no_grad()?"
            )
        traced_at = perf_counter()
        labels = [p.label for p in parameters] if self.parameters is not None else []
        shape = np.shape(found.nest(range(len(found.outputs))))
        folded = _fold_loop(found.outputs[0], recorded, parameters) if not arrays and shape == () else None
        if folded is None:
            form, results = from_record(
                found.outputs,
                {p: i for i, p in enumerate(parameters)},
                {x: j for j, x in enumerate(inputs)},
                recorded,
            )
            program, data = Program(form, results, len(parameters), len(inputs)), None
            sizes = [int(np.prod(array.shape[1:], dtype=int)) for array in arrays]
            arguments = list(zip(_safe(self._arguments_for(arrays)), sizes, strict=True))
        else:
            program, data = folded
            arguments = [("x", program.inputs)]
        seconds = {"trace": traced_at - start, "form": perf_counter() - traced_at}
        known = {*parameters, *inputs}
        leaves = {v for node in recorded for v in node.parents if v.label and not v.parents and v not in known}
        constants = [(v, v.data) for v in leaves]
        return _Traced(program, Names(labels, arguments), shape, len(recorded), data, constants, seconds)

    @staticmethod
    def _depends(recorded: Sequence[Value], outputs: Sequence[Value], parameters: Sequence[Value]) -> bool:
        wanted = set(parameters)
        return any(p in wanted for node in recorded for p in node.parents) or any(y in wanted for y in outputs)

    @contextmanager
    def _at(self, theta: ArrayLike) -> Iterator[None]:
        """The parameters at theta, for a while."""
        parameters = self._needs_parameters("theta")
        before = [p.data for p in parameters]
        for p, x in zip(parameters, self._vector(theta, len(parameters)).tolist(), strict=True):
            p.data = x
        try:
            yield
        finally:
            for p, x in zip(parameters, before, strict=True):
                p.data = x

    @property
    def _backend(self) -> str:
        if self.backend != "auto":
            return self.backend
        return "numpy" if find_spec("numba") is None else "native"

    def _runner(self, key: Any, what: str) -> Any:
        """What answers a question, a method of `Program` by name; made when it is first asked."""
        if (key, what) in self._runners:
            return self._runners[key, what]
        traced = self._traced[key]
        start = perf_counter()
        with collector_paused():
            if what.startswith("suspicions"):
                question = traced.program.suspicions(int(what[-1]))
            else:
                question = traced.program.checked(traced.ask(what), ORDER[what])
        traced.seconds[f"{what}: derivatives"] = perf_counter() - start
        start = perf_counter()
        if self._backend == "numpy" or not in_the_kernel(question.form):  # a row of the user's own
            runner: Any = NumpyRunner(question, traced.names, what)
        else:
            from tinygrad_vi.compiler.native import Native

            with collector_paused():
                runner = Native(question, self.threads)
        traced.seconds[f"{what}: back end"] = perf_counter() - start
        self._runners[key, what] = runner
        return runner

    # --- What went wrong

    def _judge(self, what: str, key: Any, theta: ArrayLike, numbers: Array, arrays: list[Any]) -> None:
        """Raise what the function itself raises, for the first example for which it does.

        The checks of the program accuse and the function judges: exp(inf) is no error, and it raises the flag.
        """
        order = ORDER[what]
        if not arrays:
            self._try(order, theta, [], None)
            return
        for start in range(0, len(arrays[0]), AT_ONCE):
            some = [array[start : start + AT_ONCE] for array in arrays]
            with self._lock:
                runner = self._runner(key, f"suspicions {order}")
                found, _ = runner(numbers, some)
            for i in sorted(_suspects(runner.checks, found)):
                self._try(order, theta, [array[i].tolist() for array in some], start + i)

    def _try(self, order: int, theta: ArrayLike, numbers: list[Any], example: int | None) -> None:
        """Run the scalar code on one example, with as many derivatives, to hear what it raises."""
        try:
            with self._run(order, theta, numbers):
                pass
        except (ArithmeticError, ValueError) as error:
            raise NotFinite(str(error), example) from error

    @contextmanager
    def _run(self, order: int, theta: ArrayLike, numbers: list[Any]) -> Iterator[list[Value]]:
        """The results for one example, while the parameters are at theta; derivatives up to the order must exist."""
        if self.parameters is None:
            found, nest = flatten(self._np.asarray(theta, dtype=float).tolist())
            leaves = [Value(x) for x in found]
            fn: Callable[..., Any] = partial(self.fn, nest(leaves))
            at: AbstractContextManager[None] = nullcontext()
        else:
            leaves, fn, at = self.parameters, self.fn, self._at(theta)
        with self._lock, at, recording(True), modes.wanted.set(leaves if order > 0 else ()):
            outputs = trace(fn, numbers).outputs
            if order > 1:
                recorded = topological_order(outputs)
                for y in outputs:
                    adjoints(recorded, {y: 1.0}, create_graph=True)
            yield outputs

    def _not_finite(self, what: str, key: Any, theta: ArrayLike, numbers: Array, arrays: list[Any]) -> NotFinite:
        """The error for a result that is infinite or NaN: it names the scalar operation and the example."""
        np = self._np
        asked = what if what in ("value_and_gradient", "jacobian") else "each"

        def bad(some: list[Any]) -> Any:
            """Of which examples, or whether of any of these."""
            runner = self._runner(key, asked)
            found = runner(numbers[: self._traced[key].program.parameters], some)[0]
            return ~np.isfinite(found[:-1] if runner.flagged else found).all(axis=0)

        if not arrays:
            return self._explained(theta, [], None)
        if asked != "value_and_gradient" and bad(arrays).any():
            low = int(bad(arrays).argmax())
            return self._explained(theta, [array[low].tolist() for array in arrays], low)
        asked = "value_and_gradient" if self._traced[key].shape == () else "jacobian"
        low, high = 0, len(arrays[0])
        while high - low > 1:  # halve the batch until one example is left
            middle = (low + high) // 2
            if bad([array[low:middle] for array in arrays]).any():
                high = middle
            elif bad([array[middle:high] for array in arrays]).any():
                low = middle
            else:
                named = {"curvature": "the product with the Hessian", "directional": "the derivative along v"}
                return NotFinite(
                    f"{named.get(what, 'the result')} is infinite or NaN, though the value and the gradient of each "
                    "example are finite"
                )
        return self._explained(theta, [array[low].tolist() for array in arrays], low)

    def _explained(self, theta: ArrayLike, numbers: list[Any], example: int | None) -> NotFinite:
        """The error for one example of which the function itself says nothing: it names what was lost first."""
        try:
            with self._run(0, theta, numbers) as outputs:
                self._check(outputs)
        except (ArithmeticError, ValueError) as error:
            return NotFinite(str(error), example)
        return NotFinite("a derivative is infinite or NaN", example)

    @staticmethod
    def _check(outputs: Sequence[Value]) -> None:
        for y in outputs:
            if first_not_finite(y) is not None:
                raise not_finite(y)

    def __deepcopy__(self, memo: Any) -> Compiled:  # the function knows these very parameters
        return Compiled(self.fn, self.parameters, self.backend, self.threads)

    def __reduce__(self) -> tuple[Any, ...]:
        return Compiled, (self.fn, self.parameters, self.backend, self.threads)


def _suspects(checks: Sequence[Check], found: Any) -> set[int]:
    """The examples for which an operation may have raised, by the numbers of `Program.suspicions`."""
    import numpy as np

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


def _argument_names(fn: Callable[..., Any]) -> list[str]:
    """The names of the positional arguments that have no default; "*" stands for any number of them."""
    try:
        signature = inspect.signature(fn)
    except (TypeError, ValueError):
        return ["*"]
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    names = [p.name for p in signature.parameters.values() if p.kind in positional and p.default is p.empty]
    return names + ["*"] * any(p.kind == p.VAR_POSITIONAL for p in signature.parameters.values())


def _safe(names: Sequence[str]) -> list[str]:
    """Names that do not clash with those of the text."""
    safe: list[str] = []
    for name in names:
        while name in RESERVED or name in safe:
            name += "_"
        safe.append(name)
    return safe


def _fold_loop(output: Value, recorded: Sequence[Value], parameters: Sequence[Value]) -> tuple[Program, Array] | None:
    """The program for one example of a loss that loops over its examples, and their data; None if it does not.

    It is found by its structure, node for node; its value and gradient are compared with the recorded ones once more.
    """
    import numpy as np

    P = len(parameters)
    leaves = data_leaves([output], parameters)
    places = {leaf: i for i, leaf in enumerate([*parameters, *leaves])}
    form, [result] = from_record([output], places, {}, recorded)
    scale, node = result.reference()
    batch = find_batch(form, node, {P + j: leaf.data for j, leaf in enumerate(leaves)})
    if batch is None or not batch.inputs:
        return None
    c, mean = batch.output
    program = Program(batch.form, [Expression(batch.form, [(scale * c, mean, ONE)])], P, len(batch.inputs))
    data = np.array(batch.inputs).T
    names = Names((), [("x", program.inputs)])
    theta = np.array([p.data for p in parameters])
    found, _ = NumpyRunner(program.value_and_gradient(), names, "results")(theta, [data])
    slopes = adjoints(recorded, {output: 1.0})
    expected = np.array([output.data, *[slopes.get(p, 0.0) for p in parameters]])
    size = np.abs(expected).max()
    agrees = np.isfinite(expected).all() and np.abs(found - expected).max() <= 1e-9 * size
    return (program, data) if agrees else None


@dataclass(frozen=True, repr=False)
class Explanation:
    """What became of a function: see `Compiled.explain`.

    recorded: scalar operations of one example.  nodes: of the canonical form, derivatives included.  instructions:
    vector instructions, as text.  multiply_adds, functions: the work for one example.  examples: of the batch that was
    found in the function.  seconds: of each pass.
    """

    recorded: int
    nodes: int
    instructions: tuple[str, ...]
    multiply_adds: int
    functions: int
    backend: str
    examples: int | None
    seconds: dict[str, float]

    def __repr__(self) -> str:
        lines = [
            f"{self.recorded:,} scalar operations recorded" + " for one example" * (self.examples is None),
            *([f"a loop over {self.examples:,} examples found: it became a batch"] if self.examples else []),
            f"{self.nodes:,} nodes of the canonical form, derivatives included",
            f"{len(self.instructions):,} vector instructions:",
            *[f"    @{i}: {text:.110}" for i, text in enumerate(self.instructions[:40])],
            *["    ..."] * (len(self.instructions) > 40),
            f"{self.multiply_adds:,} multiply-adds and {self.functions:,} functions (those of a batch counted once)",
            f"back end: {self.backend}",
            "milliseconds: " + ", ".join(f"{name} {1e3 * seconds:.1f}" for name, seconds in self.seconds.items()),
        ]
        return "\n".join(lines)
