"""Arrays that compute nothing: each operation on them writes down a node of ONNX.

They take what a text for JAX does with its arrays: arithmetic, slices, lists of places, ``@``, ``.T``, ``.sum``.
Shapes are known but for one number, that of the examples, which is N or a multiple of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any


@dataclass(frozen=True)
class Count:
    """A size that is known when the program runs: so many times the number of examples."""

    graph: Graph
    times: int = 1

    def __rtruediv__(self, one: float) -> Array:
        """One over the number of examples."""
        return one / self.graph.examples()


Size = int | Count


class Graph:
    """The nodes and constants so far.  dtype: of all floats, "float64" or "float32"."""

    def __init__(self, onnx: Any, dtype: str) -> None:
        import numpy as np

        self.np, self.onnx, self.dtype = np, onnx, np.dtype(dtype)
        self.nodes: list[Any] = []
        self.known: dict[Any, Array] = {}
        self.constants: dict[Any, Array] = {}
        self.tensors: list[Any] = []
        #: the arguments side by side, a row for each example
        self.rows: Array | None = None
        self.N = Count(self)

    def node(self, op: str, *operands: Any, shape: Sequence[Size], **attributes: Any) -> Array:
        """The result of an operator, of which there is one for all that are alike.

        Its name holds a dot, so that no argument has it.
        """
        names = [self.read(x).name for x in operands]
        key = op, *names, *attributes.items()
        if key not in self.known:
            self.known[key] = Array(self, f"t.{len(self.nodes)}", tuple(shape))
            self.nodes.append(self.onnx.helper.make_node(op, names, [self.known[key].name], **attributes))
        return self.known[key]

    def side_by_side(self, arguments: Sequence[Array]) -> list[Array]:
        """The arguments, once they have stood in one array.

        So a runtime refuses other numbers of examples in one than in another, which it would else repeat: the mean of
        them would be a wrong number without a word.  A Reshape that says so is optimised away.
        """
        if not arguments:
            return []
        ends = list(accumulate(int(x.shape[1]) for x in arguments if isinstance(x.shape[1], int)))
        self.rows = rows = arguments[0]
        if len(arguments) > 1:
            self.rows = rows = self.node("Concat", *arguments, shape=(self.N, ends[-1]), axis=1)
        return [rows[:, start:end] for start, end in pairwise([0, *ends])]

    def needed(self, results: Iterable[str]) -> list[Any]:
        """The nodes that these results need."""
        wanted, found = {*results}, []
        for node in reversed(self.nodes):
            if not wanted.isdisjoint(node.output):
                wanted.update(node.input)
                found.append(node)
        self.tensors = [tensor for tensor in self.tensors if tensor.name in wanted]
        return found[::-1]

    def read(self, x: Any) -> Array:
        """An array as it is; numbers as a constant."""
        return x if isinstance(x, Array) else self.floats(x)

    def floats(self, numbers: Any) -> Array:
        """Numbers as a constant; ValueError for one that single precision lacks."""
        numbers = self.np.asarray(numbers, float)
        beyond = self.np.isfinite(numbers) & (abs(numbers) > self.np.finfo(self.dtype).max)
        if beyond.any():
            raise ValueError(
                f"the program has the number {float(numbers[beyond].flat[0])!r}, which single precision lacks: leave "
                'dtype="float32" out'
            )
        return self.constant(numbers.astype(self.dtype))

    def constant(self, numbers: Any) -> Array:
        """A constant, of which there is one for all that are alike."""
        key = numbers.dtype.str, numbers.shape, numbers.tobytes()
        if key not in self.constants:
            self.constants[key] = Array(self, f"c.{len(self.constants)}", numbers.shape)
            self.tensors.append(self.onnx.numpy_helper.from_array(numbers, self.constants[key].name))
        return self.constants[key]

    def whole(self, *numbers: int) -> Array:
        """Whole numbers, as operators take them for axes and shapes."""
        return self.constant(self.np.array(numbers, self.np.int64))

    def examples(self) -> Array:
        """The number of examples, as a float."""
        kinds = self.onnx.TensorProto
        to = kinds.DOUBLE if self.dtype == self.np.float64 else kinds.FLOAT
        return self.node("Cast", self._counted(), shape=(1,), to=to).reshape(())

    def sizes(self, shape: Sequence[Size]) -> Array:
        """A shape as an operator takes it."""
        if all(isinstance(size, int) for size in shape):
            return self.whole(*[int(size) for size in shape if isinstance(size, int)])
        parts = [self.whole(size) if isinstance(size, int) else self._counted() for size in shape]
        return self.node("Concat", *parts, shape=(len(shape),), axis=0)

    def _counted(self) -> Array:
        """N, in a list of one whole number."""
        assert self.rows is not None  # where there are no data, all sizes are known
        return self.node("Shape", self.rows, shape=(1,), start=0, end=1)


class Array:
    """The result of a node, or what the program is given."""

    #: so that NumPy leaves ``numbers * array`` to us
    __array_ufunc__ = None
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, graph: Graph, name: str, shape: tuple[Size, ...]) -> None:
        self.graph, self.name, self.shape = graph, name, shape

    @property
    def dtype(self) -> Any:
        """The precision of all floats."""
        return self.graph.dtype

    def astype(self, dtype: Any) -> Array:
        """Itself: all floats have one precision."""
        assert dtype == self.dtype
        return self

    def meets(self, op: str, left: Any, right: Any) -> Array:
        """An operator on two, each repeated in the shape of the other."""
        left, right = self.graph.read(left), self.graph.read(right)
        return self.graph.node(op, left, right, shape=together(left.shape, right.shape))

    def __add__(self, other: Any) -> Array:
        return self.meets("Add", self, other)

    def __radd__(self, other: Any) -> Array:
        return self.meets("Add", other, self)

    def __sub__(self, other: Any) -> Array:
        return self.meets("Sub", self, other)

    def __rsub__(self, other: Any) -> Array:
        return self.meets("Sub", other, self)

    def __mul__(self, other: Any) -> Array:
        return self.meets("Mul", self, other)

    def __rmul__(self, other: Any) -> Array:
        return self.meets("Mul", other, self)

    def __truediv__(self, other: Any) -> Array:
        return self.meets("Div", self, other)

    def __rtruediv__(self, other: Any) -> Array:
        return self.meets("Div", other, self)

    def __pow__(self, n: Any) -> Array:
        return self * self if isinstance(n, int) and n == 2 else self.meets("Pow", self, n)

    def __rpow__(self, base: Any) -> Array:
        return self.meets("Pow", base, self)

    def __neg__(self) -> Array:
        return self.graph.node("Neg", self, shape=self.shape)

    def __lt__(self, other: Any) -> Array:
        return self.meets("Less", self, other)

    def __le__(self, other: Any) -> Array:
        return self.meets("LessOrEqual", self, other)

    def __gt__(self, other: Any) -> Array:
        return self.meets("Greater", self, other)

    def __ge__(self, other: Any) -> Array:
        return self.meets("GreaterOrEqual", self, other)

    def __eq__(self, other: object) -> Array:  # type: ignore[override]
        return self.meets("Equal", self, other)

    def __and__(self, other: Array) -> Array:
        return self.meets("And", self, other)

    def __or__(self, other: Array) -> Array:
        return self.meets("Or", self, other)

    def __invert__(self) -> Array:
        return self.graph.node("Not", self, shape=self.shape)

    def __matmul__(self, other: Array) -> Array:
        assert self.shape[1] == other.shape[0]
        return self.graph.node("MatMul", self, other, shape=(self.shape[0], other.shape[1]))

    @property
    def T(self) -> Array:
        """The last axis first."""
        axes = tuple(range(len(self.shape)))[::-1]
        return self.graph.node("Transpose", self, shape=self.shape[::-1], perm=axes) if len(axes) > 1 else self

    def ravel(self) -> Array:
        """All numbers, row by row."""
        return self.reshape(-1)

    def reshape(self, *shape: Any) -> Array:
        """The same numbers in another shape, in which one size may be -1."""
        shape = shape[0] if len(shape) == 1 and isinstance(shape[0], tuple) else shape
        whole, times = _numbers_in(self.shape)
        given, times_given = _numbers_in([size for size in shape if size != -1])
        missing: Size = whole // max(given, 1)
        if times > times_given:
            missing = Count(self.graph, whole // max(given, 1))
        found = tuple(missing if size == -1 else size for size in shape)
        if found == self.shape:
            return self
        assert _numbers_in(found) == (whole, times)
        # at most one size is a symbol, which the runtime finds from the others
        return self.graph.node(
            "Reshape", self, self.graph.whole(*[x if isinstance(x, int) else -1 for x in found]), shape=found
        )

    def sum(self, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Array:
        """The sum along some axes; along all by default."""
        named = range(len(self.shape)) if axis is None else (axis,) if isinstance(axis, int) else axis
        axes = [at % len(self.shape) for at in named]
        sizes = [1 if at in axes else size for at, size in enumerate(self.shape) if keepdims or at not in axes]
        return self.graph.node("ReduceSum", self, self.graph.whole(*axes), shape=sizes, keepdims=int(keepdims))

    def __getitem__(self, index: Any) -> Array:
        index = index if isinstance(index, tuple) else (index,)
        spread = next((at for at, i in enumerate(index) if i is Ellipsis), None)
        if spread is not None:
            named = sum(i is not None and i is not Ellipsis for i in index)
            index = index[:spread] + (slice(None),) * (len(self.shape) - named) + index[spread + 1 :]
        lists = [i for i in index if isinstance(i, self.graph.np.ndarray)]
        if len(lists) == 2:  # pairs of places
            rows, columns = lists
            assert len(index) == len(self.shape) == 2
            assert isinstance(self.shape[1], int)
            return self.reshape(-1)[rows.astype(int) * self.shape[1] + columns]
        found, axis = self, 0
        for i in index:
            found = found._along(axis, i)
            axis += i.ndim if isinstance(i, self.graph.np.ndarray) else 0 if isinstance(i, int) else 1
        return found

    def _along(self, axis: int, i: Any) -> Array:
        """One part of an index, at its axis."""
        graph, before, behind = self.graph, self.shape[:axis], self.shape[axis + 1 :]
        if i is None:
            return graph.node("Unsqueeze", self, graph.whole(axis), shape=(*before, 1, *self.shape[axis:]))
        if isinstance(i, slice):
            size = self.shape[axis]
            if i == slice(None):
                return self
            assert isinstance(size, int)
            taken = range(size)[i]
            if taken == range(size):
                return self
            parts = [graph.whole(x) for x in (taken.start, taken.stop, axis, taken.step)]
            return graph.node("Slice", self, *parts, shape=(*before, len(taken), *behind))
        places = graph.np.asarray(i, graph.np.int64)
        return graph.node("Gather", self, graph.constant(places), shape=(*before, *places.shape, *behind), axis=axis)


def together(left: Sequence[Size], right: Sequence[Size]) -> tuple[Size, ...]:
    """The shape of what two arrays give together."""
    n = max(len(left), len(right))
    pairs = zip((1,) * (n - len(left)) + tuple(left), (1,) * (n - len(right)) + tuple(right), strict=True)
    found = []
    for a, b in pairs:
        assert a == b or 1 in (a, b)
        found.append(b if a == 1 else a)
    return tuple(found)


def _numbers_in(shape: Sequence[Size]) -> tuple[int, int]:
    """How many numbers a shape has: so many times N to this power."""
    sizes = [size.times if isinstance(size, Count) else size for size in shape]
    return math.prod(sizes), sum(isinstance(size, Count) for size in shape)
