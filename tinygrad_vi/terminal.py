"""Who reads what is printed: a person at a terminal or in a notebook, or a file."""

from __future__ import annotations

import shutil
import sys
from typing import Any


def is_terminal(stream: Any) -> bool:
    """Whether a stream is a terminal; not what has replaced one (a file, a pipe, nothing at all)."""
    try:
        return bool(stream.isatty())
    except (AttributeError, ValueError):  # None under pythonw, a closed file
        return False


def in_a_notebook() -> bool:
    """Whether a kernel of Jupyter runs this: its streams are no terminals, and a person reads them."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return shell is not None and hasattr(shell, "kernel")


def is_watched() -> bool:
    """Whether somebody sees the standard error while it is written: then a progress bar makes sense."""
    return is_terminal(sys.stderr) or in_a_notebook()


def terminal_width() -> int | None:
    """The columns of the terminal that the standard output is (80 where it does not say); None for a file or pipe."""
    return shutil.get_terminal_size().columns if is_terminal(sys.stdout) else None
