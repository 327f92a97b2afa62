"""The first pass: run the user's function once, on Values, and keep what they recorded.

There is no placeholder to write functions for: the function meets the numbers of a real example, wrapped as Values, and
whatever runs eagerly can be traced.  Only a condition cannot.  An ``if`` on a Value would silently compile the one
branch that this example takes, so while a function is traced a Value refuses to be compared or to be true or false.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from tinygrad_vi.derivatives import differentiable, flatten
from tinygrad_vi.modes import tracing
from tinygrad_vi.value import Value, recording


@dataclass(frozen=True)
class Trace:
    """One run of a function: what went in, and what came out.

    inputs: the Values its arguments were made of, in order.  outputs: the Values of its result; ``nest`` arranges as
    many numbers like the result.
    """

    inputs: list[Value]
    outputs: list[Value]
    nest: Callable[[Sequence[Any]], Any]


def trace(f: Callable[..., Any], example: Sequence[Any]) -> Trace:
    """Run f on one example: its arguments are numbers, or nested lists or arrays of them.

    Raises TypeError when f uses a Value as a condition, a float or an index, or when it returns something else than
    numbers.

    >>> found = trace(lambda x, t: (x[0] * x[1] - t) ** 2, ([2.0, 3.0], 1.0))
    >>> len(found.inputs), found.outputs[0].data
    (3, 25.0)
    """
    numbers, nest_arguments = flatten(tuple(example))
    inputs = [Value(x) for x in numbers]
    with ExitStack() as stack:
        for context in (recording(True), differentiable(), tracing.set(f)):
            stack.enter_context(context)
        try:
            result = f(*nest_arguments(inputs))
        except TypeError as error:
            signs = ("indices must be integers", "as an integer", "int() argument")
            if not any(sign in str(error) for sign in signs):
                raise
            raise TypeError(f"{error}: a traced Value cannot be an int; take(table, index) looks up entries") from error
    if result is None:
        raise TypeError("the function returned None, where numbers or Values are wanted: is a `return` missing?")
    results, nest = flatten(result)
    return Trace(inputs, [y if isinstance(y, Value) else Value(y) for y in results], nest)
