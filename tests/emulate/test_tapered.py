"""Posits, takums, HiFloat8, logarithmic numbers and APoT: every code, both sides of every breakpoint, the ends."""

from functools import cache
from math import inf, nan

import halfulp as hu
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from halfulp.emulate.layouts import LAYOUTS, fits
from halfulp.formats.rounding import DETERMINISTIC

from ..support import tapered

MODES = [mode.name for mode in DETERMINISTIC]


@cache
def reference(name: str) -> tapered.Reference:
    fmt = hu.format(name)
    bits, family = fmt.bits, fmt.family
    if family == "hifloat8":
        return tapered.reference(tapered.hifloat8, 8, tapered.midpoint)
    if family == "lns":
        f = fmt.parameter
        return tapered.reference(lambda c: tapered.lns(c, bits, f), bits, tapered.logarithmic_tie(bits, f))
    decode = {"posit": tapered.posit, "takum": tapered.takum, "takum_log": tapered.takum_log}[family]
    if family == "posit":
        decode = lambda c, n: tapered.posit(c, n, fmt.parameter)  # noqa: E731
    return tapered.reference(lambda c: decode(c, bits), bits, tapered.complement_tie(decode, bits))


def both_sides(of: tapered.Reference) -> np.ndarray:
    points = np.concatenate([of.values, of.ties, of.values[[0, -1]] * 1.5, of.values[[0, -1]] * 1e9])
    points = np.concatenate([points, np.nextafter(points, inf), np.nextafter(points, -inf)])
    return np.unique(points[np.isfinite(points)])


def in_each_library(call, x, with_jax=True):
    """NumPy arrays of call(x) for NumPy, torch and JAX, which gets x padded to a size it has compiled for."""
    yield np.asarray(call(x))
    yield call(torch.from_numpy(x)).numpy()
    if not with_jax:
        return
    padded = np.resize(x, -(-len(x) // 65536) * 65536)
    with jax.enable_x64(True):
        yield np.asarray(call(jnp.asarray(padded)))[: len(x)]


OTHER_WIDTHS = [
    "posit6",
    "posit8es1",
    "posit5es0",
    "takum5",
    "takum10",
    "takum_log6",
    "takum12",
    "lns6f2",
    "lns5f3",
    "posit3",
]
NARROW = ["posit8", "takum8", "takum_log8", "hifloat8", "lns8f3", *OTHER_WIDTHS]
WIDE = ["posit16", "takum16", "takum_log16", "lns16f10"]


@pytest.mark.parametrize("name", [*NARROW, *WIDE])
def test_every_code_decodes_and_encodes(name):
    fmt, of = hu.format(name), reference(name)
    codes = np.arange(1 << fmt.bits, dtype=np.uint16)
    want = np.full(len(codes), nan)
    want[of.codes] = of.values
    if name == "hifloat8":
        want[[0x6F, 0xEF]] = inf, -inf
    by_jax = name not in OTHER_WIDTHS  # it compiles for each length of a table
    for values in in_each_library(lambda c: hu.decode(c, fmt, out_dtype="float64"), codes.astype(np.int32), by_jax):
        assert np.array_equal(values, want, equal_nan=True)
    for again in in_each_library(lambda v: hu.encode(v, fmt), of.values, by_jax):
        assert np.array_equal(again, of.codes)
    assert {float(fmt.value(int(c))) for c in of.codes} == set(of.values)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", NARROW)
def test_both_sides_of_every_breakpoint(name, mode):
    of = reference(name)
    x = both_sides(of)
    want = of.values[of.index(x, "nearest_away" if (name, mode) == ("hifloat8", "nearest_even") else mode)]
    for got in in_each_library(lambda a: hu.quantize(a, name, rounding=mode), x, name not in OTHER_WIDTHS):
        wrong = got != want
        assert not wrong.any(), (x[wrong][:5], got[wrong][:5], want[wrong][:5])


@pytest.mark.parametrize("name", WIDE)
def test_both_sides_of_every_breakpoint_of_16_bits(name):
    of = reference(name)
    x = both_sides(of)
    for mode in MODES:
        assert np.array_equal(hu.quantize(x, name, rounding=mode), of.values[of.index(x, mode)]), mode
    want = of.values[of.index(x, "nearest_even")]
    for got in in_each_library(lambda a: hu.quantize(a, name), x):
        assert np.array_equal(got, want)


@pytest.mark.parametrize("name", [*NARROW, *WIDE])
def test_the_ends_and_the_specials(name):
    fmt, of = hu.format(name), reference(name)
    huge, tiny = np.finfo(np.float64).max, np.finfo(np.float64).smallest_subnormal
    ends = hu.quantize([huge, -huge, tiny, -tiny, 0.0, -0.0], fmt)
    smallest = of.values[of.values > 0][0] if fmt.family in ("posit", "takum", "takum_log") else 0.0
    assert ends.tolist() == [of.values[-1], of.values[0], smallest, -smallest, 0.0, 0.0]
    assert not np.signbit(ends[ends == 0]).any()
    assert np.isnan(hu.quantize(nan, fmt))
    infinite = hu.quantize([inf, -inf], fmt)
    if fmt.rules.infinite == "nan":
        assert np.isnan(infinite).all()
        assert hu.encode([inf, -inf, nan], fmt).tolist() == [fmt.nan_code] * 3
    else:
        assert infinite.tolist() == [of.values[-1], of.values[0]]


def test_posit_vectors():
    """The range of the standard's formats; ties at the posit of one more bit; never zero or NaR."""
    assert (hu.format("posit8").max, hu.format("posit8").min_positive) == (2**24, 2.0**-24)
    assert (hu.format("posit16").max, hu.format("posit16").min_positive) == (2**56, 2.0**-56)
    assert hu.encode([2.0**22, 2.0**22 * 1.0001, 1e-30, -1e-30, 1e30], "posit8").tolist() == [0x7E, 0x7F, 1, 0xFF, 0x7F]
    assert hu.quantize(2.0**22, "posit8") == 2**20


def test_takum_vectors():
    assert hu.format("takum8").max == 2**239
    assert hu.quantize([1.0, -1.0, 1e300, -1e300], "takum16").tolist()[:2] == [1.0, -1.0]
    assert hu.encode(inf, "takum8") == 0x80
    assert hu.quantize(1.0, "takum_log16") == 1.0


def test_hifloat8_overflows_to_infinity_where_asked():
    x = np.array([40960.0, np.nextafter(40960.0, 0), -40960.0, 1e9, 2.0**-23, np.nextafter(2.0**-23, 0), inf])
    got = {overflow: hu.quantize(x, "hifloat8", overflow=overflow).tolist() for overflow in ("special", "propagate")}
    assert got["special"] == [inf, 32768, -inf, inf, 2.0**-22, 0, inf]
    assert got["propagate"] == [32768, 32768, -32768, 32768, 2.0**-22, 0, inf]
    assert hu.encode([inf, -inf, nan], "hifloat8", overflow="propagate").tolist() == [0x6F, 0xEF, 0x80]
    inward = {m: hu.quantize([1e9, -1e9], "hifloat8", overflow="special", rounding=m).tolist() for m in MODES}
    assert [inward[m] for m in ("toward_zero", "to_odd", "up", "down", "away")] == [
        [32768, -32768], [32768, -32768], [inf, -32768], [32768, -inf], [inf, -inf]]  # fmt: skip


def test_stochastic_overflow_of_hifloat8_is_even():
    """A quarter of the way from the largest value to where the next would be, a quarter becomes infinite."""
    x = np.full(1 << 16, 32768.0 + 4096.0)
    share = np.isinf(hu.quantize(x, "hifloat8", overflow="special", rounding="stochastic", seed=1)).mean()
    assert abs(share - 0.25) < 5 * (0.25 * 0.75 / x.size) ** 0.5


@pytest.mark.parametrize("name", ["posit8", "takum_log8", "hifloat8", "lns8f3", "apot_4"])
def test_stochastic_rounding_is_unbiased_and_the_same_everywhere(name):
    of = np.sort(hu.decode(np.arange(1 << hu.format(name).bits), name, out_dtype="float64"))
    of = of[np.isfinite(of)]
    x = np.repeat(of[:-1] + np.diff(of) * np.linspace(0.1, 0.9, len(of) - 1), 512)
    results = list(in_each_library(lambda a: hu.quantize(a, name, rounding="stochastic", seed=3), x))
    assert all(np.array_equal(results[0], other) for other in results[1:])
    gaps = np.repeat(np.diff(of), 512)
    z = ((results[0] - x) / gaps).sum() / (len(x) * 0.19) ** 0.5  # variances are p (1 - p), .19 on average
    assert abs(z) < 5


@pytest.mark.parametrize(
    ("name", "dtype"), [("takum8", "float32"), ("takum_log16", "bfloat16"), ("posit8", "float16"), ("posit16", "bfloat16"),
                        ("lns16f10", "float16"), ("nf4", "bfloat16"), ("hifloat8", None)]
)  # fmt: skip
def test_values_that_do_not_fit_the_dtype(name, dtype):
    able = [layout.name for layout in LAYOUTS.values() if fits(hu.format(name), layout)]
    if dtype is None:
        assert able == list(LAYOUTS)
        return
    x = torch.ones(3, dtype=getattr(torch, dtype))
    with pytest.raises(ValueError, match=f"values of {name} do not fit {dtype}; pass out_dtype='{able[0]}'"):
        hu.quantize(x, name)
    assert hu.encode(x, name).shape == (3,)
    assert str(hu.quantize(x, name, out_dtype=able[-1]).dtype) == f"torch.{able[-1]}"


def test_irrational_values_are_the_nearest_of_each_dtype():
    """In float32 a logarithmic value is the float32 nearest to the float64 that stands for it, and stays put."""
    values = hu.decode(np.arange(256), "lns8f3", out_dtype="float64")
    values = values[np.isfinite(values)]
    for dtype in (np.float32, np.float16):
        held = values.astype(dtype)
        for mode in MODES:
            assert np.array_equal(hu.quantize(held, "lns8f3", rounding=mode), held)


def test_tables_are_exact_where_subnormals_are_flushed():
    """Values of 2**-24 and below are float16 subnormals; building a table must not lose them."""
    from halfulp.emulate.codebook_tables import tabulate_listing

    fmt = hu.codebook([0.0, 2.0**-24, 3 * 2.0**-24, 2.0**-140])
    tabulate_listing.cache_clear()
    try:
        torch.set_flush_denormal(True)
        got = hu.encode(torch.tensor([2.0**-24, 3 * 2.0**-24, 2.0**-140, 0.0], dtype=torch.float64), fmt)
    finally:
        torch.set_flush_denormal(False)
    assert got.tolist() == [2, 3, 1, 0]


def test_apot_levels():
    """Equation 5 of arXiv:1909.13144: sums of one power from each term, every sum once."""
    levels = [float(v) for v in hu.format("apot_5").values if v >= 0]
    first, second = [0, 2**-1, 2**-3, 2**-5], [0, 2**-2, 2**-4, 2**-6]
    assert levels == sorted(a + b for a in first for b in second)
    assert [float(v) for v in hu.format("apot_4").values if v > 0] == [
        1 / 16,
        1 / 8,
        3 / 16,
        1 / 4,
        3 / 8,
        1 / 2,
        5 / 8,
    ]
    codes = hu.encode([0.5 + 2**-6, -(2**-3)], "apot_5").tolist()
    assert codes == [1 | 3 << 2, 16 | 2]


@pytest.mark.parametrize("ties", ["even", "lower", "away"])
def test_ties_of_codebooks(ties):
    fmt = hu.CodebookFormat("mine", (-3.0, -1.0, 0.0, 2.0), (5, 2, 7, 4), ties=ties)
    got = hu.quantize([-2.0, -0.5, 1.0], fmt).tolist()
    assert got == {"even": [-1.0, -1.0, 2.0], "lower": [-3.0, -1.0, 0.0], "away": [-3.0, -1.0, 2.0]}[ties]
    assert hu.format(fmt.spec) == fmt


def test_your_own_codebook():
    fmt = hu.codebook(np.array([0.5, -1.0, 0.5, 3.0], np.float32), name="mine")
    assert (fmt.values, fmt.codes, fmt.bits) == ((-1.0, 0.5, 3.0), (0, 1, 2), 2)
    assert hu.quantize([0.2, 1.75, 9.0, -inf], fmt).tolist() == [0.5, 0.5, 3.0, -1.0]
    assert hu.codebook([3.0, 1.0], codes=[0, 1]).codes == (1, 0)
    with pytest.raises(ValueError, match="expected a code for each of 2 values, got 1 codes"):
        hu.codebook([1.0, 2.0], codes=[1])
    with pytest.raises(ValueError, match="two or more finite values"):
        hu.codebook([1.0, 1.0])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("posit2", "posit formats have 3 to 16 bits, got 2"),
        ("posit8es5", "expected exponent bits of 0 to 4, got 5"),
        ("takum17", "takum formats have 3 to 16 bits"),
        ("lns16f4", "expected fraction bits of 5 to 14, got 4"),
        ("lns7", "unknown format 'lns7'"),
        ("takum8f3", "unknown format"),
        ("hifloat9", "did you mean"),
        ("apot_1", "apot formats have 2 to 9 bits"),
    ],
)
def test_names_that_are_none(name, message):
    with pytest.raises(ValueError, match=message):
        hu.format(name)


@pytest.mark.parametrize("name", ["posit8", "hifloat8", "lns8f3", "apot_5", "binary8p3se", "takum_log8"])
def test_elements_of_scaled_formats_and_packing(name):
    fmt = hu.scaled(name, block=16)
    assert fmt.goal == {"posit8": 16, "hifloat8": 16, "takum_log8": 2}.get(name, fmt.element.max)
    assert hu.format(fmt.name) == fmt
    x = np.random.default_rng(0).standard_normal((4, 64))
    values = hu.quantize(x, fmt)
    assert np.array_equal(hu.unpack(hu.pack(x, fmt)), values)
    assert np.array_equal(hu.quantize(torch.from_numpy(x), fmt).numpy(), values)
    with jax.enable_x64(True):
        assert np.array_equal(jax.jit(lambda a: hu.quantize(a, fmt))(x), values)
    error = ((values - x) ** 2).sum() / (x**2).sum()
    assert error < 0.05
    with (
        pytest.raises(ValueError, match="fit|saturate")
        if "binary" not in name
        else pytest.raises(ValueError, match="pad")
    ):
        hu.quantize(x[:, :9] if "binary" in name else x, fmt, overflow="special")


@pytest.mark.parametrize("name", ["posit8", "hifloat8", "lns8f3"])
def test_gradients_and_formats_as_data(name):
    x = torch.linspace(-300, 300, 101, dtype=torch.float64, requires_grad=True)
    hu.quantize(x, name).sum().backward()
    largest = float(hu.format(name).max)
    assert torch.equal(x.grad, (x.detach().abs() <= largest).double())
    data = hu.format_data([name, "apot_4"], "float32")
    y = jnp.linspace(-3, 3, 50, dtype=jnp.float32)
    mapped = jax.vmap(lambda fmt: hu.quantize(y, fmt))(data)
    assert np.array_equal(mapped, [hu.quantize(np.asarray(y), f) for f in (name, "apot_4")])
