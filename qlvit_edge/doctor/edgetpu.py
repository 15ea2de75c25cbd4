"""Edge TPUs: what is connected, who may use it, and whether its library goes with the runtime."""

from __future__ import annotations

import os
from pathlib import Path

from qlvit_edge.coral import (
    LIBRARY,
    Stick,
    has_card,
    installed_library,
    misfit,
    package_version,
    sticks,
)
from qlvit_edge.doctor.finding import Finding, Place
from qlvit_edge.doctor.software import Lookup, installed

_USB_2 = 480
"""Megabits per second of a plug without blue in it."""

_RUNTIMES = ("ai-edge-litert", "tflite-runtime")


def check_edgetpu(place: Place) -> list[Finding]:
    """Is there an Edge TPU that can be used, with its library?"""
    return [device_finding(place.root), *library_findings(place.root, installed)]


def device_finding(root: Path) -> Finding:
    """Judge what is connected; without any nothing is missing."""
    check = "edge tpu"
    library, found, card = installed_library(root), sticks(root), has_card(root)
    if not found and not card:
        text = "none is connected, and none is needed"
        if library is not None:
            text = f"{library.name} is installed, but no Edge TPU is connected"
        return Finding(check, "ok", text)
    what = "; ".join((*(["a card"] if card else []), *_in_words(found)))
    if library is None:
        remedy = "install libedgetpu (libedgetpu1-std); without --delegate nothing needs it"
        return Finding(check, "warning", f"{what}; {LIBRARY} is not installed", remedy)
    if card and not (root / "dev/apex_0").exists():
        remedy = "install the driver gasket-dkms, and start again"
        return Finding(check, "warning", f"{what}; the card has no driver", remedy)
    for stick in found:
        if stick.node.exists() and not os.access(stick.node, os.R_OK | os.W_OK):
            text = f"{what}; this user may not open the stick at port {stick.port}"
            remedy = "install.sh sets the udev rule; then plug it in again"
            return Finding(check, "warning", text, remedy)
    if any(stick.speed is not None and stick.speed <= _USB_2 for stick in found):
        return Finding(check, "warning", what, "plug it into a blue socket (USB 3)")
    return Finding(check, "ok", f"{what}; {library.name} is installed")


def library_findings(root: Path, lookup: Lookup) -> list[Finding]:
    """Judge the library by the runtimes that are installed; nothing where it is not there.

    Args:
        root: where `usr` and `var` lie.
        lookup: which version of a runtime is installed.
    """
    check = "edge tpu library"
    if installed_library(root) is None:
        return []
    package = package_version(root)
    if package is None:
        text = f"{LIBRARY} came in no package: for which runtime it was made is not known"
        return [Finding(check, "warning", text, "install the package libedgetpu1-std")]
    there = {name: lookup(name) for name in _RUNTIMES}
    judged = {name: misfit(package, name, version) for name, version in there.items() if version}
    fitting = [name for name, trouble in judged.items() if trouble is None]
    if fitting:
        text = f"libedgetpu {package} is made for {fitting[0]} {there[fitting[0]]}"
        if fitting[0] != _RUNTIMES[0] and judged.get(_RUNTIMES[0]):
            text += f" (`run --runtime {fitting[0]}`)"
        return [Finding(check, "ok", text)]
    text = "; ".join(str(trouble) for trouble in judged.values()) or "no runtime is installed"
    remedy = (
        "try a short run and look at what computed its frames; a build for TensorFlow 2.15 or "
        "2.16 goes with tflite-runtime 2.11 to 2.16"
    )
    return [Finding(check, "warning", text, remedy)]


def _in_words(found: tuple[Stick, ...]) -> list[str]:
    words = []
    for number, stick in enumerate(found):
        state = "ready" if stick.initialised else "not used since it was plugged in"
        speed = "" if stick.speed is None else f", {stick.speed} Mbit/s"
        words.append(f"usb:{number} at port {stick.port} ({state}{speed})")
    return words
