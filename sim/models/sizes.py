"""The models by name, and their sizes. No framework here."""

from collections.abc import Callable, Mapping
from functools import partial
from math import prod
from typing import Any, NamedTuple

from ...formats.suggest import unknown
from .denoisers import MlpDenoiser, Unet
from .feedforward import Cnn, Mlp, Vgg
from .leaves import Description
from .transformers import Llama, Vit


class Geometry(NamedTuple):
    """What a task fixes of its model: the shape of a sample, how many outputs, and options of the model."""

    inputs: tuple[int, ...]
    outputs: int
    options: Mapping[str, Any] = {}


def _mlp(geometry: Geometry, *hidden: int) -> Mlp:
    return Mlp(prod(geometry.inputs), hidden, geometry.outputs)


def _cnn(geometry: Geometry, channels: int) -> Cnn:
    return Cnn(_image(geometry), (channels, 2 * channels, 4 * channels), geometry.outputs, _direct(geometry))


def _vgg(geometry: Geometry, channels: int) -> Vgg:
    return Vgg(_image(geometry), channels, geometry.outputs, _direct(geometry))


def _vit(geometry: Geometry, width: int, depth: int) -> Vit:
    image = _image(geometry)
    patch = geometry.options.get("patch") or (2 if min(image[1:]) <= 16 else 4)
    return Vit(image, patch, width, depth, width // 32, geometry.outputs)


def _llama(geometry: Geometry, width: int, depth: int) -> Llama:
    # 8/3 of the width, as LLaMA has it, up to the next multiple of 32, which blocks of scaled formats divide
    hidden = -(-8 * width // 96) * 32
    tied = geometry.options.get("tied", False)
    return Llama(geometry.outputs, geometry.inputs[0], width, depth, width // 32, hidden, tied)


def _mlp_denoiser(geometry: Geometry, width: int, depth: int) -> MlpDenoiser:
    return MlpDenoiser(_image(geometry), width, depth)


def _unet(geometry: Geometry, channels: int) -> Unet:
    return Unet(_image(geometry), channels, _direct(geometry))


def _direct(geometry: Geometry) -> bool:
    return geometry.options.get("direct", False)


def _image(geometry: Geometry) -> tuple[int, int, int]:
    channels, height, width = geometry.inputs
    return channels, height, width


def _sizes(build: Callable[..., Description], **sizes: tuple[int, ...]) -> dict[str, Callable[..., Description]]:
    return {name: partial(_sized, build, size) for name, size in sizes.items()}


def _sized(build: Callable[..., Description], size: tuple[int, ...], geometry: Geometry) -> Description:
    return build(geometry, *size)


MODELS: dict[str, dict[str, Callable[..., Description]]] = {
    "mlp": _sizes(_mlp, xs=(32,), s=(64, 64), m=(256, 256), l=(1024, 1024, 1024)),
    "cnn": _sizes(_cnn, s=(16,), m=(32,), l=(64,)),
    "vgg": _sizes(_vgg, s=(16,), m=(32,), l=(64,)),
    "vit": _sizes(_vit, s=(64, 2), m=(128, 4), l=(256, 6)),
    "llama": {
        name: partial(_sized, _llama, size)
        for name, size in {
            "13k": (32, 1), "50k": (64, 1), "100k": (64, 2), "200k": (96, 2), "600k": (128, 3), "1m": (128, 5),
            "3m": (256, 4), "10m": (384, 6),
        }.items()
    },
    "mlp_denoiser": _sizes(_mlp_denoiser, xs=(64, 1), s=(128, 2), m=(256, 4), l=(512, 6)),
    "unet": _sizes(_unet, s=(16,), m=(32,), l=(64,)),
}  # fmt: skip
"""By name and size, what makes a model for a geometry: hidden widths; channels; width and depth."""


def described(model: str, size: str, geometry: Geometry) -> Description:
    """A model of a size for a geometry.

    Raises:
        ValueError: an unknown size, or a geometry that the model cannot have.
    """
    if size not in MODELS[model]:
        raise ValueError(unknown(f"size of {model}", size, MODELS[model]))
    return MODELS[model][size](geometry)
