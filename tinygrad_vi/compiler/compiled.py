"""compile(): a scalar function in, a compiled function out."""

from __future__ import annotations

import inspect
import math
import random
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial, partialmethod
from importlib.util import find_spec
from pickle import PicklingError
from threading import RLock
from time import perf_counter
from typing import TYPE_CHECKING, Any

from tinygrad_vi import modes, ops
from tinygrad_vi.checks import ONE_EXAMPLE, DomainError, ShapeError, counted, number, whole_number
from tinygrad_vi.compiler.arguments import (
    Arrangement,
    AsTheyAre,
    Column,
    arrange,
    bound,
    by_example,
    column_of,
    is_number,
    is_record,
    mapped,
    of_columns,
)
from tinygrad_vi.compiler.batch import data_leaves, find_batch
from tinygrad_vi.compiler.forks import give_lock
from tinygrad_vi.compiler.form import ONE, SUM_KINDS, Expression, from_record
from tinygrad_vi.compiler.lift import lift
from tinygrad_vi.compiler.numpy_runner import NumpyRunner
from tinygrad_vi.compiler.numpy_source import RESERVED, Names, Written, written
from tinygrad_vi.compiler.program import ORDER, Check, Program, Question
from tinygrad_vi.compiler.tables import in_the_kernel
from tinygrad_vi.compiler.trace import (
    OUT_OF_ITS_DOMAIN,
    NotFaithful,
    Record,
    Trace,
    difference,
    guarded,
    nearby,
    record_of,
    trace,
)
from tinygrad_vi.compiler.watched import Captured, Leaves
from tinygrad_vi.derivatives import (
    differentiable,
    differentiating,
    hvp,
    jacobian,
    jvp,
    places_of,
    training,
    value_and_grad,
    variables,
)
from tinygrad_vi.examples import Table, as_table, as_values, check_numbers
from tinygrad_vi.functions import total
from tinygrad_vi.graph import collector_paused, first_not_finite, not_finite, topological_order
from tinygrad_vi.modes import dropping, predicting
from tinygrad_vi.nn.feedforward import drawn_factor
from tinygrad_vi.rows import SMALLEST_NORMAL, Operation
from tinygrad_vi.tracing import being_differentiated, being_traced, differentiated_by
from tinygrad_vi.trees import LEAF, Tree, argument_names, flatten, leaves_of, values_in
from tinygrad_vi.value import Value, adjoints, recording

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    from tinygrad_vi.show.paper import Drawing

    Array = NDArray[np.float64]

BACKENDS = ("auto", "native", "numpy")
#: recorded operations from which on a function is compared with itself by one value alone
LONG = 3000

#: examples that are searched at once for the one that failed
AT_ONCE = 4096


def compile(
    fn: Callable[..., Any],
    params: Iterable[Value] | None = None,
    *,
    argnums: int | Sequence[int] | None = None,
    backend: str = "auto",
    threads: int | None = None,
    verify: bool = True,
) -> Compiled:
    """Compile a function written in scalar code.

    fn: written for ONE example, in ordinary code on Values: ``lambda x, y: losses.hinge(model(x), y)``.  Calls map it
    over a batch and average it.  It is traced when it is first called with data of a new shape, on Values that hold a
    real example: arrays arrive as object arrays of Values, lists as lists, numbers as Values.
    A function without arguments, whose data stand in it, is a loss of all its examples: where it loops over them in
    scalar code, the batch is found.
    params: the Values to differentiate by, in a tree of any kind, or what ``model.parameters()`` gives.  Without them
    the first argument of fn takes their place, ``compile(rosenbrock).grad(x)``; or all of them, where all are numbers:
    ``compile(lambda a, b: log(a) + a * b).grad(2.0, 5.0)`` is a pair.
    argnums: without params, by which arguments: a place or a tuple of places, as in `grad`.  Such an argument is a
    number, an array, or a tree of them (a dictionary, a dataclass, ...), and results are nested like it; where it is
    the first by default, a list of numbers gives an array.  All other arguments are data: a table with an entry for
    each example, or a number, which is the same for all; or a dictionary, a named tuple or a dataclass of such columns.
    backend: "native" runs one kernel of Numba loops, "numpy" the readable text in `source`, which needs only NumPy;
    "auto" takes the native one where Numba is installed.
    threads: 1 keeps the native kernel on one thread; by default a second one joins where it pays.  Results do not
    depend on it, to the last bit.
    verify: whether the first answer to each question is compared with the function itself; see `Compiled.verify`.

    A compiled function gives what the function gives, or says why not.  While it is traced a Value refuses to be
    read (``v.data``, ``float(v)``), compared, hashed or copied, also where the function catches the error; under
    ``no_grad`` it records a `stop_gradient`.  A second trace, on another example and with the parameters moved,
    must record the same.  What it reads elsewhere is watched: captured Values, closures, globals, attributes,
    entries of lists, dicts and arrays, a module's mode; when something changes, it is traced again.
    What `Dropout` drops is drawn anew at each call, for each example, as the function itself would draw it: a mask,
    which is one more input of the program.

    What cannot be checked.  The function is run when it is traced and not at each call: what it does on the side
    (printing, writing files) is not done at each call.  Not watched: what it reads through C code, generators, files,
    the environment, the clock, ``globals()["name"]``, objects and modules of other packages; a parameter in a list that
    is replaced by another one; containers beyond 100,000 entries.  What it decides by the text of a parameter
    (``str(w)``) or by the type of a number is judged by the two traces and the rows that were verified.

    A compiled function may be called, and traced, from several threads at once.  Raises TypeError for a parameter that
    is not a Value, ValueError for an unknown backend, a number of threads below 1, or no parameters.

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
    if parameters is not None and argnums is not None:
        raise ValueError("params and argnums both say what to differentiate by: give one of them")
    return Compiled(fn, parameters, backend, threads, verify, argnums)


def _checked(params: Any) -> list[Value]:
    values = params.parameters() if hasattr(params, "parameters") else params
    if not isinstance(values, Iterable):
        hint = (
            ": call it, model.parameters()" if callable(values) else ": write [w]" if isinstance(values, Value) else ""
        )
        raise TypeError(f"params is a list of Values, got {type(values).__name__}{hint}")
    values = leaves_of(values)
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

    shape, nest: of the results.  data: the data of a found batch, inputs by examples.  seconds: of each pass.
    record: what was recorded.  leaves, captured: what else it depends on.  first: the example that it was traced on,
    while no other one has been seen; moved: whether it was traced again, with the parameters moved.  runners: what
    answers each question.  verified: the questions whose first answer was compared with the function's own.
    keeps: the chances of the entries of `Dropout` to be kept, in order; their factors are its last inputs.  around:
    the Values it depends on that were there before, its parameters among them: its answers count them as numbers.
    alone: the bytes of the data when they are a single example, while no other one has been seen.  dropped: another
    trace has taken its place.
    """

    program: Program
    names: Names
    shape: tuple[int, ...]
    recorded: int
    data: Any
    seconds: dict[str, float]
    nest: Tree
    record: Record
    leaves: Leaves
    captured: Captured
    first: list[Any] | None
    keeps: list[float]
    around: list[Value]
    runners: dict[str, Callable[[Any, list[Any]], Any]] = field(default_factory=dict)
    verified: set[str] = field(default_factory=set)
    moved: bool = False
    alone: list[bytes] | None = None
    dropped: bool = False

    def holds(self) -> bool:
        """Whether all that the trace depends on is as it was."""
        return (not self.leaves.leaves or self.leaves.same()) and self.captured.same()

    def has_seen(self, data: Sequence[Any]) -> bool:
        """Whether these arrays hold no example that a second trace could be made on."""
        return self.first is None or self.alone == [x.tobytes() for x in data]

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


class GivenValues(TypeError):
    """Values were given where a compiled function computes with numbers."""

    def __init__(self, name: str, arguments: tuple[Any, ...] = ()) -> None:
        self.arguments = arguments
        super().__init__(
            f"{name} holds Values, and this answer of a compiled function is made of numbers: it is not differentiated "
            "through. Use the function that was compiled itself, or step(...) and step.grad(...) of a function whose "
            "parameters are an argument, compile(lambda w, x: ...)"
        )


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

    Called with Values (in `grad`, or in another compiled function) ``step``, ``step.grad`` and ``step.value_and_grad``
    of a function without params run the function itself, which is recorded: it is differentiated through, at the speed
    of scalar code.  Whatever else is given Values raises TypeError.  Values that the function knows from elsewhere, and
    by which a derivative is taken around the call, are differentiated by as well, in every answer; with params, whose
    answers are made of numbers, they raise TypeError.
    """

    def __init__(
        self,
        fn: Callable[..., Any],
        parameters: list[Value] | None,
        backend: str,
        threads: int | None,
        verify: bool = True,
        argnums: int | Sequence[int] | None = None,
    ) -> None:
        try:
            import numpy
        except ImportError:
            raise ImportError("compile needs NumPy: pip install numpy") from None
        self._np, self._ndarray, self._float = numpy, numpy.ndarray, numpy.dtype(float)
        self.fn, self.parameters, self.backend, self.threads = fn, parameters, backend, threads
        self.argnums = argnums
        #: the same function with its arguments arranged as theta and data, for each way in which they were given
        self._arranged: dict[Arrangement, Compiled] = {}
        #: the same function of the columns that records among the data hold
        self._of_columns: dict[tuple[Any, ...], Compiled] = {}
        self._recent: Compiled | None = None
        self._arguments = _argument_names(fn)
        self._any_number = "*" in self._arguments
        self._verifies = verify
        self._traced: dict[Any, _Traced] = {}
        self._last: Any = None
        #: what answered a question, by the shapes of the arrays: the trace, its key, the runner
        self._answered: dict[Any, tuple[_Traced, Any, Any]] = {}
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

    def __call__(self, theta: Any, *data: Any, **named: Any) -> Any:
        """The mean over the examples: a float, or an array for a function with several results."""
        try:
            answer = None if named else self._as_before("value", theta, data)
            if answer is None:
                self._leave_to_the_function(theta, data, named)
                if named or self._unusual(theta, data):
                    core, _, theta, data = self._arrange(theta, data, named)
                    if core is not self:
                        return core(theta, *data)
                answer = self._ask("value", theta, data)
            found, _, traced = answer
        except GivenValues as given:
            return self._recorded_mean(given)(*(given.arguments or (theta, *data)))
        return _number(found[0]) if traced.shape == () else found.reshape(traced.shape)

    def value_and_grad(self, theta: Any, *data: Any, **named: Any) -> tuple[float, Any]:
        """The mean over the examples and its gradient, in the shape of theta."""
        try:
            answer = None if named else self._as_before("value_and_gradient", theta, data)
            if answer is None:
                self._leave_to_the_function(theta, data, named)
                if named or self._unusual(theta, data):
                    core, arrangement, theta, data = self._arrange(theta, data, named)
                    if core is not self:
                        value, gradient = core.value_and_grad(theta, *data)
                        return value, arrangement.like(gradient)
                answer = self._ask("value_and_gradient", theta, data)
            found, shape, _ = answer
        except GivenValues as given:
            arguments = given.arguments or (theta, *data)
            places, single = self._places(arguments)
            by = places[0] if single else tuple(places)
            return value_and_grad(self._recorded_mean(given), argnums=by)(*arguments)  # type: ignore[no-any-return]
        gradient = found[1:] if len(shape) == 1 else found[1:].reshape(shape) if shape else _number(found[1])
        return _number(found[0]), gradient

    def grad(self, theta: Any, *data: Any, **named: Any) -> Any:
        """The gradient of the mean."""
        return self.value_and_grad(theta, *data, **named)[1]

    def each(self, theta: Any, *data: Any, **named: Any) -> Any:
        """The results of each example, of shape (N, *shape of the result); without data of one: (*shape)."""
        if named or self._unusual(theta, data):
            core, _, theta, data = self._arrange(theta, data, named)
            if core is not self:
                return core.each(theta, *data)
        found, _, traced = self._ask("each", theta, data)
        results: Array = found.T.reshape(-1, *traced.shape)
        return results if mapped(data) else results[0]

    def examples(self, data: Sequence[Any]) -> tuple[Array, Tree]:
        """The results of each example of a function without parameters, (N, results), and the tree of those of one."""
        found, _, traced = self._ask("each", self._np.zeros(0), data)
        return found.T, traced.nest

    def jacobian(self, theta: Any, *data: Any, **named: Any) -> Any:
        """The derivatives of each result by the parameters, for each example: (N, *shape of the result, P).

        Without data there is no axis for the examples.  Take residuals to `scipy.optimize.least_squares` with it.
        """
        if named or self._unusual(theta, data):
            core, arrangement, theta, data = self._arrange(theta, data, named)
            if core is not self:
                return arrangement.like(core.jacobian(theta, *data))
        found, shape, traced = self._ask("jacobian", theta, data)
        rows: Array = found.T.reshape(-1, *traced.shape, *shape)
        return rows if mapped(data) else rows[0]

    def jvp(self, theta: Any, v: Any, *data: Any) -> tuple[Any, Any]:
        """The mean and its derivative along v: J v, in the shape of the result."""
        if self._unusual(theta, data):
            core, _, theta, v, data = self._arrange_with_vector(theta, v, data)
            if core is not self:
                return core.jvp(theta, v, *data)
        found, _, traced = self._ask("directional", theta, data, v)
        value, along = found.reshape(2, *traced.shape)
        return (_number(value), _number(along)) if traced.shape == () else (value, along)

    def hvp(self, theta: Any, v: Any, *data: Any) -> Any:
        """The product of the Hessian of the mean with v, as `scipy.optimize.minimize` takes it for ``hessp``.

        v stands behind the last argument that is differentiated by, as in `tinygrad_vi.hvp`.
        """
        if self._unusual(theta, data):
            core, arrangement, theta, v, data = self._arrange_with_vector(theta, v, data)
            if core is not self:
                return arrangement.like(core.hvp(theta, v, *data))
        found, shape, _ = self._ask("curvature", theta, data, v)
        return found.reshape(shape) if shape else _number(found[0])

    def hessian(self, theta: Any, *data: Any, **named: Any) -> Any:
        """The Hessian of the mean, of shape (P, P), or the shape of theta twice: P products with unit vectors."""
        if named or self._unusual(theta, data):
            core, arrangement, theta, data = self._arrange(theta, data, named)
            if core is not self:
                return arrangement.twice(core.hessian(theta, *data))
        np = self._np
        self._only_numbers(theta)
        P = np.size(theta)
        traced, tables = self._ready(theta, data)  # one mask for all columns
        columns = [self._answer("curvature", traced, tables, theta, data, unit)[0] for unit in np.eye(P)]
        matrix = np.stack(columns, axis=1)
        shape = np.shape(theta) if self.parameters is None else (P,)
        return matrix.reshape(shape + shape) if shape else _number(matrix[0, 0])

    def verify(self, theta: ArrayLike, *data: Any, rows: int = 3) -> float:
        """Run the function itself on some rows of the data, drawn by chance, and compare value and gradient.

        The function is called as `fit` calls it, on Values: floats as Values, whole numbers as they are; both with one
        mask of `Dropout`, which is not drawn from the module `random`.  Returns the largest difference, relative to the
        largest number on the way.  Raises NotFaithful, with the row and both
        numbers, when one is above 1e-6.

        >>> w = Value(0.5)
        >>> step = compile(lambda x, t: (w * x - t) ** 2, params=[w], backend="numpy")
        >>> step.verify(step.theta, [1.0, 2.0, 3.0], [2.0, 4.0, 6.0]) < 1e-15
        True
        """
        rows = whole_number(rows, "rows")
        if self._unusual(theta, data):
            core, _, theta, data = self._arrange(theta, data, {})
            if core is not self:
                return core.verify(theta, *data, rows=rows)
        tables = self._tables(data)
        traced = self._prepare(theta, tables)
        if not (traced.leaves.same() and traced.captured.look_again()):
            traced.dropped = True
            self._traced.pop(self._key(theta, tables), None)
            traced = self._prepare(theta, tables)
        count = len(tables[0].numbers) if tables else 1
        chosen = random.Random(0).sample(range(count), min(rows, count))
        what = "value_and_gradient" if traced.shape == () else "each"
        return self._compare(traced, what, theta, self._masked(traced, tables, random.Random(0)), data, chosen)

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
            ("derivatives by its first argument" if self.argnums is None else f"argnums={self.argnums!r}")
            if self.parameters is None
            else counted(len(self.parameters), "parameter")
        )
        count = self._traces()
        traced = f"traced for {counted(count, 'shape')}" if count else "not traced yet"
        return f"<compiled {name}({', '.join(self._arguments)}): {by}, {self._backend}, {traced}>"

    def _traces(self) -> int:
        within = [*self._arranged.values(), *self._of_columns.values()]
        return len(self._traced) + sum(compiled._traces() for compiled in within)

    def _known(self) -> _Traced:
        if self._recent is not None:
            return self._recent._known()
        if self._last is None and self.parameters is not None and not self._arguments:
            self._prepare(self.theta, [])
        if self._last is None:
            raise ValueError(
                "nothing has been traced yet: call it once with data, step.value_and_grad(step.theta, X, Y)"
            )
        return self._traced[self._last]

    # --- The arguments

    def _unusual(self, theta: Any, data: Sequence[Any]) -> bool:
        """Whether the arguments are something else than an array of all parameters, and columns of data."""
        ndarray = self._ndarray
        if theta.__class__ is ndarray and theta.dtype is self._float and theta.ndim and self.argnums is None:
            return any(x.__class__ is not ndarray and is_record(x) for x in data)
        return True

    def _arrange(
        self, theta: Any, data: Sequence[Any], named: dict[str, Any]
    ) -> tuple[Compiled, Arrangement | AsTheyAre, Any, tuple[Any, ...]]:
        """What answers, how its arguments are arranged, theta and the data."""
        self._recent = None
        if self.parameters is not None:
            if values_in(theta):
                raise GivenValues("theta")
            data = bound(self.fn, data, named) if named else tuple(data)
            if any(map(is_record, data)):
                columns, data = self._by_columns(data, [])
                return columns, AsTheyAre(), theta, data
            return self, AsTheyAre(), theta, data
        arguments = bound(self.fn, (theta, *data), named) if named else (theta, *data)
        places, single = self._places(arguments)
        if values_in([arguments[i] for i in places]):
            raise GivenValues("theta", arguments)
        if any(is_record(x) for i, x in enumerate(arguments) if i not in places):
            columns, (theta, *data) = self._by_columns(arguments, places)
            return columns._arrange(theta, data, {})
        if self.argnums is None and single and self._is_vector(arguments[0]):
            return self, AsTheyAre(), arguments[0], tuple(arguments[1:])
        arrangement, numbers, rest = arrange(self.fn, arguments, places, single)
        core = self._arranged.get(arrangement)
        if core is None:
            fn = arrangement.function(self.fn)
            core = self._arranged[arrangement] = Compiled(fn, None, self.backend, self.threads, self._verifies)
        self._recent = core
        return core, arrangement, numbers, tuple(rest)

    def _by_columns(self, arguments: Sequence[Any], places: Sequence[int]) -> tuple[Compiled, tuple[Any, ...]]:
        """The function of the columns that records among the data hold, and all arguments, these columns among them."""
        if values_in([x for i, x in enumerate(arguments) if i not in places]):
            raise GivenValues("the data", tuple(arguments))
        names = argument_names(self.fn, len(arguments))
        columns: list[Column] = []
        given: list[Any] = []
        moved: dict[int, int] = {}
        for i, (x, name) in enumerate(zip(arguments, names, strict=True)):
            moved[i] = len(given)
            column, inside = (Column(LEAF, (name,)), [x]) if i in places else column_of(x, name)
            columns.append(column)
            given += inside
        # a vector in the first place stays one; by default all of several numbers would be differentiated by
        usual = not places or (self.argnums is None and self._is_vector(arguments[0]) and not is_number(arguments[0]))
        by = tuple([moved[i] for i in places])
        single = self.argnums is None or not isinstance(self.argnums, (tuple, list))
        argnums = None if usual else by[0] if single else by
        core = self._of_columns.get((*columns, argnums))
        if core is None:
            fn = of_columns(self.fn, columns)
            core = Compiled(fn, self.parameters, self.backend, self.threads, self._verifies, argnums)
            self._of_columns[(*columns, argnums)] = core
        self._recent = core
        return core, tuple(given)

    def _places(self, arguments: Sequence[Any]) -> tuple[list[int], bool]:
        """The places of the arguments to differentiate by, and whether results are like the only one."""
        if self.argnums is not None:
            return places_of(self.argnums, len(arguments)), not isinstance(self.argnums, (tuple, list))
        if len(arguments) > 1 and all(is_number(x) or isinstance(x, Value) for x in arguments):
            return list(range(len(arguments))), False
        return [0], True

    def _is_vector(self, theta: Any) -> bool:
        """Whether it is a number, an array, or a list that could be one."""
        if isinstance(theta, dict) or hasattr(theta, "_fields"):
            return False
        if isinstance(theta, (list, tuple)):
            try:
                return self._np.asarray(theta).dtype.kind in "fiub"
            except ValueError:  # rows of different lengths
                return False
        return hasattr(theta, "dtype") or isinstance(theta, (int, float))

    def _arrange_with_vector(
        self, theta: Any, v: Any, data: Sequence[Any]
    ) -> tuple[Compiled, Arrangement | AsTheyAre, Any, Any, tuple[Any, ...]]:
        """The same where a vector stands behind the last argument that is differentiated by."""
        arguments = [theta, v, *data]
        if self.argnums is not None:
            behind = 1 + max(places_of(self.argnums, len(arguments) - 1))
        elif self.parameters is None and len(arguments) > 2 and all(map(is_number, arguments[:-1])):
            behind = len(arguments) - 1
        else:
            behind = 1
        vector = arguments.pop(behind)
        core, arrangement, theta, rest = self._arrange(arguments[0], arguments[1:], {})
        if isinstance(arrangement, Arrangement):
            vector = self._np.array(arrangement.vector(vector), dtype=float)
        return core, arrangement, theta, vector, rest

    def _leave_to_the_function(self, theta: Any, data: Sequence[Any], named: dict[str, Any]) -> None:
        """Inside a derivative the function may know Values from elsewhere, ``lambda x: w * x``: let it record them."""
        if self.parameters is None and differentiating():
            raise GivenValues("theta", bound(self.fn, (theta, *data), named) if named else (theta, *data))

    def _recorded_mean(self, given: GivenValues) -> Callable[..., Any]:
        """The mean over the examples, run by the function itself, which records: for Values."""
        if self.parameters is not None:
            raise given

        def mean(*arguments: Any) -> Any:
            places, _ = self._places(arguments)
            names = argument_names(self.fn, len(arguments))
            others = [i for i in range(len(arguments)) if i not in places]
            found = []
            with differentiable():
                for row in by_example([arguments[i] for i in others], [names[i] for i in others]):
                    example = dict(zip(others, row, strict=True))
                    result = self.fn(*[example.get(i, x) for i, x in enumerate(arguments)])
                    found.append(flatten(result, "the result"))
            columns = zip(*[numbers for numbers, _ in found], strict=True)
            return found[0][1]([total(column) / len(found) for column in columns])

        return mean

    # --- Asking

    def _as_before(self, what: str, theta: Any, data: Sequence[Any]) -> tuple[Any, tuple[int, ...], _Traced] | None:
        """What `_ask` gives, at once, where it was asked before with arrays of these shapes; None where there is more
        to do: something has changed, another example must be seen, a mask is drawn, a number is not finite.
        """
        shapes: list[Any] = [what]
        for x in (theta, *data):
            if x.__class__ is not self._ndarray or x.dtype is not self._float:
                return None
            shapes.append(x.shape)
        known = self._answered.get(tuple(shapes))
        if known is None or predicting.open or (self.parameters is None and differentiating()):
            return None
        traced, key, runner = known
        if traced.dropped or not (traced.has_seen(data) and traced.holds()):
            return None
        if being_differentiated() and differentiated_by(traced.around):  # `_answer` sees to it
            return None
        arrays: Sequence[Any] = data if traced.data is None else [traced.data]
        with self._lock:
            found, checksum = runner(self._np.ascontiguousarray(theta), arrays)
        if not math.isfinite(checksum) and not self._np.isfinite(found).all():
            return None
        self._last, self._recent = key, None
        return found[:-1] if runner.flagged else found, theta.shape, traced

    def _remember(self, what: str, traced: _Traced, tables: list[Table], theta: Any, data: Sequence[Any]) -> None:
        """Let `_as_before` answer from now on, if these are arrays of floats and nothing is drawn."""
        usual = all(x.__class__ is self._ndarray and x.dtype is self._float and x.ndim for x in (theta, *data))
        if not usual or theta.ndim != 1 or self.argnums is not None or traced.keeps or predicting.open:
            return
        if len(self._answered) > 64:
            self._answered.clear()
        shapes = what, theta.shape, *[x.shape for x in data]
        self._answered[shapes] = traced, self._key(theta, tables), traced.runners[what]

    def _ask(
        self, what: str, theta: ArrayLike, data: Sequence[ArrayLike], v: ArrayLike | None = None
    ) -> tuple[Any, tuple[int, ...], _Traced]:
        return self._answer(what, *self._ready(theta, data), theta, data, v)

    def _ready(self, theta: ArrayLike, data: Sequence[ArrayLike]) -> tuple[_Traced, list[Table]]:
        """The function for these data, and the inputs of its program: the data, and the mask of this call."""
        tables = self._tables(data)
        self._only_numbers(theta)
        traced = self._prepare(theta, tables)
        return traced, self._masked(traced, tables, random) if traced.keeps else tables

    def _masked(self, traced: _Traced, tables: list[Table], rng: Any) -> list[Table]:
        """The tables, and one of the factors of `Dropout`, if there is any: drawn example by example, in its order."""
        if not traced.keeps:
            return tables
        if being_traced():
            raise TypeError(
                "a compiled function with Dropout, called with numbers while another function is being traced, would "
                "draw once for all: call the function itself that was compiled, or put its model in eval() mode"
            )
        np = self._np
        keeps = np.array(traced.keeps)
        shape = (len(tables[0].numbers) if tables else 1), len(keeps)
        draw = rng.random
        drawn = np.array([draw() for _ in range(shape[0] * shape[1])]).reshape(shape)
        return [*tables, _Mask(np.where(drawn < keeps, 1.0 / keeps, 0.0), arrays=True, given=traced.keeps)]

    def _answer(
        self,
        what: str,
        traced: _Traced,
        tables: list[Table],
        theta: ArrayLike,
        data: Sequence[ArrayLike],
        v: ArrayLike | None = None,
    ) -> tuple[Any, tuple[int, ...], _Traced]:
        np = self._np
        arrays = [table.numbers for table in tables]
        P = traced.program.parameters
        numbers = self._vector(theta, P)
        shape = (P,) if self.parameters is not None else np.shape(theta)
        if traced.around and being_differentiated() and (by := differentiated_by(traced.around)):
            self._forget(traced)
            return self._recorded(what, theta, tables, v, by), shape, traced
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
            runner: Any = traced.runners.get(what) or self._runner(traced, what)
            found, checksum = runner(numbers, arrays)
        results = found[:-1] if runner.flagged else found
        if not math.isfinite(checksum) and not np.isfinite(found).all():
            self._judge(what, traced, theta, numbers[:P], tables)
            if not np.isfinite(results).all():
                raise self._not_finite(what, traced, theta, numbers, tables)
        if self._verifies and what not in traced.verified:
            traced.verified.add(what)
            self._verify_first(traced, what, theta, tables, data)
        elif v is None:
            self._remember(what, traced, tables, theta, data)
        return results, shape, traced

    def _forget(self, traced: _Traced) -> None:
        """Drop a trace that knows what is differentiated by, which is another Value at the next call around it."""
        traced.dropped = True
        with self._lock:
            for key in [key for key, known in self._traced.items() if known is traced]:
                del self._traced[key]
                self._last = None if self._last == key else self._last

    def _recorded(self, what: str, theta: Any, tables: list[Table], v: Any, by: Sequence[Value]) -> Array:
        """The answer by the function itself, which records, where it knows Values that are differentiated by here."""
        name = getattr(self.fn, "__name__", type(self.fn).__name__)
        if self.parameters is not None:
            raise TypeError(
                f"{name} knows {_listed(by)}, by which a derivative is being taken around this call: compiled with "
                f"params, its answer is made of numbers, and would count {_these(by)} as constant. Run the function "
                "itself that was compiled; or make the parameters an argument, compile(lambda p, x: ...) "
                "without params, which is differentiated through; or let it know a plain number, w.data, if a constant "
                "is meant"
            )
        np = self._np
        rows = range(len(tables[0].numbers) if tables else 1)
        start, nest = flatten(_like(theta))

        def of_example(i: int) -> Callable[[list[Any]], list[Any]]:
            def results(leaves: list[Any]) -> list[Any]:
                with dropping.set(_factors(tables, i)):
                    return flatten(self.fn(nest(leaves), *as_values(_example(tables, i))), "the result")[0]

            return results

        def means(leaves: list[Any]) -> list[Any]:
            columns = zip(*[of_example(i)(leaves) for i in rows], strict=True)
            return [total(column) / len(rows) for column in columns]

        found: Any
        with differentiable():
            if what == "value":
                found = means(start)
            elif what == "each":
                found = [*zip(*[of_example(i)(start) for i in rows], strict=True)]
            elif what == "value_and_gradient":
                value, gradient = value_and_grad(lambda leaves: means(leaves)[0])(start)
                found = [value, *gradient]
            elif what == "jacobian":
                of_rows = [[x for row in jacobian(of_example(i))(start) for x in row] for i in rows]
                found = [*zip(*of_rows, strict=True)]
            elif what == "directional":
                found = [x for part in jvp(means, (start,), (flatten(_floats(v), "v")[0],)) for x in part]
            else:
                found = hvp(lambda leaves: means(leaves)[0])(start, flatten(_floats(v), "v")[0])
        recorded: Any = np.array(found, dtype=object)
        return recorded if values_in(recorded) else recorded.astype(float)  # type: ignore[no-any-return]

    def _tables(self, data: Sequence[Any]) -> list[Table]:
        names, ndarray = self._arguments_for(data), self._np.ndarray
        tables: list[Table] = []
        same: list[int] = []  # the places of numbers, which are the same for all examples
        count, first = 0, ""
        for x, name in zip(data, names, strict=True):
            if x.__class__ is ndarray and x.dtype.char == "d" and x.ndim:  # the usual case, at once
                table = Table(x, x.ndim > 1)
            elif is_number(x):
                same.append(len(tables))
                tables.append(Table(self._np.array([number(x, name)]), arrays=False))
                continue
            else:
                table = self._table(x, name)
            if len(table.numbers) != count or not count:
                if len(table.numbers) == 0:
                    raise ShapeError(f"there are no examples: {name} is empty")
                if count:
                    hint = f": {ONE_EXAMPLE}" * (1 in (len(table.numbers), count))
                    raise ShapeError(f"{name} has {len(table.numbers)} examples, {first} has {count}{hint}")
                count, first = len(table.numbers), name
            tables.append(table)
        if same:
            for i in same:
                tables[i].numbers = self._np.repeat(tables[i].numbers, count or 1)
        return tables

    def _only_numbers(self, theta: Any, name: str = "theta") -> None:
        """Refuse what NumPy would read as numbers, such as text and dates, and a mask, which would be lost."""
        if theta.__class__ is not self._np.ndarray or theta.dtype.kind not in "fiub":
            check_numbers(theta, name)

    def _vector(self, theta: ArrayLike, P: int, name: str = "theta") -> Array:
        self._only_numbers(theta, name)
        numbers = self._np.ascontiguousarray(theta, dtype=float).reshape(-1)
        if len(numbers) != P:
            count = f"{P} number{'s' * (P > 1)}"
            raise ShapeError(f"{name} needs {count}, one for each parameter, got {len(numbers)}")
        return numbers

    def _table(self, x: Any, name: str) -> Table:
        if isinstance(x, Table):
            return x
        try:
            return as_table(x, name)
        except (TypeError, ShapeError):
            if values_in(x):
                raise GivenValues(name) from None
            raise

    def _arguments_for(self, data: Sequence[Any]) -> list[str]:
        names = self._arguments if self.parameters is not None else self._arguments[1:]
        if len(names) == len(data) and not self._any_number:
            return names
        if "*" in self._arguments and len(data) >= len(names) - ("*" in names):
            return [f"x{i + 1}" for i in range(len(data))]
        if len(names) != len(data):
            takes = f"{len(names) or 'no'} argument{'s' * (len(names) != 1)}" + f" ({', '.join(names)})" * bool(names)
            call = f": step.value_and_grad({', '.join(['theta', *names])})"
            raise ShapeError(f"after theta the function takes {takes}, got {len(data)}{call}")
        return names

    def _key(self, theta: Any, tables: Sequence[Table]) -> Any:
        """What a trace is made for: the shape of the data, arrays or lists, and whether dropout is off."""
        shapes = [(table.arrays, table.numbers.shape[1:]) for table in tables]
        if self.parameters is None:
            shapes.append((hasattr(theta, "dtype"), self._np.shape(theta)))
        return (*shapes, predicting.get()) if predicting.open else tuple(shapes)

    def _prepare(self, theta: ArrayLike, tables: list[Table]) -> _Traced:
        """Trace the function for data of this shape, if that has not been done, or if something has changed since."""
        key = self._key(theta, tables)
        known = self._traced.get(key)
        if known is None or known.first is not None or not known.holds():
            with self._lock:
                known = self._traced.get(key)
                if known is not None and not known.holds():
                    known = None
                try:
                    with collector_paused():
                        if known is None:
                            known = self._traced[key] = self._trace(theta, tables)
                            self._answered.clear()
                        elif known.first is not None:  # until another example is seen
                            self._trace_again(known, theta, tables)
                except DomainError as error:
                    raise NotFinite(str(error), 0 if tables else None) from error
                except TypeError as error:
                    if "'Traced' object is not" in str(error) and any(table.numbers.ndim == 1 for table in tables):
                        raise TypeError(f"{error}: an example is a number here; {ONE_EXAMPLE}") from error
                    raise
        self._last, self._recent = key, None
        return known

    def _once(self, theta: Any, rows: Sequence[Any], *, lines: bool = False) -> tuple[Trace, list[Value], list[Value]]:
        """Trace the function at theta on one example: the trace, its parameters, its inputs."""
        factor = _FactorsToCome()
        if self.parameters is None:
            found = trace(self.fn, [_like(theta), *rows], lines=lines, factor=factor)
            P = int(self._np.size(theta))
            return found, found.inputs[:P], found.inputs[P:]
        with self._at(theta):  # as this call has them: domain errors must be its own
            found = trace(self.fn, rows, self.parameters, lines=lines, factor=factor)
        return found, self.parameters, found.inputs

    def _trace(self, theta: ArrayLike, tables: list[Table]) -> _Traced:
        np = self._np
        start = perf_counter()
        captured = Captured(self.fn, self.parameters or ())
        with guarded(captured.values, {}):
            found, parameters, inputs = self._once(theta, _example(tables, 0))
        captured.renew()  # what it keeps, such as a table of what it has computed, it has now
        recorded = topological_order(found.outputs)
        if parameters and not self._depends(recorded, found.outputs, parameters):
            on = "its first argument" if self.parameters is None else "the parameters"
            raise ValueError(
                f"the result does not depend on {on}: is it computed from these very Values, and outside of no_grad()?"
            )
        self._all_recorded_inside(recorded, found, parameters)
        traced_at = perf_counter()
        numbers = self._vector(theta, len(parameters)).tolist()
        labels = [p.label for p in parameters] if self.parameters is not None else []
        shape = np.shape(found.nest([0.0] * len(found.outputs))) if parameters else (len(found.outputs),)
        if parameters and (np.prod(shape, dtype=int) != len(found.outputs) or str(found.nest)[0] not in "x["):
            raise TypeError(
                f"a compiled function returns a number, or a list or an array of numbers; this result is nested like "
                f"{found.nest!s:.60}: return a list, or take vmap(f) for the examples alone"
            )
        foldable = not tables and shape == () and not found.keeps
        folded = _fold_loop(found.outputs[0], recorded, parameters, numbers) if foldable else None
        if folded is None:
            form, results = from_record(
                found.outputs,
                {p: i for i, p in enumerate(parameters)},
                {x: j for j, x in enumerate(inputs)},
                recorded,
            )
            program, data = Program(form, results, len(parameters), len(inputs)), None
            sizes = [int(np.prod(table.numbers.shape[1:], dtype=int)) for table in tables]
            names = self._arguments_for(tables)
            if found.keeps:
                names, sizes = [*names, "mask"], [*sizes, len(found.keeps)]
            arguments = list(zip(_safe(names), sizes, strict=True))
        else:
            program, data = folded
            arguments = [("x", program.inputs)]
        seconds = {"trace": traced_at - start, "form": perf_counter() - traced_at}
        known = {*parameters, *inputs}
        leaves = {v: v.data for node in recorded for v in node.parents if not v.parents and v not in known}
        leaves |= {v: v.data for v in found.outputs if not v.parents and v not in known}
        leaves |= found.read
        traced = _Traced(
            program, Names(labels, arguments), shape, len(recorded), data, seconds,
            found.nest, record_of(found, parameters, recorded), Leaves(leaves), captured,
            _example(tables, 0, copy=True), found.keeps,
            _around(found, recorded, [] if self.parameters is None else parameters),
        )  # fmt: skip
        if tables and len(tables[0].numbers) == 1:
            traced.alone = [table.numbers.tobytes() for table in tables]
        start = perf_counter()
        self._trace_again(traced, theta, tables)
        seconds["second trace"] = perf_counter() - start
        return traced

    def _trace_again(self, traced: _Traced, theta: ArrayLike, tables: list[Table]) -> None:
        """Trace once more, on another example and with the parameters moved; NotFaithful for another record."""
        assert traced.first is not None
        another = _another(traced.first, tables)
        if tables and another is None and traced.moved:  # still the example of the first trace
            return
        rows = traced.first if another is None else _example(tables, another)
        shape = self._np.shape(theta)
        start = self._vector(theta, traced.program.parameters).tolist()
        for moved in nearby(start):
            point = self._np.reshape(moved, shape) if hasattr(theta, "dtype") else _nested(moved, shape)
            try:
                with guarded(traced.captured.values, {}):
                    found, parameters, _ = self._once(point, rows)
            except OUT_OF_ITS_DOMAIN:
                continue
            order = topological_order(found.outputs)
            self._all_recorded_inside(order, found, parameters)
            if record_of(found, parameters, order) != traced.record:
                raise self._unfaithful(traced, theta, point, rows)
            if not traced.moved and traced.captured.changed_by_the_function():
                name = getattr(self.fn, "__name__", type(self.fn).__name__)
                raise NotFaithful(
                    f"{name} cannot be compiled: it changes numbers that it reads, or draws random ones, and would do "
                    "so only when it is traced. Keep counts and logs outside of it, in the loop or in a callback; draw "
                    "random numbers beforehand, and give it what it needs as an argument, a column of the data"
                )
            if not traced.moved:  # a leaf that is another object at each run is a number in the text
                seen = {v for node in order for v in node.parents}
                traced.leaves = traced.leaves.among(seen.union(found.outputs, found.read))
            break
        traced.moved = True
        if another is not None or not tables:
            traced.first = None

    def _unfaithful(self, traced: _Traced, theta: Any, point: Any, rows: Sequence[Any]) -> NotFaithful:
        """The error for two records that differ: both are made once more, with the lines of the user's code."""
        name = getattr(self.fn, "__name__", type(self.fn).__name__)
        assert traced.first is not None
        try:
            first, parameters, _ = self._once(theta, traced.first, lines=True)
            second, _, _ = self._once(point, rows, lines=True)
            where = difference(first, second, parameters if self.parameters is not None else [])
        except Exception as error:  # it is no function: now it fails
            where = f"At another time it raised {type(error).__name__}: {error}"
        return NotFaithful(
            f"{name} cannot be compiled: run on two examples, or at two points, it is not the same function. "
            f"{where or 'Run once more, it did not show where'}. What is decided by other means than operations on "
            "Values (random numbers, isinstance, len of a set, a count, numbers that it changes) is decided once for "
            "all examples: give what differs as an argument, a column of the data; write where(c, x, y) for a choice, "
            "take(table, i) for a look-up; draw random numbers beforehand"
        )

    def _all_recorded_inside(self, recorded: Sequence[Value], found: Trace, parameters: Sequence[Value]) -> None:
        """Refuse a result of the parameters that was there before: its number is that of another point."""
        inside, at_the_point = set(found.nodes), {*parameters, *found.inputs}
        for node in recorded:
            if node not in inside and not at_the_point.isdisjoint(node.parents):
                name = getattr(self.fn, "__name__", type(self.fn).__name__)
                raise NotFaithful(
                    f"{name} cannot be compiled: it uses {node!r}, which was computed from the parameters outside of "
                    "it, before it was called or in another thread. Compute it inside"
                )

    @staticmethod
    def _depends(recorded: Sequence[Value], outputs: Sequence[Value], parameters: Sequence[Value]) -> bool:
        wanted = set(parameters)
        return any(p in wanted for node in recorded for p in node.parents) or any(y in wanted for y in outputs)

    @contextmanager
    def _at(self, theta: ArrayLike) -> Iterator[None]:
        """The parameters at theta, for a while, in this thread."""
        parameters = self._needs_parameters("theta")
        numbers = self._vector(theta, len(parameters)).tolist()
        with guarded(parameters, dict(zip(parameters, numbers, strict=True))):
            yield

    @property
    def _backend(self) -> str:
        if self.backend != "auto":
            return self.backend
        return "numpy" if find_spec("numba") is None else "native"

    def _runner(self, traced: _Traced, what: str) -> Any:
        """What answers a question, a method of `Program` by name; made when it is first asked."""
        if what in traced.runners:
            return traced.runners[what]
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
        traced.runners[what] = runner
        return runner

    # --- The function itself

    def _verify_first(self, traced: _Traced, what: str, theta: Any, tables: list[Table], data: Sequence[Any]) -> None:
        """Compare a first answer with the function's own on three rows; of a long function the value alone, on one."""
        if what not in ("value", "value_and_gradient", "each"):
            return
        count, long = len(tables[0].numbers) if tables else 1, traced.recorded > LONG
        rows = random.Random(count).sample(range(count), min(count, 1 if long else 3))
        start = perf_counter()
        self._compare(traced, what, theta, tables, data, rows, values_alone=long)
        traced.seconds[f"{what}: verified"] = perf_counter() - start

    def _compare(
        self,
        traced: _Traced,
        what: str,
        theta: Any,
        tables: list[Table],
        data: Sequence[Any],
        rows: Sequence[int],
        values_alone: bool = False,
    ) -> float:
        """The largest difference between the compiled function and itself on some rows; NotFaithful for a large one."""
        worst = 0.0
        numbers = self._vector(theta, traced.program.parameters)
        for i in rows:
            if values_alone and self._has_the_value(traced, what, theta, tables, data, i):
                continue
            try:
                asked = "value" if values_alone else what
                expected, scales, again = self._itself(asked, theta, tables, data, i)
            except (DomainError, OverflowError):  # the compiled function says so in its own way
                continue
            found = self._answer_for(traced, what, numbers, tables, i)
            found = found[: len(expected)] if values_alone else found
            if len(found) != len(expected):
                raise self._other(i if data else None, f"{len(found)} numbers", f"{len(expected)}")
            for k, (got, wanted, scale) in enumerate(zip(found.tolist(), expected, scales, strict=True)):
                if not math.isfinite(wanted):
                    continue
                error = abs(got - wanted) / scale if scale else abs(got - wanted)
                if not error <= 1e-6:
                    spread = max([abs(other[k] - wanted) for other in again()], default=0.0)
                    if not abs(got - wanted) <= 64.0 * spread:  # rounding does not explain it
                        raise self._other(i if data else None, repr(got), repr(wanted))
                worst = max(worst, error)
        return worst

    def _answer_for(self, traced: _Traced, what: str, numbers: Any, tables: list[Table], i: int) -> Any:
        """What the compiled function gives for one example, or for the batch found inside."""
        arrays = [table.numbers[i : i + 1] for table in tables] if traced.data is None else [traced.data]
        with self._lock:
            runner = self._runner(traced, what)
            found = runner(numbers, arrays)[0]
        found = found[:-1] if runner.flagged else found
        return found[:, 0] if found.ndim > 1 else found  # one example, or a batch found inside: all columns alike

    def _has_the_value(
        self, traced: _Traced, what: str, theta: Any, tables: list[Table], data: Sequence[Any], i: int
    ) -> bool:
        """Whether the function's own value, computed without a record, is the compiled one to nine digits.

        Where it is not, the sizes of the numbers on the way have to tell whether rounding explains it.
        """
        try:
            y, _ = self._eager(theta, [_entry(x, i) for x in data], _factors(tables, i), record=False)
            wanted = [v.data if isinstance(v, Value) else float(v) for v in flatten(y)[0]]
        except (TypeError, AttributeError, ArithmeticError, ValueError):  # it is run again, with a record
            return False
        numbers = self._vector(theta, traced.program.parameters)
        found = self._answer_for(traced, what, numbers, tables, i).tolist()[: len(wanted)]
        return len(found) == len(wanted) and all(
            math.isclose(x, y, rel_tol=1e-9) for x, y in zip(found, wanted, strict=True)
        )

    def _other(self, row: int | None, got: str, wanted: str) -> NotFaithful:
        name = getattr(self.fn, "__name__", type(self.fn).__name__)
        where = "" if row is None else f" on row {row} of the data"
        return NotFaithful(
            f"{name} cannot be compiled: compiled it gives {got}{where}, run by itself {wanted}. It decides by "
            "something else than operations on Values, such as the type of a number (whole numbers reach the function "
            "itself as they are, and the compiled one as Values) or a number that changes from run to run: give what "
            "differs as an argument, a column of the data, and write where(c, x, y) for a choice; verify=False "
            "does not compare"
        )

    def _itself(
        self, what: str, theta: Any, tables: Sequence[Table], data: Sequence[Any], i: int
    ) -> tuple[list[float], list[float], Callable[[], list[list[float]]]]:
        """The function's own results on one example, and its gradient; for each the largest number on the way.

        And what gives some more of them, as they would be had each operation been rounded otherwise.
        """
        try:
            y, parameters = self._eager(theta, [_entry(x, i) for x in data], _factors(tables, i))
        except NotFaithful:
            raise
        except (TypeError, AttributeError):  # whole numbers and plain targets have no methods
            rows = [as_values(_floats(_entry(x, i))) for x in data]
            y, parameters = self._eager(theta, rows, _factors(tables, i))
        outputs = [v if isinstance(v, Value) else Value(v) for v in flatten(y)[0]]
        leaves: dict[Value, None] = {}
        order = topological_order(outputs, leaves=leaves)
        at = {v: v.data for v in leaves} | {v: v.data for v in outputs}
        at.update(zip(parameters, self._vector(theta, len(parameters)).tolist(), strict=True))
        sizes = map(abs, [*[at[v] for v in leaves], *[node.data for node in order]])
        size = max([x for x in sizes if x < math.inf], default=0.0)
        by = parameters if what == "value_and_gradient" else []

        def again() -> list[list[float]]:
            return _rounded_otherwise(order, outputs, at, by)

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

    def _eager(
        self, theta: Any, rows: list[Any], factor: Callable[[float], float] | None, record: bool = True
    ) -> tuple[Any, list[Value]]:
        with collector_paused(), recording(record), differentiable(), dropping.set(factor):
            if self.parameters is None:
                numbers, nest = flatten(_like(theta))
                parameters = [Value(x) for x in numbers]
                with variables(parameters):
                    return self.fn(nest(parameters), *rows), parameters
            with self._at(theta), training(self.parameters):
                return self.fn(*rows), self.parameters

    # --- What went wrong

    def _judge(self, what: str, traced: _Traced, theta: ArrayLike, numbers: Array, tables: list[Table]) -> None:
        """Raise what the function itself raises, for the first example for which it does.

        The checks of the program accuse and the function judges: exp(inf) is no error, and it raises the flag.
        """
        order = ORDER[what]
        arrays = [table.numbers for table in tables]
        if not tables:
            self._try(order, theta, [], 0)
            return
        for start in range(0, len(arrays[0]), AT_ONCE):
            some = [array[start : start + AT_ONCE] for array in arrays]
            with self._lock:
                runner = self._runner(traced, f"suspicions {order}")
                found, _ = runner(numbers, some)
            for i in sorted(_suspects(runner.checks, found)):
                self._try(order, theta, tables, start + i)

    def _try(self, order: int, theta: ArrayLike, tables: list[Table], i: int) -> None:
        """Run the scalar code on one example, with as many derivatives, to hear what it raises."""
        try:
            with self._run(order, theta, tables, i):
                pass
        except (ArithmeticError, ValueError) as error:
            raise NotFinite(str(error), i if _examples(tables) else None) from error

    @contextmanager
    def _run(self, order: int, theta: ArrayLike, tables: list[Table], i: int) -> Iterator[list[Value]]:
        """The results for one example, while the parameters are at theta; derivatives up to the order must exist."""
        if self.parameters is None:
            found, nest = flatten(_like(theta))
            leaves = [Value(x) for x in found]
            fn: Callable[..., Any] = partial(self.fn, nest(leaves))
            at: AbstractContextManager[None] = nullcontext()
        else:
            leaves, fn, at = self.parameters, self.fn, self._at(theta)
        with self._lock, at, recording(True), modes.wanted.set(leaves if order > 0 else ()):
            outputs = trace(fn, _example(tables, i), factor=_factors(tables, i)).outputs
            if order > 1:
                recorded = topological_order(outputs)
                for y in outputs:
                    adjoints(recorded, {y: 1.0}, create_graph=True)
            yield outputs

    def _not_finite(
        self, what: str, traced: _Traced, theta: ArrayLike, numbers: Array, tables: list[Table]
    ) -> NotFinite:
        """The error for a result that is infinite or NaN: it names the scalar operation and the example."""
        np = self._np
        arrays = [table.numbers for table in tables]
        asked = what if what in ("value_and_gradient", "jacobian") else "each"

        def bad(some: list[Any]) -> Any:
            """Of which examples, or whether of any of these."""
            runner = self._runner(traced, asked)
            found = runner(numbers[: traced.program.parameters], some)[0]
            return ~np.isfinite(found[:-1] if runner.flagged else found).all(axis=0)

        if not arrays:
            return self._explained(theta, tables, 0)
        if asked != "value_and_gradient" and bad(arrays).any():
            low = int(bad(arrays).argmax())
            return self._explained(theta, tables, low)
        asked = "value_and_gradient" if traced.shape == () else "jacobian"
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
        return self._explained(theta, tables, low)

    def _explained(self, theta: ArrayLike, tables: list[Table], i: int) -> NotFinite:
        """The error for one example of which the function itself says nothing: it names what was lost first."""
        example = i if _examples(tables) else None
        try:
            with self._run(0, theta, tables, i) as outputs:
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
        return Compiled(self.fn, self.parameters, self.backend, self.threads, self._verifies, self.argnums)

    __copy__ = partialmethod(__deepcopy__, None)

    def __reduce__(self) -> tuple[Any, ...]:
        name = getattr(self.fn, "__qualname__", "")
        if "<" in name and not _pickled_by_value():  # <lambda>, <locals>
            raise PicklingError(
                f"a compiled function is pickled with the name of its function, and {name} has none that another "
                "process could import: write the function with def at the top of a module (or use cloudpickle)"
            )
        return Compiled, (self.fn, self.parameters, self.backend, self.threads, self._verifies, self.argnums)


def _pickled_by_value() -> bool:
    """Whether cloudpickle or dill asks, which save functions that have no name."""
    frame = sys._getframe(1).f_back
    while frame is not None and not frame.f_globals.get("__name__", "").startswith(("cloudpickle", "dill", "joblib")):
        frame = frame.f_back
    return frame is not None


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


def _like(theta: Any) -> Any:
    """theta as the function meets it: an array as an array, a list as a list."""
    import numpy as np

    return np.asarray(theta, dtype=float) if hasattr(theta, "dtype") else np.asarray(theta, dtype=float).tolist()


def _nested(numbers: Sequence[float], shape: tuple[int, ...]) -> Any:
    import numpy as np

    return np.reshape(numbers, shape).tolist()


def _example(tables: Sequence[Table], i: int, copy: bool = False) -> list[Any]:
    """One example: arrays as arrays, lists as lists."""
    rows = [table.numbers[i] if table.arrays else table.numbers[i].tolist() for table in _examples(tables)]
    return [row.copy() if hasattr(row, "copy") else row for row in rows] if copy else rows


class _Mask(Table):
    """What `Dropout` multiplies with: a row of factors for each example.  given: their chances to be kept."""

    __slots__ = ()


def _examples(tables: Sequence[Table]) -> list[Table]:
    """The tables of the user's own data."""
    return [table for table in tables if not isinstance(table, _Mask)]


def _factors(tables: Sequence[Table], i: int) -> Callable[[float], float] | None:
    """What gives `Dropout` the factors of example i, one after the other; None where nothing was to be dropped."""
    if not tables or not isinstance(tables[-1], _Mask):
        return None
    factors = zip(tables[-1].given, tables[-1].numbers[i].tolist(), strict=True)

    def factor(keep: float) -> float:
        traced, x = next(factors, (None, 0.0))
        if traced != keep:
            raise NotFaithful(
                "the function cannot be compiled: run by itself it asks Dropout for other entries than when it was "
                "traced. How many may be dropped, and with which chance, must be the same for all examples"
            )
        return float(x)

    return factor


class _FactorsToCome:
    """The factors that `Dropout` will draw next by chance: from a copy of the state, which itself stays."""

    def __init__(self) -> None:
        self.rng: random.Random | None = None

    def __call__(self, keep: float) -> float:
        if self.rng is None:
            self.rng = random.Random()
            self.rng.setstate(random.getstate())
        return drawn_factor(keep, self.rng)


def _another(first: Sequence[Any], tables: Sequence[Table]) -> int | None:
    """An example that differs from a given one in every number, if there is one, or in as many as possible."""
    import numpy as np

    if not tables:
        return None
    count = len(tables[0].numbers)
    different = np.zeros(count)
    for table, entry in zip(tables, first, strict=True):
        different += (table.numbers != entry).reshape(count, -1).mean(axis=1)
    best = int(different.argmax())
    return best if different[best] > 0.0 else None


def _around(found: Trace, recorded: Sequence[Value], parameters: Sequence[Value]) -> list[Value]:
    """The Values that a result depends on and that are not of the trace; no derivative flows through stop_gradient."""
    stops = [node for node in recorded if node.op is ops.stop_gradient.operation]
    leaves: dict[Value, None] = {}
    order = topological_order(found.outputs, stops, leaves=leaves) if stops else recorded
    known = {*found.nodes, *found.inputs, *stops}
    around = {v for node in order for v in (node, *node.parents)}.union(found.outputs, parameters)
    return [v for v in around if v not in known]


def _number(x: Any) -> Any:
    return x if isinstance(x, Value) else float(x)


def _listed(values: Sequence[Value]) -> str:
    """Some Values by their labels, or numbers."""
    shown = [repr(v.label) if v.label else f"the Value {v.data!r}" for v in values[:3]]
    return ", ".join(shown) + ", ..." * (len(values) > 3)


def _these(values: Sequence[Value]) -> str:
    return "it" if len(values) == 1 else "them"


def _entry(x: Any, i: int) -> Any:
    """One entry of what was given as data, as the function itself meets it: whole numbers as they are."""
    if isinstance(x, Table):
        return x.as_given(i)
    if is_number(x):
        return as_values(x)
    x = x.to_numpy() if hasattr(x, "to_numpy") else x
    entry = x[i]
    return as_values(entry.item() if getattr(entry, "shape", None) == () else entry)


def _floats(x: Any) -> Any:
    if isinstance(x, (list, tuple)):
        return [_floats(v) for v in x]
    if isinstance(x, Value) or getattr(getattr(x, "dtype", None), "kind", "") == "O":
        return x
    return x.astype(float) if getattr(x, "shape", ()) != () else float(x)


def _safe(names: Sequence[str]) -> list[str]:
    """Names that do not clash with those of the text."""
    safe: list[str] = []
    for name in names:
        while name in RESERVED or name in safe:
            name += "_"
        safe.append(name)
    return safe


def _fold_loop(
    output: Value, recorded: Sequence[Value], parameters: Sequence[Value], numbers: Sequence[float]
) -> tuple[Program, Array] | None:
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
    theta = np.array(numbers)
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


#: operations that round nothing
EXACT = {
    "neg", "abs", "maximum", "minimum", "where", "relu", "step", "stop_gradient", "sign", "floor", "ceil", "round",
    ops.LESS.name, ops.LESS_EQUAL.name, ops.EQUAL.name,
}  # fmt: skip


def _rounded_otherwise(
    order: Sequence[Value], outputs: Sequence[Value], at: Mapping[Value, float], parameters: Sequence[Value]
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
                numbers[node] = out = out if node.op.name in EXACT else nudged(out)
                partials[node] = [nudged(p) for p in node.op.constant_partials or node.op.partials(out, *xs)]
        except (ArithmeticError, ValueError):  # over the edge of a domain
            continue
        flows = {outputs[0]: 1.0}
        for node in reversed(order) if parameters else ():
            if flow := flows.get(node, 0.0):
                for parent, partial in zip(node.parents, partials[node], strict=True):
                    flows[parent] = flows.get(parent, 0.0) + partial * flow
        found.append([*[numbers[v] for v in outputs], *[flows.get(p, 0.0) for p in parameters]])
    return found
