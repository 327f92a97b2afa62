"""Copies and pickles of Values: a graph of any depth, with what several results share kept once.

The functions are methods of Value under Python's names: `reduced` is ``__reduce__``, and so on.  By its own rules
pickle would save a node inside its result, and that inside the next one: recursion ends at a depth of some hundreds.
So when pickle meets a result, `reduced` first lists all nodes below it that are not saved yet, parents first, and
pickle saves each of them by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import local
from typing import TYPE_CHECKING, Any
from weakref import ref

from tinygrad_vi.graph import NOT_COMPUTED, below, named, topological_order
from tinygrad_vi.rows import Operation
from tinygrad_vi.tracing import being_differentiated, differentiated_by, refuse_in_a_trace, tracer_here

if TYPE_CHECKING:
    from tinygrad_vi.value import Value

# --- Pickles ----------------------------------------------------------------------------------------------------------


def reduced(node: Value) -> tuple[Any, ...]:
    """``__reduce__``: the facts of this one node, and before them the nodes below it that are not saved yet.

    Grads and attributes come last, since they may refer back to the node.
    """
    if tracer_here.get() is not None:
        refuse_in_a_trace("is not copied or pickled")
    if being_differentiated() and differentiated_by(below([node])):
        raise TypeError(
            f"{named(node)} is pickled inside a derivative, which would be lost: what another process computes "
            "has no record here. Send it plain numbers, v.data, and take the derivative there; or compute it here"
        )
    bare, _saving.bare = _saving.bare, None
    if bare is node:
        return rebuilt, _facts(node)
    session, token = _saving.session(), None
    if session is None or node in session.saved:  # an older pickler, whose session still exists, has saved this node
        session = token = _Session()
        _saving.session = ref(session)
    leaves: dict[Value, None] = {}
    order = topological_order([node], leaves=leaves, entered=session.saved)
    not_saved = [leaf for leaf in leaves if leaf not in session.saved]
    session.saved.update(not_saved)
    *before, _ = *not_saved, *order
    states = [
        (v, None if v.grad is NOT_COMPUTED else v.grad, v.__dict__)
        for v in (*before, node)
        if v.grad is not NOT_COMPUTED or v.__dict__
    ]
    nodes_before = [*map(_Bare, before), _Bare(None)] if before else ()
    return _rebuilt_after, (token, nodes_before, *_facts(node)), states or None


def restored(_: Value, states: list[tuple[Value, Any, dict[str, Any]]]) -> None:
    """``__setstate__``: grads and attributes of all nodes that were saved with this one."""
    for node, grad, attributes in states:
        node.grad = NOT_COMPUTED if grad is None else grad
        if attributes:
            node.__dict__.update(attributes)


class _Session:
    """What one pickler has saved.

    The pickler saves the session too, and so keeps it alive for as long as it exists itself: `_Saving` only has a weak
    reference.  In the pickle an empty tuple stands for it.
    """

    __slots__ = ("__weakref__", "saved")

    def __init__(self) -> None:
        self.saved: set[Value] = set()

    def __reduce__(self) -> tuple[Any, ...]:
        return tuple, ()


class _Bare:
    """A node to be saved without its grad and attributes: these come with the result that it was listed for.

    Pickle calls ``__reduce__`` here, and next that of the node, which finds itself in ``_saving.bare``.
    """

    __slots__ = ("node",)

    def __init__(self, node: Value | None) -> None:
        self.node = node

    def __reduce__(self) -> tuple[Any, ...]:
        _saving.bare = self.node
        return _itself, (self.node,)


def _itself(x: Any) -> Any:
    return x


class _Saving(local):
    """What this thread is pickling: the session of the pickler, and the node that is to be saved bare."""

    session: Callable[[], _Session | None] = staticmethod(lambda: None)
    bare: Value | None = None


_saving = _Saving()


def _facts(node: Value) -> tuple[Any, ...]:
    """What `rebuilt` makes a node of."""
    return node._own_class(), node.data, node.label, node.op, node.parents, node.local_grads


def rebuilt(
    kind: type[Value],
    data: float,
    label: str,
    op: Operation | None,
    parents: tuple[Value, ...],
    local_grads: Sequence[float],
) -> Value:
    """A node of these facts, without the checks of ``Value(...)``."""
    node = object.__new__(kind)
    node.data, node.grad, node._label = data, NOT_COMPUTED, label
    node.op, node.parents, node.local_grads = op, parents, local_grads
    return node


def _rebuilt_after(_session: Any, _before: Any, *facts: Any) -> Value:
    """The node; pickle has made the nodes below it, the arguments before ``facts``, when it calls this."""
    return rebuilt(*facts)


# --- Copies -----------------------------------------------------------------------------------------------------------


def copied(node: Value) -> Value:
    """``__copy__``: another Value of the same operands."""
    if tracer_here.get() is not None:
        refuse_in_a_trace("is not copied")
    if being_differentiated() and differentiated_by([node]):  # not for one that is computed from such a Value
        return _depending_copy(node)
    twin = rebuilt(*_facts(node))
    twin.grad = node.grad
    if node.__dict__:
        twin.__dict__.update(node.__dict__)
    return twin


def deep_copied(node: Value, memo: dict[int, Any]) -> Value:
    """``__deepcopy__``: the whole graph below it again."""
    from copy import deepcopy

    if tracer_here.get() is not None:
        refuse_in_a_trace("is not copied")
    nodes = below([node])
    if being_differentiated() and differentiated_by(nodes):
        memo[id(node)] = _depending_copy(node)
        return memo[id(node)]  # type: ignore[no-any-return]
    originals = [v for v in nodes if id(v) not in memo]
    for v in originals:
        kind, data, label, op, parents, local_grads = _facts(v)
        memo[id(v)] = rebuilt(kind, data, label, op, tuple([memo[id(p)] for p in parents]), local_grads)
    for v in originals:
        copy = memo[id(v)]
        copy.grad = v.grad if v.grad.__class__ is float else deepcopy(v.grad, memo)
        if v.__dict__:
            copy.__dict__.update(deepcopy(v.__dict__, memo))
    return memo[id(node)]  # type: ignore[no-any-return]


def _depending_copy(node: Value) -> Value:
    """Another Value with this number, through which a derivative flows: dataclasses.asdict makes such copies."""
    return node * 1.0
