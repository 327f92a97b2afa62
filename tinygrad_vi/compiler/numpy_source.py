"""The program as readable NumPy: what the student reads, and the back end that is always there.

Every array of the text has a row for each node and a column for each example; what is the same for all examples has one
column, and broadcasting does the rest.  Parameters whose labels are the entries of a matrix (W1[0,2]) are views of the
parameter vector with that name.

One vector instruction becomes one line.  Its operands are lists of rows, and the work is to see how a list of rows can
be read: as a whole array, a slice, a matrix or its transpose.  Then

    sum over k of W[i,k] * h[k]              is  W @ h
    sum over the examples of d[i] * h[j]     is  d @ h.T

and what has no such form is still right: its rows are gathered, multiplied and added up.

Only identifiers and numbers reach the text: a label or the name of an argument that is not one names nothing.
"""

from __future__ import annotations

import builtins
import keyword
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from unicodedata import normalize

from tinygrad_vi.compiler.form import DOT, LIGHT, ONE, ORDERED, TOTAL, Form
from tinygrad_vi.compiler.lift import Instruction, lift
from tinygrad_vi.compiler.program import Question
from tinygrad_vi.rows import BUILT_IN, Operation

# --- Text that knows how tightly it binds -----------------------------------------------------------------------------

SUM, PRODUCT, MATMUL, POWER, CALL = range(1, 6)


@dataclass
class Text:
    """A piece of an expression: a template, and what stands in its places, with how tightly each must bind."""

    template: str
    binds: int = CALL
    parts: Sequence[tuple[Text | Array, int]] = ()

    def arrays(self) -> Iterator[tuple[Array, bool]]:
        """The arrays in it, and whether each stands there as a whole."""
        for part, needed in self.parts:
            if isinstance(part, Array):
                yield part, needed > 0
            else:
                yield from part.arrays()

    def write(self, needed: int = SUM) -> str:
        """The text, in brackets where something tighter is needed."""
        if self.template == "{}":
            return self.parts[0][0].write(needed)
        text = self.template.format(*[part.write(least) for part, least in self.parts])
        return f"({text})" if self.binds < needed else text


@dataclass(eq=False)
class Array:
    """Nodes that live together.  A vector has a row for each; a matrix holds unmapped nodes, row by row.

    expression: what computes it; None for what the function is given.  inline: it has no line of its own.
    """

    name: str
    rows: int
    columns: int | None = None
    expression: Text | None = None
    inline: bool = False

    def write(self, needed: int = SUM) -> str:
        """Its name, or what computes it."""
        return self.expression.write(needed) if self.inline and self.expression else self.name


def call(template: str, *arguments: Text | Array, binds: int = CALL, needed: int = SUM) -> Text:
    """A template filled with expressions."""
    return Text(template, binds, [(argument, needed) for argument in arguments])


def times(*factors: Text | Array) -> Text:
    """A product; one factor is itself."""
    kept = [factor for factor in factors if not (isinstance(factor, Text) and factor.template == "1")]
    if len(kept) == 2 and kept[0] == kept[1]:
        return call("{} ** 2", kept[0], binds=POWER, needed=CALL)
    if len(kept) == 1:
        return call("{}", kept[0], binds=kept[0].binds if isinstance(kept[0], Text) else CALL)
    # a * (W @ b) needs its brackets: @ and * are read from left to right
    parts = [(factor, PRODUCT if i == 0 else POWER) for i, factor in enumerate(kept)]
    return Text(" * ".join(["{}"] * len(kept)), PRODUCT, parts) if kept else Text("1")


def scaled(c: float, text: Text) -> Text:
    """c times an expression, which is multiplied out first: c * (u * v)."""
    if c == 1.0:
        return text
    if c < 0.0:
        return call("-{}", scaled(-c, text), binds=SUM, needed=PRODUCT)
    needed = PRODUCT if c >= 1.0 and c in LIGHT else POWER  # 2 * u * v is the same, from left to right
    return call(f"{number(c)} * {{}}", text, binds=PRODUCT, needed=needed) if text.template != "1" else Text(number(c))


def added(terms: Sequence[Text]) -> Text:
    """A sum; matrix products come first, as in W @ x + b."""
    return from_left(sorted(terms, key=lambda term: (term.template.startswith("-"), term.binds != MATMUL)))


def from_left(terms: Sequence[Text]) -> Text:
    """A sum in this order."""
    signs = [" - " if term.template == "-{}" else " + " for term in terms[1:]]
    parts = [(terms[0], SUM)] + [
        term.parts[0] if sign == " - " else (term, PRODUCT) for term, sign in zip(terms[1:], signs, strict=True)
    ]
    return Text("{}" + "".join(f"{sign}{{}}" for sign in signs), SUM, parts) if signs else terms[0]


def number(c: float) -> str:
    """A number as people write it."""
    if math.isnan(c):
        return "np.nan"
    if math.isinf(c):
        return "np.inf" if c > 0.0 else "-np.inf"
    whole = c.is_integer() and abs(c) < 1e15 and str(c) != "-0.0"
    return repr(int(c)) if whole else repr(c)


# --- What NumPy calls the operations ----------------------------------------------------------------------------------

#: a template, how tightly it binds, and how tightly its operands must; {c} is the constant of a family
WRITTEN: dict[str, tuple[str, int, int]] = {
    "abs": ("np.abs({})", CALL, SUM),
    "acos": ("np.arccos({})", CALL, SUM),
    "asin": ("np.arcsin({})", CALL, SUM),
    "atan": ("np.arctan({})", CALL, SUM),
    "acosh": ("np.arccosh({})", CALL, SUM),
    "asinh": ("np.arcsinh({})", CALL, SUM),
    "atan2": ("np.arctan2({} + 0.0, {} + 0.0)", CALL, SUM),
    "atanh": ("np.arctanh({})", CALL, SUM),
    "div": ("{} / {}", PRODUCT, POWER),
    "elu": ("elu({}, {c})", CALL, SUM),
    "exponential": ("{c} ** {}", POWER, CALL),
    "floordiv": ("np.floor_divide({}, {})", CALL, SUM),  # -x // y is not -(x // y)
    "hypot": ("np.hypot({}, {})", CALL, SUM),
    "leaky_relu": ("leaky_relu({}, {c})", CALL, SUM),
    "maximum": ("np.maximum({}, {})", CALL, SUM),
    "minimum": ("np.minimum({}, {})", CALL, SUM),
    **{
        name: (f"np.where({{}} {sign} {{}}, 1.0, 0.0)", CALL, SUM)
        for name, sign in (("less", "<"), ("less_equal", "<="), ("equal", "=="))
    },
    "mod": ("np.mod({}, {})", CALL, SUM),
    "pow": ("{} ** {}", POWER, CALL),
    "power": ("{} ** {c}", POWER, CALL),
    "relu": ("np.maximum({}, 0)", CALL, SUM),
    "round": ("np.rint({})", CALL, SUM),
    "stop_gradient": ("np.positive({})", CALL, SUM),
    **{
        name: (f"np.{name}({{}})", CALL, SUM)
        for name in (
            "exp",
            "expm1",
            "log",
            "log1p",
            "sqrt",
            "sin",
            "cos",
            "tan",
            "sinh",
            "cosh",
            "tanh",
            "log2",
            "log10",
            "cbrt",
            "sign",
            "floor",
            "ceil",
        )
    },
}

#: functions that NumPy lacks
DEFINITIONS = {
    "elu": "return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))",
    "leaky_relu": "return np.where(x > 0, x, slope * x)",
    "logsumexp": """xs = np.stack(np.broadcast_arrays(*xs))
    first = np.arange(len(xs))[:, None, None] == xs.argmax(axis=0)  # one that is largest: exp(0) = 1
    shift = xs.max(axis=0)
    return shift + np.log1p(np.where(first, 0, np.exp(xs - shift)).sum(axis=0))""",
    "bell": """a = np.minimum(np.abs(x), 40)
    c = 134217729 * a
    high = c - (c - a)  # 26 bits of a
    low = a - high
    e = np.exp(-0.5 * (a * a))  # which magnifies the rounding of a*a
    return e - 0.5 * (((high * high - a * a) + 2 * (high * low)) + low * low) * e""",
    "sech": """e = np.exp(-np.abs(x))
    return 2 * e / (1 + e * e)""",
    "semicircle": "return np.sqrt((1 - x) * (1 + x))",
    "sigmoid": """e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1, e) / (1 + e)""",
    "silu": """e = np.exp(-np.abs(x))
    return np.maximum(x, -1000) * np.where(x >= 0, 1, e) / (1 + e)""",
    "softplus": "return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))",
    "softsign": "return x / (1 + np.abs(x))",
    "step": "return np.heaviside(x, 0)",
    "total": """for scale in 1, 2.0**-64:  # smaller where a sum on the way overflows
        high, low = scale * x, 0
        while high.shape[1] > 1:
            if high.shape[1] % 2:
                high = np.append(high, np.zeros_like(high[:, :1]), axis=1)
            a, b = high[:, ::2], high[:, 1::2]
            high = a + b
            z = high - a
            low = low + ((a - (high - z)) + (b - z)).sum(axis=1)  # what the additions round off
        y = (high[:, 0] + low) / scale
        if np.isfinite(y).all():
            break
    return y""",
    "where": "return np.where(c > 0, x, np.where(c <= 0, y, np.nan))",
}
SIGNATURES = {"where": "c, x, y", "elu": "x, alpha", "leaky_relu": "x, slope", "logsumexp": "*xs"}
#: how results of these are called
ACTIVATIONS = ("tanh", "relu", "sigmoid", "gelu", "silu", "elu", "leaky_relu", "softplus", "sin")

#: kinds of terms that one sum is written with; where there are more, rows are gathered
LONGEST_SUM = 30

RESERVED = {
    "np",
    "len",
    "OPERATIONS",
    "OWN",
    "theta",
    "p",
    "share",
    "N",
    "value",
    "gradient",
    "results",
    *DEFINITIONS,
}


# --- The text of a program --------------------------------------------------------------------------------------------


@dataclass
class Names:
    """What the user calls things.

    parameters: the label of each, or "".  arguments: the name of each argument, and how many inputs it has.
    """

    parameters: Sequence[str] = ()
    arguments: Sequence[tuple[str, int]] = ()


@dataclass
class Block:
    """Parameters that form a matrix: row r, column c is theta[start + r*down + c*across]."""

    array: Array
    start: int
    down: int
    across: int
    #: of the whole vector
    parameters: int
    #: how many parameters of other blocks come before it in each row
    offset: int = 0

    def view(self, vector: str) -> str:
        """The matrix as a view: theta[0:48].reshape(16, 3)[:, 0:2]."""
        rows, columns, start = self.array.rows, self.array.columns or 1, self.start
        if columns == 1 and (self.down == 1 or rows == 1):
            return f"{vector}[{start}:{start + rows}, None]"
        first = start - self.offset
        if self.across != 1 or self.down < columns or first + rows * self.down > self.parameters:
            return (
                f"{vector}[{start} + {self.down} * np.arange({rows})[:, None] + {self.across} * np.arange({columns})]"
            )
        grid = f"{vector}[{first}:{first + rows * self.down}].reshape({rows}, {self.down})"
        return f"{grid}[:, {self.offset}:{self.offset + columns}]" if self.down > columns else grid

    def positions(self) -> list[int]:
        """The positions in theta, row by row."""
        columns = range(self.array.columns or 1)
        return [self.start + r * self.down + c * self.across for r in range(self.array.rows) for c in columns]


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
    return _Writer(question, names).module(function)


def _table(operation: str) -> str:
    return "OPERATIONS" if operation in BUILT_IN else "OWN"


def written(question: Question, names: Names, function: str = "value_and_gradient") -> Written:
    """The same with where each node stands, for those who draw it."""
    writer = _Writer(question, names)
    text = writer.module(function)
    sizes = {"theta": question.parameters, **dict(names.arguments)}
    return Written(text, sizes, question.form, writer.places())


class _Writer:
    """One program on its way to being a text."""

    def __init__(self, question: Question, names: Names) -> None:
        import numpy as np

        self.np = np
        self.question, self.form, self.arguments = question, question.form, names.arguments
        self.constants: dict[str, str] = {}
        self.needed: set[str] = set()
        self.numbered: Counter[str] = Counter()
        operations = {kind.name for kind in self.form.kinds if isinstance(kind, Operation)}
        self.taken = RESERVED | (operations & BUILT_IN) | {name for name, _ in names.arguments}
        #: how the text calls each operation
        own = sorted(operations - BUILT_IN)
        self.called = {name: name for name in operations} | {name: self._name(name, numbered=False) for name in own}
        self.all_parameters = Array("p", question.parameters)
        self.blocks = self._find_blocks(names.parameters)
        self.place = self._place_leaves()
        #: the arrays that have a line of their own, with its number
        self.born: dict[Array, int] = {}
        self.root: Array | None = None
        #: what the function returns is made of these lines
        self.final: list[tuple[str, Text]] = []
        #: the names in the lines
        self.mentioned: set[str] = set()
        for instruction in lift(self.form, [node for _, node in question.outputs]):
            self._instruction(instruction)

    # --- Names

    def _find_blocks(self, labels: Sequence[str]) -> list[Block]:
        """The matrices that labels speak of, where their entries lie regularly in theta."""
        counts = Counter(labels)
        entries: dict[str, dict[tuple[int, int], int]] = defaultdict(dict)
        for position, label in enumerate(labels):
            found = re.fullmatch(
                r"([^\W\d]\w{0,30})(?:\[([0-9]{1,6})(?:,\s*([0-9]{1,6}))?\])?", normalize("NFKC", label)
            )
            if found and counts[label] == 1:  # a label that occurs twice names nobody
                entries[found[1]][int(found[2] or 0), int(found[3] or 0)] = position
        blocks = []
        for name, at in entries.items():
            rows, columns = (1 + max(indices) for indices in zip(*at, strict=True))
            start = at.get((0, 0), 0)
            down, across = at.get((1, 0), start + columns) - start, at.get((0, 1), start + 1) - start
            block = Block(Array(name, rows, columns if columns > 1 else None), start, down, across, len(labels))
            if rows == 1:
                block.down = columns
            if rows * columns != len(at) or min(down, across) <= 0 or not self._free(name):
                continue
            if block.positions() == [at[r, c] for r in range(rows) for c in range(columns)]:
                self.taken.add(name)
                blocks.append(block)
        for block in blocks:  # W and b of a layer are columns of one grid
            before = [
                other.start for other in blocks if other.down == block.down and other.array.rows == block.array.rows
            ]
            first = min(start for start in before if block.start - start < block.down)
            block.offset = max(0, min(block.start - first, block.down - (block.array.columns or 1)))
        return blocks

    def _free(self, name: str) -> bool:
        return not (name in self.taken or keyword.iskeyword(name) or hasattr(builtins, name))

    def _name(self, wish: str, numbered: bool) -> str:
        name = "" if numbered else wish
        while not name or not self._free(name):
            self.numbered[wish] += 1
            name = f"{wish}{self.numbered[wish]}"
        self.taken.add(name)
        return name

    def constant(self, numbers: Any, wish: str) -> str:
        """The name of an array of numbers, defined above the function."""
        text = re.sub(r"\b(inf|nan)\b", r"np.\1", f"np.array({numbers.tolist()})")
        if text not in self.constants:
            self.constants[text] = self._name(wish, numbered=True)
        return self.constants[text]

    # --- Where nodes live

    def _place_leaves(self) -> dict[int, tuple[Array, int]]:
        """The array of each leaf, and its position there."""
        inputs = [
            (array, row) for array in [Array(*argument) for argument in self.arguments] for row in range(array.rows)
        ]
        parameters = {i: (self.all_parameters, i) for i in range(self.question.parameters)}
        for block in self.blocks:
            parameters.update({i: (block.array, k) for k, i in enumerate(block.positions())})
        one, share = Array("1", 1), Array("share", 1)
        place = {ONE: (one, 0)}
        for node, kind in enumerate(self.form.kinds):
            if kind == "parameter" and self.form.arguments[node] in parameters:
                place[node] = parameters[self.form.arguments[node]]
            elif kind == "input":
                place[node] = inputs[self.form.arguments[node]]
            elif kind == "share":
                place[node] = share, 0
        return place

    def _locate(self, nodes: Any) -> tuple[Array, Any]:
        """The one array in which all these nodes live, and their positions there, in the shape of ``nodes``."""
        flat = nodes.ravel().tolist()
        arrays = list(dict.fromkeys(self.place[node][0] for node in flat))
        if len(arrays) == 1:
            positions = [self.place[node][1] for node in flat]
        elif all(self.form.kinds[node] == "parameter" for node in flat):
            arrays, positions = [self.all_parameters], [self.form.arguments[node] for node in flat]
        else:
            arrays, positions = self._stack(sorted(set(flat)), flat)
        return arrays[0], self.np.array(positions).reshape(nodes.shape)

    def _stack(self, nodes: list[int], wanted: list[int]) -> tuple[list[Array], list[int]]:
        """A new array of rows from several."""
        by_array: dict[Array, list[int]] = defaultdict(list)
        for node in nodes:
            by_array[self.place[node][0]].append(node)
        mapped = any(self.form.mapped[node] for node in nodes)
        parts: list[Text | Array] = []
        row: dict[int, int] = {}
        for members in by_array.values():
            part: Text | Array = self.rows(self.np.array(members))
            if mapped and not self.form.mapped[members[0]]:
                part = call(f"np.broadcast_to({{}}, ({len(members)}, N))", part)
            parts.append(part)
            row.update({node: len(row) + i for i, node in enumerate(members)})
        stacked = call(f"np.vstack([{', '.join(['{}'] * len(parts))}])", *parts)
        array = self._line("rows", Array("", len(nodes), expression=stacked))
        return [array], [row[node] for node in wanted]

    def _line(self, wish: str, array: Array, nodes: Sequence[int] = ()) -> Array:
        primal = {self.place.get(self.question.adjoint_of.get(node, ONE), self.place[ONE])[0] for node in nodes}
        if len(primal) == 1 and primal <= self.born.keys():
            [of] = primal  # dL/da1 is the textbooks' delta1
            wish = f"delta{of.name[1:]}" if of.name[0] == "a" else f"d{of.name}"
            array.name = self._name(wish, numbered=False)
        else:
            array.name = self._name(wish, numbered=True)
        self.born[array] = len(self.born)
        return array

    # --- How lists of nodes are read

    def rows(self, nodes: Any) -> Text | Array:
        """These nodes as rows: an array of the shape of ``nodes``, with one more axis for the examples."""
        if (nodes == ONE).all():
            return Text("1")
        array, at = self._locate(nodes)
        if array.columns is not None:
            if at.ndim == 1 and at.size == array.rows * array.columns and self._is_run(at, 0):
                return Text("{}.reshape(-1, 1)", CALL, [(array, 0)])
            return Text(f"{{}}.reshape(-1, 1)[{self._index(at)}]", CALL, [(array, 0)])
        if at.ndim == 1 and at.size == array.rows and self._is_run(at, 0):
            return array
        return Text(f"{{}}[{self._index(at)}]", CALL, [(array, 0)])

    def matrix(self, nodes: Any) -> Text | Array:
        """Nodes that are not mapped as a matrix, of the shape of ``nodes``, with no axis for the examples."""
        array, at = self._locate(nodes)
        if array.columns is None:
            flat = self.rows(nodes.ravel())
            return call(f"{{}}.reshape{nodes.shape}", flat, needed=CALL)
        r, c = at // array.columns, at % array.columns
        for transposed, suffix in ((False, ""), (True, ".T")):
            down, across = (r.T, c.T) if transposed else (r, c)
            if not ((down == down[:, :1]).all() and (across == across[:1]).all()):
                continue
            whole = [self._is_run(run, 0) and len(run) == size
                     for run, size in ((down[:, 0], array.rows), (across[0], array.columns))]  # fmt: skip
            if all(whole):
                return Text(f"{{}}{suffix}", CALL, [(array, 0)]) if suffix else array
            part = [
                ":" if all_of_it else self._index(run)
                for all_of_it, run in zip(whole, (down[:, 0], across[0]), strict=True)
            ]
            if sum(":" in text for text in part):  # two lists of numbers would be pairs
                return Text(f"{{}}[{', '.join(part)}]{suffix}", CALL, [(array, 0)])
        return Text(f"{{}}[{self.constant(r, 'i')}, {self.constant(c, 'i')}]", CALL, [(array, 0)])

    def _is_run(self, positions: Any, start: int | None = None) -> bool:
        """Whether these are consecutive numbers."""
        ahead = bool((self.np.diff(positions) == 1).all())
        return ahead and (start is None or positions[0] == start)

    def _index(self, positions: Any) -> str:
        if positions.ndim == 1 and self._is_run(positions):
            return f"{positions[0]}:{positions[-1] + 1}"
        return self.constant(positions, "i")

    # --- One instruction, one line

    def _instruction(self, instruction: Instruction) -> None:
        nodes = sorted(instruction.nodes, key=self._order)
        if isinstance(instruction.kind, Operation):
            wish = "h" if instruction.kind.name in ACTIVATIONS else "t"
            array = self._line(wish, Array("", len(nodes), expression=self._map(instruction.kind, nodes)), nodes)
        elif instruction.kind == ORDERED:
            array = self._ordered(nodes, instruction.mapped)
        elif instruction.kind == TOTAL:
            array = self._total(nodes, instruction.mapped)
        else:
            array = self._dot(nodes, instruction.mapped)
        self.place.update({node: (array, row) for row, node in enumerate(nodes)})

    def _order(self, node: int) -> list[Any]:
        """Nodes are sorted by where their operands live, the latest first: d[i] * h[j] by i, then by j."""
        return [self._age(operand) for term in self._terms(node) for operand in term[1:]]

    def _terms(self, node: int) -> list[tuple[float, int, int]]:
        """The terms of a dot, the later factor first; the operands of a map as terms of one factor."""
        if isinstance(self.form.kinds[node], Operation):
            return [(1.0, u, ONE) for u in self.form.arguments[node]]
        terms = [(c, *sorted((u, v), key=self._age)) for c, u, v in self.form.arguments[node]]
        if self.form.kinds[node] == ORDERED:
            return terms
        return sorted(terms, key=lambda term: (self._age(term[1]), self._age(term[2])))

    def _age(self, node: int) -> tuple[int, int, str, int]:
        array, position = self.place[node]
        rank = {"1": 3}.get(array.name, 2 if self.form.kinds[node] == "parameter" else 1)
        if array in self.born:
            return 0, -self.born[array], "", position
        return rank, 0, array.name, position

    def _map(self, op: Operation, nodes: Sequence[int]) -> Text:
        operands = self.np.array([self.form.arguments[node] for node in nodes])
        template, binds, needed = WRITTEN.get(op.name, ("", CALL, SUM))
        if op.name in DEFINITIONS or op.name not in WRITTEN:
            self.needed.add(op.name)
        if op.name == "power" and op.constants[0] == -1.0:
            template, binds = "1 / {}", PRODUCT
        if not template:
            template = f"{self.called[op.name]}({', '.join(['{}'] * operands.shape[1])})"
        template = template.replace("{c}", number(op.constants[0]) if op.constants else "")
        numbers = [self._constant(column) for column in operands.T]
        if None not in numbers:  # nothing in it has the shape of the rows
            template, binds, needed = f"np.full(({len(nodes)}, 1), {template})", CALL, SUM
        rows = [self.rows(column) if c is None else Text(number(c), CALL if c >= 0.0 else SUM)
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
        parts = [_Segment(self, [[of_node[k]] for of_node in terms], mapped) for k in range(len(terms[0]))]
        expression = from_left([part.text() for part in parts])
        return self._line("a" if mapped else "s", Array("", len(nodes), expression=expression), nodes)

    def _total(self, nodes: Sequence[int], mapped: bool) -> Array:
        self.needed.add("total")
        terms = _Segment(self, [self._terms(node) for node in nodes], mapped)
        expression = call("total({})", terms.products())
        return self._line("t" if mapped else "s", Array("", len(nodes), expression=expression), nodes)

    def _dot(self, nodes: Sequence[int], mapped: bool) -> Array:
        segments: dict[Any, list[list[tuple[float, int, int]]]] = defaultdict(lambda: [[] for _ in nodes])
        for row, node in enumerate(nodes):
            for term in self._terms(node):
                key = tuple([self._room(factor, mapped or len(nodes) > 1) for factor in term[1:]])
                segments[key][row].append(term)
        irregular = any(len(terms) != len(rows[0]) for rows in segments.values() for terms in rows)
        if irregular or len(segments) > LONGEST_SUM:  # only what is the same for all examples stays apart
            segments = defaultdict(lambda: [[] for _ in nodes])
            for row, node in enumerate(nodes):
                for term in self._terms(node):
                    segments[any(self.form.mapped[factor] for factor in term[1:])][row].append(term)
        for key, (terms, *_) in segments.items():
            if key == (self.all_parameters, self.all_parameters):
                # sums over all parameters in their order, so that they read p[0:9]
                terms.sort(key=lambda term: self.form.arguments[term[1]])
        parts = [_Segment(self, rows, mapped) for rows in segments.values()]
        shape = next((part.grid for part in parts if part.grid), None)
        expression = added([part.as_matrix(shape) if shape else part.text() for part in parts])
        if not any(self.form.mapped[factor] or (factor != ONE and not mapped)
                   for node in nodes for _, *factors in self._terms(node) for factor in factors):  # fmt: skip
            shape_text = f"({len(nodes)}, {'N' if mapped else 1})"
            expression = (
                call(f"np.broadcast_to({{}}, {shape_text})", expression)
                if expression.parts or "[" in expression.template
                else Text(f"np.full({shape_text}, {expression.template}, dtype=float)")  # integers are other numbers
            )
        product = any(part.is_product for part in parts)
        if shape:
            return self._line("d", Array("", shape[0], shape[1], expression))
        wish = ("a" if product else "t") if mapped else "s"
        return self._line(wish, Array("", len(nodes), expression=expression), nodes)

    # --- The module

    def _room(self, node: int, by_block: bool) -> Array:
        """The array of a node; all parameters as one in a sum that goes over all of them."""
        array = self.place[node][0]
        return array if by_block or self.form.kinds[node] != "parameter" else self.all_parameters

    def module(self, function: str) -> str:
        """The whole text."""
        if function == "value_and_gradient":
            final = self._value_and_gradient()
        else:
            outputs = dict(enumerate(self.question.outputs))
            final = [("results", self._results()), *self._assignments(outputs, "results", "")]
        self.final = final
        self._inline([text for _, text in final])
        body = [f"{line.name} = {line.expression.write()}" for line in self.born if line.expression and not line.inline]
        body += [f"{target} = {text.write()}" for target, text in final]
        text = "\n".join(body)
        mentioned = self.mentioned = set(re.findall(r"[^\W\d]\w*", text))
        head = [f"N = {f'len({self.arguments[0][0]})' if self.arguments else '1'}"]
        head += [f"{name} = np.reshape({name}, (N, -1)).T" for name, _ in self.arguments if name in mentioned]
        head += ["share = np.full((1, N), 1 / N)"] * ("share" in mentioned)
        head += ["p = np.reshape(theta, (-1, 1))"] * ("p" in mentioned)
        head += [
            f"{block.array.name} = {block.view('theta')}" for block in self.blocks if block.array.name in mentioned
        ]
        result = "value.item(), gradient" if function == "value_and_gradient" else "results"
        lines = ["import numpy as np"]
        for name in sorted(self.needed):
            if name in DEFINITIONS:
                lines += ["", "", f"def {name}({SIGNATURES.get(name, 'x')}):", f"    {DEFINITIONS[name]}"]
        entrywise = [  # erf, or a row of the user's own
            f'{self.called[name]} = np.vectorize({_table(name)}["{name}"].value, otypes=[float])'
            for name in sorted(self.needed - set(DEFINITIONS))
        ]
        if entrywise:
            tables = sorted({_table(name) for name in self.needed - set(DEFINITIONS)})
            lines[1:1] = ["", f"from tinygrad_vi.rows import {', '.join(tables)}"]
        constants = entrywise + [f"{name} = {numbers}" for numbers, name in self.constants.items()]
        lines += ["", "", *constants] if constants else []
        lines += ["", "", f"def {function}({', '.join(['theta', *[name for name, _ in self.arguments]])}):"]
        lines += [f"    {line}" for line in (*head, *body, f"return {result}")]
        return "\n".join(lines)

    def _inline(self, final: Sequence[Text]) -> None:
        """What is used once, as a whole, and is short stands where it is used."""
        uses: Counter[Array] = Counter()
        for text in [*final, *[line.expression for line in self.born if line.expression]]:
            for array, whole in text.arrays():
                uses[array] += 1 if whole else 2
        for line in self.born:
            assert line.expression is not None
            line.inline = uses[line] == 1 and (line is self.root or len(line.expression.write()) <= 44)

    def places(self) -> dict[int, tuple[str, int]]:
        """Where each node stands in the module, once it is written."""
        lines: list[tuple[str | Array, Text | None]] = [*self.final, *[(line, line.expression) for line in self.born]]
        host = {array: line for line, text in lines if text for array, _ in text.arrays() if array.inline}
        found = {}
        for node, (array, row) in self.place.items():
            line: str | Array = array
            while isinstance(line, Array) and line.inline:  # it stands on the line that it is part of
                line = host[line]
            if array in self.born:
                found[node] = (line.name, row) if line is array else (str(getattr(line, "name", line)), -1)
            elif array.name in self.mentioned:
                found[node] = array.name, row
            elif "p" in self.mentioned and self.form.kinds[node] == "parameter":
                found[node] = "p", self.form.arguments[node]
        return found

    def _results(self) -> Text:
        return Text(f"np.zeros(({len(self.question.outputs)}, {'N' if self.question.mapped else 1}))")

    def _value_and_gradient(self) -> list[tuple[str, Text]]:
        (c, node), *slopes = self.question.outputs
        found: list[tuple[str, Text]] = [("value", scaled(c, times(self.rows(self.np.array([node])))))]
        self.root = self.place[node][0]
        if node == ONE:
            found = [("value", Text(f"np.array({number(c)})"))]
        found.append(("gradient", Text(f"np.zeros({len(slopes)})")))
        rest = dict(enumerate(slopes))
        for block in self.blocks:
            wanted = [slopes[i] for i in block.positions()]
            nodes = self.np.array([d for _, d in wanted]).reshape(block.array.rows, -1)
            if len({c for c, _ in wanted}) > 1 or len({self.place[d][0] for _, d in wanted}) > 1 or wanted[0][1] == ONE:
                continue
            for i in block.positions():
                del rest[i]
            text = self.matrix(nodes) if block.array.columns else self.rows(nodes[:, 0])
            if isinstance(text, Array) and text in self.born and text.name[0] in "ds":
                text.name = self._name(f"d{block.array.name}", numbered=False)
            view = block.view("gradient")
            found.append((view + "[:]" * view.endswith(")"), scaled(wanted[0][0], times(text))))
        return found + self._assignments(rest, "gradient", ", None")

    def _assignments(self, outputs: Mapping[int, tuple[float, int]], target: str, axis: str) -> list[tuple[str, Text]]:
        """Write outputs to their rows of a target, those of one array at a time."""
        by_array: dict[Any, list[int]] = defaultdict(list)
        for i, (c, node) in outputs.items():
            if c != 0.0:
                by_array[self.place[node][0]].append(i)
        found = []
        for at in by_array.values():
            cs, nodes = zip(*[outputs[i] for i in at], strict=True)
            text = times(self.rows(self.np.array(nodes)))
            if len(set(cs)) == 1:
                text = scaled(cs[0], text)
            else:
                text = times(Text(f"{self.constant(self.np.array(cs), 'c')}[:, None]"), text)
            found.append((f"{target}[{self._index(self.np.array(at))}{axis}]", text))
        return found


@dataclass
class _Segment:
    """Terms c * u * v, as many in each node of an instruction: C, U and V have the shape (nodes, terms)."""

    writer: _Writer
    terms: list[list[tuple[float, int, int]]]
    mapped: bool
    grid: tuple[int, int] | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        np, is_mapped = self.writer.np, self.writer.form.mapped
        self.C = np.array([[c for c, _, _ in row] for row in self.terms])
        self.U = np.array([[u for _, u, _ in row] for row in self.terms])
        self.V = np.array([[v for _, _, v in row] for row in self.terms])
        self.c = float(self.C[0, 0]) if (self.C[0, 0] == self.C).all() else None
        mapped_u = {is_mapped[u] for u in self.U.ravel().tolist()}
        mapped_v = {is_mapped[v] for v in self.V.ravel().tolist()}
        if mapped_u == {False} and mapped_v == {True}:
            self.U, self.V, mapped_u, mapped_v = self.V, self.U, mapped_v, mapped_u
        self.mixed = len(mapped_u) + len(mapped_v) > 2
        self.summed = not self.mapped and True in mapped_u | mapped_v
        self.both_mapped = not self.mixed and mapped_v == {True}
        self.free_v = mapped_v == {False}
        if self.summed and self.both_mapped and self.c is not None:
            self.grid = self._find_grid()
        # the same rows for all nodes, times a matrix
        same = bool((self.U[:1] == self.U).all())
        numbers = bool((self.V == ONE).all())
        many = self.U.shape[1] > 1 and not (numbers and self.c is not None)
        many = many or (not numbers and all(self.writer.place[v][0].columns for v in self.V.ravel().tolist()))
        total = len(self.terms) == 1 and not self.mapped
        self.is_product = same and many and self.free_v and not (self.summed or self.mixed or total)

    def _find_grid(self) -> tuple[int, int] | None:
        """(rows, columns) when the nodes are all the products of one list of rows with another."""
        lefts, rights = [tuple(row) for row in self.U.tolist()], [tuple(row) for row in self.V.tolist()]
        n = len(lefts)
        columns = next((i for i in range(n) if lefts[i] != lefts[0]), n)
        if n == 1 or n % columns or columns == 1:
            return None
        pairs = [(left, right) for left in lefts[::columns] for right in rights[:columns]]
        return (n // columns, columns) if pairs == list(zip(lefts, rights, strict=True)) else None

    def text(self) -> Text:
        """The segment with a row for each node."""
        rows, U, V = self.writer.rows, self.U, self.V
        n, K = U.shape
        if (U == ONE).all() and (V == ONE).all():
            sums = self.C.sum(axis=1)
            if (sums == sums[0]).all():
                return Text(number(float(sums[0])), CALL if sums[0] >= 0 else SUM)
            return Text(f"{self.writer.constant(sums, 'c')}[:, None]")
        if self.mixed:
            return self._gathered()
        if self.is_product:
            return self._matrix_product()
        if self.c is None and K > 1:
            return self._gathered()
        c, factor = (
            (self.c, Text("1"))
            if self.c is not None
            else (1.0, Text(f"{self.writer.constant(self.C[:, 0], 'c')}[:, None]"))
        )
        if K == 1:
            u, v = rows(self._few(U[:, 0], V[:, 0])), rows(self._few(V[:, 0], U[:, 0]))
            if not self.summed:
                return scaled(c, times(v, u, factor))
            if self.both_mapped:
                return scaled(c, times(factor, call("{}.sum(axis=1, keepdims=True)", times(u, v), needed=CALL)))
            return scaled(c, times(factor, call("{}.sum(axis=1, keepdims=True)", u, needed=CALL), v))
        if n == 1 and (self.both_mapped or not self.summed):
            axis = "None" if self.summed else "0"
            return scaled(c, call(f"{{}}.sum(axis={axis}, keepdims=True)", times(rows(U[0]), rows(V[0])), needed=CALL))
        return self._gathered()

    def _few(self, nodes: Any, others: Any) -> Any:
        """One row, where one row meets many others."""
        alike = (nodes == nodes[0]).all() and not (others == others[0]).all()
        return nodes[:1] if alike else nodes

    def _matrix_product(self) -> Text:
        rows = self.writer.rows(self.U[0])
        coefficients = None if self.c is not None else Text(self.writer.constant(self.C, "c"))
        if (self.V == ONE).all():
            matrix: Text | Array = coefficients or Text("1")
        else:
            matrix = self.writer.matrix(self.V)
            matrix = times(coefficients, matrix) if coefficients else matrix
        return scaled(1.0 if self.c is None else self.c, call("{} @ {}", matrix, rows, binds=MATMUL, needed=CALL))

    def as_matrix(self, shape: tuple[int, int]) -> Text:
        """The segment as a matrix of that shape."""
        rows, columns = shape
        K = self.U.shape[1]
        if self.grid == shape:
            left, right = self.U.reshape(rows, columns, K)[:, 0], self.V.reshape(rows, columns, K)[0]
            if K == 1:
                a, b = self.writer.rows(left[:, 0]), self.writer.rows(right[:, 0])
            else:
                a = call(f"{{}}.reshape({rows}, -1)", self.writer.rows(left), needed=CALL)
                b = call(f"{{}}.reshape({columns}, -1)", self.writer.rows(right), needed=CALL)
            assert self.c is not None  # or there would be no grid
            return scaled(self.c, call("{} @ {}.T", a, b, binds=MATMUL, needed=CALL))
        if K == 1 and self.c is not None and not self.summed and not self.mixed:
            factors = [
                self.writer.matrix(nodes.reshape(shape)) for nodes in (self.V, self.U) if not (nodes == ONE).all()
            ]
            return scaled(self.c, times(*factors))
        return call(f"{{}}.reshape{shape}", self.text(), needed=CALL)

    def _gathered(self) -> Text:
        """Any sum of products: gather, multiply, add up."""
        axes = "(1, 2)" if self.summed else "1"
        return call(f"{{}}.sum(axis={axes}){'[:, None]' if self.summed else ''}", self.products(), needed=CALL)

    def products(self) -> Text:
        """The products, of the shape (nodes, terms, examples)."""
        factors = [self.writer.rows(nodes) for nodes in (self.V, self.U) if not (nodes == ONE).all()]
        if not (self.C == 1.0).all():
            factors.append(Text(f"{self.writer.constant(self.C, 'c')}[..., None]"))
        return times(*factors)
