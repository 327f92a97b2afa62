"""Programs of GradBench in scalar code: value and gradient, beside JAX, CasADi and autograd.

What each computes is GradBench's (https://github.com/gradbench/gradbench), whose `lse`, `ode` and `llsq` come from the
speed tests of CppAD, and whose `gmm` is that of ADBench.  Means stand for sums over examples, which a compiled function
gives.  Bundle adjustment and the LSTM are in other parts.  The rules are those of benchmarks/match.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial, reduce
from itertools import pairwise
from typing import Any

import numpy as np

from benchmarks.cases import JAX, Case, normal, run_all
from benchmarks.measure import Table

ONCE = {JAX: 1.0}


def kmeans(clusters: int, points: int = 1000, width: int = 8) -> Case:
    """The squared distance of each point from the nearest centre."""

    def scalar(x: Any, row: Any, of: Any) -> Any:
        centres = [x[width * k : width * (k + 1)] for k in range(clusters)]
        return reduce(of.minimum, [of.total([(a - b) ** 2 for a, b in zip(row, c, strict=True)]) for c in centres])

    def arrays(xp: Any) -> Callable[..., Any]:
        def loss(x: Any, X: Any) -> Any:
            centres = x.reshape(clusters, width)  # |a - b|^2 multiplied out, as GradBench's program in JAX does it
            squares = (X**2).sum(axis=1)[:, None] - 2.0 * X @ centres.T + (centres**2).sum(axis=1)
            return xp.min(squares, axis=1).mean()

        return loss

    title = f"kmeans, n = {points:,}, d = {width}, k = {clusters}"
    X = normal(points, width)
    return Case(title, normal(clusters * width, seed=1), scalar, arrays, data=X, targets=ONCE)


def log_sum_exp(size: int = 20_000) -> Case:
    def arrays(xp: Any) -> Callable[..., Any]:
        def loss(x: Any) -> Any:
            top = xp.max(x)
            return top + xp.log(xp.exp(x - top).sum())

        return loss

    return Case(f"lse, {size:,} numbers", normal(size), lambda x, of: of.logsumexp(x), arrays, targets=ONCE)


def ode(size: int = 40, steps: int = 100) -> Case:
    """The last unknown of y' = (x1, x2 y1, x3 y2, ...) at t = 2, from 0, by the classical Runge-Kutta method."""
    h = 2.0 / steps

    def scalar(x: Any, of: Any) -> Any:  # noqa: ARG001
        def f(y: Any) -> list[Any]:
            return [x[0], *(a * b for a, b in zip(x[1:], y[:-1], strict=True))]

        y: list[Any] = [0.0] * size
        for _ in range(steps):
            k1 = f(y)
            k2 = f([a + h / 2 * k for a, k in zip(y, k1, strict=True)])
            k3 = f([a + h / 2 * k for a, k in zip(y, k2, strict=True)])
            k4 = f([a + h * k for a, k in zip(y, k3, strict=True)])
            y = [a + h / 6 * (p + 2 * q + 2 * r + s) for a, p, q, r, s in zip(y, k1, k2, k3, k4, strict=True)]
        return y[-1]

    def arrays(xp: Any) -> Callable[..., Any]:
        from jax import lax

        def loss(x: Any) -> Any:
            def f(y: Any) -> Any:
                return x * xp.concatenate([xp.ones(1), y[:-1]])

            def step(y: Any, _: Any) -> Any:
                k1 = f(y)
                k2 = f(y + h / 2 * k1)
                k3 = f(y + h / 2 * k2)
                k4 = f(y + h * k3)
                return y + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4), None

            return lax.scan(step, xp.zeros(size), None, length=steps)[0][-1]

        return loss

    x = 1.0 + np.random.default_rng(0).uniform(size=size)
    return Case(f"ode, n = {size}, s = {steps}", x, scalar, arrays, scan=True, targets=ONCE)


def gmm(points: int = 1000, width: int = 10, clusters: int = 5) -> Case:
    """A mixture of normal distributions, each with the triangle of its inverse covariance; without the prior."""
    triangle = width * (width - 1) // 2
    # a matrix that puts the entries of the triangle where they stand: autograd cannot assign
    put = np.zeros((triangle, width, width))
    put[(np.arange(triangle), *np.tril_indices(width, -1))] = 1.0
    put = put.reshape(triangle, -1)
    parts = np.cumsum([0, clusters, clusters * width, clusters * width, clusters * triangle]).tolist()

    def scalar(x: Any, row: Any, of: Any) -> Any:
        alphas, means, logs, lower = [x[a:b] for a, b in pairwise(parts)]
        terms = []
        for k in range(clusters):
            apart = [row[i] - means[k * width + i] for i in range(width)]
            diagonal = logs[k * width : (k + 1) * width]
            L = iter(lower[k * triangle : (k + 1) * triangle])
            turned = []
            for i in range(width):
                turned.append(of.exp(diagonal[i]) * apart[i] + sum([next(L) * apart[j] for j in range(i)], 0.0))
            terms.append(alphas[k] + of.total(diagonal) - 0.5 * of.total([a * a for a in turned]))
        return of.logsumexp(alphas) - of.logsumexp(terms)

    def arrays(xp: Any) -> Callable[..., Any]:
        def logsumexp(z: Any) -> Any:
            top = xp.max(z, axis=-1, keepdims=True)
            return top[..., 0] + xp.log(xp.exp(z - top).sum(axis=-1))

        def loss(x: Any, X: Any) -> Any:
            alphas, means, logs, lower = [x[a:b].reshape(clusters, -1) for a, b in pairwise(parts)]
            L = (lower @ put).reshape(-1, width, width)
            Q = L + xp.exp(logs)[:, :, None] * xp.eye(width)
            turned = xp.einsum("kij,nkj->nki", Q, X[:, None, :] - means)
            terms = alphas[:, 0] + logs.sum(axis=1) - 0.5 * (turned**2).sum(axis=2)
            return logsumexp(alphas[:, 0]) - logsumexp(terms).mean()

        return loss

    x = 0.3 * normal(clusters * (1 + 2 * width + triangle), seed=1)
    title = f"gmm, n = {points:,}, d = {width}, K = {clusters}"
    return Case(title, x, scalar, arrays, data=normal(points, width), targets=ONCE)


def least_squares(points: int = 1000, powers: int = 64) -> Case:
    """The polynomial nearest to the sign of t on [-1, 1], by its coefficients."""
    t = np.linspace(-1.0, 1.0, points)

    def scalar(x: Any, row: Any, of: Any) -> Any:
        t, sign = row
        terms, power = [], 1.0
        for a in x:
            terms.append(a * power)
            power = power * t
        return 0.5 * (sign - of.total(terms)) ** 2

    def arrays(xp: Any) -> Callable[..., Any]:
        from jax import lax

        def loss(x: Any, data: Any) -> Any:
            def step(value: Any, a: Any) -> Any:  # Horner: three times faster than cumprod, nine times than vander
                return value * data[:, 0] + a, None

            y, _ = lax.scan(step, xp.zeros(points), x[::-1])
            return 0.5 * ((data[:, 1] - y) ** 2).mean()

        return loss

    title = f"llsq, n = {points:,}, {powers} powers"
    data = np.stack([t, np.sign(t)], axis=1)
    return Case(title, normal(powers), scalar, arrays, data=data, scan=True, targets=ONCE)


PROGRAMS: dict[str, Callable[[], Case]] = {
    "kmeans 10": partial(kmeans, 10),
    "kmeans 100": partial(kmeans, 100),
    "lse": log_sum_exp,
    "ode": ode,
    "gmm": gmm,
    "llsq": least_squares,
}

QUICK: dict[str, Callable[[], Case]] = {
    "kmeans": partial(kmeans, 3, 5, 2),
    "lse": partial(log_sum_exp, 10),
    "ode": partial(ode, 3, 2),
    "gmm": partial(gmm, 5, 2, 2),
    "llsq": partial(least_squares, 5, 3),
}


def run(repeats: int, quick: bool) -> Iterator[Table]:  # noqa: ARG001
    """A table for each program, and one of all."""
    yield from run_all("GradBench", QUICK if quick else PROGRAMS, quick)
