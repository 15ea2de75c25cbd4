"""A result reaches a listener once, whatever the listener or this machine does meanwhile."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import ssl
from contextlib import closing
from pathlib import Path

import pytest
from command import refused, run_command
from forked import ended, fork
from mllp_listener import Lab
from results_rows import rows
from reviewed_run import found, sign_run, write_run

from qlvit_edge.errors import DataError
from qlvit_edge.exchange.mllp import Answer, listener_at, read_answer
from qlvit_edge.exchange.sending import Post
from qlvit_edge.review.store import ReviewStore
from qlvit_edge.review.verifying import findings_in

ID = "ABCDEFGHIJKLMNOPQRST"

OPEN = {
    "dies at once": "the connection was lost|the listener hung up",
    "dies half-way": "the connection was lost|the listener hung up",
    "dies before it answers": "the listener hung up, with no acknowledgement",
    "half an answer": "the listener hung up, with half an acknowledgement",
    "stalls": "no acknowledgement within 0.3 s",
    "drips": "no acknowledgement within 0.3 s",
    "of another": "another message was acknowledged: ANOTHERMESSAGE123456",
    "garbage": "the answer is no MLLP block",
    "no acknowledgement": "it has no MSA",
    "no message": "the answer is no HL7 message",
    "odd code": "the answer has an unknown code: OK",
    "endless": "more than 65536 bytes",
}
REFUSED = {"AE": "AE: unknown sample", "AR": "AR: no such patient", "NAK": "NAK: the listener"}


def state(path: Path) -> list[tuple[str, int]]:
    """How far the messages are, and how often each was sent."""
    return rows(path, "SELECT state, attempts FROM outbox ORDER BY id")


def send(path: Path, lab: Lab, *more: object) -> int:
    return run_command("results", "send", path, "--to", lab.address, "--by", "Ann", *more)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("signed") / "r.sqlite"
    write_run(path, [found("RED"), found("BLUE", x=30)])
    sign_run(path)
    return path


@pytest.fixture
def signed(made: Path, tmp_path: Path) -> Path:
    """A run of two cells that Ann has signed."""
    return Path(shutil.copy(made, tmp_path / "r.sqlite"))


@pytest.mark.parametrize("manner", [*OPEN, *REFUSED])
def test_a_result_that_was_not_acknowledged_is_sent_again_as_the_same(
    signed: Path, manner: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with Lab(manner) as lab:
        arguments = ("results", "send", signed, "--to", lab.address, "--by", "Ann", "--wait", 0.3)
        line = refused(capfd, *arguments, "--run", 1)
        assert any(text in line for text in {**OPEN, **REFUSED}[manner].split("|"))
        assert "1 message not acknowledged" in line
        wanted = "refused" if manner in REFUSED else "unanswered"
        assert state(signed) == [(wanted, 1)]
        assert run_command(*arguments) == 0
        assert state(signed) == [("delivered", 2)]
        assert run_command(*arguments, "--run", 1) == 0  # nothing is left to send
        assert "delivered before" in capfd.readouterr().out
        assert run_command("results", "outbox", signed) == 0
        said = capfd.readouterr().out
        assert f"run 1 to mllp://{lab.address}: delivered since" in said
        assert f"sent 2 times, message {next(iter(lab.kept))}, by Ann (AA)" in said
        assert lab.connections == 2
    assert len(set(lab.seen)) == len(lab.kept) == 1
    sent = rows(signed, "SELECT json_extract(content, '$.kind') FROM reviews")
    assert [kind for (kind,) in sent] == ["confirm", "done", "sign", "export"]
    assert findings_in(signed) == []


def test_a_refusal_stops_no_other_message_and_silence_does(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "r.sqlite"
    for _ in range(3):
        write_run(path, [found()])
    with Lab("AE", "CA", "stalls") as lab:
        arguments = ("results", "send", path, "--to", lab.address, "--by", "Ann", "--wait", 0.3)
        assert "2 messages" in refused(
            capfd, *arguments, *["--run", "1", "--run", "2", "--run", "3"]
        )
        assert state(path) == [("refused", 1), ("delivered", 1), ("unanswered", 1)]
        lab.manners = ["stalls"]
        refused(capfd, *arguments)
        assert state(path) == [("unanswered", 2), ("delivered", 1), ("unanswered", 1)]
        assert run_command(*arguments) == 0
    assert len(lab.kept) == 3


def test_who_is_not_there_costs_nothing(signed: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with Lab() as lab:
        pass
    line = refused(
        capfd, "results", "send", signed, "--to", lab.address, "--by", "Ann", "--run", "1"
    )
    assert "cannot be reached" in line
    assert state(signed) == [("waiting", 0)]
    assert not list(signed.parent.glob("*-sending"))


@pytest.mark.parametrize(("end", "code"), [(signal.SIGKILL, -9), (signal.SIGINT, 130)])
def test_a_command_that_ends_before_the_answer_has_said_so(
    signed: Path, end: int, code: int
) -> None:
    lab = Lab("late")

    def be_sender() -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os._exit(send(signed, lab, "--run", 1))

    child = fork(be_sender)
    with lab:
        assert lab.arrived.wait(20)
        os.kill(child, end)
        assert ended(child) == code
        assert state(signed) == [("unanswered", 1)]
        assert findings_in(signed) == []
        assert send(signed, lab) == 0
    assert len(lab.seen) == 2
    assert len(set(lab.seen)) == len(lab.kept) == 1
    assert state(signed) == [("delivered", 2)]


def test_two_commands_do_not_send_at_once(signed: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with Lab() as lab:
        with Post(signed, listener_at(lab.address), print) as post:
            post.put([1], "Ann")
            line = refused(capfd, "results", "send", signed, "--to", lab.address, "--by", "Bob")
            assert "another command sends from it" in line
            assert not lab.connections
        assert send(signed, lab) == 0
    assert len(lab.kept) == 1


def test_a_result_that_was_taken_back_does_not_leave(
    signed: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with Lab("stalls") as lab:
        refused(
            capfd,
            *("results", "send", signed, "--to", lab.address, "--by", "Ann", "--run", 1),
            *("--wait", 0.3),
        )
        with ReviewStore(signed) as store:
            store.reopen(1, reason="wrong slide", by="Ann")
        assert send(signed, lab) == 0
        assert "withdrawn" in capfd.readouterr().out
        assert state(signed) == [("withdrawn", 1)]
        assert lab.connections == 1
        with ReviewStore(signed) as store:
            store.change(1, [2], "RED", reason="second look", by="Ann")
        sign_run(signed)
        assert send(signed, lab, "--run", 1) == 0
    assert [message.split(b"\rOBX")[0].split(b"\rNTE")[0][-1:] for message in lab.seen] == [
        b"F",
        b"C",
    ]
    assert len({message.split(b"|")[9] for message in lab.seen}) == 2
    assert findings_in(signed) == []


def test_a_newer_state_takes_the_place_of_one_that_waits(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    write_run(path, [found()])
    with Lab() as lab:
        with Post(path, listener_at(lab.address), print) as post:
            post.put([1], "Ann")
        sign_run(path)
        assert send(path, lab, "--run", 1) == 0
        assert state(path) == [("withdrawn", 0), ("delivered", 1)]
    assert len(lab.seen) == 1


def test_every_listener_has_its_own_messages(signed: Path) -> None:
    with Lab() as lab, Lab() as other:
        assert send(signed, lab, "--sample", "S-0815") == 0
        assert send(signed, other) == 0
        assert not other.seen
        assert send(signed, other, "--run", 1) == 0
    assert lab.kept.keys() == other.kept.keys()


def test_a_run_that_goes_on_is_not_sent(signed: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with closing(sqlite3.connect(signed)) as connection, connection:
        connection.execute("UPDATE runs SET outcome = 'running'")
    with Lab() as lab:
        line = refused(
            capfd, "results", "send", signed, "--to", lab.address, "--by", "Ann", "--run", 1
        )
        assert "run 1 goes on" in line
        assert not lab.connections
    assert state(signed) == []


@pytest.mark.parametrize(
    "query",
    [
        "UPDATE outbox SET message = replace(message, '|1|', '|9|')",
        "UPDATE outbox SET state = 'delivered'",
        "UPDATE outbox SET attempts = 'x'",
        "UPDATE outbox SET destination = destination || '0'",
        "DELETE FROM outbox",
    ],
)
def test_an_altered_outbox_is_found_and_not_sent(
    signed: Path, query: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with Lab() as lab:
        with Post(signed, listener_at(lab.address), print) as post:
            post.put([1], "Ann")
        with closing(sqlite3.connect(signed)) as connection, connection:
            connection.execute(query)
        assert run_command("results", "verify", signed) == 1
        assert "outbox" in capfd.readouterr().out
        if not query.startswith("DELETE") and "destination" not in query:
            line = refused(capfd, "results", "send", signed, "--to", lab.address, "--by", "Ann")
            assert "was altered" in line
        assert not lab.connections


def test_messages_go_with_their_run(signed: Path) -> None:
    with Lab() as lab:
        assert send(signed, lab, "--run", 1) == 0
    arguments = ("delete", signed, "--sample", "S-0815", "--by", "Ann", "--yes")
    assert run_command("results", *arguments) == 0
    assert state(signed) == []
    assert b"neutrophil" not in signed.read_bytes()
    assert b"ORU^R01" not in signed.read_bytes()
    assert findings_in(signed) == []


def test_an_acknowledgement_may_use_other_separators_and_line_ends() -> None:
    block = f"\x0bMSH#^~\\&#LIS\nMSA#AA#{ID}#fine\n".encode()
    assert read_answer(block, ID) == Answer("delivered", "AA: fine")
    assert read_answer(b"noise" + block, ID) == Answer("delivered", "AA: fine")
    assert read_answer(b"\x0b\x06", ID) is None


@pytest.mark.parametrize(
    "address", ["", "lab", "lab:", "lab:0", "lab:70000", "a@b:1", "lab:2575/x"]
)
def test_what_is_no_address_is_refused(
    signed: Path, address: str, capfd: pytest.CaptureFixture[str]
) -> None:
    line = refused(capfd, "results", "send", signed, "--to", address, "--by", "Ann")
    assert "is no HOST:PORT" in line
    with pytest.raises(DataError):
        listener_at(address)
    assert str(listener_at("[::1]:2575", tls=True)) == "mllps://[::1]:2575"


def test_an_encrypted_listener_must_be_vouched_for(
    signed: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    certificate, key = certified(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with Lab(tls=context) as lab:
        arguments = ("results", "send", signed, "--to", lab.address, "--by", "Ann", "--tls")
        assert "its certificate is not trusted" in refused(capfd, *arguments, "--run", 1)
        assert state(signed) == [("waiting", 0)]
        assert "holds no certificates" in refused(capfd, *arguments, "--tls-ca", key)
        assert run_command(*arguments, "--tls-ca", certificate) == 0
    assert len(lab.kept) == 1


def certified(folder: Path) -> tuple[Path, Path]:
    """A certificate of 127.0.0.1 that vouches for itself, and its key."""
    import datetime
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "lab")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False
        )
        .sign(key, hashes.SHA256())
    )
    paths = folder / "lab.pem", folder / "key.pem"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return paths
