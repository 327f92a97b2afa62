"""The program as readable NumPy: what the student reads, and the back end that is always there.

One vector instruction becomes one line.  Its operands are lists of rows: `numpy_layout` sees how such a list can be
read, as a whole array, a slice, a matrix or its transpose, and `numpy_sums` how a sum of their products is written.
`numpy_text` knows what NumPy calls the operations, and where a text needs brackets.  Then

    sum over k of W[i,k] * h[k]              is  W @ h
    sum over the examples of d[i] * h[j]     is  d @ h.T

and what has no such form is still right: its rows are gathered, multiplied and added up.

Only identifiers and numbers reach the text: a label or the name of an argument that is not one names nothing.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tinygrad_vi.compiler.form import Form
from tinygrad_vi.compiler.lift import Instruction, lift
from tinygrad_vi.compiler.numpy_layout import Layout, Names
from tinygrad_vi.compiler.numpy_sums import Segment
from tinygrad_vi.compiler.numpy_text import (
    CALL,
    NUMPY,
    PRODUCT,
    SIGNATURES,
    SUM,
    Array,
    Dialect,
    Text,
    added,
    call,
    from_left,
    number,
    scaled,
    times,
)
from tinygrad_vi.compiler.program import Question
from tinygrad_vi.compiler.terms import DOT, ONE, ORDERED, TOTAL
from tinygrad_vi.ops import power
from tinygrad_vi.rows import Operation, Writer, key_of, operand_names

#: results of these operations are called h, as hidden units are
HIDDEN = {*map(key_of, ("tanh", "relu", "sigmoid", "gelu", "silu", "elu", "leaky_relu", "softplus", "sin"))}

#: kinds of terms that one sum is written with; where there are more, rows are gathered
LONGEST_SUM = 30


@dataclass(frozen=True)
class Written:
    """The text of a program, and where in it things are.

    text: a module with one function.  sizes: what the function takes, with how many numbers each has for one example.
    form: the program.  place: for each of its nodes the array on whose line it stands, and which row of the array it is
    (of a matrix which entry), or -1 where it is but a part of what the line computes.
    """

    text: str
    sizes: Mapping[str, int]
    form: Form
    place: Mapping[int, tuple[str, int]]


def numpy_source(question: Question, names: Names, function: str = "value_and_gradient") -> str:
    """The text of a module with one function, of the parameter vector and the arguments.

    A function called value_and_gradient returns just these; any other an array with a row for each output, and a column
    for each example when the outputs are mapped.
    """
    return ProgramText(question, names).module(function)


def written(question: Question, names: Names, function: str = "value_and_gradient") -> Written:
    """The same with where each node stands, for those who draw it."""
    writer = ProgramText(question, names)
    text = writer.module(function)
    sizes = {"theta": question.parameters, **dict(names.arguments)}
    return Written(text, sizes, question.form, writer.places())


def _table(op: Operation) -> str:
    return "FAMILIES" if op.kin is not None else "OPERATIONS" if op.is_built_in else "OWN"


def _looked_up(op: Operation) -> str:
    return f'{_table(op)}["{op.name}"]' + (f"({', '.join(map(repr, op.constants))})" if op.kin is not None else "")


@dataclass(frozen=True)
class Piece:
    """Some entries of what the function returns: their places, row by row, and what computes them.

    target: where they stand, as NumPy's text assigns them.  columns: of a matrix; None for a column of numbers, or of
    rows with an entry for each example.
    """

    target: str
    places: Sequence[int]
    text: Text
    columns: int | None = None


class ProgramText:
    """One program on its way to being a text."""

    dialect: Dialect = NUMPY

    def __init__(self, question: Question, names: Names) -> None:
        import numpy as np

        self.np = np
        self.question, self.form, self.arguments = question, question.form, names.arguments
        self.layout = Layout(question, names, self.dialect)
        #: the functions that have to be defined, and the rows that are computed entry by entry or by a text of theirs
        self.defined: set[str] = set()
        self.entrywise: dict[Operation, None] = {}
        self.root: Array | None = None
        #: what the function returns is made of these lines
        self.final: list[tuple[str, Text]] = []
        #: the names in the lines
        self.mentioned: set[str] = set()
        for instruction in lift(self.form, [node for _, node in question.outputs]):
            self._instruction(instruction)

    # --- One instruction, one line

    def _instruction(self, instruction: Instruction) -> None:
        nodes = sorted(instruction.nodes, key=self._order)
        if isinstance(instruction.kind, Operation):
            wish = "h" if instruction.kind.key in HIDDEN else "t"
            array = self.layout.line(wish, Array("", len(nodes), expression=self._map(instruction.kind, nodes)), nodes)
        elif instruction.kind == ORDERED:
            array = self._ordered(nodes, instruction.mapped)
        elif instruction.kind == TOTAL:
            array = self._total(nodes, instruction.mapped)
        else:
            array = self._dot(nodes, instruction.mapped)
        self.layout.place.update({node: (array, row) for row, node in enumerate(nodes)})

    def _order(self, node: int) -> list[Any]:
        """Nodes are sorted by where their operands live, the latest first: d[i] * h[j] by i, then by j."""
        return [self.layout.age(operand) for term in self._terms(node) for operand in term[1:]]

    def _terms(self, node: int) -> list[tuple[float, int, int]]:
        """The terms of a dot, the later factor first; the operands of a map as terms of one factor."""
        if isinstance(self.form.kinds[node], Operation):
            return [(1.0, u, ONE) for u in self.form.arguments[node]]
        terms = [(c, *sorted((u, v), key=self.layout.age)) for c, u, v in self.form.arguments[node]]
        if self.form.kinds[node] == ORDERED:
            return terms
        return sorted(terms, key=lambda term: (self.layout.age(term[1]), self.layout.age(term[2])))

    def _map(self, op: Operation, nodes: Sequence[int]) -> Text:
        operands = self.np.array([self.form.arguments[node] for node in nodes])
        template, binds, needed = self.dialect.written.get(op.key, ("", CALL, SUM))
        if op.key in self.dialect.defined_here:
            self.defined.add(self.dialect.defined_here[op.key])
        elif op.key not in self.dialect.written:
            self.entrywise[op] = None
        if op.key is power and op.constants[0] == -1.0:
            template, binds = "1 / {}", PRODUCT
        if not template:
            template = f"{self.layout.called[op]}({', '.join(['{}'] * operands.shape[1])})"
        template = template.replace("{c}", number(op.constants[0]) if op.constants else "")
        numbers = [self._constant(column) for column in operands.T]
        if None not in numbers:  # nothing in it has the shape of the rows
            full, dtype = f"{self.dialect.np}.full", self.dialect.dtype
            template, binds, needed = f"{full}(({len(nodes)}, 1), {template}, dtype={dtype})", CALL, SUM
        rows = [self.layout.rows(column) if c is None else Text(number(c), CALL if c >= 0.0 else SUM)
                for c, column in zip(numbers, operands.T, strict=True)]  # fmt: skip
        return call(template, *rows, binds=binds, needed=needed)

    def _constant(self, nodes: Any) -> float | None:
        """The constant that all these nodes are."""
        node = int(nodes[0])
        if (nodes == ONE).all():
            return 1.0
        if (nodes != node).any() or self.form.mapped[node] or self.form.kinds[node] != DOT:
            return None
        [(c, u, _), *others] = self.form.arguments[node]
        return c if u == ONE and not others else None

    def _ordered(self, nodes: Sequence[int], mapped: bool) -> Array:
        terms = [self._terms(node) for node in nodes]
        parts = [Segment(self.layout, [[of_node[k]] for of_node in terms], mapped) for k in range(len(terms[0]))]
        expression = from_left([self._rounded(part) for part in parts])
        return self.layout.line("a" if mapped else "s", Array("", len(nodes), expression=expression), nodes)

    def _rounded(self, part: Segment) -> Text:
        """A term of an ordered sum, which is rounded before it is added."""
        return part.text()

    def _total(self, nodes: Sequence[int], mapped: bool) -> Array:
        self.defined.add("total")
        terms = Segment(self.layout, [self._terms(node) for node in nodes], mapped)
        expression = call("total({})", terms.products())
        return self.layout.line("t" if mapped else "s", Array("", len(nodes), expression=expression), nodes)

    def _dot(self, nodes: Sequence[int], mapped: bool) -> Array:
        segments: dict[Any, list[list[tuple[float, int, int]]]] = defaultdict(lambda: [[] for _ in nodes])
        for row, node in enumerate(nodes):
            for term in self._terms(node):
                key = tuple([self.layout.room(factor, mapped or len(nodes) > 1) for factor in term[1:]])
                segments[key][row].append(term)
        irregular = any(len(terms) != len(rows[0]) for rows in segments.values() for terms in rows)
        if irregular or len(segments) > LONGEST_SUM:  # only what is the same for all examples stays apart
            segments = defaultdict(lambda: [[] for _ in nodes])
            for row, node in enumerate(nodes):
                for term in self._terms(node):
                    segments[any(self.form.mapped[factor] for factor in term[1:])][row].append(term)
        for key, (terms, *_) in segments.items():
            if key == (self.layout.all_parameters, self.layout.all_parameters):
                # sums over all parameters in their order, so that they read p[0:9]
                terms.sort(key=lambda term: self.form.arguments[term[1]])
        parts = [Segment(self.layout, rows, mapped) for rows in segments.values()]
        shape = next((part.grid for part in parts if part.grid), None)
        expression = self._added([part.as_matrix(shape) if shape else part.text() for part in parts])
        if not any(self.form.mapped[factor] or (factor != ONE and not mapped)
                   for node in nodes for _, *factors in self._terms(node) for factor in factors):  # fmt: skip
            shape_text = f"({len(nodes)}, {'N' if mapped else 1})"
            expression = (
                call(f"{self.dialect.np}.broadcast_to({{}}, {shape_text})", expression)
                if expression.parts or "[" in expression.template
                else Text(  # integers are other numbers
                    f"{self.dialect.np}.full({shape_text}, {expression.template}, dtype={self.dialect.dtype})"
                )
            )
        product = any(part.is_product for part in parts)
        if shape:
            return self.layout.line("d", Array("", shape[0], shape[1], expression))
        wish = ("a" if product else "t") if mapped else "s"
        return self.layout.line(wish, Array("", len(nodes), expression=expression), nodes)

    # --- The module

    def module(self, function: str) -> str:
        """The whole text."""
        final = self.final = self._final(function)
        self._inline([text for _, text in final])
        body = self._body()
        text = "\n".join(body)
        mentioned = self.mentioned = set(re.findall(r"[^\W\d]\w*", text))
        head = self._head(mentioned)
        head += [f"p = {self.dialect.np}.reshape(theta, (-1, 1))"] * ("p" in mentioned)
        head += [
            f"{block.array.name} = {block.view('theta')}"
            for block in self.layout.blocks
            if block.array.name in mentioned
        ]
        module = self._imports()
        for name in sorted(self.defined):
            module += ["", "", f"def {name}({SIGNATURES.get(name, 'x')}):", f"    {self.dialect.definitions[name]}"]
        for op in self.entrywise:
            if op.numpy is not None:
                module += ["", "", *self._own_text(op, op.numpy)]
        constants = self._constants()
        module += ["", "", *constants] if constants else []
        module += ["", "", f"def {function}({', '.join(self._arguments())}):"]
        module += [f"    {line}" for line in (*head, *body, f"return {self._returned(function)}")]
        return "\n".join(module)

    def _body(self) -> list[str]:
        """The lines of the function."""
        return [f"{name} = {text}" for name, text in self._lines()]

    def _lines(self) -> list[tuple[str, str]]:
        """Names, and what they are."""
        born = [(line.name, line.expression) for line in self.layout.born if line.expression and not line.inline]
        return [(name, text.write()) for name, text in [*born, *self.final]]

    def _added(self, terms: Sequence[Text]) -> Text:
        """A sum."""
        return added(terms)

    def _arguments(self) -> list[str]:
        return ["theta", *[name for name, _ in self.arguments]]

    def _imports(self) -> list[str]:
        one_by_one = self._one_by_one()
        tables = ["", f"from tinygrad_vi.rows import {', '.join(sorted({*map(_table, one_by_one)}))}"]
        return ["import numpy as np", *(tables if one_by_one else [])]

    def _one_by_one(self) -> list[Operation]:
        """What is computed entry by entry: erf, or a row of the user's own."""
        return [op for op in self.entrywise if op.numpy is None]

    def _constants(self) -> list[str]:
        """What is defined above the function."""
        return [
            *[f"{self.layout.called[op]} = np.vectorize({_looked_up(op)}.value, otypes=[float])"
              for op in self._one_by_one()],
            *[f"{name} = np.array({numbers})" for numbers, name in self.layout.constants.items()],
        ]  # fmt: skip

    def _head(self, mentioned: set[str]) -> list[str]:
        """The first lines of the function: the data by rows."""
        head = [f"N = {f'len({self.arguments[0][0]})' if self.arguments else '1'}"]
        head += [f"{name} = np.reshape({name}, (N, -1)).T" for name, _ in self.arguments if name in mentioned]
        return head + ["share = np.full((1, N), 1 / N)"] * ("share" in mentioned)

    def _returned(self, function: str) -> str:
        return "value.item(), gradient" if function == "value_and_gradient" else "results"

    def _final(self, function: str) -> list[tuple[str, Text]]:
        """The last lines: what is returned, assigned piece by piece."""
        if function == "value_and_gradient":
            _, *slopes = self.question.outputs
            empty = [("value", self._value()), ("gradient", Text(f"np.zeros({len(slopes)})"))]
            pieces = self._gradient()
        else:
            shape = f"({len(self.question.outputs)}, {'N' if self.question.mapped else 1})"
            empty, pieces = [("results", Text(f"np.zeros({shape})"))], self._results()
        return empty + [(piece.target, piece.text) for piece in pieces]

    def _own_text(self, op: Operation, write: Writer) -> list[str]:
        """The definition of a row of the user's own that has a text for NumPy."""
        operands = operand_names(op.arity or 0)
        return [f"def {self.layout.called[op]}({', '.join(operands)}):", f"    return {write(operands)}"]

    def _inline(self, final: Sequence[Text]) -> None:
        """What is used once, as a whole, and is short stands where it is used."""
        uses: Counter[Array] = Counter()
        for text in [*final, *[line.expression for line in self.layout.born if line.expression]]:
            for array, whole in text.arrays():
                uses[array] += 1 if whole else 2
        for line in self.layout.born:
            assert line.expression is not None
            line.inline = uses[line] == 1 and (line is self.root or len(line.expression.write()) <= 44)

    def places(self) -> dict[int, tuple[str, int]]:
        """Where each node stands in the module, once it is written."""
        lines: list[tuple[str | Array, Text | None]] = [
            *self.final,
            *[(line, line.expression) for line in self.layout.born],
        ]
        host = {array: line for line, text in lines if text for array, _ in text.arrays() if array.inline}
        found = {}
        for node, (array, row) in self.layout.place.items():
            line: str | Array = array
            while isinstance(line, Array) and line.inline:  # it stands on the line that it is part of
                line = host[line]
            if array in self.layout.born:
                found[node] = (line.name, row) if line is array else (str(getattr(line, "name", line)), -1)
            elif array.name in self.mentioned:
                found[node] = array.name, row
            elif "p" in self.mentioned and self.form.kinds[node] == "parameter":
                found[node] = "p", self.form.arguments[node]
        return found

    def _results(self) -> list[Piece]:
        return self._pieces(dict(enumerate(self.question.outputs)), "results", "")

    def _value(self) -> Text:
        c, node = self.question.outputs[0]
        self.root = self.layout.place[node][0]
        if node == ONE:
            return Text(f"np.array({number(c)})")
        return scaled(c, times(self.layout.rows(self.np.array([node]))))

    def _gradient(self) -> list[Piece]:
        """The gradient, matrix by matrix where the parameters are named so."""
        _, *slopes = self.question.outputs
        found: list[Piece] = []
        rest = dict(enumerate(slopes))
        for block in self.layout.blocks:
            wanted = [slopes[i] for i in block.positions()]
            nodes = self.np.array([d for _, d in wanted]).reshape(block.array.rows, -1)
            if (
                len({c for c, _ in wanted}) > 1
                or len({self.layout.place[d][0] for _, d in wanted}) > 1
                or wanted[0][1] == ONE
            ):
                continue
            for i in block.positions():
                del rest[i]
            text = self.layout.matrix(nodes) if block.array.columns else self.layout.rows(nodes[:, 0])
            if isinstance(text, Array) and text in self.layout.born and text.name[0] in "ds":
                text.name = self.layout.name(f"d{block.array.name}", numbered=False)
            view, text = block.view("gradient"), scaled(wanted[0][0], times(text))
            target = f"{view}[:]" if view.endswith(")") else view
            found.append(Piece(target, block.positions(), text, block.array.columns))
        return found + self._pieces(rest, "gradient", ", None")

    def _pieces(self, outputs: Mapping[int, tuple[float, int]], target: str, axis: str) -> list[Piece]:
        """Outputs as rows of a target, those of one array at a time."""
        by_array: dict[Any, list[int]] = defaultdict(list)
        for i, (c, node) in outputs.items():
            if c != 0.0:
                by_array[self.layout.place[node][0]].append(i)
        found: list[Piece] = []
        for at in by_array.values():
            cs, nodes = zip(*[outputs[i] for i in at], strict=True)
            text = times(self.layout.rows(self.np.array(nodes)))
            if len(set(cs)) == 1:
                text = scaled(cs[0], text)
            else:
                text = times(Text(f"{self.layout.constant(self.np.array(cs), 'c')}[:, None]"), text)
            found.append(Piece(f"{target}[{self.layout.index(self.np.array(at))}{axis}]", at, text))
        return found
