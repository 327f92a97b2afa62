"""Text for consoles: one that knows only cp1252 or ASCII gets v_bar[2] for v̄₂, and lines of - and |."""

from __future__ import annotations

import re
import sys
import unicodedata
from typing import Any

DOT, BAR = "\u0307", "\u0304"  # combining: v with a dot is a tangent, v with a bar an adjoint
ACCENT = {DOT: "_dot", BAR: "_bar"}
SUBSCRIPTS = str.maketrans("₋₀₁₂₃₄₅₆₇₈₉ₖ", "-0123456789k")
SUPERSCRIPTS = str.maketrans("⁽⁾⁰¹²³⁴⁵⁶⁷⁸⁹", "()0123456789")
LETTERS = str.maketrans(
    dict.fromkeys("╭╮╰╯┬┴┼├┤", "+")
    | {
        "─": "-",
        "│": "|",
        "·": "*",
        "×": "x",
        "⋮": ":",
        "…": "...",
        "—": "-",
        "–": "-",
        "′": "'",
        "″": "''",
        "‴": "'''",
    }
    | {"→": "->", "←": "<-", "≈": "~", "≤": "<=", "≥": ">=", "≠": "!=", "−": "-", "∂": "d", "Σ": "sum", "∞": "inf"}
    | {"σ": "sigma", "ε": "eps", "η": "eta", "λ": "lambda", "π": "pi", "θ": "theta", "“": '"', "”": '"', "‖": "||"}
    | {"đ": "d", "Đ": "D", "✔": "+", "✘": "x", "✓": "+", "✗": "x", "⊙": "*", "∇": "grad ", "²": "^2", "³": "^3"}
)


def printable(text: str, stream: Any = None) -> str:
    """The text, where `print` can print it; else in plain letters.  stream: by default the standard output."""
    return text if can_print(text, stream) else plain(text)


def can_print(text: str, stream: Any = None) -> bool:
    """Whether the encoding of the standard output has all of these letters; a stream without an encoding takes all.

    Where it has not, what the stream would do about it (stop, ? or an escape) does not matter: plain letters say more.
    """
    encoding = getattr(sys.stdout if stream is None else stream, "encoding", None)
    if encoding is None:
        return True
    try:
        text.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def plain(text: str) -> str:
    r"""The text in ASCII: indices in brackets, accents as words, other letters without their marks or as escapes.

    >>> plain("v̄₂·v₋₁ = x̄1 │ ∂y/∂số"), plain("中")
    ('v_bar[2]*v[-1] = x1_bar | dy/dso', '\\u4e2d')
    """
    text = unicodedata.normalize("NFD", text)
    text = re.sub(rf"(\w)([{DOT}{BAR}])(?![\u0300-\u036f])([A-Za-z0-9_]*)", _accent_behind, text)
    text = re.sub("[₋₀-₉ₖ]+", lambda index: f"[{index[0].translate(SUBSCRIPTS)}]", text)
    text = re.sub("[⁽⁾⁰¹²³⁴-⁹]+", lambda power: f"^{power[0].translate(SUPERSCRIPTS)}", text)
    text = re.sub("[\u0300-\u036f]", "", text.translate(LETTERS))
    return text.encode("ascii", "backslashreplace").decode("ascii")


def _accent_behind(found: re.Match[str]) -> str:
    letter, accent, rest = found.groups()
    return letter + rest + ACCENT[accent]
