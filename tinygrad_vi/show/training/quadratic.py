"""Gradient descent on a quadratic function: eigenvalues decide what it does."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tinygrad_vi.checks import ShapeError, at_least, counted, whole_number
from tinygrad_vi.examples import to_lists
from tinygrad_vi.show.palette import GRADIENT, HEIGHTS, INK, PAPER
from tinygrad_vi.show.plot import Plot, new_figure, styled
from tinygrad_vi.show.writing.numerals import write_number

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
from tinygrad_vi.show.training.contours import LEVELS, SMALL
from tinygrad_vi.show.training.mean_loss import import_numpy

ROUNDING = 16.0 * 2.0**-52  # of an eigenvalue, or of a product with it


# --- The quadratic ----------------------------------------------------------------------------------------------------


class Quadratic(Plot):
    """What `quadratic` draws, and its numbers.

    eigenvalues: in rising order, (2,).  eigenvectors: in the columns, (2, 2).  eta_max: the largest stable learning
    rate, 2 over the largest eigenvalue; None at a saddle or a maximum, where there is none.  paths: for each learning
    rate the points of the descent, (steps + 1, 2).
    """

    eigenvalues: Array
    eigenvectors: Array
    eta_max: float | None
    paths: dict[float, Array]


def quadratic(
    H: Any,
    *,
    start: Sequence[float] = (1.0, 1.0),
    learning_rates: Sequence[float] | float | None = None,
    steps: int = 100,
    center: Sequence[float] = (0.0, 0.0),
) -> Quadratic:
    """Gradient descent on E(w) = (w - c)^T H (w - c) / 2, for several learning rates.

    Along the eigenvector of H with the eigenvalue λ a step multiplies the distance from c by 1 - η λ, so that descent
    converges if and only if 0 < η < 2 / λ_max (all λ > 0).  (C. Bishop, 1995, §7.5.)

    H: the Hessian, symmetric, of shape (2, 2).  start, center: two numbers each.  learning_rates: 0.22, 0.88, 1 and
    1.015 times the largest stable one by default.

    Raises ShapeError for other shapes, ValueError for an H that is not symmetric, zero or not finite.

    >>> plot = quadratic([[2.0, 1.0], [1.0, 4.0]])
    >>> plot.eigenvalues.round(6).tolist(), round(plot.eta_max, 7)
    ([1.585786, 4.414214], 0.4530818)
    """
    np = import_numpy()
    matrix = np.array(to_lists(H), dtype=float)
    w, c = np.array(start, dtype=float), np.array(center, dtype=float)
    if matrix.shape != (2, 2) or w.shape != (2,) or c.shape != (2,):
        raise ShapeError(f"a picture needs H of shape (2, 2) and points of 2 numbers, got {matrix.shape}, {w.shape}, "
                         f"{c.shape}")  # fmt: skip
    if not (np.isfinite(matrix).all() and np.isfinite([w, c]).all()):
        raise ValueError(f"H, start and center hold a number that is not finite: {matrix.tolist()}, {w}, {c}")
    if abs(matrix[0, 1] - matrix[1, 0]) > 1e-9 * abs(matrix).max():
        raise ValueError(f"a Hessian is symmetric, got H = {matrix.tolist()}: take (H + H^T) / 2, it has the same E")
    if not matrix.any():
        raise ValueError("H is zero: E is flat, there is nothing to descend")
    whole_number(steps, "steps")
    eigenvalues, eigenvectors = np.linalg.eigh(matrix)
    eigenvalues[abs(eigenvalues) < ROUNDING * abs(eigenvalues).max()] = (
        0.0  # an eigenvalue of 0 but for rounding: a valley
    )
    eigenvectors *= np.where(eigenvectors.sum(axis=0) < 0, -1.0, 1.0)  # of the two signs always the same one
    eta_max = float(2.0 / eigenvalues[1]) if eigenvalues[0] >= 0.0 else None
    if learning_rates is None:
        unit = 2.0 / abs(eigenvalues).max() if eta_max is None else eta_max
        learning_rates = [share * unit for share in (0.22, 0.88, 1.0, 1.015)]
    if isinstance(learning_rates, (int, float)):
        learning_rates = [learning_rates]
    rates = [at_least(rate, 0.0, "a learning rate") for rate in learning_rates]
    if not rates:
        raise ValueError("there are no learning rates to compare")
    paths = {rate: _descent(matrix, w, c, rate, steps) for rate in rates}
    plot = Quadratic(
        _draw_quadratic(matrix, eigenvalues, eigenvectors, c, paths), f"descents on a quadratic, {_nature(eigenvalues)}"
    )
    plot.eigenvalues, plot.eigenvectors, plot.eta_max, plot.paths = eigenvalues, eigenvectors, eta_max, paths
    return plot


def _descent(H: Array, start: Array, center: Array, rate: float, steps: int) -> Array:
    """w <- w - rate * H (w - c); it stops short of overflow."""
    import numpy as np

    points = [start]
    while len(points) <= steps and abs(points[-1]).max() < 1e100:
        points.append(points[-1] - rate * H @ (points[-1] - center))
    return np.array(points)


def _nature(eigenvalues: Array) -> str:
    """What kind of point the center is, and which learning rates are stable there."""
    low, high = eigenvalues
    if low < 0.0:
        kind = "a saddle" if high > 0.0 else "a maximum"
        return f"{kind} (λ₁ = {write_number(low, 4)} < 0): no learning rate is stable"
    kind = "a minimum" if low > 0.0 else "a valley with a flat floor (λ₁ = 0)"
    return f"{kind}: descent converges below η_max = 2 / λ_max = {write_number(2.0 / high, 4)}"


def _behaviour(eigenvalues: Array, rate: float) -> str:
    """What descent does at a learning rate, in words: along these eigenvectors, those in which it starts off center."""
    factors = [1.0 - rate * value for value in eigenvalues if value]  # along a flat direction nothing moves
    if rate == 0.0 or not factors:
        return "does not move"
    largest = max(factors, key=abs)
    each = f"×{_factor(abs(largest))} a step"
    if min(eigenvalues) < 0.0:
        return f"runs away, {each}"
    beyond = abs(largest) - 1.0
    if beyond == 0.0 < largest:
        return "hardly moves"  # a step is lost in rounding
    if largest < 0.0 and abs(beyond) <= ROUNDING:
        return "oscillates for ever"
    if largest < 0.0 and abs(beyond) < 1e-5:
        return f"oscillates and {'grows' if beyond > 0.0 else 'shrinks'}, {each}"
    slowly = " slowly" if abs(beyond) < 0.01 else ""
    if beyond > 0.0:
        return f"diverges{slowly}, {each}"
    if min(factors) < 0.0:
        return f"converges{slowly} in a zigzag, {each}"
    return f"converges slowly, {each}" if beyond > -0.2 else f"converges, {each}"


def _factor(size: float) -> str:
    """A factor with three digits, or as many more as tell it from 1."""
    digits = next((n for n in range(3, 17) if float(f"{size:.{n}g}") != 1.0), 17)
    return write_number(size, digits)


def _started(path: Array, eigenvalues: Array, eigenvectors: Array, center: Array) -> Array:
    """The eigenvalues along whose eigenvectors the descent is ever off center by more than rounding."""
    import numpy as np

    away = abs((path - center) @ eigenvectors)
    found: Array = eigenvalues[away.max(axis=0) > 1e-9 * np.linalg.norm(away[0])]
    return found


def _draw_quadratic(H: Array, eigenvalues: Array, eigenvectors: Array, c: Array, paths: dict[float, Array]) -> Figure:
    import numpy as np

    count = len(paths)
    columns = min(count, 4) if count != 4 else 2
    rows = math.ceil(count / columns)
    figure = new_figure(max(3.4 * columns + 0.4, 4.8), 3.6 * rows + 1.0)
    half = 1.5 * max(float(abs(path[0] - c).max()) for path in paths.values()) or 1.0
    sides = [np.linspace(center - half, center + half, 61) for center in c]
    away = np.stack(np.meshgrid(*sides), axis=-1) - c
    energy = np.einsum("...i,ij,...j->...", away, H, away) / 2
    for k, (rate, path) in enumerate(paths.items()):
        axis = styled(figure.add_subplot(rows, columns, k + 1))
        axis.contourf(*sides, energy, levels=LEVELS, cmap=HEIGHTS, alpha=0.6)
        axis.contour(*sides, energy, levels=LEVELS, colors=PAPER, linewidths=0.6)
        axis.grid(visible=False)
        for i in (0, 1):
            along = 0.95 * half * eigenvectors[:, i]
            style = {"color": INK, "linewidth": 1.2, "linestyle": ("--", ":")[i]}
            axis.plot(
                *np.array([c - along, c + along]).T, label=f"λ{'₁₂'[i]} = {write_number(eigenvalues[i], 4)}", **style
            )
        axis.plot(*path.T, "o-", color=GRADIENT, markersize=3, linewidth=1.2)
        axis.plot(*path[:1].T, "o", color=PAPER, markeredgecolor=INK, markersize=8)
        axis.set_box_aspect(1)
        axis.set_xlim(sides[0][0], sides[0][-1])
        axis.set_ylim(sides[1][0], sides[1][-1])
        axis.set_xlabel("w1")
        axis.set_ylabel("w2")
        distance = write_number(float(np.linalg.norm(path[-1] - c)), 4)
        axis.set_title(
            f"η = {write_number(rate, 6)}\n{_behaviour(_started(path, eigenvalues, eigenvectors, c), rate)}\n"
            f"after {counted(len(path) - 1, 'step')} {distance} from the center",
            fontsize=SMALL,
        )
    figure.suptitle("\n".join(textwrap.wrap(_nature(eigenvalues), 36 * columns)), fontsize=SMALL + 2)
    handles = figure.axes[0].get_legend_handles_labels()
    figure.legend(
        *handles, loc="outside lower center", ncols=2, frameon=False, fontsize=SMALL, title="eigenvectors of H"
    )
    return figure
