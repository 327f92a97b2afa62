"""Reverse mode from form to form: the gradient of a node is more nodes of the same program.

The rules are those of the operation table, run on expressions; a sum needs none, for it is its own rule:

    y = sum of c*u*v,  adjoint A of y:   adjoint of u  +=  c*A*v,   adjoint of v  +=  c*A*u

The adjoint of a node that is not mapped, of terms that are, is a dot that adds up over the examples: that is all there
is to say about the batch.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import lru_cache

from tinygrad_vi.compiler.algebra import Expression
from tinygrad_vi.compiler.form import Form
from tinygrad_vi.compiler.terms import LIGHT, ONE, SUM_KINDS, Term
from tinygrad_vi.rows import Operation


def gradient(
    form: Form,
    output: int,
    wanted: Sequence[int],
    *,
    seed: float = 1.0,
    for_each: bool = False,
    adjoint_of: dict[int, int] | None = None,
) -> list[tuple[float, int]]:
    """d(seed * output)/d(node) for each node that is wanted, as (coefficient, node).

    Where the output does not depend on it this is (0.0, ONE).  New nodes are added to the form.  for_each: the
    derivatives of a mapped output stay apart, one for each example, where they would be added up.  adjoint_of: a
    dictionary that gets, for each new node that is a derivative, the node it is the derivative by.
    """
    adjoints: dict[int, list[Term]] = defaultdict(list, {output: [(seed, ONE, ONE)]})
    on_the_way = form.between(wanted, output)  # a wanted node is not differentiated further
    reached = {*on_the_way, *wanted}
    for y in reversed(on_the_way):
        if y not in adjoints:
            continue
        scale, adjoint = form.contract(adjoints.pop(y), None if for_each else form.mapped[y])
        if scale == 0.0:
            continue
        if form.kinds[y] in SUM_KINDS:  # each operand of the sum multiplies by it
            scale, adjoint = form.joined(scale, adjoint)
        if adjoint_of is not None and adjoint != ONE:
            adjoint_of.setdefault(adjoint, y)
        flows = _through_sum if form.kinds[y] in SUM_KINDS else _through_map
        for operand, terms in flows(form, y, scale, adjoint, reached):
            adjoints[operand] += terms
    return [form.contract(adjoints.get(node, []), None if for_each else form.mapped[node]) for node in wanted]


#: an operand, and what flows to it
Flow = tuple[int, list[Term]]


def _through_sum(form: Form, y: int, scale: float, adjoint: int, reached: set[int]) -> Iterator[Flow]:
    flow = Expression(form, [(scale, adjoint, ONE)])
    constant, plain = adjoint == ONE, scale in LIGHT
    for c, u, v in form.arguments[y]:
        if v != ONE and u != v and plain and not constant and scale * c in LIGHT:  # the usual case, at once
            if u in reached:
                yield u, [(scale * c, adjoint, v)]
            if v in reached:
                yield v, [(scale * c, adjoint, u)]
            continue
        for p, q in ((u, v), (v, u)) if u != v else ((u, u),):
            if p not in reached or c == 0.0:
                continue
            factor = 2.0 * c if u == v else c  # d(u*u)/du is 2*u
            if constant:
                yield p, [(scale * factor, q, ONE)]
            elif q == ONE:
                yield p, flow.scaled(factor).terms
            elif plain and scale * factor in LIGHT:
                yield p, [(scale * factor, adjoint, q)]
            else:
                yield p, flow.times(Expression(form, [(factor, q, ONE)])).terms


def _through_map(form: Form, y: int, scale: float, adjoint: int, reached: set[int]) -> Iterator[Flow]:
    op, operands = form.kinds[y], form.arguments[y]
    assert isinstance(op, Operation)
    whole = [Expression(form, [(1.0, node, ONE)]) for node in (y, *operands)]
    flow = Expression(form, [(scale, adjoint, ONE)])
    if op.flows is not None:
        flows = op.flows(flow, *whole)
    else:
        flows = [None if x.number() == 0.0 else flow.times(x) for x in partials(form, y)]  # from 0 nothing flows
    for operand, found in zip(operands, flows, strict=True):
        if operand in reached and found is not None:
            yield operand, found.terms


def partials(form: Form, y: int) -> list[Expression]:
    """The partial derivative of a map by each operand."""
    op, operands = form.kinds[y], form.arguments[y]
    assert isinstance(op, Operation)
    found = op.partials(*[Expression(form, [(1.0, node, ONE)]) for node in (y, *operands)])
    return [x if isinstance(x, Expression) else form.constant(x) for x in found]


def through(form: Form, y: int) -> Sequence[int]:
    """The operands through which a derivative may flow back from a node: all but those of a partial that is 0."""
    op, operands = form.kinds[y], form.operands(y)
    if not isinstance(op, Operation) or not (silent := _silent(op)):
        return operands
    return [operand for i, operand in enumerate(operands) if i not in silent]


@lru_cache(1000)
def _silent(op: Operation) -> frozenset[int]:
    """The places of operands by which the partial derivative is 0 everywhere: the condition of where, all of step."""
    if op.arity is None:
        return frozenset()
    form = Form()
    y = form.node(op, tuple([form.parameter(i).node() for i in range(op.arity)]), False)
    try:
        return frozenset([i for i, partial in enumerate(partials(form, y)) if partial.number() == 0.0])
    except Exception:  # a rule of the user's: what is wrong with it is said where its derivative is taken
        return frozenset()
