"""Folders of foreign data sets find the model's classes, and nothing is guessed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from qlvit_edge.errors import DataError
from qlvit_edge.evaluation.class_match import (
    ClassMap,
    ClassMatch,
    match_classes,
    parse_pairs,
    read_class_map,
)

LABELS = ("BASO_PHIL", "Lymphocyte", "NEUTROPHIL")


def _match(
    folders: list[str],
    class_map: ClassMap | None = None,
    *,
    labels: tuple[str, ...] | None = LABELS,
    outputs: int = 3,
    allow_unknown: bool = False,
) -> ClassMatch:
    return match_classes(
        folders,
        labels,
        outputs,
        class_map=class_map or {},
        allow_unknown=allow_unknown,
        subject="cells",
    )


def test_capitals_spaces_and_marks_do_not_matter_and_are_said() -> None:
    found = _match(["baso phil", "LYMPHOCYTE", "NEUTROPHIL"])
    assert found.of_folder == (0, 1, 2)
    assert found.labels == LABELS
    assert "baso phil as BASO_PHIL; LYMPHOCYTE as Lymphocyte" in found.notes[0]
    assert _match(list(LABELS)).notes == ()


def test_labels_that_differ_in_their_marks_alone_are_matched_exactly() -> None:
    labels = ("T cell", "T-cell", "B")
    assert _match(["B", "T cell", "T-cell"], labels=labels).of_folder == (2, 0, 1)
    with pytest.raises(DataError, match="does not know tcell"):
        _match(["B", "tcell"], labels=labels)


def test_a_map_merges_folders_and_names_unknown_classes() -> None:
    found = _match(
        ["Band", "Seg", "lymphocyte", "Blast"],
        {"band": "neutrophil", "Seg": "NEUTROPHIL", "Blast": None},
    )
    assert found.of_folder == (2, 2, 1, None)
    assert found.unknown == ("Blast",)
    assert found.missing == ("BASO_PHIL",)
    assert "Blast as unknown" in found.notes[1]


def test_unknown_folders_are_an_error_with_a_likely_pair_unless_allowed() -> None:
    with pytest.raises(
        DataError,
        match=r"does not know Neutrophils and .* BASO_PHIL.*--map 'Neutrophils=NEUTROPHIL'",
    ):
        _match(["Lymphocyte", "Neutrophils"])
    found = _match(["Lymphocyte", "Neutrophils"], allow_unknown=True)
    assert found.unknown == ("Neutrophils",)


def test_a_map_to_a_class_that_is_not_the_models_is_refused() -> None:
    with pytest.raises(DataError, match="says Seg is NEUTROFIL, which the model does not know"):
        _match(["Seg", "Lymphocyte"], {"Seg": "NEUTROFIL"}, allow_unknown=True)


def test_a_map_that_names_no_folder_is_said() -> None:
    found = _match(list(LABELS), {"Sge": "NEUTROPHIL"})
    assert "folders that are not there: Sge" in found.notes[0]


def test_models_that_name_no_classes_take_folders_in_order_or_by_number() -> None:
    assert _match(["a", "b", "c"], labels=None).labels == ("a", "b", "c")
    found = _match(["a", "b"], {"a": "2", "b": "0"}, labels=None)
    assert found.of_folder == (2, 0)
    with pytest.raises(DataError, match="has 2 classes, the model 3 outputs"):
        _match(["a", "b"], labels=None)


def test_pairs_of_the_command_line() -> None:
    assert parse_pairs(["a=X", "b=", "c=d=Y"]) == {"a": "X", "b": None, "c=d": "Y"}
    for wrong in (["a"], ["=X"], ["a=X", "a=Y"]):
        with pytest.raises(DataError, match="--map"):
            parse_pairs(wrong)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("map.json", '{"Seg": "NEUTROPHIL", "Blast": null}'),
        ("map.csv", "folder,class\r\nSeg,NEUTROPHIL\r\nBlast,\r\n"),
        ("map.CSV", "\ufeffclass,folder\nNEUTROPHIL,Seg\n,Blast\n"),
    ],
)
def test_class_maps_are_json_or_csv(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert read_class_map(tmp_path / name) == {"Seg": "NEUTROPHIL", "Blast": None}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("map.json", b"[]"),
        ("map.json", b'{"a": 1}'),
        ("map.json", b'{"a": {"b": "X"}}'),
        ("map.json", b'{"a": "X", "a": "Y"}'),
        ("map.json", b"9" * 5000),
        ("map.json", b"[" * 100_000),
        ("map.json", b"\xff\xfe"),
        ("map.json", b" " * (1 << 20) + b"{}"),
        ("map.csv", b"Seg,NEUTROPHIL\n"),
        ("map.csv", b"folder,class\na,b,c\n"),
        ("map.csv", b"folder,class\n,X\n"),
        ("map.csv", b"folder,class\na,X\na,Y\n"),
        ("map.csv", b'folder,class\n"a,X\n'),
    ],
)
def test_what_is_no_class_map_is_refused(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=name):
        read_class_map(tmp_path / name)


def test_pipes_and_missing_files_are_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "map.json")
    for path in (tmp_path / "map.json", tmp_path, tmp_path / "none.json", Path("/dev/zero")):
        with pytest.raises(DataError, match=str(path)):
            read_class_map(path)
