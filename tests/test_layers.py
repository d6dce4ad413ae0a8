"""The structure: imports point only left, and no framework is imported before it is used."""

import ast
import subprocess
import sys
from pathlib import Path

import halfulp
import pytest

ROOT = Path(halfulp.__file__).parent
LAYERS = ["formats", "emulate", "sim", "studies"]
FRAMEWORKS = {"torch", "jax", "jaxlib", "triton"}


def modules():
    for layer in LAYERS:
        yield from sorted((ROOT / layer).rglob("*.py"))


def imported(path):
    """(layer or top-level package, node) of every import of a module, relative ones resolved."""
    package = path.relative_to(ROOT).parts[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            if node.level:
                base = package[: len(package) - node.level + 1]
                target = [*base, *(node.module or "").split(".")]
                names = [target[0]] if target[0] else [alias.name for alias in node.names]
                yield from ((name, node) for name in names)
            else:
                yield (node.module or "").split(".")[0], node
        elif isinstance(node, ast.Import):
            yield from ((alias.name.split(".")[0], node) for alias in node.names)


@pytest.mark.parametrize("path", list(modules()), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_left(path):
    own = LAYERS.index(path.relative_to(ROOT).parts[0])
    for name, node in imported(path):
        assert name != "halfulp", f"{path}:{node.lineno} imports the package by its name; use a relative import"
        if name in LAYERS:
            assert LAYERS.index(name) <= own, f"{path}:{node.lineno} imports {name} from {LAYERS[own]}"
        assert name not in ("cli", "tests", "benchmarks"), f"{path}:{node.lineno} imports {name}"


def test_the_walk_sees_imports():
    names = {name for name, _ in imported(ROOT / "emulate" / "backends" / "jax.py")}
    assert {"formats", "emulate", "jax", "numpy"} <= names


def test_frameworks_are_named_in_their_backends_only():
    for path in modules():
        if FRAMEWORKS & {name for name, _ in imported(path)}:
            own = path.parent.name == "backends" and path.name.startswith(("torch", "jax", "triton"))
            assert own or (
                path.relative_to(ROOT).parts[0] in ("sim", "studies") and path.name.startswith(("torch", "jax"))
            )


def test_formats_need_no_array_library():
    for path in (ROOT / "formats").rglob("*.py"):
        first_level = {name for name, node in imported(path) if node.col_offset == 0}
        assert not first_level & {"numpy", "numba", "pandas", "matplotlib"}, path


def test_kernel_file_calls_no_other_file():
    """Numba's disk cache watches this file alone; an import from the package would go stale."""
    names = {name for name, _ in imported(ROOT / "emulate" / "backends" / "numba.py")}
    assert names == {"numba", "numpy", "typing"}


def test_import_brings_no_framework():
    program = (
        "import sys, halfulp as hu; hu.quantize(1.3, 'fp8_e4m3'); hu.format('e3m2');"
        "found = {'torch', 'jax', 'jaxlib', 'sklearn', 'matplotlib'} & set(sys.modules); assert not found, found"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_import_is_light():
    program = "import sys, halfulp; found = {'numba', 'pandas', 'scipy', 'typer', 'rich'} & set(sys.modules); assert not found, found"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_files_and_functions_are_short():
    """A file over 400 lines or a function over 60 is a sign that a concept is missing."""
    for path in [*modules(), ROOT / "cli.py"]:
        text = path.read_text()
        assert text.count("\n") <= 400, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                body = node.body[1:] if ast.get_docstring(node) else node.body
                length = (node.end_lineno or 0) - (body[0].lineno if body else node.lineno)
                assert length <= 60, f"{path}:{node.lineno} {node.name} has {length} lines"
