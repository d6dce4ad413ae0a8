"""A trained model as real bits: packed weights, a model that computes from them, and files.

torch is imported when one of these functions is called.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any


def convert(model: Any, *, keep_decoded: bool = False, cross_attention: Sequence[str] = ()) -> Any:
    """A copy of a quantized model whose weights are packed bits, with the same outputs bit for bit.

    The bits are what the forward products of the wrapped model read of its weights at its present step: rounded,
    scaled, transformed and in blocks as the recipe says. Activations are quantized as before. Biases, norms, buffers,
    and weights that the recipe leaves as they are stay what they are.

    Args:
        model: a torch.nn.Module that `quantize_` wrapped; it stays as it is. Of one that is compiled or in
            DistributedDataParallel the model inside is copied.
        keep_decoded: whether to keep decoded weights beside the bits. Otherwise each call of a layer decodes its own,
            which takes as little memory as the bits and somewhat more time.
        cross_attention: names, with the wildcards of a shell, of MultiheadAttentions whose keys are of another tensor
            than their queries. It matters for formats with a scale for the whole tensor, which all three projections of
            one tensor share. That of a TransformerDecoderLayer is known.

    Returns:
        A model in eval mode. It has no gradients; `state_dict`, `to`, `copy.deepcopy` and `torch.compile` work. Its
        `weight`s read as decoded values, in the transformed basis where the recipe has a transform.

    Raises:
        ValueError: a model that is not quantized, is converted, is on the meta device or sharded, has weights that are
            not finite, or step sizes that were never set.
        TypeError: no model.

    Weights that draw random numbers keep those of the present step. Weights stay floats, quantized in each call, where
    several products of a call draw anew, where a layer has a forward of its own, where max_norm changes an embedding,
    and where a parametrization or pruning computes the weight. Call it inside of `torch.autocast` if the model is
    called there.

    Example:
        >>> import torch, halfulp
        >>> model = halfulp.quantize_(torch.nn.Sequential(torch.nn.Linear(64, 32)), "mxfp4")
        >>> small, x = convert(model), torch.randn(4, 64)
        >>> with torch.no_grad():
        ...     torch.equal(small(x), model.eval()(x))
        True
        >>> model_bits(small)["bytes"]
        tensor
        0.weight    1088
        0.bias       128
        Name: bytes, dtype: int64
    """
    from .torch_conversion import convert

    return convert(model, keep_decoded, cross_attention)


def model_bits(model: Any) -> Any:
    """What each tensor of a converted model weighs.

    Returns:
        A pandas DataFrame, by the name of the tensor in files: its kind (packed, parameter, buffer, or derived of a
        buffer that is in no state_dict), format, shape, elements, bits an element with its share of scales, and bytes.
        Tensors that are shared count once. The bytes add up to those of the tensors in a file exactly.

    Raises:
        ValueError: a model that is not converted. TypeError: no model.
    """
    from .torch_saving import model_bits

    return model_bits(model)


def save_model(model: Any, path: str | Path) -> Path:
    """Write a converted model to a safetensors file.

    Packed weights are `Packed` arrays as in `halfulp.save`, so that `halfulp.load` reads them without torch. The
    metadata hold the formats, and of each layer its recipe, seed and step. Written under another name first, so that a
    file that is there stays whole if this fails.

    Returns:
        The path.

    Raises:
        ValueError: a model that is not converted, or with extra state.
        TypeError: no model, or a tensor of a dtype that NumPy or safetensors does not have.
        ModuleNotFoundError: safetensors is missing; the message says how to install it.
        OSError: a place that cannot be written.
    """
    from .torch_saving import save_model

    return save_model(model, path)


def load_model(path: str | Path, skeleton: Any, *, keep_decoded: bool = False) -> Any:
    """Read a model that `save_model` wrote.

    Args:
        skeleton: the plain architecture, freshly built, also on the meta device; it becomes the model. Parameters go to
            its devices, those of the meta device to the CPU.
        keep_decoded: as in `convert`.

    Returns:
        The skeleton, converted, in eval mode. Where the file does not fit it is left as it was.

    Raises:
        FileError: a file that is damaged, cut off, of a newer version, of arrays alone, or of another architecture.
        FileNotFoundError: no file.
        ValueError: a skeleton that is quantized already.
        TypeError: no model.
    """
    from .torch_loading import load_model

    return load_model(path, skeleton, keep_decoded)
