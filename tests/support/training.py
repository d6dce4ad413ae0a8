"""Small networks that train on real data in torch: handwritten digits, and the sources of the standard library."""

import pathlib
import sysconfig
from functools import lru_cache

import halfulp as hu
import numpy as np
import torch


@lru_cache(maxsize=1)
def digits():
    """Training and test images (n, 64) in [0, 1] and labels, of scikit-learn's scans."""
    from sklearn.datasets import load_digits

    data = load_digits()
    order = np.random.default_rng(0).permutation(len(data.target))
    x = torch.tensor(data.data[order] / 16, dtype=torch.float32)
    y = torch.tensor(data.target[order])
    return x[:1437], y[:1437], x[1437:], y[1437:]


def digits_accuracy(recipe, seed, steps=300, batch=128):
    """Test accuracy in percent after training; the last layer stays as it is, as in all published recipes."""
    torch.manual_seed(seed)
    x, y, x_test, y_test = digits()
    model = torch.nn.Sequential(
        *(torch.nn.Linear(64, 128), torch.nn.ReLU(), torch.nn.Linear(128, 128), torch.nn.ReLU()),
        torch.nn.Linear(128, 10),
    )
    if recipe is not None:
        hu.quantize_(model, [("4", None), ("*", recipe)], seed=seed)
    parameters = [*model.parameters(), *(hu.extra_parameters(model) if recipe is not None else [])]
    optimizer = torch.optim.AdamW(parameters, lr=3e-3, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        rows = torch.randint(0, len(x), (batch,), generator=generator)
        loss = torch.nn.functional.cross_entropy(model(x[rows]), y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if recipe is not None:
            hu.advance_(model)
    model.eval()
    with torch.no_grad():
        return 100 * float((model(x_test).argmax(1) == y_test).float().mean())


@lru_cache(maxsize=1)
def text():
    """Bytes of modules of the standard library: (training, validation), split by file."""
    files = sorted(pathlib.Path(sysconfig.get_path("stdlib")).glob("*.py"))
    read = lambda part: torch.tensor(list(b"".join(f.read_bytes() for f in part)), dtype=torch.uint8)  # noqa: E731
    return read([f for k, f in enumerate(files) if k % 10]), read(files[::10])


class Block(torch.nn.Module):
    """Attention and a gated layer, with a norm before each."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = torch.nn.RMSNorm(width), torch.nn.RMSNorm(width)
        self.qkv = torch.nn.Linear(width, 3 * width, bias=False)
        self.out = torch.nn.Linear(width, width, bias=False)
        self.up = torch.nn.Linear(width, 4 * width, bias=False)
        self.down = torch.nn.Linear(2 * width, width, bias=False)

    def forward(self, x):
        batch, length, width = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(batch, length, width))
        gate, up = self.up(self.norm2(x)).chunk(2, -1)
        return x + self.down(torch.nn.functional.silu(gate) * up)


class Transformer(torch.nn.Module):
    """A byte-level language model."""

    def __init__(self, width=128, depth=2, heads=4, length=64):
        super().__init__()
        self.token, self.place = torch.nn.Embedding(256, width), torch.nn.Embedding(length, width)
        self.blocks = torch.nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm, self.head = torch.nn.RMSNorm(width), torch.nn.Linear(width, 256, bias=False)

    def forward(self, tokens):
        x = self.token(tokens) + self.place.weight[: tokens.shape[1]]
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


def bits_per_byte(recipe, steps=300, seed=0, batch=16, length=64):
    """Validation loss in bits after training on the standard library; embeddings and head stay as they are."""
    torch.manual_seed(seed)
    train, held_out = text()
    model = Transformer(length=length)
    if recipe is not None:
        hu.quantize_(model, [("blocks.*.norm?", None), ("blocks.*.*", recipe)], seed=seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, steps)
    generator = torch.Generator().manual_seed(seed)
    window = torch.arange(length + 1)

    def loss_on(data, many):
        starts = torch.randint(0, len(data) - length - 1, (many,), generator=generator)
        rows = data[starts[:, None] + window].long()
        scores = model(rows[:, :-1])
        return torch.nn.functional.cross_entropy(scores.reshape(-1, 256), rows[:, 1:].reshape(-1))

    for _ in range(steps):
        loss = loss_on(train, batch)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if recipe is not None:
            hu.advance_(model)
    model.eval()
    generator.manual_seed(123)
    with torch.no_grad():
        return float(loss_on(held_out, 256)) / float(np.log(2))
