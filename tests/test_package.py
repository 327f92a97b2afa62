"""The package as a whole: what importing it loads, what it exports, whether its papers tell the truth."""

import doctest
import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import tinygrad_vi
from tinygrad_vi import rows

ROOT = Path(tinygrad_vi.__file__).resolve().parent.parent
EXPORTED = {name: getattr(tinygrad_vi, name) for name in tinygrad_vi.__all__}
PUBLIC = {name: thing for name, thing in EXPORTED.items() if not inspect.ismodule(thing)}


def modules_loaded_by(code: str) -> set[str]:
    """What a fresh interpreter without site-packages has loaded after the code."""
    program = f"import sys; sys.path.insert(0, {str(ROOT)!r}); {code}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", program], check=True, capture_output=True, text=True)
    return set(done.stdout.split())


def test_importing_it_loads_the_standard_library_only() -> None:
    loaded = modules_loaded_by("import tinygrad_vi") - modules_loaded_by("pass")
    assert "tinygrad_vi.value" in loaded
    assert {name.partition(".")[0] for name in loaded} - sys.stdlib_module_names == {"tinygrad_vi"}


def test_importing_it_leaves_the_upper_rooms_closed() -> None:
    rooms = {name.split(".")[1] for name in modules_loaded_by("import tinygrad_vi") if name.startswith("tinygrad_vi.")}
    assert rooms.isdisjoint({"show", "compiler", "nn", "optim", "training", "data", "derivatives", "own", "tape"})


def test_importing_it_does_not_load_what_takes_longer_than_all_of_it() -> None:
    loaded = modules_loaded_by("import tinygrad_vi") - modules_loaded_by("import typing")
    assert loaded.isdisjoint({"inspect", "dataclasses", "ast", "tokenize"})


def test_it_computes_with_the_standard_library_alone() -> None:
    code = (
        "from tinygrad_vi import Value, dot, tanh; w, x = Value(2.0), Value(0.5)"
        "; y = tanh(dot([w], [x], -1.0)); y.backward(); assert (y.data, w.grad, x.grad) == (0.0, 0.5, 2.0)"
    )
    assert not {"numpy", "graphviz", "tabulate"} & modules_loaded_by(code)


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_has_a_docstring_of_its_own(name: str) -> None:
    doc = PUBLIC[name].__doc__
    assert doc
    assert doc.strip()
    assert PUBLIC[name].__module__.startswith("tinygrad_vi"), f"{name} is not ours to export"


def test_every_operation_can_be_reached_from_the_package() -> None:
    operators = {"add", "sub", "mul", "div", "mod", "floordiv", "neg", "pow", "power", "abs", "round"}
    assert set(rows.OPERATIONS) - operators - set(PUBLIC) == set()


def test_it_exports_what_everyone_needs() -> None:
    assert {"Value", "dot", "total", "no_grad", "DomainError", "ShapeError"} <= set(PUBLIC)


def test_it_says_that_it_is_typed() -> None:
    assert (ROOT / "tinygrad_vi" / "py.typed").exists()


def test_the_examples_of_contributing_run() -> None:
    result = doctest.testfile(str(ROOT / "CONTRIBUTING.md"), module_relative=False)
    assert result.attempted > 0
    assert result.failed == 0


@pytest.mark.parametrize(
    "page",
    [
        "CONTRIBUTING.md",
        "PROMISES.md",
        "README.md",
        "README.vi.md",
        "docs/first_things.md",
        "docs/samplers.md",
        "docs/sharp_bits.md",
    ],
)
def test_every_file_that_a_page_links_to_exists(page: str) -> None:
    found = re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", (ROOT / page).read_text(encoding="utf-8"))
    assert [link for link in found if not (ROOT / page).parent.joinpath(link).exists()] == []


def test_the_map_of_contributing_leads_to_the_names_it_speaks_of() -> None:
    table = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split("## Where is it?")[1].split("\n## ")[0]
    lines = [line for line in table.splitlines() if line.startswith("| ")][1:]
    assert len(lines) > 10
    for line in lines:
        files = [ROOT / link for link in re.findall(r"\]\(([^)#]+)\)", line)]
        assert files or "(#" in line
        texts = [path.read_text(encoding="utf-8") for path in files if path.is_file()]
        for name in re.findall(r"(?<!\[)`([A-Za-z.]+)`", line):
            assert any(re.search(rf"\b{name.split('.')[-1]}\b", text) for text in texts), name


def test_errors_about_missing_packages_name_packages_that_an_extra_brings() -> None:
    # not "tinygrad_vi[draw]", which pip knows only where the package came from an index
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    brought = set(re.findall(r'"([a-z-]+)(?:\[\w+\])?>=', project)) | {"numpy"}
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "tinygrad_vi").rglob("*.py")]
    named = {
        name for text in sources for line in re.findall(r"pip install ([a-z][a-z -]*)", text) for name in line.split()
    }
    assert {"matplotlib", "pygraphviz", "scikit-learn"} <= named <= brought
    assert not any("pip install" in text and "tinygrad_vi[" in text for text in sources)


def test_the_command_and_the_version_are_those_of_the_project() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert 'tinygrad-vi = "tinygrad_vi.__main__:main"' in project
    assert re.fullmatch(r"\d+\.\d+\.\d+", tinygrad_vi.__version__)
    assert 'path = "tinygrad_vi/__init__.py"' in project


#: what people import by name, and what of each module is theirs to call
OPEN = ("data", "distributions", "estimators", "functions", "losses", "nn", "ops", "optim", "training")


@pytest.mark.parametrize("name", OPEN)
def test_tab_shows_what_people_call_and_nothing_else(name: str) -> None:
    module = importlib.import_module(f"tinygrad_vi.{name}")
    assert dir(module) == sorted(module.__all__)
    assert len(set(module.__all__)) == len(module.__all__)
    for shown in module.__all__:
        thing = getattr(module, shown)
        assert not inspect.ismodule(thing)
        assert not callable(thing) or (thing.__doc__ and thing.__module__.startswith("tinygrad_vi")), shown


def test_tab_shows_what_the_readme_uses() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    used = set(re.findall(rf"\b({'|'.join(OPEN)})\.([A-Za-z]\w*)", text)) - {(name, "py") for name in OPEN}
    for room, names in re.findall(rf"from tinygrad_vi\.({'|'.join(OPEN)}) import ([\w, ]+)", text):
        used |= {(room, name.strip()) for name in names.split(",")}
    assert {("losses", "mse"), ("data", "xor"), ("nn", "MLP"), ("optim", "Adam")} <= used
    assert [(room, name) for room, name in sorted(used) if name not in dir(getattr(tinygrad_vi, room))] == []


@pytest.mark.parametrize("room", ["losses", "distributions", "functions", "data"])
def test_tab_shows_every_function_that_is_theirs_to_call(room: str) -> None:
    """A function of another module is shown only where that was meant; an own one is hidden only by a line here."""
    module = importlib.import_module(f"tinygrad_vi.{room}")
    defined = {name for name, thing in vars(module).items() if inspect.isfunction(thing) and not name.startswith("_")}
    own = {name for name in defined if getattr(module, name).__module__ == module.__name__}
    assert own - set(module.__all__) == {"losses": {"is_sigmoid", "is_softmax"}, "functions": {"checked"}}.get(
        room, set()
    )
    assert set(module.__all__) - own == {"losses": {"softmax"}}.get(room, set())
