"""What a Cortex executes: reading the plugin's record, naming its operators, comparing counts.

Nothing here needs an emulator; the counting itself is `make cortex`.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections import Counter
from pathlib import Path

import pytest

from qlvit_edge import bundled
from qlvit_edge.measuring.litert_c import OPERATOR
from qlvit_edge.measuring.profiler import running_order
from qlvit_edge.modelfile.reader import read_document

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "benchmarks" / "cortex"), str(ROOT / "benchmarks")]

import attribution  # noqa: E402
import beside  # noqa: E402
import count  # noqa: E402
import cycles  # noqa: E402
import recorded  # noqa: E402
from attribution import Cost, Share  # noqa: E402
from record import Block, Record, Segment, parse  # noqa: E402
from side_by_side import between  # noqa: E402
from symbols import Symbols  # noqa: E402

LINES = """\
segment r 8f89c8
count 0 2
segment b 63f040
count 1 1
segment b 63ef1c
count 2 5
segment r 8f8a20
count 0 1
segment o 7a8538
count 2 10
block 0 8f89c8 3 {}
block 1 63f040 4 {}
block 2 7a8538 2 {}
""".format("00" * 12, "11" * 16, "22" * 8)
LISTED = """\
00000000008f89c8 0000000000000898 t tflite::Subgraph::InvokeImpl()
000000000079010c 000000000000012c t xnn_invoke_runtime
00000000007a8538 00000000000006ac t xnn_run_operator_with_index
000000000063f040 0000000000000018 t tflite::ops::builtin::gather::Eval(TfLiteContext*, TfLiteNode*)
0000000000a00000 0000000000000010 d some_data
0000000000b00000 t without_size
"""


def share(part: str, instructions: int, cycles: float = 0.0) -> Share:
    return Share(0, "x", "CONV_2D", part, "xnn_kernel", instructions, cycles)


def test_a_builtin_operator_that_passes_on_is_one_segment() -> None:
    record = parse(LINES.splitlines())
    assert [segment.kind for segment in record.segments] == ["r", "b", "r", "o"]
    assert [record.instructions(segment) for segment in record.segments] == [6, 4 + 10, 3, 20]


def test_cycles_of_a_segment_are_those_of_its_blocks() -> None:
    record = parse(LINES.splitlines())
    costs = {b"\x11" * 16: 2.5, b"\x22" * 8: 1.0}
    assert [record.cycles(s, costs) for s in record.segments] == [0.0, 2.5 + 5, 0.0, 10.0]


@pytest.mark.parametrize(
    ("lines", "finding"),
    [
        ("", "cut off"),
        (LINES[: LINES.index("block 2")], "cut off"),
        ("INFO: a message\n" + LINES, "not a line"),
        ("count 1 1\n" + LINES, "not a line"),
    ],
)
def test_a_damaged_record_is_refused(lines: str, finding: str) -> None:
    with pytest.raises(ValueError, match=finding):
        parse(lines.splitlines())


def test_functions_are_found_by_offset() -> None:
    symbols = Symbols.parse(LISTED)
    assert symbols.name_at(0x8F89C8) == "tflite::Subgraph::InvokeImpl()"
    assert symbols.name_at(0x8F89C8 + 0x897) == "tflite::Subgraph::InvokeImpl()"
    assert symbols.name_at(0x8F89C8 + 0x898) == ""
    assert symbols.name_at(0) == ""
    assert symbols.name_at(0xA00000) == ""  # data, no code


def test_marks_say_where_an_inference_and_its_operators_begin() -> None:
    assert Symbols.parse(LISTED).marks() == [
        "builtin 63f040 63f040",
        "inference 8f89c8 8f9260",
        "operator 7a8538 7a8538",
        "runtime 79010c 790238",
    ]


def imitation(model: Path, drop: int = 0) -> Record:
    """Return a record with one instruction for the first operator, two for the second, ..."""
    order = running_order(model)
    segments = [Segment("r", Counter({0: 7}))]
    for number, (event, *_) in enumerate(order[drop:]):
        segments.append(Segment("b" if event.kind == OPERATOR else "o", Counter({0: number + 1})))
    return Record(segments, {0: Block(0x7A8538, 1, b"\x1f\x20\x03\xd5")})


def test_instructions_belong_to_the_operators_of_the_file_in_order() -> None:
    model = bundled.resolve_model("blood-nano")
    graph = read_document(model).subgraphs[0]
    order = running_order(model)
    shares = attribution.attribute(model, imitation(model), Symbols.parse(LISTED))
    assert [s.number for s in shares] == [number for _, number, _ in order] + [-1]
    assert [s.instructions for s in shares] == [*range(1, len(order) + 1), 7]
    assert all(s.operator == graph.operators[s.number].name for s in shares[:-1])
    assert {s.part for s in shares} >= {"dynamic convolution", "projections", "KAN", "runtime"}
    assert {s.kernel for s in shares[:-1]} == {"xnn_run_operator_with_index"}


def test_operators_are_not_named_where_the_sequences_differ() -> None:
    model = bundled.resolve_model("blood-nano")
    shares = attribution.attribute(model, imitation(model, drop=1), Symbols.parse(LISTED))
    assert {s.number for s in shares} == {-1}
    assert {s.part for s in shares} == {"xnn_run_operator_with_index", "runtime"}


def test_costs_are_summed_and_sorted() -> None:
    shares = [share("a", 10, 2.0), share("b", 50, 1.0), share("a", 20, 3.0)]
    assert attribution.total(shares) == Cost(80, 6.0)
    found = attribution.totals(shares, lambda s: s.part)
    assert list(found.items()) == [("b", Cost(50, 1.0)), ("a", Cost(30, 5.0))]


def test_the_table_has_columns_for_each_processor() -> None:
    counted = {
        "cortex-a72": [share("a", 3_000_000, 2e6), share("b", 1_000_000, 1e6)],
        "cortex-a76": [share("b", 500_000, 1e5)],
    }
    lines = count.table(counted, "part", cycles=True).splitlines()
    assert lines[2] == "| all | 4.000 | 100.0 | 3.000 | 0.500 | 100.0 | 0.100 |"
    assert lines[3] == "| a | 3.000 | 75.0 | 2.000 | 0.000 | 0.0 | 0.000 |"
    assert {line.count("|") for line in lines} == {8}


@pytest.mark.parametrize(
    ("now", "fails", "said"),
    [
        (1_010_000, False, "within 1 % of"),
        (1_010_001, True, "more than 1 % above"),
        (990_000, False, "within 1 % of"),
        (980_000, False, "more than 1 % below"),
    ],
)
def test_a_rise_of_more_than_one_percent_fails(now: int, fails: bool, said: str) -> None:
    known = {"net": {"cortex-a72": 1_000_000}}
    lines, failed = recorded.verdicts({"net": {"cortex-a72": now, "cortex-a76": 5}}, known)
    assert failed is fails
    assert len(lines) == 1
    assert said in lines[0]


def test_recording_leaves_other_files_counts_alone(tmp_path: Path) -> None:
    path = tmp_path / "counts.json"
    assert recorded.load(path) == {}
    recorded.save({"one": {"cortex-a72": 1}, "two": {"cortex-a72": 2}}, path)
    recorded.save({"two": {"cortex-a72": 3}}, path)
    assert recorded.load(path) == {"one": {"cortex-a72": 1}, "two": {"cortex-a72": 3}}


def test_every_bundled_model_has_a_record_for_both_processors() -> None:
    known = json.loads(recorded.RECORD.read_text("utf-8"))
    names = {path.stem for path in (ROOT / "qlvit_edge" / "bundled").glob("*/*.tflite")}
    assert names
    for name in names:
        assert set(known[name]) == set(count.CPUS.split(","))


def test_times_come_from_the_table_in_the_docs() -> None:
    text = (ROOT / "docs" / "benchmarks.md").read_text("utf-8")
    times = beside.timed(between(text))
    ours = {(network, side) for network, side in times if network.startswith("QLViT nano, int8")}
    assert ours == {("QLViT nano, int8", 96)}
    assert times["QLViT nano, int8", 96][1] == "1.00"
    assert times.keys() >= {(f"{name}, int8", 96) for name in beside.KERAS}


def test_networks_are_compared_with_ours_of_their_size_and_with_mobilenet() -> None:
    rows = [
        beside.Row("QLViT paper, int8", 224, {"cortex-a72": Cost(800, 400.0)}),
        beside.Row("MobileNetV2, int8", 224, {"cortex-a72": Cost(100, 50.0)}),
        beside.Row("QLViT nano, int8", 96, {"cortex-a72": Cost(20, 10.0)}),
        beside.Row("MobileNetV2, int8", 96, {"cortex-a72": Cost(10, 8.0)}),
    ]
    times = {
        ("QLViT nano, int8", 96): ("0.50", "1.00"),
        ("MobileNetV2, int8", 96): ("0.75", "1.52"),
    }
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in beside.table(rows, times).splitlines()
    ]
    ratios = [(row[4], row[5], row[6], row[7]) for row in cells[2:]]
    assert ratios == [
        ("1.00", "8.000", "–", "–"),
        ("0.12", "1.000", "–", "–"),
        ("1.00", "0.200", "0.50", "1.00"),
        ("0.50", "0.160", "0.75", "1.52"),
    ]
    with pytest.raises(ValueError, match="no row of MobileNetV2"):
        beside.table(rows[2:], times)


def test_calls_are_jumps_to_the_model_of_a_processor() -> None:
    assert cycles.as_jump("bl\t#256") == "b\t#256"
    assert cycles.as_jump("blr\tx8") == "br\tx8"
    assert cycles.as_jump("ret") == "br x30"
    assert cycles.as_jump("b.ne\t#-16") == "b.ne\t#-16"


@pytest.mark.skipif(shutil.which(f"llvm-mca-{cycles.VERSION}") is None, reason="no llvm-mca")
@pytest.mark.parametrize("cpu", ["cortex-a72", "cortex-a76"])
def test_a_chain_of_multiplications_takes_longer_than_independent_ones(cpu: str) -> None:
    chain = bytes.fromhex("007c019b" * 4)  # mul x0, x0, x1
    apart = bytes.fromhex("207c019b" * 4)  # mul x0, x1, x1
    found = cycles.block_cycles([chain, apart, chain], cpu)
    assert set(found) == {chain, apart}
    assert found[chain] > 1.3 * found[apart] > 4
