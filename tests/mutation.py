"""Mutation testing: does a test fail when a line of the package is wrong?

    python tests/mutation.py                            20 mutants of each file that matters most
    python tests/mutation.py ops value --sample 50      50 mutants of each of these
    python tests/mutation.py ops --all                  every mutant of one

A mutant is the package with one small mistake: a sign, a comparison, a constant, a condition or a statement.  It is
made in a copy of the tree, and the tests of its file are run on it, the nearest first, until one fails.  A mutant that
lives is printed with its line.  Those that change nothing that a user can tell (another order of the same sum, the text
of a message that no promise is made on, a faster way to the same result) are listed with the reason in
``mutation_reasons.json``, by their text: they are not counted.
"""

from __future__ import annotations

import argparse
import ast
import copy
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

ROOT = Path(__file__).parents[1]
REASONS = Path(__file__).with_name("mutation_reasons.json")
LONGEST = 600  # seconds for the tests of one mutant: some mutants never end

#: file -> the tests that should notice, the nearest first
TESTS = {
    "modes": ["test_thread_modes"],
    "ops": ["test_ops", "test_value", "test_derivatives", "test_random_graphs", "show/test_table", "test_exercises"],
    "value": ["test_value", "test_thread_modes", "test_derivatives", "test_random_graphs", "test_tape", "test_memory"],
    "tape": ["test_tape", "show/test_table", "test_derivatives", "test_random_graphs"],
    "derivatives": ["test_derivatives", "test_value", "test_judgements", "test_random_graphs"],
    "losses": ["test_losses", "test_judgements", "peers/test_torch_nn", "compiler/test_checks"],
    "optim": ["test_optim", "test_judgements", "test_training", "peers/test_torch_nn"],
    "training": [
        "test_training",
        "test_thread_modes",
        "test_interruption",
        "compiler/test_faithful",
        "test_exercises_networks",
    ],
    "files": ["test_files", "test_training", "test_nn"],
    **{
        f"compiler/{name}": [f"compiler/test_{name}", *common]
        for names, common in (
            (("form", "reverse", "program", "lift", "evaluate"), ["compiler/test_form", "compiler/test_floats"]),
            (("batch",), ["compiler/test_compiled"]),
            (("trace", "compiled"), ["compiler/test_faithful", "compiler/test_compiled", "compiler/test_checks"]),
            (("numpy_source", "numpy_runner"), ["compiler/test_compiled", "compiler/test_floats"]),
            (("elementary", "lanes", "kernel", "tables", "native"), ["compiler/test_compiled", "compiler/test_floats"]),
        )
        for name in names
    },
}
AFTERWARDS = ["compiler/test_compiled", "compiler/test_checks", "compiler/test_faithful", "fuzz"]

# --- Making mutants ---------------------------------------------------------------------------------------------------

SWAPPED: dict[type[ast.AST], type[ast.AST]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.Pow: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult, ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.And: ast.Or,
    ast.Or: ast.And, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.LShift: ast.RShift, ast.RShift: ast.LShift,
}  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """One mistake.  text: the file with it; line: the one it is in, before and after."""

    file: str
    number: int
    before: str
    after: str
    text: str

    @property
    def name(self) -> str:
        """What it is known by in the list of reasons."""
        return f"{self.file}: {self.before}  ->  {self.after}"


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
    found = []
    for parent in ast.walk(tree):
        if id(parent) in left_out:
            continue
        for name, held in ast.iter_fields(parent):
            places = list(enumerate(held)) if isinstance(held, list) else [(None, held)]
            for at, node in places:
                if not isinstance(node, ast.AST) or id(node) in left_out or not hasattr(node, "lineno"):
                    continue
                for variant in variants(node):
                    _put(parent, name, at, ast.copy_location(variant, node))
                    text = ast.unparse(ast.fix_missing_locations(tree))
                    _put(parent, name, at, node)
                    try:
                        before, after = _shown(node), _shown(variant)
                        compile(text, file, "exec")
                    except (SyntaxError, ValueError):
                        continue
                    shown = lines[node.lineno - 1].strip()
                    found.append(Mutant(file, node.lineno, f"{shown}  [{before}]", after, text))
    return found


def _not_code(node: ast.AST) -> list[ast.AST]:
    """Annotations, and the points that a row of the table is tested at."""
    if isinstance(node, ast.keyword) and node.arg == "points":
        return [node.value]
    return [note for note in (getattr(node, "annotation", None), getattr(node, "returns", None)) if note is not None]


def _put(parent: ast.AST, name: str, at: int | None, node: ast.AST) -> None:
    if at is None:
        setattr(parent, name, node)
    else:
        getattr(parent, name)[at] = node


def _shown(node: ast.AST) -> str:
    return ast.unparse(ast.fix_missing_locations(copy.deepcopy(node))).splitlines()[0][:80]


# --- Running them -----------------------------------------------------------------------------------------------------


def tests_of(file: str) -> list[str]:
    """The test files to run on a mutant of a file, the nearest first, as far as they exist; then its doctests."""
    names = dict.fromkeys([*TESTS[file], *(AFTERWARDS if file.startswith(("compiler", "ops", "value")) else [])])
    paths = [f"tests/{name}" if name == "fuzz" else f"tests/{name}.py" for name in names]
    return [*[path for path in paths if (ROOT / path).exists()], f"tinygrad_vi/{file}.py"]


def lives(mutant: Mutant, tree: Path) -> bool:
    """Whether all tests of its file pass on it."""
    path = tree / "tinygrad_vi" / f"{mutant.file}.py"
    original = path.read_text(encoding="utf-8")
    path.write_text(mutant.text, encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-x",
        "-q",
        "-p",
        "no:cacheprovider",
        "--no-header",
        *tests_of(mutant.file),
    ]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "JAX_PLATFORMS": "cpu"}
    running = subprocess.Popen(command, cwd=tree, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                               start_new_session=True)  # fmt: skip
    try:
        return running.wait(LONGEST) == 0
    except subprocess.TimeoutExpired:
        return False
    finally:
        if running.poll() is None:
            os.killpg(running.pid, signal.SIGKILL)
        path.write_text(original, encoding="utf-8")


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("files", nargs="*", help=f"of {', '.join(TESTS)}; all when none is named")
    parser.add_argument("--sample", type=int, default=20, help="mutants of each file (20)")
    parser.add_argument("--all", action="store_true", help="every mutant")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="how many at a time")
    options = parser.parse_args()
    reasons = json.loads(REASONS.read_text(encoding="utf-8")) if REASONS.exists() else {}
    chosen: list[Mutant] = []
    for file in options.files or TESTS:
        of_file = mutants(file)
        if not options.all:
            of_file = random.Random(f"{options.seed} {file}").sample(of_file, min(options.sample, len(of_file)))
        chosen += of_file
    counted = [mutant for mutant in chosen if mutant.name not in reasons]
    print(f"{len(chosen)} mutants, {len(chosen) - len(counted)} of them without consequence", flush=True)
    survivors = []
    with tempfile.TemporaryDirectory() as folder:
        free: SimpleQueue[Path] = SimpleQueue()
        for job in range(options.jobs):
            tree = Path(folder) / str(job)
            for part in ("tinygrad_vi", "tests", "notebooks", "benchmarks"):
                shutil.copytree(ROOT / part, tree / part, ignore=shutil.ignore_patterns("*.nbi", "*.nbc"))
            for part in ("pyproject.toml", "README.md", "README.vi.md", "CONTRIBUTING.md"):
                shutil.copy(ROOT / part, tree / part)
            free.put(tree)

        def survives(mutant: Mutant) -> bool:
            tree = free.get()
            try:
                return lives(mutant, tree)
            finally:
                free.put(tree)

        with ThreadPoolExecutor(options.jobs) as pool:
            for done, (mutant, alive) in enumerate(zip(counted, pool.map(survives, counted), strict=True), start=1):
                if alive:
                    survivors.append(mutant)
                    print(f"lives: {mutant.file}.py:{mutant.number}  {mutant.before}  ->  {mutant.after}", flush=True)
                elif done % 20 == 0:
                    print(f"{done} of {len(counted)}, {len(survivors)} live", flush=True)
    killed = len(counted) - len(survivors)
    print(f"{killed} of {len(counted)} killed: {100 * killed / max(1, len(counted)):.1f} %")


if __name__ == "__main__":
    main()
