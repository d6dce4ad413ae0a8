"""Ternary weights with a gated low-rank path: how much of the gap to full precision it closes, for how much memory."""

from .study import STUDY as STUDY
