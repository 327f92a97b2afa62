"""Contours of a surface, and paths on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tinygrad_vi.show.palette import GRADIENT, HEIGHTS, INK, PAPER

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]


SMALL = 9  # the size of letters
LEVELS = 14


def is_logarithmic(losses: Array) -> bool:
    """Whether heights differ so much that only their logarithms show."""
    import numpy as np

    return bool(np.nanmax(losses) > 30.0 * np.nanmin(losses) > 0.0)


def levels_of(losses: Array) -> Array:
    """The heights of contours."""
    import numpy as np

    low, high = float(np.nanmin(losses)), float(np.nanmax(losses))
    if not high > low:
        return np.array([low - 0.5, low + 0.5])
    return (
        np.geomspace(max(low, 1e-6 * high), high, LEVELS) if is_logarithmic(losses) else np.linspace(low, high, LEVELS)
    )


def draw_contours(axis: Any, sides: Sequence[Array], losses: Array) -> Any:
    """Draw the contours of a loss and shade between them; the shading."""
    import numpy as np
    from matplotlib.colors import BoundaryNorm

    levels = levels_of(losses)
    norm = BoundaryNorm(levels, 256)
    shown = np.ma.masked_invalid(np.clip(losses, levels[0], None))
    shade = axis.contourf(*sides, shown, levels=levels, cmap=HEIGHTS, norm=norm, alpha=0.75)
    axis.contour(*sides, shown, levels=levels, colors=PAPER, linewidths=0.6)
    axis.grid(visible=False)
    return shade


def draw_path(axis: Any, points: Any, *heights: Any, line: bool = True) -> None:
    """Draw the way of an optimiser with its start and its end; a single point is the present parameters."""
    from matplotlib.patheffects import withStroke

    columns = [*points.T, *heights]
    if len(points) == 1:
        axis.plot(*columns, "P", color=GRADIENT, markersize=9, markeredgecolor=PAPER, label="present parameters")
        return
    crowded = line and len(points) > 60
    style = {"marker": "." if crowded else "o", "linestyle": "-" if line else "", "label": "steps"}
    width = 1.4 if len(points) < 300 else 0.6
    seen = [withStroke(linewidth=width + 1.2, foreground=PAPER)]  # on every shade, in print too
    axis.plot(*columns, color=GRADIENT, linewidth=width, markersize=3, path_effects=seen, **style)
    for k, mark, name in ((0, "o", "start"), (-1, "*", "end")):
        at = [column[k : k + 1 or None] for column in columns]
        size, face = (9, PAPER) if name == "start" else (15, GRADIENT)
        axis.plot(*at, mark, color=face, markersize=size, markeredgecolor=INK, linestyle="", label=name)


def draw_arrow(axis: Any, tail: Sequence[float], head: Sequence[float]) -> None:
    """An arrow in space, with a head that is seen from every side."""
    from matplotlib.patches import FancyArrowPatch
    from mpl_toolkits.mplot3d import proj3d

    class Arrow(FancyArrowPatch):
        def do_3d_projection(self, renderer: Any = None) -> float:  # noqa: ARG002
            ends = [proj3d.proj_transform(*end, axis.M) for end in (tail, head)]
            self.set_positions(*[end[:2] for end in ends])
            return float(min(end[2] for end in ends))

    arrow = Arrow(
        (0, 0), (0, 0), arrowstyle="-|>", mutation_scale=16, color=GRADIENT, linewidth=2, shrinkA=0, shrinkB=0
    )
    arrow.set_zorder(5)
    axis.add_artist(arrow)
