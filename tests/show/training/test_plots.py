"""Plots: the numbers drawn are those of the training, the words say what is wrong, files are pictures."""

import math
import random
import struct

import numpy as np
import pytest
from matplotlib.contour import ContourSet

from tinygrad_vi import History, ShapeError, Value, losses, nn, show
from tinygrad_vi.data import moons, study_hours, xor


def history(**columns):
    loss = columns.get("loss", [1.0, 0.5, 0.25])
    n = len(loss)
    defaults = {
        "loss": loss,
        "gradient_norm": [2.0] * n,
        "learning_rate": [0.1] * n,
        "time": list(map(float, range(n))),
    }
    return History(**{**defaults, **columns})


def texts(plot):
    from matplotlib.text import Text

    return [t.get_text() for t in plot.figure.findobj(Text) if t.get_text()]


def test_the_loss_curve_draws_the_history():
    plot = history(
        validation_loss=[1.5, 0.75, 0.9], learning_rate=[0.1, 0.1, 0.05], stopped="a callback ended it"
    ).plot()
    top, middle, bottom = plot.figure.axes
    assert [list(line.get_ydata()) for line in top.lines] == [[1.0, 0.5, 0.25], [1.5, 0.75, 0.9], [0.75]]
    assert list(top.lines[0].get_xdata()) == [1, 2, 3]
    assert list(middle.lines[0].get_ydata()) == [2.0] * 3
    assert list(bottom.lines[0].get_ydata()) == [0.1, 0.1, 0.05]
    assert "loss 1 → 0.25 in 3 epochs (a callback ended it)" in texts(plot)
    assert "best: epoch 2" in texts(plot)
    assert repr(plot) == '<Plot of the loss in 3 epochs; .save("plot.png") writes it>'


def test_the_scale_is_logarithmic_where_the_loss_falls_far():
    assert history().plot().figure.axes[0].get_yscale() == "linear"
    assert history(loss=[1.0, 0.01]).plot().figure.axes[0].get_yscale() == "log"
    assert history(loss=[1.0, 0.0]).plot().figure.axes[0].get_yscale() == "linear"
    assert len(history().plot().figure.axes) == 2


@pytest.mark.parametrize(("suffix", "start"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_plots_are_saved_as_pictures(tmp_path, suffix, start):
    path = history().plot().save(tmp_path / f"hàm mất mát.{suffix.upper()}")
    assert path.read_bytes().startswith(start)
    assert path.stat().st_size > 5000


def test_plots_show_themselves_in_notebooks():
    bundle, metadata = history().plot()._repr_mimebundle_()
    width, height = struct.unpack(">II", bundle["image/png"][16:24])
    assert width > 800
    size = metadata["image/png"]
    assert size["width"] / size["height"] == pytest.approx(width / height, rel=0.02)
    assert bundle["text/plain"].startswith("<Plot of the loss")


def test_what_cannot_be_plotted_says_so(tmp_path):
    with pytest.raises(ValueError, match="there is nothing to plot: the history has no epoch"):
        History().plot()
    with pytest.raises(ValueError, match=r"cannot save a plot as 'a.bmp': the name must end in .png, .svg, .pdf"):
        history().plot().save(tmp_path / "a.bmp")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ShapeError, match="every example needs two numbers"):
        show.decision_boundary(lambda x: x, [[1.0, 2.0, 3.0]], [1])
    with pytest.raises(TypeError, match="gradient_sizes looks at the layers of an MLP, got a Neuron; of any other"):
        show.gradient_sizes(nn.Neuron(2), losses.mse, [[1.0, 2.0]], [1.0])
    with pytest.raises(ShapeError, match="X and y must have one entry for each example, got 2 and 1"):
        show.predictions([1.0, 2.0], [1.0])


# --- the decision boundary --------------------------------------------------------------------------------------------


def test_the_boundary_is_where_the_model_says_it_is():
    line = nn.MLP.from_weights([[[1.0, 1.0]]], [[-1.0]])
    X, y = [[0.0, 0.0], [1.0, 1.0], [0.2, 0.1], [0.0, 0.3]], [0, 1, 0, 1]
    plot = show.decision_boundary(line, X, y, steps=30)
    paths = [path for contour in plot.figure.axes[0].collections for path in contour.get_paths() if len(path.vertices)]
    on_line = [path.vertices for path in paths if np.allclose(path.vertices.sum(axis=1), 1.0, atol=1e-9)]
    assert on_line
    assert "decision boundary: 3 of 4 right (75%)" in texts(plot)
    assert {"class 0", "class 1", "wrong: 1"} <= set(texts(plot))


def test_several_classes_and_thresholds_and_transforms():
    X, y = [[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]], [0, 1, 2]
    model = nn.Layer.from_weights([[-1.0, -1.0], [1.0, 0.0], [0.0, 1.0]], [0.5, 0.0, 0.0])
    assert "3 of 3 right" in " ".join(texts(show.decision_boundary(model, X, y, steps=12)))
    half = show.decision_boundary(lambda x: 0.5 + 0.1 * (x[0] - 0.5), X, [0, 1, 0], threshold=0.5, steps=12)
    assert "3 of 3 right" in " ".join(texts(half))
    moved = show.decision_boundary(lambda x: x[0], X, [1, 1, 1], transform=lambda x: [x[0] + 5, x[1]], steps=12)
    assert "3 of 3 right" in " ".join(texts(moved))
    recording = show.decision_boundary(lambda x: Value(x[0]) - 0.5, X, [-1, 1, -1], steps=12)
    assert "class -1" in texts(recording)


def test_regions_of_several_classes_meet_where_their_scores_are_equal():
    """The scores are x1, x2 and -x1 - x2: boundaries are three half lines from the origin."""
    model = nn.Layer.from_weights([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]])
    X, y = [[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]], [0, 1, 2]
    figure = show.decision_boundary(model, X, y, steps=41).figure
    lines = [
        contour for contour in figure.axes[0].collections if isinstance(contour, ContourSet) and not contour.filled
    ]
    assert len(lines) == 3
    for contour in lines:
        vertices = np.concatenate([path.vertices for path in contour.get_paths()])
        scores = np.sort(np.array([vertices[:, 0], vertices[:, 1], -vertices.sum(axis=1)]), axis=0)
        assert scores[2] == pytest.approx(scores[1], abs=0.06)
    filled = [contour for contour in figure.axes[0].collections if isinstance(contour, ContourSet) and contour.filled]
    assert len({tuple(contour.get_facecolor()[0]) for contour in filled}) == 3


def test_predictions_stand_at_their_targets():
    plot = show.predictions([1.0, 2.0], [1.5, 2.0])
    assert plot.figure.axes[0].collections[0].get_offsets().tolist() == [[1.0, 1.5], [2.0, 2.0]]
    assert "2 examples, mean squared error 0.12" in texts(plot)


# --- the size of the gradient by layer --------------------------------------------------------------------------------


def test_bars_are_the_root_mean_square_of_numpys_gradient():
    W, b = np.array([[0.5, -0.3]]), np.array([0.1])
    model = nn.MLP.from_weights([W.tolist()], [b.tolist()])
    model.parameters()[0].grad = 7.0
    X, y = study_hours()
    plot = show.gradient_sizes(model, lambda x, t: losses.mse(model(x), t), X, y)
    error = np.array(X) @ W[0] + b - y
    gradient = [*(2 * np.array(X).T @ error / 20), 2 * error.mean()]
    (bar,) = plot.figure.axes[0].patches
    assert bar.get_height() == pytest.approx(math.sqrt(np.mean(np.square(gradient))), rel=1e-12)
    assert list(plot.figure.axes[0].lines[0].get_ydata()) == pytest.approx([math.sqrt(np.mean((2 * error) ** 2))])
    assert [p.grad for p in model.parameters()] == [7.0, 0.0, 0.0]
    assert "healthy" in plot.summary


def test_words_for_vanishing_exploding_dead_and_saturated():
    X, y = xor()

    def words(model):
        return show.gradient_sizes(model, lambda x, t: losses.mse(model(x), t), X, y).summary

    deep = nn.MLP(2, [4] * 9 + [1], activation="sigmoid", seed=0)
    assert "vanishing: the delta of layer 1 is " in words(deep)
    assert "times that of layer 10" in words(deep)
    large = nn.MLP.from_weights([[[1.0, 1.0]], [[30.0]], [[30.0]], [[30.0]]], activation="identity")
    assert "exploding: the delta of layer 1 is 2.7e4 times that of layer 4" in words(large)
    dead = nn.MLP.from_weights([[[1.0, 1.0], [-1.0, -1.0], [-1.0, 0.0]], [[1.0, 1.0, 1.0]]], [[0, -1, -1], [0]])
    assert "dead: 2 of 3 ReLU units of layer 1 let nothing through for any of the 4 examples" in words(dead)
    flat = nn.MLP.from_weights([[[1.0, 1.0]], [[1.0]]], [[50.0], [0.0]], activation="tanh")
    assert "saturated: 1 of 1 tanh units of layer 1 have a slope below 0.001 for all 4 examples" in words(flat)


def test_the_words_stand_under_the_bars():
    X, y = moons(20)
    model = nn.MLP(2, [3] * 12 + [1], activation="sigmoid", seed=0)
    plot = show.gradient_sizes(model, lambda x, t: losses.bce_with_logits(model(x), t), X, y)
    assert "vanishing: the delta of layer 1 is" in plot.figure.get_supxlabel()
    assert len(plot.figure.axes[0].patches) == 13
    assert plot.figure.axes[0].get_yscale() == "log"


def test_the_gradient_by_layer_drops_nothing_and_draws_no_random_number():
    X, y = xor()
    found = []
    for dropout in (0.5, 0.0):
        model = nn.MLP(2, [6, 1], activation="tanh", dropout=dropout, seed=0)
        state = random.getstate()
        plot = show.gradient_sizes(model, lambda x, t, model=model: losses.mse(model(x), t), X, y)
        assert random.getstate() == state
        found.append([bar.get_height() for bar in plot.figure.axes[0].patches])
    assert found[0] == found[1]


def test_labels_are_no_mathematics(tmp_path):
    X, y = xor()
    names = (r"$\frac$", "$x_1$ & <b>")
    for plot in (
        show.decision_boundary(nn.MLP(2, [1], seed=0), X, y, steps=4, labels=names),
        show.predictions([0.0, 1.0], [0.5, 1.0], labels=names),
    ):
        assert plot.save(tmp_path / "plot.png").stat().st_size > 1000
