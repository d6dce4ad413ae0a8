"""Published scale bytes, ties and error tables of scaled formats; other libraries agree wherever they are right."""

import warnings

import gfloat
import gfloat.formats
import halfulp as hu
import ml_dtypes
import numpy as np
import pytest
import torch

from ..support.scaled_cases import arrays_of

MX = {"mxfp8_e4m3": "fp8_e4m3", "mxfp8_e5m2": "fp8_e5m2", "mxfp6_e3m2": "fp6_e3m2", "mxfp6_e2m3": "fp6_e2m3", "mxfp4": "fp4_e2m1"}  # fmt: skip
MODES = {"FLOOR": "floor", "RCEIL": "rceil", "CEIL": "ceil", "EVEN": "even"}


def block_of(amax, size=32):
    x = np.zeros((1, size), np.float32)
    x[0, 0] = amax
    return x


# ------------------------------------------------------------ vectors


@pytest.mark.parametrize(
    ("element", "amax", "floor", "rceil", "ceil", "even"),
    [("fp8_e4m3", 448, 127, 127, 128, 127), ("fp8_e4m3", 449, 127, 128, 128, 127),
     ("fp8_e4m3", 1.9375, 119, 120, 120, 120), ("fp4_e2m1", 7, 127, 128, 128, 128)],
)  # fmt: skip
def test_scale_bytes(element, amax, floor, rceil, ceil, even):
    for rule, byte in {"floor": floor, "rceil": rceil, "ceil": ceil, "even": even}.items():
        fmt = hu.scaled(element, scale="e8m0", block=32, rule=rule)
        assert hu.encode(block_of(amax), fmt).scales.tolist() == [[byte]], rule


def test_maxima_one_ulp_below_a_power_of_two():
    """Where a float log2 rounds up: E4M3 gets byte 128 and 896, E2M1 keeps 6."""
    x = block_of(np.float32(np.uint32(0x447FFFFF).view(np.float32)))
    assert hu.encode(x, "mxfp8_e4m3").scales.tolist() == [[128]]
    assert hu.quantize(x, "mxfp8_e4m3")[0, 0] == 896
    assert hu.quantize(block_of(np.nextafter(np.float32(8), np.float32(0))), "mxfp4")[0, 0] == 6
    for dtype in ("float16", "bfloat16", "float32", "float64"):
        floats = getattr(ml_dtypes, dtype, None) or dtype
        for k in range(-10, 11):
            below = np.nextafter(np.array([2.0**k], floats), np.array([0], floats)).astype(np.float64)[0]
            x = np.zeros((1, 32), floats)
            x[0, 0] = below
            assert hu.encode(x, "mxfp4").scales[0, 0] == 127 + k - 1 - 2, (dtype, k)


def test_order_of_operations_of_nvfp4():
    """E4M3(amax * (S_enc * fl(1/6))) and E4M3(amax / 6) differ at 0x1.c7fffep-4: 0A and 09."""
    amax = np.float32(float.fromhex("0x1.c7fffep-4"))
    x = np.zeros((1, 32), np.float32)
    x[0, 0], x[0, 16] = amax, 2688  # the tensor maximum that makes S_enc one
    assert hu.encode(x, "nvfp4").scales.tolist() == [[0x0A, 0x7E]]
    plain = hu.scaled("fp4_e2m1", scale="fp8_e4m3", block=16)
    assert hu.encode(block_of(amax, 16), plain).scales.tolist() == [[0x09]]


def test_division_and_reciprocal_differ():
    """1.55f / 0.1f rounds to 15, 1.55f * (1 / 0.1f) to 16."""
    x, s = np.float32([1.55]), np.float32(0.1)
    by_division = hu.scaled("int8_narrow")
    by_reciprocal = hu.scaled("int8_narrow", encode="reciprocal")
    assert hu.quantize(x, by_division, scale=s) == np.float32(15) * s
    assert hu.quantize(x, by_reciprocal, scale=s) == np.float32(16) * s


def test_every_mx_scale_follows_its_definition():
    """X = (largest power of two <= amax) / 2**emax, from the bits of amax and numpy's exact frexp."""
    for name, emax in (("mxfp8_e4m3", 8), ("mxfp8_e5m2", 15), ("mxfp6_e3m2", 4), ("mxfp6_e2m3", 2), ("mxfp4", 2), ("mxint8", 0)):  # fmt: skip
        x = arrays_of("float32")["usual"]
        amax = np.abs(x.reshape(6, 2, 32)).max(axis=2)
        exponent = np.frexp(amax)[1] - 1
        assert np.array_equal(hu.encode(x, name).scales, np.clip(exponent - emax, -127, 127) + 127)


# ------------------------------------------------------------ tables


def draws(kind, count=1 << 19):
    """(1024, 512) samples; with phases, the deviation of each block of 32 spread over an octave, as scales that are
    powers of two see blocks of any amplitude."""
    rng = np.random.default_rng(7)
    distribution, _, phases = kind.partition(" ")
    sample = rng.laplace if distribution == "laplace" else rng.standard_normal
    x = sample(size=(count // 512, 512))
    if phases:
        x = (x.reshape(-1, 32) * 2.0 ** rng.random((count // 32, 1))).reshape(-1, 512)
    return x.astype(np.float32)


def relative_error(x, y, batches=64):
    """Relative mean squared error and its standard error, from batches."""
    x, y = (a.astype(np.float64).reshape(batches, -1) for a in (x, y))
    ratios = ((y - x) ** 2).sum(axis=1) / (x**2).sum(axis=1)
    return ratios.mean(), ratios.std(ddof=1) / np.sqrt(batches)


def scaled_as(element, scale, block, rule=None):
    return hu.scaled(element, scale=scale, block=block, rule=rule)


DECIBELS = [
    # element, scale, block, rule: Gaussian and Laplace SQNR in dB, arXiv:2510.25602 recomputed
    ("int8_narrow", "e8m0", 32, "tetrajet", 41.88, 39.94),
    ("fp8_e4m3", "e8m0", 32, "tetrajet", 31.52, 31.54),
    ("int6_narrow", "e8m0", 32, "tetrajet", 29.63, 27.71),
    ("fp6_e2m3", "e8m0", 32, "tetrajet", 30.95, 30.24),
    ("int4_narrow", "e8m0", 32, "tetrajet", 16.71, 14.93),
    ("fp4_e2m1", "e8m0", 32, "tetrajet", 18.66, 17.57),
    ("int4_narrow", "fp8_e4m3", 16, None, 21.27, 19.78),
    ("fp4_e2m1", "fp8_e4m3", 16, None, 20.44, 20.65),
    ("fp4_e2m1", "binary32", 16, None, 20.53, None),  # arXiv:2606.20381 recomputed
    ("int4_narrow", "binary32", 16, None, 21.39, None),
]


@pytest.mark.parametrize(("element", "scale", "block", "rule", "gaussian", "laplace"), DECIBELS)
def test_signal_to_noise_of_gaussian_and_laplace_data(element, scale, block, rule, gaussian, laplace):
    """Within four standard errors of 2**19 draws (about 0.02 dB) and the last published digit."""
    fmt = scaled_as(element, scale, block, rule)
    phases = " phases" if scale == "e8m0" else ""
    for kind, published in (("gaussian", gaussian), ("laplace", laplace)):
        if published is None:
            continue
        x = draws(kind + phases)
        mse, error = relative_error(x, hu.quantize(x, fmt))
        decibels, spread = -10 * np.log10(mse), 10 / np.log(10) * error / mse
        assert abs(decibels - published) < 4 * spread + 0.006, (kind, decibels, spread)


ERRORS = {
    # relative mean squared error, arXiv:2601.22813 (times 1000) and methods' recomputed values
    "nvfp4": 9.0e-3,
    "four_over_six": 7.6e-3,
    "bitnet": 0.2635,
    "binary_absmean": 0.3634,
}


@pytest.mark.parametrize("name", list(ERRORS))
def test_relative_errors_of_gaussian_data(name):
    x = draws("gaussian")
    mse, error = relative_error(x, hu.quantize(x, name))
    digit = 10.0 ** (np.floor(np.log10(ERRORS[name])) - (1 if ERRORS[name] < 0.1 else 3))
    assert abs(mse - ERRORS[name]) < 4 * error + 0.6 * digit, (mse, error)


def test_stochastic_rounding_and_three_quarters_of_a_scale():
    """Quartet's Table 2, phases averaged: x times 3/4 under the scale of x, divided by 3/4 again.

    Relative squared error, and misalignment 1 - <y, x> / <x, x>, both in units of each block's own deviation.
    """
    x, unit = draws("gaussian phases"), draws("gaussian")
    phase = (x / unit).astype(np.float64)
    scale = hu.scales(x, "mxfp4").decode
    cases = [("stochastic", 0.75, 2.779e-2, 0.0), ("nearest_even", 0.75, 1.367e-2, 9.47e-3), ("nearest_even", 1, 1.335e-2, 2.17e-2)]  # fmt: skip
    for rounding, factor, published, misaligned in cases:
        y = hu.quantize(x * np.float32(factor), "mxfp4", rounding=rounding, seed=0, scale=scale) / np.float32(factor)
        mse, error = relative_error(unit, y / phase)
        assert abs(mse - published) < 4 * error + 5e-6, (rounding, factor, mse, error)
        products = (unit * y / phase).reshape(64, -1).sum(axis=1) / (unit.astype(np.float64) ** 2).reshape(64, -1).sum(axis=1)  # fmt: skip
        assert abs(1 - products.mean() - misaligned) < 4 * products.std(ddof=1) / 8 + 5e-6, (rounding, factor)


def test_ternary_zeros_and_refitted_scale():
    """31.0% zeros; with the least-squares scale the error falls from .2635 to .2131."""
    x = draws("gaussian")
    q = np.sign(hu.quantize(x, "bitnet").astype(np.float64))
    assert abs((q == 0).mean() - 0.310) < 1e-3
    refit = q * ((x * q).sum() / (q * q).sum())
    mse, error = relative_error(x, refit)
    assert abs(mse - 0.2131) < 4 * error + 1e-4


def test_nf4_equals_its_published_steps():
    """bitsandbytes: divide by the largest magnitude of 64, take the nearest code, ties to the lower one."""
    x = draws("gaussian", 1 << 15)
    table = np.float32(hu.format("nf4").values)
    blocks = x.reshape(-1, 64)
    scale = np.abs(blocks).max(axis=1, keepdims=True)
    t = (blocks / scale)[..., None].astype(np.float64)
    codes = np.abs(t - table).argmin(axis=-1)
    found = hu.encode(x, "nf4_block64")
    assert np.array_equal(found.elements, codes.reshape(x.shape))
    assert np.array_equal(hu.decode(found), (table[codes] * scale).reshape(x.shape))
    assert round(hu.format("nf4_dq").bits_per_element(), 5) == 4.12695


# ------------------------------------------------------------ other libraries


@pytest.fixture(scope="module")
def torchao():
    """torchao's MX module; its warnings about missing GPU extensions are its own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torchao.prototype.mx_formats import mx_tensor
    return mx_tensor


def of_torchao(torchao, x, name, mode):
    """Scale bytes, and values as float32."""
    dtypes = {"mxfp8_e4m3": torch.float8_e4m3fn, "mxfp8_e5m2": torch.float8_e5m2, "mxfp4": torch.float4_e2m1fn_x2,
              "mxfp6_e3m2": "fp6_e3m2", "mxfp6_e2m3": "fp6_e2m3"}  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scale, data = torchao.to_mx(torch.from_numpy(x), dtypes[name], 32, getattr(torchao.ScaleCalculationMode, mode))
    codes = data.view(torch.uint8).numpy()
    if name == "mxfp4":
        codes = np.stack([codes & 15, codes >> 4], axis=-1).reshape(x.shape)
    return scale.view(torch.uint8).numpy(), codes.reshape(x.shape)


@pytest.mark.parametrize("mode", list(MODES))
@pytest.mark.parametrize("name", list(MX))
def test_torchao_agrees(torchao, name, mode):
    """Bytes of scales and elements, for amplitudes whose scales are normal float32."""
    fmt = hu.scaled(MX[name], scale="e8m0", block=32, rule=MODES[mode])
    for key in ("usual", "small"):
        x = arrays_of("float32")[key]
        scales, codes = of_torchao(torchao, x, name, mode)
        ours = hu.encode(x, fmt)
        agree = np.ones(ours.scales.shape, bool)
        if mode == "RCEIL":
            agree = ~disputed_rceil(x, fmt)
        assert np.array_equal(scales[agree], ours.scales[agree])
        assert np.array_equal(codes[np.repeat(agree, 32, axis=1)], ours.elements[np.repeat(agree, 32, axis=1)])


def disputed_rceil(x, fmt):
    """Blocks where amax / max and amax * fl(1 / max) lie on different sides of a power of two."""
    amax = np.abs(x.reshape(6, 2, 32)).max(axis=2)
    largest = np.float32(float(fmt.element.max))
    product, quotient = amax * (np.float32(1) / largest), amax / largest
    return np.ceil(np.log2(product.astype(np.float64))) != np.ceil(np.log2(quotient.astype(np.float64)))


def test_torchao_divides_where_rceil_multiplies(torchao):
    """NVIDIA's RCEIL is amax * fl(1 / max), as Transformer Engine computes it; torchao 0.18 divides."""
    largest = np.float32(6)
    for bits in range(0x40C00000 - 4, 0x40C00000 + 4):
        amax = np.uint32(bits).view(np.float32)
        product, quotient = amax * (np.float32(1) / largest), amax / largest
        if np.ceil(np.log2(np.float64(product))) != np.ceil(np.log2(np.float64(quotient))):
            ours = hu.encode(block_of(amax), hu.scaled("fp4_e2m1", scale="e8m0", block=32, rule="rceil")).scales[0, 0]
            theirs = of_torchao(torchao, block_of(amax), "mxfp4", "RCEIL")[0][0, 0]
            assert (int(ours), int(theirs)) == (127 + int(np.ceil(np.log2(np.float64(product)))), 127 + int(np.ceil(np.log2(np.float64(quotient)))))  # fmt: skip


def test_torchao_is_wrong_about_the_smallest_scale(torchao):
    """With scale byte 0, 2**-127, torchao 0.18 divides by 2**-126 (FLOOR) or by 1 (RCEIL)."""
    x = block_of(2.0**-127)
    assert hu.encode(x, "mxfp4").scales[0, 0] == 0
    assert hu.quantize(x, "mxfp4")[0, 0] == np.float32(2.0**-127)
    scale, codes = of_torchao(torchao, x, "mxfp4", "FLOOR")
    assert (scale[0, 0], codes[0, 0]) == (0, 1)  # 0.5, where 1.0 has code 2
    assert hu.encode(x, "mxfp4").elements[0, 0] == 2
    scale, codes = of_torchao(torchao, x, "mxfp4", "RCEIL")
    assert (scale[0, 0], codes[0, 0]) == (0, 0)


@pytest.mark.parametrize("name", list(MX))
def test_gfloat_agrees(name):
    """From float64, whose log2 is right unless amax is within an ulp of a power of two."""
    x = arrays_of("float64")["usual"][:4].astype(np.float32)
    fi = getattr(gfloat.formats, f"format_info_mx{name[2:]}" if name != "mxfp4" else "format_info_mxfp4_e2m1")
    for block, ours in zip(x.reshape(-1, 32), hu.quantize(x, name).reshape(-1, 32)):
        theirs = gfloat.quantize_block(fi, block.astype(np.float64), gfloat.compute_scale_amax)
        assert np.array_equal(theirs, ours)


def test_gfloat_is_wrong_next_to_a_power_of_two():
    """gfloat 0.5.2 takes the exponent from a log2, which for float32 rounds log2(pred(8)) up to 3."""
    fi = gfloat.formats.format_info_mxfp4_e2m1
    block = block_of(np.nextafter(np.float32(8), np.float32(0)))[0]
    assert gfloat.quantize_block(fi, block, gfloat.compute_scale_amax)[0] == 8
    assert hu.quantize(block, "mxfp4")[0] == 6


def test_gfloat_uses_the_most_negative_int8():
    """MXINT8 as gfloat reads it holds -2; here the code stays unused, as OCP MX allows, for symmetry."""
    fi = gfloat.formats.format_info_mxint8
    block = block_of(-1.999)[0].astype(np.float64)
    assert gfloat.quantize_block(fi, block, gfloat.compute_scale_amax)[0] == -2
    assert hu.quantize(block, "mxint8")[0] == -127 / 64
    x = np.random.default_rng(0).uniform(-1.9, 1.9, 320)
    for block, ours in zip(x.reshape(-1, 32), hu.quantize(x.reshape(-1, 32), "mxint8")):
        assert np.array_equal(gfloat.quantize_block(fi, block, gfloat.compute_scale_amax), ours)


@pytest.fixture(scope="module")
def pychop():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pychop
    return pychop


def of_pychop(pychop, x, name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return np.asarray(pychop.mx_quantize(x, format="mxfp4_e2m1" if name == "mxfp4" else name))


@pytest.mark.parametrize("name", [*MX, "mxint8"])
def test_pychop_agrees(pychop, name):
    x = arrays_of("float64")["usual"][:3]
    x = np.where(np.abs(x) < 1e-3, 0.01, x) if name == "mxint8" else x
    ours = hu.quantize(x, name)
    theirs = of_pychop(pychop, x, name).reshape(x.shape)
    symmetric = np.abs(ours) != float(hu.format(name).element.max) * np.abs(ours) if name == "mxint8" else True
    assert np.array_equal(theirs[np.broadcast_to(symmetric, x.shape)], ours[np.broadcast_to(symmetric, x.shape)])


def test_pychop_is_wrong_next_to_a_power_of_two(pychop):
    """Pychop 0.6.2 takes a float32 log2: the largest element of a block below 8 becomes 8 instead of 6."""
    x = block_of(np.nextafter(np.float32(8), np.float32(0)))[0]
    assert of_pychop(pychop, x, "mxfp4").reshape(-1)[0] == 8
    assert hu.quantize(x, "mxfp4")[0] == 6


def test_pychop_leaves_a_block_with_nan(pychop):
    """OCP MX marks such a block in its scale, which spoils all of it; Pychop 0.6.2 ignores the NaN."""
    x = block_of(1.0)[0]
    x[5] = np.nan
    assert np.isnan(hu.quantize(x, "mxfp4")).all()
    assert not np.isnan(of_pychop(pychop, x, "mxfp4").reshape(-1)[0])
