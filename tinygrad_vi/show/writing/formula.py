"""Formulas: the rules of the operation table, run on symbols instead of numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from numbers import Real
from typing import Any, TypeVar

from tinygrad_vi import ops
from tinygrad_vi.rows import ATOM, Operation, latex_number
from tinygrad_vi.show.writing.numerals import write_factor, write_number

T = TypeVar("T")

PRODUCT, POWER = ops.mul.operation.binds, ops.pow_.operation.binds
EXP, DIV, NEG, POW, DOT = (f.operation for f in (ops.exp, ops.div, ops.neg, ops.pow_, ops.dot_row))


class Arithmetic:
    """An operand for the rules of the table that is neither float nor Value: it records every operator.

    A subclass says what becomes of an operation and its operands: its text, its tree, its symbolic form.
    """

    @staticmethod
    def record(op: Operation, *operands: Any) -> Any:
        """The result of an operation."""
        raise NotImplementedError

    def __add__(self, other: Any) -> Any:
        return self.record(ops.add.operation, self, other)

    def __radd__(self, other: Any) -> Any:
        return self.record(ops.add.operation, other, self)

    def __sub__(self, other: Any) -> Any:
        return self.record(ops.sub.operation, self, other)

    def __rsub__(self, other: Any) -> Any:
        return self.record(ops.sub.operation, other, self)

    def __mul__(self, other: Any) -> Any:
        return self.record(ops.mul.operation, self, other)

    def __rmul__(self, other: Any) -> Any:
        return self.record(ops.mul.operation, other, self)

    def __truediv__(self, other: Any) -> Any:
        return self.record(ops.div.operation, self, other)

    def __rtruediv__(self, other: Any) -> Any:
        return self.record(ops.div.operation, other, self)

    def __neg__(self) -> Any:
        return self.record(ops.neg.operation, self)

    def __abs__(self) -> Any:
        return self.record(ops.abs_.operation, self)

    def __pow__(self, exponent: Any) -> Any:
        if isinstance(exponent, Real):
            return self.record(ops.power(float(exponent)), self)
        return self.record(ops.pow_.operation, self, exponent)


class Symbol(Arithmetic):
    """Text that answers to the rules of the table: a third kind of operand, beside floats and Values.

    text and latex say how it is written, binds how tightly (see `rows.Operation`).  digits: of the numbers that a rule
    brings into a formula of this symbol; all of them when left out.

    >>> v = Symbol("v₀", "v_{0}")
    >>> [partial] = ops.tanh.operation.taught(Symbol("v₁"), v)
    >>> partial.text
    '1 - v₁ ** 2'
    """

    def __init__(
        self, text: str, latex: str = "", binds: int = ATOM, latex_binds: int = ATOM, digits: int | None = None
    ) -> None:
        self.text = text
        self.latex = latex or text
        self.binds = binds
        self.latex_binds = latex_binds
        self.digits = digits

    @staticmethod
    def of(x: Any, digits: int | None = 4) -> Symbol:
        """The symbol itself, or a number written as one; without ``digits`` with all of them."""
        return x if isinstance(x, Symbol) else Symbol.written(write_number(x, digits), digits)

    @staticmethod
    def part(x: Any, digits: int | None = None) -> Symbol:
        """The symbol itself, or a number that is a part of a formula."""
        return x if isinstance(x, Symbol) else Symbol.written(write_factor(float(x), digits), digits)

    @staticmethod
    def written(number: str, digits: int | None = None) -> Symbol:
        """A number that is already written."""
        binds = 0 if number.startswith("-") else ATOM  # -3 always gets parentheses: (-3) ** 2, 1 - (-3)
        latex = latex_number(number)  # a power of ten is a product there: (2 \cdot 10^{-7})^{2}
        return Symbol(
            number, latex, binds, min(binds, PRODUCT if "cdot" in latex else POWER if "^" in latex else ATOM), digits
        )

    @staticmethod
    def record(op: Operation, *operands: Any) -> Symbol:
        """The formula of an operation, with the parentheses it needs."""
        digits = next((x.digits for x in operands if isinstance(x, Symbol) and x.digits is not None), None)
        symbols = [Symbol.part(x, digits) for x in operands]
        if op.binds == ATOM:  # a function call has its own parentheses
            text = op.text([s.text for s in symbols])
            return Symbol(text, op.latex([s.latex for s in symbols]), ATOM, POWER if op is EXP else ATOM, digits)
        fits = [_fits(op, i, len(symbols)) for i in range(len(symbols))]
        return Symbol(
            op.text([s.text if fit(s.text, s.binds) else f"({s.text})" for s, fit in zip(symbols, fits, strict=True)]),
            op.latex(
                [
                    s.latex if op is DIV or fit(s.latex, s.latex_binds) else rf"\left({s.latex}\right)"
                    for s, fit in zip(symbols, fits, strict=True)
                ]
            ),
            op.binds,
            POWER if op is DIV else op.binds,  # a fraction needs parentheses below an exponent and nowhere else
            digits,
        )

    def __repr__(self) -> str:
        return f"Symbol({self.text!r})"


def _fits(op: Operation, place: int, count: int) -> Callable[[str, int], bool]:
    """Which operands need no parentheses at a place: to the right of a sign those that bind tighter than it.

    A minus stands at the beginning alone: a * (-b), a - (-b), -(-a).
    """
    binds, left = op.binds, place == 0
    if op is DOT and place < count - 1:  # a sum of products, and last of all the bias
        binds, left = PRODUCT, place < count // 2
    tighter = not left or op in (POW, NEG) or op.key is ops.power
    minus = place == 0 and op is not NEG

    def fits(text: str, its: int) -> bool:
        return (its > binds if tighter else its >= binds) and (minus or not text.startswith("-"))

    return fits


MAX_TERMS = 6  # of a long sum that are written
DOTS = Symbol("...", r"\dots")


def shortened(terms: Sequence[T], dots: T, keep: Iterable[int] = (), most: int = MAX_TERMS) -> Sequence[T]:
    """The terms of a sum; of a long one some are replaced by dots, those in ``keep`` only if they must be."""
    if len(terms) <= most:
        return terms
    places = sorted([*dict.fromkeys((len(terms) - 1, *keep, *range(most)))][:most])
    pieces: list[T] = []
    for before, place in pairwise((-1, *places)):
        pieces += [dots, terms[place]] if place > before + 1 else [terms[place]]
    return pieces


def sum_of(terms: Sequence[Symbol]) -> Symbol:
    """a + b - c."""
    return Symbol(_join([t.text for t in terms]), _join([t.latex for t in terms]), 1, 1)


def _join(terms: Sequence[str]) -> str:
    return "".join([*terms[:1], *map(signed, terms[1:])])


def signed(term: str) -> str:
    """A term that is not the first of its sum."""
    return f" - {term[1:]}" if term.startswith("-") else f" + {term}"


def product_of(factors: Sequence[Symbol]) -> Symbol:
    """a·b·c; see `as_factor`."""
    if len(factors) == 1:
        return factors[0]
    return Symbol("·".join([f.text for f in factors]), r" \cdot ".join([f.latex for f in factors]), PRODUCT, PRODUCT)


def as_factor(symbol: Symbol) -> Symbol:
    """The symbol in parentheses, unless it can stand in a product of several without them."""
    text = symbol.text if symbol.binds > 3 else f"({symbol.text})"
    latex = symbol.latex if symbol.latex_binds > 3 else rf"\left({symbol.latex}\right)"
    return Symbol(text, latex)
