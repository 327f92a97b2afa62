"""Makes a failing program as small as it gets while it still fails in the same way."""

from __future__ import annotations

from dataclasses import replace

from .programs import Node, pruned

PLAIN = (1.0, 2.0, 0.0, 3.0, 0.5)


def shrink(program, fails, most=250):
    """The smallest program found for which ``fails(program)`` is true; at most so many are tried."""
    tried = 0
    again = True
    while again and tried < most:
        again = False
        for candidate in map(pruned, _smaller(program)):
            tried += 1
            if tried > most:
                break
            if candidate.parameters and _size(candidate) < _size(program) and fails(candidate):
                program, again = candidate, True
                break
    return program


def _size(program):
    """What is to become small: nodes, then operands, examples, loops, then how odd the numbers look."""
    nodes = [inner for node in program.nodes for inner in (node, *node.body)]
    numbers = [*program.parameters, *program.captured, *[x for row in program.examples for x in row]]
    numbers += [i for node in nodes for kind, i in node.operands if kind == "c"]
    numbers += [c for node in nodes for c in node.constants]
    leaves = sum(kind in "wxk" for node in nodes for kind, _ in node.operands)
    odd = sum(len(repr(x)) + (x not in PLAIN) for x in numbers)
    counts = len(program.parameters) + len(program.examples) + len(program.captured) + len(program.examples[0])
    loops = sum(node.times for node in program.nodes)
    return len(nodes), sum(len(node.operands) for node in nodes), counts, loops, leaves, odd


def _smaller(program):
    """Candidates, the boldest first."""
    nodes = program.nodes
    for i, node in enumerate(nodes):
        if node.times > 20:  # before all else, since it takes long
            yield from (_with(program, i, replace(node, times=times)) for times in (1, 3, node.times // 2))
    for last in range(len(nodes) - 1):  # the program ends earlier
        yield replace(program, nodes=nodes[: last + 1])
    if len(program.examples) > 1:
        for i in range(len(program.examples)):
            yield replace(program, examples=(program.examples[i],))
        for i in range(len(program.examples)):
            yield replace(program, examples=program.examples[:i] + program.examples[i + 1 :])
    for i in range(len(nodes) - 1, -1, -1):  # a node is passed by
        for operand in nodes[i].operands:
            if len(nodes) > 1:
                yield _without(program, i, operand)
    for i, node in enumerate(nodes):
        yield from (_with(program, i, smaller) for smaller in _smaller_nodes(node))
    for i, node in enumerate(nodes):  # an operand becomes a number, or a parameter
        for j, operand in enumerate(node.operands):
            for other in (("c", 1.0), ("c", 2.0), ("w", 0)):
                if operand[0] in "vxkw" and operand != other and not (operand[0] == "w" and other[0] == "c"):
                    operands = (*node.operands[:j], other, *node.operands[j + 1 :])
                    yield _with(program, i, replace(node, operands=operands))
    yield from _plainer(program)


def _with(program, i, node):
    return replace(program, nodes=(*program.nodes[:i], node, *program.nodes[i + 1 :]))


def _without(program, i, operand):
    """What used node i uses one of its operands instead."""

    def other(o):
        if o == ("v", i):
            return operand
        return ("v", o[1] - 1) if o[0] == "v" and o[1] > i else o

    def renamed(node):
        return replace(node, operands=tuple(map(other, node.operands)), body=tuple(map(renamed, node.body)))

    if i == len(program.nodes) - 1:
        nodes = program.nodes[:i] if operand == ("v", i - 1) else program.nodes
    else:
        nodes = (*program.nodes[:i], *map(renamed, program.nodes[i + 1 :]))
    return replace(program, nodes=nodes)


def _smaller_nodes(node):
    """Fewer terms, fewer rounds, a plainer operation."""
    if node.op == "loop":
        for times in (1, 2, 3, node.times // 2, node.times * 3 // 4, node.times - 1):
            if 0 < times < node.times:
                yield replace(node, times=times)
        for i in range(len(node.body) - 1):
            yield replace(node, body=node.body[: i + 1])
    if node.op in ("dot", "neuron"):
        n = len(node.operands) // 2
        for i in range(n if n > 1 else 0):
            kept = [j for j in range(2 * n + 1) if j not in (i, n + i)]
            yield replace(node, operands=tuple(node.operands[j] for j in kept))
        if n == 1:
            yield Node("mul", node.operands[:2])
    if node.op in ("total", "sum", "logsumexp"):
        for i in range(len(node.operands) if len(node.operands) > 1 else 0):
            yield replace(node, operands=node.operands[:i] + node.operands[i + 1 :])


def _plainer(program):
    """Numbers that are easier to read."""

    def plainer(x):
        for other in PLAIN:
            if x != other:
                yield other
        for digits in (1, 2, 4):
            short = float(f"{float(x):.{digits}g}")
            if short != x:
                yield short
        if type(x) is not float:
            yield float(x)

    for name in ("parameters", "captured"):
        some = getattr(program, name)
        for i, x in enumerate(some):
            for other in plainer(x):
                yield replace(program, **{name: (*some[:i], other, *some[i + 1 :])})
    for i, row in enumerate(program.examples):
        for j, x in enumerate(row):
            for other in plainer(x):
                rows = (*program.examples[:i], (*row[:j], other, *row[j + 1 :]), *program.examples[i + 1 :])
                yield replace(program, examples=rows)
    for i, node in enumerate(program.nodes):
        for j, (kind, x) in enumerate(node.operands):
            for other in plainer(x) if kind == "c" else ():
                operands = (*node.operands[:j], (kind, other), *node.operands[j + 1 :])
                yield _with(program, i, replace(node, operands=operands))
        for other in plainer(node.constants[0]) if node.constants and node.op != "softmax" else ():
            yield _with(program, i, replace(node, constants=(other,)))
