"""Two processes on gloo: DistributedDataParallel and FSDP2 train a wrapped model to the same bits."""

import subprocess
import sys

RANKS = """
import sys

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from halfulp.sim.wrapping.wrapping import advance_, dequantize_, quantize_, state_dict

rank, path = int(sys.argv[1]), sys.argv[2]
torch.set_num_threads(1)
dist.init_process_group("gloo", init_method=f"file://{path}/meeting", rank=rank, world_size=2)
mesh = init_device_mesh("cpu", (2,))
whole = torch.randn(128, 64, generator=torch.Generator().manual_seed(1))
mine = whole.chunk(2)[rank] * (1 + rank)

def fresh():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 64), nn.GELU(), nn.Linear(64, 64))

def sharded(model):
    for layer in model[0], model[2]:
        fully_shard(layer, mesh=mesh)
    return fully_shard(model, mesh=mesh)

def trained(model, group=None):
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    for _ in range(3):
        optimizer.zero_grad()
        model(mine).square().mean().backward()
        optimizer.step()
        advance_(model, group=group)
    return [p.full_tensor() if hasattr(p, "full_tensor") else p for p in map(torch.Tensor.detach, model.parameters())]

def gathered(t):
    parts = [torch.empty_like(t) for _ in range(2)]
    dist.all_gather(parts, t.contiguous())
    return parts

plain = trained(DistributedDataParallel(fresh()))
rules = [("0", "mxfp4_sr_rht"), ("2", "fp8_delayed")]
group = dist.group.WORLD
replica = quantize_(fresh(), rules)
want = trained(DistributedDataParallel(replica, broadcast_buffers=False), group)
assert not torch.equal(want[0], plain[0])
carried = list(state_dict(replica).values())
for t in (*want, *carried):
    assert torch.equal(*gathered(t))
after = dequantize_(replica)
for model in (sharded(quantize_(fresh(), rules)), quantize_(sharded(fresh()), rules)):
    assert all(torch.equal(a, b) for a, b in zip(trained(model, group), want))
    assert all(torch.equal(a, b) for a, b in zip(state_dict(model).values(), carried))
    dequantize_(model)  # classes that FSDP2 put on top stay, and compute what torch's do
    assert torch.equal(model(mine), after(mine))
dist.destroy_process_group()
print("rank", rank, "agrees")
"""


def test_two_ranks_on_gloo(tmp_path):
    """The same noise and, in a group, the same delayed scales on both ranks; weights that are gathered, and freed."""
    script = tmp_path / "ranks.py"
    script.write_text(RANKS)
    command = [sys.executable, str(script)]
    ranks = [
        subprocess.Popen(
            [*command, str(rank), str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for rank in range(2)
    ]
    for rank, process in enumerate(ranks):
        output, _ = process.communicate(timeout=180)
        assert f"rank {rank} agrees" in output, output
