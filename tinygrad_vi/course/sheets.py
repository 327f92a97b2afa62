"""Tables of words, as the course shows them: all rows, marks in color, long cells broken into lines."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from importlib import import_module

from tinygrad_vi.show.palette import LINE, RIGHT, VALUE, WRONG
from tinygrad_vi.show.tapes.table import Table
from tinygrad_vi.show.writing.formula import Symbol
from tinygrad_vi.show.writing.names import escape_latex
from tinygrad_vi.terminal import in_a_notebook, terminal_width

GREEN, RED, BLUE, GREY = RIGHT, WRONG, VALUE, LINE
#: marks differ by shape, and by color as well
COLORS = {"✔": GREEN, "✘": RED}


@dataclass(frozen=True, repr=False)
class Sheet(Table):
    """A table whose cells are words.  In a terminal the cells are at most ``width`` characters wide."""

    width: int = 44

    def to_text(self, *, max_rows: int | None = None, width: int | None = None) -> str:
        """The table drawn with lines, long cells in several."""
        if width is not None:
            return super().to_text(max_rows=max_rows, width=width)
        rows = [[self._wrapped(cell) for cell in row] for row in self.rows]
        return Table(self.title, [self._wrapped(cell) for cell in self.headers], rows).to_text(max_rows=max_rows)

    def _cell_width(self) -> int:
        return self.width

    def _wrapped(self, cell: Symbol) -> Symbol:
        return Symbol(textwrap.fill(cell.text, self.width))

    def to_html(self, *, max_rows: int | None = None, scroll: bool = True) -> str:
        """An HTML table with its marks in color."""
        table = super().to_html(max_rows=max_rows, scroll=scroll)
        for mark, color in COLORS.items():
            table = table.replace(mark, f'<span style="color: {color}; font-weight: bold">{mark}</span>')
        return table

    def __str__(self) -> str:
        return self.printed(None, terminal_width())

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return self.to_html(scroll=False)


def cells(*texts: str) -> list[Symbol]:
    """A row of words.

    >>> [cell.text for cell in cells("E01", "✔")]
    ['E01', '✔']
    """
    return [Symbol(text, rf"\text{{{escape_latex(text)}}}") for text in texts]


def box(content: str, color: str) -> str:
    """HTML with a line of this color on its left."""
    return f'<div style="border-left: 4px solid {color}; padding: 2px 12px; margin: 4px 0">{content}</div>'


def show(thing: object) -> None:
    """Display a thing in a notebook, print it elsewhere."""
    if in_a_notebook():
        import_module("IPython.display").display(thing)
    else:
        print(thing)
