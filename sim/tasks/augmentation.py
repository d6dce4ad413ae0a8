"""Random crops and mirror images, drawn from nothing but seed, step and the number of a sample: the same everywhere."""

from dataclasses import dataclass
from typing import Any

from ...emulate.philox import Words, fold_words, philox
from ..recipes.seeds import name_words

_NAME = "augmentation"


@dataclass(frozen=True, slots=True)
class Augmentation:
    """How images to train on are changed, anew in every step; validation images are not.

    Args:
        padding: zeros on each side, before a crop of the image's own size from a random place.
        flip: whether every other image is mirrored left to right, after that.

    Raises:
        ValueError: a padding that is no integer of 0 or more.

    Source: K. He, X. Zhang, S. Ren, J. Sun: Deep residual learning for image recognition (arXiv:1512.03385), 4.2, with
    a padding of 4 for 32 x 32 pixels.
    """

    padding: int = 4
    flip: bool = True

    def __post_init__(self) -> None:
        if not isinstance(self.padding, int) or isinstance(self.padding, bool) or self.padding < 0:
            raise ValueError(f"augmentation: expected a padding of 0 pixels or more, got {self.padding!r}")


def shifts(arithmetic: Words, how: Augmentation, seed: Any, step: Any, samples: Any) -> tuple[Any, Any, Any]:
    """What becomes of each sample: where its crop begins, from 0 to 2 * padding, and whether it is mirrored.

    Args:
        arithmetic: on words, in the dtype of those that follow.
        seed: two words. step: a word. samples: (n,) words, numbers of samples.

    Returns:
        (n,) words of rows, columns, and 0 or 1. Sample i draws from Philox at the counter (i, 0, 0, step), with the
        seed folded with the words of a name as its key.
    """
    zero = samples ^ samples
    key = [fold_words(arithmetic, seed[k], arithmetic.add(zero, word)) for k, word in enumerate(name_words(_NAME))]
    down, across, mirrored, _ = philox(arithmetic, (samples, zero, zero, zero + step), key)
    places = 2 * how.padding + 1
    rows, columns = (arithmetic.multiply(places, word)[0] for word in (down, across))
    return rows, columns, (mirrored >> 31) & int(how.flip)


def augmented(xp: Any, images: Any, how: Augmentation, rows: Any, columns: Any, mirrored: Any) -> Any:
    """Images cropped and mirrored.

    Args:
        xp: numpy, jax.numpy or torch.
        images: (n, channels, height, width).
        rows, columns, mirrored: (n,) signed integers, see `shifts`.
    """
    n, c, h, w = images.shape
    device = {"device": images.device} if hasattr(xp, "Tensor") else {}
    each, channel, y, x = (xp.arange(length, **device) for length in (n, c, h, w))
    y = rows[:, None] + y - how.padding
    x = columns[:, None] + xp.where(mirrored[:, None] > 0, w - 1 - x, x) - how.padding
    inside = ((y >= 0) & (y < h))[:, None, :, None] & ((x >= 0) & (x < w))[:, None, None, :]
    y, x = xp.clip(y, 0, h - 1), xp.clip(x, 0, w - 1)
    taken = images[each[:, None, None, None], channel[None, :, None, None], y[:, None, :, None], x[:, None, None, :]]
    return xp.where(inside, taken, xp.zeros_like(taken))
