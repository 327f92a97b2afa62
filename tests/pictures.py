"""What every picture must be: all of its text within the figure, none of it on top of other text, not blank."""

from unittest import mock

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text


def drawn_texts(figure):
    """Every text that is painted: (text, box in pixels, whether it is upright).  Ticks out of sight are not painted."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # now everything has its place
    painted = []
    draw = Text.draw

    def listen(text, renderer):
        if text.get_visible() and text.get_text().strip():  # now: text in space has its place only while it is drawn
            painted.append((text.get_text(), Text.get_window_extent(text, renderer), text.get_rotation() % 90 == 0))
        return draw(text, renderer)

    with mock.patch.object(Text, "draw", listen):
        canvas.draw()
    return painted


def words(figure):
    """The painted texts alone."""
    return [text for text, _, _ in drawn_texts(figure)]


def assert_nothing_clipped(figure):
    """No text leaves the figure."""
    texts = drawn_texts(figure)
    assert texts, "the figure has no text at all"
    width, height = figure.canvas.get_width_height()
    for text, box, _ in texts:
        inside = box.x0 >= -0.5 and box.y0 >= -0.5 and box.x1 <= width + 0.5 and box.y1 <= height + 0.5
        assert inside, f"{text!r} is clipped: it covers {box.extents.round(1)} of a figure of {width} x {height}"


def assert_no_text_on_text(figure):
    """No two texts overlap by more than a hair; those at an angle are not asked, their boxes are too large."""
    texts = [(text, box) for text, box, upright in drawn_texts(figure) if upright]
    for i, (text, box) in enumerate(texts):
        for other, place in texts[:i]:
            across = min(box.x1, place.x1) - max(box.x0, place.x0)
            down = min(box.y1, place.y1) - max(box.y0, place.y0)
            assert across < 2 or down < 2, f"{text!r} lies on {other!r}: {box.extents.round()}, {place.extents.round()}"


def colors(pixels):
    """How many colours an array of pixels has: one when it is blank."""
    return len(np.unique(np.asarray(pixels).reshape(-1, np.asarray(pixels).shape[-1]), axis=0))
