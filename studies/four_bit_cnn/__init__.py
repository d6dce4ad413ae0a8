"""A convolutional network with weights in four bits, and what each part of its recipe is worth."""

from .study import STUDY as STUDY
