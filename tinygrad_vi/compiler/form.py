"""The canonical form of a scalar program: two kinds of node besides the leaves.

    node  =  1                                   node 0, the constant
          |  parameter i                         one number
          |  input j                             one number for each example
          |  share                               1/N for each of N examples: its part in a mean
          |  map    op(u1, ..., uk)              a row of the operation table, element by element
          |  dot    sum over k of c_k * u_k * v_k

Constants live in the coefficients c, a plain sum has v = 1, division is a power: so every chain of sums and products
becomes one dot, and the form is closed under reverse mode, where the adjoint of each operand of a dot is a dot again.

The batch is one rule.  A node is *mapped* when it has a value for each example.  A dot that is not mapped adds up those
of its terms that are, over the examples.

Nodes stand in an order in which operands come first, and equal nodes are one (hash-consing), so a form is a program
with its common subexpressions already shared.  Rewrites may change the last bits: sums and products are regrouped,
coefficients multiplied out, and x/y is x * y**-1.  None drops a value that may be infinite, 0 * x stays a term; only
reverse mode drops a partial that is the constant 0, as the eager sweep drops an adjoint of 0.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from tinygrad_vi import ops
from tinygrad_vi.ops import Operation
from tinygrad_vi.value import Value, topological_order

#: (coefficient, u, v) with u >= v
Term = tuple[float, int, int]
Kind = str | Operation

ONE = 0


class Form:
    """A program in canonical form.  Nodes are numbers; three lists say what each of them is.

    kinds: "one", "parameter", "input", "share", "dot", or the row of a map.  arguments: None, the leaf's number, the
    terms of a dot, or the operands of a map.  mapped: whether the node has a value for each example.

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

    def __len__(self) -> int:
        return len(self.kinds)

    def node(self, kind: Kind, argument: Any, mapped: bool) -> int:
        """The node of these facts, made when it is first asked for."""
        key = kind, argument, mapped
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = len(self.kinds)
            self.kinds.append(kind)
            self.arguments.append(argument)
            self.mapped.append(mapped)
        return found

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

    def contract(self, terms: Iterable[Term], mapped: bool | None = None) -> tuple[float, int]:
        """A sum of products as (coefficient, node); a single node is returned as it is, and a common factor apart.

        mapped: whether the sum has a value for each example; by default when one of its terms has.
        """
        coefficients: dict[tuple[int, int], float] = {}
        for c, u, v in terms:
            pair = (u, v) if u >= v else (v, u)
            coefficients[pair] = coefficients[pair] + c if pair in coefficients else c
        # the only term dropped is the number 0
        kept = sorted([(u, v, c) for (u, v), c in coefficients.items() if u != ONE or c != 0.0])
        if not kept:
            return 0.0, ONE
        if mapped is None:
            mapped = any(self.mapped[u] or self.mapped[v] for u, v, _ in kept)
        if len(kept) == 1:
            u, v, c = kept[0]
            if v == ONE and self.mapped[u] == mapped:
                return c, u
            return c, self.node("dot", ((1.0, u, v),), mapped)
        scale = kept[0][2]
        if scale != 1.0 and all(c == scale for _, _, c in kept):  # a common factor stays outside
            return scale, self.node("dot", tuple([(1.0, u, v) for u, v, _ in kept]), mapped)
        return 1.0, self.node("dot", tuple([(c, u, v) for u, v, c in kept]), mapped)

    def operands(self, node: int) -> Sequence[int]:
        """The nodes that a node is computed from."""
        kind, argument = self.kinds[node], self.arguments[node]
        if kind == "dot":
            return [operand for _, u, v in argument for operand in (u, v)]
        return argument if isinstance(kind, Operation) else ()

    def live(self, outputs: Iterable[int]) -> list[int]:
        """The nodes that the outputs depend on, operands first; the others are dead."""
        wanted = set(outputs)
        for node in range(max(wanted, default=ONE), ONE, -1):
            if node in wanted:
                wanted.update(self.operands(node))
        return sorted(wanted - {ONE})

    def dependent(self, leaves: Iterable[int], last: int) -> set[int]:
        """The nodes up to the last that depend on some of these, themselves not included."""
        leaves = set(leaves)
        reached = set(leaves)
        for node in range(min(leaves, default=last) + 1, last + 1):
            if not reached.isdisjoint(self.operands(node)):
                reached.add(node)
        return reached - leaves

    def check(self) -> None:
        """Raise AssertionError when the form breaks its own rules: for tests, after each pass."""
        for node in range(1, len(self)):
            kind, argument = self.kinds[node], self.arguments[node]
            operands = self.operands(node)
            assert all(0 <= operand < node for operand in operands), f"%{node} comes before its operands"
            if isinstance(kind, Operation):
                assert kind.arity in (None, len(argument)), f"%{node} has {len(argument)} operands"
                assert self.mapped[node] == any(self.mapped[u] for u in argument), f"%{node} is mapped like no operand"
            elif kind == "dot":
                pairs = [(u, v) for _, u, v in argument]
                assert pairs == sorted(set(pairs)), f"%{node} has terms out of order, or twice"
                assert all(u >= v for _, u, v in argument), f"%{node} has a term that is not canonical"
            else:
                assert kind in ("parameter", "input", "share"), f"%{node} is of an unknown kind {kind!r}"
                assert self.mapped[node] == (kind != "parameter")

    def write(self, node: int) -> str:
        """One line: ``%4 = tanh(%3) for each example``."""
        kind, argument = self.kinds[node], self.arguments[node]
        if isinstance(kind, Operation):
            constants = "".join(f"[{c:g}]" for c in kind.constants)
            text = f"{kind.name}{constants}({', '.join(f'%{u}' for u in argument)})"
        elif kind == "dot":
            summed = not self.mapped[node] and any(self.mapped[operand] for operand in self.operands(node))
            text = "sum of " * summed + " + ".join(_write_term(term) for term in argument)
        else:
            text = "share" if kind == "share" else f"{'p' if kind == 'parameter' else 'x'}{argument}"
        return f"%{node} = {text}" + " for each example" * self.mapped[node]

    def __str__(self) -> str:
        return "\n".join(self.write(node) for node in range(1, len(self)))


def _write_term(term: Term) -> str:
    c, u, v = term
    factors = ([f"{c:g}"] if c != 1.0 or u == ONE else []) + [f"%{node}" for node in (u, v) if node != ONE]
    return "*".join(factors)


class Expression:
    """A sum of terms on its way to becoming a node: what the rules of the table are run on.

    It answers to ``+ - * / **`` and to ``record``, so anything written for Values runs on it.  Sums are gathered and
    products multiplied out into coefficients; a node is made only when something else than a sum needs one.
    """

    __slots__ = ("form", "terms")

    def __init__(self, form: Form, terms: list[Term]) -> None:
        self.form = form
        self.terms = terms

    def reference(self) -> tuple[float, int]:
        """The expression as coefficient and node."""
        if len(self.terms) == 1 and self.terms[0][2] == ONE:
            return self.terms[0][:2]
        scale, node = self.form.contract(self.terms)
        self.terms = [(scale, node, ONE)]
        return scale, node

    def node(self) -> int:
        """The expression as one node."""
        scale, node = self.reference()
        if scale == 1.0:
            return node
        return self.form.node("dot", ((scale, node, ONE),), self.form.mapped[node])

    def number(self) -> float | None:
        """The value, if it is known already."""
        if any(u != ONE for _, u, _ in self.terms):
            return None
        return sum([c for c, _, _ in self.terms])

    def record(self, op: Operation, *operands: Any) -> Expression:
        """Apply an operation: sums and products stay algebra, the rest becomes a map."""
        xs = [x if isinstance(x, Expression) else self.form.constant(x) for x in operands]
        rule = ALGEBRA.get(op.name)
        if rule is not None:
            return rule(*xs)
        if op.name == "power" and op.constants[0] in POWERS:
            return POWERS[op.constants[0]](xs[0])
        numbers = [x.number() for x in xs]
        if None not in numbers:
            return self.form.constant(op.value(*numbers))
        nodes = tuple([x.node() for x in xs])
        mapped = any(self.form.mapped[u] for u in nodes)
        return Expression(self.form, [(1.0, self.form.node(op, nodes, mapped), ONE)])

    def scaled(self, factor: float) -> Expression:
        """The expression times a number."""
        return Expression(self.form, [(factor * c, u, v) for c, u, v in self.terms])

    def times(self, other: Expression) -> Expression:
        """The product; multiplied out only when one of the factors is a number."""
        for factor, rest in ((self, other), (other, self)):
            c = factor.number()
            if c is not None:
                return rest.scaled(c)
        (c, u), (d, v) = self.reference(), other.reference()
        return Expression(self.form, [(c * d, u, v)])

    def plus(self, other: Expression) -> Expression:
        """The sum: all the terms."""
        return Expression(self.form, self.terms + other.terms)

    def over(self, other: Expression) -> Expression:
        """The quotient, as a product with other**-1."""
        c = other.number()
        return self.scaled(1.0 / c) if c is not None else self.times(other.record(ops.power(-1.0), other))

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
        op = ops.OPERATIONS.get(name)
        if op is None or op.arity != 1:
            raise AttributeError(f"an expression has no attribute {name!r}")
        return lambda: self.record(op, self)


def _sum(*xs: Expression) -> Expression:
    return Expression(xs[0].form, [term for x in xs for term in x.terms])


def _dot(*operands: Expression) -> Expression:
    w, x, b = ops.split(operands)
    return _sum(*[u.times(v) for u, v in zip(w, x, strict=True)], b)


def _watched(x: Expression) -> Expression:
    """The same, whose overflow is an error."""
    x.form.sums.append(x)
    return x


def _checked(x: Expression, ok: Expression) -> Expression:
    """x alone.  The check becomes sqrt(ok), which nothing uses: it is a number where ok is not below 0."""
    if ok.number() is None:
        ok.record(CONDITION, ok)
    return x


#: what becomes of `ops.checked`; computed as sqrt is, but not a sqrt that was written, which has a derivative to lack
CONDITION = replace(ops.sqrt.operation, doc="A number unless x is below 0 or NaN.")

#: the operations that are sums and products
ALGEBRA: dict[str, Callable[..., Expression]] = {
    "add": Expression.plus,
    "sub": lambda x, y: x.plus(y.scaled(-1.0)),
    "neg": lambda x: x.scaled(-1.0),
    "mul": Expression.times,
    "div": Expression.over,
    "total": lambda *xs: _watched(_sum(*xs)),
    "dot": _dot,
    ops.CHECKED.name: _checked,
}
POWERS: dict[float, Callable[[Expression], Expression]] = {
    0.0: lambda x: x.form.constant(1.0),
    1.0: lambda x: x,
    2.0: lambda x: _watched(x.times(x)),
}


def from_record(
    outputs: Sequence[Value],
    parameters: Mapping[Value, int],
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
    uses = Counter(parent for node in order for parent in node.parents)
    known: dict[Value, Expression] = {}
    for node in order:
        for leaf in node.parents:
            if not leaf.parents and leaf not in known:
                known[leaf] = _leaf(form, leaf, parameters, inputs)
        assert node.op is not None  # it stands in a topological order, so it was recorded
        operands = [known[parent] for parent in node.parents]
        found = known[node] = operands[0].record(node.op, *operands)
        if uses[node] > 1:
            found.reference()
    return form, [known.get(y) or _leaf(form, y, parameters, inputs) for y in outputs]


def _leaf(form: Form, leaf: Value, parameters: Mapping[Value, int], inputs: Mapping[Value, int]) -> Expression:
    if leaf in parameters:
        return form.parameter(parameters[leaf])
    return form.input(inputs[leaf]) if leaf in inputs else form.constant(leaf.data)
