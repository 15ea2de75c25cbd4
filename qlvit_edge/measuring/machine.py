"""What the machine is that a figure was measured on."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from dataclasses import dataclass
from pathlib import Path

from qlvit_edge.sensors import temperature
from qlvit_edge.text import counted

INTEGER_INSTRUCTIONS = (
    "avx2",
    "avx512f",
    "avx512_vnni",
    "avx_vnni",
    "amx_int8",
    "asimddp",
    "i8mm",
    "sve",
)
"""Instruction sets that integer kernels are written for, by their names in /proc/cpuinfo."""

_PACKAGES = ("ai-edge-litert", "tflite-runtime", "numpy")


@dataclass(frozen=True)
class Machine:
    """A machine; `asdict` of it is JSON.

    Attributes:
        processor: its name.
        integer_instructions: those of `INTEGER_INSTRUCTIONS` that it has.
        cores: usable by this process.
        governor: of the clock; None where the machine does not tell.
        temperature_c: before the measurement; None likewise.
        system: operating system and architecture.
        python: its version.
        packages: name → version of those installed.
    """

    processor: str
    integer_instructions: tuple[str, ...]
    cores: int
    governor: str | None
    temperature_c: float | None
    system: str
    python: str
    packages: dict[str, str]

    @property
    def words(self) -> str:
        """The machine in one line."""
        instructions = ", ".join(self.integer_instructions) or "no known integer instructions"
        parts = [f"{self.processor} ({instructions})", counted(self.cores, "core")]
        if self.governor:
            parts.append(f"governor {self.governor}")
        if self.temperature_c is not None:
            parts.append(f"{self.temperature_c:.0f} °C")
        parts += [f"{name} {version}" for name, version in self.packages.items()]
        return "; ".join(parts)


def describe_machine() -> Machine:
    """Return processor, integer instructions, cores, governor and versions."""
    facts = _cpuinfo()
    flags = set((facts.get("flags") or facts.get("Features") or "").split())
    return Machine(
        processor=facts.get("model name") or facts.get("Model") or platform.machine(),
        integer_instructions=tuple(name for name in INTEGER_INSTRUCTIONS if name in flags),
        cores=len(os.sched_getaffinity(0)),
        governor=_read(Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")),
        temperature_c=temperature(),
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        packages=_versions(),
    )


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _cpuinfo() -> dict[str, str]:
    lines = (_read(Path("/proc/cpuinfo")) or "").splitlines()
    pairs = (line.partition(":") for line in lines)
    return {key.strip(): value.strip() for key, _, value in pairs}


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return None
