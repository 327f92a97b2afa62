"""What a compiled function raises of its own."""

from __future__ import annotations

from typing import Any

from tinygrad_vi.checks import DomainError


class NotFinite(DomainError):
    """A result is infinite or NaN.  example: its place in the batch, from 0; None where the function takes no data."""

    def __init__(self, text: str, example: int | None = None) -> None:
        self.text, self.example = text, example
        super().__init__(text if example is None else f"example {example}: {text}")


class GivenValues(TypeError):
    """Values were given where a compiled function computes with numbers."""

    def __init__(self, name: str, arguments: tuple[Any, ...] = ()) -> None:
        self.arguments = arguments
        super().__init__(
            f"{name} holds Values, and this answer of a compiled function is made of numbers: it is not differentiated "
            "through. Use the function that was compiled itself, or step(...) and step.grad(...) of a function whose "
            "parameters are an argument, compile(lambda w, x: ...)"
        )
