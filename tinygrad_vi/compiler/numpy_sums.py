"""How a sum of products is written: as a matrix product, a product of rows, or gathered, multiplied and added up."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tinygrad_vi.compiler.numpy_layout import Layout
from tinygrad_vi.compiler.numpy_text import CALL, MATMUL, SUM, Array, Text, call, number, scaled, times
from tinygrad_vi.compiler.terms import ONE


@dataclass
class Segment:
    """Terms c * u * v, as many in each node of an instruction: C, U and V have the shape (nodes, terms)."""

    layout: Layout
    terms: list[list[tuple[float, int, int]]]
    mapped: bool
    grid: tuple[int, int] | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        np, is_mapped = self.layout.np, self.layout.form.mapped
        self.C = np.array([[c for c, _, _ in row] for row in self.terms])
        self.U = np.array([[u for _, u, _ in row] for row in self.terms])
        self.V = np.array([[v for _, _, v in row] for row in self.terms])
        self.c = self._only_number(self.C)
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
        many = many or (not numbers and all(self.layout.place[v][0].columns for v in self.V.ravel().tolist()))
        total = len(self.terms) == 1 and not self.mapped
        self.is_product = same and many and self.free_v and not (self.summed or self.mixed or total)

    def _only_number(self, numbers: Any) -> float | None:
        """The number that all of these are; -0.0 is another one than 0.0."""
        np, first = self.layout.np, numbers.flat[0]
        alike = (numbers == first).all() and (np.signbit(numbers) == np.signbit(first)).all()
        return float(first) if alike else None

    def is_leaf(self) -> bool:
        """Whether the terms are numbers, parameters or data as they are."""
        kinds = {self.layout.form.kinds[u] for u in self.U.ravel().tolist()}
        return bool((self.V == ONE).all()) and self.c in (1.0, -1.0) and kinds <= {"one", "parameter", "input"}

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
        rows, U, V = self.layout.rows, self.U, self.V
        n, K = U.shape
        if (U == ONE).all() and (V == ONE).all():
            sums = self.C.sum(axis=1)
            only = self._only_number(sums)
            if only is not None:
                return Text(number(only), CALL if only >= 0 else SUM)
            return Text(f"{self.layout.constant(sums, 'c')}[:, None]")
        if self.mixed:
            return self._gathered()
        if self.is_product:
            return self._matrix_product()
        if self.c is None and K > 1:
            return self._gathered()
        c, factor = (
            (self.c, Text("1"))
            if self.c is not None
            else (1.0, Text(f"{self.layout.constant(self.C[:, 0], 'c')}[:, None]"))
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
        rows = self.layout.rows(self.U[0])
        coefficients = None if self.c is not None else Text(self.layout.constant(self.C, "c"))
        if (self.V == ONE).all():
            matrix: Text | Array = coefficients or Text("1")
        else:
            matrix = self.layout.matrix(self.V)
            matrix = times(coefficients, matrix) if coefficients else matrix
        return scaled(1.0 if self.c is None else self.c, call("{} @ {}", matrix, rows, binds=MATMUL, needed=CALL))

    def as_matrix(self, shape: tuple[int, int]) -> Text:
        """The segment as a matrix of that shape."""
        rows, columns = shape
        K = self.U.shape[1]
        if self.grid == shape:
            left, right = self.U.reshape(rows, columns, K)[:, 0], self.V.reshape(rows, columns, K)[0]
            if K == 1:
                a, b = self.layout.rows(left[:, 0]), self.layout.rows(right[:, 0])
            else:
                a = call(f"{{}}.reshape({rows}, -1)", self.layout.rows(left), needed=CALL)
                b = call(f"{{}}.reshape({columns}, -1)", self.layout.rows(right), needed=CALL)
            assert self.c is not None  # or there would be no grid
            return scaled(self.c, call("{} @ {}.T", a, b, binds=MATMUL, needed=CALL))
        if K == 1 and self.c is not None and not self.summed and not self.mixed:
            factors = [
                self.layout.matrix(nodes.reshape(shape)) for nodes in (self.V, self.U) if not (nodes == ONE).all()
            ]
            return scaled(self.c, times(*factors))
        return call(f"{{}}.reshape{shape}", self.text(), needed=CALL)

    def _gathered(self) -> Text:
        """Any sum of products: gather, multiply, add up."""
        axes = "(1, 2)" if self.summed else "1"
        return call(f"{{}}.sum(axis={axes}){'[:, None]' if self.summed else ''}", self.products(), needed=CALL)

    def products(self) -> Text:
        """The products, of the shape (nodes, terms, examples)."""
        factors = [self.layout.rows(nodes) for nodes in (self.V, self.U) if not (nodes == ONE).all()]
        if not (self.C == 1.0).all():
            factors.append(Text(f"{self.layout.constant(self.C, 'c')}[..., None]"))
        return times(*factors)
