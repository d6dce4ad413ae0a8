"""The command: what it prints, and errors in one line."""

import sys

import pytest
from halfulp import cli
from typer.testing import CliRunner


def run(*arguments):
    return CliRunner().invoke(cli.app, list(arguments))


def test_help_teaches():
    text = run("--help").output
    for command in ("formats", "show", "sweep", "plot"):
        assert command in text
        assert run(command, "--help").exit_code == 0
    assert "Example: halfulp sweep digits" in run("sweep", "--help").output


def test_formats_lists_all():
    table = run("formats").output
    assert "fp8_e4m3" in table
    assert "1.147e+05" in table
    assert "…" not in table  # everything fits 80 columns
    lines = run("formats", "--csv").output.splitlines()
    assert lines[0].startswith("name,bits,max,min_normal")
    assert any(line.startswith("nf4,4,1.0") for line in lines)


def test_formats_lists_scaled_ones():
    table = run("formats", "--scaled").output
    assert "…" not in table
    for name in ("mxfp4", "nvfp4", "int8_per_channel_asym", "phase_t4"):
        assert name in table
    assert run("formats", "--scaled", "--csv").output.startswith("name,bits_per_element,element")


def test_show_of_scaled_and_complex_formats(tmp_path):
    text = run("show", "nvfp4", "--png", str(tmp_path / "line.png")).output
    assert "bits per element 4.5" in text
    assert "binary32 per tensor" in text
    assert "-6" in text
    assert (tmp_path / "line.png").exists()
    assert "2 a complex number" in run("show", "phase").output


def test_show(tmp_path):
    result = run("show", "e2m1", "--png", str(tmp_path / "line.png"))
    assert result.exit_code == 0
    assert "fp4_e2m1" in result.output
    assert "-6" in result.output
    assert (tmp_path / "line.png").exists()
    assert "#" not in run("show", "binary16").output


def test_sweep_and_plot(tmp_path):
    store = str(tmp_path / "s.sqlite")
    arguments = (
        "sweep",
        "digits",
        "-f",
        "e[2-3]m1",
        "-f",
        "int4",
        "--seeds",
        "2",
        "--lr",
        "0.1",
        "--steps",
        "3",
        "--store",
        store,
        "--quiet",
    )
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    assert "fp4_e2m1" in result.output
    assert "6 runs in" in result.output
    plotted = run("plot", store, "--out", str(tmp_path / "pictures"))
    assert plotted.exit_code == 0, plotted.output
    assert (tmp_path / "pictures" / "heat_map.png").exists()
    assert (tmp_path / "pictures" / "accuracy_by_bits.png").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("show", "fp8_e4m4"), "unknown format 'fp8_e4m4'; did you mean 'fp8_e4m3"),
        (("show", "phase", "--png", "x.png"), "phase has complex values, which no number line shows; leave --png out"),
        (("show", "mxfp5"), "unknown format 'mxfp5'; did you mean 'mxfp8'"),
        (("sweep", "digit"), "unknown task 'digit'; did you mean 'digits'?"),
        (("sweep", "-f", "fp9"), "unknown format 'fp9'"),
        (("sweep", "--steps", "0"), "expected steps >= 1, got 0"),
        (("plot", "nowhere.sqlite"), "no store at nowhere.sqlite; halfulp sweep makes one"),
    ],
)
def test_errors_are_one_line(arguments, message, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["halfulp", *arguments])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    out, error = capsys.readouterr()
    assert (stopped.value.code, out) == (1, "")
    assert error.startswith(f"halfulp: {message}")
    assert error.count("\n") == 1


def test_an_interrupt_says_how_to_go_on(monkeypatch, capsys):
    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "app", interrupted)
    with pytest.raises(SystemExit):
        cli.main()
    assert "run the same command again to go on" in capsys.readouterr().err
