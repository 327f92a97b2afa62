"""A compiled function as a pure function of JAX: see `Compiled.to_jax`."""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from tinygrad_vi.checks import ShapeError, counted, package
from tinygrad_vi.compiler.arguments import mapped
from tinygrad_vi.compiler.jax_source import jax_source
from tinygrad_vi.compiler.numpy_layout import Names
from tinygrad_vi.compiler.program import Question

if TYPE_CHECKING:
    from tinygrad_vi.compiler.traced import Traced

#: what may be asked, and the question of `Program` that answers
QUESTIONS = {"value_and_grad": "value_and_gradient", "value": "value", "each": "each"}

#: lines of text from which on XLA's compilation is announced, and about how many seconds it takes for so many
LONG = 500


def seconds_of_xla(lines: int) -> float:
    """About how long XLA takes for a text on a CPU: measured on filters of 242 to 1,205 lines, without their loops."""
    return 0.3 + 4e-3 * lines + 3e-5 * lines * lines


def program_of(
    question: Question, names: Names, function: str, weighted: bool = False, *, loops: bool = True
) -> Callable[..., Any]:
    """The function of a text for JAX, to be jitted; of a long one it says how long that may take."""
    jax = package("jax", "a program on JAX")
    text = jax_source(question, names, function, weighted, loops=loops)
    found = _run(text, function)
    if "jax.lax.scan(" in text and not _fits(jax, found, question, names, weighted):
        text = jax_source(question, names, function, weighted, loops=False)
        found = _run(text, function)
    lines = text[text.index(f"def {function}(") :].count("\n")
    if lines > LONG:
        warnings.warn(
            f"the program has {lines:,} lines for JAX: XLA may take about {seconds_of_xla(lines):.0f} s to compile it, "
            "once for each size of a batch; the native back end needs no such time",
            stacklevel=4,
        )
    return found


def _run(text: str, function: str) -> Callable[..., Any]:
    namespace: dict[str, Any] = {}
    exec(compile(text, "<the JAX text of a compiled function>", "exec"), namespace)
    found: Callable[..., Any] = namespace[function]
    return found


def _fits(jax: Any, run: Callable[..., Any], question: Question, names: Names, weighted: bool) -> bool:
    """Whether what a loop carries has one shape in all steps, which its lines do not tell: the first may have fewer."""
    N, shape = 3, jax.ShapeDtypeStruct
    given = [shape((question.parameters,), "float32"), *[shape((N, size), "float32") for _, size in names.arguments]]
    try:
        jax.eval_shape(run, *given, *[shape((N,), "float32")] * weighted)
    except (TypeError, ValueError):
        return False
    return True


def to_jax(traced: Traced, asked: str, name: str) -> Callable[..., Any]:
    """The program of a trace as a function of JAX, as `Compiled.to_jax` says.  name: of the function."""
    question = question_for(traced, asked)
    run = program_of(question, traced.names, function_name(asked))
    arguments = [] if traced.data is not None else traced.names.arguments
    P, outputs, shape = traced.program.parameters, len(question.outputs) - question.flagged, traced.shape

    def function(theta: Any, *data: Any) -> Any:
        import jax.numpy as jnp

        theta = _parameters(theta, P)
        columns = [jnp.asarray(traced.data, theta.dtype)] if traced.data is not None else _columns(arguments, data)
        found = run(theta.ravel(), *columns)
        if asked == "value_and_grad":
            value, slopes = found
            value, gradient = _where_defined(slopes[P:], value, slopes[:P])
            return value, gradient.reshape(theta.shape)
        (results,) = _where_defined(found[outputs:], found[:outputs])
        if asked == "value":
            return results[:, 0].reshape(shape)
        count = columns[0].shape[0] if columns and mapped(data) else 1
        results = jnp.broadcast_to(results, (outputs, count)).T
        return results.reshape((count, *shape) if mapped(data) else shape)

    kind = inspect.Parameter.POSITIONAL_ONLY
    names = ["theta", *[name for name, _ in arguments]]
    function.__signature__ = inspect.Signature([inspect.Parameter(n, kind) for n in names])  # type: ignore[attr-defined]
    function.__name__ = function.__qualname__ = name if name.isidentifier() else "compiled"
    function.__doc__ = f"{asked} of {name}, a pure function of JAX: see `tinygrad_vi.compile` and `Compiled.to_jax`."
    return function


def function_name(asked: str) -> str:
    """What the text calls the function that answers."""
    return "value_and_gradient" if asked == "value_and_grad" else "results"


def question_for(traced: Traced, asked: str) -> Question:
    """What is asked of a trace, with the flag of the checks; ValueError or TypeError where a pure function cannot."""
    if asked not in QUESTIONS:
        raise ValueError(f"asked is one of {', '.join(QUESTIONS)}, got {asked!r}")
    if traced.keeps:
        raise ValueError(
            "Dropout draws a mask at each call, which a pure function cannot: put the model in eval() mode, call the "
            "compiled function once more, and ask again"
        )
    if not traced.holds():
        raise ValueError(
            "something that the function reads has changed since it was traced: call the compiled function once more, "
            "and ask again"
        )
    what = QUESTIONS[asked]
    if asked == "value_and_grad" and traced.shape != ():
        raise TypeError(
            f"only a function with one result has a gradient; this one has the shape {traced.shape}: take "
            'asked="value" or asked="each", and jax.jacobian of it'
        )
    return traced.question(what)


def _parameters(theta: Any, P: int) -> Any:
    """theta as an array of floats; ShapeError for another count of numbers."""
    import jax.numpy as jnp

    theta = jnp.asarray(theta)
    if theta.size != P:
        raise ShapeError(f"theta needs {counted(P, 'number')}, one for each parameter, got {theta.size}")
    return theta if jnp.issubdtype(theta.dtype, jnp.floating) else theta.astype(float)


def _columns(arguments: Sequence[tuple[str, int]], data: Sequence[Any]) -> list[Any]:
    """The data as arrays with an entry for each example, numbers repeated; ShapeError where they do not fit."""
    import jax.numpy as jnp

    if len(data) != len(arguments):
        names = ", ".join(["theta", *[name for name, _ in arguments]])
        raise ShapeError(f"the function takes {names}, got {counted(len(data), 'argument')} behind theta")
    arrays = [jnp.asarray(x) for x in data]
    counts = {name: x.shape[0] for (name, _), x in zip(arguments, arrays, strict=True) if x.ndim}
    count = next(iter(counts.values()), 1)
    if any(n != count for n in counts.values()):
        raise ShapeError(
            f"the numbers of examples differ: {', '.join(f'{name} has {n}' for name, n in counts.items())}"
        )
    found = []
    for (name, size), x in zip(arguments, arrays, strict=True):
        if math.prod(x.shape[1:]) != size:
            raise ShapeError(
                f"{name} has {counted(math.prod(x.shape[1:]), 'number')} for each example, and the function was traced "
                f"for {size}: its shape is (N, ...), got {x.shape}"
            )
        found.append(x if x.ndim else jnp.broadcast_to(x, (count,)))
    return found


def _where_defined(flag: Any, *results: Any) -> list[Any]:
    """The results, and NaN where the flag of the checks is infinite or NaN: there the function itself would raise."""
    import jax.numpy as jnp

    if not flag.shape[0]:
        return list(results)
    return [jnp.where(jnp.isfinite(flag[-1]), x, jnp.nan) for x in results]
