"""The READMEs are run: Python blocks as doctests, console blocks as commands whose output must be the one shown."""

import doctest
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
READMES = ["README.md", "README.vi.md"]


def blocks(readme, language):
    text = (ROOT / readme).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("readme", ["README.md", pytest.param("README.vi.md", marks=pytest.mark.slow)])  # the same code
def test_python_blocks_print_what_they_show(readme, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # what they save stays out of the checkout
    parser, runner = doctest.DocTestParser(), doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    names = {}
    for number, block in enumerate(blocks(readme, "python"), start=1):
        test = parser.get_doctest(block, names, f"{readme}, block {number}", readme, 0)
        assert test.examples
        runner.run(test, clear_globs=False)
        names = test.globs
    assert runner.tries > 10
    assert runner.failures == 0


@pytest.mark.parametrize("readme", READMES)
def test_commands_print_what_they_show(readme, tmp_path):
    commands = 0
    for block in blocks(readme, "console"):
        for command, shown in re.findall(r"^\$ python (.*)\n((?:[^$].*\n|\n)*)", block, flags=re.MULTILINE):
            done = subprocess.run(
                [sys.executable, *shlex.split(command)],
                cwd=tmp_path,
                capture_output=True,
                encoding="utf-8",
                timeout=600,
            )
            assert done.stdout + done.stderr == shown
            commands += 1
    assert commands


@pytest.mark.parametrize("language", ["python", "console", "sh"])
def test_both_languages_show_the_same_code(language):
    english, vietnamese = (blocks(readme, language) for readme in READMES)
    assert english == vietnamese


@pytest.mark.parametrize("readme", READMES)
def test_every_file_that_is_linked_exists(readme):
    text = (ROOT / readme).read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)#:]+)\)", text)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
