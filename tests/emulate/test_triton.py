"""The Triton kernels: equal to the CPU in Triton's interpreter, and compiled for a GPU without one.

The interpreter proves the logic, not a GPU's arithmetic: `make gpu-check` does that where there is one. What the
compiler makes of float operations shows in the PTX, which needs no GPU either.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="Triton has wheels for Linux only")

ROOT = Path(__file__).parents[2]


def in_a_process(*command, **variables):
    """Run Python with other variables: Triton reads them when it defines kernels."""
    environment = {**os.environ, "TRITON_INTERPRET": "0", **variables}
    return subprocess.run([sys.executable, *command], cwd=ROOT, env=environment, capture_output=True, text=True)


def test_kernels_equal_the_cpu_in_the_interpreter():
    options = ("-p", "no:cacheprovider", "-p", "no:xdist")
    done = in_a_process("-m", "pytest", *options, "tests/interpreted", TRITON_INTERPRET="1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(re.findall(r"(\d+) passed", done.stdout)[0]) > 90


@pytest.fixture(scope="module")
def compilation(tmp_path_factory):
    """What the compiler makes of some kernels for compute capability 9.0: {kernel: PTX}, and the program's output."""
    folder, cache = tmp_path_factory.mktemp("ptx"), tmp_path_factory.mktemp("cache")
    done = in_a_process("-m", "tests.support.triton_compile", str(folder), TRITON_CACHE_DIR=str(cache))
    assert done.returncode == 0, done.stdout + done.stderr
    return {path.stem: path.read_text() for path in folder.glob("*.ptx")}, done.stdout


@pytest.fixture
def compiled(compilation):
    return compilation[0]


def count(ptx, operation):
    return len(re.findall(rf"^\s*(?:@%p\d+ )?{operation}", ptx, re.MULTILINE))


def check_arithmetic(compiled):
    for name, ptx in compiled.items():
        assert ".ftz" not in ptx, name
        assert count(ptx, r"fma\.rn\.f32") == count(ptx, r"fma\.rn\.f64") == 0, name
        assert count(ptx, r"(div\.full|div\.approx|rcp)") == 0, name


def test_nothing_flushes_or_fuses(compiled):
    assert len(compiled) >= 6
    check_arithmetic(compiled)


@pytest.mark.slow
def test_every_kernel_compiles(tmp_path):
    done = in_a_process("-m", "tests.support.triton_compile", str(tmp_path), "--all", TRITON_CACHE_DIR=str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    found = {path.stem: path.read_text() for path in tmp_path.glob("*.ptx")}
    assert len(found) >= 30
    check_arithmetic(found)


def test_division_is_ieee_division(compiled):
    assert count(compiled["int8_per_row"], r"div\.rn\.f32") > 1  # elements are divided
    assert count(compiled["mxfp4"], r"div\.rn\.f32") >= 1  # scales are
    assert count(compiled["mxfp4"], r"mul\.(rn\.)?f32") > 1
    assert count(compiled["fp8_e4m3"], r"(div|mul|add|sub)\S*\.f32") == 0  # integers alone


def test_memory_is_read_in_vectors(compiled):
    for name in ("fp8_e4m3", "fp8_e4m3_stochastic", "mxfp4"):
        assert count(compiled[name], r"ld\.global\.v4\.b32"), name
        assert count(compiled[name], r"st\.global\.v4\.b32"), name


def test_four_elements_share_a_philox_call(compiled):
    """Ten rounds of two multiplications for each four of a thread's 32 elements, of which the compiler saves some."""
    ptx = compiled["fp8_e4m3_stochastic"]
    multiplications = count(ptx, r"mul\.wide\.u32") + count(ptx, r"mul\.hi\.u32") + count(ptx, r"mul\.lo\.s64")
    assert 10 * 2 * 32 // 4 * 0.9 < multiplications <= 10 * 2 * 32 // 4 * 1.3


def test_formats_are_run_time_data(compilation):
    """What the drivers pass for another format, seed or step asks for no other program."""
    keys = [line.split("\t") for line in compilation[1].splitlines()]
    assert len(keys) >= 12
    for group in {name for name, _ in keys}:
        assert len({key for name, key in keys if name == group}) == 1, group


def test_the_gpu_check_says_what_is_missing():
    """Exit code 3, and what to do, where there is no GPU."""
    done = in_a_process("-m", "benchmarks.gpu", CUDA_VISIBLE_DEVICES="")
    assert done.returncode == 3
    assert "No GPU to check" in done.stderr
    assert "GPU_PYTHON=" in done.stderr or "nvidia-smi" in done.stderr
