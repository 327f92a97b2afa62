"""Jacobians and Hessians: a question whose outputs are the entries that can differ from 0.

The pattern is that of the canonical form, see `tinygrad_vi.sparsity`: it is known before the first number, and no
number changes it.  From there on there are two ways.

rows     a reverse sweep over the ancestors of each result, by the inputs that it depends on: new nodes for each row.
         What rows have in common is one node, so this costs about what the rows themselves cost, and it is right
         wherever results are made of few numbers each.
sweeps   where results share most of what they are made of, one program for all: J v or v J, for as many directions as
         there are colours.  The directions are the batch, so one call gives all of them.  Of a Hessian it is H v; where
         the mean over the examples takes the batch, each direction is a call.

A Hessian is the Jacobian of the gradient.  It is symmetric, so the lower triangle is asked for.
(A. Griewank, A. Walther, *Evaluating Derivatives*, 2nd ed., ch. 7 and 8.)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from tinygrad_vi.compiler.form import Form
from tinygrad_vi.compiler.program import Output, Program, Question, for_each_example
from tinygrad_vi.compiler.reverse import gradient, through
from tinygrad_vi.sparsity import (
    Pattern,
    Reading,
    bidirectional,
    lower,
    pattern,
    read_symmetric,
    star_colours,
)

#: rows are swept one by one while their ancestors, counted once for each row, are at most so many times the nodes of
#: the program, or so many: a small program may be a few times larger
TIMES, FREE = 10, 20_000


@dataclass(frozen=True)
class Sweeps:
    """Directions in which a question differentiates, and where the entries are read.

    directions: of each, the seeds that are 1, of ``seeds``; the others are 0.  behind: whether seeds stand behind the
    parameters, so that each direction is a call of its own; else they are the last inputs, and the directions a batch.
    readings: for each entry, the output and the direction.
    """

    directions: list[list[int]]
    seeds: int
    behind: bool
    readings: list[Reading]


@dataclass(frozen=True)
class Entries:
    """The entries of a matrix with so many columns, row by row; of a symmetric one those of the lower triangle.

    sweeps: how they are read off the outputs; None where each output is an entry.
    """

    rows: Pattern
    width: int
    symmetric: bool = False
    sweeps: Sweeps | None = None


def jacobian(program: Program) -> Question:
    """The derivatives of each result by the parameters, for each example."""
    form, leaves = program.form, program.leaves()
    results = _results(program)
    nodes = [node for _, node in results]
    rows = _pattern(form, leaves, nodes)
    if any(rows) and not _rows_are_short(form, nodes):
        return _in_both_directions(program, rows)
    outputs: list[Output] = []
    for (scale, node), row in zip(results, rows, strict=True):
        outputs += gradient(form, node, [leaves[j] for j in row], seed=scale, for_each=True)
    return replace(_for_each(program, outputs, program.inputs > 0), entries=Entries(rows, len(leaves)))


def hessian(program: Program) -> Question:
    """The second derivatives of the mean of the only result by the parameters."""
    form, leaves = program.form, program.leaves()
    slopes = program.gradient()
    nodes = [node for _, node in slopes]
    rows = lower(_pattern(form, leaves, nodes))
    if not _rows_are_short(form, [node for node, row in zip(nodes, rows, strict=True) if row]):
        return _along_colours(program, slopes, rows)
    outputs = []
    for (scale, node), row in zip(slopes, rows, strict=True):
        outputs += gradient(form, node, [leaves[j] for j in row], seed=scale) if row else []
    return replace(program.ask(outputs), entries=Entries(rows, len(leaves), symmetric=True))


def _results(program: Program) -> list[Output]:
    for result in program.results:
        result.close_plain()
    return [program.form.contract(result.terms) for result in program.results]


def _pattern(form: Form, leaves: Sequence[int], outputs: Sequence[int]) -> Pattern:
    return pattern(form.live(outputs), lambda node: through(form, node), leaves, outputs)[0]


def _rows_are_short(form: Form, outputs: Iterable[int]) -> bool:
    outputs = set(outputs)
    left = max(FREE, TIMES * len(form.live(outputs)))
    for node in outputs:
        left -= len(form.ancestors(node))
        if left < 0:
            return False
    return True


# --- Sweeps -----------------------------------------------------------------------------------------------------------


def _in_both_directions(program: Program, rows: Pattern) -> Question:
    """J v for some columns, and v J for some rows: the seeds of both are inputs, and a direction may be one of both."""
    form, leaves, m = program.form, program.leaves(), len(rows)
    colouring = bidirectional(rows, len(leaves))
    colours = [*colouring.columns.values(), *colouring.rows.values()]
    seeds = [form.input(program.inputs + k).node() for k in range(len(colours))]
    results = _results(program)
    places = sorted({place for place, _ in colouring.readings})
    forward, backward = [i for i in places if i < m], [place - m for place in places if place >= m]
    # J v out of reverse mode: u . J, with a number u for each result, is linear in u, and its derivative by u is J v
    weights = program.leaves(2 * program.parameters, m)
    scale, node = program.products([results[i] for i in forward], [weights[i] for i in forward])
    slopes = gradient(form, node, [leaves[j] for j in colouring.columns], seed=scale, for_each=True)
    scale, node = program.products(slopes, seeds[: len(slopes)], mapped=True)
    outputs = gradient(form, node, [weights[i] for i in forward], seed=scale, for_each=True)
    assert not {*weights}.intersection(form.live([node for _, node in outputs])), "J v depends on u"
    scale, node = program.products([results[i] for i in colouring.rows], seeds[len(slopes) :], mapped=True)
    outputs += gradient(form, node, [leaves[j] for j in backward], seed=scale, for_each=True)
    output = {place: k for k, place in enumerate(places)}
    readings = [(output[place], colour) for place, colour in colouring.readings]
    sweeps = Sweeps(_by_colour(colours), len(seeds), False, readings)
    return _as_a_batch(program, outputs, Entries(rows, len(leaves), sweeps=sweeps))


def _along_colours(program: Program, slopes: Sequence[Output], rows: Pattern) -> Question:
    """H v, for v with ones in the columns of one colour."""
    form, leaves, P = program.form, program.leaves(), program.parameters
    colours = star_colours(rows)
    sweeps = Sweeps(_by_colour(colours), P, program.inputs > 0, read_symmetric(rows, colours))
    entries = Entries(rows, P, symmetric=True, sweeps=sweeps)
    if sweeps.behind:
        return replace(program.curvature(), entries=entries)
    seeds = [form.input(j).node() for j in range(P)]
    scale, node = program.products(slopes, seeds, mapped=True)
    return _as_a_batch(program, gradient(form, node, leaves, seed=scale, for_each=True), entries)


def _by_colour(colours: Sequence[int]) -> list[list[int]]:
    """The places of each colour."""
    places: list[list[int]] = [[] for _ in range(max(colours) + 1)]
    for place, colour in enumerate(colours):
        places[colour].append(place)
    return places


def _as_a_batch(program: Program, outputs: Sequence[Output], entries: Entries) -> Question:
    assert entries.sweeps is not None
    question = _for_each(program, outputs, mapped=True)
    return replace(question, inputs=question.inputs + entries.sweeps.seeds, entries=entries)


def _for_each(program: Program, outputs: Sequence[Output], mapped: bool) -> Question:
    """Outputs that are not added up over the examples; mapped: whether there are any."""
    if mapped:
        outputs = [(c, for_each_example(program.form, node)) for c, node in outputs]
    return program.ask(outputs, mapped=mapped)
