"""What became of a function, in numbers and text."""

from __future__ import annotations

from dataclasses import dataclass

from tinygrad_vi.compiler.lift import lift
from tinygrad_vi.compiler.terms import SUM_KINDS
from tinygrad_vi.compiler.traced import Traced


@dataclass(frozen=True, repr=False)
class Explanation:
    """What became of a function: see `Compiled.explain`.

    recorded: scalar operations of one example.  nodes: of the canonical form, derivatives included.  instructions:
    vector instructions, as text.  multiply_adds, functions: the work for one example.  examples: of the batch that was
    found in the function.  seconds: of each pass.
    """

    recorded: int
    nodes: int
    instructions: tuple[str, ...]
    multiply_adds: int
    functions: int
    backend: str
    examples: int | None
    seconds: dict[str, float]

    def __repr__(self) -> str:
        lines = [
            f"{self.recorded:,} scalar operations recorded{' for one example' if self.examples is None else ''}",
            *([f"a loop over {self.examples:,} examples found: it became a batch"] if self.examples else []),
            f"{self.nodes:,} nodes of the canonical form, derivatives included",
            f"{len(self.instructions):,} vector instructions:",
            *[f"    @{i}: {text:.110}" for i, text in enumerate(self.instructions[:40])],
            *(["    ..."] if len(self.instructions) > 40 else []),
            f"{self.multiply_adds:,} multiply-adds and {self.functions:,} functions (those of a batch counted once)",
            f"back end: {self.backend}",
            "milliseconds: " + ", ".join(f"{name} {1e3 * seconds:.1f}" for name, seconds in self.seconds.items()),
        ]
        return "\n".join(lines)


def explain(traced: Traced) -> Explanation:
    """Of a trace, with its main question."""
    question = traced.ask(traced.main)
    instructions = lift(question.form, [node for _, node in question.outputs])
    nodes = question.form.live([node for _, node in question.outputs])
    terms = sum(len(question.form.arguments[node]) for node in nodes if question.form.kinds[node] in SUM_KINDS)
    maps = sum(len(i.nodes) for i in instructions if i.kind not in SUM_KINDS)
    return Explanation(
        recorded=traced.recorded,
        nodes=len(nodes),
        instructions=tuple(map(str, instructions)),
        multiply_adds=terms,
        functions=maps,
        backend=traced.backend,
        examples=None if traced.data is None else len(traced.data),
        seconds=dict(traced.seconds),
    )
