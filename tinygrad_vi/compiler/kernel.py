# mypy: disable-error-code="misc,no-untyped-def,untyped-decorator,no-untyped-call"
"""The one kernel that runs every compiled program: plain loops over the tables of `tables`.

Rows are numbered by unsigned integers: they cannot be negative, so no instruction is spent on asking.

Nothing is generated for a program, so there is nothing to compile for it: Numba compiles this file once on a machine
and keeps the result.  With NUMBA_DISABLE_JIT=1 the same text runs as Python and can be stepped through.

A row of M holds the values of one node for a block of n examples, ``stride`` numbers after the row before; loops over
the examples are innermost and contiguous, so that they become vector instructions.  What is the same for all examples
is run by the same loops, as rows of one number: stride 1, one example.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from tinygrad_vi.compiler import elementary as el
from tinygrad_vi.compiler.tables import (
    BIAS,
    CODES,
    DOT,
    DST,
    END,
    FIRST,
    LAST,
    MAPPED,
    NUMBER,
    OP,
    SUM,
    SUM4,
    SUMS,
    SUMS_END,
    TOTAL,
    UNMAPPED,
    WEIGHTS,
    WEIGHTS_END,
    A,
    B,
    C,
)  # fmt: skip

# sums may be added up in another order, eight terms or four examples at a time
loops = njit(fastmath={"reassoc", "contract", "nsz"}, error_model="numpy", cache=True, nogil=True)
# here the order is the point
exact = njit(fastmath={"contract"}, error_model="numpy", cache=True, nogil=True)

(POWER, EXPONENTIAL, POW, EXP, EXPM1, LOG, LOG1P, SQRT, SIN, COS, TAN, ASIN, ACOS, ATAN, SEMICIRCLE, SINH, COSH, TANH,
 SECH, ERF, ERFC, SIGMOID, SOFTPLUS, SILU, GELU, STEP, RELU, ABS, LEAKY_RELU, ELU, MAXIMUM, MINIMUM, WHERE,
 LOGSUMEXP) = CODES.values()  # fmt: skip


@loops
def dot(bias, row, weight, k, k1, a, b, c, r, r1, M, y, stride, n):
    """M[y] = bias + sum of weight * row + sum of c * a * b, eight linear terms or four products in one pass."""
    if k1 - k >= 8:
        k = linear8(bias, row, weight, k, M, y, stride, n)
    elif k1 - k >= 4:
        x0, x1, x2, x3 = row[k] * stride, row[k + 1] * stride, row[k + 2] * stride, row[k + 3] * stride
        w0, w1, w2, w3 = weight[k], weight[k + 1], weight[k + 2], weight[k + 3]
        for i in range(n):
            M[y + i] = bias + w0 * M[x0 + i] + w1 * M[x1 + i] + w2 * M[x2 + i] + w3 * M[x3 + i]
        k += 4
    elif k1 > k:
        x0, w0 = row[k] * stride, weight[k]
        for i in range(n):
            M[y + i] = bias + w0 * M[x0 + i]
        k += 1
    elif r1 > r:
        x0, x1, w0 = a[r] * stride, b[r] * stride, c[r]
        for i in range(n):
            M[y + i] = bias + w0 * M[x0 + i] * M[x1 + i]
        r += 1
    else:
        for i in range(n):
            M[y + i] = bias
    while k1 - k >= 8:
        k = more_linear8(row, weight, k, M, y, stride, n)
    while k1 - k >= 2:
        x0, x1, w0, w1 = row[k] * stride, row[k + 1] * stride, weight[k], weight[k + 1]
        for i in range(n):
            M[y + i] += w0 * M[x0 + i] + w1 * M[x1 + i]
        k += 2
    if k < k1:
        x0, w0 = row[k] * stride, weight[k]
        for i in range(n):
            M[y + i] += w0 * M[x0 + i]
    while r1 - r >= 4:
        x0, x1, x2, x3 = a[r] * stride, a[r + 1] * stride, a[r + 2] * stride, a[r + 3] * stride
        z0, z1, z2, z3 = b[r] * stride, b[r + 1] * stride, b[r + 2] * stride, b[r + 3] * stride
        w0, w1, w2, w3 = c[r], c[r + 1], c[r + 2], c[r + 3]
        for i in range(n):
            M[y + i] += (w0 * M[x0 + i] * M[z0 + i] + w1 * M[x1 + i] * M[z1 + i]
                         + w2 * M[x2 + i] * M[z2 + i] + w3 * M[x3 + i] * M[z3 + i])  # fmt: skip
        r += 4
    while r < r1:
        x0, z0, w0 = a[r] * stride, b[r] * stride, c[r]
        for i in range(n):
            M[y + i] += w0 * M[x0 + i] * M[z0 + i]
        r += 1


@loops
def linear8(bias, row, weight, k, M, y, stride, n):
    """The first eight linear terms of a dot."""
    x0, x1, x2, x3 = row[k] * stride, row[k + 1] * stride, row[k + 2] * stride, row[k + 3] * stride
    x4, x5, x6, x7 = row[k + 4] * stride, row[k + 5] * stride, row[k + 6] * stride, row[k + 7] * stride
    w0, w1, w2, w3 = weight[k], weight[k + 1], weight[k + 2], weight[k + 3]
    w4, w5, w6, w7 = weight[k + 4], weight[k + 5], weight[k + 6], weight[k + 7]
    for i in range(n):
        M[y + i] = (bias + w0 * M[x0 + i] + w1 * M[x1 + i] + w2 * M[x2 + i] + w3 * M[x3 + i]
                    + w4 * M[x4 + i] + w5 * M[x5 + i] + w6 * M[x6 + i] + w7 * M[x7 + i])  # fmt: skip
    return k + 8


@loops
def more_linear8(row, weight, k, M, y, stride, n):
    """The next eight."""
    x0, x1, x2, x3 = row[k] * stride, row[k + 1] * stride, row[k + 2] * stride, row[k + 3] * stride
    x4, x5, x6, x7 = row[k + 4] * stride, row[k + 5] * stride, row[k + 6] * stride, row[k + 7] * stride
    w0, w1, w2, w3 = weight[k], weight[k + 1], weight[k + 2], weight[k + 3]
    w4, w5, w6, w7 = weight[k + 4], weight[k + 5], weight[k + 6], weight[k + 7]
    for i in range(n):
        M[y + i] += (w0 * M[x0 + i] + w1 * M[x1 + i] + w2 * M[x2 + i] + w3 * M[x3 + i]
                     + w4 * M[x4 + i] + w5 * M[x5 + i] + w6 * M[x6 + i] + w7 * M[x7 + i])  # fmt: skip
    return k + 8


@loops
def sum4(a, b, c, r, r1, M, T, t, stride, n):
    """Four sums over the examples, of products that share their left rows."""
    s0, s1, s2, s3 = 0.0, 0.0, 0.0, 0.0
    while r < r1:
        x, z0, z1, z2, z3 = a[r] * stride, b[r] * stride, b[r + 1] * stride, b[r + 2] * stride, b[r + 3] * stride
        t0, t1, t2, t3 = 0.0, 0.0, 0.0, 0.0
        for i in range(n):
            u = M[x + i]
            t0 += u * M[z0 + i]
            t1 += u * M[z1 + i]
            t2 += u * M[z2 + i]
            t3 += u * M[z3 + i]
        w = c[r]
        s0 += w * t0
        s1 += w * t1
        s2 += w * t2
        s3 += w * t3
        r += 4
    T[t] += s0
    T[t + 1] += s1
    T[t + 2] += s2
    T[t + 3] += s3


@loops
def sum1(a, b, c, r, r1, M, T, t, stride, n):
    """One sum over the examples."""
    s = 0.0
    while r < r1:
        x, z, t0 = a[r] * stride, b[r] * stride, 0.0
        for i in range(n):
            t0 += M[x + i] * M[z + i]
        s += c[r] * t0
        r += 1
    T[t] += s


@loops
def total(M, x, n):
    """The sum of a row."""
    s = 0.0
    for i in range(n):
        s += M[x + i]
    return s


@exact
def power(x, c):
    """x**c for a constant c."""
    if c == -1.0:
        return 1.0 / x
    if c == 3.0:
        return x * x * x
    if c == -2.0:
        return 1.0 / (x * x)
    if c == 0.5:
        return math.sqrt(x)
    if c == -0.5:
        return 1.0 / math.sqrt(x)
    if c == -1.5:
        return 1.0 / (x * math.sqrt(x))
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
def waves(cosine, M, y, x, n):
    """A row of sines or cosines."""
    largest = 0.0
    for i in range(n):
        largest = max(largest, abs(M[x + i]))
    if not largest <= el.TRIG_LIMIT:  # far out: the library's
        for i in range(n):
            M[y + i] = math.cos(M[x + i]) if cosine else math.sin(M[x + i])
    elif cosine:
        for i in range(n):
            M[y + i] = el.cos(M[x + i])
    else:
        for i in range(n):
            M[y + i] = el.sin(M[x + i])


@exact
def logsumexp(rows, r, r1, M, y, work, seen, stride, n):
    """log(sum of exp(row)), shifted by the largest, which gives the 1 of log1p."""
    for i in range(n):
        M[y + i] = M[rows[r] * stride + i]
        M[work + i] = 0.0
        M[seen + i] = 0.0
    for k in range(r + 1, r1):
        x = rows[k] * stride
        for i in range(n):
            u, v = M[x + i], M[y + i]
            M[y + i] = u if u > v or u != u else v
    for k in range(r, r1):
        x = rows[k] * stride
        for i in range(n):
            d = M[x + i] - M[y + i]
            first = d == 0.0 and M[seen + i] == 0.0
            M[work + i] += 0.0 if first else el.exp(d)
            M[seen + i] = 1.0 if first else M[seen + i]
    for i in range(n):
        M[y + i] += el.log1p(M[work + i])


@exact
def rare(op, x, c):
    """Operations that are seldom the bulk of a program: number by number."""
    if op == TAN:
        return math.tan(x)
    if op == ASIN:
        return math.asin(x) if abs(x) <= 1.0 else np.nan
    if op == ACOS:
        return math.acos(x) if abs(x) <= 1.0 else np.nan
    if op == ATAN:
        return math.atan(x)
    if op == SEMICIRCLE:
        return math.sqrt((1.0 - x) * (1.0 + x))
    if op == SINH:
        return el.sinh(x)
    if op == COSH:
        return el.cosh(x)
    if op == ERF:
        return math.erf(x)
    if op == ERFC:
        return math.erfc(x)
    if op == GELU:
        return el.gelu(x)
    if op == EXPONENTIAL:
        return c**x
    if op == EXPM1:
        return el.expm1(x)
    if op == LOG1P:
        return el.log1p(x)
    if op == ELU:
        return c * el.expm1(x) if x <= 0.0 else x
    return el.silu(x)


@exact
def elementwise(op, M, y, x, x1, x2, c, n):
    """M[y] = op(M[x], ...), example by example."""
    if op == RELU:
        for i in range(n):
            u = M[x + i]
            M[y + i] = 0.0 if u <= 0.0 else u
    elif op == STEP:
        for i in range(n):
            u = M[x + i]
            M[y + i] = (0.0 if u <= 0.0 else 1.0) if u == u else u
    elif op == TANH:
        for i in range(n):
            M[y + i] = el.tanh(M[x + i])
    elif op == SECH:
        for i in range(n):
            M[y + i] = el.sech(M[x + i])
    elif op == EXP:
        for i in range(n):
            M[y + i] = el.exp(M[x + i])
    elif op == LOG:
        for i in range(n):
            M[y + i] = el.log(M[x + i])
    elif op == POWER:
        powers(M, y, x, c, n)
    elif op == SQRT:
        for i in range(n):
            M[y + i] = math.sqrt(M[x + i])
    elif op in (SIN, COS):
        waves(op == COS, M, y, x, n)
    elif op == SIGMOID:
        for i in range(n):
            M[y + i] = el.sigmoid(M[x + i])
    elif op == SOFTPLUS:
        for i in range(n):
            M[y + i] = el.softplus(M[x + i])
    elif op == ABS:
        for i in range(n):
            M[y + i] = abs(M[x + i])
    elif op == LEAKY_RELU:
        for i in range(n):
            u = M[x + i]
            M[y + i] = c * u if u <= 0.0 else u
    elif op == MAXIMUM:
        for i in range(n):
            u, v = M[x + i], M[x1 + i]
            M[y + i] = u if u >= v or u != u else v
    elif op == MINIMUM:
        for i in range(n):
            u, v = M[x + i], M[x1 + i]
            M[y + i] = u if u <= v or u != u else v
    elif op == WHERE:
        for i in range(n):
            M[y + i] = M[x1 + i] if M[x + i] > 0.0 else M[x2 + i]
    elif op == POW:
        for i in range(n):
            M[y + i] = M[x + i] ** M[x1 + i]
    else:
        for i in range(n):
            M[y + i] = rare(op, M[x + i], c)


@loops
def run(code, constants, first, last, row, weight, a, b, c, M, T, stride, n):
    """The instructions from first to last, for one block."""
    for j in range(first, last):
        op = code[j, OP]
        y = np.uint64(code[j, DST]) * stride
        r, r1 = code[j, FIRST], code[j, LAST]
        if op == NUMBER:
            s = 0.0
            for k in range(r, r1):
                s += c[k] * M[a[k]] * M[b[k]]
            M[y] = s
        elif op == DOT:
            dot(weight[code[j, BIAS]], row, weight, code[j, A], code[j, B], a, b, c, r, r1, M, y, stride, n)
        elif op == SUM4:
            sum4(a, b, c, r, r1, M, T, code[j, DST], stride, n)
        elif op == SUM:
            sum1(a, b, c, r, r1, M, T, code[j, DST], stride, n)
        elif op == TOTAL:
            T[code[j, DST]] += total(M, np.uint64(code[j, A]) * stride, n)
        else:
            x, x1, x2 = (np.uint64(code[j, A]) * stride, np.uint64(code[j, B]) * stride, np.uint64(code[j, C]) * stride)
            if op == LOGSUMEXP:
                logsumexp(a, r, r1, M, y, x, x1, stride, n)
            else:
                elementwise(op, M, y, x, x1, x2, constants[j], n)


@loops
def load(X, start, n, M, stride):
    """The inputs of one block and, below them, the share of each example in the mean."""
    inputs, N = X.shape
    for j in range(inputs):
        for i in range(n):
            M[j * stride + i] = X[j, start + i]
    for i in range(n):
        M[inputs * stride + i] = 1.0 / N


@loops
def before(stage, stages, code, constants, row, source, linear_c, weight, a, b, c, S, T):
    """What is the same for all examples, and the weights made from it."""
    at = stages[stage]
    run(code, constants, at[UNMAPPED], at[MAPPED], row, weight, a, b, c, S, T, np.uint64(1), np.uint64(1))
    for k in range(at[WEIGHTS], at[WEIGHTS_END]):
        weight[k] = linear_c[k] * S[source[k]]


@loops
def blocks(stage, thread, threads, stages, code, constants, row, weight, a, b, c, X, M, T, width, per_chunk, keep, out,
           output_row, output_c):  # fmt: skip
    """Every threads-th chunk of blocks.  Each chunk has its own line of T, so the sums do not depend on ``threads``."""
    N = X.shape[1]
    count = (N + width - 1) // width
    stride = np.uint64(width)
    at = stages[stage]
    for chunk in range(thread, T.shape[0], threads):
        sums = T[chunk]
        for q in range(at[SUMS], at[SUMS_END]):
            sums[q] = 0.0
        for block in range(chunk * per_chunk, min(count, (chunk + 1) * per_chunk)):
            values = M[block if keep else thread]
            n = min(width, N - block * width)
            if stage == 0:
                load(X, block * width, n, values, width)
            run(code, constants, at[MAPPED], at[END], row, weight, a, b, c, values, sums, stride, np.uint64(n))
            if stage == stages.shape[0] - 1:
                for k in range(out.shape[0]):
                    for i in range(n):
                        out[k, block * width + i] = output_c[k] * values[output_row[k] * width + i]


@loops
def after(stage, stages, destination, T, S):
    """Add the lines of T up, in their order."""
    at = stages[stage]
    for q in range(at[SUMS], at[SUMS_END]):
        s = T[0, q]
        for chunk in range(1, T.shape[0]):
            s += T[chunk, q]
        S[destination[q]] = s


@loops
def step(stages, code, constants, row, source, linear_c, a, b, c, destination, output_row, output_c, theta, X, S,
         weight, M, T, width, per_chunk, keep, mapped_out, out):  # fmt: skip
    """One call, on one thread: all stages, then the outputs."""
    for i in range(theta.shape[0]):
        S[1 + i] = theta[i]
    for stage in range(stages.shape[0]):
        before(stage, stages, code, constants, row, source, linear_c, weight, a, b, c, S, T[0])
        blocks(stage, 0, 1, stages, code, constants, row, weight, a, b, c, X, M, T, width, per_chunk, keep, mapped_out,
               output_row, output_c)  # fmt: skip
        after(stage, stages, destination, T, S)
    checksum = 0.0
    for k in range(out.shape[0]):
        out[k] = output_c[k] * S[output_row[k]]
        checksum += out[k]
    return checksum
