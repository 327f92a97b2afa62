"""Data that do not fit in memory: arrays in files, batches that somebody else makes; what is refused, what stays small."""

import mmap
import random
import tracemalloc

import numpy as np
import pytest

from tinygrad_vi import ShapeError, TrainingError, compile, fit, losses, nn, optim
from tinygrad_vi.on_disk import AROUND, AT_MOST, OnDisk, mapping_of, parts
from tinygrad_vi.training.objective import Examples

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(150, 4)), RNG.integers(0, 3, 150)
COMPILED = pytest.mark.parametrize("compiled", [True, False])


def train(X=None, y=None, *, compiled=True, epochs=2, **options):
    """The history and the parameters of a training from the same start."""
    model = nn.MLP(4, [3, 3], activation="tanh", seed=0)

    def loss(x, t):
        return losses.cross_entropy(model(x), t)

    step = compile(loss, params=model, backend="numpy") if compiled else loss
    optimizer = optim.Adam(model, 0.01)
    history = fit(step, X, y, params=model, epochs=epochs, optimizer=optimizer, progress=False, **options)
    return history.loss, history.validation_loss, [p.data for p in model.parameters()]


def make():
    for start in range(0, len(X), 64):
        yield X[start : start + 64], Y[start : start + 64]


@pytest.fixture
def files(tmp_path):
    """X and y, mapped from files as they are commonly kept: in single precision, whole numbers of a byte."""
    np.save(tmp_path / "X.npy", X.astype(np.float32))
    np.save(tmp_path / "y.npy", Y.astype(np.int8))
    return [np.load(tmp_path / name, mmap_mode="r") for name in ("X.npy", "y.npy")]


# --- Arrays in files --------------------------------------------------------------------------------------------------


@COMPILED
@pytest.mark.parametrize("options", [{}, {"seed": None}, {"stratify": Y}], ids=str)
def test_an_array_in_a_file_gives_what_it_gives_in_memory(files, compiled, options):
    in_memory = [np.array(x) for x in files]
    ours, theirs = (
        train(*data, compiled=compiled, batch_size=32, validation=data, **options) for data in (files, in_memory)
    )
    assert ours == theirs
    as_lists = [x.tolist() for x in files]
    lists = train(*as_lists, compiled=compiled, batch_size=32, validation=as_lists, **options)
    assert ours[0] == pytest.approx(lists[0], rel=1e-13)


def test_a_file_of_one_batch_has_to_be_asked_for(files):
    with pytest.raises(ValueError, match=r"memory-mapped, and without batch_size= all of it is one batch: write"):
        train(*files)
    assert train(*files, batch_size=150) == train(*[np.array(x) for x in files])


def test_validation_on_a_file_is_the_mean_of_its_parts(files, monkeypatch):
    whole = train(X, Y, batch_size=32, validation=[np.array(x) for x in files])
    monkeypatch.setattr("tinygrad_vi.on_disk.PART", 7 * 16)
    assert parts(files[0])[:2] == [range(7), range(7, 14)]
    in_parts = train(X, Y, batch_size=32, validation=files)
    assert in_parts[1] == pytest.approx(whole[1], rel=1e-13)
    assert in_parts[2] == whole[2]


@pytest.mark.parametrize("bad", [np.nan, -np.inf])
def test_a_gap_anywhere_in_a_file_is_found_before_anything_is_changed(tmp_path, bad, monkeypatch):
    monkeypatch.setattr("tinygrad_vi.on_disk.PART", 1000)
    broken = X.copy()
    broken[117, 2] = bad
    np.save(tmp_path / "X.npy", broken)
    with pytest.raises(ValueError, match=rf"^X\[117\]\[2\] is {bad}: leave the example out or fill the gap"):
        train(np.load(tmp_path / "X.npy", mmap_mode="r"), Y, batch_size=32)
    with pytest.raises(ValueError, match=rf"^X\[117\]\[2\] is {bad}: "):
        train(broken, Y)


class Counted(OnDisk):
    """Remembers what is taken."""

    most, rows = 0, 0

    def __getitem__(self, rows):
        found = super().__getitem__(rows)
        count = 1 if isinstance(rows, int) else len(found)
        Counted.most = max(Counted.most, count)
        Counted.rows += count
        return found


def test_each_row_is_read_once_in_an_epoch_and_once_to_look_for_gaps(files, monkeypatch):
    monkeypatch.setattr("tinygrad_vi.examples.OnDisk", Counted)
    monkeypatch.setattr(Counted, "rows", 0)
    monkeypatch.setattr("tinygrad_vi.on_disk.PART", 20 * 16)
    train(files[0], Y, batch_size=32, epochs=3)
    assert Counted.rows == 150 + 3 * 150 + 1 + 3  # the first to see what it depends on; three are compared
    assert Counted.most == 32


def test_a_training_on_a_file_of_40_megabytes_takes_a_few(tmp_path, monkeypatch):
    """What NumPy and Python allocate, counted by Python: the same on every machine."""
    monkeypatch.setattr("tinygrad_vi.on_disk.PART", 1 << 20)
    rows = 20_000
    np.save(tmp_path / "X.npy", np.zeros((rows, 500), np.float32))
    np.save(tmp_path / "y.npy", np.zeros(rows, np.int8))
    mapped = [np.load(tmp_path / name, mmap_mode="r") for name in ("X.npy", "y.npy")]
    model = nn.Layer(500, 1, activation="identity", seed=0)
    step = compile(lambda x, t: losses.mse(model(x), t), params=model, backend="numpy")
    step.value_and_grad(step.theta, np.zeros((3, 500)), np.zeros(3))
    tracemalloc.start()
    try:
        fit(step, *mapped, epochs=1, batch_size=100, validation=mapped, progress=False)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 10e6


def test_pages_are_given_back_but_those_that_hold_what_was_written(tmp_path):
    np.save(tmp_path / "X.npy", X)
    for mode, gives in (("r", True), ("r+", True), ("c", False)):
        mapped = np.load(tmp_path / "X.npy", mmap_mode=mode)
        if mode != "r":
            mapped[3, 1] = 7.5
        rows = OnDisk(mapped[:100])
        assert (rows.mapping is not None) == gives
        rows.let_go()
        np.testing.assert_array_equal(rows[2:5], mapped[2:5])
        assert mapped[3, 1] == (X[3, 1] if mode == "r" else 7.5)
    assert mapping_of(X) is None
    assert mapping_of(np.asarray(mapped)[3:].T) is not None
    with open(tmp_path / "X.npy", "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as raw:
        found = OnDisk(np.frombuffer(raw, dtype=np.uint8))
        assert found.mapping is None  # nobody knows what else it is used for
        assert mapping_of(found.array) is raw
        del found


def test_what_was_read_is_counted_in_bytes_and_pages(files, monkeypatch):
    rows = OnDisk(files[0])
    given_back = []

    def let_go():
        given_back.append(rows.read)
        rows.read = 0

    monkeypatch.setattr(rows, "let_go", let_go)
    assert rows[[1, 2, 3]].__class__ is np.ndarray
    assert rows.read == 3 * 16 + 3 * AROUND
    rows[0:150]
    assert rows.read == 153 * 16 + 4 * AROUND
    assert not given_back
    rows[[0] * 1000]
    assert given_back
    assert max(given_back) <= 2 * AT_MOST + 153 * 16


# --- Batches that somebody else makes ---------------------------------------------------------------------------------


@COMPILED
def test_batches_are_the_rows_in_their_order(compiled):
    ours = train(batches=make, compiled=compiled, validation=make)
    theirs = train(X, Y, compiled=compiled, batch_size=64, seed=None, validation=(X, Y))
    assert ours[0] == theirs[0]
    assert ours[2] == theirs[2]
    assert ours[1] == pytest.approx(theirs[1], rel=1e-13)
    assert train(batches=[*make()], compiled=compiled)[2] == ours[2]


def test_pytorchs_loader_gives_batches():
    torch = pytest.importorskip("torch", reason="its DataLoader is a peer")
    sets = torch.utils.data.TensorDataset(torch.tensor(X), torch.tensor(Y))
    loader = torch.utils.data.DataLoader(sets, batch_size=64)
    assert train(batches=loader, validation=loader) == train(batches=make, validation=make)


def test_parquet_is_read_batch_by_batch(tmp_path):
    pyarrow = pytest.importorskip("pyarrow", reason="it reads Parquet")
    pytest.importorskip("pandas", reason="a batch becomes a data frame")
    import pyarrow.parquet as parquet

    names = [*"abcd"]
    columns = {**dict(zip(names, X.T, strict=True)), "target": Y}
    parquet.write_table(pyarrow.table(columns), tmp_path / "data.parquet")

    def batches():
        for batch in parquet.ParquetFile(tmp_path / "data.parquet").iter_batches(batch_size=64):
            frame = batch.to_pandas()
            yield frame[names], frame["target"]

    assert train(batches=batches) == train(batches=make)


def test_a_loss_without_a_target_takes_x_alone():
    def trained(**options):
        model = nn.Layer(4, 1, activation="identity", seed=0)
        fit(lambda x: model(x) ** 2, params=model, epochs=2, progress=False, **options)
        return [p.data for p in model.parameters()]

    wanted = trained(X=X, batch_size=75, seed=None)
    assert trained(batches=[(X[:75],), (X[75:],)]) == wanted
    assert trained(batches=[X[:75], X[75:]]) == wanted


@COMPILED
def test_a_function_of_the_epoch_shuffles_and_a_resumed_run_goes_on_with_the_next(tmp_path, compiled):
    asked = []

    def shuffled(epoch):
        asked.append(epoch)
        order = [*range(len(X))]
        random.Random(f"0, epoch {epoch}").shuffle(order)
        return ((X[order[i : i + 64]], Y[order[i : i + 64]]) for i in range(0, len(X), 64))

    whole = train(batches=shuffled, compiled=compiled, epochs=4)
    assert asked == [0, 1, 2, 3]
    assert whole == train(X, Y, batch_size=64, compiled=compiled, epochs=4)  # fit's own order
    kept = {"batches": shuffled, "compiled": compiled, "checkpoint": tmp_path / "run.json"}
    train(epochs=2, **kept)
    assert train(epochs=4, resume=True, **kept) == whole
    assert asked[4:] == [0, 1, 2, 3]
    with pytest.raises(ValueError, match=r"made with examples = 'in batches', now it is 150"):
        train(X, Y, checkpoint=tmp_path / "run.json", resume=True)


@COMPILED
def test_batches_may_be_made_in_one_buffer(compiled):
    def in_place():
        buffer, targets = np.empty((75, 4)), np.empty(75, dtype=int)
        for start in (0, 75):
            buffer[:], targets[:] = X[start : start + 75], Y[start : start + 75]
            yield buffer, targets
            buffer[:] = np.nan

    halves = [(X[:75], Y[:75]), (X[75:], Y[75:])]
    assert train(batches=in_place, compiled=compiled) == train(batches=halves, compiled=compiled)


def test_an_example_of_a_file_is_named_by_its_place(tmp_path):
    values = np.ones((100, 1))
    values[61] = 1e200
    np.save(tmp_path / "X.npy", values)
    w = nn.Layer(1, 1, activation="identity", seed=0)
    step = compile(lambda x: w(x) ** 2, params=w, backend="numpy")
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    for seed in (None, 3):
        with pytest.raises(TrainingError, match=r"batch \d+ of 10: example 61: "):
            fit(step, mapped, batch_size=10, seed=seed, epochs=1, progress=False)
    with pytest.raises(TrainingError, match=r"validation: example 61: "):
        fit(step, np.ones((5, 1)), validation=(mapped, None), epochs=1, progress=False)


def test_an_argument_with_a_default_keeps_it():
    seen = []
    train(batches=lambda size=75: seen.append(size) or [(X[:size], Y[:size])])
    assert seen == [75, 75]


def test_one_batch_is_in_memory_at_a_time():
    size, count = 200, 40
    one = size * 500 * 8

    def batches():
        for _ in range(count):
            yield np.ones((size, 500)), np.ones(size)

    model = nn.Layer(500, 1, activation="identity", seed=0)
    step = compile(lambda x, t: losses.mse(model(x), t), params=model, backend="numpy")
    step.value_and_grad(step.theta, np.zeros((3, 500)), np.zeros(3))
    fit(step, batches=batches, epochs=1, progress=False)
    tracemalloc.start()
    try:
        fit(step, batches=batches, epochs=1, progress=False, validation=batches)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < count / 4 * one


def test_the_bar_counts_and_knows_how_many_a_loader_says_there_are(monkeypatch):
    found = []

    class Bar:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def __getattr__(self, name):
            return lambda *arguments, **named: found.append(name)

    def bar(_, total, done=0):
        found.append((total, done))
        return Bar()

    monkeypatch.setattr("tinygrad_vi.training.loop.progress_bar", bar)
    train(batches=make)
    train(batches=[*make()])
    assert [x for x in found if isinstance(x, tuple)] == [(None, 0), (6, 0)]
    assert found.count("update") == 12


# --- What is refused --------------------------------------------------------------------------------------------------


def test_a_generator_which_is_empty_after_an_epoch_is_refused_at_once():
    with pytest.raises(TypeError, match=r"batches= is an iterator, .* empty after one epoch: give the function that"):
        train(batches=make())
    with pytest.raises(TypeError, match=r"validation= is an iterator"):
        train(X, Y, validation=make())


def test_an_epoch_without_batches_is_an_error():
    used = make()
    with pytest.raises(ShapeError, match=r"no batch in epoch 2, and an earlier one had some: give a function that"):
        train(batches=lambda: used)
    with pytest.raises(ShapeError, match=r"^batches: there is no batch in epoch 1$"):
        train(batches=list)
    with pytest.raises(ShapeError, match="batch 1: there are no examples: X is empty"):
        train(batches=[(X[:0], Y[:0])])


@pytest.mark.parametrize(
    ("second", "text"),
    [
        ((X, Y.astype(float)), r"batch 2 holds .*\(N\) of floats, the first one held .*\(N\) of whole numbers"),
        ((X,), "batch 2 holds an array"),
        ((X[:, 0], Y), r"batch 2 holds an array of shape \(N\) of floats and"),
        ((X, Y[:, None]), r"shape \(N, a\) of whole numbers, the first one"),
        ((X.tolist(), Y), "batch 2 holds a list and"),
        ((X, Y[:9]), "batch 2: X and y must have one entry for each example, got 150 and 9"),
        ((X, Y, Y), r"batch 2: a batch is a pair \(X, y\), or \(X,\) for a loss of x alone, got 3"),
    ],
)
def test_batches_of_unequal_kinds(second, text):
    with pytest.raises(ShapeError, match=text):
        train(batches=[(X, Y), second])


@pytest.mark.parametrize(
    ("batch", "text"),
    [
        ({"x": X}, "examples come as a list or an array"),
        ((np.ma.masked_array(X), Y), "masked array"),
        (([["a"]], [0]), "is text, 'a'"),
        ((X.astype(complex), Y), "complex numbers"),
    ],
)
def test_batches_of_anything_but_numbers(batch, text):
    with pytest.raises(TypeError, match=f"batches, epoch 1, batch 1: .*{text}"):
        train(batches=[batch])


@COMPILED
def test_a_gap_in_a_later_batch_names_the_batch_and_the_row_and_leaves_the_last_good_step(compiled):
    broken = X[64:128].copy()
    broken[5, 3] = np.nan
    model = nn.MLP(4, [3, 3], activation="tanh", seed=0)

    def loss(x, t):
        return losses.cross_entropy(model(x), t)

    step = compile(loss, params=model, backend="numpy") if compiled else loss
    with pytest.raises(ValueError, match=r"batches, epoch 1, batch 2: X\[5\]\[3\] is nan: leave the example out"):
        fit(step, batches=[(X[:64], Y[:64]), (broken, Y[64:128])], params=model, progress=False)
    numbers = [p.data for p in model.parameters()]
    wanted = nn.MLP(4, [3, 3], activation="tanh", seed=0)
    model = wanted
    fit(loss, batches=[(X[:64], Y[:64])], params=wanted, epochs=1, progress=False)
    assert numbers == pytest.approx([p.data for p in wanted.parameters()], rel=1e-12)


@COMPILED
def test_a_loss_that_is_lost_names_its_batch_and_example(compiled):
    model = nn.Layer(1, 1, activation="identity", seed=0)

    def loss(x, t):
        return (model(x) * 1e200 * t) ** 2

    step = compile(loss, params=model, backend="numpy") if compiled else loss
    given = [([[1.0], [1.0]], [0.0, 1e-200]), ([[1.0], [1.0]], [1e-200, 1e200])]
    with pytest.raises(TrainingError, match=r"epoch 1, batch 2: example 1: ") as caught:
        fit(step, batches=lambda: iter(given), params=model, progress=False)
    assert caught.value.batch == 2


def test_settings_that_batches_have_no_use_for():
    for options in ({"batch_size": 3}, {"seed": 1}, {"stratify": Y}):
        with pytest.raises(ValueError, match="leave out batch_size, seed and stratify"):
            train(batches=make, **options)
    with pytest.raises(TypeError, match="give one of them"):
        train(X, Y, batches=make)
    for wrong in (3, {"X": X}, "data.csv", lambda: 3):
        with pytest.raises(TypeError, match="batches"):
            train(batches=wrong)
    with pytest.raises(TypeError, match="function of the epoch, or of nothing"):
        train(batches=lambda epoch, size: make())
    with pytest.raises(TypeError, match=r"what makes batches is given by name, batches=\.\.\."):
        train(make)


def test_examples_of_lists_and_arrays_are_what_a_loss_gets():
    found = Examples(X, Y)
    assert found.given[0][3].tolist() == X[3].tolist()
    assert [type(t) for t in found.given[1]] == [int] * 150
    assert found.y == Y.tolist()
    assert len(found.tables) == 2
    assert found.parts() == [range(150)]


# --- Where a loss is computed -----------------------------------------------------------------------------------------


def test_a_back_end_is_an_argument_of_the_same_training():
    wanted = train(X, Y, batch_size=64, compiled=True)
    for compiled in (True, False):
        found = train(X, Y, batch_size=64, compiled=compiled, backend="numpy")
        assert found == wanted
    pytest.importorskip("numba", reason="the native kernel is compiled with it")
    for threads in (1, 2):
        found = train(X, Y, batch_size=64, compiled=True, backend="native", threads=threads)
        np.testing.assert_allclose(found[0], wanted[0], rtol=1e-12)
        assert found == train(X, Y, batch_size=64, compiled=False, threads=1)


def test_jax_is_an_argument_too():
    pytest.importorskip("jax", reason="it is the back end")
    wanted = train(X, Y, batch_size=64)
    found = train(X, Y, batch_size=64, backend="jax", devices=1)
    np.testing.assert_allclose(found[0], wanted[0], rtol=1e-12)
    with pytest.raises(ValueError, match=r"devices=999, but JAX sees \d+; on a CPU it sees more when XLA_FLAGS="):
        train(X, Y, batch_size=64, backend="jax", devices=999)


def test_back_ends_that_there_are_not():
    with pytest.raises(ValueError, match=r"backend is one of auto, native, numpy, jax, got 'cuda'"):
        train(X, Y, backend="cuda")
    with pytest.raises(ValueError, match=r'devices=2 is for backend="jax", got backend=\'numpy\''):
        train(X, Y, devices=2)
    with pytest.raises(ValueError, match="threads"):
        train(X, Y, threads=0)


def test_the_loss_that_was_given_keeps_its_back_end():
    w = nn.Layer(4, 1, activation="identity", seed=0)
    step = compile(lambda x: w(x) ** 2, params=w, backend="numpy", verify=False)
    fit(step, X, epochs=1, progress=False, threads=1, backend="auto")
    assert step.backend == "numpy"
    with pytest.raises(ValueError, match="nothing has been traced yet"):
        step.explain()
