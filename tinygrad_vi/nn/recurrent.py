"""Recurrent cells, and networks that run them over a sequence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from tinygrad_vi import modes
from tinygrad_vi.checks import ShapeError, counted, plain, whole_number
from tinygrad_vi.nn.activations import (
    ACTIVATIONS,
    INITIALIZERS,
    Activation,
    Initializer,
    generator,
    look_up,
    name_of,
)
from tinygrad_vi.nn.feedforward import (
    VectorModule,
    _inputs,
    _matrix,
    _parameter,
    _two_biases,
    dot_expanded,
)
from tinygrad_vi.nn.module import Module
from tinygrad_vi.value import Value, dot

# --- Recurrent networks -----------------------------------------------------------------------------------------------


class Cell(VectorModule):
    """What the recurrent cells share: for each gate and unit one row of W_x, one of W_h, one entry of b.

    The rows of the gates are stacked in PyTorch's order.  The two biases that PyTorch adds up are one here, where they
    are only ever added up.
    """

    gates: tuple[str, ...]
    #: the second bias, if `from_weights` was given two with Values among them
    b_h: Sequence[Any] = ()

    def __init__(
        self,
        n_inputs: int,
        hidden_size: int,
        *,
        init: Initializer = "xavier",
        seed: Any = None,
        bias: bool = True,
        expand: bool = False,
    ) -> None:
        self.n_inputs = whole_number(n_inputs, "the number of inputs")
        self.hidden_size = whole_number(hidden_size, "the size of the hidden state")
        self._sum = dot_expanded if expand else dot
        draw, rng = look_up(INITIALIZERS, init, "initialisation"), generator(seed)
        rows = range(len(self.gates) * hidden_size)
        self.W_x = [[Value(draw(rng, n_inputs, hidden_size), f"W_x[{j},{i}]") for i in range(n_inputs)] for j in rows]
        self.W_h = [
            [Value(draw(rng, hidden_size, hidden_size), f"W_h[{j},{i}]") for i in range(hidden_size)] for j in rows
        ]
        self.b: list[Any] = [Value(0.0, f"b[{j}]") if bias else 0.0 for j in rows]

    @classmethod
    def from_weights(cls: type[C], W_x: Any, W_h: Any, b_x: Any = None, b_h: Any = None, **options: Any) -> C:
        """A cell with given weights: PyTorch's ``weight_ih, weight_hh, bias_ih, bias_hh``, or nested lists.

        W_x has the shape (gates * hidden_size, n_inputs), W_h (gates * hidden_size, hidden_size), each bias
        (gates * hidden_size,); the rows of the gates lie one below the other.  Values among them are taken as they are
        and are parameters; of two biases that are both Values, the second becomes the attribute b_h.
        """
        W_x, W_h = _matrix(W_x, "W_x"), _matrix(W_h, "W_h")
        n, h = len(W_x[0]), len(W_h[0])
        rows = len(cls.gates) * h
        biases = [plain(b) for b in (b_x, b_h) if b is not None]
        if not len(W_x) == len(W_h) == rows or any(len(b) != rows for b in biases):
            raise ShapeError(
                f"{cls.__name__} with {counted(h, 'unit')} needs {rows} rows in W_x, W_h and every bias, "
                f"got {[len(W_x), len(W_h), *map(len, biases)]}"
            )
        cell = cls(n, h, bias=bool(biases), seed=0, **options)
        cell._assign(W_x, W_h, *[b or [0.0] * rows for b in (plain(b_x), plain(b_h))])
        return cell

    def _assign(self, W_x: Any, W_h: Any, b_x: list[Any], b_h: list[Any]) -> None:
        for name, rows in (("W_x", W_x), ("W_h", W_h)):
            labelled = [[_parameter(x, f"{name}[{j},{i}]") for i, x in enumerate(row)] for j, row in enumerate(rows)]
            setattr(self, name, labelled)
        if not isinstance(self.b[0], Value):  # without a bias
            return
        pairs = [_two_biases(u, v) for u, v in zip(b_x, b_h, strict=True)]
        self.b = [_parameter(u, f"b[{j}]") for j, (u, _) in enumerate(pairs)]
        if any(v is not None for _, v in pairs):  # their sum would be the result of an operation, not a parameter
            self.b_h = [0.0 if v is None else _parameter(v, f"b_h[{j}]") for j, (_, v) in enumerate(pairs)]

    def initial_state(self) -> Any:
        """The state before the first step: zeros."""
        return [0.0] * self.hidden_size

    def hidden(self, state: Any) -> list[Any]:
        """The part of its state that a cell gives to the next layer."""
        return state  # type: ignore[no-any-return]

    def _rows(self, gate: int) -> range:
        return range(gate * self.hidden_size, (gate + 1) * self.hidden_size)

    def _sums(self, gate: int, x: list[Any], h: list[Any]) -> list[Any]:
        """W_x @ x + W_h @ h + b of one gate, one node for each unit."""
        inputs = [*x, *h]
        return [self._sum([*self.W_x[j], *self.W_h[j]], inputs, self._bias(j)) for j in self._rows(gate)]

    def _bias(self, j: int) -> Any:
        return self.b[j] + self.b_h[j] if self.b_h and isinstance(self.b_h[j], Value) else self.b[j]

    def _checked(self, x: Any, state: Any) -> tuple[list[Any], Any]:
        state = self.initial_state() if state is None else state
        h = self.hidden(state)
        if len(h) != self.hidden_size:
            raise ShapeError(f"{type(self).__name__} has a state of {self.hidden_size}, got {len(h)}")
        return _inputs(x, self.n_inputs, self), state

    def describe(self) -> str:
        """``LSTMCell(8 -> 16)``."""
        return f"{type(self).__name__}({self.n_inputs} -> {self.hidden_size})"


C = TypeVar("C", bound=Cell)


class RNNCell(Cell):
    """Elman's cell: h' = activation(W_x @ x + W_h @ h + b).

    n_inputs: the length of x.  hidden_size: that of h.  activation: "tanh", "identity" (linear), "sigmoid", any other.
    Called as ``cell(x, h)``; h is zeros when left out.  init, seed, bias, expand: as for a `Neuron`, here "xavier".

    >>> cell = RNNCell.from_weights([[1.0]], [[1.0]], activation="identity")
    >>> cell([2.0], [0.5])
    [Value(data=2.5, grad=0.0)]
    """

    gates = ("h",)

    def __init__(self, n_inputs: int, hidden_size: int, activation: Activation = "tanh", **options: Any) -> None:
        super().__init__(n_inputs, hidden_size, **options)
        self.activation = name_of(activation)
        self._activate = look_up(ACTIVATIONS, activation, "activation")

    def forward(self, x: Any, state: Any = None) -> list[Any]:
        """The next state."""
        x, h = self._checked(x, state)
        return [self._activate(z) for z in self._sums(0, x, h)]

    def describe(self) -> str:
        """``RNNCell(1 -> 8, tanh)``."""
        return f"RNNCell({self.n_inputs} -> {self.hidden_size}, {self.activation})"


class GRUCell(Cell):
    """The gated recurrent unit (Cho et al. 2014), in the form PyTorch computes.

        r = sigmoid(W_xr @ x + W_hr @ h + b_r)              reset
        z = sigmoid(W_xz @ x + W_hz @ h + b_z)              update
        n = tanh(W_xn @ x + b_n + r * (W_hn @ h + b_hn))    candidate
        h' = (1 - z) * n + z * h

    The rows of W_x, W_h and b are those of r, z, n; b_hn is an attribute of its own.

    >>> GRUCell(2, 3, seed=0)
    GRUCell(2 -> 3): 57 parameters
    """

    gates = ("r", "z", "n")

    def __init__(self, n_inputs: int, hidden_size: int, **options: Any) -> None:
        super().__init__(n_inputs, hidden_size, **options)
        bias = isinstance(self.b[0], Value)
        self.b_hn: list[Any] = [Value(0.0, f"b_hn[{j}]") if bias else 0.0 for j in range(hidden_size)]

    def _assign(self, W_x: Any, W_h: Any, b_x: list[Any], b_h: list[Any]) -> None:
        inner = len(b_h) - self.hidden_size
        super()._assign(W_x, W_h, b_x, [*b_h[:inner], *[0.0] * self.hidden_size])
        if isinstance(self.b[0], Value):
            self.b_hn = [_parameter(v, f"b_hn[{j}]") for j, v in enumerate(b_h[inner:])]

    def forward(self, x: Any, state: Any = None) -> list[Any]:
        """The next state."""
        x, h = self._checked(x, state)
        r = [s.sigmoid() for s in self._sums(0, x, h)]
        z = [s.sigmoid() for s in self._sums(1, x, h)]
        n = [
            (self._sum(self.W_x[j], x, self._bias(j)) + r[i] * self._sum(self.W_h[j], h, self.b_hn[i])).tanh()
            for i, j in enumerate(self._rows(2))
        ]
        return [ni + zi * (hi - ni) for ni, zi, hi in zip(n, z, h, strict=True)]


class LSTMCell(Cell):
    """Long short-term memory (Hochreiter and Schmidhuber 1997, with forget gates), in the form PyTorch computes.

        i, f, o = sigmoid(W_x @ x + W_h @ h + b) by gate    input, forget, output
        g = tanh(W_xg @ x + W_hg @ h + b_g)                 candidate
        c' = f * c + i * g
        h' = o * tanh(c')

    The rows of W_x, W_h and b are those of i, f, g, o.  The state is the pair (h, c).

    >>> h, c = LSTMCell(2, 3, seed=0)([1.0, 0.0])
    >>> len(h), len(c)
    (3, 3)
    """

    gates = ("i", "f", "g", "o")

    def initial_state(self) -> Any:
        """The pair (h, c) before the first step: zeros."""
        return [0.0] * self.hidden_size, [0.0] * self.hidden_size

    def hidden(self, state: Any) -> list[Any]:
        """h of the pair (h, c)."""
        if not isinstance(state, (list, tuple)) or len(state) != 2 or len({len(part) for part in state}) != 1:
            raise ShapeError("the state of an LSTMCell is the pair (h, c)")
        return state[0]  # type: ignore[no-any-return]

    def forward(self, x: Any, state: Any = None) -> tuple[list[Any], list[Any]]:
        """The next state (h, c)."""
        x, (h, c) = self._checked(x, state)
        i, f, o = ([s.sigmoid() for s in self._sums(gate, x, h)] for gate in (0, 1, 3))
        g = [s.tanh() for s in self._sums(2, x, h)]
        c = [fk * ck + ik * gk for fk, ck, ik, gk in zip(f, c, i, g, strict=True)]
        return [ok * ck.tanh() for ok, ck in zip(o, c, strict=True)], c


class RNN(Module):
    """A cell unrolled over a sequence of any length, with a layer that reads its state.

    cell: any of the cells.  output: a `Layer` (or another module) applied to the hidden state; without one the hidden
    state itself is the output.  last: return the output of the last step alone, and not a list of all.

    The running sum, one of the lecture notes' exercises:

    >>> cell = RNNCell.from_weights([[1.0]], [[1.0]], activation="identity")
    >>> from tinygrad_vi.nn import Layer
    >>> RNN(cell, Layer.from_weights([[1.0]])).predict([[2.0, -0.5, 1.0], [1.0, 1.0]])
    [[2.0, 1.5, 2.5], [1.0, 2.0]]
    """

    def __init__(self, cell: Cell, output: Module | None = None, *, last: bool = False) -> None:
        if not isinstance(cell, Cell):
            raise TypeError(f"RNN takes a cell, such as RNNCell(2, 8), got {cell!r:.60}")
        n_inputs = getattr(output, "n_inputs", cell.hidden_size)
        if n_inputs != cell.hidden_size:
            raise ShapeError(f"the cell shows {cell.hidden_size} numbers, but the output layer takes {n_inputs}")
        self.cell = cell
        self.output = output
        self.last = last

    def forward(self, sequence: Any, state: Any = None) -> Any:
        """The outputs, one for each step (only the last one with ``last``); raises ShapeError for an empty sequence."""
        states = self.states(sequence, state)
        if self.last:
            return self._read(states[-1])
        return [self._read(state) for state in states]

    def _read(self, state: Any) -> Any:
        """The output at one step."""
        h = self.cell.hidden(state)
        y = h if self.output is None else self.output.forward(h)
        if notes := modes.noting.get():
            notes.reading(h, y)
        return y

    def states(self, sequence: Any, state: Any = None) -> list[Any]:
        """The state of the cell after each step."""
        states, notes = [], modes.noting.get()
        if not isinstance(plain(sequence), (list, tuple)):
            raise TypeError(f"an RNN takes a sequence, a list of steps, got {sequence!r:.60}")
        for x in plain(sequence):
            before, state = state, self.cell.forward(x, state)
            states.append(state)
            if notes:
                notes.step(x, before, state)
        if not states:
            raise ShapeError("an RNN needs a sequence of at least one step, got an empty one")
        return states

    def describe(self) -> str:
        """``RNN``, and whether it gives the last output alone."""
        return "RNN(last)" if self.last else "RNN"
