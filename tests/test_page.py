"""The live page over HTTP: who may see it, who may change something, and what it shows."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from starlette.testclient import TestClient
from tiny_metadata import tiny_file

from qlvit_edge.camera.base import Frame
from qlvit_edge.differential.differential import Differential, differential_of
from qlvit_edge.differential.tally import Tally
from qlvit_edge.microscope.session import Session, Settings
from qlvit_edge.page.access import FAILURES, SESSIONS, Access
from qlvit_edge.page.address import Address, is_own_host
from qlvit_edge.page.application import LARGEST_BODY, application
from qlvit_edge.page.connections import neighbourhood
from qlvit_edge.page.picture import PICTURE_WIDTH
from qlvit_edge.page.state import View

LOCAL = Address("127.0.0.1", 8321)
ANYWHERE = Address("0.0.0.0", 8321)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_file(tmp_path_factory.mktemp("model") / "tiny.tflite")


@pytest.fixture
def session(model: Path, tmp_path: Path) -> Session:
    return Session(Settings(str(model), "simulated:/nowhere", tmp_path / "results.sqlite"))


def client_of(session: Session, access: Access, address: Address = LOCAL) -> TestClient:
    secure = not address.is_local
    scheme = "https" if secure else "http"
    app = application(View(session), access, address, secure=secure)
    return TestClient(app, base_url=f"{scheme}://127.0.0.1:8321")


def test_local_page_opens_without_a_token_and_names_no_other_host(session: Session) -> None:
    client = client_of(session, Access(None))
    page = client.get("/")
    assert page.status_code == 200
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "<script>" not in page.text
    assert "style=" not in page.text
    assert "//" not in page.text.replace("<!doctype html>", "")
    assert "http" not in client.get("/page.js").text
    assert "http" not in client.get("/page.css").text


def test_nothing_is_told_without_a_session(session: Session) -> None:
    client = client_of(session, Access(None))
    assert client.get("/api/state").status_code == 401
    assert client.get("/api/frame").status_code == 401
    assert client.post("/api/pause", json={"paused": True}).status_code == 403
    assert not session.pause.wanted


def test_changes_need_the_sessions_own_word(session: Session) -> None:
    access = Access(None)
    client, other = client_of(session, access), client_of(session, access)
    csrf = client.get("/api/session").json()["csrf"]
    others = other.get("/api/session").json()["csrf"]
    for word in ("", others, csrf[:-1]):
        headers = {"x-csrf-token": word}
        assert client.post("/api/pause", json={"paused": True}, headers=headers).status_code == 403
    assert not session.pause.wanted
    headers = {"x-csrf-token": csrf}
    assert client.post("/api/pause", json={"paused": 1}, headers=headers).status_code == 400
    assert client.post("/api/pause", json={"paused": True}, headers=headers).status_code == 200
    assert session.pause.wanted
    session.pause.left_out = 3
    assert client.get("/api/state").json()["paused"] is True
    client.post("/api/pause", json={"paused": False}, headers=headers)
    notes = client.get("/api/state").json()["notes"]
    assert "nothing is counted" in notes[0]
    assert "so far: 3" in notes[1]


def test_cookie_is_kept_from_scripts_other_sites_and_plain_connections(session: Session) -> None:
    client = client_of(session, Access("secret"), ANYWHERE)
    cookie = client.post("/api/session", json={"token": "secret"}).headers["set-cookie"].lower()
    for word in ("httponly", "samesite=strict", "secure", "path=/"):
        assert word in cookie
    assert client.get("/api/state").status_code == 200


def test_wrong_token_is_refused_and_guessing_is_slowed(session: Session) -> None:
    client = client_of(session, Access("secret"), ANYWHERE)
    assert client.get("/api/session").status_code == 401
    for _ in range(FAILURES):
        assert client.post("/api/session", json={"token": "wrong"}).status_code == 403
    assert client.post("/api/session", json={"token": "secret"}).status_code == 429
    assert client.get("/api/state").status_code == 401


def test_guessing_bars_who_guesses_for_a_minute_and_nobody_else() -> None:
    now = [1000.0]
    access = Access("secret", clock=lambda: now[0])
    for number in range(100):
        for _ in range(FAILURES):
            assert not access.is_barred(f"10.0.0.{number}")
            assert access.log_in(f"10.0.0.{number}", "wrong") is None
        assert access.is_barred(f"10.0.0.{number}")
    assert not access.is_barred("10.0.1.1")
    now[0] += 61
    assert not access.is_barred("10.0.0.99")


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:10.0.0.1", "::ffff:10.0.0.2", False),
        ("::ffff:10.0.0.1", "10.0.0.1", True),
        ("fe80::1%eth0", "fe80::2%eth0", True),
    ],
)
def test_addresses_that_one_client_may_have(one: str, other: str, is_same: bool) -> None:
    assert (neighbourhood(one) == neighbourhood(other)) is is_same


def test_pages_of_other_sites_cannot_use_up_the_tries(session: Session) -> None:
    client = client_of(session, Access("secret"), ANYWHERE)
    for origin in ("https://evil.example", "null", "https://127.0.0.1:9"):
        for _ in range(FAILURES):
            sent = client.post("/api/session", json={"token": "x"}, headers={"origin": origin})
            assert sent.status_code == 403
    own = {"origin": "https://127.0.0.1:8321"}
    assert client.post("/api/session", json={"token": "secret"}, headers=own).status_code == 200


def test_two_runs_on_one_machine_keep_their_sessions(session: Session) -> None:
    """A browser sends a host's cookies to all of its ports."""
    first = client_of(session, Access(None)).get("/api/session").headers["set-cookie"]
    app = application(View(session), Access(None), LOCAL, secure=False)
    other = TestClient(app, base_url="http://127.0.0.1:8322")
    second = other.get("/api/session").headers["set-cookie"]
    assert first.partition("=")[0] != second.partition("=")[0]


def test_as_many_browsers_as_are_known_and_no_more() -> None:
    access = Access(None)
    sessions = [access.log_in("a", "") for _ in range(SESSIONS + 1)]
    assert access.csrf_of(sessions[0]) is None
    assert all(access.csrf_of(one) for one in sessions[1:])


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:8321", "", "192.168.0.9"])
def test_local_page_answers_to_local_names_only(host: str, session: Session) -> None:
    client = client_of(session, Access(None))
    assert client.get("/", headers={"host": host}).status_code == 421
    assert client.get("/", headers={"host": "localhost:8321"}).status_code == 200
    assert client.get("/", headers={"host": "[::1]:8321"}).status_code == 200


def test_names_that_a_page_for_others_answers_to() -> None:
    assert is_own_host("192.168.0.9:8321", ANYWHERE)
    assert is_own_host(f"{socket.gethostname()}:8321", ANYWHERE)
    assert is_own_host("scope.lab:1", Address("scope.lab", 1))
    assert not is_own_host("evil.example:8321", ANYWHERE)


@pytest.mark.parametrize("size", [LARGEST_BODY + 1, 10 * LARGEST_BODY])
def test_long_requests_are_refused(size: int, session: Session) -> None:
    client = client_of(session, Access(None))
    headers = {"x-csrf-token": client.get("/api/session").json()["csrf"]}
    assert client.post("/api/pause", content=b" " * size, headers=headers).status_code == 413
    assert client.post("/api/pause", content=b"[" * 4000, headers=headers).status_code == 400


@pytest.mark.parametrize("path", ["/static/page.js", "/../access.py", "/%2e%2e/access.py", "/docs"])
def test_no_path_leads_to_the_file_system(path: str, session: Session) -> None:
    assert client_of(session, Access(None)).get(path).status_code == 404


def test_newest_frame_is_sent_once_with_its_age(session: Session) -> None:
    client = client_of(session, Access(None))
    client.get("/api/session")
    assert client.get("/api/frame").status_code == 204
    image = np.full((900, 2 * PICTURE_WIDTH, 3), (200, 30, 30), np.uint8)
    session.newest = (Frame(image, 7, 0.0, monotonic=time.monotonic() - 3), ())
    sent = client.get("/api/frame")
    assert sent.headers["x-frame"] == "7"
    assert 3 <= float(sent.headers["x-age"]) < 10
    shown = cv2.imdecode(np.frombuffer(sent.content, np.uint8), cv2.IMREAD_COLOR)
    assert shown is not None
    assert shown.shape == (450, PICTURE_WIDTH, 3)
    assert shown[100, 600].tolist() == pytest.approx([30, 30, 200], abs=4)  # BGR
    name = sent.headers["x-picture"]
    assert client.get(f"/api/frame?after={name}").status_code == 204
    assert client.get("/api/frame?after=7").status_code == 200
    assert client.get("/api/state").json()["age"] >= 3


def test_state_says_what_is_simulated_and_counted(session: Session) -> None:
    client = client_of(session, Access(None))
    client.get("/api/session")
    state = client.get("/api/state").json()
    assert state["simulated"] is True
    assert set(state["counts"]) == set(session.classifier.labels)
    assert state["outcome"] == "running"
    assert state["device"]["disk_free"] > 0
    assert [one["label"] for one in state["differential"]["classes"]] == [
        *session.count.tally.counted
    ]


def test_state_says_what_is_lost_and_counted_beside(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = client_of(session, Access(None))
    client.get("/api/session")
    state = client.get("/api/state").json()
    assert state["census"] is state["pictures_stopped"] is None
    assert (state["losses"], state["restarts"]) == ([], 0)
    monkeypatch.setattr(Session, "restarts", 2)
    monkeypatch.setattr(Session, "pictures_stopped", "kept: only 99 MB are left")
    session.held_up, session.report.overtaken = 3, 5
    session.census.update({"white cells": 2, "red cells": 50, "platelets": 4})
    state = client.get("/api/state").json()
    assert state["census"] == {
        "counts": {"white cells": 2, "red cells": 50, "platelets": 4},
        "red_per_white": 25,
        "platelets_per_1000_red": 80,
    }
    assert state["pictures_stopped"] == "kept: only 99 MB are left"
    assert state["restarts"] == 2
    assert [(one["place"], one["frames"]) for one in state["losses"]] == [
        ("overtaken", 5),
        ("storage", 3),
    ]


def test_cells_that_come_while_the_differential_is_made_are_not_half_in_it(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    label = session.count.tally.counted[0]
    session.count.tally.add(label, "accepted")

    def meanwhile(tally: Tally, *arguments: object, **options: object) -> Differential:
        session.count.tally.add(label, "accepted")
        return differential_of(tally, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("qlvit_edge.microscope.run_count.differential_of", meanwhile)
    assert session.count.differential(None).cells == 1
    assert session.count.tally.total == 2
