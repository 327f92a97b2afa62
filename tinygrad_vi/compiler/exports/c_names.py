"""What C calls the operations: functions of math.h, and definitions of those that it lacks."""

from __future__ import annotations

from typing import Any

from tinygrad_vi import floats
from tinygrad_vi.conditions import EQUAL, LESS, LESS_EQUAL
from tinygrad_vi.rows import key_of

#: from the texts of the operands to that of the result; {c} is the constant of a family
C_WRITTEN: dict[Any, str] = {
    **{
        key_of(name): f"{name}({{0}})"
        for name in (
            "exp", "expm1", "log", "log1p", "log2", "log10", "sqrt", "cbrt", "sin", "cos", "tan", "asin", "acos",
            "atan", "sinh", "cosh", "tanh", "asinh", "acosh", "atanh", "erf", "erfc", "floor", "ceil",
        )
    },
    **{row: f"({{0}} {sign} {{1}} ? 1.0 : 0.0)" for row, sign in ((LESS, "<"), (LESS_EQUAL, "<="), (EQUAL, "=="))},
    key_of("abs"): "fabs({0})",
    key_of("atan2"): "atan2({0} + 0.0, {1} + 0.0)",
    key_of("div"): "{0} / {1}",
    key_of("exponential"): "pow({c}, {0})",
    key_of("hypot"): "hypot({0}, {1})",
    key_of("pow"): "pow({0}, {1})",
    key_of("power"): "pow({0}, {c})",
    key_of("round"): "rint({0})",
    key_of("stop_gradient"): "{0}",
}  # fmt: skip

QUANTILE = f"""
static double normal_quantile(double middle, double tail) {{  /* M. J. Wichura, Algorithm AS 241, 1988 */
    double r, a, b;
    if (fabs(middle) <= 0.425) {{
        r = 0.180625 - middle * middle;
        a = 45921.95393154987 + r * (67265.7709270087 + r * (33430.57558358813 + r * 2509.0809287301227));
        a = 3.3871328727963665 + r * (133.14166789178438 + r * (1971.5909503065513 + r * (13731.69376550946 + r * a)));
        b = 21213.794301586597 + r * (39307.89580009271 + r * (28729.085735721943 + r * 5226.495278852854));
        b = 1.0 + r * (42.31333070160091 + r * (687.1870074920579 + r * (5394.196021424751 + r * b)));
        return middle * a / b;
    }}
    r = sqrt(-log(tail));
    if (r <= 5.0) {{
        r -= 1.6;
        a = 1.2704582524523684 + r * (0.2417807251774506 + r * (0.022723844989269184 + r * 0.0007745450142783414));
        a = 1.4234371107496835 + r * (4.630337846156546 + r * (5.769497221460691 + r * (3.6478483247632045 + r * a)));
        b = 0.14810397642748008 + r * (0.015198666563616457 + r * (0.0005475938084995345 + r * 1.0507500716444169e-09));
        b = 1.0 + r * (2.053191626637759 + r * (1.6763848301838038 + r * (0.6897673349851 + r * b)));
    }} else {{
        r -= 5.0;
        a = 0.026532189526576124 + r * (0.0012426609473880784
                                        + r * (2.7115555687434876e-05 + r * 2.0103343992922881e-07));
        a = 6.657904643501103 + r * (5.463784911164114 + r * (1.7848265399172913 + r * (0.29656057182850487 + r * a)));
        b = 0.0007868691311456133 + r * (1.8463183175100548e-05
                                         + r * (1.421511758316446e-07 + r * 2.0442631033899397e-15));
        b = 1.0 + r * (0.599832206555888 + r * (0.1369298809227358 + r * (0.014875361290850615 + r * b)));
    }}
    return copysign(a / b, middle);
}}
#define SQRT_HALF {floats.SQRT_HALF!r}
"""

X, XY = "double x", "double x, double y"
#: functions that C lacks, by the names of their rows: what they take, and their lines
C_DEFINITIONS: dict[str, tuple[str, str]] = {
    "bell": (X, "return exp(-0.5 * (x * x));"),
    "elu": ("double x, double alpha", "return x <= 0.0 ? alpha * expm1(x) : x;"),
    "erfinv": (X, "return fabs(x) < 1.0 ? normal_quantile(0.5 * x, 0.5 * (1.0 - fabs(x))) * SQRT_HALF : NAN;"),
    "floordiv": (XY, """double r = mod(x, y), q = (x - r) / y, whole = floor(q);
    return q - whole > 0.5 ? whole + 1.0 : whole;"""),
    "gelu": (X, "return x < -40.0 ? -0.0 : 0.5 * x * erfc(-0.7071067811865476 * x);"),
    "leaky_relu": ("double x, double slope", "return x <= 0.0 ? slope * x : x;"),
    "logsumexp": ("const double *x, size_t n", """size_t k, at = 0;
    double sum = 0.0;
    for (k = 0; k < n; ++k) if (x[k] > x[at] || x[k] != x[k]) at = k;
    if (!(fabs(x[at]) < INFINITY)) return x[at];
    for (k = 0; k < n; ++k) if (k != at) sum += exp(x[k] - x[at]);
    return x[at] + log1p(sum);"""),
    "maximum": (XY, "return x >= y || x != x ? x : y;"),
    "minimum": (XY, "return x <= y || x != x ? x : y;"),
    "mod": (XY, """double r = fmod(x, y);
    return r != 0.0 && (r < 0.0) != (y < 0.0) ? r + y : r;"""),
    "ndtri": (X, "return x > 0.0 && x < 1.0 ? normal_quantile(x - 0.5, fmin(x, 1.0 - x)) : NAN;"),
    "relu": (X, "return x <= 0.0 ? 0.0 : x;"),
    "sech": (X, """double e = exp(-fabs(x));
    return 2.0 * e / (1.0 + e * e);"""),
    "semicircle": (X, "return sqrt((1.0 - x) * (1.0 + x));"),
    "sigmoid": (X, """double e = exp(-fabs(x));
    return (x < 0.0 ? e : 1.0) / (1.0 + e);"""),
    "sign": (X, "return x > 0.0 ? 1.0 : x < 0.0 ? -1.0 : x;"),
    "silu": (X, "return (x < -1000.0 ? -1000.0 : x) * sigmoid(x);"),
    "softplus": (X, "return fmax(x, 0.0) + log1p(exp(-fabs(x)));"),
    "softsign": (X, "return x / (1.0 + fabs(x));"),
    "step": (X, "return x > 0.0 ? 1.0 : x <= 0.0 ? 0.0 : x;"),
    "total": ("const double *x, size_t n", """double sum = 0.0, low = 0.0;
    for (size_t k = 0; k < n; ++k) {  /* what the additions round off is added at the end (A. Neumaier, 1974) */
        double t = sum + x[k];
        low += fabs(sum) >= fabs(x[k]) ? (sum - t) + x[k] : (x[k] - t) + sum;
        sum = t;
    }
    return fabs(sum) < INFINITY ? sum + low : sum;"""),
    "where": ("double c, double x, double y", "return c > 0.0 ? x : c <= 0.0 ? y : c;"),
}  # fmt: skip
#: what a definition calls
C_NEEDS = {"silu": ("sigmoid",), "floordiv": ("mod",), "erfinv": ("normal_quantile",), "ndtri": ("normal_quantile",)}
C_DEFINED_HERE: dict[Any, str] = {key_of(name): name for name in C_DEFINITIONS}
C_WORDS = """
    auto break case char const continue default do double else enum extern float for goto if inline int long register
    restrict return short signed sizeof static struct switch typedef union unsigned void volatile while main size_t
    NAN INFINITY SQRT_HALF normal_quantile copysign fabs fmax fmin fmod hypot pow rint
"""
#: names that a function cannot have: C's own, and those of math.h that a text may call
C_TAKEN = {*C_WORDS.split()} | {text.split("(")[0] for text in C_WRITTEN.values() if text[0].isalpha()}
