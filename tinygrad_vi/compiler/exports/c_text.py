"""A program as one function in C99, which needs math.h alone: a line for each scalar operation.

What is the same for all examples is computed once; one loop over the examples computes the rest and adds up.  Where
what differs from example to example uses a sum over them, another loop follows, which computes again what it needs of
the first.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from tinygrad_vi.compiler.exports.c_names import C_DEFINED_HERE, C_DEFINITIONS, C_NEEDS, C_WRITTEN, QUANTILE
from tinygrad_vi.compiler.program import Question
from tinygrad_vi.compiler.tables import stages_of
from tinygrad_vi.compiler.terms import ONE, SUM_KINDS, TOTAL, Term
from tinygrad_vi.rows import Operation

#: numbers in a line of a table of data
IN_A_LINE = 6


def c_source(
    question: Question, arguments: Sequence[tuple[str, int]], name: str, results: Sequence[str], data: Any = None
) -> str:
    """The text of the function.

    arguments: the names of the data, and how many numbers each has for one example.  results: what the function writes,
    ``("value", "gradient")`` or ``("results",)``.  data: of a batch that was found in the function, which the text then
    holds.  Raises ValueError for an operation of the user's own.
    """
    return _CText(question, arguments, name, results, data).text()


def number(c: float) -> str:
    """A number in C."""
    if math.isnan(c):
        return "NAN"
    if math.isinf(c):
        return "INFINITY" if c > 0.0 else "(-INFINITY)"
    return repr(c) if c >= 0.0 and repr(c) != "-0.0" else f"({c!r})"


class _CText:
    """One program on its way to being a text in C."""

    def __init__(
        self, question: Question, arguments: Sequence[tuple[str, int]], name: str, results: Sequence[str], data: Any
    ) -> None:
        self.question, self.form, self.name, self.results, self.data = question, question.form, name, results, data
        self.arguments = [("x", question.inputs)] if data is not None else arguments
        self.nodes = self.form.live([node for _, node in question.outputs])
        self.stage = stages_of(self.form, self.nodes)
        self.inputs = [f"{name}[{size} * i + {k}]" if size > 1 else f"{name}[i]"
                       for name, size in self._safe() for k in range(size)]  # fmt: skip
        self.defined: dict[str, None] = {}
        #: for each loop, the sums that it adds up: name, and the text of what is added
        self.sums: dict[int, dict[str, Sequence[Term]]] = defaultdict(dict)
        self.lines: list[str] = []

    def _safe(self) -> list[tuple[str, int]]:
        """The arguments under names that nothing else in the text has."""
        names = [name if name.isascii() else f"x{k}" for k, (name, _) in enumerate(self.arguments)]
        return [(f"{name}_", size) for name, (_, size) in zip(names, self.arguments, strict=True)]

    def text(self) -> str:
        """The whole text."""
        self._body()
        helpers = [self._definition(name) for name in self.defined]
        takes = ["const double *restrict theta"]
        if self.data is None and self.arguments:
            takes += ["size_t n", *[f"const double *restrict {name}" for name, _ in self._safe()]]
        takes += [f"double *restrict {name}" for name in self.results]
        head = [
            f"/* {self._about()} */",
            "#include <math.h>",
            "#include <stddef.h>",
            "",
            *helpers,
            f"void {self.name}({', '.join(takes)}) {{",
        ]
        return "\n".join([*head, *[f"    {line}" for line in self.lines], "}", ""])

    def _about(self) -> str:
        each = ", ".join(f"{name}: {size} for each of the n examples" for name, size in self._safe())
        data = f"  {each}." if each and self.data is None else ""
        sizes = {"value": "1 number", "gradient": f"{self.question.parameters} numbers",
                 "results": f"{self._count()} numbers" + " for each example" * self.question.mapped}  # fmt: skip
        writes = ", ".join(f"{name} ({sizes[name]})" for name in self.results)
        return (
            f"Written by tinygrad_vi.\n   theta: {self.question.parameters} numbers.{data}\n   Writes {writes};"
            " NaN where the function itself would raise.\n"
            "   Compile with -ffp-contract=off, so that no sum of products is rounded otherwise than here."
        )

    def _count(self) -> int:
        return len(self.question.outputs) - self.question.flagged

    # --- The function

    def _body(self) -> None:
        self._collect_sums()
        unmapped = [node for node in self.nodes if not self.form.mapped[node] and self.form.kinds[node] != "parameter"]
        last = max([self.stage[node] for node in self.nodes], default=0)
        if self.data is not None:
            name, _ = self._safe()[0]
            rows = [number(float(x)) for x in self.data.ravel().tolist()]
            self.lines += [f"static const double {name}[] = {{"]
            self.lines += [f"    {', '.join(rows[k : k + IN_A_LINE])}," for k in range(0, len(rows), IN_A_LINE)] + [
                "};"
            ]
            self.lines += [f"const size_t n = {len(self.data)};"]
        elif not self.arguments:
            self.lines += ["const size_t n = 1;"] * any(self.form.mapped[node] for node in self.nodes)
        if "share" in [self.form.kinds[node] for node in self.nodes]:
            self.lines += ["const double share = 1.0 / (double)n;"]
        mapped_outputs = [node for _, node in self.question.outputs if self.form.mapped[node]]
        for stage in range(last + 1):
            self.lines += [
                f"const double v{node} = {self._value(node)};" for node in unmapped if self.stage[node] == stage
            ]
            sums, outputs = self.sums[stage], mapped_outputs if stage == last else []
            if sums or outputs:
                self._loop(sums, outputs)
        if not self.question.mapped:
            self._write([self._times(c, node) for c, node in self.question.outputs], "")

    def _loop(self, sums: dict[str, Sequence[Term]], outputs: Sequence[int]) -> None:
        """A loop over the examples: what the sums and the outputs are made of, then these."""
        self.lines += [f"double {', '.join(f'{name} = 0.0' for name in sums)};"] if sums else []
        wanted = self._mapped_ancestors([*outputs, *[u for terms in sums.values() for _, *uv in terms for u in uv]])
        body = [f"const double v{node} = {self._value(node)};" for node in wanted]
        body += [f"{name} += {self._sum(terms)};" for name, terms in sums.items()]
        self.lines += ["for (size_t i = 0; i < n; ++i) {", *[f"    {line}" for line in body]]
        if outputs:
            before, self.lines = self.lines, []
            self._write([self._times(c, node) for c, node in self.question.outputs], "i")
            self.lines = before + [f"    {line}" for line in self.lines]
        self.lines += ["}"]

    def _mapped_ancestors(self, nodes: Iterable[int]) -> list[int]:
        found: set[int] = set()
        stack = list(nodes)
        while stack:
            node = stack.pop()
            if node not in found and self.form.mapped[node]:
                found.add(node)
                stack += self.form.operands(node)
        return sorted(node for node in found if self.form.kinds[node] not in ("input", "share"))

    def _write(self, outputs: list[str], row: str) -> None:
        """Write the results, or NaN where the flag of the checks is not finite."""
        flag = ""
        if self.question.flagged:
            *outputs, flag_text = outputs
            self.lines += [f"const int ok = fabs({flag_text}) < INFINITY;"]
            flag = "ok ? {} : NAN"
        texts = [flag.format(text) if flag else text for text in outputs]
        if self.results[0] == "value":
            self.lines += [f"*value = {texts[0]};", *[f"gradient[{k}] = {text};" for k, text in enumerate(texts[1:])]]
        else:
            at = f"{len(texts)} * {row} + " if row else ""
            self.lines += [f"results[{at}{k}] = {text};" for k, text in enumerate(texts)]

    # --- Nodes

    def _collect_sums(self) -> None:
        """The sums over the examples: in a term that has a number as its other factor, the number is taken out."""
        self.over_examples: dict[int, list[Term]] = {}
        for node in self.nodes:
            if self.form.mapped[node] or self.form.kinds[node] not in SUM_KINDS:
                continue
            terms = [term for term in self.form.arguments[node] if self._differs(term)]
            whole = [(c, u, v) for c, u, v in terms if v == ONE or (self.form.mapped[u] and self.form.mapped[v])]
            if whole:
                loop = max(self.stage[u] for _, *uv in whole for u in uv if self.form.mapped[u])
                self.sums[loop][f"s{node}"] = whole
            for _, u, v in terms:
                if v != ONE and not (self.form.mapped[u] and self.form.mapped[v]):
                    differing = u if self.form.mapped[u] else v
                    self.sums[self.stage[differing]][f"m{differing}"] = [(1.0, differing, ONE)]
            self.over_examples[node] = terms

    def _differs(self, term: Term) -> bool:
        return self.form.mapped[term[1]] or self.form.mapped[term[2]]

    def _value(self, node: int) -> str:
        kind, argument = self.form.kinds[node], self.form.arguments[node]
        if isinstance(kind, Operation):
            return self._call(kind, argument)
        if kind == TOTAL:
            self._define("total")
            listed = ", ".join(map(self._term, argument))
            return f"total((const double[]){{{listed}}}, {len(argument)})"
        if self.form.mapped[node] or node not in self.over_examples:
            return self._sum(argument)
        terms = self.over_examples[node]
        texts: list[str] = []
        if any(f"s{node}" in sums for sums in self.sums.values()):
            texts.append(f"s{node}")
        for c, u, v in terms:
            if v != ONE and not (self.form.mapped[u] and self.form.mapped[v]):
                differing, other = (u, v) if self.form.mapped[u] else (v, u)
                texts.append(self._scaled(c, f"m{differing} * {self._name(other)}"))
        texts += [self._term(term) for term in argument if not self._differs(term)]
        return " + ".join(texts)

    def _call(self, op: Operation, operands: Sequence[int]) -> str:
        names = [self._name(u) for u in operands]
        constants = [number(c) for c in op.constants]
        if op.key in C_WRITTEN:
            if op.constants == (-1.0,):
                return f"1.0 / {names[0]}"
            return C_WRITTEN[op.key].format(*names, c=constants[0] if constants else "")
        if op.key not in C_DEFINED_HERE:
            raise ValueError(
                f"C has no text for the operation {op.name!r}: write the function with operations of tinygrad_vi"
            )
        name = C_DEFINED_HERE[op.key]
        self._define(name)
        if op.arity is None:
            return f"{name}((const double[]){{{', '.join(names)}}}, {len(names)})"
        return f"{name}({', '.join([*names, *constants])})"

    def _sum(self, terms: Sequence[Term]) -> str:
        return " + ".join(map(self._term, terms)) or "0.0"

    def _term(self, term: Term) -> str:
        c, u, v = term
        if u == ONE:
            return number(c)
        return self._scaled(c, self._name(u) if v == ONE else f"{self._name(u)} * {self._name(v)}")

    def _times(self, c: float, node: int) -> str:
        return number(c) if node == ONE else self._scaled(c, self._name(node))

    @staticmethod
    def _scaled(c: float, text: str) -> str:
        return text if c == 1.0 else f"{number(c)} * ({text})" if "*" in text else f"{number(c)} * {text}"

    def _name(self, node: int) -> str:
        kind = self.form.kinds[node]
        if kind == "one":
            return "1.0"
        if kind == "parameter":
            return f"theta[{self.form.arguments[node]}]"
        if kind == "input":
            name: str = self.inputs[self.form.arguments[node]]
            return name
        return "share" if kind == "share" else f"v{node}"

    # --- Definitions

    def _define(self, name: str) -> None:
        for needed in C_NEEDS.get(name, ()):
            self._define(needed)
        self.defined[name] = None

    def _definition(self, name: str) -> str:
        if name == "normal_quantile":
            return QUANTILE
        takes, lines = C_DEFINITIONS[name]
        return f"static double {name}({takes}) {{\n    {lines}\n}}\n"
