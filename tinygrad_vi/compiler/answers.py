"""The answers of a compiled function: how its program is asked, and what is checked on the way."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_vi.compiler.blame import Blame
from tinygrad_vi.compiler.examples import masked, only_numbers, tables_of, vector
from tinygrad_vi.compiler.matrices import Matrix
from tinygrad_vi.compiler.recorded import recorded_answer
from tinygrad_vi.compiler.traced import Traced
from tinygrad_vi.compiler.traces import Traces
from tinygrad_vi.compiler.user_function import UserFunction
from tinygrad_vi.compiler.verification import Verification
from tinygrad_vi.differentiated import differentiating
from tinygrad_vi.examples import Table
from tinygrad_vi.modes import predicting
from tinygrad_vi.tracing import being_differentiated, differentiated_by

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    #: the numbers, the shape of theta, and the trace that they come from
    Answer = tuple[Any, tuple[int, ...], Traced]
    #: a trace, what runs a question on it, the shape of theta
    Known = tuple[Traced, Any, tuple[int, ...]]

FLOAT = np.dtype(float)
#: shapes of data that are answered at once
MOST_KNOWN = 64


class Answers:
    """What the program of a function answers.

    verifies: whether first answers are compared with the function itself.  remembers: whether a question that was asked
    before may be answered at once.
    """

    def __init__(self, function: UserFunction, traces: Traces, verifies: bool, remembers: bool) -> None:
        self.function, self.traces, self.verifies, self.remembers = function, traces, verifies, remembers
        #: what answered a question, by the shapes of the arrays: the trace, the runner
        self.known: dict[Any, Known] = {}

    def as_before(self, what: str, theta: Any, data: Sequence[Any]) -> Answer | None:
        """The answer of `ask`, without its checks, to what was asked before with arrays of these shapes or a number.

        None where the checks are needed: something has changed, another example must be seen, a mask is drawn, a
        number is not finite.
        """
        if theta.__class__ is float and not data:
            known, theta = self.known.get((what, float)), np.array((theta,))
        elif theta.__class__ is not np.ndarray or theta.dtype is not FLOAT:
            return None
        elif not data:
            known = self.known.get((what, theta.shape))
        else:
            shapes = [what, theta.shape]
            for x in data:
                if x.__class__ is not np.ndarray or x.dtype is not FLOAT:
                    return None
                shapes.append(x.shape)
            known = self.known.get(tuple(shapes))
        return None if known is None else self.at_once(known, theta, data)

    def at_once(self, known: Known, theta: Any, data: Sequence[Any]) -> Answer | None:
        """What is known to answer, asked again with arrays of the same shapes; None where there is more to do."""
        if predicting.open or (self.function.parameters is None and differentiating()):
            return None
        traced, runner, shape = known
        if traced.dropped or not (traced.has_seen(data) and traced.holds()):
            return None
        if being_differentiated() and differentiated_by(traced.around):  # `_answer` computes that
            return None
        with self.function.lock:
            found, checksum = runner(np.ascontiguousarray(theta), data)
        if not math.isfinite(checksum) and not np.isfinite(found).all():
            return None
        self.traces.last = traced
        return found[:-1] if runner.flagged else found, shape, traced

    def _remember(self, what: str, traced: Traced, theta: Any, data: Sequence[Any]) -> None:
        """Let `as_before` answer from now on, if these are arrays of floats and nothing is drawn."""
        if not self.remembers or traced.keeps or predicting.open:
            return
        if theta.__class__ is float and not data:
            self.known[what, float] = traced, traced.runners[what], ()
            return
        usual = all(x.__class__ is np.ndarray and x.dtype is FLOAT and x.ndim for x in (theta, *data))
        if not usual or theta.ndim != 1:
            return
        if len(self.known) > MOST_KNOWN:
            del self.known[next(iter(self.known))]
        shapes = what, theta.shape, *[x.shape for x in data]
        self.known[shapes] = traced, traced.runners[what], theta.shape

    def ask(self, what: str, theta: ArrayLike, data: Sequence[ArrayLike], v: ArrayLike | None = None) -> Answer:
        """The numbers that answer a question, a method of `Program` by its name; v: of a product."""
        return self._answer(what, *self._ready(theta, data), theta, data, v)

    def matrix(self, what: str, theta: ArrayLike, data: Sequence[ArrayLike]) -> tuple[Traced, Matrix, int]:
        """Where the entries of a Jacobian or Hessian stand, by the trace alone, and for how many examples."""
        traced, tables = self._ready(theta, data)
        self._check_one_result(what, traced)
        if traced.data is None or what != "jacobian":
            traced.runner(what)
        return traced, traced.matrix(what), len(tables[0].numbers) if tables else 1

    def verify(self, theta: ArrayLike, data: Sequence[Any], rows: int) -> float:
        """The largest difference from the function itself on some rows, drawn by chance; see `Compiled.verify`."""
        tables = tables_of(data, self.function.names_for(data))
        traced = self.traces.prepare(theta, tables)
        if not (traced.leaves.same() and traced.captured.look_again()):
            self.traces.forget(traced)
            traced = self.traces.prepare(theta, tables)
        count = len(tables[0].numbers) if tables else 1
        chosen = random.Random(0).sample(range(count), min(rows, count))
        what = "value_and_gradient" if traced.shape == () else "each"
        inputs = masked(traced.keeps, tables, random.Random(0))
        return Verification(self.function, traced, theta, inputs, data).worst(what, chosen)

    def _ready(self, theta: ArrayLike, data: Sequence[ArrayLike]) -> tuple[Traced, list[Table]]:
        """The function for these data, and the inputs of its program: the data, and the mask of this call."""
        tables = tables_of(data, self.function.names_for(data))
        only_numbers(theta)
        traced = self.traces.prepare(theta, tables)
        return traced, masked(traced.keeps, tables, random) if traced.keeps else tables

    def _answer(
        self,
        what: str,
        traced: Traced,
        tables: list[Table],
        theta: ArrayLike,
        data: Sequence[ArrayLike],
        v: ArrayLike | None = None,
    ) -> Answer:
        arrays = [table.numbers for table in tables]
        P = traced.program.parameters
        numbers = vector(theta, P)
        shape = (P,) if self.function.parameters is not None else np.shape(theta)
        if traced.around and being_differentiated() and (by := differentiated_by(traced.around)):
            self.traces.forget(traced)
            return recorded_answer(self.function, what, theta, tables, v, by), shape, traced
        if v is not None:
            seeds = np.zeros(len(traced.program.results) if what == "directional" else 0)
            numbers = np.concatenate([numbers, vector(v, P, "v"), seeds])
        self._check_one_result(what, traced)
        if what == "jacobian" and traced.data is not None:  # the examples that were found are no axis of the user's
            found, shape, traced = self.ask("value_and_gradient", theta, data)
            return found[1:, None], shape, traced
        with self.function.lock:
            runner = traced.runner(what)
            found, checksum = runner(numbers, arrays)
        results = found[:-1] if runner.flagged else found
        if not math.isfinite(checksum) and not np.isfinite(found).all():
            blame = Blame(self.function, traced, theta, numbers[:P], tables)
            blame.judge(what)
            if not np.isfinite(results).all():
                raise blame.not_finite(what)
        if self.verifies and what not in traced.verified:
            traced.verified.add(what)
            Verification(self.function, traced, theta, tables, data).first_answer(what)
        elif v is None:
            self._remember(what, traced, theta, data)
        return results, shape, traced

    @staticmethod
    def _check_one_result(what: str, traced: Traced) -> None:
        if what in ("value_and_gradient", "curvature", "hessian") and traced.shape != ():
            raise TypeError(
                f"only a function with one result has a gradient; this one has the shape {traced.shape}: take jacobian "
                "or jvp"
            )
