"""Corners of scaled formats: ends of the exponent range, names, pairs, empty tensors, hostile files."""

import json
from math import ceil

import halfulp as hu
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
import torch
from halfulp.formats.scaled import Rule

X = np.random.default_rng(0).standard_normal((4, 64)).astype(np.float32)


@pytest.mark.parametrize(("number", "want"), [(4.5, 4), (5.5, 6), (6.5, 6), (1.125, 1), (0.40625, 0.375)])
def test_ties_of_hif4_scales_go_to_even_codes(number, want):
    scale = hu.format("hif4").scale
    assert hu.quantize(np.float32(number), scale) == want
    assert hu.encode(np.float32(number), scale) % 2 == 0


@pytest.mark.parametrize("rule", ["rceil", "nearest", "floor"])
@pytest.mark.parametrize("element", ["fp8_e5m2", "fp8_e4m3"])
def test_scales_that_underflow_are_the_smallest(element, rule):
    fmt = hu.scaled(element, scale="e8m0", block=32, rule=rule)
    x = np.zeros(32, np.float32)
    x[:3] = 2.0**-142, -(2.0**-137), 3 * 2.0**-137
    values = hu.quantize(x, fmt)
    assert np.array_equal(hu.decode(hu.encode(x, fmt)), values)
    assert hu.scales(x, fmt).decode.tolist() == [2.0**-127]
    assert np.array_equal(jax.jit(lambda a: hu.quantize(a, fmt))(x), values)
    assert np.array_equal(values.astype(float), hu.quantize(x.astype(float) * 2.0**127, element) * 2.0**-127)


@pytest.mark.parametrize("element", ["e0m3", "int8_narrow@-7"])
@pytest.mark.parametrize("rule", ["floor", "ceil", "even", "tetrajet", "nearest_log2"])
def test_scales_past_the_largest_saturate(element, rule):
    fmt = hu.scaled(element, scale="binary32", rule=rule)
    x = np.array([3.4e38, 1e38, -2e38], np.float32)
    values = hu.quantize(x, fmt)
    assert np.isfinite(values).all()
    assert np.array_equal(hu.decode(hu.encode(x, fmt)), values)
    assert hu.scales(x, fmt).decode.item() == np.finfo(np.float32).max
    assert np.array_equal(jax.jit(lambda a: hu.quantize(a, fmt))(x), values)


def test_a_small_target_scales_to_the_largest_power_of_two():
    fmt = hu.scaled("fp4_e2m1", scale="e8m0", block=2, rule="floor", target="1/8")
    values = hu.quantize(np.array([3.4e38, 1e38], np.float32), fmt)
    assert values.tolist() == [np.finfo(np.float32).max, 2.0**126]


@pytest.mark.parametrize("library", ["numpy", "torch", "jax"])
def test_pairs_are_rounded_by_component(library):
    make = {"numpy": np.asarray, "torch": torch.from_numpy, "jax": jnp.asarray}[library]
    re, im = make(X), make(X * 100)
    for fmt in ("int8_per_tensor", "fp8_e4m3", "mxfp4"):
        pair = hu.quantize((re, im), fmt)
        assert isinstance(pair, tuple)
        assert type(pair[0]) is type(hu.quantize(re, fmt))
        assert np.array_equal(pair[0], hu.quantize(re, fmt))
        assert np.array_equal(pair[1], hu.quantize(im, fmt))


def test_complex_numbers_in_lists():
    assert hu.quantize([1.3 + 2.2j, 0.1j], "fp4_e2m1").tolist() == [1.5 + 2j, 0j]
    assert hu.quantize((1.3, 2.2), "fp4_e2m1").tolist() == [1.5, 2.0]  # a sequence of numbers
    with pytest.raises(TypeError, match="encode the real and imaginary parts apart"):
        hu.encode((X, X), "fp4_e2m1")


def test_unsigned_elements_stay_unsigned():
    fmt = hu.format("uint4_per_tensor")
    assert (fmt.name, fmt.element.name) == ("uint4_per_tensor", "uint4")
    assert hu.quantize(np.array([-8.0, 15.0], np.float32), fmt).tolist() == [0.0, 15.0]
    assert hu.format("uint8_per_row_asym") == hu.format("int8_per_row_asym")


@pytest.mark.parametrize("fmt", ["mxfp4", "fp8_e4m3", "int8_per_row_asym"])
@pytest.mark.parametrize("ste", ["clip", "identity"])
def test_gradients_of_empty_tensors(fmt, ste):
    x = torch.zeros(0, 32, requires_grad=True)
    hu.quantize(x, fmt, ste=ste).sum().backward()
    assert x.grad.shape == (0, 32)


@pytest.mark.parametrize("n", [10, 16, 64, 100])
def test_percentiles_are_the_nearest_rank(n):
    x = np.arange(1, n + 1, dtype=np.float32)
    for percent in (7, 14, 28, 55, 56, 99.9, 0.1):
        scale = hu.scales(x, hu.scaled("int8_narrow", rule=f"percentile:{percent}")).decode.item()
        rank = (
            ceil(round(percent * 10) * n / 1000)
            if (round(percent * 10) * n) % 1000
            else round(percent * 10) * n // 1000
        )
        assert round(scale * 127) == max(rank, 1)


@pytest.mark.parametrize(
    "rule",
    ["mse:1", "static:1e30", "static:1e+30", "percentile:99.9+rceil", Rule(search=(0.5, 1e-5)), Rule(search=(2.0,))],
)
def test_rules_have_names_that_parse(rule):
    fmt = hu.scaled("int4", rule=rule)
    assert hu.format(fmt.name) == fmt
    assert hu.format(fmt.spec) == fmt


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: hu.scaled("uint8", zero_point=True, target=100), "no target"),
        (lambda: hu.scaled("int8", outer_block="row"), "needs a format of the outer scales"),
        (lambda: hu.format("scaled(uint8,zero_point=1)"), "expected zero_point=true or false, got '1'"),
        (lambda: hu.format("scaled(int8,block=4,block=8)"), "says block twice"),
        (lambda: hu.format("scaled(int8,block=4,target=1/0)"), "expected a number such as 6 or 1/8, got '1/0'"),
        (lambda: hu.scaled("int8", rule="mse:1..2"), "expected a number after ':'"),
        (lambda: hu.quantize(X, hu.scaled("int8", block=(2, 2)), axis=(0, -2)), "name one axis .* twice"),
        (lambda: hu.quantize(X, hu.scaled("int8", block=(2, 2)), axis=(1, 1)), "expected different axes"),
        (lambda: hu.quantize(X, "scaled(nf4,block=16)", overflow="special"), "a list of values only saturate"),
        (lambda: hu.decode(hu.encode(X + 1j, "phase"), out_dtype="float32"), "complex results keep the dtype"),
        (lambda: hu.unpack_codes(np.zeros(1, np.uint8), 4, -1), "expected a count of codes, got -1"),
    ],
)
def test_options_that_would_say_nothing(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_scales_that_are_given():
    halves = hu.quantize(X, "int8_per_tensor", scale=0.5)
    for scale in ([0.5], np.float32(0.5), np.array([0.5], np.float16)):
        assert np.array_equal(hu.quantize(X, "int8_per_tensor", scale=scale), halves)
    assert np.array_equal(hu.quantize(torch.from_numpy(X), "int8_per_tensor", scale=0.5), halves)
    assert np.array_equal(hu.quantize(jnp.asarray(X), "int8_per_tensor", scale=0.5), halves)
    found = hu.scales(X, "hif4")
    for wrong in ((found.micro[0][..., :4], found.micro[1]), (found.micro[0] * 2, found.micro[1])):
        with pytest.raises(ValueError, match="micro: expected zeros and ones of shape"):
            hu.quantize(X, "hif4", scale=hu.Scales(found.decode, None, wrong))


def test_packed_arrays_cross_jit():
    packed = jax.jit(lambda v: hu.pack(v, "mxfp4"))(X)
    assert np.array_equal(packed.streams["elements"], hu.pack(X, "mxfp4").streams["elements"])
    assert np.array_equal(jax.jit(hu.unpack)(packed), hu.quantize(X, "mxfp4"))


def test_scalars_keep_their_shape_on_disk(tmp_path):
    path = hu.save(tmp_path / "a.safetensors", {"a": np.array(3.0), "b": jnp.float32(2), "c": torch.tensor(1.0)})
    assert [array.shape for array in hu.load(path).values()] == [(), (), ()]


def test_names_that_would_clash_are_not_saved(tmp_path):
    with pytest.raises(ValueError, match="would read as parts of the packed 'w'"):
        hu.save(tmp_path / "a.safetensors", {"w": hu.pack(X, "mxfp4"), "w.outer": X})


def test_dtypes_that_files_cannot_hold(tmp_path):
    for array in (hu.native(hu.encode(X, "mxfp4"))["scales"], torch.zeros(2).to(torch.float8_e4m3fn)):
        with pytest.raises(TypeError, match="s: .*view it as integers, or pack it"):
            hu.save(tmp_path / "a.safetensors", {"s": array})


def hostile(tmp_path, packed, raw=None):
    path = tmp_path / "hostile.safetensors"
    metadata = {"halfulp": raw or json.dumps({"version": 1, "packed": packed})}
    safetensors.numpy.save_file({"w.elements": np.zeros(4, np.uint8)}, str(path), metadata=metadata)
    return path


@pytest.mark.parametrize(
    "entry",
    [
        {"format": "scaled(fp4_e2m1,scale=e8m0,block=32,target=1/0)", "shape": [8], "dtype": "float32"},
        {"format": "scaled(s1p2,scale=e8m0,block=64,order=hif4,micro=0x4)", "shape": [8], "dtype": "float32"},
        {"format": "fp4_e2m1", "shape": [8], "dtype": "complex of float32"},
        {"format": "fp4_e2m1", "shape": [True], "dtype": "float32"},
        {"format": "fp4_e2m1", "shape": [1] * 100, "dtype": "float32"},
        {"format": ["fp4_e2m1"], "shape": [8], "dtype": "float32"},
    ],
)
def test_hostile_metadata(tmp_path, entry):
    with pytest.raises(hu.FileError, match="'w' is described wrongly"):
        hu.load(hostile(tmp_path, {"w": entry}))


def test_metadata_without_end_and_folders(tmp_path):
    with pytest.raises(hu.FileError, match="metadata cannot be read"):
        hu.load(hostile(tmp_path, None, "[" * 200000))
    with pytest.raises(hu.FileError, match="is a folder"):
        hu.load(tmp_path)


def test_bits_of_complex_formats():
    assert hu.format("phase").bits_per_element() == 2
    assert hu.format("phase_t2").bits_per_element((64, 64)) == 4 + 2 * 64 / 4096
