"""Grids of numbers: what each format loses on random data, by exact integration, and the small print of grids."""

from .study import STUDY as STUDY
