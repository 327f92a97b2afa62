"""The programs that are measured, as people write them: scalar code for one example, and the examples.

A       the demo of micrograd: an MLP 2-16-16-1 with ReLU on two moons, hinge loss and a penalty
B       an MLP 64-32-10 with tanh on handwritten digits, cross-entropy
C       a tanh RNN of 16 units that reads 20 steps of 8 numbers, a linear read-out of its last state, squared error
LSTM    the same with an LSTM, which is not written by hand for every library
D       a random expression graph of 5,000 operations: nothing repeats, so nothing can be turned into matrices
wide    an MLP 64-256-256-10 with ReLU on handwritten digits, where time goes into multiplying matrices
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from tinygrad_vi import Value, data, losses, nn, sin, tanh, total

Array = Any
Loss = Callable[[Any, Any], Any]

PENALTY = 1e-4


@dataclass(frozen=True)
class Program:
    """A loss for one example, what it learns, and the examples over which it is averaged.

    kind: "demo", "classifier", "recurrent", "lstm" or "graph"; ``sizes`` and ``activation`` say the rest to whoever
    writes the same program in another library.  X, Y: one row, and one target, for each example.
    """

    name: str
    kind: str
    sizes: tuple[int, ...]
    loss: Loss
    parameters: list[Value]
    X: Array
    Y: Array
    activation: str = ""

    @property
    def theta(self) -> Array:
        """The parameters as one vector, in the order of ``parameters``."""
        return np.array([p.data for p in self.parameters])

    def products(self) -> int:
        """How many products of a weight and an input a batch takes, where each weight is used once."""
        return len(self.parameters) * len(self.X)

    def flops(self) -> float:
        """The additions and multiplications of the products of matrices in value and gradient; 0 without matrices.

        A matrix works three times, by 2 for each of its entries: forward, for its own gradient, and for that of what it
        is given, which the first matrix does without.
        """
        if self.kind == "graph":
            return 0.0
        if self.kind in ("recurrent", "lstm"):
            inputs, hidden, steps = self.sizes
            rows = hidden * (4 if self.kind == "lstm" else 1)
            one = steps * rows * (4 * inputs + 6 * hidden) + 6 * hidden
        else:
            first, *others = [a * b for a, b in pairwise(self.sizes)]
            one = 4 * first + 6 * sum(others)
        return float(one * len(self.X))

    def __str__(self) -> str:
        return f"{self.name}, N = {len(self.X):,}"


# --- Networks ---------------------------------------------------------------------------------------------------------


def demo(examples: int = 100) -> Program:
    """A."""
    model = nn.MLP(2, [16, 16, 1], activation="relu", seed=1)
    parameters = model.parameters()

    def loss(x: Any, y: Any) -> Any:
        return losses.hinge(model(x), y) + losses.l2(parameters, PENALTY)

    X, classes = data.moons(100, noise=0.1, seed=1)
    Y = [2 * c - 1 for c in classes]
    return Program("A", "demo", (2, 16, 16, 1), loss, parameters, *repeated(X, Y, examples), activation="relu")


def demo_in_a_loop() -> tuple[Callable[[], Any], list[Value]]:
    """A as micrograd's users write it: one loss that goes through all examples, and its parameters."""
    program, model = demo(), nn.MLP(2, [16, 16, 1], activation="relu", seed=1)
    parameters = model.parameters()

    def loss() -> Any:
        scores = [model([Value(a) for a in x]) for x in program.X.tolist()]
        margins = [(1 + -y * score).relu() for y, score in zip(program.Y.tolist(), scores, strict=True)]
        return sum(margins) * (1.0 / len(margins)) + PENALTY * sum(p * p for p in parameters)

    return loss, parameters


def classifier(name: str, sizes: tuple[int, ...], activation: str, examples: int, expand: bool = False) -> Program:
    """An MLP that tells handwritten digits apart; with ``expand`` each + and * of its sums is a node."""
    init = "he" if activation == "relu" else "xavier"
    model = nn.MLP(sizes[0], sizes[1:], activation=activation, init=init, seed=1, expand=expand)

    def loss(x: Any, y: Any) -> Any:
        return losses.cross_entropy(model(x), y)

    X, Y = repeated(*data.digits(), examples)
    return Program(name, "classifier", sizes, loss, model.parameters(), X, Y, activation)


def digits(examples: int = 64) -> Program:
    """B."""
    return classifier("B", (64, 32, 10), "tanh", examples)


def wide(examples: int = 512, width: int = 256, expand: bool = False) -> Program:
    """Two hidden layers of one width."""
    return classifier("wide", (64, width, width, 10), "relu", examples, expand)


def sequences(
    name: str, kind: str, cell: type[nn.RNNCell | nn.LSTMCell], examples: int, steps: int, inputs: int, hidden: int
) -> Program:
    """A recurrent network that reads random numbers, and a linear read-out of its last state."""
    model = nn.RNN(cell(inputs, hidden, seed=1), nn.Layer(hidden, 1, "identity", init="xavier", seed=2), last=True)

    def loss(x: Any, y: Any) -> Any:
        return losses.mse(model(x), y)

    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(examples, steps, inputs)), rng.normal(size=examples)
    return Program(name, kind, (inputs, hidden, steps), loss, model.parameters(), X, Y, activation="tanh")


def recurrent(examples: int = 32, steps: int = 20, inputs: int = 8, hidden: int = 16) -> Program:
    """C."""
    return sequences("C", "recurrent", nn.RNNCell, examples, steps, inputs, hidden)


def long_memory(examples: int = 32, steps: int = 20, inputs: int = 8, hidden: int = 16) -> Program:
    """LSTM."""
    return sequences("LSTM", "lstm", nn.LSTMCell, examples, steps, inputs, hidden)


def repeated(X: Sequence[Any], Y: Sequence[Any], examples: int, noise: float = 0.01) -> tuple[Array, Array]:
    """The first examples of a set; when there are not enough, all of them again and again with a little noise."""
    rows = np.arange(examples) % len(X)
    inputs, targets = np.array(X, dtype=float)[rows], np.array(Y, dtype=float)[rows]
    again = inputs[len(X) :]
    again += noise * np.random.default_rng(0).normal(size=again.shape)
    return inputs, targets


# --- A graph without structure ----------------------------------------------------------------------------------------

LEAVES = 20  # parameters, and as many inputs


def graph(operations: int = 5000, examples: int = 1) -> Program:
    """D: a random expression is to be one half."""
    rng = np.random.default_rng(0)
    parameters = [Value(p) for p in rng.uniform(-1.0, 1.0, LEAVES).tolist()]

    def loss(x: Any, y: Any) -> Any:
        expressions = random_expressions([*parameters, *x], operations, sin, tanh, lambda v: v.relu())
        return (total(expressions) / len(expressions) - y) ** 2

    X, Y = rng.normal(size=(examples, LEAVES)), np.full(examples, 0.5)
    return Program("D", "graph", (operations,), loss, parameters, X, Y)


def random_expressions(
    leaves: Sequence[Any],
    operations: int,
    sin: Callable[[Any], Any],
    tanh: Callable[[Any], Any],
    relu: Callable[[Any], Any],
    seed: int = 1,
) -> list[Any]:
    """The leaves, and expressions each of which is made of one or two of those before it.

    Numbers of any library will do, with its functions.  No step makes what it is given much larger or much smaller.
    """
    rng = random.Random(seed)
    steps: list[Callable[[Any, Any], Any]] = [
        lambda a, b: 0.5 * (a + b),
        lambda a, b: 0.7 * (a - b),
        lambda a, b: sin(a * b),
        lambda a, b: sin(a),
        lambda a, b: tanh(a),
        lambda a, b: relu(a),
    ]
    made = list(leaves)
    for _ in range(operations):
        step = rng.choice(steps)
        made.append(step(rng.choice(made), rng.choice(made)))
    return made


#: the programs in the sizes of the targets
PROGRAMS: dict[str, Callable[[], Program]] = {
    "A": demo,
    "B": digits,
    "C": recurrent,
    "LSTM": long_memory,
    "D": graph,
    "wide": wide,
    "large batch": lambda: digits(10_000),
}
