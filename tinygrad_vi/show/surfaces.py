"""Loss surfaces: the loss over a plane of parameters, and how descents move on it."""

from __future__ import annotations

import math
import random
import textwrap
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from tinygrad_vi.compiler.compiled import Compiled, compile
from tinygrad_vi.data import check_examples, random_numbers, to_lists
from tinygrad_vi.derivatives import differentiable, grad
from tinygrad_vi.nn import counted, prediction
from tinygrad_vi.ops import DomainError, ShapeError, exp, sin, whole_number
from tinygrad_vi.optim import SGD, Optimizer, at_least, minimize
from tinygrad_vi.show.formula import write_number
from tinygrad_vi.show.plots import BLUE, GREY, RED, Plot, new_figure, padded, styled
from tinygrad_vi.training import fit
from tinygrad_vi.value import Value, no_grad

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from tinygrad_vi.training import History

    Array = NDArray[np.float64]

INK = "#0f172a"
SMALL = 9  # the size of letters
SHADES = "YlGnBu"  # the deeper the colour, the larger the loss
LEVELS = 14
WOBBLES = 6  # so many mini-batches are shown
MINIMA = 6  # at most so many are looked for
ROUNDING = 16.0 * 2.0**-52  # of an eigenvalue, or of a product with it


def _numpy() -> Any:
    try:
        import numpy
    except ImportError:
        raise ImportError("plots need the package matplotlib: pip install matplotlib") from None
    return numpy


# --- The loss over a plane of parameters ------------------------------------------------------------------------------


class ParameterPath:
    """Where the parameters have been: a callback of `fit`, with a point for each epoch after the one it begins at.

        path = ParameterPath(model.parameters())
        fit(loss, model.parameters(), X, y, callbacks=path)
        loss_landscape(loss, model.parameters(), X, y, path=path)

    points: lists of numbers, one for each parameter.

    >>> from tinygrad_vi import fit, optim
    >>> w = Value(0.0)
    >>> path, descent = ParameterPath([w]), optim.SGD([w], learning_rate=0.25)
    >>> history = fit(lambda x: (w - x) ** 2, [w], [1.0], optimizer=descent, epochs=3, callbacks=path, progress=False)
    >>> path.points
    [[0.0], [0.5], [0.75], [0.875]]
    """

    def __init__(self, parameters: Any) -> None:
        self.parameters = Optimizer(parameters, 1.0).parameters  # it checks them
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


def loss_landscape(
    loss: Callable[..., Any] | Compiled,
    parameters: Any = None,
    X: Any = None,
    y: Any = None,
    *,
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

    loss, parameters, X, y: as for `fit`; a compiled loss is quick, and another one is compiled if it can be.  path: a
    `ParameterPath`, or a list of points.  span: how far the plane reaches to each side, in lengths of the directions;
    with a path, how many times farther than the path.  steps: grid points along each side.  seed: of the random
    directions.  surface: a view of the surface instead of contours.  Parameters are left as they are.

    Raises ShapeError for directions or a path that do not fit the parameters, DomainError when the loss cannot be
    computed at the present parameters.

    >>> w, b = Value(1.0, "w"), Value(0.0, "b")
    >>> plot = loss_landscape(lambda x, t: (w * x + b - t) ** 2, [w, b], [0.0, 1.0], [1.0, 3.0], steps=3)
    >>> plot.losses.tolist()
    [[10.0, 6.5, 4.0], [5.0, 2.5, 1.0], [2.0, 0.5, 0.0]]
    """
    import numpy as np

    mean_loss = _MeanLoss(loss, parameters, X, y)
    whole_number(steps, "steps", least=2)
    if not 0.0 < span < math.inf:
        raise ValueError(f"span is a positive number, got {span!r}")
    center = mean_loss.theta
    if len(center) < 2:
        raise ShapeError("a plane needs two parameters or more, got one")
    points = None if path is None else _points(path, len(center))
    plane, names, explained = _directions(mean_loss.parameters, directions, points, seed)
    projected = None if points is None else _projected(points - center, plane)
    a, b = _reach(projected, span, steps)
    here = mean_loss(center)  # errors here are the caller's to see
    losses = np.array([[mean_loss.or_nan(center + i * plane[0] + j * plane[1]) for i in a] for j in b])
    walked = np.zeros((1, 2)) if projected is None else projected
    origin = np.zeros(2)
    if names is None:  # the parameters themselves are read off the axes
        origin = center
        names = [p.label or f"parameter {k + 1}" for k, p in enumerate(mean_loss.parameters)]
    figure = new_figure(6.2, 5.4)
    sides = [a + origin[0], b + origin[1]]
    if surface:
        heights = [mean_loss.or_nan(center + p @ plane) for p in walked]
        axis = _draw_surface(figure, sides, losses, walked + origin, heights)
    else:
        axis = styled(figure.subplots())
        shade = draw_contours(axis, sides, losses)
        figure.colorbar(shade, ax=axis, label="mean loss", format=lambda x, _: write_number(x, 2))
        draw_path(axis, walked + origin)
    axis.set_xlabel(names[0], parse_math=False)
    axis.set_ylabel(names[1], parse_math=False)
    axis.set_title(f"mean loss: {write_number(here, 4)} at the present parameters")
    axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=3, frameon=False, fontsize=SMALL)
    plot = Landscape(figure, f"the mean loss over a plane of {counted(len(center), 'parameter')}")
    plot.center, plot.directions, plot.a, plot.b, plot.losses = center, plane, a, b, losses
    plot.path, plot.explained = projected, explained
    return plot


class _MeanLoss:
    """The mean loss of the examples at any parameters; compiled, where it can be."""

    def __init__(self, loss: Any, parameters: Any, X: Any, y: Any) -> None:
        np = _numpy()
        if isinstance(loss, Compiled):
            if parameters is not None and y is not None:
                raise TypeError("a compiled loss knows its parameters: loss_landscape(step, X, y)")
            X, y = (X, y) if parameters is None else (parameters, X)
            parameters = loss.parameters
            if parameters is None:
                raise TypeError("the loss has no parameters: compile(loss, params=model.parameters())")
        self.parameters = Optimizer(parameters, 1.0).parameters  # it checks them
        self.loss = loss
        self.data = [to_lists(table) for table in (X, y) if table is not None]
        if self.data:
            check_examples(self.data[0], self.data[1] if len(self.data) > 1 else None)
        elif not isinstance(loss, Compiled) or loss.takes_data:
            raise ShapeError(
                "there are no examples: give X and y, or compile(loss, parameters) when the data stand in the loss"
            )
        self.step = loss if isinstance(loss, Compiled) else self._compiled()
        self.arrays = [] if self.step is None else [np.array(table, dtype=float) for table in self.data]

    def needs_examples(self) -> None:
        """Raise ShapeError for a loss whose data stand in it."""
        if not self.data:
            raise ShapeError("the examples stand in the compiled loss: give a loss of one example, and X and y")

    @property
    def theta(self) -> Array:
        """The parameters as they are."""
        import numpy as np

        return np.array([p.data for p in self.parameters])

    def _compiled(self) -> Compiled | None:
        """The loss, if it compiles."""
        step = compile(self.loss, self.parameters, backend="numpy")
        expected = self._one_by_one(range(len(self.data[0])))
        try:
            with prediction():
                found = step(step.theta, *self.data)
        except Exception:  # nobody promised that it compiles
            return None
        return step if math.isclose(found, expected, rel_tol=1e-9, abs_tol=1e-12) else None

    def of_example(self, number: int) -> Any:
        """The loss of one example."""
        loss = self.loss.fn if isinstance(self.loss, Compiled) else self.loss
        with differentiable():
            return loss(*[table[number] for table in self.data])

    def _one_by_one(self, rows: Sequence[int]) -> float:
        with prediction(), no_grad():
            losses = [self.of_example(i) for i in rows]
        return math.fsum(found.data if isinstance(found, Value) else found for found in losses) / len(losses)

    def __call__(self, theta: Array, rows: Sequence[int] | None = None) -> float:
        """The mean loss of all examples, or of some; DomainError where it cannot be computed."""
        if self.step is not None:
            with prediction():
                return float(self.step(theta, *(self.arrays if rows is None else [a[list(rows)] for a in self.arrays])))
        with _placed(self.parameters, theta.tolist()):
            found = self._one_by_one(range(len(self.data[0])) if rows is None else rows)
        if not math.isfinite(found):
            raise DomainError(f"the mean loss is {found}")
        return found

    def along(self, ws: Any, rows: Sequence[int] | None = None) -> Array:
        """The mean loss at many places of the only parameter."""
        import numpy as np

        return np.array([self.or_nan(np.array([w]), rows) for w in ws])

    def or_nan(self, theta: Array, rows: Sequence[int] | None = None) -> float:
        """The mean loss, NaN where it cannot be computed."""
        try:
            return self(theta, rows)
        except (DomainError, OverflowError):
            return math.nan


@contextmanager
def _placed(parameters: Sequence[Value], theta: Sequence[float]) -> Iterator[None]:
    """The parameters somewhere else, for a while."""
    before = [p.data for p in parameters]
    try:
        for p, x in zip(parameters, theta, strict=True):
            p.data = x
        yield
    finally:
        for p, x in zip(parameters, before, strict=True):
            p.data = x


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
    parameters: list[Value], given: Any, points: Array | None, seed: int
) -> tuple[Array, list[str] | None, Array | None]:
    """Two directions, their names (None for the axes of two parameters), the share of the variance they explain."""
    import numpy as np

    P = len(parameters)
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
    drawn = np.array([[rng.gauss(0.0, 1.0) for _ in parameters] for _ in range(2)])
    normalised = np.array([_filter_normalised(direction, parameters) for direction in drawn])
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
        raise ValueError("the path stays where it is: it has no directions")
    shares = sizes[:2] ** 2 / (sizes @ sizes)
    names = [f"principal direction {k} ({share:.1%} of the variance)" for k, share in enumerate(shares, start=1)]
    return rows[:2], names, shares


def _projected(away: Array, plane: Array) -> Array:
    """The steps along the two directions that come nearest."""
    import numpy as np

    return np.asarray(np.linalg.lstsq(plane.T, away.T, rcond=None)[0].T, dtype=np.float64)


def _filter_normalised(direction: Sequence[float], parameters: Sequence[Value]) -> list[float]:
    """A direction whose part for each row of a matrix, and for each vector, is as long as the parameters are there."""
    groups: dict[tuple[str, int], list[int]] = {}
    times: Counter[str] = Counter()  # two layers of one kind have the same labels
    for i, p in enumerate(parameters):  # W1[0,2] belongs to the row W1[0, b1[2] to the vector b1, w0 to the vector w
        matrix, bracket, _ = p.label.partition("[")
        name = p.label.rpartition(",")[0] or (matrix if bracket else matrix.rstrip("0123456789"))
        groups.setdefault((name, times[p.label] if p.label else 0), []).append(i)
        times[p.label] += 1
    alone = [i for group in groups.values() for i in group if len(group) == 1]
    normalised = list(direction)
    for group in [alone, *(group for group in groups.values() if len(group) > 1)]:
        ours, theirs = math.hypot(*[direction[i] for i in group]), math.hypot(*[parameters[i].data for i in group])
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
    halves = [half if half > 1e-6 * most else 0.3 * most for half in halves]  # a straight path is wide, too
    middles = [(low + high) / 2 for low, high in ends]
    return [np.linspace(x - half, x + half, steps) for x, half in zip(middles, halves, strict=True)]


def _logarithmic(losses: Array) -> bool:
    """Whether heights differ so much that only their logarithms show."""
    import numpy as np

    return bool(np.nanmax(losses) > 30.0 * np.nanmin(losses) > 0.0)


def _levels(losses: Array) -> Array:
    """The heights of contours."""
    import numpy as np

    low, high = float(np.nanmin(losses)), float(np.nanmax(losses))
    if not high > low:
        return np.array([low - 0.5, low + 0.5])
    return np.geomspace(max(low, 1e-6 * high), high, LEVELS) if _logarithmic(losses) else np.linspace(low, high, LEVELS)


def draw_contours(axis: Any, sides: Sequence[Array], losses: Array) -> Any:
    """Draw the contours of a loss and shade between them; the shading."""
    import numpy as np
    from matplotlib.colors import BoundaryNorm

    levels = _levels(losses)
    norm = BoundaryNorm(levels, 256)
    shown = np.ma.masked_invalid(np.clip(losses, levels[0], None))
    shade = axis.contourf(*sides, shown, levels=levels, cmap=SHADES, norm=norm, alpha=0.75)
    axis.contour(*sides, shown, levels=levels, colors="white", linewidths=0.6)
    axis.grid(visible=False)
    return shade


def draw_path(axis: Any, points: Any, *heights: Any, line: bool = True) -> None:
    """Draw the way of an optimiser with its start and its end; a single point is the present parameters."""
    columns = [*points.T, *heights]
    if len(points) == 1:
        axis.plot(*columns, "P", color=RED, markersize=9, markeredgecolor="white", label="present parameters")
        return
    crowded = line and len(points) > 60
    style = {"marker": "." if crowded else "o", "linestyle": "-" if line else "", "label": "steps"}
    axis.plot(*columns, color=RED, linewidth=1.4 if len(points) < 300 else 0.6, markersize=3, **style)
    for k, mark, name in ((0, "o", "start"), (-1, "*", "end")):
        at = [column[k : k + 1 or None] for column in columns]
        size, face = (9, "white") if name == "start" else (15, RED)
        axis.plot(*at, mark, color=face, markersize=size, markeredgecolor=INK, linestyle="", label=name)


def _draw_surface(figure: Figure, place: Sequence[Array], losses: Array, points: Any, heights: Sequence[float]) -> Any:
    """Draw a loss as a surface; on the logarithmic scale when it differs by more than a factor of thirty."""
    import numpy as np

    logarithmic, lowest = _logarithmic(losses), _levels(losses)[0]

    def scale(heights: Any) -> Array:
        heights = np.clip(heights, lowest, None)
        found: Array = np.log10(heights) if logarithmic else heights
        return found

    axis: Any = figure.add_subplot(projection="3d", computed_zorder=False)
    axis.plot_surface(
        *np.meshgrid(*place),
        scale(losses),
        cmap=SHADES,
        alpha=0.85,
        linewidth=0.2,
        edgecolor="white",
        rstride=1,
        cstride=1,
    )
    draw_path(axis, points, scale(heights))
    axis.locator_params(nbins=5)
    axis.set_zlabel("log₁₀ of the mean loss" if logarithmic else "mean loss")
    return axis


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
    np = _numpy()
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
    eigenvalues[abs(eigenvalues) < ROUNDING * abs(eigenvalues).max()] = 0.0  # a valley, and not rounding
    eigenvectors *= np.where(eigenvectors.sum(axis=0) < 0, -1.0, 1.0)  # one of the two signs, always the same
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
        axis.contourf(*sides, energy, levels=LEVELS, cmap=SHADES, alpha=0.6)
        axis.contour(*sides, energy, levels=LEVELS, colors="white", linewidths=0.6)
        axis.grid(visible=False)
        for i in (0, 1):
            along = 0.95 * half * eigenvectors[:, i]
            style = {"color": INK, "linewidth": 1.2, "linestyle": ("--", ":")[i]}
            axis.plot(
                *np.array([c - along, c + along]).T, label=f"λ{'₁₂'[i]} = {write_number(eigenvalues[i], 4)}", **style
            )
        axis.plot(*path.T, "o-", color=RED, markersize=3, linewidth=1.2)
        axis.plot(*path[:1].T, "o", color="white", markeredgecolor=INK, markersize=8)
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
    np = _numpy()
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
    found = _count_minima(len(minima), flat) + " or more" * more
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
    """What was found, in words: so many minima, of which some are flat floors."""
    if not n:
        return "no minimum found"
    if n == 1:
        return "a flat floor" if flat else "a minimum"
    return f"{n} minima" + f", {flat} of them flat" * (flat > 0)


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
            if heights[j, i] <= around.min() < around.max():  # nowhere near NaN
                starts.append((float(heights[j, i]), float(sides[0][i]), float(sides[1][j])))
    pits = _Pits(f, sides, heights)
    more = False
    for _, *place in sorted(starts):
        if len(pits.found) == MINIMA:
            more = pits.known(place) is None
            break
        for method in ("BFGS", "Nelder-Mead"):
            if pits.known(place) is not None:  # a way down to it, or over the floor it lies on
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
        """Count a point in if it lies inside, nothing around it is lower, and it is no minimum that is known."""
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
        turns = sorted((at(k * step), k * step) for k in range(64))[:4]  # a valley leaves a circle at two places
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
        """Whether the straight way from one point to another rises above the point before."""
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
        *grid, heights, levels=LEVELS, colors=GREY, linestyles="solid", linewidths=0.8, offset=floor, zdir="z", zorder=0
    )
    axis.plot_surface(
        *grid, heights, cmap=SHADES, alpha=0.75, linewidth=0.2, edgecolor="white", rstride=1, cstride=1, zorder=2
    )
    marks = [(*place, _height(f, *place)) for place in minima] + [point]
    *local, _, _ = marks if minima else [None, *marks]
    hollows = ["w_A"] if len(local) == 1 else [f"w_{{A{i + 1}}}" for i in range(len(local))]
    names = hollows + ["w_B"] * bool(minima) + ["w_C"]
    for name, (a, b, height) in zip(names, marks, strict=True):
        axis.plot([a, a], [b, b], [floor, height], color=INK, linewidth=0.9, linestyle=":", zorder=1)
        axis.plot([a], [b], [height], "o", color=RED, markeredgecolor="white", markersize=7, zorder=4)
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
        _draw_arrow(axis, (a, b, z), (a + along[0], b + along[1], z + rise))
    axis.text(a + 1.1 * along[0], b + 1.1 * along[1], floor, " $\\nabla E$", color=RED, zorder=5)


def _draw_arrow(axis: Any, tail: Sequence[float], head: Sequence[float]) -> None:
    """An arrow in space, with a head that is seen from every side."""
    from matplotlib.patches import FancyArrowPatch
    from mpl_toolkits.mplot3d import proj3d

    class Arrow(FancyArrowPatch):
        def do_3d_projection(self, renderer: Any = None) -> float:  # noqa: ARG002
            ends = [proj3d.proj_transform(*end, axis.M) for end in (tail, head)]
            self.set_positions(*[end[:2] for end in ends])
            return float(min(end[2] for end in ends))

    arrow = Arrow((0, 0), (0, 0), arrowstyle="-|>", mutation_scale=16, color=RED, linewidth=2, shrinkA=0, shrinkB=0)
    arrow.set_zorder(5)
    axis.add_artist(arrow)


# --- Batch, mini-batch and single examples ----------------------------------------------------------------------------


class Runs(Plot):
    """What `descents` and `batch_columns` draw, and its numbers.

    paths: for each run, by name, the points it went through, (steps + 1, P).  losses: for each run the mean loss over
    all examples at these points, (steps + 1).
    """

    paths: dict[str, Array]
    losses: dict[str, Array]


class _Walker(SGD):
    """Gradient descent that notes where it has been, and on which examples each step looked."""

    def __init__(self, mean_loss: _MeanLoss, learning_rate: float) -> None:
        super().__init__(mean_loss.parameters, learning_rate)
        self._mean_loss = mean_loss
        self._points = [[p.data for p in self.parameters]]
        self._batches: list[list[int]] = []
        self._seen: list[int] = []

    def loss(self, number: Any) -> Any:
        """The loss of an example by its number."""
        self._seen.append(number)
        return self._mean_loss.of_example(number)

    def step(self) -> None:
        """Take a step, and note it."""
        super().step()
        self._points.append([p.data for p in self.parameters])
        self._batches.append(self._seen)
        self._seen = []


def _walk(
    mean_loss: _MeanLoss, learning_rate: float, batch_size: int | None, epochs: int, seed: int
) -> tuple[Array, list[list[int]]]:
    """Where `fit` goes with batches of some size, and the examples of each step.  The parameters come back."""
    import numpy as np

    walker = _Walker(mean_loss, learning_rate)
    with _placed(mean_loss.parameters, mean_loss.theta.tolist()):
        fit(walker.loss, mean_loss.parameters, range(len(mean_loss.data[0])), optimizer=walker, epochs=epochs,
            batch_size=batch_size, seed=seed, progress=False)  # fmt: skip
    return np.array(walker._points), walker._batches


def _waves() -> tuple[Any, list[Value], list[float], list[float]]:
    """Noisy values of sin(2 x), and a model sin(w x): its loss has a hollow near w = 3.7."""
    rng = random.Random(1)
    w = Value(4.3, "w")
    X = [rng.uniform(0.0, 4.0) for _ in range(40)]
    return lambda x, t: (sin(w * x) - t) ** 2, [w], X, [math.sin(2.0 * x) + rng.gauss(0.0, 0.1) for x in X]


def descents(
    loss: Callable[..., Any] | None = None,
    parameters: Any = None,
    X: Any = None,
    y: Any = None,
    *,
    learning_rate: float = 0.1,
    batch_size: int = 2,
    epochs: int = 15,
    seed: int = 0,
    steps: int = 200,
) -> Runs:
    """Why single examples help: full-batch descent on one curve, stochastic descent on one that wobbles.

    Left: all examples make the loss curve, always the same, and descent stops in the first hollow, or where it is flat.
    Right: each step goes down the curve of a few examples only (pale, with some of the steps as arrows), which may have
    no hollow there: the steps are noisy, and may lead out.  Both runs are real: `fit` with the same learning rate and
    number of epochs.

    loss, parameters, X, y: as for `fit`, with one parameter, which is left where it is.  Without them the frequency w
    of noisy values of sin(2 x) is learned from w = 4.3.  batch_size, seed: of the right one.  steps: points of a curve.

    Raises ShapeError unless there is one parameter.

    >>> [round(float(path[-1, 0]), 1) for path in descents().paths.values()]
    [3.7, 2.0]
    """
    import numpy as np

    mean_loss = _MeanLoss(*_waves()) if loss is None else _MeanLoss(loss, parameters, X, y)
    mean_loss.needs_examples()
    if len(mean_loss.parameters) != 1:
        raise ShapeError(f"a loss curve has one parameter, got {len(mean_loss.parameters)}: see loss_landscape")
    whole_number(batch_size, "batch_size")
    whole_number(epochs, "epochs")
    whole_number(steps, "steps", least=10)
    full, _ = _walk(mean_loss, learning_rate, None, epochs, seed)
    noisy, batches = _walk(mean_loss, learning_rate, batch_size, epochs, seed)
    paths = {"full batch": full, f"mini-batches of {batch_size}": noisy}
    losses = {name: mean_loss.along(path[:, 0]) for name, path in paths.items()}
    ws = np.linspace(*padded([*full[:, 0], *noisy[:, 0]]), steps)
    curve = mean_loss.along(ws)
    figure = new_figure(10.4, 4.6)
    for axis, (name, path) in zip(figure.subplots(1, 2, sharey=True), paths.items(), strict=True):
        axis.plot(ws, curve, color=BLUE, linewidth=2.2, label="loss of all examples")
        draw_path(styled(axis), path, losses[name], line=path is full)
        axis.set_xlabel(mean_loss.parameters[0].label or "w", parse_math=False)
        place = f"w = {write_number(float(path[-1, 0]), 3)}, loss {write_number(float(losses[name][-1]), 3)}"
        axis.set_title(f"{name}: {counted(len(path) - 1, 'step')}, ends at {place}", fontsize=SMALL + 1)
        axis.tick_params(labelleft=True)
        axis.set_ylabel("loss")
    axis.set_ylim(axis.get_ylim())  # the curves of a few examples go higher
    _draw_wobbling(axis, mean_loss, ws, noisy[:, 0], batches, _escape(losses.values()))
    handles, names = axis.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=len(names), frameon=False, fontsize=SMALL)
    plot = Runs(figure, "full-batch and stochastic descent on a loss curve")
    plot.paths, plot.losses = paths, losses
    return plot


def _escape(losses: Any) -> int:
    """The step at which the second run is first below all of the first one; the last step, if it never is."""
    full, noisy = losses
    lower = [k for k, height in enumerate(noisy) if height < min(full) - 0.05 * (max(full) - min(full))]
    return lower[0] if lower else len(noisy) - 1


def _draw_wobbling(axis: Any, mean_loss: _MeanLoss, ws: Array, path: Array, batches: Any, until: int) -> None:
    """Draw some of the steps, each on the curve of its own examples."""
    import numpy as np

    label: str | None = "loss of one mini-batch"
    for k in np.unique(np.linspace(0, until - 1, WOBBLES).astype(int)):
        axis.plot(ws, mean_loss.along(ws, batches[k]), color=GREY, linewidth=0.9, alpha=0.7, label=label, zorder=1)
        before, after = (float(x) for x in path[k : k + 2])
        tail, head = ((w, float(mean_loss.along([w], batches[k])[0])) for w in (before, after))
        arrow = {"arrowstyle": "-|>", "color": INK, "linewidth": 1.3, "shrinkA": 0, "shrinkB": 0}
        axis.annotate("", head, tail, arrowprops=arrow, annotation_clip=True)
        axis.annotate(
            f"{k + 1}", tail, (0, 6), textcoords="offset points", fontsize=SMALL, ha="center", annotation_clip=True,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.6},
        )  # fmt: skip
        label = None


def _line() -> tuple[Any, list[Value], list[float], list[float]]:
    """Noisy values of 1.5 x - 0.5, and a model w x + b."""
    rng = random.Random(0)
    w, b = Value(-0.5, "w"), Value(1.5, "b")
    X = [rng.gauss(0.5, 1.0) for _ in range(64)]
    return lambda x, t: (w * x + b - t) ** 2, [w, b], X, [1.5 * x - 0.5 + rng.gauss(0.0, 0.8) for x in X]


def batch_columns(
    loss: Callable[..., Any] | None = None,
    parameters: Any = None,
    X: Any = None,
    y: Any = None,
    *,
    batch_sizes: Sequence[int | None] = (1, 16, None),
    learning_rate: float = 0.1,
    epochs: int = 8,
    seed: int = 0,
    steps: int = 40,
) -> Runs:
    """Stochastic, mini-batch and full-batch descent side by side: the way they take, and the loss by step.

    Each column is a run of `fit` from the same start, with the same learning rate and number of epochs, and another
    batch size (None: all examples).  Above: its steps on the contours of the mean loss of all examples; below: that
    loss after each step.

    loss, parameters, X, y: as for `fit`, with two parameters, which are left where they are.  Without them a line
    w x + b through 64 noisy points.  seed: shuffles.  steps: grid points along each side.

    Raises ShapeError unless there are two parameters.

    >>> runs = batch_columns(epochs=2)
    >>> [len(path) - 1 for path in runs.paths.values()]
    [128, 8, 2]
    """
    import numpy as np

    mean_loss = _MeanLoss(*_line()) if loss is None else _MeanLoss(loss, parameters, X, y)
    mean_loss.needs_examples()
    if len(mean_loss.parameters) != 2:
        raise ShapeError(f"contours need two parameters, got {len(mean_loss.parameters)}: see loss_landscape")
    whole_number(epochs, "epochs")
    whole_number(steps, "steps", least=2)
    if not batch_sizes:
        raise ValueError("there are no batch sizes to compare")
    n = len(mean_loss.data[0])
    walks = {_size_name(size, n): _walk(mean_loss, learning_rate, size, epochs, seed)[0] for size in batch_sizes}
    heights = {name: np.array([mean_loss.or_nan(point) for point in path]) for name, path in walks.items()}
    sides = [np.linspace(*padded([x for path in walks.values() for x in path[:, k]]), steps) for k in (0, 1)]
    losses = np.array([[mean_loss.or_nan(np.array([a, b])) for a in sides[0]] for b in sides[1]])
    figure = new_figure(3.7 * len(walks), 6.2)
    axes = figure.subplots(2, len(walks), squeeze=False, sharey="row", height_ratios=(3, 2))
    for (name, path), above, below in zip(walks.items(), *axes, strict=True):
        shade = draw_contours(styled(above), sides, losses)
        draw_path(above, path)
        above.set_xlabel(mean_loss.parameters[0].label or "parameter 1", parse_math=False)
        per_epoch = (len(path) - 1) // epochs
        above.set_title(f"{name}\n{counted(per_epoch, 'step')} an epoch", fontsize=SMALL + 1)
        styled(below).plot(
            range(len(path)), heights[name], color=RED, linewidth=1.2, marker="o" * (len(path) < 60), markersize=3
        )
        below.set_xlabel(f"step, in {counted(epochs, 'epoch')}")
        below.set_title(f"loss {write_number(float(heights[name][-1]), 3)} at the end", fontsize=SMALL)
        below.xaxis.get_major_locator().set_params(integer=True)
    axes[0, 0].set_ylabel(mean_loss.parameters[1].label or "parameter 2", parse_math=False)
    axes[1, 0].set_ylabel("mean loss")
    if _logarithmic(np.concatenate(list(heights.values()))):
        axes[1, 0].set_yscale("log")
    figure.colorbar(shade, ax=list(axes[0]), pad=0.02, label="mean loss", format=lambda x, _: write_number(x, 2))
    handles, names = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=3, frameon=False, fontsize=SMALL)
    plot = Runs(figure, "descents with batches of " + ", ".join(walks))
    plot.paths, plot.losses = walks, heights
    return plot


def _size_name(size: int | None, n: int) -> str:
    """What descent with batches of a size is called."""
    if size is None or size >= n:
        return f"full batch: {counted(n, 'example')}"
    return "SGD: 1 example" if size == 1 else f"mini-batch: {size} examples"
