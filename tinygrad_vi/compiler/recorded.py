"""Answers that the function itself gives on Values, which are recorded: for what is differentiated through."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_vi.compiler.arguments import by_example
from tinygrad_vi.compiler.examples import example, factors, floats, like
from tinygrad_vi.compiler.user_function import UserFunction
from tinygrad_vi.derivatives import hessian, hvp, jacobian, jvp, value_and_grad
from tinygrad_vi.differentiated import differentiable
from tinygrad_vi.examples import Table, as_values
from tinygrad_vi.functions import total
from tinygrad_vi.modes import dropping
from tinygrad_vi.trees import argument_names, flatten, values_in
from tinygrad_vi.value import Value

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]


def recorded_mean(
    fn: Callable[..., Any], places: Callable[[Sequence[Any]], tuple[list[int], bool]]
) -> Callable[..., Any]:
    """The mean over the examples, as a function of Values.  places: which arguments are differentiated by."""

    def mean(*arguments: Any) -> Any:
        chosen, _ = places(arguments)
        names = argument_names(fn, len(arguments))
        others = [i for i in range(len(arguments)) if i not in chosen]
        found = []
        with differentiable():
            for row in by_example([arguments[i] for i in others], [names[i] for i in others]):
                of_row = dict(zip(others, row, strict=True))
                result = fn(*[of_row.get(i, x) for i, x in enumerate(arguments)])
                found.append(flatten(result, "the result"))
        return found[0][1](_means([numbers for numbers, _ in found]))

    return mean


def _means(found: Sequence[Sequence[Any]]) -> list[Any]:
    """The mean over the examples of each result.  found: the results of each example."""
    return [total(column) / len(found) for column in zip(*found, strict=True)]


def recorded_answer(
    function: UserFunction, what: str, theta: Any, tables: list[Table], v: Any, by: Sequence[Value]
) -> Array:
    """The answer by the function itself, which records, where it knows Values that are differentiated by here."""
    if function.parameters is not None:
        raise TypeError(
            f"{function.name} knows {_listed(by)}, by which a derivative is being taken around this call: compiled "
            f"with params, its answer is made of numbers, and would count {_these(by)} as constant. Run the function "
            "itself that was compiled; or make the parameters an argument, compile(lambda p, x: ...) "
            "without params, which is differentiated through; or let it know a plain number, w.data, if a constant "
            "is meant"
        )
    rows = range(len(tables[0].numbers) if tables else 1)
    start, nest = flatten(like(theta))

    def of_example(i: int) -> Callable[[list[Any]], list[Any]]:
        def results(leaves: list[Any]) -> list[Any]:
            with dropping.set(factors(tables, i)):
                return flatten(function.fn(nest(leaves), *as_values(example(tables, i))), "the result")[0]

        return results

    def means(leaves: list[Any]) -> list[Any]:
        return _means([of_example(i)(leaves) for i in rows])

    found: Any
    with differentiable():
        if what == "value":
            found = means(start)
        elif what == "each":
            found = [*zip(*[of_example(i)(start) for i in rows], strict=True)]
        elif what == "value_and_gradient":
            value, gradient = value_and_grad(lambda leaves: means(leaves)[0])(start)
            found = [value, *gradient]
        elif what == "jacobian":
            of_rows = [[x for row in jacobian(of_example(i))(start) for x in row] for i in rows]
            found = [*zip(*of_rows, strict=True)]
        elif what == "directional":
            found = [x for part in jvp(means, (start,), (flatten(floats(v), "v")[0],)) for x in part]
        elif what == "hessian":
            found = [x for row in hessian(lambda leaves: means(leaves)[0])(start) for x in row]
        else:
            found = hvp(lambda leaves: means(leaves)[0])(start, flatten(floats(v), "v")[0])
    recorded: Any = np.array(found, dtype=object)
    return recorded if values_in(recorded) else recorded.astype(float)  # type: ignore[no-any-return]


def _listed(values: Sequence[Value]) -> str:
    """Some Values by their labels, or numbers."""
    shown = [repr(v.label) if v.label else f"the Value {v.data!r}" for v in values[:3]]
    return ", ".join([*shown, "..."] if len(values) > 3 else shown)


def _these(values: Sequence[Value]) -> str:
    return "it" if len(values) == 1 else "them"
