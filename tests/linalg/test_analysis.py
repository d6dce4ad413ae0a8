"""Error analysis: constants, bounds, errors against exact arithmetic, estimates against known errors."""

from fractions import Fraction
from math import inf

import halfulp as hu
import numpy as np
import pytest
from halfulp.emulate import analysis, linalg
from halfulp.emulate.linalg.residuals import magnitudes, residual

RNG = np.random.default_rng(5)


def test_constants():
    half = analysis.finfo("fp16")
    numpy = np.finfo(np.float16)
    assert (half.eps, half.max, half.smallest_normal, half.smallest_subnormal, half.bits) == (
        numpy.eps, numpy.max, numpy.smallest_normal, numpy.smallest_subnormal, 16,
    )  # fmt: skip
    assert half.precision == 11
    assert half.digits == numpy.precision
    assert analysis.finfo("fp64").eps == np.finfo(float).eps
    assert analysis.finfo("fp64").max == np.finfo(float).max
    assert analysis.finfo("fp8_e4m3").max == 448
    assert analysis.unit_roundoff("bf16") == 2.0**-8
    assert analysis.unit_roundoff("bf16", "nearest_away") == 2.0**-8
    assert all(analysis.unit_roundoff("bf16", mode) == 2.0**-7 for mode in ("up", "to_odd", "stochastic:4"))
    for fmt in ("int8", "posit16", "nf4"):
        with pytest.raises(
            ValueError, match="its precision is not the same everywhere; expected a floating-point format"
        ):
            analysis.unit_roundoff(fmt)


def test_unit_roundoff_is_met():
    x = np.linspace(1, 2, 100001)
    worst = np.abs(hu.quantize(x, "fp8_e5m2") - x) / x
    u = analysis.unit_roundoff("fp8_e5m2")
    assert u / (1 + u) * 0.999 < worst.max() <= u
    worst = np.abs(hu.quantize(x, "fp8_e5m2", rounding="toward_zero") - x) / x
    assert worst.max() <= analysis.unit_roundoff("fp8_e5m2", "toward_zero") < 1.3 * worst.max()


def test_gamma():
    u = 2.0**-11
    assert analysis.gamma(10, "fp16") == 10 * u / (1 - 10 * u)
    assert analysis.gamma(0, "fp16") == 0
    assert analysis.gamma(10, "fp16", "up") == 20 * u / (1 - 20 * u)
    with pytest.raises(ValueError, match=r"gamma: 2048 roundings of binary16 have no bound, n u = 1; take a wider"):
        analysis.gamma(2048, "fp16")
    with pytest.raises(ValueError, match="gamma: expected a number of roundings, got -1"):
        analysis.gamma(-1, "fp16")
    k = np.sqrt(2 * np.log(200)) / (1 - u)
    assert analysis.gamma_tilde(10**4, "fp16") == pytest.approx(np.expm1(k * 100 * u + 10**4 * u * u / (1 - u)))
    with pytest.raises(ValueError, match="expected a probability between 0 and 1, got 1"):
        analysis.gamma_tilde(10, "fp16", probability=1)


def test_gamma_tilde_holds_where_gamma_says_nothing():
    """Inner products of 10**4 random terms in bfloat16 with stochastic rounding; gamma has no value there."""
    x, y = (hu.quantize(RNG.random(10**4), "bf16") for _ in range(2))
    products = hu.quantize(x * y, "bf16")
    found = float(linalg.sum(products, "bf16", method="stochastic", seed=0))
    bound = analysis.gamma_tilde(10**4, "bf16", "stochastic")
    assert abs(found - products.sum()) <= bound * products.sum()
    assert abs(float(linalg.sum(products, "bf16")) - products.sum()) > 0.8 * products.sum()  # to nearest it stagnates


def test_residuals_are_exact_to_the_last_bit_but_one():
    a = RNG.standard_normal((6, 40)) * np.logspace(0, -30, 40)
    b = RNG.standard_normal((40, 5)) * np.logspace(20, 0, 40)[:, None]
    c = a @ b
    found = residual(c, a, b).plain
    for i in range(6):
        for j in range(5):
            products = [Fraction(x) * Fraction(y) for x, y in zip(a[i].tolist(), b[:, j].tolist())]
            exact = Fraction(c[i, j]) - sum(products)
            assert abs(Fraction(found[i, j]) - exact) <= abs(exact) * 2.0**-52 + sum(map(abs, products)) * 2.0**-98
    assert np.isnan(residual(c, a, b * np.inf).plain).all()


def test_forward_errors():
    x = np.array([1.0, 2.0, 4.0])
    assert analysis.forward_error(np.add(x, [0.5, 0, 0]), x) == 0.5 / 4
    assert analysis.forward_error(np.add(x, [0.5, 0, 0]), x, kind="componentwise") == 0.5
    assert analysis.forward_error(x, np.add(x, [0, 0, 3]), p=1) == 3 / 10
    assert analysis.forward_error(x, [1, 2, 0], kind="componentwise") == inf
    assert analysis.forward_error([0.0], [0.0], kind="componentwise") == analysis.forward_error([], []) == 0
    assert analysis.forward_error([np.nan], [1.0]) == inf
    third = np.array([Fraction(1, 3)], object)
    assert analysis.forward_error([1 / 3], third) == float(abs(Fraction(1 / 3) - Fraction(1, 3)) * 3)
    assert 0 < analysis.forward_error([1 / 3], np.array([1], np.longdouble) / 3) < 2.0**-53
    with pytest.raises(ValueError, match=r"expected a reference of shape \(3,\), got \(2,\)"):
        analysis.forward_error(x, x[:2])
    with pytest.raises(ValueError, match="unknown kind 'relative'; known: normwise, componentwise"):
        analysis.forward_error(x, x, kind="relative")


def test_backward_errors_are_attained():
    """The perturbations that Rigal and Gaches, Oettli and Prager give solve the perturbed system exactly."""
    a, x, b = RNG.standard_normal((4, 4)), RNG.standard_normal(4), RNG.standard_normal(4)
    r = b - a @ x
    eta = analysis.backward_error(a, x, b, p=2)
    change_a = eta * np.linalg.norm(a, 2) * np.outer(r, x) / (np.linalg.norm(r) * np.linalg.norm(x))
    change_b = -eta * np.linalg.norm(b) * r / np.linalg.norm(r)
    assert np.allclose((a + change_a) @ x, b + change_b)
    omega = analysis.backward_error(a, x, b, kind="componentwise")
    share = r / (np.abs(a) @ np.abs(x) + np.abs(b))
    assert omega == pytest.approx(np.abs(share).max())
    changed = a + share[:, None] * np.abs(a) * np.sign(x)
    assert np.allclose(changed @ x, b - share * np.abs(b))


def test_backward_errors_of_corner_cases():
    assert analysis.backward_error(np.eye(2), [1, 2], [1, 2]) == 0
    assert analysis.backward_error(np.eye(2), [1, np.nan], [1, 2]) == inf
    assert analysis.backward_error(np.zeros((0, 0)), [], []) == 0
    assert analysis.backward_error(np.zeros((2, 2)), [1, 1], [0, 0], kind="componentwise") == 0
    assert analysis.backward_error(np.eye(1), [1 + 2.0**-52], [1]) == pytest.approx(2.0**-53)
    with pytest.raises(ValueError, match=r"expected shapes \(m, n\), \(n,\) and \(m,\), got"):
        analysis.backward_error(np.eye(2), [1, 2, 3], [1, 2])


@pytest.mark.parametrize("exponent", [0, 997, 1023, -1074, -600])
def test_errors_neither_hang_nor_leave_the_range(exponent):
    one = np.ldexp(1.0, exponent)
    exact = abs(Fraction(one) ** 2 - 1)
    assert analysis.orthogonality(one * np.eye(1)) == (float(exact) if exponent < 512 else inf)
    for kind in ("normwise", "componentwise"):
        assert analysis.backward_error([[one]], [one], [0.0], kind=kind) == 1
        assert analysis.backward_error([[one]], [1.0], [one], kind=kind) == 0
        assert analysis.backward_error([[one, one]], [1.0, 2.0], [one], kind=kind) == {"n": 2 / 5, "c": 0.5}[kind[0]]
        assert analysis.factorization_error([[one]], linalg.QR([[one]], [[2.0]]), kind=kind) == 1
        assert analysis.forward_error([one], [-one], kind=kind) == 2


def test_errors_of_reported_cases():
    assert analysis.orthogonality([[1e300]]) == inf
    assert analysis.orthogonality([[1e150]]) == pytest.approx(1e300)
    assert analysis.backward_error([[1e300]], [1e-5], [1e295]) < 2e-16
    assert analysis.backward_error([[1e200]], [1e200], [1.0]) == 1
    assert analysis.backward_error([[1e-200]], [1e-200], [0.0]) == 1
    assert np.isnan(analysis.backward_error([[np.nan]], [1.0], [1.0]))


def test_residuals_of_rows_that_span_the_range_are_exact():
    a = np.array([[2.0**1000, 2.0**-1000, 5e-324]])
    b = np.array([[0.0], [2.0**1000], [2.0**1023]])
    exact = 1 - Fraction(2.0**-1000) * 2**1000 - Fraction(5e-324) * 2**1023
    value, exponent = residual(np.ones((1, 1)), a, b)
    assert Fraction(float(value[0, 0])) * Fraction(2) ** int(exponent[0, 0]) == exact
    size = magnitudes(np.ones((1, 1)), a, b)
    assert size.plain[0, 0] == float(2 + Fraction(5e-324) * 2**1023)
    assert analysis.backward_error(a, b[:, 0], [1.0], kind="componentwise") == pytest.approx(2.0**-52)


def test_errors_of_matrices_over_many_decades_take_no_time():
    """1000 bits are 45 slices: without an end to what counts 2025 products of matrices, and minutes."""
    rng = np.random.default_rng(0)
    q = rng.standard_normal((200, 200)) * 10.0 ** rng.uniform(-300, 0, (200, 200))
    found = residual(np.zeros((200, 200)), q.T, q)
    exact = -sum(Fraction(x) * Fraction(y) for x, y in zip(q[:, 0].tolist(), q[:, 1].tolist()))
    value = Fraction(float(found.value[0, 1])) * Fraction(2) ** int(found.exponent[0, 1])
    assert abs(value - exact) <= abs(exact) / 2**52


def test_forward_errors_of_complex_numbers_and_fractions():
    assert analysis.forward_error([1 + 2j], [1 + 5j]) == 3 / np.hypot(1, 5)
    assert analysis.forward_error([3 + 4j], [0 + 0j], kind="componentwise") == inf
    assert analysis.forward_error([1e300 + 1e300j], [1e300 - 1e300j]) == pytest.approx(2**0.5)
    assert analysis.forward_error([complex(1, np.inf)], [1.0]) == inf
    x = np.array([1.0, 2.0, 3.0, 4.0])
    assert analysis.forward_error(linalg.fft(hu.array(x, "fp32")), np.fft.fft(x)) < 1e-6
    assert analysis.forward_error([1.7], np.array([1], object)) == float(Fraction(1.7) - 1)
    big = np.array([10**400, Fraction(1, 10**400)], object)
    assert analysis.forward_error([0.0, 0.0], big, kind="componentwise") == 1
    assert analysis.forward_error([0.5], np.array([np.longdouble(0.25)], object)) == 1
    with pytest.raises(TypeError, match="expected real numbers with a reference of objects; compare real and imag"):
        analysis.forward_error([1j], np.array([Fraction(1)], object))


def test_factorization_errors():
    a = hu.quantize(RNG.standard_normal((12, 12)), "fp32")
    s = a @ a.T + np.eye(12)
    for kind in ("normwise", "componentwise"):
        assert analysis.factorization_error(a, linalg.lu(a, "fp64"), kind=kind) < 1e-15
        assert analysis.factorization_error(a, linalg.qr(a, "fp64"), kind=kind) < 1e-15
        assert analysis.factorization_error(s, linalg.cholesky(s, "fp64"), kind=kind) < 1e-15
        assert 1e-5 < analysis.factorization_error(a, linalg.lu(a, "fp16"), kind=kind) < 1e-2
    exact = linalg.LU(np.eye(2), np.eye(2), np.array([1, 0]), 1.0)
    assert analysis.factorization_error(np.eye(2)[::-1], exact) == 0
    assert analysis.orthogonality(np.eye(3)[:, :2]) == 0
    assert analysis.orthogonality(2 * np.eye(1)) == 3


def test_condition_numbers():
    a = np.diag([1.0, 1e-6])
    assert analysis.condition_number(a) == pytest.approx(1e6)
    assert analysis.condition_number(a, p=inf) == pytest.approx(1e6)
    assert analysis.condition_number(a, kind="skeel") == pytest.approx(1)  # rows and columns scaled, no more
    assert analysis.condition_number(a, kind="bauer") == pytest.approx(1)
    b = np.array([[1.0, 1.0], [1.0, 1.001]])
    for kind in ("skeel", "bauer"):
        assert analysis.condition_number(np.diag([1, 1e8]) @ b, kind=kind) == pytest.approx(
            analysis.condition_number(b, kind=kind), rel=1e-6
        )
    assert analysis.condition_number(b @ np.diag([1, 1e8]), kind="bauer") == pytest.approx(
        analysis.condition_number(b, kind="bauer"), rel=1e-6
    )
    assert analysis.condition_number(b, [1, -1], kind="skeel") == pytest.approx(
        float((np.abs(np.linalg.inv(b)) @ np.abs(b) @ [1, 1]).max())
    )
    assert analysis.condition_number(np.zeros((2, 2)), kind="skeel") == inf
    assert analysis.condition_number(np.zeros((2, 2))) == inf
    assert analysis.condition_number(np.zeros((0, 0))) == 1
    for kind in ("normwise", "skeel", "bauer"):
        assert analysis.condition_number(np.ones((2, 2)), kind=kind) == inf
        assert analysis.condition_number(np.arange(9.0).reshape(3, 3), kind=kind) == inf
        assert analysis.condition_number(np.diag([1.0, 1e-20]), kind=kind) == pytest.approx(
            1e20 if kind == "normwise" else 1
        )
        for bad in (np.nan, np.inf):
            with pytest.raises(ValueError, match="condition_number: expected finite numbers, got infinities or NaN"):
                analysis.condition_number(np.diag([1.0, bad]), kind=kind)
    with pytest.raises(ValueError, match=r"condition_number: expected x of shape \(2,\), got \(3,\)"):
        analysis.condition_number(b, np.ones(3), kind="skeel")
    with pytest.raises(ValueError, match="expected a square matrix, got shape"):
        analysis.condition_number(np.ones((2, 3)))
    with pytest.raises(ValueError, match="x goes with kind='skeel', got kind='bauer'"):
        analysis.condition_number(b, [1, 1], kind="bauer")


def test_spread_finds_the_error_of_stochastic_rounding():
    x = RNG.random(200)
    held = hu.quantize(x, "fp16")
    found = analysis.spread(lambda x: x.sum(), x, fmt="fp16", runs=60, seed=1)
    assert found.samples.shape == (60,)
    assert len(np.unique(found.samples)) > 5
    assert abs(found.mean - held.sum()) <= 4 * found.std / np.sqrt(60)
    assert found.std <= analysis.gamma_tilde(200, "fp16", "stochastic") * held.sum()
    again = analysis.spread(lambda x: x.sum(), x, fmt="fp16", runs=60, seed=1)
    assert np.array_equal(found.samples, again.samples)
    exact = analysis.spread(lambda x: -x, x, fmt="fp16", runs=3)
    assert not exact.std.any()
    assert not exact.relative.any()
    assert np.array_equal(exact.mean, -held)


def test_spread_hands_on_what_is_no_data():
    def powers(x, flag, name):
        assert flag is True
        assert name == "name"
        return x * x

    found = analysis.spread(powers, np.ones(2), True, "name", fmt="fp16", runs=2)
    assert found.samples.tolist() == [[1, 1], [1, 1]]
    solved = analysis.spread(linalg.solve, np.eye(2) + 0.1, [1.0, 2.0], fmt="fp16", runs=5)
    assert solved.relative.shape == (2,)
    assert 0 < solved.relative.max() < 0.01


@pytest.mark.parametrize("number", [3, np.int64(3), 3.0, (3, 3.0), [3]])
def test_spread_rounds_numbers_of_every_kind(number):
    found = analysis.spread(lambda x: x * 1.1, number, fmt="fp16", runs=20).samples
    assert np.array_equal(found, hu.quantize(found, "fp16"))
    assert len(np.unique(found)) > 1


def test_significant_digits_know_cancellation():
    """x - (x - e) of single precision keeps as many digits as e has left."""

    def difference(x, e):
        return (1 / x + e) - 1 / x

    for exponent in (-2, -4, -6):
        found = float(analysis.significant_digits(difference, 3.0, 10.0**exponent, fmt="fp32"))
        assert found == pytest.approx(7.2 + exponent, abs=1.2)
    assert analysis.significant_digits(difference, 3.0, 1e-9, fmt="fp32") < 0.5


def test_significant_digits_of_a_solution_follow_the_condition():
    n = 8
    good = RNG.standard_normal((n, n)) + 8 * np.eye(n)
    hilbert = 1 / (1 + np.add.outer(np.arange(6.0), np.arange(6.0)))
    digits = analysis.significant_digits(linalg.solve, good, good @ np.ones(n), fmt="fp32")
    assert digits.shape == (n,)
    assert digits.min() > 5
    lost = analysis.significant_digits(linalg.solve, hilbert, hilbert @ np.ones(6), fmt="fp32")
    assert np.median(lost) < 2
    assert lost.max() < 4
    exact = analysis.significant_digits(lambda x: 2 * x, 0.75, fmt="fp16")
    assert exact == 11 * np.log10(2)
    assert analysis.significant_digits(lambda x: x / 0, 1.0, fmt="fp16") == 0


def test_complete_messages():
    with pytest.raises(ValueError, match="spread: expected a stochastic rounding, got 'up'; runs of it"):
        analysis.spread(np.sqrt, 2.0, fmt="fp16", rounding="up")
    with pytest.raises(ValueError, match=r"gamma: expected a number of roundings, got 2\.5"):
        analysis.gamma(2.5, "fp16")
    with pytest.raises(ValueError, match="gamma_tilde: expected a number of roundings, got -1"):
        analysis.gamma_tilde(-1, "fp16")
    with pytest.raises(ValueError, match=r"orthogonality: expected a matrix, got shape \(2,\)"):
        analysis.orthogonality([1.0, 0])
    for call in (analysis.orthogonality, analysis.condition_number):
        with pytest.raises(TypeError, match="expected real numbers, got complex ones"):
            call(1j * np.eye(2))
    with pytest.raises(TypeError, match="backward_error: expected real numbers"):
        analysis.backward_error(np.eye(2), [1j, 0], [1, 0])
    with pytest.raises(ValueError, match="spread: expected at least 2 runs, got 1"):
        analysis.spread(np.sqrt, 2.0, fmt="fp16", runs=1)
    with pytest.raises(ValueError, match="significant_digits: expected at least 2 samples, got 1"):
        analysis.significant_digits(np.sqrt, 2.0, fmt="fp16", samples=1)
    with pytest.raises(ValueError, match="expected a probability between 0 and 1, got 95"):
        analysis.significant_digits(np.sqrt, 2.0, fmt="fp16", probability=95)
    with pytest.raises(TypeError, match="expected a function that returns one array or number; pick one"):
        analysis.spread(linalg.lu, np.eye(2), fmt="fp16")
