"""The mistakes that a model file carries: counted by source, bounded, optional."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from tiny_guard import noisy, tiny_guard
from tiny_metadata import metadata, plain_features, plain_image, plain_logits
from tiny_model import COLOURS, tiny_model

from qlvit_edge.converters.confusion import held_out_confusion
from qlvit_edge.converters.proof_images import ProofImages, Sample
from qlvit_edge.data.labelled import NO_CLASS, LabelledImage
from qlvit_edge.modelfile import confusion as module
from qlvit_edge.modelfile.confusion import Confusion
from qlvit_edge.modelfile.metadata import ModelMetadata, embed, read_metadata
from qlvit_edge.modelfile.summary import metadata_values

SAMPLE = Sample(3, 3, "ab" * 32, True, 0, True, "cells")
SMALL = Confusion.of([0, 0, 1, 2], [0, 3, 1, 1], ["a", "a", "b", "c"], data="cells", accept_at=0.8)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3), st.sampled_from("abcdef")), min_size=1)
)
def test_every_cell_is_there_once_by_class_answer_and_source(
    cells: list[tuple[int, int, str]],
) -> None:
    labels, answers, sources = zip(*cells, strict=True)
    found = Confusion.of(labels, answers, sources, data="cells", accept_at=0.8)
    expected = np.zeros((3, 4))
    np.add.at(expected, (list(labels), list(answers)), 1)
    table, weights = found.by_kind(3)
    assert (np.tensordot(weights, table, 1) == expected).all()
    assert found.cells == len(cells)
    assert found.sources == len(set(sources))
    assert found.sources_of(3) == [
        len({source for own, source in zip(labels, sources, strict=True) if own == label})
        for label in range(3)
    ]
    again = Confusion.of(labels[::-1], answers[::-1], sources[::-1], data="cells", accept_at=0.8)
    assert again == found


def test_names_of_sources_stay_at_home() -> None:
    assert (
        '"patient'
        not in Confusion.of(
            [0, 1], [0, 1], ["patient A", "patient B"], data="cells", accept_at=0.8
        ).model_dump_json()
    )


def test_too_many_kinds_of_sources_are_pooled_and_no_cell_is_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MOST_KINDS", 5)
    labels = [0] * 210
    sources = [str(number) for number in range(20) for _ in range(number + 1)]
    found = Confusion.of(labels, labels, sources, data="cells", accept_at=0.8)
    assert len(found.kinds) <= 5
    assert found.cells == 210


def test_a_file_carries_them_and_one_without_is_as_it_was() -> None:
    plain = tiny_model()
    carrying = ModelMetadata.model_validate({**dict(metadata()), "confusion": SMALL})
    found = read_metadata(embed(plain, carrying))
    assert found is not None
    assert found.confusion == SMALL
    without = embed(plain, metadata())
    assert b"confusion" not in without
    read = read_metadata(without)
    assert read is not None
    assert read.confusion is None
    assert embed(plain, read) == without


def test_they_are_shown_as_one_matrix() -> None:
    carrying = metadata().model_copy(update={"confusion": SMALL})
    shown = metadata_values(carrying)["confusion"]
    assert shown == {
        "data": "cells",
        "grouped": True,
        "accept_at": 0.8,
        "cells": 4,
        "sources": 3,
        "matrix": [[1, 0, 0, 1], [0, 1, 0, 0], [0, 1, 0, 0]],
    }
    assert metadata_values(metadata())["confusion"] is None


@pytest.mark.parametrize(
    "change",
    [
        {"kinds": []},
        {"kinds": [{"sources": 0, "cells": [[0, 0, 1]]}]},
        {"kinds": [{"sources": 1, "cells": []}]},
        {"kinds": [{"sources": 1, "cells": [[0, 4, 1]]}]},
        {"kinds": [{"sources": 1, "cells": [[3, 0, 1]]}]},
        {"kinds": [{"sources": 1, "cells": [[0, 0, 0]]}]},
        {"kinds": [{"sources": 1, "cells": [[0, 0, 10**10]]}]},
        {"kinds": [{"sources": 1, "cells": [[-1, 0, 1]]}]},
        {"accept_at": 1.5},
        {"accept_at": float("nan")},
        {"version": 2},
        {"colour": "red"},
    ],
)
def test_mistakes_of_another_model_and_damaged_ones_are_refused(change: dict[str, object]) -> None:
    values = json.loads(SMALL.model_dump_json()) | change
    with pytest.raises(ValidationError):
        ModelMetadata.model_validate({**dict(metadata()), "confusion": values})


def images() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Plain images of every colour, strong and weak, and what the tiny model says of them."""
    rng = np.random.default_rng(5)
    shown = [
        (number, noisy(plain_image(name, level=level), rng))
        for number, name in enumerate(COLOURS)
        for level in (200, 60)
    ]
    views = np.stack([view for _, view in shown])
    logits = np.stack([plain_logits(view) for view in views])
    features = np.stack([plain_features(view) for view in views])
    return np.array([number for number, _ in shown]), views, logits, features


@pytest.mark.parametrize("guarded", [False, True])
def test_answers_that_a_device_would_not_accept_are_no_answers(guarded: bool) -> None:
    labels, views, logits, features = images()
    guard = tiny_guard() if guarded else None
    scale = 2.0 if guarded else 0.05
    found = held_out_confusion(SAMPLE, labels, None, (logits, features), views, scale, guard)
    assert found is not None
    table, weights = found.by_kind(3)
    total = np.tensordot(weights, table, 1)
    assert total.sum() == len(labels)
    assert (total.sum(1) == 2).all()
    # The strong colour is known; of the weak one nothing is known, or it is not probable.
    assert (np.diag(total) == 1).all()
    assert (total[:, 3] == 1).all()
    assert found.accept_at == (guard.probability if guard is not None else 0.8)
    assert found.data == SAMPLE.words
    assert not found.grouped


def test_only_the_runs_own_held_out_cells_are_counted() -> None:
    labels, views, logits, features = images()
    crops = Sample(6, None, None, False, 0, True, "crops")
    unlabelled = Sample(6, None, None, False, 0, True, "cells", labelled=False)
    unknown = np.where(labels == 1, NO_CLASS, labels)
    for sample, known in ((crops, labels), (unlabelled, labels), (SAMPLE, unknown)):
        assert held_out_confusion(sample, known, None, (logits, features), views, 2.0, None) is None


def test_sources_are_those_of_the_split_and_unknown_ones_their_own() -> None:
    shown = [LabelledImage(Path(name), name, 0) for name in ("A/1.png", "A/2.png", "B/3.png")]
    sources = {"A/1.png": "photograph 1", "A/2.png": "photograph 1"}
    assert ProofImages(shown, SAMPLE).sources_of(shown) is None
    assert ProofImages(shown, SAMPLE, sources).sources_of(shown[1:]) == ["photograph 1", "B/3.png"]
