"""The Triton kernels on CPU tensors, in Triton's interpreter.

Triton reads TRITON_INTERPRET as its kernels are defined, so these tests have a process of their own, which
`tests/emulate/test_triton.py` starts; other runs of pytest pass them by. By hand:

    TRITON_INTERPRET=1 python -m pytest tests/interpreted
"""

import os

import numpy as np
import pytest

collect_ignore_glob = [] if os.environ.get("TRITON_INTERPRET") == "1" else ["test_*.py"]


@pytest.fixture(autouse=True)
def quiet():
    """The interpreter computes in NumPy, whose words about overflow say nothing here."""
    with np.errstate(all="ignore"):
        yield
