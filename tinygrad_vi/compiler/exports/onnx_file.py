"""A program as a file of ONNX: the lines of the text for JAX, run once on arrays that write down nodes of ONNX."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tinygrad_vi.checks import package
from tinygrad_vi.compiler.exports.onnx_functions import ONNX, Functions
from tinygrad_vi.compiler.exports.onnx_graph import Array, Graph, Size
from tinygrad_vi.compiler.jax_function import function_name, question_for
from tinygrad_vi.compiler.jax_source import JaxText
from tinygrad_vi.compiler.numpy_sums import Segment
from tinygrad_vi.compiler.numpy_text import Text
from tinygrad_vi.rows import Operation, operand_names
from tinygrad_vi.rows import Writer as OwnText

if TYPE_CHECKING:
    from tinygrad_vi.compiler.traced import Traced

#: the version of ONNX's operators, and of its files
OPSET, FILES = 17, 8


def onnx_of(traced: Traced, asked: str, dtype: str, name: str) -> bytes:
    """The content of the file, as `Compiled.export` says.  name: of the function."""
    onnx: Any = package("onnx", "a program in ONNX")
    question, function = question_for(traced, asked), function_name(asked)
    text = _OnnxText(question, traced.names, weighted=False, loops=False).module(function)
    graph = Graph(onnx, dtype)
    functions = Functions(graph)
    namespace: dict[str, Any] = {"jnp": functions}
    exec(compile(text, "<the ONNX text of a compiled function>", "exec"), namespace)
    theta = Array(graph, "theta", (traced.program.parameters,))
    columns, given = _arguments(traced, graph)
    found = namespace[function](theta, *columns)

    outputs = len(question.outputs) - question.flagged
    if asked == "value_and_grad":
        value, slopes = found
        P = theta.shape[0]
        value, gradient = _where_defined(functions, slopes[P:], [value, slopes[:P]])
        results = {"value": value, "gradient": gradient}
    else:
        (found,) = _where_defined(functions, found[outputs:], [found[:outputs]])
        if asked == "value" or not given:
            results = {"results": found[:, 0].reshape(*traced.shape)}
        else:
            each = functions.broadcast_to(found, (outputs, graph.N)).T
            results = {"results": each.reshape(graph.N, *traced.shape)}
    if asked != "each" and given:  # the mean of no examples
        some = graph.examples() > 0.0
        results = {key: functions.where(some, x, functions.nan) for key, x in results.items()}
    return _content(graph, [theta, *given], results, _about(traced, asked, name))


class _OnnxText(JaxText):
    """The text for JAX without what keeps XLA from rewriting, and with ONNX's names."""

    dialect = ONNX
    system, numpys = "ONNX", "a module with NumPy's names that writes ONNX's operators"

    def _rounded(self, part: Segment) -> Text:
        return part.text()

    def _imports(self) -> list[str]:
        return ["import numpy as np"]

    def _head(self, mentioned: set[str]) -> list[str]:
        head = [f"N = {f'{self.arguments[0][0]}.shape[0]' if self.arguments else '1'}"]
        head += [f"{name} = {name}.T" for name, _ in self.arguments if name in mentioned]
        head += ["share = jnp.full((1, N), 1 / N)"] * ("share" in mentioned)
        return head + [f"{name} = jnp.array({numbers})" for numbers, name in self._named("c")]

    def _own_text(self, op: Operation, write: OwnText) -> list[str]:
        operands = operand_names(op.arity or 0)
        return [
            f"def {self.layout.called[op]}({', '.join(operands)}):",
            f"    np = jnp.of({op.name!r})",
            f"    return {write(operands)}",
        ]


def _arguments(traced: Traced, graph: Graph) -> tuple[list[Array], list[Array]]:
    """What the text takes behind theta, and which of it the program does."""
    if traced.data is not None:
        return [graph.floats(traced.data)], []
    taken = {"theta", "value", "gradient", "results"}
    given = []
    for name, size in traced.names.arguments:
        while name in taken:
            name += "_"
        taken.add(name)
        given.append(Array(graph, name, (graph.N, size)))
    return graph.side_by_side(given), given


def _where_defined(functions: Functions, flag: Array, results: Sequence[Array]) -> list[Array]:
    """The results, and NaN where the flag of the checks is infinite or NaN: there the function itself would raise."""
    if not flag.shape[0]:
        return list(results)
    defined = functions.isfinite(flag[-1])
    return [functions.where(defined, x, functions.nan) for x in results]


def _about(traced: Traced, asked: str, name: str) -> str:
    arguments = "" if traced.data is not None else "".join(
        f"  {argument}: {size} for each of N examples." for argument, size in traced.names.arguments
    )  # fmt: skip
    return (
        f"Written by tinygrad_vi: {asked} of {name}.  theta: {traced.program.parameters} numbers.{arguments}  "
        "NaN where the function itself would raise."
    )


def _content(graph: Graph, given: Sequence[Array], results: dict[str, Array], about: str) -> bytes:
    """The file, once ONNX's own checker has taken it."""
    onnx, helper = graph.onnx, graph.onnx.helper
    kind = helper.np_dtype_to_tensor_dtype(graph.dtype)

    def described(name: str, shape: Sequence[Size]) -> Any:
        return helper.make_tensor_value_info(name, kind, [x if isinstance(x, int) else "N" for x in shape])

    for name, array in results.items():
        graph.nodes.append(helper.make_node("Identity", [array.name], [name]))
    whole = helper.make_graph(
        graph.needed(results),
        "tinygrad_vi",
        [described(array.name, array.shape) for array in given],
        [described(name, array.shape) for name, array in results.items()],
        initializer=graph.tensors,
        doc_string=about,
    )
    model = helper.make_model(
        whole, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=FILES, producer_name="tinygrad_vi"
    )
    model.doc_string = about
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())
