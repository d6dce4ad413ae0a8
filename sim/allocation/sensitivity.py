"""How much a model suffers if one layer is quantized: measures by layer and format, for `halfulp.allocate`.

With W the weights of a layer, Q(W) what a candidate makes of them and D = Q(W) - W:

    weight_error        |D|**2 / |W|**2
    fisher              sum F D**2, F = E[g**2] the diagonal of the empirical Fisher information, g of one example
                        (LQ-LoRA, arXiv:2311.12023)
    hessian             mean of the Hessian's diagonal * |D|**2; its trace by Hutchinson's estimator, v^T H v of random
                        signs v (HAWQ-V2, arXiv:1911.03852)
    layer_error         |y' - y|**2 / |y|**2 of the layer's output, its products quantized, all else as it is
    output_error        the same of the model's output
    loss                loss with the layer quantized less the loss without, the forward divergence of SNIP
                        (arXiv:2602.01410)
    weight_divergence   sum over all weights of |g' - g| / |w|, g' the gradients with the layer quantized forward and
                        backward: by how much a step of gradient descent of unit rate goes elsewhere, relative to the
                        weights. SNIP's backward divergence, without the optimizer's own scaling.

Frameworks are imported when a function is called.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ...formats.catalogue import format as any_format
from ...formats.suggest import unknown
from ..recipes.published import recipe as any_recipe
from ..recipes.quantizer import Quantizer
from ..recipes.recipe import Recipe

METRICS = ("weight_error", "fisher", "hessian", "layer_error", "output_error", "loss", "weight_divergence")
"""Measures, as the module's text defines them."""

SIGNS = "int1_midrise@1"
"""The format of -1 and 1, to which 0 is rounded at random for Hutchinson's probes."""

FISHER = ("examples", "batches")
"""Whose gradients are squared: those of each example, or of each batch, which is one backward pass and smaller."""


def sensitivity(
    model: Any,
    loss: Callable[[Any, Any], Any],
    batches: Iterable[Any],
    formats: Sequence[Any],
    *,
    metrics: Sequence[str] | None = None,
    layers: Sequence[str] | None = None,
    seed: int = 0,
    probes: int = 16,
    fisher: str = "examples",
    chip: Any = None,
) -> Any:
    """Measure how a model suffers if one layer at a time is quantized.

    Args:
        model: a torch.nn.Module, which stays as it is and is evaluated as by `model.eval()`; or a pytree of JAX arrays.
        loss: takes the model (in JAX the pytree) and a batch, and returns the mean loss over it, a scalar.
        batches: what `loss` takes; all of them are used for each measure.
        formats: candidates. A name or format quantizes weights alone, in blocks along the contraction; a `Recipe`
            (`halfulp.recipe("mxfp4")`) everything it says; 'identity' leaves the layer alone. In JAX formats only.
        metrics: of `METRICS`; all without it. In JAX without layer_error and output_error.
        layers: names of layers; all with weights without it. In JAX paths of arrays of two and more axes.
        seed: of random roundings, and of the signs of Hutchinson's probes.
        probes: how many of them; the standard error falls with their square root.
        fisher: 'examples' or 'batches'. Examples are slices along the first axis of every tensor of a batch.
        chip: an accelerator or its name, for seconds.

    Returns:
        A pandas DataFrame, by (layer, format): the measures; with 'hessian' also trace and trace_error, its standard
        error; parameters, bits of the weights with their scales; of torch models bitops and, with `chip`, seconds of
        the forward products of one batch, the first.

    Raises:
        ValueError: unknown measures, layers or formats; no batches or candidates, two of one name; a loss that is not
            finite; a model that is quantized already; a layer that cannot have a candidate.
        TypeError: a loss that is no scalar.

    Example:
        >>> import torch
        >>> model = torch.nn.Linear(32, 8)
        >>> x = torch.randn(64, 32)
        >>> table = sensitivity(model, lambda model, x: model(x).square().mean(), [x], ["int4_per_row", "int8_per_row"])
        >>> bool(table.loc[("model", "int4_per_row"), "loss"] != 0), int(table.loc[("model", "int8_per_row"), "bits"])
        (True, 2304)
    """
    from ...emulate.dispatch import library_of

    found, given = candidates(formats), list(batches)
    _check(given, fisher, probes)
    if library_of(model) == "torch":
        from .torch_sensitivity import sensitivity as measure
    else:
        from .jax_sensitivity import sensitivity as measure
    how = {"seed": seed, "probes": probes, "fisher": fisher, "chip": chip}
    return measure(model, loss, given, found, chosen(metrics), layers, **how)


def _check(batches: list[Any], fisher: str, probes: int) -> None:
    if not batches:
        raise ValueError("expected one batch or more, got none")
    if fisher not in FISHER:
        raise ValueError(unknown("fisher", fisher, FISHER))
    if not isinstance(probes, int) or probes < 2:
        raise ValueError(f"expected two probes or more, for a standard error, got {probes!r}")


def chosen(metrics: Sequence[str] | None, known: Sequence[str] = METRICS) -> tuple[str, ...]:
    """The measures asked for.

    Raises:
        ValueError: an unknown one, or none.
    """
    found = tuple(known if metrics is None else [metrics] if isinstance(metrics, str) else metrics)
    for name in found:
        if name not in known:
            raise ValueError(unknown("metric", str(name), known))
    if not found:
        raise ValueError(f"expected one metric or more of {', '.join(known)}, got none")
    return found


def candidate(given: Any) -> Recipe:
    """The recipe of a candidate: of a format one that quantizes weights alone, 'identity' and recipes as they are.

    Raises:
        ValueError, TypeError: no format.
    """
    if isinstance(given, Recipe):
        return given
    if given is None or given == "identity":
        return any_recipe("identity")
    any_format(given)
    weights = Quantizer(given)
    name = given if isinstance(given, str) else weights.fmt or ""
    return Recipe(name, fprop_w=weights, dgrad_w=Quantizer(source="quantized"), pad=True, source="weights alone")


def candidates(formats: Sequence[Any]) -> dict[str, Recipe]:
    """Recipes of candidates by name.

    Raises:
        ValueError: none, two of one name, or an unknown format.
        TypeError: a name in place of a list of them.
    """
    if isinstance(formats, str):
        raise TypeError(f"expected a list of candidates such as [{formats!r}, 'identity'], got {formats!r}")
    found: dict[str, Recipe] = {}
    for each in formats:
        recipe = candidate(each)
        if recipe.name in found:
            raise ValueError(
                f"two candidates are called {recipe.name!r}; rename a recipe by recipe.with_(name='another')"
            )
        found[recipe.name] = recipe
    if not found:
        raise ValueError("expected one candidate or more, such as ['mxfp4', 'mxfp8', 'identity'], got none")
    return found


def table_of(rows: dict[tuple[str, str], dict[str, float]]) -> Any:
    """A DataFrame of rows by (layer, format)."""
    import pandas

    index = pandas.MultiIndex.from_tuples(list(rows), names=["layer", "format"])
    return pandas.DataFrame(list(rows.values()), index=index).astype(float)


def named(layers: Sequence[str] | None, known: Sequence[str]) -> list[str]:
    """The layers asked for, all without a list of them.

    Raises:
        ValueError: an unknown one, with the nearest known ones.
        TypeError: a name in place of a list.
    """
    if layers is None:
        return list(known)
    if isinstance(layers, str):
        raise TypeError(f"expected a list of layers such as [{layers!r}], got {layers!r}")
    for name in layers:
        if name not in known:
            raise ValueError(unknown("layer", str(name), known))
    return list(layers)
