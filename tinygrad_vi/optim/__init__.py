"""Optimisers: what to do with a gradient.

An optimiser holds the parameters and, for each of them, a few numbers of its own (a momentum, a running mean).  `step`
reads the gradients that `Value.backward` has left and moves all parameters, or none: it raises DomainError, and changes
nothing, when a gradient or a new parameter is infinite or NaN.

    optimizer.zero_grad();  loss.backward();  optimizer.step()

A parameter that no sweep has reached yet stays where it is, as in PyTorch: weight decay and momentum leave it alone.

Each rule is written for one parameter: x is its value, g its gradient, the rest its state.  One step of each agrees
with PyTorch's optimiser of the same name.  A schedule is a function from the epoch to the learning rate.

`minimize` and `levenberg_marquardt` are for full-batch problems, over SciPy and NumPy.
"""

from tinygrad_vi.optim.clipping import clip_grad_norm as clip_grad_norm
from tinygrad_vi.optim.clipping import clip_grad_value as clip_grad_value
from tinygrad_vi.optim.rules import SGD as SGD
from tinygrad_vi.optim.rules import Adam as Adam
from tinygrad_vi.optim.rules import AdamW as AdamW
from tinygrad_vi.optim.rules import OnArrays as OnArrays
from tinygrad_vi.optim.rules import Optimizer as Optimizer
from tinygrad_vi.optim.rules import RMSprop as RMSprop
from tinygrad_vi.optim.schedules import cosine_decay as cosine_decay
from tinygrad_vi.optim.schedules import exponential_decay as exponential_decay
from tinygrad_vi.optim.schedules import inverse_time_decay as inverse_time_decay
from tinygrad_vi.optim.schedules import step_decay as step_decay
from tinygrad_vi.optim.solvers import levenberg_marquardt as levenberg_marquardt
from tinygrad_vi.optim.solvers import minimize as minimize

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "OnArrays",
    "Optimizer",
    "RMSprop",
    "clip_grad_norm",
    "clip_grad_value",
    "cosine_decay",
    "exponential_decay",
    "inverse_time_decay",
    "levenberg_marquardt",
    "minimize",
    "step_decay",
]


def __dir__() -> list[str]:
    return [*__all__]
