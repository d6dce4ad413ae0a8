"""Every backend equals the rational reference."""

import numpy as np
import pytest

from halfulp.formats.registry import NAMED
from halfulp.formats.rounding import DETERMINISTIC

from ..support.backends import BACKENDS
from ..support.cases import NARROW, both_sides, expected, explain, layouts_for


@pytest.mark.parametrize("name", NARROW)
def test_every_code_and_both_sides_of_every_breakpoint(name):
    fmt = NAMED[name]
    for layout in layouts_for(fmt):
        bits = both_sides(fmt, layout)
        for mode in DETERMINISTIC:
            want = expected(fmt, layout, mode, None, bits)
            for backend, run in BACKENDS.items():
                got = run(bits, fmt, layout, rounding=mode)
                assert np.array_equal(got, want), (backend, layout.name, mode.name, explain(bits, got, want, layout))
