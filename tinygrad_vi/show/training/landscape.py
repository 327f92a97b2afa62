"""Loss landscapes: the loss over a plane through parameter space, and the path of a training in it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from tinygrad_vi.checks import ShapeError, counted, whole_number
from tinygrad_vi.compiler.compiled import Compiled
from tinygrad_vi.examples import random_numbers, to_lists
from tinygrad_vi.optim.rules import Optimizer
from tinygrad_vi.show.palette import HEIGHTS, PAPER
from tinygrad_vi.show.plot import Plot, new_figure, styled
from tinygrad_vi.show.writing.numerals import write_number
from tinygrad_vi.training.objective import loss_then_data
from tinygrad_vi.value import Value

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from tinygrad_vi.training.history import History

    Array = NDArray[np.float64]
from tinygrad_vi.show.training.contours import SMALL, draw_contours, draw_path, is_logarithmic, levels_of
from tinygrad_vi.show.training.mean_loss import MeanLoss

# --- The loss over a plane of parameters ------------------------------------------------------------------------------


class ParameterPath:
    """Where the parameters have been: a callback of `fit`, with a point for each epoch after the one it begins at.

        path = ParameterPath(model)
        fit(loss, X, y, params=model, callbacks=path)
        loss_landscape(loss, X, y, params=model, path=path)

    points: lists of numbers, one for each parameter.

    >>> from tinygrad_vi import fit, optim
    >>> w = Value(0.0)
    >>> path, descent = ParameterPath([w]), optim.SGD([w], learning_rate=0.25)
    >>> history = fit(
    ...     lambda x: (w - x) ** 2, [1.0], params=[w], optimizer=descent, epochs=3, callbacks=path, progress=False
    ... )
    >>> path.points
    [[0.0], [0.5], [0.75], [0.875]]
    """

    def __init__(self, params: Any) -> None:
        self.parameters = Optimizer(params, 1.0).parameters  # it checks them
        self.points: list[list[float]] = []
        self()

    def __call__(self, _: History | None = None) -> None:
        """Note where the parameters are."""
        self.points.append([p.data for p in self.parameters])

    def __len__(self) -> int:
        return len(self.points)

    def __repr__(self) -> str:
        return f"<ParameterPath of {counted(len(self.parameters), 'parameter')}, {counted(len(self), 'point')}>"


class Landscape(Plot):
    """What `loss_landscape` draws, and its numbers.

    center: the parameters it goes through, of shape (P,).  directions: two of them, (2, P).  a, b: the steps along the
    directions.  losses: the mean loss at center + a[i] * directions[0] + b[j] * directions[1] is losses[j, i]; NaN
    where it cannot be computed.  path: the projected points of the optimiser, (T, 2), or None.  explained: the share of
    the variance of the path in each direction, or None.
    """

    center: Array
    directions: Array
    a: Array
    b: Array
    losses: Array
    path: Array | None = None
    explained: Array | None = None


@loss_then_data()
def loss_landscape(
    loss: Callable[..., Any] | Compiled,
    X: Any = None,
    y: Any = None,
    *,
    params: Any = None,
    directions: Any = None,
    path: ParameterPath | Sequence[Sequence[float]] | None = None,
    span: float = 1.0,
    steps: int = 25,
    seed: int = 0,
    surface: bool = False,
) -> Landscape:
    """The mean loss over a plane through the present parameters, and the way the optimiser took.

    The plane: center + a d1 + b d2.  Two parameters need no choice: d1 and d2 are their axes.  Otherwise they are

    - ``directions``, two of them, when they are given;
    - the two principal directions of the ``path``, when that is given: those in which it went farthest;
    - random, every row of a weight matrix and every bias vector as long as that of the parameters (filter
      normalisation; Li et al., 2018, "Visualizing the loss landscape of neural nets").

    loss, X, y, params: as for `fit`; a compiled loss is quick, and another one is compiled if it can be.  path: a
    `ParameterPath`, or a list of points.  span: how far the plane reaches to each side, in lengths of the directions;
    with a path, how many times farther than the path.  steps: grid points along each side.  seed: of the random
    directions.  surface: a view of the surface instead of contours.  Parameters are left as they are.

    Raises ShapeError for directions or a path that do not fit the parameters, DomainError when the loss cannot be
    computed at the present parameters.

    >>> w, b = Value(1.0, "w"), Value(0.0, "b")
    >>> plot = loss_landscape(lambda x, t: (w * x + b - t) ** 2, [0.0, 1.0], [1.0, 3.0], params=[w, b], steps=3)
    >>> plot.losses.tolist()
    [[10.0, 6.5, 4.0], [5.0, 2.5, 1.0], [2.0, 0.5, 0.0]]
    """
    import numpy as np

    mean_loss = MeanLoss("loss_landscape", loss, params, X, y)
    whole_number(steps, "steps", least=2)
    if not 0.0 < span < math.inf:
        raise ValueError(f"span must be a positive number, got {span!r}")
    center = mean_loss.theta
    if len(center) < 2:
        raise ShapeError("a plane needs two parameters or more, got one")
    points = None if path is None else _points(path, len(center))
    plane, names, explained = _directions(mean_loss.parameters, directions, points, seed)
    projected = None if points is None else _projected(points - center, plane)
    a, b = _reach(projected, span, steps)
    here = mean_loss(center)  # an error at the present parameters is the caller's
    losses = np.array([[mean_loss.or_nan(center + i * plane[0] + j * plane[1]) for i in a] for j in b])
    walked = np.zeros((1, 2)) if projected is None else projected
    heights = [mean_loss.or_nan(center + p @ plane) for p in walked] if surface else None
    origin = np.zeros(2)
    if names is None:  # the parameters themselves are read off the axes
        origin = center
        names = [p.label or f"parameter {k + 1}" for k, p in enumerate(mean_loss.parameters)]
    figure = _figure_of([a + origin[0], b + origin[1]], losses, walked + origin, heights, names)
    figure.axes[0].set_title(f"mean loss: {write_number(here, 4)} at the present parameters")
    plot = Landscape(figure, f"the mean loss over a plane of {counted(len(center), 'parameter')}")
    plot.center, plot.directions, plot.a, plot.b, plot.losses = center, plane, a, b, losses
    plot.path, plot.explained = projected, explained
    return plot


def _figure_of(
    sides: Sequence[Array], losses: Array, walked: Array, heights: Sequence[float] | None, names: Sequence[str]
) -> Figure:
    """Contours with the path on them or, where the heights of the path are given, a surface."""
    figure = new_figure(6.2, 5.4)
    if heights is not None:
        axis = _draw_surface(figure, sides, losses, walked, heights)
    else:
        axis = styled(figure.subplots())
        shade = draw_contours(axis, sides, losses)
        figure.colorbar(shade, ax=axis, label="mean loss", format=lambda x, _: write_number(x, 2))
        draw_path(axis, walked)
    axis.set_xlabel(names[0], parse_math=False)
    axis.set_ylabel(names[1], parse_math=False)
    axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=3, frameon=False, fontsize=SMALL)
    return figure


def _points(path: Any, P: int) -> Array:
    import numpy as np

    points: Array = np.array(path.points if isinstance(path, ParameterPath) else to_lists(path), dtype=float)
    if points.ndim != 2 or points.shape[1] != P:
        raise ShapeError(
            f"each point of the path needs {P} numbers, one for each parameter, got the shape {points.shape}"
        )
    if len(points) < 2:
        raise ShapeError("a path needs two points or more: give it to the training, fit(..., callbacks=path)")
    if not np.isfinite(points).all():
        raise ValueError("the path holds a number that is not finite")
    return points


def _directions(
    params: list[Value], given: Any, points: Array | None, seed: int
) -> tuple[Array, list[str] | None, Array | None]:
    """Two directions, their names (None for the axes of two parameters), the share of the variance they explain."""
    import numpy as np

    P = len(params)
    if given is not None:
        plane = np.array(to_lists(given), dtype=float)
        if plane.shape != (2, P):
            raise ShapeError(f"directions are two lists of {P} numbers, one for each parameter, got {plane.shape}")
        if not np.isfinite(plane).all() or np.linalg.matrix_rank(plane) < 2:
            raise ValueError("the two directions lie on one line, or are not finite: they span no plane")
        return plane, ["direction 1", "direction 2"], None
    if P == 2:
        return np.eye(2), None, None
    if points is not None:
        return _principal(points)
    rng = random_numbers(seed)
    drawn = np.array([[rng.gauss(0.0, 1.0) for _ in params] for _ in range(2)])
    normalised = np.array([_filter_normalised(direction, params) for direction in drawn])
    if np.linalg.matrix_rank(normalised) < 2:  # nearly all parameters are 0
        return drawn, ["random direction 1", "random direction 2"], None
    return normalised, [f"random direction {k}, filter-normalised" for k in (1, 2)], None


def _principal(points: Array) -> tuple[Array, list[str], Array]:
    """The two directions in which points spread most, their names, and their shares of the variance."""
    import numpy as np

    if len(points) < 3:
        raise ShapeError("two directions need a path of three points or more")
    _, sizes, rows = np.linalg.svd(points - points.mean(axis=0), full_matrices=False)
    if not sizes[0]:
        raise ValueError("all points of the path are the same, so it has no directions")
    shares = sizes[:2] ** 2 / (sizes @ sizes)
    names = [f"principal direction {k} ({share:.1%} of the variance)" for k, share in enumerate(shares, start=1)]
    return rows[:2], names, shares


def _projected(away: Array, plane: Array) -> Array:
    """The steps along the two directions that come nearest."""
    import numpy as np

    return np.asarray(np.linalg.lstsq(plane.T, away.T, rcond=None)[0].T, dtype=np.float64)


def _filter_normalised(direction: Sequence[float], params: Sequence[Value]) -> list[float]:
    """A direction, scaled so that each row of a matrix and each vector is as long as that of the parameters."""
    groups: dict[tuple[str, int], list[int]] = {}
    times: Counter[str] = Counter()  # two layers of one kind have the same labels
    for i, p in enumerate(params):  # W1[0,2] belongs to the row W1[0, b1[2] to the vector b1, w0 to the vector w
        matrix, bracket, _ = p.label.partition("[")
        name = p.label.rpartition(",")[0] or (matrix if bracket else matrix.rstrip("0123456789"))
        groups.setdefault((name, times[p.label] if p.label else 0), []).append(i)
        times[p.label] += 1
    alone = [i for group in groups.values() for i in group if len(group) == 1]
    normalised = list(direction)
    for group in [alone, *(group for group in groups.values() if len(group) > 1)]:
        ours, theirs = math.hypot(*[direction[i] for i in group]), math.hypot(*[params[i].data for i in group])
        for i in group:
            normalised[i] *= theirs / ours
    return normalised


def _reach(path: Array | None, span: float, steps: int) -> list[Array]:
    """The steps along both directions: around the present parameters, or around the path."""
    import numpy as np

    if path is None:
        return [np.linspace(-span, span, steps)] * 2
    ends = [(min(0.0, float(path[:, k].min())), max(0.0, float(path[:, k].max()))) for k in (0, 1)]
    halves = [0.62 * span * (high - low) for low, high in ends]
    most = max(halves) or span
    halves = [half if half > 1e-6 * most else 0.3 * most for half in halves]  # a straight path gets some width too
    middles = [(low + high) / 2 for low, high in ends]
    return [np.linspace(x - half, x + half, steps) for x, half in zip(middles, halves, strict=True)]


def _draw_surface(figure: Figure, place: Sequence[Array], losses: Array, points: Any, heights: Sequence[float]) -> Any:
    """Draw a loss as a surface; on the logarithmic scale when it differs by more than a factor of thirty."""
    import numpy as np

    logarithmic, lowest = is_logarithmic(losses), levels_of(losses)[0]

    def scale(heights: Any) -> Array:
        heights = np.clip(heights, lowest, None)
        found: Array = np.log10(heights) if logarithmic else heights
        return found

    axis: Any = figure.add_subplot(projection="3d", computed_zorder=False)
    axis.plot_surface(
        *np.meshgrid(*place),
        scale(losses),
        cmap=HEIGHTS,
        alpha=0.85,
        linewidth=0.2,
        edgecolor=PAPER,
        rstride=1,
        cstride=1,
    )
    draw_path(axis, points, scale(heights))
    axis.locator_params(nbins=5)
    axis.set_zlabel("log₁₀ of the mean loss" if logarithmic else "mean loss")
    return axis
