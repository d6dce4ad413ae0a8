"""Sphinx settings; `make docs` builds into out/docs."""

import halfulp

project = "halfulp"
author = "the halfulp authors"
release = version = halfulp.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints = "none"
autodoc_mock_imports = []
html_theme = "furo"
html_title = f"halfulp {version}"
exclude_patterns = ["images"]


def escape_bars(app, what, name, obj, options, lines):
    """Magnitudes in docstrings, |x|, are no substitutions of reStructuredText."""
    lines[:] = [line if ">>>" in line else line.replace("|", "\\|") for line in lines]


def setup(app):  # noqa: D103
    app.connect("autodoc-process-docstring", escape_bars)
