"""Which compiled function answers for arguments that are nested, named, or columns in a record."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_vi.calls import places_of
from tinygrad_vi.compiler.arguments import (
    Arrangement,
    AsTheyAre,
    Column,
    arrange,
    bound,
    column_of,
    is_number,
    is_record,
    of_columns,
)
from tinygrad_vi.compiler.errors import GivenValues
from tinygrad_vi.trees import LEAF, argument_names, values_in
from tinygrad_vi.value import Value

if TYPE_CHECKING:
    from tinygrad_vi.compiler.compiled import Compiled

FLOAT = np.dtype(float)


class Arrangements:
    """The ways in which the arguments of one function were given, each with the compiled function that answers.

    make: compiles a function, with its parameters and argnums, as the one that this belongs to was compiled.
    """

    def __init__(
        self,
        fn: Callable[..., Any],
        params: list[Value] | None,
        argnums: int | Sequence[int] | None,
        make: Callable[..., Compiled],
    ) -> None:
        self.fn, self.parameters, self.argnums, self.make = fn, params, argnums, make
        #: the function with its arguments arranged as theta and data
        self.arranged: dict[Arrangement, Compiled] = {}
        #: the function of the columns that records among the data hold
        self.of_columns: dict[tuple[Any, ...], Compiled] = {}
        #: how so many floats were arranged, f(2.0, 5.0)
        self.of_floats: dict[int, tuple[Compiled, Arrangement]] = {}

    def made(self) -> list[Compiled]:
        """The compiled functions that answer for this one."""
        return [*self.arranged.values(), *self.of_columns.values()]

    def clear(self) -> None:
        """Forget them."""
        self.arranged.clear()
        self.of_columns.clear()
        self.of_floats.clear()

    def unusual(self, theta: Any, data: Sequence[Any]) -> bool:
        """Whether the arguments are something else than an array of all parameters, and columns of data."""
        if theta.__class__ is np.ndarray and theta.dtype is FLOAT and theta.ndim and self.argnums is None:
            return any(x.__class__ is not np.ndarray and is_record(x) for x in data)
        return True

    def arrange(
        self, theta: Any, data: Sequence[Any], named: dict[str, Any]
    ) -> tuple[Compiled | None, Arrangement | AsTheyAre, Any, tuple[Any, ...]]:
        """What answers, where it is another compiled function; how its arguments are arranged; theta and the data."""
        if self.parameters is not None:
            if values_in(theta):
                raise GivenValues("theta")
            data = bound(self.fn, data, named) if named else tuple(data)
            if any(map(is_record, data)):
                columns, data = self._by_columns(data, [])
                return columns, AsTheyAre(), theta, data
            return None, AsTheyAre(), theta, data
        arguments = bound(self.fn, (theta, *data), named) if named else (theta, *data)
        floats = self.argnums is None and len(arguments) > 1 and all(x.__class__ is float for x in arguments)
        if floats and len(arguments) in self.of_floats:
            return *self.of_floats[len(arguments)], np.array(arguments), ()
        places, single = self.places(arguments)
        if values_in([arguments[i] for i in places]):
            raise GivenValues("theta", arguments)
        if any(is_record(x) for i, x in enumerate(arguments) if i not in places):
            columns, (theta, *data) = self._by_columns(arguments, places)
            core, arrangement, theta, data = columns._arrangements.arrange(theta, data, {})
            return columns._left_to(core), arrangement, theta, data
        if self.argnums is None and single and self._is_vector(arguments[0]):
            return None, AsTheyAre(), arguments[0], tuple(arguments[1:])
        arrangement, numbers, rest = arrange(self.fn, arguments, places, single)
        core = self.arranged.get(arrangement)
        if core is None:
            fn = arrangement.function(self.fn)
            core = self.arranged[arrangement] = self.make(fn, None)
        if floats:
            self.of_floats[len(arguments)] = core, arrangement
        return core, arrangement, numbers, tuple(rest)

    def arrange_with_vector(
        self, theta: Any, v: Any, data: Sequence[Any]
    ) -> tuple[Compiled | None, Arrangement | AsTheyAre, Any, Any, tuple[Any, ...]]:
        """The same where a vector stands behind the last argument that is differentiated by."""
        arguments = [theta, v, *data]
        if self.argnums is not None:
            behind = 1 + max(places_of(self.argnums, len(arguments) - 1))
        elif self.parameters is None and len(arguments) > 2 and all(map(is_number, arguments[:-1])):
            behind = len(arguments) - 1
        else:
            behind = 1
        vector = arguments.pop(behind)
        core, arrangement, theta, rest = self.arrange(arguments[0], arguments[1:], {})
        if isinstance(arrangement, Arrangement):
            vector = np.array(arrangement.vector(vector), dtype=float)
        return core, arrangement, theta, vector, rest

    def places(self, arguments: Sequence[Any]) -> tuple[list[int], bool]:
        """The places of the arguments to differentiate by, and whether results are like the only one."""
        if self.argnums is not None:
            return places_of(self.argnums, len(arguments)), not isinstance(self.argnums, (tuple, list))
        if len(arguments) > 1 and all(is_number(x) or isinstance(x, Value) for x in arguments):
            return list(range(len(arguments))), False
        return [0], True

    def _by_columns(self, arguments: Sequence[Any], places: Sequence[int]) -> tuple[Compiled, tuple[Any, ...]]:
        """The function of the columns that records among the data hold, and all arguments, these columns among them."""
        if values_in([x for i, x in enumerate(arguments) if i not in places]):
            raise GivenValues("the data", tuple(arguments))
        names = argument_names(self.fn, len(arguments))
        columns: list[Column] = []
        given: list[Any] = []
        moved: dict[int, int] = {}
        for i, (x, name) in enumerate(zip(arguments, names, strict=True)):
            moved[i] = len(given)
            column, inside = (Column(LEAF, (name,)), [x]) if i in places else column_of(x, name)
            columns.append(column)
            given += inside
        # a vector in the first place stays one; by default all of several numbers would be differentiated by
        usual = not places or (self.argnums is None and self._is_vector(arguments[0]) and not is_number(arguments[0]))
        by = tuple([moved[i] for i in places])
        single = self.argnums is None or not isinstance(self.argnums, (tuple, list))
        argnums = None if usual else by[0] if single else by
        core = self.of_columns.get((*columns, argnums))
        if core is None:
            fn = of_columns(self.fn, columns)
            core = self.make(fn, self.parameters, argnums)
            self.of_columns[(*columns, argnums)] = core
        return core, tuple(given)

    def _is_vector(self, theta: Any) -> bool:
        """Whether it is a number, an array, or a list that could be one."""
        if isinstance(theta, dict) or hasattr(theta, "_fields"):
            return False
        if isinstance(theta, (list, tuple)):
            try:
                return np.asarray(theta).dtype.kind in "fiub"
            except ValueError:  # rows of different lengths
                return False
        return hasattr(theta, "dtype") or isinstance(theta, (int, float))
