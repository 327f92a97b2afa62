"""Files that are complete or not there: JSON that says what it is, written atomically, read with care."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

VERSION = 1


def write_json(path: str | Path, form: str, content: Mapping[str, Any]) -> Path:
    """Write to a file beside it first and rename that: whoever is killed half-way leaves the old file as it was."""
    path = Path(path)
    entries = {"format": form, "version": VERSION, **content}
    lines = [f"{json.dumps(name)}: {json.dumps(entry, allow_nan=False)}" for name, entry in entries.items()]
    text = "{\n" + ",\n".join(lines) + "\n}"
    if not path.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {path.parent} to keep {path.name} in")
    beside = path.with_name(f".{path.name}.tmp")
    try:
        with open(beside, "w", encoding="utf-8") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    return path


def read_json(path: str | Path, form: str, parts: Mapping[str, type]) -> dict[str, Any]:
    """What `write_json` wrote; ValueError, saying what to do, for anything else.

    parts: the entries it must have and their types.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ValueError(
            f"cannot read {path}: it is not complete JSON ({error}). "
            "It may have been cut off or edited: take another copy, or save again"
        ) from None
    if not isinstance(content, dict) or content.get("format") != form:
        found = content.get("format") if isinstance(content, dict) else type(content).__name__
        raise ValueError(f"cannot read {path}: it is no {form} but {found!r}")
    if content.get("version") != VERSION:
        raise ValueError(
            f"cannot read {path}: its version is {content.get('version')!r}, this tinygrad_vi reads version {VERSION}"
        )
    for name, kind in parts.items():
        if not isinstance(content.get(name), kind):
            raise ValueError(
                f"cannot read {path}: {name!r} should be a {kind.__name__}, got {content.get(name)!r:.60}. "
                "It may have been edited: take another copy, or save again"
            )
    return content
