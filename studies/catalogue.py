"""The studies there are, by name; each is imported when it is asked for."""

from importlib import import_module

from ..formats.suggest import unknown
from .study import Study

STUDIES = (
    "fp_scaling_law",
    "precision_law",
    "quartet",
    "number_grids",
    "int_fp",
    "qat_law",
    "hardware_cost",
    "numerical_methods",
    "low_bit_methods",
    "column_methods",
    "fp4_numerics",
    "fp4_design",
    "trained_scaling_law",
    "precision_training",
    "quartet_training",
    "stability",
    "ptq_minifloats",
    "complex_2bit",
    "ternary_correction",
    "four_bit_cnn",
)
"""In the order of the scorecard."""


def list_studies() -> list[str]:
    """The names of the studies.

    Examples:
        >>> list_studies()[0]
        'fp_scaling_law'
    """
    return list(STUDIES)


def study(name: str) -> Study:
    """A study by name: its question, its claims and its run.

    Raises:
        ValueError: an unknown name, with the closest.

    Examples:
        >>> study("fp_scaling_law").claims[0].source
        'arXiv:2501.02423v3'
    """
    if name not in STUDIES:
        raise ValueError(unknown("study", name, STUDIES))
    found: Study = import_module(f".{name}", __package__).STUDY
    return found
