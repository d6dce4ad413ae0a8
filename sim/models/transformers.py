"""Transformers as data: sizes, parameters, cost of a sample. No framework here.

Costs are forward: two operations for each multiply-accumulate of linear layers, convolutions and attention.
"""

from dataclasses import dataclass
from math import prod, sqrt

from .leaves import HEAD_GAIN, RECTIFIED, Leaf, Leaves, inside, joined, linear, matrix_numbers, norm


@dataclass(frozen=True, slots=True)
class Vit:
    """A vision transformer without a class token: patches, layers that normalize first, mean, head (arXiv:2205.01580).

    Args:
        image: channels, height and width.
        patch: the side of a patch, which divides height and width.
        width, depth, heads: of the transformer; its hidden width is four times its width.
        outputs: classes.
    """

    image: tuple[int, int, int]
    patch: int
    width: int
    depth: int
    heads: int
    outputs: int

    def __post_init__(self) -> None:
        if self.patch < 1 or self.image[1] % self.patch or self.image[2] % self.patch:
            raise ValueError(
                f"expected patches that divide images of {self.image[1]} x {self.image[2]}, got patch={self.patch}"
            )
        _check_heads(self.width, self.heads)

    @property
    def positions(self) -> int:
        """Patches of an image."""
        return self.image[1] // self.patch * (self.image[2] // self.patch)

    @property
    def leaves(self) -> Leaves:
        """embed (of patches), position_embed, layers.K, norm and head."""
        d, out = self.width, 1 / sqrt(2 * self.depth)
        layer = joined(
            [
                norm("attention_norm", d),
                *(linear(f"attention.{name}", d, d) for name in ("query", "key", "value")),
                linear("attention.out", d, d, out),
                norm("mlp_norm", d),
                linear("mlp.up", d, 4 * d, RECTIFIED),
                linear("mlp.down", 4 * d, d, out),
            ]
        )
        return {
            **linear("embed", self.image[0] * self.patch**2, d),
            "position_embed": Leaf((self.positions, d), 0.02, embedding=True),
            **joined(inside(f"layers.{k}", layer) for k in range(self.depth)),
            **norm("norm", d),
            **linear("head", d, self.outputs, HEAD_GAIN),
        }

    @property
    def flops(self) -> float:
        """Of the forward pass of one sample."""
        head = self.width * self.outputs
        attention = 2 * self.depth * self.positions**2 * self.width
        return 2.0 * ((matrix_numbers(self.leaves) - head) * self.positions + attention + head)


@dataclass(frozen=True, slots=True)
class Llama:
    """A decoder like LLaMA (arXiv:2302.13971): RMSNorm before each part, rotary positions, SwiGLU, no biases.

    Args:
        vocabulary: tokens. context: the longest sequence.
        width, depth, heads, hidden: of the transformer and of its feed-forward part.
        tied: whether the head is the embedding.
    """

    vocabulary: int
    context: int
    width: int
    depth: int
    heads: int
    hidden: int
    tied: bool = False

    def __post_init__(self) -> None:
        _check_heads(self.width, self.heads)
        if self.width // self.heads % 2:
            raise ValueError(
                f"rotary positions turn pairs: expected an even width a head, got {self.width // self.heads}"
            )

    @property
    def leaves(self) -> Leaves:
        """embed, layers.K.{attention_norm, attention.*, ffn_norm, ffn.*}, norm, and head unless it is tied."""
        d, out = self.width, 1 / sqrt(2 * self.depth)
        layer = joined(
            [
                norm("attention_norm", d, bias=False),
                *(linear(f"attention.{name}", d, d, bias=False) for name in ("query", "key", "value")),
                linear("attention.out", d, d, out, bias=False),
                norm("ffn_norm", d, bias=False),
                linear("ffn.gate", d, self.hidden, bias=False),
                linear("ffn.up", d, self.hidden, bias=False),
                linear("ffn.down", self.hidden, d, out, bias=False),
            ]
        )
        table = Leaf((self.vocabulary, d), HEAD_GAIN / sqrt(d), embedding=True)
        return {
            "embed.weight": table,
            **joined(inside(f"layers.{k}", layer) for k in range(self.depth)),
            **norm("norm", d, bias=False),
            **({} if self.tied else {"head.weight": table}),
        }

    @property
    def flops(self) -> float:
        """Of the forward pass of one sample; attention counts all pairs of positions, as it is computed."""
        inner = sum(prod(leaf.shape) for leaf in self.leaves.values() if len(leaf.shape) == 2 and not leaf.embedding)
        attention = 2 * self.depth * self.context * self.width
        return 2.0 * self.context * (inner + attention + self.vocabulary * self.width)


def _check_heads(width: int, heads: int) -> None:
    if heads < 1 or width % heads:
        raise ValueError(f"expected a number of heads that divides the width {width}, got {heads}")
