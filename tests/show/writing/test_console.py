"""Consoles that know only cp1252 or ASCII, and interpreters that know only the standard library."""

import io
import subprocess
import sys
from pathlib import Path

import pytest
from tabulate import tabulate

import tinygrad_vi
from tinygrad_vi import Tape, Value, course, exp, log, show, sin
from tinygrad_vi.course.sheets import Sheet, cells
from tinygrad_vi.show.tapes.table import Table
from tinygrad_vi.show.writing.console import plain
from tinygrad_vi.show.writing.formula import Symbol

ROOT = Path(tinygrad_vi.__file__).resolve().parent.parent


@pytest.fixture
def y():
    x1, x2 = Value(2.0, "x1"), Value(5.0, "số")
    y = log(x1) + x1 * x2 - sin(x2)
    y.backward()
    return y


def printed(thing, encoding, monkeypatch):
    console = io.TextIOWrapper(io.BytesIO(), encoding=encoding, newline="\n")
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", console)
        print(thing)
        print(repr(thing))
        console.flush()
    return console.buffer.getvalue().decode(encoding)


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "cp437", "utf-8"])
def test_whatever_is_made_to_be_printed_can_be_printed(y, encoding, monkeypatch):
    things = [
        *(Tape(y), Tape(y).adjoint(), Tape(y).tangent(), Tape(y).table(), y.derive(next(iter(Tape(y).inputs)))),
        *(show.numerical_error(lambda x: exp(x) * x, 1.0), course.hint("B12", 1), course.statement("B27")),
        *(course.errata_table(), course.check("B04", 1.0), course.referee("E03"), course.progress()),
    ]
    for thing in things:
        text = printed(thing, encoding, monkeypatch)
        assert len(text) > 20
        if encoding == "utf-8":
            assert not text.isascii()


def test_in_plain_letters_a_table_still_lines_up_and_says_the_same(y, monkeypatch):
    text = printed(Tape(y).adjoint(), "ascii", monkeypatch)
    table = text[: len(text) // 2].splitlines()[1:]  # without the title
    assert len({len(line) for line in table}) == 1
    assert {line[0] for line in table} == {"+", "|"}
    assert "v_bar[2]*v[0] + v_bar[1]*(1 / v[-1])" in text
    assert "so_bar" not in text  # a word is no letter with an index
    assert "-0.2837 + 2 = 1.716" in text
    assert "| so " in text


def test_asked_for_by_name_the_text_is_the_same_on_every_console(y, monkeypatch):
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    assert "v̄₂·v₀" in Tape(y).adjoint().table().to_text()
    assert "∂y/∂x1" in y.derive(Tape(y).input("x1")).to_text()


@pytest.mark.parametrize(
    ("text", "plainly"),
    [
        ("x̄1 = v̄₋₁", "x1_bar = v_bar[-1]"),
        ("ẏ + ȳ", "y_dot + y_bar"),
        ("∂y/∂x|₁", "dy/dx|[1]"),
        ("w₂₁⁽¹⁾", "w[21]^(1)"),
        ("đường cong Ă", "duong cong A"),
        ("e\u0302\u0307", "e"),  # the dot belongs to a letter of a language
        ("中", "\\u4e2d"),
    ],
)
def test_plain_letters(text, plainly):
    assert plain(text) == plainly


@pytest.mark.parametrize("form", ["rounded_outline", "pipe", "unsafehtml", "latex_raw"])
def test_tables_are_drawn_as_tabulate_draws_them(y, form):
    sheet = Sheet(
        "words", cells("đầu", "second head"), [cells("một hai ba bốn năm" + " sáu" * 20, "x"), cells("中文", "b")]
    )
    tables = [Tape(y).adjoint().table(), Tape(y).tangent().table(digits=12), sheet]
    texts = {
        "rounded_outline": lambda table, cell: sheet._wrapped(cell).text if table is sheet else cell.text,
        "pipe": lambda table, cell: cell.text.replace("*", "\\*"),
        "unsafehtml": lambda table, cell: cell.text,
        "latex_raw": lambda table, cell: f"${cell.latex}$" if cell.text else "",
    }
    for table in tables:
        rows = [[texts[form](table, cell) for cell in row] for row in (table.headers, *table.rows)]
        judge = tabulate(rows[1:], rows[0], tablefmt=form, disable_numparse=True)
        ours = {
            "rounded_outline": table.to_text,
            "pipe": table.to_markdown,
            "unsafehtml": table.to_html,
            "latex_raw": table.to_latex,
        }[form]()
        ours = ours.replace(' style="text-align: left"', "")
        assert ours.endswith(judge.removeprefix("<table>\n"))


def test_a_table_without_rows_has_its_columns():
    empty = Table("nothing", [Symbol("a"), Symbol("b")], [])
    assert empty.to_text() == "nothing\n╭─────┬─────╮\n│ a   │ b   │\n├─────┼─────┤\n╰─────┴─────╯"
    assert empty.to_latex().startswith("\\begin{tabular}{ll}\n")


def test_trace_and_the_page_need_the_standard_library_only(tmp_path):
    program = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); from tinygrad_vi.__main__ import main; "
        "code = main(['trace', 'log(x1) + x1*x2 - sin(x2)', 'x1=2', 'x2=5', '--hessian', '--html', 'page.html']); "
        "assert not {name.partition('.')[0] for name in sys.modules} & {'numpy', 'tabulate', 'graphviz', 'wcwidth'}; "
        "sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program], cwd=tmp_path, capture_output=True, encoding="utf-8", timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "\nwrote page.html: open it in a browser\n")
    assert "-0.2837 + 2 = 1.716" in done.stdout
    assert "Hessian" in done.stdout
    assert (tmp_path / "page.html").stat().st_size > 50_000
