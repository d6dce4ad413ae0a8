"""Compiled kernels: cached on disk, never stale, safe to fork, and useful where no disk can be written."""

import ast
import hashlib
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import halfulp
from halfulp.emulate.backends import numba as kernels

KERNELS = Path(kernels.__file__)
PROGRAM = """
import sys, numpy as np
sys.path.insert(0, {folder!r})
import kernel_copy as k
words = np.empty(4, np.uint32)
k.philox_words(words, *(np.uint64(0),) * 5)
print(hex(words[0]), sum(k.philox_words.stats.cache_hits.values()))
"""


def run(folder, **environment):
    program = PROGRAM.format(folder=str(folder))
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env={**os.environ, **environment}
    )
    return done.stdout.split()


def test_an_edit_of_the_kernel_source_reaches_the_next_process(tmp_path):
    source = tmp_path / "kernel_copy.py"
    shutil.copy(KERNELS, source)
    first, hits = run(tmp_path)
    assert (first, hits) == ("0x6627e8d5", "0")
    assert run(tmp_path) == ["0x6627e8d5", "1"]
    edited = source.read_text().replace("range(10)", "range(11)")
    assert edited != source.read_text()
    source.write_text(edited)
    second, hits = run(tmp_path)
    assert second != first
    assert hits == "0"


SCALED_PROGRAM = """
import sys, numpy as np, halfulp as hu
sys.path.insert(0, {folder!r})
from copy_of_backends import numba_scaled as k
from halfulp.emulate.backends import cpu, cpu_scaled
found = cpu_scaled.arguments_of(hu.format("mxfp4"), cpu.NEAREST_EVEN)
x = np.linspace(-3, 5, 64, dtype=np.float32).view(np.int32).reshape(2, 32)
out = np.empty_like(x)
k.scaled_rows(x, out, np.empty(0, np.int32), *found.arguments, None, np.uint64(0), np.empty(0, np.float32), None)
print(out.view(np.float32).min(), sum(k.scaled_rows.stats.cache_hits.values()))
"""


def test_an_edit_of_the_tiles_reaches_the_fused_kernels(tmp_path):
    """They stand in another file than what calls them."""
    folder = tmp_path / "copy_of_backends"
    folder.mkdir()
    (folder / "__init__.py").touch()
    for source in KERNELS.parent.glob("numba*.py"):
        shutil.copy(source, folder / source.name)

    def run_scaled():
        program = SCALED_PROGRAM.format(folder=str(tmp_path))
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        return done.stdout.split()

    assert run_scaled() == ["-3.0", "0"]
    assert run_scaled() == ["-3.0", "1"]
    tiles = folder / "numba.py"
    edited = tiles.read_text().replace("result = i(r | sign)", "result = i(r)")
    assert edited != tiles.read_text()
    tiles.write_text(edited)
    assert run_scaled() == ["0.0", "0"]


def test_kernels_that_call_other_files_watch_them_all():
    """The digest of whatever they import, directly or not, is in their cache keys."""
    from halfulp.emulate.backends import numba_scaled, numba_transformed

    def called(name):
        tree = ast.parse(KERNELS.with_name(f"{name}.py").read_text())
        nodes = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level and node.module]
        return {node.module for node in nodes}.union(*(called(node.module) for node in nodes))

    entries = {numba_scaled: "scaled_rows", numba_transformed: "transformed_rows"}
    for module, entry in entries.items():
        names = [Path(str(watched.__file__)).stem for watched in module.WATCHED]
        assert set(names) == called(Path(module.__file__).stem)
        digest = getattr(module, entry).py_func.__closure__[-1].cell_contents
        files = b"".join(KERNELS.with_name(f"{name}.py").read_bytes() for name in names)
        assert digest == int.from_bytes(hashlib.sha256(files).digest()[:6], "big")


def test_without_a_writable_cache_kernels_still_compile(tmp_path):
    shutil.copy(KERNELS, tmp_path / "kernel_copy.py")
    blocker = tmp_path / "no_folder"
    blocker.write_text("a file where the cache folder would be")
    (tmp_path / "__pycache__").write_text("and one where Python would put it")
    result = run(tmp_path, NUMBA_CACHE_DIR=str(blocker / "x"), HOME=str(blocker), XDG_CACHE_HOME=str(blocker))
    assert result == ["0x6627e8d5", "0"]


def test_a_forked_child_quantizes_in_threads():
    """The parent has run threaded kernels; the child inherits no pool that would hang."""
    program = """
        import multiprocessing, numpy as np, halfulp as hu
        x = np.linspace(-500, 500, 1 << 21, dtype=np.float32)
        def child(q):
            q.put([float(hu.quantize(x, "fp8_e4m3", **o).sum()) for o in ({}, {"rounding": "stochastic", "seed": 1})])
        want = [float(hu.quantize(x, "fp8_e4m3", **o).sum()) for o in ({}, {"rounding": "stochastic", "seed": 1})]
        context = multiprocessing.get_context("fork")
        q = context.Queue()
        process = context.Process(target=child, args=(q,))
        process.start()
        assert q.get(timeout=60) == want
        process.join(60)
        assert process.exitcode == 0
    """
    folder = str(Path(halfulp.__file__).parent)
    subprocess.run([sys.executable, "-W", "error", "-c", textwrap.dedent(program)], check=True, timeout=120, cwd=folder)
