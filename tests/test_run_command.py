"""`qlvit-edge run` from the user's side."""

from __future__ import annotations

import json
import os
import pty
import shutil
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result
from rich.console import Console
from tiny_metadata import metadata, tiny_file
from tiny_model import COLOURS, tiny_model

import qlvit_edge.bundled
from qlvit_edge.camera.base import Frame
from qlvit_edge.cli import main
from qlvit_edge.cli.live import LiveView
from qlvit_edge.cli.run import command
from qlvit_edge.errors import CameraStalledError
from qlvit_edge.fields.finder import find_cells
from qlvit_edge.inference.classifier import Classification
from qlvit_edge.microscope.annotate import annotate
from qlvit_edge.microscope.pipeline import ClassifiedCell, Times
from qlvit_edge.microscope.session import Session
from qlvit_edge.microscope.settings import Settings
from qlvit_edge.modelfile.metadata import embed
from qlvit_edge.preprocess import decode

FIELDS = Path(qlvit_edge.bundled.__file__).parent / "fields"
PROGRAM = [sys.executable, "-c", "from qlvit_edge.cli import main; main()"]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return tiny_file(tmp_path / "tiny.tflite")


@pytest.fixture
def fields(tmp_path: Path) -> Path:
    folder = tmp_path / "fields"
    folder.mkdir()
    for path in sorted(FIELDS.glob("*.jpg"))[:3]:
        shutil.copy(path, folder)
    return folder


def run(*arguments: object) -> Result:
    return CliRunner().invoke(command, [str(a) for a in arguments], catch_exceptions=False)


def rows(path: Path, query: str) -> list[tuple[Any, ...]]:
    connection = sqlite3.connect(path)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def ends_with(code: int, capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """Run the whole program in this process; return what it wrote to stderr."""
    with pytest.raises(SystemExit) as caught:
        main(["run", *map(str, arguments)])
    assert caught.value.code == code
    return capsys.readouterr().err


def test_a_folder_is_run_through_and_summed_up(tmp_path: Path, model: Path, fields: Path) -> None:
    out = tmp_path / "r.sqlite"
    done = run(model, "--camera", fields, "--out", out, "--json")
    summary = json.loads(done.stdout)
    expected = [len(find_cells(decode(path))) for path in sorted(fields.glob("*.jpg"))]
    assert summary["frames"] == 3
    assert summary["cells"] == sum(expected) == sum(summary["counts"].values())
    assert list(summary["counts"]) == list(COLOURS)
    assert sum(summary["verdicts"].values()) == sum(expected)
    assert summary["outcome"] == "finished"
    assert summary["kernels"].startswith("XNNPACK")
    steps = {"capture", "find", "prepare", "infer", "place", "store", "other"}
    assert steps == set(summary["time_shares"])
    assert sum(summary["time_shares"].values()) == pytest.approx(1.0)
    per_frame = rows(
        out,
        "SELECT count(cells.id) FROM frames LEFT JOIN cells ON frame_id = frames.id"
        " GROUP BY frames.id",
    )
    assert [count for (count,) in per_frame] == expected
    assert rows(out, "SELECT model, outcome, camera FROM runs") == [
        ("tiny", "finished", str(fields))
    ]


def test_the_start_says_what_it_is_for_and_what_it_does_not_know(
    tmp_path: Path, model: Path, fields: Path
) -> None:
    done = run(model, "--camera", fields, "--out", tmp_path / "r.sqlite", "--frames", 1)
    assert "for research use only, not for diagnosis" in done.stderr
    assert "does not know basophils, bands, blasts" in done.stderr
    assert "Run 1 of tiny: finished" in done.stdout
    assert "1 frame in" in done.stdout


def test_sample_operator_and_frames_as_they_are_are_kept(
    tmp_path: Path, model: Path, fields: Path
) -> None:
    out, kept = tmp_path / "r.sqlite", tmp_path / "kept"
    names = ("--sample", " S-0815 ", "--operator", "Jörg")
    run(model, "--camera", fields, "--out", out, "--keep", kept, *names)
    assert rows(out, "SELECT sample, operator, review FROM run_list") == [
        ("S-0815", "Jörg", "collected")
    ]
    stored = rows(
        out,
        "SELECT source, kept_as, EXISTS (SELECT 1 FROM cells WHERE frame_id = frames.id) "
        "FROM frames",
    )
    assert any(name for _, name, _ in stored)
    for source, name, has_cells in stored:
        assert (name is not None) == bool(has_cells)
        if name is not None:
            assert np.array_equal(decode(Path(name)), decode(fields / source))


def test_a_sample_without_a_name_is_refused(
    tmp_path: Path, model: Path, fields: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "r.sqlite"
    said = ends_with(2, capsys, model, "--camera", fields, "--out", out, "--sample", " ")
    assert "--sample: is empty" in said
    assert not out.exists()


def test_frames_stops_an_endless_camera(tmp_path: Path, model: Path, fields: Path) -> None:
    source = f"simulated:{fields}?seed=5&fps=0"
    done = run(model, "--camera", source, "--out", tmp_path / "r.sqlite", "--frames", 7, "--json")
    assert json.loads(done.stdout)["frames"] == 7


def test_the_same_seed_gives_the_same_results(tmp_path: Path, model: Path, fields: Path) -> None:
    out = tmp_path / "r.sqlite"
    for _ in range(2):
        source = f"simulated:{fields}?seed=5&fps=0"
        run(model, "--camera", source, "--out", out, "--frames", 4)
    query = (
        "SELECT x, y, cells.width, probabilities FROM cells"
        " JOIN frames ON frame_id = frames.id WHERE run_id = {}"
    )
    first, second = (rows(out, query.format(number)) for number in (1, 2))
    assert first == second != []


def test_saved_pictures_show_the_cells(tmp_path: Path, model: Path, fields: Path) -> None:
    out, pictures = tmp_path / "r.sqlite", tmp_path / "pictures"
    run(model, "--camera", fields, "--out", out, "--save", pictures)
    saved = [Path(name) for (name,) in rows(out, "SELECT saved_as FROM frames ORDER BY id")]
    assert sorted(pictures.iterdir()) == sorted(saved)
    for path, source in zip(saved, sorted(fields.glob("*.jpg")), strict=True):
        difference = np.abs(decode(path).astype(int) - decode(source)).max(axis=2)
        cell = find_cells(decode(source))[0]
        edge = difference[cell.y, cell.x : cell.x + cell.width]
        assert np.median(edge) > 60


def test_kernels_and_thresholds_are_recorded(tmp_path: Path, model: Path, fields: Path) -> None:
    out = tmp_path / "r.sqlite"
    run(
        *(model, "--camera", fields, "--out", out, "--kernels", "reference"),
        *("--accept-at", 1, "--cell-size", 0.25, "--threads", 2),
    )
    ((kernels, accept_at, cell_size),) = rows(out, "SELECT kernels, accept_at, cell_size FROM runs")
    assert (kernels, accept_at, cell_size) == ("reference (4 operators)", 1.0, 0.25)
    verdicts = rows(out, "SELECT verdict, probability = 1.0 FROM cells")
    assert all((verdict == "accepted") == sure for verdict, sure in verdicts)


def test_wrong_use_ends_with_2_and_one_line_and_leaves_nothing(
    tmp_path: Path, model: Path, fields: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "r.sqlite"
    cut = tmp_path / "cut.tflite"
    cut.write_bytes(model.read_bytes()[:700])
    bare = tiny_file(tmp_path / "bare.tflite", with_metadata=False)
    empty = tmp_path / "empty"
    empty.mkdir()
    for arguments, finding in (
        ((cut, "--camera", fields, "--out", out), "cut.tflite"),
        ((bare, "--camera", fields, "--out", out), "which classes"),
        (("no-such-model", "--camera", fields, "--out", out), "no-such-model"),
        ((model, "--camera", "usb:77", "--out", out), "/dev/video77"),
        ((model, "--camera", "simulatd:x", "--out", out), "simulated:FOLDER"),
        ((model, "--camera", empty, "--out", out), "no image"),
        ((model, "--camera", fields, "--out", tmp_path), "not a file"),
        ((model, "--camera", fields, "--out", model), "not a results file"),
        ((model, "--camera", fields, "--out", "/proc/r.sqlite"), "cannot be written"),
        ((model, "--camera", fields, "--out", out, "--save", "/proc/pictures"), "/proc/pictures"),
    ):
        (line,) = ends_with(2, capsys, *arguments).splitlines()
        assert line.startswith("error: ")
        assert finding in line
        assert not out.exists()
    assert model.exists()


@pytest.mark.parametrize("form", ["{}", "simulated:{}"])
@pytest.mark.parametrize("place", ["", "seen", "../link/seen"])
def test_pictures_are_not_saved_where_the_next_run_would_read_them(
    tmp_path: Path,
    model: Path,
    fields: Path,
    form: str,
    place: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "link").symlink_to(fields)
    out, before = tmp_path / "r.sqlite", sorted(fields.iterdir())
    errors = ends_with(
        *(2, capsys, model, "--camera", form.format(fields), "--out", out),
        *("--save", fields / place),
    )
    assert "save the pictures elsewhere" in errors
    assert errors.count("\n") == 1
    assert sorted(fields.iterdir()) == before
    assert not out.exists()


@pytest.mark.parametrize("place", ["pictures", "deep/er/pictures"])
def test_a_folder_for_pictures_goes_again_when_nothing_opens(
    tmp_path: Path, model: Path, fields: Path, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures, out = tmp_path / place, tmp_path / "r.sqlite"
    before = sorted(tmp_path.iterdir())
    for source, results in (("usb:77", out), ("gone.mp4", out), (fields, model)):
        ends_with(2, capsys, model, "--camera", source, "--out", results, "--save", pictures)
        assert sorted(tmp_path.iterdir()) == before
    pictures.mkdir(parents=True)
    ends_with(2, capsys, model, "--camera", "usb:77", "--out", out, "--save", pictures)
    assert pictures.is_dir()


def test_unusual_images_are_said_in_one_line(tmp_path: Path, model: Path, fields: Path) -> None:
    plain = run(model, "--camera", fields, "--out", tmp_path / "r.sqlite")
    assert "8-bit RGB" not in plain.stderr
    for number in range(2):
        grey = np.full((60, 80), 200, np.uint8)
        cv2.imwrite(str(fields / f"grey{number}.png"), grey)
    done = run(model, "--camera", fields, "--out", tmp_path / "r.sqlite", "--json")
    assert json.loads(done.stdout)["frames"] == 5
    assert done.stderr.count("\n") == 3
    assert "note: among the images are 2 grey; taken as 8-bit RGB\n" in done.stderr


def test_class_names_are_shown_as_they_are(tmp_path: Path, fields: Path) -> None:
    labels = ["[mono]", "[/red]", "[bold]x"]
    data = metadata(golden=False).model_copy(update={"labels": labels, "name": "[a]b"})
    model = tmp_path / "odd.tflite"
    model.write_bytes(embed(tiny_model(), data))
    done = run(model, "--camera", fields, "--out", tmp_path / "r.sqlite")
    for text in (*labels, "Run 1 of [a]b"):
        assert text in done.stdout
    session = Session(Settings(str(model), str(fields), tmp_path / "r.sqlite"))
    console = Console(width=100)
    with console.capture() as shown:
        console.print(LiveView(session)._table())
    assert all(label in shown.get() for label in labels)


def test_a_damaged_image_is_left_out_listed_and_ends_with_1(
    tmp_path: Path, model: Path, fields: Path
) -> None:
    first = sorted(fields.glob("*.jpg"))[0]
    first.write_bytes(first.read_bytes()[:5000])
    os.utime(first, (0, 0))
    out = tmp_path / "r.sqlite"
    done = CliRunner().invoke(command, [str(model), "--camera", str(fields), "--out", str(out)])
    assert done.exit_code == 1
    assert (
        f"1 image cannot be read and is left out:\n  {first.name}: JPEG ends before" in done.stderr
    )
    assert rows(out, "SELECT count(*), (SELECT outcome FROM runs) FROM frames") == [(2, "finished")]
    assert rows(out, "SELECT dropped_frames FROM runs") == [(1,)]
    done = run_json(model, fields, out)
    assert done["dropped_frames"] == 1
    assert list(done["damaged"]) == [first.name]


def run_json(model: Path, source: object, out: Path) -> dict[str, Any]:
    done = CliRunner().invoke(
        command, [str(model), "--camera", str(source), "--out", str(out), "--json"]
    )
    summary: dict[str, Any] = json.loads(done.stdout)
    return summary


def test_cells_cut_by_the_edge_are_counted(tmp_path: Path, model: Path, fields: Path) -> None:
    summary = run_json(model, fields, tmp_path / "r.sqlite")
    images = [decode(path) for path in sorted(fields.glob("*.jpg"))]
    cut = [cell.cut for image in images for cell in find_cells(image)]
    assert summary["cut"] == sum(cut)
    assert 0 < sum(cut) < len(cut)
    stored = rows(tmp_path / "r.sqlite", "SELECT cut FROM cells ORDER BY id")
    assert stored == [(int(one),) for one in cut]


def test_frames_of_a_video_are_stored_with_their_place(tmp_path: Path, model: Path) -> None:
    path, out = tmp_path / "film.avi", tmp_path / "r.sqlite"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 8, (64, 48))
    for grey in (60, 120, 180, 240):
        writer.write(np.full((48, 64, 3), grey, np.uint8))
    writer.release()
    content = bytearray(path.read_bytes())
    second = content.find(b"\xff\xd9", content.find(b"\xff\xd9") + 1)
    content[second - 4 : second + 2] = bytes(6)
    path.write_bytes(content)
    assert run_json(model, path, out)["dropped_frames"] == 1
    assert rows(out, "SELECT number, position_ms FROM frames ORDER BY id") == [
        (0, 0.0),
        (2, pytest.approx(250)),
        (3, pytest.approx(375)),
    ]
    assert rows(out, "SELECT dropped_frames, outcome FROM runs") == [(1, "finished")]


def test_passwords_in_an_address_are_neither_shown_nor_stored(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = "http://alice:s3cret@127.0.0.1:9/s"
    errors = ends_with(2, capsys, model, "--camera", source, "--out", tmp_path / "r.sqlite")
    assert "http://***@127.0.0.1:9/s" in errors
    assert "s3cret" not in errors


def test_a_camera_that_stalls_ends_the_run_and_keeps_what_was_stored(
    tmp_path: Path,
    model: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from qlvit_edge.camera.simulated import SimulatedCamera

    image = decode(next(iter(FIELDS.glob("*.jpg"))))

    def frames(self: SimulatedCamera) -> Any:
        yield Frame(image, 0, 0.0)
        raise CameraStalledError(self.name, "no frame for 20 s", "check the cable")

    monkeypatch.setattr(SimulatedCamera, "frames", frames)
    out = tmp_path / "r.sqlite"
    errors = ends_with(2, capsys, model, "--camera", f"simulated:{FIELDS}", "--out", out)
    assert "no frame for 20 s" in errors.splitlines()[-1]
    assert rows(out, "SELECT count(*) FROM frames") == [(1,)]


def test_a_disk_that_fills_up_ends_the_run_and_keeps_what_was_stored(
    tmp_path: Path, model: Path, fields: Path
) -> None:
    out = tmp_path / "r.sqlite"
    limited = (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (70000, 70000));"
        "from qlvit_edge.cli import main; main()"
    )
    source = f"simulated:{fields}?fps=0"
    done = subprocess.run(
        [sys.executable, "-c", limited, "run", model, "--json", "--out", out, "--camera", source],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(f"error: {out}: ")
    assert "Traceback" not in done.stderr
    summary = json.loads(done.stdout)
    assert summary["outcome"] == "failed"
    assert rows(out, "SELECT count(*) FROM frames") == [(summary["frames"],)]
    assert summary["frames"] > 1


def test_a_terminal_shows_live_counts(tmp_path: Path, model: Path, fields: Path) -> None:
    leader, follower = pty.openpty()
    child = subprocess.Popen(
        [*PROGRAM, "run", str(model), "--camera", str(fields), "--out", str(tmp_path / "r.sqlite")],
        stdout=subprocess.DEVNULL,
        stderr=follower,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "100"},
    )
    os.close(follower)
    shown = b""
    try:
        while chunk := os.read(leader, 4096):
            shown += chunk
    except OSError:  # Linux says so when the other side has closed
        pass
    os.close(leader)
    assert child.wait() == 0
    assert b"fps" in shown
    assert b"uncertain" in shown


def test_times_add_up() -> None:
    times = Times()
    with times.measure("a"):
        time.sleep(0.02)
    with times.measure("a"):
        time.sleep(0.02)
    shares = times.shares()
    assert times.spent["a"] >= 0.04
    assert sum(shares.values()) == pytest.approx(1.0)
    assert set(shares) == {"a", "other"}


def test_labels_stay_inside_the_picture_and_uncertain_cells_are_grey() -> None:
    from qlvit_edge.fields.finder import Cell

    image = np.full((120, 160, 3), 220, np.uint8)
    answer = Classification("RED", 0.5, {"RED": 0.5, "BLUE": 0.5}, "uncertain")
    corner = ClassifiedCell(Cell(150, 0, 10, 20, 50.0), answer)
    drawn = annotate(image, [corner], ["BLUE", "RED"])
    assert drawn.shape == image.shape
    assert (image == 220).all()
    changed = drawn[(drawn != 220).any(axis=2)]
    assert np.ptp(changed.astype(int), axis=1).max() == 0
    assert cv2.countNonZero((drawn[:, :140] != 220).any(axis=2).astype(np.uint8)) > 0
