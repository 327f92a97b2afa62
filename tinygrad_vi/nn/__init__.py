"""Networks: modules whose parameters are Values, called with one example at a time.

``model([1.0, 2.0])`` is a Value and has been recorded, whatever the inputs are; inside `no_grad` it is a Value without
a record.  ``model.predict([1.0, 2.0])`` is a number, and takes a list or an array of examples as well.

Vectors are lists.  A layer's weights are kept by neuron, and named as a matrix is: ``W1[0,2]`` leads to the first
neuron of layer 1 from input 2 (all counted from 0 but the layers), so that z = W1 @ x + b1.
"""

from tinygrad_vi.nn.activations import ACTIVATIONS as ACTIVATIONS
from tinygrad_vi.nn.activations import INITIALIZERS as INITIALIZERS
from tinygrad_vi.nn.elsewhere import missing as _missing
from tinygrad_vi.nn.feedforward import MLP as MLP
from tinygrad_vi.nn.feedforward import Dropout as Dropout
from tinygrad_vi.nn.feedforward import Layer as Layer
from tinygrad_vi.nn.feedforward import Neuron as Neuron
from tinygrad_vi.nn.module import Module as Module
from tinygrad_vi.nn.recurrent import RNN as RNN
from tinygrad_vi.nn.recurrent import Cell as Cell
from tinygrad_vi.nn.recurrent import GRUCell as GRUCell
from tinygrad_vi.nn.recurrent import LSTMCell as LSTMCell
from tinygrad_vi.nn.recurrent import RNNCell as RNNCell

__all__ = [
    "ACTIVATIONS",
    "INITIALIZERS",
    "MLP",
    "RNN",
    "Cell",
    "Dropout",
    "GRUCell",
    "LSTMCell",
    "Layer",
    "Module",
    "Neuron",
    "RNNCell",
]


def __dir__() -> list[str]:
    return [*__all__]


def __getattr__(name: str) -> object:
    raise _missing(name)
