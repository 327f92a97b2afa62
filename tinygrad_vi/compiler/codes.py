"""The instructions of the kernel: their numbers, and what stands where in its tables and stores."""

#: dots, alone or four of the same rows; sums of products over the batch, alone or eight of two rows with four; the sum
#: of a row
DOT, DOT4, SUM, SUM8, TOTAL = range(5)

# Maps: one operation on each number.  An instruction has the name of its row in the table of operations (see `known`).
(DIV, POWER, EXPONENTIAL, POW, EXP, EXPM1, LOG, LOG1P, SQRT, SIN, COS, TAN, ASIN, ACOS, ATAN, SEMICIRCLE, SINH, COSH,
 TANH, SECH, BELL, ERF, ERFC, SIGMOID, SOFTPLUS, SILU, GELU, STEP, RELU, ABS, LEAKY_RELU, ELU, MAXIMUM, MINIMUM,
 WHERE, LOGSUMEXP, STOP_GRADIENT, LESS, LESS_EQUAL, EQUAL, MOD, FLOORDIV, LOG2, LOG10, CBRT, HYPOT, ATAN2, ASINH,
 ACOSH, ATANH, SOFTSIGN, SIGN, FLOOR, CEIL, ROUND, ERFINV, NDTRI) = range(TOTAL + 1, TOTAL + 58)  # fmt: skip

#: tanh and sech of one row at once; the second destination is in B
TANH_AND_SECH = NDTRI + 1
#: a dot that is added up from left to right and rounded at each step; a sum of products that is rounded once, at the
#: end, with a row to work in in C; a constant times the product of two rows, A and B, which many dots are
ORDERED, ONCE, PRODUCT = range(TANH_AND_SECH + 1, TANH_AND_SECH + 4)

#: columns of the code table.  A map has its operands in A, B, C.  A dot has its linear terms from A to B, its products
#: from FIRST to LAST, and adds the number S[BIAS].  Four dots have, from A to B, four pairs (destination, bias) and
#: then for each term four pairs (row, number), in which the row is the same
OP, DST, A, B, C, FIRST, LAST, BIAS = range(8)

#: columns of the stage table: where the code of the unmapped nodes begins, that of the mapped ones, and where it ends;
#: from where to where the sums go
UNMAPPED, MAPPED, END, SUMS, SUMS_END = range(5)
#: S begins with 0, 1 and the parameters
ZERO, UNIT, PARAMETERS = range(3)
