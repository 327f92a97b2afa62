"""A compiled function together with its data: a function of theta alone, for optimisers and samplers."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_vi.compiler.answers import FLOAT
from tinygrad_vi.compiler.traced import WithData
from tinygrad_vi.trees import values_in

if TYPE_CHECKING:
    from tinygrad_vi.compiler.answers import Answer, Known
    from tinygrad_vi.compiler.compiled import Compiled


class Bound:
    """A compiled function with its data; `Compiled.bind` makes it.

    It takes theta, and answers as the compiled function answers for theta and the data, number for number.  The data
    are copied: what becomes of the arrays afterwards does not matter.  What the function reads elsewhere is watched.

        bound(theta)                    the mean over the examples
        bound.value_and_grad(theta)     with its gradient: ``minimize(bound.value_and_grad, x0, jac=True)``
        bound.grad, bound.each, bound.jacobian, bound.hessian      of theta
        bound.hvp(theta, v), bound.jvp(theta, v)
    """

    def __init__(self, step: Compiled, data: Sequence[Any]) -> None:
        if values_in(data):
            raise TypeError("bind takes numbers, got Values among the data: derivatives are by theta alone")
        self.step, self.data = step, tuple(deepcopy(list(data)))
        self._known: dict[str, Known] = {}

    def __call__(self, theta: Any) -> Any:
        """The mean over the examples."""
        answer = self._at_once("value", theta)
        if answer is None:
            return self._and_learn("value", theta, self.step(theta, *self.data))
        found, _, traced = answer
        return float(found[0]) if traced.shape == () else found.reshape(traced.shape)

    def value_and_grad(self, theta: Any) -> tuple[float, Any]:
        """The mean over the examples and its gradient."""
        answer = self._at_once("value_and_gradient", theta)
        if answer is None:
            what = "value_and_gradient"
            return self._and_learn(what, theta, self.step.value_and_grad(theta, *self.data))  # type: ignore[no-any-return]
        return float(answer[0][0]), answer[0][1:]

    def grad(self, theta: Any) -> Any:
        """The gradient of the mean."""
        return self.value_and_grad(theta)[1]

    def each(self, theta: Any) -> Any:
        """The result of each example."""
        return self.step.each(theta, *self.data)

    def jacobian(self, theta: Any, *, sparse: bool = False) -> Any:
        """The derivatives of the result of each example."""
        return self.step.jacobian(theta, *self.data, sparse=sparse)

    def jvp(self, theta: Any, v: Any) -> tuple[Any, Any]:
        """The mean and its derivative along v."""
        return self.step.jvp(theta, v, *self.data)

    def hvp(self, theta: Any, v: Any) -> Any:
        """The product of the Hessian of the mean with v."""
        return self.step.hvp(theta, v, *self.data)

    def hessian(self, theta: Any, *, sparse: bool = False) -> Any:
        """The Hessian of the mean."""
        return self.step.hessian(theta, *self.data, sparse=sparse)

    def _at_once(self, what: str, theta: Any) -> Answer | None:
        """The answer of a program whose data are laid out; None where there is more to do."""
        known = self._known.get(what)
        if known is None or theta.__class__ is not np.ndarray or theta.dtype is not FLOAT or theta.shape != known[2]:
            return None
        return self.step._answers.at_once(known, theta, self.data)

    def _and_learn(self, what: str, theta: Any, answer: Any) -> Any:
        """The answer; its program is asked at once from now on, if the compiled function would ask it at once."""
        shapes = what, getattr(theta, "shape", None), *[getattr(x, "shape", None) for x in self.data]
        known = self.step._answers.known.get(shapes)
        if known is None:
            self._known.pop(what, None)
        elif what not in self._known or self._known[what][0] is not known[0]:  # else: it had reasons not to answer
            traced, runner, shape = known
            runner = runner if traced.data is not None else WithData(runner, list(self.data))
            self._known[what] = traced, runner, shape
        return answer

    def __repr__(self) -> str:
        shapes = ", ".join([str(getattr(x, "shape", type(x).__name__)) for x in self.data])
        return f"<{self.step!r} bound to data of the shapes {shapes}>"
