"""Runs a program on every path, compares with what is right, and says where they differ."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from random import Random

from mpmath import mp, mpf

from . import paths, truth

#: a bound larger than this part of the right number judges nothing
VACUOUS = mpf("1e-3")


@dataclass(frozen=True)
class Finding:
    """A disagreement.  symptom: "wrong", "0 instead", "not finite", "missing error", "false error" or "crash"."""

    path: str
    quantity: str
    symptom: str
    got: str
    right: str

    @property
    def kind(self):
        return self.path, self.symptom


class Report:
    """What came of one program: findings, and how many numbers were judged."""

    def __init__(self):
        self.findings, self.count = [], Counter()
        self.reasons = Counter()

    def add(self, *facts):
        self.findings.append(Finding(*facts))


def plan(program, seed, thorough=False):
    """The paths a program is put through: the main ones always, the others in turn."""
    r = Random(f"paths of {seed}")
    eager = ["backward", "create_graph", "tape"]
    eager += list(paths.EAGER) if thorough else r.sample(sorted(set(paths.EAGER) - set(eager)), 3)
    ways = ["closure", "argument", "moved"]
    if len(program.examples) > 1:
        ways.append("loop")
    compiled = []
    for backend in paths.BACKENDS:
        for way in ways if thorough else [r.choice(ways)]:
            questions = paths.QUESTIONS if thorough else ["gradient", *r.sample(paths.QUESTIONS, 4)]
            compiled += [
                (backend, way, q) for q in dict.fromkeys(questions) if q != "fit" or way in ("closure", "moved")
            ]
    whole = ["fit"] if program.examples[0] and (thorough or r.random() < 0.3) else []
    return [*dict.fromkeys(eager), *dict.fromkeys(compiled), *whole]


def name_of(path):
    return path if isinstance(path, str) else f"{path[0]} {path[2]}" + f" ({path[1]})" * (path[1] != "closure")


def examine(program, chosen):
    """Judge a program on the chosen paths."""
    report = Report()
    verdicts = [truth.judge(program, row) for row in program.examples]
    c = paths.case(program)
    benches = {}
    for path in chosen:
        name = name_of(path)
        if path in paths.EAGER:
            for verdict, row in zip(verdicts, program.examples, strict=True):
                at = paths.Case(program, c.f, row)
                got = _outcome(lambda at=at, path=path: paths.EAGER[path](at))
                _compare(report, name, got, verdict, "value" if path == "no_grad" else "")
        elif path == "fit":
            _compare(report, "fit, eager", _outcome(lambda: paths.by_eager_fit(c)), _joined(verdicts, program))
        else:
            backend, way, question = path

            def asked(backend=backend, way=way, question=question):
                if (backend, way) not in benches:
                    benches[backend, way] = paths.Bench(c, backend, way)
                return benches[backend, way].ask(question)

            joined = _joined(verdicts, program, reordered=True)
            if way == "loop":
                joined = dict(joined, each=joined.get("value"), rows=joined.get("gradient"))
            _compare(report, name, _outcome(asked), joined, question)
    return report


def _outcome(path):
    """The numbers of a path, or the exception."""
    try:
        return path()
    except Exception as error:
        return error


def _joined(verdicts, program, reordered=False):
    """The verdict on a batch: a dictionary of (right, bound) for each quantity, or why there is none."""
    for reason in ("unclear", "error"):
        for verdict in verdicts:
            if getattr(verdict, reason) and not (reason == "unclear" and any(_sure(v) for v in verdicts)):
                return {reason: getattr(verdict, reason), "has value": all(v.value for v in verdicts)} | (
                    {"each": [v.value for v in verdicts]} if all(v.value for v in verdicts) else {}
                )
    notes = frozenset().union(*[v.notes for v in verdicts])
    if reordered and "near tie" in notes:
        return {"unclear": "near tie"}
    N, P = len(verdicts), len(program.parameters)
    with mp.workdps(truth.DIGITS):
        unit = truth.ULPS * truth.UNIT

        def mean(pairs):
            size = mp.fsum([abs(v) for v, _ in pairs])
            bound = (mp.fsum([e for _, e in pairs]) + unit * size * (1 if N > 1 else 0)) / N + truth.TINY
            return mp.fsum([v for v, _ in pairs]) / N, bound

        if any(
            sum(abs(pair[0]) for pair in pairs) > truth.LARGE
            for pairs in zip(*[[v.value, v.slope] for v in verdicts], strict=True)
        ):
            return {"unclear": "overflow"}
        gradient = [mean([v.gradient[j] for v in verdicts]) for j in range(P)]
        found = {
            "notes": notes,
            "each": [v.value for v in verdicts],
            "value": [mean([v.value for v in verdicts])],
            "rows": [pair for v in verdicts for pair in v.gradient],
            "gradient": gradient,
            "slope": [mean([v.slope for v in verdicts])],
            "moved": [
                (
                    mpf(float(w)) - paths.RATE * g,
                    paths.RATE * e + unit * (abs(mpf(float(w))) + abs(paths.RATE * g)) + 2 * truth.TINY,
                )
                for w, (g, e) in zip(program.parameters, gradient, strict=True)
            ],
        }
        if "kink" not in notes:
            found["curvature"] = [mean([v.curvature[j] for v in verdicts]) for j in range(P)]
    return found


def _sure(verdict):
    """Whether the example must be refused, whatever is asked."""
    return bool(verdict.error) and not verdict.value


def _compare(report, path, got, verdict, question=""):
    if isinstance(verdict, truth.Verdict):
        v = verdict
        verdict = {"unclear": v.unclear, "error": v.error} if v.unclear or v.error else {
            "value": [v.value], "gradient": v.gradient, "notes": v.notes, "slope": [v.slope],
            **({} if "kink" in v.notes else {"curvature": v.curvature}),
        }  # fmt: skip
        if v.error and v.value:
            verdict["has value"] = True
    refused = isinstance(got, (ArithmeticError, ValueError))
    if verdict.get("unclear"):
        report.count["not judged"] += 1
        report.reasons[verdict["unclear"]] += 1
        if not isinstance(got, dict) and not refused:
            report.add(path, "-", "crash", _said(got), "no crash")
        return
    if isinstance(got, Exception):
        report.count["judged"] += 1
        if not refused:
            report.add(path, "-", "crash", _said(got), "a number" if not verdict.get("error") else "a DomainError")
        elif not verdict.get("error") and not _may_be_refused(path, verdict):
            right = next(iter(verdict.get("gradient") or verdict.get("value")))
            report.add(path, "-", "false error", _said(got), "a number, such as " + mp.nstr(right[0], 17))
        return
    if verdict.get("error"):
        if verdict.get("has value") and question in ("value", "each"):
            return
        report.count["judged"] += 1
        shown = next(iter(got.values()))
        report.add(path, next(iter(got)), "missing error", repr(shown[:4]), f"a DomainError: {verdict['error']}")
        return
    for quantity, numbers in got.items():
        if quantity not in verdict:  # a second derivative at a corner
            continue
        endless = quantity == "curvature" and "second may be refused" in verdict["notes"]
        if not (endless and not all(map(math.isfinite, numbers))):
            _compare_numbers(report, path, quantity, numbers, verdict[quantity])


def _may_be_refused(path, verdict):
    """Whether an error is as good as the number."""
    second = any(word in path for word in ("hvp", "hessian", "create_graph"))
    notes = verdict["notes"]
    return "may be refused" in notes or (second and ("curvature" not in verdict or "second may be refused" in notes))


def _compare_numbers(report, path, quantity, numbers, right):
    worst = None
    with mp.workdps(truth.DIGITS):
        assert len(numbers) == len(right), (path, quantity, numbers)
        for i, (x, (expected, bound)) in enumerate(zip(numbers, right, strict=True)):
            x = float(getattr(x, "data", x))
            if not math.isfinite(x):
                if abs(expected) > truth.LARGE:
                    continue
                worst = "not finite", i
                break
            vacuous = (bound > VACUOUS * abs(expected) and expected != 0) or bound > 1
            if abs(mpf(x) - expected) > bound:
                worst = worst or ("0 instead" if x == 0 else "wrong", i)
            elif vacuous:
                report.count["not judged"] += 1
                report.reasons["ill-conditioned"] += 1
                continue
            report.count["judged"] += 1
        if worst:
            shown = [mp.nstr(e, 17) + (f" +- {mp.nstr(b, 2)}" if b > abs(e) > 0 else "") for e, b in right[:4]]
            if len(right) == 1:
                report.add(path, quantity, worst[0], repr(numbers[0]), shown[0])
            else:
                report.add(path, quantity, worst[0], f"{numbers[:4]}", f"[{', '.join(shown)}]")


def _said(error):
    return f"{type(error).__name__}: {error}"[:160]


def torch_agrees(program, row, verdict):
    """Whether PyTorch has the same value, gradient and curvature, to 9 digits of what was summed; None without it."""
    try:
        import torch
    except ImportError:
        return None
    from peers.functions import torch_functions

    from . import programs

    functions = torch_functions()
    leaves, steps, last = programs.flatten(program)
    if any(step.op not in functions and step.op not in ("softmax",) for step in steps):
        return None
    ws = [torch.tensor(float(p), dtype=torch.float64, requires_grad=True) for p in program.parameters]
    slots = [
        ws[i] if kind == "w" else torch.tensor(programs.leaf_value(program, (kind, i), row), dtype=torch.float64)
        for kind, i in leaves
    ]
    for step in steps:
        xs = [slots[i] for i in step.arguments]
        if step.op == "softmax":
            slots.append(torch.softmax(torch.stack(xs), 0)[step.constants[0]])
        else:
            slots.append(functions[step.op](*xs, *[float(c) for c in step.constants]))
    y = slots[last]
    if not y.requires_grad:
        return None
    gradient = torch.autograd.grad(y, ws, create_graph=True, materialize_grads=True)
    along = sum(g * s for g, s in zip(gradient, program.direction, strict=True))
    curvature = (
        torch.autograd.grad(along, ws, materialize_grads=True) if along.requires_grad else [torch.zeros(())] * len(ws)
    )
    pairs = [(y.item(), verdict.value)]
    pairs += [(g.item(), pair) for g, pair in zip(gradient, verdict.gradient, strict=True)]
    if "kink" not in verdict.notes:
        pairs += [(h.item(), pair) for h, pair in zip(curvature, verdict.curvature, strict=True)]
    return all(
        not math.isfinite(x) or abs(mpf(x) - right) <= 1e6 * bound + 1e-9 * max(1, abs(right))  # it loses tails
        for x, (right, bound) in pairs
    )
