"""What a traced function can be asked for: each question is a list of outputs of one form.

The function was written for one example.  Its results are averaged over the batch: a mapped result r becomes the dot
``sum over the examples of share * r``, where share is 1/N; the terms of a result that are the same for all examples
(a penalty on the parameters) need no average.

Where the scalar code raises, arithmetic goes on with an infinity or a NaN, which tanh or 1/x may swallow.  So a
question has one more output, a *flag*: the sum of all nodes that may fail, which is infinite or NaN where one of them
is.  Most need no place in it, for they reach an output through sums and products alone, and these swallow nothing.
A flag accuses and does not judge: exp(inf) is no error, but it raises the flag.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from tinygrad_vi.compiler.algebra import CONDITION, Expression
from tinygrad_vi.compiler.form import Form
from tinygrad_vi.compiler.known import DEFINED, DIFFERENTIABLE, TELLING
from tinygrad_vi.compiler.reverse import gradient, partials
from tinygrad_vi.compiler.terms import ONE, Term
from tinygrad_vi.conditions import CHECKED
from tinygrad_vi.ops import power
from tinygrad_vi.rows import Operation

if TYPE_CHECKING:
    from tinygrad_vi.compiler.entries import Entries

#: coefficient * node
Output = tuple[float, int]

#: how often each question differentiates
ORDER = {"value": 0, "each": 0, "value_and_gradient": 1, "jacobian": 1, "directional": 1, "curvature": 2, "hessian": 2}


@dataclass(frozen=True)
class Question:
    """Outputs of a form: either all of them are mapped, or none is.

    parameters: how many numbers the parameter vector has, any direction or seed appended to it included.  adjoint_of:
    for a node that is the derivative of the mean by another node, that other node.  flagged: whether the last output is
    the flag of the checks, see the module.  checks: those that `Program.suspicions` asks for.  entries: where the
    outputs stand in a Jacobian or Hessian, see `entries`.
    """

    form: Form
    outputs: Sequence[Output]
    parameters: int
    inputs: int
    mapped: bool = False
    adjoint_of: Mapping[int, int] = field(default_factory=dict)
    flagged: bool = False
    checks: Sequence[Check] = ()
    entries: Entries | None = None


@dataclass(frozen=True)
class Check:
    """A number c * u * v that is infinite or NaN where an operation may fail.  v is ONE for a node alone.

    op: the operation, of these operands; None for a sum or a square, of which only the scalar code can say more.
    """

    c: float
    u: int
    v: int
    op: Operation | None
    operands: tuple[int, ...]


@dataclass
class Program:
    """A function in canonical form: its results for one example, as functions of P parameters and the inputs.

    All that is in the form when the program is made was recorded, and has checks, whether or not the results need it.
    """

    form: Form
    results: Sequence[Expression]
    parameters: int
    inputs: int

    def __post_init__(self) -> None:
        self.recorded = len(self.form)
        self.sums = tuple(self.form.sums)

    def leaves(self, start: int = 0, count: int | None = None) -> list[int]:
        """The nodes of the parameters, or of as many further numbers."""
        count = self.parameters if count is None else count
        return [self.form.node("parameter", i, False) for i in range(start, start + count)]

    def means(self) -> list[Output]:
        """The results, averaged over the batch."""
        return [mean(self.form, result) for result in self.results]

    def value(self) -> Question:
        """The mean results."""
        return self.ask(self.means())

    def value_and_gradient(self) -> Question:
        """The mean of the only result, and its derivatives by the parameters."""
        adjoint_of: dict[int, int] = {}
        outputs = [*self.means(), *self.gradient(adjoint_of)]
        return Question(self.form, outputs, self.parameters, self.inputs, adjoint_of=adjoint_of)

    def each(self) -> Question:
        """The results of each example."""
        return self.ask([_spread(self.form, result) for result in self.results], mapped=True)

    def directional(self) -> Question:
        """The mean results and their derivatives along v, which stands behind the parameters: J v.

        Forward mode out of reverse mode: u . J, with a seed u for each result, is linear in u, and its derivative by u
        along v is J v.
        """
        form, P, m = self.form, self.parameters, len(self.results)
        seeds = self.leaves(2 * P, m)
        scale, weighted = self.products(self.means(), seeds)
        scale, along = self._along(gradient(form, weighted, self.leaves(), seed=scale))
        derivatives = gradient(form, along, seeds, seed=scale)
        return self.ask([*self.means(), *derivatives], further=P + m)

    def curvature(self) -> Question:
        """The product of the Hessian of the mean with v, which stands behind the parameters: H v = d(g . v)/dp."""
        scale, node = self._along(self.gradient())
        return self.ask(gradient(self.form, node, self.leaves(), seed=scale), further=self.parameters)

    # --- Checks

    def checked(self, question: Question, order: int) -> Question:
        """The same question with a flag for those checks of `checks` that its outputs do not tell of."""
        form, checks = self.form, self.checks(order)
        told = _Told(form, [node for c, node in question.outputs if c != 0.0], checks)
        terms = []
        for check in reversed(checks):
            if not told.of(check):
                told.add(check)
                terms.append(self._counted(check, question.mapped))
        if not terms:
            return question
        return replace(question, outputs=[*question.outputs, form.contract(terms, question.mapped)], flagged=True)

    def _counted(self, check: Check, mapped: bool) -> Term:
        """The term of a flag; one that is not mapped adds up products, and averages what is none."""
        if check.v != ONE or mapped or not self.form.mapped[check.u]:
            return check.c, check.u, check.v
        node = Expression(self.form, [(check.c, check.u, ONE)]).node()  # c * u, which a share of it need not overflow
        return 1.0, node, self.form.share().node()

    def suspicions(self, order: int) -> Question:
        """For each check, and each example: the number, then the operands of the operation."""
        checks = self.checks(order)
        outputs = []
        for check in checks:
            outputs.append(_spread(self.form, Expression(self.form, [(check.c, check.u, check.v)])))
            outputs += [(1.0, for_each_example(self.form, operand)) for operand in check.operands]
        return replace(self.ask(outputs, mapped=True), checks=checks)

    def checks(self, order: int) -> list[Check]:
        """Where the scalar code may raise: in its operations, from order 1 on in their partial derivatives, too.

        Eager code computes the partials of each operation that depends on a parameter, whether or not anything flows
        back to it.  For order 2 the rules of the partials are recorded in their turn, and have partials of their own.
        """
        form = self.form
        maps = [y for y in range(1, self.recorded) if isinstance(form.kinds[y], Operation)]
        found = dict.fromkeys(maps)
        if order > 0:
            dependent = form.dependent(self.leaves(), self.recorded - 1)
            differentiated = [y for y in maps if y in dependent and form.kinds[y] is not CONDITION]
            slopes = self._in_partials([y for y in differentiated if order > 1 or _key(form, y) not in DIFFERENTIABLE])
            found.update(slopes)
            if order > 1:
                found.update(self._in_partials([y for y in slopes if _key(form, y) not in DIFFERENTIABLE]))
        checks = [self._check(y) for y in found if _key(form, y) not in DEFINED]
        return sorted({*checks, *map(self._check_of_sum, self.sums)}, key=lambda check: (check.u, check.v, check.c))

    def _check(self, y: int) -> Check:
        op, operands = self.form.kinds[y], tuple(self.form.arguments[y])
        assert isinstance(op, Operation)
        if op is CONDITION:
            op, operands = CHECKED, operands * 2
        return Check(1.0, y, ONE, op, operands)

    def _check_of_sum(self, x: Expression) -> Check:
        c, u, v = x.terms[0] if len(x.terms) == 1 else (*x.reference(), ONE)
        operands = {u, v} if v != ONE else set(self.form.operands(u)) or {u}
        return Check(abs(c), u, v, None, tuple(sorted(operands - {ONE})))

    def _in_partials(self, nodes: Iterable[int]) -> dict[int, None]:
        """The maps of which the partials of these maps are made."""
        found: dict[int, None] = {}
        for y in nodes:
            stack = [partial.reference()[1] for partial in partials(self.form, y)]
            while stack:
                node = stack.pop()
                if node >= self.recorded and node != y and node not in found:
                    stack += self.form.operands(node)
                    if isinstance(self.form.kinds[node], Operation):
                        found[node] = None
        return found

    def gradient(self, adjoint_of: dict[int, int] | None = None) -> list[Output]:
        """The derivatives of the mean of the only result by the parameters."""
        [(scale, node)] = self.means()
        return gradient(self.form, node, self.leaves(), seed=scale, adjoint_of=adjoint_of)

    def _along(self, slopes: Sequence[Output]) -> Output:
        """g . v"""
        return self.products(slopes, self.leaves(self.parameters))

    def products(self, outputs: Sequence[Output], nodes: Sequence[int], mapped: bool = False) -> Output:
        """The sum of each output times its node; nothing comes from an output that is the constant 0."""
        pairs = [(output, node) for output, node in zip(outputs, nodes, strict=True) if output[0] != 0.0]
        return self.form.contract([(*self.form.light(*output), node) for output, node in pairs], mapped)

    def ask(self, outputs: Sequence[Output], *, mapped: bool = False, further: int = 0) -> Question:
        """These outputs.  further: how many numbers stand behind the parameters."""
        return Question(self.form, outputs, self.parameters + further, self.inputs, mapped)


def mean(form: Form, result: Expression) -> Output:
    """The average of a result over the batch, as a node that is not mapped.

    Of a sum of products, a loss and a penalty, only the terms that differ from example to example need one.
    """
    result.close_plain()
    for_each = [term for term in result.terms if form.mapped[term[1]] or form.mapped[term[2]]]
    for_all = [term for term in result.terms if not (form.mapped[term[1]] or form.mapped[term[2]])]
    if for_each:
        scale, node = form.contract(for_each, True)
        for_all.append((*form.light(scale, node), form.share().node()))
    return form.contract(for_all, False)


def _spread(form: Form, result: Expression) -> Output:
    """A result with a value for each example, even where it is the same for all of them."""
    result.close_plain()
    scale, node = form.contract(result.terms)
    return scale, for_each_example(form, node)


def for_each_example(form: Form, node: int) -> int:
    """The node, or a copy of it for each example."""
    return node if form.mapped[node] else form.node("dot", ((1.0, node, ONE),), True)


def _key(form: Form, node: int) -> Any:
    op = form.kinds[node]
    assert isinstance(op, Operation)
    return op.key


class _Told:
    """The nodes, and the products, that are finite if some other nodes are."""

    def __init__(self, form: Form, nodes: Iterable[int], checks: Iterable[Check]) -> None:
        self.form = form
        self.nodes = {ONE}
        #: the products that will be asked for, with the largest coefficient
        self.products: dict[tuple[int, int], float] = {(check.u, check.v): -1.0 for check in checks}
        self.factors = {u for u, _ in self.products}
        self._follow(list(nodes))

    def of(self, check: Check) -> bool:
        """Whether a check that fails is seen already."""
        alone = check.v == ONE and check.c <= 1.0 and check.u in self.nodes
        return alone or check.c <= self.products[check.u, check.v]

    def add(self, check: Check) -> None:
        """Count a check among what is seen."""
        self._follow([check.u, check.v])

    def _follow(self, stack: list[int]) -> None:
        kinds, factors, products = self.form.kinds, self.factors, self.products
        while stack:
            node = stack.pop()
            if node in self.nodes:
                continue
            self.nodes.add(node)
            kind, operands = kinds[node], self.form.operands(node)
            if isinstance(kind, Operation):
                tells = kind.key in TELLING or (kind.key is power and kind.constants[0] > 0.0)
                stack += operands if tells else ()
            elif operands:  # a sum of products
                stack += set(operands) - self.nodes
                if not factors.isdisjoint(operands):
                    for c, u, v in self.form.arguments[node]:
                        if (u, v) in products:
                            products[u, v] = max(abs(c), products[u, v])
