"""One visual language: colours that can be read and told apart, in one place, and used by pictures and page alike."""

import re
from collections import Counter
from functools import cache
from itertools import combinations
from pathlib import Path

import pytest

import tinygrad_vi
from tests.colors import SIGHTS, ciede2000, contrast, difference
from tinygrad_vi import Value, compile, losses, nn, show, tanh
from tinygrad_vi.show import palette
from tinygrad_vi.show.palette import ROLES
from tinygrad_vi.show.plot import signed_shades

PACKAGE = Path(tinygrad_vi.__file__).parent
PALETTE = PACKAGE / "show" / "palette.py"
STYLE = PACKAGE / "show" / "page" / "stepper.css"
HEX = re.compile(r"#(?:[0-9a-fA-F]{8}|[0-9a-fA-F]{6}|[0-9a-fA-F]{3})(?![\w-])")
THEMES = ("light", "dark")


def color(role, theme):
    return getattr(ROLES[role], theme)


# --- The judge --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [  # of the table that Sharma, Wu and Dalal published for those who write the formula down
        ((50.0, 2.6772, -79.7751), (50.0, 0.0, -82.7485), 2.0425),
        ((50.0, -1.3802, -84.2814), (50.0, 0.0, -82.7485), 1.0),
        ((50.0, 2.49, -0.001), (50.0, -2.49, 0.0009), 7.1792),
        ((50.0, 2.49, -0.001), (50.0, -2.49, 0.0011), 7.2195),
        ((50.0, 2.5, 0.0), (73.0, 25.0, -18.0), 27.1492),
        ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
        ((22.7233, 20.0904, -46.694), (23.0331, 14.973, -42.5619), 2.0373),
        ((2.0776, 0.0795, -1.135), (0.9033, -0.0636, -0.5514), 0.9082),
    ],
)
def test_the_judge_of_differences_gives_the_published_numbers(one, other, expected):
    assert ciede2000(one, other) == pytest.approx(expected, abs=5e-5)
    assert ciede2000(other, one) == pytest.approx(expected, abs=5e-5)


def test_the_judge_knows_black_white_and_what_is_confused():
    assert contrast("#000000", "#ffffff") == pytest.approx(21.0)
    assert contrast("#767676", "#ffffff") == pytest.approx(4.54, abs=0.005)  # the lightest grey that passes AA
    for matrix in SIGHTS.values():
        assert all(sum(row) == pytest.approx(1.0, abs=1e-5) for row in matrix)  # grey stays grey
    # what the pictures had: blue and violet borders, green values and red gradients
    assert difference("#1d4ed8", "#6d28d9", "deuteranopia") < 3.0
    assert difference("#15803d", "#be123c", "deuteranopia") < 10.0 < difference("#15803d", "#be123c")


# --- Contrasts --------------------------------------------------------------------------------------------------------

FILLS = ("paper", "panel", "input-fill", "parameter-fill", "operation-fill", "gradient-fill")


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("role", ["ink", "soft", "value", "gradient"])
def test_text_can_be_read_on_everything_that_it_stands_on(role, theme):
    for fill in FILLS:
        assert contrast(color(role, theme), color(fill, theme)) >= 4.5, fill


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("role", ["line", "right", "operation-line", "parameter-line"])
def test_text_of_these_colours_can_be_read_on_the_background(role, theme):
    assert contrast(color(role, theme), color("paper", theme)) >= 4.5


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize(
    "role", [role for role in ROLES if "fill" not in role and role not in ("faint", "panel", "paper")]
)
def test_lines_can_be_seen(role, theme):
    assert contrast(color(role, theme), color("paper", theme)) >= 3.0
    if role.endswith("-line"):
        fill = role.replace("-line", "-fill") if role != "constant-line" else "panel"
        assert contrast(color(role, theme), color(fill, theme)) >= 3.0


@pytest.mark.parametrize("theme", THEMES)
def test_text_can_be_read_in_boxes_of_layers_whose_borders_can_be_seen(theme):
    for fill, border in palette.LAYERS_IN:
        assert contrast(color("ink", theme), getattr(fill, theme)) >= 4.5
        assert contrast(getattr(border, theme), color("paper", theme)) >= 3.0


def test_marks_of_classes_can_be_seen():
    assert all(contrast(mark, palette.PAPER) >= 3.0 for mark in palette.CLASSES)


# --- Differences ------------------------------------------------------------------------------------------------------

ALL_HUES = ("normal", "protanopia", "deuteranopia")
#: roles that occur in one picture
TOGETHER = {
    "what flows on what": ("value", "gradient", "line", "ink"),
    "borders of boxes": ("input-line", "parameter-line", "operation-line", "ink", "line"),
    "borders and what goes back": ("input-line", "parameter-line", "ink", "gradient", "line"),
    "lines of a plot": ("value", "gradient", "right", "third", "line", "ink"),
}


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("together", TOGETHER.values(), ids=TOGETHER)
def test_colours_of_one_picture_stay_apart(together, theme):
    for one, other in combinations(together, 2):
        for sight in ALL_HUES:
            found = difference(color(one, theme), color(other, theme), sight)
            assert found >= 8.0, f"{one} and {other}: {found:.1f} to {sight}"


@pytest.mark.parametrize("theme", THEMES)
def test_value_and_gradient_differ_in_every_sight_and_in_grey_print(theme):
    one, other = color("value", theme), color("gradient", theme)
    assert all(difference(one, other, sight) >= 30.0 for sight in ALL_HUES)
    assert difference(one, other, "grey print") >= 8.0


@pytest.mark.parametrize(("theme", "least"), [("light", 11.0), ("dark", 8.0)])
def test_borders_of_layers_stay_apart_and_from_inputs_outputs_and_constants(theme, least):
    borders = [getattr(border, theme) for _, border in palette.LAYERS_IN]
    others = [color(role, theme) for role in ("input-line", "ink", "constant-line")]
    for one, other in [*combinations(borders, 2), *((b, o) for b in borders for o in others)]:
        assert min(difference(one, other, sight) for sight in ALL_HUES) >= least, (one, other)


def test_the_first_classes_stay_apart():
    for one, other in combinations(palette.CLASSES[:4], 2):
        assert min(difference(one, other, sight) for sight in ALL_HUES) >= 11.0, (one, other)
    assert difference(*palette.CLASSES[:2], "grey print") >= 20.0


@cache
def drawings():
    return list(_drawings())


def _drawings():
    x, w = Value(2.0, "x"), Value(-0.5, 'color="#ffffff"')
    y = tanh(x * w) * x
    net = nn.MLP(2, [2, 1], activation="tanh", seed=0)
    step = compile(lambda x, t: losses.mse(net(x), t), params=net.parameters())
    rnn = nn.RNN(nn.RNNCell(1, 1, seed=0), nn.Layer(1, 1, activation="identity", seed=0))
    yield show.draw(y, highlight=w, roles=True)
    yield show.draw(losses.mse(net([1.0, 2.0]), 0.5), level="neuron")
    yield show.draw_circuit(y)
    yield show.draw_gates()
    yield show.draw_modes(y)
    yield show.draw_network(net)
    yield show.draw_network(net, x=[1.0, 2.0], target=0.5, notation="columns")
    yield show.draw_vectors(net, x=[1.0, 2.0], target=0.5)
    yield show.draw_unrolled(
        rnn, [[1.0], [2.0]], loss=lambda y: y[-1][0] ** 2 if isinstance(y[-1], list) else y[-1] ** 2
    )
    yield show.draw_both(step, [0.5, -1.0], 1.0)
    yield show.draw_matrices(step, backward=True)
    yield show.step_through(y).strip


# --- The second sign --------------------------------------------------------------------------------------------------

NODE = re.compile(r'^\t+"?(\w+)"? \[(.*fillcolor=.*)\]$', re.MULTILINE)


def looks(drawing, colors):
    """The attributes of the nodes that have this fill and border."""
    fill, border = colors
    return [text for _, text in NODE.findall(drawing.source) if f'color="{border}" fillcolor="{fill}"' in text]


def test_parameters_have_square_corners_inputs_round_ones_and_outputs_a_double_border():
    seen = Counter()
    for drawing in drawings():
        parameters, inputs = looks(drawing, palette.PARAMETER), looks(drawing, palette.INPUT)
        # what lies on a chosen path has an ink border too, a thick one
        outputs = [look for look in looks(drawing, palette.OUTPUT) if "penwidth" not in look]
        seen.update(parameters=len(parameters), inputs=len(inputs), outputs=len(outputs))
        assert not any("rounded" in look for look in parameters), drawing
        assert all("rounded" in look or "shape=circle" in look or "dotted" in look for look in inputs), drawing
        if "scalar" not in drawing.summary:  # there operations have the colours of their layer
            assert all("peripheries=2" in look for look in outputs), drawing
    assert min(seen["parameters"], seen["inputs"], seen["outputs"]) >= 5


def test_what_flows_back_is_dashed_and_vermillion_and_a_negative_weight_dotted():
    for drawing in drawings():
        for edge in re.findall(r"^\t+\S+ -> .*$", drawing.source, re.MULTILINE):
            vermillion, dashed, dotted = palette.GRADIENT in edge, "style=dashed" in edge, "style=dotted" in edge
            assert vermillion == (dashed or dotted), (drawing, edge)
            assert not dotted or "network" in drawing.summary


def test_weights_of_one_sign_have_one_colour_as_lines_and_as_images():
    shades = signed_shades()
    to_hex = pytest.importorskip("matplotlib.colors", reason="images need matplotlib").to_hex
    assert [to_hex(shades(x)) for x in (0.0, 1.0)] == [palette.NEGATIVE, palette.POSITIVE]
    assert contrast(to_hex(shades(0.5)), palette.PAPER) < 1.02  # a weight of 0 is white
    lines = show.draw_network(nn.Layer.from_weights([[2.0, -2.0]])).source
    assert re.search(f'n0_0 -> n1_0 \\[.*color="{palette.POSITIVE}".*style=solid', lines)
    assert re.search(f'n0_1 -> n1_0 \\[.*color="{palette.NEGATIVE}".*style=dotted', lines)


# --- One place --------------------------------------------------------------------------------------------------------

STYLED = re.compile(r"color\w*[\"']?\s*[=:]\s*[\"'](white|black|red|blue|green|orange|violet|purple|gr[ae]y)[\"']")


def test_no_colour_stands_outside_the_palette():
    sources = [path for end in ("py", "js", "html") for path in PACKAGE.rglob(f"*.{end}") if path != PALETTE]
    found = [
        f"{path.relative_to(PACKAGE)}: {line.strip()}"
        for path in sources
        for line in path.read_text(encoding="utf-8").splitlines()
        if HEX.search(line) or STYLED.search(line)
    ]
    assert not found, found


def test_the_search_for_colours_finds_them():
    assert all(map(HEX.search, ["#1d4ed8", "'#FFF'", "#11223344;"]))
    assert not any(map(HEX.search, ["#abc-graph", "issue #12", "#loss_curve"]))
    assert all(map(STYLED.search, ['color="white"', "facecolor='red'", '"fillcolor": "grey"']))
    assert not STYLED.search('edgecolor="none"')


def properties(block):
    return dict(re.findall(r"--([\w-]+): (#\w+);", block))


def test_the_page_has_the_colours_of_the_palette_in_both_themes():
    style = STYLE.read_text(encoding="utf-8")
    light, dark, rest = re.fullmatch(
        r"(:root \{.*?\})\n@media screen and \(prefers-color-scheme: dark\) \{ (:root \{.*?\}) \}\n(.*)",
        style,
        re.DOTALL,
    ).groups()
    for theme, block in (("light", light), ("dark", dark)):
        assert f"color-scheme: {theme};" in block
        assert properties(block) == {name: color(name, theme) for name in properties(block)}
    assert properties(light).keys() == properties(dark).keys()
    assert not HEX.search(rest)
    script = (STYLE.parent / "stepper.js").read_text(encoding="utf-8")
    used = set(re.findall(r"var\(--([\w-]+)\)", rest)) | {"line", "value", "gradient", "ink"}  # the tips of arrows
    assert used == properties(light).keys()
    assert re.search(r"of \[(.*)\]\) \{\n +const tip", script)[1].count("[") == 4
    assert all(f'"{name}"]' in script for name in ("line", "value", "gradient", "ink"))


# --- Dark -------------------------------------------------------------------------------------------------------------


def test_every_colour_of_a_drawing_has_its_like_in_the_dark_and_comes_back():
    for drawing in drawings():
        dark = drawing.themed("dark")
        assert dark.themed("light").source == drawing.source == drawing.themed("light").source
        assert dark.themed("dark").source == dark.source
        for theme, shown in (("light", drawing), ("dark", dark)):
            used = set(re.findall(r'(?i)color="([^"]*)"', shown.source))
            assert used <= {getattr(pair, theme) for pair in palette.PAIRS}, shown
        assert repr(dark) == repr(drawing)
        texts = re.findall(r"<text[^>]*>", dark.svg)
        assert texts
        assert all(re.search(r'fill="#\w{6}"', text) for text in texts)  # a text without a colour is black
        assert "black" not in dark.svg.partition("<g")[2]


def test_colours_of_a_theme_are_different_from_each_other():
    for theme in THEMES:
        assert len(palette.TURNED[theme]) == len(palette.PAIRS)
    assert not palette.TURNED["dark"].keys() & palette.TURNED["light"].keys()


def test_a_label_that_looks_like_a_colour_stays():
    drawing = show.draw(Value(1.0, 'fillcolor="#ffffff"') + 1.0)
    assert '#ffffff\\"' in drawing.themed("dark").source


def plots():
    net = nn.MLP(2, [2, 1], activation="tanh", seed=0)
    X, y = [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], [-1.0, 1.0, 1.0, -1.0]
    yield show.decision_boundary(net, X, y, steps=5)
    yield show.predictions([0.0, 1.0], [0.1, 0.8])
    yield show.gradient_sizes(net, lambda x, t: losses.mse(net(x), t), X, y)
    yield show.neuron_analogy()
    yield show.error_surface(steps=9)


def test_a_plot_in_the_dark_has_no_light_colour_and_leaves_the_figure_as_it_was():
    matplotlib = pytest.importorskip("matplotlib.colors", reason="plots need matplotlib")

    def colors(figure):
        texts = figure.findobj(lambda artist: hasattr(artist, "get_fontsize"))
        return [matplotlib.to_rgba(text.get_color()) for text in texts]

    for plot in plots():
        before = colors(plot.figure)
        dark = plot.themed("dark")
        found = set(re.findall(r"#[0-9a-f]{6}", dark._render("svg").decode()))
        assert colors(plot.figure) == before
        assert not found & {pair.light for pair in palette.PAIRS}, plot
        assert {ROLES["paper"].dark, ROLES["ink"].dark} <= found
        assert "#000000" not in found
        assert plot.theme == "light"


def test_another_theme_is_refused():
    with pytest.raises(ValueError, match="theme must be"):
        show.predictions([0.0, 1.0], [0.1, 0.8]).themed("sepia")
    with pytest.raises(ValueError, match='theme must be "light" or "dark", got \'sepia\''):
        show.draw_gates().themed("sepia")
