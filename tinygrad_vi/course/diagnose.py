"""The diagnosis of a wrong answer: first the slips known for the exercise, then general ones, such as a wrong sign.

Every detector compares the answer with a candidate, exactly (to the tolerance of the part) and, when nothing fits
exactly, once more loosely, since a slip may have been computed by hand with three digits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from tinygrad_vi.course.answers import Answer, flat, fold, nested, shape, written_shape
from tinygrad_vi.course.texts import Exercise, Part, Slip

#: how far, relative to the largest number, an answer that was rounded on the way may be off
ROUNDED = 5e-3

#: kind of finding -> its title
TITLES = {
    "right": "Đúng rồi",
    "empty": "Chưa trả lời",
    "missing": "Còn thiếu",
    "unknown": "Không có tên này",
    "type": "Chưa đọc được",
    "shape": "Sai kích thước",
    "not_finite": "Không phải số hữu hạn",
    "overflow": "Tràn số",
    "sign": "Sai dấu",
    "missing_factor": "Thiếu thừa số",
    "extra_factor": "Thừa thừa số",
    "factor": "Lệch một hằng số",
    "sum_not_mean": "Tổng, chưa phải trung bình",
    "mean_not_sum": "Trung bình, chưa phải tổng",
    "local_as_total": "Nhầm đạo hàm theo z với đạo hàm theo a",
    "upstream": "Thiếu gradient phía ra",
    "shared": "Chia nhỏ gradient",
    "path": "Quên cộng dồn",
    "transposed": "Chuyển vị",
    "reversed": "Ngược thứ tự",
    "swapped": "Nhầm chỗ",
    "inverted": "Nghịch đảo",
    "degrees": "Độ hay radian",
    "rounded": "Làm tròn quá sớm",
    "off_by_one": "Lệch một đơn vị",
    "convention": "Quy ước",
    "formula": "Nhầm công thức",
    "entries": "Đúng một phần",
    "wrong": "Chưa đúng",
}


@dataclass(frozen=True)
class Finding:
    """What was found in an answer: a kind, which has a title, the sentence for the student, the erratum behind it."""

    kind: str
    says: str = ""
    erratum: str | None = None

    @property
    def right(self) -> bool:
        """Whether the answer is right."""
        return self.kind == "right"

    @property
    def title(self) -> str:
        """The kind in Vietnamese."""
        return TITLES[self.kind]


RIGHT = Finding("right")

#: (answer, right answer, tolerance) -> what it looks like
Detector = Callable[[list[float], list[float], float], Finding | None]


def diagnose(exercise: Exercise, part: Part, answer: Answer) -> Finding:
    """Whether the answer to a part is right, and if not, which slip it looks like.  Never tells the right answer."""
    slips = [slip for slip in exercise.slips if part.name in slip.parts]
    if isinstance(part.answer, (str, bool)):
        return _word(part, answer, slips)
    if any(isinstance(entry, str) for entry in flat(part.answer)):
        return _words(part, answer, slips)
    if any(isinstance(entry, str) for entry in flat(answer)):
        found = next((slip for slip in slips if _same_entries(answer, slip.answer)), None)
        return _finding(found) if found else Finding("type", "Phần này cần số, không cần chữ.")
    if not all(map(math.isfinite, flat(answer))):
        return _not_finite(answer, slips)
    if part.between is not None:
        return _interval(part, answer, slips)
    return _fitting(part, answer, slips) or _numbers(exercise, part, answer, slips)


# --- Words, shapes, intervals -----------------------------------------------------------------------------------------


def _word(part: Part, answer: Answer, slips: Sequence[Slip]) -> Finding:
    if isinstance(part.answer, bool):
        if not isinstance(answer, bool):
            return Finding("type", "Câu này trả lời bằng True hoặc False.")
        found = next((slip for slip in slips if slip.answer is answer), None)
        return RIGHT if answer is part.answer else _finding(found)
    if not isinstance(answer, str):
        return Finding("type", "Câu này trả lời bằng chữ hoặc ký hiệu, viết trong dấu nháy.")
    if _same_word(answer, part.answer, part.accept):
        return RIGHT
    return _finding(next((slip for slip in slips if _same_word(answer, slip.answer, slip.accept)), None))


def _same_word(answer: str, word: object, also: Sequence[str]) -> bool:
    return isinstance(word, str) and fold(answer) in {fold(known) for known in (word, *also)}


def _words(part: Part, answer: Answer, slips: Sequence[Slip]) -> Finding:
    """Shapes with letters, such as [Da, 1]."""
    if len(flat(answer)) != len(flat(part.answer)):
        finding = _expected_shape(part, answer)
        return replace(finding, says=f"{finding.says} Viết [số hàng, số cột]; chữ cái thì đặt trong dấu nháy.")
    if _same_entries(answer, part.answer):
        return RIGHT
    found = next((slip for slip in slips if _same_entries(answer, slip.answer)), None)
    if found is None and _same_entries(answer, part.answer[::-1]):
        return Finding("transposed", "Hai chiều đổi chỗ cho nhau: xem lại quy ước hàng hay cột.")
    return _finding(found)


def _same_entries(answer: Answer, other: Answer) -> bool:
    return [_folded(x) for x in flat(answer)] == [_folded(x) for x in flat(other)]


def _folded(entry: object) -> object:
    return fold(entry) if isinstance(entry, str) else entry


def _interval(part: Part, answer: Answer, slips: Sequence[Slip]) -> Finding:
    entries = flat(answer)
    if len(entries) != 1:
        return _expected_shape(part, answer)

    def inside(interval: tuple[float, float] | None) -> bool:
        return interval is not None and interval[0] <= entries[0] <= interval[1]

    return RIGHT if inside(part.between) else _finding(next((slip for slip in slips if inside(slip.between)), None))


def _not_finite(answer: Answer, slips: Sequence[Slip]) -> Finding:
    found = next((slip for slip in slips if slip.not_finite), None)
    if found is not None:
        return _finding(found)
    entries = flat(answer)
    places = _places([i for i, x in enumerate(entries) if not math.isfinite(x)], shape(answer) or (len(entries),))
    if any(map(math.isnan, entries)):
        return Finding("not_finite", f"Có NaN (không phải số){places}: thường do 0/0, ∞ − ∞ hay log của số âm.")
    return Finding("not_finite", f"Có số vô hạn{places}: thường do chia cho 0, log(0) hay exp của một số quá lớn.")


def _finding(slip: Slip | None) -> Finding:
    if slip is None:
        return Finding("wrong", "Không giống một nhầm lẫn quen thuộc nào: thử đi lại từng bước.")
    return Finding(slip.kind, slip.says, slip.erratum)


# --- Numbers ----------------------------------------------------------------------------------------------------------


def _fitting(part: Part, answer: Answer, slips: Sequence[Slip]) -> Finding | None:
    """What is wrong with the shape of the answer, if anything."""
    wanted, got = shape(part.answer), shape(answer)
    assert wanted is not None
    if got == wanted:
        return None
    for slip in slips:  # a slip may have another shape: these come first
        if slip.answer is not None and shape(slip.answer) == got != wanted and _same(answer, slip.answer, ROUNDED):
            return _finding(slip)
    if got is not None and len(flat(answer)) == len(flat(part.answer)):
        if len(got) == len(wanted) == 2:
            turned = nested(flat(_transposed(answer)), wanted) if got == wanted[::-1] else None
            if turned is not None and _same(turned, part.answer, part.tolerance):
                sizes = f"kích thước phải là {written_shape(wanted)}, của bạn là {written_shape(got)}"
                return Finding("transposed", f"Các số đều đúng nhưng bảng bị chuyển vị: {sizes}.")
        elif [n for n in got if n != 1] == [n for n in wanted if n != 1]:
            return None  # a row or a column in place of a list
    return _expected_shape(part, answer)


def _expected_shape(part: Part, answer: Answer) -> Finding:
    got = shape(answer)
    says = f"Cần {written_shape(shape(part.answer))}, bạn đưa {written_shape(got)}."
    if got == (2,) and shape(part.answer) == ():
        says += " (Trong Python dấu phẩy ngăn cách hai số: viết 0.5, không viết 0,5.)"
    return Finding("shape", says)


def _numbers(exercise: Exercise, part: Part, answer: Answer, slips: Sequence[Slip]) -> Finding:
    right, got = [float(x) for x in flat(part.answer)], [float(x) for x in flat(answer)]
    if part.any_order:  # by size, so that a wrong sign does not change the order
        right, got = sorted(right, key=_by_size), sorted(got, key=_by_size)
    if _near(got, right, part.tolerance):
        return RIGHT
    detectors = [lambda *numbers: _known(slips, part.any_order, *numbers), *_detectors(exercise, part)]
    found = _first(detectors, got, right, part.tolerance) or _rounded(got, right)
    found = found or _first([*detectors, _any_ratio], got, right, ROUNDED) or _some_entries(part, got, right)
    return found or _finding(None)


def _by_size(x: float) -> tuple[float, float]:
    return abs(x), x


def _first(detectors: Sequence[Detector], got: list[float], right: list[float], tolerance: float) -> Finding | None:
    return next((found for detect in detectors if (found := detect(got, right, tolerance))), None)


def _detectors(exercise: Exercise, part: Part) -> Iterator[Detector]:
    sizes = shape(part.answer) or ()
    yield lambda *numbers: _signs(sizes, *numbers)
    yield lambda got, _, tolerance: _forgotten_terms(part, got, tolerance)
    yield lambda *numbers: _named_factor(exercise, part, *numbers)
    if len(sizes) == 2:
        yield lambda *numbers: _turned(sizes, *numbers)
    yield lambda *numbers: _ratio(exercise.n, *numbers)
    if len(sizes) == 1:
        yield _order


def _largest(right: Sequence[float]) -> float:
    """The size of the largest right entry, which errors are relative to; 1 where all are 0."""
    size = max(map(abs, right), default=0.0)
    return size if size != 0.0 else 1.0


def _near(got: Sequence[float], right: Sequence[float], tolerance: float) -> bool:
    """Whether no entry differs by more than the tolerance, relative to the largest right entry (absolutely at 0)."""
    scale = _largest(right)
    return len(got) == len(right) and all(abs(x - y) <= tolerance * scale for x, y in zip(got, right, strict=True))


def _same(answer: Answer, other: Answer, tolerance: float) -> bool:
    return _near(flat(answer), flat(other), tolerance)


def _known(
    slips: Sequence[Slip], any_order: bool, got: list[float], right: list[float], tolerance: float
) -> Finding | None:
    """The nearest of the exercise's own slips."""
    best, least = None, math.inf
    for slip in slips:
        wrong = [slip.factor * x for x in right] if slip.factor else None
        if slip.answer is not None and not any(isinstance(x, (str, bool)) for x in flat(slip.answer)):
            wrong = [float(x) for x in flat(slip.answer)]
            wrong = sorted(wrong, key=_by_size) if any_order else wrong
        if wrong is None or not _near(got, wrong, max(tolerance, slip.tolerance or 0.0)):
            continue
        distance = max(abs(x - y) for x, y in zip(got, wrong, strict=True))
        if distance < least:
            best, least = slip, distance
    return None if best is None else _finding(best)


def _signs(sizes: tuple[int, ...], got: list[float], right: list[float], tolerance: float) -> Finding | None:
    if not any(right) or not _near([abs(x) for x in got], [abs(y) for y in right], tolerance):
        return None
    wrong = [i for i, (x, y) in enumerate(zip(got, right, strict=True)) if abs(y) > 0 and x * y < 0]
    if not wrong:
        return None
    if len(wrong) == sum(y != 0 for y in right):
        return Finding("sign", "Độ lớn đúng nhưng ngược dấu." if len(right) == 1 else "Mọi số đều ngược dấu.")
    return Finding("sign", f"Độ lớn đều đúng, nhưng sai dấu{_places(wrong, sizes)}.")


def _forgotten_terms(part: Part, got: list[float], tolerance: float) -> Finding | None:
    for alternative in part.terms:
        terms = [flat(term) for term in alternative]
        for count in range(1, len(terms)):
            for chosen in combinations(terms, count):
                if _near(got, [math.fsum(entries) for entries in zip(*chosen, strict=True)], tolerance):
                    says = f"Bạn mới tính {count} trong {len(terms)} đường (hay số hạng) dẫn tới đây."
                    return Finding("path", f"{says} Mỗi đường góp một phần, và các phần được cộng dồn.")
    return None


def _named_factor(
    exercise: Exercise, part: Part, got: list[float], right: list[float], tolerance: float
) -> Finding | None:
    if not any(right):
        return None
    for factor in exercise.factors:
        values = flat(factor.value)
        if (factor.parts and part.name not in factor.parts) or len(values) not in (1, len(right)):
            continue
        values = values * len(right) if len(values) == 1 else values
        if _near([x * v for x, v in zip(got, values, strict=True)], right, tolerance):
            return Finding("missing_factor", f"Thiếu thừa số {factor.name}.")
        if _near(got, [y * v for y, v in zip(right, values, strict=True)], tolerance):
            return Finding("extra_factor", f"Thừa một thừa số {factor.name}.")
    return None


def _turned(sizes: tuple[int, ...], got: list[float], right: list[float], tolerance: float) -> Finding | None:
    if sizes[0] == sizes[1] and _near(flat(_transposed(nested(got, sizes))), right, tolerance):
        return Finding("transposed", "Các số đều đúng nhưng bảng bị chuyển vị: hàng và cột đổi chỗ cho nhau.")
    return None


def _transposed(matrix: Answer) -> Answer:
    return [list(column) for column in zip(*matrix, strict=True)]


#: ratio to the right answer -> kind and sentence; a single number with another ratio counts as no slip
RATIOS = {
    2.0: ("factor", "Gấp đúng 2 lần: thiếu thừa số ½, hoặc thừa một số 2."),
    0.5: ("missing_factor", "Bằng đúng một nửa: thiếu thừa số 2, hoặc thừa một số ½."),
    4.0: ("factor", "Gấp đúng 4 lần: thiếu ¼, hoặc một số 2 bị dùng sai chỗ hai lần."),
    0.25: ("factor", "Bằng đúng một phần tư: một số ½ bị dùng thừa hai lần, hay một số 2 bị quên hai lần."),
    180.0 / math.pi: ("degrees", "Lớn gấp 180/π lần: bạn đang đo góc theo độ. Trong giải tích, góc đo bằng radian."),
    math.pi / 180.0: ("degrees", "Nhỏ đi 180/π lần: bạn đang đo góc theo độ. Trong giải tích, góc đo bằng radian."),
    math.log(10.0): ("factor", "Gấp ln 10 lần: nhầm logarit tự nhiên với logarit cơ số 10."),
    1.0 / math.log(10.0): ("factor", "Nhỏ đi ln 10 lần: nhầm logarit tự nhiên với logarit cơ số 10."),
    **{10.0**k: ("factor", f"Lệch dấu phẩy thập phân {abs(k)} chữ số.") for k in (-3, -2, -1, 1, 2, 3)},
}


def _ratio(n: int | None, got: list[float], right: list[float], tolerance: float) -> Finding | None:
    """A constant ratio that says where it comes from."""
    c = _constant(got, right, tolerance)
    if c is None:
        return None
    also = " Và ngược dấu." if c < 0 else ""
    known = {float(n): ("sum_not_mean", SUM), 1.0 / n: ("mean_not_sum", MEAN)} if n and n > 1 else {}
    for ratio, (kind, says) in (RATIOS | known).items():
        if abs(abs(c) - ratio) <= tolerance * ratio:
            return Finding(kind, says.format(n=n) + also)
    if len(right) == 1 and abs(got[0] * right[0] - 1.0) <= tolerance:
        return Finding("inverted", "Đây là nghịch đảo của số cần tìm.")
    return None


def _any_ratio(got: list[float], right: list[float], tolerance: float) -> Finding | None:
    c = _constant(got, right, tolerance)
    if c is None or sum(y != 0 for y in right) < 2 or abs(abs(c) - 1.0) <= tolerance:
        return None
    times = f"{abs(c):.4g}".replace(".", ",")
    also = " Và ngược dấu." if c < 0 else ""
    return Finding("factor", f"Mọi số đều lệch cùng một hằng số: bằng {times} lần số đúng.{also}")


def _constant(got: list[float], right: list[float], tolerance: float) -> float | None:
    """The c of got = c * right, when there is one."""
    square = math.fsum(y * y for y in right)
    if not square:
        return None
    c = math.fsum(x * y for x, y in zip(got, right, strict=True)) / square
    return c if c and _near(got, [c * y for y in right], tolerance) else None


SUM = "Lớn gấp đúng {n} lần: bạn lấy tổng, đề hỏi trung bình. Thiếu 1/N (N = {n})."
MEAN = "Nhỏ đi đúng {n} lần: bạn lấy trung bình, đề hỏi tổng. Thừa 1/N (N = {n})."


def _order(got: list[float], right: list[float], tolerance: float) -> Finding | None:
    if not _near(sorted(got), sorted(right), tolerance):
        return None
    if _near(got, right[::-1], tolerance) and len(got) > 2:
        return Finding("reversed", "Đúng các số, nhưng ngược thứ tự.")
    scale = tolerance * max(map(abs, right))
    wrong = [i for i, (x, y) in enumerate(zip(got, right, strict=True)) if abs(x - y) > scale]
    return Finding("swapped", f"Đúng các số, nhưng đổi chỗ{_places(wrong, (len(got),))}.")


def _rounded(got: list[float], right: list[float]) -> Finding | None:
    if not _near(got, right, ROUNDED):
        return None
    scale = _largest(right)
    error = max(abs(x - y) for x, y in zip(got, right, strict=True)) / scale
    digits = max(2, math.floor(-math.log10(2 * error)))
    says = f"Đúng khoảng {digits} chữ số đầu, rồi lệch: có lẽ đã làm tròn, ở kết quả hay ở bước trung gian."
    return Finding("rounded", f"{says} Giữ đủ chữ số (hay để máy giữ hộ) đến bước cuối cùng.")


def _some_entries(part: Part, got: list[float], right: list[float]) -> Finding | None:
    scale = ROUNDED * _largest(right)
    wrong = [i for i, (x, y) in enumerate(zip(got, right, strict=True)) if abs(x - y) > scale]
    if not 0 < len(wrong) < len(right):
        return None
    good = len(right) - len(wrong)
    where = (
        "" if part.any_order else _places(wrong, shape(part.answer) or ())
    )  # the entries were sorted: the student's places are unknown
    return Finding("entries", f"Đúng {good}/{len(right)} số. Xem lại{where or ' số còn lại'}.")


def _places(wrong: Sequence[int], sizes: tuple[int, ...]) -> str:
    """Where, counted from 1: " ở số thứ 2, 4", " ở ô (1; 2)"; nothing for a single number."""
    if not sizes or not wrong:
        return ""
    shown = wrong[:6]
    if len(sizes) == 2:
        where = ", ".join(f"({i // sizes[1] + 1}; {i % sizes[1] + 1})" for i in shown)
        noun = "ô (hàng; cột)"
    else:
        where, noun = ", ".join(str(i + 1) for i in shown), "số thứ"
    return f" ở {noun} {where}" + (", …" if len(wrong) > len(shown) else "")
