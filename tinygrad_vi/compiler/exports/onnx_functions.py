"""What ONNX calls the operations, and how those that it lacks are composed.

Of its operators only those are used that onnxruntime has in double precision on a CPU, and that keep their digits in
the tails: its Sigmoid and Softplus do not, and of Erf, Tan, Asin, Atan, Sinh and their kin there is only single
precision.  The others are made of exp, log, sqrt, sin, cos and tanh, so that nothing cancels, in either precision.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any

from tinygrad_vi.compiler.exports.onnx_graph import Array, Graph, Size, together
from tinygrad_vi.compiler.numpy_text import CALL, POWER, PRODUCT, SUM, Dialect, Spelling, spelled
from tinygrad_vi.floats import SQRT_HALF, SQRT_HALF_REST, TWO_OVER_SQRT_PI
from tinygrad_vi.rows import key_of

#: erf(x)/x by powers of x*x, for |x| < 1/2
ERF = [TWO_OVER_SQRT_PI * (-1.0) ** n / (math.factorial(n) * (2 * n + 1)) for n in range(13)]
#: (1 + 2x) exp(x*x) erfc(x) for x >= 1/2, by powers of 1 - 7/(x + 3), which goes from -1 to 1: the Chebyshev series of
#: that function, whose further coefficients are below 3e-17
ERFC = [
    1.2329951186255526, -0.12216847723549216, -0.00349601351336805, 0.04665458534673934, -0.04180651066502432,
    0.02280179959895352, -0.008073603938186302, 0.001392061248248354, 0.0002474037645867584, -0.00019788758755849152,
    1.7479106033066675e-05, 1.8863175582506412e-05, -4.577267093106984e-06, -1.91349783026056e-06,
    7.238692145743006e-07, 2.4075179517811523e-07, -1.0510701831100815e-07, -3.8236916558829226e-08,
    1.4474555264394511e-08, 6.736432243400679e-09, -1.7615676194412514e-09, -1.0389267527961607e-09,
    1.6052239767552466e-10, 9.380350447146145e-11, -7.524702034433122e-12,
]  # fmt: skip
#: (1 - atan(x)/x)/(x*x) by powers of x*x, for |x| < 7/16 (fdlibm, Sun 1993)
ATAN = [
    3.33333333333329318027e-01, -1.99999999998764832476e-01, 1.42857142725034663711e-01, -1.11111104054623557880e-01,
    9.09088713343650656196e-02, -7.69187620504482999495e-02, 6.66107313738753120669e-02, -5.83357013379057348645e-02,
    4.97687799461593236017e-02, -3.65315727442169155270e-02, 1.62858201153657823623e-02,
]  # fmt: skip
#: the quotients of M. J. Wichura, Algorithm AS 241, 1988, as in `floats.normal_quantile`: middle, tail, far tail
QUANTILE = [
    (
        [3.3871328727963665, 133.14166789178438, 1971.5909503065513, 13731.69376550946, 45921.95393154987,
         67265.7709270087, 33430.57558358813, 2509.0809287301227],
        [1.0, 42.31333070160091, 687.1870074920579, 5394.196021424751, 21213.794301586597, 39307.89580009271,
         28729.085735721943, 5226.495278852854],
    ),
    (
        [1.4234371107496835, 4.630337846156546, 5.769497221460691, 3.6478483247632045, 1.2704582524523684,
         0.2417807251774506, 0.022723844989269184, 0.0007745450142783414],
        [1.0, 2.053191626637759, 1.6763848301838038, 0.6897673349851, 0.14810397642748008, 0.015198666563616457,
         0.0005475938084995345, 1.0507500716444169e-09],
    ),
    (
        [6.657904643501103, 5.463784911164114, 1.7848265399172913, 0.29656057182850487, 0.026532189526576124,
         0.0012426609473880784, 2.7115555687434876e-05, 2.0103343992922881e-07],
        [1.0, 0.599832206555888, 0.1369298809227358, 0.014875361290850615, 0.0007868691311456133,
         1.8463183175100548e-05, 1.421511758316446e-07, 2.0442631033899397e-15],
    ),
]  # fmt: skip

#: sqrt(1/2) in two halves
SQRT_HALF_HIGH = 134217729.0 * SQRT_HALF - (134217729.0 * SQRT_HALF - SQRT_HALF)
SQRT_HALF_LOW = SQRT_HALF - SQRT_HALF_HIGH
INF, NAN = math.inf, math.nan


class Functions:
    """What stands for the module jnp in a text for ONNX.  own: the user's row whose text is run, for the error."""

    inf, nan, pi, e = INF, NAN, math.pi, math.e

    def __init__(self, graph: Graph) -> None:
        self.graph, self.own = graph, ""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise ValueError(
            f"ONNX has no text for the operation {self.own!r}: its numpy= calls np.{name}, which is not made of ONNX's "
            "operators here; write it with arithmetic, np.exp, np.log, np.sqrt, np.where and the like"
        )

    def of(self, own: str) -> Functions:
        """The same for the text of one of the user's rows."""
        found = copy.copy(self)
        found.own = own
        return found

    # --- Arrays

    def array(self, numbers: Any, dtype: Any = None) -> Array:
        """Constants."""
        assert dtype in (None, self.graph.dtype)
        return self.graph.floats(numbers)

    def broadcast_to(self, x: Any, shape: Sequence[Size]) -> Array:
        """Repeated in a shape."""
        x = self.graph.read(x)
        return x if x.shape == tuple(shape) else self.graph.node("Expand", x, self.graph.sizes(shape), shape=shape)

    def full(self, shape: Size | Sequence[Size], x: Any, dtype: Any = None) -> Array:
        """One number everywhere."""
        assert dtype in (None, self.graph.dtype)
        return self.broadcast_to(x, shape if isinstance(shape, tuple) else (shape,))

    def zeros(self, shape: Size | Sequence[Size], dtype: Any = None) -> Array:
        """0 everywhere."""
        return self.full(shape, 0.0, dtype)

    def reshape(self, x: Any, shape: Any) -> Array:
        """The same numbers in another shape."""
        return self.graph.read(x).reshape(shape)

    def concatenate(self, parts: Sequence[Array], axis: int = 0) -> Array:
        """One behind the other."""
        if len(parts) == 1:
            return parts[0]
        first, sizes = parts[0].shape, [part.shape[axis] for part in parts]
        together = sum(size for size in sizes if isinstance(size, int))
        return self.graph.node("Concat", *parts, shape=(*first[:axis], together, *first[axis + 1 :]), axis=axis)

    def vstack(self, parts: Sequence[Any]) -> Array:
        """One behind the other, a number as a row of its own."""
        arrays = [self.graph.read(part) for part in parts]
        return self.concatenate([x if x.shape else x.reshape(1, 1) for x in arrays])

    def _one(self, op: str, x: Any, **attributes: Any) -> Array:
        x = self.graph.read(x)
        return self.graph.node(op, x, shape=x.shape, **attributes)

    def _polynomial(self, coefficients: Sequence[float], x: Array) -> Array:
        found = self.graph.floats(coefficients[-1])
        for c in coefficients[-2::-1]:
            found = found * x + c
        return found

    # --- Choices

    def where(self, condition: Any, x: Any, y: Any) -> Array:
        """x where the condition holds, else y."""
        x, y = self.graph.read(x), self.graph.read(y)
        if not isinstance(condition, Array):
            condition = self.graph.constant(self.graph.np.asarray(condition))
        shape = together(condition.shape, together(x.shape, y.shape))
        return self.graph.node("Where", condition, x, y, shape=shape)

    def choose(self, c: Any, x: Any, y: Any) -> Array:
        """The row `where`: x where c > 0, y where c <= 0; a c that is not a number gives none."""
        c = self.graph.read(c)
        return self.where(c > 0.0, x, self.where(c <= 0.0, y, NAN))

    def maximum(self, x: Any, y: Any) -> Array:
        """The larger one; not a number where one is none."""
        x, y = self.graph.read(x), self.graph.read(y)
        return self.where((x >= y) | ~(x == x), x, y)

    def minimum(self, x: Any, y: Any) -> Array:
        """The smaller one; not a number where one is none."""
        x, y = self.graph.read(x), self.graph.read(y)
        return self.where((x <= y) | ~(x == x), x, y)

    def sign(self, x: Any) -> Array:
        """1, -1, or x itself where it is 0 or not a number."""
        x = self.graph.read(x)
        return self.where(x > 0.0, 1.0, self.where(x < 0.0, -1.0, x))

    def step(self, x: Any) -> Array:
        """1 above 0, else 0."""
        x = self.graph.read(x)
        return self.where(x > 0.0, 1.0, self.where(x <= 0.0, 0.0, x))

    def isfinite(self, x: Any) -> Array:
        """Whether it is a number that is not infinite."""
        return self.abs(x) < INF

    def relu(self, x: Any) -> Array:
        """The larger one of x and 0."""
        x = self.graph.read(x)
        return self.where(x <= 0.0, 0.0, x)

    def leaky_relu(self, x: Any, slope: float) -> Array:
        """A part of x below 0."""
        x = self.graph.read(x)
        return self.where(x <= 0.0, slope * x, x)

    def elu(self, x: Any, alpha: float) -> Array:
        """alpha * (e**x - 1) below 0."""
        x = self.graph.read(x)
        return self.where(x <= 0.0, alpha * self.expm1(x), x)

    # --- Operators of ONNX

    def abs(self, x: Any) -> Array:
        """|x|."""
        return self._one("Abs", x)

    absolute = fabs = abs

    def exp(self, x: Any) -> Array:
        """e**x."""
        return self._one("Exp", x)

    def log(self, x: Any) -> Array:
        """The natural logarithm."""
        return self._one("Log", x)

    def sqrt(self, x: Any) -> Array:
        """The square root."""
        return self._one("Sqrt", x)

    def sin(self, x: Any) -> Array:
        """The sine."""
        return self._one("Sin", x)

    def cos(self, x: Any) -> Array:
        """The cosine."""
        return self._one("Cos", x)

    def tanh(self, x: Any) -> Array:
        """The hyperbolic tangent."""
        return self._one("Tanh", x)

    def floor(self, x: Any) -> Array:
        """Down to a whole number."""
        return self._one("Floor", x)

    def ceil(self, x: Any) -> Array:
        """Up to a whole number."""
        return self._one("Ceil", x)

    def rint(self, x: Any) -> Array:
        """The nearest whole number, of two the even one."""
        return self._one("Round", x)

    def positive(self, x: Any) -> Array:
        """x."""
        return self.graph.read(x)

    def square(self, x: Any) -> Array:
        """x * x."""
        return self.graph.read(x) ** 2

    def power(self, x: Any, y: Any) -> Array:
        """x ** y."""
        return self.graph.read(x).__pow__(y)

    # --- Exponentials and logarithms

    def expm1(self, x: Any) -> Array:
        """e**x - 1: (u - 1) * x / log(u) with u = e**x, where the roundings of u cancel (W. Kahan)."""
        x = self.graph.read(x)
        u = self.exp(x)
        d = u - 1.0
        return self.where(d == 0.0, x, self.where(self.abs(x) > 40.0, d, d * (x / self.log(u))))

    def log1p(self, x: Any) -> Array:
        """log(1 + x): log(u) * x / (u - 1) with u = 1 + x (W. Kahan)."""
        x = self.graph.read(x)
        u = 1.0 + x
        d = u - 1.0
        return self.where(d == 0.0, x, self.where(d == x, self.log(u), self.log(u) * (x / d)))

    def log2(self, x: Any) -> Array:
        """The logarithm to base 2."""
        return self.log(x) / math.log(2.0)

    def log10(self, x: Any) -> Array:
        """The logarithm to base 10."""
        return self.log(x) / math.log(10.0)

    def softplus(self, x: Any) -> Array:
        """log(1 + e**x) = max(x, 0) + log(1 + e**-|x|)."""
        x = self.graph.read(x)
        return self.relu(x) + self.log1p(self.exp(-self.abs(x)))

    def sigmoid(self, x: Any) -> Array:
        """1 / (1 + e**-x)."""
        x = self.graph.read(x)
        e = self.exp(-self.abs(x))
        return self.where(x >= 0.0, 1.0, e) / (1.0 + e)

    def silu(self, x: Any) -> Array:
        """x * sigmoid(x), of which the second factor is 0 below -1000."""
        x = self.graph.read(x)
        return self.where(x < -1000.0, -1000.0, x) * self.sigmoid(x)

    def softsign(self, x: Any) -> Array:
        """x / (1 + |x|)."""
        return self.graph.read(x) / (1.0 + self.abs(x))

    def sech(self, x: Any) -> Array:
        """1 / cosh(x)."""
        e = self.exp(-self.abs(x))
        return 2.0 * e / (1.0 + e * e)

    def sinh(self, x: Any) -> Array:
        """(e**x - e**-x)/2 = (E + E/(E + 1))/2 with E = e**|x| - 1; for large x a product."""
        x = self.graph.read(x)
        a = self.abs(x)
        E, half = self.expm1(a), self.exp(0.5 * a)
        return self.sign(x) * self.where(a > 40.0, (0.5 * half) * half, 0.5 * (E + E / (E + 1.0)))

    def cosh(self, x: Any) -> Array:
        """(e**x + e**-x)/2."""
        half = self.exp(0.5 * self.abs(x))
        return (0.5 * half) * half + (0.5 / half) / half

    def logsumexp(self, *xs: Any) -> Array:
        """The largest, and log(1 + the sum of the others' exp beside it)."""
        arrays = [self.graph.read(x) for x in xs]
        largest = arrays[0]
        for x in arrays[1:]:
            largest = self.maximum(largest, x)
        alike, rest = self.graph.read(-1.0), self.graph.read(0.0)
        for x in arrays:
            alike = alike + self.where(x == largest, 1.0, 0.0)
            rest = rest + self.where(x == largest, 0.0, self.exp(x - largest))
        return largest + self.log1p(alike + rest)

    # --- The normal distribution

    def _halves(self, a: Array) -> tuple[Array, Array]:
        """The first 26 bits of each number, and the others; in single precision 0 and all of them."""
        c = 134217729.0 * a
        high = c - (c - a)
        return high, a - high

    def _square(self, a: Array) -> tuple[Array, Array]:
        """a*a, and what its rounding took away (T. J. Dekker, 1971), which is 0 in single precision."""
        square = a * a
        high, low = self._halves(a)
        return square, ((high * high - square) + 2.0 * (high * low)) + low * low

    def bell(self, x: Any) -> Array:
        """exp(-x*x/2), the rounding of x*x brought back to first order."""
        a = self.abs(x)
        square, rounding = self._square(self.where(a > 40.0, 40.0, a))
        e = self.exp(-0.5 * square)
        return e - 0.5 * rounding * e

    def _far_erfc(self, a: Array) -> Array:
        """erfc for a >= 1/2."""
        square, rounding = self._square(self.where(a > 28.0, 28.0, a))
        e = self.exp(-square)
        return (e - rounding * e) * (self._polynomial(ERFC, 1.0 - 7.0 / (a + 3.0)) / (1.0 + 2.0 * a))

    def _near_erf(self, x: Array) -> Array:
        """erf for |x| < 1/2."""
        near = self.where(self.abs(x) > 0.5, 0.5, x)
        return near * self._polynomial(ERF, near * near)

    def erf(self, x: Any) -> Array:
        """The error function."""
        x = self.graph.read(x)
        a = self.abs(x)
        return self.where(a < 0.5, self._near_erf(x), self.sign(x) * (1.0 - self._far_erfc(a)))

    def erfc(self, x: Any) -> Array:
        """1 - erf(x), exact for large x."""
        x = self.graph.read(x)
        a = self.abs(x)
        far = self._far_erfc(a)
        return self.where(a < 0.5, 1.0 - self._near_erf(x), self.where(x < 0.0, 2.0 - far, far))

    def gelu(self, x: Any) -> Array:
        """x * erfc(-x/sqrt(2))/2."""
        x = self.graph.read(x)
        near = self.where(x < -40.0, -40.0, x)
        z = -SQRT_HALF * near
        high, low = self._halves(near)
        c = SQRT_HALF_HIGH * high + z  # what the rounding of z took away, as in `_square`
        rounding = (c + SQRT_HALF_LOW * high + SQRT_HALF_HIGH * low) + SQRT_HALF_LOW * low
        d = -SQRT_HALF_REST * near - rounding
        slope = self.where(x < -1.0, TWO_OVER_SQRT_PI * d * self.exp(-(z * z)), 0.0)
        return 0.5 * near * (self.erfc(z) - slope)

    def _normal_quantile(self, middle: Array, tail: Array) -> Array:
        """The x with P(N <= x) = 1/2 + middle; tail: 1/2 - |middle|."""

        def quotient(at: Array, which: int) -> Array:
            found: Array = self._polynomial(QUANTILE[which][0], at) / self._polynomial(QUANTILE[which][1], at)
            return found

        r = self.sqrt(-self.log(tail))
        far = self.where(r <= 5.0, quotient(r - 1.6, 1), quotient(r - 5.0, 2))
        near = self.abs(middle) <= 0.425
        return self.where(near, middle * quotient(0.180625 - middle * middle, 0), self.sign(middle) * far)

    def erfinv(self, x: Any) -> Array:
        """The number whose erf is x."""
        x = self.graph.read(x)
        a = self.abs(x)
        return self.where(a < 1.0, self._normal_quantile(0.5 * x, 0.5 * (1.0 - a)) * SQRT_HALF, NAN)

    def ndtri(self, x: Any) -> Array:
        """The z with P(N <= z) = x."""
        x = self.graph.read(x)
        found = self._normal_quantile(x - 0.5, self.where(x < 0.5, x, 1.0 - x))
        return self.where((x > 0.0) & (x < 1.0), found, NAN)

    # --- Angles

    def tan(self, x: Any) -> Array:
        """The tangent."""
        return self.sin(x) / self.cos(x)

    def _small_arctan(self, r: Array) -> Array:
        """atan for 0 <= r <= 1: twice that of the half angle, of which there is a polynomial."""
        t = r / (1.0 + self.sqrt(1.0 + r * r))
        z = t * t
        return 2.0 * (t - t * (z * self._polynomial(ATAN, z)))

    def arctan(self, x: Any) -> Array:
        """The angle whose tangent is x."""
        x = self.graph.read(x)
        a = self.abs(x)
        large = a > 1.0
        small = self._small_arctan(self.where(large, 1.0 / a, a))
        return self.sign(x) * self.where(large, math.pi / 2 - small, small)

    def arctan2(self, y: Any, x: Any) -> Array:
        """The angle of the point (x, y); -0.0 counts as 0.0."""
        y, x = self.graph.read(y), self.graph.read(x)
        a, b = self.abs(y), self.abs(x)
        larger, smaller = self.maximum(a, b), self.minimum(a, b)
        ratio = self.where(smaller == larger, self.where(larger == 0.0, 0.0, 1.0), smaller / larger)
        angle = self._small_arctan(ratio)
        angle = self.where(a > b, math.pi / 2 - angle, angle)
        angle = self.where(x < 0.0, math.pi - angle, angle)
        return self.where(y < 0.0, -angle, angle)

    def arcsin(self, x: Any) -> Array:
        """The angle whose sine is x."""
        x = self.graph.read(x)
        return 2.0 * self.arctan(x / (1.0 + self.semicircle(x)))

    def arccos(self, x: Any) -> Array:
        """The angle whose cosine is x."""
        x = self.graph.read(x)
        return 2.0 * self.arctan(self.sqrt((1.0 - x) / (1.0 + x)))

    def semicircle(self, x: Any) -> Array:
        """sqrt(1 - x*x), exact near |x| = 1."""
        x = self.graph.read(x)
        return self.sqrt((1.0 - x) * (1.0 + x))

    def arcsinh(self, x: Any) -> Array:
        """log(|x| + sqrt(x*x + 1)) with the sign of x."""
        x = self.graph.read(x)
        a = self.abs(x)
        near = self.log1p(a + a * a / (1.0 + self.sqrt(a * a + 1.0)))
        return self.sign(x) * self.where(a > 2.0**28, self.log(a) + math.log(2.0), near)

    def arccosh(self, x: Any) -> Array:
        """log(x + sqrt(x*x - 1)), which there is from 1 on."""
        x = self.graph.read(x)
        t = x - 1.0
        near = self.log1p(t + self.sqrt(2.0 * t + t * t))
        return self.where(x >= 1.0, self.where(x > 2.0**28, self.log(x) + math.log(2.0), near), NAN)

    def arctanh(self, x: Any) -> Array:
        """log((1 + x)/(1 - x))/2."""
        x = self.graph.read(x)
        a = self.abs(x)
        return self.sign(x) * (0.5 * self.log1p(2.0 * a / (1.0 - a)))

    # --- Others

    def cbrt(self, x: Any) -> Array:
        """The cube root: a power, and one step of Newton's method that takes its rounding away."""
        x = self.graph.read(x)
        a = self.abs(x)
        y = self.exp(self.log(a) / 3.0)
        y = y - (y - a / (y * y)) / 3.0
        return self.where((a == 0.0) | (a == INF), x, self.sign(x) * y)

    def hypot(self, x: Any, y: Any) -> Array:
        """sqrt(x*x + y*y), which need not overflow; infinite where one is."""
        a, b = self.abs(x), self.abs(y)
        larger = self.maximum(a, b)
        ratio = self.minimum(a, b) / larger
        found = self.where(larger == 0.0, 0.0, larger * self.sqrt(1.0 + ratio * ratio))
        return self.where((a == INF) | (b == INF), INF, found)

    def mod(self, x: Any, y: Any) -> Array:
        """What is left of x above a multiple of y, with the sign of y."""
        x, y = self.graph.read(x), self.graph.read(y)
        r = self.graph.node("Mod", x, y, shape=together(x.shape, y.shape), fmod=1)
        return self.where((r < 0.0) & (y > 0.0) | (r > 0.0) & (y < 0.0), r + y, r)

    def floor_divide(self, x: Any, y: Any) -> Array:
        """How many times y fits into x."""
        x, y = self.graph.read(x), self.graph.read(y)
        q = (x - self.mod(x, y)) / y
        whole = self.floor(q)
        return self.where(q - whole > 0.5, whole + 1.0, whole)

    def total(self, x: Array) -> Array:
        """The sum along the second axis; what the additions round off is added at the end."""
        low: Any = 0.0
        while isinstance(x.shape[1], int) and x.shape[1] > 1:
            if x.shape[1] % 2:
                x = self.concatenate([x, self.broadcast_to(0.0, (x.shape[0], 1, *x.shape[2:]))], axis=1)
            a, b = x[:, ::2], x[:, 1::2]
            x = a + b
            z = x - a
            low = low + ((a - (x - z)) + (b - z)).sum(axis=1)
        high = x[:, 0]
        return high + self.where(self.isfinite(high), low, 0.0)


#: rows with a name of their own here
NAMED = {
    **{name: name for name in (
        "bell", "erf", "erfc", "erfinv", "gelu", "ndtri", "sech", "semicircle", "sigmoid", "silu", "softplus",
        "softsign", "step", "relu",
    )},
    "where": "choose",
}  # fmt: skip
ONNX_WRITTEN: dict[Any, Spelling] = {
    **spelled("jnp"),
    **{key_of(row): (f"jnp.{name}({{}})", CALL, SUM) for row, name in NAMED.items()},
    key_of("atan2"): ("jnp.arctan2({}, {})", CALL, SUM),
    key_of("where"): ("jnp.choose({}, {}, {})", CALL, SUM),
    key_of("elu"): ("jnp.elu({}, {c})", CALL, SUM),
    key_of("leaky_relu"): ("jnp.leaky_relu({}, {c})", CALL, SUM),
    key_of("div"): ("{} / {}", PRODUCT, POWER),
}  # fmt: skip

#: functions of any number of arrays, of which the text makes one
ONNX_DEFINITIONS = {"logsumexp": "return jnp.logsumexp(*xs)", "total": "return jnp.total(x)"}

ONNX = Dialect("jnp", "theta.dtype", ONNX_WRITTEN, {key_of(name): name for name in ONNX_DEFINITIONS}, ONNX_DEFINITIONS)
