"""A scalar Value as small as it gets: one node for each + and *, no lists, no checks.

It is what the tiny pure-Python language models on the web run on, and so the peer of our own engine there: like ours it
keeps local derivatives as numbers, without closures.
"""

from __future__ import annotations

import math
from typing import Any


class Plain:
    """A number, its operands, and its derivative by each of them."""

    __slots__ = ("children", "data", "grad", "local_grads")

    def __init__(self, data: float, children: tuple[Plain, ...] = (), local_grads: tuple[float, ...] = ()) -> None:
        self.data = data
        self.grad = 0.0
        self.children = children
        self.local_grads = local_grads

    def __add__(self, other: Any) -> Plain:
        other = other if isinstance(other, Plain) else Plain(other)
        return Plain(self.data + other.data, (self, other), (1.0, 1.0))

    def __mul__(self, other: Any) -> Plain:
        other = other if isinstance(other, Plain) else Plain(other)
        return Plain(self.data * other.data, (self, other), (other.data, self.data))

    def __pow__(self, exponent: float) -> Plain:
        return Plain(self.data**exponent, (self,), (exponent * self.data ** (exponent - 1),))

    def log(self) -> Plain:
        return Plain(math.log(self.data), (self,), (1.0 / self.data,))

    def exp(self) -> Plain:
        out = math.exp(self.data)
        return Plain(out, (self,), (out,))

    def relu(self) -> Plain:
        return Plain(max(0.0, self.data), (self,), (float(self.data > 0.0),))

    def __neg__(self) -> Plain:
        return self * -1.0

    def __sub__(self, other: Any) -> Plain:
        return self + -other

    def __truediv__(self, other: Any) -> Plain:
        return self * other**-1

    __radd__, __rmul__ = __add__, __mul__

    def backward(self) -> None:
        order: list[Plain] = []
        visited: set[Plain] = set()
        stack = [(self, False)]
        while stack:
            node, done = stack.pop()
            if done:
                order.append(node)
            elif node not in visited:
                visited.add(node)
                stack.append((node, True))
                stack.extend((child, False) for child in node.children)
        self.grad = 1.0
        for node in reversed(order):
            for child, local_grad in zip(node.children, node.local_grads, strict=True):
                child.grad += local_grad * node.grad
