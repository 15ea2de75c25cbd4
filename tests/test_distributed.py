"""Several processes train the network that one trains, and end as one does."""

from __future__ import annotations

import csv
import json
import re
import socket
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command import files_below, run_command
from hypothesis import given
from hypothesis import strategies as st
from ranks import LAST_STEP, STEPS
from small_run import write_folder
from torch.distributed import HashStore

from qlvit_edge.data.chance import Drawn
from qlvit_edge.data.folder import scan
from qlvit_edge.data.split import stratified_split
from qlvit_edge.errors import DeviceError
from qlvit_edge.files import write_text
from qlvit_edge.launch import Launch, launch
from qlvit_edge.training.checkpoint import BEST_FILE, LAST_FILE, load_tensors
from qlvit_edge.training.devices import choose_device
from qlvit_edge.training.peers import Peers

RANKS = Path(__file__).parent / "helpers" / "ranks.py"
LAUNCHED = {"WORLD_SIZE": "2", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "2"}
LAUNCHED |= {"MASTER_PORT": "29500", "MASTER_ADDR": "localhost"}
KEPT = r"killed keeps 1 of 2 epochs; go on with the same command and --resume\n"


def _program(*arguments: object) -> dict[str, Any]:
    command = [sys.executable, str(RANKS), *map(str, arguments)]
    ended = subprocess.run(command, capture_output=True, check=False, timeout=300)
    assert ended.returncode == 0, ended.stderr.decode()
    found: dict[str, Any] = json.loads(ended.stdout)
    return found


@given(st.integers(0, 200), st.integers(1, 9))
def test_the_parts_of_a_batch_are_the_batch_and_keep_pairs(images: int, processes: int) -> None:
    whole = Drawn(3, 1, np.arange(images) * 7, np.arange(images) + 50)
    parts = [whole.part(rank, processes) for rank in range(processes)]
    assert np.concatenate([part.images for part in parts]).tolist() == whole.images.tolist()
    assert np.concatenate([part.places for part in parts]).tolist() == whole.places.tolist()
    begins = np.cumsum([0, *(len(part.images) for part in parts)])
    assert all(begin % 2 == 0 for begin in begins[:-1] if begin < images)
    sizes = sorted(len(part.images) for part in parts)
    assert sizes[-1] - sizes[0] <= 3
    for part, (begin, end) in zip(parts, pairwise(begins), strict=True):
        assert np.array_equal(part.uniform(2, 3), whole.uniform(2, 3)[begin:end])


@pytest.mark.parametrize(
    ("changed", "found"),
    [
        ({}, Launch(1, 2, 0, 2)),
        ({"WORLD_SIZE": "1", "RANK": "0"}, None),
        ({"RANK": ""}, None),
        ({"MASTER_PORT": "x"}, None),
    ],
)
def test_a_launch_is_read_whole_or_not_at_all(
    changed: dict[str, str], found: Launch | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {**LAUNCHED, "RANK": "1", **changed}.items():
        monkeypatch.setenv(name, value)
    assert launch() == found


def test_other_commands_are_refused_under_torchrun(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for name, value in LAUNCHED.items():
        monkeypatch.setenv(name, value)
    for rank, lines in (("0", 1), ("1", 0)):
        monkeypatch.setenv("RANK", rank)
        assert run_command("calibrate", "runs/wbc") == 2
        said_now = capfd.readouterr().err
        assert said_now.count("torchrun: `calibrate` is not shared out") == lines
        assert run_command("train", "--quantise", "--from", "x", "--out", "y") == 2
        assert capfd.readouterr().err.count("--quantise does not go with torchrun") == lines


def test_each_process_has_a_cuda_device_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    assert choose_device("auto") == torch.device("cuda")
    for name, value in {**LAUNCHED, "RANK": "1", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose_device("auto") == torch.device("cuda", 1)
    assert taken == [torch.device("cuda", 1)]
    assert choose_device("cpu") == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(DeviceError, match="started 2 processes for 1 CUDA device; start one"):
        choose_device("cuda")


@pytest.fixture(scope="module")
def steps(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return _program(tmp_path_factory.mktemp("steps"))


@pytest.mark.parametrize("name", STEPS)
def test_a_step_of_several_processes_is_the_step_of_one(name: str, steps: dict[str, Any]) -> None:
    """Loss, gradients after clipping, statistics and ranges, in float64, in every process."""
    assert steps[name]["right"] == 0
    assert steps[name]["loss"] < 1e-12
    assert steps[name]["tensors"] < 1e-11


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("several")
    cells = write_folder(place / "cells", 9)
    split = stratified_split(scan(cells), 0.3, 0)
    write_text(place / "split.json", split.model_dump_json())
    return place


@pytest.fixture(scope="module")
def ended(place: Path) -> dict[str, Any]:
    """How `train` ended in several processes: exit code, stdout and stderr of each."""
    data = ("--data", place / "cells", "--split", place / "split.json")
    return _program(place, "train", *data, "--batch", 6, "--augment", "paper", "--mixup", 0.4)


def test_two_processes_train_the_network_of_one(place: Path, ended: dict[str, Any]) -> None:
    assert [code for code, _, _ in ended["whole"]] == [0, 0]
    assert [code for code, _, _ in ended["alone"]] == [0]
    for name in (BEST_FILE, LAST_FILE):
        (one, _), (two, _) = (load_tensors(place / run / name) for run in ("one", "two"))
        assert one.keys() == two.keys()
        for key, tensor in one.items():
            torch.testing.assert_close(two[key], tensor, rtol=0, atol=1e-8, msg=key)
    rows, others = (_rows(place / run) for run in ("one", "two"))
    assert len(rows) == 2
    for row, other in zip(rows, others, strict=True):
        assert row.keys() == other.keys()
        for key in row.keys() - {"seconds"}:
            assert float(other[key]) == pytest.approx(float(row[key]), abs=1e-8)
    figures = [json.loads((place / run / "metrics.json").read_text()) for run in ("one", "two")]
    assert [found["processes"] for found in figures] == [1, 2]
    assert figures[0]["confusion_matrix"] == figures[1]["confusion_matrix"]


def test_one_process_writes_and_speaks(place: Path, ended: dict[str, Any]) -> None:
    (_, printed, logged), (_, others, warned) = ended["whole"]
    assert printed.startswith("best epoch ")
    assert [line[:10] for line in logged.splitlines()] == ["epoch 1/2:", "epoch 2/2:"]
    assert (others, warned) == ("", "")
    (events,) = (place / "two" / "tensorboard").iterdir()
    written = {name for name in files_below(place / "two") if "tensorboard" not in name}
    assert written == files_below(place / "one")
    assert events.stat().st_size > 0


def test_a_killed_process_ends_the_run_in_one_line_and_it_resumes(
    place: Path, ended: dict[str, Any]
) -> None:
    (code, printed, line), (killed, _, _) = ended["killed"]
    assert (code, killed, printed) == (2, -9, "")
    *epochs, line = line.splitlines(keepends=True)
    assert [one[:10] for one in epochs] == ["epoch 1/2:"]
    assert re.fullmatch(
        r"error: rank 1 of 2 \(process \d+\): ended or was killed; \S*" + KEPT, line
    )
    # Three go on where two stood: only the second epoch is trained.
    assert [code for code, _, _ in ended["resumed"]] == [0, 0, 0]
    assert [one[:10] for one in ended["resumed"][0][2].splitlines()] == ["epoch 2/2:"]
    (one, _), (resumed, _) = (load_tensors(place / run / LAST_FILE) for run in ("one", "killed"))
    for key, tensor in one.items():
        torch.testing.assert_close(resumed[key], tensor, rtol=0, atol=1e-8, msg=key)
    assert files_below(place / "killed") == files_below(place / "one")


def test_where_the_one_that_speaks_is_killed_another_says_so(ended: dict[str, Any]) -> None:
    (killed, _, _), (code, printed, line) = ended["leader killed"]
    assert (killed, code, printed) == (-9, 2, "")
    assert re.fullmatch(
        r"error: rank 0 of 2 \(process \d+\): ended or was killed; \S*led keeps 1 of 2 epochs; "
        r"go on with the same command and --resume\n",
        line,
    )


def test_an_interrupt_is_said_once(ended: dict[str, Any]) -> None:
    (code, _, logged), (other, printed, nothing) = ended["interrupted"]
    assert (code, other) == (130, 130)
    *_, kept, last = filter(None, logged.splitlines())
    assert "keeps 1 of 2 epochs" in kept
    assert last == "interrupted"
    assert (printed, nothing) == ("", "")


@pytest.mark.parametrize(
    ("name", "finding"),
    [
        ("refused", "already holds a run; add --resume"),
        ("too many", "3 images are too few for 2 processes; choose 4 or more"),
        ("bad data", "nowhere: "),
    ],
)
def test_bad_input_is_refused_once(
    name: str, finding: str, place: Path, ended: dict[str, Any]
) -> None:
    assert [code for code, _, _ in ended[name]] == [2, 2]
    said = "".join(printed + line for _, printed, line in ended[name])
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert finding in said
    assert not (place / "none").exists()


def test_a_process_that_ended_is_seen_by_one_that_has_not_met_it() -> None:
    """One that meets a fault at once can end before the others have asked who is there."""
    store = HashStore()
    slow = Peers(store, Launch(1, 2, 1, 2))
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert slow.gone() == ""
    store.set(Peers._key(0), f"{ended.pid} {socket.gethostname()}")
    assert slow.gone() == f"rank 0 of 2 (process {ended.pid})"


def _rows(run: Path) -> list[dict[str, str]]:
    with (run / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_last_step_is_the_last(place: Path) -> None:
    """The moment of the kills: with another number of images they would miss."""
    training = len(json.loads((place / "split.json").read_text())["train"]) - 4  # one per class
    assert 2 * -(-training // 6) == LAST_STEP
