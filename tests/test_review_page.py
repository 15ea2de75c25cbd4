"""The review over HTTP: who may decide, what is refused and how, and what leaves."""

from __future__ import annotations

import csv
import io
import json
import sqlite3
import zipfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from reviewed_run import OF_SAMPLE, SAMPLE, found, sign_run, write_run
from starlette.testclient import TestClient
from tiny_metadata import tiny_file

import qlvit_edge.page
from qlvit_edge.camera.base import Frame
from qlvit_edge.microscope.pictures import keep_picture
from qlvit_edge.microscope.records import FrameRecord
from qlvit_edge.microscope.results import Results
from qlvit_edge.microscope.session import Session, Settings
from qlvit_edge.page.access import Access
from qlvit_edge.page.address import Address
from qlvit_edge.page.application import application
from qlvit_edge.page.reviewing import UNSEEN
from qlvit_edge.page.state import View
from qlvit_edge.review.blind import BLIND, drawn_from
from qlvit_edge.review.rows import rows_of
from qlvit_edge.review.store import ReviewStore
from qlvit_edge.review.verifying import findings_in

LOCAL = Address("127.0.0.1", 8321)
HOSTILE = "<script>alert(1)</script>"


class Desk:
    """A client of the review of one file, with a session."""

    def __init__(self, path: Path) -> None:
        app = application(None, Access(None), LOCAL, secure=False, results=path)
        self.client = TestClient(app, base_url="http://127.0.0.1:8321")
        self.word = {"x-csrf-token": self.client.get("/api/session").json()["csrf"]}

    def get(self, path: str) -> Any:
        return self.client.get(f"/api/review/{path}")

    def run(self) -> dict[str, Any]:
        answer = self.get("run?run=1")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def post(self, step: str, where: str = "step", **said: object) -> Any:
        body = {"step": step, "run": 1, "by": "Ann", **said}
        return self.client.post(f"/api/review/{where}", json=body, headers=self.word)

    def stored(self, step: str, **said: object) -> None:
        answer = self.post(step, **said)
        assert answer.status_code == 200, answer.text

    def refused(self, step: str, status: int, where: str = "step", **said: object) -> str:
        answer = self.post(step, where, **said)
        assert answer.status_code == status, answer.text
        text = str(answer.json()["error"])
        assert "\n" not in text
        return text


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """One run with its frames: cells 1 to 4, of which the third is unknown."""
    path = tmp_path / "r.sqlite"
    unknown = found("RED", "unknown cell", 30)
    frames = [found("RED"), found("BLUE", x=30)], [unknown, found("RED", "uncertain")]
    write_run(path, *frames, keep=tmp_path)
    return path


@pytest.fixture
def desk(path: Path) -> Desk:
    return Desk(path)


def test_a_run_is_reviewed_signed_and_exported(desk: Desk, path: Path) -> None:
    assert desk.client.get("/", follow_redirects=False).headers["location"] == "/review"
    seen = desk.run()
    assert (seen["state"], seen["sample"], seen["labels"]) == ("collected", SAMPLE, ["RED", "BLUE"])
    assert [cell["picture"] for cell in seen["cells"]] == ["kept"] * 4
    assert seen["cells"][0]["second"] == "BLUE"
    desk.stored("change", cells=[2], label="RED", reason="granules")
    desk.stored("confirm", cells=[1, 4])
    desk.stored("exclude", cells=[3], reason="smudge")
    desk.stored("undo")
    assert "1 unknown cell left (3)" in desk.refused("done", 409)
    desk.stored("exclude", cells=[3], reason="no cell")
    assert [cell["final"] for cell in desk.run()["cells"]] == ["RED", "RED", None, "RED"]
    assert "is not reviewed" in desk.refused("sign", 409)
    desk.stored("done")
    desk.stored("sign", readers=2)
    assert desk.run()["state"] == "reviewed"
    assert "signed by Ann already" in desk.refused("sign", 409, readers=2)
    desk.stored("sign", readers=2, by="Bob")
    assert "is signed by Ann and Bob" in desk.refused("confirm", 409, cells=[1])
    answer = desk.post("export", "export", format="csv")
    assert answer.headers["content-disposition"] == 'attachment; filename="run1.csv"'
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [row["final_label"] for row in rows] == ["RED", "RED", "", "RED"]
    assert all(row["status"].startswith("signed by Ann and Bob at") for row in rows)
    assert desk.run()["state"] == "exported"
    desk.stored("reopen", reason="a second look")
    assert desk.run()["state"] == "collected"
    assert findings_in(path) == []


def test_what_is_not_signed_leaves_as_preliminary(desk: Desk, path: Path) -> None:
    desk.stored("confirm", cells=[1, 4])
    desk.stored("change", cells=[2], label="BLUE", reason="hue")
    desk.stored("confirm", cells=[3])
    for kind, name in (("csv", "run1-PRELIMINARY.csv"), ("jsonl", "run1-PRELIMINARY.jsonl")):
        answer = desk.post("export", "export", format=kind)
        assert f'"{name}"' in answer.headers["content-disposition"]
        assert answer.text.count("PRELIMINARY: collected, not signed") == 4
    answer = desk.post("export", "export", format="crops")
    archive = zipfile.ZipFile(io.BytesIO(answer.content))
    names = archive.namelist()
    assert {Path(name).parts[0] for name in names} == {"run1-crops-PRELIMINARY"}
    assert sum("/RED/" in name for name in names) == 3
    pixels = np.frombuffer(archive.read(next(n for n in names if "/RED/" in n)), np.uint8)
    assert cv2.imdecode(pixels, cv2.IMREAD_COLOR) is not None
    assert [record.kind for record in _records(path)].count("export") == 0


def test_a_run_that_is_signed_anew_while_its_file_is_made_does_not_leave(
    desk: Desk, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rows_slowly(seen: Any) -> Any:
        with ReviewStore(path) as store:
            store.reopen(1, reason="wrong slide", by="Ann")
        sign_run(path, by="Bob")
        return rows_of(seen)

    sign_run(path)
    with monkeypatch.context() as patched:
        patched.setattr("qlvit_edge.page.leaving.rows_of", rows_slowly)
        said = desk.refused("export", 409, "export", format="csv")
    assert "was changed meanwhile" in said
    assert [record.kind for record in _records(path)].count("export") == 0


def test_two_files_of_a_run_may_leave_at_a_time(
    desk: Desk, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rows_slowly(seen: Any) -> Any:
        with ReviewStore(path) as store:
            store.export(1, to="elsewhere", by="Bob")
        return rows_of(seen)

    sign_run(path)
    with monkeypatch.context() as patched:
        patched.setattr("qlvit_edge.page.leaving.rows_of", rows_slowly)
        assert desk.post("export", "export", format="csv").status_code == 200
    assert [record.kind for record in _records(path)].count("export") == 2


def _records(path: Path) -> list[Any]:
    with ReviewStore(path) as store:
        return store.records(1)


def test_nothing_is_told_or_done_without_a_session_and_its_word(desk: Desk, path: Path) -> None:
    stranger = TestClient(desk.client.app, base_url="http://127.0.0.1:8321")
    for what in ("runs", "run?run=1", "crop?run=1&cell=1", "field?run=1&cell=1"):
        assert stranger.get(f"/api/review/{what}").status_code == 401
    body = {"step": "confirm", "run": 1, "by": "Eve", "cells": [1]}
    for where in ("step", "export"):
        for client, word in ((stranger, ""), (desk.client, ""), (desk.client, "wrong")):
            headers = {"x-csrf-token": word}
            answer = client.post(f"/api/review/{where}", json=body, headers=headers)
            assert answer.status_code == 403
        foreign = {**desk.word, "origin": "https://evil.example"}
        answer = desk.client.post(f"/api/review/{where}", json=body, headers=foreign)
        assert answer.status_code == 403
    assert _records(path) == []


def test_a_page_for_others_asks_for_the_token(path: Path) -> None:
    anywhere = Address("0.0.0.0", 8321)
    app = application(None, Access("secret"), anywhere, secure=True, results=path)
    client = TestClient(app, base_url="https://127.0.0.1:8321")
    assert client.get("/api/review/runs").status_code == 401
    assert client.post("/api/session", json={"token": "wrong"}).status_code == 403
    assert client.get("/api/review/runs").status_code == 401
    assert client.post("/api/session", json={"token": "secret"}).status_code == 200
    assert client.get("/api/review/runs").json()["file"] == "r.sqlite"


@pytest.mark.parametrize(
    ("step", "said", "status", "words"),
    [
        ("confirm", {"cells": [99]}, 409, "run 1 has no cell 99"),
        ("confirm", {"cells": [1], "run": 7}, 409, "it has no run 7"),
        ("confirm", {"cells": []}, 409, "no cell is named"),
        ("confirm", {"cells": [True]}, 400, "cells: give a list of numbers"),
        ("confirm", {"cells": ["1"]}, 400, "cells: give a list of numbers"),
        ("confirm", {"cells": {"1": 1}}, 400, "cells: give a list of numbers"),
        ("confirm", {"cells": [1] * 5001}, 400, "cells: give 5000 at most"),
        ("confirm", {"cells": [1], "by": " "}, 409, "name: is empty"),
        ("confirm", {"cells": [1], "by": 3}, 400, "by: give a text"),
        ("confirm", {"cells": [1], "run": "1"}, 400, "run: give a number"),
        ("confirm", {"cells": [1], "run": -1}, 400, "run: give a number"),
        ("confirm", {"cells": [10**30]}, 400, "cells: give a list of numbers"),
        ("change", {"cells": [1], "label": "BLUE"}, 409, "reason: is empty"),
        ("change", {"cells": [1], "label": "GREEN", "reason": "x"}, 409, "is no class of this run"),
        ("change", {"cells": [1], "label": "", "reason": "x"}, 409, "class: is empty"),
        ("change", {"cells": [1], "label": "a\nb", "new": True, "reason": "x"}, 409, "printed"),
        ("exclude", {"cells": [1]}, 409, "reason: is empty"),
        ("undo", {}, 409, "there is no decision to undo"),
        ("undo", {"number": 5}, 409, "is no decision"),
        ("sign", {"readers": 3}, 400, "readers: 1 or 2"),
        ("reopen", {"reason": "x"}, 409, "is not signed"),
        ("blind", {"cells": [1], "label": "RED"}, 409, "not one of the cells that were drawn"),
        ("blind", {"cells": [1, 2], "label": "RED"}, 400, "cells: give one"),
        ("delete", {}, 400, "step: name one of"),
        ("export", {}, 400, "an export is asked for elsewhere"),
    ],
)
def test_wrong_requests_are_refused_in_one_line_and_store_nothing(
    step: str, said: dict[str, object], status: int, words: str, desk: Desk, path: Path
) -> None:
    text = desk.refused(step, status, **said)
    assert words in text
    assert str(path.parent) not in text
    assert _records(path) == []


def test_requests_that_name_nothing_or_too_much(desk: Desk, tmp_path: Path) -> None:
    for what in ("crop?run=1&cell=99", "field?run=1&cell=99"):
        assert desk.get(what).status_code == 404
    for what in ("crop?run=1", "crop?run=x&cell=1", "field?run=1&cell=1e3", "run?run=²"):
        assert desk.get(what).status_code == 400
    assert desk.get("run?run=9").status_code == 409
    assert "format" in desk.refused("export", 400, "export", format="../../etc/passwd")
    headers = desk.word
    long = desk.client.post("/api/review/step", content=b" " * (2**18 + 1), headers=headers)
    assert long.status_code == 413
    for odd in (b"[" * 9000, b"[]", b"\xff", b""):
        answer = desk.client.post("/api/review/step", content=odd, headers=headers)
        assert answer.status_code == 400


@pytest.mark.parametrize(
    "asked", ["/review/../r.sqlite", "/review.js/", "/static/review.js", "/r.sqlite", "/api/state"]
)
def test_no_path_leads_to_the_file_system(asked: str, desk: Desk) -> None:
    assert desk.client.get(asked, follow_redirects=False).status_code in (307, 404)
    if asked == "/review.js/":
        return
    assert desk.client.get(asked).status_code == 404


def test_names_that_are_programs_are_texts(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    info = OF_SAMPLE.__class__(**{**OF_SAMPLE.__dict__, "sample": HOSTILE, "operator": HOSTILE})
    write_run(path, [found(), found(x=30)], info=info, keep=tmp_path)
    desk = Desk(path)
    desk.stored("change", cells=[1], label=HOSTILE, reason=HOSTILE, by=HOSTILE, new=True)
    answer = desk.get("run?run=1")
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    seen = answer.json()
    assert (seen["sample"], seen["cells"][0]["final"], seen["cells"][0]["why"]) == (HOSTILE,) * 3
    assert "script-src 'self'" in desk.client.get("/review").headers["content-security-policy"]


def test_the_page_writes_texts_never_programs() -> None:
    """What comes from a file goes into a page as text; nothing in it is run or loaded from afar."""
    folder = Path(qlvit_edge.page.__file__).parent / "static"
    scripts = sorted(folder.glob("review*.js"))
    assert len(scripts) > 5
    for script in scripts:
        text = script.read_text(encoding="utf-8")
        for word in ("innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval(", "http"):
            assert word not in text, f"{script.name}: {word}"
        assert "Function(" not in text
    page = (folder / "review.html").read_text(encoding="utf-8")
    for word in ("style=", "onclick", "<script>", "http", "//"):
        assert word not in page.replace("<!doctype html>", "")


def test_every_script_of_the_page_is_served(desk: Desk) -> None:
    folder = Path(qlvit_edge.page.__file__).parent / "static"
    for file in [*folder.glob("review*.js"), folder / "review.css"]:
        answer = desk.client.get(f"/{file.name}")
        assert answer.content == file.read_bytes()
        assert answer.headers["cache-control"] == "no-store"


def test_pictures_are_what_the_model_saw(desk: Desk, path: Path) -> None:
    answer = desk.get("crop?run=1&cell=2")
    assert answer.headers["content-type"] == "image/png"
    shown = cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_COLOR)
    assert shown is not None
    height, width = shown.shape[:2]
    assert height == width > 20
    frame = cv2.imread(str(next(path.parent.glob("*frame000000-plain.png"))), cv2.IMREAD_COLOR)
    assert frame is not None
    assert any(
        np.array_equal(frame[y : y + 20, x : x + 20], shown[:20, :20])
        for y in range(20)
        for x in range(40)
    )
    around = desk.get("field?run=1&cell=2")
    assert around.headers["content-type"] == "image/jpeg"
    field = cv2.imdecode(np.frombuffer(around.content, np.uint8), cv2.IMREAD_COLOR)
    assert field is not None
    assert field.shape == (48, 64, 3)


def test_a_cell_without_a_picture_is_not_confirmed_by_accident(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    write_run(path, [found(), found("BLUE", x=30)])
    desk = Desk(path)
    assert [cell["picture"] for cell in desk.run()["cells"]] == [None, None]
    assert desk.get("crop?run=1&cell=1").status_code == 404
    for said in ({"cells": [1, 2]}, {"cells": [1]}, {"cells": [1, 2], "unseen": True}):
        assert "there is no picture of cell 1" in desk.refused("confirm", 409, **said)
    change = {"label": "RED", "reason": "granules"}
    assert "no picture of cell 2" in desk.refused("change", 409, cells=[2], **change)
    assert _records(path) == []
    desk.stored("confirm", cells=[1], unseen=True)
    desk.stored("change", cells=[2], unseen=True, **change)
    reasons = [record.reason for record in _records(path)]
    assert reasons == [UNSEEN, "granules (without a picture)"]
    assert "no accepted cell whose frame was kept" in desk.refused("draw", 409)


def test_a_picture_that_has_gone_or_is_anothers_is_none(desk: Desk, path: Path) -> None:
    first, second = sorted(path.parent.glob("*-plain.png"))
    first.unlink()
    assert [cell["picture"] for cell in desk.run()["cells"]] == [None, None, "kept", "kept"]
    cv2.imwrite(str(second), np.zeros((8, 8, 3), np.uint8))
    assert desk.get("crop?run=1&cell=3").status_code == 404
    second.write_bytes(b"no picture")
    assert desk.get("field?run=1&cell=3").status_code == 404


def test_a_run_that_goes_on_is_reviewed_but_not_finished(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    with Results(path, OF_SAMPLE) as results:
        frame = Frame(np.zeros((48, 64, 3), np.uint8), 0, 1000.0, "0.png")
        kept = keep_picture(tmp_path, results.run_id, frame)
        results.add_frames([FrameRecord.of(frame, [found()], kept_as=kept)])
        desk = Desk(path)
        seen = desk.run()
        assert seen["goes_on"] is True
        assert desk.get(f"run?run=1&have={seen['version']}").status_code == 204
        desk.stored("confirm", cells=[1])
        assert "goes on" in desk.refused("draw", 409)
        assert "is writing" in desk.refused("done", 409)
        frame = Frame(np.ones((48, 64, 3), np.uint8), 1, 1001.0, "1.png")
        results.add_frames([FrameRecord.of(frame, [found("BLUE")])])
        assert len(desk.run()["cells"]) == 2
        assert desk.get("crop?run=1&cell=2").status_code == 404
    desk.stored("confirm", cells=[2], unseen=True)
    desk.stored("done")


def test_a_run_that_was_killed_is_finished(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("UPDATE runs SET outcome = 'running'")
    connection.commit()
    connection.close()
    desk = Desk(path)
    desk.stored("confirm", cells=[1, 2, 3, 4])
    desk.stored("done")
    assert desk.run()["outcome"] == "did not end"


def test_a_locked_file_is_said_and_asked_again(
    desk: Desk, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qlvit_edge.page.reviewing.LOCK_SECONDS", 0.1)
    desk.run()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    assert "locked" in desk.refused("confirm", 503, cells=[1])
    assert desk.run()["cells"][0]["final"] is None
    other.execute("ROLLBACK")
    other.close()
    desk.stored("confirm", cells=[1])


def test_a_file_that_is_none_or_not_there_is_said(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "r.sqlite")
    assert desk.get("runs").status_code == 409
    (tmp_path / "r.sqlite").write_bytes(b"x" * 5000)
    text = desk.refused("confirm", 409, cells=[1])
    assert "not a results file" in text
    assert str(tmp_path) not in text


def test_altered_records_are_said(desk: Desk, path: Path) -> None:
    desk.stored("confirm", cells=[1])
    connection = sqlite3.connect(path)
    connection.execute("UPDATE reviews SET content = replace(content, 'Ann', 'Eve')")
    connection.commit()
    connection.close()
    assert "was altered" in desk.get("run?run=1").json()["error"]
    assert "was altered" in desk.refused("confirm", 409, cells=[2])


def test_random_cells_are_classed_without_the_models_answer(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    frames = [[found("RED"), found("BLUE", x=30)] for _ in range(15)]
    write_run(path, *frames, [found("RED", "uncertain")], keep=tmp_path)
    desk = Desk(path)
    desk.stored("confirm", cells=[1])
    desk.stored("draw")
    seen = desk.run()
    covered = seen["covered"]
    assert len(covered) == len(set(covered)) == 20
    assert 31 not in covered
    hidden = [cell for cell in seen["cells"] if cell["hidden"]]
    assert {cell["id"] for cell in hidden} == set(covered)
    said = json.dumps(hidden)
    assert "RED" not in said
    assert "BLUE" not in said
    assert "class the random cells first" in desk.refused("confirm", 409, cells=covered[:2])
    assert "drawn already" in desk.refused("draw", 409)
    truth = {cell: "RED" if cell % 2 else "BLUE" for cell in range(1, 31)}
    for cell in covered[:-1]:
        desk.stored("blind", cells=[cell], label=truth[cell])
    assert "was classed already" in desk.refused("blind", 409, cells=covered[:1], label="RED")
    assert desk.run()["estimate"]["right"] is None
    desk.stored("undo")
    desk.stored("blind", cells=[covered[-2]], label="GREEN")
    desk.stored("blind", cells=[covered[-1]], label=None)
    estimate = desk.run()["estimate"]
    assert (estimate["right"], estimate["drawn"]) == (18, 20)
    assert estimate["limits"] == pytest.approx([0.683, 0.988], abs=0.001)
    assert set(estimate["differing"]) == set(covered[-2:])
    finals = {cell["id"]: cell["final"] for cell in desk.run()["cells"]}
    assert (finals[covered[-2]], finals[covered[-1]]) == ("GREEN", None)
    assert "compared with the model" in desk.refused("undo", 409)
    blind = [record for record in _records(path) if record.kind == "blind"]
    assert {record.reason for record in blind} == {BLIND}
    assert findings_in(path) == []


def test_the_estimate_says_what_is_against_it(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    write_run(path, [found("RED"), found("BLUE", x=30)], keep=tmp_path)
    write_run(path, [found("RED")], keep=tmp_path)
    with ReviewStore(path) as store:
        store.confirm(1, [1], "ann")
        store.draw(1, "Bob")
        store.blind(1, 1, "red", "Ann")
        assert "1 of 2 random cells left" in str(store.run(1).blind_estimate().sentence())  # type: ignore[union-attr]
        store.blind(1, 2, "RED", "Bob")
        estimate = store.run(1).blind_estimate()
        assert estimate is not None
        text = estimate.sentence()
        assert "1 of 2 random accepted cells" in text
        assert "these are all there are" in text
        assert "1 had been decided on by the same reader before" in text
        assert store.run(2).blind_estimate() is None
    sign_run(path)
    with ReviewStore(path) as store, pytest.raises(Exception, match="is signed by Ann"):
        store.draw(1, "Ann")


def test_cells_that_were_chosen_by_hand_are_found(path: Path) -> None:
    """The seed in the record must give the cells in it."""
    by_hand = tuple(reversed(drawn_from([1, 2], "seed")))
    with ReviewStore(path) as store, pytest.MonkeyPatch.context() as patch:
        patch.setattr("qlvit_edge.review.store.new_seed", lambda: "seed")
        patch.setattr("qlvit_edge.review.store.drawn_from", lambda *_: by_hand)
        store.draw(1, "Eve")
    assert Desk(path).run()["drawn"] == list(by_hand)
    assert findings_in(path) == ["run 1: the cells of record 1 were not drawn at random"]


def test_the_draw_is_even_and_only_the_seeds() -> None:
    cells = list(range(1, 41))
    assert drawn_from(cells, "a") == drawn_from(cells[::-1], "a") != drawn_from(cells, "b")
    drawn = [drawn_from(cells, str(seed)) for seed in range(400)]
    assert {len(set(one)) for one in drawn} == {20}
    times = [sum(cell in one for one in drawn) for cell in cells]
    assert min(times) > 150  # 200 ± 10: 5 standard deviations
    assert max(times) < 250


def test_the_review_is_beside_the_live_page(tmp_path: Path) -> None:
    model = tiny_file(tmp_path / "tiny.tflite")
    path = tmp_path / "r.sqlite"
    session = Session(Settings(str(model), "simulated:/nowhere", path))
    app = application(View(session), Access(None), LOCAL, secure=False)
    client = TestClient(app, base_url="http://127.0.0.1:8321")
    client.get("/api/session")
    assert client.get("/review").status_code == client.head("/review").status_code == 200
    assert client.get("/").text != client.get("/review").text
    assert "no such file" in client.get("/api/review/runs").json()["error"]
    write_run(path, [found()], keep=tmp_path)
    assert client.get("/api/review/runs").json()["live"] is True
    assert len(client.get("/api/review/run?run=1").json()["cells"]) == 1
