"""The compiler's elementary functions against mpmath at 200 bits, in units of the last place."""

import json
import math
import os
import random
import re
import subprocess
import sys

import mpmath
import numpy as np
import pytest
from mpmath import mpf

numba = pytest.importorskip("numba")

from tinygrad_vi import rows  # noqa: E402
from tinygrad_vi.compiler import elementary  # noqa: E402

LARGEST = sys.float_info.max
INF, NAN = math.inf, math.nan
BITS = 200

#: name -> (definition, lowest and highest point, units in the last place allowed; the C library's own functions get some more)
FUNCTIONS = {
    "exp": (mpmath.exp, -745.0, 709.78, 1.0),
    "expm1": (mpmath.expm1, -745.0, 709.78, 2.0),
    "log": (mpmath.log, 5e-324, LARGEST, 1.0),
    "log1p": (mpmath.log1p, -1.0 + 2**-53, LARGEST, 1.0),
    "tanh": (mpmath.tanh, -30.0, 30.0, 2.5),
    "sech": (mpmath.sech, -745.0, 745.0, 2.5),
    "sigmoid": (lambda x: 1 / (1 + mpmath.exp(-x)), -745.0, 745.0, 2.5),
    "softplus": (lambda x: mpmath.log1p(mpmath.exp(x)), -745.0, 1e3, 2.0),
    "silu": (lambda x: x / (1 + mpmath.exp(-x)), -708.0, 1e3, 3.0),
    "sinh": (mpmath.sinh, -710.4, 710.4, 2.5),
    "cosh": (mpmath.cosh, -710.4, 710.4, 2.0),
    "sin": (mpmath.sin, -elementary.TRIG_LIMIT, elementary.TRIG_LIMIT, 1.5),
    "cos": (mpmath.cos, -elementary.TRIG_LIMIT, elementary.TRIG_LIMIT, 1.5),
    "tan": (mpmath.tan, -1e9, 1e9, 1.0),
    "asin": (mpmath.asin, -1.0, 1.0, 1.0),
    "acos": (mpmath.acos, -1.0, 1.0, 1.0),
    "atan": (mpmath.atan, -LARGEST, LARGEST, 1.0),
    "bell": (lambda x: mpmath.exp(-x * x / 2), -37.6, 37.6, 2.0),
    "semicircle": (lambda x: mpmath.sqrt((1 - x) * (1 + x)), -1.0, 1.0, 2.0),
    "erf": (mpmath.erf, -7.0, 7.0, 1.5),
    "erfc": (mpmath.erfc, -7.0, 26.5, 6.0),
    "erfinv": (mpmath.erfinv, -1.0 + 2**-53, 1.0 - 2**-53, 6.0),
    "ndtri": (lambda x: mpmath.sqrt(2) * mpmath.erfinv(2 * x - 1), 1e-12, 1.0 - 2**-53, 6.0),
    "gelu": (lambda x: x * mpmath.erfc(-x / mpmath.sqrt(2)) / 2, -37.4, 40.0, 8.0),
}
FROM_THE_C_LIBRARY = {"tan", "asin", "acos", "atan", "erf", "erfc", "gelu", "erfinv", "ndtri"}

every_function = pytest.mark.parametrize("name", FUNCTIONS)


def points(name, count):
    """Ordinary points, points of every size, and the neighbours of where the reduction changes its multiple."""
    _, low, high, _ = FUNCTIONS[name]
    rng = random.Random(name)
    middle = [rng.uniform(max(low, -40.0), min(high, 40.0)) for _ in range(count)]
    wide = [rng.uniform(low / 2, high / 2) * 2 for _ in range(count // 2)]
    sizes = [rng.choice((1, -1)) * 10.0 ** rng.uniform(-323, math.log10(high)) for _ in range(count // 2)]
    near_one = [1.0 + rng.choice((1, -1)) * 10.0 ** rng.uniform(-16, 0) for _ in range(count // 4)]
    step = math.pi / 4 if name in ("sin", "cos", "tan") else math.log(2.0) / 2
    changes = [math.ldexp(1.0, rng.randrange(20)) // step * step for _ in range(count // 8)]
    changes += [rng.randrange(-2200, 2200) * step for _ in range(count // 4)]
    corners = [low, high, 5e-324, -5e-324, 2.0**-1022, -(2.0**-1022), 1e-17, -1e-17, 1e-300, -1e-300, 0.0, -0.0, 1.0]
    drawn = [*middle, *wide, *sizes, *near_one, *changes, *corners]
    drawn += [math.nextafter(x, towards) for x in (*changes, *corners) for towards in (INF, -INF)]
    return [x for x in drawn if low <= x <= high and x == x]


def value(name, x):
    with np.errstate(all="ignore"):
        return float(getattr(elementary, name)(np.float64(x)))


def error(got, true):
    """In units of the last place of the true value, of which the smallest is that of a subnormal number."""
    return float(abs(mpf(got) - true) / math.ulp(float(true)))


@every_function
def test_every_digit(name):
    definition, _, _, allowed = FUNCTIONS[name]
    with mpmath.workprec(BITS):
        worst = max((error(value(name, x), definition(mpf(x))), x) for x in points(name, 1000))
    assert worst[0] <= allowed, worst


def test_tanh_and_sech_come_out_of_one_exponential():
    with mpmath.workprec(BITS):
        for x in [*points("sech", 1000), INF, -INF, -0.0]:
            tanh, sech = elementary.tanh_and_sech(np.float64(x))
            assert error(tanh, mpmath.tanh(mpf(x))) <= 3.0
            assert error(sech, mpmath.sech(mpf(x))) <= 2.5
            assert math.copysign(1.0, tanh) == math.copysign(1.0, x)
    assert all(map(math.isnan, elementary.tanh_and_sech(np.float64(NAN))))


@every_function
def test_nan_gives_nan(name):
    assert math.isnan(value(name, NAN))
    assert math.isnan(value(name, -NAN))


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if FUNCTIONS[name][0](0) == 0])
def test_a_zero_keeps_its_sign(name):
    assert repr(value(name, 0.0)) == "0.0"
    assert repr(value(name, -0.0)) == "-0.0"


@pytest.mark.parametrize(
    ("name", "x", "expected"),
    [
        ("exp", INF, INF), ("exp", -INF, 0.0), ("exp", 709.79, INF), ("exp", 1e300, INF), ("exp", -746.0, 0.0), ("exp", -745.2, 0.0), ("exp", -1e300, 0.0),
        ("expm1", INF, INF), ("expm1", -INF, -1.0), ("expm1", 709.79, INF), ("expm1", 1e300, INF), ("expm1", -1e300, -1.0),
        ("log", INF, INF), ("log", 0.0, -INF), ("log", -0.0, -INF), ("log", -1.0, NAN), ("log", -5e-324, NAN), ("log", -INF, NAN),
        ("log1p", INF, INF), ("log1p", -1.0, -INF), ("log1p", -1.0000000000000002, NAN), ("log1p", -1e300, NAN), ("log1p", -INF, NAN),
        ("tanh", INF, 1.0), ("tanh", -INF, -1.0), ("tanh", 1e300, 1.0), ("tanh", -1e300, -1.0),
        ("sech", INF, 0.0), ("sech", -INF, 0.0), ("sech", 1e300, 0.0),
        ("sigmoid", INF, 1.0), ("sigmoid", -INF, 0.0), ("sigmoid", 1e300, 1.0), ("sigmoid", -1e300, 0.0),
        ("softplus", INF, INF), ("softplus", -INF, 0.0), ("softplus", 1e300, 1e300), ("softplus", -1e300, 0.0),
        ("silu", INF, INF), ("silu", -INF, -0.0), ("silu", 1e300, 1e300), ("silu", -1e300, -0.0),
        ("sinh", INF, INF), ("sinh", -INF, -INF), ("sinh", 710.48, INF), ("sinh", -1e300, -INF),
        ("cosh", INF, INF), ("cosh", -INF, INF), ("cosh", -710.48, INF), ("cosh", 1e300, INF),
        ("sin", INF, NAN), ("sin", -INF, NAN), ("cos", INF, NAN), ("cos", -INF, NAN), ("tan", INF, NAN), ("tan", -INF, NAN),
        ("asin", 1.0000000000000002, NAN), ("asin", INF, NAN), ("acos", -1.0000000000000002, NAN), ("acos", -INF, NAN),
        ("semicircle", 1.0000000000000002, NAN), ("semicircle", -1e300, NAN), ("semicircle", INF, NAN),
        ("atan", INF, math.pi / 2), ("atan", -INF, -math.pi / 2),
        ("erf", INF, 1.0), ("erf", -INF, -1.0), ("erfc", INF, 0.0), ("erfc", -INF, 2.0), ("erfc", 30.0, 0.0),
        ("gelu", INF, INF), ("gelu", -INF, -0.0), ("gelu", 1e300, 1e300), ("gelu", -1e300, -0.0),
    ],
)  # fmt: skip
def test_at_infinity_outside_the_domain_and_where_it_overflows(name, x, expected):
    assert repr(value(name, x)) == repr(expected)


@every_function
def test_the_operation_table_says_the_same(name):
    op = rows.OPERATIONS[name]
    for (x,) in op.points:
        expected = op.value(x)
        assert value(name, x) == pytest.approx(expected, rel=3e-15, abs=0.0)


def test_as_plain_python_it_gives_the_same_numbers():
    """But for the last digit or two: compiled, a*b + c is rounded once where the processor can, else twice."""
    table = {name: points(name, 40) for name in FUNCTIONS}
    script = (
        "import json, sys, numpy as np\n"
        "from tinygrad_vi.compiler import elementary\n"
        "np.seterr(all='ignore')\n"
        "table = json.load(sys.stdin)\n"
        "f = lambda name: getattr(elementary, name)\n"
        "json.dump({name: [float(f(name)(np.float64(x))) for x in xs] for name, xs in table.items()}, sys.stdout)\n"
    )
    special = [NAN, INF, -INF, 0.0, -0.0, 2.0, -2.0, 800.0, -800.0]
    run = subprocess.run(
        [sys.executable, "-c", script],
        input=json.dumps({name: xs + special for name, xs in table.items()}),
        env={**os.environ, "NUMBA_DISABLE_JIT": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    for name, found in json.loads(run.stdout).items():
        for x, interpreted in zip(table[name] + special, found, strict=True):
            compiled = value(name, x)
            if math.isfinite(compiled):
                most = 4 if name in ("erfinv", "ndtri") else 2  # the quotient of two such polynomials of a logarithm
                assert abs(interpreted - compiled) <= most * math.ulp(compiled), (name, x, interpreted, compiled)
                assert math.copysign(1.0, interpreted) == math.copysign(1.0, compiled), (name, x)
            else:
                assert repr(interpreted) == repr(compiled), (name, x)


@pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="nothing is compiled")
@pytest.mark.parametrize("name", [name for name in FUNCTIONS if name not in FROM_THE_C_LIBRARY])
def test_a_loop_around_it_becomes_vector_instructions(name):
    function = getattr(elementary, name)

    @numba.njit(error_model="numpy")
    def loop(x, y):
        for i in range(x.size):
            y[i] = function(x[i])

    loop(np.ones(64), np.ones(64))
    (text,) = loop.inspect_llvm().values()
    assert re.search(r"store <\d+ x double>", text)
