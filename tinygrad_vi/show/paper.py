"""What all graph pictures share: fonts, boxes, and the `Drawing` that shows and saves itself."""

from __future__ import annotations

import base64
import html
import struct
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinygrad_vi.files import write_atomically
from tinygrad_vi.once import once
from tinygrad_vi.show.palette import INK, LINE, PAPER, in_theme
from tinygrad_vi.show.render import DOTS_PER_INCH, render
from tinygrad_vi.show.saving import form_of

if TYPE_CHECKING:
    from graphviz import Digraph


PICTURES = ("svg", "png", "pdf")
SOURCES = ("dot", "gv")
LONGEST_LABEL = 40
LARGEST_PNG = 150_000  # bytes, in a notebook

FONT = "Helvetica,Arial,DejaVu Sans,sans-serif"
FONT_SIZE = 11.0
MARGIN = 0.12  # inches to the left and to the right of a text


class Drawing:
    """A picture of a graph, shown by a notebook as it is, and kept by `save`.

    source: the text in Graphviz's language DOT; equal graphs give equal texts.  summary: what it shows, in words.
    """

    def __init__(self, digraph: Digraph, summary: str) -> None:
        self.source: str = digraph.source
        self.summary = summary

    @once
    def svg(self) -> str:
        """The picture as SVG text."""
        return render(self.source, "svg").decode()

    @once
    def png(self) -> bytes:
        """The picture as PNG data."""
        return render(self.source, "png")

    def themed(self, theme: str) -> Drawing:
        """The same picture for a "light" or a "dark" background; ValueError for another theme.

        >>> from tinygrad_vi import Value
        >>> (Value(3.0, "x") ** 2).draw().themed("dark")
        <Drawing of 2 values and 1 operation; .save("graph.svg") writes it>
        """
        found = Drawing.__new__(Drawing)
        found.source, found.summary = in_theme(self.source, theme), self.summary
        return found

    def save(self, path: str | Path) -> Path:
        """Write the picture as .svg, .png or .pdf, or its source as .dot or .gv; returns the path.

        Raises ValueError for another ending, OSError when the file cannot be written.
        """
        form = form_of(path, "a drawing", (*PICTURES, *SOURCES))
        if form in SOURCES:
            return write_atomically(path, self.source.encode())
        return write_atomically(path, self.png if form == "png" else render(self.source, form))

    def __repr__(self) -> str:
        return f'<Drawing of {self.summary}; .save("graph.svg") writes it>'

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, str], dict[str, Any]]:
        """SVG, and PNG for viewers that show no SVG; a large one in fewer dots, so that notebooks stay small."""
        width, height = struct.unpack(">II", self.png[16:24])  # the header of every PNG file
        size = {"width": width * 72 // DOTS_PER_INCH, "height": height * 72 // DOTS_PER_INCH}
        small = self.png if len(self.png) <= LARGEST_PNG else render(self.source, "png", DOTS_PER_INCH // 2)
        png = base64.b64encode(small).decode()
        # on a narrow page the picture shrinks, but stays large enough to be read
        fitting = f'<svg style="max-width: 100%; min-width: {size["width"] * 6 // 10}pt; height: auto"'
        svg = self.svg.replace("<svg", fitting, 1)
        return {"image/svg+xml": svg, "image/png": png, "text/plain": repr(self)}, {"image/png": size}


def new_digraph(**graph_attributes: str) -> Digraph:
    """An empty picture in the style of all of them; ImportError when the package graphviz is missing."""
    try:
        from graphviz import Digraph
    except ImportError:
        raise ImportError("drawing needs the package graphviz: pip install graphviz pygraphviz") from None
    text = {"fontname": FONT, "fontsize": f"{FONT_SIZE:g}", "fontcolor": INK}
    return Digraph(
        graph_attr={"bgcolor": PAPER, "fontcolor": INK, "charset": "UTF-8", **graph_attributes},
        node_attr={**text, "margin": f"{MARGIN},0.06", "height": "0.3", "penwidth": "1.2"},
        edge_attr={**text, "color": LINE, "arrowsize": "0.6"},
    )


def draw_box(graph: Digraph, name: str, lines: list[str], colors: tuple[str, str], **style: str) -> None:
    """A node with these lines of text."""
    fill, border = colors
    width = box_width(lines, round_=style["shape"] == "ellipse")
    graph.node(name, plain_label(lines), fillcolor=fill, color=border, width=f"{width:.2f}", **style)


def bracketed(number: str) -> str:
    """A number as a factor: a negative one in parentheses."""
    return f"({number})" if number.startswith("-") else number


def shorten(label: str, longest: int = LONGEST_LABEL) -> str:
    """A label on one line, in composed letters, with an ellipsis where it is too long."""
    text = unicodedata.normalize("NFC", " ".join("".join(c if c.isprintable() else " " for c in label).split()))
    return text if len(text) <= longest else text[: longest - 1] + "…"


def plain_label(lines: Iterable[str]) -> str:
    """Lines of text as a label in which nothing is taken for a command."""
    from graphviz import escape, nohtml

    # Graphviz has crashed on an empty line
    label: str = nohtml("\\n".join(escape(line.replace("&", "&amp;")) if line.strip() else "\u00a0" for line in lines))
    return label


def colored_label(lines: Iterable[tuple[str, str]]) -> str:
    """Lines of text, each with its colour, as a label."""
    return f"<{'<BR/>'.join(colored(text, color) for text, color in lines)}>"


def colored_width(lines: Iterable[tuple[str, str]], size: float = FONT_SIZE) -> float:
    """The room in inches that such a label needs in any font.

    Graphviz fixes where a text begins, so that in a wider font than its own it grows to the right alone.
    """
    return 1.15 * max(text_width(text) for text, _ in lines) * size / 72


def draw_text(graph: Digraph, name: str, lines: Sequence[tuple[str, str]], size: float, **attributes: str) -> None:
    """Put lines of text on a picture, each with its colour, with the room that they need in any font."""
    room = f"{colored_width(lines, size):.2f}"
    style = {"shape": "plaintext", "margin": "0", "width": room, "fontsize": f"{size:g}"}
    graph.node(name, colored_label(lines), **style, **attributes)


def colored(text: str, color: str) -> str:
    """A piece of a label in Graphviz's likeness of HTML."""
    escaped = html.escape(text).replace("\\", "\\\\")  # \N would become the name of the node
    return f'<FONT COLOR="{color}">{escaped}</FONT>' if text else ""


def box_width(texts: Iterable[str], size: float = FONT_SIZE, round_: bool = False) -> float:
    """How wide a node must be for these texts, in inches.

    Wide enough for any font: the viewer's may be wider than the one that Graphviz measured.
    """
    return max(inches(text, size) for text in texts) * (1.25 if round_ else 1.0) + 2 * MARGIN


def inches(text: str, size: float = FONT_SIZE) -> float:
    """An upper estimate of a text's width in letters of so many points."""
    return text_width(text) * size / 72


def text_width(text: str) -> float:
    """An upper estimate of a text's width in a wide font such as DejaVu Sans, in units of the font size."""
    return sum(_letter_width(c) for c in text)


def _letter_width(c: str) -> float:
    if unicodedata.combining(c):
        return 0.0
    if unicodedata.decomposition(c).startswith(("<super>", "<sub>")):
        return 0.55
    if unicodedata.east_asian_width(c) in "WF" or unicodedata.decomposition(c)[:1] == "<":
        return 1.05
    base = unicodedata.normalize("NFD", c)[0]
    if base in "ijlt.,:;'|!()[] ":
        return 0.42
    return 1.0 if base in "mwMW@%—…σΣ×∂" or ord(base) > 0x2000 else 0.8 if base.isupper() or ord(base) > 0x7F else 0.65
