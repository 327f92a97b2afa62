# mypy: disable-error-code="no-untyped-def,no-untyped-call,call-arg"
"""The one kernel that runs every compiled program: plain loops over the tables of `tables`.

Rows are numbered by unsigned integers, so no instruction is spent on asking whether an index counts from the end.

Nothing is generated for a program, so there is nothing to compile for it: Numba compiles this file once on a machine
and keeps the result.  With NUMBA_DISABLE_JIT=1 the same text runs as Python and can be stepped through.

A row of M holds the values of one node for a block of n examples, ``stride`` numbers after the row before; loops over
the examples are innermost and contiguous, so that they become vector instructions.  What is the same for all examples
is run as rows of one number.
"""

from __future__ import annotations

import math

import numpy as np

from tinygrad_vi.compiler import codes
from tinygrad_vi.compiler import elementary as el
from tinygrad_vi.compiler.addresses import line, lines
from tinygrad_vi.compiler.codes import (
    BIAS,
    COUNT,
    DST,
    END,
    FIRST,
    LAST,
    MAPPED,
    OP,
    PARAMETERS,
    SUMS,
    SUMS_END,
    UNMAPPED,
    A,
    B,
    C,
)
from tinygrad_vi.compiler.lanes import (
    LANES,
    REGISTER,
    TALL,
    TILE,
    WIDE,
    copy,
    dot_02,
    dot_03,
    dot_11,
    dot_12,
    dot_20,
    dot_21,
    dot_30,
    dot_tile,
    dot_vector,
    gemm_one,
    gemm_one_1,
    gemm_tall,
    gemm_tall_1,
    gemm_two,
    gemm_two_1,
    once_vector,
    ordered_11,
    ordered_20,
    ordered_30,
    ordered_tile,
    ordered_vector,
    outer_one,
    outer_one_1,
    outer_tall,
    outer_tall_1,
    outer_two,
    outer_two_1,
    short_02,
    short_02_1,
    short_10,
    short_10_1,
    short_12,
    short_12_1,
    short_20,
    short_20_1,
    sum1,
    turn,
)
from tinygrad_vi.compiler.machine_code import kept, part

# sums over examples may be added up in another order, several at a time
LOOPS = {"fastmath": {"reassoc", "contract", "nsz"}, "nogil": True}
# here the order is the point
EXACT = {"fastmath": {"contract"}, "nogil": True}
# and here each rounding: said, since Numba lets a function inherit what it does not say from whoever calls it first
UNFUSED = {"fastmath": False, "nogil": True}
loops, exact, unfused = part(**LOOPS), part(**EXACT), part(**UNFUSED)
# written out where they are called: to hand over so many arrays takes longer than a short row
HERE = {"forceinline": True}
loops_here, exact_here, unfused_here = part(**LOOPS, **HERE), part(**EXACT, **HERE), part(**UNFUSED, **HERE)


@loops_here
def dot(bias, row, number, k, k1, a, b, c, r, r1, S, M, y, stride, n):
    """M[y] = bias + sum of S[number] * M[row] + sum of c * M[a] * M[b], some examples at a time."""
    terms, products, i = k1 - k, r1 - r, 0
    while i < n:
        wide = i + TILE * LANES <= n
        if terms == 2 and products == 0:
            if wide:
                short_20(bias, row, number, k, a, b, c, r, S, M, y, stride, i)
            else:
                short_20_1(bias, row, number, k, a, b, c, r, S, M, y, stride, i)
        elif terms == 1 and products == 0:
            if wide:
                short_10(bias, row, number, k, a, b, c, r, S, M, y, stride, i)
            else:
                short_10_1(bias, row, number, k, a, b, c, r, S, M, y, stride, i)
        elif terms == 0 and products == 2:
            if wide:
                short_02(bias, row, number, k, a, b, c, r, S, M, y, stride, i)
            else:
                short_02_1(bias, row, number, k, a, b, c, r, S, M, y, stride, i)
        elif terms == 1 and products == 2:
            if wide:
                short_12(bias, row, number, k, a, b, c, r, S, M, y, stride, i)
            else:
                short_12_1(bias, row, number, k, a, b, c, r, S, M, y, stride, i)
        elif wide:
            dot_tile(bias, row, number, k, k1, a, b, c, r, r1, S, M, y, stride, i)
        else:
            dot_vector(bias, row, number, k, k1, a, b, c, r, r1, S, M, y, stride, i)
        i += TILE * LANES if wide else LANES


@unfused_here
def ordered(bias, row, number, k, k1, a, b, c, r, r1, S, M, y, stride, n):
    """The same from left to right, with each product and each sum rounded, as the scalar code rounds them."""
    i = 0
    while i + TILE * LANES <= n:
        ordered_tile(bias, row, number, k, k1, a, b, c, r, r1, S, M, y, stride, i)
        i += TILE * LANES
    while i < n:
        ordered_vector(bias, row, number, k, k1, a, b, c, r, r1, S, M, y, stride, i)
        i += LANES


@unfused
def ordered_of_numbers(bias, row, number, k, k1, a, b, c, r, r1, S, M, y, count):
    """The same on rows of one number, as many as the instruction stands for."""
    for i in range(count):
        M[y + i] = bias
    for j in range(k, k1):
        w, x = S[number[j]], np.uint64(row[j])
        for i in range(count):
            M[y + i] += w * M[x + i]
    for j in range(r, r1):
        u, v = np.uint64(a[j]), np.uint64(b[j])
        step_u, step_v = steps_of(a, b, j, r1 - r)
        for i in range(count):
            M[y + i] += c[j] * (M[u + step_u * i] * M[v + step_v * i])


@unfused
def ordered_of_number(bias, row, number, k, k1, a, b, c, r, r1, S, M):
    """The same of one row."""
    s = bias
    for j in range(k, k1):
        s += S[number[j]] * M[row[j]]
    for j in range(r, r1):
        s += c[j] * (M[a[j]] * M[b[j]])
    return s


# The order of a short sum.  Numba gives the flags of a function to all that is written in it, so these have their own.


@unfused_here
def in_order_20(a, b, c, k, M):
    """c * M[a] + c * M[a], each product and the sum rounded."""
    return ordered_20(a, b, c, k, M)


@unfused_here
def in_order_11(a, b, c, k, M):
    """c * M[a] + c * (M[a] * M[b])"""
    return ordered_11(a, b, c, k, M)


@unfused_here
def in_order_30(a, b, c, k, M):
    """c * M[a] + c * M[a] + c * M[a], from left to right."""
    return ordered_30(a, b, c, k, M)


@unfused
def steps_of(a, b, j, products):
    """By how many rows the factors of a product go on: behind the products of a dot stand those of the next."""
    return np.uint64(a[j + products]) - np.uint64(a[j]), np.uint64(b[j + products]) - np.uint64(b[j])


@unfused
def once(row, number, k, k1, a, b, c, r, r1, S, M, y, stride, n):
    """M[y] = sum of S[number] * M[row] + sum of c * (M[a] * M[b]), rounded once.

    What each addition rounds off is added up apart (D. E. Knuth's TwoSum; T. Ogita, S. M. Rump, S. Oishi, 2005).  Where
    a sum on the way overflows, all of it is added up once more, 2**-64 times as large.
    """
    for scale in (1.0, 2.0**-64):
        finite = True
        for i in range(0, n, LANES):
            once_vector(scale, row, number, k, k1, a, b, c, r, r1, S, M, y, stride, i)
        for i in range(n):
            finite = finite and abs(M[y + i]) < np.inf
        if finite:
            return


@exact
def dots_of_numbers(bias, factor, row, number, k, k1, a, b, c, r, r1, S, M, y, count):
    """As many dots of rows of one number; behind the first terms stand those of the next."""
    for i in range(count):
        M[y + i] = bias
    for j in range(k, k1):
        w, x = S[number[j]], np.uint64(row[j])
        for i in range(count):
            M[y + i] += w * M[x + i]
    for j in range(r, r1):
        step_a, step_b = steps_of(a, b, j, r1 - r)
        add_products(c[j], M, y, np.uint64(a[j]), np.uint64(b[j]), step_a, step_b, count)
    if factor != 1.0:
        for i in range(count):
            M[y + i] *= factor


@exact
def add_products(c, M, y, a, b, step_a, step_b, count):
    """M[y] += c * (M[a] * M[b]), and so on; the steps are 1 or 0."""
    if step_a == 0:
        a, b, step_a, step_b = b, a, step_b, step_a
    if step_a == 0:
        x = c * (M[a] * M[b])
        for i in range(count):
            M[y + i] += x
    elif step_b == 0:
        x = M[b]
        for i in range(count):
            M[y + i] += c * (M[a + i] * x)
    else:
        for i in range(count):
            M[y + i] += c * (M[a + i] * M[b + i])


@exact
def products_of_numbers(c, M, y, a, b, stays, count):
    """M[y] = c * (M[a] * M[b]), and so on.  stays: 1 if a is the same for all, 2 if b is."""
    if stays == 1:
        a, b = b, a
    if stays != 0:
        x = M[b]
        for i in range(count):
            M[y + i] = c * (M[a + i] * x)
    else:
        for i in range(count):
            M[y + i] = c * (M[a + i] * M[b + i])


@exact
def quotients_of_numbers(M, y, a, b, stays, count):
    """M[y] = M[a] / M[b], and so on.  stays: 1 if a is the same for all, 2 if b is."""
    if stays == 0:
        for i in range(count):
            M[y + i] = M[a + i] / M[b + i]
    elif stays == 1:
        x = M[a]
        for i in range(count):
            M[y + i] = x / M[b + i]
    else:
        x = M[b]
        for i in range(count):
            M[y + i] = M[a + i] / x


@unfused
def once_number(k, k1, row, number, r, r1, a, b, c, S, M):
    """The same on rows of one number."""
    y = 0.0
    for scale in (1.0, 2.0**-64):
        s, low = 0.0, 0.0
        for j in range(k, k1):
            x = scale * (S[number[j]] * M[row[j]])
            t = s + x
            z = t - s
            low += (s - (t - z)) + (x - z)
            s = t
        for j in range(r, r1):
            x = scale * c[j] * (M[a[j]] * M[b[j]])  # scale * c is exact
            t = s + x
            z = t - s
            low += (s - (t - z)) + (x - z)
            s = t
        y = (s + low) / scale
        if abs(y) < np.inf:
            break
    return y


# --- Products of matrices ---------------------------------------------------------------------------------------------


@loops
def height(left):
    """How many rows of a matrix the next tile has, where so many are left."""
    if left >= TALL:
        return TALL
    return 2 if left >= 2 else 1


@loops
def pack(number, k, dots, terms, S, panel):
    """The numbers of dots in the order in which the tiles of `gemm` read them."""
    k_terms, at = k + dots, panel
    first = 0
    while first < dots:
        tall = height(dots - first)
        for q in range(tall):
            S[np.uint64(at + q)] = S[number[np.uint64(k + first + q)]]
            this, to = k_terms + (first + q) * terms, at + tall + q
            for j in range(terms):
                S[np.uint64(to + j * tall)] = S[number[np.uint64(this + j)]]
        at += tall * (1 + terms)
        first += tall


@loops_here
def gemm(row, y, dots, k, k1, S, panel, M, stride, n):
    """Dots of the rows row[k:k1] with packed numbers, into the rows row[y : y + dots]."""
    i = np.int64(0)
    while i < n:
        wide = i + (WIDE - 1) * REGISTER < n
        first, at = 0, panel
        while first < dots:
            tall = height(dots - first)
            gemm_tile(tall, wide, row, y + first, k, k1, S, at, M, stride, i)
            at += tall * (1 + k1 - k)
            first += tall
        i += WIDE * REGISTER if wide else REGISTER


@loops
def gemm_tile(tall, wide, row, y, k, k1, S, panel, M, stride, i):
    """One tile of gemm."""
    if wide:
        if tall == TALL:
            gemm_tall(row, y, k, k1, S, panel, M, stride, i)
        elif tall == 2:
            gemm_two(row, y, k, k1, S, panel, M, stride, i)
        else:
            gemm_one(row, y, k, k1, S, panel, M, stride, i)
    elif tall == TALL:
        gemm_tall_1(row, y, k, k1, S, panel, M, stride, i)
    elif tall == 2:
        gemm_two_1(row, y, k, k1, S, panel, M, stride, i)
    else:
        gemm_one_1(row, y, k, k1, S, panel, M, stride, i)


@loops
def outer(sign, a, b, r, terms, step, lefts, rights, M, work, T, t, stride, n):
    """The sums over the examples of each left row with each right row."""
    i = 0
    while i < lefts:
        tall = height(lefts - i)
        pack_rows(a, r + i, terms, step, tall, M, work, stride, n)
        j = 0
        while j < rights:
            wide = rights - j >= WIDE
            outer_tile(tall, wide, sign, work, b, r + j, terms, step, M, T, t + i + j * lefts, lefts, stride, n)
            j += WIDE if wide else 1
        i += tall


@loops
def pack_rows(a, r, terms, step, tall, M, work, stride, n):
    """Left rows in the order in which a tile of `outer` reads them, and zeros behind the last example."""
    y = work
    for term in range(r, r + terms * step, step):
        for q in range(tall):
            x = np.int64(a[np.uint64(term + q)]) * np.int64(stride)
            for i in range(0, n, REGISTER):
                copy(M, y + (i * tall + q * REGISTER), x + i, n - i)
        y += (n + REGISTER - 1) // REGISTER * REGISTER * tall


@loops
def outer_tile(tall, wide, sign, x, b, s, terms, step, M, T, t, down, stride, n):
    """One tile of outer."""
    if wide:
        if tall == TALL:
            outer_tall(sign, x, b, s, terms, step, M, T, t, down, stride, n)
        elif tall == 2:
            outer_two(sign, x, b, s, terms, step, M, T, t, down, stride, n)
        else:
            outer_one(sign, x, b, s, terms, step, M, T, t, down, stride, n)
    elif tall == TALL:
        outer_tall_1(sign, x, b, s, terms, step, M, T, t, down, stride, n)
    elif tall == 2:
        outer_two_1(sign, x, b, s, terms, step, M, T, t, down, stride, n)
    else:
        outer_one_1(sign, x, b, s, terms, step, M, T, t, down, stride, n)


@exact
def gemm_number(row, number, k, dots, terms, S, M):
    """`gemm` on rows of one number, which are not worth the packing."""
    for q in range(dots):
        s = S[number[k + q]]
        for j in range(k + dots, k + dots + terms):
            s += S[number[j + q * terms]] * M[row[j]]
        M[row[k + q]] = s


@exact
def outer_number(sign, a, b, r, r1, step, lefts, rights, M, T, t):
    """`outer` on rows of one number."""
    for term in range(r, r1, step):
        for j in range(rights):
            for i in range(lefts):
                T[t + i + j * lefts] += sign * M[a[term + i]] * M[b[term + j]]


@loops
def scale(c, M, y, n):
    """A row times a number."""
    for i in range(n):
        M[y + i] *= c


@loops
def product(c, M, y, a, b, n):
    """A number times the product of two rows."""
    for i in range(n):
        M[y + i] = c * (M[a + i] * M[b + i])


@exact
def power(x, c):
    """x**c for a constant c."""
    if c == -1.0:
        return 1.0 / x
    if c == 3.0:
        return x * x * x
    if c == -2.0:
        return (1.0 / x) * (1.0 / x)  # x * x may overflow where its reciprocal is still a number
    if c == 0.5:
        return math.sqrt(x)
    if c == -0.5:
        return 1.0 / math.sqrt(x)
    if c == -1.5:
        return 1.0 / x / math.sqrt(x)
    return x**c


@exact
def powers(M, y, x, c, n):
    """A row of constant powers; the common ones without the call."""
    if c == -1.0:
        for i in range(n):
            M[y + i] = 1.0 / M[x + i]
    elif c == -0.5:
        for i in range(n):
            M[y + i] = 1.0 / math.sqrt(M[x + i])
    else:
        for i in range(n):
            M[y + i] = power(M[x + i], c)


@exact
def waves(cosines, M, y, x, n):
    """A row of sines or cosines."""
    largest = 0.0
    for i in range(n):
        largest = max(largest, abs(M[x + i]))
    if not largest <= el.TRIG_LIMIT:  # far out: the library's
        for i in range(n):
            M[y + i] = math.cos(M[x + i]) if cosines else math.sin(M[x + i])
    elif cosines:
        for i in range(n):
            M[y + i] = el.cos(M[x + i])
    else:
        for i in range(n):
            M[y + i] = el.sin(M[x + i])


@exact
def logsumexp(rows, r, r1, M, y, work, seen, stride, n):
    """log(sum of exp(row)), shifted by the largest, which gives the 1 of log1p."""
    for i in range(n):
        M[y + i] = M[np.uint64(rows[r]) * stride + i]
        M[work + i] = 0.0
        M[seen + i] = 0.0
    for k in range(r + 1, r1):
        x = np.uint64(rows[k]) * stride
        for i in range(n):
            u, v = M[x + i], M[y + i]
            M[y + i] = u if u > v or u != u else v
    for k in range(r, r1):
        x = np.uint64(rows[k]) * stride
        for i in range(n):
            d, before = M[x + i] - M[y + i], M[seen + i]
            e = el.exp(d)
            first = (d == 0.0) & (before == 0.0)
            M[work + i] += 0.0 if first else e
            M[seen + i] = 1.0 if first else before
    for i in range(n):
        M[y + i] += el.log1p(M[work + i])


@loops
def logsumexp_of_numbers(rows, r, r1, M):
    """The same on rows of one number."""
    top, at = M[rows[r]], r
    for k in range(r + 1, r1):
        x = M[rows[k]]
        if x > top or x != x:
            top, at = x, k
    s = 0.0
    for k in range(r, r1):
        e = el.exp(M[rows[k]] - top)
        s += 0.0 if k == at else e
    return top + el.log1p(s)


@exact
def sine(x):
    """sin(x); far out the library's."""
    return el.sin(x) if abs(x) <= el.TRIG_LIMIT else math.sin(x)


@exact
def cosine(x):
    """cos(x); far out the library's."""
    return el.cos(x) if abs(x) <= el.TRIG_LIMIT else math.cos(x)


@exact
def value(op, x, x1, x2, c):
    """An operation on numbers."""
    if op == codes.RELU:
        return 0.0 if x <= 0.0 else x
    if op == codes.STEP:
        return (0.0 if x <= 0.0 else 1.0) if x == x else x
    if op == codes.TANH:
        return el.tanh(x)
    if op == codes.SECH:
        return el.sech(x)
    if op == codes.BELL:
        return el.bell(x)
    if op == codes.SIN:
        return sine(x)
    if op == codes.COS:
        return cosine(x)
    if op == codes.EXP:
        return el.exp(x)
    if op == codes.LOG:
        return el.log(x)
    if op == codes.DIV:
        return x / x1
    if op == codes.POWER:
        return power(x, c)
    if op == codes.SQRT:
        return math.sqrt(x)
    if op == codes.SIGMOID:
        return el.sigmoid(x)
    if op == codes.SOFTPLUS:
        return el.softplus(x)
    if op == codes.ABS:
        return abs(x)
    if op == codes.STOP_GRADIENT:
        return x
    if op == codes.LEAKY_RELU:
        return c * x if x <= 0.0 else x
    if op == codes.WHERE:
        return (x1 if x > 0.0 else x2) if x == x else x
    if op in OF_TWO:
        return value_of_two(op, x, x1)
    return angle(op, x) if op in ANGLES else seldom(op, x, c)


#: the operations of each of the next functions but the last
OF_TWO = (
    codes.MAXIMUM, codes.MINIMUM, codes.LESS, codes.LESS_EQUAL, codes.EQUAL,
    codes.POW, codes.MOD, codes.FLOORDIV, codes.HYPOT, codes.ATAN2,
)  # fmt: skip
ANGLES = (
    codes.TAN, codes.ASIN, codes.ACOS, codes.ATAN, codes.SEMICIRCLE,
    codes.SINH, codes.COSH, codes.ASINH, codes.ACOSH, codes.ATANH,
)  # fmt: skip


@exact
def value_of_two(op, x, x1):
    """An operation of two numbers."""
    if op == codes.MAXIMUM:
        return x if x >= x1 or x != x else x1
    if op == codes.MINIMUM:
        return x if x <= x1 or x != x else x1
    if op == codes.LESS:
        return 1.0 if x < x1 else 0.0
    if op == codes.LESS_EQUAL:
        return 1.0 if x <= x1 else 0.0
    if op == codes.EQUAL:
        return 1.0 if x == x1 else 0.0
    if op == codes.POW:
        return x**x1
    if op == codes.MOD:
        left = np.mod(x, x1)
        return left if left != 0.0 else math.copysign(0.0, x1)
    if op == codes.FLOORDIV:
        return x // x1  # np.floor_divide rounds the quotient first: 7 // 0.1 would be 70
    if op == codes.HYPOT:
        return math.hypot(x, x1)
    return math.atan2(x + 0.0, x1 + 0.0)


@exact
def angle(op, x):
    """A function of the circle or of the hyperbola, or its inverse."""
    if op == codes.TAN:
        return el.tan(x)
    if op == codes.ASIN:
        return el.asin(x)
    if op == codes.ACOS:
        return el.acos(x)
    if op == codes.ATAN:
        return el.atan(x)
    if op == codes.SEMICIRCLE:
        return el.semicircle(x)
    if op == codes.SINH:
        return el.sinh(x)
    if op == codes.COSH:
        return el.cosh(x)
    if op == codes.ASINH:
        return el.asinh(x)
    if op == codes.ACOSH:
        return el.acosh(x)
    return el.atanh(x)


@exact
def seldom(op, x, c):
    """One of the other operations."""
    if op == codes.ERF:
        return el.erf(x)
    if op == codes.ERFC:
        return el.erfc(x)
    if op == codes.ERFINV:
        return el.erfinv(x)
    if op == codes.NDTRI:
        return el.ndtri(x)
    if op == codes.GELU:
        return el.gelu(x)
    if op == codes.EXPONENTIAL:
        return c**x
    if op == codes.EXPM1:
        return el.expm1(x)
    if op == codes.LOG1P:
        return el.log1p(x)
    if op == codes.ELU:
        return c * el.expm1(x) if x <= 0.0 else x
    if op == codes.LOG2:
        return el.log2(x)
    if op == codes.LOG10:
        return el.log10(x)
    if op == codes.CBRT:
        return el.cbrt(x)
    if op == codes.SOFTSIGN:
        return el.softsign(x)
    if op == codes.SIGN:
        return np.sign(x)
    if op == codes.FLOOR:
        return np.floor(x)
    if op == codes.CEIL:
        return np.ceil(x)
    if op == codes.ROUND:
        return np.rint(x)
    return el.silu(x)


@exact
def elementwise(op, M, y, x, x1, x2, c, n):
    """M[y] = op(M[x], ...), example by example."""
    if op == codes.RELU:
        for i in range(n):
            u = M[x + i]
            M[y + i] = 0.0 if u <= 0.0 else u
    elif op == codes.STEP:
        for i in range(n):
            u = M[x + i]
            M[y + i] = (0.0 if u <= 0.0 else 1.0) if u == u else u
    elif op == codes.TANH:
        for i in range(n):
            M[y + i] = el.tanh(M[x + i])
    elif op == codes.SECH:
        for i in range(n):
            M[y + i] = el.sech(M[x + i])
    elif op == codes.BELL:
        for i in range(n):
            M[y + i] = el.bell(M[x + i])
    elif op == codes.TANH_AND_SECH:
        for i in range(n):
            M[y + i], M[x1 + i] = el.tanh_and_sech(M[x + i])
    elif op == codes.EXP:
        for i in range(n):
            M[y + i] = el.exp(M[x + i])
    elif op == codes.LOG:
        for i in range(n):
            M[y + i] = el.log(M[x + i])
    elif op == codes.DIV:
        for i in range(n):
            M[y + i] = M[x + i] / M[x1 + i]
    elif op == codes.POWER:
        powers(M, y, x, c, n)
    elif op == codes.SQRT:
        for i in range(n):
            M[y + i] = math.sqrt(M[x + i])
    elif op in (codes.SIN, codes.COS):
        waves(op == codes.COS, M, y, x, n)
    elif op == codes.SIGMOID:
        for i in range(n):
            M[y + i] = el.sigmoid(M[x + i])
    elif op == codes.SOFTPLUS:
        for i in range(n):
            M[y + i] = el.softplus(M[x + i])
    elif op == codes.WHERE:
        for i in range(n):
            u, yes, no = M[x + i], M[x1 + i], M[x2 + i]
            M[y + i] = (yes if u > 0.0 else no) if u == u else u
    elif op == codes.ABS:
        for i in range(n):
            M[y + i] = abs(M[x + i])
    else:  # seldom the bulk of a program
        for i in range(n):
            M[y + i] = value(op, M[x + i], M[x1 + i], M[x2 + i], c)


@exact_here
def several_of_numbers(code, constants, j, row, number, a, b, c, S, M):
    """Instruction j, which stands for several on rows of one number."""
    op, y, count = code[j, OP], np.uint64(code[j, DST]), np.uint64(code[j, COUNT])
    x, x1, x2 = np.uint64(code[j, A]), np.uint64(code[j, B]), np.uint64(code[j, C])
    if op == codes.DOT:
        dots_of_numbers(S[np.uint32(code[j, BIAS])], constants[j], row, number, code[j, A], code[j, B], a, b, c,
                        code[j, FIRST], code[j, LAST], S, M, y, count)  # fmt: skip
    elif op == codes.PRODUCT:
        products_of_numbers(constants[j], M, y, x, x1, code[j, C], count)
    elif op == codes.ORDERED:
        ordered_of_numbers(S[np.uint32(code[j, BIAS])], row, number, code[j, A], code[j, B], a, b, c,
                           code[j, FIRST], code[j, LAST], S, M, y, count)  # fmt: skip
        if constants[j] != 1.0:
            scale(constants[j], M, y, count)
    elif op == codes.DIV:
        quotients_of_numbers(M, y, x, x1, code[j, C], count)
    else:
        elementwise(op, M, y, x, x1, x2, constants[j], count)


@exact
def run_numbers(code, constants, first, last, row, number, a, b, c, S, M, T, packs):
    """The instructions from first to last on rows of one number, where a loop over the examples would be a waste.

    packs: whether there are longer rows, for which numbers are packed.

    Most of the time goes into finding out what comes next, so all that is frequent stands in one list of cases, which
    becomes one jump.
    """
    for j in range(first, last):
        if code[j, COUNT] > 1:
            several_of_numbers(code, constants, j, row, number, a, b, c, S, M)
            continue
        op, y = code[j, OP], np.uint64(code[j, DST])
        x, x1, k = np.uint64(code[j, A]), np.uint64(code[j, B]), np.int64(code[j, FIRST])
        if op == codes.TIMES:
            M[y] = M[x] * M[x1]
        elif op == codes.PLUS:
            M[y] = M[x] + M[x1]
        elif op == codes.SCALED:
            M[y] = constants[j] * M[x]
        elif op == codes.PRODUCT:
            M[y] = constants[j] * (M[x] * M[x1])
        elif op == codes.DIV:
            M[y] = M[x] / M[x1]
        elif op == codes.DOT_20:
            M[y] = dot_20(a, b, c, k, M)
        elif op == codes.DOT_11:
            M[y] = dot_11(a, b, c, k, M)
        elif op == codes.DOT_02:
            M[y] = dot_02(a, b, c, k, M)
        elif op == codes.DOT_30:
            M[y] = dot_30(a, b, c, k, M)
        elif op == codes.DOT_21:
            M[y] = dot_21(a, b, c, k, M)
        elif op == codes.DOT_12:
            M[y] = dot_12(a, b, c, k, M)
        elif op == codes.DOT_03:
            M[y] = dot_03(a, b, c, k, M)
        elif op == codes.ORDERED_20:
            M[y] = in_order_20(a, b, c, k, M)
        elif op == codes.ORDERED_11:
            M[y] = in_order_11(a, b, c, k, M)
        elif op == codes.ORDERED_30:
            M[y] = in_order_30(a, b, c, k, M)
        elif op == codes.DOT:
            s = S[np.uint32(code[j, BIAS])]
            for i in range(code[j, A], code[j, B]):
                s += S[number[i]] * M[row[i]]
            for i in range(code[j, FIRST], code[j, LAST]):
                s += c[i] * (M[a[i]] * M[b[i]])
            M[y] = s if constants[j] == 1.0 else constants[j] * s
        elif op == codes.ORDERED:
            s = ordered_of_number(S[np.uint32(code[j, BIAS])], row, number, code[j, A], code[j, B], a, b, c,
                                  code[j, FIRST], code[j, LAST], S, M)  # fmt: skip
            M[y] = constants[j] * s
        elif op == codes.ONCE:
            M[y] = once_number(code[j, A], code[j, B], row, number, code[j, FIRST], code[j, LAST], a, b, c, S, M)
        elif op == codes.EXP:
            M[y] = el.exp(M[x])
        elif op == codes.LOG:
            M[y] = el.log(M[x])
        elif op == codes.SIN:
            M[y] = sine(M[x])
        elif op == codes.COS:
            M[y] = cosine(M[x])
        elif op == codes.TANH:
            M[y] = el.tanh(M[x])
        elif op == codes.SQRT:
            M[y] = math.sqrt(M[x])
        elif op == codes.POWER:
            M[y] = power(M[x], constants[j])
        elif op == codes.LOGSUMEXP:
            M[y] = logsumexp_of_numbers(a, code[j, FIRST], code[j, LAST], M)
        elif op == codes.GEMM:
            dots = code[j, C]
            terms = (code[j, B] - code[j, A] - dots) // dots
            gemm_number(row, number, code[j, A], dots, terms, S, M)
        elif op == codes.PACK:
            if packs:
                dots = np.int64(code[j, C])
                terms = (code[j, B] - code[j, A] - dots) // dots
                pack(number, np.int64(code[j, A]), dots, terms, S, np.int64(y))
        elif op == codes.SUM:
            for i in range(code[j, FIRST], code[j, LAST]):
                T[y] += c[i] * M[a[i]] * M[b[i]]
        elif op == codes.OUTER:
            lefts, rights = code[j, A], code[j, B]
            outer_number(constants[j], a, b, code[j, FIRST], code[j, LAST], max(lefts, rights), lefts, rights, M, T,
                         np.int64(y))  # fmt: skip
        elif op == codes.TANH_AND_SECH:
            M[y], M[x1] = el.tanh_and_sech(M[x])
        else:
            M[y] = value(op, M[x], M[x1], M[np.uint64(code[j, C])], constants[j])


@loops
def run(code, constants, first, last, row, number, a, b, c, S, M, T, stride, n):
    """The instructions from first to last, for one block."""
    for j in range(first, last):
        op = code[j, OP]
        y = np.uint64(code[j, DST]) * stride
        # rows that follow each other are one row, with some numbers between the examples that nobody reads
        m = np.uint64(code[j, COUNT] - 1) * stride + n
        r, r1 = np.int64(code[j, FIRST]), np.int64(code[j, LAST])
        if op == codes.DOT:
            k, k1 = np.int64(code[j, A]), np.int64(code[j, B])
            dot(S[np.uint32(code[j, BIAS])], row, number, k, k1, a, b, c, r, r1, S, M, y, stride, m)
            if constants[j] != 1.0:
                scale(constants[j], M, y, m)
        elif op == codes.PRODUCT:
            product(constants[j], M, y, np.uint64(code[j, A]) * stride, np.uint64(code[j, B]) * stride, m)
        elif op == codes.ORDERED:
            k, k1 = np.int64(code[j, A]), np.int64(code[j, B])
            ordered(S[np.uint32(code[j, BIAS])], row, number, k, k1, a, b, c, r, r1, S, M, y, stride, m)
            if constants[j] != 1.0:
                scale(constants[j], M, y, m)
        elif op == codes.GEMM:
            k, dots = np.int64(code[j, A]), np.int64(code[j, C])
            terms = (np.int64(code[j, B]) - k - dots) // dots
            gemm(row, k, dots, k + dots, k + dots + terms, S, np.int64(code[j, DST]), M, stride, np.int64(n))
        elif op == codes.OUTER:
            lefts, rights = np.int64(code[j, A]), np.int64(code[j, B])
            step = max(lefts, rights)
            work, t = np.int64(code[j, C]) * np.int64(stride), np.int64(code[j, DST])
            terms = (r1 - r) // step
            outer(constants[j], a, b, r, terms, step, lefts, rights, M, work, T, t, stride, np.int64(n))
        elif op == codes.SUM:
            sum1(a, b, c, r, r1, M, T, np.int64(code[j, DST]), stride, n)
        else:
            x, x1, x2 = (np.uint64(code[j, A]) * stride, np.uint64(code[j, B]) * stride, np.uint64(code[j, C]) * stride)
            if op == codes.LOGSUMEXP:
                logsumexp(a, r, r1, M, y, x, x1, stride, n)
            elif op == codes.ONCE:
                k, k1 = np.int64(code[j, A]), np.int64(code[j, B])
                once(row, number, k, k1, a, b, c, r, r1, S, M, y, stride, n)
            else:
                elementwise(op, M, y, x, x1, x2, constants[j], m)


@loops
def load(X, start, n, M, stride):
    """The inputs of one block and, below them, the share of each example in the mean."""
    N, inputs = X.shape
    whole, columns = n - n % REGISTER, inputs - inputs % REGISTER
    for i in range(0, whole, REGISTER):
        for j in range(0, columns, REGISTER):
            turn(X, (start + i) * inputs + j, inputs, M, j * stride + i, stride)
    for j in range(inputs):
        for i in range(whole if j < columns else 0, n):
            M[j * stride + i] = X[start + i, j]
    for i in range(n):
        M[inputs * stride + i] = 1.0 / N


@loops
def blocks(at, first_stage, last_stage, thread, threads, code, constants, row, number, a, b, c, X, S, M, T, width,
           per_chunk, keep, out, output_row, output_c):  # fmt: skip
    """Every threads-th chunk of blocks.  Each chunk has its own line of T, so the sums do not depend on ``threads``."""
    N = X.shape[0]
    count = (N + width - 1) // width
    stride = np.uint64(width)
    for chunk in range(thread, T.shape[0], threads):
        sums = T[chunk]
        for q in range(at[SUMS], at[SUMS_END]):
            sums[q] = 0.0
        for block in range(chunk * per_chunk, min(count, (chunk + 1) * per_chunk)):
            values = M[block if keep else thread]
            n = min(width, N - block * width)
            if first_stage:
                load(X, block * width, n, values, width)
            run(code, constants, at[MAPPED], at[END], row, number, a, b, c, S, values, sums, stride, np.uint64(n))
            if last_stage:
                for k in range(out.shape[0]):
                    for i in range(n):
                        out[k, block * width + i] = output_c[k] * values[output_row[k] * width + i]


@loops
def one_example(at, first_stage, last_stage, code, constants, row, number, a, b, c, X, S, values, sums, packs, out,
                output_row, output_c):  # fmt: skip
    """The same for one example, whose rows are numbers."""
    for q in range(at[SUMS], at[SUMS_END]):
        sums[q] = 0.0
    if first_stage:
        for j in range(X.shape[1]):
            values[j] = X[0, j]
        values[X.shape[1]] = 1.0
    run_numbers(code, constants, at[MAPPED], at[END], row, number, a, b, c, S, values, sums, packs)
    if last_stage:
        for k in range(out.shape[0]):
            out[k, 0] = output_c[k] * values[output_row[k]]


@exact
def after(at, destination, T, S):
    """Add the lines of T up, in their order."""
    for chunk in range(1, T.shape[0]):
        for q in range(at[SUMS], at[SUMS_END]):
            T[0, q] += T[chunk, q]
    for q in range(at[SUMS], at[SUMS_END]):
        S[np.uint32(destination[q])] = T[0, q]


#: what `step` does: a whole call on one thread; or of one stage what is the same for all examples, the blocks of one of
#: several threads, and what follows them
WHOLE, BEFORE, BLOCKS, AFTER = range(4)


@kept(**LOOPS)
def step(table, theta, mapped_out, out):
    """One call, or a part of one: all stages, then the outputs.  table: see `addresses`; behind the arrays stand

    the width of a block, the blocks of a chunk, whether the blocks are kept, the part, its stage, its thread, of how
    many threads.
    """
    stages, code, constants = lines(table, 0, np.int64), lines(table, 1, np.int32), line(table, 2, np.float64)
    row, number = line(table, 3, np.uint32), line(table, 4, np.uint32)
    a, b, c = line(table, 5, np.uint32), line(table, 6, np.uint32), line(table, 7, np.float64)
    destination, output_row, output_c = line(table, 8, np.int32), line(table, 9, np.int32), line(table, 10, np.float64)
    X, S, M, T = (lines(table, 11, np.float64), line(table, 12, np.float64), lines(table, 13, np.float64),
                  lines(table, 14, np.float64))  # fmt: skip
    width, per_chunk, keep = table[-7], table[-6], table[-5] != 0
    what, first, thread, threads = table[-4], table[-3], table[-2], table[-1]
    stop = first + 1
    if what == WHOLE:
        stop = stages.shape[0]
        for i in range(theta.shape[0]):
            S[PARAMETERS + i] = theta[i]
    for stage in range(first, stop):
        at, first_stage, last_stage = stages[stage], stage == 0, stage == stages.shape[0] - 1
        if what in (WHOLE, BEFORE):
            run_numbers(code, constants, at[UNMAPPED], at[MAPPED], row, number, a, b, c, S, S, T[0], width > 1)
        if what in (WHOLE, BLOCKS):
            if width > 1:
                blocks(at, first_stage, last_stage, thread, threads, code, constants, row, number, a, b, c, X, S, M, T,
                       width, per_chunk, keep, mapped_out, output_row, output_c)  # fmt: skip
            else:
                one_example(at, first_stage, last_stage, code, constants, row, number, a, b, c, X, S, M[0], T[0],
                            width > 1, mapped_out, output_row, output_c)  # fmt: skip
        if what in (WHOLE, AFTER):
            after(at, destination, T, S)
    if what != WHOLE:
        return 0.0
    for k in range(out.shape[0]):
        out[k] = output_c[k] * S[np.uint32(output_row[k])]
    checksum = 0.0
    for k in range(out.shape[0]):
        checksum += out[k]
    return checksum
