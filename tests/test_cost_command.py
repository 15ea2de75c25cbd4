"""`cost` counts both ways, in a table and as JSON."""

from __future__ import annotations

import json
import math
import os
from typing import Any

import pytest
from command import refused, run_command
from pages import ROOT

from qlvit_edge.converters.lower.checkpoint import float_graph
from qlvit_edge.model.configs import SIZES, size_config
from qlvit_edge.model.cost import count_cost
from qlvit_edge.model.family import FAMILY
from qlvit_edge.model.pooling_attention import PoolingAttention
from qlvit_edge.model.qlvit import QLViT


def _json(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    assert run_command("cost", *arguments, "--json") == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_json_holds_both_counts_and_the_parts(capsys: pytest.CaptureFixture[str]) -> None:
    found = _json(capsys, "nano")
    assert set(found) == {"true", "paper_style", "parts"}
    for count in (found["true"], found["paper_style"], *found["parts"].values()):
        assert set(count) == {"parameters", "macs"}
        assert all(isinstance(number, int) and number >= 0 for number in count.values())
    for key in ("parameters", "macs"):
        assert sum(part[key] for part in found["parts"].values()) == found["true"][key]
        assert found["paper_style"][key] < found["true"][key]


def test_nano_keeps_its_budget(capsys: pytest.CaptureFixture[str]) -> None:
    found = _json(capsys, "nano", "--variant", "v4")["true"]
    assert found["parameters"] <= 700_000
    assert found["macs"] <= 60_000_000


def test_table_shows_the_numbers_of_the_json(capsys: pytest.CaptureFixture[str]) -> None:
    found = _json(capsys, "paper")
    assert run_command("cost", "paper") == 0
    table = capsys.readouterr().out
    assert f"{found['true']['parameters']:,}" in table
    assert f"{found['paper_style']['macs'] / 1e6:.2f}" in table


def test_unknown_size_is_refused(capfd: pytest.CaptureFixture[str]) -> None:
    line = refused(capfd, "cost", "huge")
    remedy = "choose one of paper, tiny, nano, or name a TOML file"
    assert line == f"error: huge: is not a network size; {remedy}\n"


def test_v3_costs_what_the_paper_counted(capsys: pytest.CaptureFixture[str]) -> None:
    """Table 3: V3 has 16.02 M parameters and 2.32 GMAC more than V4, in its MLPs."""
    v3, v4 = (_json(capsys, "paper", "--variant", variant) for variant in ("v3", "v4"))
    paper = {name: v3["paper_style"][name] - v4["paper_style"][name] for name in v3["true"]}
    assert paper["parameters"] == pytest.approx(16.02e6, rel=0.002)
    assert paper["macs"] == pytest.approx(2.32e9, rel=0.005)
    assert v3["parts"]["MLP"] == paper
    assert "KAN" not in v3["parts"]


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (
            ("--input-size", "97"),
            "network nano: cannot be built: the input sides must be multiples of 32, not 97x97; ",
        ),
        (("--kv-pool", "0,1,1,1"), "Invalid value for '--kv-pool': '0,1,1,1' is not as in"),
        (("--input-size", "wide"), "Invalid value for '--input-size'"),
        (("--channels", "4"), "Invalid value for '--channels'"),
    ],
)
def test_impossible_options_are_wrong_use(
    capfd: pytest.CaptureFixture[str], options: tuple[str, str], line: str
) -> None:
    assert run_command("cost", "nano", *options) == 2
    shown = capfd.readouterr().err
    assert line in shown
    assert "Traceback" not in shown


def test_grey_rectangular_pooled_input_is_counted(capsys: pytest.CaptureFixture[str]) -> None:
    plain = _json(capsys, "nano")
    grey = _json(capsys, "nano", "--channels", "1")
    # Stem 7×7/4 of 24 channels on 96×96: two thirds of 24·24·24·49·3 fall away.
    assert plain["true"]["macs"] - grey["true"]["macs"] == 24 * 24 * 24 * 49 * 2
    assert plain["true"]["parameters"] - grey["true"]["parameters"] == 24 * 49 * 2
    wide = _json(capsys, "nano", "--input-size", "96x192")
    assert wide["parts"]["stem"]["macs"] == 2 * plain["parts"]["stem"]["macs"]
    assert wide["true"]["parameters"] == plain["true"]["parameters"]
    pooled = _json(capsys, "nano", "--kv-pool", "4,1,1,1")
    # One block at 24×24, one head of 24: two depthwise 3×3 with outputs of 6×6 and their
    # norms (24·(9+2) parameters each), and KᵀV over 36 tokens, not 576.
    assert pooled["true"]["parameters"] - plain["true"]["parameters"] == 2 * 24 * (9 + 2)
    assert pooled["true"]["macs"] - plain["true"]["macs"] == (
        2 * 36 * 24 * 9 - (576 - 36) * 24 * 24
    )


def test_unknown_variant_is_wrong_use(capfd: pytest.CaptureFixture[str]) -> None:
    assert run_command("cost", "nano", "--variant", "v9") == 2
    assert "--variant" in capfd.readouterr().err


def test_in_a_pipe_the_table_does_not_depend_on_the_window(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Stdin and stderr may still be a terminal of any width."""
    monkeypatch.delenv("COLUMNS", raising=False)
    tables = set()
    for width in (30, 200):
        monkeypatch.setattr(os, "get_terminal_size", lambda *_, w=width: os.terminal_size((w, 20)))
        assert run_command("cost", "nano") == 0
        tables.add(capsys.readouterr().out)
    assert len(tables) == 1


@pytest.mark.parametrize("member", FAMILY)
@pytest.mark.parametrize("size", SIZES)
def test_counts_are_those_of_the_operations_that_are_written(size: str, member: str) -> None:
    """The lowered graph counts by itself: attention with its pooled heads, MLP and head."""
    config = size_config(size, **FAMILY[member])
    parts = count_cost(config).parts
    network = QLViT(config).eval()
    graph = float_graph(network, "counted")

    def written(place: str) -> int:
        counts = 0
        for operation in graph.operations:
            values = math.prod(operation.output.shape)
            # One product per value is a norm's scale, which `cost` leaves out.
            if place in operation.name and operation.macs() > values:
                counts += operation.macs()
        return counts

    [attention] = (name for name in parts if name.endswith(" attention"))
    # Keys tell queries their row and column in further channels, ones and zeros.
    told = 0
    for module in network.modules():
        if isinstance(module, PoolingAttention):
            (q_rows, rows), (q_columns, columns) = module.rows.shape, module.columns.shape
            told += module.heads * q_rows * q_columns * rows * columns * (rows + columns)
    assert parts[attention].macs + told == written("/attention/")
    assert parts["MLP"].macs == written("/mlp")
    assert parts["head"].macs == written("head/logits")


def test_the_ablation_stands_beside_the_papers_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command("cost", "paper", "--ablation") == 0
    table = capsys.readouterr().out
    for name, numbers in {
        "MViTv2": ("23.33", "23.326", "23.407", "4.00", "3.973", "4.676"),
        "QLViT V1": ("23.33", "25.108", "25.320", "4.00", "4.263", "5.018"),
        "QLViT V4": ("9.07", "9.060", "9.702", "1.95", "1.933", "2.398"),
    }.items():
        [row] = (line for line in table.splitlines() if f" {name} " in line)
        assert tuple(cell.strip() for cell in row.split("│")[2:-1]) == numbers
        page = (ROOT / "docs" / "variants.md").read_text()
        assert f"| {name} | {' | '.join(numbers)} |" in page


def test_the_ablation_of_another_size_has_no_column_of_the_paper(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run_command("cost", "nano", "--ablation", "--channels", "1") == 0
    shown = capsys.readouterr().out
    assert ": paper" not in shown.replace("paper-style", "")
    assert run_command("cost", "nano", "--ablation", "--channels", "1", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found) == ["mvitv2", "v0", "v1", "v2", "v3", "v4"]
    assert found["v4"]["true"] == _json(capsys, "nano", "--channels", "1")["true"]


def test_the_ablation_of_one_variant_is_wrong_use(capfd: pytest.CaptureFixture[str]) -> None:
    assert run_command("cost", "nano", "--ablation", "--variant", "v1") == 2
    assert "leave --variant out" in capfd.readouterr().err
