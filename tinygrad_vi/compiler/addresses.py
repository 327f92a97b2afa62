# mypy: disable-error-code="no-untyped-def,no-untyped-call,import-untyped,untyped-decorator,call-arg,attr-defined"
"""Arrays by their addresses: one table in place of twenty arguments.

Numba asks every array that is given from Python for its address, shape and strides, 2 µs for those of the kernel: ten
times the work of a small program.  All but theta and the results are the same at each call, so their addresses are
written down once, in a table of whole numbers, and the kernel reads them from there.  As plain Python, with
NUMBA_DISABLE_JIT=1, the table is a list with the arrays themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numba import carray, types
from numba.core import config
from numba.extending import intrinsic

from tinygrad_vi.compiler.machine_code import part

#: what an array takes in a table: its address, its rows, its columns
FIELDS = 3


def table(arrays: Sequence[Any], numbers: Sequence[int]) -> Any:
    """The addresses of arrays, which must live on and must not move, and some whole numbers behind them."""
    if config.DISABLE_JIT:
        return [*arrays, *numbers]
    assert all(array.flags.c_contiguous for array in arrays)
    fields = [x for array in arrays for x in (array.ctypes.data, *array.shape, *[0] * (2 - array.ndim))]
    return np.array([*fields, *numbers], np.int64)


@intrinsic
def _pointer(typing, address):  # noqa: ARG001  # these are what Numba gives
    """The address as a pointer."""

    def written(context, builder, signature, arguments):
        return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

    return types.voidptr(types.int64), written


@part(forceinline=True)
def line(table, k, dtype):
    """Array k of a table, of one axis."""
    return carray(_pointer(table[FIELDS * k]), table[FIELDS * k + 1], dtype)


@part(forceinline=True)
def lines(table, k, dtype):
    """Array k of a table, of two axes."""
    return carray(_pointer(table[FIELDS * k]), (table[FIELDS * k + 1], table[FIELDS * k + 2]), dtype)


if config.DISABLE_JIT:

    def line(table, k, dtype):  # noqa: ARG001
        """The same as plain Python."""
        return table[k]

    lines = line
