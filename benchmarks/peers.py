"""The same programs in other libraries, as somebody who knows the library writes them.

Each peer is a function from a `Program` to a step: a function of no arguments that computes the loss, averaged over the
examples, and its gradient, in the order of the program's parameters.  Everything is in double precision.  What can be
done once (converting data, compiling) is done before the step; what a step returns stays in the library's own arrays.

The parameters of a layer lie neuron by neuron, weights then bias: one matrix [W | b] with a row for each neuron.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import threadpoolctl

from benchmarks.eager import demo_loss, micrograd_nn
from benchmarks.measure import OnOneCore, cores
from benchmarks.programs import LEAVES, PENALTY, Program, random_expressions
from tinygrad_vi import Value, compile, total

Array = Any
Step = Callable[[], tuple[Any, Any]]


@dataclass(frozen=True)
class Peer:
    """A library, the package it needs, and the programs that it can run in a bearable time."""

    name: str
    package: str
    can_run: Callable[[Program], bool]
    step: Callable[[Program], Step]

    def missing(self) -> str:
        """Why it cannot take part; empty when it can."""
        return "" if importlib.util.find_spec(self.package) else "not installed"


def layers(theta: Array, sizes: tuple[int, ...]) -> Iterator[tuple[Array, Array]]:
    """The matrix and the biases of each layer, as views of the vector of parameters."""
    start = 0
    for inputs, outputs in pairwise(sizes):
        stop = start + outputs * (inputs + 1)
        both = theta[start:stop].reshape(outputs, inputs + 1)
        yield both[:, :inputs], both[:, inputs]
        start = stop


def cell(theta: Array, inputs: int, hidden: int, gates: int = 1) -> tuple[Array, Array, Array, Array, Array]:
    """W_x, W_h and b of the recurrent cell, w and b of the read-out: views of the vector of parameters."""
    rows = gates * hidden
    w_h, b, w = (rows * inputs, rows * (inputs + hidden), rows * (inputs + hidden + 1))
    return (
        theta[:w_h].reshape(rows, inputs),
        theta[w_h:b].reshape(rows, hidden),
        theta[b:w],
        theta[w:-1],
        theta[-1],
    )


# --- Our own eager engine ---------------------------------------------------------------------------------------------


def eager_step(program: Program) -> Step:
    """The user's scalar code, called for each example."""

    def step() -> tuple[float, Array]:
        examples = zip(program.X.tolist(), program.Y.tolist(), strict=True)
        loss = total([program.loss(_values(x), y) for x, y in examples]) / len(program.X)
        for p in program.parameters:
            p.grad = 0.0
        loss.backward()
        return loss.data, np.array([p.grad for p in program.parameters])

    return step


def _values(x: Any) -> Any:
    return [_values(entry) for entry in x] if isinstance(x, list) else Value(x)


def compiled_step(program: Program, threads: int | None = None) -> Step:
    """The user's scalar code, compiled."""
    step = compile(program.loss, params=program.parameters, threads=threads)
    theta, X, Y = program.theta, program.X, program.Y
    return lambda: step.value_and_grad(theta, X, Y)


def bound_step(program: Program) -> Step:
    """The same, its data laid out once."""
    step = compile(program.loss, params=program.parameters).bind(program.X, program.Y)
    theta = program.theta
    return lambda: step.value_and_grad(theta)


# --- micrograd --------------------------------------------------------------------------------------------------------


def micrograd_step(program: Program) -> Step:
    """The step of its demo notebook.  It has no exp, log or tanh, so this is the only program it can run."""
    micrograd = micrograd_nn()
    model = micrograd.MLP(program.sizes[0], list(program.sizes[1:]))
    for p, x in zip(model.parameters(), program.theta.tolist(), strict=True):
        p.data = x
    points, classes = program.X.tolist(), program.Y.tolist()

    def step() -> tuple[float, list[float]]:
        loss = demo_loss(model, micrograd.Value, points, classes)
        model.zero_grad()
        loss.backward()
        return loss.data, [p.grad for p in model.parameters()]

    return step


# --- NumPy: backpropagation by hand -----------------------------------------------------------------------------------

#: an activation and its derivative, as a function of its output
NUMPY_ACTIVATIONS: dict[str, tuple[Callable[[Array], Array], Callable[[Array], Array]]] = {
    "relu": (lambda z: np.maximum(z, 0.0), lambda h: h > 0.0),
    "tanh": (np.tanh, lambda h: 1.0 - h * h),
}


def numpy_step(program: Program) -> Step:
    """On one thread: where another process wants the second core too, BLAS on two is ten times slower than on one."""
    threadpoolctl.threadpool_limits(1)
    return numpy_recurrent(program) if program.kind == "recurrent" else numpy_mlp(program)


def numpy_all_threads_step(program: Program) -> Step:
    step = numpy_step(program)
    threads = threadpoolctl.ThreadpoolController()

    def on_all() -> tuple[Any, Any]:
        with threads.limit(limits=cores()):
            return step()

    return on_all


def numpy_mlp(program: Program) -> Step:
    theta, X, sizes = program.theta, program.X, program.sizes
    activate, slope = NUMPY_ACTIVATIONS[program.activation]
    loss_and_delta = numpy_cross_entropy(program) if program.kind == "classifier" else numpy_hinge(program)
    penalty = PENALTY if program.kind == "demo" else 0.0

    def step() -> tuple[float, Array]:
        *hidden, (W, b) = weights = list(layers(theta, sizes))
        outputs = [X]
        for V, c in hidden:
            outputs.append(activate(outputs[-1] @ V.T + c))
        value, delta = loss_and_delta(outputs[-1] @ W.T + b)

        gradient = np.empty_like(theta)
        slots = list(layers(gradient, sizes))
        for k in reversed(range(len(weights))):
            dW, db = slots[k]
            dW[:] = delta.T @ outputs[k]
            db[:] = delta.sum(axis=0)
            if k > 0:
                delta = (delta @ weights[k][0]) * slope(outputs[k])
        if penalty:
            value += penalty * (theta @ theta)
            gradient += 2.0 * penalty * theta
        return value, gradient

    return step


def numpy_hinge(program: Program) -> Callable[[Array], tuple[Any, Array]]:
    """The mean hinge loss of a column of scores, and its derivative by each."""
    Y = program.Y[:, None]

    def loss_and_delta(scores: Array) -> tuple[Any, Array]:
        margins = 1.0 - Y * scores
        return np.maximum(margins, 0.0).mean(), np.where(margins > 0.0, -Y, 0.0) / len(Y)

    return loss_and_delta


def numpy_cross_entropy(program: Program) -> Callable[[Array], tuple[Any, Array]]:
    """The mean cross-entropy of rows of logits, and its derivative by each."""
    rows, classes = np.arange(len(program.Y)), program.Y.astype(int)

    def loss_and_delta(logits: Array) -> tuple[Any, Array]:
        shifted = logits - logits.max(axis=1, keepdims=True)
        powers = np.exp(shifted)
        sums = powers.sum(axis=1, keepdims=True)
        value = (np.log(sums[:, 0]) - shifted[rows, classes]).mean()
        delta = powers / sums
        delta[rows, classes] -= 1.0
        delta /= len(rows)
        return value, delta

    return loss_and_delta


def numpy_recurrent(program: Program) -> Step:
    theta, Y = program.theta, program.Y
    inputs, hidden, steps = program.sizes
    X = np.ascontiguousarray(program.X.swapaxes(0, 1))  # (steps, examples, inputs)
    examples = len(Y)

    def step() -> tuple[float, Array]:
        W_x, W_h, b, w, c = cell(theta, inputs, hidden)
        fed = X @ W_x.T + b
        h = np.zeros((steps + 1, examples, hidden))
        for t in range(steps):
            np.tanh(fed[t] + h[t] @ W_h.T, out=h[t + 1])
        errors = h[-1] @ w + c - Y

        delta_y = 2.0 / examples * errors
        delta = np.empty_like(fed)
        flow = np.outer(delta_y, w)
        for t in reversed(range(steps)):
            delta[t] = flow * (1.0 - h[t + 1] ** 2)
            flow = delta[t] @ W_h
        rows = delta.reshape(-1, hidden)
        gradient = np.concatenate(
            [
                (rows.T @ X.reshape(-1, inputs)).ravel(),
                (rows.T @ h[:-1].reshape(-1, hidden)).ravel(),
                rows.sum(axis=0),
                delta_y @ h[-1],
                [delta_y.sum()],
            ]
        )
        return errors @ errors / examples, gradient

    return step


# --- JAX and PyTorch: the same text over arrays, but for the names of a few functions ---------------------------------


@dataclass(frozen=True)
class ArrayLibrary:
    """What an array library calls things."""

    sin: Callable[[Array], Array]
    tanh: Callable[[Array], Array]
    relu: Callable[[Array], Array]
    #: (logits, classes) -> the mean over the examples
    cross_entropy: Callable[[Array, Array], Array]
    #: (what is fed in at each step, W_h) -> the last state
    last_state: Callable[[Array, Array], Array]
    #: the same of an LSTM, whose gates lie one after the other: input, forget, candidate, output
    last_memory: Callable[[Array, Array], Array]
    #: a list of arrays -> their mean
    mean: Callable[[list[Array]], Array]


def array_loss(program: Program, library: ArrayLibrary) -> Callable[[Array, Array, Array], Array]:
    """The loss of the whole batch as a function (theta, X, Y)."""
    sizes = program.sizes

    def mlp(theta: Array, X: Array) -> Array:
        *hidden, (W, b) = layers(theta, sizes)
        activate = getattr(library, program.activation)
        for V, c in hidden:
            X = activate(X @ V.T + c)
        return X @ W.T + b

    def demo(theta: Array, X: Array, Y: Array) -> Array:
        scores = mlp(theta, X)[:, 0]
        return library.relu(1.0 - Y * scores).mean() + PENALTY * (theta * theta).sum()

    def classifier(theta: Array, X: Array, Y: Array) -> Array:
        return library.cross_entropy(mlp(theta, X), Y)

    def recurrent(theta: Array, X: Array, Y: Array) -> Array:
        W_x, W_h, b, w, c = cell(theta, *sizes[:2])
        h = library.last_state(X @ W_x.T + b, W_h)
        return ((h @ w + c - Y) ** 2).mean()

    def lstm(theta: Array, X: Array, Y: Array) -> Array:
        W_x, W_h, b, w, c = cell(theta, *sizes[:2], gates=4)
        h = library.last_memory(X @ W_x.T + b, W_h)
        return ((h @ w + c - Y) ** 2).mean()

    def graph(theta: Array, X: Array, Y: Array) -> Array:
        leaves = [*(theta[k] + 0.0 * Y for k in range(LEAVES)), *(X[:, k] for k in range(LEAVES))]
        expressions = random_expressions(leaves, *sizes, library.sin, library.tanh, library.relu)
        return ((library.mean(expressions) - Y) ** 2).mean()

    losses = {"demo": demo, "classifier": classifier, "recurrent": recurrent, "lstm": lstm, "graph": graph}
    return losses[program.kind]


def arrays(program: Program) -> tuple[Array, Array, Array]:
    """theta, X and Y as array programs want them: classes are integers, and time comes first."""
    Y = program.Y.astype(int) if program.kind == "classifier" else program.Y
    X = np.ascontiguousarray(program.X.swapaxes(0, 1)) if program.kind in ("recurrent", "lstm") else program.X
    return program.theta, X, Y


def jax_step(program: Program) -> Step:
    """jit(value_and_grad(loss)) with the parameters in one vector, which is faster than a tree of matrices."""
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)

    def cross_entropy(logits: Array, classes: Array) -> Array:
        right = jax.nn.one_hot(classes, logits.shape[1], dtype=logits.dtype)  # indexing takes twice as long
        return (jax.nn.logsumexp(logits, axis=1) - (logits * right).sum(axis=1)).mean()

    def last_state(fed: Array, W_h: Array) -> Array:
        h, _ = jax.lax.scan(lambda h, x: (jnp.tanh(x + h @ W_h.T), None), jnp.zeros(fed.shape[1:]), fed)
        return h

    def last_memory(fed: Array, W_h: Array) -> Array:
        def step(state: tuple[Array, Array], x: Array) -> tuple[tuple[Array, Array], None]:
            h, c = state
            i, f, g, o = jnp.split(x + h @ W_h.T, 4, axis=1)
            c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
            return (jax.nn.sigmoid(o) * jnp.tanh(c), c), None

        zeros = jnp.zeros((fed.shape[1], W_h.shape[1]))
        (h, _), _ = jax.lax.scan(step, (zeros, zeros), fed)
        return h

    library = ArrayLibrary(
        jnp.sin, jnp.tanh, jax.nn.relu, cross_entropy, last_state, last_memory, lambda xs: sum(xs) / len(xs)
    )
    run = jax.jit(jax.value_and_grad(array_loss(program, library)))
    theta, X, Y = map(jnp.asarray, arrays(program))
    return lambda: jax.block_until_ready(run(theta, X, Y))


def without_scalar_code(program: Program) -> Program:
    """The program as another process can have it: array programs do not read the scalar text."""
    return replace(program, loss=print)


def jax_on_one_core(program: Program) -> Step:
    return OnOneCore(partial(jax_step, without_scalar_code(program)))


def torch_step(program: Program, threads: int = 1) -> Step:
    """Eager PyTorch."""
    import torch
    from torch.nn import functional

    def last_state(fed: Array, W_h: Array) -> Array:
        h = fed.new_zeros(fed.shape[1:])
        for x in fed.unbind(0):
            h = torch.tanh(torch.addmm(x, h, W_h.T))
        return h

    def last_memory(fed: Array, W_h: Array) -> Array:
        h = c = fed.new_zeros(fed.shape[1], W_h.shape[1])
        for x in fed.unbind(0):
            i, f, g, o = torch.addmm(x, h, W_h.T).chunk(4, dim=1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
        return h

    library = ArrayLibrary(
        torch.sin,
        torch.tanh,
        torch.relu,
        functional.cross_entropy,
        last_state,
        last_memory,
        lambda xs: torch.stack(xs).mean(0),
    )
    loss_of = array_loss(program, library)
    theta, X, Y = map(torch.as_tensor, arrays(program))
    theta.requires_grad_()

    def step() -> tuple[Any, Any]:
        torch.set_num_threads(threads)
        theta.grad = None
        loss = loss_of(theta, X, Y)
        loss.backward()
        return loss.detach(), theta.grad

    return step


# --- CasADi: a graph of scalars (SX) ----------------------------------------------------------------------------------

UNFOLDED = 400_000  # instructions: a graph of all examples up to here, beyond it the graph of one mapped over them


def casadi_step(program: Program) -> Step:
    import casadi

    theta, X = program.theta, program.X.reshape(len(program.X), -1)
    t, x, y = casadi.SX.sym("theta", len(theta)), casadi.SX.sym("x", X.shape[1]), casadi.SX.sym("y")
    penalty = PENALTY * casadi.sumsqr(t) if program.kind == "demo" else 0.0
    return casadi_mean(t, [x, y], casadi_loss(program, t, x, y), theta, [X, program.Y], penalty)


def casadi_mean(
    t: Any, row: list[Any], fit: Any, theta: Array, data: list[Array], penalty: Any = 0.0, buffers: bool = False
) -> Step:
    """The mean over the examples of what is written of the symbols of one, and its gradient by t.

    buffers: numbers go in and out through arrays that are made once, which spares each call its matrices.
    """
    import casadi

    count = len(data[0]) if data else 1
    share = (fit + penalty) / count
    example = casadi.Function("example", [t, *row], [share, casadi.gradient(share, t)])
    if count == 1:
        batch = example
    elif count * example.n_instructions() <= UNFOLDED:
        one = casadi.Function("one", [t, *row], [fit])
        columns = [casadi.SX.sym("columns", symbol.numel(), count) for symbol in row]
        mean = sum(one(t, *(c[:, i] for c in columns)) for i in range(count)) / count + penalty
        batch = casadi.Function("batch", [t, *columns], [mean, casadi.gradient(mean, t)])
    else:  # one theta for all; losses and gradients are added up
        batch = example.map("batch", "serial", count, [0], [0, 1])
    if not buffers:
        given = [casadi.DM(theta), *(casadi.DM(array.reshape(count, -1).T) for array in data)]
        return lambda: batch(*given)

    buffer, evaluate = batch.buffer()
    value, gradient = np.zeros(1), np.zeros((len(theta), 1))
    columns = [np.ascontiguousarray(array, dtype=float) for array in (theta, *data)]  # an example lies in one piece
    alive = batch, buffer, columns  # evaluate does not hold what it uses
    for k, array in enumerate(columns):
        buffer.set_arg(k, memoryview(array))
    for k, array in enumerate((value, gradient)):
        buffer.set_res(k, memoryview(array))

    def step() -> tuple[float, Array]:
        assert alive
        evaluate()
        return value[0], gradient[:, 0]

    return step


def casadi_loss(program: Program, theta: Any, x: Any, y: Any) -> Any:
    """The loss of one example without a penalty."""
    import casadi

    def relu(v: Any) -> Any:
        return v * (v > 0)  # casadi.fmax has the derivative 1/2 at 0

    def columns(start: int, rows: int, stop: int) -> Any:
        """A matrix that lies row by row, as it is here, from one that lies column by column, as it is there."""
        return casadi.reshape(theta[start:stop], (stop - start) // rows, rows).T

    if program.kind == "graph":
        leaves = [*casadi.vertsplit(theta), *casadi.vertsplit(x)]
        expressions = random_expressions(leaves, *program.sizes, casadi.sin, casadi.tanh, relu)
        return (sum(expressions) / len(expressions) - y) ** 2

    if program.kind == "recurrent":
        inputs, hidden, steps = program.sizes
        W = columns(0, hidden, hidden * inputs)
        V = columns(hidden * inputs, hidden, hidden * (inputs + hidden))
        b, w = casadi.vertsplit(theta[hidden * (inputs + hidden) : -1], hidden)
        h: Any = casadi.SX.zeros(hidden)
        for t in range(steps):
            h = casadi.tanh(W @ x[t * inputs : (t + 1) * inputs] + V @ h + b)
        return (w.T @ h + theta[-1] - y) ** 2

    activate = relu if program.activation == "relu" else casadi.tanh
    start, z = 0, x
    for k, (inputs, outputs) in enumerate(pairwise(program.sizes)):
        stop = start + outputs * (inputs + 1)
        both = columns(start, outputs, stop)
        z = both[:, :inputs] @ (activate(z) if k else z) + both[:, inputs]
        start = stop
    if program.kind == "classifier":
        top = casadi.mmax(z)
        right = sum(z[k] * (y == k) for k in range(program.sizes[-1]))
        return casadi.log(casadi.sum1(casadi.exp(z - top))) + top - right
    return relu(1.0 - y * z)


# --- All of them ------------------------------------------------------------------------------------------------------

OURS = "tinygrad_vi, compiled"
BOUND = "tinygrad_vi, bound"
ONE_THREAD = "tinygrad_vi, one thread"
EAGER = "tinygrad_vi, eager"


def long(program: Program) -> bool:
    """A call takes long enough for threads to be worth it."""
    return program.kind == "classifier" and program.products() > 10_000_000


PEERS = [
    Peer(OURS, "tinygrad_vi", lambda program: True, compiled_step),
    Peer(BOUND, "tinygrad_vi", lambda program: True, bound_step),
    Peer(ONE_THREAD, "tinygrad_vi", long, partial(compiled_step, threads=1)),
    # compiling a graph of scalars takes 9 s for 1,000 operations, and more than in proportion beyond
    Peer(
        "jax.jit",
        "jax",
        lambda program: program.kind != "graph" or program.sizes[0] <= 1000,
        jax_step,
    ),
    Peer("jax.jit, one core", "jax", lambda program: OnOneCore.possible and long(program), jax_on_one_core),
    Peer("NumPy by hand", "numpy", lambda program: program.kind not in ("graph", "lstm"), numpy_step),
    # for small matrices BLAS takes one thread by itself
    Peer("NumPy, all threads", "numpy", long, numpy_all_threads_step),
    Peer("PyTorch eager", "torch", lambda program: True, torch_step),
    Peer("PyTorch, all threads", "torch", long, partial(torch_step, threads=cores())),
    # a graph of scalars of the wide network takes 12 s to build, and a call of it with 512 examples 1 s
    Peer(
        "CasADi SX",
        "casadi",
        lambda program: (
            program.kind != "lstm" and len(program.parameters) <= 20_000 and program.products() <= 10_000_000
        ),
        casadi_step,
    ),
    Peer(EAGER, "tinygrad_vi", lambda program: program.products() <= 3_000_000, eager_step),  # some seconds
    Peer("micrograd", "micrograd", lambda program: program.kind == "demo", micrograd_step),
]
