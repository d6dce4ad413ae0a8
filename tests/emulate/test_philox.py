"""The random bits: known answers, golden values that must never change, and independence of everything else."""

import hashlib

import halfulp as hu
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from halfulp.emulate.backends import cpu
from halfulp.emulate.backends.integers import NumpyWords
from halfulp.emulate.backends.torch_integers import TorchWords
from halfulp.emulate.layouts import LAYOUTS
from halfulp.emulate.philox import philox

from ..support import reference_philox as reference

# Random123, examples/kat_vectors: philox4x32 10, counter, key, result.
KNOWN_ANSWERS = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    (
        (0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF),
        (0xFFFFFFFF, 0xFFFFFFFF),
        (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD),
    ),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize(("counter", "key", "result"), KNOWN_ANSWERS)
def test_random123_known_answers(counter, key, result):
    assert tuple(reference.philox(counter, key)) == result
    words = philox(NumpyWords(), [np.array([c], np.uint64) for c in counter], [np.uint64(k) for k in key])
    assert tuple(int(w[0]) for w in words) == result
    assert tuple(int(w) for w in philox(TorchWords(), torch.tensor(counter), torch.tensor(key))) == result


@pytest.mark.parametrize(("counter", "key", "result"), KNOWN_ANSWERS)
def test_known_answers_in_jax_and_numba(counter, key, result):
    from halfulp.emulate.backends.jax_integers import JaxWords
    from halfulp.emulate.backends.numba import philox_words

    words = philox(JaxWords(), jnp.array(counter, jnp.uint32), jnp.array(key, jnp.uint32))
    assert tuple(int(w) for w in words) == result
    out = np.empty(4, np.uint32)
    first = np.uint64(counter[0] | counter[1] << 32)
    philox_words(out, first, *(np.uint64(w) for w in (*counter[2:], *key)))
    assert tuple(map(int, out)) == result


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_layout_of_the_stream(dtype):
    """Element i reads word i & 3 of block i >> 2; float64 reads words 2i and 2i + 1, the first one high."""
    layout = LAYOUTS[dtype]
    first, seed = (1 << 34) - 5, 0x123456789ABCDEF
    got = cpu.random_words((7, 9, seed & 0xFFFFFFFF, seed >> 32), first, 12, layout)
    want = [reference.element_word(first + k, seed, layout.width, step=9, stream=7) for k in range(12)]
    assert [int(w) % (1 << layout.work_width) for w in got] == want


def bits_used(x, **options):
    """Results as bytes: stochastic rounding of constants shows the random bits."""
    result = hu.quantize(x, "fp8_e4m3", rounding="stochastic", **options)
    return np.asarray(result.float() if isinstance(result, torch.Tensor) else result).astype(np.float32).tobytes()


GOLDEN = {
    "float16": "614fc912368d017c",
    "bfloat16": "614fc912368d017c",
    "float32": "614fc912368d017c",
    "float64": "2c968958762c2b15",
}


@pytest.mark.parametrize("dtype", list(GOLDEN))
def test_golden_hashes(dtype):
    """Released bits never change. 16-bit dtypes draw the bits float32 draws."""
    x = torch.full((1000,), 1.03125, dtype=getattr(torch, dtype))
    results = {bits_used(a, seed=2**40 + 3, step=5, stream=11, offset=2**33 + 1) for a in three(x)}
    assert len(results) == 1
    assert hashlib.sha256(results.pop()).hexdigest()[:16] == GOLDEN[dtype]


def three(x):
    """A torch tensor as torch, NumPy and JAX array."""
    yield x
    bits = {2: torch.int16, 4: torch.int32, 8: torch.int64}[x.element_size()]
    dtype = jnp.dtype(str(x.dtype).removeprefix("torch."))
    array = x.view(bits).numpy().view(dtype)
    yield array
    if x.dtype is not torch.float64:
        yield jnp.asarray(array)
    else:
        with jax.enable_x64(True):
            yield jnp.asarray(array)


SHAPE = (6, 10, 9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_any_slice_draws_the_bits_of_its_place(dtype):
    whole = torch.full(SHAPE, 1.03, dtype=dtype)
    for x in three(whole):
        with jax.enable_x64(dtype is torch.float64):
            want = quantized(x)
            flat = quantized(x.reshape(-1)[77:300], offset=77)
            assert same(flat, want.reshape(-1)[77:300])
            for start, size in [
                ((0, 0, 0), (6, 10, 9)),
                ((2, 0, 0), (3, 10, 9)),
                ((1, 4, 0), (2, 5, 9)),
                ((0, 3, 2), (6, 2, 4)),
                ((5, 9, 8), (1, 1, 1)),
            ]:
                cut = tuple(slice(s, s + n) for s, n in zip(start, size))
                part = quantized(x[cut], offset=hu.Shard(start, SHAPE))
                assert same(part, want[cut]), (type(x), start, size)


def quantized(x, **options):
    return hu.quantize(x, "fp8_e4m3", rounding="stochastic", seed=5, **options)


def same(a, b):
    return np.array_equal(np.asarray(a, np.float64) if not isinstance(a, torch.Tensor) else a.double().numpy(),
                          np.asarray(b, np.float64) if not isinstance(b, torch.Tensor) else b.double().numpy())  # fmt: skip


def test_memory_layout_threads_and_chunks_do_not_matter(monkeypatch):
    x = np.full((1 << 10, 1 << 11), 1.03, np.float32)  # large enough for threads
    want = quantized(x)
    assert np.array_equal(quantized(np.asfortranarray(x)), want)
    assert np.array_equal(quantized(x[::-1, ::-1]), want)  # every element is equal, so only the place counts
    assert np.array_equal(quantized(torch.from_numpy(x).t().contiguous().t()).numpy(), want)
    monkeypatch.setattr(cpu, "_THREADED_FROM", 1 << 60)
    assert np.array_equal(quantized(x), want)
    monkeypatch.setattr(cpu, "_PORTABLE_CHUNK", 1000)
    monkeypatch.setattr(cpu, "parameters", lambda *_: None)
    assert np.array_equal(quantized(x), want)


def test_rows_split_over_threads_keep_their_place(monkeypatch):
    monkeypatch.setattr(cpu, "_THREADED_FROM", 1)
    x = np.full((7, 33), 1.03, np.float32)
    whole = quantized(np.full((7, 50), 1.03, np.float32))
    assert np.array_equal(quantized(x, offset=hu.Shard((0, 10), (7, 50))), whole[:, 10:43])


def test_steps_streams_and_seeds_differ():
    x = np.full(4096, 1.03, np.float32)
    settings = [{}, {"seed": 1}, {"seed": 1 << 32}, {"step": 1}, {"stream": 1}, {"offset": 1}]
    results = [bits_used(x, **{"seed": 0, **s}) for s in settings]
    assert len(set(results)) == len(settings)


def test_seeds_may_be_words_tensors_and_keys():
    x = np.full(256, 1.03, np.float32)
    want = bits_used(x, seed=(7 << 32) + 5)
    assert bits_used(x, seed=np.array([5, 7], np.uint32)) == want
    assert bits_used(torch.from_numpy(x), seed=torch.tensor((7 << 32) + 5)) == want
    assert bits_used(torch.from_numpy(x), seed=torch.tensor([5, 7])) == want
    assert bits_used(jnp.asarray(x), seed=jnp.array([5, 7], jnp.uint32)) == want
    key = jax.random.key(5)
    data = np.asarray(jax.random.key_data(key))
    assert bits_used(jnp.asarray(x), seed=key) == bits_used(x, seed=data)
    assert bits_used(jnp.asarray(x), seed=jnp.uint32(5)) == bits_used(x, seed=5)
    assert bits_used(torch.from_numpy(x), seed=1, step=torch.tensor(3), stream=torch.tensor(4)) == bits_used(
        x, seed=1, step=3, stream=4
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": -1}, r"expected a seed from 0 to 2\*\*64 - 1, got -1"),
        ({"seed": 1 << 64}, r"expected a seed from 0 to 2\*\*64 - 1"),
        ({"seed": [1, 2, 3]}, "expected a seed of one integer or two uint32 words"),
        ({"seed": 0, "step": -1}, r"expected step from 0 to 2\*\*32 - 1, got -1"),
        ({"seed": 0, "stream": 1 << 32}, r"expected stream from 0 to 2\*\*32 - 1"),
        ({"seed": 0, "offset": -4}, "expected offset >= 0, got -4"),
        ({"seed": 0, "offset": hu.Shard((3,), (5,))}, r"Shard\(.*\) does not hold an array of shape \(4,\)"),
        ({"seed": 0, "offset": hu.Shard((0, 0), (5, 5))}, "does not hold an array of shape"),
        ({}, "rounding 'stochastic' needs a seed; pass seed=0"),
    ],
)
def test_bad_randomness(options, message):
    for x in (np.ones(4, np.float32), torch.ones(4), jnp.ones(4)):
        with pytest.raises(ValueError, match=message):
            hu.quantize(x, "fp8_e4m3", rounding="stochastic", **options)


def test_bad_shards():
    with pytest.raises(ValueError, match="expected a start per axis"):
        hu.Shard((0,), (2, 2))
    with pytest.raises(ValueError, match="expected no negative entries"):
        hu.Shard((0, -1), (2, 2))


def test_fold_stream_is_pinned_and_nested_maps_stay_apart():
    assert [hu.fold_stream(0, k) for k in range(3)] == [2462723854, 1020716019, 454327756]
    folded = {hu.fold_stream(hu.fold_stream(s, a), b) for s in range(4) for a in range(50) for b in range(50)}
    assert len(folded) == 4 * 50 * 50
