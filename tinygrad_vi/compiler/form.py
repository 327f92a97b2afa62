"""The canonical form of a scalar program: maps and sums besides the leaves.

    node  =  1                                   node 0, the constant
          |  parameter i                         one number
          |  input j                             one number for each example
          |  share                               1/N for each of N examples: its part in a mean
          |  map      op(u1, ..., uk)            a row of the operation table, element by element
          |  dot      sum over k of c_k * u_k * v_k
          |  ordered  the same, from left to right, each product and each sum rounded
          |  total    the same, added up with twice the digits and rounded at the end

A plain sum has v = 1.  Every chain of sums and products becomes one dot, and the form is closed under reverse mode,
where the adjoint of each operand of a dot is a dot again.

The batch is one rule.  A node is *mapped* when it has a value for each example.  A sum that is not mapped adds up those
of its terms that are, over the examples, in an order of its own.

Nodes stand in an order in which operands come first, and equal nodes are one (hash-consing), so a form is a program
with its common subexpressions already shared.

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
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import reduce
from itertools import chain
from operator import add, itemgetter
from typing import Any

from tinygrad_vi import ops, rows
from tinygrad_vi.compiler.known import DECIDING, SMOOTH
from tinygrad_vi.conditions import CHECKED, NAMELESS
from tinygrad_vi.graph import topological_order
from tinygrad_vi.rows import Operation
from tinygrad_vi.sparsity import reached
from tinygrad_vi.value import Value

#: (coefficient, u, v) with u >= v
Term = tuple[float, int, int]
Kind = str | Operation

ONE = 0

#: the kinds of sums
DOT, ORDERED, TOTAL = SUM_KINDS = ("dot", "ordered", "total")
#: an ordered sum of more terms becomes a dot, which runs as a product of matrices
FEW = 8
LIGHT = frozenset([sign * 2.0**k for k in range(-4, 5) for sign in (1.0, -1.0)])
SMALLEST_FACTOR, LARGEST_FACTOR = 2.0**-500, 2.0**500


class Form:
    """A program in canonical form.  Nodes are numbers; three lists say what each of them is.

    kinds: "one", "parameter", "input", "share", one of SUM_KINDS, or the row of a map.  arguments: None, the
    leaf's number, the terms of a sum, or the operands of a map.  mapped: whether the node has a value for each example.

    >>> form = Form()
    >>> w, x = form.parameter(0), form.input(0)
    >>> y = (w * x + 1.0).tanh()
    >>> print(form)
    %1 = p0
    %2 = x0 for each example
    %3 = 1 + %2*%1 for each example
    %4 = tanh(%3) for each example
    """

    def __init__(self) -> None:
        self.kinds: list[Kind] = ["one"]
        self.arguments: list[Any] = [None]
        self.mapped: list[bool] = [False]
        #: the sums and squares that raise where they overflow, as + and * do not
        self.sums: list[Expression] = []
        self._known: dict[Any, int] = {}
        #: the operands of each node: every pass walks them
        self._operands: list[Sequence[int]] = [()]

    def __len__(self) -> int:
        return len(self.kinds)

    def node(self, kind: Kind, argument: Any, mapped: bool) -> int:
        """The node of these facts, made when it is first asked for."""
        key = kind, argument, mapped
        found = self._known.get(key)
        if found is not None and kind in SUM_KINDS and self._other_zeros(argument, self.arguments[found]):
            key = kind, repr(argument), mapped
            found = self._known.get(key)
        if found is None:
            found = self._known[key] = len(self.kinds)
            self.kinds.append(kind)
            self.arguments.append(argument)
            self.mapped.append(mapped)
            self._operands.append(_operands(kind, argument))
        return found

    @staticmethod
    def _other_zeros(terms: Sequence[Term], others: Sequence[Term]) -> bool:
        """Whether equal terms differ in the sign of a zero: 0.0 == -0.0, but 1/0.0 is not 1/-0.0."""
        return 0.0 in [c for c, _, _ in terms] and repr(terms) != repr(others)

    def parameter(self, i: int) -> Expression:
        """Parameter i, a number that is the same for all examples."""
        return Expression(self, [(1.0, self.node("parameter", i, False), ONE)])

    def input(self, j: int) -> Expression:
        """Input j, a number for each example."""
        return Expression(self, [(1.0, self.node("input", j, True), ONE)])

    def share(self) -> Expression:
        """1/N for each of the N examples of a batch: the sum over the examples of share * x is the mean of x."""
        return Expression(self, [(1.0, self.node("share", None, True), ONE)])

    def constant(self, c: float) -> Expression:
        """A number known when the program is compiled."""
        return Expression(self, [(float(c), ONE, ONE)])

    def contract(self, terms: Iterable[Term], mapped: bool | None = None, kind: str = DOT) -> tuple[float, int]:
        """A sum of products as (coefficient, node); a single node is returned as it is, and a light factor apart.

        The coefficient is any number when the node was the only term, else light.  Coefficients of products must be
        light.  mapped: whether the sum has a value for each example; by default when one of its terms has.  Only a dot
        adds up over the examples.
        """
        if terms.__class__ is list and len(terms) == 1 and terms[0][1:] != (ONE, ONE):  # as below, at once
            [(c, u, v)] = terms
            u, v = (u, v) if u >= v else (v, u)
            mapped = self.mapped[u] or self.mapped[v] if mapped is None else mapped
            as_it_is = v == ONE and self.mapped[u] == mapped
            return (c, u) if as_it_is else (c, self.node(DOT, ((1.0, u, v),), mapped))
        # the only term dropped is the number 0
        kept = [(c, u, v) if u >= v else (c, v, u) for c, u, v in terms if u != ONE or v != ONE or c != 0.0]
        if not kept:
            return 0.0, ONE
        if all(u == ONE for _, u, _ in kept):  # known already
            number = reduce(add, [c for c, _, _ in kept], 0.0)
            if not mapped:
                return number, ONE
            kept = [(number, ONE, ONE)]
        if mapped is None:
            mapped = any(self.mapped[u] or self.mapped[v] for _, u, v in kept)
        if len(kept) == 1:
            c, u, v = kept[0]
            if v == ONE and self.mapped[u] == mapped:
                return c, u
            return c, self.node(DOT, ((1.0, u, v),), mapped)
        summed = not mapped and any(self.mapped[u] or self.mapped[v] for _, u, v in kept)
        factors, scale = {c for c, _, _ in kept}, kept[0][0]
        if scale != 1.0 and len(factors) == 1 and scale in LIGHT:
            kept = [(1.0, u, v) for _, u, v in kept]
        else:
            scale = 1.0
            if factors != {1.0}:
                kept = [self._two_of_a_kind(term, summed) for term in kept]
        if kind == ORDERED and (len(kept) > FEW or _rounds_once(kept)):
            kind = DOT
        if kind == DOT:  # in an order that does not depend on how it was written
            kept.sort(key=itemgetter(1, 2))
        return scale, self.node(kind, tuple(kept), mapped)

    def _two_of_a_kind(self, term: Term, summed: bool) -> Term:
        """A product with no factor below 1 where the factor meets one side first, which may be subnormal."""
        c, u, v = term
        if v == ONE or abs(c) >= 1.0 or (self.mapped[u] == self.mapped[v] and not summed):
            return term
        if not self.mapped[u]:
            u, v = v, u
        u = self.whole(c, u)
        return (1.0, u, v) if u >= v else (1.0, v, u)

    def whole(self, c: float, node: int) -> int:
        """The node of c * node."""
        return node if c == 1.0 else self.node(DOT, ((c, node, ONE),), self.mapped[node])

    def joined(self, c: float, node: int) -> tuple[float, int]:
        """c * node, where a product for each example takes a light factor in: c * (u*v) costs no more than u*v."""
        if self.kinds[node] == DOT and self.mapped[node] and c in LIGHT and abs(c) < 1.0:
            [(d, u, v), *others] = self.arguments[node]
            if not others and c * d in LIGHT and v != ONE and self.mapped[u] and self.mapped[v]:
                return 1.0, self.node(DOT, ((c * d, u, v),), True)
        return c, node

    def light(self, c: float, node: int) -> tuple[float, int]:
        """c * node with a light coefficient, that may stand on a product."""
        return (c, node) if c in LIGHT else (1.0, self.whole(c, node))

    def operands(self, node: int) -> Sequence[int]:
        """The nodes that a node is computed from."""
        return self._operands[node]

    def live(self, outputs: Iterable[int]) -> list[int]:
        """The nodes that the outputs depend on, operands first; the others are dead."""
        wanted, operands = set(outputs), self._operands
        for node in range(max(wanted, default=ONE), ONE, -1):
            if node in wanted:
                wanted.update(operands[node])
        return sorted(wanted - {ONE})

    def dependent(self, leaves: Iterable[int], last: int) -> set[int]:
        """The nodes up to the last that depend on some of these, themselves not included."""
        leaves, operands = set(leaves), self._operands
        reached = set(leaves)
        for node in range(min(leaves, default=last) + 1, last + 1):
            if not reached.isdisjoint(operands[node]):
                reached.add(node)
        return reached - leaves

    def ancestors(self, node: int) -> set[int]:
        """A node and all that it is computed from."""
        return reached(node, self._operands.__getitem__)

    def between(self, leaves: Iterable[int], last: int) -> list[int]:
        """The nodes on the ways from some of these to the last node, in order, themselves not included.

        It looks at the ancestors of the last node alone.
        """
        leaves, operands = set(leaves), self._operands
        dependent, found = set(leaves), []
        for node in sorted(self.ancestors(last)):
            if not dependent.isdisjoint(operands[node]) and node not in leaves:
                dependent.add(node)
                found.append(node)
        return found

    def check(self) -> None:
        """Raise AssertionError when the form breaks its own rules: for tests, after each pass."""
        for node in range(1, len(self)):
            kind, argument = self.kinds[node], self.arguments[node]
            operands = _operands(kind, argument)
            assert all(0 <= operand < node for operand in operands), f"%{node} comes before its operands"
            if isinstance(kind, Operation):
                assert kind.arity in (None, len(argument)), f"%{node} has {len(argument)} operands"
                assert self.mapped[node] == any(self.mapped[u] for u in argument), f"%{node} is mapped like no operand"
            elif kind in SUM_KINDS:
                pairs = [(u, v) for _, u, v in argument]
                assert kind != DOT or pairs == sorted(pairs), f"%{node} has terms out of order"
                assert all(u >= v for _, u, v in argument), f"%{node} has a term that is not canonical"
                assert all(v == ONE or c in LIGHT for c, _, v in argument), f"%{node} has a heavy factor on a product"
            else:
                assert kind in ("parameter", "input", "share"), f"%{node} is of an unknown kind {kind!r}"
                assert self.mapped[node] == (kind != "parameter")

    def write(self, node: int) -> str:
        """One line: ``%4 = tanh(%3) for each example``."""
        kind, argument = self.kinds[node], self.arguments[node]
        if isinstance(kind, Operation):
            constants = "".join(f"[{c:g}]" for c in kind.constants)
            text = f"{kind.name}{constants}({', '.join(f'%{u}' for u in argument)})"
        elif kind in SUM_KINDS:
            summed = not self.mapped[node] and any(self.mapped[operand] for operand in self.operands(node))
            text = "sum of " * summed + " + ".join(_write_term(term) for term in argument)
            text = text if kind == DOT else f"{kind}({text})"
        else:
            text = "share" if kind == "share" else f"{'p' if kind == 'parameter' else 'x'}{argument}"
        return f"%{node} = {text}" + " for each example" * self.mapped[node]

    def __str__(self) -> str:
        return "\n".join(self.write(node) for node in range(1, len(self)))


def _operands(kind: Kind, argument: Any) -> Sequence[int]:
    if kind in SUM_KINDS:
        _, us, vs = zip(*argument, strict=True)
        return tuple(chain.from_iterable(zip(us, vs, strict=True)))
    return argument if isinstance(kind, Operation) else ()


def _write_term(term: Term) -> str:
    c, u, v = term
    factors = ([f"{c:g}"] if c != 1.0 or u == ONE else []) + [f"%{node}" for node in (u, v) if node != ONE]
    return "*".join(factors)


def _rounds_once(terms: Sequence[Term]) -> bool:
    """Whether the order does not matter: two numbers are added, which are exact themselves."""
    return len(terms) == 2 and all(v == ONE and (u == ONE or c in LIGHT) for c, u, v in terms)


def _merged(c: float, d: float) -> float | None:
    """The factor c*d that may take the place of two; None where it may not."""
    factor = c * d
    inside = c in (1.0, -1.0) or d in (1.0, -1.0) or SMALLEST_FACTOR <= abs(factor) <= LARGEST_FACTOR
    return factor if inside else None


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
        rule = _algebra(op)
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


def _algebra(op: Operation) -> Callable[..., Expression] | None:
    return POWERS.get(op.constants[0]) if op.key is ops.power else ALGEBRA.get(op)


def from_record(
    outputs: Sequence[Value],
    params: Mapping[Value, int],
    inputs: Mapping[Value, int],
    order: Sequence[Value] | None = None,
) -> tuple[Form, list[Expression]]:
    """The canonical form of what Values recorded: the outputs as functions of parameters and inputs.

    Every other leaf is a constant.  A sum or product that is used once dissolves into what uses it; one that is used
    more often becomes a node, so that nothing is computed twice.  order: the recorded nodes, operands first, where they
    are known already.
    """
    form = Form()
    order = topological_order(outputs) if order is None else order
    uses = Counter(map(id, chain.from_iterable([node.parents for node in order])))  # a traced Value is not hashed there
    near, results = _near_corners(order), set(map(id, outputs))
    known: dict[Value, Expression] = {}
    for node in order:
        assert node.op is not None  # it stands in a topological order, so it was recorded
        if not (node.op.in_table or node.op in NAMELESS):
            raise TypeError(
                f"a compiled function finds an operation by its name, and {node.op.name!r} does not lead to this one: "
                "another one was made since. Give each a name of its own: @operation(name=..., partials=...)"
            )
        operands: list[Any] = [known.get(parent) for parent in node.parents]
        if None in operands:  # leaves that are met for the first time
            for leaf in node.parents:
                if leaf not in known:
                    known[leaf] = _leaf(form, leaf, params, inputs)
            operands = [known[parent] for parent in node.parents]
        if node in near:
            _keep_apart(node.op, operands)
        found = known[node] = operands[0].record(node.op, *operands)
        found.ordered = found.ordered or node in near
        if uses[id(node)] > 1 and found.reference()[0] not in LIGHT and found.number() is None:
            found.terms = [(1.0, found.node(), ONE)]  # the product, which all its users take
        found.used_up = node.op in SUMS and uses[id(node)] == 1 and id(node) not in results
    return form, [known.get(y) or _leaf(form, y, params, inputs) for y in outputs]


def _near_corners(order: Sequence[Value]) -> set[Value]:
    """The sums and products from which nothing but sums and products lead to a corner, or to the edge of a domain.

    An exact tie decides there: abs(x*y - z), maximum(a + b, c), 1/(a*b - c).  They are computed as they are written.
    """
    near: set[Value] = set()
    for node in reversed(order):
        op, deciding = node.op, list(node.parents)
        assert op is not None
        if node not in near:
            if op.key in SMOOTH or (_algebra(op) is not None and op not in DECIDING):
                continue
            deciding = DECIDING.get(op, list)(deciding)
        near.update([parent for parent in deciding if parent.op is not None])
    return near


def _keep_apart(op: Operation, operands: Sequence[Expression]) -> None:
    """Near a corner a chain of sums is gathered from the left; a sum on the right of + or - is a node.

    Where both sides are sums, both are nodes: two equal sums are then computed by one rule, and their difference is 0.
    """
    if op is ops.total_row.operation:
        return
    first, *others = operands
    if op in (ops.add.operation, ops.sub.operation) and others[0].is_sum():
        first.close()
    for x in others:
        if len(x.terms) > 1:
            x.close()


def _leaf(form: Form, leaf: Value, params: Mapping[Value, int], inputs: Mapping[Value, int]) -> Expression:
    if leaf in params:
        return form.parameter(params[leaf])
    return form.input(inputs[leaf]) if leaf in inputs else form.constant(leaf.data)
