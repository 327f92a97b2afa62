"""The demonstration: a neuron with its derivatives, three networks that learn, and one page with their pictures."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from shutil import which
from time import perf_counter
from typing import Any

from tinygrad_vi import data, losses, nn, optim, show, words
from tinygrad_vi.compiler.compiled import compile
from tinygrad_vi.files import write_atomically
from tinygrad_vi.show.palette import FAINT, INK, PAPER, SOFT
from tinygrad_vi.show.writing.console import printable
from tinygrad_vi.tape import Tape
from tinygrad_vi.training.answers import accuracy
from tinygrad_vi.training.loop import fit
from tinygrad_vi.value import Value
from tinygrad_vi.words import spoken, words_of


def demo(folder: Path, *, seed: int = 1, quick: bool = False, language: str | None = None) -> Path:
    """Print and draw a neuron, train three networks, with progress bars at a terminal, and draw them; returns the page.

    The page is ``index.html`` in the folder, beside its pictures; nothing is opened.  quick: a fraction of the epochs,
    to see that everything runs.  language: "en" or "vi", by default the one that is set.

    Raises ImportError, before anything is computed, where a package that it draws with is missing; OSError for a folder
    that cannot be written.
    """
    missing = [package for package in ("graphviz", "pygraphviz", "matplotlib") if find_spec(package) is None]
    if which("dot") and "pygraphviz" in missing:
        missing.remove("pygraphviz")
    if missing:
        raise ImportError(f"the demo draws: pip install {' '.join(missing)}")
    folder.mkdir(parents=True, exist_ok=True)
    language = spoken(language)
    report = Report(folder, words_of("demo")[language], language)
    report.say("native" if find_spec("numba") else "numpy")
    with words.language(language):
        neuron(report)
        study_hours(report, seed, quick)
        moons(report, seed, quick)
        adding(report, seed, quick)
    page = report.save()
    report.say("wrote", page=page)
    return page


@dataclass
class Report:
    """Prints texts, saves pictures, and collects both for the page."""

    folder: Path
    words: Mapping[str, str]
    language: str
    parts: list[str] = field(default_factory=list)

    def heading(self, name: str) -> None:
        """Begin a part."""
        print(printable(f"\n{self.words[name]}\n"))
        self.parts.append(f"<h2>{html.escape(self.words[name])}</h2>")

    def say(self, name: str, **facts: Any) -> None:
        """Print a sentence, and put it on the page."""
        text = self.words[name].format(**facts)
        print(printable(text))
        if name != "wrote":
            self.parts.append(f"<p>{html.escape(text)}</p>")

    def show(self, picture: Any, name: str, caption: str) -> None:
        """Save a picture, and put it on the page."""
        file = picture.save(self.folder / name)
        text = html.escape(self.words[caption])
        self.parts.append(f'<figure><img src="{file.name}" alt="{text}"><figcaption>{text}</figcaption></figure>')

    def save(self) -> Path:
        """Write the page."""
        title = html.escape(self.words["title"])
        content = "\n".join([f"<h1>{title}</h1>", *self.parts])
        colors = {"ink": INK, "paper": PAPER, "soft": SOFT, "faint": FAINT}
        page = PAGE.format(language=self.language, title=title, content=content, **colors)
        return write_atomically(self.folder / "index.html", page)


PAGE = """<!DOCTYPE html>
<html lang="{language}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font-family: system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }}
body {{ color: {ink}; background: {paper}; }}
figure {{ margin: 1.5rem 0; }}
img {{ max-width: 100%; height: auto; }}
figcaption {{ color: {soft}; }}
table {{ border-collapse: collapse; margin: 1rem 0; display: block; overflow-x: auto; }}
th, td {{ padding: 0.2rem 0.6rem; border-bottom: 1px solid {faint}; white-space: nowrap; }}
</style>
</head>
<body>
{content}
</body>
</html>
"""


def neuron(report: Report) -> None:
    """The sigmoid neuron of the CS231n notes: both tables, its graph, and the page that steps through it."""
    unit = nn.Neuron(2, "sigmoid", expand=True)
    unit.load_state_dict({"w": [2.0, -3.0], "b": -3.0})
    s = unit([Value(-1.0, "x0"), Value(-2.0, "x1")])
    s.label = "s"
    s.backward()
    tape = Tape(s)
    report.heading("neuron")
    for sweep in (tape.tangent(), tape.adjoint()):
        print(f"{sweep}\n")
        report.parts.append(sweep.table().to_html())
    report.show(s.draw(local=True), "neuron.svg", "graph")
    page = s.step_through().save(report.folder / "neuron.html")
    link = html.escape(report.words["stepper"])
    report.parts.append(f'<p><a href="{page.name}">{link}</a></p>')


def study_hours(report: Report, seed: int, quick: bool) -> None:
    """Hours of learning and sleep -> passed: a 2-4-1 network, drawn with its weights, its boundary and its loss."""
    report.heading("study")
    words = report.words
    hours, passed = data.study_hours()
    X, means, deviations = data.standardize(hours)
    model = nn.MLP(2, [4, 1], activation="tanh", init="xavier", seed=seed)
    history = train(report, model, losses.bce_with_logits, X, passed, 0.1, 10 if quick else 120, 5)
    report.say("students", right=f"{accuracy(model, X, passed):.0%}", n=len(X))

    def scale(point: list[float]) -> list[float]:
        return [(x - mean) / deviation for x, mean, deviation in zip(point, means, deviations, strict=True)]

    hour_names = (words["learn hours"], words["sleep hours"])
    boundary = show.decision_boundary(model, hours, passed, labels=hour_names, transform=scale)
    diagram = show.draw_network(model, inputs=[words["learn"], words["sleep"]], outputs=[words["pass"]])
    report.show(diagram, "study_network.svg", "network")
    report.show(boundary, "study_boundary.png", "boundary")
    report.show(history.plot(), "study_loss.png", "loss")


def moons(report: Report, seed: int, quick: bool) -> None:
    """micrograd's demo: a 2-16-16-1 network with the hinge loss on two moons, and how fast its gradient is."""
    report.heading("moons")
    X, classes = data.moons(100, noise=0.1, seed=seed)
    y = [2 * t - 1 for t in classes]
    model = nn.MLP(2, [16, 16, 1], init="he", seed=seed)
    speed(report, model, losses.hinge, X, y)
    history = train(report, model, losses.hinge, X, y, 0.02, 4 if quick else 40, 10, l2=1e-4)
    report.say("points", right=f"{accuracy(model, X, y):.0%}", n=len(X))
    gradients = show.gradient_sizes(model, lambda x, t: losses.hinge(model(x), t), X, y)
    report.show(show.decision_boundary(model, X, y), "moons_boundary.png", "boundary")
    report.show(history.plot(), "moons_loss.png", "loss")
    report.show(gradients, "moons_gradients.png", "gradients")


def adding(report: Report, seed: int, quick: bool) -> None:
    """The adding problem with a GRU of six units: it must remember two of six numbers, and add them."""
    report.heading("adding")
    X, y = data.adding(300, length=6, seed=seed)
    model = nn.RNN(nn.GRUCell(2, 6, seed=seed), nn.Layer(6, 1, "identity", init="xavier", seed=seed), last=True)
    history = train(report, model, losses.mse, X[:200], y[:200], 0.02, 2 if quick else 40, 10)
    found = model.predict(X[200:])
    report.say("sums", error=f"{losses.mse(found, y[200:]):.2g}")
    plot = show.predictions(y[200:], found, labels=(report.words["right sum"], report.words["answer"]))
    report.show(plot, "adding.png", "predictions")
    report.show(history.plot(), "adding_loss.png", "loss")


def train(
    report: Report,
    model: nn.Module,
    loss: Any,
    X: Any,
    y: Any,
    rate: float,
    epochs: int,
    batch_size: int,
    l2: float = 0.0,
) -> Any:
    """Train the compiled loss by Adam; the learning rate falls to 0 along a cosine."""
    parameters = model.parameters()
    report.say("training", parameters=len(parameters), n=len(X), epochs=epochs, batch_size=batch_size)
    return fit(
        compile(lambda x, t: loss(model(x), t), params=parameters),
        X=X,
        y=y,
        optimizer=optim.Adam(parameters, rate),
        epochs=epochs,
        batch_size=batch_size,
        schedule=optim.cosine_decay(rate, epochs),
        penalty=(lambda: losses.l2(parameters, l2)) if l2 else None,
    )


def speed(report: Report, model: nn.Module, loss: Any, X: Any, y: Any) -> None:
    """Measure the gradient of the mean loss, node by node and compiled: the least time of several calls each."""
    parameters = model.parameters()
    step = compile(lambda x, t: loss(model(x), t), params=parameters)

    def scalar() -> None:
        for p in parameters:
            p.grad = 0.0
        loss([model([Value(a) for a in x]) for x in X], y).backward()

    def compiled() -> None:
        step.value_and_grad(step.theta, X, y)

    compiled()  # the first call traces it
    slow, fast = best_time(scalar, 3), best_time(compiled, 30)
    report.say("speed", n=len(X), slow=f"{slow * 1e3:.1f}", fast=f"{fast * 1e6:.0f}", times=f"{slow / fast:,.0f}")


def best_time(f: Any, repeats: int) -> float:
    """The least time of several calls, in seconds."""
    times = []
    for _ in range(repeats):
        start = perf_counter()
        f()
        times.append(perf_counter() - start)
    return min(times)
