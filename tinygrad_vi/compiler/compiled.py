"""compile(): a scalar function in, a compiled function out."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from functools import partialmethod
from importlib.util import find_spec
from pickle import PicklingError
from typing import TYPE_CHECKING, Any

from tinygrad_vi.checks import counted, whole_number
from tinygrad_vi.compiler.arguments import Arrangement, AsTheyAre, bound, mapped
from tinygrad_vi.compiler.errors import GivenValues
from tinygrad_vi.derivatives import value_and_grad
from tinygrad_vi.differentiated import differentiating
from tinygrad_vi.trees import Tree, check_flat, distinct_leaves, flatten, leaves_of
from tinygrad_vi.value import Value

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    from tinygrad_vi.compiler.bound import Bound
    from tinygrad_vi.compiler.explanation import Explanation
    from tinygrad_vi.compiler.numpy_source import Written
    from tinygrad_vi.compiler.stored import Loaded
    from tinygrad_vi.compiler.traced import Traced
    from tinygrad_vi.show.paper import Drawing

    Array = NDArray[np.float64]

BACKENDS = ("auto", "native", "numpy", "jax")


def compile(
    fn: Callable[..., Any],
    params: Iterable[Value] | None = None,
    *,
    argnums: int | Sequence[int] | None = None,
    backend: str = "auto",
    threads: int | None = None,
    devices: int | None = None,
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
    backend: "native" runs one kernel of Numba loops, "numpy" the readable text in `source`, which needs only NumPy (or,
    where all of it are single numbers, the same as plain Python, which is faster then); "auto" takes the native one
    where Numba is installed.  "jax" runs the text of ``source_for("jax")``, compiled by XLA for each question and size
    of a batch, which takes seconds (`Compiled.to_jax` says how many), in double precision, on JAX's default device.
    threads: of the native kernel, at most; by default as many as this process has cores.  From the size of work where
    they pay, each takes its part of the examples.  Results do not depend on it, to the last bit.
    devices: of the back end "jax": how many of JAX's devices share the examples of a batch, each a part, with one sum
    over all of them at the end; by default one.  Of a CPU there is one unless
    ``XLA_FLAGS=--xla_force_host_platform_device_count=8`` is set before JAX is imported.
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
    is not a Value, ValueError for an unknown backend, a number of threads or devices below 1, devices for another back
    end than "jax", or no parameters.

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
    devices = None if devices is None else whole_number(devices, "devices")
    if devices is not None and backend != "jax":
        raise ValueError(f'devices={devices} is for backend="jax", got backend={backend!r}; threads= is for "native"')
    parameters = None if params is None else _checked(params)
    if parameters is not None and argnums is not None:
        raise ValueError("params and argnums both say what to differentiate by: give one of them")
    return Compiled(fn, parameters, backend, threads, verify, argnums, devices)


def _checked(params: Any) -> list[Value]:
    values = params.parameters() if hasattr(params, "parameters") else params
    if not isinstance(values, Iterable):
        hint = (
            ": call it, model.parameters()" if callable(values) else ": write [w]" if isinstance(values, Value) else ""
        )
        raise TypeError(f"params is a list of Values, got {type(values).__name__}{hint}")
    parameters = distinct_leaves(leaves_of(values), "params holds")
    if not parameters:
        raise ValueError("compile needs parameters to differentiate by, got none; without params= it differentiates by "
                         "the first argument")  # fmt: skip
    return parameters


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
        step.hessian(theta, sparse=True)     SciPy's sparse matrix, of hessian_structure; the same of jacobian

    ``step.bind(X, Y)`` is the function of theta alone, for these data.  ``step.save(path)`` keeps the program in a
    file, for `load`.  ``step.clear()`` gives the memory back.

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
        params: list[Value] | None,
        backend: str,
        threads: int | None,
        verify: bool,
        argnums: int | Sequence[int] | None,
        devices: int | None,
    ) -> None:
        try:
            import numpy
        except ImportError:
            raise ImportError("compile needs NumPy: pip install numpy") from None
        from tinygrad_vi.compiler.answers import Answers  # these modules import NumPy
        from tinygrad_vi.compiler.arrangements import Arrangements
        from tinygrad_vi.compiler.traces import Traces
        from tinygrad_vi.compiler.user_function import UserFunction

        self._np = numpy
        self.fn, self.parameters, self.backend, self.threads = fn, params, backend, threads
        self.argnums, self.devices, self._verifies = argnums, devices, verify

        def make(fn: Callable[..., Any], params: list[Value] | None, argnums: Any = None) -> Compiled:
            return Compiled(fn, params, backend, threads, verify, argnums, devices)

        self._function = UserFunction(fn, params)
        self._traces = Traces(self._function, self._backend, threads, devices)
        self._arrangements = Arrangements(fn, params, argnums, make)
        self._answers = Answers(self._function, self._traces, verify, remembers=argnums is None)
        # each call asks these, and finds them at once
        self._as_before, self._unusual = self._answers.as_before, self._arrangements.unusual

    # --- Parameters

    @property
    def theta(self) -> Array:
        """The numbers of the parameters as they are now: a new array of shape (P,)."""
        return self._np.array([p.data for p in self._function.needs_parameters("theta")])

    def assign(self, theta: ArrayLike) -> None:
        """Write numbers back into the parameters."""
        from tinygrad_vi.compiler.examples import vector

        parameters = self._function.needs_parameters("assign")
        numbers = vector(theta, len(parameters))
        if not self._np.isfinite(numbers).all():
            raise ValueError("assign takes finite numbers; nothing was changed")
        for p, x in zip(parameters, numbers.tolist(), strict=True):
            p.data = x

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
                answer = self._answers.ask("value", theta, data)
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
                answer = self._answers.ask("value_and_gradient", theta, data)
            found, shape, _ = answer
        except GivenValues as given:
            arguments = given.arguments or (theta, *data)
            places, single = self._arrangements.places(arguments)
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
        found, _, traced = self._answers.ask("each", theta, data)
        results: Array = found.T.reshape(-1, *traced.shape)
        return results if mapped(data) else results[0]

    def examples(self, data: Sequence[Any]) -> tuple[Array, Tree]:
        """The results of each example of a function without parameters, (N, results), and the tree of those of one."""
        found, _, traced = self._answers.ask("each", self._np.zeros(0), data)
        return found.T, traced.nest

    def jacobian(self, theta: Any, *data: Any, sparse: bool = False, **named: Any) -> Any:
        """The derivatives of each result by the parameters, for each example: (N, *shape of the result, P).

        Without data there is no axis for the examples.  Take residuals to `scipy.optimize.least_squares` with it.

        It costs what its entries cost, of which only those are computed that can differ from 0.  With ``sparse`` they
        come as a `scipy.sparse.csr_array` of shape (results, P), or (N * results, P) for N examples, one below the
        other.  Their places are those of `jacobian_structure`, whatever the numbers are.  Raises TypeError for results
        or parameters that have no order of their own, such as a dictionary, and ImportError without SciPy.
        """
        answer = None if named else self._as_before("jacobian", theta, data)
        if answer is None:
            if named or self._unusual(theta, data):
                core, arrangement, theta, data = self._arrange(theta, data, named)
                if core is not self:
                    if sparse:
                        return core.jacobian(arrangement.flat(theta), *data, sparse=True)
                    return arrangement.like(core.jacobian(theta, *data))
            answer = self._answers.ask("jacobian", theta, data)
        found, shape, traced = answer
        matrix = traced.matrix("jacobian", len(found))
        if sparse:
            return matrix.sparse(_flat_numbers(found, shape, traced.nest))
        rows = (found.T if found.dtype == object else matrix.dense(found)).reshape(-1, *traced.shape, *shape)
        return rows if mapped(data) else rows[0]

    def jacobian_structure(self, theta: Any, *data: Any, **named: Any) -> tuple[Any, Any]:
        """Rows and columns of the entries of ``jacobian(..., sparse=True)``, row by row, as IPOPT asks for them.

        The pattern is that of the traced program, and needs no numbers: an entry belongs to it where the result is
        computed from the parameter, though the derivative be 0 here or everywhere, as that of ``0.0 * x``.  A `where`
        has the entries of both branches, a `take` those of all entries of its table.  It is the same for all calls with
        data of one shape, as long as nothing changes that the function reads elsewhere; then it is traced again.

        >>> step = compile(lambda x: [x[0] * x[1], x[2] ** 2], backend="numpy")
        >>> rows, columns = step.jacobian_structure([1.0, 2.0, 3.0])
        >>> rows.tolist(), columns.tolist()
        ([0, 0, 1], [0, 1, 2])
        """
        if named or self._unusual(theta, data):
            core, arrangement, theta, data = self._arrange(theta, data, named)
            if core is not self:
                return core.jacobian_structure(arrangement.flat(theta), *data)
        traced, matrix, N = self._answers.matrix("jacobian", theta, data)
        _check_flat(self._np.shape(theta) if self.parameters is None else (), traced.nest)
        rows = matrix.rows + matrix.shape[0] * self._np.arange(N)[:, None]
        return rows.ravel(), self._np.tile(matrix.columns.astype(int), N)

    def jvp(self, theta: Any, v: Any, *data: Any) -> tuple[Any, Any]:
        """The mean and its derivative along v: J v, in the shape of the result."""
        if self._unusual(theta, data):
            core, _, theta, v, data = self._arrange_with_vector(theta, v, data)
            if core is not self:
                return core.jvp(theta, v, *data)
        found, _, traced = self._answers.ask("directional", theta, data, v)
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
        found, shape, _ = self._answers.ask("curvature", theta, data, v)
        return found.reshape(shape) if shape else _number(found[0])

    def hessian(self, theta: Any, *data: Any, sparse: bool = False, **named: Any) -> Any:
        """The Hessian of the mean, of shape (P, P), or the shape of theta twice.

        It costs what its entries cost, of which only those are computed that can differ from 0.  With ``sparse`` they
        come as a `scipy.sparse.csr_array` of shape (P, P), both triangles, in places that are the same whatever the
        numbers are: see `hessian_structure`.  Raises TypeError for parameters that have no order of their own, such as
        a dictionary, and ImportError without SciPy.

        >>> step = compile(lambda x: (x[0] * x[1] - x[2]) ** 2 + x[3] ** 4, backend="numpy")
        >>> step.hessian([1.0, 2.0, 3.0, 0.0]).tolist()
        [[8.0, 2.0, -4.0, 0.0], [2.0, 2.0, -2.0, 0.0], [-4.0, -2.0, 2.0, 0.0], [0.0, 0.0, 0.0, 0.0]]
        """
        answer = None if named else self._as_before("hessian", theta, data)
        if answer is None:
            if named or self._unusual(theta, data):
                core, arrangement, theta, data = self._arrange(theta, data, named)
                if core is not self:
                    if sparse:
                        return core.hessian(arrangement.flat(theta), *data, sparse=True)
                    return arrangement.twice(core.hessian(theta, *data))
            answer = self._answers.ask("hessian", theta, data)
        found, shape, traced = answer
        matrix = traced.matrix("hessian", len(found))
        if sparse:
            return matrix.sparse(_flat_numbers(found, shape, traced.nest))
        square = found if found.dtype == object else matrix.dense(found)
        return square.reshape(shape + shape) if shape else _number(square.ravel()[0])

    def hessian_structure(self, theta: Any, *data: Any, **named: Any) -> tuple[Any, Any]:
        """Rows and columns of the lower triangle of ``hessian(..., sparse=True)``, row by row, as IPOPT asks for them.

        The numbers that belong to them are ``scipy.sparse.tril(H, format="csr").data``.  An entry belongs to the
        pattern where two parameters meet in anything but sums; all else is said at `jacobian_structure`.

        >>> step = compile(lambda x: x[0] * x[1] + 3.0 * x[2] + x[3] ** 2, backend="numpy")
        >>> rows, columns = step.hessian_structure([1.0, 2.0, 3.0, 4.0])
        >>> rows.tolist(), columns.tolist()
        ([1, 3], [0, 3])
        """
        if named or self._unusual(theta, data):
            core, arrangement, theta, data = self._arrange(theta, data, named)
            if core is not self:
                return core.hessian_structure(arrangement.flat(theta), *data)
        traced, matrix, _ = self._answers.matrix("hessian", theta, data)
        _check_flat(self._np.shape(theta) if self.parameters is None else (), traced.nest)
        rows, columns = matrix.triangle
        return rows.astype(int), columns.astype(int)

    def bind(self, *data: Any, **named: Any) -> Bound:
        """The function of theta alone, for these data, which are copied and laid out once.

        For optimisers and samplers, which ask thousands of times about the same data.

        >>> w = Value(0.5)
        >>> step = compile(lambda x, t: (w * x - t) ** 2, params=[w], backend="numpy")
        >>> error = step.bind([1.0, 2.0, 3.0], [2.0, 4.0, 6.0])
        >>> error([0.5]), error.grad([0.5]).tolist()
        (10.5, [-14.0])

        Raises TypeError for Values among the data, and for a function that was compiled with argnums.
        """
        from tinygrad_vi.compiler.bound import Bound

        if self.argnums is not None:
            raise TypeError(
                "bind takes the data behind the first argument, theta; this function was compiled with argnums="
                f"{self.argnums!r}: compile it without, functools.partial(f, ...) for the other arguments"
            )
        if named:
            behind = bound(self.fn, (*[None] * (self.parameters is None), *data), named)
            data = behind[self.parameters is None :]
        return Bound(self, data)

    def save(self, path: str | Path, *, methods: Sequence[str] | None = None) -> Path:
        """Keep the program in a file, for another process that starts it in milliseconds: see `load`.

        It is the program of the data last seen, as tables of numbers and names: there is no code in the file.  What the
        function read elsewhere is kept as it is now.  methods: what can be asked, of value, value_and_grad, each, hvp
        and jvp; by default the first three, or those of them that there are for several results.  Returns the path.

        Raises ValueError where nothing has been traced, for a method that there is not, for Dropout in training and for
        operations of your own.
        """
        from tinygrad_vi.compiler.stored import save

        traced = self._traces.known()
        if isinstance(self._traces.last, type(self._traces)):
            raise ValueError("a program is saved for a vector theta, and data; these arguments were arranged otherwise")
        if not traced.holds():
            raise ValueError("something that the function reads has changed since: call it once more, then save it")
        if methods is None:
            methods = ("value", "value_and_grad", "each") if traced.shape == () else ("value", "each")
        theta = None if self.parameters is None else self.theta.tolist()
        return save(traced, path, methods, theta)

    @staticmethod
    def load(path: str | Path, *, threads: int | None = None) -> Loaded:
        """The program in a file that `save` has written: it answers without the function.

        Raises ValueError for a damaged file and for one of another version.
        """
        from tinygrad_vi.compiler.stored import load

        return load(path, None if threads is None else whole_number(threads, "threads"))

    def clear(self) -> None:
        """Forget all traces, programs and arrays: the memory is free, and the next call traces the function anew."""
        with self._function.lock:
            self._answers.known.clear()
            self._traces.clear()
            self._arrangements.clear()

    def verify(self, theta: ArrayLike, *data: Any, rows: int = 3) -> float:
        """Run the function itself on some rows of the data, drawn by chance, and compare value and gradient.

        The function is called as `fit` calls it, on Values: floats as Values, whole numbers as they are; both with one
        mask of `Dropout`, which is not drawn from the module `random`.  Returns the largest difference, relative to the
        largest number on the way.  Raises NotFaithful, with the row and both numbers, when one is above 1e-6.

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
        return self._answers.verify(theta, data, rows)

    # --- In other systems

    def to_jax(self, asked: str = "value_and_grad") -> Callable[..., Any]:
        """The program as a pure function of JAX, for the data last seen: (theta, X, y) -> (value, gradient).

        jit it, vmap it, differentiate it, shard it, export it, hand it to Optax: it is made of jax.numpy alone.  theta
        is one vector, or has the shape of the first argument; X and y are arrays of shape (N, ...), for any N, under
        jit with a symbol for N too.

        asked: "value_and_grad"; "value", the mean alone; "each", the results of each example, (N, *shape).

        Precision: that of theta.  JAX makes float32 of everything until ``jax.config.update("jax_enable_x64", True)``.

        JAX cannot raise.  Where the function itself would raise, or a check of the compiled one (a logarithm of 0, a
        look-up beyond its table), every result is NaN, with "each" every result of that example.

        Derivatives that JAX takes of it, by X or once more by theta, are those of the table, conventions at corners
        included (a second derivative at a corner, which does not exist, may be that of the other side).  XLA rewrites
        as if floats were real numbers, (x - 1e16) + 1 as x - 1e16 or x / 3 as x * (1/3), and takes numbers below
        2.2e-308 for 0: an exact tie may turn to one side, and numbers beyond 1e+-150 may leave the range on the way.

        XLA compiles it at the first jitted call.  That took, on two cores, 0.4 s for 50 lines of `source_for` ("jax"),
        1.5 s for 280, 40 s for 1,200; above 500 lines a warning says what to expect.  Steps that repeat in a text of
        more than 150 lines become `jax.lax.scan`: a Kalman filter of 100 steps has 69 lines then, and takes a second.
        On a CPU the native back end is mostly faster: this is the way to GPUs, many machines and JAX's own tools.

        Raises ValueError before the first call, for Dropout in training mode, where what the function reads has
        changed since the last call, for an operation of your own without ``numpy=``; TypeError for arguments that are
        not one vector, and for a gradient of several results; ImportError without JAX.

        >>> w = Value(0.5, "w")
        >>> step = compile(lambda x, t: (w * x - t) ** 2, params=[w], backend="numpy")
        >>> step.value_and_grad(step.theta, [1.0, 2.0, 3.0], [2.0, 4.0, 6.0])[0]
        10.5
        >>> import jax                                                              # doctest: +SKIP
        >>> jax.jit(step.to_jax())(step.theta, X, t)                                # doctest: +SKIP
        (Array(10.5, dtype=float32), Array([-14.], dtype=float32))
        """
        from tinygrad_vi.compiler.jax_function import to_jax

        with self._function.lock:  # a question adds nodes to the form
            return to_jax(self._one_vector("to_jax"), asked, self._function.name)

    def to_torch(self) -> Callable[..., Any]:
        """The mean as a function of PyTorch: (theta, X, y) -> a tensor with one number, to call backward() on.

        It runs this compiled function, on the CPU and in double precision, with all its checks and errors; the result
        and the gradient are tensors of the dtype and on the device of theta.  X and y are tensors, arrays or lists.

        Raises TypeError for a theta that is no tensor, or data that require grad; RuntimeError for a second derivative
        (``step.hvp`` has it); ImportError without PyTorch.

        >>> import torch                                                            # doctest: +SKIP
        >>> theta = torch.tensor(step.theta, requires_grad=True)                    # doctest: +SKIP
        >>> step.to_torch()(theta, X, y).backward()                                 # doctest: +SKIP
        """
        from tinygrad_vi.compiler.exports.torch_function import to_torch

        return to_torch(self)

    def export(self, path: str | Path, *, asked: str = "value_and_grad", dtype: str = "float64") -> Path:
        """Write the program into a file of another system, which the end of its name says; for the data last seen.

        model.c: one function in C99 that needs math.h alone, with a line for each scalar operation.  It is for small
        programs: gcc -O2 took 0.7 s for one of 337 parameters and a minute for one of 2,410.  It has the file's name:
        ``void model(const double *theta, size_t n, const double *x, ..., double *value, double *gradient)``.
        model.stablehlo: what `jax.export` writes, for CPU, CUDA and TPU and for any number of examples, each a row:
        ``jax.export.deserialize(content).call(theta, X, y)`` with X of shape (N, numbers of an example) and y of shape
        (N, 1).  Needs the packages jax and flatbuffers.
        model.onnx: a graph of ONNX's operators (opset 17) for onnxruntime and its kin, for any number of examples, each
        a row as above.  Inputs and outputs have names: theta and those of the arguments; value and gradient, or results
        (an argument that is called like one of these gets a _ behind its name).  Operations that ONNX lacks, or that
        onnxruntime has in single precision alone, are composed of others.  Needs the package onnx.

        asked, and all that is raised: as in `to_jax`; NaN stands where the function itself would raise.  dtype: all
        floats are "float64" or "float32"; a program in C has double precision.  Returns the path, which is written
        whole or not at all.
        """
        from tinygrad_vi.compiler.exports.files import export

        with self._function.lock:
            return export(self._one_vector("export"), path, asked, dtype, self._function.name)

    def _one_vector(self, caller: str) -> Traced:
        """The trace that was used last; TypeError where its function was called with other arguments than a vector."""
        if self._traces.arranged:
            raise TypeError(
                f"{caller} gives a function of one vector theta, and this one was called with arguments of another "
                "kind: write it as a function of one array, compile(lambda theta, x, y: ...), or of params=..."
            )
        return self._traces.known()

    # --- What it became

    @property
    def source(self) -> str:
        """The readable NumPy text of `value_and_grad` for the data last seen (of `each`, for several results)."""
        return self.written.text

    def source_for(self, system: str) -> str:
        """The same program as text for another system: "numpy", "jax" or "c", which `export` writes into a file."""
        if system not in ("numpy", "jax", "c"):
            raise ValueError(f"system is numpy, jax or c, got {system!r}")
        if system == "numpy":
            return self.source
        traced = self._traces.known()
        if system == "c":
            from tinygrad_vi.compiler.exports.files import c_of

            return c_of(traced, "each" if traced.main == "each" else "value_and_grad", "compiled")
        from tinygrad_vi.compiler.jax_source import jax_source

        return jax_source(traced.ask(traced.main), traced.names, "results" if traced.main == "each" else traced.main)

    @property
    def written(self) -> Written:
        """The same text, with where in it each node of the program stands."""
        from tinygrad_vi.compiler.numpy_source import written

        traced = self._traces.known()
        return written(traced.ask(traced.main), traced.names, "results" if traced.main == "each" else traced.main)

    def draw(self, *example: Any, **options: Any) -> Drawing:
        """The arrays and operations it became, as boxes; with one example, beside the scalars they were made of.

        See `tinygrad_vi.show.draw_matrices` and `draw_both`.
        """
        from tinygrad_vi.show import draw_both, draw_matrices

        return draw_both(self, *example, **options) if example else draw_matrices(self, **options)

    def explain(self) -> Explanation:
        """What became of the scalar code: nodes, instructions, work, back end, and the time of each pass."""
        from tinygrad_vi.compiler.explanation import explain

        return explain(self._traces.known())

    @property
    def takes_data(self) -> bool:
        """Whether the function has arguments besides the parameters."""
        return len(self._function.arguments) > (self.parameters is None)

    def __repr__(self) -> str:
        by = (
            ("derivatives by its first argument" if self.argnums is None else f"argnums={self.argnums!r}")
            if self.parameters is None
            else counted(len(self.parameters), "parameter")
        )
        count = self._shapes()
        traced = f"traced for {counted(count, 'shape')}" if count else "not traced yet"
        return (
            f"<compiled {self._function.name}({', '.join(self._function.arguments)}): {by}, {self._backend}, {traced}>"
        )

    def _shapes(self) -> int:
        """For how many shapes of data there is a trace, whichever way the arguments were given."""
        return len(self._traces.by_key) + sum(compiled._shapes() for compiled in self._arrangements.made())

    @property
    def _backend(self) -> str:
        if self.backend != "auto":
            return self.backend
        return "numpy" if find_spec("numba") is None else "native"

    # --- The arguments

    def _arrange(
        self, theta: Any, data: Sequence[Any], named: dict[str, Any]
    ) -> tuple[Compiled, Arrangement | AsTheyAre, Any, tuple[Any, ...]]:
        """What answers, how its arguments are arranged, theta and the data."""
        core, arrangement, theta, data = self._arrangements.arrange(theta, data, named)
        return self._left_to(core), arrangement, theta, data

    def _arrange_with_vector(
        self, theta: Any, v: Any, data: Sequence[Any]
    ) -> tuple[Compiled, Arrangement | AsTheyAre, Any, Any, tuple[Any, ...]]:
        """The same where a vector stands behind the last argument that is differentiated by."""
        core, arrangement, theta, v, data = self._arrangements.arrange_with_vector(theta, v, data)
        return self._left_to(core), arrangement, theta, v, data

    def _left_to(self, core: Compiled | None) -> Compiled:
        """What answers; if it is another compiled function, its text is shown from now on."""
        if core is None:
            return self
        self._traces.last = core._traces
        return core

    def _leave_to_the_function(self, theta: Any, data: Sequence[Any], named: dict[str, Any]) -> None:
        """Inside a derivative the function may know Values from elsewhere, ``lambda x: w * x``: let it record them."""
        if self.parameters is None and differentiating():
            raise GivenValues("theta", bound(self.fn, (theta, *data), named) if named else (theta, *data))

    def _recorded_mean(self, given: GivenValues) -> Callable[..., Any]:
        """The mean over the examples, run by the function itself, which records: for Values."""
        if self.parameters is not None:
            raise given

        from tinygrad_vi.compiler.recorded import recorded_mean

        return recorded_mean(self.fn, self._arrangements.places)

    # --- Copies and pickles

    def __deepcopy__(self, memo: Any) -> Compiled:  # the function knows these very parameters
        return Compiled(*self._facts())

    __copy__ = partialmethod(__deepcopy__, None)

    def __reduce__(self) -> tuple[Any, ...]:
        name = getattr(self.fn, "__qualname__", "")
        if "<" in name and not _pickled_by_value():  # <lambda>, <locals>
            raise PicklingError(
                f"a compiled function is pickled with the name of its function, and {name} has none that another "
                "process could import: write the function with def at the top of a module (or use cloudpickle)"
            )
        return Compiled, self._facts()

    def _facts(self) -> tuple[Any, ...]:
        """What it was made with."""
        return (
            self.fn, self.parameters, self.backend, self.threads, self._verifies, self.argnums, self.devices,
        )  # fmt: skip


def _pickled_by_value() -> bool:
    """Whether cloudpickle or dill asks, which save functions that have no name."""
    frame = sys._getframe(1).f_back
    while frame is not None and not frame.f_globals.get("__name__", "").startswith(("cloudpickle", "dill", "joblib")):
        frame = frame.f_back
    return frame is not None


def _number(x: Any) -> Any:
    return x if isinstance(x, Value) else float(x)


def _flat_numbers(found: Any, theta: tuple[int, ...], nest: Tree) -> Any:
    """The numbers of a sparse matrix; TypeError where there are Values, or no order of its rows or columns."""
    if found.dtype == object:
        raise TypeError(
            "a sparse matrix holds numbers, and this derivative depends on Values by which a derivative is being taken "
            "around it: leave out sparse=True"
        )
    _check_flat(theta, nest)
    return found


def _check_flat(theta: tuple[int, ...], nest: Tree) -> None:
    if len(theta) > 1:
        import numpy as np

        check_flat(flatten(np.zeros(theta))[1], "the first argument is")
    check_flat(nest, "the result is")
