"""The wheel: complete, and its command works where neither torch nor JAX is installed."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import halfulp
import pytest

ROOT = Path(halfulp.__file__).parent
BLOCK = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "jax", "jaxlib", "sklearn"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    names = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    for name in names:
        target = source / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((ROOT / name).read_bytes())
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(folder),
        str(source),
    ]
    subprocess.run(command, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The unpacked wheel in front of the path, frameworks hidden."""
    site = tmp_path_factory.mktemp("site")
    zipfile.ZipFile(wheel).extractall(site)
    (site / "sitecustomize.py").write_text(BLOCK)
    return {**os.environ, "PYTHONPATH": str(site)}, site


def run(installed, *command, ok=True):
    environment, site = installed
    done = subprocess.run([sys.executable, *command], env=environment, cwd=site, capture_output=True, text=True)
    assert (done.returncode == 0) == ok, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_wheel_holds_the_package_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    tracked = subprocess.run(
        ["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    shipped = [n for n in tracked if not n.startswith(("tests/", "benchmarks/", "docs/"))]
    assert {f"halfulp/{n}" for n in shipped} == {n for n in names if n.endswith(".py")}
    assert "halfulp/py.typed" in names
    assert any(n.endswith("LICENSE") for n in names)


def test_command_works_without_frameworks(installed):
    assert "sweep" in run(
        installed, "-c", "import sys; sys.argv = ['halfulp', '--help']; from halfulp.cli import main; main()"
    )
    program = "import halfulp, sys; assert 'site' in halfulp.__file__; print(halfulp.quantize([0.3], 'fp4_e2m1'))"
    assert "0.5" in run(installed, "-c", program)
    shown = run(
        installed, "-c", "import sys; sys.argv = ['halfulp', 'show', 'e3m2']; from halfulp.cli import main; main()"
    )
    assert "fp6_e3m2" in shown


def test_sweep_without_jax_says_what_to_install(installed):
    text = run(
        installed, "-c", "import sys; sys.argv = ['halfulp', 'sweep']; from halfulp.cli import main; main()", ok=False
    )
    assert "pip install 'halfulp[sim]'" in text


@pytest.mark.slow
def test_wheel_installs_into_an_empty_environment(wheel, tmp_path):
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "env")], check=True)
    python = tmp_path / "env" / "bin" / "python"
    constraints = ROOT / "constraints.txt"
    subprocess.run([python, "-m", "pip", "install", "-q", "-c", constraints, wheel], check=True)
    listed = subprocess.run([python, "-m", "pip", "list"], check=True, capture_output=True, text=True).stdout
    assert "torch" not in listed
    assert "jax" not in listed
    done = subprocess.run([tmp_path / "env" / "bin" / "halfulp", "--help"], check=True, capture_output=True, text=True)
    assert "sweep" in done.stdout
