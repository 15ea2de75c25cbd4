"""HL7 messages say what is stored, and another program's reader of them finds it there."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from command import refused, run_command
from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.parser import parse_message
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from results_rows import rows
from reviewed_run import OF_SAMPLE, SAMPLE, found, sign_run, write_run

from qlvit_edge.exchange.hl7 import components, escaped, segment, time_stamp
from qlvit_edge.exchange.oru import message_of
from qlvit_edge.review.store import ReviewedRun, ReviewStore
from qlvit_edge.text import plain

TAKEN_FOR = {"F": "|", "S": "^", "T": "&", "R": "~", "E": "\\"}


def unescaped(text: str) -> str:
    """What a receiver makes of a field's text."""
    parts = text.split("\\")
    assert len(parts) % 2, "a mark of an escape stands alone"
    return "".join(TAKEN_FOR[part] if index % 2 else part for index, part in enumerate(parts))


def parsed(text: str) -> Any:
    """The message, which is one of HL7 2.5.1 to another program."""
    message = parse_message(text, validation_level=VALIDATION_LEVEL.STRICT)
    assert message.validate()
    assert message.version == "2.5.1"
    return message


def group_of(text: str) -> Any:
    return parsed(text).oru_r01_patient_result.oru_r01_order_observation


def observations(text: str) -> dict[str, Any]:
    """OBX segments by what they are of."""
    found = [one.obx for one in group_of(text).oru_r01_observation]
    assert [one.obx_1.value for one in found] == [str(n) for n in range(1, len(found) + 1)]
    return {unescaped(one.obx_3.ce_1.value): one for one in found}


def notes(text: str) -> list[str]:
    return [unescaped(one.nte_3.value) for one in group_of(text).nte]


def seen(path: Path) -> ReviewedRun:
    with ReviewStore(path) as store:
        return store.run(None)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(min_size=1, max_size=60))
@example("\\F\\ |^&~\\ \\\\ \r\n\x0b\x1c\x00 µ \ud800 日本")
def test_any_text_comes_back_from_another_reader(text: str) -> None:
    body = segment("OBR", {1: "1", 4: components("X", text), 25: "P"})
    body += segment("NTE", {1: "1", 3: escaped(text)})
    header = segment("MSH", {7: "20261127", 9: "ORU^R01^ORU_R01", 10: "1", 11: "P", 12: "2.5.1"})
    sent = (header + body).encode("utf-8").decode("utf-8")
    message = parse_message(sent, validation_level=VALIDATION_LEVEL.TOLERANT)
    group = message.oru_r01_patient_result.oru_r01_order_observation
    assert len(sent.split("\r")) == 4
    assert len(group.nte.nte_3) == len(group.nte) == 1
    assert unescaped(group.nte.nte_3.to_er7().strip()) == plain(text).strip()
    assert unescaped(group.obr.obr_4.to_er7().removeprefix("X").removeprefix("^")) == plain(text)


def test_a_preliminary_result_says_so_and_what_the_model_counted(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    write_run(
        path,
        [found("RED"), found("RED"), found("BLUE", x=30)],
        [found("RED", "unknown cell"), found("BLUE", "uncertain")],
    )
    with ReviewStore(path) as store:
        store.change(1, [3], "RED", reason="granules", by="Ann")
        store.exclude(1, [1], reason="smudge", by="Ann")
    text = message_of(seen(path)).text
    obx = observations(text)
    assert {name: one.obx_5.to_er7() for name, one in obx.items()} == {
        "total#": "2",
        "RED#": "2",
        "RED%": "100.00",
        "RED%CI": "^15.81^-^100.00",
        "BLUE#": "0",
        "BLUE%": "0.00",
        "BLUE%CI": "^0.00^-^84.19",
        "not counted: unclassed#": "1",
        "not counted: unknown cell#": "1",
        "not counted: excluded by people#": "1",
    }
    assert {one.obx_11.value for one in obx.values()} == {"P"}
    assert obx["RED#"].obx_6.to_er7() == "{cells}^cells^UCUM"
    assert obx["RED%CI"].obx_6.to_er7() == "%^percent^UCUM"
    assert [obx[name].obx_2.value for name in ("RED#", "RED%", "RED%CI")] == ["NM", "NM", "SN"]
    assert obx["RED%"].obx_4.value == obx["RED%CI"].obx_4.value == "1"
    group = group_of(text)
    assert group.obr.obr_25.value == "P"
    assert group.obr.obr_2.ei_1.value == group.oru_r01_specimen.spm.spm_2.eip_1.value == SAMPLE
    said = notes(text)
    assert said[:3] == [
        "For research use only, not for diagnosis.",
        "PRELIMINARY: collected, not signed",
        "Classes as the model says, except of 2 of 5 cells on which people decided",
    ]
    assert f"Model tiny, SHA-256 {'ab' * 32}" in said
    assert "Scale not known; lengths are in pixels" in said
    assert "operator Olga" in " ".join(said)


def test_a_signed_result_is_final_and_names_who_signed(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    scale = {"um_per_pixel": 0.25, "uncertainty_percent": 2.0, "method": "lines of 10 µm"}
    info = replace(OF_SAMPLE, calibration=json.dumps(scale))
    write_run(path, [found("RED"), found("BLUE", "unknown cell", x=30)], info=info)
    with ReviewStore(path) as store:
        store.confirm(1, [1, 2], "Ann")
        store.done(1, "Ann")
        store.sign(1, "Ann", readers=2)
        assert "|P|" in message_of(store.run(1)).text.partition("OBX")[2]
        store.sign(1, "Bob & |Co|")
        run = store.run(1)
    message = message_of(run)
    obx = observations(message.text)
    assert obx["total#"].obx_5.value == "2"
    assert {one.obx_11.value for one in obx.values()} == {"F"}
    names = [unescaped(one.xcn_2.to_er7()) for one in obx["RED#"].obx_16]
    assert names == ["Ann", "Bob & |Co|"]
    assert run.signature is not None
    ((at, signed),) = rows(path, "SELECT at_utc, hash FROM signatures ORDER BY number DESC LIMIT 1")
    assert (run.signature.at, run.signature.hash) == (at, signed)
    group = group_of(message.text)
    assert group.obr.obr_22.value == time_stamp(datetime.fromisoformat(at).timestamp())
    said = notes(message.text)
    assert f"Record 4 of the review: SHA-256 {signed}" in said
    assert "0.25 µm per pixel ± 2 %, lines of 10 µm" in said
    assert "Classes as people confirmed or changed them, 2 cells" in said


def test_the_control_id_is_that_of_the_result(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    write_run(path, [found(), found("BLUE")])
    first = message_of(seen(path), 1.0)
    assert message_of(seen(path), 5e8).control_id == first.control_id
    assert parsed(first.text).msh.msh_10.value == first.control_id
    assert parsed(first.text).msh.msh_7.value == "19700101000001+0000"
    assert parsed(first.text).msh.msh_18.value == "UNICODE UTF-8"
    assert len(first.control_id) == 20
    known = {first.control_id}
    with ReviewStore(path) as store:
        for _ in range(2):  # the same decision again, and taken back, is another state each time
            store.change(1, [1], "BLUE", reason="x", by="Ann")
            known.add(message_of(store.run(1)).control_id)
            store.undo(1, "Ann")
            known.add(message_of(store.run(1)).control_id)
    assert len(known) == 5
    sign_run(path)
    signed = message_of(seen(path))
    assert signed.control_id not in known
    with ReviewStore(path) as store:
        store.export(1, to="x", by="Ann")  # that it left does not make it another result
    assert message_of(seen(path)).control_id == signed.control_id
    write_run(path, [found(), found("BLUE")])
    assert message_of(seen(path)).control_id not in {*known, signed.control_id}


def test_what_has_left_as_final_is_corrected(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    write_run(path, [found()])
    sign_run(path)
    with ReviewStore(path) as store:
        store.reopen(1, reason="too early", by="Ann")
    sign_run(path)
    assert group_of(message_of(seen(path)).text).obr.obr_25.value == "F"  # nobody has seen it yet
    with ReviewStore(path) as store:
        store.export(1, to="x", by="Ann")
        store.reopen(1, reason="wrong", by="Ann")
    assert group_of(message_of(seen(path)).text).obr.obr_25.value == "P"
    sign_run(path)
    first = message_of(seen(path)).text
    assert group_of(first).obr.obr_25.value == "C"
    assert {one.obx_11.value for one in observations(first).values()} == {"C"}


def test_a_file_holds_a_message_per_run(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path, out = tmp_path / "r.sqlite", tmp_path / "out.hl7"
    write_run(path, [found("µ|^&~\\\n")], info=replace(OF_SAMPLE, sample="S|1"))
    write_run(path, [], info=replace(OF_SAMPLE, sample=None, operator=None))
    sign_run(path)
    arguments = ("results", "export", path, "--out", out)
    assert run_command(*arguments) == 2  # who exports a signed run must be said
    assert not out.exists()
    assert run_command(*arguments, "--by", "Ann") == 0
    texts = [f"MSH{one}" for one in out.read_bytes().decode("utf-8").split("MSH")[1:]]
    assert [group_of(text).obr.obr_25.value for text in texts] == ["F", "P"]
    assert "µ|^&~\\\\n#" in observations(texts[0])
    assert unescaped(group_of(texts[0]).obr.obr_2.to_er7()) == "S|1"
    assert list(observations(texts[1])) == ["total#"]
    assert rows(path, "SELECT json_extract(content, '$.to') FROM reviews ORDER BY number")[-1] == (
        "out.hl7",
    )
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE cells SET label = 'BLUE'")
    assert "not as it was" in refused(capfd, *arguments, "--by", "Ann")
