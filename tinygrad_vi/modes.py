"""Modes: what the running thread or task has switched on or off.

A mode is not a global variable.  Two threads, two asyncio tasks, a generator that is suspended inside a ``with``, and
blocks that end in another order than they began may all have the same mode switched at once.  So each ``with`` opens a
*setting* of its own, and what holds is the newest setting that is still open in this thread or task.  Closing one
closes that one alone, whoever closes it, and never brings an older state back.

Reading a mode is on the path of every operation.  `Mode.open` is empty as long as nobody in the process has the mode
switched, so the common case costs one question about one set.
"""

from __future__ import annotations

import inspect
import sys
from contextlib import ContextDecorator
from contextvars import ContextVar
from types import FrameType
from typing import Any, Generic, TypeVar

T = TypeVar("T")

SUSPENDABLE = inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR


class Setting(Generic[T]):
    """One opening of a mode, by a switch.  generator: the frame that opened it, if it can be suspended meanwhile."""

    __slots__ = ("generator", "switch", "what")

    def __init__(self, switch: Switch[T], generator: FrameType | None) -> None:
        self.what = switch.what
        self.switch = switch
        self.generator = generator

    def reaches_here(self) -> bool:
        """Whether it holds for the running code: a setting made in a generator holds while the generator runs."""
        if self.generator is None:
            return True
        frame: FrameType | None = sys._getframe(1)
        while frame is not None and frame is not self.generator:
            frame = frame.f_back
        return frame is not None


class Mode(Generic[T]):
    """Something that can be set for a while, in this thread or task alone.

    >>> loud = Mode("loud", False)
    >>> with loud.set(True):
    ...     loud.get()
    True
    >>> loud.get()
    False
    """

    def __init__(self, name: str, default: T) -> None:
        self.name = name
        self.default = default
        #: the settings of all threads and tasks that are open now
        self.open: set[Setting[T]] = set()
        self._settings: ContextVar[tuple[Setting[T], ...]] = ContextVar(f"tinygrad_vi_{name}", default=())

    def get(self) -> T:
        """What holds here and now."""
        if self.open:
            for setting in reversed(self._settings.get()):
                if setting in self.open and setting.reaches_here():
                    return setting.what
        return self.default

    def set(self, what: T) -> Switch[T]:
        """A context manager, or decorator, inside of which the mode is ``what``."""
        return Switch(self, what)

    def begin(self, setting: Setting[T]) -> None:
        """Put a setting on top of those of this thread or task."""
        self.open.add(setting)  # one call, which no other thread can interrupt half-way
        self._settings.set((*self.here(), setting))

    def end(self, setting: Setting[T]) -> None:
        """End a setting, wherever it was opened."""
        self.open.discard(setting)
        self._settings.set(self.here())

    def here(self) -> tuple[Setting[T], ...]:
        """The open settings of this thread or task, the newest last."""
        return tuple([setting for setting in self._settings.get() if setting in self.open])

    def __repr__(self) -> str:
        return f"<mode {self.name}: {self.get()!r}>"


class Switch(ContextDecorator, Generic[T]):
    """Sets a mode from ``__enter__`` to ``__exit__``; may be entered again and again, by several threads at once."""

    def __init__(self, mode: Mode[T], what: T) -> None:
        self.mode = mode
        self.what = what

    def __enter__(self) -> None:
        self.mode.begin(Setting(self, _suspendable_caller()))

    def __exit__(self, *error: Any) -> None:
        # a generator may be closed by another thread than began it: then its setting is not among those of this one
        for setting in reversed((*self.mode.open, *self.mode.here())):
            if setting.switch is self:
                self.mode.end(setting)
                return


def _suspendable_caller() -> FrameType | None:
    """The frame of the ``with``, when it is a generator's: it may be suspended before the block has ended.

    A generator that contextlib runs (``@contextmanager``) is suspended on purpose: what it sets is meant for the code
    that it yields to.
    """
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and frame.f_globals.get("__name__") == "contextlib":  # an ExitStack, a decorator
        frame = frame.f_back
    if frame is None or not frame.f_code.co_flags & SUSPENDABLE:
        return None
    driver = frame.f_back
    return None if driver is not None and driver.f_globals.get("__name__") == "contextlib" else frame


#: whether operations are recorded
recording = Mode("recording", True)
#: whether results should be Values, to be differentiated again: inside a derivative, a loss, a module that records
differentiable = Mode("differentiable", False)
#: whether nothing is to be dropped, whatever mode a module is in
predicting = Mode("predicting", False)
#: what watches the one run of a function that is being compiled
tracing: Mode[Any] = Mode("tracing", None)
#: the leaves to differentiate by, when others may lack a derivative (as sqrt does at 0); None: it is an error of any
wanted: Mode[Any] = Mode("wanted", None)
