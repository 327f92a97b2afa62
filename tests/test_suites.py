"""The quick suite and the rest of it: each test is in one of them, and what is named is run whole."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
pytest_plugins = "pytester"

TESTS = """
import pytest

@pytest.mark.parametrize("n", range(12))
def test_cases(n): pass

@pytest.mark.slow
@pytest.mark.parametrize("n", range(3))
def test_slow(n): pass

def test_one(): pass
"""


@pytest.fixture
def collected(pytester):
    pytester.makeconftest((ROOT / "conftest.py").read_text(encoding="utf-8"))
    pytester.makepyprojecttoml('[tool.pytest.ini_options]\ntestpaths = ["."]\nmarkers = ["slow"]')
    pytester.makepyfile(test_some=TESTS)

    def run(*arguments):
        lines = pytester.runpytest_inprocess("-n0", "--collect-only", "-q", *arguments).outlines
        return [line.partition("::")[2] for line in lines if "::" in line]

    return run


def test_every_test_is_in_the_quick_suite_or_in_the_rest(collected):
    quick, rest, whole = collected(), collected("--rest"), collected("test_some.py")
    assert len(whole) == 16
    assert sorted(quick + rest) == sorted(whole)
    assert quick == ["test_cases[0]", *(name for name in quick[1:-2]), "test_cases[11]", "test_one"]
    assert 2 < len(quick) < 12
    assert {"test_slow[0]", "test_slow[2]"} <= set(rest)


@pytest.mark.slow
@pytest.mark.parametrize("named", [("-k", "slow"), ("-m", "slow"), ("test_some.py::test_slow",)])
def test_what_is_named_is_run_whole(collected, named):
    assert collected(*named) == ["test_slow[0]", "test_slow[1]", "test_slow[2]"]
