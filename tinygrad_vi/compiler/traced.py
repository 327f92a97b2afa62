"""What is known of a function for data of one shape: see `Traced`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

from tinygrad_vi.collector import collector_paused
from tinygrad_vi.compiler.entries import Entries, hessian, jacobian
from tinygrad_vi.compiler.matrices import InSweeps, Matrix
from tinygrad_vi.compiler.numpy_layout import Names
from tinygrad_vi.compiler.numpy_runner import NumpyRunner
from tinygrad_vi.compiler.program import ORDER, Program, Question
from tinygrad_vi.compiler.scalar_runner import ScalarRunner, of_numbers
from tinygrad_vi.compiler.tables import in_the_kernel, tables
from tinygrad_vi.compiler.trace import Record
from tinygrad_vi.compiler.watched import Captured, Leaves
from tinygrad_vi.trees import Tree
from tinygrad_vi.value import Value

MATRICES = {"jacobian": jacobian, "hessian": hessian}


class WithData:
    """What answers a question about data that are laid out once; ``runner(theta, anything)``."""

    def __init__(self, runner: Any, arrays: list[Any]) -> None:
        self.flagged, self.checks = runner.flagged, runner.checks
        self.run = runner.bind(arrays)

    def __call__(self, theta: Any, _: Any) -> Any:
        """The outputs, and a number that is finite if they are."""
        return self.run(theta)


@dataclass
class Traced:
    """A function for data of one shape: its program, what the user calls things, how its results are nested.

    shape, nest: of the results.  recorded: how many operations.  data: the data of a found batch, inputs by examples.
    seconds: of each pass.  backend, threads, devices: of `compile`.

    record: what was recorded.  leaves, captured: what the function reads besides its arguments.  around: the Values it
    depends on that were there before, its parameters among them: its answers count them as numbers.  keeps: the chances
    of the entries of `Dropout` to be kept, in order; their factors are its last inputs.

    first: the example that it was traced on, while no other one has been seen.  alone: the bytes of the data when they
    are a single example, while no other one has been seen.  moved: whether it was traced again, with the parameters
    moved.  dropped: another trace has taken its place.

    runners: what answers each question.  matrices: where its entries stand.  verified: the questions whose
    first answer was compared with the function's own.
    """

    program: Program
    names: Names
    shape: tuple[int, ...]
    recorded: int
    data: Any
    seconds: dict[str, float]
    backend: str
    threads: int | None
    devices: int | None
    nest: Tree
    record: Record
    leaves: Leaves
    captured: Captured
    first: list[Any] | None
    keeps: list[float]
    around: list[Value]
    runners: dict[str, Callable[[Any, list[Any]], Any]] = field(default_factory=dict)
    matrices: dict[str, Matrix] = field(default_factory=dict)
    verified: set[str] = field(default_factory=set)
    moved: bool = False
    alone: list[bytes] | None = None
    dropped: bool = False

    def holds(self) -> bool:
        """Whether all that the trace depends on is as it was."""
        return (not self.leaves.leaves or self.leaves.same()) and self.captured.same()

    def has_seen(self, data: Sequence[Any]) -> bool:
        """Whether these arrays hold no example that a second trace could be made on."""
        return self.first is None or self.alone == [x.tobytes() for x in data]

    @property
    def main(self) -> str:
        """The question that shows the program: the gradient, where there is one."""
        return "value_and_gradient" if self.shape == () else "each"

    def ask(self, what: str) -> Question:
        """A question by its name: a Jacobian, a Hessian, or a method of `Program`."""
        if what in MATRICES:
            return MATRICES[what](self.program)
        question: Question = getattr(self.program, what)()
        return question

    def question(self, what: str) -> Question:
        """What a back end is given to answer a question: with the checks of what may fail on the way."""
        if what.startswith("suspicions"):
            return self.program.suspicions(int(what[-1]))
        return self.program.checked(self.ask(what), ORDER[what])

    def matrix(self, what: str, count: int | None = None) -> Matrix:
        """Where the numbers stand that answer a question, of which there are so many: its entries, or all."""
        known = self.matrices.get(what)
        if known is not None and count in (None, known.count):
            return known
        P, m = self.program.parameters, len(self.program.results) if what == "jacobian" else self.program.parameters
        return Matrix(Entries([[*range(P)]] * m, P))

    def runner(self, what: str) -> Any:
        """What answers a question, by its name; made when it is first asked."""
        if what in self.runners:
            return self.runners[what]
        start = perf_counter()
        with collector_paused():
            question = self.question(what)
        self.seconds[f"{what}: derivatives"] = perf_counter() - start
        start = perf_counter()
        runner = self._back_end(question, what)
        if self.data is not None:
            runner = WithData(runner, [self.data])
        if question.entries is not None:
            self.matrices[what] = Matrix(question.entries)
            if question.entries.sweeps is not None:
                runner = InSweeps(runner, question.entries.sweeps, mapped=what == "jacobian")
        self.seconds[f"{what}: back end"] = perf_counter() - start
        self.runners[what] = runner
        return runner

    def _back_end(self, question: Question, what: str) -> Any:
        """What runs a question."""
        names = _with_seeds(self.names, question)
        if self.backend == "jax" and not question.checks:  # the search for what went wrong is no work for XLA
            from tinygrad_vi.compiler.jax_runner import JaxRunner

            return JaxRunner(question, names, what, self.devices)
        if self.backend in ("numpy", "jax") or not in_the_kernel(question.form):  # a row of the user's own
            return ScalarRunner(question) if of_numbers(question) else NumpyRunner(question, names, what)
        from tinygrad_vi.compiler.native import Native

        with collector_paused():
            return Native(tables(question), question.flagged, question.checks, self.threads)


def _with_seeds(names: Names, question: Question) -> Names:
    """The names of the arguments, and of the seeds where they are inputs."""
    sweeps = question.entries.sweeps if question.entries is not None else None
    if sweeps is None or sweeps.behind:
        return names
    return Names(names.parameters, [*names.arguments, ("seeds_", sweeps.seeds)])
