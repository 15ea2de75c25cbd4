"""Commands and files through a real `sshd`: words stay words, host keys count, cuts pass."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from ssh_server import SSHD, SshServer, cut_after, free_port, ssh_server

from qlvit_edge.deployment.address import parsed
from qlvit_edge.deployment.ssh import Device
from qlvit_edge.errors import DeviceError

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(SSHD is None, reason="openssh-server is not installed"),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshServer]:
    with ssh_server(tmp_path_factory.mktemp("a device")) as running:
        yield running


def device_of(server: SshServer, *, port: int | None = None) -> Device:
    known = server.known_hosts
    if port is not None:
        known = server.known_hosts.with_name(f"known {port}")
        known.write_text(server.known_hosts.read_text().replace(str(server.port), str(port)))
    return Device(
        parsed(server.address),
        port=port or server.port,
        identity=server.identity,
        known_hosts=known,
    )


@pytest.mark.parametrize("word", ["a b", "$(touch x)", "';id;'", "~", "*", "", "-n", "é\n", '"\\'])
def test_a_word_arrives_as_it_is(server: SshServer, word: str) -> None:
    answer = device_of(server).run("printf", "%s.", word)
    assert answer.output.decode() == f"{word}."
    assert not list(server.home.glob("x"))


def test_what_a_command_says_cannot_move_the_cursor(server: SshServer) -> None:
    answer = device_of(server).run("sh", "-c", "printf 'a\\033[2Jb\\n' >&2; exit 3")
    assert (answer.code, answer.last_line) == (3, "a\\u001b[2Jb")


def test_a_host_key_that_is_not_known_is_refused(server: SshServer, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("")
    device = Device(
        parsed(server.address), port=server.port, identity=server.identity, known_hosts=other
    )
    with pytest.raises(DeviceError, match=r"its host key is not known here.*ssh-keygen -lf"):
        device.run("true")


def test_a_host_key_that_changed_is_refused(server: SshServer, tmp_path: Path) -> None:
    changed = tmp_path / "changed"
    words = server.known_hosts.read_text().split()
    user = server.identity.with_suffix(".pub").read_text().split()
    changed.write_text(f"{words[0]} {user[0]} {user[1]}\n")
    device = Device(
        parsed(server.address), port=server.port, identity=server.identity, known_hosts=changed
    )
    with pytest.raises(DeviceError, match="its host key is not"):
        device.run("true")


def test_a_key_that_is_not_let_in(server: SshServer) -> None:
    host = server.identity.with_name("host")
    device = Device(
        parsed(server.address), port=server.port, identity=host, known_hosts=server.known_hosts
    )
    with pytest.raises(DeviceError, match="does not let this user in; give it"):
        device.run("true")


def test_nothing_listens(server: SshServer) -> None:
    port = free_port()
    with pytest.raises(DeviceError, match="no SSH server answers there; look whether"):
        device_of(server, port=port).run("true")


def test_a_cut_copy_leaves_what_arrived(server: SshServer, tmp_path: Path) -> None:
    content = bytes(range(256)) * 8192
    file = tmp_path / "file"
    file.write_bytes(content)
    pieces: list[int] = []
    with (
        cut_after(server.port, 1_000_000, lambda: server.home.glob("copy")) as port,
        file.open("rb") as opened,
        pytest.raises(DeviceError, match="the connection was lost"),
    ):
        device_of(server, port=port).append(opened, "copy", lambda: pieces.append(1))
    device = device_of(server)
    there = device.size("copy")
    assert there is not None
    assert 0 < there < len(content)
    assert pieces
    with file.open("rb") as opened:
        opened.seek(there)
        device.append(opened, "copy", lambda: None)
    assert device.hash_of("copy") == hashlib.sha256(content).hexdigest()
    assert (server.home / "copy").read_bytes() == content


def test_a_file_that_is_not_there_has_no_size(server: SshServer) -> None:
    assert device_of(server).size("no such file") is None


def test_a_full_disk_is_said(server: SshServer, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(bytes(1_000_000))
    with file.open("rb") as opened, pytest.raises(DeviceError, match="No space left on device"):
        device_of(server).append(opened, "/dev/full", lambda: None)
