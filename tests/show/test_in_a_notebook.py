"""Every picture, table and page in an executed notebook, without a display and without the program `dot`."""

import nbformat
import pytest
from nbclient import NotebookClient

BEFORE = """
import shutil, sys
assert shutil.which("dot") is None
from tinygrad_vi import Tape, Value, compile, fit, log, losses, nn, optim, show, sin
from tinygrad_vi.data import moons
x1, x2 = Value(2.0, "x1"), Value(5.0, "x2")
y = log(x1) + x1 * x2 - sin(x2)
y.label = "y"
net = nn.MLP(2, [3, 1], activation="tanh", seed=0)
X, t = moons(20, seed=0)
data = list(zip(X, t))
step = compile(lambda x, c: losses.mse(net(x), c), params=net.parameters())
rnn = nn.RNN(nn.RNNCell.from_weights([[1.0]], [[1.0]], activation="identity"), nn.Layer.from_weights([[1.0]]))
film, path = show.Film(net, lambda x, c: losses.mse(net(x), c), X, t, frames=3), show.ParameterPath(net)
history = fit(step, X, t, epochs=6, callbacks=[film, path], progress=False)
loss = sum(losses.mse(net([Value(a) for a in x]), c) for x, c in data) / len(data)
"""

GRAPH, PLOT, PAGE = {"image/svg+xml", "image/png"}, {"image/png"}, {"text/html"}

CALLS = {
    "y.draw(local=True)": GRAPH,
    "y.step_through()": PAGE,
    "y.derive(x2)": {"text/latex"},
    "Tape(y).adjoint()": PAGE,
    "loss.draw(level='neuron')": GRAPH,
    "loss.draw(level='layer')": GRAPH,
    "step.draw(backward=True)": GRAPH,
    "step.draw(X[0], t[0])": GRAPH,
    "show.draw_modes(y, 'reverse')": GRAPH,
    "show.draw_network(net, x=[0.5, -1.0], target=1.0, flow='both')": GRAPH,
    "show.draw_vectors(net, [0.5, -1.0], target=1.0, loss=losses.mse)": GRAPH,
    "show.draw_unrolled(rnn, [2.0, -0.5, 1.0], loss=lambda y: y[-1])": GRAPH,
    "show.draw_circuit(y)": GRAPH,
    "show.draw_gates()": GRAPH,
    "show.neuron_analogy(language='vi')": PLOT,
    "show.templates(nn.MLP(64, [4], seed=0))": PLOT,
    "film": PAGE,
    "film.strip(3)": PLOT,
    "history.plot()": PLOT,
    "show.decision_boundary(net, X, t, threshold=0.5)": PLOT,
    "show.loss_landscape(step, X, t, path=path, steps=7)": PLOT,
    "show.quadratic([[2, 1], [1, 4]])": PLOT,
    "show.error_surface()": PLOT,
    "show.numerical_error(lambda a, b: log(a) + a * b - sin(b), 2.0, 5.0)": {"image/png", "text/html"},
    "show.expression_growth(lambda x: 4 * x * (1 - x), 0.3, depth=4)": {"image/png", "text/html"},
    "show.three_ways()": {"image/png", "text/html"},
}


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    cells = [nbformat.v4.new_code_cell(source) for source in (BEFORE, *CALLS)]
    notebook = nbformat.v4.new_notebook(cells=cells)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(tmp_path_factory.mktemp("empty")))
        patch.delenv("DISPLAY", raising=False)
        NotebookClient(notebook, timeout=600, kernel_name="python3").execute()
    return dict(zip(CALLS, notebook.cells[1:], strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the machinery that runs notebooks, not of ours
def test_it_shows_itself(executed, call):
    outputs = executed[call].outputs
    assert [output.output_type for output in outputs] == ["execute_result"]  # nothing on the standard error
    data = outputs[0].data
    assert set(data) >= CALLS[call] | {"text/plain"}
    assert len(str(data)) < 500_000
