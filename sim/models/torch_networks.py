"""The models in torch. Parameters have the names and shapes they have in JAX: 'layers.0.attention.query.weight'."""

from itertools import pairwise
from math import prod
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from .constants import EPSILON
from .denoisers import TIME_FEATURES, MlpDenoiser, Unet
from .feedforward import Cnn, Mlp, Vgg
from .schedule import time_features
from .torch_layers import Attention, BatchNorm, convolution, group_norm
from .transformers import Llama, Vit


class TorchMlp(nn.Module):
    """`Mlp`."""

    def __init__(self, model: Mlp) -> None:
        super().__init__()
        widths = [model.inputs, *model.hidden]
        self.layers = nn.ModuleList(nn.Linear(i, o) for i, o in pairwise(widths))
        self.head = nn.Linear(widths[-1], model.outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(n, outputs) of samples (n, ...)."""
        x = x.flatten(1)
        for layer in self.layers:
            x = layer(x).relu()
        return self.head(x)


class _Convolved(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int, norm: nn.Module) -> None:
        super().__init__()
        self.convolution, self.norm = convolution(inputs, outputs, stride), norm

    def forward(self, x: torch.Tensor, *rows: Any) -> torch.Tensor:
        return self.norm(self.convolution(x), *rows).relu()


class TorchCnn(nn.Module):
    """`Cnn`."""

    def __init__(self, model: Cnn) -> None:
        super().__init__()
        widths = [model.image[0], *model.channels]
        self.layers = nn.ModuleList(
            _Convolved(i, o, 1 if k == 0 else 2, group_norm(o)) for k, (i, o) in enumerate(pairwise(widths))
        )
        self.head = nn.Linear(widths[-1], model.outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(n, classes) logits of images (n, c, h, w)."""
        for layer in self.layers:
            x = layer(x)
        return self.head(x.mean((2, 3)))


class TorchVgg(nn.Module):
    """`Vgg`."""

    def __init__(self, model: Vgg) -> None:
        super().__init__()
        self.layers = nn.ModuleList(_Convolved(i, o, 1, BatchNorm(o)) for i, o in pairwise(model.widths))
        outputs, inputs = model.leaves["linear.weight"].shape
        self.linear, self.norm, self.head = (
            nn.Linear(inputs, outputs),
            BatchNorm(outputs),
            nn.Linear(outputs, model.outputs),
        )

    def forward(self, x: torch.Tensor, rows: int | None = None) -> torch.Tensor:
        """(n, classes) logits of images (n, c, h, w), normalized by the statistics of the first rows, or all."""
        for k, layer in enumerate(self.layers):
            x = layer(x, rows)
            x = functional.max_pool2d(x, 2) if k % 2 else x
        return self.head(self.norm(self.linear(x.flatten(1)), rows).relu())


class _Gelu(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.down(functional.gelu(self.up(x)))


class _VitLayer(nn.Module):
    def __init__(self, model: Vit) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(model.width, EPSILON)
        self.attention = Attention(model.width, model.heads, bias=True)
        self.mlp_norm, self.mlp = nn.LayerNorm(model.width, EPSILON), _Gelu(model.width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attention(self.attention_norm(x))
        return x + self.mlp(self.mlp_norm(x))


class TorchVit(nn.Module):
    """`Vit`."""

    def __init__(self, model: Vit) -> None:
        super().__init__()
        self.patch = model.patch
        self.embed = nn.Linear(model.image[0] * model.patch**2, model.width)
        self.position_embed = nn.Parameter(torch.zeros(model.positions, model.width))
        self.layers = nn.ModuleList(_VitLayer(model) for _ in range(model.depth))
        self.norm, self.head = nn.LayerNorm(model.width, EPSILON), nn.Linear(model.width, model.outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(n, classes) logits of images (n, c, h, w)."""
        n, c, h, w = x.shape
        p = self.patch
        x = x.reshape(n, c, h // p, p, w // p, p).permute(0, 2, 4, 1, 3, 5).reshape(n, -1, c * p * p)
        x = self.embed(x) + self.position_embed
        for layer in self.layers:
            x = layer(x)
        return self.head(self.norm(x).mean(1))


class _SwiGlu(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.gate, self.up = nn.Linear(width, hidden, bias=False), nn.Linear(width, hidden, bias=False)
        self.down = nn.Linear(hidden, width, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.down(functional.silu(self.gate(x)) * self.up(x))


class _LlamaLayer(nn.Module):
    def __init__(self, model: Llama) -> None:
        super().__init__()
        self.attention_norm = nn.RMSNorm(model.width, EPSILON)
        self.attention = Attention(model.width, model.heads, bias=False, context=model.context)
        self.ffn_norm, self.ffn = nn.RMSNorm(model.width, EPSILON), _SwiGlu(model.width, model.hidden)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attention(self.attention_norm(x))
        return x + self.ffn(self.ffn_norm(x))


class TorchLlama(nn.Module):
    """`Llama`."""

    def __init__(self, model: Llama) -> None:
        super().__init__()
        self.embed = nn.Embedding(model.vocabulary, model.width)
        self.layers = nn.ModuleList(_LlamaLayer(model) for _ in range(model.depth))
        self.norm = nn.RMSNorm(model.width, EPSILON)
        self.head = None if model.tied else nn.Linear(model.width, model.vocabulary, bias=False)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """(n, length, vocabulary) logits of the token after each of (n, length) tokens."""
        x = self.embed(tokens)
        for layer in self.layers:
            x = layer(x)
        x = self.norm(x)
        return functional.linear(x, self.embed.weight) if self.head is None else self.head(x)


class _Timed(nn.Module):
    """What the denoisers share: a table of times and the layer behind it."""

    features: torch.Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.time = nn.Linear(TIME_FEATURES, width)
        self.register_buffer("features", torch.from_numpy(time_features()), persistent=False)

    def at(self, time: torch.Tensor) -> torch.Tensor:
        return functional.silu(self.time(self.features[time]))


class _DenoiserLayer(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.up = nn.LayerNorm(width, EPSILON), nn.Linear(width, 2 * width)
        self.time, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
        return x + self.down(functional.silu(self.up(self.norm(x)) + self.time(at)))


class TorchMlpDenoiser(_Timed):
    """`MlpDenoiser`."""

    def __init__(self, model: MlpDenoiser) -> None:
        super().__init__(model.width)
        pixels = prod(model.image)
        self.embed = nn.Linear(pixels, model.width)
        self.layers = nn.ModuleList(_DenoiserLayer(model.width) for _ in range(model.depth))
        self.norm, self.head = nn.LayerNorm(model.width, EPSILON), nn.Linear(model.width, pixels)

    def forward(self, x: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        """The noise in images (n, c, h, w) at times (n,)."""
        at, stream = self.at(time), self.embed(x.flatten(1))
        for layer in self.layers:
            stream = layer(stream, at)
        return self.head(self.norm(stream)).reshape(x.shape)


class _UnetBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, width: int) -> None:
        super().__init__()
        self.norm1, self.convolution1 = group_norm(inputs), convolution(inputs, outputs)
        self.time = nn.Linear(width, outputs)
        self.norm2, self.convolution2 = group_norm(outputs), convolution(outputs, outputs)
        self.skip = convolution(inputs, outputs, side=1) if inputs != outputs else None

    def forward(self, x: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
        h = self.convolution1(functional.silu(self.norm1(x))) + self.time(at)[:, :, None, None]
        h = self.convolution2(functional.silu(self.norm2(h)))
        return h + (x if self.skip is None else self.skip(x))


class TorchUnet(_Timed):
    """`Unet`."""

    def __init__(self, model: Unet) -> None:
        c = model.channels
        super().__init__(4 * c)
        self.embed, self.head = convolution(model.image[0], c), convolution(c, model.image[0])
        self.down, self.up = convolution(c, 2 * c, stride=2), convolution(2 * c, c)
        self.first, self.middle, self.last = (_UnetBlock(*widths, 4 * c) for widths in model.blocks.values())
        self.norm = group_norm(c)

    def forward(self, x: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        """The noise in images (n, c, h, w) at times (n,)."""
        at = self.at(time)
        first = self.first(self.embed(x), at)
        up = self.up(functional.interpolate(self.middle(self.down(first), at), scale_factor=2))
        return self.head(functional.silu(self.norm(self.last(torch.cat([up, first], dim=1), at))))


NETWORKS: dict[type, Any] = {
    Mlp: TorchMlp,
    Cnn: TorchCnn,
    Vgg: TorchVgg,
    Vit: TorchVit,
    Llama: TorchLlama,
    MlpDenoiser: TorchMlpDenoiser,
    Unet: TorchUnet,
}
"""The module of each description."""
