"""Sparse Jacobians and Hessians beside CasADi: bundle adjustment, and a long chain.

Set-up is tracing, differentiating and the first call.  A call gives a matrix: of SciPy here, a DM of CasADi's there.
The numbers are compared before anything is timed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from time import perf_counter
from typing import Any

import numpy as np

import tinygrad_vi
from benchmarks.measure import race, show
from tinygrad_vi import compile, hessian, jacobian

TURNS, BURST = 15, 20
TOLERANCE = 1e-10

Matrix = Callable[[Any], Any]


def luksan_vlcek(x: Sequence[Any]) -> Any:
    """The chained objective of L. Lukšan and J. Vlček (1999): its Hessian is tridiagonal."""
    y: Any = 0.0
    for i in range(1, len(x)):
        y = y + 100.0 * (x[i - 1] ** 2 - x[i]) ** 2 + (x[i - 1] - 1.0) ** 2
    return y


class Bundle:
    """Points seen by cameras: two residuals for each sight, by 9 unknowns of its camera and 3 of its point.

    The camera turns (Rodrigues), moves, projects and distorts, as in S. Agarwal et al., *Bundle Adjustment in the
    Large* (2010).
    """

    def __init__(self, cameras: int, points: int, sights: int) -> None:
        rng = np.random.default_rng(0)
        self.cameras = cameras
        self.sights = [
            (int(c), p) for p in range(points) for c in rng.choice(cameras, min(sights, cameras), replace=False)
        ]
        self.x = 0.1 * rng.normal(size=9 * cameras + 3 * points)
        self.x[5 : 9 * cameras : 9] -= 3.0
        self.x[6 : 9 * cameras : 9] = 1.0

    def residuals(self, x: Sequence[Any], of: Any) -> list[Any]:
        """of: where sin, cos and sqrt come from."""
        found = []
        for c, p in self.sights:
            w, t, (f, k1, k2) = [[x[9 * c + k + i] for i in range(3)] for k in (0, 3, 6)]
            X = [x[9 * self.cameras + 3 * p + i] for i in range(3)]
            square = w[0] * w[0] + w[1] * w[1] + w[2] * w[2] + 1e-12
            angle = of.sqrt(square)
            s, c1 = of.sin(angle) / angle, (1.0 - of.cos(angle)) / square
            along = w[0] * X[0] + w[1] * X[1] + w[2] * X[2]
            cross = [w[1] * X[2] - w[2] * X[1], w[2] * X[0] - w[0] * X[2], w[0] * X[1] - w[1] * X[0]]
            P = [of.cos(angle) * X[i] + s * cross[i] + c1 * along * w[i] + t[i] for i in range(3)]
            u, v = -P[0] / P[2], -P[1] / P[2]
            r = u * u + v * v
            distorted = f * (1.0 + k1 * r + k2 * r * r)
            found += [distorted * u - 0.1, distorted * v - 0.2]
        return found


# --- The contestants --------------------------------------------------------------------------------------------------


def casadis(f: Callable[[Any, Any], Any], n: int, second: bool) -> Matrix:
    import casadi

    x = casadi.SX.sym("x", n)
    y = f(casadi.vertsplit(x), casadi)
    found = casadi.hessian(y, x)[0] if second else casadi.jacobian(casadi.vertcat(*y), x)
    return casadi.Function("matrix", [x], [found])  # type: ignore[no-any-return]


def contestants(f: Callable[[Any, Any], Any], n: int, second: bool, eager: bool) -> dict[str, Callable[[], Matrix]]:
    """What makes each of them ready."""

    def ours(x: Any) -> Any:
        return f(x, tinygrad_vi)

    def compiled(sparse: bool) -> Matrix:
        step = compile(ours, threads=1)
        return lambda x: step.hessian(x, sparse=sparse) if second else step.jacobian(x, sparse=sparse)

    made: dict[str, Callable[[], Matrix]] = {
        "compiled, sparse": lambda: compiled(True),
        "compiled, dense": lambda: compiled(False),
    }
    if eager:
        made["eager, sparse"] = lambda: (hessian if second else jacobian)(ours, sparse=True)
    if find_spec("casadi") is not None:
        made["CasADi SX"] = lambda: casadis(f, n, second)
    return made


def dense(matrix: Any) -> Any:
    for how in ("toarray", "full"):  # SciPy's, CasADi's
        if hasattr(matrix, how):
            return getattr(matrix, how)()
    return matrix


def match(title: str, f: Callable[[Any, Any], Any], x: Any, second: bool, quick: bool) -> None:
    calls, ready, first = {}, {}, None
    for name, make in contestants(f, len(x), second, eager=len(x) <= 300).items():
        start = perf_counter()
        call = make()
        found = call(x)
        ready[name] = perf_counter() - start
        calls[name] = lambda call=call: call(x)
        matrix = dense(found)
        first = matrix if first is None else first
        difference = float(np.abs(matrix - first).max() / np.abs(first).max())
        if not difference <= TOLERANCE:
            raise SystemExit(f"{title}: {name} is off by {difference}, more than {TOLERANCE}")
    seconds = race(calls, 2 if quick else TURNS, title, BURST)
    base = seconds["compiled, sparse"]
    entries = int(np.count_nonzero(first))
    rows = [[name, f"{ready[name]:.2f}", f"{1e6 * s:.0f}", f"{s / base:.2g}"] for name, s in seconds.items()]
    show(f"{title}: {entries:,} entries", ["", "set-up s", "us a call", "times ours"], rows, as_written=True)


def run(repeats: int, quick: bool) -> None:  # noqa: ARG001
    """Print the Jacobians of bundle adjustment, then the Hessians of the chain."""
    for size in [(3, 10, 2)] if quick else [(8, 52, 5), (20, 110, 8)]:
        bundle = Bundle(*size)
        m, n = 2 * len(bundle.sights), len(bundle.x)
        match(f"Jacobian of bundle adjustment, {m:,} by {n:,}", bundle.residuals, bundle.x, False, quick)
    for n in (20,) if quick else (100, 400, 2000):
        x = np.where(np.arange(n) % 2, 1.0, -1.2)
        match(f"Hessian of Lukšan and Vlček's chain, N = {n:,}", lambda x, of: luksan_vlcek(x), x, True, quick)
