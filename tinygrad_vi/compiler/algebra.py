"""Expressions: arithmetic that becomes nodes of a form.  Here stand the rewrites.

The form rewrites floats, not real numbers.  A rewrite keeps the range and, to a few units in the last place of the
largest intermediate that the text itself has, the value.  *Light* is a factor of plus or minus 1/16, 1/8, ..., 16: to
multiply by it rounds nothing, but next to the largest float and among subnormal numbers.

    before                       after                   for which floats
    a + b + c                    dot(a, b, c)            all; terms may be added in another order and products fused, so
                                                         a sum may overflow where some term is the largest float / terms
    the same without products,   ordered(a, b, c)        all, exactly; of more than FEW terms it is a dot, and a tie may
    or as operand of a map with                          turn
    a corner or an edge
    total(a, b, c)               total(a, b, c)          all, unless what cancels is 1e16 times larger than the result
    light * (a + b)              light*a + light*b       exact
    a + (b + c), (a + b) + u*v   b + c, a + b: nodes     exact: a sum without products is computed first, as written
    c * (a + b)                  c * dot(a, b)           exact: a factor is not distributed over a sum
    c * (d * u)                  (c*d) * u               one rounding less; when c*d is of size 2**-500 to 2**500,
                                                         and no corner is near
    (light*u) * v                light * (u*v)           exact
    (c * u) * v                  dot(c*u) * v            exact: no other factor stands on a product
    u / 2**k                     2**-k * u               exact
    c*u / d                      (c/d) * u               one rounding less; when c is a multiple of d
    u / v                        div(u, v)               exact
    x - x, 0 * x                 as they are             no value that may be infinite is dropped
    x + 0                        x                       exact, but for the sign of -0.0 + 0.0

Only reverse mode drops a partial that is the constant 0, as the eager sweep drops an adjoint of 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from tinygrad_vi import ops, rows
from tinygrad_vi.compiler.terms import DOT, LIGHT, ONE, ORDERED, SUM_KINDS, TOTAL, Term
from tinygrad_vi.conditions import CHECKED
from tinygrad_vi.rows import Operation

if TYPE_CHECKING:
    from tinygrad_vi.compiler.form import Form

SMALLEST_FACTOR, LARGEST_FACTOR = 2.0**-500, 2.0**500


class Expression:
    """A sum of terms on its way to becoming a node: what the rules of the table are run on.

    It answers to ``+ - * / **`` and to ``record``, so anything written for Values runs on it.  Sums are gathered; a
    node is made only when something else than a sum needs one.  ordered: each operation is to be rounded as written.
    used_up: nobody else asks for it, so a longer sum may take its list of terms over: a chain of additions is linear.
    """

    __slots__ = ("form", "ordered", "terms", "used_up")

    def __init__(self, form: Form, terms: list[Term], ordered: bool = False) -> None:
        self.form = form
        self.terms = terms
        self.ordered = ordered
        self.used_up = False

    def reference(self) -> tuple[float, int]:
        """The expression as coefficient and node."""
        if len(self.terms) == 1:
            c, u, v = self.terms[0]
            if v == ONE:
                return c, u
        products = any(v != ONE for _, _, v in self.terms)
        scale, node = self.form.contract(self.terms, kind=DOT if products and not self.ordered else ORDERED)
        self.terms = [(scale, node, ONE)]
        return scale, node

    def close(self) -> None:
        """Let a sum of several terms be a node."""
        if len(self.terms) > 1:
            self.reference()

    def close_plain(self) -> None:
        """Let a sum of several terms be a node if none is a product: its order, and its roundings, are its own."""
        if all(v == ONE for _, _, v in self.terms):
            self.close()

    def is_sum(self) -> bool:
        """Whether it is, or was, a sum of several terms."""
        return len(self.terms) > 1 or any(self.form.kinds[u] in SUM_KINDS and len(self.form.arguments[u]) > 1
                                          for _, u, v in self.terms if v == ONE)  # fmt: skip

    def node(self) -> int:
        """The expression as one node."""
        return self.form.whole(*self.reference())

    def number(self) -> float | None:
        """The value, if it is known already."""
        if len(self.terms) == 1:
            c, u, _ = self.terms[0]
            return c if u == ONE else None
        return None if self.terms else 0.0

    def record(self, op: Operation, *operands: Any) -> Expression:
        """Apply an operation: sums and products stay algebra, the rest becomes a map."""
        xs = [x if isinstance(x, Expression) else self.form.constant(x) for x in operands]
        if xs[-1].number() is not None and xs[0].number() is not None:
            numbers = [x.number() for x in xs]
            if None not in numbers:
                return self.form.constant(op.value(*numbers))
        rule = algebra_of(op)
        return rule(*xs) if rule is not None else self._map(op, *xs)

    def _map(self, op: Operation, *operands: Expression) -> Expression:
        nodes = tuple([x.node() for x in operands])
        mapped = any(self.form.mapped[u] for u in nodes)
        return Expression(self.form, [(1.0, self.form.node(op, nodes, mapped), ONE)])

    def scaled(self, factor: float) -> Expression:
        """The expression times a number."""
        number = self.number()
        if number is not None:
            return self.form.constant(factor * number)
        if factor in LIGHT or len(self.terms) == 1:
            found = [(self._factor(factor, c, v), u, v) for c, u, v in self.terms]
            if all(c is not None for c, _, _ in found):
                return Expression(self.form, found, self.ordered)  # type: ignore[arg-type]
        c, node = self.reference()
        merged = self._factor(factor, c, ONE)
        term = (merged, node, ONE) if merged is not None else (factor, self.form.whole(c, node), ONE)
        return Expression(self.form, [term], self.ordered)

    def _factor(self, factor: float, c: float, v: int) -> float | None:
        """The coefficient of a term times a factor, where one may stand for both."""
        if v != ONE or self.ordered:  # of a product, or where each product is to be rounded
            sign = factor in (1.0, -1.0) or (v == ONE and c in (1.0, -1.0))
            return factor * c if sign or {factor, c, factor * c} <= LIGHT else None
        return _merged(factor, c)

    def times(self, other: Expression) -> Expression:
        """The product; multiplied out only when one of the factors is a number."""
        product = _of_nodes(self.terms, other.terms)
        if product is not None:
            return Expression(self.form, [product])
        for factor, rest in ((self, other), (other, self)):
            c = factor.number()
            if c is not None:
                return rest.scaled(c)
        form = self.form
        (c, u), (d, v) = form.light(*self.reference()), form.light(*other.reference())
        if c * d not in LIGHT:
            c, u = 1.0, form.whole(c, u)
        return Expression(form, [(c * d, u, v)])

    def plus(self, other: Expression) -> Expression:
        """The sum: all the terms."""
        x, y = self.number(), other.number()
        if x is not None and y is not None:
            return self.form.constant(x + y)
        other.close_plain()  # a + (b + c) adds b and c first
        if any(v != ONE for _, _, v in other.terms):
            self.close_plain()  # and (a + b) + u*v first a and b
        if self.used_up:
            self.terms += other.terms
            return Expression(self.form, self.terms)
        return Expression(self.form, self.terms + other.terms)

    def over(self, other: Expression) -> Expression:
        """The quotient; by a power of two it is a product."""
        n, d = self.number(), other.number()
        if n is not None and d is not None:
            return self.form.constant(n / d)
        if d is not None:
            if abs(math.frexp(d)[0]) == 0.5 and SMALLEST_FACTOR <= abs(d) <= LARGEST_FACTOR:
                return self.scaled(1.0 / d)
            if len(self.terms) == 1 and not self.ordered and d != 0.0:
                c, u, v = self.terms[0]
                if v == ONE and c not in (1.0, -1.0) and math.isfinite(c) and math.fmod(c, d) == 0.0:
                    return Expression(self.form, [(c / d, u, v)])
        (c, u), (e, v) = self._light(), other._light()
        if u == ONE:
            quotient = self._map(ops.power(-1.0), Expression(self.form, [(1.0, v, ONE)]))
        else:
            quotient = self._map(ops.div.operation, *[Expression(self.form, [(1.0, node, ONE)]) for node in (u, v)])
        return quotient.scaled(c).scaled(1.0 / e)

    def _light(self) -> tuple[float, int]:
        c = self.number()
        if c is not None:
            return (c, ONE) if c in LIGHT else (1.0, self.form.whole(c, ONE))
        return self.form.light(*self.reference())

    def __add__(self, other: Any) -> Expression:
        return self.plus(self._like(other))

    __radd__ = __add__

    def __sub__(self, other: Any) -> Expression:
        return self.plus(self._like(other).scaled(-1.0))

    def __rsub__(self, other: Any) -> Expression:
        return self._like(other).plus(self.scaled(-1.0))

    def __mul__(self, other: Any) -> Expression:
        return self.times(self._like(other))

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> Expression:
        return self.over(self._like(other))

    def __rtruediv__(self, other: Any) -> Expression:
        return self._like(other).over(self)

    def __neg__(self) -> Expression:
        return self.scaled(-1.0)

    def __pow__(self, n: float) -> Expression:
        return self.record(ops.power(float(n)), self)

    def _like(self, x: Any) -> Expression:
        return x if isinstance(x, Expression) else self.form.constant(x)

    def __getattr__(self, name: str) -> Any:
        """Methods of Values, such as ``x.tanh()``."""
        op = rows.OPERATIONS.get(name)
        if op is None or op.arity != 1:
            raise AttributeError(f"an expression has no attribute {name!r}")
        return lambda: self.record(op, self)


def _merged(c: float, d: float) -> float | None:
    """The factor c*d that may take the place of two; None where it may not."""
    factor = c * d
    inside = c in (1.0, -1.0) or d in (1.0, -1.0) or SMALLEST_FACTOR <= abs(factor) <= LARGEST_FACTOR
    return factor if inside else None


def _of_nodes(x: Sequence[Term], y: Sequence[Term]) -> Term | None:
    """The product of two nodes with light factors, which most products are; None for another one."""
    if len(x) == 1 == len(y):
        (c, u, one), (d, v, too) = x[0], y[0]
        nodes = one == too == ONE and u != ONE and v != ONE
        if nodes and (c == 1.0 == d or (c in LIGHT and d in LIGHT and c * d in LIGHT)):
            return c * d, u, v
    return None


def _total(*xs: Expression) -> Expression:
    form = xs[0].form
    if len(xs) < 3:
        return xs[0].plus(xs[1]) if len(xs) == 2 else xs[0]
    for x in xs:
        x.close()
    terms = [term for x in xs for term in x.terms]
    scale, node = form.contract(terms, kind=TOTAL)
    return Expression(form, [(scale, node, ONE)])


def _dot(*operands: Expression) -> Expression:
    w, x, b = ops.split(operands)
    terms = list(b.terms)
    for u, v in zip(w, x, strict=True):
        product = _of_nodes(u.terms, v.terms)
        if product is not None:
            terms.append(product)
        else:
            terms += u.times(v).terms
    return Expression(b.form, terms)


def _watched(x: Expression) -> Expression:
    """The same, whose overflow is an error."""
    x.form.sums.append(x)
    return x


def _checked(x: Expression, ok: Expression) -> Expression:
    """x.  The check becomes the node sqrt(ok), which no other node uses: it is NaN where ok is below 0."""
    if ok.number() is None:
        ok.record(CONDITION, ok)
    x.close()  # the zeros by which a look-up drops other entries stay inside this node
    return x


#: what becomes of `checked`: computed as a sqrt, but without the check of its derivative that a user's sqrt has
CONDITION = ops.sqrt.operation.changed(doc="A number unless x is below 0 or NaN.", kin=ops.sqrt.operation)

#: the operations that are sums and products
ALGEBRA: dict[Any, Callable[..., Expression]] = {
    ops.add.operation: Expression.plus,
    ops.sub.operation: lambda x, y: x.plus(y.scaled(-1.0)),
    ops.neg.operation: lambda x: x.scaled(-1.0),
    ops.mul.operation: Expression.times,
    ops.div.operation: Expression.over,
    ops.total_row.operation: lambda *xs: _watched(_total(*xs)),
    ops.dot_row.operation: _dot,
    CHECKED: _checked,
}
#: the operations that gather terms
SUMS = (ops.add.operation, ops.sub.operation)
POWERS: dict[float, Callable[[Expression], Expression]] = {
    0.0: lambda x: x.form.constant(1.0),
    1.0: lambda x: x,
    2.0: lambda x: _watched(x.times(x)),
}


def algebra_of(op: Operation) -> Callable[..., Expression] | None:
    """The rule of an operation that is made of sums and products; None for one that becomes a map."""
    return POWERS.get(op.constants[0]) if op.key is ops.power else ALGEBRA.get(op)
