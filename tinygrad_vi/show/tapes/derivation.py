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
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tinygrad_vi.checks import whole_number
from tinygrad_vi.graph import check_unchanged, not_finite
from tinygrad_vi.show.tapes.derivation_writer import DerivationWriter
from tinygrad_vi.show.tapes.equations import hanging, write_count
from tinygrad_vi.show.tapes.paths import Search, Step, check_value
from tinygrad_vi.show.tapes.table import MAX_ROWS
from tinygrad_vi.show.writing.console import can_print, plain
from tinygrad_vi.tape import Tape
from tinygrad_vi.terminal import terminal_width
from tinygrad_vi.value import Value

FEW_PATHS = 6  # so many paths are written out by default
SHORT_PATH = 10  # factors of the longest of them
MOST_PATHS = 200  # when asked


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
        check_value(v, role)
    stops = list(stop) if isinstance(stop, Iterable) else [stop]
    for v in stops:
        check_value(v, "stop")
    if paths not in (None, True, False):
        raise ValueError(f"paths must be True, False or None, got {paths!r}")
    digits = whole_number(digits, "digits")
    if not math.isfinite(y.data):
        raise not_finite(y)
    return _derivation(Search(y, x, stops), paths, digits)


def _derivation(search: Search, paths: bool | None, digits: int) -> Derivation:
    found = bool(search.ends) and search.x is not search.y
    n_paths = sum(search.count[end] for end in search.ends)
    if paths and n_paths > MOST_PATHS:
        raise ValueError(
            f"{write_count(n_paths).text} paths from x to y are more than the {MOST_PATHS} that can be written out; "
            "with paths=False each node gets one line instead"
        )
    if paths is None:
        paths = n_paths <= FEW_PATHS and search.longest() <= SHORT_PATH
    check_unchanged(search.tape.operations)
    steps = [] if not found else [search.sum_over_paths()] if paths else list(search.node_by_node())
    return Derivation(
        y=search.y,
        x=search.x,
        total=float(search.adjoint[search.x]),
        n_paths=n_paths,
        steps=steps,
        nodes=list(search.count) if found else [],
        stops={end: search.adjoint[end] for end in reversed(search.ends) if found and end is not search.y},
        factored=not paths,
        tape=search.tape,
        digits=digits,
    )


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

    def to_text(self, *, max_rows: int | None = None, width: int | None = None) -> str:
        """For a terminal; of more than ``max_rows`` equations in a row those in the middle are left out.

        width: its columns; lines are broken between words and terms, never inside one.  None for lines as in a file.
        """
        if width is not None:
            whole_number(width, "width")
        return "\n".join(line for part in DerivationWriter(self, max_rows).parts() for line in part.text(width))

    def to_latex(self, *, max_rows: int | None = None) -> str:
        r"""Sentences and displays for a paper; it needs the package amsmath.

        For labels in Vietnamese add ``\usepackage[T5]{fontenc}``, or use lualatex with the package fontspec.
        """
        return "\n".join(line for part in DerivationWriter(self, max_rows).parts() for line in part.latex(r"\[", r"\]"))

    def to_markdown(self, *, max_rows: int | None = None) -> str:
        """Sentences and formulas between dollars, as notebooks, GitHub and Pandoc read them."""
        return "\n".join(
            line for part in DerivationWriter(self, max_rows).parts() for line in part.latex("\n$$", "$$\n")
        )

    def __str__(self) -> str:
        width = terminal_width()
        text = self.to_text(max_rows=MAX_ROWS, width=width)
        if can_print(text):
            return text
        lines = plain(text).splitlines()  # plain letters are longer
        return "\n".join([piece for line in lines for piece in ([line] if width is None else hanging(line, width, 6))])

    __repr__ = __str__

    def _repr_markdown_(self) -> str:
        return self.to_markdown(max_rows=MAX_ROWS)

    def _repr_latex_(self) -> str:
        return self.to_latex(max_rows=MAX_ROWS)
