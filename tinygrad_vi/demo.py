"""The demonstration: two small networks made by hand, their graphs, their tables, and one of them trained."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tinygrad_vi.ops import sigmoid, total
from tinygrad_vi.tape import Tape
from tinygrad_vi.value import Value, dot

XOR = [((0.0, 0.0), 0.0), ((0.0, 1.0), 1.0), ((1.0, 0.0), 1.0), ((1.0, 1.0), 0.0)]
LEARNING_RATE = 0.5


def demo(folder: Path, seed: int = 1, quick: bool = False) -> list[Path]:
    """Print both tables of the two networks, draw them into ``folder``, train the second; the files written."""
    folder.mkdir(parents=True, exist_ok=True)

    circuit = sigmoid_circuit()
    _print_tables("The sigmoid circuit  s = sigmoid(w0*x0 + w1*x1 + w2)", circuit)
    files = [circuit.draw(local=True).save(folder / f"sigmoid_circuit.{suffix}") for suffix in ("svg", "png")]

    network = Network(seed)
    (x, t), labels = XOR[2], ("x1", "x2")
    error = network.squared_error([Value(xi, label) for xi, label in zip(x, labels, strict=True)], t)
    error.label = "E"
    error.backward()
    _print_tables(f"A 2-2-1 network on one example: input {x}, target {t:g}", error)
    files += [error.draw().save(folder / f"network.{suffix}") for suffix in ("svg", "png")]

    print("Training the network on XOR: plain gradient descent, all four examples in every step")
    loss = network.train(steps=200 if quick else 1500)
    for x, t in XOR:
        print(f"  {x[0]:g} xor {x[1]:g}: target {t:g}, output {network(x):.4f}")
    if loss.data > 0.01 and not quick:
        print("  It is stuck in a local minimum. Another --seed starts elsewhere.")

    print("\nWrote " + ", ".join(map(str, files)))
    return files


def sigmoid_circuit() -> Value:
    """The circuit of the CS231n notes on backpropagation, with its gradient."""
    w0, w1, w2 = Value(2.0, "w0"), Value(-3.0, "w1"), Value(-3.0, "w2")
    x0, x1 = Value(-1.0, "x0"), Value(-2.0, "x1")
    s: Value = sigmoid(w0 * x0 + w1 * x1 + w2)
    s.label = "s"
    s.backward()
    return s


class Network:
    """Two inputs, two sigmoid units, one linear output: the smallest network that can learn XOR."""

    def __init__(self, seed: int) -> None:
        draw = random.Random(seed)
        self.w = [[Value(draw.uniform(-2, 2), f"w{j}{i}") for i in (1, 2)] for j in (1, 2)]
        self.b = [Value(draw.uniform(-2, 2), f"b{j}") for j in (1, 2)]
        self.u = [Value(draw.uniform(-2, 2), f"u{j}") for j in (1, 2)]
        self.c = Value(0.0, "c")
        self.parameters = [*self.w[0], *self.w[1], *self.b, *self.u, self.c]

    def __call__(self, x: Sequence[Any]) -> Value:
        """The output for one example."""
        h = [sigmoid(dot(w, x, b)) for w, b in zip(self.w, self.b, strict=True)]
        y: Value = dot(self.u, h, self.c)
        return y

    def squared_error(self, x: Sequence[Any], t: float) -> Value:
        """(output - target) ** 2 for one example."""
        return (self(x) - t) ** 2

    def loss(self, examples: Sequence[tuple[Sequence[float], float]]) -> Value:
        """The mean squared error, with its gradient."""
        loss: Value = total(self.squared_error(x, t) for x, t in examples) / len(examples)
        for p in self.parameters:
            p.grad = 0.0
        loss.backward()
        return loss

    def train(self, steps: int) -> Value:
        """Gradient descent under a progress bar; the last loss."""
        try:
            from tqdm import trange
        except ImportError:
            raise ImportError('the progress bar needs the package tqdm: pip install "tinygrad_vi[progress]"') from None
        with trange(steps, desc="  gradient descent", unit="step", ncols=90) as progress:
            for step in progress:
                loss = self.loss(XOR)
                for p in self.parameters:
                    p.data -= LEARNING_RATE * p.grad
                if step % 50 == 0 or step == steps - 1:
                    progress.set_postfix(loss=f"{loss.data:.5f}", refresh=False)
        return loss


def _print_tables(title: str, y: Value) -> None:
    tape = Tape(y)
    print(f"{title}\n\n{tape.tangent()}\n\n{tape.adjoint()}\n")
