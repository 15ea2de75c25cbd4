"""The benchmarks of whole runs: what they measure, and what they would notice."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from command import run_command
from results_rows import INFO
from reviewed_run import found, write_run
from tiny_metadata import tiny_file

import qlvit_edge.bundled
from qlvit_edge.files import sha256
from qlvit_edge.review.store import ReviewStore

ROOT = Path(__file__).parent.parent
FIELDS = Path(qlvit_edge.bundled.__file__).parent / "fields"


@pytest.fixture
def benchmarks(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import kills
    import observed_run
    import pipeline
    import soak

    return SimpleNamespace(kills=kills, observed=observed_run, pipeline=pipeline, soak=soak)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_file(tmp_path_factory.mktemp("model") / "tiny.tflite"))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("fields")
    shutil.copy(FIELDS / "BloodImage_00044.jpg", folder)
    return f"simulated:{folder}?seed=1&fps=30&size=160x120"


def test_memory_is_that_of_all_processes(benchmarks: SimpleNamespace) -> None:
    outer = (
        "import subprocess, sys; held = bytearray(b'1') * 20_000_000;"
        "subprocess.run([sys.executable, '-c', 'held = bytearray(b\"1\") * 30_000_000;"
        'print("ready", flush=True); input()\'])'
    )
    process = subprocess.Popen(
        [sys.executable, "-c", outer], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        (inner,) = benchmarks.observed.descendants(process.pid)
        both = benchmarks.observed.memory((process.pid, inner))
        pss, anonymous = benchmarks.observed.held((process.pid, inner))
        alone, _ = benchmarks.observed.held((process.pid,))
        process.communicate(b"\n")
    assert benchmarks.observed.held((inner,)) == (0, 0)
    assert 50 < anonymous < pss
    assert pss - alone > 30
    assert both.pss == pytest.approx(pss, rel=0.05)
    # What only these two map counts once; what others map as well counts in full.
    assert both.alone >= both.pss * 0.95
    assert len(both.processes) == 2


def test_a_run_is_measured_from_the_camera_to_the_stored_row(
    benchmarks: SimpleNamespace, source: str, model: str, tmp_path: Path
) -> None:
    outcome = benchmarks.pipeline.measured(tmp_path, source, 40, model, page=False)
    assert (outcome.frames, outcome.dropped, outcome.exit_code) == (40, 0, 0)
    assert outcome.most_cells >= outcome.cells > 0
    assert 0 < outcome.latency_ms[0] <= outcome.latency_ms[1]
    assert outcome.first_result > 0.1
    assert outcome.pss_mb[1] > 30
    assert {"capture", "find", "prepare", "infer", "view"} <= set(outcome.stages)
    calls, median, high, processor = outcome.stages["find"]
    assert calls >= 1
    assert 0 < median <= high
    assert processor > 0


def test_what_misses_its_target_is_said(benchmarks: SimpleNamespace) -> None:
    good = benchmarks.pipeline.Outcome(
        frames=90,
        frames_per_second=30.0,
        dropped=0,
        cells=11.0,
        most_cells=12,
        first_result=1.0,
        latency_ms=(50.0, 99.0),
        pss_mb=(120.0, 179.0),
        alone_mb=130.0,
        cpu_ms={"main": 30.0, "children": 5.0},
        stages={"find": (1.0, 9.0, 10.0, 8.0)},
        exit_code=0,
    )

    def met(**other: object) -> bool:
        outcomes = {"without the page": replace(good, **other), "with the page": good}
        text, held = benchmarks.pipeline.report(outcomes, 90, 30.0)
        assert ("missed" in text) is not held
        return bool(held)

    assert met()
    assert not met(frames=89)
    assert not met(exit_code=1)
    assert not met(dropped=1)
    assert not met(frames_per_second=28.0)
    assert not met(first_result=2.1)
    assert not met(latency_ms=(50.0, 101.0))
    assert not met(pss_mb=(120.0, 181.0))


def test_growth_is_that_after_the_first_frames(
    benchmarks: SimpleNamespace, source: str, model: str, tmp_path: Path
) -> None:
    made = [
        benchmarks.soak.Sample(n / 100, n, 80 + min(n, 1000) / 50 + n / 10_000, 60.0, 0.1)
        for n in range(0, 20_001, 100)
    ]
    found = benchmarks.soak.growth(made)
    assert found["pss"] == pytest.approx((100.2, 101.9), abs=0.1)
    assert found["anonymous"] == (60, 60)
    with pytest.raises(ValueError, match="ask for more"):
        benchmarks.soak.growth(made[:10])
    drawn = benchmarks.soak.curve(made, "a title")
    assert drawn.count("<polyline") == 2
    assert "20,000 frames" in drawn
    samples, facts, stored = benchmarks.soak.soaked(tmp_path, source, 30, page=False, model=model)
    assert stored
    assert facts["frames stored"] == "30 of 30"
    assert samples[-1].frames <= 30
    assert samples[-1].pss > samples[-1].anonymous > 20


def test_kills_lose_nothing_and_what_is_lost_is_noticed(
    benchmarks: SimpleNamespace,
    source: str,
    model: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(benchmarks.kills, "EARLY_SHARE", 0.0)
    monkeypatch.setattr(benchmarks.kills, "LATE_SECONDS", 0.4)
    kills = benchmarks.kills.Kills(tmp_path, source, ["main"], seed=1)
    kills.once(model)
    tally = kills.tally
    assert (tally.kills["main"], tally.lost, tally.left_over, tally.damaged) == (1, 0, 0, [])
    assert tally.stored
    assert tally.holds
    assert "| kills of the main process | 1 |" in benchmarks.kills.report(tally)
    with closing(sqlite3.connect(tmp_path / "kills.sqlite")) as connection:
        last = max(tally.stored)
        connection.execute("DELETE FROM cells WHERE frame_id = 1")
        connection.execute("DELETE FROM frames WHERE id = 1")
        connection.execute("UPDATE frames SET number = number + 1 WHERE id = ?", (last,))
        connection.commit()
    kills._check()
    assert kills.tally.lost == len({1, last})
    assert not kills.tally.holds


def test_a_child_that_is_killed_comes_back_or_the_run_s_end_is_told(
    benchmarks: SimpleNamespace,
    source: str,
    model: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(benchmarks.kills, "EARLY_SHARE", 0.0)
    monkeypatch.setattr(benchmarks.kills, "LATE_SECONDS", 0.2)
    kills = benchmarks.kills.Kills(tmp_path, source, ["child"], seed=1)
    kills.once(model)
    tally = kills.tally
    assert (tally.kills["child"], tally.lost, tally.damaged) == (1, 0, [])
    assert len(tally.back_after) + tally.endings.total() == 1


def test_the_demonstration_ends_with_a_signed_sheet(
    benchmarks: SimpleNamespace,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    model: str,
    capfd: pytest.CaptureFixture[str],
) -> None:
    import demo_reader

    def here(given: list[str], **_: object) -> SimpleNamespace:
        capfd.readouterr()
        assert given[0] == "qlvit-edge"
        assert run_command(*given[1:]) == 0
        return SimpleNamespace(stdout=capfd.readouterr().out)

    results, sheet = tmp_path / "r.sqlite", tmp_path / "sheet.html"
    info = replace(INFO, model_sha256=sha256(Path(model).read_bytes()))
    write_run(results, [found(), found("BLUE", "unknown cell")], [found("BLUE")], info=info)
    monkeypatch.setattr(demo_reader.subprocess, "run", here)
    demo_reader.main(str(results), model, str(sheet))
    with ReviewStore(results) as store:
        run = store.run(1)
    assert run.status.signed_by == ("demo script, no person",)
    assert [cell.final for cell in run.cells] == ["RED", None, "BLUE"]
    assert "<b>SIGNED</b>by demo script, no person" in sheet.read_text()
