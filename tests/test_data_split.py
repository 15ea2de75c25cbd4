"""Splits: the paper's, the source-disjoint one, and their files."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qlvit_edge.data.folder import ImageFolder, LabelledImage, scan
from qlvit_edge.data.source_map import read_source_map
from qlvit_edge.data.split import (
    Split,
    fingerprint,
    grouped_split,
    load_split,
    require_fit,
    select,
    stratified_split,
)
from qlvit_edge.errors import DataError


def folder_of(**counts: int) -> ImageFolder:
    classes = tuple(sorted(counts))
    images = [
        LabelledImage(Path(f"/none/{name}/{i:04}.png"), f"{name}/{i:04}.png", label)
        for label, name in enumerate(classes)
        for i in range(counts[name])
    ]
    return ImageFolder(Path("/none"), classes, tuple(images))


def per_class(names: list[str]) -> Counter[str]:
    return Counter(name.partition("/")[0] for name in names)


def test_stratified_split_takes_the_share_of_each_class() -> None:
    folder = folder_of(a=100, b=31, c=2)
    split = stratified_split(folder, 0.2, seed=0)
    assert per_class(split.test) == {"a": 20, "b": 6, "c": 1}
    assert per_class(split.train) == {"a": 80, "b": 25, "c": 1}
    assert split.left_out == []
    assert not split.grouped
    assert split.groups == {}


def test_a_seed_is_a_draw() -> None:
    folder = folder_of(a=40, b=40)
    first = stratified_split(folder, 0.2, seed=0)
    assert stratified_split(folder, 0.2, seed=0) == first
    other = stratified_split(folder, 0.2, seed=1)
    assert other.test != first.test
    assert other.fingerprint != first.fingerprint


def test_the_draw_is_the_recorded_one() -> None:
    # A split must not change with the version of Python or of this package.
    split = stratified_split(folder_of(a=10, b=5), 0.2, seed=0)
    assert split.test == ["a/0001.png", "a/0007.png", "b/0000.png"]


def test_the_draw_is_not_the_order_of_names() -> None:
    hits: Counter[str] = Counter()
    for seed in range(200):
        hits.update(stratified_split(folder_of(a=10, b=10), 0.2, seed).test)
    assert len(hits) == 20
    assert all(15 <= count <= 70 for count in hits.values())  # 40 expected


@settings(max_examples=60, deadline=None)
@given(
    sources=st.dictionaries(st.integers(0, 25), st.integers(1, 30), min_size=6),
    seed=st.integers(0, 5),
)
def test_grouped_sides_share_no_source(sources: dict[int, int], seed: int) -> None:
    folder = folder_of(a=200, b=200)
    groups: dict[str, str] = {}
    for label, name in enumerate("ab"):
        numbers = iter(range(200))
        for source, size in sources.items():
            if source % 2 == label:
                for i in (j for j, _ in zip(numbers, range(size), strict=False)):
                    groups[f"{name}/{i:04}.png"] = f"s{source}"
    if min(Counter(k[0] + groups[k] for k in groups).values(), default=0) == 0 or any(
        len({v for k, v in groups.items() if k[0] == name}) < 2 for name in "ab"
    ):
        with pytest.raises(DataError):
            grouped_split(folder, 0.2, seed, groups)
        return
    split = grouped_split(folder, 0.2, seed, groups)
    train = {groups[name] for name in split.train}
    test = {groups[name] for name in split.test}
    assert train.isdisjoint(test)
    assert set(per_class(split.train)) == set(per_class(split.test)) == {"a", "b"}
    assert {*split.train, *split.test} == set(groups) == set(split.groups)
    assert len(split.left_out) == 400 - len(groups)


def test_grouped_split_is_about_stratified() -> None:
    folder = folder_of(a=300, b=600)
    groups = {image.relative: image.relative[:4] for image in folder.images}  # tens per source
    groups = {name: f"{name[0]}{int(name[2:6]) // 10}" for name in groups}
    split = grouped_split(folder, 0.2, 0, groups)
    assert per_class(split.test) == {"a": 60, "b": 120}
    assert grouped_split(folder, 0.2, 1, groups).test != split.test


def test_a_source_with_two_classes_stays_whole() -> None:
    folder = folder_of(a=40, b=40)
    groups = {i.relative: f"s{int(i.relative[2:6]) // 4}" for i in folder.images}
    split = grouped_split(folder, 0.25, 0, groups)
    assert {groups[n] for n in split.train}.isdisjoint({groups[n] for n in split.test})
    assert per_class(split.test)["a"] == per_class(split.test)["b"] in (8, 12)


def test_a_class_of_two_sources_is_on_both_sides() -> None:
    folder = folder_of(a=20, b=20)
    groups = {i.relative: i.relative[0] + str(int(i.relative[2:6]) // 10) for i in folder.images}
    split = grouped_split(folder, 0.2, 0, groups)
    assert per_class(split.test) == {"a": 10, "b": 10}


def test_a_class_of_one_source_cannot_be_split() -> None:
    folder = folder_of(a=4, b=4)
    groups = {i.relative: "x" if i.label else i.relative for i in folder.images}
    with pytest.raises(DataError, match="class 'b' comes from 1 known source"):
        grouped_split(folder, 0.2, 0, groups)
    with pytest.raises(DataError, match="no image has a known source"):
        grouped_split(folder, 0.2, 0, {})


def test_fingerprint_depends_on_names_and_sides_alone() -> None:
    assert fingerprint(["a", "b"], ["c"], []) == fingerprint(["b", "a"], ["c"], [])
    assert fingerprint(["a", "b"], ["c"], []) != fingerprint(["a"], ["b", "c"], [])
    assert fingerprint(["a", "b"], ["c"], []) != fingerprint(["a", "b"], [], ["c"])


def saved(path: Path, **changes: Any) -> Path:
    fields = stratified_split(folder_of(a=5, b=5), 0.2, 0).model_dump()
    path.write_text(json.dumps(fields | changes), encoding="utf-8")
    return path


def test_a_split_file_round_trips(tmp_path: Path) -> None:
    split = stratified_split(folder_of(a=5, b=5), 0.2, 0)
    assert load_split(saved(tmp_path / "s.json")) == split


@pytest.mark.parametrize(
    ("changes", "finding"),
    [
        ({"version": 2}, "version: Input should be 1"),
        ({"test": ["a/0000.png"]}, r"named twice|fingerprint"),
        ({"test": ["c/0000.png"]}, "in none of the classes"),
        ({"left_out": ["a/9999.png"]}, "fingerprint does not fit"),
        ({"classes": ["a"]}, "classes: "),
        ({"surprise": 1}, "surprise: Extra inputs"),
        ({"seed": "x"}, "seed: "),
        ({"train": None}, "train: "),
    ],
)
def test_invalid_split_files_are_refused(
    tmp_path: Path, changes: dict[str, Any], finding: str
) -> None:
    with pytest.raises(DataError, match=finding) as caught:
        load_split(saved(tmp_path / "s.json", **changes))
    assert "\n" not in str(caught.value)
    assert "s.json" in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"null"])
def test_files_that_are_no_split_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "s.json").write_bytes(content)
    with pytest.raises(DataError, match="not a valid split"):
        load_split(tmp_path / "s.json")


def test_missing_split_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        load_split(tmp_path / "gone.json")
    with pytest.raises(DataError, match="is a folder, not a file"):
        load_split(tmp_path)


def test_select_keeps_the_order_and_refuses_unknown_names() -> None:
    folder = folder_of(a=3, b=3)
    names = ["b/0002.png", "a/0000.png"]
    assert [image.relative for image in select(folder, names)] == names
    with pytest.raises(DataError, match=r"names 'a/0009\.png', which is not there"):
        select(folder, ["a/0009.png"])


def test_a_split_of_another_folder_does_not_fit() -> None:
    split: Split = stratified_split(folder_of(a=5, b=5), 0.2, 0)
    require_fit(split, folder_of(a=6, b=5))
    with pytest.raises(DataError, match="has classes a, c, the split a, b"):
        require_fit(split, folder_of(a=5, c=5))
    with pytest.raises(DataError, match="which is not there"):
        require_fit(split, folder_of(a=4, b=5))


def test_source_map_tells_sure_rows_from_weak_ones(tmp_path: Path) -> None:
    path = tmp_path / "map.csv"
    path.write_text(
        "\ufeffclass,file,source,confident\na,1.png,p 1,1\na,2.png,,0\nb,ü,p 2,1\n", "utf-8"
    )
    known = read_source_map(path)
    assert known.sources == {"a/1.png": "p 1", "b/ü": "p 2"}
    assert known.weak == {"a/2.png"}


def test_source_map_may_do_without_confidence(tmp_path: Path) -> None:
    path = tmp_path / "map.csv"
    path.write_text("source,class,file\np,a,1.png\n")
    assert read_source_map(path).sources == {"a/1.png": "p"}


@pytest.mark.parametrize(
    ("text", "finding"),
    [
        ("", "line 1 lacks the column class, file, source"),
        ("class,file\na,b\n", "line 1 lacks the column source"),
        ("class,file,source\na,b,c\na,b\n", "line 3 has too many or too few"),
        ("class,file,source\na,b,c,d\n", "line 2 has too many or too few"),
        ("class,file,source,confident\na,b,c,maybe\n", "line 2: confident is 'maybe'"),
        ("class,file,source,confident\na,b,,1\n", "line 2 lacks a class, file or source"),
        ("class,file,source\na,b,c\na,b,d\n", "line 3 names 'a/b' again"),
        ('class,file,source\na,b,"c\n', "not a CSV file"),
    ],
)
def test_malformed_source_maps_name_the_line(tmp_path: Path, text: str, finding: str) -> None:
    path = tmp_path / "map.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=finding):
        read_source_map(path)


def test_source_map_in_another_encoding_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "map.csv"
    path.write_bytes("class,file,source\nä,b,c\n".encode("latin-1"))
    with pytest.raises(DataError, match="not a CSV file in UTF-8"):
        read_source_map(path)
    with pytest.raises(DataError, match="cannot be read"):
        read_source_map(tmp_path / "gone.csv")


def test_scanned_names_are_the_split_names(tmp_path: Path) -> None:
    for name in ("a/1.png", "a/2.png", "b/1.png", "b/2.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    folder = scan(tmp_path)
    split = stratified_split(folder, 0.5, 0)
    assert sorted(split.train + split.test) == [image.relative for image in folder.images]
