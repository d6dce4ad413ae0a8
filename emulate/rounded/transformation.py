"""Functions of JAX with every operation rounded."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ...formats.registry import Format
from ...formats.rounding import Rounding
from .context import arithmetic
from .draws import draws_for
from .reductions import check_order

if TYPE_CHECKING:
    from .context import Arithmetic


def rounded(
    function: Callable[..., Any],
    fmt: "str | Format | Arithmetic",
    *,
    rounding: str | Rounding | None = None,
    overflow: str | None = None,
    seed: Any = None,
    order: str = "sequential",
) -> Callable[..., Any]:
    """A function of JAX arrays with every operation rounded to a format.

    The function is traced, and what it consists of is evaluated again, operation by operation: arguments and constants
    are rounded first, then the result of every addition, product, quotient and root (correctly, in any rounding), of
    every step of sums and matrix products, and of every other function, which is computed in the carrier and rounded
    once. Loops, branches and nested functions are entered. Works under `jax.jit`, `jax.vmap` and `jax.grad`, and on
    functions that contain these.

    Args:
        function: of arrays and pytrees of arrays.
        fmt: an unscaled format or its name.
        rounding, overflow: as in `halfulp.quantize`.
        seed: of stochastic roundings, an integer; every operation draws words of its own, the same at every call.
        order: of sums and matrix products, 'sequential' or 'pairwise'.

    Returns:
        A function with the same arguments and results.

    Raises:
        ValueError, TypeError: as `halfulp.array`; when called, an operation that has no rounded meaning, arrays whose
            dtype does not hold the format's values, and formats that take rational arithmetic.
    """
    target = arithmetic(fmt, rounding, overflow)
    draws = draws_for(target.rounding.stochastic, seed, "rounded")
    if not callable(function):
        raise TypeError(f"rounded: expected a function, got {type(function).__name__}; for arrays there is hu.array")
    from ..backends.jax_rounded import transformed

    return transformed(function, target, None if draws is None else draws.seed, check_order(order))
