"""The computation graph of a network with whole vectors and matrices for nodes, as textbooks draw it on one line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tinygrad_vi.checks import ShapeError, counted
from tinygrad_vi.nn.feedforward import MLP, Layer, Neuron
from tinygrad_vi.show.networks.notation import activated, lowered, through, write_vector
from tinygrad_vi.show.networks.one_example import Loss, Pass, layers_of, run, skips_to, used_elsewhere
from tinygrad_vi.show.palette import GRADIENT, INK, INPUT, OUTPUT, PARAMETER, RESULT, VALUE
from tinygrad_vi.show.paper import Drawing, colored_label, colored_width, new_digraph
from tinygrad_vi.show.writing.numerals import write_number
from tinygrad_vi.value import Value

if TYPE_CHECKING:
    from graphviz import Digraph


MOST_ROWS, MOST_COLUMNS = 4, 6  # of a matrix whose numbers are written


def draw_vectors(
    model: MLP | Layer | Neuron, x: Any, *, target: Any = None, loss: Loss | None = None, digits: int = 4
) -> Drawing:
    """Draw the graph x → a → z → y → L of one example, with a box for each vector and each matrix.

        a = W x + b,    z = h(a),    g(a) = g(z) ⊙ h'(a),    g(x) = Wᵀ g(a),    g(W) = g(a) xᵀ,    g(b) = g(a)

    In the boxes stand the formula, the shape and the numbers; with a target also g, the gradient of the loss, with its
    formula, and dashed vermillion arrows that show its way.  Of matrices larger than 4 × 6 just the shape.
    loss: of (output, target), such as `losses.mse`; 1/2 sum (y - t)**2 when left out.  digits: significant digits.
    For the numbers the model is called once; ``grad`` stays as it is.  Where it answers something else than its last
    layer, because its own ``forward`` goes on, the answer stands below the outputs.

    Raises TypeError for anything that is no MLP, Layer or Neuron, ShapeError for a wrong number of inputs or for skip
    connections, ValueError for a model whose own ``forward`` does not call each layer once with the outputs of the
    layer before it, DomainError for a loss that is infinite or NaN.

    >>> draw_vectors(Layer.from_weights([[1.0, 2.0]], [0.5], "tanh"), [1.0, 0.0], target=1.0)
    <Drawing of a network of 1 layer, its vectors and matrices; .save("graph.svg") writes it>
    """
    layers = layers_of(model, "draw_vectors")
    if skips_to(model, layers, len(layers) - 1):
        raise ShapeError("draw_vectors draws layers one after the other, and this network has skip connections")
    done = run(model, layers, x, target, loss)
    graph = new_digraph(rankdir="LR", nodesep="0.3", ranksep="0.5")
    picture = _Picture(graph, layers, done, digits)
    picture.draw()
    return Drawing(graph, f"a network of {counted(len(layers), 'layer')}, its vectors and matrices")


class _Picture:
    """Names every vector of a pass and puts it into a box."""

    def __init__(self, graph: Digraph, layers: Sequence[Layer], done: Pass, digits: int) -> None:
        self.graph, self.layers, self.done, self.digits = graph, layers, done, digits
        self.linear = [layer.activation in ("identity", "linear") for layer in layers]
        n = len(layers)
        self.W, self.b = (_numbered(letter, n) for letter in "Wb")
        z, a = _numbered("z", n - 1), _numbered("a", n - self.linear[-1])
        self.z = [*z, "y"]
        #: what goes into the activation; of a linear layer the same as what comes out
        self.a = [self.z[k] if self.linear[k] else a[k] for k in range(n)]
        #: for each layer, what of it has a gradient by other ways too
        self.elsewhere = [set() if done.loss is None else used_elsewhere(done, layers, k) for k in range(n)]

    def draw(self) -> None:
        """The boxes from the inputs to the loss."""
        self._vector("x", "x", self.done.outputs[0], INPUT, self._from_above(-1))
        for k in range(len(self.layers)):
            self._draw_layer(k)
        if self.done.loss is not None:
            self._vector("L", "L", [self.done.loss], OUTPUT, "g(L)")
            self._arrows("y", "L")

    def _draw_layer(self, k: int) -> None:
        layer, W, b, a, z = self.layers[k], self.W[k], self.b[k], self.a[k], self.z[k]
        before = self.z[k - 1] if k else "x"
        biases = [neuron.b for neuron in layer.neurons if isinstance(neuron.b, Value)]
        kind = OUTPUT if k == len(self.layers) - 1 and self.done.loss is None else RESULT
        self._matrix(W, layer, self._whole(f"g({W}) = g({a}) {before}ᵀ", k, "weights"))
        total = f"{a} = {W} {before}"
        if biases:
            self._vector(b, b, biases, PARAMETER, self._whole(f"g({b}) = g({a})", k, "biases"))
            total += f" + {b}"
        if self.linear[k]:
            self._vector(a, total, self.done.sums[k], kind, self._from_above(k))
        else:
            back = f"g({a}) = {through(layer.activation, z, a, f'g({z})')}"
            self._vector(a, total, self.done.sums[k], RESULT, back)
            self._vector(
                z, f"{z} = {activated(layer.activation, a)}", self.done.outputs[k + 1], kind, self._from_above(k)
            )
            self._arrows(a, z)
        for operand in [W, before, b] if biases else [W, before]:
            self._arrows(operand, a)

    def _from_above(self, k: int) -> str:
        """How the gradient reaches the outputs of layer k, or the inputs."""
        name = self.z[k] if k >= 0 else "x"
        if k == len(self.layers) - 1:
            return f"g({name}) = ∂L/∂{name}"
        return self._whole(f"g({name}) = {self.W[k + 1]}ᵀ g({self.a[k + 1]})", k + 1, "inputs")

    def _whole(self, formula: str, k: int, of: str) -> str:
        """The formula of a gradient, with a word on the ways that it does not know of."""
        return f"{formula} + other ways" if of in self.elsewhere[k] else formula

    def _vector(self, name: str, formula: str, values: Sequence[Value], kind: tuple[str, str], back: str) -> None:
        shape = f" ({len(values)} × 1)" if len(values) > 1 else ""  # a single number needs none
        numbers = [write_vector([v.data for v in values], self.digits, MOST_COLUMNS)]
        if name == "y" and self.done.answer:
            numbers.append(f"answer {write_vector(self.done.answer, self.digits, MOST_COLUMNS)}")
        gradients = [write_vector([self.done.gradient(v) for v in values], self.digits, MOST_COLUMNS)]
        self._box(name, formula + shape, numbers, kind, back, gradients)

    def _matrix(self, name: str, layer: Layer, back: str) -> None:
        rows = [dict(zip(neuron.connected, neuron.w, strict=True)) for neuron in layer.neurons]
        numbers: list[str] = []
        gradients: list[str] = []
        if len(rows) <= MOST_ROWS and layer.n_inputs <= MOST_COLUMNS:
            inputs = range(layer.n_inputs)
            numbers = [self._row([w[i].data if i in w else 0.0 for i in inputs]) for w in rows]
            gradients = [self._row([self.done.gradient(w.get(i)) for i in inputs]) for w in rows]
        self._box(name, f"{name} ({len(rows)} × {layer.n_inputs})", numbers, PARAMETER, back, gradients)

    def _row(self, xs: Sequence[float]) -> str:
        return f"[{', '.join(write_number(x, self.digits) for x in xs)}]"

    def _box(
        self, name: str, title: str, numbers: list[str], kind: tuple[str, str], back: str, gradients: list[str]
    ) -> None:
        lines = [(text, INK) for text in (title, *numbers)]
        if self.done.loss is not None:
            lines += [(text, GRADIENT) for text in (back, *gradients)]
        width = colored_width(lines) + 0.2
        style = {
            "shape": "box",
            "style": "filled" if kind is PARAMETER else "filled,rounded",
            "fillcolor": kind[0],
            "color": kind[1],
        }
        style |= {"peripheries": "2" if kind is OUTPUT else "1", "width": f"{width:.2f}"}
        self.graph.node(name, colored_label(lines), **style)

    def _arrows(self, tail: str, head: str) -> None:
        straight = "1" if tail in (*self.W, *self.b) else "20"  # the way from x to L is a line
        self.graph.edge(tail, head, color=VALUE, weight=straight)
        if self.done.loss is not None:
            self.graph.edge(tail, head, color=GRADIENT, style="dashed", dir="back", weight="0")


def _numbered(letter: str, n: int) -> list[str]:
    return [letter] if n == 1 else [f"{letter}{lowered(k)}" for k in range(1, n + 1)]
