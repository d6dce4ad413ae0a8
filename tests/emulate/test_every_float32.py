"""All 2**32 float32 patterns, in every format of 16 bits and fewer: minutes each backend, so `make test-full` runs it."""

import time
from concurrent.futures import ThreadPoolExecutor

import halfulp as hu
import numba
import numpy as np
import pytest
from halfulp.emulate.layouts import LAYOUTS, fits
from halfulp.formats import exact
from halfulp.formats.registry import NAMED
from halfulp.formats.rounding import DETERMINISTIC, ROUNDINGS

from ..support.cases import expected, in_layout, with_signs

FLOAT32 = LAYOUTS["float32"]
NAMES = [name for name, fmt in NAMED.items() if fmt.bits <= 16 and fits(fmt, FLOAT32)]
CHUNK = 1 << 24


def runs(fmt, mode):
    """Ascending magnitudes where the result can change, and the result from each one on, per sign."""
    starts = {0, 1, FLOAT32.infinity, FLOAT32.infinity + 1}
    for point in exact.steps(in_layout(fmt, FLOAT32)):
        below = FLOAT32.floor(abs(point))
        starts |= {below, below + 1}
    magnitudes = np.array(sorted(starts), np.int64)
    results = expected(fmt, FLOAT32, mode, None, with_signs(magnitudes, FLOAT32))
    return magnitudes, results[: len(magnitudes)], results[len(magnitudes) :]


@numba.njit(nogil=True, cache=False)
def first_difference(got, start, run_starts, run_results):
    """Offset of the first element that is not what its run says, or -1; got[k] belongs to magnitude start + k."""
    k = 0
    run = np.searchsorted(run_starts, start, side="right") - 1
    while k < got.size:
        end = got.size
        if run + 1 < run_starts.size:
            end = min(end, run_starts[run + 1] - start)
        want = run_results[run]
        wrong = 0
        for j in range(k, end):
            wrong += got[j] != want
        if wrong:
            for j in range(k, end):
                if got[j] != want:
                    return j
        k = end
        run += 1
    return -1


class Sweep:
    """Runs a backend over every pattern and compares; the buffers are made once."""

    def __init__(self):
        self.base = np.arange(CHUNK, dtype=np.int32)
        self.bits = np.empty(CHUNK, np.int32)

    def __call__(self, fmt, mode, run):
        magnitudes, positive, negative = runs(fmt, mode)
        with ThreadPoolExecutor(2) as pool:
            for sign, results in ((0, positive), (-0x80000000, negative)):
                for start in range(0, 1 << 31, CHUNK):
                    np.add(self.base, np.int32(start + sign), out=self.bits)
                    got = run(self.bits.view(np.float32)).view(np.int32)
                    half = CHUNK // 2
                    first = pool.submit(first_difference, got[:half], start, magnitudes, results)
                    second = first_difference(got[half:], start + half, magnitudes, results)
                    wrong = first.result() if first.result() >= 0 else second + half if second >= 0 else -1
                    assert wrong < 0, (
                        f"{fmt.name} {mode.name}: {hex(start + wrong)} of sign {sign < 0} gives {hex(got[wrong])}"
                    )


@pytest.fixture(scope="module")
def sweep():
    return Sweep()


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_numpy_in_every_deterministic_rounding(name, sweep):
    out = np.empty(CHUNK, np.float32)
    began = time.perf_counter()
    for mode in DETERMINISTIC:
        sweep(NAMED[name], mode, lambda x: hu.quantize(x, name, rounding=mode, out=out))
    print(f"{name}: 8 roundings of 2**32 inputs in {time.perf_counter() - began:.0f} s")


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_torch_nearest_even(name, sweep):
    import torch

    out = torch.empty(CHUNK)
    sweep(NAMED[name], ROUNDINGS["nearest_even"], lambda x: hu.quantize(torch.from_numpy(x), name, out=out).numpy())


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_jax_nearest_even(name, sweep):
    import jax.numpy as jnp

    sweep(NAMED[name], ROUNDINGS["nearest_even"], lambda x: np.asarray(hu.quantize(jnp.asarray(x), name)))


@pytest.mark.parametrize("name", ["fp8_e4m3", "nf4"])
def test_the_sweep_finds_a_single_wrong_result(name):
    """The checker is checked: one flipped bit among 2**20 results is seen."""
    magnitudes, positive, _ = runs(NAMED[name], ROUNDINGS["nearest_even"])
    start = FLOAT32.floor(1) - (1 << 19)
    bits = np.arange(start, start + (1 << 20), dtype=np.int64).astype(np.int32)
    got = hu.quantize(bits.view(np.float32), name).view(np.int32)
    assert first_difference(got, start, magnitudes, positive) == -1
    got[777_777] ^= 1
    assert first_difference(got, start, magnitudes, positive) == 777_777
