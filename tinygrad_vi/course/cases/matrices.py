"""Matrices of numbers or Values, as lists of rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tinygrad_vi.checks import ShapeError
from tinygrad_vi.course.cases.case import Matrix
from tinygrad_vi.functions import total


def product(A: Matrix, B: Matrix) -> list[list[Any]]:
    """A B.  Raises ShapeError, saying both shapes, when they do not fit."""
    if len(A[0]) != len(B):
        raise ShapeError(f"({len(A)}×{len(A[0])})·({len(B)}×{len(B[0])}) không khớp")
    return [[total([x * y for x, y in zip(row, column, strict=True)]) for column in zip(*B, strict=True)] for row in A]


def transposed(A: Matrix) -> list[list[Any]]:
    """The rows of A as columns."""
    return [list(column) for column in zip(*A, strict=True)]


def times(A: Matrix, x: Sequence[Any]) -> list[Any]:
    """A x for a vector x."""
    return [row[0] for row in product(A, [[entry] for entry in x])]


def size(A: Matrix) -> list[int]:
    """[rows, columns]."""
    return [len(A), len(A[0])]
