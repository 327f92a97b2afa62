"""What a student gave as an answer, as numbers, words and lists of them, however it was written."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from fractions import Fraction
from itertools import islice
from typing import Any

from tinygrad_vi.checks import plain
from tinygrad_vi.value import Value

#: a number, a word, a yes or no, or lists of them
Answer = Any

MOST = 10_000  # entries of a list: far more than any exercise asks for

YES = {"true", "co", "dung", "yes"}
NO = {"false", "khong", "sai", "no"}


class Unreadable(Exception):
    """An answer that cannot be read; the message says in Vietnamese what to do."""


def read(given: Any, golden: Answer) -> Answer:
    """The answer as nested lists of floats, bools and strings; ``golden`` tells what is expected of a string.

    Takes numbers of any kind, Values, lists, tuples, arrays, tensors and ranges.  A string may be a number with a
    decimal comma.  Raises Unreadable.

    >>> read("0,5", 1.0), read((1, Value(2.0)), [0, 0]), read("có", True)
    (0.5, [1.0, 2.0], True)
    """
    if isinstance(given, Value):
        return given.data
    given = given.detach() if hasattr(given, "detach") else given  # a tensor
    given = given.to_numpy() if hasattr(given, "to_numpy") else given  # a table
    given = plain(given)
    if given is None or given is ...:
        raise Unreadable("còn chỗ trống (None): điền nốt rồi kiểm tra lại")
    if isinstance(given, str):
        return _from_text(given, golden)
    if isinstance(given, bool):
        return given if isinstance(golden, (bool, str)) else float(given)
    if isinstance(given, Iterable) and not isinstance(given, (dict, set, frozenset, bytes)):
        inner = golden if isinstance(golden, list) else []
        entries = list(islice(given, MOST + 1))
        if len(entries) > MOST:
            raise Unreadable(f"danh sách dài hơn {MOST} phần tử: có lẽ bạn đưa nhầm biến")
        if len(inner) != len(entries):
            inner = [_first(golden)] * len(entries)
        return [_entry(entry, expected) for entry, expected in zip(entries, inner, strict=True)]
    number = _number(given)
    return bool(number) if isinstance(golden, bool) and number in (0.0, 1.0) else number


def _entry(given: Any, golden: Answer) -> Answer:
    """An entry of a list; in a shape such as ["Da", 1] it is a number or a letter."""
    try:
        return read(given, 0.0 if isinstance(golden, str) and not _is_word(given) else golden)
    except Unreadable:
        if _is_word(given):
            return given
        raise


def _is_word(given: Any) -> bool:
    return isinstance(given, str) and not re.fullmatch(r"\s*\d+\s*", given)


def _first(golden: Answer) -> Answer:
    while isinstance(golden, list) and golden:
        golden = golden[0]
    return golden


def _number(given: Any) -> float:
    try:
        if not isinstance(given, complex):
            return float(given)
    except (TypeError, ValueError, OverflowError):
        pass
    raise Unreadable(
        f"chưa đọc được câu trả lời kiểu {type(given).__name__}: hãy đưa một số, một danh sách hay một mảng"
    )


def _from_text(text: str, golden: Answer) -> Answer:
    if isinstance(golden, bool):
        if fold(text) in YES | NO:
            return fold(text) in YES
        raise Unreadable("câu này trả lời bằng True hoặc False (hoặc “có”, “không”)")
    if isinstance(golden, str):
        return text
    if isinstance(golden, list):
        entries = [part for part in re.split(r"\s*;\s*|,\s+|\s+", text.strip().strip("()[]")) if part]
        return [_from_text(entry, _first(golden)) for entry in entries]
    written = text.strip().replace("−", "-").replace("–", "-")
    if re.fullmatch(r"[-+]?\d*,\d+", written):  # 0,5: the decimal comma of Vietnamese
        written = written.replace(",", ".")
    try:
        return float(Fraction(written)) if "/" in written else float(written)
    except (ValueError, ZeroDivisionError, OverflowError):
        shown = text if len(text) <= 30 else text[:29] + "…"
        raise Unreadable(f"chưa đọc được “{shown}” thành một số: viết 0.5 hoặc “0,5”, không có đơn vị") from None


def fold(text: str) -> str:
    """A word without accents, blanks and capitals: words that are equal so count as the same answer.

    >>> fold("Điểm yên ngựa") == fold("diem  yen ngua")
    True
    """
    decomposed = unicodedata.normalize("NFKD", text.replace("−", "-").replace("–", "-").casefold())
    return re.sub(r"[\s_]", "", decomposed.replace("đ", "d").translate(_NO_MARKS))


_NO_MARKS = dict.fromkeys(range(768, 880))


def shape(answer: Answer) -> tuple[int, ...] | None:
    """The lengths of nested lists, () for one number; None for lists of unequal lengths.

    >>> shape([[1, 2, 3], [4, 5, 6]]), shape(1.0), shape([[1], [2, 3]])
    ((2, 3), (), None)
    """
    if not isinstance(answer, list):
        return ()
    inner = {shape(entry) for entry in answer}
    if len(inner) > 1 or None in inner:
        return None
    [rest] = inner or {()}
    assert rest is not None
    return (len(answer), *rest)


def flat(answer: Answer) -> list[Any]:
    """The entries of nested lists, in order."""
    return [x for entry in answer for x in flat(entry)] if isinstance(answer, list) else [answer]


def nested(entries: Sequence[Any], like: tuple[int, ...]) -> Answer:
    """The entries in lists of such lengths.

    >>> nested([1, 2, 3, 4], (2, 2))
    [[1, 2], [3, 4]]
    """
    if not like:
        return entries[0]
    size = len(entries) // like[0] if like[0] else 0
    return [nested(entries[i * size : (i + 1) * size], like[1:]) for i in range(like[0])]


def written_shape(lengths: tuple[int, ...] | None) -> str:
    """2×3, "3 số", "một số"."""
    if lengths is None:
        return "các hàng dài ngắn khác nhau"
    if not lengths:
        return "một số"
    return f"{lengths[0]} số" if len(lengths) == 1 else "×".join(map(str, lengths))
