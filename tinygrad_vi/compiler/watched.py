"""What a traced function reads besides its arguments: if it changes, the trace is no longer the function.

    the numbers of captured Values                            compared at each call
    its closure, the globals it names, and those of the       compared at each call, by identity: what they hold, the
    functions that it calls; attributes of objects and        entries of lists, dicts and sets, attributes, through
    functions; entries of lists, dicts, sets, NumPy arrays    functions, partials, methods and objects of the user
    attributes of modules, ``training`` among them            a token that changes whenever an attribute of any module
                                                              is set: then everything is looked through again

What is looked through again is compared by its contents: `contents` lists them.  Not watched is what lies out of sight:
behind C code, in modules of other packages, in files, in slots of foreign classes, in more than `MOST` entries.
"""

from __future__ import annotations

import random
import sys
from argparse import Namespace
from array import array
from collections import ChainMap, UserDict, UserList, deque
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextvars import ContextVar
from enum import Enum
from functools import partial
from operator import attrgetter, is_, itemgetter, methodcaller
from types import BuiltinFunctionType, CellType, CodeType, FunctionType, MethodType, ModuleType, SimpleNamespace
from typing import Any

from tinygrad_vi import nn
from tinygrad_vi.modes import predicting
from tinygrad_vi.nn.module import Module, last_change
from tinygrad_vi.rows import Operation
from tinygrad_vi.value import Value

#: how many entries are looked through at most, in all
MOST = 100_000
#: a list of at most so many numbers is compared by identity at each call, a longer one by ==, which is faster
FEW = 256

#: how many levels of lists in lists are looked through
DEEP = 10

#: objects of Python's own that hold what users put there
HOLDERS = (SimpleNamespace, Namespace, UserDict, UserList, ChainMap, Enum)
FUNCTIONS = (FunctionType, MethodType, partial)
#: functions that hold nothing but names, and do not change
GETTERS = (attrgetter, itemgetter, methodcaller)
PLAIN = (int, float, complex, str, bytes, bool, type(None), range, slice)
_cell = attrgetter("cell_contents")

Contents = list[Any]


class Captured:
    """What a function reads besides its arguments, as it was when this was made."""

    def __init__(self, function: Any, params: Sequence[Value]) -> None:
        self.function, self.parameters = function, frozenset(params)
        #: containers that the function itself changes, such as a log of its results: they are not looked into
        self.written: dict[int, Any] = {}
        self.now = self._look()  # a snapshot is never changed, since other threads may be reading it

    def _look(self) -> _Snapshot:
        return _Snapshot(self.function, self.parameters, self.written)

    @property
    def values(self) -> list[Value]:
        """The Values without operands that the function reads."""
        return self.now.values

    @property
    def complete(self) -> bool:
        """Whether everything that the function reads was found, and none of it draws or counts at each call."""
        return self.now.complete

    def same(self) -> bool:
        """Whether nothing has changed: by the quick comparison, or else entry by entry."""
        return self.now.holds() or self.look_again()

    def look_again(self) -> bool:
        """Whether nothing has changed, looked through entry by entry."""
        found = self._look()
        if found.contents != self.now.contents:
            return False
        self.now = found
        return True

    def renew(self) -> None:
        """Compare with what everything is now, from here on."""
        self.now = self._look()

    def changed_by_the_function(self) -> bool:
        """After a run: whether plain numbers, or the state of random numbers, have changed.

        A container of other things that has changed holds the function's own notes: it is not watched any more.
        """
        before, after = self.now, self._look()
        self.written |= {key: x for key, (x, ids) in after.held.items() if before.held.get(key, (x, ids))[1] != ids}
        self.now = self._look()
        return before.numbers() != self.now.numbers() or before.drawn != self.now.drawn


class _Snapshot:
    """What was found, and what to compare it with at each call."""

    def __init__(self, function: Any, params: frozenset[Value], written: Mapping[int, Any]) -> None:
        self.token = last_change()
        walk = _Walk(function, params, written)
        self.held = {id(x): (x, [*map(id, _entries(x))]) for x in walk.views}
        self.contents, self.kept, self.values, self.complete = walk.contents, walk.kept, walk.values, walk.complete
        self.values_met = walk.values_met
        self.drawn = random_state() if walk.draws else None
        #: (get, from what, what it gave): compared by ==, or by identity where == says too little
        self.equal: list[tuple[Callable[[Any], Any], Any, Any]] = []
        self.identical: list[tuple[Callable[[Any], Any], Any, Any]] = []
        #: containers and their copies, compared in one ==, which is faster where each example has a list
        self.containers: list[Any] = []
        self.copies: list[Any] = []
        if walk.cells:
            self._watch(_contents_of, walk.cells)
        for table, names in walk.globals.values():
            self._watch(
                itemgetter(*names, names[0]), table
            )  # the first name twice: of one name alone it would give no tuple
            self.equal.append((len, table, len(table)))  # a global that was missing may have been added
        for container in walk.views:
            self._watch(None, container)
        for x, slots in walk.slotted:
            self._watch(attrgetter(*slots, slots[0]), x)
        for x in walk.arrays:
            self.equal.append((_bytes, x, _bytes(x)))
        for x in walk.variables:
            self.identical.append((_in_this_context, x, _in_this_context(x)))

    def _watch(self, get: Callable[[Any], Any] | None, x: Any) -> None:
        """Watch what ``get`` gives of x; without it the entries of x."""
        known = x if get is None else get(x)
        entries = _entries(known)
        by_identity = self.values_met and any(map(_holds_values, entries))
        if by_identity or (len(entries) <= FEW and any(map(_is_zero, entries))):
            self.identical.append((get or _itself, x, tuple(entries)))
        elif get is None:
            self.containers.append(x)
            self.copies.append(x.copy())
        else:
            self.equal.append((get, x, known))

    def numbers(self) -> Contents:
        """The plain numbers among the contents."""
        return [x for x in self.contents if isinstance(x, tuple)]

    def holds(self) -> bool:
        """Whether the quick comparison finds no change."""
        if self.token is not last_change():
            return False
        try:
            if self.containers != self.copies:
                return False
            for get, x, known in self.equal:
                if get(x) != known:
                    return False
            for get, x, known in self.identical:
                found = get(x)
                if found.__class__ is not list and found.__class__ is not tuple:
                    found = _entries(found)
                if len(found) != len(known) or not all(map(is_, found, known)):
                    return False
        except (ValueError, KeyError, AttributeError, TypeError, RuntimeError):  # a name is gone, entries have no ==
            return False
        return True


def _holds_values(x: Any, depth: int = 0) -> bool:
    """Whether x is, or holds, Values: two of them are equal where their numbers are, and need not be the same one."""
    if isinstance(x, (list, tuple, dict, deque)) and depth < DEEP:
        return any(_holds_values(entry, depth + 1) for entry in _entries(x))
    return isinstance(x, Value)


def _is_zero(x: Any) -> bool:
    """Whether x is a zero: == does not tell 0.0 from -0.0."""
    return x.__class__ in (int, float) and bool(x == 0)


def _contents_of(cells: list[CellType]) -> list[Any]:
    return [cell.cell_contents for cell in cells]


def _bytes(x: Any) -> bytes:
    return x.tobytes() if hasattr(x, "tobytes") else bytes(x)


def _in_this_context(x: Any) -> tuple[Any]:
    return (x.get(None),)


def _entries(container: Any) -> Any:
    return (*container, *container.values()) if hasattr(container, "values") else container


def _itself(x: Any) -> Any:
    return x


class Leaves:
    """Captured Values that stand in a record, with the numbers that were recorded."""

    def __init__(self, leaves: Mapping[Value, float]) -> None:
        self.leaves, self.numbers = list(leaves), list(leaves.values())
        #: those that are 0.0 or -0.0, which == does not tell apart
        self.zeros = [(v, x) for v, x in leaves.items() if x == 0.0]

    def among(self, known: Set[Value]) -> Leaves:
        """The same, of these Values alone."""
        return Leaves({v: x for v, x in zip(self.leaves, self.numbers, strict=True) if v in known})

    def same(self) -> bool:
        """Whether all numbers are as they were."""
        if self.leaves and [v.data for v in self.leaves] != self.numbers:
            return False
        return not self.zeros or all(str(v.data) == str(x) for v, x in self.zeros)


class _Walk:
    """Goes through all that a function can reach, the near first."""

    def __init__(self, function: Any, params: frozenset[Value], written: Mapping[int, Any]) -> None:
        self.parameters, self.written = params, written
        self.contents: Contents = []  # ids and numbers, in order
        self.kept: list[Any] = []  # kept alive, so that no other object gets their ids
        self.values: list[Value] = []
        self.complete = True
        self.draws = False
        self.values_met = False
        self.cells: list[CellType] = []
        self.globals: dict[int, tuple[dict[str, Any], list[str]]] = {}
        self.views: list[Any] = []
        self.arrays: list[Any] = []
        self.variables: list[ContextVar[Any]] = []
        self.slotted: list[tuple[Any, list[str]]] = []
        self.seen: set[int] = set()
        self.waiting: deque[Any] = deque([function])
        while self.waiting and len(self.kept) < MOST:
            self._visit(self.waiting.popleft())
        self.complete &= not self.waiting and not self.draws

    def _visit(self, x: Any) -> None:
        if isinstance(x, PLAIN):
            self.contents.append((type(x), repr(x) if isinstance(x, (float, complex)) else x))
            return
        self.contents.append(id(x))
        if id(x) in self.seen:
            return
        self.seen.add(id(x))
        self.kept.append(x)
        if isinstance(x, GETTERS):
            return
        if isinstance(x, Value):
            self.values_met = True
            if not x.parents and x not in self.parameters:
                self.values.append(x)
        elif isinstance(x, FUNCTIONS):
            self._function(x)
        elif isinstance(x, (list, tuple, dict, set, frozenset, deque)):
            self._container(x)
        elif isinstance(x, (array, bytearray, memoryview)):
            self.contents.append((type(x), _bytes(x)))
            self.arrays.append(x)
        elif isinstance(x, ContextVar):
            self.waiting.append(x.get(None))
            self.variables.append(x)
        elif isinstance(x, ModuleType):
            self._from(x.__name__)
        elif isinstance(x, (type, Operation, BuiltinFunctionType)):
            self._named(x)
        elif hasattr(type(x), "dtype") and hasattr(type(x), "tobytes"):
            self._array(x)
        else:
            self._object(x)

    def _function(self, x: Any) -> None:
        if isinstance(x, partial):
            self.waiting += [x.func, x.args, x.keywords]
        elif isinstance(x, MethodType):
            self.waiting += [x.__self__, x.__func__]
        elif not _foreign(x.__module__):
            cells = [cell for cell in x.__closure__ or () if _filled(cell)]
            self.cells += cells
            self.waiting += [_cell(cell) for cell in cells]
            self.waiting += [x.__defaults__, x.__kwdefaults__]
            names = _names(x.__code__)
            known = [name for name in names if name in x.__globals__]
            table, listed = self.globals.setdefault(id(x.__globals__), (x.__globals__, []))
            listed += [name for name in known if name not in listed]
            self.waiting += [table[name] for name in known]
            if "random" in names and any(isinstance(table[name], ModuleType) for name in known):
                self.draws = True  # np.random
            self.waiting.append(vars(x))  # f.rate
            imported = [sys.modules.get(name) for name in names if name not in known]  # import config, inside of it
            self._modules([*[table[name] for name in known], *[_cell(cell) for cell in cells], *imported], names)
        else:
            self._from(x.__module__)
            if _of_the_package(x.__module__) and hasattr(x, "__wrapped__"):  # grad(f)
                self.waiting.append(x.__wrapped__)
        for table_id in [key for key, (_, listed) in self.globals.items() if not listed]:
            del self.globals[table_id]

    def _modules(self, held: list[Any], names: list[str]) -> None:
        """What a function reads of the user's modules that it holds, by the names that it uses: config.rate."""
        modules = [x for x in held if isinstance(x, ModuleType) and not _foreign(x.__name__)]
        for module in modules:
            inner, listed = self.globals.setdefault(id(vars(module)), (vars(module), []))
            found = [inner[name] for name in names if name in inner]
            listed += [name for name in names if name in inner and name not in listed]
            self.waiting += found
            modules += [x for x in found if isinstance(x, ModuleType) and not _foreign(x.__name__) and x not in modules]

    def _container(self, x: Any) -> None:
        if id(x) in self.written:
            return
        entries = list(x.values()) if isinstance(x, dict) else list(x)
        if isinstance(x, dict):
            self.waiting += list(x)
            self.contents.append(len(x))
        if entries and all(entry.__class__ is Value for entry in entries):
            self._values(entries)
        else:
            self.waiting += entries
        if not isinstance(x, (tuple, frozenset)) and not (
            entries and all(isinstance(entry, Value) and entry in self.parameters for entry in entries)
        ):
            self.views.append(x)

    def _values(self, values: list[Value]) -> None:
        """What `_visit` does for many Values: a layer has thousands."""
        self.contents += map(id, values)
        new = [v for v in dict.fromkeys(values) if id(v) not in self.seen]
        self.seen.update(map(id, new))
        self.kept += new
        self.values_met = True
        self.values += [v for v in new if not v.parents and v not in self.parameters]

    def _from(self, module: str | None) -> None:
        """Something of a module is used: does it give something else each time?"""
        root = (module or "").partition(".")[0]
        self.draws |= root in ("random", "_random", "secrets", "uuid") or "numpy.random" in (module or "")
        self.complete &= root not in ("time", "datetime", "os", "io") and module != "tinygrad_vi.training"

    def _named(self, x: Any) -> None:
        module = getattr(x, "__module__", None)
        self._from(module)
        owner = getattr(x, "__self__", None)  # of random.random it is a hidden object
        if isinstance(x, BuiltinFunctionType) and owner is not None and not isinstance(owner, ModuleType):
            self.waiting.append(owner)
        if isinstance(x, type) and not _foreign(module):  # class Config: rate = 0.1, and its methods
            members = vars(x).items()
            self.waiting += [v for name, v in members if not name.startswith("__") or isinstance(v, FunctionType)]
            self.waiting += x.__bases__
            self.views.append(vars(x))
        elif isinstance(x, type) and issubclass(x, Module):
            self.waiting.append(x.training)

    def _array(self, x: Any) -> None:
        if x.dtype == object:
            self.waiting += x.ravel().tolist()
        elif x.size <= MOST:
            self.contents.append((x.shape, str(x.dtype), x.tobytes()))
            self.arrays.append(x)
        else:
            self.complete = False

    def _object(self, x: Any) -> None:
        kind = type(x)
        self._from(kind.__module__)
        state = _state(x)
        if state is not None:
            self.contents.append((kind, state))
        if (
            _of_the_package(kind.__module__) and kind.__name__ == "Compiled"
        ):  # it watches for itself what its traces depend on
            self.waiting += [x.fn, x.parameters]
            return
        foreign = _foreign(kind.__module__) and not isinstance(x, (Module, *HOLDERS))
        if foreign and callable(x):  # functools.cache(f), np.vectorize(f)
            self.waiting += [f for f in getattr(x, "__dict__", {}).values() if isinstance(f, FUNCTIONS)]
        self.complete &= not foreign and state is None  # what an object of another package holds is not looked into
        self.complete &= not (isinstance(x, nn.Dropout) and x.training and not predicting.get())
        if foreign and not _of_the_package(kind.__module__):
            return
        attributes = getattr(x, "__dict__", None)
        if isinstance(attributes, dict):
            self.waiting += attributes.values()
            if not isinstance(x, Module):
                self.views.append(attributes)
        slots = [name for c in kind.__mro__ for name in _slots(c)]
        slots = [name for name in slots if hasattr(x, name)]
        if slots:
            self.waiting += [getattr(x, name) for name in slots]
            self.slotted.append((x, slots))
        if not _of_the_package(kind.__module__):
            self.waiting.append(kind)


def _slots(kind: type) -> Sequence[str]:
    slots = vars(kind).get("__slots__", ())
    return [slots] if isinstance(slots, str) else [name for name in slots if not name.startswith("__")]


def _filled(cell: CellType) -> bool:
    try:
        _ = cell.cell_contents
    except ValueError:  # of a name that has no value yet
        return False
    return True


def _names(code: CodeType) -> list[str]:
    """The names that code uses, that of functions within it too."""
    names = list(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            names += _names(constant)
    return list(dict.fromkeys(names))


def _of_the_package(module: str | None) -> bool:
    return (module or "").partition(".")[0] == "tinygrad_vi"


def _state(x: Any) -> str | None:
    """Where a generator of random numbers, or an iterator, has come to; None for another object."""
    kind = type(x)  # an object may claim to have any attribute
    if hasattr(kind, "getstate") and hasattr(kind, "random"):
        return str(hash(x.getstate()))
    if hasattr(kind, "bit_generator"):
        return repr(x.bit_generator.state)
    if not isinstance(x, Iterator):
        return None
    try:
        return repr(x) + repr(x.__reduce__()[2:])
    except TypeError:  # a generator
        return repr(x)


def random_state() -> Any:
    """The state of the global generators, of `random` and of NumPy."""
    numpy_random = sys.modules.get("numpy.random")
    return random.getstate(), None if numpy_random is None else repr(numpy_random.get_state())


def _foreign(module: str | None) -> bool:
    """Whether a module belongs to Python, to this package or to another one, and not to the user."""
    root = (module or "").partition(".")[0]
    if root in ("tinygrad_vi", "numpy", "scipy") or root in sys.stdlib_module_names:
        return True
    found = sys.modules.get(root)
    place = getattr(found, "__file__", None) or ""
    return "site-packages" in place or "dist-packages" in place
