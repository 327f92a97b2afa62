"""Which parts of the exercises are solved: kept in a small file in the student's folder, shown as a table.

The file is ``.tien_do.json`` beside the student's notebooks.  The environment variable TINYGRAD_VI_PROGRESS names
another file, or "off" for none.  Where there is no such folder, or it cannot be written, progress lasts as long as the
session, and the table says so.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from tinygrad_vi.course.sheets import Sheet, cells
from tinygrad_vi.course.texts import Exercise, exercises
from tinygrad_vi.files import read_json, write_json

VARIABLE = "TINYGRAD_VI_PROGRESS"
NAME = ".tien_do.json"
FORM = "tinygrad_vi course progress"

Passed = dict[str, list[str]]

#: what was answered in this session, by file; None for no file
_session: dict[Path | None, Passed] = {}
#: files that could not be written when it was last tried
_unwritten: set[Path] = set()


def notebooks_folder() -> Path | None:
    """Where the course's own notebooks are: in an installed package, or in a source checkout; None if nowhere."""
    here = Path(__file__).resolve().parent
    for folder in (here / "notebooks", here.parents[1] / "notebooks"):
        if any(folder.glob("01_*.ipynb")):
            return folder
    return None


def progress_file() -> Path | None:
    """The progress file of the current folder; None where nothing is to be kept.

    A student's folder has the file already, or lessons.  The folder of the course's own notebooks is none.
    """
    named = os.environ.get(VARIABLE)
    if named is not None:
        return None if named.strip().lower() in ("", "off") else Path(named)
    try:
        folder = Path.cwd()
        own = notebooks_folder()
        if (folder / NAME).exists() or (any(folder.glob("[0-9][0-9]_*.ipynb")) and folder.resolve() != own):
            return folder / NAME
    except OSError:  # the folder is gone
        pass
    return None


def remember(exercise: Exercise, right: Iterable[str]) -> None:
    """Keep the names of parts that were answered right.  Never raises for a file that cannot be read or written."""
    file = progress_file()
    passed, trouble = _load(file)
    known = passed.get(exercise.id, [])
    new = [name for name in exercise.parts if name in {*known, *right}]
    if new == known:
        return
    passed[exercise.id] = new
    _session[file] = passed
    if file is not None and not trouble:
        _save(file, passed)


def start(folder: Path) -> None:
    """Make the progress file of a new student's folder."""
    file = folder / NAME
    if not file.exists():
        _save(file, {})


def _load(file: Path | None) -> tuple[Passed, str]:
    """The solved parts of the file and of this session, and what is wrong with the file."""
    passed = {name: list(parts) for name, parts in _session.get(file, {}).items()}
    if file is None or not file.exists():
        return passed, ""
    try:
        kept = read_json(file, FORM, {"passed": dict}, old_is_good=True)["passed"]
    except (OSError, ValueError):
        return passed, f"không đọc được {file.name}, nên không ghi gì vào đó; đổi tên tệp ấy để bắt đầu lại"
    for name, exercise in exercises().items():
        known = kept.get(name)
        both = [*passed.get(name, ()), *(known if isinstance(known, list) else ())]
        if parts := [part for part in exercise.parts if part in both]:
            passed[name] = parts
    return passed, ""


def _save(file: Path, passed: Mapping[str, list[str]]) -> None:
    try:
        write_json(file, FORM, {"passed": passed})
        _unwritten.discard(file)
    except OSError:
        _unwritten.add(file)


def progress(file: str | Path | None = None) -> Sheet:
    """The table of exercises: which are solved, which are begun.

    file: a progress file, or the folder it is in; by default that of the folder one works in.
    """
    path = progress_file() if file is None else Path(file)
    if path is not None and path.is_dir():
        path = path / NAME
    passed, trouble = _load(path)
    rows, solved = [], 0
    for name, exercise in exercises().items():
        required = [part.name for part in exercise.required]
        right = [part for part in required if part in passed.get(name, ())]
        done = len(right) == len(required)
        solved += done
        mark = "✔" if done else "…" if passed.get(name) else "–"
        rows.append(cells(f"{exercise.notebook:02d}", name, exercise.title, f"{len(right)}/{len(required)}", mark))
    rows.sort(key=lambda row: row[0].text)
    title = f"Tiến độ: {solved}/{len(rows)} bài đã giải"
    if path is None:
        trouble = "thư mục này không có tệp tiến độ: chỉ nhớ trong phiên làm việc"
    elif path in _unwritten:
        trouble = f"không ghi được {path.name}: chỉ nhớ trong phiên làm việc"
    return Sheet(f"{title} ({trouble})" if trouble else title, cells("Bài học", "Bài", "Tên", "Phần đúng", ""), rows)
