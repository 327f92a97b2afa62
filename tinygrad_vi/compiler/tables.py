"""A question as tables of numbers: the machine program that the one kernel runs.

The kernel knows three stores.

    S   one number for each node that is the same for all examples; it begins with 0, 1 and the parameters
    M   a row for each mapped node, with a number for each example of a block
    T   sums over the batch on their way

and a code table with a row for each instruction.  A dot reads lists of terms: linear ones (a row of M times a number of
S, which may be a weight times a constant) and products (two rows).  Programs run in stages: what is the same for all
examples, then the blocks of the batch, then the sums over the batch, which a further stage may use.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import chain, zip_longest
from typing import Any

from tinygrad_vi import ops
from tinygrad_vi.compiler.codes import (
    BIAS,
    COUNT,
    DIV,
    DOT,
    DOT_20,
    DST,
    FIRST,
    GEMM,
    LAST,
    ONCE,
    OP,
    ORDERED,
    ORDERED_20,
    OUTER,
    PACK,
    PARAMETERS,
    PLUS,
    PRODUCT,
    SCALED,
    SEVERAL,
    SHORT,
    SUM,
    TANH_AND_SECH,
    TIMES,
    UNIT,
    ZERO,
    A,
    B,
    C,
)
from tinygrad_vi.compiler.form import Form
from tinygrad_vi.compiler.known import CODES
from tinygrad_vi.compiler.program import Question
from tinygrad_vi.compiler.terms import DOT as FREE
from tinygrad_vi.compiler.terms import ONE, SUM_KINDS
from tinygrad_vi.compiler.terms import ORDERED as IN_ORDER
from tinygrad_vi.rows import Operation

TANH, SECH = ops.tanh.operation, ops.sech.operation
#: weighted terms of a dot from which on they are computed with those of others, whatever else it adds
MUCH = 4


@dataclass
class Tables:
    """See the module.  code: (instructions, 9).  constants: the constant of each instruction, of a DOT a factor.

    linear_row, linear_number: linear terms are M[row] * S[number].  product_a, product_b, product_c: c * (a * b), of
    rows, or of numbers for what is the same for all examples.
    stages: a row for each, see the columns above.  sum_destination: where in S each sum goes.  output_row, output_c:
    the outputs are c * S[row], or c * M[row] when the question is ``mapped``.
    numbers, rows: the sizes of S and of a block of M, which begins with the inputs.
    """

    stages: Any
    code: Any
    constants: Any
    linear_row: Any
    linear_number: Any
    product_a: Any
    product_b: Any
    product_c: Any
    sum_destination: Any
    output_row: Any
    output_c: Any
    numbers: int
    rows: int
    inputs: int
    mapped: bool


def tables(question: Question) -> Tables:
    """The tables of a question."""
    return _Assembler(question).assemble()


def in_the_kernel(form: Form) -> bool:
    """Whether the kernel has every operation of a form: a row that users added to the table it has not."""
    return all(kind.key in CODES for kind in form.kinds if isinstance(kind, Operation))


def stages_of(form: Form, nodes: Sequence[int]) -> dict[int, int]:
    """The stage of each node: 0 until a sum over the batch is used, then one more for each such sum on the way."""
    stage = {ONE: 0}
    for node in nodes:
        operands = form.operands(node)
        if form.mapped[node]:
            stage[node] = max(map(stage.__getitem__, operands), default=0)
            continue
        after = [stage[u] + form.mapped[u] for u in operands]
        stage[node] = max(after, default=0)
    return stage


def in_turns(form: Form, nodes: Sequence[int]) -> list[int]:
    """The nodes, operands first, and as far as that goes like after like: a processor foresees what it does again.

    Nodes alike stand in the order of their operands, or of what they are multiplied by: then one instruction can stand
    for them all.
    """
    levels: dict[int, list[int]] = defaultdict(list)
    level, factor = {ONE: 0}, {}
    for node in nodes:
        level[node] = 1 + max(map(level.__getitem__, form.operands(node)), default=0)
        levels[level[node]].append(node)
        if form.kinds[node] == FREE and len(form.arguments[node]) == 1:
            [(_, u, v)] = form.arguments[node]
            factor[u], factor[v] = v, u
    place = {ONE: 0}

    def turn(node: int) -> tuple[Any, ...]:
        kind, argument = form.kinds[node], form.arguments[node]
        if kind in SUM_KINDS:
            # what is mapped is a long list and the same for many: the rest tells them apart
            first = [place[u] for u in form.operands(node) if not form.mapped[u] and u != ONE][:1]
            return kind, len(argument), place.get(factor.get(node, -1), -1), *first, node
        if isinstance(kind, Operation):
            return kind.name, 0, *[place[u] for u in argument], node
        return kind, 0, argument or 0, node

    for at in sorted(levels):
        for node in sorted(levels[at], key=turn):
            place[node] = len(place)
    return list(place)[1:]


#: a sum over the batch: where in S it goes, and its products, (left row, right row, factor) each
BatchSum = tuple[int, list[tuple[int, int, float]]]


@dataclass
class _Dots:
    """Mapped dots of the same rows: (destination, bias, number of each term)."""

    rows: tuple[int, ...]
    members: list[tuple[int, int, list[int]]] = field(default_factory=list)


@dataclass
class _Stage:
    """The code of one stage while it is written.

    open: the dots that wait for others of the same rows.  They are computed where the first of them was asked for: the
    rows are ready there, and numbers are ready before the rows.  hyperbolic: each tanh and sech by its row.
    """

    unmapped: list[list[float]] = field(default_factory=list)
    mapped: list[_Dots | list[float]] = field(default_factory=list)
    sums: list[BatchSum] = field(default_factory=list)
    open: dict[tuple[int, ...], _Dots] = field(default_factory=dict)
    hyperbolic: dict[tuple[int, Operation], list[float]] = field(default_factory=dict)


class _Assembler:
    def __init__(self, question: Question) -> None:
        self.question, self.form = question, question.form
        self.live = in_turns(self.form, self.form.live([node for _, node in question.outputs]))
        self.stage = stages_of(self.form, self.live)
        self.stages = [_Stage() for _ in range(1 + max(self.stage.values()))]
        self.row: dict[int, int] = {ONE: UNIT}
        self.numbers, self.rows = PARAMETERS + question.parameters, question.inputs + 1
        self.linear: list[tuple[int, int]] = []
        self.products: list[tuple[int, int, float]] = []
        self.scaled: dict[tuple[int, float], int] = {}
        self.spread: dict[int, int] = {}
        self.scaled_rows: dict[tuple[int, float], int] = {}
        self.summed: dict[tuple[int, int], int] = {}
        self.packed: dict[tuple[tuple[int, ...], ...], int] = {}
        self.weighted: dict[int, tuple[int, ...]] = {}
        self.alike: Counter[tuple[int, ...]] = Counter()
        self.work, self.work_rows = 0, 0
        self.scales: dict[int, float] = {}

    def assemble(self) -> Tables:
        """Write the code of all nodes, then lay the tables out."""
        for node in self.live:
            self._place(node)
        within = self._join_scales()
        sums = [node for node in self.live if self.form.kinds[node] == FREE and self.form.mapped[node]]
        self.weighted = {node: found for node in sums if (found := self._weighted(node))}
        self.alike = Counter(self.weighted.values())
        for node in self.live:
            if node in within:
                continue
            kind, argument = self.form.kinds[node], self.form.arguments[node]
            if isinstance(kind, Operation):
                self._map(node, kind, argument)
            elif kind == FREE:
                self._dot(node, argument)
            elif kind == IN_ORDER:
                self._in_order(node, argument)
            elif kind in SUM_KINDS:
                self._once(node, argument)
        return self._lay_out()

    def _join_scales(self) -> set[int]:
        """The nodes c * dot, where nothing else uses the dot: it is scaled when it is computed, in their row."""
        form, mapped = self.form, self.form.mapped
        uses = Counter(chain.from_iterable([form.operands(node) for node in self.live]))
        uses.update([node for _, node in self.question.outputs])
        within = set()
        for node in self.live:
            if form.kinds[node] == FREE and mapped[node] and len(form.arguments[node]) == 1:
                [(c, u, v)] = form.arguments[node]
                if v == ONE and mapped[u] and form.kinds[u] in (FREE, IN_ORDER) and uses[u] == 1 and u not in within:
                    self.scales[u], self.row[u] = c, self.row[node]
                    within.add(node)
        return within

    def _place(self, node: int) -> None:
        kind, argument = self.form.kinds[node], self.form.arguments[node]
        if kind == "parameter":
            self.row[node] = PARAMETERS + argument
        elif kind == "input":
            self.row[node] = argument
        elif kind == "share":
            self.row[node] = self.question.inputs
        else:
            self.row[node] = self._new(self.form.mapped[node])

    def _new(self, mapped: bool, count: int = 1) -> int:
        """The first of as many new rows of M, or numbers of S."""
        if mapped:
            self.rows += count
            return self.rows - count
        self.numbers += count
        return self.numbers - count

    # --- maps

    def _map(self, node: int, op: Operation, operands: Sequence[int]) -> None:
        mapped, stage = self.form.mapped[node], self.stages[self.stage[node]]
        at = [self._mapped_row(u) if mapped else self.row[u] for u in operands]
        first, last = 0, 0
        if op.arity is None:  # any number of operands: a list, and two rows to work in
            work = self._new(mapped, 2)
            first = len(self.products)
            self.products += [(row, work, 1.0) for row in at]
            last = len(self.products)
            at = [work, work + 1, 0]
        at += [0] * (3 - len(at))
        constant = op.constants[0] if op.constants else 0.0
        if mapped and op in (TANH, SECH):
            before = stage.hyperbolic.pop((at[0], SECH if op is TANH else TANH), None)
            if before is not None:  # both are asked for: sech is in the derivative of tanh
                here, there = self.row[node], before[DST]
                before[OP] = TANH_AND_SECH
                before[DST], before[B] = (here, there) if op is TANH else (there, here)
                return
        code: list[float] = [CODES[op.key], self.row[node], *at, first, last, 0, constant]
        if mapped:
            stage.mapped.append(code)
            if op in (TANH, SECH):
                stage.hyperbolic[at[0], op] = code
        else:
            stage.unmapped.append(code)

    def _mapped_row(self, node: int) -> int:
        """The row of an operand; a copy for each example of what is the same for all."""
        if self.form.mapped[node]:
            return self.row[node]
        if node not in self.spread:
            self.spread[node] = self._new(mapped=True)
            code: list[float] = [DOT, self.spread[node], 0, 0, 0, 0, 0, self.row[node], 1.0]
            self.stages[self.stage[node]].mapped.append(code)
        return self.spread[node]

    # --- dots

    def _dot(self, node: int, terms: Sequence[tuple[float, int, int]]) -> None:
        mapped, row, number = self.form.mapped, self.row, self.stage[node]
        numbers: list[tuple[int, int, float]] = []  # what is the same for all examples
        linear: list[tuple[int, int, float]] = []
        products: list[tuple[int, int, float]] = []
        for c, u, v in terms:
            if mapped[u]:
                if mapped[v]:
                    products.append((row[u], row[v], c))
                else:
                    linear.append((row[u], v, c))
            elif mapped[v]:
                linear.append((row[v], u, c))
            else:
                numbers.append((row[u], row[v], c))
        if mapped[node]:
            self._mapped_dot(node, numbers, linear, products)
        elif linear or products:
            before = self.stages[number - 1]
            for from_row, factor, c in linear:
                if factor == ONE and c in (1.0, -1.0):
                    products.append((from_row, self._mapped_row(ONE), c))
                else:  # the sum of a row, times what is the same for all examples
                    numbers.append((self._total(from_row, number - 1), row[factor], c))
            if products and not numbers:
                before.sums.append((row[node], products))
            else:
                if products:
                    part = self._new(mapped=False)
                    before.sums.append((part, products))
                    numbers.append((part, UNIT, 1.0))
                self._unmapped_dot(number, row[node], numbers)
        else:
            self._unmapped_dot(number, row[node], numbers)

    def _in_order(self, node: int, terms: Sequence[tuple[float, int, int]]) -> None:
        """A dot that is computed from left to right: numbers, then linear terms, then products, or else all as rows."""
        form, number = self.form, self.stage[node]
        if not form.mapped[node]:
            self._unmapped_dot(number, self.row[node], [(self.row[u], self.row[v], c) for c, u, v in terms], ORDERED)
            return
        rank = [form.mapped[u] + form.mapped[v] for _, u, v in terms]
        if rank[1] < rank[0]:  # the sum of two does not depend on their order
            terms, rank = [terms[1], terms[0], *terms[2:]], [rank[1], rank[0], *rank[2:]]
        numbers: list[tuple[int, int, float]] = []
        linear: list[tuple[int, int, float]] = []
        products: list[tuple[int, int, float]] = []
        in_turn = rank == sorted(rank)
        plain = max(rank) == 1 and all(v == ONE for _, _, v in terms)
        for (c, u, v), mapped in zip(terms, rank, strict=True):
            if plain and not in_turn:  # a number is a row of ones times the number
                linear.append((self.row[u], ONE, c) if mapped else (self._mapped_row(ONE), u, c))
            elif not in_turn:
                products.append((self._mapped_row(u), self._mapped_row(v), c))
            elif mapped == 0:
                numbers.append((self.row[u], self.row[v], c))
            elif mapped == 1:
                linear.append((self.row[u], v, c) if form.mapped[u] else (self.row[v], u, c))
            else:
                products.append((self.row[u], self.row[v], c))
        bias = self._bias(numbers, number, ORDERED)
        weights = [self._scaled(factor, c) for _, factor, c in linear]
        rows, scale = [row for row, _, _ in linear], self.scales.get(node, 1.0)
        code = self._one_dot(self.row[node], bias, rows, weights, products, scale)
        self.stages[number].mapped.append([ORDERED, *code[1:]])

    def _once(self, node: int, terms: Sequence[tuple[float, int, int]]) -> None:
        """A sum that is rounded once."""
        mapped, stage = self.form.mapped[node], self.stages[self.stage[node]]
        rows = self._mapped_row if mapped else self.row.__getitem__
        plain = [(c, u) for c, u, v in terms if v == ONE and mapped]
        products = [(rows(u), rows(v), c) for c, u, v in terms if v != ONE or not mapped]
        linear = [
            (self.row[u], self._scaled(ONE, c)) if self.form.mapped[u] else (rows(ONE), self._scaled(u, c))
            for c, u in plain
        ]
        start, first = len(self.linear), len(self.products)
        self.linear += linear
        self.products += products
        code: list[float] = [ONCE, self.row[node], start, len(self.linear), 0, first, len(self.products), 0, 0.0]
        (stage.mapped if mapped else stage.unmapped).append(code)

    def _total(self, row: int, stage: int) -> int:
        if (row, stage) not in self.summed:
            self.summed[row, stage] = self._new(mapped=False)
            self.stages[stage].sums.append((self.summed[row, stage], [(row, self._mapped_row(ONE), 1.0)]))
        return self.summed[row, stage]

    def _unmapped_dot(self, stage: int, row: int, terms: list[tuple[int, int, float]], op: int = DOT) -> None:
        if len(terms) == 1:
            [(a, b, c)] = terms
            self.stages[stage].unmapped.append([PRODUCT, row, a, b, 0, 0, 0, 0, c])
            return
        first = len(self.products)
        self.products += terms
        self.stages[stage].unmapped.append([op, row, 0, 0, 0, first, len(self.products), 0, 1.0])

    def _mapped_dot(
        self,
        node: int,
        numbers: list[tuple[int, int, float]],
        linear: list[tuple[int, int, float]],
        products: list[tuple[int, int, float]],
    ) -> None:
        number = self.stage[node]
        bias = self._bias(numbers, number)
        weights = [self.row[factor] if c == 1.0 else self._scaled(factor, c) for _, factor, c in linear]
        rows, stage = tuple([row for row, _, _ in linear]), self.stages[number]
        scale = self.scales.get(node, 1.0)
        weighted = self.weighted.get(node, ()) if scale == 1.0 else ()
        if len(weighted) < len(linear) + len(products) and self.alike[weighted] > 1:
            self._in_two(self.row[node], bias, linear, weights, products, stage)
            return
        if len(products) == 1 and not (numbers or linear or scale != 1.0):
            [(a, b, c)] = products
            stage.mapped.append([PRODUCT, self.row[node], a, b, 0, 0, 0, 0, c])
            return
        if products or not rows or scale != 1.0:
            stage.mapped.append(self._one_dot(self.row[node], bias, rows, weights, products, scale))
            return
        self._join(stage, rows, (self.row[node], bias, weights))

    def _join(self, stage: _Stage, rows: tuple[int, ...], member: tuple[int, int, list[int]]) -> None:
        """Compute a dot with the others of the same rows."""
        dots = stage.open.get(rows)
        if dots is None:
            dots = stage.open[rows] = _Dots(rows)
            stage.mapped.append(dots)
        dots.members.append(member)

    def _weighted(self, node: int) -> tuple[int, ...]:
        """What a dot multiplies by numbers, if that is much: the sum of a layer, to which more may be added."""
        mapped = self.form.mapped
        found = [
            (u if mapped[u] else v)
            for _, u, v in self.form.arguments[node]
            if mapped[u] != mapped[v] and (v if mapped[u] else u) != ONE
        ]
        return tuple(found) if len(found) >= MUCH else ()

    def _in_two(
        self,
        row: int,
        bias: int,
        linear: list[tuple[int, int, float]],
        weights: list[int],
        products: list[tuple[int, int, float]],
        stage: _Stage,
    ) -> None:
        """The weighted part of a dot with others of the same rows, then the rest, as x in x + W h."""
        pairs = [(row, weight, factor != ONE) for (row, factor, _), weight in zip(linear, weights, strict=True)]
        inside = [(row, weight) for row, weight, weighted in pairs if weighted]
        self._join(stage, tuple([row for row, _ in inside]), (row, bias, [weight for _, weight in inside]))
        rest = [(row, weight) for row, weight, weighted in pairs if not weighted]
        rows, weights = [row, *[row for row, _ in rest]], [UNIT, *[weight for _, weight in rest]]
        stage.mapped.append(self._one_dot(row, ZERO, rows, weights, products))

    def _bias(self, numbers: list[tuple[int, int, float]], stage: int, op: int = DOT) -> int:
        """The number that a sum of products of numbers is."""
        if not numbers:
            return ZERO
        if len(numbers) == 1 and numbers[0][1:] == (UNIT, 1.0):
            return numbers[0][0]
        bias = self._new(mapped=False)
        self._unmapped_dot(stage, bias, numbers, op)
        return bias

    def _one_dot(
        self,
        row: int,
        bias: int,
        rows: Sequence[int],
        weights: Sequence[int],
        products: Sequence[tuple[int, int, float]],
        scale: float = 1.0,
    ) -> list[float]:
        start, first = len(self.linear), len(self.products)
        self.linear += zip(rows, weights, strict=True)
        self.products += products
        return [DOT, row, start, len(self.linear), 0, first, len(self.products), bias, scale]

    def _dots(self, dots: _Dots, stage: _Stage) -> list[float]:
        """The code of dots of the same rows: a product of matrices."""
        if len(dots.members) == 1:
            [(row, bias, weights)] = dots.members
            return self._one_dot(row, bias, dots.rows, weights, ())
        start = len(self.linear)
        self.linear += [(row, bias) for row, bias, _ in dots.members]
        for _, _, weights in dots.members:
            self.linear += zip(dots.rows, weights, strict=True)
        count = len(self.linear) - start
        numbers = tuple([(bias, *weights) for _, bias, weights in dots.members])
        known = numbers in self.packed  # as the weights of a layer that each step of a loop uses
        if not known:
            self.packed[numbers] = self._new(False, count)
        line: list[float] = [self.packed[numbers], start, len(self.linear), len(dots.members), 0, 0, 0, 0.0]
        if not known:
            stage.unmapped.append([PACK, *line])
        return [GEMM, *line]

    def _scaled(self, node: int, c: float) -> int:
        """The number c * S[node]."""
        if c == 1.0:
            return self.row[node]
        if (node, c) not in self.scaled:
            self.scaled[node, c] = self._new(mapped=False)
            self._unmapped_dot(self.stage[node], self.scaled[node, c], [(self.row[node], UNIT, c)])
        return self.scaled[node, c]

    # --- sums over the batch

    def _sums(self, stage: _Stage, destinations: list[int]) -> list[list[float]]:
        """The code of a stage's sums: all at once where each of some left rows meets each of some right rows."""
        code: list[list[float]] = []
        scaled: list[list[float]] = []
        for lefts, rights, sums in _products(stage.sums):
            first, sign = len(self.products), 0.0
            if len(sums) == 1:
                self.products += [(a, b, c) for (a, c), b in zip(lefts[0], rights[0], strict=True)]
                code.append([SUM, len(destinations), 0, 0, 0, first, len(self.products), 0, 0.0])
                destinations += sums
                continue
            factors = {c for left in lefts for _, c in left}
            sign = factors.pop() if factors in ({1.0}, {-1.0}) else 0.0
            rows = [[a if sign else self._scaled_row(a, c, scaled) for a, c in left] for left in lefts]
            columns = [[*right] for right in rights]
            if _tiles(len(columns), len(rows)) < _tiles(len(rows), len(columns)):
                rows, columns = columns, rows
            else:  # those of the first right row first
                sums = [sums[i * len(columns) + j] for j in range(len(columns)) for i in range(len(rows))]
            for at in range(len(lefts[0])):
                pairs = zip_longest([row[at] for row in rows], [row[at] for row in columns], fillvalue=0)
                self.products += [(a, b, 0.0) for a, b in pairs]
            shape, work = (len(rows), len(columns)), self._work(8 * len(lefts[0]))
            code.append([OUTER, len(destinations), *shape, work, first, len(self.products), 0, sign or 1.0])
            destinations += sums
        return scaled + code

    def _work(self, count: int) -> int:
        """The first of as many rows to work in, the same for all who ask."""
        if count > self.work_rows:
            self.work, self.work_rows = self._new(True, count), count
        return self.work

    def _scaled_row(self, row: int, c: float, code: list[list[float]]) -> int:
        """The row c * M[row]."""
        if c == 1.0:
            return row
        if (row, c) not in self.scaled_rows:
            self.scaled_rows[row, c] = self._new(mapped=True)
            code.append([PRODUCT, self.scaled_rows[row, c], row, self._mapped_row(ONE), 0, 0, 0, 0, c])
        return self.scaled_rows[row, c]

    # --- instructions that stand for several

    def _joined(self, lines: Sequence[list[float]], may_stay: bool) -> list[list[float]]:
        """The code with its column COUNT, before the constant; may_stay: whether factors may be the same for all."""
        code: list[list[float]] = []
        for line in lines:
            if code and line[OP] in SEVERAL and self._continues(code[-1], line, may_stay):
                code[-1][COUNT] += 1
            else:
                code.append([*line[:-1], 1, line[-1]])
        return code

    def _continues(self, before: list[float], line: list[float], may_stay: bool) -> bool:
        """Whether a line does to the next rows what the one before does."""
        op, count, start, here = line[OP], before[COUNT], before[DST], line[DST]
        if before[OP] != op or here != start + count or before[BIAS] != line[BIAS] or not _same(before[-1], line[-1]):
            return False

        def goes_on(u: float, v: float) -> bool:
            """Whether v is the next row, and none that the instruction itself makes."""
            return v == u + count and not start <= v <= here

        if op in (DOT, ORDERED):
            return self._continues_sum(before, line, goes_on, may_stay)
        if op == TANH_AND_SECH and abs(line[A] - line[B]) <= count:  # B is made, too
            return False
        columns = range(A, A + SEVERAL[int(op)])
        moves = [goes_on(before[i], line[i]) for i in columns]
        if all(moves):
            return count == 1 or op not in (PRODUCT, DIV) or before[C] == 0
        if not may_stay or op not in (PRODUCT, DIV) or not any(moves):
            return False
        stays = [1.0, 2.0][moves[0]]
        if before[A + moves[0]] != line[A + moves[0]] or (count > 1 and before[C] != stays):
            return False
        before[C] = stays
        return True

    def _continues_sum(
        self, before: list[float], line: list[float], goes_on: Callable[[float, float], bool], may_stay: bool
    ) -> bool:
        """The same of a dot: its numbers are the same, its rows the next ones; its products follow those before."""
        start, first, last = int(before[A]), int(before[FIRST]), int(before[LAST])
        terms, products = int(before[B]) - start, last - first
        here, at = int(line[A]), int(line[FIRST])
        if line[B] - here != terms or line[LAST] - at != products or at != last + (before[COUNT] - 1) * products:
            return False
        for i in range(terms):
            (u, number), (v, same) = self.linear[start + i], self.linear[here + i]
            if number != same or not goes_on(u, v):
                return False
        moved = terms > 0
        for i in range(products):
            (*us, x), (*seconds, _), (*vs, y) = [self.products[k + i] for k in (first, last, at)]
            if not _same(x, y):
                return False
            for u, second, v in zip(us, seconds, vs, strict=True):
                if goes_on(u, v) and second != u:
                    moved = True
                elif not (may_stay and u == v == second):
                    return False
        return moved

    def _shortened(self, code: Sequence[list[float]]) -> None:
        """Give the products and the dots of two or three numbers their own forms."""
        for line in code:
            if line[COUNT] > 1 or line[OP] not in (DOT, ORDERED, PRODUCT):
                continue
            if line[OP] == PRODUCT:
                if line[B] == UNIT:
                    line[OP] = SCALED
                elif line[-1] == 1.0:
                    line[OP] = TIMES
                continue
            first, last = int(line[FIRST]), int(line[LAST])
            terms = self.products[first:last]
            if line[OP] == DOT or len(terms) == 2:  # else the order is the point
                terms.sort(key=lambda term: term[1] != UNIT)
            plain = [b == UNIT for _, b, _ in terms]
            op = SHORT.get((int(line[OP]), sum(plain), len(terms) - sum(plain)))
            if op is None or line[-1] != 1.0 or plain != sorted(plain, reverse=True):
                continue
            self.products[first:last] = terms
            if op in (DOT_20, ORDERED_20) and all(c == 1.0 for _, _, c in terms):
                op, line[A], line[B] = PLUS, terms[0][0], terms[1][0]
            line[OP] = op

    # --- tables

    def _lay_out(self) -> Tables:
        import numpy as np

        code: list[list[float]] = []
        destinations: list[int] = []
        starts = []
        for stage in self.stages:
            sums_from = len(destinations)
            sums = self._sums(stage, destinations)
            mapped = [self._dots(line, stage) if isinstance(line, _Dots) else line for line in stage.mapped] + sums
            unmapped, mapped = self._joined(stage.unmapped, True), self._joined(mapped, False)
            self._shortened(unmapped)
            between = len(code) + len(unmapped)
            starts.append([len(code), between, between + len(mapped), sums_from, len(destinations)])
            code += unmapped + mapped
        integers, rows_of_m, floats = np.int32, np.uint32, np.float64  # small: large programs live in the cache
        outputs = self.question.outputs
        product_a, product_b, product_c = _columns(self.products, (rows_of_m, rows_of_m, floats))
        linear_row, linear_number = _columns(self.linear, (rows_of_m, rows_of_m))
        rows = [self.row[node] for _, node in outputs]
        return Tables(
            stages=np.array(starts, np.int64).reshape(-1, 5),
            code=np.array([line[:-1] for line in code], integers).reshape(-1, 9),
            constants=np.array([line[-1] for line in code], floats),
            linear_row=linear_row, linear_number=linear_number,
            product_a=product_a, product_b=product_b, product_c=product_c,
            sum_destination=np.array(destinations, integers),
            output_row=np.array(rows, integers),
            output_c=np.array([c for c, _ in outputs], floats),
            numbers=self.numbers, rows=self.rows, inputs=self.question.inputs,
            mapped=self.question.mapped,
        )  # fmt: skip


def _columns(rows: Sequence[tuple[float, ...]], types: Sequence[Any]) -> list[Any]:
    import numpy as np

    return [np.array([row[k] for row in rows], dtype) for k, dtype in enumerate(types)]


def _same(x: float, y: float) -> bool:
    """Whether two constants are one: 0.0 is not -0.0."""
    return x == y and math.copysign(1.0, x) == math.copysign(1.0, y)


#: the rows of each term of a sum: the left ones have their factors
Left = tuple[tuple[int, float], ...]
Right = tuple[int, ...]


def _products(sums: Sequence[BatchSum]) -> list[tuple[list[Left], list[Right], list[int]]]:
    """Sums as products of some left rows with some right rows, and where they go: left row by left row.

    Which side of a product is the left one is free: the side that leaves fewer products.
    """
    best: list[tuple[list[Left], list[Right], list[int]]] = []
    for flipped in (False, True):
        of_left: dict[Left, list[tuple[Right, int]]] = defaultdict(list)
        for destination, terms in sums:
            left = tuple([(b, c) if flipped else (a, c) for a, b, c in terms])
            of_left[left].append((tuple([a if flipped else b for a, b, _ in terms]), destination))
        of_rights: dict[tuple[Right, ...], tuple[list[Left], list[int]]] = defaultdict(lambda: ([], []))
        for left, found in of_left.items():
            found.sort()
            lefts, destinations = of_rights[tuple([right for right, _ in found])]
            lefts.append(left)
            destinations += [destination for _, destination in found]
        if not best or len(of_rights) < len(best):
            best = [(lefts, [*rights], destinations) for rights, (lefts, destinations) in of_rights.items()]
    return best


def _tiles(lefts: int, rights: int) -> int:
    """How many tiles `outer` has: of 8 left rows, or 2 and 1 of the rest, by 3 right rows, or 1."""
    return (lefts // 8 + (lefts % 8 + 1) // 2) * (rights // 3 + rights % 3)
