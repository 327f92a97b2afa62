"""Draw the pictures of the READMEs' sections on stepping and on the course: ``python notebooks/pictures.py``.

The page is photographed by Playwright with the Chromium of the system (or its own).
"""

from __future__ import annotations

import base64
import shutil
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from tinygrad_vi import Value, compile, fit, log, losses, nn, optim, show, sin
from tinygrad_vi.data import moons

FOLDER = Path(__file__).resolve().parent / "pictures"


def main() -> None:
    """Write the four pictures."""
    show.draw_gates().save(FOLDER / "gates.svg")
    keep(show.quadratic([[2, 1], [1, 4]]), "quadratic.png")
    keep(film().strip(4), "film_strip.png")
    photograph(FOLDER / "step_through.png")


def film() -> show.Film:
    """A network that learns two moons."""
    X, y = moons(100, noise=0.1, seed=0)
    model = nn.MLP(2, [8, 8, 1], activation="tanh", output_activation="identity", seed=0)
    step = compile(lambda x, t: losses.bce_with_logits(model(x), t), params=model.parameters())
    film = show.Film(model, step, X, y, frames=16)
    fit(step, X, y, optimizer=optim.Adam(model.parameters(), learning_rate=0.03), epochs=120, callbacks=film)
    return film


def keep(plot: show.Plot, name: str) -> None:
    """Save a plot in as few colours as a notebook shows it."""
    bundle, _ = plot._repr_mimebundle_()
    png = bundle["image/png"]
    (FOLDER / name).write_bytes(base64.b64decode(png) if isinstance(png, str) else png)


def photograph(path: Path) -> None:
    """The page in the middle of its backward pass."""
    x1, x2 = Value(2.0, "x1"), Value(5.0, "x2")
    y = log(x1) + x1 * x2 - sin(x2)
    y.label = "y"
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        page_file = y.step_through().save(Path(folder) / "page.html")
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1180, "height": 860})
        page.goto(page_file.as_uri())
        for _ in range(10):
            page.keyboard.press("ArrowRight")
        page.screenshot(path=path, clip={"x": 0, "y": 0, "width": 1180, "height": 860})
        browser.close()


if __name__ == "__main__":
    main()
