"""What is printed, where: terminals of every width (a real one, by `pty`), files, consoles without v̄, telephones."""

import io
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import pytest
from tabulate import tabulate

from tinygrad_vi import Tape, Value, course, exp, fit, language, log, set_language, sin, tanh, terminal
from tinygrad_vi.course.sheets import Sheet, cells
from tinygrad_vi.show.tapes.table import Table
from tinygrad_vi.show.writing.formula import Symbol
from tinygrad_vi.show.writing.tex_width import ARTICLE, tex_width

wcwidth = pytest.importorskip("wcwidth", reason="tabulate[widechars] brings it")

BOOK = ["trace", "log(x1) + x1*x2 - sin(x2)", "x1=2", "x2=5"]
TRAINING = """
from tinygrad_vi import Value, fit
w = Value(0.0, "w")
fit(lambda x, t: (w * x - t) ** 2, [1.0, 2.0], [3.0, 6.0], params=[w], epochs=3, {options})
"""


@pytest.fixture(autouse=True)
def _english():
    yield
    set_language("en")


@pytest.fixture
def tape():
    x1, x2 = Value(2.0, "x1"), Value(5.0, "x2")
    return Tape(log(x1) + x1 * x2 - sin(x2), inputs=[x1, x2])


@pytest.fixture
def long_tape():
    a, b = Value(0.7, "a"), Value(-1.3, "số_giờ")
    return Tape(exp(tanh(a * b + a) * b) / (a**2.0 + 1.0) + a * b * 0.123456 - log(a) * a)


def environment(**changes):
    kept = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "NO_COLOR", "PYTHONIOENCODING", "PYTHONUTF8")}
    return {**kept, "TERM": "xterm-256color", **changes}


def on_terminal(*arguments, columns=80, **changes):
    """What a program shows on a terminal of so many columns, and its exit code."""
    pty = pytest.importorskip("pty", reason="there are no pseudo-terminals on Windows")
    from fcntl import ioctl
    from struct import pack
    from termios import TIOCSWINSZ

    ours, its = pty.openpty()
    ioctl(its, TIOCSWINSZ, pack("HHHH", 24, columns, 0, 0))
    command = [sys.executable, *arguments]
    with subprocess.Popen(command, stdin=its, stdout=its, stderr=its, env=environment(**changes)) as program:
        os.close(its)
        pieces = []
        while True:
            try:
                piece = os.read(ours, 65536)
            except OSError:  # Linux says so when the program is gone
                break
            if not piece:
                break
            pieces.append(piece)
        code = program.wait(timeout=100)
    os.close(ours)
    return b"".join(pieces).decode("utf-8").replace("\r\n", "\n"), code


def in_a_pipe(*arguments, **changes):
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, encoding="utf-8", env=environment(**changes), timeout=100
    )


def boxes(text):
    """The tables in a text: their rows of cells, as lines."""
    found = []
    for line in text.splitlines():
        if line.startswith("╭"):
            found.append([])
        elif line.startswith("│"):
            found[-1].append([cell.strip() for cell in line.strip("│").split("│")])
    return found


# --- Progress bars ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "at_a_terminal", "in_a_file"),
    [
        ("", True, False),
        ("progress=None", True, False),
        ("progress=True", True, True),
        ("progress=False", False, False),
    ],
)
def test_a_bar_shows_where_somebody_sees_it_and_where_it_is_asked_for(options, at_a_terminal, in_a_file):
    pytest.importorskip("tqdm", reason="the package that draws bars")
    program = TRAINING.format(options=options)
    shown, code = on_terminal("-c", program)
    assert (code, "epoch 3/3: 100%" in shown) == (0, at_a_terminal)
    done = in_a_pipe("-c", program)
    assert (done.returncode, "epoch 3/3: 100%" in done.stderr, done.stdout) == (0, in_a_file, "")
    assert in_a_file or done.stderr == ""


def test_a_bar_shows_in_a_notebook_though_its_streams_are_no_terminals(monkeypatch, capsys):
    pytest.importorskip("tqdm", reason="the package that draws bars")
    w = Value(0.0, "w")

    def shown():
        fit(lambda x: (w - x) ** 2, [1.0], params=[w], epochs=2)
        return capsys.readouterr().err

    assert shown() == ""
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: SimpleNamespace(kernel=1)))
    assert "epoch 2/2: 100%" in shown()
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: SimpleNamespace()))
    assert shown() == ""  # IPython in a pipe


@pytest.mark.parametrize("stream", [None, io.StringIO(), object()])
def test_what_has_replaced_the_streams_is_no_terminal(stream, monkeypatch):
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(sys, "stdout", stream)
    assert not terminal.is_watched()
    assert terminal.terminal_width() is None
    closed = io.StringIO()
    closed.close()
    assert not terminal.is_terminal(closed)


# --- The command ------------------------------------------------------------------------------------------------------


def test_without_a_command_it_prints_the_help_and_all_is_well():
    bare, asked = in_a_pipe("-m", "tinygrad_vi"), in_a_pipe("-m", "tinygrad_vi", "--help")
    assert (bare.returncode, bare.stdout, bare.stderr) == (0, asked.stdout, "")
    assert all(command in bare.stdout for command in ("trace", "demo", "course"))


@pytest.mark.parametrize("arguments", [[], ["--version"], BOOK, ["course", "--list"], ["trace", "log(x)", "x=-1"]])
@pytest.mark.parametrize("changes", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_no_escape_codes_where_they_are_not_wanted(arguments, changes):
    shown, _ = on_terminal("-m", "tinygrad_vi", *arguments, **changes)
    assert len(shown) > 10
    assert "\x1b" not in shown
    assert "\x1b" not in in_a_pipe("-m", "tinygrad_vi", *arguments).stdout


CONSOLES = [{"PYTHONIOENCODING": name} for name in ("ascii", "cp1252", "cp1258", "cp437", "ascii:strict")]
CONSOLES += [
    {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
    {"LC_ALL": "C"},
    {"LANG": "C", "LC_ALL": ""},
]


@pytest.mark.parametrize("changes", CONSOLES, ids=str)
def test_a_terminal_that_has_only_some_letters_gets_a_table_in_those(changes):
    shown, code = on_terminal("-m", "tinygrad_vi", *BOOK, "--language", "vi", **changes)
    assert code == 0
    if "UTF" in shown or "╭" in shown:  # Python takes UTF-8 for the locale C, unless told not to
        assert set(changes) <= {"LC_ALL", "LANG"}
    else:
        assert shown.isascii()
        assert "v_bar[4]" in shown
        assert "| cong thuc" in shown
        assert "\\u" not in shown
        assert max(map(len, shown.splitlines())) <= 80


@pytest.mark.parametrize("arguments", [["course", "--list"], ["trace", "số * 2", "số=3"], ["trace", "số", "x=1"]])
@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "cp1258"])
def test_words_of_vietnamese_print_on_every_console(arguments, encoding):
    done = subprocess.run(
        [sys.executable, "-m", "tinygrad_vi", *arguments],
        capture_output=True,
        env=environment(PYTHONIOENCODING=encoding),
        timeout=100,
    )
    shown = (done.stdout + done.stderr).decode(encoding)
    assert "Traceback" not in shown
    assert "\\u" not in shown
    assert done.returncode == (2 if arguments[-1] == "x=1" else 0)


def test_files_and_pipes_get_what_they_always_got(tape):
    done = in_a_pipe("-m", "tinygrad_vi", *BOOK, COLUMNS="40")
    assert str(tape.tangent()) + "\n\n" + str(tape.adjoint()) in done.stdout
    assert max(map(wcwidth.wcswidth, done.stdout.splitlines())) == 105
    narrow = in_a_pipe("-m", "tinygrad_vi", *BOOK, "--width", "80").stdout
    assert max(map(wcwidth.wcswidth, narrow.splitlines())) <= 80
    assert "--width" in in_a_pipe("-m", "tinygrad_vi", "trace", "--help").stdout


def test_the_language_of_the_tables_is_that_of_the_option_or_the_environment():
    by_option = in_a_pipe("-m", "tinygrad_vi", *BOOK, "--language", "vi").stdout
    by_environment = in_a_pipe("-m", "tinygrad_vi", *BOOK, TINYGRAD_VI_LANGUAGE="vi").stdout
    assert by_option == by_environment
    assert "Chế độ tiến" in by_option
    assert "chain rule" not in by_option
    both = in_a_pipe("-m", "tinygrad_vi", *BOOK, "--language", "en", TINYGRAD_VI_LANGUAGE="vi").stdout
    assert both == in_a_pipe("-m", "tinygrad_vi", *BOOK).stdout
    wrong = in_a_pipe("-m", "tinygrad_vi", *BOOK, TINYGRAD_VI_LANGUAGE="fr")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr == "tinygrad_vi trace: TINYGRAD_VI_LANGUAGE must be one of en, vi, got 'fr'\n"


# --- Tables of a width ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [80, 60, 200])
@pytest.mark.parametrize("spoken", ["en", "vi"])
def test_at_a_terminal_the_tables_fit_it(columns, spoken, tape):
    shown, code = on_terminal("-m", "tinygrad_vi", *BOOK, "--language", spoken, columns=columns)
    assert code == 0
    assert max(map(wcwidth.wcswidth, shown.splitlines())) <= columns
    assert len(boxes(shown)) == (3 if columns == 200 else 5)
    with language(spoken):
        expected = [t.table().to_text(width=columns) for t in (tape.tangent(), tape.adjoint())]
    assert "\n\n".join(expected) in shown
    program = f"from tinygrad_vi import *; x = Value(2.0, 'x1'); y = x * sin(x) + exp(x); set_language({spoken!r}); "
    shown, _ = on_terminal("-c", program + "print(Tape(y).adjoint()); print([Tape(y)][0])", columns=columns)
    assert max(map(wcwidth.wcswidth, shown.splitlines())) <= columns


@pytest.mark.parametrize("mode", ["tangent", "adjoint"])
@pytest.mark.parametrize("spoken", ["en", "vi"])
def test_the_halves_are_stacked_as_tabulate_draws_them(tape, mode, spoken):
    with language(spoken):
        table = getattr(tape, mode)().table()
    title, *lines = table.to_text(width=80).splitlines()
    assert title == (table.stacked_title or table.title)
    rows = [[cell.text for cell in row] for row in (table.headers, *table.rows)]
    for places in (slice(0, table.half), slice(table.half, None)):
        part = [row[places] for row in rows]
        judge = tabulate(part[1:], part[0], tablefmt="rounded_outline", disable_numparse=True).splitlines()
        assert lines[: len(judge)] == judge
        del lines[: len(judge)]
    assert lines == []
    assert table.to_text(width=200) == table.to_text()


def test_the_stacked_reverse_table_says_which_half_is_read_upwards(tape):
    table = tape.adjoint().table()
    assert table.to_text().startswith("Reverse mode (read the right half from the bottom up)\n")
    assert table.to_text(width=80).startswith("Reverse mode (read the lower half from the bottom up)\n")


@pytest.mark.parametrize("width", [120, 100, 80, 60, 45, 30])
@pytest.mark.parametrize("mode", ["tangent", "adjoint"])
@pytest.mark.parametrize("spoken", ["en", "vi"])
def test_no_width_loses_a_word_or_breaks_a_number(long_tape, width, mode, spoken):
    with language(spoken):
        table = getattr(long_tape, mode)().table()
    text = table.to_text(width=width)
    words = Counter(word for row in (table.headers, *table.rows) for cell in row for word in cell.text.split())
    shown = Counter(word for box in boxes(text) for line in box for cell in line for word in cell.split())
    assert set(shown) == set(words)
    assert all(shown[word] >= n for word, n in words.items())
    longest = max(wcwidth.wcswidth(word) for word in words)
    # two columns at least are shown: the first, which names the rows, and another; and heads have some air
    assert max(map(wcwidth.wcswidth, text.splitlines())) <= max(width, 2 * longest + 11)
    for box in boxes(text):
        assert len({len(line) for line in box}) == 1


def test_many_columns_are_shown_some_at_a_time_each_time_with_the_first():
    numbers = [[Symbol(f"r{i}"), *[Symbol(str(100 * i + j)) for j in range(30)]] for i in range(3)]
    table = Table("many", [Symbol("row"), *[Symbol(f"c{j}") for j in range(30)]], numbers)
    text = table.to_text(width=40)
    assert all(wcwidth.wcswidth(line) <= 40 for line in text.splitlines())
    columns = [column for box in boxes(text) for column in list(zip(*box, strict=True))[1:]]
    assert columns == [(f"c{j}", *[str(100 * i + j) for i in range(3)]) for j in range(30)]
    assert {box[1][0] for box in boxes(text)} == {"r0"}


def test_a_long_table_is_shortened_in_each_of_its_halves():
    y = Value(1.0, "x")
    for _ in range(200):
        y = y * 1.5 + 1.0
    text = Tape(y).adjoint().table().to_text(max_rows=10, width=60)
    assert text.count("⋮") == 2
    assert [len(box) for box in boxes(text)] == [12, 12]
    with language("vi"):
        assert "còn 392 dòng" in Tape(y).adjoint().table().to_text(max_rows=10)


@pytest.mark.parametrize("width", [0, -3, 2.5, True])
def test_a_width_that_is_none_is_refused(tape, width):
    with pytest.raises((ValueError, TypeError), match="width"):
        tape.table().to_text(width=width)


@pytest.mark.parametrize("width", [80, 50])
def test_sheets_of_words_fit_too(width):
    sheet = Sheet(
        "words", cells("đầu", "second head"), [cells("một hai ba bốn năm" + " sáu" * 40, "x"), cells("中文", "b")]
    )
    for table in (sheet, course.errata_table(), course.progress()):
        assert max(map(wcwidth.wcswidth, table.to_text(width=width).splitlines())) <= width
    assert sheet.to_text(width=200) == sheet.to_text()


def test_on_a_narrow_console_of_ascii_the_halves_are_stacked_too(tape, monkeypatch):
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    text = tape.adjoint().table().printed(None, 80)
    assert text.isascii()
    assert text.startswith("Reverse mode (read the lower half")
    assert max(map(len, text.splitlines())) <= 80


# --- Derivations and reports ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [100, 80, 50])
@pytest.mark.parametrize("spoken", ["en", "vi"])
def test_a_derivation_fits_and_says_all_that_it_says_in_a_file(width, spoken, long_tape):
    x1, b = Value(2.0, "x1"), Value(5.0, "số giờ học mỗi tuần")
    for y, x in ((log(x1) * x1 * b - sin(b * x1 * log(b)) + b * x1, x1), (long_tape.output, long_tape.input("a"))):
        with language(spoken):
            derivation = y.derive(x)
            narrow, whole = derivation.to_text(width=width), derivation.to_text()
            assert derivation.to_text(width=1000) == whole
        assert max(map(wcwidth.wcswidth, narrow.splitlines())) <= width
        assert "".join(narrow.split()) == "".join(whole.split())


def test_a_derivation_speaks_the_language_that_is_set_in_every_form():
    x, b = Value(3.0, "x"), Value(1.0, "b")
    derivation = (x * (x + b)).derive(x)
    with language("vi"):
        assert "Quy tắc chuỗi, tổng theo 2 đường từ y xuống x:" in str(derivation)
        assert "Không phụ thuộc $x$: $b = 1$." in derivation.to_latex()
        assert "Các nút từ $x$ đến $y$:" in derivation.to_markdown()
        assert (x * b).derive(Value(1.0, "z")).to_text() == "∂y/∂z = 0, vì y không phụ thuộc z."
    assert "Chain rule, the sum over the 2 paths" in str(derivation)


PRINTED = """
from tinygrad_vi import Value, course, log, sin, show
x1, x2 = Value(2.0, "x1"), Value(5.0, "x2")
y = log(x1) * x1 * x2 - sin(x2 * x1 * log(x2)) + x2 * x1 * x1
print(y.derive(x1), show.numerical_error(lambda x: x * x * x, 1.0), course.errata_table(), course.progress(), sep="\\n")
"""


@pytest.mark.parametrize("changes", [{}, {"PYTHONIOENCODING": "ascii"}], ids=str)
def test_what_else_prints_fits_a_terminal_too(changes):
    pytest.importorskip("matplotlib", reason="a report on numerical differences has a figure")
    shown, code = on_terminal("-c", PRINTED, **changes)
    assert code == 0, shown
    assert max(map(wcwidth.wcswidth, shown.splitlines())) <= 80
    assert max(map(len, in_a_pipe("-c", PRINTED).stdout.splitlines())) > 80


# --- LaTeX and telephones ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def points():
    """The width of a formula in points, as matplotlib sets it in Computer Modern."""
    pytest.importorskip("matplotlib", reason="the judge of widths in LaTeX")
    from matplotlib import rc_context
    from matplotlib.font_manager import FontProperties
    from matplotlib.mathtext import MathTextParser

    parser = MathTextParser("path")

    def width(latex):
        upright = re.sub(
            r"\\(?:text|operatorname)\{([^}]*)\}", lambda m: rf"\mathrm{{{m[1].replace(' ', chr(92) + ' ')}}}", latex
        )
        with rc_context({"mathtext.fontset": "cm"}):
            return parser.parse(f"${upright}$", 72, FontProperties(size=10))[0]

    return width


def type_sizes(latex):
    """The scale of the type of each tabular."""
    sizes = re.findall(r"(\\[a-z]+)?\\noindent", latex)
    return [{"": 1.0, r"\small": 0.925, r"\footnotesize": 0.85}[size] for size in sizes]


def tabulars(latex):
    """The cells of each tabular, by columns."""
    found = re.findall(r"\\begin\{tabular\}.*?\\end\{tabular\}", latex, re.DOTALL)
    rows = [
        [line.removesuffix(r"\\").split(" & ") for line in text.splitlines() if line.endswith(r"\\")] for text in found
    ]
    return [[[cell.strip().strip("$") for cell in column] for column in zip(*part, strict=True)] for part in rows]


#: TeX sets the two tables of the book 469 and 490 points wide, which is so much more than matplotlib
TEX = 1.06


def test_the_estimate_is_a_bound_for_what_tex_has_measured(tape):
    for table, measured in ((tape.tangent().table(), 469), (tape.adjoint().table(), 490)):
        assert measured <= table._points(1.0) + 12 <= 1.1 * measured


@pytest.mark.parametrize("which", ["tape", "long_tape"])
def test_in_latex_the_tables_fit_the_line_of_an_article(which, points, request):
    tape = request.getfixturevalue(which)
    for table in (tape.table(), tape.tangent().table(), tape.adjoint().table()):
        latex = table.to_latex(width=ARTICLE)
        assert latex.count("{") == latex.count("}")
        parts = tabulars(latex)
        for part, scale in zip(parts, type_sizes(latex), strict=True):
            widths = [max(points(cell) if cell else 0 for cell in column) for column in part]
            # a formula that is wider than the line stands alone beside the name of its row
            assert scale * TEX * sum(widths) + 12 * (len(widths) - 1) <= ARTICLE or (len(part), scale) == (2, 0.85)
        heads = [column[0] for part in parts for column in part]
        assert list(dict.fromkeys(heads)) == [head.latex for head in table.headers]
    if which == "tape":
        assert [len(part) for part in tabulars(tape.tangent().table().to_latex(width=ARTICLE))] == [4, 4]
        assert [len(part) for part in tabulars(tape.adjoint().table().to_latex(width=ARTICLE))] == [3, 4]


def test_the_estimate_is_a_little_more_than_what_is_measured(long_tape, points):
    for table in (long_tape.tangent().table(), long_tape.adjoint().table()):
        for row in table.rows:
            for cell in filter(lambda cell: cell.text and cell.latex.isascii(), row):
                assert 0.97 * points(cell.latex) - 1 <= tex_width(cell.latex) <= 1.4 * points(cell.latex) + 5


def test_latex_is_one_tabular_unless_a_width_is_given(tape):
    table = tape.adjoint().table()
    assert table.to_latex().count("tabular") == 2
    assert table.to_latex(width=2000) == "\\noindent\n" + table.to_latex().replace("{lllllll}", "{@{}lllllll@{}}")
    assert table.to_latex(width=ARTICLE).count(r"\noindent") == 2
    for wrong in (0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="points"):
            table.to_latex(width=wrong)
    latex = in_a_pipe("-m", "tinygrad_vi", *BOOK, "--format", "latex", "--width", "345").stdout
    assert latex.count(r"\begin{tabular}") == 5


def test_on_a_telephone_a_wide_table_scrolls_in_its_own_box(tape, tmp_path):
    playwright = pytest.importorskip("playwright.sync_api", reason="the package playwright is not installed")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    tables = [tape.adjoint().table(), replace(tape.tangent().table(), title="wide"), course.errata_table()]
    page = "<meta name=viewport content='width=device-width'><body>" + "".join(table.to_html() for table in tables)
    (tmp_path / "page.html").write_text('<!DOCTYPE html><meta charset="utf-8">' + page, encoding="utf-8")
    with playwright.sync_playwright() as p:
        try:
            browser = p.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        except playwright.Error:
            pytest.skip("no Chromium on this machine: playwright install chromium")
        view = browser.new_page(viewport={"width": 390, "height": 844})
        view.goto((tmp_path / "page.html").as_uri())
        assert view.evaluate("document.documentElement.scrollWidth") <= 390
        assert view.evaluate("[...document.querySelectorAll('table')].some(t => t.scrollWidth > t.clientWidth)")
        browser.close()


def test_a_notebook_gets_the_table_that_it_always_got(tape):
    assert tape.adjoint()._repr_html_().startswith("<table>\n")
    assert tape.adjoint().table().to_html(scroll=False) == tape.adjoint().table()._repr_html_()
