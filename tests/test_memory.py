"""What a graph holds, when it is let go, and how far it may grow."""

import gc
import subprocess
import sys
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import tinygrad_vi
from tinygrad_vi import DomainError, Value, dot, log, logsumexp, softmax, total, where
from tinygrad_vi.graph import topological_order
from tinygrad_vi.rows import OPERATIONS

ROOT = Path(tinygrad_vi.__file__).resolve().parent.parent

# --- no reference cycles: a graph is freed when its last node is dropped ----------------------------------------------


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.collect()
    was_on = gc.isenabled()
    gc.disable()
    yield
    if was_on:
        gc.enable()


class Witness:
    """Lives as long as the node it hangs on; a node itself has no slot for weak references."""


def watch(output: Value) -> list[weakref.ref[Witness]]:
    """A weak reference for each recorded node and each leaf."""
    witnesses = []
    for node in everything_under(output):
        node.witness = Witness()
        witnesses.append(weakref.ref(node.witness))
    return witnesses


def everything_under(output: Value) -> set[Value]:
    """The recorded nodes and the leaves that it depends on, and itself."""
    order = topological_order([output])
    return {output, *order, *(parent for node in order for parent in node.parents)}


def alive(witnesses: list[weakref.ref[Witness]]) -> int:
    return sum(witness() is not None for witness in witnesses)


def scalar_code() -> Value:
    x, y = Value(2.0, "x"), Value(-3.0, "y")
    z = 1.0 + x * y - x / 3.0 + (-y) ** 2 + 2.0**x
    return (z * z).tanh() + abs(x - y).sqrt()


def network() -> Value:
    x = [Value(0.5), Value(-1.5)]
    hidden = [dot([Value(0.1 * i), Value(0.2)], x, Value(0.3)).relu() for i in range(8)]
    scores = [total(hidden), dot([1.0] * 8, hidden)]
    return logsumexp(scores) - scores[0] + where(scores[1], *softmax(scores))


def shared_sixty_times() -> Value:
    x = Value(1.0)
    for _ in range(60):
        x = x + x
    return x


GRAPHS: dict[str, Callable[[], Value]] = {
    "scalar code": scalar_code,
    "network": network,
    "shared": shared_sixty_times,
    "leaf": lambda: Value(1.0),
} | {name: lambda op=op: Value.record(op, *map(Value, op.points[0])) for name, op in OPERATIONS.items()}


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("backward", [False, True], ids=["recorded", "after backward"])
@pytest.mark.parametrize("build", GRAPHS.values(), ids=GRAPHS.keys())
def test_a_graph_is_freed_at_once(build: Callable[[], Value], backward: bool) -> None:
    output = build()
    if backward:
        output.backward()
    witnesses = watch(output)
    assert alive(witnesses) == len(witnesses) > 0
    del output
    assert alive(witnesses) == 0


@pytest.mark.usefixtures("no_collector")
def test_leaves_do_not_hold_what_was_made_of_them() -> None:
    w = Value(2.0)
    loss = (w * 3.0).tanh()
    loss.backward()
    witnesses = watch(loss)
    del loss
    assert alive(witnesses) == 1  # w


@pytest.mark.usefixtures("no_collector")
def test_a_training_loop_leaves_nothing_to_collect() -> None:
    parameters = [Value(0.1), Value(-0.2)]
    gc.collect()
    for _ in range(20):
        loss = (dot(parameters, [1.0, 2.0], 0.5) - 3.0) ** 2
        for p in parameters:
            p.grad = 0.0
        loss.backward()
        for p in parameters:
            p.data -= 0.01 * p.grad
    del loss
    assert gc.collect() == 0


@pytest.mark.usefixtures("no_collector")
def test_an_error_does_not_keep_the_graph() -> None:
    x = Value(2.0) * -3.0
    witnesses = watch(x)
    message = ""
    try:
        log(x)
    except DomainError as error:
        message = str(error)
    assert "got x = -6.0" in message
    del x
    assert alive(witnesses) == 0


def run(program: str) -> str:
    """What a program prints in a process of its own, where a crash is an exit status."""
    imports = "import sys; from tinygrad_vi import Value, dot, total\n"
    command = [sys.executable, "-X", "faulthandler", "-c", imports + program]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


# --- bytes a node -----------------------------------------------------------------------------------------------------

#: A product after backward, by Python version: the object (its attributes, the collector's header, the place of its
#: __dict__), two tuples of two, its number and its grad.  The partials are the operands' own numbers.
BYTES = {(3, 10): 248, (3, 11): 272, (3, 12): 272, (3, 13): 256}
LIMIT = 272


BYTES_A_NODE = """
import gc, tracemalloc
count = 100_000
c = Value(1.0 + 1e-9)
(Value(1.5) * c).backward()
gc.collect()
tracemalloc.start()
before, _ = tracemalloc.get_traced_memory()
y = Value(1.5)
for _ in range(count):
    y = y {operator} c
y.backward()
print((tracemalloc.get_traced_memory()[0] - before) / count)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("operator", "saved"),
    [
        pytest.param("*", 0, id="product"),
        pytest.param("+", 56, id="sum"),  # its partials (1, 1) are the row's
    ],
)
def test_a_node_is_small(operator: str, saved: int) -> None:
    """In a fresh process: a user's attributes make later nodes larger, by 8 bytes a name on Python 3.11 and 3.12."""
    held = float(run(BYTES_A_NODE.format(operator=operator)))
    assert held <= BYTES.get(sys.version_info[:2], LIMIT) - saved + 0.5  # the half is the leaf's share, and room
    assert held <= LIMIT + 0.5


# --- long graphs ------------------------------------------------------------------------------------------------------

A_MILLION_OPERATIONS = """
rounds = 500_000
a, x = Value(1.0), Value(0.5)
y = x
for _ in range(rounds):  # y = a**n * x + (a**(n - 1) + ... + 1) * x
    y = y * a
    y = y + x
y.backward()
assert y.data == 0.5 * (rounds + 1), y.data
assert x.grad == rounds + 1, x.grad
assert a.grad == 0.5 * rounds * (rounds + 1) / 2, a.grad
del y
"""

A_SUM_OF_A_MILLION_TERMS = """
terms = [Value(0.1 * (i % 10)) for i in range(1_000_000)]
y = total(terms)
y.backward()
assert abs(y.data - 450_000.0) < 1e-6, y.data
assert {term.grad for term in terms} == {1.0}
del y, terms
"""

A_DOT_OF_A_MILLION_TERMS = """
w, x = [Value(0.5)] * 1_000_000, [Value(2.0)] * 1_000_000
y = dot(w, x, 1.0)
y.backward()
assert y.data == 1_000_001.0, y.data
assert (w[0].grad, x[0].grad) == (2_000_000.0, 500_000.0)
del y, w, x
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "program",
    [
        pytest.param(A_MILLION_OPERATIONS, id="chain"),
        pytest.param(A_SUM_OF_A_MILLION_TERMS, id="total"),
        pytest.param(A_DOT_OF_A_MILLION_TERMS, id="dot"),
    ],
)
def test_a_million(program: str) -> None:
    """Right, freed without a crash, and with next to no room for recursion."""
    assert run(f"sys.setrecursionlimit(50)\n{program}\nprint('freed')") == "freed\n"


# --- each node is visited once ----------------------------------------------------------------------------------------


def test_two_to_the_sixty_paths_are_sixty_visits() -> None:
    x = Value(1.0)
    y = x
    for _ in range(60):
        y = y + y
    order = topological_order([y])
    assert (len(order), len(everything_under(y))) == (60, 61)  # 60 sums and a leaf
    y.backward()
    assert (y.data, x.grad) == (2.0**60, 2.0**60)


def test_a_diamond_is_walked_once_and_in_order() -> None:
    x = Value(2.0)
    top = x * x
    left, right = top + 1.0, top * 3.0
    bottom = left * right
    order = topological_order([bottom])
    assert len(order) == len(set(order)) == 4
    place = {node: i for i, node in enumerate(order)}
    assert all(place[parent] < place[node] for node in order for parent in node.parents if parent.parents)
    assert order[0] is top
    assert order[-1] is bottom
    bottom.backward()
    assert x.grad == 6 * 2.0 * (2 * 2.0**2 + 1)  # 3*(x**4 + x**2), differentiated
