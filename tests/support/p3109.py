"""IEEE P3109 as its interim report v4.0 defines it, in float64 arithmetic, which is exact for formats within its range.

Decode, RoundToPrecision, Saturate and Encode are written down from the report's definitions and share nothing with
the package: exponents come from frexp, scaling from ldexp, and every intermediate result is a float64.
"""

from dataclasses import dataclass

import numpy as np

DETERMINISTIC = {
    "nearest_even": "NearestTiesToEven",
    "nearest_away": "NearestTiesToAway",
    "toward_zero": "TowardZero",
    "up": "TowardPositive",
    "down": "TowardNegative",
    "to_odd": "ToOdd",
}
SATURATIONS = {"saturate": "SatFinite", "propagate": "SatPropagate", "special": "SatNone"}


@dataclass(frozen=True)
class P3109:
    """A format: width K, precision P, signedness, domain."""

    k: int
    p: int
    signed: bool
    extended: bool

    @property
    def name(self):
        return f"binary{self.k}p{self.p}{'s' if self.signed else 'u'}{'e' if self.extended else 'f'}"

    @property
    def bias(self):
        return 2 ** (self.k - self.p - 1) if self.signed else 2 ** (self.k - self.p)

    @property
    def nan(self):
        return 2 ** (self.k - 1) if self.signed else 2**self.k - 1

    @property
    def infinity(self):
        """Code of +Inf in the extended domain."""
        return 2 ** (self.k - 1) - 1 if self.signed else 2**self.k - 2

    @property
    def largest(self):
        """Code of the largest finite value."""
        return self.infinity - 1 if self.extended else self.infinity

    @property
    def exponents(self):
        """Smallest and largest exponent of the last place, and of the leading one."""
        return 2 - self.p - self.bias, (self.largest >> (self.p - 1)) - self.bias

    def decode(self, code):
        """The value of each code."""
        code = np.asarray(code, np.int64)
        negative = self.signed & (code > self.nan)
        magnitude = np.where(negative, code - self.nan, code)
        trailing, exponent = magnitude % 2 ** (self.p - 1), magnitude // 2 ** (self.p - 1)
        normal = exponent > 0
        significand = np.where(normal, 2 ** (self.p - 1), 0) + trailing
        with np.errstate(over="ignore"):  # of codes that are no numbers
            value = np.ldexp(significand.astype(float), np.maximum(exponent, 1) - self.bias - (self.p - 1))
        value = np.where(self.extended & (magnitude == self.infinity), np.inf, value)
        value = np.where(negative, -value, value)
        return np.where(code == self.nan, np.nan, value)

    def round_to_precision(self, x, mode, bits=0, random=0):
        """RoundToPrecision of finite numbers: Q, S, and the choice between floor and floor + 1."""
        x = np.asarray(x, float)
        magnitude = np.abs(x)
        leading = np.where(magnitude > 0, np.frexp(magnitude)[1] - 1, 1 - self.bias)
        q = np.maximum(leading, 1 - self.bias) - self.p + 1
        s = np.ldexp(magnitude, -q)
        low = np.floor(s)
        nu = s - low
        even = (low == 0) | ((q + self.bias) % 2 == 0) if self.p == 1 else low % 2 == 0
        away = {
            "NearestTiesToEven": (nu > 0.5) | ((nu == 0.5) & ~even),
            "NearestTiesToAway": nu >= 0.5,
            "TowardZero": nu < 0,
            "TowardPositive": (nu > 0) & (x > 0),
            "TowardNegative": (nu > 0) & (x < 0),
            "ToOdd": (nu > 0) & even,
            "StochasticA": np.floor(np.ldexp(nu, bits)) + random >= 2**bits,
            "StochasticB": np.floor(np.ldexp(nu, bits + 1)) + 2 * random + 1 >= 2 ** (bits + 1),
            "StochasticC": np.rint(np.ldexp(nu, bits)) + random >= 2**bits,
        }[mode]
        with np.errstate(over="ignore"):  # infinity is past every largest value as well
            return np.copysign(np.ldexp(low + away, q), x)

    def saturate(self, rounded, x, mode, saturation):
        """Saturate of what was rounded, x being the number before."""
        high = self.decode(self.largest)
        low = -high if self.signed else 0.0
        clamped = np.clip(rounded, low, high)
        if saturation == "SatFinite" or not self.extended:
            return clamped
        infinities = np.where(x > 0, np.inf, -np.inf if self.signed else 0.0)
        if saturation == "SatPropagate":
            return np.where(np.isinf(x), infinities, clamped)
        inward = (mode in ("TowardZero", "ToOdd")) | ((mode == "TowardNegative") & (x > 0))
        inward = inward | ((mode == "TowardPositive") & (x < 0))
        outside = (rounded > high) | (rounded < low)
        result = np.where(outside & ~inward, infinities, clamped)
        return np.where(np.isinf(x), infinities, result)

    def quantize(self, x, mode, saturation, bits=0, random=0):
        """Project without its final encoding: NaN stays NaN, zero has no sign."""
        x = np.asarray(x, float)
        finite = np.where(np.isfinite(x), x, 0.0)
        rounded = np.where(np.isfinite(x), self.round_to_precision(finite, mode, bits, random), x)
        result = self.saturate(rounded, np.where(np.isnan(x), 0.0, x), mode, saturation)
        return np.where(np.isnan(x), np.nan, result) + 0.0

    def encode(self, value):
        """The code of each value of the format."""
        order = self.decode(np.arange(2**self.k))
        known = np.argsort(order, kind="stable")
        found = known[np.searchsorted(order[known], np.where(np.isnan(value), 0.0, value))]
        return np.where(np.isnan(value), self.nan, found)


def every(widths):
    """Every format of the given widths."""
    return [
        P3109(k, p, signed, extended)
        for k in widths
        for signed in (True, False)
        for p in range(1, k + (not signed))
        for extended in (True, False)
    ]
