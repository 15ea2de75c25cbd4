"""The service by itself: comes up, feeds its watchdog, is started again when it hangs."""

from __future__ import annotations

import hashlib
import http.client
import json
import re
import ssl
from collections.abc import Callable

from device import PAGE_PORT, Device

Say = Callable[[str, str], None]


def test_it_comes_up_by_itself(device: Device, say: Say) -> None:
    seconds = device.wait("the service is up", lambda: device.property("ActiveState") == "active")
    assert device.machine.run("ps -o comm= -p 1").strip() == "systemd"
    assert device.property("NRestarts") == "0"
    say("service active, started by nobody", f"{seconds:.0f} s after the boot; no restart")


def test_it_is_not_root_and_its_kernels_are_the_fast_ones(device: Device, say: Say) -> None:
    device.wait_for_frames(1)
    numbers = ",".join(map(str, device.processes()))
    users = set(device.machine.run(f"ps -o uid= -p {numbers}").split())
    assert users == {device.machine.run("id -u qlvit-edge").strip()}
    kernels = device.query("SELECT kernels FROM runs ORDER BY id DESC LIMIT 1")[0][0]
    assert "XNNPACK" in kernels, "the unit hides what XNNPACK looks at"
    say("kernels under the unit's hardening", kernels)


def test_frames_feed_the_watchdog(device: Device, say: Say) -> None:
    assert device.property("WatchdogUSec") not in {"0", "infinity"}
    first = int(device.property("WatchdogTimestampMonotonic"))
    device.wait_for_frames(2)
    fed = int(device.property("WatchdogTimestampMonotonic"))
    assert fed > first
    assert device.property("NRestarts") == "0"
    said = device.property("StatusText")
    assert said
    say("watchdog fed by frames", f"after {(fed - first) / 1e6:.0f} s again; says: {said}")


def test_the_page_answers_through_the_network(device: Device, say: Say) -> None:
    device.wait("the page's link", lambda: bool(_links(device)))
    link = _links(device)[-1]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connection = http.client.HTTPSConnection(
        "127.0.0.1", device.machine.port(PAGE_PORT), context=context, timeout=300
    )
    connection.connect()
    shown = hashlib.sha256(connection.sock.getpeercert(binary_form=True)).hexdigest()
    journal = device.journal(400).replace(":", "").replace(" ", "").lower()
    assert shown in journal, "the certificate is not the one that the run printed"
    address, token = re.fullmatch(r"https://([^/]+)/#([\w-]+)", link).groups()
    headers = {"Host": address, "Origin": f"https://{address}", "Content-Type": "application/json"}

    def asked(method: str, path: str, body: str | None = None, **more: str) -> tuple[int, str]:
        connection.request(method, path, body, {**headers, **more})
        answer = connection.getresponse()
        answer.read()
        return answer.status, answer.headers.get("Set-Cookie", "").partition(";")[0]

    assert asked("GET", "/")[0] == 200
    assert asked("GET", "/api/state")[0] in {401, 403}, "whoever has no token sees the run"
    assert asked("POST", "/api/session", json.dumps({"token": "wrong"}))[0] == 403
    status, cookie = asked("POST", "/api/session", json.dumps({"token": token}))
    assert status == 200
    assert asked("GET", "/api/state", Cookie=cookie)[0] == 200
    connection.close()
    say("page over TLS, with the link's token", "200; with none, or a wrong one, refused")


def test_a_run_that_hangs_is_started_again(device: Device, say: Say) -> None:
    before = device.property("MainPID")
    restarts = int(device.property("NRestarts"))
    device.machine.run(f"kill -STOP {before}")
    seconds = device.wait(
        "the watchdog ends it", lambda: int(device.property("NRestarts")) > restarts
    )
    assert device.property("MainPID") != before
    device.wait_for_frames(1)
    say("run stopped dead (SIGSTOP)", f"another one {seconds:.0f} s later, frames again")


def _links(device: Device) -> list[str]:
    return re.findall(r"https://\S+", device.journal(400))
