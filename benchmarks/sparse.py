"""Sparse Jacobians and Hessians beside CasADi: bundle adjustment, and a long chain.

A call gives a matrix: of SciPy here, a DM of CasADi's there.  The rules are those of benchmarks/match.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib.util import find_spec
from typing import Any

import numpy as np

import tinygrad_vi
from benchmarks.match import Call, match
from benchmarks.measure import Table
from tinygrad_vi import compile, hessian, jacobian

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


def one(name: str, title: str, f: Callable[[Any, Any], Any], x: Any, second: bool, quick: bool) -> Table:
    makers = contestants(f, len(x), second, eager=len(x) <= 300)
    calls = {name: partial(_ready, make, x) for name, make in makers.items()}
    return match(name, title, calls, quick)


def _ready(make: Callable[[], Matrix], x: Any) -> Call:
    return partial(make(), x)


def run(repeats: int, quick: bool) -> Iterator[Table]:  # noqa: ARG001
    """The Jacobians of bundle adjustment, then the Hessians of the chain."""
    for size in [(3, 10, 2)] if quick else [(8, 52, 5), (20, 110, 8)]:
        bundle = Bundle(*size)
        m, n = 2 * len(bundle.sights), len(bundle.x)
        title = f"Jacobian of bundle adjustment, {m:,} by {n:,}"
        yield one(f"bundle {m:,}", title, bundle.residuals, bundle.x, False, quick)
    for n in (20,) if quick else (100, 400, 2000):
        x = np.where(np.arange(n) % 2, 1.0, -1.2)
        title = f"Hessian of Lukšan and Vlček's chain, N = {n:,}"
        yield one(f"chain {n:,}", title, lambda x, of: luksan_vlcek(x), x, True, quick)
