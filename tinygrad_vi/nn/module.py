"""Modules: objects with parameters.  Finding the parameters, saving and loading them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import is_dataclass
from functools import lru_cache
from numbers import Real
from pathlib import Path
from types import BuiltinFunctionType, FunctionType
from typing import TYPE_CHECKING, Any, TypeVar

from tinygrad_vi import modes
from tinygrad_vi.checks import DomainError, ShapeError, counted, plain
from tinygrad_vi.files import finite, read_json, shown, whole, write_json
from tinygrad_vi.graph import NOT_COMPUTED
from tinygrad_vi.trees import entries
from tinygrad_vi.value import Value

if TYPE_CHECKING:
    from tinygrad_vi.optim.rules import Optimizer

M = TypeVar("M", bound="Module")

FILE_FORMAT = "tinygrad_vi model"
#: how deep lists may be nested: no parameters are deeper, but a list may contain itself
MAX_DEPTH = 100


# --- Module -----------------------------------------------------------------------------------------------------------


def prediction() -> AbstractContextManager[None]:
    """A context manager: nothing is dropped, whatever mode a module is in."""
    return modes.predicting.set(True)


def last_change() -> object:
    """An object that is replaced whenever an attribute of any module is set: then compiled functions look again."""
    return _changes[0]


_changes = [object()]


class Module:
    """Something with parameters: subclass it, assign Values and other modules as attributes, and write ``forward``.

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
        """The output of ``forward``, with its record, also for plain numbers; inside `no_grad` without."""
        return self.forward(*inputs, **named)

    def predict(self, X: Any) -> Any:
        """The answers of the model in numbers: nothing is recorded, and `Dropout` drops nothing.

        X: a list or an array with an entry for each example, as in `fit`; ``forward`` gets them as it does there, with
        floats as Values.  The answers are a list, with one number for each example (or what the model returns, in
        numbers); for an array they are an array: (N,) for one output, (N, m) for m.
        For one example alone the answer alone is returned.  One example is a number; for modules with a fixed number of
        inputs (`Neuron`, `Layer`, `MLP`, cells) also a flat list or array, unless this number is 1.
        For 100 examples and more the model is compiled, if it can be and keeps no state from call to call: the answers
        then agree to a few units in the last place of the largest number on the way.  The programs of the models asked
        last are kept, and made anew when a model, or anything that it reads, has changed.

        Raises ShapeError for no examples or a wrong number of inputs, TypeError for what is no number (a Value is none
        here), ValueError for an infinity or NaN.

        >>> from tinygrad_vi.nn import MLP
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
        """The module itself and all modules inside it."""
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
        """Every parameter with its new number."""
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

    def save(self, path: str | Path, *, optimizer: Optimizer | None = None) -> Path:
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

    def load(self: M, path: str | Path, *, optimizer: Optimizer | None = None) -> M:
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

    def parts(self) -> list[tuple[str, Module]]:
        """The modules that it is printed with, by name."""
        return list(_children("", self))

    def __repr__(self) -> str:
        lines: list[str] = []
        stack: list[tuple[str, Any, tuple[Module, ...]]] = [("", self, ())]  # path, module, those around it
        while stack:
            path, module, around = stack.pop()
            its_own: Any = type(module).__repr__
            if any(module is other for other in around):
                lines += _indented(path, "...: see above", len(around))
            elif module is not self and its_own is not Module.__repr__ and not is_dataclass(module):
                lines += _indented(path, repr(module), len(around))  # it has a text of its own
            else:
                said = f"{module.describe()}: {counted(len(module.parameters()), 'parameter')}"
                lines += _indented(path, said, len(around))
                stack += reversed([(name, child, (*around, module)) for name, child in module.parts()])
        return "\n".join(lines)


def numbers_in(x: Any) -> Any:
    """x, with its number in the place of each Value."""
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
    """The attributes of a module or dataclass: those in slots, as @dataclass(slots=True) makes them, and all others."""
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
    """The text by which a file knows the architecture.  (A dataclass would write its numbers into its own text.)"""
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
        elif x.__class__ is list and depth <= MAX_DEPTH and {*map(type, x)} == {Value}:  # weights, quicker
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
            _walk("", root)  # raises the error, which says where
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
    """Parameters by path: a Value, or a nested list that holds nothing but Values."""
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
    """Pairs of a parameter and its new number."""
    given = plain(given)
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


def _indented(path: str, text: str, depth: int) -> list[str]:
    first, *rest = text.splitlines()
    return ["  " * depth + line for line in (f"{path}: {first}" if path else first, *rest)]
