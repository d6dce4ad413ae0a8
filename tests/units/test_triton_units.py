"""What the compiler makes of the matrix unit for a GPU without one; `tests/interpreted` has the results."""

import re

import pytest

pytest.importorskip("triton", reason="Triton has wheels for Linux only")

from ..emulate.test_triton import count, in_a_process


@pytest.fixture(scope="module")
def compilation(tmp_path_factory):
    folder, cache = tmp_path_factory.mktemp("ptx"), tmp_path_factory.mktemp("cache")
    done = in_a_process("-m", "tests.support.triton_units_compile", str(folder), TRITON_CACHE_DIR=str(cache))
    assert done.returncode == 0, done.stdout + done.stderr
    return {path.stem: path.read_text() for path in folder.glob("*.ptx")}, done.stdout


def test_nothing_flushes_or_fuses(compilation):
    kernels = compilation[0]
    assert len(kernels) >= 5
    for name, ptx in kernels.items():
        assert ".ftz" not in ptx, name
        fused = count(ptx, r"fma\.rn\.f(32|64)")
        assert (fused > 0) == (name == "fused"), name


def test_every_operation_is_rounded_to_nearest(compilation):
    for name, ptx in compilation[0].items():
        assert not re.search(r"\b(add|mul|sub|fma)\.(rz|rm|rp|approx)", ptx), name
    fp16 = compilation[0]["fp16"]
    assert count(fp16, r"mul\.(rn\.)?f32") == count(fp16, r"add\.(rn\.)?f32") == 16  # results of a thread
    wide = compilation[0]["fp22_wide_blocked"]
    assert count(wide, r"cvt\.rn\.f32\.f64") == 16


def test_formats_and_shapes_are_run_time_data(compilation):
    keys = [line.split("\t") for line in compilation[1].splitlines()]
    assert len(keys) >= 5
    for group in {name for name, _ in keys}:
        assert len({key for name, key in keys if name == group}) == 1, group
