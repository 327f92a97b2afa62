"""Reports: a table that prints, a figure above the table in a notebook, and what to say in words."""

from __future__ import annotations

import html
import math
import textwrap
from abc import ABC, abstractmethod
from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tinygrad_vi.once import once
from tinygrad_vi.show.plot import Plot, new_axes
from tinygrad_vi.show.tapes.table import Table, broken
from tinygrad_vi.show.writing.console import printable
from tinygrad_vi.show.writing.formula import Symbol
from tinygrad_vi.show.writing.names import escape_latex
from tinygrad_vi.show.writing.numerals import write_number
from tinygrad_vi.terminal import terminal_width


class Report(ABC):
    """A measurement: it prints as a table; a notebook shows a figure above the table.

    remarks: what there is to say, in words.
    """

    remarks: Sequence[str] = ()

    @property
    @abstractmethod
    def table(self) -> Table:
        """The numbers."""

    @once
    @abstractmethod
    def plot(self) -> Plot:
        """The figure."""

    def save(self, path: str | Path) -> Path:
        """Write the figure as .png, .svg or .pdf; returns the path."""
        return self.plot.save(path)

    def __repr__(self) -> str:
        width = terminal_width()
        remarks = [
            line for remark in self.remarks for line in ([remark] if width is None else broken(remark, width, "  "))
        ]
        return printable("\n".join([str(self.table), *remarks]))

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        bundle, sizes = self.plot._repr_mimebundle_()
        picture, width = b64encode(bundle["image/png"]).decode(), sizes["image/png"]["width"]
        # a notebook shows the HTML alone, so the picture is part of it
        shown = (
            f'<img width="{width}" alt="" src="data:image/png;base64,{picture}">\n{self.table.to_html(scroll=False)}'
        )
        words = "".join(f"\n<p>{html.escape(remark)}</p>" for remark in self.remarks)
        return bundle | {"text/html": shown + words, "text/plain": repr(self)}, sizes


class Panel(Report):
    """A report whose figure has one pair of axes."""

    @abstractmethod
    def draw_on(self, axis: Any) -> None:
        """Draw it on axes of matplotlib, such as a panel of a larger figure."""

    @once
    def plot(self) -> Plot:
        """The figure."""
        lines = [line for remark in self.remarks for line in textwrap.wrap(remark, 86)]
        figure, (axis,) = new_axes(6.4, 4.6 + 0.18 * len(lines))
        self.draw_on(axis)
        figure.supxlabel("\n".join(lines).replace("$", r"\$"), fontsize=9, x=0.02, ha="left")
        return Plot(figure, self.table.title)


def text_cell(text: str) -> Symbol:
    """Words."""
    return Symbol(text, rf"\text{{{escape_latex(text)}}}")


def number_cell(x: float, digits: int = 2) -> Symbol:
    """A measured number, or a dash where there is none."""
    return text_cell("—") if math.isnan(x) else Symbol.of(x, digits)


def count_cell(n: float) -> Symbol:
    """A whole number, or a dash where there is none."""
    return text_cell("—") if math.isnan(n) else Symbol.of(n, 15)


def write_times(x: float) -> str:
    """How many times: 2.6, 19, 128, or a dash where that is not known."""
    return "—" if math.isnan(x) else f"{x:.0f}" if x >= 99.5 else write_number(x, 2)


def log_axis(axis: Any, which: str) -> None:
    """Make the axis "x" or "y" logarithmic, with no more powers of ten than can be read."""
    from matplotlib.ticker import LogLocator, NullFormatter

    getattr(axis, f"set_{which}scale")("log")
    side = getattr(axis, f"{which}axis")
    side.set_major_locator(LogLocator(numticks=9))
    side.set_minor_formatter(NullFormatter())


def legend(axis: Any) -> None:
    """The legend, below."""
    axis.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.15), ncols=2, fontsize=9)
