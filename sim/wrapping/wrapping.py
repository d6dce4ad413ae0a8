"""Train any torch model with a recipe: wrap it in place, step by step, save what it carries, take it back.

torch is imported when one of these functions is called.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any


def quantize_(
    model: Any, recipe_or_rules: Any, filter_fn: Callable[[Any, str], bool] | None = None, *, seed: int = 0
) -> Any:
    """Quantize the matrix products of a torch model in place, forward and backward.

    Layers keep their parameters, names, hooks and `state_dict`; their classes change to ones derived from their own.
    Linear, convolutions, Embedding, MultiheadAttention, RNN, LSTM and GRU and their cells are wrapped, and Conv1D of
    Hugging Face's transformers. Where a rule names them, by type or by a name whose last part has no wildcard, so are
    norms and activations (their input and output) and modules of your own, whose forward may call torch.matmul and its
    siblings, torch.einsum, F.linear, convolutions and scaled_dot_product_attention.

    Args:
        model: a torch.nn.Module; also one that is compiled, or in DistributedDataParallel or FSDP2.
        recipe_or_rules: a recipe or its name for all layers, or ordered (pattern, recipe) pairs and `Rule`s, of which
            the first that matches wins: [("type:Embedding", "identity"), ("layers.*.attn", "mxfp4"), ("*", "mxfp8")].
        filter_fn: takes a module and its name, and returns whether to wrap it, of those that rules choose.
        seed: of random numbers, below 2**64; each layer draws its own, by its name.

    Returns:
        The model.

    Raises:
        ValueError: a rule that matches nothing or is never used; one that names what cannot be quantized; a model that
            is quantized already; a recipe that a layer cannot have. In a forward pass: a length that blocks do not
            divide. The message says what to write.
        TypeError: no model, or rules that are none.

    The optimizer keeps master weights and its states: `Recipe.master` and `Recipe.optimizer_state` are not read here.
    Call `advance_` after each optimizer step.

    Example:
        >>> import torch
        >>> model = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 64))
        >>> quantize_(model, [("0", "mxfp4"), ("*", "mxfp8")])
        Sequential(
          (0): QuantizedLinear(in_features=64, out_features=64, bias=True, recipe='mxfp4')
          (1): ReLU()
          (2): QuantizedLinear(in_features=64, out_features=64, bias=True, recipe='mxfp8')
        )
    """
    from .torch_wrapping import quantize_

    return quantize_(model, recipe_or_rules, filter_fn, seed=seed)


def dequantize_(model: Any) -> Any:
    """Undo `quantize_` in place; parameters keep the values they have. A model that is not quantized stays as it is.

    Returns:
        The model.
    """
    from .torch_wrapping import dequantize_

    return dequantize_(model)


def explain(
    model: Any,
    recipe_or_rules: Any,
    filter_fn: Callable[[Any, str], bool] | None = None,
    *,
    args: Sequence[Any] | None = None,
    kwargs: Mapping[str, Any] | None = None,
    params: Any = None,
) -> Any:
    """What `quantize_` would do to each module, or `hu.quantized` to each product; nothing changes.

    Args:
        model, recipe_or_rules, filter_fn: as `quantize_` takes them; or a function of JAX arrays and its rules.
        args, kwargs: what the function is called with; `jax.ShapeDtypeStruct`s will do in place of arrays.
        params: as `hu.quantized` takes it.

    Returns:
        A pandas DataFrame. Of a torch model by module name: its type, recipe, format of weights, bits a weight,
        parameters, bytes before and after, compression and a note; its text ends with the totals, in which shared
        parameters count once. Of a function by product: its kind, part (forward, or of a backward rule), parameter,
        scope of names, shapes, turns of the loops around it, recipe, format of weights, bits a weight and a note.

    Raises:
        ValueError, TypeError: as `quantize_` and `hu.quantized`; a function without args.
    """
    if any(each.__module__.partition(".")[0] == "torch" for each in type(model).__mro__) or not callable(model):
        from .torch_explanation import explain

        return explain(model, recipe_or_rules, filter_fn)
    if args is None and kwargs is None:
        raise TypeError(
            "a function is explained by what it is called with; write hu.explain(fn, rules, args=(params, x))"
        )
    from ..functions.jax_explanation import explain as explain_function

    return explain_function(model, recipe_or_rules, args or (), kwargs or {}, params)


def advance_(model: Any, *, group: Any = None) -> None:
    """Go to the next step: call it once after each optimizer step, when no backward pass is still to come.

    It advances the step counter, from which random numbers come, moves largest magnitudes into the histories of delayed
    scaling, applies `Recipe.after_step` to weights of two and more axes, and changes to the recipe a schedule names.

    Args:
        group: a process group whose ranks agree on the largest magnitudes; None keeps those of each rank.

    In a model without quantized layers nothing happens.
    """
    from .torch_state import advance_

    advance_(model, group)


def after_step_(model: Any) -> None:
    """Apply `Recipe.after_step` to the weights now; `advance_` does so too."""
    from .torch_state import after_step_

    after_step_(model)


def state_dict(model: Any) -> dict[str, Any]:
    """What a quantized model carries besides its own `state_dict`: tensors by name, for `torch.save`.

    Step counters, seeds, histories of delayed scaling, step sizes that are trained. With it a resumed run equals an
    uninterrupted one.
    """
    from .torch_state import state_dict

    return state_dict(model)


def load_state_dict(model: Any, state: Mapping[str, Any]) -> None:
    """Put back what `state_dict` returned, into a model quantized with the same rules.

    Raises:
        ValueError: entries that are missing, unknown or of another shape.
    """
    from .torch_state import load_state_dict

    load_state_dict(model, state)


def extra_parameters(model: Any) -> list[Any]:
    """Step sizes that are trained (scaling 'learned'), for the optimizer; they are not among `model.parameters()`.

    They are 0 before the first forward pass, which sets them. DistributedDataParallel and FSDP2 do not average their
    gradients: average them yourself, as you would those of a parameter outside of the model.
    """
    from .torch_state import extra_parameters

    return extra_parameters(model)


def check_finite(loss: Any, model: Any, *inputs: Any, **options: Any) -> Any:
    """The loss, if it is finite; otherwise an error that says where that ended.

    Args:
        loss: a tensor.
        model: the model, quantized or not.
        inputs, options: what the model was called with; with them it is called once more, without gradients.

    Raises:
        FloatingPointError: with the parameters and gradients that are not finite, and the modules whose outputs are
            not, in the order of their calls.
    """
    from .torch_state import check_finite

    return check_finite(loss, model, *inputs, **options)


def quantized_functions(recipe: Any, *, seed: int = 0, step: Any = 0) -> AbstractContextManager[Any]:
    """A context in which torch's own functions have quantized operands, for models that call them directly.

    F.linear, torch.matmul, mm, bmm, addmm, baddbmm, mv and @, torch.einsum, convolutions, F.embedding,
    F.scaled_dot_product_attention, F.multi_head_attention_forward, and what RNN, LSTM and GRU call. Also modules that
    are not quantized call them; those that are keep their recipe. Backward may run outside of the context.

    Args:
        recipe: a recipe or its name. Not one with delayed or learned scales, which belong to layers.
        seed: of random numbers, below 2**64. step: an integer or a () int64 tensor; the products of one context draw
            one after another.

    Raises:
        ValueError: an unknown recipe, or one with scales that are kept; as `quantize_` in a call.

    Example:
        >>> import torch
        >>> x = torch.tensor([[1.0, 2.2], [3.0, 5.1]])
        >>> with quantized_functions("fp8"):
        ...     y = x @ torch.eye(2)
        >>> y
        tensor([[1.0018, 2.1857],
                [2.9143, 5.1000]])
    """
    from .torch_wrapping import quantized_functions

    return quantized_functions(recipe, seed=seed, step=step)
