"""Two suites: ``pytest`` is the quick one, ``pytest --rest`` runs what it leaves out.  Both use all cores.

The quick suite runs every test that is not marked ``slow``, with some of its cases where it has many.  Whoever names
files or tests (a path, ``-k``, ``-m``) gets all that is meant, one after the other.
"""

from __future__ import annotations

from collections import defaultdict

import pytest

CASES = 2  # of each test function, in the quick suite


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--rest", action="store_true", help="run what the quick suite, plain pytest, leaves out")


def suite(config: pytest.Config) -> str:
    if config.option.rest:
        return "rest"
    by_name = config.args_source is pytest.Config.ArgsSource.ARGS or config.option.keyword or config.option.markexpr
    return "named" if by_name else "quick"


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist looks at its options
def pytest_cmdline_main(config: pytest.Config) -> None:
    one_of_several = hasattr(config, "workerinput")
    if suite(config) != "named" and not one_of_several and getattr(config.option, "numprocesses", 0) is None:
        config.option.numprocesses, config.option.dist = "auto", "worksteal"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    chosen = suite(config)
    if chosen == "named":
        return
    functions = defaultdict(list)
    for item in items:
        if item.get_closest_marker("slow") is None:
            functions[item.parent, getattr(item, "originalname", item.name)].append(item)
    quick = {item for cases in functions.values() for item in spread(cases, CASES)}
    config.hook.pytest_deselected(items=[item for item in items if (item in quick) != (chosen == "quick")])
    items[:] = [item for item in items if (item in quick) == (chosen == "quick")]


def spread(cases: list[pytest.Item], most: int) -> list[pytest.Item]:
    """Some of the cases, from the first to the last."""
    if len(cases) <= most:
        return cases
    return [cases[i * (len(cases) - 1) // (most - 1)] for i in range(most)]
