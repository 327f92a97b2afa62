"""What a case is: it takes the function `duel` and returns duels, the printed version, the corrected one, and judges.

No number in a case is a result; each is given in the notes or chosen for the exercise whose name the duel carries.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tinygrad_vi.course.duels import Duel

Case = Callable[[Callable[..., Duel]], list[Duel]]
Matrix = Sequence[Sequence[Any]]

CASES: dict[str, Case] = {}


def case(function: Case) -> Case:
    """Register a case: its function has the name of its erratum, such as e09."""
    CASES[function.__name__.upper()] = function
    return function
