"""A compiled function gives what the function gives, or says why not: never another number.

The judge is the function itself, run by the eager engine on each row, as `fit` runs it.
"""

import array
import contextlib
import copy
import dataclasses
import functools
import itertools
import math
import random
import sys
import threading
import types
from collections import ChainMap, Counter
from contextvars import ContextVar
from importlib.util import find_spec

import numpy as np
import pytest

from tinygrad_vi import (
    Value,
    compile,
    exp,
    fit,
    grad,
    losses,
    maximum,
    minimum,
    nn,
    no_grad,
    optim,
    sigmoid,
    sin,
    stop_gradient,
    take,
    tanh,
    training,
    where,
)
from tinygrad_vi.compiler.trace import NotFaithful
from tinygrad_vi.examples import as_values
from tinygrad_vi.graph import topological_order
from tinygrad_vi.nn.module import prediction
from tinygrad_vi.sweep import adjoints

BACKENDS = [
    "numpy",
    pytest.param(
        "native", marks=pytest.mark.skipif(find_spec("numba") is None, reason="the native back end needs Numba")
    ),
]
ROWS = [[0.5, -1.0], [2.0, 0.25], [-0.75, 3.0], [1.0, 1.0]]
RATE = 0.5  # a global that cases change
TABLE = {"rate": 0.5}


class Settings:
    rate = 0.5


def by_itself(fn, parameters, theta, rows):
    """Mean and gradient over the rows, by the eager engine."""
    before = [p.data for p in parameters]
    for p, x in zip(parameters, theta, strict=True):
        p.data = x
    try:
        total, gradient = 0.0, np.zeros(len(parameters))
        for row in rows:
            y = fn(*row)
            flows = adjoints(topological_order([y]), {y: 1.0})
            total += y.data / len(rows)
            gradient += [flows.get(p, 0.0) / len(rows) for p in parameters]
    finally:
        for p, x in zip(parameters, before, strict=True):
            p.data = x
    return total, gradient


def outcome(make, backend):
    """ "same" when value and gradient are the function's own, before and after the change; "refused" for a TypeError."""
    w = [Value(0.7, "a"), Value(-0.4)]
    made = make(w)
    fn, change = made if isinstance(made, tuple) else (made, None)
    step = compile(fn, w, backend=backend)
    for theta in ([0.7, -0.4], [-1.3, 0.2]):
        for changed in (False, True):
            if changed and change is not None:
                change()
            try:
                value, gradient = step.value_and_grad(theta, ROWS)
            except TypeError as error:
                return f"refused: {error}"
            expected, slopes = by_itself(fn, w, theta, [[as_values(row)] for row in ROWS])
            assert value == pytest.approx(expected, rel=1e-12, abs=1e-14), "another number"
            assert gradient == pytest.approx(slopes, rel=1e-12, abs=1e-14), "another gradient"
    assert [p.data for p in w] == [0.7, -0.4]
    return "same"


# --- Functions with something on the side -----------------------------------------------------------------------------


def base(w, x):
    return tanh(w[0] * x[0] + w[1] * x[1])


def by_type(x):
    return 2.0 if isinstance(x, Value) else 3.0


def counting():
    count = [0]

    def f(w, x):
        count[0] += 1
        return base(w, x) * float(count[0])

    return f


def computed_before():
    before = []

    def f(w, x):
        before.append(2.0 * w[0])
        return base(w, x) * before[0]

    return f


def caught(w, x):
    try:
        return base(w, x) * (2.0 if x[0].data > 0.0 else 3.0)
    except TypeError:
        return base(w, x) * 5.0


def caught_where_no_row_shows(w, x):
    try:
        if x[0] > 1e6:
            return w[0] * x[1]
    except TypeError:
        pass
    return base(w, x)


def read_where_no_row_shows(w, x):
    with contextlib.suppress(Exception):
        if x[0].data > 1e6:
            return w[0] * x[1]
    return base(w, x)


def drawing():
    generator = random.Random(0)
    return lambda w, x: base(w, x) * (2.0 if generator.random() < 1e-9 else 3.0)


def counter_object():
    class Counts:
        n = 0

        def __iter__(self):
            return self

        def __next__(self):
            self.n += 1
            return self.n

    counts = Counts()
    return lambda w, x: base(w, x) * (2.0 if next(counts) < 1000 else 3.0)


def later():
    steps = itertools.count()
    return lambda w, x: base(w, x) * (2.0 if next(steps) < 1000 else 3.0)


def alternating():
    flags = iter(range(10**9))
    return lambda w, x: base(w, x) * (2.0 if next(flags) % 2 else 3.0)


def cached_by_row():
    seen = {}

    def f(w, x):
        key = tuple(x)
        return seen.setdefault(key, base(w, x))

    return f


def cached_plainly():
    seen = {}

    def f(w, x):
        seen.setdefault("scale", 3.0)
        return base(w, x) * seen["scale"]

    return f


def kept_from_call_to_call():
    state = [Value(0.0)]

    def f(w, x):
        state[0] = base(w, x) + 0.5 * state[0]
        return state[0]

    return f


def seeded(w, x):
    random.seed(3)
    return base(w, x) * random.gauss(0.0, 1.0)


def gradient_inside(w, x):
    return grad(lambda v: (v * w[0] + w[1]).tanh())(x[0]) * x[1]


def backward_inside(w, x):
    y = base(w, x)
    y.backward()
    return y * w[0].grad


def own_thread(w, x):
    found = []
    thread = threading.Thread(target=lambda: found.append(base(w, x)))
    thread.start()
    thread.join()
    return found[0]


REFUSED = {
    "a branch on the data": lambda w, x: base(w, x) if x[0].data > 0.0 else w[0] * x[1],
    "a branch on a parameter": lambda w, x: base(w, x) if w[0].data > 0.0 else w[1] * x[1],
    "a branch on a result": lambda w, x: base(w, x) if base(w, x).data > 0.0 else w[1] * x[1],
    "a branch on a rounded result": lambda w, x: base(w, x) * round(base(w, x).data),
    "an if": lambda w, x: base(w, x) if x[0] > 0.0 else w[0] * x[1],
    "a gradient stopped by hand": lambda w, x: base(w, x) * Value(base(w, x).data),
    "a parameter stopped by hand": lambda w, x: base(w, x) * Value(w[0].data),
    "a parameter stopped by hand, as a float": lambda w, x: base(w, x) * w[0].data,
    "getattr": lambda w, x: base(w, x) * getattr(x[0], "data"),  # noqa: B009
    "a float": lambda w, x: base(w, x) * float(x[0]),
    "an int": lambda w, x: base(w, x) * int(x[0]),
    "math.exp": lambda w, x: base(w, x) * math.exp(x[0]),
    "a set": lambda w, x: base(w, x) * (2.0 if x[0] in {0.5, 1.0} else 3.0),
    "a dictionary": lambda w, x: base(w, x) * {0.5: 2.0}.get(x[0], 3.0),
    "a counter": lambda w, x: base(w, x) * float(max(Counter(x).values())),
    "the size of a set": lambda w, x: base(w, x) * float(len(set(x))),
    "a frozenset": lambda w, x: base(w, x) * float(len(frozenset(x))),
    "dict.fromkeys": lambda w, x: base(w, x) * float(len(dict.fromkeys(x))),
    "functools.cache": lambda w, x: base(w, x) * functools.cache(by_type)(x[0]),
    "a key of a cache": cached_by_row,
    "hash": lambda w, x: base(w, x) * float(hash(x[0]) % 7),
    "sorted": lambda w, x: sorted([base(w, x), w[0] * x[1]])[0],
    "max": lambda w, x: max(base(w, x), w[0] * x[1]),
    "in a list": lambda w, x: base(w, x) * (2.0 if x[0] in [0.5, 1.0] else 3.0),
    "list.index": lambda w, x: base(w, x) * float([0.5, x[0]].index(x[0])),
    "an index": lambda w, x: base(w, x) * [2.0, 3.0, 4.0][x[0]],
    "range": lambda w, x: sum([base(w, x) for _ in range(x[0])], Value(0.0)),
    "random.gauss": lambda w, x: base(w, x) + random.gauss(0.0, 1.0),
    "random in a branch": lambda w, x: base(w, x) if random.random() < 0.5 else 2.0 * base(w, x) + random.random(),
    "a random number that seldom shows": lambda w, x: base(w, x) * (2.0 if random.random() < 1e-9 else 3.0),
    "numpy's random that seldom shows": lambda w, x: base(w, x) * (2.0 if np.random.random() < 1e-9 else 3.0),
    "a generator of one's own": drawing,
    "another thread": own_thread,
    "what was computed before": computed_before,
    "an exception that is caught": caught,
    "a condition whose refusal is caught": caught_where_no_row_shows,
    "a number whose refusal is caught": read_where_no_row_shows,
    "a counter object": counter_object,
    "an iterator that changes later": later,
    "numpy's random": lambda w, x: base(w, x) * np.random.default_rng().normal(),
    "the address of an object": lambda w, x: base(w, x) * float(id(x) % 1013 + random.random()),
    "a count": counting,
    "an iterator": alternating,
    "a state from call to call": kept_from_call_to_call,
    "backward inside": backward_inside,
    "a copy of an input": lambda w, x: base(w, copy.copy(x)) * copy.copy(x[0]),
    "a deep copy": lambda w, x: base(copy.deepcopy(w), x) + w[0],
    "an assignment": lambda w, x: (setattr(x[0], "data", 1.0), base(w, x))[1],
    "an assignment to a parameter": lambda w, x: (setattr(w[0], "data", 1.0), base(w, x))[1],
    "accuracy inside": lambda w, x: base(w, x) * training.accuracy(lambda v: w[0] * v, [x[0], x[1]], [1, 0]),
    "numbers of a module": lambda w, x: base(w, x) * nn_of(w).state_dict()["a"],
    "NumPy's argmax": lambda w, x: base(w, x) * float(np.argmax(np.array([v.data for v in x]))),
    "numbers by an attrgetter": lambda w, x: base(w, x) * sum(map(__import__("operator").attrgetter("data"), x)),
}  # fmt: skip


MADE = (computed_before, counting, alternating, cached_by_row, kept_from_call_to_call, drawing, counter_object, later)


def nn_of(w):
    module = nn.Module()
    module.a = w[0]
    return module


def with_global(w, x):
    return base(w, x) * RATE


def with_table(w, x):
    return base(w, x) * TABLE["rate"]


def with_class(w, x):
    return base(w, x) * Settings.rate


def with_default(w, x, rates=[0.5]):  # noqa: B006
    return base(w, x) * rates[0]


@dataclasses.dataclass(slots=True)
class Slotted:
    rate: float = 0.5


class Callable:
    def __init__(self):
        self.rate, self.inner = 0.5, types.SimpleNamespace(offset=1.0)

    def __call__(self, w, x):
        return self.method(w, x)

    def method(self, w, x):
        return base(w, x) * self.rate + self.inner.offset


def set_global(value):
    global RATE
    RATE = value


def changing(kind):
    """A function of w and x, and what changes something that it reads."""
    if kind == "a captured Value":
        c = Value(2.0)
        return lambda w, x: base(w, x) * c, lambda: setattr(c, "data", c.data + 1.0)
    if kind == "a captured Value with a label":
        c = Value(2.0, "c")
        return lambda w, x: base(w, x) * c, lambda: setattr(c, "data", c.data + 1.0)
    if kind == "a captured Value read as a float":
        c = Value(2.0)
        return lambda w, x: base(w, x) * c.data, lambda: setattr(c, "data", c.data + 1.0)
    if kind == "a captured Value in a branch":
        c = Value(2.0)
        return lambda w, x: base(w, x) if c.data > 0.0 else w[0] * x[1], lambda: setattr(c, "data", -c.data)
    if kind == "the sign of a captured zero":
        c = Value(0.0)
        return lambda w, x: base(w, x) * (1.0 / (1e-300 + c)) * 1e-300, lambda: setattr(c, "data", -0.0)
    if kind == "a Value of a list":
        cs = [Value(2.0), Value(3.0)]
        return lambda w, x: base(w, x) * cs[1], lambda: setattr(cs[1], "data", cs[1].data + 1.0)
    if kind == "a Value replaced by another of its number":
        cs = [Value(2.0)]

        def replace():
            cs[0] = Value(cs[0].data)
            cs[0].data += 1.0

        return lambda w, x: base(w, x) * cs[0], replace
    if kind == "a float of a list":
        rates = [2.0, 3.0]
        return lambda w, x: base(w, x) * rates[1], lambda: rates.__setitem__(1, rates[1] + 1.0)
    if kind == "a nested list":
        rates = [[2.0], [3.0]]
        return lambda w, x: base(w, x) * rates[1][0], lambda: rates[1].__setitem__(0, rates[1][0] + 1.0)
    if kind == "a list that grows":
        rates = [2.0]
        return lambda w, x: base(w, x) * sum(rates), lambda: rates.append(1.5)
    if kind == "a long list":
        rates = [1.0] * 5000
        return lambda w, x: base(w, x) * rates[4000], lambda: rates.__setitem__(4000, rates[4000] + 1.0)
    if kind == "a dictionary":
        return lambda w, x: with_table(w, x), lambda: TABLE.update(rate=TABLE["rate"] + 1.0)
    if kind == "a set":
        chosen = {0}
        return lambda w, x: base(w, x) * (2.0 if 1 in chosen else 3.0), lambda: chosen.add(1)
    if kind == "a global":
        return lambda w, x: with_global(w, x), lambda: set_global(RATE + 1.0)
    if kind == "an attribute of a class":
        return lambda w, x: with_class(w, x), lambda: setattr(Settings, "rate", Settings.rate + 1.0)
    if kind == "a default argument":
        return lambda w, x: with_default(w, x), lambda: with_default.__defaults__[0].__setitem__(0, 3.0)
    if kind == "a closure":
        rate = 2.0

        def change():
            nonlocal rate
            rate += 1.0

        return lambda w, x: base(w, x) * rate, change
    if kind == "a closure of a function that it calls":
        inner, change = changing("a closure")
        return lambda w, x: 2.0 * inner(w, x), change
    if kind == "a partial":
        settings = types.SimpleNamespace(rate=2.0)
        f = functools.partial(lambda settings, w, x: base(w, x) * settings.rate, settings)
        return f, lambda: setattr(settings, "rate", settings.rate + 1.0)
    if kind == "a method":
        f = Callable()
        return f.method, lambda: setattr(f, "rate", f.rate + 1.0)
    if kind == "an object that is called":
        f = Callable()
        return f, lambda: setattr(f.inner, "offset", f.inner.offset + 1.0)
    if kind == "slots":
        f = Slotted()
        return lambda w, x: base(w, x) * f.rate, lambda: setattr(f, "rate", f.rate + 1.0)
    if kind == "an array":
        rates = np.array([2.0, 3.0])
        return lambda w, x: base(w, x) * float(rates[1]), lambda: rates.__setitem__(1, rates[1] + 1.0)
    if kind == "an array of Values":
        rates = np.array([Value(2.0), Value(3.0)], dtype=object)
        return lambda w, x: base(w, x) * rates[1], lambda: setattr(rates[1], "data", rates[1].data + 1.0)
    if kind == "a module's attribute":
        module = nn.Module()
        module.rate = 2.0
        return lambda w, x: base(w, x) * module.rate, lambda: setattr(module, "rate", module.rate + 1.0)
    if kind == "a module in eval mode, in training":
        model = nn.MLP(2, [3, 1], activation="tanh", dropout=0.5, seed=0).eval()
        return lambda w, x: base(w, x) * model(x), lambda: model.eval()
    if kind == "the weights of a frozen module":
        model = nn.MLP(2, [3, 1], activation="tanh", seed=0)
        return lambda w, x: base(w, x) * model(x), lambda: [
            setattr(p, "data", p.data + 0.1) for p in model.parameters()
        ]
    if kind == "the layers of a module":
        model = nn.MLP(2, [2, 2, 1], activation="tanh", seed=0)
        return lambda w, x: base(w, x) * model(x), lambda: setattr(model, "layers", [model.layers[0], model.layers[-1]])
    if kind == "an attribute of a module's class":
        Scaled = type("Scaled", (nn.Module,), {"scale": 2.0, "forward": lambda self, y: y * self.scale})
        module = Scaled()
        return lambda w, x: module(base(w, x)), lambda: setattr(Scaled, "scale", Scaled.scale + 1.0)
    if kind == "an inherited attribute":
        One = type("One", (), {"scale": 2.0})
        other = type("Other", (One,), {})()
        return lambda w, x: base(w, x) * other.scale, lambda: setattr(One, "scale", One.scale + 1.0)
    if kind == "a property":
        box = type("Box", (), {"rate": property(lambda self: 2.0 * self.half), "half": 1.0})()
        return lambda w, x: base(w, x) * box.rate, lambda: setattr(box, "half", box.half + 1.0)
    if kind == "a cached function":
        rates = [2.0]
        cached = functools.cache(lambda: rates[0])

        def renew():
            rates[0] += 1.0
            cached.cache_clear()

        return lambda w, x: base(w, x) * cached(), renew
    if kind == "a compiled function inside":
        rates, inner = [2.0], compile(lambda p: p * p)
        return lambda w, x: base(w, x) * inner.grad(rates[0]), lambda: rates.__setitem__(0, rates[0] + 1.0)
    if kind == "a module's own list":
        module = nn.Module()
        module._rates = [2.0]
        return lambda w, x: base(w, x) * module._rates[0], lambda: module._rates.__setitem__(0, module._rates[0] + 1.0)
    if kind == "a module's own switch":
        module = type("Switch", (nn.Module,), {"forward": lambda self, y: y * (2.0 if self.training else 3.0)})()
        return lambda w, x: module(base(w, x)), lambda: module.train(not module.training)
    if kind == "a key that appears":
        rates = {}
        return lambda w, x: base(w, x) * rates.get("a", 2.0), lambda: rates.update(a=rates.get("a", 2.0) + 1.0)
    if kind == "an attribute that appears":
        box = types.SimpleNamespace()
        return (
            lambda w, x: base(w, x) * getattr(box, "rate", 2.0),
            lambda: setattr(box, "rate", getattr(box, "rate", 2.0) + 1.0),
        )
    if kind == "a global that appears":
        names = {"base": base, "__name__": "a_module_of_a_user"}
        text = "def f(w, x):\n    try:\n        return base(w, x) * LATER\n    except NameError:\n        return base(w, x)"
        exec(text, names)
        return names["f"], lambda: names.update(LATER=names.get("LATER", 2.0) + 1.0)
    if kind == "an attribute that is computed":
        rates = [2.0]
        lazy = type("Lazy", (), {"__getattr__": lambda self, name: rates[0]})()
        return lambda w, x: base(w, x) * lazy.rate, lambda: rates.__setitem__(0, rates[0] + 1.0)
    if kind == "an array of Python":
        rates = array.array("d", [2.0])
        return lambda w, x: base(w, x) * rates[0], lambda: rates.__setitem__(0, rates[0] + 1.0)
    if kind == "a chain of dictionaries":
        inner = {"rate": 2.0}
        rates = ChainMap({}, inner)
        return lambda w, x: base(w, x) * rates["rate"], lambda: inner.update(rate=inner["rate"] + 1.0)
    if kind == "a context variable":
        rates = ContextVar("rates", default=2.0)
        return lambda w, x: base(w, x) * rates.get(), lambda: rates.set(rates.get() + 1.0)
    if kind == "Values that change places":
        pair = [Value(2.0), Value(3.0)]
        return lambda w, x: base(w, x) * pair[0], lambda: pair.reverse()
    if kind == "a setting of an optimiser":
        settings = optim.SGD([Value(1.0)], 0.5)
        return (
            lambda w, x: base(w, x) * settings.learning_rate,
            lambda: setattr(settings, "learning_rate", settings.learning_rate + 1.0),
        )
    if kind == "the activation of a layer":
        rates = [2.0]
        model = nn.MLP(2, [3, 1], activation=lambda z: tanh(z) * rates[0], seed=0)
        return lambda w, x: base(w, x) * model(x), lambda: rates.__setitem__(0, rates[0] + 1.0)
    if kind == "a matrix of Values":
        matrix = [[Value(float(i)) for i in range(40)] for _ in range(40)]
        return lambda w, x: base(w, x) * matrix[30][3], lambda: matrix[30].__setitem__(
            3, Value(matrix[30][3].data + 1.0)
        )
    if kind == "a module of Python":
        config = types.ModuleType("our_own_config")
        config.rate = 2.0
        return lambda w, x: base(w, x) * config.rate, lambda: setattr(config, "rate", config.rate + 1.0)
    if kind == "a module that is imported inside":
        config = sys.modules["our_own_inner_config"] = types.ModuleType("our_own_inner_config")
        config.rate = 2.0

        def f(w, x):
            import our_own_inner_config

            return base(w, x) * our_own_inner_config.rate

        return f, lambda: setattr(config, "rate", config.rate + 1.0)
    if kind == "a module of a package":
        package, config = types.ModuleType("our_own"), types.ModuleType("our_own.config")
        package.config, config.rate = config, 2.0
        return lambda w, x: base(w, x) * package.config.rate, lambda: setattr(config, "rate", config.rate + 1.0)
    if kind == "an attribute of a function":

        def f(w, x):
            return base(w, x) * f.rate

        f.rate = 2.0
        return f, lambda: setattr(f, "rate", f.rate + 1.0)
    if kind == "an attribute of a function that appears":

        def f(w, x):
            return base(w, x) * getattr(f, "rate", 2.0)

        return f, lambda: setattr(f, "rate", getattr(f, "rate", 2.0) + 1.0)
    if kind == "a function that is replaced":
        box = types.SimpleNamespace(f=tanh)
        return lambda w, x: base(w, x) * box.f(x[0]), lambda: setattr(box, "f", exp)
    raise AssertionError(kind)


CHANGED = [
    "a captured Value", "a captured Value with a label", "a captured Value read as a float",
    "a captured Value in a branch", "the sign of a captured zero", "a Value of a list",
    "a Value replaced by another of its number", "a float of a list", "a nested list", "a list that grows",
    "a long list", "a dictionary", "a set", "a global", "an attribute of a class", "a default argument", "a closure",
    "a closure of a function that it calls", "a partial", "a method", "an object that is called", "slots", "an array",
    "an array of Values", "a module's attribute", "a module in eval mode, in training", "the weights of a frozen module",
    "the layers of a module", "a module of Python", "a function that is replaced",
    "a module that is imported inside", "a module of a package", "an attribute of a function",
    "an attribute of a function that appears",
    "an attribute of a module's class", "an inherited attribute", "a property", "a cached function",
    "a key that appears", "an attribute that appears", "a global that appears", "an attribute that is computed",
    "an array of Python", "a chain of dictionaries", "a context variable", "Values that change places",
    "a setting of an optimiser", "the activation of a layer", "a matrix of Values",
    "a compiled function inside", "a module's own list", "a module's own switch",
]  # fmt: skip


def number_or_value(w, x):
    try:
        return base(w, x) * float(w[0])
    except TypeError:  # as in eager code
        return base(w, x) * w[0]


SAME = {
    "an exception that eager code raises too": number_or_value,
    "stop_gradient": lambda w, x: base(w, x) * stop_gradient(base(w, x)),
    "detach": lambda w, x: base(w, x) * base(w, x).detach(),
    "no_grad": lambda w, x: base(w, x) * without_gradient(lambda: base(w, x) * w[0]),
    "no_grad, where a derivative is infinite": lambda w, x: base(w, x) * without_gradient(lambda: (0.0 * w[0]) ** 0.5),
    "no_grad of a module": lambda w, x: base(w, x) * without_gradient(lambda: nn.Neuron(2, seed=0)(x)),
    "where": lambda w, x: where(x[0], base(w, x), w[0] * x[1]),
    "maximum": lambda w, x: maximum(base(w, x), minimum(w[0] * x[1], 0.3)),
    "take": lambda w, x: take([base(w, x), w[0]], where(x[0], 1.0, 0.0)),
    "a derivative inside": gradient_inside,
    "a table of what was computed": cached_plainly,
    "random numbers, seeded at each call": seeded,
    "seeded random numbers": lambda w, x: base(w, x) * random.Random(7).gauss(0.0, 1.0),
    "isinstance": lambda w, x: base(w, x) * by_type(x[0]),
    "parameters as keys": lambda w, x: sum([v * scale for v, scale in {w[0]: 2.0, w[1]: 3.0}.items()]) * base(w, x),
    "a set of parameters": lambda w, x: base(w, x) * float(len({*w, *w})),
    "text for people": lambda w, x: (f"{base(w, x)} {x[0]:.3f} {w!r}", base(w, x))[1],
    "an array made inside": lambda w, x: np.sum(np.tanh(np.array(w) * np.array(x))),
    "branches on plain numbers": lambda w, x: base(w, x) if len(x) == 2 else w[0],
}


def without_gradient(f):
    with no_grad():
        return f()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", REFUSED)
def test_what_one_example_would_decide_for_all_is_refused(name, backend):
    def make(w):
        f = REFUSED[name]
        f = f() if f in MADE else f
        return lambda x: f(w, x)

    assert outcome(make, backend).startswith("refused")


@pytest.mark.parametrize(
    "f",
    [
        lambda w, x: base(w, x) * float(f"{w[0]:.1f}"),
        lambda w, x: base(w, x) * float(f"{x[0]:.1f}"),
        lambda w, x: base(w, x) * {"Value(data=0.7, grad=0.0, label='a')": 2.0}[str(w[0])],
    ],
)
def test_a_text_is_for_people_and_no_number(f):
    w = [Value(0.7, "a"), Value(-0.4)]
    with pytest.raises((ValueError, KeyError), match="traced at 0"):
        compile(lambda x: f(w, x), w)([0.7, -0.4], ROWS)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", CHANGED)
def test_what_changes_afterwards_is_seen(kind, backend):
    def make(w):
        f, change = changing(kind)
        return (lambda x: f(w, x)), change

    try:
        assert outcome(make, backend) == "same"
    finally:
        set_global(0.5)
        TABLE["rate"] = Settings.rate = with_default.__defaults__[0][0] = 0.5


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", SAME)
def test_what_can_be_followed_is_followed(name, backend):
    def make(w):
        f = SAME[name]
        f = f() if f is cached_plainly else f
        return lambda x: f(w, x)

    assert outcome(make, backend) == "same"


# --- What the errors say, and whether it works when followed ----------------------------------------------------------

X = [0.5, -1.0, 2.0, -0.25]


def refusal(f, data=X):
    w = [Value(0.7, "a"), Value(-0.4)]
    step = compile(lambda x: f(w, x), w, backend="numpy")
    with pytest.raises(TypeError) as caught:
        step.value_and_grad([0.7, -0.4], data)
    return str(caught.value)


ADVICE = {  # what is refused, what its error says to write, and that
    "a branch": (
        lambda w, x: w[0] * x if x.data > 0.0 else w[1] * x,
        r"where(c, x, y)",
        lambda w, x: where(x, w[0] * x, w[1] * x),
    ),
    "an if": (
        lambda w, x: w[0] * x if x > 0.0 else w[1] * x,
        r"where(c, x, y)",
        lambda w, x: where(x, w[0] * x, w[1] * x),
    ),
    "a bound": (
        lambda w, x: w[0] * max(x.data, 0.1),
        "maximum and minimum",
        lambda w, x: w[0] * maximum(x, 0.1),
    ),
    "a look-up": (
        lambda w, x: w[0] * [2.0, 3.0][int(x.data > 0.0)],
        "take(table, i)",
        lambda w, x: w[0] * take([2.0, 3.0], where(x, 1.0, 0.0)),
    ),
    "a stopped gradient": (
        lambda w, x: w[0] * x * Value((w[1] * x).data),
        "stop_gradient(v)",
        lambda w, x: w[0] * x * stop_gradient(w[1] * x),
    ),
    "a float": (
        lambda w, x: w[0] * float(x) ** 2,
        "stop_gradient(v)",
        lambda w, x: w[0] * stop_gradient(x) ** 2,
    ),
    "backward": (
        lambda w, x: ((w[0] * x) ** 2).backward() or w[0] * w[0].grad,
        "grad(f)(x)",
        lambda w, x: w[0] * grad(lambda v: (v * x) ** 2)(w[0]),
    ),
    "a key": (
        lambda w, x: w[0] * {0.5: 2.0}.get(x, 3.0),
        "where(c, x, y)",
        lambda w, x: w[0] * where(x == 0.5, 2.0, 3.0),
    ),
}  # fmt: skip


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ADVICE)
def test_the_advice_of_a_refusal_works_when_it_is_followed(name, backend):
    refused, advice, followed = ADVICE[name]
    assert advice in refusal(refused)
    w = [Value(0.7, "a"), Value(-0.4)]
    step = compile(lambda x: followed(w, x), w, backend=backend)
    for theta in ([0.7, -0.4], [-1.3, 0.2]):
        value, gradient = step.value_and_grad(theta, X)
        plain = ADVICE_BY_HAND[name]
        expected = np.mean([plain(theta, x) for x in X])
        assert value == pytest.approx(expected, rel=1e-13)
        h = 1e-6
        if name not in STOPPED:
            for i in range(2):
                up, down = ([t + s * h * (j == i) for j, t in enumerate(theta)] for s in (1, -1))
                slope = np.mean([plain(up, x) - plain(down, x) for x in X]) / (2 * h)
                assert gradient[i] == pytest.approx(slope, rel=1e-6, abs=1e-8)
    if name == "a stopped gradient":  # w0*x * (w1*x) as a number: by w0 alone
        assert gradient == pytest.approx([np.mean([x * theta[1] * x for x in X]), 0.0])


STOPPED = {"a stopped gradient"}
ADVICE_BY_HAND = {
    "a branch": lambda t, x: t[0] * x if x > 0 else t[1] * x,
    "an if": lambda t, x: t[0] * x if x > 0 else t[1] * x,
    "a bound": lambda t, x: t[0] * max(x, 0.1),
    "a look-up": lambda t, x: t[0] * [2.0, 3.0][int(x > 0)],
    "a stopped gradient": lambda t, x: t[0] * x * t[1] * x,
    "a float": lambda t, x: t[0] * x**2,
    "backward": lambda t, x: t[0] * 2 * t[0] * x * x,
    "a key": lambda t, x: t[0] * {0.5: 2.0}.get(x, 3.0),
}


@pytest.mark.parametrize("holder", ["a list", "an object", "a closure"])
def test_another_value_with_the_same_number_is_seen(holder):
    w = Value(2.0)
    held, other = [Value(2.0)], types.SimpleNamespace(rate=Value(2.0))
    of_closure = Value(2.0)
    f = {
        "a list": lambda x: w * held[0] * x,
        "an object": lambda x: w * other.rate * x,
        "a closure": lambda x: w * of_closure * x,
    }[holder]
    step = compile(f, [w], backend="numpy")
    assert step.value_and_grad([2.0], [3.0]) == (12.0, [6.0])
    held[0] = other.rate = of_closure = w
    assert step.value_and_grad([2.0], [3.0]) == (12.0, [12.0])  # of w * w * x


def test_an_array_that_is_filled_anew_is_another_example():
    w, x = Value(2.0), np.array([[0.9]])
    step = compile(lambda x: w * x[0] * training.accuracy(lambda v: v - 0.6, [x[0]], [1]), [w], backend="numpy")
    assert step([2.0], x) == 1.8
    x[:] = 0.25  # of which the accuracy is 0
    with pytest.raises(TypeError, match="run on two examples"):
        step([2.0], x)


def test_random_numbers_are_told_where_numpys_were_never_imported(monkeypatch):
    monkeypatch.delitem(sys.modules, "numpy.random", raising=False)
    assert "draws random ones" in refusal(lambda w, x: w[0] * x * (2.0 if random.random() < 1e-9 else 3.0))


def test_an_error_names_the_first_operation_that_differs_and_its_line():
    line = sys._getframe().f_lineno + 4

    def f(w, x):
        y = w[0] * x
        noise = y * random.gauss(0.0, 1.0)
        return y + noise

    text = refusal(f)
    assert f"At test_faithful.py:{line} it is mul(#1, " in text
    assert "for the one and mul(#1, " in text
    assert "draw random numbers beforehand" in text


def test_random_numbers_as_a_column_of_the_data_are_the_advice():
    w = [Value(0.7), Value(-0.4)]
    noise = [0.3, -0.2, 1.5, 0.0]
    step = compile(lambda x, e: w[0] * x + e, w, backend="numpy")
    assert step([2.0, 0.0], X, noise) == pytest.approx(np.mean([2.0 * x + e for x, e in zip(X, noise, strict=True)]))


def test_an_error_shows_another_number_of_operations():
    lengths = iter([3, 4] * 10)

    def f(w, x):
        for _ in range(next(lengths)):
            x = tanh(w[0] * x)
        return x

    assert "It takes 6 operations for the one and 8 for the other" in refusal(f)


# --- Whole numbers ----------------------------------------------------------------------------------------------------


def test_whole_numbers_that_decide_by_their_type_are_refused():
    w = [Value(0.7)]
    f = lambda x: w[0] * (2.0 if isinstance(x, int) else 3.0)  # noqa: E731
    with pytest.raises(NotFaithful, match=r"compiled it gives 2.09.* on row [012] of the data, run by itself 1.4"):
        compile(f, w)([0.7], [1, 2, 3])
    assert compile(f, w)([0.7], [1.5, 2.5]) == pytest.approx(2.1)
    assert compile(f, w, verify=False)([0.7], [1, 2, 3]) == pytest.approx(2.1)  # who says so


def test_verify_compares_rows_and_says_which_differs():
    w = [Value(0.7)]
    odd = [1.5, 2, 2.5]
    step = compile(lambda x: w[0] * (2.0 if isinstance(x, int) else 3.0), w, verify=False)
    with pytest.raises(NotFaithful, match="on row 1 of the data"):
        step.verify([0.7], odd, rows=3)
    assert step.verify([0.7], [1.5, 2.5], rows=10) < 1e-15
    with pytest.raises(ValueError, match="rows must be a whole number"):
        step.verify([0.7], odd, rows=0)
    model = nn.MLP(2, [3, 3], activation="tanh", seed=0)
    several = compile(lambda x: model(x), model.parameters())
    assert several.verify(several.theta, ROWS) < 1e-15


@pytest.mark.parametrize("backend", BACKENDS)
def test_whole_numbers_as_indices_and_classes(backend):
    table = [Value(0.5), Value(-1.0), Value(2.0)]
    classes, inputs = [0, 2, 1, 2], [1, 0, 2, 2]
    f = lambda x, t: losses.cross_entropy([v * take(table, x) for v in table], t)  # noqa: E731
    step = compile(f, table, backend=backend)
    value, gradient = step.value_and_grad(step.theta, inputs, classes)
    expected, slopes = by_itself(f, table, step.theta, list(zip(inputs, classes, strict=True)))
    assert value == pytest.approx(expected)
    assert gradient == pytest.approx(slopes)


# --- Arrays are arrays ------------------------------------------------------------------------------------------------

ON_ARRAYS = {
    "2*v": lambda v: np.sum(np.exp(2 * v)),
    "v**2": lambda v: (v**2).sum(),
    "v @ v": lambda v: v @ v,
    "v.dot": lambda v: v.dot(2.0 * v),
    "-v": lambda v: np.sum(np.tanh(-v)),
    "v + v": lambda v: np.sum(np.sin(v + v)),
    "slices": lambda v: np.sum(v[1:] * v[:-1]),
    "an outer product": lambda v: np.sum(np.exp(np.outer(v, v))),
    "mean": lambda v: np.mean(v * v),
    "a reversal": lambda v: np.sum(v[::-1] * np.arange(3.0)),
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ON_ARRAYS)
def test_an_array_is_an_array_to_the_function(name, backend):
    jax = pytest.importorskip("jax", reason="JAX is not installed")
    f, at = ON_ARRAYS[name], np.array([0.3, -0.2, 0.5])
    value, gradient = compile(f, backend=backend).value_and_grad(at)
    numpy = np.sum(np.exp(2 * at)) if name == "2*v" else f(at)
    assert value == pytest.approx(numpy)

    def by_jax(v):
        return {"2*v": lambda v: jax.numpy.exp(2 * v).sum(), "-v": lambda v: jax.numpy.tanh(-v).sum(),
                "v + v": lambda v: jax.numpy.sin(v + v).sum(), "slices": lambda v: (v[1:] * v[:-1]).sum(),
                "an outer product": lambda v: jax.numpy.exp(jax.numpy.outer(v, v)).sum(),
                "mean": lambda v: (v * v).mean(), "a reversal": lambda v: (v[::-1] * np.arange(3.0)).sum(),
                }.get(name, f)(v)  # fmt: skip

    with jax.enable_x64(True):
        assert gradient == pytest.approx(np.asarray(jax.grad(by_jax)(jax.numpy.array(at))), rel=1e-12)


def test_a_list_stays_a_list_and_a_number_a_number():
    assert compile(lambda v: sum([*v, *v], Value(0.0)))([1.0, 2.0]) == 6.0
    assert compile(lambda v: sum(v + v, Value(0.0)))([1.0, 2.0]) == 6.0
    assert compile(lambda v: sum(v + v))(np.array([1.0, 2.0])) == 6.0
    assert compile(lambda v: v * v).grad(3.0) == 6.0
    both = compile(lambda v: (v + v)[0] + (v + v)[-1])
    assert both([1.0, 2.0]) == 3.0
    assert both(np.array([1.0, 2.0])) == 6.0  # each of its own kind


@pytest.mark.parametrize("backend", BACKENDS)
def test_rows_of_data_are_what_was_given(backend):
    w = np.array([Value(0.7), Value(-0.4)])
    f = lambda x: np.sum((w * (x + x)) ** 2)  # noqa: E731
    step = compile(f, list(w), backend=backend)
    rows = np.array(ROWS)
    expected = np.mean([np.sum((np.array([0.7, -0.4]) * 2 * row) ** 2) for row in rows])
    assert step.value_and_grad(step.theta, rows)[0] == pytest.approx(expected)
    assert step.value_and_grad(step.theta, list(rows))[0] == pytest.approx(expected)
    with pytest.raises(ValueError, match="broadcast"):  # lists are longer when they are added
        step.value_and_grad(step.theta, ROWS)


# --- Several threads, errors half-way ---------------------------------------------------------------------------------


def test_threads_trace_at_once_the_same_parameters_at_different_points():
    w = [Value(0.7), Value(-0.4)]
    expected = {t: by_itself(lambda x: base(w, x), w, [t, 0.3], [[row] for row in ROWS])[0] for t in (0.1, 0.5, -2.0)}
    wrong, stop = [], threading.Event()

    def compiles(t):
        for _ in range(15):
            step = compile(lambda x: base(w, x), w, backend="numpy")
            if abs(step([t, 0.3], ROWS) - expected[t]) > 1e-12:
                wrong.append(t)

    def trains():
        while not stop.is_set():
            y = base(w, [1.0, 1.0])
            y.backward()
            if [p.data for p in w] != [0.7, -0.4] or y.data != math.tanh(0.7 - 0.4):
                wrong.append("eager")

    switch = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=compiles, args=(t,)) for t in expected]
        others = [threading.Thread(target=trains) for _ in range(2)]
        for thread in threads + others:
            thread.start()
        for thread in threads:
            thread.join()
        stop.set()
        for thread in others:
            thread.join()
    finally:
        sys.setswitchinterval(switch)
    assert wrong == []
    assert {type(p) for p in w} == {Value}


def test_an_error_in_the_middle_leaves_nothing_switched():
    w = [Value(0.7), Value(-0.4)]

    def f(x):
        y = base(w, x) * x[0]
        raise KeyError("in the middle") if y is not None else y

    step = compile(f, w)
    with pytest.raises(KeyError):
        step([1.0, 1.0], ROWS)
    assert {type(p) for p in w} == {Value}
    x = Value(2.0)
    y = x * w[0]
    assert y.data == 1.4
    assert type(y) is Value
    y.backward()
    assert x.grad == 0.7
    assert {x: 1}[x] == 1
    assert (y.data > 1.0, y > 1.0, bool(y)) == (True, True, True)


def test_what_was_traced_is_an_ordinary_value_afterwards():
    kept = []
    w = [Value(0.7)]
    step = compile(lambda x: kept.append(w[0] * x) or w[0] * x, w)
    step([0.5], [2.0, 3.0])
    assert {type(v) for v in kept} == {Value}
    assert kept[0].data == 1.0
    assert len({*kept}) == len(kept)


def test_a_step_without_grad_is_a_step():
    w = [Value(0.7)]
    step = compile(lambda x: (w[0] * x) ** 2, w)
    with no_grad():
        value, gradient = step.value_and_grad([0.5], [2.0])
    assert (value, gradient.tolist()) == (1.0, [4.0])


def test_dropout_is_part_of_the_trace():
    model = nn.Module()
    model.drop = nn.Dropout(0.5)
    w = [Value(0.7)]
    step = compile(lambda x: model.drop([w[0] * x])[0], w)
    model.eval()
    assert step([0.5], [2.0]) == 1.0
    model.train()
    assert {step([0.5], [2.0]) for _ in range(50)} == {0.0, 2.0}
    with prediction():
        assert {step([0.5], [2.0]) for _ in range(50)} == {1.0}
    assert {step([0.5], [2.0]) for _ in range(50)} == {0.0, 2.0}
    model.eval()
    assert step([0.5], [2.0]) == 1.0


def test_two_losses_that_train_two_parameters_of_one_object_in_turn():
    class Line:
        def __init__(self):
            self.slope, self.offset = Value(0.0), Value(0.0)

    def train(compiled):
        line = Line()
        f = lambda x, t: (line.slope * x + line.offset - t) ** 2  # noqa: E731
        ends = []
        for _ in range(3):
            for p in (line.slope, line.offset):
                loss = compile(f, [p], backend="numpy") if compiled else f
                history = fit(loss, [0.0, 1.0, 2.0], [1.0, 2.0, 4.0], params=[p], optimizer=optim.SGD([p], 0.1),
                              epochs=3, progress=False)  # fmt: skip
                ends += history.loss
        return ends, line

    (kept, a), (again, b) = train(False), train(True)
    assert again == pytest.approx(kept, rel=1e-12)
    assert (a.slope.data, a.offset.data) == pytest.approx((b.slope.data, b.offset.data))
    line = Line()
    steps = {p: compile(lambda x, t: (line.slope * x + line.offset - t) ** 2, [p]) for p in (line.slope, line.offset)}
    for _ in range(3):  # and by steps that are kept
        for p, step in steps.items():
            fit(step, [0.0, 1.0, 2.0], [1.0, 2.0, 4.0], optimizer=optim.SGD([p], 0.1), epochs=3, progress=False)
    assert (line.slope.data, line.offset.data) == pytest.approx((a.slope.data, a.offset.data))


# --- fit --------------------------------------------------------------------------------------------------------------

DATA = ([[0.5, -1.0], [2.0, 0.25], [-0.75, 3.0], [1.0, 1.0], [0.1, 0.2]], [0.2, -0.5, 0.9, 0.0, 0.3])


class Problem:
    """A small problem with all that options of `fit` can touch."""

    def __init__(self):
        self.w = [Value(0.3, "a"), Value(-0.2), Value(0.1)]
        self.strength, self.scale = Value(0.05), 1.0
        self.rate, self.count, self.log = 0.05, 0, []

    def loss(self, x, t):
        return (tanh(self.w[0] * x[0] + self.w[1] * x[1]) * self.scale + self.w[2] - t) ** 2 + 0.0 * self.strength

    def penalty(self):
        return self.rate * losses.l2(self.w)


class Clipped(optim.SGD):
    def step(self):
        for p in self.parameters:
            p.grad = max(-0.1, min(0.1, p.grad))
        super().step()


class Signs(optim.Optimizer):
    state_names = ("last",)

    def update(self, x, g, *state):  # noqa: ARG002
        return x - self.learning_rate * (1.0 if g > 0.0 else -1.0), g


class Noisy(optim.SGD):
    def update(self, x, g, *state):
        return super().update(x + self.noise.gauss(0.0, 0.01), g, *state)


class Frozen(optim.Adam):
    def _commit(self, moved):
        super()._commit([(0.3, *state) if i == 0 else (x, *state) for i, (x, *state) in enumerate(moved)])


def noisy(problem):
    optimizer = Noisy(problem.w, 0.1)
    optimizer.noise = random.Random(0)
    return optimizer


def patched(problem):
    optimizer = optim.SGD(problem.w, 0.1)
    step = optimizer.step

    def twice():
        step()
        step()

    optimizer.step = twice
    return optimizer


def moves(problem):
    return lambda history: setattr(problem.w[0], "data", problem.w[0].data * 0.9)


def counting_penalty(problem):
    def penalty():
        problem.count += 1
        return 0.01 * problem.count * losses.l2(problem.w)

    return penalty


def drawn_penalty(problem):
    draw = random.Random(0)
    return lambda: draw.random() * losses.l2(problem.w)


def from_an_iterator(problem):
    strengths = iter([0.1 / k for k in range(1, 10_000)])
    return lambda: next(strengths) * losses.l2(problem.w)


def by_number(problem):
    return lambda: losses.l2(problem.w) if problem.w[0].data > 0.25 else 3.0 * losses.l2(problem.w)


def logged(problem):
    return lambda: (problem.log.append(problem.w[0].data), problem.penalty())[1]


OPTIONS = {
    "nothing": lambda p: {},
    "SGD": lambda p: {"optimizer": optim.SGD(p.w, 0.1, momentum=0.9, nesterov=True)},
    "RMSprop": lambda p: {"optimizer": optim.RMSprop(p.w, 0.01)},
    "AdamW": lambda p: {"optimizer": optim.AdamW(p.w, 0.05)},
    "an optimiser that clips": lambda p: {"optimizer": Clipped(p.w, 0.5)},
    "an optimiser with a branch": lambda p: {"optimizer": Signs(p.w, 0.01)},
    "an optimiser that draws": lambda p: {"optimizer": noisy(p)},
    "an optimiser that commits otherwise": lambda p: {"optimizer": Frozen(p.w, 0.1)},
    "an optimiser with another step hung on it": lambda p: {"optimizer": patched(p)},
    "frozen parameters": lambda p: {"optimizer": optim.SGD(p.w[1:], 0.2)},
    "batches": lambda p: {"batch_size": 2, "seed": 3},
    "batches in order": lambda p: {"batch_size": 2, "seed": None},
    "single examples": lambda p: {"batch_size": 1},
    "a schedule": lambda p: {"schedule": optim.exponential_decay(0.1, 0.8)},
    "a penalty": lambda p: {"penalty": p.penalty, "batch_size": 2},
    "a penalty that is a number": lambda p: {"penalty": lambda: 0.25},
    "a penalty of other Values": lambda p: {"penalty": lambda: p.strength * 2.0},
    "a penalty that counts": lambda p: {"penalty": counting_penalty(p), "batch_size": 2},
    "a penalty that draws": lambda p: {"penalty": drawn_penalty(p), "batch_size": 2},
    "a penalty from an iterator": lambda p: {"penalty": from_an_iterator(p), "batch_size": 2},
    "a penalty that looks at numbers": lambda p: {"penalty": by_number(p)},
    "a penalty that writes a log": lambda p: {"penalty": logged(p), "batch_size": 2},
    "a penalty whose coefficient a callback changes": lambda p: {
        "penalty": lambda: p.rate * losses.l2(p.w), "callbacks": lambda h: setattr(p, "rate", p.rate * 1.5)},
    "a penalty whose Value a callback changes": lambda p: {
        "penalty": lambda: p.strength * losses.l2(p.w),
        "callbacks": lambda h: setattr(p.strength, "data", p.strength.data * 1.5)},
    "a callback that changes the loss": lambda p: {"callbacks": lambda h: setattr(p, "scale", p.scale * 1.1)},
    "a callback that moves a parameter": lambda p: {"callbacks": moves(p)},
    "a callback that ends it": lambda p: {"callbacks": lambda h: h.epochs == 4},
    "a callback that reads the gradient": lambda p: {"callbacks": lambda h: p.log.append([v.grad for v in p.w])},
    "validation": lambda p: {"validation": (DATA[0][:2], DATA[1][:2])},
    "patience": lambda p: {"validation": (DATA[0][:2], [5.0, 5.0]), "patience": 2},
    "patience without validation": lambda p: {"patience": 1, "optimizer": optim.SGD(p.w, 3.0)},
}  # fmt: skip


def callback_with_optimizer(change):
    def options(problem):
        optimizer = optim.Adam(problem.w, 0.05)
        return {"optimizer": optimizer, "callbacks": lambda h: change(optimizer, h)}

    return options


OPTIONS |= {
    "a callback that changes the learning rate": callback_with_optimizer(
        lambda o, h: setattr(o, "learning_rate", o.learning_rate * 0.7)
    ),
    "a callback that changes the rule": callback_with_optimizer(
        lambda o, h: setattr(o, "beta1", 0.5 + 0.01 * h.epochs)
    ),
    "a callback that resets the state": callback_with_optimizer(
        lambda o, h: setattr(o, "state", [(0.0, 0.0) for _ in o.parameters])
    ),
    "a callback that takes a step of its own": callback_with_optimizer(lambda o, h: o.step()),
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", OPTIONS)
def test_fit_of_a_compiled_loss_is_fit_of_the_loss(name, backend):
    """Step by step: history, parameters after each epoch, what callbacks saw, and the optimiser's state."""

    def run(compiled):
        problem, path = Problem(), []
        options = OPTIONS[name](problem)
        own = options.pop("callbacks", lambda history: None)

        def callback(history):
            path.append([p.data for p in problem.w])
            return own(history)

        options = {"epochs": 8, "progress": False, "callbacks": callback} | options
        loss = compile(problem.loss, problem.w, backend=backend) if compiled else problem.loss
        history = fit(loss, *DATA, params=problem.w, **options)
        state = options["optimizer"].state_dict() if "optimizer" in options else {}
        return history, path, problem, state

    (one, path, problem, state), (two, other_path, other, other_state) = run(False), run(True)
    assert one.epochs == two.epochs
    assert one.stopped == two.stopped
    for column in ("loss", "gradient_norm", "learning_rate", "validation_loss"):
        assert getattr(two, column) == pytest.approx(getattr(one, column), rel=1e-9)
    assert np.array(other_path) == pytest.approx(np.array(path), rel=1e-9, abs=1e-12)
    assert [p.data for p in other.w] == pytest.approx([p.data for p in problem.w], rel=1e-9)
    assert (other.count, len(other.log)) == (problem.count, len(problem.log))
    assert np.array(other.log) == pytest.approx(np.array(problem.log), rel=1e-8, abs=1e-12)
    assert state.get("steps") == other_state.get("steps")
    for key, numbers in state.get("state", {}).items():
        assert other_state["state"][key] == pytest.approx(numbers, rel=1e-8, abs=1e-14)


@pytest.mark.parametrize("kind", ["plain", "own optimiser"])
def test_a_resumed_fit_of_a_compiled_loss_arrives_at_the_same_numbers(kind, tmp_path):
    def run(compiled, *epochs):
        for n in epochs:
            problem = Problem()
            optimizer = Clipped(problem.w, 0.2) if kind == "own optimiser" else optim.Adam(problem.w, 0.05)
            loss = compile(problem.loss, problem.w) if compiled else problem.loss
            history = fit(loss, *DATA, params=problem.w, optimizer=optimizer, epochs=n, batch_size=2, progress=False,
                          resume=len(epochs) > 1, checkpoint=tmp_path / f"{compiled}{len(epochs)}.json", penalty=problem.penalty)  # fmt: skip
        return history.loss, [p.data for p in problem.w]

    whole, in_two, eager = run(True, 6), run(True, 3, 6), run(False, 6)
    assert in_two == whole
    assert whole[0] == pytest.approx(eager[0], rel=1e-9)
    assert whole[1] == pytest.approx(eager[1], rel=1e-9)


def test_fit_refuses_a_loss_that_decides_by_the_type_of_its_data():
    w = [Value(0.7)]
    loss = lambda x, t: (w[0] * (2.0 if isinstance(x, int) else 3.0) - t) ** 2  # noqa: E731
    with pytest.raises(NotFaithful, match="run by itself"):
        fit(compile(loss, w), [1, 2, 3], [1.0, 2.0, 3.0], progress=False)
    by_target = lambda x, t: (w[0] * x - t) ** 2 * (2.0 if isinstance(t, Value) else 1.0)  # noqa: E731
    with pytest.raises(NotFaithful, match="run by itself"):  # fit itself gives plain targets
        fit(compile(by_target, w), [1.0, 2.0, 3.0], [1.0, 2.0, 3.0], progress=False)
    assert w[0].data == 0.7


@pytest.mark.parametrize("compiled", [False, True])
def test_rows_of_an_array_are_arrays_to_the_loss(compiled):
    w = [Value(0.3), Value(-0.2)]
    rows, targets = np.array(DATA[0]), np.array(DATA[1])
    loss = lambda x, t: (np.sum(np.array(w) * (x + x)) - t) ** 2  # noqa: E731
    made = compile(loss, w) if compiled else loss
    history = fit(made, rows, targets, params=w, optimizer=optim.SGD(w, 0.01), epochs=1, progress=False)
    expected = np.mean((rows @ [0.6, -0.4] - targets) ** 2)
    assert history.loss[0] == pytest.approx(expected, rel=1e-12)


# --- One front door for data ------------------------------------------------------------------------------------------

BAD = {
    "text": (["1.5", "2.5", "0.5"], "text"),
    "text among numbers": ([1.5, "2.5", 0.5], "text"),
    "bytes": ([b"1", b"2", b"3"], "text"),
    "an array of text": (np.array(["1.5", "2.5", "0.5"]), "text"),
    "None": ([1.0, None, 2.0], "NoneType"),
    "complex numbers": (np.array([1j, 2.0, 3.0]), "complex"),
    "a complex number": ([1j, 2.0, 3.0], "complex"),
    "dates": (np.array(["2020-01-01", "2020-01-02", "2020-01-03"], "datetime64[D]"), "dates"),
    "times": (np.array([1, 2, 3], "timedelta64[s]"), "times"),
    "a date": ([__import__("datetime").date(2020, 1, 1)] * 3, "date"),
    "a masked array": (np.ma.masked_array([1.0, 2.0, 3.0], [False, True, False]), "masked"),
    "rows of masked arrays": ([np.ma.masked_array([1.0, 2.0], [False, True])] * 3, "masked"),
    "objects": (np.array([object(), 1.0, 2.0], dtype=object), "object"),
    "a dictionary": ({0: 1.0, 1: 2.0, 2: 3.0}, "list or an array|operand type"),  # columns by name, to a compiled one
    "a set": ({1.0, 2.0, 3.0}, "list or an array"),
    "a string": ("123", "list or an array"),
    "a sparse matrix": (types.SimpleNamespace(toarray=lambda: [1.0, 2.0, 3.0]), "sparse"),
    "records": (np.zeros(3, dtype=[("a", float)]), "records"),
}


@pytest.mark.parametrize("name", BAD)
def test_all_doors_refuse_the_same_data(name):
    bad, text = BAD[name]
    w = [Value(0.3)]
    loss = lambda x, t: (w[0] * x - t) ** 2  # noqa: E731
    step, good = compile(loss, w), [1.0, 2.0, 3.0]
    for call in (
        lambda: fit(loss, bad, good, params=w, progress=False),
        lambda: fit(loss, good, bad, params=w, progress=False),
        lambda: fit(step, bad, good, progress=False),
        lambda: fit(step, good, bad, progress=False),
        lambda: fit(loss, good, good, params=w, validation=(bad, good), progress=False),
        lambda: step.value_and_grad(step.theta, bad, good),
        lambda: step.value_and_grad(step.theta, good, bad),
    ):
        with pytest.raises(TypeError, match=text):
            call()
    assert w[0].data == 0.3


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", [name for name in BAD if name != "a sparse matrix"])
def test_parameters_and_directions_are_refused_as_data_are(name, backend):
    bad, text = BAD[name]
    refusals = {"list or an array": "dict|set|text|type str", "text": "text|type str|type bytes"}
    text = refusals.get(text.removesuffix("|operand type"), text)
    w = [Value(0.3), Value(0.2), Value(0.1)]
    step = compile(lambda x: w[0] * x + w[1] * w[2] * x, w, backend=backend)
    by_first = compile(lambda v: v[0] * v[1] * v[2], backend=backend)
    assert step.grad(step.theta, [1.0]).tolist() == [1.0, 0.1, 0.2]
    assert by_first.grad([3.0, 2.0, 5.0]).tolist() == [10.0, 15.0, 6.0]
    for call in (
        lambda: step(bad, [1.0]),
        lambda: step.value_and_grad(bad, [1.0]),
        lambda: step.jvp(step.theta, bad, [1.0]),
        lambda: step.hvp(step.theta, bad, [1.0]),
        lambda: step.hessian(bad, [1.0]),
        lambda: step.assign(bad),
        lambda: by_first.jvp([1.0, 2.0, 3.0], bad),
        *(
            [] if name == "a dictionary" else [lambda: by_first(bad), lambda: by_first.hessian(bad)]
        ),  # {0: 1.0} is a tree
    ):
        with pytest.raises(TypeError, match=text):
            call()
    assert [p.data for p in w] == [0.3, 0.2, 0.1]


@pytest.mark.parametrize("bad", [[1.0, math.nan, 2.0], [1.0, math.inf, 2.0], np.array([1.0, np.nan, 2.0]), []])
def test_both_fits_refuse_gaps_and_no_examples(bad):
    w = [Value(0.3)]
    loss = lambda x, t: (w[0] * x - t) ** 2  # noqa: E731
    for made in (loss, compile(loss, w)):
        with pytest.raises(ValueError, match=r"leave the example out|no examples"):
            fit(made, bad, [1.0] * len(bad), params=w, progress=False)


def frame(x):
    return types.SimpleNamespace(to_numpy=lambda: np.array(x))


GOOD = {
    "a list": [1.0, 2.0, 3.0],
    "whole numbers": [1, 2, 3],
    "a tuple": (1.0, 2.0, 3.0),
    "an array": np.array([1.0, 2.0, 3.0]),
    "an array of whole numbers": np.array([1, 2, 3]),
    "an array of small floats": np.array([1.0, 2.0, 3.0], dtype=np.float32),
    "truth values": [True, False, True],
    "a range": range(1, 4),
    "NumPy scalars": [np.float64(1.0), np.int64(2), 3.0],
    "fractions": [__import__("fractions").Fraction(1, 2), 2, 3],
    "an array of objects": np.array([1.0, 2, 3.5], dtype=object),
    "a table": frame([1.0, 2.0, 3.0]),
    "an array that is not contiguous": np.arange(6.0)[::2],
}


@pytest.mark.parametrize("name", GOOD)
def test_all_doors_take_the_same_data(name):
    data, found = GOOD[name], []
    for compiled in (False, True):
        w = [Value(0.3)]
        loss = lambda x, t: (w[0] * x - t) ** 2  # noqa: E731, B023
        made = compile(loss, w) if compiled else loss
        found.append(fit(made, data, data, params=w, epochs=3, progress=False).loss)
    assert found[1] == pytest.approx(found[0], rel=1e-12)
    numbers = [float(x) for x in (data.to_numpy() if hasattr(data, "to_numpy") else data)]
    assert found[0][0] == pytest.approx(np.mean([(0.3 * x - x) ** 2 for x in numbers]))


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_program_that_magnifies_rounding_is_not_accused(backend):
    w = [Value(-2.22), Value(-1.9735025737869276)]

    def chaotic(x):
        s = w[1]
        for _ in range(44):
            s = sin(w[0] * s + w[0] * x + w[1])
        return s

    value, gradient = compile(chaotic, w, backend=backend).value_and_grad([v.data for v in w], [-1.716087656920243])
    # 44 turns magnify a rounding 10**7 times and more: no digits of the gradient to compare
    assert abs(value) <= 1.0
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_program_that_magnifies_rounding_is_accused_when_it_is_another(backend):
    w = Value(-2.22)

    def by_type(x):
        s = w
        for _ in range(6):
            s = sin(w * s + x)
        return s if isinstance(x, Value) else 2.0 * s

    with pytest.raises(NotFaithful):
        compile(by_type, [w], backend=backend).value_and_grad([-2.22], [3])


def test_numbers_below_the_normal_ones_are_compared_by_their_own_unit():
    """A slope of 745 * sech(372.5)**2 / 4, the product of which has no digits left: NumPy rounds it to half of it."""
    w = Value(1.0)
    step = compile(lambda: sigmoid(-745.0 * w), [w], backend="numpy")
    assert step([1.0]) == pytest.approx(5e-324, rel=1.0)
    assert 0.0 <= -step.grad([1.0])[0] < 1e-320
