"""A camera's light and scale: measured, kept in a file, used, and refused where they do not fit."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

import cv2
import fake_picamera2
import numpy as np
import pytest
from command import refused, run_command
from numpy.typing import NDArray
from optics import blank, light, micrometer, noisy, red_cells
from tiny_metadata import tiny_file

import qlvit_edge.bundled
from qlvit_edge.camera.base import Frame
from qlvit_edge.camera.calibrated import CalibratedCamera
from qlvit_edge.camera.calibration import Loaded, read_calibration
from qlvit_edge.camera.sources import open_camera
from qlvit_edge.errors import CalibrationError, CameraError
from qlvit_edge.fields.scale import RED_CELL_UM
from qlvit_edge.microscope.calibrating import scale_of_micrometer

Image = NDArray[np.uint8]
FIELDS = Path(qlvit_edge.bundled.__file__).parent / "fields"
SIZE = (240, 320)


def folder(path: Path, *images: Image) -> Path:
    path.mkdir(exist_ok=True)
    for number, image in enumerate(images):
        assert cv2.imwrite(str(path / f"{number}.png"), image[..., ::-1])
    return path


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A file with light and scale, of pictures of `SIZE`."""
    return calibrated(tmp_path_factory.mktemp("calibrated")).read_text()


@pytest.fixture
def good(tmp_path: Path, whole: str) -> Path:
    """The same, to be changed."""
    path = tmp_path / "camera.toml"
    path.write_text(whole)
    return path


def calibrated(tmp_path: Path) -> Path:
    """Measure light and scale of pictures of `SIZE`; returns the file."""
    out = tmp_path / "camera.toml"
    empty = folder(tmp_path / "empty", *(blank(size=SIZE, seed=seed) for seed in range(3)))
    lines = folder(tmp_path / "lines", *(micrometer(30.0, 4.0, seed=seed) for seed in range(2)))
    assert run_command("camera", "calibrate", empty, "--out", out, "--blank") == 0
    call = ("--micrometer", 10, "--objective", "100x")
    assert run_command("camera", "calibrate", lines, "--out", out, *call) == 0
    return out


# Measuring


def test_a_blank_field_and_a_micrometer_make_one_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = read_calibration(calibrated(tmp_path))
    said = capsys.readouterr().out
    assert (found.width, found.height) == (320, 240)
    assert found.light is not None
    assert found.scale is not None
    assert found.light.red == pytest.approx(213, abs=2)
    assert found.light.blue == pytest.approx(198, abs=2)
    # The light is corrected to what falls on the brightest place.
    gains = found.light.flat_field().gains(320, 240)[..., 1]
    even = gains * light(0.25, SIZE)
    assert even.max() / even.min() < 1.01
    assert gains.min() == pytest.approx(1.0)
    assert gains.max() > 1.2
    # 30 pixels for 10 µm, although the lines lie aslant and the picture was flattened.
    assert found.scale.um_per_pixel == pytest.approx(1 / 3, rel=0.004)
    assert 0 < found.scale.uncertainty_percent < 1
    assert found.scale.objective == "100x"
    assert "stage micrometer, 10 µm between its lines" in found.scale.method
    assert "lengths stay in pixels" in said
    assert "0.333" in said


def test_red_cells_are_a_scale_and_say_how_rough_it_is(tmp_path: Path) -> None:
    fields = folder(tmp_path / "cells", *(red_cells(36.0, seed=seed) for seed in range(6)))
    out = tmp_path / "camera.toml"
    assert run_command("camera", "calibrate", fields, "--out", out, "--red-cells") == 0
    found = read_calibration(out).scale
    assert found is not None
    assert found.um_per_pixel == pytest.approx(RED_CELL_UM / 36, rel=0.1)
    assert 8 <= found.uncertainty_percent < 15
    assert found.measured == 6


def test_a_pi_camera_is_locked_at_a_nearly_white_field(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = fake_picamera2.install(monkeypatch)
    monkeypatch.setattr(fake, "light", (0.05, 0.09, 0.04))
    out = tmp_path / "camera.toml"
    source = "picamera2?size=96x64"
    assert run_command("camera", "calibrate", source, "--out", out, "--blank", "--frames", 3) == 0
    found = read_calibration(out)
    assert found.light is not None
    for level in (found.light.red, found.light.green, found.light.blue):
        assert level == pytest.approx(220, abs=4)
    assert found.light.red_gain == pytest.approx(0.09 / 0.05, rel=0.05)
    assert found.light.blue_gain == pytest.approx(0.09 / 0.04, rel=0.05)
    assert found.light.gain == 1.0
    assert "imx477" in found.camera
    # The next run locks the camera at it.
    with open_camera("picamera2", found.wanted()) as camera:
        frame = next(camera.frames())
    assert frame.image.shape == (64, 96, 3)
    assert frame.settings.automatic is False
    assert frame.settings.exposure_us == found.light.exposure_us
    assert frame.image.reshape(-1, 3).mean(0) == pytest.approx([220] * 3, abs=4)


@pytest.mark.parametrize(
    ("light", "finding"),
    [((1e-5,) * 3, "too dark"), ((1e4,) * 3, "do not settle|out of its range")],
)
def test_a_lamp_that_no_exposure_suits_is_said(
    light: tuple[float, float, float],
    finding: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    fake = fake_picamera2.install(monkeypatch)
    monkeypatch.setattr(fake, "light", light)
    out = tmp_path / "camera.toml"
    source = "picamera2?size=96x64"
    said = refused(capfd, "camera", "calibrate", source, "--out", out, "--blank")
    assert any(part in said for part in finding.split("|"))
    assert not out.exists()


# What is shown is not what it should be


def flickering() -> list[Image]:
    return [blank((level, level, level)) for level in (180.0, 200.0, 220.0)]


@pytest.mark.parametrize(
    ("images", "option", "finding"),
    [
        ([blank((40, 40, 40))], ("--blank",), "too dark: "),
        ([blank((275, 275, 275), fall=0.0)], ("--blank",), "too bright: "),
        ([red_cells(30.0)], ("--blank",), "not blank: "),
        ([blank(fall=1.6)], ("--blank",), "the light falls to|not blank"),
        (flickering(), ("--blank",), "the light changes by"),
        ([blank(), blank(size=(100, 100))], ("--blank",), "different sizes"),
        ([blank(size=(20, 20))], ("--blank",), "too small"),
        ([blank()] * 6, ("--red-cells",), "red cells are found in 0 frames of 6"),
        ([red_cells(30.0)] * 2, ("--red-cells",), "found in 2 frames of 2, 5 are needed"),
        ([blank()], ("--micrometer", 10), "no stage micrometer: "),
        ([red_cells(30.0)], ("--micrometer", 10), "no stage micrometer: "),
    ],
)
def test_a_field_that_shows_something_else_is_refused(
    images: list[Image],
    option: tuple[object, ...],
    finding: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "camera.toml"
    shown = folder(tmp_path / "shown", *images)
    said = refused(capfd, "camera", "calibrate", shown, "--out", out, *option)
    assert any(part in said for part in finding.split("|"))
    assert not out.exists()


def test_one_speck_of_dust_does_not_spoil_a_blank_field(tmp_path: Path) -> None:
    image = blank(size=SIZE)
    cv2.circle(image, (100, 80), 6, (120, 110, 100), -1)
    out = tmp_path / "camera.toml"
    call = ("camera", "calibrate", folder(tmp_path / "shown", image), "--out", out, "--blank")
    assert run_command(*call) == 0
    found = read_calibration(out).light
    assert found is not None
    gains = found.flat_field().gains(320, 240)[..., 1]
    assert np.ptp(gains * light(0.25, SIZE)) < 0.02  # nothing is brightened around it


def test_lines_that_change_their_distance_are_refused() -> None:
    frames = [Frame(micrometer(period, 0.0), 0, 0.0) for period in (30.0, 31.0)]
    with pytest.raises(CameraError, match="differs by 3"):
        scale_of_micrometer(frames, 10.0, "camera")


@pytest.mark.parametrize("options", [(), ("--blank", "--red-cells")])
def test_one_thing_is_measured_at_a_time(
    options: tuple[str, ...], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    call = ("camera", "calibrate", FIELDS, "--out", tmp_path / "c.toml", *options)
    assert run_command(*call) == 2
    assert "give one of --blank" in capfd.readouterr().err


# The file


def torn(text: str) -> str:
    return text[: len(text) // 2]


@pytest.mark.parametrize(
    ("change", "finding"),
    [
        (torn, "not valid TOML"),
        (lambda text: "", "is missing"),
        (lambda text: text.replace("format = 1", "format = 9"), "format: "),
        (lambda text: text.replace("um-per-pixel", "um-per-pixl"), "did you mean 'um-per-pixel'"),
        (lambda text: text.replace("width = 320", "width = -3"), "width: "),
        (lambda text: text.replace("width = 320", "width = true"), "width: "),
        (lambda text: text.replace("um-per-pixel = 0.33", "um-per-pixel = nan #"), "um-per-pixel"),
        (lambda text: text.replace("um-per-pixel = 0.33", "um-per-pixel = 0.0 #"), "um-per-pixel"),
        (
            lambda text: text.replace("flat-red = [", "flat-red = [0.1, "),
            "needs 15 numbers, not 16",
        ),
        (lambda text: text.replace("flat-red = [", "flat-red = ["), ""),
    ],
)
def test_a_file_that_is_not_whole_is_refused(
    good: Path,
    change: Callable[[str], str],
    finding: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    out = good
    out.write_text(change(out.read_text()))
    if not finding:
        read_calibration(out)
        return
    for call in (
        ("run", "blood-nano", "--camera", FIELDS, "--out", tmp_path / "r.sqlite"),
        ("camera", "calibrate", FIELDS, "--red-cells"),
    ):
        option = "--calibration" if call[0] == "run" else "--out"
        said = refused(capfd, *call, option, out)
        assert finding in said
        assert str(out) in said
    assert not (tmp_path / "r.sqlite").exists()


def test_a_flat_field_beyond_reason_is_refused(good: Path, tmp_path: Path) -> None:
    out = good
    lines = [
        "flat-red = [5.0, 9.0" + ", 0.0" * 13 + "]" if line.startswith("flat-red") else line
        for line in out.read_text().splitlines()
    ]
    out.write_text("\n".join(lines))
    with pytest.raises(CalibrationError, match="brightens a place more than four times"):
        read_calibration(out)


def test_what_cannot_be_written_is_said_before_anything_is_measured(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    shown = folder(tmp_path / "shown", blank())
    for out in (Path("/proc/camera.toml"), shown / "0.png" / "camera.toml", tmp_path):
        capfd.readouterr()
        call = ("camera", "calibrate", shown, "--out", out, "--blank")
        assert run_command(*call) == 2
        error = capfd.readouterr().err
        assert error.count("\n") == 1
        assert str(out.name) in error or str(out.parent) in error


def test_a_file_of_another_size_or_camera_is_left_as_it_is(
    good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    out = good
    before = out.read_bytes()
    other = folder(tmp_path / "other", blank(size=(100, 100)))
    said = refused(capfd, "camera", "calibrate", other, "--out", out, "--blank")
    assert "is for 320x240 pixels, the frame has 100x100" in said
    out.write_text(out.read_text().replace('camera = ""', 'camera = "imx219 /base/other"'))
    fake = fake_picamera2.install(monkeypatch)
    monkeypatch.setattr(fake, "light", (0.05, 0.09, 0.04))
    call = ("camera", "calibrate", "picamera2?size=320x240", "--out", out, "--red-cells")
    said = refused(capfd, *call)
    assert "is of the camera 'imx219 /base/other', this is 'imx477" in said
    out.write_bytes(before)


# A run with it


def test_frames_come_in_even_light_and_others_do_not_come(good: Path, tmp_path: Path) -> None:
    loaded = Loaded(good)
    uneven = noisy(light(0.25, SIZE)[..., None] * np.full(3, 150, np.float32), 0.0, 0)
    shown = folder(tmp_path / "shown", uneven, uneven[:100], uneven)
    with CalibratedCamera(open_camera(str(shown)), loaded) as camera:
        frames = list(camera.frames())
    assert [frame.source for frame in frames] == ["0.png", "2.png"]
    assert np.ptp(frames[0].image.astype(int)) <= 5
    assert np.ptp(uneven.astype(int)) > 25
    assert "320x240 pixels, the frame has 320x100" in camera.report.damaged["1.png"]
    (shown / "0.png").unlink()
    with (
        pytest.raises(CalibrationError, match="320x100"),
        CalibratedCamera(open_camera(str(shown)), loaded),
    ):
        pass


def run_info(path: Path) -> tuple[str, float]:
    connection = sqlite3.connect(path)
    try:
        found = connection.execute("SELECT calibration, cell_size FROM runs").fetchone()
    finally:
        connection.close()
    return str(found[0]), float(found[1])


def file_for_fields(path: Path, um_per_pixel: float) -> Path:
    """A scale for the bundled fields."""
    path.write_text(
        'format = 1\nprogram = "test"\ncamera = ""\nsource = "fields"\nwidth = 640\nheight = 480\n'
        f"[scale]\ndate = 2026-11-27T01:00:00Z\num-per-pixel = {um_per_pixel}\n"
        'uncertainty-percent = 0.1\nmethod = "stage micrometer"\nmeasured = 9\nframes = 2\n'
    )
    return path


def test_a_run_tells_lengths_in_um_and_stores_where_they_come_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, out = tiny_file(tmp_path / "tiny.tflite"), tmp_path / "r.sqlite"
    scale = file_for_fields(tmp_path / "camera.toml", 0.077)
    call = ("run", model, "--camera", FIELDS, "--out", out)
    saved = ("--calibration", scale, "--save", tmp_path / "pictures")
    assert run_command(*call, *saved, "--json") == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["um_per_pixel"] == 0.077
    assert summary["cell_diameter_unit"] == "µm"
    assert 9 < summary["cell_diameter"] < 20  # white cells are 12 to 15 µm across
    assert "0.077 µm per pixel ± 0.1 % (stage micrometer, 2026-11-27)" in summary["lengths"]
    stored, cell_size = run_info(out)
    assert json.loads(stored)["sha256"] == Loaded(scale).sha256
    assert json.loads(stored)["um_per_pixel"] == 0.077
    assert cell_size == pytest.approx(1.7 * 7.5 / 0.077 / 480, rel=1e-3)


def test_without_a_scale_lengths_are_said_to_be_pixels(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, out = tiny_file(tmp_path / "tiny.tflite"), tmp_path / "r.sqlite"
    assert run_command("run", model, "--camera", FIELDS, "--out", out, "--frames", 2) == 0
    said = capsys.readouterr().out
    assert "lengths: in pixels: no scale is known (--calibration)" in said
    assert " px\n" in said
    assert "µm" not in said
    assert run_info(out)[0] == "None"


def test_a_scale_of_another_objective_is_noticed_by_the_red_cells(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tiny_file(tmp_path / "tiny.tflite")
    for factor, doubtful in ((1.0, False), (2.0, True)):
        scale = file_for_fields(tmp_path / "camera.toml", 0.077 * factor)
        call = ("run", model, "--camera", FIELDS, "--out", tmp_path / "r.sqlite")
        assert run_command(*call, "--calibration", scale) == 0
        said = capsys.readouterr()
        assert ("red cells measure" in said.err) is doubtful
        assert ("of another objective" in said.out) is doubtful


def test_a_run_refuses_a_calibration_that_does_not_fit(
    good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    model, out = tiny_file(tmp_path / "tiny.tflite"), tmp_path / "r.sqlite"
    scale = good
    call = ("run", model, "--camera", FIELDS, "--out", out, "--calibration", scale)
    assert "320x240 pixels, the frame has 640x480" in refused(capfd, *call)
    assert not out.exists()
    said = refused(capfd, *call, "--cell-size", 0.3)
    assert "it tells the size of cells; leave --cell-size out" in said
    scale.write_text(scale.read_text().replace('camera = ""', 'camera = "imx219"'))
    fake_picamera2.install(monkeypatch)
    call = ("run", model, "--camera", "picamera2", "--out", out, "--calibration", scale)
    assert "it is of the camera 'imx219', this is 'imx477" in refused(capfd, *call)
    assert fake_picamera2.FakePicamera2.made[-1].calls[-1] == "close"
    assert not out.exists()
