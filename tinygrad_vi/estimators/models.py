"""The model of an estimator: a network by its hidden layers, a module of the user's own, a function with parameters."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from tinygrad_vi.checks import ShapeError, counted, number
from tinygrad_vi.nn.feedforward import MLP, Neuron
from tinygrad_vi.nn.module import Module
from tinygrad_vi.optim.rules import parameters_of
from tinygrad_vi.trees import flatten
from tinygrad_vi.value import Value

#: what a function that makes a model looks like, for errors
MAKES = "model=lambda n_inputs, n_outputs, seed: nn.MLP(n_inputs, [8, n_outputs], seed=seed)"


class Curve(Module):
    """A function ``f(params, x)`` in scalar code with the parameters that it begins with.

    >>> line = Curve(lambda p, x: p["a"] * x[0] + p["b"], {"a": 2.0, "b": 1.0})
    >>> line.predict([[3.0], [4.0]]), line.state_dict()
    ([7.0, 9.0], {'params.a': 2.0, 'params.b': 1.0})
    """

    def __init__(self, f: Callable[[Any, Any], Any], start: Any) -> None:
        numbers, nest = flatten(start, "start")
        if not numbers:
            raise ValueError("start holds no numbers: give those that the parameters begin with, start=[1.0, 0.0]")
        self.params = nest([Value(number(x, "start")) for x in numbers])
        self._f = f

    def forward(self, x: Any) -> Any:
        """f(params, x)."""
        return self._f(self.params, x)


def made(model: Any, start: Any, hidden: Any, activation: Any, *, n_inputs: int, n_outputs: int, seed: int) -> Module:
    """The model of an estimator's settings, with new parameters.

    Raises TypeError for what makes no Module, ValueError for one without parameters.
    """
    if start is not None:
        if not callable(model) or isinstance(model, Module):
            raise TypeError(
                f"start= belongs to model=f, a function f(params, x) in scalar code, got model={model!r:.60}"
            )
        return Curve(model, start)
    if model is None:
        sizes = hidden if isinstance(hidden, (list, tuple)) else [hidden]
        if any(isinstance(size, bool) or not hasattr(size, "__index__") for size in sizes):
            raise ValueError(f"hidden has the size of each hidden layer, hidden=(16, 16), or (); got {hidden!r:.60}")
        return MLP(n_inputs, [*sizes, n_outputs], activation=activation, init="xavier", seed=seed)
    if isinstance(model, Module) or not callable(model):
        raise TypeError(f"each fit begins with a new model: give a function that makes it, {MAKES}; got {model!r:.60}")
    try:
        inspect.signature(model).bind(n_inputs, n_outputs, seed)
    except (TypeError, ValueError):
        raise TypeError(
            f"model is called with the number of inputs, the number of outputs and a seed: {MAKES}; or it is a "
            "function f(params, x) in scalar code, beside start=, the numbers that params begin with"
        ) from None
    found = model(n_inputs, n_outputs, seed)
    if not isinstance(found, Module):
        raise TypeError(f"model makes a Module, {MAKES}; got {found!r:.60} of type {type(found).__name__}")
    parameters_of(found, "an estimator")
    return found


def outputs(answer: Any, n: int) -> Any:
    """The answer of a model to one example: a number where n is 1, else a list of n.

    Raises ShapeError for another number of outputs.
    """
    several = isinstance(answer, (list, tuple)) or (hasattr(answer, "ndim") and answer.ndim > 0)
    found = list(answer) if several else [answer]
    if len(found) != n:
        raise ShapeError(
            f"the model gives {counted(len(found), 'output')} for an example, and {n} are wanted: one for each target "
            "or class, and a single one for two classes"
        )
    return found[0] if n == 1 else found


def weights_in(model: Module) -> list[Value]:
    """The parameters that a penalty makes small: all but the biases of neurons."""
    biases = {neuron.b for neuron in model.modules() if isinstance(neuron, Neuron) and isinstance(neuron.b, Value)}
    return [p for p in model.parameters() if p not in biases]
