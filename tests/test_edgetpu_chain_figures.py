"""What is shown of a chain is counted in its files; a forged description is not believed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest
from click.testing import CliRunner
from mini_chain import edited_archive, metadata, mini_chain
from operator_file import BIAS, KERNEL, Described, operator_file

from qlvit_edge.cli.inspect import command
from qlvit_edge.modelfile.chain import Chain, read_chain
from qlvit_edge.modelfile.chain_description import Border, ChainDescription, ChainSegment
from qlvit_edge.modelfile.chain_figures import chain_figures
from qlvit_edge.modelfile.chain_report import chain_values
from qlvit_edge.modelfile.reader import read_document


@pytest.fixture(scope="module")
def archive() -> bytes:
    return mini_chain()[1]


def _more_operators(d: dict[str, Any]) -> None:
    d["segments"][0]["operators"] = 400


def _more_macs(d: dict[str, Any]) -> None:
    d["segments"][1]["macs"] *= 100


def _no_parameters(d: dict[str, Any]) -> None:
    d["segments"][0]["parameter_bytes"] = 0


def _attention_on_the_edge_tpu(d: dict[str, Any]) -> None:
    d["segments"][1]["device"] = "tpu"


def _one_round_trip(d: dict[str, Any]) -> None:
    d["round_trips"] = 1


def _no_bytes(d: dict[str, Any]) -> None:
    d["border_bytes"] = 0


def _all_macs(d: dict[str, Any]) -> None:
    d["tpu_macs_share"] = 1.0


def _moved(d: dict[str, Any]) -> None:
    d["moved_to_cpu"] = ["head"]


def _witness_backwards(d: dict[str, Any]) -> None:
    d["witness"].reverse()


def _witness_of_one_side(d: dict[str, Any]) -> None:
    d["witness"] = d["witness"][::2]


def _witness_that_may_run_elsewhere(d: dict[str, Any]) -> None:
    d["witness"][0] = "stem/padded"


def _witness_off_the_path(d: dict[str, Any]) -> None:
    d["witness"][3] = "block1/k/heads/turned"  # of k, not of q before it


def _no_witness(d: dict[str, Any]) -> None:
    d["witness"] = []


def _witness_of_fewer(d: dict[str, Any]) -> None:
    d["witness"] = d["witness"][2:]


def _invented_witness(d: dict[str, Any]) -> None:
    d["witness"][0] = "\x1b[2Jnothing"


def values(content: bytes) -> dict[str, object]:
    """What `inspect --json` writes of a chain."""
    chain = read_chain(content)
    return chain_values(chain, chain_figures(chain))


@pytest.mark.parametrize(
    ("edit", "finding"),
    [
        (_more_operators, "400 operators in 00-tpu.tflite"),
        (_more_macs, "MACs in 01-cpu.tflite"),
        (_no_parameters, "0 bytes of parameters in 00-tpu.tflite"),
        (_attention_on_the_edge_tpu, "puts 01-cpu.tflite on the Edge TPU"),
        (_one_round_trip, "1 round trips"),
        (_no_bytes, "0 bytes to and from"),
        (_all_macs, "100.0% of the MACs"),
        (_moved, "lists 1 operator"),
        (_witness_backwards, "proof that fewer"),
        (_witness_of_one_side, "proof that fewer"),
        (_witness_that_may_run_elsewhere, "proof that fewer"),
        (_witness_off_the_path, "proof that fewer"),
        (_no_witness, "proof that fewer"),
        (_witness_of_fewer, "proof that fewer"),
        (_invented_witness, "proof that fewer"),
    ],
)
def test_inspect_counts_in_the_files_and_says_where_the_description_is_wrong(
    archive: bytes, tmp_path: Path, edit: Callable[[dict[str, Any]], None], finding: str
) -> None:
    path = tmp_path / "forged.chain"
    path.write_bytes(edited_archive(archive, edit))
    honest, forged = (values(c) for c in (archive, path.read_bytes()))
    assert honest["contradictions"] == ()
    assert any(finding in said for said in forged["contradictions"])
    assert forged["witness"] == (honest["witness"] if forged["witness_holds"] else [])
    if edit is not _attention_on_the_edge_tpu:
        told = {"contradictions", "witness", "witness_holds"}
        assert {k: v for k, v in forged.items() if k not in told} == {
            k: v for k, v in honest.items() if k not in told
        }
    result = CliRunner().invoke(command, [str(path)], catch_exceptions=False)
    assert result.exit_code == 0
    assert "chain.json is wrong: it" in result.output
    assert "\x1b" not in result.output


def test_what_a_chain_left_to_the_cpu_is_counted_in_its_files() -> None:
    chain, content = mini_chain(0.5)
    figures = chain_figures(read_chain(content))
    assert figures.contradictions == ()
    assert set(figures.moved_to_cpu) == set(chain.plan.moved) != set()
    assert figures.tpu_macs_share == pytest.approx(chain.plan.share)
    assert figures.round_trips == chain.plan.trips


MAP = ("INT8", (1, 4, 4, 8))
CONVOLUTION: Described = {KERNEL: ("INT8", (8, 1, 1, 8)), BIAS: ("INT32", (8,))}


def _segment(name: str, device: Literal["tpu", "cpu"], reads: str, makes: str) -> ChainSegment:
    return ChainSegment(
        file=f"{name}.tflite",
        sha256="0" * 64,
        device=device,
        inputs=[reads],
        outputs=[makes],
        operators=1,
        macs=0,
        parameter_bytes=0,
    )


@pytest.mark.parametrize(("between", "proven"), [("first", True), ("second", False)])
def test_a_witness_goes_by_tensors_and_not_by_what_they_are_called(
    between: str, proven: bool
) -> None:
    """EXP reads what the Edge TPU made, or a tensor of its own segment that is called alike."""
    documents = [
        operator_file(
            {"image": MAP, **CONVOLUTION, "first": MAP, "second": MAP},
            [("CONV_2D", ["image", KERNEL, BIAS], ["second"]), ("LOGISTIC", ["second"], ["first"])],
            ["image"],
            ["first"],
        ),
        operator_file(
            {"first": MAP, "second": MAP, "third": MAP},
            [("EXP", [between], ["third"])],
            ["first"],
            ["third"],
        ),
        operator_file(
            {"third": MAP, **CONVOLUTION, "logits": MAP},
            [("CONV_2D", ["third", KERNEL, BIAS], ["logits"])],
            ["third"],
            ["logits"],
        ),
    ]
    description = ChainDescription(
        segments=[
            _segment("a", "tpu", "image", "first"),
            _segment("b", "cpu", "first", "third"),
            _segment("c", "tpu", "third", "logits"),
        ],
        borders=[
            Border(name=name, shape=[1, 4, 4, 8], dtype="INT8", scale=0.1, zero_point=0)
            for name in ("image", "first", "third", "logits")
        ],
        input="image",
        output="logits",
        round_trips=2,
        border_bytes=4 * 128,
        tpu_macs_share=1.0,
        witness=["second", "third", "logits"],
        moved_to_cpu=[],
        model=metadata(),
    )
    figures = chain_figures(Chain(description, {}, tuple(map(read_document, documents))))
    failed = [finding for finding in figures.contradictions if "proof that fewer" in finding]
    assert bool(failed) is not proven
