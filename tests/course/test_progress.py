"""Progress is kept in the student's folder, never elsewhere, and its file never stands in the way."""

import json
import os
from pathlib import Path

import pytest

import tinygrad_vi
from tinygrad_vi.course import check, progress, solved
from tinygrad_vi.course.solved import NAME, VARIABLE, notebooks_folder, progress_file
from tinygrad_vi.course.texts import golden

ROOT = Path(tinygrad_vi.__file__).parent.parent


@pytest.fixture(autouse=True)
def _new_session(monkeypatch):
    monkeypatch.setattr(solved, "_session", {})


@pytest.fixture
def lessons(tmp_path, monkeypatch):
    """A student's folder."""
    (tmp_path / "01_bai.ipynb").write_text("{}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(VARIABLE, raising=False)
    return tmp_path


def passed(folder):
    return json.loads((folder / NAME).read_text(encoding="utf-8"))["passed"]


def row(table, name):
    return next([cell.text for cell in row] for row in table.rows if row[1].text == name)


def test_right_parts_are_kept_beside_the_lessons(lessons):
    assert check("B12", e=6, dea=3).findings["e"].right
    assert passed(lessons) == {"B12": ["e"]}
    check("B12.deb", 5)
    check("B12.dea", 2)
    check("B12.dea", 17)  # what was solved stays solved
    check("B07.v0", golden("B07.v0"))
    assert passed(lessons) == {"B12": ["e", "dea", "deb"], "B07": ["v0"]}
    table = progress()
    assert table.title == "Tiến độ: 1/58 bài đã giải"
    assert row(table, "B12") == ["02", "B12", "Nút dùng hai lần", "3/3", "✔"]
    assert row(table, "B07")[3:] == ["0/1", "…"]  # begun: an optional part
    assert row(table, "B01")[3:] == ["0/6", "–"]
    assert str(progress(lessons)) == str(progress(lessons / NAME)) == str(table)
    assert "✔</span>" in table._repr_html_()


def test_another_session_adds_to_the_file(lessons):
    (lessons / NAME).write_text(
        json.dumps({"format": "tinygrad_vi course progress", "version": 1, "passed": {"B55": ["w"], "B99": ["x"]}})
    )
    check("B55.sau_backward", 1)
    assert passed(lessons)["B55"] == ["w", "sau_backward"]


def test_wrong_answers_write_nothing(lessons):
    check("B12.e", 7)
    check("B99", 7)
    assert not (lessons / NAME).exists()


def test_a_folder_without_lessons_gets_no_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(VARIABLE, raising=False)
    assert progress_file() is None
    check("B12.e", 6)
    assert list(tmp_path.iterdir()) == []
    assert "không có tệp tiến độ" in progress().title
    (tmp_path / NAME).touch()  # she wants one here
    assert progress_file() == tmp_path / NAME


def test_nothing_is_written_into_the_repository(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    before = {path.name for path in (ROOT / "notebooks").iterdir()}
    for folder in (ROOT / "notebooks", ROOT, ROOT / "tests"):
        monkeypatch.chdir(folder)
        assert progress_file() is None
        check("B12.e", 6)
    assert {path.name for path in (ROOT / "notebooks").iterdir()} == before
    assert notebooks_folder() == ROOT / "notebooks"


def test_the_environment_names_another_file_or_none(lessons, tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(tmp_path / "khác.json"))
    check("B12.e", 6)
    assert (tmp_path / "khác.json").exists()
    assert not (lessons / NAME).exists()
    for off in ("off", "", " OFF "):
        monkeypatch.setenv(VARIABLE, off)
        assert progress_file() is None


def test_a_file_that_cannot_be_written_does_not_stop_a_check(lessons, monkeypatch):
    def refuse(*_arguments, **_options):
        raise PermissionError("read-only")

    with monkeypatch.context() as readonly:
        readonly.setattr(os, "replace", refuse)
        assert check("B12.e", 6)
        assert check("B12.dea", 2)
    assert [path.name for path in lessons.iterdir()] == ["01_bai.ipynb"]  # nothing half-written either
    assert row(progress(), "B12")[3] == "2/3"  # this session still knows
    assert f"không ghi được {NAME}" in progress().title
    assert check("B12.deb", 5)
    assert passed(lessons) == {"B12": ["e", "dea", "deb"]}  # as soon as it can be written, nothing is lost
    assert progress().title == "Tiến độ: 1/58 bài đã giải"


def test_the_named_folder_may_not_exist(monkeypatch, tmp_path):
    monkeypatch.setenv(VARIABLE, str(tmp_path / "không có" / NAME))
    assert check("B12.e", 6)
    assert row(progress(), "B12")[3] == "1/3"


@pytest.mark.parametrize(
    "spoiled", ["", "{", "[]", '{"format": "tinygrad_vi course progress", "version": 9}', '{"passed": {}}', "\xff"]
)
def test_a_spoiled_file_is_left_as_it_is(lessons, spoiled):
    (lessons / NAME).write_text(spoiled, encoding="utf-8" if spoiled.isascii() else "latin-1")
    before = (lessons / NAME).read_bytes()
    assert check("B12.e", 6)
    assert (lessons / NAME).read_bytes() == before
    assert f"không đọc được {NAME}" in progress().title


@pytest.mark.parametrize("entry", [7, "e", None, {"e": 1}, ["e", 5, "no such part"], [["e"], {}]])
def test_odd_entries_do_no_harm(lessons, entry):
    content = {"format": "tinygrad_vi course progress", "version": 1, "passed": {"B12": entry}}
    (lessons / NAME).write_text(json.dumps(content))
    assert check("B12.dea", 2)
    assert "dea" in passed(lessons)["B12"]
    assert set(passed(lessons)["B12"]) <= {"e", "dea", "deb"}


def test_the_folder_may_be_gone(tmp_path, monkeypatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    monkeypatch.delenv(VARIABLE, raising=False)
    gone.rmdir()
    assert check("B12.e", 6)
    assert "B12" in str(progress())
