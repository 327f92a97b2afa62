"""The page of promises names the tests that keep them."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "PROMISES.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`((?:\w+/)*test_\w+\.py(?:::\w+)?)`", PAGE)))


@pytest.mark.parametrize("name", NAMED)
def test_a_test_that_keeps_a_promise_exists_and_is_in_the_quick_suite(name):
    file, _, function = name.partition("::")
    path = ROOT / "tests" / file
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    quick = {f.name for f in functions if "pytest.mark.slow" not in map(ast.unparse, f.decorator_list)}
    assert function in quick if function else any(test.startswith("test_") for test in quick)


def test_each_promise_has_one():
    for promise in re.findall(r"^- (?:(?!^- |^\n).)*", PAGE.partition("## How it is kept so")[0], re.M | re.S):
        first = " ".join(promise.split())[:60]
        if not first.startswith("- One graph is not swept"):  # a limit, not a promise
            assert re.search(r"\[[^\]]*test_\w+\.py", promise), first


def test_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)#]+)\)", PAGE):
        assert (ROOT / target).exists(), target
