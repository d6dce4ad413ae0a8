"""The emulated matrix unit in rational arithmetic, one result at a time: what `halfulp.matmul` is tested against.

Written from the definitions in `Accumulator`, not from the kernels: every step is an exact number, a Fraction or one of
the floats nan, inf, -inf and -0.0, handed to `formats.exact.quantize_exact`.
"""

from dataclasses import dataclass
from fractions import Fraction
from itertools import count
from math import copysign, inf, isfinite, isnan, nan

import numpy as np
from halfulp.emulate.backends import cpu
from halfulp.emulate.rounded.draws import Draws
from halfulp.formats.dyadic import floor_log2, power
from halfulp.formats.exact import quantize_exact


def is_negative(x):
    return copysign(1, x) < 0 if isinstance(x, float) else x < 0


def multiply(x, y):
    """The exact product, with the signs of zeros."""
    negative = is_negative(x) != is_negative(y)
    if any(isinstance(z, float) and not isfinite(z) for z in (x, y)):
        return nan if isnan(x) or isnan(y) or 0 in (x, y) else copysign(inf, -1 if negative else 1)
    product = Fraction(x) * Fraction(y)
    return product or (-0.0 if negative else Fraction(0))


def add(x, y, down=False):
    """The exact sum; of zeros of both signs, and of opposite numbers, -0 where results are rounded down."""
    strange = [z for z in (x, y) if isinstance(z, float) and not isfinite(z)]
    if strange:
        return nan if any(map(isnan, strange)) or len(set(strange)) > 1 else strange[0]
    total = Fraction(x) + Fraction(y)
    if total:
        return total
    if is_negative(x) == is_negative(y) and x == y == 0:
        return -0.0 if is_negative(x) else Fraction(0)
    return -0.0 if down else Fraction(0)


@dataclass
class Sums:
    """Rounding in one arithmetic, at one place of the result; steps of the unit are counted in `steps`."""

    arithmetic: object
    draws: object
    steps: object
    index: int

    @property
    def down(self):
        return self.arithmetic.rounding.name == "down"

    def round(self, x):
        of, step, word = self.arithmetic, next(self.steps), 0
        layout = of.carrier
        if of.rounding.stochastic:
            key = self.draws.at(step)
            word = cpu.random_words((key.stream, key.step, key.seed, 0), self.index, 1, layout)[0]
            word = int(word) % (1 << layout.work_width)
            if isinstance(x, Fraction) and not of.rational:  # what is not exact in the carrier is rounded to odd
                bits = layout.floor(abs(x))
                odd = layout.number(bits if layout.number(bits) == abs(x) else bits | 1)
                x = -odd if x < 0 else odd
        return quantize_exact(of.fmt, x, of.rounding, of.overflow, word, layout.work_width)

    def add(self, x, y):
        return self.round(add(x, y, self.down))


def sequential(sums, terms, fma):
    acc = Fraction(0)
    for x, y in terms:
        product = multiply(x, y)
        acc = sums.add(acc, product if fma else sums.round(product))
    return acc


def pairwise(sums, terms, fma):
    """Level by level; sums are rounded in the order in which a stack meets them, which only random words notice."""
    stack = []
    for x, y in terms:
        stack.append((multiply(x, y) if fma else sums.round(multiply(x, y)), 1))
        while len(stack) > 1 and stack[-1][1] == stack[-2][1]:
            (b, n), (a, m) = stack.pop(), stack.pop()
            stack.append((sums.add(a, b), n + m))
    while len(stack) > 1:
        (b, n), (a, m) = stack.pop(), stack.pop()
        stack.append((sums.add(a, b), n + m))
    if not stack:
        return Fraction(0)
    return sums.round(stack[0][0]) if fma and len(terms) == 1 else stack[0][0]


def by_levels(values, plus):
    """The definition of pairwise addition."""
    while len(values) > 1:
        pairs = [plus(a, b) for a, b in zip(values[::2], values[1::2])]
        values = [*pairs, *values[2 * len(pairs) :]]
    return values[0]


def aligned(sums, terms, chunk, bits):
    acc = Fraction(0)
    for first in range(0, len(terms), chunk):
        group = [acc, *(multiply(x, y) for x, y in terms[first : first + chunk])]
        strange = [x for x in group if isinstance(x, float) and not isfinite(x)]
        if strange:
            acc = sums.round(nan if any(map(isnan, strange)) or len(set(strange)) > 1 else strange[0])
            continue
        top = max((floor_log2(abs(Fraction(x))) for x in group if x), default=0)
        unit = power(top - bits)
        total = sum((int(Fraction(x) / unit) * unit for x in group), Fraction(0))  # int() cuts towards zero
        acc = sums.round(total or (-0.0 if all(map(is_negative, group)) else Fraction(0)))
    return acc


def dot(unit, terms, index=0, draws=None, scales=None):
    """One result.

    Args:
        terms: pairs of exact factors.
        scales: product of scales of every chunk, or None.
    """
    steps = count()
    sums = Sums(unit.arithmetic, draws, steps, index)
    if not terms:
        return Fraction(0)
    if unit.exact:
        total = Fraction(0)
        for x, y in terms:
            total = add(total, multiply(x, y))
        return sums.round(total)
    if unit.order == "aligned":
        return aligned(sums, terms, unit.chunk, unit.aligned_bits)
    if unit.order == "pairwise":
        return pairwise(sums, terms, unit.fma)
    if unit.order == "sequential":
        return sequential(sums, terms, unit.fma)
    outer, out = Sums(unit.outer, draws, steps, index), Fraction(0)
    for number, first in enumerate(range(0, len(terms), unit.chunk)):
        found = sequential(sums, terms[first : first + unit.chunk], unit.fma)
        if scales is not None:
            found = multiply(found, scales[number])
            found = found if unit.fma else outer.round(found)
        out = outer.add(out, found)
    return out


def exactly(x):
    """A float as an exact number."""
    x = float(x)
    return x if not isfinite(x) or (x == 0 and copysign(1, x) < 0) else Fraction(x)


def matmul(a, b, unit, seed=None, scales_a=None, scales_b=None):
    """(m, n) float64 of (m, k) and (k, n) arrays.

    Args:
        scales_a, scales_b: (m, chunks) and (chunks, n), or None.
    """
    draws = None if seed is None else Draws(seed)
    (m, _), n = a.shape, b.shape[1]
    out = np.empty((m, n))
    left, right = [[exactly(x) for x in row] for row in a.tolist()], [[exactly(x) for x in col] for col in b.T.tolist()]
    for i in range(m):
        for j in range(n):
            scales = None
            if scales_a is not None:
                scales = [exactly(np.float64(x) * np.float64(y)) for x, y in zip(scales_a[i], scales_b[:, j])]
            out[i, j] = float(dot(unit, list(zip(left[i], right[j])), i * n + j, draws, scales))
    return out
