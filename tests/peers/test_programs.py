"""The programs of the benchmarks give the same numbers in every library, to the gradient's last but few digits."""

import sys
import types

import numpy as np
import pytest

pytest.importorskip("tabulate", reason="the benchmarks print tables: pip install tabulate")
pytest.importorskip("tqdm", reason="the benchmarks show their progress: pip install tqdm")
pytest.importorskip("sklearn", reason="the benchmarks take data from scikit-learn: pip install scikit-learn")

from benchmarks import cases, gpt, gradbench, names, peers, practice, programs
from benchmarks.measure import OnOneCore, as_numbers
from tinygrad_vi import Value

SMALL = {
    "A": lambda: programs.demo(7),
    "A, one example": lambda: programs.demo(1),
    "A, repeated": lambda: programs.demo(103),
    "B": lambda: programs.digits(3),
    "C": lambda: programs.recurrent(3),
    "LSTM": lambda: programs.long_memory(2, steps=6),
    "D": lambda: programs.graph(300),
    "D, three examples": lambda: programs.graph(100, examples=3),
    "wide": lambda: programs.wide(2),
}
EAGER = next(peer for peer in peers.PEERS if peer.name == peers.EAGER)


@pytest.fixture(autouse=True)
def _single_precision_afterwards():
    yield
    if "jax" in sys.modules:
        sys.modules["jax"].config.update("jax_enable_x64", False)


@pytest.mark.parametrize("program", SMALL)
@pytest.mark.parametrize("peer", [peer for peer in peers.PEERS if peer is not EAGER], ids=lambda peer: peer.name)
def test_a_peer_computes_what_the_eager_engine_computes(peer, program):
    program = SMALL[program]()
    if reason := peer.missing():
        pytest.skip(f"{peer.name}: {reason}")
    if not peer.can_run(program):
        pytest.skip(f"{peer.name} does not run {program}")
    value, *gradient = as_numbers(EAGER.step(program)())
    step = peer.step(program)
    value_there, *gradient_there = as_numbers(step())
    if isinstance(step, OnOneCore):
        step.end()
    assert value_there == pytest.approx(value, rel=1e-10)
    np.testing.assert_allclose(gradient_there, gradient, rtol=1e-10, atol=1e-10 * np.abs(gradient).max())


class Counted(np.ndarray):
    """Arrays that count the additions and multiplications of their products."""

    flops = 0

    def __array_ufunc__(self, ufunc, method, *inputs, **options):
        plain = [x.view(np.ndarray) if isinstance(x, Counted) else x for x in inputs]
        if "out" in options:
            options["out"] = tuple(x.view(np.ndarray) if isinstance(x, Counted) else x for x in options["out"])
        found = getattr(ufunc, method)(*plain, **options)
        if ufunc is np.matmul:
            Counted.flops += 2 * np.size(found) * np.shape(plain[0])[-1]
        return found.view(Counted) if isinstance(found, np.ndarray) else found


@pytest.mark.parametrize("name", ["B", "C", "wide"])
def test_the_work_of_a_program_is_that_of_backpropagation_by_hand(name):
    program = SMALL[name]()
    theta = program.theta.view(Counted)
    Counted.flops = 0
    peers.numpy_step(types.SimpleNamespace(**vars(program), theta=theta))()
    assert Counted.flops == pytest.approx(program.flops(), rel=0.01)


@pytest.mark.parametrize("program", [*practice.QUICK, *gradbench.QUICK])
def test_a_function_of_a_vector_is_the_same_in_every_library(program):
    case = (practice.QUICK | gradbench.QUICK)[program]()
    rows = [None] if case.data is None else case.data.tolist()
    x = [Value(a) for a in case.x.tolist()]
    loss = sum(case.scalar(x, *([] if row is None else [row]), cases.tinygrad_vi) for row in rows) / len(rows)
    loss.backward()
    makers, _ = cases.contestants(case)
    assert peers.OURS in makers
    for name, make in makers.items():
        found = as_numbers(make()())
        np.testing.assert_allclose(found, [loss.data, *(a.grad for a in x)], rtol=1e-10, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("name", programs.PROGRAMS)
def test_programs_have_the_sizes_of_the_targets(name):
    program = programs.PROGRAMS[name]()
    sizes = {
        "A": (337, 100),
        "B": (2410, 64),
        "C": (417, 32),
        "LSTM": (1617, 32),
        "D": (20, 1),
        "wide": (85_002, 512),
        "large batch": (2410, 10_000),
    }
    assert (len(program.theta), len(program.X)) == sizes[name]
    assert len(program.Y) == len(program.X)


def test_data_repeat_with_noise_and_the_first_ones_stay():
    few, many = programs.demo(100), programs.demo(250)
    assert many.X[:100].tolist() == few.X.tolist()
    assert many.Y[200:250].tolist() == few.Y[:50].tolist()
    assert len({tuple(x) for x in many.X.tolist()}) == 250
    assert np.abs(many.X[100:200] - few.X).max() < 0.1


# --- The language model -----------------------------------------------------------------------------------------------


def gradient_of(loss, state):
    loss.backward()
    return [p.grad for p in gpt.parameters_of(state)]


def test_the_language_model_is_the_same_on_all_values_and_at_full_length():
    tokens, targets = gpt.document("minhanh")
    numbers = []
    for engine in (gpt.PLAIN, gpt.OURS):
        state = gpt.initial_state(engine)
        loss = gpt.gpt_loss(state, tokens, targets, engine=engine)
        numbers.append([loss.data, *gradient_of(loss, state)])
    state = gpt.initial_state()
    given = [[Value(float(x)) for x in row] for row in gpt.padded(tokens, targets)]
    loss = gpt.gpt_loss(state, *given)
    numbers.append([loss.data, *gradient_of(loss, state)])

    assert len(numbers[0]) == 1 + 4192
    scale = max(map(abs, numbers[0]))
    for other in numbers[1:]:
        np.testing.assert_allclose(other, numbers[0], rtol=1e-10, atol=1e-13 * scale)


def test_training_lowers_the_loss():
    documents = [gpt.document("an"), gpt.document("em")]
    losses = list(gpt.training(gpt.eager_gradient(gpt.OURS), documents, 40))
    assert losses[0] == pytest.approx(np.log(27), abs=0.6)
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.slow
@pytest.mark.parametrize("make", [gpt.compiled_gradient, gpt.compiled_gradient_by_length])
def test_compiled_training_has_the_losses_of_the_eager_engine(make):
    documents = [gpt.document(name) for name in ("an", "thu", "minhanh")]
    expected = list(gpt.training(gpt.eager_gradient(gpt.OURS), documents, 4))
    assert list(gpt.training(make(), documents, 4)) == pytest.approx(expected, rel=1e-10)


def test_names_are_of_letters_and_fit():
    found = names.names(2000)
    assert len(set(found)) == 2000
    assert all(name.isascii() and name.isalpha() and name.islower() and 4 <= len(name) <= 12 for name in found)
    assert names.names(3) == found[:3]
    assert names.names(3, seed=1) != found[:3]
    tokens, targets = gpt.document("a" * 20)
    assert len(tokens) == len(targets) == gpt.LONGEST
