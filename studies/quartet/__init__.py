"""Quartet: its law refitted to the published losses, efficiencies of FP4 passes, and the errors of its quantizers."""

from .study import STUDY as STUDY
