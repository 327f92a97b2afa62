"""Writing a derivation down: its sentences and its equations."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

from tinygrad_vi import ops
from tinygrad_vi.graph import check_unchanged
from tinygrad_vi.show.tapes.equations import (
    Equation,
    Part,
    Sum,
    equal_to,
    fraction,
    joined,
    mark_of,
    sentence_of,
    stages_of,
    worded,
    write_count,
)
from tinygrad_vi.show.tapes.paths import Factor, Step, made_of, multiplied
from tinygrad_vi.show.tapes.traces import FormulaWriter, formulas_agree, holds
from tinygrad_vi.show.writing.formula import DOTS, Symbol, as_factor, shortened
from tinygrad_vi.show.writing.names import escape_latex, is_name, label_symbol, row_name
from tinygrad_vi.show.writing.numerals import enough_digits, product_digits, sum_digits
from tinygrad_vi.tape import Tape
from tinygrad_vi.value import Value
from tinygrad_vi.words import said

if TYPE_CHECKING:
    from tinygrad_vi.show.tapes.derivation import Derivation

T = TypeVar("T")
LONGEST_LABEL = 40

MUL, DOT, TOTAL = ops.mul.operation, ops.dot_row.operation, ops.total_row.operation


# --- Names ------------------------------------------------------------------------------------------------------------


def _names(tape: Tape, x: Value) -> dict[Value, Symbol]:
    """Nodes that are not named by their rows: those with a label of their own, the output, an x that has no row."""
    labels = {node: _label(node.label) for node in dict.fromkeys((*tape, x)) if node.label}
    times = Counter(symbol.latex for symbol in labels.values())  # x1 and x_1 look the same
    names = {
        node: symbol
        for node, symbol in labels.items()
        if times[symbol.latex] == 1 and is_name(symbol.text) and not symbol.text.endswith("…")
    }
    rows = {tape.name(node) for node in tape if node not in names and node is not tape.output}
    if any(row_name(symbol.text) in rows for symbol in names.values()):  # a label v1, and a row v₁ beside it
        names = {node: symbol for node, symbol in names.items() if not row_name(symbol.text)}
    names = {node: _word(symbol) for node, symbol in names.items()}
    for node, letters in ((tape.output, "yfzwL"), (x, "xutsc")):
        if node not in names and (node is tape.output or tape.number(node) is None):
            taken = {symbol.latex for symbol in (*names.values(), *labels.values())}
            names[node] = next((Symbol(c) for c in letters if c not in taken), Symbol("?", r"\text{?}"))
    return names


def _label(label: str) -> Symbol:
    """A user's label, or its beginning.  Signs stand outside of \\text, inside of which MathJax knows only some."""
    symbol = label_symbol(label)
    if len(symbol.text) > LONGEST_LABEL:
        symbol = label_symbol(symbol.text[: LONGEST_LABEL - 1] + "…")
    if not symbol.latex.startswith(r"\text"):
        return symbol
    pieces = re.findall(r"[^\\{}$&#%_~^<>|]+|.", symbol.text)
    return Symbol(symbol.text, "{" + "".join(SIGNS.get(piece) or rf"\text{{{piece}}}" for piece in pieces) + "}")


SIGNS = {sign: rf"\{sign}" for sign in "{}$&#%_"}
SIGNS |= {"\\": r"\backslash ", "~": r"{\sim}", "^": r"{\wedge}", "<": "{<}", ">": "{>}", "|": r"{\vert}"}


def _word(symbol: Symbol) -> Symbol:
    """A label in a formula: in the text those with blanks or signs of arithmetic get parentheses."""
    plain = re.fullmatch(r"[\w.'′\u0300-\u036f]+(\[[\w,. ]*\])*", symbol.text)
    return symbol if plain else Symbol(f"({symbol.text})", symbol.latex)


# --- Writing ----------------------------------------------------------------------------------------------------------


class DerivationWriter(FormulaWriter):
    """Writes the parts of a derivation, each of at most so many equations."""

    def __init__(self, derivation: Derivation, max_rows: int | None) -> None:
        check_unchanged(derivation.tape.operations)  # the graph may have changed since it was derived
        super().__init__(derivation.tape, derivation.digits)
        self.derivation, self.max_rows = derivation, max_rows
        self.words = said("derivation")
        self.y, self.x = derivation.y, derivation.x
        self.called = _names(derivation.tape, self.x)
        self.place = {node: i for i, node in enumerate(made_of(self.x, derivation.tape))}
        self.has_marks = False
        self._with_numbers: dict[Factor, Symbol] = {}

    def parts(self) -> Iterator[Part]:
        """What is printed, from the definitions to the result."""
        derivation, x, y = self.derivation, self.name(self.x), self.name(self.y)
        if not derivation.nodes:
            yield Part(self.reason())
            return
        yield Part(sentence_of(self.words["nodes"], x, y), self.rows(derivation.nodes, self.definition))
        yield from self.operands_beside()
        edges = list(dict.fromkeys(f for step in derivation.steps for product in step.products for f in product))
        if len(edges) == 1:
            yield Part(Symbol(self.words["derivative"]), [self.local_derivative(edges[0])])
            return
        local = [edge for edge in edges if edge.operand is not None and self.is_worked_out(edge)]
        if local:
            yield Part(Symbol(self.words["local"]), self.rows(local, self.local_derivative))
        yield Part(self.announcement(), self.rows(derivation.steps, self.step))
        if self.has_marks:
            yield Part(sentence_of(self.words["mark"], mark_of("k"), Symbol("k")))
        if derivation.stops:
            yield Part(sentence_of(self.words["not expanded"], [self.left_out(h) for h in derivation.stops]))

    def rows(self, items: Sequence[T], equation: Callable[[T], Equation]) -> list[Equation]:
        """An equation for each item; of too many the middle ones are left out."""
        if self.max_rows is None or len(items) <= self.max_rows:
            return [equation(item) for item in items]
        half = self.max_rows // 2
        more = self.words["more"].format(n=len(items) - 2 * half)
        gap = Equation(Symbol("⋮", r"\vdots"), [[[Symbol(more, rf"\text{{{more}}}")]]], [], relation="")
        return [*map(equation, items[:half]), gap, *map(equation, items[len(items) - half :])]

    def reason(self) -> Symbol:
        """Why there is nothing to derive."""
        x, y = self.name(self.x), self.name(self.y)
        result = equal_to(fraction(y, x), self.number(self.derivation.total))
        if self.x is self.y:
            return sentence_of(self.words["same"], result)
        if not self.y.parents:
            return sentence_of(self.words["leaf"], result, y)
        return sentence_of(self.words["independent"], result, y, x)

    def announcement(self) -> Symbol:
        """How the paths are summed, and how many there are."""
        n, way = self.derivation.n_paths, (self.name(self.y), self.name(self.x))
        if self.derivation.factored:
            count = sentence_of(self.words["path" if n == 1 else "paths"], write_count(n))
            sentence = sentence_of(self.words["node by node"], *way)
            return joined(sentence, joined(count, Symbol("):")))
        if n == 1:
            return sentence_of(self.words["one path"], *way)
        return sentence_of(self.words["all paths"], write_count(n), *way)

    # -- nodes

    def name(self, node: Value) -> Symbol:
        """The label, where it is no other node's; else the row's name, y for the output, a constant's number."""
        symbol = self.called.get(node)
        return super().name(node) if symbol is None else Symbol(symbol.text, symbol.latex, digits=self.digits)

    def value(self, node: Value) -> Symbol:
        """x1 = 2."""
        return equal_to(self.name(node), self.number(node.data))

    def definition(self, node: Value) -> Equation:
        """v₁ = x1 * x2 = 2 * 5 = 10."""
        formulas, numbers = [], [self.number(node.data)]
        if node.op is not None:
            formula, with_numbers = self.formula(node)
            formulas.append(formula)
            if with_numbers is not None:
                numbers.insert(0, with_numbers)
        label = _label(node.label or "")
        if is_name(label.text) and label.latex != self.name(node).latex:
            formulas.insert(0, label)
        return Equation(self.name(node), stages_of(formulas), stages_of(numbers))

    def applied(self, node: Value, operands: Sequence[Symbol]) -> Symbol:
        """The operation of a node; of many terms some are left out, but first those that do not depend on x."""
        op, terms = node.op, operands
        assert op is not None
        places = [i for i, parent in enumerate(node.parents) if parent in self.place]
        if op is DOT:
            (w, x, b), n = ops.split(operands), len(operands) // 2
            terms = [Symbol.record(MUL, *factors) for factors in zip(w, x, strict=True)]
            if b.text:
                terms = [*terms, b]
            op, places = TOTAL, [i % n if i < 2 * n else n for i in places]
        written = shortened(terms, DOTS, places) if op.arity is None else terms
        if written is terms or op is TOTAL:
            return Symbol.record(op, *written)
        text, latex = ", ".join([s.text for s in written]), ", ".join([s.latex for s in written])
        return Symbol(f"{op.name}({text})", rf"\operatorname{{{escape_latex(op.name)}}}\left({latex}\right)")

    def operands_beside(self) -> Iterator[Part]:
        """The numbers of named operands that are on no path, and the number or formula of an x without a name."""
        nodes = {*self.derivation.nodes}
        operands = dict.fromkeys(v for node in self.derivation.nodes[1:] for v in node.parents if v not in nodes)
        named = [v for v in operands if v in self.called or self.tape.number(v) is not None]
        for name, values in (
            ("beside", [self.value(v) for v in named if v not in self.place]),
            ("through a stop", [self.value(v) for v in named if v in self.place]),
        ):
            if values:
                yield Part(sentence_of(self.words[name], self.name(self.x), shortened(values, DOTS, most=12)))
        if not self.x.label and self.tape.number(self.x) is None:
            yield Part(sentence_of(self.words["constant"], self.name(self.x)))

    # -- derivatives

    def derivative(self, factor: Factor) -> Symbol:
        """∂v₂/∂v₁, with a mark where it is by one operand alone and not all of the derivative."""
        ratio = fraction(self.name(factor.of), self.name(factor.by))
        if factor.operand is None or self.is_only_way(factor):
            return ratio
        self.has_marks = True
        mark = mark_of(str(factor.operand + 1))
        return Symbol(ratio.text + mark.text, rf"\left.{ratio.latex}\right{mark.latex}")

    def is_only_way(self, edge: Factor) -> bool:
        """Whether no other operand leads down to this one; a search among the nodes between the two."""
        stack = [v for i, v in enumerate(edge.of.parents) if i != edge.operand]
        seen: set[Value] = set()
        while stack:
            node = stack.pop()
            if node is edge.by:
                return False
            if node not in seen and self.place.get(node, -1) > self.place[edge.by]:
                seen.add(node)
                stack.extend(node.parents)
        return True

    def partial(self, edge: Factor) -> tuple[Symbol, Symbol, Symbol]:
        """The derivative along an edge: its formula, the formula with numbers, the number."""
        node, place = edge.of, edge.operand
        assert node.op is not None
        assert place is not None
        formula, number = self.partials(node)[place], self.number(edge.number)
        if formula.text == number.text:
            return formula, number, number
        if edge not in self._with_numbers:
            found = enough_digits(
                self.digits, lambda digits: holds(self._filled(node, place, digits), edge.number, self.digits)
            )
            self._with_numbers[edge] = number if found is None else self._filled(node, place, found)
        return formula, self._with_numbers[edge], number

    @staticmethod
    def _filled(node: Value, place: int, digits: int) -> Symbol:
        """The textbook's derivative by an operand, with numbers of so many digits."""
        assert node.op is not None
        numbers = [Symbol.of(v.data, digits) for v in (node, *node.parents)]
        return Symbol.part(node.op.taught(*numbers)[place], digits)

    def is_worked_out(self, edge: Factor) -> bool:
        """Whether there is something to say about an edge: 1/x1 = 1/2 = 0.5, but not x2 = 5."""
        _, with_numbers, number = self.partial(edge)
        return with_numbers.text != number.text or self.is_agreed(edge)

    def is_agreed(self, edge: Factor) -> bool:
        """Whether it is a corner, where the derivative is a convention."""
        assert edge.of.op is not None
        assert edge.operand is not None
        return bool(edge.of.op.corners) and not formulas_agree(edge.of)[edge.operand]

    def local_derivative(self, edge: Factor) -> Equation:
        """∂v₁/∂x1 = 1 / x1 = 1 / 2 = 0.5."""
        formula, with_numbers, number = self.partial(edge)
        if self.is_agreed(edge):
            return Equation(self.derivative(edge), [], stages_of([worded(number, self.words["convention"])]))
        numbers = [with_numbers, number]
        return Equation(self.derivative(edge), stages_of([formula]), stages_of(numbers))

    def step(self, step: Step) -> Equation:
        """∂y/∂v₁ = ∂y/∂v₂·∂v₂/∂v₁ + ... = formulas = numbers = contributions = result."""
        products = shortened(step.products, ()) if self.derivation.factored else step.products
        edges = [factor for product in products for factor in product if factor.operand is not None]

        def stage(write: Callable[[Factor], Symbol]) -> Sum:
            return [_as_factors([write(factor) for factor in product]) or [DOTS] for product in products]

        formulas = [stage(self.derivative)]
        if not self.derivation.factored or any(len({s.text for s in self.partial(edge)}) > 1 for edge in edges):
            formulas.append(stage(lambda f: self.derivative(f) if f.operand is None else self.partial(f)[0]))
        left = fraction(self.name(self.y), self.name(step.node))
        return Equation(left, formulas, self.worked_out(step, products), stacked=not self.derivation.factored)

    def worked_out(self, step: Step, products: Sequence[Sequence[Factor]]) -> list[Sum]:
        """The sum in numbers: factors, products, result; each with enough digits for the next one to follow from it."""
        result: Sum = [[self.number(step.derivative)]]
        digits = sum_digits(step.contributions, step.derivative, self.digits)
        if digits is None:  # the floats' own rounding
            return [result]
        within = product_digits(
            [[factor.number for factor in product] for product in step.products],
            step.contributions,
            step.derivative,
            digits,
            self.digits,
        )
        factors = [
            _as_factors([Symbol.of(factor.number, within) for factor in product]) or [DOTS] for product in products
        ]
        terms = [[Symbol.of(multiplied(product), digits) if product else DOTS] for product in products]
        return [factors, terms, result]

    def left_out(self, stop: Value) -> Symbol:
        """∂L/∂h = 0.35 (3 operations)."""
        result = equal_to(fraction(self.name(self.y), self.name(stop)), self.number(self.derivation.stops[stop]))
        operations = len(made_of(stop, self.tape)) - 1
        return worded(result, self.words["operation" if operations == 1 else "operations"].format(n=operations))


def _as_factors(symbols: list[Symbol]) -> list[Symbol]:
    return [as_factor(s) for s in symbols] if len(symbols) > 1 else symbols
