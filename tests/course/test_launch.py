"""The launcher: lessons are copied into the student's folder, her work is never lost, JupyterLab opens there."""

import argparse
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import tinygrad_vi
from tinygrad_vi.course import course, launch, solved
from tinygrad_vi.course.launch import MANIFEST, add_course_command, copy_lessons, lesson_titles
from tinygrad_vi.course.solved import NAME

PACKAGE = Path(tinygrad_vi.__file__).parent
LESSON = "01_dao_ham_va_do_thi_tinh_toan.ipynb"


@pytest.fixture(autouse=True)
def _new_session(monkeypatch):
    monkeypatch.setattr(solved, "_session", {})


@pytest.fixture
def source(tmp_path, monkeypatch):
    """Small lessons in place of the real ones, to change at will."""
    folder = tmp_path / "source"
    (folder / "pictures").mkdir(parents=True)
    (folder / "01_bài.ipynb").write_text("one")
    (folder / "02_bai.ipynb").write_text("two")
    (folder / "pictures" / "a.png").write_bytes(b"\x89PNG")
    (folder / ".ipynb_checkpoints").mkdir()
    (folder / ".ipynb_checkpoints" / "01.ipynb").write_text("no lesson")
    monkeypatch.setattr(launch, "notebooks_folder", lambda: folder)
    return folder


@pytest.fixture
def hers(tmp_path):
    return tmp_path / "bài học của em"


def files(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.usefixtures("source")
def test_the_lessons_and_pictures_are_copied(hers, capsys):
    assert course(hers, open_browser=False) == hers
    assert files(hers) == {"01_bài.ipynb", "02_bai.ipynb", "pictures/a.png", MANIFEST, NAME}
    assert (hers / "01_bài.ipynb").read_text() == "one"
    out = capsys.readouterr().out
    assert "3 tệp được chép vào" in out
    assert "python -m jupyterlab" in out


@pytest.mark.usefixtures("source")
def test_again_nothing_happens(hers):
    copy_lessons(hers)
    before = {name: (hers / name).read_bytes() for name in files(hers)}
    assert copy_lessons(hers) == [f"Bài học trong {hers} đã là bản mới nhất"]
    assert {name: (hers / name).read_bytes() for name in files(hers)} == before


def test_her_work_is_kept_and_a_newer_version_lies_beside(source, hers):
    copy_lessons(hers)
    (hers / "01_bài.ipynb").write_text("her work")
    (hers / "ghi_chu.txt").write_text("her notes")
    assert copy_lessons(hers)[1:] == ["01_bài.ipynb: giữ bản của bạn"]
    (source / "01_bài.ipynb").write_text("one, better")
    (source / "02_bai.ipynb").write_text("two, better")
    assert copy_lessons(hers) == [
        f"1 tệp được chép vào {hers}",
        "01_bài.ipynb: giữ bản của bạn; bản mới ở 01_bài_ban_moi.ipynb",
    ]
    assert (hers / "01_bài.ipynb").read_text() == "her work"
    assert (hers / "01_bài_ban_moi.ipynb").read_text() == "one, better"
    assert (hers / "02_bai.ipynb").read_text() == "two, better"  # she had not touched it
    assert (hers / "ghi_chu.txt").read_text() == "her notes"
    assert copy_lessons(hers)[1:] == ["01_bài.ipynb: giữ bản của bạn"]
    (hers / "01_bài_ban_moi.ipynb").write_text("her work on the better one")
    (source / "01_bài.ipynb").write_text("one, best")
    copy_lessons(hers)
    assert (hers / "01_bài_ban_moi.ipynb").read_text() == "her work on the better one"
    assert (hers / "01_bài_ban_moi_2.ipynb").read_text() == "one, best"


@pytest.mark.usefixtures("source")
def test_without_the_record_of_copies_every_file_counts_as_hers(hers):
    copy_lessons(hers)
    (hers / "01_bài.ipynb").write_text("her work")
    for spoil in (lambda file: file.unlink(), lambda file: file.write_text("{")):
        spoil(hers / MANIFEST)
        copy_lessons(hers)
        assert (hers / "01_bài.ipynb").read_text() == "her work"
        assert (hers / "01_bài_ban_moi.ipynb").read_text() == "one"
    assert sum("ban_moi" in name for name in files(hers)) == 1


@pytest.mark.usefixtures("source")
def test_a_lesson_she_deleted_comes_back(hers):
    copy_lessons(hers)
    (hers / "02_bai.ipynb").unlink()
    copy_lessons(hers)
    assert (hers / "02_bai.ipynb").read_text() == "two"


def test_what_cannot_be_the_folder(source, tmp_path, monkeypatch):
    file = tmp_path / "tệp"
    file.write_text("a file")
    with pytest.raises(ValueError, match="là một tệp"):
        course(file, open_browser=False)
    with pytest.raises(ValueError, match="thư mục gốc"):
        course(source, open_browser=False)
    assert files(source) == {"01_bài.ipynb", "02_bai.ipynb", "pictures/a.png", ".ipynb_checkpoints/01.ipynb"}
    monkeypatch.setattr(launch, "notebooks_folder", lambda: None)
    with pytest.raises(FileNotFoundError, match="không tìm thấy bài học"):
        course(tmp_path / "x", open_browser=False)
    assert not (tmp_path / "x").exists()


@pytest.mark.usefixtures("source")
def test_jupyterlab_is_started_in_the_folder(hers, tmp_path, monkeypatch):
    fake = tmp_path / "site" / "jupyterlab"
    fake.mkdir(parents=True)
    (fake / "__init__.py").touch()
    (fake / "__main__.py").write_text(
        "import os, pathlib, tinygrad_vi\n"
        "pathlib.Path('started').write_text(os.getcwd() + '\\n' + tinygrad_vi.__file__)\n"
    )
    monkeypatch.syspath_prepend(str(fake.parent))
    monkeypatch.setenv("PYTHONPATH", str(fake.parent))
    course(hers)
    where, package = (hers / "started").read_text().splitlines()
    assert Path(where) == hers.resolve()
    assert Path(package).resolve() == Path(tinygrad_vi.__file__).resolve()


@pytest.mark.usefixtures("source")
def test_without_jupyterlab_it_says_what_to_install(hers, monkeypatch):
    monkeypatch.setattr(launch, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match="pip install jupyterlab ipykernel"):
        course(hers)
    assert (hers / "01_bài.ipynb").exists()  # the lessons are there all the same


def test_the_real_lessons_have_titles():
    titles = lesson_titles()
    assert titles[LESSON] == "Bài 1 · Đạo hàm, sai phân và đồ thị tính toán đầu tiên"
    assert list(titles) == sorted(titles)


@pytest.mark.parametrize("content", ["", "{}", '{"cells": 3}', '{"cells": [{"cell_type": "markdown", "source": []}]}'])
def test_a_lesson_without_a_heading_is_called_by_its_file(source, content):
    (source / "01_bài.ipynb").write_text(content)
    assert lesson_titles()["01_bài.ipynb"] == "01_bài"


def test_an_installed_package_brings_its_lessons(tmp_path):
    site = tmp_path / "site" / "tinygrad_vi"
    shutil.copytree(PACKAGE, site, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(PACKAGE.parent / "notebooks", site / "course" / "notebooks")
    code = "from tinygrad_vi.course import course; course('em', open_browser=False)"
    environment = {**os.environ, "PYTHONPATH": str(site.parent), "PYTHONIOENCODING": "utf-8"}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True, timeout=600)
    assert (tmp_path / "em" / LESSON).read_bytes() == (PACKAGE.parent / "notebooks" / LESSON).read_bytes()
    assert (tmp_path / "em" / "pictures").is_dir()


# --- the command ------------------------------------------------------------------------------------------------------


def run(*arguments):
    parser = argparse.ArgumentParser()
    add_course_command(parser.add_subparsers(dest="command"))
    options = parser.parse_args(["course", *map(str, arguments)])
    options.run(options)


@pytest.mark.usefixtures("source")
def test_the_command_copies_lists_and_reports(hers, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    run(hers, "--no-open")
    assert (hers / "02_bai.ipynb").exists()
    capsys.readouterr()
    run("--list")
    assert capsys.readouterr().out.splitlines() == ["01_bài.ipynb: 01_bài", "02_bai.ipynb: 02_bai"]
    run(hers, "--progress")
    assert "Tiến độ: 0/58" in capsys.readouterr().out
    run("--progress")  # of the folder she stands in
    assert "Tiến độ: 0/58" in capsys.readouterr().out
    with pytest.raises(FileNotFoundError, match="chưa có tệp tiến độ"):
        run(tmp_path / "elsewhere", "--progress")
    run("--no-open")
    assert (tmp_path / launch.DEFAULT_FOLDER / "02_bai.ipynb").exists()


def test_importing_the_course_loads_the_standard_library_only():
    program = f"import sys; sys.path.insert(0, {str(PACKAGE.parent)!r}); {{}}; print(*sys.modules)"
    found = [
        set(subprocess.run([sys.executable, "-I", "-S", "-c", program.format(code)], check=True, capture_output=True,
                           text=True).stdout.split())
        for code in ("import tinygrad_vi.course", "pass")
    ]  # fmt: skip
    names = {name.partition(".")[0] for name in found[0] - found[1]}
    assert names - sys.stdlib_module_names == {"tinygrad_vi"}
    assert importlib.util.find_spec("tinygrad_vi.course") is not None
