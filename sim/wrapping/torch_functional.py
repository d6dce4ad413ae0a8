"""Functions of torch that multiply, with quantized operands: what a layer's forward calls while it is wrapped.

A `TorchFunctionMode` intercepts them by name, in whatever code they are called, eager or traced by `torch.compile`.
So layers keep their own forward, with its shapes, paddings and checks.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from ..products.torch_multiply import Products
from .torch_attention import multi_head_attention, scaled_dot_product_attention
from .torch_convolution import CONVOLUTIONS
from .torch_einsum import einsum
from .torch_recurrent import RECURRENT

Handler = Callable[..., Any]


def _linear(products: Products, input: Any, weight: Any, bias: Any = None) -> Any:
    return products.linear(input, weight, bias)


def _matmul(products: Products, input: Any, other: Any, **out: Any) -> Any:
    _no_out(products, out)
    return products.matmul(input, other)


def _reversed_matmul(products: Products, input: Any, other: Any) -> Any:
    return products.matmul(other, input)


def _added(products: Products, input: Any, a: Any, b: Any, *, beta: float = 1, alpha: float = 1, **out: Any) -> Any:
    """beta * input + alpha * a b: addmm and baddbmm."""
    _no_out(products, out)
    found = products.matmul(a, b)
    found = found if alpha == 1 else alpha * found
    added = None if beta == 0 else input if beta == 1 else beta * input
    if added is None or added.dim() == 1:
        return products.finished(found, added)
    return products.finished(found + added.to(found.dtype), None)


def _embedding(
    products: Products,
    input: Any,
    weight: Any,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Any:
    if max_norm is not None:
        with torch.no_grad():
            torch.embedding_renorm_(weight.detach(), input, max_norm, norm_type)
    rows = products.values(weight, products.plan.rows, 0, 1)
    padding = -1 if padding_idx is None else padding_idx % weight.shape[0]
    return torch.embedding(rows, input, padding, scale_grad_by_freq, sparse)


def _unflatten(products: Products, input: Any, dim: Any, sizes: Any) -> Any:
    return torch.unflatten(input, dim, sizes)


def _no_out(products: Products, out: dict[str, Any]) -> None:
    if out:
        products.fail(f"quantized products take no {', '.join(out)}=; leave it out")


def _refused(name: str) -> Handler:
    def refuse(products: Products, *_: Any, **__: Any) -> Any:
        products.fail(
            f"{name} has no quantized version; write it with torch.matmul or torch.einsum, or leave the module out"
        )

    return refuse


HANDLERS: dict[Any, Handler] = {
    functional.linear: _linear,
    functional.embedding: _embedding,
    functional.scaled_dot_product_attention: scaled_dot_product_attention,
    functional.multi_head_attention_forward: multi_head_attention,
    torch.Tensor.__rmatmul__: _reversed_matmul,
    torch.einsum: einsum,
    torch.Tensor.unflatten: _unflatten,  # whose Python code the compiler does not trace inside of a mode
    **dict.fromkeys(
        (
            torch.matmul, torch.mm, torch.bmm, torch.mv, torch.linalg.matmul, torch.Tensor.matmul, torch.Tensor.mm,
            torch.Tensor.bmm, torch.Tensor.mv, torch.Tensor.__matmul__,
        ),
        _matmul,
    ),
    **dict.fromkeys((torch.addmm, torch.baddbmm, torch.Tensor.addmm, torch.Tensor.baddbmm), _added),
    **CONVOLUTIONS,
    **RECURRENT,
    **{
        function: _refused(name)
        for name, function in (
            ("torch.tensordot", torch.tensordot), ("torch.chain_matmul", torch.chain_matmul),
            ("torch.linalg.multi_dot", torch.linalg.multi_dot), ("torch.addbmm", torch.addbmm),
            ("torch.nn.functional.bilinear", functional.bilinear), ("torch.conv_tbc", torch.conv_tbc),
            ("torch.nn.functional.embedding_bag", functional.embedding_bag),
        )
    },
}  # fmt: skip
"""What intercepts each function; the first argument of a handler are the products of the call."""


def _by_name() -> dict[str, tuple[Handler, tuple[Any, ...]]]:
    found: dict[str, tuple[Handler, tuple[Any, ...]]] = {}
    for function, handler in HANDLERS.items():
        _, others = found.get(function.__name__, (handler, ()))
        found[function.__name__] = (handler, (*others, function))
    return found


BY_NAME = _by_name()
"""Handlers by the names of functions, with the functions of that name. The compiler does not always find a function of
Python's in a dictionary, but it finds its name, and knows whether two are the same."""


def _handler(func: Any) -> Handler | None:
    handler, functions = BY_NAME.get(getattr(func, "__name__", ""), (None, ()))
    return handler if any(func is each for each in functions) else None


class Functional(TorchFunctionMode):
    """While it is active the functions of `HANDLERS` have quantized operands; without products they are torch's own."""

    def __init__(self, products: Products | None) -> None:
        super().__init__()
        self.products = products

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        handler = _handler(func)
        if handler is None:
            return func(*args, **kwargs)
        if self.products is None:
            with torch._C.DisableTorchFunction():  # nor may a mode around this one take it
                return func(*args, **kwargs)
        return handler(self.products, *args, **kwargs)
