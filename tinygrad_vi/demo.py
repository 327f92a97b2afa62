"""The demonstration: a neuron with its derivatives, then three networks that learn, with their pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tinygrad_vi import data, losses, nn, optim, show
from tinygrad_vi.tape import Tape
from tinygrad_vi.training import accuracy, fit
from tinygrad_vi.value import Value


def demo(folder: Path, seed: int = 1, quick: bool = False) -> list[Path]:
    """Print and draw a neuron, train three networks under progress bars, draw them; the files written.

    quick: a fraction of the epochs, to see that everything runs.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = neuron(folder)
    for part in (study_hours, moons, adding):
        files += part(folder, seed, quick)
    print("\nWrote " + ", ".join(map(str, files)))
    return files


def neuron(folder: Path) -> list[Path]:
    """The sigmoid neuron of the CS231n notes: both tables, and its graph with a local derivative on every edge."""
    unit = nn.Neuron(2, "sigmoid", expand=True)
    unit.load_state_dict({"w": [2.0, -3.0], "b": -3.0})
    s = unit([Value(-1.0, "x0"), Value(-2.0, "x1")])
    s.label = "s"
    s.backward()
    tape = Tape(s)
    print("A neuron: s = sigmoid(w0*x0 + w1*x1 + b)\n")
    print(f"{tape.tangent()}\n\n{tape.adjoint()}\n")
    drawing = s.draw(local=True)
    return [drawing.save(folder / f"neuron.{suffix}") for suffix in ("svg", "png")]


def study_hours(folder: Path, seed: int, quick: bool) -> list[Path]:
    """Learn, Sleep -> Is_Pass with a 2-4-1 network: its diagram with the learned weights, its boundary, its loss."""
    hours, passed = data.study_hours()
    X, means, deviations = data.standardize(hours)
    model = nn.MLP(2, [4, 1], activation="tanh", init="xavier", seed=seed)
    history = train("Learn and sleep", model, losses.bce_with_logits, X, passed, 0.1, 10 if quick else 120, 5)
    print(f"  hours of learning and sleep -> passed: {accuracy(model, X, passed):.0%} of {len(X)} students right\n")

    def scale(point: list[float]) -> list[float]:
        return [(x - mean) / deviation for x, mean, deviation in zip(point, means, deviations, strict=True)]

    boundary = show.decision_boundary(model, hours, passed, labels=("Learn (hours)", "Sleep (hours)"), transform=scale)
    diagram = show.draw_network(model, inputs=["Learn", "Sleep"], outputs=["Pass"])
    return [
        *(diagram.save(folder / f"study_network.{suffix}") for suffix in ("svg", "png")),
        boundary.save(folder / "study_boundary.png"),
        history.plot().save(folder / "study_loss.png"),
    ]


def moons(folder: Path, seed: int, quick: bool) -> list[Path]:
    """micrograd's demo: a 2-16-16-1 network with the hinge loss on two moons, its boundary, its gradients by layer."""
    X, classes = data.moons(100, noise=0.1, seed=seed)
    y = [2 * t - 1 for t in classes]
    model = nn.MLP(2, [16, 16, 1], init="he", seed=seed)
    history = train("Two moons", model, losses.hinge, X, y, 0.02, 4 if quick else 40, 10, l2=1e-4)
    print(f"  two moons: {accuracy(model, X, y):.0%} of {len(X)} points right\n")
    gradients = show.gradient_sizes(model, lambda x, t: losses.hinge(model(x), t), X, y)
    return [
        show.decision_boundary(model, X, y).save(folder / "moons_boundary.png"),
        history.plot().save(folder / "moons_loss.png"),
        gradients.save(folder / "moons_gradients.png"),
    ]


def adding(folder: Path, seed: int, quick: bool) -> list[Path]:
    """The adding problem with a GRU of six units: it must remember two of six numbers, and add them."""
    X, y = data.adding(300, length=6, seed=seed)
    model = nn.RNN(nn.GRUCell(2, 6, seed=seed), nn.Layer(6, 1, "identity", init="xavier", seed=seed), last=True)
    history = train("Adding", model, losses.mse, X[:200], y[:200], 0.02, 2 if quick else 40, 10)
    found = model.predict(X[200:])
    print(f"  adding two marked numbers of six: mean squared error {losses.mse(found, y[200:]):.2g} on new sequences")
    print("  (always answering 1, the best without looking, has 0.17)")
    return [
        show.predictions(y[200:], found, labels=("sum of the two marked numbers", "the network's answer")).save(
            folder / "adding.png"
        ),
        history.plot().save(folder / "adding_loss.png"),
    ]


def train(
    title: str, model: nn.Module, loss: Any, X: Any, y: Any, rate: float, epochs: int, batch_size: int, l2: float = 0.0
) -> Any:
    """Adam with a learning rate that falls to nothing."""
    parameters = model.parameters()
    print(f"{title}: {len(parameters)} parameters, {len(X)} examples, {epochs} epochs of batches of {batch_size}")
    return fit(
        lambda x, t: loss(model(x), t),
        model,
        X,
        y,
        optimizer=optim.Adam(parameters, rate),
        epochs=epochs,
        batch_size=batch_size,
        schedule=optim.cosine_decay(rate, epochs),
        penalty=(lambda: losses.l2(parameters, l2)) if l2 else None,
    )
