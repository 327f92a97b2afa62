"""Modes: what the running thread or task has switched on or off.

A mode is not a global variable.  Two threads, two asyncio tasks, a generator that is suspended inside a ``with``, and
blocks that do not end in the reverse order of their beginnings may all have the same mode switched at the same time.
So each ``with`` opens a *setting* of its own, and what holds is the newest setting that is still open in this thread or
task.  Closing one ends that one alone, in whatever thread it is closed, and never restores an older state.

Reading a mode is on the path of every operation.  `Mode.open` is empty as long as nobody in the process has the mode
switched, so the common case costs one question about one set.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import ContextDecorator, contextmanager
from contextvars import ContextVar
from functools import wraps
from itertools import count
from types import FrameType
from typing import Any, Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")
F = TypeVar("F", bound=Callable[..., Any])

#: the flags of a generator's code, and an asynchronous one's: CO_GENERATOR, CO_ASYNC_GENERATOR of `inspect`
SUSPENDABLE = 0x20 | 0x200
_ages = count()


class Setting(Generic[T]):
    """One opening of a mode: what it is set to, by which switch, and the frame that said so.

    confined: the frame is a generator's, which may be suspended meanwhile; the setting holds while it runs, in
    whatever thread.  age: settings are numbered as they are made.
    """

    __slots__ = ("age", "confined", "ended", "frame", "switch", "what")

    def __init__(self, switch: Switch[T], frame: FrameType | None, confined: bool) -> None:
        self.what = switch.what
        self.switch = switch
        self.frame = frame
        self.confined = confined
        self.ended = False
        self.age = next(_ages)

    def reaches_here(self) -> bool:
        """Whether the generator that opened it is running."""
        frame: FrameType | None = sys._getframe(1)
        while frame is not self.frame and frame is not None:
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
        #: the settings of all threads and tasks that are open now, and those among them that a generator has opened
        self.open: set[Setting[T]] = set()
        self.in_generators: set[Setting[T]] = set()
        self.settings: ContextVar[tuple[Setting[T], ...]] = ContextVar(f"tinygrad_vi_{name}", default=())

    def get(self) -> T:
        """What holds here and now."""
        if self.open:
            settings = self.settings.get()
            if settings and not self.in_generators:
                newest = settings[-1]
                if not newest.ended:  # the usual one, without a loop
                    return newest.what
            for setting in reversed(self._reaching(settings) if self.in_generators else settings):
                if not setting.ended and (not setting.confined or setting.reaches_here()):
                    return setting.what
        return self.default

    def _reaching(self, settings: Sequence[Setting[T]]) -> Sequence[Setting[T]]:
        """The settings of this thread or task, and those of generators that another one began, by age."""
        others = [setting for setting in self.in_generators.copy() if setting not in settings]
        return sorted([*settings, *others], key=lambda setting: setting.age) if others else settings

    def set(self, what: T) -> Switch[T]:
        """A context manager, or decorator: inside, the mode is ``what``."""
        return Switch(self, what)

    def during(self, what: T, function: Callable[..., R], /, *args: Any, **named: Any) -> R:
        """Call a function with the mode set to ``what``: as ``with`` does, but no Ctrl-C can leave the mode behind.

        Python may handle Ctrl-C on entering ``__exit__``.  Here the end begins with a call into C, where it does not.
        """
        setting = Setting(Switch(self, what), None, confined=False)
        token = None
        try:
            self.open.add(setting)
            token = self.settings.set((*self.here(), setting))
            return function(*args, **named)
        finally:
            if token is None:
                self.end(setting)
            else:
                try:
                    self.settings.reset(token)
                finally:
                    self.open.discard(setting)

    def end(self, setting: Setting[T]) -> None:
        """End a setting, wherever it was opened."""
        setting.ended = True
        self.open.discard(setting)
        self.in_generators.discard(setting)
        settings = self.settings.get()
        if settings and settings[-1] is setting:  # the usual case, without a loop
            self.settings.set(settings[:-1])
        else:
            self.settings.set(self.here())
        setting.frame = None  # other contexts may still list the setting: they need not hold the frame's variables

    def here(self) -> tuple[Setting[T], ...]:
        """The open settings of this thread or task, the newest last."""
        settings = self.settings.get()
        return tuple([setting for setting in settings if not setting.ended]) if settings else settings

    def newest(self, switch: Switch[T], frame: FrameType | None) -> Setting[T] | None:
        """The newest setting of a switch: by preference one of this frame, else one of this thread or task."""
        for setting in reversed(self.settings.get()):
            if setting.frame is frame and setting.switch is switch:
                return setting
        # a generator may be closed by another thread than began it: then its setting is not among those of this one
        mine = [setting for setting in (*self.open.copy(), *self.here()) if setting.switch is switch]
        return max(mine, key=lambda setting: setting.frame is frame, default=None)

    def __repr__(self) -> str:
        return f"<mode {self.name}: {self.get()!r}>"


class Switch(ContextDecorator, Generic[T]):
    """Sets a mode from ``__enter__`` to ``__exit__``; may be entered many times, also by several threads at once.

    As a decorator it sets the mode while the function runs: for a generator or coroutine, while its body does.
    """

    def __init__(self, mode: Mode[T], what: T) -> None:
        self.mode = mode
        self.what = what

    def __enter__(self) -> None:
        frame: FrameType | None = _getframe(1)
        code = frame.f_code  # type: ignore[union-attr]
        if code.co_name in PASSING_ON or code.co_filename == OF_CONTEXTLIB or code.co_flags & SUSPENDABLE:
            frame = _caller()
            confined = _is_suspended_at_will(frame)
        else:
            confined = False  # the usual frame, of a plain function
        mode, setting = self.mode, Setting(self, frame, confined)
        try:
            mode.open.add(setting)  # one call, which no other thread can interrupt half-way
            if confined:
                mode.in_generators.add(setting)
            settings = mode.settings.get()
            mode.settings.set((*mode.here(), setting) if settings else (setting,))
        except BaseException:  # Ctrl-C, just before the block that would have ended it
            mode.end(setting)
            raise

    def __exit__(self, *error: Any) -> None:
        setting = None
        try:
            mode = self.mode
            settings = mode.settings.get()
            if settings and settings[-1].switch is self and settings[-1].frame is _getframe(1):
                setting = settings[-1]  # the usual case, as `Mode.end` does it
                setting.ended = True
                mode.open.discard(setting)
                mode.in_generators.discard(setting)
                mode.settings.set(settings[:-1])
                setting.frame = None
            elif setting := self.mode.newest(self, _caller()):
                self.mode.end(setting)
        except BaseException:  # Ctrl-C: recording would stay off for good
            if setting := setting or self.mode.newest(self, _caller()):
                self.mode.end(setting)
            raise

    def __call__(self, function: F) -> F:
        """The function, with the mode set while its body runs.  Raises TypeError for an asynchronous generator."""
        import inspect  # which takes longer to load than all of this package

        wrapper: Any
        if inspect.isasyncgenfunction(function):
            raise TypeError(
                f"{function.__name__} is an asynchronous generator, which cannot be wrapped: write the `with` inside it"
            )
        if inspect.iscoroutinefunction(function):

            async def wrapper(*args: Any, **named: Any) -> Any:
                with self:
                    return await function(*args, **named)

        elif inspect.isgeneratorfunction(function):

            def wrapper(*args: Any, **named: Any) -> Any:
                with self:
                    return (yield from function(*args, **named))

        else:
            return super().__call__(function)
        return wraps(function)(wrapper)  # type: ignore[return-value]


_getframe = sys._getframe
#: the file of the code that runs generators as context managers, and stacks of them
OF_CONTEXTLIB = contextmanager.__code__.co_filename


def _caller() -> FrameType | None:
    """The frame of the ``with``, or of the call of a decorated function."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and (frame.f_code.co_name in PASSING_ON or frame.f_globals.get("__name__") == "contextlib"):
        frame = frame.f_back  # an ExitStack, a decorator, a context manager around this one
    return frame


PASSING_ON = {"__enter__", "__exit__", "__aenter__", "__aexit__"}


def _is_suspended_at_will(frame: FrameType | None) -> bool:
    """Whether it is a generator's frame, which may be suspended before the block has ended.

    A generator that contextlib or a test's fixture runs is suspended on purpose: what it sets is meant for the code
    that it yields to.
    """
    if frame is None or not frame.f_code.co_flags & SUSPENDABLE:
        return False
    runner = frame.f_back
    return runner is None or runner.f_globals.get("__name__") not in RUNNERS_OF_CONTEXTS


#: who runs a generator as a context manager
RUNNERS_OF_CONTEXTS = {"contextlib", "_pytest.fixtures"}

#: whether operations are recorded
recording = Mode("recording", True)
#: whether derivatives by plain numbers are Values, to be differentiated again: so inside a derivative or a loss
differentiable = Mode("differentiable", False)
#: whether nothing is to be dropped, whatever mode a module is in
predicting = Mode("predicting", False)
#: leaves that are differentiated by while a loss is run: parameters in training
trained: Mode[frozenset[Any]] = Mode("trained", frozenset())
#: what watches the one run of a function that is being compiled
tracing: Mode[Any] = Mode("tracing", None)
#: the only leaves that need a derivative: others may have none (sqrt at 0); None: every node needs one
wanted: Mode[Any] = Mode("wanted", None)
#: a function from the chance to keep an entry to the factor that `Dropout` multiplies it with; None: drawn at random
dropping: Mode[Any] = Mode("dropping", None)
#: what neurons, layers and recurrent networks tell what they compute, for a picture of it; None: nobody
noting: Mode[Any] = Mode("noting", None)

#: the language of what people read: see `tinygrad_vi.words`
language: Mode[str] = Mode("language", "en")

ALL: tuple[Mode[Any], ...] = (
    recording, differentiable, predicting, trained, tracing, wanted, dropping, noting, language,
)  # fmt: skip


def opened() -> list[tuple[Any, ...]]:
    """The open settings of this thread or task, for each mode."""
    return [mode.here() for mode in ALL]


def end_all_but(before: list[tuple[Any, ...]]) -> None:
    """End what was opened here since: for code that catches Ctrl-C, which may have skipped the end of a block."""
    for mode, settings in zip(ALL, before, strict=True):
        for setting in mode.here():
            if setting not in settings:
                mode.end(setting)
