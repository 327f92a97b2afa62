"""Random programs over the whole table, ordinary and hostile, each made from a number."""

from __future__ import annotations

import math
import random

from tinygrad_vi import rows

from .programs import Node, Program, Step, on_floats, pruned

UNARY = sorted(name for name, op in rows.OPERATIONS.items() if op.arity == 1)
#: of two operands, and seldom in programs that people write
BINARY = ("mod", "floordiv", "hypot", "atan2")
BOUNDED = ("sigmoid", "tanh", "atan", "softplus", "relu", "exp", "erf", "sech")
ACTIVATIONS = ("tanh", "relu", "sigmoid", "softplus", "gelu", "silu", "erf", "elu", "leaky_relu", "atan", "sin")

#: numbers that programs break on
HOSTILE = (
    0.0, -0.0, 1.0, -1.0, 2.0, 0.5, 1, 2, 3, -1, True, 5e-324, -5e-324, 1e-310, 2.5e-308, 1e-300, -1e-300, 1e-200,
    1e-170, 1e-160, 1e-100, 1e-16, -1e-16, 1e-8, 0.1, 0.2, 0.3, 49.0, 1.0 / 49.0, 1.0 - 2.0**-53, 1.0 + 2.0**-52, 1e8,
    1e8 + 1.0, 1e16, -1e16, 1e100, 1e120, 1e154, 1e160, 1e200, -1e200, 1e300, -1e300, 400.0, 399.0, 710.0, -745.0,
    36.0, -37.0, 20.0, 26.0, math.pi,
)  # fmt: skip
EXPONENTS = (2, 3, 0, 1, -1, -2, 0.5, -0.5, 1.5, 0.7, 1.0 / 3.0, 2.0, 4, 10, -3, 100, 0.1)
BASES = (2, 2.0, 0.5, 10.0, 1.0, 0.0, 1, True, math.e, 1e-3, 3)
SLOPES = (0.01, 0.3, 0.0, 1.0, -0.5, 2.0, 0.2, 1e-300)


class Builder:
    """Writes a program node by node, and knows what the numbers come to at each example."""

    def __init__(self, r, hostile, n_parameters, n_inputs=0, n_examples=1, n_captured=0):
        self.r, self.hostile = r, hostile
        self.parameters = [self.number() for _ in range(n_parameters)]
        self.examples = [[self.number() for _ in range(n_inputs)] for _ in range(n_examples)]
        self.captured = [self.number() for _ in range(n_captured)]
        self.nodes, self.floats = [], []

    def number(self):
        r = self.r
        if self.hostile and r.random() < 0.5:
            x = r.choice(HOSTILE)
            return float(x) * r.choice((1, 1, 1, 1, 1.9, -1))
        if self.hostile and r.random() < 0.15:
            return r.choice((-1, 1)) * 10.0 ** r.uniform(-300, 300)
        return r.choice((round(r.uniform(-3, 3), 2), r.uniform(-2, 2), float(r.randint(-3, 3))))

    def constant(self):
        r = self.r
        if r.random() < (0.6 if self.hostile else 0.1):
            return ("c", r.choice(HOSTILE))
        return ("c", r.choice((round(r.uniform(-3, 3), 1), r.randint(-3, 3), 0.5, 2.0, 0.1, 1.0)))

    def leaf(self):
        kinds = [("w", self.parameters), ("w", self.parameters), ("k", self.captured)]
        kinds += [("x", self.examples[0])] * 2
        kind, some = self.r.choice([pair for pair in kinds if pair[1]])
        return (kind, self.r.randrange(len(some)))

    def any(self, constants=0.15):
        """An operand: often the last node, sometimes an older one (which is then shared), a leaf or a number."""
        u = self.r.random()
        if u < constants:
            return self.constant()
        if self.nodes and u < 0.65:
            return ("v", len(self.nodes) - 1)
        if self.nodes and u < 0.8:
            return ("v", self.r.randrange(len(self.nodes)))
        return self.leaf()

    def several(self, least=2, most=4):
        found = [self.any() for _ in range(self.r.randint(least, most))]
        return [self.leaf(), *found[1:]] if all(kind == "c" for kind, _ in found) else found

    def value(self, operand, row):
        kind, i = operand
        if kind == "c":
            return float(i)
        if kind == "v":
            return self.floats[i][row]
        return float({"w": self.parameters, "x": self.examples[row], "k": self.captured}[kind][i])

    def emit(self, op, *operands, constants=(), strict=True):
        """Add a node, and give it as an operand.  A strict one must be defined and finite at the first example."""
        node = Node(op, tuple(operands), constants)
        values = []
        for row in range(len(self.examples)):
            try:
                xs = [self.value(o, row) for o in operands]
                y = self._run(node, xs)
                if not math.isfinite(y):
                    raise OverflowError
            except (ArithmeticError, ValueError, TypeError):
                if strict and (row == 0 or self.r.random() < 0.9):
                    return None
                y = math.nan
            values.append(y)
        self.nodes.append(node)
        self.floats.append(values)
        return ("v", len(self.nodes) - 1)

    def _run(self, node, xs):
        if any(map(math.isnan, xs)):
            raise ValueError
        if node.op == "sum":
            return sum(xs)
        if node.op == "neuron":
            n = len(xs) // 2
            return sum(u * v for u, v in zip(xs[:n], xs[n:-1], strict=True)) + xs[-1]
        return on_floats(Step(node.op, (), node.constants), xs)

    def random_node(self, strict=True):
        """Some operation at some operands."""
        r = self.r
        kind = r.choice(("unary",) * 4 + ("infix",) * 5 + ("list",) * 2 + ("choice",) * 2 + ("family",) * 3 + ("dot",))
        last = ("v", len(self.nodes) - 1) if self.nodes and r.random() < 0.7 else self.leaf()
        if kind == "unary":
            return self.emit(r.choice(UNARY), last, strict=strict)
        if kind == "infix":
            op = r.choice(("add", "sub", "mul", "mul", "div", "div", "pow", *BINARY))
            pair = [last, self.any(constants=0.4 if op != "pow" else 0.0)]
            r.shuffle(pair)
            return self.emit(op, *pair, strict=strict)
        if kind == "list":
            op = r.choice(("total", "sum", "logsumexp", "softmax", "total"))
            operands = self.several()
            return self.emit(op, *operands, constants=(r.randrange(len(operands)),) * (op == "softmax"), strict=strict)
        if kind == "choice":
            op = r.choice(("maximum", "minimum", "where"))
            operands = [last, self.any(constants=0.5)]
            r.shuffle(operands)
            return self.emit(op, *([self.any(0.0), *operands] if op == "where" else operands), strict=strict)
        if kind == "family":
            op, pool = r.choice(
                (
                    ("power", EXPONENTS),
                    ("exponential", BASES),
                    ("leaky_relu", SLOPES),
                    ("elu", SLOPES),
                    ("power", EXPONENTS),
                )
            )
            return self.emit(op, last, constants=(r.choice(pool),), strict=strict)
        n = r.randint(1, 3)
        return self.emit(
            r.choice(("dot", "neuron")), *[self.any(0.1) for _ in range(n)], *[self.leaf() for _ in range(n)], self.any(0.5),
            strict=strict,
        )  # fmt: skip

    def finish(self, structure):
        if not self.nodes:
            return None
        used = {o for node in self.nodes for inner in (node, *node.body) for o in inner.operands}
        loose = [("v", i) for i in range(len(self.nodes)) if ("v", i) not in used]
        if len(loose) > 1 and self.r.random() < 0.5:  # nothing is left out: what was not used is added up
            self.emit(self.r.choice(("total", "sum", "sum")), *loose, strict=False)
        program = pruned(
            Program(
                tuple(self.parameters),
                tuple(map(tuple, self.examples)),
                tuple(self.captured),
                tuple(self.nodes),
                structure,
            )
        )
        return program if program.parameters else None


# --- Structures -------------------------------------------------------------------------------------------------------


def _sizes(r):
    """Examples: sometimes none (the data stand in the function), else 1 to 5."""
    inputs = r.choice((0, 1, 1, 2))
    return inputs, r.choice((1, 2, 3, 5)) if inputs else 1


def plain(r, hostile):
    """Any operations in any order, with shared nodes."""
    b = Builder(r, hostile, r.randint(1, 3), *_sizes(r), r.choice((0, 0, 1, 2)))
    for _ in range(r.randint(2, 10)):
        b.random_node()
    return b


def small(r, hostile):
    """One operation or two."""
    b = Builder(r, hostile, r.randint(1, 2), *_sizes(r))
    for _ in range(r.randint(1, 3)):
        b.random_node()
    return b


def undefined(r, hostile):
    """Partly outside of a domain, and what follows hides it: a bounded function, a choice."""
    b = Builder(r, hostile, r.randint(1, 2), r.randint(1, 2), r.choice((2, 3, 4)))
    for _ in range(r.randint(1, 3)):
        b.random_node()
    at = b.emit(
        r.choice(("log", "sqrt", "asin", "acos", "log1p", "exp", "semicircle", "cosh")), b.any(0.0), strict=False
    )
    if r.random() < 0.4:
        at = b.emit("div", b.any(), at, strict=False)
    hidden = r.choice((*BOUNDED, "minimum", "where", "none"))
    if hidden == "minimum":
        at = b.emit(r.choice(("minimum", "maximum")), at, b.constant(), strict=False)
    elif hidden == "where":
        at = b.emit("where", b.leaf(), at, b.constant(), strict=False)
    elif hidden != "none":
        at = b.emit(hidden, at, strict=False)
    b.emit(r.choice(("mul", "add")), at, ("w", 0), strict=False)
    return b


def products(r, hostile):
    """Chains of products, quotients and powers with constants."""
    b = Builder(r, hostile, r.randint(1, 2), *_sizes(r))
    at = ("w", 0)
    for _ in range(r.randint(2, 7)):
        op = r.choice(("mul", "mul", "div", "power", "neg"))
        if op == "power":
            at = b.emit("power", at, constants=(r.choice((2, 3, 2.0, -1, 0.5)),)) or at
        elif op == "neg":
            at = b.emit("neg", at) or at
        else:
            pair = [at, r.choice((b.constant(), b.constant(), b.leaf(), at))]
            r.shuffle(pair)
            at = b.emit(op, *pair) or at
    if r.random() < 0.4:
        at = b.emit(r.choice(("tanh", "atan", "sigmoid", "softplus")), at)
    return b


def cancelling(r, hostile):
    """Sums of large terms that cancel, and what is left is scaled."""
    b = Builder(r, hostile, 2, *_sizes(r))
    large = r.choice((1e8, 1e16, 1e12, 1e5))
    b.parameters[0] = large * (1.0 + r.choice((0.0, 1e-8, 1e-10, 2.0**-40)))
    b.parameters[1] = r.choice((large, b.parameters[0], 1.0))
    way = r.choice(("difference", "total", "sum", "dot", "shift"))
    if way == "difference":
        at = b.emit("sub", ("w", 0), ("w", 1))
    elif way == "shift":
        at = b.emit("sub", ("w", 0), ("c", large))
    elif way == "dot":
        at = b.emit("dot", ("w", 0), ("w", 1), ("c", 1.0), ("c", -1.0), b.any())
    else:
        terms = [("w", 0), b.constant(), ("w", 1), ("c", -large), ("c", 1.0)]
        r.shuffle(terms)
        at = b.emit(way, *terms)
    for _ in range(r.randint(1, 3)):
        at = b.emit(r.choice(("mul", "add", "sub", "div", "mul")), at or ("w", 1), b.any(0.6)) or at
    return b


def masks(r, hostile):
    """Ties, near and exact, at choices and corners."""
    b = Builder(r, hostile, 2, *_sizes(r), r.choice((0, 1)))
    if r.random() < 0.6:
        b.parameters[1] = b.parameters[0]
    at = ("w", 0)
    if r.random() < 0.4:  # a quotient that comes out even: the reciprocal times the number need not
        c = r.choice((49, 49.0, 3.0, 10.0, 7, 41, 47.0, 55, 61, 82.0, 83))
        b.parameters[0] = float(c * r.choice((1, 1, 2, -1, 5)))
        at = b.emit("div", at, ("c", c))
    for _ in range(r.choice((0, 0, 1, 2, 3))):
        op = r.choice(("mul", "div", "add", "sub"))
        c = ("c", r.choice((49, 3.0, 0.1, 7, 10.0, 0.3, 1, 2)))
        at = b.emit(op, at, c) or at
    own = b.value(at, 0)
    other = r.choice((("c", own), ("c", own), ("w", 1), ("c", 0.0), ("c", own * (1 + 2**-52)), b.any()))
    kind = r.choice(("maximum", "minimum", "abs", "relu", "step", "where", "leaky_relu", "elu"))
    if kind in ("maximum", "minimum"):
        at = b.emit(kind, *r.sample((at, other), 2))
    else:
        at = b.emit("sub", at, other)
        if at and kind == "where":
            at = b.emit("where", at, b.any(), b.any())
        elif at:
            at = b.emit(kind, at, constants=(r.choice(SLOPES),) if kind in ("leaky_relu", "elu") else ())
    for _ in range(r.randint(0, 2)):
        at = b.emit(r.choice(("mul", "add", "div")), at or ("w", 0), r.choice((b.leaf(), b.constant()))) or at
    b.emit("add", at or ("w", 0), b.emit("mul", ("w", 1), ("w", 0)) or ("w", 1))
    return b


def lookups(r, hostile):
    """Entries of a table by a number from the data, which may be none of its places in a later example."""
    size = r.randint(2, 4)
    b = Builder(r, hostile, size, 2, r.choice((1, 2, 3, 4)))
    for i, row in enumerate(b.examples):
        row[0] = float(r.randrange(size))
        if i and r.random() < 0.3:
            row[0] = r.choice((float(size), -1.0, 0.5, size + 3.0, 1e18))
    table = [r.choice((("w", i), ("w", i), b.any(0.3))) for i in range(size)]
    at = b.emit("take", *table, ("x", 0), strict=False)
    for _ in range(r.randint(0, 2)):
        at = b.emit(r.choice(("mul", "sub", "add")), at, r.choice((b.leaf(), b.constant())), strict=False)
    after = r.choice((*BOUNDED, "neg", "neg", "minimum", "maximum", "none", "logsumexp"))
    if after in ("minimum", "maximum"):
        b.emit(after, at, b.constant(), strict=False)
    elif after == "logsumexp":
        b.emit(after, at, b.leaf(), strict=False)
    elif after != "none":
        at = b.emit(after, at, strict=False)
        b.emit(r.choice(BOUNDED), at, strict=False)
    return b


def in_time(r, hostile):
    """A loop in time: a recurrent state, a product of many factors, an iteration."""
    b = Builder(r, hostile, r.randint(1, 3), *_sizes(r))
    long = r.random() < 0.25
    times = r.choice((40, 200, 400)) if long else r.randint(2, 12)
    state = ("s", 0)
    kind = r.choice(("product", "cell", "any", "sum"))
    if long and kind == "any":
        kind = "product"
    if kind == "product":
        c = r.choice((0.5, 2.0, 0.1, 1.5, 10.0, 1e-3))
        b.parameters[0] = r.choice((0.95, 1.05, 1.9, 0.98)) / c
        body = [Node("mul", (("c", c), ("w", 0))), Node("mul", (("b", 0), state))]
    elif kind == "sum":
        body = [Node("mul", (b.leaf(), ("w", 0))), Node("add", (state, ("b", 0)))]
    elif kind == "cell":
        body = [
            Node(r.choice(("dot", "neuron")), (("w", 0), b.leaf(), state, b.leaf(), b.leaf())),
            Node(r.choice(("tanh", "sigmoid", "relu", "atan", "sin")), (("b", 0),)),
        ]
    else:
        ops_ = [r.choice(("mul", "add", "sub", "div", "maximum")) for _ in range(r.randint(1, 3))]
        body = [Node(op, (state if i == 0 else ("b", i - 1), b.any(0.4))) for i, op in enumerate(ops_)]
        if r.random() < 0.6:
            body.append(Node(r.choice(ACTIVATIONS[:6]), (("b", len(body) - 1),)))
    start = r.choice((("w", len(b.parameters) - 1), ("c", 1.0), ("c", 0.0), b.leaf()))
    b.nodes.append(Node("loop", (start,), (), tuple(body), times))
    b.floats.append([0.5] * len(b.examples))
    for _ in range(r.randint(0, 2)):
        b.random_node()
    return b


def layers(r, hostile):
    """A network of hand-written neurons, and a loss."""
    inputs, hidden = r.randint(1, 3), r.randint(1, 3)
    b = Builder(r, False, (inputs + 1) * hidden + hidden + 1, inputs + 1, r.choice((1, 2, 4, 5)))
    if hostile:
        b.parameters[r.randrange(len(b.parameters))] = b.number() * r.choice((1.0, 1e3, 1e-160, 0.0))
    op = r.choice(("dot", "neuron"))
    activation = r.choice(ACTIVATIONS)
    p, outputs = 0, []
    for _ in range(hidden):
        at = b.emit(op, *[("w", p + i) for i in range(inputs)], *[("x", i) for i in range(inputs)], ("w", p + inputs))
        outputs.append((at and b.emit(activation, at)) or ("w", p))
        p += inputs + 1
    y = b.emit(op, *[("w", p + i) for i in range(hidden)], *outputs, ("w", p + hidden)) or ("w", p)
    target = ("x", inputs)
    loss = r.choice(("square", "hinge", "logistic", "absolute", "softmax"))
    if loss == "square":
        b.emit("power", b.emit("sub", y, target) or y, constants=(2,))
    elif loss == "hinge":
        b.emit("relu", b.emit("sub", ("c", 1.0), b.emit("mul", y, target) or y) or y)
    elif loss == "logistic":
        b.emit("softplus", b.emit("neg", b.emit("mul", y, target) or y) or y)
    elif loss == "absolute":
        b.emit("abs", b.emit("sub", y, target) or y)
    else:
        b.emit("neg", b.emit("log", b.emit("softmax", y, *outputs, constants=(0,)) or y) or y)
    if r.random() < 0.4:  # a penalty
        squares = [b.emit("power", ("w", i), constants=(2,)) for i in range(min(3, len(b.parameters)))]
        penalty = b.emit("total", *[s for s in squares if s])
        strength = r.choice((0.0, 1e-3, 0.1, 1e-170))
        last = len(b.nodes) - 1 - len([s for s in squares if s]) - (penalty is not None)
        if penalty and last >= 0:
            b.emit("add", ("v", last), b.emit("mul", ("c", strength), penalty) or penalty)
    return b


def by_hand(r, hostile):
    """What people write without looking at a library: softmax, sigmoid, a norm, a variance, a quotient."""
    b = Builder(r, hostile, r.randint(2, 3), *_sizes(r))
    if hostile:
        b.parameters = [r.choice((400.0, 399.0, 300.0, -400.0, 200.5, 1e-5, 30.0)) for _ in b.parameters]
    ws = [("w", i) for i in range(len(b.parameters))]
    kind = r.choice(("softmax", "sigmoid", "norm", "quotient", "tanh", "log-ratio"))
    if kind in ("softmax", "log-ratio"):
        es = [b.emit("exp", w) for w in ws]
        at = all(es) and b.emit("div", es[0], b.emit(r.choice(("sum", "total")), *es) or es[0])
        if at and kind == "log-ratio":
            b.emit("neg", b.emit("log", at) or at)
    elif kind == "sigmoid":
        at = b.emit("exp", b.emit("neg", ws[0]))
        b.emit("div", r.choice((ws[1], ("c", 1))), (at and b.emit("add", ("c", 1), at)) or ws[0])
    elif kind == "norm":
        squares = [b.emit("mul", w, w) for w in ws]
        at = all(squares) and b.emit("sqrt", b.emit("sum", *squares) or squares[0])
        b.emit("div", ws[0], at or ws[1])
    elif kind == "quotient":
        at = b.emit("div", ws[0], ws[1])
        for _ in range(r.randint(0, 2)):
            at = b.emit(r.choice(("div", "mul", "add")), at or ws[0], b.any(0.3)) or at
    else:
        up, down = b.emit("exp", ws[0]), b.emit("exp", b.emit("neg", ws[0]))
        if up and down:
            b.emit("div", b.emit("sub", up, down) or up, b.emit("add", up, down) or up)
    for _ in range(r.randint(0, 2)):
        b.random_node()
    return b


STRUCTURES = (
    plain, plain, plain, small, small, undefined, products, products, cancelling, masks, masks, lookups, in_time, layers,
    layers, by_hand,
)  # fmt: skip


def program(seed):
    """The program of a seed.  Half of them hostile, half ordinary."""
    for attempt in range(100):
        r = random.Random(f"{seed} {attempt}")
        structure = r.choice(STRUCTURES)
        hostile = r.random() < 0.5
        try:
            found = structure(r, hostile).finish(structure.__name__ + (", hostile" if hostile else ""))
        except (ArithmeticError, ValueError, TypeError):  # an operand that came to nothing
            continue
        if found is not None and _depends(found):
            return found
    raise AssertionError(f"no program for the seed {seed}")


def _depends(program):
    """Whether its result comes from a parameter, and every operand is there."""
    return all(
        o is not None for node in program.nodes for inner in (node, *node.body) for o in inner.operands
    ) and bool(program.parameters)
