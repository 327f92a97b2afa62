"""Training: the loop around loss, gradient and optimiser.

`fit` asks for the loss of ONE example, written in scalar code.  It goes through the examples in batches, averages the
gradients of a batch and lets the optimiser take a step: with all examples in a batch this is (full-)batch gradient
descent, with one stochastic gradient descent, and mini-batch descent in between.
"""

from tinygrad_vi.training.answers import accuracy as accuracy
from tinygrad_vi.training.history import History as History
from tinygrad_vi.training.history import TrainingError as TrainingError
from tinygrad_vi.training.loop import fit as fit

__all__ = [
    "History",
    "TrainingError",
    "accuracy",
    "fit",
]


def __dir__() -> list[str]:
    return [*__all__]
