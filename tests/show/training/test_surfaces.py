"""Loss surfaces: the numbers are those of NumPy and SciPy, the words fit them, nothing is clipped."""

import math
import struct

import numpy as np
import pytest
import scipy.optimize
from pictures import assert_no_text_on_text, assert_nothing_clipped, words
from sklearn.decomposition import PCA

from tinygrad_vi import DomainError, ShapeError, TrainingError, Value, compile, fit, losses, nn, optim
from tinygrad_vi.data import moons
from tinygrad_vi.show.palette import LINE
from tinygrad_vi.show.training.descents import batch_columns, descents
from tinygrad_vi.show.training.error_surface import error_surface
from tinygrad_vi.show.training.landscape import ParameterPath, loss_landscape
from tinygrad_vi.show.training.quadratic import quadratic

H = [[2.0, 1.0], [1.0, 4.0]]


def line(n=12, start=(-1.0, 2.0)):
    """A line through noisy points: (loss, [w, b], X, y)."""
    rng = np.random.default_rng(0)
    X = rng.uniform(0, 2, n)
    w, b = Value(start[0], "w"), Value(start[1], "b")
    return lambda x, t: (w * x + b - t) ** 2, [w, b], X, 1.5 * X - 0.5 + 0.3 * rng.normal(size=n)


def landscape_of(loss, parameters, X, y):
    return loss_landscape(loss, X, y, params=parameters)


def line_loss(X, y, w, b):
    """The mean loss by NumPy, for arrays of w and b."""
    w, b = np.broadcast_arrays(w, b)
    return np.mean((np.multiply.outer(X, w) + b - np.asarray(y).reshape(-1, *[1] * w.ndim)) ** 2, axis=0)


def network():
    X, y = moons(20)
    model = nn.MLP(2, [3, 1], activation="tanh", seed=0)
    return model, lambda x, t: losses.bce_with_logits(model(x), t), X, y


def numpy_network_loss(theta, X, y):
    """The mean loss of the 2-3-1 network at theta, by NumPy; the order of the parameters is the documented one."""
    hidden, out = np.reshape(theta[:9], (3, 3)), theta[9:]
    h = np.tanh(np.array(X) @ hidden[:, :2].T + hidden[:, 2])
    z = h @ out[:3] + out[3]
    return np.mean(np.logaddexp(0.0, z) - np.array(y) * z)


def assert_good(plot, tmp_path):
    assert_nothing_clipped(plot.figure)
    assert_no_text_on_text(plot.figure)
    path = plot.save(tmp_path / "picture.png")
    width, height = struct.unpack(">II", path.read_bytes()[16:24])
    assert width > 600
    assert height > 500
    assert path.stat().st_size > 15000


# --- loss_landscape ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("compiled", [False, True])
def test_two_parameters_are_their_own_plane(compiled, tmp_path):
    loss, parameters, X, y = line()
    parameters[0].grad = 3.0
    given = compile(loss, parameters, backend="numpy") if compiled else loss
    plot = loss_landscape(given, X, y, params=parameters, steps=9, span=2.0)
    assert plot.a.tolist() == plot.b.tolist() == np.linspace(-2, 2, 9).tolist()
    expected = line_loss(X, y, *np.meshgrid(-1.0 + plot.a, 2.0 + plot.b))
    assert plot.losses == pytest.approx(expected, rel=1e-12)
    assert (plot.path, plot.explained) == (None, None)
    assert [p.data for p in parameters] == [-1.0, 2.0]
    assert parameters[0].grad == 3.0
    found = words(plot.figure)
    assert {"w", "b", "mean loss", "present parameters"} <= set(found)
    assert f"mean loss: {line_loss(X, y, -1.0, 2.0):.4g} at the present parameters" in found
    ends = plot.figure.axes[0].get_xlim()
    assert ends == pytest.approx((-3.0, 1.0))  # w itself is read off the axis
    assert_good(plot, tmp_path)


def test_a_loss_that_does_not_compile_gives_the_same_surface():
    loss, parameters, X, y = line()
    w, b = parameters

    def branching(x, t):
        error = w * x + b - t
        return error * error if error > 0 else (-error) ** 2

    one = loss_landscape(branching, X, y, params=parameters, steps=5)
    assert one.losses == pytest.approx(loss_landscape(loss, X, y, params=parameters, steps=5).losses, rel=1e-12)
    numbers = loss_landscape(lambda x, t: (w.data * x + b.data - t) ** 2, X, y, params=parameters, steps=5)
    assert numbers.losses == pytest.approx(one.losses, rel=1e-12)  # no graph at all: only its value is wanted


def test_a_network_agrees_with_numpy():
    model, loss, X, y = network()
    plot = loss_landscape(loss, X, y, params=model, steps=4, seed=3)
    for j, b in enumerate(plot.b):
        for i, a in enumerate(plot.a):
            theta = plot.center + a * plot.directions[0] + b * plot.directions[1]
            assert plot.losses[j, i] == pytest.approx(numpy_network_loss(theta, X, y), rel=1e-12)


def test_random_directions_are_filter_normalised():
    model, loss, X, y = network()
    for p in model.parameters()[2::3]:
        p.data += 0.5  # biases begin at 0
    plot = loss_landscape(loss, X, y, params=model.parameters(), steps=2)
    theta = plot.center
    rows = [[0, 1], [3, 4], [6, 7], [9, 10, 11]]
    biases = [[2, 5, 8], [12]]
    for direction in plot.directions:
        for group in rows + biases:
            assert np.linalg.norm(direction[group]) == pytest.approx(np.linalg.norm(theta[group]), rel=1e-12)
    assert abs(np.corrcoef(plot.directions)[0, 1]) < 0.9
    again, other = (loss_landscape(loss, X, y, params=model, steps=2, seed=seed) for seed in (0, 1))
    assert again.directions.tolist() == plot.directions.tolist()
    assert other.directions.tolist() != plot.directions.tolist()
    assert any("filter-normalised" in text for text in words(plot.figure))


@pytest.mark.slow
@pytest.mark.parametrize("labels", [["w0", "w1", "b"], ["height", "rate", "shift"], ["", "", ""]])
def test_parameters_with_other_names_span_a_plane(labels):
    ws = [Value(x, label) for x, label in zip((1.0, -2.0, 0.5), labels, strict=True)]
    for seed in range(20):
        plot = loss_landscape(lambda x: (ws[0] * x + ws[1] - ws[2]) ** 2, [1.0, 2.0], params=ws, steps=2, seed=seed)
        sizes = np.linalg.norm(plot.directions, axis=1)
        assert sizes == pytest.approx([math.sqrt(1 + 4 + 0.25)] * 2)
        assert np.linalg.svd(plot.directions)[1][1] > 0.01


def test_a_straight_path_has_a_plane(tmp_path):
    ws = [Value(1.0) for _ in range(3)]
    path = [[1.0 - 0.1 * k] * 3 for k in range(5)]
    plot = loss_landscape(lambda x: (ws[0] + ws[1] - ws[2]) ** 2 * x, [1.0], params=ws, path=path, steps=5)
    assert plot.explained == pytest.approx([1.0, 0.0], abs=1e-9)
    assert np.ptp(plot.b) > 0.1 * np.ptp(plot.a)
    assert_good(plot, tmp_path)


def test_a_path_of_parameters_of_different_sizes_fills_the_picture():
    a, b = Value(1000.0, "a"), Value(0.1, "b")
    plot = loss_landscape(
        lambda x: a * 1e-6 * a + b * b + x, [0.0], params=[a, b], path=[[2000.0, 0.3], [1000.0, 0.1]], steps=5
    )
    assert np.ptp(plot.a) == pytest.approx(1240.0)
    assert np.ptp(plot.b) == pytest.approx(0.248)


def test_parameters_that_are_zero_have_directions_too():
    ws = [Value(0.0) for _ in range(3)]
    plot = loss_landscape(lambda x: (ws[0] * x + ws[1] - ws[2] - 1) ** 2, [1.0, 2.0], params=ws, steps=3)
    assert np.isfinite(plot.losses).all()
    assert np.linalg.matrix_rank(plot.directions) == 2


@pytest.mark.slow
def test_the_principal_directions_are_those_of_scikit_learn(tmp_path):
    model, loss, X, y = network()
    path = ParameterPath(model)
    fit(loss, X, y, params=model, epochs=30, callbacks=path, progress=False)
    plot = loss_landscape(loss, X, y, params=model, path=path, steps=6)
    points = np.array(path.points)
    judge = PCA(2).fit(points)
    assert plot.explained == pytest.approx(judge.explained_variance_ratio_, rel=1e-9)
    assert np.abs(np.sum(plot.directions * judge.components_, axis=1)) == pytest.approx([1.0, 1.0])
    assert plot.path == pytest.approx((points - points[-1]) @ plot.directions.T, abs=1e-12)
    assert plot.path[-1] == pytest.approx([0.0, 0.0], abs=1e-12)  # it ends at the present parameters
    assert plot.a[0] < plot.path[:, 0].min() < plot.path[:, 0].max() < plot.a[-1]
    assert plot.b[0] < plot.path[:, 1].min() < plot.path[:, 1].max() < plot.b[-1]
    found = words(plot.figure)
    for k, share in enumerate(judge.explained_variance_ratio_, start=1):
        assert f"principal direction {k} ({share:.1%} of the variance)" in found
    assert {"start", "end", "steps"} <= set(found)
    assert_good(plot, tmp_path)
    wide = loss_landscape(loss, X, y, params=model, path=path.points, steps=2, span=2.0)
    assert np.ptp(wide.a) == pytest.approx(2 * np.ptp(plot.a))


def test_directions_may_be_given(tmp_path):
    model, loss, X, y = network()
    directions = np.eye(13)[[2, 5]]
    plot = loss_landscape(loss, X, y, params=model, directions=directions, steps=4, surface=True)
    theta = plot.center.copy()
    theta[2] += plot.a[1]
    theta[5] += plot.b[3]
    assert plot.losses[3, 1] == pytest.approx(numpy_network_loss(theta, X, y))
    assert {"direction 1", "direction 2"} <= set(words(plot.figure))
    assert_good(plot, tmp_path)


def test_a_path_on_a_surface(tmp_path):
    model, loss, X, y = network()
    path = ParameterPath(model)
    adam = optim.Adam(model.parameters(), 0.1)
    fit(loss, X, y, params=model, optimizer=adam, epochs=60, callbacks=path, progress=False)
    plot = loss_landscape(compile(loss, model.parameters(), backend="numpy"), X, y, path=path, surface=True)
    assert any("mean loss" in text for text in words(plot.figure))
    assert_good(plot, tmp_path)


def test_callbacks_note_every_epoch_of_eager_and_compiled_training():
    for compiled in (False, True):
        loss, parameters, X, y = line()
        path, seen = ParameterPath(parameters), []
        callbacks = [path, lambda _, seen=seen, ps=parameters: seen.append([p.data for p in ps])]
        given = compile(loss, parameters, backend="numpy") if compiled else loss
        fit(given, X, y, params=parameters, epochs=4, callbacks=callbacks, progress=False)
        assert path.points == [[-1.0, 2.0], *seen]
        assert repr(path) == "<ParameterPath of 2 parameters, 5 points>"


def test_where_the_loss_cannot_be_computed_there_is_a_hole(tmp_path):
    a, b = Value(1.0, "a"), Value(1.0, "$b")
    plot = loss_landscape(lambda x: a.log() * x + b * b, [1.0, 2.0], params=[a, b], steps=9, span=2.0)
    assert np.isnan(plot.losses[:, :3]).all()  # a <= 0
    assert np.isfinite(plot.losses[:, 3:]).all()
    assert "$b" in words(plot.figure)
    assert_good(plot, tmp_path)


def test_a_flat_loss_is_drawn(tmp_path):
    a, b = Value(1.0, "a"), Value(1.0, "b")
    assert_good(loss_landscape(lambda x: 0 * a + 0 * b + x, [1.0], params=[a, b], steps=4), tmp_path)


def test_what_has_no_landscape_says_so():
    loss, parameters, X, y = line()
    ws = [Value(1.0) for _ in range(3)]
    with pytest.raises(ShapeError, match="a plane needs two parameters or more, got one"):
        loss_landscape(loss, X, y, params=parameters[:1])
    with pytest.raises(
        ShapeError, match=r"directions are two lists of 2 numbers, one for each parameter, got \(1, 2\)"
    ):
        loss_landscape(loss, X, y, params=parameters, directions=[[1.0, 0.0]])
    with pytest.raises(ValueError, match="the two directions lie on one line"):
        loss_landscape(loss, X, y, params=parameters, directions=[[1.0, 2.0], [2.0, 4.0]])
    with pytest.raises(ShapeError, match="each point of the path needs 2 numbers"):
        loss_landscape(loss, X, y, params=parameters, path=[[1.0], [2.0]])
    with pytest.raises(ShapeError, match="two directions need a path of three points or more"):
        loss_landscape(lambda x: sum(ws) * x, [1.0], params=ws, path=[[1.0] * 3] * 2)
    with pytest.raises(ShapeError, match="a path needs two points or more"):
        loss_landscape(loss, X, y, params=parameters, path=ParameterPath(parameters))
    with pytest.raises(ValueError, match="the path holds a number that is not finite"):
        loss_landscape(loss, X, y, params=parameters, path=[[1.0, math.inf], [0.0, 0.0]])
    with pytest.raises(ValueError, match="all points of the path are the same"):
        loss_landscape(lambda x: ws[0] * ws[1] * ws[2] * x, [1.0], params=ws, path=[[1.0] * 3] * 4)
    with pytest.raises(ValueError, match="span must be a positive number, got 0"):
        loss_landscape(loss, X, y, params=parameters, span=0)
    with pytest.raises(ShapeError, match="there are no examples: give X and y"):
        loss_landscape(loss, params=parameters)
    with pytest.raises(ValueError, match=r"has 2 parameters of its own, and params= .* loss_landscape\(step, X, y\)"):
        loss_landscape(compile(loss, parameters), X, y, params=parameters[:1])
    with pytest.raises(DomainError, match="log"):
        loss_landscape(lambda x, t: (parameters[0] * x).log() + parameters[1], X, y, params=parameters)
    assert [p.data for p in parameters] == [-1.0, 2.0]


def test_a_compiled_loss_may_hold_its_data():
    loss, parameters, X, y = line()
    step = compile(lambda: losses.mse([parameters[0] * x + parameters[1] for x in X], y), parameters, backend="numpy")
    expected = loss_landscape(loss, X, y, params=parameters, steps=3).losses
    assert loss_landscape(step, steps=3).losses == pytest.approx(expected, rel=1e-12)


# --- quadratic --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_textbooks_quadratic(tmp_path):
    """Known by hand: the eigenvalues are 3 -+ sqrt 2; after 100 steps these are the distances."""
    eta_max = 2 / (3 + math.sqrt(2))
    plot = quadratic(H, learning_rates=(0.1, 0.4, eta_max, 0.46))
    assert plot.eigenvalues == pytest.approx([3 - math.sqrt(2), 3 + math.sqrt(2)], rel=1e-14)
    assert plot.eta_max == pytest.approx(0.4530818393, abs=1e-10)
    ends = [np.linalg.norm(path[-1]) for path in plot.paths.values()]
    assert ends == pytest.approx([1.7e-8, 3.3e-12, 1.307, 26.46], rel=0.02)
    assert np.array(H) @ plot.eigenvectors == pytest.approx(plot.eigenvectors * plot.eigenvalues)
    assert plot.summary == "descents on a quadratic, a minimum: descent converges below η_max = 2 / λ_max = 0.4531"
    found = " ".join(words(plot.figure))
    for said in ("λ₁ = 1.586", "λ₂ = 4.414", "η = 0.1\nconverges slowly", "η = 0.4\nconverges in a zigzag",
                 "η = 0.453082\noscillates for ever", "η = 0.46\ndiverges", "after 100 steps 26.46 from the center",
                 "descent converges below η_max = 2 / λ_max = 0.4531"):  # fmt: skip
        assert said in found
    assert_good(plot, tmp_path)


def test_the_paths_are_powers_of_a_matrix():
    c, start, rate = np.array([0.5, -1.0]), np.array([2.0, 0.3]), 0.2
    plot = quadratic(H, start=start, center=c, learning_rates=[rate], steps=20)
    step = np.eye(2) - rate * np.array(H)
    expected = [c + np.linalg.matrix_power(step, k) @ (start - c) for k in range(21)]
    assert plot.paths[rate] == pytest.approx(np.array(expected), rel=1e-10)


def test_the_paths_are_those_of_our_gradients():
    w = [Value(1.0), Value(1.0)]
    sgd = optim.SGD(w, learning_rate=0.3)
    for _ in range(7):
        sgd.zero_grad()
        (w[0] * w[0] + w[0] * w[1] + 2 * w[1] * w[1]).backward()
        sgd.step()
    assert quadratic(H, learning_rates=[0.3], steps=7).paths[0.3][-1] == pytest.approx([p.data for p in w], rel=1e-12)


@pytest.mark.parametrize(
    ("matrix", "rates", "said"),
    [
        ([[1.0, 0.0], [0.0, -0.5]], [0.1, 0.5], ["a saddle (λ₁ = -0.5 < 0): no learning rate is stable", "runs away"]),
        ([[-1.0, 0.0], [0.0, -2.0]], [0.1], ["a maximum (λ₁ = -2 < 0): no learning rate is stable", "runs away"]),
        ([[1.0, 1.0], [1.0, 1.0]], [0.5], ["a valley with a flat floor (λ₁ = 0)", "η_max = 2 / λ_max = 1"]),
        (
            [[2.0, 0.0], [0.0, 2.0]],
            [0.0, 0.5, 1.0, 5.0],
            ["does not move", "converges, ×0", "oscillates", "diverges, ×9"],
        ),
    ],
)
def test_kinds_of_quadratics(matrix, rates, said, tmp_path):
    plot = quadratic(matrix, learning_rates=rates, start=(1.0, 0.5))
    found = " ".join(words(plot.figure)).replace("\n", " ")
    assert all(words_ in found for words_ in said)
    low, high = sorted(np.linalg.eigvals(matrix).real)
    assert (plot.eta_max is None) == (low < 0)
    if low >= 0:
        assert plot.eta_max == pytest.approx(2 / high)
    assert_good(plot, tmp_path)


def test_a_divergence_far_beyond_floats_stays_in_the_picture(tmp_path):
    plot = quadratic(H, learning_rates=[50.0], steps=1000)
    assert np.isfinite(plot.paths[50.0]).all()
    half = max(plot.figure.axes[0].get_xlim())
    assert half < 3
    assert_good(plot, tmp_path)


@pytest.mark.slow
def test_learning_rates_are_chosen_around_the_largest_stable_one(tmp_path):
    plot = quadratic([[3.0, 0.0], [0.0, 1.0]])
    assert list(plot.paths) == pytest.approx([share * 2 / 3 for share in (0.22, 0.88, 1.0, 1.015)])
    distances = [np.linalg.norm(path[-1]) for path in plot.paths.values()]
    assert distances[0] < 1e-6
    assert distances[2] == pytest.approx(1.0)
    assert distances[3] > 2.0
    assert_good(plot, tmp_path)
    assert quadratic([[1.0, 0.0], [0.0, -1.0]]).paths


def test_hessians_of_ours_fit():
    from tinygrad_vi import hessian

    found = hessian(lambda a, b: a * a + a * b + 2 * b * b)(0.3, -2.0)
    assert quadratic(found, learning_rates=0.1, steps=1).eta_max == pytest.approx(0.4530818393, abs=1e-10)


def test_what_is_no_hessian_says_so():
    with pytest.raises(ValueError, match=r"a Hessian is symmetric, got H = .*: take \(H \+ H\^T\) / 2"):
        quadratic([[1.0, 2.0], [0.0, 1.0]])
    with pytest.raises(ShapeError, match=r"H of shape \(2, 2\) and points of 2 numbers, got \(3, 3\)"):
        quadratic(np.eye(3))
    with pytest.raises(ShapeError, match=r"points of 2 numbers, got \(2, 2\), \(3,\)"):
        quadratic(H, start=(1, 2, 3))
    with pytest.raises(ValueError, match="a number that is not finite"):
        quadratic([[math.nan, 0.0], [0.0, 1.0]])
    with pytest.raises(ValueError, match="H is zero: E is flat"):
        quadratic([[0.0, 0.0], [0.0, 0.0]])
    with pytest.raises(ValueError, match="there are no learning rates to compare"):
        quadratic(H, learning_rates=[])
    with pytest.raises(ValueError, match="a learning rate"):
        quadratic(H, learning_rates=[-0.1])


# --- error_surface ----------------------------------------------------------------------------------------------------


def test_the_default_surface_is_bishops(tmp_path):
    plot = error_surface()

    def judge(w):
        shallow = np.exp(-((w[0] + 1.1) ** 2 + (w[1] + 0.3) ** 2) / 0.6)
        deep = np.exp(-((w[0] - 0.9) ** 2 + (w[1] - 0.3) ** 2) / 0.7)
        return 1.0 + 0.1 * (w[0] ** 2 + w[1] ** 2) - 0.8 * shallow - 1.3 * deep

    local, best = plot.minima
    for place, start in ((local, (-1.0, -0.3)), (best, (0.8, 0.3))):
        found = scipy.optimize.minimize(judge, start, method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-15})
        assert place == pytest.approx(found.x, abs=1e-4)
    assert judge(best) < judge(local)
    assert plot.gradient == pytest.approx(scipy.optimize.approx_fprime(np.array(plot.point), judge), rel=1e-5)
    found = words(plot.figure)
    assert {"$E(w_1, w_2)$", "$w_1$", "$w_2$", " $\\nabla E$"} <= set(found)
    assert {"$w_A$", "$w_B$", "$w_C$"} <= {text.strip() for text in found}
    assert_good(plot, tmp_path)


@pytest.mark.slow
def test_any_function_of_two_values(tmp_path):
    plot = error_surface(lambda a, b: (a - 1) ** 2 + 3 * (b + 0.5) ** 2, point=(0.0, 1.0), w1=(-2, 3), w2=(-2, 2))
    assert plot.minima == [pytest.approx((1.0, -0.5), abs=1e-5)]
    assert plot.gradient == pytest.approx((-2.0, 9.0))
    assert "$w_A$" not in [text.strip() for text in words(plot.figure)]
    assert_good(plot, tmp_path)
    saddle = error_surface(lambda a, b: a * a - b * b, point=(0.0, 0.0))
    assert (saddle.minima, saddle.gradient) == ([], (0.0, 0.0))
    assert " $\\nabla E$" not in words(saddle.figure)
    assert_good(saddle, tmp_path)
    many = error_surface(lambda a, b: (3 * a).cos() + (3 * b).cos(), point=(0.3, 0.3))
    assert len(many.minima) == 4
    assert_good(many, tmp_path)


def test_holes_of_a_surface(tmp_path):
    plot = error_surface(lambda a, b: a.log() + b * b, point=(1.0, 1.0), w1=(-1.0, 2.0))
    assert plot.gradient == pytest.approx((1.0, 2.0))
    assert_good(plot, tmp_path)


def test_what_has_no_surface_says_so():
    with pytest.raises(ValueError, match=r"the point \(5, 0\) lies outside of the picture"):
        error_surface(point=(5, 0))
    with pytest.raises(ValueError, match=r"w2 goes from a smaller to a larger number, got \(1, 1\)"):
        error_surface(w2=(1, 1))
    with pytest.raises(DomainError, match="log"):
        error_surface(lambda a, b: a.log() + b, point=(-1.0, 0.0))


# --- descents and batch_columns ---------------------------------------------------------------------------------------


def test_full_batch_descent_stays_where_stochastic_descent_gets_out(tmp_path):
    runs = descents(epochs=40)
    full, noisy = runs.paths.values()
    (_, [w], X, y) = __import__("tinygrad_vi.show.training.descents", fromlist=["_waves"])._waves()
    X, y = np.array(X), np.array(y)
    slope = lambda v: np.mean(2 * (np.sin(v * X) - y) * np.cos(v * X) * X)  # noqa: E731
    expected = [w.data]
    for _ in range(40):
        expected.append(expected[-1] - 0.1 * slope(expected[-1]))
    assert full[:, 0] == pytest.approx(expected, rel=1e-9)
    assert abs(slope(full[-1, 0])) < 0.01  # it stands still ...
    assert full[-1, 0] > 3.0  # ... far from the 2 of the data, where the other arrives
    assert noisy[-1, 0] == pytest.approx(2.0, abs=0.15)
    for path, heights in zip(runs.paths.values(), runs.losses.values(), strict=True):
        assert heights == pytest.approx([np.mean((np.sin(v * X) - y) ** 2) for [v] in path], rel=1e-9)
    found = words(runs.figure)
    assert {"w", "loss", "loss of all examples", "loss of one mini-batch", "start", "end", "steps"} <= set(found)
    assert any(text.startswith("full batch: 40 steps, ends at w = 3.") for text in found)
    assert any(text.startswith("mini-batches of 2: 800 steps, ends at w = ") for text in found)
    assert_nothing_clipped(runs.figure)
    assert runs.save(tmp_path / "a.png").stat().st_size > 30000


def test_a_stochastic_step_goes_down_the_curve_of_its_examples():
    """Each arrow is a step of gradient descent on the pale curve it lies on."""
    runs = descents()
    axis = runs.figure.axes[1]
    pale = [line for line in axis.lines if line.get_color() == LINE]
    arrows = [text for text in axis.texts if not text.get_text()]
    assert len(pale) == len(arrows) == 6
    for curve, arrow in zip(pale, arrows, strict=True):
        (x0, y0), (x1, y1) = arrow.xyann, arrow.xy
        ws, heights = curve.get_data()
        assert np.interp([x0, x1], ws, heights) == pytest.approx([y0, y1], abs=0.02)
        slope = np.gradient(heights, ws)[np.abs(ws - x0).argmin()]
        assert x1 - x0 == pytest.approx(-0.1 * slope, abs=0.05)


def test_descents_of_ones_own():
    w = Value(3.0, "$w")
    X = [0.5, 1.0, 1.5, 2.0]
    loss = lambda x: (w * x - 1) ** 2  # noqa: E731
    for given in (loss, compile(loss, [w], backend="numpy")):
        runs = descents(given, X, params=[w], learning_rate=0.05, batch_size=1, epochs=6)
        assert [len(path) for path in runs.paths.values()] == [7, 25]
        assert w.data == 3.0
        assert "$w" in words(runs.figure)
        assert_nothing_clipped(runs.figure)


@pytest.mark.slow
def test_columns_are_runs_of_fit(tmp_path):
    loss, [w, b], X, y = line(n=32)
    runs = batch_columns(loss, X, y, params=[w, b], batch_sizes=(1, 8, None), learning_rate=0.05, epochs=3, seed=5)
    assert list(runs.paths) == ["SGD: 1 example", "mini-batch: 8 examples", "full batch: 32 examples"]
    assert [len(path) - 1 for path in runs.paths.values()] == [96, 12, 3]
    assert (w.data, b.data) == (-1.0, 2.0)
    for size, path, heights in zip((1, 8, None), runs.paths.values(), runs.losses.values(), strict=True):
        assert heights == pytest.approx(line_loss(X, y, *path.T), rel=1e-9)
        w.data, b.data = -1.0, 2.0
        sgd = optim.SGD([w, b], 0.05)
        fit(loss, X, y, params=[w, b], optimizer=sgd, batch_size=size, epochs=3, seed=5, progress=False)
        assert path[-1].tolist() == [w.data, b.data]
    theta = np.array([-1.0, 2.0])  # full batches by NumPy
    for found in runs.paths["full batch: 32 examples"]:
        assert found == pytest.approx(theta, rel=1e-9)
        error = theta[0] * X + theta[1] - y
        theta = theta - 0.05 * 2 * np.array([np.mean(error * X), np.mean(error)])
    texts = words(runs.figure)
    said = {"SGD: 1 example\n32 steps an epoch", "mini-batch: 8 examples\n4 steps an epoch"}
    assert said | {"full batch: 32 examples\n1 step an epoch", "step, in 3 epochs", "mean loss", "w", "b"} <= set(texts)
    assert_good(runs, tmp_path)


@pytest.mark.slow
def test_default_columns(tmp_path):
    runs = batch_columns()
    single, mini, full = runs.losses.values()
    steadiness = [np.mean(np.diff(heights) > 0) for heights in (single, mini, full)]
    assert steadiness[0] > steadiness[1] > steadiness[2] == 0.0  # single examples zigzag, full batches only go down
    assert mini[-1] < full[-1]
    assert_good(runs, tmp_path)
    assert batch_columns(seed=1).paths["SGD: 1 example"].tolist() != runs.paths["SGD: 1 example"].tolist()


def test_what_cannot_be_compared_says_so():
    loss, parameters, X, y = line()
    with pytest.raises(ShapeError, match="a loss curve has one parameter, got 2: see loss_landscape"):
        descents(loss, X, y, params=parameters)
    with pytest.raises(ShapeError, match="contours need two parameters, got 1: see loss_landscape"):
        batch_columns(lambda x, t: (parameters[0] * x - t) ** 2, X, y, params=parameters[:1])
    with pytest.raises(ValueError, match="there are no batch sizes to compare"):
        batch_columns(loss, X, y, params=parameters, batch_sizes=[])
    for compare in (descents, batch_columns):
        with pytest.raises(ValueError, match="epochs"):
            compare(epochs=0)
    with pytest.raises(TrainingError):
        batch_columns(loss, X, y, params=parameters, learning_rate=1e200)
    with pytest.raises(ShapeError, match="the compiled loss holds its examples itself: compile a loss of one example"):
        batch_columns(compile(lambda: parameters[0] ** 2 + parameters[1] ** 2, parameters))
    assert [p.data for p in parameters] == [-1.0, 2.0]


@pytest.mark.slow
@pytest.mark.parametrize(
    "picture", [descents, batch_columns, error_surface, lambda: quadratic(H), lambda: landscape_of(*line())]
)
def test_pictures_are_the_same_every_time(picture, tmp_path):
    for suffix in ("svg", "png"):
        one, other = (picture().save(tmp_path / f"{k}.{suffix}").read_bytes() for k in "ab")
        assert one == other
