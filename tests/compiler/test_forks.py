"""A forked process computes, whatever other threads were doing at the moment of the fork."""

import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")

native = pytest.param(
    "native", marks=pytest.mark.skipif(find_spec("numba") is None, reason="the native back end needs Numba")
)

UNDER_LOAD = """
import os, signal, sys, threading
import numpy as np
from tinygrad_vi import Value, compile, fit, optim, tanh

backend = sys.argv[1]
sys.setswitchinterval(1e-5)

def made():
    w = [Value(0.5), Value(0.25), Value(-1.0)]
    return w, compile(lambda x, t: (w[2] * tanh(w[0] * x + w[1]) - t) ** 2, w, backend=backend, threads=threads)

threads = int(sys.argv[2])
if backend == "native":
    from tinygrad_vi.compiler import native
    native.WORTH_A_THREAD = 1e-12
X = np.linspace(-1.0, 1.0, 4000)
w, shared = made()
right = shared.value_and_grad([0.5, 0.25, -1.0], X, X)
go_on = True

def compute():
    while go_on:
        shared.value_and_grad([0.5, 0.25, -1.0], X, X)

def train():
    while go_on:
        own, step = made()
        fit(step, X[:200], X[:200], optimizer=optim.Adam(own, 0.01), epochs=3, progress=False)

workers = [threading.Thread(target=work) for work in (compute, compute, train)]
for worker in workers:
    worker.start()

def child():
    value, gradient = shared.value_and_grad([0.5, 0.25, -1.0], X, X)
    for n in (4000, 3, 700):  # a batch of a new size as well
        other = shared.value_and_grad([0.5, 0.25, -1.0], X[:n], X[:n])
    own, step = made()
    history = fit(step, X[:50], X[:50], optimizer=optim.Adam(own, 0.01), epochs=2, progress=False)
    return value == right[0] and (gradient == right[1]).all() and history.epochs == 2

wrong = 0
for _ in range(50):
    pid = os.fork()
    if pid == 0:
        signal.alarm(30)  # a lock that stays shut
        try:
            os._exit(0 if child() else 1)
        finally:
            os._exit(2)
    wrong += os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) != 0
go_on = False
for worker in workers:
    worker.join()
sys.exit(wrong)
"""


@pytest.mark.parametrize("threads", ["1", "2"])
@pytest.mark.parametrize("backend", ["numpy", native])
def test_fifty_forks_while_three_threads_compute_and_train(backend, threads):
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", UNDER_LOAD, backend, threads],
        timeout=200,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


HELD = """
import os, signal, sys, threading
from tinygrad_vi import Value, compile
from tinygrad_vi.compiler import forks

w = Value(0.5)
step = compile(lambda x: w * x, [w], backend="numpy")
right = step([0.5], [3.0])
held, enough = threading.Event(), threading.Event()

def hold():
    with step._function.lock:
        held.set()
        enough.wait()

holder = threading.Thread(target=hold)
holder.start()
held.wait()
pid = os.fork()
if pid == 0:
    signal.alarm(10)
    os._exit(not (step([0.5], [3.0]) == right and not forks.compiling._is_owned()))
status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
enough.set()
holder.join()
print(status, forks.compiling._is_owned(), step([0.5], [3.0]) == right)
"""


def test_a_lock_that_another_thread_holds_is_open_in_the_child():
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", HELD], timeout=60, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("0 False True\n", "")


WAITS = """
import os, signal, sys, threading, time
from tinygrad_vi.compiler.forks import compiling

compiled, begun = [], threading.Event()

def compile_for_a_while():
    with compiling:
        begun.set()
        time.sleep(0.5)
        compiled.append(True)

thread = threading.Thread(target=compile_for_a_while)
thread.start()
begun.wait()
pid = os.fork()
if pid == 0:
    signal.alarm(10)
    free = []
    other = threading.Thread(target=lambda: free.append(compiling.acquire(timeout=5)))
    other.start()
    other.join()
    os._exit(0 if compiled == [True] == free else 1)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


def test_a_fork_waits_for_a_compilation_and_never_copies_half_of_one():
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", WAITS], timeout=60, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("0\n", "")


NESTED = """
import os, signal
from tinygrad_vi import Value, compile

w = Value(0.5)

def loss(x):
    if not seen:
        seen.append(os.fork())
        if seen[0] == 0:
            signal.alarm(10)
    return w * x

seen = []
step = compile(loss, [w], backend="numpy")
value = step([0.5], [3.0])
if seen[0] == 0:
    os._exit(not (value == 1.5 == step([0.5], [3.0])))
print(os.waitstatus_to_exitcode(os.waitpid(seen[0], 0)[1]))
"""


TAKES_LOCKS = """
from tinygrad_vi.compiler.forks import compiling
import logging, os, threading, time
from concurrent.futures import ThreadPoolExecutor

begun = threading.Event()

def compile_on_threads():
    with compiling:
        begun.set()
        time.sleep(0.3)  # the fork waits for `compiling`
        with ThreadPoolExecutor(1) as pool:
            pool.submit(logging.getLogger("another").isEnabledFor, logging.DEBUG).result()

thread = threading.Thread(target=compile_on_threads)
thread.start()
begun.wait()
pid = os.fork()
if pid == 0:
    os._exit(0)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
thread.join()
"""


def test_a_compilation_may_take_the_locks_that_a_fork_takes_too():
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", TAKES_LOCKS], timeout=60, capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("0\n", "")


def test_a_function_that_forks_while_it_is_traced():
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", NESTED], timeout=60, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("0\n", "")


def test_objects_with_locks_are_not_kept_alive():
    import gc
    import weakref

    from tinygrad_vi import Value, compile
    from tinygrad_vi.compiler import forks

    w = Value(0.5)
    step = compile(lambda x: w * x, [w], backend="numpy")
    seen, count = weakref.ref(step), len(forks._owners)
    del step
    gc.collect()
    assert seen() is None
    assert len(forks._owners) < count
