"""Saving pictures and pages: the ending of the name decides the form, and no file is left half-written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def form_of(path: str | Path, what: str, forms: Sequence[str]) -> str:
    """The form that a name ends in: "svg" of graph.svg.  what: is saved, for the message.

    Raises ValueError unless it is one of ``forms``.

    >>> form_of("graph.SVG", "a drawing", ["svg", "png"])
    'svg'
    """
    path = Path(path)
    form = path.suffix.lower().lstrip(".")
    if form not in forms:
        endings = ", ".join(f".{form}" for form in forms)
        raise ValueError(f"cannot save {what} as {path.name!r}: the name must end in {endings}")
    return form
