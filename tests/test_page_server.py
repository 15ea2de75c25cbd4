"""The live page's server: connections, failures, addresses, certificates; and pausing."""

from __future__ import annotations

import json
import socket
import ssl
import stat
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from tiny_metadata import plain_image, tiny_file

from qlvit_edge.camera.base import Frame
from qlvit_edge.errors import DataError, DeviceError
from qlvit_edge.microscope.pause import Pause
from qlvit_edge.microscope.session import Session, Settings
from qlvit_edge.page.address import Address, outside_address, parse_address
from qlvit_edge.page.certificate import Certificate, own_certificate, own_folder
from qlvit_edge.page.connections import CONNECTIONS, FROM_ONE, Listener
from qlvit_edge.page.server import RESTARTS, PageServer
from qlvit_edge.sensors import SINCE_START, temperature, throttling, words_of


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_file(tmp_path_factory.mktemp("model") / "tiny.tflite")


@pytest.fixture
def session(model: Path, tmp_path: Path) -> Session:
    return Session(Settings(str(model), "simulated:/nowhere", tmp_path / "results.sqlite"))


def test_connections_that_are_too_many_are_closed_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening, Listener(listening) as listener:
        place = listening.getsockname()
        clients = [socket.create_connection(place) for _ in range(FROM_ONE + 1)]
        accepted = [listener.accept()[0] for _ in range(FROM_ONE)]
        with pytest.raises(ConnectionAbortedError):
            listener.accept()
        accepted.pop().close()
        clients.append(socket.create_connection(place))
        accepted.append(listener.accept()[0])
        for one in (*clients, *accepted):
            one.close()
    assert FROM_ONE < CONNECTIONS


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
    monkeypatch.setattr("qlvit_edge.page.connections.QUIET_SECONDS", 0.3)
    page = served[0]
    with _connected(page) as client:
        client.settimeout(0.2)
        host = f"Host: 127.0.0.1:{client.getpeername()[1]}"
        asked = f"GET /page.js HTTP/1.1\r\n{host}\r\n\r\n".encode() * 1000
        with suppress(OSError):  # no room any more, or cut already
            while True:
                client.sendall(asked)
        _wait_for_none(page)
    assert _fetch(page.welcome.link) == 200


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHost: local"])
def test_client_that_never_finishes_asking_is_cut(
    sent: bytes, served: tuple[PageServer, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qlvit_edge.page.connections.QUIET_SECONDS", 0.3)
    page = served[0]
    with _connected(page) as client:
        client.settimeout(8)
        client.sendall(sent)
        with suppress(ConnectionResetError):
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


@pytest.mark.parametrize("host", ["a..b", "a" * 70, "name.invalid"])
def test_a_name_of_no_machine_is_one_error(host: str) -> None:
    with pytest.raises(DeviceError, match="cannot be served there"):
        Address(host, 0).listen()


@pytest.mark.parametrize("host", ["0.0.0.0", "0"])
def test_link_names_an_address_that_others_can_call(
    host: str, session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    page = PageServer(session, Address(host, 0), note=print)
    page._socket.close()
    assert f"//{outside_address()}:" in page.welcome.link


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
    made.key.chmod(0o644)
    assert own_certificate(tmp_path / "page") == made
    assert stat.S_IMODE(made.key.stat().st_mode) == 0o600
    made.chain.write_text("damaged")
    assert own_certificate(tmp_path / "page").fingerprint() != before


def test_fingerprint_is_of_the_certificate_whatever_stands_around_it(tmp_path: Path) -> None:
    made = own_certificate(tmp_path)
    before, content = made.fingerprint(), made.chain.read_bytes()
    other = own_certificate(tmp_path / "other").chain.read_bytes()
    made.chain.write_bytes("Gerät\n".encode("latin-1") + content + other)
    assert made.fingerprint() == before
    made.chain.write_bytes(content.replace(b"BEGIN", b"BEGUN"))
    with pytest.raises(DataError, match="not plain PEM"):
        made.fingerprint()


def test_no_home_folder_is_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    monkeypatch.setenv("XDG_DATA_HOME", "relative")
    with pytest.raises(DataError, match="no home folder"):
        own_folder()


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


@pytest.mark.parametrize(
    "text", ["", "host:x", "host:70000", "[::1", "http://a:1", "a b:1", "9" * 5000]
)
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
    assert words_of(0x20000 >> SINCE_START) == ["frequency capped"]


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
