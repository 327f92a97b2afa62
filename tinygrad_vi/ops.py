"""The table of elementary operations.

One row holds all that is known of an operation: its value on floats, its partial derivatives, how people write it,
where it is defined, what is agreed at its corners.  Everything else (eager gradients, forward mode, higher
derivatives, trace tables, LaTeX, drawings, tests) is read off the table, so a new operation is one new row.  What
NumPy, SymPy, PyTorch and JavaScript call the operations stands beside what speaks to them, under the row.

A rule for partials is called as ``partials(out, *operands)`` and returns one derivative for each operand.  It uses
only arithmetic and functions of this table, so one rule serves three readers: given floats it returns numbers, given
Values it returns new Values (second derivatives), given symbols it returns formulas.

Rules are chosen not to cancel.  ``tanh'(20)`` is ``sech(20)**2 = 1.7e-17`` and not ``1 - tanh(20)**2``, which is 0;
that is why the table has the rows ``sech``, ``semicircle`` and ``bell``, which mostly other rows need.

Functions raise DomainError outside their domain and where they overflow.  Plain arithmetic (+ - * / and `dot`)
overflows to infinity as floats do; `Value.backward` then names the node where that happened.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from functools import wraps
from typing import Any

from tinygrad_vi import floats
from tinygrad_vi.checks import DomainError
from tinygrad_vi.far_partials import negative_power_partials, quotient_partials
from tinygrad_vi.rows import (
    BUILT_IN,
    FAMILIES,
    OPERATIONS,
    Function,
    Operation,
    Rule,
    _latex_call,
    apply,
    family,
    latex_number,
    new_row,
    row,
    write_constant,
)

__all__ = [
    "abs_", "acos", "acosh", "add", "asin", "asinh", "atan", "atan2", "atanh", "bell", "cbrt", "ceil", "cos",
    "cosh", "div", "dot_row", "erf", "erfc", "erfinv", "exp", "expm1", "exponential", "floor", "floordiv", "gelu",
    "hypot", "log", "log1p", "log2", "log10", "maximum", "minimum", "mod", "mul", "ndtri", "neg", "pow_", "power",
    "relu", "round_", "sech", "semicircle", "sigmoid", "sign", "silu", "sin", "sinh", "softplus", "softsign",
    "sqrt", "step", "stop_gradient", "sub", "tan", "tanh", "where",
]  # fmt: skip


def __dir__() -> list[str]:
    return [*__all__]


LOG2_E, LOG10_E = math.log2(math.e), math.log10(math.e)
HALF_SQRT_PI, SQRT_TWO_PI = 0.5 * math.sqrt(math.pi), math.sqrt(2.0 * math.pi)


# --- The table --------------------------------------------------------------------------------------------------------
# row(name, value on floats, partials, "formula.  Derivative.", then how it is written, where it is defined, and points
# to test it at).  ``taught`` is the derivative of textbooks, where the rule is written differently.  See `Operation`.

# NaN in, NaN out: conditions are written so that a NaN never takes a branch that gives a number.

# points to test at: ordinary ones, tiny numbers; rows add both tails and both sides of each corner
TINY = (1e-300, -1e-300, 1e-9, -1e-9)
PLAIN = (-3.2, -1.5, -0.4, 0.3, 0.75, 2.0, 4.6)
ANYWHERE = (*TINY, *PLAIN, 0.0)

# forward declarations: rows that the rules of earlier rows use
pow_: Function
ceil: Function
stop_gradient: Function
abs_: Function
where: Any
log: Any
bell: Function
cos: Function
semicircle: Function
cosh: Function
sech: Function
sign: Function
hypot: Function
floordiv: Function

# arithmetic
add = row("add", operator.add, (1.0, 1.0), "x + y.  Partials 1, 1.",
          symbol="+", text="{0} + {1}", latex="{0} + {1}", binds=1, arity=2,
          role="add: distributor",
          points=[(2.0, 3.0), (-1e308, 5e307), (1e-300, 2e-300)])  # fmt: skip
sub = row("sub", operator.sub, (1.0, -1.0), "x - y.  Partials 1, -1.",
          symbol="-", text="{0} - {1}", latex="{0} - {1}", binds=1, arity=2,
          role="subtract: distributor, second negated",
          points=[(2.0, 3.5), (-1e308, -5e307), (1e-300, 3e-300)])  # fmt: skip
mul = row("mul", operator.mul, lambda out, x, y: (y, x), "x * y.  Partials y, x.",
          symbol="*", text="{0} * {1}", latex=r"{0} \cdot {1}", binds=2, arity=2,
          role="multiply: swap",
          points=[(2.0, 3.0), (-1e200, 1e100), (1e-200, -1e-100), (0.0, 4.0)])  # fmt: skip
div = row("div", operator.truediv, quotient_partials, "x / y.  Partials 1/y, -x/y**2.",
          flows=lambda flow, out, x, y: (flow / y, -(flow * out) / y),
          symbol="/", text="{0} / {1}", latex=r"\frac{{{0}}}{{{1}}}", binds=2, arity=2, domain="y != 0",
          points=[(2.0, 3.0), (-1e150, 1e-100), (1e-150, 1e60), (0.0, -4.0), (1e150, -1e100)])  # fmt: skip
neg = row("neg", operator.neg, (-1.0,), "-x.  Derivative -1.",
          symbol="-", text="-{0}", latex="-{0}", binds=3, points=[2.0, -1e300])  # fmt: skip
pow_ = row(  # where() changes the exponent at 0**0 only: y - 1 would give 0 * infinity
    "pow", math.pow,
    lambda out, x, y: (y * pow_(x, where(abs_(x) + abs_(y), y - 1.0, 0.0)), _power_times_log(out, x, y)),
    "x ** y.  Partials y * x**(y - 1) and x**y * log(x); the second is 0 at x = 0 < y.",
    symbol="**", text="{0} ** {1}", latex="{0}^{{{1}}}", binds=4, arity=2,
    domain="x > 0, or x = 0 and y >= 0, or x < 0 and an integer y",
    corners={(0.0, 2.0): (0.0, 0.0)},
    taught=lambda out, x, y: (y * x ** (y - 1.0), out * log(x)),
    points=[(2.0, 3.0), (0.3, -1.7), (1e-100, 2.5), (1e100, -2.5), (7.0, 0.0), (1.0, 3.0), (5.0, 1.0)],
)  # fmt: skip

mod = row("mod", operator.mod, lambda out, x, y: (1.0, -floordiv(x, y)),
          "x % y: what is left of x, with the sign of y.  Partials 1, -floor(x/y), at the jumps too.",
          symbol="%", text="{0} % {1}", latex=r"{0} \bmod {1}", binds=2, arity=2, domain="y != 0",
          points=[(7.5, 2.0), (-7.5, 2.0), (7.5, -2.0), (1e-300, 3e-301), (-3.0, 1e10)])  # fmt: skip
floordiv = row("floordiv", operator.floordiv, (0.0, 0.0),
               "x // y, the largest whole number not above x/y.  Partials 0, at the jumps too.",
               symbol="//", text="{0} // {1}", latex=r"\left\lfloor\frac{{{0}}}{{{1}}}\right\rfloor", binds=2,
               arity=2, domain="y != 0", points=[(7.5, 2.0), (-7.5, 2.0), (7.5, -2.0), (1e-300, 3e-301)])  # fmt: skip

# exponentials and logarithms
exp = row("exp", math.exp, lambda out, x: (out,), "e ** x.  Derivative e ** x.",
          latex="e^{{{0}}}", points=[*ANYWHERE, -700.0, 700.0])  # fmt: skip
expm1 = row("expm1", math.expm1, lambda out, x: (exp(x),), "e**x - 1, exact near 0.  Derivative e ** x.",
            points=[*ANYWHERE, -700.0, 700.0])  # fmt: skip
_log_row = row("log", math.log, lambda out, x: (1.0 / x,), "The natural logarithm of x.  Derivative 1/x.",
               latex=r"\ln\left({0}\right)", domain="x > 0", points=[1e-150, 1e-9, 0.3, 1.5, 7.0, 1e150])  # fmt: skip
log1p = row("log1p", math.log1p, lambda out, x: (1.0 / (1.0 + x),), "log(1 + x), exact near 0.  Derivative 1/(1 + x).",
            latex=r"\ln\left(1 + {0}\right)", domain="x > -1",
            points=[*TINY, -0.999, -0.4, 0.3, 7.0, 1e150])  # fmt: skip
log2 = row("log2", math.log2, lambda out, x: (LOG2_E / x,),
           "The logarithm of x to base 2, exact for powers of 2.  Derivative 1/(x*log(2)).",
           taught=lambda out, x: (1.0 / (x * math.log(2.0)),),
           latex=r"\log_2\left({0}\right)", domain="x > 0", points=[1e-150, 1e-9, 0.3, 1.5, 8.0, 1e150])  # fmt: skip
log10 = row("log10", math.log10, lambda out, x: (LOG10_E / x,),
            "The logarithm of x to base 10, exact for powers of 10.  Derivative 1/(x*log(10)).",
            taught=lambda out, x: (1.0 / (x * math.log(10.0)),),
            latex=r"\log_{{10}}\left({0}\right)", domain="x > 0",
            points=[1e-150, 1e-9, 0.3, 1.5, 1000.0, 1e150])  # fmt: skip
sqrt = row("sqrt", math.sqrt, lambda out, x: (0.5 / out,), "The square root of x.  Derivative 1/(2*sqrt(x)).",
           latex=r"\sqrt{{{0}}}", domain="x >= 0", points=[1e-150, 1e-9, 0.3, 2.0, 7.0, 1e150])  # fmt: skip

cbrt = row("cbrt", floats.cbrt, lambda out, x: (1.0 / (3.0 * (out * out)),),
           "The real cube root of x.  Derivative 1/(3*cbrt(x)**2).",
           taught=lambda out, x: (1.0 / (3.0 * out**2),),
           latex=r"\sqrt[3]{{{0}}}", points=[-1e150, -7.0, -1e-9, 1e-150, 0.3, 2.0, 8.0, 1e300])  # fmt: skip
hypot = row("hypot", floats.hypot, lambda out, x, y: (_slope_of_hypot(out, x, y), _slope_of_hypot(out, y, x)),
            "sqrt(x*x + y*y), the distance from the origin, of any size.  Partials x/hypot(x, y), y/hypot(x, y).",
            taught=lambda out, x, y: (x / out, y / out),
            latex=r"\sqrt{{\left({0}\right)^2 + \left({1}\right)^2}}", arity=2,
            points=[(3.0, 4.0), (-0.4, 0.3), (1e-200, 3e-200), (-1e200, 1e100), (2.0, 0.0), (0.0, -2.0),
                    (1e8, 1.0)])  # fmt: skip


# circular and hyperbolic functions
sin = row("sin", math.sin, lambda out, x: (cos(x),), "The sine of x radians.  Derivative cos(x).",
          latex=r"\sin\left({0}\right)", domain="a finite x", points=[*ANYWHERE, 1e6])  # fmt: skip
cos = row("cos", math.cos, lambda out, x: (-sin(x),), "The cosine of x radians.  Derivative -sin(x).",
          latex=r"\cos\left({0}\right)", domain="a finite x", points=[*ANYWHERE, 1e6])  # fmt: skip
tan = row("tan", math.tan, lambda out, x: (1.0 + out * out,), "The tangent of x radians.  Derivative 1 + tan(x)**2.",
          latex=r"\tan\left({0}\right)", domain="a finite x",
          taught=lambda out, x: (1.0 + out**2,),
          points=[*ANYWHERE, 1e6])  # fmt: skip
asin = row("asin", math.asin, lambda out, x: (1.0 / semicircle(x),),
           "The angle whose sine is x.  Derivative 1/sqrt(1 - x*x).",
           latex=r"\arcsin\left({0}\right)", domain="-1 <= x <= 1",
           taught=lambda out, x: (1.0 / sqrt(1.0 - x**2),),
           points=[*TINY, -0.999999, -0.4, 0.3, 0.75, 1.0 - 1e-15])  # fmt: skip
acos = row("acos", math.acos, lambda out, x: (-1.0 / semicircle(x),),
           "The angle whose cosine is x.  Derivative -1/sqrt(1 - x*x).",
           latex=r"\arccos\left({0}\right)", domain="-1 <= x <= 1",
           taught=lambda out, x: (-1.0 / sqrt(1.0 - x**2),),
           points=[*TINY, -0.999999, -0.4, 0.3, 0.75, 1.0 - 1e-15])  # fmt: skip
semicircle = row("semicircle", lambda x: math.sqrt((1.0 - x) * (1.0 + x)), lambda out, x: (-x / out,),
                 "sqrt(1 - x*x), the upper half of the unit circle, exact near x = 1.  Derivative -x/semicircle(x).",
                 latex=r"\sqrt{{1 - \left({0}\right)^2}}", domain="-1 <= x <= 1",
                 points=[*TINY, -0.999999, -0.4, 0.3, 0.75, 1.0 - 1e-15])  # fmt: skip
atan = row("atan", math.atan, lambda out, x: (_slope_of_atan(x),),
           "The angle whose tangent is x.  Derivative 1/(1 + x*x).",
           latex=r"\arctan\left({0}\right)",
           taught=lambda out, x: (1.0 / (1.0 + x**2),),
           points=[*ANYWHERE, -1e50, 1e50, -7e82, 1e160])  # fmt: skip
atan2 = row("atan2", lambda x, y: math.atan2(x + 0.0, y + 0.0), lambda out, x, y: _slopes_of_atan2(x, y),
            "The angle of the point whose height is x and whose width is y; -0.0 is 0.0 for both.  Partials "
            "y/(x*x + y*y), -x/(x*x + y*y).",
            taught=lambda out, x, y: (y / (x**2 + y**2), -x / (x**2 + y**2)),
            latex=r"\operatorname{{atan2}}\left({0}, {1}\right)", arity=2,
            points=[(3.0, 4.0), (0.3, -0.4), (-3.0, -2.0), (1e-200, 3e-200), (-1e150, 1e100), (0.0, 2.0),
                    (-2.0, 0.0)])  # fmt: skip
sinh = row("sinh", math.sinh, lambda out, x: (cosh(x),), "(e**x - e**-x) / 2.  Derivative cosh(x).",
           latex=r"\sinh\left({0}\right)", points=[*ANYWHERE, -700.0, 700.0])  # fmt: skip
cosh = row("cosh", math.cosh, lambda out, x: (sinh(x),), "(e**x + e**-x) / 2.  Derivative sinh(x).",
           latex=r"\cosh\left({0}\right)", points=[*ANYWHERE, -700.0, 700.0])  # fmt: skip
tanh = row("tanh", math.tanh, lambda out, x: (sech(x) * sech(x),), "sinh(x) / cosh(x).  Derivative sech(x)**2.",
           latex=r"\tanh\left({0}\right)",
           taught=lambda out, x: (1.0 - out**2,),
           points=[*ANYWHERE, -300.0, -20.0, 20.0, 300.0])  # fmt: skip
sech = row("sech", floats.sech, lambda out, x: (-out * tanh(x),), "1 / cosh(x).  Derivative -sech(x) * tanh(x).",
           points=[*ANYWHERE, -700.0, -20.0, 20.0, 700.0])  # fmt: skip

asinh = row("asinh", math.asinh, lambda out, x: (1.0 / hypot(1.0, x),),
            "The number whose sinh is x.  Derivative 1/sqrt(1 + x*x).",
            taught=lambda out, x: (1.0 / sqrt(1.0 + x**2),),
            latex=r"\operatorname{{arsinh}}\left({0}\right)", points=[*ANYWHERE, -1e150, 1e200])  # fmt: skip
acosh = row("acosh", math.acosh, lambda out, x: (1.0 / (sqrt(x - 1.0) * sqrt(x + 1.0)),),
            "The number of at least 0 whose cosh is x.  Derivative 1/sqrt(x*x - 1).",
            taught=lambda out, x: (1.0 / sqrt(x**2 - 1.0),), domain="x >= 1",
            latex=r"\operatorname{{arcosh}}\left({0}\right)", points=[1.0 + 1e-9, 1.5, 2.0, 4.6, 1e150])  # fmt: skip
atanh = row("atanh", math.atanh, lambda out, x: (1.0 / (semicircle(x) * semicircle(x)),),
            "The number whose tanh is x.  Derivative 1/(1 - x*x).",
            taught=lambda out, x: (1.0 / (1.0 - x**2),), domain="-1 < x < 1",
            latex=r"\operatorname{{artanh}}\left({0}\right)",
            points=[*TINY, -0.999999, -0.4, 0.3, 0.75, 1.0 - 1e-15])  # fmt: skip

# the normal distribution's family
bell = row("bell", floats.bell, lambda out, x: (-_within(x, 40.0) * out,),
           "exp(-x*x/2), the bell curve, exact in its tails.  Derivative -x * bell(x).",
           taught=lambda out, x: (-x * out,),
           latex=r"e^{{-\left({0}\right)^2 / 2}}", points=[*ANYWHERE, -37.0, -10.0, 10.0, 37.0])  # fmt: skip
erf = row("erf", math.erf, lambda out, x: (floats.TWO_OVER_SQRT_PI * bell(x) * bell(x),),
          "The error function, 2/sqrt(pi) * integral of exp(-t*t) over 0..x.  Derivative 2/sqrt(pi) * exp(-x*x).",
          taught=lambda out, x: (floats.TWO_OVER_SQRT_PI * exp(-(x**2)),),
          points=[*ANYWHERE, -26.0, 26.0])  # fmt: skip
erfc = row("erfc", math.erfc, lambda out, x: (-floats.TWO_OVER_SQRT_PI * bell(x) * bell(x),),
           "1 - erf(x), exact for large x.  Derivative -2/sqrt(pi) * exp(-x*x).",
           taught=lambda out, x: (-floats.TWO_OVER_SQRT_PI * exp(-(x**2)),),
           points=[*ANYWHERE, -26.0, 26.0])  # fmt: skip
erfinv = row("erfinv", lambda x: floats.normal_quantile(0.5 * x, 0.5 * (1.0 - abs(x))) * floats.SQRT_HALF,
             lambda out, x: (HALF_SQRT_PI / (bell(out) * bell(out)) * _as_of_erfc(out, x),),
             "The number whose erf is x.  Derivative sqrt(pi)/2 * exp(erfinv(x)**2).", domain="-1 < x < 1",
             taught=lambda out, x: (HALF_SQRT_PI * exp(out**2),),
             latex=r"\operatorname{{erf}}^{{-1}}\left({0}\right)",
             points=[*TINY, -0.999999, -0.4, 0.3, 0.75, 0.9, 1.0 - 1e-15])  # fmt: skip
ndtri = row("ndtri", lambda x: floats.normal_quantile(x - 0.5, min(x, 1.0 - x)),
            lambda out, x: (SQRT_TWO_PI / bell(out) * _as_of_ndtr(out, x),),
            "The quantile of the standard normal distribution, the z with P(N <= z) = x.  Derivative "
            "sqrt(2*pi) * exp(z*z/2).", domain="0 < x < 1",
            taught=lambda out, x: (SQRT_TWO_PI * exp(0.5 * out**2),),
            latex=r"\Phi^{{-1}}\left({0}\right)",
            points=[1e-300, 1e-12, 1e-4, 0.05, 0.3, 0.75, 0.95, 1.0 - 1e-9])  # fmt: skip

# activations
sigmoid = row("sigmoid", floats.sigmoid, lambda out, x: (0.25 * sech(0.5 * x) * sech(0.5 * x),),
              "1 / (1 + e**-x).  Derivative sigmoid(x) * (1 - sigmoid(x)) = sech(x/2)**2 / 4.",
              symbol="σ", latex=r"\sigma\left({0}\right)",
              taught=lambda out, x: (out * (1.0 - out),),
              points=[*ANYWHERE, -700.0, -40.0, 40.0, 700.0])  # fmt: skip
softplus = row("softplus", floats.softplus, lambda out, x: (sigmoid(x),), "log(1 + e**x).  Derivative sigmoid(x).",
               points=[*ANYWHERE, -700.0, -40.0, 40.0, 1e300])  # fmt: skip
silu = row("silu", lambda x: max(x, -1000.0) * floats.sigmoid(x) if x == x else x,
           lambda out, x: (sigmoid(x) * (1.0 + _within(x, 800.0) * sigmoid(-x)),),
           "x * sigmoid(x), also called swish.  Derivative sigmoid(x) * (1 + x * sigmoid(-x)).",
           taught=lambda out, x: (sigmoid(x) * (1.0 + x * sigmoid(-x)),),
           symbol="SiLU", points=[*ANYWHERE, -700.0, -40.0, 40.0, 1e300])  # fmt: skip
gelu = row("gelu", floats.gelu,
           lambda out, x: (
               0.5 * erfc(-x * floats.SQRT_HALF) + floats.ONE_OVER_SQRT_TWO_PI * _within(x, 40.0) * bell(x),
           ),
           "x * P(N <= x) for a standard normal N.  Derivative P(N <= x) + x * density(x).",
           taught=lambda out, x: (
               0.5 * erfc(-x * floats.SQRT_HALF) + floats.ONE_OVER_SQRT_TWO_PI * x * exp(-0.5 * x * x),
           ),
           symbol="GELU", points=[*ANYWHERE, -37.0, -10.0, -0.7518, 10.0, 1e150])  # fmt: skip
step = row("step", lambda x: (0.0 if x <= 0.0 else 1.0) if x == x else x, (0.0,),
           "1 for x > 0, else 0.  Derivative 0, at the jump too.",
           corners={0.0: 0.0}, points=[*PLAIN, *TINY])  # fmt: skip
relu = row("relu", lambda x: 0.0 if x <= 0.0 else x, lambda out, x: (step(x),), "max(x, 0).  Derivative step(x).",
           symbol="ReLU", role="max: router", corners={0.0: 0.0}, points=[*PLAIN, *TINY, 1e300])  # fmt: skip
abs_ = row("abs", abs, lambda out, x: (step(x) - step(-x),), "The magnitude of x.  Derivative the sign of x.",
           symbol="|·|", latex=r"\left|{0}\right|", corners={0.0: 0.0},
           taught=lambda out, x: (x / out,), points=[*PLAIN, *TINY, -1e300])  # fmt: skip

softsign = row("softsign", lambda x: x / (1.0 + abs(x)), lambda out, x: (_square(1.0 / (1.0 + abs_(x))),),
               "x / (1 + |x|).  Derivative 1/(1 + |x|)**2.",
               latex=r"\frac{{{0}}}{{1 + \left|{0}\right|}}", domain="a finite x",
               taught=lambda out, x: (1.0 / (1.0 + abs_(x)) ** 2,),
               points=[*TINY, *PLAIN, -1e100, 1e100])  # fmt: skip
sign = row("sign", floats.sign, (0.0,), "-1, 0 or 1, as x is below, at or above 0.  Derivative 0, at the jump too.",
           latex=r"\operatorname{{sgn}}\left({0}\right)", corners={0.0: 0.0},
           points=[*PLAIN, *TINY, -1e300])  # fmt: skip
floor = row("floor", floats.floor, (0.0,), "The largest whole number not above x.  Derivative 0, at the jumps too.",
            latex=r"\left\lfloor {0} \right\rfloor", corners={2.0: 0.0}, points=[*PLAIN, *TINY, 1e300])  # fmt: skip
ceil = row("ceil", floats.ceil, (0.0,), "The smallest whole number not below x.  Derivative 0, at the jumps too.",
           latex=r"\left\lceil {0} \right\rceil", corners={2.0: 0.0}, points=[*PLAIN, *TINY, 1e300])  # fmt: skip
round_ = row("round", floats.rint, (0.0,),
             "The whole number nearest to x, the even one of two.  Derivative 0, at the jumps too.",
             corners={2.5: 0.0}, points=[*PLAIN, *TINY, 1e300])  # fmt: skip

stop_gradient = row("stop_gradient", lambda x: x, (0.0,), "x, taken for a constant.  Derivative 0.",
                    symbol="stop", points=[*PLAIN, *TINY, 1e300])  # fmt: skip

# choices
maximum = row("maximum", lambda x, y: x if x >= y or x != x else y, lambda out, x, y: (_share(x - y), _share(y - x)),
              "The larger of x and y, which gets the gradient.",
              symbol="max", latex=r"\max\left({0}, {1}\right)", arity=2,
              role="max: router", corners={(3.0, 3.0): (0.5, 0.5)},
              taught=lambda out, x, y: (step(x - y), step(y - x)),
              points=[(2.0, 3.0), (3.0, 2.0), (-1e300, 1e-300)])  # fmt: skip
minimum = row("minimum", lambda x, y: x if x <= y or x != x else y, lambda out, x, y: (_share(y - x), _share(x - y)),
              "The smaller of x and y, which gets the gradient.",
              symbol="min", latex=r"\min\left({0}, {1}\right)", arity=2,
              role="min: router", corners={(3.0, 3.0): (0.5, 0.5)},
              taught=lambda out, x, y: (step(y - x), step(x - y)),
              points=[(2.0, 3.0), (3.0, 2.0), (-1e300, 1e-300)])  # fmt: skip
_where_row = row("where", lambda c, x, y: (x if c > 0.0 else y) if c == c else c,
                 lambda out, c, x, y: (0.0, where(c, 1.0, 0.0), where(c, 0.0, 1.0)),
                 "x where c > 0 and y elsewhere; NaN where c is.  The gradient flows to the chosen one, c gets 0.",
                 latex=r"\begin{{cases}}{1} & {0} > 0\\{2} & \text{{else}}\end{{cases}}", arity=3,
                 corners={(0.0, 2.0, 3.0): (0.0, 0.0, 1.0)},
                 points=[(1.0, 2.0, 3.0), (-1.0, 2.0, 3.0), (1e-300, 2.0, 3.0)])  # fmt: skip


# any number of operands in one node
total_row = row("total", floats.total, lambda out, *xs: (1.0,) * len(xs),
                 "The sum of all operands, rounded once.  Partials 1.",
                 symbol="Σ", text=" + ".join, latex=" + ".join, binds=1, arity=None, role="add: distributor",
                 domain="operands whose sum is a number",
                 points=[(1.0, 2.0, 4.0), (1e300, -1e300, 1e-9), (0.1,) * 10])  # fmt: skip
dot_row = row("dot", lambda *operands: floats.weighted_sum(*split(operands)),
               lambda out, *operands: dot_partials(*split(operands)),
               "w[0]*x[0] + ... + w[n-1]*x[n-1] + b with operands (*w, *x, b).  Partials x, w and 1.",
               symbol="·", role="multiply: swap", text=lambda operands: _write_dot(" * ", operands),
               latex=lambda operands: _write_dot(r" \cdot ", operands), binds=1, arity=None,
               points=[(2.0, 3.0, 1.0), (0.5, -1.5, 2.0, 4.0, 0.25)])  # fmt: skip
_logsumexp_row = row("logsumexp", floats.logsumexp, lambda out, *xs: _softmax(out, xs),
                     "log(e**x1 + ... + e**xn).  Partials softmax(x).",
                     symbol="LSE", arity=None, domain="at least one operand",
                     latex=lambda operands: r"\ln\left(" + " + ".join(f"e^{{{x}}}" for x in operands) + r"\right)",
                     taught=lambda out, *xs: tuple([exp(x - out) for x in xs]),
                     points=[(0.5, -1.5, 2.0), (1000.0, 999.0), (-1e5, -1e5 + 0.5), (3.0,)])  # fmt: skip


# --- What two functions do besides their rows -------------------------------------------------------------------------


def _log(x: Any, base: Any = None) -> Any:
    """The natural logarithm of x, or that to a base, log(x) / log(base).  Derivative 1/x, or 1/(x*log(base)).

    Floats give a float; a Value among the operands gives a recorded Value.

    Raises DomainError unless x > 0, base > 0 and base != 1.

    >>> log(1.0), log(8.0, 2), log(1000.0, 10)
    (0.0, 3.0, 3.0)
    """
    if base is None:
        return _log_row(x)
    if getattr(base, "data", base) == 1.0:
        raise DomainError(f"log(x, base) needs a base > 0 other than 1, got base = {base!r}")
    if not hasattr(base, "record") and base in (2.0, 10.0):
        return log2(x) if base == 2.0 else log10(x)
    return _log_row(x) / _log_row(base)


log = _log  # the function that people call: its row has no base
log.operation, log.__name__, log.__qualname__ = _log_row.operation, "log", "log"


@wraps(_where_row)
def _choose(*operands: Any) -> Any:
    if operands and operands[0].__class__ is int and operands[0] in (-1, -2):
        raise TypeError(
            f"where({operands[0]}, x, y): Python's ~ makes -1 of False and -2 of True, neither of which is above 0: "
            "for where(~c, x, y) write where(c, y, x), which numbers and Values understand, and c > 0 for a number c"
        )
    return apply(_where_row.operation, *operands)


where = _choose

# --- Rules that are too long for a row --------------------------------------------------------------------------------


def _power_times_log(out: Any, x: Any, y: Any) -> Any:
    """x**y * log(x); at x = 0 computed as x**(ceil(y) - 0.5), x**0.5 for x**1 * log(x), and refused for y = 0.

    At x = 0 both have the same derivatives: of order m by x and any order by y they are 0 for y > m, else infinite.
    """
    if out.__class__ is float and x != 0.0:
        return out * log(x)
    away = abs_(x)
    half = stop_gradient(ceil(y) - 0.5 - y)
    return where(away, out * log(where(away, x, 1.0)), pow_(where(away, 1.0, x), y + half))


def _slope_of_atan(x: Any) -> Any:
    """1/(1 + x*x); for |x| > 1 as (1/x) / (1/x + x), since x*x would overflow, and (1 + x*x)**2 even sooner."""
    far = abs_(x) - 1.0
    near_x, far_x = where(far, 0.0, x), where(far, x, 1.0)
    return where(far, (1.0 / far_x) / (1.0 / far_x + far_x), 1.0 / (1.0 + near_x * near_x))


def _slope_of_hypot(out: Any, x: Any, y: Any) -> Any:
    """x/out; if x is the larger one, as sign(x) * sqrt(1 - (y/out)**2), whose own derivative does not cancel."""
    larger = abs_(x) - abs_(y)
    return where(larger, sign(x) * semicircle(where(larger, y, 0.0) / out), x / out)


def _slopes_of_atan2(x: Any, y: Any) -> tuple[Any, Any]:
    """y/(x*x + y*y) and -x/(x*x + y*y), without the squares, which may overflow."""
    out = hypot(x, y)
    return (y / out) / out, -(x / out) / out


def _as_of_erfc(out: Any, x: Any) -> Any:
    """erfc(out) / (1 - x): 1, up to the rounding of out = erfinv(x), which exp(out*out) would magnify for large out."""
    far = abs_(x) - 0.5
    return where(far, erfc(where(far, abs_(out), 1.0)) / where(far, 1.0 - abs_(x), 1.0), 1.0)


def _as_of_ndtr(out: Any, x: Any) -> Any:
    """P(N <= out) / x, computed in the nearer tail: 1, up to the rounding of out = ndtri(x)."""
    far = abs_(x - 0.5) - 0.25
    left = where(far, -abs_(out), -1.0)
    return where(far, gelu(left) / left / where(far, minimum(x, 1.0 - x), 1.0), 1.0)


def _square(x: Any) -> Any:
    return x * x


def _within(x: Any, limit: float) -> Any:
    """x for |x| <= limit, else 0: there the other factor is 0, and x times a flow may be infinite, 0 * infinity NaN."""
    return where(abs_(x) - limit, 0.0, x)


def _share(difference: Any) -> Any:
    """1 for the winner, 0 for the loser, 1/2 for each in a tie.  A sum might be merged with other sums, and round."""
    return where(abs_(difference), step(difference), 0.5)


def split(operands: Sequence[Any]) -> tuple[Any, Any, Any]:
    """The operands of a `dot`, (*w, *x, b) as a node keeps them, as w, x and b."""
    n = len(operands) // 2
    return operands[:n], operands[n:-1], operands[-1]


def dot_partials(w: Sequence[Any], x: Sequence[Any], b: Any) -> tuple[Any, ...]:  # noqa: ARG001
    """The partials of b + w[0]*x[0] + ... by w, by x and by b."""
    return *x, *w, 1.0


def _write_dot(times: str, operands: Sequence[str]) -> str:
    w, x, b = split(operands)
    terms = [f"{u}{times}{v}" for u, v in zip(w, x, strict=True)]
    return " + ".join([*terms, b] if b else terms)


def _softmax(out: Any, xs: Sequence[Any]) -> tuple[Any, ...]:
    """exp(x - out) for each x.  Divided by their sum, which differs from 1 by the rounding of out."""
    weights = [exp(x - out) for x in xs]
    norm = total_row(*weights)
    return tuple([weight / norm for weight in weights])


# --- Families: one row for each constant ------------------------------------------------------------------------------


@family
def power(n: float) -> Operation:
    """The row of ``x**n`` for a constant n.  Its derivative is n * x**(n - 1), and 0 everywhere for n = 0."""
    if not math.isfinite(n):
        raise DomainError(f"x ** n needs a finite exponent, got n = {n}")
    exponent = write_constant(n)
    rule: Rule | tuple[float, ...] = lambda out, x: (n * x ** (n - 1.0),)  # noqa: E731
    if n in (0.0, 1.0):
        rule = (n,)
    elif n == 2.0:
        rule = lambda out, x: (2.0 * x,)  # noqa: E731
    elif n < 0.0:
        rule = negative_power_partials(n)
    flows = (lambda flow, out, x: (n * (flow * out / x),)) if n < 0.0 else None  # as for a quotient
    return new_row(
        "power", lambda x: math.pow(x, n), rule, f"x ** {exponent}.",
        symbol=f"**{exponent}", text=f"{{0}} ** {exponent}", binds=4,
        latex=lambda x: f"{x[0]}^{{{latex_number(exponent)}}}", constants=(n,),
        domain=("x != 0" if n < 0 else "a finite x") if n.is_integer() else ("x > 0" if n < 0 else "x >= 0"),
        corners={0.0: 0.0} if n == 0.0 else None, flows=flows,
        points=[0.3, 2.0, 1e30, 1e-30] + [-1.5, -7.0] * n.is_integer(),
    )  # fmt: skip


@family
def exponential(base: float) -> Operation:
    """The row of ``base**x`` for a constant base, 0 or more.  Its derivative is base**x * log(base).

    That of 0**x is 0 for x > 0; at x = 0, where 0**x falls from 1 to 0, there is none.  `pow` asks for the derivative
    by the base too, which at 0**0.5 is infinite.
    """
    if not 0.0 <= base < math.inf:
        raise DomainError(f"base ** x needs a finite base of at least 0, got base = {base}")
    base += 0.0  # -0.0 is 0.0
    shown, latex = write_constant(base), latex_number(write_constant(base))
    bracketed = rf"\left({latex}\right)" if "^" in latex else latex
    facts: dict[str, Any] = {"domain": "x >= 0", "points": [0.3, 2.0, 30.0]}
    rule: Rule | tuple[float, ...] = lambda out, x: (-out / x,)  # noqa: E731  # 0, and infinite at x = 0
    if base > 0.0:
        slope = math.log(base)
        rule = lambda out, x: (out * slope,)  # noqa: E731
        facts = {"domain": "a finite x", "points": [-30.0, -1.5, 0.0, 0.3, 2.0, 30.0]}
        # a symbol writes log(2) where log(2.0) would be a number
        facts["taught"] = lambda out, x: (out * getattr(out, "record", apply)(log.operation, base),)
    return new_row(
        "exponential", lambda x: math.pow(base, x), rule, f"{shown} ** x.",
        symbol=f"{shown}**", text=f"{shown} ** {{0}}", latex=lambda x: rf"{bracketed}^{{{x[0]}}}", binds=4,
        constants=(base,),
        **facts,
    )  # fmt: skip


@family
def _leaky_relu(slope: float) -> Operation:
    shown = write_constant(slope)
    usual: dict[str, Any] = {"text": "leaky_relu({0})", "latex": _latex_call("leaky_relu")} if slope == 0.01 else {}
    return new_row(
        "leaky_relu", lambda x: slope * x if x <= 0.0 else x, lambda out, x: (where(x, 1.0, slope),),
        f"x for x > 0, else {shown}*x.  Derivative 1 or {shown}.",
        symbol="LeakyReLU", constants=(slope,), corners={0.0: slope}, points=[*PLAIN, *TINY, -1e300], **usual,
    )  # fmt: skip


@family
def _elu(alpha: float) -> Operation:
    shown = write_constant(alpha)
    usual: dict[str, Any] = {"text": "elu({0})", "latex": _latex_call("elu")} if alpha == 1.0 else {}
    return new_row(
        "elu", lambda x: alpha * math.expm1(x) if x <= 0.0 else x,
        lambda out, x: (where(x, 1.0, alpha * exp(-relu(-x))),),
        f"x for x > 0, else {shown}*(e**x - 1).  Derivative 1 or {shown}*e**x.",
        symbol="ELU", constants=(alpha,), corners={0.0: alpha}, taught=lambda out, x: (where(x, 1.0, out + alpha),),
        points=[*PLAIN, *TINY, -700.0, 1e300], **usual,
    )  # fmt: skip


OPERATIONS["leaky_relu"] = _leaky_relu(0.01)
OPERATIONS["elu"] = _elu(1.0)
BUILT_IN.update(OPERATIONS, FAMILIES)
