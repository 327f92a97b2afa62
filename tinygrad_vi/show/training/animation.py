"""Frames to files: GIF, and SVG that moves."""

from __future__ import annotations

import re
from collections.abc import Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from tinygrad_vi.show.plot import (
    clean_texts,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


LAST = 6  # the last frame stays so many times longer than the others
COLORS = 32  # of the GIF


# --- Files ------------------------------------------------------------------------------------------------------------


def durations_of(count: int, seconds: float) -> list[float]:
    """How long each frame stays; the last one longer."""
    shares = [1] * (count - 1) + [LAST]
    return [seconds * share / sum(shares) for share in shares]


def pixels_of(figure: Figure) -> Any:
    """The figure as a picture of Pillow."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    clean_texts(figure)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]  # savefig would lay everything out once more
    pixels = bytes(canvas.buffer_rgba())  # type: ignore[no-untyped-call]
    return Image.frombytes("RGBA", canvas.get_width_height(), pixels).convert("RGB")


def drawing_of(figure: Figure) -> bytes:
    """The figure as SVG."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    clean_texts(figure)
    buffer = BytesIO()
    with rc_context({"svg.hashsalt": "tinygrad_vi"}):  # equal shapes get equal names in all frames
        FigureCanvasSVG(figure).print_svg(buffer)  # type: ignore[no-untyped-call]
    return buffer.getvalue()


def gif_of(pictures: Sequence[Any], durations: Sequence[float]) -> bytes:
    """Pictures as an animated GIF, with colours chosen for the first, the middle and the last of them."""
    from PIL import Image

    width, height = pictures[0].size
    sample = Image.new("RGB", (width, 3 * height))
    for k, picture in enumerate((pictures[0], pictures[len(pictures) // 2], pictures[-1])):
        sample.paste(picture, (0, k * height))
    palette = sample.quantize(COLORS, method=Image.Quantize.MAXCOVERAGE, kmeans=2)
    first, *others = [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures]
    buffer = BytesIO()
    milliseconds = [max(20, round(1000 * duration)) for duration in durations]
    first.save(buffer, "GIF", save_all=True, append_images=others, duration=milliseconds, loop=0, optimize=True)
    return buffer.getvalue()


SVG, XLINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}"


def animated(pictures: Sequence[bytes], durations: Sequence[float]) -> bytes:
    """Pictures as one animated SVG, in which what they have in common is kept once.

    Each part of a picture (a curve, an axis) goes into the definitions when it is first seen; a frame is a list of
    references to parts, shown in its time.  Where nothing moves, the last frame is seen.
    """
    for prefix, name in (("", SVG), ("xlink", XLINK)):
        ElementTree.register_namespace(prefix, name[1:-1])
    definitions: dict[str, Any] = {}
    frames = []
    for picture in pictures:
        root = ElementTree.fromstring(picture)
        for parent in list(root.iter()):
            for defs in parent.findall(f"{SVG}defs"):
                definitions.update({child.get("id") or child.tag: child for child in defs})
                parent.remove(defs)
        [content] = root.findall(f"{SVG}g")
        frames.append([_reference(part, definitions) for axes in content for part in _parts(axes)])
    film = ElementTree.Element(f"{SVG}svg", {name: root.get(name, "") for name in ("width", "height", "viewBox")})
    film.set("version", "1.1")
    ElementTree.SubElement(film, f"{SVG}defs").extend(definitions.values())
    total, start = sum(durations), 0.0
    for k, (frame, duration) in enumerate(zip(frames, durations, strict=True)):
        last = k == len(frames) - 1
        group = ElementTree.SubElement(film, f"{SVG}g", {"display": "inline" if last else "none"})
        times, values = [start], ["inline"]
        if k > 0:  # hidden from the beginning on
            times, values = [0.0, *times], ["none", *values]
        if not last:
            times, values = [*times, start + duration], [*values, "none"]
        timing = {"dur": f"{total:g}s", "repeatCount": "indefinite", "calcMode": "discrete"}
        timing |= {"values": ";".join(values), "keyTimes": ";".join(f"{time / total:.5g}" for time in times)}
        if len(frames) > 1:
            ElementTree.SubElement(group, f"{SVG}animate", {"attributeName": "display", **timing})
        group.extend(frame)
        start += duration
    text: bytes = ElementTree.tostring(film, encoding="utf-8", xml_declaration=True)
    return text


def _parts(element: Any) -> list[Any]:
    """Axes are split into their parts; everything else is one part."""
    return list(element) if (element.get("id") or "").startswith("axes") else [element]


def _reference(part: Any, definitions: dict[str, Any]) -> Any:
    for element in part.iter():
        if element.tag == f"{SVG}g":
            element.attrib.pop("id", None)  # matplotlib numbers them in each picture, and nothing refers to them
        for name in ("d", "x", "y"):
            if name in element.attrib:
                element.set(name, re.sub(r"(\.\d)\d+", r"\1", element.get(name)))
    text = ElementTree.tostring(part, encoding="unicode")
    if text not in definitions:
        part.set("id", f"part{len(definitions)}")
        definitions[text] = part
    return ElementTree.Element(f"{SVG}use", {f"{XLINK}href": f"#{definitions[text].get('id')}"})
