"""Ctrl-C at every line of the training: parameters, optimiser and history are always those of a whole step."""

import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tinygrad_vi import Value, compile, files, fit, nn, optim, training

KINDS = {
    "SGD": lambda p: optim.SGD(p, 0.1),
    "momentum": lambda p: optim.SGD(p, 0.1, momentum=0.9),
    "nesterov": lambda p: optim.SGD(p, 0.1, momentum=0.9, nesterov=True, weight_decay=0.1),
    "RMSprop": lambda p: optim.RMSprop(p, 0.1, momentum=0.5),
    "Adam": lambda p: optim.Adam(p, 0.1),
    "AdamW": lambda p: optim.AdamW(p, 0.1),
}


def texts_of(room):
    """The files of a room that has several."""
    return {str(path) for path in Path(room.__file__).parent.glob("*.py")}


WATCHED = texts_of(training) | texts_of(optim) | {files.__file__}
X, Y = [1.0, 3.0], [1.0, 2.0]
START = [0.25, -0.5]
EPOCHS, STEPS = 2, 4  # each epoch takes a step for each example


class Problem:
    """A line with two parameters; eager or compiled."""

    def __init__(self, kind, compiled):
        self.kind = kind
        self.w = w = [Value(x) for x in START]
        self.loss = lambda x, t: (w[0] * x - w[1] - t) ** 2
        self.compiled = compile(self.loss, w, backend="numpy") if compiled else None
        self.renew()
        if compiled:
            self.fit()  # traced
            self.renew()

    def renew(self):
        for p, x in zip(self.w, START, strict=True):
            p.data = x
        self.optimizer = KINDS[self.kind](self.w)

    def fit(self, **options):
        loss = self.loss if self.compiled is None else self.compiled
        return fit(loss, X, Y, params=self.w, optimizer=self.optimizer, epochs=EPOCHS, batch_size=1, seed=None,
                   progress=False, **options)  # fmt: skip

    def step(self):
        """The next step, by hand."""
        number = self.optimizer.steps % 2
        self.optimizer.zero_grad()
        self.loss(X[number], Y[number]).backward()
        self.optimizer.step()

    @property
    def state(self):
        return [p.data for p in self.w], self.optimizer.state, self.optimizer.settings


class Interrupt:
    """KeyboardInterrupt at the k-th event in the watched files: a line, or an instruction."""

    def __init__(self, k, opcodes):
        self.left, self.opcodes = k, opcodes

    def __enter__(self):
        self.before = sys.gettrace()
        sys.settrace(self.call)
        return self

    def __exit__(self, *_):
        sys.settrace(self.before)

    def call(self, frame, event, argument):  # noqa: ARG002
        if frame.f_code.co_filename not in WATCHED:
            return None
        frame.f_trace_opcodes = self.opcodes
        return self.line

    def line(self, frame, event, argument):  # noqa: ARG002
        if event == ("opcode" if self.opcodes else "line"):
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt
        return self.line


def interrupted(run, k, opcodes=False):
    """The history, None where the interruption came before or after the loop, and whether there was one."""
    with Interrupt(k, opcodes) as interrupt:
        try:
            history = run()
        except KeyboardInterrupt:
            history = None
    return history, interrupt.left <= 0


def reference(problem):
    """The state after each number of steps, taken by hand, one after the other."""
    problem.renew()
    states = [problem.state]
    for _ in range(STEPS):
        problem.step()
        states.append(problem.state)
    problem.renew()
    return states


def same(found, right):
    numbers, state, settings = found
    assert settings == right[2]
    assert numbers == pytest.approx(right[0], rel=1e-12)
    assert len(state) == len(right[1])
    for ours, theirs in zip(state, right[1], strict=True):
        assert ours == pytest.approx(theirs, rel=1e-12, abs=1e-300)


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("kind", KINDS)
def test_an_interruption_at_any_line_leaves_a_whole_step_and_the_rest_can_be_trained(kind, compiled):
    problem = Problem(kind, compiled)
    right = reference(problem)
    losses = problem.fit().loss
    same(problem.state, right[STEPS])
    seen = set()
    for k in range(1, 10_000):
        problem.renew()
        history, happened = interrupted(problem.fit, k)
        if not happened:
            break
        steps = problem.optimizer.steps
        seen.add(steps)
        same(problem.state, right[steps])
        if history is not None:
            columns = [history.loss, history.gradient_norm, history.learning_rate, history.time]
            assert {len(column) for column in columns} == {history.epochs}
            assert steps // 2 - 1 <= history.epochs <= steps // 2
            assert history.loss == losses[: history.epochs]
            assert history.stopped == f"interrupted in epoch {history.epochs + 1}"
        for _ in range(STEPS - steps):
            problem.step()
        same(problem.state, right[STEPS])
    else:
        pytest.fail("the training never came to its end")
    assert k > 30
    assert seen == set(range(STEPS + 1))


@pytest.mark.slow
@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
def test_an_interruption_at_any_instruction_as_well(compiled):
    problem = Problem("Adam", compiled)
    right = reference(problem)
    for k in range(1, 100_000, 1 if compiled else 3):
        problem.renew()
        history, happened = interrupted(problem.fit, k, opcodes=True)
        if not happened:
            break
        same(problem.state, right[problem.optimizer.steps])
        if history is not None:
            assert len(history.loss) == len(history.gradient_norm) == len(history.learning_rate) == len(history.time)
    assert k > 300


@pytest.mark.parametrize("kind", KINDS)
def test_one_step_by_hand_is_taken_or_not_taken(kind):
    problem = Problem(kind, compiled=False)
    right = reference(problem)
    for k in range(1, 10_000):
        problem.renew()
        _, happened = interrupted(problem.step, k, opcodes=True)
        same(problem.state, right[problem.optimizer.steps])
        if not happened:
            break
    assert k > 30
    assert problem.optimizer.steps == 1


def test_the_best_parameters_are_put_back_whole_and_are_the_best():
    """With validation data and patience: whatever is interrupted, they belong to the lowest loss of the history."""
    w = [Value(0.0), Value(0.0)]
    kept = []

    def run():
        for p, x in zip(w, (3.0, 2.0), strict=True):
            p.data = x
        kept[:] = [(3.0, 2.0)]
        sgd = optim.SGD(w, 0.9)  # too large a rate: the loss goes down and up again
        return fit(lambda x: (w[0] - x) ** 2 + 1.2 * (w[1] + w[0]) ** 2, [1.0], params=w, optimizer=sgd, epochs=4,
                   validation=([1.0], None), patience=3, progress=False,
                   callbacks=lambda h: kept.append(tuple(p.data for p in w)))  # fmt: skip

    run()
    path = list(kept)
    assert len(set(path)) == len(path)
    for k in range(1, 10_000):
        history, happened = interrupted(run, k)
        if not happened:
            break
        assert tuple(p.data for p in w) in path
        if history is not None and history.epochs:
            losses = history.validation_loss
            assert len(losses) == len(history.loss)
            assert tuple(p.data for p in w) == path[1 + losses.index(min(losses))]
    assert k > 30


def test_loading_a_model_and_its_optimiser_is_done_or_not_done(tmp_path):
    model = nn.MLP(1, [1], seed=0)
    adam = optim.Adam(model.parameters(), 0.1)
    model.parameters()[0].grad = 1.0
    adam.step()
    path = model.save(tmp_path / "m.json", optimizer=adam)
    right = [p.data for p in model.parameters()], adam.state_dict()
    watched = WATCHED | texts_of(nn)
    for k in range(1, 10_000):
        fresh = nn.MLP(1, [1], seed=1)
        other = optim.Adam(fresh.parameters(), 0.5)
        before = [p.data for p in fresh.parameters()], other.state_dict()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys.modules[__name__], "WATCHED", watched)
            _, happened = interrupted(lambda m=fresh, o=other: m.load(path, optimizer=o), k)
        if not happened:
            break
        assert ([p.data for p in fresh.parameters()], other.state_dict()) in (before, right)
    assert k > 30
    assert ([p.data for p in fresh.parameters()], other.state_dict()) == right


@pytest.mark.skipif(find_spec("numba") is None, reason="the native back end needs Numba")
def test_an_interrupted_native_training_is_a_whole_one_too():
    problem = Problem("Adam", compiled=True)
    right = reference(problem)
    problem.compiled = compile(problem.loss, problem.w, backend="native")
    problem.fit()
    for k in range(1, 10_000, 7):
        problem.renew()
        _, happened = interrupted(problem.fit, k)
        same(problem.state, right[problem.optimizer.steps])
        if not happened:
            break
    assert problem.optimizer.steps == STEPS


def test_the_modes_of_modules_are_put_back_whatever_is_interrupted():
    model = nn.MLP(1, [1, 1], dropout=0.5, seed=0).eval()
    model.layers[0].training = True  # as the user has it
    before = [module.training for module in model.modules()]
    watched = WATCHED - texts_of(optim)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.modules[__name__], "WATCHED", watched)
        for k in range(1, 10_000):
            _, happened = interrupted(
                lambda: fit(lambda x: model([x]) ** 2, [1.0], params=model, epochs=1, progress=False), k
            )
            assert [module.training for module in model.modules()] == before, k
            if not happened:
                break
    assert k > 30
