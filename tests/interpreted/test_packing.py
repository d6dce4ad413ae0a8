"""Streams of codes equal those of the CPU, byte for byte, by way of the front door."""

import numpy as np
import pytest
import torch
from halfulp.emulate.backends import triton, triton_packing
from halfulp.emulate.packing import pack_codes, unpack_codes


@pytest.mark.parametrize("bits", range(1, 9))
def test_streams(bits, monkeypatch):
    for count in (8, 4099):
        codes = torch.from_numpy(np.random.default_rng(bits).integers(0, 1 << bits, count)).to(torch.uint8)
        want = pack_codes(codes, bits)
        with monkeypatch.context() as patched:
            patched.setattr(triton, "available", lambda x: True)
            assert torch.equal(pack_codes(codes, bits), want)
            assert torch.equal(unpack_codes(want, bits, count), codes)
            shifted = torch.cat([want[:1], want])[1:]  # off the alignment of words
            assert torch.equal(unpack_codes(shifted, bits, count), codes)


def test_codes_that_do_not_fit_and_damage(monkeypatch):
    monkeypatch.setattr(triton, "available", lambda x: True)
    with pytest.raises(ValueError, match="expected codes of 4 bits, got 0 to 16"):
        pack_codes(torch.tensor([0, 16]), 4)
    with pytest.raises(ValueError, match="expected codes of 4 bits, got -1 to 3"):
        pack_codes(torch.tensor([-1, 3]), 4)
    assert triton_packing.pack(torch.tensor([256]), 8) is None
    with pytest.raises(ValueError, match="last bits of the stream are not zero"):
        unpack_codes(torch.tensor([0xF1], dtype=torch.uint8), 4, 1)
    assert pack_codes(torch.empty(0, dtype=torch.uint8), 4).numel() == 0
    assert unpack_codes(torch.empty(0, dtype=torch.uint8), 4, 0).numel() == 0
