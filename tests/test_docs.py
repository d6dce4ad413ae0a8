"""The documentation: every example runs, every link leads somewhere."""

import doctest
import re
from importlib import import_module
from pathlib import Path

import halfulp
import pytest

ROOT = Path(halfulp.__file__).parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
MODULES = [
    "formats.blocks", "formats.catalogue", "formats.codebooks", "formats.floats", "formats.registry", "formats.residual",
    "formats.rounding", "formats.scaled", "formats.tapered", "formats.transform", "emulate.decompose", "emulate.learning",
    "formats.scaled_registry", "emulate.complexes", "emulate.native", "emulate.packing", "emulate.philox",
    "emulate.analysis", "emulate.linalg.basic", "emulate.linalg.factor", "emulate.linalg.ode", "emulate.linalg.polar",
    "emulate.linalg.sums", "emulate.quantize", "emulate.units.accumulator", "emulate.units.convolution", "emulate.units.matmul", "emulate.random_runs", "emulate.rounded.arrays", "emulate.traced", "emulate.transforms", "sim.wrapping.wrapping",
    "sim.costs.accelerators", "sim.allocation.allocate", "sim.costs.area", "sim.conversion.conversion", "sim.costs.cost", "sim.costs.energy", "sim.costs.factors",
    "sim.allocation.jax_sensitivity", "sim.costs.model_cost", "sim.optimizers.optimizers", "sim.optimizers.orthogonal", "sim.functions.quantized", "sim.costs.recipe_cost",
    "sim.probes.probes", "sim.allocation.sensitivity", "sim.probes.statistics", "sim.optimizers.storage", "sim.tasks.loading", "sim.tasks.twins", "sim.training.trainer",
    "sim.sweeps.choices", "sim.sweeps.sweep", "sim.sweeps.parameters", "sim.sweeps.space", "sim.sweeps.halving", "sim.sweeps.filters", "sim.sweeps.reading",
    "sim.sweeps.bootstrap", "sim.sweeps.pairs", "sim.sweeps.best", "sim.sweeps.effects", "sim.sweeps.ranks", "sim.sweeps.pareto", "sim.sweeps.tables",
    "studies.catalogue", "studies.running", "studies.errors.resampled", "studies.fp4_design.designs", "studies.quartet_training.recipes",
    "studies.precision_training.weights", "studies.stability.arithmetics", "studies.stability.boxes",
    "studies.stability.clamping", "studies.stability.curves",
]  # fmt: skip
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages(page):
    text = page.read_text()
    examples = "\n".join(re.findall(r"```python\n(.*?)```", text, re.DOTALL))
    test = doctest.DocTestParser().get_doctest(examples, {}, page.name, str(page), 0)
    assert doctest.DocTestRunner(optionflags=FLAGS).run(test).failed == 0


@pytest.mark.parametrize("name", MODULES)
def test_docstrings(name):
    module = import_module(f"halfulp.{name}")
    globals_ = {**vars(module), "quantize": halfulp.quantize}
    failed, run = doctest.testmod(module, extraglobs=globals_, optionflags=FLAGS)
    assert failed == 0
    assert run > 0


def test_readme_results():
    """The comments beside the README's first examples are what comes out."""
    x = __import__("numpy").array([0.3, 1.75, 5.0, 100.0], "float32")
    assert halfulp.quantize(x, "fp4_e2m1").tolist() == [0.5, 2, 4, 6]
    assert halfulp.quantize(x, "e3m2", rounding="toward_zero").tolist() == [0.25, 1.75, 5, 28]
    assert halfulp.quantize(x, "int4@-1").tolist() == [0.5, 2, 3.5, 3.5]
    assert halfulp.encode(x, "fp8_e4m3").tolist() == [42, 62, 74, 108]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_contributing_is_short():
    assert len((ROOT / "CONTRIBUTING.md").read_text().splitlines()) < 60
