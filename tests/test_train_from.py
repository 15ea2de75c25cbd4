"""`train --from`: a run starts with another's weights, and says so."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from command import refused, run_command
from small_run import small_config, write_folder, write_run

from qlvit_edge.data.folder import scan
from qlvit_edge.data.split import load_split, select, stratified_split
from qlvit_edge.data.training_images import (
    TRAINING_IMAGES_FILE,
    list_training_images,
    read_training_images,
    trained_on,
    write_training_images,
)
from qlvit_edge.files import sha256, write_text
from qlvit_edge.model import configs
from qlvit_edge.model.qlvit import QLViT
from qlvit_edge.training import loop
from qlvit_edge.training.checkpoint import BEST_FILE, load_checkpoint, read_run_config
from qlvit_edge.training.start import take_over


@pytest.fixture(autouse=True)
def _small_nano(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(configs.SIZES, "nano", small_config())


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run `earlier` of four classes, and a folder of other cells, one class of which is new."""
    root = tmp_path_factory.mktemp("from")
    cells = write_folder(root / "cells", 4)
    split = write_run(root / "earlier", cells, small_config(kan_rank=8))
    side = select(scan(cells), split.train)
    listed = list_training_images(side, split.fingerprint, lambda: None)
    write_training_images(root / "earlier", listed)
    other = write_folder(root / "other", 6)
    for name in ("EOSINOPHIL", "NEUTROPHIL"):
        shutil.rmtree(other / name)
    shutil.copytree(cells / "NEUTROPHIL", other / "basophil")
    (other / "MONOCYTE").rename(other / "monocyte")
    made = stratified_split(scan(other), 0.3, 0)
    write_text(root / "other.json", made.model_dump_json())
    write_text(root / "cells.json", split.model_dump_json())
    return root


def arguments(place: Path, out: Path, data: str, *options: object) -> list[object]:
    own = ("--data", place / data, "--split", place / f"{data}.json", "--out", out)
    return ["train", *own, "--from", place / "earlier", "--batch", 4, "--epochs", 1, *options]


def test_known_classes_keep_their_rows_and_new_ones_do_not(place: Path) -> None:
    start = load_checkpoint(place / "earlier")
    torch.manual_seed(5)
    network = QLViT(start.run.network.model_copy(update={"classes": 3}))
    fresh = network.head.linear.weight.detach().clone()
    take_over(network, ["basophil", "LYMPHOCYTE", "monocyte"], start)
    own, there = network.state_dict(), start.network.state_dict()
    assert own.keys() == there.keys()
    for name, tensor in own.items():
        if not name.startswith("head.linear"):
            assert torch.equal(tensor, there[name]), name
    weight, earlier = own["head.linear.weight"], there["head.linear.weight"]
    assert torch.equal(weight[0], fresh[0])
    assert torch.equal(weight[1:], earlier[1:3])
    assert torch.equal(own["head.linear.bias"][1:], there["head.linear.bias"][1:3])


def test_a_run_from_another_has_its_shape_and_says_where_it_is_from(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    temperatures: list[float] = []
    begun: list[dict[str, torch.Tensor]] = []
    monkeypatch.setattr(loop, "set_temperature", lambda _, value: temperatures.append(value))
    real = loop.take_over

    def noted(network: QLViT, *others: Any) -> None:
        real(network, *others)
        begun.append({name: tensor.clone() for name, tensor in network.state_dict().items()})

    monkeypatch.setattr(loop, "take_over", noted)
    out = tmp_path / "out"
    assert run_command(*arguments(place, out, "other", "--kan", "linear")) == 0
    assert "new to the run started from: basophil" in capfd.readouterr().out
    run = read_run_config(out)
    assert run.classes == ["LYMPHOCYTE", "basophil", "monocyte"]
    assert run.network == small_config(kan_rank=8, classes=3)
    assert run.started_from is not None
    assert run.started_from.name == "earlier"
    weights = (place / "earlier" / BEST_FILE).read_bytes()
    assert run.started_from.sha256 == sha256(weights) == load_checkpoint(place / "earlier").sha256
    assert set(temperatures) == {1.0}
    earlier = load_checkpoint(place / "earlier").network.state_dict()
    assert torch.equal(begun[0]["stem.convolution.weight"], earlier["stem.convolution.weight"])
    # It goes on with the same options only.
    more = arguments(place, out, "other", "--resume")
    assert run_command(*more) == 0
    without = [part for part in more if part not in ("--from", place / "earlier")]
    line = refused(capfd, *without, "--model", "nano")
    assert "holds a run with other data or options" in line


def test_what_the_earlier_run_saw_is_seen(
    place: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A third of the earlier training side is on the test side of another split."""
    cells = scan(place / "cells")
    earlier = load_split(place / "cells.json")
    mixed = stratified_split(cells, 0.5, 7)
    shared = set(mixed.test) & set(earlier.train)
    assert shared
    assert len(shared) < len(mixed.test)
    write_text(place / "mixed.json", mixed.model_dump_json())
    out = tmp_path / "out"
    asked = arguments(place, out, "cells", "--validation", 0)
    asked[asked.index(place / "cells.json")] = place / "mixed.json"
    assert run_command(*asked) == 0
    said = capfd.readouterr().out
    assert f"{len(shared)} test images left out: the run started from was trained on them" in said
    assert json.loads((out / "metrics.json").read_text())["test_images"] == len(mixed.test) - len(
        shared
    )
    listed = read_training_images(out)
    assert listed is not None
    every = trained_on(cells.images, listed, lambda: None)
    assert every == set(mixed.train) | set(earlier.train)
    bare = shutil.copytree(place / "earlier", tmp_path / "bare")
    (bare / TRAINING_IMAGES_FILE).unlink()
    asked[asked.index(place / "earlier")] = bare
    asked[asked.index(out)] = tmp_path / "other"
    assert run_command(*asked) == 0
    assert "lists no training images" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("options", "finding"),
    [
        (["--model", "tiny"], "--model: the network of earlier has nano there, not tiny"),
        (["--variant", "v3"], "--variant: the network of earlier has v4 there, not v3"),
        (["--input-size", "96"], "--input-size: the network of earlier has 64,64 there, not 96,96"),
        (["--kan", "cubic"], "leave --kan out"),
    ],
)
def test_another_shape_is_refused(
    options: list[object],
    finding: str,
    place: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert run_command(*arguments(place, tmp_path / "out", "other", *options)) == 2
    assert finding in " ".join(capfd.readouterr().err.split())
    assert not (tmp_path / "out").exists()


def test_what_is_no_run_is_refused(
    place: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    asked = arguments(place, tmp_path / "out", "other")
    asked[asked.index(place / "earlier")] = place / "cells"
    assert "holds no run.json" in refused(capfd, *asked)
    asked[asked.index(place / "cells")] = place / "nowhere"
    assert "nowhere" in refused(capfd, *asked)
    assert not (tmp_path / "out").exists()
