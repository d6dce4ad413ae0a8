"""What a rounded computation in JAX carries along: arithmetic, order of sums, and the place of its random bits."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ...formats.floats import FloatFormat
from ..layouts import LAYOUTS
from ..plan import Plan, Randomness
from ..rounded.context import Arithmetic, extent
from ..rounded.context import arithmetic as arithmetic_of
from ..rounded.draws import STREAM
from ..scaled_plan import Options, plan_for
from . import jax as jax_backend
from . import numpy as numpy_backend
from .jax_ieee import operate, require_home


@dataclass(slots=True)
class Run:
    """One evaluation of a function, or of a part that JAX compiles apart, such as the body of a loop.

    Args:
        arithmetic: what every operation ends with.
        order: of sums.
        seed: of stochastic rounding; None otherwise.
        stream: of the random words.
        base: the step at which the part begins, possibly traced.
        taken: how many steps it has taken.
    """

    arithmetic: Arithmetic
    order: str
    seed: Any = None
    stream: Any = STREAM
    base: Any = 0
    taken: int = 0

    @property
    def random(self) -> bool:
        """Whether operations take random words, one step each."""
        return self.arithmetic.rounding.stochastic

    def part(self, base: Any, stream: Any = None) -> "Run":
        """The evaluation of a part, whose steps begin at `base`."""
        return Run(self.arithmetic, self.order, self.seed, self.stream if stream is None else stream, base)

    def step(self, later: Any = 0) -> Any:
        """The number of the next step, or of a later one."""
        step = self.base + self.taken + later
        return step if isinstance(step, int) else step.astype(jnp.uint32)

    def words(self, later: Any = 0) -> Randomness | None:
        """The random words of the next step, or of a later one, which stays to be taken."""
        return Randomness(self.seed, self.step(later), self.stream) if self.random else None

    def take(self, count: int = 1) -> None:
        """Go on by some steps."""
        self.taken += count

    def operate(self, name: str, *operands: Any) -> jax.Array:
        """One operation of arrays of one dtype, rounded."""
        found = operate(name, self.arithmetic, operands, self.words())
        self.take()
        return found

    def later(self, name: str, operands: tuple[Any, ...], step: Any) -> jax.Array:
        """One operation whose step, counted from the next one, is traced; to be taken by the caller."""
        return operate(name, self.arithmetic, operands, self.words(step))

    def round(self, x: Any, dtype: Any = None) -> jax.Array:
        """Any floats rounded to the format, as floats of a dtype, by default their own."""
        found = _rounded(self.arithmetic, x, x.dtype if dtype is None else dtype, self.words())
        self.take()
        return found

    def exact_in(self, x: Any, dtype: Any) -> Any:
        """Values of the format in another dtype."""
        return x if x.dtype == dtype else _rounded(_nearest(self.arithmetic), x, dtype, None)

    def exact(self, x: Any) -> jax.Array:
        """What is a value of most formats, and the nearest one of others, such as the negative of -128 in int8."""
        return _rounded(_nearest(self.arithmetic), x, x.dtype, None)

    def constant(self, value: Any, dtype: Any) -> Any:
        """A number rounded to the format; values of the format take no random words."""
        name = np.dtype(dtype).name
        number, nearest = np.asarray(value, dtype), _nearest(self.arithmetic)
        require_home(nearest, name)
        found = numpy_backend.quantize(number, rounding_of(nearest, name, name), Randomness(), None)
        same = np.array_equal(found, number, equal_nan=True)
        return self.round(jnp.asarray(number)) if self.random and not same else found


def _rounded(arithmetic: Arithmetic, x: Any, dtype: Any, randomness: Randomness | None) -> jax.Array:
    source, target = jax_backend.dtype_name(x), np.dtype(dtype).name
    require_home(arithmetic, target)
    return jax_backend.quantize(
        jnp.asarray(x), rounding_of(arithmetic, source, target), randomness or Randomness(), None
    )


@lru_cache(maxsize=1024)
def rounding_of(arithmetic: Arithmetic, source: str, target: str) -> Plan:
    """The rounding of numbers of one dtype to the format, as numbers of another."""
    plan: Any = plan_for(arithmetic.fmt, source, Options(arithmetic.rounding, None, arithmetic.overflow, target))
    return plan


@lru_cache(maxsize=1024)
def _nearest(arithmetic: Arithmetic) -> Arithmetic:
    """The arithmetic for results that need no random words."""
    random = arithmetic.rounding.stochastic
    return arithmetic_of(arithmetic.fmt, "nearest_even", arithmetic.overflow) if random else arithmetic


@lru_cache(maxsize=1024)
def symmetric(arithmetic: Arithmetic) -> bool:
    """Whether the format has the negative of every value."""
    fmt = arithmetic.fmt
    return isinstance(fmt, FloatFormat) and fmt.signed


@lru_cache(maxsize=1024)
def subnormal(arithmetic: Arithmetic, dtype: str) -> bool:
    """Whether values lie among the subnormals of a dtype, which XLA takes for zero."""
    return extent(arithmetic.fmt).quantum < 1 - LAYOUTS[dtype].bias


@jax.custom_jvp
def with_gradient_of(plain: Any, value: Any) -> Any:
    """The value, differentiated as another array: straight through."""
    return value


@with_gradient_of.defjvp
def _(primals: tuple[Any, Any], tangents: tuple[Any, Any]) -> tuple[Any, Any]:
    plain, value = primals
    return with_gradient_of(lax.stop_gradient(plain), value), tangents[0]
