"""Write the API reference from the docstrings, and follow every link in it: ``python docs/build.py [FOLDER]``.

It needs the package pdoc: ``pip install -e ".[docs]"``.  The pages are one folder of HTML that works offline.
"""

from __future__ import annotations

import importlib
import sys
from html.parser import HTMLParser
from inspect import ismodule
from pathlib import Path
from urllib.parse import unquote, urlsplit

import tinygrad_vi

FOLDER = Path("build/api")
PAGES = ("tinygrad_vi", *[f"tinygrad_vi.{name}" for name in dir(tinygrad_vi) if ismodule(getattr(tinygrad_vi, name))])


def build(folder: Path) -> None:
    """Write a page for the package and one for each of its public rooms, of the names in their ``__all__``."""
    import pdoc

    for name in PAGES:  # some names are looked up when they are first asked for; pdoc reads the modules as they are
        module = importlib.import_module(name)
        vars(module).update({public: getattr(module, public) for public in module.__all__})
        for public in module.__all__:
            thing = getattr(module, public)
            if isinstance(thing, type) and thing.__module__.startswith(f"{name}."):
                thing.__module__ = name  # what is inherited is linked to the page of the class that it comes from
    pdoc.render.configure(docformat="markdown", search=True)
    pdoc.pdoc(*PAGES, output_directory=folder)


class _Links(HTMLParser):
    """The links of a page and the places that links can lead to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.places: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:  # noqa: ARG002
        found = dict(attributes)
        self.places |= {value for key in ("id", "name") if (value := found.get(key))}
        self.links += [value for key in ("href", "src") if (value := found.get(key))]


def broken_links(folder: Path) -> list[str]:
    """The links between the pages of a folder that lead nowhere, as "page: link"; other sites are not asked."""
    pages = {path.resolve(): _Links(path.read_text(encoding="utf-8")) for path in folder.rglob("*.html")}
    broken = []
    for path, page in pages.items():
        for link in page.links:
            url = urlsplit(link)
            if url.scheme or url.netloc:
                continue
            target = (path.parent / unquote(url.path)).resolve() if url.path else path
            place = unquote(url.fragment)
            if not target.is_file() or (place and target in pages and place not in pages[target].places):
                broken.append(f"{path.relative_to(folder.resolve())}: {link}")
    return broken


def missing_names(folder: Path) -> list[str]:
    """What is public and stands on no page."""
    missing = []
    for name in PAGES:
        places = _Links((folder / f"{name.replace('.', '/')}.html").read_text(encoding="utf-8")).places
        missing += [f"{name}.{public}" for public in importlib.import_module(name).__all__ if public not in places]
    return missing


def main() -> int:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    build(folder)
    broken = broken_links(folder) + [f"on no page: {name}" for name in missing_names(folder)]
    pages = len(list(folder.rglob("*.html")))
    print("\n".join([*broken, f"{pages} pages in {folder}, {len(broken)} broken links and missing names"]))
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
