"""A question as tables of numbers: the machine program that the one kernel runs.

The kernel knows three stores.

    S   one number for each node that is the same for all examples; S[0] is 1, then come the parameters
    M   a row for each mapped node, with a number for each example of a block
    T   sums over the batch on their way

and a code table with a row for each instruction.  A dot reads lists of terms: linear ones (a row of M times a weight,
the weight being a number out of S) and products (two rows).  Programs run in stages: what is the same for all examples,
then the blocks of the batch, then the sums over the batch, which a further stage may use.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tinygrad_vi.compiler.form import ONE, Form
from tinygrad_vi.compiler.program import Question
from tinygrad_vi.ops import Operation

#: instructions: a dot of what is the same for all examples, a mapped one, sums over the batch; then the operations
NUMBER, DOT, SUM, SUM4, TOTAL = range(5)
OPERATIONS = (
    "power", "exponential", "pow", "exp", "expm1", "log", "log1p", "sqrt", "sin", "cos", "tan", "asin", "acos", "atan",
    "semicircle", "sinh", "cosh", "tanh", "sech", "erf", "erfc", "sigmoid", "softplus", "silu", "gelu", "step", "relu",
    "abs", "leaky_relu", "elu", "maximum", "minimum", "where", "logsumexp",
)  # fmt: skip
CODES = {name: TOTAL + 1 + k for k, name in enumerate(OPERATIONS)}

#: columns of the code table.  A dot: bias (an entry of the weights), linear terms, products.  A map: its operands
OP, DST, A, B, C, FIRST, LAST, BIAS = range(8)

#: columns of the stage table: where the code of the unmapped nodes begins, that of the mapped ones, and where it ends;
#: from where to where the sums and the weights go
UNMAPPED, MAPPED, END, SUMS, SUMS_END, WEIGHTS, WEIGHTS_END = range(7)


@dataclass
class Tables:
    """See the module.  code: (instructions, 8).  constants: the constant of each instruction.

    linear_row, linear_source, linear_c: linear terms are c * S[source] * M[row].  product_a, product_b, product_c.
    stages: a row for each, see the columns above.  sum_destination: where in S each sum goes.  output_row, output_c:
    the outputs are c * S[row], or c * M[row] when the question is ``mapped``.
    numbers, rows: the sizes of S and of a block of M.  parameters, inputs: S begins with the first, M with the second.
    """

    stages: Any
    code: Any
    constants: Any
    linear_row: Any
    linear_source: Any
    linear_c: Any
    product_a: Any
    product_b: Any
    product_c: Any
    sum_destination: Any
    output_row: Any
    output_c: Any
    numbers: int
    rows: int
    parameters: int
    inputs: int
    mapped: bool


def tables(question: Question) -> Tables:
    """The tables of a question."""
    return _Assembler(question).assemble()


def stages_of(form: Form, nodes: Sequence[int]) -> dict[int, int]:
    """The stage of each node: 0 until a sum over the batch is used, then one more for each such sum on the way."""
    stage = {ONE: 0}
    for node in nodes:
        operands = form.operands(node)
        after = [stage[u] + (not form.mapped[node] and form.mapped[u]) for u in operands]
        stage[node] = max(after, default=0)
    return stage


@dataclass
class _Stage:
    """The code of one stage while it is written."""

    unmapped: list[list[float]] = field(default_factory=list)
    mapped: list[list[float]] = field(default_factory=list)
    #: sums over the batch: (row of S, products)
    sums: list[tuple[int, list[tuple[int, int, float]]]] = field(default_factory=list)
    totals: list[tuple[int, int]] = field(default_factory=list)


class _Assembler:
    def __init__(self, question: Question) -> None:
        self.question, self.form = question, question.form
        self.live = self.form.live([node for _, node in question.outputs])
        self.stage = stages_of(self.form, self.live)
        self.stages = [_Stage() for _ in range(1 + max(self.stage.values()))]
        self.row: dict[int, int] = {ONE: 0}
        self.numbers, self.rows = 1 + question.parameters, question.inputs + 1
        self.linear: list[tuple[int, int, float]] = []
        self.products: list[tuple[int, int, float]] = []
        #: mapped dots wait for their weights, which lie together for each stage: (code row, stage, linear terms, bias)
        self.waiting: list[tuple[list[float], int, list[tuple[int, int, float]], tuple[int, float]]] = []
        self.spread: dict[int, int] = {}
        self.summed: dict[tuple[int, int], int] = {}

    def assemble(self) -> Tables:
        """Write the code of all nodes, then lay the tables out."""
        for node in self.live:
            self._place(node)
        for node in self.live:
            kind, argument = self.form.kinds[node], self.form.arguments[node]
            if isinstance(kind, Operation):
                self._map(node, kind, argument)
            elif kind == "dot":
                self._dot(node, argument)
        return self._lay_out()

    def _place(self, node: int) -> None:
        kind, argument = self.form.kinds[node], self.form.arguments[node]
        if kind == "parameter":
            self.row[node] = 1 + argument
        elif kind == "input":
            self.row[node] = argument
        elif kind == "share":
            self.row[node] = self.question.inputs
        elif self.form.mapped[node]:
            self.row[node] = self.rows
            self.rows += 1
        else:
            self.row[node] = self.numbers
            self.numbers += 1

    def _new_number(self) -> int:
        self.numbers += 1
        return self.numbers - 1

    # --- maps

    def _map(self, node: int, op: Operation, operands: Sequence[int]) -> None:
        mapped, stage = self.form.mapped[node], self.stages[self.stage[node]]
        at = [self._mapped_row(u) if mapped else self.row[u] for u in operands]
        first, last = 0, 0
        if op.arity is None:  # any number of operands: a list, and two rows to work in
            work = self._scratch(mapped)
            first = len(self.products)
            self.products += [(row, work, 1.0) for row in at]
            last = len(self.products)
            at = [work, work + 1, 0]
        at += [0] * (3 - len(at))
        constant = op.constants[0] if op.constants else 0.0
        (stage.mapped if mapped else stage.unmapped).append(
            [CODES[op.name], self.row[node], *at[:3], first, last, 0, constant]
        )

    def _scratch(self, mapped: bool) -> int:
        if mapped:
            self.rows += 2
            return self.rows - 2
        self.numbers += 2
        return self.numbers - 2

    def _mapped_row(self, node: int) -> int:
        """The row of an operand; a copy for each example of what is the same for all."""
        if self.form.mapped[node]:
            return self.row[node]
        if node not in self.spread:
            self.spread[node] = self.rows
            self.rows += 1
            code: list[float] = [DOT, self.spread[node], 0, 0, 0, 0, 0, 0, 0.0]
            self.stages[self.stage[node]].mapped.append(code)
            self.waiting.append((code, self.stage[node], [], (self.row[node], 1.0)))
        return self.spread[node]

    # --- dots

    def _dot(self, node: int, terms: Sequence[tuple[float, int, int]]) -> None:
        mapped, row, number = self.form.mapped, self.row, self.stage[node]
        numbers: list[tuple[int, int, float]] = []  # what is the same for all examples
        linear: list[tuple[int, int, float]] = []
        products: list[tuple[int, int, float]] = []
        for c, u, v in terms:
            if mapped[u] and mapped[v]:
                products.append((row[u], row[v], c))
            elif mapped[u]:
                linear.append((row[u], row[v], c))
            elif mapped[v]:
                linear.append((row[v], row[u], c))
            else:
                numbers.append((row[u], row[v], c))
        if mapped[node]:
            self._mapped_dot(node, numbers, linear, products)
        elif linear or products:
            before = self.stages[number - 1]
            for from_row, factor, c in linear:  # the sum of a row, times what is the same for all examples
                numbers.append((self._total(from_row, number - 1), factor, c))
            if products and not numbers:
                before.sums.append((row[node], products))
            else:
                if products:
                    part = self._new_number()
                    before.sums.append((part, products))
                    numbers.append((part, ONE, 1.0))
                self._unmapped_dot(number, row[node], numbers)
        else:
            self._unmapped_dot(number, row[node], numbers)

    def _total(self, row: int, stage: int) -> int:
        if (row, stage) not in self.summed:
            self.summed[row, stage] = self._new_number()
            self.stages[stage].totals.append((self.summed[row, stage], row))
        return self.summed[row, stage]

    def _unmapped_dot(self, stage: int, row: int, terms: list[tuple[int, int, float]]) -> None:
        first = len(self.products)
        self.products += terms
        self.stages[stage].unmapped.append([NUMBER, row, 0, 0, 0, first, len(self.products), 0, 0.0])

    def _mapped_dot(
        self,
        node: int,
        numbers: list[tuple[int, int, float]],
        linear: list[tuple[int, int, float]],
        products: list[tuple[int, int, float]],
    ) -> None:
        number = self.stage[node]
        bias = (0, 0.0)
        if len(numbers) == 1 and numbers[0][1] == ONE:
            bias = numbers[0][0], numbers[0][2]
        elif numbers:
            bias = self._new_number(), 1.0
            self._unmapped_dot(number, bias[0], numbers)
        first = len(self.products)
        self.products += products
        code: list[float] = [DOT, self.row[node], 0, 0, 0, first, len(self.products), 0, 0.0]
        self.stages[number].mapped.append(code)
        self.waiting.append((code, number, linear, bias))

    # --- sums over the batch

    def _sums(self, stage: _Stage, destinations: list[int]) -> list[list[float]]:
        """The code of a stage's sums: four at a time where their products share the left rows."""
        code: list[list[float]] = []
        for destination, row in stage.totals:
            code.append([TOTAL, len(destinations), row, 0, 0, 0, 0, 0, 0.0])
            destinations.append(destination)
        for four in _fours(stage.sums):
            first = len(self.products)
            for terms in zip(*[terms for _, terms in four], strict=True):
                self.products += terms
            code.append(
                [SUM4 if len(four) == 4 else SUM, len(destinations), 0, 0, 0, first, len(self.products), 0, 0.0]
            )
            destinations += [destination for destination, _ in four]
        return code

    # --- tables

    def _lay_out(self) -> Tables:
        import numpy as np

        weights: list[tuple[int, int, float]] = [(0, 0, 0.0)]  # entry 0 is "no bias"
        by_stage: dict[int, list[Any]] = defaultdict(list)
        for item in self.waiting:
            by_stage[item[1]].append(item)
        code: list[list[float]] = []
        destinations: list[int] = []
        starts = []
        for number, stage in enumerate(self.stages):
            start = [len(code)]
            code += stage.unmapped
            start.append(len(code))
            code += stage.mapped
            sums_from = len(destinations)
            code += self._sums(stage, destinations)
            start.append(len(code))
            weights_from = len(weights) if number else 0
            for row, _, linear, (source, c) in by_stage[number]:
                if c:
                    row[BIAS] = len(weights)
                    weights.append((0, source, c))
                row[A] = len(weights)
                weights += linear
                row[B] = len(weights)
            starts.append([*start, sums_from, len(destinations), weights_from, len(weights)])
        integers, rows_of_m, floats = np.int64, np.uint64, np.float64
        outputs = self.question.outputs
        product_a, product_b, product_c = _columns(self.products, (rows_of_m, rows_of_m, floats))
        row, source, c = _columns(weights, (rows_of_m, integers, floats))
        mapped = self.question.mapped
        rows = [self.row[node] if self.form.mapped[node] == mapped else self.spread.get(node, 0) for _, node in outputs]
        return Tables(
            stages=np.array(starts, integers).reshape(-1, 7),
            code=np.array([line[:8] for line in code], integers).reshape(-1, 8),
            constants=np.array([line[8] for line in code], floats),
            linear_row=row, linear_source=source, linear_c=c,
            product_a=product_a, product_b=product_b, product_c=product_c,
            sum_destination=np.array(destinations, integers),
            output_row=np.array(rows, integers),
            output_c=np.array([c for c, _ in outputs], floats),
            numbers=self.numbers, rows=self.rows, parameters=self.question.parameters, inputs=self.question.inputs,
            mapped=mapped,
        )  # fmt: skip


def _columns(rows: list[tuple[int, int, float]], types: Sequence[Any]) -> list[Any]:
    import numpy as np

    return [np.array([row[k] for row in rows], dtype) for k, dtype in enumerate(types)]


def _fours(
    sums: list[tuple[int, list[tuple[int, int, float]]]],
) -> list[list[tuple[int, list[tuple[int, int, float]]]]]:
    """Sums in groups of four whose terms share their left rows and coefficients, or alone.

    Which side of a product is the left one is free: the side that leaves fewer groups.
    """
    best: list[list[tuple[int, list[tuple[int, int, float]]]]] = []
    for flipped in (False, True):
        shared = defaultdict(list)
        for destination, terms in sums:
            turned = [(b, a, c) for a, b, c in terms] if flipped else terms
            shared[tuple([(a, c) for a, _, c in turned])].append((destination, turned))
        groups = []
        for alike in shared.values():
            whole = len(alike) // 4 * 4
            groups += [alike[i : i + 4] for i in range(0, whole, 4)]
            groups += [[one] for one in alike[whole:]]
        if not best or len(groups) < len(best):
            best = groups
    return best
