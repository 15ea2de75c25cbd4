"""The state of the device while something is measured, from a system that the test makes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from qlvit_edge.measuring.conditions import Watch
from qlvit_edge.sensors import temperature

THROTTLED = "sys/devices/platform/soc/soc:firmware/get_throttled"
ZONE = "sys/class/thermal/thermal_zone0/temp"
SLOWED = "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count"


def write(root: Path, name: str, text: str) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text)


def test_a_system_that_tells_nothing_is_not_taken_for_a_good_one(tmp_path: Path) -> None:
    found = Watch(tmp_path).end()
    assert found.temperature_c is None
    assert found.held_back is None
    assert found.others_cores is None
    assert not found.busy


@pytest.mark.parametrize(("before", "after"), [("81500", "40000"), ("40000", "81500")])
def test_the_hotter_moment_counts(before: str, after: str, tmp_path: Path) -> None:
    write(tmp_path, ZONE, before)
    watch = Watch(tmp_path)
    write(tmp_path, ZONE, after)
    assert watch.end().temperature_c == 81.5


def test_where_there_are_no_zones_the_other_sensors_count(tmp_path: Path) -> None:
    write(tmp_path, "sys/class/hwmon/hwmon0/temp1_input", "61000")
    write(tmp_path, "sys/class/hwmon/hwmon1/temp1_input", "nonsense")
    assert temperature(tmp_path / "sys/class/thermal") == 61.0
    write(tmp_path, ZONE, "50000")
    assert temperature(tmp_path / "sys/class/thermal") == 50.0


@pytest.mark.parametrize(
    ("before", "after", "meanwhile", "earlier"),
    [
        ("0", "0", (), ()),
        ("4", "0", ("throttled",), ()),
        ("0", "40004", ("throttled",), ()),
        ("0", "40000", ("throttled",), ()),  # between two looks
        ("40000", "40000", (), ("throttled",)),
        ("50000", "50005", ("undervoltage", "throttled"), ()),
        ("50000", "50004", ("throttled",), ("undervoltage",)),
    ],
)
def test_what_the_firmware_held_back_and_when(
    before: str, after: str, meanwhile: tuple[str, ...], earlier: tuple[str, ...], tmp_path: Path
) -> None:
    write(tmp_path, THROTTLED, before)
    watch = Watch(tmp_path)
    write(tmp_path, THROTTLED, after)
    found = watch.end()
    assert (found.held_back, found.held_back_earlier) == (meanwhile, earlier)


def test_what_an_x86_kernel_counts(tmp_path: Path) -> None:
    slowed = ("a core slowed down by heat",)
    for before, after, expected in (("0", "0", ((), ())), ("3", "3", ((), slowed))):
        write(tmp_path, SLOWED, before)
        watch = Watch(tmp_path)
        write(tmp_path, SLOWED, after)
        found = watch.end()
        assert (found.held_back, found.held_back_earlier) == expected
    watch = Watch(tmp_path)
    write(tmp_path, SLOWED, "4")
    assert watch.end().held_back == slowed


def test_other_programs_are_counted_and_named_and_this_one_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten seconds: others take 12 core seconds; this process 3, its children 2, one of 4 ended."""
    moments, ended = iter((100.0, 110.0)), iter((0.0, 6.0))
    module = "qlvit_edge.measuring.conditions"
    monkeypatch.setattr(f"{module}.time.monotonic", lambda: next(moments))
    times = lambda: os.times_result((0.0, 0.0, next(ended), 0.0, 0.0))  # noqa: E731
    monkeypatch.setattr(f"{module}.os.times", times)
    per_second, own = os.sysconf("SC_CLK_TCK"), os.getpid()

    def look(all_of_them: int, programs: list[tuple[int, int, str, int]]) -> None:
        busy = all_of_them * per_second
        write(tmp_path, "proc/stat", f"cpu {busy} 0 0 5000 700 0 0 0 99 99\ncpu0 1 2 3\n")
        for pid, parent, name, seconds in programs:
            fields = f"S {parent} {'0 ' * 9}{seconds * per_second} 0 0 0"
            write(tmp_path, f"proc/{pid}/stat", f"{pid} ({name}) {fields}\n")

    programs = [(own, 1, "python", 10), (77, own, "child (of ours)", 0), (78, own, "ended", 2)]
    look(20, [*programs, (88, 1, "bad) name\x1b", 0), (99, 1, "small", 0)])
    watch = Watch(tmp_path)
    (tmp_path / "proc/78/stat").unlink()
    programs = [(own, 1, "python", 13), (77, own, "child (of ours)", 2)]
    look(20 + 12 + 3 + 2 + 4, [*programs, (88, 1, "bad) name\x1b", 11), (99, 1, "small", 0)])
    found = watch.end()
    assert found.others_cores == pytest.approx(1.2)
    assert found.busy
    assert found.busiest == ("bad) name\\u001b",)


@pytest.mark.parametrize("text", ["", "cpu", "cpu 1 2 x 4 5 6\n", "intr 1 2 3 4 5 6\n"])
def test_a_file_that_says_nothing_of_use_is_none(text: str, tmp_path: Path) -> None:
    write(tmp_path, "proc/stat", text)
    write(tmp_path, "proc/12/stat", "12 cut")
    assert Watch(tmp_path).end().others_cores is None
