"""A scaling law of floating-point training, fitted to small language models that are trained here."""

from .study import STUDY as STUDY
