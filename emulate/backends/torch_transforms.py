"""Hadamard transforms of torch tensors: eager and compiled, with gradients of any order, forward mode, `torch.func`.

One operator takes names and tensors only and hides the kernel from tracing. The transform is linear, so that its
derivatives are transforms: forwards the same one, backwards its transpose.
"""

from typing import Any

import numpy as np
import torch

from ...formats.transform import transform as named_transform
from ..layouts import FLOAT32, LAYOUTS, Layout
from ..plan import Plan, Randomness
from ..scaled_plan import ScaledPlan
from ..transform_kernels import TransformPlan, make_transform_plan, transformed
from ..transforms import SIGN_STREAM, axes_of
from . import numpy_transforms
from . import triton as fast
from . import triton_scaled as fast_scaled
from .torch_autograd import LIBRARY, is_plain, transforms_active
from .torch_integers import TorchIntegers
from .torch_kernel import BITS, Offset, as_array, dtype_name, key_of, noise_of, torch_dtype, words_at

LIBRARY.define("hadamard(Tensor x, Tensor? key, str transform, int axis, bool inverse, str out_dtype) -> Tensor")


def hadamard(
    x: torch.Tensor, plan: TransformPlan, randomness: Randomness | None, out: torch.Tensor | None
) -> torch.Tensor:
    """`emulate.transforms.hadamard` on tensors."""
    key = None if randomness is None else key_of(randomness, x.device)
    if out is not None:
        return transform_plain(x, plan, key, out)
    if transforms_active() or (x.requires_grad and torch.is_grad_enabled()) or not is_plain(x):
        return Eager.apply(x, key, plan)  # pyright: ignore[reportReturnType]
    return transform_plain(x, plan, key)


def hadamard_compiled(x, transform, axis, inverse, seed, step, out, out_dtype) -> torch.Tensor:
    """`emulate.transforms.hadamard` while `torch.compile` traces: names, tensors and one Function."""
    if out is not None:
        raise ValueError("out= is not traced by torch.compile; leave it out, the compiler reuses memory itself")
    spec = transform.strip().lower() if isinstance(transform, str) else transform.spec
    key = None
    if spec.startswith("rht"):
        if seed is None:
            raise ValueError(f"transform {spec!r} needs a seed; pass seed=0, and step= to vary it")
        key = key_of(Randomness(seed, 0 if spec.endswith("_fixed") else step, SIGN_STREAM), x.device)
    dtype = dtype_name(x) if out_dtype is None else str(out_dtype).removeprefix("torch.")
    return Compiled.apply(x, key, spec, axis if axis < 0 else axis - x.dim(), bool(inverse), dtype)  # pyright: ignore


def quantize(
    x: torch.Tensor,
    transform: TransformPlan,
    signs: Randomness | None,
    plan: Plan | ScaledPlan,
    randomness: Randomness,
    out: torch.Tensor | None,
) -> torch.Tensor | None:
    """`emulate.quantize` of the transform of a tensor without holding that, or None where it must be held."""
    watched = transforms_active() or (x.requires_grad and torch.is_grad_enabled()) or not is_plain(x)
    if watched or (isinstance(plan, ScaledPlan) and plan.scale_rounding is not None):
        return None
    if fast.available(x):
        return _rotated(x.detach(), transform, signs, plan, randomness, out)
    if x.device.type != "cpu":
        return None
    cpu = torch.device("cpu")
    negative = noise = None
    if signs is not None:
        negative = numpy_transforms.negative_of(tuple(key_of(signs, cpu).tolist()), transform.size)
    if plan.rounding.stochastic:
        noise = noise_of(key_of(randomness, cpu), Offset.of(randomness.offset), x.shape)
    source, target = _numpy(x.detach().contiguous(), transform.source), None
    if out is not None and _takes(out, x):
        target = _numpy(out.detach(), plan.target)
    found = numpy_transforms.quantized(source, transform, negative, plan, noise, target)
    if found is None or found is target:
        return out if found is target and target is not None else None
    values = torch.from_numpy(found.view(numpy_transforms.plain.BITS[plan.target.width])).view(torch_dtype(plan.target))
    return values if out is None else out.copy_(values)


def _rotated(
    x: torch.Tensor,
    transform: TransformPlan,
    signs: Randomness | None,
    plan: Plan | ScaledPlan,
    randomness: Randomness,
    out: torch.Tensor | None,
) -> torch.Tensor | None:
    """`quantize` by way of Triton, or None where it does not know the transform or the format."""
    if not _known_to_triton(transform) or not x.numel():
        return None
    target = torch.empty_like(x, dtype=torch_dtype(plan.target)) if out is None else out
    key = key_of(randomness, x.device) if plan.draws else None
    rotation = fast.Rotation(transform.size, _signs_of(signs, transform.size, x.device))
    call = fast_scaled.quantize_rotated if isinstance(plan, ScaledPlan) else fast.quantize_rotated
    done = call(x, plan, rotation, key, Offset.of(randomness.offset), target)  # pyright: ignore[reportArgumentType]
    return target if done else None


def _known_to_triton(plan: TransformPlan) -> bool:
    """Whether the kernels know a transform: in float32, along the last axis, signs first."""
    return plan.layout is FLOAT32 and plan.axis == -1 and not (plan.inverse and plan.hadamard.random)


def _signs_of(randomness: Randomness | None, size: int, device: torch.device) -> torch.Tensor | None:
    """(size,) float32 of +-1 on a device; None where no sign changes."""
    if randomness is None:
        return None
    return torch.where(negative_signs(key_of(randomness, device), size), -1.0, 1.0)


@torch.compiler.assume_constant_result
def axes_compiled(fmt: str, axis: Any) -> tuple[Any, Any]:
    """`emulate.transforms.axes_of` as a constant of the trace."""
    return axes_of(fmt, axis)


def signs(randomness: Randomness | None, size: int) -> torch.Tensor:
    """(size,) float32 of +-1, on the device of the seed or the step."""
    if randomness is None:
        return torch.ones(size)
    like = next((a for a in (randomness.seed, randomness.step) if isinstance(a, torch.Tensor)), torch.empty(0))
    negative = negative_signs(key_of(randomness, like.device), size)
    return torch.where(negative, -1.0, 1.0)


def negative_signs(key: torch.Tensor, size: int) -> torch.Tensor:
    """(size,) which signs are negative, on the key's device."""
    return words_at(key, Offset((0,), None), key.new_empty(size), FLOAT32) < 0


def transform_plain(
    x: torch.Tensor, plan: TransformPlan, key: torch.Tensor | None, out: torch.Tensor | None = None
) -> torch.Tensor:
    """The kernel on a tensor that is nothing but memory; CPU tensors share theirs with NumPy."""
    target = out if out is not None and _takes(out, x) else x.new_empty(x.shape, dtype=torch_dtype(plan.target))
    source = x.detach().contiguous()
    if fast.available(x) and x.numel() and _known_to_triton(plan):
        signs = None if key is None else torch.where(negative_signs(key.to(x.device), plan.size), -1.0, 1.0)
        fast.hadamard(source, fast.Rotation(plan.size, signs), target.detach())
    elif x.device.type == "cpu":
        negative = None if key is None else numpy_transforms.negative_of(tuple(key.tolist()), plan.size)
        numpy_transforms.transformed(_numpy(source, plan.source), plan, negative, _numpy(target.detach(), plan.target))
    elif x.numel():
        target.copy_(portable(source, plan, key))
    return target if out is None or target is out else out.copy_(target)


def _takes(out: torch.Tensor, x: torch.Tensor) -> bool:
    """Whether the result can be written there while x is read: right on it, or apart."""
    apart = out.untyped_storage().data_ptr() != x.untyped_storage().data_ptr() or not x.is_contiguous()
    same = out.data_ptr() == x.data_ptr() and out.dtype == x.dtype
    return out.is_contiguous() and (same or apart)


def _numpy(x: torch.Tensor, layout: Layout) -> np.ndarray:
    return x.view(BITS[layout.width]).numpy().view(numpy_transforms.plain.FLOATS[layout.name])


def portable(x: torch.Tensor, plan: TransformPlan, key: torch.Tensor | None) -> torch.Tensor:
    """The portable transform on the tensor's device."""
    xp = TorchIntegers(plan.layout.work_width, x.device)
    flips = None
    if key is not None:
        flips = negative_signs(key.to(x.device), plan.size).to(xp.dtype) * (-1 << (xp.width - 1))
    bits = transformed(xp, plan, x.view(BITS[plan.source.width]).to(xp.dtype), flips)
    return bits.to(BITS[plan.target.width]).view(torch_dtype(plan.target))


def _by_operator(x: torch.Tensor, key: torch.Tensor | None, plan: TransformPlan) -> torch.Tensor:
    return torch.ops.halfulp.hadamard(x, key, plan.hadamard.spec, plan.axis, plan.inverse, plan.target.name)


def _batched(x: torch.Tensor) -> bool:
    """Whether `torch.autograd.grad(is_grads_batched=True)` is at work, whose tensors run operators only."""
    return torch._C._functorch.is_legacy_batchedtensor(x)  # pyright: ignore[reportAttributeAccessIssue]


def _plan(x: torch.Tensor, transform: str, axis: int, inverse: bool, out_dtype: str) -> TransformPlan:
    source = LAYOUTS[dtype_name(as_array(x))]
    return make_transform_plan(named_transform(transform), tuple(x.shape), axis, inverse, source, LAYOUTS[out_dtype])


def _kernel(x, key, *names):
    return transform_plain(x, _plan(x, *names), key)


def _fake(x, key, *names):
    return x.new_empty(x.shape, dtype=torch_dtype(_plan(x, *names).target))


LIBRARY.impl("hadamard", _kernel, "CompositeExplicitAutograd")
torch.library.register_fake("halfulp::hadamard", _fake, lib=LIBRARY)


class Compiled(torch.autograd.Function):
    """For `torch.compile`, which traces no `jvp`."""

    @staticmethod
    def forward(x, key, transform, axis, inverse, out_dtype):
        """Names as the operator takes them."""
        return torch.ops.halfulp.hadamard(x, key, transform, axis, inverse, out_dtype)

    @staticmethod
    def setup_context(ctx, inputs, output):
        """The names of the transpose."""
        x, key, transform, axis, inverse, _ = inputs
        ctx.save_for_backward(key)
        ctx.names = transform, axis, not inverse, dtype_name(x)

    @staticmethod
    def backward(ctx, gradient):  # pyright: ignore[reportIncompatibleMethodOverride]
        """The transpose of the gradient."""
        return Compiled.apply(gradient, ctx.saved_tensors[0], *ctx.names), *[None] * 5


class Eager(torch.autograd.Function):
    """For eager gradients, forward mode and `torch.func`."""

    @staticmethod
    def forward(x, key, plan):
        """The kernel, or the operator where something watches."""
        return transform_plain(x, plan, key) if is_plain(x) and not _batched(x) else _by_operator(x, key, plan)

    @staticmethod
    def setup_context(ctx, inputs, output):
        """Signs and plan are all there is."""
        _, key, plan = inputs
        ctx.save_for_backward(key)
        ctx.save_for_forward(key)
        ctx.plan = plan

    @staticmethod
    def backward(ctx, gradient):  # pyright: ignore[reportIncompatibleMethodOverride]
        """The transpose of the gradient."""
        return Eager.apply(gradient, ctx.saved_tensors[0], ctx.plan.transposed), None, None

    @staticmethod
    def jvp(ctx, tangent, *_):  # pyright: ignore[reportIncompatibleMethodOverride]
        """The transform of the tangent."""
        return Eager.apply(tangent, ctx.saved_tensors[0], ctx.plan)

    @staticmethod
    def vmap(info, in_dims, x, key, plan):  # pyright: ignore[reportIncompatibleMethodOverride]
        """Members share signs unless their keys are mapped; the axis counts from the end."""
        x_dim, key_dim, _ = in_dims
        if key_dim is None:
            return Eager.apply(x.movedim(x_dim, 0), key, plan), 0
        members = [
            Eager.apply(x if x_dim is None else x.select(x_dim, k), key.select(key_dim, k), plan)
            for k in range(info.batch_size)
        ]
        return torch.stack(members), 0  # pyright: ignore[reportArgumentType, reportCallIssue]
