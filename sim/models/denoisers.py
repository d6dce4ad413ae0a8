"""Networks that predict noise, as data: sizes, parameters, cost of a sample. No framework here.

Costs are forward: two operations for each multiply-accumulate of linear layers, convolutions and attention.
"""

from dataclasses import dataclass
from math import prod, sqrt

from .leaves import HEAD_GAIN, RECTIFIED, Leaves, convolution, inside, joined, linear, matrix_numbers, norm

TIME_FEATURES = 32
"""Sines and cosines of the time a denoiser is given."""


@dataclass(frozen=True, slots=True)
class MlpDenoiser:
    """Predicts the noise in a flattened image: residual layers that see the time of the diffusion.

    Args:
        image: channels, height and width.
        width, depth: of the residual stream, whose layers are twice as wide inside.
    """

    image: tuple[int, int, int]
    width: int
    depth: int

    @property
    def leaves(self) -> Leaves:
        """time, embed, layers.K.{norm, up, time, down}, norm and head."""
        d, pixels, out = self.width, prod(self.image), 1 / sqrt(2 * self.depth)
        layer = joined(
            [
                norm("norm", d),
                linear("up", d, 2 * d),
                linear("time", d, 2 * d),
                linear("down", 2 * d, d, RECTIFIED * out),
            ]
        )
        return {
            **linear("time", TIME_FEATURES, d, RECTIFIED),
            **linear("embed", pixels, d),
            **joined(inside(f"layers.{k}", layer) for k in range(self.depth)),
            **norm("norm", d),
            **linear("head", d, pixels, HEAD_GAIN),
        }

    @property
    def flops(self) -> float:
        """Of the forward pass of one sample."""
        return 2.0 * matrix_numbers(self.leaves)


@dataclass(frozen=True, slots=True)
class Unet:
    """Predicts the noise in an image: residual blocks of 3x3 convolutions at full, half and full resolution.

    Each block has two convolutions behind group normalization and SiLU, and sees the time of the diffusion; the last
    one also sees what the first made (Ho, Jain, Abbeel, arXiv:2006.11239, without attention).

    Args:
        image: channels, height and width, the latter even.
        channels: at full resolution, a multiple of 8; twice as many at half.
        direct: whether JAX convolves, or multiplies patches, which is faster; see `jax_layers.convolution`.
    """

    image: tuple[int, int, int]
    channels: int
    direct: bool = False

    def __post_init__(self) -> None:
        if self.image[1] % 2 or self.image[2] % 2:
            raise ValueError(
                f"unet halves images: expected even heights and widths, got {self.image[1]} x {self.image[2]}"
            )

    @property
    def blocks(self) -> dict[str, tuple[int, int]]:
        """Channels before and after each block."""
        c = self.channels
        return {"first": (c, c), "middle": (2 * c, 2 * c), "last": (2 * c, c)}

    @property
    def leaves(self) -> Leaves:
        """time, embed, first, down, middle, up, last, norm and head."""
        c, (channels, _, _) = self.channels, self.image
        blocks = {name: inside(name, self._block(*widths)) for name, widths in self.blocks.items()}
        return {
            **linear("time", TIME_FEATURES, 4 * c, RECTIFIED),
            **convolution("embed", channels, c, gain=1.0),
            **blocks["first"],
            **convolution("down", c, 2 * c, gain=1.0),
            **blocks["middle"],
            **convolution("up", 2 * c, c, gain=1.0),
            **blocks["last"],
            **norm("norm", c),
            **convolution("head", c, channels, gain=HEAD_GAIN),
        }

    def _block(self, inputs: int, outputs: int) -> Leaves:
        parts = [
            norm("norm1", inputs),
            convolution("convolution1", inputs, outputs),
            linear("time", 4 * self.channels, outputs),
            norm("norm2", outputs),
            convolution("convolution2", outputs, outputs, gain=0.5),
        ]
        return joined([*parts, convolution("skip", inputs, outputs, side=1, gain=1.0)] if inputs != outputs else parts)

    @property
    def flops(self) -> float:
        """Of the forward pass of one sample."""
        pixels = self.image[1] * self.image[2]
        total = 0
        for name, leaf in self.leaves.items():
            if len(leaf.shape) > 1:
                quarter = name.startswith(("middle", "down"))
                total += prod(leaf.shape) * (1 if len(leaf.shape) == 2 else pixels // 4 if quarter else pixels)
        return 2.0 * total
