"""Random expressions: programs that any engine can run, with every operation of the table among their steps.

An expression is a program, a list of instructions (row, operands), which each engine runs with its own operations.
Every step keeps values within -1..1, and none of its sums of partials exceeds 1 by much: rounding errors are then not
magnified from step to step, so after 200 steps engines that round differently still agree.
"""

from functools import partial

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from tinygrad_vi import ops, rows

SHIFT = 0.1234567  # moves corners to where no expression lands by chance, so that no rounding decides on the branch


class Program:
    """A list of instructions that writes itself down when it is called like a module: ``p.add(x, p.sin(y))``.

    An operand is the index of a node (an int: inputs come first) or a constant (a float).
    """

    def __init__(self, n_inputs):
        self.n_inputs = n_inputs
        self.instructions = []

        for name, op in rows.OPERATIONS.items():
            setattr(self, name, partial(self.emit, op))

    def __repr__(self):
        return f"<{self.n_inputs} inputs, {self.instructions}>"

    def power(self, n, x):
        return self.emit(ops.power(n), x)

    def exponential(self, base, x):
        return self.emit(ops.exponential(base), x)

    def emit(self, op, *operands):
        self.instructions.append((op, operands))
        return self.n_inputs + len(self.instructions) - 1

    def run(self, inputs, apply):
        """The value of the last instruction, in the arithmetic of ``apply(op, *operands)``."""
        nodes = list(inputs)
        for op, operands in self.instructions:
            nodes.append(apply(op, *[nodes[i] if isinstance(i, int) else i for i in operands]))
        return nodes[-1]


#: A step takes three earlier nodes, of magnitude at most 1, and gives another.
STEPS = {
    "add": lambda p, x, y, z: p.mul(0.5, p.add(x, y)),
    "sub": lambda p, x, y, z: p.mul(p.sub(x, y), 0.5),
    "mul": lambda p, x, y, z: p.mul(p.mul(x, y), 0.5),
    "div": lambda p, x, y, z: p.div(x, p.add(3.0, p.sin(y))),
    "neg": lambda p, x, y, z: p.neg(x),
    "pow": lambda p, x, y, z: p.mul(0.4, p.pow(p.add(1.5, p.mul(0.5, x)), y)),
    "pow of a constant": lambda p, x, y, z: p.mul(0.5, p.pow(1.5, x)),
    "1.5**x": lambda p, x, y, z: p.mul(0.5, p.exponential(1.5, x)),
    "x**3": lambda p, x, y, z: p.mul(0.3, p.power(3.0, x)),
    "x**2": lambda p, x, y, z: p.mul(0.5, p.power(2.0, x)),
    "x**1": lambda p, x, y, z: p.power(1.0, x),
    "x**0": lambda p, x, y, z: p.mul(p.power(0.0, x), y),
    "x**-1": lambda p, x, y, z: p.power(-1.0, p.add(2.0, x)),
    "x**-2": lambda p, x, y, z: p.mul(0.5, p.power(-2.0, p.add(2.0, x))),
    "x**1.5": lambda p, x, y, z: p.mul(0.3, p.power(1.5, p.add(1.5, x))),
    "exp": lambda p, x, y, z: p.mul(0.36, p.exp(x)),
    "expm1": lambda p, x, y, z: p.mul(0.36, p.expm1(x)),
    "log": lambda p, x, y, z: p.log(p.add(1.0, p.mul(x, x))),
    "log1p": lambda p, x, y, z: p.log1p(p.mul(0.5, x)),
    "sqrt": lambda p, x, y, z: p.sub(p.sqrt(p.add(1.0, p.mul(x, x))), 0.5),
    "sin": lambda p, x, y, z: p.sin(x),
    "cos": lambda p, x, y, z: p.cos(x),
    "tan": lambda p, x, y, z: p.tan(p.mul(0.6, x)),
    "asin": lambda p, x, y, z: p.asin(p.mul(0.9, p.sin(x))),
    "acos": lambda p, x, y, z: p.mul(0.4, p.acos(p.mul(0.9, p.sin(x)))),
    "semicircle": lambda p, x, y, z: p.semicircle(p.mul(0.9, p.sin(x))),
    "atan": lambda p, x, y, z: p.atan(x),
    "sinh": lambda p, x, y, z: p.mul(0.6, p.sinh(x)),
    "cosh": lambda p, x, y, z: p.mul(0.6, p.cosh(x)),
    "tanh": lambda p, x, y, z: p.tanh(x),
    "bell": lambda p, x, y, z: p.bell(x),
    "sech": lambda p, x, y, z: p.sech(x),
    "erf": lambda p, x, y, z: p.mul(0.8, p.erf(x)),
    "erfc": lambda p, x, y, z: p.mul(0.5, p.erfc(x)),
    "erfinv": lambda p, x, y, z: p.erfinv(p.mul(0.6, p.sin(x))),
    "ndtri": lambda p, x, y, z: p.ndtri(p.add(0.5, p.mul(0.3, p.sin(x)))),
    "sigmoid": lambda p, x, y, z: p.sigmoid(x),
    "softplus": lambda p, x, y, z: p.mul(0.7, p.softplus(x)),
    "silu": lambda p, x, y, z: p.silu(x),
    "gelu": lambda p, x, y, z: p.mul(0.9, p.gelu(x)),
    "step": lambda p, x, y, z: p.mul(y, p.step(p.sub(x, SHIFT))),
    "relu": lambda p, x, y, z: p.relu(p.sub(x, SHIFT)),
    "leaky_relu": lambda p, x, y, z: p.leaky_relu(p.sub(x, SHIFT)),
    "elu": lambda p, x, y, z: p.elu(p.sub(x, SHIFT)),
    "abs": lambda p, x, y, z: p.mul(0.8, p.abs(p.sub(x, SHIFT))),
    "maximum": lambda p, x, y, z: p.maximum(x, y),
    "minimum": lambda p, x, y, z: p.minimum(x, y),
    "where": lambda p, x, y, z: p.where(p.sub(x, SHIFT), y, z),
    "stop_gradient": lambda p, x, y, z: p.mul(p.stop_gradient(x), y),
    "mod": lambda p, x, y, z: p.mul(0.3, p.mod(p.sub(x, 1.5), p.add(1.5 + SHIFT, p.mul(0.5, y)))),
    "floordiv": lambda p, x, y, z: p.mul(0.5, p.mul(y, p.floordiv(p.sub(x, 1.0 + SHIFT), 1.5))),
    "log2": lambda p, x, y, z: p.mul(0.5, p.log2(p.add(1.0, p.mul(x, x)))),
    "log10": lambda p, x, y, z: p.log10(p.add(1.0, p.mul(x, x))),
    "cbrt": lambda p, x, y, z: p.mul(0.8, p.cbrt(p.add(1.5, p.mul(0.5, x)))),
    "hypot": lambda p, x, y, z: p.mul(0.5, p.hypot(p.add(1.25, p.mul(0.25, x)), y)),
    "atan2": lambda p, x, y, z: p.mul(0.5, p.atan2(x, p.add(1.5, p.mul(0.5, y)))),
    "asinh": lambda p, x, y, z: p.asinh(x),
    "acosh": lambda p, x, y, z: p.mul(0.5, p.acosh(p.add(2.5, x))),
    "atanh": lambda p, x, y, z: p.atanh(p.mul(0.6, x)),
    "softsign": lambda p, x, y, z: p.softsign(p.sub(x, SHIFT)),
    "sign": lambda p, x, y, z: p.mul(y, p.sign(p.sub(x, SHIFT))),
    "floor": lambda p, x, y, z: p.mul(0.3, p.mul(y, p.floor(p.sub(x, 1.0 + SHIFT)))),
    "ceil": lambda p, x, y, z: p.mul(0.5, p.mul(y, p.ceil(p.sub(x, SHIFT)))),
    "round": lambda p, x, y, z: p.mul(0.3, p.mul(y, p.round(p.sub(x, 1.0 + SHIFT)))),
    "total": lambda p, x, y, z: p.mul(p.total(x, y, z), 0.3),
    "dot": lambda p, x, y, z: p.mul(0.25, p.dot(x, y, z, 0.5, x)),
    "logsumexp": lambda p, x, y, z: p.sub(p.logsumexp(x, y, z), 1.1),
}


@st.composite
def programs(draw, most_steps):
    """A program, the point to run it at, and a direction."""
    n_inputs = draw(st.integers(1, 4))
    program = Program(n_inputs)
    nodes = list(range(n_inputs))
    near, far = st.integers(0, 2), st.integers(0, 255)  # mostly a long chain, with arms back to anywhere
    for _ in range(draw(st.integers(1, most_steps))):
        step = STEPS[draw(st.sampled_from(list(STEPS)))]
        x, y, z = (nodes[-1 - draw(reach) % len(nodes)] for reach in (near, far, far))
        nodes.append(step(program, x, y, z))
    numbers = st.lists(st.floats(-1.0, 1.0, width=32, allow_subnormal=False), min_size=n_inputs, max_size=n_inputs)
    return program, draw(numbers), draw(numbers)


SAME_EVERY_TIME = settings(
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
)
