"""Real bits: dense streams, native dtypes, and files that say what they hold."""

import json

import halfulp as hu
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
import torch
from halfulp.emulate.layouts import LAYOUTS, fits
from halfulp.formats.registry import NAMED
from halfulp.formats.scaled_registry import SCALED
from hypothesis import given, settings
from hypothesis import strategies as st

WIDTHS = [*range(1, 17), 32]
RNG = np.random.default_rng(0)
X = RNG.standard_normal((12, 70)).astype(np.float32)


def bits_of(codes, width):
    """The stream as the module's text says it: bit k * width + j is bit j of code k."""
    bits = np.array([(int(code) >> j) & 1 for code in codes for j in range(width)] or [], np.uint8)
    return np.packbits(bits, bitorder="little")


@pytest.mark.parametrize("width", WIDTHS)
def test_streams_equal_their_definition_and_come_back(width):
    for count in (9, 200, 0, 1, 2, 7, 8, 63):
        codes = RNG.integers(0, 1 << width, count, dtype=np.uint64).astype(np.uint32)
        want = bits_of(codes, width)
        for library in (np.asarray, torch.from_numpy, jnp.asarray)[
            : 3 if count == 9 else 2
        ]:  # JAX compiles each length
            stream = hu.pack_codes(library(codes), width)
            assert type(stream) is type(library(codes))
            assert np.array_equal(np.asarray(stream), want)
            back = hu.unpack_codes(stream, width, count)
            assert np.array_equal(np.asarray(back), codes)
            narrowest = "uint8" if width <= 8 else "uint16" if width <= 16 else "uint32"
            assert narrowest in str(back.dtype)


def test_long_streams_and_nibble_order():
    codes = RNG.integers(0, 8, 400_001).astype(np.uint8)
    assert np.array_equal(hu.unpack_codes(hu.pack_codes(codes, 3), 3, len(codes)), codes)
    assert hu.pack_codes(np.array([0xA, 0xB]), 4).tolist() == [0xBA]


@settings(deadline=None, max_examples=50)
@given(width=st.sampled_from(WIDTHS), data=st.data())
def test_any_codes_come_back(width, data):
    codes = np.array(data.draw(st.lists(st.integers(0, (1 << width) - 1), max_size=40)), np.uint32)
    stream = hu.pack_codes(codes, width)
    assert len(stream) == -(-len(codes) * width // 8)
    assert np.array_equal(hu.unpack_codes(stream, width, len(codes)), codes)


def test_under_jit():
    codes = jnp.arange(64, dtype=jnp.uint8)
    back = jax.jit(lambda c: hu.unpack_codes(hu.pack_codes(c, 6), 6, 64))(codes)
    assert np.array_equal(back, codes)
    values = jax.jit(lambda x: hu.unpack(hu.pack(x, "mxfp4")))(jnp.asarray(X[:, :64]))
    assert np.array_equal(values, hu.quantize(X[:, :64], "mxfp4"))


FITTING = {name: fmt for name, fmt in NAMED.items() if fits(fmt, LAYOUTS["float32"])}
PACKABLE = [name for name, fmt in FITTING.items() if fmt.bits <= 16 or fmt.bits == 32]


@pytest.mark.parametrize("name", [*PACKABLE, *SCALED])
def test_every_format_round_trips(name):
    options = {"pad": True} if name in SCALED else {}
    x = np.abs(X) + 0.1 if name == "e8m0" else X
    packed = hu.pack(x, name, **options)
    values = hu.unpack(packed)
    assert values.dtype == np.float32
    assert np.array_equal(values, hu.quantize(x, name, **options))
    expected = SCALED[name].bits_per_element(x.shape) if name in SCALED else hu.format(name).bits
    assert -1e-6 < 8 * packed.nbytes - expected * x.size < 8 * len(packed.streams)
    again = hu.pack(torch.from_numpy(x), name, **options)
    assert all(np.array_equal(again.streams[k].numpy(), packed.streams[k]) for k in packed.streams)
    assert torch.equal(hu.unpack(again), torch.from_numpy(values))


def test_the_dtype_that_was_packed_comes_back():
    for dtype in (np.float16, ml_dtypes.bfloat16, np.float64):
        x = X.astype(dtype)
        for name, options in (("mxfp4", {"pad": True}), ("fp8_e4m3", {})):
            values = hu.unpack(hu.pack(x, name, **options))
            assert values.dtype == dtype
            assert np.array_equal(values, hu.quantize(x, name, **options))
    assert hu.unpack(hu.pack(X.astype(np.float16), "bfloat16")).dtype == np.float32  # no float16 holds it
    assert hu.unpack(hu.pack(X, "mxfp4", pad=True), out_dtype="float64").dtype == np.float64


def test_bad_streams():
    stream = hu.pack_codes(np.arange(10), 5)
    for broken, message in [
        ((stream[:-1], 5, 10), "expected 7 bytes for 10 codes of 5 bits, got shape"),
        ((stream, 0, 10), "expected codes of 1 to 16 bits, or 32, got 0"),
        ((stream, 17, 10), "expected codes of 1 to 16 bits, or 32, got 17"),
    ]:
        with pytest.raises(ValueError, match=message):
            hu.unpack_codes(*broken)
    for library in (np.asarray, torch.from_numpy, jnp.asarray):
        dirty = stream.copy()
        dirty[-1] |= 0x80
        with pytest.raises(ValueError, match="the last bits of the stream are not zero"):
            hu.unpack_codes(library(dirty), 5, 10)
        with pytest.raises(ValueError, match="expected codes of 3 bits, got 0 to 9"):
            hu.pack_codes(library(np.arange(10)), 3)
        with pytest.raises(TypeError, match="expected integer codes, got"):
            hu.pack_codes(library(np.ones(3, np.float32)), 3)
        with pytest.raises(TypeError, match="expected a stream of uint8, got"):
            hu.unpack_codes(library(np.zeros(7, np.int32)), 5, 10)
    with pytest.raises(ValueError, match="expected codes of 1 to 16 bits, or 32, got 19"):
        hu.pack(X, "tf32")
    with pytest.raises(TypeError, match="pack needs a format; pass its name"):
        hu.pack(X)
    with pytest.raises(TypeError, match="codes are packed as they are; leave the format and options out"):
        hu.pack(hu.encode(X, "mxfp4", pad=True), "mxfp4")
    packed = hu.pack(X, "mxfp4", pad=True)
    with pytest.raises(ValueError, match=r"mxfp4: expected streams \['elements', 'scales'\], got \['elements'\]"):
        hu.unpack(hu.Packed(packed.fmt, packed.shape, packed.dtype, {"elements": packed.streams["elements"]}))
    with pytest.raises(ValueError, match="expected 384 bytes for 768 codes of 4 bits"):
        hu.unpack(hu.Packed(packed.fmt, (12, 64), packed.dtype, packed.streams))


# ------------------------------------------------------------ native dtypes


def test_codes_as_small_dtypes():
    x = X[:, :64]
    for name, dtype in [("fp8_e4m3", torch.float8_e4m3fn), ("fp8_e5m2", torch.float8_e5m2), ("fp8_e4m3fnuz", torch.float8_e4m3fnuz)]:  # fmt: skip
        t = hu.native(hu.encode(torch.from_numpy(x), name), name)
        assert t.dtype == dtype
        assert np.array_equal(t.float().numpy(), hu.quantize(x, name))
    for name in ("fp8_e4m3", "fp6_e3m2", "fp4_e2m1", "fp8_e3m4", "bfloat16", "binary16", "binary32"):
        for given_codes in (hu.encode(x, name), hu.encode(jnp.asarray(x), name))[: 1 if name == "fp6_e3m2" else 2]:
            array = hu.native(given_codes, name)
            assert np.array_equal(np.asarray(array).astype(np.float32), hu.quantize(x, name))
    parts = hu.native(hu.encode(torch.from_numpy(x), "mxfp4"))
    assert (parts["elements"].dtype, parts["elements"].shape) == (torch.float4_e2m1fn_x2, (12, 32))
    assert parts["scales"].dtype == torch.float8_e8m0fnu
    bytes_ = parts["elements"].view(torch.uint8).numpy()
    assert np.array_equal(bytes_.reshape(-1), hu.pack(x, "mxfp4").streams["elements"])
    parts = hu.native(hu.encode(x, "nvfp4"))
    values = parts["elements"].astype(np.float32).reshape(12, 4, 16) * parts["scales"].astype(np.float32)[..., None]
    assert np.allclose(values.reshape(12, 64) * parts["outer"], hu.quantize(x, "nvfp4"))


def test_formats_without_a_dtype():
    with pytest.raises(ValueError, match="there is no dtype for int4; there is for fp8_e4m3, "):
        hu.native(hu.encode(X, "int4", nan=0.0), "int4")
    with pytest.raises(ValueError, match="JAX has no dtype for fp6_e3m2; it has for fp8_e4m3"):
        hu.native(hu.encode(jnp.asarray(X), "fp6_e3m2"), "fp6_e3m2")
    with pytest.raises(ValueError, match="torch has no dtype for fp6_e3m2; it has for fp4_e2m1, fp8_e4m3"):
        hu.native(hu.encode(torch.from_numpy(X), "fp6_e3m2"), "fp6_e3m2")
    with pytest.raises(ValueError, match=r"torch packs two E2M1 codes along the last axis, got shape \(12, 69\)"):
        hu.native(hu.encode(torch.from_numpy(X[:, :69].copy()), "fp4_e2m1"), "fp4_e2m1")
    with pytest.raises(TypeError, match="native needs the format of the codes"):
        hu.native(np.zeros(3, np.uint8))
    with pytest.raises(ValueError, match="phase: there is no dtype for complex codes"):
        hu.native(hu.encode(X + 1j, "phase"))


# ------------------------------------------------------------ files


@pytest.fixture
def arrays():
    return {
        "layer.w": hu.pack(X, "nvfp4", pad=True),
        "layer.v": hu.pack(torch.from_numpy(X), "int4_per_row_asym"),
        "codes": hu.pack(jnp.asarray(X), "e3m2"),
        "z": hu.pack((X + 1j * X[::-1]).astype(np.complex64), "phase_t2"),
        "layer.w.bias": X[0],
        "half": torch.ones(3, dtype=torch.bfloat16),
        "empty": hu.pack(np.zeros((0, 3), np.float32), "fp8_e4m3"),
    }


def as_floats(array):
    return np.asarray(array.float() if isinstance(array, torch.Tensor) else array, np.float32)


@pytest.mark.parametrize("library", ["numpy", "torch", "jax"])
def test_files_give_back_what_was_saved(arrays, library, tmp_path):
    path = hu.save(tmp_path / "deep" / "model.safetensors", arrays)
    assert [p.name for p in path.parent.iterdir()] == ["model.safetensors"]
    found = hu.load(path, library)
    assert set(found) == set(arrays)
    for name, array in arrays.items():
        if isinstance(array, hu.Packed):
            assert found[name].fmt == array.fmt
            assert np.array_equal(np.asarray(hu.unpack(found[name])), np.asarray(hu.unpack(array)))
        else:
            assert np.array_equal(as_floats(found[name]), as_floats(array))
    metadata = json.loads(safetensors.safe_open(str(path), "np").metadata()["halfulp"])
    assert metadata["packed"]["layer.w"]["format"] == hu.format("nvfp4").spec


def rewrite(path, change):
    """The file with its tensors and metadata changed by hand."""
    with safetensors.safe_open(str(path), "np") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        metadata = json.loads(file.metadata()["halfulp"])
    change(tensors, metadata)
    safetensors.numpy.save_file(tensors, str(path), metadata={"halfulp": json.dumps(metadata)})


def cut(tensors, metadata):
    tensors["w.elements"] = tensors["w.elements"][:-1]


def missing(tensors, metadata):
    del tensors["w.scales"]


def superfluous(tensors, metadata):
    tensors["w.zero_points"] = np.zeros(3, np.uint8)


def wrong_dtype(tensors, metadata):
    tensors["w.scales"] = tensors["w.scales"].astype(np.int8)


def edit(**changes):
    def change(tensors, metadata):
        metadata["packed"]["w"].update(changes)

    return change


def set_version(tensors, metadata):
    metadata["version"] = 9


def no_entry(tensors, metadata):
    metadata["packed"]["w"] = 5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (cut, r"'w' is mxfp4 of shape \(12, 64\), so elements should have 384 bytes, got uint8\(383,\)"),
        (missing, "so scales should have 24 bytes, got nothing"),
        (superfluous, "'w' is mxfp4, which has no zero_points"),
        (wrong_dtype, "so scales should have 24 bytes, got int8"),
        (edit(format="mxfp8_e4m3"), "so elements should have 768 bytes, got uint8"),
        (edit(format="mxfp44"), "'w' is described wrongly .*unknown format 'mxfp44'"),
        (edit(shape=[12, 32]), "so elements should have 192 bytes"),
        (edit(shape=[12, -64]), "'w' is described wrongly"),
        (edit(shape=[1 << 60]), "'w' is described wrongly"),
        (edit(shape="12"), "'w' is described wrongly"),
        (edit(dtype="object"), "'w' is described wrongly .*object"),
        (no_entry, "'w' is described wrongly"),
        (set_version, "has version 9, expected 1; update halfulp"),
    ],
)
def test_files_that_do_not_match_their_metadata(change, message, tmp_path):
    path = hu.save(tmp_path / "w.safetensors", {"w": hu.pack(X[:, :64], "mxfp4")})
    rewrite(path, change)
    with pytest.raises(hu.FileError, match=message):
        hu.load(path)


def test_other_files(tmp_path):
    path = hu.save(tmp_path / "w.safetensors", {"w": hu.pack(X[:, :64], "mxfp4")})
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"not a file at all", whole[:8] + b"\xff" * 40 + whole[48:]):
        path.write_bytes(content)
        with pytest.raises(hu.FileError, match="is no safetensors file or is damaged"):
            hu.load(path)
    safetensors.numpy.save_file({"a": X}, str(path))
    with pytest.raises(hu.FileError, match="has no halfulp metadata; read it with safetensors itself"):
        hu.load(path)
    safetensors.numpy.save_file({"a": X}, str(path), metadata={"halfulp": "{"})
    with pytest.raises(hu.FileError, match="the halfulp metadata cannot be read"):
        hu.load(path)
    with pytest.raises(FileNotFoundError, match="no file at"):
        hu.load(tmp_path / "none")
    with pytest.raises(ValueError, match="expected library 'numpy', 'torch' or 'jax', got 'cupy'"):
        hu.load(path, "cupy")


def test_what_cannot_be_saved(tmp_path):
    packed = hu.pack(X[:, :64], "mxfp4")
    with pytest.raises(ValueError, match="two arrays would be named 'w.scales' in the file; rename one"):
        hu.save(tmp_path / "a", {"w": packed, "w.scales": X})
    with pytest.raises(TypeError, match="w: expected a packed or ordinary array, got list"):
        hu.save(tmp_path / "a", {"w": [1.0]})
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="folder"):
        hu.save(tmp_path / "folder", {"w": packed})
    assert not list(tmp_path.glob("*.part"))


def test_a_file_that_is_there_stays_whole_when_writing_fails(tmp_path, monkeypatch):
    path = hu.save(tmp_path / "w", {"w": hu.pack(X[:, :64], "mxfp4")})
    before = path.read_bytes()

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(safetensors.numpy, "save_file", full)
    with pytest.raises(OSError, match="No space left"):
        hu.save(path, {"w": hu.pack(X, "fp8_e4m3")})
    assert path.read_bytes() == before


@pytest.mark.parametrize("name", ["ternary", "fp4_e2m1", "int4", "uint4", "int3", "fp6_e3m2", "fp6_e2m3", "e2m2", "int7", "ue2m2", "e3m3fnuz"])  # fmt: skip
def test_one_pass_packs_what_two_do(name):
    for count in (1, 63, 4096, 5001, (1 << 20) + 13):
        x = np.random.default_rng(count).normal(size=count).astype(np.float32) * 3
        x[:1] = -np.inf
        for options in ({}, {"rounding": "up"}, {"rounding": "toward_zero"}):
            stream = hu.pack(x, name, **options).streams["elements"]
            codes = hu.encode(x, name, **options)
            assert np.array_equal(stream, hu.pack_codes(codes, hu.format(name).bits))
    half = x.astype(np.float16)
    assert np.array_equal(hu.pack(half, name).streams["elements"], hu.pack(half.astype(np.float32), name).streams["elements"])  # fmt: skip
    tensor = torch.from_numpy(x).bfloat16()
    assert np.array_equal(hu.pack(tensor, name).streams["elements"].numpy(), hu.pack(tensor.float(), name).streams["elements"].numpy())  # fmt: skip
    if hu.format(name).nan_code is None:
        with pytest.raises(ValueError, match="has no code for NaN"):
            hu.pack(np.array([1.0, np.nan], np.float32), name)


@pytest.mark.parametrize("name", ["ternary", "fp4_e2m1", "int3", "fp6_e3m2", "int7"])
@pytest.mark.parametrize("library", [np.asarray, torch.from_numpy])
def test_one_pass_unpacks_what_two_do(name, library):
    """Long and short streams, in every dtype that holds the values; codes without a value are NaN."""
    fmt = hu.format(name)
    for count in (0, 1, 9, 4096, 10_001):
        codes = RNG.integers(0, 1 << fmt.bits, count).astype(np.uint8)
        for dtype in ("float16", "bfloat16", "float32", "float64"):
            packed = hu.Packed(fmt, (count, 1), dtype, {"elements": library(hu.pack_codes(codes, fmt.bits))})
            want = hu.decode(library(codes.reshape(count, 1)), fmt, out_dtype=dtype)
            got = hu.unpack(packed)
            assert got.dtype == want.dtype
            assert np.array_equal(np.asarray(got.tolist()), np.asarray(want.tolist()), equal_nan=True)


def test_one_pass_checks_what_two_do():
    stream = np.array([0x21, 0x43], np.uint8)
    fmt = hu.format("fp4_e2m1")
    with pytest.raises(ValueError, match="last bits"):
        hu.unpack(hu.Packed(fmt, (3,), "float32", {"elements": stream}))
    with pytest.raises(ValueError, match="expected 3 bytes"):
        hu.unpack(hu.Packed(fmt, (5,), "float32", {"elements": stream}))
    with pytest.raises(TypeError, match="uint8"):
        hu.unpack(hu.Packed(fmt, (4,), "float32", {"elements": stream.astype(np.int8)}))
    with pytest.raises(ValueError, match="do not fit float16"):
        hu.unpack(hu.Packed(hu.format("int3@-40"), (5,), "float16", {"elements": stream}), out_dtype="float16")
