"""The training loop: that it does what it says, that it can be stopped, resumed, and fails without losing anything."""

import gc
import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tinygrad_vi import (
    DomainError,
    ShapeError,
    TrainingError,
    Value,
    accuracy,
    compile,
    data,
    fit,
    grad,
    losses,
    nn,
    optim,
    total,
)
from tinygrad_vi.data import minibatches

X, Y = data.study_hours()
SCALED, _, _ = data.standardize(X)


def network(seed=0, **options):
    return nn.MLP(2, [4, 1], activation="tanh", seed=seed, **options)


def bce(model):
    return lambda x, t: losses.bce_with_logits(model(x), t)


def numbers(model):
    return [p.data for p in model.parameters()]


def train(model, epochs=5, X=SCALED, y=Y, **options):
    options.setdefault("optimizer", optim.Adam(model.parameters(), 0.05))
    return fit(bce(model), X, y, params=model.parameters(), epochs=epochs, progress=False, **options)


# --- what a step is ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [None, 6, 1])
def test_an_epoch_is_one_step_of_numpys_gradient_descent_for_each_batch(batch_size):
    weights, bias, rate = np.array([0.3, -0.2]), 0.1, 0.5
    model = nn.MLP.from_weights([[weights.tolist()]], [[bias]])
    sgd = optim.SGD(model.parameters(), rate)
    history = train(model, epochs=3, optimizer=sgd, batch_size=batch_size, seed=7)
    seen = []
    for epoch in range(3):
        for rows, targets in minibatches(SCALED, Y, batch_size=batch_size, seed=f"7, epoch {epoch}"):
            A, t = np.array(rows), np.array(targets)
            y = 1 / (1 + np.exp(-(A @ weights + bias)))
            loss = -np.mean(t * np.log(y) + (1 - t) * np.log(1 - y))
            slope = A.T @ (y - t) / len(t), np.mean(y - t)
            seen.append((epoch, len(t), loss, np.hypot(np.linalg.norm(slope[0]), slope[1])))
            weights, bias = weights - rate * slope[0], bias - rate * slope[1]
    assert numbers(model) == pytest.approx([*weights, bias], rel=1e-12)
    for epoch in range(3):
        of_epoch = [(n, loss, norm) for e, n, loss, norm in seen if e == epoch]
        assert history.loss[epoch] == pytest.approx(sum(n * loss for n, loss, _ in of_epoch) / 20, rel=1e-12)
        assert history.gradient_norm[epoch] == pytest.approx(np.mean([norm for *_, norm in of_epoch]), rel=1e-12)
    assert history.learning_rate == [rate] * 3
    assert history.time == sorted(history.time)
    assert sgd.steps == len(seen)


def test_the_order_is_new_in_each_epoch_and_the_same_for_a_seed():
    def seen(seed):
        order = []
        w = Value(0.0)
        fit(lambda x: order.append(x.data) or (w - x) ** 2, [1.0, 2.0, 3.0, 4.0, 5.0], params=[w], epochs=3, batch_size=2,
            seed=seed, progress=False)  # fmt: skip
        return [order[i : i + 5] for i in range(0, 15, 5)]

    first = seen(1)
    assert all(sorted(epoch) == [1.0, 2.0, 3.0, 4.0, 5.0] for epoch in first)
    assert first[0] != first[1]
    assert first == seen(1) != seen(2)
    assert seen(None) == [[1.0, 2.0, 3.0, 4.0, 5.0]] * 3


def test_whole_numbers_stay_and_can_be_indices():
    table = [Value(0.0), Value(0.0)]
    fit(lambda i, t: (table[i] - t) ** 2, [0, 1, 1], [5.0, 2.0, 4.0], params=table, epochs=400, progress=False,
        optimizer=optim.SGD(table, 0.3))  # fmt: skip
    assert [v.data for v in table] == pytest.approx([5.0, 3.0])


def test_plain_floats_train_too():
    model = nn.MLP(1, [1], seed=0)
    history = fit(lambda x, t: (model([1.0]) - t) ** 2, [0.0], [3.0], params=model, epochs=300, progress=False)
    assert history.loss[-1] < 0.01


def test_the_penalty_is_added_once_for_each_batch():
    w = Value(2.0)
    sgd = optim.SGD([w], 0.1)
    history = fit(lambda x: w * x, [1.0, 3.0], params=[w], epochs=1, optimizer=sgd, penalty=lambda: losses.l2([w], 0.5),
                  progress=False)  # fmt: skip
    assert history.loss == [2.0 * 2.0 + 0.5 * 4.0]
    assert w.data == pytest.approx(2.0 - 0.1 * (2.0 + 2.0 * 0.5 * 2.0))


def test_a_schedule_sets_the_learning_rate():
    history = train(network(), epochs=4, schedule=optim.step_decay(0.1, every=2, factor=0.5))
    assert history.learning_rate == [0.1, 0.1, 0.05, 0.05]


def test_arrays_do_as_well_as_lists():
    a, b = network(), network()
    train(a, X=SCALED, y=Y, batch_size=6)
    train(b, X=np.array(SCALED), y=np.array(Y), batch_size=6)
    assert numbers(a) == numbers(b)


def test_study_hours_and_xor_are_learned():
    model = network()
    history = train(model, epochs=200, batch_size=8)
    assert accuracy(model, SCALED, Y) == 1.0
    assert history.loss[-1] < 0.05 < history.loss[0]
    X, y = data.xor()
    model = nn.MLP(2, [3, 1], activation="tanh", seed=1)
    train(model, epochs=300, X=X, y=y)
    assert accuracy(model, X, y) == 1.0


def test_dropout_is_on_in_training_and_off_in_validation():
    for parameters in (lambda m: m, lambda m: m.parameters()):
        model = network(dropout=0.5).eval()
        model.train(parameters(model) is not model)  # a Module is put in training mode by fit itself
        seen = []

        def loss(x, t, model=model, seen=seen):
            h = model.dropout.forward([1.0] * 40)
            seen.append(0.0 in h)
            return losses.bce_with_logits(model(x), t)

        fit(loss, SCALED, Y, params=parameters(model), epochs=1, validation=(SCALED, Y), progress=False)
        assert seen == [True] * 20 + [False] * 20
    random.seed(3)
    assert accuracy(model.train(), SCALED, Y) == accuracy(model, SCALED, Y)
    assert model.training
    silent = network(dropout=0.5).eval()
    train(silent, epochs=1)
    assert not silent.training


def test_probabilities_against_the_threshold_of_logits_are_warned_of():
    with pytest.warns(UserWarning, match=r"all outputs lie between 0 and 1: for probabilities give threshold=0\.5"):
        assert accuracy(lambda x: 0.1, [1.0, 2.0], [0, 1]) == 0.5
    with pytest.raises(ValueError, match="the target of an example is a number, got 'cat': number the classes"):
        accuracy(lambda x: x, [1.0], ["cat"])
    assert accuracy(lambda x: [5.0 * x], [1.0, -2.0], [1, 0]) == 1.0


def test_accuracy_of_several_classes_and_thresholds():
    assert accuracy(lambda x: [0.1, x, 0.3], [0.2, 0.9, 0.2], [2, 1, 0]) == pytest.approx(2 / 3)
    assert accuracy(lambda x: [0.1, x], [0.2, 0.0], [[0, 1], [0, 1]]) == 0.5
    assert accuracy(lambda x: x, [0.2, 0.9], [0, 1], threshold=0.5) == 1.0
    assert accuracy(lambda x: Value(x), [-0.2, 0.9], [-1, 1]) == 1.0


# --- history, early stopping, callbacks -------------------------------------------------------------------------------


def test_the_history_tells():
    history = train(network(), epochs=3, validation=(SCALED, Y))
    assert history.epochs == len(history.validation_loss) == 3
    assert repr(history).startswith("<History of 3 epochs in ")
    assert f"loss {history.loss[0]:.4g} -> {history.loss[-1]:.4g}, validation loss" in repr(history)
    assert repr(train(network(), epochs=0)) == "<History of no epoch>"


def test_the_validation_loss_is_that_after_the_epoch():
    model = network()
    history = train(model, epochs=2, validation=(SCALED[:5], Y[:5]))
    expected = np.mean([losses.bce_with_logits(model(x), t).data for x, t in zip(SCALED[:5], Y[:5], strict=True)])
    assert history.validation_loss[-1] == pytest.approx(expected, rel=1e-14)


def test_early_stopping_puts_the_best_parameters_back():
    model = network()
    kept = []
    history = train(
        model,
        epochs=500,
        validation=(SCALED, [1 - t for t in Y]),
        patience=4,
        callbacks=lambda h: kept.append(numbers(model)),
    )
    best = history.validation_loss.index(min(history.validation_loss))
    assert history.epochs == best + 5
    assert history.stopped == "no improvement in 4 epochs"
    assert numbers(model) == kept[best]


def test_patience_without_validation_watches_the_loss():
    w = Value(1.0)
    history = fit(lambda x: w * 0.0 + x, [1.0], params=[w], epochs=50, patience=3, progress=False)
    assert history.epochs == 4


def test_a_callback_may_end_the_training():
    calls = []
    history = train(network(), epochs=50, callbacks=[lambda h: h.epochs == 3, lambda h: calls.append(h.epochs)])
    assert calls == [1, 2, 3]
    assert history.stopped == "a callback ended it"


def test_ctrl_c_returns_the_history_so_far():
    def interrupt(history):
        if history.epochs == 2:
            raise KeyboardInterrupt

    model = network()
    history = train(model, epochs=50, callbacks=interrupt)
    assert history.epochs == 2
    assert history.stopped == "interrupted in epoch 3"
    twin = network()
    train(twin, epochs=2)
    assert numbers(model) == numbers(twin)


def test_progress_bar_shows_epochs_batches_and_loss(capsys):
    model = network()
    fit(bce(model), SCALED, Y, params=model.parameters(), epochs=3, batch_size=8, progress=True)
    shown = capsys.readouterr().err
    assert "epoch 3/3: 100%" in shown
    assert "9/9" in shown
    assert "loss 0." in shown
    fit(bce(model), SCALED, Y, params=model.parameters(), epochs=1, progress=False)
    fit(bce(model), SCALED, Y, params=model.parameters(), epochs=1)  # in a file none unless it is asked for
    assert capsys.readouterr().err == ""


def test_the_collector_rests_only_while_a_batch_is_computed():
    states = []
    w = Value(1.0)
    fit(lambda x: states.append(gc.isenabled()) or w * x, [1.0], params=[w], epochs=1, progress=False,
        callbacks=lambda h: states.append(gc.isenabled()) or False)  # fmt: skip
    assert states == [False, True]
    with pytest.raises(ZeroDivisionError):
        fit(lambda x: 1 / 0, [1.0], params=[w], progress=False)
    assert gc.isenabled()


# --- checkpoints ------------------------------------------------------------------------------------------------------


def with_everything(model, epochs, **options):
    """Dropout, momentum, shuffling, validation, a schedule: all that a resumed run could get wrong."""
    return fit(
        bce(model), SCALED, Y, params=model, epochs=epochs, batch_size=6, seed=4, progress=False,
        optimizer=optim.SGD(model.parameters(), 0.3, momentum=0.9), validation=(SCALED, Y),
        schedule=optim.cosine_decay(0.3, 20), **options,
    )  # fmt: skip


@pytest.mark.parametrize("cut", [1, 4, 7])
def test_a_resumed_run_gives_the_numbers_of_an_uninterrupted_one(tmp_path, cut):
    random.seed(11)
    straight = network(dropout=0.3)
    whole = with_everything(straight, 9)
    random.seed(11)
    file = tmp_path / "run.json"
    with_everything(network(dropout=0.3), cut, checkpoint=file)
    random.seed(999)
    resumed = network(seed=5, dropout=0.3)
    history = with_everything(resumed, 9, checkpoint=file, resume=True)
    assert numbers(resumed) == numbers(straight)
    assert history.loss == whole.loss
    assert history.validation_loss == whole.validation_loss
    assert history.gradient_norm == whole.gradient_norm
    assert history.time == sorted(history.time)
    again = with_everything(network(seed=6, dropout=0.3), 9, checkpoint=file, resume=True)
    assert again.loss == whole.loss


def test_early_stopping_survives_a_resumption(tmp_path):
    worse = {"validation": (SCALED, [1 - t for t in Y]), "patience": 4}
    straight, resumed = network(), network(seed=3)
    whole = train(straight, epochs=500, **worse)
    file = tmp_path / "run.json"
    train(network(), epochs=2, checkpoint=file, **worse)
    history = train(resumed, epochs=500, checkpoint=file, resume=True, **worse)
    assert (history.loss, history.stopped) == (whole.loss, whole.stopped)
    assert numbers(resumed) == numbers(straight)
    over = train(network(seed=8), epochs=500, checkpoint=file, resume=True, **worse)
    assert (over.loss, over.stopped) == (whole.loss, whole.stopped)


def test_checkpoints_are_written_every_few_epochs_and_at_the_end(tmp_path):
    file = tmp_path / "run.json"
    found = []

    def look(_):
        found.append(json.loads(file.read_text())["history"]["loss"] if file.exists() else [])

    history = train(network(), epochs=5, checkpoint=file, checkpoint_every=2, callbacks=look)
    assert [len(loss) for loss in found] == [0, 0, 2, 2, 4]
    assert json.loads(file.read_text())["history"]["loss"] == history.loss
    assert list(tmp_path.iterdir()) == [file]


def test_a_new_run_does_not_overwrite_an_old_one(tmp_path):
    file = tmp_path / "run.json"
    train(network(), checkpoint=file)
    content = file.read_bytes()
    with pytest.raises(FileExistsError, match=r"run\.json is the checkpoint of an earlier run: resume=True goes on"):
        train(network(), checkpoint=file)
    assert file.read_bytes() == content


def test_a_resumed_run_is_the_run_that_was_begun(tmp_path):
    file = tmp_path / "run.json"
    train(network(), epochs=2, checkpoint=file, batch_size=np.int64(6), seed=np.int64(3))
    content = file.read_bytes()
    again = {"epochs": 4, "checkpoint": file, "resume": True, "seed": 3}
    with pytest.raises(ValueError, match="it was made with validation = False, now it is True"):
        train(network(), batch_size=6, validation=(SCALED, Y), **again)
    other = network()
    with pytest.raises(
        ValueError, match=r"its optimiser has the settings .*'beta1': 0.9.*, the given one .*'beta1': 0.5"
    ):
        train(other, batch_size=6, optimizer=optim.Adam(other.parameters(), 0.05, beta1=0.5), **again)
    assert file.read_bytes() == content
    assert train(network(), batch_size=6, **again).epochs == 4
    relu = nn.MLP(2, [4, 1], activation="relu", seed=0)
    modules = tmp_path / "modules.json"
    fit(bce(network()), SCALED, Y, params=(m := network()), epochs=0, checkpoint=modules, progress=False)
    fit(bce(m), SCALED, Y, params=m, epochs=1, checkpoint=modules, progress=False)
    with pytest.raises(ValueError, match="it was made with model = 'MLP"):
        fit(bce(relu), SCALED, Y, params=relu, epochs=2, checkpoint=modules, resume=True, progress=False)


def test_only_true_ends_the_training(tmp_path):
    model = network()
    assert train(model, epochs=3, callbacks=lambda h: model.save(tmp_path / "m.json")).epochs == 3


def test_losses_too_large_to_add_up_are_reported_as_such():
    w = Value(1e308)
    with pytest.raises(TrainingError, match="epoch 1, batch 1 of 1"):
        fit(lambda x: w * x, [1.5, 1.6], params=[w], progress=False)


def test_resume_starts_anew_where_there_is_no_checkpoint(tmp_path):
    assert train(network(), epochs=2, checkpoint=tmp_path / "run.json", resume=True).epochs == 2
    with pytest.raises(ValueError, match="resume=True needs the file to resume from"):
        train(network(), resume=True)


def edit(file, change):
    """Edited by hand as the message says: of version 1, without the checksum."""
    content = json.loads(file.read_text())
    change(content)
    content["version"] = 1
    del content["checksum"]
    file.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: f.write_text(f.read_text()[:-500]), "it is not complete JSON"),
        (lambda f: f.write_text(""), "it is not complete JSON"),
        (lambda f: edit(f, lambda c: c.update(format="tinygrad_vi model")), "it is no tinygrad_vi checkpoint but 'tinygrad_vi model'"),
        (lambda f: edit(f, lambda c: c.pop("optimizer")), "'optimizer' should be a dict, got None"),
        (lambda f: edit(f, lambda c: c["parameters"].pop()), "parameters should have 17 numbers, got 16"),
        (lambda f: edit(f, lambda c: c["parameters"].__setitem__(3, "0.5")), r"parameters\[3\] should be a finite number, got '0.5'"),
        (lambda f: edit(f, lambda c: c["history"]["loss"].append(0.5)), "its history should have 3 numbers"),
        (lambda f: edit(f, lambda c: c["history"].pop("loss")), "should have 0 numbers"),
        (lambda f: edit(f, lambda c: c["history"].update(mood=[])), "unexpected keyword argument 'mood'"),
        (lambda f: edit(f, lambda c: c["random"].pop()), "not enough values to unpack"),
        (lambda f: edit(f, lambda c: c["random"].__setitem__(1, [1, 2])), "state vector is the wrong size"),
        (lambda f: edit(f, lambda c: c["settings"].update(batch_size=3)), "it was made with batch_size = 3, now it is None"),
        (lambda f: edit(f, lambda c: c["optimizer"].update(name="SGD")), "the state is that of SGD, this is Adam"),
        (lambda f: edit(f, lambda c: c["names"].__setitem__(0, "W9[0,0]")), r"another architecture: it has 'W9\[0,0\]' instead of 'W1\[0,0\]'"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:.* has no checksum")
def test_damaged_checkpoints_are_refused_and_change_nothing(tmp_path, damage, message):
    file = tmp_path / "run.json"
    train(network(), epochs=2, checkpoint=file)
    damage(file)
    content, state = file.read_bytes(), random.getstate()
    model = network(seed=1)
    adam = optim.Adam(model.parameters(), 0.05)
    before = numbers(model), adam.state_dict()
    with pytest.raises(ValueError, match=message):
        train(model, optimizer=adam, checkpoint=file, resume=True)
    assert (numbers(model), adam.state_dict()) == before
    assert (file.read_bytes(), random.getstate()) == (content, state)


def test_a_checkpoint_of_another_architecture_is_refused(tmp_path):
    file = tmp_path / "run.json"
    train(network(), epochs=1, checkpoint=file)
    model = nn.MLP(2, [3, 1], activation="tanh", seed=0)
    with pytest.raises(ValueError, match="it belongs to another architecture: it has 17 parameters, now there are 13"):
        train(model, checkpoint=file, resume=True)


WRITER = """
import sys
from tinygrad_vi import Value, fit, optim
w = [Value(1.0) for _ in range(3000)]
fit(lambda x: w[0] * x, [1.0], params=w, epochs=10**6, checkpoint=sys.argv[1], progress=False,
    optimizer=optim.SGD(w, 1e-9), callbacks=lambda history: print(history.epochs, flush=True))
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL to kill a process with")
@pytest.mark.parametrize("delay", [0.0, 0.013, 0.029])
def test_a_kill_at_any_moment_leaves_a_good_file(tmp_path, delay):
    file = tmp_path / "run.json"
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(file)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    while process.stdout.readline() != b"3\n":
        assert process.poll() is None
    time.sleep(delay)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    content = json.loads(file.read_text())
    assert len(content["parameters"]) == 3000
    assert len(content["history"]["loss"]) >= 2
    unfinished = [p.name for p in tmp_path.iterdir() if p != file]
    assert len(unfinished) <= 1
    assert all(name.startswith(".run.json.") for name in unfinished)


def test_a_checkpoint_that_cannot_be_written_says_so(tmp_path):
    with pytest.raises(FileNotFoundError):
        train(network(), checkpoint=tmp_path / "no" / "run.json")


# --- errors -----------------------------------------------------------------------------------------------------------


def test_a_loss_that_is_not_finite_names_epoch_batch_example_and_node():
    w = Value(1.0, "w")
    sgd = optim.SGD([w], 1.0)
    seen = []

    def loss(x, t):
        z = w * x
        z.label = "z"
        return (z * 1e300 * 1e300 if len(seen) >= 5 and x.data == 4.0 else z) - t * 0.0

    with pytest.raises(TrainingError) as caught:
        fit(loss, [1.0, 2.0, 3.0, 4.0], [0.0] * 4, params=[w], optimizer=sgd, epochs=9, batch_size=2, seed=None, progress=False,
            callbacks=lambda h: seen.extend([w.data] * 3))  # fmt: skip
    error = caught.value
    assert isinstance(error, DomainError)
    assert (error.epoch, error.batch, error.history.epochs) == (3, 2, 2)
    message = str(error)
    assert message.startswith("training stopped in epoch 3, batch 2 of 2: example 3: the result is ")
    assert "it was first lost in mul(" in message
    assert message.endswith(
        "The parameters are as they were after the last good step; a smaller learning rate may help"
    )
    assert sgd.steps == 5
    assert w.data == 1.0 - 1.5 - 3.5 - 1.5 - 3.5 - 1.5


def test_leaving_a_domain_and_an_infinite_gradient_stop_the_training_too():
    w = Value(-1.0, "w")
    with pytest.raises(
        TrainingError, match=r"epoch 1, batch 1 of 1: example 0: log\(x\) needs x > 0, got x = -1.0 \(node 'w'\)"
    ):
        fit(lambda x: w.log() * x, [1.0], params=[w], progress=False)
    v = Value(1e-200, "v")
    with pytest.raises(TrainingError, match=r"the gradient of parameter 'v', -2\.\d*e\+202, is too large"):
        fit(lambda x: x / v / 1e150 / 1e49 / v * 1e-199, [1.0], params=[v], progress=False)
    assert (w.data, v.data) == (-1.0, 1e-200)


def test_a_validation_loss_that_is_not_finite_stops_the_training():
    w = Value(1.0, "w")
    with pytest.raises(TrainingError, match=r"epoch 1, validation: example 0: (the loss is inf|x \*\* 2 overflows)"):
        fit(lambda x: (w * x) ** 2, [1.0], params=[w], validation=([1e200], None), progress=False)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"X": []}, ShapeError, "there are no examples: X is empty"),
        ({"y": Y[:-1]}, ShapeError, "X and y must have one entry for each example, got 20 and 19"),
        ({"X": [*SCALED[:-1], [0.0, math.nan]]}, ValueError, r"X\[19\]\[1\] is nan: leave the example out or fill the gap"),
        ({"y": [*Y[:-1], 2]}, ValueError, "bce_with_logits takes targets between 0 and 1, got 2"),
        ({"X": [[*row, 1.0] for row in SCALED]}, ShapeError, "MLP expects 2 inputs, got 3"),
        ({"batch_size": 0}, ValueError, r"batch_size \(None for all examples\) must be a whole number of at least 1"),
        ({"optimizer": optim.SGD([Value(1.0)])}, ValueError, "the optimiser moves Values that are not among the parameters"),
        ({"epochs": -1}, ValueError, "epochs must be a whole number of at least 0, got -1"),
        ({"patience": 0}, ValueError, "patience must be a whole number of at least 1, got 0"),
        ({"checkpoint_every": 0}, ValueError, "checkpoint_every must be a whole number of at least 1, got 0"),
        ({"validation": ([], [])}, ShapeError, "there are no examples"),
        ({"validation": (SCALED, Y, 1)}, ShapeError, r"validation is a pair \(X, y\), got 3 entries"),
        ({"optimizer": optim.Adam}, TypeError, "give an optimiser of the parameters, such as optim.Adam"),
        ({"checkpoint": "no/such/folder/c.json"}, FileNotFoundError, "there is no folder no/such/folder to keep c.json in"),
        ({"X": [[np.float32("nan"), 0.0]] * 20}, ValueError, r"X\[0\]\[0\] is nan"),
        ({"schedule": lambda epoch: -1.0}, ValueError, "the learning rate must be a number of at least 0, got -1.0"),
    ],
)  # fmt: skip
def test_errors_say_what_was_wrong_and_leave_the_parameters(options, error, message):
    model = network()
    before = numbers(model)
    with pytest.raises(error, match=message):
        train(model, **options)
    assert numbers(model) == before


def test_a_loss_without_a_graph_or_of_other_values_is_refused():
    w, other = Value(1.0), Value(2.0)
    with pytest.raises(TypeError, match=r"there is no graph to differentiate: got 3.0 of type float and no Value"):
        fit(lambda x: 3.0, [1.0], params=[w], progress=False)
    with pytest.raises(ValueError, match="the loss depends on none of the parameters"):
        fit(lambda x: other * x, [1.0], params=[w], progress=False)
    assert Path("run.json").exists() is False


# --- real tasks -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_digits_are_read():
    X, y = data.digits()
    X_train, y_train, X_test, y_test = data.split(X, y, test=0.2, seed=0)
    model = nn.MLP(64, [32, 10], activation="tanh", init="xavier", seed=0)
    adam = optim.Adam(model.parameters(), 0.02)
    fit(lambda x, t: losses.cross_entropy(model(x), t), X_train, y_train, params=model, optimizer=adam, epochs=6,
        batch_size=32, schedule=optim.cosine_decay(0.02, 6), progress=False)  # fmt: skip
    assert accuracy(model, X_test, y_test) >= 0.95


@pytest.mark.slow
def test_a_recurrent_network_learns_the_parity_of_its_inputs_so_far():
    X, y = data.parity(200, length=8, seed=0)
    model = nn.RNN(nn.GRUCell(1, 4, seed=0), nn.Layer(4, 1, "identity", init="xavier", seed=1))
    adam = optim.Adam(model.parameters(), 0.03)
    fit(lambda x, t: losses.bce_with_logits(model(x), t), X[:100], y[:100], params=model, optimizer=adam, epochs=40,
        batch_size=10, progress=False)  # fmt: skip
    longer, answers = data.parity(50, length=20, seed=1)
    for sequences, targets in ((X[100:], y[100:]), (longer, answers)):
        right = [
            (a > 0) == b for s, t in zip(sequences, targets, strict=True) for a, b in zip(model(s), t, strict=True)
        ]
        assert sum(right) == len(right)


def test_derivatives_inside_a_loss_are_trained_too():
    w = Value(0.5, "w")
    slope = grad(lambda x: w * x**3)  # of plain numbers, so that only the training asks for Values
    sgd = optim.SGD([w], 0.002)
    fit(
        lambda i, t: (slope(float(i)) - t) ** 2, [1, 2, 3], [6.0, 24.0, 54.0], params=[w], optimizer=sgd, progress=False
    )
    assert w.data == pytest.approx(2.0, abs=1e-6)


def test_accuracy_without_targets_says_so():
    with pytest.raises(ShapeError, match="accuracy needs a target for each example"):
        accuracy(lambda x: x, [1.0, -1.0], None)


# --- Clipping, tolerance, strata --------------------------------------------------------------------------------------


@pytest.mark.parametrize("clip", [{"clip_norm": 0.3}, {"clip_value": 0.1}])
@pytest.mark.parametrize("batch_size", [None, 7])
def test_clipped_steps_are_those_of_a_loop_by_hand_eager_and_compiled(clip, batch_size):
    by_hand, ends = network(), []
    sgd = optim.SGD(by_hand.parameters(), 0.5, momentum=0.9)
    lengths = []
    size = batch_size or len(Y)
    for batch in [range(i, min(i + size, len(Y))) for i in range(0, len(Y), size)] * 4:
        sgd.zero_grad()
        total([losses.bce_with_logits(by_hand(SCALED[i]), Y[i]) / len(batch) for i in batch]).backward()
        g = np.array([p.grad for p in by_hand.parameters()])
        lengths.append(np.linalg.norm(g))
        g = g * min(1.0, 0.3 / lengths[-1]) if "clip_norm" in clip else np.clip(g, -0.1, 0.1)
        for p, x in zip(by_hand.parameters(), g.tolist(), strict=True):
            p.grad = x
        sgd.step()
    assert max(lengths) > 0.3
    for compiled in (False, True):
        model = network()
        loss = lambda x, t, model=model: losses.bce_with_logits(model(x), t)  # noqa: E731
        loss = compile(loss, model.parameters(), backend="numpy") if compiled else loss
        options = {"optimizer": optim.SGD(model.parameters(), 0.5, momentum=0.9), "epochs": 4, "seed": None}
        history = fit(loss, SCALED, Y, params=model, batch_size=batch_size, progress=False, **options, **clip)
        ends.append([p.data for p in model.parameters()])
        assert history.gradient_norm[0] == pytest.approx(np.mean(lengths[: len(lengths) // 4]), rel=1e-12)
    expected = [p.data for p in by_hand.parameters()]
    assert ends[0] == pytest.approx(expected, rel=1e-11)
    assert ends[1] == pytest.approx(expected, rel=1e-11)


def test_clipping_says_what_is_wrong():
    with pytest.raises(ValueError, match="give clip_norm or clip_value, and not both"):
        train(network(), clip_norm=1.0, clip_value=1.0)
    with pytest.raises(ValueError, match="the greatest length of a gradient must be a number of at least 0, got -1"):
        train(network(), clip_norm=-1)


def test_tolerance_is_a_rule_to_stop_by():
    w = Value(8.0)
    run = {"optimizer": optim.SGD([w], 0.25), "progress": False}
    # w is halved at each step, so the losses are 64, 16, 4, 1, 1/4: the last is lower by less than 1
    history = fit(lambda x: (w * x) ** 2, [1.0], params=[w], tolerance=1.0, **run)
    assert history.loss == [64.0, 16.0, 4.0, 1.0, 0.25]
    assert history.stopped == "no improvement of more than 1 in 1 epoch"
    w.data = 8.0
    history = fit(lambda x: (w * x) ** 2, [1.0], params=[w], tolerance=1.0, patience=3, **run)
    assert history.epochs == 7
    with pytest.raises(ValueError, match="tolerance must be a number of at least 0"):
        fit(lambda x: (w * x) ** 2, [1.0], params=[w], tolerance=-1.0)


def test_stratified_batches_and_parts_hold_each_class_in_its_share():
    y = [0] * 60 + [1] * 30 + [2] * 10
    X = [float(i) for i in range(100)]
    w, seen = Value(0.0), []

    def loss(x, t):
        seen.append(int(x.data))
        return (w - t) ** 2

    fit(loss, X, y, params=[w], batch_size=10, epochs=2, stratify=y, progress=False)
    for first in range(0, 200, 10):
        batch = [y[i] for i in seen[first : first + 10]]
        assert [batch.count(c) for c in (0, 1, 2)] == [6, 3, 1]
    assert sorted(seen[:100]) == sorted(seen[100:]) == list(range(100))
    assert seen[:100] != seen[100:]
    _, y_train, X_test, y_test = data.split(X, y, test=0.2, seed=3, stratify=y)
    assert [y_test.count(c) for c in (0, 1, 2)] == [12, 6, 2]
    assert [y_train.count(c) for c in (0, 1, 2)] == [48, 24, 8]
    assert [y[int(x)] for x in X_test] == y_test
    with pytest.raises(ShapeError, match="stratify gives a class for each of the 100 examples, got 99"):
        data.split(X, y, stratify=y[1:])
    with pytest.raises(ValueError, match="stratify shuffles the examples: give a seed"):
        fit(loss, X, y, params=[w], stratify=y, seed=None)
    with pytest.raises(TypeError, match=r"stratify\[0\] is None, which is no class"):
        data.split(X, y, stratify=[None] * 100)


@pytest.mark.parametrize("sizes", [[4, 1], [4, 2]])
@pytest.mark.parametrize("layer", [0, 1])
@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_the_accuracy_of_a_network_that_answers_nan_is_refused(sizes, layer, number):
    model = nn.MLP(2, sizes, activation="relu", seed=0)
    for p in model.layers[layer].parameters():
        p.data = number
    for copies in (1, 50):  # one by one and compiled
        with pytest.raises(DomainError, match="the output of the model for example 0 is nan, which is no answer"):
            accuracy(model, [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]] * copies, [0, 1, 1, 1] * copies)
