"""The names of units, weights and layers in the three conventions of the lecture notes."""

from __future__ import annotations

from collections.abc import Sequence

from tinygrad_vi.nn.feedforward import Layer
from tinygrad_vi.rows import OPERATIONS
from tinygrad_vi.show.writing.numerals import write_number
from tinygrad_vi.value import Value

#: x, z, y as in Bishop; a(l) and W(l) for one example as a column; A(l) and W(l) for n examples as rows
NOTATIONS = ("units", "columns", "rows")

SUPERSCRIPTS = str.maketrans("()0123456789", "⁽⁾⁰¹²³⁴⁵⁶⁷⁸⁹")
SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


def raised(k: int) -> str:
    """The number of a layer as a superscript.

    >>> raised(2)
    '⁽²⁾'
    """
    return f"({k})".translate(SUPERSCRIPTS)


def lowered(*numbers: int) -> str:
    """Numbers of units as subscripts.

    >>> lowered(1, 2), lowered(1, 12)
    ('₁₂', '₁,₁₂')
    """
    between = "," if any(n > 9 for n in numbers) else ""
    return between.join(str(n).translate(SUBSCRIPTS) for n in numbers)


def unit_name(notation: str, i: int, k: int, widths: Sequence[int]) -> str:
    """Unit i, counted from 1, of layer k; 0 is the node that is always 1."""
    last = len(widths) - 1
    if notation != "units":
        return f"a{lowered(i)}{raised(k)}"
    if k == 0:
        return f"x{i}"
    if k == last:
        return f"y{i}" if widths[k] > 1 else "y"
    return f"z{i}{raised(k) if last > 2 else ''}"


def weight_name(notation: str, j: int, i: int, k: int) -> str:
    """The weight from unit i to unit j of layer k, both counted from 1; from i = 0 for the bias.

    >>> weight_name("columns", 2, 1, 1), weight_name("rows", 2, 1, 1), weight_name("rows", 2, 0, 1)
    ('w₂₁⁽¹⁾', 'w₁₂⁽¹⁾', 'b₂⁽¹⁾')
    """
    if notation != "rows":
        return f"w{lowered(j, i)}{raised(k)}"
    return f"w{lowered(i, j)}{raised(k)}" if i else f"b{lowered(j)}{raised(k)}"


def layer_formulas(
    layers: Sequence[Layer], notation: str, backward: bool, answers: bool = True
) -> list[tuple[list[str], list[str]]]:
    """For the inputs and each layer: the formulas of its units, and those of the parameters before it, with shapes.

    backward: of the derivatives dA = dJ/dA, dZ, dW, db, and not of A, Z, W, b.  answers: whether the outputs of the
    last layer are what the network answers.
    """
    if notation == "rows":
        shapes: list[tuple[str, str]] = [(f"n × {n}", f"1 × {n}") for n in _widths(layers)]
        matrices = [f"{layer.n_inputs} × {layer.n_outputs}" for layer in layers]
        z, a = "Z", "A"
    else:
        shapes = [(f"{n} × 1", f"{n} × 1") for n in _widths(layers)]
        matrices = [f"{layer.n_outputs} × {layer.n_inputs}" for layer in layers]
        z, a = "z", "a"
    inputs = f"{a}{raised(0)} = {'X' if notation == 'rows' else 'x'}"
    formulas: list[tuple[list[str], list[str]]] = [([inputs, shapes[0][0]], [])]
    for k, layer in enumerate(layers, start=1):
        here, before = raised(k), raised(k - 1)
        Z, A, W, b = z + here, a + here, f"W{here}", f"b{here}"
        below = f"{a}{before}"
        biased = any(isinstance(neuron.b, Value) for neuron in layer.neurons)
        if backward:
            units = [_from_above(notation, layers, k, A), f"d{Z} = {through(layer.activation, A, Z, f'd{A}')}"]
            of_weights = f"d{W} = {below}ᵀ d{Z}" if notation == "rows" else f"d{W} = d{Z} {below}ᵀ"
            of_biases = f"d{b} = Σ rows of d{Z}" if notation == "rows" else f"d{b} = d{Z}"
        else:
            total = f"{below} {W}" if notation == "rows" else f"{W} {below}"
            if biased:
                total += f" + {b}"
            found = f"{A} = {activated(layer.activation, Z)}"
            if answers and k == len(layers):
                found += " = Ŷ" if notation == "rows" else " = ŷ"
            units = [f"{Z} = {total}", found]
            of_weights, of_biases = W, b
        parameters = [f"{of_weights}: {matrices[k - 1]}"]
        if biased:
            parameters.append(f"{of_biases}: {shapes[k][1]}")
        formulas.append(([*units, shapes[k][0]], parameters))
    return formulas


def _widths(layers: Sequence[Layer]) -> list[int]:
    return [layers[0].n_inputs, *(layer.n_outputs for layer in layers)]


def _from_above(notation: str, layers: Sequence[Layer], k: int, A: str) -> str:
    """What reaches the outputs of layer k."""
    if k == len(layers):
        return f"d{A} = ∂J/∂{A}"
    above = raised(k + 1)
    return f"d{A} = dZ{above} W{above}ᵀ" if notation == "rows" else f"d{A} = W{above}ᵀ dz{above}"


def activated(activation: str, Z: str) -> str:
    """The outputs as a formula of the sums: h(Z)."""
    if activation in ("identity", "linear"):
        return Z
    return f"{_symbol(activation)}({Z})"


def through(activation: str, A: str, Z: str, dA: str) -> str:
    """The part of the gradient that passes the activation: dA ⊙ h'(Z)."""
    if activation in ("identity", "linear"):
        return dA
    if activation == "softmax":
        return f"{A} ⊙ ({dA} - sum({dA} ⊙ {A}))"
    return f"{dA} ⊙ {_symbol(activation)}′({Z})"


def _symbol(activation: str) -> str:
    return OPERATIONS[activation].symbol if activation in OPERATIONS else activation


def write_vector(xs: Sequence[float], digits: int, most: int = 6) -> str:
    """Numbers in a row, with the middle left out when there are many; a single one without parentheses.

    >>> write_vector([0.5, -1.0], 4), write_vector([2.5], 4), write_vector(range(9), 4, most=4)
    ('(0.5, -1)', '2.5', '(0, 1, 2, …, 8)')
    """
    written = [write_number(x, digits) for x in xs]
    if len(written) > most:
        written = [*written[: most - 1], "…", written[-1]]
    return written[0] if len(xs) == 1 else f"({', '.join(written)})"
