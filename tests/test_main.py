import os
import re
import subprocess
import sys

import pytest
from course.glossary import violations

import tinygrad_vi
from tinygrad_vi import demo
from tinygrad_vi.__main__ import main
from tinygrad_vi.words import words_of

BOOK = ["trace", "log(x1) + x1*x2 - sin(x2)", "x1=2", "x2=5"]


def test_trace_prints_both_tables_and_the_gradient(capsys):
    assert main(BOOK) == 0
    out = capsys.readouterr().out
    assert "Forward mode with the seed ẋ1 = 1, ẋ2 = 0" in out
    assert "-0.2837 + 2 = 1.716" in out
    assert re.search(r"dy/dx1\s+│ 5\.5 ", out)
    assert re.search(r"dy/dx2\s+│ 1\.7163378145367738 ", out)


def test_trace_with_another_seed_and_the_hessian(capsys):
    assert main([*BOOK, "--seed", "x2", "--hessian", "--digits", "6"]) == 0
    out = capsys.readouterr().out
    assert "Forward mode with the seed ẋ1 = 0, ẋ2 = 1" in out
    assert "0.283662" in out
    assert re.search(r"x1 │ -0\.25 │ 1 ", out)
    assert "-0.9589242746631385" in out


def test_trace_in_markdown_and_latex(capsys):
    assert main([*BOOK, "--format", "markdown"]) == 0
    assert "| v₂  | v₋₁ \\* v₀ |" in capsys.readouterr().out
    assert main([*BOOK, "--format", "latex"]) == 0
    out = capsys.readouterr().out
    assert out.count(r"\begin{tabular}") == out.count(r"\end{tabular}") == 3
    assert r"\frac{\partial y}{\partial x_{2}}" in out


@pytest.mark.parametrize(
    ("suffix", "start"), [("svg", b"<?xml"), ("png", b"\x89PNG"), ("pdf", b"%PDF"), ("dot", b"digraph")]
)
def test_trace_draws_the_graph(tmp_path, capsys, suffix, start):
    file = tmp_path / f"đồ thị.{suffix}"
    assert main([*BOOK, "--graph", str(file)]) == 0
    assert start in file.read_bytes()[:200]
    assert f"wrote {file}" in capsys.readouterr().err


def test_an_input_called_y_is_not_taken_for_the_output(capsys):
    assert main(["trace", "x*y", "x=2", "y=3"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"df/dy\s+│ 2 ", out)
    assert "Gradient of f = 6.0" in out


def test_values_may_stand_behind_options(tmp_path, capsys):
    assert main(["trace", "x*y", "--graph", str(tmp_path / "G.SVG"), "x=2", "--digits", "3", "y=3"]) == 0
    assert "Gradient of f = 6.0" in capsys.readouterr().out
    assert (tmp_path / "G.SVG").exists()


def test_names_may_be_vietnamese_composed_or_not(capsys):
    assert main(["trace", "sai_số ** 2", "sai_s\u006f\u0302\u0301=3"]) == 0
    assert "dy/dsai_số" in capsys.readouterr().out


def test_the_hessian_of_one_input_is_a_table_too(capsys):
    assert main(["trace", "x**3", "x=2", "--hessian"]) == 0
    assert re.search(r"x\s+│\s+12 ", capsys.readouterr().out)


def test_a_reader_that_stops_early_is_no_error():
    command = f'{sys.executable} -m tinygrad_vi trace "{"+".join(["x"] * 900)}" x=1 | head -1'
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, text=True, timeout=600)
    assert (done.returncode, done.stderr) == (0, "")


def test_an_expression_may_begin_with_a_minus_and_a_value_be_an_expression(capsys):
    assert main(["trace", "-x**2", "x=-1/2"]) == 0
    assert re.search(r"dy/dx\s+│ 1 ", capsys.readouterr().out)


def test_only_h_and_what_begins_with_two_signs_are_options(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["trace", "-h*2", "h=3", "--graph", "-q.dot"]) == 0
    captured = capsys.readouterr()
    assert re.search(r"dy/dh\s+│ -2 ", captured.out)
    assert captured.err == "\nwrote -q.dot\n"
    assert [f.name for f in tmp_path.iterdir()] == ["-q.dot"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trace", "log(x)", "x=-2"], "tinygrad_vi trace: log(x) needs x > 0, got x = -2.0 (node 'x')"),
        (["trace", "__import__('os')"], "tinygrad_vi trace: unknown function '__import__'"),
        (["trace", "9**9**9**9"], "tinygrad_vi trace: x ** y overflows a float, got x = 9.0, y = 387420489.0"),
        (
            ["trace", "x*1e308*10", "x=1"],
            "tinygrad_vi trace: the result is inf; it was first lost in mul(1e+308, 10.0)",
        ),
        (["trace", "x", "x"], "expected name=value, such as x1=2, got 'x'"),
        (["trace", "x", "2=x"], "expected name=value, such as x1=2, got '2=x'"),
        (["trace", "x", "x=1", "x=2"], "x is given twice"),
        (["trace", "x", "x=a"], "'a' has no value"),
        (["trace", "x", "x=1", "--seed", "z"], "'z' is not an input of this tape; its inputs are x"),
        (["trace", "x", "--seed", "x"], "'x' has no value: add x=... after the expression"),
        (["trace", "3", "--seed", "x"], "cannot take tangents by 'x': the expression has no inputs"),
        (
            ["trace", "x", "x=1", "--graph", "a.bmp"],
            "cannot draw a.bmp: its name must end in .svg, .png, .pdf, .dot, .gv",
        ),
        (["trace", "x", "x=1", "--graph", "no/such/folder/a.dot"], "no/such/folder"),
    ],
)
def test_bad_input_is_one_line_on_standard_error_and_exit_code_2(arguments, message, capsys):
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == "" or "no/such" in message


@pytest.mark.parametrize(
    "arguments", [["--frmat"], ["trace"], ["trace", "x", "--frmat"], ["trace", "x", "--digits", "0"], ["dance"]]
)
def test_bad_options_are_one_line_and_exit_code_2(arguments, capsys):
    with pytest.raises(SystemExit) as exit:
        main(arguments)
    assert exit.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def run(*arguments, **options):
    command = [sys.executable, "-m", "tinygrad_vi", *arguments]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=600, **options)


def test_the_module_runs_as_a_command():
    done = run(*BOOK, env={**os.environ, "PYTHONIOENCODING": "ascii"})  # a console that knows no v̄ must not stop it
    assert done.returncode == 0
    assert "x2_bar = v_bar[0]" in done.stdout
    plain = {name: value for name, value in os.environ.items() if name != "PYTHONIOENCODING"}
    assert "x̄2 = v̄₀" in run(*BOOK, env=plain).stdout
    assert run("trace", "log(x)", "x=-1").returncode == 2
    for help in (run("--help"), run("trace", "--help"), run("demo", "--help")):
        assert help.returncode == 0
        assert "tinygrad_vi" in help.stdout
    assert run("--version").stdout == f"tinygrad_vi {tinygrad_vi.__version__}\n"


PICTURES = [
    *("adding.png", "adding_loss.png", "moons_boundary.png", "moons_gradients.png", "moons_loss.png"),
    *("neuron.svg", "study_boundary.png", "study_loss.png", "study_network.svg"),
]


def test_a_quick_demo_prints_trains_and_makes_one_page_of_its_pictures(tmp_path):
    done = run("demo", "--out", str(tmp_path / "out"), "--quick", "--seed", "0")
    assert done.returncode == 0
    files = {f.name: f for f in tmp_path.glob("out/*")}
    assert sorted(files) == sorted(["index.html", "neuron.html", *PICTURES])
    assert all(f.stat().st_size > 5000 for f in files.values())
    page = files["index.html"].read_text(encoding="utf-8")
    assert sorted(re.findall(r'<img src="([^"]+)" alt="[^"]+">', page)) == sorted(PICTURES)
    assert re.findall(r'href="([^"]+)"', page) == ["neuron.html"]
    assert "//" not in page  # it needs no network
    assert f"Wrote {files['index.html']}" in done.stdout
    assert done.stdout.count("Forward mode") == done.stdout.count("Reverse mode") == 1
    assert re.search(r"ms node by node, \d+ µs compiled, [\d,]+ times as fast", done.stdout)
    assert "%" not in done.stderr  # bars are for those who see them
    assert "warning" not in done.stderr.lower()


@pytest.mark.slow
def test_the_demo_speaks_vietnamese(tmp_path, capsys):
    assert main(["demo", "--out", str(tmp_path), "--quick", "--language", "vi"]) == 0
    out = capsys.readouterr().out
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert '<html lang="vi">' in page
    for text in ("Ranh giới quyết định", "nhanh gấp", "mạng nơ-ron hồi tiếp"):
        assert text in page
    assert "số giờ học và giờ ngủ -> thi đỗ: đúng" in out
    assert "quy tắc chuỗi" in out
    assert "chain rule" not in out + page


@pytest.mark.parametrize("part", ["demo", "derivation", "tables"])
def test_the_words_say_the_same_in_both_languages_and_are_those_of_the_glossary(part):
    english, vietnamese = words_of(part)["en"], words_of(part)["vi"]
    assert english.keys() == vietnamese.keys()
    for name, text in english.items():
        assert sorted(re.findall(r"{\w*}", text)) == sorted(re.findall(r"{\w*}", vietnamese[name]))
    assert violations(" ".join(vietnamese.values())) == []


def test_the_demo_says_what_it_needs_before_it_trains(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(demo, "find_spec", lambda package: None)
    monkeypatch.setattr(demo, "which", lambda program: None)
    assert main(["demo", "--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr() == (
        "",
        "tinygrad_vi demo: the demo draws: pip install graphviz pygraphviz matplotlib\n",
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_the_demo_learns_its_three_tasks(tmp_path, capsys):
    assert main(["demo", "--out", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "passed: 100% of 20 students right" in out
    assert int(re.search(r"two moons: (\d+)% of 100 points right", out)[1]) >= 98
    assert float(re.search(r"mean squared error (\S+) on new sequences", out)[1]) < 0.01
