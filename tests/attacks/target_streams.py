"""Attacks from the network that the program itself asks: cameras and laboratory systems."""

from __future__ import annotations

import io
import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from foreign_images import waves
from frame import Finding, Target, refused_or
from mllp_listener import acknowledgement

from qlvit_edge.camera.base import SourceEndedError
from qlvit_edge.camera.multipart import Interrupted, NoParts, boundary_of, jpegs, one_picture, parts
from qlvit_edge.camera.stream import StreamCamera
from qlvit_edge.errors import CameraError
from qlvit_edge.exchange.mllp import Connection

Prepared = tuple[Sequence[bytes], Callable[[bytes], bool]]

CONTROL_ID = "QE-0001"


def _picture() -> bytes:
    done, content = cv2.imencode(".jpg", waves(16, 16, 3, np.uint8))
    if not done:
        raise RuntimeError("OpenCV writes no JPEG")
    return bytes(content)


def _multipart() -> bytes:
    jpeg = _picture()
    head = f"Content-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n".encode()
    return (b"--frame\r\n" + head + jpeg + b"\r\n") * 2 + b"--frame--\r\n"


def prepare_multipart(_folder: Path) -> Prepared:
    def examine(content: bytes) -> bool:
        named, _, body = content.partition(b"\0")
        boundary = boundary_of(named.decode("latin-1"))
        found = 0
        for pictures in (lambda read: parts(read, boundary), jpegs, one_picture):
            stream = io.BytesIO(body)
            try:
                for one in pictures(lambda count: stream.read(min(count, 97))):  # noqa: B023
                    found += bool(one)
                    if found > 10 * len(content) + 100:
                        raise Finding("more pictures than there are bytes")
            except (NoParts, Interrupted) as error:
                if "\n" in str(error):
                    raise Finding("not one line") from None
        return found > 0

    header = b"multipart/x-mixed-replace; boundary=frame\0"
    body = _multipart()
    return [header + body, header + body.replace(b"\r\n", b"\n"), header + _picture() * 3], examine


class Server:
    """A camera's server that answers every request with what it was told."""

    def __init__(self) -> None:
        self.answer = b""
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            connection, _ = self._socket.accept()
            with connection, suppress(OSError):
                connection.settimeout(2)
                connection.recv(65536)
                connection.sendall(self.answer)


class Camera(StreamCamera):
    """A camera over HTTP without the way to FFmpeg."""

    def _start_ffmpeg(self) -> None:
        raise CameraError(self.name, "is no stream of pictures", "take another one")


def prepare_camera(_folder: Path) -> Prepared:
    server = Server()

    def examine(content: bytes) -> bool:
        server.answer = content
        camera = Camera(f"http://user:secret@127.0.0.1:{server.port}/v", stall_seconds=2)

        def look() -> None:
            camera._start()
            try:
                for _ in range(5):
                    camera._read()
            # What `LiveCamera` takes for a disturbance, after which it connects again.
            except (SourceEndedError, OSError, NoParts):
                pass
            finally:
                camera._close()

        return refused_or(look)

    kinds = (
        b"multipart/x-mixed-replace; boundary=frame",
        b"image/jpeg",
        b"video/x-mjpeg",
        b"text/html",
    )
    bodies = (_multipart(), _picture(), _picture() * 3, b"<html>")
    seeds = [
        b"HTTP/1.1 200 OK\r\nContent-Type: " + kind + b"\r\n\r\n" + body
        for kind, body in zip(kinds, bodies, strict=True)
    ]
    seeds += [
        b"HTTP/1.1 401 No\r\nWWW-Authenticate: Basic realm=x\r\nContent-Length: 0\r\n\r\n",
        b'HTTP/1.1 401 No\r\nWWW-Authenticate: Digest realm="x", nonce="y", qop="auth"\r\n\r\n',
        f"HTTP/1.1 302 Go\r\nLocation: http://127.0.0.1:{server.port}/w\r\n\r\n".encode(),
        b"HTTP/1.1 302 Go\r\nLocation: file:///etc/passwd\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: image/jpeg\r\n\r\n"
        + f"{len(_picture()):x}\r\n".encode()
        + _picture()
        + b"\r\n0\r\n\r\n",
    ]
    return seeds, examine


def prepare_mllp(_folder: Path) -> Prepared:
    def examine(content: bytes) -> bool:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            connection: Any = Connection.__new__(Connection)
            connection._seconds, connection._link = 2.0, ours
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
            theirs.sendall(content)
            theirs.shutdown(socket.SHUT_WR)
            answer = connection.exchange("MSH|^~\\&|\r", CONTROL_ID)
        if not answer.text.isprintable() or not 0 < len(answer.text) < 1000:
            raise Finding(f"an answer that cannot be shown: {answer.text[:100]!r}")
        if answer.state == "delivered" and CONTROL_ID.encode() not in content:
            raise Finding("delivered, though nothing acknowledges this message")
        return bool(answer.state == "delivered")

    seeds = [acknowledgement(CONTROL_ID, code) for code in ("AA", "AE", "CR", "??")]
    seeds += [b"\x0b\x15\x1c\r", b"\x0b\x06\x1c\r" + acknowledgement(CONTROL_ID)]
    seeds.append(acknowledgement(CONTROL_ID, "AE", "|why\rERR|||207|E||||told"))
    return seeds, examine


TARGETS = (
    Target("multipart", prepare_multipart, [b"--frame", b"\r\n\r\n", b"\xff\xd8\xff", b"\xff\xd9"]),
    Target(
        "camera-http",
        prepare_camera,
        [b"\r\n", b"HTTP/1.1 302 Go\r\n", b"Content-Length: 5\r\n", b"Content-Encoding: gzip\r\n"],
    ),
    Target("mllp", prepare_mllp, [b"MSA|AA|", b"\x0b", b"\x1c\r", b"ERR|", b"|", b"\x1b[2J"]),
)
