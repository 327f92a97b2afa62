"""Expressions typed by people: "log(x1) + x1*x2 - sin(x2)" as a function of named numbers.

The text is parsed by Python's own `ast` and then walked here: numbers, names, + - * / **, and calls of operations from
the table.  Nothing else is understood and nothing is ever handed to `eval`.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Mapping
from typing import Any

from tinygrad_vi import checks, functions, ops, rows
from tinygrad_vi.value import dot

MAX_LENGTH = 20_000

CONSTANTS = {"pi": math.pi, "π": math.pi, "e": math.e}


def _power(base: Any, exponent: Any) -> Any:
    """A constant exponent or base is part of the operation, as in Python code."""
    if isinstance(exponent, float) != isinstance(base, float):
        return base**exponent
    return ops.pow_(base, exponent)


_BINARY: dict[type, Any] = {ast.Add: ops.add, ast.Sub: ops.sub, ast.Mult: ops.mul, ast.Div: ops.div, ast.Pow: _power,
                           ast.Mod: ops.mod, ast.FloorDiv: ops.floordiv}  # fmt: skip


def _function(name: str) -> Any:
    """The function of this name: one that takes a list, if there is one, before the row of that name."""
    return getattr(functions, name, None) or getattr(ops, name, None)


_FUNCTIONS: dict[str, Any] = {name: _function(name) for name in rows.OPERATIONS}
_FUNCTIONS.update({"abs": ops.abs_, "round": ops.round_, "pow": _power, "dot": dot})
#: what people type beside the names of the table
_FUNCTIONS.update({"ln": ops.log, "max": ops.maximum, "min": ops.minimum, "arcsin": ops.asin, "arccos": ops.acos})
_FUNCTIONS.update(
    {
        name: _function(name)
        for name in (
            "lgamma",
            "digamma",
            "ndtr",
            "log_ndtr",
            "log_sigmoid",
            "exprel",
            "logaddexp",
            "xlogy",
            "selu",
            "mish",
            "hard_tanh",
        )
    }
)
_FUNCTIONS.update({"norm": functions.norm, "prod": functions.prod})
_FUNCTIONS.update(
    {"arcsinh": ops.asinh, "arccosh": ops.acosh, "arctanh": ops.atanh, "arctan2": ops.atan2, "sgn": ops.sign}
)
_FUNCTIONS.update({"arctan": ops.atan, "swish": ops.silu, "sum": functions.total})
#: all of these, and the operations of the user's own
FUNCTIONS = rows.ByName(_FUNCTIONS, fits=lambda op: True)

#: names that are not supported, and what to type instead
INSTEAD = {"cot": "1/tan(x)", "sec": "1/cos(x)", "csc": "1/sin(x)"}
INSTEAD.update(
    {"tg": "tan(x)", "cotg": "1/tan(x)", "sh": "sinh(x)", "ch": "cosh(x)", "th": "tanh(x)", "lg": "log10(x)"}
)

TOO_DEEP = "the expression is nested too deeply; a sum of thousands of terms is written total(a, b, ...)"

OF_LISTS = {"total", "sum", "logsumexp", "norm", "prod"}


class ExpressionError(ValueError):
    """A text is not an expression of the operations of the table; the message says where and why, in one line."""


def evaluate(text: str, variables: Mapping[str, Any]) -> Any:
    """The value of an expression, where each name stands for a number or a Value.

    Names that are not given may be pi and e.  ``total`` and ``logsumexp`` take numbers or a list, ``dot`` two lists.
    Raises ExpressionError for anything that is not such an expression, DomainError where it has no value.

    >>> evaluate("2*x + sin(0)", {"x": 3.0})
    6.0
    >>> evaluate("__import__('os')", {})
    Traceback (most recent call last):
    tinygrad_vi.expression.ExpressionError: unknown function '__import__'
    """
    try:
        result = _walk(_parse(text), variables)
    except RecursionError:
        raise ExpressionError(TOO_DEEP) from None
    except TypeError:  # arithmetic with a list
        raise ExpressionError("a list may only stand inside total(...), dot(...) or logsumexp(...)") from None
    if isinstance(result, list):
        raise ExpressionError(
            f"an expression is one number, got a list of {len(result)} (a decimal is written with a point: 3.5)"
        )
    return result


def _parse(text: str) -> ast.expr:
    if not text.strip():
        raise ExpressionError("the expression is empty")
    if len(text) > MAX_LENGTH:
        raise ExpressionError(f"the expression has {len(text)} characters; {MAX_LENGTH} is the limit")
    try:
        return ast.parse(text.strip(), mode="eval").body
    except SyntaxError as error:
        if "digits" in error.msg:
            raise ExpressionError("cannot read the expression: a number has too many digits") from None
        at = f" at character {error.offset}" if error.offset else ""
        advice = "write products as 2*x and calls as sin(x)"
        raise ExpressionError(f"cannot read the expression{at}: {error.msg}; {advice}") from None
    except (MemoryError, RecursionError):
        raise ExpressionError(TOO_DEEP) from None
    except ValueError as error:  # a null byte
        raise ExpressionError(f"cannot read the expression: {error}") from None


def _walk(node: ast.expr, variables: Mapping[str, Any]) -> Any:
    match node:
        case ast.Constant(value=int() | float() as x) if not isinstance(x, bool):
            return _finite(x)
        case ast.Name(id=name):
            return _named(name, variables)
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return _walk(operand, variables)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_walk(operand, variables)
        case ast.BinOp():
            return _chain(node, variables)
        case ast.List(elts=entries) | ast.Tuple(elts=entries):
            return [_walk(entry, variables) for entry in entries]
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]):
            if name not in FUNCTIONS:
                raise ExpressionError(f"unknown function {name!r}{_suggest(name, FUNCTIONS)}")
            return _call(name, [_walk(argument, variables) for argument in arguments])
    instead = "; a choice is written where(a - b, x, y), which is x where a > b, else y"
    hint = instead if isinstance(node, (ast.Compare, ast.IfExp)) else ""
    raise ExpressionError(f"not allowed in an expression: {_excerpt(node)}{hint}")


def _chain(node: ast.expr, variables: Mapping[str, Any]) -> Any:
    """a + b - c + ..., which Python nests to the left, in a loop: a sum may be long without being deep."""
    links: list[ast.BinOp] = []
    while isinstance(node, ast.BinOp):
        if isinstance(node.op, ast.BitXor):
            raise ExpressionError(f"not allowed in an expression: {_excerpt(node)}; a power is written x ** 2")
        if type(node.op) not in _BINARY:
            raise ExpressionError(f"not allowed in an expression: {_excerpt(node)}")
        links.append(node)
        node = node.left
    result = _walk(node, variables)
    for link in reversed(links):
        result = _BINARY[type(link.op)](result, _walk(link.right, variables))
    return result


def _finite(x: float) -> float:
    try:
        value = float(x)
    except OverflowError:
        value = math.inf
    if math.isinf(value):
        raise ExpressionError("a number in the expression is too large for a float")
    return value


def _named(name: str, variables: Mapping[str, Any]) -> Any:
    if name in variables:
        return variables[name]
    if name in CONSTANTS:
        return CONSTANTS[name]
    if name in FUNCTIONS:
        raise ExpressionError(f"{name!r} is a function: write {name}(...)")
    raise ExpressionError(f"{name!r} has no value: add {name}=... after the expression")


def _call(name: str, arguments: list[Any]) -> Any:
    if name in OF_LISTS and not (len(arguments) == 1 and isinstance(arguments[0], list)):
        arguments = [arguments]  # total(x, y) is total([x, y])
    try:
        return FUNCTIONS[name](*arguments)
    except (checks.DomainError, checks.ShapeError):
        raise
    except TypeError as error:
        reason = " ".join(str(error).split())
        raise ExpressionError(reason if reason.startswith(name) else f"{name}: {reason}") from None


def _suggest(name: str, known: Mapping[str, Any]) -> str:
    if name in INSTEAD:
        return f": write {INSTEAD[name]}"
    from difflib import get_close_matches

    close = get_close_matches(name, known, 1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _excerpt(node: ast.AST) -> str:
    text = ast.unparse(node)
    return text if len(text) <= 40 else text[:37] + "..."
