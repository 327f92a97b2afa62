"""Sums of BLAS in one thread: their last bits depend on how many threads share them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any

from tinygrad_vi.checks import package

_lock = Lock()
_inside = 0
_controller: Any = None  # it looks for the libraries once, which takes milliseconds
_limits: Any = None


@contextmanager
def one_thread() -> Iterator[None]:
    """BLAS computes in one thread, in this process, until the last of those who asked for it has left.

    The package threadpoolctl, which scikit-learn brings, would put a number back that another thread has changed.
    """
    global _inside, _controller, _limits
    with _lock:
        if _inside == 0:
            _controller = _controller or package("threadpoolctl", "an estimator").ThreadpoolController()
            _limits = _controller.limit(limits=1, user_api="blas")
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0:
                _limits.restore_original_limits()
                _limits = None
