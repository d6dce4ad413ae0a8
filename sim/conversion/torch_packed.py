"""Weights as packed bits inside of a model, and the values that products read.

`halfulp.unpack` says what the values are. It computes in integers, which takes a hundred times as long as rounding the
matrix anew; here element times scale is one product of floats, which gives the same bits in about the time of rounding.
"""

import json
from dataclasses import replace
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import nn

from ...emulate.complexes import from_widely_linear
from ...emulate.layouts import FLOAT32, LAYOUTS
from ...emulate.packing import Packed, unpack
from ...emulate.quantize import quantize
from ...emulate.scaled_plan import work_layout
from ...emulate.views import View, grouped, view_of
from ...formats.catalogue import AnyFormat
from ...formats.catalogue import format as any_format
from ...formats.scaled import ScaledFormat
from .entries import StoredWeight

LIBRARY = torch.library.Library("halfulp", "FRAGMENT")


class Part(NamedTuple):
    """A packed array without its streams."""

    fmt: AnyFormat
    shape: tuple[int, ...]
    dtype: str
    streams: tuple[str, ...]


def described(way: str, parts: tuple[Packed, ...]) -> str:
    """What `_read` reads: a string, which operators and compilers take."""
    return json.dumps([way, [[p.fmt.spec, list(p.shape), p.dtype, list(p.streams)] for p in parts]])


@lru_cache(maxsize=4096)
def _read(text: str) -> tuple[str, tuple[Part, ...]]:
    way, parts = json.loads(text)
    return way, tuple(Part(any_format(spec), tuple(shape), dtype, tuple(names)) for spec, shape, dtype, names in parts)


def decoded(streams: list[torch.Tensor], text: str) -> torch.Tensor:
    """The values of a weight.

    Args:
        streams: of all its parts, one after another. text: as `described` makes it.
    """
    way, parts = _read(text)
    found, rest = [], list(streams)
    for part in parts:
        own, rest = rest[: len(part.streams)], rest[len(part.streams) :]
        found.append(values_of(Packed(part.fmt, part.shape, part.dtype, dict(zip(part.streams, own)))))
    if way == "complex":
        return from_widely_linear(*found)
    if way == "rows":
        return torch.cat(found)
    return found[0]


def values_of(packed: Packed) -> torch.Tensor:
    """`unpack`, by one product of floats where that gives the same bits.

    A product of an element and a float32 scale is rounded once to float32, and of 16-bit values exact in float64.
    """
    fmt = packed.fmt
    if not isinstance(fmt, ScaledFormat) or fmt.micro or fmt.zero_point or packed.dtype == "float64":
        return unpack(packed)
    if work_layout(fmt, LAYOUTS[packed.dtype]) is not FLOAT32:
        return unpack(packed)
    view = view_of(fmt.blocks, packed.shape, True, fmt.name)
    elements = _plain(fmt.element, packed.shape, packed.streams["elements"])
    scales = _plain(fmt.scale, view.grid, packed.streams["scales"])
    if fmt.outer is not None:
        groups = grouped(view, fmt.outer.blocks, fmt.name)
        scales = _times(scales, _plain(fmt.outer.scale, groups.grid, packed.streams["outer"]), groups)
    if packed.dtype == "float32":
        return _times(elements, scales, view)
    wide = _times(elements.double(), scales.double(), view)
    narrow = "binary16" if packed.dtype == "float16" else packed.dtype
    return quantize(wide, narrow, overflow="saturate", out_dtype=packed.dtype)


def _plain(fmt: Any, shape: tuple[int, ...], stream: torch.Tensor) -> torch.Tensor:
    return unpack(Packed(fmt, shape, "float32", {"elements": stream}))


def _times(a: torch.Tensor, scales: torch.Tensor, view: View) -> torch.Tensor:
    """Each element times the scale of its block."""
    if any(view.padding):
        for axis, (extent, length) in enumerate(zip(view.extents, view.lengths)):
            scales = scales.repeat_interleave(extent, axis).narrow(axis, 0, length)
        return (a.reshape(view.lengths) * scales).reshape(view.shape)
    split = a.reshape([n for pair in zip(view.grid, view.extents) for n in pair])
    return (split * view.spread(scales)).reshape(view.shape)


def _decode(streams: list[torch.Tensor], text: str, shape: Any, dtype: torch.dtype) -> torch.Tensor:
    return decoded(streams, text).to(dtype)


def _fake(streams: list[torch.Tensor], text: str, shape: Any, dtype: torch.dtype) -> torch.Tensor:
    return streams[0].new_empty(shape, dtype=dtype)


LIBRARY.define("decode(Tensor[] streams, str text, SymInt[] shape, ScalarType dtype) -> Tensor")
LIBRARY.impl("decode", _decode, "CompositeExplicitAutograd")
torch.library.register_fake("halfulp::decode", _fake, lib=LIBRARY)


class BitStreams(nn.Module):
    """A packed array whose streams are buffers."""

    def __init__(self, packed: Packed) -> None:
        super().__init__()
        self.fmt, self.shape, self.values_dtype, self.names = packed.fmt, packed.shape, packed.dtype, (*packed.streams,)
        for name, stream in packed.streams.items():
            self.register_buffer(name, stream)

    @property
    def packed(self) -> Packed:
        """The array."""
        return Packed(self.fmt, self.shape, self.values_dtype, {name: getattr(self, name) for name in self.names})

    def extra_repr(self) -> str:
        return f"{self.fmt.name}, {self.shape}, {self.packed.bits_per_element:.4g} bits an element"


def _decode_again(weight: Any, *_: Any) -> None:
    """A hook after other bits were loaded."""
    if weight.decoded is not None:
        weight.decoded.copy_(decoded(weight.streams(), weight.text))


class PackedWeight(nn.Module):
    """A weight as packed bits: what takes the place of a parameter.

    Args:
        parts: one packed array or more, see `entries.WAYS`.
        stored: how they make the weight.
        keep: whether to keep decoded values beside the bits, rather than decode in each call.
    """

    decoded: torch.Tensor | None
    shape: tuple[int, ...]

    def __init__(self, parts: tuple[Packed, ...], stored: StoredWeight, keep: bool) -> None:
        super().__init__()
        self.stored = stored
        self.dtype: torch.dtype = getattr(torch, stored.dtype)
        for k, part in enumerate(parts):
            self.add_module(str(k), BitStreams(part))
        self.text = described(stored.way, parts)
        self._held: torch.Tensor | None = None
        values = decoded(self.streams(), self.text).to(self.dtype)
        self.shape = tuple(values.shape)
        self.register_buffer("decoded", values if keep else None, persistent=False)
        self.register_load_state_dict_post_hook(_decode_again)

    def bits(self) -> list[BitStreams]:
        """The packed arrays."""
        return list(self.children())  # pyright: ignore[reportReturnType]

    def streams(self) -> list[torch.Tensor]:
        """The streams of all packed arrays."""
        return [getattr(part, name) for part in self.bits() for name in part.names]

    def values(self) -> torch.Tensor:
        """What products read."""
        if self.decoded is not None:
            return self.decoded
        held = self._held
        if held is not None:
            return held
        if torch.compiler.is_compiling():
            return torch.ops.halfulp.decode(self.streams(), self.text, self.shape, self.dtype)
        return decoded(self.streams(), self.text).to(self.dtype)

    def hold(self) -> None:
        """Decode once for all that read the values until `release`; another thread that does not find them decodes."""
        self._held = self.values()

    def release(self) -> None:
        """End of `hold`."""
        self._held = None

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        """As a module's; bits stay bits, and values go to the dtype that parameters go to."""
        super()._apply(fn, recurse)
        self.dtype = fn(torch.empty(0, dtype=self.dtype)).dtype
        self.stored = replace(self.stored, dtype=str(self.dtype).removeprefix("torch."))  # which files say
        return self
