"""Which entries of a Jacobian or Hessian can differ from 0, and which of them one sweep gives together.

The pattern.  A derivative flows along the edges of the record, so result i can change with input j only where a path
leads from j to i.  One sweep gives all paths: the set of a node is the union of the sets of its operands (A. Griewank,
A. Walther, *Evaluating Derivatives*, 2nd ed., §7.2).  Numbers do not count: x * 0.0 depends on x.

Colouring.  J v, for a v with ones in several columns, gives each of these columns where no row has two of them.  So
columns that have no row in common share a colour, and there are as many sweeps as colours instead of columns
(A. R. Curtis, M. J. D. Powell, J. K. Reid, 1974).  Rows are coloured likewise, for v J.  Of a symmetric matrix entry
(i, j) may be read in row i or in row j, which takes fewer colours yet: a *star colouring*.  All three are greedy, as in
A. Gebremedhin, F. Manne, A. Pothen, *What Color Is Your Jacobian?*, SIAM Review 47 (2005).

Every entry is read off one sweep, and nothing is subtracted: no digit is lost.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TypeVar

Node = TypeVar("Node", bound=Hashable)

#: for each row, the columns of its entries in rising order
Pattern = list[list[int]]
#: where an entry is read: the place in the result of a sweep, and the sweep
Reading = tuple[int, int]

#: columns in one word of a bit set: sets of neighbours are small, and sets of all are fast
WORD = 1024

# --- The pattern ------------------------------------------------------------------------------------------------------


def pattern(
    order: Iterable[Node],
    operands: Callable[[Node], Iterable[Node]],
    inputs: Sequence[Node],
    outputs: Sequence[Node],
) -> tuple[Pattern, int]:
    """The inputs that each output depends on, as rows of columns; and the work of a sweep for each input.

    order: all nodes on the way, operands first.  operands: of a node, those through which a derivative flows.  The work
    is the number of pairs of a node and an input that it depends on.

    >>> made_of = {"a": "xy", "b": "ay", "c": "z"}
    >>> pattern("abc", made_of.get, "xyz", "cby")
    ([[2], [0, 1], [1]], 5)
    """
    sets: dict[Node, dict[int, int]] = {x: {k // WORD: 1 << k % WORD} for k, x in enumerate(inputs)}
    parents = {node: tuple(operands(node)) for node in order}
    left = Counter(chain(chain.from_iterable(parents.values()), inputs, outputs))
    work = 0
    for node, made_of in parents.items():
        if left[node]:
            found = sets[node] = _union([sets[v] for v in (node, *made_of) if v in sets])
            work += sum([bits.bit_count() for bits in found.values()])
        for operand in made_of:
            left[operand] -= 1
            if not left[operand]:  # it was the last use
                sets.pop(operand, None)
    return [_columns(sets.get(y, {})) for y in outputs], work


def users(order: Iterable[Node], operands: Callable[[Node], Iterable[Node]]) -> dict[Node, list[Node]]:
    """The nodes that are computed from each node: the same graph, turned round.

    >>> users("ab", {"a": "xy", "b": "ay"}.get)
    {'x': ['a'], 'y': ['a', 'b'], 'a': ['b']}
    """
    found: dict[Node, list[Node]] = {}
    for node in order:
        for operand in operands(node):
            found.setdefault(operand, []).append(node)
    return found


def reached(start: Node, following: Callable[[Node], Iterable[Node]]) -> set[Node]:
    """A node and all that it leads to."""
    found, stack = {start}, [start]
    while stack:
        for node in following(stack.pop()):
            if node not in found:
                found.add(node)
                stack.append(node)
    return found


def _union(sets: list[dict[int, int]]) -> dict[int, int]:
    """The union, which is one of the sets itself where there is no other."""
    if not sets or all(one is sets[0] for one in sets):
        return sets[0] if sets else {}
    found = dict(sets[0])
    for other in sets[1:]:
        for word, bits in other.items():
            found[word] = found.get(word, 0) | bits
    return found


def _columns(bits: dict[int, int]) -> list[int]:
    columns = []
    for word in sorted(bits):
        left = bits[word]
        while left:
            lowest = left & -left
            columns.append(word * WORD + lowest.bit_length() - 1)
            left ^= lowest
    return columns


def transposed(rows: Pattern, width: int) -> Pattern:
    """The rows of each column.

    >>> transposed([[0, 2], [2]], 3)
    [[0], [], [0, 1]]
    """
    columns: Pattern = [[] for _ in range(width)]
    for i, row in enumerate(rows):
        for j in row:
            columns[j].append(i)
    return columns


def lower(rows: Pattern) -> Pattern:
    """The lower triangle of a symmetric pattern, diagonal included, of rows that may each know of an entry or not.

    >>> lower([[0, 1], [], [2]])
    [[0], [0], [2]]
    """
    found: list[set[int]] = [set() for _ in rows]
    for i, row in enumerate(rows):
        for j in row:
            found[max(i, j)].add(min(i, j))
    return [sorted(row) for row in found]


# --- Colouring --------------------------------------------------------------------------------------------------------


def column_colours(rows: Pattern, width: int) -> list[int]:
    """A colour for each column; those of one colour have no row in common.

    Greedy, columns of many entries first: the smallest colour that no row of the column has yet.

    >>> column_colours([[0, 1], [1, 2], [3]], 4)
    [1, 0, 1, 0]
    """
    columns = transposed(rows, width)
    taken = [0] * len(rows)  # bit sets of colours
    colours = [0] * width
    for j in _largest_first(columns):
        free = _lowest_free(_any(taken[i] for i in columns[j]))
        colours[j] = free
        for i in columns[j]:
            taken[i] |= 1 << free
    return colours


def star_colours(lower_rows: Pattern) -> list[int]:
    """A colour for each column of a symmetric matrix, given by its lower triangle, so that each entry can be read.

    Neighbours differ, and so do the ends of a path of three nodes whose middle is not yet coloured or has a larger
    colour than the first end (Gebremedhin, Manne, Pothen, 2005, §4: a restricted star colouring).  An arrow matrix
    takes two colours, a tridiagonal one three.

    >>> star_colours([[0], [0, 1], [0, 2], [0, 3]]), star_colours([[0], [0, 1], [1, 2], [2, 3], [3, 4]])
    ([0, 1, 1, 1], [1, 0, 1, 2, 0])
    """
    near = _neighbours(lower_rows)
    taken = [0] * len(near)  # the colours of the neighbours
    colours = [-1] * len(near)
    for v in _largest_first(near):
        forbidden = 0
        for w in near[v]:
            if colours[w] < 0:
                forbidden |= taken[w]
            else:
                bit = 1 << colours[w]
                forbidden |= bit | (taken[w] & (bit - 1))
        colours[v] = free = _lowest_free(forbidden)
        for w in near[v]:
            taken[w] |= 1 << free
    return colours


def read_symmetric(lower_rows: Pattern, colours: Sequence[int]) -> list[Reading]:
    """Where each entry of the lower triangle is read: (row, colour).

    >>> read_symmetric([[0], [0, 1], [0, 2]], [0, 1, 1])
    [(0, 0), (1, 0), (1, 1), (2, 0), (2, 1)]
    """
    near = _neighbours(lower_rows)
    alone = [Counter([colours[w] for w in others]) for others in near]
    readings = []
    for i, row in enumerate(lower_rows):
        for j in row:
            if i == j or alone[i][colours[j]] == 1:
                readings.append((i, colours[j]))
            else:
                assert alone[j][colours[i]] == 1, f"entry {(i, j)} cannot be read"
                readings.append((j, colours[i]))
    return readings


@dataclass(frozen=True)
class Colouring:
    """Colours of columns, for J v, and of rows, for v J; columns and rows that are in no sweep have none.

    readings: where each entry is read, row by row, in J v or, behind all results, in v J.
    """

    columns: dict[int, int]
    rows: dict[int, int]
    readings: list[Reading]

    @property
    def colours(self) -> int:
        """How many there are in all."""
        return sum(1 + max(some.values(), default=-1) for some in (self.columns, self.rows))


def bidirectional(rows: Pattern, width: int) -> Colouring:
    """Colours of a Jacobian: columns alone, rows alone, or both.

    Either the dense rows are split off, each with a colour of its own, and the columns of the rest coloured; or the
    other way round: whichever takes fewer colours.

    >>> arrow = bidirectional([[0, 1, 2, 3], [1], [2], [3]], 4)
    >>> arrow.columns, arrow.rows, arrow.readings
    ({1: 0, 2: 0, 3: 0}, {0: 0}, [(4, 0), (5, 0), (6, 0), (7, 0), (1, 0), (2, 0), (3, 0)])
    """
    m = len(rows)
    dense, colours = _split(rows, width)
    by_columns = Colouring(
        colours,
        dense,
        [(m + j, dense[i]) if i in dense else (i, colours[j]) for i, row in enumerate(rows) for j in row],
    )
    dense, colours = _split(transposed(rows, width), m)
    by_rows = Colouring(
        dense,
        colours,
        [(i, dense[j]) if j in dense else (m + j, colours[i]) for i, row in enumerate(rows) for j in row],
    )
    return by_columns if by_columns.colours <= by_rows.colours else by_rows


def _split(rows: Pattern, width: int) -> tuple[dict[int, int], dict[int, int]]:
    """The dense rows, numbered, and the colours of the columns that other rows have.

    There are at least as many colours as a row has entries: r dense rows and then the longest of the rest are fewest.
    """
    longest = sorted(range(len(rows)), key=lambda i: -len(rows[i]))
    lengths = [len(rows[i]) for i in longest] + [0]
    r = min(range(len(lengths)), key=lambda r: r + lengths[r])
    dense = {i: k for k, i in enumerate(longest[:r])}
    rest = [[] if i in dense else row for i, row in enumerate(rows)]
    colours = column_colours(rest, width)
    return dense, {j: colours[j] for j in sorted(set(chain.from_iterable(rest)))}


def _neighbours(lower_rows: Pattern) -> Pattern:
    near: Pattern = [[] for _ in lower_rows]
    for i, row in enumerate(lower_rows):
        for j in row:
            if i != j:
                near[i].append(j)
                near[j].append(i)
    return near


def _largest_first(lists: Pattern) -> list[int]:
    return sorted(range(len(lists)), key=lambda k: -len(lists[k]))


def _any(sets: Iterable[int]) -> int:
    found = 0
    for bits in sets:
        found |= bits
    return found


def _lowest_free(taken: int) -> int:
    """The smallest number that is not in a bit set."""
    return (~taken & (taken + 1)).bit_length() - 1
