"""Phase quantization of complex numbers in integer arithmetic over an array namespace; see `formats.complexes`."""

from typing import NamedTuple

from .arithmetic import add, divide, normalized
from .codebook_kernels import key_of
from .layouts import Layout
from .numbers import Array, Arrays
from .statistics import SMALLEST_TERM, one, relative, total
from .views import View


class Stage(NamedTuple):
    """One stage: 2-bit codes over the split array, bits of the scales over the grid, NaN for blocks that are."""

    codes: Array
    scale_re: Array
    scale_im: Array


def phase_codes(xp: Arrays, layout: Layout, re: Array, im: Array) -> Array:
    """0, 1, 2, 3 for 1, i, -1, -i, each quarter closed at its lower end; 0 for zero."""
    sign = -1 << (layout.width - 1)
    a, b, minus_a, minus_b = (key_of(xp, layout, bits) for bits in (re, im, re ^ sign, im ^ sign))
    right = ((b >= minus_a) & (b < a)) | ((a == 0) & (b == 0))
    up = (minus_b < a) & (a <= b)
    down = (b <= a) & (a < minus_b)
    return xp.where(right, 0, xp.where(up, 1, xp.where(down, 3, 2 + a * 0)))


def _masked_mean(xp: Arrays, layout: Layout, view: View, bits: Array, mask: Array) -> Array:
    """Mean magnitude over the mask, by halves as in `statistics`; 0 where the mask is empty."""
    magnitude = xp.where(mask, bits & layout.magnitude_mask, 0)
    top = xp.largest(magnitude, view.block_axes)
    _, field = normalized(xp, layout, xp.where(top == 0, one(layout), top))
    rows = relative(xp, layout, view.rows(xp, magnitude), field[..., None], SMALLEST_TERM)
    sums = xp.bits(total(xp, xp.floats(rows)))
    count = xp.count(view.rows(xp, xp.integer(mask)))
    floats = xp.bits(xp.to_float(xp.where(count == 0, 1, count)))
    return xp.where(top == 0, 0, divide(xp, layout, sums, floats, exponent=field - layout.bias))


def phase_stage(xp: Arrays, layout: Layout, view: View, re: Array, im: Array) -> Stage:
    """Codes and scales of one stage.

    Args:
        re, im: (g0, b0, g1, b1, ...) split bits.
    """
    codes = phase_codes(xp, layout, re, im)
    real = (codes & 1) == 0
    top = xp.largest(xp.maximum(re & layout.magnitude_mask, im & layout.magnitude_mask), view.block_axes)
    bad = top >= layout.infinity
    quiet = view.spread(bad)
    re, im = xp.where(quiet, 0, re), xp.where(quiet, 0, im)
    inside = view.inside(xp)  # padding is no number of the array
    s_re = _masked_mean(xp, layout, view, re, real & inside)
    s_im = _masked_mean(xp, layout, view, im, ~real & inside)
    return Stage(codes, xp.where(bad, layout.nan, s_re), xp.where(bad, layout.nan, s_im))


def stage_values(xp: Arrays, layout: Layout, view: View, stage: Stage) -> tuple[Array, Array]:
    """Bits of the real and imaginary parts that a stage stands for; both NaN in blocks that are."""
    sign = -1 << (layout.width - 1)
    real, minus = (stage.codes & 1) == 0, xp.where((stage.codes & 2) != 0, sign, 0)
    s_re, s_im = view.spread(stage.scale_re), view.spread(stage.scale_im)
    bad = (s_re > layout.infinity) | (s_im > layout.infinity)
    re, im = xp.where(real, s_re | minus, 0), xp.where(real, 0, s_im | minus)
    return xp.where(bad, layout.nan, re), xp.where(bad, layout.nan, im)


def phase_stages(xp: Arrays, layout: Layout, view: View, re: Array, im: Array, count: int) -> list[Stage]:
    """Every stage; each quantizes what the ones before it left, one IEEE subtraction a stage and part."""
    sign, stages = -1 << (layout.width - 1), []
    for _ in range(count):
        stage = phase_stage(xp, layout, view, re, im)
        stages.append(stage)
        parts = stage_values(xp, layout, view, stage)
        re, im = (
            xp.where(part > layout.infinity, layout.nan, add(xp, layout, rest, part ^ sign))
            for rest, part in zip((re, im), parts)
        )
    return stages


def phase_values(xp: Arrays, layout: Layout, view: View, stages: list[Stage]) -> tuple[Array, Array]:
    """Bits of the values: stages added in their order, one IEEE addition a stage and part."""
    re, im = stage_values(xp, layout, view, stages[0])
    for stage in stages[1:]:
        parts = stage_values(xp, layout, view, stage)
        re, im = (
            xp.where(part > layout.infinity, layout.nan, add(xp, layout, so_far, part))
            for so_far, part in zip((re, im), parts)
        )
    return re, im
