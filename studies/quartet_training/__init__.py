"""Which roundings of Quartet's passes in FP4 are best, trained here: small networks, paired seeds."""

from .study import STUDY as STUDY
