"""Stores of made-up runs."""

import math

import numpy as np
import typer
from halfulp.sim.sweeps import commands_report, commands_runs
from halfulp.sim.sweeps.records import Planned, Row
from halfulp.sim.sweeps.store import Store
from typer.testing import CliRunner

FORMATS = [f"e{e}m{m}" for e in range(1, 6) for m in range(5)] + [f"int{k}" for k in range(2, 17)]
HOSTILE = {
    "script": "</script><script>document.title='broken'</script>",
    "comment": "<!--<script>",
    "tag": "<img src=x onerror=\"document.title='broken'\">",
    "quotes": "\"'`${1+1} \\u003c \\",
    "lines": "a\u2028b\u2029c\nd\re",
    "unicode": "né 日本 \U0001f600 \u202eabc \x00\x1b[31m",
    "long": "x" * 5000,
    "&amp;": "&lt;b&gt;",
    "__proto__": "constructor",
}


def row(number, config, metrics, *, error=None, curves=None, sweep="first"):
    """One run that ended."""
    return Row(
        Planned({"number": number}, {"halfulp": "0.5.0"}, config),
        sweep,
        {} if error else metrics,
        {} if error else curves or {},
        error=error,
        trace=f"Traceback\n  {error}" if error else None,
        versions={"halfulp": "0.5.0", "jax": "0.10"},
        revision="0123456789abcdef",
        host="here",
        started="2026-01-01T00:00:00.000Z",
        finished=f"2026-01-01T{number // 3600 % 24:02d}:{number // 60 % 60:02d}:{number % 60:02d}.000Z",
        seconds=0.5 + number / 1024,
    )


def example_rows(count, steps=0):
    """Runs over formats, rates and seeds: every 50th failed, every 20th diverged."""
    noise = np.random.default_rng(0).standard_normal((count, 2))
    found = []
    for k in range(count):
        name, rate, seed = FORMATS[k % 40], (0.03, 0.1, 0.3)[k // 40 % 3], k // 120
        bits = int(name[1]) + int(name[3]) + 1 if name[0] == "e" else int(name[3:])
        floats = {"exponent_bits": int(name[1]), "mantissa_bits": int(name[3])} if name[0] == "e" else {}
        config = {"task": "digits", "format": name, "kind": "float" if floats else "integer", "bits": bits,
                  "exponent_bits": None, "mantissa_bits": None, **floats, "seed": seed, "learning_rate": rate}  # fmt: skip
        diverged = k % 20 == 7
        loss = math.nan if diverged else 1 / bits + 0.1 * abs(noise[k, 0])
        metrics = {
            "test_accuracy": 0.9 + 0.01 * noise[k, 1],
            "test_loss": loss,
            "train_loss": loss,
            "diverged": diverged,
        }
        curves = {"loss": (2 * 0.98 ** np.arange(steps) + 0.01 * bits).astype(np.float32)} if steps else {}
        error = "ValueError: out of range" if k % 50 == 13 else None
        found.append(row(k, config, metrics, error=error, curves=curves, sweep="second" if k % 2 else "first"))
    return found


def stored(path, rows):
    """A store of rows, at a path."""
    with Store(path) as store:
        store.add(rows)
    return path


def command(*arguments):
    """What `halfulp` with the commands of this folder prints and returns."""
    app = typer.Typer()
    commands_runs.register(app)
    commands_report.register(app)
    return CliRunner().invoke(app, list(map(str, arguments)))
