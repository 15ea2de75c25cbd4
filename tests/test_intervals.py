"""Intervals know that copies stand or fall together, and that microscopes are no chance."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from tiny_metadata import plain_image, tiny_file
from tiny_model import COLOURS

from qlvit_edge.cli import main
from qlvit_edge.data.folder import ImageFolder, LabelledImage
from qlvit_edge.evaluation import metrics
from qlvit_edge.evaluation.copies import suspected_copies, thumbnail
from qlvit_edge.evaluation.quality import _Answered


def test_copies_of_few_photographs_give_a_wide_interval() -> None:
    """2,487 copies of 71 photographs, all copies of one right or wrong, printed 85.7 to 88.3."""
    photographs = np.arange(2487) % 71
    right = (photographs % 8 != 0).astype(float)

    def accuracy(drawn: np.ndarray) -> float:
        return float(right[drawn].mean())

    low, high = metrics.bootstrap_interval(range(2487), accuracy, rounds=200)
    assert high - low < 0.03
    low, high = metrics.bootstrap_interval([str(p) for p in photographs], accuracy, rounds=200)
    assert high - low > 0.12


def test_every_draw_holds_each_microscope_as_often() -> None:
    domains = ["a"] * 10 + ["b"] * 30

    def share(drawn: np.ndarray) -> float:
        return float((drawn < 10).mean())

    assert metrics.bootstrap_interval(range(40), share, domains=domains) == (0.25, 0.25)
    low, high = metrics.bootstrap_interval(range(40), share)
    assert low < 0.25 < high


@pytest.fixture
def cells(tmp_path: Path) -> Path:
    """Three photographs of each colour with four copies; of RED one photograph is wrong."""
    root = tmp_path / "cells"
    for label in COLOURS:
        (root / label).mkdir(parents=True)
        for photograph in range(3):
            for copy in range(4):
                shown = "GREEN" if (label, photograph) == ("RED", 2) else label
                image = plain_image(shown, size=20 + copy, level=150 + 20 * photograph)
                name = f"{'abc'[photograph]}{'wxyz'[copy]}.png"
                cv2.imwrite(str(root / label / name), image[:, :, ::-1])
    return root


def _report(out: Path, *arguments: object) -> dict:
    with pytest.raises(SystemExit) as ended:
        main(["validate", *map(str, arguments), "--out", str(out), "--one-view"])
    assert ended.value.code == 0
    return json.loads((out / "report.json").read_text())


def test_validate_draws_over_the_groups_it_is_given(cells: Path, tmp_path: Path) -> None:
    model = tiny_file(tmp_path / "tiny.tflite")
    plain = _report(tmp_path / "plain", model, "--data", cells)
    assert plain["interval_drawn_over"] == "36 images"
    rows = ["class,file,source"]
    for path in sorted(cells.glob("*/*.png")):
        rows.append(f"{path.parent.name},{path.name},{path.parent.name}{path.name[0]}")
    table = tmp_path / "groups.csv"
    table.write_text("\n".join(rows))
    grouped = _report(tmp_path / "grouped", model, "--data", cells, "--groups", table)
    assert grouped["interval_drawn_over"] == "9 sources"
    by_name = _report(
        tmp_path / "named", model, "--data", cells, "--groups-from-name", r"^(\w)\w\.png"
    )
    assert by_name["interval_drawn_over"] == "3 sources"

    def width(report: dict) -> float:
        low, high = report["accuracy_interval_95"]
        return high - low

    assert width(grouped) > 1.3 * width(plain)
    assert grouped["accuracy"] == plain["accuracy"]


@pytest.mark.parametrize(
    ("right", "sources", "limits"),
    [
        ([True] * 3, "abc", (0.2924, 1.0)),  # 0.025 ** (1 / 3)
        ([False] * 6, "aabbcc", (0.0, 0.7076)),
        ([True, True, False], "aaa", (0.025, 1.0)),  # one source says little, whatever it holds
    ],
)
def test_answers_that_are_all_alike_are_not_certain(
    right: list[bool], sources: str, limits: tuple[float, float]
) -> None:
    count = len(right)
    answered = _Answered(
        np.zeros(count, np.int64),
        np.array(right),
        list(sources),
        [""] * count,
        np.zeros((count, 0)),
    )
    found = answered.intervals()
    assert found.accuracy == pytest.approx(limits, abs=1e-4)
    assert found.macro_recall == found.accuracy


def test_groups_that_name_no_image_are_refused(
    cells: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "groups.csv"
    table.write_text("class,file,source\nRED,gone.png,p\n")
    model = tiny_file(tmp_path / "tiny.tflite")
    given = ("--data", cells, "--groups", table)
    with pytest.raises(SystemExit) as ended:
        main(["validate", *map(str, (model, *given, "--out", tmp_path / "out"))])
    assert ended.value.code == 2
    assert "names no image of" in capsys.readouterr().err


def test_names_of_copies_are_noticed_beside_the_interval(
    cells: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in sorted(cells.glob("*/*.png")):
        path.rename(path.with_name(f"_{'abc'.index(path.name[0])}_{ord(path.name[1])}.png"))
    model = tiny_file(tmp_path / "tiny.tflite")
    report = _report(tmp_path / "out", model, "--data", cells)
    assert "names suggest 3 sources" in report["data"]["suspected_copies"]
    output = capsys.readouterr().out
    assert output.count("too narrow if images are copies") == 2  # verdict and accuracy
    assert "--groups-from-name" in output
    told = _report(tmp_path / "told", model, "--data", cells, "--groups-from-name", r"^(_\d+)_")
    assert told["data"]["suspected_copies"] is None
    assert "too narrow" not in capsys.readouterr().out


def test_turned_and_mirrored_copies_are_noticed_and_other_cells_are_not() -> None:
    rng = np.random.default_rng(0)

    def picture() -> np.ndarray:
        return cv2.resize(rng.integers(0, 256, (6, 6, 3), np.uint8), (60, 60))

    different = [picture() for _ in range(40)]
    plain = [np.full((60, 60, 3), 200, np.uint8)] * 10
    copies = [np.rot90(different[0]), different[1][:, ::-1], np.rot90(different[2], 3)[::-1]]
    for pictures, found in ((different + plain, False), (different + copies, True)):
        images = tuple(
            LabelledImage(Path("x"), f"a/{chr(97 + i % 26) * (1 + i // 26)}.png", 0)
            for i in range(len(pictures))
        )
        folder = ImageFolder(Path("x"), ("a",), images)
        thumbnails = [thumbnail(np.ascontiguousarray(picture)) for picture in pictures]
        said = suspected_copies(folder, images, thumbnails)
        assert (said is not None) is found
    assert said == "6 of 43 images looked at show what another one shows"


def test_validate_reports_every_microscope_of_a_manifest(
    cells: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    classes = "\n".join(f'{label} = "{label}"' for label in COLOURS)
    toml = tmp_path / "sets.toml"
    shutil.copytree(cells, tmp_path / "other")
    toml.write_text(
        f'[[folder]]\npath = "cells"\ndomain = "one"\nblocks = 4\n[folder.classes]\n{classes}\n'
        '[[folder]]\npath = "other"\ndomain = "two"\n[folder.classes]\n'
        'BLUE = "BLUE"\nGREEN = "GREEN"\n'
    )
    with pytest.raises(SystemExit):
        main(["data", "merge", str(toml), "--out", str(tmp_path / "all.manifest")])
    model = tiny_file(tmp_path / "tiny.tflite")
    report = _report(tmp_path / "out", model, "--data", tmp_path / "all.manifest")
    one, two = report["domains"]["one"], report["domains"]["two"]
    assert (one["images"], one["sources"], two["images"]) == (36, 9, 24)
    assert one["macro_recall"] == pytest.approx(8 / 9)
    assert two["macro_recall"] == 1.0
    # All right in 24 sources: as few as 85.8 % of many would be (0.025 ** (1 / 24)).
    assert two["macro_recall_interval_95"] == pytest.approx([0.8575, 1.0], abs=1e-4)
    low, high = one["macro_recall_interval_95"]
    assert low < 8 / 9 < high
    output = capsys.readouterr().out
    assert "microscope one: recall 88.89 %" in output
    page = (tmp_path / "out" / "index.html").read_text()
    assert "microscope" in page
    assert "88.89 %" in page
