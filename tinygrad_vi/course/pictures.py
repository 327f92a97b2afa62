"""The pictures of the lecture notes, which we have as text only: each is drawn by one call of this library.

The notes are five: S0, slides on neural networks after Bishop, CS231n, CS230 and CSC321; S1, notes on lecture 4 of
CS231n; S2, a summary of neural networks; S3, a textbook's chapter on automatic differentiation and training; S4, notes
on backpropagation, the Jacobian and the Hessian, whose only picture is lost.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches

from tinygrad_vi import losses, nn, ops, optim
from tinygrad_vi.compiler.compiled import compile as compiled
from tinygrad_vi.data import digits
from tinygrad_vi.show.graphs.gates import draw_circuit, draw_gates
from tinygrad_vi.show.networks.analogies import neuron_analogy, templates
from tinygrad_vi.show.networks.network import draw_network
from tinygrad_vi.show.networks.recurrent import draw_unrolled
from tinygrad_vi.show.networks.vectors import draw_vectors
from tinygrad_vi.show.paper import Drawing
from tinygrad_vi.show.plot import Plot
from tinygrad_vi.show.tapes.table import Table
from tinygrad_vi.show.writing.formula import Symbol
from tinygrad_vi.show.writing.names import label_symbol
from tinygrad_vi.training.loop import fit
from tinygrad_vi.value import Value
from tinygrad_vi.words import language

# --- Networks ---------------------------------------------------------------------------------------------------------


def _two_layers() -> Drawing:
    return draw_network(nn.MLP(2, [3, 2], activation="tanh", seed=0), weights="names", flow="forward")


def _delta() -> Drawing:
    net = nn.MLP.from_weights([[[0.5, -0.4]], [[0.8], [-0.6]]], activation="tanh")
    return draw_network(net, flow="both", x=[1.0, 0.5], target=[0.0, 1.0], weights="both", digits=4)


def _sketch() -> Drawing:
    net = nn.MLP(2, [3, 4, 1], activation="sigmoid", output_activation="sigmoid", seed=0)
    return draw_network(net, weights=False, flow="forward", notation="rows")


def _layers_2_4_5_1(flow: str) -> Callable[[], Drawing]:
    def draw() -> Drawing:
        net = nn.MLP(2, [4, 5, 1], activation="sigmoid", output_activation="sigmoid", seed=0)
        return draw_network(net, weights=False, flow=flow, notation="rows")

    return draw


def _example_3_1() -> Drawing:
    W, b = [[[0.15, 0.20], [0.25, 0.30]], [[0.40, 0.45]]], [[0.35, 0.35], [0.60]]
    net = nn.MLP.from_weights(W, b, activation="sigmoid")
    return draw_network(net, weights="both", flow="both", x=[0.05, 0.10], target=0.01, notation="columns", digits=4)


def _vectors_4_2_3() -> Drawing:
    W = [[[1.0, 0.0, -1.0, 0.5], [0.5, -0.5, 1.0, 0.0]], [[1.0, 2.0], [0.0, -1.0], [0.5, 0.5]]]
    net = nn.MLP.from_weights(W, [[0.0, 0.1], [0.0, 0.1, -0.1]], activation="tanh")
    return draw_vectors(net, [0.5, -1.0, 0.25, 1.0], target=[1.0, 0.0, -1.0], loss=losses.mse)


# --- Graphs and circuits ----------------------------------------------------------------------------------------------


def _sum_times() -> Drawing:
    x, y, z = Value(-2.0, "x"), Value(5.0, "y"), Value(-4.0, "z")
    q = x + y
    q.label = "q"
    f = q * z
    f.label = "f"
    return draw_circuit(f)


def _sigmoid_circuit() -> Drawing:
    w0, x0, w1, x1 = Value(2.0, "w0"), Value(-1.0, "x0"), Value(-3.0, "w1"), Value(-2.0, "x1")
    z = w0 * x0 + w1 * x1 + Value(-3.0, "w2")
    z.label = "z"
    s = 1.0 / (1.0 + ops.exp(-z))
    s.label = "s"
    return draw_circuit(s)


def _two_modes(mode: str) -> Callable[[], Drawing]:
    def draw() -> Drawing:
        from tinygrad_vi.show.graphs.sweeps import draw_modes

        x1, x2 = Value(2.0, "x1"), Value(5.0, "x2")
        return draw_modes(ops.log(x1) + x1 * x2 - ops.sin(x2), mode=mode)

    return draw


# --- Recurrent networks -----------------------------------------------------------------------------------------------


def _running_sum() -> Drawing:
    cell = nn.RNNCell.from_weights([[1.0]], [[1.0]], activation="identity")
    rnn = nn.RNN(cell, nn.Layer.from_weights([[1.0]]))
    return draw_unrolled(rnn, [2.0, -0.5, 1.0], loss=lambda y: y[-1])


def _which_is_ahead() -> Drawing:
    cell = nn.RNNCell.from_weights([[1.0, -1.0]], [[1.0]], activation="identity")
    rnn = nn.RNN(cell, nn.Layer.from_weights([[1.0]], activation="sigmoid"))
    return draw_unrolled(rnn, [[2.0, -2.0], [0.0, 3.5], [1.0, 2.2]], loss=lambda y: y[-1])


# --- Analogies --------------------------------------------------------------------------------------------------------


def _templates() -> Plot:
    linear = _taught_digits(nn.MLP(64, [10], init="xavier", seed=0), learning_rate=0.01, weight_decay=0.01)
    hidden = _taught_digits(nn.MLP(64, [100, 10], init="he", seed=0), learning_rate=0.002, weight_decay=0.0003)
    titles = (
        "a linear classifier: one template for each class",
        "a hidden layer: 100 templates, shared by all classes",
    )
    return templates(linear, hidden, titles=titles, names=range(10))


def _taught_digits(model: nn.MLP, learning_rate: float, weight_decay: float) -> nn.MLP:
    step = compiled(lambda x, t: losses.cross_entropy(model(x), t), params=model.parameters(), backend="numpy")
    optimizer = optim.Adam(model.parameters(), learning_rate, weight_decay=weight_decay)
    X, y = digits()
    fit(step, X, y, optimizer=optimizer, epochs=15, batch_size=32, progress=False)
    return model


# --- Surfaces of the error --------------------------------------------------------------------------------------------


def _error_surface() -> Plot:
    from tinygrad_vi.show.training.error_surface import error_surface

    return error_surface()


def _descents() -> Plot:
    from tinygrad_vi.show.training.descents import descents

    return descents()


def _batch_columns() -> Plot:
    from tinygrad_vi.show.training.descents import batch_columns

    return batch_columns()


# --- The gallery ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Picture:
    """A picture of the lecture notes: what it shows, where it belongs, how it is drawn."""

    shows: str
    place: str
    draw: Callable[[], Drawing | Plot]


PICTURES = {
    "S0-network": Picture(
        "a network of two layers with the bias nodes x0 and z0", "network diagram, equation (4)", _two_layers
    ),
    "S0-surface": Picture(
        "the error over two weights: local minimum w_A, global minimum w_B, gradient at w_C",
        "optimisation of the parameters",
        _error_surface,
    ),
    "S0-delta": Picture(
        "delta_j of a hidden unit from the deltas of the units it sends to", "error backpropagation", _delta
    ),
    "S0-exercise-1": Picture("the circuit of (x + y)z with values and gradients", "exercise 1", _sum_times),
    "S0-exercise-2": Picture("the circuit of a sigmoid neuron, gate by gate", "exercise 2", _sigmoid_circuit),
    "S0-exercise-3": Picture("a linear recurrent network unrolled, with BPTT", "exercise 3", _running_sum),
    "S0-exercise-4": Picture(
        "a recurrent network with two inputs and a sigmoid output, with BPTT", "exercise 4", _which_is_ahead
    ),
    "S0-4-2-3": Picture("the compute graph of the 4-2-3 network, with gradients", "exercise, part e", _vectors_4_2_3),
    "S1-templates": Picture("one template for each class, and 100 templates in a hidden layer", "1.2", _templates),
    "S1-neuron": Picture("a nerve cell beside its model", "1.4", neuron_analogy),
    "S1-gates": Picture("the add, multiply, copy and max gates", "4.3", draw_gates),
    "S2-network": Picture("a 2-3-4-1 network with its layers and shapes", "example of a network diagram", _sketch),
    "S2-6.3": Picture("the feedforward through a 2-4-5-1 network", "figure 6.3", _layers_2_4_5_1("forward")),
    "S2-6.4": Picture("the backpropagation through a 2-4-5-1 network", "figure 6.4", _layers_2_4_5_1("backward")),
    "S3-3.13": Picture("forward accumulation of ln(x1) + x1 x2 - sin(x2)", "figure 3.13", _two_modes("forward")),
    "S3-3.14": Picture("reverse accumulation of ln(x1) + x1 x2 - sin(x2)", "figure 3.14", _two_modes("reverse")),
    "S3-3.15": Picture("the 2-2-1 network of example 3.1 with all derivatives", "figure 3.15", _example_3_1),
    "S3-3.17": Picture("full-batch gradient descent stuck in a hollow (left)", "figure 3.17", _descents),
    "S3-3.18": Picture("the error of SGD wobbles, which helps it on (right)", "figure 3.18", _descents),
    "S3-3.19": Picture("SGD, mini-batches and the full batch, by batch size", "figure 3.19", _batch_columns),
}


def lecture_picture(name: str) -> Drawing | Plot:
    """Draw a picture of the lecture notes by its name, such as "S3-3.15"; `lecture_pictures` lists them.

    Raises ValueError for an unknown name, ImportError when a package for drawing is missing.

    >>> lecture_picture("S1-gates")
    <Drawing of the add, multiply, copy and max gates; .save("graph.svg") writes it>
    """
    if name not in PICTURES:
        near = get_close_matches(str(name), PICTURES, n=2, cutoff=0.7)
        hint = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
        raise ValueError(f"there is no lecture picture {name!r}: {hint}known are {', '.join(PICTURES)}")
    with language("vi"):
        return PICTURES[name].draw()


def lecture_pictures() -> Table:
    """List the pictures of the lecture notes: name, what it shows, where it belongs."""
    rows = [[label_symbol(text) for text in (name, p.shows, p.place)] for name, p in PICTURES.items()]
    headers = [Symbol(text, rf"\text{{{text}}}") for text in ("name", "what it shows", "place in the notes")]
    return Table('Pictures of the lecture notes: lecture_picture("name") draws one', headers, rows)
