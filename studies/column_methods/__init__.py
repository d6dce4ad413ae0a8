"""Repairing quantized weights: column by column, by a product of low rank, by scales of other shapes."""

from .study import STUDY as STUDY
