"""Cameras in the network: what they send, what is dropped, and what happens when they are lost."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.server
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from qlvit_edge.camera import base
from qlvit_edge.camera.address import read_address
from qlvit_edge.camera.base import Frame
from qlvit_edge.camera.multipart import Interrupted, NoParts, boundary_of, jpegs, parts
from qlvit_edge.camera.sources import open_camera
from qlvit_edge.camera.stream import StreamCamera
from qlvit_edge.errors import CameraError, CameraStalledError

Image = NDArray[np.uint8]
MULTIPART = "multipart/x-mixed-replace; boundary=frame"


def jpeg(grey: int, size: tuple[int, int] = (48, 64)) -> bytes:
    """A picture with enough in it to be cut in half; its mean tells which one it is."""
    noise = np.random.default_rng(grey).integers(-30, 30, (*size, 3))
    return cv2.imencode(".jpg", np.clip(noise + grey, 0, 255).astype(np.uint8))[1].tobytes()


def part(content: bytes, length: int | None = -1, boundary: bytes = b"--frame") -> bytes:
    """A part as most cameras write it; -1 gives the right length, None none."""
    head = boundary + b"\r\nContent-Type: image/jpeg\r\n"
    if length is not None:
        head += b"Content-Length: %d\r\n" % (len(content) if length < 0 else length)
    return head + b"\r\n" + content + b"\r\n"


class Bytes:
    """Gives bytes in pieces, as a network does."""

    def __init__(self, content: bytes, piece: int) -> None:
        self.content, self.piece = content, piece

    def read(self, count: int) -> bytes:
        piece, self.content = self.content[: self.piece], self.content[self.piece :]
        return piece


def bodies(content: bytes, boundary: str = "frame", piece: int = 1000) -> list[bytes]:
    """Every part until the bytes end."""
    found: list[bytes] = []
    with contextlib.suppress(Interrupted):
        collect(found, parts(Bytes(content, piece).read, boundary))
    return found


def collect(found: list[bytes], source: Iterator[bytes]) -> None:
    """Append what comes, so that it is there also when an error ends it."""
    for body in source:
        found.append(body)


PICTURES = [jpeg(grey) for grey in (60, 120, 180)]


@pytest.mark.parametrize("piece", [1, 7, 1000, 100_000])
@pytest.mark.parametrize(
    "content",
    [
        b"".join(map(part, PICTURES)),
        b"".join(map(part, PICTURES)) + b"--frame--\r\n",
        b"".join(part(picture, None) for picture in PICTURES) + b"--frame--",
        b"".join(part(picture, 0) for picture in PICTURES),
        b"".join(part(picture, len(picture) + 500) for picture in PICTURES),
        b"".join(part(picture, len(picture) - 500) for picture in PICTURES),
        b"".join(part(picture, 10**11) for picture in PICTURES),
        b"".join(map(part, PICTURES)).replace(b"\r\n", b"\n"),
        b"\r\n\r\n" + b"".join(map(part, PICTURES)),
        b"hello\r\n" + b"".join(map(part, PICTURES)),
        b"".join(part(picture, boundary=b"--other") for picture in PICTURES),
        b"".join(part(picture, boundary=b"frame") for picture in PICTURES),
        b"".join(map(part, PICTURES)).removeprefix(b"--frame\r\n"),
        b"".join(b"--frame\r\n\r\n" + picture + b"\r\n" for picture in PICTURES),
        b"".join(part(picture)[:-2] for picture in PICTURES),
        b"--frame\r\nContent-Type: text/plain\r\n\r\nalive\r\n" + b"".join(map(part, PICTURES)),
    ],
)
def test_pictures_come_whole_however_a_camera_writes_them(content: bytes, piece: int) -> None:
    assert bodies(content, piece=piece) == PICTURES


def test_the_closing_boundary_ends_a_stream_and_nothing_else_does() -> None:
    content = b"".join(map(part, PICTURES))
    assert list(parts(Bytes(content + b"--frame--", 500).read, "frame")) == PICTURES
    with pytest.raises(Interrupted):
        list(parts(Bytes(content, 500).read, "frame"))


@pytest.mark.parametrize("length", [-1, None, 100_000])
def test_a_cut_part_costs_none_of_the_others(length: int | None) -> None:
    cut = PICTURES[1][: len(PICTURES[1]) // 2]
    content = part(PICTURES[0]) + part(cut, length) + part(PICTURES[2]) + part(PICTURES[0])
    assert bodies(content) == [PICTURES[0], cut, PICTURES[2], PICTURES[0]]


def test_a_length_is_believed_where_the_boundary_follows() -> None:
    png = b"\x89PNG\r\n\x1a\n" + b"text\r\n--frame\r\n" + bytes(300)
    assert bodies(part(png) + part(PICTURES[0]), piece=50) == [png, PICTURES[0]]


def test_a_picture_is_given_before_the_next_boundary_comes() -> None:
    content = part(PICTURES[0])
    source = Bytes(content, len(content))

    def read(count: int) -> bytes:
        if not source.content:
            pytest.fail("it waits for more")
        return source.read(count)

    assert next(parts(read, "frame")) == PICTURES[0]


def test_what_holds_no_parts_is_said() -> None:
    with pytest.raises(NoParts, match="no boundary"):
        list(parts(Bytes(bytes(100_000), 5000).read, "frame"))
    with pytest.raises(NoParts, match="headers"):
        list(parts(Bytes(b"--frame\r\n" + b"x" * 100_000, 5000).read, "frame"))


@pytest.mark.parametrize(
    ("header", "boundary"),
    [
        ("multipart/x-mixed-replace; boundary=frame", "frame"),
        ('multipart/x-mixed-replace;boundary="a b"', "a b"),
        ("multipart/x-mixed-replace; Boundary=--x ", "--x"),
        ("multipart/x-mixed-replace", ""),
    ],
)
def test_the_boundary_is_read_from_the_header(header: str, boundary: str) -> None:
    assert boundary_of(header) == boundary


def test_bare_jpegs_are_told_apart() -> None:
    cut = PICTURES[1][: len(PICTURES[1]) // 2]
    found: list[bytes] = []
    with pytest.raises(Interrupted):
        collect(found, jpegs(Bytes(b"xx" + PICTURES[0] + cut + PICTURES[2], 900).read))
    assert found == [PICTURES[0], cut, PICTURES[2]]


# Addresses


def test_addresses_are_taken_apart() -> None:
    address = read_address("http://al%40ice:p%3Ass@cam:80/s?x=1#part")
    assert (address.url, address.user, address.password) == (
        *("http://cam:80/s?x=1", "al@ice"),
        "p:ss",
    )
    for wrong in ("http://", "http://:80/", "http://cam:99999/", "http://cam:x/", "http://a b/"):
        with pytest.raises(CameraError):
            read_address(wrong)


@pytest.mark.parametrize("password", ["s3cret/1", "p@s3cret:w/1", "s3cret#1"])
def test_a_password_that_must_be_spelt_otherwise_is_not_shown(password: str) -> None:
    with pytest.raises(CameraError) as caught:
        read_address(f"http://alice:{password}@cam.local/stream")
    assert "s3cret" not in str(caught.value)
    assert "write http://HOST/PATH or http://HOST:8080/PATH" in str(caught.value)


# Servers

Answer = Callable[[http.server.BaseHTTPRequestHandler, int], None]


@contextmanager
def server(answer: Answer) -> Iterator[str]:
    """A server on this computer; ``answer`` gets each request and its number."""
    count = iter(range(1_000_000))

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.close_connection = True
            with contextlib.suppress(OSError):  # the camera was closed
                answer(self, next(count))

        def log_message(self, format: str, *args: Any) -> None:
            pass

    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    running.daemon_threads = True
    thread = threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{running.server_port}/stream"
    finally:
        running.shutdown()
        thread.join()
        running.server_close()


def begin(request: Any, kind: str = MULTIPART) -> None:
    request.send_response(200)
    request.send_header("Content-Type", kind)
    request.end_headers()


def send(request: Any, *contents: bytes) -> None:
    """Send with time between, so that a reader that takes only the newest sees each."""
    for content in contents:
        request.wfile.write(content)
        time.sleep(0.05)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "FIRST_WAIT", 0.05)
    monkeypatch.setattr(base, "LAST_WAIT", 0.1)


def taken(url: str, stall_seconds: float = 5.0) -> tuple[StreamCamera, list[Frame], list[str]]:
    """Everything a stream gives until it ends."""
    camera = StreamCamera(url, stall_seconds=stall_seconds)
    notices: list[str] = []
    camera.report.listener = notices.append
    with camera:
        frames = list(camera.frames())
    return camera, frames, notices


def means(frames: list[Frame]) -> list[int]:
    return [round(float(frame.image.mean()) / 60) * 60 for frame in frames]


def test_torn_frames_are_dropped_and_counted_and_others_come_in_rgb() -> None:
    cut = PICTURES[1][: len(PICTURES[1]) // 2]
    flipped = bytearray(PICTURES[1])
    flipped[-20:-2] = b"\xff\xc0" + bytes(16)
    red = cv2.imencode(".jpg", np.full((48, 64, 3), (20, 40, 200), np.uint8))[1].tobytes()

    def answer(request: Any, number: int) -> None:
        begin(request)
        send(request, part(PICTURES[0]), part(cut), part(bytes(flipped)), part(b""), part(red))
        send(request, b"--frame--\r\n")

    with server(answer) as url:
        camera, frames, notices = taken(url)
    assert len(frames) == 2
    assert camera.report.dropped == 3
    assert frames[1].index == 4
    assert frames[1].image.reshape(-1, 3).mean(axis=0) == pytest.approx((200, 40, 20), abs=8)
    assert any("left out" in notice for notice in notices)


def test_a_lost_connection_is_opened_again_and_said() -> None:
    def answer(request: Any, number: int) -> None:
        if number in (1, 2):
            request.send_error(503)
            return
        begin(request)
        if number == 0:
            send(request, part(PICTURES[0]), part(PICTURES[1])[:-900])
        else:
            send(request, part(PICTURES[2]), b"--frame--\r\n")

    with server(answer) as url:
        camera, frames, notices = taken(url)
    assert means(frames) == [60, 180]
    assert (camera.report.reconnections, camera.report.dropped) == (1, 1)
    assert "the connection was closed" in notices[1]
    assert "tried again for 5 s" in notices[1]
    assert "connected again" in notices[-1]


def test_a_stream_that_stays_away_ends_the_run_after_the_stated_time() -> None:
    def answer(request: Any, number: int) -> None:
        if number:
            request.send_error(404)
            return
        begin(request)
        send(request, part(PICTURES[0]))

    with server(answer) as url, StreamCamera(url, stall_seconds=0.6) as camera:
        frames = camera.frames()
        next(frames)
        began = time.monotonic()
        with pytest.raises(CameraStalledError, match=r"no frame for 1 s .*HTTP 404") as caught:
            next(frames)
        assert 0.4 < time.monotonic() - began < 3
    assert caught.value.exit_code == 2


def test_a_camera_that_is_away_is_asked_less_and_less(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "FIRST_WAIT", 0.02)
    monkeypatch.setattr(base, "LAST_WAIT", 10.0)
    requests: list[int] = []

    def answer(request: Any, number: int) -> None:
        requests.append(number)
        if number:
            request.send_error(503)
        else:
            begin(request)
            send(request, part(PICTURES[0]))

    with (
        server(answer) as url,
        StreamCamera(url, stall_seconds=0.6) as camera,
        pytest.raises(CameraStalledError),
    ):
        list(camera.frames())
    assert 4 <= len(requests) <= 9


def test_a_stream_that_falls_silent_is_noticed() -> None:
    done = threading.Event()

    def answer(request: Any, number: int) -> None:
        begin(request)
        if not number:
            send(request, part(PICTURES[0]))
        done.wait(10)

    with server(answer) as url, StreamCamera(url, stall_seconds=0.5) as camera:
        frames = camera.frames()
        next(frames)
        with pytest.raises(CameraStalledError, match="no frame for"):
            next(frames)
        done.set()


def test_only_damaged_frames_are_a_stall_that_says_so() -> None:
    def answer(request: Any, number: int) -> None:
        begin(request)
        for _ in range(60):
            send(request, part(PICTURES[0][:-100]))

    with (
        server(answer) as url,
        StreamCamera(url, stall_seconds=0.5) as camera,
        pytest.raises(CameraStalledError, match="damaged ones were left out"),
    ):
        next(camera.frames())


def test_a_change_of_size_is_said() -> None:
    def answer(request: Any, number: int) -> None:
        begin(request)
        send(request, part(PICTURES[0]), part(jpeg(60, (24, 32))), b"--frame--\r\n")

    with server(answer) as url:
        _, frames, notices = taken(url)
    assert [frame.image.shape for frame in frames] == [(48, 64, 3), (24, 32, 3)]
    assert notices == ["frames are now 32x24 pixels; they were 64x48"]


def test_a_chunked_answer_and_bare_jpegs_are_read() -> None:
    def answer(request: Any, number: int) -> None:
        request.protocol_version = "HTTP/1.1"
        request.send_response(200)
        request.send_header("Content-Type", MULTIPART)
        request.send_header("Transfer-Encoding", "chunked")
        request.end_headers()
        content = b"".join(map(part, PICTURES)) + b"--frame--\r\n"
        for start in range(0, len(content), 700):
            piece = content[start : start + 700]
            request.wfile.write(b"%x\r\n" % len(piece) + piece + b"\r\n")
            time.sleep(0.02)
        request.wfile.write(b"0\r\n\r\n")

    with server(answer) as url:
        assert taken(url)[1]

    def one(request: Any, number: int) -> None:
        begin(request, "image/jpeg")
        send(request, PICTURES[1])

    with server(one) as url:
        assert means(taken(url)[1]) == [120]


def test_what_ffmpeg_says_of_a_stream_of_jpegs_stays_off_the_terminal(
    capfd: pytest.CaptureFixture[str],
) -> None:
    def answer(request: Any, number: int) -> None:
        begin(request, "application/octet-stream")
        request.wfile.write(b"".join(PICTURES) * 10)

    with server(answer) as url, StreamCamera(url, stall_seconds=5.0) as camera:
        for _ in camera.frames():
            if camera.report.reconnections > 1:
                break
    assert capfd.readouterr() == ("", "")


def test_one_picture_of_a_server_is_decoded_like_a_file() -> None:
    upright = np.full((48, 64, 3), 60, np.uint8)
    content = cv2.imencode(".png", upright)[1].tobytes()
    for sent, dropped in ((content, 0), (content[:-20], 1)):

        def answer(request: Any, number: int, sent: bytes = sent) -> None:
            begin(request, "image/png")
            request.wfile.write(sent)

        with server(answer) as url:
            camera, frames, _ = taken(url)
        assert (means(frames), camera.report.dropped) == ([60] * (1 - dropped), dropped)


def test_a_video_on_a_server_is_read_once(tmp_path: Path) -> None:
    path = tmp_path / "film.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"XVID"), 10, (64, 48))
    for grey in range(0, 240, 8):
        writer.write(np.full((48, 64, 3), grey, np.uint8))
    writer.release()
    content = path.read_bytes()

    def answer(request: Any, number: int) -> None:
        request.send_response(200)
        request.send_header("Content-Type", "video/x-msvideo")
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        request.wfile.write(content)

    with server(answer) as url:
        camera, frames, _ = taken(url)
    assert frames
    assert camera.report.dropped == camera.report.reconnections == 0


@pytest.mark.parametrize(
    ("status", "finding"),
    [
        (401, "needs a user name and password (HTTP 401)"),
        (403, "access is forbidden (HTTP 403"),
        (404, "no such stream (HTTP 404"),
        (418, "refuses the request (HTTP 418"),
        (500, "server failed (HTTP 500"),
        (503, "is busy (HTTP 503"),
    ],
)
def test_refusals_are_said_by_their_name(status: int, finding: str) -> None:
    with (
        server(lambda request, number: request.send_error(status)) as url,
        pytest.raises(CameraError) as caught,
        open_camera(url),
    ):
        pytest.fail("it opened")
    assert finding in str(caught.value)
    assert "cable" not in str(caught.value)
    assert "***" not in str(caught.value)  # no remedy that looks like an address with a password


def test_pages_circles_and_other_servers_are_no_streams() -> None:
    def page(request: Any, number: int) -> None:
        begin(request, "text/html")

    def circle(request: Any, number: int) -> None:
        request.send_response(302)
        request.send_header("Location", "/stream")
        request.end_headers()

    def other(request: Any, number: int) -> None:
        request.wfile.write(b"220 mail server\r\n")

    for answer, finding in ((page, "a page"), (circle, "circles"), (other, "no web server")):
        with server(answer) as url, pytest.raises(CameraError, match=finding), open_camera(url):
            pytest.fail("it opened")
    with server(page) as url, pytest.raises(CameraError, match="TLS"):
        open_camera(url.replace("http", "https")).__enter__()


def digest(user: str, password: str, header: str) -> bool:
    fields = dict(item.strip().split("=", 1) for item in header.removeprefix("Digest ").split(","))
    fields = {key: value.strip('"') for key, value in fields.items()}

    def md5(text: str) -> str:
        return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()

    first = md5(f"{user}:cam:{password}")
    second = md5(f"GET:{fields['uri']}")
    middle = f"{fields['nonce']}:{fields['nc']}:{fields['cnonce']}:{fields['qop']}"
    return fields["response"] == md5(f"{first}:{middle}:{second}")


@pytest.mark.parametrize(
    "head",
    [
        'HTTP/1.1 401 No\r\nWWW-Authenticate: Digest realm=, nonce="y"\r\nContent-Length: 0\r\n',
        f"HTTP/1.1 302 Go\r\nLocation: http://127.0.0.1:{2**70}/\r\nContent-Length: 0\r\n",
        "HTTP/1.1 302 Go\r\nLocation: http://[::1/\r\nContent-Length: 0\r\n",
        "HTTP/1.1 302 Go\r\nLocation: file:///etc/passwd\r\nContent-Length: 0\r\n",
    ],
)
def test_what_trips_the_library_is_one_line(head: str) -> None:
    def answer(request: Any, number: int) -> None:
        request.wfile.write(f"{head}\r\n".encode())

    with server(answer) as url:
        camera = StreamCamera(url.replace("//", "//user:word@", 1))
        with pytest.raises(CameraError) as caught, camera:
            pass
    assert "\n" not in str(caught.value)
    assert "word" not in str(caught.value)


@pytest.mark.parametrize("scheme", ["Basic", "Digest"])
def test_user_and_password_of_the_address_are_used_and_stay_hidden(scheme: str) -> None:
    def answer(request: Any, number: int) -> None:
        given = request.headers.get("Authorization", "")
        basic = "Basic " + base64.b64encode(b"alice:s3:cret").decode()
        known = (
            given == basic
            if scheme == "Basic"
            else (given.startswith("Digest") and digest("alice", "s3:cret", given))
        )
        if not known:
            more = "" if scheme == "Basic" else ', nonce="abc", qop="auth"'
            request.send_response(401)
            request.send_header("WWW-Authenticate", f'{scheme} realm="cam"{more}')
            request.end_headers()
            return
        if request.path != "/real":  # the redirect is asked for a password too
            request.send_response(302)
            request.send_header("Location", "/real")
            request.end_headers()
            return
        begin(request)
        send(request, part(PICTURES[0]), b"--frame--\r\n")

    with server(answer) as url:
        camera, frames, _ = taken(url.replace("http://", "http://alice:s3:cret@"))
        assert means(frames) == [60]
        assert "s3" not in camera.name
        with pytest.raises(CameraError, match="refuses this user name") as caught:
            taken(url.replace("http://", "http://alice:wr0ng@"))
        assert "wr0ng" not in str(caught.value)


@pytest.mark.parametrize("reader", ["parts", "jpegs"])
def test_a_picture_of_a_million_markers_is_walked_once(reader: str) -> None:
    """Each piece of it once ended in a walk over all that had come before."""
    filler = b"\xff\xe0\x00\x04\xff\xd9" * 200_000
    content = b"--frame\r\n\r\n\xff\xd8" + filler
    source = Bytes(content, 4096)
    found = parts(source.read, "frame") if reader == "parts" else jpegs(source.read)
    began = time.process_time()
    with contextlib.suppress(Interrupted):
        list(found)
    assert time.process_time() - began < 5
