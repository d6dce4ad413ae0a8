"""Which minifloats and integers of 3 to 8 bits serve trained networks, what methods repair, and what units cost."""

from .study import STUDY as STUDY
