"""What all plots share: marks, axes, and the `Plot` that shows and saves itself.

Figures are made without pyplot, so they need no display and leave no state behind.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from tinygrad_vi.files import write_atomically
from tinygrad_vi.show.palette import FAINT, NEGATIVE, PAPER, POSITIVE, TURNED, UNGIVEN, check_theme
from tinygrad_vi.show.saving import form_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure


DOTS_PER_INCH = 144
LONGEST_LINE = 120  # of a text on a plot, in letters
FORMATS = ("png", "svg", "pdf")

MARKERS = "os^DvP*X<>"  # classes differ by shape too

P = TypeVar("P", bound="Plot")


class Plot:
    """A matplotlib figure that a notebook shows as it is, and `save` keeps.

    figure: the figure, to go on with.  summary: what it shows, in words.
    """

    theme = "light"

    def __init__(self, figure: Figure, summary: str) -> None:
        self.figure = figure
        self.summary = summary

    def themed(self: P, theme: str) -> P:
        """The same plot, shown and saved for a "light" or a "dark" background; ValueError for another theme."""
        found = copy(self)
        found.theme = check_theme(theme)
        return found

    def save(self, path: str | Path) -> Path:
        """Write the plot as .png, .svg or .pdf; returns the path.

        Raises ValueError for another ending, OSError when the file cannot be written.
        """
        return write_atomically(path, self._render(form_of(path, "a plot", FORMATS)))

    def _render(self, form: str) -> bytes:
        """The picture in one of the `FORMATS`."""
        from matplotlib import rc_context

        clean_texts(self.figure)
        buffer = BytesIO()
        undated = {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}[form]
        # equal plots give equal files
        with rc_context({"svg.hashsalt": "tinygrad_vi"}), recolored(self.figure, self.theme):
            self.figure.savefig(buffer, format=form, dpi=DOTS_PER_INCH, metadata=undated)
        return buffer.getvalue()

    def __repr__(self) -> str:
        return f'<Plot of {self.summary}; .save("plot.png") writes it>'

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        width, height = (int(inches * 72) for inches in self.figure.get_size_inches())
        bundle = {"image/png": fewer_colors(self._render("png")), "text/plain": repr(self)}
        return bundle, {"image/png": {"width": width, "height": height}}


def clean_texts(figure: Any) -> None:
    """Shorten texts, and remove signs that no file may hold, such as control characters."""
    from matplotlib.text import Text

    for artist in figure.findobj(Text):
        text = artist.get_text()
        lines = ["".join(c if c.isprintable() else " " for c in line) for line in text.split("\n")]
        lines = [line if len(line) <= LONGEST_LINE else line[: LONGEST_LINE - 1] + "…" for line in lines]
        if "\n".join(lines) != text:
            artist.set_text("\n".join(lines))


def _artists(figure: Any) -> list[Any]:
    """All that a figure is drawn of, with what `findobj` leaves out: the lines of annotations, the walls in space."""
    found = figure.findobj()
    arrows = [getattr(artist, "arrow_patch", None) for artist in found]
    sides = [getattr(a, f"{k}axis", None) for a in figure.axes for k in "xyz"]
    walls = [getattr(side, part, None) for side in sides for part in ("pane", "line")]
    return list(dict.fromkeys(artist for artist in (*found, *arrows, *walls) if artist is not None))


@contextmanager
def recolored(figure: Any, theme: str) -> Iterator[None]:
    """A figure whose colours are those of a theme for a while; colours of no role, as of shadings, stay."""
    from matplotlib.colors import to_hex, to_rgba

    if theme == "light":
        yield
        return
    turned = TURNED[theme] | UNGIVEN

    def turn(color: Any) -> Any:
        alpha = to_rgba(color)[3]
        found = turned.get(to_hex(color)) if alpha else None
        return color if found is None else to_rgba(found, alpha)

    figure.draw_without_rendering()  # ticks are made now
    before = []
    for artist in _artists(figure):
        for name in ("color", "facecolor", "edgecolor", "markerfacecolor", "markeredgecolor"):
            get, put = getattr(artist, f"get_{name}", None), getattr(artist, f"set_{name}", None)
            if get is None or put is None or (isinstance(color := get(), str) and color in ("none", "auto")):
                continue
            old = [*color] if getattr(color, "ndim", 1) == 2 else [color]  # of a collection, or of one thing
            new = [*map(turn, old)]
            if any(u is not v for u, v in zip(old, new, strict=True)):
                before.append((put, color))
                put(new if len(new) > 1 else new[0])
    try:
        yield
    finally:
        for put, color in reversed(before):
            put(color)


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, in inches; ImportError when the package matplotlib is missing."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError("plots need the package matplotlib: pip install matplotlib") from None
    return Figure(figsize=(width, height), layout="constrained")


def styled(axis: Any) -> Any:
    """Axes in the style of all plots."""
    axis.grid(visible=True, color=FAINT, linewidth=0.8)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
    return axis


def fewer_colors(png: bytes, colors: int = 256) -> bytes:
    """The same picture in so many colours: a third of the size or less, so that notebooks stay small."""
    from PIL import Image  # Pillow comes with matplotlib

    small = BytesIO()
    Image.open(BytesIO(png)).convert("RGB").quantize(colors, dither=Image.Dither.NONE).save(small, "PNG", optimize=True)
    return small.getvalue()


def new_axes(width: float, height: float, rows: int = 1, columns: int = 1) -> tuple[Figure, list[Any]]:
    """An empty figure with axes in the style of all plots."""
    figure = new_figure(width, height)
    axes = figure.subplots(rows, columns, sharex="col", squeeze=False).flat
    return figure, [styled(axis) for axis in axes]


def signed_shades() -> Any:
    """Colours from negative over 0 to positive, as lines have them: vermillion, white, blue."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("signs", [NEGATIVE, PAPER, POSITIVE])


def padded(xs: Sequence[float]) -> tuple[float, float]:
    """The smallest and the largest number, with a margin."""
    width = max(xs) - min(xs)
    margin = 0.12 * width if width != 0.0 else 1.0
    return min(xs) - margin, max(xs) + margin
