"""The judge of pictures: whether a text leaves its box or the picture, or lies on another, in a wide real font."""

import re
import unicodedata
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from math import sqrt
from pathlib import Path
from xml.etree import ElementTree as ET

SVG = "{http://www.w3.org/2000/svg}"
SLACK = 0.75  # of a point: what rounding may take


@dataclass(frozen=True)
class Box:
    left: float
    top: float
    right: float
    bottom: float

    def overlap(self, other):
        """Width and height of what two boxes share; negative where they are apart."""
        across = min(self.right, other.right) - max(self.left, other.left)
        return across, min(self.bottom, other.bottom) - max(self.top, other.top)


@cache
def _font(tenths):
    """DejaVu Sans, at home in matplotlib and one of the widest fonts that a reader may have."""
    import matplotlib
    from PIL import ImageFont

    path = Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf"
    return ImageFont.truetype(str(path), tenths)


def text_box(text, x, y, size, anchor="start"):
    """Where the ink of a text is whose baseline begins, has its middle, or ends at (x, y)."""
    scale = 10.0  # a font of whole points is too coarse
    ink = _font(round(size * scale)).getbbox(unicodedata.normalize("NFC", text), anchor="ls")
    left, top, right, bottom = (side / scale for side in ink)
    advance = _font(round(size * scale)).getlength(unicodedata.normalize("NFC", text)) / scale
    x -= {"start": 0.0, "middle": 0.5, "end": 1.0}[anchor] * advance
    return Box(x + left, y + top, x + right, y + bottom)


def texts(svg):
    """The texts of a picture, without those of nothing but spaces."""
    return [t.text.strip() for t in ET.fromstring(svg).iter(f"{SVG}text") if (t.text or "").strip()]


def labels(svg):
    """The texts of every node and edge, by the title that Graphviz gives it."""
    return {
        group.findtext(f"{SVG}title"): texts(ET.tostring(group))
        for group in ET.fromstring(svg).iter(f"{SVG}g")
        if group.get("class") in ("node", "edge")
    }


def clipped_labels(svg):
    """What is wrong with the texts of a Graphviz picture, in words; an empty list when all can be read."""
    root = ET.fromstring(svg)
    graph = next(g for g in root.iter(f"{SVG}g") if g.get("class") == "graph")
    view = _view(root, graph)
    found, wrong = [], []
    for group in _groups(graph):
        shapes = [shape for shape in map(_shape, group) if shape] if group.get("class") == "node" else []
        for element in group.iter(f"{SVG}text"):
            text = (element.text or "").strip()
            if not text:
                continue
            x, y, size = (float(element.get(name)) for name in ("x", "y", "font-size"))
            box = text_box(text, x, y, size, element.get("text-anchor", "start"))
            found.append((text, box))
            around = [shape(y - 0.3 * size) for shape in shapes]
            around = [bounds for bounds in around if bounds]
            if around and not _within(box, around[0]):
                wrong.append(f"{text!r} leaves its box")
            if (
                not _within(box, (view.left, view.right))
                or box.top < view.top - SLACK
                or box.bottom > view.bottom + SLACK
            ):
                wrong.append(f"{text!r} leaves the picture")
    for (a, box), (b, other) in combinations(found, 2):
        across, down = box.overlap(other)
        if across > SLACK and down > 2 * SLACK:
            wrong.append(f"{a!r} lies on {b!r}")
    return wrong


def _within(box, bounds):
    return bounds[0] - SLACK <= box.left and box.right <= bounds[1] + SLACK


def _groups(graph):
    """Nodes, edges and clusters, and the title of the graph itself."""
    own = ET.Element(f"{SVG}g")
    own.extend(child for child in graph if child.tag == f"{SVG}text")
    return [own, *(g for g in graph.iter(f"{SVG}g") if g.get("class") in ("node", "edge", "cluster"))]


def _view(root, graph):
    """The view box in the coordinates of the graph."""
    left, top, width, height = map(float, root.get("viewBox").split())
    moved = [float(n) for n in re.search(r"translate\(([-\d.]+)[ ,]([-\d.]+)\)", graph.get("transform")).groups()]
    scaled = float(re.search(r"scale\(([\d.]+)", graph.get("transform"))[1])
    left, top = left / scaled - moved[0], top / scaled - moved[1]
    return Box(left, top, left + width / scaled, top + height / scaled)


def _shape(element):
    """A function from a height to the left and right end of a shape there; None for what is no shape."""
    tag = element.tag.removeprefix(SVG)
    if tag == "ellipse":
        cx, cy, rx, ry = (float(element.get(name)) for name in ("cx", "cy", "rx", "ry"))

        def chord(y):
            if abs(y - cy) >= ry:
                return None
            half = rx * sqrt(1 - ((y - cy) / ry) ** 2)
            return cx - half, cx + half

        return chord
    if tag in ("polygon", "path") and element.get("fill") is not None:
        numbers = re.findall(r"(-?[\d.]+)[, ](-?[\d.]+)", element.get("points") or element.get("d"))
        xs, ys = zip(*((float(x), float(y)) for x, y in numbers), strict=True)
        return lambda y: (min(xs), max(xs)) if min(ys) <= y <= max(ys) else None
    return None


def overlapping_texts(figure):
    """The same for a matplotlib figure: texts that leave it or lie on another, as matplotlib itself measures them."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.text import Text

    drawn = {}  # of all ticks that an axis has only some are, and texts in space are moved for it

    class Witness(FigureCanvasAgg):
        def get_renderer(self):
            renderer = super().get_renderer()
            draw_text = renderer.draw_text

            def watched(gc, x, y, text, prop, angle, ismath=False, mtext=None):
                if isinstance(mtext, Text):
                    drawn[mtext] = mtext.get_text().strip(), mtext.get_window_extent(renderer)
                return draw_text(gc, x, y, text, prop, angle, ismath, mtext)

            renderer.draw_text = watched
            return renderer

    canvas = Witness(figure)
    canvas.draw()
    boxes, whole = drawn.values(), figure.bbox
    wrong = [
        f"{text!r} leaves the figure"
        for text, box in boxes
        if box.x0 < whole.x0 - 1 or box.x1 > whole.x1 + 1 or box.y0 < whole.y0 - 1 or box.y1 > whole.y1 + 1
    ]
    for (a, box), (b, other) in combinations(boxes, 2):
        across = min(box.x1, other.x1) - max(box.x0, other.x0)
        if across > 1 and min(box.y1, other.y1) - max(box.y0, other.y0) > 2:
            wrong.append(f"{a!r} lies on {b!r}")
    return wrong
