"""Which choices of FP4 training matter: a factorial of trainings, its effects, and what each recipe costs."""

from .study import STUDY as STUDY
