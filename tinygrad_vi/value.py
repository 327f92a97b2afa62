"""Value: a number that remembers how it was made.

Each operation on Values records one node: the number it gave, its operands (``parents``) and the partial derivative
by each of them (``local_grads``).  `Value.backward` walks that record once, from the result to the leaves, and by the
chain rule adds to each node's ``grad`` what flows in from the nodes made of it:

    adjoint of a parent  +=  partial of the node by that parent  *  adjoint of the node

Nodes hold facts and refer to their parents only, never back, so a graph has no reference cycles: it is freed at once
when its last node is dropped.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, suppress
from functools import cache
from numbers import Real
from typing import TYPE_CHECKING, Any, NoReturn

from tinygrad_vi import checks, copies, floats, functions, modes, ops
from tinygrad_vi.checks import number
from tinygrad_vi.conditions import EQUAL, LESS, LESS_EQUAL
from tinygrad_vi.elsewhere import OWN_OPERATIONS, Elsewhere, micrograds, no_such_argument, refuse_a_tensor
from tinygrad_vi.graph import (
    NOT_COMPUTED,
    UNRECORDED,
    below,
    check_recorded,
    check_unchanged,
    leaves_of,
    named,
    not_finite,
    topological_order,
)
from tinygrad_vi.rows import Function, Operation, domain_error
from tinygrad_vi.sweep import adjoints, plus
from tinygrad_vi.tracing import (
    being_traced,
    number_here,
    numbers_here,
    refuse_a_traced_condition,
    refuse_in_a_trace,
    traced_somewhere,
    tracer_here,
)
from tinygrad_vi.truth import FALSE, TRUE

if TYPE_CHECKING:
    from tinygrad_vi.show.page.stepper import Page
    from tinygrad_vi.show.paper import Drawing
    from tinygrad_vi.show.tapes.derivation import Derivation

# --- Recording: an operation on Values makes a node -------------------------------------------------------------------

#: empty unless someone, in any thread, has switched recording: so the operators below ask one question only
_switched = modes.recording.open
_is_recording = modes.recording.get

new = object.__new__


def _node(op: Operation, data: float, parents: tuple[Value, ...], local_grads: Sequence[float]) -> Value:
    """A recorded node.  `Value(...)` would check again what is known here: 1.3 times slower."""
    node = new(Value)
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
    node._label = ""
    node.op = None
    node.parents = node.local_grads = ()
    return node


def _operator(function: Function) -> tuple[Callable[[Value, Any], Value], Callable[[Value, Any], Value]]:
    """The methods ``x op y`` and ``y op x`` for one row.

    They, and `_method`, make nine nodes in ten: they do what `Value.record` and `_node` do without a call.
    """
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
        node = new(Value)
        node.data = out
        node.grad = NOT_COMPUTED
        node._label = ""
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
        node._label = ""
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
    """``x < y``: a `Truth`, by the numbers; while a function is traced a Condition, by the row of the comparison."""

    def method(self: Value, other: Any) -> Any:
        if isinstance(other, Value):
            y = other.data
        elif isinstance(other, (float, int, Real)):
            y = other if other.__class__ is float else number(other, "a comparison")
        else:
            return NotImplemented
        if traced_somewhere and being_traced():
            operands = (other, self) if swapped else (self, other)
            return _kinds().condition(op, *operands)
        return TRUE if compare(self.data, y) else FALSE

    return method


NUMBER_AND_LABEL = "Value takes a number and a label, which is a text"


class Value:
    """One number of a computation, with its derivative.

    data: the number, a float.  grad: d(output)/d(this), filled by `backward`.  op, parents, local_grads: the operation
    that made it, its operands and the partial derivative by each; None and () for a leaf.  label: a name for people.

    Operators take Values, ints, floats and NumPy scalars on either side.  Comparisons, ``==`` among them, and truth go
    by the number; while a function is traced, comparisons are conditions for `where`.  The hash goes by identity, so
    that Values can be keys.  A Value never turns into a float by itself: ``math.exp(v)`` raises an error, where a float
    would cut the graph.  You may assign attributes of your own (``p.momentum = 0.0``).

    Raises TypeError for what is not a real number.

    >>> a, b = Value(2.0), Value(-3.0)
    >>> c = a * b + a
    >>> c.backward()
    >>> c.data, a.grad, b.grad
    (-4.0, -2.0, 2.0)
    """

    __slots__ = ("__dict__", "_label", "data", "grad", "local_grads", "op", "parents")

    def __init__(self, data: Any, label: str = "", *operands: Any, **others: Any) -> None:
        if others:
            raise no_such_argument(next(iter(others)))
        if operands:  # micrograd's Value(data, _children, _op)
            raise TypeError(f"Value takes a number and a label, got {2 + len(operands)} arguments. {OWN_OPERATIONS}")
        self.data: float = data if data.__class__ is float else number(data, "Value")
        self.grad: Any = NOT_COMPUTED
        self.op: Operation | None = None
        self.parents: tuple[Value, ...] = ()
        self.local_grads: Sequence[float] = ()
        self._label = label if label.__class__ is str else checks.text(label, NUMBER_AND_LABEL, OWN_OPERATIONS)

    @property
    def label(self) -> str:
        """Its name: people read it in errors, formulas and drawings."""
        return self._label

    @label.setter
    def label(self, label: str) -> None:
        self._label = checks.text(label, "a label is a text", "Write v.label = str(...)")

    @staticmethod
    def record(op: Operation, *operands: Any) -> Value:
        """The node of an operation on operands of which at least one is a Value."""
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
        self._check_sweep(seeds, create_graph)
        if create_graph:
            self._differentiable_backward()
            return
        before: dict[Value, Any] = {}  # the leaves whose grad is not 0, with this grad
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
                if len(parents) == 2:  # as in `else`, without making an iterator: half the sweep's time
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
            for leaf in leaves_of(self):
                leaf.grad = before.get(leaf, 0.0)
            raise

    def _check_sweep(self, seeds: tuple[Any, ...], create_graph: bool) -> None:
        """Raise the error of `backward` for what cannot be swept back from."""
        if seeds:
            raise TypeError(
                f"backward() starts with the gradient 1.0 of this very Value, got {seeds[0]!r:.60}: for c times "
                "that write (c * y).backward(), for a second derivative y.backward(create_graph=True)"
            )
        if not create_graph and tracer_here.get() is not None:
            refuse_in_a_trace(
                "has no backward(), which leaves one example's derivatives as numbers; write grad(f)(x), of the package"
            )
        if isinstance(self.data, Value):
            _check_data(leaves_of(self))
        if not math.isfinite(self.data):
            raise not_finite(self)
        check_recorded(self)

    def _differentiable_backward(self) -> None:
        leaves = leaves_of(self)
        before = {leaf: leaf.grad for leaf in leaves}
        _check_grads(before)
        order = topological_order([self])
        check_unchanged(order)
        with recording(True):  # also inside no_grad(): create_graph asks for it
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
            refuse_a_tensor(base, "**")
            return NotImplemented
        base = number(base, "a base")
        if not 0.0 <= base < math.inf:  # no derivative, or none that is finite
            return Value.record(ops.pow_.operation, base, self)
        return Value.record(ops.exponential(base), self)

    __lt__, __le__ = _comparison(operator.lt, LESS), _comparison(operator.le, LESS_EQUAL)
    __gt__ = _comparison(operator.gt, LESS, swapped=True)
    __ge__ = _comparison(operator.ge, LESS_EQUAL, swapped=True)
    __eq__ = _comparison(operator.eq, EQUAL)  # of something else than a number: False

    def __ne__(self, other: object) -> Any:
        equal = self.__eq__(other)
        return equal if equal is NotImplemented else ~equal

    __hash__ = object.__hash__

    def __bool__(self) -> bool:
        refuse_a_traced_condition()
        return self.data != 0.0

    def _no_condition(self, other: Any = None) -> NoReturn:  # noqa: ARG002
        raise TypeError(
            f"&, |, ^ and ~ combine conditions, and {named(self)} is a number. They bind tighter than a comparison: "
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

    # and so are functions of operations
    log_sigmoid, ndtr, log_ndtr = functions.log_sigmoid, functions.ndtr, functions.log_ndtr
    exprel, lgamma, digamma = functions.exprel, functions.lgamma, functions.digamma
    selu, mish, hard_tanh = functions.selu, functions.mish, functions.hard_tanh
    leaky_relu, elu, logaddexp = functions.leaky_relu, functions.elu, functions.logaddexp

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
        """``np.fmod(v, other)``: the remainder of v / other, with the sign of v."""
        return _arrays().MEANING["fmod"](self, other)  # type: ignore[no-any-return]

    def fabs(self) -> Value:
        """``abs(v)``."""
        return abs(self)

    def abs(self) -> Value:
        """``abs(v)``, as tensors have it."""
        return self.fabs()

    def clip(self, min: Any = None, max: Any = None) -> Value:
        """The nearest number from min to max, as arrays and tensors have it; at a bound the derivative is 1/2.

        >>> Value(3.0).clip(0.0, 1.0).data, Value(-3.0).clamp(min=0.0).data
        (1.0, 0.0)
        """
        if min is None and max is None:
            raise TypeError("clip needs a bound: v.clip(0.0, 1.0), v.clip(min=0.0) or v.clip(max=1.0)")
        above = self if min is None else ops.maximum(self, min)
        return above if max is None else ops.minimum(above, max)

    clamp = clip

    def hypot(self, other: Any) -> Value:
        """``hypot(v, other)``."""
        return ops.hypot(self, other)  # type: ignore[no-any-return]

    def atan2(self, other: Any) -> Value:
        """``atan2(v, other)``: the angle of the point whose height is v and whose width is other."""
        return ops.atan2(self, other)  # type: ignore[no-any-return]

    arctan2 = atan2

    def item(self) -> float:
        """The number, ``v.data``, as arrays of NumPy, PyTorch and JAX give theirs."""
        if tracer_here.get() is not None:
            refuse_in_a_trace("does not give its number, v.item()")
        return self.data

    # -- for people ----------------------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        label = f", label={self.label!r}" if self.label else ""
        if tracer_here.get() is not None:  # the word stops code that would read the number out of the text
            return f"Value(data=traced at {number_here(self)}{label})"
        return f"Value(data={self.data}, grad={self.grad}{label})"

    def __format__(self, spec: str) -> str:
        if not spec:
            return repr(self)
        shown = format(number_here(self), spec)
        return shown if tracer_here.get() is None else f"traced at {shown}"

    _prev = micrograds(lambda self: set(self.parents), "_prev", "The set of the operands, as in micrograd.")
    _children = micrograds(lambda self: self.parents, "_children", "The operands.")
    _op = micrograds(lambda self: self.op.symbol if self.op else "", "_op", 'How the operation is drawn: "+", "tanh".')
    _local_grads = micrograds(lambda self: tuple(self.local_grads), "_local_grads", "The partial by each operand.")
    _backward = micrograds(
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

    # -- copies and pickles: see `tinygrad_vi.copies` --

    __reduce__, __setstate__ = copies.reduced, copies.restored
    __copy__, __deepcopy__ = copies.copied, copies.deep_copied

    #: True of `tinygrad_vi.kinds.Guarded`: it may have another number in this thread or task
    _is_guarded = False

    def _own_class(self) -> type[Value]:
        """Its class; Value where another thread traces it, which changes its class for a while."""
        return Value if type(self) in VALUES else type(self)


#: Value, and its subclasses that a Value belongs to while it is traced: `tinygrad_vi.kinds` adds them
VALUES: set[type[Value]] = {Value}
ONLY_VALUES = {Value}

#: the number of a Value itself, whatever its kind says: reads and writes the slot
own_number: Callable[[Value], float] = Value.__dict__["data"].__get__
set_own_number: Callable[[Value, float], None] = Value.__dict__["data"].__set__


def as_value(x: Any) -> Value:
    """A number as a Value; a Value as it is."""
    return x if isinstance(x, Value) else Value(x)


# --- A neuron ---------------------------------------------------------------------------------------------------------


def dot(w: Iterable[Any], x: Iterable[Any], b: Any = 0.0) -> Any:
    """w[0]*x[0] + w[1]*x[1] + ... + b as one node: a neuron before its activation.

    Partials: x by w, w by x, 1 by b.  Plain floats give a float.  Raises ShapeError when w and x differ in length.

    >>> dot([Value(2.0), Value(3.0)], [5.0, 7.0], 1.0).data
    32.0
    """
    # `functions.dot` gives the same.  Networks are made of this node, and this way to make it is twice as fast.
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
            except TypeError:  # `functions.dot` takes other kinds of numbers that record, and explains the error
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
    if not here:
        return [*map(own_number, nodes)]
    return [here[node] if node._is_guarded and node in here else own_number(node) for node in nodes]


# --- When recording is switched, and where a value or a derivative does not exist -------------------------------------


def recording(on: bool) -> AbstractContextManager[None]:
    """Switch recording on or off for a while, for this thread or task."""
    return modes.recording.set(on)


def no_grad() -> AbstractContextManager[None]:
    """Compute without recording: results made inside are leaves, and cost no memory for a graph.

    It holds for the thread or asyncio task that enters it; in a generator, only while the generator runs.  A context
    manager and a decorator.  While a function is compiled, a result made inside is a `stop_gradient`: it still has its
    number for each example.

    >>> with no_grad():
    ...     y = Value(3.0) * 2.0
    >>> y, y.parents
    (Value(data=6.0, grad=0.0), ())
    """
    return modes.Switch(modes.recording, False)


def _unrecorded(data: float) -> Value:
    """A result computed inside `no_grad`."""
    node = new(Value)
    node.data = data
    node.grad = NOT_COMPUTED
    node._label = ""
    node.op = None
    node.parents = ()
    node.local_grads = UNRECORDED
    return node


def _by_mode(op: Operation, data: float, parents: tuple[Value, ...], xs: Sequence[float]) -> Value:
    """The result while some thread has switched recording: a node if this thread records or traces, else a leaf."""
    tracer = tracer_here.get()
    if tracer is None and not _is_recording():
        return _unrecorded(data)
    node = _node(op, data, parents, op.constant_partials or op.partials(data, *xs))
    return node if tracer is None else _traced(node, tracer)


def _traced(node: Value, tracer: Any) -> Value:
    """The node, noted by the tracer; inside `no_grad` a `stop_gradient` of it, which is noted too.

    A constant would be wrong there: it would have the number of this one example for all examples.
    """
    tracer.recorded(node)
    if _is_recording():
        return node
    stopped = _node(ops.stop_gradient.operation, node.data, (node,), (0.0,))
    tracer.recorded(stopped)
    return stopped


def _failed(op: Operation, parents: tuple[Value, ...]) -> Value:
    """Where the value or a partial does not exist: the value without partials if no derivative is wanted.

    Else, or if there is no value either, it raises the DomainError.
    """
    if not _is_recording() or not _derivative_is_wanted(parents):
        with suppress(ArithmeticError, ValueError):
            data = op.value(*[v.data for v in parents])
            tracer = tracer_here.get()
            if tracer is None and not _is_recording():
                return _unrecorded(data)
            node = _node(op, data, parents, (math.nan,) * len(parents))
            return node if tracer is None else _traced(node, tracer)
    raise domain_error(op, parents) from None


def _derivative_is_wanted(parents: tuple[Value, ...]) -> bool:
    """Whether a derivative that does not exist is an error.

    It is not while a function is traced, nor where the operands depend on none of the leaves to differentiate by.
    """
    leaves = modes.wanted.get()
    if leaves is None:
        return not being_traced()
    return not {*below(parents)}.isdisjoint(leaves)


# --- What is refused --------------------------------------------------------------------------------------------------


def _advice(other: Any, sign: str) -> None:
    """Raise the error for a list, tuple or tensor as the other operand of an operator: Python's own would not help."""
    refuse_a_tensor(other, sign)
    if isinstance(other, (list, tuple)):
        raise TypeError(
            f"a Value {sign} a {type(other).__name__} has no meaning: write [v {sign} x for x in xs], or make an array "
            f"of it, v {sign} np.array(xs)"
        )


def _check_data(leaves: Iterable[Value]) -> None:
    """Raise TypeError for a leaf whose number was set to a Value: the record of that one would be lost."""
    for leaf in leaves:
        if isinstance(leaf.data, Value):
            raise TypeError(
                f"data takes a number, and that of {named(leaf)} was set to a Value: for p.data = p - 0.1 write "
                "p.data -= 0.1, or p.data = (p - 0.1).data"
            )


def _check_grads(grads: dict[Value, Any]) -> None:
    """Make the grads of leaves floats, or leave them Values of an earlier ``create_graph``; TypeError otherwise."""
    _check_data(grads)
    for leaf, g in grads.items():
        if g.__class__ is not float and not isinstance(g, Value):
            try:
                grads[leaf] = number(g, "grad")
            except TypeError:
                said = f"got {g!r:.60} for {named(leaf)}"
                raise TypeError(
                    f"the grad of a leaf is not a number; set it to 0.0 before backward(), {said}"
                ) from None


# --- Small steps, and rooms that are opened later ---------------------------------------------------------------------


def _one_step_back(node: Value) -> None:
    """Add to the grad of each operand what flows to it from this node's grad: backward() by hand, node by node."""
    check_recorded(node)
    for parent, slope in zip(node.parents, node.local_grads, strict=True):
        parent.grad += slope * node.grad


def _set_grads(nodes: Iterable[Value], grads: Iterable[Any]) -> None:
    for node, g in zip(nodes, grads, strict=True):
        node.grad = g


@cache
def _arrays() -> Any:
    """The room of NumPy's functions, which imports NumPy: opened when NumPy meets a Value."""
    from tinygrad_vi import arrays

    return arrays


@cache
def _kinds() -> Any:
    """The room of traced Values, a right-hand neighbour: opened when one is compared."""
    from tinygrad_vi import kinds

    return kinds
