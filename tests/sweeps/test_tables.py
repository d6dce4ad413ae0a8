"""Tables: digits, hostile texts read back through a Markdown parser, and LaTeX that compiles."""

import re
import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest
from halfulp.sim.sweeps.table_text import Number, latex, written
from halfulp.sim.sweeps.tables import table_latex, table_markdown

HOSTILE = [
    "a|b \\| c\\", "x_y & 100% $5$ #1 {z} ~^", "`code` *b* __c__ ~~d~~", "<script>alert(1)</script> &amp;", "[a](b) ![c](d)",
    "\\end{document} \\input{/etc/passwd} ^^M", "[opt] *star*", "*star", "(paren", "%comment", "-- '' ,, \"q\" ?` !`", "-5", "",
    "é ü ñ ç ą Ł ß μ Ω Α λ ± × ≤ ∞ 😀 中 ² ₂ ½ ﬁ 𝐱 “q” ‘s’ – — … €", "\\\\[2cm]", "\\", "&#124; | || |-|-|",  # noqa: RUF001
]  # fmt: skip


def number(value, low=np.nan, high=np.nan, digits=4):
    return written(value, low, high, digits)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ((1.23412, 1.2222, 1.24601), ("1.234", "0.012", "1.222", "1.246", 0)),
        ((1.23412, 1.2, 1.24601), ("1.234", "0.034", "1.200", "1.246", 0)),  # the larger side
        ((0.5, 0.4004, 0.5996), ("0.50", "0.10", "0.40", "0.60", 0)),  # 0.0996 to two digits is 0.10
        ((123.4, 100, 150), ("123", "27", "100", "150", 0)),
        ((12345.0, 11000, 13000), ("12300", "1300", "11000", "13000", 0)),
        ((-0.001, -0.02, 0.018), ("-0.001", "0.019", "-0.020", "0.018", 0)),
        ((-0.0001, -0.02, 0.018), ("0.000", "0.020", "-0.020", "0.018", 0)),  # no minus zero
        ((1.2341e-7, 1.2e-7, 1.3e-7), ("1.234", "0.066", "1.200", "1.300", -7)),
        ((2.5e9, 2.4e9, 2.6e9), ("2.50", "0.10", "2.40", "2.60", 9)),
        ((1.0, 1.0, 1.0), ("1", "0", "1", "1", 0)),
        ((1.0, -np.inf, np.inf), ("1", "∞", "-∞", "∞", 0)),
        ((0.123456,), ("0.1235", "", "", "", 0)),
        ((12345.6,), ("12346", "", "", "", 0)),
        ((1.5e-9,), ("1.5", "", "", "", -9)),
        ((2e6,), ("2", "", "", "", 6)),
        ((-0.0,), ("0", "", "", "", 0)),
        ((np.inf,), ("∞", "", "", "", 0)),
        ((np.nan, 1, 2), ("", "", "", "", 0)),
    ],
)
def test_digits(given, expected):
    assert number(*given) == Number(*expected)


def frame():
    return pd.DataFrame(
        {
            "format": ["e2m1", "e4m3"], "bits": [4, 8.0], "estimate": [0.3123, 0.2], "low": [0.3, 0.19],
            "high": [0.3211, 0.214], "on_front": [True, False], "note": ["", ""],
        }
    )  # fmt: skip


def test_markdown():
    made = table_markdown(
        frame(), names={"estimate": "test loss"}, units={"estimate": "nats"}, best={"estimate": "minimize"}
    )
    assert made == (
        "| format | bits |  test loss (nats) | on front |\n"
        "|:-------|-----:|------------------:|:---------|\n"
        "| e2m1   |    4 |     0.312 ± 0.012 | yes      |\n"
        "| e4m3   |    8 | **0.200 ± 0.014** | no       |\n"
    )
    brackets = table_markdown(frame(), ["format", "estimate", "note"], style="brackets")
    assert "| e2m1   | 0.312 [0.300, 0.321] |      |" in brackets
    small = frame().assign(estimate=[3e-7, np.nan], low=[2.9e-7, np.nan], high=[3.1e-7, np.nan])
    assert "(3.00 ± 0.10)e-07" in table_markdown(small)
    assert table_markdown(small).splitlines()[3].split("|")[3].strip() == ""


def test_latex():
    made = table_latex(frame(), best={"estimate": "maximize"}, caption="Loss & co_st", label="tab:loss")
    assert made == (
        "% \\usepackage{booktabs}\n\\begin{table}\n\\centering\n\\caption{Loss \\& co\\_st}\n\\label{tab:loss}\n"
        "\\begin{tabular}{lrrl}\n\\toprule\nformat & bits & estimate & on front \\\\\n\\midrule\n"
        "e2m1 & $4$ & $\\mathbf{0.312 \\pm 0.012}$ & yes \\\\\ne4m3 & $8$ & $0.200 \\pm 0.014$ & no \\\\\n"
        "\\bottomrule\n\\end{tabular}\n\\end{table}\n"
    )
    small = frame().assign(estimate=3e-7, low=2.9e-7, high=3.1e-7)
    assert r"$(3.00\ [2.90, 3.10]) \times 10^{-7}$" in table_latex(small, style="brackets")


def test_ties_are_all_bold():
    made = table_markdown(pd.DataFrame({"a": [1, 2, 2, np.nan]}), best={"a": "maximize"})
    assert made.count("**2**") == 2
    assert "**" not in table_markdown(pd.DataFrame({"a": [np.nan, np.nan]}), best={"a": "maximize"})


def read_back(text):
    """The cells of a table as a Markdown parser with GitHub's extensions shows them, and the kinds of tokens in them."""
    from markdown_it import MarkdownIt

    parsed = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(text)
    cells = [token.children or [] for token in parsed if token.type == "inline"]
    kinds = {child.type for children in cells for child in children}
    return ["".join(child.content for child in children) for children in cells], kinds, parsed[0].type


def test_hostile_texts_come_back_from_markdown():
    made = table_markdown(pd.DataFrame({"hostile | *x*": HOSTILE, "n": range(len(HOSTILE))}))
    texts, kinds, first = read_back(made)
    assert first == "table_open"
    assert kinds <= {"text", "text_special"}  # no emphasis, code, links, HTML
    assert texts[0] == "hostile | *x*"
    assert texts[2::2] == HOSTILE


def test_line_breaks_and_controls_keep_a_row_a_line():
    made = table_markdown(pd.DataFrame({"a": ["line\nbreak\r\nand\u2028more\tend", "bell\x07", " a  b "]}))
    assert len(made.splitlines()) == 5
    assert read_back(made)[0][1:] == ["line break and more end", "bell\N{REPLACEMENT CHARACTER}", "a b"]


def test_latex_texts_by_hand():
    assert latex("a_b & 5% $x$ #1 {y} \\z ~ ^ | < > `") == (
        r"a\_b \& 5\% \$x\$ \#1 \{y\} \textbackslash{}z \textasciitilde{} \textasciicircum{} \textbar{} \textless{} "
        r"\textgreater{} \textasciigrave{}"
    )
    assert latex("é ǘ 😀 µ x² ½ ﬁ") == r"""\'{e} \'{\"{u}} {[}U+1F600{]} $\mu$ x$^{2}$ 1/2 fi"""
    assert latex("\N{GREEK SMALL LETTER ALPHA} Σ \N{GREEK CAPITAL LETTER ALPHA}") == r"$\alpha$ $\Sigma$ $\mathrm{A}$"
    assert latex("a--b e4m3-x ''") == "a-{}-b e4m3-x '{}'"


def test_latex_has_no_open_brace_or_command():
    made = table_latex(pd.DataFrame({"hostile & _": HOSTILE, "n": range(len(HOSTILE))}))
    assert made.isascii()
    plain = re.sub(r"\\[{}$&%#_\\]", "", made)
    assert plain.count("{") == plain.count("}")
    assert plain.count("$") % 2 == 0
    assert "\\input" not in made
    assert made.count("\\end{") == 1
    rows = made.splitlines()[5:-2]
    assert len(rows) == len(HOSTILE)
    assert all(row.count(" & ") == 1 and row.endswith(" \\\\") and row[0] not in "[*(" for row in rows)


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex and booktabs")
@pytest.mark.parametrize("encoding", ["", "\\usepackage[T1]{fontenc}"])
def test_latex_compiles(tmp_path, encoding):
    hostile = pd.DataFrame({"hostile [x_": HOSTILE, "loss": np.linspace(-1e-9, 2, len(HOSTILE))})
    hostile["loss_low"], hostile["loss_high"] = hostile["loss"] - 0.01, hostile["loss"] + 0.02
    tables = "\\scriptsize ".join(
        table_latex(hostile, style=style, best={"loss": "minimize"}, caption="[é & _", label="tab:x_1")
        for style in ("plus_minus", "brackets")
    )
    document = f"\\documentclass{{article}}\\usepackage{{booktabs}}{encoding}\\begin{{document}}{{}}\n{tables}\\end{{document}}"
    (tmp_path / "t.tex").write_text(document)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "t.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace", timeout=60)
    assert done.returncode == 0, done.stdout[-2000:]


def test_frames_of_any_kind():
    counted = pd.DataFrame({"format": ["a", "a", "b"], "loss": [1.0, 2, 3]}).groupby("format").agg(["mean", "count"])
    assert table_markdown(counted).splitlines()[0] == "| format | loss mean | loss count |"
    assert table_markdown(frame().iloc[:0]).splitlines()[0].startswith("| format")
    assert len(table_latex(frame().iloc[:0]).splitlines()) == 7
    mixed = pd.DataFrame({"x": [None, pd.NA, pd.NaT, [1, 2], np.int8(3)]})
    assert [row.strip("| ") for row in table_markdown(mixed).splitlines()[2:]] == ["", "", "", "\\[1, 2\\]", "3"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"columns": ["fmt"]}, "unknown column 'fmt'; did you mean 'format'"),
        ({"columns": []}, "a table of one column or more"),
        ({"names": {"estimat": "x"}}, "unknown column 'estimat'; did you mean 'estimate'"),
        ({"units": {"bit": "x"}}, "unknown column 'bit'; did you mean 'bits'"),
        ({"best": {"format": "minimize"}}, "the best of 'format': expected numbers"),
        ({"best": {"bits": "min"}}, "unknown direction 'min'"),
        ({"style": "plusminus"}, "unknown style 'plusminus'; did you mean 'plus_minus'"),
        ({"digits": 0}, "expected one digit or more"),
    ],
)
def test_errors(change, message):
    for made in (table_markdown, table_latex):
        with pytest.raises(ValueError, match=message):
            made(frame(), **change)


def test_other_errors():
    with pytest.raises(TypeError, match="expected a DataFrame, got dict"):
        table_markdown({})
    with pytest.raises(ValueError, match="got 'bits' twice"):
        table_markdown(pd.concat([frame(), frame()[["bits"]]], axis=1))
    with pytest.raises(ValueError, match="expected a label of letters"):
        table_latex(frame(), label="a}b")
