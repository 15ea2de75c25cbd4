"""The live page over HTTP: who may see it, who may change something, and what it shows."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import stat
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from starlette.testclient import TestClient
from tiny_metadata import plain_image, tiny_file

from qlvit_edge.camera.base import Frame
from qlvit_edge.errors import DataError, DeviceError
from qlvit_edge.microscope.pause import Pause
from qlvit_edge.microscope.session import Session, Settings
from qlvit_edge.page.access import ALL_FAILURES, FAILURES, SESSIONS, Access
from qlvit_edge.page.address import Address, is_own_host, parse_address
from qlvit_edge.page.application import LARGEST_BODY, application
from qlvit_edge.page.certificate import Certificate, own_certificate
from qlvit_edge.page.health import temperature, throttling
from qlvit_edge.page.server import RESTARTS, PageServer
from qlvit_edge.page.state import PICTURE_WIDTH, View

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
    assert client.get("/api/state").json()["paused"] is True


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


def test_guessing_from_many_addresses_is_slowed_and_forgotten_in_a_minute() -> None:
    now = [1000.0]
    access = Access("secret", clock=lambda: now[0])
    for number in range(ALL_FAILURES):
        assert not access.is_barred(f"10.0.0.{number}")
        assert access.log_in(f"10.0.0.{number}", "wrong") is None
    assert access.is_barred("10.0.1.1")
    now[0] += 61
    assert not access.is_barred("10.0.1.1")


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
    assert client.get("/api/frame?after=7").status_code == 204
    assert client.get("/api/frame?after=6").status_code == 200
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


@pytest.fixture
def served(session: Session) -> Iterator[tuple[PageServer, list[str]]]:
    notes: list[str] = []
    with PageServer(session, Address("127.0.0.1", 0), note=notes.append) as page:
        yield page, notes


def _fetch(link: str) -> int:
    deadline = time.monotonic() + 20
    while True:
        try:
            with urllib.request.urlopen(link, timeout=5) as answer:
                return int(answer.status)
        except OSError:
            if time.monotonic() > deadline:
                raise
            threading.Event().wait(0.05)


def _connected(page: PageServer) -> socket.socket:
    _fetch(page.welcome.link)
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect(("127.0.0.1", int(page.welcome.link.rstrip("/").rpartition(":")[2])))
    return client


def _connections(page: PageServer) -> int:
    assert page._server is not None
    return len(page._server.server_state.connections)


def _wait_for_none(page: PageServer) -> None:
    deadline = time.monotonic() + 8
    while _connections(page) and time.monotonic() < deadline:
        threading.Event().wait(0.02)
    assert _connections(page) == 0


def test_client_that_never_reads_is_cut(
    served: tuple[PageServer, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qlvit_edge.page.patience.SECONDS", 0.3)
    page = served[0]
    with _connected(page) as client:
        client.settimeout(0.2)
        host = f"Host: 127.0.0.1:{client.getpeername()[1]}"
        asked = f"GET /page.js HTTP/1.1\r\n{host}\r\n\r\n".encode() * 1000
        with contextlib.suppress(OSError):  # no room any more, or cut already
            while True:
                client.sendall(asked)
        _wait_for_none(page)
    assert _fetch(page.welcome.link) == 200


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHost: local"])
def test_client_that_never_finishes_asking_is_cut(
    sent: bytes, served: tuple[PageServer, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qlvit_edge.page.patience.SECONDS", 0.3)
    page = served[0]
    with _connected(page) as client:
        client.settimeout(8)
        client.sendall(sent)
        with contextlib.suppress(ConnectionResetError):
            assert client.recv(10) == b""
        _wait_for_none(page)


def test_server_that_fails_is_started_again(served: tuple[PageServer, list[str]]) -> None:
    page, notes = served
    assert _fetch(page.welcome.link) == 200
    assert page._server is not None
    page._server.should_exit = True
    deadline = time.monotonic() + 20
    while not notes and time.monotonic() < deadline:
        threading.Event().wait(0.02)
    assert "started again" in notes[0]
    assert _fetch(page.welcome.link) == 200


def test_server_that_fails_again_and_again_is_given_up(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: object, sockets: object) -> None:
        raise OSError("no")

    monkeypatch.setattr("uvicorn.Server.run", fail)
    notes: list[str] = []
    with PageServer(session, Address("127.0.0.1", 0), note=notes.append) as page:
        page._thread.join(timeout=20)
        assert not page._thread.is_alive()
    assert len(notes) == RESTARTS
    assert "off; the run goes on" in notes[-1]


def test_a_taken_port_is_one_error_before_the_run(session: Session) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(DeviceError, match="cannot be served there"):
            PageServer(session, Address("127.0.0.1", port), note=print)


def test_others_come_by_tls_with_the_token_in_the_link(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    with PageServer(session, Address("0.0.0.0", 0), note=print) as page:
        link, _, token = page.welcome.link.partition("#")
        assert link.startswith("https://")
        assert len(token) >= 20
        assert page.welcome.fingerprint is not None
        context = ssl.create_default_context(
            cafile=str(tmp_path / "qlvit-edge/page/certificate.pem")
        )
        port = int(link.rstrip("/").rpartition(":")[2])
        request = urllib.request.Request(
            f"https://localhost:{port}/api/session", json.dumps({"token": token}).encode()
        )
        with urllib.request.urlopen(request, context=context, timeout=20) as answer:
            assert answer.status == 200


def test_certificate_is_made_once_and_only_its_owner_reads_the_key(tmp_path: Path) -> None:
    made = own_certificate(tmp_path / "page")
    assert stat.S_IMODE(made.key.stat().st_mode) == 0o600
    before = made.fingerprint()
    assert own_certificate(tmp_path / "page").fingerprint() == before
    made.chain.write_text("damaged")
    assert own_certificate(tmp_path / "page").fingerprint() != before


def test_certificate_with_another_key_is_refused(tmp_path: Path) -> None:
    first, second = own_certificate(tmp_path / "a"), own_certificate(tmp_path / "b")
    with pytest.raises(DataError, match="no certificate that goes with the key"):
        Certificate(first.chain, second.key).context()


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:80", "127.0.0.1", 80),
        (":9000", "127.0.0.1", 9000),
        ("9000", "127.0.0.1", 9000),
        ("0.0.0.0", "0.0.0.0", 8321),
        ("[::1]:9", "::1", 9),
    ],
)
def test_addresses(text: str, host: str, port: int) -> None:
    assert parse_address(text) == Address(host, port)


@pytest.mark.parametrize("text", ["", "host:x", "host:70000", "[::1", "http://a:1", "a b:1"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(DeviceError, match="no address"):
        parse_address(text)


def test_health_of_a_raspberry_pi(tmp_path: Path) -> None:
    for number, text in enumerate(("48312\n", "61500\n", "broken")):
        (tmp_path / f"thermal_zone{number}").mkdir()
        (tmp_path / f"thermal_zone{number}" / "temp").write_text(text)
    assert temperature(tmp_path) == 61.5
    (tmp_path / "throttled").write_text("50005\n")
    assert throttling(tmp_path / "throttled") == ["undervoltage", "throttled"]


def _frames(number: int) -> Iterator[Frame]:
    return iter([Frame(plain_image("GREEN"), index, 0.0) for index in range(number)])


def test_paused_camera_goes_on_and_is_not_counted() -> None:
    pause, left_out = Pause(), list[int]()
    pause.wanted = True

    def show(frame: Frame) -> None:
        left_out.append(frame.index)
        pause.wanted = frame.index < 2

    counted = pause.frames(_frames(5), live=True, show=show, stopped=lambda: False)
    assert [frame.index for frame in counted] == [3, 4]
    assert left_out == [0, 1, 2]


def test_paused_folder_waits_and_loses_nothing() -> None:
    pause = Pause()
    pause.wanted = True
    timer = threading.Timer(0.1, lambda: setattr(pause, "wanted", False))
    timer.start()
    counted = pause.frames(_frames(3), live=False, show=lambda _: None, stopped=lambda: False)
    assert [frame.index for frame in counted] == [0, 1, 2]
    timer.join()


def test_paused_run_can_be_stopped() -> None:
    pause = Pause()
    pause.wanted = True
    counted = pause.frames(_frames(3), live=False, show=lambda _: None, stopped=lambda: True)
    assert list(counted) == []
