"""Programs in files: another process answers with the same numbers, and a damaged file is refused."""

import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest

from tinygrad_vi import Compiled, DomainError, ShapeError, Value, compile, log, losses, nn, operation, sqrt, tanh, where

pytestmark = pytest.mark.skipif(find_spec("numba") is None, reason="saved programs are the native kernel's tables")

ALL = ("value", "value_and_grad", "each", "hvp", "jvp")


def classifier(N=37):
    model = nn.MLP(3, [5, 2], activation="tanh", seed=1)
    draw = np.random.default_rng(N)
    X, Y = draw.normal(size=(N, 3)), draw.integers(0, 2, size=N)
    step = compile(lambda x, y: losses.cross_entropy(model(x), y), model.parameters(), backend="native")
    step.value_and_grad(step.theta, X, Y)
    return step, X, Y


def test_another_process_gives_the_same_numbers_to_the_last_bit(tmp_path):
    step, X, Y = classifier()
    path = step.save(tmp_path / "program", methods=ALL)
    theta = step.theta + 0.1
    v = np.linspace(-1.0, 1.0, len(theta))
    expected = [
        step(theta, X, Y), *step.value_and_grad(theta, X, Y), step.each(theta, X, Y),
        step.hvp(theta, v, X, Y), *step.jvp(theta, v, X, Y),
    ]  # fmt: skip
    program = f"""
import numpy as np
from tinygrad_vi import Compiled
program = Compiled.load({str(path)!r})
draw = np.random.default_rng(37)
X, Y = draw.normal(size=(37, 3)), draw.integers(0, 2, size=37)
theta = program.theta + 0.1
v = np.linspace(-1.0, 1.0, len(theta))
found = [
    program(theta, X, Y), *program.value_and_grad(theta, X, Y), program.each(theta, X, Y),
    program.hvp(theta, v, X, Y), *program.jvp(theta, v, X, Y),
]
assert (program.grad(theta, X, Y) == found[2]).all()
print(*[np.asarray(x).tobytes().hex() for x in found])
"""
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=600, check=True)
    assert found.stdout.split() == [np.asarray(x).tobytes().hex() for x in expected]


@pytest.mark.parametrize("N", [1, 2, 63, 64, 65, 1000])
def test_batches_of_any_size(tmp_path, N):
    step, _, _ = classifier()
    program = Compiled.load(step.save(tmp_path / "program"), threads=2)
    _, X, Y = classifier(N)
    for _ in range(3):
        value, gradient = program.value_and_grad(step.theta, X.tolist(), Y.tolist())
        assert value == step.value_and_grad(step.theta, X, Y)[0]
        assert gradient.tobytes() == step.value_and_grad(step.theta, X, Y)[1].tobytes()


def test_functions_of_theta_several_results_and_a_batch_found_in_a_loop(tmp_path):
    f = compile(lambda v: tanh(v[0]) * v[1], backend="native")
    x = np.array([0.5, 2.0])
    f.value_and_grad(x)
    program = Compiled.load(f.save(tmp_path / "a"))
    assert program(x) == f(x)
    assert program.value_and_grad(x)[1].tolist() == f.grad(x).tolist()
    assert program.theta is None

    g = compile(lambda v, t: [v[0] * t, v[1] ** 2 * t], backend="native")
    t = np.array([1.0, 3.0])
    g.each(x, t)
    program = Compiled.load(g.save(tmp_path / "b"))
    assert program.each(x, t).tolist() == g.each(x, t).tolist() == [[0.5, 4.0], [1.5, 12.0]]
    assert program(x, t).tolist() == [1.0, 8.0]
    with pytest.raises(ValueError, match="value_and_grad is asked of one result"):
        g.save(tmp_path / "b", methods=("value", "value_and_grad", "each"))

    points = [(0.5, 1.0), (1.5, 2.5), (-1.0, 0.5)]
    h = compile(lambda w: sum((w[0] * a + w[1] - b) ** 2 for a, b in points) / 3.0, backend="native")
    h.value_and_grad(x)
    assert h.explain().examples == 3
    assert Compiled.load(h.save(tmp_path / "c")).value_and_grad(x)[0] == h.value_and_grad(x)[0]


def test_what_the_function_read_elsewhere_is_that_of_the_moment(tmp_path):
    scale = Value(2.0)
    f = compile(lambda v: scale * v[0] ** 2, backend="native")
    x = np.array([3.0])
    f(x)
    path = f.save(tmp_path / "program")
    scale.data = 5.0
    assert (f(x), Compiled.load(path)(x)) == (45.0, 18.0)
    scale.data = 7.0
    with pytest.raises(ValueError, match="has changed since"):
        f.save(tmp_path / "program")
    assert Compiled.load(path)(x) == 18.0, "the old file is as it was"


def test_errors_of_domain(tmp_path):
    f = compile(lambda w, x: log(w[0] * x) + where(x > 2.0, sqrt(x), 1.0), backend="native")
    f(np.array([1.0]), np.array([1.0, 2.0]))
    program = Compiled.load(f.save(tmp_path / "program"))
    assert program([1.0], [1.0, 2.0]) == f([1.0], [1.0, 2.0])
    for ask in (program, program.grad, program.each):
        with pytest.raises(DomainError):
            ask([1.0], [1.0, -2.0])
        ask([1.0], [1.0, 2.0])
    with pytest.raises(DomainError, match="example 1"):
        program.each([1.0], [1.0, -2.0])


def test_what_does_not_fit_is_refused(tmp_path):
    step, X, Y = classifier()
    program = Compiled.load(step.save(tmp_path / "program"))
    theta = step.theta
    for wrong in (lambda: program(theta, X), lambda: program(theta[1:], X, Y), lambda: program(theta, X[:, :2], Y),
                  lambda: program(theta, X[:5], Y), lambda: program(theta, X[:0], Y[:0])):  # fmt: skip
        with pytest.raises(ShapeError):
            wrong()
    with pytest.raises(ValueError, match=r"hvp was not saved.*methods"):
        program.hvp(theta, theta, X, Y)
    with pytest.raises(ValueError, match="methods is a list of value"):
        step.save(tmp_path / "program", methods=["gradient"])
    with pytest.raises(ValueError, match="nothing has been traced"):
        compile(lambda w, x: w * x).save(tmp_path / "program")


def test_what_cannot_be_a_table_is_refused(tmp_path, monkeypatch):
    drop, w = nn.Dropout(0.5), Value(1.0)
    step = compile(lambda x: sum(drop([w * u for u in x])), params=[w], backend="native")
    step(step.theta, np.ones((4, 2)))
    with pytest.raises(ValueError, match="eval"):
        step.save(tmp_path / "program")
    monkeypatch.setattr("tinygrad_vi.rows.OWN", {})

    @operation(partials=lambda out, x: (3.0 * x * x,))
    def cubed(x):
        return x**3

    f = compile(lambda v: cubed(v[0]), backend="native")
    f(np.array([2.0]))
    with pytest.raises(ValueError, match="operation of your own"):
        f.save(tmp_path / "program")
    assert list(tmp_path.iterdir()) == []


def test_damaged_and_foreign_files_are_refused(tmp_path, monkeypatch):
    step, X, Y = classifier()
    path = step.save(tmp_path / "program")
    good = path.read_bytes()
    draw = np.random.default_rng(0)
    for place in [50, len(good) - 1, *draw.integers(0, len(good), 60)]:
        spoilt = bytearray(good)
        spoilt[place] ^= 1 << draw.integers(8)
        path.write_bytes(bytes(spoilt))
        with pytest.raises(ValueError, match=r"damaged|no program"):
            Compiled.load(path)
    for cut in (0, 10, 60, len(good) // 2, len(good) - 1):
        path.write_bytes(good[:cut])
        with pytest.raises(ValueError, match=r"damaged|no program"):
            Compiled.load(path)
    path.write_bytes(good)
    assert Compiled.load(path)(step.theta, X, Y) == step(step.theta, X, Y)
    monkeypatch.setattr("tinygrad_vi.compiler.stored._kernel", lambda: "another")
    with pytest.raises(ValueError, match="another version"):
        Compiled.load(path)
