"""The referee compares the printed and the corrected version of a formula with computed derivatives.

A `Duel` is one question with two answers and the judges' numbers; a `Ruling` is all duels about one mistake, as a table
that says who is right.  `cases` has the duels about the lecture notes' own mistakes.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from tinygrad_vi.course.answers import flat, shape
from tinygrad_vi.course.cases import CASES
from tinygrad_vi.course.duels import CORRECTED, PRINTED, TOLERANCE, Duel, Failed, duel, plain_value
from tinygrad_vi.course.sheets import BLUE, Sheet, box, cells, show
from tinygrad_vi.course.texts import Erratum, errata, find_erratum
from tinygrad_vi.show.writing.console import printable
from tinygrad_vi.show.writing.numerals import write_number


@dataclass(eq=False, repr=False)
class Ruling:
    """All duels about one mistake, and who is right.  It is true when the judges confirm the correction.

    A mistake that no number decides has no duels: the ruling is its correction in one line, and not true.
    """

    title: str
    duels: Sequence[Duel]
    erratum: Erratum | None = field(default=None, kw_only=True)
    shown: bool = field(default=False, init=False)

    @property
    def printed_right(self) -> bool:
        """Whether the printed version is right in every duel."""
        return bool(self.duels) and all(duel.printed_right for duel in self.duels)

    @property
    def corrected_right(self) -> bool:
        """Whether the corrected version is right in every duel."""
        return bool(self.duels) and all(duel.corrected_right for duel in self.duels)

    @property
    def conclusion(self) -> str:
        """A sentence that says which version is right."""
        if not self.duels:
            return "Chỗ này không cần trọng tài bằng số."
        return {
            (False, True): "✘ Bản in sai, ✔ bản sửa đúng.",
            (True, False): "✔ Bản in đúng, ✘ bản sửa sai.",
            (True, True): "✔ Hai bản đều đúng ở đây.",
            (False, False): "✘ Hai bản đều sai.",
        }[self.printed_right, self.corrected_right]

    @property
    def table(self) -> Sheet:
        """One row for each version and each judge, one column for each question."""
        names = list(dict.fromkeys(name for duel in self.duels for name in duel.judges))
        rows = [
            cells(PRINTED, *(_marked(duel.printed, duel.printed_right) for duel in self.duels)),
            cells(CORRECTED, *(_marked(duel.corrected, duel.corrected_right) for duel in self.duels)),
        ]
        rows += [cells(f"⚖ {n}", *(_written(d.judges[n]) if n in d.judges else "" for d in self.duels)) for n in names]
        return Sheet(self.title, cells("", *(duel.question for duel in self.duels)), rows, width=40)

    def __bool__(self) -> bool:
        if not self.shown:
            self.shown = True
            show(self)
        return self.corrected_right and not self.printed_right

    def __repr__(self) -> str:
        self.shown = True
        before, after = self._words()
        table = [replace(self.table, title="").printed(None).strip("\n")] if self.duels else []
        return printable("\n".join([self.title, *before, *table, *after]))

    def _repr_html_(self) -> str:
        self.shown = True
        before, after = self._words()
        table = [replace(self.table, title="").to_html(scroll=False)] if self.duels else []
        rows = [f"<div><b>{html.escape(self.title)}</b></div>", *map(_line, before), *table, *map(_line, after)]
        return box("".join(rows), BLUE)

    def _words(self) -> tuple[list[str], list[str]]:
        """The lines above the table and those below it."""
        if self.erratum is None:
            return [], [self.conclusion]
        versions = [f"{PRINTED}: {self.erratum.printed}", f"{CORRECTED}: {self.erratum.correct}"]
        return versions, [self.erratum.why, self.conclusion]


def _line(text: str) -> str:
    return f"<div>{html.escape(text)}</div>"


def referee(
    printed: Any,
    corrected: Any = None,
    *,
    truth: Callable[..., Any] | None = None,
    at: Any = (),
    of: str = "derivative",
    tolerance: float = TOLERANCE,
    pytorch: bool = False,
) -> Ruling:
    """Who is right, the printed formula or the corrected one?

    ``referee("E03")`` is the case of that mistake of the lecture notes.  For formulas of one's own give both as
    functions or as values, the function ``truth`` whose derivative (or, with ``of="value"``, whose value) they should
    be, and the point ``at``: the arguments in a tuple, or a list of such tuples for several points.  The judges are
    automatic and numerical differentiation, and with ``pytorch=True`` PyTorch's.

    Raises UnknownName for an erratum that there is not, ValueError for another ``of``, TypeError without ``truth``.

    >>> ruling = referee(lambda a: a - 1, lambda a: -1 / a, truth=lambda a: -a.log(), at=[(0.8,), (0.5,)])
    >>> ruling.printed_right, ruling.corrected_right
    (False, True)
    """
    if isinstance(printed, str) and corrected is None and truth is None:
        return _erratum_ruling(find_erratum(printed), pytorch)
    if truth is None:
        raise TypeError(
            'referee cần truth=..., hàm mà hai công thức nói về; hoặc tên một chỗ đính chính: referee("E03")'
        )
    points = at if isinstance(at, list) and all(isinstance(point, tuple) for point in at) and at else [at]
    if of not in ("derivative", "value"):
        raise ValueError(f'of là "derivative" hoặc "value", không phải {of!r}')
    duels = []
    for point in points:
        point = point if isinstance(point, tuple) else (point,)
        question = f"{'Đạo hàm' if of == 'derivative' else 'Giá trị'} tại {', '.join(map(_written, point)) or '·'}"
        duels.append(
            duel(question, printed, corrected, truth=truth, at=point, of=of, tolerance=tolerance, pytorch=pytorch)
        )
    return Ruling("Trọng tài", duels)


def _erratum_ruling(erratum: Erratum, pytorch: bool) -> Ruling:
    title = f"{erratum.id} · {erratum.source}, {erratum.place}"
    case = CASES.get(erratum.id)
    return Ruling(title, case(partial(duel, pytorch=pytorch)) if case else [], erratum=erratum)


def errata_table(*, notebook: int | None = None) -> Sheet:
    """The summary of all mistakes found in the lecture notes, each with what its referee says.

    notebook: only those of one lesson.
    """
    rows = []
    for erratum in errata().values():
        if notebook is not None and erratum.notebook != notebook:
            continue
        ruling = _erratum_ruling(erratum, pytorch=False)
        mark = ("✔" if ruling.corrected_right and not ruling.printed_right else "✘") if ruling.duels else "–"
        where = f"{erratum.source}, {erratum.place}"
        lesson = "" if erratum.notebook is None else f"{erratum.notebook:02d}"
        rows.append(cells(erratum.id, where, erratum.printed, erratum.correct, mark, lesson))
    confirmed = sum(row[4].text == "✔" for row in rows)
    title = f"Đính chính bài giảng: {len(rows)} chỗ, trọng tài xác nhận {confirmed} bằng số (– là sửa bằng một dòng)"
    headers = cells("Số", "Chỗ", PRINTED, CORRECTED, "⚖", "Bài học")
    return Sheet(title, headers, rows, width=34)


def _marked(value: Any, right: bool) -> str:
    return f"{'✔' if right else '✘'} {_written(value)}"


def _written(value: Any) -> str:
    """A value for a cell: six digits, at most eight numbers."""
    if isinstance(value, Failed):
        return f"không tính được: {value.reason}"
    if isinstance(value, bool):
        return "có" if value else "không"
    if isinstance(value, str):
        return value
    value = plain_value(value)
    if not isinstance(value, list):
        return write_number(value, 6)
    sizes = shape(value)
    if sizes is not None and len(sizes) == 2 and len(flat(value)) <= 12:
        return f"[{', '.join(_row(row) for row in value)}]"
    return _row(flat(value))


def _row(numbers: Sequence[float]) -> str:
    written = [write_number(x, 6) for x in numbers[:8]]
    if len(numbers) > 8:
        written.append("…")
    return f"({'; '.join(written)})"
