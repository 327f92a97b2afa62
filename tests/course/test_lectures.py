"""The gallery: every picture that the lecture notes lost is drawn by one call, with the exercises' numbers on it."""

import re
from functools import cache

import pytest
from svg import clipped_labels, labels, overlapping_texts, texts

from tinygrad_vi import show
from tinygrad_vi.course.pictures import PICTURES, lecture_picture, lecture_pictures


@cache
def picture(name):
    return lecture_picture(name)


def texts_of(name):
    drawn = picture(name)
    if isinstance(drawn, show.Drawing):
        return texts(drawn.svg)
    from matplotlib.text import Text

    return [t.get_text() for t in drawn.figure.findobj(Text) if t.get_text().strip()]


def test_all_twenty_pictures_are_there():
    by_notes = {notes: [name for name in PICTURES if name.startswith(notes)] for notes in ("S0", "S1", "S2", "S3")}
    assert [len(names) for names in by_notes.values()] == [8, 3, 3, 6]
    assert len(PICTURES) == 20
    figures = {place for p in PICTURES.values() if (place := re.search(r"figure ([\d.]+)", p.place))}
    assert {match[1] for match in figures} == {"6.3", "6.4", "3.13", "3.14", "3.15", "3.17", "3.18", "3.19"}


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_drawn_and_saved(name, tmp_path, capfd):
    drawn = picture(name)
    assert isinstance(drawn, (show.Drawing, show.Plot))
    assert drawn.save(tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")
    assert drawn.save(tmp_path / "picture.svg").read_text(encoding="utf-8").startswith("<?xml")
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize("name", PICTURES)
def test_every_text_of_a_picture_can_be_read(name):
    drawn = picture(name)
    assert len(texts_of(name)) > 4
    wrong = clipped_labels(drawn.svg) if isinstance(drawn, show.Drawing) else overlapping_texts(drawn.figure)
    assert wrong == []


#: what must stand on a picture; the numbers are those of the exercises, rounded to four digits
SHOWN = {
    "S0-network": "x0 x1 x2 z0 z1 z2 z3 y1 y2 w₁₀⁽¹⁾ w₃₂⁽¹⁾ w₂₀⁽²⁾ w₂₃⁽²⁾",
    "S0-exercise-1": "x = -2|y = 5|z = -4|q = 3|f = -12|3|-4|1",  # B01
    "S0-exercise-2": (  # B02, B02b
        "w0 = 2|x0 = -1|w1 = -3|x1 = -2|w2 = -3|z = 1|s = 0.7311|-0.1966|0.3932|-0.3932|-0.5898|0.1966"
        "|-1|0.3679|1.368|-0.5344|1|exp|1 / x"
    ),
    "S0-exercise-3": "h₁ = 2|h₂ = 1.5|h₃ = 2.5|y₃ = 2.5|∂L/∂W_x|∂L/∂W_h|2.5|3.5",  # B44
    "S0-exercise-4": (  # B45
        "h₁ = 4|h₂ = 0.5|h₃ = -0.7|y₁ = 0.982|y₂ = 0.6225|y₃ = 0.3318|(0.6651, 0.8203)|0.9977|-0.1552"
    ),
    "S0-4-2-3": (  # B35
        "(0.75, 1.1)|(0.6351, 0.8005)|(2.236, -0.7005, 0.6178)|1.545|(0.8241, -0.467, 1.079)|(1.363, 2.654)"
        "|(0.8134, 0.9535)|(1.29, -0.4767, 0.1401, 0.4067)|x (4 × 1)|W₁ (2 × 4)|W₂ (3 × 2)"
    ),
    "S1-templates": "0 1 2 3 4 5 6 7 8 9",
    "S1-neuron": "nhân|hàm kích hoạt|đầu ra",
    "S1-gates": (  # B11
        "add gate: gradient distributor|1 × 2 = 2|mul gate: swap multiplier|3 × 5 = 15|2 × 5 = 10"
        "|copy gate: gradient adder|4 + 2 = 6|max gate: gradient router|0 × 9 = 0|1 × 9 = 9"
    ),
    "S2-network": (  # B40
        "n × 2|W⁽¹⁾: 2 × 3|b⁽¹⁾: 1 × 3|n × 3|W⁽²⁾: 3 × 4|b⁽²⁾: 1 × 4|n × 4|W⁽³⁾: 4 × 1|b⁽³⁾: 1 × 1|n × 1"
    ),
    "S2-6.3": (  # B41
        "A⁽⁰⁾ = X|Z⁽¹⁾ = A⁽⁰⁾ W⁽¹⁾ + b⁽¹⁾|A⁽²⁾ = σ(Z⁽²⁾)|A⁽³⁾ = σ(Z⁽³⁾) = Ŷ|W⁽¹⁾: 2 × 4|W⁽²⁾: 4 × 5|W⁽³⁾: 5 × 1"
    ),
    "S2-6.4": (  # B42
        "dA⁽³⁾ = ∂J/∂A⁽³⁾|dZ⁽²⁾ = dA⁽²⁾ ⊙ σ′(Z⁽²⁾)|dA⁽¹⁾ = dZ⁽²⁾ W⁽²⁾ᵀ|dW⁽²⁾ = A⁽¹⁾ᵀ dZ⁽²⁾: 4 × 5"
        "|db⁽²⁾ = Σ rows of dZ⁽²⁾: 1 × 5|dW⁽¹⁾ = A⁽⁰⁾ᵀ dZ⁽¹⁾: 2 × 4"
    ),
    "S3-3.13": "11.65|5.5",  # B05
    "S3-3.14": "11.65|5.5|1.716",  # B07
    "S3-3.15": (  # B38
        "w₁₁⁽¹⁾ = 0.15|w₁₂⁽¹⁾ = 0.2|w₂₁⁽¹⁾ = 0.25|w₂₂⁽¹⁾ = 0.3|w₁₀⁽¹⁾ = 0.35|w₂₀⁽¹⁾ = 0.35|w₁₁⁽²⁾ = 0.4"
        "|w₁₂⁽²⁾ = 0.45|w₁₀⁽²⁾ = 0.6|0.5933|0.5969|1.106|loss 0.6005|grad 0.005289|grad 0.01058|grad 0.1058"
        "|grad 0.005933|grad 0.01187|grad 0.1187|grad 0.6502|grad 0.6541|grad 1.096"
    ),
}


@pytest.mark.parametrize("name", SHOWN)
def test_the_numbers_of_the_exercise_stand_on_the_picture(name):
    wanted = SHOWN[name].split("|" if "|" in SHOWN[name] else " ")
    shown = texts_of(name)
    if name in ("S3-3.13", "S3-3.14"):  # drawn with formulas around the numbers
        assert [text for text in wanted if not any(text in line for line in shown)] == []
    else:
        assert set(wanted) - set(shown) == set()


def test_the_delta_of_the_hidden_unit_is_what_flows_back_to_it():
    """delta_j = h'(a_j) sum_k w_kj delta_k, put together from the numbers on the picture."""
    found = labels(picture("S0-delta").svg)
    weights = [float(found[f"w{k}"][0].split(" = ")[1]) for k in (2, 3)]
    deltas = [float(found[f"n2_{k}v"][1].removeprefix("δ ")) for k in (0, 1)]
    z, delta = float(found["n1_0v"][0]), float(found["n1_0v"][1].removeprefix("δ "))
    assert delta == pytest.approx((1 - z**2) * sum(w * d for w, d in zip(weights, deltas, strict=True)), rel=2e-3)
    assert deltas == pytest.approx([float(found["n2_0v"][0]) - 0.0, float(found["n2_1v"][0]) - 1.0], abs=1e-3)


@pytest.mark.slow
def test_a_linear_classifier_has_a_template_for_each_class_and_a_hidden_layer_a_hundred():
    left, right = picture("S1-templates").figure.axes[:2]
    assert (len(left.images), len(right.images)) == (10, 100)
    zero = left.images[0].get_array()
    assert zero[3:5, 3:5].max() < 0  # a 0 has a hole
    assert zero[2:6, 1].mean() > 0
    assert zero[2:6, 6].mean() > 0


@pytest.mark.parametrize("name", ["S0-network", "S0-exercise-2", "S0-exercise-4", "S0-4-2-3", "S1-gates", "S3-3.15"])
def test_equal_pictures_are_drawn_each_time(name):
    assert lecture_picture(name).source == picture(name).source


def test_the_list_names_them_all():
    listed = str(lecture_pictures())
    for name, p in PICTURES.items():
        assert name in listed
        assert p.shows in listed
    assert lecture_pictures().to_markdown().count("\n|") == 22


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(
        ValueError, match=r"no lecture picture 'S3-315': did you mean 'S3-3\.15'.* known are S0-network"
    ):
        lecture_picture("S3-315")
    with pytest.raises(ValueError, match=r"no lecture picture 7: known are .*S3-3\.19"):
        lecture_picture(7)
