"""A function of a vector, written once in scalar code, and those who take its value and gradient.

The scalar text is run by our compiler, by CasADi (a graph of scalars) and by HIPS autograd; whoever uses JAX writes it
with arrays, and a loop in time as ``lax.scan``.  An array text without such loops serves autograd too, which is a
hundred times slower with scalars.  CasADi stands twice: called with matrices, as people do, and through buffers of
numbers, which spares a call its 20 to 30 microseconds of Python.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

import numpy as np

import tinygrad_vi
from benchmarks.match import Call, match, summary
from benchmarks.measure import Table
from benchmarks.peers import BOUND, EAGER, OURS, casadi_mean
from tinygrad_vi import compile

Array = Any
JAX, CASADI, BUFFERS, AUTOGRAD = "jax.jit", "CasADi SX", "CasADi SX, buffers", "autograd"


@dataclass(frozen=True)
class Case:
    """A function to differentiate, at a point.

    scalar: (x, functions) -> a number; or (x, row, functions) for one of the examples in data, over which the mean is
    taken.  arrays: given NumPy's functions (those of JAX, of autograd), the same as a function (x), or (x, data).
    scan: whether arrays needs JAX itself.
    """

    title: str
    x: Array
    scalar: Callable[..., Any]
    arrays: Callable[[Any], Callable[..., Any]]
    data: Array = None
    scan: bool = False
    targets: Mapping[str, float] | None = None


# --- The functions of each library ------------------------------------------------------------------------------------

SHARED = ("exp", "log", "sin", "cos", "sqrt")


def casadis() -> Any:
    import casadi

    def logsumexp(xs: Iterable[Any]) -> Any:
        xs = casadi.vertcat(*xs)
        top = casadi.mmax(xs)
        return top + casadi.log(casadi.sum1(casadi.exp(xs - top)))

    functions = {name: getattr(casadi, name) for name in SHARED}
    return SimpleNamespace(**functions, minimum=casadi.fmin, logsumexp=logsumexp, total=sum)


def autograds() -> Any:
    import autograd.numpy as np

    def logsumexp(xs: list[Any]) -> Any:
        top = max(x._value if hasattr(x, "_value") else x for x in xs)
        return top + np.log(sum(np.exp(x - top) for x in xs))

    functions = {name: getattr(np, name) for name in SHARED}
    return SimpleNamespace(**functions, minimum=np.minimum, logsumexp=logsumexp, total=sum)


# --- The contestants --------------------------------------------------------------------------------------------------


def given(case: Case) -> tuple[Array, ...]:
    return (case.x,) if case.data is None else (case.x, case.data)


def ours(case: Case, bound: bool = False) -> Call:
    def without_data(x: Any) -> Any:
        return case.scalar(x, tinygrad_vi)

    def with_data(x: Any, row: Any) -> Any:
        return case.scalar(x, row, tinygrad_vi)

    step = compile(without_data if case.data is None else with_data)
    x, *data = given(case)
    return partial(step.bind(*data).value_and_grad if bound else step.value_and_grad, x, *([] if bound else data))


def eager(case: Case) -> Call:
    return partial(tinygrad_vi.value_and_grad(lambda x: case.scalar(x, tinygrad_vi)), case.x)


def jax(case: Case) -> Call:
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)
    run = jax.jit(jax.value_and_grad(case.arrays(jnp)))
    arguments = [jnp.asarray(a) for a in given(case)]
    return lambda: jax.block_until_ready(run(*arguments))


def casadi(case: Case, buffers: bool = False) -> Call:
    import casadi as ca

    t = ca.SX.sym("x", len(case.x))
    row = [] if case.data is None else [ca.SX.sym("row", case.data.shape[1])]
    value = case.scalar(ca.vertsplit(t), *map(ca.vertsplit, row), casadis())
    return casadi_mean(t, row, value, case.x, [] if case.data is None else [case.data], buffers=buffers)


def autograd(case: Case) -> Call:
    import autograd
    import autograd.numpy as anp

    functions = autograds()

    def scalar(x: Any) -> Any:
        return case.scalar([x[i] for i in range(len(case.x))], functions)

    return partial(autograd.value_and_grad(scalar if case.scan else case.arrays(anp)), *given(case))


def contestants(case: Case) -> tuple[dict[str, Callable[[], Call]], dict[str, str]]:
    """What makes the calls of those who take part, and why others do not."""
    makers: dict[str, Callable[[], Call]] = {OURS: partial(ours, case), BOUND: partial(ours, case, bound=True)}
    if len(case.x) <= 10 and case.data is None:
        makers[EAGER] = partial(eager, case)
    absent = {}
    others: list[tuple[str, str, Callable[[Case], Call]]] = [
        (JAX, "jax", jax),
        (CASADI, "casadi", casadi),
        (BUFFERS, "casadi", partial(casadi, buffers=True)),
        (AUTOGRAD, "autograd", autograd),
    ]
    for name, package, make in others:
        if find_spec(package) is None:
            absent[name] = "not installed"
        elif name != AUTOGRAD or not case.scan or case.data is None:
            makers[name] = partial(make, case)
    return makers, absent


def run_all(title: str, makers: Mapping[str, Callable[[], Case]], quick: bool) -> Iterator[Table]:
    """A table for each case, and one of all."""
    tables = []
    for name, make in makers.items():
        case = make()
        calls, absent = contestants(case)
        tables.append(match(name, case.title, calls, quick, absent=absent, targets=case.targets))
        yield tables[-1]
    yield summary(f"{title}: the time of ours, and how many times longer the others take", tables)


def normal(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=shape)
