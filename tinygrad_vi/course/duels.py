"""A duel: one question with two answers, the printed and the corrected one, and the judges' numbers."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tinygrad_vi.course.answers import flat, fold, read
from tinygrad_vi.derivatives import jacobian
from tinygrad_vi.numerical import numerical_gradient
from tinygrad_vi.trees import flatten

PRINTED, CORRECTED = "Bài giảng in", "Bản sửa"
AUTOMATIC, NUMERICAL, DIRECT, PYTORCH = "Vi phân tự động", "Sai phân", "Tính trực tiếp", "PyTorch"

#: relative to the largest number of the judge
TOLERANCE = 1e-6


@dataclass(frozen=True)
class Failed:
    """In place of a value: the formula cannot be evaluated, and why."""

    reason: str


@dataclass(frozen=True)
class Duel:
    """A question, what the printed and the corrected version answer, and what each judge says.

    part: the part of an exercise that asks the same.
    """

    question: str
    printed: Any
    corrected: Any
    judges: Mapping[str, Any]
    part: str | None = None
    tolerance: float = TOLERANCE

    @property
    def printed_right(self) -> bool:
        """Whether the printed version agrees with every judge."""
        return all(agree(self.printed, judge, self.tolerance) for judge in self.judges.values())

    @property
    def corrected_right(self) -> bool:
        """Whether the corrected version agrees with every judge."""
        return all(agree(self.corrected, judge, self.tolerance) for judge in self.judges.values())


def duel(
    question: str,
    printed: Any,
    corrected: Any,
    *,
    truth: Callable[..., Any] | None = None,
    at: tuple[Any, ...] = (),
    of: str = "derivative",
    judges: Mapping[str, Any] | None = None,
    part: str | None = None,
    tolerance: float = TOLERANCE,
    pytorch: bool = False,
) -> Duel:
    """Evaluate both versions at a point, and the judges: those given, or the derivatives (the value) of ``truth``."""
    found = dict(judges or {})
    if truth is not None and of == "value":
        found[DIRECT] = plain_value(truth(*at))
    elif truth is not None:
        found |= {AUTOMATIC: plain_value(jacobian(truth)(*at)), NUMERICAL: _numerical(truth, at)}
        if pytorch:
            from tinygrad_vi.course.pytorch import derivatives

            found[PYTORCH] = derivatives(truth, at)
    return Duel(question, _evaluated(printed, at), _evaluated(corrected, at), found, part, tolerance)


def _evaluated(version: Any, at: tuple[Any, ...]) -> Any:
    """The value of a formula at the point; a formula that cannot be evaluated is `Failed`."""
    if not callable(version):
        return plain_value(version)
    try:
        inspect.signature(version).bind(*at)
    except TypeError:
        at = ()
    try:
        return plain_value(version(*at))
    except (ArithmeticError, ValueError) as error:
        return Failed(str(error))


def plain_value(value: Any) -> Any:
    """A result as numbers, words and lists of them."""
    return value if isinstance(value, str) else read(value, value if isinstance(value, bool) else 0.0)


def _numerical(truth: Callable[..., Any], at: tuple[Any, ...]) -> Any:
    """The derivatives of every result of ``truth`` by central differences."""

    def entry(i: int) -> Callable[..., float]:
        return lambda *arguments: float(plain_value(flatten(plain_value(truth(*_values(arguments))))[0][i]))

    count = len(flatten(plain_value(truth(*_values(at))))[0])
    rows = [plain_value(numerical_gradient(entry(i))(*at)) for i in range(count)]
    return rows[0] if count == 1 else rows


def _values(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """The arguments as Values, since a truth may use their methods."""
    from tinygrad_vi.value import Value

    numbers, nest = flatten(tuple(arguments))
    return tuple(nest([Value(x) for x in numbers]))


def agree(value: Any, judge: Any, tolerance: float) -> bool:
    """Whether a version agrees with a judge: equal words, numbers within a tolerance relative to the largest."""
    if isinstance(value, Failed):
        return False
    if isinstance(judge, (str, bool)):
        return fold(str(value)) == fold(str(judge))
    mine, yours = flat(value), flat(judge)
    if len(mine) != len(yours) or any(isinstance(x, str) for x in mine) or not all(map(math.isfinite, mine)):
        return False
    scale = max(map(abs, yours), default=0.0) or 1.0
    return all(abs(x - y) <= tolerance * scale for x, y in zip(mine, yours, strict=True))
