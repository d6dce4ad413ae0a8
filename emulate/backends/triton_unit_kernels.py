"""Matrix products in Triton in which every product and every sum is rounded.

A program adds up a tile of results, one product after the other, as `numba_units.sequential` does. The formats of sums
are run-time data, as in `triton_kernels`; built in are the carrier and what decides which operations a step has.
"""
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportIndexIssue=false
# pyright: reportOperatorIssue=false, reportCallIssue=false, reportGeneralTypeIssues=false

import triton
import triton.language as tl

from .triton_kernels import round_deterministic


@triton.jit
def bits_of(x, WIDTH: tl.constexpr):
    """The bits of floats."""
    return x.to(tl.int64, bitcast=True) if WIDTH == 64 else x.to(tl.int32, bitcast=True)


@triton.jit
def floats_of(u, WIDTH: tl.constexpr):
    """The floats of bits."""
    return u.to(tl.float64, bitcast=True) if WIDTH == 64 else u.to(tl.float32, bitcast=True)


@triton.jit
def odd_sum(a, b, WIDTH: tl.constexpr):
    """a + b rounded to odd: the sum to nearest, and its error, see `rounded.error_free`."""
    s = a + b
    of_b = s - a
    error = (a - (s - of_b)) + (b - of_b)
    u = bits_of(s, WIDTH)
    step = tl.where((error > 0) == (s > 0), 1, -1)
    inexact = (error > 0) | (error < 0)
    return floats_of(tl.where(inexact & ((u & 1) == 0), u + step, u), WIDTH)


@triton.jit
def rounded(
    x, p, M: tl.constexpr, WIDTH: tl.constexpr,
    NATIVE: tl.constexpr, NEAREST: tl.constexpr, SAME: tl.constexpr, CLAMPS: tl.constexpr, KEEPS: tl.constexpr,
):  # fmt: skip
    """x to the format of p."""
    if NATIVE:
        r = x
    else:
        r = floats_of(round_deterministic(bits_of(x, WIDTH), p, M, WIDTH, NEAREST, SAME, CLAMPS, KEEPS), WIDTH)
    return r


@triton.jit(do_not_specialize=["m", "n", "k", "chunk", "across"])
def sequential(
    a, b, out, p, m, n, k, chunk, across,
    M: tl.constexpr, WIDTH: tl.constexpr, NATIVE: tl.constexpr, NEAREST: tl.constexpr, SAME: tl.constexpr,
    CLAMPS: tl.constexpr, KEEPS: tl.constexpr, ODD: tl.constexpr, FUSED: tl.constexpr, ROUNDS: tl.constexpr,
    NEGATED: tl.constexpr, OUTER: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """out (m, n) = a (m, k) @ b (k, n) of a batch, all contiguous and of the carrier; `across` tiles side by side.

    Args:
        p: of `triton_tables.device_parameters`, as integers of the carrier's width.
        ODD, FUSED: which sum, see `numba_units`.
        ROUNDS: whether products are rounded.
        NEGATED: a comes negated, and the negative of the sums goes out.
        OUTER: whether sums of chunks are added in binary32; otherwise there is one chunk.
    """
    down = tl.cdiv(m, ROWS)
    batch = (tl.program_id(0) // (down * across)).to(tl.int64)
    tile = tl.program_id(0) % (down * across)
    row = (tile // across) * ROWS + tl.arange(0, ROWS)
    column = (tile % across) * COLUMNS + tl.arange(0, COLUMNS)
    rows, columns = row < m, column < n
    left = a + (batch * m + row) * k
    right = b + batch * k * n + column
    FLOAT: tl.constexpr = tl.float64 if WIDTH == 64 else tl.float32
    total = tl.zeros((ROWS, COLUMNS), FLOAT)
    first = 0
    while first < k:
        last = tl.minimum(first + chunk, k)
        acc = tl.zeros((ROWS, COLUMNS), FLOAT)
        if NEGATED:
            acc = floats_of(bits_of(acc, WIDTH) ^ (-1 << (WIDTH - 1)), WIDTH)
        for _ in range(first, last):
            x = tl.load(left, mask=rows, other=0.0)[:, None]
            y = tl.load(right, mask=columns, other=0.0)[None, :]
            left += 1
            right += n
            if FUSED:
                acc = tl.fma(tl.broadcast_to(x, (ROWS, COLUMNS)), tl.broadcast_to(y, (ROWS, COLUMNS)), acc)
            else:
                term = x * y
                if ROUNDS:
                    term = rounded(term, p, M, WIDTH, NATIVE, NEAREST, SAME, CLAMPS, KEEPS)
                acc = odd_sum(acc, term, WIDTH) if ODD else acc + term
                acc = rounded(acc, p, M, WIDTH, NATIVE, NEAREST, SAME, CLAMPS, KEEPS)
        if NEGATED:
            acc = floats_of(bits_of(acc, WIDTH) ^ (-1 << (WIDTH - 1)), WIDTH)
        total = (total + acc).to(tl.float32).to(FLOAT) if OUTER else acc
        first += chunk
    u = bits_of(total, WIDTH)
    NAN: tl.constexpr = 0x7FF8000000000000 if WIDTH == 64 else 0x7FC00000
    u = tl.where(total != total, NAN, u)
    place = (batch * m + row)[:, None] * n + column[None, :]
    tl.store(out + place, floats_of(u, WIDTH), mask=rows[:, None] & columns[None, :])
