"""Every named scaled format, every rule and granularity, equals the rational reference on every backend."""

import re

import halfulp as hu
import numpy as np
import pytest
from halfulp.formats.scaled_registry import SCALED

from ..support.cases import FLOATS
from ..support.exact_scaled import Reference
from ..support.scaled_cases import BACKENDS, arrays_of, same_bits

NAMES = list(SCALED)


def check(fmt, x, backends, **options):
    """Codes, scales and values of one array on some backends against the reference."""
    dtype = x.dtype.name
    want = Reference(fmt, dtype, **options).run(x)
    options = {**options, "pad": True}
    for backend in backends:
        values = BACKENDS[backend].values(x, fmt, **options)
        assert same_bits(values, want.values, dtype), (backend, fmt.name, dtype, differences(x, values, want.values))
        if fmt.scale.nan_code is None and fmt.element.nan_code is None and np.isnan(want.values).any():
            with pytest.raises(ValueError, match=f"{re.escape(fmt.name)} has no code for NaN"):
                hu.encode(x, fmt, pad=True)
            continue
        codes = BACKENDS[backend].codes(x, fmt, **options)
        if codes is None:
            continue
        for name in ("elements", "scales", "outer", "zero_points"):
            expected = getattr(want, name)
            got = codes.get(name)
            assert (got is None) == (expected is None), (backend, fmt.name, name)
            if expected is not None:
                assert np.array_equal(got.astype(np.int64), expected), (backend, fmt.name, dtype, name, got, expected)
        for level, expected in enumerate(want.micro):
            assert np.array_equal(codes[f"micro{level}"].astype(np.int64), expected), (backend, fmt.name, level)


def differences(x, got, want):
    got, want = np.asarray(got, np.float64), np.asarray(want, np.float64)
    wrong = np.flatnonzero(~((got == want) | (np.isnan(got) & np.isnan(want))).reshape(-1))[:4]
    return [(float(x.reshape(-1)[k]).hex(), float(got.reshape(-1)[k]), float(want.reshape(-1)[k])) for k in wrong]


@pytest.mark.parametrize("dtype", list(FLOATS))
@pytest.mark.parametrize("name", NAMES)
def test_named_formats(name, dtype):
    for x in arrays_of(dtype).values():
        check(SCALED[name], x, ["numpy", "torch", "torch_portable"])
