"""The course of a training in numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tinygrad_vi.checks import DomainError, counted

if TYPE_CHECKING:
    from tinygrad_vi.show.plot import Plot


@dataclass(repr=False, kw_only=True)
class History:
    """The numbers of a training, one entry for each epoch.

    loss: the mean over the examples, each measured before the step its batch led to; penalty included.  gradient_norm:
    the length of the gradient before clipping, the mean over the batches.  learning_rate.  time: seconds from the start
    to the end of the epoch.  validation_loss: after the epoch, where there is validation data.  stopped: why training
    ended.
    """

    loss: list[float] = field(default_factory=list)
    gradient_norm: list[float] = field(default_factory=list)
    learning_rate: list[float] = field(default_factory=list)
    time: list[float] = field(default_factory=list)
    validation_loss: list[float] = field(default_factory=list)
    stopped: str = ""

    def _add(self, row: Mapping[str, float]) -> None:
        """Append to the columns.  ``any`` does it all in C (append returns None), so that Ctrl-C cannot split a row."""
        columns = [getattr(self, name) for name in row]
        any(map(list.append, columns, row.values()))

    @property
    def epochs(self) -> int:
        """How many epochs there were."""
        return len(self.loss)

    def plot(self) -> Plot:
        """Loss, gradient norm and learning rate by epoch, as a picture: ``history.plot().save("loss.png")``."""
        from tinygrad_vi.show.training.plots import loss_curve

        return loss_curve(self)

    def __repr__(self) -> str:
        if not self.loss:
            return f"<History of no epoch; {self.stopped}>" if self.stopped else "<History of no epoch>"
        validation = f", validation loss {self.validation_loss[-1]:.4g}" if self.validation_loss else ""
        why = f"; {self.stopped}" if self.stopped else ""
        return (
            f"<History of {counted(self.epochs, 'epoch')} in {self.time[-1]:.1f} s: "
            f"loss {self.loss[0]:.4g} -> {self.loss[-1]:.4g}{validation}{why}>"
        )


class TrainingError(DomainError):
    """The loss or a gradient became infinite or NaN; the parameters are those of the last good step.

    epoch, batch: where, counted from 1 (batch 0: in validation).  history: of the epochs before.
    """

    def __init__(self, where: str, batch: int, history: History) -> None:
        self.epoch, self.batch, self.history = history.epochs + 1, batch, history
        super().__init__(
            f"training stopped in epoch {self.epoch}, {where}. The parameters are as they were after the last good "
            "step; a smaller learning rate may help"
        )
