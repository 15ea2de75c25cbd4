"""Folders of several microscopes, merged into a manifest that is taken for a folder."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from qlvit_edge.calibration.images import files_elsewhere
from qlvit_edge.cli import main
from qlvit_edge.data.folder import ImageFolder, scan
from qlvit_edge.data.labelled import NO_CLASS
from qlvit_edge.data.split import load_split, source_split, stratified_split
from qlvit_edge.errors import DataError
from qlvit_edge.training.holdout import hold_out

TOML = """
[[folder]]
path = "old"
domain = "zeiss"
groups = "old.csv"
copies-per-source = 2
same-source = [["p1", "p2"]]
test-sources = ["p2"]
[folder.classes]
NEUT = "neutrophil"
LYM = "lymphocyte"

[[folder]]
path = "new"
domain = "nikon"
groups-from-name = '(case\\d+)'
unknown = ["smudge"]
[folder.classes]
segmented = "neutrophil"
lymph = "lymphocyte"
mono = "monocyte"
"""


@pytest.fixture
def toml(tmp_path: Path) -> Path:
    """Two laboratories: one with a table of photographs, one with cases in its names."""
    rows = ["class,file,source,confident"]
    for name in ("NEUT", "LYM"):
        for source in range(6):
            for copy in range(3):
                _write(tmp_path / "old" / name / f"_{copy}_{source}.bmp")
                rows.append(f"{name},_{copy}_{source}.bmp,p{source},{int(source != 5)}")
    (tmp_path / "old.csv").write_text("\n".join(rows))
    for name in ("segmented", "lymph", "mono", "smudge", "artefact"):
        for case in range(4):
            for cell in range(2):
                _write(tmp_path / "new" / name / f"case{case}-{cell}.bmp")
    path = tmp_path / "sets.toml"
    path.write_text(TOML)
    return path


def _write(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    seed = list(str(path).encode())
    cv2.imwrite(str(path), np.random.default_rng(seed).integers(0, 256, (9, 9, 3), np.uint8))


def _run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    assert isinstance(ended.value.code, int)
    return ended.value.code


@pytest.fixture
def manifest(toml: Path) -> Path:
    out = toml.parent / "blood.manifest"
    assert _run("data", "merge", toml, "--out", out) == 0
    return out


def test_a_manifest_is_read_as_a_folder_with_microscopes_and_sources(manifest: Path) -> None:
    folder = scan(manifest)
    assert folder.classes == ("lymphocyte", "monocyte", "neutrophil")
    assert folder.domains == ("nikon", "zeiss")
    counts = Counter((folder.classes[image.label], image.domain) for image in folder.images)
    # Photographs 1 and 2 are one, photograph 5 is not sure: four of two copies each.
    assert counts["neutrophil", "zeiss"] == counts["lymphocyte", "zeiss"] == 8
    assert counts["neutrophil", "nikon"] == counts["monocyte", "nikon"] == 8
    assert {image.source for image in folder.images if image.domain == "zeiss"} == {
        *("zeiss/p0", "zeiss/p1", "zeiss/p3", "zeiss/p4")
    }
    assert {image.source for image in folder.images if image.held} == {"zeiss/p1"}
    assert "neutrophil/new/segmented/case0-1.bmp" in folder.sources
    assert [image.path.is_file() for image in folder.images].count(False) == 0
    assert {image.label for image in folder.unknown} == {NO_CLASS}
    assert {image.relative.partition("/")[0] for image in folder.unknown} == {"smudge"}


def test_what_is_left_out_is_said(toml: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run("data", "merge", toml, "--out", toml.parent / "blood.manifest") == 0
    output = capsys.readouterr().out
    for said in (
        "left out: 1 folder (artefact)",
        "6 images whose source is not sure",
        "14 images of sources with more than 2 of a class",
    ):
        assert said in output


def test_the_copies_kept_do_not_depend_on_what_else_is_there(manifest: Path, toml: Path) -> None:
    before = {image.relative for image in scan(manifest).images}
    again = toml.parent / "again.manifest"
    toml.write_text(TOML.partition('[[folder]]\npath = "new"')[0])
    assert _run("data", "merge", toml, "--out", again) == 0
    own = {image.relative for image in scan(again).images}
    assert own == {name for name in before if "/old/" in name}


def test_split_and_hold_out_keep_sources_whole_and_every_microscope_on_both_sides(
    manifest: Path, tmp_path: Path
) -> None:
    assert _run("data", "split", manifest, "--out", tmp_path / "split.json") == 0
    split, folder = load_split(tmp_path / "split.json"), scan(manifest)
    assert split.grouped
    assert not split.left_out
    assert {split.groups[name] for name in split.train}.isdisjoint(
        {split.groups[name] for name in split.test}
    )
    assert "zeiss/p1" in {split.groups[name] for name in split.test}
    test, train = set(split.test), set(split.train)
    kinds = {(image.label, image.domain) for image in folder.images}
    for side in (test, train):
        assert {(i.label, i.domain) for i in folder.images if i.relative in side} == kinds
    training = [image for image in folder.images if image.relative in train]
    kept, held = hold_out(training, split, 0.1, 0)
    assert {i.source for i in kept}.isdisjoint({i.source for i in held})
    for images in (kept, held):
        assert {(image.label, image.domain) for image in images} == kinds


def test_sources_for_testing_are_the_test_side_whatever_the_seed(manifest: Path) -> None:
    folder = scan(manifest)
    sides = set()
    for seed in range(4):
        split = source_split(folder, 0.5, seed)
        sources = {split.groups[name] for name in split.test}
        assert {source for source in sources if source.startswith("zeiss")} == {"zeiss/p1"}
        sides.add(frozenset(sources))
    assert len(sides) > 1  # the other microscope's are drawn


def test_a_split_at_random_divides_every_microscope(manifest: Path) -> None:
    folder = scan(manifest)
    test = set(stratified_split(folder, 0.25, 0).test)
    counts: defaultdict[tuple[int, str], int] = defaultdict(int)
    for image in folder.images:
        counts[image.label, image.domain] += image.relative in test
    assert set(counts.values()) == {2}


def test_a_moved_manifest_finds_what_lies_below_it(manifest: Path, tmp_path: Path) -> None:
    names = [image.relative for image in scan(manifest).images]
    moved = tmp_path.rename(tmp_path.with_name("moved"))
    try:
        assert [image.relative for image in scan(moved / manifest.name).images] == names
        elsewhere = moved / "below" / "x.manifest"
        assert _run("data", "merge", moved / "sets.toml", "--out", elsewhere) == 0
        assert json.loads(elsewhere.read_text())["images"][0]["file"].startswith("/")
    finally:
        moved.rename(tmp_path)


def test_test_images_of_a_manifest_are_known_elsewhere(manifest: Path) -> None:
    """Calibration on other data must not meet the run's test images."""
    folder = scan(manifest)
    split = stratified_split(folder, 0.25, 0)
    found = files_elsewhere(manifest.parent / "new", manifest, split)
    wanted = {image.path for image in folder.images if image.relative in split.test}
    assert set(found) == wanted


def _remove(first: Path) -> None:
    first.unlink()


def _grow(first: Path) -> None:
    first.write_bytes(first.read_bytes() + b"\0")


@pytest.mark.parametrize(
    ("change", "finding"), [(_remove, "1 image of 48"), (_grow, "1 image that it names changed")]
)
def test_missing_and_changed_files_are_refused(
    change: Callable[[Path], None], finding: str, manifest: Path
) -> None:
    change(scan(manifest).images[0].path)
    with pytest.raises(DataError, match=finding):
        scan(manifest)


def test_check_finds_a_file_of_the_same_size_with_other_content(
    manifest: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = scan(manifest).images[0]
    content = bytearray(first.path.read_bytes())
    content[-5] ^= 1  # a pixel
    first.path.write_bytes(content)
    assert _run("data", "check", manifest) == 1
    assert f"1 file changed since the manifest was made\n  {first.relative}" in (
        capsys.readouterr().out
    )
    assert _run("data", "split", manifest, "--out", manifest.with_name("split.json")) == 2


@pytest.mark.parametrize(
    ("old", "new", "finding"),
    [
        ('path = "old"', 'path = "gone"', "no such folder"),
        ('domain = "zeiss"', "", "folder 1 domain: is missing"),
        ("groups-from-name", "groups-by-name", "did you mean 'groups-from-name'"),
        ('groups = "old.csv"', 'groups = "old.csv"\nblocks = 10', "give one of groups"),
        ('groups = "old.csv"', "", "copies-per-source needs groups"),
        ('test-sources = ["p2"]', 'test-sources = ["p9"]', "no image has the source 'p9'"),
        ('lymph = "lymphocyte"', 'lymph = "Lymphocyte"', "differ in case only"),
        ('unknown = ["smudge"]', 'unknown = ["mono"]', "folder 'mono' is named twice"),
        ('unknown = ["smudge"]', 'unknown = ["blast"]', "holds no folder 'blast'"),
        ('path = "new"', 'path = "x/old"', "two folders are called 'old'"),
        ('mono = "monocyte"', 'mono = "a/b"', "is no name"),
        ("[[folder]]", "[[folder]", "not valid TOML"),
        ('domain = "zeiss"', 'domian = "zeiss"', "did you mean 'domain'"),
        ('path = "new"', 'path = "old/.."', "the last part of path 'old/..' cannot name it"),
        ("'(case\\d+)'", "'(case'", "new: groups-from-name '(case': no regular expression"),
        ("'(case\\d+)'", "'(slide)'", "new: groups-from-name '(slide)': it matches no name"),
    ],
)
def test_mistakes_in_the_toml_end_in_one_line(
    old: str, new: str, finding: str, toml: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    toml.write_text(TOML.replace(old, new, 1))
    out = toml.parent / "x.manifest"
    assert _run("data", "merge", toml, "--out", out) == 2
    error = capsys.readouterr().err
    assert finding in error
    assert error.count("\n") == 1
    assert not out.exists()


@pytest.mark.parametrize(
    ("old", "new", "finding"),
    [
        ('"version": 1', '"version": 2', "version 2, .* reads 1; install a newer qlvit-edge"),
        ('"version": 1', '"version": 0', "not a valid manifest"),
        ('"name":"neutrophil/', '"name":"basophil/', "in none of the classes"),
        ('"kind": "images', '"kind": "pictures', "neither a folder nor a manifest"),
        ('"size":', '"size":-', "not a valid manifest"),
        ("}\n", "", "not a manifest"),
    ],
)
def test_damaged_manifests_are_refused(old: str, new: str, finding: str, manifest: Path) -> None:
    text = manifest.read_text()
    assert old in text
    manifest.write_text(text.replace(old, new, 1) if new else text.rstrip().rstrip("}"))
    with pytest.raises(DataError, match=finding):
        scan(manifest)


@pytest.mark.parametrize("given", ["sets.toml", "old.csv"])
def test_what_is_read_is_not_written_over(
    given: str, toml: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = toml.with_name(given).read_bytes()
    assert _run("data", "merge", toml, "--out", toml.with_name(given)) == 2
    assert "is read by this command; write to another file" in capsys.readouterr().err
    assert toml.with_name(given).read_bytes() == before


def test_a_split_is_not_written_over_its_manifest(
    manifest: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = manifest.read_bytes()
    assert _run("data", "split", manifest, "--out", manifest) == 2
    assert "is read by this command" in capsys.readouterr().err
    assert manifest.read_bytes() == before


def test_a_class_folder_under_two_paths_is_refused(
    toml: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (toml.parent / "again").symlink_to("new")
    toml.write_text(
        TOML + '[[folder]]\npath="again"\ndomain="other"\n[folder.classes]\nmono="monocyte"\n'
    )
    assert _run("data", "merge", toml, "--out", toml.parent / "x.manifest") == 2
    assert "again/mono: goes into both 'new' and 'again'" in capsys.readouterr().err


def test_blocks_take_files_in_a_row(toml: Path) -> None:
    toml.write_text(
        '[[folder]]\npath="new"\ndomain="n"\nblocks=4\n[folder.classes]\nmono="m"\nlymph="l"\n'
    )
    out = toml.parent / "x.manifest"
    assert _run("data", "merge", toml, "--out", out) == 0
    folder: ImageFolder = scan(out)
    assert folder.sources["m/new/mono/case1-1.bmp"] == "n/new/mono/0"
    assert folder.sources["m/new/mono/case2-0.bmp"] == "n/new/mono/1"
    assert set(Counter(folder.sources.values()).values()) == {4}


def test_blocks_of_two_folders_of_one_microscope_are_different_sources(toml: Path) -> None:
    for copy in range(4):
        _write(toml.parent / "n" / "mono" / f"{copy}.bmp")
    toml.write_text(
        "".join(
            f'[[folder]]\npath="{path}"\ndomain="n"\nblocks=4\n[folder.classes]\nmono="m"\n{more}\n'
            for path, more in (("new", 'lymph="l"'), ("n", ""))
        )
    )
    out = toml.parent / "x.manifest"
    assert _run("data", "merge", toml, "--out", out) == 0
    sources = scan(out).sources
    assert sources["m/n/mono/0.bmp"] == "n/mono/0"
    assert sources["m/new/mono/case0-0.bmp"] == "n/new/mono/0"
