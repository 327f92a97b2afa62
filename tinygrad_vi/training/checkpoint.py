"""Checkpoints: a training that goes on where it was interrupted."""

from __future__ import annotations

import math
import os
import random
import warnings
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tinygrad_vi.checks import counted
from tinygrad_vi.files import finite, json_text, read_json, shown, whole, write_atomically
from tinygrad_vi.optim.rules import Optimizer
from tinygrad_vi.training.history import History
from tinygrad_vi.value import Value

CHECKPOINT_FORMAT = "tinygrad_vi checkpoint"


# --- Checkpoints ------------------------------------------------------------------------------------------------------


class Run:
    """What a checkpoint holds: parameters, the best ones so far, the optimiser, the history, the random numbers.

    settings: what must be the same for a resumed run to take the same steps.
    """

    def __init__(self, params: list[Value], optimizer: Optimizer, settings: dict[str, Any]) -> None:
        self.parameters, self.optimizer, self.settings = params, optimizer, settings
        self.history = History()
        self.bests: list[tuple[int, list[float]]] = []  # the last two, each with its epoch

    @property
    def best(self) -> list[float]:
        """The parameters after the epoch with the lowest validation loss; none before the first has ended."""
        return next((numbers for epoch, numbers in reversed(self.bests) if epoch <= self.history.epochs), [])

    def end_epoch(self, row: Mapping[str, float]) -> None:
        """Enter an epoch into the history, and keep the parameters when its validation loss is the lowest so far.

        They are kept first, with the number of the epoch; `best` looks at them only once the history has this epoch.
        """
        if "validation_loss" in row and row["validation_loss"] < min(self.history.validation_loss, default=math.inf):
            self.bests = [*self.bests[-1:], (self.history.epochs + 1, [p.data for p in self.parameters])]
        self.history._add(row)

    def restore_best(self) -> None:
        """Put the best parameters back."""
        for p, x in zip(self.parameters, self.best, strict=False):  # there are none before the first epoch has ended
            p.data = x

    def text(self) -> str:
        """The checkpoint."""
        content = {
            "settings": self.settings,
            "names": [p.label for p in self.parameters],
            "parameters": [p.data for p in self.parameters],
            "best": self.best,
            "optimizer": self.optimizer.state_dict(),
            "history": asdict(self.history),
            "random": random.getstate(),
        }
        return json_text(CHECKPOINT_FORMAT, content)

    def save(self, path: Path) -> None:
        """Write the checkpoint, or leave the old one as it is and say so: the training must not be lost with it."""
        try:
            write_atomically(path, self.text())
        except (OSError, ValueError, TypeError) as error:
            older = "the one of an earlier epoch stays" if path.exists() else "there is none"
            warnings.warn(
                f"the checkpoint of epoch {self.history.epochs} could not be written: {error}. The training goes on "
                f"without it ({older}); its parameters and history are in memory",
                RuntimeWarning,
                stacklevel=3,
            )

    def begin(self, path: Path, resume: bool) -> None:
        """Continue from the checkpoint, if there is one; nothing is changed when it does not fit.

        If no checkpoint can be written, that is an error now, and not after an epoch has been computed.
        """
        if not path.parent.is_dir():
            raise FileNotFoundError(f"there is no folder {path.parent} to keep {path.name} in")
        if not os.access(path if path.exists() else path.parent, os.W_OK):
            raise PermissionError(f"the checkpoint {path} cannot be written: its mode or that of its folder forbids it")
        try:
            self.text()
        except (ValueError, TypeError) as error:
            raise type(error)(f"no checkpoint can be made of this training: {error}") from None
        if not path.exists():
            return
        if not resume:
            raise FileExistsError(
                f"{path} is the checkpoint of an earlier run: resume=True goes on from there; to start anew, delete it "
                "or choose another name"
            )
        parts = {"settings": dict, "names": list, "parameters": list, "best": list, "optimizer": dict, "history": dict}
        content = read_json(path, CHECKPOINT_FORMAT, {**parts, "random": list})
        try:
            change = self._checked(content)
        except (ValueError, TypeError, ArithmeticError, AttributeError) as error:
            raise ValueError(f"cannot resume from {path}: {error}") from None
        whole(self._restore, *change)

    def _checked(self, content: dict[str, Any]) -> tuple[Any, ...]:
        """The arguments of `_restore`, after every number of a checkpoint has been checked."""
        for name, ours in self.settings.items():
            theirs = content["settings"].get(name)
            if theirs != ours:
                raise ValueError(f"it was made with {name} = {theirs!r}, now it is {ours!r}")
        names = [p.label for p in self.parameters]
        if content["names"] != names:
            n, m = len(content["names"]), len(names)
            different = [f"{a!r} instead of {b!r}" for a, b in zip(content["names"], names, strict=False) if a != b]
            what = f"it has {counted(n, 'parameter')}, now there are {m}" if n != m else f"it has {different[0]}"
            raise ValueError(f"it belongs to another architecture: {what}")
        numbers = {name: _numbers(content[name], name) for name in ("parameters", "best")}
        for name, column in numbers.items():
            if len(column) not in (len(names), 0 if name == "best" else len(names)):
                raise ValueError(f"{name} should have {len(names)} numbers, got {len(column)}")
        stopped = content["history"].get("stopped")
        if not isinstance(stopped, str):
            raise ValueError(f"stopped in its history should be a text, got {shown(stopped)}")
        columns = {name: _numbers(x, name) for name, x in content["history"].items() if name != "stopped"}
        history = History(**columns, stopped=stopped)
        for name, column in columns.items():
            if len(column) not in (history.epochs, 0 if name == "validation_loss" else history.epochs):
                raise ValueError(f"{name} in its history should have {history.epochs} numbers")
        version, internal, gauss = content["random"]
        random_state = version, tuple(internal), None if gauss is None else finite(gauss, "the random state")
        random.Random().setstate(random_state)  # raises an error if it does not fit
        # the learning rate is the checkpoint's: a schedule may have moved it
        given = {**self.optimizer.settings, "learning_rate": None}
        kept = {**content["optimizer"].get("settings", {}), "learning_rate": None}
        if content["optimizer"].get("name") == type(self.optimizer).__name__ and given != kept:
            raise ValueError(f"its optimiser has the settings {kept}, the given one {given}")
        state = self.optimizer.checked_state(content["optimizer"])
        bests = [(history.epochs, numbers["best"])] if numbers["best"] else []
        return numbers["parameters"], state, random_state, history, bests

    def _restore(self, numbers: Any, state: Any, random_state: Any, history: History, bests: Any) -> None:
        for p, x in zip(self.parameters, numbers, strict=True):
            p.data = x
        self.optimizer.take_state(state)
        random.setstate(random_state)
        self.history, self.bests = history, bests


def _numbers(numbers: Any, name: str) -> list[float]:
    if not isinstance(numbers, list):
        raise ValueError(f"{name} should be a list of numbers, got {shown(numbers)}")
    return [finite(x, f"{name}[{i}]") for i, x in enumerate(numbers)]
