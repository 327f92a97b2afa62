"""Programs in files: the tables of numbers that the kernel runs, and names.  There is no code in such a file.

A second process starts a program that is known without the function, its trace or its derivatives.  The file is a line
that says what it is, a checksum, and arrays of NumPy, which are read without pickles.  The kernel does not ask its
tables whether an index is right: a damaged file is refused by its checksum, and one that was made for another kernel by
the digest of the kernel's text; a forged one could still make the process fail, so load what you trust, as with any
program.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_vi.checks import DomainError, ShapeError, counted
from tinygrad_vi.compiler.arguments import mapped
from tinygrad_vi.compiler.examples import tables_of, vector
from tinygrad_vi.compiler.tables import Tables, in_the_kernel, tables
from tinygrad_vi.files import write_atomically

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from tinygrad_vi.compiler.traced import Traced

FORMAT = b"tinygrad_vi program, tables of numbers\n"
#: what a program can be asked, and the question of `Program` that answers
QUESTIONS = {
    "value": "value", "value_and_grad": "value_and_gradient", "each": "each", "hvp": "curvature", "jvp": "directional",
}  # fmt: skip


def save(traced: Traced, path: str | Path, methods: Sequence[str], theta: Any) -> Path:
    """Write the program of a trace, as `Compiled.save` says."""
    unknown = [name for name in methods if name not in QUESTIONS]
    if unknown or not methods:
        raise ValueError(f"methods is a list of {', '.join(QUESTIONS)}, got {list(methods)!r:.80}")
    if traced.keeps:
        raise ValueError("a program with Dropout draws at each call: put the model in eval() mode before it is saved")
    if not in_the_kernel(traced.program.form):
        raise ValueError("the kernel has no code for an operation of your own, so a file of tables cannot hold it")
    arrays: dict[str, Any] = {} if traced.data is None else {"data": traced.data}
    asked = {}
    for name in methods:
        what = QUESTIONS[name]
        if what in ("value_and_gradient", "curvature") and traced.shape != ():
            raise ValueError(f"{name} is asked of one result; this function has results of the shape {traced.shape}")
        question = traced.question(what)
        parts = tables(question)
        arrays |= {f"{name}.{field.name}": getattr(parts, field.name) for field in fields(Tables)}
        asked[name] = question.flagged
    facts = {
        "kernel": _kernel(), "parameters": traced.program.parameters, "results": len(traced.program.results),
        "shape": list(traced.shape), "asked": asked, "theta": theta,
        "arguments": [] if traced.data is not None else [list(argument) for argument in traced.names.arguments],
    }  # fmt: skip
    file = io.BytesIO()
    np.savez(file, facts=np.frombuffer(json.dumps(facts).encode(), np.uint8), **arrays)
    return write_atomically(path, FORMAT + hashlib.sha256(file.getvalue()).digest() + file.getvalue())


def load(path: str | Path, threads: int | None = None) -> Loaded:
    """Read a program, as `Compiled.load` says."""
    from tinygrad_vi.compiler.native import Native

    content = Path(path).read_bytes()
    start = len(FORMAT) + hashlib.sha256().digest_size
    if not content.startswith(FORMAT):
        raise ValueError(f"{path} is no program of tinygrad_vi: Compiled.load reads what step.save(path) has written")
    if hashlib.sha256(content[start:]).digest() != content[len(FORMAT) : start]:
        raise ValueError(f"{path} is damaged: its checksum does not fit. Save the program again")
    with np.load(io.BytesIO(content[start:]), allow_pickle=False) as file:
        arrays = dict(file)
    facts = json.loads(arrays.pop("facts").tobytes())
    if facts["kernel"] != _kernel():
        raise ValueError(f"{path} was saved for the kernel of another version of tinygrad_vi: save the program again")
    runners = {}
    for name, flagged in facts["asked"].items():
        parts = {field.name: arrays[f"{name}.{field.name}"] for field in fields(Tables)}
        parts = {part: x if x.ndim else x.item() for part, x in parts.items()}
        runners[name] = Native(Tables(**parts), flagged, threads=threads)
    return Loaded(facts, runners, arrays.get("data"))


def _kernel() -> str:
    """The digest of the kernel's text: what its tables mean."""
    from tinygrad_vi.compiler import kernel
    from tinygrad_vi.compiler.machine_code import digest

    return digest(kernel.__name__)


class Loaded:
    """A program that was read from a file; `Compiled.load` makes it.

    It answers as the compiled function did that was saved, number for number, with what that knew: Values and numbers
    that the function read elsewhere are those of that moment.

        program(theta, X, Y)                    the mean over the examples
        program.value_and_grad(theta, X, Y), program.grad, program.each, program.hvp(theta, v, X, Y), program.jvp

    theta: the parameters as they were when it was saved; None for a function of theta.  Raises ShapeError for data
    that do not fit, DomainError where a result is not finite or an operation may have left its domain, ValueError for
    a question that was not saved.
    """

    def __init__(self, facts: dict[str, Any], runners: dict[str, Any], data: Any) -> None:
        self.arguments: list[tuple[str, int]] = [(name, size) for name, size in facts["arguments"]]
        self.shape: tuple[int, ...] = tuple(facts["shape"])
        self.theta = None if facts["theta"] is None else np.array(facts["theta"])
        self._parameters, self._results = facts["parameters"], facts["results"]
        self._runners, self._data = runners, data

    def __call__(self, theta: ArrayLike, *data: Any) -> Any:
        """The mean over the examples: a float, or an array for a function with several results."""
        return self._shaped(self._ask("value", theta, data))

    def value_and_grad(self, theta: ArrayLike, *data: Any) -> tuple[float, Any]:
        """The mean over the examples and its gradient."""
        found = self._ask("value_and_grad", theta, data)
        return float(found[0]), found[1:]

    def grad(self, theta: ArrayLike, *data: Any) -> Any:
        """The gradient of the mean."""
        return self.value_and_grad(theta, *data)[1]

    def each(self, theta: ArrayLike, *data: Any) -> Any:
        """The results of each example."""
        results = self._ask("each", theta, data).T.reshape(-1, *self.shape)
        return results if mapped(data) else results[0]

    def hvp(self, theta: ArrayLike, v: ArrayLike, *data: Any) -> Any:
        """The product of the Hessian of the mean with v."""
        return self._ask("hvp", theta, data, vector(v, self._parameters, "v"))

    def jvp(self, theta: ArrayLike, v: ArrayLike, *data: Any) -> tuple[Any, Any]:
        """The mean and its derivative along v."""
        further = np.concatenate([vector(v, self._parameters, "v"), np.zeros(self._results)])
        value, along = self._ask("jvp", theta, data, further).reshape(2, -1)
        return self._shaped(value), self._shaped(along)

    def _shaped(self, found: Any) -> Any:
        return found.reshape(self.shape) if self.shape else float(found[0])

    def _ask(self, name: str, theta: ArrayLike, data: Sequence[Any], further: Any = ()) -> Any:
        runner = self._runners.get(name)
        if runner is None:
            saved = ", ".join(self._runners)
            raise ValueError(f"{name} was not saved, only {saved}: step.save(path, methods=[..., {name!r}])")
        numbers = np.concatenate([vector(theta, self._parameters), further])
        found, checksum = runner(numbers, self._columns(data))
        if not math.isfinite(checksum) and not np.isfinite(found).all():
            at = ""
            if found.ndim == 2 and len(data):
                at = f"example {int(np.flatnonzero(~np.isfinite(found).all(axis=0))[0])}: "
            raise DomainError(
                f"{at}a result is not finite, or an operation has left its domain; a saved program cannot tell which: "
                "call the function itself there"
            )
        return found[:-1] if runner.flagged else found

    def _columns(self, data: Sequence[Any]) -> list[Any]:
        if len(data) != len(self.arguments):
            names = ", ".join([name for name, _ in self.arguments]) or "no data"
            raise ShapeError(f"after theta the program takes {names}, got {counted(len(data), 'argument')}")
        if self._data is not None:
            return [self._data]
        arrays = [table.numbers for table in tables_of(data, [name for name, _ in self.arguments])]
        for array, (name, size) in zip(arrays, self.arguments, strict=True):
            if math.prod(array.shape[1:]) != size:
                raise ShapeError(
                    f"{name} has {counted(math.prod(array.shape[1:]), 'number')} for each example, the program was "
                    f"saved for {size}"
                )
        return arrays

    def __repr__(self) -> str:
        names = ", ".join(["theta", *[name for name, _ in self.arguments]])
        return f"<program ({names}) of {counted(self._parameters, 'parameter')}: {', '.join(self._runners)}>"
