"""`decompose`: a residual stack stage by stage."""

from typing import Any

import numpy as np

from ..formats.catalogue import format as any_format
from ..formats.residual import ResidualFormat
from .dispatch import backend_of, residual_backend_of
from .plan import Randomness
from .quantize import quantize
from .residual import Decomposition, refitted, stages
from .scaled_plan import Options
from .views import view_of


def decompose(x: Any, fmt: "str | ResidualFormat", **options: Any) -> Decomposition:
    """The stages of a stack one by one, to look at or to store.

    Args:
        x: as in `quantize`; not traced where the stack is refitted.
        fmt: a stack or its name, such as 'bcq3_per_row'.
        options: of `quantize`: rounding, overflow, seed, step, stream, offset, axis, pad.

    Returns:
        Values equal to those of `quantize`; parts and coefficients whose products add up to them (rounded to
        x's dtype once where the stack is refitted).

    Raises:
        TypeError: a format that is no stack.
        ValueError: as `quantize`.

    Example:
        >>> import numpy as np
        >>> found = decompose(np.float32([1.0, -3.0, 0.5, 2.5]), "bcq2_greedy")
        >>> found.parts[0].tolist(), found.parts[1].tolist()
        ([1.75, -1.75, 1.75, 1.75], [-1.0, -1.0, -1.0, 1.0])
    """
    resolved = any_format(fmt)
    if not isinstance(resolved, ResidualFormat):
        raise TypeError(f"{resolved.name} is no stack of formats; expected one such as 'bcq2' or hu.residual(...)")
    keys = ("seed", "step", "stream", "offset")
    randomness = Randomness(**{key: options.pop(key) for key in keys if key in options})
    asked = Options(**options)
    array = backend_of(x).as_array(x)
    if resolved.refit == "none":
        values, parts = stages(array, resolved, asked, randomness, quantize)
        view = view_of(resolved.blocks, tuple(array.shape), True, resolved.name)
        return Decomposition(values, tuple(parts), np.ones((len(parts), *view.grid)))
    backend = residual_backend_of(x)
    found = refitted(backend.to_host(array), resolved, asked, randomness, quantize)
    parts = tuple(backend.from_host(part, array) for part in found.parts)
    return Decomposition(backend.from_host(found.values, array), parts, found.coefficients)
