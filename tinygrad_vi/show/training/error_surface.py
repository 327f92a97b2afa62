"""The error over two weights: its minima, and the gradient at a point."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from tinygrad_vi.checks import DomainError, whole_number
from tinygrad_vi.derivatives import grad
from tinygrad_vi.ops import exp
from tinygrad_vi.optim.solvers import minimize
from tinygrad_vi.show.palette import GRADIENT, HEIGHTS, INK, LINE, PAPER
from tinygrad_vi.show.plot import Plot, new_figure
from tinygrad_vi.value import Value, no_grad

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
from tinygrad_vi.show.training.contours import LEVELS, draw_arrow
from tinygrad_vi.show.training.mean_loss import import_numpy

MINIMA = 6  # at most so many are looked for


# --- The error surface ------------------------------------------------------------------------------------------------


class ErrorSurface(Plot):
    """What `error_surface` draws, and its numbers.

    minima: the points (w1, w2) of the minima found, the lowest last; of a flat floor one point.  point: where the
    gradient is drawn.  gradient: there.
    """

    minima: list[tuple[float, float]]
    point: tuple[float, float]
    gradient: tuple[float, float]


def two_wells(w1: Any, w2: Any) -> Any:
    """A surface with a local minimum, a global one and a saddle between them: the default of `error_surface`."""
    shallow = exp(-((w1 + 1.1) ** 2 + (w2 + 0.3) ** 2) / 0.6)
    deep = exp(-((w1 - 0.9) ** 2 + (w2 - 0.3) ** 2) / 0.7)
    return 1.0 + 0.1 * (w1**2 + w2**2) - 0.8 * shallow - 1.3 * deep


def error_surface(
    f: Callable[[Any, Any], Any] = two_wells,
    *,
    point: tuple[float, float] = (1.4, 1.0),
    w1: tuple[float, float] = (-2.0, 2.0),
    w2: tuple[float, float] = (-2.0, 2.0),
    steps: int = 50,
) -> ErrorSurface:
    """An error E(w1, w2) as a surface over the plane of weights, with its minima and the gradient at a point.

    w_A is a local minimum, w_B the lowest one, w_C a point where the gradient ∇E is drawn, in the plane of the weights
    and, as the steepest way up, on the surface.  (C. Bishop, 2006, Figure 5.5.)  Minima are found by SciPy from the
    lowest points of the grid, gradients are ours; a point counts where nothing around it is lower, and two points are
    one minimum when no rise lies between them.  At most six are looked for, and pits between grid points are not seen.

    f: a function of two Values, written in scalar code.  point: w_C.  w1, w2: from where to where.  steps: grid points
    along each side.

    Raises DomainError when f cannot be computed at the point, ValueError for a point outside.

    >>> plot = error_surface(lambda a, b: (a * a - 1) ** 2 + 0.1 * a + b * b, point=(1.5, 1.0))
    >>> [round(w[0], 3) for w in plot.minima], plot.gradient
    ([0.987, -1.012], (7.6, 2.0))
    """
    np = import_numpy()
    whole_number(steps, "steps", least=5)
    sides = [_side(ends, name, steps) for ends, name in ((w1, "w1"), (w2, "w2"))]
    for x, (low, *_, high) in zip(point, sides, strict=True):
        if not low <= x <= high:
            raise ValueError(f"the point {point} lies outside of the picture")
    slope = grad(f)(*map(float, point))
    with no_grad():
        heights = np.array([[_height(f, a, b) for a in sides[0]] for b in sides[1]])
        top = _height(f, *point)
    minima, flat, more = _minima(f, sides, heights)
    figure = _draw_error_surface(f, sides, heights, minima, (*point, top), slope)
    found = _count_minima(len(minima), flat)
    if more:
        found += " or more"
    plot = ErrorSurface(figure, f"an error surface with {found}")
    plot.minima, plot.point, plot.gradient = minima, point, slope
    return plot


def _side(ends: tuple[float, float], name: str, steps: int) -> Array:
    import numpy as np

    low, high = ends
    if not -math.inf < low < high < math.inf:
        raise ValueError(f"{name} goes from a smaller to a larger number, got {ends}")
    return np.linspace(low, high, steps)


def _height(f: Callable[[Any, Any], Any], a: float, b: float) -> float:
    """f at a point, NaN where it cannot be computed."""
    try:
        found = f(Value(float(a)), Value(float(b)))
    except DomainError:
        return math.nan
    return float(found.data if isinstance(found, Value) else found)


def _count_minima(n: int, flat: int) -> str:
    """How many minima were found, and how many of them are flat floors, in words."""
    if not n:
        return "no minimum found"
    if n == 1:
        return "a flat floor" if flat else "a minimum"
    return f"{n} minima, {flat} of them flat" if flat else f"{n} minima"


def _minima(
    f: Callable[[Any, Any], Any], sides: Sequence[Array], heights: Array
) -> tuple[list[tuple[float, float]], int, bool]:
    """The lowest minima inside, the lowest last; how many are flat; whether there were more places to look for some.

    SciPy goes down from grid points that are not higher than their neighbours: by BFGS, and where that does not arrive,
    as at a kink, by Nelder and Mead's method.
    """
    starts = []
    for j in range(1, len(sides[1]) - 1):
        for i in range(1, len(sides[0]) - 1):
            around = heights[j - 1 : j + 2, i - 1 : i + 2]
            if heights[j, i] <= around.min() < around.max():  # not beside a NaN
                starts.append((float(heights[j, i]), float(sides[0][i]), float(sides[1][j])))
    pits = _Pits(f, sides, heights)
    more = False
    for _, *place in sorted(starts):
        if len(pits.found) == MINIMA:
            more = pits.known(place) is None
            break
        for method in ("BFGS", "Nelder-Mead"):
            if pits.known(place) is not None:  # the way leads down to it, or over its flat floor
                break
            w = [Value(x) for x in place]
            minimize(partial(f, *w), w, method=method, tol=1e-12)
            pits.add((w[0].data, w[1].data))
    return sorted(pits.found, key=lambda place: -pits.found[place]), len(pits.flat), more


class _Pits:
    """Minima, each once.  found: the lowest point of each, with the height there.  flat: those of a flat floor."""

    def __init__(self, f: Callable[[Any, Any], Any], sides: Sequence[Array], heights: Array) -> None:
        import numpy as np

        self.f, self.sides = f, sides
        self.radius = min(float(side[1] - side[0]) for side in sides) / 2.0
        self.rounding = 1e-12 * float(np.nanmax(abs(heights)))
        self.found: dict[tuple[float, float], float] = {}
        self.flat: set[tuple[float, float]] = set()

    def height(self, place: Sequence[float]) -> float:
        """The surface at a point, infinite where there is none."""
        with no_grad():
            found = _height(self.f, *place)
        return math.inf if math.isnan(found) else found

    def known(self, place: Sequence[float]) -> tuple[float, float] | None:
        """The minimum that a point leads straight down to, or on whose flat floor it lies."""
        here = self.height(place)
        level = [other for other in self.flat if abs(self.found[other] - here) <= self.rounding]
        below = [other for other in self.found if not self._rises(place, other)]
        return next(iter(level + below), None)

    def add(self, place: tuple[float, float]) -> None:
        """Add a point as a minimum if it lies inside, nothing around it is lower, and it is not known yet."""
        inside = all(side[0] <= x <= side[-1] for x, side in zip(place, self.sides, strict=True))
        if not inside or not self._lowest_around(place):
            return
        height, same = self.height(place), self.known(place)
        if same is not None and self.found[same] <= height:
            return
        if same is not None:  # a lower point of it
            del self.found[same]
            self.flat.discard(same)
        self.found[place] = height
        if self._flat_around(place, height):
            self.flat.add(place)

    def _flat_around(self, place: Sequence[float], height: float) -> bool:
        """Whether a circle around a minimum meets a point that is as low."""
        from scipy.optimize import minimize_scalar

        def at(turn: float) -> float:
            return self.height([place[0] + self.radius * math.cos(turn), place[1] + self.radius * math.sin(turn)])

        step = math.pi / 32.0
        turns = sorted((at(k * step), k * step) for k in range(64))[:4]  # a valley crosses the circle at two places
        lowest = min(
            float(minimize_scalar(at, bounds=(turn - step, turn + step), options={"xatol": 1e-9}).fun)
            for _, turn in turns
        )
        return min(lowest, turns[0][0]) <= height + self.rounding

    def _lowest_around(self, place: Sequence[float]) -> bool:
        floor = self.height(place) - self.rounding
        ring = [
            (place[0] + r * math.cos(turn), place[1] + r * math.sin(turn))
            for r in (0.01 * self.radius, self.radius / 4.0)
            for turn in (k * math.pi / 8.0 for k in range(16))
        ]
        return all(self.height(point) >= floor for point in ring)

    def _rises(self, start: Sequence[float], end: Sequence[float]) -> bool:
        """Whether a rise lies on the straight way between two points."""
        lowest = math.inf
        for k in range(65):
            height = self.height([a + (b - a) * k / 64.0 for a, b in zip(start, end, strict=True)])
            if height > lowest + self.rounding:
                return self.height(end) < lowest - self.rounding or height > self.height(end) + self.rounding
            lowest = min(lowest, height)
        return False


def _draw_error_surface(
    f: Any,
    sides: Sequence[Array],
    heights: Array,
    minima: Sequence[Any],
    point: Sequence[float],
    slope: Sequence[float],
) -> Figure:
    import numpy as np

    figure = new_figure(7.0, 5.8)
    axis: Any = figure.add_subplot(projection="3d", computed_zorder=False)
    low, high = float(np.nanmin(heights)), float(np.nanmax(heights))
    floor = low - 0.7 * (high - low)
    grid = np.meshgrid(*sides)
    axis.contour(
        *grid, heights, levels=LEVELS, colors=LINE, linestyles="solid", linewidths=0.8, offset=floor, zdir="z", zorder=0
    )
    axis.plot_surface(
        *grid, heights, cmap=HEIGHTS, alpha=0.75, linewidth=0.2, edgecolor=PAPER, rstride=1, cstride=1, zorder=2
    )
    marks = [(*place, _height(f, *place)) for place in minima] + [point]
    *local, _, _ = marks if minima else [None, *marks]
    hollows = ["w_A"] if len(local) == 1 else [f"w_{{A{i + 1}}}" for i in range(len(local))]
    names = [*hollows, "w_B", "w_C"] if minima else [*hollows, "w_C"]
    for name, (a, b, height) in zip(names, marks, strict=True):
        axis.plot([a, a], [b, b], [floor, height], color=INK, linewidth=0.9, linestyle=":", zorder=1)
        axis.plot([a], [b], [height], "o", color=GRADIENT, markeredgecolor=PAPER, markersize=7, zorder=4)
        axis.plot([a], [b], [floor], "o", color=INK, markersize=4, zorder=1)
        axis.text(a, b, floor, f"   ${name}$", zorder=5, va="top")
    _draw_gradient(axis, point, slope, floor, 0.17 * float(sides[0][-1] - sides[0][0]))
    axis.set_zlim(floor, high)
    axis.view_init(elev=30, azim=-65)
    axis.locator_params(nbins=5)
    axis.set_xlabel("$w_1$")
    axis.set_ylabel("$w_2$")
    axis.set_zlabel("$E(w_1, w_2)$")
    axis.set_zticks([tick for tick in axis.get_zticks() if low - 0.1 * (high - low) <= tick <= high])
    axis.set_box_aspect(None, zoom=1.0)
    return figure


def _draw_gradient(axis: Any, point: Sequence[float], slope: Sequence[float], floor: float, length: float) -> None:
    """The gradient as an arrow among the weights, and the same as the steepest way up on the surface."""
    steepness = math.hypot(*slope)
    if not steepness:
        return
    a, b, height = point
    along = [length * s / steepness for s in slope]
    for z, rise in ((floor, 0.0), (height, length * steepness)):
        draw_arrow(axis, (a, b, z), (a + along[0], b + along[1], z + rise))
    axis.text(a + 1.1 * along[0], b + 1.1 * along[1], floor, " $\\nabla E$", color=GRADIENT, zorder=5)
