"""The program of the lecture that micrograd is known by, as people type it, with only the import changed.

After A. Karpathy, *The spelled-out intro to neural networks and backpropagation: building micrograd* (2022): one neuron
by hand, its graph drawn, an MLP on four points of three features, and a training loop.  PyTorch is the judge.
"""

import math
import random

import pytest

from tinygrad_vi import Value, no_grad, operation, rows
from tinygrad_vi.nn import MLP as OurMLP
from tinygrad_vi.nn import Neuron as OurNeuron

# --- draw_dot, as it stands in micrograd's notebook and in the lecture (there with labels) -----------------------------


def trace(root):
    nodes, edges = set(), set()

    def build(v):
        if v not in nodes:
            nodes.add(v)
            for child in v._prev:
                edges.add((child, v))
                build(child)

    build(root)
    return nodes, edges


def draw_dot(root):
    from graphviz import Digraph

    dot = Digraph(format="svg", graph_attr={"rankdir": "LR"})
    nodes, edges = trace(root)
    for n in nodes:
        uid = str(id(n))
        dot.node(name=uid, label=f"{{ {n.label} | data {n.data:.4f} | grad {n.grad:.4f} }}", shape="record")
        if n._op:
            dot.node(name=uid + n._op, label=n._op)
            dot.edge(uid + n._op, uid)
    for n1, n2 in edges:
        dot.edge(str(id(n1)), str(id(n2)) + n2._op)
    return dot


# --- One neuron -------------------------------------------------------------------------------------------------------


def neuron():
    x1 = Value(2.0, label="x1")
    x2 = Value(0.0, label="x2")
    w1 = Value(-3.0, label="w1")
    w2 = Value(1.0, label="w2")
    b = Value(6.8813735870195432, label="b")
    x1w1 = x1 * w1
    x1w1.label = "x1*w1"
    x2w2 = x2 * w2
    x2w2.label = "x2*w2"
    x1w1x2w2 = x1w1 + x2w2
    x1w1x2w2.label = "x1*w1 + x2*w2"
    n = x1w1x2w2 + b
    n.label = "n"
    return x1, w1, x2, w2, x1w1, x2w2, x1w1x2w2, b, n


def test_a_neuron_by_backward_by_hand_and_in_pytorch():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'tinygrad_vi[peers]'")
    x1, w1, x2, w2, *_, n = neuron()
    o = n.tanh()
    o.label = "o"
    o.backward()
    swept = [v.grad for v in (x1, w1, x2, w2)]

    # node by node, as the lecture does before it has backward()
    hx1, hw1, hx2, hw2, x1w1, x2w2, x1w1x2w2, b, n = neuron()
    o = n.tanh()
    o.grad = 1.0
    o._backward()
    n._backward()
    b._backward()
    x1w1x2w2._backward()
    x2w2._backward()
    x1w1._backward()
    assert [v.grad for v in (hx1, hw1, hx2, hw2)] == swept

    # in order of a topological sort, written by hand
    tx1, tw1, tx2, tw2, *_, n = neuron()
    o = n.tanh()
    topo, visited = [], set()

    def build_topo(v):
        if v not in visited:
            visited.add(v)
            for child in v._prev:
                build_topo(child)
            topo.append(v)

    build_topo(o)
    o.grad = 1.0
    for node in reversed(topo):
        node._backward()
    assert [v.grad for v in (tx1, tw1, tx2, tw2)] == swept

    # tanh taken to pieces
    ex1, ew1, ex2, ew2, *_, n = neuron()
    e = (2 * n).exp()
    o = (e - 1) / (e + 1)
    o.backward()
    assert [v.grad for v in (ex1, ew1, ex2, ew2)] == pytest.approx(swept, rel=1e-14)

    leaves = [torch.tensor([n], dtype=torch.float64) for n in (2.0, -3.0, 0.0, 1.0)]
    for leaf in leaves:
        leaf.requires_grad = True
    px1, pw1, px2, pw2 = leaves
    po = torch.tanh(px1 * pw1 + px2 * pw2 + torch.tensor([6.8813735870195432], dtype=torch.float64))
    po.backward()
    assert o.data == pytest.approx(po.item(), rel=1e-14)
    assert swept == pytest.approx([leaf.grad.item() for leaf in leaves], rel=1e-14)
    assert swept == pytest.approx([-1.5, 1.0, 0.5, 0.0], rel=1e-14)  # the numbers on its blackboard


def test_draw_dot_draws_the_neuron():
    pytest.importorskip("graphviz", reason="graphviz is not installed: pip install 'tinygrad_vi[show]'")
    *_, n = neuron()
    o = n.tanh()
    o.backward()
    source = draw_dot(o).source
    for text in (
        "{ x1 | data 2.0000 | grad -1.5000 }",
        "{ n | data 0.8814 | grad 0.5000 }",
        "[label=tanh]",
        '[label="*"]',
    ):
        assert text in source
    assert source.count("->") == 14  # five operations: each has its result, and two operands but for tanh


def test_draw_dot_draws_micrograds_neuron():
    """The second cell of micrograd's trace_graph notebook."""
    pytest.importorskip("graphviz", reason="graphviz is not installed: pip install 'tinygrad_vi[show]'")
    random.seed(1337)
    n = OurNeuron(2)
    x = [Value(1.0), Value(-2.0)]
    y = n(x)
    y.backward()
    source = draw_dot(y).source
    assert "ReLU" in source
    assert source.count("[label=") == 7 + 2  # two inputs, two weights, the bias, two results; two operations


def test_a_gradient_adds_up_where_a_value_is_used_twice():
    a = Value(3.0, label="a")
    b = a + a
    b.label = "b"
    b.backward()
    assert a.grad == 2.0
    a, b = Value(-2.0, label="a"), Value(3.0, label="b")
    d, e = a * b, a + b
    f = d * e
    f.backward()
    assert (a.grad, b.grad) == (-3.0, -8.0)


def test_reflected_operators():
    a = Value(2.0)
    assert ((2 * a).data, (1 + a).data, (1 - a).data, (1 / a).data, (a - 1).data, (-a).data) == (4, 3, -1, 0.5, 1, -2)
    assert (a**2).data == 4.0
    assert sum([a, a]).data == 4.0


# --- An MLP of the listener's own ---------------------------------------------------------------------------------------


class Neuron:
    def __init__(self, nin):
        self.w = [Value(random.uniform(-1, 1)) for _ in range(nin)]
        self.b = Value(random.uniform(-1, 1))

    def __call__(self, x):
        act = sum((wi * xi for wi, xi in zip(self.w, x)), self.b)  # noqa: B905
        out = act.tanh()
        return out  # noqa: RET504  # as it is typed

    def parameters(self):
        return self.w + [self.b]  # noqa: RUF005


class Layer:
    def __init__(self, nin, nout):
        self.neurons = [Neuron(nin) for _ in range(nout)]

    def __call__(self, x):
        outs = [n(x) for n in self.neurons]
        return outs[0] if len(outs) == 1 else outs

    def parameters(self):
        return [p for neuron in self.neurons for p in neuron.parameters()]


class MLP:
    def __init__(self, nin, nouts):
        sz = [nin] + nouts  # noqa: RUF005
        self.layers = [Layer(sz[i], sz[i + 1]) for i in range(len(nouts))]

    def __call__(self, x):
        for layer in self.layers:
            x = layer(x)
        return x

    def parameters(self):
        return [p for layer in self.layers for p in layer.parameters()]


XS = [[2.0, 3.0, -1.0], [3.0, -1.0, 0.5], [0.5, 1.0, 1.0], [1.0, 1.0, -1.0]]
YS = [1.0, -1.0, -1.0, 1.0]


def train(n, xs, ys, steps, zero):
    """The loop of the lecture; gives the loss of each step, and the last predictions."""
    losses = []
    for _ in range(steps):
        # forward pass
        ypred = [n(x) for x in xs]
        loss = sum((yout - ygt) ** 2 for ygt, yout in zip(ys, ypred))  # noqa: B905

        # backward pass
        zero(n)
        loss.backward()

        # update
        for p in n.parameters():
            p.data += -0.05 * p.grad
        losses.append(loss.data)
    return losses, ypred


def by_hand(n):
    for p in n.parameters():
        p.grad = 0.0


def in_pytorch(parameters, steps):
    """The same training of a 3-4-4-1 network of tanh, whose parameters lie as the lecture's do: weights, then the bias."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'tinygrad_vi[peers]'")
    theta = torch.tensor(parameters, dtype=torch.float64, requires_grad=True)
    X, Y = torch.tensor(XS, dtype=torch.float64), torch.tensor(YS, dtype=torch.float64)
    losses = []
    for _ in range(steps):
        h, at = X, 0
        for nin, nout in ((3, 4), (4, 4), (4, 1)):
            layer = theta[at : at + nout * (nin + 1)].reshape(nout, nin + 1)
            h, at = torch.tanh(h @ layer[:, :nin].T + layer[:, nin]), at + nout * (nin + 1)
        loss = ((h[:, 0] - Y) ** 2).sum()
        theta.grad = None
        loss.backward()
        with torch.no_grad():
            theta -= 0.05 * theta.grad
        losses.append(loss.item())
    return losses


def test_the_listeners_own_mlp_trains_as_in_pytorch():
    random.seed(7)
    n = MLP(3, [4, 4, 1])
    assert len(n.parameters()) == 41
    start = [p.data for p in n.parameters()]
    losses, ypred = train(n, XS, YS, 60, by_hand)
    assert losses == pytest.approx(in_pytorch(start, 60), rel=1e-9)
    assert losses[-1] < 0.2 < losses[0]
    assert [round(y.data) for y in ypred] == YS


def test_draw_dot_draws_the_whole_network():
    pytest.importorskip("graphviz", reason="graphviz is not installed: pip install 'tinygrad_vi[show]'")
    random.seed(7)
    n = MLP(3, [4, 4, 1])
    source = draw_dot(n([2.0, 3.0, -1.0])).source
    assert source.count("[label=tanh]") == 9


#: how the data are given to our own MLP
INPUTS = {
    "Values": [[Value(a) for a in x] for x in XS],
    "plain floats": XS,  # as the lecture types it
}


@pytest.mark.parametrize("xs", INPUTS.values(), ids=INPUTS)
@pytest.mark.parametrize("zero", [by_hand, lambda n: n.zero_grad()], ids=["p.grad = 0.0", "zero_grad"])
def test_our_mlp_in_its_loop_trains_as_in_pytorch(xs, zero):
    random.seed(11)
    n = OurMLP(3, [4, 4, 1], activation="tanh", output_activation="tanh")
    start = [p.data for p in n.parameters()]
    losses, ypred = train(n, xs, YS, 60, zero)
    assert losses == pytest.approx(in_pytorch(start, 60), rel=1e-9)
    assert [math.copysign(1.0, y.data) for y in ypred] == YS


# --- Operations as micrograd's users write them -------------------------------------------------------------------------


def test_an_operation_written_by_hand_is_refused_with_what_to_write(monkeypatch):
    monkeypatch.setattr(rows, "OWN", {})  # the row must not be seen by other tests

    def cube(x):
        out = Value(x.data**3, (x,), "cube")

        def _backward():
            x.grad += 3 * x.data**2 * out.grad

        out._backward = _backward
        return out

    with pytest.raises(
        TypeError, match=r"^Value takes a number and a label, got 3 arguments\. .* @operation\(partials="
    ):
        cube(Value(2.0))
    with pytest.raises(
        TypeError, match=r"which is a text, got \(Value\(.*\),\) of type tuple\. .* @operation\(partials="
    ):
        Value(8.0, (Value(2.0),))
    out = Value(8.0)
    with pytest.raises(AttributeError, match=r"^_backward is not assigned\. .* @operation\(partials="):
        out._backward = lambda: None
    as_advised = operation(partials=lambda out, x: 3 * x**2, name="cube")(lambda x: x**3)
    x = Value(2.0)
    as_advised(x).backward()
    assert x.grad == 12.0


def test_a_step_back_by_hand_from_what_was_not_recorded_is_refused():
    x = Value(2.0)
    with no_grad():
        y = x * 3.0
    y.grad = 1.0
    with pytest.raises(ValueError, match="computed inside no_grad"):
        y._backward()
    x._backward()  # a leaf has nothing to hand on
    assert x.grad == 0.0
