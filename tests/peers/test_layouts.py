"""One training on every layout: the scripts of docs/past_one_machine.md, run as they stand there.

Threads, JAX's devices, and processes of JAX, PyTorch and MPI give the same losses; a checkpoint of one goes on on
another; a process that is killed ends the run, and it goes on from the last checkpoint.
"""

import ast
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/past_one_machine.md").read_text(encoding="utf-8")
SCRIPTS = dict(re.findall(r"```python\n# (\w+\.py)\n(.*?)```", PAGE, re.DOTALL))
MPI = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "OMPI_MCA_rmaps_base_oversubscribe": "1"}
LOSSES = re.compile(r"^\[\d[\d., e-]*\]$", re.MULTILINE)
ENDS = 900.0  # seconds after which a run counts as hanging: no test is about how long it takes

#: the language model of the benchmarks; of each name the tokens and then the weights of the positions
GPT = """
import numpy as np

from benchmarks import gpt
from benchmarks.names import names

gpt.LONGEST = 6  # of 16 positions the program is the same six times over, and XLA needs minutes for it
given = [gpt.padded(*gpt.document(name)) for name in names(250)]
X = np.array([[*tokens, *weights] for tokens, _, weights in given])
y = np.array([targets for _, targets, _ in given])
state = gpt.initial_state()
model = gpt.parameters_of(state)


def loss(x, t):
    return gpt.gpt_loss(state, x[:6], t, x[6:])
"""

#: X of which a process is killed as it takes its 40th batch, in the middle of the second epoch: the first to come there
KILLED = """

import os
import signal


class Rows:
    taken = 0

    def __len__(self):
        return len(all_rows)

    def __getitem__(self, rows):
        Rows.taken += 1
        if Rows.taken == 40 and not os.path.exists("killed"):
            try:
                os.close(os.open("killed", os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                pass
            else:
                os.kill(os.getpid(), signal.SIGKILL)
        return all_rows[rows]


all_rows, X = X, Rows()
"""


def script(folder, problem, epochs=3):
    """The page's training of a problem in a folder."""
    (folder / "problem.py").write_text(problem)
    (folder / "train.py").write_text(SCRIPTS["train.py"].replace("EPOCHS = 64, 3", f"EPOCHS = 64, {epochs}"))
    return folder


def start(folder, *command, **more):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu", "OMP_NUM_THREADS": "1", **MPI, **more}
    environment.pop("XLA_FLAGS", None) if "XLA_FLAGS" not in more else None
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def ended(process):
    """Its exit status and what it said; a process that does not end fails the test."""
    try:
        out, err = process.communicate(timeout=ENDS)
    finally:
        process.kill()
    return process.returncode, out, err


def jax_processes(folder):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        at = f"localhost:{free.getsockname()[1]}"
    processes = [start(folder, sys.executable, "train.py", "jax-processes", "2", str(i), at) for i in (1, 0)]
    found = [ended(process) for process in processes]
    return max(status != 0 for status, *_ in found), found[-1][1], "\n".join(err for *_, err in found)


LAYOUTS = {
    "native 1": lambda folder: ended(start(folder, sys.executable, "train.py", "native", "1")),
    "native 2": lambda folder: ended(start(folder, sys.executable, "train.py", "native", "2")),
    "jax 1": lambda folder: ended(start(folder, sys.executable, "train.py", "jax", "1")),
    "jax 8": lambda folder: ended(
        start(folder, sys.executable, "train.py", "jax", "8", XLA_FLAGS="--xla_force_host_platform_device_count=8")
    ),
    "jax processes": jax_processes,
    "torch": lambda folder: ended(
        start(
            folder,
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            "--nproc-per-node=2",
            "train.py",
            "torch",
        )
    ),
    "mpi": lambda folder: ended(start(folder, "mpiexec", "-n", "2", sys.executable, "train.py", "mpi")),
}


def needs(layout):
    """Skip a layout whose packages are not here."""
    pytest.importorskip("sklearn", reason="it has the digits")
    if layout.startswith("native"):
        pytest.importorskip("numba", reason="the native kernel is compiled with it")
    if layout.startswith("jax"):
        pytest.importorskip("jax", reason="it is the back end")
    if layout == "torch":
        pytest.importorskip("torch", reason="its processes share the batches")
    if layout == "mpi":
        pytest.importorskip("mpi4py", reason="its processes share the batches")
        asked = "from mpi4py import MPI; print(MPI.COMM_WORLD.size)"
        if shutil.which("mpiexec") is None:
            pytest.skip("there is no mpiexec")
        if ended(start(ROOT, "mpiexec", "-n", "2", sys.executable, "-c", asked))[1].split() != ["2", "2"]:
            pytest.skip("mpiexec and mpi4py belong to different MPIs")


def losses_of(layout, folder):
    status, out, err = LAYOUTS[layout](folder)
    assert not status, err
    [said] = LOSSES.findall(out)  # one process says it
    return ast.literal_eval(said)


@pytest.fixture(scope="module")
def by_hand():
    """The losses of the digits by one process that knows neither batches= nor a back end."""
    pytest.importorskip("sklearn", reason="it has the digits")
    from tinygrad_vi import compile, fit, optim

    names = {}
    exec(SCRIPTS["problem.py"], names)
    step = compile(names["loss"], params=names["model"], backend="numpy")
    adam = optim.Adam(names["model"], 0.01)
    return fit(step, names["X"], names["y"], optimizer=adam, epochs=3, batch_size=64, progress=False).loss


def test_the_page_has_both_scripts():
    assert [*SCRIPTS] == ["problem.py", "train.py"]


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_digits_have_the_same_losses_on_every_layout(layout, tmp_path, by_hand):
    needs(layout)
    found = losses_of(layout, script(tmp_path, SCRIPTS["problem.py"]))
    np.testing.assert_allclose(found, by_hand, rtol=1e-10)


@pytest.mark.slow
def test_the_language_model_has_the_same_losses_on_every_layout(tmp_path):
    pytest.importorskip("tabulate", reason="the benchmarks print tables")
    found = {}
    for layout in LAYOUTS:
        try:
            needs(layout)
        except pytest.skip.Exception:
            continue
        (tmp_path / layout).mkdir()
        found[layout] = losses_of(layout, script(tmp_path / layout, GPT, epochs=2))
    wanted = found["native 1"]
    assert wanted[1] < wanted[0]
    for losses in found.values():
        np.testing.assert_allclose(losses, wanted, rtol=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize(
    "route", [("native 2", "jax 8", "torch"), ("mpi", "native 1", "jax processes"), ("jax processes", "mpi", "jax 1")]
)
def test_a_checkpoint_goes_on_on_another_layout(route, tmp_path, by_hand):
    for layout in route:
        needs(layout)
    for epochs, layout in enumerate(route, start=1):
        found = losses_of(layout, script(tmp_path, SCRIPTS["problem.py"], epochs))
    np.testing.assert_allclose(found, by_hand, rtol=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["jax processes", "torch", "mpi"])
def test_a_killed_process_ends_the_run_and_it_goes_on_from_the_last_checkpoint(layout, tmp_path, by_hand):
    needs(layout)
    status, out, err = LAYOUTS[layout](script(tmp_path, SCRIPTS["problem.py"] + KILLED))
    assert status
    assert not LOSSES.findall(out)
    said = {"jax processes": "all-reduce failed", "torch": "SIGKILL|exitcode: -9", "mpi": r"signal 9|KILLED"}
    assert re.search(said[layout], out + err, re.IGNORECASE)
    assert (tmp_path / "killed").exists()
    kept = json.loads((tmp_path / "run.json").read_text())
    np.testing.assert_allclose(kept["history"]["loss"], by_hand[:1], rtol=1e-10)
    np.testing.assert_allclose(losses_of(layout, tmp_path), by_hand, rtol=1e-10)


TWO_PROCESSES = """
import re
import sys

import jax
import numpy as np

jax.distributed.initialize(sys.argv[3], 2, int(sys.argv[1]))
from tinygrad_vi import compile, losses, nn

rng = np.random.default_rng(0)
X, y = rng.normal(size=(51, 2)), rng.integers(0, 3, 51).astype(float)
model = nn.MLP(2, [4, 3], activation="tanh", seed=int(sys.argv[2]))
loss = lambda x, t: losses.cross_entropy(model(x), t)
step, other = compile(loss, params=model, backend="jax", devices=2), compile(loss, params=model, backend="numpy")
for asked in ("value_and_grad", "each", "hessian"):
    ours, wanted = (getattr(f, asked)(f.theta, X, y) for f in (step, other))
    for a, b in zip(ours, wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-13)
np.testing.assert_allclose(step.bind(X, y)(step.theta), other(step.theta, X, y), rtol=1e-12)
with jax.enable_x64(True):
    runner = step._traces.known().runners["value_and_gradient"]
    rows = [runner._spread_out(x) for x in (np.ones(52), np.zeros((52, 2)), np.zeros(52))]
    text = runner.run.lower(runner._placed(step.theta, runner.everywhere), *rows).compile().as_text()
print(len(re.findall(r" all-reduce(?:-start)?\\(", text)), "all-gather" in text)
try:
    compile(loss, params=model, backend="jax", devices=jax.device_count() - 1).value_and_grad(step.theta, X, y)
except ValueError as error:
    print(error)
"""


def two(folder, seeds):
    (folder / "two.py").write_text(TWO_PROCESSES)
    with socket.socket() as free:
        free.bind(("localhost", 0))
        at = f"localhost:{free.getsockname()[1]}"
    processes = [start(folder, sys.executable, "two.py", str(i), str(seeds[i]), at) for i in (1, 0)]
    return [ended(process) for process in processes]


@pytest.mark.slow
def test_two_processes_of_jax_have_one_sum_over_all(tmp_path):
    pytest.importorskip("jax", reason="it is the back end")
    for status, out, err in two(tmp_path, (0, 0)):
        assert not status, err
        assert out.splitlines()[-1] == "1 False"


@pytest.mark.slow
def test_processes_whose_models_differ_are_told_so(tmp_path):
    pytest.importorskip("jax", reason="it is the back end")
    for status, _, err in two(tmp_path, (0, 1)):
        assert status
        assert "ValueError: the processes do not ask the same: parameters or data differ. Each runs the same" in err
