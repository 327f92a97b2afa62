"""Tables of symbols, for terminals, notebooks, Markdown and LaTeX."""

from __future__ import annotations

import html
import math
import re
import sys
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest

from tinygrad_vi.checks import whole_number
from tinygrad_vi.show.writing.console import can_print, plain
from tinygrad_vi.show.writing.formula import Symbol
from tinygrad_vi.show.writing.tex_width import COLUMN_SEP, tex_width
from tinygrad_vi.terminal import terminal_width
from tinygrad_vi.words import said

MAX_ROWS = 60  # on a screen; files get them all


@dataclass(frozen=True, repr=False)
class Table:
    """Rows of formulas under headers: prints in a terminal, shows in a notebook, exports to Markdown and LaTeX.

    half: the column that its right half begins with, 0 for none: where it is too wide the halves are stacked, under
    ``stacked_title`` if there is one.
    """

    title: str
    headers: Sequence[Symbol]
    rows: Sequence[Sequence[Symbol]]
    half: int = field(default=0, kw_only=True)
    stacked_title: str = field(default="", kw_only=True)

    def to_text(self, *, max_rows: int | None = None, width: int | None = None) -> str:
        """The table drawn with lines; beyond ``max_rows`` the rows in the middle are left out.

        width: so many columns of a terminal.  What is wider is stacked: the left half above the right one; then long
        cells are broken between words, and as many columns as fit are shown at a time, each time with the first.  A
        word or number is never broken, however narrow the terminal.  None for all in one piece.
        """
        if width is None:
            return "\n".join([self.title, *self._box(max_rows)])
        whole_number(width, "width")
        parts = self._stacked(lambda part: part._least_width(max_rows) <= width)
        title = self.stacked_title or self.title if len(parts) > 1 else self.title
        boxes = [line for part in parts for line in part._narrowed(width, max_rows)._box(None)]
        return "\n".join([*broken(title, width), *boxes])

    def _box(self, max_rows: int | None) -> list[str]:
        head = lines_of([[cell.text for cell in self.headers]])
        grid = filled([*head, *lines_of([[cell.text for cell in row] for row in self._shown(max_rows)])], len(head))
        rules = ["─" * (text_columns(cell) + 2) for cell in grid[0]]
        top, middle, bottom = (left + between.join(rules) + right for left, between, right in ("╭┬╮", "├┼┤", "╰┴╯"))
        rows = [f"│ {' │ '.join(row)} │" for row in grid]
        return [top, *rows[: len(head)], middle, *rows[len(head) :], bottom]

    def to_markdown(self) -> str:
        """A pipe table; its formulas are plain text and need no mathematics extension."""
        head, *body = self._grid(_markdown, self.rows)
        rule = [":" + "-" * (text_columns(cell) + 1) for cell in head]
        lines = [f"| {' | '.join(row)} |" for row in (head, *body)]
        return "\n".join([f"**{self.title}**", "", lines[0], f"|{'|'.join(rule)}|", *lines[1:]])

    def to_html(self, *, max_rows: int | None = MAX_ROWS, scroll: bool = True) -> str:
        """An HTML table with its title as the caption.

        scroll: a table wider than its page, on a telephone say, is scrolled by itself and does not push the page; a
        notebook scrolls its outputs anyway.
        """
        caption = f'<caption style="caption-side: top; text-align: left">{html.escape(self.title)}</caption>'
        head, *body = self._grid(lambda cell: html.escape(cell.text), self._shown(max_rows))

        def row(cells: Sequence[str], tag: str) -> str:
            left = f'<{tag} style="text-align: left">'  # notebooks push cells to the right
            return f"<tr>{''.join(f'{left}{cell}</{tag}>' for cell in cells)}</tr>"

        rows = [row(cells, "td") for cells in body]
        return "\n".join(
            [
                f"<table{SCROLL * scroll}>",
                caption,
                "<thead>",
                row(head, "th"),
                "</thead>",
                "<tbody>",
                *rows,
                "</tbody>",
                "</table>",
            ]
        )

    def to_latex(self, *, width: float | None = None) -> str:
        """A tabular environment with its cells in mathematics mode; it needs the package amsmath.

        width: of a line, in TeX's points (345 in the class article).  What is wider becomes several tabulars, one below
        the other: the left half and the right half, in smaller type where they need it, else as many columns as fit,
        each time with the first.  How wide it is is estimated for Computer Modern at 10 points (see `tex_width`); cells
        are not broken.  None for all in one piece.
        """
        if width is None:
            return self._tabular()
        if not 0.0 < width < math.inf:
            raise ValueError(f"width must be positive and finite, in points (345 in the class article), got {width!r}")
        parts = self._stacked(lambda part: part._points(1.0 if part.half else min(SIZES.values())) <= width)
        return "\n\n\\medskip\n\n".join([part._in_a_line(width) for part in parts])

    def _in_a_line(self, width: float) -> str:
        """Its tabular in the largest type that fits, and no space at its sides."""
        fitting = [size for size, scale in SIZES.items() if self._points(scale) <= width]
        size = fitting[0] if fitting else [*SIZES][-1]
        tabular = "\\noindent\n" + self._tabular("@{}")
        return f"{{{size}{tabular}\\par}}" if size else tabular

    def _tabular(self, edge: str = "") -> str:
        grid = self._grid(lambda cell: f"${cell.latex}$" if cell.text else "", self.rows)
        head, *body = [f" {' & '.join(row)} \\\\" for row in grid]
        begin = rf"\begin{{tabular}}{{{edge}{'l' * len(self.headers)}{edge}}}"
        return "\n".join([begin, r"\hline", head, r"\hline", *body, r"\hline", r"\end{tabular}"])

    def _points(self, scale: float) -> float:
        """The width of its tabular in type of this scale, estimated; without space at its sides."""
        cells = [[tex_width(cell.latex) if cell.text else 0.0 for cell in row] for row in (self.headers, *self.rows)]
        widths = [max(column) for column in zip(*cells, strict=True)]
        return scale * math.fsum(widths) + COLUMN_SEP * (len(widths) - 1)

    # --- Tables that are too wide

    def _stacked(self, fits: Callable[[Table], bool]) -> list[Table]:
        """The table; where it does not fit its halves, and where they do not as many columns at a time as do."""
        if fits(self):
            return [self]
        columns = range(len(self.headers))
        if self.half:
            halves = (self._columns(columns[: self.half]), self._columns(columns[self.half :]))
            return [part for half in halves for part in half._stacked(fits)]
        groups: list[list[int]] = [[0]]
        for column in columns[1:]:
            wider = [*groups[-1], column]
            if len(wider) == 2 or fits(self._columns(wider)):
                groups[-1] = wider
            else:
                groups.append([0, column])
        return [self._columns(group) for group in groups]

    def _columns(self, places: Sequence[int]) -> Table:
        headers, *rows = ([row[i] for i in places] for row in (self.headers, *self.rows))
        return replace(self, headers=headers, rows=rows, half=0)

    def _sizes(self, max_rows: int | None, size: Callable[[str], int]) -> list[int]:
        """For each column the size of its largest cell, as the box draws it: headers have some air."""
        rows = (self.headers, *self._shown(max_rows))
        return [max(size(c.text) + 2 * (i == 0) for i, c in enumerate(column)) for column in zip(*rows, strict=True)]

    def _least_width(self, max_rows: int | None) -> int:
        """The width that it needs: in one piece if it has halves, else with its cells broken between words."""
        sizes = self._sizes(max_rows, text_columns if self.half else longest_word)
        return sum(sizes) + 3 * len(sizes) + 1

    def _narrowed(self, width: int, max_rows: int | None) -> Table:
        """The rows that are shown, with the longest cells broken until the box is no wider than this."""
        least = self._sizes(max_rows, longest_word)
        most = [min(size, self._cell_width()) for size in self._sizes(max_rows, text_columns)]
        sizes = [max(pair) for pair in zip(least, most, strict=True)]
        while sum(sizes) + 3 * len(sizes) + 1 > width and sizes != least:
            _, widest = max((size, i) for i, size in enumerate(sizes) if size > least[i])
            sizes[widest] -= 1
        headers, *rows = (
            [Symbol("\n".join(broken(cell.text, size - 2 * (i == 0)))) for cell, size in zip(row, sizes, strict=True)]
            for i, row in enumerate((self.headers, *self._shown(max_rows)))
        )
        return Table(self.title, headers, rows)

    def _cell_width(self) -> int:
        """How wide a cell may be, at most."""
        return sys.maxsize

    def _grid(self, write: Callable[[Symbol], str], rows: Sequence[Sequence[Symbol]]) -> list[list[str]]:
        return filled([[write(cell) for cell in row] for row in (self.headers, *rows)])

    def _shown(self, max_rows: int | None) -> Sequence[Sequence[Symbol]]:
        if max_rows is None or len(self.rows) <= whole_number(max_rows, "max_rows"):
            return self.rows
        head, tail = self.rows[: (max_rows + 1) // 2], self.rows[len(self.rows) - max_rows // 2 :]
        missing = len(self.rows) - len(head) - len(tail)
        more = said("tables")["more rows" if missing > 1 else "more row"].format(n=missing)
        gap = [Symbol("⋮", r"\vdots"), Symbol(more), *[EMPTY] * len(self.headers)]
        return [*head, gap[: len(self.headers)], *tail]

    def printed(self, max_rows: int | None, width: int | None = None) -> str:
        """The text, in plain letters where the console has no others."""
        text = self.to_text(max_rows=max_rows, width=width)
        if can_print(text):
            return text
        headers, *rows = ([Symbol(plain(cell.text)) for cell in row] for row in (self.headers, *self.rows))
        title, stacked_title = plain(self.title), plain(self.stacked_title)
        table = replace(self, title=title, stacked_title=stacked_title, headers=headers, rows=rows)
        return plain(table.to_text(max_rows=max_rows, width=width))

    def __str__(self) -> str:
        return self.printed(MAX_ROWS, terminal_width())

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return self.to_html(scroll=False)


EMPTY = Symbol("")
#: types for a table in LaTeX, and how wide their letters are
SIZES = {"": 1.0, r"\small": 0.925, r"\footnotesize": 0.85}
SCROLL = ' style="display: block; overflow-x: auto; max-width: 100%"'


def text_columns(text: str) -> int:
    """How many columns of a terminal a text takes: two for wide letters (CJK), none for a mark above another letter.

    >>> text_columns("v̄₂"), text_columns("中")
    (2, 2)
    """
    marks = sum(unicodedata.combining(c) > 0 for c in text)
    return len(text) - marks + sum(unicodedata.east_asian_width(c) in "WF" for c in text)


def longest_word(text: str) -> int:
    """How many columns the longest piece between blanks takes."""
    return max(map(text_columns, text.split()), default=0)


def broken(text: str, width: int, indent: str = "") -> list[str]:
    """The text in lines of at most so many columns, broken at blanks only; those after the first are indented.

    >>> broken("v̄₂·v₀ + v̄₁·(1 / v₋₁)", 10)
    ['v̄₂·v₀ +', 'v̄₁·(1 /', 'v₋₁)']
    """
    if text_columns(text) <= width:
        return [text]
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and text_columns(longer) > width:
            lines.append(indent + word)
        else:
            lines[-1:] = [longer]
    return lines or [""]


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
