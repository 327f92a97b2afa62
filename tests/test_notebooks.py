"""Every notebook is executed from top to bottom; what is committed carries its outputs and stays small."""

import ast
import inspect
import re

import nbformat
import pytest

from notebooks import build

NOTEBOOKS = sorted(build.HERE.glob("*.ipynb"))


def outputs(notebook):
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def texts(notebook):
    """What each cell printed or showed as text, however many pieces it arrived in; times vary, and say so by a tag."""
    return [
        "".join(
            str(output.get("text", "")) + str(output.get("data", {}).get("text/plain", "")) for output in cell.outputs
        )
        for cell in notebook.cells
        if cell.cell_type == "code" and "varies" not in cell.metadata.get("tags", ())
    ]


def test_every_notebook_has_its_text():
    assert [path.stem for path in NOTEBOOKS] == [path.stem for path in build.SOURCES]


@pytest.mark.parametrize("source", build.SOURCES, ids=lambda path: path.name)
def test_it_was_built_from_its_text(source):
    committed = nbformat.read(build.HERE / f"{source.stem}.ipynb", as_version=4)
    told = build.read(source)
    assert [(c.cell_type, c.source) for c in committed.cells] == [(c.cell_type, c.source) for c in told.cells]


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the machinery that runs notebooks, not of ours
def test_it_runs_and_prints_what_is_committed(path):
    committed = nbformat.read(path, as_version=4)
    fresh = build.run(nbformat.read(path, as_version=4))
    assert texts(fresh) == texts(committed)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_it_is_committed_executed_small_and_without_errors_or_paths(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    for output in outputs(notebook):
        assert output.output_type != "error"
        assert output.get("name") != "stderr"
        assert len(str(output)) < 300_000
        assert not re.search(r"/(home|root|tmp|Users|work)/", str(output.get("text", "")) + str(output.get("data", "")))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_every_graph_has_a_picture_for_viewers_with_and_without_svg(path):
    pictures = [
        output.data
        for output in outputs(nbformat.read(path, as_version=4))
        if "image/svg+xml" in output.get("data", {})
    ]
    assert pictures
    assert all("image/png" in data for data in pictures)


def printed_sources(notebook):
    """(what is printed, its source today, the cell's output) for every `print(inspect.getsource(...))` of top level."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    trees = [ast.parse("".join(line for line in cell.source.splitlines(True) if line[0] not in "%!")) for cell in cells]
    imports = [node for tree in trees for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
    names: dict = {}
    exec(compile(ast.Module(imports, []), "<the imports of a lesson>", "exec"), names)
    for cell, tree in zip(cells, trees, strict=True):
        for node in tree.body:
            match node:
                case ast.Expr(
                    ast.Call(ast.Name("print"), [ast.Call(ast.Attribute(ast.Name("inspect"), "getsource"), [what])])
                ):
                    source = inspect.getsource(eval(ast.unparse(what), names))
                    yield ast.unparse(what), source, "".join(output.get("text", "") for output in cell.outputs)


def test_the_source_that_a_lesson_prints_is_the_source_of_today():
    found = 0
    for path in NOTEBOOKS:
        for what, source, output in printed_sources(nbformat.read(path, as_version=4)):
            found += 1
            assert source in output, f"{path.name} prints an older {what}: build it anew (python notebooks/build.py)"
    assert found >= 15


def test_there_is_a_first_notebook():
    assert NOTEBOOKS[0].name.startswith("00_")
