"""Hadamard transforms, alone and before quantization: the one place where their arguments are checked."""

from dataclasses import replace
from typing import Any

from ..formats.catalogue import format as any_format
from ..formats.registry import Format
from ..formats.scaled import ScaledFormat
from ..formats.transform import Hadamard
from ..formats.transform import transform as named_transform
from .dispatch import backend_of, torch_is_compiling, transforms_backend_of
from .plan import Randomness, dtype_name, layout_named
from .scaled_plan import Options, check_randomness, plan_for
from .scaled_tables import TracedScaled
from .tables import TracedFormat
from .transform_kernels import TransformPlan, make_transform_plan

SIGN_STREAM = 0x48414441
"""Random signs draw from this stream of their seed, whatever stream their array has, so that operands of a matrix
product which share seed and step share signs. Do not use it for anything else."""


def hadamard(
    x: Any,
    transform: str | Hadamard = "hadamard32",
    *,
    axis: int = -1,
    inverse: bool = False,
    seed: Any = None,
    step: Any = 0,
    out: Any = None,
    out_dtype: Any = None,
) -> Any:
    """The Hadamard transform of blocks of consecutive elements along an axis, y = H S x / sqrt(size).

    Elements take their signs, then log2(size) stages of sums and differences of elements 1, 2, 4, ... apart, each a
    single IEEE operation in float32 (float64 for float64 input) with gradual underflow, then one multiplication by
    1 / sqrt(size). The result is rounded once to its dtype. Its bits are the same in NumPy, PyTorch and JAX, with
    flushed subnormals, under jit and `torch.compile`; NaN are canonical. Sums beyond the range are infinite.

    The transform is linear: gradients pass through its transpose, in both directions and to any order.

    Args:
        x: float16, bfloat16, float32 or float64; a NumPy array, torch tensor or JAX array.
        transform: 'hadamard' or 'rht' (random signs) and a size, a power of two from 2 to 4096, or a
            `halfulp.Hadamard`; 'rht32_fixed' has the same signs in every step.
        axis: the transform runs along it; its length is a multiple of the size.
        inverse: S H y / sqrt(size), which undoes the transform up to rounding.
        seed, step: of random signs, as in `quantize`. Sign j is negative where the highest bit of the word at index j
            is set, in a stream reserved for signs. Members of a `vmap` share signs unless they map seed or step.
        out: array the result is written to and returned; x itself to work in place. Not for JAX.
        out_dtype: dtype of the result where it is not x's.

    Returns:
        The transform in the type, shape, dtype and device of x.

    Raises:
        ValueError: an unknown transform; an axis that does not consist of whole blocks; random signs without a seed;
            an `out` of another shape or that cannot be written.
        TypeError: input or `out` of another type or dtype.

    Example:
        >>> hadamard([1.0, 2.0, 3.0, 4.0], "hadamard4")
        array([ 5., -1., -2.,  0.])
        >>> hadamard([5.0, -1.0, -2.0, 0.0], "hadamard4", inverse=True)
        array([1., 2., 3., 4.])
    """
    if torch_is_compiling():
        from .backends.torch_transforms import hadamard_compiled

        return hadamard_compiled(x, transform, axis, inverse, seed, step, out, out_dtype)
    plan, array, backend = _resolved(x, transform, axis, inverse, out_dtype)
    randomness = sign_randomness(plan.hadamard, seed, step)
    if out is not None:
        backend.check_out(out, array, plan.target.name)
    return transforms_backend_of(x).hadamard(array, plan, randomness, out)


def _resolved(
    x: Any, transform: str | Hadamard, axis: Any, inverse: bool, out_dtype: Any
) -> tuple[TransformPlan, Any, Any]:
    """The plan of a transform, x as an array, and its backend."""
    found = named_transform(transform)
    if isinstance(x, tuple):
        raise TypeError("expected one array of real numbers, got a tuple; transform its parts apart")
    backend = backend_of(x)
    array = backend.as_array(x)
    source = layout_named(backend.dtype_name(array), "x")
    target = source if out_dtype is None else layout_named(dtype_name(out_dtype), "out_dtype")
    return make_transform_plan(found, tuple(array.shape), axis, bool(inverse), source, target), array, backend


def hadamard_signs(transform: str | Hadamard, seed: Any = None, step: Any = 0) -> Any:
    """The signs that a transform multiplies elements with.

    Args:
        transform, seed, step: as in `hadamard`.

    Returns:
        (size,) float32 of +-1: a torch tensor or JAX array where seed or step is one, else a NumPy array.

    Raises:
        ValueError: as `hadamard`.

    Example:
        >>> hadamard_signs("rht8", seed=0).astype(int).tolist()
        [-1, 1, 1, -1, -1, -1, -1, -1]
    """
    found = named_transform(transform)
    randomness = sign_randomness(found, seed, step)
    library = next((a for a in (seed, step) if transforms_backend_of(a) is not transforms_backend_of(0)), 0)
    return transforms_backend_of(library).signs(randomness, found.size)


def sign_randomness(hadamard: Hadamard, seed: Any, step: Any) -> Randomness | None:
    """Where random signs come from; None where there are none.

    Raises:
        ValueError: random signs without a seed.
    """
    if not hadamard.random:
        return None
    if seed is None:
        raise ValueError(f"transform {hadamard.spec!r} needs a seed; pass seed=0, and step= to vary it")
    return Randomness(seed, step if hadamard.fresh else 0, SIGN_STREAM)


def quantize_pieces(
    x: Any, fmt: Any, transform: str | Hadamard, options: Options, randomness: Randomness, out: Any
) -> Any | None:
    """`quantize(x, fmt, transform=)` where the transform need not be held in memory, else None."""
    if torch_is_compiling() or options.given or isinstance(x, tuple | int | float):
        return None
    quantize = getattr(transforms_backend_of(x), "quantize", None)
    if quantize is None:
        return None
    along, left = axes_of(fmt, options.axis)
    first, array, backend = _resolved(x, transform, along, False, None)
    first = replace(first, target=first.layout)
    signs = sign_randomness(first.hadamard, randomness.seed, randomness.step)
    out_dtype = first.source.name if options.out_dtype is None else options.out_dtype
    options = options._replace(axis=left, out_dtype=out_dtype)
    plan = plan_for(fmt, first.target.name, options)
    check_randomness(plan, randomness)
    if out is not None:
        backend.check_out(out, array, plan.target.name)
    return quantize(array, first, signs, plan, randomness, out)


def transform_first(
    x: Any, fmt: Any, transform: str | Hadamard, axis: Any, seed: Any, step: Any
) -> tuple[Any, int | tuple[int, ...] | None, str]:
    """What `quantize(x, fmt, transform=)` rounds.

    Returns:
        The transform of x, not rounded: float32, or float64 where x is. The axis as the format takes it. The name of
        the dtype that x had.
    """
    if torch_is_compiling():
        from .backends.torch_transforms import axes_compiled
        from .backends.torch_transforms import dtype_name as torch_name

        along, left = axes_compiled(fmt if isinstance(fmt, str) else fmt.spec, axis)
        dtype = torch_name(x)
    else:
        along, left = axes_of(fmt, axis)
        backend = backend_of(x)
        dtype = backend.dtype_name(backend.as_array(x))
    wide = "float64" if dtype == "float64" else "float32"
    return hadamard(x, transform, axis=along, seed=seed, step=step, out_dtype=wide), left, dtype


def axes_of(fmt: Any, axis: Any) -> tuple[Any, Any]:
    """The axis along which the transform before a format runs, and the axis that is left to say for its blocks.

    It is the axis along which the blocks run, where that is a single one; else `axis`, by default the last.

    Raises:
        TypeError: a format that is not a single one of real numbers.
    """
    if isinstance(axis, tuple) and len(axis) == 1:
        axis = axis[0]
    resolved = fmt if isinstance(fmt, TracedFormat | TracedScaled) else any_format(fmt)
    if isinstance(resolved, TracedScaled | ScaledFormat):
        blocks = resolved.blocks if isinstance(resolved, ScaledFormat) else resolved.structure.blocks
        if len(blocks.axes) == 1 and blocks.rest == 1:
            return blocks.axes[0] if axis is None else axis, axis
    elif not isinstance(resolved, TracedFormat | Format):
        raise TypeError(f"{resolved.name} takes no transform=; pass hu.hadamard(x, ...) in place of x")
    return -1 if axis is None else axis, None
