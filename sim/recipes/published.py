"""Published recipes by name, each with its source; `recipe` finds one."""

from collections.abc import Callable
from typing import Any

from ...formats.catalogue import format as any_format
from ...formats.complexes import ComplexFormat
from ...formats.registry import Format
from ...formats.scaled_registry import per
from ...formats.suggest import unknown
from .quantizer import Quantizer
from .recipe import Recipe

_SR = "stochastic"
_E4M3_TILES = "scaled(fp8_e4m3,block=128)"
_E4M3_SQUARES = "scaled(fp8_e4m3,block=128x128)"
_TETRAJET = "scaled(fp4_e2m1,scale=e8m0,block=32,rule=tetrajet)"
_UFP4 = "scaled(fp4_e1m2,scale=fp8_e4m3,block=16,outer=binary32)"
_STATSQ = "scaled(int4_midrise@-3,block=row,rule=mean,target=1/2)"
_QUARTET: dict[str, Any] = {"scaling": "std", "gradient": "clip", "transform": "hadamard32"}


def _all(fmt: str, gradients: str | None = None, **how: Any) -> dict[str, Any]:
    """The same format for all operands, or another one for gradients."""
    forward, backward = Quantizer(fmt, **how), Quantizer(gradients or fmt, **how)
    return {
        **dict.fromkeys(("fprop_x", "fprop_w", "dgrad_w", "wgrad_x"), forward),
        **dict.fromkeys(("dgrad_e", "wgrad_e"), backward),
    }


def _each(made: Callable[[str], Quantizer], names: tuple[str, ...]) -> dict[str, Any]:
    """A quantizer for each of some operands."""
    return {name: made(name) for name in names}


def _forward(x: Quantizer, w: Quantizer) -> dict[str, Any]:
    """Quantized forward operands, of which backward products take the values: quantization-aware training."""
    taken = Quantizer(source="quantized")
    return {"fprop_x": x, "fprop_w": w, "dgrad_w": taken, "wgrad_x": taken}


RECIPES: dict[str, Recipe] = {
    found.name: found
    for found in (
        Recipe("identity", source="nothing is quantized"),
        Recipe(
            "fp8",
            **_all("fp8_e4m3_per_tensor", "fp8_e5m2_per_tensor"),
            source="arXiv:2209.05433 and arXiv:2310.18313; a scale a tensor from the data at hand",
        ),
        Recipe(
            "fp8_delayed",
            **_all("fp8_e4m3_per_tensor", "fp8_e5m2_per_tensor", scaling="delayed"),
            source="arXiv:2209.05433; scales from the largest magnitude of the last 16 steps",
        ),
        Recipe("fp8_rowwise", **_all("fp8_e4m3_per_row"), source="torchao 0.18, Float8LinearConfig 'rowwise'"),
        Recipe(
            "fp8_blocks",
            fprop_x=Quantizer(_E4M3_TILES),
            fprop_w=Quantizer(_E4M3_SQUARES),
            dgrad_e=Quantizer(_E4M3_TILES),
            dgrad_w=Quantizer(_E4M3_SQUARES),
            wgrad_e=Quantizer(_E4M3_TILES),
            wgrad_x=Quantizer(_E4M3_TILES),
            pad=True,
            source="arXiv:2412.19437 (DeepSeek-V3): 1x128 tiles, 128x128 blocks of weights",
        ),
        Recipe("mxfp8", **_all("mxfp8_e4m3"), source="arXiv:2506.08027: E4M3 for all operands"),
        Recipe("mxfp6", **_all("mxfp6_e3m2"), source="arXiv:2310.10537: E3M2 for training"),
        Recipe("mxfp4", **_all("mxfp4"), source="OCP Microscaling Formats (MX) v1.0, nearest-even everywhere"),
        Recipe(
            "mxfp4_sr_rht",
            **_each(
                lambda _: Quantizer("mxfp4", rounding=_SR, transform="rht64", prescale=0.75),
                ("dgrad_e", "dgrad_w", "wgrad_e", "wgrad_x"),
            ),
            source="arXiv:2502.20586 (Tseng et al.): backward products only",
        ),
        Recipe(
            "nvfp4",
            fprop_x=Quantizer("nvfp4"),
            fprop_w=Quantizer("nvfp4_2d"),
            dgrad_e=Quantizer("nvfp4", rounding=_SR),
            dgrad_w=Quantizer("nvfp4_2d"),
            wgrad_e=Quantizer("nvfp4", rounding=_SR, transform="rht16"),
            wgrad_x=Quantizer("nvfp4", transform="rht16"),
            source="arXiv:2509.25149 (NVIDIA)",
        ),
        Recipe(
            "quartet",
            fprop_x=Quantizer("mxfp4", **_QUARTET),
            fprop_w=Quantizer("mxfp4", **_QUARTET),
            **_each(
                lambda name: Quantizer(
                    "mxfp4",
                    rounding=_SR,
                    transform="rht32",
                    prescale=0.75,
                    source="quantized" if name in ("dgrad_w", "wgrad_x") else "original",
                ),
                ("dgrad_e", "dgrad_w", "wgrad_e", "wgrad_x"),
            ),
            source="arXiv:2505.14669",
        ),
        Recipe(
            "quartet2",
            fprop_x=Quantizer("four_over_six"),
            fprop_w=Quantizer("four_over_six"),
            **_each(
                lambda name: Quantizer(
                    "nvfp4",
                    scaling="eden",
                    transform="rht128",
                    source="quantized" if name in ("dgrad_w", "wgrad_x") else "original",
                ),
                ("dgrad_e", "dgrad_w", "wgrad_e", "wgrad_x"),
            ),
            source="arXiv:2601.22813",
        ),
        Recipe(
            "tetrajet",
            fprop_x=Quantizer(_TETRAJET),
            fprop_w=Quantizer(_TETRAJET),
            dgrad_e=Quantizer(_TETRAJET, rounding=_SR),
            dgrad_w=Quantizer(_TETRAJET, rounding=_SR, source="quantized"),
            wgrad_e=Quantizer(_TETRAJET, rounding=_SR),
            wgrad_x=Quantizer(_TETRAJET, rounding=_SR, source="quantized"),
            source="arXiv:2502.20853",
        ),
        Recipe(
            "four_over_six",
            fprop_x=Quantizer("four_over_six"),
            fprop_w=Quantizer("four_over_six"),
            dgrad_e=Quantizer("nvfp4", rounding=_SR),
            dgrad_w=Quantizer("four_over_six"),
            wgrad_e=Quantizer("nvfp4", rounding=_SR, transform="rht16"),
            wgrad_x=Quantizer("four_over_six", transform="rht16"),
            source="arXiv:2512.02010, in NVIDIA's recipe",
        ),
        Recipe(
            "ufp4",
            fprop_x=Quantizer(_UFP4, transform="rht16"),
            fprop_w=Quantizer(_UFP4, transform="rht16"),
            dgrad_e=Quantizer(_UFP4, rounding=_SR, transform="rht16"),
            dgrad_w=Quantizer(_UFP4, transform="rht16"),
            wgrad_e=Quantizer(_UFP4, rounding=_SR, transform="rht16"),
            wgrad_x=Quantizer(_UFP4, transform="rht16"),
            source="uniform 4-bit grid, transforms in all three products, stochastic rounding of dY only",
        ),
        Recipe(
            "fp4_all_the_way",
            fprop_x=Quantizer("nvfp4"),
            fprop_w=Quantizer("nvfp4"),
            **_each(lambda _: Quantizer("nvfp4", rounding=_SR), ("dgrad_e", "wgrad_e", "wgrad_x")),
            dgrad_w=Quantizer("nvfp4"),
            source="arXiv:2505.19115: nearest forward, stochastic in backward and update",
        ),
        Recipe(
            "occ",
            **_forward(Quantizer("fp4_e2m1_per_row", outliers=0.01), Quantizer("fp4_e2m1_per_row", gradient="dge")),
            source="arXiv:2501.17116: clamped activations and a sparse rest, a differentiable estimator for weights",
        ),
        Recipe(
            "int8",
            **_all("int8_per_row"),
            source="arXiv:2403.12422 and torchao 0.18, Int8MixedPrecisionTrainingConfig",
        ),
        Recipe(
            "int4_qat",
            **_forward(Quantizer("int8_per_token_asym"), Quantizer("scaled(int4_narrow,block=32)")),
            source="torchao 0.18, Int8DynamicActivationIntxWeightConfig: forward only",
        ),
        Recipe(
            "bitnet",
            **_forward(Quantizer("int8_per_token"), Quantizer("bitnet")),
            source="arXiv:2402.17764: ternary weights, int8 activations",
        ),
        Recipe(
            "binary",
            **_forward(Quantizer("int8_per_token"), Quantizer("binary_absmean")),
            source="arXiv:2310.11453: signs times their mean magnitude, int8 activations",
        ),
        Recipe(
            "ifairy",
            **_forward(Quantizer("int8_per_token"), Quantizer("phase")),
            source="arXiv:2508.05571: weights 1, i, -1, -i, int8 activations",
        ),
        Recipe(
            "four_bit_cnn",
            **_forward(Quantizer(), Quantizer("int4_per_tensor")),
            after_step="tanh:3",
            source="arXiv:2603.13931: one scale a layer, weights clipped by 3 tanh(w / 3) after every step",
        ),
        Recipe(
            "lsq",
            **_forward(
                Quantizer("int8_per_tensor", scaling="learned", gradient="lsq"),
                Quantizer("int4_per_tensor", scaling="learned", gradient="lsq"),
            ),
            source="arXiv:1902.08153: step sizes that are trained",
        ),
        Recipe(
            "statsq",
            **_forward(Quantizer("int8_per_token"), Quantizer(_STATSQ)),
            source="arXiv:2302.02210: scale 2 * mean |w| of each row",
        ),
    )
}
"""The published recipes."""


def recipe(name: "str | Recipe") -> Recipe:
    """The recipe of that name; a recipe is returned as it is.

    Raises:
        ValueError: an unknown name, with the nearest known ones.
        TypeError: neither a name nor a recipe.
    """
    if isinstance(name, Recipe):
        return name
    if not isinstance(name, str):
        raise TypeError(f"expected the name of a recipe or a Recipe, got {type(name).__name__}")
    if name not in RECIPES:
        raise ValueError(unknown("recipe", name, RECIPES))
    return RECIPES[name]


def list_recipes() -> dict[str, str]:
    """The names of the published recipes, with their sources."""
    return {name: found.source for name, found in RECIPES.items()}


def uniform(fmt: Any, scale: bool = True) -> Recipe:
    """All operands in one format, backward products with the values of the forward one.

    Args:
        fmt: a format or its name. scale: whether an unscaled one gets a scale for each tensor, so that its largest
            magnitude meets the format's largest value; formats whose range is that of float32 need none.

    Raises:
        ValueError: an unknown format, or a complex one, which activations cannot have.
    """
    found: Any = any_format(fmt)
    if isinstance(found, ComplexFormat):
        raise ValueError(
            f"{found.name} is for weights in their widely-linear view; give Recipe(fprop_w=...) or 'ifairy'"
        )
    if scale and isinstance(found, Format) and found.max < 2.0**100:
        found = per(found, "tensor")
    each, taken = Quantizer(found.spec), Quantizer(source="quantized")
    of = dict.fromkeys(("fprop_x", "fprop_w", "dgrad_e", "wgrad_e"), each)
    name = any_format(fmt).name if scale else f"{any_format(fmt).name}_unscaled"
    return Recipe(name, **of, dgrad_w=taken, wgrad_x=taken, pad=True, source="one format for all operands")
