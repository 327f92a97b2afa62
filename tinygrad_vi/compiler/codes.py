"""The instructions of the kernel: their numbers, and what stands where in its tables and stores."""

#: dots, alone or some of the same rows, and their numbers laid out side by side; sums of products over the batch, alone
#: or of each of some left rows with each of some right rows
DOT, GEMM, PACK, SUM, OUTER = range(5)

# Maps: one operation on each number.  An instruction has the name of its row in the table of operations (see `known`).
(DIV, POWER, EXPONENTIAL, POW, EXP, EXPM1, LOG, LOG1P, SQRT, SIN, COS, TAN, ASIN, ACOS, ATAN, SEMICIRCLE, SINH, COSH,
 TANH, SECH, BELL, ERF, ERFC, SIGMOID, SOFTPLUS, SILU, GELU, STEP, RELU, ABS, LEAKY_RELU, ELU, MAXIMUM, MINIMUM,
 WHERE, LOGSUMEXP, STOP_GRADIENT, LESS, LESS_EQUAL, EQUAL, MOD, FLOORDIV, LOG2, LOG10, CBRT, HYPOT, ATAN2, ASINH,
 ACOSH, ATANH, SOFTSIGN, SIGN, FLOOR, CEIL, ROUND, ERFINV, NDTRI) = range(OUTER + 1, OUTER + 58)  # fmt: skip

#: tanh and sech of one row at once; the second destination is in B
TANH_AND_SECH = NDTRI + 1
#: a dot that is added up from left to right and rounded at each step; a sum of products that is rounded once, at the
#: end; a constant times the product of two rows, A and B, which many dots are
ORDERED, ONCE, PRODUCT = range(TANH_AND_SECH + 1, TANH_AND_SECH + 4)

#: On numbers that are the same for all examples, in forms of their own: A + B, A * B, constant * A; and dots of two or
#: three terms by how many of them are c * a, which come first, and how many c * (a * b)
PLUS, TIMES, SCALED = range(PRODUCT + 1, PRODUCT + 4)
(DOT_20, DOT_11, DOT_02, DOT_30, DOT_21, DOT_12, DOT_03, ORDERED_20, ORDERED_11,
 ORDERED_30) = range(SCALED + 1, SCALED + 11)  # fmt: skip
SHORT = {
    (DOT, 2, 0): DOT_20, (DOT, 1, 1): DOT_11, (DOT, 0, 2): DOT_02,
    (DOT, 3, 0): DOT_30, (DOT, 2, 1): DOT_21, (DOT, 1, 2): DOT_12, (DOT, 0, 3): DOT_03,
    (ORDERED, 2, 0): ORDERED_20, (ORDERED, 1, 1): ORDERED_11, (ORDERED, 3, 0): ORDERED_30,
}  # fmt: skip

#: columns of the code table.  A map has its operands in A, B, C.  A dot has its linear terms from A to B, its products
#: from FIRST to LAST, and adds the number S[BIAS].
#: GEMM and PACK: C dots.  From A to B - 1 stand a pair (destination, bias) for each dot, then (row, number) for each
#: term of the first dot, the second, ...; the rows are the same.  PACK copies the numbers to S[DST:], for GEMM to read.
#: OUTER: A left rows and B right rows, whose sums go to T[DST:], those of the first right row first.  From FIRST to
#: LAST stand the pairs (left, right) of each term, as many as the longer side has; the constant is 1 or -1; C is the
#: first of the rows to work in
#: COUNT: an instruction stands for so many, of which each takes the next rows and gives the next row.  On numbers that
#: are the same for all examples, an operand may also be the same for all of them: the products of a dot are followed by
#: those of the next one, which tell; a constant times a product and a quotient have in C 1 if A stays, plus 2 if B does
OP, DST, A, B, C, FIRST, LAST, BIAS, COUNT = range(9)

#: the instructions that may stand for several, and how many columns from A on hold their rows
SEVERAL = {
    DOT: 0, ORDERED: 0, PRODUCT: 2, TANH_AND_SECH: 2, WHERE: 3, DIV: 2,
    **dict.fromkeys([RELU, STEP, TANH, SECH, BELL, EXP, LOG, POWER, SQRT, SIGMOID, SOFTPLUS, ABS], 1),
}  # fmt: skip

#: columns of the stage table: where the code of the unmapped nodes begins, that of the mapped ones, and where it ends;
#: from where to where the sums go
UNMAPPED, MAPPED, END, SUMS, SUMS_END = range(5)
#: S begins with 0, 1 and the parameters
ZERO, UNIT, PARAMETERS = range(3)
