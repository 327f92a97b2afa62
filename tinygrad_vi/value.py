"""Value: a number that remembers how it was made.

Each operation on Values records one node: the number it gave, its operands (``parents``) and the partial derivative
by each of them (``local_grads``).  `Value.backward` walks that record once, from the result to the leaves, and by the
chain rule adds to each node's ``grad`` what flows in from the nodes made of it:

    adjoint of a parent  +=  partial of the node by that parent  *  adjoint of the node

Nodes hold facts and refer to their parents only, never back, so a graph has no reference cycles: it is freed at once
when its last node is dropped.
"""

from __future__ import annotations

import gc
import math
import operator
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from contextvars import ContextVar
from functools import cache
from numbers import Real
from threading import local
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn
from weakref import ref

from tinygrad_vi import checks, floats, functions, modes, ops
from tinygrad_vi.checks import DomainError, number
from tinygrad_vi.rows import Function, Operation, domain_error
from tinygrad_vi.truth import FALSE, TRUE, Truth

if TYPE_CHECKING:
    from tinygrad_vi.show.page.stepper import Page
    from tinygrad_vi.show.paper import Drawing
    from tinygrad_vi.show.tapes.derivation import Derivation

new = object.__new__

#: The grad of a node that no backward pass has reached.  Drawings tell it from a computed 0.0 by identity.
NOT_COMPUTED = float("0.0")


class _Unrecorded(tuple[float, ...]):
    """No partial derivatives, because nothing was recorded: equal to the () of a leaf, and told from it by identity."""

    __slots__ = ()

    def __reduce__(self) -> str:
        return "UNRECORDED"


#: The local_grads of a result computed inside `no_grad`.
UNRECORDED = _Unrecorded()

#: the settings of `modes.recording` that are open, in any thread: none, most of the time
_switched = modes.recording.open
_traced_somewhere = modes.tracing.open
_is_recording = modes.recording.get


def recording(on: bool) -> AbstractContextManager[None]:
    """Switch recording on or off for a while, for this thread or task."""
    return modes.recording.set(on)


@contextmanager
def collector_paused() -> Iterator[None]:
    """Pause the cyclic collector while many nodes are made: they form no cycles, and it would walk them all."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def being_traced() -> bool:
    """Whether a function is being traced, to be compiled, by this thread or task."""
    return modes.tracing.get() is not None


def _ask_condition() -> None:
    if _traced_somewhere and being_traced():
        raise _noted(
            "a traced Value cannot be a condition: only the branch taken in this one run would be compiled. Write "
            "where(c, x, y) for `x if c else y`, c being a comparison such as a > 0 or a != 0; (a > 0) & (b > 0), |, ~ "
            "for and, or, not and for a < b < c; maximum, minimum for max, min; tinygrad_vi.arrays.array(xs) for "
            "np.array(xs) where NumPy compares entries"
        )


def no_grad() -> AbstractContextManager[None]:
    """Compute without recording: results made inside are leaves, and cost no memory for a graph.

    While a function is compiled, a result made inside is a `stop_gradient`: its number is still that of each example.
    It holds for the thread or asyncio task that says so, and in a generator while the generator runs.  A context
    manager and a decorator.

    >>> with no_grad():
    ...     y = Value(3.0) * 2.0
    >>> y, y.parents
    (Value(data=6.0, grad=0.0), ())
    """
    return modes.Switch(modes.recording, False)


# --- While a function is traced ---------------------------------------------------------------------------------------

#: what watches the function that this thread or task traces: see `tinygrad_vi.compiler.trace`
tracer_here: ContextVar[Any] = ContextVar("tinygrad_vi_tracer", default=None)
#: numbers that leaves have in this thread or task alone, while a function is run at another point
numbers_here: ContextVar[dict[Value, float]] = ContextVar("tinygrad_vi_numbers", default={})  # noqa: B039  # never changed

#: rooms of the package that take numbers out of Values for other ends than to compute with them
_OUTSIDE = ("training", "optim", "show", "course", "demo", "__main__")
_ours: dict[str, bool] = {}


def of_the_engine(frame: FrameType) -> bool:
    """Whether code of this package runs in the frame, and not of the user or another library."""
    name = frame.f_globals.get("__name__") or ""
    known = _ours.get(name)
    if known is None:
        package, _, room = name.partition(".")
        known = _ours[name] = package == "tinygrad_vi" and not room.startswith(_OUTSIDE)
    return known


def refuse_in_a_trace(what: str, noted: bool = True) -> NoReturn:
    """Raise the error for a traced Value that would leave the record; noted, unless eager code raises there too."""
    text = (
        f"a traced Value {what}: the function is run once, and what it decides by one example's number would hold for "
        "all. Write exp(v) of tinygrad_vi for math.exp(v), where(c, x, y) for a choice, maximum and minimum for a "
        "bound, take(table, i) for a look-up, and stop_gradient(v) for a number to compute with but not to "
        "differentiate"
    )
    raise _noted(text) if noted else TypeError(text)


def _noted(text: str) -> TypeError:
    """The error of a refusal, which the tracer raises again if the function catches it and goes another way."""
    error, tracer = TypeError(text), tracer_here.get()
    if tracer is not None:
        tracer.refusal = tracer.refusal or error
    return error


# --- What is differentiated by ----------------------------------------------------------------------------------------

#: the Values that functions are being differentiated by at the moment, in all threads: whoever holds one is called by
#: such a function, whatever its own thread and modes are
variables: set[Value] = set()


def being_differentiated() -> bool:
    """Whether anything is differentiated by, in whatever thread."""
    return bool(variables or modes.trained.get())


def differentiated_by(nodes: Iterable[Value]) -> list[Value]:
    """Those of some nodes that are differentiated by around the code that asks."""
    trained = modes.trained.get()
    return [v for v in nodes if v in variables or v in trained]


def below(outputs: Sequence[Value]) -> list[Value]:
    """All that results are made of, leaves first, and themselves."""
    leaves: dict[Value, None] = {}
    order = topological_order(outputs, leaves=leaves)
    return [*leaves, *order]


# --- Recording --------------------------------------------------------------------------------------------------------


def _node(op: Operation, data: float, parents: tuple[Value, ...], local_grads: Sequence[float]) -> Value:
    node = new(Value)  # `Value(...)` would check again what is known here: 1.3 times slower
    node.data = data
    node.grad = NOT_COMPUTED
    node._label = ""
    node.op = op
    node.parents = parents
    node.local_grads = local_grads
    return node


def _constant(x: float) -> Value:
    """``Value(x)`` for a float, in half the time."""
    node = new(Value)
    node.data = x
    node.grad = NOT_COMPUTED
    node.label = ""
    node.op = None
    node.parents = node.local_grads = ()
    return node


def _unrecorded(data: float) -> Value:
    """A result inside of `no_grad`."""
    node = new(Value)
    node.data = data
    node.grad = NOT_COMPUTED
    node._label = ""
    node.op = None
    node.parents = ()
    node.local_grads = UNRECORDED
    return node


def _by_mode(op: Operation, data: float, parents: tuple[Value, ...], xs: Sequence[float]) -> Value:
    """The node where recording was switched, by this thread or another one; the partials only if they are kept."""
    tracer = tracer_here.get()
    if tracer is None and not _is_recording():
        return _unrecorded(data)
    node = _node(op, data, parents, op.constant_partials or op.partials(data, *xs))
    return node if tracer is None else _traced(node, tracer)


def _traced(node: Value, tracer: Any) -> Value:
    """A new node, of which the tracer takes note."""
    tracer.recorded(node)
    if _is_recording():
        return node
    # the function wants no gradient of it, but its number for each example: a constant would be that of one example
    stopped = new(Value)
    stopped.data, stopped.grad, stopped._label = node.data, NOT_COMPUTED, ""
    stopped.op, stopped.parents, stopped.local_grads = ops.stop_gradient.operation, (node,), (0.0,)
    tracer.recorded(stopped)
    return stopped


def _failed(op: Operation, parents: tuple[Value, ...]) -> Value:
    """What a failed operation comes to: its value where only the derivative was missing and is not wanted."""
    if not modes.recording.get() or not _derivative_is_wanted(parents):
        with suppress(ArithmeticError, ValueError):  # the value may be missing too
            data = op.value(*[v.data for v in parents])
            tracer = tracer_here.get()
            if tracer is None and not _is_recording():
                return _unrecorded(data)
            node = _node(op, data, parents, (math.nan,) * len(parents))
            return node if tracer is None else _traced(node, tracer)
    raise domain_error(op, parents) from None


def _derivative_is_wanted(parents: tuple[Value, ...]) -> bool:
    """Whether a missing derivative is an error: not while a function is traced, nor where no wanted leaf is."""
    leaves = modes.wanted.get()
    if leaves is None:
        return not being_traced()
    below = {*parents, *[v for node in topological_order(parents) for v in node.parents]}
    return not below.isdisjoint(leaves)


def _text(label: Any, wanted: str, advice: str) -> str:
    if not isinstance(label, str):
        raise TypeError(f"{wanted}, got {label!r:.60} of type {type(label).__name__}. {advice}")
    return str(label)


NUMBER_AND_LABEL = "Value takes a number and a label, which is a text"
OWN_OPERATIONS = (
    "How a Value was made is recorded by operators and functions, and cannot be said by hand: its gradient would be 0. "
    "For an operation of your own write @operation(partials=lambda out, x: ...) above a function of numbers, for a "
    "whole function @custom_derivative(...); both are in tinygrad_vi"
)


def _micrograds(read: Callable[[Value], Any], name: str, doc: str) -> property:
    """One of the names by which scripts written for micrograd read the record."""

    def refuse(_: Value, __: Any) -> NoReturn:
        raise AttributeError(f"{name} is not assigned. {OWN_OPERATIONS}")

    return property(read, refuse, doc=doc)


class Elsewhere:
    """An attribute that scripts written for PyTorch ask for, and that nothing here has: the error says what to write.

    For ``hasattr`` it is not there, and one's own attribute may have its name.
    """

    def __init__(self, advice: str) -> None:
        self.advice = advice

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, thing: Any, owner: type) -> NoReturn:
        raise AttributeError(f"{owner.__name__!r} object has no attribute {self.name!r}: {self.advice}")


def _operator(function: Function) -> tuple[Callable[[Value, Any], Value], Callable[[Value, Any], Value]]:
    """The methods ``x op y`` and its reflection for one row.  These are nine nodes in ten, hence no shared `record`."""
    op = function.operation
    value, partials, constant = op.value, op.partials, op.constant_partials

    def forward(self: Value, other: Any) -> Value:
        if not isinstance(other, Value):
            if not isinstance(other, (float, int, Real)):  # float first: asking the abstract class is slow
                _advice(other, op.symbol)
                return NotImplemented  # type: ignore[no-any-return]
            other = _constant(other) if other.__class__ is float else Value(other)
        x, y = self.data, other.data
        try:
            out = value(x, y)
            if _switched:
                return _by_mode(op, out, (self, other), (x, y))
            slopes = constant or partials(out, x, y)
        except ArithmeticError:
            return _failed(op, (self, other))
        node = new(Value)  # as `_node` does, without the call
        node.data = out
        node.grad = NOT_COMPUTED
        node.label = ""
        node.op = op
        node.parents = (self, other)
        node.local_grads = slopes
        return node

    def reflected(self: Value, other: Any) -> Value:
        if isinstance(other, (float, int, Real)):
            return forward(_constant(other) if other.__class__ is float else Value(other), self)
        _advice(other, op.symbol)
        return NotImplemented  # type: ignore[no-any-return]

    return forward, reflected


def _method(function: Function) -> Callable[[Value], Value]:
    """The method ``v.tanh()`` for one row; also what ``np.tanh`` calls on an object array."""
    op = function.operation
    value, partials, constant = op.value, op.partials, op.constant_partials

    def method(self: Value) -> Value:
        x = self.data
        try:
            out = value(x)
            if _switched:
                return _by_mode(op, out, (self,), (x,))
            slopes = constant or partials(out, x)
        except (ArithmeticError, ValueError):
            return _failed(op, (self,))
        node = new(Value)
        node.data = out
        node.grad = NOT_COMPUTED
        node.label = ""
        node.op = op
        node.parents = (self,)
        node.local_grads = slopes
        return node

    method.__name__ = method.__qualname__ = op.name
    method.__doc__ = op.doc
    return method


def _comparison(
    compare: Callable[[float, float], bool], op: Operation, swapped: bool = False
) -> Callable[[Value, Any], Any]:
    """``x < y`` by number; while a function is traced a `Condition`, by the row of the comparison."""

    def method(self: Value, other: Any) -> Any:
        if isinstance(other, Value):
            y = other.data
        elif isinstance(other, (float, int, Real)):
            y = other if other.__class__ is float else number(other, "a comparison")
        else:
            return NotImplemented
        if _traced_somewhere and being_traced():
            return _condition(op, other, self) if swapped else _condition(op, self, other)
        return TRUE if compare(self.data, y) else FALSE

    return method


def _condition(op: Operation, *operands: Any) -> Condition:
    found: Any = Value.record(op, *operands)
    found.__class__ = Condition  # from Traced
    return found  # type: ignore[no-any-return]


@cache
def _arrays() -> Any:
    """The room that imports NumPy; NumPy asks for it."""
    from tinygrad_vi import arrays

    return arrays


def _advice(other: Any, sign: str) -> None:
    """Say what to write where an operand has no arithmetic and could not bring it."""
    if isinstance(other, (list, tuple)):
        raise TypeError(
            f"a Value {sign} a {type(other).__name__} has no meaning: write [v {sign} x for x in xs], or make an array "
            f"of it, v {sign} np.array(xs)"
        )


class Value:
    """One number of a computation, with its derivative.

    data: the number, a float.  grad: d(output)/d(this), filled by `backward`.  op, parents, local_grads: the operation
    that made it, its operands and the partial derivative by each; None and () for a leaf.  label: a name for people.

    Operators take Values, ints, floats and NumPy scalars on either side.  Comparisons, ``==`` among them, and truth go
    by the number; while a function is traced, comparisons are conditions for `where`.  The hash goes by identity, so
    that Values can be keys.  A Value never turns into a float by itself: ``math.exp(v)`` fails loudly instead of
    cutting the graph.  Attributes of your own (``p.momentum = 0.0``) are fine.

    Raises TypeError for what is not a real number.

    >>> a, b = Value(2.0), Value(-3.0)
    >>> c = a * b + a
    >>> c.backward()
    >>> c.data, a.grad, b.grad
    (-4.0, -2.0, 2.0)
    """

    __slots__ = ("__dict__", "_label", "data", "grad", "local_grads", "op", "parents")

    def __init__(self, data: Any, label: str = "", *operands: Any) -> None:
        if operands:  # micrograd's Value(data, _children, _op)
            raise TypeError(f"Value takes a number and a label, got {2 + len(operands)} arguments. {OWN_OPERATIONS}")
        self.data: float = data if data.__class__ is float else number(data, "Value")
        self.grad: Any = NOT_COMPUTED
        self.op: Operation | None = None
        self.parents: tuple[Value, ...] = ()
        self.local_grads: Sequence[float] = ()
        self._label = label if label.__class__ is str else _text(label, NUMBER_AND_LABEL, OWN_OPERATIONS)

    @property
    def label(self) -> str:
        """Its name, for people."""
        return self._label

    @label.setter
    def label(self, label: str) -> None:
        self._label = _text(label, "a label is a text", "Write v.label = str(...)")

    @staticmethod
    def record(op: Operation, *operands: Any) -> Value:
        """Apply an operation to operands of which some are Values, and remember it."""
        parents = tuple([v if isinstance(v, Value) else Value(v) for v in operands])
        xs = [v.data for v in parents]
        try:
            out = op.value(*xs)
            if _switched:
                return _by_mode(op, out, parents, xs)
            return _node(op, out, parents, op.constant_partials or op.partials(out, *xs))
        except (ArithmeticError, ValueError):
            return _failed(op, parents)

    # -- the sweep -----------------------------------------------------------------------------------------------------

    def backward(self, *seeds: Any, create_graph: bool = False, retain_graph: bool = True) -> None:  # noqa: ARG002
        """Add d(self)/d(leaf) to the grad of every leaf; set the grad of every node in between.

        Leaves accumulate from call to call, as in PyTorch, until their grad is set to 0.  What one call adds is summed
        up by itself and added once, and the nodes between start from 0 each time: calling twice gives the leaves
        exactly twice the gradient.  The derivatives are those at the recorded point, whatever was assigned to a
        ``data`` since: after assigning run the computation again.

        With ``create_graph`` the leaves' grads are Values, to be differentiated again.  Such a grad refers to the graph
        that it was made of, and so to its own leaf: only the garbage collector frees this circle, or setting the grad
        to 0.0.  `derivatives.grad` does the same and leaves nothing behind on the nodes.  ``retain_graph`` is
        PyTorch's: here the record is kept either way.

        When an error is raised, or the sweep is interrupted, every leaf keeps the grad it had.
        Raises DomainError when this value is infinite or NaN; it names the first node that was.  A gradient that
        overflows on the way back is infinite, as + and * overflow: `first_not_finite` finds its cause.
        Raises TypeError when the grad of a leaf was set to something that is no number, such as None, and for seeds;
        ValueError when this value was computed inside `no_grad`, or with ``create_graph`` when a ``data`` was changed
        after recording.
        """
        if seeds:
            raise TypeError(
                f"backward() starts with the gradient 1.0 of this very Value, got {seeds[0]!r:.60}: for c times "
                "that write (c * y).backward(), for a second derivative y.backward(create_graph=True)"
            )
        if not create_graph and tracer_here.get() is not None:
            refuse_in_a_trace(
                "has no backward(), which leaves one example's derivatives as numbers; write grad(f)(x), of the package"
            )
        if not math.isfinite(self.data):
            raise not_finite(self)
        check_recorded(self)
        if create_graph:
            self._differentiable_backward()
            return
        before: dict[Value, Any] = {}
        order = topological_order([self], before=before)
        _check_grads(before)
        try:
            for node in before:
                node.grad = 0.0
            for node in order:
                node.grad = 0.0
            self.grad = 1.0
            for node in reversed(order):
                adjoint, parents = node.grad, node.parents
                if adjoint == 0.0:  # nothing flows, not even to an infinite partial: half of a ReLU network is silent
                    continue
                if len(parents) == 2:  # the rule below, unrolled: making no iterator halves the sweep's time
                    (x, y), (dx, dy) = parents, node.local_grads
                    x.grad += dx * adjoint
                    y.grad += dy * adjoint
                elif len(parents) == 1:
                    parents[0].grad += node.local_grads[0] * adjoint
                else:
                    for parent, partial in zip(parents, node.local_grads, strict=True):
                        parent.grad += partial * adjoint
            if before:
                _set_grads(before, [g + leaf.grad for leaf, g in before.items()])
        except BaseException:  # Ctrl-C too
            for leaf in _leaves_of(self):
                leaf.grad = before.get(leaf, 0.0)
            raise

    def _differentiable_backward(self) -> None:
        leaves = _leaves_of(self)
        before = {leaf: leaf.grad for leaf in leaves}
        _check_grads(before)
        order = topological_order([self])
        check_unchanged(order)
        with recording(True):  # inside no_grad() too: this is what was asked for
            adjoint = adjoints(order, {self: 1.0}, create_graph=True)
            totals = [as_value(plus(g, adjoint[leaf])) for leaf, g in before.items()]
        for node in order:
            node.grad = float(getattr(adjoint[node], "data", adjoint[node]))
        _set_grads(leaves, totals)

    # -- operators -----------------------------------------------------------------------------------------------------

    __add__, __radd__ = _operator(ops.add)
    __sub__, __rsub__ = _operator(ops.sub)
    __mul__, __rmul__ = _operator(ops.mul)
    __truediv__, __rtruediv__ = _operator(ops.div)
    __mod__, __rmod__ = _operator(ops.mod)
    __floordiv__, __rfloordiv__ = _operator(ops.floordiv)
    __neg__ = _method(ops.neg)
    __abs__ = _method(ops.abs_)
    __floor__, __ceil__ = _method(ops.floor), _method(ops.ceil)  # of math.floor and math.ceil

    def __trunc__(self) -> Value:
        return ops.where(self, self.floor(), self.ceil())  # type: ignore[no-any-return]

    def __divmod__(self, other: Any) -> tuple[Value, Value]:
        return self // other, self % other

    def __rdivmod__(self, other: Any) -> tuple[Value, Value]:
        return other // self, other % self

    def __round__(self, digits: int | None = None) -> Value:
        if digits is not None:
            raise TypeError(
                f"round(v) rounds a Value to a whole number; to show {digits!r} digits write f'{{v:.{digits!r}f}}', to "
                f"compute with them round(v * {10**digits if isinstance(digits, int) else 100}) / "
                f"{10**digits if isinstance(digits, int) else 100}"
            )
        return self.round()

    def __pos__(self) -> Value:
        return self

    def __pow__(self, exponent: Any) -> Value:
        if isinstance(exponent, Value):
            return Value.record(ops.pow_.operation, self, exponent)
        if not isinstance(exponent, (float, int, Real)):
            _advice(exponent, "**")
            return NotImplemented
        op = ops.power(number(exponent, "an exponent"))
        x = self.data
        try:
            out = op.value(x)
            if _switched:
                return _by_mode(op, out, (self,), (x,))
            return _node(op, out, (self,), op.constant_partials or op.partials(out, x))
        except (ArithmeticError, ValueError):
            return _failed(op, (self,))

    def __matmul__(self, other: Any) -> NoReturn:
        raise checks.ShapeError(checks.NO_VECTOR)

    __rmatmul__ = __matmul__

    def __rpow__(self, base: Any) -> Value:
        if not isinstance(base, Real):
            return NotImplemented
        base = number(base, "a base")
        if not 0.0 <= base < math.inf:  # no derivative, or none that is finite
            return Value.record(ops.pow_.operation, base, self)
        return Value.record(ops.exponential(base), self)

    __lt__, __le__ = _comparison(operator.lt, ops.LESS), _comparison(operator.le, ops.LESS_EQUAL)
    __gt__ = _comparison(operator.gt, ops.LESS, swapped=True)
    __ge__ = _comparison(operator.ge, ops.LESS_EQUAL, swapped=True)
    __eq__ = _comparison(operator.eq, ops.EQUAL)  # of something else than a number: False

    def __ne__(self, other: object) -> Any:
        equal = self.__eq__(other)
        return equal if equal is NotImplemented else ~equal

    __hash__ = object.__hash__

    def __bool__(self) -> bool:
        _ask_condition()
        return self.data != 0.0

    def _no_condition(self, other: Any = None) -> NoReturn:  # noqa: ARG002
        raise TypeError(
            f"&, |, ^ and ~ combine conditions, and {_named(self)} is a number. They bind tighter than a comparison: "
            "write (x > 0) & (y > 0) and not x > 0 & y > 0; for a number that is not 0 write x != 0"
        )

    __and__ = __rand__ = __or__ = __ror__ = __xor__ = __rxor__ = __invert__ = _no_condition

    def __float__(self) -> NoReturn:
        if tracer_here.get() is not None:
            refuse_in_a_trace("is not turned into a float", noted=False)  # nor is any other
        raise TypeError(
            "a Value is not turned into a float, which would cut the graph without a word: write exp(v) of tinygrad_vi "
            "for math.exp(v), np.zeros(n, dtype=object) for an array that Values are put into, stop_gradient(v) to "
            "compute with the number alone; outside of what is differentiated the number is v.data"
        )

    __int__ = __float__  # before __trunc__

    # -- NumPy ---------------------------------------------------------------------------------------------------------

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        """What NumPy's elementwise functions mean, ``np.exp(v)``, ``array * v``: see `tinygrad_vi.arrays`."""
        return _arrays().elementwise(ufunc, method, inputs, options)

    def __array_function__(self, function: Any, types: Any, inputs: Any, options: Any) -> Any:
        """What NumPy's other functions mean, ``np.where(v > 0, v, 0)``: see `tinygrad_vi.arrays`."""
        return _arrays().function_of_arrays(function, inputs, options)

    def conjugate(self) -> Value:
        """The number itself, as it is real: ``np.var`` asks for it."""
        return self

    # every operation of one operand is a method too: v.tanh() is tanh(v)
    exp, expm1, log, log1p = _method(ops.exp), _method(ops.expm1), _method(ops.log), _method(ops.log1p)
    log2, log10, cbrt = _method(ops.log2), _method(ops.log10), _method(ops.cbrt)
    sqrt, sin, cos, tan = _method(ops.sqrt), _method(ops.sin), _method(ops.cos), _method(ops.tan)
    asin, acos, atan = _method(ops.asin), _method(ops.acos), _method(ops.atan)
    asinh, acosh, atanh = _method(ops.asinh), _method(ops.acosh), _method(ops.atanh)
    arcsin, arccos, arctan = asin, acos, atan  # the names NumPy asks an object for
    arcsinh, arccosh, arctanh = asinh, acosh, atanh
    sinh, cosh, tanh = _method(ops.sinh), _method(ops.cosh), _method(ops.tanh)
    sech, bell = _method(ops.sech), _method(ops.bell)
    erf, erfc, sigmoid, softplus = _method(ops.erf), _method(ops.erfc), _method(ops.sigmoid), _method(ops.softplus)
    erfinv, ndtri, relu = _method(ops.erfinv), _method(ops.ndtri), _method(ops.relu)
    silu, gelu, step = _method(ops.silu), _method(ops.gelu), _method(ops.step)
    softsign, sign = _method(ops.softsign), _method(ops.sign)
    floor, ceil = _method(ops.floor), _method(ops.ceil)
    round = rint = _method(ops.round_)
    stop_gradient = detach = _method(ops.stop_gradient)

    def hypot(self, other: Any) -> Value:
        """``hypot(v, other)``."""
        return ops.hypot(self, other)  # type: ignore[no-any-return]

    def exp2(self) -> Value:
        """``2**v``."""
        return 2.0**self

    def radians(self) -> Value:
        """A number of degrees in radians."""
        return self * (math.pi / 180.0)

    def degrees(self) -> Value:
        """A number of radians in degrees."""
        return self * (180.0 / math.pi)

    deg2rad, rad2deg = radians, degrees

    def fmod(self, other: Any) -> Value:
        """``np.fmod(v, other)``: what is left of v, with its own sign."""
        return _arrays().MEANING["fmod"](self, other)  # type: ignore[no-any-return]

    def fabs(self) -> Value:
        """``abs(v)``."""
        return abs(self)

    def atan2(self, other: Any) -> Value:
        """``atan2(v, other)``: the angle of the point whose height is v and whose width is other."""
        return ops.atan2(self, other)  # type: ignore[no-any-return]

    arctan2 = atan2

    def logaddexp(self, other: Any) -> Value:
        """``logaddexp(v, other)``."""
        return functions.logaddexp(self, other)  # type: ignore[no-any-return]

    def log_sigmoid(self) -> Value:
        """``log_sigmoid(v)``."""
        return functions.log_sigmoid(self)  # type: ignore[no-any-return]

    def ndtr(self) -> Value:
        """``ndtr(v)``."""
        return functions.ndtr(self)  # type: ignore[no-any-return]

    def exprel(self) -> Value:
        """``exprel(v)``."""
        return functions.exprel(self)  # type: ignore[no-any-return]

    def log_ndtr(self) -> Value:
        """``log_ndtr(v)``."""
        return functions.log_ndtr(self)  # type: ignore[no-any-return]

    def lgamma(self) -> Value:
        """``lgamma(v)``."""
        return functions.lgamma(self)  # type: ignore[no-any-return]

    def digamma(self) -> Value:
        """``digamma(v)``."""
        return functions.digamma(self)  # type: ignore[no-any-return]

    def selu(self) -> Value:
        """``selu(v)``."""
        return functions.selu(self)  # type: ignore[no-any-return]

    def mish(self) -> Value:
        """``mish(v)``."""
        return functions.mish(self)  # type: ignore[no-any-return]

    def hard_tanh(self, low: float = -1.0, high: float = 1.0) -> Value:
        """``hard_tanh(v, low, high)``."""
        return functions.hard_tanh(self, low, high)  # type: ignore[no-any-return]

    def leaky_relu(self, slope: float = 0.01) -> Value:
        """``leaky_relu(v, slope)``."""
        return functions.leaky_relu(self, slope)  # type: ignore[no-any-return]

    def elu(self, alpha: float = 1.0) -> Value:
        """``elu(v, alpha)``."""
        return functions.elu(self, alpha)  # type: ignore[no-any-return]

    def item(self) -> float:
        """The number, ``v.data``, as arrays of NumPy, PyTorch and JAX give theirs."""
        if tracer_here.get() is not None:
            refuse_in_a_trace("does not give its number, v.item()")
        return self.data

    # -- for people ----------------------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        if tracer_here.get() is not None:  # for people: who reads the number out of the text, meets the word
            return f"Value(data=traced at {_text_number(self)}{f', label={self.label!r}' if self.label else ''})"
        label = f", label={self.label!r}" if self.label else ""
        return f"Value(data={self.data}, grad={self.grad}{label})"

    def __format__(self, spec: str) -> str:
        if not spec:
            return repr(self)
        return "traced at " * (tracer_here.get() is not None) + format(_text_number(self), spec)

    _prev = _micrograds(lambda self: set(self.parents), "_prev", "The set of the operands, as in micrograd.")
    _children = _micrograds(lambda self: self.parents, "_children", "The operands.")
    _op = _micrograds(lambda self: self.op.symbol if self.op else "", "_op", 'How the operation is drawn: "+", "tanh".')
    _local_grads = _micrograds(lambda self: tuple(self.local_grads), "_local_grads", "The partial by each operand.")
    _backward = _micrograds(
        lambda self: lambda: _one_step_back(self), "_backward", "A function: one step of the sweep, as in micrograd."
    )

    numpy = Elsewhere("its number is v.data, a float")
    requires_grad = Elsewhere("every Value can be differentiated by; stop_gradient(v) is its number alone")
    grad_fn = Elsewhere("the operation that made it is v.op, its operands are v.parents")
    zero_grad = Elsewhere("write v.grad = 0.0, or optimizer.zero_grad() for all parameters")

    def draw(self, **options: Any) -> Drawing:
        """The computation graph as a picture: ``y.draw().save("graph.png")``.  See `tinygrad_vi.show.draw`."""
        from tinygrad_vi.show import draw

        return draw(self, **options)

    def derive(self, x: Value, **options: Any) -> Derivation:
        """The chain rule from this Value down to ``x``, written out.  See `tinygrad_vi.show.derive`."""
        from tinygrad_vi.show import derive

        return derive(self, x, **options)

    def step_through(self, **options: Any) -> Page:
        """A page that walks the graph forward and backward, step by step.  See `tinygrad_vi.show.step_through`."""
        from tinygrad_vi.show import step_through

        return step_through(self, **options)

    # -- copies and pickles: recursion over parents would end at a depth of some hundreds ------------------------------

    def __reduce__(self) -> tuple[Any, ...]:
        """The facts of this one node, and before them the nodes it was made of that are not saved yet.

        So pickle meets each node by itself, parents first, and keeps one of what several results share.  Grads and
        attributes come last: they may refer back to the node.
        """
        if tracer_here.get() is not None:
            refuse_in_a_trace("is not copied or pickled")
        if being_differentiated() and differentiated_by(below([self])):
            raise TypeError(
                f"{_named(self)} is pickled inside a derivative, which would be lost: what another process computes "
                "has no record here. Send it plain numbers, v.data, and take the derivative there; or compute it here"
            )
        facts = (_kind(self), self.data, self.label, self.op, self.parents, self.local_grads)
        bare, _saving.bare = _saving.bare, None
        if bare is self:
            return _rebuilt, facts
        session, token = _saving.session(), None
        if session is None or self in session.saved:  # then another pickler saved it, which is still there
            session = token = _Session()
            _saving.session = ref(session)
        leaves: dict[Value, None] = {}
        order = topological_order([self], leaves=leaves, entered=session.saved)
        not_saved = [leaf for leaf in leaves if leaf not in session.saved]
        session.saved.update(not_saved)
        *before, _ = *not_saved, *order
        states = [
            (node, None if node.grad is NOT_COMPUTED else node.grad, node.__dict__)
            for node in (*before, self)
            if node.grad is not NOT_COMPUTED or node.__dict__
        ]
        return _rebuilt_after, (token, [*map(_Bare, before), _Bare(None)] if before else (), *facts), states or None

    def __setstate__(self, states: list[tuple[Value, Any, dict[str, Any]]]) -> None:
        for node, grad, attributes in states:
            node.grad = NOT_COMPUTED if grad is None else grad
            if attributes:
                node.__dict__.update(attributes)

    def __copy__(self) -> Value:
        if tracer_here.get() is not None:
            refuse_in_a_trace("is not copied")
        if being_differentiated() and differentiated_by([self]):  # and not made of it
            return self._copy_that_depends()
        twin = _rebuilt(_kind(self), self.data, self.label, self.op, self.parents, self.local_grads)
        twin.grad = self.grad
        if self.__dict__:
            twin.__dict__.update(self.__dict__)
        return twin

    def __deepcopy__(self, memo: dict[int, Any]) -> Value:
        from copy import deepcopy

        if tracer_here.get() is not None:
            refuse_in_a_trace("is not copied")
        leaves: dict[Value, None] = {}
        order = topological_order([self], leaves=leaves)
        if being_differentiated() and differentiated_by([*leaves, *order]):
            memo[id(self)] = self._copy_that_depends()
            return memo[id(self)]  # type: ignore[no-any-return]
        originals = [node for node in (*leaves, *order) if id(node) not in memo]
        for node in originals:
            parents = tuple([memo[id(p)] for p in node.parents])
            memo[id(node)] = _rebuilt(_kind(node), node.data, node.label, node.op, parents, node.local_grads)
        for node in originals:
            copy = memo[id(node)]
            copy.grad = node.grad if node.grad.__class__ is float else deepcopy(node.grad, memo)
            if node.__dict__:
                copy.__dict__.update(deepcopy(node.__dict__, memo))
        return memo[id(self)]  # type: ignore[no-any-return]

    def _copy_that_depends(self) -> Value:
        """A Value of its own with this number, through which a derivative flows: dataclasses.asdict makes copies."""
        return self * 1.0


def _kind(node: Value) -> type[Value]:
    """Its class, whatever another thread that traces it has made of that for the while."""
    kind = type(node)
    return Value if kind in (Guarded, Traced, Condition) else kind


def _rebuilt(
    kind: type[Value],
    data: float,
    label: str,
    op: Operation | None,
    parents: tuple[Value, ...],
    local_grads: Sequence[float],
) -> Value:
    node = new(kind)
    node.data, node.grad, node._label = data, NOT_COMPUTED, label
    node.op, node.parents, node.local_grads = op, parents, local_grads
    return node


def _rebuilt_after(_session: Any, _before: Any, *facts: Any) -> Value:
    """The node, once the nodes it was made of are there."""
    return _rebuilt(*facts)


class _Session:
    """What one pickler has saved.  The pickler holds it, by saving it too, and with the pickler it goes."""

    __slots__ = ("__weakref__", "saved")

    def __init__(self) -> None:
        self.saved: set[Value] = set()

    def __reduce__(self) -> tuple[Any, ...]:
        return tuple, ()


class _Bare:
    """A node to be saved without its grad and attributes, which the result it was listed for brings later."""

    __slots__ = ("node",)

    def __init__(self, node: Value | None) -> None:
        self.node = node

    def __reduce__(self) -> tuple[Any, ...]:
        _saving.bare = self.node  # whose turn is next
        return _itself, (self.node,)


def _itself(x: Any) -> Any:
    return x


class _Saving(local):
    """What this thread is pickling: the session of the pickler, and the node that is to be saved bare."""

    session: Callable[[], _Session | None] = staticmethod(lambda: None)
    bare: Value | None = None


_saving = _Saving()


class Guarded(Value):
    """A leaf while a function is run at another point, or traced: its class is this one for so long.

    This thread or task sees the number of that point, all others its own.  A traced function that asks for the number
    is told so, if it is a parameter; otherwise the number is watched from then on.
    """

    __slots__ = ()

    @property
    def data(self) -> float:
        """The number."""
        tracer = tracer_here.get()
        if tracer is not None and not of_the_engine(sys._getframe(1)):
            tracer.read(self)
        number = numbers_here.get().get(self)
        return _own_number(self) if number is None else number

    @data.setter
    def data(self, x: float) -> None:
        if tracer_here.get() is not None:
            refuse_in_a_trace("keeps its number while it is traced: no other can be assigned")
        _set_own_number(self, x)


class Traced(Value):
    """An input or a node while a function is traced: its number and its hash are for the engine alone."""

    __slots__ = ()

    @property
    def data(self) -> float:
        """The number."""
        frame = sys._getframe(1)
        if frame.f_globals is not _HERE and not of_the_engine(frame) and tracer_here.get() is not None:
            refuse_in_a_trace("does not give its number, v.data or float(v)")
        return _own_number(self)  # type: ignore[no-any-return]

    @data.setter
    def data(self, x: float) -> None:  # noqa: ARG002
        refuse_in_a_trace("keeps its number: no other can be assigned")

    def __hash__(self) -> int:
        if not of_the_engine(sys._getframe(1)) and tracer_here.get() is not None:
            refuse_in_a_trace("is not looked up in a set or a dictionary, nor counted")
        return object.__hash__(self)

    __eq__ = Value.__eq__


def _truth_of(other: Any) -> Any:
    """A condition, or what has one: True, False; None for a number."""
    if isinstance(other, (Condition, Truth, bool)):
        return other
    return bool(other) if getattr(getattr(other, "dtype", None), "kind", "") == "b" and other.shape == () else None


def _combined(combine: Callable[[Any, Any], Any]) -> Callable[[Condition, Any], Any]:
    def method(self: Condition, other: Any) -> Any:
        truth = _truth_of(other)
        if truth is None:
            self._no_condition() if isinstance(other, Value) else None
            return NotImplemented
        found = combine(self, truth)
        found.__class__ = Condition
        return found

    return method


class Condition(Traced):
    """A comparison while a function is traced: 1 where it holds, else 0; for `where`, ``&``, ``|`` and ``~``."""

    __slots__ = ()
    __hash__ = Traced.__hash__

    __and__ = __rand__ = _combined(lambda x, y: x * y)  # type: ignore[assignment]
    __or__ = __ror__ = _combined(lambda x, y: ops.maximum(x, y))  # type: ignore[assignment]
    __xor__ = __rxor__ = _combined(lambda x, y: Value.record(ops.EQUAL, Value.record(ops.EQUAL, x, y), 0.0))  # type: ignore[assignment]

    def __invert__(self) -> Condition:  # type: ignore[override]
        return _condition(ops.EQUAL, self, 0.0)

    def __index__(self) -> int:  # (a, b)[x > 0]
        _ask_condition()
        return int(self.data)

    __int__ = __index__  # type: ignore[assignment]


_HERE = globals()
_own_number = Value.__dict__["data"].__get__
_set_own_number = Value.__dict__["data"].__set__


def dot(w: Iterable[Any], x: Iterable[Any], b: Any = 0.0) -> Any:
    """w[0]*x[0] + w[1]*x[1] + ... + b as one node: a neuron before its activation.

    Partials: x by w, w by x, 1 by b.  Plain floats give a float.  Raises ShapeError when w and x differ in length.

    >>> dot([Value(2.0), Value(3.0)], [5.0, 7.0], 1.0).data
    32.0
    """
    # The `dot` of functions would do.  Networks are made of this one node, and keeping w, x and b apart makes it twice
    # as fast.
    w = w if w.__class__ is list else checks.entries(w, "dot")
    x = x if x.__class__ is list else checks.entries(x, "dot")
    parents = (*w, *x, b)
    kinds = {*map(type, parents)}
    if kinds != ONLY_VALUES or len(w) != len(x):
        if len(w) != len(x):
            return functions.dot(w, x, b)
        if not kinds <= VALUES:
            if not w or not {*map(type, w)} <= VALUES:
                return functions.dot(w, x, b)
            try:
                x = [v if v.__class__ in VALUES else Value(v) for v in x]
                b = b if b.__class__ in VALUES else Value(b)
            except TypeError:  # another kind of number that records, or an error that `functions.dot` explains
                return functions.dot(w, x, b)
            parents = (*w, *x, b)
        u, v = _numbers_at_the_point(w), _numbers_at_the_point(x)
    else:
        u, v = [node.data for node in w], [node.data for node in x]
    data = floats.weighted_sum(u, v, b.data)
    if _switched:
        tracer = tracer_here.get()
        if tracer is not None:
            return _traced(_node(ops.dot_row.operation, data, parents, ops.dot_partials(u, v, b.data)), tracer)
        if not _is_recording():
            return _unrecorded(data)
    return _node(ops.dot_row.operation, data, parents, ops.dot_partials(u, v, b.data))


def _numbers_at_the_point(nodes: Iterable[Value]) -> list[float]:
    """``[node.data for node in nodes]``, in half the time for nodes of a trace."""
    here = numbers_here.get()
    return [here[node] if node.__class__ is Guarded and node in here else _own_number(node) for node in nodes]


ONLY_VALUES, ONLY_FLOATS = {Value}, {float}
VALUES = {Value, Guarded, Traced, Condition}


def _text_number(x: Value) -> float:
    return numbers_here.get().get(x, x.data)


# --- Walking the record -----------------------------------------------------------------------------------------------


def topological_order(
    outputs: Iterable[Value],
    inputs: Iterable[Value] = (),
    *,
    leaves: dict[Value, None] | None = None,
    before: dict[Value, Any] | None = None,
    entered: set[Value] | None = None,
) -> list[Value]:
    """Every recorded node the outputs depend on, each after its parents; leaves become keys of ``leaves``, if given.

    before: makes leaves ready for a sweep.  Their grads are 0.0, and those that are something else are put there.

    A depth-first search that keeps its own stack, so depth is limited by memory alone.  A node is entered once; below
    its parents it leaves itself and a None, which says that when they are done it is its turn.  The search goes no
    further than ``inputs``, which count as leaves; nor than what stands in ``entered``, to which it adds.
    """
    order: list[Value] = []
    entered = set() if entered is None else entered
    entered.update(inputs)
    stack: list[Any] = list(outputs)
    while stack:
        node = stack.pop()
        if node is None:
            order.append(stack.pop())
        elif node.parents:
            if node not in entered:
                entered.add(node)
                stack.append(node)
                stack.append(None)
                stack.extend(node.parents)
        elif before is not None:
            g = node.grad
            if g.__class__ is float and not g:
                node.grad = 0.0  # from now on it is computed
            else:
                before[node] = g
        elif leaves is not None:
            leaves[node] = None
    return order


def _one_step_back(node: Value) -> None:
    """Add to the grad of each operand what flows to it from this node's grad: backward() by hand, node by node."""
    check_recorded(node)
    for parent, slope in zip(node.parents, node.local_grads, strict=True):
        parent.grad += slope * node.grad


def check_recorded(output: Value) -> None:
    """Raise ValueError for a result that was computed inside `no_grad`: its derivatives are unknown, and not 0."""
    if output.local_grads is UNRECORDED:
        raise ValueError(
            f"{_named(output)} was computed inside no_grad(): nothing was recorded, so it has no derivatives. Compute "
            "it outside of no_grad(); if it is a variable of its own, make it one: Value(v.data)"
        )


def check_unchanged(nodes: Iterable[Value]) -> None:
    """Raise ValueError when an operation no longer follows from its operands: a ``data`` was changed after recording.

    Rules applied to the Values again, and pictures that write the arithmetic out, would mix old numbers with new ones.
    The first such operation of ``nodes``, which are recorded and in order of computation, is named with its numbers.
    """
    for node in nodes:
        op = node.op
        assert op is not None  # it was recorded
        xs = [v.data for v in node.parents]
        try:
            now = op.value(*xs)
            partials = op.constant_partials or op.partials(now, *xs)
        except (ArithmeticError, ValueError, TypeError):  # data may be anything now
            now, partials = math.nan, node.local_grads
        if not _same(now, node.data):
            what, now, then = "", now, node.data
        elif different := [pair for pair in zip(partials, node.local_grads, strict=True) if not _same(*pair)]:
            what, (now, then) = "a partial derivative of ", different[0]
        else:
            continue
        raise ValueError(
            f"the numbers were changed after the graph was recorded: {what}{op.name}({_operands(node)}) is {now!r}, "
            f"but {then!r} was recorded{' for ' + _named(node) if node.label else ''}; run the computation again"
        )


def _same(x: float, y: float) -> bool:
    """Whether two floats are the same, but for the last bits: a graph may come from a machine that rounds otherwise.

    A zero has its sign, and a NaN is the same as a NaN.
    """
    if x == y:
        return x != 0.0 or math.copysign(1.0, x) == math.copysign(1.0, y)
    return math.isclose(x, y, rel_tol=1e-14) or (x != x and y != y)


def _check_grads(grads: dict[Value, Any]) -> None:
    """Make the grads of leaves floats, or leave them Values of an earlier ``create_graph``; TypeError otherwise."""
    for leaf, g in grads.items():
        if g.__class__ is not float and not isinstance(g, Value):
            try:
                grads[leaf] = number(g, "grad")
            except TypeError:
                said = f"got {g!r:.60} for {_named(leaf)}"
                raise TypeError(
                    f"the grad of a leaf is not a number; set it to 0.0 before backward(), {said}"
                ) from None


def _leaves_of(output: Value) -> dict[Value, None]:
    leaves: dict[Value, None] = {}
    topological_order([output], leaves=leaves)
    return leaves


def _set_grads(nodes: Iterable[Value], grads: Iterable[Any]) -> None:
    for node, g in zip(nodes, grads, strict=True):
        node.grad = g


def as_value(x: Any) -> Value:
    """A number as a Value; a Value as it is."""
    return x if isinstance(x, Value) else Value(x)


def adjoints(order: Sequence[Value], seeds: dict[Value, Any], create_graph: bool = False) -> dict[Value, Any]:
    """The sweep of `backward` kept in a dictionary, for any seeds: the adjoint of each node that feeds a seeded one.

    ``create_graph`` applies the rules for the partials to the Values themselves instead of taking the numbers that
    were stored, so the adjoints are Values and can be differentiated.  Adjoints that are the same everywhere, such as
    d(x + y)/dx = 1, stay floats.
    """
    adjoint = dict(seeds)
    for node in reversed(order):
        if node not in adjoint:
            continue
        flow = adjoint[node]
        if flow.__class__ is float and flow == 0.0:  # as in `backward`, nothing flows
            for parent in node.parents:
                adjoint.setdefault(parent, 0.0)
            continue
        found = products(node, [flow] * len(node.parents), create_graph)
        for parent, part in zip(node.parents, found, strict=True):
            adjoint[parent] = plus(adjoint.get(parent, 0.0), part)
    return adjoint


def products(node: Value, flows: Sequence[Any], as_values: bool) -> list[Any]:
    """The node's partial by each operand times a flow of its own; by the row's rule where it has one for Values."""
    rule = node.op.flows if as_values and node.op is not None else None
    return [
        rule(flow, node, *node.parents)[i] if rule is not None and isinstance(flow, Value) else times(partial, flow)
        for i, (partial, flow) in enumerate(zip(partials_of(node, as_values), flows, strict=True))
    ]


def partials_of(node: Value, as_values: bool) -> Sequence[Any]:
    """The node's partial derivatives: the stored numbers, or the rule applied to Values."""
    if not as_values:
        return node.local_grads
    assert node.op is not None  # it stands in a topological order, so it was recorded
    return node.op.partials(node, *node.parents)  # type: ignore[no-any-return]


def times(x: Any, y: Any) -> Any:
    """x * y without recording a product by a constant 1 or 0.

    A partial that is 0 everywhere says that nothing depends on the operand: nothing flows, not even from an infinity.
    """
    for u, v in ((x, y), (y, x)):
        if isinstance(u, float) and isinstance(v, Value) and u in (0.0, 1.0):
            return v if u else u
    return x * y


def plus(x: Any, y: Any) -> Any:
    """x + y without recording a sum with a constant 0."""
    for u, v in ((x, y), (y, x)):
        if isinstance(u, float) and isinstance(v, Value) and u == 0.0:
            return v
    return x + y


def first_not_finite(output: Value) -> Value | None:
    """The first node, in the order of computation, whose value or partial derivatives are infinite or NaN."""
    for node in topological_order([output]) or [output]:
        for v in (*node.parents, node):
            if not math.isfinite(v.data) or not all(map(math.isfinite, v.local_grads)):
                return v
    return None


def not_finite(output: Value, found: str = "") -> DomainError:
    """The error that says what was found to be infinite or NaN, and which node was so first."""
    found = found or f"the result is {output.data}"
    culprit = first_not_finite(output)
    if culprit is None:
        return DomainError(
            f"{found}: it overflowed on the way back, though every value and partial derivative is finite"
        )
    named = f" (node {culprit.label!r})" if culprit.label else ""
    if culprit.op is None:
        return DomainError(f"{found} because the leaf{named} is {culprit.data}")
    partials = " with a partial derivative that is not finite" if math.isfinite(culprit.data) else ""
    return DomainError(
        f"{found}; it was first lost in {culprit.op.name}({_operands(culprit)}) = {culprit.data}{named}{partials}"
    )


def _operands(node: Value) -> str:
    shown = [f"{p.data!r}" + (f" (node {p.label!r})" if p.label else "") for p in node.parents[:4]]
    return ", ".join([*shown, "..."] if len(node.parents) > 4 else shown)


def _named(node: Value) -> str:
    return f"the Value {node.label!r}" if node.label else f"this Value ({node.data!r})"
