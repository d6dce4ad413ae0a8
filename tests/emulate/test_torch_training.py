"""What training loops need of the torch operators: no recompilation, little memory, autocast, several ranks."""

import subprocess
import sys

import halfulp as hu
import pytest
import torch
import torch._dynamo.testing

SR = {"rounding": "stochastic"}


def sample(*shape, scale=300.0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)) * scale


@pytest.fixture
def frames():
    torch._dynamo.reset()
    return torch._dynamo.testing.CompileCounter()


def test_seeds_and_steps_as_numbers_compile_at_most_twice(frames):
    """Once with the first numbers, once with any."""
    compiled = torch.compile(lambda x, seed, step: hu.quantize(x, "fp4_e2m1", seed=seed, step=step, **SR), fullgraph=True, backend=frames)  # fmt: skip
    x = sample(100)
    for k in range(2, 7):
        assert torch.equal(compiled(x, k, 10 * k), hu.quantize(x, "fp4_e2m1", seed=k, step=10 * k, **SR))
    assert frames.frame_count <= 2


def test_a_format_as_data_does_not_recompile(frames):
    compiled = torch.compile(lambda x, fmt: hu.quantize(x, fmt), fullgraph=True, backend=frames)
    for name in ("fp8_e4m3", "fp4_e2m1", "int4", "mxfp4", "nvfp4", "nf4", "e3m2b5", "posit8"):
        fmt = hu.format_data(name, library="torch")
        x, leaf, plain = sample(4, 64), sample(4, 64).requires_grad_(), sample(4, 64).requires_grad_()
        y = compiled(leaf, fmt)
        assert torch.equal(y, hu.quantize(x, name))
        assert torch.equal(hu.quantize(x, fmt), hu.quantize(x, name))
        y.sum().backward()
        hu.quantize(plain, name).sum().backward()
        assert torch.equal(leaf.grad, plain.grad)
    assert frames.frame_count == 1


def test_formats_as_data_are_checked():
    with pytest.raises(ValueError, match="unknown format 'fp9'"):
        hu.format_data("fp9", library="torch")
    with pytest.raises(ValueError, match="do not fit float16"):
        hu.format_data("e6m1", "float16", library="torch")
    with pytest.raises(ValueError, match="expected one format"):
        hu.format_data(["int4", "int8"], library="torch")
    with pytest.raises(ValueError, match="unknown library 'tensorflow'"):
        hu.format_data("int4", library="tensorflow")
    fmt = hu.format_data("e6m1", library="torch")
    with pytest.raises(ValueError, match="do not fit float16"):  # found when the operator runs
        hu.quantize(sample(3).half(), fmt)


@pytest.mark.parametrize(("fmt", "options"), [("fp8_e4m3", {}), ("fp8_e4m3", SR | {"seed": 1}), ("mxfp4", {}), ("fp8_e4m3", {"ste": "identity"})])  # fmt: skip
@pytest.mark.parametrize("compile_it", [False, True])
def test_memory_for_the_backward_pass(fmt, options, compile_it):
    """One bit an element for a clip mask, nothing for the identity."""
    torch._dynamo.reset()
    saved = []

    def pack(tensor):
        saved.append(tensor.numel() * tensor.element_size())
        return tensor

    f = lambda x: hu.quantize(x, fmt, **options)  # noqa: E731
    f = torch.compile(f, fullgraph=True, backend="aot_eager") if compile_it else f
    x = sample(64, 64).requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        f(x)
    identity = fmt == "mxfp4" or options.get("ste") == "identity"
    assert sum(saved) == (0 if identity else 64 * 64 // 8)


def test_no_second_pass_over_a_mask_bit():
    """Bits past the end and odd sizes: every size gets the gradient of the definition."""
    for n in (1, 7, 8, 9, 63, 65, 1000):
        x = (torch.arange(n) % 3 * 300.0).requires_grad_()
        hu.quantize(x, "fp8_e4m3").sum().backward()
        assert torch.equal(x.grad, (x.detach() <= 464).float())


def test_autocast_rounds_what_it_is_given():
    """Autocast casts GEMM inputs; quantize keeps the dtype it gets, inside and outside."""
    x, w = sample(8, 16, scale=1.0), sample(4, 16, scale=1.0).requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        q = hu.quantize(x, "fp8_e4m3")
        assert torch.equal(q, hu.quantize(x, "fp8_e4m3"))
        assert q.dtype == torch.float32
        y = torch.nn.functional.linear(q, hu.quantize(w, "mxfp4", pad=True))
        assert y.dtype == torch.bfloat16
        low = hu.quantize(y, "fp8_e5m2")
        assert low.dtype == torch.bfloat16
    assert torch.equal(low, hu.quantize(y, "fp8_e5m2"))
    low.float().sum().backward()
    assert w.grad.dtype == torch.float32
    assert w.grad.abs().sum() > 0
    torch._dynamo.reset()

    @torch.compile(fullgraph=True, backend="aot_eager")
    def step(x, w):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return torch.nn.functional.linear(hu.quantize(x, "fp8_e4m3"), hu.quantize(w, "mxfp4", pad=True))

    assert torch.equal(step(x, w), y)


AMAX = ["fp8_e4m3_per_tensor", "int8_per_tensor", "nvfp4"]


@pytest.mark.parametrize("fmt", AMAX)
def test_a_given_amax_makes_parts_equal_the_whole(fmt):
    x = sample(8, 64)
    x[7, 3] = 5000.0
    amax = x.abs().max()
    whole = hu.quantize(x, fmt)
    for give in (amax, float(amax)):
        parts = torch.cat([hu.quantize(part, fmt, amax=give) for part in x.split(2)])
        assert torch.equal(parts, whole)
    as_numpy = [hu.quantize(part.numpy(), fmt, amax=amax.numpy()) for part in x.split(2)]
    assert torch.equal(torch.cat([torch.from_numpy(part) for part in as_numpy]), whole)
    torch._dynamo.reset()
    compiled = torch.compile(lambda x, amax: hu.quantize(x, fmt, amax=amax), fullgraph=True, backend="aot_eager")
    assert torch.equal(torch.cat([compiled(part, amax) for part in x.split(2)]), whole)
    leaf = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(hu.quantize(leaf, fmt, amax=amax), leaf, torch.ones_like(x))
    assert torch.equal(gradient, torch.ones_like(x))
    mapped = torch.func.vmap(lambda part: hu.quantize(part, fmt, amax=amax))(x.reshape(4, 2, 64))
    assert torch.equal(mapped.reshape(8, 64), whole)


def test_a_smaller_amax_saturates():
    y = hu.quantize(torch.tensor([1.0, -3.0, 0.25]), "int8_per_tensor", amax=1.0)
    assert y.tolist() == [1.0, -1.0, 32 * torch.tensor(1 / 127).item()]
    assert hu.quantize(torch.tensor([1.0, -3.0]), "int8_per_tensor", amax=0.0).tolist() == [0.0, 0.0]


@pytest.mark.parametrize(("fmt", "message"), [("mxfp4", "mxfp4 has no scale"), ("int8", "int8 has no scale"), ("bcq2", "amax= is for real"), ("phase", "amax= is for real")])  # fmt: skip
def test_amax_is_never_ignored_by_the_compiler(fmt, message):
    torch._dynamo.reset()
    x = sample(4, 32).to(torch.complex64) if fmt == "phase" else sample(4, 32)
    f = torch.compile(lambda x, amax: hu.quantize(x, fmt, amax=amax), fullgraph=True, backend="aot_eager")
    with pytest.raises(Exception, match=message):
        f(x, torch.tensor(1.0))


def test_amax_is_checked():
    x = sample(4, 32)
    with pytest.raises(ValueError, match="mxfp4 has no scale for the whole tensor"):
        hu.quantize(x, "mxfp4", amax=1.0)
    with pytest.raises(ValueError, match="int8 has no scale for the whole tensor"):
        hu.quantize(x, "int8", amax=1.0)
    with pytest.raises(ValueError, match="scale= and amax= say the same twice"):
        hu.quantize(x, "int8_per_tensor", amax=1.0, scale=1.0)
    for bad in (-1.0, float("nan"), float("inf"), [1.0, 2.0]):
        with pytest.raises(ValueError, match="one finite number >= 0"):
            hu.quantize(x, "int8_per_tensor", amax=bad)


RANKS = """
import sys
import torch
import torch._dynamo.testing
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
import halfulp as hu

rank, path = int(sys.argv[1]), sys.argv[2]
dist.init_process_group("gloo", init_method=f"file://{path}/meeting", rank=rank, world_size=2)
whole = torch.randn(8, 64, generator=torch.Generator().manual_seed(0))
mine = whole.chunk(2)[rank]
sr = {"rounding": "stochastic", "seed": 7, "step": 3}

def gathered(part):
    parts = [torch.empty_like(part) for _ in range(2)]
    dist.all_gather(parts, part.contiguous())
    return parts

same = gathered(hu.quantize(whole, "mxfp4", **sr))
assert torch.equal(same[0], same[1])  # identical inputs, identical operands

shard = hu.Shard(start=(4 * rank, 0), global_shape=(8, 64))
assert torch.equal(torch.cat(gathered(hu.quantize(mine, "fp8_e4m3", offset=shard, **sr))), hu.quantize(whole, "fp8_e4m3", **sr))
own = gathered(hu.quantize(whole, "fp8_e4m3", stream=rank, **sr))
assert not torch.equal(own[0], own[1])  # streams of their own

amax = mine.abs().max()
dist.all_reduce(amax, dist.ReduceOp.MAX)
for fmt in ("nvfp4", "int8_per_tensor"):
    assert torch.equal(torch.cat(gathered(hu.quantize(mine, fmt, amax=amax))), hu.quantize(whole, fmt))


class Layer(torch.nn.Linear):
    def forward(self, x):
        return torch.nn.functional.linear(hu.quantize(x, "mxfp8"), hu.quantize(self.weight, "mxfp4", **sr), self.bias)

torch.manual_seed(0)
model = DistributedDataParallel(Layer(64, 16))
optimizer = torch.optim.SGD(model.parameters(), 0.1)
for step in range(2):
    optimizer.zero_grad()
    model(mine).square().sum().backward()
    optimizer.step()
weights = gathered(model.module.weight.detach())
assert torch.equal(weights[0], weights[1])
operands = gathered(hu.quantize(model.module.weight.detach(), "mxfp4", **sr))
assert torch.equal(operands[0], operands[1])
dist.destroy_process_group()
print("rank", rank, "agrees")
"""


def test_two_ranks_on_gloo(tmp_path):
    script = tmp_path / "ranks.py"
    script.write_text(RANKS)
    command = [sys.executable, str(script)]
    ranks = [
        subprocess.Popen([*command, str(rank), str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for rank in range(2)
    ]  # fmt: skip
    for rank, process in enumerate(ranks):
        output, _ = process.communicate(timeout=120)
        assert f"rank {rank} agrees" in output, output
