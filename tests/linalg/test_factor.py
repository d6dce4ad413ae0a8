"""LU, Cholesky and substitution: the bits of the textbook's loops, its bounds, and what is said when they break down."""

import numpy as np
import pytest
from halfulp.emulate import linalg
from halfulp.emulate.analysis import factorization_error, gamma
from halfulp.emulate.rounded.context import arithmetic
from halfulp.emulate.rounded.draws import Draws

from .textbook import RANDOM, Loops, held, one, same

COMPILED = [
    ("fp16", "nearest_even"), ("fp16", "up"), ("fp16", "to_odd"), ("bf16", "nearest_even"), ("bf16", "down"),
    ("fp32", "nearest_even"), ("fp8_e4m3", "nearest_away"), ("fp64", "nearest_even"), ("int16@-8", "toward_zero"),
]  # fmt: skip
N = 70  # two blocks and a part


def random_matrix(m, n=None, seed=0):
    return np.random.default_rng(seed).standard_normal((m, n or m))


def graded(n, seed=1):
    """Columns and rows that fall by a factor of 100."""
    scale = np.logspace(0, -1, n)
    return random_matrix(n, seed=seed) * scale * scale[:, None]


def definite(n, seed=2):
    a = random_matrix(n, seed=seed)
    return a @ a.T / n + np.eye(n)


@pytest.mark.parametrize(("fmt", "rounding"), COMPILED)
@pytest.mark.parametrize("shape", [(N, N), (90, 40), (40, 90)])
def test_blocked_lu_is_the_loop(fmt, rounding, shape):
    ar = arithmetic(fmt, rounding)
    a = held(ar, random_matrix(*shape))
    expected, order = Loops(ar).lu(a)
    found = linalg.lu(a, ar)
    r = min(shape)
    assert np.array_equal(found.permutation, order)
    assert same(found.u, np.triu(expected[:r]))
    assert same(np.tril(found.l, -1), np.tril(expected[:, :r], -1))
    assert np.array_equal(found.l.diagonal(), np.ones(r))


@pytest.mark.parametrize("rounding", RANDOM)
def test_stochastic_lu_draws_in_the_order_of_the_loop(rounding):
    ar = arithmetic("fp16", rounding)
    a = held(ar, random_matrix(12))
    expected, order = Loops(ar, Draws(7, 1)).lu(a)
    found = linalg.lu(a, "fp16", rounding=rounding, seed=7)
    assert same(found.u, np.triu(expected))
    assert np.array_equal(found.permutation, order)


@pytest.mark.parametrize("fmt", ["posit16", "int8@-4"])
def test_lu_where_no_loop_is_compiled(fmt):
    ar = arithmetic(fmt, overflow="wrap" if fmt == "int8@-4" else None)
    a = held(ar, random_matrix(9) + 4 * np.eye(9))
    expected, _ = Loops(ar).lu(a)
    assert same(linalg.lu(a, ar).u, np.triu(expected))


def test_lu_of_single_numbers_by_definition():
    ar = arithmetic("bf16", "up")
    a = held(ar, random_matrix(6))
    found = linalg.lu(a, ar)
    work = a[found.permutation].astype(np.float64)
    for k in range(6):
        for i in range(k + 1, 6):
            work[i, k] = one(ar, "divide", work[i, k], work[k, k])
            for j in range(k + 1, 6):
                work[i, j] = one(ar, "subtract", work[i, j], one(ar, "multiply", work[i, k], work[k, j]))
    assert np.array_equal(np.tril(found.l, -1), np.tril(work, -1))
    assert np.array_equal(found.u, np.triu(work))


@pytest.mark.parametrize(("fmt", "rounding"), COMPILED[:6])
def test_blocked_cholesky_is_the_loop(fmt, rounding):
    ar = arithmetic(fmt, rounding)
    a = held(ar, definite(N))
    assert same(linalg.cholesky(a, ar), Loops(ar).cholesky(a))


def test_stochastic_cholesky_draws_in_the_order_of_the_loop():
    ar = arithmetic("fp16", "stochastic")
    a = held(ar, definite(10))
    assert same(linalg.cholesky(a, ar, seed=3), Loops(ar, Draws(3, 1)).cholesky(a))


def test_cholesky_reads_the_lower_triangle():
    a = definite(40)
    assert same(linalg.cholesky(np.tril(a), "fp16"), linalg.cholesky(a, "fp16"))


@pytest.mark.parametrize("lower", [True, False])
@pytest.mark.parametrize("unit", [True, False])
@pytest.mark.parametrize("columns", [1, 20])
def test_blocked_substitution_is_the_loop(lower, unit, columns):
    for fmt, rounding in COMPILED[:6]:
        ar = arithmetic(fmt, rounding)
        t = held(ar, random_matrix(N) / 8 + 2 * np.eye(N))
        b = held(ar, random_matrix(N, columns))
        expected = Loops(ar).substitute(t, b, lower, unit)
        options = {"unit_diagonal": unit}
        assert same(linalg.solve_triangular(t, b, ar, lower=lower, **options), expected)
        assert same(linalg.solve_triangular(t.T.copy(), b, ar, lower=not lower, transpose=True, **options), expected)
        assert same(linalg.solve_triangular(t, b[:, 0], ar, lower=lower, **options), expected[:, 0])


@pytest.mark.parametrize("fmt", ["fp16", "bf16", "tf32", "fp32"])
@pytest.mark.parametrize("kind", [random_matrix, graded])
def test_factorizations_keep_their_componentwise_bounds(fmt, kind):
    n = 60
    a = held(arithmetic(fmt), kind(n))
    assert 0 < factorization_error(a, linalg.lu(a, fmt), kind="componentwise") <= gamma(n, fmt)
    scale = np.logspace(0, -1 if kind is graded else 0, n)
    s = held(arithmetic(fmt), definite(n) * scale * scale[:, None])
    assert 0 < factorization_error(s, linalg.cholesky(s, fmt), kind="componentwise") <= gamma(n + 1, fmt)


@pytest.mark.parametrize("fmt", ["fp16", "bf16", "tf32", "fp32"])
def test_solutions_keep_their_componentwise_bound(fmt):
    n = 40
    a, b = random_matrix(n), random_matrix(n, 1)[:, 0]
    a, b = (held(arithmetic(fmt), x).astype(np.float64) for x in (a, b))
    lower, upper, order, _ = linalg.lu(a, fmt)
    x = linalg.solve(a, b, fmt).astype(np.float64)
    bound = gamma(3 * n, fmt) * (np.abs(lower).astype(float) @ np.abs(upper) @ np.abs(x))
    assert (np.abs(b - a @ x)[order] <= bound).all()
    t = np.tril(a) + 4 * np.eye(n)
    y = linalg.solve_triangular(t, b, fmt, lower=True).astype(np.float64)
    t = held(arithmetic(fmt), t)
    assert (np.abs(b - t @ y) <= gamma(n, fmt) * (np.abs(t) @ np.abs(y))).all()


def test_solve_is_lu_and_substitution():
    a, b = random_matrix(20), random_matrix(20, 3)
    factors = linalg.lu(a, "fp16")
    assert same(linalg.solve(a, b, "fp16"), linalg.lu_solve(factors, b, "fp16"))
    assert same(linalg.solve(a, b[:, 0], "fp16"), linalg.solve(a, b, "fp16")[:, 0])


def test_growth():
    n = 8  # Wilkinson's matrix, whose last column doubles in every step
    a = np.eye(n) - np.tril(np.ones((n, n)), -1)
    a[:, -1] = 1
    assert linalg.lu(a, "fp16").growth == 2.0 ** (n - 1)


def test_a_zero_pivot_is_named():
    a = np.eye(5) + np.triu(random_matrix(5), 1)
    a[3, 3] = 0
    with pytest.raises(np.linalg.LinAlgError, match=r"lu: column 3 has no pivot but zero in binary16.*'continue'"):
        linalg.lu(a, "fp16")
    found = linalg.lu(a, "fp16", singular="continue")
    assert found.u[3, 3] == 0
    assert found.u[4, 4] == 1
    with pytest.raises(np.linalg.LinAlgError, match="diagonal is zero in binary16 at row 3"):
        linalg.lu_solve(found, np.ones(5), "fp16")
    with pytest.raises(np.linalg.LinAlgError, match="no pivot"):
        linalg.lu(np.zeros((40, 40)), "fp16")
    with pytest.raises(np.linalg.LinAlgError, match="solve: column 3 has no pivot.*scale the matrix if it underflowed"):
        linalg.solve(a, np.ones(5), "fp16")
    with pytest.raises(ValueError, match="unknown choice of singular= 'ignore'; known: raise, continue"):
        linalg.lu(a, "fp16", singular="ignore")


@pytest.mark.parametrize("bad", [np.inf, np.nan, 1e6])
def test_an_infinite_pivot_is_named(bad):
    a = random_matrix(5)
    a[4, 2] = bad
    with pytest.raises(np.linalg.LinAlgError, match=r"pivot of column [0-4] is -?(inf|nan) in binary16; scale.*bf16"):
        linalg.lu(a, "fp16")
    a = definite(5)
    a[2, 2] = bad
    with pytest.raises(np.linalg.LinAlgError, match="cholesky: the pivot of column 2 is (inf|nan) in binary16; scale"):
        linalg.cholesky(a, "fp16")


def test_an_indefinite_matrix_is_named():
    with pytest.raises(np.linalg.LinAlgError, match=r"pivot of column 1 is -3.0 in binary16.*not positive definite"):
        linalg.cholesky([[1.0, 2.0], [2.0, 1.0]], "fp16")
    with pytest.raises(np.linalg.LinAlgError, match="not positive definite"):  # positive definite before it was rounded
        linalg.cholesky([[1.0, 0.9999], [0.9999, 1.0]], "fp16")


def test_a_zero_diagonal_is_named():
    with pytest.raises(np.linalg.LinAlgError, match="solve_triangular: the diagonal is zero in binary16 at row 1"):
        linalg.solve_triangular([[1.0, 2.0], [0.0, 1e-9]], [1.0, 1.0], "fp16")


def test_empty_matrices():
    empty = np.zeros((0, 0))
    factors = linalg.lu(empty, "fp16")
    assert factors.l.shape == factors.u.shape == (0, 0)
    assert factors.growth == 1
    assert linalg.lu(np.zeros((3, 0)), "fp16").l.shape == (3, 0)
    assert linalg.cholesky(empty, "fp16").shape == (0, 0)
    assert linalg.solve(empty, np.zeros(0), "fp16").shape == (0,)
    assert linalg.solve(np.eye(3), np.zeros((3, 0)), "fp16").shape == (3, 0)
