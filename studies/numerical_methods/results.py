"""What the experiments on numerical methods give, for pictures and tables."""

from dataclasses import dataclass, field

import numpy as np

from .heat import Heat
from .refinement import Precisions, Solved
from .statistics import Estimate

FORMATS = {"e8m4": 5, "e8m5": 6, "bf16": 8, "e8m8": 9, "fp16": 11, "e8m13": 14}
"""Of LU factors, with their significant bits."""
WIDER = {fmt: bits for fmt, bits in FORMATS.items() if bits >= 8}
RESIDUALS = {"fp32": Precisions("e8m16", residual="fp32"), "fp64": Precisions("e8m16")}
KAPPAS = (2.0, 2.75, 3.5, 4.25, 5.0)
CELLS = (16, 32, 64)
DEPTHS = (128, 512, 1024, 2048, 4096)


@dataclass(slots=True)
class Results:
    """What the experiments give; pictures and tables read it.

    Args:
        limits: of LU by mode and format. sweep: by name, refinements over log10 of kappa.
        residual: by residual format, (kappas, systems) refinements.
        growth: by data and rounding, the errors and the rate. heat: by rounding, a run a grid.
        fp8: by unit, (depths, runs, 32, 32) relative errors.
    """

    limits: dict[tuple[int, str], Estimate] = field(default_factory=dict)
    sweep: dict[str, list[tuple[float, Solved]]] = field(default_factory=dict)
    residual: dict[str, list[list[Solved]]] = field(default_factory=dict)
    growth: dict[tuple[str, str], tuple[np.ndarray, Estimate]] = field(default_factory=dict)
    heat: dict[str, list[Heat]] = field(default_factory=dict)
    fp8: dict[str, np.ndarray] = field(default_factory=dict)
