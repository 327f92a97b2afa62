"""Activations and initial weights by name."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from operator import methodcaller
from typing import Any

from tinygrad_vi import functions, rows
from tinygrad_vi.examples import random_numbers
from tinygrad_vi.value import Value

Activation = str | Callable[[Any], Any]
Initializer = str | Callable[[Any, int, int], float]

# --- Activations and initial weights ----------------------------------------------------------------------------------


def identity(x: Any) -> Any:
    """The activation of a linear unit."""
    return x


def _activations() -> dict[str, Callable[[Any], Any]]:
    """Every built-in operation of one operand; as methods, three times faster on a Value than the functions."""
    unary = [name for name, op in rows.OPERATIONS.items() if op.arity == 1 and hasattr(Value, name)]
    return {"identity": identity, "linear": identity, **{name: methodcaller(name) for name in unary}}


#: activations of one unit, those of the user's own among them
ACTIVATIONS = rows.ByName(_activations(), fits=lambda op: op.arity == 1)
#: activations of a whole layer
LAYER_ACTIVATIONS = rows.ByName({"softmax": functions.softmax}, fits=lambda op: False)
ALL_ACTIVATIONS = rows.ByName({**ACTIVATIONS.functions, **LAYER_ACTIVATIONS.functions}, ACTIVATIONS.fits)

#: (random numbers, inputs of the neuron, neurons of the layer) -> one weight
INITIALIZERS: dict[str, Callable[[Any, int, int], float]] = {
    "uniform": lambda rng, fan_in, fan_out: rng.uniform(-1.0, 1.0),
    "xavier": lambda rng, fan_in, fan_out: rng.uniform(-1.0, 1.0) * math.sqrt(6.0 / (fan_in + fan_out)),
    "he": lambda rng, fan_in, fan_out: rng.gauss(0.0, math.sqrt(2.0 / fan_in)),
}


def look_up(table: Mapping[str, Any], given: Any, what: str) -> Any:
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


def name_of(given: Activation) -> str:
    """The name of an activation that was given by name or as a function."""
    return given if isinstance(given, str) else getattr(given, "__name__", type(given).__name__)


def generator(seed: Any) -> Any:
    """The random numbers of a seed; without one the module `random` itself, which ``random.seed`` sets."""
    if seed is None:
        return random
    return seed if hasattr(seed, "uniform") else random_numbers(seed)
