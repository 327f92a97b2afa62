"""Modes belong to the thread or task that set them, and end alone."""

from __future__ import annotations

import asyncio
import gc
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, contextmanager
from contextvars import copy_context
from pathlib import Path
from threading import Barrier, Thread

import pytest

import tinygrad_vi
from tinygrad_vi import Tape, Value, compile, fit, grad, losses, modes, nn, no_grad, optim, sqrt
from tinygrad_vi.collector import collector_paused
from tinygrad_vi.modes import Mode
from tinygrad_vi.training import accuracy

ROOT = Path(tinygrad_vi.__file__).resolve().parent.parent


def slope(at: float = 2.0) -> float | None:
    """d(x*x)/dx by a fresh graph: 2x; None where nothing is recorded."""
    x = Value(at)
    y = x * x
    if not y.parents:
        with pytest.raises(ValueError, match=r"was computed inside no_grad\(\): nothing was recorded"):
            y.backward()
        return None
    y.backward()
    return float(x.grad)


@pytest.fixture(autouse=True)
def _nothing_stays_behind() -> Iterator[None]:
    yield
    assert slope() == 4.0
    assert all(not mode.open for mode in (modes.recording, modes.differentiable, modes.predicting, modes.tracing))


@pytest.fixture
def _hasty_threads() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def test_blocks_may_end_in_another_order_than_they_began():
    a, b = no_grad(), no_grad()
    a.__enter__()
    b.__enter__()
    a.__exit__(None, None, None)
    assert slope() is None
    b.__exit__(None, None, None)
    assert slope() == 4.0


@pytest.mark.parametrize("seed", range(20))
def test_what_holds_is_the_newest_setting_that_is_open(seed):
    rng, mode, opened = random.Random(seed), Mode("colour", "none"), []
    for colour in (f"colour {i}" for i in range(40)):
        if opened and rng.random() < 0.5:
            opened.pop(rng.randrange(len(opened)))[0].__exit__(None, None, None)
        else:
            switch = mode.set(colour)
            switch.__enter__()
            opened.append((switch, colour))
        assert mode.get() == (opened[-1][1] if opened else "none")
    for switch, _ in opened:
        switch.__exit__(None, None, None)
    assert mode.get() == "none"
    assert not mode.open


def test_a_switch_is_entered_again_and_is_a_decorator():
    off = no_grad()
    with off, off:
        assert slope() is None
    with off:
        assert slope() is None
    assert slope() == 4.0

    @no_grad()
    def inside() -> float | None:
        return slope()

    assert inside() is None
    assert slope() == 4.0


def test_a_suspended_generator_does_not_switch_for_those_who_called_it():
    def predictions() -> Iterator[float]:
        with no_grad():
            yield slope()
            yield slope()

    running = predictions()
    assert next(running) is None
    assert slope() == 4.0
    assert next(running) is None
    assert slope() == 4.0
    dropped = predictions()
    next(dropped)
    del dropped
    running.close()
    assert slope() == 4.0


def test_a_context_manager_of_ones_own_passes_the_switch_on_to_the_generator_that_uses_it():
    class Quiet:
        def __enter__(self) -> None:
            self.inner = no_grad()
            self.inner.__enter__()

        def __exit__(self, *error: object) -> None:
            self.inner.__exit__(*error)

    def predictions() -> Iterator[float]:
        with Quiet():
            yield slope()
            yield slope()
        yield slope()

    running = predictions()
    assert next(running) is None
    assert slope() == 4.0
    assert next(running) is None
    assert slope() == 4.0
    assert next(running) == 4.0
    with Quiet():
        assert slope() is None
    assert slope() == 4.0


def test_a_generator_closed_by_another_thread_leaves_nothing_behind():
    def predictions() -> Iterator[float]:
        with no_grad():
            yield slope()

    running = predictions()
    next(running)
    thread = Thread(target=running.close)
    thread.start()
    thread.join()
    assert not modes.recording.open


def _next_in_a_thread(running: Iterator[float | None]) -> float | None:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(next, running).result()


def test_a_generator_keeps_its_mode_in_whatever_thread_it_runs():
    def predictions() -> Iterator[float | None]:
        with no_grad():
            yield slope()
            yield slope()
            with modes.recording.set(True):
                yield slope()
            yield slope()
        yield slope()

    found = []
    running, beside = predictions(), predictions()
    assert next(beside) is None
    for k in range(5):
        found.append(_next_in_a_thread(running) if k % 2 else next(running))
        assert slope() == 4.0
        assert _next_in_a_thread(slope() for _ in [0]) == 4.0
    assert found == [None, None, 4.0, None, 4.0]
    begun_elsewhere = predictions()
    assert _next_in_a_thread(begun_elsewhere) is None
    assert next(begun_elsewhere) is None
    assert next(begun_elsewhere) == 4.0
    assert slope() == 4.0
    for generator in (beside, begun_elsewhere):
        generator.close()
    assert not modes.recording.in_generators


def test_an_asynchronous_generator_keeps_its_mode_in_another_task():
    async def predictions():
        with no_grad():
            yield slope()
            await asyncio.sleep(0)
            yield slope()

    async def both() -> list[float | None]:
        running = predictions()
        found = [await running.__anext__(), slope()]
        found.append(await asyncio.create_task(running.__anext__()))
        await running.aclose()
        return found

    assert asyncio.run(both()) == [None, 4.0, None]


def test_a_context_manager_written_as_a_generator_switches_for_its_block():
    @contextmanager
    def quietly() -> Iterator[None]:
        with no_grad():
            yield

    with quietly():
        assert slope() is None
    with ExitStack() as stack:
        stack.enter_context(quietly())
        stack.enter_context(no_grad())
        assert slope() is None
    assert slope() == 4.0


def test_tasks_have_modes_of_their_own():
    @asynccontextmanager
    async def quietly():
        with no_grad():
            await asyncio.sleep(0)
            yield

    async def predicts() -> list[float]:
        found = []
        for _ in range(20):
            async with quietly():
                await asyncio.sleep(0)
                found.append(slope())
        return found

    async def trains() -> list[float]:
        found = []
        for _ in range(60):
            await asyncio.sleep(0)
            found.append(slope())
        return found

    async def numbers():
        with no_grad():
            for _ in range(3):
                yield slope()

    async def both() -> None:
        predicted, trained, again = await asyncio.gather(predicts(), trains(), predicts())
        assert {*predicted, *again} == {None}
        assert {*trained} == {4.0}
        with no_grad():
            task = asyncio.create_task(trains())
        assert {*await task} == {4.0}  # the block had ended before the task began
        async for number in numbers():
            assert (number, slope()) == (None, 4.0)

    asyncio.run(both())


@pytest.mark.usefixtures("_hasty_threads")
def test_one_switch_in_many_threads():
    off, start = no_grad(), Barrier(4)

    def work(_: int) -> bool:
        start.wait()
        for _ in range(300):
            with off:
                if slope() is not None:
                    return False
            if slope() != 4.0:
                return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(4)))


@pytest.mark.usefixtures("_hasty_threads")
def test_threads_that_predict_and_threads_that_train_do_not_meet():
    def model() -> nn.MLP:
        return nn.MLP(2, [3, 1], activation="tanh", dropout=0.0, seed=1)

    X = [[0.1 * i, 1.0 - 0.05 * i] for i in range(8)]
    t = [(-1.0) ** i for i in range(8)]

    def train(_: int) -> list[float]:
        net = model()
        fit(
            lambda x, y: losses.hinge(net(x), y),
            X,
            t,
            params=net,
            optimizer=optim.SGD(net.parameters(), 0.1),
            epochs=6,
            batch_size=3,
            validation=(X, t),
            progress=False,
        )
        return [p.data for p in net.parameters()]

    net = model()

    def predict(_: int) -> set[float]:
        found = {accuracy(net, X, t, threshold=0.1) for _ in range(10)}
        return found | {net(X[0]).data for _ in range(20)} | {net.predict(X[0]) for _ in range(20)} | {slope()}

    alone = train(0)
    expected = predict(0)
    with ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(train if i % 2 else predict, i) for i in range(24)]
        for i, job in enumerate(jobs):
            assert job.result() == (alone if i % 2 else expected)


def test_derivatives_inside_no_grad_are_right():
    with no_grad():
        assert grad(grad(lambda x: x**3))(2.0) == 12.0
        x = Value(3.0)
        with modes.recording.set(True):
            y = x**3
        y.backward(create_graph=True)
        slope, x.grad = x.grad, 0.0
        assert slope.data == 27.0
        slope.backward()
    assert x.grad == 18.0


# --- functions that are suspended -------------------------------------------------------------------------------------


def test_a_decorated_generator_is_in_the_mode_while_its_body_runs():
    @no_grad()
    def predictions() -> Iterator[float | None]:
        got = yield slope()
        yield slope() if got == "sent" else 4.0

    running = predictions()
    assert next(running) is None
    assert slope() == 4.0
    assert running.send("sent") is None
    assert list(predictions()) == [None, 4.0]
    assert slope() == 4.0


def test_a_decorated_coroutine_is_in_the_mode_while_its_body_runs():
    @no_grad()
    async def predicts() -> list[float | None]:
        found = []
        for _ in range(5):
            await asyncio.sleep(0)
            found.append(slope())
        return found

    async def trains() -> list[float | None]:
        found = []
        for _ in range(5):
            await asyncio.sleep(0)
            found.append(slope())
        return found

    async def both() -> None:
        assert await asyncio.gather(predicts(), trains()) == [[None] * 5, [4.0] * 5]
        assert await predicts() == [None] * 5
        assert slope() == 4.0

    asyncio.run(both())


def test_an_asynchronous_generator_cannot_be_decorated():
    with pytest.raises(TypeError, match="numbers is an asynchronous generator, which cannot be wrapped"):

        @no_grad()
        async def numbers():
            yield 1


def test_a_decorated_context_manager_switches_for_its_block():
    @contextmanager
    @no_grad()
    def quietly() -> Iterator[None]:
        yield

    with quietly():
        assert slope() is None
    assert slope() == 4.0


@pytest.fixture
def _off() -> Iterator[None]:
    with no_grad():
        yield


@pytest.mark.usefixtures("_off")
def test_a_fixture_switches_for_the_test_that_uses_it():
    assert slope() is None


def test_a_generator_of_generators():
    def inner() -> Iterator[float | None]:
        yield slope()
        with modes.recording.set(True):
            yield slope()
            yield slope()

    def outer() -> Iterator[float | None]:
        with no_grad():
            yield from inner()
            yield slope()

    found = []
    for number in outer():
        found.append(number)
        assert slope() == 4.0
    assert found == [None, 4.0, 4.0, None]


def test_a_generator_ends_its_own_setting_of_a_switch_that_others_use_too():
    off = no_grad()

    def predictions() -> Iterator[float | None]:
        with off:
            yield slope()

    running = predictions()
    with off:
        next(running)
        thread = Thread(target=running.close)
        thread.start()
        thread.join()
        assert slope() is None
    assert slope() == 4.0


# --- who inherits -----------------------------------------------------------------------------------------------------


def test_a_copied_context_has_the_modes_that_are_still_open():
    with no_grad():
        context = copy_context()
        assert context.run(slope) is None
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(context.run, slope).result() is None
            assert pool.submit(slope).result() == 4.0
    assert context.run(slope) == 4.0

    async def elsewhere() -> None:
        with no_grad():
            assert await asyncio.to_thread(slope) is None
            assert await asyncio.get_running_loop().run_in_executor(None, slope) == 4.0

    asyncio.run(elsewhere())


FORK = """
import os, sys, threading
from tinygrad_vi import Value, no_grad
def slope():
    y = (x := Value(2.0)) * x
    if y.parents:
        y.backward()
    return x.grad if y.parents else None
ready, done = threading.Event(), threading.Event()
def predict():
    with no_grad():
        ready.set()
        done.wait()
thread = threading.Thread(target=predict)
thread.start()
ready.wait()
if (child := os.fork()) == 0:
    os._exit(0 if slope() == 4.0 else 1)
assert os.waitpid(child, 0)[1] == 0
with no_grad():
    if (child := os.fork()) == 0:
        os._exit(0 if slope() is None else 1)
    assert os.waitpid(child, 0)[1] == 0
if (child := os.fork()) == 0:
    with no_grad():
        inside = slope()
    os._exit(0 if (inside, slope()) == (None, 4.0) else 1)
assert os.waitpid(child, 0)[1] == 0
done.set()
thread.join()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork")
def test_a_forked_child_has_the_modes_of_the_thread_that_forked():
    command = [sys.executable, "-W", "ignore", "-c", FORK]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


# --- errors, recursion, interruption ----------------------------------------------------------------------------------


def test_an_error_ends_the_block_and_so_does_a_return():
    def leaves(how: str) -> float | None:
        for _ in range(2):
            with no_grad(), modes.recording.set(True), no_grad():
                if how == "return":
                    return slope()
                if how == "continue":
                    continue
                if how == "break":
                    break
                raise RecursionError
        return slope()

    assert leaves("return") is None
    assert leaves("continue") == leaves("break") == 4.0
    with pytest.raises(RecursionError):
        leaves("raise")
    assert slope() == 4.0


def test_a_decorated_function_may_call_itself():
    @no_grad()
    def down(n: int) -> list[float | None]:
        return [slope(), *down(n - 1), slope()] if n else []

    assert down(20) == [None] * 40
    assert slope() == 4.0


def _interrupted(block: Callable[[], None], at: int) -> bool:
    """Run a block that is interrupted at its at-th line inside `modes`; whether it had so many.

    The lines that enter ``__exit__`` are left out: no Python function can be entered without a moment for a signal.
    """
    seen = 0
    first = modes.Switch.__exit__.__code__.co_firstlineno
    entering = [("__exit__", first + 1), ("__exit__", first + 2)]

    def watch(frame, event, _):
        nonlocal seen
        if frame.f_code.co_filename != modes.__file__:
            return None
        if event == "line" and (frame.f_code.co_name, frame.f_lineno) not in entering:
            seen += 1
            if seen == at:
                raise KeyboardInterrupt
        return watch

    before = sys.gettrace()
    sys.settrace(watch)
    try:
        block()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return False


def test_an_interrupt_never_leaves_recording_off():
    def predicts() -> None:
        with no_grad():
            pass

    at = 1
    while _interrupted(predicts, at):
        assert slope() == 4.0
        assert modes.recording.open == set()
        at += 1
    assert at > 20


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no timers that interrupt")
def test_ctrl_c_in_a_prediction_never_leaves_recording_off():
    net = nn.MLP(2, [2, 1], seed=1)
    rng = random.Random(1)

    def press(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, press)
    try:
        for _ in range(300):
            with pytest.raises(KeyboardInterrupt):  # noqa: PT012
                signal.setitimer(signal.ITIMER_REAL, rng.uniform(0.0002, 0.002))
                while True:
                    net([0.1, 0.2])
            assert slope() == 4.0
            assert not modes.recording.open
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)


# --- results of no_grad -----------------------------------------------------------------------------------------------


def test_a_result_of_no_grad_has_no_derivatives_but_is_a_fine_leaf():
    x = Value(3.0, "x")
    with no_grad():
        y = x * x
        root = sqrt(Value(0.0))  # has a value and no derivative
        y.label = "y"
    for refused in (y.backward, lambda: y.backward(create_graph=True), root.backward, lambda: Tape(y)):
        with pytest.raises(ValueError, match=r"was computed inside no_grad\(\): nothing was recorded"):
            refused()
    with pytest.raises(ValueError, match="the Value 'y' was computed inside no_grad"):
        y.backward()
    assert y.grad == 0.0
    z = y * x
    z.backward()
    assert (x.grad, y.grad) == (9.0, 3.0)
    with no_grad():
        plain = Value(2.0)
    plain.backward()
    assert plain.grad == 1.0
    with pytest.raises(ValueError, match="nothing was recorded"):
        grad(no_grad()(lambda v: v * v))(3.0)


# --- training in threads ----------------------------------------------------------------------------------------------

X = [[0.1 * i, 1.0 - 0.05 * i] for i in range(8)]
T = [(-1.0) ** i for i in range(8)]


def _train(seed: int, compiled: bool) -> list[float]:
    net = nn.MLP(2, [3, 1], activation="tanh", seed=seed)

    def loss(x, y):
        return losses.hinge(net(x), y)

    adam = optim.Adam(net.parameters(), 0.05)
    if compiled:
        step = compile(loss, params=net.parameters(), backend="numpy")
        fit(step, X, T, optimizer=adam, epochs=3, batch_size=3, progress=False)
    else:
        fit(loss, X, T, params=net, optimizer=adam, epochs=3, batch_size=3, progress=False)
    return [p.data for p in net.parameters()]


@pytest.mark.usefixtures("_hasty_threads")
@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
def test_fits_in_four_threads_equal_the_fits_alone(compiled):
    alone = [_train(seed, compiled) for seed in range(6)]
    with ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(_train, i % 6, compiled) for i in range(24)]
        assert [job.result() for job in jobs] == alone * 4


@pytest.mark.usefixtures("_hasty_threads")
def test_one_compiled_function_in_four_threads():
    net = nn.MLP(2, [3, 1], activation="tanh", seed=1)
    step = compile(lambda x, y: losses.hinge(net(x), y), params=net.parameters(), backend="numpy")
    thetas = [[0.1 * ((7 * i + k) % 13) - 0.6 for k in range(len(step.theta))] for i in range(6)]

    def ask(i: int) -> tuple[float, list[float]]:
        value, gradient = step.value_and_grad(thetas[i % 6], X, T)
        return value, gradient.tolist()

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(ask, range(24)))
    assert found == [ask(i) for i in range(6)] * 4


def test_pauses_of_the_collector_may_overlap():
    assert gc.isenabled()
    a, b = collector_paused(), collector_paused()
    a.__enter__()
    b.__enter__()
    assert not gc.isenabled()
    a.__exit__(None, None, None)
    b.__exit__(None, None, None)
    assert gc.isenabled()
    gc.disable()
    try:
        with collector_paused():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


@pytest.mark.usefixtures("_hasty_threads")
def test_pauses_of_the_collector_in_several_threads_leave_it_on():
    def pause():
        for _ in range(2000):
            with collector_paused():
                pass

    threads = [Thread(target=pause) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert gc.isenabled()


@pytest.mark.parametrize("entered", [True, False], ids=["entered", "not entered"])
def test_an_interruption_on_the_way_out_is_raised_and_leaves_no_mode_behind(entered):
    switch, x = no_grad(), Value(3.0)
    settings, interruptions = modes.recording.settings, [KeyboardInterrupt]

    class Interrupted:
        set = settings.set

        def get(self):
            if interruptions:
                raise interruptions.pop()
            return settings.get()

    with pytest.MonkeyPatch.context() as patch:
        if entered:
            switch.__enter__()
        patch.setattr(modes.recording, "settings", Interrupted())
        with pytest.raises(KeyboardInterrupt):
            switch.__exit__(None, None, None)
    assert not interruptions
    (x * x).backward()
    assert x.grad == 6.0
