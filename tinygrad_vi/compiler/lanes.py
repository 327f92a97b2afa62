# mypy: ignore-errors
"""Two inner loops in vector instructions: a dot for some examples at once, and sums over the examples.

A loop that a compiler vectorises writes its running sums to memory at each pass.  Here they stay in registers while all
terms are gone through, which Numba's loops cannot be told, but its intrinsics can: these functions write the LLVM
instructions of the loops below.

    dot     for each example i:   M[y + i] = bias + sum of S[number] * M[row + i] + sum of c * M[a + i] * M[b + i]
    sums    for each result j:    T[t + j] += sum over the terms, and the examples i, of c * M[a + i] * M[b[j] + i]

Rows are padded to whole vectors.  What a dot leaves in the padding is never read by a sum.
"""

from __future__ import annotations

from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.extending import intrinsic

#: doubles in a vector: one register with AVX-512, two with AVX2
LANES = 8
#: vectors that are summed up at once: enough to hide how long an addition takes
TILE = 4

FLOAT, INDEX = ir.DoubleType(), ir.IntType(64)
VECTOR = ir.VectorType(FLOAT, LANES)
FUSED = ("contract",)


class _Builder:
    """The few instructions that the loops are made of."""

    def __init__(self, context, builder):
        self.context, self.ir = context, builder

    def pointer(self, array_type, array):
        """Where the numbers of an array begin."""
        return self.context.make_array(array_type)(self.context, self.ir, array).data

    def place(self, pointer, index):
        """pointer + index."""
        return self.ir.gep(pointer, [index], inbounds=True)

    def number(self, pointer, index):
        """pointer[index]."""
        return self.ir.load(self.place(pointer, index))

    def vector(self, pointer, offset=0):
        """pointer[offset : offset + LANES]."""
        start = self.place(pointer, INDEX(offset)) if offset else pointer
        return self.ir.load(self.ir.bitcast(start, VECTOR.as_pointer()), align=8)

    def write(self, pointer, offset, vector):
        """pointer[offset : offset + LANES] = vector."""
        start = self.place(pointer, INDEX(offset)) if offset else pointer
        self.ir.store(vector, self.ir.bitcast(start, VECTOR.as_pointer()), align=8)

    def spread(self, number):
        """A vector of one number."""
        nothing = ir.Constant(VECTOR, ir.Undefined)
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
        return self.ir.shuffle_vector(self.ir.insert_element(nothing, number, ir.IntType(32)(0)), nothing, zeros)

    def fused(self, x, y, z):
        """x*y + z, rounded once where the machine can."""
        return self.ir.fadd(self.ir.fmul(x, y, flags=FUSED), z, flags=FUSED)

    def times(self, x, y):
        """x*y"""
        return self.ir.fmul(x, y, flags=FUSED)

    def variables(self, count, start):
        """Registers."""
        found = [cgutils.alloca_once(self.ir, VECTOR) for _ in range(count)]
        for variable in found:
            self.ir.store(start, variable)
        return found

    def row(self, M, table, index, stride, first):
        """Where row table[index] of M begins, from example ``first`` on."""
        row = self.ir.mul(self.ir.zext(self.number(table, index), INDEX), stride)
        return self.place(M, self.ir.add(row, first))

    def loop(self, start, stop, step=1):
        """for i in range(start, stop, step)"""
        return cgutils.for_range_slice(self.ir, start, stop, INDEX(step), INDEX)

    def total(self, vector):
        """The sum of a vector's numbers."""
        function = cgutils.get_or_insert_function(
            self.ir.module, ir.FunctionType(FLOAT, [FLOAT, VECTOR]), f"llvm.vector.reduce.fadd.v{LANES}f64"
        )
        return self.ir.call(function, [FLOAT(0.0), vector], fastmath=("reassoc", "nsz"))


def _dot(vectors):
    @intrinsic
    def dot(typing, bias, row, number, k, k1, a, b, c, r, r1, S, M, y, stride, first):
        arguments = (bias, row, number, k, k1, a, b, c, r, r1, S, M, y, stride, first)

        def write(context, builder, signature, values):
            to = _Builder(context, builder)
            bias, row, number, k, k1, a, b, c, r, r1, S, M, y, stride, first = [
                to.pointer(kind, x) if isinstance(kind, types.Array) else x
                for kind, x in zip(signature.args, values, strict=True)
            ]
            sums = to.variables(vectors, to.spread(bias))
            with to.loop(k, k1) as (i, _):
                w = to.spread(to.number(S, builder.zext(to.number(number, i), INDEX)))
                x = to.row(M, row, i, stride, first)
                for v, s in enumerate(sums):
                    builder.store(to.fused(w, to.vector(x, v * LANES), builder.load(s)), s)
            with to.loop(r, r1) as (i, _):
                w = to.spread(to.number(c, i))
                x, z = to.row(M, a, i, stride, first), to.row(M, b, i, stride, first)
                for v, s in enumerate(sums):
                    product = to.times(to.times(w, to.vector(x, v * LANES)), to.vector(z, v * LANES))
                    builder.store(builder.fadd(product, builder.load(s), flags=FUSED), s)
            out = to.place(M, builder.add(y, first))
            for v, s in enumerate(sums):
                to.write(out, v * LANES, builder.load(s))
            return context.get_dummy_value()

        return types.void(*arguments), write

    return dot


def _sums(count):
    @intrinsic
    def sums(typing, a, b, c, r, r1, M, T, t, stride, n):
        def write(context, builder, signature, values):
            to = _Builder(context, builder)
            a, b, c, r, r1, M, T, t, stride, n = [
                to.pointer(kind, x) if isinstance(kind, types.Array) else x
                for kind, x in zip(signature.args, values, strict=True)
            ]
            zero = ir.Constant(VECTOR, [0.0] * LANES)
            found = to.variables(count, zero)
            whole = builder.and_(n, INDEX(-LANES))
            lane = ir.Constant(ir.VectorType(INDEX, LANES), list(range(LANES)))
            rest = builder.bitcast(to.spread(builder.bitcast(builder.sub(n, whole), FLOAT)), lane.type)
            inside = builder.icmp_signed("<", lane, rest)
            with to.loop(r, r1, count) as (term, _):
                w, x = to.spread(to.number(c, term)), to.row(M, a, term, stride, INDEX(0))
                zs = [to.row(M, b, builder.add(term, INDEX(j)), stride, INDEX(0)) for j in range(count)]
                with to.loop(INDEX(0), whole, LANES) as (i, _):
                    u = to.times(w, to.vector(to.place(x, i)))
                    for z, s in zip(zs, found, strict=True):
                        builder.store(to.fused(u, to.vector(to.place(z, i)), builder.load(s)), s)
                with builder.if_then(builder.icmp_signed("<", whole, n)):  # the last examples, without the padding
                    u = builder.select(inside, to.times(w, to.vector(to.place(x, whole))), zero)
                    for z, s in zip(zs, found, strict=True):
                        v = builder.select(inside, to.vector(to.place(z, whole)), zero)
                        builder.store(to.fused(u, v, builder.load(s)), s)
            for j, s in enumerate(found):
                place = to.place(T, builder.add(t, INDEX(j)))
                builder.store(builder.fadd(builder.load(place), to.total(builder.load(s))), place)
            return context.get_dummy_value()

        return types.void(a, b, c, r, r1, M, T, t, stride, n), write

    return sums


def _dot_in_python(examples):
    def dot(bias, row, number, k, k1, a, b, c, r, r1, S, M, y, stride, first):
        for i in range(int(first), int(first) + examples):
            s = bias
            for q in range(k, k1):
                s += S[number[q]] * M[int(row[q]) * int(stride) + i]
            for q in range(r, r1):
                s += c[q] * M[int(a[q]) * int(stride) + i] * M[int(b[q]) * int(stride) + i]
            M[int(y) + i] = s

    return dot


def _sums_in_python(count):
    def sums(a, b, c, r, r1, M, T, t, stride, n):
        for q in range(r, r1, count):
            for j in range(count):
                for i in range(int(n)):
                    T[t + j] += c[q] * M[int(a[q]) * int(stride) + i] * M[int(b[q + j]) * int(stride) + i]

    return sums


if config.DISABLE_JIT:
    dot_tile, dot_vector = _dot_in_python(TILE * LANES), _dot_in_python(LANES)
    sum1, sum4 = _sums_in_python(1), _sums_in_python(4)
else:
    dot_tile, dot_vector = _dot(TILE), _dot(1)
    sum1, sum4 = _sums(1), _sums(4)
