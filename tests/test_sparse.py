"""Sparse Jacobians and Hessians: the pattern is that of the program, and the numbers are those of formulas."""

import math
import sys

import numpy as np
import pytest

from tinygrad_vi import (
    DomainError,
    Value,
    calls,
    compile,
    exp,
    floor,
    grad,
    hessian,
    jacobian,
    log,
    losses,
    maximum,
    nn,
    sin,
    sqrt,
    stop_gradient,
    take,
    tanh,
    total,
    where,
)
from tinygrad_vi.compiler import entries, matrices
from tinygrad_vi.sparsity import bidirectional, column_colours, lower, pattern, read_symmetric, star_colours

sparse = pytest.importorskip("scipy.sparse")

BOTH = pytest.mark.parametrize("backend", ["native", "numpy"])
pytest.importorskip("numba")


@pytest.fixture
def sweeps(monkeypatch):
    """Everything is taken for a program whose results share what they are made of, and batches are cut small."""
    monkeypatch.setattr(entries, "TIMES", 0)
    monkeypatch.setattr(entries, "FREE", 0)
    monkeypatch.setattr(matrices, "AT_ONCE", 7)
    monkeypatch.setattr(calls, "FEW_SWEEPS", 0)


def random_pattern(rng, m, n):
    """Rows of few entries, and sometimes dense rows, dense columns, empty ones, an arrow, a band."""
    A = rng.random((m, n)) < rng.choice([0.02, 0.1, 0.3])
    kind = rng.integers(6)
    if kind == 1:
        A[rng.integers(m)] = True
    elif kind == 2:
        A[:, rng.integers(n)] = True
    elif kind == 3:
        A |= np.eye(m, n, dtype=bool)
        A[0], A[:, 0] = True, True
    elif kind == 4:
        A |= np.abs(np.subtract.outer(np.arange(m), np.arange(n))) < 3
    elif kind == 5:
        A[:] = True
    return A


def rows_of(A):
    return [np.flatnonzero(row).tolist() for row in A]


# --- The pattern and the colours --------------------------------------------------------------------------------------


def test_the_entries_read_off_few_products_are_those_of_the_matrix():
    rng = np.random.default_rng(0)
    for _ in range(200):
        m, n = rng.integers(1, 12, size=2)
        A = random_pattern(rng, m, n)
        J = np.where(A, rng.normal(size=(m, n)), 0.0)
        colours = column_colours(rows_of(A), n)
        assert all(len({colours[j] for j in row}) == len(row) for row in rows_of(A))
        found = bidirectional(rows_of(A), n)
        products = np.zeros((m + n, found.colours or 1))
        for j, c in found.columns.items():
            products[:m, c] += J[:, j]
        for i, c in found.rows.items():
            products[m:, c] += J[i]
        assert [products[at] for at in found.readings] == J[A].tolist()
        assert found.colours <= min(m, n)

        S = random_pattern(rng, n, n)
        S |= S.T
        H = np.where(S, rng.normal(size=(n, n)), 0.0)
        H = np.tril(H) + np.tril(H, -1).T
        triangle = lower(rows_of(S))
        colours = star_colours(triangle)
        products = np.zeros((n, n))
        for j, c in enumerate(colours):
            products[:, c] += H[:, j]
        assert [products[at] for at in read_symmetric(triangle, colours)] == H[np.tril(S)].tolist()


def test_few_colours_where_few_suffice():
    n = 50
    band = [[j for j in (i - 1, i) if j >= 0] for i in range(n)]
    assert len({*star_colours(band)}) == 3
    assert len({*star_colours([[0], *[[0, i] for i in range(1, n)]])}) == 2  # an arrow
    assert len({*star_colours([*[[i] for i in range(n - 1)], [*range(n)]])}) == 2  # one that points the other way
    assert len({*column_colours([[j for j in (i - 1, i, i + 1) if 0 <= j < n] for i in range(n)], n)}) == 3
    arrow = [[*range(n)], *[[0, i] for i in range(1, n)]]
    assert bidirectional(arrow, n).colours == 3  # the dense row, and two colours of columns
    assert bidirectional([[0]] * n, 1).colours == bidirectional([[*range(n)]], n).colours == 1


def test_long_chains_and_wide_sums_have_their_pattern():
    n = 5000
    order = [("sum", i) for i in range(n)]
    made_of = {("sum", i): [("sum", i - 1), ("x", i)] if i else [("x", 0)] for i in range(n)}
    found, work = pattern(order, made_of.get, [("x", i) for i in range(n)], [("sum", n - 1), ("sum", 2)])
    assert found == [[*range(n)], [0, 1, 2]]
    assert work == n * (n + 1) // 2


# --- Random functions, and their derivatives by formulas --------------------------------------------------------------

#: c * term(x, y) with its gradient and Hessian, from a table of derivatives
TERMS = {
    "product": (lambda x, y: x * y, lambda x, y: (y, x), lambda x, y: (0.0, 1.0, 0.0)),
    "wave": (
        lambda x, y: sin(x * y),
        lambda x, y: (y * math.cos(x * y), x * math.cos(x * y)),
        lambda x, y: (
            -y * y * math.sin(x * y),
            math.cos(x * y) - x * y * math.sin(x * y),
            -x * x * math.sin(x * y),
        ),
    ),
    "quotient": (
        lambda x, y: x / (2.0 + y**2),
        lambda x, y: (1.0 / (2.0 + y * y), -2.0 * x * y / (2.0 + y * y) ** 2),
        lambda x, y: (0.0, -2.0 * y / (2.0 + y * y) ** 2, x * (6.0 * y * y - 4.0) / (2.0 + y * y) ** 3),
    ),
    "sum": (lambda x, y: x - 2.0 * y, lambda x, y: (1.0, -2.0), lambda x, y: (0.0, 0.0, 0.0)),
    "growth": (
        lambda x, y: exp(0.3 * x) + y,
        lambda x, y: (0.3 * math.exp(0.3 * x), 1.0),
        lambda x, y: (0.09 * math.exp(0.3 * x), 0.0, 0.0),
    ),
}


class Drawn:
    """A function of m results, sums of terms in the entries of a random pattern."""

    def __init__(self, seed):
        rng = np.random.default_rng(seed)
        self.m, self.n = (int(k) for k in rng.integers(1, 9, size=2))
        self.x = rng.normal(size=self.n)
        names = [*TERMS]
        self.terms = [
            [(names[rng.integers(len(names))], float(rng.normal()), *rng.choice(row, size=2).tolist()) for _ in row]
            for row in rows_of(random_pattern(rng, self.m, self.n))
        ]
        self.constant = rng.random(self.m) < 0.3

    def __call__(self, x):
        results = []
        for row, constant in zip(self.terms, self.constant, strict=True):
            terms = [c * TERMS[name][0](x[i], x[j]) for name, c, i, j in row]
            results.append(sum(terms, Value(1.0) if constant or not terms else 0.0))
        return [*results, results[0], x[-1]]  # one twice, and an input

    def jacobian(self):
        J = np.zeros((self.m, self.n))
        for k, row in enumerate(self.terms):
            for name, c, i, j in row:
                by_x, by_y = TERMS[name][1](self.x[i], self.x[j])
                J[k, i] += c * by_x
                J[k, j] += c * by_y
        return np.vstack([J, J[:1], np.eye(self.n)[-1:]])

    def pattern(self):
        A = np.zeros((self.m, self.n), dtype=bool)
        for k, row in enumerate(self.terms):
            for _, _, i, j in row:
                A[k, [i, j]] = True
        return np.vstack([A, A[:1], np.eye(self.n, dtype=bool)[-1:]])

    def hessian(self):
        """Of the sum of the first results and the repeated one."""
        H = np.zeros((self.n, self.n))
        for k, row in enumerate(self.terms):
            for name, c, i, j in row:
                xx, xy, yy = TERMS[name][2](self.x[i], self.x[j])
                for p, q, second in ((i, i, xx), (i, j, xy), (j, i, xy), (j, j, yy)):
                    H[p, q] += (2.0 if k == 0 else 1.0) * c * second
        return H


def check(drawn, backend):
    close = {"rtol": 1e-12, "atol": 1e-13}
    J, A = drawn.jacobian(), drawn.pattern()
    step = compile(drawn, backend=backend)
    rows, columns = step.jacobian_structure(drawn.x)
    found = step.jacobian(drawn.x, sparse=True)
    assert np.array_equal(np.argwhere(A), np.stack([rows, columns], axis=1))
    assert np.array_equal(found.tocoo().coords, (rows, columns))
    assert found.has_sorted_indices
    np.testing.assert_allclose(found.toarray(), J, **close)
    assert np.array_equal(step.jacobian(drawn.x), found.toarray())

    def loss(x):
        return total(drawn(x)[:-1])

    H = drawn.hessian()
    np.testing.assert_allclose(hessian(loss, sparse=True)(drawn.x).toarray(), H, **close)
    eager = jacobian(drawn, sparse=True)(drawn.x.tolist())
    assert np.array_equal(np.argwhere(A), np.stack(eager.tocoo().coords, axis=1))
    np.testing.assert_allclose(eager.toarray(), J, **close)
    np.testing.assert_allclose(jacobian(drawn)(drawn.x.tolist()), J, **close)
    if any(drawn.terms):
        step = compile(loss, backend=backend)
        rows, columns = step.hessian_structure(drawn.x)
        found = step.hessian(drawn.x, sparse=True)
        assert np.array_equal(sparse.tril(found, format="csr").tocoo().coords, (rows, columns))
        np.testing.assert_allclose(found.toarray(), H, **close)
        assert (found != found.T).nnz == 0
        assert np.array_equal(step.hessian(drawn.x), found.toarray())


@pytest.mark.parametrize("seed", range(40))
def test_random_patterns_row_by_row(seed):
    check(Drawn(seed), "native")


@pytest.mark.usefixtures("sweeps")
@pytest.mark.parametrize("seed", range(40))
def test_random_patterns_by_colours(seed):
    check(Drawn(seed), "native")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(40, 200))
def test_more_random_patterns(seed, request):
    check(Drawn(seed), ["native", "numpy"][seed % 2])
    request.getfixturevalue("sweeps")
    check(Drawn(seed), ["numpy", "native"][seed % 2])


@BOTH
@pytest.mark.parametrize("way", ["rows", "colours"])
def test_with_data_the_rows_of_the_examples_stand_below_each_other(backend, way, request):
    if way == "colours":
        request.getfixturevalue("sweeps")
    drawn = Drawn(8)
    a = np.array([0.5, -1.0, 2.0, 3.0])
    step = compile(lambda x, a: [y * a for y in drawn(x)], backend=backend)
    found, rows = step.jacobian(drawn.x, a, sparse=True), step.jacobian_structure(drawn.x, a)[0]
    want = np.vstack([drawn.jacobian() * k for k in a])
    np.testing.assert_allclose(found.toarray(), want, rtol=1e-12, atol=1e-13)
    assert np.array_equal(found.tocoo().row, rows)
    assert np.array_equal(step.jacobian(drawn.x, a).reshape(want.shape), found.toarray())
    step = compile(lambda x, a: a * total(drawn(x)[:-1]), backend=backend)
    np.testing.assert_allclose(step.hessian(drawn.x, a, sparse=True).toarray(), a.mean() * drawn.hessian(), rtol=1e-12,
                               atol=1e-13)  # fmt: skip
    np.testing.assert_allclose(step.hessian(drawn.x, a), a.mean() * drawn.hessian(), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("way", ["rows", "colours"])
def test_as_jax_has_it(way, request):
    jax = pytest.importorskip("jax")
    if way == "colours":
        request.getfixturevalue("sweeps")

    def chain(x, tanh, total):
        h, states = x[0], []
        for v in x[1:]:
            h = tanh(0.8 * h + v) + 0.1 * h * v
            states.append(h * h)
        return [*states, total(states)]

    x = np.linspace(-1.0, 1.5, 9)
    with jax.enable_x64(True):
        J = jax.jacobian(lambda x: jax.numpy.stack(chain(x, jax.numpy.tanh, sum)))(x)
        H = jax.hessian(lambda x: chain(x, jax.numpy.tanh, sum)[-1])(x)
    ours, loss = lambda x: chain(x, tanh, total), lambda x: chain(x, tanh, total)[-1]
    for found in (compile(ours).jacobian(x, sparse=True), jacobian(ours, sparse=True)(x)):
        np.testing.assert_allclose(found.toarray(), J, rtol=1e-13, atol=1e-15)
    for found in (compile(loss).hessian(x, sparse=True), hessian(loss, sparse=True)(x)):
        np.testing.assert_allclose(found.toarray(), H, rtol=1e-12, atol=1e-14)


def luksan_vlcek(x):
    """The chained objective of L. Lukšan, J. Vlček (1999)."""
    return total([100.0 * (x[i - 1] ** 2 - x[i]) ** 2 + (x[i - 1] - 1.0) ** 2 for i in range(1, len(x))])


@pytest.mark.parametrize("way", ["rows", "colours"])
def test_a_long_chain_has_a_tridiagonal_hessian(way, request):
    if way == "colours":
        request.getfixturevalue("sweeps")
    n = 600
    x = np.where(np.arange(n) % 2, 1.0, -1.2)
    diagonal = np.zeros(n)
    diagonal[:-1] += 1200.0 * x[:-1] ** 2 - 400.0 * x[1:] + 2.0
    diagonal[1:] += 200.0
    want = sparse.diags_array([-400.0 * x[:-1], diagonal, -400.0 * x[:-1]], offsets=[-1, 0, 1])
    step = compile(luksan_vlcek)
    found = step.hessian(x, sparse=True)
    assert found.nnz == 3 * n - 2
    assert abs(found - want).max() < 1e-10
    assert np.array_equal(step.hessian(x), found.toarray())


def test_set_up_grows_with_the_results():
    """Nodes of the program, and not their square."""

    def nodes(points):
        def residuals(x):
            return [x[i % 7] * sin(x[7 + i]) - x[i % 7] for i in range(points)]

        step = compile(residuals, verify=False)
        step.jacobian(np.linspace(0.1, 1.0, 7 + points), sparse=True)
        return len(step._traces.known().program.form)

    assert nodes(400) < 2.1 * nodes(200)


# --- What is no flat vector -------------------------------------------------------------------------------------------


def test_arguments_and_results_without_an_order_are_refused_with_advice():
    vector, table = np.array([1.0, 2.0, 3.0]), np.ones((2, 3))
    refused = [
        lambda: jacobian(lambda p: p["a"] * p["b"], sparse=True)({"a": 1.0, "b": 2.0}),
        lambda: jacobian(lambda W: W[0] * 2.0, sparse=True)(table),
        lambda: jacobian(lambda v: {"y": v[0]}, sparse=True)([1.0, 2.0]),
        lambda: jacobian(lambda v: [[v[0]], [v[1]]], sparse=True)([1.0, 2.0]),
        lambda: jacobian(lambda a, b: a + b, sparse=True)([1.0], [2.0]),
        lambda: hessian(lambda p: p["a"] * p["b"], sparse=True)({"a": 1.0, "b": 2.0}),
        lambda: compile(lambda p: p["a"] * p["b"]).jacobian({"a": 1.0, "b": 2.0}, sparse=True),
        lambda: compile(lambda p: p["a"] * p["b"]).hessian({"a": 1.0, "b": 2.0}, sparse=True),
        lambda: compile(lambda p: p["a"] * p["b"]).hessian_structure({"a": 1.0, "b": 2.0}),
        lambda: compile(lambda W: total(W.ravel()) ** 2).hessian(table, sparse=True),
        lambda: compile(lambda W: total(W.ravel()) ** 2).hessian_structure(table),
        lambda: compile(lambda W: W.ravel()).jacobian(table, sparse=True),
        lambda: compile(lambda v: [[v[0]], [v[1]]]).jacobian(vector, sparse=True),
        lambda: compile(lambda v: [[v[0]], [v[1]]]).jacobian_structure(vector),
    ]
    for ask in refused:
        with pytest.raises(
            TypeError, match=r"a sparse matrix has a row for each result .* return one flat list, y.ravel"
        ):
            ask()


def test_numbers_vectors_and_chosen_arguments_are_accepted():
    def product(a, b):
        return a * a * b

    assert jacobian(product, sparse=True)(3.0, 2.0).toarray().tolist() == [[12.0, 9.0]]
    assert hessian(product, sparse=True)(3.0, 2.0).toarray().tolist() == [[4.0, 6.0], [6.0, 0.0]]
    assert compile(product).jacobian(3.0, 2.0, sparse=True).toarray().tolist() == [[12.0, 9.0]]
    assert compile(product).hessian(3.0, 2.0, sparse=True).toarray().tolist() == [[4.0, 6.0], [6.0, 0.0]]
    assert compile(lambda x: x**3).hessian(2.0, sparse=True).toarray().tolist() == [[12.0]]

    def scaled(table, v):
        return [table["k"] * v[0], v[1]]

    found = jacobian(scaled, argnums=1, sparse=True)({"k": 3.0}, (1.0, 2.0))
    assert found.toarray().tolist() == [[3.0, 0.0], [0.0, 1.0]]
    found, aux = jacobian(lambda v: ([v[0] * v[1]], "seen"), has_aux=True, sparse=True)(np.array([3.0, 2.0]))
    assert (found.toarray().tolist(), aux) == ([[2.0, 3.0]], "seen")
    step = compile(lambda k, v: [k * v[0], v[1]], argnums=1)
    assert step.jacobian([3.0], np.array([1.0, 2.0]), sparse=True).toarray().tolist() == [[3.0, 0.0], [0.0, 1.0]]
    w = [Value(1.0), Value(2.0)]
    step = compile(lambda x: w[0] * x[0] + w[1], params=w)
    assert step.jacobian(step.theta, [[2.0], [3.0]], sparse=True).toarray().tolist() == [[2.0, 1.0], [3.0, 1.0]]


def test_inside_another_derivative_there_is_no_matrix_of_numbers():
    with pytest.raises(TypeError, match="leave out sparse=True"):
        grad(lambda x: jacobian(lambda v: [v[0] * x], sparse=True)([x]).toarray()[0, 0])(3.0)
    step = compile(lambda v: [v[0] ** 2])
    with pytest.raises(TypeError, match=r"leave out sparse=True|made of numbers"):
        grad(lambda x: compile(lambda v: [v[0] * x]).jacobian(np.array([2.0]), sparse=True)[0, 0])(3.0)
    assert step.jacobian([3.0], sparse=True).toarray().tolist() == [[6.0]]


def test_around_a_compiled_function_values_flow_as_before():
    """The derivative of a dense Jacobian, and of a Hessian, that knows a Value from around it."""
    x = np.array([2.0, 5.0, 7.0])
    found = grad(lambda a: total(list(compile(lambda v: [v[0] * v[0] * a, v[1] + v[2]]).jacobian(x).ravel())))(3.0)
    assert found == 4.0
    found = grad(lambda a: total(list(compile(lambda v: v[0] ** 3 * a + v[1] * v[2]).hessian(x).ravel())))(3.0)
    assert found == 12.0


# --- The pattern is that of the program -------------------------------------------------------------------------------


@BOTH
def test_an_entry_that_is_0_everywhere_stays_and_one_that_no_path_reaches_is_none(backend):
    step = compile(lambda x: [x[0] * 0.0, 0.0 * x[1] * x[2], floor(x[0]) + x[1], stop_gradient(x[2])], backend=backend)
    rows, columns = step.jacobian_structure([1.5, 2.0, 3.0])
    assert [*zip(rows.tolist(), columns.tolist(), strict=True)] == [(0, 0), (1, 1), (1, 2), (2, 1)]
    found = step.jacobian([1.5, 2.0, 3.0], sparse=True)
    assert (found.nnz, found.data.tolist()) == (4, [0.0, 0.0, 0.0, 1.0])
    eager = jacobian(lambda x: [x[0] * 0.0, 0.0 * x[1] * x[2], floor(x[0]) + x[1], stop_gradient(x[2])], sparse=True)
    assert np.array_equal(eager([1.5, 2.0, 3.0]).tocoo().coords, (rows, columns))


@BOTH
def test_where_and_take_have_the_entries_of_all_branches(backend):
    def f(x, i):
        return [where(x[0] > 0.0, x[1], x[2]), take([x[1], x[2], x[3]], i), maximum(x[0], x[3])]

    step = compile(f, backend=backend)
    x, i = [1.0, 2.0, 3.0, 4.0], [0.0, 2.0]
    rows, columns = step.jacobian_structure(x, i)
    assert [*zip(rows.tolist(), columns.tolist(), strict=True)][:7] == [
        (0, 1), (0, 2), (1, 1), (1, 2), (1, 3), (2, 0), (2, 3)]  # fmt: skip
    for point in (x, [-1.0, 2.0, 3.0, 4.0]):
        found = step.jacobian(point, i, sparse=True)
        assert np.array_equal(found.tocoo().coords, (rows, columns))
        want = np.vstack([[[0, point[0] > 0, point[0] <= 0, 0], np.eye(4)[1 + int(k)], [0, 0, 0, 1]] for k in i])
        assert np.array_equal(found.toarray(), want)


def test_a_pattern_is_made_anew_where_the_function_is_traced_again():
    chosen = [0]
    step = compile(lambda x: [x[chosen[0]] ** 2, x[2]])
    assert step.jacobian_structure([1.0, 2.0, 3.0])[1].tolist() == [0, 2]
    chosen[0] = 1
    assert step.jacobian_structure([1.0, 2.0, 3.0])[1].tolist() == [1, 2]
    assert step.jacobian([1.0, 2.0, 3.0], sparse=True).toarray().tolist() == [[0.0, 4.0, 0.0], [0.0, 0.0, 1.0]]
    branching = jacobian(lambda x: [x[0] if x[0] > 0.0 else x[1]], sparse=True)
    assert branching([1.0, 2.0]).indices.tolist() == [0]
    assert branching([-1.0, 2.0]).indices.tolist() == [1]


@pytest.mark.parametrize("way", ["rows", "colours"])
@BOTH
def test_what_cannot_be_computed_raises_as_the_function_does(backend, way, request):
    if way == "colours":
        request.getfixturevalue("sweeps")
    step = compile(lambda x: [log(x[0]) * x[1], x[2] / x[1], sqrt(x[2])], backend=backend)
    step.jacobian([1.0, 2.0, 3.0], sparse=True)
    for point, text in [
        ([-1.0, 2.0, 3.0], r"log\(x\) needs x > 0, got x = -1"),
        ([1.0, 0.0, 3.0], "x / y needs y != 0"),
        ([1.0, 2.0, 0.0], "sqrt"),
        ([1.0, math.nan, 3.0], "nan"),
        ([1.0, math.inf, 3.0], "inf"),
    ]:
        for options in ({"sparse": True}, {}):
            with pytest.raises(DomainError, match=text):
                step.jacobian(point, **options)
            with pytest.raises(DomainError, match=text):
                jacobian(lambda x: [log(x[0]) * x[1], x[2] / x[1], sqrt(x[2])], **options)(point)
    step = compile(lambda x: log(x[0]) * x[1] + sqrt(x[2]), backend=backend)
    step.hessian([1.0, 2.0, 3.0], sparse=True)
    for point in ([-1.0, 2.0, 3.0], [1.0, 2.0, 0.0], [1.0, math.nan, 3.0]):
        for options in ({"sparse": True}, {}):
            with pytest.raises(DomainError):
                step.hessian(point, **options)
            with pytest.raises(DomainError):
                hessian(lambda x: log(x[0]) * x[1] + sqrt(x[2]), **options)(point)


@BOTH
def test_constants_have_no_entries(backend):
    def f(x):
        return [floor(x[0]), Value(2.0)]

    for found in (compile(f, backend=backend).jacobian([1.5, 2.5], sparse=True), jacobian(f, sparse=True)([1.5, 2.5])):
        assert (found.nnz, found.shape) == (0, (2, 2))
    assert compile(f, backend=backend).jacobian([1.5, 2.5]).tolist() == [[0.0, 0.0], [0.0, 0.0]]

    def linear(x):
        return 3.0 * x[0] - x[1]

    for found in (
        compile(linear, backend=backend).hessian([1.5, 2.5], sparse=True),
        hessian(linear, sparse=True)([1.5, 2.5]),
    ):
        assert (found.nnz, found.shape) == (0, (2, 2))
    assert jacobian(lambda x: [5.0, 5.0], sparse=True)([1.0, 2.0, 3.0]).shape == (2, 3)


def test_a_matrix_belongs_to_whoever_asked_for_it():
    step = compile(lambda x: [x[0] * 0.0, x[1] * x[0]])
    first = step.jacobian(np.array([2.0, 3.0]), sparse=True)
    first.eliminate_zeros()
    first.data[:] = 7.0
    again = step.jacobian(np.array([2.0, 3.0]), sparse=True)
    assert (again.indices.tolist(), again.data.tolist()) == ([0, 0, 1], [0.0, 3.0, 2.0])
    rows, _ = step.jacobian_structure(np.array([2.0, 3.0]))
    rows[:] = 0
    assert step.jacobian_structure(np.array([2.0, 3.0]))[0].tolist() == [0, 1, 1]


@pytest.mark.parametrize("way", ["rows", "colours"])
def test_a_loss_with_a_batch_in_it_and_one_with_dropout(way, request):
    if way == "colours":
        request.getfixturevalue("sweeps")
    data = [(0.5, 1.0), (-1.0, 2.0), (2.0, 0.5)]

    def f(w):
        return total([(w[0] * x + w[1] - t) ** 2 for x, t in data]) + w[2] ** 4

    step, w = compile(f), np.array([0.3, -0.2, 1.5])
    xs = np.array([x for x, _ in data])
    want = np.zeros((3, 3))
    want[:2, :2] = 2.0 * np.array([[(xs * xs).sum(), xs.sum()], [xs.sum(), 3.0]])
    want[2, 2] = 12.0 * 1.5**2
    np.testing.assert_allclose(step.hessian(w), want, rtol=1e-13)
    found = step.hessian(w, sparse=True)
    np.testing.assert_allclose(found.toarray(), want, rtol=1e-13)
    assert found.nnz == 5
    assert np.array_equal(step.jacobian(w, sparse=True).toarray()[0], step.grad(w))

    hidden, drop, last = nn.Layer(2, 3, activation="tanh", seed=0), nn.Dropout(0.5), nn.Layer(3, 1, seed=1)
    step = compile(lambda x: losses.mse(last(drop(hidden(x))), 0.5), params=[*hidden.parameters(), *last.parameters()])
    H = step.hessian(step.theta, [[1.0, 2.0]])
    assert np.array_equal(H, H.T)


# --- Who takes them ---------------------------------------------------------------------------------------------------


def test_without_scipy_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.sparse", None)
    for ask in (
        jacobian(lambda x: [x[0]], sparse=True),
        lambda x: compile(lambda x: x[0] ** 2).hessian(x, sparse=True),
    ):
        with pytest.raises(ImportError, match="a sparse derivative needs the package scipy: pip install scipy"):
            ask([1.0, 2.0])
    assert compile(lambda x: [x[0], x[1]]).jacobian_structure([1.0, 2.0])[1].tolist() == [0, 1]


def test_scipys_solvers_take_them():
    optimize = pytest.importorskip("scipy.optimize")
    residuals = compile(lambda x: [10.0 * (x[i] - x[i - 1] ** 2) for i in range(1, len(x))] + [1.0 - v for v in x[:-1]])
    start = np.full(20, 0.5)
    found = optimize.least_squares(
        residuals, start, jac=lambda x: residuals.jacobian(x, sparse=True), x_scale=1.0, tr_solver="lsmr", xtol=1e-14
    )
    np.testing.assert_allclose(found.x, 1.0, rtol=1e-6)
    step = compile(luksan_vlcek)
    found = optimize.minimize(
        step, start, jac=step.grad, hess=lambda x: step.hessian(x, sparse=True), method="trust-constr",
        options={"gtol": 1e-10, "maxiter": 500},
    )  # fmt: skip
    np.testing.assert_allclose(found.x, 1.0, rtol=1e-6)


def test_ipopt_takes_them():
    """Hock and Schittkowski's problem 71: the optimum is theirs."""
    cyipopt = pytest.importorskip("cyipopt")
    objective = compile(lambda x: x[0] * x[3] * (x[0] + x[1] + x[2]) + x[2])
    constraints = compile(lambda x: [x[0] * x[1] * x[2] * x[3], total([v * v for v in x])])
    lagrangian = compile(
        lambda x, factor, m: (
            factor * (x[0] * x[3] * (x[0] + x[1] + x[2]) + x[2])
            + m[0] * x[0] * x[1] * x[2] * x[3]
            + m[1] * total([v * v for v in x])
        )
    )
    x0 = np.array([1.0, 5.0, 5.0, 1.0])
    hessian_structure = lagrangian.hessian_structure(x0, [1.0], [[1.0, 1.0]])

    class Problem:
        gradient = staticmethod(objective.grad)
        jacobianstructure = staticmethod(lambda: constraints.jacobian_structure(x0))
        jacobian = staticmethod(lambda x: constraints.jacobian(x, sparse=True).data)
        hessianstructure = staticmethod(lambda: hessian_structure)

        def hessian(self, x, multipliers, factor):
            H = lagrangian.hessian(x, [factor], [multipliers], sparse=True)
            return sparse.tril(H, format="csr").data

    Problem.objective, Problem.constraints = staticmethod(objective), staticmethod(constraints)
    problem = cyipopt.Problem(
        n=4, m=2, problem_obj=Problem(), lb=[1.0] * 4, ub=[5.0] * 4, cl=[25.0, 40.0], cu=[2e19, 40.0]
    )
    problem.add_option("print_level", 0)
    problem.add_option("tol", 1e-9)
    x, info = problem.solve(x0)
    assert info["status"] == 0
    np.testing.assert_allclose(x, [1.0, 4.74299963, 3.82114998, 1.37940829], rtol=1e-6)
