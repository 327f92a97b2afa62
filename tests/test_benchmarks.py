"""The tools of the benchmarks: turns, comparisons, what is kept, and what the READMEs show of it."""

import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tabulate", reason="the benchmarks print tables: pip install tabulate")
pytest.importorskip("tqdm", reason="the benchmarks show their progress: pip install tqdm")
pytest.importorskip("sklearn", reason="the benchmarks take data from scikit-learn: pip install scikit-learn")

from benchmarks import __main__ as command
from benchmarks import compiled, eager, gpt, gradbench, layouts, match, measure, peers, practice, results, set_up, shown

ROOT = Path(__file__).parent.parent
READMES = list(results.READMES.items())

# --- Measuring --------------------------------------------------------------------------------------------------------


def test_ratios_are_taken_turn_by_turn():
    race = measure.Race({"a": [1.0, 10.0, 3.0], "b": [2.0, 20.0, 6.0], "slow": [5.0, 50.0]})
    assert race.times("b", "a") == measure.Spread(2.0, 2.0, 2.0)
    assert race.times("slow", "a").middle == 5.0
    assert race.seconds["a"] == measure.Spread(3.0, 2.0, 6.5)


def one_core():
    return lambda: len(os.sched_getaffinity(0))


@pytest.mark.skipif(not measure.OnOneCore.possible, reason="this system does not give a process its cores")
def test_a_process_of_its_own_has_one_core():
    alone = measure.OnOneCore(one_core)
    assert alone().tolist() == [1.0]
    assert alone.burst(3) > 0.0
    alone.end()


@pytest.mark.parametrize("wrong", [1.0 + 1e-9, float("nan")])
def test_contestants_that_disagree_are_not_timed(wrong):
    answers = {"ours": lambda: (1.0, np.zeros(2)), "theirs": lambda: (wrong, np.zeros(2))}
    with pytest.raises(SystemExit, match="demo: theirs is off by"):
        match.check("demo", answers)


def test_a_match_tells_times_work_and_targets():
    makers = {"tinygrad_vi, compiled": lambda: lambda: 1.0, "other": lambda: lambda: 1.0}
    table = match.match("p", "P", makers, False, flops=1e3, targets={"tinygrad_vi, compiled": 1e5, "other": 1e5},
                        absent={"gone": "not installed"})  # fmt: skip
    text = str(table)
    assert re.search(r"tinygrad_vi, compiled \|.*100,000 us \| +met", text)
    assert re.search(r"other .*100,000x \| +missed", text)
    assert re.search(r"gone +\| +not installed", text)
    assert table.figures["p"]["times"]["tinygrad_vi, compiled"] == [1.0, 1.0, 1.0]
    assert table.figures["p"]["share"]["other"] > 0.0


@pytest.mark.parametrize(
    ("seconds", "text"), [(8.214e-6, "8.21 µs"), (412e-6, "0.412 ms"), (0.0997, "99.7 ms"), (83, "83.0 s")]
)
def test_durations_have_three_digits_and_a_unit(seconds, text):
    assert measure.duration(seconds) == text


@pytest.mark.parametrize(
    ("ratio", "text"), [(0.8712, "0.87"), (0.0512, "0.051"), (9.96, "10"), (28.4, "28"), (16321, "16,000")]
)
def test_ratios_have_two_digits(ratio, text):
    assert results.short(ratio) == text


# --- What is kept -----------------------------------------------------------------------------------------------------


def contest(*contestants):
    spread = [2e-5, 1e-5, 3e-5]
    figures = {name: dict.fromkeys(contestants, spread) for name in ("seconds", "times")}
    return figures | {"share": {peers.OURS: 0.52}, "set-up": {}}


def found_everywhere():
    """Figures as all parts would give them."""
    everybody = [peers.OURS, peers.BOUND, "jax.jit", "CasADi SX", "compiled, sparse"]
    once = {"us": 5.25, "seconds": 0.375}
    return {
        "eager": {"on true": {eager.NN: 41.3, eager.SCALAR: 9.94}, "on false": {eager.NN: 5.6, eager.SCALAR: 2.1}},
        "compiled": {name: contest(*everybody, "micrograd") for name in compiled.PROGRAMS},
        "practice": {name: contest(*everybody) for name in practice.PROGRAMS},
        "gradbench": {name: contest(*everybody) for name in gradbench.PROGRAMS},
        "gpt": {
            "gpt run": {"steps": 1000, f"{gpt.PEER}, a step": 0.131, gpt.ONE: 1.52},
            f"gpt {gpt.BATCH}": contest(*everybody),
        },
        "set-up": {
            **dict.fromkeys(set_up.sizes(False), once),
            "loop": {"seconds": 7.79, "gigabytes": 1.234},
            "first": {"first call": 0.687, "cold": 15.5},
        },
        "sparse": {"chain 2,000": contest(*everybody)},
        "import": {"import": {"ms": 24.3}},
        "memory": {"bytes": {"tinygrad_vi: x * c": 272.2}},
    }


@pytest.fixture
def root(tmp_path):
    """A checkout with the READMEs alone."""
    (tmp_path / "benchmarks").mkdir()
    for name in results.READMES:
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def keep_all(root):
    for part, figures in found_everywhere().items():
        table = measure.Table(f"The table of {part}", ["", "s"], [["ours", "1.25"]], as_written=True, figures=figures)
        results.keep(part, f"About {part}.", [table], "python -m benchmarks --write", root)


@pytest.mark.parametrize(("name", "language"), READMES)
def test_a_readme_shows_what_was_found_and_keeps_all_else(root, name, language):
    keep_all(root)
    results.write(root)
    before, after = ((folder / name).read_text(encoding="utf-8") for folder in (ROOT, root))
    assert [text.split(results.START)[0] for text in (before, after)] == 2 * [before.split(results.START)[0]]
    assert [text.split(results.END)[1] for text in (before, after)] == 2 * [before.split(results.END)[1]]

    shows = after.split(results.START)[1].split(results.END)[0]
    names = [words[language] for table in (shown.NETWORKS, shown.SCALAR) for words in table.lines.values()]
    names += [one.words[language] for one in shown.ALONE]
    assert [words for words in names if f"| {words} |" not in shows] == []
    cells = ["20.0 µs", "52%", "0.00002", "1.52 s", "131 s", "0.625 µs", "5.25 µs", "0.375 s", "7.79 s", "1.23 GB"]
    cells[2:3] = ["2e-05", "15.5 s", "24.3 ms", "272", results.short(41.3), results.short(9.94)]
    assert [cell for cell in cells if cell not in shows] == []

    results.write(root)
    assert (root / name).read_text(encoding="utf-8") == after


def test_a_part_takes_its_own_place_alone(root):
    keep_all(root)
    table = measure.Table("Anew", ["", "ms"], [["import", "12.5"]], figures={"import": {"ms": 12.5}})
    results.keep("import", "About import.", [table], "python -m benchmarks import --write", root)
    results.write(root)
    page = (root / results.PAGE).read_text(encoding="utf-8")
    assert "### Anew" in page
    assert "The table of import" not in page
    assert "### The table of memory" in page
    assert "12.5 ms" in (root / "README.md").read_text(encoding="utf-8")
    assert "`python -m benchmarks --write`, `python -m benchmarks import --write`" in (root / "README.md").read_text()


def test_a_readme_without_its_marks_is_refused():
    with pytest.raises(ValueError, match="each once"):
        results.replaced("# A readme\n", "figures")


def test_every_program_that_is_measured_is_shown():
    assert set(shown.SCALAR.lines) == {*practice.PROGRAMS, *gradbench.PROGRAMS}
    assert set(shown.NETWORKS.lines) == {*compiled.PROGRAMS, f"gpt {gpt.BATCH}"}
    assert {one.part for one in shown.ALONE} <= set(command.BENCHMARKS)


def test_quick_figures_are_not_kept(capsys):
    with pytest.raises(SystemExit):
        command.main(["--quick", "--write", "import"])
    assert "no evidence" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "language"), READMES)
def test_the_figures_of_a_readme_are_those_of_the_file(name, language):
    text = (ROOT / name).read_text(encoding="utf-8")
    assert text.count(results.START) == text.count(results.END) == 1
    found = results.load(ROOT)
    if not found:
        pytest.skip("nothing has been kept yet: python -m benchmarks --write")
    assert results.replaced(text, results.summary(found, language)) == text
    assert (ROOT / results.PAGE).read_text(encoding="utf-8") == results.page(found)


# --- Several devices --------------------------------------------------------------------------------------------------


def test_the_model_on_paper_gives_back_what_it_was_made_from():
    one = layouts.Machine(call=1e-3, rate=1e10, latency=1e-5, bytes=1e9)
    size = 8 * layouts.PARAMETERS
    found = layouts.fitted(
        one.seconds(1, layouts.SMALL), one.seconds(1, layouts.BATCH), 2 * one.latency, one.sum(2, size)
    )
    for name in ("call", "rate", "latency", "bytes"):
        assert getattr(found, name) == pytest.approx(getattr(one, name), rel=1e-9)


def test_the_model_on_paper_by_hand():
    machine = layouts.Machine(call=1e-3, rate=1e10, latency=1e-5, bytes=1e9)
    assert machine.seconds(1, 1000, 10**6) == pytest.approx(1e-3 + 6e9 / 1e10)
    # an eighth of the work; six messages; twice 7/8 of the gradient goes through each link
    assert machine.seconds(8, 1000, 10**6) == pytest.approx(1e-3 + 0.075 + 6e-5 + 2 * 7 / 8 * 8e6 / 1e9)
    assert machine.seconds(1000, 1000, 10**6) > 1e-3 + 6e6 / 1e10
    assert len(layouts.problem(2)[0].parameters()) == layouts.PARAMETERS
