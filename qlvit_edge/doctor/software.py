"""Python, its packages, and how text is written."""

from __future__ import annotations

import codecs
import importlib.metadata
import importlib.util
import platform
import re
import sys
from collections.abc import Callable, Iterable

from qlvit_edge.doctor.finding import Finding, Place, read

_MODULES = {
    "opencv-python-headless": "cv2",
    "ai-edge-litert": "ai_edge_litert",
    "tflite-runtime": "tflite_runtime",
}
"""Modules that are not called like their package."""

_PAGE = ("starlette", "uvicorn", "segno", "cryptography")
_OWN = "qlvit-edge"
_UNKNOWN = ""

Lookup = Callable[[str], str | None]
"""From a package to its version: "" where it is there without one, None where it is not."""


def check_python(place: Place) -> list[Finding]:
    """Is this Python one that the program was made for?"""
    known = importlib.metadata.metadata(_OWN)
    wanted = "".join(known.get_all("Requires-Python") or [])
    return [python_finding(platform.python_version(), wanted)]


def python_finding(version: str, wanted: str) -> Finding:
    """Judge a version of Python by what the package asks for."""
    if fits(version, wanted):
        return Finding("python", "ok", f"{version} ({sys.executable})")
    text = f"{version}, where {wanted} is supported"
    return Finding("python", "fail", text, "make the environment with such a Python (install.sh)")


def check_packages(place: Place) -> list[Finding]:
    """Are the packages there that the base install needs?"""
    machine = platform.machine()
    required = importlib.metadata.requires(_OWN) or []
    return [packages_finding(required, installed, machine), numpy_finding(installed)]


def packages_finding(required: Iterable[str], lookup: Lookup, machine: str) -> Finding:
    """Judge the packages of the base install.

    Args:
        required: requirements as a distribution lists them (PEP 508); extras are passed over.
        lookup: which version is installed.
        machine: the processor's architecture.
    """
    found, missing, other = [], [], []
    for name, wanted in _base(required, machine):
        version = lookup(name)
        if version is None:
            missing.append(f"{name}{wanted}")
            continue
        found.append(f"{name} {version or 'of unknown version'}")
        if version and not fits(version, wanted):
            other.append(f"{name} {version} is not {wanted}")
    if missing:
        words = " ".join(f"'{one}'" for one in missing)
        text = f"missing: {', '.join(missing)}"
        return Finding("packages", "fail", text, f"pip install {words}")
    if other and _is_32_bit_arm(machine):
        remedy = "nothing on a 32-bit system, which has no newer ones; else the 64-bit system"
        return Finding("packages", "warning", "; ".join(other), remedy)
    if other:
        text = "; ".join(other)
        return Finding("packages", "fail", text, "install the package again with its dependencies")
    return Finding("packages", "ok", ", ".join(found))


def numpy_finding(lookup: Lookup) -> Finding:
    """Judge NumPy beside a runtime that is compiled against its major version 1."""
    numpy = lookup("numpy")
    if numpy is None:
        return Finding("numpy", "not checked", "it is missing")
    if numpy_major(numpy) < 2 or lookup("tflite-runtime") is None:
        return Finding("numpy", "ok", f"{numpy or 'of unknown version'}, as what is there needs it")
    alone = lookup("ai-edge-litert") is None
    text = f"{numpy}, but tflite-runtime is compiled against NumPy 1 and does not load"
    remedy = "pip install 'numpy<2', or use the runtime ai-edge-litert"
    return Finding("numpy", "fail" if alone else "warning", text, remedy)


def check_picamera2(place: Place) -> list[Finding]:
    """Does the Raspberry Pi's camera software load, on a Raspberry Pi?"""
    board = read(place.root / "proc/device-tree/model") or ""
    is_pi = board.startswith("Raspberry Pi")
    if importlib.util.find_spec("picamera2") is None:
        if not is_pi:
            why = "not installed, and needed for a Raspberry Pi's own camera only"
            return [Finding("picamera2", "not checked", why)]
        remedy = "for the ribbon-cable camera: sudo apt install python3-picamera2, then install.sh"
        return [Finding("picamera2", "warning", f"not installed on this {board}", remedy)]
    try:
        importlib.import_module("picamera2")
    except Exception as error:  # whatever a library of the system raises
        reason = (str(error).splitlines() or [type(error).__name__])[0][:160]
        remedy = "run install.sh again"
        if "numpy" in reason:  # compiled against another major version
            remedy = "pip install 'numpy>=1.26,<2' 'opencv-python-headless>=4.9,<4.12'"
        asked = (place.camera or "").startswith("picamera2")
        text = f"it cannot be imported ({reason})"
        return [Finding("picamera2", "fail" if asked else "warning", text, remedy)]
    return [Finding("picamera2", "ok", f"loads ({installed('picamera2') or 'of the system'})")]


def check_page(place: Place) -> list[Finding]:
    """Is the extra of the live page there?"""
    return [page_finding(_PAGE, installed)]


def page_finding(needed: Iterable[str], lookup: Lookup) -> Finding:
    """Judge the extra of the live page."""
    missing = [name for name in needed if lookup(name) is None]
    if missing:
        text = f"`run --serve` needs {', '.join(missing)}; all else works"
        return Finding("live page", "warning", text, "pip install 'qlvit-edge[page]'")
    text = "its packages are there; any browser on any device will do, and none is needed here"
    return Finding("live page", "ok", text)


def check_text(place: Place) -> list[Finding]:
    """Can names and messages in any language be read and printed?"""
    return [text_finding(sys.getfilesystemencoding(), place.encoding)]


def text_finding(of_names: str, of_output: str) -> Finding:
    """Judge the encodings of file names and of what is printed."""
    others = [name for name in (of_names, of_output) if not _is_utf8(name)]
    if others:
        text = f"{others[0]}, not UTF-8: letters such as µ and é come out wrong"
        return Finding("text", "warning", text, "export LC_ALL=C.UTF-8 (in the shell or the unit)")
    return Finding("text", "ok", "UTF-8")


def installed(name: str) -> str | None:
    """Return a package's version; see `Lookup`."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        module = _MODULES.get(name, name)
        return None if importlib.util.find_spec(module) is None else _UNKNOWN


def fits(version: str, wanted: str) -> bool:
    """Tell whether a version is within limits such as ``>=3.11,<3.14``; others are passed over."""
    here = _numbers(version)
    for limit in wanted.split(","):
        sign, number = limit.strip()[:2], _numbers(limit)
        if sign == ">=" and here < number:
            return False
        if sign.startswith("<") and sign != "<=" and here >= number:
            return False
    return True


def numpy_major(version: str) -> int:
    """Return the first number of a version, 0 where there is none."""
    return (_numbers(version) or (0,))[0]


def _numbers(text: str) -> tuple[int, ...]:
    found = re.search(r"\d+(\.\d+)*", text)
    return () if found is None else tuple(map(int, found[0].split(".")))


def _base(required: Iterable[str], machine: str) -> Iterable[tuple[str, str]]:
    for text in required:
        requirement, _, marker = text.partition(";")
        name = re.match(r"[\w.-]+", requirement)
        if name is None or "extra" in marker:
            continue
        if "platform_machine" in marker and not re.search(rf"[\"']{machine}[\"']", marker):
            continue
        yield name[0], requirement[name.end() :].strip().replace(" ", "")


def _is_32_bit_arm(machine: str) -> bool:
    return machine.startswith(("armv6", "armv7", "armv8l"))


def _is_utf8(name: str) -> bool:
    try:
        return codecs.lookup(name).name == "utf-8"
    except LookupError:
        return False
