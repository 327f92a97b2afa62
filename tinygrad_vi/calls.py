"""A call of a function on fresh Values, and the sweeps over what it recorded: what `grad` and its kin are made of."""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterable, Sequence
from itertools import accumulate
from operator import index
from typing import Any

from tinygrad_vi import modes, tracing
from tinygrad_vi.checks import DomainError, counted, package
from tinygrad_vi.differentiated import check_constants, differentiable, differentiating, moved
from tinygrad_vi.elsewhere import explained
from tinygrad_vi.graph import below, check_recorded, first_not_finite, not_finite, topological_order
from tinygrad_vi.ops import stop_gradient
from tinygrad_vi.sparsity import Pattern, pattern, reached, transposed, users
from tinygrad_vi.sweep import adjoints, tangents
from tinygrad_vi.tracing import being_differentiated, differentiated_by, tracer_here
from tinygrad_vi.trees import LEAF, argument_names, check_flat, flatten, place, values_in, with_numbers
from tinygrad_vi.value import VALUES, Value, recording

F = Callable[..., Any]
Argnums = int | Sequence[int] | None
#: a Jacobian of so many rows or columns takes each sweep over the whole record; a larger one, over what it needs
FEW_SWEEPS = 4

# --- The arguments that are differentiated by -------------------------------------------------------------------------


class Selected:
    """A function of the arguments that are differentiated by; the other arguments are fixed.

    chosen: these arguments.  single: whether there is one, and results are nested like it and not in a tuple.  given:
    this one, or all of them.  names: gives their names.  others: the fixed arguments.
    """

    __slots__ = ("chosen", "f", "given", "names", "others", "single")

    def __init__(
        self,
        f: F,
        chosen: tuple[Any, ...],
        names: Callable[[], list[str]],
        single: bool | None = None,
        others: Any = (),
    ) -> None:
        self.f = f
        self.chosen = chosen
        self.names = names
        self.others = others
        self.single = len(chosen) == 1 if single is None else single
        self.given = chosen[0] if self.single else chosen

    def __call__(self, *chosen: Any) -> Any:
        """The function at these arguments."""
        return self.f(*chosen)

    def of(self, given: Any) -> Any:
        """The function at arguments nested like `given`."""
        return self.f(given) if self.single else self.f(*given)

    def called(self) -> str | list[str]:
        """The names of the arguments."""
        return self.names()[0] if self.single else self.names()

    def place(self, i: int) -> str:
        """How one writes leaf i of the arguments."""
        return place(self.given, i, self.called)

    def __str__(self) -> str:
        return ", ".join(map(repr, self.chosen))


def selected(f: F, argnums: Argnums, arguments: Sequence[Any], named: dict[str, Any]) -> Selected:
    """f as a function of the arguments that ``argnums`` names, of those that it was called with."""
    if argnums is None and not named:
        return Selected(f, tuple(arguments), lambda: argument_names(f, len(arguments)))
    if not arguments:
        got = f"{', '.join(named)} by name" if named else "none"
        raise TypeError(f"a derivative is by positional arguments, got {got}: write grad(f)(x)")
    places = places_of(argnums, len(arguments))

    def of_the_chosen(*chosen: Any) -> Any:
        every = list(arguments)
        for i, x in zip(places, chosen, strict=True):
            every[i] = x
        return f(*every, **named)

    def names() -> list[str]:
        every = argument_names(f, len(arguments))
        return [every[i] for i in places]

    chosen = tuple([arguments[i] for i in places])
    others = [x for i, x in enumerate(arguments) if i not in places], named
    single = len(chosen) == 1 if argnums is None else not isinstance(argnums, (tuple, list))
    return Selected(of_the_chosen, chosen, names, single, others)


def check_asked(f: Any, argnums: Any, name: str) -> None:
    """Raises TypeError for what is no function, or no places of arguments, before anything is called."""
    if not callable(f):
        raise TypeError(
            f"{name} takes a function and gives one, {name}(lambda x: x * x)(3.0), got {f!r:.60} of type "
            f"{type(f).__name__}: of a result that is recorded take y.backward() and then x.grad"
        )
    for given in () if argnums is None else argnums if isinstance(argnums, (tuple, list)) else (argnums,):
        _check_place(given, argnums)


def _check_place(given: Any, argnums: Any) -> None:
    if isinstance(given, bool) or not hasattr(given, "__index__"):
        raise TypeError(
            f"argnums is the place of an argument, 0 for the first, or a tuple of places, got {argnums!r:.60}; the "
            "point is given to the derivative, grad(f)(x)"
        )


def places_of(argnums: Argnums, count: int) -> list[int]:
    """The places, from 0 to count - 1, of the arguments that are differentiated by."""
    if argnums is None:
        return list(range(count))
    places = []
    for given in argnums if isinstance(argnums, (tuple, list)) else (argnums,):
        _check_place(given, argnums)
        i = index(given)
        if not -count <= i < count:
            got = counted(count, "positional argument")
            raise ValueError(f"argnums={argnums!r} names no argument: f was called with {got}")
        places.append(i % count)
    if len({*places}) < len(places) or not places:
        raise ValueError(f"argnums={argnums!r} should name each argument once, and at least one")
    return places


def with_signature_of(derivative: F, f: F) -> F:
    """The derivative, with the signature of its function, whose arguments it takes."""
    derivative.__wrapped__ = f  # type: ignore[attr-defined]
    return derivative


# --- The call ---------------------------------------------------------------------------------------------------------


class Call:
    """f called once on fresh Values, and the sweeps over what it recorded."""

    def __init__(self, at: Selected, has_aux: bool = False) -> None:
        xs, self.like_arguments = flatten(at.given, at.called)
        tracer = tracer_here.get()
        self.inputs = [_variable(x, tracer) for x in xs]
        # inside another derivative the results must be Values, to be differentiated again
        self.create_graph = differentiating() or any(isinstance(x, Value) for x in xs)
        if at.others and not self.create_graph:
            self.create_graph = bool(values_in(at.others))
        result, aux = self._run(at, self.inputs, has_aux)
        ys, self.nest_outputs = flatten(result, "the result of f")
        if tracer is None and xs and not VALUES.issuperset(map(type, ys)):
            self._check_constants(at, result, has_aux)
        self.outputs = [y if isinstance(y, Value) else Value(y) for y in ys]
        self.single = self.nest_outputs is LEAF
        self.order = topological_order(self.outputs, self.inputs)
        if not self.create_graph:  # another derivative may be around it that modes do not show: in another thread
            self.create_graph = bool(being_differentiated() and differentiated_by(below(self.outputs)))
        self.aux = with_numbers(aux, self.result) if has_aux else None

    def _run(self, at: Selected, inputs: list[Value], has_aux: bool) -> tuple[Any, Any]:
        """The result of f, and with ``has_aux`` its second part."""
        values = self.like_arguments.arguments(inputs)
        tracing.variables.update(inputs)
        try:
            with differentiable(), recording(True):  # a derivative inside no_grad() is still a derivative
                result = at.of(values)
        except (TypeError, ValueError, AttributeError) as error:
            better = explained(error)
            if better is error:
                raise
            raise better from error
        finally:
            tracing.variables.difference_update(inputs)
        if not has_aux:
            return result, None
        if not isinstance(result, (tuple, list)) or len(result) != 2:
            raise TypeError(f"with has_aux=True f returns a pair (result, anything else), got {result!r:.60}")
        return result[0], result[1]

    def _check_constants(self, at: Selected, result: Any, has_aux: bool) -> None:
        """Raise TypeError for a plain number in the result that changes with the arguments."""
        numbers = [x.data for x in self.inputs]

        def again(size: float) -> Any:
            return self._run(at, [Value(x) for x in moved(numbers, size)], has_aux)[0]

        check_constants("f", result, again)

    def gradient(self, y: Value) -> Any:
        """The derivatives of one output, nested like the arguments."""
        return self.like_arguments(self.pull_back({y: 1.0}))

    def only_output(self) -> Value:
        """The result, if it is one finite number that was recorded."""
        if not self.single:
            raise TypeError(
                f"f must return one number, got {len(self.outputs)} in a sequence: use jacobian, or has_aux=True for a "
                "pair (number, anything else)"
            )
        y = self.outputs[0]
        check_recorded(y)
        if not math.isfinite(y.data):
            raise not_finite(y)
        return y

    def pull_back(self, seeds: dict[Value, Any]) -> list[Any]:
        """The adjoint of each input, by a reverse sweep from these outputs."""
        self._follow(seeds)
        adjoint = adjoints(self.order, seeds, self.create_graph)
        return self._finite([self.result(adjoint.get(x, 0.0)) for x in self.inputs], seeds, "weight")

    def push_forward(self, seeds: dict[Value, Any]) -> list[Any]:
        """The tangent of each output, by a forward sweep from these inputs."""
        self._follow(seeds)
        tangent = tangents(self.order, seeds, self.create_graph)
        return self._finite([self.result(tangent.get(y, 0.0)) for y in self.outputs], seeds, "tangent")

    def rows(self) -> list[list[Any]]:
        """The derivatives of each output by all inputs."""
        m, n = len(self.outputs), len(self.inputs)
        if min(m, n) > FEW_SWEEPS:
            found = []
            for columns, numbers in zip(*self.entries(), strict=True):
                row = [self.result(0.0) for _ in self.inputs] if self.create_graph else [0.0] * n
                for j, derivative in zip(columns, numbers, strict=True):
                    row[j] = derivative
                found.append(row)
            return found
        if n < m:
            along = [self.push_forward({x: 1.0}) for x in self.inputs]
            return [list(row) for row in zip(*along, strict=True)] if along else [[] for _ in self.outputs]
        return [self.pull_back({y: 1.0}) for y in self.outputs]

    def entries(self) -> tuple[Pattern, list[list[Any]]]:
        """The inputs that each output depends on, and its derivatives by these."""
        self._follow({})
        number = {x: j for j, x in enumerate(self.inputs)}
        ancestors, left = [], FEW_SWEEPS * len(self.order)
        for y in self.outputs:
            ancestors.append(reached(y, lambda node: () if node in number else _through(node)))
            left -= len(ancestors[-1])
            if left < 0:
                return self._entries_of_large_results(number)
        place = {node: i for i, node in enumerate(self.order)}
        columns = [sorted([number[x] for x in number.keys() & some]) for some in ancestors]
        return columns, self._by_outputs(
            columns, [sorted(place.keys() & some, key=place.__getitem__) for some in ancestors]
        )

    def _by_outputs(self, columns: Pattern, orders: Iterable[list[Value]]) -> list[list[Any]]:
        """By a reverse sweep for each output, over the nodes that it is made of."""
        sweep = adjoints if self.create_graph else _adjoints
        rows = []
        for y, row, order in zip(self.outputs, columns, orders, strict=True):
            adjoint = sweep(order, {y: 1.0}, self.create_graph)
            found = [self.result(adjoint.get(self.inputs[j], 0.0)) for j in row]
            rows.append(self._finite(found, {}, "weight"))
        return rows

    def _entries_of_large_results(self, inputs: Container[Value]) -> tuple[Pattern, list[list[Any]]]:
        """Of outputs that share most of what they are made of: whichever sweeps are less work."""
        columns, by_inputs = pattern(self.order, _through, self.inputs, self.outputs)
        used_by = users(self.order, _through)

        def after(node: Value) -> Sequence[Value]:
            return used_by.get(node, ())

        def before(node: Value) -> Sequence[Value]:
            return () if node in inputs else _through(node)

        _, by_outputs = pattern([*reversed(self.order), *self.inputs], after, self.outputs, ())
        place = {node: i for i, node in enumerate(self.order)}

        def order(start: Value, following: Callable[[Value], Sequence[Value]]) -> list[Value]:
            return sorted(place.keys() & reached(start, following), key=place.__getitem__)

        if by_outputs <= by_inputs:
            return columns, self._by_outputs(columns, (order(y, before) for y in self.outputs))
        rows: list[list[Any]] = [[] for _ in self.outputs]
        for x, column in zip(self.inputs, transposed(columns, len(self.inputs)), strict=True):
            tangent = tangents(order(x, after), {x: 1.0}, self.create_graph)
            found = [self.result(tangent.get(self.outputs[i], 0.0)) for i in column]
            for i, derivative in zip(column, self._finite(found, {}, "tangent"), strict=True):
                rows[i].append(derivative)
        return columns, rows

    def sparse_matrix(self) -> Any:
        """The derivatives of each output by each input as a matrix of SciPy."""
        self._follow({})
        if self.create_graph:
            raise TypeError(
                "a sparse matrix holds numbers: inside another derivative, in a function that is compiled, or given "
                "Values, leave out sparse=True"
            )
        check_flat(self.like_arguments, "the arguments are")
        check_flat(self.nest_outputs, "the result is")
        csr_array = package("scipy.sparse", "a sparse derivative").csr_array
        columns, rows = self.entries()
        ends = [0, *accumulate(map(len, columns))]
        shape = len(self.outputs), len(self.inputs)
        numbers = [float(x) for row in rows for x in row]
        return csr_array((numbers, [j for row in columns for j in row], ends), shape=shape, dtype=float)

    def _follow(self, seeds: dict[Value, Any]) -> None:
        """Make the results Values if a seed is one, or if the sweep runs inside another derivative."""
        self.create_graph |= differentiating() or any(isinstance(seed, Value) for seed in seeds.values())

    def _finite(self, derivatives: list[Any], seeds: dict[Value, Any], kind: str) -> list[Any]:
        for d in derivatives:
            number = data_of(d)
            if not math.isfinite(number):
                for seed in map(data_of, seeds.values()):
                    if not math.isfinite(seed):
                        raise DomainError(f"a derivative is {number} because a {kind} is {seed}")
                culprits = [y for y in self.outputs if first_not_finite(y) is not None] or self.outputs
                raise not_finite(culprits[0], f"a derivative is {number}")
        return derivatives

    def result(self, x: Any) -> Any:
        """A Value where the result may be differentiated again, else a float."""
        if not self.create_graph:
            return float(data_of(x))
        if not isinstance(x, Value):
            return Value(x)
        return x if modes.recording.get() else stop_gradient(x)  # inside no_grad() f alone is recorded

    def like_outputs(self, numbers: Sequence[Any]) -> Any:
        """One number for each output, nested like the result of f."""
        return self.nest_outputs([self.result(x) for x in numbers])


def _adjoints(order: Sequence[Value], seeds: dict[Value, float], _: bool) -> dict[Value, float]:
    """`adjoints` of plain numbers: many short sweeps, in a third of the time."""
    adjoint = dict(seeds)
    for node in reversed(order):
        flow = adjoint.get(node, 0.0)
        if flow != 0.0:
            for parent, partial in zip(node.parents, node.local_grads, strict=True):
                adjoint[parent] = adjoint.get(parent, 0.0) + partial * flow
    return adjoint


def _through(node: Value) -> Sequence[Value]:
    """The operands by which the derivative of a node is not 0 everywhere."""
    constant = node.op.constant_partials if node.op is not None else None
    if constant and 0.0 in constant:
        return [parent for parent, partial in zip(node.parents, constant, strict=True) if partial != 0.0]
    return node.parents


def data_of(x: Any) -> Any:
    """The number of a Value; a number as it is."""
    return x.data if isinstance(x, Value) else x


def _variable(x: Any, tracer: Any) -> Value:
    """A new Value to differentiate by.  For a Value a copy, so that its uses elsewhere do not count."""
    if isinstance(x, Value):
        return x * 1.0
    variable = Value(x)
    if tracer is not None:  # it becomes a Traced one, which does not give its number
        tracer.recorded(variable)
    return variable
