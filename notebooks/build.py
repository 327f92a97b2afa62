"""Write the notebooks of the course from their texts, run them, and keep what they showed.

``python notebooks/build.py`` builds all of them, ``python notebooks/build.py 03 07`` some.  The texts in ``source`` are
what one edits and reviews: prose, with the code cells as ```python blocks (a ```py block stays prose).
"""

from __future__ import annotations

import base64
import sys
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient

import tinygrad_vi
from tinygrad_vi.show.plot import fewer_colors

HERE = Path(__file__).resolve().parent
SOURCES = sorted((HERE / "source").glob("[0-9][0-9]_*.md"))


def read(source: Path) -> nbformat.NotebookNode:
    """The notebook that a text says, without outputs; equal texts give equal notebooks."""
    notebook = jupytext.read(source)
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for i, cell in enumerate(notebook.cells):
        cell.id = f"cell-{i:02d}"
        cell.metadata = {"tags": cell.metadata["tags"]} if "tags" in cell.metadata else {}
    return notebook


def run(notebook: nbformat.NotebookNode, timeout: int = 120) -> nbformat.NotebookNode:
    """Run all cells from top to bottom, in the folder of the notebooks, and keep their outputs."""
    about = dict(notebook.metadata.language_info)
    folder = {"metadata": {"path": str(HERE)}}
    NotebookClient(notebook, timeout=timeout, kernel_name="python3", coalesce_streams=True, resources=folder).execute()
    notebook.metadata.language_info = about  # without the version of this Python
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # when it ran
        for output in cell.get("outputs", ()):
            data = output.get("data", {})
            if "image/svg+xml" in data and "image/png" in data:
                png = fewer_colors(base64.b64decode(data["image/png"]), 128)  # the SVG is what most viewers show
                data["image/png"] = base64.b64encode(png).decode()
    return notebook


def main(chosen: list[str]) -> None:
    """Build the notebooks whose numbers are given, or all."""
    tinygrad_vi.compile(lambda x: x * x).grad(1.0)  # the kernel is prepared now, and no lesson speaks of that
    for source in SOURCES:
        if not chosen or source.name[:2] in chosen:
            notebook = run(read(source))
            target = HERE / f"{source.stem}.ipynb"
            nbformat.write(notebook, target)
            print(f"{target.name}: {len(notebook.cells)} cells, {target.stat().st_size // 1000} kB")


if __name__ == "__main__":
    main(sys.argv[1:])
