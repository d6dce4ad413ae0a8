"""The matrix products that a torch model does, by module and size: what a forward pass hands to the library."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import prod
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode

from .cost import Gemm


class _Found(NamedTuple):
    m: int
    k: int
    n: int
    times: int
    weight: tuple[int, ...] | None


class _Recorder(TorchDispatchMode):
    """Writes down every product, and the module in whose forward it is called."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.found: list[tuple[str, _Found]] = []
        self.inside: list[str] = [""]
        self.weights = {p.untyped_storage().data_ptr() for p in model.parameters()}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        seen = _PRODUCTS.get(func)
        if seen is not None:
            for each in seen(self, args):
                self.found.append((self.inside[-1], each))
        return func(*args, **(kwargs or {}))

    def owned(self, t: torch.Tensor) -> bool:
        """Whether a factor is a parameter, or a view of one."""
        return t.untyped_storage().data_ptr() in self.weights


def _mm(recorder: _Recorder, a: torch.Tensor, b: torch.Tensor) -> Iterator[_Found]:
    """(..., m, k) (..., k, n); of a parameter on the left the transposed product."""
    if recorder.owned(a) and not recorder.owned(b):
        a, b = b.mT, a.mT
    m, k, n = a.shape[-2], a.shape[-1], b.shape[-1]
    times = prod(a.shape[:-2])
    yield _Found(m, k, n, times, (n * times, k) if recorder.owned(b) else None)


def _convolution(recorder: _Recorder, args: Any) -> Iterator[_Found]:
    x, w, transposed, groups = args[0], args[1], args[6], args[8]
    if transposed:  # each place of the input makes a kernel of outputs
        m, k, n = x.shape[0] * prod(x.shape[2:]), w.shape[0] // groups, w.shape[1] * prod(w.shape[2:])
    else:
        sizes = zip(x.shape[2:], w.shape[2:], *(_each(args[i], w.dim() - 2) for i in (3, 4, 5)))
        places = [(n + 2 * pad - dilation * (size - 1) - 1) // stride + 1 for n, size, stride, pad, dilation in sizes]
        m, k, n = x.shape[0] * prod(places), w.shape[1] * prod(w.shape[2:]), w.shape[0] // groups
    yield _Found(m, k, n, groups, (n * groups, k) if recorder.owned(w) else None)


def _each(given: Any, count: int) -> list[int]:
    return list(given) * (count // len(given))


_aten = torch.ops.aten
_PRODUCTS: dict[Any, Callable[[_Recorder, Any], Iterator[_Found]]] = {
    _aten.mm.default: lambda recorder, args: _mm(recorder, args[0], args[1]),
    _aten.addmm.default: lambda recorder, args: _mm(recorder, args[1], args[2]),
    _aten.bmm.default: lambda recorder, args: _mm(recorder, args[0], args[1]),
    _aten.baddbmm.default: lambda recorder, args: _mm(recorder, args[1], args[2]),
    _aten.convolution.default: _convolution,
}


def gemms(model: nn.Module, inputs: Any) -> list[Gemm]:
    """See `model_cost.gemms`."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"expected a torch.nn.Module, got {type(model).__name__}")
    arguments = inputs if isinstance(inputs, tuple) else (inputs,)
    return recorded(model, lambda: model(*arguments))


def recorded(model: nn.Module, run: Callable[[], Any]) -> list[Gemm]:
    """The products of a run of a model, in order; those of one module and size are counted, not repeated."""
    recorder = _Recorder(model)
    with _following(model, recorder), plain_attention(), _plain_recurrence(), torch.no_grad(), recorder:
        run()
    counts: dict[tuple[str, _Found], int] = {}
    for each in recorder.found:
        counts[each] = counts.get(each, 0) + 1
    return _named(model, counts)


def _named(model: nn.Module, counts: dict[tuple[str, _Found], int]) -> list[Gemm]:
    """Products under the names of their modules; further ones of a module inside of it, as NAME.product2."""
    modules, used, found = dict(model.named_modules()), dict[str, int](), []
    for (name, each), count in counts.items():
        used[name] = used.get(name, 0) + 1
        own = name or "model"
        full = own if used[name] == 1 else f"{own}.product{used[name]}"
        types = tuple(kind.__name__ for kind in type(modules[name]).__mro__ if kind not in (nn.Module, object))
        found.append(Gemm(full, each.m, each.k, each.n, each.times * count, each.weight, types))
    return found


@contextmanager
def _following(model: nn.Module, recorder: _Recorder) -> Iterator[None]:
    """Hooks that tell the recorder which module is at work."""
    handles: list[Any] = []

    def enter(name: str) -> Callable[..., None]:
        return lambda *_: recorder.inside.append(name)

    def leave(*_: Any) -> None:
        recorder.inside.pop()

    try:
        for name, module in model.named_modules():
            handles.append(module.register_forward_pre_hook(enter(name)))
            handles.append(module.register_forward_hook(leave, always_call=True))
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def plain_attention() -> Iterator[None]:
    """Attention as the matrix products and the softmax it is, which call hooks and have second derivatives."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


@contextmanager
def _plain_recurrence() -> Iterator[None]:
    """Recurrent layers as the matrix products they are."""
    precision: Any = torch.backends.mkldnn.fp32_precision  # pyright: ignore[reportAttributeAccessIssue]
    before = torch.backends.mkldnn.set_flags(_enabled=False, _fp32_precision=precision)
    try:
        yield
    finally:
        torch.backends.mkldnn.set_flags(_enabled=before[0], _fp32_precision=precision)
