"""Networks: modules whose parameters are Values, called with one example at a time.

``model([1.0, 2.0])`` is a Value and has been recorded, whatever the inputs are; inside `no_grad` it is a Value without
a record.  ``model.predict([1.0, 2.0])`` is a number, and takes a list or an array of examples as well.

Vectors are lists.  A layer's weights are kept by neuron, and named as a matrix is: ``W1[0,2]`` leads to the first
neuron of layer 1 from input 2 (all counted from 0 but the layers), so that z = W1 @ x + b1.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import is_dataclass
from difflib import get_close_matches
from functools import lru_cache
from numbers import Real
from operator import methodcaller
from pathlib import Path
from types import BuiltinFunctionType, FunctionType
from typing import TYPE_CHECKING, Any, TypeVar

from tinygrad_vi import modes, ops
from tinygrad_vi.data import random_numbers
from tinygrad_vi.files import finite, read_json, shown, whole, write_json
from tinygrad_vi.ops import ONE_EXAMPLE, DomainError, ShapeError, whole_number
from tinygrad_vi.trees import entries
from tinygrad_vi.value import NOT_COMPUTED, Value, dot

if TYPE_CHECKING:
    from tinygrad_vi.optim import Optimizer

M = TypeVar("M", bound="Module")
Activation = str | Callable[[Any], Any]
Initializer = str | Callable[[Any, int, int], float]

FILE_FORMAT = "tinygrad_vi model"
#: lists in lists in lists: nobody nests parameters deeper, but a list may contain itself
MAX_DEPTH = 100

# --- Activations and initial weights ----------------------------------------------------------------------------------


def identity(x: Any) -> Any:
    """The activation of a linear unit."""
    return x


def _activations() -> dict[str, Callable[[Any], Any]]:
    """Every operation of one operand by name; as methods, three times faster on a Value than the functions."""
    unary = [name for name, op in ops.OPERATIONS.items() if op.arity == 1 and hasattr(Value, name)]
    return {"identity": identity, "linear": identity, **{name: methodcaller(name) for name in unary}}


ACTIVATIONS = _activations()
#: activations of a whole layer
LAYER_ACTIVATIONS: dict[str, Callable[[list[Any]], list[Any]]] = {"softmax": ops.softmax}

#: (random numbers, inputs of the neuron, neurons of the layer) -> one weight
INITIALIZERS: dict[str, Callable[[Any, int, int], float]] = {
    "uniform": lambda rng, fan_in, fan_out: rng.uniform(-1.0, 1.0),
    "xavier": lambda rng, fan_in, fan_out: rng.uniform(-1.0, 1.0) * math.sqrt(6.0 / (fan_in + fan_out)),
    "he": lambda rng, fan_in, fan_out: rng.gauss(0.0, math.sqrt(2.0 / fan_in)),
}


def _look_up(table: Mapping[str, Any], given: Any, what: str) -> Any:
    """A function by its name, or the function itself."""
    if callable(given):
        return given
    if not isinstance(given, str):
        raise TypeError(f"an {what} is a name or a function, got {given!r:.60}")
    if given not in table:
        near = get_close_matches(given.lower(), table, n=2)
        hint = (
            f"did you mean {' or '.join(map(repr, near))}?"
            if near
            else f"known are {', '.join(sorted(table))}; or give a function"
        )
        raise ValueError(f"unknown {what} {given!r}: {hint}")
    return table[given]


def _name_of(given: Activation) -> str:
    return given if isinstance(given, str) else getattr(given, "__name__", type(given).__name__)


def generator(seed: Any) -> Any:
    """The random numbers of a seed; without one the module `random` itself, so that ``random.seed`` governs them."""
    if seed is None:
        return random
    return seed if hasattr(seed, "uniform") else random_numbers(seed)


#: names that PyTorch's module has and this one has not: what to write
_ELSEWHERE = {
    "Linear": 'Layer(n_inputs, n_outputs, "identity"), or MLP(n_inputs, [16, 1]) for several',
    "Sequential": "MLP(n_inputs, [16, 1]), or a Module of your own whose forward calls one layer after the other",
    "ModuleList": "self.layers = [...], a list: parameters are found in it",
    "Parameter": "Value(0.0), an attribute of a Module",
    "functional": "the functions of tinygrad_vi, such as relu(v), and those of tinygrad_vi.losses",
    **{
        name: f"losses.{ours}(prediction, target), a function of one example in tinygrad_vi"
        for name, ours in [("MSELoss", "mse"), ("BCELoss", "bce"), ("BCEWithLogitsLoss", "bce_with_logits"),
                           ("CrossEntropyLoss", "cross_entropy"), ("HuberLoss", "huber")]
    },
}  # fmt: skip


def __getattr__(name: str) -> Any:
    written = _ELSEWHERE.get(name)
    ours = next((known for known in (*ACTIVATIONS, *LAYER_ACTIVATIONS) if known.replace("_", "") == name.lower()), None)
    if written is None and ours is not None:
        written = f'activation="{ours}" in a Layer or an MLP'
    raise AttributeError(f"module 'tinygrad_vi.nn' has no attribute {name!r}" + f": write {written}" * bool(written))


# --- Module -----------------------------------------------------------------------------------------------------------


def prediction() -> AbstractContextManager[None]:
    """Nothing is dropped inside, whatever mode a module is in."""
    return modes.predicting.set(True)


def last_change() -> object:
    """A token that is another one after an attribute of any module has been set: compiled functions look again then."""
    return _changes[0]


_changes = [object()]


class Module:
    """Something with parameters: subclass it, hang Values and other modules on it, and write ``forward``.

    Parameters are the leaf Values found in its attributes, in the order in which these were set, through lists, tuples,
    dictionaries, dataclasses, object arrays and other modules.  What is not to be trained, such as a state kept from
    call to call, belongs in an attribute whose name begins with an underscore: these are not searched.

    Called, a module records what it computes; `predict` gives numbers.  A `dataclass` may be a module.

    >>> class Line(Module):
    ...     def __init__(self):
    ...         self.slope, self.offset = Value(2.0), Value(1.0)
    ...     def forward(self, x):
    ...         return self.slope * x + self.offset
    >>> line = Line()
    >>> line(3.0), line.predict([3.0, 4.0]), line.state_dict()
    (Value(data=7.0, grad=0.0), [7.0, 9.0], {'slope': 2.0, 'offset': 1.0})
    """

    #: whether `Dropout` drops; `train` and `eval` set it
    training = True

    def __setattr__(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)
        _changes[0] = object()

    def __delattr__(self, name: str) -> None:
        object.__delattr__(self, name)
        _changes[0] = object()

    def __call__(self, *inputs: Any, **named: Any) -> Any:
        """Forward, which records, whatever it is called with; inside `no_grad` it does not."""
        return self.forward(*inputs, **named)

    def predict(self, X: Any) -> Any:
        """The answers of the model in numbers: nothing is recorded, and `Dropout` drops nothing.

        X: a list or an array with an entry for each example, as in `fit`; the forward pass meets them as it does there,
        floats as Values.  The answers are a list, with one number (or what the model returns, in numbers) for each; of
        an array an array: (N,) for one output, (N, m) for m.
        One example alone has its answer alone: a number, and for modules with a fixed number of inputs, which are
        `Neuron`, `Layer`, `MLP` and cells, a flat list or array, unless that number is 1.
        Of 100 examples and more the model is compiled, where it can be and keeps no state from call to call: the
        answers agree to a few units in the last place of the largest number on the way.

        Raises ShapeError for no examples or a wrong number of inputs, TypeError for what is no number, Values included,
        ValueError for an infinity or NaN.

        >>> net = MLP(2, [3, 1], seed=0)
        >>> net.predict([[1.0, 2.0], [0.5, -1.0]]) == [net([1.0, 2.0]).data, net([0.5, -1.0]).data]
        True
        >>> net.predict([1.0, 2.0]) == net([1.0, 2.0]).data
        True
        """
        from tinygrad_vi.predict import predict

        return predict(self, X)

    def is_one_example(self, X: Any) -> bool:
        """Whether `predict` should take X for one example, and not for a list of them."""
        return isinstance(X, Real) or getattr(X, "shape", None) == ()

    def forward(self, *inputs: Any, **named: Any) -> Any:
        """The output for one example."""
        raise NotImplementedError(f"{type(self).__name__} has no forward(): write what it computes there")

    # -- parameters ----------------------------------------------------------------------------------------------------

    def named_parameters(self) -> list[tuple[str, Value]]:
        """Every parameter with the path that leads to it: ``layers.0.neurons.2.w.1``.  A shared one appears once."""
        return [(path, x) for path, x in _walk("", self) if isinstance(x, Value)]

    def parameters(self) -> list[Value]:
        """Every parameter once; for layers neuron by neuron, weights then bias."""
        return parameters_in(self)

    def zero_grad(self) -> None:
        """Set the grad of every parameter to 0, unless no sweep has reached it."""
        for p in self.parameters():
            if p.grad is not NOT_COMPUTED:
                p.grad = 0.0

    def modules(self) -> list[Module]:
        """The module itself and all that it is made of."""
        return _inside(self)[1]

    def train(self: M, mode: bool = True) -> M:
        """Training mode, in which `Dropout` drops.  Returns the module."""
        for module in self.modules():
            Module.__setattr__(module, "training", mode)  # a frozen dataclass too
        return self

    def eval(self: M) -> M:
        """Prediction mode: nothing is dropped.  Returns the module."""
        return self.train(False)

    # -- saving --------------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """The numbers of all parameters: path -> float or nested list of floats."""
        return {path: _map(lambda v: v.data, values) for path, values in self._arrays().items()}

    def _arrays(self) -> dict[str, Any]:
        found = list(_arrays("", self, set()))
        arrays = dict(found)
        if len(arrays) < len(found):
            twice = next(path for i, (path, _) in enumerate(found) if path in dict(found[:i]))
            raise ValueError(f"two parameters have the path {twice!r}: give their keys other names")
        return arrays

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Set all parameters to the numbers that `state_dict` gave.

        Raises ValueError (ShapeError for a wrong shape, DomainError for an infinity or NaN), and changes nothing, when
        a name is missing or unknown, something is no number, or a parameter with two names is given two numbers.
        TypeError for what is no such dictionary.
        """
        whole(_assign, self._matched(state))

    def _matched(self, state: Mapping[str, Any]) -> list[tuple[Value, float]]:
        """Every parameter with the number it is to have."""
        if not isinstance(state, Mapping):
            raise TypeError(f"the state of a module is a dictionary, as state_dict() gives it, got {shown(state)}")
        arrays = self._arrays()
        missing, unknown = [k for k in arrays if k not in state], [k for k in state if k not in arrays]
        if missing or unknown:
            said = [f"no {k!r}" for k in missing[:1]] + [f"an unknown {shown(k)}" for k in unknown[:1]]
            raise ValueError(
                f"these parameters belong to another architecture: there is {' and '.join(said)} "
                f"({len(missing)} missing, {len(unknown)} unknown). Build the module as it was when they were saved"
            )
        given: dict[Value, float] = {}
        for path, values in arrays.items():
            for p, x in _matched(path, values, state[path]):
                if given.setdefault(p, x) != x:
                    raise ValueError(f"a parameter of {path} has another name too, and there it is {given[p]}, not {x}")
        return list(given.items())

    def save(self, path: str | Path, optimizer: Optimizer | None = None) -> Path:
        """Write all parameters, and the optimiser's state, as JSON.  The file is complete or not there at all.

        Raises DomainError when a parameter is infinite or NaN, OSError when the file cannot be written.
        """
        for name, p in self.named_parameters():
            if not math.isfinite(p.data):
                raise DomainError(f"not saved: the parameter {name} is {p.data}")
        names = [p.label for p in self.parameters()]  # they tell which connections there are
        content = {"architecture": architecture(self), "names": names, "parameters": self.state_dict()}
        if optimizer is not None:
            content["optimizer"] = optimizer.state_dict()
        return write_json(path, FILE_FORMAT, content)

    def load(self: M, path: str | Path, optimizer: Optimizer | None = None) -> M:
        """Read what `save` wrote into this module, and into the optimiser if one is given; returns the module.

        Raises ValueError, and changes nothing, when the file is damaged or was saved by another architecture.  A file
        of version 1 has no checksum, which a warning says.
        """
        content = read_json(path, FILE_FORMAT, {"architecture": str, "names": list, "parameters": dict})
        if content["architecture"] != architecture(self) or content["names"] != [p.label for p in self.parameters()]:
            raise ValueError(
                f"{path} was saved by another architecture:\n{content['architecture']}\nThis one is:\n"
                f"{architecture(self)}\n"
                "Build the module as it was, or give its numbers to load_state_dict()"
            )
        if optimizer is not None and "optimizer" not in content:
            raise ValueError(f"{path} holds no optimiser: save it with model.save(path, optimizer)")
        try:
            pairs = self._matched(content["parameters"])
            state = {} if optimizer is None else optimizer.checked_state(content["optimizer"])
        except (ValueError, TypeError) as error:
            raise type(error)(f"cannot load {path}: {error}") from None
        whole(_assign, pairs, optimizer, state)
        return self

    # -- for people ----------------------------------------------------------------------------------------------------

    def describe(self) -> str:
        """One line: what it is, without its parts."""
        return type(self).__name__

    def __repr__(self) -> str:
        lines: list[str] = []
        stack: list[tuple[str, Any, tuple[Module, ...]]] = [("", self, ())]  # path, module, those around it
        while stack:
            path, module, around = stack.pop()
            its_own: Any = type(module).__repr__
            if any(module is other for other in around):
                lines += _indented(path, "...: see above", len(around))
            elif module is not self and its_own is not Module.__repr__ and not is_dataclass(module):
                lines += _indented(path, repr(module), len(around))  # it says it in its own way
            else:
                said = f"{module.describe()}: {counted(len(module.parameters()), 'parameter')}"
                lines += _indented(path, said, len(around))
                inside = [] if isinstance(module, Layer) else _children("", module)  # a layer says its neurons' number
                stack += reversed([(name, child, (*around, module)) for name, child in inside])
        return "\n".join(lines)


def numbers_in(x: Any) -> Any:
    """The same with numbers for the Values in it."""
    if isinstance(x, dict):
        return {key: numbers_in(v) for key, v in x.items()}
    if isinstance(x, (list, tuple)):
        entries = [numbers_in(v) for v in x]
        return entries if isinstance(x, list) else type(x)(*entries) if hasattr(x, "_fields") else tuple(entries)
    if getattr(getattr(x, "dtype", None), "kind", "") == "O":
        return numbers_in(x.tolist())
    return x.data if isinstance(x, Value) else x


def _map(f: Callable[[Value], float], values: Any) -> Any:
    return [_map(f, v) for v in values] if isinstance(values, (list, tuple)) else f(values)


def _entries(x: Any) -> Iterable[tuple[str, Any]]:
    """What a module or a container holds, by name."""
    if isinstance(x, Module) or (is_dataclass(x) and not isinstance(x, type)):
        return [(name, v) for name, v in _attributes(x).items() if not name.startswith("_")]
    return entries(x)


def _attributes(x: Any) -> dict[str, Any]:
    """What hangs on a module or dataclass: in slots, as @dataclass(slots=True) makes them, and in its dictionary."""
    kind: type = type(x)
    names = _slots(kind)
    if not names:
        found: dict[str, Any] = vars(x)
        return found
    return {name: getattr(x, name) for name in names if hasattr(x, name)} | getattr(x, "__dict__", {})


@lru_cache(1000)
def _slots(kind: type) -> list[str]:
    slots = [vars(cls).get("__slots__", ()) for cls in reversed(kind.__mro__)]
    return [name for some in slots for name in ([some] if isinstance(some, str) else some) if name != "__dict__"]


def parameters_in(x: Any) -> list[Value]:
    """Every leaf Value once: of a Module, a list, tuple, dictionary, dataclass or object array, nested as it may be."""
    return _inside(x)[0]


def architecture(x: Module) -> str:
    """What a file says of a module's architecture; the text that @dataclass writes of one holds its numbers."""
    return Module.__repr__(x) if is_dataclass(x) else repr(x)


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


_HOLDS_NOTHING = {float, int, bool, str, bytes, type(None), FunctionType, BuiltinFunctionType}


def _walk(path: str, x: Any) -> list[tuple[str, Any]]:
    """Every leaf Value and every module of a container, each once, with the first path that leads to it."""
    found: list[tuple[str, Any]] = []
    seen: set[int] = set()  # by identity: a dataclass has no hash, and equals others

    def take(path: str, x: Any) -> bool:
        if id(x) in seen:
            return False
        seen.add(id(x))
        found.append((path, x))
        return True

    stack = [(path, x, 0)]
    while stack:
        path, x, depth = stack.pop()
        if x.__class__ in _HOLDS_NOTHING:  # nine attributes in ten
            continue
        if isinstance(x, Value):
            if not x.parents:
                take(path, x)
        elif x.__class__ is list and depth <= MAX_DEPTH and {*map(type, x)} == {Value}:  # weights, at once
            for i, v in enumerate(x):
                if not v.parents:
                    take(_join(path, str(i)), v)
        elif not isinstance(x, Module):
            stack += reversed(_below(path, x, depth))
        elif take(path, x):  # modules may be nested as deep as they like: each is entered once
            stack += reversed(_below(path, x, 0))
    return found


def _inside(x: Any) -> tuple[list[Value], list[Module]]:
    """What `_walk` finds, without the paths, which take most of its time."""
    root = x
    values: dict[int, Value] = {}
    modules: dict[int, Module] = {}
    stack = [(x, 0)]
    while stack:
        x, depth = stack.pop()
        if x.__class__ in _HOLDS_NOTHING:
            continue
        if isinstance(x, Value):
            if not x.parents:
                values[id(x)] = x
        elif isinstance(x, Module):
            if id(x) not in modules:
                modules[id(x)] = x
                stack += [(v, 1) for name, v in reversed(_attributes(x).items()) if not name.startswith("_")]
        elif depth > MAX_DEPTH:
            _walk("", root)  # which says where
        elif x.__class__ is list and {*map(type, x)} == {Value}:
            leaves = [v for v in x if not v.parents]
            values.update(zip(map(id, leaves), leaves, strict=True))
        elif x.__class__ is list:
            stack += [(v, depth + 1) for v in reversed(x)]
        else:
            stack += [(v, depth + 1) for _, v in reversed([*_entries(x)])]
    return [*values.values()], [*modules.values()]


def _below(path: str, x: Any, depth: int) -> list[tuple[str, Any, int]]:
    """What a container holds, with its path and how many containers are around it since the last module."""
    if depth > MAX_DEPTH:
        raise ShapeError(f"{path:.60}: lists are nested more than {MAX_DEPTH} deep: does one contain itself?")
    return [(_join(path, name), v, depth + 1) for name, v in _entries(x)]


def _children(path: str, x: Any) -> Iterator[tuple[str, Module]]:
    """The modules directly below."""
    for name, v in _entries(x):
        if isinstance(v, Module):
            yield _join(path, name), v
        else:
            yield from _children(_join(path, name), v)


def _arrays(path: str, x: Any, seen: set[int]) -> Iterator[tuple[str, Any]]:
    """Parameters as they lie together: a Value, or a nested list of nothing but Values."""
    stack = [(path, x, 0)]
    while stack:
        path, x, depth = stack.pop()
        if _is_array(x):
            yield path, x
        elif id(x) not in seen:
            if isinstance(x, Module):
                seen.add(id(x))
                depth = 0
            stack += reversed(_below(path, x, depth))


def _is_array(x: Any, depth: int = 0) -> bool:
    if isinstance(x, (list, tuple)):
        return depth <= MAX_DEPTH and len(x) > 0 and all(_is_array(v, depth + 1) for v in x)
    return isinstance(x, Value) and not x.parents


def _matched(path: str, values: Any, given: Any) -> list[tuple[Value, float]]:
    """Parameters and the numbers they are to have."""
    given = _plain(given)
    if isinstance(values, Value):
        return [(values, finite(given, path))]
    if not isinstance(given, (list, tuple)) or len(given) != len(values):
        got = f"{len(given)}" if isinstance(given, (list, tuple)) else shown(given)
        raise ShapeError(f"{path} should be a list of {len(values)}, got {got}")
    return [pair for i, (v, x) in enumerate(zip(values, given, strict=True)) for pair in _matched(f"{path}.{i}", v, x)]


def _assign(pairs: Iterable[tuple[Value, float]], optimizer: Optimizer | None = None, state: Any = None) -> None:
    for p, x in pairs:
        p.data = x
    if optimizer is not None:
        optimizer.take_state(state)


def _plain(x: Any) -> Any:
    return x.tolist() if hasattr(x, "tolist") else x


def _indented(path: str, text: str, depth: int) -> list[str]:
    first, *rest = text.splitlines()
    return ["  " * depth + line for line in (f"{path}: {first}" if path else first, *rest)]


def counted(n: int, noun: str) -> str:
    """``1 parameter``, ``2 parameters``."""
    return f"{n:,} {noun}{'s' * (n != 1)}"


class _OfVectors(Module):
    """What modules with a fixed number of inputs share."""

    n_inputs: int

    def is_one_example(self, X: Any) -> bool:
        """A number, or a flat list of them; with a single input such a list holds an example in each entry."""
        if super().is_one_example(X):
            return True
        flat = getattr(X, "ndim", 0) == 1 or (isinstance(X, (list, tuple)) and any(isinstance(x, Real) for x in X))
        return flat and self.n_inputs != 1


def _inputs(x: Any, n: int, module: Module) -> Any:
    """The n inputs of one example as a list; a bare number will do for one."""
    if x.__class__ is not list:
        x = _plain(x)
        if not isinstance(x, (list, tuple, Iterator, Real)) and not hasattr(x, "record"):
            raise TypeError(f"{type(module).__name__} takes a list of {counted(n, 'number')}, got {x!r:.60}")
        if n != 1 and not isinstance(x, (list, tuple, Iterator)):
            raise ShapeError(f"{type(module).__name__} expects {counted(n, 'input')}, got 1 number: {ONE_EXAMPLE}")
        x = list(x) if isinstance(x, (list, tuple, Iterator)) else [x]
    if x and isinstance(x[0], (list, tuple)):
        raise ShapeError(
            f"{type(module).__name__} takes one example of {counted(n, 'input')}, got a list of lists: "
            "for a batch write [model(x) for x in X], or model.predict(X) for its numbers"
        )
    if len(x) != n:
        raise ShapeError(f"{type(module).__name__} expects {counted(n, 'input')}, got {len(x)}")
    return x


# --- Feed-forward networks --------------------------------------------------------------------------------------------


class Neuron(_OfVectors):
    """One unit, activation(w . x + b).

    n_inputs: the number of inputs.  activation: the name of an operation, "identity", or a function of one Value.
    init: "uniform" (U(-1, 1), as in micrograd), "xavier" (U(-a, a) with a = sqrt(6 / (fan_in + fan_out)); Glorot and
    Bengio 2010) or "he" (N(0, 2 / fan_in); He et al. 2015), or a function (rng, fan_in, fan_out) -> weight.  Biases
    begin at 0.  seed: of the weights; without one the module `random` is used.  mask: which inputs are connected, one
    0 or 1 each.  expand: build the sum from + and * instead of one `dot`, for drawings.

    w: the weights, one for each input in ``connected``.  b: the bias.

    >>> n = Neuron(2, "identity", seed=0)
    >>> [w.label for w in n.w], n.b
    (['w0', 'w1'], Value(data=0.0, grad=0.0, label='b'))
    """

    def __init__(
        self,
        n_inputs: int,
        activation: Activation = "relu",
        *,
        init: Initializer = "uniform",
        seed: Any = None,
        bias: bool = True,
        mask: Sequence[Any] | None = None,
        expand: bool = False,
        fan_out: int = 1,
    ) -> None:
        self.n_inputs = whole_number(n_inputs, "the number of inputs")
        self.activation = _name_of(activation)
        self._activate = _look_up(ACTIVATIONS, activation, "activation")
        self._sum = dot_expanded if expand else dot
        self.connected = range(n_inputs) if mask is None else _connected(mask, n_inputs)
        fan_in = len(self.connected)
        if not fan_in and not bias:
            raise ShapeError("a neuron needs a connection or a bias: its mask leaves nothing")
        draw, rng = _look_up(INITIALIZERS, init, "initialisation"), generator(seed)
        self.w = [Value(draw(rng, fan_in, fan_out)) for _ in range(fan_in)]
        self.b: Any = Value(0.0) if bias else 0.0
        self._label("w{}", "b")

    def forward(self, x: Any) -> Any:
        """activation(w . x + b); raises ShapeError for another number of inputs."""
        return self._output(_inputs(x, self.n_inputs, self))

    def _output(self, x: list[Any]) -> Any:
        if len(self.w) < len(x):
            x = [x[i] for i in self.connected]
        return self._activate(self._sum(self.w, x, self.b))

    def _label(self, w: str, b: str) -> None:
        for i, value in zip(self.connected, self.w, strict=True):
            value.label = w.format(i)
        if isinstance(self.b, Value):
            self.b.label = b

    def describe(self) -> str:
        """``Neuron(2 inputs, tanh)``."""
        absent = self.n_inputs - len(self.w)
        missing = f", {absent} not connected" if absent else ""
        return f"{type(self).__name__}({counted(self.n_inputs, 'input')}{missing}, {self.activation})"


def dot_expanded(w: Iterable[Any], x: Iterable[Any], b: Any) -> Any:
    """b + w[0]*x[0] + w[1]*x[1] + ... as little nodes, one for each + and each *."""
    for u, v in zip(w, x, strict=True):
        b = b + u * v
    return b


def _connected(mask: Sequence[Any], n_inputs: int) -> list[int]:
    mask = _plain(mask)
    if len(mask) != n_inputs:
        raise ShapeError(f"a mask has one entry for each of the {n_inputs} inputs, got {len(mask)}")
    return [i for i, on in enumerate(mask) if on]


class Layer(_OfVectors):
    """Neurons side by side: y = activation(W @ x + b) with W of shape (n_outputs, n_inputs).

    activation: as for a `Neuron`, or "softmax" over the whole layer.  mask: n_outputs rows of n_inputs entries 0 or 1.
    The output is a list; that of a single neuron is the Value itself, as in micrograd.

    >>> layer = Layer.from_weights([[1.0, -1.0], [2.0, 0.5]], [0.0, 1.0], "relu")
    >>> layer.predict([1.0, 3.0])
    [0.0, 4.5]
    >>> layer
    Layer(2 -> 2, relu): 6 parameters
    """

    def __init__(
        self,
        n_inputs: int,
        n_outputs: int,
        activation: Activation = "relu",
        *,
        init: Initializer = "uniform",
        seed: Any = None,
        bias: bool = True,
        mask: Sequence[Sequence[Any]] | None = None,
        expand: bool = False,
    ) -> None:
        self.n_inputs = whole_number(n_inputs, "the number of inputs")
        self.n_outputs = whole_number(n_outputs, "the number of neurons")
        self.activation = _name_of(activation)
        whole = activation in LAYER_ACTIVATIONS if isinstance(activation, str) else False
        self._activate = LAYER_ACTIVATIONS[self.activation] if whole else None
        if mask is not None and len(mask) != n_outputs:
            raise ShapeError(f"a mask has one row for each of the {n_outputs} neurons, got {len(mask)}")
        rng = generator(seed)
        self.neurons = [
            Neuron(
                n_inputs,
                "identity" if whole else activation,
                init=init,
                seed=rng,
                bias=bias,
                mask=None if mask is None else mask[j],
                expand=expand,
                fan_out=n_outputs,
            )
            for j in range(n_outputs)
        ]
        self._label("")

    @classmethod
    def from_weights(
        cls,
        W: Sequence[Sequence[Any]],
        b: Sequence[Any] | None = None,
        activation: Activation = "identity",
        **options: Any,
    ) -> Layer:
        """A layer with given weights: W has one row for each neuron, b one entry; None in W is no connection.

        Values among them are taken as they are, so that layers can share them.
        """
        rows = _matrix(W, "W")
        options = {"mask": _mask(rows), "seed": 0, **options}  # the seed: to draw nothing from the module random
        layer = cls(len(rows[0]), len(rows), activation, bias=b is not None, **options)
        layer._assign(rows, b)
        return layer

    def _assign(self, W: list[list[Any]], b: Sequence[Any] | None) -> None:
        if b is not None and not isinstance(_plain(b), (list, tuple)):
            raise ShapeError(f"the biases of a layer are a list, one for each neuron, such as [0.3]; got {b!r:.60}")
        if b is not None and len(b) != len(W):
            raise ShapeError(f"b has {len(b)} numbers for {counted(len(W), 'neuron')}")
        for j, (neuron, row) in enumerate(zip(self.neurons, W, strict=True)):
            given = [x for x in row if x is not None]
            neuron.w = [_parameter(x, v.label) for x, v in zip(given, neuron.w, strict=True)]
            if b is not None:
                neuron.b = _parameter(_plain(b)[j], neuron.b.label)

    def forward(self, x: Any) -> Any:
        """activation(W @ x + b); raises ShapeError for another number of inputs."""
        outputs = self.outputs(_inputs(x, self.n_inputs, self))
        return outputs[0] if len(outputs) == 1 else outputs

    def outputs(self, x: list[Any]) -> list[Any]:
        """The same, always as a list."""
        outputs = [neuron._output(x) for neuron in self.neurons]
        return self._activate(outputs) if self._activate else outputs

    def _label(self, number: str) -> None:
        for j, neuron in enumerate(self.neurons):
            neuron._label(f"W{number}[{j},{{}}]", f"b{number}[{j}]")

    def describe(self) -> str:
        """``Layer(2 -> 4, tanh)``."""
        absent = sum(self.n_inputs - len(neuron.w) for neuron in self.neurons)
        missing = f", {absent} not connected" if absent else ""
        return f"{type(self).__name__}({self.n_inputs} -> {self.n_outputs}{missing}, {self.activation})"


def _matrix(rows: Any, name: str) -> Any:
    rows = _plain(rows)
    if not isinstance(rows, (list, tuple)) or not all(isinstance(_plain(row), (list, tuple)) for row in rows):
        raise ShapeError(f"{name} is a list of rows, one for each neuron, such as [[0.5, 0.6]]; got {rows!r:.60}")
    rows = [list(_plain(row)) for row in rows]
    if not rows or not rows[0] or len({len(row) for row in rows}) != 1:
        raise ShapeError(f"{name} needs rows of one length, got rows of {[len(row) for row in rows]}")
    return rows


def _mask(W: list[list[Any]]) -> list[list[bool]] | None:
    mask = [[x is not None for x in row] for row in W]
    return None if all(map(all, mask)) else mask


def _two_biases(u: Any, v: Any) -> tuple[Any, Any]:
    """Two numbers that are only ever added, as one and None; both where one is a Value and the other not 0."""
    if not isinstance(u, Value) and not isinstance(v, Value):
        return u + v, None
    if not isinstance(v, Value) and v == 0.0:
        return u, None
    return (v, None) if not isinstance(u, Value) and u == 0.0 else (u, v)


def _parameter(x: Any, label: str) -> Value:
    return x if isinstance(x, Value) else Value(x, label)


class MLP(_OfVectors):
    """A multi-layer perceptron: layers one after the other.

    n_inputs: the number of inputs.  sizes: the neurons of each layer, the last one being the output.  activation: of
    the hidden layers, or a list with one for each; a list as long as ``sizes`` gives the output's too.
    output_activation: of the last layer, "softmax" included.  init, seed, bias, expand: as for a `Neuron`.
    skip: the inputs also feed the output layer, behind the last hidden layer's outputs.  masks: for each layer None or
    a mask as for a `Layer`.  dropout: the chance of each hidden output to be dropped in training.

    With the defaults it is micrograd's MLP: after ``random.seed(1337)`` the parameters are the same, in the same order.

    Raises ShapeError for a wrong number of inputs, activations or masks, ValueError for a name that is not known.

    >>> MLP(2, [4, 1], activation="tanh", seed=0)
    MLP: 17 parameters
      layers.0: Layer(2 -> 4, tanh): 12 parameters
      layers.1: Layer(4 -> 1, identity): 5 parameters
    """

    def __init__(
        self,
        n_inputs: int,
        sizes: Sequence[int],
        activation: Activation | Sequence[Activation] = "relu",
        output_activation: Activation | None = None,
        *,
        init: Initializer = "uniform",
        seed: Any = None,
        bias: bool = True,
        skip: bool = False,
        masks: Sequence[Sequence[Sequence[Any]] | None] | None = None,
        dropout: float = 0.0,
        expand: bool = False,
    ) -> None:
        self.n_inputs = whole_number(n_inputs, "the number of inputs")
        if isinstance(sizes, int):
            raise TypeError(f"the sizes of the layers are a list: MLP({n_inputs}, [{sizes}])")
        sizes = list(sizes)
        if not sizes:
            raise ShapeError("an MLP needs at least one layer: MLP(2, [4, 1])")
        if skip and len(sizes) == 1:
            raise ShapeError("skip=True needs a hidden layer to skip: MLP(2, [4, 1], skip=True)")
        if masks is not None and len(masks) != len(sizes):
            raise ShapeError(f"masks has one entry for each of the {len(sizes)} layers, got {len(masks)}")
        self.skip = skip
        activations = _per_layer(activation, output_activation, len(sizes))
        widths = [self.n_inputs, *sizes]
        fan_in = [n + self.n_inputs * (skip and k == len(sizes) - 1) for k, n in enumerate(widths[:-1])]
        rng = generator(seed)
        self.layers = [
            Layer(
                fan_in[k],
                n,
                activations[k],
                init=init,
                seed=rng,
                bias=bias,
                mask=None if masks is None else masks[k],
                expand=expand,
            )
            for k, n in enumerate(sizes)
        ]
        for k, layer in enumerate(self.layers, start=1):
            layer._label(str(k))
        self.dropout = Dropout(dropout) if dropout else None

    @classmethod
    def from_weights(
        cls,
        W: Sequence[Sequence[Sequence[Any]]],
        b: Sequence[Sequence[Any]] | None = None,
        activation: Activation | Sequence[Activation] = "relu",
        output_activation: Activation | None = None,
        *,
        skip: bool = False,
        **options: Any,
    ) -> MLP:
        """A network with given weights: for each layer a matrix with one row for each neuron, and its biases.

        None in a matrix is no connection.  Weights in the convention of row vectors (x @ W + b) are transposed first:
        ``[list(zip(*w)) for w in W]``.

        >>> xor = MLP.from_weights([[[1, 1], [1, 1]], [[1, -2]]], [[0, -1], [0]])
        >>> xor.predict([[0, 0], [0, 1], [1, 0], [1, 1]])
        [0.0, 1.0, 1.0, 0.0]
        """
        matrices = [_matrix(rows, f"W[{k}]") for k, rows in enumerate(W)]
        if not matrices:
            raise ShapeError("from_weights needs the matrix of at least one layer")
        if b is not None and len(b) != len(matrices):
            raise ShapeError(f"there are biases for {len(b)} layers and weights for {len(matrices)}")
        n_inputs = len(matrices[0][0])
        for k, rows in enumerate(matrices[1:], start=1):
            wanted = len(matrices[k - 1]) + n_inputs * (skip and k == len(matrices) - 1)
            if len(rows[0]) != wanted:
                transposed = "; its transpose would fit" * (len(rows) == wanted)
                raise ShapeError(
                    f"W[{k}] needs {counted(wanted, 'column')}, one for each output of the layer before, "
                    f"got {len(rows[0])}{transposed}"
                )
        masks = [_mask(rows) for rows in matrices]
        sizes = [len(rows) for rows in matrices]
        options |= {"bias": b is not None, "skip": skip, "seed": 0}
        model = cls(n_inputs, sizes, activation, output_activation, masks=masks, **options)
        for k, layer in enumerate(model.layers):
            layer._assign(matrices[k], None if b is None else _plain(b[k]))
        return model

    def forward(self, x: Any) -> Any:
        """The output of the last layer; raises ShapeError for another number of inputs."""
        outputs = self.layer_outputs(x)[-1]
        return outputs[0] if len(outputs) == 1 else outputs

    def layer_outputs(self, x: Any) -> list[list[Any]]:
        """The inputs and the outputs of every layer: [x, h1, h2, ..., y], each a list."""
        outputs = [_inputs(x, self.n_inputs, self)]
        for layer in self.layers:
            h = outputs[-1]
            if layer is self.layers[-1] and self.skip:
                h = [*h, *outputs[0]]
            h = layer.outputs(h)
            if self.dropout and layer is not self.layers[-1]:
                h = self.dropout.forward(h)
            outputs.append(h)
        return outputs

    def describe(self) -> str:
        """``MLP``, and what is special about it."""
        return "MLP(skip)" if self.skip else "MLP"


def _per_layer(
    activation: Activation | Sequence[Activation], output_activation: Activation | None, layers: int
) -> list[Activation]:
    if isinstance(activation, str) or not isinstance(activation, Sequence):
        _look_up({**ACTIVATIONS, **LAYER_ACTIVATIONS}, activation, "activation")  # which no layer may have
        return [activation] * (layers - 1) + ["identity" if output_activation is None else output_activation]
    if len(activation) == layers and output_activation is None:
        return list(activation)
    if len(activation) == layers - 1:
        return [*activation, "identity" if output_activation is None else output_activation]
    both = ", of which output_activation gives the last" if output_activation is not None else ""
    raise ShapeError(f"there are {layers} layers{both}, and activations for {len(activation)}")


class Dropout(Module):
    """Each input is 0 with the chance p and divided by 1 - p otherwise, in training; in prediction nothing is done.

    (Srivastava et al. 2014, in the inverted form.)  What is dropped is decided by the module `random`, entry by entry.
    A compiled function draws anew at each call, for each example, the very numbers that the function itself would draw.

    >>> Dropout(0.5).eval()([1.0, 2.0])
    [1.0, 2.0]
    """

    def __init__(self, p: float = 0.5) -> None:
        if not 0.0 <= p < 1.0:
            raise ValueError(f"the chance to be dropped must be at least 0 and below 1, got {p}")
        self.p = p

    def forward(self, x: list[Any]) -> list[Any]:
        """The list with some entries dropped."""
        if not self.training or modes.predicting.get():
            return x
        keep, factor = 1.0 - self.p, modes.dropping.get() or drawn_factor
        return [v * factor(keep) for v in x]

    def describe(self) -> str:
        """``Dropout(0.5)``."""
        return f"Dropout({self.p:g})"


def drawn_factor(keep: float, rng: Any = random) -> float:
    """What `Dropout` multiplies an entry with, which is kept with this chance."""
    return 1.0 / keep if rng.random() < keep else 0.0


# --- Recurrent networks -----------------------------------------------------------------------------------------------


class _Cell(_OfVectors):
    """What the recurrent cells share: for each gate and unit one row of W_x, one of W_h, one entry of b.

    The rows of the gates are stacked in PyTorch's order.  The two biases that PyTorch adds up are one here, where they
    are only ever added up.
    """

    gates: tuple[str, ...]
    #: a second bias, where `from_weights` was given two of Values
    b_h: Sequence[Any] = ()

    def __init__(
        self,
        n_inputs: int,
        hidden_size: int,
        *,
        init: Initializer = "xavier",
        seed: Any = None,
        bias: bool = True,
        expand: bool = False,
    ) -> None:
        self.n_inputs = whole_number(n_inputs, "the number of inputs")
        self.hidden_size = whole_number(hidden_size, "the size of the hidden state")
        self._sum = dot_expanded if expand else dot
        draw, rng = _look_up(INITIALIZERS, init, "initialisation"), generator(seed)
        rows = range(len(self.gates) * hidden_size)
        self.W_x = [[Value(draw(rng, n_inputs, hidden_size), f"W_x[{j},{i}]") for i in range(n_inputs)] for j in rows]
        self.W_h = [
            [Value(draw(rng, hidden_size, hidden_size), f"W_h[{j},{i}]") for i in range(hidden_size)] for j in rows
        ]
        self.b: list[Any] = [Value(0.0, f"b[{j}]") if bias else 0.0 for j in rows]

    @classmethod
    def from_weights(cls: type[C], W_x: Any, W_h: Any, b_x: Any = None, b_h: Any = None, **options: Any) -> C:
        """A cell with given weights: PyTorch's ``weight_ih, weight_hh, bias_ih, bias_hh``, or nested lists.

        W_x has the shape (gates * hidden_size, n_inputs), W_h (gates * hidden_size, hidden_size), each bias
        (gates * hidden_size,); the rows of the gates lie one below the other.  Values among them are taken as they are
        and are parameters; of two biases that are both Values, the second becomes the attribute b_h.
        """
        W_x, W_h = _matrix(W_x, "W_x"), _matrix(W_h, "W_h")
        n, h = len(W_x[0]), len(W_h[0])
        rows = len(cls.gates) * h
        biases = [_plain(b) for b in (b_x, b_h) if b is not None]
        if not len(W_x) == len(W_h) == rows or any(len(b) != rows for b in biases):
            raise ShapeError(
                f"{cls.__name__} with {counted(h, 'unit')} needs {rows} rows in W_x, W_h and every bias, "
                f"got {[len(W_x), len(W_h), *map(len, biases)]}"
            )
        cell = cls(n, h, bias=bool(biases), seed=0, **options)
        cell._assign(W_x, W_h, *[b or [0.0] * rows for b in (_plain(b_x), _plain(b_h))])
        return cell

    def _assign(self, W_x: Any, W_h: Any, b_x: list[Any], b_h: list[Any]) -> None:
        for name, rows in (("W_x", W_x), ("W_h", W_h)):
            labelled = [[_parameter(x, f"{name}[{j},{i}]") for i, x in enumerate(row)] for j, row in enumerate(rows)]
            setattr(self, name, labelled)
        if not isinstance(self.b[0], Value):  # without a bias
            return
        pairs = [_two_biases(u, v) for u, v in zip(b_x, b_h, strict=True)]
        self.b = [_parameter(u, f"b[{j}]") for j, (u, _) in enumerate(pairs)]
        if any(v is not None for _, v in pairs):  # their sum would be a result, and no parameter
            self.b_h = [0.0 if v is None else _parameter(v, f"b_h[{j}]") for j, (_, v) in enumerate(pairs)]

    def initial_state(self) -> Any:
        """The state before the first step: zeros."""
        return [0.0] * self.hidden_size

    def hidden(self, state: Any) -> list[Any]:
        """What the cell shows of its state."""
        return state  # type: ignore[no-any-return]

    def _rows(self, gate: int) -> range:
        return range(gate * self.hidden_size, (gate + 1) * self.hidden_size)

    def _sums(self, gate: int, x: list[Any], h: list[Any]) -> list[Any]:
        """W_x @ x + W_h @ h + b of one gate, one node for each unit."""
        inputs = [*x, *h]
        return [self._sum([*self.W_x[j], *self.W_h[j]], inputs, self._bias(j)) for j in self._rows(gate)]

    def _bias(self, j: int) -> Any:
        return self.b[j] + self.b_h[j] if self.b_h and isinstance(self.b_h[j], Value) else self.b[j]

    def _checked(self, x: Any, state: Any) -> tuple[list[Any], Any]:
        state = self.initial_state() if state is None else state
        h = self.hidden(state)
        if len(h) != self.hidden_size:
            raise ShapeError(f"{type(self).__name__} has a state of {self.hidden_size}, got {len(h)}")
        return _inputs(x, self.n_inputs, self), state

    def describe(self) -> str:
        """``LSTMCell(8 -> 16)``."""
        return f"{type(self).__name__}({self.n_inputs} -> {self.hidden_size})"


C = TypeVar("C", bound=_Cell)


class RNNCell(_Cell):
    """Elman's cell: h' = activation(W_x @ x + W_h @ h + b).

    n_inputs: the length of x.  hidden_size: that of h.  activation: "tanh", "identity" (linear), "sigmoid", any other.
    Called as ``cell(x, h)``; h is zeros when left out.  init, seed, bias, expand: as for a `Neuron`, here "xavier".

    >>> cell = RNNCell.from_weights([[1.0]], [[1.0]], activation="identity")
    >>> cell([2.0], [0.5])
    [Value(data=2.5, grad=0.0)]
    """

    gates = ("h",)

    def __init__(self, n_inputs: int, hidden_size: int, activation: Activation = "tanh", **options: Any) -> None:
        super().__init__(n_inputs, hidden_size, **options)
        self.activation = _name_of(activation)
        self._activate = _look_up(ACTIVATIONS, activation, "activation")

    def forward(self, x: Any, state: Any = None) -> list[Any]:
        """The next state."""
        x, h = self._checked(x, state)
        return [self._activate(z) for z in self._sums(0, x, h)]

    def describe(self) -> str:
        """``RNNCell(1 -> 8, tanh)``."""
        return f"RNNCell({self.n_inputs} -> {self.hidden_size}, {self.activation})"


class GRUCell(_Cell):
    """The gated recurrent unit (Cho et al. 2014), in the form PyTorch computes.

        r = sigmoid(W_xr @ x + W_hr @ h + b_r)              reset
        z = sigmoid(W_xz @ x + W_hz @ h + b_z)              update
        n = tanh(W_xn @ x + b_n + r * (W_hn @ h + b_hn))    candidate
        h' = (1 - z) * n + z * h

    The rows of W_x, W_h and b are those of r, z, n; b_hn is an attribute of its own.

    >>> GRUCell(2, 3, seed=0)
    GRUCell(2 -> 3): 57 parameters
    """

    gates = ("r", "z", "n")

    def __init__(self, n_inputs: int, hidden_size: int, **options: Any) -> None:
        super().__init__(n_inputs, hidden_size, **options)
        bias = isinstance(self.b[0], Value)
        self.b_hn: list[Any] = [Value(0.0, f"b_hn[{j}]") if bias else 0.0 for j in range(hidden_size)]

    def _assign(self, W_x: Any, W_h: Any, b_x: list[Any], b_h: list[Any]) -> None:
        inner = len(b_h) - self.hidden_size
        super()._assign(W_x, W_h, b_x, [*b_h[:inner], *[0.0] * self.hidden_size])
        if isinstance(self.b[0], Value):
            self.b_hn = [_parameter(v, f"b_hn[{j}]") for j, v in enumerate(b_h[inner:])]

    def forward(self, x: Any, state: Any = None) -> list[Any]:
        """The next state."""
        x, h = self._checked(x, state)
        r = [s.sigmoid() for s in self._sums(0, x, h)]
        z = [s.sigmoid() for s in self._sums(1, x, h)]
        n = [
            (self._sum(self.W_x[j], x, self._bias(j)) + r[i] * self._sum(self.W_h[j], h, self.b_hn[i])).tanh()
            for i, j in enumerate(self._rows(2))
        ]
        return [ni + zi * (hi - ni) for ni, zi, hi in zip(n, z, h, strict=True)]


class LSTMCell(_Cell):
    """Long short-term memory (Hochreiter and Schmidhuber 1997, with forget gates), in the form PyTorch computes.

        i, f, o = sigmoid(W_x @ x + W_h @ h + b) by gate    input, forget, output
        g = tanh(W_xg @ x + W_hg @ h + b_g)                 candidate
        c' = f * c + i * g
        h' = o * tanh(c')

    The rows of W_x, W_h and b are those of i, f, g, o.  The state is the pair (h, c).

    >>> h, c = LSTMCell(2, 3, seed=0)([1.0, 0.0])
    >>> len(h), len(c)
    (3, 3)
    """

    gates = ("i", "f", "g", "o")

    def initial_state(self) -> Any:
        """The pair (h, c) before the first step: zeros."""
        return [0.0] * self.hidden_size, [0.0] * self.hidden_size

    def hidden(self, state: Any) -> list[Any]:
        """h of the pair (h, c)."""
        if not isinstance(state, (list, tuple)) or len(state) != 2 or len({len(part) for part in state}) != 1:
            raise ShapeError("the state of an LSTMCell is the pair (h, c)")
        return state[0]  # type: ignore[no-any-return]

    def forward(self, x: Any, state: Any = None) -> tuple[list[Any], list[Any]]:
        """The next state (h, c)."""
        x, (h, c) = self._checked(x, state)
        i, f, o = ([s.sigmoid() for s in self._sums(gate, x, h)] for gate in (0, 1, 3))
        g = [s.tanh() for s in self._sums(2, x, h)]
        c = [fk * ck + ik * gk for fk, ck, ik, gk in zip(f, c, i, g, strict=True)]
        return [ok * ck.tanh() for ok, ck in zip(o, c, strict=True)], c


class RNN(Module):
    """A cell unrolled over a sequence of any length, with a layer that reads its state.

    cell: any of the cells.  output: a `Layer` (or another module) applied to the hidden state; without one the hidden
    state itself is the output.  last: return the output of the last step alone, and not a list of all.

    The running sum, one of the lecture notes' exercises:

    >>> cell = RNNCell.from_weights([[1.0]], [[1.0]], activation="identity")
    >>> RNN(cell, Layer.from_weights([[1.0]])).predict([[2.0, -0.5, 1.0], [1.0, 1.0]])
    [[2.0, 1.5, 2.5], [1.0, 2.0]]
    """

    def __init__(self, cell: _Cell, output: Module | None = None, *, last: bool = False) -> None:
        if not isinstance(cell, _Cell):
            raise TypeError(f"RNN takes a cell, such as RNNCell(2, 8), got {cell!r:.60}")
        n_inputs = getattr(output, "n_inputs", cell.hidden_size)
        if n_inputs != cell.hidden_size:
            raise ShapeError(f"the cell shows {cell.hidden_size} numbers, but the output layer takes {n_inputs}")
        self.cell = cell
        self.output = output
        self.last = last

    def forward(self, sequence: Any, state: Any = None) -> Any:
        """The outputs, one for each step (only the last one with ``last``); raises ShapeError for an empty sequence."""
        states = self.states(sequence, state)
        read = self.output.forward if self.output is not None else identity
        if self.last:
            return read(self.cell.hidden(states[-1]))
        return [read(self.cell.hidden(state)) for state in states]

    def states(self, sequence: Any, state: Any = None) -> list[Any]:
        """The state of the cell after each step."""
        states = []
        if not isinstance(_plain(sequence), (list, tuple)):
            raise TypeError(f"an RNN takes a sequence, a list of steps, got {sequence!r:.60}")
        for x in _plain(sequence):
            state = self.cell.forward(x, state)
            states.append(state)
        if not states:
            raise ShapeError("an RNN needs a sequence of at least one step, got an empty one")
        return states

    def describe(self) -> str:
        """``RNN``, and whether it gives the last output alone."""
        return "RNN(last)" if self.last else "RNN"
