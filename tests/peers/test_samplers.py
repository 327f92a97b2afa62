"""The page on samplers: each of its ways samples the eight schools, and the means are those of the posterior."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

PAGE = Path(__file__).parents[2] / "docs/samplers.md"
EFFECTS = np.array([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
ERRORS = np.array([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])

#: means of posteriordb, eight_schools-eight_schools_noncentered, with their Monte Carlo errors
PUBLISHED = {"mu": (4.41051833695493, 0.0330374705950917), "tau": (3.60205952364059, 0.0318615135640706)}


def exact_means():
    """E[mu] and E[tau]: given tau all is normal, and tau is one number, over which a sum over a fine grid goes."""
    tau = np.exp(np.linspace(-12.0, 8.0, 40_001))[:, None]
    precision = 1.0 / (ERRORS**2 + tau**2)
    total = precision.sum(axis=1) + 1.0 / 25.0
    mean = (precision * EFFECTS).sum(axis=1) / total
    log_weight = 0.5 * (np.log(precision).sum(axis=1) - np.log(total) - (precision * EFFECTS**2).sum(axis=1))
    log_weight += 0.5 * mean**2 * total - np.log1p((tau[:, 0] / 5.0) ** 2) + np.log(tau[:, 0])
    weight = np.exp(log_weight - log_weight.max())
    return {"mu": (weight * mean).sum() / weight.sum(), "tau": (weight * tau[:, 0]).sum() / weight.sum()}


def test_the_integral_is_what_is_published():
    found = exact_means()
    for name, (mean, error) in PUBLISHED.items():
        assert abs(found[name] - mean) < 4.0 * error


def blocks():
    """The blocks of code of each section; the first one, and the last, belong to all."""
    sections = re.split(r"^#+ (.*)$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    code = {
        title: "\n".join(re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL))
        for title, text in zip(sections[1::2], sections[2::2], strict=True)
    }
    first, last = code.pop("Samplers"), code.pop("What comes out")
    return {title: f"{first}\n{text}\n{last}" for title, text in code.items()}


def test_the_page_has_a_section_for_each():
    assert [*blocks()] == ["NumPyro", "BlackJAX", "PyMC", "nutpie"]


@pytest.mark.slow
@pytest.mark.parametrize("name", blocks())
def test_the_means_are_those_of_the_posterior(name, tmp_path):
    for package in {"PyMC": ("pymc", "jax"), "BlackJAX": ("blackjax",), "nutpie": ("nutpie",), "NumPyro": ("numpyro",)}[
        name
    ]:
        pytest.importorskip(package, reason=f"{package} is not installed: pip install {package}")
    text = blocks()[name] + "\nnp.save('draws.npy', np.column_stack([mu, tau]))\n"
    path = os.pathsep.join(filter(None, [str(PAGE.parents[1]), os.environ.get("PYTHONPATH")]))
    (tmp_path / "page.py").write_text(text, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "page.py"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": path}, capture_output=True, encoding="utf-8", timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    draws = np.load(tmp_path / "draws.npy")
    assert len(draws) == 4000
    parts = draws.reshape(20, 200, 2).mean(axis=1)  # means of parts tell the error of a mean of draws that depend
    errors = parts.std(axis=0, ddof=1) / np.sqrt(20)
    assert (errors < 0.25).all()
    for (_, exact), mean, error in zip(exact_means().items(), draws.mean(axis=0), errors, strict=True):
        assert abs(mean - exact) < 4.5 * error
