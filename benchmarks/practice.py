"""What practitioners write in scalar code: filters, equations of motion, likelihoods, control; value and gradient.

Beside JAX (``lax.scan`` for loops in time, arrays where there are none), CasADi and autograd.  The rules are those of
benchmarks/match.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from benchmarks.cases import CASADI, JAX, Case, normal, run_all
from benchmarks.measure import Table
from benchmarks.peers import OURS
from benchmarks.sparse import Bundle

TWICE = {JAX: 2.0, CASADI: 2.0}


def tiny() -> Case:
    """The textbook's function: what a call costs, whatever it computes."""

    def scalar(x: Any, of: Any) -> Any:
        return of.log(x[0]) + x[0] * x[1] - of.sin(x[1])

    return Case(
        "log(a) + a*b - sin(b)",
        np.array([2.0, 5.0]),
        scalar,
        lambda xp: lambda x: scalar(x, xp),
        targets={OURS: 3.0},
    )


# --- Loops in time ----------------------------------------------------------------------------------------------------


def kalman(steps: int = 300) -> Case:
    """A scalar Kalman filter: the likelihood of what was seen, by the variances and the transition."""
    seen = normal(steps)

    def scalar(x: Any, of: Any) -> Any:
        q, s, a = x
        mean, variance, terms = 0.0, 1.0, []
        for z in seen.tolist():
            mean, variance = a * mean, a * variance * a + q
            e, S = z - mean, variance + s
            K = variance / S
            mean, variance = mean + K * e, (1 - K) * variance
            terms.append(0.5 * (of.log(S) + e * e / S))
        return of.total(terms)

    def arrays(xp: Any) -> Callable[..., Any]:
        from jax import lax

        def loss(x: Any) -> Any:
            q, s, a = x

            def step(state: Any, z: Any) -> Any:
                mean, variance = a * state[0], a * state[1] * a + q
                e, S = z - mean, variance + s
                K = variance / S
                return (mean + K * e, (1 - K) * variance), 0.5 * (xp.log(S) + e * e / S)

            return lax.scan(step, (0.0, 1.0), xp.asarray(seen))[1].sum()

        return loss

    title = f"Kalman filter, {steps} steps"
    return Case(title, np.array([0.1, 0.5, 0.9]), scalar, arrays, scan=True, targets=TWICE)


def garch(steps: int = 1000) -> Case:
    """GARCH(1,1): the likelihood of returns whose variance follows those before."""
    returns = normal(steps, seed=1)

    def scalar(x: Any, of: Any) -> Any:
        w, a, b = x
        e = returns.tolist()
        h, total = w / (1 - a - b), 0.0
        for t in range(1, len(e)):
            h = w + a * e[t - 1] ** 2 + b * h
            total = total + of.log(h) + e[t] ** 2 / h
        return 0.5 * total

    def arrays(xp: Any) -> Callable[..., Any]:
        from jax import lax

        def loss(x: Any) -> Any:
            w, a, b = x

            def step(h: Any, pair: Any) -> Any:
                h = w + a * pair[0] + b * h
                return h, xp.log(h) + pair[1] / h

            squares = xp.asarray(returns) ** 2
            return 0.5 * lax.scan(step, w / (1 - a - b), (squares[:-1], squares[1:]))[1].sum()

        return loss

    title = f"GARCH(1,1), {steps:,} returns"
    return Case(title, np.array([0.1, 0.1, 0.8]), scalar, arrays, scan=True, targets=TWICE)


def runge_kutta(f: Callable[[Any], list[Any]], y: Sequence[Any], h: float) -> list[Any]:
    """A step of the classical method, in scalar code."""

    def moved(by: float, k: Sequence[Any]) -> list[Any]:
        return [u + by * v for u, v in zip(y, k, strict=True)]

    k1 = f(y)
    k2 = f(moved(h / 2, k1))
    k3 = f(moved(h / 2, k2))
    k4 = f(moved(h, k3))
    return [u + h / 6 * (a + 2 * b + 2 * c + d) for u, a, b, c, d in zip(y, k1, k2, k3, k4, strict=True)]


def runge_kutta_of_arrays(f: Callable[[Any], Any], y: Any, h: float) -> Any:
    k1 = f(y)
    k2 = f(y + h / 2 * k1)
    k3 = f(y + h / 2 * k2)
    k4 = f(y + h * k3)
    return y + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)


def rk4(steps: int = 200) -> Case:
    """Hares and foxes (Lotka and Volterra), seen at each step: by the four rates and the start."""
    seen = [3.0 * float(np.sin(i)) for i in range(steps)]

    def scalar(x: Any, of: Any) -> Any:
        a, b, c, d, *y = x
        errors = []
        for z in seen:
            y = runge_kutta(lambda y: [a * y[0] - b * y[0] * y[1], d * y[0] * y[1] - c * y[1]], y, 0.05)
            errors.append((y[0] - z) ** 2)
        return of.total(errors) / steps

    def arrays(xp: Any) -> Callable[..., Any]:
        from jax import lax

        def loss(x: Any) -> Any:
            a, b, c, d = x[:4]

            def f(y: Any) -> Any:
                return xp.stack([a * y[0] - b * y[0] * y[1], d * y[0] * y[1] - c * y[1]])

            def step(y: Any, z: Any) -> Any:
                y = runge_kutta_of_arrays(f, y, 0.05)
                return y, (y[0] - z) ** 2

            return lax.scan(step, x[4:], xp.asarray(seen))[1].mean()

        return loss

    x = np.array([1.1, 0.4, 0.4, 0.1, 10.0, 5.0])
    return Case(f"RK4, {steps} steps of Lotka and Volterra", x, scalar, arrays, scan=True, targets=TWICE)


def shooting(steps: int = 100) -> Case:
    """Control by direct shooting: the forces that swing a pendulum up, by their cost and by where it ends."""
    h = 0.05

    def scalar(x: Any, of: Any) -> Any:
        y, cost = [np.pi, 0.0], []
        for u in x:
            y = runge_kutta(lambda y, u=u: [y[1], of.sin(y[0]) - 0.1 * y[1] + u], y, h)
            cost.append(h * (0.1 * u * u + 1 - of.cos(y[0])))
        return of.total(cost) + 10 * (1 - of.cos(y[0])) + y[1] * y[1]

    def arrays(xp: Any) -> Callable[..., Any]:
        from jax import lax

        def loss(x: Any) -> Any:
            def step(y: Any, u: Any) -> Any:
                y = runge_kutta_of_arrays(lambda y: xp.stack([y[1], xp.sin(y[0]) - 0.1 * y[1] + u]), y, h)
                return y, h * (0.1 * u * u + 1 - xp.cos(y[0]))

            y, cost = lax.scan(step, xp.array([xp.pi, 0.0]), x)
            return cost.sum() + 10 * (1 - xp.cos(y[0])) + y[1] ** 2

        return loss

    title = f"Control by direct shooting, {steps} forces, RK4"
    return Case(title, 0.5 * normal(steps, seed=2), scalar, arrays, scan=True, targets=TWICE)


def hidden_markov(steps: int = 200, states: int = 4) -> Case:
    """A hidden Markov model with normal observations: the forward pass in logarithms."""
    seen = 1.0 + normal(steps, seed=4)
    square = states * states

    def scalar(x: Any, of: Any) -> Any:
        rows = [x[states * i : states * (i + 1)] for i in range(states)]
        log_A = [[a - norm for a in row] for row in rows for norm in [of.logsumexp(row)]]
        alpha: Any = None
        for z in seen.tolist():
            emitted = [-0.5 * (z - m) ** 2 for m in x[square:]]
            if alpha is None:
                alpha = emitted
            else:
                alpha = [
                    of.logsumexp([alpha[i] + log_A[i][j] for i in range(states)]) + e for j, e in enumerate(emitted)
                ]
        return -of.logsumexp(alpha)

    def arrays(xp: Any) -> Callable[..., Any]:
        from jax import lax
        from jax.nn import logsumexp

        def loss(x: Any) -> Any:
            A = x[:square].reshape(states, states)
            log_A = A - logsumexp(A, axis=1, keepdims=True)
            emitted = -0.5 * (xp.asarray(seen)[:, None] - x[square:]) ** 2

            def step(alpha: Any, e: Any) -> Any:
                return logsumexp(alpha[:, None] + log_A, axis=0) + e, None

            return -logsumexp(lax.scan(step, emitted[0], emitted[1:])[0])

        return loss

    x = np.hstack([normal(square, seed=5), np.arange(states)])
    title = f"Hidden Markov model, {steps} steps, {states} states"
    return Case(title, x, scalar, arrays, scan=True, targets=TWICE)


# --- Without time -----------------------------------------------------------------------------------------------------


def bundle(cameras: int = 8, points: int = 52, sights: int = 5) -> Case:
    """Bundle adjustment: half the sum of squares of all residuals."""
    made = Bundle(cameras, points, sights)
    by_camera, by_point = np.array(made.sights).T

    def scalar(x: Any, of: Any) -> Any:
        return 0.5 * of.total([r * r for r in made.residuals(x, of)])

    def arrays(xp: Any) -> Callable[..., Any]:
        def loss(x: Any) -> Any:
            camera, X = x[: 9 * cameras].reshape(-1, 9)[by_camera], x[9 * cameras :].reshape(-1, 3)[by_point]
            w, t = camera[:, :3], camera[:, 3:6]
            f, k1, k2 = camera[:, 6], camera[:, 7], camera[:, 8]
            square = (w * w).sum(axis=1) + 1e-12
            angle = xp.sqrt(square)
            s, c = xp.sin(angle) / angle, (1.0 - xp.cos(angle)) / square
            along = (w * X).sum(axis=1)
            turned = xp.cos(angle)[:, None] * X + s[:, None] * xp.cross(w, X) + (c * along)[:, None] * w
            P = turned + t
            u, v = -P[:, 0] / P[:, 2], -P[:, 1] / P[:, 2]
            r = u * u + v * v
            distorted = f * (1.0 + k1 * r + k2 * r * r)
            return 0.5 * (((distorted * u - 0.1) ** 2).sum() + ((distorted * v - 0.2) ** 2).sum())

        return loss

    title = f"Bundle adjustment, {cameras} cameras, {points} points, {len(made.sights)} sights"
    return Case(title, made.x, scalar, arrays, targets=TWICE)


def gaussian_process(points: int = 40) -> Case:
    """A Gaussian process with a squared exponential kernel: the likelihood, by a Cholesky decomposition in scalars."""
    at = np.linspace(0.0, 4.0, points)
    seen = np.sin(2.0 * at) + 0.1 * normal(points, seed=6)

    def scalar(x: Any, of: Any) -> Any:
        height, length, noise = [of.exp(a) for a in x]
        t, L, z, logs = at.tolist(), [], [], []

        def kernel(i: int, j: int) -> Any:
            return height * of.exp(-0.5 * ((t[i] - t[j]) / length) ** 2)

        for i, y in enumerate(seen.tolist()):  # L L' = K, L z = y
            row: list[Any] = []
            for j in range(i):
                row.append((kernel(i, j) - of.total([row[m] * L[j][m] for m in range(j)])) / L[j][j])
            row.append(of.sqrt(height + noise - of.total([a * a for a in row])))
            z.append((y - of.total([row[m] * z[m] for m in range(i)])) / row[i])
            logs.append(of.log(row[i]))
            L.append(row)
        return 0.5 * of.total([a * a for a in z]) + of.total(logs)

    def arrays(xp: Any) -> Callable[..., Any]:
        def loss(x: Any) -> Any:
            height, length, noise = xp.exp(x[0]), xp.exp(x[1]), xp.exp(x[2])
            between = (at[:, None] - at) ** 2
            K = height * xp.exp(-0.5 * between / length**2) + noise * xp.eye(points)
            L = xp.linalg.cholesky(K)
            z = xp.linalg.solve(L, seen)
            return 0.5 * (z * z).sum() + xp.log(xp.diag(L)).sum()

        return loss

    x = np.array([0.1, -0.3, -2.0])
    return Case(f"Gaussian process, Cholesky of {points} points in scalars", x, scalar, arrays)


PROGRAMS: dict[str, Callable[[], Case]] = {
    "tiny": tiny,
    "Kalman": kalman,
    "GARCH": garch,
    "RK4": rk4,
    "bundle": bundle,
    "HMM": hidden_markov,
    "GP": gaussian_process,
    "shooting": shooting,
}

QUICK: dict[str, Callable[[], Case]] = {
    "tiny": tiny,
    "Kalman": partial(kalman, 5),
    "GARCH": partial(garch, 5),
    "RK4": partial(rk4, 3),
    "bundle": partial(bundle, 2, 4, 2),
    "HMM": partial(hidden_markov, 4, 2),
    "GP": partial(gaussian_process, 4),
    "shooting": partial(shooting, 3),
}


def run(repeats: int, quick: bool) -> Iterator[Table]:  # noqa: ARG001
    """A table for each program, and one of all."""
    yield from run_all("Practice", QUICK if quick else PROGRAMS, quick)
