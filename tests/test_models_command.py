"""`models list` and `models show`, and every command takes the name of a model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import pytest
from command import files_below, refused, run_command
from small_run import CLASSES, small_config, write_folder, write_run
from tiny_metadata import metadata, plain_image
from tiny_model import COLOURS, tiny_model

from qlvit_edge import bundled
from qlvit_edge.evaluation.named_models import count_parameters, essentials, named_model
from qlvit_edge.files import sha256
from qlvit_edge.model.family import FAMILY
from qlvit_edge.model.qlvit import QLViT
from qlvit_edge.modelfile.metadata import embed
from qlvit_edge.training.checkpoint import FORMAT, load_checkpoint, save_tensors

CARD = """# large

Two kinds of cell.

**For research use only.**

## Training

Not shown.

## Figures

<!-- figures: by benchmarks/cards.py -->

Macro recall:

| images | whole image |
|---|---|
| there | 91.0 % |

Another table.

### What is not known

- **Your microscope**: \x1b[31mnothing.

<!-- end of the figures -->
"""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of models with one, `large`: a run with its data, its file and a card."""
    root = tmp_path_factory.mktemp("repository")
    run = root / "models" / "large"
    write_run(run, write_folder(root / "data", 4), small_config())
    names = dict(zip(CLASSES, [*COLOURS.values(), (10, 10, 10)], strict=True))
    facts = {
        "labels": list(CLASSES),
        "accuracy": {"float, 9 images: all": 0.95, "integer, 9 images: all": 0.9},
        "checkpoint_sha256": sha256((run / "best.safetensors").read_bytes()),
    }
    data = metadata(size=64, golden=False).model_copy(update=facts)
    (run / "large.tflite").write_bytes(embed(tiny_model(size=64, classes=names), data))
    (run / "MODEL_CARD.md").write_text(CARD)
    return root


@pytest.fixture
def repository(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, named to the program; the working directory is beside it."""
    shutil.copytree(models, tmp_path, dirs_exist_ok=True)
    monkeypatch.setenv(bundled.MODELS_VARIABLE, str(tmp_path / "models"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "models"


def _listed(capsys: pytest.CaptureFixture[str], *arguments: object) -> Any:
    capsys.readouterr()
    assert run_command("models", *arguments, "--json") == 0
    return json.loads(capsys.readouterr().out)


def test_the_list_has_what_files_say(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = {model["name"]: model for model in _listed(capsys, "list")}
    assert set(found) == {"large", *bundled.names()}
    large, file = found["large"], repository / "large" / "large.tflite"
    assert (large["bundled"], found["blood-nano"]["bundled"]) == (False, True)
    assert (large["bytes"], large["sha256"]) == (file.stat().st_size, sha256(file.read_bytes()))
    network = load_checkpoint(repository / "large").network
    assert large["parameters"] == sum(p.numel() for p in network.parameters())
    assert (large["classes"], large["input_size"]) == (list(CLASSES), [64, 64])
    assert large["accuracy"]["integer, 9 images: all"] == 0.9
    assert run_command("models", "list") == 0
    output = capsys.readouterr().out
    row = next(line for line in output.splitlines() if " large " in line)
    assert "90.00%" in row
    assert "repository" in row
    assert large["sha256"][:12] in row
    assert bundled.ELSEWHERE not in output


def test_a_model_that_cannot_be_read_is_listed_with_a_warning(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (repository / "large" / "large.tflite").write_bytes(b"not a model")
    (repository / "large" / "best.safetensors").write_bytes(b"\xff" * 20)
    assert run_command("models", "list") == 0
    output = capsys.readouterr()
    assert "large.tflite: it is not a TFLite model" in output.err
    assert any(" large " in line and "–" in line for line in output.out.splitlines())
    for options in ((), ("--json",)):
        assert run_command("models", "show", "large", *options) == 1
        output = capsys.readouterr()
        assert output.err.startswith("error: ")
        assert "large.tflite: it is not a TFLite model" in output.err
        assert "large" in output.out


def test_a_card_is_shown_by_its_essentials(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dict(essentials(CARD)) == {
        "What it is": "Two kinds of cell.\n\n**For research use only.**",
        "Figures": "Macro recall:\n\n| images | whole image |\n|---|---|\n| there | 91.0 % |",
        "What is not known": "- **Your microscope**: \x1b[31mnothing.",
    }
    assert run_command("models", "show", "large") == 0
    output = capsys.readouterr().out
    assert "| there | 91.0 % |" in output
    assert "Not shown" not in output
    assert "\x1b[31m" not in output
    assert str(repository / "large" / "MODEL_CARD.md") in output.replace("\n", "")
    (repository / "large" / "MODEL_CARD.md").unlink()
    assert _listed(capsys, "show", "large")["card"] == {}


def test_a_misspelt_name_is_answered_with_the_nearest(
    repository: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert "did you mean 'large'" in refused(capfd, "models", "show", "larg")
    assert "'show'" in _usage(capfd, "models", "shwo")


def _usage(capfd: pytest.CaptureFixture[str], *arguments: object) -> str:
    capfd.readouterr()
    assert run_command(*arguments) == 2
    return capfd.readouterr().err


def test_bundled_cards_have_essentials() -> None:
    for name in bundled.names():
        model = named_model(name)
        assert model.error is None
        assert model.parameters is not None
        card = (model.folder / "MODEL_CARD.md").read_text(encoding="utf-8")
        assert "What it is" in dict(essentials(card)), name


@pytest.mark.parametrize("member", FAMILY)
def test_parameters_are_counted_in_the_weights_alone(member: str, tmp_path: Path) -> None:
    network = QLViT(small_config(**FAMILY[member]))
    save_tensors(tmp_path / "w", dict(network.state_dict()), {"format": FORMAT, "epoch": 1})
    assert count_parameters(tmp_path / "w") == sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("calibrate", "large"), 2, "large: is a model that others use by its name"),
        (("convert", "large", "--out", "m.tflite"), 2, "calibration.json"),
        (("sensitivity", "large"), 2, "calibration.json"),
        (("validate", "large", "--out", "r"), 2, "no images to measure it on"),
        (("inspect", "large", "--summary"), 0, ""),
        (("predict", "i.png", "--model", "large"), 0, ""),
        (("explain", "large", "i.png", "--out", "maps"), 0, ""),
        (("run", "large", "--camera", "data", "--find", "none", "--frames", "1",
          "--out", "r.sqlite"), 0, ""),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else None,
)  # fmt: skip
def test_commands_take_the_name_for_the_run_or_for_the_file(
    arguments: tuple[str, ...],
    code: int,
    said: str,
    repository: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    cv2.imwrite("i.png", plain_image("RED"))
    capfd.readouterr()
    assert run_command(*arguments) == code
    assert said in capfd.readouterr().err
    assert repository.is_dir()


def test_training_starts_from_a_name(repository: Path) -> None:
    from qlvit_edge.cli.start_option import starting_run

    start = starting_run("large")
    assert start is not None
    assert start.folder == repository / "large"


def test_nothing_is_written_into_a_named_model(
    repository: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (repository / "large" / "sensitivity.png").mkdir()  # would be refused as a place for the plot
    before = files_below(repository)
    assert "name a folder with --out" in refused(capfd, "report", "large", "--every-image")
    assert "sensitivity.png" not in refused(capfd, "sensitivity", "large")
    assert files_below(repository) == before


def test_the_next_step_is_one_that_works(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "predict IMAGES --model large" in _shown(capsys)
    (repository / "large" / "large.tflite").write_bytes(b"TFL")
    assert "next:" not in _shown(capsys, 1)
    (repository / "large" / "large.tflite").unlink()
    assert "convert large" in _shown(capsys)
    (repository / "large" / "best.safetensors").unlink()
    assert "next:" not in _shown(capsys)


def _shown(capsys: pytest.CaptureFixture[str], code: int = 0) -> str:
    assert run_command("models", "show", "large") == code
    return capsys.readouterr().out
