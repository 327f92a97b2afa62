"""The page of sharp bits, and the check of the links of the API reference."""

import doctest
import re
from pathlib import Path

import pytest

from docs.build import broken_links

ROOT = Path(__file__).parents[1]


def test_every_example_of_the_sharp_bits_runs():
    found = doctest.testfile(str(ROOT / "docs/sharp_bits.md"), module_relative=False, optionflags=doctest.ELLIPSIS)
    assert found.attempted > 20
    assert found.failed == 0


def test_every_example_of_data_larger_than_memory_runs():
    for name in ("torch", "pyarrow", "pandas", "numpy"):
        pytest.importorskip(name, reason="the page shows its batches")
    found = doctest.testfile(str(ROOT / "docs/past_one_machine.md"), module_relative=False)
    assert found.attempted > 15
    assert found.failed == 0


@pytest.mark.parametrize("name", ["first_things.md", "first_things.vi.md"])
def test_the_first_things_that_people_type_run_in_both_languages(name):
    found = doctest.testfile(
        str(ROOT / "docs" / name), module_relative=False, optionflags=doctest.ELLIPSIS, encoding="utf-8"
    )
    assert found.attempted > 20
    assert found.failed == 0


@pytest.mark.parametrize(
    ("readme", "first"), [("README.md", "first_things.md"), ("README.vi.md", "first_things.vi.md")]
)
def test_the_readmes_lead_to_the_pages(readme, first):
    links = re.findall(r"\]\(([^)#]+)\)", (ROOT / readme).read_text(encoding="utf-8"))
    assert {"docs/sharp_bits.md", f"docs/{first}", "docs/past_one_machine.md"} <= {*links}


def test_a_link_that_leads_nowhere_is_found(tmp_path):
    (tmp_path / "room").mkdir()
    (tmp_path / "index.html").write_text(
        '<a href="room/a.html#here">1</a> <a href="room/a.html#gone">2</a> <a href="#top">3</a> <p id="top">'
        '<a href="room/b.html">4</a> <script src="search.js"></script> <a href="//elsewhere/x">5</a>'
    )
    (tmp_path / "room/a.html").write_text('<h1 id="here"><a href="../index.html#top">up</a><a name="%41" href="#A">')
    assert broken_links(tmp_path) == [
        "index.html: room/a.html#gone",
        "index.html: room/b.html",
        "index.html: search.js",
        "room/a.html: #A",
    ]
