"""Sphinx settings; `make docs` builds into out/docs."""

import re

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


def made_safe(app, what, name, obj, options, lines):
    """Docstrings are plain text: magnitudes |x|, *space, `Rule`s, and formulas indented between empty lines."""
    found, formula = [], False
    for k, line in enumerate(lines):
        indented = line.startswith("    ") and not line.strip().startswith(">>>")
        begins = indented and k >= 2 and not lines[k - 1].strip() and not lines[k - 2].startswith((" ", ":", "..", ">"))
        formula = begins or (formula and (indented or not line.strip()))
        if begins:
            found += ["::", ""]
        found.append(line if formula or ">>>" in line else escaped(line))
    lines[:] = found


def escaped(line):
    """A line without emphasis and substitutions; a quoted name may be followed by letters."""
    line = line.replace("\\*", "*").replace("|", "\\|").replace("*", "\\*")
    return re.sub(r"`([^`]+)`(?=\w)", r"`\1`\\ ", line)


def setup(app):  # noqa: D103
    app.connect("autodoc-process-docstring", made_safe)
