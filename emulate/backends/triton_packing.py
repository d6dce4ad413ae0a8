"""Dense streams of 1 to 8-bit codes in Triton; the layout is that of `emulate.packing`.

Eight codes of b bits are b whole bytes, so that a group of eight travels as one 64-bit word. The width is run-time
data; words of 1, 2, 4 or 8 bytes move at once, others byte by byte.
"""
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportIndexIssue=false
# pyright: reportOperatorIssue=false, reportCallIssue=false, reportGeneralTypeIssues=false

import torch
import triton
import triton.language as tl

from .triton_memory import launch

GROUPS = 512
"""Groups of eight codes in a program."""
_INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


@triton.jit(do_not_specialize=["bits"])
def packing(codes, stream, flag, size, groups, bits, WHOLE: tl.constexpr, GROUPS: tl.constexpr):
    """Eight codes at a time to words.

    Args:
        stream: where the words go, groups * bits bytes; integers of `bits` bytes where WHOLE.
        flag: int32, set where a code has more bits.
    """
    group = tl.program_id(0).to(tl.int64) * GROUPS + tl.arange(0, GROUPS)
    lane = tl.arange(0, 8)
    at = group[:, None] * 8 + lane[None, :]
    code = tl.load(codes + at, mask=at < size, other=0).to(tl.int64)
    wrong = tl.max(tl.max(tl.where((code >> bits) != 0, 1, 0), axis=1), axis=0)
    if wrong != 0:
        tl.store(flag, 1)
    word = tl.sum(code << (lane * bits).to(tl.int64)[None, :], axis=1)  # no two share a bit
    if WHOLE:
        tl.store(stream + group, word.to(stream.dtype.element_ty), mask=group < groups)
    else:
        byte = (word[:, None] >> (lane * 8).to(tl.int64)[None, :]).to(tl.uint8)
        there = (group < groups)[:, None] & (lane < bits)[None, :]
        tl.store(stream + group[:, None] * bits + lane[None, :], byte, mask=there)


@triton.jit(do_not_specialize=["bits"])
def unpacking(stream, codes, bytes_, groups, bits, WHOLE: tl.constexpr, GROUPS: tl.constexpr):
    """Words to eight codes each; `codes` has room for whole groups, and bytes past the stream's are zero."""
    group = tl.program_id(0).to(tl.int64) * GROUPS + tl.arange(0, GROUPS)
    lane = tl.arange(0, 8)
    if WHOLE:
        word = tl.load(stream + group, mask=group < groups, other=0).to(tl.int64)
    else:
        at = group[:, None] * bits + lane[None, :]
        byte = tl.load(stream + at, mask=(lane < bits)[None, :] & (at < bytes_), other=0).to(tl.int64)
        word = tl.sum(byte << (lane * 8).to(tl.int64)[None, :], axis=1)
    code = (word[:, None] >> (lane * bits).to(tl.int64)[None, :]) & ((1 << bits) - 1)
    tl.store(codes + group[:, None] * 8 + lane[None, :], code.to(tl.uint8), mask=(group < groups)[:, None])


def pack(codes: torch.Tensor, bits: int) -> torch.Tensor | None:
    """(ceil(n * bits / 8),) uint8 of integer codes; None where one needs more than 1 <= bits <= 8 bits."""
    flat = codes.reshape(-1)
    size, groups = flat.numel(), -(-flat.numel() // 8)
    stream = torch.empty(groups * bits, dtype=torch.uint8, device=codes.device)
    flag = torch.zeros(1, dtype=torch.int32, device=codes.device)
    whole = bits in _INTEGERS
    if size:
        words = stream.view(_INTEGERS[bits]) if whole else stream
        programs = -(-groups // GROUPS)
        launch(packing, programs, codes.device, flat, words, flag, size, groups, bits, WHOLE=whole, GROUPS=GROUPS)
    fits = flat.dtype == torch.uint8 and bits == 8
    return None if not fits and bool(flag) else stream[: -(-size * bits // 8)]


def unpack(stream: torch.Tensor, bits: int, count: int) -> torch.Tensor:
    """(8 * ceil(count / 8),) uint8 codes of a stream of ceil(count * bits / 8) bytes: those past `count` included."""
    groups = -(-count // 8)
    codes = torch.empty(groups * 8, dtype=torch.uint8, device=stream.device)
    stream = stream.contiguous()
    aligned = stream.storage_offset() % bits == 0 and stream.numel() == groups * bits
    whole = bits in _INTEGERS and aligned
    if count:
        words = stream.view(_INTEGERS[bits]) if whole else stream
        size, programs = stream.numel(), -(-groups // GROUPS)
        launch(unpacking, programs, stream.device, words, codes, size, groups, bits, WHOLE=whole, GROUPS=GROUPS)
    return codes
