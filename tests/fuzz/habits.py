"""Functions and threads with habits: what people do besides arithmetic, in random variations.

A habit is a text of Python.  It leaves ``right``, what the function gives when it is simply run on each row, and
``got``, what the compiled function (or `fit`, or this thread after the others are done) gives.  An exception in place of
``got`` is a refusal, which is right where a function does what no trace can follow; another number never is.  A text in
which the plain function itself is refused leaves ``right = REFUSED``.
"""

from __future__ import annotations

import ast
import contextvars
import math
import queue
import random
import threading
import warnings
from collections import Counter, namedtuple
from dataclasses import dataclass, replace

import tinygrad_vi
from tinygrad_vi import Value

from .paths import BACKENDS

REFUSED = "refused"
#: signs of a statement that may be refused
COMPILED = ("asked(", "compile(", "step.", "trained(True)")


@dataclass(frozen=True)
class Habit:
    """kind: the name it is counted under.  text: the program.  refusal: whether an exception for ``got`` is right."""

    kind: str
    text: str
    refusal: bool = True


# --- What the texts may use -------------------------------------------------------------------------------------------


def eager(f, w, X):
    """Value and gradient of f at each row, whose numbers are Values: a flat list."""
    found = []
    for row in X:
        for v in w:
            v.grad = 0.0
        y = f([Value(x) for x in row] if isinstance(row, (list, tuple)) else Value(row))
        y.backward()
        found += [y.data, *[v.grad for v in w]]
    return found


def plain(f, w, X):  # noqa: ARG001
    """f at each row of plain numbers: values alone."""
    return [f(row).data for row in X]


def asked(step, w, X):
    """The same of a compiled function, at the numbers that the parameters have now."""
    theta = [v.data for v in w]
    state = random.getstate()
    values = step.each(theta, X)
    random.setstate(state)  # values and slopes of the same drop-out
    slopes = step.jacobian(theta, X)
    return [number for y, row in zip(values.tolist(), slopes.tolist(), strict=True) for number in (y, *row)]


class Worker:
    """Another thread that does one thing after another, when it is told."""

    def __init__(self):
        self.work, self.done = queue.Queue(), queue.Queue()
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self):
        while (what := self.work.get()) is not None:
            try:
                self.done.put((what(), None))
            except Exception as error:
                self.done.put((None, error))

    def run(self, what, *arguments):
        self.work.put(lambda: what(*arguments))
        result, error = self.done.get(timeout=60)
        if error is not None:
            raise error
        return result

    def start(self, what):
        self.work.put(what)

    def wait(self):
        result, error = self.done.get(timeout=60)
        if error is not None:
            raise error
        return result

    def end(self):
        self.work.put(None)
        self.thread.join(60)


def slope():
    """The derivative of x*x at 3."""
    x = Value(3.0)
    y = x * x
    y.backward()
    return x.grad


def namespace():
    """Names for a text."""
    import numpy as np

    names = {name: getattr(tinygrad_vi, name) for name in dir(tinygrad_vi) if name != "abs"}
    return names | {
        "eager": eager, "plain": plain, "asked": asked, "Worker": Worker, "slope": slope, "np": np, "math": math,
        "random": random, "REFUSED": REFUSED, "threading": threading, "Context": contextvars.Context,
        "copy_context": contextvars.copy_context, "Counter": Counter, "namedtuple": namedtuple,
    }  # fmt: skip


# --- One trace taken for the function ---------------------------------------------------------------------------------

ROWS = "X = {X}\nw = [Value({a}), Value({b})]\n"
COMPARED = 'got = asked(compile(f, w, backend="{backend}"), w, X)'


def _facts(r):
    numbers = r.sample((-2.5, -1.5, -1.0, -0.5, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0), 4)
    return {
        "X": numbers, "a": r.choice((0.5, 1.5, -0.7, 2.0)), "b": r.choice((0.3, -1.2, 2.5)), "backend": r.choice(BACKENDS),
        "c": (min(numbers) + max(numbers)) / 2, "d": r.choice((0.25, 3.0, -4.0)), "n": numbers[r.randrange(4)],
        "act": r.choice(("tanh", "sigmoid", "relu", "exp", "sin")), "i": r.randrange(2),
    }  # fmt: skip


BRANCHES = (
    "w[0] * x if x.data > {c} else w[1] * x * x",
    "{act}(w[0] * x) if x.data <= {c} else x - w[1]",
    "w[0] * x * int(x.data)",
    "w[0] * round(x.data) + w[1]",
    "w[0] * x + w[1] * math.floor(x.data)",
    "w[0] * x + w[1] * math.exp(x.data)",
    "sum([w[0] * x] * (1 + int(abs(x.data)))) + w[1]",
    "[w[0], w[1]][int(x.data > {c})] * x + w[0] + w[1]",
    "w[0] * x if x.data == {n} else w[1] * x",
    "w[0] * x if f'{{x.data:.1f}}' == '{n:.1f}' else w[1] - x",
    "max([w[0] * x, w[1] * x], key=lambda v: v.data)",
    "min([w[0] * x, w[1] * x, w[0] - w[1]], key=lambda v: v.data) * x",
    "sorted([w[0] * x, w[1] + x], key=lambda v: v.data)[0]",
    "w[0] * x if x.data.is_integer() else w[1] * x",
    "w[0] * x if (w[0] * x).data > {c} else w[1] * x",
    "w[0] * x if x > {c} else w[1] * x",
    "w[0] * x if x else w[1] * x",
    "w[0] * x + (w[1] if x >= {c} and x.data > 0 else 0.0)",
    "max(w[0] * x, w[1])",
    "w[0] * x if x == {n} else w[1] * x",
    "w[0] * abs(x.data) + w[1] * x",
    "w[0] * x if math.copysign(1.0, x.data) > 0 else w[1]",
    "w[0] * x + w[1] * hash(x.data)",
)


def branch(r):
    facts = _facts(r)
    text = ROWS + "f = lambda x: " + r.choice(BRANCHES) + "\nright = eager(f, w, X)\n" + COMPARED
    return Habit("branch on data", text.format(**facts))


HASHED = (
    "w[0] * (2.0 if x in {{{n}, 7.0}} else 3.0) + w[1]",
    "w[0] * {{{n}: 2.0}}.get(x, 5.0) + w[1]",
    "w[0] * Counter([x, {n}])[{n}] + w[1]",
    "w[0] * len({{x, {n}}}) + w[1]",
    "w[0] * len(dict.fromkeys([x, {n}, {d}])) + w[1]",
    "w[0] * (x in frozenset([{n}])) + w[1]",
)


def hashed(r):
    facts = _facts(r)
    text = ROWS + "f = lambda x: " + r.choice(HASHED)
    text += '\nright = plain(f, w, X)\ngot = compile(f, w, backend="{backend}").each([v.data for v in w], X).tolist()'
    return Habit("hash of data", text.format(**facts))


DETACHED = (
    "f = lambda x: w[0] * x + Value((w[1] * x).data)",
    "f = lambda x: w[0] * Value(x.data) + w[1]",
    "f = lambda x: w[0] * x * (w[1] * x).data + w[1]",
    "def f(x):\n    with no_grad():\n        s = {act}(w[1] * x)\n    return w[0] * x * s + w[1]",
    "def f(x):\n    with no_grad():\n        s = x * x\n    return w[0] * s + w[1]",
    "f = lambda x: (w[0] * x - Value((w[1] * x).data, 'target')) ** 2",
    "f = lambda x: w[0] * x / total([abs(x).data, 1.0]) + w[1]",
    "def f(x):\n    with no_grad():\n        s = exp(w[0] - x)\n    return w[0] * x + w[1] * Value(s.data)",
)


def detached(r):
    facts = _facts(r)
    text = ROWS + r.choice(DETACHED) + "\nright = eager(f, w, X)\n" + COMPARED
    return Habit("stopped gradient: no_grad or Value(v.data) inside", text.format(**facts))


DETACHED_PARAMETER = (
    "f = lambda x: w[0] * x + Value(w[1].data) * x",
    "f = lambda x: w[0] * x * w[1].data + w[1]",
    "def f(x):\n    with no_grad():\n        s = w[0] * w[1]\n    return w[0] * x * s + w[1]",
    "f = lambda x: (w[0] * x if w[1].data > 0 else w[0] - x) + w[1]",
)


def detached_parameter(r):
    facts = _facts(r)
    text = ROWS + r.choice(DETACHED_PARAMETER) + '\nstep = compile(f, w, backend="{backend}")\nasked(step, w, X)\n'
    text += "w[1].data = -2.0 * w[1].data\nright = eager(f, w, X)\ngot = asked(step, w, X)"
    return Habit("a parameter's number read inside, then moved", text.format(**facts))


DRAWS = (
    "random.gauss(0.0, 1.0)", "random.random()", "random.uniform(-1.0, 1.0)", "random.choice([1.0, 2.0, 5.0])",
    "random.randint(0, 10)", "np.random.normal()", "np.random.default_rng().normal()", "random.Random().random()",
)  # fmt: skip


def drawn(r):
    facts = _facts(r) | {"draw": r.choice(DRAWS), "op": r.choice("+*")}
    text = (
        ROWS + "f = lambda x: w[0] * x {op} {draw} + w[1]\nrandom.seed(1)\nnp.random.seed(1)\nright = eager(f, w, X)\n"
    )
    text += "random.seed(1)\nnp.random.seed(1)\n" + COMPARED
    return Habit("random draws inside", text.format(**facts))


CAPTURED = (
    ("captured Value", "c = Value({d})", "w[0] * x + c * w[1]", "c.data = 7.0"),
    ("captured Value", "c = Value({d}, 'c')", "w[0] * x + c * w[1]", "c.data = 7.0"),
    ("captured Value", "c = [Value({d}), Value(1.0)]", "dot(c, [w[0], w[1]], 0.0) * x", "c[1].data = -3.0"),
    ("captured Value", "c = Value(1.0)", "c * w[0] * x + w[1]", "c.data = 2.0"),
    ("captured Value", "c = Value(0.0)", "c + w[0] * x + w[1]", "c.data = 2.0"),
    ("captured Value", "c = Value(2.0)", "{act}(c) * w[0] * x + w[1]", "c.data = 3.0"),
    ("captured Value", "c = Value(2.0); e = c * c", "e * w[0] * x + w[1]", "c.data = 3.0; e = c * c"),
    ("captured Value", "c = Value(0.5)", "where(x - c, w[0] * x, w[1] * x)", "c.data = -9.0"),
    ("captured Value", "c = Value(2.0)", "w[0] * x + w[1] + c", "c = Value(5.0)"),
    ("captured model", "c = nn.MLP(1, [2, 1], seed=1)", "w[0] * c([x]) + w[1]", "c.parameters()[0].data += 1.0"),
    ("captured model", "c = nn.MLP(1, [1], seed=1)", "w[0] + tanh(c([x])) * w[1]", "c.parameters()[-1].data = 4.0"),
    ("captured number", "c = [{d}]", "w[0] * x * c[0] + w[1]", "c[0] = 7.0"),
    ("captured number", "c = {{'a': {d}}}", "w[0] * x + c['a'] * w[1]", "c['a'] = 7.0"),
    ("captured number", "c = {d}", "w[0] * x + c * w[1]", "c = 7.0"),
    ("captured number", "c = [1.0, 2.0]", "w[0] * x * sum(c) + w[1]", "c.append(4.0)"),
    ("captured number", "c = np.array([1.0, 2.0])", "w[0] * x * c[1] + w[1]", "c[1] = -3.0"),
    ("captured number", "c = namedtuple('C', 'a')({d})", "w[0] * x * c.a + w[1]", "c = c._replace(a=9.0)"),
    ("captured number", "c = 2", "w[0] * x ** c + w[1]", "c = 3"),
    ("captured function", "c = tanh", "c(w[0] * x) + w[1]", "c = relu"),
    ("captured flag", "c = True", "(w[0] * x if c else w[1] * x)", "c = False"),
)


def captured(r):
    kind, made, expression, changed = r.choice(CAPTURED)
    facts = _facts(r)
    text = (
        ROWS
        + made
        + "\nf = lambda x: "
        + expression
        + '\nstep = compile(f, w, backend="{backend}")\nasked(step, w, X)\n'
    )
    text += changed + "\nright = eager(f, w, X)\ngot = asked(step, w, X)"
    return Habit(kind + " changes after the trace", text.format(**facts))


def captured_in_loop(r):
    """Data inside the function, which is then changed: a batch is found in it."""
    facts = _facts(r)
    value = r.choice(("Value({0})", "Value({0}, 'x')"))
    facts["rows"] = "[" + ", ".join(value.format(x) for x in facts["X"]) + "]"
    text = (
        "X = {rows}\nw = [Value({a}), Value({b})]\nf = lambda: sum((w[0] * x + w[1] - {d}) ** 2 for x in X) / 4\n"
        'step = compile(f, w, backend="{backend}")\nstep.grad([v.data for v in w])\nX[1].data = 9.0\n'
        "y = f(); y.backward()\nright = [v.grad for v in w]\ngot = step.grad([v.data for v in w]).tolist()"
    )
    return Habit("captured examples change after the trace", text.format(**facts))


def mode(r):
    facts = _facts(r) | {"p": r.choice((0.3, 0.5, 0.9))}
    text = ROWS + (
        "model = nn.Dropout({p}).eval()\nf = lambda x: model([w[0] * x])[0] + w[1]\n"
        'step = compile(f, w, backend="{backend}")\nasked(step, w, X)\nmodel.train()\nrandom.seed(2)\n'
        "right = eager(f, w, X)\nrandom.seed(2)\ngot = asked(step, w, X)"
    )
    return Habit("eval() when traced, then train()", text.format(**facts))


TARGETS = (
    ("hinge", "[1.0, -1.0, 1.0, {bad}]", (0.0, 0.5, 2.0, -3.0)),
    ("bce", "[1.0, 0.0, 1.0, {bad}]", (2.0, -0.5, 1.5)),
    ("bce_with_logits", "[1.0, 0.0, 1.0, {bad}]", (2.0, -0.5, 1.5)),
)


def targets(r):
    name, rows, bad = r.choice(TARGETS)
    facts = _facts(r) | {"loss": name, "rows": rows.format(bad=r.choice(bad))}
    facts["score"] = "sigmoid(w[0] * x + w[1])" if name == "bce" else "w[0] * x + w[1]"
    text = ROWS + (
        "T = {rows}\nf = lambda x, t: losses.{loss}({score}, t)\n"
        "try:\n    right = [f(Value(x), t).data for x, t in zip(X, T)]\nexcept ValueError:\n    right = REFUSED\n"
        'got = compile(f, w, backend="{backend}").each([v.data for v in w], X, T).tolist()'
    )
    return Habit("a target that is invalid in a later row", text.format(**facts))


def classes(r):
    facts = _facts(r) | {"bad": r.choice((3, -1, 7, 0.5))}
    text = ROWS + (
        "T = [0, 1, 1, {bad}]\nf = lambda x, t: losses.cross_entropy([w[0] * x, w[1], x], t)\n"
        "try:\n    right = [f(Value(x), t).data for x, t in zip(X, T)]\nexcept (ValueError, TypeError, IndexError):\n"
        "    right = REFUSED\n"
        'got = compile(f, w, backend="{backend}").each([v.data for v in w], X, T).tolist()'
    )
    return Habit("a class that is none in a later row", text.format(**facts))


FIT = (
    "X = {X}; T = [2.0 * x - 1.0 for x in X]\n"
    "def trained(compiled):\n"
    "    w = [Value({a}), Value({b})]\n"
    "    loss = lambda x, t: (w[0] * x + w[1] - t) ** 2\n"
    "{before}"
    '    loss = compile(loss, w, backend="{backend}") if compiled else loss\n'
    "    history = fit(loss, X, T, params=w, epochs=4, progress=False, seed={seed}, batch_size={size}{options})\n"
    "    return [v.data for v in w] + history.loss\n"
    "right = trained(False)\ngot = trained(True)"
)
FITS = (
    ("fit: a penalty whose strength a callback changes",
     "    strength = {kind}\n    def stronger(history):\n        strength[0] = 0.5\n",
     ", optimizer=optim.SGD(w, learning_rate=0.02), callbacks=stronger, penalty=lambda: losses.l2(w, {read})"),
    ("fit: a penalty whose strength a callback changes",
     "    strength = [Value(0.1)]\n    def stronger(history):\n        strength[0].data = 0.5\n",
     ", optimizer=optim.SGD(w, learning_rate=0.02), callbacks=stronger,"
     " penalty=lambda: strength[0] * total([v * v for v in w])"),
    ("fit: an optimiser that overrides step",
     "    class Clipped(optim.{rule}):\n        def step(self):\n            for v in self.parameters:\n"
     "                v.grad = max(-0.1, min(0.1, v.grad))\n            super().step()\n",
     ", optimizer=Clipped(w, learning_rate=0.02)"),
    ("fit: an optimiser that overrides step",
     "    class Decayed(optim.{rule}):\n        def step(self):\n            super().step()\n"
     "            for v in self.parameters:\n                v.data *= 0.9\n",
     ", optimizer=Decayed(w, learning_rate=0.02)"),
    ("fit: a callback that moves a parameter",
     "    def moved(history):\n        w[0].data = 0.25\n",
     ", optimizer=optim.{rule}(w, learning_rate=0.02), callbacks=moved"),
    ("fit: a callback that changes the learning rate",
     "    rule = optim.{rule}(w, learning_rate=0.02)\n    def slower(history):\n        rule.learning_rate *= 0.5\n",
     ", optimizer=rule, callbacks=slower"),
    ("fit: options", "", ", optimizer=optim.{rule}(w, learning_rate=0.02), penalty=lambda: losses.l1(w, 0.1)"),
    ("fit: options", "", ", optimizer=optim.{rule}(w, learning_rate=0.02), validation=(X, T), patience=2"),
    ("fit: options", "", ", optimizer=optim.{rule}(w, learning_rate=0.02), schedule=lambda epoch: 0.1 / (1 + epoch)"),
    ("fit: a loss with a coefficient that a callback changes",
     "    c = {kind}\n    loss = lambda x, t: (w[0] * x + w[1] - t) ** 2 * {read2}\n"
     "    def heavier(history):\n        {write2}\n",
     ", optimizer=optim.SGD(w, learning_rate=0.02), callbacks=heavier"),
)  # fmt: skip


def fits(r):
    kind, before, options = r.choice(FITS)
    facts = _facts(r) | {
        "seed": r.choice((None, 0, 1)),
        "size": r.choice((None, 1, 2)),
        "rule": r.choice(("SGD", "Adam")),
    }
    facts |= {"kind": "[0.1]", "read": "strength[0]", "read2": "c[0]", "write2": "c[0] = 3.0"}
    if r.random() < 0.5 and "coefficient" in kind:
        facts |= {"kind": "Value(0.5)", "read2": "c", "write2": "c.data = 3.0"}
    text = FIT.format(**(facts | {"before": before.format(**facts), "options": options.format(**facts)}))
    return Habit(kind, text)


def in_turn(r):
    """Two losses, each of which trains one parameter and uses the other's."""
    facts = _facts(r) | {"label": r.choice(("", ", 'b'"))}
    text = (
        "X = {X}\n"
        "def trained(compiled):\n"
        "    a, b = Value({a}), Value({b}{label})\n"
        "    one, two = (lambda x: (a * x + b - 2.0 * x) ** 2), (lambda x: (a * x + b - 1.0) ** 2)\n"
        '    steps = [compile(f, [p], backend="{backend}") if compiled else f for f, p in ((one, a), (two, b))]\n'
        "    reported = []\n"
        "    for _ in range(3):\n"
        "        for step, p in zip(steps, (a, b)):\n"
        "            rule = optim.SGD([p], learning_rate=0.05)\n"
        "            reported += fit(step, X, params=[p], optimizer=rule, epochs=2, seed=None, progress=False).loss\n"
        "    return [a.data, b.data, *reported]\n"
        "right = trained(False)\ngot = trained(True)"
    )
    return Habit("two losses that train in turn", text.format(**facts))


ARRAYS = (
    "np.sum(np.exp(2 * v))", "np.sum(v * 2)", "(v * v + v).sum()", "np.dot(v, v)", "(3 * v - 1)[0]", "np.sum(v + v)",
    "(v @ v) * 2", "np.mean(v * 3)", "sum(2 * v)",
)  # fmt: skip


def arrays(r):
    facts = _facts(r) | {"expression": r.choice(ARRAYS)}
    text = (
        "x = np.array({X})\nf = lambda v: {expression}\nright = [*np.ravel(grad(f)(x))]\n"
        'got = [*np.ravel(compile(f, backend="{backend}").grad(x))]'
    )
    return Habit("an array given to the function as a list", text.format(**facts))


ROW_EXPRESSIONS = (
    "w[0] * np.sum(v * 2) + w[1]",
    "w[0] * np.sum(np.exp(2 * v)) + w[1]",
    "w[0] * np.mean(3 * v) + w[1]",
    "w[0] * (2 * v - 1)[0] + w[1]",
    "w[0] * total(tanh(u) for u in 3 * v) + w[1]",
    "w[0] * v.sum() + w[1]",
    "np.sum(w[0] * v) + w[1]",
    "w[0] * np.tanh(2 * v)[1] + w[1]",
)


def array_rows(r):
    facts = _facts(r) | {"op": r.choice(ROW_EXPRESSIONS)}
    text = (
        "X = np.array([{X}, [1.0, 2.0, 3.0, 4.0]])\nw = [Value({a}), Value({b})]\nf = lambda v: {op}\n"
        "right = [f(np.array([Value(x) for x in row])).data for row in X]\n"
        'got = compile(f, w, backend="{backend}").each([v.data for v in w], X).tolist()'
    )
    return Habit("rows of an array given to the function as lists", text.format(**facts))


TRACED = (
    branch, branch, branch, hashed, detached, detached, detached_parameter, drawn, captured, captured, captured, captured_in_loop,
    mode, targets, classes, fits, fits, fits, in_turn, arrays, array_rows,
)  # fmt: skip


# --- Modes ------------------------------------------------------------------------------------------------------------

ACTORS = ("main", "t1", "t2", "c1", "c2")


@dataclass(frozen=True)
class Schedule:
    """Who enters and leaves no_grad in which order: actions (actor, "enter" or "leave", number of the context, how)."""

    actions: tuple

    def text(self):
        """As Python: threads t1, t2 and tasks c1, c2 beside this one."""
        used = {actor for actor, *_ in self.actions}
        lines = [f"{t} = Worker()" for t in ("t1", "t2") if t in used]
        lines += [f"{c} = copy_context()" for c in ("c1", "c2") if c in used]
        lines += ["right, got = [], []"]
        if any(how == "generator" for *_, how in self.actions):
            lines += ["def silent():", "    with no_grad():", "        yield"]
        inside = dict.fromkeys(ACTORS, 0)
        for actor, what, number, how in self.actions:
            name = "abcdefgh"[number]
            if what == "check":
                lines += self._check(actor, inside)
                continue
            enter = {"no_grad": f"{name}.__enter__", "generator": f"{name}.__next__"}[how]
            leave = {"no_grad": f"{name}.__exit__, None, None, None", "generator": f"{name}.close"}[how]
            if what == "enter":
                lines.append(f"{name} = {'no_grad' if how == 'no_grad' else 'silent'}()")
            inside[actor] += 1 if what == "enter" else -1
            function, *arguments = (enter if what == "enter" else leave).split(", ")
            call = f"{function}({', '.join(arguments)})"
            lines.append(call if actor == "main" else f"{actor}.run({', '.join([function, *arguments])})")
        for actor in sorted(used | {"main"}):
            lines += self._check(actor, inside)
        lines += [f"{t}.end()" for t in ("t1", "t2") if t in used]
        return "\n".join(lines)

    @staticmethod
    def _check(actor, inside):
        if inside[actor]:
            return []
        return [f"right.append(6.0); got.append({'slope()' if actor == 'main' else f'{actor}.run(slope)'})"]


def schedule(r):
    """Contexts that overlap, in one thread, several threads, tasks, generators."""
    actors = r.sample(ACTORS, r.randint(1, 3))
    open_, actions, count = [], [], 0
    for _ in range(r.randint(3, 10)):
        if count < 5 and (not open_ or r.random() < 0.5):
            actor, how = r.choice(actors), r.choice(("no_grad", "no_grad", "generator"))
            actions.append((actor, "enter", count, how))
            open_.append((actor, count, how))
            count += 1
        else:
            actor, number, how = open_.pop(r.randrange(len(open_)))
            actions.append((actor, "leave", number, how))
        if r.random() < 0.4:
            actions.append((r.choice(actors), "check", 0, ""))
    r.shuffle(open_)
    actions += [(actor, "leave", number, how) for actor, number, how in open_]
    return Schedule(tuple(actions))


def _fewer(found):
    """Schedules with one context or one check less."""
    numbers = {number for _, what, number, _ in found.actions if what != "check"}
    for n in sorted(numbers):
        yield replace(found, actions=tuple(a for a in found.actions if a[1] == "check" or a[2] != n))
    for i, action in enumerate(found.actions):
        if action[1] == "check":
            yield replace(found, actions=(*found.actions[:i], *found.actions[i + 1 :]))


def _name(found):
    """The kind of a schedule: who takes part."""
    actors = {actor for actor, what, *_ in found.actions if what != "check"}
    kinds = sorted({"main": "this thread", "t": "threads", "c": "tasks"}[a if a == "main" else a[0]] for a in actors)
    hows = " and generators" if any(how == "generator" for *_, how in found.actions) else ""
    return "modes: no_grad in " + ", ".join(dict.fromkeys(kinds)) + hows


PREDICTING = (
    ("modes: accuracy in two threads",
     "def slow(i):\n    def model(x):\n        entered[i].set(); leave[i].wait(20)\n        return x - 0.5\n    return model\n"
     "entered, leave = [threading.Event(), threading.Event()], [threading.Event(), threading.Event()]\n"
     "t = [Worker(), Worker()]\n"
     "for i in {start}:\n    t[i].start(lambda i=i: accuracy(slow(i), [0.2], [0])); entered[i].wait(2)\n"
     "{early}for i in {stop}:\n    leave[i].set(); t[i].wait(); t[i].end()\n"),
    ("modes: fit with validation in two threads",
     "entered, leave = [threading.Event(), threading.Event()], [threading.Event(), threading.Event()]\n"
     "def train(i):\n    w = Value(0.5)\n    def loss(x, t):\n        if float(t.data if hasattr(t, 'data') else t) == 9.0:\n"
     "            entered[i].set(); leave[i].wait(20)\n        return (w * x - t) ** 2\n"
     "    fit(loss, [1.0], [2.0], params=[w], validation=([1.0], [9.0]), epochs=1, progress=False)\n"
     "t = [Worker(), Worker()]\n"
     "for i in {start}:\n    t[i].start(lambda i=i: train(i)); entered[i].wait(2)\n"
     "{early}for i in {stop}:\n    leave[i].set(); t[i].wait(); t[i].end()\n"),
)  # fmt: skip


def predicting(r):
    kind, text = r.choice(PREDICTING)
    start = r.choice(("(0, 1)", "(1, 0)"))
    early = r.choice(("", "early = slope()\n"))
    tail = "random.seed(3)\nright = [6.0{more}, True]\ngot = [slope(){early}, 0.0 in nn.Dropout(0.9)([1.0] * 50)]"
    facts = {"start": start, "stop": r.choice(("(0, 1)", "(1, 0)")), "early": early}
    tail = tail.format(more=", 6.0" if early else "", early=", early" if early else "")
    return Habit(kind, text.format(**facts) + tail, refusal=False)


# --- Running ----------------------------------------------------------------------------------------------------------


def outcome(habit):
    """None when the habit is right, else (symptom, got, right)."""
    scope = namespace()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for statement in ast.parse(habit.text).body:
                text = ast.unparse(statement)
                try:
                    exec(text, scope)
                except Exception as error:
                    if habit.refusal and not text.startswith("right") and any(word in text for word in COMPILED):
                        return None  # refused
                    if not habit.refusal:
                        return "false error", f"{type(error).__name__}: {error}", "no error"
                    raise
    finally:
        restore()
    right, got = scope["right"], scope["got"]
    if right is REFUSED:
        return "missing error", str(got), "an error"
    same = len(right) == len(got) and all(_close(a, b) for a, b in zip(right, got, strict=True))
    return None if same else ("another number", _short(got), _short(right))


def _close(a, b):
    a, b = _float(a), _float(b)
    return a == b or abs(a - b) <= 1e-9 * max(abs(a), abs(b), 1e-3)


def _float(x):
    return x.data if isinstance(x, Value) else float(x)


def _short(numbers):
    return "[" + ", ".join(f"{_float(x):.6g}" for x in list(numbers)[:6]) + "]"


def restore():
    """Recording back on, in case that a broken library left it off."""
    if slope() != 6.0:
        from tinygrad_vi.value import recording

        LEFT_OPEN.append(recording(True))
        LEFT_OPEN[-1].__enter__()


LEFT_OPEN = []


class Found:
    """What came of many habits."""

    def __init__(self):
        self.tried, self.kinds, self.examples = Counter(), Counter(), {}

    def try_(self, habit):
        self.tried[habit.kind] += 1
        result = outcome(habit)
        if result:
            self.add(habit.kind, habit.text, result)

    def add(self, kind, text, result):
        key = kind, result[0]
        self.kinds[key] += 1
        known = self.examples.get(key)
        if known is None or len(text) < len(known[0]):
            self.examples[key] = text, result

    def try_schedule(self, found):
        def failure(s):
            return outcome(Habit("", s.text(), refusal=False))

        self.tried["modes: schedules"] += 1
        result = failure(found)
        while result:
            for smaller in _fewer(found):
                again = failure(smaller)
                if again:
                    found, result = smaller, again
                    break
            else:
                self.add(_name(found), found.text(), result)
                return

    def summary(self):
        lines = [
            f"functions and threads with habits: {sum(self.tried.values()):,} tried, {sum(self.kinds.values()):,} disagreements"
        ]
        for kind, tried in sorted(self.tried.items()):
            lines.append(f"{tried:7,}  tried         {kind}")
        for (kind, symptom), n in self.kinds.most_common():
            lines.append(f"{n:7,}  {symptom:15} {kind}")
        return "\n".join(lines)

    def shown(self):
        return "\n\n".join(
            f"# {n} times: {kind}: {symptom}\n{self.examples[kind, symptom][0]}\n"
            f"# got   {self.examples[kind, symptom][1][1]}\n# right {self.examples[kind, symptom][1][2]}"
            for (kind, symptom), n in self.kinds.most_common()
        )


def run(count, seed=0):
    """Try so many habits: two in three of functions, one in three of modes."""
    found = Found()
    for i in range(seed, seed + count):
        r = random.Random(f"habit {i}")
        if i % 3:
            found.try_(r.choice(TRACED)(r))
        elif r.random() < 0.7:
            found.try_schedule(schedule(r))
        else:
            found.try_(predicting(r))
    return found
