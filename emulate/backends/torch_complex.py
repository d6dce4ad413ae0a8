"""Complex numbers of torch tensors; gradients pass straight through a phase, eager, compiled and in `torch.func`."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from ...formats.catalogue import format as any_format
from ...formats.complexes import ComplexFormat
from ..arithmetic import narrow
from ..encoded import Encoded
from ..layouts import LAYOUTS, Layout
from ..numbers import convert
from ..phase_kernels import phase_stages, phase_values
from ..philox import fold_stream, fold_words
from ..views import View, view_of
from . import numpy_complex
from .torch_autograd import LIBRARY, is_plain
from .torch_integers import TorchIntegers, TorchWords
from .torch_kernel import BITS, torch_dtype


def parts(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Real and imaginary part.

    Raises:
        TypeError: no complex numbers, or of half precision.
    """
    if not x.is_complex():
        raise TypeError(f"expected complex numbers or a pair (re, im), got {x.dtype}")
    if x.dtype not in (torch.complex64, torch.complex128):
        raise TypeError(f"expected complex64 or complex128, got {x.dtype}; convert with x.to(torch.complex64)")
    return x.real, x.imag


def joined(re: torch.Tensor, im: torch.Tensor) -> torch.Tensor:
    """The complex tensor of two parts; 16-bit parts become float32."""
    wide = [part.float() if part.dtype.itemsize == 2 else part for part in (re, im)]
    return torch.complex(*wide)


def concatenated(arrays: list[torch.Tensor], axis: int) -> torch.Tensor:
    """Tensors side by side."""
    return torch.cat(arrays, axis)


def folded(stream: Any, member: int) -> Any:
    """The stream of a member."""
    if isinstance(stream, torch.Tensor):
        return fold_words(TorchWords(), stream.to(torch.int64), member)
    return fold_stream(int(stream), member)


def phase(re: torch.Tensor, im: torch.Tensor, fmt: ComplexFormat, layout: Layout, view: View) -> tuple:
    """Values of both parts."""
    return _Eager.apply(re, im, fmt.spec, any(view.padding))


def phase_compiled(re: torch.Tensor, im: torch.Tensor, spec: str, pad: bool) -> tuple:
    """Values of both parts, while `torch.compile` traces."""
    return _Compiled.apply(re, im, spec, pad)


def _phase_plain(re: torch.Tensor, im: torch.Tensor, spec: str, pad: bool) -> tuple[torch.Tensor, torch.Tensor]:
    fmt, layout = any_format(spec), LAYOUTS[str(re.dtype).removeprefix("torch.")]
    view = view_of(fmt.blocks, tuple(re.shape), pad, fmt.name)
    bits = [part.detach().contiguous().view(BITS[layout.width]) for part in (re, im)]
    if re.device.type == "cpu":
        found = numpy_complex.phase_bits(bits[0].numpy(), bits[1].numpy(), fmt, layout, view)
        values = [torch.from_numpy(np.ascontiguousarray(part)) for part in found]
    else:
        values = _portable(bits, fmt, layout, view)
    return tuple(
        torch.empty_like(like).copy_(part.view(torch_dtype(layout)).view(like.shape))
        for part, like in zip(values, (re, im))
    )  # pyright: ignore[reportReturnType]


def _portable(bits: list[torch.Tensor], fmt: ComplexFormat, layout: Layout, view: View) -> list[torch.Tensor]:
    if not bits[0].numel():
        return bits
    work = numpy_complex.work_layout(layout)
    xp = TorchIntegers(work.work_width, bits[0].device)
    wide = [part.to(xp.dtype) for part in bits]
    wide = wide if work is layout else [convert(xp, layout, work, part) for part in wide]
    stages = phase_stages(xp, work, view, view.split(xp, wide[0]), view.split(xp, wide[1]), fmt.stages)
    shape = numpy_complex.split_shape(view)
    values = [view.join(xp.broadcast(part, shape)) for part in phase_values(xp, work, view, stages)]
    values = values if work is layout else [narrow(xp, work, layout, part) for part in values]
    return [part.to(BITS[layout.width]) for part in values]


LIBRARY.define("phase(Tensor re, Tensor im, str fmt, bool pad) -> (Tensor, Tensor)")
LIBRARY.impl("phase", _phase_plain, "CompositeExplicitAutograd")
torch.library.register_fake(
    "halfulp::phase", lambda re, im, fmt, pad: (torch.empty_like(re), torch.empty_like(im)), lib=LIBRARY
)


class _Compiled(torch.autograd.Function):
    """For `torch.compile`, which traces no `jvp`."""

    @staticmethod
    def forward(re, im, spec, pad):
        return torch.ops.halfulp.phase(re, im, spec, pad)

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    @staticmethod
    def backward(ctx, re, im):  # pyright: ignore[reportIncompatibleMethodOverride]
        return re, im, None, None


class _Eager(torch.autograd.Function):
    """For eager gradients, forward mode and `torch.func`."""

    @staticmethod
    def forward(re, im, spec, pad):
        if is_plain(re) and is_plain(im):
            return _phase_plain(re, im, spec, pad)
        return torch.ops.halfulp.phase(re, im, spec, pad)

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    @staticmethod
    def backward(ctx, re, im):  # pyright: ignore[reportIncompatibleMethodOverride]
        return re, im, None, None

    @staticmethod
    def jvp(ctx, re, im, *_):  # pyright: ignore[reportIncompatibleMethodOverride]
        return re.clone(), im.clone()

    @staticmethod
    def vmap(info, in_dims, re, im, spec, pad):  # pyright: ignore[reportIncompatibleMethodOverride]
        members = [
            _Eager.apply(*(a if d is None else a.select(d, b) for a, d in zip((re, im), in_dims)), spec, pad)
            for b in range(info.batch_size)
        ]
        return tuple(torch.stack(part) for part in zip(*members)), (0, 0)


def phase_codes(re: torch.Tensor, im: torch.Tensor, fmt: ComplexFormat, layout: Layout, view: View) -> tuple:
    """Codes of all stages and bits of their scales; other devices encode on the CPU and copy."""
    bits = [part.detach().cpu().contiguous().view(BITS[layout.width]).numpy() for part in (re, im)]
    codes, scales = numpy_complex.phase_codes_of_bits(bits[0], bits[1], fmt, layout, view)
    return torch.from_numpy(codes).to(re.device), torch.from_numpy(scales).to(re.device)


def phase_decoded(encoded: Encoded, layout: Layout, view: View) -> tuple:
    """Values of both parts; other devices decode on the CPU and copy."""
    device = encoded.elements.device
    arrays = {name: getattr(encoded, name).detach().cpu().numpy() for name in ("elements", "scales")}
    found = numpy_complex.phase_decoded_bits(replace(encoded, **arrays), layout, view)
    return tuple(torch.from_numpy(part).view(torch_dtype(layout)).to(device) for part in found)
