"""`data check` and `data split` as a user meets them."""

from __future__ import annotations

import json
import os
import re
import shutil
import unicodedata
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from qlvit_edge.cli import main
from qlvit_edge.data.folder import ImageFolder, LabelledImage
from qlvit_edge.data.names import hint
from qlvit_edge.data.split import fingerprint, load_split
from qlvit_edge.errors import DataError


def image(seed: int, *shape: int, dtype: type[np.unsignedinteger[Any]] = np.uint8) -> Any:
    top = np.iinfo(dtype).max
    return np.random.default_rng(seed).integers(0, top, shape or (8, 9, 3), dtype=dtype)


def write(path: Path, pixels: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imencode(path.suffix, pixels)[1].tofile(path)


@pytest.fixture
def cells(tmp_path: Path) -> Path:
    root = tmp_path / "cells of µm"
    for i in range(6):
        write(root / "eo" / f"{i}.png", image(i))
        write(root / "mono" / f"{i}.bmp", image(100 + i, 12, 10, 3))
    return root


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    assert isinstance(ended.value.code, int)
    return ended.value.code


def checked(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, dict[str, Any]]:
    code = run("data", "check", *arguments, "--json")
    return code, json.loads(capsys.readouterr().out)


def test_a_clean_folder_passes(cells: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, report = checked(capsys, cells)
    assert code == 0
    assert report["usable"]
    assert report["classes"][0] == {
        "name": "eo",
        "images": 6,
        "smallest": [9, 8],
        "largest": [9, 8],
        "sizes": 1,
        "kinds": {},
        "train": None,
        "test": None,
    }
    assert report["copies"] == report["ignored"] == []


def test_unusual_but_usable_images_are_accepted_and_said(
    cells: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(cells / "eo" / "grey.png", image(7, 5, 5))
    write(cells / "eo" / "alpha.png", image(8, 6, 5, 4))
    write(cells / "eo" / "deep.tiff", image(9, 5, 6, dtype=np.uint16))
    code, report = checked(capsys, cells)
    assert code == 0
    assert report["classes"][0]["kinds"] == {"16 bit": 1, "alpha": 1, "grey": 2}
    assert report["classes"][0]["smallest"] == [5, 5]
    assert report["classes"][0]["sizes"] == 4
    assert run("data", "check", cells) == 0
    assert "1 16 bit" in capsys.readouterr().out


def test_damaged_files_fail_the_check(cells: Path, capfd: pytest.CaptureFixture[str]) -> None:
    whole = (cells / "eo" / "0.png").read_bytes()
    aged(cells / "eo" / "half.png", whole[: len(whole) // 2])
    aged(cells / "mono" / "empty.jpg", b"")
    assert run("data", "check", cells) == 1
    out, err = capfd.readouterr()
    assert "error: 2 files do not decode" in out
    assert "eo/half.png: image file is truncated\n" in out
    assert "mono/empty.jpg: the file is empty\n" in out
    assert err == ""


def test_copies_are_found_by_pixels_and_by_bytes(
    cells: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(cells / "eo" / "other format.tiff", image(0))
    (cells / "eo" / "same.png").write_bytes((cells / "eo" / "1.png").read_bytes())
    code, report = checked(capsys, cells)
    assert code == 0
    assert report["copies"] == [
        {
            "names": ["eo/0.png", "eo/other format.tiff"],
            "same_bytes": False,
            "classes": ["eo"],
            "straddles": False,
        },
        {
            "names": ["eo/1.png", "eo/same.png"],
            "same_bytes": True,
            "classes": ["eo"],
            "straddles": False,
        },
    ]
    assert report["conflicts"] == []


def test_one_image_under_two_labels_fails_the_check(
    cells: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(cells / "mono" / "copy.bmp", image(3))
    assert run("data", "check", cells) == 1
    out = capsys.readouterr().out
    assert "error: 1 image has two labels\n  eo/3.png = mono/copy.bmp\n" in out


def test_copies_that_straddle_a_split_are_a_warning(
    cells: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for i in range(6):
        write(cells / "eo" / f"twin {i}.bmp", image(i))
    assert run("data", "split", cells, "--out", tmp_path / "s.json") == 0
    capsys.readouterr()
    code, report = checked(capsys, cells, "--split", tmp_path / "s.json")
    assert code == 0
    split = load_split(tmp_path / "s.json")
    expected = {
        frozenset((f"eo/{i}.png", f"eo/twin {i}.bmp"))
        for i in range(6)
        if (f"eo/{i}.png" in split.test) != (f"eo/twin {i}.bmp" in split.test)
    }
    assert {frozenset(names) for names in report["straddling"]} == expected
    assert expected
    assert report["classes"][0]["test"] == 2
    assert report["unplaced"] == 0


def test_ignored_names_are_listed_but_hidden_ones_not(
    cells: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (cells / "source_map.csv").touch()
    (cells / "eo" / ".Thumbs.png").touch()
    _, report = checked(capsys, cells)
    assert report["ignored"] == ["source_map.csv"]


def test_split_writes_a_file_that_loads(
    cells: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "split.json"
    assert run("data", "split", cells, "--out", out, "--test", "0.5", "--seed", "3") == 0
    split = load_split(out)
    assert (split.seed, split.test_fraction, len(split.test)) == (3, 0.5, 6)
    assert split.fingerprint[:12] in capsys.readouterr().out


def test_split_by_groups_leaves_unsure_images_out_and_says_so(
    cells: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = ["class,file,source,confident"]
    rows += [f"eo,{i}.png,photo{i // 2},1" for i in range(5)] + ["eo,5.png,photo9,0"]
    rows += [f"mono,{i}.bmp,field{i // 2},1" for i in range(4)]
    (tmp_path / "map.csv").write_text("\n".join(rows))
    out = tmp_path / "split.json"
    assert run("data", "split", cells, "--out", out, "--groups", tmp_path / "map.csv") == 0
    split = load_split(out)
    assert split.left_out == ["eo/5.png", "mono/4.bmp", "mono/5.bmp"]
    assert split.grouped
    printed = capsys.readouterr().out
    assert "left out: 1 image whose source is not sure" in printed
    assert "left out: 2 images without a row" in printed


@pytest.mark.parametrize(
    "arguments",
    [
        ["data", "check", "{tmp}/gone"],
        ["data", "check", "{tmp}"],
        ["data", "check", "{cells}", "--split", "{tmp}/gone.json"],
        ["data", "split", "{tmp}/gone", "--out", "{tmp}/s.json"],
        ["data", "split", "{cells}", "--out", "{tmp}/s.json", "--groups", "{tmp}/gone.csv"],
        ["data", "split", "{cells}", "--out", "{cells}/eo/0.png/s.json"],
        ["data", "split", "{cells}", "--out", "/proc/s.json"],
    ],
)
def test_bad_input_ends_with_one_line_and_code_2(
    arguments: list[str], cells: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(*[a.format(tmp=tmp_path, cells=cells) for a in arguments]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert not (tmp_path / "s.json").exists()


@pytest.mark.parametrize("share", ["0", "1", "1.5", "x"])
def test_impossible_shares_are_wrong_use(
    share: str, cells: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run("data", "split", cells, "--out", tmp_path / "s.json", "--test", share) == 2
    assert "--test" in capfd.readouterr().err


def test_the_table_fits_a_narrow_terminal(cells: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("data", "check", cells) == 0
    out = capsys.readouterr().out
    assert "usable" in out
    assert max(len(line) for line in out.splitlines() if "cells of" not in line) <= 80


def aged(path: Path, content: bytes) -> None:
    """A file that nobody has written to for long: it is no half copy."""
    path.write_bytes(content)
    os.utime(path, (0, 0))


def test_what_is_passed_over_is_named_with_its_remedy(
    cells: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("eo/1.webp", "eo/2.webp", "mono/scan.czi", "loose.png", "eo/.hidden.png"):
        (cells / name).write_bytes(b"x")
    (cells / "eo" / "deeper").mkdir()
    code, report = checked(capsys, cells)
    assert code == 0
    said = "\n".join(report["passed_over"])
    for part in (
        "2 WebP images (eo/1.webp, eo/2.webp); convert to PNG or JPEG",
        "a microscope program's file (mono/scan.czi); export",
        "an image in no class folder (loose.png); move",
        "a hidden image (eo/.hidden.png); rename",
        "a folder inside a class (eo/deeper); move",
    ):
        assert part in said
    run("data", "check", cells)
    assert "2 WebP images" in capsys.readouterr().out


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert run("data", *arguments) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    return err


def test_a_folder_of_other_images_and_a_nest_are_said(
    tmp_path: Path, cells: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nest = tmp_path / "nest"
    for side in ("TRAIN", "TEST"):
        shutil.copytree(cells, nest / side)
    said = refused(capsys, "check", nest)
    assert "its folders (TEST, TRAIN) hold folders of images themselves, as TEST/eo" in said
    assert f"give one of them, such as {nest / 'TEST'}" in said
    for path in (cells / "eo").iterdir():
        path.rename(path.with_suffix(".webp"))
    said = refused(capsys, "check", cells)
    assert "class 'eo' has no images" in said
    assert "6 WebP images (eo/0.webp, eo/1.webp, eo/2.webp, …); convert" in said


def test_composed_and_decomposed_names_are_one(
    tmp_path: Path, cells: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for form in ("NFC", "NFD"):
        shutil.copytree(cells / "eo", tmp_path / form / unicodedata.normalize(form, "é"))
        shutil.copytree(cells / "mono", tmp_path / form / "z")
        assert run("data", "split", tmp_path / form, "--out", tmp_path / f"{form}.json") == 0
    composed = load_split(tmp_path / "NFC.json")
    assert composed.classes == ["z", "é"]
    assert load_split(tmp_path / "NFD.json") == composed
    # A split as another system wrote it, with decomposed names in the order of those.
    fields = json.loads((tmp_path / "NFC.json").read_text())
    for key in ("train", "test", "classes"):
        fields[key] = sorted(unicodedata.normalize("NFD", name) for name in fields[key])
    assert fields["classes"] == ["e\u0301", "z"]
    fields["fingerprint"] = fingerprint(fields["train"], fields["test"], [])
    (tmp_path / "other.json").write_text(json.dumps(fields))
    assert load_split(tmp_path / "other.json") == composed
    fields["fingerprint"] = "0" * 64
    (tmp_path / "other.json").write_text(json.dumps(fields))
    with pytest.raises(DataError, match="fingerprint"):
        load_split(tmp_path / "other.json")
    capsys.readouterr()
    code, report = checked(capsys, tmp_path / "NFD", "--split", tmp_path / "NFC.json")
    assert (code, report["unplaced"]) == (0, 0)
    (tmp_path / "NFC" / "e\u0301").mkdir()
    assert "two names are both 'é'" in refused(capsys, "check", tmp_path / "NFC")


@pytest.mark.parametrize("fault", ["damaged", "empty", "conflict"])
def test_a_split_of_unusable_data_is_refused(
    tmp_path: Path, cells: Path, fault: str, capsys: pytest.CaptureFixture[str]
) -> None:
    content = (cells / "eo" / "0.png").read_bytes()
    if fault == "conflict":
        (cells / "mono" / "0.png").write_bytes(content)
    else:
        aged(cells / "eo" / "0.png", content[:60] if fault == "damaged" else b"")
    out = tmp_path / "split.json"
    said = refused(capsys, "split", cells, "--out", out)
    assert (
        "in two classes (eo/0.png = mono/0.png)"
        if fault == "conflict"
        else "1 image cannot be read"
    ) in said
    assert "eo/0.png" in said
    assert "data check" in said
    assert not out.exists()


@pytest.fixture
def patients(tmp_path: Path) -> Path:
    root = tmp_path / "patients"
    for patient in range(5):
        for number in range(3):
            name = f"smear_{patient}_{number}.png"
            write(root / "eo" / name, image(10 * patient + number))
            write(root / "mono" / name, image(100 + 10 * patient + number))
    return root


def test_names_that_suggest_one_patient_are_warned_of_and_can_be_used(
    tmp_path: Path, cells: Path, patients: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "split.json"
    assert run("data", "split", cells, "--out", out) == 0
    assert "warning" not in capsys.readouterr().out
    assert run("data", "split", patients, "--out", out) == 0
    said = capsys.readouterr().out
    assert "names suggest several images of one patient or slide (eo/smear_0_0.png" in said
    (expression,) = re.findall("--groups-from-name '(.*)'", said)
    assert run("data", "split", patients, "--out", out, "--groups-from-name", expression) == 0
    assert "warning" not in capsys.readouterr().out
    split = load_split(out)
    assert split.grouped
    sides = [{split.groups[name] for name in names} for names in (split.train, split.test)]
    assert not sides[0] & sides[1]
    assert len(sides[0] | sides[1]) == 5


def test_a_wrong_expression_is_said(
    tmp_path: Path, patients: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "split.json"
    for expression, finding in (
        ("(smear", "no regular expression"),
        ("smear", "has no group"),
        (r"(slide\d)", "matches no name, such as 'smear_0_0.png'"),
    ):
        arguments = ("split", patients, "--out", out, "--groups-from-name", expression)
        assert finding in refused(capsys, *arguments)
    assert not out.exists()


@pytest.mark.parametrize(
    ("names", "suggests"),
    [
        (["P012-1.png", "P012-2.png", "P013-1.png", "P013-2.png"], True),
        (["_12_1.jpeg", "_12_2.jpeg", "_13_1.jpeg", "_13_2.jpeg"], True),
        (["Patient 3 (1).png", "Patient 3 (2).png", "Patient 4 (1).png", "x.png"], True),
        (["BA_1.jpg", "BA_2.jpg", "BA_3.jpg", "BA_4.jpg"], False),
        (["cell1.png", "cell2.png", "cell3.png", "cell4.png"], False),
        (["a.png", "b.png", "c.png", "d.png"], False),
        (["p1.png", "p2.png", "p3.png", "p4.png"], False),
    ],
)
def test_which_names_suggest_a_patient(names: list[str], suggests: bool) -> None:
    images = tuple(LabelledImage(Path(name), f"a/{name}", 0) for name in names)
    assert (hint(ImageFolder(Path(), ("a", "b"), images)) is not None) == suggests
