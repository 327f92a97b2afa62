import numpy as np
import pytest
import sklearn.datasets

from tinygrad_vi import ShapeError, data, examples, training


@pytest.mark.parametrize(
    ("n", "size", "sizes"), [(10, 3, [3, 3, 3, 1]), (6, 3, [3, 3]), (4, None, [4]), (3, 1, [1, 1, 1]), (3, 8, [3])]
)
@pytest.mark.parametrize("seed", [None, 0])
def test_every_example_is_in_one_minibatch_with_its_target(n, size, sizes, seed):
    X, y = [[float(i)] for i in range(n)], [10 * i for i in range(n)]
    batches = data.minibatches(X, y, batch_size=size, seed=seed)
    assert [len(rows) for rows, _ in batches] == sizes
    pairs = [(row[0], t) for rows, targets in batches for row, t in zip(rows, targets, strict=True)]
    assert sorted(pairs) == [(float(i), 10 * i) for i in range(n)]
    assert all(t == 10 * x for x, t in pairs)


def test_a_seed_shuffles_always_the_same_way():
    first, again, other = (data.minibatches(range(50), batch_size=7, seed=seed) for seed in (1, 1, 2))
    assert first == again != other
    assert data.minibatches(range(4), batch_size=2) == [([0, 1], None), ([2, 3], None)]


@pytest.mark.parametrize("bad", [{0: [1.0], 1: [2.0]}, {1.0, 2.0}, b"12", "12"])
def test_what_has_no_order_or_is_no_list_is_refused(bad):
    """A dictionary would give its keys, a set its entries in any order, bytes their codes."""
    for call in (
        lambda: examples.to_lists(bad),
        lambda: data.minibatches(bad),
        lambda: data.split(bad, [0, 1]),
        lambda: data.split([0, 1], bad),
        lambda: data.standardize(bad),
        lambda: training.accuracy(lambda x: x, bad, [0, 1]),
        lambda: training.accuracy(lambda x: x, [1.0, 2.0], bad),
    ):
        with pytest.raises(TypeError, match="examples come as a list"):
            call()


@pytest.mark.parametrize(
    "rows", [[{0: 1.0}, {0: 3.0}], [["1"], ["3"]], [b"1", b"3"], np.ma.masked_array([[1.0], [3.0]], [[True], [False]])]
)
def test_only_numbers_are_standardized(rows):
    with pytest.raises(TypeError, match=r"data are numbers|masked"):
        data.standardize(rows)


def test_arrays_become_lists():
    X, y = np.arange(6.0).reshape(3, 2), np.array([0, 1, 1])
    assert data.minibatches(X, y, batch_size=2) == [([[0.0, 1.0], [2.0, 3.0]], [0, 1]), ([[4.0, 5.0]], [1])]
    assert examples.to_lists([np.array([1.0, 2.0]), [3.0, 4.0]]) == [[1.0, 2.0], [3.0, 4.0]]


def test_split_takes_every_example_once():
    X, y = data.study_hours()
    X_train, y_train, X_test, y_test = data.split(X, y, test=0.25, seed=3)
    assert (len(X_train), len(y_train), len(X_test), len(y_test)) == (15, 15, 5, 5)
    assert sorted(zip(X_train + X_test, y_train + y_test, strict=True)) == sorted(zip(X, y, strict=True))
    assert data.split(X, y, seed=3) == data.split(X, y, seed=3) != data.split(X, y, seed=4)


def test_standardize():
    X, _ = data.study_hours()
    scaled, mean, deviation = data.standardize(X)
    assert mean == [5.2, 5.6]
    assert deviation == pytest.approx(np.std(X, axis=0).tolist(), rel=1e-14)
    assert np.mean(scaled, axis=0) == pytest.approx([0.0, 0.0], abs=1e-14)
    assert np.std(scaled, axis=0) == pytest.approx([1.0, 1.0], rel=1e-14)


def test_study_hours_follow_their_rule():
    X, y = data.study_hours()
    assert y == [int(learn + 0.5 * sleep >= 8) for learn, sleep in X]
    assert sum(y) == 10


@pytest.mark.parametrize("n", [1, 2, 7, 100])
@pytest.mark.parametrize(("noise", "seed"), [(0.0, 0), (0.1, 1), (0.3, 12345)])
def test_moons_are_those_of_scikit_learn_to_the_last_bit(n, noise, seed):
    X, y = sklearn.datasets.make_moons(n_samples=n, noise=noise, random_state=seed)
    assert data.moons(n, noise=noise, seed=seed) == (X.tolist(), y.tolist())


def test_moons_and_digits():
    X, y = data.moons(60, noise=0.0, seed=1)
    for (a, b), t in zip(X, y, strict=True):
        x, z = (a, b) if t == 0 else (1 - a, 0.5 - b)
        assert np.hypot(x, z) == pytest.approx(1.0, rel=1e-12)
    assert data.moons(60) == data.moons(60) != data.moons(60, seed=1)
    X, y = data.digits()
    assert (len(X), {len(row) for row in X}, set(y)) == (1797, {64}, set(range(10)))
    assert (min(map(min, X)), max(map(max, X))) == (0.0, 1.0)


def test_the_sequence_tasks():
    X, y = data.parity(20, length=5, seed=1)
    assert all(t == [sum(v for (v,) in row[: k + 1]) % 2 for k in range(5)] for row, t in zip(X, y, strict=True))
    X, y = data.adding(20, length=6, seed=1)
    assert all(sum(mark for _, mark in row) == 2 and len(row) == 6 for row in X)
    assert y == [sum(v * mark for v, mark in row) for row in X]
    assert data.adding(3) == data.adding(3) != data.adding(3, seed=1)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: data.minibatches([], []), ShapeError, "there are no examples: X is empty"),
        (lambda: data.minibatches([1.0], [1, 2]), ShapeError, "X and y must have one entry for each example, got 1 and 2"),
        (lambda: data.minibatches([1.0], batch_size=0), ValueError, "batch_size (None for all examples) must be a whole number of at least 1, got 0"),
        (lambda: data.minibatches([1.0], batch_size=2.5), ValueError, "got 2.5"),
        (lambda: data.minibatches([[1.0], [float("nan")]]), ValueError, "X[1][0] is nan: leave the example out or fill the gap before training"),
        (lambda: data.minibatches([1.0, 2.0], [0.0, float("inf")]), ValueError, "y[1] is inf"),
        (lambda: data.minibatches([[[1.0], [1.0, -float("inf")]]]), ValueError, "X[0][1][1] is -inf"),
        (lambda: examples.to_lists(3.0), TypeError, "examples come as a list or an array, one entry for each, got 3.0"),
        (lambda: data.split([1, 2], [1, 2], test=0.1), ValueError, "test = 0.1 of 2 examples leaves 0 to test and 2 to train"),
        (lambda: data.adding(length=1), ValueError, "the length of the adding problem must be a whole number of at least 2, got 1"),
    ],
)  # fmt: skip
def test_errors_say_what_was_wrong(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert message in str(caught.value)
