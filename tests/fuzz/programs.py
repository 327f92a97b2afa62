"""Programs as data: what they are, how they are written as Python, and how they are run.

A program is a function of the parameters w (Values to differentiate by), of one example x, and of captured Values k.
It is a list of nodes; the last node is the result.  An operand is a pair:

    ("w", i)  ("x", i)  ("k", i)     a parameter, an entry of the example, a captured Value
    ("v", i)                         an earlier node
    ("c", number)                    a number written into the text: a float, an int, True
    ("s", 0), ("b", i)               inside a loop: the number carried round, an earlier node of the body
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from tinygrad_vi import functions, rows

INFIX = {"add": "+", "sub": "-", "mul": "*", "div": "/", "pow": "**", "mod": "%", "floordiv": "//"}
#: functions of a list
OF_LIST = ("total", "sum", "logsumexp")


@dataclass(frozen=True)
class Node:
    """One operation.  body and times: of a loop, whose only operand is what it starts from."""

    op: str
    operands: tuple
    constants: tuple = ()
    body: tuple = ()
    times: int = 0


@dataclass(frozen=True)
class Program:
    """A function, the point it is taken at, and the examples it is mapped over."""

    parameters: tuple
    examples: tuple  # of rows, one at least; rows may be empty
    captured: tuple
    nodes: tuple
    structure: str = ""

    @property
    def direction(self):
        """A direction to take second derivatives along."""
        return [(1.0, -0.5, 2.0, 0.25)[i % 4] for i in range(len(self.parameters))]


# --- Writing ----------------------------------------------------------------------------------------------------------


def _number(c):
    return repr(c) if not isinstance(c, float) or math.isfinite(c) else f"float('{c}')"


def _call(node, texts):
    op, constants = node.op, node.constants
    if op in INFIX:
        return f"({texts[0]} {INFIX[op]} {texts[1]})"
    if op == "neg":
        return f"(-{texts[0]})"
    if op == "power":
        return f"({texts[0]} ** {_number(constants[0])})"
    if op == "exponential":
        return f"({_number(constants[0])} ** {texts[0]})"
    if op in OF_LIST:
        return f"{op}([{', '.join(texts)}])"
    if op == "softmax":
        return f"softmax([{', '.join(texts)}])[{constants[0]}]"
    if op in ("dot", "neuron"):
        n = len(texts) // 2
        if op == "dot":
            return f"dot([{', '.join(texts[:n])}], [{', '.join(texts[n:-1])}], {texts[-1]})"
        return f"({' + '.join(f'{u} * {v}' for u, v in zip(texts[:n], texts[n:-1], strict=True))} + {texts[-1]})"
    if op == "take":
        return f"take([{', '.join(texts[:-1])}], {texts[-1]})"
    return f"{op}({', '.join([*texts, *map(_number, constants)])})"


def _write(nodes, letter, indent, inline):
    """Lines that compute the nodes, and the text of the last one.  What is used once stands where it is used."""
    uses = [0] * len(nodes)
    for node in nodes:
        for kind, i in node.operands:
            if kind == letter:
                uses[i] += 1
    texts, lines = [], []

    def text(operand):
        kind, i = operand
        if kind == letter:
            return texts[i]
        return _number(i) if kind == "c" else "s" if kind == "s" else f"{kind}[{i}]"

    for i, node in enumerate(nodes):
        name = f"{letter}{i}"
        if node.op == "loop":
            lines.append(f"{indent}s = {text(node.operands[0])}")
            lines.append(f"{indent}for _ in range({node.times}):")
            body, last = _write(node.body, "b", indent + "    ", inline)
            lines += [*body, f"{indent}    s = {_bare(last)}", f"{indent}{name} = s"]
            texts.append(name)
            continue
        call = _call(node, [text(o) for o in node.operands])
        if inline and uses[i] <= 1 and len(call) < 70:
            texts.append(call)
        else:
            lines.append(f"{indent}{name} = {_bare(call)}")
            texts.append(name)
    return lines, texts[-1]


def _bare(text):
    """Without the brackets round all of it."""
    if not text.startswith("("):
        return text
    depth = 0
    for i, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if depth == 0:
            return text[1:-1] if i == len(text) - 1 else text
    return text


def source(program, name="f"):
    """The program as a Python function of w, x and k."""
    lines, last = _write(program.nodes, "v", "    ", inline=True)
    return "\n".join([f"def {name}(w, x, k):", *lines, f"    return {_bare(last)}"])


def function(program, namespace):
    """The same, run."""
    scope = dict(namespace)
    exec(source(program), scope)
    return scope["f"]


def runnable(program, call=""):
    """A few lines of Python that a user can run: what she would have written."""
    lines, last = _write(program.nodes, "v", "    ", inline=True)
    w = f"w = [{', '.join(f'Value({_number(p)})' for p in program.parameters)}]"
    k = f"; k = [{', '.join(f'Value({_number(p)})' for p in program.captured)}]" if program.captured else ""
    x = "x" if program.examples[0] else ""
    rows = f"; X = {[list(row) for row in program.examples]!r}".replace("inf", "float('inf')") if x else ""
    head = f"f = lambda {x}: {_bare(last)}".replace("lambda :", "lambda:")
    text = [head] if not lines else [f"def f({x}):", *lines, f"    return {_bare(last)}"]
    return "\n".join([w + k + rows, *text, *([call] if call else [])])


# --- Flattening -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Step:
    """One operation of the flat program: arguments are numbers of slots, where the leaves come first."""

    op: str
    arguments: tuple
    constants: tuple = ()


def flatten(program):
    """Leaves (operands of the kinds w, x, k, c) and steps; loops unrolled, sums and neurons in single additions."""
    leaves, place = [], {}
    steps = []

    def leaf(operand):
        key = (operand[0], repr(operand[1]))
        if key not in place:
            place[key] = len(leaves)
            leaves.append(operand)
        return ("leaf", place[key])

    def emit(op, arguments, constants=()):
        steps.append((op, tuple(arguments), constants))
        return ("step", len(steps) - 1)

    def run(nodes, letter, carried):
        slots = []
        for node in nodes:
            arguments = [
                slots[o[1]] if o[0] == letter else carried if o[0] == "s" else outer[o[1]] if o[0] == "v" else leaf(o)
                for o in node.operands
            ]
            slots.append(lower(node, arguments))
            if letter == "v":
                outer.append(slots[-1])
        return slots[-1]

    def lower(node, arguments):
        if node.op == "loop":
            carried = arguments[0]
            for _ in range(node.times):
                carried = run(node.body, "b", carried)
            return carried
        if node.op in ("sum", "neuron"):
            terms = arguments
            if node.op == "neuron":
                n = len(arguments) // 2
                terms = [emit("mul", pair) for pair in zip(arguments[:n], arguments[n:-1], strict=True)]
                terms.append(arguments[-1])
            so_far = terms[0]
            for term in terms[1:]:
                so_far = emit("add", (so_far, term))
            return so_far
        return emit(node.op, arguments, node.constants)

    outer = []
    last = run(program.nodes, "v", None)
    n = len(leaves)

    def slot(place):
        return place[1] + n * (place[0] == "step")

    return leaves, [Step(op, tuple(map(slot, arguments)), constants) for op, arguments, constants in steps], slot(last)


def row_of(step):
    """The row of the table that a step is; None for take and softmax, which are made of several."""
    name, constants = step.op, step.constants
    if name in rows.OPERATIONS and not constants:
        return rows.OPERATIONS[name]
    return rows.FAMILIES[name](*map(float, constants)) if name in rows.FAMILIES else None


def on_floats(step, xs):
    """A step on floats as the text computes it.  Raises what it raises."""
    if step.op == "take":
        return functions.take(xs[:-1], xs[-1])
    if step.op == "softmax":
        return functions.softmax(xs)[step.constants[0]]
    return rows.apply(row_of(step), *xs)


def leaf_value(program, leaf, row):
    kind, i = leaf
    if kind == "c":
        return float(i)
    return float({"w": program.parameters, "x": row, "k": program.captured}[kind][i])


# --- Changing ---------------------------------------------------------------------------------------------------------


def pruned(program):
    """Without what the result does not need: nodes, parameters, entries of the examples, captured Values."""
    needed = {len(program.nodes) - 1}
    for i in range(len(program.nodes) - 1, -1, -1):
        if i in needed:
            needed |= {
                o[1] for node in (program.nodes[i], *program.nodes[i].body) for o in node.operands if o[0] == "v"
            }
    used = {kind: set() for kind in "wxk"}
    for i in needed:
        for node in (program.nodes[i], *program.nodes[i].body):
            for kind, j in node.operands:
                if kind in used:
                    used[kind].add(j)
    new = {"v": {old: i for i, old in enumerate(sorted(needed))}}
    new |= {kind: {old: i for i, old in enumerate(sorted(used[kind]))} for kind in used}

    def renamed(node):
        operands = tuple((kind, new[kind][i]) if kind in new else (kind, i) for kind, i in node.operands)
        return replace(node, operands=operands, body=tuple(map(renamed, node.body)))

    return replace(
        program,
        nodes=tuple(renamed(program.nodes[i]) for i in sorted(needed)),
        parameters=tuple(program.parameters[i] for i in sorted(used["w"])),
        captured=tuple(program.captured[i] for i in sorted(used["k"])),
        examples=tuple(tuple(row[i] for i in sorted(used["x"])) for row in program.examples) if used["x"] else ((),),
    )


def operations(program):
    """The names of the operations in it, each once."""
    names = set()
    for node in program.nodes:
        names |= {node.op, *(inner.op for inner in node.body)}
    return sorted(names)
