"""Derivations: the chain rule from an output down to one Value, in symbols and then in numbers, as a textbook has it.

The derivative is the sum over all paths that lead from x up to y, where each path gives the product of the local
derivatives along it.  There may be more paths than anybody can write (x + x, thirty times over, has 2**30), so there
are two forms.  With few paths the sum itself is written.  Otherwise it is factored, node by node from y down:

    ∂y/∂v[j]  =  sum over the nodes v[i] made of v[j]  of  ∂y/∂v[i] * ∂v[i]/∂v[j]

which is what reverse mode does: one line for each node, however many the paths.  (C. Olah, *Calculus on Computational
Graphs: Backpropagation*, 2015.)
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress, pairwise
from typing import Any, TypeVar

from tinygrad_vi import ops
from tinygrad_vi.ops import whole_number
from tinygrad_vi.show.console import printable
from tinygrad_vi.show.formula import (
    DOTS,
    Symbol,
    as_factor,
    product_of,
    shortened,
    signed,
    sum_of,
)
from tinygrad_vi.show.names import escape_latex, is_name, label_symbol, row_name
from tinygrad_vi.show.numerals import enough_digits, product_digits, sum_digits
from tinygrad_vi.show.table import MAX_ROWS, FormulaWriter, formulas_agree, holds
from tinygrad_vi.tape import SUBSCRIPTS, Tape
from tinygrad_vi.value import Value, adjoints, check_unchanged, not_finite

T = TypeVar("T")

FEW_PATHS = 6  # so many are written out without being asked
SHORT_PATH = 10  # factors of the longest of them
MOST_PATHS = 200  # when asked
WIDTH = 76  # letters in one line of the right side of an equation
LINES_OF_A_DISPLAY = 14  # LaTeX breaks no page inside one
LONGEST_LABEL = 40

MUL, DOT, TOTAL = ops.mul.operation, ops.dot_row.operation, ops.OPERATIONS["total"]


def derive(
    y: Value, x: Value, *, stop: Value | Iterable[Value] = (), paths: bool | None = None, digits: int = 4
) -> Derivation:
    """The chain rule from ``y`` down to ``x``: ∂y/∂x as the sum over the paths between them.

    Nodes with a label are named by it, the others as in `Tape`, v₁, v₂, ...  stop: Values that are not expanded.  A
    path from x ends at the first of them it meets, say h, and ∂y/∂h stays a symbol with its number.  paths: True for
    the sum over paths, False for the factored form, node by node; left out, the sum when the paths are few and short.
    digits: significant digits of what is printed; the Derivation keeps all of them.  No ``grad`` is read or changed.

    Raises TypeError for what is no Value; ValueError for a stop that is not in the graph or is x, for ``paths=True``
    with more than 200 of them, and for a graph whose ``data`` were changed after it was recorded; DomainError when y
    is infinite or NaN.

    >>> x, b = Value(3.0, "x"), Value(1.0, "b")
    >>> derive(x * (x + b), x)
    The nodes from x to y:
      x  = 3
      v₁ = x + b = 3 + 1 = 4
      y  = x * v₁ = 3 * 4 = 12
    Not depending on x: b = 1.
    Chain rule, the sum over the 2 paths from y down to x:
      ∂y/∂x = ∂y/∂x|₁ + ∂y/∂v₁·∂v₁/∂x
            = v₁ + x·1
            = 4 + 3·1
            = 4 + 3
            = 7
    The mark |ₖ: by operand k alone, the others held fixed.
    """
    for role, v in (("y", y), ("x", x)):
        _check_value(v, role)
    stops = list(stop) if isinstance(stop, Iterable) else [stop]
    for v in stops:
        _check_value(v, "stop")
    if paths not in (None, True, False):
        raise ValueError(f"paths must be True, False or None, got {paths!r}")
    digits = whole_number(digits, "digits")
    if not math.isfinite(y.data):
        raise not_finite(y)
    return _Search(y, x, stops).derivation(paths, digits)


@dataclass(frozen=True)
class Factor:
    """The number ∂of/∂by.

    operand: the place of ``by`` among the operands of ``of``, when it is the derivative by this operand alone; None
    when it is all of ∂of/∂by, which another step or a stop gives.
    """

    of: Value
    by: Value
    number: float
    operand: int | None = None


@dataclass(frozen=True)
class Step:
    """∂y/∂node as a sum of products, and the number that the reverse sweep finds for it."""

    node: Value
    products: Sequence[Sequence[Factor]]
    derivative: float

    @property
    def contributions(self) -> list[float]:
        """The products: what each of them adds to the derivative."""
        return [_multiplied(product) for product in self.products]


@dataclass(frozen=True, repr=False, eq=False)
class Derivation:
    """∂y/∂x, derived: prints in a terminal, shows as mathematics in a notebook, exports to LaTeX and Markdown.

    total: ∂y/∂x, with all digits, as `Value.backward` finds it.  n_paths: how many paths lead from x to y or to a
    stop.  steps: the sums it is made of; one for x when the paths are written out, else one for each node on the way
    from y to x.  nodes: the Values on these paths, each after its operands.  stops: ∂y/∂h for each stop h they end at.
    """

    y: Value
    x: Value
    total: float
    n_paths: int
    steps: Sequence[Step]
    nodes: Sequence[Value]
    stops: Mapping[Value, float]
    factored: bool
    tape: Tape
    digits: int

    @property
    def paths(self) -> list[list[Value]]:
        """Each path that is written out: its nodes from y to x; none in the factored form."""
        products = [] if self.factored else [product for step in self.steps for product in step.products]
        return [[self.y, *(factor.by for factor in product)] for product in products]

    @property
    def factors(self) -> list[list[float]]:
        """The factors of each product of the last step, the sum for x."""
        return [[factor.number for factor in product] for step in self.steps[-1:] for product in step.products]

    @property
    def contributions(self) -> list[float]:
        """The products of the last step, which add up to the total."""
        return [product for step in self.steps[-1:] for product in step.contributions]

    def to_text(self, max_rows: int | None = None) -> str:
        """For a terminal; of more than ``max_rows`` equations in a row those in the middle are left out."""
        return "\n".join(line for part in _Writer(self, max_rows).parts() for line in part.text())

    def to_latex(self, max_rows: int | None = None) -> str:
        r"""Sentences and displays for a paper; it needs the package amsmath.

        For labels in Vietnamese add ``\usepackage[T5]{fontenc}``, or use lualatex with the package fontspec.
        """
        return "\n".join(line for part in _Writer(self, max_rows).parts() for line in part.latex(r"\[", r"\]"))

    def to_markdown(self, max_rows: int | None = None) -> str:
        """Sentences and formulas between dollars, as notebooks, GitHub and Pandoc read them."""
        return "\n".join(line for part in _Writer(self, max_rows).parts() for line in part.latex("\n$$", "$$\n"))

    def __str__(self) -> str:
        return printable(self.to_text(MAX_ROWS))

    __repr__ = __str__

    def _repr_markdown_(self) -> str:
        return self.to_markdown(MAX_ROWS)

    def _repr_latex_(self) -> str:
        return self.to_latex(MAX_ROWS)


def _check_value(v: Any, role: str) -> None:
    if not isinstance(v, Value):
        raise TypeError(f"derive takes Values, got {v!r:.60} of type {type(v).__name__} for {role}")


def _multiplied(product: Sequence[Factor]) -> float:
    """The factors multiplied from y down; as in the sweep, what is 0 stays 0, even before an infinite factor."""
    flow = 1.0
    for factor in product:
        if flow == 0.0:
            break
        flow *= factor.number
    return flow


# --- The graph between x and y ----------------------------------------------------------------------------------------


class _Search:
    """Finds the nodes and the paths between x and y, and the numbers along them."""

    def __init__(self, y: Value, x: Value, stops: Sequence[Value]) -> None:
        self.y, self.x = y, x
        self.tape = Tape(y)
        self.check_stops(stops)
        self.stops = {*stops}
        self.adjoint = {x: 0.0} | adjoints(self.tape.operations, {y: 1.0})
        #: how many paths lead from x to each node, and the uses of each node on them
        self.count: dict[Value, int] = {x: 1}
        self.uses: dict[Value, list[Factor]] = {}
        for node in self.tape.operations:
            edges = [
                Factor(node, parent, partial, i)
                for i, (parent, partial) in enumerate(zip(node.parents, node.local_grads, strict=True))
                if parent in self.count and parent not in self.stops
            ]
            if edges and node is not x:
                self.count[node] = sum(self.count[edge.by] for edge in edges)
                for edge in edges:
                    self.uses.setdefault(edge.by, []).append(edge)
        self.ends = [v for v in self.count if v is y or v in self.stops]

    def check_stops(self, stops: Sequence[Value]) -> None:
        known = {self.y, *self.tape.operations, *(v for node in self.tape.operations for v in node.parents)}
        for v in stops:
            if v is self.x:
                raise ValueError(f"x is itself a stop, so nothing would be left to derive: {v!r}")
            if v not in known:
                raise ValueError(f"cannot stop at {v!r}: it is not in the graph of y")

    def derivation(self, paths: bool | None, digits: int) -> Derivation:
        found = bool(self.ends) and self.x is not self.y
        n_paths = sum(self.count[end] for end in self.ends)
        if paths and n_paths > MOST_PATHS:
            raise ValueError(
                f"{_count(n_paths).text} paths from x to y are more than the {MOST_PATHS} that can be written out; "
                "with paths=False each node gets one line instead"
            )
        if paths is None:
            paths = n_paths <= FEW_PATHS and self.longest() <= SHORT_PATH
        nodes = list(self.count) if found else []
        check_unchanged(self.tape.operations)
        steps: Iterable[Step] = [self.sum_over_paths()] if found and paths else self.node_by_node() if found else []
        return Derivation(
            y=self.y,
            x=self.x,
            total=float(self.adjoint[self.x]),
            n_paths=n_paths,
            steps=list(steps),
            nodes=nodes,
            stops={end: self.adjoint[end] for end in reversed(self.ends) if found and end is not self.y},
            factored=not paths,
            tape=self.tape,
            digits=digits,
        )

    def longest(self) -> int:
        """How many edges the longest path has."""
        length = dict.fromkeys(self.count, 0)
        for node in self.count:
            for edge in self.uses.get(node, ()):
                length[edge.of] = max(length[edge.of], length[node] + 1)
        return max(length.values())

    def known(self, node: Value) -> list[Factor]:
        """∂y/∂node as a factor, which for y is none."""
        return [] if node is self.y else [Factor(self.y, node, self.adjoint[node])]

    def sum_over_paths(self) -> Step:
        """All paths, from left to right; the search keeps its own stack, so they may be long."""
        below: dict[Value, list[Factor]] = {}
        for edge in (edge for node in self.count for edge in self.uses.get(node, ())):
            below.setdefault(edge.of, []).append(edge)
        products: list[list[Factor]] = []
        for end in reversed(self.ends):
            product = self.known(end)
            # what is still to be followed: an edge, and how many factors stand before it
            stack = [(edge, len(product)) for edge in _right_to_left(below[end])]
            while stack:
                edge, depth = stack.pop()
                product[depth:] = [edge]
                if edge.by is self.x:
                    products.append([*product])
                else:
                    stack += [(lower, depth + 1) for lower in _right_to_left(below[edge.by])]
        return Step(self.x, products, self.adjoint[self.x])

    def node_by_node(self) -> Iterator[Step]:
        ends = {*self.ends}
        for node in reversed(self.count):
            if node not in ends:
                products = [[*self.known(edge.of), edge] for edge in self.uses[node]]
                yield Step(node, products, self.adjoint[node])


def _right_to_left(edges: Iterable[Factor]) -> list[Factor]:
    return sorted(edges, key=lambda edge: -(edge.operand or 0))


def _made_of(x: Value, tape: Tape) -> dict[Value, None]:
    """x and every node that depends on it, in the order of the tape."""
    found = {x: None}
    for node in tape.operations:
        if not found.keys().isdisjoint(node.parents):
            found[node] = None
    return found


# --- Equations --------------------------------------------------------------------------------------------------------

Sum = Sequence[Sequence[Symbol]]  # of products, each of factors


@dataclass(frozen=True)
class _Equation:
    """left = formula = ... = number = ...; stacked: each stage in a line of its own."""

    left: Symbol
    formulas: Sequence[Sum]
    numbers: Sequence[Sum]
    stacked: bool = False
    relation: str = "="

    def lines(self) -> list[Symbol]:
        """The right side: in one line, or else the formulas, then the numbers, each in as many as they take."""
        formulas, numbers = self.told_apart()
        if self.stacked:
            return [line for stage in (*formulas, *numbers) for line in self.laid_out([stage])]
        lines = self.laid_out([*formulas, *numbers])
        return lines if len(lines) == 1 else [*self.laid_out(formulas), *self.laid_out(numbers)]

    def told_apart(self) -> tuple[list[Sum], list[Sum]]:
        """Formulas and numbers without what would say 5 = 5."""
        stages = [[[self.left]], *self.formulas, *self.numbers]
        new = [_whole(stage).text != _whole(before).text for before, stage in pairwise(stages)]
        n = len(self.formulas)
        return list(compress(self.formulas, new[:n])), list(compress(self.numbers, new[n:]))

    def laid_out(self, stages: Sequence[Sum]) -> list[Symbol]:
        lines: list[Symbol] = []
        for stage in stages:
            first, *more = _broken(stage)
            first = _joined(Symbol(self.relation), first, " ")
            if lines and not more and len(lines[-1].text) + len(first.text) < WIDTH:
                lines[-1] = _joined(lines[-1], first, " ")
            else:
                lines.append(Symbol(first.text, f"&{first.latex}"))
                lines += [Symbol(f"  {line.text}", rf"&\quad {line.latex}") for line in more]
        return lines


def _whole(stage: Sum) -> Symbol:
    return sum_of([product_of(product) for product in stage])


def _broken(stage: Sum) -> list[Symbol]:
    """A sum in one line; when it is too long each product in its own, and its factors in as many as it takes."""
    whole = _whole(stage)
    if len(whole.text) <= WIDTH:
        return [whole]
    products = [[product[0], *[Symbol(f"·{f.text}", rf" \cdot {f.latex}") for f in product[1:]]] for product in stage]
    for product in products[1:]:
        product[0] = Symbol(signed(product[0].text), signed(product[0].latex))
    if all(len(product) == 1 for product in products):
        return _filled([term for [term] in products])
    return [line for product in products for line in _filled(product)]


def _filled(pieces: Sequence[Symbol]) -> list[Symbol]:
    """The pieces in as few lines as they need."""
    lines: list[Symbol] = []
    width = 0
    for piece in pieces:
        width += len(piece.text)
        if lines and width <= WIDTH:
            lines[-1] = _joined(lines[-1], piece)
        else:
            lines.append(Symbol(piece.text.strip(), piece.latex.strip()))
            width = len(lines[-1].text)
    return lines


def _joined(left: Symbol, right: Symbol, between: str = "") -> Symbol:
    return Symbol(left.text + between + right.text, left.latex + between + right.latex)


def _equal(left: Symbol, right: Symbol) -> Symbol:
    return _joined(left, right, " = ")


@dataclass(frozen=True)
class _Part:
    """A sentence, and the equations it announces.  The sentence's latex has its formulas between dollars."""

    sentence: Symbol
    equations: Sequence[_Equation] = ()

    def text(self) -> Iterator[str]:
        yield self.sentence.text
        width = max((_columns(equation.left.text) for equation in self.equations), default=0)
        for equation in self.equations:
            left = equation.left.text + " " * (width - _columns(equation.left.text))
            for line in equation.lines():
                yield f"  {left} {line.text}".rstrip()
                left = " " * width

    def latex(self, begin: str, end: str) -> Iterator[str]:
        yield self.sentence.latex
        for display in self.displays():
            yield from [begin, r"\begin{aligned}", " \\\\\n".join(display), r"\end{aligned}", end]
        if not self.equations:
            yield ""  # a paragraph ends

    def displays(self) -> Iterator[list[str]]:
        """The lines, in portions that fit a page."""
        display: list[str] = []
        for equation in self.equations:
            first, *more = [line.latex for line in equation.lines()]
            lines = [f"{equation.left.latex} {first}", *more]
            if display and len(display) + len(lines) > LINES_OF_A_DISPLAY:
                yield display
                display = []
            display += lines
            while len(display) > LINES_OF_A_DISPLAY:
                yield display[:LINES_OF_A_DISPLAY]
                display = display[LINES_OF_A_DISPLAY:]
        if display:
            yield display


def _columns(text: str) -> int:
    """How many columns of a terminal the text takes."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def _sentence(template: str, *symbols: Symbol | Sequence[Symbol]) -> Symbol:
    """Words with a formula at each {}; several are enumerated."""
    several = [[s] if isinstance(s, Symbol) else s for s in symbols]
    return Symbol(
        template.format(*[", ".join([s.text for s in each]) for each in several]),
        template.format(*[", ".join([f"${s.latex}$" for s in each]) for each in several]),
    )


def _worded(formula: Symbol, words: str) -> Symbol:
    return Symbol(f"{formula.text} ({words})", rf"{formula.latex}\text{{ ({words})}}")


def _count(n: int) -> Symbol:
    exponent = int(n.bit_length() * math.log10(2))  # Python does not write numbers of thousands of digits
    return Symbol(str(n)) if exponent < 20 else Symbol(f"about 10^{exponent}", rf"\text{{about }} 10^{{{exponent}}}")


def _ratio(above: Symbol, below: Symbol) -> Symbol:
    return Symbol(f"∂{above.text}/∂{below.text}", rf"\frac{{\partial {above.latex}}}{{\partial {below.latex}}}")


def _mark(place: str) -> Symbol:
    return Symbol("|" + ("ₖ" if place == "k" else place.translate(SUBSCRIPTS)), f"|_{{{place}}}")


# --- Names ------------------------------------------------------------------------------------------------------------


def _names(tape: Tape, x: Value) -> dict[Value, Symbol]:
    """Nodes that are not named by their rows: those with a label of their own, the output, an x that has no row."""
    labels = {node: _label(node.label) for node in dict.fromkeys((*tape, x)) if node.label}
    times = Counter(symbol.latex for symbol in labels.values())  # x1 and x_1 look the same
    names = {
        node: symbol
        for node, symbol in labels.items()
        if times[symbol.latex] == 1 and is_name(symbol.text) and not symbol.text.endswith("…")
    }
    rows = {tape.name(node) for node in tape if node not in names and node is not tape.output}
    if any(row_name(symbol.text) in rows for symbol in names.values()):  # a label v1, and a row v₁ beside it
        names = {node: symbol for node, symbol in names.items() if not row_name(symbol.text)}
    names = {node: _word(symbol) for node, symbol in names.items()}
    for node, letters in ((tape.output, "yfzwL"), (x, "xutsc")):
        if node not in names and (node is tape.output or tape.number(node) is None):
            taken = {symbol.latex for symbol in (*names.values(), *labels.values())}
            names[node] = next((Symbol(c) for c in letters if c not in taken), Symbol("?", r"\text{?}"))
    return names


def _label(label: str) -> Symbol:
    """A user's label, or its beginning.  Signs stand outside of \\text, inside of which MathJax knows only some."""
    symbol = label_symbol(label)
    if len(symbol.text) > LONGEST_LABEL:
        symbol = label_symbol(symbol.text[: LONGEST_LABEL - 1] + "…")
    if not symbol.latex.startswith(r"\text"):
        return symbol
    pieces = re.findall(r"[^\\{}$&#%_~^<>|]+|.", symbol.text)
    return Symbol(symbol.text, "{" + "".join(SIGNS.get(piece) or rf"\text{{{piece}}}" for piece in pieces) + "}")


SIGNS = {sign: rf"\{sign}" for sign in "{}$&#%_"}
SIGNS |= {"\\": r"\backslash ", "~": r"{\sim}", "^": r"{\wedge}", "<": "{<}", ">": "{>}", "|": r"{\vert}"}


def _word(symbol: Symbol) -> Symbol:
    """A label in a formula: in the text those with blanks or signs of arithmetic get parentheses."""
    plain = re.fullmatch(r"[\w.'′\u0300-\u036f]+(\[[\w,. ]*\])*", symbol.text)
    return symbol if plain else Symbol(f"({symbol.text})", symbol.latex)


# --- Writing ----------------------------------------------------------------------------------------------------------


class _Writer(FormulaWriter):
    """Writes the parts of a derivation, each of at most so many equations."""

    def __init__(self, derivation: Derivation, max_rows: int | None) -> None:
        check_unchanged(derivation.tape.operations)  # it may be long since it was derived
        super().__init__(derivation.tape, derivation.digits)
        self.derivation, self.max_rows = derivation, max_rows
        self.y, self.x = derivation.y, derivation.x
        self.called = _names(derivation.tape, self.x)
        self.place = {node: i for i, node in enumerate(_made_of(self.x, derivation.tape))}
        self.has_marks = False
        self._with_numbers: dict[Factor, Symbol] = {}

    def parts(self) -> Iterator[_Part]:
        """What is printed, from the definitions to the result."""
        derivation, x, y = self.derivation, self.name(self.x), self.name(self.y)
        if not derivation.nodes:
            yield _Part(self.reason())
            return
        yield _Part(_sentence("The nodes from {} to {}:", x, y), self.rows(derivation.nodes, self.definition))
        yield from self.operands_beside()
        edges = list(dict.fromkeys(f for step in derivation.steps for product in step.products for f in product))
        if len(edges) == 1:
            yield _Part(Symbol("The derivative:"), [self.local_derivative(edges[0])])
            return
        local = [edge for edge in edges if edge.operand is not None and self.is_worked_out(edge)]
        if local:
            yield _Part(Symbol("Local derivatives:"), self.rows(local, self.local_derivative))
        yield _Part(self.announcement(), self.rows(derivation.steps, self.step))
        if self.has_marks:
            yield _Part(_sentence("The mark {}: by operand {} alone, the others held fixed.", _mark("k"), Symbol("k")))
        if derivation.stops:
            yield _Part(_sentence("Not expanded: {}.", [self.left_out(h) for h in derivation.stops]))

    def rows(self, items: Sequence[T], equation: Callable[[T], _Equation]) -> list[_Equation]:
        """An equation for each item, but for those in the middle of too many."""
        if self.max_rows is None or len(items) <= self.max_rows:
            return [equation(item) for item in items]
        half = self.max_rows // 2
        more = f"{len(items) - 2 * half} more"
        gap = _Equation(Symbol("⋮", r"\vdots"), [[[Symbol(more, rf"\text{{{more}}}")]]], [], relation="")
        return [*map(equation, items[:half]), gap, *map(equation, items[len(items) - half :])]

    def reason(self) -> Symbol:
        """Why there is nothing to derive."""
        x, y = self.name(self.x), self.name(self.y)
        result = _equal(_ratio(y, x), self.number(self.derivation.total))
        if self.x is self.y:
            return _sentence("{}, because both are the same node.", result)
        if not self.y.parents:
            return _sentence("{}, because {} is a leaf: it was made of no other node.", result, y)
        return _sentence("{}, because {} does not depend on {}.", result, y, x)

    def announcement(self) -> Symbol:
        """How the paths are summed, and how many there are."""
        n, way = self.derivation.n_paths, (self.name(self.y), self.name(self.x))
        if self.derivation.factored:
            count = _sentence("{} path" if n == 1 else "{} paths", _count(n))
            sentence = _sentence("Chain rule, node by node from {} down to {} (", *way)
            return _joined(sentence, _joined(count, Symbol("):")))
        if n == 1:
            return _sentence("Chain rule along the one path from {} down to {}:", *way)
        return _sentence("Chain rule, the sum over the {} paths from {} down to {}:", _count(n), *way)

    # -- nodes

    def name(self, node: Value) -> Symbol:
        """The label, where it is no other node's; else the row's name, y for the output, a constant's number."""
        symbol = self.called.get(node)
        return super().name(node) if symbol is None else Symbol(symbol.text, symbol.latex, digits=self.digits)

    def value(self, node: Value) -> Symbol:
        """x1 = 2."""
        return _equal(self.name(node), self.number(node.data))

    def definition(self, node: Value) -> _Equation:
        """v₁ = x1 * x2 = 2 * 5 = 10."""
        formulas, numbers = [], [self.number(node.data)]
        if node.op is not None:
            formula, with_numbers = self.formula(node)
            formulas.append(formula)
            if with_numbers is not None:
                numbers.insert(0, with_numbers)
        label = _label(node.label or "")
        if is_name(label.text) and label.latex != self.name(node).latex:
            formulas.insert(0, label)
        return _Equation(self.name(node), _stages(formulas), _stages(numbers))

    def applied(self, node: Value, operands: Sequence[Symbol]) -> Symbol:
        """The operation of a node; of many terms some are left out, those that depend on x last of all."""
        op, terms = node.op, operands
        assert op is not None
        places = [i for i, parent in enumerate(node.parents) if parent in self.place]
        if op is DOT:
            (w, x, b), n = ops.split(operands), len(operands) // 2
            terms = [Symbol.record(MUL, *factors) for factors in zip(w, x, strict=True)] + [b] * bool(b.text)
            op, places = TOTAL, [i % n if i < 2 * n else n for i in places]
        written = shortened(terms, DOTS, places) if op.arity is None else terms
        if written is terms or op is TOTAL:
            return Symbol.record(op, *written)
        text, latex = ", ".join([s.text for s in written]), ", ".join([s.latex for s in written])
        return Symbol(f"{op.name}({text})", rf"\operatorname{{{escape_latex(op.name)}}}\left({latex}\right)")

    def operands_beside(self) -> Iterator[_Part]:
        """The numbers of operands that have a name but are on no path, and what a nameless x is."""
        nodes = {*self.derivation.nodes}
        operands = dict.fromkeys(v for node in self.derivation.nodes[1:] for v in node.parents if v not in nodes)
        named = [v for v in operands if v in self.called or self.tape.number(v) is not None]
        for template, values in (
            ("Not depending on {}: {}.", [self.value(v) for v in named if v not in self.place]),
            ("Depending on {} through a stop: {}.", [self.value(v) for v in named if v in self.place]),
        ):
            if values:
                yield _Part(_sentence(template, self.name(self.x), shortened(values, DOTS, most=12)))
        if not self.x.label and self.tape.number(self.x) is None:
            yield _Part(_sentence("{} stands for a constant that has no label.", self.name(self.x)))

    # -- derivatives

    def derivative(self, factor: Factor) -> Symbol:
        """∂v₂/∂v₁, with a mark where it is by one operand alone and not all of the derivative."""
        ratio = _ratio(self.name(factor.of), self.name(factor.by))
        if factor.operand is None or self.is_only_way(factor):
            return ratio
        self.has_marks = True
        mark = _mark(str(factor.operand + 1))
        return Symbol(ratio.text + mark.text, rf"\left.{ratio.latex}\right{mark.latex}")

    def is_only_way(self, edge: Factor) -> bool:
        """Whether no other operand leads down to this one; a search among the nodes between the two."""
        stack = [v for i, v in enumerate(edge.of.parents) if i != edge.operand]
        seen: set[Value] = set()
        while stack:
            node = stack.pop()
            if node is edge.by:
                return False
            if node not in seen and self.place.get(node, -1) > self.place[edge.by]:
                seen.add(node)
                stack.extend(node.parents)
        return True

    def partial(self, edge: Factor) -> tuple[Symbol, Symbol, Symbol]:
        """The derivative along an edge: its formula, the formula with numbers, the number."""
        node, place = edge.of, edge.operand
        assert node.op is not None
        assert place is not None
        formula, number = self.partials(node)[place], self.number(edge.number)
        if formula.text == number.text:
            return formula, number, number
        if edge not in self._with_numbers:
            found = enough_digits(
                self.digits, lambda digits: holds(self._filled(node, place, digits), edge.number, self.digits)
            )
            self._with_numbers[edge] = number if found is None else self._filled(node, place, found)
        return formula, self._with_numbers[edge], number

    @staticmethod
    def _filled(node: Value, place: int, digits: int) -> Symbol:
        """The textbook's derivative by an operand, with numbers of so many digits."""
        assert node.op is not None
        numbers = [Symbol.of(v.data, digits) for v in (node, *node.parents)]
        return Symbol.part(node.op.taught(*numbers)[place], digits)

    def is_worked_out(self, edge: Factor) -> bool:
        """Whether there is something to say about an edge: 1/x1 = 1/2 = 0.5, but not x2 = 5."""
        _, with_numbers, number = self.partial(edge)
        return with_numbers.text != number.text or self.is_agreed(edge)

    def is_agreed(self, edge: Factor) -> bool:
        """Whether it is a corner, where the derivative is a convention."""
        assert edge.of.op is not None
        assert edge.operand is not None
        return bool(edge.of.op.corners) and not formulas_agree(edge.of)[edge.operand]

    def local_derivative(self, edge: Factor) -> _Equation:
        """∂v₁/∂x1 = 1 / x1 = 1 / 2 = 0.5."""
        formula, with_numbers, number = self.partial(edge)
        if self.is_agreed(edge):
            return _Equation(self.derivative(edge), [], _stages([_worded(number, "by convention")]))
        numbers = [with_numbers, number]
        return _Equation(self.derivative(edge), _stages([formula]), _stages(numbers))

    def step(self, step: Step) -> _Equation:
        """∂y/∂v₁ = ∂y/∂v₂·∂v₂/∂v₁ + ... = formulas = numbers = contributions = result."""
        products = shortened(step.products, ()) if self.derivation.factored else step.products
        edges = [factor for product in products for factor in product if factor.operand is not None]

        def stage(write: Callable[[Factor], Symbol]) -> Sum:
            return [_as_factors([write(factor) for factor in product]) or [DOTS] for product in products]

        formulas = [stage(self.derivative)]
        if not self.derivation.factored or any(len({s.text for s in self.partial(edge)}) > 1 for edge in edges):
            formulas.append(stage(lambda f: self.derivative(f) if f.operand is None else self.partial(f)[0]))
        left = _ratio(self.name(self.y), self.name(step.node))
        return _Equation(left, formulas, self.worked_out(step, products), stacked=not self.derivation.factored)

    def worked_out(self, step: Step, products: Sequence[Sequence[Factor]]) -> list[Sum]:
        """The sum in numbers: its factors, multiplied, added up; each with digits enough to give what comes next."""
        result: Sum = [[self.number(step.derivative)]]
        digits = sum_digits(step.contributions, step.derivative, self.digits)
        if digits is None:  # the floats' own rounding
            return [result]
        within = product_digits(
            [[factor.number for factor in product] for product in step.products],
            step.contributions,
            step.derivative,
            digits,
            self.digits,
        )
        factors = [
            _as_factors([Symbol.of(factor.number, within) for factor in product]) or [DOTS] for product in products
        ]
        terms = [[Symbol.of(_multiplied(product), digits) if product else DOTS] for product in products]
        return [factors, terms, result]

    def left_out(self, stop: Value) -> Symbol:
        """∂L/∂h = 0.35 (3 operations)."""
        result = _equal(_ratio(self.name(self.y), self.name(stop)), self.number(self.derivation.stops[stop]))
        operations = len(_made_of(stop, self.tape)) - 1
        return _worded(result, f"{operations} operation{'s' * (operations != 1)}")


def _stages(symbols: Iterable[Symbol]) -> list[Sum]:
    return [[[symbol]] for symbol in symbols]


def _as_factors(symbols: list[Symbol]) -> list[Symbol]:
    return [as_factor(s) for s in symbols] if len(symbols) > 1 else symbols
