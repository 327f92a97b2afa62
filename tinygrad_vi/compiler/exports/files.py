"""Compiled programs in files of other systems: see `Compiled.export`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinygrad_vi.checks import package
from tinygrad_vi.compiler.exports.c_names import C_TAKEN
from tinygrad_vi.compiler.jax_function import question_for, to_jax
from tinygrad_vi.files import write_atomically

if TYPE_CHECKING:
    from tinygrad_vi.compiler.traced import Traced


def export(traced: Traced, path: str | Path, asked: str, dtype: str, name: str) -> Path:
    """Write the program of a trace, as `Compiled.export` says.  name: of the function."""
    path = Path(path)
    if path.suffix not in (".c", ".onnx", ".stablehlo"):
        raise ValueError(f"the name of the file ends with .c, .onnx or .stablehlo, got {path.name!r}")
    if dtype not in ("float64", "float32"):
        raise ValueError(f'dtype is "float64" or "float32", got {dtype!r}')
    if path.suffix == ".c":
        if dtype == "float32":
            raise ValueError('a program in C has double precision: leave dtype="float32" out, or write model.onnx')
        return write_atomically(path, _c(traced, asked, path.stem))
    if path.suffix == ".onnx":
        from tinygrad_vi.compiler.exports.onnx_file import onnx_of

        return write_atomically(path, onnx_of(traced, asked, dtype, name))
    return write_atomically(path, _stablehlo(traced, asked, dtype, name))


def _c(traced: Traced, asked: str, name: str) -> str:
    if not (name.isidentifier() and name.isascii()):
        raise ValueError(f"the file has the name of the function in C, and {name!r} is none: write model.c")
    text = c_of(traced, asked, name)
    if name in C_TAKEN or f"static double {name}(" in text:
        raise ValueError(f"the file has the name of the function in C, where {name!r} is taken: write model.c")
    return text


def c_of(traced: Traced, asked: str, name: str) -> str:
    """The text in C of what is asked of a trace."""
    from tinygrad_vi.compiler.exports.c_text import c_source

    results = ("value", "gradient") if asked == "value_and_grad" else ("results",)
    return c_source(question_for(traced, asked), traced.names.arguments, name, results, traced.data)


def _stablehlo(traced: Traced, asked: str, dtype: str, name: str) -> bytes:
    """What `jax.export` writes: StableHLO in one precision, the number of examples a symbol, for any device."""
    jax = package("jax", "a program in StableHLO")
    package("flatbuffers", "a program in StableHLO")
    export: Any = package("jax.export", "a program in StableHLO")
    arguments = [] if traced.data is not None else traced.names.arguments
    shape = jax.ShapeDtypeStruct
    with jax.enable_x64(True):
        N = export.symbolic_shape("N")
        given = [
            shape((traced.program.parameters,), dtype),
            *[shape((*N, size), dtype) for _, size in arguments],
        ]
        exported = export.export(jax.jit(to_jax(traced, asked, name)), platforms=("cpu", "cuda", "tpu"))(*given)
    return bytes(exported.serialize())
