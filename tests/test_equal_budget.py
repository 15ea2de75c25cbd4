"""Networks that learn the same on the same budget: tasks, folds, budgets, tables, the plot."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from small_run import write_folder

from qlvit_edge.data.folder import scan
from qlvit_edge.data.labelled import LabelledImage
from qlvit_edge.data.split import stratified_split
from qlvit_edge.errors import DataError, QLViTEdgeError
from qlvit_edge.model.cost import count_cost

ROOT = Path(__file__).parent.parent
SIDE = 32
SMALL = "nano widths=8,8,16,16 depths=1,1,1,1 heads=1,1,2,2 kan_rank=4"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("cells") / "cells", 10)


@pytest.fixture(autouse=True)
def _on_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")


def command(monkeypatch: pytest.MonkeyPatch, name: str, *arguments: object) -> None:
    """Run a benchmark's `main` with arguments."""
    module = __import__(name)
    monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
    module.main()


def task_of(data: Path, name: str = "paper") -> Any:
    from contest.tasks import of_split

    folder = scan(data)
    return of_split(name, folder, stratified_split(folder, 0.2, 0), SIDE, 0, 0)


def test_a_member_is_a_size_with_changes() -> None:
    from contest.members import ours

    member = ours("nano variant=v3 kv_pool=2,2,1,1", 64, 5)
    assert member.config is not None
    assert member.config.kv_pool == (2, 2, 1, 1)
    assert (member.config.input_size, member.config.classes) == ((64, 64), 5)
    assert member.name == "QLViT nano v3 kv_pool=2,2,1,1"
    with pytest.raises(QLViTEdgeError, match="kv-pool=2"):
        ours("nano kv-pool=2", 64, 5)
    with pytest.raises(QLViTEdgeError, match="is not a network size"):
        ours("nan", 64, 5)


def test_a_budget_ends_at_its_first_limit() -> None:
    from contest.budget import Budget

    both = Budget(images=100, minutes=2, batch=8)
    assert both.progress(50, 0) == 0.5
    assert both.progress(10, 60) == 0.5
    assert both.progress(200, 0) == 1.0
    assert Budget(0, 2, 8).progress(10**6, 60) == 0.5
    with pytest.raises(ValueError, match="never ends"):
        Budget(0, 0, 8)


def test_training_sees_the_images_of_its_budget_and_learns(data: Path) -> None:
    from contest.budget import Budget, train
    from contest.members import ours

    torch.set_num_threads(1)
    task = task_of(data)
    member = ours(SMALL, SIDE, 4)
    said: list[tuple[float, float]] = []
    trained = train(
        *(member, task, Budget(320, 0, 16), 0),
        report=lambda share, images, loss: said.append((share, loss)),
    )
    assert trained.images == 320
    assert [share for share, _ in said] == [n / 20 for n in range(20)]
    assert trained.loss < 1.2 < np.log(4)
    assert not trained.network.training
    again, twice = (train(member, task, Budget(16, 0, 16), 0) for _ in range(2))
    assert again.loss == twice.loss


def test_processor_time_ends_a_training_and_decoding_costs_none_of_it(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from contest import tasks
    from contest.budget import Budget, train
    from contest.members import ours

    decoded = tasks.cache_images

    def slowly(*arguments: Any) -> Any:
        until = time.process_time() + 0.5
        while time.process_time() < until:
            pass
        return decoded(*arguments)

    monkeypatch.setattr(tasks, "cache_images", slowly)
    trained = train(ours(SMALL, SIDE, 4), task_of(data), Budget(10**9, 0.4 / 60, 16), 0)
    assert 16 < trained.images < 10**5
    assert 0.4 <= trained.seconds < 5


def images(**sources: str) -> list[LabelledImage]:
    """One image per letter (its class) of each source."""
    return [
        LabelledImage(Path(f"{name}{n}"), f"{label}/{name}{n}.png", "abc".index(label), "", name)
        for name, labels in sources.items()
        for n, label in enumerate(labels)
    ]


def test_folds_share_no_source_and_hold_as_much_of_every_class() -> None:
    from contest.partition import folds

    every = images(**{f"s{n}": "a" * (1 + n % 3) for n in range(12)})
    every += images(**{f"t{n}": "bb" for n in range(6)}, u="c", v="c", w="c")
    parts = folds(every, 3, 0)
    assert sorted(i.relative for part in parts for i in part) == sorted(i.relative for i in every)
    owners = [{image.source for image in part} for part in parts]
    assert not owners[0] & owners[1] | owners[1] & owners[2] | owners[0] & owners[2]
    for part in parts:
        assert np.bincount([image.label for image in part]).tolist() == [8, 4, 1]
    assert folds(every, 3, 0) == parts
    assert folds(every, 3, 1) != parts
    with pytest.raises(DataError, match="3 sources, too few for 4 folds"):
        folds(every, 4, 0)


def test_macro_recall_counts_classes_alike_and_its_interval_draws_sources() -> None:
    from contest.scores import judge
    from contest.tasks import Questions

    labels = np.array([0] * 8 + [1, 1])
    one = Questions(
        [str(n) for n in range(10)], np.zeros((10, 1, 1, 3), np.uint8), labels, "x" * 10
    )
    found = judge(np.array([0] * 9 + [1]), one)
    assert found["micro"] == 0.9
    assert found["macro"] == 0.75
    assert found["interval"] == [0.75, 0.75]
    apart = Questions(one.names, one.views, labels, one.names)
    low, high = judge(np.array([0] * 9 + [1]), apart)["interval"]
    assert low < 0.75 < high


def test_the_ablation_trains_once_and_says_both_counts(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    split = tmp_path / "paper.json"
    split.write_text(stratified_split(scan(data), 0.2, 0).model_dump_json())
    out = tmp_path / "out"
    arguments = ("--data", data, "--split", split, "--out", out, "--variants", "v4,v3")
    arguments += ("--seeds", "0,1", "--images", "16", "--batch", "16", "--side", SIDE)
    command(monkeypatch, "ablation", *arguments)
    rows = json.loads((out / "ablation.json").read_text())
    assert [(row["variant"], row["seed"], row["images"]) for row in rows] == [
        *(("v4", 0, 16), ("v3", 0, 16), ("v4", 1, 16), ("v3", 1, 16))
    ]
    from contest.members import ours

    config = ours("nano variant=v3", SIDE, 4).config
    assert config is not None
    table = (out / "ablation.md").read_text()
    assert f"| v3 | {count_cost(config).paper_style.parameters / 1e6:.3f} |" in table
    assert "±" in table
    from contest import runs

    monkeypatch.setattr(runs, "train", lambda *_: pytest.fail("trained again"))
    capsys.readouterr()
    command(monkeypatch, "ablation", *arguments)
    assert table.strip() in capsys.readouterr().out
    with pytest.raises(SystemExit):
        command(monkeypatch, "ablation", *arguments, "--images", "48")
    assert "another budget" in capsys.readouterr().err


def test_every_image_of_the_folds_is_answered_once(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups = tmp_path / "groups.csv"
    lines = [
        f"{image.relative.replace('/', ',')},{image.path.stem[:-1]}{image.label}{n // 2},1"
        for n, image in enumerate(scan(data).images)
    ]
    groups.write_text("class,file,source,confident\n" + "\n".join(lines) + "\n")
    out = tmp_path / "out"
    command(
        *(monkeypatch, "folds", "--data", data, "--groups", groups, "--out", out, "--folds", "2"),
        *("--member", SMALL, "--images", "32", "--batch", "16", "--side", SIDE),
    )
    found = json.loads((out / "folds.json").read_text())["seeds"]["0"]
    assert found["images"] == len(lines)
    assert len(found["folds"]) == 2
    assert found["interval"][0] <= found["macro"] <= found["interval"][1]


def test_our_network_becomes_two_files_that_answer(data: Path, tmp_path: Path) -> None:
    from contest.files import FLOAT, INTEGER, OUR_ROUTE, asked, costs, make
    from contest.members import ours

    task = task_of(data)
    task = replace(task, calibration=task.calibration[:1])
    member = ours(SMALL, SIDE, 4)
    torch.manual_seed(0)
    made = make(member, member.make().eval(), task, None, tmp_path)
    assert (made.route, set(made.paths), made.reasons) == (OUR_ROUTE, {FLOAT, INTEGER}, {})
    scores, refused = asked(made.paths[INTEGER], task)
    assert (scores["paper"]["images"], refused) == (8, "")
    assert member.config is not None
    found, true = costs(member, SIDE), count_cost(member.config).true
    assert found["parameters"] == true.parameters
    assert 0.8 * true.macs < found["macs"] <= true.macs


def test_a_peer_without_the_stock_environment_says_so(data: Path, tmp_path: Path) -> None:
    from contest.files import STOCK_ROUTE, make
    from contest.members import Member

    flat = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * SIDE * SIDE, 4))
    made = make(Member("flat", lambda: flat), flat, task_of(data), None, tmp_path)
    assert made.paths == {}
    assert "--python was not given" in made.reasons[STOCK_ROUTE]


@pytest.mark.parametrize("name", ["resnet18", "regnet", "mobilenetv2", "vit", "swin", "convnext"])
def test_networks_of_other_families_classify_pixels(name: str) -> None:
    pytest.importorskip("transformers", reason="`make peers-env` brings it")
    from contest.families import peer

    network = peer(name, 64, 5).make().eval()
    with torch.no_grad():
        assert network(torch.full((2, 3, 64, 64), 255.0)).shape == (2, 5)


def test_without_transformers_a_peer_names_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from contest.families import peer

    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(QLViTEdgeError, match="make peers-env"):
        peer("resnet18", 64, 5)


def row(name: str, cost: float, recall: float, *, is_ours: bool = False) -> dict[str, Any]:
    scores = {"aml, unseen": {"micro": recall, "macro": recall, "interval": [0.1, 0.9]}}
    return {
        **{"name": name, "ours": is_ours, "parameters": 1_000_000, "macs": 10_000_000},
        **{"images": 100, "scores": scores, "route": "stock", "counted": "int8"},
        "integer": {"bytes": 1000, "scores": scores},
        "instructions": {"cortex-a72": cost, "cortex-a76": cost / 2},
        "reasons": {"float32": "an operator is missing"},
    }


def test_the_front_is_what_nothing_beats_and_the_plot_names_all() -> None:
    from contest.pages import cost_table, front, plot, points_of

    rows = [
        *(row("good", 4e6, 0.6, is_ours=True), row("cheap", 2e6, 0.5)),
        *(row("dear & bad", 9e6, 0.55), row("dear", 9e6, 0.7)),
    ]
    points = points_of(rows, "cortex-a76")
    assert points["good"] == (2e6, 0.6)
    assert front(points) == {"cheap", "good", "dear"}
    drawing = plot(rows, "cortex-a72")
    assert ElementTree.fromstring(drawing).tag == "{http://www.w3.org/2000/svg}svg"
    assert drawing.count("<circle") == 4
    assert "dear &amp; bad" in drawing
    table = "\n".join(cost_table(rows))
    assert "| 4.0 | 2.0 | int8 |" in table
    assert "good, float32: an operator is missing." in table


def test_a_float_file_stands_in_the_plot_with_the_float_answers() -> None:
    from contest.pages import points_of

    one = row("peer", 8e6, 0.4)
    one["integer"] = {"bytes": 1, "scores": {"aml, unseen": {"macro": 0.1}}}
    assert points_of([one], "cortex-a72") == {"peer": (8e6, 0.1)}
    one["counted"] = "float32"
    assert points_of([one], "cortex-a72") == {"peer": (8e6, 0.4)}


def test_what_the_counter_says_is_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from contest import files

    done = SimpleNamespace(returncode=2, stdout="", stderr="first\nerror: no emulator\n")
    monkeypatch.setattr(files.subprocess, "run", lambda *_, **__: done)
    with pytest.raises(QLViTEdgeError, match="no emulator"):
        files.instructions(tmp_path / "x.tflite", tmp_path, tmp_path)
