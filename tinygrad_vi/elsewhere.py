"""Names that scripts written for micrograd or PyTorch use: some are read here, the others say what to write instead."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

OWN_OPERATIONS = (
    "How a Value was made is recorded by operators and functions, and cannot be said by hand: its gradient would be 0. "
    "For an operation of your own write @operation(partials=lambda out, x: ...) above a function of numbers, for a "
    "whole function @custom_derivative(...); both are in tinygrad_vi"
)


def micrograds(read: Callable[[Any], Any], name: str, doc: str) -> property:
    """One of the names by which scripts written for micrograd read the record; assigning it is an error."""

    def refuse(_: Any, __: Any) -> NoReturn:
        raise AttributeError(f"{name} is not assigned. {OWN_OPERATIONS}")

    return property(read, refuse, doc=doc)


class Elsewhere:
    """An attribute that scripts written for PyTorch ask for and that does not exist here: the error says what to write.

    ``hasattr`` says False, and users may set an attribute of this name.
    """

    def __init__(self, advice: str) -> None:
        self.advice = advice

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, thing: Any, owner: type) -> NoReturn:
        raise AttributeError(f"{owner.__name__!r} object has no attribute {self.name!r}: {self.advice}")
