"""The colours of all pictures, plots, tables and pages: each stands for one thing, and is told by a second sign too.

    value, forward        blue, solid, above              gradient, backward    vermillion, dashed, below, ∂
    input                 blue fill, round corners        parameter             violet fill, square corners
    operation             yellow fill, ellipse or circle  output                white, ink, double border
    positive weight       blue, solid                     negative weight       vermillion, dotted
    chosen path           ink, four pixels thick          constant              grey, dashed border

Text has a contrast of at least 4.5 with what it stands on and lines of 3 (WCAG 2.2, 1.4.3 and 1.4.11), and colours of
one picture stay apart for people who see no red or no green; tests measure both.  Blue is darker than vermillion, so
that they differ in grey print too.  (After Okabe and Ito, *Color universal design*, 2008, darkened for text.)
"""

from __future__ import annotations

import re
from typing import NamedTuple


class Color(NamedTuple):
    """A colour on white, and its like on a dark background."""

    light: str
    dark: str


#: what each colour stands for; the page has them as custom properties of these names
ROLES = {
    # text and lines
    "ink": Color("#0f172a", "#f1f5f9"),
    "soft": Color("#475569", "#b6c2d1"),  # less important text
    "line": Color("#64748b", "#94a3b8"),  # edges, wires, borders of results
    "faint": Color("#dbe2ea", "#3b4a5e"),  # grids and frames, which nobody needs to see
    "paper": Color("#ffffff", "#10151f"),
    "panel": Color("#f8fafc", "#1a2230"),
    # what flows
    "value": Color("#00558f", "#56b4e9"),
    "gradient": Color("#b84800", "#ffc299"),
    "gradient-fill": Color("#fdeee3", "#3a2416"),  # of the boxes of a backward pass
    # what boxes are
    "input-fill": Color("#e4f0fb", "#1e3a5f"),
    "input-line": Color("#3d8bc9", "#5cb6ea"),
    "parameter-fill": Color("#f1ecfa", "#2e2550"),
    "parameter-line": Color("#4a2a85", "#d9ccff"),
    "operation-fill": Color("#fff3c4", "#3d3108"),
    "operation-line": Color("#6f4e00", "#f0c75e"),
    "constant-line": Color("#76859b", "#8494aa"),
    # right, as of a model or an answer; what is wrong has the colour of gradients
    "right": Color("#0f7d63", "#4fd1b5"),
    # two more lines of a plot
    "third": Color("#c060c0", "#b08a20"),
    "focus": Color("#a16207", "#fbbf24"),  # of the keyboard
}


def light(role: str) -> str:
    """The colour of a role on white."""
    return ROLES[role].light


INK, SOFT, LINE, FAINT, PAPER = (light(role) for role in ("ink", "soft", "line", "faint", "paper"))
VALUE, GRADIENT = light("value"), light("gradient")
POSITIVE, NEGATIVE = VALUE, GRADIENT  # weights; negative ones are dotted too
RIGHT, WRONG, THIRD = light("right"), GRADIENT, light("third")

# fill, border; told apart by their corners and borders too: an output's is double, a constant's dashed
INPUT = (light("input-fill"), light("input-line"))
PARAMETER = (light("parameter-fill"), light("parameter-line"))
OPERATION = (light("operation-fill"), light("operation-line"))
RESULT = (PAPER, LINE)
OUTPUT = (PAPER, INK)
CONSTANT = (light("panel"), light("constant-line"))
BACKWARD = (light("gradient-fill"), GRADIENT)

#: a path that was chosen: ink, and four pixels thick, which are three points
PATH, PATH_WIDTH = INK, "3"

#: fill and border of layers, on white and on dark, from the first on; with more layers they repeat
LAYERS_IN = (
    (Color("#f6e4ef", "#4a1a3a"), Color("#802060", "#e02070")),
    (Color("#e0f5ef", "#0f3a30"), Color("#20a080", "#2ee6b4")),
    (Color("#fbeedd", "#40260a"), Color("#c06000", "#e07b00")),
    (Color("#e3eafc", "#1c2560"), Color("#0060e0", "#6050f0")),
    (Color("#f8e3e1", "#3f3a24"), Color("#800000", "#f7f0a8")),
)
LAYERS = tuple((fill.light, border.light) for fill, border in LAYERS_IN)

#: of classes, which differ by the shape of their marks too; the shading between the first two is of their colours
CLASSES_IN = (
    Color("#542788", "#b99cff"),
    Color("#c77700", "#f0a040"),
    Color("#1b9e77", "#3fc99c"),
    ROLES["third"],
    ROLES["value"],
    ROLES["gradient"],
    Color("#4d7c0f", "#a3d977"),
    Color("#0891b2", "#22d3ee"),
    Color("#78350f", "#d6a27c"),
    ROLES["ink"],
)
CLASSES = tuple(color.light for color in CLASSES_IN)

#: maps of matplotlib: heights, the deeper the larger, lightness falls all the way; and from one class to another
HEIGHTS, SIDES = "YlGnBu", "PuOr_r"

THEMES = ("light", "dark")
PAIRS = tuple(dict.fromkeys([*ROLES.values(), *(color for pair in LAYERS_IN for color in pair), *CLASSES_IN]))
#: the colours of a theme, for those of the other one
TURNED = {"light": {c.dark: c.light for c in PAIRS}, "dark": {c.light: c.dark for c in PAIRS}}
#: what matplotlib takes where it was given no colour, texts, axes and the walls behind surfaces, in the dark
UNGIVEN = {"#000000": ROLES["ink"].dark} | dict.fromkeys(("#f2f2f2", "#ececec", "#e6e6e6"), ROLES["panel"].dark)


def check_theme(theme: str) -> str:
    """The theme; ValueError where there is none of this name."""
    if theme not in THEMES:
        raise ValueError(f'theme must be "light" or "dark", got {theme!r}')
    return theme


def in_theme(source: str, theme: str) -> str:
    """A text in Graphviz's language with the colours of "light" or "dark"; those of no role stay.

    Raises ValueError for another theme.
    """
    turned = TURNED[check_theme(theme)]
    # inside of a label the quotation marks are written \" or &quot;
    return re.sub(r'(?i)(color=")(#[0-9a-f]{6})(?=")', lambda found: found[1] + turned.get(found[2], found[2]), source)
