"""Templates are the weights themselves, and a nerve cell has its labels in two languages."""

from itertools import pairwise

import numpy as np
import pytest
from svg import overlapping_texts

from tinygrad_vi import ShapeError, nn
from tinygrad_vi.show.networks.analogies import neuron_analogy, templates
from tinygrad_vi.words import words_of

WORDS = words_of("analogies")


def texts(plot):
    from matplotlib.text import Text

    return [t.get_text() for t in plot.figure.findobj(Text) if t.get_text()]


def test_each_template_is_the_weights_of_a_unit_on_a_scale_of_its_own():
    W = np.arange(-9.0, 9.0).reshape(2, 9)
    plot = templates(nn.Layer.from_weights(W.tolist()))
    images = plot.figure.axes[0].images
    for image, w in zip(images, W, strict=True):
        assert np.array(image.get_array()) == pytest.approx(w.reshape(3, 3) / np.abs(w).max())
    assert repr(plot) == '<Plot of 2 templates of 3 × 3; .save("plot.png") writes it>'


def test_images_stand_in_rows_from_the_top_down_and_do_not_meet():
    axis = templates(nn.Layer(6, 5, seed=0), shape=(2, 3)).figure.axes[0]
    extents = [image.get_extent() for image in axis.images]
    for (left, right, bottom, top), (left2, *_, top2) in pairwise(extents):
        assert right - left == pytest.approx((top - bottom) * 3 / 2, rel=0.01)
        assert left2 > right or top2 < bottom
    assert axis.get_ylim()[0] <= min(bottom for _, _, bottom, _ in extents)


def test_several_models_stand_side_by_side_with_titles_and_names():
    linear, hidden = nn.MLP(4, [3], seed=0), nn.MLP(4, [9, 3], seed=0)
    plot = templates(linear, hidden, titles=["một khuôn mẫu $ mỗi lớp", "9"], names=["mèo", "$x$", "chó"])
    assert [len(axis.images) for axis in plot.figure.axes[:2]] == [3, 9]
    assert {r"một khuôn mẫu \$ mỗi lớp", "mèo", r"\$x\$", "negative", "positive"} <= set(texts(plot))
    assert overlapping_texts(plot.figure) == []


def test_missing_connections_are_zeros_and_weights_of_zero_are_blank():
    layer = nn.Layer(4, 2, mask=[[1, 0, 0, 0], [1, 1, 1, 1]], seed=0)
    first = np.array(templates(layer).figure.axes[0].images[0].get_array()).ravel()
    assert list(first[1:]) == [0.0] * 3
    dead = templates(nn.Layer.from_weights([[0.0] * 4, [1e-9] * 4, [1.0] * 4]))
    shown = [np.abs(np.array(image.get_array())).max() for image in dead.figure.axes[0].images]
    assert shown == pytest.approx([0.0, 0.0, 1.0], abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("language", ["en", "vi"])
def test_the_cell_and_its_model_have_the_same_parts(language, tmp_path):
    plot = neuron_analogy(language=language)
    shown = texts(plot)
    assert set(WORDS[language].values()) <= set(shown)
    for k in (1, 2, 3):
        assert f"$x_{k}\\,w_{k}$" in shown
    assert r"$\sum_i x_i w_i + b$" in shown
    assert overlapping_texts(plot.figure) == []
    assert plot.save(tmp_path / "neuron.png").read_bytes().startswith(b"\x89PNG")


def test_both_languages_label_the_same_things():
    assert WORDS["en"].keys() == WORDS["vi"].keys()


def test_errors_say_what_was_wrong():
    with pytest.raises(ValueError, match="the languages are 'en', 'vi', got 'fr'"):
        neuron_analogy(language="fr")
    with pytest.raises(ShapeError, match=r"6 weights make no square image: give templates\(\.\.\., shape="):
        templates(nn.Layer(6, 1, seed=0))
    for options, words in (
        ({"shape": (2, 2)}, "an image of 2 × 2 has 4 pixels, and a unit 9 weights"),
        ({"names": ["a"]}, "the first model has 2 units, got 1 names"),
        ({"titles": ["a", "b"]}, "there are 1 model and 2 titles"),
    ):
        with pytest.raises(ShapeError, match=words):
            templates(nn.Layer(9, 2, seed=0), **options)
    with pytest.raises(ShapeError, match="the models have different inputs: 4, 9"):
        templates(nn.Layer(4, 1, seed=0), nn.Layer(9, 1, seed=0))
    with pytest.raises(ShapeError, match=r"templates needs a model"):
        templates()
    with pytest.raises(
        TypeError, match="templates draws an MLP, a Layer or a Neuron, got 3; of any other model the graph"
    ):
        templates(3)
