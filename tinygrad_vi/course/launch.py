"""The lessons on a student's machine: copied into her folder, never over her work, and opened in JupyterLab."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tinygrad_vi.course.sheets import Sheet
from tinygrad_vi.course.solved import NAME, notebooks_folder, progress, start
from tinygrad_vi.files import read_json, write_atomically, write_json
from tinygrad_vi.show.writing.console import printable

DEFAULT_FOLDER = "khoa_hoc_tinygrad_vi"
#: the copied files and their digests: a file with another digest was changed by the student
MANIFEST, FORM = ".khoa_hoc.json", "tinygrad_vi course files"


def course(folder: str | Path = DEFAULT_FOLDER, *, open_browser: bool = True) -> Path:
    """Copy the lessons into ``folder`` and open JupyterLab there; returns the folder.

    Files that the student has changed are left as they are; a newer version of one is written beside it, with
    ``_ban_moi`` in its name.  Files of hers are never touched.

    Raises FileNotFoundError where the lessons are not installed, ImportError without JupyterLab (the lessons are
    copied all the same), OSError for a folder that cannot be written.
    """
    folder = Path(folder)
    for line in copy_lessons(folder):
        print(printable(line))
    if not open_browser:
        print(printable(f'Mở bài học: cd "{folder}" rồi python -m jupyterlab'))
        return folder
    if find_spec("jupyterlab") is None:
        raise ImportError(f"bài học đã chép vào {folder}, nhưng chưa có JupyterLab: pip install jupyterlab ipykernel")
    print(printable("Đang mở JupyterLab; bấm Ctrl-C ở đây để đóng."))
    environment = {**os.environ, "PYTHONPATH": _python_path()}
    subprocess.run([sys.executable, "-m", "jupyterlab"], cwd=folder, env=environment, check=False)
    return folder


def _python_path() -> str:
    """A PYTHONPATH with this very package: JupyterLab runs in another folder, and a checkout may not be installed."""
    here = str(Path(__file__).resolve().parents[2])
    return os.pathsep.join([here, *filter(None, [os.environ.get("PYTHONPATH")])])


def copy_lessons(folder: Path) -> list[str]:
    """Copy what is new; say in Vietnamese what was done with each file."""
    source = notebooks_folder()
    if source is None:
        raise FileNotFoundError("không tìm thấy bài học: hãy cài lại tinygrad_vi, hoặc chạy từ thư mục mã nguồn")
    if folder.resolve() == source:
        raise ValueError(
            f"{folder} là thư mục gốc của các bài học: hãy chọn một thư mục khác, để giữ bản gốc nguyên vẹn"
        )
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} là một tệp, không phải thư mục: hãy chọn tên khác")
    folder.mkdir(parents=True, exist_ok=True)
    written = _manifest(folder)
    lines, copied = [], 0
    for name in _lessons(source):
        target, new = folder / name, _digest(source / name)
        old, there = written.get(name), _digest(folder / name)
        if there in ("", old) and there != new:
            _copy(source / name, target)
            copied += 1
        elif there != new and old != new:  # the student changed it, and our version is new
            beside = _beside(target, new)
            if not beside.exists():
                _copy(source / name, beside)
                lines.append(f"{name}: giữ bản của bạn; bản mới ở {beside.name}")
        elif there != new:
            lines.append(f"{name}: giữ bản của bạn")
        written[name] = new
    write_json(folder / MANIFEST, FORM, {"files": written})
    start(folder)
    return [f"{copied} tệp được chép vào {folder}" if copied else f"Bài học trong {folder} đã là bản mới nhất", *lines]


def _lessons(source: Path) -> Iterator[str]:
    """The files of the lessons: notebooks and pictures, by their paths below the folder."""
    for path in sorted([*source.glob("[0-9][0-9]_*.ipynb"), *source.glob("pictures/*.*")]):
        yield path.relative_to(source).as_posix()


def _manifest(folder: Path) -> dict[str, str]:
    try:
        files: dict[str, str] = read_json(folder / MANIFEST, FORM, {"files": dict}, old_is_good=True)["files"]
    except (FileNotFoundError, ValueError):  # no record, or a damaged one: every file there counts as the student's
        return {}
    return files


def _digest(path: Path) -> str:
    """A digest of the content of a file; "" for no file."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def _beside(target: Path, digest: str) -> Path:
    """The first free name beside the student's file, or the name of a copy with this very content."""
    for number in range(1, 1000):
        beside = target.with_name(f"{target.stem}_ban_moi{'' if number == 1 else f'_{number}'}{target.suffix}")
        if not beside.exists() or _digest(beside) == digest:
            return beside
    raise FileExistsError(f"có quá nhiều bản mới của {target.name}: hãy xóa bớt")


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(target, source.read_bytes())


def lesson_titles() -> Mapping[str, str]:
    """The lessons, file name -> title, in order."""
    source = notebooks_folder()
    return {} if source is None else {path.name: _title(path) for path in sorted(source.glob("[0-9][0-9]_*.ipynb"))}


def _title(path: Path) -> str:
    """The first heading of a notebook."""
    try:
        notebook: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        lines = ["".join(cell["source"]).splitlines() for cell in notebook["cells"] if cell["cell_type"] == "markdown"]
    except (ValueError, KeyError, TypeError):
        return path.stem
    return next((line.lstrip("# ") for cell in lines for line in cell if line.startswith("# ")), path.stem)


# --- The command ------------------------------------------------------------------------------------------------------


def add_course_command(commands: Any) -> None:
    """Add ``course`` to the commands of ``python -m tinygrad_vi``."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "course",
        help="the lessons (in Vietnamese): copy them into a folder and open them in JupyterLab",
        description="Copy the lessons into a folder, never over your own work, and open them in JupyterLab.",
    )
    parser.add_argument(
        "folder", nargs="?", type=_folder, default=Path(DEFAULT_FOLDER), help="your folder (default: %(default)s)"
    )
    parser.add_argument("--no-open", action="store_true", help="only copy; do not start JupyterLab")
    parser.add_argument("--list", action="store_true", help="list the lessons")
    parser.add_argument("--progress", action="store_true", help="print which exercises in the folder are solved")
    parser.set_defaults(run=run_course)


def _folder(text: str) -> Path:
    return Path(
        text.removeprefix(" ") if text.startswith(" -") else text
    )  # the parser of the command line adds the blank


def run_course(options: argparse.Namespace) -> None:
    """The ``course`` command."""
    if options.list:
        for name, title in lesson_titles().items():
            print(printable(f"{name}: {title}"))
    elif options.progress:
        print(_progress(options.folder))
    else:
        course(options.folder, open_browser=not options.no_open)


def _progress(folder: Path) -> Sheet:
    """The progress of a folder; without one, that of the current folder."""
    if (folder / NAME).exists():
        return progress(folder)
    if folder != Path(DEFAULT_FOLDER):
        raise FileNotFoundError(f"chưa có tệp tiến độ trong {folder}: python -m tinygrad_vi course {folder} tạo tệp ấy")
    return progress()
