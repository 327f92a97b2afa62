"""once: a property that is computed when it is first asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar, overload

T = TypeVar("T")


class once(Generic[T]):  # it is used as a decorator
    """`functools.cached_property` without its lock.

    Before Python 3.12 that lock is one for all objects of a class: a process that forks while another thread holds it
    has a child in which the property never returns.

    >>> class Circle:
    ...     @once
    ...     def area(self):
    ...         print("computed")
    ...         return 3.0
    >>> circle = Circle()
    >>> circle.area + circle.area
    computed
    6.0
    """

    def __init__(self, function: Callable[[Any], T]) -> None:
        self.function = function
        self.name = function.__name__
        self.__doc__ = function.__doc__

    @overload
    def __get__(self, instance: None, owner: Any = None) -> once[T]: ...
    @overload
    def __get__(self, instance: object, owner: Any = None) -> T: ...
    def __get__(self, instance: object | None, owner: Any = None) -> once[T] | T:
        if instance is None:
            return self
        found = self.function(instance)
        instance.__dict__[self.name] = found  # Python looks here first: from now on this method is not called
        return found
