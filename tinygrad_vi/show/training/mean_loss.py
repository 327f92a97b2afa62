"""The mean loss over examples as a function of the parameters, compiled where that is possible."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tinygrad_vi.checks import DomainError, ShapeError
from tinygrad_vi.compiler.compiled import Compiled, compile
from tinygrad_vi.differentiated import differentiable
from tinygrad_vi.examples import check_examples, numbers_only, to_lists
from tinygrad_vi.nn.module import prediction
from tinygrad_vi.training.objective import trained_by
from tinygrad_vi.value import Value, no_grad

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]


def import_numpy() -> Any:
    """NumPy, or an ImportError that says what to install."""
    try:
        import numpy
    except ImportError:
        raise ImportError("plots need the package matplotlib: pip install matplotlib") from None
    return numpy


class MeanLoss:
    """The mean loss of the examples at any parameters; compiled, where it can be."""

    def __init__(self, caller: str, loss: Any, params: Any, X: Any, y: Any) -> None:
        np = import_numpy()
        self.parameters = trained_by(caller, loss, params, X)
        self.loss = loss
        self.data = [to_lists(numbers_only(table, name)) for table, name in ((X, "X"), (y, "y")) if table is not None]
        if self.data:
            check_examples(self.data[0], self.data[1] if len(self.data) > 1 else None)
        elif not isinstance(loss, Compiled) or loss.takes_data:
            raise ShapeError(
                "there are no examples: give X and y, or compile(loss, params) when the data stand in the loss"
            )
        self.step = loss if isinstance(loss, Compiled) else self._compiled()
        self.arrays = [] if self.step is None else [np.array(table, dtype=float) for table in self.data]

    def needs_examples(self) -> None:
        """Raise ShapeError for a compiled loss that holds its data itself."""
        if not self.data:
            raise ShapeError(
                "the compiled loss holds its examples itself: compile a loss of one example, loss(x, t), and give X, y"
            )

    @property
    def theta(self) -> Array:
        """The parameters as they are."""
        import numpy as np

        return np.array([p.data for p in self.parameters])

    def _compiled(self) -> Compiled | None:
        """The loss, if it compiles."""
        step = compile(self.loss, self.parameters, backend="numpy")
        expected = self._one_by_one(range(len(self.data[0])))
        try:
            with prediction():
                found = step(step.theta, *self.data)
        except Exception:  # not every loss compiles
            return None
        return step if math.isclose(found, expected, rel_tol=1e-9, abs_tol=1e-12) else None

    def of_example(self, number: int) -> Any:
        """The loss of one example."""
        loss = self.loss.fn if isinstance(self.loss, Compiled) else self.loss
        with differentiable():
            return loss(*[table[number] for table in self.data])

    def _one_by_one(self, rows: Sequence[int]) -> float:
        with prediction(), no_grad():
            losses = [self.of_example(i) for i in rows]
        return math.fsum(found.data if isinstance(found, Value) else found for found in losses) / len(losses)

    def __call__(self, theta: Array, rows: Sequence[int] | None = None) -> float:
        """The mean loss of all examples, or of some; DomainError where it cannot be computed."""
        if self.step is not None:
            with prediction():
                return float(self.step(theta, *(self.arrays if rows is None else [a[list(rows)] for a in self.arrays])))
        with placed(self.parameters, theta.tolist()):
            found = self._one_by_one(range(len(self.data[0])) if rows is None else rows)
        if not math.isfinite(found):
            raise DomainError(f"the mean loss is {found}")
        return found

    def along(self, ws: Any, rows: Sequence[int] | None = None) -> Array:
        """The mean loss at many places of the only parameter."""
        import numpy as np

        return np.array([self.or_nan(np.array([w]), rows) for w in ws])

    def or_nan(self, theta: Array, rows: Sequence[int] | None = None) -> float:
        """The mean loss, NaN where it cannot be computed."""
        try:
            return self(theta, rows)
        except (DomainError, OverflowError):
            return math.nan


@contextmanager
def placed(params: Sequence[Value], theta: Sequence[float]) -> Iterator[None]:
    """The parameters somewhere else, for a while."""
    before = [p.data for p in params]
    try:
        for p, x in zip(params, theta, strict=True):
            p.data = x
        yield
    finally:
        for p, x in zip(params, before, strict=True):
            p.data = x
