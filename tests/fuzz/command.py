"""The command: many programs, every path, and a table of the kinds of disagreement."""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections import Counter, defaultdict

from . import generate, habits, judge, paths, programs, truth
from .shrink import shrink

#: paths that run backward somewhere else: what they get wrong is a matter of modes and not of the program
ELSEWHERE = {
    "thread": "(in a thread, any program)",
    "task": "(in a task, any program)",
    "pickle": "(a copy, any program)",
    "deepcopy": "(a copy, any program)",
}


class Results:
    """What came of many programs: counts, and for each kind of disagreement the smallest program."""

    def __init__(self, shrinks=6):
        self.count, self.reasons, self.structures, self.paths = Counter(), Counter(), Counter(), Counter()
        self.kinds, self.examples, self.of_path = Counter(), {}, defaultdict(Counter)
        self.shrinks = shrinks
        self.shrunk = Counter()
        self.programs_with_findings = 0
        self.second = Counter()

    @property
    def disagreements(self):
        return sum(self.kinds.values())

    def program(self, seed, thorough=False):
        """Put the program of a seed through its paths."""
        program = generate.program(seed)
        chosen = judge.plan(program, seed, thorough)
        report = judge.examine(program, chosen)
        self.count["programs"] += 1
        self.count["points"] += len(program.examples)
        self.structures[program.structure] += 1
        self.paths.update(map(judge.name_of, chosen))
        self.count.update(report.count)
        self.reasons.update(report.reasons)
        if report.findings:
            self.programs_with_findings += 1
            self._sort(program, seed, chosen, report.findings)
        if seed % 10 == 0:
            self._second_judge(program)

    def _second_judge(self, program):
        """PyTorch on the same program.  Its own limits (it loses tails, and splits ties otherwise) are not counted
        against the library; hostile programs are left out."""
        if "hostile" in program.structure or any(
            word in program.structure for word in ("masks", "undefined", "cancelling")
        ):
            return
        for row in program.examples:
            verdict = truth.judge(program, row)
            if not verdict.unclear and not verdict.error and not verdict.notes:
                agrees = judge.torch_agrees(program, row, verdict)
                if agrees is not None:
                    self.second["agrees" if agrees else "disagrees"] += 1

    def _sort(self, program, seed, chosen, findings):
        """Count each finding under its kind: path, symptom, and the operations of the smallest such program."""
        left = {}
        for finding in findings:
            left.setdefault(finding.kind, finding)
        by_name = {judge.name_of(path): path for path in chosen} | {"fit, eager": "fit"}
        while left:
            kind, finding = next(iter(left.items()))
            if finding.path in ELSEWHERE and not any(f.path == "backward" for f in findings):
                self._count(kind, ELSEWHERE[finding.path], program, finding, seed)  # whatever it computes
                del left[kind]
                continue
            family = (kind, program.structure)
            if self.shrunk[family] >= self.shrinks:
                self._count(kind, "(not shrunk)", program, finding, seed)
                del left[kind]
                continue
            self.shrunk[family] += 1
            path = by_name[finding.path]

            def fails(candidate, path=path, kind=kind):
                try:
                    if not paths.case(candidate).gives_a_value():
                        return False
                    return any(f.kind == kind for f in judge.examine(candidate, [path]).findings)
                except (ArithmeticError, ValueError, TypeError, AttributeError, IndexError):
                    return False  # it is no program any more

            small = shrink(program, fails)
            again = judge.examine(small, [path, *(chosen if len(small.examples) > 1 else _single(chosen))]).findings
            same = {f.kind: f for f in reversed(again)}
            for other in [k for k in left if k in same] or [kind]:
                self._count(other, " ".join(programs.operations(small)), small, same.get(other, finding), seed)
                left.pop(other, None)

    def _count(self, kind, signature, program, finding, seed):
        path, symptom = kind
        self.kinds[symptom, signature] += 1
        self.of_path[symptom, signature][path] += 1
        known = self.examples.get((symptom, signature))
        if known is None or len(programs.runnable(program)) < len(programs.runnable(known[0])):
            self.examples[symptom, signature] = program, finding, seed

    # --- In words

    def summary(self, limit=60):
        c = self.count
        judged, not_judged = c["judged"], c["not judged"]
        share = not_judged / max(1, judged + not_judged)
        lines = [
            f"programs {c['programs']:,}   points {c['points']:,}   structures {len(self.structures)}   "
            f"paths {len(self.paths)}",
            f"numbers judged {judged:,}   not judged {not_judged:,} ({share:.1%}: "
            + ", ".join(f"{reason} {n:,}" for reason, n in self.reasons.most_common())
            + ")",
        ]
        if self.second:
            lines.append(
                f"second judge (PyTorch): agrees {self.second['agrees']:,}, disagrees {self.second['disagrees']:,}"
            )
        lines.append(
            f"programs with a disagreement {self.programs_with_findings:,}   disagreements {self.disagreements:,} "
            f"of {len(self.kinds):,} kinds"
        )
        for kind, n in self.kinds.most_common(limit):
            where = ", ".join(f"{path} {m}" for path, m in self.of_path[kind].most_common(6))
            lines.append(f"{n:7,}  {kind[0]:14} {kind[1]:36.60} {where}" + ", ..." * (len(self.of_path[kind]) > 6))
        if len(self.kinds) > limit:
            lines.append(f"         ... and {len(self.kinds) - limit:,} kinds more")
        return "\n".join(lines)

    def shown(self, limit=20):
        """The smallest program of the most frequent kinds, as Python to run."""
        parts = []
        for key, n in self.kinds.most_common(limit):
            program, finding, seed = self.examples[key]
            parts.append(
                f"# {n} times: {finding.path}, {finding.quantity}, {finding.symptom} (program {seed}, {program.structure})\n"
                f"{programs.runnable(program)}\n{ask_again(program, finding)}\n"
                f"# got   {finding.got}\n# right {finding.right}"
            )
        return "\n\n".join(parts)


def ask_again(program, finding):
    """The call that shows the finding."""
    path = finding.path
    backend = path.split()[0]
    data = ", X" if program.examples[0] else ""
    if backend not in paths.BACKENDS:
        return f"# {path}"
    question = path.split()[1]
    method = {"value": "", "gradient": ".value_and_grad"}.get(question, f".{question}")
    vector = f", {program.direction}" if question in ("jvp", "hvp") else ""
    if "(loop)" in path and data:
        return f'compile(lambda: sum(f(x) for x in X) / len(X), w, backend="{backend}"){method}([v.data for v in w]{vector})'
    if "(moved)" in path:
        ones = [1.0] * len(program.parameters)
        return (
            f'step = compile(f, w, backend="{backend}"); step.value_and_grad({ones}{data})  # traced elsewhere\n'
            f"step{method}([v.data for v in w]{vector}{data})"
        )
    return f'compile(f, w, backend="{backend}"){method}([v.data for v in w]{vector}{data})'


def _single(chosen):
    return [path for path in chosen if path[1] != "loop"]


def run(count, seed=0, minutes=None, thorough=False, shrinks=6, progress=None):
    """Judge the programs seed, seed + 1, ...; stop after so many minutes."""
    results = Results(shrinks)
    start = time.monotonic()
    for i in range(count):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            results.program(seed + i, thorough)
        if minutes is not None and time.monotonic() - start > 60.0 * minutes:
            break
        if progress and (i + 1) % progress == 0:
            print(f"{i + 1:,} programs, {results.disagreements:,} disagreements, {time.monotonic() - start:.0f} s", file=sys.stderr)  # fmt: skip
    return results


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--programs", type=int, default=1000, help="how many programs (1,000)")
    parser.add_argument("--seed", type=int, default=0, help="the number of the first program (0)")
    parser.add_argument(
        "--habits", type=int, default=None, help="how many functions with habits (a tenth of the programs)"
    )
    parser.add_argument("--minutes", type=float, default=None, help="stop after so many minutes")
    parser.add_argument("--thorough", action="store_true", help="every program through every path")
    parser.add_argument(
        "--shrinks", type=int, default=6, help="failing programs to shrink of each kind and structure (6)"
    )
    parser.add_argument("--show", type=int, default=20, help="how many shrunk programs to print (20)")
    options = parser.parse_args(arguments)
    found = habits.run(options.programs // 10 if options.habits is None else options.habits, options.seed)
    results = run(options.programs, options.seed, options.minutes, options.thorough, options.shrinks, progress=500)
    print(results.shown(options.show))
    print(found.shown())
    print(results.summary())
    print(found.summary())
    return 1 if results.kinds or found.kinds else 0
