"""Numerical algorithms in low precision: refinement, sums, the heat equation, polar factors, accumulators."""

from .study import STUDY as STUDY
