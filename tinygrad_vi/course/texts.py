"""The exercises and the errata, read from two data files.  Right answers stand nowhere else.

`exercises.json` and `errata.json` are texts to be read and corrected by people.  An exercise has parts, each with its
answer; slips, which are wrong answers that people really give, each with its diagnosis; and three hints.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent


class UnknownName(ValueError):
    """There is no exercise, part or erratum of that name; the message, in Vietnamese, lists the nearest ones."""


@dataclass(frozen=True)
class Part:
    """One thing asked for.  An answer is right within ``tolerance`` of it, relative to its largest number.

    between: an interval of right answers, instead of a number.  accept: other words for the answer.  terms: ways to
    write the answer as a sum; someone who forgets to add up all paths gives one of the terms.
    """

    name: str
    means: str
    answer: Any
    tolerance: float
    optional: bool = False
    between: tuple[float, float] | None = None
    accept: tuple[str, ...] = ()
    any_order: bool = False
    terms: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Slip:
    """A wrong answer to some parts: a number, ``factor`` times the right one, in an interval, or not a number."""

    parts: tuple[str, ...]
    kind: str
    says: str
    answer: Any = None
    erratum: str | None = None
    factor: float | None = None
    between: tuple[float, float] | None = None
    not_finite: bool = False
    accept: tuple[str, ...] = ()
    tolerance: float | None = None


@dataclass(frozen=True)
class Factor:
    """A factor that people forget, or write twice, and its value, one number or one for each entry of the answer."""

    name: str
    value: Any
    parts: tuple[str, ...] = ()  # empty: a factor of all parts


@dataclass(frozen=True)
class Exercise:
    """An exercise; n is the number of examples or outputs that a mean is taken over."""

    id: str
    title: str
    source: str
    notebook: int
    statement: str
    hints: tuple[str, ...]
    parts: Mapping[str, Part]
    slips: tuple[Slip, ...]
    factors: tuple[Factor, ...] = ()
    n: int | None = None

    @property
    def required(self) -> list[Part]:
        """The parts that make the exercise solved; the others may be checked on the way."""
        return [part for part in self.parts.values() if not part.optional]

    def part(self, name: str) -> Part:
        """The part of this name.  Raises UnknownName."""
        found = {key.casefold(): part for key, part in self.parts.items()}.get(name.strip().casefold())
        if found is None:
            raise UnknownName(f"bài {self.id} không có phần “{name}”; {_nearest(name, self.parts)}")
        return found


@dataclass(frozen=True)
class Erratum:
    """A mistake of the lecture notes: where it stands, what is printed, what is right, and what decides.

    kind: "M" for mathematics, "S" for shapes and notation, "L" for language.  decided: "number" or "line".
    """

    id: str
    kind: str
    source: str
    place: str
    printed: str
    correct: str
    why: str
    decided: str
    notebook: int | None


@lru_cache(maxsize=1)
def exercises() -> Mapping[str, Exercise]:
    """All exercises, B01 to B55, by their names."""
    content = json.loads((FOLDER / "exercises.json").read_text(encoding="utf-8"))
    return {name: _exercise(name, entry, content["tolerance"]) for name, entry in content["exercises"].items()}


@lru_cache(maxsize=1)
def errata() -> Mapping[str, Erratum]:
    """All errata, E01 to E76, by their names."""
    content = json.loads((FOLDER / "errata.json").read_text(encoding="utf-8"))
    return {name: Erratum(name, **entry) for name, entry in content["errata"].items()}


@lru_cache(maxsize=1)
def sources() -> Mapping[str, str]:
    """What the short names S0 to S4 of the lecture notes stand for."""
    found: dict[str, str] = json.loads((FOLDER / "errata.json").read_text(encoding="utf-8"))["sources"]
    return found


def _exercise(name: str, entry: dict[str, Any], tolerance: float) -> Exercise:
    parts = {key: Part(key, **_frozen({"tolerance": tolerance} | part)) for key, part in entry.pop("parts").items()}
    slips = tuple(Slip(_names(slip.pop("part")), **_frozen(slip)) for slip in entry.pop("slips"))
    factors = tuple(Factor(**_frozen(factor)) for factor in entry.pop("factors", ()))
    return Exercise(name, parts=parts, slips=slips, factors=factors, **_frozen(entry))


def _names(given: str | list[str]) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)


def _frozen(entry: dict[str, Any]) -> dict[str, Any]:
    """Lists as tuples where the dataclasses have tuples; answers and values stay nested lists."""
    tuples = ("hints", "between", "accept", "parts", "terms")
    return {key: tuple(value) if key in tuples else value for key, value in entry.items()}


def golden(name: str) -> Any:
    """The right answer to a part, as in ``golden("B07.v0")``: for tests.  Raises UnknownName."""
    exercise, part = find(name)
    if part is None:
        raise UnknownName(f"{exercise.id} có nhiều phần: {', '.join(exercise.parts)}")
    return part.answer


def find(name: str) -> tuple[Exercise, Part | None]:
    """The exercise, and the part if there is one: of "B28.dau", or of "b4", which is B04.  Raises UnknownName.

    >>> exercise, part = find("b28.dau")
    >>> exercise.id, part.means
    ('B28', 'dấu trước log Σeʸ')
    """
    given, dot, rest = str(name).strip().partition(".")
    exercise = exercises().get(_full(given, "B"))
    if exercise is None:
        raise UnknownName(f"không có bài “{given}”; {_nearest(_full(given, 'B'), exercises())}")
    return exercise, exercise.part(rest) if dot else None


def find_erratum(name: str) -> Erratum:
    """The erratum, of "E03" or "e3".  Raises UnknownName."""
    found = errata().get(_full(str(name), "E"))
    if found is None:
        raise UnknownName(f"không có chỗ đính chính “{name}”; {_nearest(_full(str(name), 'E'), errata())}")
    return found


def _full(name: str, letter: str) -> str:
    """B04 for b4, B4 and " B04 "; B35n for b35N; anything else as it is."""
    found = re.fullmatch(rf"\s*{letter}?\s*0*(\d+)\s*([a-z]?)\s*", name, re.IGNORECASE)
    return f"{letter}{int(found[1]):02d}{found[2].lower()}" if found else name


def _nearest(name: str, known: Iterable[str]) -> str:
    known = list(known)
    near = get_close_matches(name, known, n=4, cutoff=0.5)
    if near:
        return f"gần nhất là {', '.join(near)}"
    return f"có các tên {', '.join(known)}" if len(known) <= 20 else f"có các tên từ {known[0]} đến {known[-1]}"
