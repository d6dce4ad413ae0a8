"""Low-bit methods beyond formats: what can be recomputed of them without training a model."""

from .study import STUDY as STUDY
