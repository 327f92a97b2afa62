"""`check`: is the answer right, and if not, which slip does it look like?"""

from __future__ import annotations

import html
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tinygrad_vi.course.answers import Unreadable, read
from tinygrad_vi.course.diagnose import Finding, diagnose
from tinygrad_vi.course.sheets import COLORS, GREEN, GREY, RED, box, show
from tinygrad_vi.course.solved import remember
from tinygrad_vi.course.texts import Exercise, Part, UnknownName, find, find_erratum
from tinygrad_vi.show.writing.console import printable

WIDTH = 100  # of a line in a terminal


@dataclass(eq=False, repr=False)
class Verdict:
    """The result of a check: findings by the names of the parts, "" for the answer as a whole.

    It is true when everything given is right.  A notebook and a terminal show it.  So does ``assert check(...)``: the
    first time that it is asked whether it is true, it prints itself.
    """

    name: str
    findings: Mapping[str, Finding]
    #: part -> what it means, for the parts with a finding
    meanings: Mapping[str, str] = field(default_factory=dict, kw_only=True)
    shown: bool = field(default=False, init=False)

    @property
    def right(self) -> bool:
        """Whether everything given is right and nothing is missing."""
        return all(finding.right for finding in self.findings.values())

    @property
    def kind(self) -> str:
        """The kind of the first finding that is not "right", as in `diagnose.TITLES`."""
        return next((finding.kind for finding in self.findings.values() if not finding.right), "right")

    @property
    def erratum(self) -> str | None:
        """The first mistake of the lecture notes that the answer repeats: "E04"."""
        return next((finding.erratum for finding in self.findings.values() if finding.erratum), None)

    @property
    def message(self) -> str:
        """The verdict in words."""
        return "\n".join(line.text for line in self._lines())

    def __bool__(self) -> bool:
        if not self.shown:
            show(self)
            self.shown = True
        return self.right

    def __repr__(self) -> str:
        self.shown = True
        lines = [f"{line.mark or ' '} {line.text}" for line in self._lines()]
        return printable("\n".join(textwrap.fill(line, WIDTH, subsequent_indent="    ") for line in lines))

    def _repr_html_(self) -> str:
        self.shown = True
        color = GREEN if self.right else GREY if self.kind == "empty" else RED
        rows = "".join(_row(line) for line in self._lines())
        return box(rows, color)

    def _lines(self) -> list[_Line]:
        right = [name for name, finding in self.findings.items() if finding.right]
        if len(right) == len(self.findings):
            several = f" cả {len(right)} phần" if len(right) > 1 else ""
            return [_Line("✔", f"{self.name}: đúng{several} rồi!")]
        lines = [_Line("✔", f"{self.name}: đúng phần {', '.join(right)}.")] if right else []
        for name, finding in self.findings.items():
            if finding.right:
                continue
            place = f"{self._exercise}.{name} · {self.meanings[name]} –" if name in self.meanings else f"{self.name}:"
            lines.append(_Line("…" if finding.kind == "empty" else "✘", f"{place} {_sentence(finding)}"))
            if finding.erratum:
                erratum = find_erratum(finding.erratum)
                where = f"{erratum.source}, {erratum.place}"
                lines.append(_Line("", f'🔎 Chỗ này bài giảng có đính chính ({where}): referee("{erratum.id}")'))
        if self.kind not in ("empty", "missing", "unknown", "type"):
            lines.append(_Line("", f'Cần gợi ý? hint("{self._exercise}")'))
        return lines

    @property
    def _exercise(self) -> str:
        return self.name.partition(".")[0]


@dataclass(frozen=True)
class _Line:
    mark: str
    text: str


def _row(line: _Line) -> str:
    color = COLORS.get(line.mark, GREY)
    mark = f'<span style="color: {color}; font-weight: bold">{line.mark}</span> ' if line.mark else ""
    indent = "" if line.mark else "margin-left: 1.3em; opacity: 0.85"
    return f'<div style="{indent}">{mark}{html.escape(line.text)}</div>'


def _sentence(finding: Finding) -> str:
    return f"{finding.title}. {finding.says}" if finding.says else f"{finding.title}."


_NOTHING: Any = object()


def check(name: str, answer: Any = _NOTHING, /, *rest: Any, **parts: Any) -> Verdict:
    """Check an answer to an exercise, ``check("B12", ...)``, or to one part of it, ``check("B28.dau", "+")``.

    answer: a number, a word, True or False; a list, tuple or array; a Value; for an exercise of several parts a
    dictionary, or all of them in order.  Parts can be named as well: ``check("B35n", gx=[...], L=...)``.

    Wrong answers get a diagnosis, in Vietnamese, that never tells the right one; what is unknown, missing or
    unreadable is said in the same way, and raises nothing.  Right parts are kept: see `progress`.

    >>> check("B12", e=6, dea=2)
    ✔ B12: đúng cả 2 phần rồi!
    >>> check("B12.deb", 2)
    ✘ B12.deb · ∂e/∂b – Quên cộng dồn. Bạn mới tính 1 trong 2 đường (hay số hạng) dẫn tới đây. Mỗi đường
        góp một phần, và các phần được cộng dồn.
      Cần gợi ý? hint("B12")
    """
    try:
        exercise, part = find(name)
    except UnknownName as error:
        return Verdict(str(name), {"": Finding("unknown", _sentence_of(error))})
    called = f"{exercise.id}.{part.name}" if part else exercise.id
    if rest:
        says = "Có dấu phẩy thừa. Trong Python số lẻ viết bằng dấu chấm (0.5); nhiều số thì đặt trong [ ]."
        return Verdict(called, {"": Finding("type", says)})
    given, findings = _by_part(exercise, part, answer)
    for key, value in parts.items():
        _named(exercise, key, value, given, findings)
    if not given and not findings:
        findings[""] = Finding("empty", _what_is_asked(exercise))
    judged = {key: _judge(exercise, exercise.parts[key], value) for key, value in given.items()}
    remember(exercise, [key for key, finding in judged.items() if finding.right])
    return Verdict(called, judged | findings, meanings={key: exercise.parts[key].means for key in judged})


def _by_part(exercise: Exercise, part: Part | None, answer: Any) -> tuple[dict[str, Any], dict[str, Finding]]:
    """The answer to each part, and what is wrong with the way it was given."""
    given: dict[str, Any] = {}
    findings: dict[str, Finding] = {}
    required = [p.name for p in exercise.required]
    if answer is _NOTHING:
        pass
    elif part is not None:
        given[part.name] = answer
    elif isinstance(answer, Mapping):
        for key, value in answer.items():
            _named(exercise, key, value, given, findings)
        if missing := [name for name in required if name not in given]:
            findings["missing"] = Finding("missing", f"Chưa thấy phần {', '.join(missing)}.")
    elif len(required) == 1:
        given[required[0]] = answer
    elif answer is None or answer is ...:
        findings[""] = Finding("empty", _what_is_asked(exercise))
    elif not isinstance(answer, str) and hasattr(answer, "__len__") and len(answer) == len(required):
        given = dict(zip(required, answer, strict=True))
    else:
        findings[""] = Finding("missing", _what_is_asked(exercise))
    return given, findings


def _named(exercise: Exercise, key: Any, value: Any, given: dict[str, Any], findings: dict[str, Finding]) -> None:
    try:
        given[exercise.part(str(key)).name] = value
    except UnknownName as error:
        findings[str(key)] = Finding("unknown", _sentence_of(error))


def _judge(exercise: Exercise, part: Part, answer: Any) -> Finding:
    if answer is None or answer is ...:
        return Finding("empty")
    try:
        return diagnose(exercise, part, read(answer, part.answer))
    except Unreadable as error:
        return Finding("type", _sentence_of(error))
    except RecursionError:
        return Finding("type", "Danh sách lồng nhau quá sâu.")


def _what_is_asked(exercise: Exercise) -> str:
    parts = ", ".join(f"{part.name} ({part.means})" for part in exercise.required)
    if len(exercise.required) == 1:
        return f"Bài này hỏi {parts}."
    first = exercise.required[0].name
    ways = f'check("{exercise.id}", dict({first}=..., ...)) hoặc từng phần: check("{exercise.id}.{first}", ...)'
    return f"Bài này có {len(exercise.required)} phần: {parts}. Viết {ways}."


def _sentence_of(error: Exception) -> str:
    text = str(error)
    ending = "" if text.endswith(".") else "."
    return text[:1].upper() + text[1:] + ending
