"""What a model costs under rules: bits of each kind of tensor, bit operations, energy and time of a training step."""

from collections.abc import Iterable
from typing import Any

from ...formats.catalogue import format as any_format
from ...formats.scaled import ScaledFormat
from ...formats.suggest import unknown
from ..recipes.operands import Operand, operands_of
from ..recipes.published import recipe as any_recipe
from ..recipes.recipe import Recipe
from ..recipes.rules import Entry, resolved, rules_of
from .accelerators import Accelerator
from .cost import Gemm, bit_operations, stored_bits
from .recipe_cost import recipe_cost

OPTIMIZERS = {"sgd": 0, "momentum": 1, "muon": 1, "lion": 1, "adam": 2, "adamw": 2}
"""State tensors of an optimizer, each as large as the weights."""

COLUMNS = (
    "recipe", "macs", "parameters", "weight_bits", "scale_bits", "master_bits", "optimizer_bits", "activation_bits",
    "bitops", "overhead", "picojoules", "seconds",
)  # fmt: skip


def costs(
    gemms: Iterable[Gemm],
    recipe_or_rules: Any = "identity",
    *,
    optimizer: str = "adamw",
    dtype: str = "bfloat16",
    master: str = "binary32",
    chip: "str | Accelerator | None" = None,
    memory: str = "dram",
) -> Any:
    """What each product of a model costs, stored and in a training step.

    Args:
        gemms: the products, see `gemm`; of a torch model `halfulp.gemms(model, inputs)`.
        recipe_or_rules: as in `halfulp.quantize_`; names of products and the classes of their layers are matched.
        optimizer: one of `OPTIMIZERS`.
        dtype: format of what is not quantized.
        master: format of the weights that the optimizer updates, and of its states, where the recipe names none.
        chip: an accelerator or its name, for times. memory: level of `energy.MEMORY`.

    Returns:
        A pandas DataFrame by name, with the sums in its last row, 'all'. Columns: recipe; macs of the forward product;
        parameters; bits of weights as they are multiplied, of their scales, of master weights, of the optimizer's
        states, and of what the backward pass keeps of the input; bit operations of all three products; operations
        beside them for each multiply-accumulate; picojoules; seconds (nan without a chip).

    Raises:
        ValueError: no products, two of one name, an unknown name, a rule that matches nothing.
        TypeError: what is no `Gemm`.

    Example:
        >>> from halfulp.sim.costs.cost import gemm
        >>> mlp = [gemm("up", 4096, 768, 3072), gemm("down", 4096, 3072, 768)]
        >>> table = costs(mlp, [("up", "mxfp4"), ("*", "mxfp8")])
        >>> table["weight_bits"].tolist()
        [9437184.0, 18874368.0, 28311552.0]
    """
    import pandas

    found = _checked(list(gemms))
    if optimizer not in OPTIMIZERS:
        raise ValueError(unknown("optimizer", optimizer, OPTIMIZERS))
    rules, states, rows = rules_of(recipe_or_rules), OPTIMIZERS[optimizer], []
    matches = resolved(rules, [Entry(of.name, of.types) for of in found])
    for of, match in zip(found, matches):
        recipe = any_recipe("identity") if match is None else rules[match.rule].recipe
        rows.append(_row(of, recipe, states, dtype, master, chip, memory))
    table = pandas.DataFrame(rows, columns=list(COLUMNS), index=pandas.Index([of.name for of in found], name="layer"))
    return _with_sums(table)


def _checked(gemms: list[Any]) -> list[Gemm]:
    for each in gemms:
        if not isinstance(each, Gemm):
            raise TypeError(f"expected products such as hu.gemm('layer', m, k, n), got {each!r}")
    if not gemms:
        raise ValueError("expected one product or more, got none; write such as [hu.gemm('layer', m, k, n)]")
    names = [each.name for each in gemms]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"two products are called {twice!r}; give each a name of its own, or count them by times=")
    return gemms


def _row(
    of: Gemm, recipe: Recipe, states: int, dtype: str, master: str, chip: Any, memory: str
) -> tuple[float | str, ...]:
    specs = [Operand(*spec) for spec in operands_of(recipe, "linear")]
    size = 0 if of.weight is None else of.weight[0] * of.weight[1]
    weights = _bits(specs[1], (of.n * of.times, of.k), dtype) if of.weight is not None else (0, 0)
    kept = specs[5] if specs[5].fmt and not specs[5].quantized else specs[0] if specs[5].quantized else None
    activations = _bits(kept, (of.m * of.times, of.k), dtype)
    step = recipe_cost(recipe, of.m, of.k, of.n, dtype=dtype, chip=chip, memory=memory)
    bitops = sum(_bitops(specs, k, sizes, dtype) for k, sizes in enumerate(_sizes(of)))
    wide, state = any_format(recipe.master or master), any_format(recipe.optimizer_state or recipe.master or master)
    return (
        recipe.name, of.macs, size, *weights, _alone(wide, size), states * _alone(state, size), sum(activations),
        of.times * bitops, step.overhead, of.times * step.picojoules, of.times * step.seconds,
    )  # fmt: skip


def _bits(spec: Operand | None, shape: tuple[int, int], dtype: str) -> tuple[int, int]:
    """Bits of elements and of scales of a matrix whose blocks run along an operand's contraction."""
    if spec is None or not spec.fmt:
        return any_format(dtype).bits * shape[0] * shape[1], 0
    found = stored_bits(spec.fmt, shape, spec.along or None, matrix=True)
    return found.elements, found.scales


def _alone(fmt: Any, size: int) -> int:
    """Bits of so many numbers in one row, which a state is."""
    if not size:
        return 0
    shape = (1, size)
    axis = -1 if isinstance(fmt, ScaledFormat) and len(fmt.blocks.sizes) == 1 and fmt.blocks.axes else None
    return stored_bits(fmt, shape, axis).total


def _sizes(of: Gemm) -> tuple[tuple[int, int, int], ...]:
    return (of.m, of.k, of.n), (of.m, of.n, of.k), (of.n, of.m, of.k)


def _bitops(specs: list[Operand], k: int, sizes: tuple[int, int, int], dtype: str) -> float:
    """Of product k: an operand that takes what the forward product made has that one's bits."""
    forward = {3: specs[1], 5: specs[0]}
    pair = [specs[i].fmt or (forward[i].fmt if specs[i].quantized and i in forward else "") for i in (2 * k, 2 * k + 1)]
    return bit_operations(pair[0] or dtype, pair[1] or dtype, *sizes)


def _with_sums(table: Any) -> Any:
    """The table with a last row of sums, in which overheads are weighed by multiply-accumulates."""
    numbers = [name for name in COLUMNS if name not in ("recipe", "overhead")]
    sums = {name: float(table[name].sum(skipna=False)) for name in numbers}
    sums["overhead"] = float((table["overhead"] * table["macs"]).sum() / table["macs"].sum())
    table[[*numbers, "overhead"]] = table[[*numbers, "overhead"]].astype(float)
    table.loc["all"] = ["" if name == "recipe" else sums[name] for name in COLUMNS]
    return table


def gemms(model: Any, inputs: Any) -> list[Gemm]:
    """The matrix products of a forward pass of a torch model, for `costs`.

    Linear and convolution layers, attention, recurrent layers and modules of your own are seen alike: what reaches the
    library's matrix products and convolutions is written down, under the name of the module that calls it. Further
    products of one module are called NAME.product2 and so on, and rules that match NAME match them, too.

    Args:
        model: a torch.nn.Module; the pass runs without gradients, in the mode the model is in.
        inputs: its input, or a tuple of them.

    Returns:
        The products in order. Those of one module and size are one, with `times`.

    Raises:
        TypeError: no module.

    Example:
        >>> import torch
        >>> gemms(torch.nn.Sequential(torch.nn.Linear(64, 10)), torch.zeros(32, 64))
        [Gemm(name='0', m=32, k=64, n=10, times=1, weight=(10, 64), types=('Linear',))]
    """
    from .torch_gemms import gemms

    return gemms(model, inputs)
