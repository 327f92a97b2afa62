"""What a traced function can be asked for: each question is a list of outputs of one form.

The function was written for one example.  Its results are averaged over the batch: a mapped result r becomes the dot
``sum over the examples of share * r``, where share is 1/N; the terms of a result that are the same for all examples
(a penalty on the parameters) need no average.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tinygrad_vi.compiler.form import ONE, Expression, Form
from tinygrad_vi.compiler.reverse import gradient

#: coefficient * node
Output = tuple[float, int]


@dataclass(frozen=True)
class Question:
    """Outputs of a form: either all of them are mapped, or none is.

    parameters: how many numbers the parameter vector has, any direction or seed appended to it included.  adjoint_of:
    for a node that is the derivative of the mean by another node, that other node.
    """

    form: Form
    outputs: Sequence[Output]
    parameters: int
    inputs: int
    mapped: bool = False
    adjoint_of: Mapping[int, int] = field(default_factory=dict)


@dataclass
class Program:
    """A function in canonical form: its results for one example, as functions of P parameters and the inputs."""

    form: Form
    results: Sequence[Expression]
    parameters: int
    inputs: int

    def leaves(self, start: int = 0, count: int | None = None) -> list[int]:
        """The nodes of the parameters, or of as many further numbers."""
        count = self.parameters if count is None else count
        return [self.form.parameter(i).node() for i in range(start, start + count)]

    def means(self) -> list[Output]:
        """The results, averaged over the batch."""
        return [mean(self.form, result) for result in self.results]

    def value(self) -> Question:
        """The mean results."""
        return self._ask(self.means())

    def value_and_gradient(self) -> Question:
        """The mean of the only result, and its derivatives by the parameters."""
        adjoint_of: dict[int, int] = {}
        outputs = [*self.means(), *self._gradient(adjoint_of)]
        return Question(self.form, outputs, self.parameters, self.inputs, adjoint_of=adjoint_of)

    def each(self) -> Question:
        """The results of each example."""
        return self._ask([_spread(self.form, result) for result in self.results], mapped=True)

    def jacobian(self) -> Question:
        """The derivatives of each result by each parameter, for each example."""
        rows: list[Output] = []
        for result in self.results:
            scale, node = _spread(self.form, result)
            found = gradient(self.form, node, self.leaves(), seed=scale, for_each=True)
            rows += [(c, _mapped(self.form, g)) for c, g in found]
        return self._ask(rows, mapped=True)

    def directional(self) -> Question:
        """The mean results and their derivatives along v, which stands behind the parameters: J v.

        Forward mode out of reverse mode: u . J, with a seed u for each result, is linear in u, and its derivative by u
        along v is J v.
        """
        form, P, m = self.form, self.parameters, len(self.results)
        seeds = self.leaves(2 * P, m)
        scale, weighted = self._products(self.means(), seeds)
        scale, along = self._along(gradient(form, weighted, self.leaves(), seed=scale))
        derivatives = gradient(form, along, seeds, seed=scale)
        return self._ask([*self.means(), *derivatives], further=P + m)

    def curvature(self) -> Question:
        """The product of the Hessian of the mean with v, which stands behind the parameters: H v = d(g . v)/dp."""
        scale, node = self._along(self._gradient())
        return self._ask(gradient(self.form, node, self.leaves(), seed=scale), further=self.parameters)

    def _gradient(self, adjoint_of: dict[int, int] | None = None) -> list[Output]:
        [(scale, node)] = self.means()
        return gradient(self.form, node, self.leaves(), seed=scale, adjoint_of=adjoint_of)

    def _along(self, slopes: Sequence[Output]) -> Output:
        """g . v"""
        return self._products(slopes, self.leaves(self.parameters))

    def _products(self, outputs: Sequence[Output], nodes: Sequence[int]) -> Output:
        """The sum of each output times its node; nothing comes from an output that is the constant 0."""
        pairs = [(output, node) for output, node in zip(outputs, nodes, strict=True) if output[0] != 0.0]
        return self.form.contract([(*self.form.light(*output), node) for output, node in pairs], False)

    def _ask(self, outputs: Sequence[Output], *, mapped: bool = False, further: int = 0) -> Question:
        return Question(self.form, outputs, self.parameters + further, self.inputs, mapped)


def mean(form: Form, result: Expression) -> Output:
    """The average of a result over the batch, as a node that is not mapped."""
    for_each = [term for term in result.terms if form.mapped[term[1]] or form.mapped[term[2]]]
    for_all = [term for term in result.terms if not (form.mapped[term[1]] or form.mapped[term[2]])]
    if for_each:
        scale, node = form.contract(for_each, True)
        for_all.append((*form.light(scale, node), form.share().node()))
    return form.contract(for_all, False)


def _spread(form: Form, result: Expression) -> Output:
    """A result with a value for each example, even where it is the same for all of them."""
    scale, node = form.contract(result.terms)
    return scale, _mapped(form, node)


def _mapped(form: Form, node: int) -> int:
    return node if form.mapped[node] else form.node("dot", ((1.0, node, ONE),), True)
