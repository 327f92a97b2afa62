"""The data files: complete, well formed, in good Vietnamese, and never giving an answer away."""

import json
import re
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from course.glossary import FORBIDDEN, violations

from tinygrad_vi.course import diagnose
from tinygrad_vi.course.texts import FOLDER, UnknownName, errata, exercises, find, find_erratum, golden, sources

IDS = [f"B{n:02d}" for n in range(1, 56)] + ["B02b", "B35n", "B37k"]
EXERCISES = list(exercises().values())
by_id = pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.id)


def numbers(answer):
    """The numbers of an answer that carry information: no booleans, no words."""
    return [x for x in np.ravel(np.array(answer, object)) if isinstance(x, (int, float)) and not isinstance(x, bool)]


def texts(exercise):
    yield from (exercise.title, exercise.statement, *exercise.hints)
    yield from (part.means for part in exercise.parts.values())
    yield from (slip.says for slip in exercise.slips)
    yield from (factor.name for factor in exercise.factors)


def test_every_exercise_is_there():
    assert set(exercises()) == set(IDS)


def test_every_erratum_is_there():
    assert list(errata()) == [f"E{n:02d}" for n in range(1, 77)]


@pytest.mark.parametrize("name", ["exercises.json", "errata.json"])
def test_the_files_are_readable_utf8_in_composed_form(name):
    text = (FOLDER / name).read_text(encoding="utf-8")
    assert unicodedata.is_normalized("NFC", text)
    assert "\\u" not in text  # letters as they are read
    assert max(map(len, text.splitlines())) < 800
    assert text.endswith("}\n")
    keys = re.findall(r'^    "([BE]\d\d\w?)": ', text, re.MULTILINE)
    assert len(keys) == len(set(keys)) == len(json.loads(text)[name.removesuffix(".json")])


@by_id
def test_an_exercise_has_what_it_needs(exercise):
    assert 1 <= exercise.notebook <= 10
    assert exercise.source.startswith(("S0", "S1", "S2", "S3", "S4", "Khóa học"))
    assert exercise.required
    assert len(exercise.hints) == len(set(exercise.hints)) == 3
    for part in exercise.parts.values():
        assert re.fullmatch(r"[A-Za-z]\w*", part.name)
        assert part.name.isascii()
        assert part.means
    assert len({part.name.casefold() for part in exercise.parts.values()}) == len(exercise.parts)
    for slip in exercise.slips:
        assert set(slip.parts) <= set(exercise.parts)
        assert slip.kind in diagnose.TITLES
        assert slip.kind not in ("right", "empty", "unknown", "missing", "wrong")
        assert slip.says
        if slip.erratum:
            assert find_erratum(slip.erratum)
    for factor in exercise.factors:
        assert set(factor.parts) <= set(exercise.parts)


@by_id
def test_terms_add_up_to_the_answer(exercise):
    for part in exercise.parts.values():
        for terms in part.terms:
            assert np.sum(np.array(terms, float), axis=0) == pytest.approx(np.array(part.answer, float), rel=1e-12)


@by_id
def test_a_hint_does_not_contain_an_answer(exercise):
    hints = " ".join(exercise.hints).replace("−", "-")
    for part in exercise.parts.values():
        for x in numbers(part.answer):
            written = f"{x:.3g}"
            if len(re.sub(r"[-.0]", "", written)) >= 2:  # 0.196, 31
                assert written not in hints, (exercise.id, part.name)
                assert written.replace(".", ",") not in hints, (exercise.id, part.name)
        if isinstance(part.answer, str):
            assert f"là {part.answer}" not in hints


@by_id
def test_what_is_said_of_a_slip_does_not_contain_the_answer(exercise):
    for slip in exercise.slips:
        says = slip.says.replace("−", "-").replace(",", ".")
        for name in slip.parts:
            for x in numbers(exercise.parts[name].answer):
                if len(re.sub(r"[-.0]", "", f"{x:.3g}")) >= 2:
                    assert not re.search(rf"(?<![\w.]){re.escape(f'{x:.3g}')}", says), (exercise.id, slip)


@by_id
def test_the_words_are_those_of_the_glossary(exercise):
    for text in texts(exercise):
        assert violations(text) == []


@pytest.mark.parametrize("erratum", errata().values(), ids=lambda erratum: erratum.id)
def test_an_erratum_has_what_it_needs(erratum):
    assert erratum.kind == ("M" if int(erratum.id[1:]) <= 49 else "S" if int(erratum.id[1:]) <= 69 else "L")
    assert erratum.decided in ("number", "line")
    assert erratum.notebook is None or 1 <= erratum.notebook <= 10
    assert {name.strip() for name in erratum.source.split(",")} <= set(sources())
    for text in (erratum.place, erratum.printed, erratum.correct, erratum.why):
        assert text
    for text in (erratum.place, erratum.correct, erratum.why):  # what is printed is quoted
        assert violations(text) == []


def test_the_glossary_finds_every_form_it_forbids():
    for text in (
        "lớp ẩn", "Độ lệch", "phụ trợ", "cơ chế lan truyền", "quy tắc dây chuyền", "lan truyền tiến", "chế độ thuận",
        "hàm lỗi", "tổng trọng số", "vectơ", "giá trị riêng", "tham số điều chỉnh", "biến mất gradient", "nơron",
        "de\u0323 lan truye\u0302\u0300n thua\u0302\u0323n",
    ):  # fmt: skip
        assert violations(text), text
    for text in (
        "độ lệch chuẩn",
        "lan truyền xuôi",
        "phân loại đa lớp",
        "“lớp ẩn”",
        "tổng có trọng số",
        "lỗi chính tả",
    ):
        assert violations(text) == []
    assert all(re.compile(pattern) for pattern in FORBIDDEN)


def test_every_answer_is_compared_with_a_computed_one():
    here = Path(__file__).parent.parent
    tests = "".join((here / name).read_text("utf-8") for name in ("test_exercises.py", "test_exercises_networks.py"))
    for exercise in EXERCISES:
        for name in exercise.parts:
            full = f"{exercise.id}.{name}"
            numbered = re.sub(r"\d+$", "{", full)  # f"B42.dW{number}"
            assert f'"{full}"' in tests or f'f"{numbered}' in tests, full


def test_names_are_found_however_they_are_written():
    assert find("b4")[0].id == find(" B04 ")[0].id == find("4")[0].id == "B04"
    assert find("b35N.GX")[1].name == "gx"
    assert find_erratum("e3").id == "E03"
    assert golden("B12.e") == 6


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("B56", "không có bài “B56”"),
        ("", "không có bài"),
        ("B01.dfdw", "bài B01 không có phần “dfdw”; gần nhất là .*dfdx"),
        ("B01.", "bài B01 không có phần “”; có các tên dfdq, dqdx"),
    ],
)
def test_what_is_unknown_is_said_with_its_neighbours(name, message):
    with pytest.raises(UnknownName, match=message):
        find(name)
    with pytest.raises(UnknownName, match="không có chỗ đính chính “E77”; gần nhất là"):
        find_erratum("E77")
    with pytest.raises(UnknownName, match="có nhiều phần"):
        golden("B01")
