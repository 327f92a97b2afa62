"""Find the batch in a loss that loops over its examples.

    losses = [(model(x) - t) ** 2 for x, t in data]          each example is written out in scalar code
    loss = sum(losses) / len(losses) + 0.001 * sum(p * p for p in model.parameters())

The form of such a loss holds the same program once for each example, on other numbers.  This pass keeps one copy as
the mapped program, lays the numbers of all copies out as a table, and puts a mean over the examples where their sum
was.  There are four steps.

Colour.  Nodes that play the same part get the same colour.  To begin with all data leaves look alike; then a node's
colour says what it is computed from, then also what uses it, and so on until no more colours are told apart (colour
refinement, as in tests for the isomorphism of graphs).  A node of an example shares its colour with its counterparts
in the other examples, so a node with a colour of its own is *common*: the loss, a sum over the examples, the mean of
a batch that each example is compared with, or a literal such as 1/N.

Divide.  What hangs together without common nodes is one example.  A sum over the examples is a common dot, and cutting
it leaves the examples apart; the two sides of one of its products belong to one example, which is what keeps h1*h2 +
h2*h3 + h3*h1 from being taken for three examples.  Where no parameter is involved, the part is a number: a constant.

Compare.  Colours are only a good guess.  Numbered by colour and age, the nodes of one example must be those of any
other: of the same kind, with the same coefficients, with operands of the same numbers or the same common operands.
Each term of a sum over the examples must occur once for each example.  If so, the examples are copies of one program,
whatever the colours were worth; if not, there is no batch.  Nor is there where they are the lesser part of the loss.

Fold.  The first example and the common nodes are built again, by the algebra of the form.  Its data leaves become
inputs, or constants where all examples have the same number; the other data become constants.

Every step takes linear time, but for sorting, and none recurses.
"""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tinygrad_vi import ops
from tinygrad_vi.compiler.algebra import Expression
from tinygrad_vi.compiler.form import Form
from tinygrad_vi.compiler.terms import DOT, LIGHT, ONE, ORDERED, SUM_KINDS, TOTAL, Kind, Term
from tinygrad_vi.rows import Operation
from tinygrad_vi.value import Value

#: Colour refinement ends after so many rounds, though there may be more to tell apart: two are usual.
MOST_ROUNDS = 4


@dataclass(frozen=True)
class Batch:
    """A loss with its examples folded into one mapped program.

    output: the loss as (coefficient, node) of the form, not mapped.  inputs: the numbers, shape (number of inputs,
    number of examples), in no particular order of either.
    """

    form: Form
    output: tuple[float, int]
    inputs: list[list[float]]


def data_leaves(recorded: Iterable[Value], params: Iterable[Value]) -> list[Value]:
    """The leaves of a record that are no parameters: data that was wrapped, and numbers that were operands.

    The zero that a sum starts with, ``total = 0; total = total + loss``, does not count: only one example has it.

    >>> from tinygrad_vi.graph import topological_order
    >>> w, x = Value(2.0), Value(3.0)
    >>> [leaf.data for leaf in data_leaves(topological_order([1 + w * x]), [w])]
    [3.0, 1.0]
    """
    known = set(params)
    nodes = list(recorded)
    starts = [node.parents[0] for node in nodes if node.op is ops.add.operation and not node.parents[0].parents]
    if all(leaf.data == 0.0 for leaf in starts if leaf not in known):  # or else these are data that happen to be 0
        known.update(starts)
    operands = [operand for node in nodes for operand in node.parents]
    return list(dict.fromkeys([leaf for leaf in operands if not leaf.parents and leaf not in known]))


def find_batch(form: Form, output: int, data: Mapping[int, float]) -> Batch | None:
    """The loss with one example as its mapped program; None unless it adds up two or more examples alike.

    form: one without mapped nodes.  data: the numbers of those parameters that are data, and are not trained.

    Examples must be apart and alike: each data leaf belongs to one of them or is common to all, and their weights are
    equal, or data.  Refused, though one could say that there is a batch: a leaf that some examples share; one data set
    that is wrapped again for a second loop, or a sum of parts that have nothing in common, such as f(x) + g(z), which
    make examples of two kinds; examples that take the class of their target as a plain number, and so are as many kinds
    of program as there are classes.

    >>> form = Form()
    >>> w, *data = [form.parameter(i) for i in range(7)]
    >>> losses = [(w * x - t).tanh() for x, t in zip(data[:3], data[3:])]
    >>> loss = sum(losses, form.constant(0.0)) / 3.0
    >>> found = find_batch(form, loss.node(), {1: 0.1, 2: 0.2, 3: 0.3, 4: 7.0, 5: 8.0, 6: 9.0})
    >>> print(found.form)
    %1 = p0
    %2 = x0 for each example
    %3 = x1 for each example
    %4 = %2*%1 + -1*%3 for each example
    %5 = tanh(%4) for each example
    %6 = share for each example
    %7 = sum of %6*%5
    >>> found.inputs
    [[0.1, 0.2, 0.3], [7.0, 8.0, 9.0]]
    """
    program = form.live([output, *_checked(form)])
    varying, trained = _dependence(form, program, data)
    examples = _examples(form, varying, trained)
    if len(examples) < 2 or not _copies(form, varying, examples):
        return None
    if not _rest_is_small(form, varying, trained, examples):
        return None
    return _fold(form, output, data, program, varying, examples)


def _checked(form: Form) -> list[int]:
    """The nodes of which checks are made: they stay, whether or not the output needs them."""
    maps = [node for node, kind in enumerate(form.kinds) if isinstance(kind, Operation)]
    return maps + [node for x in form.sums for _, *factors in x.terms for node in factors]


def _dependence(form: Form, program: Iterable[int], data: Mapping[int, float]) -> tuple[dict[int, None], set[int]]:
    """The nodes that depend on data, in order, and all that depend on a parameter to be trained."""
    varying: dict[int, None] = {}
    trained: set[int] = set()
    for node in program:
        if form.kinds[node] == "parameter":
            if form.arguments[node] in data:
                varying[node] = None
            else:
                trained.add(node)
            continue
        for operand in form.operands(node):
            if operand in varying:
                varying[node] = None
            if operand in trained:
                trained.add(node)
    return varying, trained


# --- Colour -----------------------------------------------------------------------------------------------------------


def _colours(form: Form, varying: Mapping[int, None]) -> dict[int, int]:
    """A number for each node that depends on data: equal for nodes that play the same part."""
    colours = dict.fromkeys(varying, 0)
    count = 1
    for _ in range(MOST_ROUNDS):
        colours = _by_users(form, _by_operands(form, colours))
        before, count = count, len(set(colours.values()))
        if count == before:
            break
    return colours


def _by_operands(form: Form, colours: Mapping[int, int]) -> dict[int, int]:
    """Each node coloured by what it computes, and leaves as they were; a node free of data has a colour of its own."""
    numbers: dict[Any, int] = {}
    found: dict[int, int] = {}
    for node, colour in colours.items():
        kind, argument = form.kinds[node], form.arguments[node]
        if kind in SUM_KINDS:
            terms = [(c, found.get(u, ~u), found.get(v, ~v)) for c, u, v in argument]
            key: Any = kind, tuple(sorted([(c, u, v) if u >= v else (c, v, u) for c, u, v in terms]))
        elif isinstance(kind, Operation):
            key = kind, tuple([found.get(u, ~u) for u in argument])
        else:
            key = colour
        found[node] = numbers.setdefault(key, len(numbers))
    return found


def _by_users(form: Form, colours: Mapping[int, int]) -> dict[int, int]:
    """Each node coloured by its colour and what becomes of it: by the users' colours, and what it is multiplied by."""
    numbers: dict[Any, int] = {}
    uses: dict[int, list[tuple[int, float, int]]] = {node: [] for node in colours}
    found: dict[int, int] = {}
    for node in reversed(list(colours)):
        colour = found[node] = numbers.setdefault((colours[node], tuple(sorted(uses.pop(node)))), len(numbers))
        kind, argument = form.kinds[node], form.arguments[node]
        if kind in SUM_KINDS:
            for c, u, v in argument:
                if u in colours:
                    uses[u].append((colour, c, colours.get(v, ~v)))
                if v in colours:
                    uses[v].append((colour, c, colours.get(u, ~u)))
        elif isinstance(kind, Operation):
            for position, operand in enumerate(argument):
                if operand in colours:
                    uses[operand].append((colour, position, ONE))
    return {node: found[node] for node in colours}


# --- Divide -----------------------------------------------------------------------------------------------------------


def _examples(form: Form, varying: Mapping[int, None], trained: set[int]) -> list[list[int]]:
    """What hangs together without common nodes and is trained: the nodes of each example, by colour and age."""
    colours = _colours(form, varying)
    size = Counter(colours.values())
    leader = {node: node for node in varying if size[colours[node]] > 1}

    def find(node: int) -> int:
        while leader[node] != node:
            leader[node] = node = leader[leader[node]]
        return node

    for node in varying:
        if node in leader:
            links = [(node, operand) for operand in form.operands(node)]
        else:
            links = [(u, v) for _, u, v in form.arguments[node]] if form.kinds[node] in SUM_KINDS else []
        for u, v in links:
            if u in leader and v in leader:
                leader[find(v)] = find(u)
    parts: dict[int, list[int]] = defaultdict(list)
    for node in leader:
        parts[find(node)].append(node)
    trained_parts = [part for part in parts.values() if not trained.isdisjoint(part)]
    return [sorted(part, key=lambda node: (colours[node], node)) for part in trained_parts]


# --- Compare ----------------------------------------------------------------------------------------------------------


def _copies(form: Form, varying: Iterable[int], examples: Sequence[Sequence[int]]) -> bool:
    """Whether the examples are copies of one program, and the sums over them treat them alike."""
    home = {node: n for n, example in enumerate(examples) for node in example}
    name = {node: ~place for example in examples for place, node in enumerate(example)}  # the same in each example
    if any(home.get(operand, home[node]) != home[node] for node in home for operand in form.operands(node)):
        return False
    first = [_written(form, node, name) for node in examples[0]]
    if any([_written(form, node, name) for node in example] != first for example in examples[1:]):
        return False
    return all(_adds_up(form, node, home, name, len(examples)) for node in varying if node not in home)


def _written(form: Form, node: int, name: Mapping[int, int]) -> Any:
    """What a node is, with the nodes of its example by their names: equal for counterparts."""
    kind, argument = form.kinds[node], form.arguments[node]
    if kind in SUM_KINDS:
        return kind, sorted([_written_term(term, name) for term in argument])
    return (kind, [name.get(u, u) for u in argument]) if isinstance(kind, Operation) else "data"


def _written_term(term: Term, name: Mapping[int, int]) -> Term:
    c, u, v = term
    u, v = name.get(u, u), name.get(v, v)
    return (c, u, v) if u >= v else (c, v, u)


def _adds_up(form: Form, node: int, home: Mapping[int, int], name: Mapping[int, int], examples: int) -> bool:
    """Whether a common node takes from the examples nothing but sums, with each term once for each example."""
    if form.kinds[node] not in SUM_KINDS:
        return home.keys().isdisjoint(form.operands(node))
    terms = [(c, u, v) for c, u, v in form.arguments[node] if u in home or v in home]
    if any(u in home and v in home and home[u] != home[v] for _, u, v in terms):
        return False
    # terms that are written alike have other pairs of nodes, hence other examples
    return all(times == examples for times in Counter([_written_term(term, name) for term in terms]).values())


def _rest_is_small(form: Form, varying: Iterable[int], trained: set[int], examples: Sequence[Sequence[int]]) -> bool:
    """Whether less is computed from data outside the examples than in one of them.

    Otherwise one example is unlike the others, or two parts of something else, such as a sequence, are alike by chance.
    What is computed is counted by what maps and products take.  To scale by data and to add data does not count, so
    that 0.1*p*p and other penalties are free.  This is a matter of taste: the folded program would be right.
    """
    taken: set[int] = set()
    reached = {node for example in examples for node in example}
    for node in varying:
        if not reached.isdisjoint(form.operands(node)):
            reached.add(node)
        if isinstance(form.kinds[node], Operation):
            taken.update(() if _divided(form, node, trained) else form.arguments[node])
        elif form.kinds[node] in SUM_KINDS:
            factors = [(u, v) for _, u, v in form.arguments[node] if u in trained and v in trained]
            taken.update([node for pair in factors for node in pair if not _scaled(form, node, trained)])
    work = taken.intersection(varying, trained)
    return work <= reached or len(work - reached) < len(work.intersection(examples[0]))


def _scaled(form: Form, node: int, trained: set[int]) -> bool:
    """Whether the node is another one times data."""
    product = form.kinds[node] in SUM_KINDS and len(form.arguments[node]) == 1
    return (product and not trained.issuperset(form.operands(node))) or _divided(form, node, trained)


def _divided(form: Form, node: int, trained: set[int]) -> bool:
    """Whether the node is another one divided by data."""
    return form.kinds[node] is ops.div.operation and form.arguments[node][1] not in trained


# --- Fold -------------------------------------------------------------------------------------------------------------


def _fold(
    old: Form,
    output: int,
    data: Mapping[int, float],
    program: Iterable[int],
    varying: Mapping[int, None],
    examples: Sequence[Sequence[int]],
) -> Batch:
    """The first example, mapped, and what is common to all."""
    form = Form()
    columns = _Columns(form, data, old, examples)
    mapped = {node for example in examples for node in example}
    others = mapped.difference(examples[0])
    kept = [node for node in program if node not in others]
    common = varying.keys() - mapped
    uses = Counter([operand for node in kept for operand in old.operands(node)])
    loose = {operand for operand in _common_terms(old, common, mapped) if uses[operand] == 1}
    known = {ONE: form.constant(1.0)}
    for node in kept:
        kind, argument = old.kinds[node], old.arguments[node]
        if isinstance(kind, Operation):
            found = known[argument[0]].record(kind, *[known[operand] for operand in argument])
        elif kind not in SUM_KINDS:
            found = columns.leaf(node) if node in varying else form.parameter(argument)
        elif node in common:
            terms = [term for term in argument if others.isdisjoint(term[1:])]
            found = _common_sum(form, known, terms, mapped, len(examples))
            if node not in loose:
                _close(found)
        else:
            found = _sum(form, [known[u].times(known[v]).scaled(c) for c, u, v in argument], kind)
        if node not in loose:
            found.reference()  # a sum that was a node of its own stays one
        known[node] = found
    for x in old.sums:
        terms = [term for term in x.terms if others.isdisjoint(term[1:])]
        if len(terms) == len(x.terms):
            form.sums.append(_sum(form, [known[u].times(known[v]).scaled(c) for c, u, v in terms]))
        elif terms:
            form.sums.append(_common_sum(form, known, terms, mapped, len(examples)))
            _close(form.sums[-1])
    return Batch(form, known[output].reference(), columns.numbers)


def _common_terms(form: Form, common: Iterable[int], mapped: set[int]) -> list[int]:
    """The operands of common dots, in terms that are not summed over the examples."""
    terms = [term for node in common if form.kinds[node] in SUM_KINDS for term in form.arguments[node]]
    return [operand for _, *pair in terms if mapped.isdisjoint(pair) for operand in pair]


def _common_sum(
    form: Form, known: Mapping[int, Expression], terms: Iterable[Term], mapped: set[int], examples: int
) -> Expression:
    """A common dot: its terms with the first example stand for those with any.

    What it adds up over the examples means that in a dot that is not mapped, and nowhere else.  So the expression must
    be closed, which makes it a node, unless it is loose: when its one use is as a term of another common dot, in which
    it may dissolve.
    """
    example, rest = [], []
    for c, u, v in terms:
        if u in mapped or v in mapped:
            example.append(known[u].times(known[v]).scaled(c))
            continue
        if known[u].number() is None and known[v].number() is None:  # a product takes nodes
            _close(known[u])
            _close(known[v])
        rest.append(known[u].times(known[v]).scaled(c))
    c, node = _sum(form, example).reference()  # the sum over the examples is their number times the mean
    if form.mapped[node]:
        node = form.contract([(1.0, node, form.share().node())], mapped=False)[1]
    return _sum(form, [*rest, Expression(form, [(c * examples, node, ONE)] if example else [])])


def _sum(form: Form, expressions: Sequence[Expression], kind: Kind = DOT) -> Expression:
    if kind == TOTAL and expressions:
        return expressions[0].record(ops.total_row.operation, *expressions)
    return Expression(form, [term for x in expressions for term in x.terms], kind == ORDERED)


def _close(x: Expression) -> None:
    """Make a sum of common nodes a node; a mean in it becomes terms of the sum."""
    form = x.form
    terms = [
        (c, *form.arguments[u][0][1:]) if v == ONE and c in LIGHT and _is_mean(form, u) else (c, u, v)
        for c, u, v in x.terms
    ]
    c, node = form.contract(terms, mapped=False)
    x.terms = [(c, node, ONE)]


def _is_mean(form: Form, node: int) -> bool:
    return (
        form.kinds[node] == DOT
        and not form.mapped[node]
        and [form.kinds[u] for u in form.operands(node)].count("share") == 1 == len(form.arguments[node])
    )


class _Columns:
    """The data leaves of the examples as inputs: equal columns are one, and a column of equal numbers is a constant."""

    def __init__(self, form: Form, data: Mapping[int, float], old: Form, examples: Sequence[Sequence[int]]) -> None:
        self.form = form
        self.data = data
        self.old = old
        self.counterparts = dict(zip(examples[0], zip(*examples, strict=True), strict=True))
        self.known: dict[bytes, int] = {}
        self.numbers: list[list[float]] = []

    def leaf(self, node: int) -> Expression:
        """What becomes of a data leaf."""
        column = array("d", [self.data[self.old.arguments[leaf]] for leaf in self.counterparts.get(node, [node])])
        bits = column.tobytes()  # 0.0 is not -0.0, and nan is nan
        if bits == bits[: column.itemsize] * len(column):
            return self.form.constant(column[0])
        j = self.known.setdefault(bits, len(self.numbers))
        if j == len(self.numbers):
            self.numbers.append(column.tolist())
        return self.form.input(j)
