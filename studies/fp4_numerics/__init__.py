"""What four-bit training recipes rest on: derivatives, constants of scales, unbiased products, transforms."""

from .study import STUDY as STUDY
