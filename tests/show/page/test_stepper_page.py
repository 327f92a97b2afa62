"""The step-through page in a real browser: every number it shows against the engine, sliders against fresh graphs."""

import base64
import json
import math
import os
import random
import re
import shutil
from functools import cache
from pathlib import Path

import pytest

from tinygrad_vi import Tape, Value, dot, exp, log, logsumexp, maximum, sigmoid, sin, tanh, total
from tinygrad_vi.expression import evaluate
from tinygrad_vi.graph import topological_order
from tinygrad_vi.rows import FAMILIES, OPERATIONS, apply, row
from tinygrad_vi.show.writing.numerals import write_number

playwright = pytest.importorskip("playwright.sync_api", reason="the package playwright is not installed")


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as p:
        found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
        try:
            browser = p.chromium.launch(executable_path=found, args=["--no-sandbox"])
        except playwright.Error:
            assert os.environ.get("TINYGRAD_VI_BROWSER") != "required"
            pytest.skip("no Chromium on this machine: playwright install chromium")
        yield browser
        browser.close()


@cache
def bundled_font():
    """A rule that sets everything in DejaVu Sans, one of the widest fonts, out of a file that matplotlib brings."""
    import matplotlib

    file = Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf"
    source = f"url(data:font/ttf;base64,{base64.b64encode(file.read_bytes()).decode()})"
    return f'@font-face {{ font-family: "the judge"; src: {source}; }} * {{ font-family: "the judge" !important; }}'


class Walker:
    """A page that is open, and everything it complained about.

    one_font: lay it out in a font of ours, so that what is measured does not depend on those of the machine; the page
    itself allows no font to be loaded.
    """

    def __init__(self, browser, path, one_font=False):
        self.page = browser.new_page(viewport={"width": 1300, "height": 900}, bypass_csp=one_font)
        self.requests, self.complaints = [], []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.goto(path.as_uri())
        self.requests.remove(path.as_uri())
        if one_font:
            self.page.add_style_tag(content=bundled_font())
            assert self.page.evaluate("document.fonts.load('16px \"the judge\"').then(fonts => fonts.length)") == 1
            self.page.evaluate("document.fonts.ready.then(() => 0)")

    def press(self, *keys):
        for key in keys:
            self.page.keyboard.press(key)

    def texts(self, selector):
        return [" ".join(text.split()) for text in self.page.locator(selector).all_inner_texts()]

    def svg(self, selector):
        return [text.strip() for text in self.page.locator(f"#graph {selector}").all_text_contents()]

    def text(self, selector):
        return " ".join(self.page.locator(selector).inner_text().split())

    def set(self, selector, value):
        self.page.locator(selector).fill(str(value))


@pytest.fixture
def open_page(browser, tmp_path):
    opened = []

    def open_(output, one_font=False, **options):
        path = output.step_through(**options).save(tmp_path / f"page{len(opened)}.html")
        opened.append(Walker(browser, path, one_font))
        return opened[-1]

    yield open_
    for walker in opened:
        assert walker.complaints == []
        assert [url for url in walker.requests if not url.startswith("data:")] == []
        walker.page.close()


def book(a=2.0, b=5.0):
    x1, x2 = Value(a, "x1"), Value(b, "x2")
    y = log(x1) + x1 * x2 - sin(x2)
    y.label = "y"
    return y


def everything():
    """A graph with shared nodes, constants, sums, a repeated operand, a corner and an inner label."""
    x, w, b = Value(0.5, "x"), Value(-1.25, "w"), Value(0.0625, "bias <b>")
    h = tanh(dot([w, 2.0], [x, x], b))
    h.label = "h"
    z = total([h * h, exp(-h), maximum(x, 0.5), logsumexp([w, b, 1.0])])
    return sigmoid(z) ** 2 + 3.0 * h / (x - w)


def shown(x, digits=4):
    return write_number(x, digits)


def assert_everything_shown_is_right(walker, y, digits=4):
    """After the last step: nodes, edges and the trace table against a sweep of the engine."""
    tape = Tape(y)
    adjoint = tape.adjoint()
    rows = list(tape)
    program = json.loads(walker.page.locator("#program").text_content())
    variable = [i for i, node in enumerate(program["nodes"]) if node["kind"] != "constant"]
    assert len(variable) == len(rows)
    for i, node in zip(variable, rows, strict=True):
        assert walker.svg(f"#node{i} .data") == [f"data {shown(node.data, digits)}"]
        assert walker.svg(f"#node{i} .grad") == [f"grad {shown(adjoint[node], digits)}"]
        cells = walker.texts(f"#row{i} td")
        assert cells[2] == shown(node.data, digits)
        assert cells[-1].split(" = ")[-1] == shown(adjoint[node], digits)
    partials = [partial for node in tape.operations for partial in node.local_grads]
    drawn = [label.removeprefix("×").strip("()") for label in walker.svg(".edge text")]
    assert drawn == [shown(partial, digits) for partial in partials]


@pytest.mark.parametrize("make", [book, everything])
def test_stepped_to_the_end_every_number_is_the_engines(open_page, make):
    y = make()
    walker = open_page(y, language="en")
    steps = 2 * len(Tape(y).operations) + 1
    walker.press(*["ArrowRight"] * steps)
    assert walker.text("#count") == f"step {steps} / {steps}"
    assert_everything_shown_is_right(walker, y)


def test_the_forward_pass_comes_node_by_node(open_page):
    walker = open_page(book(), language="en")
    assert walker.svg(".data") == ["data 2", "data 5", *["data ?"] * 5]
    assert walker.svg(".grad") == ["grad —"] * 7
    walker.press("ArrowRight")
    assert walker.text("#headline") == "Forward pass: compute v₁"
    assert walker.text("#work .big") == "v₁ = log(v₋₁) = log(2) = 0.6931"
    assert walker.texts("#work .local") == ["∂v₁/∂v₋₁ = 1 / v₋₁ = 1 / 2 = 0.5"]
    assert walker.svg(".data") == ["data 2", "data 5", "data 0.6931", *["data ?"] * 4]
    walker.press("ArrowRight")
    assert walker.texts("#work .local") == ["∂v₂/∂v₋₁ = v₀ = 5", "∂v₂/∂v₀ = v₋₁ = 2"]
    visible = [row.is_visible() for row in walker.page.locator("#rows tr").all()]
    assert visible == [True] * 4 + [False] * 3


def test_the_backward_pass_multiplies_and_accumulates(open_page):
    walker = open_page(book(), language="en")
    walker.press(*["ArrowRight"] * 6)
    assert walker.text("#headline") == "The backward pass begins: the seed v̄₅ = 1"
    assert walker.svg(".grad") == [*["grad 0"] * 6, "grad 1"]
    walker.press(*["ArrowRight"] * 3)
    assert walker.text("#headline") == "Backward pass: through v₃"
    assert walker.texts("#work tbody tr") == [
        "x2 (v₀) v̄₃ = -1 × ∂v₃/∂v₀ = 0.2837 = -0.2837 v̄₀: 0 + (-0.2837) → -0.2837"
    ]
    walker.press("ArrowRight")
    assert walker.texts("#work tbody tr") == [
        "x1 (v₋₁) v̄₂ = 1 × ∂v₂/∂v₋₁ = 5 = 5 v̄₋₁: 0 + 5 → 5",
        "x2 (v₀) v̄₂ = 1 × ∂v₂/∂v₀ = 2 = 2 v̄₀: -0.2837 + 2 → 1.716",
    ]
    assert "x2 (v₀) is used 2 times: the gradients of its branches add up." in walker.texts("#work .note")
    assert walker.texts("#row1 td")[-2:] == ["(-1)·0.2837 + 1·2", "v̄₀ = -0.2837 + 2 = 1.716"]
    walker.press("Home")
    assert walker.text("#count") == "step 0 / 11"
    walker.press("End", "ArrowLeft")
    assert walker.text("#count") == "step 10 / 11"


def test_a_slider_computes_everything_again_as_a_fresh_evaluation_does(open_page):
    walker = open_page(book(), digits=9)
    walker.press("End")
    walker.set("#input0", 0.75)
    walker.set("#input1", -1.5)
    assert_everything_shown_is_right(walker, book(0.75, -1.5), digits=9)
    walker.page.locator("#range1").focus()
    walker.press("ArrowRight")
    moved = float(walker.page.locator("#input1").input_value())
    assert moved != -1.5
    assert_everything_shown_is_right(walker, book(0.75, moved), digits=9)
    walker.page.click("#reset")
    assert_everything_shown_is_right(walker, book(), digits=9)


def test_outside_the_domain_the_page_says_so_and_keeps_its_numbers(open_page):
    walker = open_page(book(), language="en")
    walker.press("End")
    walker.set("#input0", -1)
    assert walker.text("#trouble") == (
        "Cannot compute v₁ = log(-1): it needs x > 0. The numbers shown are the last that could be computed."
    )
    assert_everything_shown_is_right(walker, book())
    walker.set("#input0", 3)
    assert walker.text("#trouble") == ""
    assert_everything_shown_is_right(walker, book(3.0))


def test_the_paths_of_an_input_with_their_products_and_sum(open_page):
    walker = open_page(book(), language="en")
    walker.press("End")
    walker.page.select_option("#from", "1")
    assert walker.texts("#found li") == ["x2 → v₂ → v₄ → v₅: 1 · 1 · 2 = 2", "x2 → v₃ → v₅: (-1) · 0.2837 = -0.2837"]
    assert walker.text("#pathsum") == "Sum of the products: ∂y/∂x2 = 2 - 0.2837 = 1.716"
    lit = walker.page.locator("#graph .node.onpath .caption").all_text_contents()
    assert lit == ["x2 · v₀", "v₂ = v₋₁ * v₀", "v₃ = sin(v₀)", "v₄ = v₁ + v₂", "y · v₅ = v₄ - v₃"]
    walker.page.locator("#found li button").nth(1).focus()
    assert walker.page.locator("#graph .edge.onpath:not(.dim)").count() == 2


def test_the_tangent_touches_the_curve_with_the_derivative_as_its_slope(open_page):
    walker = open_page(book(), language="en")
    walker.page.select_option("#from", "1")
    assert walker.page.locator("#curve .slope").text_content() == "slope of the tangent: ∂y/∂x2 = 1.716"
    walker.set("#input1", 3.0)
    slope = 2.0 - math.cos(3.0)  # of ln 2 + 2 x2 - sin x2
    assert walker.page.locator("#curve .slope").text_content().endswith(f"= {shown(slope)}")
    points = re.findall(r"(-?[\d.]+),(-?[\d.]+)", walker.page.locator("#curve .curve").get_attribute("d"))
    (xa, ya), (xb, yb) = [tuple(map(float, p)) for p in points[35:37]]  # around x2 = 3 of 0 .. 10
    ends = re.findall(r"(-?[\d.]+),(-?[\d.]+)", walker.page.locator("#curve .tangent").get_attribute("d"))
    (x0, y0), (x1, y1) = [tuple(map(float, p)) for p in ends]
    assert (yb - ya) / (xb - xa) == pytest.approx((y1 - y0) / (x1 - x0), rel=0.01)


def test_a_billion_paths_are_counted_and_not_walked(open_page):
    x = Value(1.0, "x")
    y = x
    for _ in range(30):
        y = y + y
    walker = open_page(y, language="en")
    walker.page.select_option("#from", "0")
    assert walker.text("#found p:first-child") == "1,073,741,824 paths from x (v₀) to y:"
    assert len(walker.texts("#found li")) == 12
    assert walker.text("#pathsum").endswith("∂y/∂x = 1.074e9")


def test_an_input_that_does_not_matter_has_no_path(open_page):
    x, unused = Value(1.0, "x"), Value(2.0, "unused")
    walker = open_page(x * 2.0, inputs=[x, unused], language="en")
    walker.page.select_option("#from", "1")
    assert walker.text("#found") == "No path: y does not depend on unused (v₀), the derivative is 0."


def test_a_click_opens_the_formula_of_a_node(open_page):
    walker = open_page(book(), language="en")
    walker.press("End")
    walker.page.click("#node4")
    opened = walker.text("#node")
    assert "v₃ = sin(v₀) = sin(5) = -0.9589" in opened
    assert "∂v₃/∂v₀ = cos(v₀) = cos(5) = 0.2837" in opened
    assert "-0.9589242746631385" in opened
    assert "v̄₃ = v̄₅·∂v₅/∂v₃ = 1·(-1) = -1" in opened


def test_it_is_walked_by_keyboard_and_read_aloud(open_page):
    walker = open_page(book(), language="en")
    node = walker.page.locator("#node2")
    node.focus()
    assert node.get_attribute("aria-label") == "v₁, log(v₋₁), value not computed yet, gradient not computed yet"
    walker.press("ArrowRight", "Enter")
    assert walker.text("#node h3") == "v₁"
    assert node.get_attribute("aria-label") == "v₁, log(v₋₁), value 0.6931, gradient not computed yet"
    assert node.get_attribute("aria-current") == "step"
    walker.press("End")
    assert walker.page.locator("#node0").get_attribute("aria-label") == "x1 (v₋₁), input, value 2, gradient 5.5"
    assert walker.page.locator("#headline").get_attribute("aria-live") == "polite"
    nameless = "button:not([aria-label]), input:not([aria-label]), select:not([aria-label])"
    for control in walker.page.locator(nameless).all():
        assert control.inner_text().strip() or control.evaluate("e => e.labels.length")


def test_arrows_inside_a_number_field_move_the_cursor_and_not_the_walk(open_page):
    walker = open_page(book(), language="en")
    walker.page.locator("#input0").focus()
    walker.press("ArrowLeft", "Home", "End")
    assert walker.text("#count") == "step 0 / 11"


def test_the_language_can_be_switched(open_page):
    walker = open_page(book(), language="vi")
    walker.press("ArrowRight")
    assert walker.text("#headline") == "Lượt truyền xuôi: tính v₁"
    walker.page.click("#en")
    assert walker.text("#headline") == "Forward pass: compute v₁"
    assert walker.page.locator("html").get_attribute("lang") == "en"


def test_graphs_of_one_node_and_of_an_inner_input(open_page):
    walker = open_page(Value(3.0, "x"), language="en")
    walker.press("End")
    assert walker.text("#count") == "step 1 / 1"
    assert walker.svg("#node0 .grad") == ["grad 1"]
    x = Value(2.0, "x")
    h = x * x
    h.label = "h"
    walker = open_page(h + 1.0, inputs=[h], language="en")
    walker.press("End")
    walker.set("#input0", 7)
    assert walker.svg(".data") == ["data 7", "data 8"]


def test_numbers_that_are_not_finite_are_shown(open_page):
    walker = open_page(Value(1e308, "x") * 10.0, language="en")
    walker.press("End")
    assert walker.svg(".data") == ["data 1e308", "data inf"]
    assert walker.svg("#node0 .grad") == ["grad 10"]
    walker.set("#input0", 2)
    assert walker.svg(".data") == ["data 2", "data 20"]


def test_of_a_tall_graph_the_active_node_is_in_sight_beside_what_happens_there(open_page):
    tall = total([Value(float(i), f"x{i}").tanh() for i in range(30)])
    walker = open_page(tall, one_font=True, language="en")
    frame = walker.page.locator("#scroll").bounding_box()
    assert frame["y"] + frame["height"] < walker.page.locator("#headline").bounding_box()["y"] < 900
    for _ in range(5):
        walker.press(*["ArrowRight"] * 7)
        node = walker.page.locator("#graph .active .box").bounding_box()
        assert frame["y"] <= node["y"]
        assert node["y"] + node["height"] <= frame["y"] + frame["height"]


def test_play_walks_by_itself(open_page):
    walker = open_page(book(), language="en")
    walker.page.clock.install()
    walker.page.click("#play")
    walker.page.clock.run_for(4000)
    assert walker.text("#count") == "step 3 / 11"
    walker.page.clock.run_for(60_000)
    assert walker.text("#count") == "step 11 / 11"
    assert walker.page.locator("#play").get_attribute("aria-pressed") == "false"


def test_play_begins_again_at_the_end_and_a_step_by_hand_stops_it(open_page):
    walker = open_page(book(), language="en")
    walker.press("End")
    walker.page.click("#play")
    assert walker.text("#count") == "step 0 / 11"
    walker.press("ArrowRight")
    assert walker.text("#count") == "step 1 / 11"
    assert walker.page.locator("#play").get_attribute("aria-pressed") == "false"


def test_what_a_step_does_not_change_keeps_the_focus_and_is_not_read_out_again(open_page):
    walker = open_page(book(), language="en")
    walker.press("End")
    walker.page.select_option("#from", index=1)
    walker.page.focus("#found button")
    walker.page.evaluate(
        "for (const id of ['found', 'from']) new MutationObserver(() => console.log(id))"
        ".observe(document.getElementById(id), { childList: true })"
    )
    walker.press("ArrowLeft")
    assert walker.text("#count") == "step 10 / 11"
    assert walker.page.evaluate("document.activeElement.closest('#found') !== null")
    assert walker.complaints == []  # the console is empty: nothing was replaced


def test_an_input_that_is_not_finite_stays_so_when_another_moves(open_page):
    walker = open_page(Value(math.inf, "i") + Value(1.0, "x"), language="en")
    walker.press("End")
    walker.page.select_option("#from", index=1)
    assert walker.page.locator("#curve").get_attribute("hidden") is not None
    walker.set("#input1", 2)
    assert walker.text("#trouble").startswith("Cannot compute")
    walker.page.click("#reset")
    assert walker.svg(".data") == ["data inf", "data 1", "data inf"]


def test_an_emptied_field_changes_nothing(open_page):
    walker = open_page(book(), language="en")
    walker.press("End")
    walker.set("#input0", "")
    walker.set("#input1", 3)
    assert_everything_shown_is_right(walker, book(2.0, 3.0))
    assert walker.page.locator("#input0").input_value() == "2"


def test_inputs_too_large_for_a_curve_have_none(open_page):
    walker = open_page(Value(1e308, "h") * 1e-300, language="en")
    walker.press("End")
    walker.page.select_option("#from", index=1)
    assert walker.text("#pathsum").endswith("= 1e-300")
    assert walker.page.locator("#curve").get_attribute("hidden") is not None


@pytest.mark.slow
def test_nothing_in_the_graph_is_cut_off_even_in_a_wide_font(open_page):
    for language, digits in (("vi", 4), ("en", 4), ("vi", 9), ("vi", 17)):
        walker = open_page(everything(), one_font=True, language=language, digits=digits)
        walker.press("End")
        for group in walker.page.locator("#graph .node").all():
            box = group.locator(".box").bounding_box()
            for text in group.locator("text").all():
                inner = text.bounding_box()
                assert inner["x"] >= box["x"] - 1
                assert inner["x"] + inner["width"] <= box["x"] + box["width"] + 1
        width = walker.page.evaluate("document.documentElement.scrollWidth")
        assert width <= 1300


def numbers_in(text):
    return [float(x) for x in re.findall(r"(?<![\w₀-₉])-?\d[\d.]*(?:e-?\d+)?", text)]


@pytest.mark.slow
@pytest.mark.parametrize("digits", [1, 2, 4])
def test_every_line_of_the_page_is_true_to_its_digits(open_page, digits):
    rng, checked = random.Random(digits), 0
    for _ in range(3):
        values = [Value(rng.uniform(-2.0, 2.0), name) for name in "abc"]
        for _ in range(5):
            u, v = rng.sample(values, 2)
            values.append(rng.choice([u + v, u - v, u * v, u / 3.7, total([u, v, u]), dot([u, v], [v, u], 0.3)]))
        walker = open_page(values[-1] * values[-2] + values[-3], digits=digits, language="en")
        walker.press("End")
        for line in walker.page.locator("#rows tr").all():
            _, _, numbers, value, _, adjoint = [
                " ".join(cell.split()) for cell in line.locator("th, td").all_inner_texts()
            ]
            if numbers:
                found = evaluate(numbers.replace("·", "*"), {})
                assert shown(found, digits) == value
                checked += 1
            if adjoint.count("=") == 2:
                _, terms, result = adjoint.split(" = ")
                assert shown(evaluate(terms, {}), digits) == result
                checked += 1
        for _ in range(len(values)):
            for line in walker.page.locator("#work tr[data-operand]").all():
                upstream, local, product, sum_ = [numbers_in(cell)[-1] for cell in line.locator("td").all_inner_texts()]
                assert shown(upstream * local, digits) == shown(product, digits)
                old, added, now = numbers_in(line.locator("td").last.inner_text())[-3:]
                assert now == sum_
                assert shown(old + added, digits) == shown(now, digits)
                checked += 1
            walker.press("ArrowLeft")
    assert checked > 25


def test_a_notebook_output_runs_the_page_and_folds_the_still_frames(browser, tmp_path):
    data = book().step_through()._repr_mimebundle_()["text/html"]
    notebook = tmp_path / "notebook.html"
    notebook.write_text(f"<!doctype html><meta charset=utf-8><body>{data}</body>", encoding="utf-8")
    walker = Walker(browser, notebook)
    frame = walker.page.frame_locator("iframe")
    frame.locator("#last").click()
    assert frame.locator("#node1 .grad").text_content() == "grad 1.716"
    assert walker.page.locator("details").get_attribute("open") is None
    assert float(walker.page.locator("iframe").get_attribute("height")) > 700
    assert walker.complaints == []
    walker.page.close()


def test_without_scripts_the_still_frames_are_there(browser, tmp_path):
    page = browser.new_page(java_script_enabled=False)
    page.goto(book().step_through().save(tmp_path / "page.html").as_uri())
    image = page.locator("noscript img, img").first
    assert image.is_visible()
    assert image.bounding_box()["width"] > 300
    assert not page.locator("main").is_visible()
    page.close()


CUBES = {
    "read off the value": {"value": lambda x: x**3},
    "with a formula": {"value": lambda x: math.pow(x, 3.0), "formula": lambda x: x * x * x},
    "with JavaScript": {"value": lambda x: math.pow(x, 3.0), "javascript": "Math.pow({0}, 3)"},
}


@pytest.mark.parametrize("facts", CUBES.values(), ids=CUBES)
def test_an_operation_of_the_users_own_is_computed_again_in_the_page(open_page, monkeypatch, facts):
    monkeypatch.setattr("tinygrad_vi.rows.OWN", {})
    cube = row("cube", partials=lambda out, x: (3.0 * x * x,), doc="x**3.", **facts)
    walker = open_page(cube(Value(2.0, "x")) + 1.0, language="en", digits=6)
    walker.press("End")
    walker.set("#input0", 0.7)
    walker.press("End")
    assert walker.svg("#node0 .grad") == ["grad 1.47"]
    assert walker.svg("#node3 .data") == ["data 1.343"]
    assert walker.text("#trouble") == ""


@pytest.mark.parametrize(
    "facts", [{}, {"formula": lambda x: x + 1.0}, {"javascript": "Math.sqrt({0})"}, {"javascript": "3 * ("}]
)
def test_an_operation_that_the_page_does_not_know_can_be_stepped_but_not_moved(open_page, monkeypatch, facts):
    """Nor one whose JavaScript, or formula, is another function."""
    monkeypatch.setattr("tinygrad_vi.rows.OWN", {})
    cube = row("cube", lambda x: math.pow(x, 3.0), lambda out, x: (3.0 * x * x,), "x**3.", **facts)
    walker = open_page(cube(Value(2.0, "x")) + 1.0, language="en")
    walker.press("End")
    assert walker.svg("#node0 .grad") == ["grad 12"]
    assert walker.page.locator("#input0").is_disabled()
    assert walker.text("#trouble").startswith("This page does not know the operation cube")
    assert all("Unexpected token" in said for said in walker.complaints)  # of what is no JavaScript
    walker.complaints.clear()


ROWS = [*OPERATIONS.values(), *(FAMILIES["power"](n) for n in (-1.0, 2.0, 2.5)), FAMILIES["exponential"](2.0)]


def near(x, y):
    return math.isclose(x, y, rel_tol=2e-12, abs_tol=1e-300) or (math.isnan(x) and math.isnan(y))


@pytest.mark.parametrize("op", ROWS, ids=lambda op: op.name + "".join(f"[{c:g}]" for c in op.constants))
def test_every_operation_of_the_table_is_computed_in_the_page_as_by_the_engine(open_page, op):
    """The page's own values and the table's rules, at every sample point that has finite numbers."""
    xs = [Value(x, f"x{i}") for i, x in enumerate(op.points[0])]
    walker = open_page(apply(op, *xs))
    asked, expected = [], []
    for point in op.points:
        if len(point) != len(xs) or point == (-0.7518,):  # where gelu' is 0: its terms cancel, their last bits remain
            continue
        result = apply(op, *[Value(x) for x in point])
        if all(map(math.isfinite, (result.data, *result.local_grads))):
            asked.append(list(point))
            expected.append([result.data, *result.local_grads])
    assert len(asked) >= 1
    found = walker.page.evaluate(
        "points => points.map(xs => { const r = forward(nodes.map((n, i) => xs[i] ?? 0)); const i = operations[0];"
        " return r.trouble === undefined ? [r.data[i], ...r.local[i]] : null; })",
        asked,
    )
    for point, ours, theirs in zip(asked, expected, found, strict=True):
        assert theirs is not None, point
        assert all(near(a, b) for a, b in zip(ours, theirs, strict=True)), (point, ours, theirs)


@pytest.mark.slow
def test_numbers_are_written_as_python_writes_them(open_page):
    numbers = [
        0.0,
        -0.0,
        1.0,
        -1.0,
        0.1,
        1e-5,
        0.0001,
        12345.0,
        1234.5,
        1235.5,
        2.0625,
        2.0635,
        1000.5,
        1001.5,
        99995.0,
    ]
    numbers += [5e-324, 1.7e308, -0.000123456, 9.9995, 9.9985, 123456789.0, 1e22, math.pi, -math.e, 0.5, 2.5, 1 / 3]
    walker = open_page(book())
    for digits in (1, 2, 3, 4, 6, 9, 17):
        found = walker.page.evaluate(f"numbers => numbers.map(x => write(x, {digits}))", numbers)
        assert found == [write_number(x, digits) for x in numbers]


@pytest.mark.slow
def test_the_page_and_the_engine_agree_on_fifty_random_graphs(open_page):
    for seed in range(50):
        pick = random.Random(seed)
        leaves = [Value(pick.uniform(-2.0, 2.0), f"x{i}") for i in range(3)]
        pool = list(leaves)
        for _ in range(12):
            a, b = pick.choice(pool), pick.choice(pool)
            pool.append(pick.choice([a + b, a - b, a * b, tanh(a), sigmoid(b), maximum(a, b), a * 0.5, exp(-(a * a))]))
        y = total(pool[-4:])
        walker = open_page(y, digits=12)
        moved = [pick.uniform(-1.0, 1.0) for _ in leaves]
        values = walker.page.evaluate(
            "xs => { const r = forward(nodes.map((n, i) => n.kind === 'input' ? xs[n.label] : parse(n.data)));"
            " const b = backward(r.local); return nodes.map((n, i) => [n.kind, n.label, r.data[i], b.adjoint[i]]); }",
            {leaf.label: x for leaf, x in zip(leaves, moved, strict=True)},
        )
        for leaf, x in zip(leaves, moved, strict=True):
            leaf.data = x
        tape = Tape(rebuilt(y))
        adjoint = tape.adjoint()
        ours = {v.label: adjoint[v] for v in tape.inputs}
        theirs = {label: grad for kind, label, _, grad in values if kind == "input"}
        assert theirs.keys() == ours.keys()
        assert all(math.isclose(ours[k], theirs[k], rel_tol=1e-10, abs_tol=1e-12) for k in ours)
        walker.page.close()


def rebuilt(y):
    """The same operations applied to fresh leaves with the numbers that the old leaves have now."""
    fresh = {}
    for node in topological_order([y]):
        for p in node.parents:
            if not p.parents and p not in fresh:
                fresh[p] = Value(p.data, p.label)
        fresh[node] = apply(node.op, *[fresh[p] for p in node.parents])
    return fresh[y]
