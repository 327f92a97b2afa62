r"""How wide a formula is in LaTeX, without running it: for tables that must fit a line.

The widths are those of Computer Modern at 10 points, rounded up: the sum is seldom less than what TeX takes, and mostly
a tenth to a third more.  It is an estimate all the same: a command that is not known here counts as one letter.
"""

from __future__ import annotations

import re
import unicodedata

ARTICLE = 345.0  # points: \textwidth of the class article at 10pt
COLUMN_SEP = 12.0  # points between two columns, \tabcolsep on both sides

_SMALL = 0.8  # the size of indices, exponents, and numerators in a line
_SIGN = 7.8  # a sign without space around it
_RELATIONS = {"+": 12.3, "-": 12.3, "=": 13.4, "<": 13.4, ">": 13.4, "*": 9.5}
_COMMANDS = dict.fromkeys(("le", "ge", "ne", "approx"), 13.4)
_COMMANDS |= {"cdot": 7.3, "times": 12.3, "partial": 5.8, "dots": 15.0, "quad": 10.0, "infty": 10.0}
_COMMANDS |= {"left": 1.7, "right": 0.0, ",": 1.7, " ": 3.4}
_TEXTS = {"text", "operatorname", "mathrm"}
_ACCENTS = {"bar", "dot", "hat", "tilde"}
_FUNCTIONS = {
    "ln",
    "log",
    "exp",
    "max",
    "min",
    *("sin", "cos", "tan", "sinh", "cosh", "tanh", "arctan", "arcsin", "arccos"),
}
_TOKENS = re.compile(r"\\[A-Za-z]+|\\.|.", re.DOTALL)


def tex_width(latex: str) -> float:
    r"""The estimate in points, of what stands between two dollars.

    >>> round(tex_width(r"v_{4} - v_{3}"), 1)
    32.9
    """
    return _Reader(_TOKENS.findall(latex)).all()


class _Reader:
    """Reads tokens from left to right and adds up their widths."""

    def __init__(self, tokens: list[str]) -> None:
        self.tokens = tokens[::-1]
        self.small = 0  # how deep in indices and exponents, where signs have no space around them
        self.before = ""

    def all(self, in_text: bool = False, until: str = "") -> float:
        """The tokens up to one, or to the end."""
        self.before = ""
        width = 0.0
        while self.tokens and self.tokens[-1] != until:
            width += self.one(in_text)
        if self.tokens:
            self.tokens.pop()
        return width

    def one(self, in_text: bool = False) -> float:
        """The next token, with its arguments; a group in braces is one."""
        if not self.tokens:
            return 0.0
        token = self.tokens.pop()
        before, self.before = self.before, token
        if token == "{":
            width = self.all(in_text, "}")
            self.before = token
            return width
        if token in ("_", "^") and not in_text:
            self.small += 1
            width = 0.5 + _SMALL * self.one()
            self.small -= 1
            return width
        if len(token) > 1:
            return self.command(token[1:])
        if token in _RELATIONS and not in_text:
            is_sign = self.small or before in ("", "(", "[", *_RELATIONS)
            return _SIGN if is_sign else _RELATIONS[token]
        return _letter(token, in_text)

    def command(self, name: str) -> float:
        """A command that was read, with its arguments."""
        if name == "frac":
            return 2.4 + _SMALL * max(self.one(), self.one())
        if name == "sqrt":
            return 9.0 + self.one()
        if name in _TEXTS:
            return self.one(in_text=True)
        if name in _ACCENTS:
            return 0.5 + self.one()
        if name in _FUNCTIONS:
            return 1.7 + 5.1 * len(name)
        return _COMMANDS.get(name, 8.0)


def _letter(letter: str, in_text: bool) -> float:
    if letter.isspace():
        return 3.4 if in_text else 0.0
    if unicodedata.combining(letter):
        return 0.0
    if letter.isdigit():
        return 5.01
    if letter in "().[]|!,:;'il":
        return 4.0
    if unicodedata.east_asian_width(letter) in "WF":
        return 10.0
    base = unicodedata.normalize("NFD", letter)[0]
    return 10.3 if base in "mwMWQ@%" else 8.3 if letter.isupper() else 6.2 if base in "nu" else 5.8
