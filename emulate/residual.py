"""Residual stacks: stage after stage on what is left, and refits by least squares or alternation."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from ..formats.exact import numbers
from ..formats.residual import ResidualFormat
from ..formats.scaled import ScaledFormat
from .dispatch import backend_of, complex_backend_of, residual_backend_of, torch_is_compiling
from .plan import Randomness
from .scaled_plan import Options
from .views import View, view_of

Quantize = Callable[..., Any]

ROUNDS = 40
"""Alternations of a refit, at most; it ends where no code changes."""


@dataclass(frozen=True, slots=True)
class Decomposition:
    """What a stack made of an array.

    Args:
        values: the sum, in the type and shape of the array.
        parts: the stages' values, one array each, before coefficients.
        coefficients: (stages, grid of blocks) what parts are multiplied with; ones without a refit. In float64.
    """

    values: Any
    parts: tuple[Any, ...]
    coefficients: np.ndarray


def quantize_residual(
    x: Any, fmt: ResidualFormat, options: Options, randomness: Randomness, out: Any, quantize: Quantize
) -> Any:
    """`quantize` in a stack.

    Args:
        quantize: the function for a single format.

    Raises:
        ValueError: options that stages cannot share.
    """
    if options.given or options.out_dtype is not None or out is not None:
        raise ValueError(f"{fmt.name}: stages are added in x's dtype, so scale, out and out_dtype say nothing")
    if fmt.refit == "none":
        return stages(x, fmt, options, randomness, quantize)[0]
    array = backend_of(x).as_array(x)
    return residual_backend_of(x).on_host(array, lambda host: refitted(host, fmt, options, randomness, quantize).values)


def stages(
    x: Any, fmt: ResidualFormat, options: Options, randomness: Randomness, quantize: Quantize
) -> tuple[Any, list[Any]]:
    """The sum and its terms; each difference and sum is one IEEE operation in the dtype of x."""
    backend, folded = _backend(x)
    rest, total, parts = x, None, []
    for k, stage in enumerate(fmt.open):
        part = quantize(rest, stage, **_shared(stage, options, randomness, k, folded))
        parts.append(part)
        total = part if total is None else backend.added(total, part)
        if k + 1 < len(fmt.open):
            rest = backend.subtracted(rest, part)
    return total, parts


def _backend(x: Any) -> tuple[Any, Callable[[Any, int], Any]]:
    """Sums and differences of x's library, and what makes the stream of a stage."""
    if torch_is_compiling():  # which follows no import of a module by name
        from .backends import torch_complex, torch_residual

        return torch_residual, torch_complex.folded
    return residual_backend_of(x), complex_backend_of(x).folded


def _shared(
    stage: Any, options: Options, randomness: Randomness, k: int, folded: Callable[[Any, int], Any]
) -> dict[str, Any]:
    """The options of one stage; later stages draw from streams of their own."""
    stream = randomness.stream
    if randomness.seed is not None and k:
        stream = folded(stream, k)
    found = {
        "rounding": options.rounding, "overflow": options.overflow, "ste": options.ste, "seed": randomness.seed,
        "step": randomness.step, "stream": stream, "offset": randomness.offset,
    }  # fmt: skip
    if isinstance(stage, ScaledFormat):
        found |= {"scale_rounding": options.scale_rounding, "axis": options.axis, "pad": options.pad}
    return found


def refitted(
    x: np.ndarray, fmt: ResidualFormat, options: Options, randomness: Randomness, quantize: Quantize
) -> Decomposition:
    """A stack on the host with coefficients by block, in float64."""
    if not x.size:
        return Decomposition(x.copy(), (x.copy(),) * len(fmt.open), np.ones((len(fmt.open), 0)))
    _, parts = stages(x, fmt, options, randomness, quantize)
    blocks = fmt.blocks if options.axis is None else fmt.blocks.along(_axes(options.axis))
    view = view_of(blocks, x.shape, options.pad, fmt.name)
    rows, terms = _rows(view, x), np.stack([_rows(view, part) for part in parts])
    finite = np.asarray(np.isfinite(rows).all(-1))
    rows, terms = np.where(finite[:, None], rows, 0), np.where(finite[:, None], terms, 0)
    coefficients = _least_squares(rows, terms)
    if fmt.refit == "alternating":
        units = _units(terms)
        terms, coefficients = _alternated(rows, terms, coefficients, fmt, units)
    values = np.einsum("kb,kbn->bn", coefficients, terms)
    values[~finite] = np.nan
    arrays = [_joined(view, part, x) for part in (values, *terms)]
    return Decomposition(arrays[0], tuple(arrays[1:]), coefficients.reshape(len(parts), *view.grid))


def _axes(axis: Any) -> tuple[int, ...]:
    return (axis,) if isinstance(axis, int) else tuple(axis)


def _rows(view: View, x: np.ndarray) -> np.ndarray:
    """(blocks, elements of a block) in float64, zeros where a block is ragged."""
    from .backends.integers import NumpyIntegers

    xp = NumpyIntegers(64)
    return view.rows(xp, view.split(xp, x.astype(np.float64))).reshape(-1, view.block_size)


def _joined(view: View, rows: np.ndarray, x: np.ndarray) -> np.ndarray:
    from .backends.integers import NumpyIntegers

    split = view.unrows(NumpyIntegers(64), rows.reshape(*view.grid, view.block_size))
    return view.join(split).astype(x.dtype)


def _least_squares(rows: np.ndarray, terms: np.ndarray) -> np.ndarray:
    """(stages, blocks) coefficients with the smallest squared error; of several the smallest ones.

    Args:
        rows: (blocks, n) numbers.
        terms: (stages, blocks, n) what is multiplied.
    """
    scale = np.sqrt(np.einsum("kbn,kbn->kb", terms, terms))
    unit = terms / np.where(scale == 0, 1, scale)[..., None]
    gram = np.einsum("kbn,lbn->bkl", unit, unit)
    right = np.einsum("kbn,bn->bk", unit, rows)
    solved = np.einsum("bkl,bl->kb", np.linalg.pinv(gram, rcond=1e-10, hermitian=True), right)
    return solved / np.where(scale == 0, 1, scale)


def _units(terms: np.ndarray) -> np.ndarray:
    """(stages, blocks) the largest term of each block, which stands for the stage's largest element."""
    tops = np.abs(terms).max(-1)
    return np.where(tops == 0, 1, tops)


def _alternated(
    rows: np.ndarray, terms: np.ndarray, coefficients: np.ndarray, fmt: ResidualFormat, units: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Best codes for given coefficients and best coefficients for given codes, in turn until nothing changes."""
    elements = [_elements(stage) for stage in fmt.open]
    combinations = np.array(list(product(*elements))).T  # (stages, combinations)
    error = _error(rows, terms, coefficients)
    for _ in range(ROUNDS):
        worth = coefficients * units
        sums = np.einsum("kb,km->bm", worth, combinations)
        order = np.argsort(sums, axis=-1, kind="stable")
        ordered = np.take_along_axis(sums, order, -1)
        index = np.zeros(rows.shape, np.int64)
        for j in range(ordered.shape[-1] - 1):
            index += rows > ((ordered[:, j] + ordered[:, j + 1]) / 2)[:, None]
        chosen = np.take_along_axis(order, index, -1)
        new_terms = combinations[:, chosen] * units[..., None]
        new_coefficients = _least_squares(rows, new_terms)
        new_error = _error(rows, new_terms, new_coefficients)
        better = new_error < error
        if not better.any():
            break
        terms = np.where(better[:, None], new_terms, terms)
        coefficients, error = np.where(better, new_coefficients, coefficients), np.where(better, new_error, error)
    return terms, coefficients


def _error(rows: np.ndarray, terms: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
    return ((rows - np.einsum("kb,kbn->bn", coefficients, terms)) ** 2).sum(-1)


def _elements(stage: Any) -> list[float]:
    """The stage's elements over the largest magnitude among them."""
    found = [float(value) for value in numbers(stage.element if isinstance(stage, ScaledFormat) else stage)]
    top = max(map(abs, found))
    return [value / top for value in found]
