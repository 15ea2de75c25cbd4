"""Scanning a tree of labelled images."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from qlvit_edge.data.folder import scan
from qlvit_edge.errors import DataError


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")


def test_classes_are_the_sorted_folder_names(tmp_path: Path) -> None:
    touch(tmp_path, "mono/2.png", "mono/1.JPG", "Éo s/a.tiff", "Éo s/b.bmp", "baso/1.jpeg")
    touch(tmp_path, "baso/2.tif")
    folder = scan(tmp_path)
    assert folder.classes == ("baso", "mono", "Éo s")
    assert [image.relative for image in folder.images] == [
        "baso/1.jpeg",
        "baso/2.tif",
        "mono/1.JPG",
        "mono/2.png",
        "Éo s/a.tiff",
        "Éo s/b.bmp",
    ]
    assert [image.label for image in folder.images] == [0, 0, 1, 1, 2, 2]
    assert all(image.path.is_file() for image in folder.images)


def test_other_files_are_listed_and_hidden_ones_are_not(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.png", "a/2.png", "b/1.png", "b/2.png", "a/.DS_Store", ".git/x.png")
    touch(tmp_path, "notes.csv", "a/readme.txt", "b/deeper/3.png", "a/.4.png")
    folder = scan(tmp_path)
    assert folder.ignored == ("notes.csv", "a/readme.txt", "b/deeper")
    assert folder.classes == ("a", "b")
    assert len(folder.images) == 4


@pytest.mark.parametrize(
    ("names", "finding"),
    [
        ([], "holds no class folders"),
        (["1.png", "2.png"], "holds no class folders"),
        (["a/1.png", "a/2.png"], r"one class only \('a'\)"),
        (["a/1.png", "a/2.png", "b/1.png"], "class 'b' has one image only"),
        (["a/1.png", "a/2.png", "b/1.txt"], "class 'b' has no images"),
    ],
)
def test_trees_that_cannot_train_are_refused(
    tmp_path: Path, names: list[str], finding: str
) -> None:
    touch(tmp_path, *names)
    with pytest.raises(DataError, match=finding):
        scan(tmp_path)


def test_missing_folders_and_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        scan(tmp_path / "gone")
    touch(tmp_path, "file")
    with pytest.raises(DataError, match="neither a folder nor a manifest"):
        scan(tmp_path / "file")


def test_names_that_are_not_utf8_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.png", "a/2.png", "b/1.png", "b/2.png")
    with open(os.fsencode(tmp_path) + b"/b/\xff.png", "wb"):
        pass
    with pytest.raises(DataError, match="not UTF-8; rename it"):
        scan(tmp_path)
