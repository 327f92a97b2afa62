"""Two comparisons: a unit as a template for its inputs, and a unit as a nerve cell."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from tinygrad_vi.checks import ShapeError, counted, whole_number
from tinygrad_vi.nn.feedforward import MLP, Layer, Neuron
from tinygrad_vi.show.networks.one_example import layers_of
from tinygrad_vi.show.palette import INK, INPUT, LINE, OPERATION, OUTPUT, PARAMETER, VALUE
from tinygrad_vi.show.plot import Plot, new_figure, signed_shades
from tinygrad_vi.words import spoken, words_of

Point = tuple[float, float]


# --- Templates --------------------------------------------------------------------------------------------------------


def templates(
    *models: MLP | Layer | Neuron,
    shape: tuple[int, int] | None = None,
    titles: Sequence[str] = (),
    names: Sequence[Any] = (),
) -> Plot:
    """Show the weights of the first layer as images, one for each unit: what it looks for in its input.

        w · x is largest, for x of a given length, where x points along w

    Positive weights are blue, negative ones vermillion, each image on a scale of its own and smoothed between the
    pixels; a unit whose weights have died away is blank.
    Several models stand side by side, such as a linear classifier, which has one template for each class, and a network
    with a hidden layer, which has one for each hidden unit.
    shape: rows and columns of an image; a square when left out.  titles: one for each model.  names: of the units of
    the first model, such as the classes.

    Raises TypeError for anything without layers, ShapeError for a shape or a number of titles or names that does not
    fit, ImportError when matplotlib is missing.

    >>> templates(Layer.from_weights([[0.0, 1.0, 1.0, 0.0]]))
    <Plot of 1 template of 2 × 2; .save("plot.png") writes it>
    """
    if not models:
        raise ShapeError("templates needs a model: templates(model)")
    layers = [layers_of(model, "templates")[0] for model in models]
    rows, columns = _image_shape(layers, shape)
    if titles and len(titles) != len(layers):
        raise ShapeError(
            f"give each model a title: there are {counted(len(layers), 'model')} and {counted(len(titles), 'title')}"
        )
    if names and len(names) != layers[0].n_outputs:
        raise ShapeError(f"the first model has {counted(layers[0].n_outputs, 'unit')}, got {len(names)} names")
    figure = new_figure(0.8 + 4.6 * len(layers), 5.4)
    axes = figure.subplots(1, len(layers), squeeze=False)[0]
    for k, (layer, axis) in enumerate(zip(layers, axes, strict=True)):
        image = _draw_templates(axis, layer, rows, columns, names if k == 0 else ())
        if titles:
            axis.set_title(_plain(titles[k]), fontsize=10)
    bar = figure.colorbar(image, ax=list(axes), orientation="horizontal", shrink=0.4, aspect=30, ticks=[-1, 0, 1])
    bar.ax.set_xticklabels(["negative", "weight 0", "positive"])
    units = sum(layer.n_outputs for layer in layers)
    return Plot(figure, f"{counted(units, 'template')} of {rows} × {columns}")


def _draw_templates(axis: Any, layer: Layer, rows: int, columns: int, names: Sequence[Any]) -> Any:
    """Put the templates of a layer on a plane where each is 1 wide; the last image."""
    across = math.ceil(math.sqrt(layer.n_outputs))
    high = rows / columns
    weights = [_row(neuron) for neuron in layer.neurons]
    least = 0.05 * max(abs(w) for row in weights for w in row) or 1.0
    image: Any = None
    for j, row in enumerate(weights):
        left, top = j % across, -(j // across) * high
        scale = max(least, *map(abs, row))
        pixels = [[w / scale for w in row[r * columns : (r + 1) * columns]] for r in range(rows)]
        extent = (left + 0.06, left + 0.94, top - 0.94 * high, top - 0.06 * high)
        image = axis.imshow(pixels, cmap=signed_shades(), vmin=-1, vmax=1, interpolation="bicubic", extent=extent)
        if names:
            name = {"ha": "left", "va": "top", "fontsize": 9, "color": INK}
            axis.text(left + 0.1, top - 0.1 * high, _plain(names[j]), **name)
    axis.set(xlim=(0, across), ylim=(-math.ceil(layer.n_outputs / across) * high, 0), aspect="equal")
    axis.set_axis_off()
    return image


def _row(neuron: Neuron) -> list[float]:
    """All weights of a unit, 0 where there is no connection."""
    row = [0.0] * neuron.n_inputs
    for i, w in zip(neuron.connected, neuron.w, strict=True):
        row[i] = w.data
    return row


def _image_shape(layers: Sequence[Layer], shape: tuple[int, int] | None) -> tuple[int, int]:
    n = layers[0].n_inputs
    if any(layer.n_inputs != n for layer in layers):
        raise ShapeError(f"the models have different inputs: {', '.join(str(layer.n_inputs) for layer in layers)}")
    if shape is None:
        side = math.isqrt(n)
        if side * side != n:
            raise ShapeError(f"{n} weights make no square image: give templates(..., shape=(rows, columns))")
        return side, side
    rows, columns = (whole_number(length, "a side of an image") for length in shape)
    if rows * columns != n:
        raise ShapeError(f"an image of {rows} × {columns} has {rows * columns} pixels, and a unit {n} weights")
    return rows, columns


def _plain(text: Any) -> str:
    """Text in which matplotlib finds no mathematics."""
    return str(text).replace("$", r"\$")


# --- A nerve cell -----------------------------------------------------------------------------------------------------


def neuron_analogy(*, language: str | None = None) -> Plot:
    """Draw a nerve cell and, below it, the unit that was modelled on it, part under part.

        dendrites: x_i w_i        cell body: sum of x_i w_i + b        axon: f of that

    language: of the labels, "en" or "vi"; by default the one that is set.

    Raises ValueError for another language, ImportError when matplotlib is missing.  (Stanford CS231n, lecture 4.)

    >>> neuron_analogy()
    <Plot of a nerve cell beside its model; .save("plot.png") writes it>
    """
    words = words_of("analogies")[spoken(language)]
    figure = new_figure(9.0, 7.2)
    cell, model = figure.subplots(2, 1, height_ratios=[2.45, 2.0])
    for axis, height, title in ((cell, 2.45, "cell"), (model, 2.0, "model")):
        axis.set_title(words[title], loc="left", fontweight="bold", color=INK)
        axis.set(xlim=(-0.3, 11.2), ylim=(-height, height), aspect="equal")
        axis.set_axis_off()
    _draw_cell(cell, words)
    _draw_model(model, words)
    figure.supxlabel(words["caution"], fontsize=9, color=LINE)
    return Plot(figure, "a nerve cell beside its model")


BODY, AXON_END = (4.2, 0.0), 9.3


def _draw_cell(axis: Any, words: dict[str, str]) -> None:
    from matplotlib.patches import Circle, FancyBboxPatch

    for start, bend, end in (
        ((3.75, 0.5), (2.6, 1.5), (0.75, 1.45)),
        ((3.6, 0.0), (2.2, 0.15), (0.75, 0.0)),
        ((3.75, -0.5), (2.6, -1.5), (0.75, -1.45)),
    ):
        _dendrite(axis, start, bend, end)
        axis.plot([-0.2, 0.55], [end[1], end[1]], color=LINE, linewidth=2.0, solid_capstyle="round")
        axis.add_patch(Circle((0.57, end[1]), 0.1, color=LINE))  # the axon of another cell
    (x, y) = BODY
    axis.plot([x + 0.7, AXON_END], [0, 0], color=INK, linewidth=4.0, zorder=1)
    for k in range(3):
        sheath = FancyBboxPatch((5.75 + 1.05 * k, -0.13), 0.75, 0.26, boxstyle="round,pad=0.06,rounding_size=0.16")
        sheath.set(facecolor=OUTPUT[0], edgecolor=OUTPUT[1], linewidth=1.4, zorder=2)
        axis.add_patch(sheath)
    for angle in (35, 0, -35):
        end = AXON_END + 0.85 * math.cos(math.radians(angle)), 1.1 * math.sin(math.radians(angle))
        axis.plot([AXON_END, end[0]], [0, end[1]], color=INK, linewidth=2.6, solid_capstyle="round")
        axis.add_patch(Circle(end, 0.1, color=INK))
    turns = [2 * math.pi * k / 180 for k in range(180)]
    radii = [0.86 + 0.1 * math.cos(3 * turn + 3.1) + 0.05 * math.cos(5 * turn) for turn in turns]
    outline = [(x + r * math.cos(t), y + r * math.sin(t)) for r, t in zip(radii, turns, strict=True)]
    axis.fill(*zip(*outline, strict=True), facecolor=OPERATION[0], edgecolor=OPERATION[1], linewidth=1.8, zorder=3)
    axis.add_patch(Circle(BODY, 0.3, facecolor=OPERATION[1], edgecolor=OPERATION[1], linewidth=1.2, zorder=4))
    _say(axis, 2.4, 2.15, words["dendrites"], VALUE)
    _say(axis, x, 1.55, words["body"], OPERATION[1])
    _say(axis, 7.2, 0.75, words["axon"], INK)
    _say(axis, 10.35, 1.25, words["terminals"], INK)
    _point(axis, (5.35, -1.3), (x + 0.15, -0.15), words["nucleus"], OPERATION[1])
    _point(axis, (1.1, -2.1), (0.64, -1.55), words["synapse"], LINE)


def _dendrite(axis: Any, start: Point, bend: Point, end: Point, width: float = 6.0, twigs: bool = True) -> None:
    """A curve that grows thinner towards its end, with twigs."""
    n = 24
    points = [
        tuple((1 - t) ** 2 * a + 2 * t * (1 - t) * b + t * t * c for a, b, c in zip(start, bend, end, strict=True))
        for t in (k / n for k in range(n + 1))
    ]
    for k, (p, q) in enumerate(pairwise(points)):
        thin = width * (1 - 0.75 * k / n)
        axis.plot(*zip(p, q, strict=True), color=VALUE, linewidth=thin, solid_capstyle="round", zorder=2)
    for k, rise in ((9, 0.5), (13, -0.55), (18, 0.3)) if twigs else ():
        (x, y), side = points[k], 1.0 if start[1] >= 0 else -1.0
        tip = x - 0.75 + 0.012 * k, y + rise * side
        _dendrite(axis, (x, y), (x - 0.45, y + 0.15 * rise * side), tip, 0.5 * width * (1 - 0.5 * k / n), twigs=False)


def _draw_model(axis: Any, words: dict[str, str]) -> None:
    from matplotlib.patches import Circle, FancyBboxPatch

    x = BODY[0]
    for k, height in enumerate((1.2, 0.0, -1.2), start=1):
        axis.add_patch(Circle((0.55, height), 0.3, facecolor=INPUT[0], edgecolor=INPUT[1], linewidth=1.6))
        _say(axis, 0.55, height, f"$x_{k}$", INK, size=13)
        _arrow(axis, (0.88, height), (x - 0.93, 0.42 * height), VALUE)
        _say(axis, 2.0, 0.73 * height + 0.3, f"$x_{k}\\,w_{k}$", VALUE, size=12)
    axis.add_patch(Circle(BODY, 0.95, facecolor=OPERATION[0], edgecolor=OPERATION[1], linewidth=1.8))
    _say(axis, x, 0.0, r"$\sum_i x_i w_i + b$", INK, size=13)
    axis.add_patch(
        FancyBboxPatch(
            (6.55, -0.45), 0.9, 0.9, boxstyle="round,pad=0.08", facecolor=OPERATION[0], edgecolor=OPERATION[1], lw=1.6
        )
    )
    _say(axis, 7.0, 0.0, "$f$", INK, size=16)
    _arrow(axis, (x + 0.98, 0.0), (6.43, 0.0), OPERATION[1])
    _arrow(axis, (7.56, 0.0), (10.6, 0.0), INK)
    _say(axis, 9.15, 0.5, r"$f\left(\sum_i x_i w_i + b\right)$", INK, size=13)
    _say(axis, 2.1, 1.75, words["inputs"], VALUE)
    _say(axis, x, 1.45, words["sum"], OPERATION[1])
    _say(axis, 7.0, 0.95, words["activation"], OPERATION[1])
    _say(axis, 9.15, -0.4, words["output"], INK)
    _point(axis, (x + 1.25, -1.45), (x + 0.62, -0.82), "$b$", PARAMETER[1])


def _say(axis: Any, x: float, y: float, text: str, color: str, size: float = 10) -> None:
    axis.text(x, y, text, color=color, ha="center", va="center", fontsize=size, zorder=6)


def _point(axis: Any, at: Point, to: Point, text: str, color: str) -> None:
    line = {"arrowstyle": "-", "color": color, "linewidth": 1.0}
    axis.annotate(text, to, at, color=color, ha="left", va="center", fontsize=10, arrowprops=line, zorder=6)


def _arrow(axis: Any, start: Point, end: Point, color: str) -> None:
    style = {"arrowstyle": "-|>", "color": color, "linewidth": 1.8, "mutation_scale": 14, "shrinkA": 0, "shrinkB": 0}
    axis.annotate("", end, start, arrowprops=style)
