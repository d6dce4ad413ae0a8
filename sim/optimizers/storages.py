"""Published ways to keep an optimizer's tensors by name, each with its source; `storage` finds one."""

from collections.abc import Mapping
from typing import Any

from ...formats.suggest import unknown
from ..recipes.published import RECIPES
from .oscillation import Freezing, Ramping
from .storage import Storage

_ADAM8 = {"exp_avg": "dynamic8", "exp_avg_sq": "dynamic8_unsigned", "momentum": "dynamic8"}


def _weights(recipe: str) -> Any:
    """The format of the weights of a recipe."""
    return RECIPES[recipe].fprop_w.fmt


STORAGES: dict[str, Storage] = {
    found.name: found
    for found in (
        Storage(
            "bf16",
            weights={"fmt": "bf16", "rounding": "stochastic"},
            gradients="bf16",
            states={"*": "bf16"},
            min_ndim=0,
            source="arXiv:2010.06192: everything in bfloat16, weights put back stochastically",
        ),
        Storage(
            "adam8bit",
            states=_ADAM8,
            min_ndim=0,
            min_size=4096,
            source="arXiv:2110.02861: states in 8 bits, blocks of 256, tensors of 4096 elements and more",
        ),
        Storage(
            "fp8_lm",
            weights="fp8_e4m3_per_tensor",
            master={"fmt": "scaled(fp16,block=tensor)", "rounding": "nearest_even"},
            gradients="fp8_e4m3_per_tensor",
            states={"exp_avg": "fp8_e4m3_per_tensor", "exp_avg_sq": "scaled(fp16,block=tensor)"},
            source="arXiv:2310.18313: master, gradient and states in 6 bytes",
        ),
        Storage(
            "int8_weights",
            weights={"fmt": "scaled(int8_narrow,block=flat256)", "rounding": "stochastic", "scales": "kept"},
            states=_ADAM8,
            source="arXiv:2407.08296 (Q-GaLore), without its projection: INT8 weights put back stochastically",
        ),
        Storage(
            "tetrajet_ema",
            weights=_weights("tetrajet"),
            master="binary32",
            ema=0.998,
            source="arXiv:2502.20853, Q-EMA",
        ),
        Storage(
            "tetrajet_ramping",
            weights=_weights("tetrajet"),
            master="binary32",
            ramping=Ramping(),
            source="arXiv:2502.20853, Q-Ramping",
        ),
        Storage(
            "ofq",
            weights=_weights("statsq"),
            master="binary32",
            freezing=Freezing(),
            source="arXiv:2302.02210, confidence-guided annealing: for the last steps of a training",
        ),
        Storage(
            "four_bit_cnn",
            weights=_weights("four_bit_cnn"),
            master="binary32",
            after_step="tanh:3",
            source="arXiv:2603.13931",
        ),
        Storage(
            "fp4_all_the_way",
            weights={"fmt": "bf16", "rounding": "stochastic"},
            source="arXiv:2505.19115: stochastic rounding of the update",
        ),
    )
}
"""The published storages."""


def storage(given: Any) -> Storage:
    """What was written down: a storage, its name, a table of settings, or None for one that changes nothing.

    Raises:
        ValueError: an unknown name or setting.
        TypeError: none of these.
    """
    if given is None:
        return Storage("none")
    if isinstance(given, Storage):
        return given
    if isinstance(given, Mapping):
        return Storage.from_table(given)
    if not isinstance(given, str):
        raise TypeError(f"expected a Storage, its name or a table of settings, got {type(given).__name__}")
    if given not in STORAGES:
        raise ValueError(unknown("storage", given, STORAGES))
    return STORAGES[given]


def list_storages() -> dict[str, str]:
    """The names of the published storages, with their sources."""
    return {name: found.source for name, found in STORAGES.items()}
