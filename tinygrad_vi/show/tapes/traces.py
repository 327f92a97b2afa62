"""Trace tables: a tape and its sweeps as the textbook prints them."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tinygrad_vi.checks import DomainError
from tinygrad_vi.expression import ExpressionError, evaluate
from tinygrad_vi.graph import check_unchanged
from tinygrad_vi.ops import dot_row
from tinygrad_vi.show.writing.console import BAR, DOT
from tinygrad_vi.show.writing.formula import DOTS, Symbol, as_factor, product_of, shortened, sum_of
from tinygrad_vi.show.writing.names import Names, as_text
from tinygrad_vi.show.writing.numerals import agree, enough_digits, true_product, true_sum, write_number
from tinygrad_vi.words import said

if TYPE_CHECKING:
    from tinygrad_vi.tape import Tape, Term, Trace
    from tinygrad_vi.value import Value
from tinygrad_vi.show.tapes.table import EMPTY, Table

# --- The three tables -------------------------------------------------------------------------------------------------


def tape_table(tape: Tape, digits: int = 4) -> Table:
    """The evaluation trace: v[i], its formula, the formula with numbers, its value."""
    check_unchanged(tape.operations)
    write = TraceWriter(tape, digits)
    rows = [[*write.computation(node), write.number(node.data)] for node in tape]
    rows.append([write.output, write.name(tape.output), EMPTY, write.number(tape.output.data)])
    return Table(said("tables")["trace"], heads("v", "formula", "numbers", "value"), rows)


def trace_table(trace: Trace, digits: int = 4) -> Table:
    """The evaluation trace with its tangents, or its adjoints, beside it."""
    check_unchanged(trace.tape.operations)
    return _tangent_table(trace, digits) if trace.mode == "tangent" else _adjoint_table(trace, digits)


def _tangent_table(trace: Trace, digits: int) -> Table:
    tape, write, words = trace.tape, TraceWriter(trace.tape, digits), said("tables")
    rows = []
    for node in tape:
        terms = trace.terms.get(node, ())
        rule = write.rule([(write.tangent(t.operation.parents[t.operand]), write.partial(t)) for t in terms])
        rule = rule or write.seed(DOT, node)
        left = [*write.computation(node), write.number(node.data)]
        rows.append([*left, write.tangent(node), rule, write.factors(terms), write.number(trace[node])])
    end = tape.output
    rows.append([write.output, write.name(end), EMPTY, write.number(end.data)])
    rows[-1] += [write.output_seed(DOT), write.tangent(end), EMPTY, write.number(trace[end])]
    shown = tape.inputs if len(tape.inputs) <= 3 else [v for v in tape.inputs if trace[v] != 0.0]
    seeds = [f"{write.seed(DOT, v).text} = {write_number(trace[v], digits)}" for v in shown]
    if len(shown) < len(tape.inputs):
        seeds.append(words["others"])
    return Table(
        words["forward"].format(seeds=", ".join(seeds) or words["none"]),
        heads("v", "formula", "numbers", "value", "v" + DOT, "chain rule", "factors", "tangent"),
        rows,
        half=4,
    )


def _adjoint_table(trace: Trace, digits: int) -> Table:
    tape, write = trace.tape, TraceWriter(trace.tape, digits)
    rows = []
    for node in tape:
        terms = trace.terms.get(node, ())
        rule = write.rule([(write.adjoint(t.operation), write.partial(t)) for t in terms])
        if node is tape.output:
            rule = write.output_seed(BAR)
        name, formula, _ = write.computation(node)
        adjoint = [write.adjoint(node), rule or EMPTY, write.factors(terms), write.contributions(terms, trace[node])]
        if tape.is_input(node):
            adjoint[0] = write.equal(write.seed(BAR, node), adjoint[0])
        rows.append([name, formula, write.number(node.data), *adjoint])
    end = tape.output
    seed = write.number(trace[end])
    rows.append([write.output, write.name(end), write.number(end.data), write.output_seed(BAR), EMPTY, EMPTY, seed])
    words = said("tables")
    return Table(
        words["reverse"],
        heads("v", "formula", "value", "v" + BAR, "chain rule", "factors", "adjoint"),
        rows,
        half=3,
        stacked_title=words["reverse stacked"],
    )


def heads(*names: str) -> list[Symbol]:
    """The heads of columns: v, v with a dot or a bar, or words in the language that is set."""
    words = said("tables")
    return [as_text(words[name]) if name in words else Symbol(name, _accent_latex(name)) for name in names]


# --- Cells ------------------------------------------------------------------------------------------------------------


class FormulaWriter:
    """Writes the rows of a tape: their names, formulas, numbers and partial derivatives."""

    def __init__(self, tape: Tape, digits: int) -> None:
        self.tape = tape
        self.digits = digits
        self.names = Names(tape)
        self._partials: dict[Value, list[Symbol]] = {}

    def number(self, x: float) -> Symbol:
        """The number with so many digits."""
        return Symbol.of(x, self.digits)

    def name(self, node: Value) -> Symbol:
        """v₁ for a row, its number for a constant; formulas made of it have numbers of so many digits."""
        if self.tape.number(node) is None:
            return Symbol.part(node.data, self.digits)
        row = self.names.row(node)
        return Symbol(row.text, row.latex, digits=self.digits)

    def formula(self, node: Value) -> tuple[Symbol, Symbol | None]:
        """The operation on the names of its operands, and on their numbers; see `with_numbers`."""
        return self.applied(node, self._operands(node, [self.name(v) for v in node.parents])), self.with_numbers(node)

    def with_numbers(self, node: Value) -> Symbol | None:
        """The operation on the numbers of its operands, written with digits enough to give the number of the node.

        None where they do not give it with all of their digits.
        """

        def written(digits: int) -> Symbol:
            numbers = [
                Symbol.of(v.data, digits) if self.tape.number(v) is not None else Symbol.part(v.data, digits)
                for v in node.parents
            ]
            return self.applied(node, self._operands(node, numbers))

        found = enough_digits(self.digits, lambda digits: holds(written(digits), node.data, self.digits))
        return None if found is None else written(found)

    def _operands(self, node: Value, symbols: list[Symbol]) -> list[Symbol]:
        bias = node.parents[-1:]
        if node.op is dot_row.operation and self.tape.number(bias[0]) is None and bias[0].data == 0.0:
            return [*symbols[:-1], EMPTY]  # a neuron without a bias
        return symbols

    def applied(self, node: Value, operands: Sequence[Symbol]) -> Symbol:
        """The operation of a node, written on these operands."""
        assert node.op is not None
        return Symbol.record(node.op, *operands)

    def partials(self, node: Value) -> list[Symbol]:
        """The derivatives of an operation by its operands, as formulas of the rows' names.

        Where the formula does not give the number that was recorded, as at a corner, the number stands for it.
        """
        if node not in self._partials:
            assert node.op is not None
            rules = node.op.taught(self.name(node), *[self.name(parent) for parent in node.parents])
            self._partials[node] = [
                Symbol.part(rule, self.digits) if agrees else self.number(number)
                for rule, number, agrees in zip(rules, node.local_grads, formulas_agree(node), strict=True)
            ]
        return self._partials[node]


def holds(formula: Symbol, result: float, digits: int) -> bool:
    """Whether a formula of printed numbers gives the printed result: 3 * 5 = 10 would be wrong."""
    try:
        return agree(evaluate(formula.text.replace("·", "*"), {}), result, digits)
    except (ExpressionError, DomainError) as error:
        # a sum with dots, an operation that only the user knows; but not 1 / 0 for 1 / 0.00001
        return not isinstance(error, DomainError)
    except TypeError:
        return True


def formulas_agree(node: Value) -> list[bool]:
    """For each operand, whether the textbook's derivative gives the number that was recorded."""
    assert node.op is not None
    try:
        taught = node.op.taught(node.data, *[parent.data for parent in node.parents])
    except (ArithmeticError, ValueError):  # |x| has no derivative x/|x| at 0
        return [False] * len(node.parents)
    # roughly: in the tails the textbook's formula cancels, and is right all the same
    return [math.isclose(x, y, rel_tol=1e-6, abs_tol=1e-9) for x, y in zip(taught, node.local_grads, strict=True)]


class TraceWriter(FormulaWriter):
    """Writes the cells of one tape's tables."""

    def __init__(self, tape: Tape, digits: int) -> None:
        super().__init__(tape, digits)
        self.output = self.names.output

    def label(self, node: Value) -> Symbol:
        """The node's label, or else the name of its row."""
        return self.names.label(node) or self.name(node)

    def accented(self, accent: str, symbol: Symbol) -> Symbol:
        """A letter with its index, such as v₁ or x1, with a dot or a bar."""
        letter, index = symbol.latex[:1], symbol.latex[1:]
        text = unicodedata.normalize("NFC", symbol.text[:1] + accent + symbol.text[1:])
        return Symbol(text, rf"{_ACCENTS[accent]}{{{letter}}}{index}")

    def seed(self, accent: str, node: Value) -> Symbol:
        """ẋ1 or x̄1 for an input whose label is a letter with an index, and no other's; else its row's."""
        return self.accented(accent, self.label(node) if self.names.is_letter(node) else self.name(node))

    def output_seed(self, accent: str) -> Symbol:
        """ẏ or ȳ; the row's where the output is called otherwise."""
        if self.names.output_is_letter:
            return self.accented(accent, self.output)
        taken = {symbol.text for symbol in map(self.names.label, self.tape) if symbol}
        if "y" not in taken:
            return self.accented(accent, Symbol("y"))
        known = self.tape.number(self.tape.output) is not None
        return self.accented(accent, self.name(self.tape.output)) if known else as_text(said("tables")["output"])

    def equal(self, left: Symbol, right: Symbol) -> Symbol:
        """left = right, or only one of them when both are written alike."""
        if left.text == right.text:
            return left
        return Symbol(f"{left.text} = {right.text}", f"{left.latex} = {right.latex}")

    def tangent(self, node: Value) -> Symbol:
        """v̇₁."""
        return self.accented(DOT, self.name(node))

    def adjoint(self, node: Value) -> Symbol:
        """v̄₁."""
        return self.accented(BAR, self.name(node))

    def computation(self, node: Value) -> list[Symbol]:
        """The row's name, its formula, and the formula with numbers."""
        if node.op is None or self.tape.is_input(node):
            return [self.name(node), self.label(node), EMPTY]
        formula, with_numbers = self.formula(node)
        return [self.name(node), formula, with_numbers or EMPTY]

    def partial(self, term: Term) -> Symbol:
        """The derivative of an operation by one operand, as a formula of the rows' names."""
        return self.partials(term.operation)[term.operand]

    def rule(self, products: Sequence[tuple[Symbol, Symbol]]) -> Symbol | None:
        """The chain rule in symbols: a sum of flow * partial."""
        return sum_of(shortened([_product(flow, partial) for flow, partial in products], DOTS)) if products else None

    def factors(self, terms: Sequence[Term]) -> Symbol:
        """The same with numbers, nothing multiplied out: every product of the sum shows both its factors."""
        products = [
            [as_factor(Symbol.written(factor)) for factor in true_product((t.flow, t.partial), t.product, self.digits)]
            for t in terms
        ]
        return sum_of([product_of(factors) for factors in shortened(products, [DOTS])])

    def contributions(self, terms: Sequence[Term], result: float) -> Symbol:
        """The products of a sum and what they add up to: -0.2837 + 2 = 1.716."""
        written = true_sum([t.product for t in terms], result, self.digits) if len(terms) > 1 else None
        if written is None:
            return self.number(result)
        return self.equal(sum_of(shortened([*map(Symbol.written, written)], DOTS)), self.number(result))


_ACCENTS = {DOT: r"\dot", BAR: r"\bar"}


def _accent_latex(text: str) -> str:
    return rf"{_ACCENTS[text[1]]}{{v}}" if len(text) == 2 else "v"


def _product(flow: Symbol, partial: Symbol) -> Symbol:
    if partial.text in ("1", "-1"):
        sign = partial.text[:-1]
        return Symbol(sign + flow.text, sign + flow.latex, 3, 3)
    return product_of([flow, as_factor(partial)])
