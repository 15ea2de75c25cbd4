"""The benchmark that leaves a microscope out: what it trains on, scores and prints."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from small_run import cell_image, small_config

from qlvit_edge.data.labelled import NO_CLASS
from qlvit_edge.model import configs
from qlvit_edge.training.checkpoint import read_run_config

ROOT = Path(__file__).parent.parent
COLOURED = {"eosinophil": 0, "lymphocyte": 1, "monocyte": 2, "neutrophil": 3}


def write(folder: Path, colour: int, count: int) -> list[str]:
    folder.mkdir(parents=True)
    names = [f"_{number}.png" for number in range(count)]
    for number, name in enumerate(names):
        image = cv2.cvtColor(cell_image(colour, number), cv2.COLOR_RGB2BGR)
        assert cv2.imwrite(str(folder / name), image)
    return names


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three microscopes of six cells per class; of `one`, two are copies of one photograph."""
    root = tmp_path_factory.mktemp("microscopes")
    for name, colour in COLOURED.items():
        write(root / "one" / name, colour, 6)
        write(root / "two" / name, colour, 6)
        write(root / "three" / name, colour, 2)
    write(root / "two" / "ig", 3, 6)
    write(root / "three" / "ig", 3, 2)
    write(root / "three" / "blast", 1, 2)
    own = "\n".join(f'{name} = "{name}"' for name in COLOURED)
    more = f'{own}\nig = "immature granulocyte"'
    (root / "trained.toml").write_text(
        f'[[folder]]\npath = "one"\ndomain = "first"\nblocks = 2\n[folder.classes]\n{own}\n'
        f'[[folder]]\npath = "two"\ndomain = "second"\n[folder.classes]\n{more}\n'
    )
    (root / "scored.toml").write_text(
        f'[[folder]]\npath = "three"\ndomain = "third"\nunknown = ["blast"]\n'
        f"[folder.classes]\n{more}\n"
    )
    return root


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import unseen_microscope

    return unseen_microscope


@pytest.fixture
def unseen(benchmark: ModuleType) -> SimpleNamespace:
    from unseen import microscopes, tables, trial

    return SimpleNamespace(microscopes=microscopes, tables=tables, trial=trial)


def test_microscopes_share_classes_and_sides_share_no_source(
    data: Path, unseen: SimpleNamespace
) -> None:
    files = [data / "trained.toml", data / "scored.toml"]
    classes, (trained, scored) = unseen.microscopes.read(files, data)
    assert classes == ("eosinophil", "immature granulocyte", "lymphocyte", "monocyte", "neutrophil")
    assert [one.name for one in (*trained, *scored)] == ["first", "second", "third"]
    for image in (*trained[1].images, *scored[0].images):
        called = image.relative.partition("/")[0]
        assert called == ("blast" if image.label == NO_CLASS else classes[image.label])
    assert sum(image.label == NO_CLASS for image in scored[0].images) == 2
    for microscope in trained:
        training, held = unseen.microscopes.sides(microscope)
        assert held
        assert {image.domain for image in training} == {microscope.name}
        assert not {image.source for image in training} & {image.source for image in held}
        assert len(training) + len(held) == len(microscope.images)
    copies = [image for image in trained[0].images if image.label == 0]
    kept = unseen.microscopes.fewer(copies, 3)
    assert len({image.source for image in kept}) == 3
    assert len(unseen.microscopes.fewer(copies, 0)) == len(copies) == 6


def test_answers_are_judged_among_all_classes_of_the_network(unseen: SimpleNamespace) -> None:
    classes = ["basophil", "lymphocyte", "monocyte"]
    truth = np.array([1, 1, 1, 2, NO_CLASS, NO_CLASS])
    probabilities = np.array(
        [
            [0.01, 0.98, 0.01],  # right
            [0.97, 0.02, 0.01],  # wrong, and sure of it
            [0.1, 0.6, 0.3],  # right, but unsure
            [0.2, 0.3, 0.5],  # right, and the least sure
            [0.0, 1.0, 0.0],  # a platelet, which the network does not know
            [0.3, 0.4, 0.3],  # a blast
        ]
    )
    found = unseen.trial.judge(probabilities, truth, classes)
    assert (found["images"], found["unknown_images"]) == (4, 2)
    assert found["recalls"] == pytest.approx({"lymphocyte": 2 / 3, "monocyte": 1.0})
    assert found["macro_recall"] == pytest.approx(5 / 6)
    assert found["accepted"] == pytest.approx(1 / 2)
    assert found["accepted_wrong"] == pytest.approx(1 / 4)
    assert found["unknown_accepted"] == pytest.approx(1 / 2)
    risks = {"0.25": 0, "0.5": 1 / 2, "0.75": 1 / 3, "0.9": 1 / 4, "1.0": 1 / 4}
    assert found["risk_at"] == pytest.approx(risks)
    assert found["risk_area"] == pytest.approx((0 + 1 / 2 + 1 / 3 + 1 / 4) / 4)


def test_tables_give_median_and_range_over_seeds(unseen: SimpleNamespace) -> None:
    tables = unseen.tables

    def row(change: str, seed: int, recall: float, statistics: str = "trained") -> dict[str, Any]:
        return {
            **{"left_out": "pbc", "microscope": "pbc", "unseen": True, "view": "whole image"},
            **{"change": change, "seed": seed, "macro_recall": recall, "statistics": statistics},
        }

    rows = [row(tables.RECIPE, seed, recall) for seed, recall in ((0, 0.5), (1, 0.7), (2, 0.6))]
    rows += [row("stain", 0, 0.45), row("stain", 1, 0.72)]
    *_, line = tables.main_table(rows)
    assert line == "| pbc | pbc | whole image | 60.0 (50.0 to 70.0) | – |"
    *_, recipe, change = tables.change_table(rows)
    assert recipe.endswith("| 60.0 (50.0 to 70.0) |  |")
    assert change.endswith("| 58.5 (45.0 to 72.0) | -1.5 (-5.0 to 2.0) |")


def test_what_can_be_changed_is_known(benchmark: ModuleType) -> None:
    import argparse

    assert benchmark.changed("stain") == {"augment_shares": {"stain": 0.0}}
    assert benchmark.changed("grey=0.2") == {"augment_shares": {"grey": 0.2}}
    assert benchmark.changed("standard") == {"augment": "standard"}
    for wrong in ("gray", "grey=much"):
        with pytest.raises(argparse.ArgumentTypeError):
            benchmark.changed(wrong)


def test_a_microscope_is_left_out_and_scored(
    data: Path,
    benchmark: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(configs.SIZES, "nano", small_config())
    options = ["--steps", "2", "--batch", "4", "--leave-out", "second", "--ablate", "gradient"]
    options += ["--sets", str(data / "trained.toml"), "--only-scored", str(data / "scored.toml")]
    command = ["unseen_microscope.py", "--data", str(data), "--out", str(tmp_path), *options]
    monkeypatch.setattr(sys, "argv", command)
    benchmark.main()
    first = capsys.readouterr().out
    found = json.loads((tmp_path / "results.json").read_text())["rows"]
    assert len(found) == 2 * 3 * 2 * 2  # changes, microscopes, views, statistics
    assert {row["microscope"]: row["unseen"] for row in found} == {
        **{"first": False, "second": True, "third": True}
    }
    third = [row for row in found if row["microscope"] == "third"]
    assert {(row["images"], row["unknown_images"]) for row in third} == {(8, 4)}
    run = read_run_config(tmp_path / "runs" / "without second, gradient, seed 0")
    assert run.classes == list(COLOURED)
    assert run.training.augment_shares == {"gradient": 0.0}
    assert run.training.balance == "domains"
    assert (tmp_path / "results.md").read_text() in first
    assert (tmp_path / "risk_coverage.png").stat().st_size > 5000
    benchmark.main()  # nothing is trained again
    assert "without second" not in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", [*command, "--rate", "0.1"])
    with pytest.raises(SystemExit, match="another effort"):
        benchmark.main()
