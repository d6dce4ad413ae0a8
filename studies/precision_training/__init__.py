"""What precision costs small language models, in training and after it, trained here."""

from .study import STUDY as STUDY
