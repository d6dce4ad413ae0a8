"""Perceptrons and convolutional networks as data: sizes, parameters, cost of a sample. No framework here.

Costs are forward: two operations for each multiply-accumulate of linear layers, convolutions and attention.
"""

from dataclasses import dataclass
from itertools import pairwise

from .leaves import HEAD_GAIN, RECTIFIED, Leaves, convolution, inside, joined, linear, matrix_numbers, norm


@dataclass(frozen=True, slots=True)
class Mlp:
    """Linear layers with ReLU between them, on flattened inputs.

    Args:
        inputs, outputs: numbers of a sample, numbers to predict.
        hidden: the widths between them.
    """

    inputs: int
    hidden: tuple[int, ...]
    outputs: int

    @property
    def leaves(self) -> Leaves:
        """layers.K and head."""
        widths = [self.inputs, *self.hidden]
        hidden = [linear(f"layers.{k}", i, o, RECTIFIED) for k, (i, o) in enumerate(pairwise(widths))]
        return joined([*hidden, linear("head", widths[-1], self.outputs, HEAD_GAIN)])

    @property
    def flops(self) -> float:
        """Of the forward pass of one sample."""
        return 2.0 * matrix_numbers(self.leaves)


@dataclass(frozen=True, slots=True)
class Cnn:
    """Three 3x3 convolutions, the later two with stride 2, each with group normalization and ReLU; mean; a linear head.

    Group normalization (arXiv:1803.08494) keeps no statistics between steps.

    Args:
        image: channels, height and width.
        channels: of the three convolutions; normalized in eight groups, or one each where there are fewer.
        outputs: classes.
        direct: whether JAX convolves, or multiplies patches, which is faster; see `jax_layers.convolution`.
    """

    image: tuple[int, int, int]
    channels: tuple[int, int, int]
    outputs: int
    direct: bool = False

    @property
    def leaves(self) -> Leaves:
        """layers.K.convolution, layers.K.norm and head."""
        widths = [self.image[0], *self.channels]
        parts = [
            inside(f"layers.{k}", {**convolution("convolution", i, o), **norm("norm", o)})
            for k, (i, o) in enumerate(pairwise(widths))
        ]
        return joined([*parts, linear("head", widths[-1], self.outputs, HEAD_GAIN)])

    @property
    def flops(self) -> float:
        """Of the forward pass of one sample."""
        widths, (_, height, width) = [self.image[0], *self.channels], self.image
        total = widths[-1] * self.outputs
        for k, (i, o) in enumerate(pairwise(widths)):
            total += 9 * i * o * -(-height // 2**k) * -(-width // 2**k)
        return 2.0 * total


@dataclass(frozen=True, slots=True)
class Vgg:
    """The network of arXiv:2603.13931: c-c-P-2c-2c-P-4c-4c-P convolutions of 3x3, then linear layers of 8c and classes.

    Convolutions and the first linear layer have a bias, batch normalization and ReLU. With c = 64, images of 3 x 32 x
    32 and ten classes it has 3,251,018 parameters.

    Normalization uses the statistics of the batch. In evaluation it uses those of 256 training samples, so that a
    prediction does not depend on its neighbours and nothing but parameters is carried from step to step.

    Args:
        image: channels, height and width, the latter multiples of 8.
        channels: c.
        outputs: classes.
        direct: as of `Cnn`.
    """

    image: tuple[int, int, int]
    channels: int
    outputs: int
    direct: bool = False

    def __post_init__(self) -> None:
        if self.image[1] % 8 or self.image[2] % 8:
            raise ValueError(
                f"vgg halves images three times: expected heights and widths that are multiples of 8, got "
                f"{self.image[1]} x {self.image[2]}; take model='cnn', or pad the images"
            )

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels before and after each convolution."""
        c = self.channels
        return (self.image[0], c, c, 2 * c, 2 * c, 4 * c, 4 * c)

    @property
    def leaves(self) -> Leaves:
        """layers.K.convolution, layers.K.norm, linear, norm and head."""
        parts = [
            inside(f"layers.{k}", {**convolution("convolution", i, o), **norm("norm", o)})
            for k, (i, o) in enumerate(pairwise(self.widths))
        ]
        hidden, features = 8 * self.channels, 4 * self.channels * self.image[1] * self.image[2] // 64
        tail = [linear("linear", features, hidden, RECTIFIED), norm("norm", hidden)]
        return joined([*parts, *tail, linear("head", hidden, self.outputs, HEAD_GAIN)])

    @property
    def flops(self) -> float:
        """Of the forward pass of one sample."""
        pixels = self.image[1] * self.image[2]
        total = sum(9 * i * o * pixels // 4 ** (k // 2) for k, (i, o) in enumerate(pairwise(self.widths)))
        return 2.0 * (total + matrix_numbers(self.leaves))
