"""Schedules: learning rates that change with the epoch."""

from __future__ import annotations

import math
from collections.abc import Callable

from tinygrad_vi.checks import DomainError, at_least, whole_number

# --- Schedules: epoch -> learning rate --------------------------------------------------------------------------------

Schedule = Callable[[int], float]


def step_decay(learning_rate: float, every: int, *, factor: float = 0.1) -> Schedule:
    """learning_rate * factor**(epoch // every): times ``factor`` after each ``every`` epochs.

    Raises ValueError, as all schedules do, for a rate or factor that is negative or not finite.

    >>> [step_decay(1.0, every=2, factor=0.5)(epoch) for epoch in range(5)]
    [1.0, 1.0, 0.5, 0.5, 0.25]
    """
    whole_number(every, "every")
    decayed = exponential_decay(learning_rate, factor)
    return lambda epoch: decayed(epoch // every)


def exponential_decay(learning_rate: float, factor: float) -> Schedule:
    """learning_rate * factor**epoch.

    >>> [exponential_decay(1.0, factor=0.5)(epoch) for epoch in range(4)]
    [1.0, 0.5, 0.25, 0.125]
    """
    rate, factor = at_least(learning_rate, 0.0, "the learning rate"), at_least(factor, 0.0, "the factor")

    def decayed(epoch: int) -> float:
        try:
            return float(rate * factor**epoch)
        except OverflowError:
            raise DomainError(f"the learning rate {rate} * {factor}**{epoch} is too large for a float") from None

    return decayed


def cosine_decay(learning_rate: float, epochs: int, *, end: float = 0.0) -> Schedule:
    """Half a cosine from learning_rate down to ``end`` in ``epochs`` epochs; ``end`` from then on.

    >>> [round(cosine_decay(1.0, epochs=4)(epoch), 3) for epoch in range(6)]
    [1.0, 0.854, 0.5, 0.146, 0.0, 0.0]
    """
    whole_number(epochs, "epochs")
    rate, end = at_least(learning_rate, 0.0, "the learning rate"), at_least(end, 0.0, "the end")
    return lambda epoch: end + (rate - end) * 0.5 * (1.0 + math.cos(math.pi * min(epoch / epochs, 1.0)))


def inverse_time_decay(learning_rate: float, *, rate: float = 1.0) -> Schedule:
    """learning_rate / (1 + rate * epoch), which sums to infinity though its squares do not (Robbins and Monro, 1951).

    >>> [inverse_time_decay(1.0)(epoch) for epoch in range(4)]
    [1.0, 0.5, 0.3333333333333333, 0.25]
    """
    first, rate = at_least(learning_rate, 0.0, "the learning rate"), at_least(rate, 0.0, "the rate of decay")
    return lambda epoch: first / (1.0 + rate * epoch)
