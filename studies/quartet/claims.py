"""The claims of the study of Quartet, with their rules."""

from typing import Any

from ..claims import FORMULA, REFIT, Claim
from ..rules import Between, Equal, Printed, Within

PAPER, PAPER_2 = "arXiv:2505.14669v4", "arXiv:2601.22813"
NOTEBOOK_OF = "IST-DASLab/Quartet, notebooks/plots.ipynb"
QUARTET_ROW = ["3.49", "3.38", "3.29", "3.24", "3.20"]
LUQ_INT4 = (3.73, 3.68, 3.66, 3.43, 3.40)
"""The best of the other methods in table 3."""
_RANDOM = Within(relative=0.02, why="printed values are means of random data")
_UNBIASED = Within(absolute=1e-3, why="the printed .0006 of an unbiased method shows how far such a mean is from 0")
_TOLERANCE = Within(relative=1e-5, why="tolerance of the optimizer")


def _refit(id: str, statement: str, published: Any, rule: Any, source: str = NOTEBOOK_OF) -> Claim:
    return Claim(id, statement, source, published, REFIT, rule)


def _values(id: str, statement: str, published: Any, rule: Any, source: str = f"{PAPER}, table 2") -> Claim:
    return Claim(id, statement, source, published, FORMULA, rule)


_LAW = (
    _refit("rows", "The notebook's coefficients of its three forms (free; gamma = 1; beta = 1) have its costs on "
           "the 24 runs in BF16: the 22 of 30M to 200M, and one each of 430M and 800M.", ["2.13e-6", "9.11e-6",
           "1.53e-5"], Printed()),
    _refit("coefficients", "The best fit with all coefficients free: A, alpha, B, beta, E, gamma.",
           [127444.69, 0.57852, 465834.31, 0.538877, 1.340846, 0.276416], _TOLERANCE),
    _refit("cost_gamma_1", "The best fit with gamma = 1 has a cost of 9.11e-6.", "9.11e-6", Printed()),
    _refit("cost_beta_1", "The best fit with beta = 1 has a cost of 1.53e-5.", "1.53e-5", Printed()),
    _refit("table_6", "Table 6's coefficients are those of the fit: each lies in the 95% interval of resampled fits.",
           True, Equal(), f"{PAPER}, table 6"),
    _refit("order_of_forms", "Forms from best to worst: all free, gamma = 1, beta = 1.",
           ["free", "gamma=1", "beta=1"], Equal()),
    _refit("held_out_form", "The form with all coefficients free also predicts best: sizes left out of the fit "
           "(root mean square over four), and the larger models from those of up to 200M.", ["free", "free"], Equal(),
           PAPER),
    _refit("larger_models", "Fitted to models of up to 200M, the law predicts four more trainings (430M, 800M, "
           "two longer ones), each within its 95% interval.", True, Equal(), PAPER),
    _refit("notebook_efficiencies", "The notebook's efficiencies, with its law: eff_N of QuEST forward, eff_D of "
           "stochastic rounding backward.", [0.6451631, 0.8934685], _TOLERANCE),
    _refit("eff_n", "Table 2's eff_N of forward passes, with the law fitted here: QuEST, nearest, stochastic.",
           ["0.64", "0.59", "0.42"], Printed(), f"{PAPER}, table 2"),
    _refit("eff_n_interval", "Table 2's eff_N lie in the 95% intervals of resampled fits: QuEST, nearest, "
           "stochastic.", [True, True, True], Equal(), f"{PAPER}, table 2"),
    _refit("eff_d", "Table 2's eff_D of backward passes, with the law fitted here: nearest, stochastic.",
           ["0.93", "0.88"], Printed(), f"{PAPER}, table 2"),
    _refit("eff_d_interval", "Table 2's eff_D lie in the 95% intervals of resampled fits: nearest, stochastic.",
           [True, True], Equal(), f"{PAPER}, table 2"),
    _refit("eff_d_quest", "The eff_D of QuEST in the backward pass is .83 (marked with an asterisk).", "0.83",
           Printed(), f"{PAPER}, table 2"),
    _refit("rtn_backward", "Nearest rounding in the backward pass loses less than stochastic rounding: the mean "
           "difference of their losses (nats) over all pairs of runs is below 0.", 0.0, Between(high=0.0),
           f"{PAPER}, erratum"),
    _refit("rtn_gap_shrinks", "The difference shrinks with data: its slope (nats for each doubling of tokens a "
           "parameter) is above 0.", 0.0, Between(low=0.0), f"{PAPER}, erratum"),
    _refit("table_3", "Quartet's losses at 30M and 25 to 400 tokens a parameter are those of the published runs "
           "(QuEST forward, stochastic backward).", QUARTET_ROW, Printed(), f"{PAPER}, table 3"),
    _refit("table_3_best", "Each is below LUQ-INT4's printed loss, the best of the other methods.", True, Equal(),
           f"{PAPER}, table 3"),
    Claim("speed_ups", "A step is 1.2, 1.5 and 2 times as fast as in FP8 with the passes FP4:FP8, FP8:FP4 and "
          "FP4:FP4, two thirds of it being the backward pass.", PAPER, ["1.2", "1.5", "2.0"],
          FORMULA, Printed()),
    _refit("fp4_is_optimal", "With those speed-ups, FP4 in both passes is the best of the four pairs for some "
           "sizes and data (QuEST forward, nearest backward).", True, Equal(), PAPER),
)  # fmt: skip

_TABLE_2 = (
    _values("error_sr", "Relative squared error of stochastic rounding, its scale the floor over 3/4, averaged "
            "over scales of the data.", 2.77e-2, _RANDOM),
    _values("error_rtn", "The same of nearest rounding.", 1.37e-2, _RANDOM),
    _values("error_quest", "The same of QuEST, its scale the nearest power of two.", 1.32e-2, _RANDOM),
    _values("error_quest_floor", "The same of QuEST, its scale the power of two below, as in the published "
            "code.", 1.32e-2,
            _RANDOM),
    _values("misalignment_sr", "Misalignment of stochastic rounding.", 0.0, _UNBIASED),
    _values("misalignment_rtn", "Misalignment of nearest rounding.", 9.3e-3, _RANDOM),
    _values("misalignment_quest", "Misalignment of QuEST, its scale the nearest power of two.", 1.3e-2, _RANDOM),
)  # fmt: skip


_AGAIN = f"{PAPER}; recomputed on random data"
_RECOMPUTED = (
    Claim("sizes", "The parameters of 30M, 50M, 100M and 200M are those of Llama's blocks and norms: 6, 7, 8, 10 "
          "layers of widths 640, 768, 1024, 1280, feed-forward layers of 8/3 of that, rounded up to a multiple of 256.",
          "IST-DASLab/Quartet, main_setup.sh and src/models/llama.py",
          [30482560, 49556736, 102777856, 203188480], FORMULA, Equal()),
    _values("sr_recomputed", "Averaged over scales, the error of stochastic rounding is 2.779e-2.", 2.779e-2, _RANDOM,
            _AGAIN),
    _values("rtn_recomputed", "Error and misalignment of nearest rounding are 1.367e-2 and 9.47e-3.",
            [1.367e-2, 9.47e-3], _RANDOM, _AGAIN),
    _values("quest_recomputed", "Those of QuEST with the nearest power of two are 1.338e-2 and 1.5e-2.",
            [1.338e-2, 1.5e-2], _RANDOM, _AGAIN),
    _values("ocp_recomputed", "Those of nearest rounding with OCP's floor are 1.335e-2 and 2.17e-2.",
            [1.335e-2, 2.17e-2], _RANDOM, _AGAIN),
    _values("one_phase_recomputed", "At a standard deviation of 1 the errors of nearest and of stochastic rounding are "
            "1.386e-2 and 2.817e-2.", [1.386e-2, 2.817e-2], _RANDOM, _AGAIN),
)  # fmt: skip


def _second(id: str, statement: str, published: float, rule: Any = _RANDOM) -> Claim:
    return _values(id, statement, published, rule, f"{PAPER_2}, table of quantizers")


_QUARTET_2 = (
    _second("nvfp4_rtn", "NVFP4, nearest: relative squared error. The largest element becomes 6 / (17/16 * .93), "
            "as in MS-EDEN.", 9.0e-3),
    _second("nvfp4_rtn_misalignment", "NVFP4, nearest, the same: misalignment.", 0.0079),
    _second("nvfp4_sr", "NVFP4, stochastic: error. The largest element becomes 6 / (17/16).", 23.5e-3),
    _second("nvfp4_sr_misalignment", "NVFP4, stochastic: misalignment.", 0.0, _UNBIASED),
    _second("nvfp4_eden", "NVFP4, MS-EDEN in groups of 128: error.", 9.8e-3),
    _second("nvfp4_eden_misalignment", "NVFP4, MS-EDEN: misalignment.", 0.0006, _UNBIASED),
    _second("mxfp4_rtn", "MXFP4, nearest, the best of three neighbouring powers of two for each block: error.",
            12.53e-3),
    _second("mxfp4_rtn_misalignment", "MXFP4, nearest, the same: misalignment.", 0.0115),
    _second("mxfp4_sr", "MXFP4, stochastic, the floor over 3/4, averaged over scales of the data: error.", 27.78e-3),
    _second("mxfp4_sr_misalignment", "MXFP4, stochastic: misalignment.", 0.0, _UNBIASED),
    _second("mxfp4_eden", "MXFP4, EDEN in groups of 128, averaged over scales of the data: error.", 26.22e-3),
    _second("mxfp4_eden_misalignment", "MXFP4, EDEN: misalignment.", 0.0, _UNBIASED),
    _second("four_over_six_before", "NVFP4, nearest, the largest element 6, blocks of 1x16: error.", 9.0e-3),
    _second("four_over_six", "Four-over-six, blocks of 1x16: error.", 7.6e-3),
    _second("four_over_six_squares", "In blocks of 16x16 four-over-six gains nothing: its error over that "
            "without.", 1.0),
    _second("averaging", "The error of averaged products of stochastically rounded matrices falls as one over "
            "their number: the slope between logarithms, NVFP4, 1 to 32 products.", -1.0),
)  # fmt: skip

CLAIMS = (*_LAW, *_TABLE_2, *_RECOMPUTED, *_QUARTET_2)
