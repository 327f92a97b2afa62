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

Which rewrites lead to it, and for which floats each is exact, stands in `algebra`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import reduce
from itertools import chain
from operator import add, itemgetter
from typing import Any

from tinygrad_vi.compiler.algebra import Expression
from tinygrad_vi.compiler.terms import DOT, LIGHT, ONE, ORDERED, SUM_KINDS, Kind, Term
from tinygrad_vi.rows import Operation
from tinygrad_vi.sparsity import reached

#: an ordered sum of more terms becomes a dot, which runs as a product of matrices
FEW = 8


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
            text = " + ".join(_write_term(term) for term in argument)
            text = f"sum of {text}" if summed else text
            text = text if kind == DOT else f"{kind}({text})"
        else:
            text = "share" if kind == "share" else f"{'p' if kind == 'parameter' else 'x'}{argument}"
        return f"%{node} = {text}{' for each example' if self.mapped[node] else ''}"

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
