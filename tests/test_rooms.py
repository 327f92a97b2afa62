"""The plan of the house: a room imports only what stands left of it, and no import goes round.

A few methods open a room further right when they are called (`Value.draw` opens `show`): these doors are listed, and
stand inside functions.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import tinygrad_vi

PACKAGE = Path(tinygrad_vi.__file__).parent

#: from left to right; rooms of one line know nothing of each other
ROOMS = [
    {"checks", "collector", "elsewhere", "on_disk", "once", "sparsity", "terminal", "truth"},
    {"modes", "floats", "files"},
    {"tracing", "words"},
    {"rows", "graph", "sweep"},
    {"far_partials", "conditions"},
    {"ops"},
    {"functions", "copies"},
    {"value"},
    {"kinds", "tape", "trees", "expression"},
    {"arrays"},
    {"differences", "differentiated"},
    {"calls"},
    {"derivatives", "own"},
    {"numerical"},
    {"losses", "distributions", "examples"},
    {"data"},
    {"nn"},
    {"optim"},
    {"compiler"},
    {"predict"},
    {"training"},
    {"estimators", "show"},
    {"course"},
    {"demo"},
    {"__init__"},
    {"__main__"},
]
PLACE = {room: place for place, line in enumerate(ROOMS) for room in line}

#: (room, the room to its right that a function of it opens)
DOORS = {
    ("value", "show"),  # Value.draw, Value.derive, Value.step_through
    ("value", "arrays"),  # NumPy asks a Value to take part in its functions
    ("value", "kinds"),  # a comparison of traced Values is a Condition
    ("trees", "arrays"),  # a tree that held an array gets one back
    ("own", "compiler"),  # a rule that computes a second derivative is watched as a traced function is
    ("tape", "show"),  # a tape prints its table
    ("nn", "predict"),  # Module.predict
    ("training", "show"),  # History.plot
    ("compiler", "show"),  # Compiled.draw
}

MODULES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in PACKAGE.rglob("*.py")
}


def room(module: str) -> str:
    return [*module.split("."), "__init__"][1]


def imports(module: str) -> Iterator[tuple[str, bool]]:
    """The modules of the package that a module imports, and whether inside a function; not those for type checkers."""

    def walk(node: ast.AST, inside: bool) -> Iterator[tuple[str, bool]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                continue
            if isinstance(child, ast.ImportFrom) and (child.module or "").startswith("tinygrad_vi"):
                for name in child.names:
                    whole = f"{child.module}.{name.name}"
                    yield whole if whole in MODULES else str(child.module), inside
            yield from walk(child, inside or isinstance(child, (ast.FunctionDef, ast.Lambda)))

    yield from walk(ast.parse(MODULES[module].read_text(encoding="utf-8")), False)


def test_every_room_has_its_place():
    assert {room(module) for module in MODULES} == set(PLACE)


@pytest.mark.parametrize("module", sorted(MODULES))
def test_a_room_imports_only_what_stands_left_of_it(module):
    here = room(module)
    for other, inside in imports(module):
        there = room(other)
        if here == there or (inside and (here, there) in DOORS):
            continue
        assert PLACE[there] < PLACE[here], f"{module} imports {other}"


def test_no_import_goes_round():
    """Nor among those inside functions: the doors alone lead back."""
    known = {
        module: {other for other, inside in imports(module) if not (inside and (room(module), room(other)) in DOORS)}
        for module in MODULES
    }
    order: list[str] = []
    while known:
        free = sorted(module for module, others in known.items() if not (others & known.keys()) - {module})
        assert free, f"these import each other: {sorted(known)}"
        order += free
        for module in free:
            del known[module]


def test_the_doors_are_used():
    opened = {(room(module), room(other)) for module in MODULES for other, inside in imports(module) if inside}
    assert opened >= DOORS
