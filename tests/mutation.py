"""Mutation testing: does a test fail when a line of the package is wrong?

    python tests/mutation.py                            20 mutants of each file that matters most
    python tests/mutation.py ops value --sample 50      50 mutants of each of these
    python tests/mutation.py ops --all                  every mutant of one
    python tests/mutation.py value --like "return v"    those whose name has this in it

A mutant is the package with one small mistake: a sign, a comparison, a constant, a condition or a statement.  It is
made in a copy of the tree.  A first run of the tests on the package as it is notes which functions each test calls; on
a mutant only the tests run that call its function, the nearest file first, until one fails.  Each file of tests runs in
a fork of this process, which has imported the large libraries already.

A mutant that lives is printed with its line.  Those that change nothing that a user can tell (another order of the same
sum, a faster way to the same result, the words of a message) are listed with the reason in ``mutation_reasons.json``,
by their function and text: they are not counted.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import copy
import importlib
import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from threading import Lock
from typing import Any

ROOT = Path(__file__).parents[1]
REASONS = Path(__file__).with_name("mutation_reasons.json")
PATIENCE = 8.0  # a mutant that takes so many times longer than the package itself never ends
LEAST = 20.0  # seconds
LONGEST = 6.0  # seconds: tests that take longer judge no mutant
HEAVY = ("numpy", "mpmath", "sympy", "hypothesis", "scipy.optimize", "torch", "jax", "numba", "pytest")
ANY = "any function"
#: what Numba compiles: which tests call it is not seen, and the first to call a mutant waits until it is compiled
MACHINE_CODE = ("compiler/kernel", "compiler/elementary", "compiler/lanes")
COMPILING = 60.0  # seconds
ONE_AT_A_TIME = Lock()

COMPILER = ["compiler/test_form", "compiler/test_floats", "compiler/test_compiled", "compiler/test_faithful"]
TRACING = ["compiler/test_faithful", "compiler/test_checks", "compiler/test_compiled", "test_thread_modes"]
NATIVE = ["compiler/test_rows", "compiler/test_compiled", "compiler/test_floats", "compiler/test_checks"]

ROWS = [
    "test_ops",
    "test_value",
    "test_derivatives",
    "show/tapes/test_table",
    "show/writing/test_formula",
    "test_copies",
    "test_made_of_rows",
]
VALUE = [
    "test_value",
    "test_copies",
    "test_derivatives",
    "test_tape",
    "test_thread_modes",
    "test_memory",
    "test_made_of_rows",
    "compiler/test_trace",
    "compiler/test_faithful",
    "compiler/test_checks",
]
KINDS = [
    "compiler/test_trace",
    "compiler/test_faithful",
    "compiler/test_checks",
    "test_thread_modes",
    "test_derivatives",
    "test_value",
]
DATA = ["test_data", "test_training", "compiler/test_checks"]
OPTIM = ["test_optim", "test_judgements", "test_training", "peers/test_torch_nn", "compiler/test_faithful"]
TRAINING = [
    "test_training",
    "test_thread_modes",
    "test_files",
    "test_interruption",
    "compiler/test_faithful",
    "test_exercises_networks",
]

DERIVATIVES = ["test_derivatives", "test_value", "test_judgements", "test_differences", "test_thread_modes"]
#: the modules behind `compile`
OF_COMPILED = (
    "compiled", "arrangements", "examples", "user_function", "traces", "traced", "loops", "answers", "verification",
    "blame", "recorded", "explanation", "errors",
)  # fmt: skip
COMPILED = [
    *TRACING,
    "compiler/test_arguments",
    "compiler/test_dropout",
    "compiler/test_floats",
    "compiler/test_checks",
]

#: file -> the tests that should notice, the nearest first
TESTS = {
    "modes": ["test_thread_modes", "test_value"],
    **dict.fromkeys(("checks", "rows", "floats", "far_partials", "ops", "functions"), ROWS),
    **dict.fromkeys(("value", "graph", "sweep"), VALUE),
    "copies": ["test_copies", "test_derivatives", "test_own", "test_thread_modes"],
    **dict.fromkeys(("tracing", "kinds"), KINDS),
    "elsewhere": ["test_value", "test_habits", "test_optim"],
    **dict.fromkeys(("data", "examples"), DATA),
    "tape": ["test_tape", "show/tapes/test_table", "test_derivatives", "test_copies"],
    **dict.fromkeys(("derivatives", "calls", "differentiated", "numerical"), DERIVATIVES),
    "differences": ["test_differences", "test_judgements", "test_derivatives"],
    "losses": ["test_losses", "test_judgements", "test_data", "peers/test_torch_nn", "compiler/test_checks"],
    **dict.fromkeys(("optim/rules", "optim/clipping", "optim/schedules", "optim/solvers"), OPTIM),
    **dict.fromkeys(("training/loop", "training/objective", "training/checkpoint", "training/answers"), TRAINING),
    "files": ["test_files", "test_training", "test_nn"],
    "predict": ["test_nn", "compiler/test_faithful", "compiler/test_checks", "test_thread_modes"],
    "trees": ["test_trees", "compiler/test_arguments", "test_own", "test_derivatives", "compiler/test_faithful"],
    "own": ["test_own", "test_trees", "compiler/test_faithful", "test_thread_modes"],
    "arrays": ["test_variations", "test_value", "test_derivatives", "test_own", "compiler/test_trace"],
    **dict.fromkeys(("compiler/form", "compiler/algebra", "compiler/from_record"), COMPILER),
    "compiler/reverse": COMPILER,
    "compiler/program": [*COMPILER, "compiler/test_checks"],
    "compiler/lift": ["compiler/test_lift", *COMPILER],
    "compiler/batch": ["compiler/test_batch", "compiler/test_compiled", "compiler/test_floats"],
    "compiler/trace": ["compiler/test_trace", *TRACING],
    "compiler/watched": TRACING,
    "compiler/arguments": ["compiler/test_arguments", "test_trees", *TRACING],
    "compiler/vmap": ["compiler/test_arguments", "compiler/test_dropout", "test_trees", "compiler/test_checks"],
    **{f"compiler/{name}": COMPILED for name in OF_COMPILED},
    "compiler/forks": ["compiler/test_forks"],
    **{f"compiler/numpy_{name}": ["compiler/test_numpy_source", *NATIVE] for name in ("source", "layout", "sums", "text")},
    "compiler/numpy_runner": NATIVE,
    "compiler/elementary": ["compiler/test_elementary", *NATIVE],
    "compiler/lanes": ["compiler/test_elementary", *NATIVE],
    "compiler/kernel": NATIVE,
    "compiler/codes": NATIVE,
    "compiler/tables": NATIVE,
    "compiler/native": [*NATIVE, "compiler/test_forks", "compiler/test_machine_code"],
    "compiler/machine_code": ["compiler/test_machine_code"],
}  # fmt: skip

# --- Making mutants ---------------------------------------------------------------------------------------------------

SWAPPED: dict[type[ast.AST], type[ast.AST]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.Pow: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult, ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.And: ast.Or,
    ast.Or: ast.And, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.LShift: ast.RShift, ast.RShift: ast.LShift,
}  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """One mistake.  line: where it is; inside: the function, by its line, None at the top; text: the file with it."""

    file: str
    name: str
    line: int
    inside: int | None
    text: Callable[[], str]


def variants(node: ast.AST) -> Iterator[ast.AST]:
    """What a node may be mistaken for."""
    if isinstance(node, (ast.BinOp, ast.BoolOp, ast.AugAssign)) and type(node.op) in SWAPPED:
        yield _with(node, op=SWAPPED[type(node.op)]())
    if isinstance(node, ast.AugAssign):
        yield ast.Pass()
    elif isinstance(node, ast.Compare) and type(node.ops[0]) in SWAPPED:
        yield _with(node, ops=[SWAPPED[type(node.ops[0])](), *node.ops[1:]])
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.Not)):
        yield node.operand
    elif isinstance(node, ast.Constant) and isinstance(node.value, (bool, int, float)):
        yield ast.Constant(not node.value if isinstance(node.value, bool) else node.value + 1)
    elif isinstance(node, (ast.If, ast.IfExp, ast.While)) and not isinstance(node.test, ast.Constant):
        yield _with(node, test=ast.Constant(False))
        if not isinstance(node, ast.While):
            yield _with(node, test=ast.Constant(True))
    elif isinstance(node, (ast.Expr, ast.Assign, ast.Raise)) and not _is_text(node):
        yield ast.Pass()
    elif isinstance(node, ast.Return) and node.value is not None:
        yield ast.Return(ast.Constant(None))


def _with(node: ast.AST, **changed: object) -> ast.AST:
    other = copy.copy(node)
    for name, value in changed.items():
        setattr(other, name, value)
    return other


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def mutants(file: str) -> list[Mutant]:
    """Every mutant of a file of the package that is a program."""
    source = (ROOT / "tinygrad_vi" / f"{file}.py").read_text(encoding="utf-8")
    lines = source.splitlines()
    tree = ast.parse(source)
    left_out = {id(part) for node in ast.walk(tree) for whole in _not_code(node) for part in ast.walk(whole)}
    functions = _functions(tree)
    seen: Counter[str] = Counter()
    found = []
    for parent in ast.walk(tree):
        if id(parent) in left_out:
            continue
        for field, held in ast.iter_fields(parent):
            places = list(enumerate(held)) if isinstance(held, list) else [(None, held)]
            for at, node in places:
                if not isinstance(node, ast.AST) or id(node) in left_out or not hasattr(node, "lineno"):
                    continue
                for variant in variants(node):
                    ast.copy_location(variant, node)
                    try:
                        before, after = _shown(node), _shown(variant)
                    except ValueError:  # no such program
                        continue
                    qualified, inside = functions[id(node)]
                    inside = None if file in MACHINE_CODE else inside
                    line = lines[node.lineno - 1].strip()
                    name = f"{file}, {qualified or 'module'}: {line}  [{before}  ->  {after}]"
                    seen[name] += 1
                    name += f" #{seen[name]}" * (seen[name] > 1)
                    made = partial(_text, tree, parent, field, at, node, variant)
                    found.append(Mutant(file, name, node.lineno, inside, made))
    return found


def _text(tree: ast.AST, parent: ast.AST, field: str, at: int | None, node: ast.AST, variant: ast.AST) -> str:
    """The program with a variant in the place of a node."""
    with ONE_AT_A_TIME:
        _put(parent, field, at, variant)
        text = ast.unparse(ast.fix_missing_locations(tree))
        _put(parent, field, at, node)
    return text


def _not_code(node: ast.AST) -> list[ast.AST]:
    """Annotations, the points that a row of the table is tested at, and the words of messages."""
    if isinstance(node, ast.keyword) and node.arg == "points":
        return [node.value]
    if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
        return [node]
    if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
        return [*node.exc.args, *node.exc.keywords]
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "warnings.warn":
        return [*node.args, *node.keywords]
    if isinstance(node, ast.FunctionDef) and node.name in ("__repr__", "__str__"):
        return list(node.body)
    return [note for note in (getattr(node, "annotation", None), getattr(node, "returns", None)) if note is not None]


def _functions(tree: ast.AST) -> dict[int, tuple[str, int | None]]:
    """For each node the name of the function or class around it, and the first line of the function's code.

    The line is None where the tests that reach it are not known: outside of functions, and where results are kept.
    """
    found: dict[int, tuple[str, int | None]] = {}

    def walk(node: ast.AST, name: str, line: int | None) -> None:
        found[id(node)] = name, line
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            name = f"{name}.{node.name}" if name else node.name
            made_once = [*node.decorator_list]
            if not isinstance(node, ast.ClassDef):
                made_once += [*node.args.defaults, *filter(None, node.args.kw_defaults)]
                kept = any("cache" in ast.unparse(decorator) for decorator in node.decorator_list)
                first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
                inner = None if kept else first
            else:
                inner = None
            for child in ast.iter_child_nodes(node):
                outside = child in made_once or isinstance(child, ast.arguments)
                walk(child, name, line if outside else inner)
        else:
            inner = node.lineno if isinstance(node, ast.Lambda) else line
            for child in ast.iter_child_nodes(node):
                walk(child, name, inner)

    walk(tree, "", None)
    return found


def _put(parent: ast.AST, name: str, at: int | None, node: ast.AST) -> None:
    if at is None:
        setattr(parent, name, node)
    else:
        getattr(parent, name)[at] = node


def _shown(node: ast.AST) -> str:
    return ast.unparse(ast.fix_missing_locations(copy.deepcopy(node))).splitlines()[0][:80]


# --- Running them -----------------------------------------------------------------------------------------------------


def tests_of(file: str) -> list[str]:
    """The test files to run on a mutant of a file, the nearest first; then its doctests."""
    return [*(f"tests/{name}.py" for name in TESTS[file]), f"tinygrad_vi/{file}.py"]


@dataclass
class Noted:
    """What a run of one test file on the package as it is has shown."""

    #: seconds of each test that passes
    seconds: dict[str, float]
    #: "file:line" of the functions that each test calls
    calls: dict[str, list[str]]
    #: those that run before and between the tests: any test may depend on them
    always: list[str]


class Noting:
    """A plugin of pytest that notes the seconds and the functions of each test."""

    def __init__(self, package: Path) -> None:
        self.package = f"{package}{os.sep}"
        self.noted = Noted({}, {}, [])
        self.now: set[Any] = set()
        self.watch()

    def watch(self) -> None:
        self.tracer = self.called
        sys.settrace(self.tracer)  # of this thread alone: others are waited for by it

    def called(self, frame: Any, _event: str, _: Any) -> None:
        self.now.add(frame.f_code)

    def taken(self) -> list[str]:
        codes, self.now = self.now, set()
        places = {
            f"{code.co_filename[len(self.package) : -3]}:{code.co_firstlineno}"
            for code in codes
            if code.co_filename.startswith(self.package)
        }
        if subprocess.Popen.__init__.__code__ in codes:  # what another process calls is not seen
            places.add(ANY)
        return sorted(places)

    def pytest_runtest_logstart(self) -> None:
        self.noted.always += self.taken()
        signal.signal(signal.SIGALRM, too_long)
        signal.setitimer(signal.ITIMER_REAL, 3.0 * LONGEST)

    def pytest_runtest_makereport(self, item: Any, call: Any) -> None:
        seconds = self.noted.seconds
        seconds[item.nodeid] = seconds.get(item.nodeid, 0.0) + (call.duration if call.excinfo is None else 1e9)

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        self.noted.calls[nodeid] = self.taken()
        if sys.gettrace() is not self.tracer:  # the test set one of its own, or none
            self.noted.calls[nodeid].append(ANY)
            self.watch()


def too_long(*_: Any) -> None:
    """End a test that is too slow to judge mutants: it fails."""
    raise TimeoutError


class Chosen:
    """A plugin of pytest that runs some tests only, new ones and the quickest first."""

    def __init__(self, chosen: dict[str, float], noted: Noted) -> None:
        self.seconds = {**dict.fromkeys(noted.calls, math.inf), **chosen}

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        seconds = {item: self.seconds.get(item.nodeid, 0.0) for item in items}
        items[:] = sorted((item for item in items if seconds[item] < math.inf), key=seconds.__getitem__)


def forked(work: Callable[[], int], limit: float) -> int:
    """What a function returns in a process of its own; -1 when it takes too long."""
    child = os.fork()
    if child == 0:
        code = 99
        try:
            os.setsid()
            nothing = os.open(os.devnull, os.O_RDWR)
            for descriptor in (0, 1, 2):
                os.dup2(nothing, descriptor)
            code = work()
        finally:
            os._exit(code)
    end = time.monotonic() + limit
    while time.monotonic() < end:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child, signal.SIGKILL)  # what it may have left running
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return -1


def pytest_here(tree: Path, path: str, plugin: Any) -> int:
    """Run one test file of a tree in this process."""
    import pytest

    os.chdir(tree)
    os.environ.update({"PYTHONDONTWRITEBYTECODE": "1", "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(tree)})
    os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = str(tree / ".hypothesis")
    sys.path[:] = [str(tree), *(p for p in sys.path if Path(p or ".").resolve() not in (ROOT, ROOT / "tests"))]
    settings = ["-q", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
    return int(pytest.main([*settings, *["-x"] * isinstance(plugin, Chosen), path], plugins=[plugin]))


def note(tree: Path, path: str) -> Noted:
    """Run one test file on the package as it is."""
    told = tree / "noted.json"

    def work() -> int:
        plugin = Noting(tree / "tinygrad_vi")
        pytest_here(tree, path, plugin)
        sys.settrace(None)
        told.write_text(json.dumps(vars(plugin.noted)))
        return 0

    told.unlink(missing_ok=True)
    forked(work, 1800.0)
    noted = Noted(**json.loads(told.read_text()))
    failing = [test for test, seconds in noted.seconds.items() if seconds >= 1e9]
    for test in failing:
        print(f"fails or is slow without a mutant, and judges none: {test}", flush=True)
        del noted.seconds[test]
    return noted


def chosen_tests(mutant: Mutant, noted: Noted) -> dict[str, float]:
    """The tests of one file that can tell a mutant, with their seconds."""
    place = f"{mutant.file}:{mutant.inside}"
    seconds = {test: s for test, s in noted.seconds.items() if s <= LONGEST}
    if mutant.inside is None or place in noted.always:
        return seconds
    return {test: s for test, s in seconds.items() if place in noted.calls[test] or ANY in noted.calls[test]}


def lives(mutant: Mutant, tree: Path, noted: dict[str, Noted]) -> bool:
    """Whether all tests that call its function pass on it."""
    path = tree / "tinygrad_vi" / f"{mutant.file}.py"
    original = path.read_text(encoding="utf-8")
    path.write_text(mutant.text(), encoding="utf-8")
    try:
        for tests in tests_of(mutant.file):
            chosen = chosen_tests(mutant, noted[tests])
            limit = LEAST + PATIENCE * sum(chosen.values()) + COMPILING * (mutant.file in MACHINE_CODE)
            if chosen and forked(partial(pytest_here, tree, tests, Chosen(chosen, noted[tests])), limit) not in (0, 5):
                return False
        return True
    finally:
        path.write_text(original, encoding="utf-8")


def a_copy(tree: Path) -> Path:
    """A tree with all that the tests read."""
    for part in ("tinygrad_vi", "tests", "notebooks", "benchmarks"):
        shutil.copytree(ROOT / part, tree / part, ignore=shutil.ignore_patterns("__pycache__"))
    for part in ("pyproject.toml", "README.md", "README.vi.md", "CONTRIBUTING.md", "PROMISES.md"):
        shutil.copy(ROOT / part, tree / part)
    machine_code = Path("tinygrad_vi", "compiler", "__pycache__")  # as long as it fits no mutant waits for a compiler
    (tree / machine_code).mkdir(exist_ok=True)
    for file in (ROOT / machine_code).glob("*.code"):
        shutil.copy(file, tree / machine_code)
    return tree


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("files", nargs="*", help=f"of {', '.join(TESTS)}; all when none is named")
    parser.add_argument("--sample", type=int, default=20, help="mutants of each file (20)")
    parser.add_argument("--all", action="store_true", help="every mutant")
    parser.add_argument("--like", action="append", help="only mutants whose name has this text in it")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="how many at a time")
    parser.add_argument(
        "--noted", type=Path, help="a file to keep what the first run notes, for as long as no line moves"
    )
    parser.add_argument("--list", action="store_true", help="print the mutants and run nothing")
    options = parser.parse_args()
    begun = time.monotonic()
    reasons = json.loads(REASONS.read_text(encoding="utf-8")) if REASONS.exists() else {}
    chosen: list[Mutant] = []
    for file in options.files or TESTS:
        of_file = mutants(file)
        if options.like:
            of_file = [mutant for mutant in of_file if any(text in mutant.name for text in options.like)]
        elif not options.all:
            of_file = random.Random(f"{options.seed} {file}").sample(of_file, min(options.sample, len(of_file)))
        chosen += of_file
    if options.list:
        print(*(mutant.name for mutant in chosen), sep="\n")
        return
    counted = [mutant for mutant in chosen if mutant.name not in reasons]
    for name in HEAVY:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    with tempfile.TemporaryDirectory() as folder:
        free: SimpleQueue[Path] = SimpleQueue()
        for job in range(options.jobs):
            free.put(a_copy(Path(folder) / str(job)))
        paths = dict.fromkeys(path for mutant in counted for path in tests_of(mutant.file))
        known = json.loads(options.noted.read_text()) if options.noted and options.noted.exists() else {}
        for path in paths:
            if path not in known:
                known[path] = vars(note(Path(folder) / "0", path))
                if options.noted:
                    options.noted.write_text(json.dumps(known))
        noted = {path: Noted(**known[path]) for path in paths}
        print(f"{len(paths)} files of tests noted in {time.monotonic() - begun:.0f} s", flush=True)

        def survives(mutant: Mutant) -> bool:
            tree = free.get()
            try:
                return lives(mutant, tree, noted)
            finally:
                free.put(tree)

        alive: Counter[str] = Counter()
        tried: Counter[str] = Counter(mutant.file for mutant in counted)
        with ThreadPoolExecutor(options.jobs) as pool:
            for mutant, still in zip(counted, pool.map(survives, counted), strict=True):
                if still:
                    alive[mutant.file] += 1
                    print(f"lives: line {mutant.line}: {mutant.name}", flush=True)
    for file, number in Counter(mutant.file for mutant in chosen).items():
        print(f"{file:24} {number:4} mutants, {number - tried[file]:3} without consequence, {tried[file] - alive[file]:4} "
              f"killed, {alive[file]:3} alive")  # fmt: skip
    killed = len(counted) - alive.total()
    print(f"{killed} of {len(counted)} killed: {100 * killed / max(1, len(counted)):.1f} % "
          f"in {(time.monotonic() - begun) / 60:.1f} minutes")  # fmt: skip


if __name__ == "__main__":
    main()
