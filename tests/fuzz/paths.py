"""Every way the library has to a value or a derivative of a program."""

from __future__ import annotations

import asyncio
import copy
import pickle
import threading
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec

import tinygrad_vi
from tinygrad_vi import Tape, Value, fit, hessian, hvp, jvp, no_grad, optim, value_and_grad

from . import programs

#: what the text of a program may call
NAMESPACE = (
    {name: getattr(tinygrad_vi, name) for name in dir(tinygrad_vi) if name != "abs"}
    | {"round": round}
    | {"inf": float("inf")}
)
RATE = 0.01


@dataclass
class Case:
    """A program with its function, at one example (eager paths) or at all (compiled ones)."""

    program: programs.Program
    f: object
    row: tuple = ()

    def leaves(self):
        """Fresh Values for the parameters, the example and what is captured."""
        program = self.program
        return [[Value(float(x)) for x in some] for some in (program.parameters, self.row, program.captured)]

    def of_parameters(self):
        """The program as a function of the parameters alone."""
        _, x, k = self.leaves()
        return lambda w: self.f(w, x, k)

    def gives_a_value(self):
        """Whether the result is a Value (or an error) and not a mere number."""
        try:
            return isinstance(self.f(*Case(self.program, self.f, self.program.examples[0]).leaves()), Value)
        except (ArithmeticError, ValueError):
            return True

    @property
    def point(self):
        return [float(p) for p in self.program.parameters]


def case(program):
    """The program, ready to be run."""
    return Case(program, programs.function(program, NAMESPACE))


# --- Eager: at one example --------------------------------------------------------------------------------------------


def _slopes(ws):
    return [float(getattr(w.grad, "data", w.grad)) for w in ws]


def _swept(y, ws):
    y.backward()
    return {"value": [y.data], "gradient": _slopes(ws)}


def by_backward(c):
    w, x, k = c.leaves()
    return _swept(c.f(w, x, k), w)


def by_grad(c):
    value, gradient = value_and_grad(c.of_parameters())(c.point)
    return {"value": [value], "gradient": gradient}


def by_grad_in_no_grad(c):
    with no_grad():
        return by_grad(c)


def by_forward(c):
    value, slope = jvp(c.of_parameters(), (c.point,), (c.program.direction,))
    return {"value": [value], "slope": [slope]}


def by_tape(c):
    w, x, k = c.leaves()
    y = c.f(w, x, k)
    tape = Tape(y, inputs=w)
    adjoint = tape.adjoint()
    slope = tape.tangent(dict(zip(w, c.program.direction, strict=True)))[y]
    return {"value": [y.data], "slope": [slope], "gradient": [adjoint[v] for v in w]}


def by_create_graph(c):
    w, x, k = c.leaves()
    y = c.f(w, x, k)
    y.backward(create_graph=True)
    gradient = [v.grad for v in w]
    found = {"value": [y.data], "gradient": _slopes(w)}
    along = sum((g * s for g, s in zip(gradient, c.program.direction, strict=True)), Value(0.0))
    for v in w:
        v.grad = 0.0
    along.backward()
    return found | {"curvature": _slopes(w)}


def by_hvp(c):
    return {"curvature": hvp(c.of_parameters())(c.point, c.program.direction)}


def _times_direction(matrix, direction):
    return [sum(h * s for h, s in zip(row, direction, strict=True)) for row in matrix]


def by_hessian(c):
    return {"curvature": _times_direction(hessian(c.of_parameters())(c.point), c.program.direction)}


def by_no_grad(c):
    w, x, k = c.leaves()
    with no_grad():
        return {"value": [c.f(w, x, k).data]}


def _copied(c, copied):
    """backward on a copy of the result, an inner node and the parameters, which must still be one graph."""
    w, x, k = c.leaves()
    y = c.f(w, x, k)
    inner = next((v for v in y.parents if v.parents), y)
    y2, inner2, w2 = copied((y, inner, w))
    found = _swept(y2, w2)
    y.backward()
    a, b = inner.grad, inner2.grad
    if a != b and a == a:
        raise AssertionError(f"an inner node has the adjoint {b}, in the original {a}: the copy is no longer one graph")
    return found


def by_pickle(c):
    return _copied(c, lambda graph: pickle.loads(pickle.dumps(graph)))


def by_deepcopy(c):
    return _copied(c, copy.deepcopy)


def by_thread(c):
    """In another thread, while this one records nothing."""
    found = []

    def work():
        try:
            found.append(by_backward(c))
        except Exception as error:
            found.append(error)

    thread = threading.Thread(target=work)
    with no_grad():
        thread.start()
        thread.join()
    if isinstance(found[0], Exception):
        raise found[0]
    return found[0]


def by_task(c):
    """In a task, while another one waits inside no_grad."""

    async def silent(entered, leave):
        with no_grad():
            entered.set()
            await leave.wait()

    async def both():
        entered, leave = asyncio.Event(), asyncio.Event()
        other = asyncio.ensure_future(silent(entered, leave))
        await entered.wait()
        try:
            return by_backward(c)
        finally:
            leave.set()
            await other

    return asyncio.run(both())


EAGER = {
    "backward": by_backward,
    "grad": by_grad,
    "grad in no_grad": by_grad_in_no_grad,
    "jvp": by_forward,
    "tape": by_tape,
    "create_graph": by_create_graph,
    "hvp": by_hvp,
    "hessian": by_hessian,
    "no_grad": by_no_grad,
    "pickle": by_pickle,
    "deepcopy": by_deepcopy,
    "thread": by_thread,
    "task": by_task,
}


# --- Compiled: at all examples ----------------------------------------------------------------------------------------


class Bench:
    """A program compiled in one way, asked in all ways."""

    def __init__(self, c, backend, way="closure"):
        program = c.program
        _, _, k = c.leaves()
        w = [Value(float(p)) for p in program.parameters]
        self.w, self.c = w, c
        self.data = [[[float(x) for x in row] for row in program.examples]] if program.examples[0] else []
        rows = program.examples
        options = {"backend": backend}
        if way == "argument":
            fn = (lambda theta, x: c.f(theta, x, k)) if self.data else (lambda theta: c.f(theta, (), k))
        elif way == "loop":
            options["params"] = w
            self.data = []
            n = len(rows)
            fn = lambda: sum(c.f(w, [Value(float(x)) for x in row], k) for row in rows) / n  # noqa: E731
        else:
            options["params"] = w
            fn = (lambda x: c.f(w, x, k)) if self.data else (lambda: c.f(w, (), k))
        self.step = tinygrad_vi.compile(fn, **options)
        if way == "moved":
            self._trace_elsewhere()

    def _trace_elsewhere(self):
        """Let it be traced at other parameters, where the program is defined, if such are found."""
        for x in (1.0, 0.5, 2.0):
            with suppress(ArithmeticError, ValueError):
                self.step.value_and_grad([x] * len(self.w), *self.data)
                return

    def ask(self, what):
        step, theta, data, direction = self.step, self.c.point, self.data, self.c.program.direction
        if what == "value":
            return {"value": [step(theta, *data)]}
        if what == "each":
            found = step.each(theta, *data)
            return {"each": found.ravel().tolist()}
        if what == "gradient":
            value, gradient = step.value_and_grad(theta, *data)
            return {"value": [value], "gradient": gradient.tolist()}
        if what == "jacobian":
            return {"rows": step.jacobian(theta, *data).ravel().tolist()}
        if what == "jvp":
            value, slope = step.jvp(theta, direction, *data)
            return {"value": [value], "slope": [slope]}
        if what == "hvp":
            return {"curvature": step.hvp(theta, direction, *data).tolist()}
        if what == "hessian":
            return {"curvature": _times_direction(step.hessian(theta, *data).tolist(), direction)}
        assert what == "fit"
        optimizer = optim.SGD(self.w, learning_rate=RATE)
        fit(self.step, *self.data, optimizer=optimizer, epochs=1, seed=None, progress=False)
        return {"moved": [w.data for w in self.w]}


QUESTIONS = ("value", "each", "gradient", "jacobian", "jvp", "hvp", "hessian", "fit")
BACKENDS = ("numpy", "native") if find_spec("numba") else ("numpy",)


def by_eager_fit(c):
    """One step of gradient descent on all examples."""
    _, _, k = c.leaves()
    w = [Value(float(p)) for p in c.program.parameters]
    X = [[float(x) for x in row] for row in c.program.examples]
    optimizer = optim.SGD(w, learning_rate=RATE)
    fit(lambda x: c.f(w, [Value(v) if isinstance(v, float) else v for v in x], k), X, params=w, optimizer=optimizer, epochs=1,
        seed=None, progress=False)  # fmt: skip
    return {"moved": [v.data for v in w]}
