# mypy: disable-error-code="no-untyped-def,no-untyped-call,import-untyped,untyped-decorator,call-arg,attr-defined"
"""One call of the kernel, with one table in place of twenty arrays.

Numba asks every array that is given from Python for its address, shape and strides, 2 µs for all of `kernel.step`: ten
times the work of a small program.  All but theta and the results are the same at each call, so their addresses are
written down once, in a table of whole numbers, and the kernel reads them from there.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from numba import carray, types
from numba.extending import intrinsic

from tinygrad_vi.compiler import kernel
from tinygrad_vi.compiler.kernel import loops

#: what an array takes in a table: its address, its rows, its columns
FIELDS = 3


@intrinsic
def _pointer(typing, address):  # noqa: ARG001  # these are what Numba gives
    """The address as a pointer."""

    def written(context, builder, signature, arguments):
        return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

    return types.voidptr(types.int64), written


@loops
def _line(table, k, dtype):
    """Array k of a table, of one axis."""
    return carray(_pointer(table[FIELDS * k]), table[FIELDS * k + 1], dtype)


@loops
def _lines(table, k, dtype):
    """Array k of a table, of two axes."""
    return carray(_pointer(table[FIELDS * k]), (table[FIELDS * k + 1], table[FIELDS * k + 2]), dtype)


@loops
def step(table, theta, mapped_out, out):
    """`kernel.step`, with everything but the arguments of a call in the table."""
    width, per_chunk, keep = table[-3], table[-2], table[-1] != 0
    return kernel.step(
        _lines(table, 0, np.int64), _lines(table, 1, np.int32), _line(table, 2, np.float64),
        _line(table, 3, np.uint32), _line(table, 4, np.uint32),
        _line(table, 5, np.uint32), _line(table, 6, np.uint32), _line(table, 7, np.float64),
        _line(table, 8, np.int32), _line(table, 9, np.int32), _line(table, 10, np.float64),
        theta, _lines(table, 11, np.float64), _line(table, 12, np.float64), _lines(table, 13, np.float64),
        _lines(table, 14, np.float64), width, per_chunk, keep, mapped_out, out)  # fmt: skip


def of(tables: Sequence[Any], stores: Sequence[Any], numbers: Sequence[int]) -> Any:
    """`kernel.step` as a function (theta, mapped_out, out) -> checksum.

    tables, stores: the arrays before and after theta, which must not move.  numbers: width, per_chunk, keep.
    """
    if not hasattr(kernel.step, "py_func"):  # the JIT is switched off
        return lambda theta, mapped_out, out: kernel.step(*tables, theta, *stores, *numbers, mapped_out, out)
    arrays = [*tables, *stores]
    assert all(array.flags.c_contiguous for array in arrays)
    table = [x for array in arrays for x in (array.ctypes.data, *array.shape, *[0] * (2 - array.ndim))]
    call = partial(step, np.array([*table, *numbers], np.int64))
    call.arrays = arrays  # kept alive: the table has their addresses alone
    return call
