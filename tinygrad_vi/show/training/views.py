"""What a model answers, as a film shows it: a plane with its boundary, or a curve."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real
from typing import Any

from tinygrad_vi.show.palette import CLASSES, INK, VALUE
from tinygrad_vi.show.plot import MARKERS, padded
from tinygrad_vi.show.training.plots import draw_boundary, numbers_of, plane

# --- What the model answers -------------------------------------------------------------------------------------------


class Plane:
    """Two inputs and classes: the decision boundary.  points: where to ask the model, the examples last."""

    def __init__(
        self, X: list[list[float]], y: list[Any], steps: int, labels: tuple[str, str], threshold: float
    ) -> None:
        self.X, self.y, self.labels, self.threshold = X, y, labels, threshold
        self.grid = plane(X, steps)
        self.points = [[a, b] for b in self.grid[1] for a in self.grid[0]] + X

    def draw(self, axis: Any, answers: list[list[float]], size: float) -> str:
        """Draw the answers at the points, with marks of some size; how good they are, in words."""
        n = len(self.points) - len(self.X)
        at_examples = answers[n:]
        _, wrong = draw_boundary(
            axis, self.X, self.y, self.grid, answers[:n], at_examples, self.threshold, shades=10, size=size
        )
        right = f"{len(self.X) - wrong} of {len(self.X)} right"
        return f"{right} (× is wrong)" if wrong else right


class Curve:
    """One input: the curve through the data.  points: where to ask the model, the examples last."""

    def __init__(self, X: list[Any], y: list[Any], steps: int, labels: tuple[str, str]) -> None:
        self.labels = labels
        self.xs, self.targets = [numbers_of(x)[0] for x in X], [numbers_of(t) for t in y]
        low, high = padded(self.xs)
        self.line = [low + (high - low) * i / (4 * steps) for i in range(4 * steps + 1)]
        self.points = [[x] if isinstance(X[0], (list, tuple)) else x for x in self.line] + X

    def draw(self, axis: Any, answers: list[list[float]], size: float) -> str:
        """Draw the answers at the points, with marks of some size; how good they are, in words."""
        n = len(self.line)
        data, curves = list(zip(*self.targets, strict=True)), list(zip(*answers[:n], strict=True))
        for k, column in enumerate(data):
            marks = {
                "s": size,
                "marker": MARKERS[k % len(MARKERS)],
                "color": INK if len(data) == 1 else _color(k),
                "linewidths": 0,
            }
            axis.scatter(self.xs, column, alpha=0.5, label=numbered("data", k, data), **marks)
        for k, curve in enumerate(curves):
            color = VALUE if len(curves) == 1 else _color(k)
            axis.plot(self.line, curve, color=color, linewidth=2, label=numbered("model", k, curves))
        axis.set_xlim(self.line[0], self.line[-1])
        if len(curves) != len(data):  # scores of classes, perhaps
            return f"{len(curves)} outputs"
        axis.set_ylim(padded([t for column in data for t in column]))
        pairs = zip(answers[n:], self.targets, strict=True)
        errors = [(a - t) ** 2 for answer, target in pairs for a, t in zip(answer, target, strict=True)]
        return f"mean squared error {math.fsum(errors) / len(errors):.2g}"


def _color(k: int) -> str:
    return CLASSES[k % len(CLASSES)]


def numbered(name: str, k: int, columns: Sequence[Any]) -> str:
    """A name with a number behind it, where there are several columns."""
    return name if len(columns) == 1 else f"{name} {k + 1}"


def view_of(
    X: list[Any], y: list[Any], steps: int, labels: tuple[str, str] | None, threshold: float
) -> Plane | Curve | None:
    """How to draw the answers of a model: a plane, a curve, or None."""
    rows = [list(x) if isinstance(x, (list, tuple)) else [x] for x in X]
    if any(len(row) != len(rows[0]) or not all(isinstance(x, Real) for x in row) for row in rows):
        return None
    targets = [numbers_of(t) for t in y]
    if len(rows[0]) == 1:
        return Curve(X, y, steps, labels or ("x", "y"))
    classes = all(float(t).is_integer() for target in targets for t in target)
    if len(rows[0]) == 2 and classes and len({tuple(target) for target in targets}) <= len(CLASSES):
        single = all(len(target) == 1 for target in targets)
        return Plane(rows, [t for [t] in targets] if single else y, steps, labels or ("x1", "x2"), threshold)
    return None
