"""What JAX calls the operations, and how it is told those that it lacks.

JAX may differentiate what is written here once more, so each text has the derivative of the table when JAX takes it, at
its corners too: relu'(0) = 0, |x|' = 0 at 0.  The same number with another derivative (``max(x, 0)``, which has half at
0) is not written.

XLA rewrites as if floats were real numbers: (a / b) / c as a / (b * c), where b * c overflows, and x * y - z rounded
once, which is not 0 where x * y is z.  `rounded` keeps it from that where it matters.
"""

from __future__ import annotations

from typing import Any

from tinygrad_vi.compiler.numpy_text import CALL, DEFINED_HERE, SUM, Dialect, Spelling, spelled
from tinygrad_vi.rows import key_of

#: functions that JAX lacks, by their names in the text
JAX_DEFINITIONS = {
    "absolute": "return jnp.sign(x) * x  # whose derivative at 0 is 0",
    "atan2": "return jnp.arctan2(*[jnp.where(v == 0, jnp.abs(v), v) for v in (x, y)])  # -0.0 is 0.0",
    "bell": "return jnp.exp(-0.5 * (x * x))",
    "elu": "return jnp.where(x > 0, x, alpha * jnp.expm1(jnp.where(x > 0, 0, x)))",
    "gelu": """x = jnp.where(x < -40, -40, x)
    return 0.5 * x * jax.scipy.special.erfc(-0.7071067811865476 * x)""",
    "leaky_relu": "return jnp.where(x > 0, x, slope * x)",
    "logsumexp": "return jax.nn.logsumexp(jnp.stack(jnp.broadcast_arrays(*xs)), axis=0)",
    "quotient": "return rounded(x / y)",
    "rounded": "return jnp.where(x == x, x, jnp.nan)  # so that XLA rewrites no product or quotient with what follows",
    "sech": """e = jnp.exp(jnp.where(x >= 0, -x, x))
    return 2 * e / (1 + e * e)""",
    "semicircle": "return jnp.sqrt((1 - x) * (1 + x))",
    "silu": "return jnp.where(x < -1000, -1000, x) * jax.nn.sigmoid(x)",
    "softsign": "return x / (1 + jnp.sign(x) * x)",
    "step": "return jnp.where(x > 0, 1, jnp.where(x <= 0, 0, x))",
    "total": """low = 0
    while x.shape[1] > 1:
        if x.shape[1] % 2:
            x = jnp.pad(x, ((0, 0), (0, 1), (0, 0)))
        a, b = x[:, ::2], x[:, 1::2]
        x = a + b
        z = x - a
        low = low + ((a - (x - z)) + (b - z)).sum(axis=1)  # what the additions round off
    return x[:, 0] + jnp.where(jnp.isfinite(x[:, 0]), low, 0)""",
    "where": "return jnp.where(c > 0, x, jnp.where(c <= 0, y, jnp.nan))",
}
#: how the text calls a row that it defines under another name
JAX_DEFINED_HERE: dict[Any, str] = {
    **{key: name for key, name in DEFINED_HERE.items() if name in JAX_DEFINITIONS},
    key_of("abs"): "absolute",
    key_of("atan2"): "atan2",
    key_of("div"): "quotient",
    key_of("gelu"): "gelu",
}
JAX_WRITTEN: dict[Any, Spelling] = {
    **spelled("jnp"),
    **{
        key_of(name): (f"jax.{module}.{name}({{}})", CALL, SUM)
        for module, names in {
            "nn": ("relu", "sigmoid", "softplus"), "scipy.special": ("erf", "erfc", "erfinv", "ndtri"),
        }.items()
        for name in names
    },
    key_of("abs"): ("absolute({})", CALL, SUM),
    key_of("atan2"): ("atan2({}, {})", CALL, SUM),
    key_of("div"): ("quotient({}, {})", CALL, SUM),
    key_of("stop_gradient"): ("jax.lax.stop_gradient({})", CALL, SUM),
}  # fmt: skip

JAX = Dialect("jnp", "theta.dtype", JAX_WRITTEN, JAX_DEFINED_HERE, JAX_DEFINITIONS)
