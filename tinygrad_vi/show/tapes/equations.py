"""Equations on lines: broken where they are too long, aligned, told apart from the text between them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import compress, pairwise

from tinygrad_vi.show.tapes.table import broken, text_columns
from tinygrad_vi.show.writing.formula import Symbol, product_of, signed, sum_of
from tinygrad_vi.tape import SUBSCRIPTS
from tinygrad_vi.words import said

WIDTH = 76  # letters in one line of the right side of an equation
LINES_OF_A_DISPLAY = 14  # LaTeX breaks no page inside one


# --- Equations --------------------------------------------------------------------------------------------------------

Sum = Sequence[Sequence[Symbol]]  # of products, each of factors


@dataclass(frozen=True)
class Equation:
    """left = formula = ... = number = ...; stacked: each stage in a line of its own."""

    left: Symbol
    formulas: Sequence[Sum]
    numbers: Sequence[Sum]
    stacked: bool = False
    relation: str = "="

    def lines(self, width: int | None = None) -> list[Symbol]:
        """The right side: in one line, or else the formulas, then the numbers, each in as many as they take.

        width: letters in a line; by default and at most `WIDTH`.
        """
        width = WIDTH if width is None else min(width, WIDTH)
        formulas, numbers = self.told_apart()
        if self.stacked:
            return [line for stage in (*formulas, *numbers) for line in self.laid_out([stage], width)]
        lines = self.laid_out([*formulas, *numbers], width)
        return lines if len(lines) == 1 else [*self.laid_out(formulas, width), *self.laid_out(numbers, width)]

    def told_apart(self) -> tuple[list[Sum], list[Sum]]:
        """Formulas and numbers, without stages that only repeat the one before, as 5 = 5."""
        stages = [[[self.left]], *self.formulas, *self.numbers]
        new = [_whole(stage).text != _whole(before).text for before, stage in pairwise(stages)]
        n = len(self.formulas)
        return list(compress(self.formulas, new[:n])), list(compress(self.numbers, new[n:]))

    def laid_out(self, stages: Sequence[Sum], width: int) -> list[Symbol]:
        """The stages on lines: several on one where they fit, one on several where it is too long."""
        lines: list[Symbol] = []
        for stage in stages:
            first, *more = _broken(stage, width)
            first = joined(Symbol(self.relation), first, " ")
            if lines and not more and len(lines[-1].text) + len(first.text) < width:
                lines[-1] = joined(lines[-1], first, " ")
            else:
                lines.append(Symbol(first.text, f"&{first.latex}"))
                lines += [Symbol(f"  {line.text}", rf"&\quad {line.latex}") for line in more]
        return lines


def _whole(stage: Sum) -> Symbol:
    return sum_of([product_of(product) for product in stage])


def _broken(stage: Sum, width: int) -> list[Symbol]:
    """A sum in one line if it fits; else a line for each product, and more where a product is too long."""
    whole = _whole(stage)
    if len(whole.text) <= width:
        return [whole]
    products = [[product[0], *[Symbol(f"·{f.text}", rf" \cdot {f.latex}") for f in product[1:]]] for product in stage]
    for product in products[1:]:
        product[0] = Symbol(signed(product[0].text), signed(product[0].latex))
    if all(len(product) == 1 for product in products):
        return filled_lines([term for [term] in products], width)
    return [line for product in products for line in filled_lines(product, width)]


def filled_lines(pieces: Sequence[Symbol], width: int) -> list[Symbol]:
    """The pieces in as few lines of this width as they need."""
    lines: list[Symbol] = []
    filled = 0
    for piece in pieces:
        filled += len(piece.text)
        if lines and filled <= width:
            lines[-1] = joined(lines[-1], piece)
        else:
            lines.append(Symbol(piece.text.strip(), piece.latex.strip()))
            filled = len(lines[-1].text)
    return lines


def joined(left: Symbol, right: Symbol, between: str = "") -> Symbol:
    """Two pieces of a formula as one."""
    return Symbol(left.text + between + right.text, left.latex + between + right.latex)


def equal_to(left: Symbol, right: Symbol) -> Symbol:
    """left = right."""
    return joined(left, right, " = ")


@dataclass(frozen=True)
class Part:
    """A sentence, and the equations it announces.  The sentence's latex has its formulas between dollars."""

    sentence: Symbol
    equations: Sequence[Equation] = ()

    def text(self, width: int | None = None) -> Iterator[str]:
        """The lines for a terminal; width: its columns, which a formula that cannot be broken may pass."""
        yield from [self.sentence.text] if width is None else broken(self.sentence.text, width, "  ")
        indent = max((text_columns(equation.left.text) for equation in self.equations), default=0)
        room = None if width is None else width - indent - 6  # two blanks, one, an equals sign, two more in later lines
        for equation in self.equations:
            left = equation.left.text + " " * (indent - text_columns(equation.left.text))
            for line in equation.lines(room):
                whole = f"  {left} {line.text}".rstrip()
                yield from [whole] if width is None else hanging(whole, width, indent + 7)
                left = " " * indent

    def latex(self, begin: str, end: str) -> Iterator[str]:
        """The lines for LaTeX; begin and end: what stands around a display."""
        yield self.sentence.latex
        for display in self.displays():
            yield from [begin, r"\begin{aligned}", " \\\\\n".join(display), r"\end{aligned}", end]
        if not self.equations:
            yield ""  # a paragraph ends

    def displays(self) -> Iterator[list[str]]:
        """The lines, in portions that fit a page."""
        display: list[str] = []
        for equation in self.equations:
            first, *more = [line.latex for line in equation.lines()]
            lines = [f"{equation.left.latex} {first}", *more]
            if display and len(display) + len(lines) > LINES_OF_A_DISPLAY:
                yield display
                display = []
            display += lines
            while len(display) > LINES_OF_A_DISPLAY:
                yield display[:LINES_OF_A_DISPLAY]
                display = display[LINES_OF_A_DISPLAY:]
        if display:
            yield display


def hanging(line: str, width: int, indent: int) -> list[str]:
    """A line in several that are no wider, broken at blanks, the later ones indented; a long word stands alone."""
    if text_columns(line) <= width:
        return [line]
    start = line[: len(line) - len(line.lstrip())]
    first, *more = broken(line.strip(), width - len(start))
    rest = broken(" ".join(more), max(width - indent, 1))
    return [start + first, *[" " * indent + piece for piece in rest if piece]]


def sentence_of(template: str, *symbols: Symbol | Sequence[Symbol]) -> Symbol:
    """Words with a formula at each {}; several are enumerated."""
    several = [[s] if isinstance(s, Symbol) else s for s in symbols]
    return Symbol(
        template.format(*[", ".join([s.text for s in each]) for each in several]),
        template.format(*[", ".join([f"${s.latex}$" for s in each]) for each in several]),
    )


def worded(formula: Symbol, words: str) -> Symbol:
    """A formula with words in parentheses behind it."""
    return Symbol(f"{formula.text} ({words})", rf"{formula.latex}\text{{ ({words})}}")


def write_count(n: int) -> Symbol:
    """A whole number, in powers of ten where it is long."""
    exponent = int(n.bit_length() * math.log10(2))  # Python does not write numbers of thousands of digits
    about = said("derivation")["about"]
    return Symbol(str(n)) if exponent < 20 else Symbol(f"{about}10^{exponent}", rf"\text{{{about}}} 10^{{{exponent}}}")


def fraction(above: Symbol, below: Symbol) -> Symbol:
    """∂above/∂below."""
    return Symbol(f"∂{above.text}/∂{below.text}", rf"\frac{{\partial {above.latex}}}{{\partial {below.latex}}}")


def mark_of(place: str) -> Symbol:
    """The mark of a derivative by one operand alone, |₁."""
    return Symbol("|" + ("ₖ" if place == "k" else place.translate(SUBSCRIPTS)), f"|_{{{place}}}")


def stages_of(symbols: Iterable[Symbol]) -> list[Sum]:
    """Symbols as the stages of an equation."""
    return [[[symbol]] for symbol in symbols]
