"""What scaled formats take for granted: the GPU divides and multiplies as IEEE 754 says, subnormals included."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
import triton
import triton.language as tl
from halfulp.emulate.backends.triton_memory import launch

BLOCK = 1024


@triton.jit
def operations(x, y, quotient, product, size, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = at < size
    a, b = tl.load(x + at, mask=inside, other=1.0), tl.load(y + at, mask=inside, other=1.0)
    tl.store(quotient + at, tl.div_rn(a, b), mask=inside)
    tl.store(product + at, a * b, mask=inside)


def pairs(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Any patterns; half of the pairs near each other or near reciprocals, so that results come out at every size."""
    rng = np.random.default_rng(4)
    x, y = (rng.integers(0, 1 << 32, count, dtype=np.uint32) for _ in range(2))
    x[: count // 4] &= 0x80FFFFFF  # subnormals and the smallest normals
    y[: count // 8] = (y[: count // 8] & 0x00FFFFFF) | 0x3F000000
    return x.view(np.float32), y.view(np.float32)


def cases(device: torch.device, count: int) -> Iterator[tuple[str, Callable]]:
    """Quotients and products against NumPy; NaN is made canonical, as the kernels make it."""
    x, y = pairs(count)
    with np.errstate(all="ignore"):
        want = {"quotients": x / y, "products": x * y}
    subnormal = int(sum(((np.abs(a) < 2.0**-126) & (a != 0)).sum() for a in want.values()))

    def case(name: str) -> tuple[torch.Tensor, torch.Tensor]:
        a, b = (torch.from_numpy(n).to(device) for n in (x, y))
        found = {"quotients": torch.empty_like(a), "products": torch.empty_like(a)}
        launch(operations, -(-count // BLOCK), device, a, b, found["quotients"], found["products"], count, BLOCK=BLOCK)
        return canonical(found[name].cpu()), canonical(torch.from_numpy(want[name]))

    for name in want:
        yield f"{name} of {count} pairs, {subnormal} results subnormal", lambda name=name: case(name)


def canonical(x: torch.Tensor) -> torch.Tensor:
    return torch.where(torch.isnan(x), torch.full((), float("nan")), x)
