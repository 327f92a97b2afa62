"""The program as readable JAX: the lines of the NumPy text, in a pure function.

What differs.  Nothing is assigned in place: the pieces of the gradient are concatenated and put in order by one
constant permutation.  The number of examples is read off the shape of the data, so it may be a symbol of `jax.export`.
All is computed in the precision of theta, for float constants of another one would lift it.
"""

from __future__ import annotations

from collections.abc import Sequence

from tinygrad_vi.compiler.jax_loops import rolled
from tinygrad_vi.compiler.jax_text import JAX
from tinygrad_vi.compiler.numpy_layout import Names
from tinygrad_vi.compiler.numpy_source import Piece, ProgramText
from tinygrad_vi.compiler.numpy_sums import Segment
from tinygrad_vi.compiler.numpy_text import CALL, MATMUL, PRODUCT, SUM, Text, added, call, from_left
from tinygrad_vi.compiler.program import Question
from tinygrad_vi.rows import Operation, operand_names
from tinygrad_vi.rows import Writer as OwnText

#: lines of a function from which on repeating steps are looked for
LONG = 150


def jax_source(question: Question, names: Names, function: str, weighted: bool = False, *, loops: bool = True) -> str:
    """The text of a module with one function, of the parameter vector and the arguments; see `numpy_source`.

    weighted: whether the function has one more argument, share: the part of each example in a mean, instead of 1/N.
    loops: whether steps that repeat in a long text may become loops.
    Raises ValueError for a row of the user's own that brings no text for NumPy, which JAX takes as well.
    """
    return JaxText(question, names, weighted, loops).module(function)


class JaxText(ProgramText):
    """One program on its way to being a text for JAX."""

    dialect = JAX
    #: the system, and what stands for NumPy in it
    system, numpys = "JAX", "jax.numpy"

    def __init__(self, question: Question, names: Names, weighted: bool, loops: bool) -> None:
        self.looks_for_loops = False
        super().__init__(question, names)
        self.weighted, self.loops = weighted, loops
        self.defined |= {"rounded"} if "quotient" in self.defined else set()
        for op in self._one_by_one():
            raise ValueError(
                f"{self.system} has no text for the operation {op.name!r}: give it one that runs on arrays, "
                f'@operation(..., numpy="np.exp(-{{0}} * {{0}})"), in which np will be {self.numpys}'
            )

    def _rounded(self, part: Segment) -> Text:
        text = super()._rounded(part)
        if part.is_leaf():
            return text
        self.defined.add("rounded")
        if text.template == "-{}":
            (inner, _), *_ = text.parts
            return call("-{}", call("rounded({})", inner), binds=SUM, needed=PRODUCT)
        return call("rounded({})", text)

    def _added(self, terms: Sequence[Text]) -> Text:
        return _Sum(terms, self) if len(terms) > 1 else terms[0]

    def _body(self) -> list[str]:
        plain = super()._body()
        if len(plain) < LONG or not self.loops:
            return plain
        shapes = {array.name: (array.rows, array.columns, array.mapped) for array in self.layout.born}
        self.looks_for_loops = True
        found = rolled(self._lines(), shapes, lambda wish: self.layout.name(wish, numbered=True))
        self.looks_for_loops = False
        return plain if found is None else found

    def _arguments(self) -> list[str]:
        return super()._arguments() + ["share"] * self.weighted

    def _imports(self) -> list[str]:
        return ["import jax", "import jax.numpy as jnp", "import numpy as np"]

    def _constants(self) -> list[str]:
        # unsigned, for JAX asks of others whether they are below 0; and the same with 64 bits and without
        return [f"{name} = np.array({numbers}, np.uint32)" for numbers, name in self._named("i")]

    def _named(self, kind: str) -> list[tuple[str, str]]:
        """The constants of a kind, i for places and c for coefficients, that the lines mention."""
        return [(numbers, name) for numbers, name in self.layout.constants.items()
                if name[0] == kind and name in self.mentioned]  # fmt: skip

    def _head(self, mentioned: set[str]) -> list[str]:
        head = [f"N = {f'{self.arguments[0][0]}.shape[0]' if self.arguments else '1'}"]
        head += [
            f"{name} = jnp.reshape({name}, (N, {size})).T.astype(theta.dtype)"
            for name, size in self.arguments
            if name in mentioned
        ]
        share = "jnp.reshape(share, (1, N))" if self.weighted else "jnp.full((1, N), 1 / N, theta.dtype)"
        head += [f"share = {share}"] * ("share" in mentioned)
        return head + [f"{name} = jnp.array({numbers}, theta.dtype)" for numbers, name in self._named("c")]

    def _returned(self, function: str) -> str:
        return "jnp.reshape(value, ()), gradient" if function == "value_and_gradient" else "results"

    def _final(self, function: str) -> list[tuple[str, Text]]:
        if function == "value_and_gradient":
            count = len(self.question.outputs) - 1
            return [("value", self._value()), *self._put_together("gradient", self._gradient(), count)]
        return self._put_together("results", self._results(), len(self.question.outputs))

    def _put_together(self, target: str, pieces: list[Piece], count: int) -> list[tuple[str, Text]]:
        """The pieces, each with a line of its own, and all in the order of their places."""
        pieces = sorted(pieces, key=lambda piece: piece.places[0])
        lines = [(self.layout.name("g", numbered=True), self._in_shape(target, piece)) for piece in pieces]
        places = [place for piece in pieces for place in piece.places]
        names, zeros = [name for name, _ in lines], count - len(places)
        if zeros or not names:
            shape = f"{zeros}" if target == "gradient" else f"({zeros}, {self._examples()})"
            names.append(f"jnp.zeros({shape}, theta.dtype)")
            places += sorted({*range(count)}.difference(places))
        order = self.np.argsort(self.np.array(places, dtype=int))
        sorted_already = (order == self.np.arange(count)).all()
        index = "" if sorted_already else f"[{self.layout.constant(order, 'i')}]"
        return [*lines, (target, Text(f"jnp.concatenate([{', '.join(names)}]){index}"))]

    def _in_shape(self, target: str, piece: Piece) -> Text:
        """A piece of the gradient as a vector; one of the results with a row for each."""
        if target == "results":
            return call(f"jnp.broadcast_to({{}}, ({len(piece.places)}, {self._examples()}))", piece.text)
        columns = piece.columns or 1
        text = call(f"jnp.broadcast_to({{}}, ({len(piece.places) // columns}, {columns}))", piece.text)
        return call("{}.ravel()", text, needed=CALL)

    def _examples(self) -> str:
        return "N" if self.question.mapped else "1"

    def _own_text(self, op: Operation, write: OwnText) -> list[str]:
        operands = operand_names(op.arity or 0)
        return [
            f"def {self.layout.called[op]}({', '.join(operands)}):",
            "    np = jnp",
            f"    return {write(operands)}",
        ]


class _Sum(Text):
    """A sum as people read it; while its writer looks for loops, in an order that no sign of a number decides."""

    def __init__(self, terms: Sequence[Text], writer: JaxText) -> None:
        usual = added(terms)
        super().__init__(usual.template, usual.binds, usual.parts)
        bare = [term.parts[0][0] if term.template == "-{}" else term for term in terms]
        matmul = [getattr(term, "binds", 0) == MATMUL for term in bare]
        pairs = sorted(zip(matmul, terms, strict=True), key=lambda pair: not pair[0])
        self.regular, self.writer = from_left([term for _, term in pairs]), writer

    def write(self, needed: int = SUM) -> str:
        """The text, in brackets where something tighter is needed."""
        return self.regular.write(needed) if self.writer.looks_for_loops else super().write(needed)
