"""A language model in scalar code: a GPT of one layer and 4,192 parameters that learns to write Vietnamese names.

In the manner of the well-known GPTs of 200 lines of pure Python: 27 tokens (a letter, or the end), 16 numbers for each
position, 4 heads of attention, root-mean-square norms, Adam with a rate that falls to 0.  One text, `gpt_loss`, runs

- on a *plain* Value with one node for each + and *, the way these programs are written;
- on our eager engine, where a sum of products is one node;
- compiled, once for each length of name, or once for all: then the weight of each position's loss is an input, 1/n for
  the n positions of the name and 0 beyond them (attention looks back only).
"""

from __future__ import annotations

import gc
import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np

from benchmarks import peers
from benchmarks.match import Call, match
from benchmarks.measure import Table, collector, progress
from benchmarks.names import names
from benchmarks.plain import Plain
from tinygrad_vi import Value, compile, dot, losses, softmax, take

VOCABULARY = 27  # a to z, and the end of a name, which is also its beginning
END = 26
WIDTH = 16
HEADS = 4
HEAD_WIDTH = WIDTH // HEADS
LONGEST = 16  # positions

# --- Numbers: the few functions in which the engines differ -----------------------------------------------------------


@dataclass(frozen=True)
class Engine:
    """A class of numbers, and what is made of several of them."""

    value: Callable[[float], Any]
    dot: Callable[[Sequence[Any], Sequence[Any]], Any]
    softmax: Callable[[Sequence[Any]], list[Any]]
    cross_entropy: Callable[[Sequence[Any], Any], Any]
    take: Callable[[Sequence[Any], Any], Any]


OURS = Engine(Value, dot, softmax, losses.cross_entropy, take)


def plain_dot(w: Sequence[Any], x: Sequence[Any]) -> Any:
    return sum(wi * xi for wi, xi in zip(w, x, strict=True))


def plain_softmax(logits: Sequence[Plain]) -> list[Any]:
    top = max(a.data for a in logits)
    powers = [(a - top).exp() for a in logits]
    total = sum(powers)
    return [p / total for p in powers]


def plain_cross_entropy(logits: Sequence[Plain], target: int) -> Any:
    return -plain_softmax(logits)[target].log()


PLAIN = Engine(Plain, plain_dot, plain_softmax, plain_cross_entropy, lambda table, index: table[index])


# --- The model --------------------------------------------------------------------------------------------------------

Matrix = list[list[Any]]
State = dict[str, Matrix]

SHAPES = {
    "token": (VOCABULARY, WIDTH),
    "position": (LONGEST, WIDTH),
    "output": (VOCABULARY, WIDTH),
    "query": (WIDTH, WIDTH),
    "key": (WIDTH, WIDTH),
    "value": (WIDTH, WIDTH),
    "mix": (WIDTH, WIDTH),
    "expand": (4 * WIDTH, WIDTH),
    "contract": (WIDTH, 4 * WIDTH),
}


def initial_state(engine: Engine = OURS, seed: int = 42, deviation: float = 0.08) -> State:
    """Matrices with normal random entries."""
    rng = random.Random(seed)
    return {
        name: [[engine.value(rng.gauss(0.0, deviation)) for _ in range(columns)] for _ in range(rows)]
        for name, (rows, columns) in SHAPES.items()
    }


def parameters_of(state: State) -> list[Any]:
    return [p for matrix in state.values() for row in matrix for p in row]


def initial_theta() -> Any:
    return np.array([p.data for p in parameters_of(initial_state())])


def gpt_loss(
    state: State,
    tokens: Sequence[Any],
    targets: Sequence[Any],
    weights: Sequence[Any] | None = None,
    engine: Engine = OURS,
) -> Any:
    """How badly each next token is foretold: the cross-entropy, averaged over the positions, or with given weights."""
    keys: Matrix = []
    values: Matrix = []
    parts = []
    for position, (token, target) in enumerate(zip(tokens, targets, strict=True)):
        logits = next_token(state, token, position, keys, values, engine)
        parts.append(engine.cross_entropy(logits, target))
    return engine.dot([1.0 / len(parts)] * len(parts) if weights is None else weights, parts)


def next_token(state: State, token: Any, position: int, keys: Matrix, values: Matrix, engine: Engine) -> list[Any]:
    """The logits of the token that follows; keys and values of the positions before grow by those of this one."""

    def linear(name: str, x: list[Any]) -> list[Any]:
        return [engine.dot(row, x) for row in state[name]]

    def normed(x: list[Any]) -> list[Any]:
        scale = (engine.dot(x, x) * (1.0 / len(x)) + 1e-5) ** -0.5
        return [xi * scale for xi in x]

    x = normed(plus(engine.take(state["token"], token), state["position"][position]))

    inner = normed(x)
    query = linear("query", inner)
    keys.append(linear("key", inner))
    values.append(linear("value", inner))
    x = plus(x, linear("mix", attention(query, keys, values, engine)))

    hidden = [h.relu() for h in linear("expand", normed(x))]
    x = plus(x, linear("contract", hidden))
    return linear("output", x)


def attention(query: list[Any], keys: Matrix, values: Matrix, engine: Engine) -> list[Any]:
    """For each head the average of the values, each weighted by how well its key answers the query."""
    mixed = []
    for start in range(0, WIDTH, HEAD_WIDTH):
        head = slice(start, start + HEAD_WIDTH)
        scores = [engine.dot(query[head], key[head]) * (1.0 / math.sqrt(HEAD_WIDTH)) for key in keys]
        shares = engine.softmax(scores)
        mixed += [engine.dot(shares, column) for column in zip(*(value[head] for value in values), strict=True)]
    return mixed


def plus(x: Sequence[Any], y: Sequence[Any]) -> list[Any]:
    return [a + b for a, b in zip(x, y, strict=True)]


# --- The names --------------------------------------------------------------------------------------------------------


def document(name: str) -> tuple[list[int], list[int]]:
    """The tokens of a name and those that follow them.

    >>> document("an")
    ([26, 0, 13], [0, 13, 26])
    """
    tokens = [END, *(ord(letter) - ord("a") for letter in name), END][: LONGEST + 1]
    return tokens[:-1], tokens[1:]


def padded(tokens: Sequence[int], targets: Sequence[int]) -> tuple[list[int], list[int], list[float]]:
    """The same at full length, and the weight of each position: the end follows the end, and does not count."""
    n = len(tokens)
    beyond = LONGEST - n
    return [*tokens, *[END] * beyond], [*targets, *[END] * beyond], [1.0 / n] * n + [0.0] * beyond


# --- Training ---------------------------------------------------------------------------------------------------------

#: (theta, tokens, targets) -> loss and gradient
Gradient = Callable[[Any, Sequence[int], Sequence[int]], tuple[float, Any]]


def eager_gradient(engine: Engine) -> Gradient:
    state = initial_state(engine)
    parameters = parameters_of(state)

    def gradient(theta: Any, tokens: Sequence[int], targets: Sequence[int]) -> tuple[float, Any]:
        for p, x in zip(parameters, theta.tolist(), strict=True):
            p.data, p.grad = x, 0.0
        loss = gpt_loss(state, tokens, targets, engine=engine)
        loss.backward()
        return loss.data, np.array([p.grad for p in parameters])

    return gradient


def compiled_step() -> Any:
    """(theta, tokens, targets, weights), with a row for each name: one program for names of all lengths."""
    state = initial_state()
    return compile(
        lambda tokens, targets, weights: gpt_loss(state, tokens, targets, weights), params=parameters_of(state)
    )


def compiled_gradient() -> Gradient:
    step = compiled_step()

    def gradient(theta: Any, tokens: Sequence[int], targets: Sequence[int]) -> tuple[float, Any]:
        given = (np.array([row], dtype=float) for row in padded(tokens, targets))
        return step.value_and_grad(theta, *given)  # type: ignore[no-any-return]

    return gradient


def compiled_gradient_by_length() -> Gradient:
    """A program for each length, compiled when it is first met."""
    state = initial_state()
    parameters = parameters_of(state)
    steps: dict[int, Any] = {}

    def gradient(theta: Any, tokens: Sequence[int], targets: Sequence[int]) -> tuple[float, Any]:
        n = len(tokens)
        if n not in steps:
            steps[n] = compile(lambda x, y: gpt_loss(state, x, y), params=parameters)
        return steps[n].value_and_grad(theta, np.array([tokens], dtype=float), np.array([targets], dtype=float))

    return gradient


def training(gradient: Gradient, documents: Sequence[tuple[list[int], list[int]]], steps: int) -> Iterator[float]:
    """The losses of a run, one name for each step: Adam with a learning rate that falls from 0.01 to 0."""
    theta = initial_theta()
    mean, square = np.zeros_like(theta), np.zeros_like(theta)
    for k in range(steps):
        loss, g = gradient(theta, *documents[k % len(documents)])
        mean = 0.85 * mean + 0.15 * g
        square = 0.99 * square + 0.01 * g * g
        rate = 0.01 * (1.0 - k / steps)
        theta = theta - rate * (mean / (1.0 - 0.85 ** (k + 1))) / (np.sqrt(square / (1.0 - 0.99 ** (k + 1))) + 1e-8)
        yield loss


# --- The match --------------------------------------------------------------------------------------------------------

PEER = "plain Value"
EAGER = "tinygrad_vi, eager"
ONE = "tinygrad_vi, compiled once"
BY_LENGTH = "tinygrad_vi, compiled for each length"
STEPS = 1000
BATCH = 32
#: how many times faster than the plain Value the whole run should be
FASTER = 70.0
#: microseconds of a name in a batch, at most
A_NAME = 15.0


def contestants() -> dict[str, Gradient]:
    return {
        PEER: eager_gradient(PLAIN),
        EAGER: eager_gradient(OURS),
        ONE: compiled_gradient(),
        BY_LENGTH: compiled_gradient_by_length(),
    }


def side_by_side(
    documents: Sequence[tuple[list[int], list[int]]], steps: int
) -> tuple[dict[str, list[float]], dict[str, float]]:
    """The losses of the first steps, and the median seconds of one, all contestants taking turns."""
    gradients = contestants()
    for name in (ONE, BY_LENGTH):
        for tokens_and_targets in documents[:steps]:
            gradients[name](initial_theta(), *tokens_and_targets)  # compiles
    runs = {name: training(gradient, documents, STEPS) for name, gradient in gradients.items()}
    found: dict[str, list[float]] = {name: [] for name in runs}
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    gc.collect()
    gc.freeze()  # what was made before is no burden to the collector
    with progress("gpt", steps * len(runs)) as bar:
        for _ in range(steps):
            for name, run_ in runs.items():
                start = perf_counter()
                found[name].append(next(run_))
                seconds[name].append(perf_counter() - start)
                bar.update()
    gc.unfreeze()
    return found, {name: median(times) for name, times in seconds.items()}


def run(repeats: int, quick: bool) -> Iterator[Table]:
    """A training step and whether the losses agree, the whole run where it is compiled, and what a batch costs."""
    steps = 1 if quick else max(8, repeats)
    documents = [document(name) for name in names(STEPS)]
    peer = {}
    for on in (True, False):
        with collector(on):
            found, seconds = side_by_side(documents, steps)
        peer[on] = seconds[PEER]
        worst = {name: max(abs(a - b) for a, b in zip(row, found[PEER], strict=True)) for name, row in found.items()}
        yield Table(
            f"A training step of batch 1, collector {'on' if on else 'off'}: medians of {steps}",
            ["", "ms", f"times faster than {PEER}", f"largest difference in loss from {PEER}"],
            [
                [name, f"{1e3 * time:.3g}", f"{peer[on] / time:.1f}", f"{worst[name]:.1e}"]
                for name, time in seconds.items()
            ],
            as_written=True,
        )
    yield compiled_run(documents, peer, 20 if quick else STEPS)
    for count in (2,) if quick else (1, BATCH):
        yield batch(documents[:count], quick)


def compiled_run(documents: Sequence[tuple[list[int], list[int]]], peer: dict[bool, float], steps: int) -> Table:
    """The whole run with its compilation, against the peer's seconds a step."""
    rows, figures = [], {"steps": steps, f"{PEER}, a step": peer[True]}
    for name, make in ((ONE, compiled_gradient), (BY_LENGTH, compiled_gradient_by_length)):
        start = perf_counter()
        found = list(training(make(), documents, steps))
        figures[name] = seconds = perf_counter() - start
        last = sum(found[-50:]) / len(found[-50:])
        ratios = [f"{peer[on] * steps / seconds:,.1f}" for on in (True, False)]
        rows.append([name, f"{seconds:.2f}", f"{last:.3f}", *ratios, f"{FASTER:g}"])
    times_faster = [f"times faster than {PEER}, collector on", "collector off", "target"]
    return Table(
        f"{steps} steps, from tracing on (the peer: one step, times {steps})",
        ["", "seconds", "mean of the last 50 losses", *times_faster],
        rows,
        as_written=True,
        figures={"gpt run": figures},
    )


# --- A batch, beside arrays -------------------------------------------------------------------------------------------

#: additions and multiplications of the products for a name: three times those of the forward pass, where a position
#: looks back at all before it
PER_POSITION = sum(rows * columns for name, (rows, columns) in SHAPES.items() if name not in ("token", "position"))
FLOPS = 3 * 2 * (LONGEST * PER_POSITION + 2 * WIDTH * (LONGEST * (LONGEST + 1) // 2))


def batch(documents: Sequence[tuple[list[int], list[int]]], quick: bool) -> Table:
    given = [np.array(x, dtype=float) for x in zip(*(padded(*d) for d in documents), strict=True)]
    theta, count = initial_theta(), len(documents)

    def bound() -> Call:
        return partial(compiled_step().bind(*given).value_and_grad, theta)

    makers = {
        peers.OURS: lambda: partial(compiled_step().value_and_grad, theta, *given),
        peers.BOUND: bound,
        "jax.jit": lambda: of_arrays(theta, *given),
    }
    if find_spec("jax") is None:
        del makers["jax.jit"]
    return match(
        f"gpt {count}",
        f"Loss and gradient of {count} {'name' if count == 1 else 'names'}, at full length",
        makers,
        quick,
        flops=count * FLOPS,
        targets={peers.OURS: count * A_NAME} if count > 1 else None,
    )


def of_arrays(theta: Any, *given: Any) -> Call:
    """The same model in JAX, as somebody who knows it writes it."""
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)
    mask = jnp.tril(jnp.ones((LONGEST, LONGEST), dtype=bool))

    def loss(theta: Any, tokens: Any, targets: Any, weights: Any) -> Any:
        state, start = {}, 0
        for name, shape in SHAPES.items():
            state[name] = theta[start : start + math.prod(shape)].reshape(shape)
            start += math.prod(shape)

        def normed(x: Any) -> Any:
            return x * ((x * x).mean(axis=-1, keepdims=True) + 1e-5) ** -0.5

        def heads(name: str, x: Any) -> Any:
            return (x @ state[name].T).reshape(*x.shape[:2], HEADS, HEAD_WIDTH)

        x = normed(state["token"][tokens] + state["position"])
        inner = normed(x)
        query, key, value = (heads(name, inner) for name in ("query", "key", "value"))
        scores = jnp.einsum("bqhd,bkhd->bhqk", query, key) / math.sqrt(HEAD_WIDTH)
        shares = jax.nn.softmax(jnp.where(mask, scores, -jnp.inf), axis=-1)
        mixed = jnp.einsum("bhqk,bkhd->bqhd", shares, value).reshape(x.shape)
        x = x + mixed @ state["mix"].T
        x = x + jax.nn.relu(normed(x) @ state["expand"].T) @ state["contract"].T
        logits = x @ state["output"].T
        right = jax.nn.one_hot(targets, VOCABULARY, dtype=logits.dtype)
        parts = jax.nn.logsumexp(logits, axis=-1) - (logits * right).sum(axis=-1)
        return (weights * parts).sum(axis=1).mean()

    run = jax.jit(jax.value_and_grad(loss))
    tokens, targets, weights = given
    arguments = [jnp.asarray(a) for a in (theta, tokens.astype(int), targets.astype(int), weights)]
    return lambda: jax.block_until_ready(run(*arguments))
