"""Feed-forward networks: neurons, layers, perceptrons, dropout."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from numbers import Real
from typing import Any

from tinygrad_vi import modes
from tinygrad_vi.checks import ONE_EXAMPLE, ShapeError, counted, plain, whole_number
from tinygrad_vi.nn.activations import (
    ACTIVATIONS,
    ALL_ACTIVATIONS,
    INITIALIZERS,
    LAYER_ACTIVATIONS,
    Activation,
    Initializer,
    generator,
    look_up,
    name_of,
)
from tinygrad_vi.nn.module import Module
from tinygrad_vi.value import Value, dot

#: empty while nobody notes what is computed: asking this costs less than asking the mode
_NOTED = modes.noting.open


class VectorModule(Module):
    """What modules with a fixed number of inputs share."""

    n_inputs: int

    def is_one_example(self, X: Any) -> bool:
        """A number, or a flat list of them; with a single input such a list holds an example in each entry."""
        if super().is_one_example(X):
            return True
        flat = getattr(X, "ndim", 0) == 1 or (isinstance(X, (list, tuple)) and any(isinstance(x, Real) for x in X))
        return flat and self.n_inputs != 1


def _inputs(x: Any, n: int, module: Module) -> Any:
    """The n inputs of one example as a list; a bare number will do for one."""
    if x.__class__ is not list:
        x = plain(x)
        if not isinstance(x, (list, tuple, Iterator, Real)) and not hasattr(x, "record"):
            raise TypeError(f"{type(module).__name__} takes a list of {counted(n, 'number')}, got {x!r:.60}")
        if n != 1 and not isinstance(x, (list, tuple, Iterator)):
            raise ShapeError(f"{type(module).__name__} expects {counted(n, 'input')}, got 1 number: {ONE_EXAMPLE}")
        x = list(x) if isinstance(x, (list, tuple, Iterator)) else [x]
    if x and isinstance(x[0], (list, tuple)):
        raise ShapeError(
            f"{type(module).__name__} takes one example of {counted(n, 'input')}, got a list of lists: "
            "for a batch write [model(x) for x in X], or model.predict(X) for its numbers"
        )
    if len(x) != n:
        raise ShapeError(f"{type(module).__name__} expects {counted(n, 'input')}, got {len(x)}")
    return x


# --- Feed-forward networks --------------------------------------------------------------------------------------------


class Neuron(VectorModule):
    """One unit, activation(w . x + b).

    n_inputs: the number of inputs.  activation: the name of an operation, "identity", or a function of one Value.
    init: "uniform" (U(-1, 1), as in micrograd), "xavier" (U(-a, a) with a = sqrt(6 / (fan_in + fan_out)); Glorot and
    Bengio 2010) or "he" (N(0, 2 / fan_in); He et al. 2015), or a function (rng, fan_in, fan_out) -> weight.  Biases
    begin at 0.  seed: of the weights; without one the module `random` is used.  mask: which inputs are connected, one
    0 or 1 each.  expand: build the sum from + and * instead of one `dot`, for drawings.

    w: the weights, one for each input in ``connected``.  b: the bias.

    >>> n = Neuron(2, "identity", seed=0)
    >>> [w.label for w in n.w], n.b
    (['w0', 'w1'], Value(data=0.0, grad=0.0, label='b'))
    """

    def __init__(
        self,
        n_inputs: int,
        activation: Activation = "relu",
        *,
        init: Initializer = "uniform",
        seed: Any = None,
        bias: bool = True,
        mask: Sequence[Any] | None = None,
        expand: bool = False,
        fan_out: int = 1,
    ) -> None:
        self.n_inputs = whole_number(n_inputs, "the number of inputs")
        self.activation = name_of(activation)
        self._activate = look_up(ACTIVATIONS, activation, "activation")
        self._sum = dot_expanded if expand else dot
        self.connected = range(n_inputs) if mask is None else _connected(mask, n_inputs)
        fan_in = len(self.connected)
        if not fan_in and not bias:
            raise ShapeError("a neuron needs a connection or a bias: its mask leaves nothing")
        draw, rng = look_up(INITIALIZERS, init, "initialisation"), generator(seed)
        self.w = [Value(draw(rng, fan_in, fan_out)) for _ in range(fan_in)]
        self.b: Any = Value(0.0) if bias else 0.0
        self._label("w{}", "b")

    def forward(self, x: Any) -> Any:
        """activation(w . x + b); raises ShapeError for another number of inputs."""
        return self._output(_inputs(x, self.n_inputs, self))

    def _output(self, x: list[Any]) -> Any:
        if len(self.w) < len(x):
            x = [x[i] for i in self.connected]
        total = self._sum(self.w, x, self.b)
        output = self._activate(total)
        if _NOTED and (notes := modes.noting.get()):  # somebody draws the network
            notes.neuron(self, x, total, output)
        return output

    def _label(self, w: str, b: str) -> None:
        for i, value in zip(self.connected, self.w, strict=True):
            value.label = w.format(i)
        if isinstance(self.b, Value):
            self.b.label = b

    def describe(self) -> str:
        """``Neuron(2 inputs, tanh)``."""
        absent = self.n_inputs - len(self.w)
        missing = f", {absent} not connected" if absent else ""
        return f"{type(self).__name__}({counted(self.n_inputs, 'input')}{missing}, {self.activation})"


def dot_expanded(w: Iterable[Any], x: Iterable[Any], b: Any) -> Any:
    """b + w[0]*x[0] + w[1]*x[1] + ... as small nodes, one for each + and each *."""
    for u, v in zip(w, x, strict=True):
        b = b + u * v
    return b


def _connected(mask: Sequence[Any], n_inputs: int) -> list[int]:
    mask = plain(mask)
    if len(mask) != n_inputs:
        raise ShapeError(f"a mask has one entry for each of the {n_inputs} inputs, got {len(mask)}")
    return [i for i, on in enumerate(mask) if on]


class Layer(VectorModule):
    """Neurons side by side: y = activation(W @ x + b) with W of shape (n_outputs, n_inputs).

    activation: as for a `Neuron`, or "softmax" over the whole layer.  mask: n_outputs rows of n_inputs entries 0 or 1.
    The output is a list; that of a single neuron is the Value itself, as in micrograd.

    >>> layer = Layer.from_weights([[1.0, -1.0], [2.0, 0.5]], [0.0, 1.0], "relu")
    >>> layer.predict([1.0, 3.0])
    [0.0, 4.5]
    >>> layer
    Layer(2 -> 2, relu): 6 parameters
    """

    def __init__(
        self,
        n_inputs: int,
        n_outputs: int,
        activation: Activation = "relu",
        *,
        init: Initializer = "uniform",
        seed: Any = None,
        bias: bool = True,
        mask: Sequence[Sequence[Any]] | None = None,
        expand: bool = False,
    ) -> None:
        self.n_inputs = whole_number(n_inputs, "the number of inputs")
        self.n_outputs = whole_number(n_outputs, "the number of neurons")
        self.activation = name_of(activation)
        whole = isinstance(activation, str) and activation in LAYER_ACTIVATIONS
        self._activate = LAYER_ACTIVATIONS[self.activation] if whole else None
        if mask is not None and len(mask) != n_outputs:
            raise ShapeError(f"a mask has one row for each of the {n_outputs} neurons, got {len(mask)}")
        rng = generator(seed)
        self.neurons = [
            Neuron(
                n_inputs,
                "identity" if whole else activation,
                init=init,
                seed=rng,
                bias=bias,
                mask=None if mask is None else mask[j],
                expand=expand,
                fan_out=n_outputs,
            )
            for j in range(n_outputs)
        ]
        self._label("")

    @classmethod
    def from_weights(
        cls,
        W: Sequence[Sequence[Any]],
        b: Sequence[Any] | None = None,
        activation: Activation = "identity",
        **options: Any,
    ) -> Layer:
        """A layer with given weights: W has one row for each neuron, b one entry; None in W is no connection.

        Values among them are taken as they are, so that layers can share them.
        """
        rows = _matrix(W, "W")
        options = {"mask": _mask(rows), "seed": 0, **options}  # with a seed nothing is drawn from the module `random`
        layer = cls(len(rows[0]), len(rows), activation, bias=b is not None, **options)
        layer._assign(rows, b)
        return layer

    def _assign(self, W: list[list[Any]], b: Sequence[Any] | None) -> None:
        if b is not None and not isinstance(plain(b), (list, tuple)):
            raise ShapeError(f"the biases of a layer are a list, one for each neuron, such as [0.3]; got {b!r:.60}")
        if b is not None and len(b) != len(W):
            raise ShapeError(f"b has {len(b)} numbers for {counted(len(W), 'neuron')}")
        for j, (neuron, row) in enumerate(zip(self.neurons, W, strict=True)):
            given = [x for x in row if x is not None]
            neuron.w = [_parameter(x, v.label) for x, v in zip(given, neuron.w, strict=True)]
            if b is not None:
                neuron.b = _parameter(plain(b)[j], neuron.b.label)

    def forward(self, x: Any) -> Any:
        """activation(W @ x + b); raises ShapeError for another number of inputs."""
        outputs = self.outputs(_inputs(x, self.n_inputs, self))
        return outputs[0] if len(outputs) == 1 else outputs

    def outputs(self, x: list[Any]) -> list[Any]:
        """The same, always as a list."""
        units = [neuron._output(x) for neuron in self.neurons]
        outputs = self._activate(units) if self._activate else units
        if _NOTED and (notes := modes.noting.get()):  # somebody draws the network
            notes.layer(self, units, outputs)
        return outputs

    def _label(self, number: str) -> None:
        for j, neuron in enumerate(self.neurons):
            neuron._label(f"W{number}[{j},{{}}]", f"b{number}[{j}]")

    def parts(self) -> list[tuple[str, Module]]:
        """No parts are printed: the line of the layer says how many neurons there are."""
        return []

    def describe(self) -> str:
        """``Layer(2 -> 4, tanh)``."""
        absent = sum(self.n_inputs - len(neuron.w) for neuron in self.neurons)
        missing = f", {absent} not connected" if absent else ""
        return f"{type(self).__name__}({self.n_inputs} -> {self.n_outputs}{missing}, {self.activation})"


def _matrix(rows: Any, name: str) -> Any:
    rows = plain(rows)
    if not isinstance(rows, (list, tuple)) or not all(isinstance(plain(row), (list, tuple)) for row in rows):
        raise ShapeError(f"{name} is a list of rows, one for each neuron, such as [[0.5, 0.6]]; got {rows!r:.60}")
    rows = [list(plain(row)) for row in rows]
    if not rows or not rows[0] or len({len(row) for row in rows}) != 1:
        raise ShapeError(f"{name} needs rows of one length, got rows of {[len(row) for row in rows]}")
    return rows


def _mask(W: list[list[Any]]) -> list[list[bool]] | None:
    mask = [[x is not None for x in row] for row in W]
    return None if all(map(all, mask)) else mask


def _two_biases(u: Any, v: Any) -> tuple[Any, Any]:
    """Two numbers that are only used as a sum: (sum, None), or both if a Value is among them and the other is not 0."""
    if not isinstance(u, Value) and not isinstance(v, Value):
        return u + v, None
    if not isinstance(v, Value) and v == 0.0:
        return u, None
    return (v, None) if not isinstance(u, Value) and u == 0.0 else (u, v)


def _parameter(x: Any, label: str) -> Value:
    return x if isinstance(x, Value) else Value(x, label)


class MLP(VectorModule):
    """A multi-layer perceptron: layers one after the other.

    n_inputs: the number of inputs.  sizes: the neurons of each layer, the last one being the output.  activation: of
    the hidden layers, or a list with one for each; a list as long as ``sizes`` gives the output's too.
    output_activation: of the last layer, "softmax" included.  init, seed, bias, expand: as for a `Neuron`.
    skip: the inputs also feed the output layer, behind the last hidden layer's outputs.  masks: for each layer None or
    a mask as for a `Layer`.  dropout: the chance of each hidden output to be dropped in training.

    With the defaults it is micrograd's MLP: after ``random.seed(1337)`` the parameters are the same, in the same order.

    Raises ShapeError for a wrong number of inputs, activations or masks, ValueError for a name that is not known.

    >>> MLP(2, [4, 1], activation="tanh", seed=0)
    MLP: 17 parameters
      layers.0: Layer(2 -> 4, tanh): 12 parameters
      layers.1: Layer(4 -> 1, identity): 5 parameters
    """

    def __init__(
        self,
        n_inputs: int,
        sizes: Sequence[int],
        activation: Activation | Sequence[Activation] = "relu",
        *,
        output_activation: Activation | None = None,
        init: Initializer = "uniform",
        seed: Any = None,
        bias: bool = True,
        skip: bool = False,
        masks: Sequence[Sequence[Sequence[Any]] | None] | None = None,
        dropout: float = 0.0,
        expand: bool = False,
    ) -> None:
        self.n_inputs = whole_number(n_inputs, "the number of inputs")
        if isinstance(sizes, int):
            raise TypeError(f"the sizes of the layers are a list: MLP({n_inputs}, [{sizes}])")
        sizes = list(sizes)
        if not sizes:
            raise ShapeError("an MLP needs at least one layer: MLP(2, [4, 1])")
        if skip and len(sizes) == 1:
            raise ShapeError("skip=True needs a hidden layer to skip: MLP(2, [4, 1], skip=True)")
        if masks is not None and len(masks) != len(sizes):
            raise ShapeError(f"masks has one entry for each of the {len(sizes)} layers, got {len(masks)}")
        self.skip = skip
        activations = _per_layer(activation, output_activation, len(sizes))
        widths = [self.n_inputs, *sizes]
        fan_in = [n + self.n_inputs * (skip and k == len(sizes) - 1) for k, n in enumerate(widths[:-1])]
        rng = generator(seed)
        self.layers = [
            Layer(
                fan_in[k],
                n,
                activations[k],
                init=init,
                seed=rng,
                bias=bias,
                mask=None if masks is None else masks[k],
                expand=expand,
            )
            for k, n in enumerate(sizes)
        ]
        for k, layer in enumerate(self.layers, start=1):
            layer._label(str(k))
        self.dropout = Dropout(dropout) if dropout else None

    @classmethod
    def from_weights(
        cls,
        W: Sequence[Sequence[Sequence[Any]]],
        b: Sequence[Sequence[Any]] | None = None,
        activation: Activation | Sequence[Activation] = "relu",
        *,
        output_activation: Activation | None = None,
        skip: bool = False,
        **options: Any,
    ) -> MLP:
        """A network with given weights: for each layer a matrix with one row for each neuron, and its biases.

        None in a matrix is no connection.  Weights in the convention of row vectors (x @ W + b) are transposed first:
        ``[list(zip(*w)) for w in W]``.

        >>> xor = MLP.from_weights([[[1, 1], [1, 1]], [[1, -2]]], [[0, -1], [0]])
        >>> xor.predict([[0, 0], [0, 1], [1, 0], [1, 1]])
        [0.0, 1.0, 1.0, 0.0]
        """
        matrices = [_matrix(rows, f"W[{k}]") for k, rows in enumerate(W)]
        if not matrices:
            raise ShapeError("from_weights needs the matrix of at least one layer")
        if b is not None and len(b) != len(matrices):
            raise ShapeError(f"there are biases for {len(b)} layers and weights for {len(matrices)}")
        n_inputs = len(matrices[0][0])
        for k, rows in enumerate(matrices[1:], start=1):
            wanted = len(matrices[k - 1]) + n_inputs * (skip and k == len(matrices) - 1)
            if len(rows[0]) != wanted:
                transposed = "; its transpose would fit" if len(rows) == wanted else ""
                raise ShapeError(
                    f"W[{k}] needs {counted(wanted, 'column')}, one for each output of the layer before, "
                    f"got {len(rows[0])}{transposed}"
                )
        masks = [_mask(rows) for rows in matrices]
        sizes = [len(rows) for rows in matrices]
        options |= {"bias": b is not None, "skip": skip, "seed": 0}
        model = cls(n_inputs, sizes, activation, output_activation=output_activation, masks=masks, **options)
        for k, layer in enumerate(model.layers):
            layer._assign(matrices[k], None if b is None else plain(b[k]))
        return model

    def forward(self, x: Any) -> Any:
        """The output of the last layer; raises ShapeError for another number of inputs."""
        outputs = self.layer_outputs(x)[-1]
        return outputs[0] if len(outputs) == 1 else outputs

    def layer_outputs(self, x: Any) -> list[list[Any]]:
        """The inputs and the outputs of every layer: [x, h1, h2, ..., y], each a list."""
        outputs = [_inputs(x, self.n_inputs, self)]
        for layer in self.layers:
            h = outputs[-1]
            if layer is self.layers[-1] and self.skip:
                h = [*h, *outputs[0]]
            h = layer.outputs(h)
            if self.dropout and layer is not self.layers[-1]:
                h = self.dropout.forward(h)
            outputs.append(h)
        return outputs

    def describe(self) -> str:
        """``MLP``, and what is special about it."""
        return "MLP(skip)" if self.skip else "MLP"


def _per_layer(
    activation: Activation | Sequence[Activation], output_activation: Activation | None, layers: int
) -> list[Activation]:
    if isinstance(activation, str) or not isinstance(activation, Sequence):
        look_up(ALL_ACTIVATIONS, activation, "activation")  # an error even without hidden layers
        return [activation] * (layers - 1) + ["identity" if output_activation is None else output_activation]
    if len(activation) == layers and output_activation is None:
        return list(activation)
    if len(activation) == layers - 1:
        return [*activation, "identity" if output_activation is None else output_activation]
    both = ", of which output_activation gives the last" if output_activation is not None else ""
    raise ShapeError(f"there are {layers} layers{both}, and activations for {len(activation)}")


class Dropout(Module):
    """Each input is 0 with the chance p and divided by 1 - p otherwise, in training; in prediction nothing is done.

    (Srivastava et al. 2014, in the inverted form.)  What is dropped is decided by the module `random`, entry by entry.
    A compiled function draws anew at each call and for each example: the numbers that the function itself would draw.

    >>> Dropout(0.5).eval()([1.0, 2.0])
    [1.0, 2.0]
    """

    def __init__(self, p: float = 0.5) -> None:
        if not 0.0 <= p < 1.0:
            raise ValueError(f"the chance to be dropped must be at least 0 and below 1, got {p}")
        self.p = p

    def forward(self, x: list[Any]) -> list[Any]:
        """The list with some entries dropped."""
        if not self.training or modes.predicting.get():
            return x
        keep, factor = 1.0 - self.p, modes.dropping.get() or drawn_factor
        return [v * factor(keep) for v in x]

    def describe(self) -> str:
        """``Dropout(0.5)``."""
        return f"Dropout({self.p:g})"


def drawn_factor(keep: float, rng: Any = random) -> float:
    """The random factor of `Dropout` for an entry that is kept with the chance ``keep``: 1 / keep, or 0."""
    return 1.0 / keep if rng.random() < keep else 0.0
