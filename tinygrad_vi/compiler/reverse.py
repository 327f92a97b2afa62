"""Reverse mode from form to form: the gradient of a node is more nodes of the same program.

The rules are those of the operation table, run on expressions; a dot needs none, for it is its own rule:

    y = sum of c*u*v,  adjoint A of y:   adjoint of u  +=  c*A*v,   adjoint of v  +=  c*A*u

The adjoint of a node that is not mapped, of terms that are, is a dot that adds up over the examples: that is all there
is to say about the batch.
"""

from __future__ import annotations

from collections.abc import Sequence

from tinygrad_vi.compiler.form import ONE, Expression, Form, Term
from tinygrad_vi.ops import Operation


def gradient(
    form: Form,
    output: int,
    wanted: Sequence[int],
    *,
    for_each: bool = False,
    adjoint_of: dict[int, int] | None = None,
) -> list[tuple[float, int]]:
    """d(output)/d(node) for each node that is wanted, as (coefficient, node).

    Where the output does not depend on it this is (0.0, ONE).  New nodes are added to the form.  for_each: the
    derivatives of a mapped output stay apart, one for each example, where they would be added up.  adjoint_of: is told
    of which node each new node is the derivative.
    """
    adjoints: dict[int, list[Term]] = {output: [(1.0, ONE, ONE)]}
    leaves, on_the_way = set(wanted), form.dependent(wanted, output)
    for y in range(output, ONE, -1):
        if y not in adjoints or y not in on_the_way:  # what is wanted is an answer, and not a way on
            continue
        kind, argument = form.kinds[y], form.arguments[y]
        scale, adjoint = form.contract(adjoints.pop(y), None if for_each else form.mapped[y])
        if scale == 0.0:
            continue
        if adjoint_of is not None and adjoint != ONE:
            adjoint_of.setdefault(adjoint, y)
        if kind == "dot":
            flow = [(p, c, q) for c, u, v in argument for p, q in ((u, v), (v, u))]
        else:
            flow = [(operand, c, partial) for operand, (c, partial) in partials(form, y)]
        for operand, c, partial in flow:
            if c != 0.0 and (operand in on_the_way or operand in leaves):  # nothing flows from a partial that is 0
                adjoints.setdefault(operand, []).append((scale * c, adjoint, partial))
    return [form.contract(adjoints.get(node, []), None if for_each else form.mapped[node]) for node in wanted]


def partials(form: Form, y: int) -> list[tuple[int, tuple[float, int]]]:
    """Each operand of a map with the partial derivative by it, as coefficient and node."""
    op, operands = form.kinds[y], form.arguments[y]
    assert isinstance(op, Operation)
    whole = [Expression(form, [(1.0, node, ONE)]) for node in (y, *operands)]
    found = op.partials(*whole)
    slopes = [x if isinstance(x, Expression) else form.constant(x) for x in found]
    return [(operand, slope.reference()) for operand, slope in zip(operands, slopes, strict=True)]
