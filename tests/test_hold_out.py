"""What is held out for validation shares no source with what is trained on."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from qlvit_edge.data.folder import LabelledImage
from qlvit_edge.data.split import Split
from qlvit_edge.training.holdout import hold_out


def _sourced(sources: list[tuple[int, int]]) -> tuple[list[LabelledImage], Split]:
    """Images of (label, source) and a split that groups them; sources cross the classes."""
    images = [
        LabelledImage(Path(f"{index}.png"), f"{label}/{index}.png", label)
        for index, (label, _) in enumerate(sources)
    ]
    names = [image.relative for image in images]
    groups = {
        image.relative: f"patient {source}"
        for image, (_, source) in zip(images, sources, strict=True)
    }
    return images, Split.model_construct(grouped=True, groups=groups, train=names, test=[])


def _sides(
    sources: list[tuple[int, int]], fraction: float, seed: int = 0
) -> tuple[list[LabelledImage], list[LabelledImage], set[str], set[str]]:
    images, split = _sourced(sources)
    kept, held = hold_out(images, split, fraction, seed)
    assert sorted(image.relative for image in kept + held) == sorted(split.train)
    trained, validated = ({split.groups[i.relative] for i in side} for side in (kept, held))
    return kept, held, trained, validated


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 6)), min_size=1, max_size=60),
    st.floats(0.05, 0.5),
    st.integers(0, 9),
)
def test_no_source_is_on_both_sides_and_every_class_is_trained(
    sources: list[tuple[int, int]], fraction: float, seed: int
) -> None:
    kept, held, trained, validated = _sides(sources, fraction, seed)
    assert not trained & validated
    assert {image.label for image in kept} == {label for label, _ in sources}
    images, split = _sourced(sources)
    assert hold_out(images, split, fraction, seed) == (kept, held)


@given(st.integers(0, 99))
def test_patients_with_cells_of_every_class_are_held_out_as_a_whole(seed: int) -> None:
    cells = [(label, patient) for patient in range(20) for label in range(5) for _ in range(3)]
    _, held, trained, validated = _sides(cells, 0.1, seed)
    assert len(validated) == 2
    assert not trained & validated
    assert [sum(i.label == label for i in held) for label in range(5)] == [6] * 5


def test_a_rare_class_is_validated_without_holding_out_its_only_source() -> None:
    common = [(0, patient) for patient in range(10) for _ in range(10)]
    rare = [(1, 3), (1, 3), (1, 7), (2, 5)]
    for seed in range(10):
        kept, held, _, validated = _sides(common + rare, 0.1, seed)
        assert {image.label for image in held} == {0, 1}
        assert sum(image.label == 2 for image in kept) == 1
        assert "patient 5" not in validated
        assert sum(image.label == 0 for image in held) <= 20


def test_the_only_source_of_a_class_is_trained_even_where_it_would_fit_the_other() -> None:
    cells = [(0, patient) for patient in (1, 1, 2, 2)] + [(1, 1)]
    for seed in range(10):
        kept, _, trained, validated = _sides(cells, 0.5, seed)
        assert (trained, validated) == ({"patient 1"}, {"patient 2"})
        assert {image.label for image in kept} == {0, 1}


def test_about_the_fraction_of_each_class_is_held_out() -> None:
    images, split = _sourced([(label, 40 * label + i) for label in range(2) for i in range(40)])
    kept, held = hold_out(images, split, 0.1, 0)
    assert [sum(image.label == label for image in held) for label in range(2)] == [4, 4]
    assert hold_out(images, split, 0, 0) == (images, [])
    assert len(kept) == 72
    ungrouped = split.model_copy(update={"grouped": False, "groups": {}})
    assert [i.label for i in hold_out(images, ungrouped, 0.1, 1)[1]] == [0] * 4 + [1] * 4
