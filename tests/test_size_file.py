"""A size of the user's own: a TOML file in place of a name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from command import refused, run_command
from pages import ROOT
from small_run import write_folder

from qlvit_edge.data.folder import scan
from qlvit_edge.data.split import stratified_split
from qlvit_edge.errors import QLViTEdgeError
from qlvit_edge.files import write_text
from qlvit_edge.model.configs import SIZES, size_config
from qlvit_edge.model.qlvit import QLViT
from qlvit_edge.training.checkpoint import read_run_config

SMALL = """
input-size = [64, 96]
channels = 1
stem-kernel = 5
widths = [8, 16, 16, 32]
depths = [1, 1, 1, 1]
heads = [1, 2, 2, 4]
kan-rank = 4
"""


def written(tmp_path: Path, text: str, name: str = "mine.toml") -> str:
    (tmp_path / name).write_text(text)
    return str(tmp_path / name)


def test_a_file_is_a_size(tmp_path: Path) -> None:
    config = size_config(written(tmp_path, SMALL), classes=7)
    assert (config.size, config.variant, config.classes) == ("mine", "v4", 7)
    assert (config.input_size, config.channels, config.stem_kernel) == ((64, 96), 1, 5)
    assert QLViT(config).stem.convolution.weight.shape == (8, 1, 5, 5)


def test_what_a_file_leaves_out_is_as_in_the_size_it_is_like(tmp_path: Path) -> None:
    config = size_config(written(tmp_path, 'like = "tiny"\nvariant = "v1"\n'))
    tiny = SIZES["tiny"]
    assert (config.widths, config.depths, config.input_size) == (
        tiny.widths,
        tiny.depths,
        tiny.input_size,
    )
    assert (config.size, config.variant, config.norm) == ("mine", "v1", "layer")


def test_options_go_before_the_file(tmp_path: Path) -> None:
    file = written(tmp_path, SMALL + 'variant = "v0"\nnorm = "batch"\n')
    assert size_config(file).norm == "batch"
    assert size_config(file, variant="v3", channels=3).variant == "v3"


def test_the_page_shows_a_file_that_works(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "variants.md").read_text()
    [example] = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    config = size_config(written(tmp_path, example))
    assert config.input_size[0] != config.input_size[1]
    for field in re.findall(r"^([a-z-]+) =", example, re.MULTILINE):
        assert f"`{field}`" in page, field


def test_the_page_explains_every_field(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "variants.md").read_text()
    fields = set(type(SIZES["nano"]).model_fields) - {"size", "classes", "activation_bits"}
    assert [name for name in sorted(fields) if f"`{name.replace('_', '-')}`" not in page] == []


@pytest.mark.parametrize(
    ("text", "finding"),
    [
        ("widths = [", "not valid TOML in UTF-8"),
        (SMALL + "width = 3\n", "width: there is no such field, did you mean 'widths'?"),
        (SMALL + "classes = 3\n", "classes: there is no such field"),
        (SMALL + "kan_rank = 3\n", "kan_rank: there is no such field, did you mean 'kan-rank'?"),
        ("widths = [8, 8, 8, 8]\n", "input-size: is missing"),
        (SMALL.replace("[1, 2, 2, 4]", "[1, 3, 2, 4]"), "each stage's heads must divide its width"),
        (SMALL.replace("[1, 2, 2, 4]", "[1, 2, 2, true]"), "heads 4: Input should be a valid int"),
        (SMALL.replace("[1, 1, 1, 1]", "[1, 1, 1]"), "depths 4: is missing"),
        (SMALL.replace("[64, 96]", "[64, 95]"), "must be multiples of 32, not 64x95"),
        (SMALL.replace("= 5", "= 4"), "kernel has a centre: an odd side, not 4"),
        (SMALL.replace("= 1\n", "= 2\n", 1), "channels: Input should be 3 or 1"),
        (SMALL.replace("= 1\n", "= true\n", 1), "channels: Input should be 3 or 1"),
        (SMALL.replace("= 1\n", "= 1.0\n", 1), "channels: Input should be 3 or 1"),
        (SMALL + f"classes-or-so = {'9' * 5000}\n", "not valid TOML in UTF-8 (Exceeds the limit"),
        (SMALL.replace("[64, 96]", "[4096, 4096]") + 'variant = "v0"\n', "keys pooled more"),
        (SMALL + 'variant = "v5"\n', "variant: Input should be 'v4'"),
        (SMALL + "kan-range = -1.0\n", "kan-range: Input should be greater than"),
        (SMALL + "kan-range = 1e-300\n", "kan-range: Input should be greater than"),
        (SMALL.replace("[8, 16, 16, 32]", "[4096, 4096, 4096, 4096]"), None),
        (SMALL.replace("[8, 16", "[80000, 16"), "widths 1: Input should be less than"),
        ('like = "nanno"\n', "like: 'nanno' is not a network size; choose one of paper, tiny"),
        ("like = 3\n", "like: '3' is not a network size"),
    ],
)
def test_a_wrong_file_is_refused_in_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], text: str, finding: str | None
) -> None:
    file = written(tmp_path, text)
    if finding is None:  # wide, but within bounds: nothing but arithmetic says how much it is
        with pytest.raises(QLViTEdgeError, match="parameters"):
            size_config(written(tmp_path, text.replace("[1, 1, 1, 1]", "[9, 9, 9, 9]")))
        return
    line = refused(capfd, "cost", file)
    assert line.startswith(f"error: {file}: ")
    assert finding in line


@pytest.mark.parametrize(
    ("name", "finding"),
    [
        ("nano.toml", "nano is a size of the family already; rename the file"),
        ("two words.toml", "its name cannot be a size's"),
        ("-.toml", "its name cannot be a size's"),
    ],
)
def test_a_file_whose_name_cannot_be_a_sizes_is_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str, finding: str
) -> None:
    assert finding in refused(capfd, "cost", written(tmp_path, SMALL, name))


def test_a_file_that_is_not_there_is_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    line = refused(capfd, "cost", str(tmp_path / "none.toml"))
    assert "cannot be read (no such file); name a TOML file" in line


def test_cost_counts_a_file_and_names_it_as_the_next_step_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = written(tmp_path, SMALL)
    assert run_command("cost", file) == 0
    shown: Any = capsys.readouterr()
    assert "QLViT V4 mine, one image" in shown.out
    assert f"--model {file}" in shown.out + shown.err


def test_a_run_keeps_the_size_of_its_file(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    cells = write_folder(tmp_path / "cells", 4)
    write_text(tmp_path / "split.json", stratified_split(scan(cells), 0.3, 0).model_dump_json())
    file = written(tmp_path, SMALL + 'variant = "v0"\n')
    options = ("--data", cells, "--split", tmp_path / "split.json", "--validation", 0)
    run = ("train", *options, "--batch", 6, "--epochs", 1, "--out", tmp_path / "run")
    assert run_command(*run, "--model", file) == 0
    network = read_run_config(tmp_path / "run").network
    assert network == size_config(file, classes=4)
    assert (network.size, network.variant, network.norm) == ("mine", "v0", "layer")
    (tmp_path / "mine.toml").write_text(SMALL + "depth = 3\n")
    assert "did you mean 'depths'?" in refused(capfd, *run[:-1], tmp_path / "b", "--model", file)
    assert not (tmp_path / "b").exists()
