"""What torch's functions do to rounded tensors, by their names: `torch.add`, `torch.Tensor.add` and operators alike."""

from collections.abc import Callable, Iterable
from typing import Any

import torch

from ..rounded.context import Arithmetic
from ..rounded.draws import Draws
from ..rounded.reductions import next_of
from . import torch_rounded_ops as ops
from .torch_rounded import RoundedTensor, combined, common, matrix_product, operand

MOVES = frozenset((
    "adaptive_max_pool1d", "adaptive_max_pool2d", "amax", "amin", "aminmax", "atleast_1d", "atleast_2d", "atleast_3d",
    "broadcast_tensors", "broadcast_to", "cat", "chunk", "clone", "column_stack", "concat", "concatenate", "contiguous",
    "cummax", "cummin", "diag", "diag_embed", "diagonal", "dsplit", "dstack", "embedding", "empty_like", "expand",
    "expand_as", "flatten", "flip", "fliplr", "flipud", "fmax", "fmin", "gather", "hsplit", "hstack", "index_copy",
    "index_select", "kthvalue", "masked_select", "max", "max_pool1d", "max_pool2d", "max_pool3d", "maximum", "median",
    "min", "minimum", "mode", "moveaxis", "movedim", "msort", "narrow", "ones_like", "permute", "pixel_shuffle",
    "pixel_unshuffle", "ravel", "repeat", "repeat_interleave", "reshape", "reshape_as", "roll", "rot90", "scatter",
    "select", "sort", "split", "split_with_sizes", "squeeze", "stack", "swapaxes", "swapdims", "t", "take",
    "take_along_dim", "tensor_split", "tile", "topk", "transpose", "tril", "triu", "unbind", "unflatten", "unfold",
    "unsafe_chunk", "unsafe_split", "unsqueeze", "view", "view_as", "vsplit", "vstack", "zeros_like",
))  # fmt: skip
"""Functions that only move values, or choose among them."""

CHOICES = frozenset((
    "abs", "absolute", "ceil", "clamp", "clamp_max", "clamp_min", "clip", "copysign", "fix", "floor", "fmod",
    "full_like", "hardtanh", "masked_fill", "nan_to_num", "neg", "negative", "pad", "positive", "relu", "relu6",
    "round", "sgn", "sign", "trunc", "where",
))  # fmt: skip
"""Functions whose results are values of most formats, or numbers among the arguments; otherwise the nearest value."""

PLAIN = frozenset((
    "all", "allclose", "any", "argmax", "argmin", "argsort", "argwhere", "bucketize", "count_nonzero", "eq", "equal",
    "ge", "greater", "greater_equal", "gt", "is_complex", "is_floating_point", "is_nonzero", "isclose", "isfinite",
    "isinf", "isnan", "isneginf", "isposinf", "isreal", "le", "less", "less_equal", "lt", "ne", "nonzero", "not_equal",
    "numel", "searchsorted", "signbit", "is_contiguous", "stride", "storage_offset", "data_ptr", "element_size",
    "bool", "double", "int", "long",
))  # fmt: skip
"""Functions whose results are no numbers of the format: truths, indices, plain tensors."""

OF_NUMBERS = frozenset((
    "arctan2", "atan2", "float_power", "floor_divide", "heaviside", "hypot", "ldexp", "logaddexp", "logaddexp2",
    "nextafter", "pow", "remainder", "special_xlogy", "xlogy",
))  # fmt: skip
"""Functions computed in float64 and rounded once, all of whose arguments are numbers."""

FUNCTIONS = frozenset((
    "acos", "acosh", "angle", "arccos", "arccosh", "arcsin", "arcsinh", "arctan", "arctanh", "asin", "asinh", "atan",
    "atanh", "celu", "cos", "cosh", "deg2rad", "digamma", "elu", "erf", "erfc", "erfinv", "exp", "exp2", "expm1",
    "frac", "gelu", "glu", "hardshrink", "hardsigmoid", "hardswish", "i0", "leaky_relu", "lgamma", "log", "log10",
    "log1p", "log2", "log_softmax", "logcumsumexp", "logit", "logsigmoid", "logsumexp", "mish", "mvlgamma", "polygamma",
    "rad2deg", "rsqrt", "selu", "sigmoid", "silu", "sin", "sinc", "sinh", "softmax", "softmin", "softplus",
    "softshrink", "softsign", "special_entr", "special_erf", "special_erfc", "special_exp2", "special_expit",
    "special_expm1", "special_log1p", "special_log_softmax", "special_logit", "special_logsumexp", "special_ndtr",
    "special_ndtri", "special_sinc", "special_softmax", "tan", "tanh", "tanhshrink", "threshold",
))  # fmt: skip
"""Functions computed in float64 and rounded once; numbers among their arguments but tensors stay as they are."""

_MADE: dict[str, Callable[..., Any]] = {}


def call(name: str, function: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """A function of torch on rounded tensors, plain ones and numbers.

    Raises:
        TypeError: a function that is not made of rounded operations; options that rounded tensors do not take.
    """
    options = {key: value for key, value in options.items() if value is not None and key != "_stacklevel"}
    refused = [key for key in ("out", "dtype") if key in options]
    if refused or options.pop("inplace", False):
        raise TypeError(
            f"torch.{name}: rounded tensors take no {refused[0] if refused else 'inplace'}= here; leave it out"
        )
    if name in _MADE:
        return _MADE[name](*args, **options)
    if name in PLAIN:
        target, _, device = common(_rounded((args, options)))
        return function(
            *_values(args, target, None, device, name in _COMPARED), **_values(options, target, None, device)
        )
    if name in MOVES or name in CHOICES:
        return _moved(name, function, args, options)
    if name in FUNCTIONS or name in OF_NUMBERS:
        target, draws, device = common(_rounded((args, options)))
        values = _wide(_values(args, target, draws, device, name in OF_NUMBERS))
        found = function(*values, **_wide(_values(options, target, draws, device)))
        return RoundedTensor(ops.rounded_to(target, found, next_of(draws)), target, draws)
    if name.endswith("_"):
        raise TypeError(f"{name}: rounded tensors have no such methods in place; write a += b, or a[...] = b")
    spelled = name.replace("_", ".", 1) if name.startswith(("fft_", "linalg_", "special_")) else name
    raise TypeError(
        f"torch.{spelled} is not made of rounded operations; apply it to the values and round the result: "
        f"hu.array(torch.{spelled}(x.values), x.arithmetic)"
    )


_COMPARED = frozenset(
    ("eq", "ge", "greater", "greater_equal", "gt", "le", "less", "less_equal", "lt", "ne", "not_equal")
)


def _moved(name: str, function: Callable[..., Any], args: Any, options: Any) -> Any:
    target, draws, device = common(_rounded((args, options)))
    found = function(*_values(args, target, draws, device), **_values(options, target, draws, device))
    return _wrapped(found, target, draws, nearest=name in CHOICES)


def _rounded(x: Any) -> Iterable[RoundedTensor]:
    """Every rounded tensor in nested arguments."""
    if isinstance(x, RoundedTensor):
        yield x
    elif isinstance(x, list | tuple):
        for each in x:
            yield from _rounded(each)
    elif isinstance(x, dict):
        yield from _rounded(list(x.values()))


def _values(x: Any, target: Arithmetic, draws: Draws | None, device: torch.device, numbers: bool = False) -> Any:
    """Nested arguments with tensors of values in place of rounded and plain ones.

    Args:
        numbers: whether plain numbers are rounded too.
    """
    if isinstance(x, RoundedTensor) or (isinstance(x, torch.Tensor) and x.is_floating_point()):
        return operand(x, target, draws, device)
    if numbers and isinstance(x, int | float) and not isinstance(x, bool):
        return operand(x, target, draws, device)
    if isinstance(x, list | tuple):
        return type(x)(_values(each, target, draws, device, numbers) for each in x)
    if isinstance(x, dict):
        return {key: _values(each, target, draws, device, numbers) for key, each in x.items()}
    return x


def _wide(x: Any) -> Any:
    """Nested arguments with tensors in float64."""
    if isinstance(x, torch.Tensor):
        return x.double() if x.is_floating_point() else x
    if isinstance(x, tuple):
        return tuple(map(_wide, x))
    return {key: _wide(each) for key, each in x.items()} if isinstance(x, dict) else x


def _wrapped(found: Any, target: Arithmetic, draws: Draws | None, nearest: bool) -> Any:
    if isinstance(found, tuple | list):
        return type(found)([_wrapped(each, target, draws, nearest) for each in found])
    if not isinstance(found, torch.Tensor) or not found.is_floating_point():
        return found
    return RoundedTensor(ops.nearest(target, found) if nearest else found, target, draws)


# ---------------------------------------------------------------- made of rounded operations


def _made_of(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def register(made: Callable[..., Any]) -> Callable[..., Any]:
        _MADE.update(dict.fromkeys(names, made))
        return made

    return register


def _as_rounded(*tensors: Any) -> list[Any]:
    """All in the arithmetic of their common result; None stays."""
    target, draws, device = common(tensors)
    return [None if x is None else RoundedTensor(operand(x, target, draws, device), target, draws) for x in tensors]


@_made_of("add")
def _add(input: Any, other: Any, *, alpha: Any = 1) -> Any:
    return combined("add", input, other if alpha == 1 else _scaled(input, other, alpha))


@_made_of("sub", "subtract")
def _subtract(input: Any, other: Any, *, alpha: Any = 1) -> Any:
    return combined("subtract", input, other if alpha == 1 else _scaled(input, other, alpha))


@_made_of("rsub")
def _rsub(input: Any, other: Any, *, alpha: Any = 1) -> Any:
    return combined("subtract", other, input if alpha == 1 else _scaled(other, input, alpha))


def _scaled(first: Any, other: Any, alpha: Any) -> Any:
    """other * alpha in the arithmetic it shares with the first."""
    return combined("multiply", _as_rounded(first, other)[1], alpha)


@_made_of("mul", "multiply")
def _multiply(input: Any, other: Any) -> Any:
    return combined("multiply", input, other)


@_made_of("div", "divide", "true_divide")
def _divide(input: Any, other: Any, *, rounding_mode: str | None = None) -> Any:
    if rounding_mode is None:
        return combined("divide", input, other)
    target, draws, device = common((input, other))
    a, b = (operand(x, target, draws, device).double() for x in (input, other))
    found = torch.div(a, b, rounding_mode=rounding_mode)
    return RoundedTensor(ops.rounded_to(target, found, next_of(draws)), target, draws)


@_made_of("sqrt")
def _sqrt(input: Any) -> Any:
    return combined("sqrt", input)


@_made_of("square")
def _square(input: Any) -> Any:
    return combined("multiply", input, input)


@_made_of("reciprocal")
def _reciprocal(input: Any) -> Any:
    """1 / x, rounded once, also where 1 is no number of the format."""
    operands = torch.ones_like(input.values), input.values
    values = ops.operate("divide", input.arithmetic, operands, next_of(input.draws))
    return RoundedTensor(values, input.arithmetic, input.draws)


@_made_of("addcmul")
def _addcmul(input: Any, tensor1: Any, tensor2: Any, *, value: Any = 1) -> Any:
    input, tensor1, tensor2 = _as_rounded(input, tensor1, tensor2)
    term = tensor1 * tensor2
    return input + (term if value == 1 else term * value)


@_made_of("addcdiv")
def _addcdiv(input: Any, tensor1: Any, tensor2: Any, *, value: Any = 1) -> Any:
    input, tensor1, tensor2 = _as_rounded(input, tensor1, tensor2)
    term = tensor1 / tensor2
    return input + (term if value == 1 else term * value)


@_made_of("lerp")
def _lerp(input: Any, end: Any, weight: Any) -> Any:
    input, end = _as_rounded(input, end)
    return input + weight * (end - input)


@_made_of("sum")
def _sum(input: Any, dim: Any = None, keepdim: bool = False) -> Any:
    return input.sum(dim, keepdim)


@_made_of("prod")
def _prod(input: Any, dim: Any = None, keepdim: bool = False) -> Any:
    return input.prod(dim, keepdim)


@_made_of("mean")
def _mean(input: Any, dim: Any = None, keepdim: bool = False) -> Any:
    return input.mean(dim, keepdim)


@_made_of("var")
def _var(input: Any, dim: Any = None, *, correction: int = 1, keepdim: bool = False) -> Any:
    return input.var(dim, correction, keepdim)


@_made_of("std")
def _std(input: Any, dim: Any = None, *, correction: int = 1, keepdim: bool = False) -> Any:
    return input.std(dim, correction, keepdim)


@_made_of("cumsum")
def _cumsum(input: Any, dim: int) -> Any:
    return input.cumsum(dim)


@_made_of("norm", "linalg_norm", "linalg_vector_norm")
def _norm(input: Any, p: Any = 2, dim: Any = None, keepdim: bool = False, ord: Any = None) -> Any:
    kind = p if ord is None else ord
    if kind not in (2, 2.0, "fro", 1, float("inf")):
        raise TypeError(f"norms of rounded tensors: 2 and 'fro', 1 and infinity, got {kind!r}")
    if kind == 1:
        return abs(input).sum(dim, keepdim)
    if kind == float("inf"):
        return abs(input).amax(() if dim is None else dim, keepdim)
    return input.norm(dim, keepdim)


@_made_of("matmul", "mm", "bmm", "mv", "dot", "linalg_matmul")
def _matmul(input: Any, other: Any) -> Any:
    return matrix_product(input, other)


@_made_of("vdot", "linalg_vecdot")
def _vecdot(input: Any, other: Any, dim: int = -1) -> Any:
    input, other = (x.movedim(dim, -1) for x in _as_rounded(input, other))
    return matrix_product(input.unsqueeze(-2), other.unsqueeze(-1)).squeeze(-1).squeeze(-1)


@_made_of("inner")
def _inner(input: Any, other: Any) -> Any:
    input, other = _as_rounded(input, other)
    if not input.ndim or not other.ndim:
        return input * other
    found = matrix_product(input.reshape(-1, input.shape[-1]), other.reshape(-1, other.shape[-1]).T)
    return found.reshape(*input.shape[:-1], *other.shape[:-1])


@_made_of("outer", "ger")
def _outer(input: Any, other: Any) -> Any:
    input, other = _as_rounded(input, other)
    return input.unsqueeze(1) * other


@_made_of("linear")
def _linear(input: Any, weight: Any, bias: Any = None) -> Any:
    input, weight, bias = _as_rounded(input, weight, bias)
    found = matrix_product(input, weight.T)
    return found if bias is None else found + bias


@_made_of("addmm", "addmv", "baddbmm")
def _addmm(input: Any, a: Any, b: Any, *, beta: Any = 1, alpha: Any = 1) -> Any:
    input, a, b = _as_rounded(input, a, b)
    found = matrix_product(a, b)
    found = found if alpha == 1 else found * alpha
    if isinstance(beta, int | float) and beta == 0:  # what is there is not read, NaN neither
        return found
    return found + (input if beta == 1 else input * beta)
