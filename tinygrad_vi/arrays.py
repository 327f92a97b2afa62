"""Arrays of Values: what NumPy's functions mean on them.

NumPy runs over an array of objects by asking each object for a method, and decides some things by ``if``: ``np.where``,
``np.maximum``, every comparison.  So arrays that this package hands out are of a class of their own, which NumPy lets
decide what its functions do (NEP 13 and NEP 18): they apply the operations of the table entry by entry.  The same holds
where a Value itself is an operand, ``np.exp(v)``.

An array that the user makes, ``np.array([v, w])``, is NumPy's own: sums, products and functions work on it too, but in
``np.maximum`` the first of equal entries takes the whole gradient, and while a function is traced what compares entries
is refused.  `array` makes one of this class out of it.

This module imports NumPy; it is opened when NumPy, or an array, asks for it.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from tinygrad_vi import checks, functions, ops
from tinygrad_vi.kinds import Condition
from tinygrad_vi.tracing import of_the_engine, refuse_in_a_trace, tracer_here
from tinygrad_vi.value import Value, dot


class ValueArray(np.ndarray):
    """An array of Values (and numbers) of any shape, on which NumPy's functions mean what they say."""

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        return elementwise(ufunc, method, inputs, options)

    def __array_function__(self, function: Any, types: Any, inputs: Any, options: Any) -> Any:
        return function_of_arrays(function, inputs, options)

    def dot(self, other: Any, out: Any = None) -> Any:
        """``np.dot(self, other)``."""
        return np.dot(self, other, out=out)

    def astype(self, dtype: Any, *args: Any, **options: Any) -> Any:
        """A copy for float64, which Values are; else what NumPy says."""
        return self.copy() if np.dtype(dtype) == np.float64 else super().astype(dtype, *args, **options)


def array(entries: Any) -> Any:
    """The array of Values that nested lists, or an array of NumPy's, hold.

    >>> v = array([Value(2.0), Value(-1.0)])
    >>> np.maximum(v, 0.0).sum()
    Value(data=2.0, grad=0.0)
    """
    return np.array(entries, dtype=object).view(ValueArray)


def array_of(entries: Sequence[Any], shape: tuple[int, ...]) -> Any:
    """An array of this shape of entries in order, whatever they are."""
    found = np.empty(len(entries), dtype=object)
    if any(isinstance(x, (list, tuple, np.ndarray)) for x in entries):  # NumPy would look into these
        for i, x in enumerate(entries):
            found[i] = x
    else:
        found[:] = entries
    return found.reshape(shape).view(ValueArray)


LOG_2 = math.log(2.0)

# --- What the names of NumPy mean -------------------------------------------------------------------------------------

#: NumPy's name and ours, where they differ
_RENAMED = {
    "absolute": "abs_", "fabs": "abs_", "arcsin": "asin", "arccos": "acos", "arctan": "atan", "arctan2": "atan2",
    "arcsinh": "asinh", "arccosh": "acosh", "arctanh": "atanh", "rint": "round_",
}  # fmt: skip
_SAME = (
    "exp", "expm1", "log", "log1p", "log2", "log10", "sqrt", "cbrt", "sin", "cos", "tan", "sinh", "cosh", "tanh",
    "sign", "floor", "ceil", "hypot", "logaddexp", "maximum", "minimum",
)  # fmt: skip


def _heaviside(x: Any, at_0: Any) -> Any:
    return ops.where(x == 0.0, at_0, ops.step(x))


def _trunc(x: Any) -> Any:
    return ops.where(x < 0.0, ops.ceil(x), ops.floor(x))


def _fmod(x: Any, y: Any) -> Any:
    """The remainder of x / y, with the sign of x."""
    left = ops.mod(abs(x), abs(y))
    return ops.where(x < 0.0, -left, left)


def _ignoring_nan(choose: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    return lambda x, y: ops.where(x != x, y, ops.where(y != y, x, choose(x, y)))


def _invert(condition: Any) -> Any:
    return not condition if isinstance(condition, (bool, np.bool_)) else ~condition


#: what a function of NumPy does to numbers and Values
MEANING: dict[str, Callable[..., Any]] = {
    **{numpys: getattr(ops, ours) for numpys, ours in _RENAMED.items()},
    **{name: getattr(functions, name, None) or getattr(ops, name) for name in _SAME},
    "trunc": _trunc,
    "modf": lambda x: (x - _trunc(x), _trunc(x)),
    "divmod": divmod,
    "fmod": _fmod,
    "fmax": _ignoring_nan(ops.maximum),
    "fmin": _ignoring_nan(ops.minimum),
    "logaddexp2": lambda x, y: functions.logaddexp(x * LOG_2, y * LOG_2) / LOG_2,
    "square": lambda x: x**2,
    "reciprocal": lambda x: 1.0 / x,
    "exp2": lambda x: 2.0**x,
    "float_power": operator.pow,
    "conjugate": lambda x: x,
    "radians": lambda x: x * (math.pi / 180.0),
    "deg2rad": lambda x: x * (math.pi / 180.0),
    "degrees": lambda x: x * (180.0 / math.pi),
    "rad2deg": lambda x: x * (180.0 / math.pi),
    "heaviside": _heaviside,
    "clip": lambda x, low, high: ops.minimum(ops.maximum(x, low), high),
}
#: the same for functions that give True or False, or a condition while a function is traced
ASKING: dict[str, Callable[..., Any]] = {
    "less": operator.lt,
    "less_equal": operator.le,
    "greater": operator.gt,
    "greater_equal": operator.ge,
    "equal": operator.eq,
    "not_equal": operator.ne,
    "isnan": lambda x: x != x,
    "isfinite": lambda x: abs(x) < math.inf,
    "isinf": lambda x: abs(x) == math.inf,
    "bitwise_and": operator.and_,
    "bitwise_or": operator.or_,
    "bitwise_xor": operator.xor,
    "invert": _invert,
    "logical_and": lambda x, y: (x != 0) & (y != 0),
    "logical_or": lambda x, y: (x != 0) | (y != 0),
    "logical_xor": lambda x, y: (x != 0) ^ (y != 0),
    "logical_not": lambda x: x == 0,
}
#: functions that NumPy's own loop over objects computes correctly, by the operators of Python
OPERATORS: dict[str, Callable[..., Any]] = {
    "add": operator.add,
    "subtract": operator.sub,
    "multiply": operator.mul,
    "divide": operator.truediv,
    "floor_divide": operator.floordiv,
    "remainder": operator.mod,
    "power": operator.pow,
    "negative": operator.neg,
    "positive": operator.pos,
}
ALL = {**MEANING, **ASKING, **OPERATORS}
#: a reduction along an axis, of a list of entries
REDUCING: dict[str, Callable[[list[Any]], Any]] = {
    "add": functions.total,
    "logaddexp": functions.logsumexp,
    **{name: functools.partial(functools.reduce, MEANING[name]) for name in ("maximum", "minimum")},
    **{name: functools.partial(functools.reduce, ASKING[name]) for name in ("logical_and", "logical_or")},
}


def elementwise(ufunc: Any, method: str, inputs: Sequence[Any], options: Mapping[str, Any]) -> Any:
    """The result of an elementwise function of NumPy when Values are among the entries.

    Raises TypeError for a function that has no counterpart among the operations, and where Values are to be written
    into an array of floats.
    """
    name = ufunc.__name__
    plain = method == "__call__" and not options
    if (
        plain and name != "matmul" and not _of_objects(ufunc) and (numbers := _numbers(inputs)) is not None
    ):  # np.float64(2.0) * v
        return _meaning(name)(*numbers)
    out = options.get("out")
    if out is not None:
        options = {**options, "out": tuple([_base(x) for x in out])}
        if any(x.dtype != object for x in options["out"]):
            raise TypeError(
                f"an array of {out[0].dtype} cannot hold Values, which have a record: make it with dtype=object, "
                "np.zeros(n, dtype=object), or write a = a + v for a += v"
            )
    bases = [_base(x) for x in inputs]
    if name == "matmul" and method == "__call__" and not options:
        return _wrapped(_matmul(*bases))
    plainly = not {"out", "initial"} & options.keys() and options.get("where", True) is True  # np.sum says where=True
    plainly = plainly and options.get("dtype") in (None, object)
    if method == "reduce" and name in REDUCING and plainly:
        kept = bool(options.get("keepdims"))
        return _wrapped(_reduced(REDUCING[name], np.asarray(bases[0]), options.get("axis", 0), kept, name))
    if method == "reduce" and options.get("where", True) is not True:
        return _reduced_where(ufunc, inputs[0], options)
    # NumPy's own loop does what Python's operators do, and faster
    runs = name in OPERATORS or name == "matmul" or _of_objects(ufunc)
    run = ufunc if runs else np.frompyfunc(_meaning(name), ufunc.nin, ufunc.nout)
    found = getattr(run, method)(*bases, **options)
    if name in ASKING and out is None:
        found = _asked(found)
    return _wrapped(found) if out is None else out[0] if ufunc.nout == 1 else out


def _meaning(name: str) -> Callable[..., Any]:
    try:
        return ALL[name]
    except KeyError:
        raise TypeError(
            f"np.{name} has no counterpart among the operations of tinygrad_vi, so it cannot take Values: write it "
            "with arithmetic, np.where and the functions of tinygrad_vi, or make it one, with its derivative: "
            "@operation(partials=...)"
        ) from None


def _of_objects(ufunc: Any) -> bool:
    """Whether it is a function of Python, made by ``np.vectorize`` or ``np.frompyfunc``."""
    return {*"".join(ufunc.types)} <= {"O", "-", ">"}


def _numbers(inputs: Sequence[Any]) -> list[Any] | None:
    """Operands that are no arrays.  Numbers of NumPy become Python's, whose operators do not ask NumPy again."""
    found = []
    for x in inputs:
        if not isinstance(x, (Value, float, int)) or isinstance(x, np.generic):  # np.float64 is a float
            if isinstance(x, (list, tuple)) or getattr(x, "shape", ()) != ():
                return None
            x = x.item() if isinstance(x, (np.generic, np.ndarray)) else x
            x = checks.number(x, "an operation") if isinstance(x, np.generic) else x  # longdouble
        found.append(x)
    return found


def _base(x: Any) -> Any:
    """The array as one of NumPy's own class: NumPy then runs its own loops and does not ask this module again."""
    if isinstance(x, Value):
        return np.array(x, dtype=object)
    return x.view(np.ndarray) if isinstance(x, ValueArray) else x


def _wrapped(x: Any) -> Any:
    if isinstance(x, tuple):
        return tuple(map(_wrapped, x))
    if not isinstance(x, np.ndarray) or x.dtype != object:
        return x
    return x.item() if x.ndim == 0 else x.view(ValueArray)


def _asked(found: Any) -> Any:
    """Answers as bools, unless one is a condition of a traced function."""
    if not isinstance(found, np.ndarray):
        return found
    return found if any(isinstance(x, Value) for x in found.flat) else found.astype(bool)


def _reduced(reduce: Callable[[list[Any]], Any], x: Any, axis: Any, keepdims: bool, name: str) -> Any:
    axes = range(x.ndim) if axis is None else [axis] if isinstance(axis, int) else axis
    gone = sorted({operator.index(k) % x.ndim for k in axes}) if x.ndim else []
    stay = [k for k in range(x.ndim) if k not in gone]
    if name != "add" and 0 in [x.shape[k] for k in gone]:
        raise ValueError(f"the {name} of no numbers has no value: the array has the shape {x.shape}")
    rows = x.transpose(*stay, *gone).reshape(*[x.shape[k] for k in stay], math.prod([x.shape[k] for k in gone]))
    found = np.empty(rows.shape[:-1], dtype=object)
    for place in np.ndindex(found.shape):
        found[place] = reduce(rows[place].tolist())
    return found.reshape([1 if k in gone else x.shape[k] for k in range(x.ndim)]) if keepdims else found


#: what an entry that a mask leaves out becomes
NEUTRAL = {"add": 0.0, "multiply": 1.0, "logical_and": True, "logical_or": False}


def _reduced_where(ufunc: Any, x: Any, options: Mapping[str, Any]) -> Any:
    """``np.sum(x, where=mask)``: what is left out becomes what does not change the result."""
    name, rest = ufunc.__name__, {**options}
    mask, initial = rest.pop("where"), rest.pop("initial", None)
    if initial is None or initial is np._NoValue:
        initial = NEUTRAL.get(name)
    elif name == "add":
        raise TypeError("np.sum of Values takes where= or initial=: write np.sum(x, where=mask) + initial")
    if initial is None:
        raise TypeError(
            f"np.{name}.reduce of Values with where= needs initial=, for where nothing is left: "
            "np.max(x, where=mask, initial=0.0)"
        )
    return ufunc.reduce(_wrapped(np.asarray(_where(mask, x, initial))), **rest)


def _matmul(a: Any, b: Any) -> Any:
    """The product of two vectors or matrices.  Each entry is one `dot`, so one node and not 2 n."""
    a, b = np.asarray(a), np.asarray(b)
    if not a.ndim or not b.ndim:
        raise checks.ShapeError(checks.NO_VECTOR)
    if not (1 <= a.ndim <= 2 and 1 <= b.ndim <= 2 and a.shape[-1] == b.shape[0]):
        return np.matmul(a, b)  # of more axes, or an error that NumPy explains
    rows = a.reshape(-1, a.shape[-1]).tolist()
    columns = b.T.reshape(-1, b.shape[0]).tolist()
    found = np.empty((len(rows), len(columns)), dtype=object)
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            found[i, j] = dot(row, column)
    return found.reshape(a.shape[:-1] + b.shape[1:])


# --- Functions that are not elementwise -------------------------------------------------------------------------------


def function_of_arrays(function: Any, inputs: Iterable[Any], options: Mapping[str, Any]) -> Any:
    """The result of another function of NumPy.  Most are made of elementwise ones: then NumPy's own code computes it.

    Raises TypeError, with what NumPy says, for one that asks for floats, such as ``np.linalg.solve``.
    """
    inputs = [_lifted(x) for x in inputs]
    options = {name: _lifted(x) for name, x in options.items()}
    if function in ORDERING and tracer_here.get() is not None:
        refuse_in_a_trace(f"has no place in an order, which np.{function.__name__} asks for")
    rule = FUNCTIONS.get(function)
    if rule is not None:
        return _wrapped(rule(*inputs, **options))
    try:
        found = np.ndarray.__array_function__(_NONE, function, (ValueArray,), tuple(inputs), options)
    except (TypeError, AttributeError) as error:
        if _is_ours(error):
            raise
        name = f"{function.__module__}.{function.__name__}".replace("numpy", "np", 1)
        raise TypeError(
            f"{name} does not take Values: {error}. It works where it is made of the operations of "
            "tinygrad_vi; write it with them, with sums, products and np.where"
        ) from error
    return _wrapped(found)


def _is_ours(error: BaseException) -> bool:
    """Whether this package raised it, and says what to write; NumPy's C code leaves no frame behind the caller's."""
    here = trail = error.__traceback__
    while trail is not None and trail.tb_next is not None:
        trail = trail.tb_next
    return trail is not None and trail is not here and of_the_engine(trail.tb_frame)


_NONE: Any = np.empty(0, dtype=object).view(ValueArray)


def _lifted(x: Any) -> Any:
    if isinstance(x, Value):
        return np.array(x, dtype=object).view(ValueArray)
    return type(x)(map(_lifted, x)) if type(x) in (list, tuple) else x


def _where(condition: Any, *choices: Any) -> Any:
    if not choices:
        return np.nonzero(condition)
    return np.frompyfunc(_chosen, 3, 1)(_base(condition), *map(_base, choices))


def _chosen(condition: Any, x: Any, y: Any) -> Any:
    if isinstance(condition, Condition):
        return ops.where(condition, x, y)
    if isinstance(condition, Value):
        return ops.where(condition != 0.0, x, y)  # for NumPy a number that is not 0 is true
    return x if condition else y


def _dot(a: Any, b: Any, out: Any = None) -> Any:
    a, b = _base(a), _base(b)
    if out is not None or np.ndim(a) > 2 or np.ndim(b) > 2:
        return np.dot(a, b, out=out)
    return np.multiply(a, b) if np.ndim(a) == 0 or np.ndim(b) == 0 else _matmul(a, b)


def _select(conditions: Sequence[Any], choices: Sequence[Any], default: Any = 0) -> Any:
    if len(conditions) != len(choices):
        raise ValueError(f"np.select takes a choice for each condition, got {len(conditions)} and {len(choices)}")
    for condition, choice in zip(reversed(conditions), reversed(choices), strict=True):
        default = _where(condition, choice, default)
    return default


def _sinc(x: Any) -> Any:
    return np.frompyfunc(_sinc_of_one, 1, 1)(_base(x))


def _sinc_of_one(x: Any) -> Any:
    """sin(pi x) / (pi x), near 0 by its series: NumPy's own code replaces 0 by a constant."""
    far = abs(x) > 1e-2
    u, t = math.pi * ops.where(far, x, 1.0), (math.pi * x) ** 2
    near = 1.0 - t / 6.0 * (1.0 - t / 20.0 * (1.0 - t / 42.0 * (1.0 - t / 72.0 * (1.0 - t / 110.0))))
    return ops.where(far, ops.sin(u) / u, near)


def _isclose(a: Any, b: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Any:
    near = (np.abs(np.subtract(a, b)) <= atol + rtol * np.abs(b)) & np.isfinite(b) | np.equal(a, b)
    return near | (np.isnan(a) & np.isnan(b)) if equal_nan else near


def _quantile(x: Any, q: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
    """``np.quantile`` by its usual method, linear between neighbours in the order of the numbers."""
    shares = np.asarray(q, dtype=float)
    if not ((shares >= 0.0) & (shares <= 1.0)).all():
        raise ValueError(f"quantiles are from 0 to 1, percentiles from 0 to 100, got {q!r:.60}")

    def one(share: float) -> Any:
        def of(entries: list[Any]) -> Any:
            ordered = sorted(entries)
            place = share * (len(ordered) - 1)
            low = math.floor(place)
            high = min(low + 1, len(ordered) - 1)
            return ordered[low] + (place - low) * (ordered[high] - ordered[low])

        return _reduced(of, np.asarray(_base(x)), axis, keepdims, "quantile")

    if shares.ndim == 0:
        return one(float(shares))
    found = [one(share) for share in shares.ravel().tolist()]
    return np.stack(found).reshape(*shares.shape, *found[0].shape)


def _percentile(x: Any, q: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
    return _quantile(x, np.asarray(q, dtype=float) / 100.0, axis, keepdims=keepdims)


def _count_nonzero(x: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
    return np.sum(np.not_equal(x, 0), axis=axis, keepdims=keepdims)


FUNCTIONS: dict[Any, Callable[..., Any]] = {
    np.sinc: _sinc,
    np.quantile: _quantile, np.percentile: _percentile,
    np.where: _where, np.select: _select, np.dot: _dot, np.count_nonzero: _count_nonzero, np.isclose: _isclose,
}  # fmt: skip
#: functions that put entries in the order of their numbers, which another example has otherwise
ORDERING = {
    np.sort, np.argsort, np.partition, np.argpartition, np.median, np.quantile, np.percentile, np.unique, np.argmax,
    np.argmin, np.nanmedian, np.nanquantile, np.nanpercentile, np.searchsorted, np.lexsort,
}  # fmt: skip
