"""From DOT source to a picture, by the program `dot` or else by the Graphviz inside the pygraphviz wheel."""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib.util import find_spec

DOTS_PER_INCH = 144  # of PNG pictures: twice what a screen used to have

# It runs in a process of its own: warnings of font libraries stay off the user's screen, and a crash of Graphviz does
# not end the user's Python.
PYGRAPHVIZ = """
import sys, pygraphviz
graph = pygraphviz.AGraph(string=sys.stdin.buffer.read().decode("utf-8"))
if sys.argv[1] == "png":
    graph.graph_attr["dpi"] = sys.argv[2]
sys.stdout.buffer.write(graph.draw(format=sys.argv[1], prog="dot"))
"""


def render(source: str, form: str, dots_per_inch: int = DOTS_PER_INCH) -> bytes:
    """The picture of a graph in the format "svg", "png" or "pdf", or with "json0" where everything stands.

    Raises ImportError when neither `dot` nor pygraphviz is there, RuntimeError with Graphviz's own words when it fails.
    """
    command = _renderer(form, dots_per_inch)
    done = subprocess.run(command, input=source.encode(), capture_output=True, check=False)
    if done.returncode or not done.stdout:
        said = done.stderr.decode(errors="replace").strip() or f"exit code {done.returncode} and no picture"
        raise RuntimeError(f"Graphviz could not draw the graph as {form}: {said}")
    return done.stdout


def _renderer(form: str, dots_per_inch: int) -> list[str]:
    dot = shutil.which("dot")
    if dot:
        return [dot, f"-T{form}", *([f"-Gdpi={dots_per_inch}"] if form == "png" else [])]
    if find_spec("pygraphviz"):
        return [sys.executable, "-c", PYGRAPHVIZ, form, str(dots_per_inch)]
    raise ImportError("drawing needs Graphviz, which a package brings along: pip install pygraphviz")
