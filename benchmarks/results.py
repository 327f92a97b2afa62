"""What was found, kept: results.json for programs, RESULTS.md to read, and a summary in each README.

A part that was measured takes the place of what was found of it before; others stay.  The summary is made of the
figures alone, so a README says what the file says.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tabulate import tabulate

from benchmarks import peers, shown
from benchmarks.measure import Table, duration, machine

ROOT = Path(__file__).resolve().parent.parent
FILE = Path("benchmarks", "results.json")
PAGE = Path("benchmarks", "RESULTS.md")
READMES = {"README.md": 0, "README.vi.md": 1}  # the place of its language among the words

START = "<!-- figures: python -m benchmarks --write puts them here, from benchmarks/results.json -->"
END = "<!-- end of figures -->"

PACKAGES = ("numpy", "scipy", "numba", "jax", "torch", "casadi", "autograd", "micrograd")

#: by part: what was measured where, when and how; its tables as text; its figures
Found = dict[str, dict[str, Any]]


def load(root: Path = ROOT) -> Found:
    file = root / FILE
    found: Found = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    return found


def keep(part: str, about: str, tables: Sequence[Table], command: str, root: Path = ROOT) -> None:
    """Put what a part has found in the place of what it found before."""
    found = load(root)
    found[part] = {
        "command": command,
        "date": datetime.now(timezone.utc).date().isoformat(),
        "machine": machine(),
        "versions": versions(),
        "about": about,
        "tables": [str(table) for table in tables],
        "figures": {name: figures for table in tables for name, figures in table.figures.items()},
    }
    (root / FILE).write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def versions() -> dict[str, str]:
    """Those of the packages that are installed."""
    installed = {}
    for package in PACKAGES:
        try:
            installed[package] = version(package)
        except PackageNotFoundError:
            continue
    return installed


def write(root: Path = ROOT) -> None:
    """Write the page, and the summary into the READMEs, from the file."""
    found = load(root)
    (root / PAGE).write_text(page(found), encoding="utf-8")
    for name, language in READMES.items():
        readme = root / name
        readme.write_text(replaced(readme.read_text(encoding="utf-8"), summary(found, language)), encoding="utf-8")


def page(found: Found) -> str:
    """All tables, each part with where, when and how it was measured."""
    parts = ["# What was measured", "Made by `python -m benchmarks --write`. Ratios count; seconds are this machine's."]
    for part, made in found.items():
        packages = ", ".join([f"{package} {number}" for package, number in made["versions"].items()])
        where = f"`{made['command']}`, {made['date']}. {made['machine']}; {packages}."
        parts += [f"## {part}", where, made["about"], *(f"### {table}" for table in made["tables"])]
    return "\n\n".join(parts) + "\n"


def replaced(text: str, figures: str) -> str:
    """A README with what stands between the marks replaced; raises ValueError where a mark is not there once."""
    if text.count(START) != 1 or text.count(END) != 1:
        raise ValueError(f"a README has the lines {START!r} and {END!r}, each once")
    before, rest = text.split(START)
    return f"{before}{START}\n\n{figures}\n\n{END}{rest.split(END)[1]}"


# --- The summary ------------------------------------------------------------------------------------------------------


def summary(found: Found, language: int) -> str:
    """What the READMEs show of what was found, in one of the two languages."""
    figures = {part: made["figures"] for part, made in found.items()}
    pieces = [_measured(found, language)]
    if "eager" in figures:
        on_off = [figures["eager"]["on true"], figures["eager"]["on false"]]
        rows = [
            [words[language], *(shown.FASTER[language].format(short(one[name])) for one in on_off)]
            for name, words in shown.EAGER_LINES.items()
        ]
        pieces += [shown.EAGER_CAPTION[language], _table(shown.EAGER_HEADERS[language], rows)]
    programs = {name: one for part in figures.values() for name, one in part.items()}
    for table in (shown.NETWORKS, shown.SCALAR):
        rows = [
            [words[language], *(_cell(programs[name], column) for column in table.columns)]
            for name, words in table.lines.items()
            if name in programs
        ]
        if rows:
            headers = [shown.PROGRAM[language], *(words[language] for words in table.columns.values())]
            pieces += [table.caption[language], _table(headers, rows)]
    rows = [[one.words[language], one.told(figures[one.part])] for one in shown.ALONE if one.part in figures]
    if rows:
        pieces.append(_table(shown.BESIDES[language], rows))
    return "\n\n".join(pieces)


def _measured(found: Found, language: int) -> str:
    """When, how and where; what differs from part to part is told once for each."""

    def each(key: str) -> list[str]:
        return list(dict.fromkeys([made[key] for made in found.values()]))

    packages = [f"{package} {number}" for made in found.values() for package, number in made["versions"].items()]
    return shown.MEASURED[language].format(
        dates=", ".join(each("date")),
        command="`, `".join(each("command")),
        machine="; ".join(each("machine")),
        packages=", ".join(dict.fromkeys(packages)),
    )


def _cell(figures: dict[str, Any], column: str) -> str:
    """The time of ours, how many times longer another takes, or how much of the peak ours reaches."""
    if column == "share":
        share = figures["share"]
        return f"{share.get(peers.ONE_THREAD, share[peers.OURS]):.0%}" if share else ""
    if column not in figures["seconds"]:
        return ""
    ours = column.startswith("tinygrad_vi")
    return duration(figures["seconds"][column][0]) if ours else short(figures["times"][column][0])


def short(x: float) -> str:
    """Two digits: ``0.87``, ``2.8``, ``28``, ``16,000``."""
    rounded = float(f"{x:.2g}")
    return f"{rounded:,.0f}" if rounded >= 10 else f"{rounded:.2g}"


def _table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    text = tabulate(list(rows), headers, tablefmt="github", disable_numparse=True)
    return re.sub(r" +\|", " |", re.sub(r"-{4,}", "---", text))
