"""Pieces of NumPy text that know how tightly they bind, and what NumPy calls the operations."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tinygrad_vi.compiler.terms import LIGHT
from tinygrad_vi.conditions import EQUAL, LESS, LESS_EQUAL
from tinygrad_vi.rows import key_of

SUM, PRODUCT, MATMUL, POWER, CALL = range(1, 6)


@dataclass
class Text:
    """A piece of an expression: a template, and what stands in its places, with how tightly each must bind."""

    template: str
    binds: int = CALL
    parts: Sequence[tuple[Text | Array, int]] = ()

    def arrays(self) -> Iterator[tuple[Array, bool]]:
        """The arrays in it, and whether each stands there as a whole."""
        for part, needed in self.parts:
            if isinstance(part, Array):
                yield part, needed > 0
            else:
                yield from part.arrays()

    def write(self, needed: int = SUM) -> str:
        """The text, in brackets where something tighter is needed."""
        if self.template == "{}":
            return self.parts[0][0].write(needed)
        text = self.template.format(*[part.write(least) for part, least in self.parts])
        return f"({text})" if self.binds < needed else text


@dataclass(eq=False)
class Array:
    """Nodes that live together.  A vector has a row for each; a matrix holds unmapped nodes, row by row.

    expression: what computes it; None for what the function is given.  inline: it has no line of its own.  mapped:
    whether it has a column for each example, where that is known.
    """

    name: str
    rows: int
    columns: int | None = None
    expression: Text | None = None
    inline: bool = False
    mapped: bool | None = None

    def write(self, needed: int = SUM) -> str:
        """Its name, or what computes it."""
        return self.expression.write(needed) if self.inline and self.expression else self.name


def call(template: str, *arguments: Text | Array, binds: int = CALL, needed: int = SUM) -> Text:
    """A template filled with expressions."""
    return Text(template, binds, [(argument, needed) for argument in arguments])


def times(*factors: Text | Array) -> Text:
    """A product; one factor is itself."""
    kept = [factor for factor in factors if not (isinstance(factor, Text) and factor.template == "1")]
    if len(kept) == 2 and kept[0] == kept[1]:
        return call("{} ** 2", kept[0], binds=POWER, needed=CALL)
    if len(kept) == 1:
        return call("{}", kept[0], binds=kept[0].binds if isinstance(kept[0], Text) else CALL)
    # a * (W @ b) needs its brackets: @ and * are read from left to right
    parts = [(factor, PRODUCT if i == 0 else POWER) for i, factor in enumerate(kept)]
    return Text(" * ".join(["{}"] * len(kept)), PRODUCT, parts) if kept else Text("1")


def scaled(c: float, text: Text) -> Text:
    """c times an expression, which is multiplied out first: c * (u * v)."""
    if c == 1.0:
        return text
    if c < 0.0:
        return call("-{}", scaled(-c, text), binds=SUM, needed=PRODUCT)
    needed = PRODUCT if c >= 1.0 and c in LIGHT else POWER  # 2 * u * v is the same, from left to right
    return call(f"{number(c)} * {{}}", text, binds=PRODUCT, needed=needed) if text.template != "1" else Text(number(c))


def added(terms: Sequence[Text]) -> Text:
    """A sum; matrix products come first, as in W @ x + b."""
    return from_left(sorted(terms, key=lambda term: (term.template.startswith("-"), term.binds != MATMUL)))


def from_left(terms: Sequence[Text]) -> Text:
    """A sum in this order."""
    signs = [" - " if term.template == "-{}" else " + " for term in terms[1:]]
    parts = [(terms[0], SUM)] + [
        term.parts[0] if sign == " - " else (term, PRODUCT) for term, sign in zip(terms[1:], signs, strict=True)
    ]
    return Text("{}" + "".join(f"{sign}{{}}" for sign in signs), SUM, parts) if signs else terms[0]


def number(c: float) -> str:
    """A number as people write it."""
    if math.isnan(c):
        return "np.nan"
    if math.isinf(c):
        return "np.inf" if c > 0.0 else "-np.inf"
    whole = c.is_integer() and abs(c) < 1e15 and str(c) != "-0.0"
    return repr(int(c)) if whole else repr(c)


# --- What NumPy calls the operations ----------------------------------------------------------------------------------

#: a template, how tightly it binds, and how tightly its operands must; {c} is the constant of a family
Spelling = tuple[str, int, int]


def spelled(np: str) -> dict[Any, Spelling]:
    """The operations that a module with NumPy's names has, by what the text calls the module."""
    return {
        **{
            key_of(name): (f"{np}.{name}({{}})", CALL, SUM)
            for name in (
                "abs", "exp", "expm1", "log", "log1p", "sqrt", "sin", "cos", "tan", "sinh", "cosh", "tanh", "log2",
                "log10", "cbrt", "sign", "floor", "ceil",
            )
        },
        **{key_of(name): (f"{np}.{name}({{}}, {{}})", CALL, SUM) for name in ("hypot", "maximum", "minimum", "mod")},
        **{
            key_of(ours): (f"{np}.{numpys}({{}})", CALL, SUM)
            for ours, numpys in {
                "acos": "arccos", "asin": "arcsin", "atan": "arctan", "acosh": "arccosh", "asinh": "arcsinh",
                "atanh": "arctanh", "round": "rint", "stop_gradient": "positive",
            }.items()
        },
        **{
            row: (f"{np}.where({{}} {sign} {{}}, 1.0, 0.0)", CALL, SUM)
            for row, sign in ((LESS, "<"), (LESS_EQUAL, "<="), (EQUAL, "=="))
        },
        key_of("atan2"): (f"{np}.arctan2({{}} + 0.0, {{}} + 0.0)", CALL, SUM),
        key_of("div"): ("{} / {}", PRODUCT, POWER),
        key_of("elu"): ("elu({}, {c})", CALL, SUM),
        key_of("exponential"): ("{c} ** {}", POWER, CALL),
        key_of("floordiv"): (f"{np}.floor_divide({{}}, {{}})", CALL, SUM),  # -x // y is not -(x // y)
        key_of("leaky_relu"): ("leaky_relu({}, {c})", CALL, SUM),
        key_of("pow"): ("{} ** {}", POWER, CALL),
        key_of("power"): ("{} ** {c}", POWER, CALL),
        key_of("relu"): (f"{np}.maximum({{}}, 0)", CALL, SUM),
    }  # fmt: skip


WRITTEN = spelled("np")

#: functions that NumPy lacks, by their names in the text, which are those of their rows
DEFINITIONS = {
    "elu": "return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))",
    "leaky_relu": "return np.where(x > 0, x, slope * x)",
    "logsumexp": """xs = np.stack(np.broadcast_arrays(*xs))
    first = np.arange(len(xs))[:, None, None] == xs.argmax(axis=0)  # one that is largest: exp(0) = 1
    shift = xs.max(axis=0)
    return shift + np.log1p(np.where(first, 0, np.exp(xs - shift)).sum(axis=0))""",
    "bell": """a = np.minimum(np.abs(x), 40)
    c = 134217729 * a
    high = c - (c - a)  # 26 bits of a
    low = a - high
    e = np.exp(-0.5 * (a * a))  # which magnifies the rounding of a*a
    return e - 0.5 * (((high * high - a * a) + 2 * (high * low)) + low * low) * e""",
    "sech": """e = np.exp(-np.abs(x))
    return 2 * e / (1 + e * e)""",
    "semicircle": "return np.sqrt((1 - x) * (1 + x))",
    "sigmoid": """e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1, e) / (1 + e)""",
    "silu": """e = np.exp(-np.abs(x))
    return np.maximum(x, -1000) * np.where(x >= 0, 1, e) / (1 + e)""",
    "softplus": "return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))",
    "softsign": "return x / (1 + np.abs(x))",
    "step": "return np.heaviside(x, 0)",
    "total": """for scale in 1, 2.0**-64:  # smaller where a sum on the way overflows
        high, low = scale * x, 0
        while high.shape[1] > 1:
            if high.shape[1] % 2:
                high = np.append(high, np.zeros_like(high[:, :1]), axis=1)
            a, b = high[:, ::2], high[:, 1::2]
            high = a + b
            z = high - a
            low = low + ((a - (high - z)) + (b - z)).sum(axis=1)  # what the additions round off
        y = (high[:, 0] + low) / scale
        if np.isfinite(y).all():
            break
    return y""",
    "where": "return np.where(c > 0, x, np.where(c <= 0, y, np.nan))",
}
DEFINED_HERE = {key_of(name): name for name in DEFINITIONS}
#: their arguments, where these are not x alone
SIGNATURES = {
    "atan2": "x, y",
    "quotient": "x, y",
    "where": "c, x, y",
    "elu": "x, alpha",
    "leaky_relu": "x, slope",
    "logsumexp": "*xs",
}

#: names that mean something in the text already
RESERVED = {
    "np",
    "jax",
    "jnp",
    "absolute",
    "atan2",
    "quotient",
    "rounded",
    "len",
    "OPERATIONS",
    "OWN",
    "FAMILIES",
    "theta",
    "p",
    "share",
    "N",
    "value",
    "gradient",
    "results",
    *DEFINITIONS,
}


@dataclass(frozen=True)
class Dialect:
    """A way to write arrays: NumPy's, or that of a package with its names.

    np: what the text calls the module of the functions.  dtype: of new arrays.  written: how each operation is written.
    defined_here: those whose functions the text defines, with the name; definitions: by that name, their lines.
    """

    np: str
    dtype: str
    written: Mapping[Any, Spelling]
    defined_here: Mapping[Any, str]
    definitions: Mapping[str, str]


NUMPY = Dialect("np", "float", WRITTEN, DEFINED_HERE, DEFINITIONS)
