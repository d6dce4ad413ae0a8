"""Formats and learning rates that make trainings unstable: divergence, spikes, sharpness, and a proxy with its cure."""

from .study import STUDY as STUDY
