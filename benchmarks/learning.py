"""How long the eager engine takes to learn: digits to 95 % right, and the adding problem with each recurrent cell.

Digits: 1,438 of scikit-learn's 1,797 digits train an MLP 64-32-10 in mini-batches of 32, the others test it.
Adding: of six numbers two are marked, and their sum is asked for; always answering 1 has the squared error 0.17.
"""

from __future__ import annotations

from collections.abc import Iterator
from time import perf_counter

from benchmarks.measure import Table
from tinygrad_vi import accuracy, data, fit, losses, nn, optim

SEED = 0


def digits(epochs: int, examples: int) -> list[str]:
    X_train, y_train, X_test, y_test = data.split(*data.digits(), test=0.2, seed=SEED)
    model = nn.MLP(64, [32, 10], activation="tanh", init="xavier", seed=SEED)
    start = perf_counter()
    fit(
        lambda x, t: losses.cross_entropy(model(x), t),
        X_train[:examples],
        y_train[:examples],
        params=model,
        optimizer=optim.Adam(model.parameters()),
        epochs=epochs,
        batch_size=32,
        schedule=optim.cosine_decay(0.02, epochs),
    )
    seconds = perf_counter() - start
    right = accuracy(model, X_test, y_test)
    return ["digits", "MLP 64-32-10", f"{epochs}", f"{seconds:.1f}", f"{right:.1%} of {len(X_test)} new ones right"]


def adding(kind: type[nn.RNNCell | nn.GRUCell | nn.LSTMCell], epochs: int) -> list[str]:
    X, y = data.adding(300, length=6, seed=SEED)
    model = nn.RNN(kind(2, 6, seed=SEED), nn.Layer(6, 1, "identity", init="xavier", seed=SEED), last=True)
    start = perf_counter()
    fit(
        lambda x, t: losses.mse(model(x), t),
        X[:200],
        y[:200],
        params=model,
        optimizer=optim.Adam(model.parameters()),
        epochs=epochs,
        batch_size=10,
        schedule=optim.cosine_decay(0.02, epochs),
    )
    seconds = perf_counter() - start
    error = losses.mse(model.predict(X[200:]), y[200:])
    return [
        "adding",
        f"{kind.__name__}, 6 units",
        f"{epochs}",
        f"{seconds:.1f}",
        f"squared error {error:.2g} on 100 new ones",
    ]


def run(repeats: int, quick: bool) -> Iterator[Table]:  # noqa: ARG001
    """Train once each; learning is no race, so nothing is repeated."""
    rows = [digits(1 if quick else 6, 200 if quick else 10_000)]
    rows += [adding(kind, 1 if quick else 40) for kind in (nn.RNNCell, nn.GRUCell, nn.LSTMCell)]
    yield Table("What is learned, and in what time", ["task", "network", "epochs", "seconds", "result"], rows)
