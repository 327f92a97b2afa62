"""Where the nodes of a program live in NumPy's arrays, and how a list of nodes is read there.

Every array has a row for each node and a column for each example; what is the same for all examples has one column, and
broadcasting does the rest.  Parameters whose labels are the entries of a matrix (W1[0,2]) are views of the parameter
vector with that name.  A list of nodes is read as a whole array, a slice, a matrix or its transpose, as far as that
goes; any other is gathered, by a list of numbers.
"""

from __future__ import annotations

import builtins
import keyword
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from unicodedata import normalize

from tinygrad_vi.compiler.numpy_text import CALL, RESERVED, Array, Dialect, Text, call
from tinygrad_vi.compiler.program import Question
from tinygrad_vi.compiler.terms import ONE
from tinygrad_vi.rows import Operation


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


class Layout:
    """The arrays of one program while its text is written.

    place: for each node that has one, its array and its position there.  born: the arrays that have a line of their
    own, with its number.  constants: the names of the arrays of numbers, by their text.  called: how the text calls
    each operation.
    """

    def __init__(self, question: Question, names: Names, dialect: Dialect) -> None:
        import numpy as np

        self.np, self.dialect = np, dialect
        self.question, self.form, self.arguments = question, question.form, names.arguments
        self.constants: dict[str, str] = {}
        self.numbered: Counter[str] = Counter()
        operations = [kind for kind in dict.fromkeys(self.form.kinds) if isinstance(kind, Operation)]
        self.taken = RESERVED | {op.name for op in operations if op.is_built_in} | {name for name, _ in names.arguments}
        self.called = {op: op.name if op.is_built_in else self.name(op.name, numbered=False) for op in operations}
        self.all_parameters = Array("p", question.parameters)
        self.blocks = self._find_blocks(names.parameters)
        self.place = self._place_leaves()
        self.born: dict[Array, int] = {}

    # --- Names

    def _free(self, name: str) -> bool:
        return not (name in self.taken or keyword.iskeyword(name) or hasattr(builtins, name))

    def name(self, wish: str, numbered: bool) -> str:
        """A name that is free, from now on taken: the wish, or the wish and a number."""
        name = "" if numbered else wish
        while not name or not self._free(name):
            self.numbered[wish] += 1
            name = f"{wish}{self.numbered[wish]}"
        self.taken.add(name)
        return name

    def constant(self, numbers: Any, wish: str) -> str:
        """The name of an array of numbers, defined above the function."""
        text = re.sub(r"\b(inf|nan)\b", r"np.\1", f"{numbers.tolist()}")
        if text not in self.constants:
            self.constants[text] = self.name(wish, numbered=True)
        return self.constants[text]

    # --- Where nodes live

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
            elif kind == "input" and self.form.arguments[node] < len(inputs):  # others are of another question
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
                part = call(f"{self.dialect.np}.broadcast_to({{}}, ({len(members)}, N))", part)
            parts.append(part)
            row.update({node: len(row) + i for i, node in enumerate(members)})
        stacked = call(f"{self.dialect.np}.vstack([{', '.join(['{}'] * len(parts))}])", *parts)
        array = self.line("rows", Array("", len(nodes), expression=stacked, mapped=mapped))
        return [array], [row[node] for node in wanted]

    def line(self, wish: str, array: Array, nodes: Sequence[int] = ()) -> Array:
        """Give an array a name and a line of its own.  nodes: those that live in it."""
        primal = {self.place.get(self.question.adjoint_of.get(node, ONE), self.place[ONE])[0] for node in nodes}
        if len(primal) == 1 and primal <= self.born.keys():
            [of] = primal  # dL/da1 is the textbooks' delta1
            wish = f"delta{of.name[1:]}" if of.name[0] == "a" else f"d{of.name}"
            array.name = self.name(wish, numbered=False)
        else:
            array.name = self.name(wish, numbered=True)
        self.born[array] = len(self.born)
        array.mapped = any(self.form.mapped[node] for node in nodes) if nodes else array.mapped
        return array

    def age(self, node: int) -> tuple[int, int, str, int]:
        """What nodes are sorted by: where they live, the array with the latest line first, the number 1 last."""
        array, position = self.place[node]
        rank = {"1": 3}.get(array.name, 2 if self.form.kinds[node] == "parameter" else 1)
        if array in self.born:
            return 0, -self.born[array], "", position
        return rank, 0, array.name, position

    def room(self, node: int, by_block: bool) -> Array:
        """The array of a node; all parameters as one in a sum that goes over all of them."""
        array = self.place[node][0]
        return array if by_block or self.form.kinds[node] != "parameter" else self.all_parameters

    # --- How lists of nodes are read

    def rows(self, nodes: Any) -> Text | Array:
        """These nodes as rows: an array of the shape of ``nodes``, with one more axis for the examples."""
        if (nodes == ONE).all():
            return Text("1")
        array, at = self._locate(nodes)
        if array.columns is not None:
            if at.ndim == 1 and at.size == array.rows * array.columns and self._is_run(at, 0):
                return Text("{}.reshape(-1, 1)", CALL, [(array, 0)])
            return Text(f"{{}}.reshape(-1, 1)[{self.index(at)}]", CALL, [(array, 0)])
        if at.ndim == 1 and at.size == array.rows and self._is_run(at, 0):
            return array
        return Text(f"{{}}[{self.index(at)}]", CALL, [(array, 0)])

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
                ":" if all_of_it else self.index(run)
                for all_of_it, run in zip(whole, (down[:, 0], across[0]), strict=True)
            ]
            if sum(":" in text for text in part):  # two lists of numbers would be pairs
                return Text(f"{{}}[{', '.join(part)}]{suffix}", CALL, [(array, 0)])
        return Text(f"{{}}[{self.constant(r, 'i')}, {self.constant(c, 'i')}]", CALL, [(array, 0)])

    def _is_run(self, positions: Any, start: int | None = None) -> bool:
        """Whether these are consecutive numbers."""
        ahead = bool((self.np.diff(positions) == 1).all())
        return ahead and (start is None or positions[0] == start)

    def index(self, positions: Any) -> str:
        """Positions as an index: a slice where they are consecutive, else the name of a list of numbers."""
        if positions.ndim == 1 and self._is_run(positions):
            return f"{positions[0]}:{positions[-1] + 1}"
        return self.constant(positions, "i")
