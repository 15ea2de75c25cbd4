"""Kept frames leave as OME-TIFF: the same pixels, a scale where it is known, no other."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import tifffile
from command import files_below, refused, run_command
from reviewed_run import OF_SAMPLE, found, sign_run, write_run

from qlvit_edge.preprocess import decode

NAMESPACE = "{http://www.openmicroscopy.org/Schemas/OME/2016-06}"
SCALE = json.dumps({"um_per_pixel": 0.2173, "method": "lines"})


def kept_folder(folder: Path) -> Path:
    """An empty folder for a run's frames."""
    (folder / "kept").mkdir()
    return folder / "kept"


def export(path: Path, out: Path, *more: object) -> int:
    return run_command("results", "export", path, "--format", "ome-tiff", "--out", out, *more)


def pixels_element(path: Path) -> ElementTree.Element:
    with tifffile.TiffFile(path) as file:
        assert file.is_ome
        assert file.ome_metadata is not None
        root = ElementTree.fromstring(file.ome_metadata)
    element = root.find(f"{NAMESPACE}Image/{NAMESPACE}Pixels")
    assert element is not None
    return element


@pytest.mark.parametrize("calibration", [SCALE, None, '{"um_per_pixel": NaN}', '{"x": 1}'])
def test_frames_are_what_was_kept_with_the_scale_that_is_known(
    tmp_path: Path, calibration: str | None
) -> None:
    path, out = tmp_path / "r.sqlite", tmp_path / "out"
    info = replace(OF_SAMPLE, calibration=calibration, sample="S-<µ>&8")
    write_run(
        path, [found(), found("BLUE", x=30)], [found()], info=info, keep=kept_folder(tmp_path)
    )
    sign_run(path)
    assert export(path, out, "--by", "Ann") == 0
    kept = sorted((tmp_path / "kept").iterdir())
    assert files_below(out) == {
        f"{one.stem}{ending}" for one in kept for ending in (".ome.tif", ".geojson")
    }
    for number, one in enumerate(kept):
        written = out / f"{one.stem}.ome.tif"
        image = tifffile.imread(written)
        np.testing.assert_array_equal(image, decode(one))
        np.testing.assert_array_equal(decode(written), decode(one))  # our own reader
        element = pixels_element(written)
        size = {name: element.get(f"Size{name}") for name in "XYCZT"}
        assert size == {"X": "64", "Y": "48", "C": "3", "Z": "1", "T": "1"}
        assert element.get("Type") == "uint8"
        scale = [element.get(f"PhysicalSize{name}") for name in ("X", "Y", "XUnit", "YUnit")]
        with tifffile.TiffFile(written) as file:
            resolution = file.pages.first.tags["XResolution"].value
            description = ElementTree.fromstring(str(file.ome_metadata))
        if calibration == SCALE:
            assert scale == ["0.2173", "0.2173", "µm", "µm"]
            assert resolution[0] / resolution[1] == pytest.approx(1e4 / 0.2173)
        else:
            assert scale == [None] * 4
            assert resolution == (1, 1)
        said = "".join(description.itertext())
        assert "research use only" in said
        assert "signed by Ann" in said
        assert "sample S-<µ>&8" in said
        taken = description.find(f"{NAMESPACE}Image/{NAMESPACE}AcquisitionDate")
        assert taken is not None
        assert taken.text == f"1970-01-01T00:16:4{number}"
        cells = json.loads((out / f"{one.stem}.geojson").read_text(encoding="utf-8"))["features"]
        assert len(cells) == 2 - number


def test_what_is_not_signed_says_so(tmp_path: Path) -> None:
    path, out = tmp_path / "r.sqlite", tmp_path / "out"
    write_run(path, [found()], keep=kept_folder(tmp_path))
    assert export(path, out) == 0
    (image,) = out.glob("*.ome.tif")
    assert re.search(rb"PRELIMINARY: collected, not signed", image.read_bytes())


def test_frames_are_written_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When a frame is written, those before it are on the disk and those after it unread."""
    path, out = tmp_path / "r.sqlite", tmp_path / "out"
    write_run(path, *[[found()] for _ in range(4)], keep=kept_folder(tmp_path))
    steps: list[str] = []
    write = tifffile.imwrite

    def note_read(file: Path) -> np.ndarray:
        steps.append("read")
        return decode(file)

    def note_written(*arguments: object, **options: object) -> None:
        steps.append("written")
        write(*arguments, **options)

    monkeypatch.setattr("qlvit_edge.review.frames.decode", note_read)
    monkeypatch.setattr(tifffile, "imwrite", note_written)
    assert export(path, out) == 0
    assert steps == ["read", "written"] * 4


def test_without_frames_or_tifffile_nothing_is_written(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, out = tmp_path / "r.sqlite", tmp_path / "out"
    arguments = ("results", "export", path, "--format", "ome-tiff", "--out", out)
    write_run(path, [found()])
    assert "were not kept" in refused(capfd, *arguments)
    write_run(path, [found()], keep=kept_folder(tmp_path))
    next((tmp_path / "kept").iterdir()).write_bytes(b"no picture")
    refused(capfd, *arguments, "--run", 2)
    monkeypatch.setitem(sys.modules, "tifffile", None)
    assert "pip install 'qlvit-edge[ome]'" in refused(capfd, *arguments, "--run", 2)
    assert not [name for name in files_below(tmp_path) if "out" in name]
