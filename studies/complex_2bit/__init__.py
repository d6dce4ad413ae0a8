"""Complex weights of two bits against ternary and binary ones, trained at equal storage and at equal shapes."""

from .study import STUDY as STUDY
