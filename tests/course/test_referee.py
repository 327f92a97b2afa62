"""The referee: every mistake that a number decides is decided, by judges that are right, and for the right version."""

import importlib.util
import math
import re

import numpy as np
import pytest

from tinygrad_vi import log, sin
from tinygrad_vi.course import UnknownName, check, errata_table, referee
from tinygrad_vi.course.cases import CASES
from tinygrad_vi.course.cases.matrices import product, transposed
from tinygrad_vi.course.duels import Duel, Failed, duel
from tinygrad_vi.course.texts import errata, exercises, golden

DECIDED = [name for name, erratum in errata().items() if erratum.decided == "number"]


def duels():
    return [(name, d) for name in CASES for d in CASES[name](duel)]


@pytest.fixture(autouse=True)
def _somewhere_else(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_every_erratum_that_a_number_decides_has_its_case():
    assert sorted(CASES) == sorted(DECIDED)
    in_lesson_plan = {"E20", "E28", "E36", "E41", "E42", "E45"}  # of the mathematical ones these have no number
    assert {name for name, e in errata().items() if e.kind == "M" and e.decided == "line"} == in_lesson_plan


@pytest.mark.parametrize("name", sorted(CASES))
def test_the_judges_confirm_the_correction(name):
    ruling = referee(name)
    assert ruling.corrected_right
    assert not ruling.printed_right
    assert bool(ruling) is True
    assert ruling.conclusion == "✘ Bản in sai, ✔ bản sửa đúng."
    assert all(not d.printed_right and d.corrected_right and d.judges for d in ruling.duels)


@pytest.mark.parametrize("name", sorted(CASES))
def test_a_case_asks_at_least_one_question_of_an_exercise(name):
    assert [d.part for d in CASES[name](duel) if d.part]


ASKED = [(name, fought) for name, fought in duels() if fought.part]


@pytest.mark.parametrize(("name", "fought"), ASKED, ids=lambda x: x if isinstance(x, str) else "duel")
def test_check_recognises_the_printed_value_and_accepts_the_corrected_one(name, fought):
    assert check(fought.part, fought.corrected)
    if not isinstance(fought.printed, Failed):
        verdict = check(fought.part, fought.printed)
        assert not verdict
        assert verdict.erratum == name


def test_every_erratum_with_a_case_is_the_diagnosis_of_some_slip():
    named = {slip.erratum for exercise in exercises().values() for slip in exercise.slips}
    assert set(CASES) <= named


def torch_duels():
    return [(name, d) for name in sorted(CASES) for d in CASES[name](lambda *a, **o: duel(*a, **o, pytorch=True))]


def test_pytorch_agrees_with_our_derivatives():
    pytest.importorskip("torch")
    judged = [(name, d) for name, d in torch_duels() if "PyTorch" in d.judges]
    assert len(judged) >= 20
    for name, d in judged:
        ours, theirs = d.judges["Vi phân tự động"], d.judges["PyTorch"]
        assert np.ravel(theirs) == pytest.approx(np.ravel(ours), rel=1e-9, abs=1e-12), name


def test_pytorch_is_asked_for_and_may_be_missing(monkeypatch):
    if importlib.util.find_spec("torch"):
        assert "PyTorch" in repr(referee("E04", pytorch=True))
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    assert "PyTorch" not in repr(referee("E04"))
    with pytest.raises(ImportError, match="pip install torch"):
        referee("E04", pytorch=True)


@pytest.mark.parametrize(
    ("name", "printed", "corrected"),
    [
        ("E01", [-4.349012217, (-1.705, -0.259, -0.035)], [0.349012217, (-0.294615487, 0.259496460, 0.035119027)]),
        ("E02", [-0.163333333], [0.163333333]),
        ("E03", [(-0.416666667, -0.476190476, -0.833333333)], [(-0.416666667, 0.476190476, -0.833333333)]),
        ("E04", [-0.2, -0.00246], [-1.25, -0.99753]),
        ("E06", [0.23329, 3.666007], [0.76671, 0.105833]),
        ("E07", [32.2745], [15.5844]),
        ("E09", [3.71634, 6.0], [1.71634, 5.5]),
        ("E23", [((0.16, -0.2), (-0.2, 0.25))], [((2, 1), (1, 4))]),
        ("E31", [7.21634], [5.5]),
        ("E32", [(1, 1)], [(2, 2)]),
        ("E34", [(0, 1)], [(0.475, 0.525)]),
        ("E48", [2**31 - 1], [31]),
    ],
)
def test_the_numbers_are_those_of_the_list_of_errata(name, printed, corrected):
    found = referee(name).duels
    for d, wrong, right in zip(found, printed, corrected, strict=False):
        assert np.array(d.printed) == pytest.approx(np.array(wrong, float), abs=6e-4)
        assert np.array(d.corrected) == pytest.approx(np.array(right, float), abs=6e-4)


def test_what_does_not_conform_cannot_be_computed():
    [first, second] = referee("E17").duels
    assert first.printed.reason == second.printed.reason == "(1×4)·(20×1) không khớp"
    assert "không tính được" in repr(referee("E17"))
    assert referee("E19").duels[0].printed == Failed("(3×4)·(2×3) không khớp")


def test_a_sum_over_the_examples_is_exactly_n_times_the_mean():
    [fought] = referee("E15").duels
    assert np.array(fought.printed) / np.array(fought.corrected) == pytest.approx(np.full((4, 1), 20.0), rel=1e-12)


def test_an_erratum_without_a_number_is_corrected_in_one_line():
    ruling = referee("e36")
    assert not ruling.duels
    assert not ruling
    text = repr(ruling)
    assert errata()["E36"].correct in text
    assert errata()["E36"].why in text
    assert "không cần trọng tài" in text
    assert "E36" in ruling._repr_html_()


# --- formulas of one's own --------------------------------------------------------------------------------------------


def test_two_formulas_at_several_points():
    points = [(0.8,), (0.5,), (0.1,)]
    ruling = referee(lambda a: a - 1, lambda a: -1 / a, truth=lambda a: -log(a), at=points)
    assert ruling
    assert [d.judges["Vi phân tự động"] for d in ruling.duels] == pytest.approx([-1 / a for (a,) in points])
    assert [d.judges["Sai phân"] for d in ruling.duels] == pytest.approx([-1 / a for (a,) in points], rel=1e-8)
    assert repr(ruling).count("✘") == 4  # three numbers and the conclusion


def test_of_several_arguments_and_of_one_list():
    at = (2.0, 5.0)
    right = lambda x, y: (1 / x + y, x - math.cos(y))  # noqa: E731
    assert referee(lambda x, y: (1 / x, x), right, truth=lambda x, y: log(x) + x * y - sin(y), at=at)
    assert referee(lambda w: w, lambda w: [2 * v for v in w], truth=lambda w: w[0] ** 2 + w[1] ** 2, at=([1.0, 2.0],))


def test_methods_of_values_and_matrices_of_derivatives():
    assert referee(
        [[1.0, 0.0], [0.0, 1.0]], [[4.0, 0.0], [3.0, 2.0]], truth=lambda w: [w[0] ** 2, w[0] * w[1]], at=([2.0, 3.0],)
    )
    assert referee(1.0, lambda a: 1 / a, truth=lambda a: a.log(), at=0.5)


def test_values_instead_of_derivatives():
    assert referee(lambda a: -(a**2), lambda a: a**2, truth=lambda a: a * a, at=(3.0,), of="value")


@pytest.mark.parametrize(
    ("printed", "corrected", "conclusion"),
    [
        (1.0, 2.0, "✘ Bản in sai, ✔ bản sửa đúng."),
        (2.0, 1.0, "✔ Bản in đúng, ✘ bản sửa sai."),
        (2.0, 2.0, "✔ Hai bản đều đúng ở đây."),
        (1.0, 3.0, "✘ Hai bản đều sai."),
        (math.nan, 2.0, "✘ Bản in sai, ✔ bản sửa đúng."),
        ([2.0, 2.0], 2.0, "✘ Bản in sai, ✔ bản sửa đúng."),
    ],
)
def test_who_is_right(printed, corrected, conclusion):
    ruling = referee(printed, corrected, truth=lambda a: a * a, at=(1.0,))
    assert ruling.conclusion == conclusion
    assert bool(ruling) is (conclusion == "✘ Bản in sai, ✔ bản sửa đúng.")


def test_a_kink_where_the_judges_disagree_confirms_nobody():
    assert not referee(0.0, 1.0, truth=lambda a: a.relu(), at=(0.0,))


def test_wrong_calls():
    with pytest.raises(UnknownName, match="không có chỗ đính chính “E99”"):
        referee("E99")
    with pytest.raises(TypeError, match="truth"):
        referee(lambda a: a, lambda a: a)
    with pytest.raises(ValueError, match="derivative"):
        referee(1, 2, truth=lambda a: a, at=(1.0,), of="gradient")


def test_a_ruling_shows_itself(capsys):
    ruling = referee("E04")
    html = ruling._repr_html_()
    assert html.count("<table") == 1
    assert re.search(r'<span style="color: #[0-9a-f]{6}[^>]*>✘</span> -0.2', html)
    assert errata()["E04"].why in repr(ruling)
    again = referee("E04")
    assert again
    assert again
    assert capsys.readouterr().out.count("E04") == 1  # an assertion shows it, once
    assert "&lt;i&gt;" in referee("<i>", "b", truth=lambda a: a, at=(1.0,))._repr_html_()


# --- the summary ------------------------------------------------------------------------------------------------------


def test_the_summary_has_all_errata():
    table = errata_table()
    assert [row[0].text for row in table.rows] == list(errata())
    assert [row[4].text for row in table.rows] == ["✔" if name in CASES else "–" for name in errata()]
    html = table._repr_html_()
    assert html.count("<tr>") == 1 + len(errata())  # none is left out
    assert all(f"{name} " in repr(table) for name in errata())
    assert f"xác nhận {len(CASES)} bằng số" in table.title
    assert max(map(len, repr(table).splitlines())) < 160
    of_one = errata_table(notebook=9)
    assert {row[0].text for row in of_one.rows} == {name for name, e in errata().items() if e.notebook == 9}


def test_matrices_of_the_cases_are_those_of_numpy():
    A, B = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], [[1.0, -1.0, 2.0], [0.5, 3.0, 1.0]]
    assert np.array(product(A, B)) == pytest.approx(np.array(A) @ np.array(B))
    assert transposed(A) == np.array(A).T.tolist()
    assert golden("B19.W") == product(np.array([[3, 2, 2], [0, 2, -1]]).tolist(), product(
        [[-2, -1, 3, -1], [-2, 2, -2, -1], [1, 0, -3, -3]], [[0, 0], [2, 3], [-3, -2], [2, 3]]
    ))  # fmt: skip
    assert Duel("", 1, 2, {"a": 2}).corrected_right
