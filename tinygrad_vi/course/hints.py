"""The statement and the hints of an exercise."""

from __future__ import annotations

import html
import textwrap
from collections import Counter
from dataclasses import dataclass

from tinygrad_vi.course.answers import flat, shape, written_shape
from tinygrad_vi.course.sheets import BLUE, box
from tinygrad_vi.course.texts import Exercise, Part, find
from tinygrad_vi.show.writing.console import printable

_asked: Counter[str] = Counter()


@dataclass(frozen=True, repr=False)
class Note:
    """A heading and paragraphs, for a notebook and a terminal."""

    heading: str
    paragraphs: tuple[str, ...]

    def __repr__(self) -> str:
        lines = [self.heading, *(textwrap.fill(p, 100, subsequent_indent="  ") for p in self.paragraphs)]
        return printable("\n".join(lines))

    def _repr_html_(self) -> str:
        rows = "".join(f'<div style="margin: 2px 0">{html.escape(p)}</div>' for p in self.paragraphs)
        return box(f"<div><b>{html.escape(self.heading)}</b></div>{rows}", BLUE)


def statement(name: str) -> Note:
    """What an exercise asks, in Vietnamese: the text, and its parts with their names.  Raises UnknownName.

    >>> statement("B27")
    B27 · Gradient của bình phương khoảng cách (S0, phần Ý nghĩa gradient; bài học 06)
    L(y) = ‖y − t‖² với y = (1; 2; 3) và giá trị mục tiêu t = (0; 2; 5). Tìm ∇_y L.
    Cần tìm gradient: ∇_y L (3 số).
    """
    exercise, part = find(name)
    parts = exercise.required if part is None else [part]
    asked = [f"Cần tìm {'; '.join(map(_asked_for, parts))}."]
    optional = [p for p in exercise.parts.values() if p.optional]
    if part is None and optional:
        asked.append(f"Kiểm tra dọc đường (không bắt buộc): {'; '.join(map(_asked_for, optional))}.")
    heading = f"{exercise.id} · {exercise.title} ({exercise.source}; bài học {exercise.notebook:02d})"
    return Note(heading, (exercise.statement, *asked))


def _asked_for(part: Part) -> str:
    answer = part.answer
    if isinstance(answer, bool):
        form = "True hay False"
    elif isinstance(answer, str):
        form = "chữ hoặc ký hiệu"
    elif any(isinstance(entry, str) for entry in flat(answer)):
        form = "hai chiều, như [2, 3]"
    else:
        form = written_shape(shape(answer))
    return f"{part.name}: {part.means} ({form})"


def hint(name: str, level: int | None = None) -> Note:
    """The hint of level 1, 2 or 3 to an exercise; without a level the next one at every call.  Never the answer.

    Raises UnknownName, ValueError for a level that does not exist.

    >>> hint("B12", level=1)
    Gợi ý 1/3 cho B12
    b đi vào hai ngoặc. Đi từ e về b có mấy con đường?
    """
    exercise, _ = find(name)
    last = len(exercise.hints)
    if level is None:
        level = _next(exercise)
    if isinstance(level, bool) or level not in range(1, last + 1):
        raise ValueError(f"gợi ý có {last} mức, từ 1 đến {last}; không có mức {level!r}")
    return Note(f"Gợi ý {level}/{last} cho {exercise.id}", (exercise.hints[level - 1],))


def _next(exercise: Exercise) -> int:
    _asked[exercise.id] += 1
    return min(_asked[exercise.id], len(exercise.hints))
