"""NumPy as the namespace of the portable kernels."""

import numpy as np

from ..philox import PlainLoop

Scalar = int | bool | np.integer | np.bool_


class NumpyIntegers:
    """`kernels.Integers` over NumPy arrays of int32 or int64."""

    def __init__(self, width: int) -> None:
        self.width = width
        self.dtype = np.int64 if width == 64 else np.int32
        self._unsigned = np.uint64 if width == 64 else np.uint32
        self._float = np.float64 if width == 64 else np.float32

    def where(self, condition, a, b):
        if isinstance(condition, Scalar):
            return a if condition else b
        return np.where(condition, self.integer(a), self.integer(b))

    def clip(self, a, low, high):
        return np.clip(a, low, high)

    def integer(self, a):
        return np.asarray(a).astype(self.dtype)

    def maximum(self, a, b):
        return np.maximum(a, b)

    def minimum(self, a, b):
        return np.minimum(a, b)

    def to_float(self, a):
        return np.asarray(a).astype(self._float)

    def quotient(self, a, b):
        return a / b

    def to_integer(self, a):
        return np.asarray(a).astype(self.dtype)

    def floats(self, bits):
        return bits.view(self._float)

    def bits(self, floats):
        return floats.view(self.dtype)

    def shift_right_logical(self, a, n):
        return (a.view(self._unsigned) >> self._unsigned(n)).view(self.dtype)

    def floor_log2(self, a):
        if self.width == 64:
            return ((a.astype(np.float64).view(np.int64) >> 52) - 1023).astype(self.dtype)
        return ((a.astype(np.float32).view(np.int32) >> 23) - 127).astype(self.dtype)

    def wide_product(self, a, b):
        product = (a.astype(np.int64) & 0xFFFFFFFF).view(np.uint64) * (b.astype(np.int64) & 0xFFFFFFFF).view(np.uint64)
        high, low = (product >> np.uint64(32)), product & np.uint64(0xFFFFFFFF)
        if self.width == 64:
            return high.view(np.int64), low.view(np.int64)
        return high.astype(np.uint32).view(np.int32), low.astype(np.uint32).view(np.int32)

    def count_not_above(self, ascending, a):
        return np.searchsorted(ascending, a, side="right").astype(self.dtype)

    def take(self, table, index):
        return table[index]

    def materialized(self, a):
        return a

    def wider(self):
        return NumpyIntegers(64)

    def pad(self, a, widths):
        return np.pad(a, [(0, width) for width in widths])

    def transpose(self, a, axes):
        return a.transpose(axes)

    def broadcast(self, a, shape):
        return np.broadcast_to(a, shape)

    def largest(self, a, axes):
        return a.max(axis=tuple(axes))

    def count(self, a):
        return a.sum(axis=-1).astype(self.dtype)

    def sorted(self, a):
        return np.sort(a, axis=-1)

    def pick(self, a, index):
        return np.take_along_axis(a, np.asarray(index)[..., None].astype(np.int64), axis=-1)[..., 0]

    def array(self, values):
        return np.asarray(values, self.dtype)

    def repeat(self, times, body, state):
        for k in range(times):
            state = body(k, state)
        return state


class NumpyWords(PlainLoop):
    """`philox.Words` over uint64 arrays that hold 32-bit words."""

    def multiply(self, constant, a):
        product = a * np.uint64(constant)
        return product >> np.uint64(32), product & np.uint64(0xFFFFFFFF)

    def add(self, a, b):
        return (a + np.uint64(b)) & np.uint64(0xFFFFFFFF)
