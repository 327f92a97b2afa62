"""Modes belong to the thread or task that set them, and end alone."""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, contextmanager
from threading import Barrier, Thread

import pytest

from tinygrad_vi import Value, fit, grad, losses, modes, nn, no_grad, optim
from tinygrad_vi.modes import Mode
from tinygrad_vi.training import accuracy


def slope(at: float = 2.0) -> float:
    """d(x*x)/dx by a fresh graph: 2x, unless recording is off."""
    x = Value(at)
    (x * x).backward()
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
    assert slope() == 0.0
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
        assert slope() == 0.0
    with off:
        assert slope() == 0.0
    assert slope() == 4.0

    @no_grad()
    def inside() -> float:
        return slope()

    assert inside() == 0.0
    assert slope() == 4.0


def test_a_suspended_generator_does_not_switch_for_those_who_called_it():
    def predictions() -> Iterator[float]:
        with no_grad():
            yield slope()
            yield slope()

    running = predictions()
    assert next(running) == 0.0
    assert slope() == 4.0
    assert next(running) == 0.0
    assert slope() == 4.0
    dropped = predictions()
    next(dropped)
    del dropped
    running.close()
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


def test_a_context_manager_written_as_a_generator_switches_for_its_block():
    @contextmanager
    def quietly() -> Iterator[None]:
        with no_grad():
            yield

    with quietly():
        assert slope() == 0.0
    with ExitStack() as stack:
        stack.enter_context(quietly())
        stack.enter_context(no_grad())
        assert slope() == 0.0
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
        assert {*predicted, *again} == {0.0}
        assert {*trained} == {4.0}
        with no_grad():
            task = asyncio.create_task(trains())
        assert {*await task} == {4.0}  # the block had ended before the task began
        async for number in numbers():
            assert (number, slope()) == (0.0, 4.0)

    asyncio.run(both())


@pytest.mark.usefixtures("_hasty_threads")
def test_one_switch_in_many_threads():
    off, start = no_grad(), Barrier(4)

    def work(_: int) -> bool:
        start.wait()
        for _ in range(300):
            with off:
                if slope() != 0.0:
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
            net,
            X,
            t,
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
        return found | {net(X[0]) for _ in range(20)} | {slope()}

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
        assert x.grad.data == 27.0
        x.grad.backward()
    assert x.grad.data == 27.0
