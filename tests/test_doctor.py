"""Every check of `doctor` both ways, on roots that the test makes."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from pathlib import Path

import pytest
from reviewed_run import found, sign_run, write_run
from tiny_metadata import metadata
from tiny_model import tiny_model

from qlvit_edge.doctor import (
    access,
    cameras,
    computing,
    device,
    edgetpu,
    examination,
    software,
    storage,
)
from qlvit_edge.doctor.access import Person
from qlvit_edge.doctor.examination import CHECKS, Check, examine
from qlvit_edge.doctor.finding import Finding, Place, passed
from qlvit_edge.files import lock_open_file
from qlvit_edge.microscope.camera_check import CameraCheck
from qlvit_edge.microscope.camera_check import Finding as OfCamera
from qlvit_edge.modelfile.metadata import embed

MB = 1_000_000


def write(root: Path, files: dict[str, str]) -> Path:
    """Make a root with some files."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


def states(findings: list[Finding]) -> list[str]:
    return [one.state for one in findings]


def test_a_warning_without_a_remedy_is_none() -> None:
    with pytest.raises(ValueError, match="no remedy"):
        Finding("disk", "fail", "full")
    assert passed([Finding("a", "warning", "b", "c"), Finding("a", "not checked", "b")])
    assert not passed([Finding("a", "ok", "b"), Finding("a", "fail", "b", "c")])


@pytest.mark.parametrize(
    ("version", "state"),
    [("3.11.2", "ok"), ("3.13.9", "ok"), ("3.14", "fail"), ("3.14.0", "fail"), ("3.9.2", "fail")],
)
def test_python(version: str, state: str) -> None:
    assert software.python_finding(version, "<3.14,>=3.11").state == state


REQUIRED = [
    "numpy>=1.26",
    "opencv-python-headless<5,>=4.9",
    'ai-edge-litert>=2.2; platform_machine == "x86_64" or platform_machine == "aarch64"',
    'torch>=2.6; extra == "train"',
]


WITHOUT_LITERT = {"numpy": "1.26.4", "opencv-python-headless": "4.11"}
USUAL = WITHOUT_LITERT | {"ai-edge-litert": "2.3"}


@pytest.mark.parametrize(
    ("there", "machine", "state", "said"),
    [
        (USUAL, "x86_64", "ok", "litert 2.3"),
        (USUAL | {"opencv-python-headless": ""}, "x86_64", "ok", "headless of unknown version"),
        (WITHOUT_LITERT, "armv7l", "ok", "numpy 1.26.4"),
        (WITHOUT_LITERT | {"numpy": "1.24"}, "armv7l", "warning", "numpy 1.24"),
        (USUAL | {"numpy": "1.24"}, "x86_64", "fail", "numpy 1.24 is not >=1.26"),
        (USUAL | {"opencv-python-headless": "5.0"}, "aarch64", "fail", "5.0 is not <5,>=4.9"),
        (WITHOUT_LITERT, "aarch64", "fail", "ai-edge-litert"),
    ],
)
def test_packages(there: dict[str, str], machine: str, state: str, said: str) -> None:
    seen = software.packages_finding(REQUIRED, there.get, machine)
    assert seen.state == state
    assert said in seen.text
    assert "torch" not in seen.text


@pytest.mark.parametrize(
    ("there", "state"),
    [
        ({"numpy": "2.1", "ai-edge-litert": "2.3"}, "ok"),
        ({"numpy": "1.26", "tflite-runtime": "2.14"}, "ok"),
        ({"numpy": "2.1", "tflite-runtime": "2.14"}, "fail"),
        ({"numpy": "2.1", "tflite-runtime": "2.14", "ai-edge-litert": "2.3"}, "warning"),
        ({}, "not checked"),
    ],
)
def test_numpy_beside_what_is_compiled_against_it(there: dict[str, str], state: str) -> None:
    assert software.numpy_finding(there.get).state == state


def test_packages_of_this_environment_are_looked_up() -> None:
    assert software.installed("numpy")
    assert software.installed("json") == ""
    assert software.installed("no-such-package") is None


def test_live_page_and_text() -> None:
    there = {"starlette": "1.10", "uvicorn": ""}
    assert software.page_finding(["starlette", "uvicorn"], there.get).state == "ok"
    lacking = software.page_finding(["starlette", "segno"], there.get)
    assert (lacking.state, "segno" in lacking.text) == ("warning", True)
    assert software.text_finding("utf-8", "UTF8").state == "ok"
    assert software.text_finding("utf-8", "latin-1").state == "warning"
    assert software.text_finding("ascii", "utf-8").state == "warning"
    assert software.text_finding("utf-8", "no-such").state == "warning"


def test_processor(tmp_path: Path) -> None:
    files = dict.fromkeys(computing._NEEDED_BY_XNNPACK, "0-3\n")
    assert states(computing.check_processor(Place(root=write(tmp_path / "a", files)))) == ["ok"]
    files.pop("sys/devices/system/cpu/present")
    (seen,) = computing.check_processor(Place(root=write(tmp_path / "b", files)))
    assert seen.state == "warning"
    assert "/sys/devices/system/cpu/present" in seen.text
    assert "/proc/cpuinfo" not in seen.text


def test_what_runs() -> None:
    assert computing.proof_finding("x", proved=True).state == "ok"
    assert computing.proof_finding("x", proved=False).state == "warning"
    assert computing.kernels_finding("XNNPACK", missing=False).state == "ok"
    assert computing.kernels_finding("builtin", missing=True).state == "warning"
    assert computing.golden_finding(True, "12 of 12.").state == "ok"
    assert computing.golden_finding(None, "not compared").state == "warning"
    assert computing.golden_finding(False, "11 of 12").state == "fail"
    assert computing.images_finding(17, 25, 32).state == "ok"
    assert computing.images_finding(14, 25, 32).state == "fail"
    assert computing.images_finding(17, 21, 32).state == "fail"


def test_a_model_that_is_none_fails(tmp_path: Path) -> None:
    path = tmp_path / "wbc.tflite"
    path.write_bytes(b"TFL3" * 20)
    (seen,) = computing.check_model(Place(model=str(path)))
    assert (seen.check, seen.state) == ("model", "fail")
    assert seen.remedy


def test_golden_pairs_that_are_missed_fail(tmp_path: Path) -> None:
    data = metadata()
    wrong = data.golden[2].model_copy(update={"xnnpack_logits": [0, 0, 0]})
    path = tmp_path / "tiny.tflite"
    path.write_bytes(embed(tiny_model(), data))
    kinds = {"model": "ok", "kernels": "ok", "golden pairs": "ok"}
    assert {one.check: one.state for one in computing.check_model(Place(str(path)))} == kinds
    changed = data.model_copy(update={"golden": [*data.golden[:2], wrong]})
    path.write_bytes(embed(tiny_model(), changed))
    seen = {one.check: one for one in computing.check_model(Place(str(path)))}
    assert seen["golden pairs"].state == "fail"
    assert "2 of 3" in seen["golden pairs"].text


@pytest.mark.parametrize(
    ("free_kb", "state"), [(2_000_000, "ok"), (300_000, "warning"), (100_000, "fail")]
)
def test_memory(tmp_path: Path, free_kb: int, state: str) -> None:
    root = write(tmp_path, {"proc/meminfo": f"MemTotal: 1 kB\nMemAvailable: {free_kb} kB\n"})
    assert device.check_memory(Place(root=root))[0].state == state


def test_memory_of_a_container_counts_too(tmp_path: Path) -> None:
    files = {"proc/meminfo": "MemAvailable: 2000000 kB\n"}
    files |= {"sys/fs/cgroup/memory.max": "400000000", "sys/fs/cgroup/memory.current": "300000000"}
    assert device.check_memory(Place(root=write(tmp_path, files)))[0].state == "fail"


@pytest.mark.parametrize(
    ("total", "free", "state"), [(0, 0, "ok"), (100, 80, "ok"), (100, 20, "warning")]
)
def test_swap(tmp_path: Path, total: int, free: int, state: str) -> None:
    root = write(tmp_path, {"proc/meminfo": f"SwapTotal: {total} kB\nSwapFree: {free} kB\n"})
    assert states(device.check_memory(Place(root=root))) == ["not checked", state]


@pytest.mark.parametrize(
    ("milli", "bits", "expected"),
    [
        ("48312", "0", ["ok", "ok"]),
        ("72000", "50000", ["warning", "warning"]),
        ("85000", "1", ["fail", "fail"]),
        ("48312", "4", ["ok", "warning"]),
        ("broken", "", ["not checked", "not checked"]),
    ],
)
def test_heat_of_a_raspberry_pi(tmp_path: Path, milli: str, bits: str, expected: list[str]) -> None:
    files = {"sys/class/thermal/thermal_zone0/temp": milli}
    files["sys/devices/platform/soc/soc:firmware/get_throttled"] = bits
    seen = device.check_heat(Place(root=write(tmp_path, files)))
    assert states(seen) == expected
    assert ("power supply" in seen[1].remedy) == (bits in ("50000", "1"))


@pytest.mark.parametrize(("count", "state"), [("0", "ok"), ("7", "warning")])
def test_throttling_of_a_pc(tmp_path: Path, count: str, state: str) -> None:
    name = "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count"
    seen = device.check_heat(Place(root=write(tmp_path, {name: count})))
    assert states(seen) == ["not checked", state]


def test_clock() -> None:
    assert device.time_finding(device.MADE + 1).state == "ok"
    assert "1970-01-01" in device.time_finding(100.0).text
    for now in (0.0, device.MADE - 1, device.LATEST, 1e18):
        assert device.time_finding(now).state == "fail"
    assert device.synchronised_finding(True).state == "ok"
    assert device.synchronised_finding(False).state == "warning"
    assert device.synchronised_finding(None).state == "not checked"
    assert device.synchronised() in (True, False, None)


def test_temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert device.temporary_finding("/tmp", 500 * MB, None).state == "ok"
    assert device.temporary_finding("/tmp", 5 * MB, None).state == "warning"
    gone = device.temporary_finding("/tmp", 500 * MB, str(tmp_path / "gone"))
    assert (gone.state, "TMPDIR" in gone.text) == ("warning", True)
    assert states(device.check_temporary(Place())) == ["ok"]
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    assert states(device.check_temporary(Place())) == ["fail"]


PI = Person(1000, frozenset({1000}))
GROUPS = {"etc/group": "root:x:0:\nvideo:x:44:ann\n", "etc/passwd": "pi:x:1000:1000:::\n"}


def test_group_video(tmp_path: Path) -> None:
    root = write(tmp_path / "a", GROUPS)
    usb = Place(root=root, camera="usb:0")
    assert access.video_finding(usb, PI).state == "fail"
    assert access.video_finding(Place(root=root), PI).state == "ok"
    assert access.video_finding(usb, Person(1000, frozenset({44}))).state == "ok"
    assert access.video_finding(usb, Person(0, frozenset())).state == "ok"
    write(root, {"dev/video0": ""})
    assert access.video_finding(Place(root=root), PI).state == "warning"
    write(root, {"etc/passwd": "ann:x:1000:1000:::\n"})
    again = access.video_finding(usb, PI)
    assert (again.state, "log in again" in again.remedy) == ("warning", True)
    assert access.video_finding(Place(root=tmp_path / "b"), PI).state == "not checked"


def stick_files(port: str, ids: str = "18d1:9302", speed: str = "5000") -> dict[str, str]:
    folder, (vendor, product) = f"sys/bus/usb/devices/{port}", ids.split(":")
    names = {"idVendor": vendor, "idProduct": product, "speed": speed}
    names |= {"busnum": "1", "devnum": "4"}
    return {f"{folder}/{name}": f"{value}\n" for name, value in names.items()}


LIBEDGETPU = {"usr/lib/aarch64-linux-gnu/libedgetpu.so.1": ""}


def test_edge_tpu(tmp_path: Path) -> None:
    assert edgetpu.device_finding(tmp_path).state == "ok"
    root = write(tmp_path, stick_files("2-1"))
    without = edgetpu.device_finding(root)
    assert (without.state, "libedgetpu" in without.remedy) == ("warning", True)
    write(root, LIBEDGETPU)
    assert edgetpu.device_finding(root).state == "ok"
    write(root, stick_files("2-1", speed="480"))
    assert "USB 3" in edgetpu.device_finding(root).remedy
    write(root, stick_files("2-1", ids="046d:9302"))
    assert "no Edge TPU is connected" in edgetpu.device_finding(root).text
    card = "sys/bus/pci/devices/0000:01:00.0"
    write(root, {f"{card}/vendor": "0x1ac1\n", f"{card}/device": "0x089a\n"})
    assert "driver" in edgetpu.device_finding(root).text
    write(root, {"dev/apex_0": ""})
    assert edgetpu.device_finding(root).state == "ok"


def test_several_sticks_are_listed_by_the_names_that_choose_them(tmp_path: Path) -> None:
    root = write(tmp_path, LIBEDGETPU | stick_files("1-1.10") | stick_files("1-1.2", "1a6e:089a"))
    assert edgetpu.device_finding(root).text.startswith(
        "usb:0 at port 1-1.2 (not used since it was plugged in, 5000 Mbit/s); "
        "usb:1 at port 1-1.10 (ready, 5000 Mbit/s)"
    )


def test_a_stick_that_this_user_may_not_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write(tmp_path, LIBEDGETPU | stick_files("1-1") | {"dev/bus/usb/001/004": ""})
    assert edgetpu.device_finding(root).state == "ok"
    refused = root / "dev/bus/usb/001/004"
    monkeypatch.setattr(edgetpu.os, "access", lambda path, mode: path != refused)
    found = edgetpu.device_finding(root)
    assert (found.state, "may not open the stick at port 1-1" in found.text) == ("warning", True)


@pytest.mark.parametrize(
    ("package", "runtimes", "state", "part"),
    [
        ("16.0", {"tflite-runtime": "2.14.0"}, "warning", "crashes with tflite-runtime 2.14.0"),
        ("16.0", {"tflite-runtime": "2.11.0"}, "ok", "made for tflite-runtime 2.11.0"),
        ("16.0TF2.15.1-1", {"tflite-runtime": "2.14.0"}, "ok", "made for tflite-runtime"),
        ("16.0TF2.16.1-1", {"tflite-runtime": "2.17.0"}, "warning", "2.11 to 2.16, not 2.17.0"),
        ("16.0TF2.16.1-1", {"ai-edge-litert": "2.3.0"}, "warning", "never seen with ai-edge"),
        (
            "16.0TF2.16.1-1",
            {"ai-edge-litert": "2.3.0", "tflite-runtime": "2.14.0"},
            "ok",
            "run --runtime tflite-runtime",
        ),
        (None, {"tflite-runtime": "2.14.0"}, "warning", "came in no package"),
    ],
)
def test_the_library_is_judged_by_the_runtimes(
    package: str | None, runtimes: dict[str, str], state: str, part: str, tmp_path: Path
) -> None:
    assert edgetpu.library_findings(tmp_path, runtimes.get) == []
    status = "Package: libc6\nStatus: install ok installed\nVersion: 2.36\n"
    if package is not None:
        status += "\nPackage: libedgetpu1-max\nStatus: deinstall ok config-files\nVersion: 9\n"
        status += "\nPackage: libedgetpu1-std\nStatus: install ok installed\n"
        status += f"Architecture: arm64\nVersion: {package}\n"
    root = write(tmp_path, LIBEDGETPU | {"var/lib/dpkg/status": status})
    (found,) = edgetpu.library_findings(root, runtimes.get)
    assert (found.check, found.state) == ("edge tpu library", state)
    assert part in found.text


@pytest.mark.parametrize(
    ("state", "judged"),
    [
        *(("active", "ok"), ("failed", "fail"), ("inactive", "warning"), ("odd", "warning")),
        (None, "not checked"),
    ],
)
def test_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str | None, judged: str
) -> None:
    assert states(access.check_service(Place(root=tmp_path))) == ["not checked"]
    root = write(tmp_path, {"etc/systemd/system/qlvit-edge.service": "[Service]\n"})
    stand_in = write(tmp_path, {"bin/systemctl": f"#!/bin/sh\necho {state or ''}\nexit 3\n"})
    (stand_in / "bin/systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{root / 'bin'}:{os.environ['PATH']}")
    (seen,) = access.check_service(Place(root=root))
    assert (seen.state, "qlvit-edge.service" in seen.text) == (judged, True)


def test_results_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert storage.folder_finding(tmp_path).state == "ok"
    assert list(tmp_path.iterdir()) == []
    assert "mkdir -p" in storage.folder_finding(tmp_path / "gone").remedy
    (tmp_path / "file").touch()
    assert storage.folder_finding(tmp_path / "file").state == "fail"

    def refused(**options: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(tempfile, "TemporaryFile", refused)
    barred = storage.folder_finding(tmp_path)
    assert (barred.state, "permission denied" in barred.text) == ("fail", True)


@pytest.mark.parametrize(
    ("kind", "state"),
    [
        *(("ext4", "ok"), ("nfs4", "fail"), ("cifs", "fail"), ("tmpfs", "warning")),
        *(("overlay", "warning"), ("exfat", "warning"), ("", "not checked")),
    ],
)
def test_file_system(tmp_path: Path, kind: str, state: str) -> None:
    number = tmp_path.stat().st_dev
    line = f"22 1 {os.major(number)}:{os.minor(number)} / / rw - {kind} /dev/x rw\n"
    root = write(tmp_path, {"proc/self/mountinfo": line if kind else ""})
    place = Place(results=tmp_path / "r.sqlite", root=root)
    assert storage.check_disk(place)[0].state == state


def test_room_on_the_disk() -> None:
    hour = storage.RESULTS_PER_HOUR
    assert storage.room_finding(10**12, None, 8).state == "ok"
    assert storage.room_finding(9 * hour, None, 8).state == "ok"
    assert "keep no picture" in storage.room_finding(9 * hour, None, 8).text
    assert "keep no picture" not in storage.room_finding(10**12, None, 8).text
    assert "keep no picture" in storage.room_finding(10**12, 5000, 8).text
    assert storage.room_finding(7 * hour, None, 8).state == "warning"
    assert storage.room_finding(100 * MB, None, 1).state == "fail"
    assert storage.room_finding(10**12, 10, 8).state == "fail"


def test_results_file_that_is_whole_held_altered_or_none(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    assert states(storage.check_results(Place())) == ["not checked"]
    assert "a run makes it" in storage.results_findings(path)[0].text
    write_run(path, [found(), found("BLUE", x=40)])
    sign_run(path)
    assert states(storage.results_findings(path)) == ["ok", "ok"]
    with path.open("rb") as stream:
        assert lock_open_file(os.dup(stream.fileno()))
        held = storage.results_findings(path)
        assert (states(held), held[0].check) == (["warning", "ok"], "other runs")


def test_altered_results_fail(tmp_path: Path) -> None:
    path = tmp_path / "r.sqlite"
    write_run(path, [found()])
    sign_run(path)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE cells SET label = 'BLUE'")
    connection.close()
    assert states(storage.results_findings(path)) == ["ok", "fail"]


def test_what_is_no_results_file(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("something else", encoding="utf-8")
    assert storage.results_findings(path)[0].state == "fail"
    assert storage.results_findings(tmp_path)[0].state == "fail"
    os.mkfifo(tmp_path / "pipe")
    assert storage.results_findings(tmp_path / "pipe")[0].state == "fail"
    (tmp_path / "empty").touch()
    assert states(storage.results_findings(tmp_path / "empty")) == ["ok", "ok"]
    sqlite3.connect(tmp_path / "other.sqlite").execute("CREATE TABLE a (b)").connection.close()
    assert states(storage.results_findings(tmp_path / "other.sqlite")) == ["ok", "fail"]


def test_cameras_that_are_connected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from qlvit_edge.camera.devices import Device

    assert states(cameras.check_cameras(Place(root=tmp_path))) == ["not checked"]
    usb = [Device("usb:0", "Microscope")]
    monkeypatch.setattr(cameras, "devices", lambda root: usb)
    assert states(cameras.check_cameras(Place())) == ["ok"]
    usb.append(Device("usb:1", "Other", "permission denied"))
    assert states(cameras.check_cameras(Place())) == ["warning"]


def test_frames_of_a_camera(tmp_path: Path) -> None:
    from qlvit_edge.bundled import FIELDS

    assert states(cameras.check_cameras(Place(camera=str(FIELDS)))) == ["ok"]
    (gone,) = cameras.check_cameras(Place(camera="usb:77"))
    assert (gone.state, "does not exist" in gone.text) == ("fail", True)
    findings = (
        OfCamera("ok", "drops", "none"),
        OfCamera("warning", "sharpness", "2500"),
        OfCamera("error", "light", "too dark"),
    )
    seen = CameraCheck(
        *("c", "", (640, 480), 10, 9.0, 0, 0, 2500.0, 20.0, 0.0, {}, findings, ()),
    )
    judged = cameras.frames_findings("c", seen)
    assert states(judged) == ["warning", "fail"]
    assert "too dark" in judged[1].text


def test_an_empty_watched_folder_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cameras, "IDLE", 0.2)
    assert states(cameras.check_cameras(Place(camera=f"watch:{tmp_path}"))) == ["warning"]


def of_picamera2(
    folder: Path, monkeypatch: pytest.MonkeyPatch, code: str, place: Place, seconds: float = 20
) -> Finding:
    """What is found where `import picamera2` runs some code, in a process of its own."""
    write(folder, {"picamera2/__init__.py": code})
    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.syspath_prepend(str(folder))
    checks = [Check("picamera2", "software:check_picamera2", seconds), CHECKS[0]]
    seen = list(examine(place, checks))
    assert (seen[-1].check, seen[-1].state) == ("python", "ok"), "the next check was not made"
    return seen[0]


@pytest.mark.parametrize(
    ("code", "camera", "state", "said"),
    [
        ("", None, "ok", "loads"),
        ("raise ImportError('no libcamera')", None, "warning", "no libcamera"),
        ("raise ImportError('no libcamera')", "picamera2", "fail", "no libcamera"),
        ("raise ValueError('numpy.dtype size changed')", None, "warning", "size changed"),
        ("import os; os.abort()", None, "fail", "SIGABRT"),
    ],
)
def test_picamera2(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    code: str,
    camera: str | None,
    state: str,
    said: str,
) -> None:
    seen = of_picamera2(tmp_path, monkeypatch, code, Place(camera=camera))
    assert seen.state == state
    assert said in seen.text
    assert ("numpy>=1.26,<2" in seen.remedy) == ("numpy" in code)


def test_a_check_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import time; time.sleep(60)"
    seen = of_picamera2(tmp_path, monkeypatch, code, Place(), seconds=1.5)
    assert (seen.state, "no answer within 1.5 s" in seen.text) == ("fail", True)


def test_picamera2_that_is_not_there(tmp_path: Path) -> None:
    assert states(software.check_picamera2(Place(root=tmp_path))) == ["not checked"]
    root = write(tmp_path, {"proc/device-tree/model": "Raspberry Pi 5 Model B Rev 1.0\0"})
    (seen,) = software.check_picamera2(Place(root=root))
    assert (seen.state, "apt install" in seen.remedy) == ("warning", True)


def test_a_check_that_is_wrong_itself_says_so(tmp_path: Path) -> None:
    checks = [
        Check("odd", "software:no_such_check"),
        Check("other", "no_such_module:check"),
        Check("python", "software:check_python"),
    ]
    seen = list(examine(Place(), checks))
    assert states(seen) == ["not checked", "fail", "ok"]
    assert "AttributeError" in seen[0].text
    assert "no_such_module" in seen[1].text


def test_no_process_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused() -> None:
        raise OSError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(examination, "Child", refused)
    (seen,) = examine(Place(), CHECKS[:1])
    assert (seen.state, "no process" in seen.text) == ("fail", True)


def test_every_check_is_there() -> None:
    for check in CHECKS:
        module, _, name = check.function.partition(":")
        assert callable(getattr(globals()[module], name))
    listed = {check.function for check in CHECKS}
    for module in (access, cameras, computing, device, software, storage):
        short = module.__name__.rpartition(".")[2]
        written = {f"{short}:{name}" for name in vars(module) if name.startswith("check_")}
        assert written - {"cameras:check_camera"} <= listed


def test_a_configuration_that_was_not_taken_over_is_said(tmp_path: Path) -> None:
    edited, good = (
        tmp_path / "etc/qlvit-edge/run.toml",
        tmp_path / "var/lib/qlvit-edge/run.good.toml",
    )
    place = Place(root=tmp_path)
    assert states(access.check_configuration(place)) == ["not checked"]
    for path in (edited, good):
        path.parent.mkdir(parents=True)
        path.write_text('model = "blood-nano"\n')
    assert states(access.check_configuration(place)) == ["ok"]
    edited.write_text("threads = 0\n")
    (seen,) = access.check_configuration(place)
    assert seen.state == "warning"
    assert "systemctl reload" in seen.remedy
    good.unlink()
    assert states(access.check_configuration(place)) == ["not checked"]
