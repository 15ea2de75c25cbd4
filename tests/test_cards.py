"""The figures of the bundled models' cards: what is counted, and what is left out."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest
from tiny_metadata import plain_image, tiny_file

from qlvit_edge import Classifier
from qlvit_edge.data.folder import scan
from qlvit_edge.evaluation.answers import View

ROOT = Path(__file__).parents[1]


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> dict[str, ModuleType]:
    """The modules of the benchmark, by the last word of their names."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    names = ("rows", "figures", "text", "degraded")
    return {name: importlib.import_module(f"card_{name}") for name in names}


def test_known_cells_are_counted_by_class_and_verdict(card: dict[str, ModuleType]) -> None:
    row = card["rows"].Row
    rows = [
        *[row("a", "A", f"a{n}", "A", 0.9, "accepted") for n in range(6)],
        *[row("a", "A", f"b{n}", "B", 0.7, "uncertain") for n in range(2)],
        row("b", "B", "c", "A", 0.95, "accepted"),
        row("b", "B", "d", "B", 0.6, "unknown cell"),
        row("b", "B", "e"),  # no cell found
        row("blast", None, "f", "A", 0.99, "accepted"),  # no class of the model
    ]
    found = card["figures"].known(rows)
    assert (found.images, found.sources, found.without_cell) == (10, 10, 1)
    assert found.recalls == {"A": (6, 8), "B": (1, 2)}
    assert found.macro_recall[0] == pytest.approx((0.75 + 0.5) / 2)
    assert found.accepted[0] == pytest.approx(0.7)
    assert found.accepted_right[0] == pytest.approx(6 / 7)
    assert found.accepted_wrong[0] == pytest.approx(0.1)
    assert found.risk[0.5] == pytest.approx(1 / 5)
    assert found.risk[1.0] == pytest.approx(3 / 10)
    for value, low, high in (found.macro_recall, found.accepted, found.accepted_wrong):
        assert low <= value <= high
    strangers = card["figures"].unknown(rows)
    assert {kind: (own.images, own.accepted_as) for kind, own in strangers.items()} == {
        "blast": (1, {"A": 1})
    }


def test_intervals_are_over_sources(card: dict[str, ModuleType]) -> None:
    row = card["rows"].Row
    right = [n % 4 != 0 for n in range(40)]
    apart = [row("a", "A", f"{n}", "A" if r else "B", 0.9, "accepted") for n, r in enumerate(right)]
    copies = [
        row("a", "A", f"{n % 4}", "A" if r else "B", 0.9, "accepted") for n, r in enumerate(right)
    ]
    _, low, high = card["figures"].known(apart).macro_recall
    _, lower, higher = card["figures"].known(copies).macro_recall
    assert lower < low < high < higher


def test_a_model_is_shown_whole_images_and_folders_find_their_class(
    tmp_path: Path, card: dict[str, ModuleType]
) -> None:
    for folder, colour in (("Red", "RED"), ("promyelo", "GREEN"), ("blast", "BLUE")):
        (tmp_path / folder).mkdir()
        for number in range(2):
            image = plain_image(colour, size=20, level=150 + 10 * number)
            cv2.imwrite(str(tmp_path / folder / f"{number}.png"), image[:, :, ::-1])
    with Classifier(tiny_file(tmp_path / "m.tflite")) as classifier:
        images = card["rows"].strangers(scan(tmp_path), classifier.labels, {"promyelo": "green"})
        rows = card["rows"].ask(classifier, images)
        (noise,) = [card["rows"].answered(classifier, images[0][1], next(card["rows"].noise()))]
    assert noise.label in classifier.labels
    whole = card["figures"].known(rows[View.WHOLE])
    assert whole.recalls == {"GREEN": (2, 2), "RED": (2, 2)}
    assert card["figures"].unknown(rows[View.WHOLE])["blast"].accepted_as == {"BLUE": 2}
    assert all(not row.label for row in rows[View.CROPS])  # plain images hold no cell


def test_cells_that_others_cut_out_are_shown_whole_and_degraded_without_colour(
    tmp_path: Path, card: dict[str, ModuleType]
) -> None:
    for folder in ("Red", "Green"):
        (tmp_path / folder).mkdir()
        for number in range(2):
            image = plain_image(folder.upper(), level=180 + number)
            cv2.imwrite(str(tmp_path / folder / f"{number}.png"), image[:, :, ::-1])
    with Classifier(tiny_file(tmp_path / "m.tflite")) as classifier:
        images = card["rows"].strangers(scan(tmp_path), classifier.labels)
        rows = card["rows"].ask(classifier, images, (View.WHOLE,))
        ways = card["degraded"].degraded(classifier, images, card["degraded"].WITHOUT_COLOUR)
    assert set(rows) == {View.WHOLE}
    assert [way.partition(",")[0] for way in ways] == [
        "as they are", "defocus", "noise", "less light", "more light",
    ]  # fmt: skip
    places = {"here": {View.WHOLE: card["figures"].known(rows[View.WHOLE])}}
    section = card["text"].figures(places, {}, {}, "", "hep2")
    assert "| images | whole image |\n" in section
    assert "consecutive file numbers" in section
    assert "smudge cells" not in section


def test_red_cells_are_cut_around_their_boxes(tmp_path: Path, card: dict[str, ModuleType]) -> None:
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    picture = np.full((100, 200, 3), 255, np.uint8)
    picture[40:60, 100:120] = (0, 0, 255)  # red in the order of OpenCV
    cv2.imwrite(str(tmp_path / "images" / "f.jpg"), picture)
    (tmp_path / "labels" / "f.txt").write_text("0 0.1 0.1 0.1 0.1\n1 0.55 0.5 0.1 0.2\n")
    (cut,) = card["rows"].red_cells(tmp_path)
    assert cut.shape == (28, 28, 3)
    assert cut[14, 14].tolist() > [200, 0, 0]
    assert cut[1, 1].min() > 200


def test_figures_go_between_the_marks_of_a_card(card: dict[str, ModuleType]) -> None:
    row, text = card["rows"].Row, card["text"]
    rows = [row(k, k, f"{n}", k, 0.9, "accepted") for k in "AB" for n in range(5)]
    blasts = [row("myeloblast", None, "m", "A", 0.9, "accepted")] * 3
    known = card["figures"].known(rows)
    places = {"here": {View.WHOLE: known, View.CROPS: known}}
    section = text.figures(places, card["figures"].unknown(blasts), {"as they are": known})
    assert "| as they are | 100.0 % | 0.0 % | 0.0 % |" in section
    assert "| here: 10 images of 5 sources, 2 classes | 100.0 % (100.0–100.0) |" in section
    assert "3 of 3 were accepted as normal cells" in section
    assert "| myeloblast | 3 | 3 | 3 as A |" in section
    card_text = f"# Model\n\n{text.BEGIN}outdated\n{text.END}\nend\n"
    once = text.inserted(card_text, section)
    assert once.startswith("# Model\n")
    assert once.endswith("end\n")
    assert "outdated" not in once
    assert text.inserted(once, section) == once
    with pytest.raises(ValueError, match="lacks"):
        text.inserted("# Model\n", section)
