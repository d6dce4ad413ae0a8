"""INT against FP at block scales (arXiv:2510.25602): where integers win, by formula and by measurement."""

from .study import STUDY as STUDY
