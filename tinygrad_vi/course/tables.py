"""Tables of words: the course's, which are shown whole, with their marks in color and their long cells in lines."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, replace

from tinygrad_vi.show.formula import Symbol
from tinygrad_vi.show.table import Table, escape_latex

#: marks are told apart by their shape; color comes on top
COLORS = {"✔": "#2e7d32", "✘": "#c62828"}


@dataclass(frozen=True, repr=False)
class Sheet(Table):
    """A table whose cells are words.  In a terminal the cells are at most ``width`` characters wide."""

    width: int = 44

    def to_text(self, max_rows: int | None = None) -> str:
        """The table drawn with lines, long cells in several."""
        rows = [
            [Symbol("\n".join(textwrap.wrap(cell.text, self.width)) or cell.text) for cell in row] for row in self.rows
        ]
        return Table(self.title, self.headers, rows).to_text(max_rows)

    def to_html(self, max_rows: int | None = None) -> str:
        """An HTML table with its marks in color."""
        table = super().to_html(max_rows)
        for mark, color in COLORS.items():
            table = table.replace(mark, f'<span style="color: {color}; font-weight: bold">{mark}</span>')
        return table

    def with_title(self, title: str) -> Sheet:
        """The same table under another title."""
        return replace(self, title=title)

    def __str__(self) -> str:
        return self.to_text()

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return self.to_html()


def cells(*texts: str) -> list[Symbol]:
    """A row of words.

    >>> [cell.text for cell in cells("E01", "✔")]
    ['E01', '✔']
    """
    return [Symbol(text, rf"\text{{{escape_latex(text)}}}") for text in texts]
