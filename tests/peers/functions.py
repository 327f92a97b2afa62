"""The operations of the table as PyTorch and JAX have them: name -> function(*operands, *constants of the row)."""

import operator
from functools import partial

ARITHMETIC = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "div": operator.truediv,
    "neg": operator.neg,
    "pow": operator.pow,
    "power": operator.pow,
    "exponential": lambda x, base: base**x,
    "total": lambda *xs: sum(xs),
    "dot": lambda *o: sum((w * x for w, x in zip(o[: len(o) // 2], o[len(o) // 2 : -1], strict=True)), o[-1]),
}
#: names that `torch` and `jax.numpy` share
SHARED = [
    "exp",
    "expm1",
    "log",
    "log1p",
    "sqrt",
    "sin",
    "cos",
    "tan",
    "sinh",
    "cosh",
    "tanh",
    "abs",
    "maximum",
    "minimum",
    "hypot",
    "log2",
    "log10",
]
ALIASES = {"asin": "arcsin", "acos": "arccos", "atan": "arctan", "asinh": "arcsinh", "acosh": "arccosh", "atanh": "arctanh",
           "atan2": "arctan2"}  # fmt: skip


def torch_functions():
    import torch
    from torch.nn import functional

    table = ARITHMETIC | {name: getattr(torch, ALIASES.get(name, name)) for name in [*SHARED, *ALIASES]}
    table |= {
        name: getattr(functional, name)
        for name in ["softplus", "silu", "gelu", "relu", "leaky_relu", "elu", "softsign"]
    }
    table |= {name: getattr(torch, name) for name in ["sign", "floor", "ceil", "round"]}
    return table | {
        "mod": torch.remainder,
        "floordiv": lambda x, y: torch.floor(x / y),
        "cbrt": lambda x: torch.sign(x) * torch.abs(x) ** (1 / 3),
        "sech": lambda x: 1 / torch.cosh(x),
        "bell": lambda x: torch.exp(-x * x / 2),
        "semicircle": lambda x: torch.sqrt(1 - x * x),
        "erf": torch.erf,
        "erfc": torch.erfc,
        "erfinv": torch.erfinv,
        "ndtri": torch.special.ndtri,
        "sigmoid": torch.sigmoid,
        "step": lambda x: (x > 0) * torch.ones_like(x) + 0 * x,
        "stop_gradient": lambda x: x.detach() + 0 * x,  # so that there is a graph to differentiate
        "where": lambda c, x, y: torch.where(c > 0, x, y),
        "logsumexp": lambda *xs: torch.logsumexp(torch.stack(xs), 0),
    }


def jax_functions():
    import jax
    from jax import nn
    from jax import numpy as jnp

    table = ARITHMETIC | {name: getattr(jnp, ALIASES.get(name, name)) for name in [*SHARED, *ALIASES]}
    table |= {
        name: getattr(nn, name) for name in ["sigmoid", "softplus", "silu", "relu", "leaky_relu", "elu", "soft_sign"]
    }
    table["softsign"] = table.pop("soft_sign")
    table |= {name: getattr(jnp, name) for name in ["mod", "cbrt", "sign", "floor", "ceil", "round"]}
    return table | {
        "floordiv": jnp.floor_divide,
        # with a float for the exponent JAX's second derivative of x**1 at 0 is NaN
        "power": lambda x, n: x ** (int(n) if float(n).is_integer() else n),
        "sech": lambda x: 1 / jnp.cosh(x),
        "bell": lambda x: jnp.exp(-x * x / 2),
        "semicircle": lambda x: jnp.sqrt(1 - x * x),
        "erf": jax.scipy.special.erf,
        "erfc": jax.scipy.special.erfc,
        "erfinv": jax.scipy.special.erfinv,
        "ndtri": jax.scipy.special.ndtri,
        "gelu": partial(nn.gelu, approximate=False),
        "step": lambda x: jnp.where(x > 0, 1.0, 0.0),
        "stop_gradient": jax.lax.stop_gradient,
        "where": lambda c, x, y: jnp.where(c > 0, x, y),
        "logsumexp": lambda *xs: nn.logsumexp(jnp.stack(xs)),
    }
