"""`check`: every known slip is recognised, general ones too, answers come in any form, and nothing is given away."""

import itertools
import math
import re
import sys
import types
from fractions import Fraction

import numpy as np
import pytest

from tinygrad_vi import Value
from tinygrad_vi.course import check, hint, statement
from tinygrad_vi.course.answers import fold
from tinygrad_vi.course.diagnose import ROUNDED
from tinygrad_vi.course.texts import exercises, golden

EXERCISES = list(exercises().values())
PARTS = [(exercise, part) for exercise in EXERCISES for part in exercise.parts.values()]


def entries(answer):
    return np.ravel(np.array(answer, object)).tolist()


def is_numeric(part):
    return part.between is None and not any(isinstance(x, (str, bool)) for x in entries(part.answer))


NUMERIC = [(exercise, part) for exercise, part in PARTS if is_numeric(part)]
numeric = pytest.mark.parametrize(("exercise", "part"), NUMERIC, ids=lambda x: getattr(x, "id", None) or x.name)


def full(exercise, part):
    return f"{exercise.id}.{part.name}"


@pytest.fixture(autouse=True)
def _somewhere_else(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


# --- right answers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("exercise", "part"), PARTS, ids=lambda x: getattr(x, "id", None) or x.name)
def test_the_right_answer_is_right(exercise, part):
    verdict = check(full(exercise, part), part.answer)
    assert (verdict.kind, bool(verdict)) == ("right", True)
    assert verdict.message == f"{full(exercise, part)}: đúng rồi!"


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.id)
def test_a_whole_exercise_in_order_or_by_names(exercise):
    answers = {part.name: part.answer for part in exercise.required}
    assert check(exercise.id, answers)
    assert check(exercise.id, **answers)
    assert check(exercise.id, list(answers.values()) if len(answers) > 1 else next(iter(answers.values())))
    assert check(exercise.id, {part.name: part.answer for part in exercise.parts.values()})


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("B02.w2", "0,19661193324148185"),
        ("B02.w2", " 0.196612 "),
        ("B02.w0", "−0,196612"),
        ("B24.phuong_sai", "5/12"),
        ("B24.phuong_sai", Fraction(5, 12)),
        ("B12.deb", Value(5.0)),
        ("B12.deb", np.float32(5)),
        ("B12.deb", np.array([[5.0]])),
        ("B12.deb", [5]),
        ("B11.cong", (2, 2)),
        ("B11.cong", [Value(2.0), 2]),
        ("B11.cong", np.array([[2], [2]])),
        ("B11.cong", map(float, "22")),
        ("B11.cong", "2 2"),
        ("B11.nhan", "(15; 10)"),
        ("B44.h", "2; 1,5; 2,5"),
        ("B19.W", np.array([[-17, -28], [13, 17]])),
        ("B42.dW3", np.ravel(golden("B42.dW3"))),
        ("B28.dau", " cộng "),
        ("B51.loai", "Diem yen ngua"),
        ("B36.W1", ("D_a", "Dₓ")),
        ("B36.b1", ["Da", "1"]),
        ("B17.tieu_bien", "có"),
        ("B17.tieu_bien", np.bool_(True)),
        ("B18.hoi_phuc", 1),
        ("B51.tri_rieng", [-2, 2]),
        ("B10.h_tien", 1e-8),
        ("b11", [(2, 2), (15, 10), 6, (0, 9)]),
    ],
)
def test_answers_come_in_many_forms(name, answer):
    assert check(name, answer)


def test_a_tensor_is_an_answer_too():
    torch = pytest.importorskip("torch")
    assert check("B11.cong", torch.tensor([2.0, 2.0], requires_grad=True))
    assert check("B12.deb", torch.tensor(5.0))


def test_the_gradient_left_on_a_value_is_not_touched():
    x = Value(5.0)
    x.grad = 7.0
    check("B12.deb", x)
    assert (x.data, x.grad) == (5.0, 7.0)


# --- the exercises' own slips -----------------------------------------------------------------------------------------


def slips():
    for exercise in EXERCISES:
        for number, slip in enumerate(exercise.slips):
            for name in slip.parts:
                yield pytest.param(exercise, slip, exercise.parts[name], id=f"{exercise.id}.{name}-{number}")


SLIPS = list(slips())


def given(slip, part):
    if slip.factor:
        return (slip.factor * np.array(part.answer)).tolist()
    if slip.between:
        return math.sqrt(max(slip.between[0], 1e-20) * slip.between[1])
    return math.nan if slip.not_finite else slip.answer


@pytest.mark.parametrize(("exercise", "slip", "part"), SLIPS)
def test_every_slip_is_recognised_as_itself(exercise, slip, part):
    verdict = check(full(exercise, part), given(slip, part))
    assert not verdict
    assert (verdict.kind, verdict.erratum) == (slip.kind, slip.erratum)
    assert slip.says in verdict.message


def has_digits(slip, part):
    """Words and intervals have none."""
    words = any(isinstance(x, (str, bool)) for x in entries(slip.answer))
    return is_numeric(part) and not (words or slip.not_finite or slip.between)


SLIPS_WITH_DIGITS = [case for case in SLIPS if has_digits(*case.values[1:])]


@pytest.mark.parametrize(("exercise", "slip", "part"), SLIPS_WITH_DIGITS)
def test_a_slip_computed_by_hand_with_four_digits_is_recognised_too(exercise, slip, part):
    exact = np.array(given(slip, part), float)
    rounded = np.vectorize(lambda x: float(f"{x:.4g}"))(exact).tolist()
    verdict = check(full(exercise, part), rounded)
    right, scale = np.array(part.answer, float), np.abs(part.answer).max() or 1.0
    if np.shape(exact) == np.shape(right) and np.abs(exact - right).max() <= 2 * ROUNDED * scale:
        assert verdict.kind in (slip.kind, "rounded")  # so near the answer that both readings are fair
    else:
        assert (verdict.kind, verdict.erratum) == (slip.kind, slip.erratum)


def test_the_two_sides_of_one_slip_are_told_apart():
    assert check("B31.bce", golden("B31.mse")).erratum == "E04"
    assert check("B31.mse", golden("B31.bce")).erratum == "E14"


def test_accents_and_case_do_not_make_another_slip():
    assert check("B51.loai", "PLATEAU").erratum == "E40"
    assert fold("Vùng  phẳng") == "vungphang"


# --- slips that anyone makes anywhere ---------------------------------------------------------------------------------


def right_answer(part):
    return np.array(part.answer, float)


def means_something_else(exercise, part, answer):
    """Whether an answer is one of the exercise's own slips, or right."""
    near = [given(slip, part) for slip in exercise.slips if part.name in slip.parts and has_digits(slip, part)]
    for wrong in near:
        if np.shape(wrong) == np.shape(answer):
            scale = np.abs(wrong).max() or 1.0
            if np.abs(np.array(wrong, float) - np.array(answer, float)).max() <= 2 * ROUNDED * scale:
                return True
    return is_right(part, np.array(answer, float))


def is_right(part, answer):
    right = right_answer(part)
    if answer.shape != right.shape:
        return False
    if part.any_order:
        answer, right = np.sort(answer, axis=None), np.sort(right, axis=None)
    return np.abs(answer - right).max() <= part.tolerance * (np.abs(right).max() or 1.0)


def wrong_answers(make):
    """The cases of a test: for each part the tuples that make(exercise, part) yields, the wrong answer first."""
    cases = [
        pytest.param(exercise, part, np.array(wrong).tolist(), *more, id=f"{full(exercise, part)}-{number}")
        for exercise, part in NUMERIC
        for number, (wrong, *more) in enumerate(make(exercise, part))
        if not means_something_else(exercise, part, wrong)
    ]
    assert len(cases) > 5
    return cases


def opposite(_, part):
    yield (-right_answer(part),)


@pytest.mark.parametrize(("exercise", "part", "wrong"), wrong_answers(opposite))
def test_the_opposite_sign(exercise, part, wrong):
    assert check(full(exercise, part), wrong).kind in ("sign", "reversed", "swapped")


def one_sign(_, part):
    wrong = right_answer(part)
    places = np.flatnonzero(np.abs(wrong) > 0.05 * np.abs(wrong).max())
    if len(places) > 1:
        wrong.flat[places[-1]] *= -1
        yield (wrong,)


@pytest.mark.parametrize(("exercise", "part", "wrong"), wrong_answers(one_sign))
def test_one_wrong_sign_among_several(exercise, part, wrong):
    assert check(full(exercise, part), wrong).kind in ("sign", "swapped", "reversed")


def transposed(_, part):
    table = right_answer(part)
    if table.ndim == 2 and not np.array_equal(table, table.T):
        yield (table.T,)


@pytest.mark.parametrize(("exercise", "part", "wrong"), wrong_answers(transposed))
def test_a_transposed_table(exercise, part, wrong):
    assert check(full(exercise, part), wrong).kind == "transposed"


def doubled(_, part):
    yield (np.array([part.answer, part.answer], float),)


@pytest.mark.parametrize(("exercise", "part", "wrong"), wrong_answers(doubled))
def test_an_answer_of_another_shape(exercise, part, wrong):
    assert check(full(exercise, part), wrong).kind == "shape"


def larger_together(_, part):
    if np.count_nonzero(part.answer) > 1:
        yield (1.7 * right_answer(part),)


@pytest.mark.parametrize(("exercise", "part", "wrong"), wrong_answers(larger_together))
def test_a_constant_factor_is_named(exercise, part, wrong):
    verdict = check(full(exercise, part), wrong)
    assert verdict.kind == "factor"
    assert "1,7 lần" in verdict.message


def twice(_, part):
    if np.any(part.answer):
        yield (2.0 * right_answer(part),)


@pytest.mark.parametrize(("exercise", "part", "wrong"), wrong_answers(twice))
def test_twice_the_answer(exercise, part, wrong):
    assert check(full(exercise, part), wrong).kind in ("factor", "sum_not_mean", "extra_factor", "missing_factor")


def sums_and_means(exercise, part):
    if exercise.n and np.any(part.answer):
        yield exercise.n * right_answer(part), "sum_not_mean"
        yield right_answer(part) / exercise.n, "mean_not_sum"


@pytest.mark.parametrize(("exercise", "part", "wrong", "kind"), wrong_answers(sums_and_means))
def test_a_sum_in_place_of_a_mean(exercise, part, wrong, kind):
    assert check(full(exercise, part), wrong).kind in (kind, "missing_factor", "extra_factor")


def single_paths(_, part):
    for terms in part.terms:
        assert len(terms) > 1
        for term in terms:
            yield (term,)


@pytest.mark.parametrize(("exercise", "part", "wrong"), wrong_answers(single_paths))
def test_forgotten_paths(exercise, part, wrong):
    assert check(full(exercise, part), wrong).kind == "path"


def without_a_factor(exercise, part):
    for factor in exercise.factors:
        if (not factor.parts or part.name in factor.parts) and np.size(factor.value) in (1, np.size(part.answer)):
            right, value = right_answer(part), np.array(factor.value, float)
            yield right / value, factor, "missing_factor"
            yield right * value, factor, "extra_factor"


@pytest.mark.parametrize(("exercise", "part", "wrong", "factor", "kind"), wrong_answers(without_a_factor))
def test_forgotten_factors(exercise, part, wrong, factor, kind):
    verdict = check(full(exercise, part), wrong)
    assert verdict.kind in (kind, "missing_factor", "factor")
    if verdict.kind == kind:
        assert factor.name in verdict.message


def three_digits(_, part):
    yield (np.vectorize(lambda x: float(f"{x:.3g}"))(right_answer(part)),)


@pytest.mark.parametrize(("exercise", "part", "wrong"), wrong_answers(three_digits))
def test_rounding_too_early(exercise, part, wrong):
    assert check(full(exercise, part), wrong).kind == "rounded"


ROUNDED_AND_RIGHT = [
    (exercise, part, rounded.tolist())
    for exercise, part in NUMERIC
    for (rounded,) in three_digits(exercise, part)
    if is_right(part, rounded)
]


@pytest.mark.parametrize(("exercise", "part", "rounded"), ROUNDED_AND_RIGHT)
def test_rounding_that_changes_too_little_is_right(exercise, part, rounded):
    assert check(full(exercise, part), rounded)


def second_entry(_, part):
    wrong = right_answer(part)
    if wrong.size > 2 and not part.any_order:
        wrong.flat[1] += 0.37 * (np.abs(wrong).max() or 1.0)
        yield (wrong,)


@pytest.mark.parametrize(("exercise", "part", "wrong"), wrong_answers(second_entry))
def test_one_wrong_entry_is_pointed_at(exercise, part, wrong):
    right = right_answer(part)
    verdict = check(full(exercise, part), wrong)
    assert verdict.kind == "entries"
    assert f"Đúng {right.size - 1}/{right.size}" in verdict.message
    where = "số thứ 2"
    if right.ndim == 2:
        where = "(1; 2)" if right.shape[1] > 1 else "(2; 1)"
    assert where in verdict.message


CIRCLE = []
CIRCLE.append(CIRCLE)


@pytest.mark.parametrize(
    ("name", "answer", "kind", "words"),
    [
        ("B44.h", [2.5, 1.5, 2], "reversed", "ngược thứ tự"),
        ("B38.gv", [golden("B38.gv")[i] for i in (1, 0, 2)], "swapped", "số thứ 1, 2"),
        ("B38.L", 2 * golden("B38.L"), "missing_factor", "½"),
        ("B24.beta", 1 / golden("B24.beta"), "inverted", "nghịch đảo"),
        ("B47.eta_max", 1 / golden("B47.eta_max"), "inverted", "nghịch đảo"),
        ("B46.bac2", 1.1, "factor", "dấu phẩy thập phân 1 chữ số"),
        ("B04.y", math.degrees(golden("B04.y")), "degrees", "độ"),
        ("B29.mse", -3 * golden("B29.mse"), "sum_not_mean", "ngược dấu"),
        ("B12.deb", [5, 5], "shape", "Cần một số, bạn đưa 2 số"),
        ("B12.deb", (0, 5), "shape", "0.5, không viết 0,5"),
        ("B38.g1", [1, 2], "shape", "Cần 3 số, bạn đưa 2 số"),
        ("B19.W", [[1, 2], [3]], "shape", "dài ngắn khác nhau"),
        ("B19.W", [-17, -28, 13, 17], "shape", "Cần 2×2"),
        ("B42.dW2", np.transpose(golden("B42.dW2")), "transposed", "3×4"),
        ("B36.b2", ["Da", 2], "type", "cần số"),
        ("B36.W2", [1], "shape", "Cần 2 số"),
        ("B12.deb", math.inf, "not_finite", "vô hạn"),
        ("B38.g1", [1, math.nan, 2], "not_finite", "NaN (không phải số) ở số thứ 2"),
        ("B12.deb", "năm", "type", "“năm”"),
        ("B12.deb", "x" * 500, "type", "…”"),
        ("B12.deb", 3 + 4j, "type", "complex"),
        ("B12.deb", {1, 2}, "type", "set"),
        ("B12.deb", {"a": 1}, "type", "dict"),
        ("B12.deb", itertools.count(), "type", "nhầm biến"),
        ("B12.deb", CIRCLE, "type", "quá sâu"),
        ("B12.deb", object(), "type", "object"),
        ("B12.deb", check, "type", "function"),
        ("B38.g1", [1, None, 3], "type", "None"),
        ("B36.W1", [2, "Da"], "wrong", "Chưa đúng"),
        ("B36.W1", ["Dx", "Da"], "transposed", "cột"),
        ("B36.W1", "Da x Dx", "shape", "[số hàng, số cột]"),
        ("B36.W1", [3, 2], "formula", "bằng chữ"),
        ("B39.phep", "∘", "right", "đúng"),
        ("B39.phep", "nhân theo từng phần tử", "right", "đúng"),
        ("B39.phep", "*", "convention", "NumPy viết phép ấy như vậy"),
        ("B39.phep", "@", "formula", "cùng kích thước"),
        ("B39.l_dau", 2, "off_by_one", "tầng ẩn đầu tiên"),
        ("B37k.ben_sai", "Không bên nào sai", "right", "đúng"),
        ("B24.beta", 0.8, "sum_not_mean", "TỔNG"),
        ("B17.do_sau", 20, "formula", "ĐẦU TIÊN"),
        ("B28.grad", [-0.2946, 0.2595, 0.0351], "rounded", "ở kết quả hay ở bước trung gian"),
        ("B28.dau", 1.0, "type", "dấu nháy"),
        ("B28.dau", "?", "wrong", "Chưa đúng"),
        ("B17.tieu_bien", 2.5, "type", "True hoặc False"),
        ("B17.tieu_bien", "chắc vậy", "type", "True hoặc False"),
        ("B10.h_tien", 1e-9, "right", "đúng"),
        ("B10.h_tien", [1e-9, 1e-8], "shape", "Cần một số"),
        ("B10.h_tien", 1e-15, "formula", "quá nhỏ"),
        ("B13.so_duong", 2**30 + 1, "rounded", "chữ số"),
        ("B12.deb", 17.3, "wrong", "Chưa đúng"),
        ("B12.deb", None, "empty", "Chưa trả lời"),
        ("B12.deb", ..., "empty", "Chưa trả lời"),
    ],
)  # fmt: skip
def test_what_is_said(name, answer, kind, words):
    verdict = check(name, answer)
    assert verdict.kind == kind
    assert words in verdict.message


# --- names, parts, commas ---------------------------------------------------------------------------------------------


def test_an_unknown_exercise_or_part_raises_nothing():
    assert check("B56", 1).kind == "unknown"
    assert "gần nhất là" in check("B56", 1).message
    assert "dfdx" in check("B01.dfdw", 1).message
    assert check(12, 6).kind == "missing"  # B12, with three parts
    assert "không có bài" in check(None, 1).message.lower()


def test_right_parts_are_not_lost_beside_an_unknown_name():
    verdict = check("B12", {"e": 6, "dea": 2, "deb": 5, "dfb": 1})
    assert not verdict
    assert [finding.kind for finding in verdict.findings.values()] == ["right", "right", "right", "unknown"]
    assert "đúng phần e, dea, deb" in verdict.message


def test_missing_parts_are_listed():
    verdict = check("B12", {"e": 6})
    assert not verdict
    assert "Chưa thấy phần dea, deb" in verdict.message
    assert check("B12", e=6)  # by names only what is given is checked
    assert check("B12", 5).kind == "missing"
    assert "deb (∂e/∂b)" in check("B12", 5).message
    assert check("B12").kind == check("B12", None).kind == "empty"
    assert check("B12", [6, 2]).kind == "missing"
    assert check("B12", [6, None, 5]).kind == "empty"


def test_a_decimal_comma_in_python_is_explained():
    verdict = check("B02.w2", 0, 196612)
    assert not verdict
    assert "dấu chấm" in verdict.message


def test_one_wrong_part_among_right_ones():
    verdict = check("B11", [(1, 1), (15, 10), 6, (0, 9)])
    assert not verdict
    assert verdict.erratum == "E32"
    assert 'referee("E32")' in verdict.message
    assert "đúng phần nhan, sao_chep, max" in verdict.message


# --- never the answer -------------------------------------------------------------------------------------------------


@numeric
def test_no_diagnosis_contains_the_answer(exercise, part):
    right = np.array(part.answer, float)
    shown = [f"{x:.3g}" for x in right.ravel() if len(re.sub(r"[-.0]", "", f"{x:.3g}")) >= 3]
    for wrong in (
        -right,
        2 * right,
        right + 0.3,
        right[..., None],
        np.ravel(right)[::-1],
        np.round(right, 3),
        right * 57.3,
    ):
        message = check(full(exercise, part), np.array(wrong).tolist()).message
        message = message.replace(part.means, "").replace("−", "-").replace(",", ".")
        assert not [x for x in shown if x in message]


# --- how it is shown --------------------------------------------------------------------------------------------------


def test_in_a_terminal():
    assert repr(check("B12", e=6, dea=2)) == "✔ B12: đúng cả 2 phần rồi!"
    lines = repr(check("B12.deb", 2)).splitlines()
    assert lines[0].startswith("✘ B12.deb · ∂e/∂b – Quên cộng dồn.")
    assert lines[-1] == '  Cần gợi ý? hint("B12")'
    assert max(map(len, lines)) <= 100
    assert repr(check("B12.deb", None)).startswith("… B12.deb")


def test_in_a_notebook_with_a_sign_beside_the_color():
    right, wrong = check("B12.deb", 5)._repr_html_(), check("B12.deb", 2)._repr_html_()
    assert "✔" in right
    assert "✘" in wrong
    assert right != wrong
    assert "&lt;b&gt;" in check("B12.<b>", 1)._repr_html_()
    assert "<b>" not in check("B12.<b>", 1)._repr_html_()


def test_an_assertion_shows_the_diagnosis_once(capsys):
    verdict = check("B12.deb", 2)
    assert capsys.readouterr().out == ""
    assert not verdict
    assert not verdict
    assert capsys.readouterr().out.count("Quên cộng dồn") == 1


def test_an_assertion_in_a_notebook_shows_it_as_a_result(monkeypatch):
    shown = []
    shell = types.SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setitem(sys.modules, "IPython.display", types.SimpleNamespace(display=shown.append))
    verdict = check("B12.deb", 2)
    assert not verdict
    assert shown == [verdict]


# --- statements and hints ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.id)
def test_a_statement_names_every_part_and_no_answer(exercise):
    text = " ".join(repr(statement(exercise.id)).split())
    assert exercise.title in text
    for part in exercise.parts.values():
        assert f"{part.name}: " in text
    assert "<div" in statement(exercise.id)._repr_html_()


def test_hints_grow_with_every_call():
    first, second, third, fourth = (repr(hint("B47")) for _ in range(4))
    assert "Gợi ý 1/3" in first
    assert "Gợi ý 2/3" in second
    assert "Gợi ý 3/3" in third == fourth
    assert repr(hint("b47", level=1)) == first


@pytest.mark.parametrize("level", [0, 4, -1, 1.5, "2", True])
def test_a_hint_of_no_such_level(level):
    with pytest.raises(ValueError, match="từ 1 đến 3"):
        hint("B47", level)


def test_a_statement_or_hint_of_no_such_exercise():
    for ask in (statement, hint):
        with pytest.raises(ValueError, match="không có bài “B99”"):
            ask("B99")
