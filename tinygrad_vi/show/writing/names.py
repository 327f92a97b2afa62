"""Names: labels as symbols of a formula, and the names of the inputs, the output and the rows of a tape.

The rows of a tape are called v₁, v₂, ...  A label that looks like a row, such as v1, is written as text and not as a
symbol, a label v₁ in quotation marks.  Two labels that would be one symbol, as x1 and x_1 in LaTeX, are text too.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

from tinygrad_vi.show.writing.formula import Symbol

if TYPE_CHECKING:
    from tinygrad_vi.tape import Tape
    from tinygrad_vi.value import Value


DIGITS = str.maketrans("₋₀₁₂₃₄₅₆₇₈₉", "-0123456789")


def label_symbol(label: str) -> Symbol:
    """A user's label: x1, x₁, W1[0,2] and θ become letters with an index in LaTeX, anything else escaped text."""
    text = one_line(label)
    letter = re.fullmatch(r"([A-Za-zα-νξπρσ-ωΓΔΘΛΞΠΣΦΨΩ])_?(\d*)((?:\[\d+(?:, ?\d+)*\])?)", text.translate(DIGITS))
    if letter:
        return Symbol(text, _letter(letter[1]) + (f"_{{{letter[2]}}}" if letter[2] else "") + letter[3])
    return as_text(text)


def as_text(text: str) -> Symbol:
    """A label as upright text."""
    return Symbol(text, rf"\text{{{escape_latex(text)}}}")


def one_line(label: str) -> str:
    """A label in composed letters on one line, without signs that cannot be printed."""
    printable = "".join(c if c.isprintable() else " " for c in unicodedata.normalize("NFC", str(label)))
    return " ".join(printable.split())


def _letter(letter: str) -> str:
    """A letter as LaTeX writes it: θ is a command there."""
    if letter.isascii():
        return letter
    name = unicodedata.name(letter).split()[-1].replace("LAMDA", "LAMBDA")
    return "\\" + (name.lower() if letter.islower() else name.capitalize())


def escape_latex(text: str) -> str:
    r"""Text with the characters that LaTeX takes for commands made harmless.

    >>> print(escape_latex("50% of_a"))
    50\% of\_a
    """
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    special |= {"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}"}
    return "".join(special.get(c, rf"\{c}" if c in "&%$#_{}" else c) for c in text)


def row_name(text: str) -> str:
    """The row's name that a label looks like, v1 like v₁; empty when it looks like none.

    >>> row_name("v_1"), row_name("v-1"), row_name("v1[0]")
    ('v₁', 'v₋₁', '')
    """
    spelled = re.fullmatch(r"v_?\{?(-?\d+)\}?", text.translate(DIGITS))
    return "v" + str(int(spelled[1])).translate(_SUBSCRIPTS) if spelled else ""


_SUBSCRIPTS = str.maketrans("-0123456789", "₋₀₁₂₃₄₅₆₇₈₉")


def is_name(text: str) -> bool:
    """Whether a label can be told from numbers and signs."""
    with suppress(ValueError):
        float(text)
        return False
    return any(c.isalpha() for c in text)


class Names:
    """What the inputs, the output and the rows of a tape are called; no two of them are one symbol."""

    def __init__(self, tape: Tape) -> None:
        self.tape = tape
        labels = {node: one_line(node.label) for node in dict.fromkeys((*tape, tape.output)) if node.label}
        labels = {node: text for node, text in labels.items() if text}  # a blank label counts as none
        self._label = dict(self._distinct(labels))
        free = next((letter for letter in "yfzwL" if letter not in labels.values()), "output")
        self.output = self._label.get(tape.output) or label_symbol(free)
        others = [node for node in labels if node is not tape.output]
        #: whether the output can be written as a letter, with a dot or a bar
        self.output_is_letter = not self.output.latex.startswith("\\") and not any(
            self._label[node].latex == self.output.latex for node in others
        )

    def row(self, node: Value) -> Symbol:
        """v₁; only for what has a row."""
        return Symbol(self.tape.name(node), f"v_{{{self.tape.number(node)}}}")

    def label(self, node: Value) -> Symbol | None:
        """The node's label, if it has one that says something."""
        return self._label.get(node)

    def is_letter(self, node: Value) -> bool:
        """Whether the label is a letter with an index that no other node has."""
        symbol = self._label.get(node)
        return symbol is not None and not symbol.latex.startswith("\\") and self._times[symbol.latex] == 1

    def _distinct(self, labels: dict[Value, str]) -> Iterable[tuple[Value, Symbol]]:
        symbols = {node: label_symbol(text) for node, text in labels.items()}
        by_latex: dict[str, set[str]] = {}
        for symbol in symbols.values():
            by_latex.setdefault(symbol.latex, set()).add(symbol.text)
        rows = {self.tape.name(node) for node in self.tape}
        found = {}
        for node, symbol in symbols.items():
            if row_name(symbol.text) and (row_name(symbol.text) in rows or symbol.text in rows):
                symbol = as_text(f"“{symbol.text}”" if symbol.text in rows else symbol.text)
            elif len(by_latex[symbol.latex]) > 1:
                symbol = as_text(symbol.text)
            found[node] = symbol
        self._times = Counter(symbol.latex for symbol in found.values())
        return found.items()
