"""The course as a whole: every exercise and every erratum has its place in a lesson, and every lesson its words."""

import re
import unicodedata
from collections import Counter

import pytest
from course.glossary import violations

from notebooks import build
from tinygrad_vi.course.texts import errata, exercises

TEXTS = {source.name: source.read_text(encoding="utf-8") for source in build.SOURCES}
NUMBERS = [name[:2] for name in TEXTS]


def spoken_of(source):
    """The exercises and errata that a lesson speaks of: in its prose, or in a call that checks or judges one.

    Other code does not count: the last lesson computes all exercises in one go, which explains none of them.
    """
    found = set()
    for cell in build.read(source).cells:
        if cell.cell_type == "code":
            found |= set(re.findall(r"""(?:check|referee)\(\s*["']([BE]\d\d[a-z]?)""", cell.source))
        else:
            found |= set(re.findall(r"\b[BE]\d\d[a-z]?\b", cell.source))
    return found


SPOKEN_OF = {source.name: spoken_of(source) for source in build.SOURCES}
ANYWHERE = set().union(*SPOKEN_OF.values())


def missing(things):
    """A line for each that no lesson speaks of, with what it is about and the lesson it was given to."""
    return [
        f"{thing.id} (lesson {'any' if thing.notebook is None else f'{thing.notebook:02d}'}): {about}"
        for thing, about in things
        if thing.id not in ANYWHERE
    ]


def test_no_lesson_has_the_number_of_another():
    assert [number for number, count in Counter(NUMBERS).items() if count > 1] == []


def test_every_lesson_that_something_was_given_to_exists():
    wanted = {f"{thing.notebook:02d}" for thing in (*exercises().values(), *errata().values()) if thing.notebook}
    assert sorted(wanted - set(NUMBERS)) == [], "no text in notebooks/source begins with these numbers"


def test_every_exercise_is_in_a_lesson():
    lost = missing((exercise, exercise.title) for exercise in exercises().values())
    assert not lost, "\n".join(["no lesson speaks of", *lost])


def test_every_erratum_is_in_a_lesson():
    lost = missing((erratum, f"{erratum.source}, {erratum.place}") for erratum in errata().values())
    assert not lost, "\n".join(["no lesson speaks of", *lost])


@pytest.mark.parametrize("name", TEXTS)
def test_a_lesson_speaks_of_nothing_that_there_is_not(name):
    unknown = SPOKEN_OF[name] - exercises().keys() - errata().keys()
    assert sorted(unknown) == []


@pytest.mark.parametrize("name", TEXTS)
def test_a_lesson_keeps_to_the_words_of_the_glossary(name):
    unquoted = re.sub("“[^”]*”", lambda found: "\n" * found[0].count("\n"), TEXTS[name])
    found = [f"line {i}: {said}" for i, line in enumerate(unquoted.splitlines(), 1) for said in violations(line)]
    assert not found, "\n".join([name, *found])


@pytest.mark.parametrize("name", TEXTS)
def test_a_lesson_is_written_in_composed_letters(name):
    lines = TEXTS[name].splitlines()
    found = [f"line {i}: {line[:60]}" for i, line in enumerate(lines, 1) if not unicodedata.is_normalized("NFC", line)]
    assert not found, "\n".join([f"{name} is not NFC", *found])
