"""The benchmark's arithmetic, tables and record, on made-up timings: how fast anything is is not tested."""

import json
from dataclasses import replace

import halfulp as hu
import numpy as np
import pytest
from typer.testing import CliRunner

from benchmarks import arrays, timing
from benchmarks.__main__ import app, chosen, parsed_size
from benchmarks.arrays import array_of, shape_of, two_thread_copy
from benchmarks.computations import COMPUTATIONS, outcome
from benchmarks.fresh import peak_growth
from benchmarks.outcomes import Outcome, Training, Way, reached
from benchmarks.peers import PEERS
from benchmarks.profile import Bound
from benchmarks.report import PREAMBLE, markdown, record, recorded, save, summary
from benchmarks.results import Latency, Report, Result, Verdict, comparisons, geometric_mean, timed, verdicts
from benchmarks.roofline import draw
from benchmarks.rows import COPY, JAX_COPY, MAKERS, Row, beside_peers, every_row
from benchmarks.run import QUICK, Settings, measure, selected
from benchmarks.tasks import LARGE, NUMPY, TASKS, Task, disagreement, matching
from benchmarks.timing import Spread, in_turn, ratios
from benchmarks.wrapping import MODELS, training, ways

E4M3 = TASKS[0]
ONCE = Settings(budget=0)
STOCHASTIC = next(task for task in TASKS if task.name == "E4M3, stochastic")


def own(task=E4M3, library=NUMPY):
    return Row(library, task, MAKERS[library])


def peer(name, make=lambda task, x: lambda: x, **how):
    return Row(name, E4M3, make, peer=True, swept=False, **how)


def spread(value):
    return Spread(value, 0.9 * value, 1.1 * value)


def result(row, ratio, size=LARGE, **found):
    return Result(row, size, spread(0.007 * ratio), spread(ratio), **found)


@pytest.fixture
def report():
    results = [
        result(own(), 1.25, memory=0.0, first_call=0.2, cold_call=9.0),
        result(own(), 2.5, size=1 << 20),
        result(own(STOCHASTIC), 5.0),
        result(peer("ml_dtypes cast and back"), 25.0),
        result(
            peer("gfloat", largest=1 << 20),
            300.0,
            size=1 << 20,
            differs=disagreement(E4M3, np.ones((1, 32), np.float32), np.full((1, 32), 2.0)),
        ),
        Result(peer("Qwix, JAX jit"), LARGE, error="not installed: qwix"),
    ]
    latencies = [Latency("halfulp NumPy, 64 elements", spread(8e-6), 10e-6), Latency("ml_dtypes", spread(2e-6))]
    return Report("Abacus, 2 cores", {"Python": "3.11", "halfulp": "0.1"}, results, latencies)


def test_ratios_pair_each_sample_with_its_own_copy():
    """The machine slowed down threefold in the last repetition; the ratio did not."""
    assert ratios([2.0, 4.0, 9.0], [1.0, 2.0, 3.0]) == Spread(2.0, 2.0, 2.5)
    with pytest.raises(ValueError, match="as many samples as copies"):
        ratios([1.0], [1.0, 2.0])


def test_timed_takes_both_copies():
    found = timed(own(), 1 << 20, {COPY: [1.0, 1.0], JAX_COPY: [2.0, 4.0], "row": [8.0, 8.0]})
    assert found.ratio.median == 8
    assert found.jax_ratio == Spread(3.0, 2.5, 3.5)
    assert found.gigabytes_per_second == 2 * 4 * 2**20 / 8.0 / 1e9


def test_calls_take_turns(monkeypatch):
    order = []

    def once(call, loops=1):
        order.append((call(), loops))
        return 1e-5 if call() == "short" else 1.0

    monkeypatch.setattr(timing, "once", once)
    seconds = in_turn({"a": lambda: "short", "b": lambda: "long"}, budget=60, least=2, most=3, settle=0)
    assert order[-6:] == [("short", 100), ("long", 1)] * 3
    assert seconds == {"a": [1e-5] * 3, "b": [1.0] * 3}


def test_a_failing_peer_is_a_row():
    def refuse(task, x):
        raise TypeError("cannot cast\nfor many reasons")

    def absent(task, x):
        import a_library_nobody_has  # noqa: F401

    results = [measure(peer("refuses", refuse), 64, ONCE), measure(peer("absent", absent), 64, ONCE)]
    assert [r.error for r in results] == ["failed: TypeError: cannot cast", "not installed: a_library_nobody_has"]
    text = markdown(Report("Abacus", {}, results))
    assert "failed: TypeError: cannot cast" in text
    assert comparisons(results) == []


def test_an_own_row_is_right_and_a_peer_that_is_wrong_is_told_on():
    found = measure(own(), 1 << 10, ONCE)
    assert found.differs.share == 0
    assert found.seconds.median > 0
    assert found.ratio.low <= found.ratio.median <= found.ratio.high
    same = measure(peer("a copy"), 1 << 10, ONCE)
    assert same.differs.share > 0.9
    assert same.note == "differs in 100% of values, half of them by 0.02 of each or less"


def test_disagreement():
    x = array_of(1 << 10, "float32")
    exact = hu.quantize(x, "fp8_e4m3")
    assert disagreement(E4M3, x, exact.reshape(-1)).share == 0
    exact[0, :8] *= np.float32(1 + 2**-22)
    found = disagreement(E4M3, x, exact)
    assert found.share == 8 / 1024
    assert 2.0**-23 <= found.relative <= 2.0**-21
    assert "differs in 0.78% of values, half of them by " in result(own(), 1.0, differs=found).note


def test_stochastic_results_may_be_either_neighbour():
    x = array_of(1 << 10, "float32")
    for rounding in ("down", "up", "toward_zero"):
        assert disagreement(STOCHASTIC, x, hu.quantize(x, "fp8_e4m3", rounding=rounding)).share == 0
    assert disagreement(STOCHASTIC, x, hu.quantize(x, "e4m4")).share > 0.1


def test_comparison_is_at_the_size_of_the_peer(report):
    first, stochastic = comparisons(report.results)
    assert (first.best.row.library, first.faster) == ("ml_dtypes cast and back", 20.0)
    assert stochastic.best is None
    slow = comparisons([r for r in report.results if "ml_dtypes" not in r.row.library])[0]
    assert (slow.own.size, slow.best.row.library, slow.faster) == (1 << 20, "gfloat", 120.0)
    assert geometric_mean([first, slow, stochastic]) == pytest.approx((20 * 120) ** 0.5)


def test_verdicts(report):
    assert [(v.name, v.reached) for v in verdicts(report)] == [
        ("E4M3", True),
        ("E4M3, stochastic", False),
        ("halfulp NumPy, 64 elements", True),
    ]
    assert "targets reached: 2 of 3. Missed: E4M3, stochastic" in summary(report)
    assert "20.0 times faster" in summary(report)


def test_the_tables_render(report):
    text = markdown(report)
    for cells in (
        ["E4M3", NUMPY, "2^24", "8.75 ms", "15.3", "1.25 (1.12..1.38)", "", "0%", "200 ms", "9.00 s"],
        ["Qwix, JAX jit", "2^24", "", "not installed: qwix"],
        ["gfloat", "2^20", "differs in 100% of values"],
        ["E4M3", NUMPY, "17.5 ms (2.50)", "8.75 ms (1.25)"],
        ["E4M3, stochastic", "2.50 copies", "5.00 copies", "missed"],
        ["halfulp NumPy, 64 elements", "10.0 us", "8.00 us", "reached"],
        ["E4M3", NUMPY, "ml_dtypes cast and back", "2^24", "20.0 x"],
    ):
        assert any(all(cell in line for cell in cells) for line in text.splitlines()), cells


def test_the_record_replaces_its_own_section_only():
    old = f"{PREAMBLE}\n## Abacus, 2 cores\n\nold\n\n### Rows\n\nx\n\n## Abacus, 24 cores\n\nkept\n"
    new = recorded(old, "Abacus, 2 cores", "new\n\n### Rows\n\ny\n")
    assert new == old.replace("\nold\n", "\nnew\n").replace("\nx\n", "\ny\n")
    assert recorded(old, "Slide rule", "third") == old + "\n## Slide rule\n\nthird\n"
    assert recorded("", "Abacus", "first") == f"{PREAMBLE}\n## Abacus\n\nfirst\n"


def test_recording_twice_keeps_one_section(report, tmp_path):
    path = tmp_path / "RESULTS.md"
    record(report, path)
    once = path.read_text()
    record(replace(report, machine="Slide rule"), path)
    record(report, path)
    assert path.read_text().startswith(once)
    assert path.read_text().count("## Abacus, 2 cores\n") == path.read_text().count("## Slide rule\n") == 1


def test_files_and_picture(report, tmp_path):
    csv, data = save(report, tmp_path)
    lines = csv.read_text().splitlines()
    assert len(lines) == 1 + len(report.results)
    assert "Abacus, 2 cores" in lines[1]
    found = json.loads(data.read_text())
    assert found["results"][0]["ratio_median"] == 1.25
    assert found["results"][5]["error"] == "not installed: qwix"
    assert draw(report, tmp_path / "roofline.png").read_bytes().startswith(b"\x89PNG")


def test_every_task_of_a_peer_exists():
    assert {name for _, names, _, _ in PEERS for name in names} <= {task.name for task in TASKS}


def test_rows_are_timed_beside_their_peers():
    numpy = next(row for row in every_row() if (row.library, row.task.name) == (NUMPY, "E4M3, up"))
    assert numpy.sizes() == [LARGE]
    row = next(r for r in beside_peers(every_row()) if (r.library, r.task.name) == (NUMPY, "E4M3, up"))
    assert row.sizes() == [1 << 20, LARGE]
    quick = selected(every_row(), QUICK)
    assert max(size for row in quick if row.peer for size in row.sizes()) == 1 << 18
    assert not any("compiled" in row.library for row in quick)


def test_sizes_and_shapes():
    assert [shape_of(1 << k) for k in (6, 10, 15, 24)] == [(2, 32), (32, 32), (128, 256), (4096, 4096)]
    assert (parsed_size("2^20"), parsed_size("1024")) == (1 << 20, 1024)
    for text in ("many", "100", "2^5", "2^"):
        with pytest.raises(ValueError, match="expected a"):
            parsed_size(text)
    assert own().sizes([64, 1 << 30]) == [64, 1 << 26]
    first = next(task for task in TASKS if task.name == "MXFP4, first axis")
    assert own(first).sizes([64, 1 << 10]) == [1 << 10]


def test_tasks_by_name():
    assert [task.name for task in matching("mxfp8*")] == ["MXFP8", "MXFP8, first axis"]
    assert matching("e4m3") == [E4M3]
    with pytest.raises(ValueError, match="no row matches 'mxpf4'; expected a part of"):
        matching("mxpf4")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("size", [1 << 10, 1 << 18])
def test_the_copy_copies_half_a_page_off(size, dtype, monkeypatch):
    x, made = array_of(size, dtype), []
    apart = arrays.half_a_page_off
    monkeypatch.setattr(arrays, "half_a_page_off", lambda a: made.append(apart(a)) or made[-1])
    two_thread_copy(x)()
    assert (made[0] == x).all()
    assert (made[0].ctypes.data - x.ctypes.data) % 4096 == 2048


def test_peak_growth_sees_memory_that_is_freed_again():
    grown = peak_growth(lambda: np.ones(1 << 22).sum())
    assert grown is None or 0.9 * 2**25 < grown < 1.5 * 2**25


def test_profile_says_what_bounds():
    text = Bound("a row", compute=3.0, memory=1.0, streaming=3.0, overhead=5.0, cores=2).text
    assert text.startswith("a row: compute-bound")
    assert "2.00 times the larger" in text
    assert Bound("a row", 1.5, 1.0, 1.0, 5.0, 2).text.startswith("a row: memory-bound\n")
    assert "memory-bound at best: even one after the other" in Bound("a row", 1.5, 1.0, 2.5, 5.0, 2).text


def test_a_record_is_of_everything():
    done = CliRunner().invoke(app, ["--record", "--quick"])
    assert done.exit_code == 2
    assert "leave out --quick" in " ".join(done.output.split())


def test_a_task_counts_the_bytes_it_moves():
    assert E4M3.bytes_per_element == 8
    assert Task("t", "fp8_e4m3", dtype="bfloat16").bytes_per_element == 4
    assert Task("t", "fp8_e4m3", "encode", moved=5).bytes_per_element == 5


def outcomes():
    """Made-up rates: halfulp 2 Gflop/s on a gemm of 512, Pychop .01 on one of 128, and a library that fails."""
    gemm = next(c for c in COMPUTATIONS if c.name == "gemm, fp16")
    own, theirs = Way("halfulp", None, 512), Way("Pychop arrays", None, 128)
    return [
        Outcome(gemm, own, spread(2 * 512**3 / 2e9), 0.0),
        Outcome(gemm, theirs, spread(2 * 128**3 / 1e7), 0.25),
        Outcome(gemm, Way("Pychop BLAS", None, 12), error="failed: AttributeError"),
    ]


def test_computations_are_compared_by_their_rates(report):
    own, theirs, failed = found = outcomes()
    assert own.gigaflops == pytest.approx(2)
    assert failed.gigaflops is None
    assert theirs.note == "differs in 25% of values"
    assert reached(found, 2) == [
        ("gemm, fp16, against Pychop", 50.0, pytest.approx(200), "times"),
        ("gemm, fp16, a core", 0.5, pytest.approx(1), "Gflop/s"),
    ]
    text = markdown(replace(report, outcomes=found))
    assert "| gemm, fp16 | Pychop arrays | 2^7 |" in text
    assert "| 200 x | differs in 25% of values |" in text
    assert "failed: AttributeError" in text


@pytest.mark.parametrize("computation", list(COMPUTATIONS), ids=lambda computation: computation.name)
def test_every_way_to_a_computation_gives_the_textbook_s_numbers(computation):
    """Of a small problem, or says why it does not."""
    for way in COMPUTATIONS[computation]:
        found = outcome(computation, replace(way, size=12), 0)
        if way.library == "Pychop BLAS":  # 0.6.2 calls a class that is not there
            continue
        assert not found.error, (way.library, found.error)
        assert found.differs is None or found.differs == 0, way.library


def test_rows_may_name_computations():
    tasks, computations = chosen("GEMM")
    assert not tasks
    assert [c.name for c in computations] == ["gemm, fp16", "gemm, bf16"]
    assert chosen("")[1] == list(COMPUTATIONS)
    with pytest.raises(ValueError, match="no row matches"):
        chosen("gem5")


def test_training_steps_are_in_the_tables(report):
    model = next(iter(MODELS))
    found = [
        Training(model, "halfulp mxfp8, eager", spread(0.02), spread(1.5)),
        Training(model, "another", error="failed"),
    ]
    report = replace(report, trainings=found)
    assert f"| {model} | halfulp mxfp8, eager | 20.0 ms | 1.50 (1.35..1.65) | |" in markdown(report)
    assert Verdict(f"halfulp mxfp8, eager, {model}", 2.0, 1.5, "steps") in verdicts(report)
    assert {way[0] for way in ways()} == set(MODELS)
    assert not any(compiled for *_, compiled in ways(quick=True))


def test_peers_that_wrap_layers_train():
    for way in ways(quick=True):
        if way[1].startswith(("torchao", "float")):
            assert training(*way, 0).ratio.median > 0
