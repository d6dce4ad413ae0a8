"""What was published on algorithms in low precision, and the rules that decide whether it was found again."""

from typing import Any

from ..claims import FORMULA, Claim
from ..rules import Between, Equal, Printed, Within

REFINEMENT = "Carson and Higham, SIAM J. Sci. Comput. 40(2), 2018"
HARMONIC = "Higham, Half precision arithmetic: fp16 versus bfloat16, nhigham.com, 2018"
STOCHASTIC = "Connolly, Higham and Mary, SIAM J. Sci. Comput. 43(1), 2021"
HEAT = "Croci and Giles, arXiv:2010.16225, abstract"
EXPRESS = "arXiv:2505.16932"
DEEPSEEK = "arXiv:2412.19437, section 3.3.2"
RANDOM = "matrices are random, and those of the published number unknown"
PUBLISHED_QUINTICS = ("8.2872", "-23.5959", "17.3004", "4.1071", "-2.9478", "0.5448", "3.9487", "-2.9089", "0.5518",
                      "3.3184", "-2.4885", "0.5100", "2.3007", "-1.6689", "0.4188", "1.8913", "-1.2680", "0.3768",
                      "1.875", "-1.25", "0.375")  # fmt: skip
_RATE = "rates hold in the limit; lengths are finite"


def _claim(id: str, statement: str, source: str, published: Any, rule: Any) -> Claim:
    return Claim(id, statement, source, published, FORMULA, rule)


CLAIMS = (
    _claim("lu_limit", "With LU factors in fp16, binary32 working and binary64 residuals, refinement gives full single "
           "accuracy up to a condition number of 10**4 (log10; randsvd mode 3, n = 32).",
           f"{REFINEMENT}, abstract", "4", Printed()),
    _claim("lu_at_limit", "It does so for every matrix with a condition number of 10**4 (12 matrices).",
           f"{REFINEMENT}, abstract", True, Equal()),
    _claim("lu_rate", "The limit is in inverse proportion to the unit roundoff of the factors (power; formats of 5 to "
           "14 bits).", REFINEMENT, 1.0, Within(absolute=0.1, why=_RATE)),
    _claim("gmres_limit", "With GMRES preconditioned by these factors the limit is 10**8 (log10 of the largest power "
           "of ten at which all of 5 matrices are solved; n = 24).",
           f"{REFINEMENT}, abstract", "8", Printed()),
    _claim("gmres_fp8", "GMRES with factors of u_f converges for all kappa up to u**(-1/2) / u_f, 6.6e4 for E4M3 "
           "factors (recomputed; 5 matrices).", f"{REFINEMENT}; the bound as in Amestoy et al., SIAM J. Matrix Anal. "
           "Appl. 45(1), 2024", True, Equal()),
    _claim("working_residual", "With residuals in the working precision the forward error grows with kappa (power, "
           "10**2 to 10**5, LU factors of 17 bits).",
           REFINEMENT, 1.0, Within(absolute=0.15, why=_RATE)),
    _claim("double_residual", "With residuals in twice the working precision it does not (power).",
           REFINEMENT, 0.0, Within(absolute=0.05, why=_RATE)),
    _claim("backward_error", "In both cases the backward error is of the order of the working precision (largest, in "
           "u).", REFINEMENT, 1.0, Between(high=4.0)),
    _claim("harmonic_bf16", "1 + 1/2 + 1/3 + ... in bfloat16 stops at 5.0625, with 65 terms.", HARMONIC,
           ["5.0625", "65"], Printed()),
    _claim("harmonic_fp16", "In fp16 it stops at 7.0859, with 513 terms.", HARMONIC, ["7.0859", "513"], Printed()),
    _claim("harmonic_fp32", "In binary32 it stops at 15.404, with 2097152 terms.", HARMONIC, ["15.404", "2097152"],
           Printed()),
    _claim("stochastic_mean", "Under stochastic rounding its expectation is the exact sum (4096 terms in fp16, mean "
           "over runs, over the exact sum).", STOCHASTIC, 1.0,
           Within(absolute=0.003, why="sampling error of the mean of 400 runs")),
    _claim("nearest_constant", "Errors of inner products of constant vectors grow like n u under rounding to nearest "
           "(power of n, fp16).", STOCHASTIC, 1.0, Within(absolute=0.1, why=_RATE)),
    _claim("nearest_centred", "Those of vectors of zero mean do not grow (power of n, backward error).",
           "Higham and Mary, SIAM J. Sci. Comput. 42(5), 2020", 0.0, Within(absolute=0.1, why=_RATE)),
    _claim("stochastic_constant", "Under stochastic rounding errors grow like sqrt(n) u: constant vectors (power).",
           STOCHASTIC, 0.5, Within(absolute=0.1, why=_RATE)),
    _claim("stochastic_uniform", "And uniform vectors from [0, 1] (power).", STOCHASTIC, 0.5,
           Within(absolute=0.1, why=_RATE)),
    _claim("stochastic_bound", "No stochastically rounded inner product exceeds the probabilistic bound for 99%.",
           STOCHASTIC, True, Equal()),
    _claim("nearest_exceeds", "Rounding to nearest exceeds it, for long constant vectors.", STOCHASTIC,
           True, Equal()),
    _claim("heat_stagnates", "Rounded to nearest the heat equation stagnates for small time steps (fp16: nothing moves "
           "in the last hundredth of the steps or longer).", HEAT, True, Equal()),
    _claim("heat_nearest", "The error of rounding to nearest grows like u / dt (power of 1/dt).", HEAT, 1.0,
           Within(absolute=0.1, why=_RATE)),
    _claim("heat_stochastic", "That of stochastic rounding grows at most like u dt**(-1/4) in one dimension (power).",
           HEAT, 0.25, Between(high=0.25)),
    _claim("heat_moves", "Under stochastic rounding it does not stagnate.", HEAT, True, Equal()),
    _claim("express_coefficients", "The coefficients of Polar Express for singular values from 10**-3, without safety "
           "factors.", EXPRESS, list(PUBLISHED_QUINTICS), Printed()),
    _claim("express_ends", "Six steps of Polar Express in bfloat16, condition 100: singular values in [.9925, 1.0073] "
           "(recomputed; n = 128).", EXPRESS, [0.9925, 1.0073], Within(relative=0.02, why=RANDOM)),
    _claim("muon_ends", "Six steps of Muon's quintic: in [.675, 1.140] (recomputed).", EXPRESS, [0.675, 1.140],
           Within(relative=0.02, why=RANDOM)),
    _claim("tensor_core", "Sums of 4096 FP8 products that keep 14 bits have errors of nearly 2% at most (uniform "
           "matrices, 13 bits below the leading one of 32 aligned products).", DEEPSEEK, 0.02, Between(0.015, 0.02)),
    _claim("promotion", "Adding to binary32 every 128 products makes the error independent of the length (power of n, "
           "128 to 4096).", DEEPSEEK, 0.0, Within(absolute=0.05, why=_RATE)),
    _claim("int8", "A 32-bit accumulator holds every sum of up to 131071 products of int8; the next one may wrap.",
           "arXiv:2308.13504", [2147467264, -2147483648], Equal()),
)  # fmt: skip
