"""How many answers are right."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any

from tinygrad_vi.checks import DomainError, ShapeError, number, plain
from tinygrad_vi.losses import is_sigmoid
from tinygrad_vi.nn.module import prediction
from tinygrad_vi.predict import answers
from tinygrad_vi.training.objective import Examples
from tinygrad_vi.value import Value, recording


def accuracy(model: Callable[[Any], Any], X: Sequence[Any], y: Sequence[Any], *, threshold: float = 0.0) -> float:
    """The fraction of examples whose class the model gets right.

    A model with several outputs answers with the number of the largest, the first of several that are equal.  One with
    a single output says yes above the threshold (0 for logits and scores, 0.5 for probabilities), and the right answer
    is yes for a target above 0.  A Module is put in prediction mode meanwhile.

    Raises DomainError for an output that is NaN, ValueError for a target that is no class; warns where the record of
    the outputs says, or plain numbers suggest, that they are probabilities and the threshold is 0.

    >>> accuracy(lambda x: x - 0.5, [0.2, 0.9, 0.7], [0, 1, 0])
    0.6666666666666666
    """
    examples = Examples(X, y)
    if examples.y is None:
        raise ShapeError("accuracy needs a target for each example")
    threshold = number(threshold, "a threshold")
    if math.isnan(threshold):
        raise ValueError("the threshold is nan")
    found = [_outputs(answer) for answer in answers(model, examples.given[0])]
    for i, answer in enumerate(found):
        if not answer:
            raise ShapeError(f"the model gave no output for example {i}")
        if any(map(math.isnan, answer)):
            raise DomainError(f"the output of the model for example {i} is nan, which is no answer")
    if threshold == 0.0 and all(len(answer) == 1 for answer in found):
        warn_of_probabilities(found, _on_record(model, plain(examples.given[0][0])))
    right = [is_right(answer, t, threshold) for answer, t in zip(found, examples.y, strict=True)]
    return sum(right) / len(right)


def _outputs(output: Any) -> list[float]:
    output = plain(output)
    outputs = output if isinstance(output, (list, tuple)) else [output]
    return [number(v, "accuracy") for v in outputs]


def _on_record(model: Callable[[Any], Any], x: Any) -> Value | None:
    """The only output for an example with its record, if the model records one."""
    with prediction(), recording(True):
        output = model(x)
    [output] = output if isinstance(output, (list, tuple)) else [output]
    return output if isinstance(output, Value) and output.op is not None else None


def is_right(answer: Sequence[float], target: Any, threshold: float) -> bool:
    """Whether the outputs of a model name the class of the target."""
    if isinstance(target, (list, tuple)) and len(target) == 1:
        target = target[0]
    elif isinstance(target, (list, tuple)):
        if len(target) != len(answer) or abs(sum(target) - 1.0) > 1e-6:
            raise ValueError(f"accuracy compares one class for each example, got the target {target!r:.60}")
        target = target.index(max(target))
    if not isinstance(target, Real):
        raise ValueError(f"the target of an example is a number, got {target!r:.60}: number the classes")
    if len(answer) == 1:
        return (answer[0] > threshold) == (float(target) > 0.0)
    if not (0 <= float(target) < len(answer) and float(target).is_integer()):
        raise ValueError(f"there is no class {target!r} among {len(answer)} outputs")
    return answer.index(max(answer)) == target


def warn_of_probabilities(answers: Sequence[Sequence[float]], recorded: Value | None = None) -> None:
    """Warn of single outputs that are probabilities: against the threshold 0 they would all say yes.

    recorded: one of them with its record, which says whether it comes from a sigmoid; without it the numbers have to.
    """
    if recorded is not None:
        if is_sigmoid(recorded):
            warnings.warn("the outputs are those of a sigmoid: for probabilities give threshold=0.5", stacklevel=3)
    elif all(len(answer) == 1 and 0.0 < answer[0] < 1.0 for answer in answers) and len(answers) > 1:
        warnings.warn("all outputs lie between 0 and 1: for probabilities give threshold=0.5", stacklevel=3)
