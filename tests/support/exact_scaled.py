"""Scaled formats in rational arithmetic: what codes and values must come out, written apart from the kernels.

Every step is a Fraction, rounded by `fl` where the definition says that a float operation happens. Elements and
scales are rounded by `halfulp.formats.exact`, which has tests of its own.
"""

from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from math import ceil, inf, isinf, isnan, nan, prod

import numpy as np
from halfulp.emulate.layouts import LAYOUTS, Layout
from halfulp.formats.dyadic import floor_log2, power
from halfulp.formats.exact import encode_exact, quantize_exact
from halfulp.formats.floats import FloatFormat
from halfulp.formats.integers import IntFormat
from halfulp.formats.rounding import ROUNDINGS

NEAREST = ROUNDINGS["nearest_even"]
ONE = Fraction(1)


def fl(x, layout: Layout, largest=False):
    """x rounded to the nearest number of a dtype, ties to even, subnormals included."""
    if not isinstance(x, Fraction) or x == 0:
        return x
    quantum = power(max(floor_log2(abs(x)) - layout.mantissa_bits, layout.quantum_exponent))
    count = abs(x) / quantum
    whole = count.numerator // count.denominator
    rest = count - whole
    whole += rest > Fraction(1, 2) or (rest == Fraction(1, 2) and whole % 2)
    result = whole * quantum
    if result > layout.max:
        result = layout.max if largest else inf
    return -result if x < 0 else result


PRECISE_UP_TO = {"posit": 16, "takum": 2, "takum_log": 2, "hifloat8": 16}


def goal_of(fmt):
    """The target; else the largest element, or where a tapered one (posits with two exponent bits) is precise."""
    if fmt.target is not None:
        return fmt.target
    return Fraction(PRECISE_UP_TO.get(getattr(fmt.element, "family", None), fmt.element.max))


@dataclass
class Result:
    """Codes over the array, the grid and the groups; values as floats in the target dtype."""

    elements: np.ndarray
    scales: np.ndarray
    outer: np.ndarray | None
    zero_points: np.ndarray | None
    micro: tuple[np.ndarray, ...]
    values: np.ndarray


def groups_of(blocks, shape):
    """{grid index: row-major element indices} of the blocks of an array, ragged ones included."""
    lengths = (prod(shape),) if blocks.flat else shape
    extents = [1 if blocks.rest else n for n in lengths]
    if blocks.flat:
        extents = list(blocks.sizes)
    else:
        for size, axis in zip(blocks.sizes, blocks.axes):
            extents[axis] = size or lengths[axis]
    grid = [-(-n // e) for n, e in zip(lengths, extents)]
    found = {}
    for index in product(*map(range, grid)):
        ranges = [range(k * e, min((k + 1) * e, n)) for k, e, n in zip(index, extents, lengths)]
        found[index] = [int(np.ravel_multi_index(at, lengths)) if lengths else 0 for at in product(*ranges)]
    return tuple(grid), prod(extents), found


class Reference:
    """One array in one scaled format."""

    def __init__(
        self,
        fmt,
        source,
        target=None,
        rounding=None,
        overflow="saturate",
        words=None,
        scale_rounding=None,
        scale_words=None,
        given=None,
    ):
        self.fmt, self.source, self.target = fmt, LAYOUTS[source], LAYOUTS[target or source]
        self.work = LAYOUTS["float64"] if source == "float64" else LAYOUTS["float32"]
        self.rounding = ROUNDINGS[rounding or fmt.rounding] if isinstance(rounding, str | None) else rounding
        self.overflow, self.words = overflow, words
        self.scale_rounding, self.scale_words = scale_rounding, scale_words
        self.given = given
        self.word_bits = self.work.work_width
        one_bit = isinstance(fmt.scale, FloatFormat) and fmt.scale.mantissa_bits == 0
        plain = fmt.outer is None and fmt.order == "plain" and fmt.encode == "divide" and not fmt.epsilon
        grid_element = isinstance(fmt.element, FloatFormat) or (
            isinstance(fmt.element, IntFormat) and not fmt.element.mid_rise
        )
        self.exact_scales = (
            one_bit and plain and not fmt.zero_point and grid_element and overflow == "saturate" and given is None
        )

    def fl(self, x, largest=False):
        return fl(x, self.work, largest)

    # ------------------------------------------------------------ statistics

    def statistic(self, numbers, block_size):
        rule = self.fmt.rule
        magnitudes = [abs(x) for x in numbers]
        if rule.statistic == "static":
            return self.fl(Fraction(rule.parameter))
        if rule.statistic == "percentile":
            rank = max(ceil(Fraction(str(rule.parameter)) * len(magnitudes) / 100), 1)
            return sorted(magnitudes)[rank - 1]
        if rule.statistic == "mean":
            return self.mean(magnitudes, block_size)
        return max(magnitudes)

    def mean(self, magnitudes, block_size):
        top = max(magnitudes)
        if top == 0:
            return Fraction(0)
        unit = power(floor_log2(top))
        terms = [m / unit if m / unit >= power(-100) else Fraction(0) for m in magnitudes]
        size = 1 << max(block_size - 1, 0).bit_length()
        terms += [Fraction(0)] * (size - len(terms))
        while size > 1:
            size //= 2
            terms = [self.fl(a + b) for a, b in zip(terms[:size], terms[size:])]
        return fl(terms[0] / len(magnitudes) * unit, self.work)

    # ------------------------------------------------------------ scales

    def ideal(self, stat):
        fmt, goal = self.fmt, self.fl(goal_of(self.fmt))
        true_goal = goal_of(fmt)
        if self.scale_rounding is None:
            e, fraction = floor_log2(stat), stat / power(floor_log2(stat))
            match fmt.rule.fit:
                case "floor":
                    return power(e - floor_log2(true_goal))
                case "ceil":
                    return power(e + (fraction > 1) - floor_log2(true_goal))
                case "even":
                    bits = (
                        fmt.element.mantissa_bits
                        if isinstance(fmt.element, FloatFormat)
                        else floor_log2(fmt.element.max) - fmt.element.exponent
                    )
                    return power(e + (fraction + power(-bits - 1) >= 2) - floor_log2(true_goal))
                case "tetrajet":
                    k = floor_log2(stat / true_goal)
                    return power(k if power(k) * true_goal == stat else k + 1)
                case "nearest_log2":
                    k = floor_log2(stat / true_goal)
                    return power(k + ((stat / true_goal / power(k)) ** 2 > 2))
                case "rceil":
                    return self.fl(stat * self.fl(1 / goal), True)
        return self.fl(stat / goal, True)

    def round_scale(self, ideal, index, zero_allowed=False):
        fmt = self.fmt
        mode = self.scale_rounding or (ROUNDINGS["up"] if fmt.rule.fit == "rceil" else NEAREST)
        word = 0 if self.scale_words is None else self.scale_words[index]
        if ideal == 0 and isinstance(fmt.scale, FloatFormat) and not fmt.scale.zero:
            return fmt.scale.min_positive
        s = quantize_exact(fmt.scale, ideal, mode, "saturate", word, self.word_bits)
        s = Fraction(s) if s == 0 else s
        return s if s or zero_allowed else fmt.scale.min_positive

    def zero_scale(self):
        has_zero = not isinstance(self.fmt.scale, FloatFormat) or self.fmt.scale.zero
        return Fraction(0) if has_zero else self.fmt.scale.min_positive

    def divisor(self, decode):
        """What elements are divided by, or multiplied with."""
        fmt = self.fmt
        v = self.fl(decode + self.fl(Fraction(fmt.epsilon))) if fmt.epsilon else decode
        if fmt.encode == "reciprocal":
            return self.work.max if v == 0 else self.fl(1 / v, True)
        return v

    # ------------------------------------------------------------ elements

    def element(self, x, decode, encode, index, offset=None, rounding=None):
        """(q, value of q * D before the last rounding, or nan)."""
        fmt = self.fmt
        if isinstance(x, float) and isnan(x):
            return nan
        negative = np.copysign(1.0, float(x) if isinstance(x, float) else (1.0 if x >= 0 else -1.0)) < 0
        if isinstance(x, float) and not isinf(x):
            x = Fraction(0)  # -0.0, its sign kept in `negative`
        if isinf(x):
            t = x
        elif fmt.encode == "reciprocal":
            t = self.fl(x * encode)
        elif decode == 0 and not fmt.epsilon:
            t = Fraction(0)
        else:
            t = x / encode if self.exact_scales else self.fl(x / encode)
        if t == 0 and negative:
            t = -0.0
        word = 0 if self.words is None else self.words[index]
        mode = rounding or self.rounding
        if offset is None:
            return quantize_exact(fmt.element, t, mode, self.overflow, word, self.word_bits)
        q = Fraction(t) if isinf(t) is False else t
        levels = (1 << fmt.element.bits) - 1
        if not isinf(t):
            q = quantize_exact(IntFormat("wide", 32), t, mode, "saturate", word, self.word_bits)
        return min(max(q, Fraction(-offset)), Fraction(levels - offset))

    def value(self, q, decode, layout=None):
        """q * D in the result's dtype."""
        layout = layout or self.target
        if isinstance(q, float) and (isnan(q) or isinf(q)):
            return q
        negative = np.copysign(1.0, float(q)) < 0
        v = fl(Fraction(q) * decode, layout, True)
        return -0.0 if v == 0 and negative else v

    # ------------------------------------------------------------ the whole

    def run(self, x: np.ndarray) -> Result:
        fmt = self.fmt
        numbers = [self.number(v) for v in x.reshape(-1)]
        self.grid, self.block_size, blocks = groups_of(fmt.blocks, x.shape)
        plan = self.scales(numbers, blocks, x.shape)
        elements = np.zeros(x.size, np.int64)
        values = np.zeros(x.size)
        for at, indices in blocks.items():
            decode, encode, offset, bad, micro = plan["blocks"][at]
            for place, index in enumerate(indices):
                extra = sum(bits[place * len(bits) // self.block_size] for bits in micro)
                if bad:
                    element_nan = fmt.element.nan_code
                    elements[index], values[index] = 0 if element_nan is None else element_nan, nan
                    continue
                d, e = decode * power(extra), encode * power(-extra)
                q = self.element(numbers[index], d, e, index, offset)
                values[index] = float(self.value(q, d))
                if isnan(q) and fmt.element.nan_code is None:
                    elements[index] = -1
                else:
                    elements[index] = int(q) + offset if offset is not None else encode_exact(fmt.element, q)
        return Result(
            elements.reshape(x.shape),
            plan["codes"],
            plan["outer"],
            plan["zero_points"],
            plan["micro"],
            values.reshape(x.shape),
        )

    def number(self, v):
        v = float(v)
        return v if isnan(v) or isinf(v) or (v == 0 and np.copysign(1, v) < 0) else Fraction(v)

    def scales(self, numbers, blocks, shape):
        if self.fmt.order == "nvidia":
            return self.nvidia(numbers, blocks)
        if self.fmt.order == "hif4":
            return self.hif4(numbers, blocks)
        return self.plain(numbers, blocks, shape)

    def split(self, numbers, indices):
        """Numbers of a block as Fractions, and whether it is NaN."""
        block = [numbers[k] for k in indices]
        static = self.fmt.rule.statistic == "static"
        bad = any(isinstance(v, float) and (isnan(v) or isinf(v)) for v in block) and not static
        return [Fraction(0) if isinstance(v, float) else v for v in block], bad

    def blank(self):
        shape = self.grid
        return {"codes": np.zeros(shape, np.int64), "outer": None, "zero_points": None, "micro": (), "blocks": {}}

    def scale_code(self, s):
        return encode_exact(self.fmt.scale, s)

    def bad_block(self, plan, at):
        nan_code = self.fmt.scale.nan_code
        plan["codes"][at] = 0 if nan_code is None else nan_code
        plan["blocks"][at] = (ONE, ONE, 0 if self.fmt.zero_point else None, True, ())

    def plain(self, numbers, blocks, shape):
        fmt, plan = self.fmt, self.blank()
        if fmt.zero_point:
            return self.asymmetric(numbers, blocks, plan)
        stats = {}
        for at, indices in blocks.items():
            block, bad = self.split(numbers, indices)
            stats[at] = None if bad else self.statistic(block, self.block_size)
        ideals = {at: self.ideal(stat) for at, stat in stats.items() if stat}
        outer_of, outers = {}, {}
        if fmt.outer:
            grid, _, groups = groups_of(fmt.outer.blocks, shape)
            owner = {k: g for g, indices in groups.items() for k in indices}
            outer_of = {at: owner[indices[0]] for at, indices in blocks.items()}
            target = self.fl(fmt.scale.max if fmt.outer.target is None else fmt.outer.target)
            plan["outer"] = np.zeros(grid, np.int64)
            for g in groups:
                top = max((ideals[at] for at in ideals if outer_of[at] == g), default=Fraction(0))
                outers[g] = Fraction(quantize_exact(fmt.outer.scale, self.fl(top / target, True), NEAREST, "saturate"))
                plan["outer"][g] = encode_exact(fmt.outer.scale, outers[g])
            ideals = {at: self.fl(v / (outers[outer_of[at]] or ONE), True) for at, v in ideals.items()}
        for at, indices in blocks.items():
            stat = stats[at]
            if stat is None:
                self.bad_block(plan, at)
                continue
            big = outers[outer_of[at]] if fmt.outer else None
            candidates = fmt.rule.search or (1.0,)
            best = None
            for factor in candidates:
                if stat == 0:
                    s = self.zero_scale()
                else:
                    wanted = self.fl(ideals[at] * self.fl(Fraction(factor)), True)
                    s = self.round_scale(wanted, self.position(at))
                decode = s if big is None else self.fl(s * (big or ONE), True)
                error = self.error(numbers, indices, decode) if len(candidates) > 1 else 0
                if best is None or error < best[0]:
                    best = (error, s, decode)
            _, s, decode = best
            plan["codes"][at] = self.scale_code(s)
            plan["blocks"][at] = (decode, self.divisor(decode), None, False, ())
        return plan

    def position(self, at):
        return int(np.ravel_multi_index(at, self.grid)) if self.grid else 0

    def error(self, numbers, indices, decode):
        """Squared error as `scaled_kernels` compares it: float sums by halves, in units of the block's binade."""
        top = max(abs(Fraction(numbers[k])) for k in indices)
        unit = power(floor_log2(top)) if top else ONE
        saved, self.words = self.words, None

        def relative(v):
            v = Fraction(v) / unit
            return v if abs(v) >= power(-40) else Fraction(0)

        terms = []
        for k in indices:
            q = self.element(numbers[k], decode, self.divisor(decode), k, rounding=NEAREST)
            d = self.fl(relative(self.value(q, decode, self.work)) - relative(numbers[k]))
            terms.append(self.fl(d * d))
        self.words = saved
        size = 1 << max(self.block_size - 1, 0).bit_length()
        terms += [Fraction(0)] * (size - len(terms))
        while size > 1:
            size //= 2
            terms = [self.fl(a + b) for a, b in zip(terms[:size], terms[size:])]
        return terms[0]

    def asymmetric(self, numbers, blocks, plan):
        fmt = self.fmt
        levels = (1 << fmt.element.bits) - 1
        plan["zero_points"] = np.zeros(self.grid, np.int64)
        for at, indices in blocks.items():
            block, bad = self.split(numbers, indices)
            if bad:
                self.bad_block(plan, at)
                continue
            high, low = max(Fraction(0), *block), max(Fraction(0), *(-v for v in block))
            if high == low == 0:
                s = self.zero_scale()
            else:
                s = self.round_scale(self.fl(self.fl(high + low, True) / levels, True), self.position(at))
            z = 0
            if s:
                z = int(quantize_exact(fmt.element, self.fl(low / s, True), NEAREST, "saturate"))
            plan["codes"][at], plan["zero_points"][at] = self.scale_code(s), z
            plan["blocks"][at] = (s, self.divisor(s), z, False, ())
        return plan

    def nvidia(self, numbers, blocks):
        fmt, plan = self.fmt, self.blank()
        goal = goal_of(fmt)
        tops = {}
        for at, indices in blocks.items():
            block = [abs(numbers[k]) for k in indices]
            tops[at] = None if any(isinstance(v, float) and isnan(v) for v in block) else max(block)
        whole = max((t for t in tops.values() if t is not None), default=Fraction(0))
        s_enc = ONE if whole == 0 or whole == inf else self.fl(self.fl(goal * fmt.scale.max) / whole, True)
        factor = self.fl(s_enc * self.fl(1 / goal), True)
        s_dec = Fraction(quantize_exact(fmt.outer.scale, self.fl(1 / s_enc), NEAREST, "saturate"))
        plan["outer"] = np.full((1,) * len(self.grid), encode_exact(fmt.outer.scale, s_dec), np.int64)
        for at, top in tops.items():
            if top is None:
                self.bad_block(plan, at)
                continue
            s = self.round_scale(top if top == inf else self.fl(top * factor), self.position(at), True)
            decode = self.fl(s * s_dec, True)
            plan["codes"][at] = self.scale_code(s)
            plan["blocks"][at] = (decode, self.divisor(decode), None, False, ())
        return plan

    def hif4(self, numbers, blocks):
        fmt, plan, bf16 = self.fmt, self.blank(), LAYOUTS["bfloat16"]
        plan["micro"] = tuple(np.zeros((*self.grid, self.block_size // size), np.int64) for size in fmt.micro)
        for at, indices in blocks.items():
            block, bad = self.split(numbers, indices)
            block += [Fraction(0)] * (self.block_size - len(block))
            top = max(map(abs, block))
            s = fmt.scale.min_positive
            wanted = fl(top * fl(Fraction(1, 7), bf16), bf16)
            if wanted and not bad:
                s = self.round_scale(wanted, self.position(at))
            if bad:
                self.bad_block(plan, at)
                continue
            rec, spent, micro = fl(1 / s, bf16), None, []
            for size, threshold in zip(fmt.micro, (4, 2)):
                bits = []
                for k in range(self.block_size // size):
                    part = max(abs(v) for v in block[k * size : (k + 1) * size])
                    r = rec if spent is None else rec / power(spent[k * size * len(spent) // self.block_size])
                    bits.append(int(self.fl(part * r) >= threshold))
                spent = bits
                micro.append(bits)
            for level, bits in zip(plan["micro"], micro):
                level[at] = bits
            plan["codes"][at] = self.scale_code(s)
            plan["blocks"][at] = (s, rec, None, False, micro)
        return plan
