# mypy: ignore-errors
"""The inner loops in vector instructions: dots for some examples at once, and sums over the examples.

A loop that a compiler vectorises writes its running sums to memory at each pass.  Here they stay in registers while all
terms are gone through, which Numba's loops cannot be told, but its intrinsics can: these functions write the LLVM
instructions of the loops below.

    dot      for each example i:   M[y + i] = bias + sum of S[number] * M[row + i] + sum of c * (M[a + i] * M[b + i])
    ordered  the same, each product and each sum rounded
    once     the same without a bias, with what each addition rounds off added up apart
    gemm     some dots of the same rows, whose numbers stand together:  each row and each number is read once
    sum1     T[t] += sum over the terms, and the examples i, of c * M[a + i] * M[b + i]
    outer    the sums of some left rows with some right rows:  each row is read once

Rows are padded to whole vectors.  What a dot leaves in the padding is never read by a sum.
"""

from __future__ import annotations

import functools
import operator

from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.extending import intrinsic

#: doubles in a vector: one register with AVX-512, two with AVX2
LANES = 8
#: vectors that are summed up at once: enough to hide how long an addition takes
TILE = 4


def _registers() -> tuple[int, int]:
    """How many doubles a register of this processor holds, and how many dots with WIDE registers each fill them all."""
    triple, _, features = cpu_target.target_context.codegen().magic_tuple()
    on = features.split(",")
    if "+avx512f" in on:
        return 8, 8  # 24 of 32 registers
    if "+avx" in on:
        return 4, 4  # 12 of 16
    return 2, 8 if triple.startswith(("aarch64", "arm64")) else 4


#: a tile of gemm and outer: TALL dots, or left rows, by WIDE registers, or right rows; and smaller ones for the rest
REGISTER, TALL = (LANES, 8) if config.DISABLE_JIT else _registers()
WIDE = 3

FLOAT, INDEX = ir.DoubleType(), ir.IntType(64)
FUSED = ("contract",)


class _Builder:
    """The few instructions that the loops are made of."""

    def __init__(self, context, builder, lanes=LANES):
        self.context, self.ir, self.lanes = context, builder, lanes
        self.kind = ir.VectorType(FLOAT, lanes)
        self.zero = ir.Constant(self.kind, [0.0] * lanes)

    def pointers(self, signature, values):
        """The arguments, for an array where its numbers begin."""
        return [
            self.context.make_array(kind)(self.context, self.ir, x).data if isinstance(kind, types.Array) else x
            for kind, x in zip(signature.args, values, strict=True)
        ]

    def place(self, pointer, index):
        """pointer + index."""
        return self.ir.gep(pointer, [index], inbounds=True)

    def number(self, pointer, index):
        """pointer[index]."""
        return self.ir.load(self.place(pointer, index))

    def vector(self, pointer, offset=0):
        """pointer[offset : offset + lanes]."""
        start = self.place(pointer, INDEX(offset)) if offset else pointer
        return self.ir.load(self.ir.bitcast(start, self.kind.as_pointer()), align=8)

    def write(self, pointer, offset, vector):
        """pointer[offset : offset + lanes] = vector."""
        start = self.place(pointer, INDEX(offset)) if offset else pointer
        self.ir.store(vector, self.ir.bitcast(start, self.kind.as_pointer()), align=8)

    def spread(self, number):
        """A vector of one number."""
        nothing = ir.Constant(ir.VectorType(number.type, self.lanes), ir.Undefined)
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), self.lanes), [0] * self.lanes)
        return self.ir.shuffle_vector(self.ir.insert_element(nothing, number, ir.IntType(32)(0)), nothing, zeros)

    def inside(self, rest):
        """Which numbers of a vector are among the first ``rest``."""
        lane = ir.Constant(ir.VectorType(INDEX, self.lanes), list(range(self.lanes)))
        return self.ir.icmp_signed("<", lane, self.spread(rest))

    def fused(self, x, y, z, flags=FUSED):
        """x*y + z, rounded once where the machine can; twice without flags."""
        return self.ir.fadd(self.ir.fmul(x, y, flags=flags), z, flags=flags)

    def times(self, x, y, flags=FUSED):
        """x*y"""
        return self.ir.fmul(x, y, flags=flags)

    def add_product(self, variable, x, y, flags=FUSED):
        """variable += x*y"""
        self.ir.store(self.fused(x, y, self.ir.load(variable), flags), variable)

    def variables(self, count, start):
        """Registers."""
        found = [cgutils.alloca_once(self.ir, self.kind) for _ in range(count)]
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
        step = INDEX(step) if isinstance(step, int) else step
        return cgutils.for_range_slice(self.ir, start, stop, step, INDEX)

    def after(self, start, *steps):
        """start + the steps."""
        for step in steps:
            start = self.ir.add(start, INDEX(step) if isinstance(step, int) else step)
        return start

    def total(self, vector):
        """The sum of a vector's numbers."""
        function = cgutils.get_or_insert_function(
            self.ir.module, ir.FunctionType(FLOAT, [FLOAT, self.kind]), f"llvm.vector.reduce.fadd.v{self.lanes}f64"
        )
        return self.ir.call(function, [FLOAT(0.0), vector], fastmath=("reassoc", "nsz"))

    def totals(self, vectors):
        """The sum of each vector's numbers, as one vector; they are as many as a power of two, and no more than lanes.

        Each round adds neighbours, and lays what comes of two vectors side by side: half as many vectors are left.
        """
        size = 1
        while len(vectors) > 1:
            even = [i for start in range(0, self.lanes, 2 * size) for i in range(start, start + size)]
            left, right = self._both(even, size), self._both([i + size for i in even], size)
            vectors = [
                self.ir.fadd(self.ir.shuffle_vector(x, y, left), self.ir.shuffle_vector(x, y, right))
                for x, y in zip(vectors[::2], vectors[1::2], strict=True)
            ]
            size *= 2
        [found], lanes = vectors, self.lanes
        while lanes > size:  # the sums of fewer vectors than lanes are left in parts
            lanes //= 2
            half = [self.lanes_of(range(start, start + lanes)) for start in (0, lanes)]
            found = self.ir.fadd(*[self.ir.shuffle_vector(found, found, lane) for lane in half])
        return found

    def _both(self, lanes, size):
        """These lanes of two vectors, in turns of so many."""
        pairs = [lanes[i : i + size] for i in range(0, len(lanes), size)]
        return self.lanes_of([i + second for pair in pairs for second in (0, self.lanes) for i in pair])

    @staticmethod
    def lanes_of(lanes):
        """Which lanes of two vectors a shuffle takes."""
        return ir.Constant(ir.VectorType(ir.IntType(32), len(lanes)), list(lanes))


def _dot(vectors, flags=FUSED):
    @intrinsic
    def dot(_, bias, row, number, k, k1, a, b, c, r, r1, S, M, y, stride, first):
        arguments = (bias, row, number, k, k1, a, b, c, r, r1, S, M, y, stride, first)

        def write(context, builder, signature, values):
            to = _Builder(context, builder)
            bias, row, number, k, k1, a, b, c, r, r1, S, M, y, stride, first = to.pointers(signature, values)
            sums = to.variables(vectors, to.spread(bias))
            with to.loop(k, k1) as (i, _):
                w = to.spread(to.entry(S, number, i))
                x = to.row(M, row, i, stride, first)
                for v, s in enumerate(sums):
                    to.add_product(s, w, to.vector(x, v * LANES), flags)
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


def _short(terms, products, vectors):
    """A dot of so few terms that loops over them would take longer than the terms."""

    @intrinsic
    def short(_, bias, row, number, k, a, b, c, r, S, M, y, stride, first):
        arguments = (bias, row, number, k, a, b, c, r, S, M, y, stride, first)

        def write(context, builder, signature, values):
            to = _Builder(context, builder)
            bias, row, number, k, a, b, c, r, S, M, y, stride, first = to.pointers(signature, values)
            sums = [to.spread(bias)] * vectors
            for i in [to.after(k, j) for j in range(terms)]:
                w, x = to.spread(to.entry(S, number, i)), to.row(M, row, i, stride, first)
                sums = [to.fused(w, to.vector(x, v * LANES), s) for v, s in enumerate(sums)]
            for i in [to.after(r, j) for j in range(products)]:
                w = to.spread(to.number(c, i))
                x, z = [to.row(M, factor, i, stride, first) for factor in (a, b)]
                factors = [to.times(to.vector(x, v * LANES), to.vector(z, v * LANES)) for v in range(vectors)]
                sums = [to.fused(w, factor, s) for factor, s in zip(factors, sums, strict=True)]
            out = to.place(M, builder.add(y, first))
            for v, s in enumerate(sums):
                to.write(out, v * LANES, s)
            return context.get_dummy_value()

        return types.void(*arguments), write

    return short


def _of_numbers(terms, products, flags=FUSED):
    """The same of single numbers, from entry k of the tables on: linear terms c * M[a], then products."""

    @intrinsic
    def dot(_, a, b, c, k, M):
        def write(context, builder, signature, values):
            to = _Builder(context, builder)
            a, b, c, k, M = to.pointers(signature, values)
            total = None
            for i in range(terms + products):
                at = to.after(k, i)
                x = to.entry(M, a, at)
                x = x if i < terms else to.times(x, to.entry(M, b, at), flags)
                w = to.number(c, at)
                total = to.times(w, x, flags) if total is None else to.fused(w, x, total, flags)
            return total

        return types.float64(a, b, c, k, M), write

    return dot


@intrinsic
def _once(_, scale, row, number, k, k1, a, b, c, r, r1, S, M, y, stride, first):
    arguments = (scale, row, number, k, k1, a, b, c, r, r1, S, M, y, stride, first)

    def write(context, builder, signature, values):
        to = _Builder(context, builder)
        scale, row, number, k, k1, a, b, c, r, r1, S, M, y, stride, first = to.pointers(signature, values)
        scale = to.spread(scale)
        total, rest = to.variables(2, to.zero)

        def add(x):
            x, s = builder.fmul(scale, x), builder.load(total)
            t = builder.fadd(s, x)
            z = builder.fsub(t, s)
            lost = builder.fadd(builder.fsub(s, builder.fsub(t, z)), builder.fsub(x, z))
            builder.store(builder.fadd(builder.load(rest), lost), rest)
            builder.store(t, total)

        with to.loop(k, k1) as (i, _):
            add(builder.fmul(to.spread(to.entry(S, number, i)), to.vector(to.row(M, row, i, stride, first))))
        with to.loop(r, r1) as (i, _):
            x, z = [to.vector(to.row(M, factor, i, stride, first)) for factor in (a, b)]
            add(builder.fmul(to.spread(to.number(c, i)), builder.fmul(x, z)))
        found = builder.fdiv(builder.fadd(builder.load(total), builder.load(rest)), scale)
        to.write(to.place(M, builder.add(y, first)), 0, found)
        return context.get_dummy_value()

    return types.void(*arguments), write


def _gemm(dots, vectors):
    """Dots of the rows row[k:k1], into the rows row[y : y + dots].

    At ``panel`` in S stand the number that each begins with, then for each row the number that it has in each dot.
    """

    @intrinsic
    def gemm(_, row, y, k, k1, S, panel, M, stride, first):
        def write(context, builder, signature, values):
            to = _Builder(context, builder, REGISTER)
            row, y, k, k1, S, panel, M, stride, first = to.pointers(signature, values)
            w = to.place(S, panel)
            sums = [to.variables(vectors, to.spread(to.number(w, INDEX(q)))) for q in range(dots)]
            at = cgutils.alloca_once_value(builder, w)
            with to.loop(k, k1) as (i, _):
                w = to.place(builder.load(at), INDEX(dots))
                builder.store(w, at)
                x = to.row(M, row, i, stride, first)
                xs = [to.vector(x, v * REGISTER) for v in range(vectors)]
                for q in range(dots):
                    number = to.spread(to.number(w, INDEX(q)))
                    for s, x in zip(sums[q], xs, strict=True):
                        to.add_product(s, number, x)
            for q in range(dots):
                out = to.row(M, row, to.after(y, q), stride, first)
                for v, s in enumerate(sums[q]):
                    to.write(out, v * REGISTER, builder.load(s))
            return context.get_dummy_value()

        return types.void(row, y, k, k1, S, panel, M, stride, first), write

    return gemm


def _outer(lefts, rights):
    """Sums of left rows with the right rows b[s : s + rights], into T[t + i + j * down].

    There are ``terms`` of each, the right ones ``step`` entries apart.  The left rows of all terms are packed at M[x:]:
    a register of each of them, then the next register of each; behind the n examples stand zeros.  sign: 1 or -1.
    """

    @intrinsic
    def outer(_, sign, x, b, s, terms, step, M, T, t, down, stride, n):
        def write(context, builder, signature, values):
            to = _Builder(context, builder, REGISTER)
            sign, x, b, s, terms, step, M, T, t, down, stride, n = to.pointers(signature, values)
            found = [to.variables(rights, to.zero) for _ in range(lefts)]
            left = cgutils.alloca_once_value(builder, to.place(M, x))
            with to.loop(INDEX(0), builder.mul(terms, step), step) as (term, _):
                zs = [to.row(M, b, to.after(s, term, j), stride, INDEX(0)) for j in range(rights)]
                with to.loop(INDEX(0), n, REGISTER) as (i, _):
                    inside = to.inside(builder.sub(n, i))  # without what stands behind the last example
                    vs = [builder.select(inside, to.vector(to.place(z, i)), to.zero) for z in zs]
                    us = builder.load(left)
                    for q, sums in enumerate(found):
                        u = to.vector(us, q * REGISTER)
                        for v, total in zip(vs, sums, strict=True):
                            to.add_product(total, u, v)
                    builder.store(to.place(us, INDEX(lefts * REGISTER)), left)
            group = min(lefts, REGISTER)
            into = _Builder(context, builder, group)
            sign = into.spread(sign)
            for j in range(rights):
                for i in range(0, lefts, group):
                    sums_of_rows = to.totals([builder.load(sums[j]) for sums in found[i : i + group]])
                    place = to.place(T, to.after(t, builder.mul(INDEX(j), down), i))
                    into.write(place, 0, into.fused(sign, sums_of_rows, into.vector(place)))
            return context.get_dummy_value()

        return types.void(sign, x, b, s, terms, step, M, T, t, down, stride, n), write

    return outer


@intrinsic
def _copy(_, M, y, x, rest):
    """The register M[y:] = M[x:], of which the first ``rest`` numbers count: the others are 0."""

    def write(context, builder, signature, values):
        to = _Builder(context, builder, REGISTER)
        M, y, x, rest = to.pointers(signature, values)
        to.write(to.place(M, y), 0, builder.select(to.inside(rest), to.vector(to.place(M, x)), to.zero))
        return context.get_dummy_value()

    return types.void(M, y, x, rest), write


@intrinsic
def _turn(_, X, x, width, M, y, stride):
    """M[y + j * stride + i] = X[x + i * width + j] for i, j < REGISTER."""

    def write(context, builder, signature, values):
        to = _Builder(context, builder, REGISTER)
        X, x, width, M, y, stride = to.pointers(signature, values)
        rows = [to.vector(to.place(X, to.after(x, builder.mul(INDEX(i), width)))) for i in range(REGISTER)]
        step = 1
        while step < REGISTER:  # of two rows that are so far apart, exchange what is as far on the wrong side
            lanes = range(REGISTER)
            upper = to.lanes_of([lane if not lane & step else REGISTER + (lane ^ step) for lane in lanes])
            lower = to.lanes_of([lane ^ step if not lane & step else REGISTER + lane for lane in lanes])
            for i in range(REGISTER):
                if not i & step:
                    pair = rows[i], rows[i | step]
                    rows[i], rows[i | step] = [builder.shuffle_vector(*pair, mask) for mask in (upper, lower)]
            step *= 2
        for j, row in enumerate(rows):
            to.write(to.place(M, to.after(y, builder.mul(INDEX(j), stride))), 0, row)
        return context.get_dummy_value()

    return types.void(X, x, width, M, y, stride), write


@intrinsic
def _sum1(_, a, b, c, r, r1, M, T, t, stride, n):
    def write(context, builder, signature, values):
        to = _Builder(context, builder)
        a, b, c, r, r1, M, T, t, stride, n = to.pointers(signature, values)
        [found] = to.variables(1, to.zero)
        with to.loop(r, r1) as (term, _):
            w = to.spread(to.number(c, term))
            x, z = to.row(M, a, term, stride, INDEX(0)), to.row(M, b, term, stride, INDEX(0))
            with to.loop(INDEX(0), n, LANES) as (i, _):
                inside = to.inside(builder.sub(n, i))  # the last examples, without the padding
                u = builder.select(inside, to.times(w, to.vector(to.place(x, i))), to.zero)
                to.add_product(found, u, builder.select(inside, to.vector(to.place(z, i)), to.zero))
        place = to.place(T, t)
        builder.store(builder.fadd(builder.load(place), to.total(builder.load(found))), place)
        return context.get_dummy_value()

    return types.void(a, b, c, r, r1, M, T, t, stride, n), write


def _dot_in_python(vectors, _=FUSED):
    examples = vectors * LANES

    def dot(bias, row, number, k, k1, a, b, c, r, r1, S, M, y, stride, first):
        for i in range(int(first), int(first) + examples):
            s = bias
            for q in range(k, k1):
                s += S[number[q]] * M[int(row[q]) * int(stride) + i]
            for q in range(r, r1):
                s += c[q] * (M[int(a[q]) * int(stride) + i] * M[int(b[q]) * int(stride) + i])
            M[int(y) + i] = s

    return dot


def _short_in_python(terms, products, vectors):
    vector = _dot_in_python(vectors)

    def short(bias, row, number, k, a, b, c, r, S, M, y, stride, first):
        vector(bias, row, number, k, k + terms, a, b, c, r, r + products, S, M, y, stride, first)

    return short


def _of_numbers_in_python(terms, products, _=FUSED):
    def dot(a, b, c, k, M):
        found = [c[i] * M[a[i]] for i in range(int(k), int(k) + terms)]
        found += [c[i] * (M[a[i]] * M[b[i]]) for i in range(int(k) + terms, int(k) + terms + products)]
        return functools.reduce(operator.add, found)

    return dot


def _once_in_python(scale, row, number, k, k1, a, b, c, r, r1, S, M, y, stride, first):
    for i in range(int(first), int(first) + LANES):
        s, rest = 0.0, 0.0
        linear = [S[number[q]] * M[int(row[q]) * int(stride) + i] for q in range(k, k1)]
        products = [c[q] * (M[int(a[q]) * int(stride) + i] * M[int(b[q]) * int(stride) + i]) for q in range(r, r1)]
        for x in (scale * x for x in linear + products):
            t = s + x
            z = t - s
            rest += (s - (t - z)) + (x - z)
            s = t
        M[int(y) + i] = (s + rest) / scale


def _gemm_in_python(dots, vectors):
    def gemm(row, y, k, k1, S, panel, M, stride, first):
        for q in range(dots):
            for i in range(int(first), int(first) + vectors * REGISTER):
                s = S[panel + q]
                for j in range(k1 - k):
                    s += S[panel + (1 + j) * dots + q] * M[int(row[k + j]) * int(stride) + i]
                M[int(row[y + q]) * int(stride) + i] = s

    return gemm


def _outer_in_python(lefts, rights):
    def outer(sign, x, b, s, terms, step, M, T, t, down, stride, n):
        for i in range(lefts):
            for j in range(rights):
                at = int(x) + i * REGISTER
                for term in range(0, terms * step, step):
                    z = int(b[s + term + j]) * int(stride)
                    for e in range(int(n)):
                        T[t + i + j * down] += sign * M[at + e // REGISTER * lefts * REGISTER + e % REGISTER] * M[z + e]
                    at += -(-int(n) // REGISTER) * lefts * REGISTER

    return outer


def _copy_in_python(M, y, x, rest):
    for i in range(REGISTER):
        M[int(y) + i] = M[int(x) + i] if i < rest else 0.0


def _turn_in_python(X, x, width, M, y, stride):
    numbers = X.reshape(-1)
    for i in range(REGISTER):
        for j in range(REGISTER):
            M[y + j * stride + i] = numbers[x + i * width + j]


def _sum1_in_python(a, b, c, r, r1, M, T, t, stride, n):
    for q in range(r, r1):
        for i in range(int(n)):
            T[t] += c[q] * M[int(a[q]) * int(stride) + i] * M[int(b[q]) * int(stride) + i]


if config.DISABLE_JIT:
    _dot, _short, _gemm, _outer = _dot_in_python, _short_in_python, _gemm_in_python, _outer_in_python
    _of_numbers = _of_numbers_in_python
    _copy, _turn, _sum1, _once = _copy_in_python, _turn_in_python, _sum1_in_python, _once_in_python
dot_tile, dot_vector = _dot(TILE), _dot(1)
ordered_tile, ordered_vector = _dot(TILE, ()), _dot(1, ())
#: by how many linear terms and how many products
short_10, short_20, short_02, short_12 = [_short(*terms, TILE) for terms in ((1, 0), (2, 0), (0, 2), (1, 2))]
short_10_1, short_20_1, short_02_1, short_12_1 = [_short(*terms, 1) for terms in ((1, 0), (2, 0), (0, 2), (1, 2))]
dot_20, dot_11, dot_02 = _of_numbers(2, 0), _of_numbers(1, 1), _of_numbers(0, 2)
dot_30, dot_21, dot_12, dot_03 = _of_numbers(3, 0), _of_numbers(2, 1), _of_numbers(1, 2), _of_numbers(0, 3)
ordered_20, ordered_11, ordered_30 = _of_numbers(2, 0, ()), _of_numbers(1, 1, ()), _of_numbers(3, 0, ())
#: by how many dots, or left rows: TALL, and 2 and 1 for the rest
gemm_tall, gemm_two, gemm_one = [_gemm(dots, WIDE) for dots in (TALL, 2, 1)]
gemm_tall_1, gemm_two_1, gemm_one_1 = [_gemm(dots, 1) for dots in (TALL, 2, 1)]
outer_tall, outer_two, outer_one = [_outer(lefts, WIDE) for lefts in (TALL, 2, 1)]
outer_tall_1, outer_two_1, outer_one_1 = [_outer(lefts, 1) for lefts in (TALL, 2, 1)]
copy, turn, sum1, once_vector = _copy, _turn, _sum1, _once
