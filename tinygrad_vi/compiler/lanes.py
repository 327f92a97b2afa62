# mypy: ignore-errors
"""The inner loops in vector instructions: dots for some examples at once, and sums over the examples.

A loop that a compiler vectorises writes its running sums to memory at each pass.  Here they stay in registers while all
terms are gone through, which Numba's loops cannot be told, but its intrinsics can: these functions write the LLVM
instructions of the loops below.

    dot     for each example i:   M[y + i] = bias + sum of S[number] * M[row + i] + sum of c * (M[a + i] * M[b + i])
    ordered the same, each product and each sum rounded
    dot4    four dots of the same rows:  each row is read once for the four
    sums    for each pair l, r:   T[t + ...] += sum over the terms, and the examples i, of c * M[a[l] + i] * M[b[r] + i]

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
TILE4 = 2  # times four dots

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

    def fused(self, x, y, z, flags=FUSED):
        """x*y + z, rounded once where the machine can; twice without flags."""
        return self.ir.fadd(self.ir.fmul(x, y, flags=flags), z, flags=flags)

    def times(self, x, y, flags=FUSED):
        """x*y"""
        return self.ir.fmul(x, y, flags=flags)

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

    def entry(self, S, table, index):
        """S[table[index]]"""
        return self.number(S, self.ir.zext(self.number(table, index), INDEX))

    def loop(self, start, stop, step=1):
        """for i in range(start, stop, step)"""
        return cgutils.for_range_slice(self.ir, start, stop, INDEX(step), INDEX)

    def total(self, vector):
        """The sum of a vector's numbers."""
        function = cgutils.get_or_insert_function(
            self.ir.module, ir.FunctionType(FLOAT, [FLOAT, VECTOR]), f"llvm.vector.reduce.fadd.v{LANES}f64"
        )
        return self.ir.call(function, [FLOAT(0.0), vector], fastmath=("reassoc", "nsz"))


def _dot(vectors, flags=FUSED):
    @intrinsic
    def dot(_, bias, row, number, k, k1, a, b, c, r, r1, S, M, y, stride, first):
        arguments = (bias, row, number, k, k1, a, b, c, r, r1, S, M, y, stride, first)

        def write(context, builder, signature, values):
            to = _Builder(context, builder)
            bias, row, number, k, k1, a, b, c, r, r1, S, M, y, stride, first = [
                to.pointer(kind, x) if isinstance(kind, types.Array) else x
                for kind, x in zip(signature.args, values, strict=True)
            ]
            sums = to.variables(vectors, to.spread(bias))
            with to.loop(k, k1) as (i, _):
                w = to.spread(to.entry(S, number, i))
                x = to.row(M, row, i, stride, first)
                for v, s in enumerate(sums):
                    builder.store(to.fused(w, to.vector(x, v * LANES), builder.load(s), flags), s)
            with to.loop(r, r1) as (i, _):
                w = to.spread(to.number(c, i))
                x, z = to.row(M, a, i, stride, first), to.row(M, b, i, stride, first)
                for v, s in enumerate(sums):
                    product = to.times(w, to.times(to.vector(x, v * LANES), to.vector(z, v * LANES), flags), flags)
                    builder.store(builder.fadd(product, builder.load(s), flags=flags), s)
            out = to.place(M, builder.add(y, first))
            for v, s in enumerate(sums):
                to.write(out, v * LANES, builder.load(s))
            return context.get_dummy_value()

        return types.void(*arguments), write

    return dot


def _dot4(vectors):
    @intrinsic
    def dot4(_, row, number, k, k1, S, M, stride, first):
        def write(context, builder, signature, values):
            to = _Builder(context, builder)
            row, number, k, k1, S, M, stride, first = [
                to.pointer(kind, x) if isinstance(kind, types.Array) else x
                for kind, x in zip(signature.args, values, strict=True)
            ]
            entry = [builder.add(k, INDEX(j)) for j in range(4)]
            sums = [to.variables(vectors, to.spread(to.entry(S, number, i))) for i in entry]
            with to.loop(builder.add(k, INDEX(4)), k1, 4) as (term, _):
                x = to.row(M, row, term, stride, first)
                xs = [to.vector(x, v * LANES) for v in range(vectors)]
                for j in range(4):
                    w = to.spread(to.entry(S, number, builder.add(term, INDEX(j))))
                    for x, s in zip(xs, sums[j], strict=True):
                        builder.store(to.fused(w, x, builder.load(s)), s)
            for i, results in zip(entry, sums, strict=True):
                out = to.row(M, row, i, stride, first)
                for v, s in enumerate(results):
                    to.write(out, v * LANES, builder.load(s))
            return context.get_dummy_value()

        return types.void(row, number, k, k1, S, M, stride, first), write

    return dot4


def _sums(lefts, rights):
    @intrinsic
    def sums(_, a, b, c, r, r1, M, T, t, stride, n):
        def write(context, builder, signature, values):
            to = _Builder(context, builder)
            a, b, c, r, r1, M, T, t, stride, n = [
                to.pointer(kind, x) if isinstance(kind, types.Array) else x
                for kind, x in zip(signature.args, values, strict=True)
            ]
            zero = ir.Constant(VECTOR, [0.0] * LANES)
            found = to.variables(lefts * rights, zero)
            whole = builder.and_(n, INDEX(-LANES))
            lane = ir.Constant(ir.VectorType(INDEX, LANES), list(range(LANES)))
            # spread() knows doubles only: the bits of the integer pass as one
            rest = builder.bitcast(to.spread(builder.bitcast(builder.sub(n, whole), FLOAT)), lane.type)
            inside = builder.icmp_signed("<", lane, rest)
            with to.loop(r, r1, rights) as (term, _):
                entry = [builder.add(term, INDEX(j)) for j in range(rights)]
                ws = [to.spread(to.number(c, i)) for i in entry[:lefts]]
                xs = [to.row(M, a, i, stride, INDEX(0)) for i in entry[:lefts]]
                zs = [to.row(M, b, i, stride, INDEX(0)) for i in entry]

                def add(us, vs):
                    for s, (u, v) in zip(found, [(u, v) for u in us for v in vs], strict=True):
                        builder.store(to.fused(u, v, builder.load(s)), s)

                with to.loop(INDEX(0), whole, LANES) as (i, _):
                    us = [to.times(w, to.vector(to.place(x, i))) for w, x in zip(ws, xs, strict=True)]
                    add(us, [to.vector(to.place(z, i)) for z in zs])
                with builder.if_then(builder.icmp_signed("<", whole, n)):  # the last examples, without the padding
                    us = [to.times(w, to.vector(to.place(x, whole))) for w, x in zip(ws, xs, strict=True)]
                    add(
                        [builder.select(inside, u, zero) for u in us],
                        [builder.select(inside, to.vector(to.place(z, whole)), zero) for z in zs],
                    )
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
                s += c[q] * (M[int(a[q]) * int(stride) + i] * M[int(b[q]) * int(stride) + i])
            M[int(y) + i] = s

    return dot


def _dot4_in_python(examples):
    def dot4(row, number, k, k1, S, M, stride, first):
        for j in range(k, k + 4):
            for i in range(int(first), int(first) + examples):
                s = S[number[j]]
                for q in range(j + 4, k1, 4):
                    s += S[number[q]] * M[int(row[q]) * int(stride) + i]
                M[int(row[j]) * int(stride) + i] = s

    return dot4


def _sums_in_python(lefts, rights):
    def sums(a, b, c, r, r1, M, T, t, stride, n):
        for q in range(r, r1, rights):
            for j in range(lefts * rights):
                u, v = q + j // rights, q + j % rights
                for i in range(int(n)):
                    T[t + j] += c[u] * M[int(a[u]) * int(stride) + i] * M[int(b[v]) * int(stride) + i]

    return sums


if config.DISABLE_JIT:
    dot_tile, dot_vector = _dot_in_python(TILE * LANES), _dot_in_python(LANES)
    dot4_tile, dot4_vector = _dot4_in_python(TILE4 * LANES), _dot4_in_python(LANES)
    sum1, sum8 = _sums_in_python(1, 1), _sums_in_python(2, 4)
    ordered_tile, ordered_vector = dot_tile, dot_vector
else:
    dot_tile, dot_vector = _dot(TILE), _dot(1)
    dot4_tile, dot4_vector = _dot4(TILE4), _dot4(1)
    ordered_tile, ordered_vector = _dot(TILE, ()), _dot(1, ())
    sum1, sum8 = _sums(1, 1), _sums(2, 4)
