"""The film: recording changes nothing, each frame shows the moment it says, files are films."""

import base64
import io
import math
import random
import struct
from itertools import pairwise
from xml.etree import ElementTree

import numpy as np
import pytest
from pictures import assert_no_text_on_text, assert_nothing_clipped, colors, words
from PIL import Image

from tinygrad_vi import DomainError, ShapeError, Value, compile, fit, losses, nn, optim
from tinygrad_vi.data import moons
from tinygrad_vi.show.training.film import Film

SVG = "{http://www.w3.org/2000/svg}"


def two_moons(compiled=False, **options):
    """A small network on two moons: (model, loss, X, y)."""
    X, y = moons(30)
    model = nn.MLP(2, [4, 1], activation="tanh", seed=0, **options)
    loss = lambda x, t: losses.bce_with_logits(model(x), t)  # noqa: E731
    return model, compile(loss, model.parameters(), backend="numpy") if compiled else loss, X, y


def train(loss, model, X, y, **options):
    if isinstance(loss, type(lambda: 0)):
        return fit(loss, X, y, params=model, progress=False, **options)
    return fit(loss, X, y, progress=False, **options)


def filmed(epochs=6, compiled=False, **options):
    model, loss, X, y = two_moons(compiled)
    film = Film(model, loss, X, y, steps=8, **options)
    train(loss, model, X, y, epochs=epochs, callbacks=film)
    return film


def line(epochs=3, learning_rate=0.1, **options):
    """y = w x, trained on t = 3 x: after an epoch of full-batch descent w is known by hand."""
    w = Value(0.0, "w")
    loss = lambda x, t: (w * x - t) ** 2  # noqa: E731
    film = Film(lambda x: w * x, loss, [1.0, 2.0], [3.0, 6.0], params=[w], steps=4, **options)
    sgd = optim.SGD([w], learning_rate=learning_rate)
    fit(loss, film.X, film.y, params=[w], optimizer=sgd, epochs=epochs, callbacks=film, progress=False)
    return film, w


def theta_by_hand(epochs, rate=0.1):
    """w after each epoch: the mean loss is 2.5 (w - 3)**2, its slope 5 (w - 3)."""
    ws = [0.0]
    for _ in range(epochs):
        ws.append(ws[-1] - rate * 5 * (ws[-1] - 3))
    return ws


def frames_of(path):
    picture = Image.open(io.BytesIO(path.read_bytes()))
    for k in range(picture.n_frames):
        picture.seek(k)
        yield np.asarray(picture.convert("RGB"))


# --- recording --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("batch_size", [None, 7])
def test_filming_changes_no_number(tmp_path, compiled, batch_size):
    def run(film):
        model, loss, X, y = two_moons(compiled)
        film = Film(model, loss, X, y, steps=5) if film else None
        callbacks = [film, lambda h: film.strip(2) and None] if film else []
        history = train(loss, model, X, y, epochs=4, batch_size=batch_size, callbacks=callbacks)
        if film:
            film.save(tmp_path / "a.gif", progress=False)
        return history.loss, history.gradient_norm, [p.data for p in model.parameters()], random.getstate()

    random.seed(1)
    plain = run(film=False)
    random.seed(1)
    assert run(film=True) == plain


def test_filming_draws_no_random_number_of_dropout():
    def run(film):
        model, loss, X, y = two_moons(dropout=0.5)
        callbacks = [Film(model, loss, X, y, steps=5)] * film
        callbacks += [lambda h: callbacks[0].strip(2) and None] * film
        random.seed(3)
        return train(loss, model, X, y, epochs=3, callbacks=callbacks).loss

    assert run(film=True) == run(film=False)


@pytest.mark.slow
def test_filming_leaves_parameters_and_gradients_as_they_are():
    film = filmed(epochs=3)
    for i, p in enumerate(film.parameters):
        p.grad = float(i)
    before = [(p.data, p.grad) for p in film.parameters]
    film.strip()
    film._repr_mimebundle_()
    assert [(p.data, p.grad) for p in film.parameters] == before


@pytest.mark.parametrize("compiled", [False, True])
def test_moments_are_the_parameters_of_their_epoch(compiled):
    """The judge is a callback of its own, which reads the model."""
    model, loss, X, y = two_moons(compiled)
    film, seen = Film(model, loss, X, y, frames=100), [[p.data for p in model.parameters()]]
    train(loss, model, X, y, epochs=5, callbacks=[film, lambda h: seen.append([p.data for p in model.parameters()])])
    assert [moment.theta for moment in film._chosen(100)] == seen
    assert len({tuple(theta) for theta in seen}) == 6


def test_numbers_known_by_hand():
    film, w = line(epochs=3)
    assert [moment.theta for moment in film._chosen(40)] == [[pytest.approx(x)] for x in theta_by_hand(3)]
    assert w.data == pytest.approx(theta_by_hand(3)[-1])


@pytest.mark.parametrize("epochs", [1, 2, 9, 10, 11, 25, 83, 200])
def test_a_film_of_any_length_begins_at_the_beginning_and_ends_at_the_end(epochs):
    film, _ = line(epochs=epochs, frames=5)
    moments = [moment.epoch for moment in film._chosen(5)]
    assert (moments[0], moments[-1]) == (0, epochs)
    assert len(film) == len(moments) == min(5, epochs + 1)
    gaps = np.diff(moments)
    assert gaps.min() >= 1
    assert gaps.max() - gaps.min() <= max(2, 0.25 * epochs)
    for moment in film._chosen(5):
        assert moment.theta == [pytest.approx(theta_by_hand(epochs)[moment.epoch])]


def test_long_trainings_take_no_more_memory():
    film, _ = line(epochs=1000, learning_rate=1e-4, frames=4)
    assert len(film._moments) <= 9


def test_another_training_is_another_film():
    film, w = line(epochs=4)
    fit(film.loss, film.X, film.y, params=[w], epochs=2, callbacks=film, progress=False)
    assert [moment.epoch for moment in film._chosen(40)] == [1, 2]
    assert repr(film) == '<Film of 2 epochs in 2 frames; .save("film.gif") writes it>'


def test_a_training_that_fails_is_filmed_up_to_there():
    w = Value(1.0, "w")
    loss = lambda x, t: (w * x - t) ** 4  # noqa: E731
    film = Film(lambda x: w * x, loss, [1.0, 2.0], [3.0, 6.0], params=[w])
    with pytest.raises(DomainError):
        fit(loss, film.X, film.y, params=[w], optimizer=optim.SGD([w], 1.0), epochs=50, callbacks=film, progress=False)
    assert len(film) >= 2
    assert film.strip().figure.axes


# --- what a frame shows -----------------------------------------------------------------------------------------------


def test_answers_are_those_of_the_model_at_that_epoch():
    film, _ = line(epochs=3)
    for epoch, w in enumerate(theta_by_hand(3)):
        found = film._scene(film._chosen(40)[epoch])
        xs = [*film.view.line, 1.0, 2.0]
        assert np.ravel(found.answers) == pytest.approx([w * x for x in xs])


@pytest.mark.parametrize("outputs", [1, 3])
def test_compiled_and_one_by_one_answers_agree(outputs):
    X, y = moons(20)
    model = nn.MLP(2, [5, outputs], activation="relu", seed=2)
    film = Film(model, lambda x, t: losses.mse(model(x), [t] * outputs), X, y, steps=6)
    fit(film.loss, X, y, params=model, epochs=1, callbacks=film, progress=False)
    assert film._compiled is not None
    one_by_one = [np.ravel(model.predict(point)).tolist() for point in film.view.points]
    assert np.array(film._scene(film._chosen(2)[-1]).answers) == pytest.approx(np.array(one_by_one), rel=1e-12)


def test_models_that_do_not_compile_are_filmed_all_the_same():
    w = Value(0.5, "w")

    def model(x):
        return w * x if x > 1.5 else w * x * 2  # a condition on a Value

    def reads_numbers(x):
        return w * (x.data if isinstance(x, Value) else x)  # compiled it would be the number of the first example

    for function in (model, reads_numbers):
        film = Film(function, lambda x, t: (w * x - t) ** 2, [1.0, 2.0], [3.0, 6.0], params=[w], steps=4)
        fit(film.loss, film.X, film.y, params=[w], epochs=2, callbacks=film, progress=False)
        assert film._compiled is None
        numbers = [function(x) for x in film.view.points]
        found = film._scene(film._chosen(3)[-1]).answers
        assert np.ravel(found) == pytest.approx([v.data for v in numbers])


def test_where_a_model_has_no_answer_there_is_a_gap(tmp_path):
    """The grid is wider than the data: a logarithm is asked for beyond its domain."""
    w = Value(1.0, "w")
    line = Film(lambda x: w * x.log() if isinstance(x, Value) else w * math.log(x) if x > 0 else Value(x).log(),
                lambda x, t: (w * x.log() - t) ** 2, [0.1, 3.0], [0.0, 1.0], params=[w], steps=5)  # fmt: skip
    fit(line.loss, line.X, line.y, params=[w], epochs=1, callbacks=line, progress=False)
    found = np.ravel(line._scene(line._last).answers)
    xs = np.array([*line.view.line, 0.1, 3.0])
    assert np.isnan(found[xs <= 0]).all()
    assert found[xs > 0] == pytest.approx(w.data * np.log(xs[xs > 0]))
    assert_nothing_clipped(line.strip().figure)
    logit = lambda x: w * Value(0.0 + x[0]).log() if not isinstance(x[0], Value) else w * x[0].log()  # noqa: E731
    X, y = [[0.1, 1.0], [3.0, 2.0]], [0, 1]
    film = Film(logit, lambda x, t: losses.bce_with_logits(logit(x), t), X, y, params=[w], steps=6)
    fit(film.loss, X, y, params=[w], epochs=1, callbacks=film, progress=False)
    assert "2 of 2 right" in " ".join(words(film.strip().figure))
    assert film.save(tmp_path / "a.gif", progress=False).stat().st_size > 5000


def test_scores_of_classes_by_one_input():
    X, y = [[0.1 * i] for i in range(10)], [i // 5 for i in range(10)]
    model = nn.MLP(1, [2], seed=0)
    film = Film(model, lambda x, t: losses.cross_entropy(model(x), t), X, y, steps=4)
    fit(film.loss, X, y, params=model, epochs=1, callbacks=film, progress=False)
    assert {"2 outputs", "model 1", "model 2", "data"} <= {
        part for text in words(film.strip(1).figure) for part in text.split("\n")
    }


def test_targets_in_lists_of_one():
    X, y = moons(12)
    model = nn.MLP(2, [1], seed=0)
    film = Film(model, lambda x, t: losses.mse(model(x), t), X, [[t] for t in y], steps=4)
    fit(film.loss, X, film.y, params=model, epochs=1, callbacks=film, progress=False)
    assert any("of 12 right" in text for text in words(film.strip(1).figure))


def test_the_words_of_the_frames():
    film = filmed(epochs=6)
    figures = film._figures(progress=False)
    first = words(next(figures))
    assert "epoch 0 of 6" in first
    assert "before the first step" in first
    *_, last = figures
    found = words(last)
    assert "epoch 6 of 6" in found
    assert f"loss {film.history.loss[-1]:.3g}" in found
    assert {"class 0", "class 1", "weights", "error signal δ", "x1", "x2", "loss", "epoch"} <= set(found)
    assert any("of 30 right" in text for text in found)
    assert "✓ healthy" in found


def test_the_loss_is_drawn_up_to_the_epoch():
    film = filmed(epochs=6)
    for epoch, figure in enumerate(film._figures(progress=False)):
        pale, bold, *mark = figure.axes[1].lines
        assert list(pale.get_ydata()) == film.history.loss
        assert list(bold.get_ydata()) == film.history.loss[:epoch]
        assert [list(dot.get_xdata()) for dot in mark] == [[epoch]] * (epoch > 0)


def test_the_gradient_is_that_of_numpy():
    """A linear layer: the gradient of the mean squared error is 2 X^T (X W + b - y) / n."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(20, 3)), rng.normal(size=20)
    model = nn.MLP(3, [1], seed=0)
    loss = lambda x, t: losses.mse(model(x), t)  # noqa: E731
    film = Film(model, loss, X, y)
    fit(loss, X, y, params=model, epochs=3, callbacks=film, progress=False)
    for moment in film._chosen(4):
        *W, b = moment.theta
        error = X @ W + b - y
        gradient = [*(2 * X.T @ error / 20), 2 * error.mean()]
        assert film._scene(moment).gradients.sizes == [pytest.approx(math.sqrt(np.mean(np.square(gradient))))]
    assert film.view is None
    assert len(next(film._figures(progress=False)).axes) == 2


def test_what_is_ill_is_said():
    X, y = moons(20)
    model = nn.MLP.from_weights([[[1.0, 1.0], [-1.0, 0.0]], [[1.0, 1.0]]], [[-50.0, -50.0], [0.0]])
    loss = lambda x, t: losses.bce_with_logits(model(x), t)  # noqa: E731
    film = Film(model, loss, X, y, steps=5)
    fit(loss, X, y, params=model, epochs=2, callbacks=film, progress=False)
    *_, last = film._figures(progress=False)
    title = last.axes[2].title
    assert title.get_text().replace("\n", " ") == "✗ vanishing (and 1 more remark)"
    assert "dead units in layer 1: 2 of 2" in [word for word, _ in film._scene(film._last).gradients.remarks]
    assert_nothing_clipped(last)


def regression(outputs=1):
    X = [[0.1 * i] for i in range(-10, 11)]
    y = [math.sin(3 * x) if outputs == 1 else [math.sin(3 * x), x] for [x] in X]
    model = nn.MLP(1, [4, outputs], activation="tanh", seed=0)
    return model, lambda x, t: losses.mse(model(x), t), X, y


def three_classes():
    rng = random.Random(0)
    X = [[rng.gauss(k % 2, 0.2), rng.gauss(k // 2, 0.2)] for k in range(3) for _ in range(8)]
    model = nn.MLP(2, [3], seed=0)
    return model, lambda x, t: losses.cross_entropy(model(x), t), X, [k for k in range(3) for _ in range(8)]


def deep():
    X = [[float(i == j) for j in range(4)] for i in range(4)]
    model = nn.MLP(4, [3] * 9 + [1], activation="sigmoid", seed=0)
    return model, lambda x, t: losses.mse(model(x), t), X, [0.5, 1.0, 1.5, 2.5]


def sequences():
    X, y = [[[0.1 * i], [0.2]] for i in range(5)], [0.1 * i for i in range(5)]
    model = nn.RNN(nn.RNNCell(1, 2, seed=0), nn.Layer(2, 1, "identity", seed=0), last=True)
    return model, lambda x, t: losses.mse(model(x), t), X, y


KINDS = {
    "moons": two_moons,
    "regression": regression,
    "two outputs": lambda: regression(2),
    "three classes": three_classes,
    "deep": deep,
    "sequences": sequences,
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_clipped_in_any_kind_of_film(kind):
    model, loss, X, y = KINDS[kind]()
    film = Film(model, loss, X, y, steps=6, labels=("cost $x$ & more", "$y"))
    fit(loss, X, y, params=model, epochs=1, validation=(X, y), callbacks=film, progress=False)
    for figure in film._figures(progress=False):
        assert_nothing_clipped(figure)
        assert_no_text_on_text(figure)
        if film.view is not None:
            assert {"cost $x$ & more", "$y", "validation loss"} <= set(words(figure))
    strip = film.strip(2).figure
    assert_nothing_clipped(strip)
    assert_no_text_on_text(strip)
    panels = {"moons": 3, "regression": 3, "two outputs": 3, "three classes": 3, "deep": 2, "sequences": 2}
    assert len(figure.axes) == panels[kind]
    columns = 1 + 2 * (film.view is not None) + 2 * isinstance(model, nn.MLP)
    assert len(strip.axes) == columns


def test_two_inputs_and_numbers_to_hit_have_no_boundary():
    X = [[float(i), float(j)] for i in range(4) for j in range(4)]
    model = nn.MLP(2, [1], seed=0)
    for y in ([a + 0.5 * b for a, b in X], [a + 10 * b for a, b in X]):
        assert Film(model, losses.mse, X, y).view is None
    assert Film(model, losses.mse, X, [a > b for a, b in X]).view is not None


def test_the_strip_marks_its_moments():
    film = filmed(epochs=8)
    strip = film.strip(3)
    assert repr(strip) == '<Plot of a training at the epochs 0, 4, 8; .save("plot.png") writes it>'
    marks = strip.figure.axes[-1].lines[-1]
    assert list(marks.get_xdata()) == [4, 8]
    assert list(marks.get_ydata()) == [film.history.loss[3], film.history.loss[7]]
    titles = [axis.get_title() for axis in strip.figure.axes if "right" in axis.get_title()]
    assert [title.split("\n")[0] for title in titles] == ["epoch 0", "epoch 4", "epoch 8"]
    assert "epochs 8;" in repr(film.strip(1))


# --- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_gif_has_all_frames_and_none_is_blank(tmp_path):
    film = filmed(epochs=12, frames=4)
    path = film.save(tmp_path / "moons.GIF", seconds=4.0, progress=False)
    frames = list(frames_of(path))
    assert len(frames) == len(film) == 4
    assert {frame.shape for frame in frames} == {(340, 900, 3)}
    assert all(colors(frame) > 10 for frame in frames)
    assert all((a != b).mean() > 1e-3 for a, b in pairwise(frames))
    picture = Image.open(io.BytesIO(path.read_bytes()))
    assert picture.info["loop"] == 0
    times = []
    for k in range(4):
        picture.seek(k)
        times.append(picture.info["duration"])
    assert sum(times) == pytest.approx(4000, rel=0.02)
    assert times[-1] > 3 * times[0]


def test_a_pixel_of_the_background_is_white(tmp_path):
    frames = list(frames_of(filmed(epochs=2).save(tmp_path / "a.gif", progress=False)))
    assert all(frame[2, 2].min() > 250 for frame in frames)


def test_the_animated_svg_shows_each_frame_in_its_time(tmp_path):
    film = filmed(epochs=12, frames=5)
    path = film.save(tmp_path / "moons.svg", seconds=4.0, progress=False)
    root = ElementTree.fromstring(path.read_bytes())
    assert root.tag == f"{SVG}svg"
    assert root.get("viewBox")
    groups = root.findall(f"{SVG}g")
    assert len(groups) == 5
    assert [group.get("display") for group in groups] == ["none"] * 4 + ["inline"]  # what still viewers see
    shown = []
    for group in groups:
        [animate] = group.findall(f"{SVG}animate")
        assert (animate.get("dur"), animate.get("repeatCount"), animate.get("calcMode")) == (
            "4s",
            "indefinite",
            "discrete",
        )
        times, values = animate.get("keyTimes").split(";"), animate.get("values").split(";")
        assert len(times) == len(values)
        assert float(times[0]) == 0.0
        changes = list(zip(map(float, times), values, strict=True))
        shown.append(
            [
                values[i]
                for t in np.linspace(0.001, 0.999, 50)
                for i in [max(k for k, (at, _) in enumerate(changes) if at <= t)]
            ]
        )
    assert all(moment.count("inline") == 1 for moment in zip(*shown, strict=True))  # one frame at any time
    ids = [element.get("id") for element in root.iter() if element.get("id")]
    assert len(ids) == len(set(ids))
    link = "{http://www.w3.org/1999/xlink}href"
    assert {element.get(link)[1:] for element in root.iter() if element.get(link)} <= set(ids)
    contents = [[use.get(link) for use in group.findall(f"{SVG}use")] for group in groups]
    assert all(len(content) > 20 for content in contents)
    assert len({tuple(content) for content in contents}) == 5
    shared = set.intersection(*map(set, contents))
    assert len(shared) > 10  # axes and points are kept once


@pytest.mark.slow
def test_stills_are_the_strip(tmp_path):
    film = filmed(epochs=3)
    for suffix, start in (("png", b"\x89PNG"), ("pdf", b"%PDF")):
        path = film.save(tmp_path / f"film.{suffix}")
        assert path.read_bytes().startswith(start)
    assert film.save(tmp_path / "a.png").read_bytes() == film.strip().save(tmp_path / "b.png").read_bytes()


@pytest.mark.slow
def test_equal_trainings_give_equal_files(tmp_path):
    for suffix in ("gif", "svg", "png"):
        one, other = (filmed(1).save(tmp_path / f"{k}.{suffix}", progress=False).read_bytes() for k in "ab")
        assert one == other


@pytest.mark.slow
def test_notebooks_show_the_film_and_static_pages_the_strip():
    film = filmed(epochs=3)
    bundle = film._repr_mimebundle_()
    start = '<img src="data:image/gif;base64,'
    assert bundle["text/html"].startswith(start)
    data = io.BytesIO(base64.b64decode(bundle["text/html"][len(start) :].partition('"')[0]))
    assert Image.open(data).n_frames == 4
    assert struct.unpack(">II", bundle["image/png"][16:24])[0] > 1000
    assert bundle["text/plain"] == '<Film of 3 epochs in 4 frames; .save("film.gif") writes it>'
    assert film._repr_mimebundle_() is bundle  # made once
    assert max(len(bundle["text/html"]), len(bundle["image/png"])) < 300_000


@pytest.mark.slow
def test_the_files_of_a_whole_film_are_small():
    """Forty frames of a boundary that moves all the time."""
    model, loss, X, y = two_moons()
    film = Film(model, loss, X, y)
    fit(
        loss,
        X,
        y,
        params=model,
        optimizer=optim.Adam(model.parameters(), 0.1),
        epochs=40,
        callbacks=film,
        progress=False,
    )
    assert len(film) == 40
    bundle = film._repr_mimebundle_()
    assert max(len(bundle["text/html"]), len(bundle["image/png"])) < 300_000


def test_a_bar_counts_the_pictures(tmp_path, capsys):
    film = filmed(epochs=2)
    film.save(tmp_path / "a.gif", progress=True)
    assert "6/6" in capsys.readouterr().err
    film.save(tmp_path / "b.gif", progress=False)
    film.save(tmp_path / "c.gif")  # nobody sees it: see tests/test_terminal.py
    assert capsys.readouterr().err == ""


# --- what cannot be filmed --------------------------------------------------------------------------------------------


def test_a_film_without_a_frame_says_what_to_do(tmp_path):
    model, loss, X, y = two_moons()
    film = Film(model, loss, X, y)
    for show in (film.strip, lambda: film.save(tmp_path / "a.gif"), lambda: film.save(tmp_path / "a.png")):
        with pytest.raises(ValueError, match=r"the film has no frame yet: give it to the training first, fit\(\.\.\."):
            show()
    assert film._repr_mimebundle_() == {"text/plain": "<Film without a frame: fit(..., callbacks=film) records it>"}
    assert len(film) == 0
    assert film
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_filmed_says_so(tmp_path):
    model, loss, X, y = two_moons()
    with pytest.raises(TypeError, match=r"has no parameters\(\): give its Values, Film\(\.\.\., params=\[w, b\]\)"):
        Film(lambda x: x, loss, X, y)
    with pytest.raises(TypeError, match="can be called with an example, got 3"):
        Film(3, loss, X, y)
    with pytest.raises(ShapeError, match="one entry for each example, got 30 and 29"):
        Film(model, loss, X, y[1:])
    with pytest.raises(ValueError, match="frames"):
        Film(model, loss, X, y, frames=1)
    film = filmed(epochs=1)
    with pytest.raises(ValueError, match=r"cannot save a film as 'a.mp4': the name must end in .gif, .svg, .png, .pdf"):
        film.save(tmp_path / "a.mp4")
    with pytest.raises(ValueError, match="seconds must be positive and finite, got 0"):
        film.save(tmp_path / "a.gif", seconds=0)
    with pytest.raises(ValueError, match="the number of moments"):
        film.strip(0)
    assert list(tmp_path.iterdir()) == []


def test_a_frame_that_cannot_be_computed_names_its_epoch():
    w = Value(1.0, "w")
    film = Film(lambda x: (w * x).log(), lambda x, t: (w * x - t) ** 2, [1.0, 2.0], [1.0, 2.0], params=[w])
    fit(film.loss, film.X, film.y, params=[w], epochs=1, callbacks=film, progress=False)
    w.data = 7.0
    film._last = type(film._last)(1, [-1.0])
    with pytest.raises(DomainError, match=r"the frame of epoch 1 cannot be drawn: .*log"):
        film.strip()
    assert w.data == 7.0
