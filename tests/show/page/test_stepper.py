"""The step-through page, without a browser: what it holds, what it refuses, what it is without scripts."""

import html
import json
import re
import xml.etree.ElementTree as ET

import pytest

from tinygrad_vi import Value, dot, log, sin, tanh
from tinygrad_vi.__main__ import main
from tinygrad_vi.rows import OPERATIONS
from tinygrad_vi.show import render, step_through
from tinygrad_vi.show.page import stepper
from tinygrad_vi.words import words_of


@pytest.fixture
def y():
    x1, x2 = Value(2.0, "x1"), Value(5.0, "x2")
    y = log(x1) + x1 * x2 - sin(x2)
    y.label = "y"
    return y


def program_of(page):
    return json.loads(re.search(r'id="program">(.*?)</script>', page.html, re.DOTALL)[1])


def texts(svg):
    return ["".join(text.itertext()).strip() for text in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


def test_the_page_is_one_file_that_loads_nothing(y):
    text = y.step_through().html
    assert "default-src 'none'" in text
    assert not re.search(r'(src|href)="(?!data:)', text)
    assert not re.search(r"https?://(?!www\.w3\.org)", text)
    assert len(text) < 150_000
    assert "<!--" not in text.replace("<!doctype", "")


def test_labels_cannot_become_markup():
    evil = Value(1.0, "</script><script>alert(1)</script><!--program-->&\"'")
    out = tanh(evil * 2.0)
    out.label = "<b>y</b>"
    page = out.step_through()
    assert "<script>alert" not in page.html
    assert page.html.count("</script>") == 3
    assert "<b>y</b>" not in page.html
    assert program_of(page)["nodes"][0]["label"].startswith("</script><script>alert(1)")
    data = page._repr_mimebundle_()["text/html"]
    assert "<script>alert" not in html.unescape(re.search(r"srcdoc='([^']*)'", data)[1])


def test_the_engines_numbers_are_in_the_page(y):
    nodes = program_of(y.step_through())["nodes"]
    assert [node["data"] for node in nodes] == [2.0, 5.0, log(2.0), 10.0, sin(5.0), log(2.0) + 10.0, y.data]
    assert [node["name"] for node in nodes] == ["v₋₁", "v₀", "v₁", "v₂", "v₃", "v₄", "v₅"]
    assert nodes[3]["local"] == [5.0, 2.0]


def test_nothing_of_the_values_is_changed(y):
    y.backward()
    leaf = y.parents[0].parents[0].parents[0]
    before = leaf.grad
    y.step_through().html  # noqa: B018
    assert leaf.grad == before == 5.5


def test_a_page_keeps_what_the_graph_was(y):
    page = y.step_through()
    y.parents[0].data = 1e9
    assert "1000000000" not in page.html
    assert "data 1e9" not in texts(page.strip.svg)


def test_the_still_frames_show_known_and_unknown_numbers(y):
    shown = texts(y.step_through(language="en").strip.svg)
    assert sorted(t for t in shown if "pass" in t) == [
        "Backward pass: 11 / 11",
        "Backward pass: 8 / 11",
        "Forward pass: 2 / 11",
        "Forward pass: 5 / 11",
    ]
    assert shown.count("data ?") == 3
    assert shown.count("grad —") == 14
    assert shown.count("grad 1.716") == 1  # only the last frame has it
    assert shown.count("grad 5.5") == 1


def test_a_notebook_gets_the_page_and_the_still_frames(y):
    data = y.step_through()._repr_mimebundle_(include=None, exclude=None)
    assert data["text/html"].startswith("<iframe srcdoc='<!doctype html>")
    assert "<details open><summary>" in data["text/html"]
    assert 'src="data:image/png;base64,' in data["text/html"]
    assert len(data["text/html"]) < 300_000


def test_without_any_graphviz_the_page_still_works(y, monkeypatch):
    monkeypatch.setattr(render.shutil, "which", lambda name: None)
    monkeypatch.setattr(render, "find_spec", lambda name: None)
    program = program_of(page := y.step_through())
    assert len({tuple(node["box"][:2]) for node in program["nodes"]}) == 7
    assert "<noscript>" not in page.html
    assert "<details" not in page._repr_mimebundle_()["text/html"]


def test_save_and_repr(y, tmp_path):
    page = y.step_through()
    assert repr(page) == '<Page of 7 values in 12 steps; .save("page.html") writes it>'
    path = page.save(tmp_path / "máy soi.html")
    assert path.read_text(encoding="utf-8") == page.html
    with pytest.raises(ValueError, match=r"cannot save a page as 'page\.svg': the name must end in \.html"):
        page.save(tmp_path / "page.svg")


def test_wrong_input_is_refused(y):
    with pytest.raises(ValueError, match="the languages are 'en', 'vi', got 'fr'"):
        y.step_through(language="fr")
    with pytest.raises(TypeError, match=r"of type list for the output: take one of them, such as outputs\[0\]"):
        step_through([y, y])
    with pytest.raises(ValueError, match="digits must be a whole number of at least 1, got 0"):
        y.step_through(digits=0)
    with pytest.raises(ValueError, match="digits must be a whole number of at least 1, got '4'"):
        y.step_through(digits="4")
    with pytest.raises(ValueError, match="got digits=18"):
        y.step_through(digits=18)
    with pytest.raises(TypeError, match=r"a tape needs Values, got 3\.0 of type float"):
        step_through(3.0)
    with pytest.raises(ValueError, match=r"the graph has 7 values, too many to step through \(max_nodes = 6\)"):
        y.step_through(max_nodes=6)


def test_the_command_line_writes_the_page(tmp_path, capsys):
    file = tmp_path / "page.html"
    assert main(["trace", "log(x1) + x1*x2 - sin(x2)", "x1=2", "x2=5", "--html", str(file), "--language", "en"]) == 0
    assert f"wrote {file}: open it in a browser" in capsys.readouterr().err
    assert '<html lang="en">' in file.read_text(encoding="utf-8")
    assert main(["trace", "x", "x=2", "--html", str(tmp_path / "page.pdf")]) == 2
    assert "its name must end in .html" in capsys.readouterr().err


def test_both_languages_say_the_same_things():
    words = words_of("page")
    plain = {name: {key for key in words[name] if not key.startswith("domain: ")} for name in words}
    assert plain["vi"] == plain["en"]
    for key in plain["vi"]:
        assert set(re.findall(r"\{\w+\}", words["vi"][key])) == set(re.findall(r"\{\w+\}", words["en"][key])), key
    for op in OPERATIONS.values():
        if re.search(r"[a-z]{2}", op.domain):  # words, not only signs
            assert f"domain: {op.domain}" in words["vi"], op


def test_every_word_the_script_asks_for_is_there():
    script, page = stepper._resource("stepper.js"), stepper._resource("stepper.html")
    asked = set(re.findall(r'say\("(\w+)"', script)) | set(re.findall(r'data-(?:word|label)="(\w+)"', page))
    asked |= {
        "legend" + name for name in re.search(r"legend\", \.\.\.\[(.*?)\]", script)[1].replace('"', "").split(", ")
    }
    assert asked <= set(words_of("page")["vi"])


def test_a_neuron_without_a_bias_hides_the_zero():
    out = dot([Value(2.0, "w1"), Value(3.0, "w2")], [Value(4.0, "x1"), Value(5.0, "x2")])
    nodes = program_of(out.step_through())["nodes"]
    assert nodes[-1]["formula"] == "⟦0⟧ * ⟦2⟧ + ⟦1⟧ * ⟦3⟧"
