"""ECO: what rounding the weights cuts off goes into the momentum, and no master weights are needed.

Let m be the momentum, w - lr m' the weight before rounding, q its rounding and e what that cut off. With e
carried over, the next step would begin from q + e, as with a master. It begins from q, but moves by -lr b m of this
momentum, so that

    m <- m' - e / (lr b)                                        brings e back

and this stays in the momentum, b times as large, when the next e has to be brought back in full. Were all e equal, what
is added each time would have to be -e / (lr b) + e / lr:

    m <- m' + (1 / lr) (1 - 1 / b) e                            SGD; the same for m' = b m + g and m' = b m + (1 - b) g
    m <- m' + (1 / lr) (1 - 1 / b1) (1 - b1**t) (sqrt(v / (1 - b2**t)) + eps) e                       Adam, AdamW

With Nesterov's momentum the next step moves by -lr b**2 m, and the first line is divided by b once more.
"""

from typing import Any, NamedTuple

from .namespace import Array, Arrays


class Momentum(NamedTuple):
    """What ECO needs to know of an optimizer; numbers, or () arrays where they are traced.

    Fields:
        rate: the learning rate of this step; at 0 nothing moves, and nothing is compensated.
        decay: b, or Adam's b1.
        nesterov: whether SGD looks ahead.
        second: of Adam (b2, eps, t), t the number of this step from 1 on; else None.
    """

    rate: Any
    decay: Any
    nesterov: bool = False
    second: tuple[Any, Any, Any] | None = None

    @property
    def per_rate(self) -> Any:
        """1 / rate, or 0."""
        stands = self.rate == 0
        return (1 - stands) / (self.rate + stands)


def compensated(xp: Arrays, of: Momentum, momentum: Array, lost: Array, squares: Array | None) -> Array:
    """The momentum with what rounding cut off, as the module says.

    Args:
        momentum, squares: the states after the step; the second moment of Adam, else None.
        lost: e.

    Source: ECO, error-compensating optimizer, as its code has it.
    """
    factor = (1 - 1 / of.decay) * of.per_rate
    if of.nesterov:
        factor = factor / of.decay
    if of.second is None or squares is None:
        return momentum + xp.product(lost, factor)
    decay, epsilon, count = of.second
    factor = factor * (1 - of.decay**count)
    root = xp.sqrt(squares / (1 - decay**count)) + epsilon
    return momentum + xp.product(xp.product(root, factor), lost)
