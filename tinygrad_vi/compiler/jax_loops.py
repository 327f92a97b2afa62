"""Loops in the lines of a text: steps that are alike become one `jax.lax.scan`, which XLA compiles once.

A program over time steps is a long text of the same few lines.  Here each line is a pattern with holes for names, views
(``x[2:4]``) and numbers.  Where the patterns repeat with a period, each hole of the period is one of

    shared    the same in all steps
    local     a line of the same step
    carried   a line of an earlier step; in the first steps one from outside
    given     another one from outside in each step: numbers, rows of an array, lines of an earlier loop

and nothing else: a stretch that does not fit is cut.  What is found is proved: written out step by step, the loop must
be the lines that it was found in, letter by letter.  A sum of many terms is taken for a chain of additions, one
after the other.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

#: terms from which on a sum is a chain of lines
LONG_SUM = 8
#: the longest period that is looked for, and how many lines a loop must save
LONGEST, LEAST = 400, 16
#: stretches that are tried for each loop
TRIED = 40

STACK = "jnp.vstack(["
NUMBER = r"(?:\d+(?:\.\d+)?(?:e[+-]?\d+)?)"
TOKEN = re.compile(
    rf"(?P<name>(?<![\w.])[^\W\d]\w*)(?P<view>\[\d+:\d+\])?|(?P<number>\(-{NUMBER}\)|(?<![\w.]){NUMBER})|(?P<other>.)",
    re.DOTALL,
)
#: functions whose numbers are shapes and axes
SHAPES = {"reshape", "full", "broadcast_to", "zeros", "sum", "array"}

#: what stands in a hole: a name and its view, or a number as ("", number)
Filling = tuple[str, str]
Line = tuple[str, str]


@dataclass(frozen=True)
class Pattern:
    """A line: its text, with a hole for each filling."""

    text: tuple[str, ...]
    fillings: tuple[Filling, ...]

    def filled(self, fillings: Sequence[Filling]) -> str:
        """The line with these."""
        parts = [self.text[0]]
        for (name, rest), behind in zip(fillings, self.text[1:], strict=True):
            parts += [name, rest, behind]
        return "".join(parts)


@dataclass
class Hole:
    """What a hole holds: a kind, see the module, and the fillings of the first steps, or of all.

    at: for a local or carried one, the line of the step; lag: by how many steps it is earlier.
    """

    kind: str
    fillings: list[Filling]
    at: int = 0
    lag: int = 0


@dataclass
class Loop:
    """Lines start to start + n * period, as n steps.  holes: of each line of a step."""

    start: int
    period: int
    n: int
    patterns: list[Pattern]
    holes: list[list[Hole]]
    names: list[list[str]] = field(default_factory=list)

    @property
    def saves(self) -> int:
        """How many lines fewer there are."""
        return (self.n - 1) * self.period

    def written_out(self) -> list[Line]:
        """The lines that it stands for."""
        lines = []
        for k in range(self.n):
            for name, pattern, holes in zip(self.names[k], self.patterns, self.holes, strict=True):
                fillings = []
                for hole in holes:
                    if hole.kind in ("local", "carried") and k >= hole.lag:
                        fillings.append((self.names[k - hole.lag][hole.at], hole.fillings[0][1]))
                    else:
                        fillings.append(hole.fillings[0 if hole.kind == "shared" else k])
                lines.append((name, pattern.filled(fillings)))
        return lines


def rolled(lines: Sequence[Line], shapes: Mapping[str, Any], fresh: Callable[[str], str]) -> list[str] | None:
    """The lines with loops in them, as text; None where there are none that are worth it.

    shapes: what tells arrays of one shape, for the lines of which it is known.  fresh: a free name like the wish.
    """
    plain = [line for name, text in lines for line in _chains(name, _signed(text), fresh)]
    places = {name: at for at, (name, _) in enumerate(plain)}
    found = _Finder(plain, places, shapes).within(0, len(plain), LONGEST)
    loops = sorted(found, key=lambda loop: loop.start)
    if 2 * sum(loop.saves for loop in loops) < len(plain):
        return None
    return _Writer(plain, loops, places, fresh).text()


# --- Lines and patterns -----------------------------------------------------------------------------------------------


def _signed(text: str) -> str:
    """The text with the sign of each number that is a term, or its factor, beside the number: a + (-2) * b."""
    text = re.sub(rf" - ({NUMBER})(?![\w.])(?! \*\*)", r" + (-\1)", text)
    return re.sub(rf"(^|\()-({NUMBER})(?= \* )", r"\1(-\2)", text)


def _terms(text: str) -> list[str]:
    """The terms of a sum; from the second on with `` + `` or `` - `` before them."""
    found, depth, start = [], 0, 0
    for at, c in enumerate(text):
        if c in "([":
            depth += 1
        elif c in ")]":
            depth -= 1
        elif depth == 0 and text[at : at + 3] in (" + ", " - "):
            found.append(text[start:at])
            start = at
    return [*found, text[start:]]


def _chains(name: str, text: str, fresh: Callable[[str], str]) -> list[Line]:
    """A line; one line for each term of a long sum, be it the whole line or in brackets, and for each of many rows."""
    lines: list[Line] = []
    if text.startswith(STACK) and len(rows := _rows(text)) >= LONG_SUM:
        rows = [f"jnp.full((1, 1), {row}, theta.dtype)" if re.fullmatch(NUMBER, row) else row for row in rows]
        names = [row if row.isidentifier() else fresh("row") for row in rows]
        lines = [line for n, row in zip(names, rows, strict=True) if n != row for line in _chains(n, row, fresh)]
        return [*lines, (name, f"{STACK}{', '.join(names)}])")]
    opened: list[int] = []
    at = 0
    while at < len(text):
        if text[at] == "(":
            opened.append(at)
        elif text[at] == ")":
            start = opened.pop()
            inner = text[start + 1 : at]
            if inner.count(" + ") + inner.count(" - ") >= LONG_SUM and len(_terms(inner)) >= LONG_SUM:
                chain = _chain(inner, fresh)
                lines += chain
                text = text[: start + 1] + chain[-1][0] + text[at:]
                at = start + 1 + len(chain[-1][0])
        at += 1
    if len(_terms(text)) >= LONG_SUM:
        chain = _chain(text, fresh)
        return [*lines, *chain[:-1], (name, chain[-1][1])]
    return [*lines, (name, text)]


def _rows(text: str) -> list[str]:
    """The arguments of a vstack that is the whole line; none where there is more in it."""
    found, depth, start = [], 0, len(STACK)
    for at in range(start, len(text) - 2):
        depth += (text[at] in "([") - (text[at] in ")]")
        if depth < 0:
            return []
        if depth == 0 and text[at] == ",":
            found.append(text[start:at].strip())
            start = at + 1
    return [*found, text[start:-2].strip()] if text.endswith("])") else []


def _chain(text: str, fresh: Callable[[str], str]) -> list[Line]:
    first, *others = _terms(text)
    lines = [(fresh("sum"), first)]
    for term in others:
        lines.append((fresh("sum"), f"{lines[-1][0]}{term}"))
    return lines


def _pattern(text: str, places: dict[str, int]) -> Pattern:
    """A line as a pattern: names of lines, views of anything and numbers that are no shapes are its holes."""
    fixed, fillings = [""], []
    brackets: list[str] = []
    before = ""  # the name that stands before a bracket
    for token in TOKEN.finditer(text):
        part = token.group()
        if token["name"] and (token["view"] or token["name"] in places):
            fillings.append((token["name"], token["view"] or ""))
            fixed.append("")
        elif token["number"] and not fixed[-1].endswith("** ") and _is_number(brackets, fixed[-1]):
            fillings.append(("", part))
            fixed.append("")
        else:
            fixed[-1] += part
            if part in "([":
                brackets.append("[" if part == "[" else before)
            elif part in ")]" and brackets:
                brackets.pop()
        word = re.search(r"[^\W\d]\w*$", fixed[-1])
        before = word.group() if word else ""
    return Pattern(tuple(fixed), tuple(fillings))


def _is_number(brackets: Sequence[str], before: str) -> bool:
    """Whether a number there is one to reckon with: no place in a list, no shape, no axis, no exponent."""
    return "[" not in brackets and SHAPES.isdisjoint(brackets) and not before.endswith("=")


# --- Finding loops ----------------------------------------------------------------------------------------------------


class _Finder:
    """The loops in some lines.  shapes: of those lines whose shape is known; what is stacked or carried has one."""

    def __init__(self, lines: Sequence[Line], places: dict[str, int], shapes: Mapping[str, Any]) -> None:
        import numpy as np

        self.np, self.lines, self.places, self.shapes = np, lines, places, shapes
        self.patterns = [_pattern(text, places) for _, text in lines]
        numbers: dict[tuple[str, ...], int] = {}
        self.kinds = np.array([numbers.setdefault(pattern.text, len(numbers)) for pattern in self.patterns])

    def within(self, low: int, high: int, longest: int) -> list[Loop]:
        """The loops in a stretch: the one that saves most, or those within it, then those before it and behind."""
        found: list[Loop] = []
        open_ = [(low, high)]
        while open_:
            low, high = open_.pop()
            best = None
            for length, start, period in self._runs(low, high, longest):
                if best is not None and length - period <= best.saves:
                    break
                loop = self._loop(start, period, length // period)
                if loop is not None and (best is None or loop.saves > best.saves):
                    best = loop
            if best is not None and best.saves >= LEAST:
                end = best.start + best.n * best.period
                inner = self.within(best.start, end, best.period // 2)
                found += inner if sum(loop.saves for loop in inner) >= best.saves else [best]
                open_ += [(low, best.start), (end, high)]
        return found

    def _runs(self, low: int, high: int, longest: int) -> list[tuple[int, int, int]]:
        """(lines, start, period) of stretches that repeat, the longest first."""
        np, kinds, found = self.np, self.kinds[low:high], []
        for period in range(1, min(longest, len(kinds) // 2) + 1):
            alike = np.concatenate([[False], kinds[period:] == kinds[:-period], [False]])
            edges = np.flatnonzero(alike[1:] != alike[:-1])
            for start, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
                if end - start >= max(period, LEAST):
                    found.append((end - start + period, low + start, period))
        return sorted(found, key=lambda run: (run[2] - run[0], run[2]))[:TRIED]

    def _loop(self, start: int, period: int, n: int) -> Loop | None:
        """The loop over the longest part of a stretch in which every hole fits."""
        while n > 1:
            bad: set[int] = set()
            holes: list[list[Hole]] = []
            for m in range(period):
                rows = [self.patterns[start + k * period + m].fillings for k in range(n)]
                holes.append([self._hole(list(column), start, period, bad) for column in zip(*rows, strict=True)])
            if not bad:
                names = [[self.lines[start + k * period + m][0] for m in range(period)] for k in range(n)]
                loop = Loop(start, period, n, self.patterns[start : start + period], holes, names)
                return loop if loop.written_out() == list(self.lines[start : start + n * period]) else None
            edges = [-1, *sorted(bad), n]
            _, first, end = max((b - a, a + 1, b) for a, b in pairwise(edges))
            start, n = start + first * period, end - first
        return None

    def _hole(self, column: list[Filling], start: int, period: int, bad: set[int]) -> Hole:
        """What a hole of a step is; steps in which it is something else are added to the bad ones."""
        last, places = column[-1], self.places
        if all(filling == last for filling in column) and places.get(last[0], -1) < start:
            return Hole("shared", column[:1])
        numbers = [k for k, (name, _) in enumerate(column) if not name]
        if numbers:
            bad.update(numbers if last[0] else {*range(len(column))}.difference(numbers))
            return Hole("given", column)
        at = [places.get(name, -1) for name, _ in column]
        shape = self.shapes.get(last[0])
        inside = [k for k, place in enumerate(at) if place >= start]
        if not inside:
            one_array = len({name for name, _ in column}) == 1
            for k, (name, rest) in enumerate(column):
                if one_array:  # rows of it, as many in each step
                    fits = _size(rest) == _size(last[1])
                else:
                    fits = at[k] >= 0 and rest == last[1] and self.shapes.get(name) == shape
                if not fits:
                    bad.add(k)
            return Hole("given", column)
        ahead = at[inside[-1]] - start - inside[-1] * period
        lag = max(0, -(ahead // period))
        rest, shape = column[inside[-1]][1], self.shapes.get(column[inside[-1]][0])
        for k, place in enumerate(at):
            fits = place == start + k * period + ahead if k >= lag else place < start
            if not fits or column[k][1] != rest or self.shapes.get(column[k][0]) != shape:
                bad.add(k)
        return Hole("carried" if lag else "local", column[: max(lag, 1)], ahead + lag * period, lag)


def _size(view: str) -> int:
    first, last = _ends(view)
    return last - first


def _ends(view: str) -> tuple[int, int]:
    first, last = view[1:-1].split(":") if view else ("0", "-1")
    return int(first), int(last)


# --- Writing them -----------------------------------------------------------------------------------------------------


class _Writer:
    """The lines and the loops on their way to being a text."""

    def __init__(
        self, lines: Sequence[Line], loops: Sequence[Loop], places: dict[str, int], fresh: Callable[[str], str]
    ) -> None:
        self.lines, self.loops, self.places, self.fresh = lines, loops, places, fresh
        self.of_line = {at: loop for loop in loops for at in range(loop.start, loop.start + loop.n * loop.period)}
        #: for each loop what stands for all values of a line of its step, or for the last one alone
        self.all_of: dict[tuple[int, int], str] = {}
        self.last_of: dict[tuple[int, int], str] = {}
        self.wanted = self._wanted()

    def _wanted(self) -> dict[tuple[int, int], set[int]]:
        """For each line of a step that something behind the loop reads: in which steps."""
        wanted: dict[tuple[int, int], set[int]] = {}
        for at, (_, text) in enumerate(self.lines):
            for token in TOKEN.finditer(text):
                place = self.places.get(token["name"] or "", -1)
                loop = self.of_line.get(place)
                if loop is not None and self.of_line.get(at) is not loop:
                    k, m = divmod(place - loop.start, loop.period)
                    wanted.setdefault((loop.start, m), set()).add(k)
        return wanted

    def text(self) -> list[str]:
        """All lines."""
        found: list[str] = []
        at = 0
        for loop in [*self.loops, None]:
            end = loop.start if loop else len(self.lines)
            found += [f"{name} = {self._read(text)}" for name, text in self.lines[at:end]]
            if loop:
                found += self._loop(loop)
                at = loop.start + loop.n * loop.period
        return found

    def _read(self, text: str) -> str:
        """A line outside of loops, which may read lines of loops before it."""
        if text.startswith(STACK) and len(rows := _rows(text)) >= LONG_SUM:
            return f"jnp.concatenate([{', '.join(map(self._many_rows, self._parts(rows)))}])"
        return "".join(
            (self._name(token["name"]) + (token["view"] or "")) if token["name"] else token.group()
            for token in TOKEN.finditer(text)
        )

    def _name(self, name: str) -> str:
        """What stands for a line: its name, or where a loop has left it."""
        place = self.places.get(name, -1)
        loop = self.of_line.get(place)
        if loop is None:
            return name
        k, m = divmod(place - loop.start, loop.period)
        if k == loop.n - 1 and (loop.start, m) in self.last_of:
            return self.last_of[loop.start, m]
        return f"{self.all_of[loop.start, m]}[{k}]"

    def _loop(self, loop: Loop) -> list[str]:
        inits: dict[tuple[tuple[int, int], tuple[Filling, ...]], list[str]] = {}
        given: dict[tuple[Filling, ...], str] = {}
        local = [self.fresh("v") for _ in range(loop.period)]
        queue: list[tuple[str, str, str]] = []  # the name of what is carried, its first value, its next one
        last: dict[int, str] = {}

        def filling(hole: Hole) -> Filling:
            if hole.kind == "shared":
                name, rest = hole.fillings[0]
                return self._name(name), rest
            if hole.kind == "local":
                return local[hole.at], hole.fillings[0][1]
            if hole.kind == "given":
                key = tuple(hole.fillings)
                if key not in given:
                    given[key] = self.fresh("x")
                alike = len({rest for _, rest in key}) == 1 and key[0][0]
                return given[key], key[0][1] if alike else ""
            key_of = (hole.at, hole.lag), tuple((name, "") for name, _ in hole.fillings)
            if key_of not in inits:
                names = [self.fresh("c") for _ in range(hole.lag)]
                inits[key_of] = names
                for back, name in enumerate(names):  # names[0] is of the last step
                    first = self._name(hole.fillings[hole.lag - 1 - back][0])
                    queue.append((name, first, local[hole.at] if back == 0 else names[back - 1]))
                last.setdefault(hole.at, names[0])
            return inits[key_of][-1], hole.fillings[0][1]

        body = [
            f"{name} = {pattern.filled([filling(hole) for hole in holes])}"
            for name, pattern, holes in zip(local, loop.patterns, loop.holes, strict=True)
        ]
        left: list[str] = []
        many, final = self.fresh("steps"), self.fresh("last")
        for m in range(loop.period):
            steps = self.wanted.get((loop.start, m), set())
            if steps == {loop.n - 1} and m in last:
                at = [name for name, _, _ in queue].index(last[m])
                self.last_of[loop.start, m] = f"{final}[{at}]"
            elif steps:
                self.all_of[loop.start, m] = f"{many}[{len(left)}]"
                left.append(local[m])
        step = self.fresh("step")
        carried = _tuple([name for name, _, _ in queue])
        return [
            f"def {step}({final}, {many}):",
            *[f"    {carried} = {final}"] * bool(queue),
            *[f"    {_tuple(list(given.values()))} = {many}"] * bool(given),
            *[f"    {line}" for line in body],
            f"    return {_tuple([then for _, _, then in queue])}, {_tuple(left)}",
            f"{final}, {many} = jax.lax.scan({step}, {_tuple([first for _, first, _ in queue])}, "
            f"{_tuple([self._given(list(key)) for key in given])}, length={loop.n})",
        ]

    def _given(self, fillings: list[Filling]) -> str:
        """One entry for each step."""
        if not fillings[0][0]:
            return f"jnp.array([{', '.join(number.strip('()') for _, number in fillings)}], theta.dtype)"
        if len({rest for _, rest in fillings}) > 1:
            name = self._name(fillings[0][0])
            ends = [_ends(rest) for _, rest in fillings]
            first, size = ends[0][0], ends[0][1] - ends[0][0]
            if [a for a, _ in ends] == list(range(first, first + size * len(ends), size)):
                return f"{name}[{first}:{ends[-1][1]}].reshape({len(ends)}, {size}, -1)"
            return f"{name}[np.array({[list(range(a, b)) for a, b in ends]})]"
        parts = self._parts([name for name, _ in fillings])
        texts = [f"{source}[{_slice(steps)}]" if steps else f"{source}[None]" for source, steps in parts]
        return texts[0] if len(texts) == 1 else f"jnp.concatenate([{', '.join(texts)}])"

    def _many_rows(self, part: tuple[str, list[int]]) -> str:
        """The rows of some steps, one under the other."""
        source, steps = part
        return f"{source}[{_slice(steps)}].reshape(-1, {source}.shape[-1])" if steps else source

    def _parts(self, names: Sequence[str]) -> list[tuple[str, list[int]]]:
        """These lines as steps of one loop, one after the other; or as a line alone, without steps."""
        parts: list[tuple[str, list[int]]] = []
        for name in names:
            place = self.places.get(name, -1)
            loop = self.of_line.get(place)
            k, m = divmod(place - loop.start, loop.period) if loop else (0, 0)
            source = self.all_of.get((loop.start, m), "") if loop else ""
            if not source:
                parts.append((self._name(name), []))
            elif parts and parts[-1][0] == source and parts[-1][1] and _goes_on(parts[-1][1], k):
                parts[-1][1].append(k)
            else:
                parts.append((source, [k]))
        return parts


def _goes_on(steps: Sequence[int], k: int) -> bool:
    by = k - steps[-1]
    return by != 0 if len(steps) == 1 else by == steps[1] - steps[0]


def _slice(steps: Sequence[int]) -> str:
    by = steps[1] - steps[0] if len(steps) > 1 else 1
    end = steps[-1] + (1 if by > 0 else -1)
    return f"{steps[0]}:{end if end >= 0 else ''}" + (f":{by}" if by != 1 else "")


def _tuple(names: Sequence[str]) -> str:
    return f"({', '.join(names)}{',' * (len(names) == 1)})"
