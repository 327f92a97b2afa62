"""The language that pages, pictures and the demonstration speak: one setting, and their words in one folder.

    set_language("vi")          from now on
    with language("vi"):        inside the block, in this thread or task
        y.step_through()
    y.step_through(language="vi")   this page alone

It is English as long as nobody says otherwise.  Each JSON file here holds the texts of one part, by language and name.
"""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files

from tinygrad_vi import modes

__all__ = ["LANGUAGES", "language", "set_language"]

#: the languages there are; the first is the default
LANGUAGES = ("en", "vi")


def language(name: str) -> modes.Switch[str]:
    """A context manager, or decorator: inside, what people read is in this language, for this thread or task.

    Raises ValueError for a language that there is not.

    >>> with language("vi"):
    ...     spoken()
    'vi'
    >>> spoken()
    'en'
    """
    return modes.language.set(_known(name))


def set_language(name: str) -> None:
    """From now on what people read is in this language, in every thread; `language` is for a while.

    Raises ValueError for a language that there is not.
    """
    modes.language.default = _known(name)


def spoken(name: str | None = None) -> str:
    """The language of an argument ``language=``, checked; without one that which is set."""
    return modes.language.get() if name is None else _known(name)


def _known(name: str) -> str:
    if name not in LANGUAGES:
        raise ValueError(f"the languages are {', '.join(map(repr, LANGUAGES))}, got {name!r}")
    return name


def said(part: str) -> dict[str, str]:
    """The texts of a part in the language that is set: name -> text."""
    return words_of(part)[spoken()]


@cache
def words_of(part: str) -> dict[str, dict[str, str]]:
    """The texts of a part: language -> name -> text."""
    text = files(__name__).joinpath(f"{part}.json").read_text(encoding="utf-8")
    found: dict[str, dict[str, str]] = json.loads(text)
    return found
