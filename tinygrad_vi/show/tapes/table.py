"""Tables of symbols, for terminals, notebooks, Markdown and LaTeX."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest

from tinygrad_vi.checks import whole_number
from tinygrad_vi.show.writing.console import can_print, plain
from tinygrad_vi.show.writing.formula import Symbol

MAX_ROWS = 60  # on a screen; files get them all


@dataclass(frozen=True, repr=False)
class Table:
    """Rows of formulas under headers: prints in a terminal, shows in a notebook, exports to Markdown and LaTeX."""

    title: str
    headers: Sequence[Symbol]
    rows: Sequence[Sequence[Symbol]]

    def to_text(self, *, max_rows: int | None = None) -> str:
        """The table drawn with lines; beyond ``max_rows`` the rows in the middle are left out."""
        head = lines_of([[cell.text for cell in self.headers]])
        grid = filled([*head, *lines_of([[cell.text for cell in row] for row in self._shown(max_rows)])], len(head))
        rules = ["─" * (text_columns(cell) + 2) for cell in grid[0]]
        top, middle, bottom = (left + between.join(rules) + right for left, between, right in ("╭┬╮", "├┼┤", "╰┴╯"))
        rows = [f"│ {' │ '.join(row)} │" for row in grid]
        return "\n".join([self.title, top, *rows[: len(head)], middle, *rows[len(head) :], bottom])

    def to_markdown(self) -> str:
        """A pipe table; its formulas are plain text and need no mathematics extension."""
        head, *body = self._grid(_markdown, self.rows)
        rule = [":" + "-" * (text_columns(cell) + 1) for cell in head]
        lines = [f"| {' | '.join(row)} |" for row in (head, *body)]
        return "\n".join([f"**{self.title}**", "", lines[0], f"|{'|'.join(rule)}|", *lines[1:]])

    def to_html(self, *, max_rows: int | None = MAX_ROWS) -> str:
        """An HTML table with its title as the caption."""
        caption = f'<caption style="caption-side: top; text-align: left">{html.escape(self.title)}</caption>'
        head, *body = self._grid(lambda cell: html.escape(cell.text), self._shown(max_rows))

        def row(cells: Sequence[str], tag: str) -> str:
            left = f'<{tag} style="text-align: left">'  # notebooks push cells to the right
            return f"<tr>{''.join(f'{left}{cell}</{tag}>' for cell in cells)}</tr>"

        rows = [row(cells, "td") for cells in body]
        return "\n".join(
            ["<table>", caption, "<thead>", row(head, "th"), "</thead>", "<tbody>", *rows, "</tbody>", "</table>"]
        )

    def to_latex(self) -> str:
        """A tabular environment with its cells in mathematics mode; it needs the package amsmath."""
        grid = self._grid(lambda cell: f"${cell.latex}$" if cell.text else "", self.rows)
        head, *body = [f" {' & '.join(row)} \\\\" for row in grid]
        begin = rf"\begin{{tabular}}{{{'l' * len(self.headers)}}}"
        return "\n".join([begin, r"\hline", head, r"\hline", *body, r"\hline", r"\end{tabular}"])

    def _grid(self, write: Callable[[Symbol], str], rows: Sequence[Sequence[Symbol]]) -> list[list[str]]:
        return filled([[write(cell) for cell in row] for row in (self.headers, *rows)])

    def _shown(self, max_rows: int | None) -> Sequence[Sequence[Symbol]]:
        if max_rows is None or len(self.rows) <= whole_number(max_rows, "max_rows"):
            return self.rows
        head, tail = self.rows[: (max_rows + 1) // 2], self.rows[len(self.rows) - max_rows // 2 :]
        missing = len(self.rows) - len(head) - len(tail)
        gap = [Symbol("⋮", r"\vdots"), Symbol(f"{missing} more row{'s' * (missing > 1)}"), *[EMPTY] * len(self.headers)]
        return [*head, gap[: len(self.headers)], *tail]

    def printed(self, max_rows: int | None) -> str:
        """The text, in plain letters where the console has no others."""
        text = self.to_text(max_rows=max_rows)
        if can_print(text):
            return text
        headers, *rows = ([Symbol(plain(cell.text)) for cell in row] for row in (self.headers, *self.rows))
        return plain(replace(self, title=plain(self.title), headers=headers, rows=rows).to_text(max_rows=max_rows))

    def __str__(self) -> str:
        return self.printed(MAX_ROWS)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return self.to_html()


EMPTY = Symbol("")


def text_columns(text: str) -> int:
    """How many columns of a terminal a text takes: two for wide letters (CJK), none for a mark above another letter.

    >>> text_columns("v̄₂"), text_columns("中")
    (2, 2)
    """
    marks = sum(unicodedata.combining(c) > 0 for c in text)
    return len(text) - marks + sum(unicodedata.east_asian_width(c) in "WF" for c in text)


def filled(rows: Sequence[Sequence[str]], heads: int = 1) -> list[list[str]]:
    """The rows with their cells filled up to the width of their columns; the first ones, the headers, get some air."""
    sizes = [[text_columns(cell) + 2 * (i < heads) for cell in row] for i, row in enumerate(rows)]
    widths = [max(column) for column in zip(*sizes, strict=True)]
    return [
        [cell + " " * (width - text_columns(cell)) for cell, width in zip(row, widths, strict=True)] for row in rows
    ]


def lines_of(rows: Iterable[Sequence[str]]) -> list[tuple[str, ...]]:
    """Rows whose cells may have several lines as rows of one line each."""
    return [line for row in rows for line in zip_longest(*[cell.split("\n") for cell in row], fillvalue="")]


def _markdown(cell: Symbol) -> str:
    return re.sub(r"([\\|*_`<\[])", r"\\\1", cell.text)
