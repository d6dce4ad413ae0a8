"""Which minifloats and integers serve trained networks after training, what repairs them, and what units cost.

Networks are trained in float32 and quantized in every format of 3 to 8 bits; each case is compared with another of the
same networks.
"""

import json
import os
from collections.abc import Callable
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import pandas

from ...sim.training.checkpoints import versions
from ..column_methods import compensation
from ..study import FULL, QUICK, Context, Findings, Study
from .analysis import Table, best_layouts, by_format, comparisons, effects, fronts, measured, premium
from .claims import CLAIMS, PAPER
from .jax_sites import Program
from .models import SETTINGS, Network, Setting, batches, task_of, trained
from .pictures import bits_picture, effects_picture, front_picture
from .plan import PLANS, Plan, cases
from .quantizing import Subject
from .weights import matrix_of

_SOURCES = ("arXiv:2004.10568", "arXiv:2210.17323", "arXiv:1906.04721", "arXiv:2211.10438")


def quantized(setting: Setting, plan: Plan, context: Context, done: Callable[[str], None]) -> Table:
    """All cases of a plan for the networks of a setting: a row a network and case.

    Returns:
        Columns model, seed, weights, activations ('' for float32), method, loss, accuracy, divergence, depth (terms of
        the longest sums).
    """
    folder = None if context.folder is None else context.folder / "networks"
    networks = trained(setting, plan.seeds, folder, lambda now, total: context.report(now, total, "training"))
    program, (calibration, validation) = Program(task_of(setting)), batches(setting)
    rows = []
    for seed, network in enumerate(networks):
        path = None if folder is None else folder / f"{context.scale}_{setting.name}_{seed}.json"
        key = _key(setting, plan)
        found = _read(path, key)
        if found is None:
            found = _measured(Subject(program, network, calibration, validation), plan, setting.name)
            if path is not None:
                _keep(path, {"key": key, "rows": found})
        depth = _depth(network, program.sites)
        rows += [{"model": setting.name, "seed": seed, **row, "depth": depth} for row in found]
        done(f"{setting.name}, seed {seed}")
    return pandas.DataFrame(rows)


def _measured(subject: Subject, plan: Plan, model: str) -> list[dict[str, Any]]:
    return [
        {"weights": case.weights or "", "activations": case.activations or "", "method": case.method,
         **subject.measures(case)._asdict()}
        for case in cases(plan, model)
    ]  # fmt: skip


def _depth(network: Network, sites: list[str]) -> int:
    return max(matrix_of(network[name]).shape[1] for name in sites)


def _key(setting: Setting, plan: Plan) -> str:
    """What decides the measures of a network: its training, the data that judge, the cases, the code, the packages."""
    about = [setting.key, setting.calibration, setting.validation, repr(cases(plan, setting.name)), _code()]
    about.append(repr(sorted(versions().items())))
    return sha256(repr(about).encode()).hexdigest()[:16]


@cache
def _code() -> str:
    """A digest of the code that quantizes."""
    files = [Path(__file__).with_name(f"{name}.py") for name in ("models", "jax_sites", "reparametrized", "weights",
                                                                 "quantizing")]  # fmt: skip
    files.append(Path(compensation.__file__))
    return sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def _keep(path: Path, value: Any) -> None:
    """Write it whole or not at all."""
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(value))
    os.replace(part, path)


def _read(path: Path | None, key: str) -> list[dict[str, Any]] | None:
    """Measures that need not be repeated; None where there are none of this plan and code."""
    if path is None or not path.exists():
        return None
    try:
        kept = json.loads(path.read_text())
    except ValueError:
        return None  # damaged: measured again
    return kept["rows"] if kept.get("key") == key else None


def run(context: Context) -> Findings:
    """Train what is not kept, quantize, judge: minutes at any scale."""
    plan = PLANS.get(context.scale, PLANS[FULL])
    total, finished = plan.seeds * len(SETTINGS), 0

    def done(what: str) -> None:
        nonlocal finished
        finished += 1
        context.report(finished, total, what)

    table = pandas.concat([quantized(setting, plan, context, done) for setting in SETTINGS.values()], ignore_index=True)
    found, front = effects(table), fronts(table)
    return Findings(
        measured(table),
        {
            "by_format": by_format(table),
            "effects": found,
            "fronts": front,
            "best_layouts": best_layouts(table),
            "premium": premium(table),
            "comparisons": comparisons(table),
        },
        {"bits": bits_picture(table), "front": front_picture(front), "methods": effects_picture(found)},
        table,
    )


STUDY = Study(
    "ptq_minifloats",
    "Minifloats and integers after training",
    "Do minifloats of 3 to 8 bits beat integers after training, also when units cost what they cost?",
    (PAPER, *_SOURCES),
    CLAIMS,
    run,
    (QUICK, FULL),
)
